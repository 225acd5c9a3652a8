"""Predicted masks of a clip: ``masks.parquet``, a row for each hand, frame and kind of mask.

Columns: ``frame_index`` (whole number), ``hand`` (``right`` or ``left``), ``kind`` (``visible`` or
``amodal``), ``height`` and ``width`` of the frame, ``counts`` (COCO's compressed run lengths of the
full frame as a string). A mask without a row is empty; further columns are ignored.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hdrvideo.datatypes import N_SIDES, Bool
from hdrvideo.errors import DataError, TrackError
from hdrvideo.hand import SIDES
from hdrvideo.validate.rle import decode_rle

MASK_KINDS: Final = ("visible", "amodal")
_COLUMNS: Final = {
    "frame_index": int, "hand": str, "kind": str, "height": int, "width": int, "counts": str,
}  # fmt: skip
_REMEDY: Final = "write the masks of the benchmark's own clip"


@dataclass(frozen=True)
class MaskTrack:
    """Masks of T frames, kept as run lengths and decoded when asked for.

    Attributes:
        source: Where they came from.
        n_frames: T.
        height_px: Picture height.
        width_px: Picture width.
        counts: Run lengths by frame, side and place in :data:`MASK_KINDS`; what is not there is
            an empty mask.
    """

    source: str
    n_frames: int
    height_px: int
    width_px: int
    counts: dict[tuple[int, int, int], str]

    def masks(self, frame: int) -> tuple[Bool, Bool]:
        """Give the visible and the whole (amodal) masks of a frame, each ``(2, H, W)`` bool.

        Raises:
            TrackError: Run lengths are broken.
        """
        masks = np.zeros((len(MASK_KINDS), N_SIDES, self.height_px, self.width_px), dtype=bool)
        for side, hand in enumerate(SIDES):
            for number, kind in enumerate(MASK_KINDS):
                counts = self.counts.get((frame, side, number))
                if counts is None:
                    continue
                try:
                    masks[number, side] = decode_rle(counts, self.height_px, self.width_px)
                except DataError as error:
                    raise TrackError(
                        f"{self.source}: counts of frame {frame}, {hand}, {kind} are broken: "
                        f"{error}; {_REMEDY}"
                    ) from error
        return masks[0], masks[1]


def load_masks(path: Path | str, *, n_frames: int, height_px: int, width_px: int) -> MaskTrack:
    """Read the masks of a clip.

    Raises:
        TrackError: The file is missing or damaged, or a row does not fit the clip.
    """
    source = str(path)
    try:
        with pq.ParquetFile(path) as parquet:
            table = parquet.read()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise TrackError(f"{source} cannot be read as Parquet: {reason}; {_REMEDY}") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise TrackError(f"{source} has no column {', '.join(missing)}; {_REMEDY}")
    counts: dict[tuple[int, int, int], str] = {}
    for number, row in enumerate(table.select(list(_COLUMNS)).to_pylist()):
        where = f"{source} row {number}"
        _check_row(where, row, n_frames, (height_px, width_px))
        place = (row["frame_index"], SIDES.index(row["hand"]), MASK_KINDS.index(row["kind"]))
        if place in counts:
            raise TrackError(
                f"{where} is a second {row['kind']} mask of the {row['hand']} hand in frame "
                f"{place[0]}, expected one; {_REMEDY}"
            )
        counts[place] = row["counts"]
    return MaskTrack(source, n_frames, height_px, width_px, counts)


def _check_row(where: str, row: dict[str, Any], n_frames: int, size: tuple[int, int]) -> None:
    for name, kind in _COLUMNS.items():
        if type(row[name]) is not kind:
            raise TrackError(
                f"{where} {name} is {row[name]!r:.40}, expected {kind.__name__}; {_REMEDY}"
            )
    for name, words in (("hand", SIDES), ("kind", MASK_KINDS)):
        if row[name] not in words:
            raise TrackError(
                f"{where} {name} is {row[name]!r}, expected one of {', '.join(words)}; {_REMEDY}"
            )
    if not 0 <= row["frame_index"] < n_frames:
        raise TrackError(
            f"{where} is of frame {row['frame_index']}, expected 0 to {n_frames - 1}; {_REMEDY}"
        )
    if (row["height"], row["width"]) != size:
        raise TrackError(
            f"{where} is of a picture of {row['width']}x{row['height']}, expected "
            f"{size[1]}x{size[0]}; {_REMEDY}"
        )
