"""Keeps two hands from passing through one another: the least way apart in depth.

Depth is what a camera tells worst, so two hands that are told to be one within the other are rather
at wrong depths than at wrong places in the picture. Both are moved along depth, half each, until
the balls that stand for them (:class:`hdrvideo.penetration.HandSpheres`) overlap no more than those
of hands that touch; joints stay where they are in the picture. Which of them goes to the front is
the shorter way, decided over the neighbours in time, and the way is smoothed in time.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.datatypes import N_JOINTS, N_SIDES
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.smooth import F64, label_runs, smooth_zero_phase
from hdrvideo.penetration import HandSpheres
from hdrvideo.track import TURNING, PoseTrack

# Balls of true hands that touch overlap by less than 50 in nine of ten frames, of interlocked ones
# by less than 400. With this the told hands' volume in one another falls to a sixth of per frame,
# with 400 it stayed as it was; the way from hand to hand gets 3 % worse (26 benchmark clips).
TOUCHING_MM2: Final = 20.0
# Hands are moved apart in steps of this, up to this.
STEP_MM, MOST_MM = 5.0, 100.0
# Standard deviation of the smoothing in time.
SMOOTH_SECONDS: Final = 0.1
# And of the neighbours that decide who goes to the back: a change costs more than the longer way.
CHOICE_SECONDS: Final = 0.4
# No hand is brought nearer to the camera.
NEAREST_MM: Final = 30.0


def part_hands(track: PoseTrack) -> PoseTrack:
    """Move hands apart that pass through one another.

    Args:
        track: With the hand model's poses; frames without both are left as they are.
    """
    posed = np.asarray(np.isfinite(track.shape).all(axis=(1, 2)))
    if not posed.any():
        return track
    needed = np.zeros((2, len(track)))
    needed[:, posed] = ways_apart(*_hands(track, posed))
    way_mm = _steady_way(track.pts_seconds, needed, posed)
    if not way_mm.any():
        return track
    depth_mm = track.xyz_cam_mm[..., 2].astype(np.float64)
    moved_mm = depth_mm + way_mm[:, None, None] / 2 * np.array([1.0, -1.0])[:, None]
    # Those who stay keep their digits.
    depth_mm = np.where(way_mm[:, None, None] != 0, np.maximum(moved_mm, NEAREST_MM), depth_mm)
    xyz = track.meta.camera.lift(track.uv_px, depth_mm).astype(np.float32)
    there = (way_mm != 0)[:, None, None, None]
    return replace(track, xyz_cam_mm=np.where(there, xyz, track.xyz_cam_mm))


def ways_apart(right_mm: Tensor, left_mm: Tensor) -> NDArray[np.float64]:
    """Find the least way in depth that parts hands, in steps of :data:`STEP_MM`.

    Args:
        right_mm: ``(B, 21, 3)`` joints in the camera.
        left_mm: ``(B, 21, 3)``.

    Returns:
        ``(2, B)`` millimetres, if the right hand goes back, and if the left one does;
        :data:`MOST_MM` where that is not enough.
    """
    spheres = _spheres()
    found = np.full((2, len(right_mm)), MOST_MM)
    for k, sign in enumerate((1.0, -1.0)):
        left_over = torch.arange(len(right_mm))
        for step in torch.arange(0.0, MOST_MM + STEP_MM / 2, STEP_MM).tolist():
            shift = torch.tensor([0.0, 0.0, sign * step / 2])
            overlap = spheres.overlap_mm2(right_mm[left_over] + shift, left_mm[left_over] - shift)
            free = overlap <= TOUCHING_MM2
            found[k, left_over[free].numpy()] = step
            left_over = left_over[~free]
            if not len(left_over):
                break
    return found


def _hands(track: PoseTrack, rows: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Pose the hand model where the track has its wrists."""
    n = int(rows.sum())
    pose = torch.from_numpy(track.turn_rad[rows][:, :, list(TURNING)]).flatten(0, 1)
    shape = torch.from_numpy(track.shape[rows]).flatten(0, 1)
    side = torch.tensor([0, 1]).repeat(n)
    joints_mm = _model().joints(pose, shape, side=side).reshape(n, N_SIDES, N_JOINTS, 3)
    placed_mm = joints_mm + torch.from_numpy(track.xyz_cam_mm[rows][:, :, :1])
    return placed_mm[:, 0], placed_mm[:, 1]


def _steady_way(seconds: F64, needed: F64, posed: NDArray[np.bool_]) -> F64:
    """Choose who goes to the back, and smooth the way: ``(T,)``, positive = the right hand."""
    runs = label_runs(posed)
    even, sigma = np.ones(len(seconds)), np.full(len(seconds), SMOOTH_SECONDS)
    apart = np.abs(seconds[:, None] - seconds) / CHOICE_SECONDS
    near = np.exp(-0.5 * apart**2) * (apart <= 2.5) * (runs[:, None] == runs)
    right = near @ needed[0] <= near @ needed[1]
    way = np.where(right, needed[0], -needed[1])
    way = smooth_zero_phase(seconds, way[:, None], even, runs, sigma_seconds=sigma)[:, 0]
    # What is left of a smoothing's feet moves nobody.
    way = np.nan_to_num(way)
    return np.where(np.abs(way) < 0.1, 0.0, way)


@lru_cache(maxsize=1)
def _model() -> HandModel:
    return HandModel()


@lru_cache(maxsize=1)
def _spheres() -> HandSpheres:
    return HandSpheres(_model())
