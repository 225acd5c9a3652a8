"""The follower with HDRM, in the made world: what is painted, what is believed, what is kept."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
import torch
from made_world import HEIGHT, RESOLUTION, WIDTH, Dot, follow, frame
from test_follow import check_rows, going
from test_follow_masks import MaskedWorld, hand_at, mask_of, sighting

from hdrvideo.config import FollowSettings
from hdrvideo.crop.bare import MaskedHand, believed, masked_hands
from hdrvideo.crop.follow import HandFollower
from hdrvideo.crop.guide import MaskGuide
from hdrvideo.crop.read import HandReader
from hdrvideo.crop.segment import SeenHands
from hdrvideo.crop.sighting import Track, TrackedFrame
from hdrvideo.crop.take import Pyramid, take_masks
from hdrvideo.datatypes import HandCrops, HandPoses
from hdrvideo.frame.hdrm import needs_painting
from hdrvideo.geometry import CropSquare, apply_affine, square_from_pose

DEFAULT = FollowSettings()
# A painted crop is brighter by so much, which the made world's reader does not mind.
MARK = 0.3 / 255


@dataclass
class PaintedWorld(MaskedWorld):
    """The made world with a painter; as they are hands are read with an error, painted without."""

    error_px: float = 1.5
    bare_error_px: float = 0.0
    bare_presence: float = 0.9
    without: bool = False
    keep_crops: bool = False
    remember: bool = False
    asked: list[HandCrops] = field(default_factory=list)
    befores: list[list] = field(default_factory=list)

    def paint(self, crops: HandCrops, before: list) -> tuple[HandCrops, np.ndarray, list]:
        self.asked.append(crops)
        self.befores.append(list(before))
        needed = needs_painting(crops.masks).numpy()
        rgb = crops.rgb + MARK * torch.from_numpy(needed).float()[:, None, None, None]
        kept = [(len(self.asked), k) if is_done else None for k, is_done in enumerate(needed)]
        return HandCrops(rgb, crops.frame_from_crop, crops.mirrored), needed, kept

    def read(self, crops: HandCrops) -> HandPoses:
        poses = super().read(crops)
        means = crops.rgb.mean(dim=(1, 2, 3)).numpy() * 255
        is_bare = means - np.round(means) > 0.2
        there = poses.presence > 0.5
        off = np.where(is_bare, self.bare_error_px, self.error_px) * there
        poses.uv_px[..., 0] += off[:, None].astype(np.float32)
        poses.presence[is_bare] = self.bare_presence
        return poses

    def follower(self, settings) -> HandFollower:
        made = HandFollower(
            finder=self,
            read_hands=self.read,
            resolution_px=RESOLUTION,
            settings=settings,
            paint=None if self.without else self.paint,
            remember=self.remember,
            keep_crops=self.keep_crops,
        )
        made._guide = MaskGuide(self.see)
        return made


def crossing(**options) -> PaintedWorld:
    """Give two hands so near that each is in the other's crop."""
    dots = [Dot(going(130, 120)), Dot(going(165, 120), is_right=False)]
    return PaintedWorld(dots, **options)


def errors_px(world: PaintedWorld, rows: list) -> np.ndarray:
    """Give for each hand of each row how far it lies from the nearest true one."""
    found = []
    for row in rows:
        truths = [dot.uv_px(row.frame.index) for dot in world.dots]
        hands = [s.joints_px for s in row.sightings if s is not None]
        found += [min(np.abs(uv - t).max() for t in truths if t is not None) for uv in hands]
    return np.array(found)


