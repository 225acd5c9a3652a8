"""Follow up to two hands through a clip, frame by frame.

Two *tracks* (0 and 1) each follow one hand by its place in the picture; which of them is the right
hand is decided later, over many frames, in :mod:`hdrvideo.crop.sides`. A track's next crop comes
from its last pose. The palm detector runs when a track is empty or doubtful, and now and then to
make sure that no track sits on something that is not a hand. A track that is found is followed
backwards too: a hand that enters blurred is often first found when it is well in view.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hdrvideo.config import FollowSettings
from hdrvideo.crop.find import FoundPalm, PalmFinder, square_from_pose, tiles, whole_frame
from hdrvideo.crop.take import Pyramid, take_hands
from hdrvideo.datatypes import F32, Frame, HandCrops, HandPoses
from hdrvideo.geometry import CropSquare, points_box
from hdrvideo.track import DUPLICATE, FRAME_LOST, LOW_PRESENCE, NOT_FOUND

N_TRACKS = 2


@dataclass(frozen=True)
class Sighting:
    """One hand in one frame.

    Attributes:
        uv_px: ``(21, 2)`` float32 in the frame.
        xyz_mm: ``(21, 3)`` float32 round the hand's own centre, camera axes, scale guessed.
        confidence: ``(21,)`` float32 in 0..1.
        presence: Is there a hand, 0..1.
        right_score: Does it look like a right hand in the frame as shown, 0..1.
        birth: Index of the frame where its track was found; tells tracks apart.
    """

    uv_px: F32
    xyz_mm: F32
    confidence: F32
    presence: float
    right_score: float
    birth: int

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
    """

    frame: Frame
    status: str
    sightings: list[Sighting | None] = field(default_factory=lambda: [None] * N_TRACKS)
    reasons: list[int] = field(default_factory=lambda: [NOT_FOUND] * N_TRACKS)


@dataclass
class _Track:
    last: Sighting
    step_px: F32
    seen_seconds: float
    mirror: bool
    n_missed: int = 0

    def jump_px(self, sighting: Sighting) -> float:
        """Give how far a sighting lies from where this track's hand was last, per joint."""
        return float(np.linalg.norm(sighting.uv_px - self.last.uv_px, axis=1).mean())


