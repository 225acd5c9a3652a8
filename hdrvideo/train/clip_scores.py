"""Scores of bare hands painted in a row of crops: how true they are, and how much they flicker."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.frame.hdrm import find_regions
from hdrvideo.train.clip_crops import ClipCrops
from hdrvideo.train.paint_losses import l1_in

_LEAST_PX = 200
_MAX_PSNR_DB = 60.0


def warp_error(now: Tensor, before: Tensor, before_px: Tensor, where: Tensor) -> Tensor:
    """Give the warp error: mean absolute difference from the picture before along true motion.

    Args:
        now: ``(B, 3, R, R)``.
        before: ``(B, 3, R, R)`` of the frame before.
        before_px: ``(B, R, R, 2)`` way of each pixel to its place there; NaN where not known.
        where: ``(B, 1, R, R)`` pixels that count.
    """
    r = now.shape[-1]
    lines = torch.arange(r, dtype=now.dtype, device=now.device)
    here = torch.stack(torch.meshgrid(lines, lines, indexing="xy"), dim=-1)
    place = here + before_px
    is_known = ((place >= 0) & (place <= r - 1)).all(dim=-1)
    share = torch.where(is_known[..., None], (2 * place + 1) / r - 1, 0.0)
    then = functional.grid_sample(before, share, padding_mode="border", align_corners=False)
    return l1_in(now, then, where * is_known[:, None])


def clip_scores(bare: Tensor, crops: ClipCrops) -> dict[str, float]:
    """Score one hand's row of crops; regions are those of the true masks.

    Args:
        bare: ``(T, 3, R, R)`` 0..1, as painted.
        crops: The truth.

    Returns:
        ``hole_l1`` over both holes, ``uncovered_l1`` and ``removed_l1`` over one, ``hole_psnr_db``
        of both holes over all frames, ``psnr_db`` of whole crops, mean over frames, both at most
        60, and ``flicker``, the warp error in the hand's hidden part. NaN where a region has fewer
        than 200 pixels in all frames together.
    """
    truth = torch.from_numpy(crops.truth)
    regions = find_regions(torch.from_numpy(crops.exact))
    both = regions.uncover + regions.remove
    mean_square = (bare - truth).square().mean(dim=(1, 2, 3))
    in_holes = ((bare - truth).square() * both).sum() / (3 * both.sum()).clamp(min=1)
    later = regions.uncover[1:]
    before_px = torch.from_numpy(crops.before_px[1:])
    scores = {
        "hole_l1": (l1_in(bare, truth, both), both),
        "uncovered_l1": (l1_in(bare, truth, regions.uncover), regions.uncover),
        "removed_l1": (l1_in(bare, truth, regions.remove), regions.remove),
        "hole_psnr_db": (_psnr_db(in_holes), both),
        "flicker": (warp_error(bare[1:], bare[:-1], before_px, later), later),
    }
    found = {
        name: float(value) if float(where.sum()) >= _LEAST_PX else float("nan")
        for name, (value, where) in scores.items()
    }
    found["psnr_db"] = float(_psnr_db(mean_square).mean())
    return found


def mean_scores(found: list[dict[str, float]]) -> dict[str, float]:
    """Give the mean of hands' scores, of each over the hands that have it."""
    return {name: float(np.nanmean([f[name] for f in found])) for name in found[0]}


def _psnr_db(mean_square: Tensor) -> Tensor:
    return (-10 * mean_square.clamp(min=1e-12).log10()).clamp(max=_MAX_PSNR_DB)
