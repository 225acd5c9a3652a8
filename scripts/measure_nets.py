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

from hdrvideo.build import build_net, ready, small_shpe
from hdrvideo.crop.palm import PalmNet
from hdrvideo.engine import make_runner, pick_engine
from hdrvideo.errors import SettingsError
from hdrvideo.frame.detnet import DetNetSmall, DetReader
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.frame.hdrm import N_CHANNELS, SMALL, HdrmNet
from hdrvideo.frame.pair import HasmReader
from hdrvideo.frame.shpe import LandmarkNet

WARM_UP = 5


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
        print(f"{name} on {device}, batches of {args.batch}, ms a picture: {each}")


if __name__ == "__main__":
    main()
