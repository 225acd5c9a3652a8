"""HIC, hands in action, also called Tzionas (Tzionas et al., IJCV 2016); 2D joints, tests only.

``<sequence>/1/rgb/<frame>.png`` and ``<sequence>/1/joints_2D_GT/<frame>.txt``, as the zip files of
its hand-hand sequences 01 to 11 unpack (folders as public loaders of the set name them, and as the
one frame in HDR's demo is called). Not every frame has a text file; those without are left out.

A text file has 28 lines, ``index u v``, right hand first, 0 0 where there is no label. A hand has
14 joints: little, ring, middle and index finger with three each from the base (MCP, PIP, DIP), then
the thumb's MCP and IP; there are no wrist and no tips. InterWild names the left index finger the
other way round; on the frame in HDR's demo its three points run from the base as well (the first
lies at the knuckles, at u = 366, the last at u = 318 like the other fingers' ends), so that is
taken. The hand-object sequences are not read: their files have one hand and do not say which.

Pictures are 640 x 480; the camera is InterWild's: focal length 525, middle at 319.5, 239.5. What 3D
there is are MANO fits, which are not read: their joint order and axes are not documented.
"""

from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from hdrvideo.datatypes import N_JOINTS, N_SIDES
from hdrvideo.errors import DataError
from hdrvideo.sets.base import HandSet, reading
from hdrvideo.sets.sample import SetSample, camera_matrix, labels_of

# Where the 14 joints of a hand stand in ours: little, ring, middle, index, thumb.
OURS_OF_HIC: Final = (17, 18, 19, 13, 14, 15, 9, 10, 11, 5, 6, 7, 2, 3)
_SEQUENCES: Final = tuple(f"{number:02d}" for number in range(1, 12))
_VIEW: Final = "1"
_SIZE_PX: Final = (640, 480)
_FOCAL_PX: Final = (525.0, 525.0)
_CENTRE_PX: Final = (319.5, 239.5)


class Hic(HandSet):
    """HIC's hand-hand sequences, those of them that are there."""

    NAME: ClassVar[str] = "hic"
    SPLITS: ClassVar[tuple[str, ...]] = ("test",)
    TEST: ClassVar[str] = "test"

    def _read(self) -> None:
        folders = [self.root / name / _VIEW for name in _SEQUENCES]
        there = [folder for folder in folders if folder.parent.is_dir()]
        if not there:
            raise DataError(
                f"{self.NAME}: {self.root} holds none of the sequences 01 to 11; unpack the set's "
                "hand-hand zip files there"
            )
        self._need([folder / name for folder in there for name in ("rgb", "joints_2D_GT")])
        self._labels = [
            path for folder in there for path in sorted((folder / "joints_2D_GT").glob("*.txt"))
        ]

    def _n_read(self) -> int:
        return len(self._labels)

    def _picture(self, k: int) -> Path:
        path = self._labels[k]
        return path.parent.parent / "rgb" / f"{path.stem}.png"

    def _sample(self, k: int) -> SetSample:
        path = self._labels[k]
        with reading(path):
            rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
            wanted = (N_SIDES * len(OURS_OF_HIC), 3)
            if rows.shape != wanted or not (rows[:, 0] == np.arange(wanted[0])).all():
                raise ValueError(f"rows are {rows.shape}, expected {wanted}, numbered from 0")
            frame = int(path.stem)
        theirs = np.where((rows[:, 1:] > 0).all(axis=1, keepdims=True), rows[:, 1:], np.nan)
        hands = {}
        for side, points in enumerate(theirs.reshape(N_SIDES, -1, 2)):
            hands[side] = np.full((N_JOINTS, 2), np.nan)
            hands[side][list(OURS_OF_HIC)] = points
        sequence = path.parent.parent.parent.name
        return SetSample(
            source=self.NAME,
            name=f"{sequence}/{path.stem}",
            picture=self._picture(k),
            width_px=_SIZE_PX[0],
            height_px=_SIZE_PX[1],
            **labels_of(hands, {}),
            k_px=camera_matrix(_FOCAL_PX, _CENTRE_PX),
            sequence=sequence,
            frame=frame,
        )
