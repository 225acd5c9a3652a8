"""HDR's evaluation, as far as it was released: the alignment, not the averaging.

Code: HDR ``utils/align.py`` puts the predicted wrist on the true one and makes the bone from wrist
to middle knuckle as long as the true one, so HDR's millimetres know the true size of the hand and
InterHand2.6M's do not; its own table prints both side by side. Which joints are averaged was not
released; taken is InterHand2.6M's mean, with and without the wrists. Its 1e-6 in the bone's length
is left out: a hand without that bone has no answer here.
"""

from typing import Final

from hdrvideo.alignment import MIDDLE_MCP, bone_scaled
from hdrvideo.datatypes import Bool
from hdrvideo.hand import WRIST
from hdrvideo.validate.field import Errors, Protocol
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth
from hdrvideo.validate.interhand import IH26M, without_wrists
from hdrvideo.validate.metrics import joint_distance, wrist_aligned_distance

_CODE: Final = "HDR utils/align.py (averaging not released: InterHand2.6M's is taken)"


def scale_known(truth: FieldTruth) -> Bool:
    """Tell ``(N, 2)`` whose true bone from wrist to middle knuckle is known and has a length."""
    true = truth.wanted("xyz_cam_mm")
    length = joint_distance(true[..., MIDDLE_MCP, :], true[..., WRIST, :])
    return truth.valid[..., WRIST] & truth.valid[..., MIDDLE_MCP] & (length > 0)


def bone_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure joints with the wrists together and the predicted bone as long as the true one."""
    true = truth.wanted("xyz_cam_mm")
    scaled = bone_scaled(prediction.wanted("xyz_cam_mm"), true)
    return Errors(wrist_aligned_distance(scaled, true), truth.valid & scale_known(truth)[..., None])


MPJPE: Final = Protocol(
    *("mpjpe", "hdr", "wrist", "true_bone_scale", "42j_two_zero_wrists"),
    *("joint_means", "mm", "lower", IH26M, "test", "all"),
    text="HDR's alignment with the true bone's length, the zero wrists in the mean",
    source=_CODE,
    errors=bone_errors,
)
MPJPE_NO_WRISTS: Final = Protocol(
    *("mpjpe", "hdr", "wrist", "true_bone_scale", "40j"),
    *("joint_means", "mm", "lower", IH26M, "test", "all"),
    text="the same without the wrists",
    source=_CODE,
    errors=lambda prediction, truth: without_wrists(bone_errors(prediction, truth)),
)
PROTOCOLS: Final = (MPJPE, MPJPE_NO_WRISTS)
