"""Pictures and masks as small arrays for files: JPEG bytes end to end, bits packed to bytes."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import U8, Bool, check_array
from hdrvideo.errors import ShapeError


def pack_masks(masks: Bool) -> U8:
    """Pack masks ``(..., H, W)`` into ``(..., ceil(H * W / 8))`` bytes."""
    height, width = masks.shape[-2:]
    return np.packbits(masks.reshape(*masks.shape[:-2], height * width), axis=-1)


def unpack_masks(packed: U8, height: int, width: int) -> Bool:
    """Undo :func:`pack_masks`.

    Raises:
        ShapeError: The bytes do not fit the size.
    """
    if packed.shape[-1] != -(-height * width // 8):
        raise ShapeError(f"packed masks have {packed.shape[-1]} bytes, not {height}x{width} pixels")
    bits = np.unpackbits(packed, axis=-1, count=height * width)
    return bits.reshape(*packed.shape[:-1], height, width).astype(bool)


def pack_pictures(rgb_u8: Sequence[U8], *, quality: int = 95) -> tuple[U8, NDArray[np.int64]]:
    """Encode pictures ``(H, W, 3)`` as JPEG without thinned-out colour.

    Returns:
        All bytes end to end, and ``(N + 1,)`` offsets of each picture's first byte.
    """
    files = [encode_picture(picture, quality=quality) for picture in rgb_u8]
    offsets = np.cumsum([0, *(len(f) for f in files)], dtype=np.int64)
    return np.concatenate(files or [np.zeros(0, np.uint8)]), offsets


def encode_picture(rgb_u8: U8, *, quality: int) -> U8:
    """Encode a picture ``(H, W, 3)`` as JPEG bytes.

    Colour keeps its full resolution: halved, it would bleed skin over the edge of a mask.
    """
    check_array("rgb_u8", rgb_u8, (None, None, 3), "uint8")
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    return np.asarray(cv2.imencode(".jpg", rgb_u8[..., ::-1], options)[1].reshape(-1))


def unpack_picture(data: U8, offsets: NDArray[np.int64], number: int) -> U8:
    """Decode one picture of :func:`pack_pictures` to ``(H, W, 3)`` RGB.

    Raises:
        ShapeError: The bytes are no picture.
    """
    start, stop = int(offsets[number]), int(offsets[number + 1])
    picture = None
    if 0 <= start < stop <= len(data):
        picture = cv2.imdecode(data[start:stop], cv2.IMREAD_COLOR)
    if picture is None:
        raise ShapeError(f"bytes {start} to {stop} of {len(data)} are no picture")
    return np.ascontiguousarray(picture[..., ::-1])
