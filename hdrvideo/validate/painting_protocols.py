"""Which samples the scores of painted bare hands average; rules of names as in ``protocols``.

A sample is one present hand in one frame, in the truth's square of 256 px. Regions: ``hole``, the
hand's own hidden part; ``removed``, the background where the other hand is seen. ``covered``: over
the region's pixels that the prediction has; what it has not is counted by ``not_covered``, all of
the region for a hand without a picture. Windows and pyramids that reach beyond what is covered
find the truth there. ``runs2``: two frames in a row, pixels of the first one's hole that are
covered and to be seen in both. Regions of fewer than 16 px are no samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, Bool
from hdrvideo.handmodel import HandModel
from hdrvideo.validate.bare import BarePictures
from hdrvideo.validate.handflow import hand_motion
from hdrvideo.validate.masks import hole_region, removed_region
from hdrvideo.validate.metrics import F64, run_mean
from hdrvideo.validate.painting import (
    F32,
    MIN_REGION_PX,
    flicker_l1,
    hole_l1,
    hole_laplacian_distance,
    hole_psnr_db,
    hole_ssim,
)
from hdrvideo.validate.perceptual import SqueezeNetDistance
from hdrvideo.validate.protocols import Metric, Samples
from hdrvideo.validate.squares import SQUARE_PX, resample_square, sample_places
from hdrvideo.validate.truth import ClipTruth

_REGIONS: Final = {
    "hole": "the hand's hidden part",
    "removed": "the background where the other hand is seen",
}
_DISTANCES: Final[dict[str, Callable[[NDArray[Any], NDArray[Any], Bool], float]]] = {
    "l1": hole_l1,
    "psnr": hole_psnr_db,
    "ssim": hole_ssim,
    "laplacian": hole_laplacian_distance,
}
_NET: Final = "squeezenet"


@dataclass(frozen=True)
class PaintingComparison:
    """Scores of a clip's painted hands.

    Attributes:
        values: By region and score, such as ``hole_l1``, ``(T, 2)`` by side; NaN = no sample.
            ``flicker`` and ``flicker_of_truth`` lie at the first of the two frames.
        hidden_share: ``(T, 2)`` of the true hands.
    """

    values: dict[str, F64]
    hidden_share: F64


@dataclass(frozen=True)
class _Frame:
    """Both hands of a frame in the truth's square: predicted, true, covered and the regions."""

    predicted: F32
    true: F32
    covered: Bool
    regions: dict[str, Bool]


def compare_painting(
    truth: ClipTruth,
    painted: BarePictures,
    model: HandModel,
    distance: SqueezeNetDistance | None = None,
) -> PaintingComparison:
    """Score a clip's painted hands, frame by frame.

    Args:
        truth: The clip's truth.
        painted: Predicted bare hands of as many frames.
        model: The hand that the clip was made with; for the true motion.
        distance: The perceptual distance; None = it is left out.

    Raises:
        DataError: The truth's masks or pictures are missing or damaged.
        TrackError: A predicted picture is damaged.
    """
    names = [f"{region}_{name}" for region in _REGIONS for name in (*_DISTANCES, "not_covered")]
    names += ["hole_flicker", "hole_flicker_of_truth"]
    names += [f"{region}_{_NET}" for region in _REGIONS if distance is not None]
    values = {name: np.full(truth.present.shape, np.nan) for name in names}
    before: _Frame | None = None
    for frame in range(len(truth)):
        now = _frame(truth, painted, frame)
        for name, score in _frame_scores(now).items():
            values[name][frame] = score
        if distance is not None:
            for name, score in _net_scores(now, distance).items():
                values[name][frame] = score
        if before is not None:
            motion = partial(hand_motion, truth, model, frame - 1)
            flickers = np.array([_flickers(before, now, s, motion) for s in range(N_SIDES)])
            values["hole_flicker"][frame - 1] = flickers[:, 0]
            values["hole_flicker_of_truth"][frame - 1] = flickers[:, 1]
        before = now
    return PaintingComparison(values, truth.hidden_share.astype(np.float64))


def _frame(truth: ClipTruth, painted: BarePictures, frame: int) -> _Frame:
    square = truth.square(frame)
    visible, amodal = truth.square_masks(frame)
    present = truth.present[frame][:, None, None]
    regions = {
        "hole": hole_region(visible, amodal) & present,
        "removed": removed_region(visible, amodal) & present,
    }
    size = (N_SIDES, 3, SQUARE_PX, SQUARE_PX)
    predicted, true = np.zeros(size, np.float32), np.zeros(size, np.float32)
    covered = np.zeros((N_SIDES, SQUARE_PX, SQUARE_PX), dtype=bool)
    for side in np.flatnonzero(truth.present[frame]).tolist():
        true[side] = _floats(truth.bare_u8(frame, side))
        predicted[side] = true[side]
        if painted.exists[frame, side]:
            picture = painted.picture_u8(frame, side)
            seen, covered[side] = resample_square(picture, painted.square[frame], square)
            predicted[side] = np.where(covered[side], _floats(seen), true[side])
    return _Frame(predicted, true, covered, regions)


