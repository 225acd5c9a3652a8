"""HandOccNet: what is hidden of a hand is filled in from what is seen of it.

After Park et al., "HandOccNet: Occlusion-Robust 3D Hand Mesh Estimation Network" (CVPR 2022), and
its released code: a feature pyramid; a map that says where features tell of the hand (primary) and
where something else is (secondary); FIT, which puts primary features into the places of secondary
ones; SET, in which the result refines itself; an hourglass for heat of the joints in the picture;
and a regressor to the hand model's pose and shape. The crop shows a right hand. Departures, with
their reasons:

* Our hand model in place of MANO, whose licence allows no use here: 16 turns in the same form (six
  numbers each) and 12 shape scores. The turns begin at the flat hand, not at random: six numbers
  near zero have wild slopes.
* Group norms in place of batch norms, and none after the map's one convolution, whose own bias has
  its place; the trunk begins at random (:mod:`hdrvideo.rivals.resnet`). The small size, for two
  cores, has EfficientNet-Lite0, crops of 128 px, 16 x 16 places and 96 channels.
* Confidence is the spread of heat; presence and side are another net's
  (:class:`hdrvideo.rivals.reading.JudgedShpe`).

As released, where paper and code differ: the "pool" of the sigmoid branch is a sum over the keys
(one gate a query and head), nothing is added back to FIT's attention, and the place tables are of
one size, so the crop's size is fixed. Known of both attentions, too: layers, heads and width, what
is query, key and value, tables added to queries and keys alone, the scale of the softmax, where
SET adds and where the one layer norm is.

Guesses, as the facts that we have say nothing; each may differ from the released net, so do not
load its weights or take a score of this net for its score:

* Attention: tables are added before the projections; projections have biases; there is none after
  the heads. The sigmoid branch gets the tables, too, and the softmax's scale. GELU in the MLP.
* Pyramid: coarser levels come in by bilinear interpolation, and a 3x3 convolution ends it.
* Hourglass: its block (:mod:`hdrvideo.rivals.hourglass`); that a 1x1 convolution makes the heat.
* Regressor: it has the hourglass's features, not SET's; features and heat are each mapped by a 1x1
  convolution and added; LeakyReLU of 0.1 in its layers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import N_JOINTS, check_array
from hdrvideo.frame.detmaps import px_from_cells
from hdrvideo.frame.efficientnet import CHANNELS, EfficientTrunk
from hdrvideo.handmodel import POSE_JOINTS, HandModel
from hdrvideo.rivals.hourglass import Hourglass, Residual
from hdrvideo.rivals.reading import log_error_palms
from hdrvideo.rivals.resnet import ResNet50

N_TURNS: Final = len(POSE_JOINTS)
N_SHAPE: Final = 12
STRIDE_PX: Final = 8
_HEADS: Final = 4
_LAYERS: Final = 2
_WIDEN: Final = 4
# The least map of the hourglass and of the regressor.
_LEAST_GRID: Final = 2
_FLAT_6D: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class HandOccSize:
    """How large a HandOccNet is.

    Attributes:
        resolution_px: Side of its crop: 16 times a power of two.
        width: Channels, a multiple of 32.
        hidden: Of the regressor's two layers.
    """

    resolution_px: int
    width: int
    hidden: tuple[int, int]

    @property
    def grid(self) -> int:
        """Places along a side of the maps."""
        return self.resolution_px // STRIDE_PX

    @property
    def levels(self) -> int:
        """How often the maps are halved."""
        return round(math.log2(self.grid / _LEAST_GRID))


PAPER: Final = HandOccSize(resolution_px=256, width=256, hidden=(1024, 512))
SMALL: Final = HandOccSize(resolution_px=128, width=96, hidden=(256, 128))


@dataclass(frozen=True)
class HandOccAnswer:
    """What the net says of a batch of crops.

    Attributes:
        heat_logit: ``(B, 21, g, g)``; a softmax over the cells gives each its weight.
        turns_6d: ``(B, 16, 6)`` of the hand model; see :mod:`hdrvideo.handmodel`.
        shape: ``(B, 12)`` standard deviations of the hand model.
    """

    heat_logit: Tensor
    turns_6d: Tensor
    shape: Tensor

    def __post_init__(self) -> None:
        b, _, h, w = self.heat_logit.shape
        check_array("heat_logit", self.heat_logit, (b, N_JOINTS, h, w), "")
        check_array("turns_6d", self.turns_6d, (b, N_TURNS, 6), "")
        check_array("shape", self.shape, (b, N_SHAPE), "")


class HandOccNet(nn.Module):
    """The net; its trunk is handed in."""

    def __init__(self, trunk: nn.Module, channels: Sequence[int], size: HandOccSize) -> None:
        """Put the rest on a trunk.

        Args:
            trunk: Has ``features``, the last four of which have strides 4, 8, 16 and 32.
            channels: Of those four.
            size: Of the rest.
        """
        super().__init__()
        self.size, self.resolution_px = size, size.resolution_px
        self.trunk = trunk
        self.pyramid = Pyramid(channels, size.width)
        self.necessity = nn.Conv2d(2, 1, 7, padding=3)
        n_places = size.grid**2
        self.inject = nn.ModuleList(Inject(size.width, n_places) for _ in range(_LAYERS))
        self.join = _TwoConvolutions(2 * size.width, size.width)
        self.enhance = nn.ModuleList(Enhance(size.width, n_places) for _ in range(_LAYERS))
        self.hourglass = Hourglass(size.width, size.levels)
        self.heat = nn.Conv2d(size.width, N_JOINTS, 1)
        self.regressor = _Regressor(size)

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, R, R)`` crops in 0..1, R as of the size: :class:`HandOccAnswer`'s three."""
        at4 = self.pyramid(cast(Any, self.trunk).features(rgb)[-4:])
        features = functional.avg_pool2d(at4, 2)
        told = torch.cat([features.amax(1, keepdim=True), features.mean(1, keepdim=True)], dim=1)
        needed = self.necessity(told).sigmoid()
        primary, secondary = features * needed, features * (1 - needed)
        key = _as_tokens(primary)
        query = _as_tokens(secondary)
        for layer in self.inject:
            query = layer(query, key)
        filled = self.join(torch.cat([primary, _as_map(query, primary)], dim=1))
        query = key = _as_tokens(filled)
        for layer in self.enhance:
            query = layer(query, key)
        x = _as_map(query, filled)
        deep = self.hourglass(x)
        heat = self.heat(deep)
        return (heat, *self.regressor(deep, heat))


