"""Rivals in the places of HASM and HDRM, and what every net of a comparison costs.

See :func:`hdrvideo.build.build_rival` for those that read joints in the place of SHPE.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from hdrvideo.build import ready
from hdrvideo.checkpoint import load_weights
from hdrvideo.errors import SettingsError
from hdrvideo.frame.detnet import DetNetSmall
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.frame.hdrm import N_CHANNELS, SMALL, HdrmNet
from hdrvideo.frame.painter import Hdrm
from hdrvideo.frame.shpe import LandmarkNet
from hdrvideo.rivals import (
    handoccnet,
    human_deocclusion,
    internet,
    minimal_hand,
    pcnet_content,
    pcnet_mask,
)
from hdrvideo.rivals.cost import Cost, cost_of
from hdrvideo.rivals.human_deocclusion import HumanDeocclusion, HumanMasks
from hdrvideo.rivals.internet import InterPair, InterReader
from hdrvideo.rivals.pcnet_mask import PcnetMasks

POSE: Final = "pose"
MASKS: Final = "masks"
PAINTING: Final = "painting"
# The stages whose place each rival takes.
RIVALS: Final[Mapping[str, tuple[str, ...]]] = {
    "internet": (POSE,),
    "handoccnet": (POSE,),
    "minimal_hand": (POSE,),
    "pcnet_mask": (MASKS,),
    "pcnet_content": (PAINTING,),
    "human_deocclusion": (MASKS, PAINTING),
}
SIZES: Final = ("small", "paper")


class _MaskHalf(nn.Module):
    """Human De-occlusion's mask nets with one input."""

    def __init__(self, size: human_deocclusion.HumanSize) -> None:
        super().__init__()
        self.net = human_deocclusion.HumanMaskNet(size)

    def forward(self, seen: Tensor) -> Any:
        """Complete ``(B, 4, R, R)``: RGB and what is seen."""
        return self.net(seen[:, :3], seen[:, 3:])


def build_pair_rival(path: Path, *, size: str = "small", device: torch.device) -> InterPair:
    """Load InterNet, to read both hands' joints from one picture of both.

    Args:
        path: Its weights, of ``hdrvideo train``.
        size: ``small`` or ``paper``.
        device: Where it runs.

    Raises:
        SettingsError: There is no such size.
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    _check("internet", POSE, size)
    net = internet.SIZES[size]()
    load_weights(net, path)
    ready(net, device)
    reader = InterReader(net).eval()
    return InterPair(reader, resolution_px=net.resolution_px, device=device)


def build_mask_rival(
    name: str, path: Path, *, size: str = "small", device: torch.device, gap_kernel: int = 1
) -> PcnetMasks | HumanMasks:
    """Load a rival that completes masks, in the place of HASM.

    Args:
        name: ``pcnet_mask`` or ``human_deocclusion``.
        path: Its weights, of ``hdrvideo train``.
        size: ``small`` or ``paper``.
        device: Where it runs.
        gap_kernel: Of PCNet-M; see :func:`hdrvideo.rivals.pcnet_mask.touching`.

    Raises:
        SettingsError: There is no such rival, or no such size.
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    _check(name, MASKS, size)
    if name == "pcnet_mask":
        net = pcnet_mask.PcnetMaskNet(pcnet_mask.SIZES[size])
        load_weights(net, path)
        return PcnetMasks(
            ready(net, device),
            resolution_px=net.size.resolution_px,
            device=device,
            gap_kernel=gap_kernel,
        )
    human = HumanDeocclusion(human_deocclusion.SIZES[size])
    load_weights(human, path)
    resolution_px = human.size.content.resolution_px
    return HumanMasks(ready(human.masks, device), resolution_px=resolution_px, device=device)


def build_paint_rival(name: str, path: Path, *, size: str = "small", device: torch.device) -> Hdrm:
    """Load a rival that paints hands, in the place of HDRM.

    Args:
        name: ``pcnet_content`` or ``human_deocclusion``.
        path: Its weights, of ``hdrvideo train``.
        size: ``small`` or ``paper``.
        device: Where it runs.

    Raises:
        SettingsError: There is no such rival, or no such size.
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    _check(name, PAINTING, size)
    if name == "pcnet_content":
        net: nn.Module = pcnet_content.PcnetContentNet(pcnet_content.SIZES[size])
        load_weights(net, path)
        resolution_px = pcnet_content.SIZES[size].resolution_px
    else:
        human = HumanDeocclusion(human_deocclusion.SIZES[size])
        load_weights(human, path)
        net, resolution_px = human.content, human.size.content.resolution_px
    return Hdrm(ready(net, device), resolution_px=resolution_px, device=device)


def rival_cost(name: str, stage: str, size: str = "small") -> Cost:
    """Count what a rival costs; no weights are needed.

    Args:
        name: One of :data:`RIVALS`.
        stage: The one whose place it takes.
        size: ``small`` or ``paper``.

    Raises:
        SettingsError: There is no such rival in that place, or no such size.
    """
    _check(name, stage, size)
    if stage == POSE:
        sizes = {"internet": internet, "handoccnet": handoccnet, "minimal_hand": minimal_hand}
        net = sizes[name].SIZES[size]()
        return cost_of(net, net.resolution_px)
    if name == "pcnet_mask":
        pcnet = pcnet_mask.SIZES[size]
        return cost_of(pcnet_mask.PcnetMaskNet(pcnet), pcnet.resolution_px, n_channels=2)
    human = human_deocclusion.SIZES[size]
    if stage == MASKS:
        return cost_of(_MaskHalf(human), human.content.resolution_px, n_channels=4)
    nets: dict[str, Callable[[], tuple[nn.Module, int]]] = {
        "pcnet_content": lambda: (
            pcnet_content.PcnetContentNet(pcnet_content.SIZES[size]),
            pcnet_content.SIZES[size].resolution_px,
        ),
        "human_deocclusion": lambda: (
            human_deocclusion.HumanContentNet(human.content),
            human.content.resolution_px,
        ),
    }
    net, resolution_px = nets[name]()
    return cost_of(net, resolution_px, n_channels=N_CHANNELS)


def own_cost(name: str) -> Cost:
    """Count what one of our nets costs.

    Args:
        name: ``landmark``, ``shpe`` (with the landmark net, whose pass it shares), ``hasm`` (with
            its joints) or ``hdrm``.

    Raises:
        SettingsError: There is no such net.
    """
    if name == "landmark":
        return cost_of(LandmarkNet(), LandmarkNet.RESOLUTION_PX)
    if name == "shpe":
        return cost_of(DetNetSmall(LandmarkNet()), DetNetSmall.RESOLUTION_PX)
    if name == "hasm":
        return cost_of(HasmNet(), HasmNet.RESOLUTION_PX, n_channels=HasmNet.CHANNELS)
    if name == "hdrm":
        return cost_of(HdrmNet(SMALL), SMALL.resolution_px, n_channels=N_CHANNELS)
    raise SettingsError(f"net is {name!r}, expected landmark, shpe, hasm or hdrm")


def _check(name: str, stage: str, size: str) -> None:
    known = [rival for rival, stages in RIVALS.items() if stage in stages]
    if name not in known or size not in SIZES:
        raise SettingsError(
            f"rival is {name!r} of size {size!r}, expected {', '.join(known)} of size "
            f"{' or '.join(SIZES)}"
        )
