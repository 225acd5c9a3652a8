"""Distances of joints, each with a number worked out by hand."""

import numpy as np
import pytest

from hdrvideo.hand import JOINTS
from hdrvideo.validate.metrics import (
    acceleration_error,
    area_under_pck,
    bone_scaled,
    jitter,
    joint_distance,
    procrustes_aligned,
    run_mean,
    share_within,
    wrist_aligned_distance,
    wrist_to_wrist_error,
)


def some_hand(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([10, 20, 500], 40, (21, 3))


def turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


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


def test_the_bone_to_the_middle_knuckle_sets_the_scale():
    true = some_hand()
    scaled = bone_scaled(2.5 * true + 9, true)
    np.testing.assert_allclose(scaled, true - true[0], atol=1e-9)
    # Two joints: predicted bone 50, true bone 100, so a joint at 10 lands at 20.
    true, predicted = np.zeros((21, 3)), np.zeros((21, 3))
    true[JOINTS.index("middle_mcp"), 0] = 100
    predicted[JOINTS.index("middle_mcp"), 0] = 50
    predicted[4, 1] = 10
    assert bone_scaled(predicted, true)[4].tolist() == [0, 20, 0]


def test_a_hand_without_that_bone_has_no_scale():
    assert np.isnan(bone_scaled(np.zeros((21, 3)), some_hand())).all()


def test_procrustes_undoes_a_similarity():
    true = np.stack([some_hand(0), some_hand(1)])
    moved = 0.3 * true @ turn(130).T + [5, -400, 80]
    np.testing.assert_allclose(procrustes_aligned(moved, true), true, atol=1e-9)


def test_procrustes_does_not_mirror():
    true = some_hand()
    mirrored = true * [-1, 1, 1]
    assert joint_distance(procrustes_aligned(mirrored, true), true).mean() > 5


def test_procrustes_by_hand():
    # On a line: true -1, 0, 1 (times 7 hands of 3 joints), predicted -1, 0, 2, middle 1/3.
    # Best scale = sum(x y) / sum(x x) = 3 / (14/3) = 9/14 with x = -4/3, -1/3, 5/3:
    # aligned -12/14, -3/14, 15/14, so the distances are 2/14, 3/14, 1/14.
    true = np.tile(np.array([[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]]), (7, 1))
    predicted = np.tile(np.array([[-1.0, 0, 0], [0, 0, 0], [2, 0, 0]]), (7, 1))
    distance = joint_distance(procrustes_aligned(predicted, true), true)
    np.testing.assert_allclose(distance[:3] * 14, [2, 3, 1], atol=1e-9)


def test_procrustes_is_the_least_of_all_similarities():
    rng = np.random.default_rng(5)
    true, predicted = some_hand(0), some_hand(2)
    aligned = procrustes_aligned(predicted, true)
    least = ((aligned - true) ** 2).sum()
    middle = aligned.mean(axis=0)
    for _ in range(50):
        around = turn(rng.normal(0, 3))[:, rng.permutation(3)][rng.permutation(3)]
        if np.linalg.det(around) < 0:
            continue
        other = (aligned - middle) @ around.T * rng.normal(1, 0.05) + middle + rng.normal(0, 1, 3)
        assert ((other - true) ** 2).sum() >= least - 1e-6


def test_procrustes_of_points_and_of_nothing():
    true = some_hand()
    point = np.full((21, 3), 4.0)
    np.testing.assert_allclose(procrustes_aligned(point, true), np.tile(true.mean(0), (21, 1)))
    both = procrustes_aligned(np.stack([true, true * np.nan]), np.stack([true, true]))
    np.testing.assert_allclose(both[0], true)
    assert np.isnan(both[1]).all()
    assert procrustes_aligned(np.zeros((0, 21, 3)), np.zeros((0, 21, 3))).shape == (0, 21, 3)


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
