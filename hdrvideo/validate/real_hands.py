"""Scores against hands labelled by eye on frames of real clips; NumPy only.

A label file holds, for some frames of each clip and for both sides, a status (``in``, ``hard`` or
``out``) and a box round what is seen of the hand. The rules, once for all tables:

* A hand that must be found is **in**. A **hard** one (cut by the border, mostly hidden, smeared) is
  not demanded; frames where both hands are in or hard are counted apart. An **out** hand may have a
  **fragment**, less than half of it, that still shows: to find it is right, to miss it too.
* A predicted hand **fits** a labelled one when their boxes have an intersection over union of at
  least :data:`MIN_IOU`. Where the label says that something hides the hand, or is hard or a
  fragment, its box is smaller than the hand: there it is enough that it **touches**, which is that
  at least :data:`MIN_COVER` of the smaller box lies in the larger, of at most :data:`MAX_RATIO`
  times its length.
* Predicted hands, of either side, are given to labelled ones one to one, with the most fits, of
  those with the largest sum of intersections over union.
* A prediction that touches no labelled hand, or only one that another prediction took, is a
  **ghost**: the second hand on one hand is one. One that only touches where it should fit is
  neither found nor a ghost.
"""

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, check_array
from hdrvideo.errors import DataError
from hdrvideo.geometry import box_iou, points_box
from hdrvideo.hand import SIDES
from hdrvideo.track import PoseTrack
from hdrvideo.validate.match import MARGIN_PALMS, palm_length_px

F64 = NDArray[np.float64]

STATUSES: Final = ("in", "hard", "out")
MIN_IOU: Final = 0.5
MIN_COVER: Final = 0.4
MAX_RATIO: Final = 2.6
_REMEDY: Final = "give a file like tests/data/real_hands.json"


@dataclass(frozen=True)
class HandLabel:
    """What a person sees of one hand in one frame.

    Attributes:
        status: One of :data:`STATUSES`.
        box_px: ``(4,)`` float64 u0, v0, u1, v1; of a fragment where ``status`` is ``out``; None
            where nothing shows.
        is_occluded: Something hides a large part, and the box is of the rest.
    """

    status: str
    box_px: F64 | None
    is_occluded: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether a prediction must fit the box rather than touch it."""
        return self.status == "in" and not self.is_occluded

    @property
    def is_gone(self) -> bool:
        """Whether nothing of the hand shows."""
        return self.box_px is None


FrameLabels = tuple[HandLabel, HandLabel]  # by side
ClipLabels = dict[int, FrameLabels]  # by frame index


def load_labels(path: Path | str) -> dict[str, ClipLabels]:
    """Read a label file.

    Returns:
        For each clip (file name) the labels of some frames.

    Raises:
        DataError: The file is missing, no JSON, or not of this form.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"labels {path} cannot be read ({error}); {_REMEDY}") from error
    clips = values.get("clips") if isinstance(values, dict) else None
    if not isinstance(clips, dict) or not clips:
        raise DataError(f"labels {path} have no clips; {_REMEDY}")
    return {name: _clip_labels(f"labels {path}, {name}", clip) for name, clip in clips.items()}


def _clip_labels(where: str, clip: Any) -> ClipLabels:
    frames = clip.get("frames") if isinstance(clip, dict) else None
    if not isinstance(frames, dict) or not frames:
        raise DataError(f"{where} have no frames; {_REMEDY}")
    labels = {}
    for key, sides in frames.items():
        if not key.isdigit():
            raise DataError(f"{where}: frame is {key!r}, expected a whole number; {_REMEDY}")
        if not isinstance(sides, dict) or not set(SIDES) <= set(sides):
            raise DataError(f"{where}, frame {key}: expected labels right and left; {_REMEDY}")
        right, left = (_hand_label(f"{where}, frame {key}, {side}", sides[side]) for side in SIDES)
        labels[int(key)] = (right, left)
    return labels


def _hand_label(where: str, value: Any) -> HandLabel:
    status = value.get("status") if isinstance(value, dict) else None
    if status not in STATUSES:
        raise DataError(
            f"{where}: status is {status!r}, expected one of {', '.join(STATUSES)}; {_REMEDY}"
        )
    key = "part_box" if status == "out" else "box"
    numbers = value.get(key)
    if numbers is None and status == "out":
        return HandLabel(status, None)
    try:
        box = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        box = np.empty(0)
    if box.shape != (4,) or not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        raise DataError(
            f"{where}: {key} is {numbers!r}, expected u0 < u1 and v0 < v1 as [u0, v0, u1, v1]; "
            f"{_REMEDY}"
        )
    return HandLabel(status, box, bool(value.get("occluded", False)))


