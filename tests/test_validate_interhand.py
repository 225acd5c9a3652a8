"""InterHand2.6M's protocols and those of HDR, IntagHand, IHMR and InterWild, by hand."""

import numpy as np
import pytest
from field_cases import MCP, flat_hand, pairs, random_pairs, saying, truth_of

from hdrvideo.errors import ProtocolError
from hdrvideo.hand import LEFT, RIGHT, WRIST, to_interhand42
from hdrvideo.validate import followups, hdr_protocol, interhand
from hdrvideo.validate.field import pooled, score


def value(said: np.ndarray, truth, protocol, **more) -> float:
    return score(saying(said, **more), truth, protocol).value


def hand_types(*types: str) -> np.ndarray:
    """Give ``(N, 2)`` by InterHand2.6M's words."""
    known = {"right": (1, 0), "left": (0, 1), "interacting": (1, 1)}
    return np.array([known[kind] for kind in types], dtype=bool)


def moved(xyz: np.ndarray, joint: int, by_mm: float, frame=slice(None), side=slice(None)):
    xyz = xyz.copy()
    xyz[frame, side, joint, 1] += by_mm
    return xyz


# MPJPE


def test_mpjpe_by_hand_with_the_two_zero_wrists_and_without():
    # One tip of one hand of the one frame is 84 mm off: 84 / 42 = 2 and 84 / 40 = 2.1.
    truth, said = truth_of(pairs(1)), moved(pairs(1), 8, 84.0, 0, RIGHT)
    assert value(said, truth, interhand.MPJPE) == pytest.approx(2.0)
    assert value(said, truth, interhand.MPJPE_NO_WRISTS) == pytest.approx(2.1)


def test_the_published_mean_is_4_8_percent_smaller():
    # SYSTEMS 5.6: the wrists are zero by construction and in the mean: 20 / 21.
    xyz, said = random_pairs(5), random_pairs(5, seed=1)
    with_wrists = value(said, truth_of(xyz), interhand.MPJPE)
    without = value(said, truth_of(xyz), interhand.MPJPE_NO_WRISTS)
    assert with_wrists / without == pytest.approx(20 / 21)


def test_a_moved_hand_is_no_error_and_a_moved_wrist_is_one_in_20_joints():
    truth = truth_of(pairs(1))
    assert value(pairs(1) + np.array([50, -20, 300]), truth, interhand.MPJPE) == pytest.approx(0)
    said = moved(pairs(1), WRIST, 21.0, 0, RIGHT)
    assert value(said, truth, interhand.MPJPE) == pytest.approx(20 * 21 / 42)


def test_a_wrong_size_is_an_error():
    # No scale alignment: half the hand is half of every joint's distance from the wrist.
    from_wrist = np.linalg.norm(flat_hand() - flat_hand()[WRIST], axis=-1)
    said = (pairs(1) - pairs(1)[:, :, :1]) / 2
    assert value(said, truth_of(pairs(1)), interhand.MPJPE) == pytest.approx(from_wrist.mean() / 2)


def test_a_hand_without_a_known_wrist_counts_with_no_joint():
    valid = np.ones((2, 2, 21), bool)
    valid[0, RIGHT, WRIST] = False
    valid[1, LEFT, 8] = False
    truth = truth_of(pairs(2), valid)
    # The right hand of frame 0 and the left index tip of frame 1 are wild, and do not count.
    said = moved(moved(pairs(2), 12, 999.0, 0, RIGHT), 8, 999.0, 1, LEFT)
    scored = score(saying(said), truth, interhand.MPJPE)
    assert (scored.value, scored.n_samples) == (0, 3)


def test_means_joint_by_joint_and_then_over_joints():
    # The right index tip is known in frame 0 only and 40 mm off there; all else is right. Joints
    # first: 40 / 42. Pooled over the 83 known joints (IHMR) it would be 40 / 83.
    valid = np.ones((2, 2, 21), bool)
    valid[1, RIGHT, 8] = False
    truth, said = truth_of(pairs(2), valid), moved(pairs(2), 8, 40.0, 0, RIGHT)
    assert value(said, truth, interhand.MPJPE) == pytest.approx(40 / 42)
    assert value(said, truth, followups.IHMR_MPJPE) == pytest.approx(40 / 83)


