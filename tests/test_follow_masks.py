"""The follower with masks, in a made world whose masks are true: hidden hands stay found."""

from dataclasses import dataclass

import numpy as np
import pytest
from made_world import Dot, World, follow, owners
from test_follow import check_rows, going

from hdrvideo.config import FollowSettings
from hdrvideo.crop.guide import MaskGuide
from hdrvideo.crop.masked import (
    assign_masks,
    certainty,
    fit_of,
    fits_well,
    is_cut,
    joints_box,
    masks_iou,
    moved_into,
    silhouette,
    squares_from_mask,
)
from hdrvideo.crop.segment import SeenHands
from hdrvideo.crop.sighting import Sighting
from hdrvideo.crop.take import Pyramid
from hdrvideo.geometry import CropSquare, box_iou, points_box
from hdrvideo.handmask import HandMask

DEFAULT = FollowSettings()
CELLS = 64


def mask_of(
    uv_px, square: CropSquare, *, hidden: bool = False, probability: float = 0.98
) -> HandMask:
    """Mark the box round joints."""
    low, high = np.min(uv_px, axis=0) - 3, np.max(uv_px, axis=0) + 3
    places = np.arange(CELLS)
    affine = square.frame_from_crop(CELLS)
    u, v = affine[0, 0] * places + affine[0, 2], affine[1, 1] * places + affine[1, 2]
    inside = ((v >= low[1]) & (v <= high[1]))[:, None] & ((u >= low[0]) & (u <= high[0]))[None]
    amodal = np.where(inside, round(255 * probability), 0).astype(np.uint8)
    return HandMask(square, amodal * 0 if hidden else amodal, amodal)


@dataclass
class MaskedWorld(World):
    """The made world with true masks by side."""

    n_looks: int = 0
    hidden: bool = False
    probability: float = 0.98
    unmasked: tuple[int, ...] = ()

    def see(self, pyramid: Pyramid, square: CropSquare, hints=None) -> SeenHands:
        n = int(pyramid.level(0)[0, 0, 0])
        self.n_looks += 1
        masks, presence = [None, None], np.zeros(2, np.float32)
        for number, dot in enumerate(self.dots):
            uv = dot.uv_px(n)
            if uv is None or number in self.unmasked:
                continue
            mask = mask_of(uv, square, hidden=self.hidden, probability=self.probability)
            if mask.box_uvuv_px() is not None:
                side = 0 if dot.is_right else 1
                masks[side], presence[side] = mask, 0.95
        return SeenHands((masks[0], masks[1]), presence, hinted=hints is not None)

    def follower(self, settings):
        made = super().follower(settings)
        made._guide = MaskGuide(self.see)
        return made


def sighting(uv_px, **more) -> Sighting:
    values = {"presence": 0.9, "right_score": 0.9, "birth": 0, **more}
    uv = np.asarray(uv_px, np.float32)
    return Sighting(uv, np.zeros((21, 3), np.float32), np.full(21, 0.9, np.float32), **values)


def hand_at(u: float, v: float) -> np.ndarray:
    return Dot(going(u, v)).uv_px(0)


def test_each_hand_gets_its_own_mask_and_a_vote():
    world = MaskedWorld([Dot(going(60, 120), is_right=False), Dot(going(250, 100))])
    rows = follow(world, 10, DEFAULT)
    check_rows(rows)
    for row, seen in zip(rows, owners(world, rows), strict=True):
        assert sorted(seen) == [0, 1]
        for s in row.sightings:
            assert fit_of(s.uv_px, s.mask) > 0.8
    # Dot 1 is the right hand: the vote of the first looks, which are told nothing, says so.
    votes = [row.mask_vote for row in rows]
    assert votes[0] * (1 if seen[0] == 1 else -1) > 1
    assert votes[-1] == 0


