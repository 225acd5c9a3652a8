"""Hands that pass through one another are parted in depth, and nobody else is moved."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from posed_tracks import MODEL, pair
from tracks import make_track

from hdrvideo.motion.contact import (
    MOST_MM,
    STEP_MM,
    TOUCHING_MM2,
    part_hands,
    ways_apart,
)
from hdrvideo.penetration import HandSpheres, hands_penetration
from hdrvideo.track import TURNING, PoseTrack

SPHERES = HandSpheres(MODEL)


def volume_mm3(track: PoseTrack, row: int) -> float:
    found = hands_penetration(
        MODEL,
        track.turn_rad[[row]][:, :, list(TURNING)],
        track.shape[[row]],
        track.xyz_cam_mm[[row]][:, :, 0],
    )
    return float(found.volume_mm3[0])


def test_hands_apart_stay():
    track = pair(apart_mm=150.0)
    assert part_hands(track) is track


@pytest.mark.parametrize("apart_mm", [4.0, -4.0, 12.0])
def test_hands_within_one_another_are_parted(apart_mm):
    track = pair(apart_mm=apart_mm)
    parted = part_hands(track)
    assert volume_mm3(track, 20) > 20_000
    assert volume_mm3(parted, 20) < 0.1 * volume_mm3(track, 20)
    # The shorter way: who was in front stays there.
    behind_mm = parted.xyz_cam_mm[:, 1, :, 2].mean(axis=1) - parted.xyz_cam_mm[:, 0, :, 2].mean(1)
    assert (np.sign(behind_mm) == np.sign(apart_mm)).all()
    np.testing.assert_array_equal(parted.uv_px, track.uv_px)
    projected = track.meta.camera.project(parted.xyz_cam_mm)
    np.testing.assert_allclose(projected, track.uv_px, atol=1e-2)
    for name in ("turn_rad", "shape", "raw_xyz_cam_mm", "provenance", "confidence"):
        np.testing.assert_array_equal(getattr(parted, name), getattr(track, name))


def test_lone_hands_and_hands_without_a_pose_stay():
    alone = pair(apart_mm=4.0, absent=[(0, 0, 40)])
    assert part_hands(alone) is alone
    plain = make_track(12)
    assert part_hands(plain) is plain
    half = pair(apart_mm=4.0, absent=[(1, 20, 40)])
    parted = part_hands(half)
    np.testing.assert_array_equal(parted.xyz_cam_mm[20:], half.xyz_cam_mm[20:])
    assert (parted.xyz_cam_mm[:15, 0] != half.xyz_cam_mm[:15, 0]).any()


def test_the_way_does_not_jump():
    track = pair(60, apart_mm=4.0)
    deeper = np.array(track.xyz_cam_mm)
    # From frame 30 on they are apart.
    deeper[30:, 1, :, 2] += 150.0
    track = replace(
        track, xyz_cam_mm=deeper, uv_px=track.meta.camera.project(deeper).astype(np.float32)
    )
    moved_mm = part_hands(track).xyz_cam_mm[:, 0, 0, 2] - track.xyz_cam_mm[:, 0, 0, 2]
    assert np.abs(moved_mm[:25]).min() > 5
    assert np.abs(moved_mm[45:]).max() < 1
    assert np.abs(np.diff(moved_mm)).max() < 0.35 * np.abs(moved_mm).max()


def test_a_part_of_a_clip_gives_what_the_whole_gives():
    track = pair(120, apart_mm=4.0, absent=[(0, 50, 60)])
    whole, part = part_hands(track), part_hands(track.rows(20, 120))
    np.testing.assert_allclose(
        part.xyz_cam_mm[40:], whole.xyz_cam_mm[60:], rtol=1e-5, equal_nan=True
    )


def test_the_least_way_is_found_by_trying_all():
    generator = torch.Generator().manual_seed(0)
    pose = 0.2 * torch.randn(12, 16, 3, generator=generator)
    right = MODEL.joints(pose[:6]) + torch.tensor([0.0, 0.0, 500.0])
    left = MODEL.joints(pose[6:], side=1) + torch.tensor([0.0, 0.0, 500.0])
    left = left + 30 * torch.randn(6, 1, 3, generator=generator)
    found = ways_apart(right, left)
    for k, sign in enumerate((1.0, -1.0)):
        for row in range(6):
            for step in np.arange(0, MOST_MM + 1, STEP_MM):
                shift = torch.tensor([0.0, 0.0, sign * step / 2])
                one = SPHERES.overlap_mm2(right[[row]] + shift, left[[row]] - shift)
                if float(one) <= TOUCHING_MM2:
                    break
            assert found[k, row] == step
    # The other way round, sides and signs change places.
    np.testing.assert_array_equal(ways_apart(left, right)[::-1], found)
