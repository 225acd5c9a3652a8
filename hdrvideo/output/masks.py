"""The masks of a clip: ``masks.parquet``, a row for each frame, hand and kind of mask.

Columns: ``frame_index`` (whole number), ``hand`` (``right`` or ``left``), ``kind`` (``visible`` or
``amodal``), ``height`` and ``width`` of the frame, ``counts`` (COCO's compressed run lengths of the
full frame as a string). A mask without a row is empty; further columns are ignored. Our own files
are in the order of frames, so that they go out and come back in constant memory.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from hdrvideo.datatypes import N_SIDES, Bool
from hdrvideo.errors import DataError, ShapeError, TrackError
from hdrvideo.hand import SIDES
from hdrvideo.handmask import HandMask
from hdrvideo.output.rows import RowsWriter, read_rows
from hdrvideo.output.save import WINDOW_FRAMES
from hdrvideo.rle import decode_rle, encode_rle
from hdrvideo.track import TrackMeta

MASKS_FILE: Final = "masks.parquet"
MASK_KINDS: Final = ("visible", "amodal")

_NAME: Final = pa.dictionary(pa.int8(), pa.string())
MASK_SCHEMA: Final = pa.schema(
    [
        ("frame_index", pa.int32()),
        ("hand", _NAME),
        ("kind", _NAME),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("counts", pa.string()),
    ]
)
_PLAIN: Final = {
    "frame_index": int, "hand": str, "kind": str, "height": int, "width": int, "counts": str,
}  # fmt: skip
_ROWS_PER_GROUP: Final = WINDOW_FRAMES * N_SIDES * len(MASK_KINDS)

# Run lengths of one frame by side and place in MASK_KINDS; what is not there is an empty mask.
FrameCounts = dict[tuple[int, int], str]


class MasksWriter(RowsWriter):
    """Writes ``masks.parquet`` hand by hand, otherwise as ``TrackWriter`` of ``save.py``.

    The file appears under its own name when the block ends without an error; a clip without a mask
    leaves one without rows.

    Args:
        path: Where the masks go.
        meta: What holds for the whole track; gives the size of the frames and is stored in the
            file.
        overwrite: Replace a file that is already there.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """

    def __init__(self, path: Path | str, meta: TrackMeta, *, overwrite: bool = False) -> None:
        super().__init__(
            path, meta, MASK_SCHEMA, rows_per_group=_ROWS_PER_GROUP, overwrite=overwrite
        )
        self._frame = -1
        self._sides: set[int] = set()

    def write(self, frame_index: int, side: int, mask: HandMask) -> None:
        """Write the masks of one hand in one frame; an empty mask gets no row.

        Args:
            frame_index: Row of the frame ledger, not before that of the last call.
            side: 0 = right, 1 = left; once a frame.
            mask: The masks.

        Raises:
            ShapeError: There is no such side.
            TrackError: The frame is out of order, or its hand was written before.
            WriteError: The system refuses the write.
        """
        if side not in range(N_SIDES):
            raise ShapeError(f"side is {side}, expected 0 (right) or 1 (left)")
        if frame_index < max(self._frame, 0):
            raise TrackError(
                f"masks of frame {frame_index} are given for {self.path} after those of frame "
                f"{self._frame}, expected {max(self._frame, 0)} or more; write them in order"
            )
        if frame_index > self._frame:
            self._frame, self._sides = frame_index, set()
        if side in self._sides:
            raise TrackError(
                f"masks of the {SIDES[side]} hand in frame {frame_index} are given for "
                f"{self.path} a second time, expected once"
            )
        self._sides.add(side)
        size = {"height": self.meta.height, "width": self.meta.width}
        masks = mask.in_frame(self.meta.height, self.meta.width)
        hand = {"frame_index": frame_index, "hand": SIDES[side], **size}
        self._add(
            [
                {**hand, "kind": kind, "counts": encode_rle(one)}
                for kind, one in zip(MASK_KINDS, masks, strict=True)
                if one.any()
            ]
        )


@dataclass(frozen=True)
class MaskRow:
    """One mask as it lies in the file.

    Attributes:
        where: The file and the row, for errors.
        frame_index: Of its frame.
        side: 0 = right, 1 = left.
        kind: Place in :data:`MASK_KINDS`.
        counts: Run lengths, not looked at yet.
    """

    where: str
    frame_index: int
    side: int
    kind: int
    counts: str

    def add_to(self, frame: FrameCounts, *, remedy: str) -> None:
        """Put the run lengths to those of the same frame.

        Raises:
            TrackError: There are some of the same hand and kind.
        """
        if (self.side, self.kind) in frame:
            raise TrackError(
                f"{self.where} is a second {MASK_KINDS[self.kind]} mask of the {SIDES[self.side]} "
                f"hand in frame {self.frame_index}, expected one; {remedy}"
            )
        frame[self.side, self.kind] = self.counts


@dataclass(frozen=True)
class MaskFile:
    """A mask file and what its rows must agree with.

    Attributes:
        path: Where it is.
        height_px: Of the frames.
        width_px: Of the frames.
        remedy: What to do about a file that does not fit; ends every error.
        n_frames: Rows are of frames before this one; None = of any.
    """

    path: Path
    height_px: int
    width_px: int
    remedy: str
    n_frames: int | None = None

    def rows(self) -> Generator[MaskRow, None, None]:
        """Read and check one row after the other, in the order of the file.

        Raises:
            TrackError: The file is missing or damaged, or a row does not fit.
        """
        for number, values in read_rows(self.path, _PLAIN, self._fault):
            yield self._row(number, values)

    def decode(self, frame_index: int, counts: FrameCounts) -> tuple[Bool, Bool]:
        """Give the visible and the whole (amodal) masks of a frame, each ``(2, H, W)`` bool.

        Raises:
            TrackError: Run lengths are broken.
        """
        masks = np.zeros((len(MASK_KINDS), N_SIDES, self.height_px, self.width_px), dtype=bool)
        for (side, kind), text in counts.items():
            try:
                masks[kind, side] = decode_rle(text, self.height_px, self.width_px)
            except DataError as error:
                what = f"frame {frame_index}, {SIDES[side]}, {MASK_KINDS[kind]}"
                raise TrackError(
                    f"{self.path}: counts of {what} are broken: {error}; {self.remedy}"
                ) from error
        return masks[0], masks[1]

    def _row(self, number: int, values: dict[str, Any]) -> MaskRow:
        place, index = f"row {number}", values["frame_index"]
        for name, words in (("hand", SIDES), ("kind", MASK_KINDS)):
            if values[name] not in words:
                raise self._fault(
                    place, f"{name} is {values[name]!r}, expected one of {', '.join(words)}"
                )
        if index < 0 or (self.n_frames is not None and index >= self.n_frames):
            last = "or more" if self.n_frames is None else f"to {self.n_frames - 1}"
            raise self._fault(place, f"is of frame {index}, expected 0 {last}")
        if (values["height"], values["width"]) != (self.height_px, self.width_px):
            size = f"{values['width']}x{values['height']}"
            expected = f"{self.width_px}x{self.height_px}"
            raise self._fault(place, f"is of a picture of {size}, expected {expected}")
        side, kind_place = SIDES.index(values["hand"]), MASK_KINDS.index(values["kind"])
        return MaskRow(f"{self.path} {place}", index, side, kind_place, values["counts"])

    def _fault(self, place: str, text: str) -> TrackError:
        where = f"{self.path} {place}".rstrip()
        return TrackError(f"{where} {text}; {self.remedy}")


class MaskReader:
    """Reads ``masks.parquet`` one frame after the other, in constant memory; a context manager.

    Args:
        path: A file in the order of frames, as :class:`MasksWriter` writes it.
        height_px: Of the frames.
        width_px: Of the frames.

    Raises:
        TrackError: The file is missing or damaged, or it is not of these frames.
    """

    def __init__(self, path: Path | str, *, height_px: int, width_px: int) -> None:
        if not Path(path).is_file():
            raise TrackError(f"no masks {path}; make them with `hdrvideo annotate --keep masks`")
        remedy = "give the file as `hdrvideo annotate --keep masks` wrote it"
        self._file = MaskFile(Path(path), height_px, width_px, remedy)
        self._rows = self._file.rows()
        self._frame = -1

    def __enter__(self) -> "MaskReader":
        self._next = next(self._rows, None)
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def masks(self, frame_index: int) -> tuple[Bool, Bool]:
        """Give the visible and the whole (amodal) masks of a frame, each ``(2, H, W)`` bool.

        Args:
            frame_index: After that of the last call; frames may be passed over.

        Raises:
            TrackError: The frame was passed, or the file is damaged or out of order.
        """
        if frame_index <= self._frame:
            raise TrackError(
                f"masks of frame {frame_index} of {self._file.path} are asked for after those of "
                f"frame {self._frame}; read forwards"
            )
        self._frame = frame_index
        counts: FrameCounts = {}
        while self._next is not None and self._next.frame_index <= frame_index:
            if self._next.frame_index == frame_index:
                self._next.add_to(counts, remedy=self._file.remedy)
            self._advance(self._next)
        return self._file.decode(frame_index, counts)

    def _advance(self, row: MaskRow) -> None:
        self._next = next(self._rows, None)
        if self._next is not None and self._next.frame_index < row.frame_index:
            raise TrackError(
                f"{self._next.where} is of frame {self._next.frame_index} and comes after frame "
                f"{row.frame_index}, expected the order of frames; {self._file.remedy}"
            )
