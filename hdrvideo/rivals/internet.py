"""InterNet: which hands are there, where their 42 joints are, and the way from hand to hand.

After Moon et al., "InterHand2.6M" (ECCV 2020), section 5, and its released code: a ResNet-50; for
each hand a branch of its own that says 21 heat maps in three dimensions (u, v and depth from the
own wrist, 400 mm in all); and from the pooled features handedness, two chances free of one another,
and the depth of the left wrist from the right one. A picture of both hands goes in. Departures,
with their reasons:

* Group norms in place of batch norms; the trunk begins at random (:mod:`hdrvideo.rivals.resnet`).
  The small size, for two cores, has EfficientNet-Lite0, 128 px and heat of 32 x 32 x 32.
* Joints are in our order, not in InterHand's (which begins with the thumb's tip).
* Heat comes out as a share of its peak of 255: the last layer need not grow by itself to hundreds.
* A cell's centre is where its heat is drawn and read; the release draws and reads at the corner,
  which is the same for a net that learns it. Depth is as released: no half cell, so that the wrist
  has a cell of its own.
* Beside the published integer argmax joints can be read by the mean over sharpened heat, which is
  finer than 4 px and 6.25 mm (12.5 mm of the small size).
* Joints become a hand in space without RootNet (:func:`hdrvideo.rivals.reading.with_depth`), and
  get a confidence from the spread of their heat.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from hdrvideo.datatypes import N_JOINTS, N_SIDES, check_array
from hdrvideo.frame.blocks import GroupNorm
from hdrvideo.frame.detmaps import REFERENCE_BONE_MM, px_from_cells
from hdrvideo.frame.efficientnet import CHANNELS, EfficientTrunk
from hdrvideo.frame.pair import N_PAIR, PairJoints
from hdrvideo.frame.shpe import CropPoses
from hdrvideo.rivals.reading import log_error_palms, with_depth
from hdrvideo.rivals.resnet import ResNet50

# What the depth axes hold, of joints from their wrist and of the left wrist from the right one.
DEPTH_MM: Final = 400.0
PEAK: Final = 255.0
# Standard deviation of a joint's heat in cells of an axis of 64.
SIGMA_64: Final = 2.5
# For the soft reading heat is sharpened by this power: a bell becomes one of half its width, and
# what little heat lies everywhere weighs nothing.
_SHARPER: Final = 4
_DECONVOLUTIONS: Final = 3
_GROUPS: Final = 32


@dataclass(frozen=True)
class InterNetSize:
    """How large an InterNet is.

    Attributes:
        resolution_px: Side of its picture; heat maps have a quarter of it.
        bins: Cells of both depth axes.
        width: Channels of a hand's branch, a multiple of 32.
        hidden: Of the layers that say handedness and the way.
    """

    resolution_px: int
    bins: int
    width: int
    hidden: int


PAPER: Final = InterNetSize(resolution_px=256, bins=64, width=256, hidden=512)
SMALL: Final = InterNetSize(resolution_px=128, bins=32, width=64, hidden=128)


@dataclass(frozen=True)
class InterMaps:
    """What the net says of a batch of pictures.

    Attributes:
        heat: ``(B, 42, D, h, w)``, the right hand's first; a sure joint's peak is 255.
        way_logit: ``(B, D)``; the mean over its softmax is the cell of the left wrist's depth from
            the right one's.
        handed_logit: ``(B, 2)`` log odds that the right and the left hand are there.
    """

    heat: Tensor
    way_logit: Tensor
    handed_logit: Tensor

    def __post_init__(self) -> None:
        b, _, d, h, w = self.heat.shape
        check_array("heat", self.heat, (b, N_PAIR, d, h, w), "")
        check_array("way_logit", self.way_logit, (b, d), "")
        check_array("handed_logit", self.handed_logit, (b, N_SIDES), "")


class InterNet(nn.Module):
    """The net; its trunk is handed in."""

    def __init__(self, trunk: nn.Module, channels: int, size: InterNetSize) -> None:
        """Put the heads on a trunk.

        Args:
            trunk: Has ``features``, which gives features of rising strides, the last of stride 32.
            channels: Of the last features.
            size: Of the rest.
        """
        super().__init__()
        self.size, self.resolution_px = size, size.resolution_px
        self.trunk = trunk
        self.hands = nn.ModuleList(_HandBranch(channels, size) for _ in range(N_SIDES))
        self.way = _says(channels, size.hidden, size.bins)
        self.handed = _says(channels, size.hidden, N_SIDES)

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, R, R)`` pictures in 0..1, R a multiple of 32; gives :class:`InterMaps`."""
        features = cast(Any, self.trunk).features(rgb)[-1]
        heat = torch.cat([hand(features) for hand in self.hands], dim=1)
        pooled = features.mean(dim=(2, 3))
        return heat, self.way(pooled), self.handed(pooled)


