"""Score the temporal stage beside plainer ones, on a made benchmark; a Markdown table.

Usage::

    hdrvideo annotate BENCHMARK/clips/*.mp4 -o tracks --no-refine
    python scripts/score_refine.py BENCHMARK tracks [--refiner NAME=FILE ...] [-o table.md]

All rows have the same raw poses under them, those of ``tracks`` (made with ``--no-refine``, so
that confidence is the frames' own): *per frame* as they are, gaps bridged on straight lines; *hand
model* each frame's quick fit; *One-Euro*, *zero-phase* the smoothers of ``motion/smooth.py``;
*refined* with the shipped weights; and one row for each further refiner, of any kind that
``hdrvideo train refine`` teaches (``--refiner gru=runs/ablation/gru/best.safetensors``; the file
says what kind it is of and how long its windows are). Numbers are those of ``hdrvideo validate
benchmark``, over all hands that count, so the rules are in docs/benchmark.md; further:

* *half hidden*: MPJPE of hands hidden by half and more; *fastest*: of the tenth of hands whose true
  joints, wrist and all, move most from frame to frame.
* *depth*, *volume*: how far both hands pass through one another, a mean over the frames of
  touching, crossing and interlocked clips in which both are there (:mod:`hdrvideo.penetration`),
  every ``--every``-th of them. Rows without a hand model's pose are fitted first. *truth* has its
  own.
* *seam*: how much joints jump (second difference, wrist at the origin) in frames where a window of
  the row's refiner begins, over the others (a usual window where the row has none).
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from score_real import table

from hdrvideo.build import build_refiner
from hdrvideo.config import MotionSettings
from hdrvideo.errors import HdrVideoError, SettingsError
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.stage import MotionStage
from hdrvideo.motion.states import StateReader, with_turns
from hdrvideo.motion.windows import HOP_FRAMES, Refiner
from hdrvideo.output.save import load_ledger, load_track
from hdrvideo.penetration import hands_penetration
from hdrvideo.track import TURNING, FrameLedger, PoseTrack, concatenate
from hdrvideo.validate.averages import average, clip_sums
from hdrvideo.validate.benchmark import load_benchmark
from hdrvideo.validate.protocols import METRICS, Comparison, compare
from hdrvideo.validate.truth import ClipTruth, load_truth

CONTACT = ("touching", "crossing", "interlocked")
COLUMNS = {
    "hands_found_iou50_pct": "found, %",
    "epe_found_palm_pct": "2D error, % of palm",
    "pck_0.2palm_missing_wrong_pct": "PCK, %",
    "auc_3d_wrist_20j_20_50mm_missing_wrong": "3D AUC 20-50 mm, missed = 0",
    "mpjpe_wrist_20j_found_mm": "MPJPE, mm",
    "pa_mpjpe_21j_found_mm": "PA-MPJPE, mm",
    "mrrpe_both_found_mm": "MRRPE, mm",
    "accel_error_wrist_20j_runs3_mm_per_frame2": "acceleration error, mm/frame²",
}
# Rows without a refiner.
PLAIN = ("per frame", "hand model", "One-Euro", "zero-phase")
Way = Callable[[PoseTrack, FrameLedger], PoseTrack]


@dataclass
class Clip:
    """A benchmark's clip with its raw track."""

    relation: str
    truth: ClipTruth
    raw: PoseTrack
    ledger: FrameLedger


def load_clips(benchmark: Path, tracks: Path) -> list[Clip]:
    """Read truths and tracks."""
    clips = []
    for entry in load_benchmark(benchmark).clips:
        folder = tracks / entry.clip.stem
        raw = load_track(folder / "track.parquet").unrefined()
        ledger = load_ledger(folder / "frames.parquet")
        clips.append(Clip(entry.relation, load_truth(entry.folder), raw, ledger))
    return clips


def staged(settings: MotionSettings, refiner: Refiner | None = None) -> Way:
    """Give what sends a raw track through the temporal stage."""

    def way(raw: PoseTrack, ledger: FrameLedger) -> PoseTrack:
        stage = MotionStage(settings, refiner)
        windows = [*stage.push(raw, ledger), *stage.finish()]
        return concatenate([track for track, _ in windows])

    return way


