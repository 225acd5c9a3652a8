"""HDRM, hand de-occlusion and removal: a crop of a hand in, the same hand whole and alone out.

After Meng et al., "3D Interacting Hand Pose Estimation by Hand De-occlusion and Removal" (ECCV
2022), section 3.3, and its released network: one U-net of partial convolutions over two erased
copies of the crop, joined along the channels. ``I_D`` has the hand's hidden part blanked and comes
with the mask of what is seen of it (``M_rv``); ``I_R`` has the other hand blanked and comes with
the mask of the background (``M_bv``). Transformer blocks stand at the paper's four places.
Departures, with their reasons:

* Partial convolutions multiply by ``sum(1) / sum(M)`` as the paper's equation says; the released
  ones divide by ``sum(M)`` alone, which starts first and last layer some hundred times too small.
* The two holes never overlap, so after the first layer no window is empty and all masks are 1 (so
  in the released code, too). Masks are therefore kept where they matter, in the first and the last
  layer; elsewhere only the border is made up for.
* Group norms where the paper has batch norms: a batch gives what single crops give.
* Erased is the *visible* part of the other hand (paper, equation 4; the released demo: all of it),
  grown a little into the background: the rim that a coarse mask leaves over would bleed in.
* Slivers of a hidden part narrower than three pixels are no hidden part but a coarse mask.
* Too little to paint is nothing to paint, by one rule inside the net (:func:`needs_painting`), so
  that leaving out such hands changes nothing.
* What is painted is a difference from what lies near: the hidden part is first filled from the
  hand's seen pixels, the other hand's place from the background's (:func:`spread`). The released
  net paints from nothing, for which two cores have no time.
* The seam of what is painted is soft; outside it the crop stays as it is, bit for bit. (Released:
  a hole grown by 9x9 of 256 pixels with a hard edge.)
* ``SMALL`` is narrow, ends at 2x2 cells and joins a skip by 1x1 convolutions before its 3x3 one,
  so that two cores can run and train it; ``PAPER`` has the released widths.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.frame.blocks import GroupNorm
from hdrvideo.frame.partial import PartialConv2d, TransformerBlock
from hdrvideo.spreading import spread

_GROUPS: Final = 8
_SLOPE: Final = 0.2
# The last layer begins so much smaller: the net begins with what lies near.
_FIRST_SHARE: Final = 0.1
# ImageNet's; what is erased becomes 0, the mean colour.
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)
# Part of the crop that must be hidden or the other hand's.
LEAST_SHARE: Final = 0.005
# RGB, then own_visible, own_amodal, other_visible, other_amodal.
N_CHANNELS: Final = 7
# Takes the number of a stage of the encoder, from 1, and its features, and gives them changed.
Fuse = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class BlockSize:
    """A transformer block behind stage ``stage`` (from 1); see :class:`TransformerBlock`."""

    stage: int
    heads: int
    mlp_ratio: int
    reduction: int


@dataclass(frozen=True)
class HdrmSize:
    """A size of the net.

    Attributes:
        resolution_px: Side of its crops.
        grow_px: By so much holes grow before they are painted.
        encoder: Channels and kernel of each stage; stages halve the map. A stage of the decoder
            gives the channels of the encoder stage before.
        squeezed: Decoder stages bring features and skip to their own width before they convolve.
        encoder_blocks: Transformer blocks behind stages of the encoder.
        decoder_blocks: The same of the decoder.
    """

    resolution_px: int
    grow_px: int
    encoder: tuple[tuple[int, int], ...]
    squeezed: bool
    encoder_blocks: tuple[BlockSize, ...]
    decoder_blocks: tuple[BlockSize, ...]


SMALL: Final = HdrmSize(
    resolution_px=128,
    grow_px=2,
    encoder=((24, 5), (48, 3), (96, 3), (128, 3), (160, 3), (160, 3)),
    squeezed=True,
    encoder_blocks=(BlockSize(3, 2, 2, 2), BlockSize(5, 4, 2, 1)),
    decoder_blocks=(BlockSize(5, 4, 2, 1), BlockSize(3, 2, 1, 4)),
)
PAPER: Final = HdrmSize(
    resolution_px=256,
    grow_px=4,
    encoder=((64, 7), (128, 5), (256, 5), *((512, 3),) * 5),
    squeezed=False,
    encoder_blocks=(BlockSize(3, 2, 8, 4), BlockSize(5, 8, 4, 1)),
    decoder_blocks=(BlockSize(5, 8, 4, 1), BlockSize(3, 2, 8, 4)),
)
SIZES: Final = {"small": SMALL, "paper": PAPER}


@dataclass(frozen=True)
class Regions:
    """Where a crop shows what; all ``(B, 1, R, R)``, 0 or 1.

    Attributes:
        own_visible: The hand, seen (``M_rv``).
        background: Neither hand's, not even hidden (``M_bv``).
        uncover: The hand's hidden part.
        remove: The other hand, seen outside the whole of this one.
    """

    own_visible: Tensor
    background: Tensor
    uncover: Tensor
    remove: Tensor

    @property
    def needed(self) -> Tensor:
        """Tell ``(B,)`` where there is enough to paint."""
        return self.need > 0

    @property
    def need(self) -> Tensor:
        """Give ``(B,)`` 1 where there is enough to paint, else 0."""
        return _reached((self.uncover + self.remove).mean(dim=(1, 2, 3)), LEAST_SHARE)


def find_regions(masks: Tensor) -> Regions:
    """Cut a crop into regions.

    Args:
        masks: ``(B, 4, R, R)`` 0..1: own_visible, own_amodal, other_visible, other_amodal; from
            one half a pixel is taken for marked.
    """
    own_visible, own_amodal, other_visible, other_amodal = _reached(masks, 0.5).chunk(4, dim=1)
    own_amodal = torch.maximum(own_amodal, own_visible)
    other = torch.maximum(other_amodal, other_visible)
    # Opened: eroded, then grown again.
    uncover = grow(1 - grow(1 - (own_amodal - own_visible), 1), 1)
    return Regions(
        own_visible=own_amodal - uncover,
        background=(1 - own_amodal) * (1 - other),
        uncover=uncover,
        remove=(1 - own_amodal) * other_visible,
    )


def layers_seen(regions: Regions) -> Tensor:
    """Say where a memory may take colours from; a pixel's width off the masks' outlines.

    Returns:
        ``(B, 2, R, R)`` 0 or 1, where the hand is seen and where what lies behind both hands is.
    """
    seen = torch.cat([regions.own_visible, regions.background], dim=1)
    return 1 - grow(1 - seen, 1)


def needs_painting(masks: Tensor) -> Tensor:
    """Tell ``(B,)`` bool of which crops' hands something is hidden or to be taken away.

    Args:
        masks: As in :func:`find_regions`.
    """
    return find_regions(masks).needed


def paint_weight(regions: Regions, grow_px: int) -> Tensor:
    """Give ``(B, 1, R, R)`` 0..1 how much of each pixel is painted: the holes, grown, with a seam.

    It is 0 everywhere where there is too little to paint.
    """
    hole = (regions.uncover + regions.remove) * regions.need[:, None, None, None]
    return functional.avg_pool2d(grow(hole, grow_px), 3, 1, 1, count_include_pad=False)


def compose(rgb: Tensor, painted: Tensor, weight: Tensor) -> Tensor:
    """Lay what was painted over a crop; where the weight is 0 the crop stays bit for bit.

    Args:
        rgb: ``(B, 3, R, R)`` in 0..1.
        painted: ``(B, 3, R, R)``; colours out of 0..1 are cut off.
        weight: ``(B, 1, R, R)`` in 0..1.
    """
    return torch.where(weight > 0, torch.lerp(rgb, painted.clamp(0, 1), weight), rgb)


def grow(mask: Tensor, by_px: int) -> Tensor:
    """Grow a mask ``(B, 1, R, R)`` by a square of so many pixels to each side."""
    side = 2 * by_px + 1
    rows = functional.max_pool2d(mask, (side, 1), 1, (by_px, 0))
    return functional.max_pool2d(rows, (1, side), 1, (0, by_px))


def _reached(values: Tensor, least: float) -> Tensor:
    """Give 1 where values reach ``least``, else 0."""
    return (values >= least).to(values.dtype)


class _Down(nn.Module):
    """A stage of the encoder: half as large, norm (not in the first), ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, normed: bool) -> None:
        super().__init__()
        self.conv = PartialConv2d(channels_in, channels_out, kernel, stride=2)
        self.norm = GroupNorm(_GROUPS, channels_out) if normed else nn.Identity()

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        return functional.relu(self.norm(self.conv(x, known)))


