"""A comparison as a picture: a dot and a whisker for every system and measure, with its numbers.

Filled dots are of interacting hands, hollow ones of all hands; whiskers are 95 % intervals over
clips. Ours are blue, rivals orange, what has no net of its own grey.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from hdrvideo.datatypes import U8
from hdrvideo.errors import WriteError
from hdrvideo.files import whole_file
from hdrvideo.validate.comparison import (
    INTERACTING,
    OURS,
    PLAIN,
    RIVAL,
    Cell,
    Measure,
    Standing,
    measures_of,
)

RGB = tuple[int, int, int]
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_INK: Final[RGB] = (25, 25, 25)
_FAINT: Final[RGB] = (120, 120, 120)
_GRID: Final[RGB] = (222, 222, 222)
_STRIPE: Final[RGB] = (246, 246, 246)
# Told apart with the common kinds of colour blindness.
_COLOURS: Final[Mapping[str, RGB]] = {OURS: (0, 90, 181), RIVAL: (205, 80, 0), PLAIN: _FAINT}
# All in pixels.
_WIDTH: Final = 2100
_NAME: Final = 390
_COST: Final = 250
_PANELS: Final = 3
_PANEL: Final = (_WIDTH - _NAME - _COST - 30) // _PANELS
_PLOT: Final = 270
_ROW: Final = 46
_HEAD: Final = 112
_FOOT: Final = 40
_TOP: Final = 96
_TICKS: Final = 5


@dataclass(frozen=True)
class _Axis:
    """Where values of a measure lie in a panel's plot.

    Attributes:
        low: Value at its left end.
        high: Value at its right end.
        left: Of the plot.
    """

    low: float
    high: float
    left: int

    def at(self, value: float) -> int:
        """Give a value's column."""
        share = (value - self.low) / (self.high - self.low)
        return self.left + round(_PLOT * min(max(share, 0.0), 1.0))


def draw_comparison(standings: Sequence[Standing], titles: Mapping[str, str], note: str) -> U8:
    """Draw all stages, one below the other.

    Args:
        standings: Of all stages.
        titles: Of the stages, in their order.
        note: What was looked at.

    Returns:
        ``(H, 2100, 3)`` RGB.
    """
    bands = [
        _band([s for s in standings if s.entrant.stage == stage], stage, title)
        for stage, title in titles.items()
    ]
    top = np.full((_TOP, _WIDTH, 3), 255, np.uint8)
    _write(top, note, (20, 40), 0.9, _INK, thick=2)
    legend = 20
    words: tuple[tuple[str, RGB], ...] = (
        *(("ours", _COLOURS[OURS]), ("rival", _COLOURS[RIVAL])),
        ("baseline", _COLOURS[PLAIN]),
    )
    for word, colour in words:
        cv2.circle(top, (legend + 8, 72), 7, colour, -1, cv2.LINE_AA)
        legend = _write(top, word, (legend + 24, 78), 0.6, colour) + 30
    text = "filled: interacting hands (touching, crossing, interlocked)   hollow: all hands   "
    _write(top, text + "whiskers: 95 % intervals over clips", (legend + 10, 78), 0.6, _INK)
    return np.concatenate([top, *bands])


def write_png(picture: U8, path: Path, *, overwrite: bool = False) -> None:
    """Write a picture ``(H, W, 3)`` RGB.

    Raises:
        WriteError: The file exists, or cannot be written.
    """
    good, code = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    if not good:
        raise WriteError(f"{path} cannot be written: OpenCV makes no PNG of {picture.shape}")
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(code.tobytes())


def _band(rows: Sequence[Standing], stage: str, title: str) -> U8:
    height = _HEAD + _ROW * len(rows) + _FOOT
    band = np.full((height, _WIDTH, 3), 255, np.uint8)
    cv2.line(band, (0, 0), (_WIDTH, 0), _FAINT, 1)
    _write(band, title, (20, 36), 0.8, _INK, thick=2)
    _write(band, "M param. / GFLOPs / ms", (_NAME, _HEAD - 14), 0.45, _FAINT)
    for number, standing in enumerate(rows):
        y = _HEAD + _ROW * number
        if number % 2 == 0:
            band[y : y + _ROW] = _STRIPE
        colour = _COLOURS[standing.entrant.kind]
        entrant = standing.entrant
        _write(band, entrant.name, (20, y + 21), 0.58, colour, room=_NAME - 30)
        told = ", ".join(t for t in (entrant.weights, entrant.trained_on.split(" (")[0]) if t)
        _write(band, f"weights: {told}", (20, y + 39), 0.42, _FAINT, room=_NAME - 30)
        _write(band, _costs(standing), (_NAME, y + 29), 0.5, _INK)
    drawn = [m for m in measures_of(stage) if any(_known(s, m) for s in rows)][:_PANELS]
    for place, measure in enumerate(drawn):
        _panel(band, rows, measure, _NAME + _COST + place * _PANEL)
    return band


