"""Made pictures of two hands that lie over one another, with joints, for HDRM's lessons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from made_shards import disc_shot, write_crops, write_made

from hdrvideo.train.bare_crops import CropSettings

R = 64
STILL = CropSettings(
    R, scale_share=0, shift_share=0, turn_deg=0, box_share=0, spoil=0, no_other_share=0,
    recolour=False,
)  # fmt: skip


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def disc_joints(amodal: np.ndarray) -> np.ndarray:
    """Lay a hand's joints over a disc: the wrist below, four fingers upwards."""
    rows, columns = np.nonzero(amodal)
    middle, radius = np.array([columns.mean(), rows.mean()]), np.ptp(rows) / 2
    joints = np.zeros((21, 2), np.float32)
    joints[0] = middle + np.array([0, 0.9 * radius])
    for finger in range(5):
        for k in range(4):
            way = [0.35 * (finger - 2) * radius, (0.4 - 0.3 * k) * radius]
            joints[1 + 4 * finger + k] = middle + np.array(way)
    return joints


def shot_with_joints(n: int, seed: int):
    shot = disc_shot(n, seed)
    uv = shot.uv_px.clone()
    for i, side in shot.present.nonzero().tolist():
        uv[i, side] = torch.from_numpy(disc_joints(shot.amodal[i, side].numpy()))
    return replace(shot, uv_px=uv)


def write_bare(folder: Path) -> dict[str, object]:
    """Write all kinds; gives what belongs under ``data`` in a settings file."""
    made = write_made(folder / "made", "train", shot_with_joints(10, 1), shot_with_joints(5, 2))
    held_out = write_made(folder / "held_out", "test", shot_with_joints(10, 3))
    return {
        "made": [str(made)],
        "held_out": [str(held_out)],
        "crops": str(write_crops(folder / "crops")),
        "pasted_share": 0.25,
        "n_check": 4,
    }
