"""HO-3D v2 and v3 (Hampali et al., CVPR 2020; non-commercial): a right hand holding an object.

``train.txt`` and ``evaluation.txt`` list ``sequence/frame``; of each there are
``<split>/<sequence>/rgb/<frame>.png`` (v3: ``.jpg``) and ``.../meta/<frame>.pkl``. A meta file has
``camMat`` and ``handJoints3D``: in metres, OpenGL axes (y up, z towards the viewer), MANO's order
with the tips last; of the evaluation only the wrist, and ``handBoundingBox``. The whole truth of
the evaluation, public since November 2024, is read from ``evaluation_xyz.json`` where it is there
(the set's ``README``, ``vis_HO3D.py``, ``utils/vis_utils.py``, ``eval.py``).

The meta files are pickles; see :mod:`hdrvideo.sets.unpickle`. Frames without annotation (``None``)
have no hand here.
"""

from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.hand import RIGHT, WRIST, from_order
from hdrvideo.sets.base import HandSet, read_json, reading
from hdrvideo.sets.sample import SetSample, camera_of, labels_of
from hdrvideo.sets.unpickle import read_pickle

F64 = NDArray[np.float64]

_SIZE_PX: Final = (640, 480)
_MM: Final = 1000.0
# OpenGL's y and z point the other way.
_OURS: Final = np.array([1.0, -1.0, -1.0])


class Ho3d(HandSet):
    """HO-3D, frame by frame as its lists have them."""

    NAME: ClassVar[str] = "ho3d"
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "evaluation")
    TEST: ClassVar[str] = "evaluation"

    @property
    def looks_in_box(self) -> bool:
        """Of ``evaluation``, whose joints the server keeps: also where a file tells them."""
        return self.split == "evaluation"

    @property
    def protocol_split(self) -> str:
        """The split with the version before it: pictures of v2 are PNGs alone, v3 has JPEGs."""
        version = "v2" if set(self._suffix.values()) == {".png"} else "v3"
        return f"{version}_{self.split}"

    def _read(self) -> None:
        path = self.root / f"{self.split}.txt"
        folder = self.root / self.split
        self._need([path, folder])
        with reading(path):
            frames = [line.split("/") for line in path.read_text(encoding="utf-8").split()]
            self._frames = [(sequence, frame) for sequence, frame in frames]
        sequences = dict.fromkeys(sequence for sequence, _ in self._frames)
        self._need([folder / s / name for s in sequences for name in ("rgb", "meta")])
        # v2 has PNGs, v3 JPEGs.
        pngs = {s for s in sequences if any((folder / s / "rgb").glob("*.png"))}
        self._suffix = {s: ".png" if s in pngs else ".jpg" for s in sequences}
        self._truth_mm = self._evaluation_truth()

    def _evaluation_truth(self) -> F64 | None:
        path = self.root / "evaluation_xyz.json"
        if self.split != "evaluation" or not path.is_file():
            return None
        content = read_json(path)
        with reading(path):
            joints = np.array(content, dtype=np.float64).reshape(-1, N_JOINTS, 3)
            if len(joints) != len(self._frames):
                raise ValueError(f"{len(joints)} hands for {len(self._frames)} frames")
        return np.asarray(from_order(joints * _MM * _OURS, "ho3d"), dtype=np.float64)

    def _n_read(self) -> int:
        return len(self._frames)

    def _picture(self, k: int) -> Path:
        sequence, frame = self._frames[k]
        return self.root / self.split / sequence / "rgb" / f"{frame}{self._suffix[sequence]}"

    def _own_labels(self, k: int) -> tuple[Path, ...]:
        sequence, frame = self._frames[k]
        return (self.root / self.split / sequence / "meta" / f"{frame}.pkl",)

    def _sample(self, k: int) -> SetSample:
        sequence, frame = self._frames[k]
        (path,) = self._own_labels(k)
        meta = read_pickle(path)
        with reading(path):
            xyz_mm, k_px = self._joints(k, meta), _camera(meta)
            box = meta.get("handBoundingBox")
            number = int(frame)
        uv_px = {} if k_px is None else {RIGHT: camera_of(k_px).project(xyz_mm)}
        return SetSample(
            source=self.NAME,
            name=f"{sequence}/{frame}",
            picture=self._picture(k),
            width_px=_SIZE_PX[0],
            height_px=_SIZE_PX[1],
            **labels_of(uv_px, {RIGHT: xyz_mm}),
            k_px=k_px,
            sequence=sequence,
            frame=number,
            box_uvuv_px=None if box is None else np.array(box, dtype=np.float64).reshape(4),
        )

    def _joints(self, k: int, meta: dict[str, Any]) -> F64:
        """Give the hand ``(21, 3)`` in our order and axes, NaN where it is not told."""
        joints = np.full((N_JOINTS, 3), np.nan)
        if self._truth_mm is not None:
            return np.asarray(self._truth_mm[k])
        said = meta["handJoints3D"]
        if said is None:
            return joints
        said_mm = np.asarray(said, dtype=np.float64) * _MM * _OURS
        if said_mm.shape == (N_JOINTS, 3):
            return np.asarray(from_order(said_mm, "ho3d"), dtype=np.float64)
        joints[WRIST] = said_mm.reshape(3)
        return joints


def _camera(meta: dict[str, Any]) -> F64 | None:
    said = meta["camMat"]
    if said is None:
        return None
    k_px = np.asarray(said, dtype=np.float64).reshape(3, 3)
    # Some frames have a camera of NaNs.
    return k_px.copy() if np.isfinite(k_px).all() else None
