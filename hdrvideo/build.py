"""Settings and weights to ready parts: the only place where nets are put together.

The rivals that paint and complete masks, which only a comparison needs, are in
:mod:`hdrvideo.build_rivals`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hdrvideo.checkpoint import load_weights, read_note, weights_path
from hdrvideo.config import Settings
from hdrvideo.crop.find import PalmFinder
from hdrvideo.crop.palm import PalmNet
from hdrvideo.crop.segment import Segmenter
from hdrvideo.engine import Net, make_runner, pick_engine
from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.frame.detnet import DetNetSmall, DetReader, DetShpe
from hdrvideo.frame.hasm import Hasm, HasmNet
from hdrvideo.frame.hdrm import N_CHANNELS, SMALL, HdrmNet
from hdrvideo.frame.painter import AheadHdrm, Hdrm, SteadyHdrm
from hdrvideo.frame.pair import HasmReader
from hdrvideo.frame.shpe import LandmarkNet, LandmarkShpe
from hdrvideo.frame.stage import FrameStage, MixedShpe, Shpe
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.ahead import PaintAhead
from hdrvideo.motion.flow import DisFlow
from hdrvideo.motion.form import RefineForm
from hdrvideo.motion.memory import STAGE, MemoryNet
from hdrvideo.motion.states import StateReader
from hdrvideo.motion.steady import PaintMemory
from hdrvideo.motion.windows import STEADY_SECONDS, Refiner
from hdrvideo.rivals import handoccnet, internet, minimal_hand
from hdrvideo.rivals.reading import JudgedShpe

WEIGHTS = ("palm", "landmark", "hasm", "hdrm", "shpe", "refine")


@dataclass(frozen=True)
class Parts:
    """What the pipeline joins: palm finder, frame-level core, refiner, and what runs them where.

    ``ahead`` paints the pictures that are kept with what later frames show; None = they are kept as
    they were painted first.
    """

    finder: PalmFinder
    segmenter: Segmenter | None
    frame_stage: FrameStage
    refiner: Refiner | None
    device: torch.device
    engine: str
    ahead: AheadHdrm | None = None


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


def build_net(
    name: str, net: nn.Module, device: torch.device, path: Path | None = None
) -> nn.Module:
    """Load weights into a net, the shipped ones unless a path is given, and make it ready.

    It is for inference then, and channels last.
    """
    load_weights(net, path or weights_path(name))
    return ready(net, device)


def small_shpe(path: Path | None = None) -> DetNetSmall:
    """Load our own SHPE, small size; the landmark net within it is the shipped one.

    Args:
        path: Its weights; None = those that are shipped.

    Raises:
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    landmark = LandmarkNet()
    load_weights(landmark, weights_path("landmark"))
    net = DetNetSmall(landmark)
    load_weights(net, path or weights_path("shpe"), kept=DetNetSmall.LANDMARK_PARTS)
    return net


def memory_net(hdrm: HdrmNet, *, gated: bool) -> MemoryNet:
    """Give an HDRM a memory: gated, to be trained, or of colours and outlines alone."""
    n_features = hdrm.size.encoder[STAGE - 1][0] if gated else 0
    return MemoryNet(hdrm, n_seen=N_CHANNELS, n_features=n_features)


def ready(net: nn.Module, device: torch.device) -> nn.Module:
    """Make a net ready for inference, channels last."""
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
    palm = make_runner(palm_net, engine, resolution_px=PalmNet.RESOLUTION_PX)
    segmenter = None
    if settings.hasm != "off":
        hasm = build_hasm(engine, device)
        segmenter = Segmenter(hasm, resolution_px=hasm.resolution_px)
    painters: dict[str, Any] = {}
    ahead = None
    if settings.paints and settings.memory == "on":
        painters["steady"], ahead = _build_memories(engine, device)
    elif settings.paints:
        painters["hdrm"] = build_hdrm(engine, device)
    is_plain = settings.refine == "off" or settings.motion.causal
    waits_little = settings.motion.causal or settings.motion.ahead_frames is not None
    return Parts(
        finder=PalmFinder(palm, device=device, min_score=settings.find.min_score),
        segmenter=segmenter,
        frame_stage=FrameStage(
            shpe=build_shpe(settings, engine, device), device=device, **painters
        ),
        refiner=None if is_plain else build_refiner(device),
        device=device,
        engine=engine,
        ahead=None if waits_little else ahead,
    )


def build_shpe(
    settings: Settings, engine: str, device: torch.device, path: Path | None = None
) -> Shpe:
    """Build the single-hand pose estimator as the settings say.

    Args:
        settings: ``shpe``, ``shpe_2d`` and ``shpe_3d`` count.
        engine: What runs it; see :func:`hdrvideo.engine.pick_engine`.
        device: Where it runs.
        path: Weights of our own SHPE, small size; None = those that are shipped.

    Raises:
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    if settings.shpe == "landmark":
        net = build_net("landmark", LandmarkNet(), device)
        return LandmarkShpe(make_runner(net, engine, resolution_px=LandmarkNet.RESOLUTION_PX))
    net = DetReader(ready(small_shpe(path), device)).eval()
    size = DetNetSmall.RESOLUTION_PX
    shpe = DetShpe(make_runner(net, engine, resolution_px=size), resolution_px=size)
    return MixedShpe(shpe, uv=settings.shpe_2d, xyz=settings.shpe_3d)


def build_refiner(
    device: torch.device, path: Path | None = None, *, steady_seconds: float = STEADY_SECONDS
) -> Refiner:
    """Load the refiner.

    Args:
        device: Where it runs.
        path: Its weights, whose file says what kind of net they are of and how long its windows
            are; None = those that are shipped.
        steady_seconds: Of the last smoothing; 0 = none.

    Raises:
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    path = path or weights_path("refine")
    form = refiner_form(path) or RefineForm()
    net = form.make()
    load_weights(net, path)
    net.requires_grad_(requires_grad=False)
    return Refiner(
        *(net.to(device).eval(), StateReader(), device),
        frames=form.frames,
        steady_seconds=steady_seconds,
    )


