"""The square of a frame in which bare hands are kept and compared.

A square is three whole numbers ``u0, v0, side``: the frame's pixels ``u0 .. u0 + side - 1`` and
``v0 .. v0 + side - 1``; it may reach over the picture's edge. Its picture has :data:`SQUARE_PX`
pixels a side, whatever the square's own side.
"""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import U8, Bool, check_array
from hdrvideo.geometry import F64, apply_affine, invert_affine

SQUARE_PX: Final = 256
# Room round the hands, as a part of the longer side of their box.
MARGIN: Final = 0.1
MIN_SIDE_PX: Final = 32


def square_round(masks: Bool) -> NDArray[np.int64]:
    """Give the square round all marked pixels, with a margin.

    Args:
        masks: ``(N, H, W)`` bool, whole hands of one frame; with no pixel marked the square lies in
            the middle of the picture, as high or wide as the picture's shorter side.

    Returns:
        ``(3,)`` int64: u0, v0, side.
    """
    check_array("masks", masks, (None, None, None), "bool")
    height, width = masks.shape[1:]
    columns = np.flatnonzero(masks.any(axis=(0, 1)))
    rows = np.flatnonzero(masks.any(axis=(0, 2)))
    if not len(rows):
        side = min(height, width)
        return np.array([(width - side) // 2, (height - side) // 2, side], dtype=np.int64)
    low = np.array([columns[0], rows[0]])
    size = np.array([columns[-1], rows[-1]]) - low + 1
    side = max(int(np.ceil(size.max() * (1 + 2 * MARGIN))), MIN_SIDE_PX)
    return np.array([*(low + (size - side) // 2), side], dtype=np.int64)


def frame_from_square(square: NDArray[np.int64]) -> F64:
    """Give the ``(2, 3)`` affine from pixels of the square's picture to pixels of the frame."""
    u0, v0, side = (float(n) for n in square)
    scale = side / SQUARE_PX
    # Pixel centres are whole numbers, so the edges of both lie half a pixel before zero.
    shift = 0.5 * scale - 0.5
    return np.array([[scale, 0.0, u0 + shift], [0.0, scale, v0 + shift]])


def cut_square(rgb_u8: U8, square: NDArray[np.int64]) -> U8:
    """Cut a square out of a picture ``(H, W, 3)``: ``(256, 256, 3)``, edges repeated outside."""
    check_array("rgb_u8", rgb_u8, (None, None, 3), "uint8")
    return _resized(rgb_u8, square, cv2.BORDER_REPLICATE)


def cut_mask(mask: Bool, square: NDArray[np.int64]) -> Bool:
    """Cut a square out of a mask ``(H, W)``: ``(256, 256)`` bool, False outside the picture.

    A pixel is marked when at least half of what it covers is.
    """
    check_array("mask", mask, (None, None), "bool")
    return np.asarray(_resized(mask.astype(np.float32), square, cv2.BORDER_CONSTANT) >= 0.5)


def resample_square(
    rgb_u8: U8, square: NDArray[np.int64], to_square: NDArray[np.int64]
) -> tuple[U8, Bool]:
    """Bring a square's picture to another square of the same frame.

    Bilinear; where pixels become coarser they are smoothed before.

    Args:
        rgb_u8: ``(256, 256, 3)`` the picture of ``square``.
        square: Where it lies.
        to_square: Where it shall lie.

    Returns:
        The picture ``(256, 256, 3)``, edges repeated, and ``(256, 256)`` bool which pixels' centres
        ``square`` covers.
    """
    check_array("rgb_u8", rgb_u8, (SQUARE_PX, SQUARE_PX, 3), "uint8")
    to_frame, from_frame = frame_from_square(to_square), invert_affine(frame_from_square(square))
    linear = from_frame[:, :2] @ to_frame[:, :2]
    shift = apply_affine(from_frame, to_frame[None, :, 2])[0]
    scale = float(linear[0, 0])
    if scale > 1:
        # A bilinear sample looks at one pixel of the source; it must know of `scale` of them.
        sigma = 0.5 * float(np.sqrt(scale**2 - 1))
        rgb_u8 = np.asarray(
            cv2.GaussianBlur(rgb_u8, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        )
    moved = cv2.warpAffine(
        np.ascontiguousarray(rgb_u8),
        np.concatenate([linear, shift[:, None]], axis=1),
        (SQUARE_PX, SQUARE_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    columns, rows = (scale * np.arange(SQUARE_PX) + start for start in shift)
    inside = [(place >= -0.5) & (place <= SQUARE_PX - 0.5) for place in (rows, columns)]
    return np.asarray(moved, dtype=np.uint8), np.logical_and.outer(*inside)


def sample_places(mask: Bool, uv_px: NDArray[Any]) -> Bool:
    """Give whether all four pixels round each place ``(..., 2)`` are marked; NaN is not."""
    height, width = mask.shape
    uv = np.asarray(uv_px, dtype=np.float64)
    known = np.asarray(np.isfinite(uv).all(axis=-1))
    uv = np.where(known[..., None], uv, 0)
    low, high = np.floor(uv).astype(np.int64), np.ceil(uv).astype(np.int64)
    inside = (low >= 0).all(axis=-1) & (high < np.array([width, height])).all(axis=-1)
    (u0, v0), (u1, v1) = (
        np.moveaxis(np.clip(corner, 0, [width - 1, height - 1]), -1, 0) for corner in (low, high)
    )
    return np.asarray(known & inside & mask[v0, u0] & mask[v0, u1] & mask[v1, u0] & mask[v1, u1])


def _resized(picture: NDArray[Any], square: NDArray[np.int64], border: int) -> NDArray[Any]:
    u0, v0, side = (int(n) for n in square)
    height, width = picture.shape[:2]
    # The square's part inside the picture, at least one pixel of it, then its edges outwards.
    left, top = int(np.clip(u0, 0, width - 1)), int(np.clip(v0, 0, height - 1))
    right, low = int(np.clip(u0 + side, left + 1, width)), int(np.clip(v0 + side, top + 1, height))
    inside = cv2.copyMakeBorder(
        picture[top:low, left:right],
        max(top - v0, 0),
        max(v0 + side - low, 0),
        max(left - u0, 0),
        max(u0 + side - right, 0),
        border,
    )
    shrinks = side > SQUARE_PX
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (SQUARE_PX, SQUARE_PX), interpolation=way))
