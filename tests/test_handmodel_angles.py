"""Joint limits and rotation forms of the hand model."""

import math

import pytest
import torch
from hands import some_pose, turned

from hdrvideo.hand import TIPS
from hdrvideo.handmodel import (
    JOINT_LIMITS_DEG,
    POSE_JOINTS,
    WRIST_LIMITS_DEG,
    HandModel,
    axis_angle_to_matrix,
    clamp_to_limits,
    joint_angles,
    joint_rotation,
    matrix_to_axis_angle,
    matrix_to_sixd,
    sixd_to_matrix,
    within_limits,
)


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel()


# --- limits ------------------------------------------------------------------------------------


def test_angles_round_trip():
    angles_rad = torch.deg2rad(torch.rand(200, 3, dtype=torch.float64) * 160 - 80)
    turns = joint_rotation(angles_rad)
    torch.testing.assert_close(joint_angles(turns), angles_rad)
    identity = torch.eye(3, dtype=torch.float64).expand(200, 3, 3)
    torch.testing.assert_close(turns @ turns.mT, identity)


def test_angles_are_flexion_then_abduction_then_twist():
    f, a, t = torch.tensor([0.4, -0.3, 0.2])
    x, y, z = torch.eye(3)
    expected = (
        axis_angle_to_matrix(f * x) @ axis_angle_to_matrix(a * z) @ axis_angle_to_matrix(t * y)
    )
    torch.testing.assert_close(joint_rotation(torch.stack([f, a, t])), expected)


def test_limits_name_every_joint_and_hold_the_flat_hand():
    assert tuple(JOINT_LIMITS_DEG) == POSE_JOINTS[1:]
    for limits in (*JOINT_LIMITS_DEG.values(), WRIST_LIMITS_DEG):
        assert [low < 0 < high for low, high in limits] == [True] * 3
    assert within_limits(torch.zeros(2, 16, 3)).all()


def test_limits_tell_which_joint_breaks_them():
    ok = within_limits(turned("ring_pip", flexion=-30))
    assert ok.shape == (1, 15)
    assert [POSE_JOINTS[1 + j] for j in (~ok[0]).nonzero()] == ["ring_pip"]
    assert within_limits(turned("ring_pip", flexion=90)).all()


def test_clamping_obeys_the_limits_and_leaves_good_poses_alone():
    wild = some_pose(20, size_rad=1.0)
    assert not within_limits(wild).all()
    clamped = clamp_to_limits(wild)
    assert within_limits(clamped).all()
    torch.testing.assert_close(clamp_to_limits(clamped), clamped, atol=1e-5, rtol=0)
    assert torch.equal(clamped[:, 0], axis_angle_to_matrix(wild[:, 0]))


def test_limits_let_the_thumb_touch_every_fingertip(hand):
    """A known bound on limits that are too tight: a healthy thumb opposes all four fingers."""
    angles_rad = torch.zeros(4, 15, 3, requires_grad=True)
    adam = torch.optim.Adam([angles_rad], lr=0.05)
    wrist = torch.eye(3).repeat(4, 1, 1, 1)
    for _ in range(150):
        adam.zero_grad()
        pose = clamp_to_limits(torch.cat([wrist, joint_rotation(angles_rad)], dim=1))
        tips_mm = hand(pose).joints_mm[:, list(TIPS)]
        gap_mm = (tips_mm[:, 0] - tips_mm[range(4), range(1, 5)]).norm(dim=-1)
        gap_mm.sum().backward()
        adam.step()
    assert within_limits(pose).all()
    assert gap_mm.max() < 5


def test_clamping_has_finite_gradients():
    for start in (torch.zeros(1, 16, 3), some_pose(1, size_rad=1.0)):
        pose = start.clone().requires_grad_()
        (clamp_to_limits(pose) * torch.randn(16, 3, 3)).sum().backward()
        assert pose.grad is not None
        assert torch.isfinite(pose.grad).all()


# --- conversions -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "angle_rad",
    [0.0, 1e-9, 1e-5, 1e-3, 0.0099, 0.0101, 0.5, 2.0, math.pi - 1e-3, math.pi - 1e-6, math.pi],
)
def test_axis_angle_round_trip(angle_rad, dtype):
    generator = torch.Generator().manual_seed(3)
    axis = torch.cat([torch.randn(50, 3, generator=generator), torch.eye(3), -torch.eye(3)])
    vector = angle_rad * torch.nn.functional.normalize(axis.to(dtype), dim=-1)
    vector.requires_grad_()
    turns = axis_angle_to_matrix(vector)
    back = matrix_to_axis_angle(turns)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-6
    identity = torch.eye(3, dtype=dtype).expand_as(turns)
    torch.testing.assert_close(turns @ turns.mT, identity, atol=tolerance, rtol=0)
    torch.testing.assert_close(axis_angle_to_matrix(back), turns, atol=tolerance, rtol=0)
    # At a half turn both signs of the axis are the same rotation.
    distance = torch.minimum((back - vector).norm(dim=-1), (back + vector).norm(dim=-1))
    error = (back - vector).norm(dim=-1) if angle_rad < 3.1 else distance
    assert error.max() < 10 * tolerance
    assert (back.norm(dim=-1) <= math.pi + 1e-5).all()
    torch.testing.assert_close(sixd_to_matrix(matrix_to_sixd(turns)), turns)
    (back.sum() + back.square().sum()).backward()
    assert vector.grad is not None
    assert torch.isfinite(vector.grad).all()


@pytest.mark.parametrize("angle_rad", [0.0, 0.005, 0.011, 1.0, 3.0])
def test_conversions_gradcheck(angle_rad):
    axis = torch.tensor([[0.6, -0.48, 0.64]], dtype=torch.float64)
    vector = (angle_rad * axis).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vector)
    turns = axis_angle_to_matrix(vector.detach()).requires_grad_()
    assert torch.autograd.gradcheck(matrix_to_axis_angle, turns)
    sixd = matrix_to_sixd(turns.detach()).requires_grad_()
    assert torch.autograd.gradcheck(sixd_to_matrix, sixd)


def test_axis_angle_turns_right_handed():
    quarter_about_z = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(
        quarter_about_z @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    )


def test_any_two_vectors_make_a_rotation():
    turns = sixd_to_matrix(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * 9)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(40, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(40))