def _as_tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def _as_map(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.transpose(1, 2).reshape(like.shape)


class Pyramid(nn.Module):
    """A feature pyramid, of which the finest level alone is made (Lin et al., CVPR 2017)."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(n, width, 1) for n in channels)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map features of strides 4 to 32 to ``(B, C, R/4, R/4)``."""
        sides = [side(x) for side, x in zip(self.lateral, features, strict=True)]
        x = sides[-1]
        for side in sides[-2::-1]:
            x = side + functional.interpolate(
                x, scale_factor=2, mode="bilinear", align_corners=False
            )
        out: Tensor = self.smooth(x)
        return out


class _Attention(nn.Module):
    """Heads of attention between places, each with a place table for queries and for keys."""

    def __init__(self, width: int, n_places: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.query_place = nn.Parameter(torch.randn(n_places, width))
        self.key_place = nn.Parameter(torch.randn(n_places, width))
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, _WIDEN * width), nn.GELU(), nn.Linear(_WIDEN * width, width)
        )

    def _split(self, tokens: Tensor) -> Tensor:
        """Map ``(B, N, C)`` to ``(B, heads, N, C / heads)``."""
        b, n, _ = tokens.shape
        return tokens.reshape(b, n, _HEADS, -1).transpose(1, 2)

    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Give what each query takes, ``(B, heads, N, C / heads)``."""
        q = self._split(self.query(query + self.query_place))
        k = self._split(self.key(key + self.key_place))
        return functional.scaled_dot_product_attention(q, k, self._split(self.value(value)))

    def _mixed(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = tokens + self.mlp(self.norm(tokens))
        return mixed


class Inject(_Attention):
    """FIT's layer: each place takes of the primary features as much as its gate lets through.

    Nothing is added back, so of the secondary features only what they ask for is left.
    """

    def __init__(self, width: int, n_places: int) -> None:
        super().__init__(width, n_places)
        self.gate_query, self.gate_key = nn.Linear(width, width), nn.Linear(width, width)
        self.scale = (width // _HEADS) ** -0.5

    def forward(self, query: Tensor, primary: Tensor) -> Tensor:
        """Map queries and primary features, both ``(B, N, C)``, to ``(B, N, C)``."""
        taken = self._attended(query, primary, primary) * self.gates(query, primary)
        return self._mixed(taken.transpose(1, 2).flatten(2))

    def gates(self, query: Tensor, primary: Tensor) -> Tensor:
        """Give the gates ``(B, heads, N, 1)`` in 0..1: sigmoids of sums over the keys.

        The sum of a query's products with all keys is its product with the sum of the keys.
        """
        q = self._split(self.gate_query(query + self.query_place))
        k = self._split(self.gate_key(primary + self.key_place)).sum(dim=2, keepdim=True)
        gates: Tensor = ((q @ k.transpose(-2, -1)) * self.scale).sigmoid()
        return gates


class Enhance(_Attention):
    """SET's layer: attention to the first features, added to what asks."""

    def forward(self, query: Tensor, first: Tensor) -> Tensor:
        """Map queries and the features that FIT gave, both ``(B, N, C)``, to ``(B, N, C)``."""
        taken = self._attended(query, first, first)
        return self._mixed(query + taken.transpose(1, 2).flatten(2))


