"""Forms of a rotation: matrix, axis-angle, and the first two columns; batched, smooth gradients."""

import torch
from torch import Tensor
from torch.nn import functional


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Turn axis times radians ``(..., 3)`` into rotations ``(..., 3, 3)``; smooth at zero."""
    square = (axis_angle**2).sum(dim=-1)
    small = square < 1e-4
    angle = torch.where(small, 1.0, square).sqrt()
    a = torch.where(small, 1 - square / 6 + square**2 / 120, angle.sin() / angle)
    half = (angle / 2).sin() / angle
    b = torch.where(small, 0.5 - square / 24 + square**2 / 720, 2 * half**2)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    cross = cross.reshape(*axis_angle.shape, 3)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + a[..., None, None] * cross + b[..., None, None] * (cross @ cross)


def matrix_to_axis_angle(turns: Tensor) -> Tensor:
    """Turn rotations ``(..., 3, 3)`` into axis times radians ``(..., 3)``, at most pi long.

    It goes through the quaternion read off its largest part, so value and gradient are finite
    everywhere; at pi exactly both axes are right and one is taken.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in turns.unbind(-2))
    rows = torch.stack(
        [
            *(1 + a + e + i, h - f, c - g, d - b),
            *(h - f, 1 + a - e - i, b + d, c + g),
            *(c - g, b + d, 1 - a + e - i, f + h),
            *(d - b, c + g, f + h, 1 - a - e + i),
        ],
        dim=-1,
    ).reshape(*turns.shape[:-2], 4, 4)
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)[..., None, None]
    row = torch.take_along_dim(rows, largest, dim=-2).squeeze(-2)
    quaternion = functional.normalize(row, dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    square = (vector**2).sum(dim=-1, keepdim=True)
    small = square < 1e-6
    length = torch.where(small, 1.0, square).sqrt()
    far = 2 * torch.atan2(length, w) / length
    w = torch.where(small, w, 1.0)
    return vector * torch.where(small, (2 - 2 * square / (3 * w**2)) / w, far)


def sixd_to_matrix(sixd: Tensor) -> Tensor:
    """Turn the first two columns ``(..., 6)`` into rotations ``(..., 3, 3)`` by Gram-Schmidt.

    Zhou et al., "On the Continuity of Rotation Representations" (2019); any two vectors that are
    neither zero nor parallel will do.
    """
    first = functional.normalize(sixd[..., :3], dim=-1)
    second = sixd[..., 3:]
    second = second - (first * second).sum(dim=-1, keepdim=True) * first
    second = functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def matrix_to_sixd(turns: Tensor) -> Tensor:
    """Give the first two columns ``(..., 6)`` of rotations ``(..., 3, 3)``."""
    return turns[..., :2].mT.flatten(-2)
