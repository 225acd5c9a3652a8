"""What the segmenter is told, and what is made of its answer: which hand is which through contact.

Each look at the hands is told where each hand was a moment ago, by side. So when two hands touch,
cross or hide one another, their masks go on with the side they had; and where two tracks have
slipped onto each other's hands, the masks say so.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from hdrvideo.config import FollowSettings
from hdrvideo.crop.masked import Assigned, fit_of, silhouette
from hdrvideo.crop.segment import Hints, SeenHands, Segmenter
from hdrvideo.crop.sighting import N_TRACKS, Sighting, Track, TrackedFrame
from hdrvideo.crop.take import Pyramid
from hdrvideo.geometry import CropSquare, points_box
from hdrvideo.handmask import HandMask

# Hints need so much certainty of the sides, about three clear looks; more than so much is not kept.
_LEAST_BELIEF: Final = 1.5
_MAX_BELIEF: Final = 10.0
# Two tracks have swapped hands if their masks fit so much better the other way round.
_SWAP_MARGIN: Final = 0.5
# Of a hand that is looked at now and then only, at most so much is hidden.
_BARELY_HIDDEN: Final = 0.1
# Hands are near one another if the gap between their boxes is below so much of the longer one.
_NEAR: Final = 0.3
# Presence from which a pose is trusted to say where its hand is.
_SURE: Final = 0.7


class MaskGuide:
    """Looks with hints, and remembers which track is the right hand as far as is known."""

    def __init__(self, segmenter: Segmenter, settings: FollowSettings) -> None:
        self._segmenter = segmenter
        self._settings = settings
        self._since_look = settings.look_frames
        self._expected: list[HandMask | None] = [None] * N_TRACKS
        self._belief = 0.0

    def expect(self, tracks: Sequence[Track | None]) -> None:
        """Note where each track's hand should be in the next frame, before it is read there."""
        self._expected = [None if track is None else track.mask_now() for track in tracks]

    def believe(self, row: TrackedFrame, tracks: Sequence[Track | None]) -> None:
        """Keep up the evidence that track 0 is the right hand.

        Only for the hints: which hand is right is decided later, from both sides of time
        (:mod:`hdrvideo.crop.sides`).
        """
        if all(track is None for track in tracks):
            self._belief = 0.0
        for i, sighting in enumerate(row.sightings):
            if sighting is not None:
                toward = (sighting.right_score - 0.5) * sighting.presence
                self._belief += toward if i == 0 else -toward
        self._belief = min(max(self._belief, -_MAX_BELIEF), _MAX_BELIEF)

    def is_due(self, row: TrackedFrame, tracks: Sequence[Track | None]) -> bool:
        """Say whether this frame is to be looked at.

        Hands that are alone and read without doubt are, now and then only.
        """
        self._since_look += 1
        sightings = [s for s in row.sightings if s is not None]
        is_doubtful = any(s.presence < self._settings.doubtful_presence for s in sightings)
        is_missed = any(t is not None and t.n_missed for t in tracks)
        is_hidden = any(
            t is not None and (t.mask is None or t.mask.hidden_share() > _BARELY_HIDDEN)
            for t in tracks
        )
        return (
            self._since_look >= self._settings.look_frames
            or is_doubtful
            or is_missed
            or is_hidden
            or _are_near(sightings)
        )

    def look(
        self,
        pyramid: Pyramid,
        square: CropSquare,
        row: TrackedFrame,
        tracks: Sequence[Track | None],
    ) -> SeenHands:
        """Look at a square of the frame, with hints where the sides are not in doubt.

        A hand that was read well is hinted by its pose, any other by where its last mask should be.
        """
        self._since_look = 0
        return self._segmenter(pyramid, square, self._hints(row, tracks))

    def says_swapped(self, row: TrackedFrame, assigned: Assigned) -> bool:
        """Say whether two tracks read each other's hands: by their masks and by where they were."""
        if assigned.vote * math.copysign(1, self._belief) >= -_SWAP_MARGIN:
            return False
        expected = self._expected
        return all(
            sighting is not None and _slipped(sighting, expected[i], expected[1 - i])
            for i, sighting in enumerate(row.sightings)
        )

    def _hints(self, row: TrackedFrame, tracks: Sequence[Track | None]) -> Hints | None:
        """Give where each hand should be by now, by side; None while the sides are in doubt."""
        if abs(self._belief) < _LEAST_BELIEF:
            return None
        hints: list[HandMask | None] = []
        for i, (track, sighting) in enumerate(zip(tracks, row.sightings, strict=True)):
            own, other = self._expected[i], self._expected[1 - i]
            if (
                sighting is not None
                and sighting.presence >= _SURE
                and not _slipped(sighting, own, other)
            ):
                hints.append(silhouette(sighting.uv_px))
            elif track is not None and own is None:
                # A hand without a mask yet: a hint without it would say that it is not there.
                return None
            else:
                hints.append(own)
        return (hints[0], hints[1]) if self._belief > 0 else (hints[1], hints[0])


def _slipped(sighting: Sighting, own: HandMask | None, other: HandMask | None) -> bool:
    """Say whether a track reads the hand that the other track had."""
    if own is None or other is None:
        return False
    return fit_of(sighting.uv_px, other) > fit_of(sighting.uv_px, own) + 0.2


def _are_near(sightings: list[Sighting]) -> bool:
    """Say whether two hands touch or are about to."""
    if len(sightings) < N_TRACKS:
        return False
    a, b = (points_box(s.uv_px) for s in sightings)
    margin_px = _NEAR * float(np.max([a[2:] - a[:2], b[2:] - b[:2]]))
    gaps_px = np.maximum(a[:2], b[:2]) - np.minimum(a[2:], b[2:])
    return bool((gaps_px < margin_px).all())
