"""Measure the peak memory of `hdrvideo annotate` against the length of a clip: it must be flat.

Usage::

    python scripts/measure_memory.py CLIP [--minutes 1 5 20] [--rate FPS]
        [--device auto] [--config FILE]

The clips are made by repeating CLIP in a temporary folder, with ``--rate`` as if it had been taken
at fewer frames a second, so that 20 minutes are done sooner; each run is a process of its own, with
everything on that is on by default, the refiner among it (``--config`` changes that). The figures
are its peak resident set as the system counts it, and on a GPU the most memory that torch held at
once.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from hdrvideo.clip import ClipWriter, open_clip


def repeat_clip(source: Path, target: Path, minutes: float, rate: int | None = None) -> int:
    """Write ``source`` over and over until the clip is so long; give its frame count.

    Args:
        source: The clip.
        target: The long one.
        minutes: Its length.
        rate: Its frames a second; None = as ``source`` has it.
    """
    with open_clip(source) as reader:
        info = reader.info
        frames = [frame for frame in reader if frame.rgb_u8 is not None]
    step, time_base = frames[1].pts - frames[0].pts, info.time_base
    shown = info.rate
    if rate is not None:
        step, time_base, shown = 1, Fraction(1, rate), Fraction(rate)
    n_frames = round(minutes * 60 / float(step * time_base))
    with ClipWriter(
        target, width=info.width, height=info.height, time_base=time_base, rate=shown
    ) as writer:
        for n in range(n_frames):
            # There and back again, so that hands do not jump where the clip repeats.
            place = n % (2 * len(frames))
            frame = frames[place if place < len(frames) else 2 * len(frames) - 1 - place]
            assert frame.rgb_u8 is not None
            writer.write(frame.rgb_u8, n * step)
    return n_frames


def annotate(clip: Path, folder: Path, device: str, config: Path | None) -> dict[str, Any]:
    """Annotate a clip in this process; give its peaks in MiB, of the device None if it is the CPU.

    What a process holds that only starts others is less, so it does not show in this one's peak.
    """
    import torch

    from hdrvideo.config import Settings, load_settings
    from hdrvideo.jobs import annotate_to, build_for

    settings = load_settings(config) if config else Settings()
    parts = build_for(settings, device)
    start = time.perf_counter()
    done = annotate_to(clip, folder, settings=settings, parts=parts)
    device_mib = None
    if parts.device.type == "cuda":
        device_mib = torch.cuda.max_memory_allocated(parts.device) / 2**20
    return {
        "frames": done.counts.rows,
        "refiner": parts.refiner is not None,
        "seconds": time.perf_counter() - start,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device_mib": device_mib,
    }


def run_apart(*arguments: object) -> Any:
    """Run this script in a process of its own and give what it says last."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def describe(minutes: float, now: dict[str, Any], first: dict[str, Any]) -> str:
    """Put a run into a line."""
    told = [f"{minutes:g} min, {now['frames']} frames, {now['seconds']:.0f} s"]
    told.append("refiner on" if now["refiner"] else "refiner off")
    for name, key in (("RSS", "peak_mib"), ("device", "device_mib")):
        if now[key] is not None:
            ratio = now[key] / first[key]
            told.append(f"{name} peak {now[key]:.0f} MiB, {ratio:.3f} of the first")
    return "; ".join(told)


def main() -> None:
    """Print the peaks of each run, and their ratio to those of the shortest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 20])
    parser.add_argument("--rate", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--config", type=Path)
    # What the processes of their own are told to do.
    parser.add_argument("--make", type=Path, metavar="TARGET", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        print(repeat_clip(args.clip, args.make, args.minutes[0], args.rate))
        return
    if args.into:
        print(json.dumps(annotate(args.clip, args.into, args.device, args.config)))
        return
    first: dict[str, Any] = {}
    for minutes in sorted(args.minutes):
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "long.mp4"
            slow = ["--rate", args.rate] if args.rate else []
            run_apart(args.clip, "--make", clip, "--minutes", minutes, *slow)
            how = ["--config", args.config] if args.config else []
            into = Path(folder) / "long"
            now = run_apart(clip, "--into", into, "--device", args.device, *how)
        first = first or now
        print(describe(minutes, now, first), flush=True)


if __name__ == "__main__":
    main()
