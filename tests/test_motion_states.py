"""Hands as states of the hand model: there and back, mirrored, with gaps, and what is left over."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from practice_tracks import MODEL, READER, make_practice, project, read

from hdrvideo.errors import ShapeError
from hdrvideo.motion.states import (
    N_STATE,
    PALM_MM,
    HandStates,
    fitted_joints,
    turns_of,
    with_turns,
    wrists_of,
)

CAMERAS = {
    "wide": [[300, 0, 159.5], [0, 300, 119.5], [0, 0, 1]],
    "long and off the middle": [[1400, 0, 300], [0, 1380, 900], [0, 0, 1]],
    "small": [[110, 0, 40], [0, 112, 30], [0, 0, 1]],
}


def place(said: HandStates):
    return READER.place(said.state[0].transpose(0, 1))


def through(track, k_px):
    """See an exact track's hands through another camera."""
    uv = project(track.xyz_cam_mm, k_px).astype(np.float32)
    return replace(track, k_px=k_px, true_k_px=k_px, uv_px=uv, raw_uv_px=uv)


def mirrored(track):
    """Mirror what was read about the upright plane through the camera, so sides change places."""
    uv, xyz = track.raw_uv_px[:, ::-1].copy(), track.raw_xyz_cam_mm[:, ::-1].copy()
    uv[..., 0] = 2 * track.k_px[0, 2] - uv[..., 0]
    xyz[..., 0] *= -1
    swapped = {n: getattr(track, n)[:, ::-1].copy() for n in ("confidence", "visible")}
    return replace(track, raw_uv_px=uv, raw_xyz_cam_mm=xyz, **swapped)


def same(a: HandStates, b: HandStates, atol: float) -> None:
    for f in fields(HandStates):
        torch.testing.assert_close(
            getattr(a, f.name), getattr(b, f.name), rtol=0, atol=atol, msg=f.name
        )


@pytest.fixture(scope="module")
def noisy():
    return make_practice(10, 3, noise_px=2, noise_mm=5, gaps=((0, 2, 4), (1, 7, 10)))


@pytest.fixture(scope="module")
def said(noisy):
    return read(noisy)


@pytest.mark.parametrize("name", CAMERAS)
def test_hands_come_back_from_their_states(name):
    k_px = np.array(CAMERAS[name], np.float32)
    track = through(make_practice(10, 1, spread=0), k_px)
    hands = place(read(track))
    ours, true = hands.xyz_cam_mm.numpy(), track.xyz_cam_mm
    # A quick fit, pulled towards usual hands: some millimetres, and hardly anything in the picture.
    off_mm = np.linalg.norm((ours - ours[:, :, :1]) - (true - true[:, :, :1]), axis=-1)
    assert off_mm.mean() < 4
    assert off_mm.max() < 12
    palm_px = np.linalg.norm(track.uv_px[:, :, 9] - track.uv_px[:, :, 0], axis=-1)
    off_px = np.linalg.norm(project(ours, k_px) - track.uv_px, axis=-1) / palm_px[..., None]
    assert off_px.mean() < 0.01
    assert off_px.max() < 0.04
    np.testing.assert_allclose(ours[:, :, 0, 2], true[:, :, 0, 2], rtol=0.04)
    # The poses tell the joints, on both sides.
    for side in (0, 1):
        wrist = hands.xyz_cam_mm[:, side, 0]
        posed = MODEL(hands.pose[:, side], hands.shape[:, side], side=side, wrist_mm=wrist)
        torch.testing.assert_close(posed.joints_mm, hands.xyz_cam_mm[:, side], rtol=0, atol=0.01)


def test_a_mirrored_clip_has_the_mirrored_states(noisy, said):
    other = read(mirrored(noisy))
    there = {f.name: getattr(said, f.name).flip(1) for f in fields(HandStates)[:-1]}
    same(other, HandStates(**there, seconds=said.seconds), atol=5e-3)


def test_mirrored_states_are_placed_as_mirrored_hands(said):
    state = said.state[0].transpose(0, 1)
    hands, other = READER.place(state), READER.place(state.flip(1))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(
        other.xyz_cam_mm, (hands.xyz_cam_mm * flip).flip(1), rtol=0, atol=1e-3
    )


