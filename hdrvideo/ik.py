"""The small net that guesses joint angles from joints, and how its inputs are coded.

A fully connected net after the IKNet of Zhou et al., "Monocular Real-Time Hand Shape and Motion
Capture Using Multi-Modal Data" (minimal-hand, CVPR 2020), with two changes: joints may be missing,
and it also reads joints in a picture, without depth, for which it guesses the hand's turn too. Its
guess is the start of :mod:`hdrvideo.fit`; ``scripts/train_ik.py`` trains it on made hands.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.chain import N_ANGLES, Chain
from hdrvideo.hand import KNUCKLES, N_JOINTS, PARENTS
from hdrvideo.rotation import axis_angle_to_matrix, sixd_to_matrix

PALM: Final = (0, 1, *KNUCKLES)
# Places, directions of the 20 bones, which joints are seen, and whether there is no depth.
N_FEATURES: Final = 3 * N_JOINTS + 3 * (N_JOINTS - 1) + N_JOINTS + 1
WIDTH: Final = 384


class IkNet(nn.Module):
    """Features of joints to a turn and the angles; two residual layers.

    Args of ``forward``: ``(B, N_FEATURES)`` from :func:`encode`. It gives the turn ``(B, 6)`` (see
    :func:`hdrvideo.handmodel.sixd_to_matrix`) and the place of each angle between its limits, 0 low
    to 1 high, ``(B, 15, 3)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(N_FEATURES, WIDTH)
        self.middle = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.last = nn.Linear(WIDTH, 6 + N_ANGLES)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x = functional.silu(self.first(features))
        for layer in self.middle:
            x = x + functional.silu(layer(x))
        turn, angles = self.last(x).split([6, N_ANGLES], dim=1)
        return turn, torch.sigmoid(angles).reshape(-1, N_ANGLES // 3, 3)


def encode(points: Tensor, seen: Tensor, flat: Tensor) -> Tensor:
    """Code joints for the net.

    Args:
        points: ``(B, 21, 3)`` of right hands in any unit; 3D ones turned to the flat hand by
            :func:`align`, 2D ones as :func:`look_at` gives them, with z = 0.
        seen: ``(B, 21)`` bool; what is not seen counts nothing.
        flat: ``(B,)`` bool; the points are 2D.

    Returns:
        ``(B, N_FEATURES)``: joints about the mean of the seen ones over their spread, unit bones.
    """
    mask = seen[..., None].to(points.dtype)
    count = mask.sum(dim=1, keepdim=True).clamp_min(1)
    places = (points - (points * mask).sum(dim=1, keepdim=True) / count) * mask
    square = (places**2).sum(dim=(1, 2), keepdim=True) / count
    # Before the root, or a hand in one point would have no slope.
    places = places / square.clamp_min(1e-18).sqrt()
    parents = list(PARENTS[1:])
    bones = functional.normalize(places[:, 1:] - places[:, parents], dim=-1, eps=1e-6)
    bones = bones * mask[:, 1:] * mask[:, parents]
    known = torch.cat([mask.squeeze(-1), flat[:, None].to(points.dtype)], dim=1)
    return torch.cat([places.flatten(1), bones.flatten(1), known], dim=1)


def decode(chain: Chain, turn: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Give the net's answer as a turn ``(B, 3, 3)`` and angles ``(B, 15, 3)`` in radians."""
    return sixd_to_matrix(turn), chain.low_rad + share * (chain.high_rad - chain.low_rad)


def align(from_mm: Tensor, to_mm: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Give the best turn ``(B, 3, 3)`` and shift ``(B, 3)`` from points ``(B, J, 3)`` to others.

    The joints of the rigid palm count a hundred times as much as the fingers'; ``weight`` is
    ``(B, 21)``. Kabsch, "A Solution for the Best Rotation to Relate Two Sets of Vectors" (1976).
    """
    weight = weight * 0.01
    weight[:, list(PALM)] *= 100
    share = (weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-9))[..., None]
    from_middle = (share * from_mm).sum(dim=1, keepdim=True)
    to_middle = (share * to_mm).sum(dim=1, keepdim=True)
    spread = ((to_mm - to_middle) * share).mT @ (from_mm - from_middle)
    left, _, right = torch.linalg.svd(spread)
    flip = torch.ones_like(to_mm[:, 0])
    flip[:, 2] = torch.linalg.det(left @ right).sign()
    turn = (left * flip[:, None]) @ right
    return turn, (to_middle - from_middle @ turn.mT).squeeze(1)


def look_at(rays: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the camera to a hand.

    Args:
        rays: ``(B, 21, 2)`` joints on the plane at depth 1.
        weight: ``(B, 21)``; 0 is missing.

    Returns:
        The turn ``(B, 3, 3)`` from the new camera to the old one, and the joints ``(B, 21, 2)`` on
        the new one's plane at depth 1, about their weighted mean.
    """
    share = (weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-9))[..., None]
    look = torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1)
    axis = functional.normalize((share * look).sum(dim=1), dim=-1)
    cross = torch.stack([-axis[:, 1], axis[:, 0], torch.zeros_like(axis[:, 0])], dim=-1)
    sine = cross.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, axis[:, 2:])
    turn = axis_angle_to_matrix(cross * (angle / sine.clamp_min(1e-9)))
    seen = look @ turn
    seen = seen[..., :2] / seen[..., 2:].clamp_min(0.1)
    return turn, seen - (share * seen).sum(dim=1, keepdim=True)
