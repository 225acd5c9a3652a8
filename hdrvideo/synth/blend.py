"""The image work under ``paste``: batched moves, soft edges, filling in, and bringing light across.

An affine is ``(B, 2, 3)`` and takes pixels of the finished picture to pixels of the crop; an
integer is a pixel centre on both sides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.errors import ShapeError
from hdrvideo.hand import ADULT_BONES_MM, PARENTS
from hdrvideo.synth.crops import HandCrop

# Longer side of the box round a typical hand, half open.
BOX_MM: Final = 150.0
# Reinhard et al., "Color Transfer between Images" (2001): RGB to cone responses, and the axes of
# brightness, yellow-blue and red-green of their logarithms.
_LMS_FROM_RGB = ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444))
_LAB_FROM_LOG_LMS = (
    tuple(x / math.sqrt(3) for x in (1, 1, 1)),
    tuple(x / math.sqrt(6) for x in (1, 1, -2)),
    tuple(x / math.sqrt(2) for x in (1, -1, 0)),
)


@dataclass(frozen=True)
class Hands:
    """A batch of hand crops, stacked.

    Attributes:
        rgb: ``(B, 3, R, R)`` float32.
        mask: ``(B, R, R)`` bool.
        uv_px: ``(B, 21, 2)`` float32; NaN where not known.
        confidence: ``(B, 21)`` float32; 0 where not known.
        sources: Name of each.
        splits: Split of each.
    """

    rgb: Tensor
    mask: Tensor
    uv_px: Tensor
    confidence: Tensor
    sources: tuple[str, ...]
    splits: tuple[str, ...]


def stack_hands(
    crops: Sequence[HandCrop],
    index: NDArray[np.int64],
    sides: NDArray[np.int64],
    size_px: int,
) -> Hands:
    """Stack chosen crops, mirrored where they show the other side than wanted.

    Args:
        crops: All of them; only the chosen ones are read.
        index: ``(B,)`` which.
        sides: ``(B,)`` side that each is to show.
        size_px: Of the finished picture; crops at least twice as large are averaged down first.

    Raises:
        ShapeError: They differ in size.
    """
    chosen = [crops[int(i)] for i in index]
    chosen = [c if c.side == s else c.mirrored() for c, s in zip(chosen, sides, strict=True)]
    for crop in chosen:
        if crop.size_px != chosen[0].size_px:
            raise ShapeError(
                f"crop {crop.source} is {crop.size_px} px and {chosen[0].source} "
                f"{chosen[0].size_px} px; bring all crops to one size"
            )
    rgb = torch.stack([c.rgb for c in chosen])
    mask = torch.stack([c.mask for c in chosen])
    nan, zero = rgb.new_full((N_JOINTS, 2), math.nan), rgb.new_zeros(N_JOINTS)
    uv_px = torch.stack([nan if c.uv_px is None else c.uv_px for c in chosen])
    confidence = torch.stack([zero if c.confidence is None else c.confidence for c in chosen])
    shrink = max(chosen[0].size_px // size_px, 1)
    if shrink > 1:
        rgb = functional.avg_pool2d(rgb, shrink)
        mask = functional.avg_pool2d(mask[:, None].float(), shrink)[:, 0] >= 0.5
        uv_px = (uv_px + 0.5) / shrink - 0.5
    return Hands(
        rgb=rgb,
        mask=mask,
        uv_px=uv_px,
        confidence=confidence,
        sources=tuple(c.source for c in chosen),
        splits=tuple(c.split for c in chosen),
    )


def mask_boxes(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Give middles ``(B, 2)`` and longer sides ``(B,)`` of the boxes round ``(B, R, R)`` masks."""
    at = torch.arange(mask.shape[-1], device=mask.device, dtype=torch.float32)
    ends = []
    for axis in (1, 2):
        there = mask.any(dim=axis)
        low = torch.where(there, at, math.inf).amin(dim=1)
        high = torch.where(there, at, -math.inf).amax(dim=1)
        ends.append((low, high))
    (u0, u1), (v0, v1) = ends
    return torch.stack([u0 + u1, v0 + v1], dim=-1) / 2, torch.maximum(u1 - u0, v1 - v0) + 1


