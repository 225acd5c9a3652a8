"""Samples of every metric: by hand, for the truth itself, for nothing, and with more noise."""

from dataclasses import replace

import numpy as np
import pytest
from validate_truths import make_truth, track_of, without

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.validate.averages import HIDDEN_BINS, ClipSums, average, clip_sums
from hdrvideo.validate.protocols import METRICS, Comparison, compare

NAMES = [m.name for m in METRICS]
BEST = {
    "hands_found_iou50_pct": 100,
    **{name: 100 for name in NAMES if name.startswith("pck")},
    **{name: 1 for name in NAMES if name.startswith("auc")},
}


def values(comparison: Comparison, name: str) -> np.ndarray:
    samples = METRICS[NAMES.index(name)].samples(comparison)
    return samples.value[np.isfinite(samples.value)]


def scored(truth, track) -> dict[str, float]:
    found = average(
        [clip_sums(compare(truth, track.uv_px, track.xyz_cam_mm), METRICS)], n_bootstrap=0, seed=0
    )
    return dict(zip(NAMES, found.value.tolist(), strict=True))


def with_missing(truth, frames: slice, side: int):
    """Give the truth as a prediction that misses a hand in some frames."""
    uv, xyz = truth.uv_px.copy(), truth.xyz_cam_mm.copy()
    uv[frames, side] = xyz[frames, side] = np.nan
    return compare(truth, uv, xyz)


def test_names_say_their_unit():
    assert len(set(NAMES)) == len(NAMES)
    endings = {
        "%": "_pct", "% of palm": "_pct", "hands": "_frames", "px": "_px", "mm": "_mm",
        "0-1": ("found", "missing_wrong"), "mm/frame²": "_mm_per_frame2", "m/s²": "_m_per_s2",
        "m/s³": "_m_per_s3", "px/frame³": "_px_per_frame3",
    }  # fmt: skip
    for metric in METRICS:
        assert metric.name.endswith(endings[metric.unit]), metric
        assert metric.is_better in ("higher", "lower", "none")


def test_the_truth_is_perfect():
    truth = make_truth()
    for name, value in scored(truth, track_of(truth)).items():
        if "jitter" in name:
            assert value > 0
        else:
            assert value == pytest.approx(BEST.get(name, 0), abs=1e-4), name


def test_the_truth_trembles_as_the_truth():
    truth = make_truth()
    found = scored(truth, track_of(truth))
    for name in NAMES:
        if name.startswith("jitter") and "of_truth" not in name:
            of_truth = name.replace("jitter_", "jitter_of_truth_")
            assert found[name] == pytest.approx(found[of_truth], rel=1e-4)


def test_more_noise_is_worse():
    truth = make_truth(30)
    runs = [scored(truth, track_of(truth, noise_mm=size)) for size in (0, 3, 9, 27)]
    for metric in METRICS:
        series = [run[metric.name] for run in runs]
        if metric.is_better == "none" or metric.name.startswith(("hands", "side", "ghost")):
            continue
        assert series == sorted(series, reverse=metric.is_better == "higher"), metric.name
        assert series[0] != series[-1], metric.name


def test_half_of_a_hand_missing_by_hand():
    # 8 frames, two hands, the left one missing in 4: 12 of 16 found, the rest perfect.
    c = with_missing(make_truth(8), slice(0, 4), 1)
    assert values(c, "hands_found_iou50_pct").mean() == 75
    assert values(c, "pck_0.2palm_missing_wrong_pct").mean() == 75
    assert values(c, "pck_0.2palm_found_pct").mean() == 100
    assert values(c, "auc_0_0.5palm_missing_wrong").mean() == 0.75
    assert values(c, "auc_0_0.5palm_found").mean() == 1
    assert values(c, "auc_3d_wrist_20j_20_50mm_missing_wrong").mean() == 0.75
    assert len(values(c, "epe_found_px")) == 12
    assert len(values(c, "mrrpe_both_found_mm")) == 4
    # Runs of three: 6 of the right hand, 2 of the left one's last four frames; of four: 5 and 1.
    assert len(values(c, "accel_error_wrist_20j_runs3_mm_per_frame2")) == 8
    assert len(values(c, "jitter_runs4_px_per_frame3")) == 6


def test_exchanged_sides_by_hand():
    truth = make_truth(5)
    c = compare(truth, truth.uv_px[:, ::-1], truth.xyz_cam_mm[:, ::-1])
    assert values(c, "hands_found_iou50_pct").mean() == 100
    assert values(c, "side_swaps_of_found_pct").mean() == 100
    assert values(c, "epe_found_px").max() == 0
    # The way from right to left is turned round: twice its length.
    way = truth.xyz_cam_mm[:, 1, 0] - truth.xyz_cam_mm[:, 0, 0]
    np.testing.assert_allclose(
        values(c, "mrrpe_both_found_mm"), 2 * np.linalg.norm(way, axis=-1), rtol=1e-5
    )


