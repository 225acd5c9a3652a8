"""The temporal stage: windows do not show, short gaps are bridged and marked, poses project."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hands import some_pose, some_shape
from tracks import (
    first_frame_missing,
    make_ledger,
    make_track,
    no_hands,
    random_track,
    same_windows,
    variable_rate,
    with_gaps,
)

from hdrvideo.config import MotionSettings
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.bridge import BRIDGE_FRAMES
from hdrvideo.motion.stage import CONTEXT_FRAMES, MotionStage, refine_window
from hdrvideo.motion.states import HandPoseTrack
from hdrvideo.track import (
    ABSENT,
    BRIDGED,
    IS_BRIDGED,
    NOT_FOUND,
    OBSERVED,
    POSED,
    TURNING,
    FrameLedger,
    PoseTrack,
    concatenate,
)

DEFAULT = MotionSettings()
UNSMOOTHED = MotionSettings(smooth_seconds=0)


def run(track, ledger, settings, pushes=None) -> tuple[PoseTrack, FrameLedger]:
    """Push a track cut into pieces of the given sizes, and join all that comes out."""
    stage = MotionStage(settings)
    out, start = [], 0
    for size in pushes or [len(track)]:
        out += stage.push(track.rows(start, start + size), ledger.rows(start, start + size))
        start += size
    assert start == len(track)
    out += stage.finish()
    ledgers = out[0][1]
    for _, later in out[1:]:
        ledgers = ledgers.then(later)
    return concatenate([t for t, _ in out]), ledgers


def check_refined(raw: PoseTrack, ledger: FrameLedger, refined, refined_ledger) -> None:
    """Assert what holds for every refined track."""
    np.testing.assert_array_equal(refined.frame_index, raw.frame_index)
    np.testing.assert_array_equal(refined.pts, raw.pts)
    np.testing.assert_array_equal(refined.raw_uv_px, raw.raw_uv_px)
    np.testing.assert_array_equal(refined.raw_xyz_cam_mm, raw.raw_xyz_cam_mm)
    there = refined.present
    assert (there >= raw.present).all()
    projected = raw.meta.camera.project(refined.xyz_cam_mm[there])
    np.testing.assert_allclose(projected, refined.uv_px[there], atol=1e-2)
    new = there & ~raw.present
    assert (refined.provenance[new] == BRIDGED).all()
    np.testing.assert_array_equal(refined.provenance[~new], raw.provenance[~new])
    assert (refined_ledger.reason[new] == IS_BRIDGED).all()
    np.testing.assert_array_equal(refined_ledger.reason[~new], ledger.reason[~new])
    np.testing.assert_array_equal(refined_ledger.decode_status, ledger.decode_status)
    assert not refined.visible[refined.provenance == BRIDGED].any()
    assert np.isnan(refined.raw_uv_px[new]).all()
    assert np.isnan(refined.raw_xyz_cam_mm[new]).all()
    assert np.isfinite(refined.side_score[there]).all()


@pytest.mark.parametrize("fps", [30, 240])
@pytest.mark.parametrize("seed", range(2))
def test_windows_do_not_show_however_the_pushes_are_cut(seed, fps):
    n = 400
    track = random_track(seed, n, fps)
    ledger = make_ledger(track)
    whole = refine_window(track, ledger, DEFAULT)
    check_refined(track, ledger, *whole)
    assert (whole[0].provenance == BRIDGED).any()
    assert (whole[0].provenance == ABSENT).any()
    rng = np.random.default_rng(seed)
    cuts = np.diff(np.unique(np.concatenate([[0, n], rng.integers(0, n, 12)])))
    for own_frames, pushes in ((33, [n]), (150, cuts), (9999, cuts)):
        same_windows(run(track, ledger, MotionSettings(own_frames=own_frames), list(pushes)), whole)


def test_windows_of_one_frame_do_not_show():
    track = random_track(3, 130, 30)
    ledger = make_ledger(track)
    settings = MotionSettings(own_frames=1)
    same_windows(run(track, ledger, settings, [60, 1, 69]), refine_window(track, ledger, settings))


def test_pushed_frame_by_frame_it_is_the_same_and_memory_is_bounded():
    track = random_track(5, 330, 240)
    ledger = make_ledger(track)
    settings = MotionSettings(own_frames=40)
    stage, sizes, out = MotionStage(settings), [], []
    for n in range(len(track)):
        out += stage.push(track.rows(n, n + 1), ledger.rows(n, n + 1))
        sizes.append(n + 1 - sum(len(t) for t, _ in out))
    assert max(sizes) < 40 + CONTEXT_FRAMES + 5
    assert CONTEXT_FRAMES < 150
    same_windows(run(track, ledger, settings, [1] * 330), refine_window(track, ledger, settings))


@pytest.mark.parametrize("make", [first_frame_missing, variable_rate, no_hands, make_track])
def test_small_tracks_come_through(make):
    track = make()
    ledger = make_ledger(track)
    for settings in (DEFAULT, MotionSettings(own_frames=1), MotionSettings(smooth_seconds=0)):
        refined, refined_ledger = run(track, ledger, settings, [1] * len(track))
        np.testing.assert_array_equal(refined.pts, track.pts)
        np.testing.assert_array_equal(refined_ledger.frame_index, ledger.frame_index)


def test_nothing_pushed_is_nothing_given():
    assert list(MotionStage(DEFAULT).finish()) == []


def test_one_hand_missing_throughout_and_both_missing():
    for gaps in ([(0, 0, 30)], [(0, 0, 30), (1, 0, 30)]):
        track = with_gaps(gaps, 30)
        refined, ledger = run(track, make_ledger(track), DEFAULT)
        check_refined(track, make_ledger(track), refined, ledger)
        np.testing.assert_array_equal(refined.provenance, track.provenance)


@pytest.mark.parametrize("n_gone", [1, 4, 6])
def test_a_short_gap_is_bridged_and_marked(n_gone):
    gone = slice(20, 20 + n_gone)
    track = with_gaps([(1, 20, 20 + n_gone)])
    ledger = make_ledger(track)
    refined, refined_ledger = run(track, ledger, DEFAULT)
    check_refined(track, ledger, refined, refined_ledger)
    assert (refined.provenance[gone, 1] == BRIDGED).all()
    assert (refined_ledger.reason[gone, 1] == IS_BRIDGED).all()
    assert (refined_ledger.reason[gone, 0] == POSED).all()
    # Between its ends, and less sure than they are.
    ends = track.raw_uv_px[[19, 20 + n_gone], 1]
    assert (refined.uv_px[gone, 1] > ends.min(axis=0) - 8).all()
    assert (refined.uv_px[gone, 1] < ends.max(axis=0) + 8).all()
    assert (refined.confidence[gone, 1] < 0.6).all()
    truth = make_track(60, meta=track.meta)
    apart = np.linalg.norm(refined.xyz_cam_mm[gone, 1] - truth.xyz_cam_mm[gone, 1], axis=-1)
    assert apart.mean() < 6


@pytest.mark.parametrize(
    ("gap", "fps", "settings"),
    [
        ((1, 20, 28), 30, DEFAULT),  # 0.3 s
        ((1, 20, 21), 30, MotionSettings(bridge_seconds=0)),
        ((1, 20, 21), 3, DEFAULT),
        ((1, 20, 20 + BRIDGE_FRAMES + 1), 1000, DEFAULT),
        ((1, 0, 3), 30, DEFAULT),  # the clip begins with it
        ((1, 57, 60), 30, DEFAULT),  # the clip ends with it
    ],
)
def test_other_gaps_are_not_bridged(gap, fps, settings):
    n = max(60, gap[2] + 20) if gap[2] != 60 else 60
    track = with_gaps([gap], n, fps)
    refined, ledger = run(track, make_ledger(track), settings)
    check_refined(track, make_ledger(track), refined, ledger)
    np.testing.assert_array_equal(refined.provenance, track.provenance)
    assert (ledger.reason[gap[1] : gap[2], 1] == NOT_FOUND).all()


def behind(
    step_px: float = 0.0, away_px: float = 10.0, stop: int = 42, *, own_gap: bool = False
) -> PoseTrack:
    """Make a track whose left hand is lost from frame 20 on, beside the right one, which moves."""
    track = with_gaps([(1, 20, stop), *([(0, 30, 31)] if own_gap else [])])
    uv = track.raw_uv_px.copy()
    right = make_track(60, meta=track.meta).uv_px[0, 0]
    path = np.array([1.0, 0.3]) * step_px * np.arange(60)[:, None]
    uv[:, 0] = np.where(np.isnan(uv[:, 0]), np.nan, right + path[:, None])
    uv[:, 1] = np.where(np.isnan(uv[:, 1]), np.nan, right + path[:, None] + [away_px, 0])
    xyz = track.meta.camera.lift(uv, track.raw_xyz_cam_mm[..., 2])
    arrays = {"uv_px": uv, "raw_uv_px": uv, "xyz_cam_mm": xyz, "raw_xyz_cam_mm": xyz}
    return replace(track, **{name: a.astype(np.float32) for name, a in arrays.items()})


@pytest.mark.parametrize("step_px", [0.0, 3.0])
def test_a_hand_lost_behind_the_other_is_bridged_for_longer_and_moves_with_it(step_px):
    track = behind(step_px)
    assert track.pts_seconds[42] - track.pts_seconds[19] > DEFAULT.bridge_seconds
    plain = MotionSettings(smooth_seconds=0)
    refined, ledger = run(track, make_ledger(track), plain)
    gone = slice(20, 42)
    assert (refined.provenance[gone, 1] == BRIDGED).all()
    assert (ledger.reason[gone, 1] == IS_BRIDGED).all()
    way = refined.uv_px[gone, 1] - refined.uv_px[gone, 0]
    np.testing.assert_allclose(way, np.broadcast_to([10, 0], way.shape), atol=0.1)


@pytest.mark.parametrize(
    ("track", "settings"),
    [
        (behind(), MotionSettings(bridge_behind_seconds=0.5)),
        (behind(away_px=400), DEFAULT),  # not behind the other
        (behind(stop=55), DEFAULT),  # 1.2 s
        (behind(own_gap=True), DEFAULT),  # the other is lost, too
    ],
)
def test_other_long_gaps_are_not(track, settings):
    refined, _ = run(track, make_ledger(track), settings)
    assert (refined.provenance[20:42, 1] == ABSENT).all()


def test_a_jump_across_the_picture_is_not_bridged():
    before, after = with_gaps([(1, 20, 23)]), with_gaps([(1, 20, 23)])
    moved = after.raw_xyz_cam_mm + np.array([300, 0, 0], np.float32)
    jumped = {}
    for name, values in (("xyz_cam_mm", moved), ("uv_px", after.meta.camera.project(moved))):
        for prefix in ("", "raw_"):
            whole = getattr(before, prefix + name).copy()
            whole[23:, 1] = values[23:, 1]
            jumped[prefix + name] = whole.astype(np.float32)
    track = PoseTrack(**{**vars(before), **jumped})
    refined, ledger = run(track, make_ledger(track), DEFAULT)
    check_refined(track, make_ledger(track), refined, ledger)
    np.testing.assert_array_equal(refined.provenance, track.provenance)
    # Nothing is mixed over the jump either: what comes before it does not know of it.
    plain, _ = run(with_gaps([(1, 20, 60)]), make_ledger(with_gaps([(1, 20, 60)])), DEFAULT)
    np.testing.assert_allclose(refined.uv_px[:20, 1], plain.uv_px[:20, 1], atol=1e-3)


def jitter(xyz: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(xyz, 2, axis=0), axis=-1).mean())


@pytest.mark.parametrize("causal", [False, True])
def test_the_result_is_steadier_and_not_farther_from_the_truth(causal):
    track = make_track(120)
    refined, _ = run(track, make_ledger(track), MotionSettings(causal=causal))
    assert jitter(refined.xyz_cam_mm) < 0.7 * jitter(track.raw_xyz_cam_mm)
    raw = np.linalg.norm(track.raw_xyz_cam_mm - track.xyz_cam_mm, axis=-1).mean()
    apart = np.linalg.norm(refined.xyz_cam_mm - track.xyz_cam_mm, axis=-1).mean()
    assert apart < (2.5 if causal else 0.8) * raw


def posed(model: HandModel, n: int, wrist_mm: torch.Tensor) -> HandPoseTrack:
    """Give some hands of the model, all of them at one place."""
    pose, shape = some_pose(2 * n), some_shape(model, 2 * n)
    joints_mm = model.joints(pose, shape, side=torch.tensor([0, 1]).repeat(n)) + wrist_mm
    parts = (pose, (16, 3)), (shape, (12,)), (joints_mm, (21, 3))
    return HandPoseTrack(*(value.reshape(n, 2, *of_hand) for value, of_hand in parts))


def test_refined_hands_have_the_pose_that_makes_their_joints(monkeypatch):
    # Both are at one place here.
    monkeypatch.setattr("hdrvideo.motion.stage.part_hands", lambda track: track)
    track = with_gaps([(1, 20, 23), (0, 40, 60)])
    model = HandModel()
    hands = posed(model, 60, torch.tensor([0.0, 0.0, 500.0]))

    def refiner(*_):
        return hands, np.full((60, 2, 21), 0.7, np.float32)

    refined, ledger = refine_window(track, make_ledger(track), UNSMOOTHED, refiner)
    check_refined(track, make_ledger(track), refined, ledger)
    there = refined.present
    assert (refined.provenance[20:23, 1] == BRIDGED).all()
    assert not there[40:60, 0].any()
    pose = torch.from_numpy(refined.turn_rad[there][:, list(TURNING)])
    shape = torch.from_numpy(refined.shape[there])
    joints_mm = model.joints(pose, shape, side=torch.from_numpy(np.nonzero(there)[1]))
    # In form it is the refiner's; in the picture on the way from the frames' own to it, and in
    # depth half way.
    depth_mm = refined.xyz_rel_mm[there][..., 2]
    np.testing.assert_allclose(joints_mm.numpy()[..., 2], depth_mm, atol=1e-3)
    bridged, _ = refine_window(track, make_ledger(track), UNSMOOTHED)
    wrist_mm = refined.xyz_cam_mm[there][:, 0, 2]
    said_mm = hands.xyz_cam_mm.numpy()[there][:, 0, 2] * bridged.xyz_cam_mm[there][:, 0, 2]
    np.testing.assert_allclose(wrist_mm, np.sqrt(said_mm), rtol=1e-5)
    said_px = track.meta.camera.project(hands.xyz_cam_mm.numpy())
    between_px = 0.4 * said_px[there] + 0.6 * bridged.uv_px[there]
    np.testing.assert_allclose(refined.uv_px[there], between_px, atol=1e-2)
    assert np.isnan(refined.turn_rad[~there]).all()
    assert np.isnan(refined.shape[~there]).all()


@pytest.mark.parametrize("causal", [False, True])
def test_without_a_refiner_there_are_no_turns(causal):
    track = with_gaps([(1, 20, 23)])
    refined, _ = run(track, make_ledger(track), MotionSettings(causal=causal))
    assert np.isnan(refined.turn_rad).all()
    assert np.isnan(refined.shape).all()


def test_without_bridging_and_smoothing_the_raw_poses_come_back():
    track = random_track(2, 100, 30)
    settings = MotionSettings(smooth_seconds=0, bridge_seconds=0, bridge_behind_seconds=0)
    refined, _ = run(track, make_ledger(track), settings)
    np.testing.assert_allclose(refined.uv_px, track.raw_uv_px, atol=1e-4)
    np.testing.assert_allclose(refined.xyz_cam_mm[..., 2], track.raw_xyz_cam_mm[..., 2], rtol=1e-5)


def test_the_sides_do_not_know_of_each_other():
    alone, both = with_gaps([(1, 0, 60)]), with_gaps([(1, 30, 40)])
    a, _ = run(alone, make_ledger(alone), DEFAULT)
    b, _ = run(both, make_ledger(both), DEFAULT)
    np.testing.assert_array_equal(a.uv_px[:, 0], b.uv_px[:, 0])


def test_causal_gives_each_push_at_once_and_bridges_nothing():
    settings = MotionSettings(causal=True)
    track = random_track(1, 200, 30)
    ledger = make_ledger(track)
    whole = run(track, ledger, settings)
    check_refined(track, ledger, *whole)
    np.testing.assert_array_equal(whole[0].provenance, track.provenance)
    stage, parts = MotionStage(settings), []
    for start in range(0, 200, 8):
        given = list(stage.push(track.rows(start, start + 8), ledger.rows(start, start + 8)))
        assert [len(t) for t, _ in given] == [8]
        parts += given
    assert list(stage.finish()) == []
    same_windows((concatenate([t for t, _ in parts]), ledger), whole)


def test_causal_uses_no_future_and_forgets_at_a_break():
    settings = MotionSettings(causal=True)
    track = with_gaps([(0, 30, 31)])
    ledger = make_ledger(track)
    whole, _ = run(track, ledger, settings)
    prefix, _ = run(track.rows(0, 25), ledger.rows(0, 25), settings)
    np.testing.assert_array_equal(prefix.uv_px, whole.uv_px[:25])
    np.testing.assert_allclose(whole.uv_px[31, 0], track.raw_uv_px[31, 0], atol=1e-4)
    assert np.isnan(whole.uv_px[30, 0]).all()
    assert (whole.provenance[30] == [ABSENT, OBSERVED]).all()
