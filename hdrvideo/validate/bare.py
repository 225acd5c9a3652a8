"""Bare hands of a clip on disk: a square a frame, and a JPEG of it for each hand, one ``.npz``.

Arrays: ``square`` ``(T, 3)`` int64, u0, v0 and side of :mod:`hdrvideo.validate.squares`; ``jpeg``
uint8, all files one after the other, frame by frame, right before left, 256 px a side;
``jpeg_end`` ``(2 T + 1,)`` int64, 0 and where each ends. A prediction has ``exists`` ``(T, 2)``
bool as well: a hand without a picture has an empty file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, U8, Bool
from hdrvideo.errors import TrackError
from hdrvideo.validate.archive import Fault, Shapes, check_arrays, read_arrays
from hdrvideo.validate.squares import SQUARE_PX

_NAMES: Final = ("square", "jpeg", "jpeg_end")


@dataclass(frozen=True)
class BarePictures:
    """Bare hands of T frames.

    Attributes:
        path: Where they came from.
        fault: Gives the error for a picture that is damaged.
        square: ``(T, 3)`` int64.
        jpeg: ``(N,)`` uint8.
        jpeg_end: ``(2 T + 1,)`` int64.
        exists: ``(T, 2)`` bool, the hand has a picture in the frame.
    """

    path: Path
    fault: Fault
    square: NDArray[np.int64]
    jpeg: U8
    jpeg_end: NDArray[np.int64]
    exists: Bool

    def __post_init__(self) -> None:
        n = len(self.square)
        arrays = {name: getattr(self, name) for name in (*_NAMES, "exists")}
        shapes: Shapes = {
            "square": ((n, 3), "int64"),
            "jpeg": ((None,), "uint8"),
            "jpeg_end": ((n * N_SIDES + 1,), "int64"),
            "exists": ((n, N_SIDES), "bool"),
        }
        check_arrays(self.path, arrays, shapes, self.fault)
        ends = self.jpeg_end
        if ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] != len(self.jpeg):
            reason = f"its {n * N_SIDES} pictures do not add up to {len(self.jpeg)} bytes"
            raise self.fault(self.path, reason)
        is_empty = (self.square[:, 2] < 1) & self.exists.any(axis=1)
        if is_empty.any():
            frame = int(np.argmax(is_empty))
            raise self.fault(self.path, f"the square of frame {frame} has no pixels")

    def picture_u8(self, frame: int, side: int) -> U8:
        """Give a hand's picture in the frame's square: ``(256, 256, 3)`` RGB.

        Raises:
            HdrVideoError: As ``fault`` gives it: there is none, or it is damaged.
        """
        place = frame * N_SIDES + side
        start, stop = self.jpeg_end[place : place + 2]
        code = self.jpeg[start:stop]
        picture = cv2.imdecode(code, cv2.IMREAD_COLOR) if len(code) else None
        if picture is None or picture.shape != (SQUARE_PX, SQUARE_PX, 3):
            raise self.fault(self.path, f"the picture of frame {frame} is damaged")
        return np.asarray(picture[..., ::-1], dtype=np.uint8)


def read_bare(path: Path, n_frames: int, fault: Fault, *, is_truth: bool = False) -> BarePictures:
    """Read the bare hands of ``n_frames`` frames; the truth has a picture for every hand.

    Raises:
        HdrVideoError: As ``fault`` gives it: the file is damaged or does not fit.
    """
    if not path.is_file():
        raise fault(path, "there is no such file")
    names = _NAMES if is_truth else (*_NAMES, "exists")
    arrays = read_arrays(path, names, fault)
    check_arrays(path, arrays, {"square": ((n_frames, 3), "int64")}, fault)
    if is_truth:
        arrays["exists"] = np.ones((n_frames, N_SIDES), dtype=bool)
    bare = BarePictures(path=path, fault=fault, **arrays)
    has_bytes = (np.diff(bare.jpeg_end) > 0).reshape(n_frames, N_SIDES)
    if not is_truth and (has_bytes != bare.exists).any():
        frame = int(np.argmax((has_bytes != bare.exists).any(axis=1)))
        raise fault(path, f"exists and the pictures' lengths disagree at frame {frame}")
    return bare


def load_painted(path: Path | str, n_frames: int) -> BarePictures:
    """Read predicted bare hands of a clip of ``n_frames`` frames; pictures come when asked for.

    Raises:
        TrackError: The file is missing, damaged, or does not fit the clip.
    """
    return read_bare(Path(path), n_frames, _painted_fault)


def _painted_fault(path: Path, reason: str) -> TrackError:
    return TrackError(
        f"painted hands {path} cannot be used: {reason}; paint the benchmark's own clip"
    )
