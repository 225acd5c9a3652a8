"""Run a HASM net alone on the labelled frames of the real clips; Markdown tables and sheets.

Usage::

    python scripts/check_hasm_real.py --weights FILE [--clips DIR] [--labels FILE] [--sheet DIR]

Every labelled frame is shown to the net twice: whole (letterboxed, black outside) and as pair crop,
an upright square round the labelled hands (in and hard), 1.4 times their box and at least a sixth
of the frame. Rules of boxes: :mod:`hdrvideo.validate.real_hands`. The columns:

* presence right: of the hands that are in, and of those of which nothing shows; hard ones and
  fragments are not counted;
* found: hands that are in, whose presence is at least 0.5 and whose whole mask's largest part has a
  box that fits the label;
* box IoU: of that box with the label of the same side, whatever the presence says, 0 without;
* ghosts: hands of which nothing shows, but presence is at least 0.5 and the whole mask has more
  than 0.2 % of the picture;
* one on the other: frames in which the visible masks of both sides have an IoU above 0.3, both
  hands being called present, and whatever presence says.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from score_real import LABELS, mean, share, table

from hdrvideo.checkpoint import load_weights
from hdrvideo.clip import open_clip
from hdrvideo.crop.find import whole_frame
from hdrvideo.crop.take import Pyramid, take_crop, to_tensor
from hdrvideo.datatypes import F32, N_SIDES, U8
from hdrvideo.errors import HdrVideoError
from hdrvideo.frame.hasm import HandMasks, HasmNet
from hdrvideo.geometry import CropSquare
from hdrvideo.handmask import HandMask
from hdrvideo.output.colours import SIDE_LETTERS, SIDE_RGB
from hdrvideo.sheets import draw_masks, draw_sheet
from hdrvideo.validate.real_hands import (
    F64,
    ClipLabels,
    FrameLabels,
    Tally,
    clip_boxes,
    is_one_hand,
    load_labels,
    score_boxes,
)

CLIPS = Path(__file__).parents[2] / "shared" / "real" / "clips"
PAIR_SCALE = 1.4
LEAST_OF_FRAME = 1 / 6
PRESENT = 0.5
GHOST_SHARE = 0.002
SAME_IOU = 0.3
SHEET_FRAMES = 12
TILE_PX = 288
BATCH = 16
HEAD = (
    *("clip", "views", "presence right: R", "L", "of hands in", "of hands out", "found, same side"),
    *("any side", "box IoU", "ghosts", "one on the other", "whatever presence"),
)


@dataclass(frozen=True)
class View:
    """What the net saw of a frame, and what it said.

    Attributes:
        square: The part of the frame.
        masks: By side.
        presence: ``(2,)`` in 0..1.
    """

    square: CropSquare
    masks: tuple[HandMask, HandMask]
    presence: F32


@dataclass
class NetTally:
    """Counts over views; pairs are how many, of how many, by side.

    Attributes:
        views: Number of views.
        boxes: Of the masks of hands that are called present.
        any_boxes: Of all masks.
        is_in: Hands in: called present, all.
        is_out: Hands out: called absent, all.
        ghosts: Hands out that are called present with a mask.
        doubles: Views where both masks are the same, both hands being called present.
        any_doubles: Views where both masks are the same.
    """

    views: int = 0
    boxes: Tally = field(default_factory=Tally)
    any_boxes: Tally = field(default_factory=Tally)
    is_in: F64 = field(default_factory=lambda: np.zeros((2, N_SIDES)))
    is_out: F64 = field(default_factory=lambda: np.zeros((2, N_SIDES)))
    ghosts: int = 0
    doubles: int = 0
    any_doubles: int = 0

    def add(self, other: "NetTally") -> None:
        """Add the counts of other views."""
        self.boxes.add(other.boxes)
        self.any_boxes.add(other.any_boxes)
        for name in ("views", "is_in", "is_out", "ghosts", "doubles", "any_doubles"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def row(self, clip: str) -> list[str]:
        """Give the cells of the table."""
        right = self.is_in + self.is_out
        pairs = [*right.T, self.is_in.sum(axis=1), self.is_out.sum(axis=1)]
        n_out = int(self.is_out[1].sum())
        return [
            *(clip, str(self.views), *(share(int(n), int(of)) for n, of in pairs)),
            share(self.boxes.hands_right, self.boxes.hands),
            share(self.boxes.hands_found, self.boxes.hands),
            mean(self.any_boxes.iou_sum, self.any_boxes.clear),
            share(self.ghosts, n_out),
            *(share(n, self.views) for n in (self.doubles, self.any_doubles)),
        ]


def score_view(view: View, labels: FrameLabels, size_px: tuple[int, int]) -> NetTally:
    """Score one view.

    Args:
        view: What the net said.
        labels: Of the frame.
        size_px: Width and height of the frame.
    """
    boxes = clip_boxes(np.stack([largest_box(mask) for mask in view.masks]), size_px)
    is_called = view.presence >= PRESENT
    called_boxes = np.where(is_called[:, None], boxes, np.nan)
    must = np.array([label.status == "in" for label in labels])
    gone = np.array([label.is_gone for label in labels])
    picture_px = min(view.square.size_px**2, float(size_px[0] * size_px[1]))
    is_marked = np.array([_area_px(mask) for mask in view.masks]) > GHOST_SHARE * picture_px
    seen = [mask.visible_u8 >= 128 for mask in view.masks]
    is_double = bool((seen[0] & seen[1]).sum() > SAME_IOU * (seen[0] | seen[1]).sum())
    return NetTally(
        views=1,
        boxes=score_boxes(labels, called_boxes),
        any_boxes=score_boxes(labels, boxes),
        is_in=np.stack([must & is_called, must]).astype(float),
        is_out=np.stack([gone & ~is_called, gone]).astype(float),
        ghosts=int((gone & is_called & is_marked).sum()),
        doubles=is_double and bool(is_called.all()),
        any_doubles=is_double,
    )


def _area_px(mask: HandMask) -> float:
    cell_px = mask.square.size_px / len(mask.amodal_u8)
    return float((mask.amodal_u8 >= 128).sum()) * cell_px**2


def largest_box(mask: HandMask) -> F64:
    """Give the box ``(4,)`` in frame pixels of the whole mask's largest part; NaN without one."""
    is_whole = (mask.amodal_u8 >= 128).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(is_whole)
    stats[0, cv2.CC_STAT_AREA] = 0
    largest = int(np.argmax(stats[:, cv2.CC_STAT_AREA]))
    amodal_u8 = np.where(parts == largest, mask.amodal_u8, 0).astype(np.uint8)
    visible_u8 = np.minimum(mask.visible_u8, amodal_u8)
    box = HandMask(mask.square, visible_u8, amodal_u8).box_uvuv_px()
    return np.full(4, np.nan) if box is None else box


