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
from hdrvideo.geometry import F64

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
