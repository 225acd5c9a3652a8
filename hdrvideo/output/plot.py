"""The plot panel: where fingertips were in the last seconds, raw and refined.

Above the right hand, below the left one: how high each tip stood in the picture. Grey is what the
frames said, coloured what is told; now is at the right edge. A jump or a lag shows at a glance.
"""

from collections import deque
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, U8
from hdrvideo.hand import TIPS
from hdrvideo.output.colours import SIDE_LETTERS, SIDE_RGB, TEXT_RGB
from hdrvideo.output.overlay import FONT
from hdrvideo.track import PoseTrack

SHOWN_SECONDS: Final = 3.0
# Tips that hardly move are not blown up to the height of the panel.
LEAST_SPAN_PX: Final = 40.0

_GROUND: Final = (24, 24, 24)
_RAW_RGB: Final = (120, 120, 120)
_MARGIN: Final = 6


class TipPlot:
    """Draws the plot frame by frame; remembers the last seconds and no more."""

    def __init__(self, width: int, height: int) -> None:
        """Set the panel's size in pixels."""
        self._size = (width, height)
        self._past: deque[tuple[float, NDArray[np.float32], NDArray[np.float32]]] = deque()

    def draw(self, track: PoseTrack, row: int) -> U8:
        """Draw the panel ``(H, W, 3)`` of the next frame, row ``row`` of a window of the track."""
        now = float(int(track.pts[row]) * track.meta.time_base)
        raw_px, told_px = (a[row][:, list(TIPS), 1] for a in (track.raw_uv_px, track.uv_px))
        self._past.append((now, raw_px, told_px))
        while now - self._past[0][0] > SHOWN_SECONDS:
            self._past.popleft()
        width, height = self._size
        picture = np.full((height, width, 3), _GROUND, dtype=np.uint8)
        seconds = np.array([when for when, _, _ in self._past])
        u = (width - 1) * (1 - (now - seconds) / SHOWN_SECONDS)
        half = height // 2
        for side in range(N_SIDES):
            raw = np.stack([raw_px[side] for _, raw_px, _ in self._past])
            told = np.stack([told_px[side] for _, _, told_px in self._past])
            strip = picture[side * half : side * half + half]
            _draw_strip(strip, u, raw, told, SIDE_RGB[side])
            letter = (SIDE_LETTERS[side], (_MARGIN, 18), FONT, 0.5, TEXT_RGB, 1, cv2.LINE_AA)
            cv2.putText(strip, *letter)
        cv2.line(picture, (0, half), (width - 1, half), _RAW_RGB, 1)
        return picture


def _draw_strip(
    strip: U8,
    u: NDArray[np.float64],
    raw: NDArray[np.float32],
    told: NDArray[np.float32],
    colour: tuple[int, int, int],
) -> None:
    """Draw the tips ``(N, 5)`` of one hand at columns ``(N,)``, in place; gaps stay open."""
    if not np.isfinite(told).any():
        return
    low, high = float(np.nanmin(told)), float(np.nanmax(told))
    middle, span = (low + high) / 2, max(high - low, LEAST_SPAN_PX)
    rows = len(strip) - 1
    for values, rgb in ((raw, _RAW_RGB), (told, colour)):
        # The picture's v runs down, and so does the plot.
        v = np.clip(rows * (0.5 + (values - middle) / (1.1 * span)), -1e4, 1e4)
        for tip in range(values.shape[1]):
            for k in range(len(u) - 1):
                ends = np.array([u[k], v[k, tip], u[k + 1], v[k + 1, tip]])
                if np.isfinite(ends).all():
                    a, b, c, d = np.rint(ends).astype(int).tolist()
                    cv2.line(strip, (a, b), (c, d), rgb, 1, cv2.LINE_AA)
