"""What masks say of the hands that are followed: whose mask is whose, and where a hand is missing.

A mask comes with a side, a track does not (see :mod:`hdrvideo.crop.sides`): tracks take the masks
that fit their joints, and how much better one way round fits than the other is a vote on the sides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from hdrvideo.config import FollowSettings
from hdrvideo.crop.segment import SeenHands
from hdrvideo.crop.sighting import N_TRACKS, Sighting, Track, TrackedFrame
from hdrvideo.datatypes import F32
from hdrvideo.geometry import (
    F64,
    CropSquare,
    apply_affine,
    box_iou,
    invert_affine,
    points_box,
)
from hdrvideo.hand import BONES
from hdrvideo.handmask import HandMask

# Side of a hand's crop over the longer side of its mask's box, between an open hand and a fist.
_CROP_SCALE: Final = 1.6
# A mask belongs to a track if at least so many of its joints (mean probability) lie in it.
_LEAST_FIT: Final = 0.25
# Joints of a pose that fits lie in the mask, and its box is about the mask's.
_GOOD_FIT: Final = 0.6
_GOOD_IOU: Final = 0.5
# Overlap of a mask's box with a track's last one from which they are one hand.
_SAME_PLACE: Final = 0.2
# Flesh beyond the joints, over the longer side of the mask's box.
_FLESH: Final = 0.05
# A pose that was moved is worth so much of what it was.
_MOVED_CONFIDENCE: Final = 0.5
# Variances along and across from whose ratio on a hand is long enough to tell how it lies.
_LONG: Final = 2.0
_SILHOUETTE_PX: Final = 48
# Width of a finger over the length of the palm.
_FINGER_WIDTH: Final = 0.2
_PALM: Final = [0, 1, 5, 9, 13, 17]


@dataclass(frozen=True)
class Assigned:
    """Which mask (by side) each track has, and what that says of the sides.

    Attributes:
        sides: Side of the mask for each track; None = no mask fits.
        vote: How much better the masks fit if track 0 is the right hand, -2 to 2.
    """

    sides: tuple[int | None, int | None]
    vote: float


def assign_masks(sightings: list[Sighting | None], seen: SeenHands) -> Assigned:
    """Give each track the mask that fits its joints; two tracks never share one."""
    fits = np.zeros((N_TRACKS, 2))
    for i, sighting in enumerate(sightings):
        for side, mask in enumerate(seen.masks):
            if sighting is not None and mask is not None:
                fits[i, side] = fit_of(sighting.uv_px, mask) * seen.presence[side]
    straight, crossed = fits[0, 0] + fits[1, 1], fits[0, 1] + fits[1, 0]
    order = (0, 1) if straight >= crossed else (1, 0)
    sides = [side if fits[i, side] >= _LEAST_FIT else None for i, side in enumerate(order)]
    return Assigned((sides[0], sides[1]), float(straight - crossed))


def fit_of(uv_px: F32, mask: HandMask) -> float:
    """Give the mean probability 0..1 that joints ``(21, 2)`` lie in the whole hand's mask."""
    return float(mask.amodal_at(uv_px).mean())


def fits_well(uv_px: F32, mask: HandMask) -> bool:
    """Say whether joints lie in a mask and fill it."""
    box = joints_box(mask)
    if box is None:
        return False
    overlap = float(box_iou(points_box(uv_px), box))
    return overlap >= _GOOD_IOU and fit_of(uv_px, mask) >= _GOOD_FIT


def masks_iou(a: HandMask, b: HandMask) -> float:
    """Give the overlap of two whole hands that were seen in one square."""
    a_marked, b_marked = a.amodal_u8 >= 128, b.amodal_u8 >= 128
    union = int((a_marked | b_marked).sum())
    return int((a_marked & b_marked).sum()) / union if union else 0.0


def is_twin(mask: HandMask, other: HandMask | None, track: Track | None, limit: float) -> bool:
    """Say whether two whole hands that were seen in one square are but one hand.

    Args:
        mask: What may be a hand of its own.
        other: The other hand.
        track: That ``mask`` goes on with; None = a new hand, to lie mostly beside the other.
        limit: Overlap (IoU), or of a new hand the part that lies in the other, from which it is so.
    """
    if other is None:
        return False
    if track is not None:
        return masks_iou(mask, other) > limit
    marked, others = mask.amodal_u8 >= 128, other.amodal_u8 >= 128
    return int((marked & others).sum()) > limit * int(marked.sum())


def joints_box(mask: HandMask) -> F64 | None:
    """Give the box ``(4,)`` that the joints of a whole hand's mask should have: flesh taken off."""
    box = mask.box_uvuv_px()
    if box is None:
        return None
    rim = _FLESH * float((box[2:] - box[:2]).max())
    rim = min(rim, 0.25 * float((box[2:] - box[:2]).min()))
    return np.asarray(box + np.array([rim, rim, -rim, -rim]))


def is_cut(mask: HandMask, height_px: int, width_px: int) -> bool:
    """Say whether the frame's border, or the mask's own square, cuts a hand."""
    box = mask.box_uvuv_px()
    if box is None:
        return False
    middle, half = np.array([mask.square.u_px, mask.square.v_px]), mask.square.size_px / 2
    low = np.maximum(middle - half, -0.5) + 2
    high = np.minimum(middle + half, (width_px - 0.5, height_px - 0.5)) - 2
    return bool((box[:2] < low).any() or (box[2:] > high).any())


