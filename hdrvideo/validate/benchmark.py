"""Score tracks against a benchmark of made clips.

A benchmark is a folder with ``manifest.json``: a name, a version, and for every clip its own name,
relation, camera, number of frames, the path of the clip and of the folder of its truth. The tracks
lie as ``hdrvideo annotate BENCHMARK/clips/*.mp4 -o TRACKS`` leaves them: in
``TRACKS/<stem of the clip>/track.parquet``. Any tracker's output in that format is scored alike.
Masks (``masks.parquet``, see :mod:`hdrvideo.output.masks`) and painted bare hands
(``bare.npz``, see :mod:`hdrvideo.validate.bare`) are scored as well where they lie beside every
track.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hdrvideo.errors import DataError, TrackError
from hdrvideo.output.save import load_track
from hdrvideo.synth.scene import CAMERAS, RELATIONS
from hdrvideo.track import PoseTrack
from hdrvideo.validate.averages import (
    HIDDEN_BINS,
    Average,
    ClipSums,
    average,
    clip_sums,
    joined,
)
from hdrvideo.validate.extras import Extras
from hdrvideo.validate.protocols import METRICS, Metric, compare
from hdrvideo.validate.report import Report, Score
from hdrvideo.validate.truth import ClipTruth, load_truth

_ENTRY: Final = {
    "name": str, "relation": str, "camera": str, "n_frames": int, "clip": str, "folder": str,
}  # fmt: skip


@dataclass(frozen=True)
class BenchmarkEntry:
    """One clip of a benchmark.

    Attributes:
        name: Its name.
        relation: What it shows.
        camera: Kind of camera.
        n_frames: Number of frames.
        clip: Path of the video.
        folder: Folder of its truth.
    """

    name: str
    relation: str
    camera: str
    n_frames: int
    clip: Path
    folder: Path


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark's manifest says.

    Attributes:
        name: Its name.
        version: Its version.
        clips: Its clips, in the manifest's order.
    """

    name: str
    version: str
    clips: tuple[BenchmarkEntry, ...]

    def __post_init__(self) -> None:
        if not self.clips:
            raise DataError(f"benchmark {self.name} has no clips; make it again")
        stems = [entry.clip.stem for entry in self.clips]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        if twice:
            raise DataError(
                f"benchmark {self.name} has several clips called {', '.join(twice)}; tracks go by "
                "the clip's name, so each needs its own"
            )


