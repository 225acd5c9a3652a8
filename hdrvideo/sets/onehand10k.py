"""OneHand10K (Wang et al., TCSVT 2018), labels as MMPose converts them; 2D only.

``annotations/onehand10k_{train,test}.json``, and the set's own ``Train`` and ``Test`` folders, by
which the JSON names its pictures (MMPose's documentation). COCO's layout: ``keypoints`` are 21 of
u, v and a flag, wrist first, thumb to little, base to tip; a joint of flag 0 has no label. FreiHAND
and Panoptic come in the same layout from there (:func:`read_coco_hands`).

The set does not say which hand it shows. Where a file ``sides.csv`` lies in its folder (a head
``picture,side``, then the picture's name as in the JSON and ``right`` or ``left``), that is taken.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, Bool
from hdrvideo.hand import RIGHT, side_index
from hdrvideo.sets.base import HandSet, read_json, reading
from hdrvideo.sets.sample import SetSample, box_from_xywh, known, labels_of

F64 = NDArray[np.float64]

_SIDES_FILE: Final = "sides.csv"


@dataclass(frozen=True)
class CocoHand:
    """One hand of a COCO file.

    Attributes:
        file: The picture's name as the file has it.
        width_px: Of the picture.
        height_px: Of the picture.
        uv_px: ``(21, 2)`` float64; NaN where there is no label.
        box_uvuv_px: ``(4,)`` float64 u0, v0, u1, v1; None where there is none.
        label: What else is said of the hand.
        image: What else is said of the picture.
    """

    file: str
    width_px: int
    height_px: int
    uv_px: F64
    box_uvuv_px: F64 | None
    label: dict[str, Any]
    image: dict[str, Any]

    @property
    def labelled(self) -> Bool:
        """Which joints have a label, ``(21,)``."""
        return known(self.uv_px)


def read_coco_hands(path: Path) -> list[CocoHand]:
    """Read the hands of a COCO file, in its joint order, in the order of its annotations.

    Raises:
        DataError: The file is missing or broken.
    """
    content = read_json(path)
    with reading(path):
        images = {image["id"]: image for image in content["images"]}
        return [_coco_hand(label, images[label["image_id"]]) for label in content["annotations"]]


def _coco_hand(label: dict[str, Any], image: dict[str, Any]) -> CocoHand:
    rows = np.asarray(label["keypoints"], dtype=np.float64).reshape(N_JOINTS, 3)
    box = label.get("bbox")
    return CocoHand(
        str(image["file_name"]),
        int(image["width"]),
        int(image["height"]),
        np.where(rows[:, 2:] > 0, rows[:, :2], np.nan),
        None if box is None else box_from_xywh(box),
        label,
        image,
    )


class OneHand10K(HandSet):
    """OneHand10K; a picture's one hand may be of either side, unless ``sides.csv`` tells it."""

    NAME: ClassVar[str] = "onehand10k"
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "test")
    TEST: ClassVar[str] = "test"

    def _read(self) -> None:
        path = self.root / "annotations" / f"onehand10k_{self.split}.json"
        self._need([path])
        self._hands = [hand for hand in read_coco_hands(path) if hand.labelled.any()]
        self._sides = self._read_sides()

    def _read_sides(self) -> dict[str, int]:
        path = self.root / _SIDES_FILE
        if not path.is_file():
            return {}
        with reading(path), path.open(newline="", encoding="utf-8") as file:
            return {row["picture"]: side_index(row["side"]) for row in csv.DictReader(file)}

    def _n_read(self) -> int:
        return len(self._hands)

    def _picture(self, k: int) -> Path:
        return self.root / self._hands[k].file

    def _sample(self, k: int) -> SetSample:
        hand = self._hands[k]
        side = self._sides.get(hand.file)
        at = RIGHT if side is None else side
        return SetSample(
            source=self.NAME,
            name=str(Path(hand.file).with_suffix("")),
            picture=self._picture(k),
            width_px=hand.width_px,
            height_px=hand.height_px,
            **labels_of({at: hand.uv_px}, {}),
            side_told=side is not None,
            box_uvuv_px=hand.box_uvuv_px,
        )
