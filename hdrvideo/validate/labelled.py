"""Real (and a few rendered) pictures with labelled joints, as their own files have them.

Read are small selections of FreiHAND, InterHand2.6M, OneHand10K, Panoptic and RHD in a folder of
their own each, annotations as MMPose converts them. Each hand comes in our joint order, its joints
in pixels of its picture; with joints in the camera where the set has them (InterHand2.6M, RHD).

Which side a hand is: InterHand2.6M and RHD say it, Panoptic's pictures are named for it, FreiHAND
has right hands only, and the few hands of OneHand10K were told by eye (:data:`SIDES_BY_EYE`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES, Bool, check_array
from hdrvideo.errors import DataError
from hdrvideo.geometry import Camera
from hdrvideo.hand import LEFT, RIGHT, from_interhand42, from_order, palm_length, side_index
from hdrvideo.validate.match import palm_length_px

F64 = NDArray[np.float64]

SETS: Final = ("freihand", "interhand2.6m", "onehand10k", "panoptic", "rhd")
SIDES_BY_EYE: Final = {"9.jpg": RIGHT, "33.jpg": LEFT, "784.jpg": LEFT, "1402.jpg": RIGHT}
# A flat right hand, its back to the camera: degrees clockwise from up, and where each joint of a
# finger lies on that ray, in palm lengths.
_RAYS_DEG: Final = (-45.0, -17.0, 0.0, 16.0, 32.0)
_THUMB: Final = (0.4, 0.75, 1.05, 1.3)
_FINGER: Final = (1.0, 1.4, 1.68, 1.92)
_REMEDY: Final = "name the folder that holds freihand, interhand2.6m, onehand10k, panoptic and rhd"


@dataclass(frozen=True)
class LabelledHand:
    """One labelled hand of one picture.

    Attributes:
        source: One of :data:`SETS`.
        picture: The picture's file.
        side: 0 right, 1 left.
        uv_px: ``(21, 2)`` float64 in the picture; where a joint has no label it is guessed (see
            :func:`with_guesses`).
        labelled: ``(21,)`` bool, which joints have a label.
        xyz_cam_mm: ``(21, 3)`` float64 in the camera; None where the set has only 2D.
        camera: Of the picture; None likewise.
    """

    source: str
    picture: Path
    side: int
    uv_px: F64
    labelled: Bool
    xyz_cam_mm: F64 | None = None
    camera: Camera | None = None

    def __post_init__(self) -> None:
        check_array("uv_px", self.uv_px, (N_JOINTS, 2), "float64")
        check_array("labelled", self.labelled, (N_JOINTS,), "bool")
        if self.xyz_cam_mm is not None:
            check_array("xyz_cam_mm", self.xyz_cam_mm, (N_JOINTS, 3), "float64")

    @property
    def name(self) -> str:
        """Set, picture and side in short."""
        return f"{self.source} {self.picture.stem} {'RL'[self.side]}"

    @property
    def palm_px(self) -> float:
        """Length of the palm as it would look face on; without 3D as it looks."""
        if self.xyz_cam_mm is None or self.camera is None:
            return float(palm_length(self.uv_px))
        k_px = np.diag([self.camera.fx_px, self.camera.fy_px, 1.0])
        # The rule is written for pairs of hands in frames: this one twice.
        pair = np.repeat(self.xyz_cam_mm[None, None], N_SIDES, axis=1)
        return float(palm_length_px(pair, k_px[None])[0, 0])


def load_labelled(folder: Path) -> list[LabelledHand]:
    """Read every labelled hand whose picture is there.

    Args:
        folder: Holds a folder for each of :data:`SETS`; some may be missing.

    Raises:
        DataError: There is none of them, or a file is not as expected.
    """
    there = [name for name in SETS if (folder / name).is_dir()]
    if not there:
        raise DataError(f"{folder} holds no labelled pictures; {_REMEDY}")
    hands: list[LabelledHand] = []
    for name in there:
        try:
            hands += _READERS[name](folder / name)
        except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
            what = f"{type(error).__name__}: {error}"
            raise DataError(f"labels in {folder / name} cannot be read ({what})") from error
    if not hands:
        raise DataError(f"{folder} holds labels, but none of their pictures; copy them, too")
    return hands


def _coco(folder: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any], F64]]:
    """Give picture, its entry, an annotation, and its joints ``(21, 3)`` as u, v, labelled."""
    content = json.loads((folder / f"test_{folder.name}.json").read_text(encoding="utf-8"))
    entries = {entry["id"]: entry for entry in content["images"]}
    for label in content["annotations"]:
        entry = entries[label["image_id"]]
        joints = np.asarray(label["keypoints"], dtype=np.float64).reshape(N_JOINTS, 3)
        if (folder / entry["file_name"]).is_file():
            yield folder / entry["file_name"], entry, label, joints


def _read_2d(folder: Path) -> list[LabelledHand]:
    hands = []
    for picture, _, _, joints in _coco(folder):
        if folder.name == "onehand10k":
            side = SIDES_BY_EYE[picture.name]
        elif folder.name == "panoptic":
            side = {"_r": RIGHT, "_l": LEFT}[picture.stem[-2:]]
        else:
            side = RIGHT
        labelled = joints[:, 2] > 0
        uv_px = with_guesses(joints[:, :2], labelled, side)
        hands.append(LabelledHand(folder.name, picture, side, uv_px, labelled))
    return hands


def _read_rhd(folder: Path) -> list[LabelledHand]:
    hands = []
    for picture, entry, label, joints in _coco(folder):
        # Wrist first, then each finger from its tip: InterHand's order with the wrist in front.
        ours = _from_rhd(joints)
        labelled = ours[:, 2] > 0
        side = side_index(label["hand_type"])
        hands.append(
            LabelledHand(
                folder.name,
                picture,
                side,
                with_guesses(ours[:, :2], labelled, side),
                labelled,
                _from_rhd(np.asarray(label["joint_cam"], dtype=np.float64)),
                _camera(entry["cam_param"]["focal"], entry["cam_param"]["princpt"]),
            )
        )
    return hands


def _from_rhd(values: F64) -> F64:
    return np.asarray(from_order(np.roll(values, -1, axis=0), "interhand"), dtype=np.float64)


def _camera(focal_px: list[float], centre_px: list[float]) -> Camera:
    return Camera(focal_px[0], focal_px[1], centre_px[0], centre_px[1], "given")


def _read_interhand(folder: Path) -> list[LabelledHand]:
    def content(part: str) -> dict[str, Any]:
        path = folder / f"test_interhand2.6m_{part}.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))

    data, cameras, places = content("data"), content("camera"), content("joint_3d")
    labels = {label["image_id"]: label for label in data["annotations"]}
    hands = []
    for entry in data["images"]:
        picture = folder / entry["file_name"]
        if not picture.is_file():
            continue
        take = cameras[str(entry["capture"])]
        known = {key: take[key][entry["camera"]] for key in ("focal", "princpt")}
        turn, centre_mm = (np.asarray(take[k][entry["camera"]]) for k in ("camrot", "campos"))
        world = places[str(entry["capture"])][str(entry["frame_idx"])]["world_coord"]
        # campos is where the camera stands, not a translation.
        pair = from_interhand42((np.asarray(world, dtype=np.float64) - centre_mm) @ turn.T)
        valid = np.asarray(labels[entry["id"]]["joint_valid"], dtype=bool).reshape(-1, 1)
        both = from_interhand42(valid)[..., 0]
        camera = _camera(known["focal"], known["princpt"])
        for side in range(N_SIDES):
            # A hand with a missing joint has no whole 3D; a hand that is not there has none at all.
            if both[side].all():
                xyz_mm = np.asarray(pair[side], dtype=np.float64)
                uv_px, labelled = camera.project(xyz_mm), np.asarray(both[side], dtype=bool)
                hands.append(
                    LabelledHand(folder.name, picture, side, uv_px, labelled, xyz_mm, camera)
                )
    return hands


_READERS: Final = {
    "freihand": _read_2d,
    "interhand2.6m": _read_interhand,
    "onehand10k": _read_2d,
    "panoptic": _read_2d,
    "rhd": _read_rhd,
}


def with_guesses(uv_px: F64, labelled: Bool, side: int) -> F64:
    """Put joints without a label where a flat hand, laid on the labelled ones, has them.

    They tell where to look (a square is taken round all joints) and how long a palm is; they are
    never compared with a prediction.

    Args:
        uv_px: ``(21, 2)``.
        labelled: ``(21,)`` bool, at least two.
        side: 0 right, 1 left.

    Returns:
        ``(21, 2)``; the labelled joints as they were.

    Raises:
        DataError: Fewer than two joints are labelled.
    """
    if labelled.all():
        return uv_px
    if labelled.sum() < 2:
        raise DataError(f"a hand has {int(labelled.sum())} labelled joints, expected at least 2")
    # The back or the palm may be seen: the better of both fits is taken. Planes are complex here.
    wanted = uv_px[:, 0] + 1j * uv_px[:, 1]
    fits = []
    for flat in (_flat_hand(), _flat_hand() * (-1, 1)):
        points = flat[:, 0] + 1j * flat[:, 1]
        system = np.stack([points, np.ones(N_JOINTS)], axis=1)
        found = np.linalg.lstsq(system[labelled], wanted[labelled], rcond=None)[0]
        guess = system @ found
        fits.append((float(np.abs(guess - wanted)[labelled].mean()), guess))
    # With few labels both may fit alike; then the hand shows its back.
    backs = fits if side == RIGHT else fits[::-1]
    guess = min(backs, key=lambda fit: round(fit[0], 6))[1]
    return np.where(labelled[:, None], uv_px, np.stack([guess.real, guess.imag], axis=1))


def _flat_hand() -> F64:
    flat = np.zeros((N_JOINTS, 2))
    for joint in range(1, N_JOINTS):
        finger, place = divmod(joint - 1, 4)
        angle = np.radians(_RAYS_DEG[finger])
        length = (_FINGER if finger else _THUMB)[place]
        flat[joint] = length * np.sin(angle), -length * np.cos(angle)
    return flat
