"""DexYCB (Chao et al., CVPR 2021; CC-BY-NC 4.0): one hand and objects, eight cameras.

``<subject>/<sequence>/meta.yml`` and ``<subject>/<sequence>/<camera>/{color_*.jpg,labels_*.npz}``;
``calibration/intrinsics/<camera>_640x480.yml``. Labels have ``joint_3d`` ``(1, 21, 3)`` in metres
in the camera and ``joint_2d`` ``(1, 21, 2)``, both -1 where there is no annotation, in our joint
order; ``mano_sides`` of the meta file says which hand it is.

Splits are those of the set's toolkit: setups s0 (seen), s1 (unseen subjects), s2 (unseen views) and
s3 (unseen objects), as ``s0_train`` and so on. They go by the place of a sequence among a subject's
100, so all of them must be there. Samples have the toolkit's order: sequence by sequence, camera by
camera, frame by frame, so that an index is its image id (with nothing left out).
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.errors import DataError
from hdrvideo.hand import side_index
from hdrvideo.sets.base import HandSet, reading
from hdrvideo.sets.sample import SetSample, camera_matrix, labels_of, only_valid

F64 = NDArray[np.float64]

SUBJECTS: Final = (
    *("20200709-weiy", "20200813-ceppner", "20200820-amousavian", "20200903-ynarang"),
    *("20200908-yux", "20200918-ftozetoramos", "20200928-ahanda", "20201002-dieterf"),
    *("20201015-ychao", "20201022-lmanuelli"),
)
CAMERAS: Final = (
    *("836212060125", "839512060362", "840412060917", "841412060263"),
    *("932122060857", "932122060861", "932122061900", "932122062010"),
)
N_SEQUENCES: Final = 100
_SIZE_PX: Final = (640, 480)
_MM: Final = 1000.0
_NONE: Final = -1.0
_ALL: Final = tuple(range(N_SEQUENCES))
_FIFTH: Final = tuple(k for k in _ALL if k % 5 == 4)


@dataclass(frozen=True)
class _Part:
    """Which subjects, cameras and sequences, by their places."""

    subjects: tuple[int, ...] = tuple(range(len(SUBJECTS)))
    cameras: tuple[int, ...] = tuple(range(len(CAMERAS)))
    sequences: tuple[int, ...] = _ALL


def _grasps(*groups: int) -> tuple[int, ...]:
    return tuple(k for k in _ALL if k // 5 in groups)


_UNSEEN: Final = (3, 7, 11, 15, 19)
_PARTS: Final = {
    "s0_train": _Part(sequences=tuple(k for k in _ALL if k % 5 != 4)),
    "s0_val": _Part(subjects=(0, 1), sequences=_FIFTH),
    "s0_test": _Part(subjects=(2, 3, 4, 5, 6, 7, 8, 9), sequences=_FIFTH),
    "s1_train": _Part(subjects=(0, 1, 2, 3, 4, 5, 9)),
    "s1_val": _Part(subjects=(6,)),
    "s1_test": _Part(subjects=(7, 8)),
    "s2_train": _Part(cameras=(0, 1, 2, 3, 4, 5)),
    "s2_val": _Part(cameras=(6,)),
    "s2_test": _Part(cameras=(7,)),
    "s3_train": _Part(sequences=_grasps(*(g for g in range(20) if g not in _UNSEEN))),
    "s3_val": _Part(sequences=_grasps(3, 19)),
    "s3_test": _Part(sequences=_grasps(7, 11, 15)),
}


@dataclass(frozen=True)
class _Sequence:
    """One recording: its folder below the root, its subject, its hand's side, its frames."""

    folder: Path
    subject: str
    side: int
    n_frames: int


