"""InterHand2.6M v1.0 (Moon et al., ECCV 2020; CC-BY-NC 4.0).

``annotations/<split>/InterHand2.6M_<split>_{data,camera,joint_3d}.json`` and
``images/<split>/Capture*/...``, as its release has them (its ``DATASET.md``, ``dataset.py``); the
older folders ``annotations/{all,human_annot,machine_annot}`` are found as well.

World joints are in millimetres, 42 of them, right hand first, each finger from its tip. A camera's
``campos`` is where it stands: ``X_cam = camrot (X_world - campos)``. ``joint_valid`` of the data
file says that a joint is annotated and inside the picture (here ``valid_uv``), that of the 3D file
that it is annotated (``valid_xyz``). The set's own evaluation counts a joint where it and its wrist
are ``valid_uv``. Order: single hands, then interacting ones, as that evaluation wants predictions.

Parts: v1.0 has human (H) and machine (M) annotations in one. H is found again by a list of
annotation ids, one a line, ``aid_human_annot_<split>.txt`` (InterWild has made one for train and
test). M is ``aid_machine_annot_<split>.txt`` where there is such a list, else all that is not H:
that is fewer than the paper's M, whose frames are in part H's, too (528,482 + 909,037 of train are
1,361,062 in all).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.hand import from_interhand42
from hdrvideo.sets.base import HandSet, read_json, reading, tell_missing
from hdrvideo.sets.sample import (
    SetSample,
    box_from_xywh,
    camera_matrix,
    camera_of,
    only_valid,
)

F64 = NDArray[np.float64]

PARTS: Final = ("all", "human", "machine")
_BOTH: Final = 2 * N_JOINTS
_TYPES: Final = {"right": 0, "left": 1, "interacting": 2}
_PRESENT: Final = np.array([[True, False], [False, True], [True, True]])
_FILES: Final = ("data", "camera", "joint_3d")


@dataclass(frozen=True)
class InterHandFiles:
    """The three files of labels and the folder that their pictures' names begin in."""

    data: Path
    camera: Path
    joint_3d: Path
    pictures: Path


