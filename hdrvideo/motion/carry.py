"""Where the layers of a crop were in the crop before: a hand with its hidden part, and its ground.

Pictures show the motion of what hides a thing, not the thing's own. So motion is looked for in the
pictures where a layer is seen in both of them, and spread from there over what is hidden of it.
Measured on made clips of split test at 128 px, in the hand's hidden part (192 pairs of frames, mean
error in px): no motion 1.81, what the pictures show there 1.61, spread 0.89, a similarity 0.92, an
affine 1.07; spread from the joints (Gaussian, 16 px) 0.39 if they are true, 0.84 if each is off by
1.5 px, 1.46 if by 3 px, as those of hidden fingers are. So joints are not asked.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from hdrvideo.datatypes import check_array
from hdrvideo.geometry import F64, invert_affine
from hdrvideo.motion.flow import CropPair, FlowEngine
from hdrvideo.spreading import spread

# Layers of a crop: the hand, and what lies behind both hands.
N_LAYERS: Final = 2
_HALVINGS: Final = 6


@dataclass(frozen=True)
class View:
    """B crops, and what of each layer they show.

    Attributes:
        rgb: ``(B, 3, R, R)`` float32 0..1.
        sees: ``(B, 2, R, R)`` float32 0 or 1, where the hand and the ground are seen for sure.
        frame_from_crop: ``(B, 2, 3)`` float64, crop pixels to frame pixels.
    """

    rgb: Tensor
    sees: Tensor
    frame_from_crop: F64

    def __post_init__(self) -> None:
        b, _, r, _ = self.rgb.shape
        check_array("rgb", self.rgb, (b, 3, r, r), "float32")
        check_array("sees", self.sees, (b, N_LAYERS, r, r), "float32")
        check_array("frame_from_crop", self.frame_from_crop, (b, 2, 3), "float64")


@dataclass(frozen=True)
class LayerMotion:
    """Where the layers of B crops were in the crops before.

    Attributes:
        place_px: ``(B, 2, R, R, 2)`` float32, place of each pixel in the crop before, by layer.
        trust: ``(B, 2, R, R)`` float32 0..1.
    """

    place_px: Tensor
    trust: Tensor

    def __post_init__(self) -> None:
        b, _, r, _ = self.trust.shape
        check_array("place_px", self.place_px, (b, N_LAYERS, r, r, 2), "float32")
        check_array("trust", self.trust, (b, N_LAYERS, r, r), "float32")


def find_motion(flow: FlowEngine, now: View, before: View) -> LayerMotion:
    """Find the layers' motion from crops to those before.

    The crops before are first cut again in the squares of now, so that only what moved in the frame
    is left to be found.

    Args:
        flow: Finds motion in pictures.
        now: The crops.
        before: As many crops of the frame before, of the same size.
    """
    aligned, affines = _aligned(now, before)
    found = flow(CropPair(now.rgb.contiguous(), aligned[:, :3].contiguous()))
    b, r = len(now.rgb), int(now.rgb.shape[-1])
    weight = now.sees * (aligned[:, 3:] > 0.5) * found.trust[:, None]
    values = torch.cat([found.uv_px.permute(0, 3, 1, 2), found.trust[:, None]], dim=1)
    values = values[:, None].expand(-1, N_LAYERS, -1, -1, -1).flatten(0, 1)
    halvings = min(_HALVINGS, (r & -r).bit_length() - 1)
    filled = spread(values, weight.flatten(0, 1)[:, None], halvings).view(b, N_LAYERS, 3, r, r)
    place_px = _places(filled[:, :, :2].permute(0, 1, 3, 4, 2), affines)
    return LayerMotion(place_px, filled[:, :, 2].clamp(0, 1))


def find_shown(flow: FlowEngine, now: View, before: View) -> tuple[Tensor, Tensor]:
    """Find the motion that pictures show, whatever it is of, from crops to those before.

    Args:
        flow: Finds motion in pictures.
        now: The crops.
        before: As many crops of the frame before, of the same size.

    Returns:
        Place of each pixel in the crop before ``(B, R, R, 2)``, and trust ``(B, R, R)`` 0..1, 0
        where nothing is known.
    """
    aligned, affines = _aligned(now, before)
    found = flow(CropPair(now.rgb.contiguous(), aligned[:, :3].contiguous()))
    way = torch.where(found.uv_px.isfinite(), found.uv_px, 0.0)
    return _places(way[:, None], affines)[:, 0], found.trust


def _places(way: Tensor, affines: F64) -> Tensor:
    """Give places in the crops before ``(B, L, R, R, 2)`` from ways in those cut anew."""
    lines = torch.arange(way.shape[2], dtype=torch.float32)
    there = torch.stack(torch.meshgrid(lines, lines, indexing="xy"), dim=-1) + way
    turns = torch.from_numpy(affines.astype(np.float32))
    place_px = torch.einsum("blhwi,bji->blhwj", there, turns[:, :, :2])
    return place_px + turns[:, None, None, None, :, 2]


def _aligned(now: View, before: View) -> tuple[Tensor, F64]:
    """Cut crops before anew in the squares of now: ``(B, 5, R, R)``, and the affines to them."""
    size = 2 * (int(now.rgb.shape[-1]),)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut, affines = [], []
    pairs = zip(now.frame_from_crop, before.frame_from_crop, strict=True)
    for rgb, sees, (ours, theirs) in zip(before.rgb, before.sees, pairs, strict=True):
        back = invert_affine(theirs)
        affine = back[:, :2] @ ours
        affine[:, 2] += back[:, 2]
        parts = [
            cv2.warpAffine(
                np.ascontiguousarray(part.permute(1, 2, 0).numpy()),
                *(affine, size),
                flags=flags,
                borderMode=border,
            )
            for part, border in ((rgb, cv2.BORDER_REPLICATE), (sees, cv2.BORDER_CONSTANT))
        ]
        cut.append(np.concatenate(parts, axis=2).transpose(2, 0, 1))
        affines.append(affine)
    return torch.from_numpy(np.stack(cut)), np.stack(affines)
