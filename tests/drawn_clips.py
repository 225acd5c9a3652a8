"""Drawn clips of two discs for hands, one of which moves behind the other, as bare clips."""

from pathlib import Path

import numpy as np
from bare_hands import disc_joints

from hdrvideo.train.bare_clips import BareClip, save_clip

SIZE_PX = 72
STEP_PX = 2


def disc(u: float, v: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    return np.hypot(columns - u, rows - v) <= radius


def draw_bare_clip(n: int, seed: int, split: str = "train") -> BareClip:
    """Draw ``n`` frames: the right hand moves to the right, behind the left one."""
    rng = np.random.default_rng(seed)
    ground, right, left = (
        np.kron(rng.integers(40, 220, (9, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for _ in range(3)
    )
    shots: dict[str, list] = {name: [] for name in ("rgb", "bare", "seen", "whole", "uv", "before")}
    for t in range(n):
        wholes = np.stack([disc(24 + STEP_PX * t, 36, 16), disc(44, 36, 10)])
        hands = np.roll(right, STEP_PX * t, axis=1), left
        bare = [np.where(w[..., None], h, ground) for w, h in zip(wholes, hands, strict=True)]
        rgb = np.where(wholes[1][..., None], left, bare[0])
        ways = np.where(wholes[..., None], np.array([[[[-STEP_PX, 0]]], [[[0, 0]]]]), np.nan)
        values = (
            *(
                rgb,
                np.stack(bare),
                wholes & ~np.stack([wholes[1], np.zeros_like(wholes[1])]),
                wholes,
            ),
            *(np.stack([disc_joints(w) for w in wholes]), ways if t else np.nan * ways),
        )
        for name, value in zip(shots, values, strict=True):
            shots[name].append(value)
    rgb, bare, seen, whole, uv, before = (np.stack(rows) for rows in shots.values())
    return BareClip(
        *(split, "crossing", rgb, bare, seen, whole),
        *(uv.astype(np.float32), before.astype(np.float32)),
    )


def write_clips(folder: Path, split: str, n_clips: int, n_frames: int = 4) -> Path:
    for number in range(n_clips):
        clip = draw_bare_clip(n_frames, number, split)
        save_clip(folder / f"clip_{number:06d}.npz", clip)
    return folder
