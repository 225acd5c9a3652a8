"""EfficientNet-Lite0's trunk: features of strides 2 to 32, learnt from a million photographs.

After Tan and Le, "EfficientNet: Rethinking Model Scaling" (ICML 2019), table 1, in its authors'
version for small machines: no squeeze and excitation, ReLU6 for Swish, stem and last stage not
scaled. Published weights (Apache-2.0, see NOTICE) become a start for our nets by
``scripts/convert_efficientnet.py``.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.frame.blocks import pad_to_halve

# Depthwise kernel, stride, widening, channels and blocks of each stage.
_STAGES: Final = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_EPSILON: Final = 1e-3
# A picture in 0..1 becomes what the weights expect, (0..255 - 127) / 128.
_SCALE: Final = 255 / 128
_SHIFT: Final = 127 / 128
# Channels of the features by stride.
CHANNELS: Final = {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}


class FixedNorm(nn.Module):
    """Batch norm that keeps the statistics it came with, as our batches are a few pictures small.

    Scale and shift learn as usual.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift each channel of ``(B, C, H, W)``."""
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, _EPSILON
        )


class Inverted(nn.Module):
    """1x1 to more channels, depthwise, 1x1 to fewer; plus itself where the shape is the same."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, widen: int):
        super().__init__()
        wide = channels_in * widen
        self.stride, self.kernel = stride, kernel
        self.adds = stride == 1 and channels_in == channels_out
        self.expand = nn.Sequential()
        if widen > 1:
            self.expand = nn.Sequential(
                nn.Conv2d(channels_in, wide, 1, bias=False), FixedNorm(wide), nn.ReLU6(inplace=True)
            )
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide, bias=False)
        self.norm = FixedNorm(wide)
        self.project = nn.Sequential(
            nn.Conv2d(wide, channels_out, 1, bias=False), FixedNorm(channels_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        wide = self.expand(x)
        if self.stride == 2:
            wide = pad_to_halve(wide, self.kernel)
        out: Tensor = self.project(functional.relu6(self.norm(self.depthwise(wide))))
        return out + x if self.adds else out


class EfficientTrunk(nn.Module):
    """EfficientNet-Lite0 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.stem_norm = FixedNorm(32)
        channels, stages = 32, []
        for kernel, stride, widen, out, n in _STAGES:
            blocks = [Inverted(channels, out, kernel, stride, widen)]
            blocks += [Inverted(out, out, kernel, 1, widen) for _ in range(n - 1)]
            stages.append(nn.Sequential(*blocks))
            channels = out
        self.stage1, self.stage2, self.stage3, self.stage4 = stages[:4]
        self.stage5, self.stage6, self.stage7 = stages[4:]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def features(self, rgb: Tensor, told2: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map ``(B, 3, R, R)`` in 0..1, R a multiple of 32, to features.

        Args:
            rgb: The picture.
            told2: Added to the stem's 32 channels at stride 2.

        Returns:
            Features of strides 2, 4, 8, 16 and 32; their channels are :data:`CHANNELS`.
        """
        first = self.stem(pad_to_halve(rgb * _SCALE - _SHIFT, 3))
        first = self.stem_norm(first)
        at2 = self.stage1(functional.relu6(first if told2 is None else first + told2))
        at4 = self.stage2(at2)
        at8 = self.stage3(at4)
        at16 = self.stage5(self.stage4(at8))
        return at2, at4, at8, at16, self.stage7(self.stage6(at16))
