"""Hints are near the truth, not the truth; now and then they are missing or wrong."""

import numpy as np
import pytest

from hdrvideo.train.hints import draw_hints


def masks(radius: float, *, both: bool = True) -> np.ndarray:
    v, u = np.mgrid[:64, :64]
    amodal = np.zeros((2, 64, 64), np.float32)
    amodal[0] = np.hypot(u - 18, v - 30) <= radius
    if both:
        amodal[1] = np.hypot(u - 46, v - 30) <= radius
    return amodal


def drawn(amodal, n: int = 400, none_share: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.stack([draw_hints(amodal, rng, none_share=none_share) for _ in range(n)])


@pytest.mark.parametrize("radius", [2, 5, 14])
def test_most_hints_lie_on_their_own_hand_whatever_its_size(radius):
    amodal = masks(radius)
    hints = drawn(amodal)
    assert (hints[:, 2] == 1).all()
    assert hints.min() >= 0
    assert hints.max() <= 1
    own = (hints[:, :2] * amodal).sum(axis=(2, 3)) / amodal.sum(axis=(1, 2))
    other = (hints[:, 1::-1] * amodal).sum(axis=(2, 3)) / amodal.sum(axis=(1, 2))
    # Three in ten are left out: a net that is told of one hand must look for the other, too.
    assert 0.6 < (own > other).mean() < 0.75
    assert 0.01 < (other > 0.3).mean() < 0.08
    assert own[own > 0].mean() > 0.5
    # They are no copies.
    assert not any(np.array_equal(h[:2], amodal) for h in hints)


def test_how_often_nothing_is_known():
    hints = drawn(masks(8), none_share=0.5)
    known = hints[:, 2].max(axis=(1, 2)) > 0
    assert 0.4 < known.mean() < 0.6
    assert not hints[~known].any()
    assert not drawn(masks(8), n=20, none_share=1.0).any()


def test_a_hand_that_is_not_there_is_seldom_hinted():
    hints = drawn(masks(8, both=False))
    ghosts = hints[:, 1].max(axis=(1, 2)) > 0
    assert 0.02 < ghosts.mean() < 0.16
