"""Building blocks of the frame-level nets."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

# Groups of the decoders' group norms.
GROUPS: Final = 8


def pad_to_halve(image: Tensor, kernel: int) -> Tensor:
    """Pad a picture of even size so that a convolution with stride 2 gives exactly half of it.

    TensorFlow's "same" rule: the larger half of the padding is at the bottom and the right, where
    torch's symmetric ``padding`` would shift the picture by a pixel.
    """
    before = (kernel - 2) // 2
    after = kernel - 2 - before
    return functional.pad(image, (before, after, before, after))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen (1x1), depthwise, narrow (1x1, linear), residual where it fits.

    Batch norms are already folded into the convolutions, as in the weights that it is made for.
    """

    def __init__(self, *, wide: int, narrow_in: int, narrow_out: int, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.is_residual = stride == 1 and narrow_in == narrow_out
        self.expand = nn.Conv2d(narrow_in, wide, 1) if wide != narrow_in else None
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide)
        self.project = nn.Conv2d(wide, narrow_out, 1) if narrow_out else None

    def forward(self, narrow: Tensor) -> Tensor:
        """Map ``(B, narrow_in, H, W)`` to ``(B, narrow_out or wide, H/stride, W/stride)``."""
        wide = narrow
        if self.expand is not None:
            wide = functional.relu6(self.expand(narrow), inplace=True)
        if self.stride > 1:
            wide = pad_to_halve(wide, self.kernel)
        wide = functional.relu6(self.depthwise(wide), inplace=True)
        if self.project is None:
            return wide
        out: Tensor = self.project(wide)
        return out + narrow if self.is_residual else out


class GroupNorm(nn.GroupNorm):
    """Group norm without torch's check of the batch's size, which no tracer can follow."""

    def forward(self, x: Tensor) -> Tensor:
        """Norm ``(B, C, H, W)``."""
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class Mix(nn.Module):
    """Depthwise 5x5, norm, PReLU, 1x1, residual.

    With norms a decoder learns several times as fast; group norms, as batches are small.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = GroupNorm(GROUPS, channels)
        self.activation = nn.PReLU(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix ``(B, C, H, W)``."""
        out: Tensor = x + self.pointwise(self.activation(self.norm(self.depthwise(x))))
        return out


class Join(nn.Module):
    """Twice as large (bilinear), plus the skip of the same size, both by 1x1 and norm."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels_in, channels_out, 1)
        self.skip = nn.Conv2d(channels_skip, channels_out, 1)
        self.norm = GroupNorm(GROUPS, channels_out)
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor, skip: Tensor, told: Tensor | None = None) -> Tensor:
        """Map ``(B, C, H, W)`` and a skip ``(B, C', 2H, 2W)`` to ``(B, C'', 2H, 2W)``.

        Args:
            x: The smaller map.
            skip: The larger one.
            told: Added before the activation.
        """
        # A 1x1 convolution and a bilinear resize commute: convolving first is four times cheaper.
        deep = functional.interpolate(
            self.deep(x), scale_factor=2, mode="bilinear", align_corners=False
        )
        joined = self.norm(deep + self.skip(skip))
        out: Tensor = self.activation(joined if told is None else joined + told)
        return out


def places_like(x: Tensor) -> Tensor:
    """Give ``(1, 2, h, w)`` coordinates from -1 to 1 of a map's size: u, then v."""
    h, w = x.shape[-2:]
    v = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype)
    u = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"))[None]
