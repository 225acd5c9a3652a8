"""Real (and a few rendered) pictures with labelled joints, as their own files have them.

Read are small selections of FreiHAND, InterHand2.6M, OneHand10K, Panoptic and RHD in a folder of
their own each, annotations as MMPose converts them. Each hand comes in our joint order, its joints
in pixels of its picture; with joints in the camera where the set has them (InterHand2.6M, RHD).

Which side a hand is: InterHand2.6M and RHD say it, Panoptic's pictures are named for it, FreiHAND
has right hands only, and the few hands of OneHand10K were told by eye (:data:`SIDES_BY_EYE`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES, Bool, check_array
from hdrvideo.errors import DataError
from hdrvideo.geometry import Camera
from hdrvideo.hand import LEFT, RIGHT, from_order, palm_length, side_index
from hdrvideo.sets.guess import with_guesses
from hdrvideo.sets.interhand import InterHandFiles, InterHandLabels
from hdrvideo.sets.onehand10k import CocoHand, read_coco_hands
from hdrvideo.sets.sample import camera_matrix, camera_of, known
from hdrvideo.validate.match import palm_length_px

F64 = NDArray[np.float64]

SETS: Final = ("freihand", "interhand2.6m", "onehand10k", "panoptic", "rhd")
SIDES_BY_EYE: Final = {"9.jpg": RIGHT, "33.jpg": LEFT, "784.jpg": LEFT, "1402.jpg": RIGHT}
_REMEDY: Final = "name the folder that holds freihand, interhand2.6m, onehand10k, panoptic and rhd"


@dataclass(frozen=True)
class LabelledHand:
    """One labelled hand of one picture.

    Attributes:
        source: One of :data:`SETS`.
        picture: The picture's file.
        side: 0 right, 1 left.
        uv_px: ``(21, 2)`` float64 in the picture; where a joint has no label it is guessed (see
            :func:`hdrvideo.sets.guess.with_guesses`).
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


def _coco(folder: Path) -> list[CocoHand]:
    """Read the hands whose picture is there."""
    hands = read_coco_hands(folder / f"test_{folder.name}.json")
    return [hand for hand in hands if (folder / hand.file).is_file()]


def _read_2d(folder: Path) -> list[LabelledHand]:
    hands = []
    for hand in _coco(folder):
        picture = folder / hand.file
        if folder.name == "onehand10k":
            side = SIDES_BY_EYE[picture.name]
        elif folder.name == "panoptic":
            side = {"_r": RIGHT, "_l": LEFT}[picture.stem[-2:]]
        else:
            side = RIGHT
        uv_px = with_guesses(hand.uv_px, hand.labelled, side)
        hands.append(LabelledHand(folder.name, picture, side, uv_px, hand.labelled))
    return hands


def _read_rhd(folder: Path) -> list[LabelledHand]:
    hands = []
    for hand in _coco(folder):
        # Wrist first, then each finger from its tip: InterHand's order with the wrist in front.
        uv_px = _from_rhd(hand.uv_px)
        labelled = known(uv_px)
        side = side_index(hand.label["hand_type"])
        lens = hand.image["cam_param"]
        hands.append(
            LabelledHand(
                folder.name,
                folder / hand.file,
                side,
                with_guesses(uv_px, labelled, side),
                labelled,
                _from_rhd(np.asarray(hand.label["joint_cam"], dtype=np.float64)),
                camera_of(camera_matrix(lens["focal"], lens["princpt"])),
            )
        )
    return hands


def _from_rhd(values: F64) -> F64:
    return np.asarray(from_order(np.roll(values, -1, axis=0), "interhand"), dtype=np.float64)


def _read_interhand(folder: Path) -> list[LabelledHand]:
    data, camera, joint_3d = (
        folder / f"test_interhand2.6m_{part}.json" for part in ("data", "camera", "joint_3d")
    )
    labels = InterHandLabels(InterHandFiles(data, camera, joint_3d, folder))
    there = [k for k in range(len(labels)) if labels.picture(k).is_file()]
    hands = []
    for sample in map(labels.sample, there):
        for side in range(N_SIDES):
            # A hand with a joint that is missing or out of the picture is left out.
            if sample.valid_uv[side].all():
                hands.append(
                    LabelledHand(
                        folder.name,
                        sample.picture,
                        side,
                        sample.uv_px[side],
                        sample.valid_uv[side],
                        sample.xyz_cam_mm[side],
                        sample.pinhole,
                    )
                )
    return hands


_READERS: Final = {
    "freihand": _read_2d,
    "interhand2.6m": _read_interhand,
    "onehand10k": _read_2d,
    "panoptic": _read_2d,
    "rhd": _read_rhd,
}
