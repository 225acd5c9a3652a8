"""Frames a second of each stage apart and of all together, on one clip."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from hdrvideo.build import Parts
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.jobs import annotate_to, render
from hdrvideo.output.save import save_track
from hdrvideo.pipeline import pose_windows
from hdrvideo.track import PoseTrack, concatenate


def time_stages(clip: str, settings: Settings, parts: Parts, repeats: int) -> Iterator[str]:
    """Time decode, pose and write of a clip.

    Each figure is end to end for what its name says; ``decode + pose`` decodes in its own thread
    while the nets run, so it is not the sum of two figures.

    Args:
        clip: A clip.
        settings: What may be changed.
        parts: The nets.
        repeats: Runs of each stage; one more is made first and not counted.

    Yields:
        Lines with the median and the range.
    """
    tracks: list[PoseTrack] = []

    def decode() -> int:
        with open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader:
            return sum(1 for _ in reader)

    def pose() -> int:
        with open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader:
            tracks[:] = [
                concatenate([t for t, _ in pose_windows(reader, reader.info, settings, parts)])
            ]
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


def _timed(name: str, stage: Callable[[], int], repeats: int) -> str:
    stage()
    rates = []
    for _ in range(max(repeats, 1)):
        start = time.perf_counter()
        n_frames = stage()
        rates.append(n_frames / (time.perf_counter() - start))
    low, high = min(rates), max(rates)
    return f"  {name:42s} {statistics.median(rates):7.1f} fps  ({low:.1f} - {high:.1f})"
