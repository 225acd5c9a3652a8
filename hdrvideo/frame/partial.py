"""Building blocks of HDRM: partial convolutions and transformer blocks on feature maps."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# A window of a partial convolution of which so little counts has seen nothing.
_NOTHING = 1e-6


class PartialConv2d(nn.Module):
    """A convolution that knows how much of its input counts: ``W (x * m) * sum(1) / sum(m) + b``.

    Liu et al., "Image Inpainting for Irregular Holes Using Partial Convolutions" (ECCV 2018),
    equation 1. A window that holds nothing gives ``b`` alone. What lies beyond the picture's border
    counts as unknown, as in that paper's code.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        nn.init.kaiming_normal_(self.weight, a=0.2)

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Convolve.

        Args:
            x: ``(B, C, H, W)``, already 0 where it does not count (``x * m``).
            known: ``(B, 1, H, W)`` 0..1 part of the channels that count (``m``, mean over the
                channels); None = all, everywhere inside the border.

        Returns:
            ``(B, C', H / stride, W / stride)``.
        """
        if known is None:
            known = x.new_ones(1, 1, *x.shape[-2:])
        half = self.kernel // 2
        # The mean over a window, padding included, is sum(m) / sum(1). Where it is 0 the sum is,
        # too.
        share = functional.avg_pool2d(known, self.kernel, self.stride, half)
        found = functional.conv2d(x, self.weight, None, self.stride, half)
        return found / share.clamp(min=_NOTHING) + self.bias[:, None, None]


class TransformerBlock(nn.Module):
    """A block of PVT v2 (Wang et al. 2022) on a map, with a layer norm after it.

    Before each half a layer norm; attention to a map that is ``reduction`` times smaller; an MLP
    with a 3x3 depthwise convolution inside; no places are told.
    """

    def __init__(self, channels: int, *, heads: int, mlp_ratio: int, reduction: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.output = nn.Linear(channels, channels)
        self.reduce, self.reduced_norm = None, None
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, reduction)
            self.reduced_norm = nn.LayerNorm(channels)
        wide = mlp_ratio * channels
        self.norm2 = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, wide)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.narrow = nn.Linear(wide, channels)
        self.norm3 = nn.LayerNorm(channels)
        for layer in (self.query, self.key_value, self.output, self.widen, self.narrow):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)``, H and W multiples of the reduction, to the same shape."""
        size = x.shape[-2:]
        tokens = _as_tokens(x)
        tokens = tokens + self._attend(self.norm1(tokens), size)
        tokens = tokens + self._mix(self.norm2(tokens), size)
        return _as_map(self.norm3(tokens), size)

    def _attend(self, tokens: Tensor, size: torch.Size) -> Tensor:
        known = tokens
        if self.reduce is not None and self.reduced_norm is not None:
            known = self.reduced_norm(_as_tokens(self.reduce(_as_map(tokens, size))))
        key, value = (self._split(half) for half in self.key_value(known).chunk(2, dim=-1))
        query = self._split(self.query(tokens))
        seen = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return out

    def _split(self, tokens: Tensor) -> Tensor:
        """Give each head its channels, ``(B, N, heads * c)`` to ``(B, heads, N, c)``."""
        b, n, c = tokens.shape
        return tokens.view(b, n, self.heads, c // self.heads).transpose(1, 2)

    def _mix(self, tokens: Tensor, size: torch.Size) -> Tensor:
        wide = self.depthwise(_as_map(self.widen(tokens), size))
        out: Tensor = self.narrow(functional.gelu(_as_tokens(wide)))
        return out


def _as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _as_map(tokens: Tensor, size: torch.Size) -> Tensor:
    b, _, c = tokens.shape
    return tokens.transpose(1, 2).reshape(b, c, *size)
