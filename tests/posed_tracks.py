"""Tracks of two hands with the hand model's poses."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from tracks import make_meta, make_track

from hdrvideo.handmodel import HandModel
from hdrvideo.track import ABSENT, TURNING, PoseTrack

MODEL = HandModel()


def pair(
    n: int = 40, *, apart_mm: float = 0.0, absent=(), fps: int = 30, beside_mm: float = 12.0
) -> PoseTrack:
    """Make two flat hands, the left one ``apart_mm`` behind the other and ``beside_mm`` beside."""
    track = make_track(
        n, provenance=dict.fromkeys(absent, ABSENT), meta=make_meta(time_base=Fraction(1, fps))
    )
    turn_rad = np.zeros((n, 2, 21, 3), np.float32)
    turn_rad[:, :, [j for j in range(21) if j not in TURNING]] = np.nan
    wrist_mm = np.array([[0.0, 0.0, 500.0], [beside_mm, 5.0, 500.0 + apart_mm]], np.float32)
    pose = torch.zeros(2, 16, 3)
    joints_mm = MODEL.joints(pose, side=torch.tensor([0, 1])).numpy() + wrist_mm[:, None]
    there = track.present
    xyz = np.where(there[..., None, None], joints_mm, np.nan).astype(np.float32)
    return replace(
        track,
        uv_px=track.meta.camera.project(xyz).astype(np.float32),
        xyz_cam_mm=xyz,
        turn_rad=np.where(there[..., None, None], turn_rad, np.nan).astype(np.float32),
        shape=np.where(there[..., None], np.zeros(12), np.nan).astype(np.float32),
    )