def refiner_ways(given: list[str]) -> tuple[dict[str, Way], dict[str, int]]:
    """Give the rows of the shipped refiner and of further ones, and frames from window to window.

    Args:
        given: ``NAME=FILE``, or a file, which is called by its own name.

    Raises:
        SettingsError: Two rows would have one name.
        WeightsError: A file cannot be used.
    """
    files: dict[str, Path | None] = {"refined": None}
    for text in given:
        name, mark, path = text.partition("=")
        file = Path(path if mark else text)
        name = name if mark else file.stem
        if name in files or name in PLAIN:
            raise SettingsError(f"--refiner names {name!r} twice; give each one a name: NAME=FILE")
        files[name] = file
    ways, hops = {}, {}
    for name, file_or_none in files.items():
        refiner = build_refiner(torch.device("cpu"), file_or_none)
        ways[name], hops[name] = staged(MotionSettings(), refiner), refiner.hop
    return ways, hops


def plain_ways(reader: StateReader) -> dict[str, Way]:
    """Give the rows without a refiner."""
    plain = MotionSettings()
    ways: tuple[Way, ...] = (
        staged(replace(plain, smooth_seconds=0.0)),
        lambda raw, ledger: fitted(raw, reader),
        staged(replace(plain, causal=True)),
        staged(plain),
    )
    return dict(zip(PLAIN, ways, strict=True))


def fitted(raw: PoseTrack, reader: StateReader) -> PoseTrack:
    """Put the hand model on each frame by itself."""
    camera = raw.meta.camera
    said = (raw.raw_uv_px, raw.raw_xyz_cam_mm, raw.confidence, raw.visible)
    states = reader.read(raw.pts_seconds, *said, camera.matrix)
    hands = reader.place(with_turns(states.state[0]).transpose(0, 1))
    there = raw.present
    xyz = np.where(there[..., None, None], hands.xyz_cam_mm.numpy(), np.nan).astype(np.float32)
    turn_rad = np.full_like(xyz, np.nan)
    turn_rad[:, :, list(TURNING)] = np.where(there[..., None, None], hands.pose.numpy(), np.nan)
    shape = np.where(there[..., None], hands.shape.numpy(), np.nan).astype(np.float32)
    uv_px = camera.project(xyz).astype(np.float32)
    return replace(raw, uv_px=uv_px, xyz_cam_mm=xyz, turn_rad=turn_rad, shape=shape)


def fastest(clips: list[Clip]) -> float:
    """Give the speed, mm a frame, that a tenth of all hands exceed."""
    return float(np.nanquantile(np.concatenate([speed(c.truth).ravel() for c in clips]), 0.9))


def speed(truth: ClipTruth) -> NDArray[np.float64]:
    """Give how far a hand's joints move from the frame before, on average, ``(T, 2)`` mm."""
    moved = np.linalg.norm(np.diff(truth.xyz_cam_mm, axis=0), axis=-1).mean(axis=-1)
    return np.asarray(np.concatenate([np.full((1, 2), np.nan), moved]), dtype=np.float64)


def score(clips: list[Clip], tracks: list[PoseTrack], limit_mm: float, hop: int) -> list[str]:
    """Give a row's numbers."""
    compared = [compare(c.truth, t.uv_px, t.xyz_cam_mm) for c, t in zip(clips, tracks, strict=True)]
    sums = [clip_sums(c, METRICS) for c in compared]
    found = average(sums, n_bootstrap=0, seed=0)
    values = dict(zip((m.name for m in METRICS), found.value, strict=True))
    row = [f"{float(values[n]):.{3 if n.startswith('auc') else 1}f}" for n in COLUMNS]
    hidden = pooled(compared, lambda c: c.truth.hidden_share >= 0.5)
    quick = pooled(compared, lambda c: speed(c.truth) > limit_mm)
    return [*row, f"{hidden:.1f}", f"{quick:.1f}", f"{seam(tracks, hop):.2f}"]


