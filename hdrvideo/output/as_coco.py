"""COCO keypoints: every source frame an image, every hand with a pose an annotation.

Read back by pycocotools, MMPose and sleap-io. What COCO has no field for travels in keys of our
own: ``frame_index`` and ``timestamp_s`` of an image, ``attributes`` and ``keypoint_scores`` of an
annotation. The segmentation is the convex hull of the joints, not a mask of the hand.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from hdrvideo.datatypes import F32
from hdrvideo.files import whole_file
from hdrvideo.hand import BONES, JOINTS, LEFT, RIGHT
from hdrvideo.output.as_json import rounded, write_object
from hdrvideo.track import PROVENANCE, PoseTrack

# Track and object numbers equal the category's. They start at 1 because readers take 0 for "none".
CATEGORY_OF_SIDE: Final = {LEFT: 1, RIGHT: 2}
HIDDEN, VISIBLE = 1, 2

_NOTE: Final = (
    "Two hands by hdrvideo. Pixels are 0-based, an integer is a pixel centre. segmentation is the "
    "convex hull of the joints, not a mask; area is the box's. keypoints v: 2 seen, 1 inferred. "
    "An absent hand has no annotation. Image ids are frame_index + 1."
)


def save_coco(track: PoseTrack, path: Path, overwrite: bool = False) -> Path:
    """Write a COCO keypoint file.

    Images are named ``<clip stem>/<frame index>.jpg``; they are not written here.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    head = {
        "info": {"description": _NOTE, "hdrvideo": track.meta.to_json()},
        "licenses": [],
        "categories": _categories(),
    }
    lists = {"images": _images(track), "annotations": _annotations(track)}
    with (
        whole_file(path, overwrite=overwrite) as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        write_object(file, head, lists)
    return path


def _categories() -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": name,
            "supercategory": "hand",
            "keypoints": list(JOINTS),
            "skeleton": [[a + 1, b + 1] for a, b in BONES],
        }
        for number, name in ((1, "left_hand"), (2, "right_hand"))
    ]


def _images(track: PoseTrack) -> Iterator[dict[str, Any]]:
    stem = Path(track.meta.clip).stem
    seconds = track.pts_seconds
    for row, index in enumerate(track.frame_index.tolist()):
        yield {
            "id": index + 1,
            "file_name": f"{stem}/{index:06d}.jpg",
            "width": track.meta.width,
            "height": track.meta.height,
            "frame_index": index,
            "timestamp_s": float(seconds[row]),
        }


def _annotations(track: PoseTrack) -> Iterator[dict[str, Any]]:
    rows, sides = np.nonzero(track.present)
    for number, (row, side) in enumerate(zip(rows.tolist(), sides.tolist(), strict=True), start=1):
        yield {"id": number, **_annotation(track, row, side)}


def _annotation(track: PoseTrack, row: int, side: int) -> dict[str, Any]:
    uv_px = track.uv_px[row, side]
    confidence = track.confidence[row, side]
    category = CATEGORY_OF_SIDE[side]
    flags = np.where(track.visible[row, side], VISIBLE, HIDDEN).tolist()
    low, high = uv_px.min(axis=0), uv_px.max(axis=0)
    box = rounded(np.concatenate([low, high - low]))
    return {
        "image_id": int(track.frame_index[row]) + 1,
        "category_id": category,
        "track_id": category,
        "bbox": box,
        # The box's and not the hull's: pycocotools' loadRes sets this, and OKS scales by it.
        "area": box[2] * box[3],
        "iscrowd": 0,
        "segmentation": [_hull(uv_px)],
        "num_keypoints": len(JOINTS),
        "keypoints": [
            value
            for (u, v), flag in zip(rounded(uv_px), flags, strict=True)
            for value in (u, v, flag)
        ],
        "score": float(rounded(confidence.mean())),
        "keypoint_scores": rounded(confidence),
        "attributes": {
            "object_id": category,
            "provenance": PROVENANCE[track.provenance[row, side]],
        },
    }


def _hull(uv_px: F32) -> list[float]:
    """Give the convex hull of the joints as a flat polygon u, v, u, v, ... in pixels."""
    hull = cv2.convexHull(uv_px)[:, 0]
    if len(hull) < 3:
        # Joints in one line have no hull, and a polygon of two corners is not readable COCO.
        (u0, v0), (u1, v1) = uv_px.min(axis=0), uv_px.max(axis=0)
        hull = np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]], np.float32)
    flat: list[float] = rounded(hull.reshape(-1))
    return flat