def test_pixels_and_palms_by_hand():
    # 3 px right and 4 down: 5 px, of the palm's length at its depth.
    truth = make_truth(2)
    c = compare(truth, truth.uv_px + np.float32([3, 4]), truth.xyz_cam_mm)
    np.testing.assert_allclose(values(c, "epe_found_px"), 5, rtol=1e-5)
    xyz = truth.xyz_cam_mm.astype(float)
    palm_mm = np.linalg.norm(xyz[:, :, 5::4] - xyz[:, :, :1], axis=-1).mean(-1)
    depth_mm = xyz[:, :, [0, 5, 9, 13, 17], 2].mean(-1)
    wanted = 100 * 5 / (palm_mm * truth.k_px[0, 0, 0] / depth_mm)
    np.testing.assert_allclose(values(c, "epe_found_palm_pct"), wanted.ravel(), rtol=1e-5)


def test_a_joint_off_by_a_palm_is_one_of_21():
    truth = make_truth(1)
    uv = truth.uv_px.copy()
    uv[:, :, 8, 0] += 1000
    # Boxes would no longer match: bring the tip back into the hand's box, far from its place.
    uv[:, :, 8] = truth.uv_px[:, :, 0]
    c = compare(truth, uv, truth.xyz_cam_mm)
    np.testing.assert_allclose(values(c, "pck_0.2palm_found_pct"), 100 * 20 / 21)


def test_wrist_alignment_and_scale_by_hand():
    truth = make_truth(3)
    wrist = truth.xyz_cam_mm[:, :, :1]
    # Everything 50 mm further, and 10 % too large: PA and the bone's scale see nothing of it.
    c = compare(truth, truth.uv_px, wrist + 1.1 * (truth.xyz_cam_mm - wrist) + np.float32(50))
    reach = np.linalg.norm((truth.xyz_cam_mm - wrist)[:, :, 1:], axis=-1).mean()
    assert values(c, "mpjpe_wrist_20j_found_mm").mean() == pytest.approx(0.1 * reach, rel=1e-4)
    assert values(c, "mpjpe_wrist_21j_found_mm").mean() == pytest.approx(
        0.1 * reach * 20 / 21, rel=1e-4
    )
    assert values(c, "mpjpe_wrist_bone_scaled_20j_found_mm").max() < 1e-3
    assert values(c, "pa_mpjpe_21j_found_mm").max() < 1e-3
    assert values(c, "mrrpe_both_found_mm").max() < 1e-3


def test_units_of_time_by_hand():
    # A joint (not the wrist) at 0, 0, 1 mm: acceleration 1 mm per frame squared on one of 20
    # joints. At 10 frames a second that is 0.001 m / 0.01 s2 = 0.1 m/s2, a twentieth of it 0.005.
    truth = replace(make_truth(3), frame_seconds=0.1)
    xyz = truth.xyz_cam_mm.astype(np.float64)
    xyz[2, :, 4, 0] += 1
    c = compare(truth, truth.uv_px, xyz)
    name = "accel_error_wrist_20j_runs3_"
    np.testing.assert_allclose(values(c, name + "mm_per_frame2"), 1 / 20, atol=1e-9)
    np.testing.assert_allclose(values(c, name + "m_per_s2"), 0.005, atol=1e-9)
    # Still but for one joint at 0, 0, 0, 2 mm: jerk 2 mm per frame cubed = 2 m/s3, a tenth on
    # average over 20.
    truth = replace(make_truth(4), frame_seconds=0.1)
    xyz = np.repeat(truth.xyz_cam_mm[:1].astype(np.float64), 4, axis=0)
    xyz[3, :, 4, 0] += 2
    c = compare(truth, truth.uv_px, xyz)
    np.testing.assert_allclose(values(c, "jitter_wrist_20j_runs4_m_per_s3"), 0.1, atol=1e-9)


def test_ghosts_by_hand():
    # The left hand is not there in 2 of 8 frames, the prediction still is: 2 in 8 = 25 per 100.
    truth = make_truth(8)
    c = compare(without(truth, 1, slice(0, 2)), truth.uv_px, truth.xyz_cam_mm)
    assert values(c, "ghost_hands_per_100_frames").mean() == 25
    assert values(c, "hands_found_iou50_pct").tolist() == [100] * 14


def test_nothing_found():
    truth = make_truth(4)
    nothing = compare(truth, truth.uv_px * np.nan, truth.xyz_cam_mm * np.nan)
    for metric in METRICS:
        found = values(nothing, metric.name)
        if metric.name.startswith("hands") or "missing_wrong" in metric.name:
            assert found.tolist() == [0] * 8, metric.name
        elif metric.name.startswith("ghost"):
            assert found.tolist() == [0] * 4
        else:
            assert found.size == 0, metric.name


