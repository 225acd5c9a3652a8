"""The hand as a chain of unknowns: joints, their Jacobian, and bones bent to given joints.

Only *right* hands (:mod:`hdrvideo.fit` mirrors left ones), and no mesh. The unknowns of a hand, in
this order: a small turn of the whole hand about its wrist (3, camera axes), the wrist's place (3,
mm), flexion, abduction and twist of 15 joints (45, radians) and the shape's scores.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from hdrvideo.hand import FINGERS, N_JOINTS
from hdrvideo.handmodel import JOINT_LIMITS_DEG, POSE_JOINTS, HandModel, joint_rotation

N_ANGLES: Final = 3 * (len(POSE_JOINTS) - 1)
# Flexion of a relaxed hand by joint, degrees; abduction and twist are zero.
RELAXED_DEG: Final = {
    "thumb_cmc": 5.0, "thumb_mcp": 15.0, "thumb_ip": 20.0, "mcp": 25.0, "pip": 35.0, "dip": 20.0
}  # fmt: skip


@dataclass(frozen=True)
class Hands:
    """Unknowns of right hands.

    Attributes:
        turn: ``(B, 3, 3)`` of the whole hand, camera axes.
        wrist_mm: ``(B, 3)``.
        angles_rad: ``(B, 15, 3)`` flexion, abduction, twist.
        shape: ``(B, n_shape)``.
    """

    turn: Tensor
    wrist_mm: Tensor
    angles_rad: Tensor
    shape: Tensor

    def where(self, mask: Tensor, other: "Hands") -> "Hands":
        """Take these hands where ``mask`` ``(B,)``, ``other`` elsewhere."""
        return Hands(
            torch.where(mask[:, None, None], self.turn, other.turn),
            torch.where(mask[:, None], self.wrist_mm, other.wrist_mm),
            torch.where(mask[:, None, None], self.angles_rad, other.angles_rad),
            torch.where(mask[:, None], self.shape, other.shape),
        )

    def take(self, index: Tensor) -> "Hands":
        """Take the hands of an index ``(N,)``."""
        return Hands(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def put(self, index: Tensor, other: "Hands") -> "Hands":
        """Put other hands at the places of an index ``(N,)``."""
        return Hands(
            *(
                getattr(self, name).index_copy(0, index, getattr(other, name))
                for name in self.__dataclass_fields__
            )
        )


class Chain(nn.Module):
    """Joints of right hands; its constants come from a hand model."""

    joints_mm: Tensor
    shape_joints_mm: Tensor
    parent_from_joint: Tensor
    joint_from_rest: Tensor
    low_rad: Tensor
    high_rad: Tensor
    relaxed_rad: Tensor

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        table = torch.tensor([JOINT_LIMITS_DEG[name] for name in POSE_JOINTS[1:]])
        low, high = torch.deg2rad(table).unbind(-1)
        relaxed = torch.zeros_like(low)
        relaxed[:, 0] = torch.tensor([_relaxed_rad(name) for name in POSE_JOINTS[1:]])
        constants = {
            "joints_mm": model.joints_mm,
            "shape_joints_mm": model.shape_joints_mm,
            "parent_from_joint": model.parent_from_joint.view(5, 3, 3, 3),
            "joint_from_rest": model.joint_from_rest.view(5, 3, 3, 3),
            "low_rad": low,
            "high_rad": high,
            "relaxed_rad": relaxed,
        }
        for name, value in constants.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)
        self.n_shape = len(self.shape_joints_mm)

    def relaxed(self, batch: int) -> Hands:
        """Give relaxed mean hands at the origin."""
        like = self.joints_mm
        return Hands(
            torch.eye(3, dtype=like.dtype, device=like.device).expand(batch, 3, 3),
            like.new_zeros(batch, 3),
            self.relaxed_rad.expand(batch, -1, -1),
            like.new_zeros(batch, self.n_shape),
        )

    def joints(self, hands: Hands) -> Tensor:
        """Give the joints ``(B, 21, 3)`` in mm; equal to the hand model's."""
        return self._chain(hands)[0]

    def _chain(self, hands: Hands) -> tuple[Tensor, Tensor, Tensor]:
        """Give joints, the turns of 4 levels ``(B, 5, 4, 3, 3)``, the joints' axes.

        The axes ``(B, 5, 3, 3, 3)`` hold the camera directions of a joint's flexion, abduction and
        twist in their columns.
        """
        shapes = torch.einsum("bn,njc->bjc", hands.shape, self.shape_joints_mm)
        rest_mm = (self.joints_mm + shapes)[:, 1:].reshape(-1, 5, 4, 3)
        bones_mm = torch.cat([rest_mm[:, :, :1], rest_mm[:, :, 1:] - rest_mm[:, :, :-1]], dim=2)
        bends = joint_rotation(hands.angles_rad).reshape(-1, 5, 3, 3, 3)
        turn = hands.turn[:, None].expand(-1, 5, -1, -1)
        turns, axes = [turn], []
        for level in range(3):
            frame = turn @ self.parent_from_joint[:, level]
            axes.append(frame @ _bend_axes(hands.angles_rad.reshape(-1, 5, 3, 3)[:, :, level]))
            turn = frame @ bends[:, :, level] @ self.joint_from_rest[:, level]
            turns.append(turn)
        levels = torch.stack(turns, dim=2)
        places_mm = (levels @ bones_mm[..., None]).squeeze(-1).cumsum(dim=2).flatten(1, 2)
        joints_mm = torch.cat([torch.zeros_like(places_mm[:, :1]), places_mm], dim=1)
        return joints_mm + hands.wrist_mm[:, None], levels, torch.stack(axes, dim=2)

    def joints_and_slopes(self, hands: Hands) -> tuple[Tensor, Tensor]:
        """Give the joints ``(B, 21, 3)`` and their Jacobian ``(B, 21, 3, P)``."""
        joints_mm, levels, axes = self._chain(hands)
        batch = len(joints_mm)
        arms_mm = joints_mm - hands.wrist_mm[:, None]
        place = torch.eye(3, dtype=arms_mm.dtype, device=arms_mm.device)
        fingers_mm = joints_mm[:, 1:].reshape(batch, 5, 4, 3)
        # By child (a finger's joints 1 to 3) and level of the bending joint (0 to 2), if before it.
        levers_mm = fingers_mm[:, :, 1:, None] - fingers_mm[:, :, None, :3]
        levers_mm = levers_mm * torch.ones_like(place).tril()[..., None]
        moved = torch.linalg.cross(axes.mT[:, :, None], levers_mm[..., None, :], dim=-1)
        bends = arms_mm.new_zeros(batch, 5, 4, 3, 5, 3, 3)
        for f in range(len(FINGERS)):
            bends[:, f, 1:, :, f] = moved[:, f].movedim(-1, 2)
        bends = bends.reshape(batch, N_JOINTS - 1, 3, N_ANGLES)
        shapes = self.shape_joints_mm[:, 1:].reshape(-1, 5, 4, 3)
        shapes = torch.cat([shapes[:, :, :1], shapes[:, :, 1:] - shapes[:, :, :-1]], dim=2)
        grown = (levels @ shapes.permute(1, 2, 3, 0)).cumsum(dim=2).flatten(1, 2)
        fingers = torch.cat([bends, grown], dim=-1)
        fingers = torch.cat([torch.zeros_like(fingers[:, :1]), fingers], dim=1)
        whole = [-_cross_matrix(arms_mm), place.expand(batch, N_JOINTS, 3, 3)]
        return joints_mm, torch.cat([*whole, fingers], dim=-1)

    def bent_to(self, hands: Hands, xyz_mm: Tensor, seen: Tensor) -> Hands:
        """Bend the fingers so that every bone lies as between its two joints, where both are seen.

        Twist stays; the bones before a missing joint keep their bend.
        """
        fingers_mm = xyz_mm[:, 1:].reshape(-1, 5, 4, 3)
        known = seen[:, 1:].reshape(-1, 5, 4)
        known = known[:, :, 1:] & known[:, :, :-1]
        angles = hands.angles_rad.reshape(-1, 5, 3, 3)
        turn = hands.turn[:, None].expand(-1, 5, -1, -1)
        bent = []
        for level in range(3):
            frame = turn @ self.parent_from_joint[:, level]
            bone_mm = fingers_mm[:, :, level + 1] - fingers_mm[:, :, level]
            x, y, z = (frame.mT @ bone_mm[..., None]).squeeze(-1).unbind(-1)
            flexion, abduction = torch.atan2(-z, -y), torch.atan2(x, torch.hypot(y, z))
            found = torch.stack([flexion, abduction, angles[:, :, level, 2]], dim=-1)
            own = torch.where(known[:, :, level, None], found, angles[:, :, level])
            index = torch.arange(5) * 3 + level
            own = torch.minimum(torch.maximum(own, self.low_rad[index]), self.high_rad[index])
            bent.append(own)
            turn = frame @ joint_rotation(own) @ self.joint_from_rest[:, level]
        return replace(hands, angles_rad=torch.stack(bent, dim=2).flatten(1, 2))


def _relaxed_rad(name: str) -> float:
    return math.radians(RELAXED_DEG[name if name in RELAXED_DEG else name.split("_")[1]])


def _bend_axes(angles_rad: Tensor) -> Tensor:
    """Give the axes of flexion, abduction and twist as columns ``(..., 3, 3)``, joint's frame."""
    cf, ca = torch.cos(angles_rad[..., :2]).unbind(-1)
    sf, sa = torch.sin(angles_rad[..., :2]).unbind(-1)
    zero = torch.zeros_like(cf)
    rows = [torch.ones_like(cf), zero, -sa, zero, -sf, cf * ca, zero, cf, sf * ca]
    return torch.stack(rows, dim=-1).reshape(*cf.shape, 3, 3)


def _cross_matrix(v: Tensor) -> Tensor:
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=-1).reshape(*v.shape, 3)
