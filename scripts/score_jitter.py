"""Measure how much tracks jitter and lag where no truth is known; a Markdown table.

Usage::

    python scripts/score_jitter.py mediapipe=MP_TRACKS smoothed=TRACKS_NO_REFINE refined=TRACKS

Each folder holds ``<clip>/track.parquet`` of the same clips. The palm's centre is the mean of wrist
and knuckles. *Jitter* is the root mean square of what an 11-frame mean leaves of it, over runs of
one hand of at least 11 frames (the measure of users of Dyn-HaMR and HaMeR, see
github.com/nvidia-isaac/video_to_data, issue 155). Real motion within 11 frames counts, too, so the
same hands and frames are taken of all folders, and *at rest* are those alone in which the mean of
the raw poses moves by less than 2 px in 11 frames. *Raw* is of the last folder's raw poses. *Lag*
is the shift, in frames, at which a track's speed agrees best with that of those raw poses, found
between frames by a parabola through the correlations; positive = late.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from score_real import table

from hdrvideo.errors import HdrVideoError, TrackError
from hdrvideo.hand import KNUCKLES, WRIST
from hdrvideo.output.save import load_track

WINDOW_FRAMES = 11
MOST_LAG = 6
REST_PX = 2.0
F64 = NDArray[np.float64]


def palms(uv_px: NDArray[np.floating]) -> F64:
    """Give the palm's centre ``(T, 2, 2)`` of joints ``(T, 2, 21, 2)``."""
    return np.asarray(uv_px[:, :, [WRIST, *KNUCKLES]].mean(axis=2), dtype=np.float64)


def runs(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """List the unbroken runs of at least :data:`WINDOW_FRAMES` frames: start and stop."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(a, b) for a, b in pairs if b - a >= WINDOW_FRAMES]


def high_pass(path_px: F64) -> F64:
    """Take its 11-frame mean away from a run ``(N, 2)``: ``(N - 10, 2)``."""
    kernel = np.full(WINDOW_FRAMES, 1 / WINDOW_FRAMES)
    mean = np.stack([np.convolve(path_px[:, k], kernel, "valid") for k in range(2)], axis=-1)
    half = WINDOW_FRAMES // 2
    return np.asarray(path_px[half : len(path_px) - half] - mean)


def at_rest(path_px: F64) -> NDArray[np.bool_]:
    """Say ``(N - 10,)`` where the mean of a run ``(N, 2)`` hardly moves."""
    half = WINDOW_FRAMES // 2
    mean = path_px[half : len(path_px) - half] - high_pass(path_px)
    padded = np.pad(mean, ((half, half), (0, 0)), mode="edge")
    moved = padded[2 * half :] - padded[: len(mean)]
    return np.asarray(np.linalg.norm(moved, axis=-1) < REST_PX)


def lag_sums(path_px: F64, raw_px: F64) -> F64:
    """Give the correlation of speeds at each shift of a run, from -6 to 6 frames."""
    ours, theirs = (np.diff(p, axis=0) for p in (path_px, raw_px))
    sums = np.zeros(2 * MOST_LAG + 1)
    if len(ours) <= 4 * MOST_LAG:
        return sums
    inner = theirs[MOST_LAG : len(theirs) - MOST_LAG]
    for k in range(len(sums)):
        sums[k] = (ours[k : k + len(inner)] * inner).sum()
    return sums


def best_lag(sums: F64) -> float:
    """Find the shift of the largest correlation, between frames too."""
    k = int(sums[1:-1].argmax()) + 1
    before, at, after = sums[k - 1 : k + 2]
    bend = before - 2 * at + after
    return k - MOST_LAG + (0.5 * (before - after) / bend if bend else 0.0)


def measure(folders: dict[str, Path]) -> list[list[str]]:
    """Give a row for each folder, and one for the raw poses of the last."""
    last = list(folders)[-1]
    clips = sorted(p.parent.name for p in folders[last].glob("*/track.parquet"))
    squares: dict[str, list[F64]] = {name: [] for name in ("raw", *folders)}
    rest: list[NDArray[np.bool_]] = []
    lags = {name: np.zeros(2 * MOST_LAG + 1) for name in squares}
    for clip in clips:
        tracks = {name: load_track(f / clip / "track.parquet") for name, f in folders.items()}
        raw = palms(tracks[last].raw_uv_px)
        paths = {"raw": raw, **{name: palms(t.uv_px) for name, t in tracks.items()}}
        if len({len(p) for p in paths.values()}) > 1:
            raise TrackError(f"tracks of {clip} have different numbers of frames; annotate again")
        there = np.all([np.isfinite(p).all(axis=-1) for p in paths.values()], axis=0)
        # Where a tracker says that a hand is elsewhere (a swapped side), nobody is compared.
        near = [np.linalg.norm(p - raw, axis=-1) < 60 for p in paths.values()]
        there &= np.all(near, axis=0)
        for side in range(2):
            for start, stop in runs(there[:, side]):
                rest.append(at_rest(raw[start:stop, side]))
                for name, path in paths.items():
                    run = path[start:stop, side]
                    squares[name].append((high_pass(run) ** 2).sum(axis=-1))
                    lags[name] += lag_sums(run, raw[start:stop, side])
    rows = []
    for name, parts in squares.items():
        joined = np.concatenate(parts)
        still = joined[np.concatenate(rest)]
        jitter = [f"{np.sqrt(j.mean()):.2f} ({len(j)})" for j in (joined, still)]
        rows.append([name, *jitter, f"{best_lag(lags[name]):+.2f}"])
    return rows


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="+", help="NAME=FOLDER")
    args = parser.parse_args()
    folders = {}
    for text in args.folders:
        name, found, folder = text.partition("=")
        if not found:
            parser.error(f"{text!r} is not NAME=FOLDER")
        folders[name] = Path(folder)
    try:
        rows = measure(folders)
    except HdrVideoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(["", "jitter, px (frames)", "at rest", "lag, frames"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
