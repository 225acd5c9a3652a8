"""Score the painter's memory on made clips: how true bare hands are, and how much they flicker.

Usage::

    hdrvideo train clips -o clips_test --clips 24 --split test --skins FOLDER --backgrounds FOLDER
    python scripts/score_memory.py clips_test
    python scripts/score_memory.py clips_test --gates runs/memory/best.safetensors --sheet look.png

Hands are cut out as ``annotate`` does, in squares that follow them restlessly, and painted frame by
frame: each by itself; with memory, as ``annotate`` reads them; looking ahead too, as its kept crops
are painted (all frames of a clip at once); and with gates that were trained. Masks
are the true ones, then spoiled ones (``--spoil``, how often each kind of damage happens). "Flicker"
is the mean absolute difference from what was painted in the frame before, along the hand's true
motion, in its hidden part; the truth has a flicker of its own (light, noise, compression). Numbers
are means over hands, each of which counts once; in brackets 95 % of means over hands drawn anew
(bootstrap). The last lines give the share of flicker that is left.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from hdrvideo.build import memory_net
from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.datatypes import U8, HandCrops
from hdrvideo.frame.hdrm import HdrmNet, needs_painting
from hdrvideo.frame.painter import AheadHdrm
from hdrvideo.motion.ahead import PaintAhead
from hdrvideo.motion.flow import DisFlow
from hdrvideo.motion.memory import MemoryNet
from hdrvideo.train.bare_clips import list_clips, load_clip
from hdrvideo.train.bare_crops import CropSettings
from hdrvideo.train.clip_crops import ClipCrops, draw_clip, hands_of
from hdrvideo.train.clip_scores import clip_scores
from hdrvideo.train.memory_recipe import motions_of, paint_clips, stack_clips

COLUMNS = {
    "hole_l1": "L1, both holes",
    "uncovered_l1": "L1, hidden part",
    "removed_l1": "L1, removed",
    "hole_psnr_db": "PSNR, holes, dB",
    "psnr_db": "PSNR, crop, dB",
    "flicker": "flicker",
}
N_DRAWS = 1000
SHEET_FRAMES = 8
Paint = Callable[[dict[str, Tensor], ClipCrops], Tensor]
MEMORIES = ("with memory", "looking ahead, too")


def make_net(path: Path | None) -> MemoryNet:
    """Give the shipped HDRM with a memory: with gates as trained, or without."""
    hdrm = HdrmNet()
    load_weights(hdrm, weights_path("hdrm"))
    net = memory_net(hdrm, gated=path is not None)
    if path is not None:
        load_weights(net, path, kept=("painter",))
    return net.eval().requires_grad_(False)


def painters(trained: Path | None) -> dict[str, Paint]:
    """Give the ways to paint that are compared."""
    colours = make_net(None)

    def paint(net: MemoryNet, batch: dict[str, Tensor], *, alone: bool = False) -> Tensor:
        motions = motions_of(batch)
        motions = [None] * len(motions) if alone else motions
        rows = paint_clips(net, net.n_features, batch["seen"], motions)
        return torch.cat([bare for bare, _ in rows])

    ahead = AheadHdrm(
        PaintAhead(colours, DisFlow(), n_features=0, device=torch.device("cpu")),
        resolution_px=HdrmNet().size.resolution_px,
    )
    ways: dict[str, Paint] = {
        "as seen": lambda batch, _: batch["seen"][0, :, :3],
        "each frame by itself": lambda batch, _: paint(colours, batch, alone=True),
        MEMORIES[0]: lambda batch, _: paint(colours, batch),
        MEMORIES[1]: lambda _, crops: paint_ahead(ahead, crops),
    }
    if trained is not None:
        gated = make_net(trained)
        ways["with trained gates"] = lambda batch, _: paint(gated, batch)
    return ways | {"the truth": lambda batch, _: batch["truth"][0]}


def paint_ahead(painter: AheadHdrm, crops: ClipCrops) -> Tensor:
    """Paint one hand's row of crops ``(T, 3, R, R)`` from both sides."""
    seen = torch.from_numpy(crops.seen)
    wanted = needs_painting(seen[:, 3:]).nonzero().flatten().tolist()
    row = [
        HandCrops(one[None, :3], affine[None], np.zeros(1, bool), one[None, 3:])
        for one, affine in zip(seen, crops.frame_from_crop, strict=True)
    ]
    painted = seen[:, :3].clone()
    for place, rgb in painter(row, wanted).items():
        painted[place] = rgb
    return painted


