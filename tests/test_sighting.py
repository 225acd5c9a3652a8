"""Two hands in one place: which of them is but a second reading."""

from fractions import Fraction

import numpy as np
import pytest

from hdrvideo.crop.sighting import Sighting, TrackedFrame, read_twice
from hdrvideo.datatypes import Frame

NOW = 7


def hand(u_px: float, birth: int) -> Sighting:
    rng = np.random.default_rng(0)
    uv_px = (rng.random((21, 2)) * 80 + [u_px, 100]).astype(np.float32)
    zeros = np.zeros((21, 3), dtype=np.float32)
    return Sighting(uv_px, zeros, np.ones(21, np.float32), 0.9, 0.9, birth)


def frame(first: Sighting | None, second: Sighting | None) -> TrackedFrame:
    row = TrackedFrame(Frame(NOW, NOW, Fraction(1, 30), None, "lost"), "ok")
    row.sightings = [first, second]
    return row


@pytest.mark.parametrize("sides", [(0, None), (None, 1), (None, None)])
def test_the_new_hand_goes_whichever_the_one_mask_fits(sides):
    old, new = hand(100, 3), hand(110, NOW)
    assert read_twice(frame(old, new), sides) == 1
    assert read_twice(frame(new, old), sides) == 0


def test_of_two_new_hands_the_one_without_a_mask_goes():
    row = frame(hand(100, NOW), hand(110, NOW))
    assert read_twice(row, (0, None)) == 1
    assert read_twice(row, (None, 0)) == 0


def test_other_hands_stay():
    old, new = hand(100, 3), hand(110, NOW)
    assert read_twice(frame(old, new), (0, 1)) is None
    assert read_twice(frame(old, hand(110, 4)), (0, None)) is None
    assert read_twice(frame(old, hand(300, NOW)), (0, None)) is None
    assert read_twice(frame(None, new), (None, 0)) is None
    assert read_twice(frame(new, None), (0, None)) is None
