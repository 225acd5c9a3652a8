"""Sides: steady under noise, undone swaps, ghosts taken out, every row once, however it is cut."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from made_world import SHAPE, Dot, World, frame

from hdrvideo.config import FollowSettings, SideSettings
from hdrvideo.crop.sides import SideDecider
from hdrvideo.crop.sighting import Sighting, TrackedFrame
from hdrvideo.datatypes import Frame
from hdrvideo.track import FRAME_LOST, NOT_FOUND, POSED, TOO_SHORT

DEFAULT = SideSettings(delay_frames=120)


def sighting(u: float, right_score: float, *, birth: int = 0, presence: float = 0.95) -> Sighting:
    return Sighting(
        uv_px=(SHAPE + np.array([u, 120])).astype(np.float32),
        xyz_mm=np.zeros((21, 3), np.float32),
        confidence=np.full(21, presence, np.float32),
        presence=presence,
        right_score=right_score,
        birth=birth,
    )


def row(n: int, *hands: Sighting | None) -> TrackedFrame:
    made = TrackedFrame(Frame(n, n, Fraction(1, 30), None, "lost"), "ok")
    made.sightings[: len(hands)] = hands
    return made


def decide(rows, settings=DEFAULT, *, mirror: bool = False):
    """Push copies of the rows, as a decider may change them, and give all that comes out."""
    decider = SideDecider(settings, mirror=mirror)
    out = []
    for one in rows:
        copied = replace(one, sightings=list(one.sightings), reasons=list(one.reasons))
        out += decider.push(copied)
    return out + decider.finish()


def crossing(n: int, swap: int, *, noise: float = 0.0, seed: int = 0) -> list[TrackedFrame]:
    """Two hands meet at ``swap``, where the two tracks change over to each other's hand."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        away = min(3.0 * abs(i - swap), 120.0)
        scores = np.clip(rng.normal([0.9, 0.1], noise), 0.02, 0.98)
        right, left = sighting(160 + away, scores[0]), sighting(160 - away - 4, scores[1])
        rows.append(row(i, right, left) if i < swap else row(i, left, right))
    return rows


def tracks_of(rows, sided):
    """Say for each row which track the right and the left hand came from."""
    return [
        tuple(
            None if hand is None else next(i for i in (0, 1) if one.sightings[i] is hand)
            for hand in given.hands
        )
        for one, given in zip(rows, sided, strict=True)
    ]


