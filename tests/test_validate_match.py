"""Matching predicted to true hands: boxes, sides, ghosts; and the palm's length in the picture."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from validate_truths import make_truth, without

from hdrvideo.errors import ShapeError
from hdrvideo.geometry import box_iou
from hdrvideo.validate.match import NO_HAND, match_hands, palm_length_px

SIZE = (200, 100)


def square_hand(u: float, v: float, side: float) -> np.ndarray:
    """Give 21 joints whose box is ``u..u+side`` by ``v..v+side``."""
    joints = np.tile(np.array([[u, v], [u + side, v], [u, v + side]]), (7, 1))
    joints[-1] = u + side, v + side
    return joints


def hands(*sides) -> np.ndarray:
    """Give one frame ``(1, 2, 21, 2)``; None is no hand."""
    nothing = np.full((21, 2), np.nan)
    return np.stack([nothing if s is None else s for s in sides])[None]


def match(predicted, true, palm_px: float = 0.0, size=SIZE):
    present = np.isfinite(true[..., 0, 0])
    return match_hands(predicted, true, present, np.full((1, 2), palm_px), size)


def test_the_palm_is_measured_face_on_at_its_depth():
    # Knuckles 80, 80, 100, 100 mm from the wrist: mean 90. Focal lengths 400 and 900: mean 600.
    # Depths of wrist and knuckles 500, 480, 480, 520, 520: mean 500. 90 * 600 / 500 = 108.
    xyz = np.zeros((1, 2, 21, 3))
    xyz[..., 2] = 500
    for joint, length, depth in ((5, 80, -20), (9, 80, -20), (13, 100, 20), (17, 100, 20)):
        xyz[..., joint, 0] = np.sqrt(length**2 - depth**2)
        xyz[..., joint, 2] += depth
    k = np.array([[[400.0, 0, 0], [0, 900, 0], [0, 0, 1]]])
    np.testing.assert_allclose(palm_length_px(xyz, k), 108)


def test_a_palm_behind_the_camera_has_no_length():
    xyz = np.random.default_rng(0).normal(size=(2, 2, 21, 3))
    xyz[..., 2] = -300
    assert np.isnan(palm_length_px(xyz, np.tile(np.eye(3), (2, 1, 1)))).all()


def test_boxes_that_overlap_by_half_are_one_hand_and_by_less_are_not():
    true = hands(square_hand(50, 20, 30), None)
    # Moved by d, two squares of 30 share 30 * (30 - d) of 30 * (30 + d): a half at d = 10.
    assert match(hands(square_hand(60, 20, 30), None), true).found.tolist() == [[True, False]]
    missed = match(hands(square_hand(60.1, 20, 30), None), true)
    assert not missed.found.any()
    assert missed.ghost.tolist() == [[True, False]]


def test_the_flesh_round_the_joints_belongs_to_the_box():
    # Palm 50 px: 5 px more on every side, squares of 40: a half at d = 40 / 3.
    true = hands(square_hand(50, 20, 30), None)
    assert match(hands(square_hand(63.3, 20, 30), None), true, palm_px=50).found[0, 0]
    assert not match(hands(square_hand(63.4, 20, 30), None), true, palm_px=50).found[0, 0]


def test_boxes_end_where_the_picture_ends():
    # Of 40 px, 20.5 lie in the picture (-0.5 is its edge): a prediction of that half is the hand.
    true = hands(square_hand(-20, 20, 40), None)
    half = square_hand(0, 20, 20)
    half[:, 1] = square_hand(0, 20, 40)[:, 1]
    assert match(hands(half, None), true).found[0, 0]


def test_the_wrong_side_is_found_and_swapped():
    result = match(hands(None, square_hand(50, 20, 30)), hands(square_hand(50, 20, 30), None))
    assert result.partner.tolist() == [[1, NO_HAND]]
    assert result.swapped.tolist() == [[True, False]]
    assert not result.ghost.any()


def test_of_two_predictions_on_one_hand_the_worse_is_a_ghost():
    near, far = square_hand(51, 20, 30), square_hand(54, 20, 30)
    result = match(hands(far, near), hands(square_hand(50, 20, 30), None))
    assert result.partner[0, 0] == 1
    assert result.ghost.tolist() == [[True, False]]


def test_joints_decide_where_boxes_overlap_crosswise():
    a, b = square_hand(50, 20, 30), square_hand(52, 20, 30)
    assert match(hands(a, b), hands(a, b)).partner.tolist() == [[0, 1]]
    assert match(hands(b, a), hands(a, b)).partner.tolist() == [[1, 0]]


def test_more_pairs_win_over_nearer_ones():
    # Both predictions fit the right hand, the right one alone the left hand: crossed, two pairs.
    right, left = square_hand(50, 20, 30), square_hand(60, 20, 30)
    predicted = hands(square_hand(51, 20, 30), square_hand(45, 20, 30))
    assert match(predicted, hands(right, left)).partner.tolist() == [[1, 0]]


def test_a_hand_with_few_joints_in_the_picture_is_ignored():
    true = square_hand(50, 20, 30)
    true[:15] -= 300
    seen = true[15:]
    predicted = hands(square_hand(*seen.min(0), 30), None)
    result = match(predicted, hands(true, None))
    assert not result.counted.any()
    assert not result.found.any()
    assert not result.ghost.any()
    elsewhere = match(hands(square_hand(150, 20, 30), None), hands(true, None))
    assert elsewhere.ghost.tolist() == [[True, False]]
    true[14] += 300
    assert match(predicted, hands(true, None)).counted.tolist() == [[True, False]]


def test_a_prediction_outside_the_picture_is_not_judged():
    result = match(hands(square_hand(-90, 20, 30), None), hands(None, None))
    assert not result.ghost.any()


def test_no_hands_and_no_frames():
    nothing = match(hands(None, None), hands(None, None))
    assert not nothing.counted.any()
    assert not nothing.ghost.any()
    empty = np.zeros((0, 2, 21, 2))
    flags = np.zeros((0, 2), bool)
    assert match_hands(empty, empty, flags, np.zeros((0, 2)), SIZE).found.shape == (0, 2)


def test_what_is_taken_is_the_partner():
    true = make_truth(4)
    predicted = true.uv_px[:, ::-1].copy()
    predicted[2] = np.nan
    palm = palm_length_px(true.xyz_cam_mm, true.k_px)
    result = match_hands(predicted, true.uv_px, true.present, palm, true.size_px)
    taken = result.take(predicted)
    np.testing.assert_array_equal(taken[[0, 1, 3]], true.uv_px[[0, 1, 3]])
    assert np.isnan(taken[2]).all()


def test_a_hand_that_is_not_there_is_not_counted():
    true = without(make_truth(3), 1)
    palm = palm_length_px(true.xyz_cam_mm, true.k_px)
    result = match_hands(true.uv_px, true.uv_px, true.present, palm, true.size_px)
    assert result.found.tolist() == [[True, False]] * 3


def test_the_same_as_the_hungarian_method():
    rng = np.random.default_rng(3)
    n = 400
    true = np.stack([square_hand(60, 30, 30), square_hand(66, 33, 30)])[None].repeat(n, axis=0)
    predicted = true + rng.normal(0, 8, (n, 2, 1, 2)) + rng.normal(0, 1, true.shape)
    predicted[rng.random((n, 2)) < 0.1] = np.nan
    result = match_hands(predicted, true, np.ones((n, 2), bool), np.zeros((n, 2)), SIZE)
    kinds = set()
    for t in range(n):
        cost = np.full((2, 2), 1e6)
        for s in range(2):
            for p in range(2):
                boxes = [
                    np.concatenate([j.min(0), j.max(0)]) for j in (true[t, s], predicted[t, p])
                ]
                if box_iou(*boxes) >= 0.5:
                    cost[s, p] = np.linalg.norm(true[t, s] - predicted[t, p], axis=-1).mean()
        rows, columns = linear_sum_assignment(cost)
        wanted = [p if cost[s, p] < 1e6 else NO_HAND for s, p in zip(rows, columns, strict=True)]
        assert result.partner[t].tolist() == wanted
        kinds.add(tuple(wanted))
    assert len(kinds) >= 6


def test_arrays_of_other_shapes_are_refused():
    true = make_truth(3)
    palm = np.ones((3, 2))
    with pytest.raises(ShapeError, match=r"predicted_uv_px is float64 \(2, 2, 21, 2\), expected"):
        match_hands(true.uv_px[:2], true.uv_px, true.present, palm, true.size_px)
    result = match_hands(true.uv_px, true.uv_px, true.present, palm, true.size_px)
    with pytest.raises(ShapeError, match="partner is int32"):
        replace(result, partner=result.partner.astype(np.int32))
