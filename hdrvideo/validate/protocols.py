"""Which samples a metric averages and what a missing hand costs.

A metric's name says its protocol:

* ``found``: over true hands that a prediction was matched to, whatever its side (rules in
  :mod:`hdrvideo.validate.match`). A tracker that drops the hard hands looks good here.
* ``missing_wrong``: over all true hands that count; one without a prediction scores 0.
* ``wrist_20j``: each hand's wrist at the origin, mean over the other 20 joints. ``wrist_21j``: the
  wrist is in the mean as InterHand2.6M has it, zero by construction, so 20/21 of the former.
* ``bone_scaled``: as well, scaled to the true wrist-to-middle-knuckle bone, as HDR's released
  alignment does.
* ``pa``: best rotation, scale and translation (no reflection).
* ``runs3``, ``runs4``: runs of so many frames in a row in which the same true hand was found.

A sample is one hand in one frame, except for ghosts (a frame), MRRPE (a frame in which both true
hands were found) and runs. Samples are pooled over clips: a value is the sum of all samples over
their number (InterHand2.6M means over samples joint by joint and then over joints: the same here,
where every true hand has all its joints). Each belongs to a bin by the hidden share of its true
hand (of the more hidden one for MRRPE, the mean over the run for runs); ghosts belong to none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hdrvideo.alignment import bone_scaled, procrustes_aligned, wrist_aligned
from hdrvideo.datatypes import Bool
from hdrvideo.validate.match import HandMatch, match_hands, palm_length_px
from hdrvideo.validate.metrics import (
    F64,
    acceleration_error,
    area_under_pck,
    jitter,
    joint_distance,
    run_mean,
    share_within,
    wrist_aligned_distance,
    wrist_to_wrist_error,
)
from hdrvideo.validate.truth import ClipTruth


@dataclass(frozen=True)
class Comparison:
    """A clip's truth and a prediction brought to its hands.

    Attributes:
        truth: The clip's truth.
        match: Which prediction is which true hand.
        uv_px: ``(T, 2, 21, 2)`` predicted, by true side; NaN where not found.
        xyz_mm: ``(T, 2, 21, 3)`` predicted in the camera, by true side; NaN where not found.
        own_xyz_mm: ``(T, 2, 21, 3)`` by the side that the prediction itself says.
    """

    truth: ClipTruth
    match: HandMatch
    uv_px: F64
    xyz_mm: F64
    own_xyz_mm: F64

    @cached_property
    def distance_px(self) -> F64:
        """Distance of each joint in the picture, ``(T, 2, 21)``."""
        return joint_distance(self.uv_px, self.truth.uv_px)

    @cached_property
    def distance_palms(self) -> F64:
        """The same in palm lengths."""
        return self.distance_px / palm_length_px(self.truth.xyz_cam_mm, self.truth.k_px)[..., None]

    @cached_property
    def distance_wrist_mm(self) -> F64:
        """Distance of each joint with the wrists together, ``(T, 2, 21)``."""
        return wrist_aligned_distance(self.xyz_mm, self.truth.xyz_cam_mm)

    @cached_property
    def distance_pa_mm(self) -> F64:
        """Distance of each joint after Procrustes, ``(T, 2, 21)``."""
        true_mm = self.truth.xyz_cam_mm
        return joint_distance(procrustes_aligned(self.xyz_mm, true_mm), true_mm)


def compare(truth: ClipTruth, uv_px: NDArray[Any], xyz_cam_mm: NDArray[Any]) -> Comparison:
    """Match a prediction to the truth.

    Args:
        truth: The clip's truth.
        uv_px: ``(T, 2, 21, 2)`` predicted by side, NaN where there is none.
        xyz_cam_mm: ``(T, 2, 21, 3)`` likewise, camera axes.

    Raises:
        ShapeError: The arrays do not have these shapes.
    """
    palm_px = palm_length_px(truth.xyz_cam_mm, truth.k_px)
    match = match_hands(uv_px, truth.uv_px, truth.present, palm_px, truth.size_px)
    return Comparison(
        truth=truth,
        match=match,
        uv_px=match.take(uv_px),
        xyz_mm=match.take(xyz_cam_mm),
        own_xyz_mm=np.asarray(xyz_cam_mm, dtype=np.float64),
    )


@dataclass(frozen=True)
class Samples:
    """Values of one metric in one clip, NaN = no sample, and the bin that each belongs to.

    Attributes:
        value: ``(N,)``.
        hidden_share: ``(N,)``; NaN = of no bin.
    """

    value: F64
    hidden_share: F64


# What a clip's samples are taken from, such as a :class:`Comparison`.
Compared = TypeVar("Compared")


@dataclass(frozen=True)
class Metric(Generic[Compared]):
    """A number with its protocol.

    Attributes:
        name: Says the protocol and ends with the unit.
        unit: Of the value.
        is_better: ``higher``, ``lower``, or ``none`` for a figure to compare with.
        text: What it says, in a line.
        samples: Gives a clip's samples from what was compared.
    """

    name: str
    unit: str
    is_better: str
    text: str
    samples: Callable[[Compared], Samples]


def _hands(c: Comparison, value: NDArray[Any]) -> Samples:
    share = c.truth.hidden_share.astype(np.float64)
    return Samples(np.asarray(value, dtype=np.float64).ravel(), share.ravel())


def _of(value: NDArray[Any], where: Bool) -> F64:
    return np.where(where, value, np.nan)


def _missing_wrong(c: Comparison, score: F64) -> Samples:
    return _hands(c, _of(np.where(c.match.found, score, 0.0), c.match.counted))


def _runs(c: Comparison, value: F64, length: int) -> Samples:
    share = run_mean(c.truth.hidden_share, length)
    return Samples(value.ravel(), share.ravel())


def _found(c: Comparison) -> Samples:
    return _hands(c, _of(100.0 * c.match.found, c.match.counted))


def _swaps(c: Comparison) -> Samples:
    return _hands(c, _of(100.0 * c.match.swapped, c.match.found))


def _ghosts(c: Comparison) -> Samples:
    value = 100.0 * c.match.ghost.sum(axis=1)
    return Samples(value, np.full(len(value), np.nan))


def _mrrpe(c: Comparison) -> Samples:
    error = wrist_to_wrist_error(c.own_xyz_mm, c.truth.xyz_cam_mm)
    value = _of(error, c.match.found[:, 0] & c.match.found[:, 1])
    return Samples(value, c.truth.hidden_share.astype(np.float64).max(axis=1))


def _acceleration(c: Comparison, unit: float) -> Samples:
    true = wrist_aligned(c.truth.xyz_cam_mm)[..., 1:, :]
    return _runs(c, unit * acceleration_error(wrist_aligned(c.xyz_mm)[..., 1:, :], true), 3)


def _jitter_mm(c: Comparison, *, of_truth: bool) -> Samples:
    joints = np.where(c.match.found[..., None, None], c.truth.xyz_cam_mm, np.nan)
    joints = wrist_aligned(joints if of_truth else c.xyz_mm)[..., 1:, :]
    return _runs(c, jitter(joints) / 1000 / c.truth.frame_seconds**3, 4)


def _jitter_px(c: Comparison, *, of_truth: bool) -> Samples:
    joints = np.where(c.match.found[..., None, None], c.truth.uv_px, np.nan)
    return _runs(c, jitter(joints if of_truth else c.uv_px), 4)


def _bone_scaled(c: Comparison) -> Samples:
    scaled = bone_scaled(c.xyz_mm, c.truth.xyz_cam_mm)
    distance = wrist_aligned_distance(scaled, c.truth.xyz_cam_mm)
    return _hands(c, distance[..., 1:].mean(axis=-1))


METRICS: Final[tuple[Metric[Comparison], ...]] = (
    Metric(
        *("hands_found_iou50_pct", "%", "higher"),
        "true hands with a matched prediction (boxes overlap by IoU 0.5), whatever its side",
        _found,
    ),
    Metric(
        *("side_swaps_of_found_pct", "%", "lower"),
        "found hands whose prediction has the other side",
        _swaps,
    ),
    Metric(
        *("ghost_hands_per_100_frames", "hands", "lower"),
        "predictions that match no true hand",
        _ghosts,
    ),
    Metric(
        *("epe_found_px", "px", "lower"),
        "mean joint distance in the picture",
        lambda c: _hands(c, c.distance_px.mean(axis=-1)),
    ),
    Metric(
        *("epe_found_palm_pct", "% of palm", "lower"),
        "the same in percent of the palm's length at its depth",
        lambda c: _hands(c, 100 * c.distance_palms.mean(axis=-1)),
    ),
    Metric(
        *("pck_0.1palm_missing_wrong_pct", "%", "higher"),
        "joints within 0.1 palm lengths; all joints of a missing hand are wrong",
        lambda c: _missing_wrong(c, 100 * share_within(c.distance_palms, 0.1)),
    ),
    Metric(
        *("pck_0.2palm_missing_wrong_pct", "%", "higher"),
        "joints within 0.2 palm lengths; all joints of a missing hand are wrong",
        lambda c: _missing_wrong(c, 100 * share_within(c.distance_palms, 0.2)),
    ),
    Metric(
        *("pck_0.2palm_found_pct", "%", "higher"),
        "joints within 0.2 palm lengths",
        lambda c: _hands(c, 100 * share_within(c.distance_palms, 0.2)),
    ),
    Metric(
        *("auc_0_0.5palm_missing_wrong", "0-1", "higher"),
        "area under the PCK curve from 0 to 0.5 palm lengths; a missing hand scores 0",
        lambda c: _missing_wrong(c, area_under_pck(c.distance_palms, 0.0, 0.5)),
    ),
    Metric(
        *("auc_0_0.5palm_found", "0-1", "higher"),
        "area under the PCK curve from 0 to 0.5 palm lengths",
        lambda c: _hands(c, area_under_pck(c.distance_palms, 0.0, 0.5)),
    ),
    Metric(
        *("mpjpe_wrist_20j_found_mm", "mm", "lower"),
        "mean joint distance with the wrists together, wrist not in the mean",
        lambda c: _hands(c, c.distance_wrist_mm[..., 1:].mean(axis=-1)),
    ),
    Metric(
        *("mpjpe_wrist_21j_found_mm", "mm", "lower"),
        "InterHand2.6M's: the same with the wrist, zero by construction, in the mean",
        lambda c: _hands(c, c.distance_wrist_mm.mean(axis=-1)),
    ),
    Metric(
        *("mpjpe_wrist_bone_scaled_20j_found_mm", "mm", "lower"),
        "HDR's alignment: the hand also scaled to the true wrist-to-middle-knuckle bone",
        _bone_scaled,
    ),
    Metric(
        *("pa_mpjpe_21j_found_mm", "mm", "lower"),
        "mean joint distance after Procrustes with scale",
        lambda c: _hands(c, c.distance_pa_mm.mean(axis=-1)),
    ),
    Metric(
        *("auc_3d_wrist_20j_20_50mm_missing_wrong", "0-1", "higher"),
        "area under the 3D PCK curve from 20 to 50 mm, wrists together; a missing hand scores 0",
        lambda c: _missing_wrong(c, area_under_pck(c.distance_wrist_mm[..., 1:], 20, 50)),
    ),
    Metric(
        *("auc_3d_wrist_20j_20_50mm_found", "0-1", "higher"),
        "area under the 3D PCK curve from 20 to 50 mm, wrists together",
        lambda c: _hands(c, area_under_pck(c.distance_wrist_mm[..., 1:], 20, 50)),
    ),
    Metric(
        *("auc_3d_pa_21j_0_50mm_found", "0-1", "higher"),
        "HO-3D's and DexYCB's: area under the 3D PCK curve from 0 to 50 mm after Procrustes",
        lambda c: _hands(c, area_under_pck(c.distance_pa_mm, 0, 50)),
    ),
    Metric(
        *("mrrpe_both_found_mm", "mm", "lower"),
        "InterHand2.6M's: error of the way from the right to the left wrist, by the track's sides",
        _mrrpe,
    ),
    Metric(
        *("accel_error_wrist_20j_runs3_mm_per_frame2", "mm/frame²", "lower"),
        "distance of predicted and true acceleration, wrists together",
        lambda c: _acceleration(c, 1.0),
    ),
    Metric(
        *("accel_error_wrist_20j_runs3_m_per_s2", "m/s²", "lower"),
        "the same by the clip's clock",
        lambda c: _acceleration(c, 1e-3 / c.truth.frame_seconds**2),
    ),
    Metric(
        *("jitter_wrist_20j_runs4_m_per_s3", "m/s³", "lower"),
        "jerk of the prediction itself, wrist at the origin; compare with the truth's",
        lambda c: _jitter_mm(c, of_truth=False),
    ),
    Metric(
        *("jitter_of_truth_wrist_20j_runs4_m_per_s3", "m/s³", "none"),
        "jerk of the truth in the same runs",
        lambda c: _jitter_mm(c, of_truth=True),
    ),
    Metric(
        *("jitter_runs4_px_per_frame3", "px/frame³", "lower"),
        "jerk of the prediction itself in the picture; compare with the truth's",
        lambda c: _jitter_px(c, of_truth=False),
    ),
    Metric(
        *("jitter_of_truth_runs4_px_per_frame3", "px/frame³", "none"),
        "jerk of the truth in the same runs",
        lambda c: _jitter_px(c, of_truth=True),
    ),
)
