"""PoseTrack and FrameLedger: each check by its text, cutting and joining, exact time, the sums."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from tracks import CASES, absent_in_the_middle, make_ledger, make_meta, make_track, same_track

from hdrvideo.errors import ShapeError, TrackError
from hdrvideo.hand import JOINTS
from hdrvideo.handmodel import POSE_JOINTS, HandModel
from hdrvideo.track import (
    ABSENT,
    BRIDGED,
    CORRECTED,
    DEOCCLUDED,
    DUPLICATE,
    FRAME_LOST,
    IS_BRIDGED,
    LOW_PRESENCE,
    N_SHAPE,
    NOT_FOUND,
    OBSERVED,
    POSED,
    PROVENANCE,
    REASONS,
    ROW_ARRAYS,
    SCHEMA_VERSION,
    TOO_SHORT,
    TURNING,
    FrameLedger,
    LedgerCounts,
    TrackMeta,
    concatenate,
)


def changed(track, name, where, value):
    values = getattr(track, name).copy()
    values[where] = value
    return replace(track, **{name: values})


def test_codes_and_words_agree():
    words = {ABSENT: "absent", OBSERVED: "observed", DEOCCLUDED: "deoccluded"}
    words |= {BRIDGED: "bridged", CORRECTED: "corrected"}
    assert [words[i] for i in range(5)] == list(PROVENANCE)
    reasons = (POSED, IS_BRIDGED, FRAME_LOST, NOT_FOUND, LOW_PRESENCE, DUPLICATE, TOO_SHORT)
    assert reasons == tuple(range(len(REASONS)))
    assert REASONS[FRAME_LOST] == "frame lost"
    assert REASONS[TOO_SHORT] == "too short to trust"


@pytest.mark.parametrize("name", ROW_ARRAYS)
def test_every_array_is_checked_for_shape_and_type(name):
    track = absent_in_the_middle()
    values = getattr(track, name)
    length = "frame_index" if name != "frame_index" else "pts"
    for wrong in (values[:-1], values[..., None], values.astype(np.float16)):
        # A frame_index of another length sets the length that is asked of all the others.
        blamed = length if name == "frame_index" and wrong.shape == values[:-1].shape else name
        with pytest.raises(ShapeError, match=f"^{blamed} is .*, expected"):
            replace(track, **{name: wrong})


def test_times_must_increase():
    track = make_track(5)
    for pts in ([0, 1, 1, 2, 3], [0, 3, 2, 4, 5]):
        with pytest.raises(ShapeError, match=r"pts do not increase after row 1: \[\d \d\]"):
            replace(track, pts=np.array(pts, np.int64))


def test_rows_must_follow_one_another():
    track = make_track(3)
    for index in ([0, 2, 3], [0, 0, 1], [2, 1, 0]):
        with pytest.raises(ShapeError, match="frame_index has a gap; every source frame needs"):
            replace(track, frame_index=np.array(index, np.int64))
    assert replace(track, frame_index=np.array([7, 8, 9])).frame_index[0] == 7


def test_provenance_must_be_known():
    track = make_track(3)
    with pytest.raises(ShapeError, match="provenance has code 5, known are 0 to 4"):
        changed(track, "provenance", (1, 0), 5)
    assert changed(track, "provenance", (1, 0), CORRECTED).present[1, 0]


@pytest.mark.parametrize("name", ["uv_px", "xyz_cam_mm", "confidence"])
def test_present_is_finite_and_absent_is_nan(name):
    track = absent_in_the_middle()
    text = f"{name} must be finite where a hand is present, NaN elsewhere"
    with pytest.raises(ShapeError, match=text):
        changed(track, name, (0, 0, 3), np.nan)
    with pytest.raises(ShapeError, match=text):
        changed(track, name, (5, 1, 3), 0)
    with pytest.raises(ShapeError, match=text):
        changed(track, name, (5, 1), 0)


def test_confidence_range():
    for wrong in (-0.01, 1.01):
        with pytest.raises(ShapeError, match=r"confidence must lie in 0\.\.1"):
            changed(make_track(3), "confidence", (1, 0, 4), wrong)


def test_absent_is_never_visible():
    with pytest.raises(ShapeError, match="visible must be False where a hand is absent"):
        changed(absent_in_the_middle(), "visible", (5, 1, 0), True)


def test_the_hand_model_has_these_turns_and_scores():
    assert tuple(JOINTS[j] for j in TURNING) == POSE_JOINTS
    assert HandModel().n_shape == N_SHAPE


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_hand_has_all_turns_and_its_shape_or_none(bad):
    track = absent_in_the_middle()
    for name, at, n in (("turn_rad", (0, 1), 59), ("turn_rad", (19,), 57), ("shape", (11,), 59)):
        text = f"turn_rad and shape have {n} finite numbers in row 2, side 1, expected all 60"
        with pytest.raises(ShapeError, match=text):
            changed(track, name, (2, 1, *at), bad)
    plain = make_track(3)
    for name, n in (("turn_rad", 3), ("shape", 12)):
        with pytest.raises(ShapeError, match=f"have {n} finite numbers in row 1, side 0, expected"):
            changed(plain, name, (1, 0, 3) if name == "turn_rad" else (1, 0), 0)
    # One hand's pose does not ask for the other's.
    turn_rad, shape = track.turn_rad.copy(), track.shape.copy()
    turn_rad[2, 1], shape[2, 1] = np.nan, np.nan
    assert replace(track, turn_rad=turn_rad, shape=shape).present[2, 1]


def test_no_hand_no_turn():
    track = absent_in_the_middle()
    turn_rad, shape = track.turn_rad.copy(), track.shape.copy()
    turn_rad[5, 1], shape[5, 1] = turn_rad[0, 1], 0
    with pytest.raises(ShapeError, match="turn_rad and shape must be NaN where a hand is absent"):
        replace(track, turn_rad=turn_rad, shape=shape)


def test_tips_do_not_turn():
    for tip in (4, 20):
        with pytest.raises(ShapeError, match="turn_rad must be NaN at the tips: they do not turn"):
            changed(absent_in_the_middle(), "turn_rad", (0, 0, tip, 2), 0)


@pytest.mark.parametrize("case", CASES)
def test_cut_and_joined_is_the_same(case):
    track = CASES[case]()
    for cut in range(1, len(track)):
        same_track(concatenate([track.rows(0, cut), track.rows(cut, len(track))]), track)
    same_track(concatenate([track.rows(n, n + 1) for n in range(len(track))]), track)


@pytest.mark.parametrize("case", CASES)
def test_a_track_may_hold_no_frame(case):
    track = CASES[case]()
    empty = track.rows(2, 2)
    assert len(empty) == 0
    same_track(concatenate([track, empty]), track)


def test_joining_keeps_the_checks():
    track = make_track(6)
    with pytest.raises(ShapeError, match="pts do not increase after row 2"):
        concatenate([track.rows(3, 6), track.rows(0, 3)])
    with pytest.raises(ShapeError, match="frame_index has a gap"):
        concatenate([track.rows(0, 2), track.rows(3, 6)])
    with pytest.raises(TrackError, match="a track needs at least one window, got none"):
        concatenate([])


def test_time_is_exact():
    meta = make_meta(time_base=Fraction(1001, 30000))
    pts = np.array([0, 1, 30000, 1294705], np.int64)
    track = make_track(4, meta=meta, pts=pts)
    assert track.pts_seconds.tolist() == [float(int(p) * Fraction(1001, 30000)) for p in pts]


def test_relative_to_the_wrist():
    track = absent_in_the_middle()
    relative = track.xyz_rel_mm
    assert (relative[track.present][:, 0] == 0).all()
    assert np.isnan(relative[~track.present]).all()
    np.testing.assert_allclose(
        relative[0, 0, 8], track.xyz_cam_mm[0, 0, 8] - track.xyz_cam_mm[0, 0, 0], rtol=1e-6
    )


def test_meta_through_json():
    for rate in (None, Fraction(30000, 1001)):
        meta = replace(make_meta(), rate=rate)
        assert TrackMeta.from_json(json.loads(json.dumps(meta.to_json()))) == meta
    assert make_meta().to_json()["time_base"] == "1001/30000"


def test_meta_errors():
    values = make_meta().to_json()
    newer = values | {"schema_version": SCHEMA_VERSION + 1}
    text = f"track schema is {SCHEMA_VERSION + 1}, this version reads {SCHEMA_VERSION}; install"
    with pytest.raises(TrackError, match=text):
        TrackMeta.from_json(newer)
    for key in values:
        with pytest.raises(TrackError, match=f"track has no '{key}' in its meta data; is it ours"):
            TrackMeta.from_json({k: v for k, v in values.items() if k != key})
    for wrong in (
        {"width": "wide"},
        {"time_base": "often"},
        {"rate": "3/0/1"},
        {"time_base": "1/0"},
        {"camera": values["camera"] | {"zoom": 2}},
        {"camera": None},
    ):
        with pytest.raises(TrackError, match=r"track's meta data cannot be read \(.*\); is it our"):
            TrackMeta.from_json(values | wrong)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("frame_index", "int64"),
        ("pts", "int64"),
        ("pts_seconds", "float64"),
        ("decode_status", "uint8"),
        ("reason", "uint8"),
    ],
)
def test_ledger_checks_itself(name, kind):
    ledger = make_ledger(make_track(4))
    with pytest.raises(ShapeError, match=f"^{name} is .*, expected {kind}"):
        replace(ledger, **{name: getattr(ledger, name).astype(np.float16)})
    with pytest.raises(ShapeError, match=f"^{name} is .*, expected {kind}"):
        replace(ledger, **{name: getattr(ledger, name)[..., None]})


def test_ledger_cut_and_joined_is_the_same():
    ledger = make_ledger(absent_in_the_middle(), lost=(4,))
    for cut in range(len(ledger) + 1):
        joined = ledger.rows(0, cut).then(ledger.rows(cut, len(ledger)))
        for name, value in vars(ledger).items():
            np.testing.assert_array_equal(getattr(joined, name), value)


def random_ledger(n: int, seed: int) -> FrameLedger:
    rng = np.random.default_rng(seed)
    return FrameLedger(
        frame_index=np.arange(n),
        pts=np.arange(n),
        pts_seconds=np.arange(n) / 30,
        decode_status=rng.integers(0, 3, n).astype(np.uint8),
        reason=rng.integers(0, len(REASONS), (n, 2)).astype(np.uint8),
    )


@pytest.mark.parametrize("seed", range(5))
def test_counts_of_windows_are_the_counts_of_the_whole(seed):
    ledger = random_ledger(400, seed)
    whole = LedgerCounts(420).add(ledger)
    cuts = [0, 1, 1, 90, 333, 400]
    parts = LedgerCounts(420)
    for start, stop in pairwise(cuts):
        parts = parts.add(ledger.rows(start, stop))
        parts.check()
    assert parts == whole
    assert whole.container_says == 420
    assert whole.rows == 400
    assert whole.damaged == (ledger.decode_status == 1).sum()
    assert whole.failed == (ledger.decode_status == 2).sum()
    assert whole.failed_frames == tuple(np.flatnonzero(ledger.decode_status == 2))[:100]
    for side in range(2):
        counted = [(ledger.reason[:, side] == code).sum() for code in range(len(REASONS))]
        assert list(whole.reasons[side]) == counted
        assert whole.observed[side] == counted[POSED]
        assert whole.bridged[side] == counted[IS_BRIDGED]
        assert whole.absent[side] == 400 - counted[POSED] - counted[IS_BRIDGED]


def test_counts_that_do_not_add_up_are_reported():
    counts = LedgerCounts(10).add(make_ledger(absent_in_the_middle()))
    counts.check()
    LedgerCounts(None).check()
    text = "ledger does not add up: 11 decoded . 0 failed is not 12 rows; please report this clip"
    with pytest.raises(TrackError, match=text):
        replace(counts, decoded=11).check()
    text = "ledger does not add up: 13 outcomes of side 1 for 12 rows; please report this clip"
    with pytest.raises(TrackError, match=text):
        replace(counts, observed=(12, counts.observed[1] + 1)).check()
