"""Which samples the scores of predicted masks average; rules of names as in ``protocols``.

A sample is one hand in one frame. Masks are compared with those of the same side, so swapped sides
are wrong, and ``missing_wrong``: a hand without a predicted mask scores 0. Hands that count are
those the truth calls present. ``hidden_5pct``: only hands of which at least 5 % is hidden.
``absent``: only hands of which not one pixel is in the picture; they belong to no bin.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from hdrvideo.validate.mask_track import MaskTrack
from hdrvideo.validate.masks import false_share, mask_scores
from hdrvideo.validate.metrics import F64
from hdrvideo.validate.protocols import Metric, Samples
from hdrvideo.validate.truth import ClipTruth


@dataclass(frozen=True)
class MaskComparison:
    """Scores of a clip's masks, each ``(T, 2)`` by side; NaN = no sample.

    Attributes:
        visible: Intersection over union of what is seen.
        amodal: Of the whole hand.
        hidden: Of the hidden part.
        false_share: Share of the picture that is marked for an absent hand, in either mask.
        hidden_share: Hidden share of the true hand.
    """

    visible: F64
    amodal: F64
    hidden: F64
    false_share: F64
    hidden_share: F64


def compare_masks(truth: ClipTruth, predicted: MaskTrack) -> MaskComparison:
    """Score a clip's masks, frame by frame.

    Raises:
        DataError: The truth's masks are missing or damaged.
        TrackError: Predicted run lengths are broken.
    """
    names = ("visible", "amodal", "hidden", "false_share")
    values = {name: np.full(truth.present.shape, np.nan) for name in names}
    for frame, present in enumerate(truth.present):
        true_visible, true_amodal = truth.masks(frame)
        visible, amodal = predicted.masks(frame)
        scores = mask_scores(visible, amodal, true_visible, true_amodal)
        for name in names[:3]:
            values[name][frame] = np.where(present, getattr(scores, name), np.nan)
        values["false_share"][frame] = false_share(visible | amodal, true_amodal)
    share = truth.hidden_share.astype(np.float64)
    return MaskComparison(**values, hidden_share=share)


def _hands(c: MaskComparison, value: F64) -> Samples:
    return Samples(value.ravel(), c.hidden_share.ravel())


def _absent(c: MaskComparison) -> Samples:
    value = 100 * c.false_share.ravel()
    return Samples(value, np.full(len(value), np.nan))


MASK_METRICS: Final[tuple[Metric[MaskComparison], ...]] = (
    Metric(
        *("mask_iou_visible_missing_wrong", "0-1", "higher"),
        "intersection over union of the seen part's mask, by side; a missing mask scores 0",
        lambda c: _hands(c, c.visible),
    ),
    Metric(
        *("mask_iou_amodal_missing_wrong", "0-1", "higher"),
        "the same of the whole hand's mask",
        lambda c: _hands(c, c.amodal),
    ),
    Metric(
        *("mask_iou_hidden_5pct_missing_wrong", "0-1", "higher"),
        "the same of the hidden part (whole without seen) of hands that are at least 5 % hidden",
        lambda c: _hands(c, c.hidden),
    ),
    Metric(
        *("false_mask_of_picture_absent_pct", "%", "lower"),
        "share of the picture marked for a hand that is not in it, a sample a frame and side",
        _absent,
    ),
)
