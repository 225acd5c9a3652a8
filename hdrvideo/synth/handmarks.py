"""Where a hand's creases, nails and knuckles lie, found from the hand model's geometry alone.

Everything is per texel of an :class:`~hdrvideo.synth.atlas.Atlas`, at the flat right hand, and
depends on no person, so it is worked out once per process.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32
from hdrvideo.hand import FINGERS, JOINTS
from hdrvideo.handmodel import PARTS, SKIN_BONES
from hdrvideo.synth.atlas import Atlas, hand_atlas

# Lines across the finger, mm from the joint towards the tip, at the inside of its joints.
_INNER_LINES_MM: Final = {1: (-1.2, 1.4), 2: (-1.0,)}
# Wrinkles over its knuckles, at the outside.
_OUTER_LINES_MM: Final = {1: (-5.6, -3.4, -1.4, 0.4, 2.2, 4.4), 2: (-2.6, -1.0, 0.6, 2.2)}
_KNUCKLE_MM: Final = {0: 8.0, 1: 6.5, 2: 4.5}
# Lines of the palm: places (across: 0 little .. 1 index; down: 0 webs .. 1 wrist), see _palm_place.
_PALM_LINES: Final = (
    ((-0.25, 0.30), (0.15, 0.20), (0.55, 0.20), (0.80, 0.06)),
    ((1.25, 0.27), (0.85, 0.30), (0.40, 0.42), (-0.05, 0.58)),
    ((1.25, 0.30), (0.88, 0.38), (0.55, 0.62), (0.52, 0.93)),
)
_LINES_KEPT: Final = 3
_NAIL_LENGTH: Final = 1.9
_NAIL_WIDTH: Final = 0.80


@dataclass(frozen=True)
class HandMarks:
    """Marks of N texels; all float32 0..1 unless said.

    Attributes:
        back: -1 palm side .. 1 back of the hand.
        fine_mm: ``(N, 3)`` signed distance to the nearest lines across the fingers, inside or back.
        fine_strength: ``(N, 3)`` how deep that line is there.
        line_mm: ``(N, 4)`` distance to the palm's three lines and the wrist's, the same way.
        line_strength: ``(N, 4)``.
        knuckle: Over a knuckle's back.
        tip: Pad of a fingertip.
        nail: On a nail.
        nail_along: 0 free edge .. 1 root; NaN away from nails.
        nail_across: -1 .. 1 across the nail; NaN likewise.
        nail_fold: Beside a nail, where skin and nail meet.
        arm_mm: Distance below the wrist; negative on the hand.
    """

    back: F32
    fine_mm: F32
    fine_strength: F32
    line_mm: F32
    line_strength: F32
    knuckle: F32
    tip: F32
    nail: F32
    nail_along: F32
    nail_across: F32
    nail_fold: F32
    arm_mm: F32


def smooth(low: float, high: float, value: F32) -> F32:
    """Rise smoothly from 0 at ``low`` to 1 at ``high`` (or fall, where high < low)."""
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


@lru_cache(maxsize=4)
def hand_marks(size_px: int) -> HandMarks:
    """Give the marks of the shipped hand for a texture of this size."""
    atlas = hand_atlas(size_px)
    back = _backness(atlas)
    webs = _webs_mm(atlas)
    lines = [_finger_lines(atlas, finger, back, webs) for finger in range(5)]
    fine_mm, fine_strength = _nearest_lines(
        *(np.concatenate(f, 1) for f in zip(*lines, strict=True))
    )
    palm = _palm_lines(atlas, back, webs)
    nails = [_nail(atlas, finger) for finger in range(5)]
    knuckle, tip = np.zeros_like(back), np.zeros_like(back)
    for finger in range(5):
        knuckle = np.maximum(knuckle, _knuckles(atlas, finger, back))
        tip = np.maximum(tip, _tip(atlas, finger, back))
    along, across = (np.full_like(back, np.nan) for _ in range(2))
    for shape in nails:
        on = shape[0] > 0
        along[on], across[on] = shape[2][on], shape[3][on]
    return HandMarks(
        back=back,
        fine_mm=fine_mm,
        fine_strength=fine_strength,
        line_mm=palm[0],
        line_strength=palm[1],
        knuckle=knuckle,
        tip=tip,
        nail=np.max([shape[0] for shape in nails], axis=0),
        nail_along=along,
        nail_across=across,
        nail_fold=np.max([shape[1] for shape in nails], axis=0),
        arm_mm=atlas.xyz_mm[:, 1].copy(),
    )


def _backness(atlas: Atlas) -> F32:
    """Compare the normal with the direction of the back; bones share it as they share the skin."""
    backs = np.tile(np.array([0.0, 0.0, 1.0], np.float32), (len(SKIN_BONES), 1))
    backs[1:-1] = atlas.axes[:, :, :, 2].reshape(15, 3)
    towards = atlas.bone_weights @ backs
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-6)
    return np.asarray((atlas.normal * towards).sum(axis=1), np.float32)


def _webs_mm(atlas: Atlas) -> F32:
    """Find the lowest points between index, middle, ring and little finger: ``(3, 3)``."""
    webs = []
    for first in (1, 2, 3):
        x_mm = np.zeros(len(atlas.texel), np.float32)
        for finger in (first, first + 1):
            a, b = atlas.joints_mm[1 + 4 * finger], atlas.joints_mm[4 + 4 * finger]
            share = (atlas.xyz_mm[:, 1] - a[1]) / (b[1] - a[1])
            x_mm += 0.5 * (a[0] + share * (b[0] - a[0]))
        between = np.flatnonzero(np.abs(atlas.xyz_mm[:, 0] - x_mm) < 1.5)
        webs.append(atlas.xyz_mm[between[np.argmin(atlas.xyz_mm[between, 1])]])
    return np.asarray(webs, np.float32)


def _half_width(atlas: Atlas, finger: int) -> tuple[float, float]:
    """Give middle and half width of the last bone's flesh across the finger, mm."""
    across, along, _ = atlas.along(finger, 2)
    length = float(np.linalg.norm(_bone_mm(atlas, finger, 2)))
    flesh = across[atlas.of_finger(finger) & (along > 0.3 * length) & (along < 0.8 * length)]
    low, high = float(flesh.min()), float(flesh.max())
    return 0.5 * (low + high), 0.5 * (high - low)