def test_all_is_sh_and_ih_together_and_not_their_mean():
    # Three frames of a right hand 21 mm off at a tip, one of two hands that are right.
    valid = np.ones((4, 2, 21), bool)
    valid[:3, LEFT] = False
    truth = truth_of(pairs(4), valid, hands=hand_types(*["right"] * 3, "interacting"))
    said = moved(pairs(4), 8, 21.0, slice(3), RIGHT)
    by_subset = {s: score(saying(said), truth, interhand.MPJPE.on(subset=s)) for s in ("sh", "ih")}
    assert by_subset["sh"].value == pytest.approx(21 / 21)
    assert by_subset["ih"].value == 0
    # The right index tip is 21 21 21 0: 15.75, over 42 joints.
    whole = value(said, truth, interhand.MPJPE)
    assert whole == pytest.approx(15.75 / 42)
    assert whole != pytest.approx((1 + 0) / 2)
    with pytest.raises(ProtocolError, match=r"test_sh\].*test_ih\]"):
        pooled(list(by_subset.values()))


def test_sh_and_ih_go_by_the_sets_hand_type():
    # The set says interacting although the left hand's wrist is not known: the frame is IH.
    valid = np.ones((1, 2, 21), bool)
    valid[0, LEFT] = False
    truth = truth_of(pairs(1), valid, hands=hand_types("interacting"))
    said = moved(pairs(1), 8, 21.0)
    assert value(said, truth, interhand.MPJPE.on(subset="ih")) == pytest.approx(1)
    assert np.isnan(value(said, truth, interhand.MPJPE.on(subset="sh")))
    # What the prediction calls there does not matter.
    unsure = saying(said, hand_scores=np.array([[1.0, 0.0]]))
    assert score(unsure, truth, interhand.MPJPE.on(subset="ih")).n_samples == 1


def test_depth_leaks_into_the_error():
    # A 2.5D method with the right pixels and relative depths, its root 10 % too far (RootNet's
    # part): x and y grow by a tenth, so a joint 100 mm beside the wrist is 10 mm off.
    focal, root_mm = 1000.0, 500.0
    hand = np.zeros((21, 3))
    hand[:, 2] = root_mm
    hand[1:, 0] = 100.0
    u_px = focal * hand[:, 0] / hand[:, 2]
    said = hand.copy()
    said[:, 2] = hand[:, 2] * 1.1
    said[:, 0] = u_px / focal * said[:, 2]
    pair = np.stack([hand, hand])[None]
    error = value(np.stack([said, said])[None], truth_of(pair), interhand.MPJPE_NO_WRISTS)
    assert error == pytest.approx(10.0)


def slow_mpjpe(said42, true42, valid42, types) -> dict[str, float]:
    """The evaluation as SYSTEMS 5.6 tells it, joint by joint in lists, in the set's own order."""
    lists = {"sh": [[] for _ in range(42)], "ih": [[] for _ in range(42)]}
    for said, true, valid, kind in zip(said42, true42, valid42, types, strict=True):
        for joint in range(42):
            root = 20 if joint < 21 else 41
            if valid[joint] and valid[root]:
                off = (said[joint] - said[root]) - (true[joint] - true[root])
                lists["ih" if kind == "interacting" else "sh"][joint].append(np.linalg.norm(off))
    lists["all"] = [s + i for s, i in zip(lists["sh"], lists["ih"], strict=True)]
    return {k: float(np.mean([np.mean(one) for one in v])) for k, v in lists.items()}


def test_the_same_as_the_slow_way():
    rng = np.random.default_rng(5)
    n = 60
    types = rng.choice(["right", "left", "interacting"], n)
    hands = hand_types(*types)
    valid = (rng.uniform(size=(n, 2, 21)) < 0.8) & hands[..., None]
    true, said = random_pairs(n, seed=6), random_pairs(n, seed=7)
    slow = slow_mpjpe(
        to_interhand42(said), to_interhand42(true), to_interhand42(valid[..., None])[..., 0], types
    )
    truth = truth_of(true, valid, hands=hands)
    for subset, mean in slow.items():
        assert value(said, truth, interhand.MPJPE.on(subset=subset)) == pytest.approx(mean)


# MRRPE and AP_h


