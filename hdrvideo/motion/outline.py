"""Masks completed by the refined hands: where a hand lies that no net saw, its model is drawn.

A mask net says of one frame what it sees in it; where the other hand lies before a hand it draws
too little of it, and where it loses a hand nothing. A refined track knows of the frames before and
after. So the hand model is drawn as the track poses it, and its outline decides what the net left
open: a pixel in it counts as the hand's where the net held that for possible, or saw the other hand
there, which then hides it. A hand that the track has and the net has not is its outline. No pixel
shows both hands.

On 160 frames of ten benchmark clips with two hands (:data:`POSSIBLE` and the rules chosen on each
second one, alike on the others): IoU of whole masks 0.68 to 0.71, visible 0.66 to 0.69, hidden part
0.18 to 0.25; all of the outline in place of its part 0.70 and 0.22.
"""

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES, U8, Bool
from hdrvideo.geometry import F64, CropSquare, apply_affine, invert_affine
from hdrvideo.handmask import HandMask
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.track import TURNING, PoseTrack

# Least probability, of 0..255, at which a pixel in the outline counts.
POSSIBLE: Final = 102
_HALF: Final = 128
# Of an outline without a mask: pixels of a side, and the square round it over its longer side.
_SIDE_PX: Final = 96
_SCALE: Final = 1.2
# OpenCV fills a triangle's rim as well, half a pixel too much: so it draws on finer pixels, and
# points to a sixteenth of those.
_FINER: Final = 2
_SHIFT: Final = 4
# Nothing is drawn farther from the square's corner than this, in sides of the square.
_FAR: Final = 8.0

TakeMask = Callable[[int, int, HandMask], None]


class MasksCompleted:
    """Lets masks wait for the refined track, completes them, and hands them on in order.

    What waits is as long as the temporal stage looks ahead.
    """

    def __init__(self, take: TakeMask) -> None:
        """Get ready.

        Args:
            take: Called with frame index, side and masks, in the order of frames.
        """
        self._take = take
        self._waiting: deque[tuple[int, int, HandMask]] = deque()

    def put(self, frame_index: int, side: int, mask: HandMask) -> None:
        """Keep the masks of a hand until :meth:`give` comes to its frame; frames in order."""
        self._waiting.append((frame_index, side, mask))

    def give(self, track: PoseTrack) -> None:
        """Hand on all masks of a window of the refined track; windows in order."""
        outlines = Outlines(track)
        for row, frame_index in enumerate(track.frame_index.tolist()):
            said: list[HandMask | None] = [None] * N_SIDES
            while self._waiting and self._waiting[0][0] <= frame_index:
                _, of, seen = self._waiting.popleft()
                said[of] = seen
            for side, mask in enumerate(outlines.complete(row, said[0], said[1])):
                if mask is not None:
                    self._take(frame_index, side, mask)


class Outlines:
    """Draws the hands of a refined track."""

    def __init__(self, track: PoseTrack) -> None:
        """Pose the hand model wherever the track does."""
        self._limit_px = np.array([track.meta.width, track.meta.height], np.float64)
        self._depth_mm = track.xyz_cam_mm[..., 2].mean(axis=2)
        there = np.asarray(
            np.isfinite(track.shape).all(axis=-1) & np.isfinite(track.uv_px).all(axis=(2, 3))
        )
        uv_px = _places(track, there)
        self._places = dict(zip(zip(*np.nonzero(there), strict=True), uv_px, strict=True))

    def complete(
        self, row: int, right: HandMask | None, left: HandMask | None
    ) -> tuple[HandMask | None, HandMask | None]:
        """Complete both hands' masks in a frame.

        Args:
            row: The frame's row in the track.
            right: What the net said; None = no such hand.
            left: Likewise.

        Returns:
            Right and left; where the track poses no hand model as they were, but that no pixel
            shows both.
        """
        said = (right, left)
        masks: list[HandMask | None] = [None] * N_SIDES
        for side, mask in enumerate(said):
            if mask is not None:
                uv_px = self._places.get((row, side))
                masks[side] = _joined(mask, uv_px, said[1 - side], side)
        # Of two that no net saw the nearer one first.
        for side in np.argsort(self._depth_mm[row]).tolist():
            uv_px = self._places.get((row, side))
            if masks[side] is None and uv_px is not None:
                masks[side] = self._drawn(uv_px, masks[1 - side])
        return masks[0], masks[1]

    def _drawn(self, uv_px: F64, other: HandMask | None) -> HandMask | None:
        """Make the masks of a hand that no net saw; None if it lies outside of the frame."""
        hand_px = uv_px[_is_hand()]
        low, high = (
            np.clip(end(hand_px, axis=0), -0.5, self._limit_px - 0.5) for end in (np.min, np.max)
        )
        if not (high - low).min() >= 1:
            return None
        u, v = (low + high) / 2
        square = CropSquare(float(u), float(v), float(_SCALE * (high - low).max()))
        whole = drawn_in(square, uv_px, _SIDE_PX)
        seen = whole & (_seen_in(other, square, _SIDE_PX) < _HALF)
        return HandMask(square, *(mask.astype(np.uint8) * 255 for mask in (seen, whole)))