@dataclass
class Tally:
    """Counts over labelled frames of one clip, or summed over clips by :meth:`add`.

    Attributes:
        frames: Labelled frames.
        both: Frames where both hands are in.
        both_found: Of these, both hands are found.
        both_right: Of these, both with their own sides.
        hard: Frames where both hands are in or hard.
        hard_found: Of these, both hands are found.
        hands: Hands that are in.
        hands_found: Of these, found.
        hands_right: Of these, with their own side.
        named: Found hands, in or hard.
        misnamed: Of these, with the wrong side.
        ghosts: Predictions that are no hand.
        clear: Hands that are in and not occluded.
        iou_sum: Sum of their intersections over union with the prediction of the same side; 0
            where there is none.
    """

    frames: int = 0
    both: int = 0
    both_found: int = 0
    both_right: int = 0
    hard: int = 0
    hard_found: int = 0
    hands: int = 0
    hands_found: int = 0
    hands_right: int = 0
    named: int = 0
    misnamed: int = 0
    ghosts: int = 0
    clear: int = 0
    iou_sum: float = 0.0

    def add(self, other: "Tally") -> None:
        """Add the counts of other frames."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def score_boxes(labels: FrameLabels, box_px: NDArray[Any]) -> Tally:
    """Score what was predicted in one labelled frame, by the rules of this module.

    Args:
        labels: What a person sees.
        box_px: ``(2, 4)`` by predicted side; NaN where there is none.

    Raises:
        ShapeError: The boxes do not have this shape.
    """
    check_array("box_px", box_px, (N_SIDES, 4), "")
    boxes = np.asarray(box_px, dtype=np.float64)
    fits, touches, iou = _overlaps(labels, boxes)
    partner = _assign(fits, iou)
    found = [bool(fits[side, partner[side]]) for side in range(N_SIDES)]
    status = [label.status for label in labels]
    is_both = status == ["in", "in"]
    is_either = "out" not in status
    named = [side for side in range(N_SIDES) if found[side] and status[side] != "out"]
    misnamed = sum(partner[side] != side for side in named)
    is_taken = [touches[side, partner[side]] for side in range(N_SIDES)]
    clear = [side for side, label in enumerate(labels) if label.is_clear]
    return Tally(
        frames=1,
        both=is_both,
        both_found=is_both and all(found),
        both_right=is_both and all(found) and not misnamed,
        hard=is_either,
        hard_found=is_either and all(found),
        hands=status.count("in"),
        hands_found=sum(status[side] == "in" for side in named),
        hands_right=sum(status[side] == "in" and partner[side] == side for side in named),
        named=len(named),
        misnamed=misnamed,
        ghosts=int(np.isfinite(boxes).all(axis=1).sum()) - int(sum(is_taken)),
        clear=len(clear),
        iou_sum=float(sum(iou[side, side] for side in clear)),
    )


def _overlaps(labels: FrameLabels, boxes: F64) -> tuple[NDArray[np.bool_], NDArray[np.bool_], F64]:
    """Compare labels (first axis) with predictions: which fit, which touch, and their IoU."""
    fits = np.zeros((N_SIDES, N_SIDES), dtype=bool)
    touches = fits.copy()
    iou = np.zeros((N_SIDES, N_SIDES))
    for side, label in enumerate(labels):
        for other, box in enumerate(boxes):
            if label.box_px is None or not np.isfinite(box).all():
                continue
            iou[side, other] = box_iou(label.box_px, box)
            touches[side, other] = _does_touch(label.box_px, box)
            fits[side, other] = (
                iou[side, other] >= MIN_IOU if label.is_clear else touches[side, other]
            )
    return fits, touches, iou


def _does_touch(a: F64, b: F64) -> bool:
    sizes = np.stack([a[2:] - a[:2], b[2:] - b[:2]])
    lengths = sizes.max(axis=1)
    if lengths.max() > MAX_RATIO * lengths.min():
        return False
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    return bool(overlap.prod() >= MIN_COVER * sizes.prod(axis=1).min() > 0)


def _assign(fits: NDArray[np.bool_], iou: F64) -> tuple[int, int]:
    """Give the predicted side for each label; straight where both ways are as good."""

    def worth(order: tuple[int, int]) -> tuple[int, float]:
        rows = [0, 1], list(order)
        return int(fits[rows].sum()), float(iou[rows].sum())

    straight, crossed = (0, 1), (1, 0)
    return crossed if worth(crossed) > worth(straight) else straight


def is_one_hand(labels: ClipLabels) -> bool:
    """Tell whether one and the same side shows nothing in all labelled frames."""
    return any(all(frame[side].is_gone for frame in labels.values()) for side in range(N_SIDES))


def track_boxes(track: PoseTrack) -> F64:
    """Give the boxes ``(T, 2, 4)`` of a track's hands, bridged ones too, NaN where there is none.

    As in :mod:`hdrvideo.validate.match`: round the joints, grown by the flesh round them, clipped
    to the picture. A hand without part in the picture has none.
    """
    camera = track.meta.camera
    k_px = camera.matrix
    palm_px = palm_length_px(track.xyz_cam_mm, np.broadcast_to(k_px, (len(track), 3, 3)))
    grown = MARGIN_PALMS * np.nan_to_num(palm_px)[..., None] * np.array([-1, -1, 1, 1])
    return clip_boxes(points_box(track.uv_px) + grown, (track.meta.width, track.meta.height))


def clip_boxes(box_px: NDArray[Any], size_px: tuple[int, int]) -> F64:
    """Clip boxes ``(..., 4)`` to a picture of this width and height; NaN where nothing is left."""
    boxes = np.clip(np.asarray(box_px, dtype=np.float64), -0.5, np.array(size_px * 2) - 0.5)
    is_inside = np.all(boxes[..., 2:] > boxes[..., :2], axis=-1, keepdims=True)
    return np.asarray(np.where(is_inside, boxes, np.nan))


def score_frames(labels: ClipLabels, box_px: NDArray[Any], *, clip: str) -> Tally:
    """Score a clip's labelled frames.

    Args:
        labels: By frame.
        box_px: ``(T, 2, 4)`` of all frames of the clip, by predicted side; NaN = none.
        clip: Its name, for the error.

    Raises:
        DataError: A label is of a frame that is not there.
    """
    if max(labels) >= len(box_px):
        raise DataError(
            f"{clip} has a label of frame {max(labels)}, but {len(box_px)} frames; give the track "
            "of the clip that was labelled"
        )
    total = Tally()
    for frame, sides in labels.items():
        total.add(score_boxes(sides, box_px[frame]))
    return total


# Hands of one frame: the name of the side, and joints (21, 2) in pixels.
NamedHands = Sequence[tuple[Hashable, NDArray[Any]]]


def count_side_changes(frames: Iterable[NamedHands]) -> int:
    """Count hands that stay in their place from a frame to the next and take another name.

    Hands of two frames are matched one to one, nearest first, up to half a hand's size apart (mean
    distance of the joints over the longer side of the hand's box). Two hands that exchange their
    names are two changes. A hand that is gone for a frame may come back under any name.
    """
    return sum(_changes(before, after) for before, after in pairwise(frames))


def _changes(before: NamedHands, after: NamedHands) -> int:
    pairs = sorted(
        (np.linalg.norm(uv - v, axis=1).mean() / max(np.ptp(uv, axis=0).max(), 1e-9), i, j)
        for i, (_, uv) in enumerate(after)
        for j, (_, v) in enumerate(before)
    )
    n = 0
    taken_after: set[int] = set()
    taken_before: set[int] = set()
    for distance, i, j in pairs:
        if distance < 0.5 and i not in taken_after and j not in taken_before:
            taken_after.add(i)
            taken_before.add(j)
            n += after[i][0] != before[j][0]
    return n


def track_hands(track: PoseTrack) -> list[list[tuple[int, NDArray[Any]]]]:
    """Give the hands of each frame of a track, bridged ones too, for :func:`count_side_changes`."""
    return [
        [(side, track.uv_px[t, side]) for side in range(N_SIDES) if track.present[t, side]]
        for t in range(len(track))
    ]


def track_seconds(track: PoseTrack) -> float:
    """Give how long a track's frames last; the last one as long as the mean of the others."""
    seconds = track.pts_seconds
    if len(seconds) < 2:
        return 0.0
    return float(seconds[-1] - seconds[0]) * len(seconds) / (len(seconds) - 1)


def mask_boxes(masks: NDArray[np.bool_]) -> F64:
    """Give the boxes ``(2, 4)`` round masks ``(2, H, W)``, whole pixels, NaN where one is empty.

    Raises:
        ShapeError: The masks do not have this shape or are not bool.
    """
    check_array("masks", masks, (N_SIDES, None, None), "bool")
    boxes = np.full((N_SIDES, 4), np.nan)
    for side, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            low, high = (columns[0], rows[0]), (columns[-1], rows[-1])
            boxes[side] = [*np.subtract(low, 0.5), *np.add(high, 0.5)]
    return boxes
