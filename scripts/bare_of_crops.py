"""Score the bare hands that ``annotate --keep crops`` keeps on the benchmark's clips.

Usage::

    hdrvideo annotate BENCH/clips/crossing_0*.mp4 -o ours --keep crops
    hdrvideo annotate BENCH/clips/crossing_0*.mp4 -o alone --keep crops --config memory_off.yaml
    python scripts/bare_of_crops.py BENCH ours alone

Crops that were painted are laid back over their frames and cut out in the truth's squares; beside
each track of the benchmark's clips that has ``crops.parquet`` a ``bare.npz`` is left, which
``hdrvideo validate benchmark`` scores, too, where all clips have one. Numbers printed are means
over hands; a clip counts where every folder has its crops. "Flicker" is the colour difference of
the hand's hidden part from frame to frame along its true motion; at the end its share of the first
folder's, in brackets 95 % of that over clips drawn anew (bootstrap).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hdrvideo.clip import open_clip
from hdrvideo.datatypes import N_SIDES, U8
from hdrvideo.files import whole_file
from hdrvideo.geometry import invert_affine
from hdrvideo.handmodel import HandModel
from hdrvideo.output.crops import CropReader, HandPicture
from hdrvideo.synth.packing import encode_picture
from hdrvideo.validate.bare import load_painted
from hdrvideo.validate.benchmark import BenchmarkEntry, load_benchmark
from hdrvideo.validate.painting_protocols import compare_painting
from hdrvideo.validate.squares import SQUARE_PX, cut_square, frame_from_square
from hdrvideo.validate.truth import ClipTruth, load_truth

COLUMNS = {
    "hole_l1": "L1, hidden part",
    "removed_l1": "L1, removed",
    "hole_psnr": "PSNR, hidden part, dB",
    "removed_psnr": "PSNR, removed, dB",
    "hole_flicker": "flicker",
    "hole_flicker_of_truth": "the truth's",
}
QUALITY = 95
N_DRAWS = 1000
Scores = dict[str, list[np.ndarray]]


def laid_back(frame_rgb_u8: U8, hand: HandPicture, square: np.ndarray) -> U8:
    """Cut a square out of a frame, with a hand's crop laid over it where that was painted."""
    cut = cut_square(frame_rgb_u8, square)
    if not hand.painted:
        return cut
    crop_from_frame, frame_from_cut = invert_affine(hand.frame_from_crop), frame_from_square(square)
    affine = crop_from_frame[:, :2] @ frame_from_cut
    affine[:, 2] += crop_from_frame[:, 2]
    size, flags = (SQUARE_PX, SQUARE_PX), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(hand.rgb_u8, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = np.full(hand.rgb_u8.shape[:2], 255, np.uint8)
    is_inside = cv2.warpAffine(inside, affine, size, flags=flags) == 255
    return np.asarray(np.where(is_inside[..., None], crop, cut))


def pictures(clip: Path, crops: Path, truth: ClipTruth) -> Iterator[tuple[np.ndarray, list[U8]]]:
    """Give each frame's square and both hands' JPEGs; empty where a hand has no picture."""
    with open_clip(clip) as reader, CropReader(crops) as kept:
        for n, frame in zip(range(len(truth)), reader, strict=False):
            square, files = truth.square(n), [np.zeros(0, np.uint8)] * N_SIDES
            for side, hand in enumerate(kept.pictures(frame.index)):
                if hand is not None and frame.rgb_u8 is not None and square[2] > 0:
                    picture = laid_back(frame.rgb_u8, hand, square)
                    files[side] = encode_picture(picture, quality=QUALITY)
            yield square, files


def write_bare(path: Path, clip: Path, truth: ClipTruth) -> None:
    """Write ``bare.npz`` beside a track with crops."""
    rows = list(pictures(clip, path.with_name("crops.parquet"), truth))
    files = [code for _, pair in rows for code in pair]
    ends = np.cumsum([0, *(len(code) for code in files)], dtype=np.int64)
    with whole_file(path, overwrite=True) as partial, partial.open("wb") as stream:
        np.savez(
            stream,
            square=np.stack([square for square, _ in rows]).astype(np.int64),
            jpeg=np.concatenate(files),
            jpeg_end=ends,
            exists=(np.diff(ends) > 0).reshape(-1, N_SIDES),
        )


def score(entries: list[BenchmarkEntry], folder: Path, model: HandModel) -> Scores:
    """Score a folder of tracks: by name and clip, a number a hand and frame, NaN = none."""
    found: Scores = {name: [] for name in COLUMNS}
    for entry in entries:
        truth, path = load_truth(entry.folder), folder / entry.clip.stem / "bare.npz"
        write_bare(path, entry.clip, truth)
        values = compare_painting(truth, load_painted(path, len(truth)), model).values
        for name in COLUMNS:
            found[name].append(values[name].ravel())
    return found


def flicker_ratio(ours: Scores, first: Scores) -> str:
    """Give the flicker of one folder over that of another, with its 95 % over clips."""

    def sums(scores: Scores) -> np.ndarray:
        rows = scores["hole_flicker"]
        return np.array([[np.nansum(row), np.isfinite(row).sum()] for row in rows])

    parts = np.stack([sums(ours), sums(first)])
    draws = np.random.default_rng(0).integers(parts.shape[1], size=(N_DRAWS, parts.shape[1]))
    with np.errstate(invalid="ignore"):
        total, count = np.moveaxis(parts[:, draws].sum(axis=2), -1, 0)
        means = total / count
        low, high = np.nanquantile(means[0] / means[1], (0.025, 0.975))
    whole = parts.sum(axis=1)
    means = whole[:, 0] / whole[:, 1]
    return f"{means[0] / means[1]:.2f} ({low:.2f}..{high:.2f})"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("tracks", type=Path, nargs="+", help="folders of `hdrvideo annotate`")
    args = parser.parse_args()
    entries = [
        entry
        for entry in load_benchmark(args.benchmark).clips
        if all((f / entry.clip.stem / "crops.parquet").is_file() for f in args.tracks)
    ]
    if not entries:
        parser.error("no clip of the benchmark has crops in every folder; annotate --keep crops")
    model = HandModel()
    print(f"{len(entries)} clips, {sum(entry.n_frames for entry in entries)} frames\n")
    names = [*COLUMNS.values(), "flicker over the first"]
    print(f"| tracks | {' | '.join(names)} |\n|{'---|' * (1 + len(names))}")
    first: Scores | None = None
    for folder in args.tracks:
        scores = score(entries, folder, model)
        first = first or scores
        values = {name: np.concatenate(rows) for name, rows in scores.items()}
        cells = [
            f"{np.nanmean(values[name]):.{2 if 'psnr' in name else 4}f} "
            f"({np.isfinite(values[name]).sum()})"
            for name in COLUMNS
        ]
        cells.append(flicker_ratio(scores, first))
        print(f"| {folder.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