class InterHandLabels:
    """What the three files say, in arrays; one row an annotation, in the order of the data file.

    Files of hundreds of megabytes are taken in piece by piece as they are parsed, so that no Python
    object is left of a joint.
    """

    def __init__(self, files: InterHandFiles) -> None:
        """Read the files.

        Raises:
            DataError: One is missing or broken, or one lacks what another speaks of.
        """
        self.pictures = files.pictures
        self._read_data(files.data)
        self._read_cameras(files.camera)
        self._read_joints(files.joint_3d)

    def _read_data(self, path: Path) -> None:
        content = read_json(path, _short)
        with reading(path):
            images = {image[0]: image[1:] for image in content["images"]}
            labels = content["annotations"]
            if not labels:
                raise ValueError("no annotations")
            rows = [images[label[1]] for label in labels]
            self.ids = np.array([label[0] for label in labels], dtype=np.int64)
            self.box_xywh_px = np.array([label[2] for label in labels]).reshape(-1, 4)
            bits = np.frombuffer(b"".join(label[3] for label in labels), dtype=bool)
            self.in_picture = bits.reshape(-1, _BOTH)
            self.hand_type = np.array([label[4] for label in labels], dtype=np.int8)
            self.file = np.array([row[0].encode() for row in rows])
            self.size_px = np.array([row[1:3] for row in rows], dtype=np.int32)
            self.capture, self.frame = np.array([(row[3], row[7]) for row in rows], np.int64).T
            self.camera = np.array([row[6] for row in rows])
            self.sequence = np.array([row[5] for row in rows])
            self.subject = np.array([row[4] for row in rows])

    def _read_cameras(self, path: Path) -> None:
        takes = read_json(path)
        wanted = sorted({*zip(self.capture.tolist(), self.camera.tolist(), strict=True)})
        with reading(path):
            lost = [
                f"{capture}/{camera}"
                for capture, camera in wanted
                if camera not in takes.get(str(capture), {"campos": ()})["campos"]
            ]
            tell_missing(InterHand.NAME, "cameras (capture/camera)", lost, path)
            self._cameras = {}
            for capture, camera in wanted:
                take = takes[str(capture)]
                turn, centre_mm, focal_px, middle_px = (
                    np.array(take[key][camera], dtype=np.float64).reshape(shape)
                    for key, shape in (
                        *(("camrot", (3, 3)), ("campos", (3,))),
                        *(("focal", (2,)), ("princpt", (2,))),
                    )
                )
                k_px = camera_matrix(focal_px, middle_px)
                self._cameras[capture, camera] = (turn, centre_mm, k_px)

    def _read_joints(self, path: Path) -> None:
        takes = read_json(path, _packed)
        with reading(path):
            places = {
                (int(capture), int(frame)): values
                for capture, frames in takes.items()
                for frame, values in frames.items()
            }
            wanted = [*zip(self.capture.tolist(), self.frame.tolist(), strict=True)]
            lost = sorted({f"{c}/{f}" for c, f in wanted if (c, f) not in places})
            tell_missing(InterHand.NAME, "frames (capture/frame)", lost, path)
            used = {key: row for row, key in enumerate(dict.fromkeys(wanted))}
            flat = b"".join(places[key][0] for key in used)
            self._world_mm = np.frombuffer(flat, dtype=np.float32).reshape(-1, _BOTH, 3)
            flags = b"".join(places[key][1] for key in used)
            self._annotated = np.frombuffer(flags, dtype=bool).reshape(-1, _BOTH)
            self._row = np.array([used[key] for key in wanted], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def picture(self, k: int) -> Path:
        """Name the picture's file of annotation ``k``."""
        return self.pictures / str(self.file[k].decode())

    def sample(self, k: int) -> SetSample:
        """Make the sample of annotation ``k``."""
        capture, camera = int(self.capture[k]), str(self.camera[k])
        turn, centre_mm, k_px = self._cameras[capture, camera]
        world_mm = self._world_mm[self._row[k]].astype(np.float64)
        xyz_mm = np.asarray(from_interhand42((world_mm - centre_mm) @ turn.T), dtype=np.float64)
        valid_xyz, inside = (
            np.asarray(from_interhand42(flags[:, None])[..., 0], dtype=bool)
            for flags in (self._annotated[self._row[k]], self.in_picture[k])
        )
        present = _PRESENT[self.hand_type[k]]
        # A joint behind the camera, of a frame whose annotation went wrong, is no label.
        valid_xyz = valid_xyz & present[:, None] & (xyz_mm[..., 2] > 0)
        valid_uv = inside & valid_xyz
        return SetSample(
            source=InterHand.NAME,
            name=f"{self.ids[k]} {self.picture(k).stem}",
            picture=self.picture(k),
            width_px=int(self.size_px[k, 0]),
            height_px=int(self.size_px[k, 1]),
            present=present.copy(),
            uv_px=only_valid(camera_of(k_px).project(xyz_mm), valid_uv),
            xyz_cam_mm=only_valid(xyz_mm, valid_xyz),
            valid_uv=valid_uv,
            valid_xyz=valid_xyz,
            k_px=k_px,
            subject=str(self.subject[k]),
            sequence=f"{capture}/{self.sequence[k]}",
            camera=camera,
            frame=int(self.frame[k]),
            box_uvuv_px=box_from_xywh(self.box_xywh_px[k]),
        )


def _short(entry: dict[str, Any]) -> Any:
    """Shorten an image or an annotation of the data file as soon as it is parsed."""
    if "joint_valid" in entry:
        valid = np.array(entry["joint_valid"], dtype=bool).ravel()
        if len(valid) != _BOTH:
            raise ValueError(f"joint_valid has {len(valid)} flags, expected {_BOTH}")
        kind = _TYPES[entry["hand_type"]]
        box = tuple(float(x) for x in entry["bbox"])
        return entry["id"], entry["image_id"], box, valid.tobytes(), kind
    if "file_name" in entry:
        words = (sys.intern(str(entry[key])) for key in ("subject", "seq_name", "camera"))
        subject, sequence, camera = words
        return (
            *(entry["id"], entry["file_name"], entry["width"], entry["height"]),
            *(entry["capture"], subject, sequence, camera, entry["frame_idx"]),
        )
    return entry


def _packed(entry: dict[str, Any]) -> Any:
    """Pack a frame of the 3D file as soon as it is parsed."""
    if "world_coord" not in entry:
        return entry
    place = np.array(entry["world_coord"], dtype=np.float32)
    valid = np.array(entry["joint_valid"], dtype=bool).ravel()
    if place.shape != (_BOTH, 3) or len(valid) != _BOTH:
        raise ValueError(f"world_coord is {place.shape}, expected ({_BOTH}, 3)")
    return place.tobytes(), valid.tobytes()


class InterHand(HandSet):
    """InterHand2.6M; a hand that is not present is not in the picture."""

    NAME: ClassVar[str] = "interhand2.6m"
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    TEST: ClassVar[str] = "test"
    ABSENCE_TOLD: ClassVar[bool] = True

    def __init__(
        self, root: Path | str, split: str, *, part: str = "all", only_there: bool = False
    ) -> None:
        """Read the labels of a split; see :class:`HandSet`.

        Args:
            root: Holds ``annotations`` and ``images``.
            split: ``train``, ``val`` or ``test``.
            part: ``all``, ``human`` or ``machine`` annotations (ALL, H, M).
            only_there: Leave out samples that lack a file.

        Raises:
            SettingsError: There is no such split or part.
            DataError: A file is missing or broken, or pictures are missing.
        """
        if part not in PARTS:
            raise SettingsError(
                f"{self.NAME} has no part {part!r}, expected one of {', '.join(PARTS)}"
            )
        self.part = part
        super().__init__(root, split, only_there=only_there)

    @property
    def protocol_split(self) -> str:
        """The split; ``_h`` and ``_m`` for the human and machine part, as InterWild has them."""
        return self.split + {"all": "", "human": "_h", "machine": "_m"}[self.part]

    def _read(self) -> None:
        folder, is_part = self._folder()
        names = [f"InterHand2.6M_{self.split}_{file}.json" for file in _FILES]
        pictures = self.root / "images" / self.split
        self._need([*(folder / name for name in names), pictures])
        data, camera, joint_3d = (folder / name for name in names)
        self.labels = InterHandLabels(InterHandFiles(data, camera, joint_3d, pictures))
        is_pair = self.labels.hand_type == _TYPES["interacting"]
        rows = np.argsort(is_pair, kind="stable")
        self._rows = rows if is_part else rows[self._of_part()[rows]]

    def _folder(self) -> tuple[Path, bool]:
        """Find the folder of labels, and whether it holds the wanted part alone."""
        annotations = self.root / "annotations"
        own = {"all": "all", "human": "human_annot", "machine": "machine_annot"}[self.part]
        for name, is_part in ((own, True), (self.split, False), ("all", False)):
            if (annotations / name / f"InterHand2.6M_{self.split}_data.json").is_file():
                return annotations / name, is_part or self.part == "all"
        return annotations / self.split, False

    def _of_part(self) -> NDArray[np.bool_]:
        found = {part: self._id_list(part) for part in ("human", "machine")}
        own = found[self.part]
        if own is not None:
            return self._listed(own)
        human = found["human"]
        if human is None:
            raise DataError(
                f"{self.NAME}: part {self.part!r} is told by annotation ids, and {self.root} has "
                f"no aid_human_annot_{self.split}.txt; copy InterWild's list into annotations/"
            )
        return ~self._listed(human)

    def _id_list(self, part: str) -> Path | None:
        name = f"aid_{part}_annot_{self.split}.txt"
        places = (self.root / "annotations" / name, self.root / name)
        return next((path for path in places if path.is_file()), None)

    def _listed(self, path: Path) -> NDArray[np.bool_]:
        with reading(path):
            ids = np.array(path.read_text(encoding="utf-8").split(), dtype=np.int64)
        return np.isin(self.labels.ids, ids)

    def _n_read(self) -> int:
        return len(self._rows)

    def _picture(self, k: int) -> Path:
        return self.labels.picture(int(self._rows[k]))

    def _sample(self, k: int) -> SetSample:
        return self.labels.sample(int(self._rows[k]))