def test_mrrpe_by_hand():
    # The left wrist is 3, 4 further from the right one than in truth; a shift of both is no error.
    said = pairs(1) + np.array([10, 20, 30])
    said[0, LEFT] += [3, 4, 0]
    assert value(said, truth_of(pairs(1)), interhand.MRRPE) == pytest.approx(5.0)


def test_mrrpe_wants_interacting_frames_with_both_wrists():
    valid = np.ones((3, 2, 21), bool)
    valid[1, LEFT, WRIST] = False
    truth = truth_of(pairs(3), valid, hands=hand_types("interacting", "interacting", "right"))
    said = pairs(3)
    said[:, LEFT, WRIST] += [[2, 0, 0], [50, 0, 0], [90, 0, 0]]
    scored = score(saying(said), truth, interhand.MRRPE)
    assert (scored.value, scored.n_samples) == (pytest.approx(2.0), 1)
    assert np.isnan(value(said[2:], truth_of(pairs(1), hands=hand_types("right")), interhand.MRRPE))


def test_mrrpe_is_not_scaled_or_aligned():
    # Twice as far away and twice as large: the way between the wrists is twice as long.
    apart = np.linalg.norm(pairs(1)[0, LEFT, WRIST] - pairs(1)[0, RIGHT, WRIST])
    assert value(2 * pairs(1), truth_of(pairs(1)), interhand.MRRPE) == pytest.approx(apart)


def test_ap_h_is_the_share_of_frames_with_both_bits_right():
    # SYSTEMS 12.17: the paper says average precision, the code counts. Right: frames 0, 1, 3.
    scores = [[0.9, 0.1], [0.51, 0.99], [0.9, 0.6], [0.2, 0.8], [0.4, 0.3]]
    types = hand_types("right", "interacting", "right", "left", "left")
    truth = truth_of(pairs(5), hands=types)
    scored = score(saying(pairs(5), hand_scores=np.array(scores)), truth, interhand.AP_H)
    np.testing.assert_array_equal(scored.samples[:, 0], [1, 1, 0, 1, 0])
    assert (scored.value, scored.n_samples) == (0.6, 5)


def test_exactly_one_half_is_wrong_either_way():
    truth = truth_of(pairs(2), hands=hand_types("right", "interacting"))
    scores = np.array([[0.9, 0.5], [0.5, 0.9]])
    assert value(pairs(2), truth, interhand.AP_H, hand_scores=scores) == 0


def test_frames_without_a_known_hand_type_do_not_count():
    hands = hand_types("right", "left", "interacting")
    hands[2] = False
    truth = truth_of(pairs(3), hands=hands, hands_known=np.array([1, 0, 1]))
    scores = np.tile([0.9, 0.1], (3, 1))
    scored = score(saying(pairs(3), hand_scores=scores), truth, interhand.AP_H)
    assert (scored.value, scored.n_samples) == (1, 1)


def test_a_missing_score_is_a_missing_sample():
    scores = np.array([[0.9, np.nan]])
    with pytest.raises(ProtocolError, match=r"ap_h_as_accuracy.*: 1 of 1 samples have no"):
        value(pairs(1), truth_of(pairs(1)), interhand.AP_H, hand_scores=scores)


# HDR


def test_hdr_knows_the_true_bone_and_interhand_does_not():
    # SYSTEMS 1.8: a hand of half the size is no error for HDR; a tip's error then counts twice.
    truth = truth_of(pairs(1))
    half = (pairs(1) - pairs(1)[:, :, :1]) / 2
    assert value(half, truth, hdr_protocol.MPJPE) == pytest.approx(0)
    assert value(half, truth, interhand.MPJPE) > 20
    said = moved(half, 8, 21.0, 0, RIGHT)
    assert value(said, truth, hdr_protocol.MPJPE) == pytest.approx(2 * 21 / 42)
    assert value(said, truth, hdr_protocol.MPJPE_NO_WRISTS) == pytest.approx(2 * 21 / 40)


def test_hdr_scales_by_wrist_to_middle_knuckle_only():
    # The middle knuckle itself 100 -> 80 mm from the wrist: all joints grow by 1.25, so the
    # knuckle is right and a joint at 95 mm is off by a quarter of that.
    said = pairs(1)
    said[0, RIGHT, MCP] = [0, -80, 500]
    scored = score(saying(said), truth_of(pairs(1)), hdr_protocol.MPJPE)
    from_wrist = np.linalg.norm(flat_hand() - flat_hand()[WRIST], axis=-1)
    want = from_wrist / 4
    want[MCP] = 0
    np.testing.assert_allclose(scored.errors[0, RIGHT], want, atol=1e-9)