def test_nothing_to_find():
    truth = without(without(make_truth(4), 0), 1)
    c = compare(truth, truth.uv_px, truth.xyz_cam_mm)
    for name in NAMES:
        expected = [0] * 4 if name.startswith("ghost") else []
        assert values(c, name).tolist() == expected


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_short_clips(n):
    truth = make_truth(n)
    sums = clip_sums(compare(truth, truth.uv_px, truth.xyz_cam_mm), METRICS)
    count = dict(zip(NAMES, sums.count.sum(axis=1).tolist(), strict=True))
    assert count["epe_found_px"] == 2 * n
    assert count["accel_error_wrist_20j_runs3_m_per_s2"] == 2 * max(n - 2, 0)
    assert count["jitter_runs4_px_per_frame3"] == 0


def test_each_sample_lies_in_its_bin():
    share = np.array([[0, 0.2499], [0.25, 0.5], [0.7499, 0.75], [0.9, 1]], np.float32)
    truth = make_truth(4, hidden_share=share)
    sums = clip_sums(compare(truth, truth.uv_px, truth.xyz_cam_mm), METRICS)
    count = {name: sums.count[m].tolist() for m, name in enumerate(NAMES)}
    assert count["hands_found_iou50_pct"] == [2, 1, 2, 3, 0]
    # The more hidden hand: 0.2499, 0.5, 0.75, 1.
    assert count["mrrpe_both_found_mm"] == [1, 0, 1, 2, 0]
    # Mean of three: right 0.333, 0.633; left 0.4999, 0.75.
    assert count["accel_error_wrist_20j_runs3_m_per_s2"] == [0, 2, 1, 1, 0]
    assert count["ghost_hands_per_100_frames"] == [0, 0, 0, 0, 4]


def made_sums(*clips: tuple[float, int], hidden_bin: int = 0) -> list[ClipSums]:
    """Give clips whose every metric has this sum over so many samples in one bin."""
    result = []
    for total, count in clips:
        totals, counts = np.zeros((len(NAMES), 5)), np.zeros((len(NAMES), 5), np.int64)
        totals[:, hidden_bin], counts[:, hidden_bin] = total, count
        result.append(ClipSums(totals, counts))
    return result


def test_samples_are_pooled_by_hand():
    # (10 + 2) / (4 + 1) = 2.4, not the mean of 2.5 and 2.
    found = average(made_sums((10, 4), (2, 1)), n_bootstrap=0, seed=0)
    assert set(found.value.tolist()) == {2.4}
    assert np.isnan(found.low).all()
    assert set(found.n_samples.tolist()) == {5}
    assert set(found.n_clips.tolist()) == {2}


def test_bins_are_kept_apart():
    clips = made_sums((10, 4), hidden_bin=1) + made_sums((9, 1), hidden_bin=4)
    by_bin = [average(clips, hidden_bin=k, n_bootstrap=0, seed=0) for k in range(len(HIDDEN_BINS))]
    assert [b.value[0] for b in by_bin if np.isfinite(b.value[0])] == [2.5]
    assert average(clips, n_bootstrap=0, seed=0).value[0] == pytest.approx(19 / 5)


def test_the_interval_is_that_of_clips():
    # Two clips of value 0 and 1: a resample is 0, 0.5 or 1 with shares 1/4, 1/2, 1/4.
    found = average(made_sums((0, 100), (100, 100)), n_bootstrap=500, seed=0)
    assert (found.low[0], found.value[0], found.high[0]) == (0, 0.5, 1)


def test_the_interval_has_the_width_of_theory():
    # 60 clips of one sample from a normal distribution: mean +- 1.96 / sqrt(60) standard errors.
    rng = np.random.default_rng(0)
    draws = rng.normal(5, 1, 60)
    found = average(made_sums(*((d, 1) for d in draws)), n_bootstrap=4000, seed=1)
    half = 1.96 * draws.std() / np.sqrt(60)
    assert found.low[0] == pytest.approx(draws.mean() - half, abs=0.02)
    assert found.high[0] == pytest.approx(draws.mean() + half, abs=0.02)


def test_the_seed_decides():
    clips = made_sums((1, 1), (2, 1), (7, 1), (9, 2))
    first, again, other = (average(clips, n_bootstrap=50, seed=s) for s in (0, 0, 1))
    assert first.low.tobytes() == again.low.tobytes()
    assert first.low[0] != other.low[0] or first.high[0] != other.high[0]


def test_clips_without_samples_add_nothing_but_chance():
    clips = made_sums((6, 2), (0, 0), (0, 0))
    found = average(clips, n_bootstrap=200, seed=0)
    assert found.value[0] == 3
    assert found.n_clips[0] == 1
    assert np.isnan(found.low[0])
    assert np.isnan(average(made_sums((0, 0)), n_bootstrap=10, seed=0).value).all()


def test_settings_that_cannot_be():
    with pytest.raises(SettingsError, match="n_bootstrap is -1, expected 0 or more"):
        average(made_sums((1, 1)), n_bootstrap=-1, seed=0)
    with pytest.raises(SettingsError, match="at least one clip"):
        average([], n_bootstrap=0, seed=0)
    with pytest.raises(ShapeError, match="total is float64"):
        ClipSums(np.zeros((1, 4)), np.zeros((1, 4), np.int64))
