"""Distances of joints, each with a number worked out by hand."""

import numpy as np
import pytest

from hdrvideo.validate.metrics import (
    acceleration_error,
    area_under_pck,
    jitter,
    joint_distance,
    run_mean,
    share_within,
    wrist_aligned_distance,
    wrist_to_wrist_error,
)


def some_hand(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([10, 20, 500], 40, (21, 3))


def test_distance_is_pythagoras():
    # 3, 4 -> 5.
    np.testing.assert_allclose(joint_distance(np.array([[3.0, 4.0]]), np.zeros((1, 2))), 5)


def test_wrists_are_put_together_first():
    # All joints 30 mm off, one of them 5 mm more: only the 5 are left, and the wrist is 0.
    true = some_hand()
    predicted = true + np.array([30, 0, 0])
    predicted[4, 1] += 5
    distance = wrist_aligned_distance(predicted, true)
    np.testing.assert_allclose(distance, np.eye(21)[4] * 5, atol=1e-9)
    # Mean with the wrist 5 / 21, without it 5 / 20.
    assert distance.mean() == pytest.approx(5 / 21)
    assert distance[1:].mean() == pytest.approx(5 / 20)


def test_the_error_of_the_wrist_is_in_every_other_joint():
    true = some_hand()
    predicted = true.copy()
    predicted[0] += [0, 0, 7]
    np.testing.assert_allclose(wrist_aligned_distance(predicted, true)[1:], 7)


def test_pck_counts_the_limit_itself():
    # 0.1, 0.2 are within 0.2; 0.3 and 0.21 are not: a half.
    assert share_within(np.array([0.1, 0.2, 0.3, 0.21]), 0.2) == 0.5
    assert np.isnan(share_within(np.array([0.1, np.nan]), 0.2))


def test_area_under_the_curve_by_hand():
    # Thresholds k * 0.5 / 99. Distance 0 passes all: 1. Above 0.5 passes none: 0. A distance of
    # exactly the 50th of 99 steps passes thresholds 50..99: (49 + 0.5) / 99 = 0.5.
    assert area_under_pck(np.zeros(4), 0, 0.5) == 1
    assert area_under_pck(np.full(4, 0.51), 0, 0.5) == 0
    np.testing.assert_allclose(area_under_pck(np.full(4, 50 * 0.5 / 99), 0, 0.5), 0.5)
    # Rounding is no error, a thousandth of a millimetre is one.
    assert area_under_pck(np.full(4, 1e-12), 0, 50) == 1
    assert area_under_pck(np.full(4, 1e-3), 0, 50) < 1
    # Half of the joints at 0, half beyond: a half.
    assert area_under_pck(np.array([0, 9.0]), 0, 0.5) == 0.5
    assert np.isnan(area_under_pck(np.array([0, np.nan]), 0, 0.5))


def test_area_is_one_minus_the_mean_over_the_range():
    # SYSTEMS.md 3.9: 5.22 mm on 0-50 mm gives 89.6 where no error exceeds 50.
    distance = np.random.default_rng(0).uniform(0, 2 * 5.22, (4000, 21))
    area = area_under_pck(distance, 0, 50).mean()
    assert area == pytest.approx(0.896, abs=0.005)


@pytest.mark.parametrize(("low", "high"), [(0, 0.5), (20, 50)])
def test_area_is_the_trapezoid_of_the_curve(low, high):
    distance = np.random.default_rng(1).uniform(0, 1.3 * high, (6, 21))
    thresholds = np.linspace(low, high, 100)
    for hand, area in zip(distance, area_under_pck(distance, low, high), strict=True):
        curve = np.array([share_within(hand, t) for t in thresholds])
        assert area == pytest.approx((curve[1:] + curve[:-1]).mean() / 2)


def test_the_way_between_wrists():
    # True way (100, 0, 0), predicted (103, 4, 0): 5, wherever the pair stands.
    true, predicted = np.zeros((2, 21, 3)), np.full((2, 21, 3), 77.0)
    true[1, 0] = [100, 0, 0]
    predicted[1, 0] += [103, 4, 0]
    assert wrist_to_wrist_error(predicted, true) == pytest.approx(5)
    # With the sides exchanged the way is (-103, -4, 0): off by (203, 4, 0).
    assert wrist_to_wrist_error(predicted[::-1], true) == pytest.approx(np.hypot(203, 4))
    predicted[0, 0] = np.nan
    assert np.isnan(wrist_to_wrist_error(predicted, true))


def test_acceleration_error_by_hand():
    # True 0, 1, 4, 9: second differences 2, 2. Predicted 0, 1, 5, 9: 3, 0. Errors 1 and 2.
    true = np.array([0.0, 1, 4, 9])[:, None, None, None] * np.ones((1, 1, 21, 1))
    predicted = np.array([0.0, 1, 5, 9])[:, None, None, None] * np.ones((1, 1, 21, 1))
    np.testing.assert_allclose(acceleration_error(predicted, true)[:, 0], [1, 2])


def test_acceleration_of_another_constant_speed_is_right():
    true = np.arange(6.0)[:, None, None] * np.ones((1, 21, 3))
    np.testing.assert_allclose(acceleration_error(3 * true + 8, true), 0)


def test_jitter_by_hand():
    # 0, 1, 8, 27, 64: third differences 6, 6; a straight line has none.
    cubes = np.arange(5.0)[:, None, None] ** 3 * np.ones((1, 21, 1))
    np.testing.assert_allclose(jitter(cubes), [6, 6])
    np.testing.assert_allclose(jitter(np.arange(5.0)[:, None, None] * np.ones((1, 21, 1))), 0)


def test_runs_need_every_frame():
    x = np.zeros((7, 2, 21, 3))
    x[3, 0] = np.nan
    assert np.isnan(acceleration_error(x, x)[:, 0]).tolist() == [False, True, True, True, False]
    assert np.isnan(jitter(x)[:, 0]).all()
    assert not np.isnan(jitter(x)[:, 1]).any()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_short_clips_have_no_runs(n):
    x = np.zeros((n, 2, 21, 3))
    assert acceleration_error(x, x).shape == (0, 2)
    assert jitter(x).shape == (0, 2)
    assert run_mean(np.zeros((n, 2)), 3).shape == (0, 2)


def test_mean_over_a_run():
    # (1 + 2 + 6) / 3, (2 + 6 + 7) / 3.
    assert run_mean(np.array([1.0, 2, 6, 7]), 3).tolist() == [3, 5]
