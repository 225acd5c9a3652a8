"""The report page: one picture of how well a clip was annotated, and where to look first."""

import warnings
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hdrvideo.datatypes import U8
from hdrvideo.errors import TrackError
from hdrvideo.files import whole_file
from hdrvideo.hand import JOINTS, SIDES, palm_length
from hdrvideo.output.colours import LOST_FRAME_RGB, PROVENANCE_RGB, RGB, SIDE_RGB
from hdrvideo.track import (
    ABSENT,
    DECODE_STATUS,
    IS_BRIDGED,
    PROVENANCE,
    REASONS,
    FrameLedger,
    PoseTrack,
)

F64 = NDArray[np.float64]

# What makes a frame suspect, and how much of each counts as one: a confidence of one half; a
# quarter of the palm moved by the temporal stage; a quarter of the palm a frame squared.
FAULTS: Final = ("low confidence", "far from raw", "jerk")
_FAULT_UNITS: Final = np.array([0.5, 0.25, 0.25])

# Columns of a plot: more than the page has pixels would only blur.
_BINS: Final = 1200
_STATES: Final = (*PROVENANCE, "frame lost")
_STATE_RGB: Final = (*PROVENANCE_RGB, LOST_FRAME_RGB)
_LOST_STATE: Final = len(PROVENANCE)
# From the best state to the worst; a column of the coverage bar shows its worst frame.
_BY_SEVERITY: Final = ("observed", "corrected", "deoccluded", "bridged", "absent", "frame lost")
_DRAWN_JOINTS: Final = (("wrist", "-"), ("index_tip", "--"))
_THUMB_PX: Final = 480
_RAW_GREY: Final = "0.65"


def worst_frames(track: PoseTrack, n: int = 6) -> list[int]:
    """Choose the frames that a person should look at first, worst first.

    A frame is judged by low confidence, distance of the refined from the raw pose, and
    acceleration, all relative to the size of the hand; the chosen ones keep a distance in time, so
    that they are not one moment six times.

    Args:
        track: The whole track.
        n: The most frames to choose.

    Returns:
        Frame indices; where no hand is found at all, frames evenly spread over the clip.
    """
    score = _faults(track).sum(axis=1)
    if not (score > 0).any():
        rows = np.unique(np.linspace(0, len(track) - 1, min(n, len(track))).round().astype(int))
        return [int(track.frame_index[row]) for row in rows]
    apart = len(track) // (3 * n)
    chosen: list[int] = []
    while len(chosen) < n and (score > 0).any():
        row = int(np.argmax(score))
        chosen.append(int(track.frame_index[row]))
        score[max(0, row - apart) : row + apart + 1] = 0
    return chosen


