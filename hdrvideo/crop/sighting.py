"""One hand in one frame, and what is known of a frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hdrvideo.crop.find import FoundPalm
from hdrvideo.datatypes import F32, U8, Frame, KeptCrop, check_array
from hdrvideo.geometry import CropSquare, box_iou, points_box, square_from_pose
from hdrvideo.handmask import HandMask
from hdrvideo.track import LOW_PRESENCE, NOT_FOUND

N_TRACKS = 2
# Overlap (IoU) of two hands' boxes from which one of them may be a second reading of the other.
_OVERLAP = 0.1


@dataclass(frozen=True)
class HandView:
    """A hand as a frame shows it, and by what it is painted; kept until later frames were seen.

    Attributes:
        rgb_u8: ``(R, R, 3)`` its crop.
        square: Where that was cut out.
        masks: Its own, and the other hand's or None.
        goes_on: It is the hand that its track had in the frame before, seen the same way round.
    """

    rgb_u8: U8
    square: CropSquare
    masks: tuple[HandMask, HandMask | None]
    goes_on: bool

    def __post_init__(self) -> None:
        side = len(self.rgb_u8)
        check_array("rgb_u8", self.rgb_u8, (side, side, 3), "uint8")


@dataclass(frozen=True)
class Sighting:
    """One hand in one frame.

    Attributes:
        uv_px: ``(21, 2)`` float32 in the frame; it is followed by these.
        xyz_mm: ``(21, 3)`` float32, camera axes; any origin, scale guessed.
        confidence: ``(21,)`` float32 in 0..1.
        presence: Is there a hand, 0..1.
        right_score: Does it look like a right hand in the frame as shown, 0..1.
        birth: Index of the frame where its track was found; tells tracks apart.
        mask: What is seen of it and the whole of it; None where nobody looked.
        carried: Only its mask says that it is there; no pose of it was read that can be trusted.
        crop: Its picture, where pictures are kept.
        view: What its picture may be painted from anew, until that is done.
        refine_px: ``(21, 2)`` float32, the way from ``uv_px`` to where its joints are thought to
            be; None = none.
    """

    uv_px: F32
    xyz_mm: F32
    confidence: F32
    presence: float
    right_score: float
    birth: int
    mask: HandMask | None = None
    carried: bool = False
    crop: KeptCrop | None = None
    view: HandView | None = None
    refine_px: F32 | None = None

    @property
    def joints_px(self) -> F32:
        """Where its joints are thought to be, ``(21, 2)`` in the frame."""
        return self.uv_px if self.refine_px is None else self.uv_px + self.refine_px

    @cached_property
    def size_px(self) -> float:
        """Side of the hand's square crop; a measure of its size that does not hang on the pose."""
        return square_from_pose(self.uv_px, mirror=False).size_px


@dataclass
class TrackedFrame:
    """What the follower knows of one frame; filled backwards while it is young.

    Attributes:
        frame: The source frame, without its picture.
        status: How the frame was decoded: ``ok``, ``damaged`` or ``lost``.
        sightings: One a track, None where there is no hand.
        reasons: One a track, code of ``track.REASONS``; why there is no hand.
        mask_vote: How much better the masks fit with track 0 as the right hand than the other way
            round, -2 to 2; 0 = they do not say.
    """

    frame: Frame
    status: str
    sightings: list[Sighting | None] = field(default_factory=lambda: [None] * N_TRACKS)
    reasons: list[int] = field(default_factory=lambda: [NOT_FOUND] * N_TRACKS)
    mask_vote: float = 0.0


@dataclass
class Track:
    """What is known of a hand that is followed.

    Attributes:
        last: Its last sighting.
        step_px: ``(1, 2)`` how far it moved to there from the frame before.
        seen_seconds: When that was.
        read_seconds: When a pose of it was last read, not only moved.
        mirror: Its crop is to be mirrored.
        n_missed: Frames since then in which it was not read.
        mask: Its last masks, moved along with the hand since; None before the first.
    """

    last: Sighting
    step_px: F32
    seen_seconds: float
    read_seconds: float
    mirror: bool
    n_missed: int = 0
    mask: HandMask | None = None

    def mask_now(self) -> HandMask | None:
        """Give the last mask, moved as the hand last moved."""
        return None if self.mask is None else moved_mask(self.mask, self.step_px)

    def jump_px(self, sighting: Sighting) -> float:
        """Give how far a sighting lies from where this track's hand was last, per joint."""
        return float(np.linalg.norm(sighting.uv_px - self.last.uv_px, axis=1).mean())


def moved_mask(mask: HandMask, step_px: F32) -> HandMask:
    """Give a mask moved by ``(1, 2)`` pixels of the frame."""
    square, (du, dv) = mask.square, (float(step) for step in step_px[0])
    return replace(mask, square=replace(square, u_px=square.u_px + du, v_px=square.v_px + dv))


