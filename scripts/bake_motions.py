"""Bake recorded hand motion and key poses into one small file for the made world.

Usage (a few minutes)::

    python scripts/bake_motions.py --motion ../shared/real/motion --out hdrvideo/weights/motions.npz

What goes in, and its licence: see :data:`SOURCES`. Every recording is fitted with the hand model
(:mod:`hdrvideo.fit`), one shape a hand. Frames that do not fit or jump are dropped, what is left is
resampled to 60 Hz, smoothed, cut at gaps, and cleared of fingers that go through one another. Left
hands become right ones. The same arguments give the same file.
"""

import argparse
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.spatial.transform import Rotation

from hdrvideo.fit import HandFitter
from hdrvideo.handmodel import joint_angles, matrix_to_axis_angle, mirror_pose, pose_to_matrices
from hdrvideo.synth.fingers import FingerChain, angles_deg, clip_angles
from hdrvideo.synth.motions import OVERLAP_LIMIT_MM
from hdrvideo.synth.recordings import ANGLE_UNIT_RAD, MOVE_UNIT_MM, RATE_HZ, SPEED_LIMIT_DEG_S

Array = NDArray[Any]

SOURCES = {
    "leap": ("leapmotion/leapjs-playback recordings", "Apache-2.0"),
    "dex": ("dexsuite/dex-retargeting, joints of its example video", "MIT"),
    "sign": ("sign-language-processing/pose test data", "MIT"),
    "handy": ("stewdio/handy.js poses", "MIT"),
    "webxr": ("AdaRoseCannon/handy-work poses", "MIT"),
    "made": ("written by hand for hdrvideo", "Apache-2.0"),
}
# Of WebXR's 25 joints: ours, which leave out the four metacarpals' bases.
FROM_WEBXR = [j for j in range(25) if j not in (5, 10, 15, 20)]
# A fit this far off is no hand; a monocular tracker's depth is worse.
FIT_LIMIT_MM = {"leap": 9.0, "dex": 12.0, "sign": 18.0, "handy": 12.0, "webxr": 12.0}
NOISE_MM = {"leap": 2.0, "dex": 3.0, "sign": 7.0, "handy": 2.0, "webxr": 2.0}
# Standard deviation of the smoothing.
SMOOTH_SECONDS = {"leap": 0.02, "dex": 0.04, "sign": 0.05}
GAP_SECONDS = 0.2
SHORTEST_SECONDS = 1.0
# Knuckles this far apart across an adult's palm turn a picture's pixels into millimetres.
PALM_MM = 93.0

# Poses in which the thumb's tip touches those of other fingers (1 index .. 4 little); trackers and
# hands of other sizes leave a gap. Ends of bones are so far apart then.
TOUCHING = {"pinch": (1,), "ok": (1,), "tripod": (1, 2), "asl f": (1,), "asl o": (1,),
            "asl 9": (1,), "asl 8": (2,), "asl 7": (3,), "asl 6": (4,)}  # fmt: skip
TOUCH_MM = 12.5

# Thumb: cmc flexion, abduction, twist, mcp flexion, ip flexion; fingers: mcp flexion, abduction,
# pip and dip flexion; degrees.
FIST = {"index": (58, -14, 92, 70), "middle": (66, -2, 92, 66), "ring": (74, 3, 88, 56),
        "little": (80, 8, 78, 42)}  # fmt: skip
