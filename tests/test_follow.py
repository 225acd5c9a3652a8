"""The follower in a made world: who is followed, who is lost, who comes back; never a double."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from made_world import Dot, World, follow, owners

from hdrvideo.config import FollowSettings
from hdrvideo.track import DUPLICATE, FRAME_LOST, LOW_PRESENCE, NOT_FOUND

DEFAULT = FollowSettings()


def going(u: float, v: float, du: float = 0.0, dv: float = 0.0):
    return lambda n: (u + du * n, v + dv * n)


def two_hands() -> World:
    return World(
        [Dot(going(60, 120, 1, 0.5), is_right=False), Dot(going(250, 100, -0.5, 1), is_right=True)]
    )


def check_rows(rows) -> None:
    """Assert what holds in every world: one row a frame, two places, no two on one hand."""
    assert [row.frame.index for row in rows] == list(range(len(rows)))
    for row in rows:
        assert row.frame.rgb_u8 is None
        assert len(row.sightings) == len(row.reasons) == 2
        first, second = row.sightings
        if first is not None and second is not None:
            apart = np.linalg.norm(first.uv_px - second.uv_px, axis=1).mean()
            assert apart >= DEFAULT.double_distance * max(first.size_px, second.size_px)


def test_two_hands_keep_their_tracks():
    world = two_hands()
    rows = follow(world, 60, DEFAULT)
    check_rows(rows)
    seen = owners(world, rows)
    assert seen == [seen[0]] * 60
    assert sorted(seen[0]) == [0, 1]
    for i in range(2):
        assert {row.sightings[i].birth for row in rows} == {0}


def test_no_hand_is_nothing():
    rows = follow(World([]), 10, DEFAULT)
    check_rows(rows)
    assert all(row.sightings == [None, None] for row in rows)
    assert all(row.reasons == [NOT_FOUND, NOT_FOUND] for row in rows)


@pytest.mark.parametrize("is_right", [True, False])
def test_one_hand_alone_has_one_track(is_right):
    world = World([Dot(going(160, 120, 2, -1), is_right=is_right)])
    rows = follow(world, 40, DEFAULT)
    check_rows(rows)
    seen = owners(world, rows)
    assert seen == [seen[0]] * 40
    assert sorted(seen[0], key=str) == [0, None]


def test_a_fast_hand_is_read_where_it_is_going():
    # Sped up smoothly until a step is larger than half a crop: only looking ahead can keep it.
    place = [20.0]
    for n in range(29):
        place.append(place[-1] + min(1.0 * n, 28))
    world = World([Dot(lambda n: (place[n] % 1e4, 120), can_find=lambda n: n == 0)])
    rows = follow(world, 30, DEFAULT)
    check_rows(rows)
    assert all(0 in seen for seen in owners(world, rows))


@pytest.mark.parametrize("n_gone", [1, 3, 4])
def test_a_hand_that_vanishes_within_hold_time_keeps_its_track(n_gone):
    gone = range(20, 20 + n_gone)
    place = going(100, 120, 0.5)
    world = World(
        [
            Dot(going(250, 120)),
            Dot(lambda n: None if n in gone else place(n), can_find=lambda n: n < 20),
        ]
    )
    rows = follow(world, 40, DEFAULT)
    check_rows(rows)
    seen = owners(world, rows)
    track = seen[0].index(1)
    assert [s[track] for s in seen] == [None if n in gone else 1 for n in range(40)]
    assert {row.sightings[track].birth for row in rows if row.sightings[track]} == {0}
    assert {rows[n].reasons[track] for n in gone} == {LOW_PRESENCE}
    assert all(s[1 - track] == 0 for s in seen)


def test_a_hand_that_vanishes_for_longer_is_forgotten_and_born_again():
    gone = range(20, 30)
    world = World([Dot(lambda n: None if n in gone else (100, 120), can_find=lambda n: n != 30)])
    rows = follow(world, 50, DEFAULT)
    check_rows(rows)
    track = owners(world, rows)[0].index(0)
    births = [row.sightings[track].birth if row.sightings[track] else None for row in rows]
    # Found at 31 and filled backwards to 30.
    assert births == [0] * 20 + [None] * 10 + [31] * 20
    # Looked for while held (0.15 s), then given up.
    reasons = [rows[n].reasons[track] for n in gone]
    assert reasons[:4] == [LOW_PRESENCE] * 4
    assert reasons[-4:] == [NOT_FOUND] * 4


def test_a_gap_is_filled_when_the_finder_brings_the_hand_back_within_hold_time():
    place = lambda n: None if n in (20, 21) else (100.0 + (60 if n > 21 else 0), 120.0)  # noqa: E731
    world = World([Dot(place)])
    rows = follow(world, 40, DEFAULT)
    check_rows(rows)
    # It came back a crop away, so it is another track, but it is followed again.
    assert all(0 in seen for seen in owners(world, rows)[22:])


def test_two_tracks_never_sit_on_one_hand():
    # One hand passes over the other, which vanishes under it for good.
    world = World(
        [
            Dot(lambda n: (60 + 3 * n, 120)),
            Dot(lambda n: (150, 122) if n < 32 else None, is_right=False),
        ]
    )
    rows = follow(world, 80, DEFAULT)
    check_rows(rows)
    for seen in owners(world, rows)[:26] + owners(world, rows)[34:]:
        assert 0 in seen
    for seen in owners(world, rows)[26:34]:
        assert seen != [None, None]
    for seen in owners(world, rows)[40:]:
        assert sorted(seen, key=str) == [0, None]
    reasons = {reason for row in rows[25:45] for reason in row.reasons}
    assert reasons & {DUPLICATE, LOW_PRESENCE}


def test_of_a_double_the_track_that_moved_there_goes():
    # The second hand vanishes beside the first: its track slides onto the first and is removed.
    world = World(
        [Dot(going(150, 120)), Dot(lambda n: (170, 120) if n < 20 else None, is_right=False)]
    )
    rows = follow(world, 40, DEFAULT)
    check_rows(rows)
    seen = owners(world, rows)
    keeper = seen[0].index(0)
    assert all(s[keeper] == 0 for s in seen)
    assert all(s[1 - keeper] == 1 for s in seen[:20])
    assert rows[20].reasons[1 - keeper] == DUPLICATE
    assert all(s[1 - keeper] is None for s in seen[20:])


@pytest.mark.parametrize("n_dots", [3, 5])
def test_never_more_than_two(n_dots):
    rng = np.random.default_rng(n_dots)
    starts, steps = rng.uniform(30, 200, (n_dots, 2)), rng.normal(0, 1.5, (n_dots, 2))
    world = World([Dot(going(*s, *d)) for s, d in zip(starts, steps, strict=True)])
    rows = follow(world, 60, DEFAULT)
    check_rows(rows)
    assert sum(s is not None for row in rows for s in row.sightings) > 60


@pytest.mark.parametrize(("weak", "is_replaced"), [(0.55, True), (0.79, False)])
def test_a_third_hand_takes_the_place_of_a_doubtful_one_only_by_a_margin(weak, is_replaced):
    world = World(
        [
            Dot(going(60, 120)),
            Dot(going(160, 120), presence=lambda n: weak),
            Dot(going(260, 120), can_find=lambda n: n >= 14),
        ]
    )
    rows = follow(world, 40, DEFAULT)
    check_rows(rows)
    # What was seen before stays: the new one is not written over it backwards.
    assert all(sorted(seen) == [0, 1] for seen in owners(world, rows)[:14])
    assert sorted(owners(world, rows)[-1]) == ([0, 2] if is_replaced else [0, 1])


def test_a_lost_frame_has_a_row_and_the_hands_go_on():
    world = two_hands()
    lost = (0, 10, 20, 21)
    rows = follow(world, 40, DEFAULT, lost=lost)
    check_rows(rows)
    seen = owners(world, rows)
    for n, row in enumerate(rows):
        if n in lost:
            assert row.status == "lost"
            assert row.sightings == [None, None]
            assert row.reasons == [FRAME_LOST, FRAME_LOST]
        else:
            assert row.status == "ok"
            assert seen[n] == seen[1]
            assert {s.birth for s in row.sightings} == {1}


@pytest.mark.parametrize("backward", [1, 5, 15])
def test_a_hand_found_late_is_followed_backwards_at_most_so_far(backward):
    world = World([Dot(going(100, 120, 1), can_find=lambda n: n >= 20)])
    settings = replace(DEFAULT, backward_frames=backward)
    rows = follow(world, 30, settings)
    check_rows(rows)
    seen = [0 in s for s in owners(world, rows)]
    assert seen == [n >= 20 - backward for n in range(30)]
    births = {s.birth for row in rows for s in row.sightings if s is not None}
    assert births == {20}


def test_backwards_stops_where_the_hand_is_not_seen_and_at_a_lost_frame():
    for stop, world, lost in (
        (12, World([Dot(going(100, 120), lambda n: 0.2 if n == 12 else 0.9)]), ()),
        (14, World([Dot(going(100, 120))]), (14,)),
    ):
        world.dots[0] = replace(world.dots[0], can_find=lambda n: n >= 20)
        rows = follow(world, 30, DEFAULT, lost=lost)
        check_rows(rows)
        assert [0 in s for s in owners(world, rows)] == [n > stop for n in range(30)]


def test_backwards_never_makes_a_double():
    # Two hands part at frame 20 from one place; the second is found then and looks back.
    world = World(
        [
            Dot(going(100, 120)),
            Dot(lambda n: (100 + 4 * max(n - 20, 0), 120), can_find=lambda n: n > 24),
        ]
    )
    rows = follow(world, 50, DEFAULT)
    check_rows(rows)
    assert sorted(owners(world, rows)[-1]) == [0, 1]


@pytest.mark.parametrize("presence", [0.0, 0.3, 0.49])
def test_ghosts_are_never_tracked(presence):
    world = World([Dot(going(100, 120), presence=lambda n: presence), Dot(going(220, 120))])
    rows = follow(world, 40, DEFAULT)
    check_rows(rows)
    assert all(sorted(seen, key=str) == [1, None] for seen in owners(world, rows))


def test_the_finder_rests_while_both_hands_are_sure():
    world = two_hands()
    follow(world, 61, DEFAULT)
    assert world.searched == [0, 15, 30, 45, 60]
    world = World(two_hands().dots[:1])
    follow(world, 21, DEFAULT)
    assert set(np.diff(world.searched)) == {DEFAULT.search_frames}
    nobody = World([])
    follow(nobody, 5, DEFAULT)
    assert nobody.searched == list(range(5))


def test_a_hand_just_lost_is_searched_for_at_once():
    world = World([Dot(going(60, 120)), Dot(lambda n: (200, 120) if n < 17 else None)])
    follow(world, 18, DEFAULT)
    assert world.searched[-1] == 17


@pytest.mark.parametrize("seed", range(6))
def test_random_worlds_keep_the_rules(seed):
    rng = np.random.default_rng(seed)
    dots = []
    for _ in range(int(rng.integers(1, 5))):
        walk = 30 + np.cumsum(rng.normal(0, 4, (120, 2)), axis=0) + rng.uniform(0, 150, 2)
        gone = np.convolve(rng.random(120) < 0.05, np.ones(rng.integers(1, 9)))[:120] > 0
        sure = rng.uniform(0.3, 1, 120)
        dots.append(
            Dot(
                lambda n, w=walk, g=gone: None if g[n] else tuple(w[n]),
                lambda n, s=sure: float(s[n]),
                bool(rng.integers(2)),
                lambda n, s=sure: bool(s[n] > 0.5),
            )
        )
    lost = tuple(int(n) for n in np.flatnonzero(rng.random(120) < 0.05))
    world = World(dots)
    rows = follow(world, 120, DEFAULT, lost=lost)
    check_rows(rows)
    for row in rows:
        for i, sighting in enumerate(row.sightings):
            if sighting is not None:
                assert row.status == "ok"
                assert sighting.presence >= 0.5
                # A sighting is a true hand, and no track is born later than it could be found.
                assert world.owner(sighting, row.frame.index) is not None
                assert sighting.birth - row.frame.index <= DEFAULT.backward_frames
            else:
                assert row.reasons[i] in (FRAME_LOST, NOT_FOUND, LOW_PRESENCE, DUPLICATE)
    for before, after in pairwise(rows):
        assert after.frame.pts > before.frame.pts
