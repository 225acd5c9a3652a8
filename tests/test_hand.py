"""The joint list, the bones, and every foreign order there and back."""

import numpy as np
import pytest

from hdrvideo.errors import ShapeError
from hdrvideo.hand import (
    ADULT_BONES_MM,
    BONES,
    FINGERS,
    JOINTS,
    KNUCKLES,
    LEFT,
    N_JOINTS,
    ORDERS,
    PARENTS,
    RIGHT,
    SIDES,
    TIPS,
    WRIST,
    bone_lengths,
    from_interhand42,
    from_order,
    palm_length,
    side_index,
    to_interhand42,
    to_order,
)

# A 21x1 hand whose joint j holds the value j: shows where each joint went.
LABELS = np.arange(N_JOINTS)[:, None]


def test_joint_list_is_wrist_then_five_fingers_from_base_to_tip():
    assert N_JOINTS == len(set(JOINTS)) == 21
    assert JOINTS[WRIST] == "wrist"
    assert [JOINTS[t] for t in TIPS] == [f"{f}_tip" for f in FINGERS]
    assert [JOINTS[k] for k in KNUCKLES] == [f"{f}_mcp" for f in FINGERS[1:]]
    assert [j.split("_")[0] for j in JOINTS[1:]] == [f for f in FINGERS for _ in range(4)]


def test_every_bone_leads_from_the_wrist_along_one_finger():
    assert PARENTS[WRIST] == -1
    assert list(BONES) == [(PARENTS[j], j) for j in range(1, 21)]
    for parent, child in BONES:
        assert parent < child
        assert parent == WRIST or JOINTS[parent].split("_")[0] == JOINTS[child].split("_")[0]
    assert sorted(set(PARENTS[1:])) == [j for j in range(21) if j not in TIPS]
    assert len(ADULT_BONES_MM) == len(BONES)
    assert all(10 < length < 120 for length in ADULT_BONES_MM)


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_is_a_permutation_and_comes_back(name):
    assert sorted(ORDERS[name]) == list(range(21))
    values = np.random.default_rng(0).normal(size=(4, 2, 21, 3)).astype(np.float32)
    for there, back in ((to_order, from_order), (from_order, to_order)):
        moved = there(values, name)
        assert moved.dtype == values.dtype
        np.testing.assert_array_equal(back(moved, name), values)
    np.testing.assert_array_equal(to_order(LABELS, name)[:, 0], ORDERS[name])


def test_known_places_of_the_foreign_orders():
    interhand = [JOINTS[j] for j in to_order(LABELS, "interhand")[:, 0]]
    assert interhand[0] == "thumb_tip"
    assert interhand[3] == "thumb_cmc"
    assert interhand[4] == "index_tip"
    assert interhand[20] == "wrist"
    for name in ("mano", "ho3d"):
        mano = [JOINTS[j] for j in to_order(LABELS, name)[:, 0]]
        assert mano[0] == "wrist"
        assert mano[1:4] == ["index_mcp", "index_pip", "index_dip"]
        assert mano[7] == "little_mcp"
        assert mano[10] == "ring_mcp"
        assert mano[13:16] == ["thumb_cmc", "thumb_mcp", "thumb_ip"]
        assert mano[16:] == [f"{f}_tip" for f in FINGERS]
    for name in ("openpose", "snap", "dexycb"):
        np.testing.assert_array_equal(to_order(LABELS, name), LABELS)


def test_an_order_gives_a_copy():
    values = np.zeros((21, 2))
    to_order(values, "openpose")[:] = 1
    from_order(values, "openpose")[:] = 1
    assert not values.any()


def test_interhand42_comes_back_and_knows_its_sides():
    pair = np.stack([LABELS, LABELS + 100]).astype(np.float64)
    foreign = to_interhand42(pair)
    assert foreign.shape == (42, 1)
    assert foreign[0] == TIPS[0]
    assert foreign[20] == WRIST
    assert foreign[21] == 100 + TIPS[0]
    assert foreign[41] == 100 + WRIST
    np.testing.assert_array_equal(from_interhand42(foreign), pair)
    # A pair with its sides swapped is another array, and swapping back restores it.
    swapped = from_interhand42(np.concatenate([foreign[21:], foreign[:21]]))
    assert (swapped != pair).all()
    np.testing.assert_array_equal(swapped[::-1], pair)


def test_interhand42_keeps_leading_axes():
    values = np.random.default_rng(1).normal(size=(3, 5, 42, 2))
    ours = from_interhand42(values)
    assert ours.shape == (3, 5, 2, 21, 2)
    np.testing.assert_array_equal(to_interhand42(ours), values)


def test_sides():
    assert SIDES == ("right", "left")
    assert side_index("right") == RIGHT == 0
    assert side_index("left") == LEFT == 1


def test_bone_lengths_are_the_slow_ones_and_do_not_hang_on_the_place():
    xyz = np.random.default_rng(2).normal(size=(3, 21, 3))
    slow = [[np.linalg.norm(hand[c] - hand[p]) for p, c in BONES] for hand in xyz]
    np.testing.assert_allclose(bone_lengths(xyz), slow)
    np.testing.assert_allclose(bone_lengths(3 * xyz + 7), 3 * bone_lengths(xyz))
    assert bone_lengths(xyz[:0]).shape == (0, 20)


def test_palm_length_is_the_mean_of_four_spokes():
    xyz = np.zeros((21, 3))
    for knuckle, length in zip(KNUCKLES, (90, 100, 80, 70), strict=True):
        xyz[knuckle, 0] = length
    xyz[list(TIPS)] = 1e6
    assert palm_length(xyz + 5) == pytest.approx(85)
    assert palm_length(np.zeros((4, 21, 2))).tolist() == [0, 0, 0, 0]


def test_errors_say_what_and_what_was_expected():
    with pytest.raises(ShapeError, match=r"'coco' is not known; use one of openpose, snap"):
        to_order(LABELS, "coco")
    with pytest.raises(ShapeError, match=r"'coco' is not known"):
        from_order(LABELS, "coco")
    for wrong in (np.zeros((20, 3)), np.zeros(21)):
        with pytest.raises(ShapeError, match=r"expected \(\.\.\., 21, D\)"):
            from_order(wrong, "mano")
        with pytest.raises(ShapeError, match=r"expected \(\.\.\., 21, D\)"):
            to_order(wrong, "mano")
        with pytest.raises(ShapeError, match=r"expected \(\.\.\., 21, D\)"):
            bone_lengths(wrong)
        with pytest.raises(ShapeError, match=r"expected \(\.\.\., 21, D\)"):
            palm_length(wrong)
    for wrong in (np.zeros((21, 3)), np.zeros(42)):
        with pytest.raises(ShapeError, match=r"expected \(\.\.\., 42, D\)"):
            from_interhand42(wrong)
    for wrong in (np.zeros((1, 21, 3)), np.zeros((21, 3))):
        with pytest.raises(ShapeError, match=r"expected \(\.\.\., 2, 21, D\)"):
            to_interhand42(wrong)
    with pytest.raises(ShapeError, match="side is 'Left', expected 'right' or 'left'"):
        side_index("Left")
