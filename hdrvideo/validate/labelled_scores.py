"""How far a reading of a labelled hand is from its labels, and tables of many; NumPy only.

Distances in the picture are in palm lengths (:attr:`LabelledHand.palm_px`) and over labelled joints
only. In space the wrists are put together; the protocols are those of
:mod:`hdrvideo.validate.protocols`. A hand is read from several squares; its score is their mean,
and that of a set is the mean over its hands, each as heavy as the other. A hand that a tracker
missed counts as all wrong in the PCK and is left out of the other columns; a hand without 3D labels
is left out of those in millimetres.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.alignment import bone_scaled, procrustes_aligned, wrist_aligned
from hdrvideo.geometry import CropSquare, square_from_pose
from hdrvideo.hand import LEFT
from hdrvideo.validate.labelled import LabelledHand
from hdrvideo.validate.metrics import F64, joint_distance

PCK_PALMS: Final = 0.2
# Standard deviations of what a tracker's square is off: of its size and place, in sides, and turn.
_JITTER_SIZE: Final = 0.08
_JITTER_PLACE: Final = 0.04
_JITTER_DEG: Final = 8.0
HEAD: Final = (
    *("set", "hands", "read by", "found", "EPE, % of palm", f"PCK@{PCK_PALMS}, %"),
    *("MPJPE, mm", "bone-scaled", "PA-MPJPE, mm"),
)


@dataclass(frozen=True)
class Reading:
    """What was read of a labelled hand from one square.

    Attributes:
        reader: Who read it.
        hand: The labelled hand.
        uv_px: ``(21, 2)`` in the picture; None = not found.
        xyz_mm: ``(21, 3)`` camera axes, any origin.
    """

    reader: str
    hand: LabelledHand
    uv_px: NDArray[Any] | None = None
    xyz_mm: NDArray[Any] | None = None


def squares_of(hand: LabelledHand, draws: int, seed: int) -> list[CropSquare]:
    """Give the squares that a hand is read from: as tracking takes them, each a little off.

    Args:
        hand: The hand; a left one's squares are mirrored.
        draws: How many.
        seed: Equal seeds give equal squares.
    """
    rng = np.random.default_rng(seed)
    exact = square_from_pose(hand.uv_px, mirror=hand.side == LEFT)
    squares = []
    for _ in range(draws):
        size, u, v, turn = rng.normal(size=4)
        moved_px = _JITTER_PLACE * exact.size_px
        squares.append(
            replace(
                exact,
                u_px=exact.u_px + moved_px * u,
                v_px=exact.v_px + moved_px * v,
                size_px=exact.size_px * math.exp(_JITTER_SIZE * size),
                angle_rad=exact.angle_rad + math.radians(_JITTER_DEG * turn),
            )
        )
    return squares


def measure(reading: Reading) -> F64:
    """Give the numbers of a reading: ``(6,)``, NaN where there is none.

    Returns:
        Found (0 or 1), EPE in palms, PCK, MPJPE over the 20 joints beside the wrist, the same with
        the bone from wrist to middle knuckle as long as the true one, PA-MPJPE over 21 joints; in
        millimetres.
    """
    hand, numbers = reading.hand, np.full(6, np.nan)
    numbers[:3] = 0, np.nan, 0
    if reading.uv_px is None:
        return numbers
    palms = joint_distance(reading.uv_px, hand.uv_px)[hand.labelled] / hand.palm_px
    numbers[:3] = 1, palms.mean(), (palms <= PCK_PALMS).mean()
    if reading.xyz_mm is not None and hand.xyz_cam_mm is not None:
        true_mm = wrist_aligned(hand.xyz_cam_mm)
        ways = (
            wrist_aligned(reading.xyz_mm),
            bone_scaled(reading.xyz_mm, true_mm),
            procrustes_aligned(reading.xyz_mm, true_mm),
        )
        plain, scaled, aligned = (joint_distance(way, true_mm) for way in ways)
        numbers[3:] = plain[1:].mean(), scaled[1:].mean(), aligned.mean()
    return numbers


def rows_of(readings: Iterable[Reading]) -> list[list[str]]:
    """Give the rows of a table (:data:`HEAD`): every set and all, by reader."""
    by_hand: dict[tuple[str, str, str], list[F64]] = {}
    for one in readings:
        key = (one.hand.source, one.reader, one.hand.name)
        by_hand.setdefault(key, []).append(measure(one))
    sets = list(dict.fromkeys(source for source, _, _ in by_hand))
    readers = list(dict.fromkeys(reader for _, reader, _ in by_hand))
    rows = []
    for group in (*sets, "all"):
        for reader in readers:
            hands = [
                _mean(numbers)
                for (source, who, _), numbers in by_hand.items()
                if who == reader and group in (source, "all")
            ]
            if hands:
                rows.append(_row(group, reader, hands))
    return rows


def _row(group: str, reader: str, hands: Sequence[F64]) -> list[str]:
    found, epe, pck, *space = _mean(hands)
    return [
        *(group, str(len(hands)), reader, f"{100 * found:.0f} %"),
        *(_text(100 * value) for value in (epe, pck)),
        *(_text(value) for value in space),
    ]


def _mean(numbers: Sequence[F64]) -> F64:
    """Mean over what is known, column by column; NaN where nothing is."""
    table = np.stack(numbers)
    known = np.isfinite(table)
    total, n = np.where(known, table, 0).sum(axis=0), known.sum(axis=0)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan))


def _text(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"
