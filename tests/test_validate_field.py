"""The core of the field's protocols: names, missing hands, averages, and no mixing."""

from dataclasses import replace

import numpy as np
import pytest
from field_cases import one_hand, pairs, random_pairs, saying, truth_of

from hdrvideo.errors import ProtocolError, SettingsError, ShapeError
from hdrvideo.validate import dexycb, followups, hdr_protocol, interhand, tzionas
from hdrvideo.validate.field import (
    AVERAGES,
    SCALES,
    Errors,
    Protocol,
    pooled,
    same_protocol,
    score,
    score_of_errors,
)
from hdrvideo.validate.field_hands import FieldTruth, field_prediction, field_truth
from hdrvideo.validate.field_protocols import FIELD_PROTOCOLS, protocol_named

every_protocol = pytest.mark.parametrize("protocol", FIELD_PROTOCOLS, ids=lambda p: p.name)


def moved_fingertip(xyz: np.ndarray, by_mm: float) -> np.ndarray:
    moved = xyz.copy()
    moved[..., 8, 0] += by_mm
    return moved


def with_errors(*values: float, average: str = "pooled", clips=None, n_bootstrap: int = 0):
    """Give the score of one number a frame."""
    protocol = replace(interhand.MRRPE, average=average)
    errors = np.array(values)[:, None, None]
    names = None if clips is None else np.array(clips)
    return score_of_errors(protocol, errors, 0, names, n_bootstrap, 0)


# names


def test_the_name_of_the_published_mpjpe():
    name = "mpjpe_interhand_wrist_42j_two_zero_wrists_mm[ih26m_test_all]"
    assert interhand.MPJPE.name == name
    assert interhand.MPJPE.on(split="val", subset="sh").name.endswith("[ih26m_val_sh]")
    assert interhand.MPJPE.of_found().name.endswith("wrists_found_mm[ih26m_test_all]")


def test_all_names_differ():
    names = [p.name for p in FIELD_PROTOCOLS]
    assert len(set(names)) == len(names) == 37


@every_protocol
def test_a_name_carries_alignment_scale_joints_set_and_split(protocol):
    head, _, where = protocol.name.partition("[")
    for word in (protocol.measure, protocol.alignment, protocol.scale, protocol.joints):
        assert word in head
    # Only what compares no positions has no alignment.
    assert protocol.alignment or protocol.unit == "0-1"
    assert protocol.joints
    assert protocol.data_set in where
    assert protocol.split in where
    assert protocol.text
    assert protocol.source


def test_a_protocol_is_found_by_name():
    assert protocol_named(interhand.AP_H.name) is interhand.AP_H
    assert protocol_named("ap_h_as_accuracy_interhand_two_bits") is interhand.AP_H
    with pytest.raises(ProtocolError, match=r"no protocol is named 'mpjpe'; see FIELD_PROTOCOLS"):
        protocol_named("mpjpe")


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("alignment", "elbow", "alignment is 'elbow', expected one of unaligned, wrist"),
        ("scale", "any", "scale is 'any', expected one of"),
        ("average", "median", "average is 'median', expected one of pooled, joint_means"),
        ("unit", "cm", "unit is 'cm', expected one of mm, px, 0-1"),
        ("subset", "both", "subset is 'both', expected one of"),
        ("is_better", "none", "is_better is 'none', expected one of higher, lower"),
        ("split", "S0 test", "split is 'S0 test', expected words such as 's0_test'"),
        ("measure", "", "measure is '', expected words"),
    ],
)
def test_words_that_are_not_known_are_refused(field, value, text):
    with pytest.raises(ProtocolError, match=text):
        replace(interhand.MPJPE, **{field: value})


# no mixing