class _TwoConvolutions(nn.Module):
    """3x3, ReLU, 3x3, and a 1x1 beside them."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        self.beside = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.beside(x)
        return out


class _Regressor(nn.Module):
    """Features and heat to turns and shape."""

    def __init__(self, size: HandOccSize) -> None:
        super().__init__()
        self.features = nn.Conv2d(size.width, size.width, 1)
        self.heat = nn.Conv2d(N_JOINTS, size.width, 1)
        self.halvings = nn.ModuleList(
            nn.Sequential(Residual(size.width), Residual(size.width), nn.MaxPool2d(2))
            for _ in range(size.levels)
        )
        first, second = size.hidden
        self.mix = nn.Sequential(
            *(nn.Linear(size.width * _LEAST_GRID**2, first), nn.LeakyReLU(0.1)),
            *(nn.Linear(first, second), nn.LeakyReLU(0.1)),
        )
        self.turns = nn.Linear(second, 6 * N_TURNS)
        self.shape = nn.Linear(second, N_SHAPE)
        with torch.no_grad():
            self.turns.weight.mul_(0.1)
            self.turns.bias.copy_(torch.tensor(_FLAT_6D).repeat(N_TURNS))

    def forward(self, features: Tensor, heat: Tensor) -> tuple[Tensor, Tensor]:
        """Give turns ``(B, 16, 6)`` and shape ``(B, 12)``."""
        x = self.features(features) + self.heat(heat)
        for halve in self.halvings:
            x = halve(x)
        x = self.mix(x.flatten(1))
        return self.turns(x).reshape(-1, N_TURNS, 6), self.shape(x)


def paper() -> HandOccNet:
    """Make the published size."""
    return HandOccNet(ResNet50(), ResNet50.CHANNELS, PAPER)


def small() -> HandOccNet:
    """Make the size for two cores."""
    channels = [CHANNELS[stride] for stride in (4, 8, 16, 32)]
    return HandOccNet(EfficientTrunk(), channels, SMALL)


SIZES: Final[Mapping[str, Callable[[], HandOccNet]]] = {"small": small, "paper": paper}


def read_heat(heat_logit: Tensor, *, soft: bool = True) -> tuple[Tensor, Tensor]:
    """Read joints' cells ``(B, 21, 2)``, and the spread of their heat ``(B, 21)`` in cells.

    Args:
        heat_logit: ``(B, 21, h, w)``.
        soft: By the mean over the softmax, as published; or at the hottest cell.
    """
    h, w = heat_logit.shape[-2:]
    weights = heat_logit.flatten(2).softmax(dim=-1).reshape(heat_logit.shape)
    u = torch.arange(w, device=weights.device, dtype=weights.dtype)
    v = torch.arange(h, device=weights.device, dtype=weights.dtype)
    along_u, along_v = weights.sum(dim=2), weights.sum(dim=3)
    cells = torch.stack([(along_u * u).sum(dim=-1), (along_v * v).sum(dim=-1)], dim=-1)
    variance = (along_u * (u - cells[..., :1]).square()).sum(dim=-1)
    variance = variance + (along_v * (v - cells[..., 1:]).square()).sum(dim=-1)
    if not soft:
        place = heat_logit.flatten(2).argmax(dim=-1)
        row = place.div(w, rounding_mode="floor")
        cells = torch.stack([place % w, row], dim=-1).to(weights.dtype)
    return cells, variance.clamp(min=0).sqrt()


class HandOccReader(nn.Module):
    """A net and the reading of its heat in one: small outputs, for engines that trace."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, R, R)`` crops.

        Returns:
            Joints in the crop ``(B, 21, 2)`` px, the log of their expected error ``(B, 21)`` in
            palm lengths; then turns and shape, see :class:`HandOccAnswer`.
        """
        heat_logit, turns_6d, shape = (part.float() for part in self.net(rgb))
        cells, spread = read_heat(heat_logit)
        stride_px = rgb.shape[-1] / heat_logit.shape[-1]
        uv_px = px_from_cells(cells, stride_px)
        return uv_px, log_error_palms(spread * stride_px, uv_px), turns_6d, shape


class HandOccPoser:
    """What runs a :class:`HandOccReader`, and the hand model behind it."""

    def __init__(self, reader: Callable[[Tensor], Any], hand: HandModel) -> None:
        self._reader = reader
        self._hand = hand

    def __call__(self, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read crops as :class:`hdrvideo.rivals.reading.JudgedShpe` asks for."""
        uv_px, log_error, turns_6d, shape = self._reader(rgb)
        return uv_px, self._hand.joints(turns_6d, shape), log_error
