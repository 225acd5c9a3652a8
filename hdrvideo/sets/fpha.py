"""FPHA, First-Person Hand Action (Garcia-Hernando et al., CVPR 2018; academic use): right hands.

``Video_files/<subject>/<action>/<n>/color/color_<frame>.jpeg`` (1920 x 1080) and
``Hand_pose_annotation_v1_1`` (or ``_v1``) ``/<subject>/<action>/<n>/skeleton.txt``: a line a frame,
its number and 21 joints in millimetres, wrist first, then all knuckles, then finger by finger (the
set's ``README``). They are moved into the colour camera by the ``README``'s rotation and
translation, and projected by its lens. Joints come from magnetic sensors taped to the right hand,
which show in the pictures.

Splits: ``train`` and ``test`` are the pose benchmark's, by subject (1, 3 and 4 against the rest);
``actions_train`` and ``actions_test`` go by ``data_split_action_recognition.txt``, a list of
recordings under the words Training and Test.
"""

from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.hand import RIGHT, from_order
from hdrvideo.sets.base import HandSet, reading
from hdrvideo.sets.sample import SetSample, camera_matrix, camera_of, labels_of

F64 = NDArray[np.float64]

_SIZE_PX: Final = (1920, 1080)
_TRAIN_SUBJECTS: Final = ("Subject_1", "Subject_3", "Subject_4")
_LIST: Final = "data_split_action_recognition.txt"
_HEADS: Final = {"Training": "actions_train", "Test": "actions_test"}
K_PX: Final = camera_matrix((1395.749023, 1395.749268), (935.732544, 540.681030))
TURN: Final = np.array(
    [
        [0.999988496304, -0.00468848412856, 0.000982563360594],
        [0.00469115935266, 0.999985218048, -0.00273845880292],
        [-0.000969709653873, 0.00274303671904, 0.99999576807],
    ]
)
SHIFT_MM: Final = np.array([25.7, 1.22, 3.902])


class Fpha(HandSet):
    """FPHA, recording by recording, frame by frame."""

    NAME: ClassVar[str] = "fpha"
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "test", "actions_train", "actions_test")
    TEST: ClassVar[str] = "test"

    def _read(self) -> None:
        labels = [self.root / f"Hand_pose_annotation_{v}" for v in ("v1_1", "v1")]
        self._labels = next((folder for folder in labels if folder.is_dir()), labels[0])
        self._need([self._labels, self.root / "Video_files"])
        self._takes, frames, joints = self._chosen(), [], []
        self._need([self._labels / take / "skeleton.txt" for take in self._takes])
        for number, take in enumerate(self._takes):
            rows = _read_skeleton(self._labels / take / "skeleton.txt")
            frames += [(number, int(row[0])) for row in rows]
            joints.append(rows[:, 1:].reshape(-1, N_JOINTS, 3))
        self._frames = np.array(frames, dtype=np.int64).reshape(-1, 2)
        all_mm = np.concatenate([np.zeros((0, N_JOINTS, 3)), *joints])
        self._xyz_mm = np.asarray(from_order(all_mm @ TURN.T + SHIFT_MM, "fpha"))

    def _chosen(self) -> list[str]:
        """List the recordings of the split, as their folders."""
        if self.split.startswith("actions"):
            return self._listed()
        paths = sorted(self._labels.glob("Subject_*/*/*/skeleton.txt"))
        takes = [path.parent.relative_to(self._labels) for path in paths]
        is_train = self.split == "train"
        return [take.as_posix() for take in takes if (take.parts[0] in _TRAIN_SUBJECTS) == is_train]

    def _listed(self) -> list[str]:
        path = self.root / _LIST
        self._need([path])
        takes, part = [], ""
        with reading(path):
            for line in path.read_text(encoding="utf-8").splitlines():
                words = line.split()
                if words and words[0] in _HEADS:
                    part = _HEADS[words[0]]
                elif words and part == self.split:
                    takes.append(words[0])
            if not part:
                raise ValueError("no line begins with Training or Test")
        return takes

    def _n_read(self) -> int:
        return len(self._frames)

    def _picture(self, k: int) -> Path:
        number, frame = self._frames[k]
        folder = self.root / "Video_files" / str(self._takes[number]) / "color"
        return folder / f"color_{frame:04d}.jpeg"

    def _sample(self, k: int) -> SetSample:
        number, frame = (int(n) for n in self._frames[k])
        take = self._takes[number]
        xyz_mm = self._xyz_mm[k]
        return SetSample(
            source=self.NAME,
            name=f"{take}/{frame:04d}",
            picture=self._picture(k),
            width_px=_SIZE_PX[0],
            height_px=_SIZE_PX[1],
            **labels_of({RIGHT: camera_of(K_PX).project(xyz_mm)}, {RIGHT: xyz_mm}),
            k_px=K_PX.copy(),
            subject=take.split("/")[0],
            sequence=take,
            frame=frame,
        )


def _read_skeleton(path: Path) -> F64:
    """Read ``(T, 64)``: frame number, then 21 joints."""
    with reading(path):
        rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
        if rows.shape[1] != 1 + 3 * N_JOINTS:
            raise ValueError(f"{rows.shape[1]} numbers a line, expected {1 + 3 * N_JOINTS}")
    return rows
