"""Hands put upon one another, each with a number worked out by hand."""

import numpy as np

from hdrvideo.alignment import bone_scaled, procrustes_aligned, wrist_aligned
from hdrvideo.hand import JOINTS
from hdrvideo.validate.metrics import joint_distance


def some_hand(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([10, 20, 500], 40, (21, 3))


def turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def test_hands_stand_on_their_own_wrist():
    hands = np.stack([some_hand(0), some_hand(1)])[None].astype(np.float32)
    moved = wrist_aligned(hands)
    assert moved.dtype == np.float64
    assert not moved[..., 0, :].any()
    np.testing.assert_allclose(moved[0, 1, 7], some_hand(1)[7] - some_hand(1)[0], rtol=1e-5)


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
