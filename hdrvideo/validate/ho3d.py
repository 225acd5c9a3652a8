"""HO-3D's evaluation, as its script does it, in our units.

Code: HO-3D ``eval.py``. It takes one right hand a frame, metres, OpenGL axes, MANO joint order;
arrays here are in ours (millimetres, y down; see :mod:`hdrvideo.validate.submissions` for the
server's file), which changes no distance. What it does:

* Three alignments of joints: none; wrist and the length of one bone, its joints 0 and 4, which in
  MANO's order is the middle knuckle (in ours joint 4 is the thumb's tip); Procrustes that may
  mirror the hand.
* Meshes: mean vertex error and F-score, unaligned and after a Procrustes of their own, not the
  joints'. F is the harmonic mean of precision and recall of nearest-neighbour distances strictly
  below 5 or 15 mm, not a distance of corresponding vertices.
* A mesh that has not MANO's 778 vertices has no vertex error, and is moved by the joints'
  transform before the F-score. There the script forgets to divide by the predicted hand's size in
  metres (:func:`mesh_by_joints`), so such a mesh shrinks to about a third: its aligned F is no
  measure of its shape, and is so on the server, too.
* AUC over 100 thresholds from 0 to 50 mm. The script prints centimetres.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree

from hdrvideo.alignment import MIDDLE_MCP, bone_scaled, procrustes_or_mirror_aligned
from hdrvideo.datatypes import Bool
from hdrvideo.errors import ShapeError
from hdrvideo.hand import WRIST
from hdrvideo.validate.field import Errors, Protocol
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth
from hdrvideo.validate.metrics import F64, area_under_pck, joint_distance

HO3D: Final = "ho3d"
SPLIT: Final = "v2_evaluation"
AUC_LOW_MM, AUC_HIGH_MM = 0.0, 50.0
F_LIMITS_MM: Final = (5.0, 15.0)
_CODE: Final = "HO-3D eval.py"
_MM_PER_M: Final = 1000.0

Measure = Callable[[FieldPrediction, FieldTruth], Errors]
# Brings predicted points onto true ones, (..., P, 3) each.
Align = Callable[[F64, F64], F64]


def unaligned(predicted: F64, true: F64) -> F64:
    """Leave predicted points where they are."""
    return predicted


def wrist_and_bone_aligned(predicted: F64, true: F64) -> F64:
    """Put wrists together and make the bone to the middle knuckle as long as the true one.

    A predicted hand whose bone has no length, such as one of zeros, is scaled by the true bone's
    length in metres, as in the script.
    """
    scaled = bone_scaled(predicted, true)
    from_wrist = predicted - predicted[..., [WRIST], :]
    true_m = np.linalg.norm(_bone(true), axis=-1) / _MM_PER_M
    has_no_bone = (_bone(predicted) == 0).all(axis=-1)
    scaled = np.where(has_no_bone[..., None, None], from_wrist * true_m[..., None, None], scaled)
    return np.asarray(scaled + true[..., [WRIST], :])


def joint_errors(align: Align) -> Measure:
    """Make the measure of 21 joints after an alignment; hands are known whole or not at all."""

    def errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
        predicted, true = prediction.wanted("xyz_cam_mm"), truth.wanted("xyz_cam_mm")
        distance = joint_distance(align(predicted, true), true)
        return Errors(distance, np.broadcast_to(truth.whole[..., None], distance.shape))

    return errors


def area_of(
    errors: Measure,
) -> Measure:
    """Make the measure of the area under each hand's PCK curve from 0 to 50 mm."""

    def areas(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
        of = errors(prediction, truth)
        area = area_under_pck(of.value, AUC_LOW_MM, AUC_HIGH_MM)
        return Errors(area[..., None], _all_counted(of))

    return areas


def mean_of(
    errors: Measure,
) -> Measure:
    """Make the measure of each hand's mean, which takes less memory than its vertices."""

    def means(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
        of = errors(prediction, truth)
        return Errors(of.value.mean(axis=-1, keepdims=True), _all_counted(of))

    return means


def mesh_errors(align: Align) -> Measure:
    """Make the measure of corresponding vertices after an alignment of the mesh itself."""

    def errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
        predicted, true = _meshes(prediction, truth)
        if predicted.shape != true.shape:
            raise ShapeError(
                f"predicted meshes have {predicted.shape[-2]} vertices and true ones "
                f"{true.shape[-2]}: no vertex error (HO-3D's script says -1); only F-scores"
            )
        distance = joint_distance(align(predicted, true), true)
        counted = truth.whole & _has_mesh(true)
        return Errors(distance, np.broadcast_to(counted[..., None], distance.shape))

    return errors


def mesh_f_scores(limit_mm: float, *, aligned: bool) -> Measure:
    """Make the measure of the F-score, a sample a hand."""

    def errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
        predicted, true = _meshes(prediction, truth)
        if aligned and predicted.shape == true.shape:
            predicted = procrustes_or_mirror_aligned(predicted, true)
        counted = truth.whole & _has_mesh(true)
        value = np.full((*counted.shape, 1), np.nan)
        for n, side in np.argwhere(counted & _has_mesh(predicted)):
            mesh = predicted[n, side]
            if aligned and predicted.shape != true.shape:
                joints = (a.wanted("xyz_cam_mm")[n, side] for a in (prediction, truth))
                mesh = mesh_by_joints(mesh, *joints)
            value[n, side] = f_score(mesh, true[n, side], limit_mm)
        return Errors(value, counted[..., None])

    return errors


def f_score(predicted: F64, true: F64, limit: float) -> float:
    """Give the harmonic mean of the shares of points with a point of the other cloud below a limit.

    Args:
        predicted: ``(P, 3)``.
        true: ``(V, 3)`` in the same unit.
        limit: A neighbour at exactly this distance is none.

    Returns:
        0..1; 0 where either has no point.
    """
    if not len(predicted) or not len(true):
        return 0.0
    precision = (cKDTree(true).query(predicted)[0] < limit).mean()
    recall = (cKDTree(predicted).query(true)[0] < limit).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def mesh_by_joints(mesh_mm: F64, joints_mm: F64, true_joints_mm: F64) -> F64:
    """Move a mesh as the script moves one whose vertices are not MANO's.

    By rotation (or reflection) of the joints' Procrustes about the mesh's own mean, and scaled by
    fit times true size in metres; the predicted size, by which the joints themselves are divided,
    is forgotten.

    Args:
        mesh_mm: ``(P, 3)`` predicted vertices.
        joints_mm: ``(21, 3)`` predicted joints.
        true_joints_mm: ``(21, 3)``.

    Returns:
        ``(P, 3)`` in millimetres.
    """
    mesh, joints, true = (a / _MM_PER_M for a in (mesh_mm, joints_mm, true_joints_mm))
    mean, true_mean, middle = joints.mean(axis=0), true.mean(axis=0), mesh.mean(axis=0)
    size, true_size = np.linalg.norm(joints - mean), np.linalg.norm(true - true_mean)
    # A hand squeezed to a point has no size; the script adds as little.
    rotation, fit = orthogonal_procrustes(
        (true - true_mean) / (true_size + 1e-8), (joints - mean) / (size + 1e-8)
    )
    moved = (mesh - middle) @ rotation.T * fit * true_size + true_mean - mean + middle
    return np.asarray(_MM_PER_M * moved)


def _all_counted(errors: Errors) -> Bool:
    return np.asarray(errors.counted.all(axis=-1, keepdims=True))


def _bone(joints: F64) -> F64:
    return np.asarray(joints[..., MIDDLE_MCP, :] - joints[..., WRIST, :])


def _meshes(prediction: FieldPrediction, truth: FieldTruth) -> tuple[F64, F64]:
    return prediction.wanted("vertices_cam_mm"), truth.wanted("vertices_cam_mm")


def _has_mesh(vertices: F64) -> Bool:
    return np.asarray(np.isfinite(vertices).all(axis=(-2, -1)))


_ALIGNS: Final = (
    ("unaligned", "", "21j", "no alignment", unaligned),
    (
        *("wrist", "true_bone_scale", "21j_one_zero_wrist"),
        *("wrists together, bone to the middle knuckle of the true length", wrist_and_bone_aligned),
    ),
    (
        *("procrustes_or_mirror", "best_scale", "21j"),
        *("after Procrustes, which may mirror", procrustes_or_mirror_aligned),
    ),
)
_WHERE: Final = (HO3D, SPLIT, "")


def _joint_protocols() -> list[Protocol]:
    made = []
    for alignment, scale, joints, text, align in _ALIGNS:
        errors = joint_errors(align)
        how = ("ho3d", alignment, scale, joints, "pooled")
        made += [
            Protocol(
                *("mpjpe", *how, "mm", "lower", *_WHERE),
                text=f"HO-3D's mean joint error, {text}",
                source=_CODE,
                errors=errors,
            ),
            Protocol(
                *("auc_0_50mm", *how, "0-1", "higher", *_WHERE),
                text=f"area under HO-3D's curve of correct joints from 0 to 50 mm, {text}",
                source=_CODE,
                errors=area_of(errors),
            ),
        ]
    return made


def _mesh_protocols() -> list[Protocol]:
    made = []
    for alignment, scale, _, text, align in (_ALIGNS[0], _ALIGNS[2]):
        errors = mesh_errors(align)
        how = ("ho3d", alignment, scale, "mesh", "pooled")
        made += [
            Protocol(
                *("mpvpe", *how, "mm", "lower", *_WHERE),
                text=f"HO-3D's mean vertex error, {text} by the mesh itself",
                source=_CODE,
                errors=mean_of(errors),
            ),
            Protocol(
                *("auc_0_50mm", *how, "0-1", "higher", *_WHERE),
                text=f"area under HO-3D's curve of correct vertices from 0 to 50 mm, {text}",
                source=_CODE,
                errors=area_of(errors),
            ),
        ]
        made += [
            Protocol(
                *(f"f_{limit_mm:.0f}mm", *how, "0-1", "higher", *_WHERE),
                text=f"HO-3D's F-score of meshes at {limit_mm:.0f} mm, nearest points, {text}",
                source=_CODE,
                errors=mesh_f_scores(limit_mm, aligned=bool(scale)),
            )
            for limit_mm in F_LIMITS_MM
        ]
    return made


PROTOCOLS: Final = (*_joint_protocols(), *_mesh_protocols())
