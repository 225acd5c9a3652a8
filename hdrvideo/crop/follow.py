"""Follow up to two hands through a clip, frame by frame.

Two *tracks* (0 and 1) each follow one hand by its place in the picture; which of them is the right
hand is decided later, over many frames, in :mod:`hdrvideo.crop.sides`. A track's next crop comes
from its last pose. The palm detector runs when a track is empty or doubtful, and now and then to
make sure that no track sits on something that is not a hand. A track that is found is followed
backwards too: a hand that enters blurred is often first found when it is well in view.

With a segmenter, both hands' masks are looked at in every frame: they find the hidden hand.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hdrvideo.config import FollowSettings
from hdrvideo.crop.bare import believed, masked_hands
from hdrvideo.crop.find import FoundPalm, PalmFinder, tiles, whole_frame
from hdrvideo.crop.guide import MaskGuide
from hdrvideo.crop.masked import (
    assign_masks,
    certainty,
    fit_of,
    fits_well,
    is_cut,
    is_twin,
    may_carry,
    track_for,
)
from hdrvideo.crop.read import HandReader, Paint, Read
from hdrvideo.crop.segment import SeenHands, SeenPose, Segmenter, pair_square
from hdrvideo.crop.sighting import (
    N_TRACKS,
    Sighting,
    Track,
    TrackedFrame,
    are_double,
    covers,
    go_on,
    is_near,
    lies_on,
    moved_farther,
    place_for,
    read_twice,
    undo_jump,
)
from hdrvideo.crop.take import Pyramid
from hdrvideo.crop.together import carried, squares_to_read
from hdrvideo.datatypes import Frame
from hdrvideo.geometry import points_box, square_from_pose
from hdrvideo.handmask import HandMask
from hdrvideo.track import DUPLICATE, FRAME_LOST, LOW_PRESENCE


class HandFollower:
    """Turns frames into :class:`TrackedFrame` rows, one for each, in order."""

    def __init__(
        self,
        *,
        finder: PalmFinder,
        read_hands: Read,
        resolution_px: int,
        settings: FollowSettings,
        segmenter: Segmenter | None = None,
        paint: Paint | None = None,
        remember: bool = False,
        keep_crops: bool = False,
        keep_views: bool = False,
    ) -> None:
        """Take the nets.

        Args:
            finder: Finds palms.
            read_hands: Reads crops.
            resolution_px: Their side in their own pixels.
            settings: What may be changed.
            segmenter: Sees masks; None = nobody does.
            paint: Makes hands bare by their masks; None = they are read only as they are.
            remember: Paint with what is remembered of a hand's frames before.
            keep_crops: Leave a picture of each hand in its sighting.
            keep_views: Leave with it what it may be painted from anew.
        """
        self._finder = finder
        self._guide = None if segmenter is None else MaskGuide(segmenter)
        self._read = HandReader(
            read_hands,
            resolution_px=resolution_px,
            paint=paint,
            remember=remember,
            keep_crops=keep_crops,
            keep_views=keep_views,
        )
        self._settings = settings
        self._tracks: list[Track | None] = [None] * N_TRACKS
        self._recent: deque[tuple[TrackedFrame, Pyramid | None]] = deque(
            maxlen=settings.backward_frames
        )
        self._searches = self._since_search = 0

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
        if self._guide is not None:
            self._guide.expect(self._tracks)
        self._follow(row, pyramid)
        must_search = self._must_search(row)
        if must_search:
            self._search(row, pyramid)
        if self._guide is not None:
            self._look(self._guide, row, pyramid, everywhere=must_search)
        if self._read.keeps_crops:
            self._read.leave_pictures(row, self._tracks, pyramid)
        self._forget(row)
        self._recent.append((row, pyramid))
        return row

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
            loser = moved_farther(self._tracks, (first, second))
            row.sightings[loser] = None
            row.reasons[loser] = DUPLICATE
            self._lose(loser)
        undo_jump(row, self._tracks)
        for i, kept in enumerate(row.sightings):
            if kept is not None:
                self._keep(i, kept, row.frame)

    def _lose(self, i: int) -> None:
        """Give up a track that reads the other's hand; with masks, its own may yet be seen."""
        track = self._tracks[i]
        if track is None or self._guide is None:
            self._tracks[i] = None
        else:
            track.n_missed += 1

    def _read_ahead(self, track: Track, pyramid: Pyramid) -> Sighting:
        """Look once more: where a fast hand would be if it went on, as it leaves its crop.

        One that hardly moved is read mirrored: a blurred hand may show in one mirror and not in
        the other.
        """
        is_fast = np.linalg.norm(track.step_px) > 0.1 * track.last.size_px
        ahead_px = track.last.uv_px + track.step_px
        square = square_from_pose(ahead_px, mirror=track.mirror == is_fast)
        return self._read(pyramid, [square], [track.last.birth])[0]

    def _keep(self, i: int, sighting: Sighting, frame: Frame) -> None:
        self._tracks[i] = go_on(self._tracks[i], sighting, frame.pts_seconds)

    def _is_double(self, a: Sighting, b: Sighting) -> bool:
        return are_double(a, b, self._settings.double_distance)

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
            if not any(s is not None and covers(s, palm) for s in row.sightings):
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
        if any(self._is_double(sighting, other) or lies_on(sighting, other) for other in others):
            return
        i = place_for(row, self._tracks, sighting, self._settings.replace_margin)
        if i is None:
            return
        old = self._tracks[i]
        if old is not None and is_near(old.last, sighting):
            sighting = replace(sighting, birth=old.last.birth)
        row.sightings[i] = sighting
        self._keep(i, sighting, row.frame)
        self._fill_backwards(i, sighting)

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
            last = sighting
            if self._read.keeps_crops:
                crop = self._read.picture(pyramid, sighting, mirror=square.mirror)
                sighting = replace(sighting, crop=crop)
            row.sightings[i] = sighting

    def _look(
        self, guide: MaskGuide, row: TrackedFrame, pyramid: Pyramid, *, everywhere: bool
    ) -> None:
        """See the masks round the hands, or in the whole frame; find by them what was missed."""
        guide.believe(row, self._tracks)
        if everywhere and None in row.sightings:
            square = whole_frame(*pyramid.shape_px)
            self._find_by_masks(row, pyramid, guide.look(pyramid, square, row, self._tracks))
        hands = [s.uv_px for s in row.sightings if s is not None]
        hands += [t.last.uv_px for t in self._tracks if t is not None and t.n_missed]
        boxes = [points_box(uv_px) for uv_px in hands]
        if not boxes:
            return
        square = pair_square(boxes, *pyramid.shape_px)
        seen = guide.look(pyramid, square, row, self._tracks)
        self._find_by_masks(row, pyramid, seen)
        assigned = assign_masks(row.sightings, seen)
        if not seen.hinted:
            row.mask_vote = assigned.vote
        elif guide.says_swapped(row, assigned):
            self._swap(row)
            assigned = assign_masks(row.sightings, seen)
        twice = read_twice(row, assigned.sides)
        if twice is not None:
            self._take_back(row, twice)
            assigned = assign_masks(row.sightings, seen)
        for i, side in enumerate(assigned.sides):
            mask = None if side is None else seen.masks[side]
            if side is not None and mask is not None:
                self._fit_to_mask(row, pyramid, i, mask, seen.poses[side])
                self._wear(row, i, mask)
        if self._read.can_paint:
            self._read_bare(row, pyramid, seen, assigned.sides)

    def _wear(self, row: TrackedFrame, i: int, mask: HandMask) -> None:
        """Note the mask that a hand has in this frame."""
        sighting, track = row.sightings[i], self._tracks[i]
        assert sighting is not None
        assert track is not None
        track.mask = mask
        row.sightings[i] = track.last = replace(sighting, mask=mask)

    def _read_bare(
        self, row: TrackedFrame, pyramid: Pyramid, seen: SeenHands, sides: Sequence[int | None]
    ) -> None:
        """Read hands anew that were painted whole and alone, and take what is to be believed."""
        hands = masked_hands(row, self._tracks, seen, sides, self._settings)
        for i, bare in self._read.bare(pyramid, hands, row.frame.index).items():
            told = believed(bare, hands[i], row.sightings[1 - i], self._settings)
            if told is not None:
                row.sightings[i] = told

    def _fit_to_mask(
        self, row: TrackedFrame, pyramid: Pyramid, i: int, mask: HandMask, pose: SeenPose | None
    ) -> None:
        """Read a hand anew, or move its pose, where a sure mask says that it lies elsewhere."""
        sighting = row.sightings[i]
        assert sighting is not None
        is_sure = certainty(mask) >= self._settings.mask_certainty
        if fits_well(sighting.uv_px, mask) or is_cut(mask, *pyramid.shape_px) or not is_sure:
            return
        angle = square_from_pose(sighting.uv_px, mirror=False).angle_rad
        mirror = sighting.right_score < 0.5
        squares = squares_to_read(mask, pose, mirror=mirror, angle_rad=angle)
        read = self._read(pyramid, squares, [sighting.birth] * len(squares))
        again = max(read, key=lambda s: s.presence * fit_of(s.uv_px, mask))
        other = row.sightings[1 - i]
        is_own = other is None or not self._is_double(again, other)
        fits = fits_well(again.uv_px, mask) and again.presence >= self._settings.min_presence
        kept = again if is_own and fits else carried(sighting, mask, pose)
        row.sightings[i] = kept
        self._keep(i, kept, row.frame)

    def _swap(self, row: TrackedFrame) -> None:
        """Undo a swap: each track takes what the other read, as their masks say."""
        first, second = row.sightings
        assert first is not None
        assert second is not None
        swapped = (replace(second, birth=first.birth), replace(first, birth=second.birth))
        for i, sighting in enumerate(swapped):
            row.sightings[i] = sighting
            self._keep(i, sighting, row.frame)
        self._read.forget()

    def _take_back(self, row: TrackedFrame, i: int) -> None:
        """Take back a hand that was found in this frame, also from frames before.

        Whom the track had before is gone, too: to have it back was worse on cups.
        """
        for past in [row, *(recent for recent, _ in self._recent)]:
            there = past.sightings[i]
            if there is not None and there.birth == row.frame.index:
                past.sightings[i], past.reasons[i] = None, DUPLICATE
        self._tracks[i] = None

    def _find_by_masks(self, row: TrackedFrame, pyramid: Pyramid, seen: SeenHands) -> None:
        """Start or go on with a track where a mask is that no track has."""
        taken = assign_masks(row.sightings, seen).sides
        for side, mask in enumerate(seen.masks):
            if None not in row.sightings:
                return
            if mask is None or side in taken:
                continue
            if seen.presence[side] < self._settings.mask_presence:
                continue
            place = track_for(row, self._tracks, mask)
            if not is_twin(mask, seen.masks[1 - side], place[1], self._settings.twin_iou):
                self._try_mask(row, pyramid, place, side, mask, seen.poses[side])

    def _try_mask(
        self,
        row: TrackedFrame,
        pyramid: Pyramid,
        place: tuple[int, Track | None],
        side: int,
        mask: HandMask,
        pose: SeenPose | None,
    ) -> None:
        """Read the hand that a mask shows; where that fails, carry the track on."""
        i, track = place
        birth = row.frame.index if track is None else track.last.birth
        angle = None
        if track is not None:
            angle = square_from_pose(track.last.uv_px, mirror=False).angle_rad
        squares = squares_to_read(mask, pose, mirror=side == 1, angle_rad=angle)
        read = self._read(pyramid, squares, [birth] * len(squares))
        best = max(read, key=lambda s: s.presence * fit_of(s.uv_px, mask))
        others = [s for s in row.sightings if s is not None]
        is_new = not any(self._is_double(best, other) for other in others)
        settings = self._settings
        # A new hand that no palm shows must read well, unless it comes out from behind the other.
        new_least = settings.min_presence if others else settings.doubtful_presence
        least = new_least if track is None else 0.1
        if is_new and fits_well(best.uv_px, mask) and best.presence >= least:
            found = replace(best, carried=best.presence < self._settings.min_presence)
        elif track is not None and may_carry(track, mask, row.frame.pts_seconds, self._settings):
            found = carried(track.last, mask, pose)
        else:
            return
        row.sightings[i] = found
        self._keep(i, found, row.frame)
        if track is None:
            self._fill_backwards(i, found)

    def _forget(self, row: TrackedFrame) -> None:
        """Give up tracks whose hand has not been seen for ``hold_seconds``."""
        now_seconds = row.frame.pts_seconds
        for i, track in enumerate(self._tracks):
            if track and now_seconds - track.seen_seconds > self._settings.hold_seconds:
                self._tracks[i] = None
