"""What rivals leave unsaid and a stage must say: size, confidence, presence and side."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.frame.detmaps import chance_right
from hdrvideo.frame.shpe import CropPoses, LandmarkNet
from hdrvideo.hand import ADULT_BONES_MM, KNUCKLES, PARENTS, WRIST

# A hand seen askew still has a palm of this part of its extent.
_LEAST_PALM: Final = 0.35
# Of the summed squares of bones, at least this part lies across the line of sight.
_LEAST_ACROSS: Final = 0.05
_LEAST_PALMS: Final = 1e-3


def with_depth(uv_px: Tensor, z_mm: Tensor) -> Tensor:
    """Give hands in space from joints in a picture and their depths: 2.5D to 3D.

    InterNet's paper takes each hand's distance from another net (RootNet), whose answers exist for
    the frames of InterHand2.6M only. Here a hand is as large as an adult's and seen from afar: one
    scale for all of it, such that its bones have an adult's lengths by least squares.

    Args:
        uv_px: ``(..., 21, 2)``.
        z_mm: ``(..., 21)`` from the wrist.

    Returns:
        ``(..., 21, 3)`` from the wrist in mm.
    """
    starts = list(PARENTS[1:])
    bones_px = uv_px[..., 1:, :] - uv_px[..., starts, :]
    deep_mm = z_mm[..., 1:] - z_mm[..., starts]
    whole = sum(length**2 for length in ADULT_BONES_MM)
    across = (whole - deep_mm.square().sum(dim=-1)).clamp(min=_LEAST_ACROSS * whole)
    seen = bones_px.square().sum(dim=(-2, -1)).clamp(min=1e-6)
    scale = (across / seen).sqrt()
    xyz_mm = torch.cat([uv_px * scale[..., None, None], z_mm[..., None]], dim=-1)
    return xyz_mm - xyz_mm[..., WRIST : WRIST + 1, :]


def log_error_palms(spread_px: Tensor, uv_px: Tensor) -> Tensor:
    """Take the spread of joints' heat for the error to expect, ``(..., 21)``, log of palm lengths.

    The published nets say nothing of their errors.

    Args:
        spread_px: ``(..., 21)`` standard deviation of each joint's heat, of u and v together.
        uv_px: ``(..., 21, 2)`` joints, of which the palm is taken.
    """
    knuckles = uv_px[..., list(KNUCKLES), :] - uv_px[..., WRIST : WRIST + 1, :]
    palm_px = knuckles.norm(dim=-1).mean(dim=-1)
    span_px = (uv_px.amax(dim=-2) - uv_px.amin(dim=-2)).amax(dim=-1)
    palm_px = torch.maximum(palm_px, _LEAST_PALM * span_px).clamp(min=1.0)
    return (spread_px / palm_px[..., None]).clamp(min=_LEAST_PALMS).log()


class JudgedShpe:
    """A reader of one hand's crop behind the SHPE interface.

    HandOccNet and minimal-hand take for granted that there is a hand, and whose: presence and side
    are the landmark net's, as our own SHPE's are.
    """

    def __init__(
        self,
        reader: Callable[[Tensor], Any],
        *,
        resolution_px: int,
        judge: Callable[[Tensor], Any],
    ) -> None:
        """Join what runs the nets.

        Args:
            reader: Gives joints in the crop ``(B, 21, 2)`` px, in space ``(B, 21, 3)`` mm, and the
                log of the expected 2D error ``(B, 21)`` in palm lengths.
            resolution_px: Side of the crops.
            judge: Runs a :class:`LandmarkNet`.
        """
        self.resolution_px = resolution_px
        self._reader = reader
        self._judge = judge

    def __call__(self, rgb: Tensor) -> CropPoses:
        """Read ``(B, 3, R, R)`` crops in 0..1."""
        uv_px, xyz_mm, log_error = self._reader(rgb)
        size = (LandmarkNet.RESOLUTION_PX, LandmarkNet.RESOLUTION_PX)
        if rgb.shape[-2:] != size:
            rgb = functional.interpolate(
                rgb, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        _, presence, looks_right, _ = self._judge(rgb)
        return CropPoses(
            uv_crop_px=uv_px,
            xyz_crop_mm=xyz_mm,
            presence=presence,
            looks_right=looks_right,
            confidence=chance_right(log_error) * presence[:, None],
        )
