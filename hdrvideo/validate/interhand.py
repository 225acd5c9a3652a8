"""InterHand2.6M's own evaluation, as its released code does it, and without its oddities.

Code: InterHand2.6M ``data/InterHand2.6M/dataset.py``, ``evaluate``. What it does:

* A hand whose wrist is not known counts with no joint. Each hand is put by its own wrist to the
  origin, in 3D, so the two wrists are zero by construction; they are in the published mean, which
  is 1/21 smaller for it.
* Means over samples joint by joint, then over the 42 joints. ALL puts the samples of SH and IH
  together; it is not the mean of the two. Nothing is scaled.
* SH and IH go by the set's hand type, never by the predicted one.
* MRRPE looks at frames that the set calls interacting and whose wrists are both known.
* What the paper calls AP_h is the share of frames in which both hands' scores are on their right
  side of 0.5.

The published numbers place a hand by RootNet's depth, whose error scales x and y and so leaks into
the MPJPE; a prediction here is in the camera already, however it came there.
"""

from typing import Final

import numpy as np

from hdrvideo.hand import WRIST
from hdrvideo.validate.field import Errors, Protocol
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth
from hdrvideo.validate.metrics import wrist_aligned_distance, wrist_to_wrist_error

IH26M: Final = "ih26m"
# SH, IH and ALL of the tables.
SUBSETS: Final = ("sh", "ih", "all")
_CODE: Final = "InterHand2.6M data/InterHand2.6M/dataset.py"


def wrist_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure joints with each hand's wrist at the origin; the wrists, zero, count."""
    predicted, true = prediction.wanted("xyz_cam_mm"), truth.wanted("xyz_cam_mm")
    return Errors(wrist_aligned_distance(predicted, true), truth.rooted)


def without_wrists(errors: Errors) -> Errors:
    """Count the joints but the wrists."""
    return Errors(errors.value[..., 1:], errors.counted[..., 1:])


def root_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure the way from the right to the left wrist, a sample a frame."""
    predicted, true = prediction.wanted("xyz_cam_mm"), truth.wanted("xyz_cam_mm")
    counted = np.asarray(truth.hands.all(axis=1) & truth.valid[..., WRIST].all(axis=1))
    value = wrist_to_wrist_error(predicted, true)
    return Errors(value[:, None, None], counted[:, None, None])


def hands_right(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Tell 1 where both scores are on the right side of 0.5, else 0, a sample a frame.

    A score of exactly 0.5 is on neither side. Frames without any hand, which the set does not have,
    and those whose hands are not known do not count.
    """
    scores = prediction.wanted("hand_scores")
    is_right = np.where(truth.hands, scores > 0.5, scores < 0.5).all(axis=1)
    value = np.where(np.isnan(scores).any(axis=1), np.nan, is_right.astype(np.float64))
    counted = truth.hands_known & truth.hands.any(axis=1)
    return Errors(value[:, None, None], counted[:, None, None])


MPJPE: Final = Protocol(
    *("mpjpe", "interhand", "wrist", "", "42j_two_zero_wrists"),
    *("joint_means", "mm", "lower", IH26M, "test", "all"),
    text="InterHand2.6M's MPJPE as published: the wrists, zero by construction, in the mean",
    source=_CODE,
    errors=wrist_errors,
)
MPJPE_NO_WRISTS: Final = Protocol(
    *("mpjpe", "interhand", "wrist", "", "40j"),
    *("joint_means", "mm", "lower", IH26M, "test", "all"),
    text="the same without the wrists: 21/20 of it where all joints are known",
    source=_CODE,
    errors=lambda prediction, truth: without_wrists(wrist_errors(prediction, truth)),
)
MRRPE: Final = Protocol(
    *("mrrpe", "interhand", "unaligned", "", "2_wrists"),
    *("pooled", "mm", "lower", IH26M, "test", "ih"),
    text="error of the way from the right to the left wrist, frames with both wrists known",
    source=_CODE,
    errors=root_errors,
)
AP_H: Final = Protocol(
    *("ap_h_as_accuracy", "interhand", "", "", "two_bits"),
    *("pooled", "0-1", "higher", IH26M, "test", "all"),
    text="called average precision in the paper; in code the share of frames with both bits right",
    source=_CODE,
    errors=hands_right,
)
PROTOCOLS: Final = (MPJPE, MPJPE_NO_WRISTS, MRRPE, AP_H)