@pytest.mark.parametrize(
    "other",
    [
        interhand.MPJPE_NO_WRISTS,
        interhand.MPJPE.on(subset="ih"),
        interhand.MPJPE.on(split="val"),
        interhand.MPJPE.of_found(),
        hdr_protocol.MPJPE,
        followups.IHMR_MPJPE,
    ],
    ids=lambda p: p.name,
)
def test_scores_of_different_protocols_do_not_mix(other):
    truth, prediction = truth_of(pairs(2)), saying(moved_fingertip(pairs(2), 1))
    ours = score(prediction, truth, interhand.MPJPE)
    theirs = score(prediction, truth, other)
    text = r"scores of 2 protocols \(mpjpe_interhand_.*, mpjpe_.*\) cannot be averaged or compared"
    with pytest.raises(ProtocolError, match=text):
        ours.minus(theirs)
    with pytest.raises(ProtocolError, match=text):
        pooled([ours, theirs])


def test_every_pair_of_protocols_refuses():
    scores = [with_errors(1.0)]
    scores = [replace(scores[0], protocol=p) for p in FIELD_PROTOCOLS]
    for i, one in enumerate(scores):
        for k, other in enumerate(scores):
            if i == k:
                assert one.minus(other) == 0
            else:
                with pytest.raises(ProtocolError):
                    one.minus(other)


def test_no_score_is_no_protocol():
    with pytest.raises(ProtocolError, match=r"scores of 0 protocols \(none\)"):
        same_protocol([])


def test_a_test_number_is_not_a_val_number():
    # SYSTEMS 12.16: HandOccNet's table says test, its released loader reads val.
    test, _ = dexycb.HANDOCCNET
    val = test.on(split="s0_val")
    hands = one_hand(pairs(3)[:, 0])
    scores = [score(saying(hands), truth_of(hands), p) for p in (test, val)]
    with pytest.raises(ProtocolError, match=r"\[dexycb_s0_test\].*\[dexycb_s0_val\]"):
        scores[0].minus(scores[1])


def test_scores_of_one_protocol_are_compared_and_pooled():
    # 1 and 3, 8: means 2 and 8, all three 4.
    first, second = with_errors(1, 3, clips=["a", "b"]), with_errors(8, clips=["c"])
    assert second.minus(first) == 6
    both = pooled([first, second], n_bootstrap=50)
    assert (both.value, both.n_samples) == (4, 3)
    assert both.low < 4 < both.high
    np.testing.assert_array_equal(both.clips, ["a", "b", "c"])
    assert pooled([first, with_errors(8)]).clips is None


# averages


def averaged(errors, average: str) -> float:
    protocol = replace(interhand.MPJPE, average=average)
    return score_of_errors(protocol, np.array(errors, float), 0, None, 0, 0).value


def test_averages_by_hand():
    nan = np.nan
    # Frame, hand, joint: the right hand has 2 4 | 6 -, the left - 10 | - -.
    errors = [[[2, 4], [nan, 10]], [[6, nan], [nan, nan]]]
    assert averaged(errors, "pooled") == (2 + 4 + 6 + 10) / 4
    # Joints: (2 + 6) / 2 = 4, 4, none, 10.
    assert averaged(errors, "joint_means") == (4 + 4 + 10) / 3
    # Hands: (2 + 4 + 6) / 3 = 4, 10.
    assert averaged(errors, "hand_means") == (4 + 10) / 2


@pytest.mark.parametrize("average", AVERAGES)
def test_without_samples_there_is_no_number(average):
    none = np.full((3, 2, 4), np.nan)
    protocol = replace(interhand.MPJPE, average=average)
    scored = score_of_errors(protocol, none, 0, np.array(list("aab")), 20, 0)
    assert np.isnan([scored.value, scored.low, scored.high]).all()
    assert scored.n_samples == 0
    assert np.isnan(scored.samples).all()
    assert np.isnan(score_of_errors(protocol, none[:0], 0, None, 0, 0).value)


def test_samples_are_means_of_hands():
    truth, prediction = truth_of(pairs(2)), saying(moved_fingertip(pairs(2), 42.0))
    scored = score(prediction, truth, interhand.MPJPE)
    np.testing.assert_allclose(scored.samples, np.full((2, 2), 2.0))
    assert scored.n_samples == 4


