"""Our own SHPE: heat, delta and location maps of one right hand, after DetNet.

DetNet is from Zhou et al., "Monocular Real-time Hand Shape and Motion Capture" (CVPR 2020),
section 3.1; HDR (Meng et al., ECCV 2022) uses it with the wrist as root. For each joint it gives a
heat map, the unit vector from its parent (delta) and its place (location) in a map that is read
where the heat is. Places are relative to the wrist, in lengths of the bone from the wrist to the
middle knuckle. Departures, with their reasons:

* :class:`DetNetSmall` grows out of the landmark net, which was trained on real hands, and begins
  with that net's answer: its joints are drawn into the heat maps and its 3D is the location's
  start. So made pictures teach it what to change, and it is as good as that net from the first step
  on. Both share the first half of the trunk; one pass gives both nets' answers.
* Maps are read by soft-argmax, and an offset of the joint from its cell is read with them: a cell
  of 8 px is a seventh of a palm. The published integer argmax is here to be compared with.
* Two more maps say, for each joint, whether it is seen and how far off its place may be.
* Group norms in place of batch norms, which differ between workers and between crops' sources.

Nets take ``(B, 3, R, R)`` crops in 0..1 and give tuples; the first six are the fields of
:class:`~hdrvideo.frame.detmaps.DetMaps`.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.frame.blocks import GroupNorm, Join, Mix, pad_to_halve, places_like
from hdrvideo.frame.detmaps import (
    REFERENCE_BONE_MM,
    bone_directions,
    chance_right,
    heat_maps,
    px_from_cells,
    read_cells,
    soft_weights,
    unit_places,
)
from hdrvideo.frame.shpe import CropPoses, LandmarkNet

# Log odds of heat where no joint is, to begin with, and of the expected error.
_COLD_LOGIT: Final = -5.0
_FIRST_LOG_ERROR: Final = math.log(0.1)
# What the landmark net says is drawn so much wider than the truth: as log odds, it then is heat as
# wide as the truth, and is read at its middle to a hundredth of a cell.
_TOLD_WIDEN: Final = 1.4


class DetNetSmall(nn.Module):
    """DetNet's heads beside the landmark net: 224 px crops, maps of 28 x 28.

    Attributes:
        stem, low, mid, high: The landmark net's trunk, with strides up to 2, 8, 16 and 32.
        joints, presence, side, world: Its heads.
        own_mid, own_high: As ``mid`` and ``high``, and their like to begin with, for the new heads.
    """

    RESOLUTION_PX: Final = 224
    # The landmark net: as long as it is not trained, its answer is part of this net's.
    LANDMARK_PARTS: Final = (
        "stem", "low", "mid", "high", "joints", "presence", "side", "world",
    )  # fmt: skip
    _STRIDE_PX: Final = 8

    def __init__(self, landmark: LandmarkNet | None = None) -> None:
        """Put new heads on a landmark net; without one on an untrained one.

        Args:
            landmark: Becomes part of this net.
        """
        super().__init__()
        landmark = landmark or LandmarkNet()
        self.stem, blocks = landmark.stem, landmark.blocks
        self.low, self.mid, self.high = blocks[:5], blocks[5:11], blocks[11:]
        self.joints, self.world = landmark.joints, landmark.world
        self.presence, self.side = landmark.presence, landmark.side
        self.own_mid, self.own_high = copy.deepcopy(self.mid), copy.deepcopy(self.high)
        wide = self.joints.in_features
        self.context = nn.Sequential(
            nn.LayerNorm(wide + 6 * N_JOINTS),
            nn.Linear(wide + 6 * N_JOINTS, 128),
            nn.PReLU(128),
            nn.Linear(128, 96),
        )
        self.join14 = Join(wide, 112, 128)
        self.mix14 = Mix(128)
        self.join28 = Join(128, 40, 96)
        self.told = nn.Conv2d(N_JOINTS, 96, 1)
        self.place = nn.Conv2d(2, 96, 1)
        self.mix28 = nn.Sequential(Mix(96), Mix(96))
        self.heads = _Heads(96)
        # Log odds of a joint's heat where the landmark net saw it, over those of elsewhere.
        self.trust = nn.Parameter(torch.full((N_JOINTS,), 8.0))

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, 224, 224)`` crops.

        Returns:
            The six of :class:`~hdrvideo.frame.detmaps.DetMaps`, then the landmark net's four (see
            :meth:`LandmarkNet.forward`).
        """
        x = functional.relu6(self.stem(pad_to_halve(rgb, 3)), inplace=True)
        at28 = self.low(x)
        pooled = self.high(self.mid(at28)).mean(dim=(2, 3))
        joints, world = self.joints(pooled), self.world(pooled)
        landmark = (
            joints.unflatten(1, (N_JOINTS, 3)),
            torch.sigmoid(self.presence(pooled)).squeeze(1),
            torch.sigmoid(self.side(pooled)).squeeze(1),
            world.unflatten(1, (N_JOINTS, 3)),
        )
        h, w = at28.shape[-2:]
        uv_cells = landmark[0][..., :2] / self._STRIDE_PX - 0.5
        inside = uv_cells.clamp(0.0, self.RESOLUTION_PX / self._STRIDE_PX - 1)
        seen = heat_maps(inside, h, w, widen=_TOLD_WIDEN)
        places = unit_places(landmark[3])
        at14 = self.own_mid(at28)
        at7 = self.own_high(at14)
        told = [at7.mean(dim=(2, 3)), joints / self.RESOLUTION_PX, 10 * world]
        of_all = self.context(torch.cat(told, dim=1))
        x = self.mix14(self.join14(at7, at14))
        given = self.told(seen) + self.place(places_like(at28)) + of_all[:, :, None, None]
        x = self.mix28(self.join28(x, at28, given))
        maps = self.heads(
            x,
            self.trust[:, None, None] * seen,
            bone_directions(places).flatten(1)[:, :, None, None],
            places.flatten(1)[:, :, None, None],
            (uv_cells - inside).flatten(1)[:, :, None, None],
        )
        return (*maps, *landmark)