def _bone_mm(atlas: Atlas, finger: int, bone: int) -> F32:
    head = 1 + 4 * finger + bone
    return np.asarray(atlas.joints_mm[head + 1] - atlas.joints_mm[head])


def _finger_lines(atlas: Atlas, finger: int, back: F32, webs: F32) -> tuple[F32, F32]:
    """Give distance and strength ``(N, L)`` of the lines across one finger."""
    middle, half = _half_width(atlas, finger)
    on = atlas.of_finger(finger)
    inner, outer = smooth(0.35, -0.35, back), smooth(0.1, 0.6, back)
    distances, strengths = [], []
    for bone in (1, 2):
        across, along, _ = atlas.along(finger, bone)
        side = np.clip((across - middle) / half, -1.3, 1.3)
        for place in _INNER_LINES_MM[bone if finger else 3 - bone]:
            distances.append(along - place - 0.8 * side**2)
            strengths.append(on * inner * (0.8 if finger or bone == 2 else 0.3))
        for place in _OUTER_LINES_MM[bone if finger else 3 - bone]:
            # The wrinkles bend round the knuckle's middle and run together at its sides.
            distances.append(along - place * (1.0 - 0.35 * side**2))
            strengths.append(on * outer * np.clip(1.0 - 0.8 * side**2, 0, 1) * 0.75)
    if finger:
        near = webs[[max(finger - 2, 0), min(finger - 1, 2)]]
        down = (near - atlas.joints_mm[1 + 4 * finger]) @ -atlas.axes[finger, 0, :, 1]
        _, along, _ = atlas.along(finger, 0)
        close = np.abs(atlas.along(finger, 0)[0]) < 1.5 * half
        for place in (0.5, 2.6):
            distances.append(along - down.mean() - place)
            strengths.append(close * smooth(0.1, -0.4, back) * (1.0 if place < 1 else 0.5))
    return _stack(distances), _stack(strengths)


def _nearest_lines(mm: F32, strength: F32) -> tuple[F32, F32]:
    """Keep of all lines ``(N, L)`` each texel's nearest three ``(N, 3)``; a texel sees few."""
    order = np.argsort(np.where(strength > 0.01, np.abs(mm), np.inf), axis=1)[:, :_LINES_KEPT]
    return np.take_along_axis(mm, order, axis=1), np.take_along_axis(strength, order, axis=1)


def _stack(columns: list[F32]) -> F32:
    return np.stack(columns, axis=1).astype(np.float32)


