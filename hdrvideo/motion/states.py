"""Hands through time as the refiner sees them: poses of the hand model, and what they leave over.

What a frame said of a hand (joints in the picture and in space) is turned into a pose and a place
of the hand model by a quick fit of the mean hand: shapes that differ from frame to frame would
trade size for depth. What the fit leaves over is kept beside it, so nothing is lost. Left hands are
mirrored to right ones: one set of weights serves both, and a mirrored clip gives the mirrored
result.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.datatypes import N_JOINTS, N_SIDES, check_array
from hdrvideo.fit import HandFitter
from hdrvideo.handmodel import POSE_JOINTS, HandModel, mirror_pose, pose_to_matrices
from hdrvideo.rotation import matrix_to_axis_angle, matrix_to_sixd, sixd_to_matrix

N_TURNS: Final = len(POSE_JOINTS)
# Numbers of a state: the turns in 6D, then the wrist's ray (x / z, y / z) and log depth.
N_STATE: Final = 6 * N_TURNS + 3
# A palm of this length gives angles their unit.
PALM_MM: Final = 90.0

# The fit: hands are scaled to this palm in the picture, so that noise is a share of the hand.
_PALM_PX: Final = 100.0
_NOISE_PX, _NOISE_MM, _STEPS = 2.0, 10.0, 8
_LEAST_PALM_PX: Final = 1.0


@dataclass(frozen=True)
class HandStates:
    """T frames of both hands in B windows; all float32, zero where a hand was not seen.

    Attributes:
        state: ``(B, 2, T, 99)`` the fitted pose, see :data:`N_STATE`; left hands mirrored.
        off_palm: ``(B, 2, T, 21, 2)`` what the fit leaves over in the picture, in palms.
        off_mm: ``(B, 2, T, 21, 3)`` what it leaves over in space, from the wrist, in the axes of
            the hand.
        off_depth: ``(B, 2, T)`` log of the wrist's depth as the frame said over that of the fit,
            which goes by the hand's size alone.
        confidence: ``(B, 2, T, 21)`` in 0..1.
        visible: ``(B, 2, T, 21)`` 1 = seen.
        seen: ``(B, 2, T)`` 1 = the frame said something of the hand.
        seconds: ``(B, T)`` from any origin.
    """

    state: Tensor
    off_palm: Tensor
    off_mm: Tensor
    off_depth: Tensor
    confidence: Tensor
    visible: Tensor
    seen: Tensor
    seconds: Tensor

    def __post_init__(self) -> None:
        b, t = self.seconds.shape
        hand = (b, N_SIDES, t)
        shapes: dict[str, tuple[int | None, ...]] = {
            "state": (*hand, N_STATE),
            "off_palm": (*hand, N_JOINTS, 2),
            "off_mm": (*hand, N_JOINTS, 3),
            "off_depth": hand,
            "confidence": (*hand, N_JOINTS),
            "visible": (*hand, N_JOINTS),
            "seen": hand,
            "seconds": (b, t),
        }
        for name, shape in shapes.items():
            check_array(name, getattr(self, name), shape, "float32")

    def frames(self, index: Any) -> "HandStates":
        """Take frames, by anything that indexes an axis."""
        taken = {f.name: getattr(self, f.name)[:, :, index] for f in fields(self)[:-1]}
        return HandStates(**taken, seconds=self.seconds[:, index])

    def to(self, device: torch.device) -> "HandStates":
        """Give the same on a device."""
        return HandStates(*(getattr(self, f.name).to(device) for f in fields(self)))

    @classmethod
    def join(cls, parts: list["HandStates"]) -> "HandStates":
        """Stack windows of one length."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True)
class HandPoseTrack:
    """Refined hands of T frames.

    Attributes:
        pose: ``(T, 2, 16, 3)`` axis-angle, see :mod:`hdrvideo.handmodel`.
        shape: ``(T, 2, n_shape)``, zero: the mean hand's.
        xyz_cam_mm: ``(T, 2, 21, 3)``.
    """

    pose: Tensor
    shape: Tensor
    xyz_cam_mm: Tensor


