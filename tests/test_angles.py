"""Angles in NumPy: the same as the hand model's, and finite for every turn that is a number."""

import math

import numpy as np
import pytest
import torch
from tracks import absent_in_the_middle

from hdrvideo.angles import ANGLE_JOINTS, ANGLES, joint_angles_deg
from hdrvideo.errors import ShapeError
from hdrvideo.hand import N_JOINTS
from hdrvideo.handmodel import (
    POSE_JOINTS,
    axis_angle_to_matrix,
    joint_angles,
    joint_rotation,
    matrix_to_axis_angle,
)
from hdrvideo.track import TURNING


def of_joints(turns: np.ndarray) -> np.ndarray:
    """Give turns ``(..., 16, 3)`` as a track keeps them: ``(..., 21, 3)``, NaN at the tips."""
    full = np.full((*turns.shape[:-2], N_JOINTS, 3), np.nan)
    full[..., list(TURNING), :] = turns
    return full


def test_names():
    assert POSE_JOINTS[1:] == ANGLE_JOINTS
    assert ANGLES == ("flexion", "abduction", "twist")


@pytest.mark.parametrize("size_rad", [0.0, 1e-9, 1e-4, 0.3, 1.0, 3.0, 10.0])
def test_the_same_as_the_hand_models(size_rad):
    turns = np.random.default_rng(0).normal(0, 1, (5, 2, 16, 3)) * size_rad
    slow = torch.rad2deg(joint_angles(axis_angle_to_matrix(torch.from_numpy(turns))))[..., 1:, :]
    fast = joint_angles_deg(of_joints(turns))
    assert fast.shape == (5, 2, 15, 3)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, slow.numpy(), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("angle_rad", [math.pi / 2, math.pi, 2 * math.pi])
def test_half_and_whole_turns_about_each_axis(angle_rad):
    turns = np.zeros((3, 16, 3))
    turns[:, 1:] = angle_rad * np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])[:, None]
    found = np.deg2rad(joint_angles_deg(of_joints(turns)).astype(np.float64))
    rebuilt = joint_rotation(torch.from_numpy(found)).numpy()
    wanted = axis_angle_to_matrix(torch.from_numpy(turns))[:, 1:].numpy()
    # Half a turn in abduction is half a turn in the two others; the hand is the same.
    np.testing.assert_allclose(rebuilt, wanted, atol=1e-6)


def test_angles_come_back_from_the_turns_they_make():
    degrees = np.random.default_rng(1).uniform(-85, 85, (40, 16, 3))
    turns = matrix_to_axis_angle(joint_rotation(torch.deg2rad(torch.from_numpy(degrees))))
    found = joint_angles_deg(of_joints(turns.numpy()).astype(np.float32))
    np.testing.assert_allclose(found, degrees[:, 1:], atol=1e-3)


def test_flexion_abduction_and_twist_are_about_x_z_and_y():
    turns = np.zeros((3, 16, 3))
    turns[:, 5] = np.deg2rad([[30, 0, 0], [0, 0, 20], [0, 10, 0]])
    found = joint_angles_deg(of_joints(turns))
    expected = np.zeros((3, 15, 3))
    expected[:, 4] = [[30, 0, 0], [0, 20, 0], [0, 0, 10]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert ANGLE_JOINTS[4] == "index_pip"


def test_no_turn_no_angle_and_the_wrist_and_tips_count_for_nothing():
    track = absent_in_the_middle()
    found = joint_angles_deg(track.turn_rad)
    assert np.isfinite(found[track.present]).all()
    assert np.isnan(found[~track.present]).all()
    moved = track.turn_rad.copy()
    moved[:, :, [0, 4, 8, 12, 16, 20]] = 1.0
    np.testing.assert_array_equal(joint_angles_deg(moved), found)
    assert joint_angles_deg(track.turn_rad[:0]).shape == (0, 2, 15, 3)


def test_other_joints_are_refused():
    with pytest.raises(ShapeError, match=r"turn_rad is \(4, 16, 3\), expected \(\.\.\., 21, 3\)"):
        joint_angles_deg(np.zeros((4, 16, 3)))
