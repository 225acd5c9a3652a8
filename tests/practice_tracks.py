"""Hands of the hand model that move smoothly, and practice tracks made of them, for tests."""

import numpy as np
import torch
from numpy.typing import NDArray

from hdrvideo.handmodel import JOINT_LIMITS_DEG, POSE_JOINTS, HandModel, joint_rotation
from hdrvideo.motion.states import HandStates, StateReader
from hdrvideo.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from hdrvideo.train.practice import PracticeTrack
from hdrvideo.train.refine_windows import StudyTrack, study

MODEL = HandModel()
READER = StateReader(MODEL)
FOCAL_PX = 300.0
LIMITS_RAD = np.deg2rad([JOINT_LIMITS_DEG[name] for name in POSE_JOINTS[1:]])


def camera_matrix(focal_px: float = FOCAL_PX) -> NDArray[np.float32]:
    return np.array([[focal_px, 0, 159.5], [0, focal_px, 119.5], [0, 0, 1]], np.float32)


def project(xyz_mm: NDArray, k_px: NDArray) -> NDArray:
    """Project ``(..., 3)`` to pixels ``(..., 2)``."""
    return xyz_mm[..., :2] / xyz_mm[..., 2:] * k_px[[0, 1], [0, 1]] + k_px[:2, 2]


def made_hands(n: int, seed: int, spread: float) -> tuple[NDArray, NDArray, NDArray]:
    """Give the pose ``(n, 2, 16, 3)``, shape ``(2, 12)`` and joints ``(n, 2, 21, 3)`` of hands.

    They move smoothly within the limits, half a metre from the camera; shapes spread.
    """
    rng = np.random.default_rng(seed)
    phase = np.arange(n)[:, None, None, None] / 12 + rng.uniform(0, 6, (1, 2, 15, 3))
    share = 0.5 + 0.3 * np.sin(phase)
    angles = LIMITS_RAD[..., 0] + share * (LIMITS_RAD[..., 1] - LIMITS_RAD[..., 0])
    phase = np.arange(n)[:, None, None] / 15 + rng.uniform(0, 6, (1, 2, 3))
    wrist = torch.from_numpy(rng.normal(0, 0.5, (1, 2, 3)) + 0.3 * np.sin(phase))
    turns = torch.cat(
        [axis_angle_to_matrix(wrist)[:, :, None], joint_rotation(torch.from_numpy(angles))], dim=2
    ).float()
    wrist_mm = np.array([[-60.0, 40, 480], [60, 40, 520]]) + 25 * np.sin(phase + 1)
    shape = rng.normal(0, spread, (2, MODEL.n_shape)).astype(np.float32)
    joints = MODEL(
        turns.flatten(0, 1),
        torch.from_numpy(shape).repeat(n, 1),
        side=torch.tensor([0, 1]).repeat(n),
        wrist_mm=torch.from_numpy(wrist_mm.reshape(-1, 3)).float(),
    ).joints_mm
    pose = matrix_to_axis_angle(turns)
    return pose.numpy(), shape, joints.reshape(n, 2, 21, 3).numpy()


def make_practice(
    n: int = 24,
    seed: int = 0,
    *,
    noise_px: float = 0.0,
    noise_mm: float = 0.0,
    gaps: tuple[tuple[int, int, int], ...] = (),
    absent: tuple[int, ...] = (),
    hidden: float = 0.0,
    spread: float = 0.7,
    true_focal_px: float = FOCAL_PX,
    frame_seconds: float = 1 / 30,
    split: str = "train",
) -> PracticeTrack:
    """Make a practice track.

    Args:
        n: Frames.
        seed: Of poses and noise.
        noise_px: Of the reading in the picture.
        noise_mm: And in space.
        gaps: ``(side, start, stop)`` where nothing is read.
        absent: Sides that are not there, and not read.
        hidden: Share of the hands that is hidden.
        spread: Standard deviation of the shape's scores; 0 = mean hands.
        true_focal_px: Of the camera that the clip was made with; the track assumes ``FOCAL_PX``.
        frame_seconds: From frame to frame.
        split: ``train`` or ``test``.
    """
    rng = np.random.default_rng(seed + 1000)
    pose, shape, xyz = made_hands(n, seed, spread)
    xyz[..., 2] += xyz[:, :, :1, 2] * (true_focal_px / FOCAL_PX - 1)
    true_k = camera_matrix(true_focal_px)
    uv = project(xyz, true_k).astype(np.float32)
    # Hands shake in space as nets' readings do: slowly as well as from frame to frame.
    raw_uv = uv + noise_px * rng.normal(size=uv.shape)
    raw_xyz = xyz + noise_mm * (rng.normal(size=xyz.shape) + rng.normal(size=(1, *xyz.shape[1:])))
    raw_xyz[..., 2] += xyz[:, :, :1, 2] * (FOCAL_PX / true_focal_px - 1)
    present = np.ones((n, 2), bool)
    present[:, list(absent)] = False
    read = present.copy()
    for side, start, stop in gaps:
        read[start:stop, side] = False
    confidence = np.clip(0.8 + 0.05 * rng.normal(size=(n, 2, 21)), 0, 1)
    for values, there in (
        (uv, present),
        (xyz, present),
        (raw_uv, read),
        (raw_xyz, read),
        (confidence, read),
    ):
        values[~there] = np.nan
    return PracticeTrack(
        split=split,
        relation="apart",
        pts_seconds=np.arange(n) * frame_seconds,
        k_px=camera_matrix(),
        raw_uv_px=raw_uv.astype(np.float32),
        raw_xyz_cam_mm=raw_xyz.astype(np.float32),
        confidence=confidence.astype(np.float32),
        visible=np.repeat(read[..., None], 21, axis=2),
        provenance=read.astype(np.uint8),
        true_k_px=true_k,
        uv_px=uv,
        xyz_cam_mm=xyz.astype(np.float32),
        present=present,
        hidden_share=np.where(present, hidden, np.nan).astype(np.float32),
        pose=pose,
        shape=shape,
    )


def read(track: PracticeTrack) -> HandStates:
    """Read a track as the refiner does."""
    said = (track.raw_uv_px, track.raw_xyz_cam_mm, track.confidence, track.visible)
    return READER.read(track.pts_seconds, *said, track.k_px)


def studied(n: int = 12, seed: int = 0, **how) -> StudyTrack:
    """Make a practice track with noise, ready to learn from."""
    return study(make_practice(n, seed, noise_px=2, noise_mm=4, **how), READER)