def pixels_per_mm(hands: Hands) -> Tensor:
    """Guess the scale ``(B,)`` of hands in their crops, for an adult's hand.

    From the least foreshortened bones; where joints are not known, from the mask's box.
    """
    child = list(range(1, N_JOINTS))
    bones_px = (hands.uv_px[:, child] - hands.uv_px[:, list(PARENTS[1:])]).norm(dim=-1)
    ratios = bones_px / bones_px.new_tensor(ADULT_BONES_MM)
    scale = torch.quantile(ratios, 0.9, dim=1)
    from_box = mask_boxes(hands.mask)[1] / BOX_MM
    return torch.where(scale.isfinite() & (scale > 0), scale, from_box)


def lay_affine(mask: Tensor, step: Tensor, turn_rad: Tensor, centre_px: Tensor) -> Tensor:
    """Give the affine that shows a mask so large, turned, and with its box's middle there.

    Args:
        mask: ``(B, R, R)`` bool.
        step: ``(B,)`` pixels of the crop for one of the picture.
        turn_rad: ``(B,)`` turn of the hand in the picture, clockwise.
        centre_px: ``(B, 2)`` place in the picture.

    Returns:
        ``(B, 2, 3)`` float32.
    """
    cos, sin = turn_rad.cos() * step, turn_rad.sin() * step
    linear = torch.stack([cos, sin, -sin, cos], dim=-1).reshape(-1, 2, 2)
    offset = mask_boxes(mask)[0] - (linear @ centre_px[..., None]).squeeze(-1)
    return torch.cat([linear, offset[..., None]], dim=-1)


def move_pictures(pictures: Tensor, affine: Tensor, size_px: int, *, outside: str) -> Tensor:
    """Take ``(B, C, R, R)`` into ``(B, C, H, W)``, bilinear.

    Args:
        pictures: Of the crops.
        affine: ``(B, 2, 3)``.
        size_px: H and W.
        outside: ``zeros``, or ``reflection`` of the crop about its border.
    """
    at = torch.arange(size_px, device=pictures.device, dtype=affine.dtype)
    v, u = torch.meshgrid(at, at, indexing="ij")
    places = torch.stack([u, v, torch.ones_like(u)], dim=-1) @ affine.mT[:, None]
    grid = 2 * places / (pictures.shape[-1] - 1) - 1
    return functional.grid_sample(pictures, grid, padding_mode=outside, align_corners=True)


def soft_masks(mask: Tensor, affine: Tensor, size_px: int, *, outside: str = "zeros") -> Tensor:
    """Take masks ``(B, R, R)`` into ``(B, H, W)`` float32 cover, 0..1."""
    return move_pictures(mask[:, None].float(), affine, size_px, outside=outside)[:, 0]


def move_joints(uv_px: Tensor, affine: Tensor) -> Tensor:
    """Take joints ``(B, 21, 2)`` of crops to the pictures."""
    back: Tensor = torch.linalg.inv(affine[..., :2].double())
    moved: Tensor = (uv_px - affine[:, None, :, 2]).double() @ back.mT
    return moved.float()


def alpha_of(cover: Tensor, feather_px: float) -> Tensor:
    """Give how solid a cut-out is, from its cover ``(B, H, W)``.

    The ramp lies inside the mask (cover at least a half), so nothing of the crop's own background
    comes along.
    """
    hard = (cover >= 0.5).float()
    if feather_px == 0:
        return hard
    reach = math.ceil(2 * feather_px)
    at = torch.arange(-reach, reach + 1, device=cover.device, dtype=cover.dtype)
    weights = torch.exp(-2 * (at / feather_px) ** 2)
    weights = (weights / weights.sum())[None, None]
    blurred = functional.pad(hard[:, None], (reach,) * 4, mode="replicate")
    blurred = functional.conv2d(blurred, weights[:, :, None])
    blurred = functional.conv2d(blurred, weights[..., None])[:, 0]
    ramp = (2 * blurred - 1).clamp(0, 1)
    # A sum of weights is not quite one; what is inside is solid.
    return torch.where(ramp > 0.999, 1.0, ramp) * hard


