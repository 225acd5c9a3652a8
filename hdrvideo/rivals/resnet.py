"""ResNet-50 without its classifier: the trunk of InterNet and HandOccNet in their papers' sizes.

After He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), table 1. Departures:
group norms in place of batch norms, which differ between workers and whose batches are small here;
so it begins at random, as weights learnt from photographs are for batch norms.
"""

from typing import Final

import torch
from torch import Tensor, nn

from hdrvideo.frame.blocks import GroupNorm

# Narrow channels, blocks and stride of each stage.
_STAGES: Final = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
_GROUPS: Final = 32


class ResNet50(nn.Module):
    """Features of strides 4, 8, 16 and 32."""

    CHANNELS: Final = (256, 512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            GroupNorm(_GROUPS, 64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        channels, stages = 64, []
        for narrow, n, stride in _STAGES:
            blocks = [_Bottleneck(channels, narrow, stride)]
            blocks += [_Bottleneck(4 * narrow, narrow, 1) for _ in range(n - 1)]
            stages.append(nn.Sequential(*blocks))
            channels = 4 * narrow
        self.stages = nn.ModuleList(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, R, R)`` in 0..1, R a multiple of 32, to the features of each stage."""
        x, found = self.stem(rgb), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return tuple(found)


class _Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1, and the input or a 1x1 of it."""

    def __init__(self, channels_in: int, narrow: int, stride: int) -> None:
        super().__init__()
        out = 4 * narrow
        self.shortcut = nn.Sequential()
        if stride > 1 or channels_in != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, out, 1, stride, bias=False), GroupNorm(_GROUPS, out)
            )
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, narrow, 1, bias=False),
            GroupNorm(_GROUPS, narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False),
            GroupNorm(_GROUPS, narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, out, 1, bias=False),
            GroupNorm(_GROUPS, out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.body(x))