def _panel(band: U8, rows: Sequence[Standing], measure: Measure, left: int) -> None:
    """Draw a measure's dots, whiskers and numbers of all rows, in place."""
    unit = "" if measure.unit in ("0-1", "distance") else f", {measure.unit}"
    _write(band, f"{measure.head}{unit}", (left, _HEAD - 46), 0.62, _INK, thick=2)
    numbers = left + _PLOT + 14
    _write(band, f"{measure.is_better} is better", (numbers, _HEAD - 46), 0.45, _FAINT)
    _write(band, "interacting hands", (numbers, _HEAD - 14), 0.45, _FAINT)
    cells = [c for s in rows for g in (INTERACTING, "all") if (c := _cell(s, g, measure))]
    axis = _axis(cells, left)
    bottom = _HEAD + _ROW * len(rows)
    for value in _ticks(axis):
        u = axis.at(value)
        cv2.line(band, (u, _HEAD - 6), (u, bottom), _GRID, 1)
        text = f"{value:.6g}"
        size = cv2.getTextSize(text, _FONT, 0.45, 1)[0][0]
        _write(band, text, (u - size // 2, _HEAD - 14), 0.45, _FAINT)
    for number, standing in enumerate(rows):
        y = _HEAD + _ROW * number + _ROW // 2
        colour = _COLOURS[standing.entrant.kind]
        if not standing.cells:
            _write(band, "weights not given", (left, y + 6), 0.5, _FAINT)
            continue
        for group, shift, filled in (("all", 8, False), (INTERACTING, -5, True)):
            cell = _cell(standing, group, measure)
            if cell is not None:
                _dot(band, axis, cell, y + shift, colour, filled=filled)
        cell = _cell(standing, INTERACTING, measure) or _cell(standing, "all", measure)
        text = "-" if cell is None else _numbers(cell, measure)
        _write(band, text, (numbers, y + 6), 0.5, _INK)


def _dot(band: U8, axis: _Axis, cell: Cell, y: int, colour: RGB, *, filled: bool) -> None:
    if math.isfinite(cell.low):
        ends = ((axis.at(cell.low), y), (axis.at(cell.high), y))
        cv2.line(band, *ends, colour, 3 if filled else 1, cv2.LINE_AA)
    at = (axis.at(cell.value), y)
    if filled:
        cv2.circle(band, at, 7, colour, -1, cv2.LINE_AA)
    else:
        cv2.circle(band, at, 5, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(band, at, 5, colour, 1, cv2.LINE_AA)


def _axis(cells: Sequence[Cell], left: int) -> _Axis:
    """Give an axis that holds all values and intervals, with some room."""
    values = [v for c in cells for v in (c.value, c.low, c.high) if math.isfinite(v)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low) or 0.5
    return _Axis(low - room, high + room, left)


def _ticks(axis: _Axis) -> list[float]:
    """Give round numbers within an axis, at most some."""
    span = axis.high - axis.low
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(unit * part for part in (0.2, 0.5, 1.0, 2.0, 5.0) if span / (unit * part) < _TICKS)
    first = math.ceil(axis.low / step)
    return [step * k for k in range(first, math.floor(axis.high / step) + 1)]


def _known(standing: Standing, measure: Measure) -> bool:
    return _cell(standing, "all", measure) is not None


def _cell(standing: Standing, group: str, measure: Measure) -> Cell | None:
    cell = standing.cells.get(group, {}).get(measure.name)
    return cell if cell is not None and cell.n_samples else None


def _numbers(cell: Cell, measure: Measure) -> str:
    value, low, high = (
        f"{number:.{measure.digits}f}" for number in (cell.value, cell.low, cell.high)
    )
    return value if not math.isfinite(cell.low) else f"{value} [{low}, {high}]"


def _costs(standing: Standing) -> str:
    entrant = standing.entrant
    ms = f"{standing.ms:.1f}" if math.isfinite(standing.ms) else "-"
    if entrant.parameters is None or entrant.multiply_adds is None:
        return f"- / - / {ms}"
    return f"{entrant.parameters / 1e6:.2f} / {2 * entrant.multiply_adds / 1e9:.2f} / {ms}"


def _write(
    picture: U8,
    text: str,
    at: tuple[int, int],
    scale: float,
    colour: RGB,
    *,
    thick: int = 1,
    room: int | None = None,
) -> int:
    """Write a line, in place and no wider than ``room``; gives the column behind it."""
    width = int(cv2.getTextSize(text, _FONT, scale, thick)[0][0])
    if room is not None and width > room:
        scale, width = scale * room / width, room
    cv2.putText(picture, text, at, _FONT, scale, colour, thick, cv2.LINE_AA)
    return at[0] + width
