"""Discs with the joints of hands on them, in shards, for SHPE's lessons; made truth."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from made_shards import SIZE_PX, disc_shot, write_made

from hdrvideo.hand import ADULT_BONES_MM, PARENTS
from hdrvideo.synth.scene import Shot

FOCAL_PX = 300.0


def flat_hand() -> np.ndarray:
    """Give a right hand's joints ``(21, 3)``, fingers up, palm to the camera, slightly bent."""
    angles = np.radians([50, 15, 0, -12, -25])
    xyz = np.zeros((21, 3))
    for j in range(1, 21):
        finger, bone = divmod(j - 1, 4)
        along = np.array([math.sin(angles[finger]), -math.cos(angles[finger]), 0.15 * bone])
        xyz[j] = xyz[PARENTS[j]] + ADULT_BONES_MM[j - 1] * along / np.linalg.norm(along)
    return xyz


def hand_shot(n: int, seed: int = 0) -> Shot:
    """Give discs the joints of hands that lie on them."""
    shot, rng = disc_shot(n, seed), np.random.default_rng(seed)
    xyz = np.full((n, 2, 21, 3), np.nan, np.float32)
    uv = np.full((n, 2, 21, 2), np.nan, np.float32)
    for i, side in np.argwhere(shot.present.numpy()):
        turn = rng.uniform(-0.6, 0.6)
        rotation = np.array(
            [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]]
        )
        hand = flat_hand() @ rotation.T * [1 - 2 * side, 1, 1] + [rng.uniform(-40, 40), 60, 1000]
        xyz[i, side] = hand
        uv[i, side] = FOCAL_PX * hand[:, :2] / hand[:, 2:] + (SIZE_PX - 1) / 2
    k_px = torch.tensor([[FOCAL_PX, 0, 47.5], [0, FOCAL_PX, 47.5], [0, 0, 1.0]]).repeat(n, 1, 1)
    hidden = 1 - shot.visible.sum(dim=(2, 3)) / shot.amodal.sum(dim=(2, 3))
    visible = torch.from_numpy(rng.random((n, 2, 21)) < 0.7) & shot.present[..., None]
    return replace(
        shot,
        xyz_cam_mm=torch.from_numpy(xyz),
        uv_px=torch.from_numpy(uv),
        k_px=k_px,
        hidden_share=hidden,
        joint_visible=visible,
    )


def write_hands(folder: Path) -> dict[str, tuple[str, ...]]:
    """Write shards of both splits; gives what belongs under ``data`` in a settings file."""
    made = write_made(folder / "made", "train", hand_shot(10, 1), hand_shot(5, 2))
    held_out = write_made(folder / "held_out", "test", hand_shot(10, 3))
    return {"made": (str(made),), "held_out": (str(held_out),)}


def some_truth(b: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    xyz = torch.randn(b, 21, 3, generator=draw)
    xyz -= xyz[:, :1].clone()
    return {
        "uv_px": 64 * torch.rand(b, 21, 2, generator=draw),
        "xyz": xyz,
        "bone_mm": 80 + 20 * torch.rand(b, generator=draw),
        "in_space": torch.ones(b),
        "palm_px": 20 + 10 * torch.rand(b, generator=draw),
        "visible": (torch.rand(b, 21, generator=draw) < 0.6).float(),
        "seen_told": torch.ones(b),
        "labelled": torch.ones(b, 21),
    }
