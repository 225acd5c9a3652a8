"""The picture behind everything: looked up through each frame's affine, mirrored at its borders."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from hdrvideo.datatypes import U8
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.meshes import Frame
from hdrvideo.synth.scene import Background

_KEPT: Final = 48
_MAX_LEVEL: Final = 4


class Backdrops:
    """Pictures of the assets, each in the size in which it is seen."""

    def __init__(self, assets: Assets, device: torch.device) -> None:
        self._assets, self._device = assets, device
        self._kept: OrderedDict[tuple[str, int], tuple[Tensor, tuple[int, int, int, int]]] = (
            OrderedDict()
        )

    def colours(self, frames: Sequence[Frame], uv_px: Tensor, samples_per_px: int) -> Tensor:
        """Give the colours ``(N, M, 3)`` behind M places of each frame.

        Args:
            frames: N frames.
            uv_px: ``(M, 2)`` places in the frame.
            samples_per_px: Places per pixel along each axis: fewer need a smaller picture.
        """
        tables, seen = [], []
        known: dict[tuple[str, int], tuple[int, ...]] = {}
        length = 0
        for scene, _ in frames:
            background = scene.background
            key = (background.name, _level(background, samples_per_px))
            if key not in known:
                table, size = self._picture(*key)
                known[key] = (length, *size)
                length += len(table)
                tables.append(table)
            seen.append(known[key])
        affine = torch.from_numpy(
            np.stack([scene.background.picture_from_frame[t] for scene, t in frames])
        ).to(self._device)
        table = tables[0] if len(tables) == 1 else torch.cat(tables)
        places = torch.tensor(seen, device=self._device)
        found = []
        # Frame by frame a CPU's cache holds the numbers.
        step = 1 if self._device.type == "cpu" else len(frames)
        for at in torch.split(torch.arange(len(frames), device=self._device), step):
            index, weights = _corners(affine[at], uv_px, places[at, 1:], places[at, 0])
            found.append(embedding_bag(index, table, mode="sum", per_sample_weights=weights))
        return torch.cat(found).view(len(frames), len(uv_px), 3)

    def _picture(self, name: str, level: int) -> tuple[Tensor, tuple[int, int, int, int]]:
        """Give the texels ``(h * w, 3)`` at a level and full height, width, then theirs."""
        key = (name, level)
        if key not in self._kept:
            full = self._assets.background_rgb_u8(name)
            small = _shrunk(full, level)
            table = torch.from_numpy(small.astype(np.float32) / 255).view(-1, 3).to(self._device)
            height, width = full.shape[:2]
            self._kept[key] = (table, (height, width, small.shape[0], small.shape[1]))
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def _level(background: Background, samples_per_px: int) -> int:
    """Choose how often to halve the picture: one choice for a whole scene, so nothing jumps."""
    linear = background.picture_from_frame[..., :2].astype(np.float64)
    scale = float(np.sqrt(np.abs(np.linalg.det(linear))).mean()) / samples_per_px
    return min(max(math.floor(math.log2(max(scale, 1e-6)) + 0.3), 0), _MAX_LEVEL)


def _shrunk(rgb_u8: U8, level: int) -> U8:
    if not level:
        return rgb_u8
    height, width = (max(1, round(n / 2**level)) for n in rgb_u8.shape[:2])
    return np.asarray(cv2.resize(rgb_u8, (width, height), interpolation=cv2.INTER_AREA))


def _corners(affine: Tensor, uv_px: Tensor, shape: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Give the four texels ``(N * M, 4)`` round each place and their shares."""
    sides = []
    for axis in (0, 1):
        a = affine[:, axis]
        place = a[:, :1] * uv_px[:, 0] + a[:, 1:2] * uv_px[:, 1] + a[:, 2:]
        full, small = (shape[:, k - axis, None].to(place.dtype) for k in (1, 3))
        # In widths of the picture; every other copy is mirrored.
        share = (place + 0.5) / full
        share = share - 2 * torch.floor(share / 2)
        share = 1 - (1 - share).abs()
        texel = (share * small - 0.5).clamp(min=0)
        low = torch.minimum(texel.floor(), small - 1)
        high = torch.minimum(low + 1, small - 1)
        sides.append((low.long(), high.long(), (texel - low).clamp(0, 1)))
    (left, right, across), (top, bottom, down) = sides
    width = shape[:, 3, None]
    above, below = first[:, None] + top * width, first[:, None] + bottom * width
    index = torch.stack([above + left, above + right, below + left, below + right], dim=-1)
    up, back = 1 - down, 1 - across
    weights = torch.stack([up * back, up * across, down * back, down * across], dim=-1)
    return index.view(-1, 4), weights.view(-1, 4)


def backdrop_moves(frames: Sequence[Frame], device: torch.device) -> Tensor:
    """Give the affines ``(N, 2, 2, 3)`` from each frame to the one after and before; NaN if none.

    Both frames' pixels show one background point.
    """
    moves = np.full((len(frames), 2, 2, 3), np.nan)
    for i, (scene, t) in enumerate(frames):
        for k, step in enumerate((1, -1)):
            if 0 <= t + step < len(scene):
                here, there = (
                    np.vstack([scene.background.picture_from_frame[s], [0, 0, 1]])
                    for s in (t, t + step)
                )
                moves[i, k] = np.linalg.solve(there, here)[:2]
    return torch.from_numpy(moves.astype(np.float32)).to(device)