MADE = {
    "flat": {"thumb": (-5, 0, 0, 0, 0), "index": (0, -6, 2, 1), "middle": (0, -1, 2, 1),
             "ring": (0, 4, 2, 1), "little": (0, 9, 3, 2)},
    "flat spread": {"thumb": (-20, 5, 0, -5, -5), "index": (-5, 8, 0, 0), "middle": (-3, 0, 0, 0),
                    "ring": (-3, -5, 0, 0), "little": (-5, -12, 0, 0)},
    "relaxed": {"thumb": (8, -2, 0, 12, 15), "index": (18, 2, 28, 12), "middle": (24, 0, 34, 16),
                "ring": (28, -1, 38, 18), "little": (30, -3, 36, 16)},
    "relaxed open": {"thumb": (2, 0, 0, 6, 8), "index": (8, 3, 14, 6), "middle": (10, 0, 18, 8),
                     "ring": (12, -2, 20, 9), "little": (12, -5, 18, 8)},
    "fist": {"thumb": (36, 12, -6, 22, 54), **FIST},
    "loose fist": {"thumb": (24, 10, -4, 20, 30), "index": (50, -8, 72, 40),
                   "middle": (55, -1, 76, 44), "ring": (60, 2, 74, 42), "little": (62, 4, 66, 34)},
    "pinch": {"thumb": (25, 20, -6, 15, 30), "index": (46, -2, 48, 25), "middle": (25, 0, 30, 14),
              "ring": (20, -2, 26, 12), "little": (16, -5, 22, 10)},
    "tripod": {"thumb": (28, 22, -6, 16, 30), "index": (48, -8, 44, 22), "middle": (52, 2, 48, 25),
               "ring": (55, 3, 62, 32), "little": (58, 3, 62, 32)},
    "point": {"thumb": (38, 14, -6, 26, 48), **FIST, "index": (4, 0, 6, 2)},
    "claw": {"thumb": (5, 15, 0, 25, 35), "index": (-5, 6, 65, 40), "middle": (-4, 0, 65, 42),
             "ring": (-4, -3, 65, 42), "little": (-5, -9, 62, 40)},
    "hook": {"thumb": (0, -5, 0, 10, 15), "index": (5, -8, 88, 50), "middle": (5, -1, 90, 50),
             "ring": (5, 4, 88, 48), "little": (6, 8, 80, 42)},
    "cup": {"thumb": (10, 24, -5, 10, 20), "index": (38, 5, 32, 16), "middle": (40, 0, 36, 18),
            "ring": (42, -3, 38, 18), "little": (44, -8, 36, 16)},
    "cylinder": {"thumb": (16, 25, -8, 15, 24), "index": (45, 3, 46, 24),
                 "middle": (48, 0, 50, 26), "ring": (50, -2, 50, 26), "little": (52, -5, 46, 24)},
    "sphere": {"thumb": (0, 25, 0, 12, 20), "index": (25, 12, 35, 18), "middle": (27, 2, 38, 20),
               "ring": (28, -6, 38, 20), "little": (28, -14, 36, 18)},
    "key": {"thumb": (22, -10, 0, 12, 8), "index": (48, -6, 68, 38), "middle": (58, -1, 76, 44),
            "ring": (64, 2, 76, 44), "little": (68, 4, 70, 36)},
    "thumb up": {"thumb": (-22, -14, 2, -4, -12), **FIST},
    "ok": {"thumb": (25, 22, -6, 16, 34), "index": (50, 0, 52, 28), "middle": (10, 0, 14, 6),
           "ring": (2, -4, 8, 4), "little": (-5, -10, 5, 2)},
    "two": {"thumb": (40, 12, -7, 30, 44), **FIST, "index": (2, 10, 4, 1),
            "middle": (2, -8, 4, 1)},
    "three": {"thumb": (-18, -6, 0, 2, -5), **FIST, "index": (2, 8, 4, 1),
              "middle": (2, -6, 4, 1)},
    "four": {"thumb": (42, -2, -7, 43, 62), "index": (2, 7, 4, 1), "middle": (2, 1, 4, 1),
             "ring": (2, -5, 4, 1), "little": (-2, -11, 4, 1)},
    "little up": {"thumb": (38, 12, -6, 26, 48), **FIST, "little": (2, -6, 4, 1)},
    "tabletop": {"thumb": (15, -5, 0, 5, 5), "index": (80, -8, 5, 3), "middle": (80, -1, 5, 3),
                 "ring": (80, 4, 5, 3), "little": (80, 9, 5, 3)},
    "prayer": {"thumb": (12, -22, 0, 5, 0), "index": (2, -13, 3, 2), "middle": (2, -2, 3, 2),
               "ring": (2, 8, 3, 2), "little": (2, 17, 4, 2)},
}  # fmt: skip


@dataclass
class Track:
    """Joints of one hand through time, or key poses.

    Attributes:
        family: Key of :data:`SOURCES`.
        names: One name, or one a frame where these are key poses.
        side: 0 right, 1 left.
        seconds: ``(T,)``; empty where these are key poses.
        joints_mm: ``(T, 21, 3)`` camera axes, NaN where missing.
        moves: The hand's place was recorded too.
    """

    family: str
    names: list[str]
    side: int
    seconds: Array
    joints_mm: Array
    moves: bool


@dataclass
class Entry:
    """One entry of the file: a stretch at 60 Hz ``(n, 15, 3)`` radians, wrist ``(n, 6)``."""

    family: str
    name: str
    angles_rad: Array
    wrist: Array | None