def test_a_hand_that_cannot_be_read_stays_where_its_mask_is():
    # From frame 10 on nothing reads hand 0 and no palm is found; its mask goes on moving.
    gone = Dot(
        going(60, 120, 1, 0),
        presence=lambda n: 0.95 if n < 10 else 0.05,
        can_find=lambda n: n < 10,
    )
    world = MaskedWorld([gone, Dot(going(250, 100), is_right=False)])
    rows = follow(world, 30, DEFAULT)
    check_rows(rows)
    for n, row in enumerate(rows):
        boxes = [points_box(s.uv_px) for s in row.sightings if s is not None]
        assert len(boxes) == 2
        assert max(float(box_iou(b, points_box(gone.uv_px(n)))) for b in boxes) > 0.5
    assert {s.birth for row in rows for s in row.sightings} == {0}
    # The same without masks loses it: the test can fail.
    without = follow(World(world.dots), 30, DEFAULT)
    assert any(None in row.sightings for row in without[15:])


def test_a_hand_that_no_palm_shows_is_found_by_its_mask():
    world = MaskedWorld([Dot(going(160, 120), can_find=lambda n: False)])
    rows = follow(world, 6, DEFAULT)
    check_rows(rows)
    assert all(0 in seen for seen in owners(world, rows))
    assert not any(0 in seen for seen in owners(world, follow(World(world.dots), 6, DEFAULT)))


@pytest.mark.parametrize(("apart_px", "n_hands"), [(18, 1), (120, 2)])
def test_a_new_hand_upon_another_needs_a_mask_of_its_own(apart_px, n_hands):
    there = Dot(going(100, 120))
    # From frame 5 on a palm is found and reads as a hand; no mask shows it.
    late = Dot(lambda n: None if n < 5 else (100 + apart_px, 124), is_right=False)
    rows = follow(MaskedWorld([there, late], unmasked=(1,)), 40, DEFAULT)
    assert {sum(s is not None for s in row.sightings) for row in rows[30:]} == {n_hands}
    # Taken back, in earlier frames, too.
    if n_hands == 1:
        assert all(None in row.sightings for row in rows)
    # The same without masks finds both: the test can fail.
    without = follow(World([there, late]), 40, DEFAULT)
    assert all(None not in row.sightings for row in without[30:])


def test_a_mask_alone_makes_no_hand_where_nothing_reads_as_one():
    nobody = Dot(going(160, 120), presence=lambda n: 0.1, can_find=lambda n: False)
    rows = follow(MaskedWorld([nobody]), 6, DEFAULT)
    assert all(row.sightings == [None, None] for row in rows)


@pytest.mark.parametrize(("probability", "n_carried"), [(0.98, 30), (0.7, 0)])
def test_a_sure_mask_carries_a_hand_for_a_while(probability, n_carried):
    gone = Dot(
        going(60, 120),
        presence=lambda n: 0.95 if n < 10 else 0.05,
        can_find=lambda n: n < 10,
    )
    world = MaskedWorld([gone, Dot(going(250, 100), is_right=False)], probability=probability)
    settings = FollowSettings(carry_seconds=1.0)
    rows = follow(world, 60, settings)
    moved = [n for n, row in enumerate(rows) if any(s and s.carried for s in row.sightings)]
    assert moved == list(range(10, 10 + n_carried))
    assert all(None in row.sightings for row in rows[46:])


def test_two_masks_on_one_hand_make_no_second_hand():
    one = Dot(going(160, 120))
    twin = Dot(going(162, 121), is_right=False, can_find=lambda n: False)
    world = MaskedWorld([one, twin])
    rows = follow(world, 12, DEFAULT)
    check_rows(rows)
    assert all(row.sightings.count(None) == 1 for row in rows)


def test_masks_go_to_the_better_way_round():
    square = CropSquare(160, 120, 320)
    hands = [hand_at(80, 120), hand_at(220, 120)]
    masks = tuple(mask_of(uv, square) for uv in hands)
    seen = SeenHands(masks, np.ones(2, np.float32))
    straight = assign_masks([sighting(hands[0]), sighting(hands[1])], seen)
    crossed = assign_masks([sighting(hands[1]), sighting(hands[0])], seen)
    assert straight.sides == (0, 1)
    assert crossed.sides == (1, 0)
    assert straight.vote == pytest.approx(-crossed.vote)
    assert assign_masks([None, sighting(hands[0])], seen).sides == (None, 0)
    assert assign_masks([None, None], seen) == assign_masks([None, None], seen)
    far = assign_masks([sighting(hand_at(20, 30)), None], seen)
    assert far.sides == (None, None)


