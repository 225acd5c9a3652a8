"""Tiny training data: discs for hands, in shards, as crops, and pictures without any."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from hdrvideo.synth.assets import split_of
from hdrvideo.synth.crops import HandCrop, save_crop
from hdrvideo.synth.scene import Shot
from hdrvideo.synth.shards import SHARD_FORMAT, save_shot

SIZE_PX = 96
# By side; the backgrounds are dark and grey.
DISC_RGB = np.array([[230, 60, 40], [40, 80, 220]], np.float32) / 255
# What the pictures of a shot show, in turn: sides from back to front.
LAYERS = ((0, 1), (1, 0), (0,), (1,), ())


def disc(size_px: int, u: float, v: float, radius_px: float) -> np.ndarray:
    rows, columns = np.indices((size_px, size_px))
    return np.asarray(np.hypot(columns - u, rows - v) <= radius_px)


def disc_shot(n: int, seed: int = 0) -> Shot:
    """Make pictures of discs; the two of one picture overlap, picture ``i`` has its LAYERS."""
    rng = np.random.default_rng(seed)
    rgb = rng.uniform(0.1, 0.3, (n, SIZE_PX, SIZE_PX, 1)).repeat(3, axis=3).astype(np.float32)
    bare = rgb[:, None].repeat(2, axis=1)
    visible = np.zeros((n, 2, SIZE_PX, SIZE_PX), bool)
    amodal = np.zeros_like(visible)
    for i in range(n):
        middle, radius = rng.uniform(36, 60, 2), rng.uniform(14, 20)
        for side in LAYERS[i % len(LAYERS)]:
            u = middle[0] + (1 - 2 * side) * 0.6 * radius
            amodal[i, side] = disc(SIZE_PX, u, middle[1], radius)
            visible[i] &= ~amodal[i, side]
            visible[i, side] = amodal[i, side]
            rgb[i][amodal[i, side]] = DISC_RGB[side]
            bare[i, side][amodal[i, side]] = DISC_RGB[side]
    present = amodal.any(axis=(2, 3))
    size, nan = (SIZE_PX, SIZE_PX), float("nan")
    return Shot(
        rgb=torch.from_numpy(rgb).permute(0, 3, 1, 2),
        bare_rgb=torch.from_numpy(bare).permute(0, 1, 4, 2, 3),
        visible=torch.from_numpy(visible),
        amodal=torch.from_numpy(amodal),
        depth_mm=torch.full((n, *size), nan),
        normal=torch.zeros(n, 3, *size),
        face=torch.full((n, *size), -1),
        flow_px=torch.full((n, 2, *size, 2), nan),
        flow_seen=torch.zeros(n, 2, *size, dtype=torch.bool),
        hand_flow_px=torch.full((n, 2, 2, *size, 2), nan),
        uv_px=torch.full((n, 2, 21, 2), nan),
        xyz_cam_mm=torch.full((n, 2, 21, 3), nan),
        pose=torch.zeros(n, 2, 16, 3),
        shape=torch.zeros(n, 2, 10),
        present=torch.from_numpy(present),
        joint_visible=torch.zeros(n, 2, 21, dtype=torch.bool),
        hidden_share=torch.full((n, 2), nan),
        gap_mm=torch.full((n,), nan),
        k_px=torch.eye(3).repeat(n, 1, 1),
    )


def write_made(folder: Path, split: str, *shots: Shot) -> Path:
    """Write each shot as a shard, and their manifest."""
    folder.mkdir(parents=True)
    entries = []
    for k, shot in enumerate(shots):
        name = f"shard_{k:05d}.npz"
        digest = save_shot(folder / name, shot)
        entries.append({"file": name, "pictures": len(shot), "sha256": digest})
    manifest = {"format": SHARD_FORMAT, "split": split, "shards": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def write_crops(folder: Path, uv_px: torch.Tensor | None = None) -> Path:
    """Write a disc of either side, split train; with joints ``(21, 2)`` on it, if given."""
    folder.mkdir(parents=True)
    known = {} if uv_px is None else {"uv_px": uv_px, "confidence": torch.ones(21)}
    for side in range(2):
        mask = disc(64, 31, 33, 16)
        rgb = np.full((64, 64, 3), 0.2, np.float32)
        rgb[mask] = DISC_RGB[side]
        picture = torch.from_numpy(rgb).permute(2, 0, 1).contiguous()
        crop = HandCrop(picture, torch.from_numpy(mask), side, f"disc {side}", "train", **known)
        save_crop(crop, folder, f"disc_{side}")
    return folder


def write_hand_free(folder: Path, n: int = 2, width: int = 150) -> Path:
    """Write noisy grey pictures, as many of split train as of split test."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for split in ("train", "test"):
        names = (f"{split}_{k}.png" for k in range(1000))
        ours = [name for name in names if split_of("background", name) == split]
        for name in ours[:n]:
            picture = rng.integers(40, 60, (120, width, 1), np.uint8).repeat(3, axis=2)
            cv2.imwrite(str(folder / name), picture)
    return folder


def write_all(folder: Path) -> dict[str, object]:
    """Write all kinds; gives what belongs under ``data`` in a settings file."""
    made = write_made(folder / "made", "train", disc_shot(10, 1), disc_shot(5, 2))
    held_out = write_made(folder / "held_out", "test", disc_shot(10, 3))
    return {
        "made": [str(made)],
        "held_out": [str(held_out)],
        "crops": str(write_crops(folder / "crops")),
        "hand_free": [str(write_hand_free(folder / "hand_free"))],
        "made_share": 0.5,
        "pasted_share": 0.25,
        "empty_share": 0.25,
        "n_check": 10,
    }
