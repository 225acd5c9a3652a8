"""Fitting the hand model to joints in a picture, with and without 3D ones."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fit_hands import CHAIN, FIT, posed_joints, random_hands, tensor
from safetensors.torch import load_file

from hdrvideo.checkpoint import weights_path
from hdrvideo.handmodel import within_limits
from hdrvideo.ik import IkNet, align, decode, encode, look_at
from hdrvideo.rotation import matrix_to_axis_angle
from hdrvideo.solve import NEAREST_MM, project

K = torch.tensor([[600.0, 0, 319.5], [0, 620.0, 239.5], [0, 0, 1]])


def shown_hands(count, seed):
    """Draw hands before the camera ``K``; give them, their sides, joints and pixels."""
    hands, side, joints_mm = random_hands(count, seed)
    return hands, side, joints_mm, pixels(joints_mm)


def pixels(joints_mm):
    uvw = joints_mm @ K.mT
    return uvw[..., :2] / uvw[..., 2:]


def cameras(count):
    return K.expand(count, 3, 3)


def off_mm(fitted, joints_mm, *, about_wrist=False):
    off = fitted.joints_mm - joints_mm
    if about_wrist:
        off = off - off[:, :1]
    return off.norm(dim=-1).mean(dim=1)


@pytest.fixture(scope="module")
def trip():
    hands, side, joints_mm, uv_px = shown_hands(64, 1)
    return hands, side, joints_mm, uv_px, FIT(uv_px=uv_px, k_px=cameras(64), side=side)


def test_the_picture_comes_back_within_half_a_pixel(trip):
    """Depth is ambiguous finger by finger, so a few of these wild poses end in another hand."""
    _, _, _, uv_px, fitted = trip
    assert fitted.error_px.median() < 0.2
    assert (fitted.error_px < 0.5).float().mean() >= 0.93
    assert fitted.error_px.max() < 4
    rms = (pixels(fitted.joints_mm) - uv_px).square().sum(dim=-1).mean(dim=1).sqrt()
    torch.testing.assert_close(fitted.error_px, rms, atol=1e-2, rtol=0)
    assert fitted.error_mm.isnan().all()
    assert within_limits(fitted.pose, slack_deg=0.05).all()


def test_depth_is_as_good_as_the_hands_size_is_known(trip):
    hands, side, joints_mm, uv_px, fitted = trip
    assert off_mm(fitted, joints_mm, about_wrist=True).median() < 10
    far = (fitted.wrist_mm[:, 2] / hands.wrist_mm[:, 2] - 1).abs()
    assert far.median() < 0.1
    known = FIT(uv_px=uv_px, k_px=cameras(64), side=side, shape=hands.shape)
    assert off_mm(known, joints_mm, about_wrist=True).median() < 3
    assert (known.wrist_mm[:, 2] / hands.wrist_mm[:, 2] - 1).abs().median() < 0.01


def test_a_mirrored_picture_is_a_left_hand(trip):
    _, _, _, uv_px, _ = trip
    right = FIT(uv_px=uv_px[:6], k_px=cameras(6))
    mirrored = torch.stack([2 * K[0, 2] - uv_px[:6, :, 0], uv_px[:6, :, 1]], dim=-1)
    left = FIT(uv_px=mirrored, k_px=cameras(6), side=1)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(left.joints_mm * flip, right.joints_mm, atol=0.5, rtol=1e-3)


def test_a_batch_gives_what_single_hands_give(trip):
    _, side, _, uv_px, fitted = trip
    for i in range(3):
        one = FIT(uv_px=uv_px[i : i + 1], k_px=cameras(1), side=int(side[i]))
        torch.testing.assert_close(one.error_px[0], fitted.error_px[i], atol=0.05, rtol=0)


def test_the_picture_moves_what_the_joints_only_shape():
    """Wrist-relative 3D with 2D: the form from one, the place from the other."""
    _, side, joints_mm, uv_px = shown_hands(32, 2)
    relative_mm = joints_mm - joints_mm[:, :1]
    fitted = FIT(xyz_mm=relative_mm, uv_px=uv_px, k_px=cameras(32), side=side, relative=True)
    assert off_mm(fitted, joints_mm, about_wrist=True).max() < 1
    assert off_mm(fitted, joints_mm).max() < 5
    assert fitted.error_px.max() < 0.5
    assert fitted.error_mm.max() < 1
    both = FIT(xyz_mm=joints_mm, uv_px=uv_px, k_px=cameras(32), side=side)
    assert off_mm(both, joints_mm).max() < 1


def test_each_hand_of_a_batch_uses_what_it_has():
    _, side, joints_mm, uv_px = shown_hands(6, 3)
    xyz_mm, flat = joints_mm.clone(), uv_px.clone()
    xyz_mm[:2], flat[2:4] = torch.nan, torch.nan
    xyz_mm[4:], flat[4:] = torch.nan, torch.nan
    fitted = FIT(xyz_mm=xyz_mm, uv_px=flat, k_px=cameras(6), side=side, relative=True)
    assert fitted.error_px[:2].max() < 4
    assert fitted.error_mm[:2].isnan().all()
    assert off_mm(fitted, joints_mm)[2:4].max() < 1
    assert fitted.error_px[2:4].isnan().all()
    assert fitted.pose[4:].isnan().all()


def test_a_hand_without_a_camera_has_no_picture():
    _, side, _, uv_px = shown_hands(3, 4)
    k_px = cameras(3).clone()
    k_px[0] = torch.nan
    k_px[1] = 0
    fitted = FIT(uv_px=uv_px, k_px=k_px, side=side)
    assert fitted.pose[:2].isnan().all()
    assert fitted.pose[2].isfinite().all()


def test_missing_and_impossible_pixels_give_possible_hands():
    _, side, joints_mm, uv_px = shown_hands(16, 5)
    given = uv_px.clone()
    given[:8, 0] = torch.nan
    given[:8, 13:17] = torch.nan
    given[8:] = tensor(np.random.default_rng(5).uniform(0, 600, (8, 21, 2)))
    fitted = FIT(uv_px=given, k_px=cameras(16), side=side)
    assert within_limits(fitted.pose, slack_deg=0.05).all()
    assert fitted.joints_mm.isfinite().all()
    assert fitted.error_px[:8].median() < 0.5
    assert off_mm(fitted, joints_mm, about_wrist=False)[:8].isfinite().all()


def test_a_clip_in_2d_shares_its_shape():
    hands, side, _, _ = shown_hands(24, 6)
    hands = replace(hands, shape=hands.shape[:1].expand(24, -1))
    joints_mm = posed_joints(hands, side)
    fitted = FIT(uv_px=pixels(joints_mm), k_px=cameras(24), side=side, share_shape=True)
    assert (fitted.shape == fitted.shape[:1]).all()
    assert fitted.error_px.median() < 1


def test_projection_and_its_jacobian_are_right_also_behind_the_camera():
    points = torch.tensor([[[30.0, -20.0, 400.0], [5.0, 5.0, 0.0], [5.0, 5.0, -100.0]]])
    uv_px, slope = project(points, K[None])
    torch.testing.assert_close(uv_px[0, 0], pixels(points)[0, 0])
    torch.testing.assert_close(uv_px[0, 2], K[:2, 2] + K[[0, 1], [0, 1]] * 5 / NEAREST_MM)
    wanted = torch.func.jacrev(lambda p: project(p, K[None])[0].sum(dim=(0, 1)))(points)
    torch.testing.assert_close(slope[0], wanted[:, 0].movedim(1, 0), atol=1e-4, rtol=1e-4)


def test_features_do_not_know_place_size_or_what_is_missing():
    _, _, joints_mm, _ = shown_hands(4, 7)
    seen = torch.ones(4, 21, dtype=torch.bool)
    seen[:, [0, 6]] = False
    flat = torch.zeros(4, dtype=torch.bool)
    moved = 0.01 * (joints_mm + torch.tensor([100.0, 20.0, -300.0]))
    moved[:, [0, 6]] = 1e4
    torch.testing.assert_close(
        encode(moved, seen, flat), encode(joints_mm, seen, flat), atol=1e-4, rtol=0
    )
    assert not torch.allclose(encode(joints_mm, seen, ~flat), encode(joints_mm, seen, flat))


def test_the_shipped_net_guesses_the_shipped_hand():
    """It must be trained again when the hand model's joints change."""
    hands, _, _, _ = shown_hands(256, 8)
    joints_mm = CHAIN.joints(hands)
    weight = torch.ones(256, 21)
    weight[:, 1:] = torch.from_numpy(np.random.default_rng(8).uniform(size=(256, 20)) > 0.2)
    turn, _ = align(CHAIN.joints(CHAIN.relaxed(256)), joints_mm, weight)
    net, flat = FIT.guesser.net, torch.zeros(256, dtype=torch.bool)
    _, angles_rad = decode(CHAIN, *net(encode(joints_mm @ turn, weight > 0, flat)))
    off = (angles_rad - hands.angles_rad)[..., 0].abs()
    relaxed_off = (CHAIN.relaxed_rad - hands.angles_rad)[..., 0].abs()
    assert off.mean() < 0.4 * relaxed_off.mean()
    camera, drawn = look_at(joints_mm[..., :2] / joints_mm[..., 2:], weight)
    points = torch.cat([drawn, torch.zeros_like(drawn[..., :1])], dim=-1)
    found, _ = decode(CHAIN, *net(encode(points, weight > 0, ~flat)))
    between = matrix_to_axis_angle((camera @ found).mT @ hands.turn).norm(dim=-1)
    assert torch.rad2deg(between).median() < 25