def _floats(rgb_u8: NDArray[np.uint8]) -> F32:
    return np.asarray(rgb_u8.transpose(2, 0, 1) / np.float32(255), dtype=np.float32)


def _frame_scores(frame: _Frame) -> dict[str, F64]:
    scores: dict[str, F64] = {}
    for region, wanted in frame.regions.items():
        n_wanted = wanted.sum(axis=(1, 2))
        scored = wanted & frame.covered
        missing = 1 - scored.sum(axis=(1, 2)) / np.maximum(n_wanted, 1)
        scores[f"{region}_not_covered"] = np.where(n_wanted >= MIN_REGION_PX, missing, np.nan)
        for name, distance in _DISTANCES.items():
            pairs = zip(frame.predicted, frame.true, scored, strict=True)
            scores[f"{region}_{name}"] = np.array([distance(*pair) for pair in pairs])
    return scores


def _net_scores(frame: _Frame, distance: SqueezeNetDistance) -> dict[str, F64]:
    # Regions as an axis: the net looks once at each picture.
    scored = np.stack([wanted & frame.covered for wanted in frame.regions.values()], axis=1)
    is_scored = scored.sum(axis=(2, 3)) >= MIN_REGION_PX
    scores = np.full(is_scored.shape, np.nan)
    sides = np.flatnonzero(is_scored.any(axis=1))
    if len(sides):
        pictures = (torch.from_numpy(a[sides]) for a in (frame.predicted, frame.true, scored))
        scores[sides] = distance(*pictures).cpu().numpy()
    scores = np.where(is_scored, scores, np.nan)
    return {f"{region}_{_NET}": scores[:, k] for k, region in enumerate(frame.regions)}


def _flickers(
    now: _Frame, after: _Frame, side: int, motion: Callable[[int], F32]
) -> tuple[float, float]:
    """Give the flicker of the prediction and of the truth, over the same pixels."""
    region = now.regions["hole"][side] & now.covered[side]
    if region.sum() < MIN_REGION_PX or not after.covered[side].any():
        return float("nan"), float("nan")
    to_next_px = motion(side)
    is_covered = sample_places(after.covered[side], to_next_px)
    to_next_px = np.where(is_covered[..., None], to_next_px, np.nan)
    predicted = flicker_l1(now.predicted[side], after.predicted[side], to_next_px, region)
    return predicted, flicker_l1(now.true[side], after.true[side], to_next_px, region)


def _hands(name: str, scale: float, c: PaintingComparison) -> Samples:
    return Samples(scale * c.values[name].ravel(), c.hidden_share.ravel())


def _runs(name: str, c: PaintingComparison) -> Samples:
    return Samples(c.values[name][:-1].ravel(), run_mean(c.hidden_share, 2).ravel())


def _metric(
    region: str, name: str, ending: str, unit: str, is_better: str, text: str
) -> Metric[PaintingComparison]:
    scale = 100.0 if unit == "%" else 1.0
    samples = partial(_hands, f"{region}_{name}", scale)
    return Metric(f"bare_{region}_{name}{ending}", unit, is_better, text, samples)


def _metrics_of(region: str, place: str) -> tuple[Metric[PaintingComparison], ...]:
    return (
        _metric(
            *(region, "l1", "_covered", "0-1", "lower"),
            f"mean absolute colour difference in {place}",
        ),
        _metric(
            *(region, "psnr", "_covered_db", "dB", "higher"),
            f"peak signal-to-noise ratio in {place}, at most 60, mean over hands",
        ),
        _metric(
            *(region, "ssim", "_covered", "0-1", "higher"),
            f"structural similarity of brightness in {place}, window of 11 px",
        ),
        _metric(
            *(region, "laplacian", "_covered", "distance", "lower"),
            f"difference of the Laplacian pyramids of 4 levels in {place}",
        ),
        _metric(
            *(region, "not_covered", "_pct", "%", "lower"),
            f"share of {place} that the prediction has no pixels of",
        ),
    )


PAINTING_METRICS: Final[tuple[Metric[PaintingComparison], ...]] = (
    *_metrics_of("hole", _REGIONS["hole"]),
    *_metrics_of("removed", _REGIONS["removed"]),
    Metric(
        *("bare_hole_flicker_l1_runs2", "0-1", "lower"),
        "colour difference of the hand's hidden part from frame to frame along its true motion; "
        "compare with the truth's",
        partial(_runs, "hole_flicker"),
    ),
    Metric(
        *("bare_hole_flicker_l1_of_truth_runs2", "0-1", "none"),
        "the same of the true bare pictures, over the same pixels",
        partial(_runs, "hole_flicker_of_truth"),
    ),
)
# With the net's weights only.
PERCEPTUAL_METRICS: Final[tuple[Metric[PaintingComparison], ...]] = tuple(
    _metric(
        *(region, _NET, "_covered", "distance", "lower"),
        f"distance of SqueezeNet 1.0's features in {place}; not LPIPS",
    )
    for region, place in _REGIONS.items()
)
