"""The U-Net of partial convolutions in which holes are filled from their rims inwards.

After Liu et al., "Image Inpainting for Irregular Holes Using Partial Convolutions" (ECCV 2018), as
both content rivals are built from it. What is known is carried beside the features: a cell is known
as soon as its window holds anything that is. Departures from the releases, with their reasons:

* ``sum(1) / sum(M)`` as the paper says (:class:`~hdrvideo.frame.partial.PartialConv2d`); the
  releases divide by ``sum(M)`` alone, which starts layers without norms some hundred times too
  small.
* Group norms where they have batch norms: a batch gives what single crops give.
* The last layer begins small, so that the first colours are near the mean one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.frame.blocks import GROUPS, GroupNorm
from hdrvideo.frame.partial import PartialConv2d

_SLOPE: Final = 0.2
_FIRST_SHARE: Final = 0.1


@dataclass(frozen=True)
class HolesSize:
    """A size of the net.

    Attributes:
        resolution_px: Side of its crops, a multiple of 2 to the number of stages.
        grow_px: By so much holes grow before they are painted.
        encoder: Channels and kernel of each stage; stages halve the map. A stage of the decoder
            gives the channels of the encoder stage before.
    """

    resolution_px: int
    grow_px: int
    encoder: tuple[tuple[int, int], ...]


SMALL: Final = HolesSize(
    resolution_px=128,
    grow_px=2,
    encoder=((24, 5), (48, 3), (96, 3), (128, 3), (160, 3), (160, 3)),
)
PAPER: Final = HolesSize(
    resolution_px=256,
    grow_px=4,
    encoder=((64, 7), (128, 5), (256, 5), *((512, 3),) * 4),
)
SIZES: Final = {"small": SMALL, "paper": PAPER}


class Guide(nn.Module):
    """What may stand behind a stage: changes features and says something of them."""

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Map features ``(B, C, h, w)``, with the cells that are known ``(B, 1, h, w)``.

        Returns:
            Features of the same shape, and what is said, ``(B, n, h, w)``.
        """
        raise NotImplementedError


class _Stage(nn.Module):
    """A partial convolution; cells whose windows held nothing stay unknown, and 0."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int, normed: bool = True
    ) -> None:
        super().__init__()
        self.conv = PartialConv2d(channels_in, channels_out, kernel, stride=stride)
        self.norm = GroupNorm(GROUPS, channels_out) if normed else nn.Identity()
        self.slope = 0.0 if stride > 1 else _SLOPE

    def forward(self, x: Tensor, share: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve.

        Args:
            x: ``(B, C, H, W)``, 0 where not known.
            share: ``(B, 1, H, W)`` 0..1 part of the channels that are known.
            known: ``(B, 1, H, W)`` 0 or 1; from what holes are filled.
        """
        conv = self.conv
        reached = functional.max_pool2d(known, conv.kernel, conv.stride, conv.kernel // 2)
        found = functional.leaky_relu(self.norm(conv(x, share)), self.slope)
        return found * reached, reached


class HolesNet(nn.Module):
    """The net.

    Args:
        size: Of its layers.
        n_colours: Channels of the input that have holes.
        n_told: Channels of the input that are known everywhere, behind those.
        encoder_guides: What stands behind stages of the encoder, by their number from 1.
        decoder_guides: The same of the decoder, whose stages count down to 1, the picture.
    """

    def __init__(
        self,
        size: HolesSize,
        *,
        n_colours: int,
        n_told: int = 0,
        encoder_guides: Mapping[int, Guide] | None = None,
        decoder_guides: Mapping[int, Guide] | None = None,
    ) -> None:
        super().__init__()
        self.n_colours, self.n_told = n_colours, n_told
        channels = [n_colours + n_told, *(n for n, _ in size.encoder)]
        numbers = range(1, len(size.encoder) + 1)
        self.encoder = nn.ModuleList(
            _Stage(channels[k - 1], channels[k], size.encoder[k - 1][1], stride=2, normed=k > 1)
            for k in numbers
        )
        # Stage 1, which gives the picture, has a layer of its own.
        self.decoder = nn.ModuleList(
            _Stage(channels[k] + channels[k - 1], channels[k - 1], 3, stride=1)
            for k in numbers
            if k > 1
        )
        self.last = PartialConv2d(channels[1] + channels[0], 3, 3)
        with torch.no_grad():
            self.last.weight.mul_(_FIRST_SHARE)
        guides = (encoder_guides or {}, decoder_guides or {})
        self.encoder_guides, self.decoder_guides = (
            nn.ModuleDict({str(k): guide for k, guide in each.items()}) for each in guides
        )

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Fill holes.

        Args:
            x: ``(B, n_colours + n_told, R, R)``; colours count only where they are known.
            known: ``(B, 1, R, R)``, 1 or, in the holes, 0.

        Returns:
            ``(B, 3, R, R)``, unbounded, and what the guides said, in their order.
        """
        total = self.n_colours + self.n_told
        x = torch.cat([x[:, : self.n_colours] * known, x[:, self.n_colours :]], dim=1)
        share = (self.n_colours * known + self.n_told) / total
        skips: list[tuple[Tensor, Tensor, Tensor]] = []
        said: list[Tensor] = []
        for number, stage in enumerate(self.encoder, start=1):
            skips.append((x, share, known))
            x, known = stage(x, share, known)
            x = _guided(self.encoder_guides, number, x, known, said)
            share = known
        for number in range(len(self.encoder), 1, -1):
            x, share, known = _joined(x, known, *skips[number - 1])
            x, known = self.decoder[number - 2](x, share, known)
            x = _guided(self.decoder_guides, number, x, known, said)
        x, share, _ = _joined(x, known, *skips[0])
        return self.last(x, share), said


def _joined(
    x: Tensor, known: Tensor, skip: Tensor, skip_share: Tensor, skip_known: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Enlarge features and what is known of them to the nearest, and lay the skip behind."""
    x, known = (functional.interpolate(t, scale_factor=2.0, mode="nearest") for t in (x, known))
    deep, flat = x.shape[1], skip.shape[1]
    share = (deep * known + flat * skip_share) / (deep + flat)
    return torch.cat([x, skip], dim=1), share, torch.maximum(known, skip_known)


def _guided(
    guides: nn.ModuleDict, number: int, x: Tensor, known: Tensor, said: list[Tensor]
) -> Tensor:
    """Let a guide change what is known; what it writes elsewhere is erased again."""
    if str(number) not in guides:
        return x
    x, answer = guides[str(number)](x, known)
    said.append(answer)
    return x * known