def write_report(
    track: PoseTrack,
    ledger: FrameLedger,
    thumbnails: dict[int, U8],
    path: Path | str,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the report page of one clip as PNG.

    Args:
        track: The whole track.
        ledger: The account of the same frames.
        thumbnails: Pictures ``(H, W, 3)`` RGB by frame index, with the overlay drawn already; up to
            six are shown, in order of time.
        path: Where the page goes.
        overwrite: Replace a file that is already there.

    Raises:
        TrackError: The track is empty, or the ledger is of other frames.
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    if len(track) == 0:
        raise TrackError("a report needs a track with at least 1 frame, got 0")
    if not np.array_equal(track.frame_index, ledger.frame_index):
        raise TrackError(
            f"ledger has {len(ledger.frame_index)} frames from another clip than the track with "
            f"{len(track)}; give track.parquet and frames.parquet of one run"
        )
    figure = _page(track, ledger, thumbnails)
    with whole_file(path, overwrite=overwrite) as partial, warnings.catch_warnings():
        # A clip may be named in a script that the font lacks; the page is worth more than its name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(partial, format="png")
    return Path(path)


def _faults(track: PoseTrack) -> F64:
    """Give how suspect each frame is ``(T, 3)``, in the order of FAULTS; 0 if unknown."""
    palm = palm_length(track.uv_px).astype(np.float64)
    palm = np.where(palm > 0, palm, np.nan)
    moved = np.linalg.norm(track.raw_uv_px - track.uv_px, axis=-1).mean(axis=-1) / palm
    by_hand = np.stack(
        [1 - track.confidence.mean(axis=-1), moved, _acceleration(track) / palm], axis=-1
    )
    faults: F64 = np.nan_to_num(by_hand).max(axis=1) / _FAULT_UNITS
    return faults


def _acceleration(track: PoseTrack) -> F64:
    """Give the mean acceleration of the joints ``(T, 2)`` in pixels a usual frame squared."""
    accel = np.full((len(track), len(SIDES)), np.nan)
    if len(track) < 3:
        return accel
    step = np.diff(track.pts) / np.median(np.diff(track.pts))
    speed = np.diff(track.uv_px.astype(np.float64), axis=0) / step[:, None, None, None]
    span = (step[1:] + step[:-1]) / 2
    change = np.diff(speed, axis=0) / span[:, None, None, None]
    accel[1:-1] = np.linalg.norm(change, axis=-1).mean(axis=-1)
    return accel


def _page(track: PoseTrack, ledger: FrameLedger, thumbnails: dict[int, U8]) -> Any:
    figure = Figure(figsize=(14, 16), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        5,
        2,
        height_ratios=(0.7, 2, 2, 1.4, 4.9),
        left=0.065,
        right=0.98,
        top=0.91,
        bottom=0.02,
        hspace=0.3,
        wspace=0.12,
    )
    _draw_header(figure, track, ledger)
    coverage = figure.add_subplot(grid[0, :])
    _draw_coverage(coverage, track, ledger)
    for side in range(len(SIDES)):
        axes = [figure.add_subplot(grid[row, side]) for row in (1, 2, 3)]
        _draw_hand_plots(axes, track, side)
    foot = grid[4, :].subgridspec(1, 2, width_ratios=(1, 1.75), wspace=0.02)
    _draw_counts(figure.add_subplot(foot[0]), track, ledger)
    _draw_thumbnails(figure, foot[1], track, thumbnails)
    return figure


def _draw_header(figure: Any, track: PoseTrack, ledger: FrameLedger) -> None:
    meta = track.meta
    start, end = _time_range(track)
    rate = "rate unknown" if meta.rate is None else f"{float(meta.rate):.3f} frames/s"
    lost = int((ledger.decode_status == DECODE_STATUS.index("lost")).sum())
    damaged = int((ledger.decode_status == DECODE_STATUS.index("damaged")).sum())
    clip = meta.clip if len(meta.clip) <= 70 else f"{meta.clip[:45]} ... {meta.clip[-20:]}"
    facts = (
        f"{meta.width} x {meta.height}, {rate}, {end - start:.2f} s   |   {len(track)} frames, "
        f"{damaged} damaged, {lost} lost   |   camera {meta.camera.source}, "
        f"focal length {meta.camera.fx_px:.0f} px   |   hdrvideo {meta.version}"
    )
    # Not parsed as mathematics: a file name may hold dollar signs.
    figure.text(0.065, 0.965, clip, fontsize=17, weight="bold", parse_math=False)
    figure.text(0.065, 0.945, facts, fontsize=11, color="0.3", parse_math=False)


def _draw_coverage(axes: Any, track: PoseTrack, ledger: FrameLedger) -> None:
    states = _states(track, ledger)
    start, end = _time_range(track)
    columns = _worst_in_bins(states, track.pts_seconds, start, end)
    picture = np.array(_STATE_RGB, np.uint8)[columns.T]
    axes.imshow(
        picture,
        aspect="auto",
        interpolation="nearest",
        extent=(start, end, len(SIDES) - 0.5, -0.5),
    )
    axes.axhline(0.5, color="white", linewidth=4)
    axes.set_yticks(range(len(SIDES)), SIDES)
    for label, colour in zip(axes.get_yticklabels(), SIDE_RGB, strict=True):
        label.set(color=_unit(colour, 0.8), weight="bold")
    axes.tick_params(axis="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("How each hand is known over time, in seconds", loc="left", fontsize=11)
    shown = [s for s in _BY_SEVERITY if s != "corrected" or (states == _STATES.index(s)).any()]
    axes.legend(
        handles=[Patch(color=_unit(_STATE_RGB[_STATES.index(s)]), label=s) for s in shown],
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(shown),
        frameon=False,
        fontsize=10,
        borderaxespad=0.1,
    )


def _draw_hand_plots(axes: list[Any], track: PoseTrack, side: int) -> None:
    """Draw u, v and confidence of one hand, each against seconds."""
    seconds = track.pts_seconds
    marker = "." if len(track) <= 40 else ""
    start, end = _time_range(track)
    for k, name in enumerate(("u", "v")):
        drawn = [JOINTS.index(joint) for joint, _ in _DRAWN_JOINTS]
        for j, (joint, dash) in zip(drawn, _DRAWN_JOINTS, strict=True):
            raw = _envelope(seconds, track.raw_uv_px[:, side, j, k])
            axes[k].plot(*raw, color=_RAW_GREY, linewidth=0.7, marker=marker, markersize=2)
            refined = _envelope(seconds, track.uv_px[:, side, j, k])
            colour = _unit(SIDE_RGB[side], 1.0 if joint == "wrist" else 0.6)
            label = joint.replace("_", " ")
            axes[k].plot(*refined, dash, color=colour, linewidth=1.4, marker=marker, label=label)
        axes[k].set_ylim(_limits(track.uv_px[:, side, drawn, k]))
        axes[k].set_ylabel(f"{name} [px]")
    axes[0].plot([], [], color=_RAW_GREY, linewidth=0.7, label="raw")
    title = {"color": _unit(SIDE_RGB[side], 0.8), "weight": "bold", "loc": "left"}
    axes[0].set_title(f"{SIDES[side]} hand", **title)
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=9)
    # v grows downwards in the picture, so it does on the page.
    axes[1].invert_yaxis()
    mean = _envelope(seconds, track.confidence[:, side].mean(axis=1))
    axes[2].plot(*mean, color=_unit(SIDE_RGB[side], 0.8), linewidth=1.0, marker=marker)
    axes[2].set(ylim=(0, 1.03), ylabel="confidence", xlabel="seconds")
    for panel in axes:
        panel.set_xlim(start - 0.01 * (end - start), end)
        panel.grid(color="0.92", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
        if not track.present[:, side].any():
            middle = {"ha": "center", "va": "center", "transform": panel.transAxes}
            panel.text(0.5, 0.5, f"no {SIDES[side]} hand found", color="0.5", **middle)


def _draw_counts(axes: Any, track: PoseTrack, ledger: FrameLedger) -> None:
    axes.axis("off")
    axes.text(0, 0.93, "How often", fontsize=11, transform=axes.transAxes)
    rows: list[tuple[str, NDArray[np.int_]]] = []
    for code, word in enumerate(PROVENANCE):
        counts = (track.provenance == code).sum(axis=0)
        if code != ABSENT and (word != "corrected" or counts.any()):
            rows.append((word, counts))
    rows.append(("absent", (track.provenance == ABSENT).sum(axis=0)))
    for code in range(IS_BRIDGED + 1, len(REASONS)):
        rows.append((f"   {REASONS[code]}", (ledger.reason == code).sum(axis=0)))
    share = 100 / len(track)
    cells = [[word, *(f"{c}  ({c * share:.1f} %)" for c in counts)] for word, counts in rows]
    table = axes.table(
        cellText=cells,
        colLabels=["frames", *SIDES],
        colWidths=(0.42, 0.29, 0.29),
        cellLoc="right",
        bbox=(0.0, 0.2, 0.96, 0.7),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for (row, column), cell in table.get_celld().items():
        cell.set(edgecolor="0.85", linewidth=0.6)
        if row == 0:
            cell.set_text_props(weight="bold")
        if column == 0:
            cell.set_text_props(ha="left")
            cell.PAD = 0.03


def _draw_thumbnails(figure: Any, spot: Any, track: PoseTrack, thumbnails: dict[int, U8]) -> None:
    grid = spot.subgridspec(3, 3, height_ratios=(0.14, 1, 1), hspace=0.18, wspace=0.05)
    head = figure.add_subplot(grid[0, :])
    head.axis("off")
    head.text(0, 0, "Where to look first", fontsize=11, transform=head.transAxes)
    seconds = dict(zip(track.frame_index.tolist(), track.pts_seconds, strict=True))
    faults = dict(zip(track.frame_index.tolist(), _faults(track), strict=True))
    known = sorted(index for index in thumbnails if index in seconds)[:6]
    for place, index in enumerate(known):
        axes = figure.add_subplot(grid[1 + place // 3, place % 3], anchor="N")
        axes.imshow(_shrunk(thumbnails[index]), interpolation="antialiased")
        axes.axis("off")
        reason = FAULTS[int(np.argmax(faults[index]))] if faults[index].any() else "no hand"
        axes.set_title(f"frame {index}, {seconds[index]:.2f} s: {reason}", fontsize=8.5, pad=3)


def _shrunk(rgb_u8: U8) -> U8:
    height, width = rgb_u8.shape[:2]
    scale = _THUMB_PX / max(height, width)
    if scale >= 1:
        return rgb_u8
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb_u8, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _time_range(track: PoseTrack) -> tuple[float, float]:
    """Give start and end in seconds; the last frame lasts as long as the usual one."""
    seconds = track.pts_seconds
    usual = float(np.median(np.diff(seconds))) if len(track) > 1 else 1 / 30
    return float(seconds[0]), float(seconds[-1]) + usual


def _states(track: PoseTrack, ledger: FrameLedger) -> NDArray[np.int_]:
    """Give each hand's state ``(T, 2)``; a hand bridged over a lost frame counts as bridged."""
    lost = ledger.decode_status == DECODE_STATUS.index("lost")
    absent = track.provenance == ABSENT
    states: NDArray[np.int_] = np.where(absent & lost[:, None], _LOST_STATE, track.provenance)
    return states


def _worst_in_bins(
    states: NDArray[np.int_], seconds: F64, start: float, end: float
) -> NDArray[np.int_]:
    """Bring states ``(T, 2)`` to even columns of time ``(bins, 2)``, each as bad as its worst."""
    rank = np.array([_BY_SEVERITY.index(s) for s in _STATES])[states]
    edges = np.linspace(start, end, _BINS + 1)
    # A frame is on screen until the next one, so a column starts with the one before its edge.
    first = np.maximum(np.searchsorted(seconds, edges[:-1], side="right") - 1, 0)
    stop = np.maximum(np.searchsorted(seconds, edges[1:], side="left"), first + 1)
    worst = [rank[a:b].max(axis=0) for a, b in zip(first, stop, strict=True)]
    states_by_rank = np.array([_STATES.index(s) for s in _BY_SEVERITY])
    columns: NDArray[np.int_] = states_by_rank[np.array(worst)]
    return columns


def _envelope(seconds: F64, values: NDArray[np.floating]) -> tuple[F64, F64]:
    """Thin a long curve to lowest and highest of each bin, so that no spike is lost."""
    if len(values) <= 2 * _BINS:
        return seconds, values.astype(np.float64)
    starts = np.linspace(0, len(values), _BINS, endpoint=False).astype(int)
    # fmin and fmax pass over NaN, and stay NaN where a whole bin is.
    ends = [np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)]
    thinned: F64 = np.stack(ends, axis=1).reshape(-1).astype(np.float64)
    return np.repeat(seconds[starts], 2), thinned


def _limits(values: NDArray[np.floating]) -> tuple[float, float]:
    """Give the range of refined values with a margin; raw outliers may leave the plot."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    margin = max(0.15 * (high - low), 5.0)
    return low - margin, high + margin


def _unit(colour: RGB, shade: float = 1.0) -> tuple[float, float, float]:
    red, green, blue = (shade * value / 255 for value in colour)
    return red, green, blue
