"""Scores of predicted hand masks: what is seen, what is whole, and what is hidden; NumPy only.

Masks are ``(..., H, W)`` bool; leading axes may be frames and sides and are kept.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, Bool, check_array
from hdrvideo.errors import ShapeError

F64 = NDArray[np.float64]

# The hidden part of a hand is scored where it is at least this share of the whole hand: a rim of
# a few pixels says more about the rounding of edges than about de-occlusion.
MIN_HIDDEN_SHARE: Final = 0.05


@dataclass(frozen=True)
class MaskScores:
    """Intersection over union of each hand's masks, each ``(...)`` in 0..1.

    Attributes:
        visible: Of the pixels where the hand is seen; NaN where none truly is.
        amodal: Of the whole hand; NaN where there is none.
        hidden: Of the whole hand without its visible part; NaN where less than
            :data:`MIN_HIDDEN_SHARE` of the hand is truly hidden.
    """

    visible: F64
    amodal: F64
    hidden: F64


def mask_iou(predicted: Bool, true: Bool) -> F64:
    """Give the intersection over union ``(...)``; NaN where nothing is truly marked.

    A missing prediction is an empty mask and scores 0; see :func:`false_share` for the opposite.

    Raises:
        ShapeError: The masks are not bool or not of one shape.
    """
    _check(predicted=predicted, true=true)
    both = (predicted & true).sum(axis=(-2, -1))
    either = (predicted | true).sum(axis=(-2, -1))
    is_scored = true.any(axis=(-2, -1))
    iou: F64 = np.divide(both, either, out=np.full(both.shape, np.nan), where=is_scored)
    return iou


def mask_scores(
    predicted_visible: Bool, predicted_amodal: Bool, true_visible: Bool, true_amodal: Bool
) -> MaskScores:
    """Score predicted masks of hands; the hidden part is the whole without the visible.

    Raises:
        ShapeError: The masks are not bool or not of one shape.
    """
    _check(
        predicted_visible=predicted_visible,
        predicted_amodal=predicted_amodal,
        true_visible=true_visible,
        true_amodal=true_amodal,
    )
    hidden = true_amodal & ~true_visible
    is_scored = hidden.sum(axis=(-2, -1)) >= MIN_HIDDEN_SHARE * true_amodal.sum(axis=(-2, -1))
    hidden_iou = mask_iou(predicted_amodal & ~predicted_visible, hidden)
    return MaskScores(
        visible=mask_iou(predicted_visible, true_visible),
        amodal=mask_iou(predicted_amodal, true_amodal),
        hidden=np.where(is_scored, hidden_iou, np.nan),
    )


def false_share(predicted: Bool, true: Bool) -> F64:
    """Give the share of the picture that is marked for a hand which is not there.

    Returns:
        ``(...)`` in 0..1; NaN where the hand is there.

    Raises:
        ShapeError: The masks are not bool or not of one shape.
    """
    _check(predicted=predicted, true=true)
    share = predicted.mean(axis=(-2, -1))
    return np.where(true.any(axis=(-2, -1)), np.nan, share)


def hole_region(visible: Bool, amodal: Bool) -> Bool:
    """Give where each hand's own pixels must be painted: whole but not visible."""
    _check(visible=visible, amodal=amodal)
    return np.asarray(amodal & ~visible)


def removed_region(visible: Bool, amodal: Bool) -> Bool:
    """Give where the background must be painted for each side.

    That is where the *other* hand is seen and the side's own whole hand is not.

    Args:
        visible: ``(..., 2, H, W)`` bool by side.
        amodal: Likewise.

    Returns:
        ``(..., 2, H, W)`` bool by the side that stays.
    """
    _check(visible=visible, amodal=amodal)
    if visible.ndim < 3 or visible.shape[-3] != N_SIDES:
        raise ShapeError(f"masks of a pair are {visible.shape}, expected (..., 2, H, W)")
    return np.asarray(visible[..., ::-1, :, :] & ~amodal)


def _check(**masks: Bool) -> None:
    shapes = {name: mask.shape for name, mask in masks.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(f"masks differ in shape: {shapes}")
    for name, mask in masks.items():
        check_array(name, mask, mask.shape if mask.ndim >= 2 else (None, None), "bool")
