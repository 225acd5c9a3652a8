"""Finger angles of a hand: their box of limits, the joints they lead to, fingers that overlap.

Everything here works on **angles**: ``(..., 15, 3)`` flexion, abduction and twist in radians of
:data:`hdrvideo.handmodel.POSE_JOINTS` without the wrist. The limits are a box in them, so any
mixture of two allowed poses is allowed. Overlap is measured on the mean hand with balls along the
bones; it is differentiable.
"""

from typing import Final

import torch
from torch import Tensor

from hdrvideo.hand import FINGERS, KNUCKLES
from hdrvideo.handmodel import (
    JOINT_LIMITS_DEG,
    POSE_JOINTS,
    HandModel,
    joint_rotation,
    matrix_to_axis_angle,
)

N_ANGLES: Final = len(POSE_JOINTS) - 1
_TABLE: Final = torch.tensor([JOINT_LIMITS_DEG[name] for name in POSE_JOINTS[1:]])
LOW_RAD: Final = torch.deg2rad(_TABLE[..., 0])
HIGH_RAD: Final = torch.deg2rad(_TABLE[..., 1])

# Radius in millimetres of the balls along each finger's three bones, near the mean distance of the
# mesh from its bones; the thumb's first bone lies in the ball of the thumb.
RADIUS_MM: Final = (
    (11.0, 9.5, 8.0), (9.0, 8.5, 7.0), (9.0, 8.5, 7.0), (8.5, 8.0, 6.5), (7.5, 6.5, 5.5)
)  # fmt: skip
# The palm: balls along the four metacarpals, moved from the bone towards the palm's skin.
PALM_RADIUS_MM: Final = 13.0
PALM_DEPTH_MM: Final = -8.0
# Flesh that touches gives way by so much before it counts.
SLACK_MM: Final = 3.0
_ALONG: Final = ((0.4, 0.7, 1.0), (0.3, 0.65, 1.0), (0.35, 0.7, 1.0))
_PALM_ALONG: Final = (0.2, 0.4, 0.6, 0.8)


class FingerChain:
    """The bones of the mean right hand with balls round them.

    Attributes:
        reach_mm: ``(45, 61)`` smallest distance allowed between balls of the fingers and balls of
            the fingers and the palm; -inf where a pair does not count.
    """

    def __init__(self, model: HandModel | None = None) -> None:
        """Take the bones from the shipped hand, or from ``model``."""
        model = HandModel() if model is None else model
        rest_mm = model.joints_mm
        self._base_mm = rest_mm[1:].view(5, 4, 3)[:, 0]
        self._bone_mm = rest_mm[1:].view(5, 4, 3).diff(dim=1)
        self._before = model.parent_from_joint.view(5, 3, 3, 3)
        self._after = model.joint_from_rest.view(5, 3, 3, 3)
        along = torch.tensor(_PALM_ALONG)[None, :, None]
        palm_mm = rest_mm[list(KNUCKLES)][:, None] * along
        self._palm_mm = palm_mm.reshape(-1, 3) + torch.tensor([0.0, 0.0, PALM_DEPTH_MM])
        self._along = torch.tensor(_ALONG)[None, None, :, :, None]
        self.reach_mm = _reach()

    def joints_mm(self, angles_rad: Tensor) -> Tensor:
        """Give the finger joints ``(T, 5, 4, 3)``, base to tip, of a hand at rest.

        Args:
            angles_rad: ``(T, 15, 3)``.
        """
        turns = self._before @ joint_rotation(angles_rad).view(-1, 5, 3, 3, 3) @ self._after
        turn, place = turns[:, :, 0], self._base_mm.expand(len(turns), 5, 3)
        places = [place]
        for level in range(3):
            if level:
                turn = turn @ turns[:, :, level]
            place = place + (turn @ self._bone_mm[:, level, :, None]).squeeze(-1)
            places.append(place)
        return torch.stack(places, dim=2)

    def overlaps_mm(self, angles_rad: Tensor) -> Tensor:
        """Give how deep each pair of balls is in one another ``(T, 45, 61)``; 0 where they are not.

        Args:
            angles_rad: ``(T, 15, 3)``.
        """
        joints = self.joints_mm(angles_rad)[:, :, :, None]
        balls = joints[:, :, :-1] + self._along * (joints[:, :, 1:] - joints[:, :, :-1])
        balls = balls.flatten(1, 3)
        others = torch.cat([balls, self._palm_mm.expand(len(balls), -1, 3)], dim=1)
        return (self.reach_mm - torch.cdist(balls, others)).clamp(min=0)

    def overlap_mm(self, angles_rad: Tensor) -> Tensor:
        """Give the deepest overlap ``(T,)`` of each pose."""
        return self.overlaps_mm(angles_rad).flatten(1).amax(dim=1)


def _reach() -> Tensor:
    """Give the smallest allowed distance of every pair of balls; -inf where a pair is free.

    Free are: balls of one finger, the roots of neighbouring fingers (they share skin), and against
    the palm the first bone of every finger.
    """
    finger = torch.arange(5).repeat_interleave(9)
    bone = torch.arange(3).repeat_interleave(3).repeat(5)
    root = (bone == 0) & (torch.arange(3).repeat(15) < 2)
    radius = torch.tensor(RADIUS_MM).flatten().repeat_interleave(3)
    reach = radius[:, None] + radius - SLACK_MM
    near = (finger[:, None] - finger).abs() == 1
    free = (finger[:, None] == finger) | (near & (root[:, None] | root))
    thumb_root = (finger == 0) & (bone == 0)
    free |= thumb_root[:, None] & (bone == 0) | (bone == 0)[:, None] & thumb_root
    reach = reach.masked_fill(free, -torch.inf)
    palm = (radius + PALM_RADIUS_MM - SLACK_MM).masked_fill(bone == 0, -torch.inf)
    palm = torch.where((finger == 0) & (bone == 1), palm - SLACK_MM, palm)
    return torch.cat([reach, palm[:, None].expand(-1, len(KNUCKLES) * len(_PALM_ALONG))], dim=1)


def clip_angles(angles_rad: Tensor) -> Tensor:
    """Bring angles ``(..., 15, 3)`` into the limits."""
    return torch.minimum(torch.maximum(angles_rad, LOW_RAD), HIGH_RAD)


def to_axis_angle(angles_rad: Tensor) -> Tensor:
    """Turn angles ``(..., 15, 3)`` into axis-angle ``(..., 15, 3)`` of the hand model."""
    return matrix_to_axis_angle(joint_rotation(angles_rad))


def angles_deg(**fingers: tuple[float, ...]) -> Tensor:
    """Write a pose by hand: ``(15, 3)`` degrees, zero where nothing is given.

    Args:
        fingers: For the thumb (cmc flexion, abduction, twist, mcp flexion, ip flexion); for the
            others (mcp flexion, abduction, pip flexion, dip flexion). ``rest`` stands for every
            finger but the thumb that is not given.
    """
    table = torch.zeros(5, 3, 3)
    for k, finger in enumerate(FINGERS):
        values = fingers.get(finger, fingers.get("rest", ()) if k else ())
        if not values:
            continue
        if k == 0:
            table[k, 0] = torch.tensor(values[:3])
        else:
            table[k, 0, :2] = torch.tensor(values[:2])
        table[k, 1:, 0] = torch.tensor(values[-2:])
    return table.flatten(0, 1)