def refiner_form(path: Path) -> RefineForm | None:
    """Tell what kind of refiner a file of weights is of; None = it does not say (the usual one).

    Raises:
        WeightsError: The file is missing or damaged, or of a form that is not known.
    """
    note = read_note(path, "form")
    try:
        return None if note is None else RefineForm.read(note)
    except SettingsError as error:
        raise WeightsError(
            f"weights {path} are of no refiner that is known here: {error}; name other weights, or "
            "update hdrvideo"
        ) from error


def build_rival(
    name: str,
    path: Path,
    *,
    size: str = "small",
    device: torch.device,
    engine: str = "torch",
    hands_given: bool = False,
) -> Shpe:
    """Load a rival's weights, to read a hand's joints in the place of SHPE.

    Args:
        name: ``internet``, ``handoccnet`` or ``minimal_hand``.
        path: Its weights, of ``hdrvideo train``.
        size: ``small`` or ``paper``.
        device: Where it runs.
        engine: What runs it: ``torch`` or ``openvino``.
        hands_given: Every crop shows a hand of its own side, so nothing need tell presence and
            side of HandOccNet's and minimal-hand's: they are 1, and no time is spent on them.

    Raises:
        SettingsError: There is no such rival, or no such size.
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    rivals = {n.__name__.split(".")[-1]: n for n in (internet, handoccnet, minimal_hand)}
    if name not in rivals or size not in ("small", "paper"):
        raise SettingsError(
            f"rival is {name!r} of size {size!r}, expected {', '.join(rivals)} of size small or "
            "paper"
        )
    net = rivals[name].SIZES[size]()
    load_weights(net, path)
    ready(net, device)
    resolution_px = net.resolution_px
    reader: nn.Module = internet.InterReader(net)
    if isinstance(net, minimal_hand.MinimalHand):
        reader = DetReader(net.detnet)
    elif isinstance(net, handoccnet.HandOccNet):
        reader = handoccnet.HandOccReader(net)
    runner = make_runner(reader.eval(), engine, resolution_px=resolution_px)
    if isinstance(net, internet.InterNet):
        return internet.InterShpe(runner, resolution_px=resolution_px)
    poser: Net = minimal_hand.MinimalPoser(runner, net)
    if isinstance(net, handoccnet.HandOccNet):
        poser = handoccnet.HandOccPoser(runner, HandModel().to(device))
    judge: Net = _given
    if not hands_given:
        landmark = build_net("landmark", LandmarkNet(), device)
        judge = make_runner(landmark, engine, resolution_px=LandmarkNet.RESOLUTION_PX)
    return JudgedShpe(poser, resolution_px=resolution_px, judge=judge)


def _given(rgb: torch.Tensor) -> tuple[Any, ...]:
    """Say of crops what a landmark net says, where hands are given."""
    sure = rgb.new_ones(len(rgb))
    return None, sure, sure, None


def build_hasm(engine: str, device: torch.device, path: Path | None = None) -> Hasm:
    """Load the segmentation of both hands.

    Args:
        engine: What runs it; see :func:`hdrvideo.engine.pick_engine`.
        device: Where it runs.
        path: Its weights; None = those that are shipped.

    Raises:
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    runner = make_runner(
        HasmReader(build_net("hasm", HasmNet(), device, path)).eval(),
        engine,
        resolution_px=HasmNet.RESOLUTION_PX,
        n_channels=HasmNet.CHANNELS,
    )
    return Hasm(runner, device=device)


def build_hdrm(engine: str, device: torch.device, path: Path | None = None) -> Hdrm:
    """Load the painter of whole, single hands that looks at each frame by itself.

    Args:
        engine: What runs it; see :func:`hdrvideo.engine.pick_engine`.
        device: Where it runs.
        path: Its weights; None = those that are shipped.

    Raises:
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    net, size = build_net("hdrm", HdrmNet(SMALL), device, path), SMALL.resolution_px
    runner = make_runner(net, engine, resolution_px=size, n_channels=N_CHANNELS)
    return Hdrm(runner, resolution_px=size, device=device)


def load_memory(device: torch.device) -> MemoryNet:
    """Load the shipped HDRM with a memory, ready for inference."""
    hdrm = HdrmNet(SMALL)
    load_weights(hdrm, weights_path("hdrm"))
    net = memory_net(hdrm, gated=False)
    ready(net, device)
    return net


def _build_memories(engine: str, device: torch.device) -> tuple[SteadyHdrm, AheadHdrm]:
    net, size = load_memory(device), SMALL.resolution_px
    runner = make_runner(net, engine, resolution_px=size, n_channels=net.n_channels)
    how: dict[str, Any] = {"n_features": net.n_features, "device": device}
    back = PaintMemory(runner, DisFlow(), **how)
    both = PaintAhead(runner, DisFlow(), **how)
    return SteadyHdrm(back, resolution_px=size), AheadHdrm(both, resolution_px=size)
