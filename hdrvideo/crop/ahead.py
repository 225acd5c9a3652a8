"""Paint the pictures of hands anew, with what frames after them show, too.

Joints are read as the frame came, with what was remembered by then; what leaves the tool as a
picture can wait. Frames are painted in blocks that lie on a fixed grid; a block is painted with up
to :data:`MARGIN` frames on either side, so a picture hangs on no frame that is farther than that
from its block. A row of one hand ends where the hand is lost, jumps, or is exchanged.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np

from hdrvideo.crop.read import painted_crop
from hdrvideo.crop.sighting import N_TRACKS, HandView, TrackedFrame
from hdrvideo.crop.take import take_masks, to_tensor
from hdrvideo.datatypes import HandCrops

# Frames of a block, and on either side of it.
BLOCK: Final = 32
MARGIN: Final = 16

_Views = tuple[HandView | None, ...]


class PaintRow(Protocol):
    """Paints a row of crops; see ``AheadHdrm`` in ``frame/painter.py``."""

    def __call__(self, crops: Iterable[HandCrops], wanted: Sequence[int], /) -> dict[int, Any]:
        """Give bare crops ``(3, R, R)`` of 0..1, by place in the row."""


class AheadPictures:
    """Takes rows in order and gives them back, their pictures painted anew, a block at a time."""

    def __init__(self, paint: PaintRow) -> None:
        """Take what paints a row of crops."""
        self._paint = paint
        # Rows that were not given back yet, and the views of those and of the margin before them.
        self._rows: list[TrackedFrame] = []
        self._views: deque[tuple[int, _Views]] = deque()

    def push(self, row: TrackedFrame) -> list[TrackedFrame]:
        """Take the next row; give back the rows of a block whose margin is full, if any."""
        self._rows.append(row)
        self._views.append(
            (row.frame.index, tuple(None if s is None else s.view for s in row.sightings))
        )
        end = _block_end(self._rows[0])
        return self._give(end) if row.frame.index + 1 >= end + MARGIN else []

    def finish(self) -> list[TrackedFrame]:
        """Give back all rows that are left."""
        rows = []
        while self._rows:
            rows += self._give(_block_end(self._rows[0]))
        return rows

    def _give(self, end: int) -> list[TrackedFrame]:
        """Paint and give back the rows before the frame ``end``."""
        block = [row for row in self._rows if row.frame.index < end]
        del self._rows[: len(block)]
        views = [v for v in self._views if v[0] < end + MARGIN]
        for track in range(N_TRACKS):
            for hand in _unbroken((index, pair[track]) for index, pair in views):
                self._paint_hand(block, track, hand)
        while self._views and self._views[0][0] < end - MARGIN:
            self._views.popleft()
        for row in block:
            row.sightings = [None if s is None else replace(s, view=None) for s in row.sightings]
        return block

    def _paint_hand(
        self, block: list[TrackedFrame], track: int, hand: list[tuple[int, HandView]]
    ) -> None:
        rows = {row.frame.index: row for row in block}
        wanted = []
        for place, (index, view) in enumerate(hand):
            now = rows[index].sightings[track] if index in rows else None
            # What was not painted before has nothing to paint.
            if now is not None and now.view is view and now.crop is not None and now.crop.painted:
                wanted.append(place)
        if not wanted:
            return
        start, stop = max(wanted[0] - MARGIN, 0), wanted[-1] + MARGIN + 1
        crops = (_crop_of(view) for _, view in hand[start:stop])
        for place, rgb in self._paint(crops, [place - start for place in wanted]).items():
            index, view = hand[start + place]
            affine = view.square.frame_from_crop(len(view.rgb_u8))
            sightings = rows[index].sightings
            now = sightings[track]
            assert now is not None
            sightings[track] = replace(now, crop=painted_crop(rgb.numpy(), affine))


def _block_end(row: TrackedFrame) -> int:
    return (row.frame.index // BLOCK + 1) * BLOCK


def _unbroken(views: Iterable[tuple[int, HandView | None]]) -> list[list[tuple[int, HandView]]]:
    """Part a track's views into rows of one hand without a gap."""
    rows: list[list[tuple[int, HandView]]] = []
    last = None
    for index, view in views:
        if view is not None:
            if last != index - 1 or not view.goes_on:
                rows.append([])
            rows[-1].append((index, view))
            last = index
    return rows


def _crop_of(view: HandView) -> HandCrops:
    r = len(view.rgb_u8)
    affines = view.square.frame_from_crop(r)[None]
    return HandCrops(
        rgb=to_tensor([view.rgb_u8]),
        frame_from_crop=affines,
        mirrored=np.array([view.square.mirror]),
        masks=take_masks([view.masks], affines, r),
    )
