"""Measure the peak memory of `hdrvideo annotate` on a short and a long clip.

Usage::

    python scripts/measure_memory.py CLIP [--minutes 1 20]

The clips are made by repeating CLIP in a temporary folder; each run is a process of its own, and
the figure is its peak resident set as the system counts it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hdrvideo.clip import ClipWriter, open_clip


def repeat_clip(source: Path, target: Path, minutes: float) -> int:
    """Write ``source`` over and over until the clip is so long; give its frame count."""
    with open_clip(source) as reader:
        info = reader.info
        frames = [frame for frame in reader if frame.rgb_u8 is not None]
    step = frames[1].pts - frames[0].pts
    n_frames = round(minutes * 60 / float(step * info.time_base))
    with ClipWriter(
        target, width=info.width, height=info.height, time_base=info.time_base, rate=info.rate
    ) as writer:
        for n in range(n_frames):
            # There and back again, so that hands do not jump where the clip repeats.
            place = n % (2 * len(frames))
            frame = frames[place if place < len(frames) else 2 * len(frames) - 1 - place]
            assert frame.rgb_u8 is not None
            writer.write(frame.rgb_u8, n * step)
    return n_frames


def main() -> None:
    """Print the peak of each run and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 20])
    args = parser.parse_args()
    peaks = []
    for minutes in sorted(args.minutes):
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "long.mp4"
            # Made in a process of its own: what this one holds must not count.
            made = [sys.executable, __file__, "--make", str(args.clip), str(clip), str(minutes)]
            n_frames = int(subprocess.run(made, check=True, capture_output=True).stdout)
            command = [sys.executable, "-m", "hdrvideo", "annotate", str(clip), "-o", folder]
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds = time.perf_counter() - start
        # Children's peak is that of the largest so far; runs go from short to long.
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        peaks.append(peak_mib)
        print(
            f"{minutes:g} min, {n_frames} frames: peak {peak_mib:.0f} MiB, {seconds:.0f} s, "
            f"{peak_mib / peaks[0]:.3f} of the first",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        print(repeat_clip(Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
    else:
        main()
