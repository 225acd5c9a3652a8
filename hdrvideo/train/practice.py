"""Practice tracks: what the frame core said of made clips, beside what is true of them.

The temporal stage learns from these. A practice track is one ``.npz`` file; ``hdrvideo train
tracks`` makes a folder of them (see :mod:`hdrvideo.rehearse`).
"""

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, N_JOINTS, N_SIDES, Bool, check_array
from hdrvideo.errors import DataError, ShapeError
from hdrvideo.files import write_npz
from hdrvideo.handmodel import POSE_JOINTS

PRACTICE_VERSION: Final = 1
_REMEDY: Final = "make practice tracks again with `hdrvideo train tracks`"


@dataclass(frozen=True)
class PracticeTrack:
    """T frames of a made clip; axis 1 is the side, 0 right and 1 left.

    Attributes:
        split: ``train`` or ``test``, of the clip's people, pictures and motions.
        relation: What the clip shows.
        pts_seconds: ``(T,)`` float64.
        k_px: ``(3, 3)`` float32, the camera that the track assumes.
        raw_uv_px: ``(T, 2, 21, 2)`` float32, as in a :class:`~hdrvideo.track.PoseTrack`.
        raw_xyz_cam_mm: ``(T, 2, 21, 3)`` float32, likewise; so are the next three.
        confidence: ``(T, 2, 21)`` float32.
        visible: ``(T, 2, 21)`` bool.
        provenance: ``(T, 2)`` uint8.
        true_k_px: ``(3, 3)`` float32, the camera that the clip was made with.
        uv_px: ``(T, 2, 21, 2)`` float32, the truth from here on; NaN where the hand is not there.
        xyz_cam_mm: ``(T, 2, 21, 3)`` float32, in the true camera.
        present: ``(T, 2)`` bool.
        hidden_share: ``(T, 2)`` float32; NaN where not present.
        pose: ``(T, 2, 16, 3)`` float32 axis-angle, see :mod:`hdrvideo.handmodel`.
        shape: ``(2, n_shape)`` float32.
    """

    split: str
    relation: str
    pts_seconds: NDArray[np.float64]
    k_px: F32
    raw_uv_px: F32
    raw_xyz_cam_mm: F32
    confidence: F32
    visible: Bool
    provenance: NDArray[np.uint8]
    true_k_px: F32
    uv_px: F32
    xyz_cam_mm: F32
    present: Bool
    hidden_share: F32
    pose: F32
    shape: F32

    def __post_init__(self) -> None:
        hand = (len(self.pts_seconds), N_SIDES)
        shapes: dict[str, tuple[tuple[int | None, ...], str]] = {
            "pts_seconds": ((hand[0],), "float64"),
            "k_px": ((3, 3), "float32"),
            "raw_uv_px": ((*hand, N_JOINTS, 2), "float32"),
            "raw_xyz_cam_mm": ((*hand, N_JOINTS, 3), "float32"),
            "confidence": ((*hand, N_JOINTS), "float32"),
            "visible": ((*hand, N_JOINTS), "bool"),
            "provenance": (hand, "uint8"),
            "true_k_px": ((3, 3), "float32"),
            "uv_px": ((*hand, N_JOINTS, 2), "float32"),
            "xyz_cam_mm": ((*hand, N_JOINTS, 3), "float32"),
            "present": (hand, "bool"),
            "hidden_share": (hand, "float32"),
            "pose": ((*hand, len(POSE_JOINTS), 3), "float32"),
            "shape": ((N_SIDES, None), "float32"),
        }
        for name, (shape, kind) in shapes.items():
            check_array(name, getattr(self, name), shape, kind)
        if self.split not in ("train", "test"):
            raise ShapeError(f"split is {self.split!r}, expected 'train' or 'test'")

    def __len__(self) -> int:
        return len(self.pts_seconds)


def save_practice(path: Path, track: PracticeTrack) -> None:
    """Write a practice track under a temporary name, then rename it.

    Raises:
        WriteError: The system refuses the write.
    """
    values: dict[str, Any] = {"version": PRACTICE_VERSION}
    values |= {f.name: getattr(track, f.name) for f in fields(track)}
    write_npz(path, values, overwrite=True, make_folder=True)


def load_practice(path: Path) -> PracticeTrack:
    """Read a practice track.

    Raises:
        DataError: It is missing, damaged, or of another version.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            values: dict[str, Any] = {name: file[name] for name in file.files}
        if int(values.pop("version", -1)) != PRACTICE_VERSION:
            raise DataError(f"{path} is not of version {PRACTICE_VERSION}; {_REMEDY}")
        for name in ("split", "relation"):
            values[name] = str(values[name])
        return PracticeTrack(**values)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error,
            ShapeError) as error:  # fmt: skip
        raise DataError(f"{path} is no practice track of ours ({error}); {_REMEDY}") from error


def load_folder(folder: Path, split: str) -> list[PracticeTrack]:
    """Read all practice tracks of a folder, in the order of their names.

    Raises:
        DataError: There are none, one cannot be read, or one is of the other split.
    """
    paths = sorted(folder.glob("[!.]*.npz"))
    if not paths:
        raise DataError(f"no practice tracks in {folder}; {_REMEDY}")
    tracks = [load_practice(path) for path in paths]
    for path, track in zip(paths, tracks, strict=True):
        if track.split != split:
            raise DataError(f"{path} is of split {track.split}, expected {split}; name another")
    return tracks
