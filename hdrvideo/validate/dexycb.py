"""DexYCB's evaluation by its toolkit, and the one that HandOccNet prints of the same set.

Code: dex-ycb-toolkit ``hpe_eval.py``; HandOccNet ``data/DEX_YCB/DEX_YCB.py``. Hands of both sides,
one a frame. The toolkit gives absolute, root-relative (the wrist, zero, in the mean) and Procrustes
errors with the area under the curve of correct joints over 100 thresholds from 0 to 50 mm; its
Procrustes is FreiHAND's and may mirror a hand. HandOccNet's own numbers are root-relative and by a
Procrustes that may not. Frames whose labels are all -1 have no hand and are skipped.

Which split was read is in the name, and matters: HandOccNet's released loader reads the file of
"val" where its table says test (10.01 and 4.52 for 14.04 and 5.80).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.alignment import procrustes_aligned, procrustes_or_mirror_aligned
from hdrvideo.datatypes import N_JOINTS, N_SIDES
from hdrvideo.errors import ShapeError
from hdrvideo.hand import WRIST
from hdrvideo.validate.field import Protocol
from hdrvideo.validate.field_hands import FieldTruth, field_truth
from hdrvideo.validate.ho3d import area_of, joint_errors, unaligned
from hdrvideo.validate.metrics import F64

DEXYCB: Final = "dexycb"
# S0 by sequence, S1 unseen subjects, S2 unseen views, S3 unseen grasps; each with val and test.
SPLIT: Final = "s0_test"
_NO_LABEL: Final = -1.0
_TOOLKIT: Final = "dex-ycb-toolkit hpe_eval.py"
_HANDOCCNET: Final = "HandOccNet data/DEX_YCB/DEX_YCB.py"


def truth_of_labels(joint_3d_m: NDArray[Any], sides: NDArray[Any]) -> FieldTruth:
    """Bring the set's labels to a truth; their joint order is ours.

    Args:
        joint_3d_m: ``(N, 21, 3)`` ``joint_3d`` of the label files, metres in the camera; all -1 =
            no hand.
        sides: ``(N,)`` side of each hand (``mano_sides`` of the meta file), 0 right or 1 left.

    Raises:
        ShapeError: The arrays do not fit.
    """
    joints = np.asarray(joint_3d_m, dtype=np.float64)
    sides = np.asarray(sides)
    if joints.shape != (len(sides), N_JOINTS, 3) or not np.isin(sides, range(N_SIDES)).all():
        raise ShapeError(
            f"labels are {joints.shape} with sides {sides.shape}, expected (N, 21, 3) and (N,) of "
            "0 (right) or 1 (left)"
        )
    is_there = (joints != _NO_LABEL).any(axis=(1, 2))
    frames = np.flatnonzero(is_there)
    xyz_cam_mm = np.full((len(joints), N_SIDES, N_JOINTS, 3), np.nan)
    xyz_cam_mm[frames, sides[frames]] = 1000.0 * joints[frames]
    return field_truth(np.isfinite(xyz_cam_mm).all(axis=-1), xyz_cam_mm=xyz_cam_mm)


def wrist_on_wrist(predicted: F64, true: F64) -> F64:
    """Put predicted wrists onto the true ones."""
    return np.asarray(predicted - predicted[..., [WRIST], :] + true[..., [WRIST], :])


_ALIGNS: Final = (
    ("unaligned", "", "21j", "no alignment", unaligned),
    ("wrist", "", "21j_one_zero_wrist", "root-relative, the wrist in the mean", wrist_on_wrist),
    (
        *("procrustes_or_mirror", "best_scale", "21j"),
        *("after Procrustes, which may mirror", procrustes_or_mirror_aligned),
    ),
)


def _toolkit() -> list[Protocol]:
    made = []
    for alignment, scale, joints, text, align in _ALIGNS:
        errors = joint_errors(align)
        how = ("dexycb", alignment, scale, joints, "pooled")
        made += [
            Protocol(
                *("mpjpe", *how, "mm", "lower", DEXYCB, SPLIT, ""),
                text=f"DexYCB's mean joint error, {text}",
                source=_TOOLKIT,
                errors=errors,
            ),
            Protocol(
                *("auc_0_50mm", *how, "0-1", "higher", DEXYCB, SPLIT, ""),
                text=f"area under DexYCB's curve of correct joints from 0 to 50 mm, {text}",
                source=_TOOLKIT,
                errors=area_of(errors),
            ),
        ]
    return made


HANDOCCNET: Final = (
    Protocol(
        *("mpjpe", "handoccnet", "wrist", "", "21j_one_zero_wrist", "pooled"),
        *("mm", "lower", DEXYCB, SPLIT, ""),
        text="HandOccNet's joint error: root-relative, the wrist in the mean",
        source=_HANDOCCNET,
        errors=joint_errors(wrist_on_wrist),
    ),
    Protocol(
        *("mpjpe", "handoccnet", "procrustes", "best_scale", "21j", "pooled"),
        *("mm", "lower", DEXYCB, SPLIT, ""),
        text="HandOccNet's joint error after Procrustes, which may not mirror",
        source=_HANDOCCNET,
        errors=joint_errors(procrustes_aligned),
    ),
)
PROTOCOLS: Final = (*_toolkit(), *HANDOCCNET)
