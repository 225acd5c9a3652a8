"""What was read of a data set beside its labels: one file, and plain scores; NumPy only.

The file is what any protocol of the field can be counted from, without the pictures and the nets.
The scores here are plain ones, each a mean over hands of a mean over that hand's labelled joints;
they are no set's own protocol, and hands are given, not found.
"""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.alignment import procrustes_aligned
from hdrvideo.datatypes import N_JOINTS, N_SIDES, Bool, check_array
from hdrvideo.errors import DataError
from hdrvideo.files import write_npz
from hdrvideo.hand import WRIST
from hdrvideo.validate.labelled_scores import PCK_PALMS
from hdrvideo.validate.metrics import (
    F64,
    joint_distance,
    wrist_aligned_distance,
    wrist_to_wrist_error,
)

F32 = NDArray[np.float32]

_HAND: Final = (N_SIDES, N_JOINTS)
# Names, shapes after N, and kinds of the arrays.
_ARRAYS: Final[Mapping[str, tuple[tuple[int, ...], str]]] = {
    **dict.fromkeys(("names", "subject", "sequence", "camera"), ((), "")),
    "frame": ((), "float64"),
    **dict.fromkeys(("present", "read"), ((N_SIDES,), "bool")),
    **dict.fromkeys(("valid_uv", "valid_xyz"), (_HAND, "bool")),
    **dict.fromkeys(("true_uv_px", "uv_px"), ((*_HAND, 2), "float32")),
    **dict.fromkeys(("true_xyz_cam_mm", "xyz_cam_mm", "xyz_rel_mm"), ((*_HAND, 3), "float32")),
    "confidence": (_HAND, "float32"),
    "palm_px": ((N_SIDES,), "float32"),
    "k_px": ((3, 3), "float64"),
}


