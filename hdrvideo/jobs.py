"""The jobs behind the command line: files in, files out. Everything here is also plain Python."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from hdrvideo import __version__
from hdrvideo.build import Parts, build_parts, pick_device
from hdrvideo.clip import ClipSeeker, ClipWriter, open_clip, probe
from hdrvideo.config import Settings
from hdrvideo.datatypes import ClipInfo, Frame
from hdrvideo.errors import SettingsError, TrackError, WriteError
from hdrvideo.geometry import Camera
from hdrvideo.output.crops import CROPS_FILE, CropReader, CropsWriter
from hdrvideo.output.masks import MASKS_FILE, MaskReader, MasksWriter
from hdrvideo.output.overlay import OverlayStyle, draw_overlay
from hdrvideo.output.panels import check_panels, render_panels
from hdrvideo.output.report import worst_frames, write_report
from hdrvideo.output.save import (
    LedgerWriter,
    TrackWriter,
    iter_track,
    load_ledger,
    load_meta,
    load_track,
    save_summary,
)
from hdrvideo.pipeline import pose_windows, track_meta
from hdrvideo.track import LedgerCounts

# Called after every frame with the name of the stage and the frames done so far.
Progress = Callable[[str, int], None]
FILES = ("track.parquet", "frames.parquet", "overlay.mp4", "summary.json")
# What a run leaves only when asked to: the word for it, and its file.
KEEPABLE = {"masks": MASKS_FILE, "crops": CROPS_FILE}


@dataclass(frozen=True)
class Annotated:
    """What one run left behind.

    Attributes:
        folder: Where its files are.
        counts: The frame ledger's counts; they add up.
        camera: The camera under which depth was computed, with its source.
    """

    folder: Path
    counts: LedgerCounts
    camera: Camera


def clip_stem(clip: str | Path) -> str:
    """Give the name of a clip's result folder: its file or folder name, without a suffix."""
    path = Path(clip)
    if any(mark in path.name for mark in "*?["):
        path = path.parent
    path = path.resolve()
    return path.name if path.is_dir() else path.stem


def result_folders(clips: Sequence[str | Path], out: Path) -> list[Path]:
    """Give each clip's result folder under ``out``.

    Raises:
        SettingsError: Two clips would share a folder.
    """
    folders: dict[Path, str | Path] = {}
    for clip in clips:
        folder = out / clip_stem(clip)
        if folder in folders:
            raise SettingsError(
                f"{folders[folder]} and {clip} would both write to {folder}; annotate them into "
                "different folders with -o"
            )
        folders[folder] = clip
    return list(folders)


def check_keep(words: Iterable[str]) -> frozenset[str]:
    """Give what a run is asked to keep.

    Raises:
        SettingsError: A word is not in :data:`KEEPABLE`.
    """
    keep = frozenset(words)
    for word in sorted(keep - set(KEEPABLE)):
        raise SettingsError(f"keep is {word!r}, expected one of {', '.join(KEEPABLE)}")
    return keep


def claimed_frames(clip: str | Path, settings: Settings) -> int | None:
    """Give the frame count that a clip's container claims, for a progress bar; None if unknown."""
    return probe(clip, image_rate=Fraction(settings.image_rate)).n_frames_container


