"""What later works measure on InterHand2.6M; each its own protocol, none to be mixed.

* IntagHand (``apps/eval_interhand.py``): each hand's middle knuckle at the origin, its bone to the
  wrist as long as the true one; joints and mesh by the joints' alignment; mean of each side, then
  of the two; frames with two hands. Its true joints come from the MANO mesh of the annotation, so
  give those, not the set's own joints.
* IHMR (``src/utils/metric_utils.py``): each hand by its own wrist, zeros included, joints of all
  frames pooled; and both hands by the right wrist. Its division by a sample's scale factor brings
  lengths to millimetres, in which arrays here are already.
* InterWild (``data/InterHand26M``, ``data/HIC``): human-annotated test frames. Its MPJPE of SH and
  of IH is InterHand2.6M's, but its ALL is the mean of both (13.65 = (12.75 + 14.55) / 2). MPVPE,
  the mesh by each hand's wrist, mean over hands; RRVE, both meshes by the right wrist; MRRPE. The
  wrist of meshes is the MANO mesh's own; give it as the joint.
"""

from typing import Final

import numpy as np

from hdrvideo.alignment import MIDDLE_MCP, bone_scaled
from hdrvideo.datatypes import N_JOINTS
from hdrvideo.hand import RIGHT, WRIST
from hdrvideo.validate.field import Errors, Protocol
from hdrvideo.validate.field_hands import FieldHands, FieldPrediction, FieldTruth
from hdrvideo.validate.hdr_protocol import scale_known
from hdrvideo.validate.interhand import IH26M, root_errors, wrist_errors
from hdrvideo.validate.metrics import F64, joint_distance

INTAGHAND_SPLIT: Final = "test_5fps"
INTERWILD_SPLIT: Final = "test_h"
_INTAGHAND: Final = "IntagHand apps/eval_interhand.py"
_IHMR: Final = "IHMR src/utils/metric_utils.py"
_INTERWILD: Final = "InterWild data/InterHand26M, data/HIC"


def knuckle_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure joints with middle knuckles together and the bone to the wrist as long as true."""
    distance = _knuckle_distance(prediction.wanted("xyz_cam_mm"), truth.wanted("xyz_cam_mm"))
    return Errors(distance, truth.valid & scale_known(truth)[..., None])


def knuckle_mesh_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure vertices moved and scaled as :func:`knuckle_errors` does the joints."""
    distance = _knuckle_distance(_with_mesh(prediction), _with_mesh(truth))[..., N_JOINTS:]
    return _whole_hands(distance, truth, scale_known(truth))


def right_wrist_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure both hands' joints with the right wrist at the origin."""
    distance = _right_wrist_distance(prediction.wanted("xyz_cam_mm"), truth.wanted("xyz_cam_mm"))
    return Errors(distance, truth.valid & truth.valid[:, [RIGHT], WRIST, None])


