"""Run lengths against COCO's own code, by hand, and broken ones."""

import numpy as np
import pytest
from validate_truths import mask_row

from hdrvideo.errors import DataError
from hdrvideo.validate.rle import decode_rle


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (37, 53), (480, 640)])
def test_the_same_as_pycocotools(share, size):
    rng = np.random.default_rng(int(1000 * share) + size[0])
    mask = rng.random(size) < share
    np.testing.assert_array_equal(
        decode_rle(mask_row(mask, 0, 0, "visible")["counts"], *size), mask
    )


def test_shapes_with_long_and_falling_runs():
    v, u = np.mgrid[:480, :640]
    mask = ((u - 300) ** 2 + (v - 200) ** 2 < 150**2) & (u % 97 != 0)
    counts = mask_row(mask, 0, 0, "visible")["counts"]
    np.testing.assert_array_equal(decode_rle(counts, 480, 640), mask)


def test_by_hand():
    # Runs 2, 1, 3 down the columns of 3 x 2: "2", "1", "3"; the last pixel of the first column.
    assert decode_rle("213", 3, 2).tolist() == [[False, False], [False, False], [True, False]]
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
