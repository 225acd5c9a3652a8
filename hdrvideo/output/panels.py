"""The review video's pictures: panels side by side, each of the same frame.

``overlay`` shows both skeletons, ``raw`` what each frame said of them by itself, ``masks`` which
pixels are of which hand, ``hands`` each hand's crop, its masks and the hand as HDRM painted it,
``plot`` the fingertips of the last seconds; see :mod:`hdrvideo.output.overlay`, :func:`draw_masks`,
:func:`draw_hands` and :mod:`hdrvideo.output.plot`. Reads no clip and writes none: frames come in
and a consumer takes the pictures.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from hdrvideo.datatypes import N_SIDES, U8, Bool, Frame, check_array
from hdrvideo.errors import SettingsError, TrackError
from hdrvideo.output.colours import EDGE_RGB, LOST_RGB, RGB, SIDE_LETTERS, SIDE_RGB, TEXT_RGB
from hdrvideo.output.crops import HandPicture, HandPictures
from hdrvideo.output.overlay import (
    DEFAULT_STYLE,
    FONT,
    OverlayStyle,
    draw_overlay,
    draw_strip,
    lost_picture,
)
from hdrvideo.output.plot import TipPlot
from hdrvideo.track import PoseTrack

PANELS: Final = ("raw", "overlay", "masks", "hands", "plot")

# Gives the visible and the whole masks of a frame, each (2, H, W) bool.
MasksOf = Callable[[int], tuple[Bool, Bool]]
# Gives both hands' pictures of a frame.
PicturesOf = Callable[[int], HandPictures]

# The frame's brightness round the hands, in 0..1.
_DIMMED: Final = 0.6
# By side: what becomes of each channel's 0..255 under paint that lets half of it through.
_HALF_PAINTED: Final = [
    ((np.arange(256)[:, None] + np.array(colour)) // 2).astype(np.uint8)[None]
    for colour in SIDE_RGB
]


def check_panels(names: Sequence[str]) -> tuple[str, ...]:
    """Give the panels in their order.

    Raises:
        SettingsError: One is unknown or named twice, or there is none.
    """
    for place, name in enumerate(names):
        if name not in PANELS:
            raise SettingsError(f"panel {name!r} is not known; use {', '.join(PANELS)}")
        if name in names[:place]:
            raise SettingsError(f"panel {name!r} is named twice; name it once")
    if not names:
        raise SettingsError(f"no panel is named; use {', '.join(PANELS)}")
    return tuple(names)


def render_panels(
    frames: Iterable[Frame],
    windows: Iterable[PoseTrack],
    write: Callable[[U8, int], None],
    *,
    panels: Sequence[str] = ("overlay",),
    masks_of: MasksOf | None = None,
    pictures_of: PicturesOf | None = None,
    style: OverlayStyle = DEFAULT_STYLE,
) -> int:
    """Draw every frame of a clip and hand it on with its own time.

    Args:
        frames: All source frames in order, lost ones too.
        windows: The track of the same clip in consecutive windows; ``[track]`` will do.
        write: Takes each picture ``(H, n W, 3)`` RGB of n panels, and its pts.
        panels: Of :data:`PANELS`, from left to right; the strip is on the first.
        masks_of: Gives the masks of a frame by its index; asked once for every frame, in order.
        pictures_of: Gives the hands' pictures, likewise; the hands panel needs both.
        style: How the overlay looks.

    Returns:
        The number of pictures.

    Raises:
        SettingsError: A panel is unknown or named twice, or it has nothing to draw.
        TrackError: The track has other frames than the clip.
        ShapeError: A picture or mask is not of the track's size.
    """
    panels = check_panels(panels)
    for panel, missing in (("masks", "masks_of"), ("hands", "masks_of"), ("hands", "pictures_of")):
        if panel in panels and (masks_of if missing == "masks_of" else pictures_of) is None:
            raise SettingsError(f"panel {panel!r} has nothing to draw; give {missing}")
    count, plot = 0, None
    for frame, track, row in _paired(frames, windows):
        if plot is None:
            plot = TipPlot(track.meta.width, track.meta.height)
        shown = _Shown(
            frame,
            track,
            row,
            masks=None if masks_of is None else masks_of(frame.index),
            pictures=None if pictures_of is None else pictures_of(frame.index),
            plot=plot if "plot" in panels else None,
        )
        drawn = [shown.draw(panel, replace(style, strip=False)) for panel in panels]
        if style.strip:
            draw_strip(drawn[0], track, row, "damaged" if frame.status == "damaged" else "")
        write(np.hstack(drawn), frame.pts)
        count += 1
    return count


@dataclass(frozen=True)
class _Shown:
    """All that panels draw of one frame."""

    frame: Frame
    track: PoseTrack
    row: int
    masks: tuple[Bool, Bool] | None
    pictures: HandPictures | None
    plot: TipPlot | None

    def draw(self, panel: str, style: OverlayStyle) -> U8:
        meta, rgb_u8 = self.track.meta, self.frame.rgb_u8
        if panel == "plot" and self.plot is not None:
            return self.plot.draw(self.track, self.row)
        if panel == "raw":
            said = self.track.rows(self.row, self.row + 1).unrefined()
            return draw_overlay(rgb_u8, said, 0, style=replace(style, raw=False))
        if panel == "overlay" or self.masks is None:
            return draw_overlay(rgb_u8, self.track, self.row, style=style)
        if rgb_u8 is None:
            return lost_picture(meta.width, meta.height, self.frame.index)
        check_array("rgb_u8", rgb_u8, (meta.height, meta.width, 3), "uint8")
        if panel == "hands" and self.pictures is not None:
            return draw_hands(rgb_u8, *self.masks, self.pictures)
        return draw_masks(rgb_u8, *self.masks)


def draw_masks(rgb_u8: U8, visible: Bool, amodal: Bool) -> U8:
    r"""Draw the masks of both hands over their frame, which is dimmed where no hand is seen.

    What is seen of a hand is filled half transparent, what is hidden is hatched, and a line runs
    round the whole. Right is orange-red, hatched like ``/`` and marked R; left is blue-cyan,
    hatched like ``\`` and marked L.

    Args:
        rgb_u8: The frame ``(H, W, 3)``, left as it is.
        visible: Seen parts ``(2, H, W)`` by side.
        amodal: Whole hands ``(2, H, W)`` by side.

    Returns:
        A new picture of the same size.

    Raises:
        ShapeError: The arrays do not fit together.
    """
    check_array("rgb_u8", rgb_u8, (None, None, 3), "uint8")
    size = rgb_u8.shape[:2]
    check_array("visible", visible, (N_SIDES, *size), "bool")
    check_array("amodal", amodal, (N_SIDES, *size), "bool")
    picture: U8 = cv2.convertScaleAbs(rgb_u8, alpha=_DIMMED)
    parts = [_Part.of(side, visible[side], amodal[side]) for side in range(N_SIDES)]
    hands = [part for part in parts if part is not None]
    # Lines of both hands lie over the filling of both: where one hides the other, both are told.
    for hand in hands:
        hand.fill(picture, rgb_u8)
    for hand in hands:
        hand.hatch(picture)
    for hand in hands:
        hand.outline(picture)
    for hand in hands:
        hand.letter(picture, amodal[1 - hand.side])
    return picture


def draw_hands(rgb_u8: U8, visible: Bool, amodal: Bool, pictures: HandPictures) -> U8:
    """Draw each hand's crop, the same with both hands' masks, and the hand as it was painted.

    The right hand's row is above the left one's. Crops are as the nets get them, so a left hand
    may be mirrored. A hand without a picture has dark cells with its letter.

    Args:
        rgb_u8: The frame ``(H, W, 3)``, left as it is.
        visible: Seen parts ``(2, H, W)`` by side.
        amodal: Whole hands ``(2, H, W)`` by side.
        pictures: Of both hands.

    Returns:
        A new picture of the frame's size.

    Raises:
        ShapeError: The arrays do not fit together.
    """
    check_array("rgb_u8", rgb_u8, (None, None, 3), "uint8")
    height, width = rgb_u8.shape[:2]
    check_array("visible", visible, (N_SIDES, height, width), "bool")
    check_array("amodal", amodal, (N_SIDES, height, width), "bool")
    panel: U8 = np.full_like(rgb_u8, EDGE_RGB)
    cell_px = max(min(width // 3, height // N_SIDES), 1)
    first_u, first_v = (width - 3 * cell_px) // 2, (height - N_SIDES * cell_px) // 2
    for side, picture in enumerate(pictures):
        cells = [np.full((cell_px, cell_px, 3), LOST_RGB, np.uint8)] * 3
        words = [SIDE_LETTERS[side]] * 3
        if picture is not None:
            cells = _hand_cells(picture, rgb_u8, visible, amodal, cell_px)
            words = [SIDE_LETTERS[side], "masks", "painted" if picture.painted else "as it is"]
        top = max(first_v + side * cell_px, 0)
        for place, (cell, word) in enumerate(zip(cells, words, strict=True)):
            left = max(first_u + place * cell_px, 0)
            room = panel[top : top + cell_px, left : left + cell_px]
            room[:] = cell[: room.shape[0], : room.shape[1]]
            _caption(room, word, SIDE_RGB[side])
    return panel


def _hand_cells(
    picture: HandPicture, rgb_u8: U8, visible: Bool, amodal: Bool, cell_px: int
) -> list[U8]:
    """Give a hand's crop, the same with masks, and its picture, each ``(cell_px, cell_px, 3)``."""
    scale = len(picture.rgb_u8) / cell_px
    affine = picture.frame_from_crop * (scale, scale, 1)
    affine[:, 2] += picture.frame_from_crop[:, :2].sum(axis=1) * (scale - 1) / 2
    size = (cell_px, cell_px)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(rgb_u8, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    masks = [
        np.stack([cv2.warpAffine(one.view(np.uint8) * 255, affine, size, flags=flags) for one in m])
        for m in (visible, amodal)
    ]
    way = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    bare = cv2.resize(picture.rgb_u8, size, interpolation=way)
    return [crop, draw_masks(crop, masks[0] >= 128, masks[1] >= 128), bare]


def _caption(cell: U8, word: str, colour: RGB) -> None:
    """Write a word into a cell's upper left corner, where it can be read there."""
    scale = len(cell) / 400
    if scale < 0.3:
        return
    at = (round(12 * scale), round(34 * scale))
    line_px = max(1, round(2 * scale))
    for rgb, thickness in ((EDGE_RGB, line_px + 2), (colour, line_px)):
        cv2.putText(cell, word, at, FONT, scale, rgb, thickness, cv2.LINE_AA)


@dataclass(frozen=True)
class _Part:
    """The part of a picture that one hand takes, and the hand's masks there as 0 and 255."""

    side: int
    rows: slice
    columns: slice
    visible_u8: U8
    amodal_u8: U8

    @classmethod
    def of(cls, side: int, visible: Bool, amodal: Bool) -> "_Part | None":
        u0, v0, width, height = cv2.boundingRect((visible | amodal).view(np.uint8))
        if not width:
            return None
        part = (slice(v0, v0 + height), slice(u0, u0 + width))
        masks = (np.where(mask[part], np.uint8(255), np.uint8(0)) for mask in (visible, amodal))
        return cls(side, *part, *masks)

    def fill(self, picture: U8, rgb_u8: U8) -> None:
        painted = cv2.LUT(rgb_u8[self.rows, self.columns], _HALF_PAINTED[self.side])
        cv2.copyTo(painted, self.visible_u8, picture[self.rows, self.columns])

    def hatch(self, picture: U8) -> None:
        lines, edges = _hatching(self.side, *picture.shape[:2])
        hidden = self.amodal_u8 & ~self.visible_u8
        region = picture[self.rows, self.columns]
        for pattern, colour in ((edges, EDGE_RGB), (lines, SIDE_RGB[self.side])):
            region[(hidden & pattern[self.rows, self.columns]) > 0] = colour

    def outline(self, picture: U8) -> None:
        line_px = max(1, round(min(picture.shape[:2]) / 360))
        shift = (self.columns.start, self.rows.start)
        contours, _ = cv2.findContours(
            self.amodal_u8, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE, offset=shift
        )
        cv2.drawContours(picture, contours, -1, EDGE_RGB, line_px + 2, cv2.LINE_AA)
        cv2.drawContours(picture, contours, -1, SIDE_RGB[self.side], line_px, cv2.LINE_AA)

    def letter(self, picture: U8, other_amodal: Bool) -> None:
        """Mark the side where most room is that the other hand's lines leave free."""
        free = np.where(other_amodal[self.rows, self.columns], np.uint8(0), self.visible_u8)
        # A rim of one pixel, because nothing is free beyond the picture.
        free = cv2.copyMakeBorder(free, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        room = cv2.distanceTransform(free, cv2.DIST_L2, 3)
        _, room_px, _, (u, v) = cv2.minMaxLoc(room)
        text, (unit_width, unit_height) = _unit_letter(self.side)
        scale = min(min(picture.shape[:2]) / 600, 1.4 * room_px / unit_height)
        if scale < 0.3:
            return
        at = (
            round(self.columns.start + u - 1 - scale * unit_width / 2),
            round(self.rows.start + v - 1 + scale * unit_height / 2),
        )
        line_px = max(1, round(3 * scale))
        for colour, thickness in ((EDGE_RGB, line_px + 2), (TEXT_RGB, line_px)):
            cv2.putText(picture, text, at, FONT, scale, colour, thickness, cv2.LINE_AA)


@lru_cache(maxsize=N_SIDES)
def _unit_letter(side: int) -> tuple[str, tuple[int, int]]:
    text = SIDE_LETTERS[side]
    (width, height), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    return text, (width, height)


@lru_cache(maxsize=4)
def _hatching(side: int, height: int, width: int) -> tuple[U8, U8]:
    """Give the diagonal lines of a side over the whole picture and their dark edges, 0 and 255."""
    period_px = max(4, round(min(height, width) / 48))
    line_px, edge_px = max(1, round(0.35 * period_px)), max(1, round(0.12 * period_px))
    v, u = np.ogrid[:height, :width]
    phase = (u + v if side == 0 else u - v) % period_px
    lines = np.where(phase < line_px, np.uint8(255), np.uint8(0))
    edges = np.where(phase < line_px + edge_px, np.uint8(255), np.uint8(0))
    return lines, edges


def _paired(
    frames: Iterable[Frame], windows: Iterable[PoseTrack]
) -> Iterator[tuple[Frame, PoseTrack, int]]:
    source = iter(frames)
    last = -1
    for track in windows:
        for row, (index, pts) in enumerate(zip(track.frame_index, track.pts, strict=True)):
            frame = next(source, None)
            if frame is None:
                raise TrackError(
                    f"clip ends before frame {index} of the track of {track.meta.clip}; give the "
                    "clip that the track was made from"
                )
            if (frame.index, frame.pts) != (index, pts):
                raise TrackError(
                    f"clip has frame {frame.index} at pts {frame.pts} where the track of "
                    f"{track.meta.clip} has frame {index} at {pts}; give the clip that the track "
                    "was made from"
                )
            last = frame.index
            yield frame, track, row
    extra = next(source, None)
    if extra is not None:
        raise TrackError(
            f"track ends at frame {last} and the clip goes on with {extra.index}; give the clip "
            "that the track was made from"
        )
