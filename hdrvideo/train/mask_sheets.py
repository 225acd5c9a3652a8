"""Masks of two hands to look at, without pictures."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from hdrvideo.datatypes import U8

_COLUMNS: Final = 4
# Right orange-red, left blue, as in the review pictures.
_SIDE_RGB: Final = ((1.0, 0.37, 0.12), (0.0, 0.67, 1.0))
_SEEN, _HIDDEN, _GROUND = 1.0, 0.45, 0.1


def draw_mask_sheet(visible: Tensor, known: Tensor, said: Tensor) -> U8:
    """Draw three panes for each picture: what is seen, the truth, what was said.

    Hidden parts are a darker shade; where hands lie over one another the colours are mixed.

    Args:
        visible: ``(B, 2, H, W)`` 0..1.
        known: ``(B, 2, H, W)`` 0..1 whole masks.
        said: Likewise.

    Returns:
        ``(H', W', 3)`` uint8 RGB.
    """
    panes = torch.cat([_painted(visible, whole) for whole in (visible, known, said)], dim=3)
    blank = panes.new_zeros(-len(panes) % _COLUMNS, *panes.shape[1:])
    lines = torch.cat([panes, blank]).reshape(-1, _COLUMNS, *panes.shape[1:])
    sheet = lines.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    return np.asarray((sheet.numpy() * 255).round().clip(0, 255).astype(np.uint8))


def _painted(visible: Tensor, whole: Tensor) -> Tensor:
    seen, there = (visible >= 0.5).float(), (whole >= 0.5).float()
    strength = torch.maximum(_SEEN * seen, _HIDDEN * there)
    colours = torch.tensor(_SIDE_RGB)
    mixed = torch.einsum("bshw,sc->bchw", strength, colours)
    return (mixed / strength.sum(dim=1, keepdim=True).clamp(min=1) + _GROUND).clamp(max=1)