def grow(mask: Tensor, px: int) -> Tensor:
    """Grow bool masks ``(B, H, W)`` by a square of ``px`` to each side."""
    grown = functional.max_pool2d(mask[:, None].float(), 2 * px + 1, stride=1, padding=px)
    return grown[:, 0] > 0


def fill_unknown(rgb: Tensor, known: Tensor) -> Tensor:
    """Fill pixels ``(B, 3, H, W)`` that are not ``known`` ``(B, H, W)`` smoothly from around.

    Averages of what is known, level by level of a pyramid: quick and plain, no guess at structure.
    """
    weight = known[:, None].to(rgb.dtype)
    levels = [(rgb * weight, weight)]
    while max(weight.shape[-2:]) > 1:
        colour, weight = (functional.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1])
        levels.append((colour, weight))
    colour, weight = levels.pop()
    filled = colour / weight.clamp(min=1e-9)
    for colour, weight in reversed(levels):
        above = functional.interpolate(filled, size=colour.shape[-2:], mode="bilinear")
        filled = torch.where(weight > 0, colour / weight.clamp(min=1e-9), above)
    return torch.where(known[:, None], rgb, filled)


def match_light(hands: Hands, like: Hands, where: Tensor) -> Hands:
    """Give hands the mean colour and contrast of other hands (Reinhard's transfer, 2001).

    Args:
        hands: What is changed.
        like: Whose skin and light they take on.
        where: ``(B,)`` bool; the others stay.
    """
    colours, wanted = _opponent(hands.rgb), _opponent(like.rgb)
    mean, spread = _mean_and_spread(colours, hands.mask)
    new_mean, new_spread = _mean_and_spread(wanted, like.mask)
    # More than twofold would lift noise and blocks of the file into sight.
    factor = (new_spread / spread.clamp(min=1e-6)).clamp(0.5, 2)
    moved = (colours - mean[..., None, None]) * factor[..., None, None] + new_mean[..., None, None]
    rgb = _rgb_from_opponent(moved)
    return replace(hands, rgb=torch.where(where[:, None, None, None], rgb, hands.rgb))


def _mean_and_spread(colours: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    weight = mask[:, None].to(colours.dtype)
    n = weight.sum(dim=(2, 3)).clamp(min=1)
    mean = (colours * weight).sum(dim=(2, 3)) / n
    square = ((colours - mean[..., None, None]) ** 2 * weight).sum(dim=(2, 3)) / n
    return mean, square.sqrt()


def _opponent(rgb: Tensor) -> Tensor:
    lms = torch.einsum("ij,bjhw->bihw", rgb.new_tensor(_LMS_FROM_RGB), rgb)
    return torch.einsum(
        "ij,bjhw->bihw", rgb.new_tensor(_LAB_FROM_LOG_LMS), lms.clamp(1 / 255).log()
    )


def _rgb_from_opponent(colours: Tensor) -> Tensor:
    # Both matrices are inverted in full precision: the published inverse is rounded.
    log_lms = torch.linalg.inv(torch.tensor(_LAB_FROM_LOG_LMS, dtype=torch.float64)).to(colours)
    rgb = torch.linalg.inv(torch.tensor(_LMS_FROM_RGB, dtype=torch.float64)).to(colours)
    lms = torch.einsum("ij,bjhw->bihw", log_lms, colours).exp()
    return torch.einsum("ij,bjhw->bihw", rgb, lms).clamp(0, 1)