def hands(folder: Path, spoil: float, seed: int) -> list[ClipCrops]:
    """Cut out the hands of all clips of split test."""
    settings = CropSettings(
        scale_share=0.07, shift_share=0.04, turn_deg=7.0, box_share=0, spoil=spoil,
        no_other_share=0, recolour=False,
    )  # fmt: skip
    found = []
    for number, path in enumerate(list_clips(folder, "test")):
        clip = load_clip(path)
        for side in hands_of(clip):
            rng = np.random.default_rng([seed, number, side])
            found.append(draw_clip(clip, side, slice(None), rng, settings))
    return found


def row_of(name: str, found: list[dict[str, float]]) -> str:
    """Write one painter's scores as a row of the table."""
    cells = [name]
    for column in COLUMNS:
        values = np.array([f[column] for f in found])
        values = values[np.isfinite(values)]
        draws = np.random.default_rng(0).integers(len(values), size=(N_DRAWS, len(values)))
        low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
        digits = 1 if column.endswith("db") else 4
        cells.append(f"{values.mean():.{digits}f} ({low:.{digits}f}..{high:.{digits}f})")
    return f"| {' | '.join(cells)} |"


def ratio(found: dict[str, list[dict[str, float]]], memory: str) -> str:
    """Give the flicker with a memory over that without, of means over hands, with its 95 %."""
    names = (memory, "each frame by itself")
    values = np.array([[hand["flicker"] for hand in found[name]] for name in names])
    values = values[:, np.isfinite(values).all(axis=0)]
    draws = np.random.default_rng(0).integers(values.shape[1], size=(N_DRAWS, values.shape[1]))
    ours, theirs = values[:, draws].mean(axis=2)
    low, high = np.quantile(ours / theirs, (0.025, 0.975))
    total = values.mean(axis=1)
    return f"{total[0] / total[1]:.2f} ({low:.2f}..{high:.2f}), {values.shape[1]} hands"


def as_u8(rgb: Tensor) -> U8:
    """Give a picture ``(3, H, W)`` of 0..1 as ``(H, W, 3)`` of 0..255."""
    return np.asarray((rgb.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8))


def strip(rows: list[Tensor], crops: ClipCrops) -> U8:
    """Draw a hand's frames side by side, a row for each painter, those with the most to paint."""
    hole = (crops.exact[:, 1] - crops.exact[:, 0]).sum(axis=(1, 2))
    start = int(np.clip(np.argmax(hole) - SHEET_FRAMES // 2, 0, max(len(hole) - SHEET_FRAMES, 0)))
    shown = slice(start, start + SHEET_FRAMES)
    return np.concatenate(
        [np.concatenate([as_u8(rgb) for rgb in row[shown]], axis=1) for row in rows]
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, help="folder of `hdrvideo train clips --split test`")
    parser.add_argument("--gates", type=Path, help="weights of `hdrvideo train memory`")
    parser.add_argument("--spoil", type=float, nargs="*", default=[0.0, 0.7])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sheet", type=Path, help="draw a strip of each hand into this folder")
    args = parser.parse_args()
    ways, flow = painters(args.gates), DisFlow()
    for spoil in args.spoil:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        rows = hands(args.clips, spoil, args.seed)
        for number, crops in enumerate(rows):
            batch = stack_clips([crops], flow)
            painted = []
            for name, paint in ways.items():
                with torch.inference_mode():
                    painted.append(paint(batch, crops))
                found[name].append(clip_scores(painted[-1], crops))
            if args.sheet:
                args.sheet.mkdir(parents=True, exist_ok=True)
                path = args.sheet / f"hand_{number:03d}_{spoil:g}.png"
                cv2.imwrite(str(path), strip(painted, crops)[..., ::-1])
        n_frames = sum(len(crops) for crops in rows)
        print(f"\nmasks spoiled: {spoil:g}; {len(rows)} hands, {n_frames} frames\n")
        print(f"| painted | {' | '.join(COLUMNS.values())} |\n|{'---|' * (1 + len(COLUMNS))}")
        for name, scores in found.items():
            print(row_of(name, scores))
        print()
        for memory in MEMORIES:
            print(f"flicker {memory} over each frame by itself: {ratio(found, memory)}")


if __name__ == "__main__":
    main()
