"""The review picture: both skeletons over the frame, and what is known about them in a corner.

Right is orange-red, left is blue-cyan. Opacity is confidence, a hollow joint is inferred rather
than seen, a dashed skeleton is bridged between neighbours.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, U8, Bool, check_array
from hdrvideo.errors import SettingsError
from hdrvideo.hand import BONES, SIDES
from hdrvideo.output.colours import (
    EDGE_RGB,
    LOST_RGB,
    RAW_RGB,
    RGB,
    SIDE_LETTERS,
    SIDE_RGB,
    TEXT_RGB,
)
from hdrvideo.track import ABSENT, BRIDGED, PROVENANCE, PoseTrack

FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
# Drawing takes integers in sixteenths of a pixel.
_SHIFT: Final = 4
_STARTS: Final = np.array([a for a, _ in BONES])
_ENDS: Final = np.array([b for _, b in BONES])


@dataclass(frozen=True)
class OverlayStyle:
    """How the overlay looks.

    Attributes:
        line_px: Width of a bone in pixels; None takes it from the size of picture and hand.
        raw: Draw the raw skeleton thin and grey under the refined one.
        strip: Print frame, time and the state of each hand in the upper left corner. A picture too
            small for legible text goes without.
        min_opacity: Opacity in 0..1 of a joint of confidence 0, so that it can still be found.
    """

    line_px: int | None = None
    raw: bool = False
    strip: bool = True
    min_opacity: float = 0.4

    def __post_init__(self) -> None:
        if self.line_px is not None and not 1 <= self.line_px <= 64:
            raise SettingsError(f"line_px is {self.line_px}, expected 1 to 64 pixels, or None")
        if not 0 <= self.min_opacity <= 1:
            raise SettingsError(f"min_opacity is {self.min_opacity}, expected 0 to 1")


DEFAULT_STYLE: Final = OverlayStyle()


def draw_overlay(
    rgb_u8: U8 | None,
    track: PoseTrack,
    row: int,
    *,
    style: OverlayStyle = DEFAULT_STYLE,
    note: str = "",
) -> U8:
    """Draw one row of a track over its frame.

    Args:
        rgb_u8: The frame ``(H, W, 3)``, left as it is; None for a lost one, which is drawn dark
            grey with the words "frame N lost".
        track: The track, or a window of it.
        row: The row of ``track`` to draw; its joints may be NaN or far outside the picture.
        style: How the overlay looks.
        note: A word to print behind the time.

    Returns:
        A new picture of the same size.

    Raises:
        ShapeError: The picture is not of the track's size.
    """
    height, width = track.meta.height, track.meta.width
    if rgb_u8 is None:
        picture = lost_picture(width, height, int(track.frame_index[row]))
    else:
        check_array("rgb_u8", rgb_u8, (height, width, 3), "uint8")
        picture = np.array(rgb_u8, order="C")
    for side in _far_to_near(track, row):
        if style.raw:
            _draw_raw(picture, track.raw_uv_px[row, side])
        _draw_hand(picture, track, row, side, style)
    if style.strip:
        draw_strip(picture, track, row, note)
    return picture


def _far_to_near(track: PoseTrack, row: int) -> list[int]:
    sides = [s for s in range(len(SIDES)) if track.provenance[row, s] != ABSENT]
    depth = {s: float(track.xyz_cam_mm[row, s, 0, 2]) for s in sides}
    return sorted(sides, key=lambda s: -depth[s] if math.isfinite(depth[s]) else 0.0)


@dataclass
class _Layer:
    """What is painted over a region of the picture: opacity 0-255 of the dark edge and the line."""

    u0: int
    v0: int
    edge: U8
    line: U8

    @classmethod
    def over(cls, picture: U8, uv_px: F32, margin_px: int) -> "_Layer | None":
        """Cover all finite joints; None where none of them is near the picture."""
        known = uv_px[_known(uv_px)]
        if not len(known):
            return None
        height, width = picture.shape[:2]
        # Clipped before the cast: a joint at 1e20 has no integer.
        low = np.clip(known.min(axis=0) - margin_px, 0, (width, height)).astype(int)
        high = np.clip(known.max(axis=0) + margin_px + 2, 0, (width, height)).astype(int)
        if (high <= low).any():
            return None
        shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        return cls(int(low[0]), int(low[1]), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))

    def fixed(self, uv_px: NDArray[np.floating], picture: U8) -> list[list[int]]:
        """Give points in sixteenths of a region pixel, held within what OpenCV counts."""
        reach = 8 * max(picture.shape)
        local = np.clip(np.nan_to_num(uv_px), -reach, reach) - (self.u0, self.v0)
        points: list[list[int]] = np.round(local * (1 << _SHIFT)).astype(int).tolist()
        return points

    def segment(self, a: list[int], b: list[int], opacity: int, width_px: int) -> None:
        """Draw a line with a dark edge of one pixel."""
        cv2.line(self.edge, a, b, opacity // 2, width_px + 2, cv2.LINE_AA, _SHIFT)
        cv2.line(self.line, a, b, opacity, width_px, cv2.LINE_AA, _SHIFT)

    def disc(self, at: list[int], opacity: int, radius_px: float, *, hollow: bool) -> None:
        """Draw a joint, filled or as a ring through which the frame can be seen."""
        radius = round(radius_px * (1 << _SHIFT))
        cv2.circle(self.edge, at, radius + (1 << _SHIFT), opacity // 2, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(self.line, at, radius, opacity, -1, cv2.LINE_AA, _SHIFT)
        if hollow:
            inside = max(radius - (3 << _SHIFT) // 2, 1 << (_SHIFT - 1))
            cv2.circle(self.edge, at, inside, 0, -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(self.line, at, inside, 0, -1, cv2.LINE_AA, _SHIFT)

    def blend(self, picture: U8, colour: RGB) -> None:
        """Put the region onto the picture; only touched pixels are read."""
        height, width = self.line.shape
        region = picture[self.v0 : self.v0 + height, self.u0 : self.u0 + width]
        touched = np.nonzero(self.edge | self.line)
        if not len(touched[0]):
            return
        below = region[touched].astype(np.float32)
        for opacity, paint in ((self.edge, EDGE_RGB), (self.line, colour)):
            share = opacity[touched].astype(np.float32)[:, None] / 255
            below += (np.array(paint, np.float32) - below) * share
        region[touched] = (below + 0.5).astype(np.uint8)


def _draw_hand(picture: U8, track: PoseTrack, row: int, side: int, style: OverlayStyle) -> None:
    uv_px = track.uv_px[row, side]
    confidence = track.confidence[row, side]
    width_px = style.line_px or _line_width(picture, uv_px)
    radius_px = 0.75 * width_px + 1.25
    layer = _Layer.over(picture, uv_px, width_px + math.ceil(radius_px) + 2)
    if layer is None:
        return
    sure = np.clip(np.nan_to_num(confidence), 0, 1)
    opacity = np.round(255 * (style.min_opacity + (1 - style.min_opacity) * sure)).astype(int)
    dashed = track.provenance[row, side] == BRIDGED
    _draw_bones(layer, picture, uv_px, opacity, width_px, dashed=bool(dashed))
    points = layer.fixed(uv_px, picture)
    for j in np.flatnonzero(_known(uv_px)).tolist():
        hollow = not track.visible[row, side, j]
        layer.disc(points[j], int(opacity[j]), radius_px + 0.75 * hollow, hollow=hollow)
    layer.blend(picture, SIDE_RGB[side])


def _draw_bones(
    layer: _Layer,
    picture: U8,
    uv_px: F32,
    opacity: NDArray[np.int_],
    width_px: int,
    *,
    dashed: bool,
) -> None:
    shade = np.minimum(opacity[_STARTS], opacity[_ENDS])
    known = _known(uv_px)
    # Surest last: where bones cross, the later line replaces the opacity below it.
    order = np.argsort(shade, kind="stable")
    for bone in order[(known[_STARTS] & known[_ENDS])[order]].tolist():
        ends = uv_px[[_STARTS[bone], _ENDS[bone]]].astype(np.float64)
        pieces = layer.fixed(_dashes(ends, 2 * width_px + 4) if dashed else ends, picture)
        for a, b in zip(pieces[::2], pieces[1::2], strict=True):
            layer.segment(a, b, int(shade[bone]), width_px)


def _dashes(ends_px: NDArray[np.float64], dash_px: float) -> NDArray[np.float64]:
    """Cut a line ``(2, 2)`` into dashes ``(2 n, 2)``, start and end of each, gaps as long."""
    length = float(np.linalg.norm(ends_px[1] - ends_px[0]))
    # Odd, so that a dash stands at both joints; few for a bone that runs far out of the picture.
    n_parts = 2 * int(min(max(length / (2 * dash_px), 1), 40)) + 1
    cuts = np.linspace(0, 1, n_parts + 1)[:, None]
    points: NDArray[np.float64] = ends_px[0] + cuts * (ends_px[1] - ends_px[0])
    return points


def _known(uv_px: F32) -> Bool:
    known: Bool = np.asarray(np.isfinite(uv_px).all(axis=1))
    return known


def _draw_raw(picture: U8, uv_px: F32) -> None:
    layer = _Layer.over(picture, uv_px, 3)
    if layer is None:
        return
    known = _known(uv_px)
    points = layer.fixed(uv_px, picture)
    for a, b in BONES:
        if known[a] and known[b]:
            cv2.line(layer.line, points[a], points[b], 200, 1, cv2.LINE_AA, _SHIFT)
    layer.blend(picture, RAW_RGB)


def _line_width(picture: U8, uv_px: F32) -> int:
    """Give a bone's width: legible in the picture, yet thinner than the fingers of a small hand."""
    by_picture = float(min(picture.shape[:2])) / 240
    known = uv_px[_known(uv_px)]
    span_px = float(np.ptp(known, axis=0).max()) if len(known) else 0.0
    return max(1, round(min(by_picture, span_px / 40)))


