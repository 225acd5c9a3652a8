"""Samples of one frame for :mod:`hdrvideo.validate.comparison`; NumPy only, but for the net.

Every function gives ``(N, M)``: samples by the stage's measures, NaN where there is none.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from hdrvideo.alignment import procrustes_aligned
from hdrvideo.datatypes import Bool
from hdrvideo.validate.comparison import MASKS, PAINTING, PERCEPTUAL, POSE, measures_of
from hdrvideo.validate.masks import MIN_HIDDEN_SHARE, hole_region, mask_scores
from hdrvideo.validate.metrics import (
    F64,
    joint_distance,
    share_within,
    wrist_aligned_distance,
    wrist_to_wrist_error,
)
from hdrvideo.validate.painting import hole_l1, hole_laplacian_distance, hole_psnr_db
from hdrvideo.validate.perceptual import SqueezeNetDistance

PCK_PALMS: Final = 0.2


def pose_samples(
    uv_px: NDArray[Any],
    xyz_cam_mm: NDArray[Any],
    xyz_said_mm: NDArray[Any],
    true_uv_px: NDArray[Any],
    true_xyz_cam_mm: NDArray[Any],
    palm_px: NDArray[Any],
) -> F64:
    """Score both hands of a frame.

    Args:
        uv_px: ``(2, 21, 2)`` as read; NaN for a hand that is not asked for.
        xyz_cam_mm: ``(2, 21, 3)`` as put into the true camera.
        xyz_said_mm: ``(2, 21, 3)`` as the system says it, any origin.
        true_uv_px: ``(2, 21, 2)``.
        true_xyz_cam_mm: ``(2, 21, 3)``.
        palm_px: ``(2,)`` from :func:`hdrvideo.validate.match.palm_length_px`.

    Returns:
        ``(2, M)`` by side; the pair's way is with the right hand.
    """
    palms = joint_distance(uv_px, true_uv_px) / palm_px[:, None]
    aligned = procrustes_aligned(xyz_said_mm, true_xyz_cam_mm)
    way = np.full(2, np.nan)
    way[0] = wrist_to_wrist_error(xyz_cam_mm, true_xyz_cam_mm)
    columns = {
        "mpjpe_wrist_20j_lifted_mm": _mean20(xyz_cam_mm, true_xyz_cam_mm),
        "mpjpe_wrist_20j_mm": _mean20(xyz_said_mm, true_xyz_cam_mm),
        "pa_mpjpe_21j_mm": joint_distance(aligned, true_xyz_cam_mm).mean(axis=-1),
        "epe_palm_pct": 100 * palms.mean(axis=-1),
        "pck_0.2palm_pct": 100 * share_within(palms, PCK_PALMS),
        "mrrpe_mm": way,
    }
    return _ordered(POSE, columns)


def _mean20(xyz_mm: NDArray[Any], true_mm: NDArray[Any]) -> F64:
    return np.asarray(wrist_aligned_distance(xyz_mm, true_mm)[..., 1:].mean(axis=-1))


def mask_samples(
    visible: Bool, amodal: Bool, true_visible: Bool, true_amodal: Bool, present: Bool
) -> F64:
    """Score both hands' masks of a frame.

    Args:
        visible: ``(2, H, W)`` what was given, or what the system says.
        amodal: ``(2, H, W)`` the whole as completed.
        true_visible: ``(2, H, W)``.
        true_amodal: ``(2, H, W)``.
        present: ``(2,)``; other hands are no samples.
    """
    scores = mask_scores(visible, amodal, true_visible, true_amodal)
    whole = np.where(present, scores.amodal, np.nan)
    hidden = np.where(present, scores.hidden, np.nan)
    columns = {
        "mask_iou_hidden_5pct": hidden,
        "mask_iou_amodal": whole,
        "mask_iou_amodal_hidden_5pct": np.where(np.isnan(hidden), np.nan, whole),
    }
    return _ordered(MASKS, columns)


def is_hidden(masks: Bool) -> bool:
    """Tell whether a hand of a crop's masks ``(4, R, R)`` is hidden enough to be a sample."""
    hole = hole_region(masks[0], masks[1])
    return bool(hole.sum() >= MIN_HIDDEN_SHARE * max(int(masks[1].sum()), 1) and hole.any())


def paint_samples(
    painted: NDArray[Any],
    true: NDArray[Any],
    masks: Bool,
    known: Bool,
    distance: SqueezeNetDistance | None = None,
) -> F64:
    """Score one painted hand.

    Args:
        painted: ``(3, R, R)`` in 0..1.
        true: ``(3, R, R)`` the hand whole and alone.
        masks: ``(4, R, R)`` true: own_visible, own_amodal, other_visible, other_amodal.
        known: ``(R, R)`` where the truth is known.
        distance: The perceptual distance; None = it is left out.

    Returns:
        ``(1, M)``.
    """
    hole = hole_region(masks[0], masks[1]) & known
    removed = masks[2] & ~masks[1] & known
    columns = {
        "bare_hole_l1": hole_l1(painted, true, hole),
        "bare_hole_psnr_db": hole_psnr_db(painted, true, hole),
        "bare_hole_laplacian": hole_laplacian_distance(painted, true, hole),
        "bare_removed_l1": hole_l1(painted, true, removed),
        PERCEPTUAL: np.nan,
    }
    if distance is not None and hole.any():
        said, wanted = (torch.from_numpy(np.asarray(a, np.float32))[None] for a in (painted, true))
        columns[PERCEPTUAL] = float(distance(said, wanted, torch.from_numpy(hole)[None, None]))
    return _ordered(PAINTING, {name: np.array([value]) for name, value in columns.items()})


def _ordered(stage: str, columns: dict[str, F64]) -> F64:
    """Put columns ``(N,)`` in the order of the stage's measures."""
    names = [measure.name for measure in measures_of(stage)]
    return np.stack([np.asarray(columns[name], np.float64) for name in names], axis=-1)