def test_hdr_without_the_bone():
    # The truth does not know it: the hand does not count. The prediction has none of any length:
    # it has no answer, which is an error or a missing hand.
    valid = np.ones((1, 2, 21), bool)
    valid[0, LEFT, MCP] = False
    assert score(saying(pairs(1)), truth_of(pairs(1), valid), hdr_protocol.MPJPE).n_samples == 1
    squeezed = pairs(1)
    squeezed[0, LEFT] = squeezed[0, LEFT, WRIST]
    with pytest.raises(ProtocolError, match="1 of 2 samples have no prediction"):
        value(squeezed, truth_of(pairs(1)), hdr_protocol.MPJPE)
    found = score(saying(squeezed), truth_of(pairs(1)), hdr_protocol.MPJPE.of_found())
    assert (found.value, found.n_samples, found.n_missing) == (pytest.approx(0), 1, 1)
    # A true hand of one point has no length to scale by.
    assert score(saying(pairs(1)), truth_of(squeezed), hdr_protocol.MPJPE).n_samples == 1


# IntagHand


def test_intaghand_by_hand():
    # By the middle knuckle, bone of the true length: a tip of the right hand 21 mm off is 1 there,
    # one of the left 63 mm off is 3, and the mean of the sides 2. Half the size is no error.
    truth = truth_of(pairs(1))
    half = (pairs(1) - pairs(1)[:, :, :1]) / 2
    said = moved(moved(half, 8, 10.5, 0, RIGHT), 8, 31.5, 0, LEFT)
    assert value(said, truth, followups.INTAGHAND_MPJPE) == pytest.approx(2.0)


def test_intaghand_is_zero_at_the_knuckle_and_not_at_the_wrist():
    # The bone's direction is wrong by a right angle: HDR has it all in the knuckle, IntagHand in
    # the wrist.
    said = pairs(1)
    said[0, :, WRIST] = said[0, :, MCP] + [[100, 0, 0]]
    errors = score(saying(said), truth_of(pairs(1)), followups.INTAGHAND_MPJPE).errors[0]
    np.testing.assert_allclose(errors[:, MCP], 0)
    np.testing.assert_allclose(errors[:, WRIST], np.hypot(100, 100))


def test_intaghand_means_each_side_first():
    # Two right hands (6, 0) and one left (9): sides 3 and 9, mean 6; pooled it would be 5.
    valid = np.ones((2, 2, 21), bool)
    valid[1, LEFT] = False
    truth = truth_of(pairs(2), valid, hands=hand_types("interacting", "interacting"))
    said = moved(moved(pairs(2), 8, 6 * 21.0, 0, RIGHT), 8, 9 * 21.0, 0, LEFT)
    assert value(said, truth, followups.INTAGHAND_MPJPE) == pytest.approx(6.0)


def test_intaghand_takes_frames_of_two_hands():
    truth = truth_of(pairs(1), hands=hand_types("right"))
    assert np.isnan(value(pairs(1), truth, followups.INTAGHAND_MPJPE))


def test_intaghand_moves_the_mesh_with_the_joints():
    # Vertices at the knuckle and 50 mm beyond; the prediction is half as large and elsewhere, its
    # second vertex 5 mm off, which is 10 at full size: mean (0 + 10) / 2.
    mesh = np.stack([flat_hand()[MCP], flat_hand()[MCP] + [0, -50, 0]])
    meshes = np.repeat(np.stack([mesh, mesh])[None], 2, axis=0)
    hands = np.repeat(np.stack([flat_hand(), flat_hand()])[None], 2, axis=0)
    truth = truth_of(hands, vertices_cam_mm=meshes)
    said_mesh = meshes / 2 + 7
    said_mesh[:, :, 1, 0] += 5
    said = value(hands / 2 + 7, truth, followups.INTAGHAND_MPVPE, vertices_cam_mm=said_mesh)
    assert said == pytest.approx(5.0)


# IHMR, InterWild