def _joined(mask: HandMask, uv_px: F64 | None, other: HandMask | None, side: int) -> HandMask:
    """Complete the masks that a net said."""
    size = len(mask.amodal_u8)
    others = _seen_in(other, mask.square, size)
    amodal = mask.amodal_u8
    if uv_px is not None:
        open_ = (amodal >= POSSIBLE) | (others >= _HALF)
        added = drawn_in(mask.square, uv_px, size) & open_
        amodal = np.where(added, np.maximum(amodal, _HALF), amodal).astype(np.uint8)
    # Of two hands that are both said to be seen in a pixel the surer one is. Where both sum to one
    # at most, they do so between pixels, too.
    beaten = (others > mask.visible_u8) | ((others == mask.visible_u8) & (side > 0))
    visible = np.where(beaten, np.minimum(mask.visible_u8, 255 - others), mask.visible_u8)
    return HandMask(mask.square, visible.astype(np.uint8), amodal)


def _seen_in(mask: HandMask | None, square: CropSquare, size_px: int) -> U8:
    """Give the probability 0..255 that a square's pixels show a hand; 0 if there is none."""
    if mask is None:
        return np.zeros((size_px, size_px), np.uint8)
    if mask.square == square and len(mask.visible_u8) == size_px:
        return mask.visible_u8
    visible, _ = mask.in_crop(square.frame_from_crop(size_px), size_px)
    return np.asarray(visible * 255 + 0.5, np.uint8)


def drawn_in(square: CropSquare, uv_px: F64, size_px: int) -> Bool:
    """Draw a hand into a square of the frame.

    Args:
        square: Upright.
        uv_px: ``(V, 2)`` vertices of the hand model in the frame.
        size_px: Pixels of the square's side.

    Returns:
        ``(size_px, size_px)``, True where any of the hand's triangles lies.
    """
    fine_px = size_px * _FINER
    place = apply_affine(invert_affine(square.frame_from_crop(fine_px)), uv_px)
    corners = place[_hand_triangles()]
    # What lies behind the camera is NaN and near nothing.
    near = (np.abs(corners) < _FAR * fine_px).all(axis=(1, 2))
    # The triangles of one turn alone: a closed surface's fronts cover what its backs do.
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    chosen = near & (a[:, 0] * b[:, 1] > a[:, 1] * b[:, 0])
    drawn = np.zeros((fine_px, fine_px), np.uint8)
    for triangle in np.round(corners[chosen] * 2**_SHIFT).astype(np.int32):
        cv2.fillConvexPoly(drawn, triangle, 255, shift=_SHIFT)
    coarse = cv2.resize(drawn, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse >= _HALF)


def _places(track: PoseTrack, there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the posed hands' vertices in the frame, ``(N, V, 2)``, row by row, right first.

    The model has the track's bones but for the means that the track tells of it and the frames' own
    joints: it is moved, turned in the picture and scaled so that its joints come nearest to those.
    """
    model = _model()
    if not there.any():
        return np.zeros((0, len(model.part), 2))
    side = torch.from_numpy(np.broadcast_to(np.arange(N_SIDES), there.shape)[there])
    pose = torch.from_numpy(track.turn_rad[there][:, list(TURNING)])
    hand = model(pose, torch.from_numpy(track.shape[there]), side=side)
    points_mm = torch.cat([hand.joints_mm, hand.vertices_mm], dim=1).numpy().astype(np.float64)
    wrist_mm = track.xyz_cam_mm[there][:, :1].astype(np.float64)
    uv_px = track.meta.camera.project(points_mm - points_mm[:, :1] + wrist_mm)
    return _moved(uv_px, track.uv_px[there].astype(np.float64))[:, N_JOINTS:]


def _moved(uv_px: F64, wanted_px: F64) -> F64:
    """Bring points to where the first of them are wanted, by the nearest similarity (Umeyama)."""
    n = wanted_px.shape[1]
    middle, goal = (x.mean(axis=1, keepdims=True) for x in (uv_px[:, :n], wanted_px))
    # As complex numbers a similarity is one factor.
    have, want = (x[..., 0] + 1j * x[..., 1] for x in (uv_px - middle, wanted_px - goal))
    # A joint behind the camera is NaN, and so is then all of its hand.
    with np.errstate(invalid="ignore"):
        factor = (have[:, :n].conj() * want).sum(axis=1) / (np.abs(have[:, :n]) ** 2).sum(axis=1)
        moved = have * factor[:, None]
    return np.asarray(np.stack([moved.real, moved.imag], axis=-1) + goal)


@lru_cache(maxsize=1)
def _model() -> HandModel:
    return HandModel()


@lru_cache(maxsize=1)
def _is_hand() -> NDArray[np.bool_]:
    """Say of each vertex ``(V,)`` that it is none of the forearm's."""
    return np.asarray((_model().part != PARTS.index("forearm")).numpy())


@lru_cache(maxsize=1)
def _hand_triangles() -> NDArray[np.int64]:
    """Give the triangles ``(F, 3)`` that are no forearm's, as the synthetic world counts them."""
    faces = _model().faces.numpy()
    return np.asarray(faces[(~_is_hand())[faces].sum(axis=1) < 2])
