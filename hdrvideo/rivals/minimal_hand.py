"""minimal-hand: DetNet reads joints, IKNet turns them into the joints' rotations of a hand model.

After Zhou et al., "Monocular Real-time Hand Shape and Motion Capture using Multi-modal Data" (CVPR
2020), sections 3.1 and 3.2, and its released code. DetNet is :class:`hdrvideo.frame.detnet.DetNet`,
as in HDR's release, on the published crops of 128 px; IKNet is :class:`hdrvideo.ik.IkNet`.
Departures beside those of both, with their reasons:

* Our hand model in place of MANO, whose licence allows no use here: of each finger joint three
  angles within its limits in place of a free quaternion, and the mean shape, as the published IKNet
  says none.
* The crop shows a right hand (the published net was made for left ones); places are told from the
  wrist, not from the middle knuckle, in lengths of the same bone. IKNet sees neither origin nor
  unit.
* IKNet begins as our fit's (made hands) and goes on to learn from DetNet's joints; the palm's rigid
  alignment goes before it, so that it must say only what is left of the hand's turn.
* Maps are read by soft-argmax. Both nets learn in one run, but what is asked of the posed hand
  teaches IKNet alone: hands whose joints still lie in one heap have slopes without bound.
* The small size has a quarter of the channels.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from hdrvideo.chain import Chain, Hands
from hdrvideo.frame.detmaps import px_from_cells, read_cells, soft_weights
from hdrvideo.frame.detnet import DetNet
from hdrvideo.handmodel import HandModel
from hdrvideo.ik import IkNet, align, decode, encode

# As published, of crops and of DetNet's first maps; the small size's.
RESOLUTION_PX: Final = 128
_PAPER_WIDTH: Final = 64
_SMALL_WIDTH: Final = 16


class MinimalHand(nn.Module):
    """Both nets, handed in."""

    RESOLUTION_PX: Final = RESOLUTION_PX

    def __init__(self, detnet: DetNet, ik: IkNet) -> None:
        super().__init__()
        self.detnet = detnet
        self.ik = ik
        self.chain = Chain(HandModel())

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """Read ``(B, 3, R, R)`` crops, R a multiple of 4.

        Returns:
            The six of :class:`~hdrvideo.frame.detmaps.DetMaps`; then the posed hand's joints ``(B,
            21, 3)`` from the wrist in mm.
        """
        maps = self.detnet(rgb)
        kind = rgb.device.type
        # In full precision, also where the maps are made in half of it.
        with torch.autocast(kind if torch.amp.is_autocast_available(kind) else "cpu", enabled=False):
            _, xyz, *_ = _read(*(part.float() for part in maps))
            return (*maps, self.posed(xyz.detach()))

    def posed(self, xyz: Tensor) -> Tensor:
        """Pose the hand model to joints ``(B, 21, 3)`` of any unit; gives its own, in mm."""
        hands = self.chain.relaxed(xyz.shape[0])
        seen = torch.ones_like(xyz[..., 0])
        with torch.no_grad():
            turn, _ = align(self.chain.joints(hands), xyz.detach(), seen)
        features = encode(xyz @ turn, seen > 0, torch.zeros_like(seen[:, 0]) > 0)
        left, angles_rad = decode(self.chain, *self.ik(features))
        posed = Hands(turn @ left, hands.wrist_mm, angles_rad, hands.shape)
        return self.chain.joints(posed)


class MinimalReader(nn.Module):
    """A net and the reading of its maps in one. The palm's alignment cannot be traced."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read ``(B, 3, R, R)`` crops.

        Returns:
            Joints in the crop ``(B, 21, 2)`` px and in space ``(B, 21, 3)`` mm from the wrist, and
            the log of the expected 2D error ``(B, 21)`` in palm lengths.
        """
        *maps, xyz_mm = (part.float() for part in self.net(rgb))
        uv_cells, _, _, log_error = _read(*maps)
        return px_from_cells(uv_cells, rgb.shape[-1] / maps[0].shape[-1]), xyz_mm, log_error


def _read(heat: Tensor, delta: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
    """Read the six maps softly."""
    return read_cells(soft_weights(heat), *more)


def paper() -> MinimalHand:
    """Make the published size."""
    return MinimalHand(DetNet(_PAPER_WIDTH), IkNet())


def small() -> MinimalHand:
    """Make the size for two cores."""
    return MinimalHand(DetNet(_SMALL_WIDTH), IkNet())


SIZES: Final[Mapping[str, Callable[[], MinimalHand]]] = {"small": small, "paper": paper}
