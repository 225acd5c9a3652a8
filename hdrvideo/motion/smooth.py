"""Smoothing and bridging, with every constant in seconds.

The zero-phase smoother is a local quadratic regression: for each frame a parabola is fitted to its
neighbours, weighted by distance in *time* and by confidence, and read at the frame's own time
(Savitzky and Golay 1964, carried over to uneven times; Cleveland 1979). It knows variable rates
and gaps, does not lag, and keeps peaks better than an average of the same width. Its window is wide
for a hand at rest and narrow for a fast one, as jitter shows at rest and detail matters in motion;
the One-Euro filter does the same causally, this does it on both sides. The causal
smoother is the One-Euro filter (Casiez et al. 2012) with true time steps and speed in hand sizes.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import Bool

F64 = NDArray[np.float64]

# The window's weights end at three standard deviations, or at this many frames.
REACH_SIGMAS = 3.0
REACH_FRAMES = 48
# Speed is measured over so many frames on either side.
SPEED_FRAMES = 2
_HALF_SPEED = 2.0
# Keeps the fit solvable with one or two neighbours; far below any real curvature.
_RIDGE = 1e-6


def find_gaps(
    seconds: F64, is_there: Bool, *, max_seconds: float, max_frames: int
) -> list[tuple[int, int]]:
    """List the gaps short enough to bridge, as ``(first missing, first there again)``.

    Args:
        seconds: ``(T,)`` times.
        is_there: ``(T,)``, one hand.
        max_seconds: Longest time between the last seen and the next seen frame.
        max_frames: Most missing frames.

    Returns:
        Half-open ranges; gaps that touch either end of the window are not among them.
    """
    there = np.flatnonzero(is_there)
    return [
        (int(a) + 1, int(b))
        for a, b in pairwise(there)
        if 1 < b - a <= max_frames + 1 and seconds[b] - seconds[a] <= max_seconds
    ]


def fill_gap(seconds: F64, values: F64, start: int, stop: int) -> None:
    """Fill ``values[start:stop]`` in place on straight lines in time between the gap's two ends."""
    before, after = start - 1, stop
    share = (seconds[start:stop] - seconds[before]) / (seconds[after] - seconds[before])
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    values[start:stop] = values[before] * (1 - share) + values[after] * share


def label_runs(is_there: Bool) -> NDArray[np.int64]:
    """Number the unbroken runs of ``(T,)``; -1 where nothing is there."""
    starts = is_there & ~np.concatenate([[False], is_there[:-1]])
    labels = np.cumsum(starts) - 1
    return np.where(is_there, labels, -1).astype(np.int64)


def smooth_zero_phase(
    seconds: F64, values: F64, weights: F64, runs: NDArray[np.int64], *, sigma_seconds: F64
) -> F64:
    """Smooth without lag; nothing is mixed across a break of the run.

    Args:
        seconds: ``(T,)`` times, increasing.
        values: ``(T, D)``; rows outside runs may be NaN and stay NaN.
        weights: ``(T,)`` trust in each row, above 0 inside runs.
        runs: ``(T,)`` from :func:`label_runs`.
        sigma_seconds: ``(T,)`` standard deviation of each row's window, above 0; see
            :func:`window_widths`.

    Returns:
        ``(T, D)`` smoothed values.
    """
    is_there = runs >= 0
    clean = np.where(is_there[:, None], values, 0.0)
    t, d = clean.shape
    moments, targets = np.zeros((t, 5)), np.zeros((t, 3, d))
    for offset in range(-REACH_FRAMES, REACH_FRAMES + 1):
        own = slice(max(-offset, 0), min(t - offset, t))
        other = slice(max(offset, 0), min(t + offset, t))
        if own.start >= own.stop:
            continue
        tau = (seconds[other] - seconds[own]) / sigma_seconds[own]
        in_reach = (np.abs(tau) <= REACH_SIGMAS) & (runs[own] == runs[other]) & is_there[own]
        if not in_reach.any():
            continue
        weight = np.where(in_reach, weights[other] * np.exp(-0.5 * tau**2), 0.0)
        tau = np.where(in_reach, tau, 0.0)
        for power in range(5):
            moments[own, power] += weight * tau**power
        for power in range(3):
            targets[own, power] += (weight * tau**power)[:, None] * clean[other]
    smoothed = _fit_at_zero(moments, targets, is_there)
    return np.asarray(np.where(is_there[:, None], smoothed, np.nan))


