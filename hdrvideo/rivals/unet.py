"""The U-Net (Ronneberger et al., MICCAI 2015) in the form that both mask rivals are built from.

Their releases set only its width. Departures, with their reasons: group norms where they have batch
norms, so that a batch gives what single pictures give; what is bilinearly enlarged keeps its pixel
centres.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.frame.blocks import GROUPS, GroupNorm

# Channels of each level over those of the first.
_LEVELS: Final = (1, 2, 4, 8, 8)


class _Twice(nn.Sequential):
    """Two 3x3 convolutions, each with norm and ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        layers: list[nn.Module] = []
        for channels in (channels_in, channels_out):
            conv = nn.Conv2d(channels, channels_out, 3, padding=1, bias=False)
            layers += [conv, GroupNorm(GROUPS, channels_out), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class Unet(nn.Module):
    """Four halvings and back.

    Args:
        channels_in: Of the input.
        channels_out: Of the answer, for each pixel.
        width: Channels of the first level, a multiple of 8; the next have 2, 4, 8 and 8 times as
            many (the releases' "2x" is 32, their "4x" 64).
    """

    def __init__(self, channels_in: int, channels_out: int, width: int) -> None:
        super().__init__()
        widths = [width * level for level in _LEVELS]
        self.down = nn.ModuleList(
            _Twice(a, b) for a, b in zip([channels_in, *widths], widths, strict=False)
        )
        # A stage of the way back gives what the next, larger one's skip has.
        given = [widths[0], *widths[:-2]]
        self.up = nn.ModuleList(
            _Twice(widths[k] + (widths[-1] if k == len(given) - 1 else given[k + 1]), given[k])
            for k in range(len(given))
        )
        self.out = nn.Conv2d(widths[0], channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, R, R)``, R a multiple of 16, to ``(B, C', R, R)``."""
        skips = []
        for number, stage in enumerate(self.down):
            x = stage(functional.max_pool2d(x, 2) if number else x)
            skips.append(x)
        for number in range(len(self.up) - 1, -1, -1):
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.up[number](torch.cat([skips[number], x], dim=1))
        answer: Tensor = self.out(x)
        return answer
