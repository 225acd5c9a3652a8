"""The follower with a painter that remembers: whose past it is told, and when there is none."""

import numpy as np
import pytest
from made_world import Dot, follow, frame
from test_follow import going
from test_follow_bare import DEFAULT, PaintedWorld, apart, crossing, same_rows
from test_follow_masks import hand_at, sighting

from hdrvideo.crop.bare import MaskedHand
from hdrvideo.crop.read import _is_same
from hdrvideo.datatypes import HandCrops


def told(world: PaintedWorld) -> list[list[object]]:
    """Say for each call what was told of each hand's past: ``(call, place)``, "crop" or None."""
    return [
        ["crop" if isinstance(before, HandCrops) else before for before in befores]
        for befores in world.befores
    ]


def test_a_hand_that_was_painted_is_told_what_was_remembered_of_it():
    world = crossing(remember=True)
    rows = follow(world, 6, DEFAULT)
    first, *later = told(world)
    assert first == [None, None]
    assert later == [[(n, 0), (n, 1)] for n in range(1, 6)]
    # The made painter goes by the frame alone, so nothing else changes.
    plain = crossing()
    same_rows(rows, follow(plain, 6, DEFAULT))
    assert told(plain) == [[None, None]] * 6


def test_a_hand_that_was_not_painted_is_told_its_last_crop():
    """The other hand comes near from frame 8 on; before that there is nothing to paint."""
    other = Dot(lambda n: (165 if n >= 8 else 290, 120), is_right=False)
    world = PaintedWorld([Dot(going(130, 120)), other], remember=True)
    follow(world, 8, DEFAULT)
    assert world.asked == []
    world = PaintedWorld([Dot(going(130, 120)), other], remember=True)
    follow(world, 9, DEFAULT)
    before = world.befores[0][0]
    assert isinstance(before, HandCrops)
    assert before.rgb.mean() * 255 == pytest.approx(7)
    assert before.masks.shape == (1, 4, *before.rgb.shape[2:])
    assert before.masks[:, :2].any()


def test_to_ask_about_every_hand_tells_the_same_pasts(monkeypatch):
    other = Dot(lambda n: (165 if n >= 6 else 290, 120), is_right=False)
    dots = [Dot(going(130, 120)), other]
    quick = PaintedWorld(dots, remember=True)
    rows = follow(quick, 10, DEFAULT)
    monkeypatch.setattr(MaskedHand, "may_need_painting", lambda self: True)
    asking = PaintedWorld(dots, remember=True)
    same_rows(follow(asking, 10, DEFAULT), rows)
    assert len(asking.befores) > len(quick.befores)
    for before, other_before in zip(asking.befores[-3:], quick.befores[-3:], strict=True):
        for one, two in zip(before, other_before, strict=True):
            assert isinstance(one, HandCrops) == isinstance(two, HandCrops)
            if isinstance(one, HandCrops):
                for name in ("rgb", "masks", "frame_from_crop"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_nothing_is_remembered_over_a_lost_frame():
    world = crossing(remember=True)
    follow(world, 7, DEFAULT, lost=(3,))
    assert [any(before) for before in told(world)] == [False, True, True, False, True, True]


def test_nothing_is_kept_where_nothing_is_painted():
    world = apart(remember=True, without=True)
    follow(world, 4, DEFAULT)
    assert world.asked == []


def test_tracks_that_were_exchanged_remember_nothing():
    world = crossing(remember=True)
    follower = world.follower(DEFAULT)
    for n in range(3):
        row = follower.step(frame(n))
    follower._swap(row)
    follower.step(frame(3))
    assert told(world)[-1] == [None, None]


def test_the_same_hand_is_of_one_track_seen_one_way_round_and_near():
    def hand(u: float, birth: int = 0, *, mirror: bool = False) -> MaskedHand:
        return MaskedHand(sighting(hand_at(u, 120), birth=birth), mirror, (None, None))

    size = hand(100).sighting.size_px
    assert _is_same(hand(100), hand(100 + 0.45 * size))
    assert not _is_same(hand(100), hand(100 + 0.55 * size))
    assert not _is_same(hand(100), hand(100, birth=4))
    assert not _is_same(hand(100), hand(100, mirror=True))
