"""Both hands' joints from one look at a picture: what HASM says beside its masks.

After InterNet (Moon et al., "InterHand2.6M", ECCV 2020, section 5): one net for both hands, heat of
42 joints, and the way in depth from wrist to wrist. Departures, with their reasons:

* Joints stand on HASM's own features and are taught with its masks: what tells the sides apart in a
  mask tells whose joint it is, and a hint of where a hand was helps both.
* Places in space come from location maps (:mod:`hdrvideo.frame.detmaps`), not from a depth axis of
  the heat: 64 cells of depth for each of 42 joints are too much for two cores.
* Joints are read by the mean over their heat, not at its hottest cell.
* The way in depth is told in lengths of a hand's reference bone, as one camera cannot tell a small
  near pair from a large far one, and with the error to expect.
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from hdrvideo.datatypes import N_JOINTS, N_SIDES, check_array
from hdrvideo.frame.blocks import Mix
from hdrvideo.frame.detmaps import REFERENCE_BONE_MM, chance_right, px_from_cells, read_cells

N_PAIR: Final = N_SIDES * N_JOINTS
# Heat, location, offset and log error of a joint.
_MAPS: Final = (1, 3, 2, 1)


@dataclass(frozen=True)
class PairMaps:
    """What a net says of 42 joints, those of the right hand first, on maps of ``h x w`` cells.

    Attributes:
        heat_logit: ``(B, 42, h, w)``; a softmax over the cells gives each its weight.
        location: ``(B, 126, h, w)`` place from the own wrist in lengths of the reference bone, in
            the picture's axes.
        offset: ``(B, 84, h, w)`` way from the cell to the joint, in cells.
        log_error: ``(B, 42, h, w)`` log of the expected 2D error in palm lengths.
        way: ``(B, 2)`` way in depth from the right wrist to the left one in lengths of the
            reference bone, and the log of its expected error.
    """

    heat_logit: Tensor
    location: Tensor
    offset: Tensor
    log_error: Tensor
    way: Tensor

    def __post_init__(self) -> None:
        b, _, h, w = self.heat_logit.shape
        check_array("heat_logit", self.heat_logit, (b, N_PAIR, h, w), "")
        check_array("location", self.location, (b, 3 * N_PAIR, h, w), "")
        check_array("offset", self.offset, (b, 2 * N_PAIR, h, w), "")
        check_array("log_error", self.log_error, (b, N_PAIR, h, w), "")
        check_array("way", self.way, (b, 2), "")


@dataclass(frozen=True)
class PairJoints:
    """Both hands' joints, by side (0 right, 1 left), whether the hand is there or not.

    Attributes:
        uv_px: ``(B, 2, 21, 2)`` float32 in the net's picture.
        xyz: ``(B, 2, 21, 3)`` float32 from the own wrist, the picture's axes, in lengths of the
            reference bone.
        log_error: ``(B, 2, 21)`` float32 log of the expected 2D error in palm lengths.
        way: ``(B, 2)`` float32; see :class:`PairMaps`.
    """

    uv_px: Tensor
    xyz: Tensor
    log_error: Tensor
    way: Tensor

    def __post_init__(self) -> None:
        b = len(self.way)
        check_array("uv_px", self.uv_px, (b, N_SIDES, N_JOINTS, 2), "float32")
        check_array("xyz", self.xyz, (b, N_SIDES, N_JOINTS, 3), "float32")
        check_array("log_error", self.log_error, (b, N_SIDES, N_JOINTS), "float32")
        check_array("way", self.way, (b, 2), "float32")

    @property
    def xyz_mm(self) -> Tensor:
        """Places from the own wrist with an adult's reference bone, ``(B, 2, 21, 3)``."""
        return self.xyz * REFERENCE_BONE_MM

    @property
    def confidence(self) -> Tensor:
        """Chance of each joint to lie within a fifth of a palm of the truth, ``(B, 2, 21)``."""
        return chance_right(self.log_error)


class PairHead(nn.Module):
    """Joints from a map of features, and the way from hand to hand from what sums up the picture.

    Args:
        channels: Of the map.
        summary: Of the summary.
    """

    def __init__(self, channels: int, summary: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(Mix(channels), Mix(channels))
        self.maps = nn.Conv2d(channels, N_PAIR * sum(_MAPS), 1)
        self.way = nn.Sequential(
            nn.LayerNorm(summary), nn.Linear(summary, 64), nn.PReLU(64), nn.Linear(64, 2)
        )

    def forward(self, features: Tensor, summary: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, C, h, w)`` and ``(B, S)`` to the five of :class:`PairMaps`."""
        maps = self.maps(self.mix(features))
        heat, location, offset, log_error = maps.split([N_PAIR * n for n in _MAPS], dim=1)
        return heat, location, offset, log_error, self.way(summary)


def pair_weights(heat_logit: Tensor) -> Tensor:
    """Give what each cell ``(B, 42, h, w)`` weighs; the weights of a joint sum to one."""
    return heat_logit.flatten(2).softmax(dim=-1).reshape(heat_logit.shape)


def read_pair(maps: PairMaps, resolution_px: int) -> PairJoints:
    """Read the joints of a picture ``resolution_px`` wide from its maps."""
    parts = (maps.heat_logit, maps.location, maps.offset, maps.log_error)
    return PairJoints(*_read(*parts, resolution_px=resolution_px), maps.way)


def _read(
    heat_logit: Tensor, location: Tensor, offset: Tensor, log_error: Tensor, *, resolution_px: int
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`read_pair`, on plain tensors, so that it can be traced."""
    heat = by_hand(heat_logit)
    uv_cells, xyz, log_error = read_cells(
        pair_weights(heat), *(by_hand(maps) for maps in (location, offset, log_error))
    )
    uv_px = px_from_cells(uv_cells, resolution_px / heat.shape[-1])
    shape = (-1, N_SIDES, N_JOINTS)
    return uv_px.reshape(*shape, 2), xyz.reshape(*shape, 3), log_error.reshape(shape)


def by_hand(maps: Tensor) -> Tensor:
    """Fold the sides of ``(B, 2 n, h, w)`` maps into the batch: ``(2 B, n, h, w)``."""
    b, n, h, w = maps.shape
    return maps.reshape(b * N_SIDES, n // N_SIDES, h, w)


class HasmReader(nn.Module):
    """A HASM net and the reading of its joints in one: small outputs, for engines that trace."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Look at ``(B, 6, R, R)`` pictures.

        Returns:
            Whole, share and presence as the net gives them; then the four of :class:`PairJoints`.
        """
        whole, share, presence, *maps, way = self.net(pictures)
        joints = _read(*maps, resolution_px=pictures.shape[-1])
        return whole, share, presence, *joints, way