class _HandBranch(nn.Module):
    """Three doublings of the features, then all cells of depth of each joint."""

    def __init__(self, channels: int, size: InterNetSize) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(_DECONVOLUTIONS):
            wide = channels if k == 0 else size.width
            layers += [
                nn.ConvTranspose2d(wide, size.width, 4, 2, 1, bias=False),
                GroupNorm(_GROUPS, size.width),
                nn.ReLU(inplace=True),
            ]
        self.grow = nn.Sequential(*layers)
        self.heat = nn.Conv2d(size.width, N_JOINTS * size.bins, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
        nn.init.zeros_(cast(Tensor, self.heat.bias))

    def forward(self, x: Tensor) -> Tensor:
        heat: Tensor = PEAK * self.heat(self.grow(x))
        b, _, h, w = heat.shape
        return heat.reshape(b, N_JOINTS, -1, h, w)


def _says(channels: int, hidden: int, n: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, n))


def paper() -> InterNet:
    """Make the published size: some 47 M parameters."""
    return InterNet(ResNet50(), ResNet50.CHANNELS[-1], PAPER)


def small() -> InterNet:
    """Make the size for two cores."""
    return InterNet(EfficientTrunk(), CHANNELS[32], SMALL)


SIZES: Final[Mapping[str, Callable[[], InterNet]]] = {"small": small, "paper": paper}


def cells_from_mm(depth_mm: Tensor, bins: int) -> Tensor:
    """Take depths to cells of an axis: 0 mm is in its middle."""
    return (depth_mm / DEPTH_MM + 0.5) * bins


def mm_from_cells(cells: Tensor, bins: int) -> Tensor:
    """Undo :func:`cells_from_mm`."""
    return (cells / bins - 0.5) * DEPTH_MM


def way_cell(way_logit: Tensor) -> tuple[Tensor, Tensor]:
    """Read the way's cell ``(B,)`` as the mean over its softmax; and its standard deviation."""
    weights = way_logit.softmax(dim=-1)
    cells = torch.arange(way_logit.shape[-1], device=weights.device, dtype=weights.dtype)
    mean = (weights * cells).sum(dim=-1)
    variance = (weights * (cells - mean[:, None]).square()).sum(dim=-1)
    return mean, variance.clamp(min=0).sqrt()


def heat_weights(heat: Tensor) -> Tensor:
    """Give what each cell of heat ``(B, 42, D, h, w)`` weighs; the weights of a joint sum to one.

    Heat below nothing weighs nothing; a joint without any heat lies in the middle of all.
    """
    flat = heat.flatten(2)
    share = (flat / flat.amax(dim=-1, keepdim=True).clamp(min=1e-6)).clamp(min=1e-6) ** _SHARPER
    return (share / share.sum(dim=-1, keepdim=True)).reshape(heat.shape)


def read_cells(heat: Tensor, weights: Tensor, *, soft: bool) -> tuple[Tensor, Tensor]:
    """Read joints' cells ``(B, 42, 3)`` of u, v and depth, and their spread ``(B, 42)`` in u, v.

    Args:
        heat: ``(B, 42, D, h, w)``.
        weights: From :func:`heat_weights`; the spread is theirs.
        soft: By the mean over the weights; or, as published, at the hottest cell.
    """
    d, h, w = heat.shape[2:]
    means, variance = [], torch.zeros_like(heat[:, :, 0, 0, 0])
    for axis, n in ((4, w), (3, h), (2, d)):
        others = tuple(k for k in (2, 3, 4) if k != axis)
        along = weights.sum(dim=others)
        cells = torch.arange(n, device=heat.device, dtype=heat.dtype)
        mean = (along * cells).sum(dim=-1)
        means.append(mean)
        if axis != 2:
            variance = variance + (along * (cells - mean[..., None]).square()).sum(dim=-1)
    spread = variance.clamp(min=0).sqrt()
    if soft:
        return torch.stack(means, dim=-1), spread
    place = heat.flatten(2).argmax(dim=-1)
    deep = place.div(h * w, rounding_mode="floor")
    row = (place % (h * w)).div(w, rounding_mode="floor")
    return torch.stack([place % w, row, deep], dim=-1).to(heat.dtype), spread


def read_inter(maps: InterMaps, resolution_px: int, *, soft: bool = True) -> PairJoints:
    """Read both hands' joints of a picture ``resolution_px`` wide.

    Args:
        maps: What the net says.
        resolution_px: Side of the picture.
        soft: Joints by the mean over their heat; False: at the hottest cell, as published.
    """
    return PairJoints(*_read(maps.heat, maps.way_logit, resolution_px, soft=soft))


