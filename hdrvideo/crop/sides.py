"""Say which track is the right hand: over many frames at once, never frame by frame.

Track 0 and track 1 each follow one hand; a single hidden state says "track 0 is the right hand" or
"track 0 is the left hand" (track 1 is then the other one, so two rights cannot happen). Each frame
votes with the side scores of its sightings, and a change of state costs as much as a good while of
clear votes. The best path (Viterbi) over a few seconds is taken. So a side changes only after
several frames of evidence, and a swap of the two tracks in a crossing, which shows up as the votes
of both turning round, is undone from the very frame in which it happened.
"""

import math
from dataclasses import dataclass

import numpy as np

from hdrvideo.config import SideSettings
from hdrvideo.crop.sighting import N_TRACKS, Sighting, TrackedFrame
from hdrvideo.datatypes import Frame
from hdrvideo.track import POSED, TOO_SHORT


@dataclass(frozen=True)
class SidedFrame:
    """One frame's hands by side.

    Attributes:
        frame: The source frame, without its picture.
        status: How the frame was decoded: ``ok``, ``damaged`` or ``lost``.
        hands: Right and left; None where there is no hand.
        reasons: Right and left, codes of ``track.REASONS``.
    """

    frame: Frame
    status: str
    hands: tuple[Sighting | None, Sighting | None]
    reasons: tuple[int, int]


class SideDecider:
    """Takes tracked frames in order and gives them back sided, some seconds later."""

    def __init__(self, settings: SideSettings, *, mirror: bool) -> None:
        """Set up.

        Args:
            settings: Costs and delay.
            mirror: The video is mirrored (selfie): what looks like a right hand is the left one.
        """
        self._settings = settings
        self._flip = -1.0 if mirror else 1.0
        self._rows: list[TrackedFrame] = []
        self._seen_at: list[float | None] = [None] * N_TRACKS
        self._births: list[int | None] = [None] * N_TRACKS
        self._state_costs = (0.0, 0.0)

    def push(self, row: TrackedFrame) -> list[SidedFrame]:
        """Take the next row; give back the rows that are old enough to be decided, if any."""
        self._rows.append(row)
        delay = self._settings.delay_frames
        if len(self._rows) < delay + self._settings.step_frames:
            return []
        return self._decide(len(self._rows) - delay)

    def finish(self) -> list[SidedFrame]:
        """Give back all rows that are left."""
        return self._decide(len(self._rows))

    def _decide(self, n_out: int) -> list[SidedFrame]:
        """Decide over all rows that are held, give back the first ``n_out`` and let them go."""
        if not self._rows:
            return []
        self._drop_short()
        votes = np.array([self._vote(row) for row in self._rows])
        prices = self._change_prices(n_out)
        states, self._state_costs = _best_path(votes, prices, self._state_costs, n_out)
        out = [
            _by_side(row, int(state))
            for row, state in zip(self._rows[:n_out], states[:n_out], strict=True)
        ]
        del self._rows[:n_out]
        return out

    def _vote(self, row: TrackedFrame) -> float:
        """Give the log odds of "track 0 is right" from one frame."""
        vote = 0.0
        for i, sighting in enumerate(row.sightings):
            if sighting is not None:
                p = min(max(sighting.right_score, 0.02), 0.98)
                odds = math.log(p / (1 - p)) * sighting.presence
                vote += odds if i == 0 else -odds
        masks = row.mask_vote * self._settings.mask_weight
        return self._flip * (vote * self._settings.vote_weight + masks)

    def _change_prices(self, n_out: int) -> list[float]:
        """Give the price of a change of state before each row.

        A change is dear while a hand goes on from frame to frame, dearer yet while two hands go on
        well apart (tracks can only swap where hands meet), cheaper the longer no hand was seen, and
        free where only new hands are: their sides are anyone's guess.
        """
        prices = []
        for n, row in enumerate(self._rows):
            now = row.frame.pts_seconds
            price = 0.0
            for i, sighting in enumerate(row.sightings):
                if sighting is None:
                    continue
                seen_at = self._seen_at[i]
                if seen_at is not None and self._births[i] == sighting.birth:
                    price = self._settings.change_cost
                elif seen_at is not None:
                    fade = max(0.0, 1 - (now - seen_at) / self._settings.forget_seconds)
                    price = max(price, fade * self._settings.change_cost)
                self._seen_at[i], self._births[i] = now, sighting.birth
            if _are_apart(row):
                price *= self._settings.apart_factor
            if row.sightings == [None] * N_TRACKS:
                price = math.inf
            prices.append(price)
            if n == n_out - 1:
                resume = (list(self._seen_at), list(self._births))
        self._seen_at, self._births = resume
        return prices

    def _drop_short(self) -> None:
        """Take out tracks that were seen in very few frames: ghosts come and go.

        Tracks that touch either end of the rows held, or were told already, may be longer than they
        look; they stay.
        """
        for i in range(N_TRACKS):
            seen: dict[int, list[TrackedFrame]] = {}
            for row in self._rows:
                sighting = row.sightings[i]
                if sighting is not None:
                    seen.setdefault(sighting.birth, []).append(row)
            for birth, rows in seen.items():
                touches_end = rows[0] is self._rows[0] or rows[-1] is self._rows[-1]
                may_be_longer = touches_end or birth == self._births[i]
                if len(rows) < self._settings.min_track_frames and not may_be_longer:
                    for row in rows:
                        row.sightings[i] = None
                        row.reasons[i] = TOO_SHORT


