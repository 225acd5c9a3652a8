"""Run hdrvideo and MediaPipe Hands over the same frames and compare them in one table.

Usage (needs the extra ``compare``)::

    pip install ".[fast,compare]"
    python scripts/compare_mediapipe.py CLIP... [--labels tests/data/real_hands.json]

For each clip: hands found, frames with more than two, side changes a minute, and frames a second of
decode + pose + track. With labels (see hdrvideo/validate/real_hands.py) also how many of the
labelled hands were found, how many hands that were found are none (ghosts), and how often the side
is right. MediaPipe runs in video mode with two hands and its default thresholds, fed by PyAV as we
are.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from hdrvideo.build import build_parts, pick_device
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.pipeline import pose_windows
from hdrvideo.validate.real_hands import count_side_changes

Hands = list[tuple[str, np.ndarray]]  # of one frame: side and joints (21, 2) in pixels


@dataclass
class Score:
    """Counts over one clip, or summed over several."""

    frames: int = 0
    hands: int = 0
    over_two: int = 0
    side_changes: int = 0
    clip_seconds: float = 0.0
    run_seconds: float = 0.0
    clear: list[int] = field(default_factory=lambda: [0, 0])
    hard: list[int] = field(default_factory=lambda: [0, 0])
    ghosts: int = 0
    sides: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, other: "Score") -> None:
        """Add another clip's counts."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            both = (
                [a + b for a, b in zip(mine, value, strict=True)]
                if isinstance(value, list)
                else mine + value
            )
            setattr(self, name, both)

    def row(self, who: str, clip: str) -> str:
        """Give a row of the table."""
        minutes = max(self.clip_seconds / 60, 1e-9)
        cells = [
            f"{clip:20s} {who:10s} {self.hands:5d} hands / {self.frames:4d} frames",
            f">2: {self.over_two:2d}",
            f"side changes {self.side_changes:2d} ({self.side_changes / minutes:5.1f}/min)",
            f"{self.frames / max(self.run_seconds, 1e-9):6.1f} fps",
        ]
        if self.clear[1] or self.hard[1] or self.sides[1]:
            cells.append(
                f"labelled: clear {self.clear[0]}/{self.clear[1]} "
                f"hard {self.hard[0]}/{self.hard[1]} ghosts {self.ghosts} "
                f"sides {self.sides[0]}/{self.sides[1]}"
            )
        return " | ".join(cells)


def run_ours(clip: Path, engine: str) -> Callable[[], tuple[list[Hands], float]]:
    """Give a function that annotates a clip and gives the hands of each frame and the seconds."""
    settings = Settings(engine=engine)
    parts = build_parts(settings, pick_device("cpu"))

    def run() -> tuple[list[Hands], float]:
        start = time.perf_counter()
        frames: list[Hands] = []
        with open_clip(clip) as reader:
            for track, _ in pose_windows(reader, reader.info, settings, parts):
                for t in range(len(track)):
                    sides = [s for s in (0, 1) if track.provenance[t, s] == 1]
                    frames.append([(("right", "left")[s], track.raw_uv_px[t, s]) for s in sides])
        return frames, time.perf_counter() - start

    return run


def run_mediapipe(clip: Path) -> Callable[[], tuple[list[Hands], float]]:
    """As :func:`run_ours`, for MediaPipe Hands."""
    import mediapipe as mp

    # MediaPipe names sides as if the picture were a mirror.
    names = {"Left": "right", "Right": "left"}

    def run() -> tuple[list[Hands], float]:
        tracker = mp.solutions.hands.Hands(static_image_mode=False, max_num_hands=2)
        start = time.perf_counter()
        frames: list[Hands] = []
        with av.open(str(clip)) as container:
            for frame in container.decode(video=0):
                rgb = frame.to_ndarray(format="rgb24")
                size = np.array([rgb.shape[1], rgb.shape[0]])
                found = tracker.process(rgb)
                hands = zip(
                    found.multi_handedness or [], found.multi_hand_landmarks or [], strict=True
                )
                frames.append(
                    [
                        (
                            names[side.classification[0].label],
                            np.array([(p.x, p.y) for p in joints.landmark]) * size - 0.5,
                        )
                        for side, joints in hands
                    ]
                )
        seconds = time.perf_counter() - start
        tracker.close()
        return frames, seconds

    return run


def score(frames: list[Hands], rate: float, labels: dict[str, dict] | None) -> Score:
    """Count what one run found in one clip."""
    result = Score(
        frames=len(frames),
        hands=sum(len(f) for f in frames),
        over_two=sum(len(f) > 2 for f in frames),
        side_changes=count_side_changes(frames),
        clip_seconds=len(frames) / rate,
    )
    for index, truth in (labels or {}).items():
        _score_labelled(frames[int(index)], truth, result)
    return result


def _score_labelled(found: Hands, truth: dict, result: Score) -> None:
    taken: dict[int, str] = {}
    for side in ("right", "left"):
        label = truth[side]
        box = label.get("box") or label.get("part_box")
        if box is None:
            continue
        covers = [(_cover(uv, box), i) for i, (_, uv) in enumerate(found) if i not in taken]
        best = max(covers, default=(0.0, -1))
        is_found = best[0] > 0.4
        if is_found:
            taken[best[1]] = side
            result.sides = [
                result.sides[0] + (found[best[1]][0] == side),
                result.sides[1] + 1,
            ]
        if label["status"] in ("in", "hard"):
            counts = result.clear if label["status"] == "in" else result.hard
            counts[0] += is_found
            counts[1] += 1
    result.ghosts += len(found) - len(taken)


def _cover(uv_px: np.ndarray, box: list[float]) -> float:
    """Share of the smaller of two boxes that the other covers; 0 if their sizes are far apart."""
    a = np.concatenate([uv_px.min(axis=0), uv_px.max(axis=0)])
    b = np.asarray(box, dtype=float)
    inter = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    sides = (a[2:] - a[:2]).max(), (b[2:] - b[:2]).max()
    if max(sides) > 2.6 * min(sides):
        return 0.0
    return float(inter / max(min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()), 1e-9))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--engine", default="auto", help="auto, torch or openvino")
    parser.add_argument("--repeats", type=int, default=1, help="runs in turn; the fastest counts")
    args = parser.parse_args()
    labels = json.loads(args.labels.read_text())["clips"] if args.labels else {}
    totals: dict[str, Score] = {"mediapipe": Score(), "hdrvideo": Score()}
    for clip in args.clips:
        runs = {"mediapipe": run_mediapipe(clip), "hdrvideo": run_ours(clip, args.engine)}
        best: dict[str, tuple[list[Hands], float]] = {}
        for _ in range(args.repeats):
            for who, run in runs.items():
                outcome = run()
                if who not in best or outcome[1] < best[who][1]:
                    best[who] = outcome
        with av.open(str(clip)) as container:
            rate = float(container.streams.video[0].average_rate or 30)
        for who, (frames, seconds) in best.items():
            known = labels.get(clip.name, {}).get("frames")
            one = score(frames, rate, known)
            one.run_seconds = seconds
            totals[who].add(one)
            print(one.row(who, clip.name), flush=True)
    if len(args.clips) > 1:
        for who, total in totals.items():
            print(total.row(who, "all"))


if __name__ == "__main__":
    main()