class HandFollower:
    """Turns frames into :class:`TrackedFrame` rows, one for each, in order."""

    def __init__(
        self,
        *,
        finder: PalmFinder,
        read_hands: Callable[[HandCrops], HandPoses],
        resolution_px: int,
        settings: FollowSettings,
    ) -> None:
        self._finder = finder
        self._read_hands = read_hands
        self._resolution_px = resolution_px
        self._settings = settings
        self._tracks: list[_Track | None] = [None] * N_TRACKS
        self._recent: deque[tuple[TrackedFrame, Pyramid | None]] = deque(
            maxlen=settings.backward_frames
        )
        self._searches = 0
        self._since_search = 0

    def step(self, frame: Frame) -> TrackedFrame:
        """Follow the hands into the next frame.

        Args:
            frame: The next source frame; a lost one has a row but no hands.

        Returns:
            Its row. Earlier rows may be filled backwards for ``backward_frames`` frames more.
        """
        row = TrackedFrame(replace(frame, rgb_u8=None, status="lost"), frame.status)
        if frame.rgb_u8 is None:
            row.reasons = [FRAME_LOST] * N_TRACKS
            self._recent.append((row, None))
            return row
        pyramid = Pyramid(frame.rgb_u8)
        self._follow(row, pyramid)
        if self._must_search(row):
            self._search(row, pyramid)
        self._forget(row)
        self._recent.append((row, pyramid))
        return row

    def _read(
        self, pyramid: Pyramid, squares: list[CropSquare], births: list[int]
    ) -> list[Sighting]:
        if not squares:
            return []
        poses = self._read_hands(take_hands(pyramid, squares, self._resolution_px))
        return [
            Sighting(
                uv_px=poses.uv_px[i],
                xyz_mm=poses.xyz_mm[i],
                confidence=poses.confidence[i],
                presence=float(poses.presence[i]),
                right_score=float(poses.right_score[i]),
                birth=births[i],
            )
            for i in range(len(poses))
        ]

    def _follow(self, row: TrackedFrame, pyramid: Pyramid) -> None:
        """Read each track's hand where its last pose says; drop what is no hand or a double."""
        live = [i for i in range(N_TRACKS) if self._tracks[i] is not None]
        tracks = [t for t in self._tracks if t is not None]
        squares = [square_from_pose(t.last.uv_px, mirror=t.mirror) for t in tracks]
        read = self._read(pyramid, squares, [t.last.birth for t in tracks])
        for i, track, sighting in zip(live, tracks, read, strict=True):
            if sighting.presence < self._settings.min_presence and track.n_missed == 0:
                sighting = self._read_ahead(track, pyramid)
            if sighting.presence < self._settings.min_presence:
                row.reasons[i] = LOW_PRESENCE
                track.n_missed += 1
            else:
                row.sightings[i] = sighting
        first, second = row.sightings
        if first is not None and second is not None and self._is_double(first, second):
            loser = self._newer_or_farther(first, second)
            row.sightings[loser] = None
            row.reasons[loser] = DUPLICATE
            self._tracks[loser] = None
        self._undo_jump(row)
        for i, kept in enumerate(row.sightings):
            if kept is not None:
                self._keep(i, kept, row.frame)

    def _undo_jump(self, row: TrackedFrame) -> None:
        """Give a hand back to the track it belongs to, if the other track slipped onto it.

        When two hands are close and one is lost, both crops show the hand that is left, and the
        wrong track may be the one that keeps it.
        """
        for i, j in ((0, 1), (1, 0)):
            sighting, own, other = row.sightings[i], self._tracks[i], self._tracks[j]
            if sighting is None or row.sightings[j] is not None or own is None or other is None:
                continue
            if other.jump_px(sighting) < 0.5 * own.jump_px(sighting):
                row.sightings[j] = replace(sighting, birth=other.last.birth)
                row.sightings[i] = None
                row.reasons[i] = LOW_PRESENCE
                return

    def _read_ahead(self, track: _Track, pyramid: Pyramid) -> Sighting:
        """Look once more: where a fast hand would be if it went on, as it leaves its crop.

        One that hardly moved is read mirrored: a blurred hand may show in one mirror and not in
        the other.
        """
        is_fast = np.linalg.norm(track.step_px) > 0.1 * track.last.size_px
        ahead_px = track.last.uv_px + track.step_px
        square = square_from_pose(ahead_px, mirror=track.mirror == is_fast)
        return self._read(pyramid, [square], [track.last.birth])[0]

    def _keep(self, i: int, sighting: Sighting, frame: Frame) -> None:
        mirror = sighting.right_score < 0.5
        old = self._tracks[i]
        if old is not None and 0.2 < sighting.right_score < 0.8:
            mirror = old.mirror
        step_px = np.zeros((1, 2), dtype=np.float32)
        if old is not None and old.last.birth == sighting.birth:
            step_px = (sighting.uv_px - old.last.uv_px).mean(axis=0, keepdims=True)
        self._tracks[i] = _Track(sighting, step_px, frame.pts_seconds, mirror)

    def _is_double(self, a: Sighting, b: Sighting) -> bool:
        distance_px = float(np.linalg.norm(a.uv_px - b.uv_px, axis=1).mean())
        return distance_px < self._settings.double_distance * max(a.size_px, b.size_px)

    def _newer_or_farther(self, first: Sighting, second: Sighting) -> int:
        """Say which of two tracks on one hand must go: the one that moved there."""
        moved = []
        for track, sighting in zip(self._tracks, (first, second), strict=True):
            assert track is not None
            moved.append(track.jump_px(sighting) / sighting.size_px)
        return int(moved[1] >= moved[0])

    def _must_search(self, row: TrackedFrame) -> bool:
        self._since_search += 1
        settings = self._settings
        doubtful = any(
            s is not None and s.presence < settings.doubtful_presence for s in row.sightings
        )
        n_missing = sum(s is None for s in row.sightings)
        if any(track is not None and track.n_missed == 1 for track in self._tracks):
            return True
        wait = settings.recheck_frames
        if n_missing == N_TRACKS:
            wait = 1
        elif n_missing or doubtful:
            wait = settings.search_frames
        return self._since_search >= wait

    def _search(self, row: TrackedFrame, pyramid: Pyramid) -> None:
        """Look for palms: in the whole frame and, in turn, in its tiles."""
        self._since_search = 0
        self._searches += 1
        regions = [whole_frame(*pyramid.shape_px), *tiles(*pyramid.shape_px)]
        region = regions[self._searches % len(regions)]
        for palm in self._finder.find(pyramid, [region]):
            if not any(s is not None and _covers(s, palm) for s in row.sightings):
                self._try_palm(row, pyramid, palm)

    def _try_palm(self, row: TrackedFrame, pyramid: Pyramid, palm: FoundPalm) -> None:
        """Start a track on a palm if the landmark net agrees and a track is free or weaker."""
        births = [row.frame.index]
        sighting = self._read(pyramid, [palm.square], births)[0]
        if sighting.presence < self._settings.birth_presence:
            return
        if sighting.presence < self._settings.doubtful_presence:
            # A second look from the pose's own square, as the palm's is coarse.
            square = square_from_pose(sighting.uv_px, mirror=sighting.right_score < 0.5)
            closer = self._read(pyramid, [square], births)[0]
            sighting = max(sighting, closer, key=lambda s: s.presence)
        others = [s for s in row.sightings if s is not None]
        if any(self._is_double(sighting, other) or _lies_on(sighting, other) for other in others):
            return
        i = self._place_for(row, sighting)
        if i is None:
            return
        old = self._tracks[i]
        if old is not None and _is_near(old.last, sighting):
            sighting = replace(sighting, birth=old.last.birth)
        row.sightings[i] = sighting
        self._keep(i, sighting, row.frame)
        self._fill_backwards(i, sighting)

    def _place_for(self, row: TrackedFrame, sighting: Sighting) -> int | None:
        """Choose the track for a new sighting, or None if both are better taken."""
        free = [i for i in range(N_TRACKS) if row.sightings[i] is None]
        if not free:
            scores = [s.presence for s in row.sightings if s is not None]
            weakest = int(np.argmin(scores))
            is_better = sighting.presence > scores[weakest] + self._settings.replace_margin
            return weakest if is_better else None
        jumps_px = {
            i: track.jump_px(sighting)
            for i, track in enumerate(self._tracks)
            if i in free and track is not None and _is_near(track.last, sighting)
        }
        if jumps_px:
            return min(jumps_px, key=lambda i: jumps_px[i])
        if len(free) == N_TRACKS:
            return int(sighting.right_score < 0.5)
        return free[0]

    def _fill_backwards(self, i: int, found: Sighting) -> None:
        """Follow a new hand into the frames before it was found, as far as it can be seen."""
        last = found
        for row, pyramid in reversed(self._recent):
            if pyramid is None or row.sightings[i] is not None:
                return
            square = square_from_pose(last.uv_px, mirror=last.right_score < 0.5)
            sighting = self._read(pyramid, [square], [found.birth])[0]
            other = row.sightings[1 - i]
            if sighting.presence < self._settings.backward_presence or (
                other is not None and self._is_double(sighting, other)
            ):
                return
            row.sightings[i] = sighting
            last = sighting

    def _forget(self, row: TrackedFrame) -> None:
        """Give up tracks whose hand has not been seen for ``hold_seconds``."""
        for i, track in enumerate(self._tracks):
            if track is None:
                continue
            age = row.frame.pts_seconds - track.seen_seconds
            if age > self._settings.hold_seconds:
                self._tracks[i] = None