def test_ihmr_by_the_right_wrist_knows_how_hands_stand():
    said = pairs(1)
    said[0, LEFT] += [3, 4, 0]
    truth = truth_of(pairs(1))
    assert value(said, truth, followups.IHMR_MPJPE) == pytest.approx(0)
    # All 21 joints of the left hand are 5 off, those of the right 0.
    assert value(said, truth, followups.IHMR_RIGHT_MPJPE) == pytest.approx(2.5)
    valid = np.ones((1, 2, 21), bool)
    valid[0, RIGHT, WRIST] = False
    assert np.isnan(value(said, truth_of(pairs(1), valid), followups.IHMR_RIGHT_MPJPE))


def test_interwilds_all_is_the_mean_of_sh_and_ih():
    # A left and three right hands alone, each 21 mm off at the index tip, and two hands together
    # that are right. SH is 1, IH 0, ALL 0.5; InterHand2.6M's ALL is 21 * (1/2 + 3/4) / 42.
    hands = hand_types("left", *["right"] * 3, "interacting")
    truth = truth_of(pairs(5), np.repeat(hands[..., None], 21, axis=2), hands=hands)
    said = moved(pairs(5), 8, 21.0, slice(4))
    of = {s: value(said, truth, followups.INTERWILD_MPJPE.on(subset=s)) for s in interhand.SUBSETS}
    assert of == pytest.approx({"sh": 1.0, "ih": 0.0, "all": 0.5})
    assert value(said, truth, interhand.MPJPE) == pytest.approx(21 * (1 / 2 + 3 / 4) / 42)
    assert score(saying(said), truth, followups.INTERWILD_MPJPE).n_samples == 6


def test_interwilds_sh_and_ih_are_interhands():
    hands = hand_types("right", "left", "interacting", "interacting")
    truth = truth_of(random_pairs(4), np.ones((4, 2, 21)) * hands[..., None], hands=hands)
    for subset in ("sh", "ih"):
        ours, theirs = (
            value(random_pairs(4, 1), truth, p.on(subset=subset))
            for p in (followups.INTERWILD_MPJPE, interhand.MPJPE)
        )
        assert ours == pytest.approx(theirs)


def test_interwild_by_hand():
    mesh = pairs(2)[:, :, 5:9]
    truth = truth_of(pairs(2), vertices_cam_mm=mesh, hands=hand_types("interacting", "right"))
    xyz, said_mesh = pairs(2), mesh.copy()
    xyz[:, LEFT] += [3, 4, 0]
    said_mesh[:, LEFT] += [3, 4, 0]
    # One of four vertices of each right hand 8 mm off.
    said_mesh[:, RIGHT, 0, 2] += 8
    of = {
        p: score(saying(xyz, vertices_cam_mm=said_mesh), truth, p)
        for p in (followups.INTERWILD_MPVPE, followups.INTERWILD_RRVE, followups.INTERWILD_MRRPE)
    }
    # By each wrist: right hands 2, left ones 0. By the right wrist: (2 + 5) / 2, in the one frame.
    np.testing.assert_allclose(of[followups.INTERWILD_MPVPE].samples, [[2, 0], [2, 0]], atol=1e-9)
    assert of[followups.INTERWILD_MPVPE].value == pytest.approx(1.0)
    assert of[followups.INTERWILD_RRVE].value == pytest.approx(3.5)
    assert of[followups.INTERWILD_RRVE].n_samples == 1
    assert of[followups.INTERWILD_MRRPE].value == pytest.approx(5.0)


def test_a_mesh_that_is_not_there():
    mesh = pairs(1)[:, :, 5:9]
    mesh[0, LEFT] = np.nan
    truth = truth_of(pairs(1), vertices_cam_mm=mesh)
    more = {"vertices_cam_mm": mesh}
    assert score(saying(pairs(1), **more), truth, followups.INTERWILD_MPVPE).n_samples == 1
    assert np.isnan(value(pairs(1), truth, followups.INTERWILD_RRVE, **more))
    with pytest.raises(ProtocolError, match="1 of 2 samples"):
        value(pairs(1), truth_of(pairs(1), vertices_cam_mm=pairs(1)[:, :, 5:9]),
              followups.INTERWILD_MPVPE, **more)  # fmt: skip