class _Heads(nn.Module):
    """Heat, delta and location in series, each told of what is before it; then what is ours.

    Each tail begins at zero, so that the first answer is the one that is handed in.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mixes = nn.ModuleList(Mix(channels) for _ in range(3))
        self.heat = nn.Conv2d(channels, N_JOINTS, 1)
        self.heat_back = nn.Conv2d(N_JOINTS, channels, 1)
        self.delta = nn.Conv2d(channels, 3 * N_JOINTS, 1)
        self.delta_back = nn.Conv2d(3 * N_JOINTS, channels, 1)
        self.location = nn.Conv2d(channels, 3 * N_JOINTS, 1)
        self.extra = nn.Conv2d(channels, 4 * N_JOINTS, 1)
        for tail in (self.heat, self.delta, self.location, self.extra):
            nn.init.zeros_(tail.weight)
            nn.init.zeros_(cast(Tensor, tail.bias))
        _begin(self.heat, self.extra)

    def forward(
        self, x: Tensor, heat0: Tensor, delta0: Tensor, location0: Tensor, offset0: Tensor
    ) -> tuple[Tensor, ...]:
        """Give the six of :class:`~hdrvideo.frame.detmaps.DetMaps`, each added to its start."""
        x = self.mixes[0](x)
        heat = heat0 + self.heat(x)
        x = self.mixes[1](x + self.heat_back(heat.sigmoid()))
        delta = delta0 + self.delta(x)
        x = self.mixes[2](x + self.delta_back(delta))
        offset, visible, log_error = self.extra(x).split((2 * N_JOINTS, N_JOINTS, N_JOINTS), dim=1)
        return heat, delta, location0 + self.location(x), offset0 + offset, visible, log_error


def _begin(heat: nn.Module, errors: nn.Module) -> None:
    """Let there be no heat to begin with, and some error (the last maps of its tail)."""
    nn.init.constant_(cast(Tensor, heat.bias), _COLD_LOGIT)
    nn.init.constant_(cast(Tensor, errors.bias)[-N_JOINTS:], _FIRST_LOG_ERROR)


class DetNet(nn.Module):
    """The paper's size, as in HDR's release: a dilated ResNet, maps at stride 4.

    13 M parameters. 7x7 stem of stride 2 without pooling; three stages of 2, 4 and 6 bottlenecks,
    the first of which ends with stride 2, the others dilated 2 and 4; 3x3 to 256 channels, two
    channels of coordinates, three heads in series.

    Departures beside those of the module: the maps of visibility and error hang on the last head,
    and there is no offset (it is zero); a cell is 4 px here.
    """

    RESOLUTION_PX: Final = 256

    def __init__(self, width: int = 64) -> None:
        """Make the net.

        Args:
            width: Channels of the stem, a multiple of 4; those of all that follows grow with it.
        """
        super().__init__()
        wide = 4 * width
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), _norm(width))
        self.stage1 = nn.Sequential(
            _Bottleneck(width, width, 1), _Bottleneck(wide, width, 1, stride=2)
        )
        self.stage2 = _stage(wide, 2 * width, 4, 2)
        self.stage3 = _stage(2 * wide, wide, 6, 4)
        self.narrow = nn.Sequential(
            nn.Conv2d(4 * wide, wide, 3, padding=1, bias=False), _norm(wide), nn.ReLU()
        )
        self.heat = _head(wide + 2, wide, N_JOINTS)
        self.delta = _head(wide + 2 + N_JOINTS, wide, 3 * N_JOINTS)
        self.location = _head(wide + 2 + 4 * N_JOINTS, wide, 5 * N_JOINTS)
        _begin(self.heat[-1], self.location[-1])

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, R, R)`` crops, R a multiple of 4 (128 and 256 are published).

        Returns:
            The six of :class:`~hdrvideo.frame.detmaps.DetMaps`, R / 4 wide.
        """
        x = torch.relu(self.stem(2 * rgb - 1))
        x = self.narrow(self.stage3(self.stage2(self.stage1(x))))
        place = places_like(x).expand(x.shape[0], -1, -1, -1)
        x = torch.cat([x, place], dim=1)
        heat = self.heat(x)
        x = torch.cat([x, heat.sigmoid()], dim=1)
        delta = self.delta(x)
        out = self.location(torch.cat([x, delta], dim=1))
        location, visible, log_error = out.split((3 * N_JOINTS, N_JOINTS, N_JOINTS), dim=1)
        return heat, delta, location, torch.zeros_like(location[:, :42]), visible, log_error


