"""Distractors lie beside hands and never on them."""

import numpy as np

from hdrvideo.train.distract import add_distractors
from hdrvideo.train.views import LabelledPicture

PEOPLE = [np.full((40, 60, 3), 200, np.uint8), np.full((64, 50, 3), 90, np.uint8)]


def picture(*, full: bool = False) -> LabelledPicture:
    amodal = np.zeros((2, 96, 96), bool)
    amodal[0, 30:60, 20:50] = True
    if full:
        amodal[1] = True
    return LabelledPicture(np.zeros((96, 96, 3), np.uint8), amodal & False, amodal)


def test_hands_stay_as_they_are_and_something_else_does_not():
    n_changed = 0
    for seed in range(30):
        before = picture()
        after = add_distractors(before, np.random.default_rng(seed), PEOPLE)
        assert after.amodal is before.amodal
        assert after.visible is before.visible
        assert not after.rgb_u8[before.amodal.any(axis=0)].any()
        assert not before.rgb_u8.any()
        n_changed += bool(after.rgb_u8.any())
    assert n_changed > 25


def test_where_hands_are_everywhere_nothing_is_laid():
    for seed in range(5):
        before = picture(full=True)
        after = add_distractors(before, np.random.default_rng(seed), PEOPLE)
        assert np.array_equal(after.rgb_u8, before.rgb_u8)


def test_the_same_draws_give_the_same_picture():
    first, again, other = (
        add_distractors(picture(), np.random.default_rng(seed), PEOPLE).rgb_u8 for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
