"""Predicted masks of a clip, from a ``masks.parquet`` of ours or of any other system.

The columns are those of :mod:`hdrvideo.output.masks`; the rows may come in any order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hdrvideo.datatypes import Bool
from hdrvideo.output.masks import FrameCounts, MaskFile

_REMEDY: Final = "write the masks of the benchmark's own clip"


@dataclass(frozen=True)
class MaskTrack:
    """Masks of T frames, kept as run lengths and decoded when asked for.

    Attributes:
        file: Where they came from, and their size.
        counts: Run lengths of each frame; a frame that is not there has empty masks.
    """

    file: MaskFile
    counts: dict[int, FrameCounts]

    def masks(self, frame: int) -> tuple[Bool, Bool]:
        """Give the visible and the whole (amodal) masks of a frame, each ``(2, H, W)`` bool.

        Raises:
            TrackError: Run lengths are broken.
        """
        return self.file.decode(frame, self.counts.get(frame, {}))


def load_masks(path: Path | str, *, n_frames: int, height_px: int, width_px: int) -> MaskTrack:
    """Read the masks of a clip.

    Raises:
        TrackError: The file is missing or damaged, or a row does not fit the clip.
    """
    file = MaskFile(Path(path), height_px, width_px, _REMEDY, n_frames)
    counts: dict[int, FrameCounts] = {}
    for row in file.rows():
        row.add_to(counts.setdefault(row.frame_index, {}), remedy=_REMEDY)
    return MaskTrack(file, counts)
