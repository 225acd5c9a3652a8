"""Building blocks of the frame-level nets."""

from torch import Tensor, nn
from torch.nn import functional


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