def read_leap(folder: Path) -> Iterator[Track]:
    """Read Leap Motion recordings: x right, y up, z to the user; no wrist joint."""
    for path in sorted(folder.glob("leap/*.npz")):
        file = np.load(path)
        seconds = (file["timestamp_us"] - file["timestamp_us"][0]) * 1e-6
        for side in (0, 1):
            joints_mm = file["joints_mm"][:, side] * [1, -1, -1]
            if np.isfinite(joints_mm[:, 5, 0]).any():
                yield Track("leap", [path.stem], side, seconds, joints_mm, True)


def read_dex(folder: Path) -> Iterator[Track]:
    """Read a right hand that another tracker found in a video of 30 frames a second."""
    joints_mm = np.load(folder / "dex_retargeting_right.npz")["joints_m"] * 1000
    yield Track("dex", ["one hand raised"], 0, np.arange(len(joints_mm)) / 30, joints_mm, False)


def read_sign(folder: Path) -> Iterator[Track]:
    """Read the hands of MediaPipe Holistic in .pose files; pixels become millimetres."""
    for path in sorted(folder.glob("sign/*.pose")):
        rate_hz, hands = read_pose_file(path)
        for side, points_px in enumerate(hands):
            if np.isfinite(points_px).all(axis=(1, 2)).sum() < rate_hz:
                continue
            spokes = points_px[:, [5, 9, 13, 17]] - points_px[:, :1]
            palm_px = np.nanmedian(np.linalg.norm(spokes, axis=-1).mean(axis=1))
            seconds = np.arange(len(points_px)) / rate_hz
            joints_mm = points_px * PALM_MM / palm_px
            yield Track("sign", [path.stem], side, seconds, joints_mm, True)


def read_pose_file(path: Path) -> tuple[float, list[Array]]:
    """Give the frame rate and both hands' points ``(T, 21, 3)``, right first, NaN where missing.

    The format (versions 0.1 and 0.2) is that of the PyPI package pose-format.
    """
    data, place = path.read_bytes(), 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal place
        values = struct.unpack_from("<" + form, data, place)
        place += struct.calcsize("<" + form)
        return values

    def word() -> str:
        return bytes(take(f"{take('H')[0]}s")[0]).decode()

    version, width, _, _, n_components = take("fHHHH")
    starts, n_points = {}, 0
    for _ in range(n_components):
        name, _, (n, n_limbs, n_colours) = word(), word(), take("HHH")
        for _ in range(n):
            word()
        take(f"{2 * n_limbs + 3 * n_colours}H")
        starts[name] = n_points
        n_points += n
    rate_hz, n_frames, n_people = take("fIH" if version > 0.15 else "HHH")
    n = n_frames * n_people * n_points
    points = np.array(take(f"{3 * n}f")).reshape(n_frames, n_people, n_points, 3)[:, 0]
    seen = np.array(take(f"{n}f")).reshape(n_frames, n_people, n_points)[:, 0] > 0
    points = np.where(seen[..., None], points, np.nan)
    # Depth is in widths of the picture.
    hands = [starts[f"{side}_HAND_LANDMARKS"] for side in ("RIGHT", "LEFT")]
    return float(rate_hz), [points[:, k : k + 21] * [1, 1, width] for k in hands]


def read_handy(folder: Path) -> Iterator[Track]:
    """Read the named poses of handy.js: 25 WebXR joints, y up."""
    for side, word in enumerate(("right", "left")):
        file = np.load(folder / "handy_poses" / f"handy_poses_{word}.npz")
        names = [str(name).split("|")[0] for name in file["names"]]
        joints_mm = file["joints_mm"][:, FROM_WEBXR] * [1, -1, -1]
        yield Track("handy", names, side, np.zeros(0), joints_mm, False)


def read_webxr(folder: Path) -> Iterator[Track]:
    """Read handy-work's poses: a count, then the 25 joints' matrices of the left and right hand."""
    paths = sorted(folder.glob("webxr_poses/*.handpose"))
    numbers = np.stack([np.frombuffer(path.read_bytes(), "<f4")[1:801] for path in paths])
    places_mm = numbers.reshape(-1, 2, 25, 4, 4)[:, :, FROM_WEBXR, 3, :3] * [1000, -1000, -1000]
    for side in (0, 1):
        names = [path.stem for path in paths]
        yield Track("webxr", names, side, np.zeros(0), places_mm[:, 1 - side], False)