def go_on(old: Track | None, sighting: Sighting, now_seconds: float) -> Track:
    """Give a track as it is when its hand was seen; ``old`` is what it was, None for a new one."""
    mirror = sighting.right_score < 0.5
    if old is not None and 0.2 < sighting.right_score < 0.8:
        mirror = old.mirror
    step_px, mask = np.zeros((1, 2), dtype=np.float32), None
    if old is not None and old.last.birth == sighting.birth:
        step_px = (sighting.uv_px - old.last.uv_px).mean(axis=0, keepdims=True)
        mask = None if old.mask is None else moved_mask(old.mask, step_px)
        if old.seen_seconds == now_seconds:
            # Read or moved a second time in this frame: the way from the frame before counts.
            step_px = old.step_px + step_px
    read_seconds = now_seconds
    if sighting.carried and old is not None:
        read_seconds = old.read_seconds
    return Track(sighting, step_px, now_seconds, read_seconds, mirror, mask=mask)


def undo_jump(row: TrackedFrame, tracks: Sequence[Track | None]) -> None:
    """Give a hand back to the track it belongs to, if the other track slipped onto it.

    When two hands are close and one is lost, both crops show the hand that is left, and the wrong
    track may be the one that keeps it.
    """
    for i, j in ((0, 1), (1, 0)):
        sighting, own, other = row.sightings[i], tracks[i], tracks[j]
        if sighting is None or row.sightings[j] is not None or own is None or other is None:
            continue
        if other.jump_px(sighting) < 0.5 * own.jump_px(sighting):
            row.sightings[j] = replace(sighting, birth=other.last.birth)
            row.sightings[i] = None
            row.reasons[i] = LOW_PRESENCE
            return


def covers(sighting: Sighting, palm: FoundPalm) -> bool:
    """Say whether a palm lies on a hand that is already followed."""
    middle = sighting.uv_px[[0, 5, 9, 13, 17]].mean(axis=0)
    # The palm's square is moved towards the fingers; its own middle is back along that way.
    square = palm.square
    back = 0.19 * square.size_px
    u = square.u_px - back * np.sin(square.angle_rad)
    v = square.v_px + back * np.cos(square.angle_rad)
    limit = 0.22 * max(square.size_px, sighting.size_px)
    return bool(np.hypot(middle[0] - u, middle[1] - v) < limit)


def lies_on(new: Sighting, known: Sighting) -> bool:
    """Say whether a new hand is but a worse reading of part of a known one."""
    a, b = points_box(new.uv_px), points_box(known.uv_px)
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    is_inside = overlap > 0.6 * np.prod(a[2:] - a[:2])
    return bool(is_inside and new.presence < 0.8 <= known.presence)


def overlap(a: Sighting, b: Sighting) -> bool:
    """Say whether two hands' boxes overlap so much that they may be one hand."""
    return float(box_iou(points_box(a.uv_px), points_box(b.uv_px))) > _OVERLAP


def read_twice(row: TrackedFrame, sides: Sequence[int | None]) -> int | None:
    """Say which hand was found in this frame upon the other, if both have but one mask or none.

    The new one goes, whichever the mask fits: it may be the same hand, read mirrored.

    Args:
        row: The frame.
        sides: Side of the mask for each track; None = it has none.
    """
    first, second = row.sightings
    if first is None or second is None or None not in sides or not overlap(first, second):
        return None
    new = [i for i, hand in enumerate((first, second)) if hand.birth == row.frame.index]
    if len(new) == N_TRACKS:
        return sides.index(None)
    return new[0] if new else None


def are_double(a: Sighting, b: Sighting, limit: float, *, told: bool = False) -> bool:
    """Say whether two hands' joints are nearer than a limit, in crop sides: they are one hand.

    Args:
        a: One hand.
        b: The other.
        limit: See above.
        told: Go by the joints as they are told, not by those that hands are followed by.
    """
    way_px = a.joints_px - b.joints_px if told else a.uv_px - b.uv_px
    distance_px = float(np.linalg.norm(way_px, axis=1).mean())
    return distance_px < limit * max(a.size_px, b.size_px)


def is_near(a: Sighting, b: Sighting) -> bool:
    """Say whether two sightings, a few frames apart, can be the same hand."""
    distance = np.linalg.norm(a.uv_px.mean(axis=0) - b.uv_px.mean(axis=0))
    ratio = a.size_px / b.size_px
    return bool(distance < 0.8 * max(a.size_px, b.size_px) and 0.2 < ratio < 5.0)


def place_for(
    row: TrackedFrame, tracks: Sequence[Track | None], new: Sighting, margin: float
) -> int | None:
    """Choose the track for a new sighting, or None if both are better taken.

    Args:
        row: The frame so far.
        tracks: One a hand.
        new: The new sighting.
        margin: A hand that is followed gives way to one that is so much more present.
    """
    free = [i for i in range(N_TRACKS) if row.sightings[i] is None]
    if not free:
        scores = [s.presence for s in row.sightings if s is not None]
        weakest = int(np.argmin(scores))
        return weakest if new.presence > scores[weakest] + margin else None
    jumps_px = {
        i: track.jump_px(new)
        for i, track in enumerate(tracks)
        if i in free and track is not None and is_near(track.last, new)
    }
    if jumps_px:
        return min(jumps_px, key=lambda i: jumps_px[i])
    if len(free) == N_TRACKS:
        return int(new.right_score < 0.5)
    return free[0]


def moved_farther(tracks: Sequence[Track | None], sightings: Sequence[Sighting]) -> int:
    """Say which of two tracks that read one hand must go: the one that moved there."""
    moved = []
    for track, sighting in zip(tracks, sightings, strict=True):
        assert track is not None
        moved.append(track.jump_px(sighting) / sighting.size_px)
    return int(moved[1] >= moved[0])
