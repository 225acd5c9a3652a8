"""Squares round hands: cut masks and pictures out, lay what a net said of them back."""

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.frame.hasm import HandMasks

# Log odds are cut off where a float32 can no longer tell them apart.
_EPSILON = 1e-6


def boxes_of(masks: Tensor) -> Tensor:
    """Give the boxes ``(N, 4)`` of masks ``(N, H, W)`` bool: middle u, v, width, height in px.

    An empty mask's box is the picture.
    """
    n, height, width = masks.shape
    found = []
    for seen, size in ((masks.any(dim=1), width), (masks.any(dim=2), height)):
        places = torch.arange(size, device=masks.device).expand(n, size)
        is_there = seen.any(dim=1)
        low = torch.where(seen, places, size).amin(dim=1).where(is_there, 0)
        high = torch.where(seen, places, -1).amax(dim=1).where(is_there, size - 1)
        found.append(((low + high) / 2, (high - low + 1).float()))
    (u, w), (v, h) = found
    return torch.stack([u, v, w, h], dim=1)


def cut(maps: Tensor, squares: Tensor, side_px: int, *, mode: str = "bilinear") -> Tensor:
    """Cut squares out of maps; beyond a map's border there are zeros.

    Args:
        maps: ``(N, C, H, W)`` float32.
        squares: ``(N, 3)`` middle u, v and side in px; upright.
        side_px: Of what is cut out.
        mode: ``bilinear`` or ``nearest``.

    Returns:
        ``(N, C, R, R)``.
    """
    offsets = (torch.arange(side_px, device=maps.device) - (side_px - 1) / 2) / side_px
    u, v = (squares[:, k, None] + offsets * squares[:, 2, None] for k in (0, 1))
    return _sample(maps, u, v, mode)


def lay_back(crops: Tensor, squares: Tensor, height: int, width: int) -> Tensor:
    """Undo :func:`cut`: crops ``(N, C, R, R)`` become ``(N, C, H, W)``, 0 beyond the square."""
    side_px = crops.shape[-1]

    def places(middle: Tensor, size: int) -> Tensor:
        away = torch.arange(size, device=crops.device) - middle[:, None]
        return away * (side_px / squares[:, 2, None]) + (side_px - 1) / 2

    return _sample(crops, places(squares[:, 0], width), places(squares[:, 1], height), "bilinear")


def _sample(maps: Tensor, u: Tensor, v: Tensor, mode: str) -> Tensor:
    """Sample maps ``(N, C, H, W)`` at columns ``(N, w)`` and rows ``(N, h)`` in pixels."""
    height, width = maps.shape[-2:]
    x, y = (2 * u + 1) / width - 1, (2 * v + 1) / height - 1
    n, (rows, columns) = len(maps), (y.shape[1], x.shape[1])
    grid = torch.stack(
        [x[:, None].expand(n, rows, columns), y[:, :, None].expand(n, rows, columns)], dim=-1
    )
    return functional.grid_sample(maps, grid.to(maps.dtype), mode=mode, align_corners=False)


def masks_from(visible: Tensor, whole: Tensor) -> HandMasks:
    """Say what is known of masks as HASM says it; a hand is there if a pixel of it is.

    Args:
        visible: ``(B, 2, H, W)`` float32 0..1 probability that a pixel shows the hand.
        whole: Likewise, that it belongs to the whole hand; never less than ``visible``.
    """
    share = visible / whole.clamp(min=_EPSILON)
    is_there = (whole >= 0.5).flatten(2).any(dim=2).float()
    return HandMasks(*(part.logit(eps=_EPSILON) for part in (whole, share, is_there)))


def odds_from(probability: Tensor, cut_at: float) -> Tensor:
    """Move probabilities so that ``cut_at`` becomes one half, where all masks are cut here."""
    shift = torch.tensor(cut_at, dtype=probability.dtype).logit()
    return (probability.logit(eps=_EPSILON) - shift).sigmoid()
