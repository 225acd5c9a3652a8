"""Masks as COCO's compressed run lengths and back, NumPy only.

The format is that of COCO's ``maskApi.c``: runs of unmarked and marked pixels in turn, beginning
with unmarked, down the columns from left to right. From the fourth run on, the difference to the
run two before is kept. Each number is cut into 5 bits a character, lowest first, plus 48; the
sixth bit says that more follow, the last character's fifth bit is the sign.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import Bool, check_array
from hdrvideo.errors import DataError

_FIRST: Final = 48
_BITS: Final = 5
_MORE, _SIGN, _VALUE = 32, 16, 31
# 35 bits: far more than any picture has pixels, and no overflow of 64.
_MAX_CHARACTERS: Final = 7


def encode_rle(mask: Bool) -> str:
    """Give the compressed run-length string of a mask ``(H, W)`` bool; undoes :func:`decode_rle`.

    Raises:
        ShapeError: The mask is no bool ``(H, W)``.
    """
    check_array("mask", mask, (None, None), "bool")
    down_columns = np.ascontiguousarray(mask.T).reshape(-1)
    edges = np.flatnonzero(down_columns[1:] != down_columns[:-1]) + 1
    # Runs begin with unmarked pixels, none of them where the first pixel is marked.
    starts = [0, 0] if down_columns[:1].any() else [0]
    runs = np.diff(np.concatenate([starts, edges, [mask.size]]))
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    return _text(numbers)


def decode_rle(counts: str, height_px: int, width_px: int) -> Bool:
    """Give the mask ``(H, W)`` bool of a compressed run-length string.

    Raises:
        DataError: A character is none of the code, a number is cut off or too long, a run is
            negative, or the runs do not add up to the picture.
    """
    runs = _runs(counts)
    n_pixels = height_px * width_px
    if (runs < 0).any():
        raise DataError(f"run {int(np.argmax(runs < 0))} is {runs.min()}, expected 0 or more")
    if runs.sum() != n_pixels:
        raise DataError(
            f"runs add up to {runs.sum()} pixels, expected {n_pixels} of {width_px}x{height_px}"
        )
    is_marked = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(is_marked, runs).reshape(width_px, height_px).T)


def _text(numbers: NDArray[np.int64]) -> str:
    # A number ends with the first character whose sign bit is right for all that is left.
    n_characters = np.ones(len(numbers), dtype=np.int64)
    while (longer := ~_fits(numbers, n_characters)).any():
        n_characters += longer
    place = np.arange(n_characters.max())
    code = ((numbers[:, None] >> (_BITS * place)) & _VALUE) + _FIRST
    code += _MORE * (place < n_characters[:, None] - 1)
    characters: NDArray[np.uint8] = code[place < n_characters[:, None]].astype(np.uint8)
    return characters.tobytes().decode("ascii")


def _fits(numbers: NDArray[np.int64], n_characters: NDArray[np.int64]) -> Bool:
    limit = np.int64(1) << (_BITS * n_characters - 1)
    return np.asarray((-limit <= numbers) & (numbers < limit))


def _runs(counts: str) -> NDArray[np.int64]:
    code = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - _FIRST
    wrong = (code < 0) | (code > (_MORE | _VALUE))
    if wrong.any():
        raise DataError(
            f"character {int(np.argmax(wrong))} is not of COCO's compressed run lengths"
        )
    is_last = code & _MORE == 0
    if not len(code) or not is_last[-1]:
        raise DataError(f"the last number of {len(code)} characters is cut off")
    stop = np.flatnonzero(is_last) + 1
    start = np.concatenate([[0], stop[:-1]])
    length = stop - start
    if length.max() > _MAX_CHARACTERS:
        raise DataError(
            f"a number has {length.max()} characters, expected {_MAX_CHARACTERS} at most"
        )
    place = np.arange(len(code)) - np.repeat(start, length)
    runs = np.add.reduceat((code & _VALUE) << (_BITS * place), start)
    is_negative = code[stop - 1] & _SIGN != 0
    runs = runs - np.where(is_negative, np.int64(1) << (_BITS * length), 0)
    for first in (1, 2):
        runs[first::2] = runs[first::2].cumsum()
    return np.asarray(runs)