def certainty(mask: HandMask) -> float:
    """Give the mean probability 0..1 over the pixels of a whole hand's mask."""
    marked = mask.amodal_u8[mask.amodal_u8 >= 128]
    return float(marked.mean()) / 255 if len(marked) else 0.0


def squares_from_mask(mask: HandMask, *, mirror: bool, angle_rad: float | None) -> list[CropSquare]:
    """Give the squares to read a hand from whose mask is all that is known.

    Args:
        mask: The hand's masks.
        mirror: It is a left hand as shown.
        angle_rad: How the hand lay when last seen; None = try four ways up.
    """
    box = mask.box_uvuv_px()
    if box is None:
        return []
    u, v = (box[:2] + box[2:]) / 2
    size = float((box[2:] - box[:2]).max()) * _CROP_SCALE
    angles = [0.0, np.pi / 2, np.pi, -np.pi / 2] if angle_rad is None else [angle_rad]
    return [CropSquare(float(u), float(v), size, float(angle), mirror) for angle in angles]


def moved_into(sighting: Sighting, mask: HandMask) -> Sighting:
    """Turn, move and scale a pose so that it lies in a mask: a hand that cannot be read is there.

    The fingers are those of the pose handed in; where the hand is, how it lies and how large it is
    come from the mask. It no longer says which side it is.
    """
    box = joints_box(mask)
    assert box is not None
    middle = points_box(sighting.uv_px).reshape(2, 2).mean(axis=0)
    around = sighting.uv_px - middle
    angle = _turn_between(_long_axis(around), _long_axis(_pixels(mask)))
    cos, sin = math.cos(angle), math.sin(angle)
    around = around @ np.array([[cos, sin], [-sin, cos]])
    old = points_box(around)
    ratio = (box[2:] - box[:2]) / np.maximum(old[2:] - old[:2], 1.0)
    uv_px = (around - _middle(old)) * np.clip(ratio, 0.5, 2.0) + _middle(box)
    confidence = sighting.confidence
    if not sighting.carried:
        confidence = confidence * np.float32(_MOVED_CONFIDENCE)
    return replace(
        sighting,
        uv_px=uv_px.astype(np.float32),
        refine_px=None,
        confidence=confidence,
        right_score=0.5,
        carried=True,
    )


def track_for(
    row: TrackedFrame, tracks: Sequence[Track | None], mask: HandMask
) -> tuple[int, Track | None]:
    """Choose the free track that a mask continues, or a free place for a new one."""
    box = mask.box_uvuv_px()
    free = [i for i in range(N_TRACKS) if row.sightings[i] is None]
    for i in free:
        track = tracks[i]
        if track is None or box is None:
            continue
        if float(box_iou(points_box(track.last.uv_px), box)) > _SAME_PLACE:
            return i, track
    return free[0], None


def may_carry(track: Track, mask: HandMask, now_seconds: float, settings: FollowSettings) -> bool:
    """Say whether a mask alone is enough to go on with a hand: for a while, if it is sure."""
    is_recent = now_seconds - track.read_seconds <= settings.carry_seconds
    return is_recent and certainty(mask) >= settings.mask_certainty


def _pixels(mask: HandMask) -> F64:
    """Give the places ``(N, 2)`` of a whole hand's pixels, u and v."""
    return np.argwhere(mask.amodal_u8 >= 128)[:, ::-1].astype(np.float64)


def _long_axis(points: F32 | F64) -> F64 | None:
    """Give the direction ``(2,)`` in which points spread most; None if they are about round."""
    spread, axes = np.linalg.eigh(np.cov(points, rowvar=False))
    return np.asarray(axes[:, 1]) if spread[1] > _LONG * max(spread[0], 1e-9) else None


def _turn_between(one: F64 | None, other: F64 | None) -> float:
    """Give the smaller turn, in radians, that lays one axis along another."""
    if one is None or other is None:
        return 0.0
    turn = math.atan2(other[1], other[0]) - math.atan2(one[1], one[0])
    return (turn + math.pi / 2) % math.pi - math.pi / 2


def silhouette(uv_px: F32) -> HandMask:
    """Draw about what a hand with these joints ``(21, 2)`` covers: its palm, and fat fingers."""
    box = points_box(uv_px)
    side = max(float((box[2:] - box[:2]).max()) * 1.3, 4.0)
    u, v = _middle(box)
    square = CropSquare(float(u), float(v), side)
    at = apply_affine(invert_affine(square.frame_from_crop(_SILHOUETTE_PX)), uv_px)
    palm_length = float(np.linalg.norm(at[9] - at[0]))
    width = max(round(_FINGER_WIDTH * max(palm_length, 0.3 * _SILHOUETTE_PX)), 1)
    points = np.round(at).astype(np.int32)
    drawn = np.zeros((_SILHOUETTE_PX, _SILHOUETTE_PX), dtype=np.uint8)
    cv2.fillConvexPoly(drawn, cv2.convexHull(points[_PALM]), 255)
    for a, b in BONES:
        cv2.line(drawn, points[a].tolist(), points[b].tolist(), 255, width)
    return HandMask(square, drawn, drawn)


def _middle(box: F64) -> F64:
    return (box[:2] + box[2:]) / 2
