"""Seeded noise fields that the procedural skins and backgrounds are made of."""

from typing import Final

import cv2
import numpy as np
import torch
from torch.nn import functional

from hdrvideo.datatypes import F32

_CELLS: Final = 32


def blotches(rng: np.random.Generator, height: int, width: int, cells: float) -> F32:
    """Give smooth noise ``(height, width)`` with zero mean and unit spread.

    Args:
        rng: Where the numbers come from.
        height: Rows.
        width: Columns.
        cells: How many blotches lie along the longer side, at least 1.
    """
    longest = max(height, width)
    rows = max(4, round(cells * height / longest) + 3)
    columns = max(4, round(cells * width / longest) + 3)
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    return _unit(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))


def clouds(
    rng: np.random.Generator, height: int, width: int, *, first: float = 2, octaves: int = 6
) -> F32:
    """Give noise ``(height, width)`` whose strength falls with frequency (1/f), unit spread.

    Args:
        rng: Where the numbers come from.
        height: Rows.
        width: Columns.
        first: Blotches along the longer side in the coarsest layer.
        octaves: Number of layers; each has blotches of half the size and half the strength.
    """
    layers = [
        blotches(rng, height, width, first * 2**level) * 0.5**level for level in range(octaves)
    ]
    return _unit(np.sum(layers, axis=0, dtype=np.float32))


def _unit(field: F32) -> F32:
    centred = field - field.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-6), dtype=np.float32)


class SpaceNoise:
    """Smooth noise in space, the same on both sides of a texture's seam.

    Value noise after Ken Perlin: random numbers at the corners of cells, mixed with a smooth step.
    """

    def __init__(self, xyz_mm: F32, seed: int) -> None:
        """Keep the N places ``(N, 3)`` at which fields are wanted."""
        self._xyz_mm = torch.from_numpy(xyz_mm)
        self._seed = seed

    def field(self, name: str, cell_mm: float | tuple[float, float, float]) -> F32:
        """Give the field of this name ``(N,)``, about unit spread, with cells of this size."""
        rng = np.random.default_rng([self._seed, *name.encode()])
        corners = rng.standard_normal((_CELLS, _CELLS, _CELLS), dtype=np.float32)
        block = torch.from_numpy(np.pad(corners, (0, 1), mode="wrap"))[None, None]
        cells = self._xyz_mm / torch.tensor(cell_mm)
        floor = cells.floor()
        share = cells - floor
        share = share * share * (3.0 - 2.0 * share)
        place = (floor % _CELLS + share) * (2.0 / _CELLS) - 1.0
        found = functional.grid_sample(block, place[None, None, None], align_corners=True)
        # Mixing eight corners lowers the spread to 0.64 of theirs.
        return np.asarray(found.flatten().numpy() / 0.64, np.float32)
