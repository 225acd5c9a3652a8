"""JPEG's loss without its file: block cosine transform, quantisation and back, in torch.

After ITU-T T.81: the example tables of its annex K, scaled by quality as libjpeg does; colours at
half resolution (4:2:0), brought back with a triangle filter. One code for CPU and CUDA.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import F32

_LUMA_TABLE: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER: Final = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
# Rows give Y, Cb, Cr from R, G, B (JFIF).
_YCC_FROM_RGB: Final = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


def compress(pictures: Tensor, qualities: Sequence[int]) -> Tensor:
    """Give pictures as they come out of a JPEG file.

    Args:
        pictures: ``(B, P, 3, H, W)`` RGB 0..1; the P of one row share a quality.
        qualities: B of 1 to 100; 0 leaves the row as it is.

    Returns:
        ``(B, P, 3, H, W)`` 0..1.
    """
    packed = [n for n, quality in enumerate(qualities) if quality > 0]
    if not packed:
        return pictures
    chosen = pictures if len(packed) == len(qualities) else pictures[packed]
    b, p, _, height, width = chosen.shape
    matrix = _matrix(pictures)
    ycc = torch.einsum("dc,bpchw->dbphw", matrix, chosen).flatten(1, 2).mul_(255.0)
    ycc = functional.pad(ycc, (0, -width % 16, 0, -height % 16), mode="replicate")
    tables = pictures.new_tensor(np.stack([quality_tables(qualities[n]) for n in packed]))
    tables = tables.repeat_interleave(p, dim=0)
    luma = _through_blocks(ycc[0] - 128.0, tables[:, 0]) + 128.0
    colour = functional.avg_pool2d(ycc[1:], 2).flatten(0, 1)
    colour = _through_blocks(colour, tables[:, 1].repeat(2, 1))
    colour = functional.interpolate(
        colour[:, None], scale_factor=2, mode="bilinear", align_corners=False
    )
    ycc = torch.cat([luma[None], colour.reshape(2, b * p, *luma.shape[1:])])
    back = torch.einsum("cd,dnhw->nchw", matrix.inverse(), ycc[..., :height, :width])
    back = back.mul_(1.0 / 255.0).clamp_(0.0, 1.0).reshape(chosen.shape)
    if chosen is pictures:
        return back
    pictures = pictures.clone()
    pictures[packed] = back
    return pictures


@lru_cache(maxsize=128)
def quality_tables(quality: int) -> F32:
    """Give the steps of luma and colours ``(2, 64)`` at a quality of 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    chroma = np.full((8, 8), 99)
    chroma[:4, :4] = _CHROMA_CORNER
    steps = (np.stack([np.array(_LUMA_TABLE), chroma]) * scale + 50) // 100
    return np.asarray(np.clip(steps, 1, 255).reshape(2, 64), np.float32)


def _matrix(like: Tensor) -> Tensor:
    return like.new_tensor(_YCC_FROM_RGB)


@lru_cache(maxsize=1)
def _cosines() -> F32:
    """Give the 2D transform of a block as a matrix ``(64, 64)``; its transpose is the way back."""
    k, n = np.mgrid[0:8, 0:8]
    once = np.cos(math.pi * (2 * n + 1) * k / 16) * np.where(k == 0, math.sqrt(1 / 8), 0.5)
    return np.asarray(np.kron(once, once), np.float32)


def _through_blocks(planes: Tensor, steps: Tensor) -> Tensor:
    """Quantise planes ``(N, H, W)``, sides multiples of 8, by steps ``(N, 64)``."""
    n, height, width = planes.shape
    blocks = planes.reshape(n, height // 8, 8, width // 8, 8).transpose(2, 3).reshape(n, -1, 64)
    cosines = torch.as_tensor(_cosines(), device=planes.device)
    parts = (blocks @ cosines.T).div_(steps[:, None]).round_().mul_(steps[:, None])
    blocks = (parts @ cosines).reshape(n, height // 8, width // 8, 8, 8)
    return blocks.transpose(2, 3).reshape(n, height, width)
