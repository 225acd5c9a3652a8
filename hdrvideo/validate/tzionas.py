"""End-point error on the hands of Tzionas et al. (HIC), and its 28 joints in our order.

The set labels 14 joints a hand in the picture: three of each finger and two of the thumb; wrist,
thumb's base and tips have none. Order and names: InterWild ``data/HIC/HIC.py``, where the left
index finger alone runs from tip to palm. A label of zeros is none. HDR's table has an EPE of this
set without a unit; pixels are taken, for the labels have no depth. With no wrist there is no root
to align by.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES
from hdrvideo.errors import ShapeError
from hdrvideo.hand import JOINTS
from hdrvideo.validate.field import Errors, Protocol
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth, field_truth
from hdrvideo.validate.metrics import joint_distance

TZIONAS: Final = "tzionas"
# Where each of the 14 is in our order, by side.
_FINGERS: Final = tuple(
    f"{finger}_{joint}"
    for finger in ("little", "ring", "middle", "index")
    for joint in ("mcp", "pip", "dip")
)
_RIGHT: Final = tuple(JOINTS.index(name) for name in (*_FINGERS, "thumb_mcp", "thumb_ip"))
_LEFT: Final = (*_RIGHT[:9], *_RIGHT[11:8:-1], *_RIGHT[12:])
PLACES: Final = (_RIGHT, _LEFT)
N_LABELS: Final = len(_RIGHT)


def truth_of_labels(uv_px: NDArray[Any]) -> FieldTruth:
    """Bring the set's labels to a truth in our order.

    Args:
        uv_px: ``(N, 28, 2)`` right hand first; a joint at (0, 0) has no label.

    Raises:
        ShapeError: The labels have another shape.
    """
    labels = np.asarray(uv_px, dtype=np.float64)
    if labels.ndim != 3 or labels.shape[1:] != (N_SIDES * N_LABELS, 2):
        raise ShapeError(f"labels of HIC are {labels.shape}, expected (N, 28, 2)")
    ours = np.zeros((len(labels), N_SIDES, N_JOINTS, 2))
    for side, places in enumerate(PLACES):
        ours[:, side, list(places)] = labels[:, side * N_LABELS : (side + 1) * N_LABELS]
    valid = (ours != 0).any(axis=-1)
    return field_truth(valid, uv_px=np.where(valid[..., None], ours, np.nan))


def end_point_errors(prediction: FieldPrediction, truth: FieldTruth) -> Errors:
    """Measure labelled joints in the picture."""
    distance = joint_distance(prediction.wanted("uv_px"), truth.wanted("uv_px"))
    return Errors(distance, truth.valid)


EPE: Final = Protocol(
    *("epe", "tzionas", "unaligned", "", "28j_no_wrists_no_tips", "pooled"),
    *("px", "lower", TZIONAS, "test", ""),
    text="distance of labelled joints in the picture, in pixels of its 640x480",
    source="HDR's demo text file; InterWild data/HIC/HIC.py (unit and mean are taken, not read)",
    errors=end_point_errors,
)
PROTOCOLS: Final = (EPE,)
