"""The pictures of a clip's hands: ``crops.parquet``, a row for each frame and hand.

Columns: ``frame_index`` (whole number), ``hand`` (``right`` or ``left``), ``painted`` (true: the
hand is whole and alone, as HDRM painted it; false: it is as the frame shows it),
``frame_from_crop`` (the 2x3 affine from crop pixels to frame pixels, row by row; where the crop
shows the hand mirrored, it holds the mirror), ``jpeg`` (the picture as a JPEG file). Other columns
are ignored. Our own files are in the order of frames, so that they go out and come back in constant
memory.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, U8, KeptCrop, check_array
from hdrvideo.errors import ShapeError, TrackError
from hdrvideo.hand import SIDES
from hdrvideo.output.rows import RowsWriter, read_rows
from hdrvideo.track import TrackMeta

CROPS_FILE: Final = "crops.parquet"

CROP_SCHEMA: Final = pa.schema(
    [
        ("frame_index", pa.int32()),
        ("hand", pa.dictionary(pa.int8(), pa.string())),
        ("painted", pa.bool_()),
        ("frame_from_crop", pa.list_(pa.float64(), 6)),
        ("jpeg", pa.binary()),
    ]
)
_PLAIN: Final = {
    "frame_index": int, "hand": str, "painted": bool, "frame_from_crop": list, "jpeg": bytes,
}  # fmt: skip
# Some 5 MB.
_ROWS_PER_GROUP: Final = 256
_REMEDY: Final = "give the file as `hdrvideo annotate --keep crops` wrote it"


@dataclass(frozen=True)
class HandPicture:
    """A hand's picture, ready to be shown.

    Attributes:
        rgb_u8: ``(R, R, 3)``.
        frame_from_crop: ``(2, 3)`` float64, crop pixels to frame pixels; holds the mirror.
        painted: It shows the hand whole and alone, as HDRM painted it.
    """

    rgb_u8: U8
    frame_from_crop: NDArray[np.float64]
    painted: bool

    def __post_init__(self) -> None:
        side = len(self.rgb_u8)
        check_array("rgb_u8", self.rgb_u8, (side, side, 3), "uint8")
        check_array("frame_from_crop", self.frame_from_crop, (2, 3), "float64")


# By side; None where there is no picture.
HandPictures = tuple[HandPicture | None, HandPicture | None]


class CropsWriter(RowsWriter):
    """Writes ``crops.parquet`` hand by hand, otherwise as ``TrackWriter`` of ``save.py``.

    The file appears under its own name when the block ends without an error; a clip without a hand
    leaves one without rows.

    Args:
        path: Where the pictures go.
        meta: What holds for the whole track; stored in the file.
        overwrite: Replace a file that is already there.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """

    def __init__(self, path: Path | str, meta: TrackMeta, *, overwrite: bool = False) -> None:
        super().__init__(
            path, meta, CROP_SCHEMA, rows_per_group=_ROWS_PER_GROUP, overwrite=overwrite
        )
        self._last = (0, -1)

    def write(self, frame_index: int, side: int, crop: KeptCrop) -> None:
        """Write the picture of one hand in one frame.

        Args:
            frame_index: Row of the frame ledger.
            side: 0 = right, 1 = left; right before left.
            crop: The picture.

        Raises:
            ShapeError: There is no such side.
            TrackError: The frame is out of order, or its hand was written before.
            WriteError: The system refuses the write.
        """
        if side not in range(N_SIDES):
            raise ShapeError(f"side is {side}, expected 0 (right) or 1 (left)")
        if (frame_index, side) <= self._last:
            frame, last = self._last
            raise TrackError(
                f"crop of the {SIDES[side]} hand in frame {frame_index} is given for {self.path} "
                f"after that of the {SIDES[max(last, 0)]} hand in frame {frame}; write them in "
                "order, right before left, each once"
            )
        self._last = (frame_index, side)
        row = {"frame_index": frame_index, "hand": SIDES[side], "painted": crop.painted}
        affine = crop.frame_from_crop.ravel().tolist()
        self._add([{**row, "frame_from_crop": affine, "jpeg": crop.jpeg}])


class CropReader:
    """Reads ``crops.parquet`` one frame after the other, in constant memory; a context manager.

    Args:
        path: A file in the order of frames, as :class:`CropsWriter` writes it.

    Raises:
        TrackError: The file is missing or damaged.
    """

    def __init__(self, path: Path | str) -> None:
        if not Path(path).is_file():
            raise TrackError(f"no crops {path}; make them with `hdrvideo annotate --keep crops`")
        self._path = Path(path)
        self._rows = self._read()
        self._frame = -1

    def __enter__(self) -> "CropReader":
        self._next = next(self._rows, None)
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def pictures(self, frame_index: int) -> HandPictures:
        """Give both hands' pictures of a frame, right and left; None where there is none.

        Args:
            frame_index: After that of the last call; frames may be passed over.

        Raises:
            TrackError: The frame was passed, or the file is damaged or out of order.
        """
        if frame_index <= self._frame:
            raise TrackError(
                f"crops of frame {frame_index} of {self._path} are asked for after those of frame "
                f"{self._frame}; read forwards"
            )
        self._frame = frame_index
        found: list[HandPicture | None] = [None] * N_SIDES
        while self._next is not None and self._next[1]["frame_index"] <= frame_index:
            number, row = self._next
            if row["frame_index"] == frame_index:
                found[SIDES.index(row["hand"])] = self._picture(number, row)
            self._next = next(self._rows, None)
        return found[0], found[1]

    def _read(self) -> Generator[tuple[int, dict[str, Any]], None, None]:
        """Read and check one row after the other: its number and its values."""
        last = (0, -1)
        for number, row in read_rows(self._path, _PLAIN, self._fault):
            last = self._check(number, row, last)
            yield number, row

    def _check(self, number: int, row: dict[str, Any], last: tuple[int, int]) -> tuple[int, int]:
        """Refuse a row that does not fit; give its frame and side."""
        place = f"row {number}"
        if row["hand"] not in SIDES:
            words = ", ".join(SIDES)
            raise self._fault(place, f"hand is {row['hand']!r}, expected one of {words}")
        now = (row["frame_index"], SIDES.index(row["hand"]))
        if now <= last:
            raise self._fault(
                place,
                f"is of the {row['hand']} hand in frame {now[0]} and comes after frame {last[0]}, "
                "expected the order of frames, right before left, each once",
            )
        return now

    def _picture(self, number: int, row: dict[str, Any]) -> HandPicture:
        values = row["frame_from_crop"]
        is_good = len(values) == 6 and all(type(v) is float and math.isfinite(v) for v in values)
        if not is_good:
            text = f"frame_from_crop is {values!r:.40}, expected 6 numbers"
            raise self._fault(f"row {number}", text)
        affine = np.array(values, dtype=np.float64).reshape(2, 3)
        data = np.frombuffer(row["jpeg"], dtype=np.uint8)
        # Empty data raises in OpenCV, damaged data gives None.
        bgr_u8: Any = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if bgr_u8 is None or bgr_u8.shape[0] != bgr_u8.shape[1]:
            raise self._fault(f"row {number}", "jpeg is no square picture")
        return HandPicture(cv2.cvtColor(bgr_u8, cv2.COLOR_BGR2RGB), affine, row["painted"])

    def _fault(self, place: str, text: str) -> TrackError:
        where = f"{self._path} {place}".rstrip()
        return TrackError(f"{where} {text}; {_REMEDY}")