def annotate_to(
    clip: str | Path,
    folder: Path,
    *,
    settings: Settings,
    parts: Parts,
    keep: frozenset[str] = frozenset(),
    overwrite: bool = False,
    on_progress: Progress = lambda stage, n: None,
) -> Annotated:
    """Annotate a clip and leave track, ledger, overlay and summary in a folder.

    Args:
        clip: A video file, a folder of pictures, or a glob pattern.
        folder: Made if it is not there.
        settings: What may be changed.
        parts: The nets.
        keep: Words of :data:`KEEPABLE`: ``masks`` also leaves ``masks.parquet``, ``crops``
            ``crops.parquet``.
        overwrite: Replace files of an earlier run; what it kept goes even if it is not kept now.
        on_progress: Called with ``pose`` or ``overlay`` and the frames done so far.

    Raises:
        HdrVideoError: The clip cannot be used or a file exists; see ``errors.py``.
    """
    keep = check_keep(keep)
    started = time.perf_counter()
    with open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader:
        info = reader.info
        _make_folder(folder, overwrite=overwrite)
        meta = track_meta(info, settings)
        counts = LedgerCounts(container_says=info.n_frames_container)
        with ExitStack() as stack:
            tracks = stack.enter_context(
                TrackWriter(folder / "track.parquet", meta, overwrite=overwrite)
            )
            ledgers = stack.enter_context(
                LedgerWriter(folder / "frames.parquet", meta, overwrite=overwrite)
            )
            on_masks, on_crops = None, None
            if "masks" in keep:
                masks = MasksWriter(folder / MASKS_FILE, meta, overwrite=overwrite)
                on_masks = stack.enter_context(masks).write
            if "crops" in keep:
                crops = CropsWriter(folder / CROPS_FILE, meta, overwrite=overwrite)
                on_crops = stack.enter_context(crops).write
            frames = _counted(reader, partial(on_progress, "pose"))
            for track, ledger in pose_windows(frames, info, settings, parts, on_masks, on_crops):
                tracks.append(track)
                ledgers.append(ledger)
                counts = counts.add(ledger)
            counts.check()
        _remove_unkept(folder, keep)
    posed = time.perf_counter()
    render(
        clip,
        folder / "track.parquet",
        folder / "overlay.mp4",
        overwrite=overwrite,
        on_progress=on_progress,
    )
    seconds = {"pose": posed - started, "overlay": time.perf_counter() - posed}
    summary = _summary(info, meta.camera, settings, counts, parts, seconds)
    save_summary(folder / "summary.json", summary, overwrite=overwrite)
    return Annotated(folder, counts, meta.camera)


def _counted(frames: Iterable[Frame], on_progress: Callable[[int], None]) -> Iterator[Frame]:
    for n, frame in enumerate(frames, start=1):
        yield frame
        on_progress(n)


def _make_folder(folder: Path, *, overwrite: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"folder {folder} cannot be made ({error.strerror}); choose another with -o"
        ) from error
    # What is not to be kept counts too: beside a new track it would belong to another.
    there = [name for name in (*FILES, *KEEPABLE.values()) if (folder / name).exists()]
    if there and not overwrite:
        raise WriteError(f"{folder / there[0]} exists; use --overwrite or another folder with -o")


def _remove_unkept(folder: Path, keep: frozenset[str]) -> None:
    for word, name in KEEPABLE.items():
        if word in keep:
            continue
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(
                f"{folder / name} of an earlier run cannot be removed ({error.strerror}); it does "
                "not belong to the new track: remove it"
            ) from error


def _summary(
    info: ClipInfo,
    camera: Camera,
    settings: Settings,
    counts: LedgerCounts,
    parts: Parts,
    seconds: dict[str, float],
) -> dict[str, Any]:
    depth = "from the size of an adult hand"
    if camera.source == "assumed":
        depth += "; the camera is assumed, so depth is not metric"
    return {
        "clip": {
            "path": info.path,
            "width": info.width,
            "height": info.height,
            "rotation_deg": info.rotation_deg,
            "rate": None if info.rate is None else str(info.rate),
            "time_base": str(info.time_base),
            "codec": info.codec,
            "pixel_format": info.pixel_format,
            "has_audio": info.has_audio,
        },
        **counts.to_json(),
        "camera": {**asdict(camera), "depth": depth},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "device": str(parts.device),
        "engine": parts.engine,
        "settings": settings.to_json(),
        "versions": {
            "hdrvideo": __version__,
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "av": metadata.version("av"),
        },
    }


def describe(counts: LedgerCounts) -> list[str]:
    """Give the closing lines of a run: counts that add up, and the frames that failed."""
    says = "nothing" if counts.container_says is None else str(counts.container_says)
    lines = [
        f"container says {says} / decoded {counts.decoded} / failed {counts.failed} / "
        f"rows {counts.rows}"
    ]
    for s, side in enumerate(("right", "left")):
        lines.append(
            f"{side}: seen {counts.observed[s]} + bridged {counts.bridged[s]} + "
            f"absent {counts.absent[s]} = {counts.rows}"
        )
    if counts.damaged:
        lines.append(f"damaged but decoded: {counts.damaged}")
    if counts.failed:
        more = ", ..." if counts.failed > len(counts.failed_frames) else ""
        lines.append("failed frames: " + ", ".join(map(str, counts.failed_frames)) + more)
    if counts.container_says is not None and counts.container_says != counts.rows:
        lines.append(
            f"the container's claim is off by {counts.container_says - counts.rows}: "
            "it may be cut short, or its header may be wrong"
        )
    return lines


