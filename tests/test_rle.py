"""Run lengths against COCO's own code, by hand, there and back, and broken ones."""

import time

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from hdrvideo.errors import DataError, ShapeError
from hdrvideo.rle import decode_rle, encode_rle


def coco_counts(mask: np.ndarray) -> str:
    """Give the run lengths by COCO's own code."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def hands_480() -> np.ndarray:
    """Give a mask like a hand's: a palm, five fingers, a hole."""
    v, u = np.mgrid[:480, :640]
    mask = (u - 300) ** 2 + (v - 300) ** 2 < 90**2
    for angle in np.linspace(-1, 1, 5):
        along = (u - 300) * np.sin(angle) - (v - 300) * np.cos(angle)
        across = (u - 300) * np.cos(angle) + (v - 300) * np.sin(angle)
        mask |= (along > 0) & (along < 190) & (abs(across) < 16)
    return mask & ((u - 310) ** 2 + (v - 290) ** 2 > 12**2)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (37, 53), (480, 640)])
def test_the_same_as_pycocotools(share, size):
    rng = np.random.default_rng(int(1000 * share) + size[0])
    mask = rng.random(size) < share
    counts = encode_rle(mask)
    assert counts == coco_counts(mask)
    np.testing.assert_array_equal(decode_rle(counts, *size), mask)


def test_shapes_with_long_and_falling_runs():
    v, u = np.mgrid[:480, :640]
    mask = ((u - 300) ** 2 + (v - 200) ** 2 < 150**2) & (u % 97 != 0)
    for one in (mask, hands_480(), ~hands_480(), hands_480()[::2, ::-3], hands_480().T):
        counts = encode_rle(one)
        assert counts == coco_counts(one)
        np.testing.assert_array_equal(decode_rle(counts, *one.shape), one)


@pytest.mark.parametrize("at", [(0, 0), (6, 0), (0, 8), (6, 8), (3, 4)])
def test_a_single_pixel(at):
    mask = np.zeros((7, 9), bool)
    mask[at] = True
    for one in (mask, ~mask):
        assert encode_rle(one) == coco_counts(one)
        np.testing.assert_array_equal(decode_rle(encode_rle(one), 7, 9), one)


def test_a_picture_of_4k_and_one_without_pixels():
    mask = np.zeros((2160, 3840), bool)
    mask[-1, -1] = True
    for one in (mask, ~mask, np.zeros((0, 5), bool)):
        assert encode_rle(one) == coco_counts(one)
        np.testing.assert_array_equal(decode_rle(encode_rle(one), *one.shape), one)


def test_by_hand():
    # Runs 2, 1, 3 down the columns of 3 x 2: "2", "1", "3"; the last pixel of the first column.
    assert decode_rle("213", 3, 2).tolist() == [[False, False], [False, False], [True, False]]
    assert encode_rle(decode_rle("213", 3, 2)) == "213"
    # From the fourth run on differences: 1, 2, 1, 2 + 0 is "1", "2", "1", "0".
    assert decode_rle("1210", 2, 3).T.ravel().tolist() == [False, True, True, False, True, True]
    # 40 = 8 + 32: "8" with the sixth bit (48 + 8 + 32 = "X"), then 1.
    assert not decode_rle("X1", 8, 5).any()
    # A minus: 1, 3, 1, then 3 - 2 = 1: -2 is 30 of 5 bits, its sign the fifth: 48 + 30 = "N".
    assert decode_rle("131N", 6, 1)[:, 0].tolist() == [False, True, True, True, False, True]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ("", "the last number of 0 characters is cut off"),
        ("6X", "the last number of 2 characters is cut off"),
        ("6 0", "character 1 is not of COCO's"),
        ("6é", "character 1 is not of COCO's"),
        ("5", "runs add up to 5 pixels, expected 6 of 2x3"),
        ("61", "runs add up to 7 pixels, expected 6 of 2x3"),
        ("N8", "run 0 is -2, expected 0 or more"),
        ("ooooooo1", "a number has 8 characters, expected 7 at most"),
    ],
)
def test_broken_runs_are_refused(counts, text):
    with pytest.raises(DataError, match=text):
        decode_rle(counts, 3, 2)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.zeros((4, 5), np.uint8), r"mask is uint8 \(4, 5\), expected bool \('any', 'any'\)"),
        (np.zeros((2, 4, 5), bool), r"mask is bool \(2, 4, 5\), expected bool"),
    ],
)
def test_what_is_no_mask_is_refused(mask, text):
    with pytest.raises(ShapeError, match=text):
        encode_rle(mask)


def test_writing_and_reading_keep_up_with_a_clip():
    mask = hands_480()
    start = time.process_time()
    for _ in range(50):
        counts = encode_rle(mask)
    encoding = (time.process_time() - start) / 50
    for _ in range(50):
        decode_rle(counts, 480, 640)
    decoding = (time.process_time() - start) / 50 - encoding
    # Measured 0.3 and 0.3 ms.
    assert max(encoding, decoding) < 0.003