def pair_square(labels: FrameLabels, height_px: int, width_px: int) -> CropSquare | None:
    """Give the square of the pair crop; None where no hand is in or hard."""
    boxes = [one.box_px for one in labels if one.status != "out" and one.box_px is not None]
    if not boxes:
        return None
    low, high = np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]
    least = LEAST_OF_FRAME * max(height_px, width_px)
    side = max(PAIR_SCALE * float((high - low).max()), least)
    u, v = (low + high) / 2
    return CropSquare(float(u), float(v), side)


def labelled_frames(clip: Path, labels: ClipLabels) -> Iterator[tuple[int, U8]]:
    """Decode a clip up to the last labelled frame and give the labelled ones."""
    with open_clip(clip) as reader:
        for frame in reader:
            if frame.index in labels and frame.rgb_u8 is not None:
                yield frame.index, frame.rgb_u8
            if frame.index >= max(labels):
                return


def see(net: HasmNet, pictures: Sequence[U8], squares: Sequence[CropSquare]) -> list[View]:
    """Show squares of pictures to the net."""
    size = HasmNet.RESOLUTION_PX
    views = []
    for start in range(0, len(squares), BATCH):
        some = squares[start : start + BATCH]
        crops = [
            take_crop(Pyramid(picture), square, size, replicate=False)
            for picture, square in zip(pictures[start : start + BATCH], some, strict=True)
        ]
        with torch.inference_mode():
            rgb = to_tensor(crops)
            said = HandMasks(*net(torch.cat([rgb, torch.zeros_like(rgb)], dim=1))[:3])
        visible, amodal = (_u8(values) for values in (said.visible, said.amodal))
        for square, *sides, presence in zip(some, visible, amodal, said.presence, strict=True):
            right, left = (HandMask(square, *two) for two in zip(*sides, strict=True))
            views.append(View(square, (right, left), presence.numpy()))
    return views


def _u8(probability: torch.Tensor) -> U8:
    return np.asarray((probability.numpy() * 255).round().astype(np.uint8))


