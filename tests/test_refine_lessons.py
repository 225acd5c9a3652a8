"""The refiner's lessons: truths of practice tracks, windows drawn, losses and scores."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from practice_tracks import FOCAL_PX, MODEL, READER, make_practice, project, studied

from hdrvideo.errors import DataError, SettingsError
from hdrvideo.hand import palm_length
from hdrvideo.motion.states import (
    PALM_MM,
    HandStates,
    fitted_joints,
    turns_of,
    with_turns,
    wrists_of,
)
from hdrvideo.rotation import axis_angle_to_matrix, matrix_to_sixd
from hdrvideo.train.refine_windows import (
    StudyTrack,
    TrueStates,
    Windows,
    WindowSettings,
    said_of,
    study,
    true_of,
)

STILL = WindowSettings(
    *(8, (1,), 0.0, 1.0), unread_share=0.0, swap_share=0.0, drop_share=0.0, noise=0.0
)


def placed(true: TrueStates):
    return READER.place(true.state[0].transpose(0, 1))


def read_wrong(track: StudyTrack, turn: torch.Tensor, deeper: float) -> StudyTrack:
    """Let a track say the truth but for one turn and one step in depth."""
    true, said = track.true, track.said
    state = true.state.clone()
    state[..., :-3] = matrix_to_sixd(turns_of(with_turns(true.state)) @ turn).flatten(-2)
    state[..., -1] += deeper
    return replace(track, said=replace(said, state=state * said.seen[..., None]))


# The truth.


def test_a_perfect_reading_is_near_the_truth_and_all_of_it_counts():
    track = make_practice(12, 0, spread=0)
    ready = study(track, READER)
    assert len(ready) == 12
    np.testing.assert_allclose(placed(ready.true).xyz_cam_mm, track.xyz_cam_mm, atol=0.05)
    assert (ready.true.weight == 1).all()
    said, true = (with_turns(s.state) for s in (ready.said, ready.true))
    off_mm = wrists_of(said) - wrists_of(true)
    assert off_mm.norm(dim=-1).mean() < 10
    joints_mm = MODEL.joints(turns_of(true).flatten(0, 2))
    off_mm = fitted_joints(ready.said, MODEL).flatten(0, 2) - joints_mm
    assert off_mm.norm(dim=-1).mean() < 4


def test_the_truth_is_that_of_the_mean_hand_in_the_camera_that_the_track_assumes():
    track = make_practice(6, 1, spread=1.5, true_focal_px=1.5 * FOCAL_PX)
    hands = placed(study(track, READER).true)
    ours = hands.xyz_cam_mm.numpy()
    # The wrist keeps its pixel, the palm its size in the picture, every joint its turn.
    wrist_px = project(ours[:, :, 0], track.k_px)
    np.testing.assert_allclose(wrist_px, track.uv_px[:, :, 0], atol=0.01)
    z_mm = track.xyz_cam_mm[:, :, 0, 2]
    ratio = palm_length(track.xyz_cam_mm) / z_mm * track.true_k_px[0, 0]
    assert np.abs(palm_length(ours) / palm_length(track.xyz_cam_mm) - 1).max() > 0.02
    np.testing.assert_allclose(palm_length(ours) / ours[:, :, 0, 2] * FOCAL_PX, ratio, rtol=1e-4)
    turns = [axis_angle_to_matrix(p) for p in (hands.pose, torch.from_numpy(track.pose))]
    torch.testing.assert_close(turns[0], turns[1], rtol=0, atol=1e-4)


def test_hands_count_by_whether_they_are_there_and_read_in_place():
    track = make_practice(40, 2, gaps=((0, 5, 35),), frame_seconds=1 / 32)
    astray = track.raw_uv_px.copy()
    astray[2, 1] += 250
    weight = study(replace(track, raw_uv_px=astray), READER).true.weight[0]
    # Nine frames are within 0.3 seconds.
    expected = np.ones((2, 40))
    expected[0, 5:35] = 0.25
    expected[0, 14:26] = 0
    expected[1, 2] = 0.25
    np.testing.assert_allclose(weight, expected)
    gone = study(make_practice(6, 2, absent=(1,)), READER).true
    assert not gone.weight[0, 1].any()
    assert not gone.state[0, 1].any()
    unread = study(make_practice(6, 2, gaps=((0, 0, 6), (1, 0, 6))), READER)
    assert (unread.true.weight == 1).all()
    assert not unread.said.seen.any()


# Windows.


def test_windows_are_whole_and_the_seed_repeats_them():
    tracks = [studied(20, 0, gaps=((0, 4, 9),)), studied(14, 1, absent=(1,)), studied(9, 2)]
    tracks.append(studied(20, 3, gaps=((0, 0, 20), (1, 0, 20))))
    windows = Windows(tracks, WindowSettings(frames=8), MODEL)
    batch = windows.draw(np.random.default_rng(5), 24)
    said, true = said_of(batch), true_of(batch)
    assert said.state.shape == true.state.shape == (24, 2, 8, 99)
    assert batch["joints_mm"].shape == (24, 2, 8, 21, 3)
    assert all(value.isfinite().all() for value in batch.values())
    assert set(said.seen.unique().tolist()) == {0.0, 1.0}
    hidden = said.seen == 0
    assert not said.state[hidden].any()
    assert not said.confidence[hidden].any()
    assert not said.off_mm[hidden].any()
    assert ((true.weight >= 0) & (true.weight <= 1)).all()
    assert (said.seconds.diff(dim=1) > 0).all()
    torch.testing.assert_close(batch["joints_mm"], fitted_joints(said, MODEL))
    again = windows.draw(np.random.default_rng(5), 24)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    other = windows.draw(np.random.default_rng(6), 24)
    assert not torch.equal(other["said_state"], batch["said_state"])


def test_a_track_that_is_shorter_than_a_window_is_held_at_its_end():
    windows = Windows([studied(5, 0)], replace(STILL, frames=8), MODEL)
    batch = windows.draw(np.random.default_rng(0), 6)
    assert batch["said_seen"].shape == (6, 2, 8)
    assert all(value.isfinite().all() for value in batch.values())


def test_errors_of_another_window_are_laid_on_the_truth():
    """All hands are read wrong in one way; so they are with the errors of any other window."""
    turn = axis_angle_to_matrix(torch.tensor([0.1, -0.2, 0.15]))
    tracks = [read_wrong(studied(10, n), turn, 0.07) for n in range(4)]
    batch = Windows(tracks, replace(STILL, swap_share=1.0), MODEL).draw(
        np.random.default_rng(0), 12
    )
    said, true = said_of(batch), true_of(batch)
    assert (said.seen == 1).all()
    off = turns_of(true.state).mT @ turns_of(said.state)
    torch.testing.assert_close(off, turn.expand_as(off), rtol=0, atol=1e-4)
    torch.testing.assert_close(said.state[..., -1], true.state[..., -1] + 0.07)
    torch.testing.assert_close(said.state[..., -3:-1], true.state[..., -3:-1], rtol=0, atol=1e-5)


def test_scenes_that_nobody_read_get_readings_of_others():
    turn = axis_angle_to_matrix(torch.tensor([0.2, 0.0, 0.0]))
    read = read_wrong(studied(10, 0), turn, 0.0)
    unread = studied(10, 1, gaps=((0, 0, 10), (1, 0, 10)))
    windows = Windows([read, unread], replace(STILL, unread_share=1.0), MODEL)
    batch = windows.draw(np.random.default_rng(0), 4)
    assert (batch["said_seen"] == 1).all()
    assert (batch["true_weight"] == 1).all()
    # The pose is one of the scene that nobody read, at some frame.
    pose = batch["true_state"][..., 6:-3]
    apart = (pose[:, :, :, None] - unread.true.state[..., 6:-3][:, :, None]).abs().amax(dim=-1)
    assert apart.amin(dim=-1).max() < 1e-5
    off = turns_of(batch["true_state"]).mT @ turns_of(batch["said_state"])
    torch.testing.assert_close(off, turn.expand_as(off), rtol=0, atol=1e-4)
    with pytest.raises(DataError, match="no practice track is read; make some with"):
        Windows([unread], STILL, MODEL)


def test_a_hand_is_lost_for_some_frames():
    windows = Windows([studied(12, 0)], replace(STILL, drop_share=1.0), MODEL)
    batch = windows.draw(np.random.default_rng(0), 20)
    n_lost = (1 - batch["said_seen"]).sum(dim=2)
    assert (n_lost.amin(dim=1) == 0).all()
    assert (n_lost.amax(dim=1) >= 1).all()
    assert n_lost.max() < 3
    assert (batch["true_weight"] == 1).all()


def rays_of(state: torch.Tensor, joints_mm: torch.Tensor) -> torch.Tensor:
    mm = joints_mm + wrists_of(state)[..., None, :]
    return mm[..., :2] / mm[..., 2:]


def seen_rays(said: HandStates) -> torch.Tensor:
    """Give the rays of the joints as read, from states and left-overs."""
    palm = PALM_MM / wrists_of(said.state)[..., 2:, None]
    return rays_of(said.state, fitted_joints(said, MODEL)) + said.off_palm * palm


def true_rays(true: TrueStates) -> torch.Tensor:
    joints_mm = MODEL.joints(turns_of(true.state).flatten(0, 2))
    return rays_of(true.state, joints_mm.reshape(*true.state.shape[:3], 21, 3))


def counted(track: StudyTrack) -> StudyTrack:
    """Let the hidden share grow, so that it tells whether a window runs backwards."""
    hidden = (torch.arange(8) / 8).expand_as(track.true.hidden)
    return replace(track, true=replace(track.true, hidden=hidden))


def drawn_from(track: StudyTrack, settings: WindowSettings, n: int):
    """Draw windows of a track of their own length; turn those round that run backwards."""
    batch = Windows([track], settings, MODEL).draw(np.random.default_rng(1), n)
    backwards = (batch["true_hidden"] - track.true.hidden).abs().amax(dim=(1, 2)) > 1e-6
    for name, value in batch.items():
        if value.ndim > 2:
            batch[name] = torch.where(
                backwards.reshape(-1, *[1] * (value.ndim - 1)), value.flip(2), value
            )
    return said_of(batch), true_of(batch)


def test_a_rolled_camera_turns_all_rays():
    track = counted(studied(8, 4))
    said, true = drawn_from(track, replace(STILL, turn_deg=50.0), 10)
    rolls = []
    for before, after in (
        (true_rays(track.true), true_rays(true)),
        (seen_rays(track.said), seen_rays(said)),
    ):
        one, other = (torch.view_as_complex(r.contiguous()) for r in (before, after))
        roll = (other / one).angle()
        torch.testing.assert_close(other.abs(), one.expand_as(other).abs(), rtol=0, atol=1e-4)
        rolls.append(roll[:, :, :1, :1])
        torch.testing.assert_close(roll, rolls[-1].expand_as(roll), rtol=0, atol=3e-3)
    torch.testing.assert_close(rolls[0], rolls[1], rtol=0, atol=3e-3)
    right, left = rolls[0][:, 0], rolls[0][:, 1]
    torch.testing.assert_close(right, -left, rtol=0, atol=3e-3)
    assert right.abs().max() <= math.radians(50) + 1e-3
    assert right.std() > 0.2
    torch.testing.assert_close(said.state[..., -1], track.said.state[..., -1].expand(10, -1, -1))


def test_a_zoomed_camera_moves_hands_nearer_or_away_along_its_axis():
    track = counted(studied(8, 5))
    said, true = drawn_from(track, replace(STILL, zoom=2.0), 10)
    of_said = said.state[..., -1] - track.said.state[..., -1]
    of_true = true.state[..., -1] - track.true.state[..., -1]
    zoom = of_true[:, :1, :1]
    torch.testing.assert_close(of_said, zoom.expand_as(of_said), rtol=0, atol=1e-5)
    torch.testing.assert_close(of_true, zoom.expand_as(of_true), rtol=0, atol=1e-5)
    assert zoom.abs().max() <= math.log(2) + 1e-5
    assert zoom.std() > 0.2
    for moved, still in ((said.state, track.said.state), (true.state, track.true.state)):
        xy_mm = wrists_of(still)[..., :2].expand(10, -1, -1, -1)
        torch.testing.assert_close(wrists_of(moved)[..., :2], xy_mm, rtol=1e-4, atol=1e-2)
        same = still[..., :-3].expand(10, -1, -1, -1)
        torch.testing.assert_close(moved[..., :-3], same, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"frames": 1}, "frames is 1, expected a whole number from 2"),
        ({"strides": (1, 0)}, "strides is 0, expected a whole number from 1"),
        ({"turn_deg": 181}, "turn_deg is 181"),
        ({"zoom": 0.5}, "zoom is 0.5, expected a number from 1"),
        ({"unread_share": 2}, "unread_share is 2"),
        ({"swap_share": -1}, "swap_share is -1"),
        ({"drop_share": None}, "drop_share is None"),
        ({"noise": 1.5}, "noise is 1.5"),
    ],
)
def test_windows_check_how_they_are_drawn(change, text):
    with pytest.raises(SettingsError, match=text):
        WindowSettings(**change)