def same_rows(a: list, b: list, *, but: tuple[str, ...] = ()) -> None:
    for row, other in zip(a, b, strict=True):
        assert (row.status, row.reasons, row.mask_vote) == (
            *(other.status, other.reasons, other.mask_vote),
        )
        for one, two in zip(row.sightings, other.sightings, strict=True):
            assert (one is None) == (two is None)
            for name in ("joints_px", "xyz_mm", "confidence", "presence", "right_score", "birth"):
                if one is not None and name not in but:
                    np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_what_is_read_of_painted_hands_takes_the_first_readings_place():
    world, plain = crossing(), crossing(without=True)
    rows = follow(world, 12, DEFAULT)
    check_rows(rows)
    assert len(errors_px(world, rows)) == 24
    assert errors_px(world, rows).max() < 0.01
    assert errors_px(plain, follow(plain, 12, DEFAULT)).min() > 1
    # Both hands of a frame are painted and read in one batch.
    assert {len(crops.mirrored) for crops in world.asked} == {2}
    for row in rows:
        assert all(s.mask is not None for s in row.sightings)


def test_hands_are_followed_as_they_are_not_as_they_were_painted():
    """With and without a painter tracks are the same; only what is told of hands differs."""
    world, plain = crossing(), crossing(without=True)
    followers = [w.follower(DEFAULT) for w in (world, plain)]
    for n in range(8):
        rows = [follower.step(frame(n)) for follower in followers]
        for ours, theirs in zip(followers[0]._tracks, followers[1]._tracks, strict=True):
            np.testing.assert_array_equal(ours.last.joints_px, theirs.last.joints_px)
            np.testing.assert_array_equal(ours.step_px, theirs.step_px)
        for one, two in zip(rows[0].sightings, rows[1].sightings, strict=True):
            np.testing.assert_array_equal(one.uv_px, two.uv_px)
            assert not np.array_equal(one.joints_px, two.joints_px)
            assert one.mask is not None
    assert world.asked


@pytest.mark.parametrize(
    "options",
    [
        {"bare_presence": 0.3},
        # Not in its mask any more.
        {"bare_error_px": -60.0},
        # The other hand.
        {"bare_error_px": 35.0},
    ],
)
def test_a_painted_hand_that_reads_badly_changes_nothing(options):
    world = crossing(**options)
    rows = follow(world, 12, DEFAULT)
    assert world.asked
    same_rows(rows, follow(crossing(without=True), 12, DEFAULT))


def apart(**options) -> PaintedWorld:
    dots = [Dot(going(60, 120, 1, 0)), Dot(going(260, 100), is_right=False)]
    return PaintedWorld(dots, **options)


def test_hands_with_nothing_to_paint_are_not_read_again(monkeypatch):
    world, plain = apart(), apart(without=True)
    rows, wanted = follow(world, 12, DEFAULT), follow(plain, 12, DEFAULT)
    same_rows(rows, wanted)
    assert world.n_reads == plain.n_reads
    assert world.asked == []
    # To ask the painter about every hand gives the same.
    monkeypatch.setattr(MaskedHand, "may_need_painting", lambda self: True)
    asking = apart()
    same_rows(follow(asking, 12, DEFAULT), wanted)
    assert len(asking.asked) == 12
    assert asking.n_reads == plain.n_reads
    near = crossing()
    painted = follow(near, 12, DEFAULT)
    monkeypatch.undo()
    same_rows(follow(crossing(), 12, DEFAULT), painted)


def test_the_quick_look_misses_nothing_that_would_be_painted():
    rng = np.random.default_rng(0)
    n_needed = n_quick = 0
    for _ in range(150):
        square = CropSquare(160, 120, rng.uniform(150, 400))
        hand, there = (hand_at(*rng.uniform((80, 60), (240, 180))) for _ in range(2))
        own = mask_of(hand, square, hidden=rng.random() < 0.3)
        other = mask_of(there, square) if rng.random() < 0.7 else None
        seen = sighting((hand - hand.mean(axis=0)) @ turn(rng.uniform(0, 6)) + hand.mean(axis=0))
        known = MaskedHand(seen, rng.random() < 0.5, (own, other))
        masks = take_masks([known.masks], known.square.frame_from_crop(128)[None], 128)
        needed, quick = bool(needs_painting(masks)[0]), known.may_need_painting()
        assert quick or not needed
        n_needed, n_quick = n_needed + needed, n_quick + quick
    assert 30 < n_needed <= n_quick < 130


def turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def test_the_painter_is_told_whose_mask_is_whose():
    world = crossing()
    follow(world, 4, DEFAULT)
    for n, crops in enumerate(world.asked[1:], start=1):
        for affine, mirrored, masks in zip(
            crops.frame_from_crop, crops.mirrored, crops.masks.numpy(), strict=True
        ):
            # The left hand's crop is mirrored, and its own mask is where it is.
            own, other = world.dots if not mirrored else world.dots[::-1]
            assert np.linalg.det(affine[:, :2]) * (-1 if mirrored else 1) > 0
            for dot, visible, amodal in ((own, *masks[:2]), (other, *masks[2:])):
                places = apply_affine(
                    affine, np.stack(np.mgrid[:RESOLUTION, :RESOLUTION][::-1], -1).reshape(-1, 2)
                )
                low, high = dot.uv_px(n).min(axis=0) - 3, dot.uv_px(n).max(axis=0) + 3
                inside = ((places >= low + 3) & (places <= high - 3)).all(axis=1)
                outside = ((places < low - 6) | (places > high + 6)).any(axis=1)
                assert inside.any() or dot is other
                for mask in (visible, amodal):
                    assert mask.any()
                    assert mask.ravel()[inside].min(initial=1) > 0.9
                    assert mask.ravel()[outside].max() < 0.1


def no_row(*sightings) -> TrackedFrame:
    return TrackedFrame(frame(0), "ok", sightings=list(sightings))


def track_of(seen) -> Track | None:
    return None if seen is None else Track(seen, np.zeros((1, 2), np.float32), 0.0, 0.0, True)


@pytest.mark.parametrize(
    ("is_followed", "presence", "at_px", "counts"),
    [(True, 0.1, 62, True), (False, 0.9, 120, True), (False, 0.2, 120, False), (False, 0.9, 62, 0)],
)
def test_another_mask_counts_where_it_is_a_hand_of_its_own(is_followed, presence, at_px, counts):
    square = CropSquare(160, 120, 320)
    mine, other = mask_of(hand_at(60, 120), square), mask_of(hand_at(at_px, 120), square)
    seen = SeenHands((mine, other), np.array([0.9, presence], np.float32))
    first = sighting(hand_at(60, 120))
    second = sighting(hand_at(at_px, 120)) if is_followed else None
    tracks, sides = [track_of(first), track_of(second)], [0, 1 if is_followed else None]
    hands = masked_hands(no_row(first, second), tracks, seen, sides, DEFAULT)
    assert sorted(hands) == ([0, 1] if is_followed else [0])
    assert hands[0] == MaskedHand(first, True, (mine, other if counts else None))
    assert masked_hands(no_row(None, None), tracks, seen, sides, DEFAULT) == {}
    assert masked_hands(no_row(first, None), tracks, seen, [None, None], DEFAULT) == {}


def test_a_carried_hand_is_not_surer_for_its_painting():
    square = CropSquare(160, 120, 160)
    mask = mask_of(hand_at(160, 120), square)
    for carried in (True, False):
        before = replace(sighting(hand_at(160, 120), carried=carried), confidence=np.full(21, 0.5))
        found = believed(
            sighting(hand_at(161, 120)), MaskedHand(before, False, (mask, None)), None, DEFAULT
        )
        assert found.carried == carried
        assert found.confidence.max() == (0.5 if carried else np.float32(0.9))