class _Up(nn.Module):
    """A stage of the decoder: twice as large (nearest), joined with the skip, norm, leaky ReLU."""

    def __init__(self, deep: int, skip: int, channels_out: int, *, squeezed: bool) -> None:
        super().__init__()
        self.deep: nn.Module = nn.Conv2d(deep, channels_out, 1) if squeezed else nn.Identity()
        self.skip: nn.Module = nn.Conv2d(skip, channels_out, 1) if squeezed else nn.Identity()
        self.squeezed = squeezed
        self.conv = PartialConv2d(channels_out if squeezed else deep + skip, channels_out, 3)
        self.norm = GroupNorm(_GROUPS, channels_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        deep, skip = _twice(self.deep(x)), self.skip(skip)
        joined = deep + skip if self.squeezed else torch.cat([deep, skip], dim=1)
        return functional.leaky_relu(self.norm(self.conv(joined)), _SLOPE)


class _Last(nn.Module):
    """The last stage: twice as large, joined with the erased copies, to colours.

    Squeezed, the deep features give the four pixels of a cell at once, which is the same reach for
    a sixth of the work.
    """

    def __init__(self, deep: int, skip: int, *, squeezed: bool) -> None:
        super().__init__()
        self.deep = nn.Conv2d(deep, 3 * 4, 3, padding=1) if squeezed else None
        self.conv = PartialConv2d(skip if squeezed else deep + skip, 3, 3)
        with torch.no_grad():
            for conv in (self.deep, self.conv):
                if conv is not None:
                    conv.weight.mul_(_FIRST_SHARE)

    def forward(self, x: Tensor, copies: Tensor, known: Tensor) -> Tensor:
        if self.deep is not None:
            out: Tensor = functional.pixel_shuffle(self.deep(x), 2) + self.conv(copies, known)
            return out
        deep, skip = x.shape[1], copies.shape[1]
        known = (deep + skip * known) / (deep + skip)
        out = self.conv(torch.cat([_twice(x), copies], dim=1), known)
        return out


class HdrmNet(nn.Module):
    """The net.

    Args:
        size: Of its layers; :data:`SMALL` or :data:`PAPER`.
        without_transformer: Leave the transformer blocks out.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: HdrmSize = SMALL, *, without_transformer: bool = False) -> None:
        super().__init__()
        self.size = size
        channels = [2 * 4, *(n for n, _ in size.encoder)]
        kernels = [kernel for _, kernel in size.encoder]
        numbers = range(len(size.encoder))
        self.encoder = nn.ModuleList(
            _Down(channels[k], channels[k + 1], kernels[k], normed=k > 0) for k in numbers
        )
        # Deepest last, as the encoder: stage 1 gives the picture.
        self.decoder = nn.ModuleList(
            _Up(channels[k + 1], channels[k], channels[k], squeezed=size.squeezed)
            for k in numbers
            if k > 0
        )
        self.last = _Last(channels[1], channels[0], squeezed=size.squeezed)
        places = ((), ()) if without_transformer else (size.encoder_blocks, size.decoder_blocks)
        self.encoder_blocks = _blocks(places[0], channels[1:])
        self.decoder_blocks = _blocks(places[1], channels)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, seen: Tensor, fuse: Fuse | None = None) -> tuple[Tensor, Tensor]:
        """Paint crops.

        Args:
            seen: ``(B, 7, R, R)``: RGB in 0..1; own_visible, own_amodal, other_visible,
                other_amodal in 0..1 (see :func:`find_regions`).
            fuse: Changes the features of the encoder's stages, by what is remembered; None = each
                crop is painted by itself.

        Returns:
            The whole crop as painted ``(B, 3, R, R)``, colours not cut off at 0 and 1, and how
            much of each pixel is to be taken from it, ``(B, 1, R, R)``; see :func:`compose`.
        """
        rgb, masks = seen[:, :3], seen[:, 3:]
        regions = find_regions(masks)
        # Outside the whole hand, so that no pixel is erased in both copies.
        whole = regions.own_visible + regions.uncover
        keep_d = 1 - regions.uncover
        keep_r = 1 - grow(regions.remove, self.size.grow_px) * (1 - whole)
        colour = (rgb - self.mean) / self.std
        background = regions.background * keep_r
        erased = [colour * keep_d, regions.own_visible, colour * keep_r, background]
        copies = torch.cat(erased, dim=1)
        known = (keep_d + keep_r) / 2
        sources = torch.cat([regions.own_visible, background])
        near = spread(torch.cat([colour, colour]), sources, len(self.encoder))
        of_hand, of_background = near.chunk(2)
        start = torch.lerp(of_background, of_hand, whole)
        x, skips = copies, []
        for number, stage in enumerate(self.encoder, start=1):
            skips.append(x)
            x = _through(self.encoder_blocks, number, stage(x, known if number == 1 else None))
            x = x if fuse is None else fuse(number, x)
        for number in range(len(self.encoder), 1, -1):
            x = self.decoder[number - 2](x, skips[number - 1])
            x = _through(self.decoder_blocks, number, x)
        painted = (self.last(x, copies, known) + start) * self.std + self.mean
        return painted, paint_weight(regions, self.size.grow_px)


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _blocks(sizes: tuple[BlockSize, ...], channels: list[int]) -> nn.ModuleDict:
    """Make blocks by the number of their stage; stage ``n`` gives ``channels[n - 1]``."""
    made = {}
    for s in sizes:
        how = {"heads": s.heads, "mlp_ratio": s.mlp_ratio, "reduction": s.reduction}
        made[str(s.stage)] = TransformerBlock(channels[s.stage - 1], **how)
    return nn.ModuleDict(made)


def _through(blocks: nn.ModuleDict, number: int, x: Tensor) -> Tensor:
    return blocks[str(number)](x) if str(number) in blocks else x