def lost_picture(width: int, height: int, index: int) -> U8:
    """Give the dark grey picture ``(height, width, 3)`` that says "frame N lost"."""
    picture = np.full((height, width, 3), LOST_RGB, np.uint8)
    text = f"frame {index} lost"
    (unit_width, unit_height), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    scale = min(min(width, height) / 480, 0.9 * width / unit_width, 0.5 * height / unit_height)
    at = (round((width - scale * unit_width) / 2), round((height + scale * unit_height) / 2))
    cv2.putText(picture, text, at, FONT, scale, TEXT_RGB, 1 + round(scale), cv2.LINE_AA)
    return picture


def draw_strip(picture: U8, track: PoseTrack, row: int, note: str) -> None:
    """Print frame, time and the state of each hand into the upper left corner of a picture.

    Args:
        picture: Changed in place; one that is too small for legible text is left as it is.
        track: The track, or a window of it.
        row: The row of ``track`` that the picture shows.
        note: A word to print behind the time.
    """
    layout = _strip_layout(picture.shape[1], picture.shape[0])
    if layout is None:
        return
    scale, line_px, width_px = layout
    lines = [(f"frame {track.frame_index[row]}  {_clock(track, row)}  {note}", TEXT_RGB)]
    lines += [(_hand_state(track, row, side), SIDE_RGB[side]) for side in range(len(SIDES))]
    pad = line_px // 2
    ground = picture[: line_px * len(lines) + pad, : width_px + pad]
    # A quarter of the brightness: dark enough for the text, yet the frame can be seen through it.
    ground >>= 2
    for number, (text, colour) in enumerate(lines, start=1):
        at = (pad // 2, number * line_px)
        cv2.putText(picture, text, at, FONT, scale, colour, max(1, round(scale)), cv2.LINE_AA)


@lru_cache(maxsize=8)
def _strip_layout(width: int, height: int) -> tuple[float, int, int] | None:
    """Give font scale, line height and strip width in pixels; None where text cannot be read."""
    longest = ("frame 000000  00:00.000", "R deoccluded 0.00")
    sizes = [cv2.getTextSize(text, FONT, 1.0, 1)[0] for text in longest]
    unit_width = max(size[0] for size in sizes)
    unit_height = max(size[1] for size in sizes)
    wanted = max(0.4, min(width, height) / 1000)
    scale = min(wanted, 0.6 * width / unit_width, 0.1 * height / unit_height)
    if scale < 0.3:
        return None
    return scale, math.ceil(1.6 * unit_height * scale), math.ceil(unit_width * scale)


def _clock(track: PoseTrack, row: int) -> str:
    base = track.meta.time_base
    ms = round(int(track.pts[row]) * 1000 * base)
    sign, ms = ("-" if ms < 0 else ""), abs(ms)
    return f"{sign}{ms // 60000:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def _hand_state(track: PoseTrack, row: int, side: int) -> str:
    code = int(track.provenance[row, side])
    text = f"{SIDE_LETTERS[side]} {PROVENANCE[code]}"
    if code == ABSENT:
        return text
    return f"{text} {float(track.confidence[row, side].mean()):.2f}"
