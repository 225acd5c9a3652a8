"""Time the made world: pictures a second, two hands, 192 px, with all truths.

Usage::

    python scripts/measure_world.py --workers 2
    python scripts/measure_world.py --device cuda

Scenes are arranged, rendered with flow both ways and both bare pictures, and spoilt by their
effects. The first batch of each process, in which skins and backgrounds are read, is not counted.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch

from hdrvideo.synth.arrange import SceneSettings
from hdrvideo.synth.shards import StreamSettings, stream_batches, stream_of


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 = this one alone")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--frames-each", type=int, default=8, help="frames of a scene")
    parser.add_argument("--no-effects", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skins", type=Path)
    args = parser.parse_args()
    scene = SceneSettings(
        height_px=192, width_px=192, relation_shares=(0.25, 0.25, 0.2, 0.2, 0.1, 0, 0, 0)
    )
    settings = StreamSettings(
        scene,
        n_scenes=4,
        n_frames_each=args.frames_each,
        consecutive=True,
        effects=not args.no_effects,
        flow=True,
    )
    make = partial(stream_of, settings, "train", args.skins, seed=1, device=args.device)
    warm = max(1, args.workers) * 2
    n_pictures = 0
    start = 0.0
    for number, shot in enumerate(
        stream_batches(make, range(warm + args.batches), n_workers=args.workers)
    ):
        if number == warm - 1:
            start = time.perf_counter()
        elif number >= warm:
            n_pictures += len(shot)
    if args.device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    print(
        f"{n_pictures} pictures in {seconds:.1f} s: {n_pictures / seconds:.1f} pictures a second "
        f"({args.workers} workers, {args.device})"
    )


if __name__ == "__main__":
    main()
