"""Which predicted hand is which true hand of a frame; NumPy only.

The rule, once for all metrics:

* The **box** of a hand is the one round its 21 joints, grown on every side by
  :data:`MARGIN_PALMS` true palm lengths (the flesh round the joints; without it the box of a hand
  seen edge-on has no height), then clipped to the picture.
* A true hand **counts** when it is present and at least :data:`MIN_JOINTS_INSIDE` of its joints lie
  in the picture. A present hand with fewer is ignored: missing it costs nothing, and a prediction
  whose box touches its box is no ghost.
* A predicted hand, of either side, may be a true hand that counts when their boxes have an
  intersection over union of at least :data:`MIN_IOU`. Among such pairs the one-to-one assignment
  with the most pairs is taken, of those the one with the least sum of mean joint distances
  (the Hungarian method's answer, which for two and two is one of two).
* A true hand with a partner is **found**; it is **swapped** if the partner has the other side. A
  prediction without partner is a **ghost**, also the second one on a hand. A prediction whose box
  has no part in the picture is not judged.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES, Bool, check_array
from hdrvideo.geometry import box_iou, points_box
from hdrvideo.hand import KNUCKLES, WRIST, palm_length

F64 = NDArray[np.float64]

MIN_IOU: Final = 0.5
MARGIN_PALMS: Final = 0.1
MIN_JOINTS_INSIDE: Final = 7
NO_HAND: Final = -1


@dataclass(frozen=True)
class HandMatch:
    """The outcome of :func:`match_hands`.

    Attributes:
        counted: ``(T, 2)`` bool by true side; the true hand must be found.
        partner: ``(T, 2)`` int64 by true side; predicted side of its partner, -1 = none.
        ghost: ``(T, 2)`` bool by predicted side.
    """

    counted: Bool
    partner: NDArray[np.int64]
    ghost: Bool

    def __post_init__(self) -> None:
        t = len(self.counted)
        check_array("counted", self.counted, (t, N_SIDES), "bool")
        check_array("partner", self.partner, (t, N_SIDES), "int64")
        check_array("ghost", self.ghost, (t, N_SIDES), "bool")

    @property
    def found(self) -> Bool:
        """Whether a true hand has a partner, ``(T, 2)`` by true side."""
        return np.asarray(self.partner != NO_HAND)

    @property
    def swapped(self) -> Bool:
        """Whether its partner has the other side, ``(T, 2)`` by true side."""
        return np.asarray(self.found & (self.partner != np.arange(N_SIDES)))

    def take(self, predicted: NDArray[Any]) -> F64:
        """Bring predictions ``(T, 2, ...)`` from their own sides to the true hands'.

        Returns:
            Float64 of the same shape; NaN where a true hand is not found.
        """
        rows = np.arange(len(self.partner))[:, None]
        taken = np.asarray(predicted, dtype=np.float64)[rows, np.maximum(self.partner, 0)]
        taken[~self.found] = np.nan
        return taken


def palm_length_px(xyz_cam_mm: NDArray[Any], k_px: NDArray[Any]) -> F64:
    """Give the length of a hand's palm as it would look face on at its place.

    It is the mean wrist-to-knuckle distance in space, times the focal length, over the mean depth
    of wrist and knuckles. So it does not shrink when the hand is seen from its end.

    Args:
        xyz_cam_mm: True joints ``(T, 2, 21, 3)``.
        k_px: Camera matrices ``(T, 3, 3)``; the two focal lengths count by their geometric mean.

    Returns:
        ``(T, 2)`` in pixels; NaN where there is no hand, or its palm lies behind the camera.
    """
    xyz = np.asarray(xyz_cam_mm, dtype=np.float64)
    k = np.asarray(k_px, dtype=np.float64)
    focal_px = np.sqrt(k[:, 0, 0] * k[:, 1, 1])[:, None]
    depth_mm = xyz[..., [WRIST, *KNUCKLES], 2].mean(axis=-1)
    depth_mm = np.where(depth_mm > 0, depth_mm, np.nan)
    return np.asarray(palm_length(xyz) * focal_px / depth_mm)


def match_hands(
    predicted_uv_px: NDArray[Any],
    true_uv_px: NDArray[Any],
    present: Bool,
    palm_px: NDArray[Any],
    size_px: tuple[int, int],
) -> HandMatch:
    """Match predicted to true hands frame by frame, by the rule of this module.

    Args:
        predicted_uv_px: ``(T, 2, 21, 2)`` by predicted side, NaN where there is none.
        true_uv_px: ``(T, 2, 21, 2)``.
        present: ``(T, 2)`` bool, the true hand is in the picture.
        palm_px: ``(T, 2)`` from :func:`palm_length_px`.
        size_px: Width and height of the picture.

    Raises:
        ShapeError: The arrays do not have these shapes.
    """
    t = len(true_uv_px)
    predicted = np.asarray(predicted_uv_px, dtype=np.float64)
    true = np.asarray(true_uv_px, dtype=np.float64)
    hands = (t, N_SIDES, N_JOINTS, 2)
    check_array("predicted_uv_px", predicted, hands, "float64")
    check_array("true_uv_px", true, hands, "float64")
    check_array("present", present, (t, N_SIDES), "bool")
    check_array("palm_px", palm_px, (t, N_SIDES), "")

    high = np.asarray(size_px, dtype=np.float64) - 0.5
    inside = ((true >= -0.5) & (true <= high)).all(axis=-1).sum(axis=-1)
    counted = present & (inside >= MIN_JOINTS_INSIDE)

    # Axes from here: frame, true side, predicted side.
    margin = MARGIN_PALMS * np.nan_to_num(np.asarray(palm_px, dtype=np.float64))
    true_box = _clipped(points_box(true)[:, :, None], margin[:, :, None], high)
    box = _clipped(points_box(predicted)[:, None], margin[:, :, None], high)
    eligible = counted[:, :, None] & (box_iou(true_box, box) >= MIN_IOU)
    distance = np.linalg.norm(true[:, :, None] - predicted[:, None], axis=-1).mean(axis=-1)
    partner = _assign(eligible, distance)

    # A ghost's own margin is unknown; its joints' bare box says where it is.
    bare = _clipped(points_box(predicted), np.zeros((t, N_SIDES)), high)
    is_judged = (bare[..., 2:] > bare[..., :2]).all(axis=-1)
    taken = (partner[:, :, None] == np.arange(N_SIDES)).any(axis=1)
    ignored = (present & ~counted)[:, :, None] & (box_iou(true_box, bare[:, None]) > 0)
    return HandMatch(counted, partner, is_judged & ~taken & ~ignored.any(axis=1))


def _clipped(box: F64, margin: F64, high: F64) -> F64:
    """Grow boxes ``(..., 4)`` by ``(...)`` pixels and clip them to the picture."""
    low = np.maximum(box[..., :2] - margin[..., None], -0.5)
    top = np.minimum(box[..., 2:] + margin[..., None], high)
    return np.concatenate([low, np.maximum(top, low)], axis=-1)


def _assign(eligible: Bool, distance: F64) -> NDArray[np.int64]:
    """Choose between the straight and the crossed assignment of ``(T, 2, 2)`` pairs."""
    orders = np.array([[0, 1], [1, 0]])
    pairs = np.stack([eligible[:, [0, 1], order] for order in orders], axis=1)
    costs = np.stack([distance[:, [0, 1], order] for order in orders], axis=1)
    n_pairs = pairs.sum(axis=-1)
    cost = np.where(pairs, costs, 0.0).sum(axis=-1)
    is_crossed = (n_pairs[:, 1] > n_pairs[:, 0]) | (
        (n_pairs[:, 1] == n_pairs[:, 0]) & (cost[:, 1] < cost[:, 0])
    )
    choice = is_crossed.astype(np.int64)
    rows = np.arange(len(eligible))
    return np.where(pairs[rows, choice], orders[choice], NO_HAND).astype(np.int64)