def _read(heat: Tensor, way_logit: Tensor, resolution_px: int, *, soft: bool) -> tuple[Tensor, ...]:
    """Give the four of :class:`PairJoints`; plain tensors, so that it can be traced."""
    bins, width = heat.shape[2], heat.shape[-1]
    cells, spread = read_cells(heat, heat_weights(heat), soft=soft)
    by_side = (-1, N_SIDES, N_JOINTS)
    cells, spread = cells.reshape(*by_side, 3), spread.reshape(by_side)
    stride_px = resolution_px / width
    uv_px = px_from_cells(cells[..., :2], stride_px)
    z_mm = mm_from_cells(cells[..., 2], bins)
    log_error = log_error_palms(spread * stride_px, uv_px)
    cell, doubt = way_cell(way_logit)
    bones = DEPTH_MM / bins / REFERENCE_BONE_MM
    way = [mm_from_cells(cell, bins) / REFERENCE_BONE_MM, (doubt * bones).clamp(min=1e-3).log()]
    xyz_mm = with_depth(uv_px, z_mm - z_mm[..., :1])
    return uv_px, xyz_mm / REFERENCE_BONE_MM, log_error, torch.stack(way, dim=-1)


class InterReader(nn.Module):
    """A net and the reading of its heat in one: small outputs, for engines that trace."""

    def __init__(self, net: nn.Module, *, soft: bool = True) -> None:
        """Take a net; ``soft`` as of :func:`read_inter`."""
        super().__init__()
        self.net = net
        self.soft = soft

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, R, R)`` pictures.

        Returns:
            Chances that the right and the left hand are there ``(B, 2)``; then the four of
            :class:`~hdrvideo.frame.pair.PairJoints`.
        """
        heat, way_logit, handed_logit = (part.float() for part in self.net(rgb))
        joints = _read(heat, way_logit, rgb.shape[-1], soft=self.soft)
        return (handed_logit.sigmoid(), *joints)


@dataclass(frozen=True)
class HandedPair:
    """All that InterNet says of a batch of pictures.

    Attributes:
        handed: ``(B, 2)`` chance that each hand is there.
        joints: Both hands' joints.
    """

    handed: Tensor
    joints: PairJoints


class InterPair:
    """What runs an :class:`InterReader` in the place of :class:`hdrvideo.frame.hasm.Hasm`'s joints.

    There are no masks: the published net has none.
    """

    def __init__(
        self, reader: Callable[[Tensor], Any], *, resolution_px: int, device: torch.device
    ) -> None:
        self.resolution_px = resolution_px
        self._reader = reader
        self._device = device

    def __call__(self, pictures: Tensor) -> HandedPair:
        """Look at ``(B, 3 or 6, R, R)`` pictures; hints are not looked at. It comes on the CPU."""
        with torch.inference_mode():
            rgb = pictures[:, :3].to(self._device)
            handed, *joints = (part.float().cpu() for part in self._reader(rgb))
        return HandedPair(handed, PairJoints(*joints))


class InterShpe:
    """An :class:`InterReader` behind the SHPE interface: the crop's own, right hand is read.

    What the published net says of the other hand is left, but for presence and side: a crop that
    shows a left hand alone is one in which the hand is on the wrong side.
    """

    def __init__(self, reader: Callable[[Tensor], Any], *, resolution_px: int) -> None:
        self.resolution_px = resolution_px
        self._reader = reader

    def __call__(self, rgb: Tensor) -> CropPoses:
        """Read ``(B, 3, R, R)`` crops in 0..1."""
        handed, *parts = self._reader(rgb)
        joints = PairJoints(*parts)
        presence = handed.amax(dim=1)
        return CropPoses(
            uv_crop_px=joints.uv_px[:, 0],
            xyz_crop_mm=joints.xyz_mm[:, 0],
            presence=presence,
            looks_right=handed[:, 0] / handed.sum(dim=1).clamp(min=1e-6),
            confidence=joints.confidence[:, 0] * presence[:, None],
        )


def draw_heat(cells: Tensor, bins: int, h: int, w: int) -> Tensor:
    """Draw joints as bells of height 255 in three dimensions.

    Args:
        cells: ``(B, 42, 3)`` u, v, depth.
        bins: Cells of depth.
        h: Rows.
        w: Columns.

    Returns:
        ``(B, 42, bins, h, w)``, as wide for the size of each axis as published for 64.
    """
    along = []
    for k, n in enumerate((w, h, bins)):
        places = torch.arange(n, device=cells.device, dtype=cells.dtype)
        off = (places - cells[..., k : k + 1]) / (SIGMA_64 * n / 64)
        along.append(torch.exp(-0.5 * off.square()))
    u, v, deep = along
    return PEAK * deep[..., :, None, None] * v[..., None, :, None] * u[..., None, None, :]
