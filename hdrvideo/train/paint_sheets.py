"""Painted hands to look at, and what OpenCV paints, to compare with."""

from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from hdrvideo.datatypes import U8

_COLUMNS: Final = 3
_TELEA_RADIUS_PX: Final = 3
# Own hand orange-red, the other blue.
_OWN_RGB, _OTHER_RGB = (1.0, 0.37, 0.12), (0.0, 0.67, 1.0)


def inpaint(rgb: Tensor, weight: Tensor) -> Tensor:
    """Fill a crop ``(3, R, R)`` where the weight ``(1, R, R)`` is not 0, by OpenCV's Telea."""
    rgb_u8 = (rgb.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    hole_u8 = (weight[0].numpy() > 0).astype(np.uint8)
    filled = cv2.inpaint(np.ascontiguousarray(rgb_u8), hole_u8, _TELEA_RADIUS_PX, cv2.INPAINT_TELEA)
    return torch.from_numpy(filled.astype(np.float32) / 255).permute(2, 0, 1)


def draw_paint_sheet(seen: Tensor, answer: Tensor, truth: Tensor) -> U8:
    """Draw four pictures for each crop: as seen, masks, painted, truth.

    Args:
        seen: ``(B, 7, R, R)`` as the net takes it.
        answer: ``(B, 3, R, R)``.
        truth: Likewise.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    rgb, own_visible, own, other = seen[:, :3], seen[:, 3:4], seen[:, 4:5], seen[:, 5:6]
    masks = 0.5 * rgb
    for mask, colour in ((own, _OWN_RGB), (other, _OTHER_RGB)):
        masks = torch.where(mask >= 0.5, 0.5 * rgb + 0.2 * _colour(colour), masks)
    masks = torch.where(own_visible >= 0.5, 0.5 * rgb + 0.5 * _colour(_OWN_RGB), masks)
    rows = torch.cat([rgb, masks, answer, truth], dim=3)
    blank = rows.new_zeros(-len(rows) % _COLUMNS, *rows.shape[1:])
    tiles = torch.cat([rows, blank])
    lines = tiles.reshape(-1, _COLUMNS, *rows.shape[1:])
    sheet = lines.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    return np.asarray((sheet.numpy() * 255).round().clip(0, 255).astype(np.uint8))


def _colour(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb).view(3, 1, 1)