def fit(track: Track, fitter: HandFitter) -> tuple[Array, Array, Array]:
    """Give angles ``(T, 15, 3)``, turn and place ``(T, 2, 3)``, good ``(T,)`` of a right hand."""
    hands = fitter(
        xyz_mm=torch.from_numpy(track.joints_mm).float(),
        side=track.side,
        share_shape=True,
        noise_mm=NOISE_MM[track.family],
    )
    turns = pose_to_matrices(hands.pose)
    place_mm = hands.wrist_mm.numpy().copy()
    if track.side:
        turns = mirror_pose(turns)
        place_mm[:, 0] *= -1
    angles_rad = clip_angles(joint_angles(turns[:, 1:])).numpy()
    good = hands.error_mm.numpy() < FIT_LIMIT_MM[track.family]
    error_mm = np.nanmedian(hands.error_mm.numpy())
    print(f"{track.names[0]} {track.side}: {good.sum()} of {len(good)} fit, {error_mm:.1f} mm")
    if track.family == "sign":
        # One camera does not tell the distance.
        place_mm[:, 2] = 0
    if len(track.seconds):
        # A single frame that jumps is the tracker's doing.
        angles_rad[good] = median_filter(angles_rad[good], size=(3, 1, 1), mode="nearest")
    wrist = np.stack([matrix_to_axis_angle(turns[:, 0]).numpy(), place_mm], axis=1)
    return angles_rad, wrist, good


def stretches(seconds: Array, good: Array, angles_rad: Array) -> Iterator[Array]:
    """Give the indices of stretches without gaps or jumps that are long enough."""
    kept = np.flatnonzero(good)
    steps = np.diff(seconds[kept])
    jumps = np.abs(np.diff(angles_rad[kept], axis=0)).max(axis=(1, 2))
    far = np.deg2rad(10 + 1.5 * SPEED_LIMIT_DEG_S * steps)
    cuts = np.flatnonzero((steps > GAP_SECONDS) | (jumps > far)) + 1
    for part in np.split(kept, cuts):
        if len(part) > 3 and seconds[part[-1]] - seconds[part[0]] >= SHORTEST_SECONDS:
            yield part


def resampled(track: Track, part: Array, angles_rad: Array, wrist: Array) -> tuple[Array, Array]:
    """Bring a stretch to 60 Hz and smooth it: angles, and the wrist about its mean ``(n, 6)``."""
    seconds = track.seconds[part]
    times = np.arange(seconds[0], seconds[-1], 1 / RATE_HZ)
    turns = Rotation.from_rotvec(wrist[part, 0])
    offsets = (turns.mean().inv() * turns).as_rotvec()
    values = np.concatenate(
        [angles_rad[part].reshape(len(part), -1), wrist[part, 1], offsets], axis=1
    )
    sigma = SMOOTH_SECONDS[track.family] * RATE_HZ
    values = np.stack([np.interp(times, seconds, column) for column in values.T], axis=1)
    values = gaussian_filter1d(values, sigma, axis=0, mode="nearest")
    moved = values[:, -6:] - values[:, -6:].mean(axis=0)
    return values[:, :-6].reshape(-1, 15, 3), moved


def long_runs(good: Array) -> Iterator[slice]:
    """Cut a 60 Hz stretch at the frames that are not good; give the parts that are long enough."""
    edges = np.flatnonzero(np.diff(np.r_[False, good, False]))
    for first, last in edges.reshape(-1, 2):
        if last - first >= SHORTEST_SECONDS * RATE_HZ:
            yield slice(first, last)


def slow(angles_rad: Array) -> Array:
    """Say of each frame of a 60 Hz stretch whether no joint comes faster to it than it can."""
    steps = np.abs(np.diff(angles_rad, axis=0, prepend=angles_rad[:1])).max(axis=(1, 2))
    return np.asarray(steps * RATE_HZ <= np.deg2rad(SPEED_LIMIT_DEG_S))


