"""Harvest: which hands are chosen by what the track says of them."""

from dataclasses import replace

import numpy as np
import pytest
from harvest_hands import LAX, RIGHT_AT, RULES, track_of
from tracks import make_meta

from hdrvideo.candidates import Candidate, HarvestRules, select_hands
from hdrvideo.errors import SettingsError
from hdrvideo.synth.crops import CROP_PX
from hdrvideo.track import BRIDGED, PoseTrack


def reasons(track: PoseTrack, rules: HarvestRules = LAX, every: int = 1) -> dict[str, int]:
    chosen, rejected = select_hands(track, every=every, rules=rules)
    return {"chosen": len(chosen), **rejected}


def test_still_and_sure_hands_are_chosen():
    chosen, rejected = select_hands(track_of(), every=1, rules=RULES)
    assert len(chosen) == 24
    assert not rejected
    for candidate in chosen:
        u, v, size = candidate.square
        assert size == pytest.approx(2 * (100 * 1.2 + 1), abs=0.1)
        assert min(u, v) >= 0
        assert u + size <= 840
        assert v + size <= 600


def test_only_every_so_many_frames_are_looked_at():
    chosen, _ = select_hands(track_of(12), every=5, rules=RULES)
    assert sorted({c.row for c in chosen}) == [0, 5, 10]


def test_absent_hands_are_not_looked_at():
    assert reasons(track_of(absent=(0, 1))) == {"chosen": 0}
    assert reasons(track_of(absent=(1,))) == {"chosen": 12}


def test_each_reason_by_itself():
    track = track_of()
    unsure = track.confidence.copy()
    unsure[3, 0] = 0.8
    assert reasons(replace(track, confidence=unsure)) == {"chosen": 23, "not sure": 1}
    score = track.side_score.copy()
    score[4, 1] = 0.5
    assert reasons(replace(track, side_score=score)) == {"chosen": 23, "not sure": 1}
    assert reasons(track_of(size_px=30)) == {"chosen": 0, "too small": 24}
    assert reasons(track_of(places=(RIGHT_AT, (795.0, 300.0)))) == {
        "chosen": 12,
        "at the border": 12,
    }
    squat = track_of(places=((420.0, 300.0), RIGHT_AT), size_px=690, absent=(1,))
    uv = ((squat.uv_px - [420, 300]) * [1.0, 0.5] + [420, 300]).astype(np.float32)
    assert reasons(replace(squat, uv_px=uv, raw_uv_px=uv)) == {"chosen": 0, "no room": 12}
    codes = track.provenance.copy()
    codes[2, 0] = BRIDGED
    raw = track.raw_uv_px.copy()
    raw[2, 0] = np.nan
    assert reasons(replace(track, provenance=codes, raw_uv_px=raw)) == {
        "chosen": 23,
        "bridged": 1,
    }


def test_a_fast_hand_is_left_out():
    uv = track_of().uv_px.copy()
    uv[6:, 0, :, 0] += 30
    track = track_of(uv_px=uv, raw_uv_px=uv)
    # The jump is between rows 5 and 6: half of it in the mean over both neighbours.
    assert reasons(track, replace(RULES, max_move=0.2)) == {"chosen": 24}
    assert reasons(track, replace(RULES, max_move=0.1)) == {"chosen": 22, "moving fast": 2}


@pytest.mark.parametrize(("apart_px", "wanted"), [(200, 2.0), (178, 1.7), (160, 1.4), (120, None)])
def test_the_widest_crop_without_the_other_hand_is_taken(apart_px, wanted):
    places = ((250.0, 300.0), (250.0 + apart_px, 300.0))
    chosen, rejected = select_hands(track_of(places=places), every=1, rules=LAX)
    if wanted is None:
        assert rejected == {"other hand near": 24}
    else:
        assert {round(c.square[2] / 121, 2) for c in chosen} == {wanted}
        right = [c for c in chosen if c.side == 0]
        assert all(c.square[0] + c.square[2] < places[1][0] - 50 for c in right)


def test_a_hand_lost_a_moment_ago_still_counts_as_near():
    places = ((300.0, 300.0), (420.0, 300.0))
    near = track_of(70, places=places)
    codes = near.provenance.copy()
    codes[5:, 1] = 0
    gone = {}
    for name in ("uv_px", "raw_uv_px", "xyz_cam_mm", "raw_xyz_cam_mm", "confidence", "side_score"):
        gone[name] = getattr(near, name).copy()
        gone[name][5:, 1] = np.nan
    track = replace(near, provenance=codes, visible=near.visible & (codes != 0)[..., None], **gone)
    chosen, rejected = select_hands(track, every=1, rules=replace(LAX, near_seconds=1.0))
    # Seen last in row 4; one second is 29.97 rows.
    assert {c.row for c in chosen} == set(range(4 + 30, 70))
    assert rejected == {"other hand near": 5 + 5 + 29}


def test_another_hand_that_is_seen_elsewhere_now_is_not_near():
    uv = track_of(40, places=(RIGHT_AT, (320.0, 300.0))).uv_px.copy()
    uv[1:, 1, :, 0] += 300
    chosen, rejected = select_hands(track_of(40, uv_px=uv, raw_uv_px=uv), every=1, rules=LAX)
    assert rejected == {"other hand near": 2}
    assert len(chosen) == 78


def test_a_large_hand_in_a_narrow_picture_gets_a_crop_that_leaves_it():
    track = track_of(places=((420.0, 300.0), RIGHT_AT), size_px=530, absent=(1,))
    chosen, rejected = select_hands(track, every=1, rules=RULES)
    assert not rejected
    u, v, size = chosen[0].square
    assert size == pytest.approx(1.15 * (530 * 1.2 + 1), abs=0.1)
    assert v == pytest.approx(-(size - 600) / 2)
    assert u == pytest.approx(420.5 - size / 2, abs=0.1)
    inside = chosen[0].inside(840, 600)
    v_px = (np.arange(CROP_PX) + 0.5) * size / CROP_PX - 0.5 + v
    assert not inside[(v_px < 10) | (v_px > 589)].any()
    assert inside[(v_px > 15) & (v_px < 584), 1:-1].all()
    assert not inside[:, [0, -1]].any()
    near = track_of(places=((420.0, 300.0), (420.0, 300.0)), size_px=530)
    assert reasons(near) == {"chosen": 0, "other hand near": 24}


def test_rules_out_of_range_are_refused():
    with pytest.raises(SettingsError, match=r"HarvestRules.min_mask_iou is 1.5, expected 0 to 1"):
        HarvestRules(min_mask_iou=1.5)
    with pytest.raises(SettingsError, match=r"HarvestRules.max_fit_px is -1"):
        HarvestRules(max_fit_px=-1)


def test_crop_and_frame_agree():
    candidate = Candidate(0, 0, (10.0, 20.0, 512.0))
    assert candidate.step == 2
    # Pixel 0 of the crop covers pixels 10 and 11 of the frame.
    assert np.allclose(candidate.in_crop(np.array([10.5, 20.5])), 0)
    affine = candidate.crop_square.frame_from_crop(CROP_PX)
    assert np.allclose(affine[:, 2], [10.5, 20.5])
    camera = make_meta(640, 480).camera
    k = candidate.camera(camera)
    point = np.array([30.0, -20.0, 500.0])
    in_crop = (k @ point)[:2] / point[2]
    assert np.allclose(in_crop, candidate.in_crop(camera.project(point)), atol=1e-3)