def render(
    clip: str | Path,
    track_path: str | Path,
    out: str | Path,
    *,
    panels: Sequence[str] = ("overlay",),
    style: OverlayStyle | None = None,
    overwrite: bool = False,
    on_progress: Progress = lambda stage, n: None,
) -> Path:
    """Draw the review video of a track: same frames, same times, audio kept.

    Args:
        clip: The clip that the track was made from.
        track_path: A ``track.parquet``; beside it the masks panel needs its ``masks.parquet``, the
            hands panel that and its ``crops.parquet``.
        out: The mp4 to write.
        panels: What is shown, from left to right, of :data:`hdrvideo.output.panels.PANELS`.
        style: How it looks; None = the defaults.
        overwrite: Replace an existing file.
        on_progress: Called with ``overlay`` and the frames written so far.

    Raises:
        SettingsError: A panel is unknown or named twice.
        TrackError: The track was made from another clip, or a panel's file is missing or damaged.
        WriteError: The file exists or cannot be written.
    """
    panels = check_panels(panels)
    meta = load_meta(track_path)
    image_rate = Fraction(meta.settings.get("image_rate", 30.0))
    with ExitStack() as stack:
        reader = stack.enter_context(open_clip(clip, image_rate=image_rate))
        if (reader.info.width, reader.info.height) != (meta.width, meta.height):
            raise TrackError(
                f"clip {clip} is {reader.info.width}x{reader.info.height}, its track "
                f"{meta.width}x{meta.height}; give the clip that the track was made from"
            )
        masks_of, pictures_of = None, None
        folder = Path(track_path).parent
        if "masks" in panels or "hands" in panels:
            path = folder / MASKS_FILE
            masks = MaskReader(path, height_px=meta.height, width_px=meta.width)
            masks_of = stack.enter_context(masks).masks
        if "hands" in panels:
            pictures_of = stack.enter_context(CropReader(folder / CROPS_FILE)).pictures
        writer = stack.enter_context(
            ClipWriter(
                out,
                width=len(panels) * meta.width,
                height=meta.height,
                time_base=meta.time_base,
                rate=meta.rate,
                audio_from=clip if reader.info.has_audio else None,
                overwrite=overwrite,
            )
        )
        render_panels(
            _counted(reader, partial(on_progress, "overlay")),
            iter_track(track_path),
            writer.write,
            panels=panels,
            masks_of=masks_of,
            pictures_of=pictures_of,
            style=style or OverlayStyle(),
        )
    return Path(out)


def report(
    clip: str | Path, track_path: str | Path, out: str | Path, *, overwrite: bool = False
) -> Path:
    """Write the one-page report of a track, its worst frames as thumbnails.

    Args:
        clip: The clip that the track was made from.
        track_path: A ``track.parquet`` with its ``frames.parquet`` beside it.
        out: The PNG to write.
        overwrite: Replace an existing file.
    """
    track = load_track(track_path)
    ledger = load_ledger(Path(track_path).parent / "frames.parquet")
    seeker = ClipSeeker(clip)
    try:
        thumbnails = {
            index: draw_overlay(seeker.frame(index).rgb_u8, track, index)
            for index in worst_frames(track)
        }
    finally:
        seeker.close()
    return write_report(track, ledger, thumbnails, out, overwrite=overwrite)


def build_for(settings: Settings, device: str) -> Parts:
    """Build the nets for a device named ``auto``, ``cpu`` or ``cuda``."""
    return build_parts(settings, pick_device(device))


def with_camera(settings: Settings, focal_px: float | None, fov_deg: float | None) -> Settings:
    """Put the camera options of the command line over those of the settings file."""
    if focal_px is None and fov_deg is None:
        return settings
    return replace(settings, focal_px=focal_px, fov_deg=fov_deg)