def window_widths(
    seconds: F64, uv_px: F64, runs: NDArray[np.int64], *, still_seconds: float
) -> F64:
    """Give each row's window width: ``still_seconds`` at rest, narrower the faster the hand.

    Args:
        seconds: ``(T,)`` times, increasing.
        uv_px: ``(T, 21, 2)`` joints of one hand; rows outside runs may be NaN.
        runs: ``(T,)`` from :func:`label_runs`.
        still_seconds: Width for a hand at rest, above 0.

    Returns:
        ``(T,)`` seconds. Speed is the joints' mean over two frames on either side, in hand sizes a
        second; at ``_HALF_SPEED`` the window is half as wide.
    """
    t = len(seconds)
    rows = np.arange(t)
    ends = []
    for step in (-1, 1):
        end = rows
        for reach in range(1, SPEED_FRAMES + 1):
            there = np.clip(rows + step * reach, 0, max(t - 1, 0))
            end = np.where(runs[there] == runs, there, end)
        ends.append(end)
    first, last = ends
    moved_px = np.linalg.norm(uv_px[last] - uv_px[first], axis=-1).mean(axis=-1)
    size_px = np.maximum(np.ptp(uv_px, axis=1).max(axis=-1), 1.0)
    passed = np.maximum(seconds[last] - seconds[first], 1e-9)
    speed = np.nan_to_num(moved_px / size_px / passed)
    return np.asarray(still_seconds / (1 + speed / _HALF_SPEED))


def _fit_at_zero(moments: F64, targets: F64, is_there: Bool) -> F64:
    """Solve each row's weighted parabola and give its value at the row's own time."""
    powers = np.add.outer(np.arange(3), np.arange(3))
    normal: NDArray[Any] = moments[:, powers]
    normal = normal + _RIDGE * moments[:, :1, None] * np.diag([0.0, 1.0, 1.0])
    normal[~is_there] = np.eye(3)
    fit: F64 = np.linalg.solve(normal, targets)[:, 0]
    return fit


class CausalSmoother:
    """One-Euro filter over one hand's values; forgets everything at a break."""

    def __init__(self, *, still_hz: float = 2.0, hz_per_speed: float = 1.5) -> None:
        """Set up.

        Args:
            still_hz: Cut-off frequency for a hand at rest.
            hz_per_speed: How much the cut-off grows per unit of speed, in sizes a second.
        """
        self._still_hz = still_hz
        self._hz_per_speed = hz_per_speed
        self._last: NDArray[Any] | None = None
        self._slope: NDArray[Any] | None = None
        self._seconds = 0.0

    def step(
        self, seconds: float, values: NDArray[Any] | None, *, size: NDArray[Any] | float
    ) -> NDArray[Any] | None:
        """Smooth the next frame.

        Args:
            seconds: Its time, later than the last one's.
            values: ``(D,)``, or None where the hand is missing.
            size: The unit in which speed is measured, in the values' own unit; one or ``(D,)``.

        Returns:
            The smoothed values, or None.
        """
        if values is None:
            self._last = None
            return None
        if self._last is None or self._slope is None:
            self._last, self._slope, self._seconds = values, np.zeros_like(values), seconds
            return values
        dt = seconds - self._seconds
        slope_share = _low_pass_share(1.0, dt)
        self._slope = self._slope + slope_share * ((values - self._last) / dt - self._slope)
        cut_off = self._still_hz + self._hz_per_speed * np.abs(self._slope) / size
        share = _low_pass_share(cut_off, dt)
        self._last = self._last + share * (values - self._last)
        self._seconds = seconds
        return self._last


def _low_pass_share(cut_off_hz: Any, dt: float) -> Any:
    """Share of the new value in a first-order low pass."""
    rate = 2 * math.pi * cut_off_hz * dt
    return rate / (rate + 1)