def _palm_lines(atlas: Atlas, back: F32, webs: F32) -> tuple[F32, F32]:
    place = _palm_place(atlas.xyz_mm, atlas, webs)
    size_mm = _palm_size_mm(atlas, webs)
    here = (atlas.part == PARTS.index("palm")) | (atlas.part == PARTS.index("thumb"))
    inner = here * smooth(0.0, -0.45, back)
    distances, strengths = [], []
    for corners in _PALM_LINES:
        share, mm = _to_curve(place * size_mm, np.asarray(corners) * size_mm)
        distances.append(mm)
        strengths.append(inner * smooth(0.0, 0.06, share) * smooth(1.0, 0.75, share))
    below = atlas.xyz_mm[:, 1] - 4.0 - 0.004 * atlas.xyz_mm[:, 0] ** 2
    distances.append(below)
    strengths.append(smooth(-0.1, -0.5, back) * 0.8)
    return _stack(distances), _stack(strengths)


def _palm_size_mm(atlas: Atlas, webs: F32) -> F32:
    wide = np.linalg.norm(atlas.joints_mm[5] - atlas.joints_mm[17])
    return np.asarray([wide, -webs[:, 1].mean()], np.float32)


def _palm_place(xyz_mm: F32, atlas: Atlas, webs: F32) -> F32:
    """Give the place in the palm ``(N, 2)``: across from the little finger, down."""
    size_mm = _palm_size_mm(atlas, webs)
    index, little = (atlas.joints_mm[JOINTS.index(f"{FINGERS[f]}_mcp")] for f in (1, 4))
    across = (xyz_mm[:, 0] - little[0]) / (index[0] - little[0])
    down = 1.0 + xyz_mm[:, 1] / size_mm[1]
    return np.stack([across, down], axis=1).astype(np.float32)


def _to_curve(places: F32, corners: NDArray[np.float64]) -> tuple[F32, F32]:
    """Give nearest share 0..1 along a Bezier curve and the signed distance to it."""
    t = np.linspace(0.0, 1.0, 33)[:, None]
    a, b, c, d = corners
    curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    start, step = curve[:-1], np.diff(curve, axis=0)
    best_mm = np.full(len(places), np.inf, np.float32)
    best = np.zeros(len(places), np.float32)
    for n in range(len(step)):
        off = places - start[n]
        share = np.clip(off @ step[n] / (step[n] @ step[n]), 0.0, 1.0)
        mm = np.linalg.norm(off - share[:, None] * step[n], axis=1)
        nearer = mm < np.abs(best_mm)
        best = np.where(nearer, (n + share) / len(step), best)
        side = np.where(off[:, 0] * step[n, 1] < off[:, 1] * step[n, 0], -1.0, 1.0)
        best_mm = np.where(nearer, side * mm, best_mm)
    return best.astype(np.float32), best_mm.astype(np.float32)


def _knuckles(atlas: Atlas, finger: int, back: F32) -> F32:
    found = np.zeros(len(atlas.texel), np.float32)
    for bone, radius_mm in _KNUCKLE_MM.items():
        if finger == 0 and bone == 0:
            continue
        across, along, _ = atlas.along(finger, bone)
        near = np.exp(-0.5 * (across**2 + along**2) / radius_mm**2 / 0.45)
        found = np.maximum(found, near * smooth(0.1, 0.7, back))
    return found.astype(np.float32)


def _tip(atlas: Atlas, finger: int, back: F32) -> F32:
    _, along, _ = atlas.along(finger, 2)
    length = float(np.linalg.norm(_bone_mm(atlas, finger, 2)))
    on = atlas.of_finger(finger)
    return np.asarray(on * smooth(0.1, 0.8, along / length) * smooth(0.5, -0.3, back), np.float32)


def _nail(atlas: Atlas, finger: int) -> tuple[F32, F32, F32, F32]:
    """Give nail, fold, place along (0 free edge .. 1 root) and across (-1 .. 1) of one finger."""
    middle, half = _half_width(atlas, finger)
    across, along, _ = atlas.along(finger, 2)
    on = atlas.of_finger(finger)
    end = along[on].max()
    x = (across - middle) / (_NAIL_WIDTH * half)
    y = (end - along) / (_NAIL_LENGTH * half)
    out = atlas.normal @ atlas.axes[finger, 2, :, 2]
    # Straight sides and a round root.
    radius = np.hypot(x, np.maximum(y - 0.55, 0.0) / 0.45)
    up = on * smooth(0.0, 0.25, out)
    nail = up * smooth(1.03, 0.93, radius)
    fold = on * smooth(-0.1, 0.2, out) * np.exp(-0.5 * ((radius - 1.06) / 0.07) ** 2)
    return nail.astype(np.float32), fold.astype(np.float32), y, x
