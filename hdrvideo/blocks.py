"""Building blocks that several nets share; names are those of the converted weights."""

from torch import Tensor, nn
from torch.nn import functional


class Separable(nn.Module):
    """Depthwise, 1x1, residual, PReLU; with stride 2 the residual is max-pooled and widened."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1, kernel: int = 5):
        super().__init__()
        self.stride = stride
        self.widen = channels_out - channels_in
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = nn.Conv2d(
            channels_in, channels_in, kernel, stride, padding, groups=channels_in
        )
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        residual = x
        if self.stride == 2:
            residual = functional.max_pool2d(x, 2)
            x = functional.pad(x, (1, 2, 1, 2))
        if self.widen:
            residual = functional.pad(residual, (0, 0, 0, 0, 0, self.widen))
        out: Tensor = self.activation(self.pointwise(self.depthwise(x)) + residual)
        return out


class Up(nn.Module):
    """Twice as large (bilinear), 1x1, PReLU, plus the skip of the same size."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` and a skip ``(B, C', 2H, 2W)`` to the skip's shape."""
        # A 1x1 convolution and a bilinear resize commute: convolving first is four times cheaper.
        small = self.pointwise(x)
        large = functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = skip + self.activation(large)
        return out


class PalmTrunk(nn.Module):
    """The palm detector without its heads: strides 2 to 32 and back to 8.

    Structure read from the published graph (MediaPipe's palm detector, full size).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 5, 2), nn.PReLU(32))
        self.level96 = nn.Sequential(*(Separable(32, 32) for _ in range(4)))
        self.level48 = _level(32, 64)
        self.level24 = _level(64, 128)
        self.level12 = _level(128, 256)
        self.level6 = _level(256, 256)
        self.up12 = Up(256, 256)
        self.top12 = nn.Sequential(*(Separable(256, 256) for _ in range(2)))
        self.up24 = Up(256, 128)
        self.top24 = nn.Sequential(*(Separable(128, 128) for _ in range(2)))

    def features(self, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Map ``(B, 3, R, R)`` in 0..1, R a multiple of 32, to features.

        Returns:
            Features on the way down of strides 2 (32 channels), 4 (64) and 32 (256), and on the way
            up of strides 16 (256) and 8 (128), which have seen the whole picture.
        """
        at2 = self.level96(self.stem(functional.pad(rgb, (1, 2, 1, 2))))
        at4 = self.level48(at2)
        at8 = self.level24(at4)
        at16 = self.level12(at8)
        at32 = self.level6(at16)
        top16 = self.top12(self.up12(at32, at16))
        return at2, at4, at32, top16, self.top24(self.up24(top16, at8))


def _level(channels_in: int, channels_out: int) -> nn.Sequential:
    more = (Separable(channels_out, channels_out) for _ in range(4))
    return nn.Sequential(Separable(channels_in, channels_out, stride=2), *more)
