"""Time HASM alone: milliseconds a look, with each engine that is installed.

Usage::

    python scripts/measure_hasm.py
    python scripts/measure_hasm.py --device cuda --batch 64

One look is one square: the whole frame and the pair of hands cost the same. Times
are medians over ``--repeats`` looks after a warm-up; on a GPU they are taken after it has finished.
"""

import argparse
import statistics
import time

import torch

from hdrvideo.build import build_net
from hdrvideo.engine import make_runner, pick_engine
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hasm import Hasm, HasmNet


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="squares at once")
    parser.add_argument("--repeats", type=int, default=100)
    args = parser.parse_args()
    device = torch.device(args.device)
    size = HasmNet.RESOLUTION_PX
    pictures = torch.rand(args.batch, HasmNet.CHANNELS, size, size)
    for name in ("torch", "openvino"):
        try:
            engine = pick_engine(name, device)
        except SettingsError as error:
            print(f"{name}: {error}")
            continue
        net = build_net("hasm", HasmNet(), device)
        runner = make_runner(net, engine, resolution_px=size, n_channels=HasmNet.CHANNELS)
        hasm = Hasm(runner, device=device)
        seconds = []
        for n in range(args.repeats + 5):
            start = time.perf_counter()
            # The masks come to the CPU, so a GPU has finished.
            hasm(pictures)
            if n >= 5:
                seconds.append(time.perf_counter() - start)
        ms = statistics.median(seconds) * 1e3 / args.batch
        print(f"{name} on {device}: {ms:.2f} ms a square of {size} px, batches of {args.batch}")


if __name__ == "__main__":
    main()