@pytest.mark.parametrize("n", [0, 1, 2, 119, 120, 121, 180, 181, 260])
@pytest.mark.parametrize(("delay", "step"), [(120, 1), (120, 60), (121, 7), (150, 500)])
def test_every_row_comes_out_once_and_in_order(n, delay, step):
    rows = crossing(n, n // 2)
    decider = SideDecider(SideSettings(delay_frames=delay, step_frames=step), mirror=False)
    out = []
    for pushed, one in enumerate(rows, start=1):
        given = decider.push(one)
        out += given
        assert len(given) in (0, step)
        assert pushed - len(out) < delay + step
        assert not given or pushed - len(out) >= delay
    out += decider.finish()
    assert [one.frame.index for one in out] == list(range(n))
    assert all(set(one.reasons) == {POSED} for one in out)
    assert decider.finish() == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("track0_is_right", [True, False])
def test_noise_never_flips_the_side(track0_is_right, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(500):
        # Three frames in ten say the opposite, in bouts of up to several frames.
        scores = np.where(rng.random(2) < 0.3, 0.1, 0.8)
        if 200 <= n < 208:
            scores = np.array([0.03, 0.03])
        scores = scores if track0_is_right else 1 - scores
        apart = 40 * np.sin(n / 40) ** 2
        rows.append(row(n, sighting(160, scores[0]), sighting(164 + apart, 1 - scores[1])))
    expected = (0, 1) if track0_is_right else (1, 0)
    assert set(tracks_of(rows, decide(rows))) == {expected}


@pytest.mark.parametrize("step", [11, 60])
@pytest.mark.parametrize("swap", [40, 150, 333])
def test_a_swap_in_a_crossing_is_undone_from_its_very_frame(swap, step):
    rows = crossing(500, swap, noise=0.1)
    settings = replace(DEFAULT, step_frames=step)
    expected = [(0, 1) if n < swap else (1, 0) for n in range(500)]
    sided = decide(rows, settings)
    assert tracks_of(rows, sided) == expected
    for one in sided:
        assert one.hands[0].right_score > one.hands[1].right_score


def test_a_lone_hand_keeps_its_side_and_the_other_place_says_why_it_is_empty():
    rows = [row(n, None, sighting(160, 0.2 if n % 5 else 0.9)) for n in range(200)]
    rows[7].reasons = [FRAME_LOST, FRAME_LOST]
    rows[7].sightings = [None, None]
    sided = decide(rows)
    for n, one in enumerate(sided):
        if n == 7:
            assert one.hands == (None, None)
            assert one.reasons == (FRAME_LOST, FRAME_LOST)
        else:
            assert one.hands == (None, rows[n].sightings[1])
            assert one.reasons == (NOT_FOUND, POSED)


@pytest.mark.parametrize("step", [10, 500])
@pytest.mark.parametrize(("gap", "may_change"), [(3, False), (60, True)])
def test_a_new_hand_after_a_long_time_may_be_either_side(gap, may_change, step):
    # The left hand goes; after the gap a hand is born on its track that looks weakly right.
    rows = [row(n, sighting(160, 0.05)) for n in range(60)]
    rows += [row(n) for n in range(60, 60 + gap)]
    rows += [row(n, sighting(160, 0.7, birth=60 + gap)) for n in range(60 + gap, 90 + gap)]
    rows += [row(n) for n in range(90 + gap, 300)]
    sided = decide(rows, replace(DEFAULT, step_frames=step))
    assert all(one.hands[1] is not None for one in sided[:60])
    side = 0 if may_change else 1
    assert all(one.hands[side] is not None for one in sided[60 + gap : 90 + gap])


@pytest.mark.parametrize(("apart_px", "changes"), [(10, True), (120, False)])
def test_tracks_can_swap_where_hands_meet_not_where_they_are_well_apart(apart_px, changes):
    # For the last second both look like the other side.
    rows = []
    for n in range(200):
        score = 0.9 if n < 170 else 0.1
        rows.append(row(n, sighting(100, score), sighting(100 + apart_px, 1 - score)))
    swapped = (1, 0) if changes else (0, 1)
    assert tracks_of(rows, decide(rows)) == [(0, 1)] * 170 + [swapped] * 30


@pytest.mark.parametrize("n_lost", [1, 2, 4])
def test_a_few_lost_frames_do_not_make_a_change_of_sides_free(n_lost):
    # Surely left, then frames without any picture, then the same hand weakly right for a second.
    rows = [row(n, None if 60 <= n < 60 + n_lost else sighting(160, 0.05)) for n in range(90)]
    for one in rows[60 + n_lost :]:
        one.sightings[0] = sighting(160, 0.7)
    sided = decide(rows)
    assert all(one.hands[0] is None for one in sided)


@pytest.mark.parametrize("n_seen", [1, 2, 3, 4])
def test_short_ghosts_are_taken_out(n_seen):
    ghost = range(70, 70 + n_seen)
    rows = [
        row(n, sighting(60, 0.9), sighting(250, 0.1, birth=70) if n in ghost else None)
        for n in range(200)
    ]
    sided = decide(rows)
    is_ghost = n_seen < DEFAULT.min_track_frames
    for n, one in enumerate(sided):
        assert one.hands[0] is rows[n].sightings[0]
        if n in ghost and is_ghost:
            assert one.hands[1] is None
            assert one.reasons == (POSED, TOO_SHORT)
        elif n in ghost:
            assert one.hands[1] is rows[n].sightings[1]
        else:
            assert one.reasons == (POSED, NOT_FOUND)


@pytest.mark.parametrize("step", [1, 2, 7, 60])
def test_a_track_cut_by_the_step_is_not_a_ghost(step):
    # Long tracks: wherever the rows are cut, none of their frames may be called too short.
    rows = [row(n, sighting(60, 0.9, birth=n // 90 * 90)) for n in range(400)]
    sided = decide(rows, replace(DEFAULT, step_frames=step, min_track_frames=50))
    assert all(one.hands[0] is not None for one in sided[:360])


@pytest.mark.parametrize("delay", [6, 18])
def test_a_long_track_that_was_told_already_keeps_its_last_frames(delay):
    # The hand flickers and leaves: what is held by then is but its end.
    there = [*range(31), 32, 33]
    rows = [row(n, sighting(160, 0.9) if n in there else None) for n in range(80)]
    sided = decide(rows, replace(DEFAULT, delay_frames=delay, step_frames=1))
    assert [n for n, one in enumerate(sided) if one.hands[0] is not None] == there


def test_a_mirrored_video_swaps_the_sides():
    rows = crossing(300, 130, noise=0.1)
    plain, mirrored = decide(rows), decide(rows, mirror=True)
    for a, b in zip(plain, mirrored, strict=True):
        assert a.hands == b.hands[::-1]
        assert a.reasons == b.reasons[::-1]


@pytest.mark.parametrize("seed", range(3))
def test_the_result_does_not_hang_on_the_step(seed):
    rng = np.random.default_rng(seed)
    swaps = np.cumsum(rng.integers(60, 140, 5))
    rows = []
    for n in range(600):
        away = min(3.0 * np.abs(n - swaps).min(), 120.0)
        scores = np.clip(rng.normal([0.85, 0.15], 0.2), 0.02, 0.98)
        hands = [sighting(160 + away, scores[0]), sighting(156 - away, scores[1])]
        hands = [h if rng.random() > 0.1 else None for h in hands]
        rows.append(row(n, *(hands if (swaps <= n).sum() % 2 == 0 else hands[::-1])))
    results = [
        tracks_of(rows, decide(rows, replace(DEFAULT, step_frames=step))) for step in (10, 60, 1000)
    ]
    assert all(result == results[0] for result in results)


def test_behind_the_follower_each_hand_keeps_its_side():
    """The two together: a crossing in the made world, tracks as they fall."""
    world = World(
        [
            Dot(lambda n: (60 + 2 * n, 110), is_right=True),
            Dot(lambda n: (260 - 2 * n, 130), is_right=False),
        ]
    )
    follower = world.follower(FollowSettings())
    decider = SideDecider(DEFAULT, mirror=False)
    sided = [one for n in range(90) for one in decider.push(follower.step(frame(n)))]
    sided += decider.finish()
    assert [one.frame.index for one in sided] == list(range(90))
    for n, one in enumerate(sided):
        for side, hand in enumerate(one.hands):
            # While they overlap one of the two may be missing.
            if hand is not None and abs(n - 50) > 2:
                assert world.owner(hand, n) == side
        if abs(n - 50) > 12:
            assert None not in one.hands