def draw_view(picture: U8, view: View, labels: FrameLabels, index: int) -> U8:
    """Draw what the net said and the labelled boxes (thin) over its square of the frame."""
    tile = take_crop(Pyramid(picture), view.square, TILE_PX, replicate=False)
    # Drawn at the tile's own size: a hatch that is shrunk afterwards becomes a tint.
    whole_tile = whole_frame(TILE_PX, TILE_PX)
    pairs = [replace(mask, square=whole_tile).in_frame(TILE_PX, TILE_PX) for mask in view.masks]
    shown = view.presence >= PRESENT
    visible, amodal = (
        np.stack([pairs[side][kind] & shown[side] for side in range(N_SIDES)]) for kind in (0, 1)
    )
    tile = draw_masks(tile, visible, amodal)
    scale = TILE_PX / view.square.size_px
    corner = np.array([view.square.u_px, view.square.v_px] * 2) - view.square.size_px / 2
    for side, label in enumerate(labels):
        text = f"{SIDE_LETTERS[side]} {view.presence[side]:.2f} {label.status}"
        at = (6, TILE_PX - 10 - 18 * side)
        for colour, width_px in (((0, 0, 0), 3), (SIDE_RGB[side], 1)):
            cv2.putText(
                tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width_px, cv2.LINE_AA
            )
        if label.box_px is not None:
            u0, v0, u1, v1 = np.round((label.box_px - corner) * scale).astype(int).tolist()
            cv2.rectangle(tile, (u0, v0), (u1, v1), SIDE_RGB[side], 1)
    cv2.putText(tile, str(index), (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1)
    return tile


def write_sheet(path: Path, tiles: list[list[U8]]) -> None:
    """Write the tiles of up to twelve frames, three in a row, full frame and pair crop each."""
    blank = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    pairs = [[*two, blank][:2] for two in tiles]
    rows = [[tile for two in pairs[k : k + 3] for tile in two] for k in range(0, len(pairs), 3)]
    label = (
        f"{path.stem}: full frame and pair crop; filled = visible, hatched = hidden, box = label"
    )
    sheet = draw_sheet([(label, row) for row in rows], tile_px=TILE_PX)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet[..., ::-1])


def check_clip(
    net: HasmNet, clip: Path, labels: ClipLabels, sheet: Path | None
) -> tuple[NetTally, NetTally]:
    """Score a clip's labelled frames, seen whole and as pair crop; draw a sheet where asked."""
    known = list(labelled_frames(clip, labels))
    chosen = set(np.linspace(0, len(known) - 1, min(SHEET_FRAMES, len(known))).round().astype(int))
    tiles: dict[int, list[U8]] = {k: [] for k in sorted(chosen)}
    totals = NetTally(), NetTally()
    for total, is_pair in zip(totals, (False, True), strict=True):
        jobs = []
        for k, (index, picture) in enumerate(known):
            size = picture.shape[:2]
            square = pair_square(labels[index], *size) if is_pair else whole_frame(*size)
            if square is not None:
                jobs.append((k, index, picture, square))
        views = see(net, [job[2] for job in jobs], [job[3] for job in jobs])
        for (k, index, picture, _), view in zip(jobs, views, strict=True):
            total.add(score_view(view, labels[index], (picture.shape[1], picture.shape[0])))
            if sheet is not None and k in tiles:
                tiles[k].append(draw_view(picture, view, labels[index], index))
    if sheet is not None:
        write_sheet(sheet / f"{clip.stem}.png", list(tiles.values()))
    return totals


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--clips", type=Path, default=CLIPS)
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--sheet", type=Path, help="folder for a contact sheet of each clip")
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = HasmNet().eval()
    try:
        load_weights(net, args.weights)
        labels = load_labels(args.labels)
        rows: tuple[list[list[str]], list[list[str]]] = ([], [])
        groups = {name: (NetTally(), NetTally()) for name in ("two-hand clips", "all")}
        for clip, known in labels.items():
            tallies = check_clip(net, args.clips / clip, known, args.sheet)
            names = ["all"] if is_one_hand(known) else list(groups)
            for i, tally in enumerate(tallies):
                rows[i].append(tally.row(clip))
                for name in names:
                    groups[name][i].add(tally)
    except HdrVideoError as error:
        sys.exit(f"error: {error}")
    for i, title in enumerate(("Full frame", "Pair crop")):
        totals = [two[i].row(name) for name, two in groups.items()]
        print(f"## {title}\n\n{table(HEAD, [*rows[i], *totals])}\n")


if __name__ == "__main__":
    main()
