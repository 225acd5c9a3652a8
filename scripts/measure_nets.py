"""Time each shipped net alone: milliseconds a picture, with each engine that is installed.

Usage::

    python scripts/measure_nets.py
    python scripts/measure_nets.py --device cuda --batch 64

The nets run in turns, so that a busy machine slows them alike. Times are medians over ``--repeats``
rounds after a warm-up; what a net says comes to the CPU, so a GPU has finished.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hdrvideo.build import build_net, load_memory, ready, small_shpe
from hdrvideo.crop.palm import PalmNet
from hdrvideo.engine import make_runner, pick_engine
from hdrvideo.errors import SettingsError
from hdrvideo.frame.detnet import DetNetSmall, DetReader
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.frame.hdrm import N_CHANNELS, SMALL, HdrmNet
from hdrvideo.frame.pair import HasmReader
from hdrvideo.frame.shpe import LandmarkNet
from hdrvideo.geometry import CropSquare
from hdrvideo.motion.carry import View, find_motion
from hdrvideo.motion.flow import DisFlow
from hdrvideo.motion.memory import Layers, recall, told

WARM_UP = 5


def _memory(device: torch.device) -> tuple[nn.Module, int]:
    net = load_memory(device)
    return net, net.n_channels


def measure_recall(repeats: int) -> float:
    """Give the milliseconds that one hand's motion takes to find and its memory to be carried."""
    draw = torch.Generator().manual_seed(0)
    size, affine = SMALL.resolution_px, CropSquare(60, 60, 128).frame_from_crop(128)[None]
    seen, sees = torch.rand(1, N_CHANNELS, size, size, generator=draw), torch.ones(1, 2, size, size)
    view, flow = View(seen[:, :3], sees, affine), DisFlow()
    layers, seconds = Layers.of_seen(seen, sees, 0), []
    for _ in range(repeats + WARM_UP):
        start = time.perf_counter()
        with torch.inference_mode():
            told(*recall(layers, find_motion(flow, view, view), seen)[::-1])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:]) * 1e3


def build_runners(
    engine: str, device: torch.device
) -> dict[str, tuple[Callable[..., Any], int, int]]:
    """Give each net as ``annotate`` runs it, with its channels and its pictures' side."""
    shpe = DetReader(ready(small_shpe(), device)).eval()
    hasm = HasmReader(build_net("hasm", HasmNet(), device)).eval()
    nets = {
        "palm": (build_net("palm", PalmNet(), device), 3, PalmNet.RESOLUTION_PX),
        "hasm": (hasm, HasmNet.CHANNELS, HasmNet.RESOLUTION_PX),
        "hdrm": (build_net("hdrm", HdrmNet(SMALL), device), N_CHANNELS, SMALL.resolution_px),
        "hdrm with memory": (*_memory(device), SMALL.resolution_px),
        "landmark": (build_net("landmark", LandmarkNet(), device), 3, LandmarkNet.RESOLUTION_PX),
        "shpe and landmark": (shpe, 3, DetNetSmall.RESOLUTION_PX),
    }
    return {
        name: (make_runner(net, engine, resolution_px=size, n_channels=n), n, size)
        for name, (net, n, size) in nets.items()
    }


def measure(engine: str, device: torch.device, batch: int, repeats: int) -> dict[str, float]:
    """Give each net's milliseconds a picture."""
    runners = build_runners(engine, device)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(repeats + WARM_UP):
        for name, (runner, channels, size) in runners.items():
            pictures = torch.rand(batch, channels, size, size).to(device)
            start = time.perf_counter()
            with torch.inference_mode():
                for values in runner(pictures):
                    values.cpu()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: statistics.median(times[WARM_UP:]) * 1e3 / batch for name, times in seconds.items()
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="pictures at once")
    parser.add_argument("--repeats", type=int, default=100)
    args = parser.parse_args()
    device = torch.device(args.device)
    for name in ("torch", "openvino"):
        try:
            engine = pick_engine(name, device)
        except SettingsError as error:
            print(f"{name}: {error}")
            continue
        told = measure(engine, device, args.batch, args.repeats)
        each = ", ".join(f"{net} {ms:.1f}" for net, ms in told.items())
        print(f"a hand's motion and recall: {measure_recall(args.repeats):.1f} ms")
        print(f"{name} on {device}, batches of {args.batch}, ms a picture: {each}")


if __name__ == "__main__":
    main()