def _covers(sighting: Sighting, palm: FoundPalm) -> bool:
    """Say whether a palm lies on a hand that is already followed."""
    middle = sighting.uv_px[[0, 5, 9, 13, 17]].mean(axis=0)
    # The palm's square is moved towards the fingers; its own middle is back along that way.
    square = palm.square
    back = 0.19 * square.size_px
    u = square.u_px - back * np.sin(square.angle_rad)
    v = square.v_px + back * np.cos(square.angle_rad)
    limit = 0.22 * max(square.size_px, sighting.size_px)
    return bool(np.hypot(middle[0] - u, middle[1] - v) < limit)


def _lies_on(new: Sighting, known: Sighting) -> bool:
    """Say whether a new hand is but a worse reading of part of a known one."""
    a, b = points_box(new.uv_px), points_box(known.uv_px)
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    is_inside = overlap > 0.6 * np.prod(a[2:] - a[:2])
    return bool(is_inside and new.presence < 0.8 <= known.presence)


def _is_near(a: Sighting, b: Sighting) -> bool:
    """Say whether two sightings, a few frames apart, can be the same hand."""
    distance = np.linalg.norm(a.uv_px.mean(axis=0) - b.uv_px.mean(axis=0))
    ratio = a.size_px / b.size_px
    return bool(distance < 0.8 * max(a.size_px, b.size_px) and 0.2 < ratio < 5.0)
