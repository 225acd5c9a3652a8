"""Put hands of joints upon one another: by the wrist, by one bone, by the best similarity.

Every function takes arrays of hands ``(..., 21, D)``; NaN goes in and NaN comes out where there is
no hand. Points that follow the joints, such as a mesh's vertices, are moved with them.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.hand import JOINTS, WRIST

F64 = NDArray[np.float64]

MIDDLE_MCP: Final = JOINTS.index("middle_mcp")


def wrist_aligned(joints: NDArray[Any]) -> F64:
    """Give joints ``(..., 21, D)`` relative to their own wrist."""
    joints = np.asarray(joints, dtype=np.float64)
    return np.asarray(joints - joints[..., WRIST : WRIST + 1, :])


def bone_scaled(predicted_mm: NDArray[Any], true_mm: NDArray[Any]) -> F64:
    """Scale predicted hands so that their wrist-to-middle-knuckle bone is as long as the true one.

    HDR's released alignment (``utils/align.py``) does this before it measures; InterHand2.6M's
    evaluation does not. Hands without that bone become NaN.
    """
    predicted = wrist_aligned(predicted_mm)
    length = np.linalg.norm(predicted[..., MIDDLE_MCP, :], axis=-1)
    wanted = np.linalg.norm(wrist_aligned(true_mm)[..., MIDDLE_MCP, :], axis=-1)
    scale = wanted / np.where(length > 0, length, np.nan)
    return np.asarray(predicted * scale[..., None, None])


def procrustes_aligned(predicted: NDArray[Any], true: NDArray[Any]) -> F64:
    """Bring predicted hands onto the true ones by the best similarity transform.

    Rotation without reflection (HO-3D's own script allows one, see
    :func:`procrustes_or_mirror_aligned`), one scale, translation; Umeyama, "Least-squares
    estimation of transformation parameters between two point patterns" (1991).

    Args:
        predicted: ``(..., P, 3)``, such as 21 joints.
        true: The same shape.

    Returns:
        The same shape; NaN where either hand has a NaN.
    """
    return _best_similarity(predicted, true, may_mirror=False)


def procrustes_or_mirror_aligned(predicted: NDArray[Any], true: NDArray[Any]) -> F64:
    """Do as :func:`procrustes_aligned`, but mirror a hand where that fits better.

    The scripts of FreiHAND, HO-3D and DexYCB do (``orthogonal_procrustes``), so there a hand of the
    wrong side can be perfect.
    """
    return _best_similarity(predicted, true, may_mirror=True)


def _best_similarity(predicted: NDArray[Any], true: NDArray[Any], *, may_mirror: bool) -> F64:
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    is_known = np.isfinite(x).all(axis=(-2, -1)) & np.isfinite(y).all(axis=(-2, -1))
    aligned = np.full(x.shape, np.nan)
    x, y = x[is_known], y[is_known]
    x_mean, y_mean = x.mean(axis=-2, keepdims=True), y.mean(axis=-2, keepdims=True)
    x, y = x - x_mean, y - y_mean
    left, strength, right = np.linalg.svd(y.swapaxes(-1, -2) @ x)
    if not may_mirror:
        sign = np.where(np.linalg.det(left) * np.linalg.det(right) < 0, -1.0, 1.0)
        left[..., -1] *= sign[:, None]
        strength[..., -1] *= sign
    spread = (x**2).sum(axis=(-2, -1))
    # A hand squeezed to a point has no scale: it goes to the true hand's middle.
    scale = np.divide(strength.sum(axis=-1), spread, out=np.zeros_like(spread), where=spread > 0)
    turned = x @ (left @ right).swapaxes(-1, -2)
    aligned[is_known] = scale[:, None, None] * turned + y_mean
    return aligned
