"""Distances between predicted and true joints; NumPy only, no rule about which hands count.

Every function takes arrays of hands ``(..., 21, D)`` and gives one number a hand, or a joint; NaN
goes in and NaN comes out where there is no hand. Which hands are samples, and what a missing one
costs, is said in :mod:`hdrvideo.validate.protocols`.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.alignment import wrist_aligned
from hdrvideo.hand import LEFT, RIGHT, WRIST

F64 = NDArray[np.float64]

# Points of a curve of correct joints over the threshold; as in HO-3D and DexYCB.
AUC_STEPS: Final = 100


def joint_distance(predicted: NDArray[Any], true: NDArray[Any]) -> F64:
    """Give the distance of each joint ``(..., 21)``, in the unit of the arrays."""
    difference = np.asarray(predicted, dtype=np.float64) - np.asarray(true, dtype=np.float64)
    return np.asarray(np.linalg.norm(difference, axis=-1))


def wrist_aligned_distance(predicted_mm: NDArray[Any], true_mm: NDArray[Any]) -> F64:
    """Give the distance of each joint ``(..., 21)`` after each hand's wrist is put to the origin.

    The wrist's own distance is zero by construction; InterHand2.6M has it in its mean, which makes
    an MPJPE 1/21 smaller than one over the other 20 joints.
    """
    return joint_distance(wrist_aligned(predicted_mm), wrist_aligned(true_mm))


def share_within(distance: NDArray[Any], limit: float) -> F64:
    """Give the share of a hand's joints at most ``limit`` away (PCK): ``(..., J)`` to ``(...)``.

    A hand with a NaN joint is NaN.
    """
    distance = np.asarray(distance, dtype=np.float64)
    share = (distance <= limit).mean(axis=-1)
    return np.where(np.isnan(distance).any(axis=-1), np.nan, share)


def area_under_pck(distance: NDArray[Any], low: float, high: float) -> F64:
    """Give the area under a hand's PCK curve between two thresholds, 1 = perfect.

    :data:`AUC_STEPS` thresholds evenly from ``low`` to ``high``, both included, trapezoid rule,
    divided by the width (Zimmermann and Brox 2017; HO-3D and DexYCB do the same for 0-50 mm). The
    mean over hands is the area under the mean curve.

    Args:
        distance: ``(..., J)``.
        low: First threshold.
        high: Last threshold.

    Returns:
        ``(...)`` in 0..1; a hand with a NaN joint is NaN.
    """
    distance = np.asarray(distance, dtype=np.float64)
    # A perfect hand is a rounding error from zero after Procrustes; it passes the threshold zero.
    thresholds = np.linspace(low, high, AUC_STEPS) + 1e-9 * high
    weights = np.full(AUC_STEPS, 1.0)
    weights[[0, -1]] = 0.5
    # The weight of all thresholds that a joint passes, found without a (..., J, 100) array.
    passed = np.concatenate([weights[::-1].cumsum()[::-1] / weights.sum(), [0.0]])
    area = passed[np.searchsorted(thresholds, distance, side="left")].mean(axis=-1)
    return np.where(np.isnan(distance).any(axis=-1), np.nan, area)


def wrist_to_wrist_error(predicted_mm: NDArray[Any], true_mm: NDArray[Any]) -> F64:
    """Give MRRPE's term: how wrong the way from the right to the left wrist is.

    InterHand2.6M: the length of the difference of the two vectors, camera axes, no alignment.

    Args:
        predicted_mm: ``(..., 2, 21, 3)`` by side, camera.
        true_mm: ``(..., 2, 21, 3)``.

    Returns:
        ``(...)`` in millimetres; NaN where any of the four wrists is.
    """
    wrists = [
        np.asarray(hands, dtype=np.float64)[..., WRIST, :] for hands in (predicted_mm, true_mm)
    ]
    ways = [wrist[..., LEFT, :] - wrist[..., RIGHT, :] for wrist in wrists]
    return np.asarray(np.linalg.norm(ways[0] - ways[1], axis=-1))


def acceleration_error(predicted: NDArray[Any], true: NDArray[Any]) -> F64:
    """Give the mean distance of the two hands' second differences, for runs of three frames.

    Args:
        predicted: ``(T, ..., J, D)``, NaN where missing.
        true: The same shape.

    Returns:
        ``(T - 2, ...)`` by the run's first frame, in unit per frame squared; NaN where a frame of
        the run is missing. Empty for clips of fewer than three frames.
    """
    second = [np.diff(np.asarray(a, dtype=np.float64), n=2, axis=0) for a in (predicted, true)]
    return np.asarray(np.linalg.norm(second[0] - second[1], axis=-1).mean(axis=-1))


def jitter(joints: NDArray[Any]) -> F64:
    """Give the mean length of a hand's third differences (jerk), for runs of four frames.

    Args:
        joints: ``(T, ..., J, D)``, NaN where missing.

    Returns:
        ``(T - 3, ...)`` by the run's first frame, in unit per frame cubed; NaN where a frame of the
        run is missing. Empty for clips of fewer than four frames.
    """
    third = np.diff(np.asarray(joints, dtype=np.float64), n=3, axis=0)
    return np.asarray(np.linalg.norm(third, axis=-1).mean(axis=-1))


def run_mean(values: NDArray[Any], length: int) -> F64:
    """Give the mean of ``(T, ...)`` over each run of ``length`` frames, by its first frame."""
    values = np.asarray(values, dtype=np.float64)
    n = max(len(values) - length + 1, 0)
    return np.asarray(sum(values[k : k + n] for k in range(length)) / length)