def cleared(angles_rad: Array, chain: FingerChain, names: list[str] | None = None) -> Array:
    """Move fingers that go through one another or the palm apart, as little as will do.

    Args:
        angles_rad: ``(T, 15, 3)``, a stretch in time, or poses where there are ``names``.
        chain: The hand.
        names: Of poses; the thumb of those in :data:`TOUCHING` is brought to the other tips.
    """
    start = clip_angles(torch.from_numpy(angles_rad).float())
    touch = [(k, f) for k, name in enumerate(names or ()) for f in TOUCHING.get(name, ())]
    rows, fingers = torch.tensor(touch, dtype=torch.int64).reshape(-1, 2).T
    if names is None and not (chain.overlap_mm(start) > 0.5 * OVERLAP_LIMIT_MM).any():
        return start.numpy()
    change = torch.zeros_like(start).requires_grad_()
    optimiser = torch.optim.Adam([change], lr=0.01)
    for _ in range(250):
        angles = clip_angles(start + change)
        deep = (chain.overlaps_mm(angles) - 0.3 * OVERLAP_LIMIT_MM).clamp(0)
        loss = (deep**2).sum() + 3.0 * (change**2).sum()
        tips_mm = chain.joints_mm(angles)[:, :, 3]
        gap_mm = torch.linalg.norm(tips_mm[rows, 0] - tips_mm[rows, fingers], dim=-1) - TOUCH_MM
        loss = loss + 0.3 * (gap_mm.clamp(0) ** 2).sum()
        if names is None:
            loss = loss + 300.0 * (change.diff(n=2, dim=0) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return clip_angles(start + change).detach().numpy()


def is_clear(angles_rad: Array, chain: FingerChain) -> Array:
    """Say of each frame whether its fingers are apart."""
    return np.asarray(chain.overlap_mm(torch.from_numpy(angles_rad)).numpy() < OVERLAP_LIMIT_MM)


def recording_entries(track: Track, fitter: HandFitter, chain: FingerChain) -> Iterator[Entry]:
    """Turn one hand of a recording into entries."""
    angles_rad, wrist, good = fit(track, fitter)
    name = f"{track.family}:{track.names[0]}"
    for part in stretches(track.seconds, good, angles_rad):
        angles, moved = resampled(track, part, angles_rad, wrist)
        for run in long_runs(slow(angles)):
            clear = cleared(angles[run], chain)
            for kept in long_runs(is_clear(clear, chain)):
                moves = moved[run][kept] - moved[run][kept].mean(axis=0) if track.moves else None
                yield Entry(track.family, name, clear[kept], moves)


def pose_entries(track: Track, fitter: HandFitter, chain: FingerChain) -> Iterator[Entry]:
    """Turn key poses into entries of one frame."""
    angles_rad, _, good = fit(track, fitter)
    angles = cleared(angles_rad, chain, track.names)
    for k in np.flatnonzero(good & is_clear(angles, chain)):
        yield Entry(track.family, f"{track.family}:{track.names[k]}", angles[k : k + 1], None)


def made_entries(chain: FingerChain) -> Iterator[Entry]:
    """Give the poses written by hand."""
    poses = torch.stack([angles_deg(**fingers) for fingers in MADE.values()])
    clear = cleared(torch.deg2rad(poses).numpy(), chain, list(MADE))
    for name, angles in zip(MADE, clear, strict=True):
        yield Entry("made", f"made:{name}", angles[None], None)


def save(entries: list[Entry], path: Path) -> None:
    """Write the entries as small integers."""
    empty = [np.zeros((len(e.angles_rad), 6)) if e.wrist is None else e.wrist for e in entries]
    units = np.r_[np.full(3, MOVE_UNIT_MM), np.full(3, ANGLE_UNIT_RAD)]
    angles = np.concatenate([e.angles_rad for e in entries]) / ANGLE_UNIT_RAD
    np.savez_compressed(
        path,
        name=np.array([e.name for e in entries]),
        source=np.array([SOURCES[e.family][0] for e in entries]),
        licence=np.array([SOURCES[e.family][1] for e in entries]),
        n_frames=np.array([len(e.angles_rad) for e in entries], dtype=np.int32),
        has_wrist=np.array([e.wrist is not None for e in entries]),
        angles=np.round(angles).astype(np.int16),
        wrist=np.round(np.concatenate(empty) / units).astype(np.int16),
    )


def main() -> None:
    """Read the command line and bake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--motion", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    fitter, chain = HandFitter(), FingerChain()
    entries = list(made_entries(chain))
    for read in (read_handy, read_webxr):
        for track in read(args.motion):
            entries += pose_entries(track, fitter, chain)
    for read in (read_leap, read_dex, read_sign):
        for track in read(args.motion):
            entries += recording_entries(track, fitter, chain)
    save(entries, args.out)
    n = sum(len(entry.angles_rad) for entry in entries)
    print(f"{len(entries)} entries, {n} frames, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
