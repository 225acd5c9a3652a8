"""Score tracks of the real clips against hands that a person labelled, as Markdown tables.

Usage::

    hdrvideo annotate CLIP... -o TRACKS
    python scripts/score_real.py TRACKS [--labels tests/data/real_hands.json] [--clips DIR]

TRACKS holds a folder for each clip, named like it without suffix, with its ``track.parquet``. Where
a ``masks.parquet`` lies beside it (``annotate --keep masks``), a second table says how well the
boxes of the visible masks and of the whole ones fit. Rules: :mod:`hdrvideo.validate.real_hands`;
side changes are counted over all frames, everything else in the labelled ones. With ``--clips``
every clip of that folder must have labels and a track.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from hdrvideo.errors import DataError, HdrVideoError
from hdrvideo.output.save import load_track
from hdrvideo.track import PoseTrack
from hdrvideo.validate.mask_track import load_masks
from hdrvideo.validate.real_hands import (
    F64,
    ClipLabels,
    FrameLabels,
    Tally,
    count_side_changes,
    is_one_hand,
    load_labels,
    mask_boxes,
    score_boxes,
    score_frames,
    track_boxes,
    track_hands,
    track_seconds,
)

LABELS = Path(__file__).parents[1] / "tests" / "data" / "real_hands.json"
TRACK_HEAD = (
    *("clip", "frames labelled", "both in view", "both found", "both found, right sides"),
    *("in view or hard", "both of these found", "hands found", "wrong side", "box IoU", "ghosts"),
    *("second hands on one-hand clips, all frames", "side changes", "a minute"),
)
MASK_HEAD = ("clip", "kind", "both found", "hands found", "wrong side", "box IoU", "ghosts")


@dataclass
class ClipScore:
    """What one clip's track is worth, or several clips' together.

    Attributes:
        tally: Of the labelled frames.
        second_hands: Frames of one-hand clips, labelled or not, in which there are two.
        one_hand_frames: Frames of one-hand clips.
        changes: Side changes in all frames.
        seconds: Length of the clip.
        masks: Tallies of the boxes of visible and of whole masks; empty without masks.
        missed: Labelled frames where both hands are in or hard and not both are found.
    """

    tally: Tally = field(default_factory=Tally)
    second_hands: int = 0
    one_hand_frames: int = 0
    changes: int = 0
    seconds: float = 0.0
    masks: dict[str, Tally] = field(default_factory=dict)
    missed: list[int] = field(default_factory=list)

    def add(self, other: "ClipScore") -> None:
        """Add another clip's counts."""
        self.tally.add(other.tally)
        for kind, tally in other.masks.items():
            self.masks.setdefault(kind, Tally()).add(tally)
        for one in fields(self):
            if one.name not in ("tally", "masks", "missed"):
                setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def row(self, clip: str) -> list[str]:
        """Give the cells of the table of tracks."""
        t = self.tally
        per_minute = f"{60 * self.changes / self.seconds:.1f}" if self.seconds else "–"
        return [
            *(clip, str(t.frames), str(t.both), share(t.both_found, t.both)),
            *(share(t.both_right, t.both), str(t.hard), share(t.hard_found, t.hard)),
            *(share(t.hands_found, t.hands), share(t.misnamed, t.named)),
            *(mean(t.iou_sum, t.clear), str(t.ghosts)),
            share(self.second_hands, self.one_hand_frames),
            *(str(self.changes), per_minute),
        ]

    def mask_rows(self, clip: str) -> list[list[str]]:
        """Give the cells of the table of masks, a row for each kind."""
        return [
            [
                *(clip, kind, share(t.both_found, t.both), share(t.hands_found, t.hands)),
                *(share(t.misnamed, t.named), mean(t.iou_sum, t.clear), str(t.ghosts)),
            ]
            for kind, t in self.masks.items()
        ]


def share(part: int, whole: int) -> str:
    """Write a share in percent with its counts."""
    return f"{100 * part / whole:.0f} % ({part}/{whole})" if whole else "–"


def mean(total: float, n: int) -> str:
    """Write a mean of shares."""
    return f"{total / n:.2f}" if n else "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def score_clip(folder: Path, labels: ClipLabels) -> ClipScore:
    """Score the track in a folder, and the masks beside it."""
    track = load_track(folder / "track.parquet")
    is_one = is_one_hand(labels)
    boxes = track_boxes(track)
    tally = score_frames(labels, boxes, clip=folder.name)
    return ClipScore(
        tally=tally,
        second_hands=int(track.present.all(axis=1).sum()) if is_one else 0,
        one_hand_frames=len(track) if is_one else 0,
        changes=count_side_changes(track_hands(track)),
        seconds=track_seconds(track),
        masks=_score_masks(folder / "masks.parquet", track, labels),
        missed=[frame for frame, sides in labels.items() if _is_missed(sides, boxes[frame])],
    )


def _is_missed(sides: FrameLabels, box_px: F64) -> bool:
    one = score_boxes(sides, box_px)
    return one.hard > one.hard_found


def _score_masks(path: Path, track: PoseTrack, labels: ClipLabels) -> dict[str, Tally]:
    if not path.is_file():
        return {}
    size = {"height_px": track.meta.height, "width_px": track.meta.width}
    masks = load_masks(path, n_frames=len(track), **size)
    tallies = {"visible": Tally(), "whole": Tally()}
    for frame, sides in labels.items():
        for tally, two in zip(tallies.values(), masks.masks(frame), strict=True):
            tally.add(score_boxes(sides, mask_boxes(np.asarray(two))))
    return tallies


def score_all(tracks: Path, labels: dict[str, ClipLabels]) -> str:
    """Score all clips that have a track; give the tables."""
    total = ClipScore()
    rows, mask_rows, missing, missed = [], [], [], []
    for clip, known in labels.items():
        folder = tracks / Path(clip).stem
        if not (folder / "track.parquet").is_file():
            missing.append(clip)
            continue
        one = score_clip(folder, known)
        total.add(one)
        rows.append(one.row(clip))
        mask_rows += one.mask_rows(clip)
        if one.missed:
            missed.append(f"{clip} {', '.join(str(frame) for frame in one.missed)}")
    if not rows:
        raise DataError(
            f"{tracks} holds no track of a labelled clip; make them with `hdrvideo annotate`"
        )
    parts = [table(TRACK_HEAD, [*rows, total.row("all")])]
    if mask_rows:
        parts.append(table(MASK_HEAD, [*mask_rows, *total.mask_rows("all")]))
    if missed:
        parts.append(f"Both in view or hard, but not both found: {'; '.join(missed)}.")
    if missing:
        parts.append(f"Without a track: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _check_clips(clips: Path, tracks: Path, labels: dict[str, ClipLabels]) -> None:
    for clip in sorted(p for p in clips.iterdir() if p.is_file()):
        if clip.name not in labels:
            raise DataError(f"{clip} has no labels; label it, or leave --clips out")
        if not (tracks / clip.stem / "track.parquet").is_file():
            raise DataError(f"{clip} has no track in {tracks}; run `hdrvideo annotate` on it")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--clips", type=Path, help="folder of clips that all must be scored")
    parser.add_argument("--labels", type=Path, default=LABELS)
    args = parser.parse_args()
    try:
        labels = load_labels(args.labels)
        if args.clips:
            _check_clips(args.clips, args.tracks, labels)
        print(score_all(args.tracks, labels))
    except HdrVideoError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
