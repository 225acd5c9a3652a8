"""COCO-WholeBody v1.0, its hands (Jin et al., ECCV 2020; research use); 2D only.

``annotations/coco_wholebody_{train,val}_v1.0.json`` over COCO 2017's pictures in ``train2017`` and
``val2017`` (or the same under ``images``). An annotation is a person: ``lefthand_kpts`` and
``righthand_kpts`` are 21 of u, v and a score in our order, above 0 where there is a label,
``lefthand_valid`` says that the hand was labelled at all, ``lefthand_box`` is its box (the set's
``data_format.md``). A sample is a person with a labelled hand; the other one may be in the picture.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.hand import SIDES
from hdrvideo.sets.base import HandSet, read_json, reading
from hdrvideo.sets.sample import SetSample, box_from_xywh, labels_of

# Person, picture, and by side the joints (21, 3) or None, and the box.
_Row = tuple[int, int, tuple[Any, Any], tuple[Any, Any]]


class WholeBodyHands(HandSet):
    """The hands of COCO-WholeBody, person by person."""

    NAME: ClassVar[str] = "coco-wholebody"
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "val")
    TEST: ClassVar[str] = "val"

    def _read(self) -> None:
        path = self.root / "annotations" / f"coco_wholebody_{self.split}_v1.0.json"
        folder = f"{self.split}2017"
        inner = self.root / "images" / folder
        self._pictures = inner if inner.is_dir() else self.root / folder
        self._need([path, self._pictures])
        content = read_json(path, _short)
        with reading(path):
            images = dict(content["images"])
            self._people = [row for row in content["annotations"] if any(_has_label(row))]
            self._images = {row[1]: images[row[1]] for row in self._people}

    def _n_read(self) -> int:
        return len(self._people)

    def _picture(self, k: int) -> Path:
        return self._pictures / str(self._images[self._people[k][1]][0])

    def _sample(self, k: int) -> SetSample:
        row = self._people[k]
        person, image, joints, boxes = row
        file, width_px, height_px = self._images[image]
        hands = {
            side: np.where(joints[side][:, 2:] > 0, joints[side][:, :2], np.nan)
            for side, there in enumerate(_has_label(row))
            if there
        }
        corners = np.stack([box_from_xywh(boxes[side]) for side in hands])
        return SetSample(
            source=self.NAME,
            name=f"{Path(file).stem} {person}",
            picture=self._picture(k),
            width_px=width_px,
            height_px=height_px,
            **labels_of(hands, {}),
            box_uvuv_px=np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)]),
        )


def _has_label(row: _Row) -> tuple[bool, ...]:
    return tuple(joints is not None and bool((joints[:, 2] > 0).any()) for joints in row[2])


def _short(entry: dict[str, Any]) -> Any:
    """Shorten a person or a picture as soon as it is parsed; the file has more of the body."""
    if "lefthand_kpts" in entry:
        joints, boxes = [], []
        for side in SIDES:
            there = bool(entry[f"{side}hand_valid"])
            rows = np.array(entry[f"{side}hand_kpts"], dtype=np.float32).reshape(N_JOINTS, 3)
            joints.append(rows if there else None)
            boxes.append(tuple(entry[f"{side}hand_box"]))
        return entry["id"], entry["image_id"], tuple(joints), tuple(boxes)
    if "file_name" in entry:
        return entry["id"], (entry["file_name"], int(entry["width"]), int(entry["height"]))
    return entry
