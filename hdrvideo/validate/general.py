"""Protocols of no work's own: plain rules that all sets with such labels can be scored by.

They stand beside a set's own ones, so that one row can be read across sets; no published number was
counted by them. In space hands count all of whose joints are labelled; in the picture every
labelled joint does.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from hdrvideo.alignment import bone_scaled, procrustes_aligned
from hdrvideo.hand import WRIST
from hdrvideo.validate.dexycb import wrist_on_wrist
from hdrvideo.validate.field import Errors, Protocol
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth
from hdrvideo.validate.ho3d import area_of, joint_errors, unaligned
from hdrvideo.validate.interhand import without_wrists
from hdrvideo.validate.metrics import F64
from hdrvideo.validate.tzionas import end_point_errors

GENERAL: Final = "general"
_SOURCE: Final = "no work: hdrvideo's own plain rule"


def bone_on_bone(predicted: F64, true: F64) -> F64:
    """Put wrists together and make the bone to the middle knuckle as long as the true one."""
    return np.asarray(bone_scaled(predicted, true) + true[..., [WRIST], :])


def _by_wrist(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    return without_wrists(joint_errors(wrist_on_wrist)(prediction, truth))


def _by_bone(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    return without_wrists(joint_errors(bone_on_bone)(prediction, truth))


def general_protocols(data_set: str, split: str, *, subset: str = "") -> tuple[Protocol, ...]:
    """Give the general protocols for a set.

    Args:
        data_set: As protocols call it.
        split: Likewise.
        subset: One of :data:`hdrvideo.validate.field.SUBSETS`.
    """
    return tuple(
        replace(protocol, data_set=data_set, split=split, subset=subset) for protocol in _GENERAL
    )


_MM: Final = ("pooled", "mm", "lower", "any", "any", "")
_AREA: Final = ("pooled", "0-1", "higher", "any", "any", "")
_GENERAL: Final = (
    Protocol(
        *("mpjpe", GENERAL, "unaligned", "", "21j", *_MM),
        text="mean joint error in the camera, no alignment",
        source=_SOURCE,
        errors=joint_errors(unaligned),
    ),
    Protocol(
        *("mpjpe", GENERAL, "wrist", "", "20j", *_MM),
        text="mean joint error, wrists together, wrist not in the mean",
        source=_SOURCE,
        errors=_by_wrist,
    ),
    Protocol(
        *("mpjpe", GENERAL, "wrist", "true_bone_scale", "20j", *_MM),
        text="the same, the bone to the middle knuckle made as long as the true one",
        source=_SOURCE,
        errors=_by_bone,
    ),
    Protocol(
        *("mpjpe", GENERAL, "procrustes", "best_scale", "21j", *_MM),
        text="mean joint error after Procrustes, which may not mirror",
        source=_SOURCE,
        errors=joint_errors(procrustes_aligned),
    ),
    Protocol(
        *("auc_0_50mm", GENERAL, "wrist", "", "20j", *_AREA),
        text="area under the curve of correct joints from 0 to 50 mm, wrists together",
        source=_SOURCE,
        errors=area_of(_by_wrist),
    ),
    Protocol(
        *("auc_0_50mm", GENERAL, "procrustes", "best_scale", "21j", *_AREA),
        text="area under the curve of correct joints from 0 to 50 mm, after Procrustes",
        source=_SOURCE,
        errors=area_of(joint_errors(procrustes_aligned)),
    ),
    Protocol(
        *("epe", GENERAL, "unaligned", "", "labelled_joints"),
        *("pooled", "px", "lower", "any", "any", ""),
        text="distance of labelled joints in the picture",
        source=_SOURCE,
        errors=end_point_errors,
    ),
)
