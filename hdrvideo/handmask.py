"""The masks of one hand in one frame: what of it is seen, and the whole of it.

A net sees a hand at its own resolution in a square of the frame; here its probabilities are kept as
they come and brought to frame pixels when asked for. ``visible <= amodal`` holds everywhere and
stays true on the way, because both pass through the same weights.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from hdrvideo.datatypes import F32, U8, Bool, check_array
from hdrvideo.errors import ShapeError
from hdrvideo.geometry import F64, CropSquare, apply_affine, invert_affine

# The smallest step of 0..255 that is at least one half.
_HALF_U8: Final = 128


@dataclass(frozen=True)
class HandMask:
    """One hand's masks in one frame, as probabilities in an upright square of it.

    Attributes:
        square: Where the masks lie in the frame; neither turned nor mirrored.
        visible_u8: ``(R, R)`` probability 0..255 that a pixel shows this hand.
        amodal_u8: ``(R, R)`` probability 0..255 that a pixel is of this hand, seen or hidden.
    """

    square: CropSquare
    visible_u8: U8
    amodal_u8: U8

    def __post_init__(self) -> None:
        if self.square.angle_rad != 0 or self.square.mirror:
            raise ShapeError(
                f"mask square has angle {self.square.angle_rad} and mirror {self.square.mirror}, "
                "expected an upright one, 0 and False"
            )
        side = len(self.amodal_u8)
        check_array("amodal_u8", self.amodal_u8, (side, side), "uint8")
        check_array("visible_u8", self.visible_u8, (side, side), "uint8")
        if side < 1:
            raise ShapeError("mask is 0x0 pixels, expected at least 1x1")
        n_wrong = int((self.visible_u8 > self.amodal_u8).sum())
        if n_wrong:
            raise ShapeError(
                f"visible is above amodal in {n_wrong} of {side * side} pixels, expected none; "
                "what is seen of a hand is part of it"
            )

    def in_frame(self, height_px: int, width_px: int) -> tuple[Bool, Bool]:
        """Bring the masks to the pixels of the frame.

        Probabilities are resampled linearly; the half pixel at the square's rim repeats its last
        value. OpenCV rounds positions to 1/32 of a mask pixel.

        Args:
            height_px: Of the frame.
            width_px: Of the frame.

        Returns:
            The visible and the whole (amodal) mask, each ``(height_px, width_px)`` bool: where the
            probability is at least one half. Outside the square both are False.
        """
        frame = np.zeros((2, height_px, width_px), dtype=bool)
        box = self._box()
        if box is None:
            return frame[0], frame[1]
        # One mask pixel beyond the box no neighbour is marked, so nothing there can be.
        box = np.clip(box + np.array([[-1], [1]]), -0.5, len(self.amodal_u8) - 0.5)
        frame_from_mask = self._frame_from_mask()
        low, high = np.ceil(apply_affine(frame_from_mask, box))
        low, high = (
            np.clip(corner, 0, (width_px, height_px)).astype(int) for corner in (low, high)
        )
        if (high <= low).any():
            return frame[0], frame[1]
        mask_from_region = invert_affine(frame_from_mask)
        mask_from_region[:, 2] += mask_from_region[:, :2] @ low
        for kind, mask_u8 in zip(frame, (self.visible_u8, self.amodal_u8), strict=True):
            region = cv2.warpAffine(
                mask_u8,
                mask_from_region,
                (high - low).tolist(),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            kind[low[1] : high[1], low[0] : high[0]] = region >= _HALF_U8
        return frame[0], frame[1]

    def in_crop(self, frame_from_crop: F64, resolution_px: int) -> F32:
        """Bring the masks to a crop of the frame, turned and mirrored as the crop is.

        As in :meth:`in_frame`, but they fade to 0 over one mask pixel at the square's rim.

        Args:
            frame_from_crop: ``(2, 3)``, crop pixels to frame pixels.
            resolution_px: Side of the crop in its own pixels.

        Returns:
            ``(2, R, R)`` probabilities 0..1, visible and amodal.
        """
        mask_from_frame = invert_affine(self._frame_from_mask())
        mask_from_crop = mask_from_frame[:, :2] @ frame_from_crop
        mask_from_crop[:, 2] += mask_from_frame[:, 2]
        crop = np.empty((2, resolution_px, resolution_px), dtype=np.float32)
        for kind, mask_u8 in zip(crop, (self.visible_u8, self.amodal_u8), strict=True):
            moved = cv2.warpAffine(
                mask_u8,
                mask_from_crop,
                (resolution_px, resolution_px),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
            np.multiply(moved, np.float32(1 / 255), out=kind)
        return crop

    def box_uvuv_px(self) -> F64 | None:
        """Give the box ``(4,)`` as u0, v0, u1, v1 round the whole hand in frame pixels.

        It runs along the outer edges of the mask's pixels of at least one half; None where no pixel
        is.
        """
        box = self._box()
        if box is None:
            return None
        return apply_affine(self._frame_from_mask(), box).reshape(4)

    def hidden_share(self) -> float:
        """Give the share 0..1 of the hand's pixels that is not seen; NaN where there is no hand."""
        n_whole = int((self.amodal_u8 >= _HALF_U8).sum())
        if not n_whole:
            return float("nan")
        return 1 - int((self.visible_u8 >= _HALF_U8).sum()) / n_whole

    def visible_at(self, uv_px: F32 | F64) -> F32:
        """Give the probability ``(N,)`` 0..1 that frame points ``(N, 2)`` show this hand.

        It is 0 outside the square and at points that are not a number.
        """
        return self._sample(self.visible_u8, uv_px)

    def amodal_at(self, uv_px: F32 | F64) -> F32:
        """Give the probability ``(N,)`` 0..1 that frame points ``(N, 2)`` are of this hand.

        It is 0 outside the square and at points that are not a number.
        """
        return self._sample(self.amodal_u8, uv_px)

    def _box(self) -> F64 | None:
        """Give the upper left and lower right corner ``(2, 2)`` of the hand in mask pixels."""
        is_marked = self.amodal_u8 >= _HALF_U8
        u, v = np.flatnonzero(is_marked.any(axis=0)), np.flatnonzero(is_marked.any(axis=1))
        if not len(u):
            return None
        return np.array([[u[0] - 0.5, v[0] - 0.5], [u[-1] + 0.5, v[-1] + 0.5]])

    def _frame_from_mask(self) -> F64:
        return self.square.frame_from_crop(len(self.amodal_u8))

    def _sample(self, mask_u8: U8, uv_px: F32 | F64) -> F32:
        last = len(mask_u8) - 1
        at = apply_affine(invert_affine(self._frame_from_mask()), uv_px).reshape(-1, 2)
        is_inside = np.all((at >= -0.5) & (at < last + 0.5), axis=1)
        at = np.clip(at[is_inside], 0, last)
        low = np.minimum(at.astype(int), max(last - 1, 0))
        u, v = (at - low).T
        (u0, v0), (u1, v1) = low.T, np.minimum(low + 1, last).T
        above = (1 - u) * mask_u8[v0, u0] + u * mask_u8[v0, u1]
        below = (1 - u) * mask_u8[v1, u0] + u * mask_u8[v1, u1]
        found = np.zeros(len(is_inside), dtype=np.float32)
        found[is_inside] = ((1 - v) * above + v * below) / 255
        return found