@dataclass(frozen=True)
class SetPredictions:
    """N pictures of a set: labels, and what was read. Axis of two is the side, 0 right, 1 left.

    Attributes:
        source: Name of the set.
        split: Its split, and its part if it has some.
        names: ``(N,)`` text, of the samples.
        subject: ``(N,)`` text; empty where the set does not say.
        sequence: ``(N,)`` text likewise.
        camera: ``(N,)`` text likewise.
        frame: ``(N,)`` float64, NaN likewise.
        present: ``(N, 2)`` bool, hands that are labelled as being there.
        read: ``(N, 2)`` bool, hands that were read.
        valid_uv: ``(N, 2, 21)`` bool, joints with a label in the picture.
        valid_xyz: ``(N, 2, 21)`` bool, in space.
        true_uv_px: ``(N, 2, 21, 2)`` float32; NaN where not valid.
        true_xyz_cam_mm: ``(N, 2, 21, 3)`` float32 in the camera; likewise.
        uv_px: ``(N, 2, 21, 2)`` float32 as read; NaN where not read.
        xyz_cam_mm: ``(N, 2, 21, 3)`` float32 as read, in the camera; NaN where there is none.
        xyz_rel_mm: ``(N, 2, 21, 3)`` float32 as read, from the wrist, as the net says it.
        confidence: ``(N, 2, 21)`` float32 0..1.
        palm_px: ``(N, 2)`` float32, length of the true palm as it would look face on, or as it
            looks where there is no 3D; NaN where not read.
        k_px: ``(N, 3, 3)`` float64; NaN where the camera is not known.
    """

    source: str
    split: str
    names: NDArray[np.str_]
    subject: NDArray[np.str_]
    sequence: NDArray[np.str_]
    camera: NDArray[np.str_]
    frame: F64
    present: Bool
    read: Bool
    valid_uv: Bool
    valid_xyz: Bool
    true_uv_px: F32
    true_xyz_cam_mm: F32
    uv_px: F32
    xyz_cam_mm: F32
    xyz_rel_mm: F32
    confidence: F32
    palm_px: F32
    k_px: F64

    def __post_init__(self) -> None:
        for name, (shape, kind) in _ARRAYS.items():
            check_array(name, getattr(self, name), (len(self.names), *shape), kind)

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write all as one ``.npz``.

        Raises:
            WriteError: The file exists, or cannot be written.
        """
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        write_npz(path, arrays, overwrite=overwrite)

    @classmethod
    def load(cls, path: Path) -> "SetPredictions":
        """Read what :meth:`save` wrote.

        Raises:
            DataError: The file is missing or broken, or is none of ours.
            ShapeError: An array has the wrong shape.
        """
        try:
            with path.open("rb") as file, np.load(file) as stored:
                arrays: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls)}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(
                f"{path} holds no predictions of a set ({what}); make it with validate set"
            ) from error
        words = {name: str(arrays[name]) for name in ("source", "split")}
        return cls(**{**arrays, **words})


@dataclass(frozen=True)
class SetScore:
    """Plain scores of a group of hands; NaN where no hand has the labels for it.

    Attributes:
        group: ``all``, ``single`` (the picture's other hand is not labelled as being there) or
            ``pair``.
        n_hands: Hands that are present and have a label.
        n_read: Of them, those that were read.
        epe_px: Distance in the picture, of labelled joints.
        epe_palm: The same in per cent of the palm.
        pck: Per cent of labelled joints within a fifth of a palm.
        n_space: Hands that were read and have joints in space, the wrist among them.
        mpjpe_mm: Distance in space with the wrists put together, of labelled joints but the wrist.
        n_whole: Hands that were read and have all joints in space.
        pa_mpjpe_mm: Distance in space after Procrustes' alignment, of all 21 joints.
        n_pairs: Pictures with both hands read and their wrists known in the camera.
        mrrpe_mm: How wrong the way from the right to the left wrist is.
    """

    group: str
    n_hands: int
    n_read: int
    epe_px: float
    epe_palm: float
    pck: float
    n_space: int
    mpjpe_mm: float
    n_whole: int
    pa_mpjpe_mm: float
    n_pairs: int
    mrrpe_mm: float


def score_set(found: SetPredictions) -> list[SetScore]:
    """Score all hands, those alone in their picture, and those of pairs, where there are any."""
    pair = np.asarray(found.present.all(axis=1))
    labelled = np.asarray(found.present & (found.valid_uv | found.valid_xyz).any(axis=2))
    groups = {"all": np.ones_like(pair), "single": ~pair, "pair": pair}
    scores = [_score(name, found, labelled & rows[:, None]) for name, rows in groups.items()]
    return [score for score in scores if score.n_hands or score.group == "all"]


def _score(group: str, found: SetPredictions, hands: Bool) -> SetScore:
    read = hands & found.read
    off_px = joint_distance(found.uv_px, found.true_uv_px)
    palms = off_px / found.palm_px[..., None]
    flat = found.valid_uv & read[..., None]
    in_camera = np.isfinite(found.xyz_cam_mm).all(axis=-1, keepdims=True)
    xyz_mm = np.where(in_camera, found.xyz_cam_mm, found.xyz_rel_mm)
    off_mm = wrist_aligned_distance(xyz_mm, found.true_xyz_cam_mm)
    space = found.valid_xyz & (read & found.valid_xyz[..., WRIST])[..., None]
    space[..., WRIST] = False
    whole = read & found.valid_xyz.all(axis=-1)
    aligned = procrustes_aligned(xyz_mm[whole], found.true_xyz_cam_mm[whole])
    off_pa_mm = joint_distance(aligned, found.true_xyz_cam_mm[whole])
    way_mm = wrist_to_wrist_error(found.xyz_cam_mm, found.true_xyz_cam_mm)[read.all(axis=1)]
    within = np.where(np.isfinite(palms), palms <= PCK_PALMS, np.nan)
    return SetScore(
        group=group,
        n_hands=int(hands.sum()),
        n_read=int(read.sum()),
        epe_px=_mean(off_px, flat),
        epe_palm=100 * _mean(palms, flat),
        pck=100 * _mean(within, flat),
        n_space=int(space.any(axis=-1).sum()),
        mpjpe_mm=_mean(off_mm, space),
        n_whole=int(whole.sum()),
        pa_mpjpe_mm=_mean(off_pa_mm, np.ones_like(off_pa_mm, dtype=bool)),
        n_pairs=int(np.isfinite(way_mm).sum()),
        mrrpe_mm=_mean(way_mm[:, None], np.isfinite(way_mm)[:, None]),
    )


def _mean(values: NDArray[Any], counted: NDArray[np.bool_]) -> float:
    """Give the mean over hands of the mean over each one's counted joints ``(..., J)``."""
    n = counted.sum(axis=-1)
    sums = np.where(counted, values, 0.0).sum(axis=-1)
    hands = n > 0
    return float((sums[hands] / n[hands]).mean()) if hands.any() else math.nan


_HEAD: Final = (
    *("", "hands", "read", "EPE, px", "EPE, % of palm", f"PCK@{PCK_PALMS}, %"),
    *("MPJPE, mm", "(hands)", "PA-MPJPE, mm", "(hands)", "MRRPE, mm", "(pairs)"),
)


def scores_table(scores: list[SetScore]) -> str:
    """Give the scores as a Markdown table."""
    rows = [
        (
            *(s.group, str(s.n_hands), str(s.n_read)),
            *(_text(s.epe_px), _text(s.epe_palm), _text(s.pck)),
            *(_text(s.mpjpe_mm), str(s.n_space), _text(s.pa_mpjpe_mm), str(s.n_whole)),
            *(_text(s.mrrpe_mm), str(s.n_pairs)),
        )
        for s in scores
    ]
    line = "|---" + "|---:" * (len(_HEAD) - 1) + "|"
    head, *body = (f"| {' | '.join(row)} |" for row in (_HEAD, *rows))
    return "\n".join([head, line, *body]) + "\n"


def _text(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