class StateReader:
    """Turns what frames said into states, and states back into hands in the camera."""

    def __init__(self, model: HandModel | None = None) -> None:
        """Take a hand; None is the shipped one."""
        self.model = model or HandModel()
        self._fitter = HandFitter(self.model, steps=_STEPS, n_measured=0)

    def read(
        self,
        seconds: NDArray[np.float64],
        uv_px: NDArray[Any],
        xyz_mm: NDArray[Any],
        confidence: NDArray[Any],
        visible: NDArray[np.bool_],
        k_px: NDArray[Any],
    ) -> HandStates:
        """Read T frames into one window.

        Args:
            seconds: ``(T,)``.
            uv_px: ``(T, 2, 21, 2)``; NaN where there is no hand.
            xyz_mm: ``(T, 2, 21, 3)`` camera axes, any origin; likewise.
            confidence: ``(T, 2, 21)``; likewise.
            visible: ``(T, 2, 21)``.
            k_px: ``(3, 3)`` camera.
        """
        seen = np.isfinite(uv_px).all(axis=(2, 3))
        t = len(seconds)
        rows, sides = np.nonzero(seen)
        uv, xyz, sure, shown = (
            torch.from_numpy(np.asarray(a[rows, sides], dtype=np.float32))
            for a in (uv_px, xyz_mm, confidence, visible)
        )
        of_hands = self._read_hands(uv, xyz, sure, torch.from_numpy(sides), k_px)
        of_hands |= {"confidence": sure, "visible": shown, "seen": torch.ones(len(rows))}
        values = {}
        for name, value in of_hands.items():
            full = torch.zeros(1, N_SIDES, t, *value.shape[1:])
            full[0, sides, rows] = value
            values[name] = full
        moments = torch.from_numpy(np.asarray(seconds - seconds[:1], dtype=np.float32))
        return HandStates(**values, seconds=moments[None])

    def _read_hands(
        self, uv_px: Tensor, xyz_mm: Tensor, confidence: Tensor, side: Tensor, k_px: NDArray[Any]
    ) -> dict[str, Tensor]:
        camera = torch.from_numpy(np.asarray(k_px, dtype=np.float32))
        palm_px = (uv_px[:, 9] - uv_px[:, 0]).norm(dim=-1).clamp_min(_LEAST_PALM_PX)
        zoom = torch.stack([_PALM_PX / palm_px] * 2 + [torch.ones_like(palm_px)], dim=-1)
        fitted = self._fitter(
            xyz_mm=xyz_mm,
            uv_px=uv_px * zoom[:, None, :2],
            k_px=camera * zoom[:, :, None],
            confidence=confidence.clamp_min(0.05),
            side=side,
            shape=torch.zeros(len(uv_px), self.model.n_shape),
            relative=True,
            noise_mm=_NOISE_MM,
            noise_px=_NOISE_PX,
        )
        flip = torch.where(side == 1, -1.0, 1.0)
        mirror = torch.stack([flip, torch.ones_like(flip), torch.ones_like(flip)], dim=-1)
        turns = _own(pose_to_matrices(fitted.pose), side)
        wrist_mm = fitted.wrist_mm * mirror
        joints_mm = self.model.joints(turns)
        rays = (uv_px - camera[:2, 2]) / torch.stack([camera[0, 0], camera[1, 1]])
        rays = rays * mirror[:, None, :2]
        placed_mm = joints_mm + wrist_mm[:, None]
        depth_mm = wrist_mm[:, 2:].clamp_min(1.0)
        said = placed_mm[..., :2] / placed_mm[..., 2:].clamp_min(1.0)
        left_mm = (xyz_mm - xyz_mm[:, :1]) * mirror[:, None] - joints_mm
        root = torch.cat([wrist_mm[:, :2] / depth_mm, depth_mm.log()], dim=-1)
        return {
            "state": torch.cat([matrix_to_sixd(turns).flatten(1), root], dim=-1),
            "off_palm": ((rays - said) * (depth_mm / PALM_MM)[:, None]).clamp(-3, 3),
            "off_mm": (left_mm @ turns[:, 0]).clamp(-200, 200),
            "off_depth": (xyz_mm[:, 0, 2].clamp_min(1.0) / depth_mm[:, 0]).log().clamp(-1, 1),
        }

    def place(self, state: Tensor) -> HandPoseTrack:
        """Turn states into hands in the camera.

        Args:
            state: ``(T, 2, 99)``; any first two vectors of turns will do.
        """
        t = len(state)
        side = torch.tensor([0, 1]).repeat(t)
        flat = state.reshape(2 * t, N_STATE)
        turns = turns_of(flat)
        mirror = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]).repeat(t, 1)
        joints_mm = (self.model.joints(turns) + wrists_of(flat)[:, None]) * mirror[:, None]
        pose = matrix_to_axis_angle(_own(turns, side))
        return HandPoseTrack(
            pose.reshape(t, N_SIDES, N_TURNS, 3),
            torch.zeros(t, N_SIDES, self.model.n_shape),
            joints_mm.reshape(t, N_SIDES, N_JOINTS, 3),
        )


def turns_of(state: Tensor) -> Tensor:
    """Give the turns ``(..., 16, 3, 3)`` of states ``(..., 99)``."""
    return sixd_to_matrix(state[..., :-3].reshape(*state.shape[:-1], N_TURNS, 6))


def wrists_of(state: Tensor) -> Tensor:
    """Give the wrists ``(..., 3)`` in mm of states ``(..., 99)``."""
    depth_mm = state[..., -1:].exp()
    return torch.cat([state[..., -3:-1] * depth_mm, depth_mm], dim=-1)


def fitted_joints(said: HandStates, model: HandModel) -> Tensor:
    """Give the fitted hands' joints from the wrist, ``(B, 2, T, 21, 3)``; zero where not seen."""
    joints_mm = model.joints(turns_of(with_turns(said.state).flatten(0, 2)))
    return joints_mm.reshape(*said.seen.shape, -1, 3) * said.seen[..., None, None]


def with_turns(state: Tensor) -> Tensor:
    """Put the idle turns into states ``(..., 99)`` that are all zero, so that joints can be had."""
    idle = torch.zeros(N_STATE).to(state)
    idle[:-3] = torch.eye(3)[:, :2].T.flatten().repeat(N_TURNS).to(state)
    return torch.where(state.abs().sum(dim=-1, keepdim=True) == 0, idle, state)


def _own(turns: Tensor, side: Tensor) -> Tensor:
    """Mirror the turns ``(N, 16, 3, 3)`` of left hands to right ones, or back."""
    return torch.where((side == 1)[:, None, None, None], mirror_pose(turns), turns)