def test_the_camera_turned_to_a_hand_sees_it_in_the_middle():
    _, _, joints_mm, _ = shown_hands(5, 9)
    rays = joints_mm[..., :2] / joints_mm[..., 2:]
    turn, drawn = look_at(rays, torch.ones(5, 21))
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
    seen = joints_mm @ turn
    seen = seen[..., :2] / seen[..., 2:]
    torch.testing.assert_close(drawn, seen - seen.mean(dim=1, keepdim=True), atol=1e-5, rtol=0)
    assert seen.mean(dim=1).abs().max() < 0.02


def test_the_weights_are_small_and_of_this_net():
    path = weights_path("ik")
    assert path.stat().st_size <= 1_000_000
    stored = load_file(path)
    assert {n: v.shape for n, v in stored.items()} == {
        n: v.shape for n, v in IkNet().state_dict().items()
    }
    assert all(value.dtype == torch.float16 for value in stored.values())


def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    path = Path(__file__).parent.parent / "scripts" / "train_ik.py"
    spec = importlib.util.spec_from_file_location("train_ik", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "BATCH", 24)
    monkeypatch.setattr(script, "SAVE_STEPS", 3)
    whole = script.train(tmp_path / "whole", 5, 6).state_dict()
    rates = script.rate_at

    def stopped(step, steps):
        if step == 4:
            raise KeyboardInterrupt
        return rates(step, steps)

    monkeypatch.setattr(script, "rate_at", stopped)
    with pytest.raises(KeyboardInterrupt):
        script.train(tmp_path / "part", 5, 6)
    monkeypatch.setattr(script, "rate_at", rates)
    resumed = script.train(tmp_path / "part", 99, 6).state_dict()
    assert "going on from step 3 of seed 5" in capsys.readouterr().out
    for name, value in whole.items():
        assert torch.equal(resumed[name], value)
