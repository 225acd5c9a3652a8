"""Settings and weights to ready parts: the only place where nets are put together."""

from dataclasses import dataclass

import torch
from torch import nn

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.config import Settings
from hdrvideo.crop.find import PalmFinder
from hdrvideo.crop.palm import PalmNet
from hdrvideo.crop.segment import Segmenter
from hdrvideo.engine import make_runner, pick_engine
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hasm import Hasm, HasmNet
from hdrvideo.frame.shpe import LandmarkNet, LandmarkShpe
from hdrvideo.frame.stage import FrameStage

WEIGHTS = ("palm", "landmark", "hasm")


@dataclass(frozen=True)
class Parts:
    """What the pipeline joins: palm finder and frame-level core, and what runs them where."""

    finder: PalmFinder
    segmenter: Segmenter | None
    frame_stage: FrameStage
    device: torch.device
    engine: str


def pick_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        SettingsError: Another word, or CUDA where torch finds none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"device is {name!r}, expected 'auto', 'cpu' or 'cuda'")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise SettingsError("device is 'cuda' but torch finds no CUDA device; use --device cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def build_net(name: str, net: nn.Module, device: torch.device) -> nn.Module:
    """Load shipped weights into a net and make it ready for inference, channels last."""
    load_weights(net, weights_path(name))
    net.requires_grad_(requires_grad=False)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval()


def build_parts(settings: Settings, device: torch.device) -> Parts:
    """Build everything the main job needs from shipped weights.

    Raises:
        WeightsError: Weights are missing or damaged.
    """
    engine = pick_engine(settings.engine, device)
    palm_net = build_net("palm", PalmNet(), device)
    landmark_net = build_net("landmark", LandmarkNet(), device)
    palm = make_runner(palm_net, engine, resolution_px=PalmNet.RESOLUTION_PX)
    landmark = make_runner(landmark_net, engine, resolution_px=LandmarkNet.RESOLUTION_PX)
    segmenter = None
    if settings.hasm != "off":
        hasm_net = build_net("hasm", HasmNet(), device)
        hasm = make_runner(
            hasm_net,
            engine,
            resolution_px=HasmNet.RESOLUTION_PX,
            n_channels=HasmNet.CHANNELS,
        )
        segmenter = Segmenter(Hasm(hasm, device=device), resolution_px=HasmNet.RESOLUTION_PX)
    return Parts(
        finder=PalmFinder(palm, device=device, min_score=settings.find.min_score),
        segmenter=segmenter,
        frame_stage=FrameStage(shpe=LandmarkShpe(landmark), device=device),
        device=device,
        engine=engine,
    )