def test_intervals_resample_clips():
    # Clip a has 0 0, clip b 2 2: resampled means are 0, 1 or 2.
    scored = with_errors(0, 0, 2, 2, clips=list("aabb"), n_bootstrap=200)
    assert (scored.value, scored.low, scored.high) == (1, 0, 2)
    one = with_errors(0, 0, 2, 2, clips=list("aaaa"), n_bootstrap=200)
    assert np.isnan(one.low)
    untold = with_errors(0, 0, 2, 2, n_bootstrap=200)
    assert np.isnan(untold.high)
    constant = with_errors(5, 5, clips=["a", "b"], n_bootstrap=200, average="joint_means")
    assert (constant.low, constant.high) == (5, 5)


def test_a_negative_number_of_resamples_is_refused():
    with pytest.raises(SettingsError, match="n_bootstrap is -1"):
        with_errors(0, 1, clips=["a", "b"], n_bootstrap=-1)


# missing hands


def test_a_missing_hand_is_an_error_or_left_out_and_counted():
    truth, xyz = truth_of(pairs(2)), moved_fingertip(pairs(2), 21.0)
    xyz[1, 1] = np.nan
    with pytest.raises(ProtocolError, match=r"1 of 4 samples have no prediction.*of_found"):
        score(saying(xyz), truth, interhand.MPJPE)
    found = score(saying(xyz), truth, interhand.MPJPE.of_found())
    assert found.value == pytest.approx(1.0)
    assert (found.n_samples, found.n_missing) == (3, 1)


def test_a_hand_with_a_missing_joint_is_missing_whole():
    xyz = pairs(1)
    xyz[0, 0, 3] = np.nan
    found = score(saying(xyz), truth_of(pairs(1)), interhand.MPJPE.of_found())
    assert (found.n_samples, found.n_missing) == (1, 1)


def test_a_hand_that_the_truth_lacks_may_be_missing():
    true, xyz = pairs(1), pairs(1)
    true[0, 1] = xyz[0, 1] = np.nan
    scored = score(saying(xyz), truth_of(true), interhand.MPJPE)
    assert (scored.value, scored.n_samples) == (0, 1)


# what is refused


def test_what_a_protocol_needs_must_be_given():
    truth = truth_of(pairs(1))
    with pytest.raises(ShapeError, match="FieldPrediction has no hand_scores, which this"):
        score(saying(pairs(1)), truth, interhand.AP_H)
    with pytest.raises(ShapeError, match="FieldTruth has no uv_px, which this protocol"):
        score(field_prediction(uv_px=np.zeros((1, 2, 21, 2))), truth, tzionas.EPE)