class DexYcb(HandSet):
    """DexYCB; ``only_there`` also lets whole subjects be missing."""

    NAME: ClassVar[str] = "dexycb"
    SPLITS: ClassVar[tuple[str, ...]] = tuple(_PARTS)
    TEST: ClassVar[str] = "s0_test"

    def __init__(self, root: Path | str, split: str, *, only_there: bool = False) -> None:
        """Read the labels of a split; see :class:`HandSet`."""
        self._only_there = only_there
        super().__init__(root, split, only_there=only_there)

    @property
    def is_whole(self) -> bool:
        """Whether all samples of all the split's subjects are there, none left out."""
        return super().is_whole and self._n_folders == len(_PARTS[self.split].subjects)

    def _read(self) -> None:
        part = _PARTS[self.split]
        folders = [self.root / SUBJECTS[k] for k in part.subjects]
        if self._only_there and any(folder.is_dir() for folder in folders):
            folders = [folder for folder in folders if folder.is_dir()]
        self._n_folders = len(folders)
        self._cameras = [CAMERAS[k] for k in part.cameras]
        lenses = self.root / "calibration" / "intrinsics"
        files = [lenses / f"{camera}_640x480.yml" for camera in self._cameras]
        self._need([*folders, *files])
        self._k_px = [_read_lens(path) for path in files]
        self._sequences = [
            self._read_sequence(path)
            for folder in folders
            for path in self._chosen(folder, part.sequences)
        ]
        n = np.array([sequence.n_frames for sequence in self._sequences], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(n * len(self._cameras))])

    def _chosen(self, folder: Path, places: tuple[int, ...]) -> list[Path]:
        found = sorted(path for path in folder.iterdir() if path.is_dir())
        if len(found) != N_SEQUENCES:
            raise DataError(
                f"{self.NAME}: {folder} holds {len(found)} sequences, expected {N_SEQUENCES}: the "
                "splits go by their order; unpack the whole subject"
            )
        return [found[k] for k in places]

    def _read_sequence(self, folder: Path) -> _Sequence:
        path = folder / "meta.yml"
        meta = _read_yaml(path)
        with reading(path):
            side, n_frames = side_index(meta["mano_sides"][0]), int(meta["num_frames"])
        return _Sequence(folder, folder.parent.name, side, n_frames)

    def _n_read(self) -> int:
        return int(self._starts[-1])

    def _at(self, k: int) -> tuple[_Sequence, int, int]:
        """Give the sequence, the place of the camera and the frame of sample ``k``."""
        number = int(np.searchsorted(self._starts, k, side="right")) - 1
        sequence = self._sequences[number]
        camera, frame = divmod(k - int(self._starts[number]), sequence.n_frames)
        return sequence, camera, frame

    def _picture(self, k: int) -> Path:
        sequence, camera, frame = self._at(k)
        return sequence.folder / self._cameras[camera] / f"color_{frame:06d}.jpg"

    def _own_labels(self, k: int) -> tuple[Path, ...]:
        picture = self._picture(k)
        return (picture.with_name(f"labels_{picture.stem.removeprefix('color_')}.npz"),)

    def _sample(self, k: int) -> SetSample:
        sequence, camera, frame = self._at(k)
        picture = self._picture(k)
        (path,) = self._own_labels(k)
        with reading(path), path.open("rb") as file:
            label = _read_npz(file)
            joints_m = np.array(label["joint_3d"], dtype=np.float64).reshape(N_JOINTS, 3)
            points_px = np.array(label["joint_2d"], dtype=np.float64).reshape(N_JOINTS, 2)
        valid_3d, valid_2d = ((a != _NONE).any(axis=1) for a in (joints_m, points_px))
        xyz_mm, uv_px = only_valid(joints_m * _MM, valid_3d), only_valid(points_px, valid_2d)
        return SetSample(
            source=self.NAME,
            name=str(picture.relative_to(self.root).with_suffix("")),
            picture=picture,
            width_px=_SIZE_PX[0],
            height_px=_SIZE_PX[1],
            **labels_of({sequence.side: uv_px}, {sequence.side: xyz_mm}),
            k_px=self._k_px[camera].copy(),
            subject=sequence.subject,
            sequence=f"{sequence.subject}/{sequence.folder.name}",
            camera=self._cameras[camera],
            frame=frame,
        )


def _read_npz(file: BinaryIO) -> Any:
    # NumPy takes what is no archive for a pickle, and advises to load it as one.
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no .npz file")
    file.seek(0)
    return np.load(file)


def _read_yaml(path: Path) -> Any:
    with reading(path):
        try:
            return yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error


def _read_lens(path: Path) -> F64:
    content = _read_yaml(path)
    with reading(path):
        lens = content["color"]
        focal_px = float(lens["fx"]), float(lens["fy"])
        return camera_matrix(focal_px, (float(lens["ppx"]), float(lens["ppy"])))
