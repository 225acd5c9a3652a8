"""Sums of a metric's samples by clip and bin, their averages over clips, and how sure those are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import check_array
from hdrvideo.errors import SettingsError
from hdrvideo.validate.metrics import F64
from hdrvideo.validate.protocols import Compared, Metric

HIDDEN_BINS: Final = ("0-25 %", "25-50 %", "50-75 %", "75-100 %")
_BIN_EDGES: Final = (0.25, 0.5, 0.75)
# The place of samples that belong to no bin.
_NO_BIN: Final = len(HIDDEN_BINS)
LEVEL: Final = 0.95


@dataclass(frozen=True)
class ClipSums:
    """One clip's part in every average.

    Attributes:
        total: ``(M, 5)`` float64 sum of samples, by metric and bin of :data:`HIDDEN_BINS`; the
            last place holds samples of no bin.
        count: ``(M, 5)`` int64 number of samples.
    """

    total: F64
    count: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_array("total", self.total, (None, _NO_BIN + 1), "float64")
        check_array("count", self.count, self.total.shape, "int64")


@dataclass(frozen=True)
class Average:
    """Averages of M metrics over clips.

    Attributes:
        value: ``(M,)``; NaN without samples.
        low: ``(M,)`` lower end of the interval; NaN with samples of fewer than two clips.
        high: ``(M,)`` upper end.
        n_samples: ``(M,)`` int64.
        n_clips: ``(M,)`` int64 clips with samples.
    """

    value: F64
    low: F64
    high: F64
    n_samples: NDArray[np.int64]
    n_clips: NDArray[np.int64]


def hidden_place(share: F64) -> NDArray[np.int64]:
    """Give each hidden share's place in :data:`HIDDEN_BINS`; one more than the last for NaN."""
    return np.where(np.isnan(share), _NO_BIN, np.digitize(share, _BIN_EDGES))


def clip_sums(compared: Compared, metrics: Sequence[Metric[Compared]]) -> ClipSums:
    """Sum a clip's samples of every metric by bin."""
    total = np.zeros((len(metrics), _NO_BIN + 1))
    count = np.zeros((len(metrics), _NO_BIN + 1), dtype=np.int64)
    for m, metric in enumerate(metrics):
        samples = metric.samples(compared)
        is_sample = np.isfinite(samples.value)
        place = hidden_place(samples.hidden_share[is_sample])
        total[m] = np.bincount(place, samples.value[is_sample], minlength=_NO_BIN + 1)
        count[m] = np.bincount(place, minlength=_NO_BIN + 1)
    return ClipSums(total, count)


def joined(parts: Sequence[ClipSums]) -> ClipSums:
    """Put the metrics of one clip's parts one after the other."""
    return ClipSums(
        np.concatenate([part.total for part in parts]),
        np.concatenate([part.count for part in parts]),
    )


def average(
    clips: Sequence[ClipSums], *, hidden_bin: int | None = None, n_bootstrap: int, seed: int
) -> Average:
    """Average all samples of some clips, with percentile bootstrap intervals.

    Clips are resampled, not frames: frames of one clip show one person, motion and background and
    are no independent samples, so an interval over frames would be far too narrow.

    Args:
        clips: One or more clips' sums.
        hidden_bin: Only samples of this place in :data:`HIDDEN_BINS`; None = all.
        n_bootstrap: Number of resamples; 0 = no intervals.
        seed: Of the resamples.

    Raises:
        SettingsError: ``n_bootstrap`` is negative, or there is no clip.
    """
    if not clips:
        raise SettingsError("an average needs at least one clip, got none")
    bins = slice(None) if hidden_bin is None else slice(hidden_bin, hidden_bin + 1)
    total = np.stack([c.total[:, bins].sum(axis=1) for c in clips])
    count = np.stack([c.count[:, bins].sum(axis=1) for c in clips])
    n_clips = (count > 0).sum(axis=0)
    value = ratio(total.sum(axis=0), count.sum(axis=0))
    low, high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    if n_bootstrap:
        resampled = resampled_ratios(total, count, n_bootstrap=n_bootstrap, seed=seed)
        for m in np.flatnonzero(n_clips >= 2):
            low[m], high[m] = interval(resampled[:, m])
    return Average(value, low, high, count.sum(axis=0), n_clips)


def resampled_ratios(total: F64, count: NDArray[np.int64], *, n_bootstrap: int, seed: int) -> F64:
    """Draw clips with replacement and give the averages of each draw.

    Args:
        total: ``(C, M)`` sums of samples, by clip.
        count: ``(C, M)`` their numbers.
        n_bootstrap: Number of draws.
        seed: Of the draws.

    Returns:
        ``(n_bootstrap, M)``; NaN where no clip with samples was drawn.

    Raises:
        SettingsError: ``n_bootstrap`` is negative.
    """
    if n_bootstrap < 0:
        raise SettingsError(f"n_bootstrap is {n_bootstrap}, expected 0 or more resamples")
    n = len(total)
    rng = np.random.default_rng(seed)
    times_drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    return ratio(times_drawn @ total, times_drawn @ count)


def interval(drawn: F64) -> tuple[float, float]:
    """Give the ends of the interval at :data:`LEVEL` of draws ``(B,)``; NaN without one known."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def ratio(total: F64, count: NDArray[np.int64]) -> F64:
    """Divide sums by counts; NaN where the count is 0."""
    out = np.full(np.shape(total), np.nan)
    return np.asarray(np.divide(total, count, out=out, where=np.asarray(count) > 0))