def seam(tracks: list[PoseTrack], hop: int) -> float:
    """Give the mean jump where windows begin, every ``hop`` frames, over that elsewhere."""
    jumps: dict[bool, list[NDArray[np.floating]]] = {True: [], False: []}
    for track in tracks:
        second = np.linalg.norm(np.diff(track.xyz_rel_mm, n=2, axis=0), axis=-1).mean(axis=-1)
        begins = track.frame_index[1:-1] % hop == 0
        for is_seam, parts in jumps.items():
            chosen = second[begins == is_seam]
            parts.append(chosen[np.isfinite(chosen)])
    return mean(jumps[True]) / mean(jumps[False])


def mean(parts: list[NDArray[np.floating]]) -> float:
    """Give the mean of all parts; NaN where there is nothing."""
    values = np.concatenate(parts)
    return float(values.mean()) if len(values) else float("nan")


def pooled(compared: list[Comparison], which: Callable[[Comparison], NDArray[np.bool_]]) -> float:
    """Give the mean MPJPE of the found hands that are chosen."""
    values = []
    for c in compared:
        error = c.distance_wrist_mm[..., 1:].mean(axis=-1)
        values.append(error[which(c) & c.match.found])
    return mean(values)


Posed = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]


def contact(
    model: HandModel, clips: list[Clip], hands: list[Posed], every: int
) -> tuple[float, float, int]:
    """Give mean depth (mm) and volume (cm3) of contact clips' frames, and how many frames."""
    found = [
        hands_penetration(model, *(values[::every] for values in posed))
        for clip, posed in zip(clips, hands, strict=True)
        if clip.relation in CONTACT
    ]
    depth_mm, volume_mm3 = (
        np.concatenate([getattr(f, name) for f in found]) for name in ("depth_mm", "volume_mm3")
    )
    return float(depth_mm.mean()), float(volume_mm3.mean() / 1000), len(depth_mm)


def told_hands(track: PoseTrack) -> Posed:
    """Give pose, shape and wrists of the frames in which both hands are posed."""
    rows = np.isfinite(track.shape).all(axis=(1, 2))
    pose = track.turn_rad[rows][:, :, list(TURNING)]
    return pose, track.shape[rows], track.xyz_cam_mm[rows][:, :, 0]


def true_hands(truth: ClipTruth) -> Posed:
    """Give the same of the truth."""
    rows = truth.present.all(axis=1)
    shape = np.tile(truth.shape, (int(rows.sum()), 1, 1))
    return truth.pose[rows], shape, truth.wrist_mm[rows]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--refiner", action="append", default=[], metavar="[NAME=]FILE")
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        refining, hops = refiner_ways(args.refiner)
        clips = load_clips(args.benchmark, args.tracks)
        reader = StateReader()
        limit_mm = fastest(clips)
        head = [*COLUMNS.values(), "half hidden, MPJPE", "fastest, MPJPE", "seam"]
        rows = []
        for name, way in (plain_ways(reader) | refining).items():
            tracks = [way(c.raw, c.ledger) for c in clips]
            cells = score(clips, tracks, limit_mm, hops.get(name, HOP_FRAMES))
            posed = [
                t if np.isfinite(t.turn_rad).any() else fitted(as_raw(t), reader) for t in tracks
            ]
            depth_mm, volume_cm3, n = contact(
                reader.model, clips, [told_hands(t) for t in posed], args.every
            )
            rows.append([name, *cells, f"{depth_mm:.1f}", f"{volume_cm3:.1f} ({n})"])
            print(" | ".join(rows[-1]), flush=True)
        depth_mm, volume_cm3, n = contact(
            reader.model, clips, [true_hands(c.truth) for c in clips], args.every
        )
        blank = ["–"] * len(head)
        rows.append(["truth", *blank, f"{depth_mm:.1f}", f"{volume_cm3:.1f} ({n})"])
    except HdrVideoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = table(["", *head, "depth, mm", "volume, cm³ (frames)"], rows)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    return 0


def as_raw(track: PoseTrack) -> PoseTrack:
    """Take a track's own poses for what its frames said."""
    return replace(track, raw_uv_px=track.uv_px, raw_xyz_cam_mm=track.xyz_cam_mm)


if __name__ == "__main__":
    sys.exit(main())
