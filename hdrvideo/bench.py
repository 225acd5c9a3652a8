"""Frames a second of each stage apart and of all together, on one clip; and where time goes."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeVar

from hdrvideo.build import Parts
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.jobs import annotate_to, render
from hdrvideo.motion.stage import MotionStage
from hdrvideo.output.save import save_track
from hdrvideo.pipeline import Window, raw_windows
from hdrvideo.track import PoseTrack, concatenate

# What ``decode + pose + track`` is made of; decoding runs in a thread of its own, so only what is
# waited for counts. What is left is cutting crops, deciding sides, lifting.
DECODE, READ, MASKS, PAINTING, MOTION = (
    *("decode (waited for)", "find and read", "masks", "painting", "motion"),
)
REST: Final = "the rest"
T = TypeVar("T")


def time_stages(clip: str, settings: Settings, parts: Parts, repeats: int) -> Iterator[str]:
    """Time decode, pose and write of a clip.

    Each figure is end to end for what its name says; ``decode + pose`` decodes in its own thread
    while the nets run, so it is not the sum of two figures. Below it stands what it is made of, in
    milliseconds a frame and as a share of it; ``motion`` is the temporal stage, refiner and all.

    Args:
        clip: A clip.
        settings: What may be changed.
        parts: The nets.
        repeats: Runs of each stage; one more is made first and not counted.

    Yields:
        Lines with the median and the range.
    """
    tracks: list[PoseTrack] = []
    clocks: list[Clock] = []

    def decode() -> int:
        with open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader:
            return sum(1 for _ in reader)

    def pose() -> int:
        clocks.append(Clock())
        with (
            clocks[-1].whole(),
            open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader,
        ):
            frames = clocks[-1].each(DECODE, reader)
            raw = raw_windows(frames, reader.info, settings, clocks[-1].watch(parts))
            windows = moved(raw, MotionStage(settings.motion, parts.refiner), clocks[-1])
        tracks[:] = [concatenate([track for track, _ in windows])]
        return len(tracks[0])

    with tempfile.TemporaryDirectory() as folder:
        track_path = Path(folder) / "track.parquet"

        def write() -> int:
            save_track(tracks[0], track_path, overwrite=True)
            render(clip, track_path, Path(folder) / "overlay.mp4", overwrite=True)
            return len(tracks[0])

        def everything() -> int:
            done = annotate_to(clip, Path(folder), settings=settings, parts=parts, overwrite=True)
            return done.counts.rows

        yield f"{clip}: {parts.engine} on {parts.device}, {decode()} frames, {repeats} runs each"
        for name, stage in (
            ("decode", decode),
            ("decode + pose + track", pose),
            ("write track and overlay (decodes again)", write),
            ("annotate, all together", everything),
        ):
            yield _timed(name, stage, repeats)
            if stage is pose:
                # The first run is not counted.
                yield from split(clocks[1:], len(tracks[0]))


class Clock:
    """Adds up seconds by what they are spent on.

    Attributes:
        seconds: By name.
        total_seconds: Of the whole.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((DECODE, READ, MASKS, PAINTING, MOTION), 0.0)
        self.total_seconds = 0.0

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Time the whole."""
        start = time.perf_counter()
        yield
        self.total_seconds += time.perf_counter() - start

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Time something; what is timed within counts twice."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Hand items on and time the waiting for them."""
        iterator = iter(items)
        while True:
            with self.of(name):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def watch(self, parts: Parts) -> Parts:
        """Give parts whose nets are timed; the refiner's is within the temporal stage."""
        watched: dict[str, Any] = {
            "finder": Watched(parts.finder, self, {"find": READ}),
            "frame_stage": Watched(parts.frame_stage, self, {"": READ, "paint": PAINTING}),
        }
        if parts.segmenter is not None:
            watched["segmenter"] = Watched(parts.segmenter, self, {"": MASKS})
        return replace(parts, **watched)


class Watched:
    """A part of which some methods are timed; all else is as it was."""

    def __init__(self, part: Any, clock: Clock, names: dict[str, str]) -> None:
        """Take a part.

        Args:
            part: It.
            clock: Times it.
            names: What each method's time counts as; the empty name is a call of the part itself.
        """
        self._part, self._clock, self._names = part, clock, names

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the part."""
        with self._clock.of(self._names[""]):
            return self._part(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if name not in self._names:
            return value

        def timed(*arguments: Any, **named: Any) -> Any:
            with self._clock.of(self._names[name]):
                return value(*arguments, **named)

        return timed


def moved(raw: Iterable[Window], motion: MotionStage, clock: Clock) -> list[Window]:
    """Send raw windows through the temporal stage and time it."""
    windows: list[Window] = []
    for track, ledger in raw:
        with clock.of(MOTION):
            windows += motion.push(track, ledger)
    with clock.of(MOTION):
        windows += motion.finish()
    return windows


def split(clocks: list[Clock], n_frames: int) -> Iterator[str]:
    """Say where the time of some runs over a clip of ``n_frames`` went, one line each."""
    total = sum(clock.total_seconds for clock in clocks)
    spent = {name: sum(clock.seconds[name] for clock in clocks) for name in clocks[0].seconds}
    spent[REST] = total - sum(spent.values())
    for name, seconds in spent.items():
        ms = 1000 * seconds / (n_frames * len(clocks))
        yield f"    {name:40s} {ms:7.2f} ms a frame  ({100 * seconds / total:.1f} %)"


def _timed(name: str, stage: Callable[[], int], repeats: int) -> str:
    stage()
    rates = []
    for _ in range(max(repeats, 1)):
        start = time.perf_counter()
        n_frames = stage()
        rates.append(n_frames / (time.perf_counter() - start))
    low, high = min(rates), max(rates)
    return f"  {name:42s} {statistics.median(rates):7.1f} fps  ({low:.1f} - {high:.1f})"
