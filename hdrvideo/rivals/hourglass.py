"""An hourglass and its residual block, for heat of joints.

After Newell et al., "Stacked Hourglass Networks for Human Pose Estimation" (ECCV 2016), section
3.1. Group norms in place of batch norms (a batch gives what single crops give). That HandOccNet's
hourglass and regressor are made of this very block is a guess.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.frame.blocks import GroupNorm

_GROUPS: Final = 16


class Residual(nn.Module):
    """The hourglass's block: norm, ReLU and convolution of 1x1, 3x3 and 1x1; added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        layers: list[nn.Module] = []
        for channels_in, channels_out, kernel in ((width, half, 1), (half, half, 3)):
            layers += [
                GroupNorm(_GROUPS, channels_in),
                nn.ReLU(),
                nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
            ]
        layers += [GroupNorm(_GROUPS, half), nn.ReLU(), nn.Conv2d(half, width, 1)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)``."""
        out: Tensor = x + self.body(x)
        return out


class Hourglass(nn.Module):
    """Newell et al., "Stacked Hourglass Networks" (ECCV 2016), one of them."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.beside = nn.ModuleList(Residual(width) for _ in range(levels))
        self.down = nn.ModuleList(Residual(width) for _ in range(levels))
        self.middle = Residual(width)
        self.up = nn.ModuleList(Residual(width) for _ in range(levels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)``, H and W multiples of 2 to the power of ``levels``."""
        beside = []
        for side, down in zip(self.beside, self.down, strict=True):
            beside.append(side(x))
            x = down(functional.max_pool2d(x, 2))
        x = self.middle(x)
        for up, side in zip(self.up, reversed(beside), strict=True):
            x = side + functional.interpolate(up(x), scale_factor=2, mode="nearest")
        return x
