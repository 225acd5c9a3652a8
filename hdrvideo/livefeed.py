"""Hands while they move: pictures come in one by one, poses come out with a stated delay.

``annotate`` and ``stream`` wait for as many frames as could matter, some seconds' worth. Here each
pose is told after a given number of frames at most, as well as it can be said by then: sides are
decided, gaps bridged and poses refined by fewer frames ahead.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

from hdrvideo.build import build_parts, pick_device
from hdrvideo.config import Settings, live_settings
from hdrvideo.datatypes import U8, ClipInfo, Frame, check_array
from hdrvideo.errors import ShapeError
from hdrvideo.pipeline import pose_windows
from hdrvideo.track import PoseTrack

LIVE_DELAY_FRAMES: Final = 36
# Times are kept in units that all usual frame rates divide.
_UNITS_PER_SECOND: Final = 90_000


def live(
    pictures: Iterable[tuple[float, U8]],
    *,
    delay_frames: int = LIVE_DELAY_FRAMES,
    settings: Settings | None = None,
    device: str = "auto",
) -> Iterator[PoseTrack]:
    """Follow both hands through pictures as they come, such as a camera's.

    Args:
        pictures: Of each frame its time in seconds, rising, and its picture ``(H, W, 3)`` uint8
            RGB, all of one size. Frames may be left out where the machine is too slow: what is
            said of time goes by the seconds.
        delay_frames: A frame's pose is yielded when so many frames more were taken, or sooner.
        settings: What else may be changed; None = the defaults.
        device: ``auto``, ``cpu`` or ``cuda``.

    Yields:
        The track, a few frames at a time, each frame once.

    Raises:
        HdrVideoError: The pictures, the settings or the weights cannot be used.
    """
    settings = live_settings(settings or Settings(), delay_frames)
    parts = build_parts(settings, pick_device(device))
    frames = _frames(pictures)
    first = next(frames, None)
    if first is None:
        return
    assert first.rgb_u8 is not None
    height, width = first.rgb_u8.shape[:2]
    info = ClipInfo(
        path="live",
        width=width,
        height=height,
        rotation_deg=0,
        rate=None,
        time_base=first.time_base,
        n_frames_container=None,
        is_variable_rate=None,
        has_audio=False,
        codec="images",
        pixel_format="rgb24",
    )
    for track, _ in pose_windows(_then(first, frames), info, settings, parts):
        yield track


def _then(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest


def _frames(pictures: Iterable[tuple[float, U8]]) -> Iterator[Frame]:
    """Number the pictures, and refuse what is no video."""
    shape, before = None, -1
    for index, (seconds, rgb_u8) in enumerate(pictures):
        check_array("rgb_u8", rgb_u8, (None, None, 3), "uint8")
        shape = shape or rgb_u8.shape
        if rgb_u8.shape != shape:
            raise ShapeError(
                f"picture {index} is {rgb_u8.shape[1]}x{rgb_u8.shape[0]} and those before it are "
                f"{shape[1]}x{shape[0]}; resize it, or begin anew"
            )
        pts = round(seconds * _UNITS_PER_SECOND) if math.isfinite(seconds) else before
        if pts <= before:
            least = "0" if before < 0 else f"more than {before / _UNITS_PER_SECOND:g}"
            raise ShapeError(
                f"picture {index} is at {seconds:g} s, expected {least} s; times must rise"
            )
        before = pts
        # A camera may write its next picture into the same array.
        yield Frame(index, pts, Fraction(1, _UNITS_PER_SECOND), rgb_u8.copy())