def test_a_pose_moved_into_a_mask_fits_it():
    square = CropSquare(160, 120, 240)
    there = hand_at(180, 110) * 1.0
    mask = mask_of(180 + 1.3 * (there - 180), square)
    moved = moved_into(sighting(hand_at(60, 60)), mask)
    assert fits_well(moved.uv_px, mask)
    assert not fits_well(hand_at(60, 60), mask)
    assert points_box(moved.uv_px) == pytest.approx(joints_box(mask), abs=1)
    # The box is scaled; the fingers keep their order in it.
    old = hand_at(60, 60)
    for axis in range(2):
        assert np.corrcoef(moved.uv_px[:, axis], old[:, axis])[0, 1] > 0.99
    assert moved.confidence == pytest.approx(0.45)
    assert moved.right_score == 0.5


def test_a_pose_is_turned_as_the_mask_lies():
    hand = hand_at(160, 120)
    stretched = hand * [0.5, 2] + [80, -120]
    for angle in (0.0, 0.6, -0.6):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        there = (stretched - [160, 120]) @ turn + [160, 120]
        drawn = silhouette(there.astype(np.float32))
        moved = moved_into(sighting(stretched), drawn)
        along = there[12] - there[0]
        found = moved.uv_px[12] - moved.uv_px[0]
        cosine = along @ found / np.linalg.norm(along) / np.linalg.norm(found)
        assert cosine > 0.95, angle


def test_squares_from_a_mask_hold_the_hand():
    square = CropSquare(160, 120, 240)
    hand = hand_at(180, 110)
    mask = mask_of(hand, square)
    four = squares_from_mask(mask, mirror=True, angle_rad=None)
    assert len({round(s.angle_rad, 3) for s in four}) == 4
    for one in [*four, *squares_from_mask(mask, mirror=True, angle_rad=0.4)]:
        assert one.mirror
        assert np.hypot(*(hand.mean(axis=0) - [one.u_px, one.v_px])) < 5
        assert one.size_px > np.ptp(hand, axis=0).max()
    empty = HandMask(square, np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    assert squares_from_mask(empty, mirror=False, angle_rad=None) == []


def test_tracks_that_slip_onto_each_others_hands_are_put_back():
    # The hands meet, stop, and part the way they came: by place alone either may be either.
    def place(sign: int):
        return lambda n: (160 + sign * (12 + 6 * abs(n - 20)), 120)

    dots = [Dot(place(-1)), Dot(place(1), is_right=False)]
    slip = 24

    class Slipping(MaskedWorld):
        def read(self, crops):
            """From one frame on, each crop shows the other hand for once."""
            poses = super().read(crops)
            n = int((crops.rgb[0].mean() * 255).round())
            if n != slip or len(poses) != 2:
                return poses
            turned = {k: getattr(poses, k)[::-1].copy() for k in poses.__dataclass_fields__}
            return type(poses)(**turned)

    world = Slipping(dots)
    rows = follow(world, 40, DEFAULT)
    check_rows(rows)
    seen = owners(world, rows)
    assert seen[-1] == seen[slip - 1]


def test_what_a_mask_says_of_itself():
    square = CropSquare(160, 120, 240)
    inside, other = mask_of(hand_at(160, 120), square), mask_of(hand_at(220, 120), square)
    assert masks_iou(inside, inside) == 1
    assert masks_iou(inside, other) == 0
    assert certainty(inside) == pytest.approx(0.98, abs=0.01)
    assert not is_cut(inside, 240, 320)
    assert is_cut(inside, 240, 165)
    assert is_cut(mask_of(hand_at(160, 120), CropSquare(160, 120, 30)), 240, 320)
    empty = HandMask(square, np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    assert masks_iou(empty, empty) == 0
    assert certainty(empty) == 0
    assert joints_box(empty) is None
    assert not is_cut(empty, 240, 320)
    assert not fits_well(hand_at(160, 120), empty)


def test_a_silhouette_covers_its_joints_and_little_else():
    uv = hand_at(100, 90).astype(np.float32)
    drawn = silhouette(uv)
    assert drawn.amodal_at(uv).min() > 0.5
    assert drawn.amodal_at(uv + np.array([60, 0])).max() == 0
    box = drawn.box_uvuv_px()
    assert float(box_iou(box, points_box(uv))) > 0.6
