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
from typing import Any, Final

import torch
from torch import Tensor, nn

from hdrvideo.chain import Chain, Hands
from hdrvideo.frame.detmaps import DetMaps, read_soft
from hdrvideo.frame.detnet import DetNet
from hdrvideo.handmodel import HandModel
from hdrvideo.ik import IkNet, align, decode, encode

# As published, of crops and of DetNet's first maps; the small size's.
RESOLUTION_PX: Final = 128
_PAPER_WIDTH: Final = 64
_SMALL_WIDTH: Final = 16


class MinimalHand(nn.Module):
    """Both nets, handed in."""

    resolution_px = RESOLUTION_PX

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
        with torch.autocast(
            kind if torch.amp.is_autocast_available(kind) else "cpu", enabled=False
        ):
            found = read_soft(DetMaps(*(part.float() for part in maps)))
            return (*maps, self.posed(found.xyz.detach()))

    def posed(self, xyz: Tensor) -> Tensor:
        """Pose the hand model to joints ``(B, 21, 3)`` of any unit; gives its own, in mm."""
        hands = self.chain.relaxed(len(xyz))
        seen = torch.ones_like(xyz[..., 0])
        with torch.no_grad():
            turn, _ = align(self.chain.joints(hands), xyz.detach(), seen)
        features = encode(xyz @ turn, seen > 0, torch.zeros_like(seen[:, 0]) > 0)
        left, angles_rad = decode(self.chain, *self.ik(features))
        posed = Hands(turn @ left, hands.wrist_mm, angles_rad, hands.shape)
        return self.chain.joints(posed)


class MinimalPoser:
    """What runs DetNet's :class:`~hdrvideo.frame.detnet.DetReader`, and IKNet behind it."""

    def __init__(self, reader: Callable[[Tensor], Any], net: MinimalHand) -> None:
        """Take both.

        Args:
            reader: Runs the reader of ``net.detnet``.
            net: Of which IKNet and the hand are used here.
        """
        self._reader = reader
        self._net = net

    def __call__(self, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read crops as :class:`hdrvideo.rivals.reading.JudgedShpe` asks for."""
        uv_px, xyz, _, log_error = self._reader(rgb)
        return uv_px, self._net.posed(xyz), log_error


def paper() -> MinimalHand:
    """Make the published size."""
    return MinimalHand(DetNet(_PAPER_WIDTH), IkNet())


def small() -> MinimalHand:
    """Make the size for two cores."""
    return MinimalHand(DetNet(_SMALL_WIDTH), IkNet())


SIZES: Final[Mapping[str, Callable[[], MinimalHand]]] = {"small": small, "paper": paper}
