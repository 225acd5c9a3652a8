"""What the segmenter is told, and what is made of its answer: which hand is which through contact.

Each look at the hands is told where each hand was a moment ago, by side. So when two hands touch,
cross or hide one another, their masks go on with the side they had; and where two tracks have
slipped onto each other's hands, the masks say so.
"""

import math
from collections.abc import Sequence
from typing import Final

from hdrvideo.crop.masked import Assigned, fit_of, silhouette
from hdrvideo.crop.segment import Hints, SeenHands, Segmenter
from hdrvideo.crop.sighting import N_TRACKS, Sighting, Track, TrackedFrame
from hdrvideo.crop.take import Pyramid
from hdrvideo.geometry import CropSquare
from hdrvideo.handmask import HandMask

# Hints need so much certainty of the sides, about three clear looks; more than so much is not kept.
_LEAST_BELIEF: Final = 1.5
_MAX_BELIEF: Final = 10.0
# Two tracks have swapped hands if their masks fit so much better the other way round.
_SWAP_MARGIN: Final = 0.5
# Presence from which a pose is trusted to say where its hand is.
_SURE: Final = 0.7


class MaskGuide:
    """Looks with hints, and remembers which track is the right hand as far as is known."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
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
