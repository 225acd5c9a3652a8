"""What runs HDRM: hands are painted frame by frame, or with what is remembered of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import HandCrops, check_array
from hdrvideo.frame.hdrm import compose, find_regions, layers_seen, needs_painting
from hdrvideo.geometry import F64


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
            masks: ``(B, 4, S, S)`` float32; see :func:`hdrvideo.frame.hdrm.find_regions`.

        Returns:
            The crops on the CPU, at their own size; what is painted has the net's detail.

        Raises:
            ShapeError: The shapes do not fit.
        """
        with torch.inference_mode():
            rgb, seen = _seen(rgb, masks, self.resolution_px)
            is_painted = needs_painting(seen[:, 3:])
            bare = rgb.clone()
            if bool(is_painted.any()):
                painted, weight = self._net(seen[is_painted].to(self._device))
                bare[is_painted] = _laid_over(rgb[is_painted], painted.cpu(), weight.cpu())
        return BareHands(bare.clone(), is_painted.clone())


class Memory(Protocol):
    """What a memory must offer; see ``motion/steady.py``. What it remembers is its own affair."""

    def begin(self, seen: Tensor, sees: Tensor, frame_from_crop: F64) -> Any:
        """Remember what one crop shows that was not painted."""

    def paint(
        self,
        seen: Tensor,
        sees: Tensor,
        frame_from_crop: F64,
        before: Sequence[Any],
    ) -> tuple[Any, list[Any]]:
        """Give what is painted (``rgb`` and ``weight``), and what is to be remembered."""


class SteadyHdrm:
    """HDRM with a memory: hands are painted frame after frame, and agree with those before them."""

    def __init__(self, memory: Memory, *, resolution_px: int) -> None:
        """Take a memory, and the side that its crops have."""
        self.resolution_px = resolution_px
        self._memory = memory

    def __call__(self, crops: HandCrops, before: Sequence[Any]) -> tuple[BareHands, list[Any]]:
        """Paint crops of any size.

        Args:
            crops: With masks.
            before: One a crop: what was remembered of it in the frame before; or, where nothing
                of it was painted, its crop there with masks; None = nothing is remembered.

        Returns:
            The bare hands, and what is to be remembered of each; None where nothing was painted.
        """
        after: list[Any] = [None] * len(before)
        with torch.inference_mode():
            rgb, seen = _seen(crops.rgb, crops.masks, self.resolution_px)
            regions = find_regions(seen[:, 3:])
            sees = layers_seen(regions)
            is_painted = regions.needed
            bare = rgb.clone()
            at = is_painted.nonzero().flatten().tolist()
            if at:
                affines = _rescaled(crops.frame_from_crop, crops.rgb.shape[-1], self.resolution_px)
                pasts = [self._begun(before[k]) for k in at]
                answer, kept = self._memory.paint(seen[at], sees[at], affines[at], pasts)
                bare[at] = _laid_over(rgb[at], answer.rgb, answer.weight)
                for k, past in zip(at, kept, strict=True):
                    after[k] = past
        return BareHands(bare.clone(), is_painted.clone()), after

    def _begun(self, before: Any) -> Any:
        if not isinstance(before, HandCrops):
            return before
        _, seen = _seen(before.rgb, before.masks, self.resolution_px)
        sees = layers_seen(find_regions(seen[:, 3:]))
        affines = _rescaled(before.frame_from_crop, before.rgb.shape[-1], self.resolution_px)
        return self._memory.begin(seen, sees, affines)


class RowMemory(Protocol):
    """What a memory that looks ahead must offer; see ``motion/ahead.py``."""

    def paint(
        self,
        seen: Tensor,
        frame_from_crop: F64,
        look: Callable[[Tensor], tuple[Tensor, Tensor]],
        wanted: Sequence[int],
    ) -> dict[int, Any]:
        """Give what is painted (``rgb`` and ``weight``), by place in the row."""


class AheadHdrm:
    """HDRM with a memory that looks ahead: a row of one hand's crops is painted as a whole."""

    def __init__(self, memory: RowMemory, *, resolution_px: int) -> None:
        """Take a memory, and the side that its crops have."""
        self.resolution_px = resolution_px
        self._memory = memory

    def __call__(self, crops: Iterable[HandCrops], wanted: Sequence[int]) -> dict[int, Tensor]:
        """Paint some crops of a row.

        Args:
            crops: One hand in frames in a row, one crop at a time, with masks.
            wanted: Places in the row of those that are to be painted.

        Returns:
            Bare hands ``(3, S, S)`` float32 in 0..1 on the CPU, by place in the row.
        """
        kept, seen, affines = {}, [], []
        with torch.inference_mode():
            for place, crop in enumerate(crops):
                rgb, told = _seen(crop.rgb, crop.masks, self.resolution_px)
                side = crop.rgb.shape[-1]
                affines.append(_rescaled(crop.frame_from_crop, side, self.resolution_px))
                seen.append(told)
                if place in wanted:
                    kept[place] = rgb
            row, at = torch.cat(seen), np.concatenate(affines)
            answers = self._memory.paint(row, at, _look, wanted)
            bare = {k: _laid_over(kept[k], a.rgb, a.weight)[0] for k, a in answers.items()}
        return {place: rgb.clone() for place, rgb in bare.items()}


def _look(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Say of crops with masks where each layer is seen, and which have something to paint."""
    regions = find_regions(seen[:, 3:])
    return layers_seen(regions), regions.needed


def _seen(rgb: Tensor, masks: Tensor, resolution_px: int) -> tuple[Tensor, Tensor]:
    """Give crops on the CPU, and with masks at a net's own size."""
    b, _, side, _ = rgb.shape
    check_array("rgb", rgb, (b, 3, side, side), "float32")
    check_array("masks", masks, (b, 4, side, side), "float32")
    rgb = rgb.cpu()
    seen = torch.cat([rgb, masks.cpu()], dim=1)
    if side != resolution_px:
        size = (resolution_px, resolution_px)
        seen = functional.interpolate(seen, size=size, mode="bilinear", antialias=True)
    return rgb, seen


def _laid_over(rgb: Tensor, painted: Tensor, weight: Tensor) -> Tensor:
    """Lay what a net painted at its own size over crops of any size."""
    there = torch.cat([painted, weight], dim=1).float()
    side = rgb.shape[-1]
    if side != there.shape[-1]:
        there = functional.interpolate(there, size=(side, side), mode="bilinear")
    return compose(rgb, there[:, :3], there[:, 3:])


def _rescaled(frame_from_crop: F64, side_px: int, resolution_px: int) -> F64:
    """Give affines ``(B, 2, 3)`` from pixels of crops of another size."""
    scale = side_px / resolution_px
    affines = np.array(frame_from_crop)
    # Pixel centres: u = (u_own + 0.5) scale - 0.5.
    affines[..., 2] += (affines[..., :2] * (0.5 * scale - 0.5)).sum(axis=-1)
    affines[..., :2] *= scale
    return affines
