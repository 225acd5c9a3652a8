"""Drawn hand crops, and pictures pasted of them."""

from itertools import pairwise

import cv2
import numpy as np
import torch

from hdrvideo.synth.crops import HandCrop
from hdrvideo.synth.paste import PasteSettings, paste

R = 96
TWO = PasteSettings(size_px=R, one_share=0, none_share=0)


def make_crop(seed: int = 0, *, r: int = R, side: int = 0, split: str = "train") -> HandCrop:
    """Draw a hand of a palm and five strokes over noise; joints lie along the strokes."""
    rng = np.random.default_rng(seed)
    rgb = rng.uniform(0, 1, (r, r, 3)).astype(np.float32)
    mask = np.zeros((r, r), np.uint8)
    wrist = np.array([0.5, 0.72]) * r
    uv = [wrist]
    cv2.circle(mask, (r // 2, int(0.6 * r)), int(0.11 * r), 1, -1)
    for finger in range(5):
        angle = -0.9 + 0.4 * finger + rng.uniform(-0.1, 0.1)
        way = np.array([np.sin(angle), -np.cos(angle)])
        points = [wrist + way * r * reach for reach in (0.15, 0.28, 0.36, 0.43)]
        for a, b in pairwise(points):
            cv2.line(mask, a.round().astype(int), b.round().astype(int), 1, max(r // 16, 1))
        uv += points
    skin = rng.uniform(0.3, 0.8, 3).astype(np.float32)
    rgb[mask > 0] = skin + rng.normal(0, 0.03, (int(mask.sum()), 3)).astype(np.float32)
    return HandCrop(
        rgb=torch.from_numpy(rgb.clip(0, 1)).permute(2, 0, 1).contiguous(),
        mask=torch.from_numpy(mask > 0),
        side=side,
        source=f"hand {seed}",
        split=split,
        uv_px=torch.from_numpy(np.array(uv, np.float32)),
        confidence=torch.full((21,), 0.9),
    )


def make_crops(n: int = 6, **more) -> list[HandCrop]:
    return [make_crop(seed, side=seed % 2, **more) for seed in range(n)]


def some(settings=TWO, n=12, seed=1, crops=None, **more):
    return paste(crops or make_crops(), n, np.random.default_rng(seed), settings=settings, **more)
