"""What runs HDRM: hands are painted frame by frame, or with what is remembered of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import check_array
from hdrvideo.frame.hdrm import compose, needs_painting


@dataclass(frozen=True)
class BareHands:
    """What HDRM makes of a batch of crops.

    Attributes:
        rgb: ``(B, 3, R, R)`` float32 in 0..1, each hand whole and alone.
        is_painted: ``(B,)`` bool; the others are the crops as they came.
    """

    rgb: Tensor
    is_painted: Tensor

    def __post_init__(self) -> None:
        b, _, h, w = self.rgb.shape
        check_array("rgb", self.rgb, (b, 3, h, w), "float32")
        check_array("is_painted", self.is_painted, (b,), "bool")


class Hdrm:
    """The net with whatever runs it: only hands that have something to paint go through it."""

    def __init__(
        self, net: Callable[[Tensor], Any], *, resolution_px: int, device: torch.device
    ) -> None:
        """Take a net as :class:`HdrmNet`, what side its crops have, and where it runs."""
        self.resolution_px = resolution_px
        self._net = net
        self._device = device

    def __call__(self, rgb: Tensor, masks: Tensor) -> BareHands:
        """Paint crops of any size; the net sees them at its own.

        Args:
            rgb: ``(B, 3, S, S)`` float32 in 0..1.
            masks: ``(B, 4, S, S)`` float32; see :func:`find_regions`.

        Returns:
            The crops on the CPU, at their own size; what is painted has the net's detail.

        Raises:
            ShapeError: The shapes do not fit.
        """
        b, _, side, _ = rgb.shape
        check_array("rgb", rgb, (b, 3, side, side), "float32")
        check_array("masks", masks, (b, 4, side, side), "float32")
        rgb = rgb.cpu()
        with torch.inference_mode():
            seen = self._resized(torch.cat([rgb, masks.cpu()], dim=1))
            is_painted = needs_painting(seen[:, 3:])
            bare = rgb.clone()
            if bool(is_painted.any()):
                painted, weight = self._net(seen[is_painted].to(self._device))
                there = torch.cat([painted, weight], dim=1).float().cpu()
                if side != self.resolution_px:
                    there = functional.interpolate(there, size=(side, side), mode="bilinear")
                bare[is_painted] = compose(rgb[is_painted], there[:, :3], there[:, 3:])
        return BareHands(bare.clone(), is_painted.clone())

    def _resized(self, crops: Tensor) -> Tensor:
        if crops.shape[-1] == self.resolution_px:
            return crops
        size = (self.resolution_px, self.resolution_px)
        return functional.interpolate(crops, size=size, mode="bilinear", antialias=True)