def test_a_hand_is_believed_that_lies_in_its_mask_as_before():
    square = CropSquare(160, 120, 160)
    mask = mask_of(hand_at(160, 120), square)
    hand = MaskedHand(sighting(hand_at(160, 120)), False, (mask, None))
    good = replace(sighting(hand_at(161, 121), birth=3), xyz_mm=np.ones((21, 3), np.float32))
    told = believed(good, hand, None, DEFAULT)
    np.testing.assert_allclose(told.joints_px, good.uv_px, atol=1e-4)
    assert told.xyz_mm is good.xyz_mm
    assert told.confidence is good.confidence
    assert told.uv_px is hand.sighting.uv_px
    assert told.birth == hand.sighting.birth
    assert believed(good, hand, sighting(hand_at(162, 120)), DEFAULT) is None
    assert believed(good, hand, sighting(hand_at(220, 120)), DEFAULT) is not None
    assert believed(sighting(hand_at(160, 120), presence=0.4), hand, None, DEFAULT) is None
    assert believed(sighting(hand_at(175, 120)), hand, None, DEFAULT) is None
    # From a bad place any better one will do.
    lost = MaskedHand(sighting(hand_at(185, 120)), False, (mask, None))
    assert believed(sighting(hand_at(175, 120)), lost, None, DEFAULT) is not None


def decoded(crop) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(crop.jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("without", [True, False])
@pytest.mark.parametrize("make", [crossing, apart])
def test_pictures_are_kept_of_every_hand_when_asked_for(make, without):
    world = make(keep_crops=True, without=without)
    # Found only in frame 6, followed backwards from there.
    late = [Dot(d.place, d.presence, d.is_right, can_find=lambda n: n >= 6) for d in world.dots]
    world.dots, world.unmasked = late, ()
    rows = follow(world, 12, DEFAULT)
    n_kept = 0
    for row in rows:
        for s in row.sightings:
            if s is None:
                continue
            n_kept += 1
            picture = decoded(s.crop)
            assert picture.shape == (RESOLUTION, RESOLUTION, 3)
            # The frame's own grey, or the painter's, a third of a level brighter.
            assert np.abs(picture.astype(int) - row.frame.index).max() <= 1
            middle = apply_affine(s.crop.frame_from_crop, np.full((1, 2), (RESOLUTION - 1) / 2))
            square = square_from_pose(s.uv_px, mirror=False)
            assert np.abs(middle[0] - [square.u_px, square.v_px]).max() < 3
    assert n_kept >= 20
    painted = [s.crop.painted for row in rows[8:] for s in row.sightings]
    assert set(painted) == {make is crossing and not without}
    # Nothing else changes, and nothing is kept unasked.
    plain = make(without=without)
    plain.dots = late
    same = follow(plain, 12, DEFAULT)
    same_rows(same, rows)
    assert all(s is None or s.crop is None for row in same for s in row.sightings)


def test_a_refused_painting_is_kept_all_the_same_and_only_in_its_frame():
    world = crossing(keep_crops=True, bare_presence=0.1)
    rows = follow(world, 6, DEFAULT)
    assert all(s.crop.painted for s in rows[-1].sightings)
    # From frame 6 on the second hand is gone: the first has nothing to be painted.
    world = PaintedWorld(
        [Dot(going(130, 120)), Dot(lambda n: (165, 120) if n < 6 else None, is_right=False)],
        keep_crops=True,
    )
    rows = follow(world, 30, DEFAULT)
    assert [s.crop.painted for s in rows[-1].sightings if s is not None] == [False]


def test_a_kept_picture_is_the_crop_but_for_jpegs_two_levels():
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(u / 20 + k) * np.cos(v / 25 - k) for k in range(3)], axis=-1)
    rgb_u8 = np.round(127 + 100 * waves).astype(np.uint8)
    reader = HandReader(lambda crops: None, resolution_px=224, keep_crops=True)
    kept = reader.picture(Pyramid(rgb_u8), sighting(hand_at(160, 120)), mirror=True)
    affine = kept.frame_from_crop
    np.testing.assert_array_equal(
        affine,
        square_from_pose(hand_at(160, 120).astype(np.float32), mirror=True).frame_from_crop(224),
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    wanted = cv2.warpAffine(rgb_u8, affine, (224, 224), flags=flags)
    assert np.abs(decoded(kept).astype(int) - wanted).mean() < 2
    assert not kept.painted