def wrist_errors_by_subset(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure joints by each hand's wrist, hands of SH frames and those of IH frames apart.

    Axis 1 is right and left of SH, right and left of IH, so a mean over all joints of it weighs SH
    and IH alike.
    """
    errors = wrist_errors(prediction, truth)
    is_pair = np.asarray(truth.hands.all(axis=1))[:, None, None]
    return Errors(
        np.concatenate([errors.value, errors.value], axis=1),
        np.concatenate([errors.counted & ~is_pair, errors.counted & is_pair], axis=1),
    )


def wrist_mesh_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure vertices with each hand's wrist at the origin, a sample a hand."""
    ours, true = _with_mesh(prediction), _with_mesh(truth)
    distance = joint_distance(ours - ours[..., [WRIST], :], true - true[..., [WRIST], :])
    return _whole_hands(distance[..., N_JOINTS:], truth, truth.valid[..., WRIST])


def right_wrist_mesh_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure both meshes with the right wrist at the origin, a sample a frame."""
    distance = _right_wrist_distance(_with_mesh(prediction), _with_mesh(truth))
    hands = _whole_hands(distance[..., N_JOINTS:], truth, truth.valid[..., WRIST])
    counted = np.asarray((hands.counted & truth.hands[..., None]).all(axis=1, keepdims=True))
    return Errors(hands.value.mean(axis=1, keepdims=True), counted)


def _knuckle_distance(predicted: F64, true: F64) -> F64:
    scaled = bone_scaled(predicted, true)
    return joint_distance(scaled - scaled[..., [MIDDLE_MCP], :], true - true[..., [MIDDLE_MCP], :])


def _right_wrist_distance(predicted: F64, true: F64) -> F64:
    ours, theirs = (
        points - points[:, RIGHT : RIGHT + 1, WRIST : WRIST + 1] for points in (predicted, true)
    )
    return joint_distance(ours, theirs)


def _with_mesh(hands: FieldHands) -> F64:
    """Give joints and, behind them, vertices: ``(N, 2, 21 + V, 3)``."""
    return np.concatenate([hands.wanted("xyz_cam_mm"), hands.wanted("vertices_cam_mm")], axis=2)


def _whole_hands(distance: F64, truth: FieldTruth, where: np.ndarray) -> Errors:
    """Give the mean over vertices of the hands whose true mesh is known."""
    known = np.isfinite(truth.wanted("vertices_cam_mm")).all(axis=(-2, -1))
    return Errors(distance.mean(axis=-1, keepdims=True), (known & where)[..., None])


INTAGHAND_MPJPE: Final = Protocol(
    *("mpjpe", "intaghand", "middle_mcp", "true_bone_scale", "42j_two_zero_knuckles"),
    *("hand_means", "mm", "lower", IH26M, INTAGHAND_SPLIT, "ih"),
    text="IntagHand's joint error: middle knuckles together, bone of the true length",
    source=_INTAGHAND,
    errors=knuckle_errors,
)
INTAGHAND_MPVPE: Final = Protocol(
    *("mpvpe", "intaghand", "middle_mcp", "true_bone_scale", "2_meshes"),
    *("hand_means", "mm", "lower", IH26M, INTAGHAND_SPLIT, "ih"),
    text="its vertex error, the mesh moved and scaled as the joints",
    source=_INTAGHAND,
    errors=knuckle_mesh_errors,
)
IHMR_MPJPE: Final = Protocol(
    *("mpjpe", "ihmr", "wrist", "", "42j_two_zero_wrists_pooled"),
    *("pooled", "mm", "lower", IH26M, "test", "all"),
    text="IHMR's: as InterHand2.6M's, but all joints of all frames in one mean",
    source=_IHMR,
    errors=wrist_errors,
)
IHMR_RIGHT_MPJPE: Final = Protocol(
    *("mpjpe", "ihmr", "right_wrist", "", "42j_one_zero_wrist_pooled"),
    *("pooled", "mm", "lower", IH26M, "test", "all"),
    text="IHMR's: both hands by the right wrist, so how they stand to one another counts",
    source=_IHMR,
    errors=right_wrist_errors,
)
INTERWILD_MPJPE: Final = Protocol(
    *("mpjpe", "interwild", "wrist", "", "42j_two_zero_wrists_sh_ih_mean"),
    *("joint_means", "mm", "lower", IH26M, INTERWILD_SPLIT, "all"),
    text="InterWild's: as InterHand2.6M's, but ALL is the mean of SH and IH",
    source=_INTERWILD,
    errors=wrist_errors_by_subset,
)
INTERWILD_MPVPE: Final = Protocol(
    *("mpvpe", "interwild", "wrist", "", "mesh"),
    *("pooled", "mm", "lower", IH26M, INTERWILD_SPLIT, "all"),
    text="InterWild's: mean vertex error of each hand, wrists together",
    source=_INTERWILD,
    errors=wrist_mesh_errors,
)
INTERWILD_RRVE: Final = Protocol(
    *("rrve", "interwild", "right_wrist", "", "2_meshes"),
    *("pooled", "mm", "lower", IH26M, INTERWILD_SPLIT, "ih"),
    text="InterWild's: vertex error of both hands by the right wrist",
    source=_INTERWILD,
    errors=right_wrist_mesh_errors,
)
INTERWILD_MRRPE: Final = Protocol(
    *("mrrpe", "interwild", "unaligned", "", "2_wrists"),
    *("pooled", "mm", "lower", IH26M, INTERWILD_SPLIT, "ih"),
    text="InterWild's: as InterHand2.6M's, on human-annotated frames",
    source=_INTERWILD,
    errors=root_errors,
)
PROTOCOLS: Final = (
    *(INTAGHAND_MPJPE, INTAGHAND_MPVPE, IHMR_MPJPE, IHMR_RIGHT_MPJPE),
    *(INTERWILD_MPJPE, INTERWILD_MPVPE, INTERWILD_RRVE, INTERWILD_MRRPE),
)
