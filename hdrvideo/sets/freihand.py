"""FreiHAND v2 (Zimmermann et al., ICCV 2019; research use): right hands, 3D, 224 px.

``training/rgb``, ``training_K.json``, ``training_xyz.json``, and the same of ``evaluation`` (v1
has no ``evaluation_xyz.json``; v2's evaluation package does). Joints are in metres in the camera,
in our order; each training frame comes in four copies with other backgrounds, copy ``v`` of frame
``i`` is picture ``i + v n`` (the set's ``utils/fh_utils.py``).
"""

from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from hdrvideo.config import check_number
from hdrvideo.datatypes import N_JOINTS
from hdrvideo.hand import RIGHT
from hdrvideo.sets.base import HandSet, read_json, reading
from hdrvideo.sets.sample import SetSample, camera_of, labels_of

_SIZE_PX: Final = 224
_COPIES: Final = 4
_MM: Final = 1000.0


class FreiHand(HandSet):
    """FreiHAND; frame by frame, then copy by copy."""

    NAME: ClassVar[str] = "freihand"
    SPLITS: ClassVar[tuple[str, ...]] = ("training", "evaluation")
    TEST: ClassVar[str] = "evaluation"

    def __init__(
        self, root: Path | str, split: str, *, copies: int = _COPIES, only_there: bool = False
    ) -> None:
        """Read the labels of a split; see :class:`HandSet`.

        Args:
            root: Holds ``training``, ``training_K.json`` and so on.
            split: ``training`` or ``evaluation``.
            copies: Of each training frame, 1 (before the green screen, only) to 4.
            only_there: Leave out samples that lack a file.

        Raises:
            SettingsError: There is no such split, or not so many copies.
            DataError: A file is missing or broken, or pictures are missing.
        """
        check_number("copies", copies, 1, _COPIES, whole=True)
        self._copies = copies if split == "training" else 1
        super().__init__(root, split, only_there=only_there)

    def _read(self) -> None:
        k_path, xyz_path = (self.root / f"{self.split}_{name}.json" for name in ("K", "xyz"))
        self._folder = self.root / self.split / "rgb"
        self._need([k_path, xyz_path, self._folder])
        k_px, xyz_m = read_json(k_path), read_json(xyz_path)
        with reading(k_path):
            self._k_px = np.array(k_px, dtype=np.float64).reshape(-1, 3, 3)
        with reading(xyz_path):
            self._xyz_mm = np.array(xyz_m, dtype=np.float64).reshape(-1, N_JOINTS, 3) * _MM
            if len(self._xyz_mm) != len(self._k_px):
                raise ValueError(f"{len(self._xyz_mm)} hands for {len(self._k_px)} cameras")

    def _n_read(self) -> int:
        return len(self._xyz_mm) * self._copies

    def _picture(self, k: int) -> Path:
        return self._folder / f"{k:08d}.jpg"

    def _sample(self, k: int) -> SetSample:
        frame = k % len(self._xyz_mm)
        xyz_mm, k_px = self._xyz_mm[frame], self._k_px[frame]
        return SetSample(
            source=self.NAME,
            name=f"{k:08d}",
            picture=self._picture(k),
            width_px=_SIZE_PX,
            height_px=_SIZE_PX,
            **labels_of({RIGHT: camera_of(k_px).project(xyz_mm)}, {RIGHT: xyz_mm}),
            k_px=k_px.copy(),
            frame=frame,
        )