class _Bottleneck(nn.Module):
    """1x1, dilated 3x3, 1x1, residual; a residual that is halved is max-pooled."""

    def __init__(self, channels_in: int, channels: int, dilation: int, *, stride: int = 1) -> None:
        super().__init__()
        out = 4 * channels
        self.stride = stride
        self.shortcut = nn.Conv2d(channels_in, out, 1) if channels_in != out else None
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 1, bias=False),
            _norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False),
            _norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, out, 1, bias=False),
            _norm(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.shortcut is None else self.shortcut(x)
        if self.stride > 1:
            short = functional.max_pool2d(short, 1, self.stride)
        return torch.relu(short + self.body(x))


def _stage(channels_in: int, channels: int, n: int, dilation: int) -> nn.Sequential:
    first = _Bottleneck(channels_in, channels, dilation)
    more = (_Bottleneck(4 * channels, channels, dilation) for _ in range(n - 1))
    return nn.Sequential(first, *more)


def _head(channels_in: int, wide: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, wide, 3, padding=1, bias=False),
        _norm(wide),
        nn.ReLU(),
        nn.Conv2d(wide, channels_out, 1),
    )


def _norm(channels: int) -> GroupNorm:
    """Give a norm of 32 groups, of fewer where a group would be less than two channels."""
    return GroupNorm(min(32, channels // 2), channels)


class DetReader(nn.Module):
    """A net and the reading of its maps in one: small outputs, for engines that trace."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, R, R)`` crops.

        Returns:
            The four of :class:`~hdrvideo.frame.detmaps.DetJoints`, with joints in crop pixels; then
            whatever the net gives beside its maps.
        """
        heat, _, location, offset, visible_logit, log_error, *more = self.net(rgb)
        uv_cells, *found = read_cells(
            soft_weights(heat), location, offset, visible_logit, log_error
        )
        uv_px = px_from_cells(uv_cells, rgb.shape[-1] / heat.shape[-1])
        return (uv_px, *found, *more)


@dataclass(frozen=True)
class DetAnswer:
    """All that is said of a batch of crops.

    Attributes:
        poses: What every SHPE says.
        visible: ``(B, 21)`` chance that nothing lies before the joint.
        error_palms: ``(B, 21)`` expected 2D error in palm lengths.
        landmark: The landmark net's own answer on the same crops.
    """

    poses: CropPoses
    visible: Tensor
    error_palms: Tensor
    landmark: CropPoses


class DetShpe:
    """A :class:`DetReader` behind the SHPE interface.

    Presence and side are the landmark net's: a net that learnt from crops with a hand says nothing
    of crops without one.
    """

    def __init__(
        self,
        reader: Callable[[Tensor], Any],
        *,
        resolution_px: int,
        judge: Callable[[Tensor], Any] | None = None,
    ) -> None:
        """Join what runs the nets.

        Args:
            reader: Runs a :class:`DetReader`.
            resolution_px: Side of the crops.
            judge: Runs a :class:`LandmarkNet`. Needed unless the net is a :class:`DetNetSmall`
                whose landmark parts are as shipped: then they say the same in the same pass.
        """
        self.resolution_px = resolution_px
        self._reader = reader
        self._judge = judge

    def __call__(self, rgb: Tensor) -> CropPoses:
        """Read ``(B, 3, R, R)`` crops in 0..1."""
        return self.look(rgb).poses

    def look(self, rgb: Tensor) -> DetAnswer:
        """Read crops, and tell all."""
        uv_px, xyz, visible_logit, log_error, *told = self._reader(rgb)
        if self._judge is not None:
            told = self._judge(_resized(rgb, LandmarkNet.RESOLUTION_PX))
        joints, presence, looks_right, world_m = told
        landmark = CropPoses(
            uv_crop_px=joints[..., :2] * (self.resolution_px / LandmarkNet.RESOLUTION_PX) - 0.5,
            xyz_crop_mm=world_m * 1000,
            presence=presence,
            looks_right=looks_right,
            confidence=presence[:, None].expand(-1, N_JOINTS).contiguous(),
        )
        poses = CropPoses(
            uv_crop_px=uv_px,
            xyz_crop_mm=xyz * REFERENCE_BONE_MM,
            presence=presence,
            looks_right=looks_right,
            confidence=chance_right(log_error) * presence[:, None],
        )
        return DetAnswer(poses, visible_logit.sigmoid(), log_error.exp(), landmark)


def _resized(rgb: Tensor, size_px: int) -> Tensor:
    if rgb.shape[-1] == size_px:
        return rgb
    return functional.interpolate(
        rgb, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True
    )