def _are_apart(row: TrackedFrame) -> bool:
    """Say whether two hands are seen and are farther apart than their size."""
    first, second = row.sightings
    if first is None or second is None:
        return False
    distance_px = np.linalg.norm(first.uv_px.mean(axis=0) - second.uv_px.mean(axis=0))
    return bool(distance_px > 0.8 * max(first.size_px, second.size_px))


def _best_path(
    votes: np.ndarray, prices: list[float], start: tuple[float, float], n_out: int
) -> tuple[np.ndarray, tuple[float, float]]:
    """Find the cheapest path of states; 1 = track 0 is right.

    Args:
        votes: ``(N,)`` log odds of state 1.
        prices: ``N`` prices of a change before each row.
        start: Cost of being in state 0 and 1 before the first row.
        n_out: Rows after which the path is cut.

    Returns:
        States ``(N,)``, and the costs to go on from after row ``n_out - 1``: its state was given
        out, so the path must start there.
    """
    cost = start
    back = np.zeros((len(votes), 2), dtype=np.int8)
    for n, (vote, price) in enumerate(zip(votes, prices, strict=True)):
        comes_from = tuple(s if cost[s] <= cost[1 - s] + price else 1 - s for s in (0, 1))
        paid = [cost[f] + (price if f != s else 0.0) for s, f in enumerate(comes_from)]
        # A state pays for the votes against it.
        cost = (paid[0] + max(0.0, vote), paid[1] + max(0.0, -vote))
        back[n] = comes_from
    states = np.zeros(len(votes), dtype=np.int8)
    states[-1] = int(cost[1] <= cost[0])
    for n in range(len(votes) - 1, 0, -1):
        states[n - 1] = back[n, states[n]]
    given = states[n_out - 1]
    after = (0.0, math.inf) if given == 0 else (math.inf, 0.0)
    return states, after


def _by_side(row: TrackedFrame, track0_is_right: int) -> SidedFrame:
    right, left = (0, 1) if track0_is_right else (1, 0)
    reasons = [
        POSED if s is not None else r for s, r in zip(row.sightings, row.reasons, strict=True)
    ]
    return SidedFrame(
        frame=row.frame,
        status=row.status,
        hands=(row.sightings[right], row.sightings[left]),
        reasons=(reasons[right], reasons[left]),
    )