def test_the_fit_and_what_it_leaves_over_are_what_was_said(noisy, said):
    t = len(noisy.pts_seconds)
    turns = turns_of(with_turns(said.state))[0]
    fitted = fitted_joints(said, MODEL)[0]
    rel = fitted + said.off_mm[0] @ turns[:, :, 0].mT
    placed = fitted + wrists_of(said.state)[0][:, :, None]
    palm = PALM_MM / wrists_of(said.state)[0][..., 2:, None]
    rays = placed[..., :2] / placed[..., 2:] + said.off_palm[0] * palm
    rel, rays = rel.numpy(), rays.numpy()
    rel[1, ..., 0] *= -1
    rays[1, ..., 0] *= -1
    k = noisy.k_px
    uv = rays * k[[0, 1], [0, 1]] + k[:2, 2]
    there = said.seen[0].numpy() > 0
    assert there.sum() == 2 * t - 5
    raw_uv = noisy.raw_uv_px.transpose(1, 0, 2, 3)
    raw_mm = noisy.raw_xyz_cam_mm.transpose(1, 0, 2, 3)
    np.testing.assert_allclose(uv[there], raw_uv[there], atol=0.01)
    np.testing.assert_allclose(rel[there], (raw_mm - raw_mm[:, :, :1])[there], atol=0.05)
    depth_mm = (said.state[0, ..., -1] + said.off_depth[0]).exp().numpy()
    np.testing.assert_allclose(depth_mm[there], raw_mm[:, :, 0, 2][there], rtol=1e-4)


def test_hands_that_are_not_there_are_zero(noisy, said):
    there = np.isfinite(noisy.raw_uv_px).all(axis=(2, 3)).T
    np.testing.assert_array_equal(said.seen[0].numpy(), there.astype(np.float32))
    for f in fields(HandStates)[:-1]:
        value = getattr(said, f.name)[0].numpy()
        assert np.isfinite(value).all(), f.name
        assert not value[~there].any(), f.name
    confidence = np.nan_to_num(noisy.confidence).transpose(1, 0, 2)
    np.testing.assert_array_equal(said.confidence[0].numpy(), confidence)
    np.testing.assert_array_equal(said.visible[0].numpy(), noisy.visible.transpose(1, 0, 2))
    np.testing.assert_allclose(said.seconds[0].numpy(), noisy.pts_seconds, atol=1e-6)


def test_a_clip_without_hands_is_read():
    said = read(make_practice(3, 0, absent=(0, 1)))
    assert not said.seen.any()
    assert not said.state.any()
    assert not fitted_joints(said, MODEL).any()


def test_frames_are_read_one_by_one(noisy, said):
    for t in range(0, 10, 3):
        rows = {
            n: getattr(noisy, n)[t : t + 1]
            for n in ("pts_seconds", "raw_uv_px", "raw_xyz_cam_mm", "confidence", "visible")
        }
        one = READER.read(*rows.values(), noisy.k_px)
        whole = said.frames(slice(t, t + 1))
        same(one, replace(whole, seconds=torch.zeros(1, 1)), atol=5e-3)


def test_times_are_counted_from_the_first_frame(noisy, said):
    later = read(replace(noisy, pts_seconds=noisy.pts_seconds + 86_400))
    torch.testing.assert_close(later.seconds, said.seconds, rtol=0, atol=1e-6)


def test_states_are_cut_and_stacked(said):
    index = torch.tensor([4, 1, 1])
    cut = said.frames(index)
    assert torch.equal(cut.state, said.state[:, :, index])
    assert torch.equal(cut.seconds, said.seconds[:, index])
    both = HandStates.join([cut, said.frames(slice(0, 3))])
    assert both.state.shape == (2, 2, 3, N_STATE)
    assert torch.equal(both.off_mm[0], cut.off_mm[0])
    same(said.to(torch.device("cpu")), said, atol=0)


def test_states_check_themselves(said):
    with pytest.raises(ShapeError, match=r"off_mm is .*expected"):
        replace(said, off_mm=said.off_palm)
    with pytest.raises(ShapeError, match="seen"):
        replace(said, seen=said.seen.double())


def test_empty_states_get_idle_turns_and_others_stay():
    state = torch.zeros(2, N_STATE)
    state[1] = torch.randn(N_STATE, generator=torch.Generator().manual_seed(0))
    filled = with_turns(state)
    assert torch.equal(filled[1], state[1])
    assert torch.equal(turns_of(filled[0]), torch.eye(3).expand(16, 3, 3))
    assert wrists_of(filled[0]).tolist() == [0, 0, 1]