def load_benchmark(folder: Path | str) -> Benchmark:
    """Read a benchmark's manifest.

    Raises:
        DataError: It is missing, damaged, or lists no clip.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(f"no benchmark at {folder}: no {path.name}; see `hdrvideo synth benchmark`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(_entry(folder, entry) for entry in values["clips"])
        return Benchmark(str(values["name"]), str(values["version"]), entries)
    except KeyError as missing:
        raise DataError(f"{path} has no {missing}; make the benchmark again") from missing
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); make the benchmark again") from error


def _entry(folder: Path, values: dict[str, Any]) -> BenchmarkEntry:
    for name, kind in _ENTRY.items():
        if not isinstance(values[name], kind):
            raise TypeError(f"{name} is {values[name]!r}, expected {kind.__name__}")
    known = {name: values[name] for name in _ENTRY}
    for name in ("clip", "folder"):
        known[name] = folder / known[name]
    return BenchmarkEntry(**known)


def score_benchmark(
    benchmark: Path | str,
    tracks: Path | str,
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
    perceptual_weights: Path | str | None = None,
    on_progress: Callable[[str, int], None] = lambda name, n_done: None,
) -> Report:
    """Score the tracks of all clips of a benchmark.

    Args:
        benchmark: The benchmark's folder.
        tracks: Folder with ``<stem of the clip>/track.parquet`` for every clip; beside it there
            may be ``masks.parquet`` and ``bare.npz``, each for all clips or for none.
        n_bootstrap: Resamples behind the 95 % intervals; 0 = none.
        seed: Of the resamples.
        perceptual_weights: SqueezeNet's ``.npz``, for a perceptual distance of painted hands.
        on_progress: Called with a clip's name and the number of clips done.

    Raises:
        DataError: The benchmark is missing or damaged.
        SettingsError: ``n_bootstrap`` is negative, or weights are given without painted hands.
        TrackError: A clip's track, masks or painted hands are missing, damaged, or do not fit it.
        WeightsError: The weights cannot be used.
    """
    listed = load_benchmark(benchmark)
    folders = [Path(tracks) / entry.clip.stem for entry in listed.clips]
    extras = Extras(folders, perceptual_weights)
    sums: list[ClipSums] = []
    for entry, folder in zip(listed.clips, folders, strict=True):
        truth = load_truth(entry.folder)
        _check_entry(entry, truth)
        path = folder / "track.parquet"
        joints = score_clip(truth, load_track(path), source=str(path))
        sums.append(joined([joints, *extras.sums(truth, folder)]))
        on_progress(entry.name, len(sums))
    return Report(
        benchmark=listed.name,
        version=listed.version,
        tracks=str(tracks),
        n_clips=len(listed.clips),
        n_frames=sum(entry.n_frames for entry in listed.clips),
        n_bootstrap=n_bootstrap,
        seed=seed,
        scores=_scores(listed.clips, sums, (*METRICS, *extras.metrics), n_bootstrap, seed),
    )


def score_clip(truth: ClipTruth, track: PoseTrack, *, source: str = "track") -> ClipSums:
    """Score one clip's track; sums are of :data:`hdrvideo.validate.protocols.METRICS`.

    Args:
        truth: The clip's truth.
        track: Refined joints count, bridged ones as well.
        source: What to call the track in an error.

    Raises:
        TrackError: The track does not have the clip's size, or a row for each of its frames.
    """
    if len(track) != len(truth) or track.frame_index[0] != 0:
        first = int(track.frame_index[0]) if len(track) else 0
        raise TrackError(
            f"{source} has {len(track)} frames from frame {first}, expected the {len(truth)} from "
            f"0 of {truth.name}; annotate the benchmark's own clip"
        )
    size_px = (track.meta.width, track.meta.height)
    if size_px != truth.size_px:
        raise TrackError(
            f"{source} is of a clip of {size_px[0]}x{size_px[1]}, expected "
            f"{truth.width_px}x{truth.height_px} of {truth.name}; annotate the benchmark's own clip"
        )
    return clip_sums(compare(truth, track.uv_px, track.xyz_cam_mm), METRICS)


def _check_entry(entry: BenchmarkEntry, truth: ClipTruth) -> None:
    listed = (entry.n_frames, entry.relation, entry.camera)
    found = (len(truth), truth.relation, truth.camera)
    if listed != found:
        raise DataError(
            f"truth {entry.folder} is {found}, the manifest says {listed}; make the benchmark again"
        )


def _scores(
    entries: tuple[BenchmarkEntry, ...],
    sums: list[ClipSums],
    metrics: tuple[Metric[Any], ...],
    n_bootstrap: int,
    seed: int,
) -> tuple[Score, ...]:
    """Average over everything, and by relation, hidden share, camera and clip."""
    scores: list[Score] = []

    def add(kind: str, group: str, chosen: list[ClipSums], hidden_bin: int | None = None) -> None:
        found = average(chosen, hidden_bin=hidden_bin, n_bootstrap=n_bootstrap, seed=seed)
        scores.extend(_as_scores(kind, group, found, metrics))

    add("all", "all", sums)
    for kind, names in (("relation", RELATIONS), ("camera", CAMERAS)):
        for name in names:
            chosen = [s for s, e in zip(sums, entries, strict=True) if getattr(e, kind) == name]
            if chosen:
                add(kind, name, chosen)
    for number, name in enumerate(HIDDEN_BINS):
        add("hidden", name, sums, number)
    for entry, clip in zip(entries, sums, strict=True):
        add("clip", entry.name, [clip])
    return tuple(scores)


def _as_scores(
    kind: str, group: str, found: Average, metrics: tuple[Metric[Any], ...]
) -> list[Score]:
    return [
        Score(
            metric=metric.name,
            kind=kind,
            group=group,
            value=float(found.value[m]),
            low=float(found.low[m]),
            high=float(found.high[m]),
            n_samples=int(found.n_samples[m]),
            n_clips=int(found.n_clips[m]),
        )
        for m, metric in enumerate(metrics)
    ]
