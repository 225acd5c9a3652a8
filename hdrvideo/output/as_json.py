"""JSON by frames: one object for every source frame, with an object or null for each hand."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from hdrvideo.angles import ANGLE_JOINTS, ANGLES, joint_angles_deg
from hdrvideo.files import whole_file
from hdrvideo.hand import JOINTS, SIDES, TIPS
from hdrvideo.output.save import WINDOW_FRAMES, strict_json
from hdrvideo.track import ABSENT, PROVENANCE, PoseTrack

# A tenth of a micrometre, a ten-thousandth of a pixel, less than a hundredth of a degree: far below
# what any camera resolves.
DECIMALS: Final = 4

_ARRAYS: Final = (
    "uv_px",
    "xyz_cam_mm",
    "xyz_rel_mm",
    "raw_uv_px",
    "raw_xyz_cam_mm",
    "confidence",
    "turn_rad",
    "shape",
)


def save_json(track: PoseTrack, path: Path, overwrite: bool = False) -> Path:
    """Write strict JSON: ``meta``, ``joints``, ``angle_joints``, ``angles`` and ``frames``.

    A frame has ``index``, ``pts``, ``pts_seconds`` and ``hands`` with the keys ``right`` and
    ``left``; an absent hand is null. A hand has ``provenance``, ``side_score``, ``visible`` (21)
    and the arrays of a track for its 21 joints, rounded to :data:`DECIMALS`; an array without any
    value (the raw pose of a bridged hand) is null, so is a single missing number and a tip's turn.
    ``shape`` (12) is the hand's; ``angles_deg`` (15, 3) are its turns taken apart, in the order of
    ``angle_joints`` and ``angles``. NaN is never written.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    head = {
        "meta": track.meta.to_json(),
        "joints": JOINTS,
        "angle_joints": ANGLE_JOINTS,
        "angles": ANGLES,
    }
    with (
        whole_file(path, overwrite=overwrite) as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        write_object(file, head, {"frames": _frames(track)})
    return path


def write_object(file: TextIO, head: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Write one strict JSON object whose long lists are never held in memory, one entry a line.

    Args:
        file: Where it goes, open for text.
        head: The first keys and their values.
        lists: The further keys and the entries of their lists.
    """
    before = "{"
    for key, value in head.items():
        file.write(f"{before}\n{strict_json(key)}: {strict_json(value)}")
        before = ","
    for key, entries in lists.items():
        file.write(f"{before}\n{strict_json(key)}: [")
        gap = "\n"
        for entry in entries:
            file.write(gap + strict_json(entry))
            gap = ",\n"
        file.write("\n]")
        before = ","
    file.write("\n}\n")


def rounded(values: NDArray[np.floating]) -> Any:
    """Give numbers as nested lists, rounded to :data:`DECIMALS`."""
    return np.round(values.astype(np.float64), DECIMALS).tolist()


def _frames(track: PoseTrack) -> Iterator[dict[str, Any]]:
    for start in range(0, len(track), WINDOW_FRAMES):
        window = track.rows(start, start + WINDOW_FRAMES)
        hands = zip(*(_hands(window, s) for s in range(len(SIDES))), strict=True)
        times = zip(window.frame_index, window.pts, window.pts_seconds, strict=True)
        for (index, pts, seconds), pair in zip(times, hands, strict=True):
            yield {
                "index": int(index),
                "pts": int(pts),
                "pts_seconds": float(seconds),
                "hands": dict(zip(SIDES, pair, strict=True)),
            }


def _hands(track: PoseTrack, side: int) -> Iterator[dict[str, Any] | None]:
    """Give one side's hand in each frame of a window, None where it is absent."""
    arrays = {name: getattr(track, name)[:, side] for name in _ARRAYS}
    arrays["angles_deg"] = joint_angles_deg(arrays["turn_rad"])
    for row, code in enumerate(track.provenance[:, side]):
        if code == ABSENT:
            yield None
            continue
        hand: dict[str, Any] = {
            "provenance": PROVENANCE[code],
            "side_score": rounded(track.side_score[row, side]),
            "visible": track.visible[row, side].tolist(),
        }
        for name, values in arrays.items():
            hand[name] = None if np.isnan(values[row]).all() else rounded(values[row])
        if hand["turn_rad"] is not None:
            for tip in TIPS:
                hand["turn_rad"][tip] = None
        yield hand
