"""Helpers of the hand model's tests: poses, shapes, and joints by name."""

import torch
from torch import Tensor

from hdrvideo.hand import JOINTS
from hdrvideo.handmodel import (
    POSE_JOINTS,
    HandModel,
    PosedHand,
    joint_rotation,
)


def some_pose(batch: int, seed: int = 0, size_rad: float = 0.5, dtype=torch.float32) -> Tensor:
    """Give axis-angles ``(B, 16, 3)``: the fingers moderate, the wrist anywhere."""
    generator = torch.Generator().manual_seed(seed)
    pose = size_rad * torch.randn(batch, 16, 3, generator=generator, dtype=torch.float64)
    pose[:, 0] *= 2 / size_rad
    return pose.to(dtype)


def some_shape(hand: HandModel, batch: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, hand.n_shape, generator=torch.Generator().manual_seed(seed))


def turned(joint: str, *, flexion: float = 0.0, abduction: float = 0.0) -> Tensor:
    """Give the pose ``(1, 16, 3, 3)`` of the flat hand with one joint moved, degrees."""
    pose = torch.eye(3).repeat(1, 16, 1, 1)
    angles_rad = torch.deg2rad(torch.tensor([flexion, abduction, 0.0]))
    pose[0, POSE_JOINTS.index(joint)] = joint_rotation(angles_rad)
    return pose


def joint(posed: PosedHand, name: str) -> Tensor:
    return posed.joints_mm[0, JOINTS.index(name)]


def palm_normal(posed: PosedHand, side: int) -> Tensor:
    """Give the direction out of the palm from three joints: a triple product knows the side."""
    index, little = joint(posed, "index_mcp"), joint(posed, "little_mcp")
    normal = torch.linalg.cross(index - joint(posed, "wrist"), little - joint(posed, "wrist"))
    return normal / normal.norm() * (-1 if side else 1)
