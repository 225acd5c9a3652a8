"""What a look at both hands adds to each: where to read it, and where it is."""

from dataclasses import replace

import numpy as np
from made_world import follow
from test_follow import going
from test_follow_masks import DEFAULT, Dot, MaskedWorld, hand_at, mask_of, sighting

from hdrvideo.crop.guide import MaskGuide
from hdrvideo.crop.masked import moved_into, squares_from_mask
from hdrvideo.crop.segment import SeenPose
from hdrvideo.crop.together import carried, is_sure, squares_to_read
from hdrvideo.geometry import CropSquare, square_from_pose

SQUARE = CropSquare(160, 120, 240)


def pose_at(uv_px, confidence: float = 0.8) -> SeenPose:
    xyz = np.random.default_rng(1).normal(0, 30, (21, 3)).astype(np.float32)
    return SeenPose(np.asarray(uv_px, np.float32), xyz, np.full(21, confidence, np.float32))


def test_an_unsure_look_leaves_it_to_the_mask():
    hand = hand_at(180, 110)
    mask = mask_of(hand, SQUARE)
    unsure = pose_at(hand, 0.1)
    assert not is_sure(unsure)
    for angle in (None, 0.4):
        by_mask = squares_from_mask(mask, mirror=True, angle_rad=angle)
        for pose in (None, unsure):
            assert squares_to_read(mask, pose, mirror=True, angle_rad=angle) == by_mask
    old = sighting(hand_at(60, 60))
    for pose in (None, unsure, pose_at(hand_at(60, 60))):
        np.testing.assert_array_equal(carried(old, mask, pose).uv_px, moved_into(old, mask).uv_px)


def test_a_sure_look_says_where_to_read_and_where_the_hand_is():
    hand = hand_at(180, 110)
    mask, pose = mask_of(hand, SQUARE), pose_at(hand)
    told = square_from_pose(pose.uv_px, mirror=True)
    assert squares_to_read(mask, pose, mirror=True, angle_rad=None) == [told]
    both = squares_to_read(mask, pose, mirror=True, angle_rad=0.4)
    assert both == [told, *squares_from_mask(mask, mirror=True, angle_rad=0.4)]
    old = replace(sighting(hand_at(60, 60)), refine_px=np.ones((21, 2), np.float32))
    there = carried(old, mask, pose)
    np.testing.assert_array_equal(there.joints_px, pose.uv_px)
    np.testing.assert_array_equal(there.xyz_mm, pose.xyz_mm)
    assert there.carried
    assert there.right_score == 0.5
    assert there.birth == old.birth


class PosedWorld(MaskedWorld):
    """The masked world, whose looks tell true joints, too."""

    def see(self, pyramid, square, hints=None):
        n = int(pyramid.level(0)[0, 0, 0])
        seen = super().see(pyramid, square, hints)
        poses = [None, None]
        for number, dot in enumerate(self.dots):
            uv, side = dot.uv_px(n), 0 if dot.is_right else 1
            if uv is not None and seen.masks[side] is not None and number not in self.unmasked:
                poses[side] = pose_at(uv)
        return replace(seen, poses=tuple(poses))

    def follower(self, settings):
        made = super().follower(settings)
        made._guide = MaskGuide(self.see)
        return made


def test_a_hand_that_cannot_be_read_has_the_joints_of_the_look():
    gone = Dot(
        going(60, 120, 1, 0),
        presence=lambda n: 0.95 if n < 10 else 0.05,
        can_find=lambda n: n < 10,
    )
    world = PosedWorld([gone, Dot(going(250, 100), is_right=False)])
    rows = follow(world, 30, DEFAULT)
    for n in range(12, 30):
        hand = next(s for s in rows[n].sightings if s is not None and s.uv_px[:, 0].mean() < 160)
        assert hand.carried
        np.testing.assert_allclose(hand.joints_px, gone.uv_px(n), atol=0.5)