def test_frames_must_be_as_many():
    with pytest.raises(ShapeError, match="prediction has 2 frames and the truth 3"):
        score(saying(pairs(2)), truth_of(pairs(3)), interhand.MPJPE)
    sure = field_prediction(hand_scores=np.ones((2, 2)))
    with pytest.raises(ShapeError, match="prediction has 2 frames and the truth 3"):
        score(sure, truth_of(pairs(3)), interhand.AP_H)
    with pytest.raises(ShapeError, match=r"clips are \(2,\), expected one for each of 3"):
        score(saying(pairs(3)), truth_of(pairs(3)), interhand.MPJPE, clips=[1, 2])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: truth_of(np.zeros((2, 2, 20, 3))), "xyz_cam_mm is float64"),
        (lambda: field_truth(np.ones((2, 21))), r"valid is \(2, 21\), expected \(N, 2, 21\)"),
        (lambda: truth_of(pairs(1), hands=np.ones(2)), "hands is bool"),
        (lambda: truth_of(pairs(1), hands_known=np.ones(2)), "hands_known is bool"),
        (
            lambda: field_truth(np.ones((3, 2, 21)), xyz_cam_mm=pairs(2)),
            "truth has 2 frames of joints and 3 of valid",
        ),
        (
            lambda: truth_of(np.full((1, 2, 21, 3), np.nan), np.ones((1, 2, 21))),
            "truth's xyz_cam_mm has NaN at joints that valid calls known",
        ),
        (lambda: saying(pairs(2), hand_scores=np.ones((3, 2))), "hand_scores is float64"),
        (lambda: saying(pairs(2), uv_px=np.ones((3, 2, 21, 2))), "uv_px is float64"),
        (lambda: Errors(np.zeros((1, 2)), np.zeros((1, 2), bool)), "value is float64"),
        (lambda: Errors(np.zeros((1, 2, 3)), np.zeros((1, 2, 2), bool)), "counted is bool"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(make, text):
    with pytest.raises(ShapeError, match=text):
        make()


def test_whole_hands_only():
    valid = np.ones((2, 2, 21), bool)
    valid[1, 0, :14] = False
    truth = FieldTruth(valid=valid, hands=np.ones((2, 2), bool), hands_known=np.ones(2, bool))
    with pytest.raises(ShapeError, match=r"truth knows 7 of 21 joints \(frame 1, side 0\)"):
        _ = truth.whole


# every protocol


@every_protocol
def test_the_truth_itself_is_perfect_and_nothing_is_no_number(protocol: Protocol):
    rng = np.random.default_rng(0)
    xyz = random_pairs(3)
    more = {
        "uv_px": rng.normal(size=(3, 2, 21, 2)),
        "vertices_cam_mm": rng.normal(size=(3, 2, 9, 3)),
    }
    truth = truth_of(xyz, **more)
    perfect = score(saying(xyz, hand_scores=np.ones((3, 2)), **more), truth, protocol)
    assert perfect.value == pytest.approx(0 if protocol.is_better == "lower" else 1, abs=1e-6)
    assert perfect.n_samples in (3, 6)
    empty = truth_of(
        xyz, np.zeros((3, 2, 21)), **{**more, "vertices_cam_mm": np.full((3, 2, 9, 3), np.nan)}
    )
    nothing = score(saying(xyz, hand_scores=np.ones((3, 2)), **more), empty, protocol)
    assert np.isnan(nothing.value)
    assert nothing.n_samples == 0


@pytest.mark.parametrize(
    "protocol", [p for p in FIELD_PROTOCOLS if p.subset != "ih"], ids=lambda p: p.name
)
def test_nothing_that_is_not_counted_matters(protocol: Protocol):
    rng = np.random.default_rng(1)
    true, said = one_hand(random_pairs(4)[:, 0]), one_hand(random_pairs(4, seed=2)[:, 0])
    uv, mesh = one_hand(rng.normal(size=(4, 21, 2))), one_hand(rng.normal(size=(4, 9, 3)))
    scores = np.ones((4, 2))
    truth = truth_of(true, uv_px=uv, vertices_cam_mm=mesh)
    plain = saying(said, uv_px=uv + 1, vertices_cam_mm=mesh + 1, hand_scores=scores)
    # The same with answers for the hand that is not there.
    fuller = saying(
        np.nan_to_num(said, nan=7.0),
        uv_px=np.nan_to_num(uv + 1, nan=7.0),
        vertices_cam_mm=np.nan_to_num(mesh + 1, nan=7.0),
        hand_scores=scores,
    )
    assert score(plain, truth, protocol).value == score(fuller, truth, protocol).value


@every_protocol
def test_one_frame_at_a_time_is_all_at_once(protocol: Protocol):
    rng = np.random.default_rng(3)
    xyz, said = random_pairs(4), random_pairs(4, seed=4)
    uv, mesh = rng.normal(size=(4, 2, 21, 2)), rng.normal(size=(4, 2, 9, 3))
    sure = rng.uniform(size=(4, 2))

    def part(k: slice):
        truth = truth_of(xyz[k], uv_px=uv[k], vertices_cam_mm=mesh[k])
        more = {"uv_px": 2 * uv[k], "vertices_cam_mm": mesh[k] ** 2, "hand_scores": sure[k]}
        return score(saying(said[k], **more), truth, protocol)

    whole = part(slice(None))
    frames = pooled([part(slice(k, k + 1)) for k in range(4)])
    assert frames.value == pytest.approx(whole.value)
    assert frames.n_samples == whole.n_samples


def test_scales_in_words():
    assert {p.scale for p in FIELD_PROTOCOLS} == set(SCALES)
