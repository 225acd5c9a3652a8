"""Blur, colour, noise and compression against slow or known answers."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.synth.effects import apply_effects, noise_bank
from hdrvideo.synth.jpeg import compress
from hdrvideo.synth.scene import Effects, Shot

NAN = float("nan")


def effects(**changed):
    values = {
        "shutter": 0.0,
        "defocus_px": 0.0,
        "exposure": 1.0,
        "gamma": 1.0,
        "cast_rgb": np.ones(3, np.float32),
        "saturation": 1.0,
        "noise": 0.0,
        "jpeg_quality": 0,
    }
    return Effects(**(values | changed))


def smooth_pictures(seed, *shape, cells=12):
    small = torch.rand(*shape[:-2], cells, cells, generator=torch.Generator().manual_seed(seed))
    big = functional.interpolate(
        small.reshape(1, -1, cells, cells), shape[-2:], mode="bilinear", align_corners=False
    )
    return big.reshape(shape)


def make_shot(b=2, height=96, width=128, move_px=(0.0, 0.0), seed=0):
    """Two discs before a background; the right one lies in front and moves."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    discs = [
        (u - c * width) ** 2 + (v - 0.5 * height) ** 2 < (0.3 * height) ** 2 for c in (0.4, 0.6)
    ]
    amodal = torch.stack(discs).expand(b, 2, height, width).clone()
    visible = amodal.clone()
    visible[:, 1] &= ~amodal[:, 0]
    ground = smooth_pictures(seed, b, 3, height, width)
    hands = smooth_pictures(seed + 1, b, 2, 3, height, width)
    bare = torch.where(amodal[:, :, None], hands, ground[:, None])
    rgb = torch.where(visible[:, 1:], hands[:, 1], ground)
    rgb = torch.where(visible[:, :1], hands[:, 0], rgb)
    move = torch.tensor(move_px)
    flow = torch.zeros(b, 2, height, width, 2)
    hand_flow = torch.full((b, 2, 2, height, width, 2), NAN)
    for direction, sign in ((0, 1.0), (1, -1.0)):
        flow[:, direction][visible[:, 0]] = sign * move
        hand_flow[:, direction, 0][amodal[:, 0]] = sign * move
        hand_flow[:, direction, 1][amodal[:, 1]] = 0.0
    depth = torch.full((b, height, width), torch.inf)
    depth[visible[:, 1]] = 600.0
    depth[visible[:, 0]] = 500.0
    zeros = torch.zeros
    return Shot(
        rgb=rgb,
        bare_rgb=bare,
        visible=visible,
        amodal=amodal,
        depth_mm=depth,
        normal=zeros(b, 3, height, width),
        face=zeros(b, height, width, dtype=torch.int64),
        flow_px=flow,
        flow_seen=zeros(b, 2, height, width, dtype=torch.bool),
        hand_flow_px=hand_flow,
        uv_px=zeros(b, 2, 21, 2),
        xyz_cam_mm=zeros(b, 2, 21, 3),
        pose=zeros(b, 2, 16, 3),
        shape=zeros(b, 2, 10),
        present=zeros(b, 2, dtype=torch.bool),
        joint_visible=zeros(b, 2, 21, dtype=torch.bool),
        hidden_share=zeros(b, 2),
        gap_mm=zeros(b),
        k_px=zeros(b, 3, 3),
    )


def flat_shot(level, height=96, width=128):
    shot = make_shot(1, height, width)
    return replace(
        shot, rgb=torch.full_like(shot.rgb, level), bare_rgb=torch.full_like(shot.bare_rgb, level)
    )


ALL = {
    "shutter": 0.5,
    "defocus_px": 0.6,
    "exposure": 1.2,
    "gamma": 0.9,
    "cast_rgb": np.array([1.0, 0.9, 0.8], np.float32),
    "saturation": 0.7,
    "noise": 0.03,
    "jpeg_quality": 60,
}


def test_neutral_values_change_nothing():
    shot = make_shot(move_px=(9.0, 3.0))
    done = apply_effects(shot, [effects()] * 2, 1)
    assert torch.equal(done.rgb, shot.rgb)
    assert torch.equal(done.bare_rgb, shot.bare_rgb)


def test_truth_and_input_stay_as_they_are():
    shot = make_shot(move_px=(9.0, 3.0))
    before = shot.rgb.clone(), shot.bare_rgb.clone()
    done = apply_effects(shot, [effects(**ALL)] * 2, 1)
    assert torch.equal(shot.rgb, before[0])
    assert torch.equal(shot.bare_rgb, before[1])
    for field in fields(Shot):
        if field.name not in ("rgb", "bare_rgb"):
            assert getattr(done, field.name) is getattr(shot, field.name)
    for pictures in (done.rgb, done.bare_rgb):
        assert torch.isfinite(pictures).all()
        assert pictures.min() >= 0
        assert pictures.max() <= 1


def test_same_seed_same_bytes():
    shot = make_shot(move_px=(9.0, 3.0))
    one, two, other = (apply_effects(shot, [effects(**ALL)] * 2, seed).rgb for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_picture_does_not_depend_on_its_neighbours():
    moves = [(30.0, 5.0), (3.0, 0.0), (-28.0, 9.0)]
    shots = [make_shot(1, move_px=move, seed=n) for n, move in enumerate(moves)]
    many = [effects(**ALL | {"noise": 0.0}), effects(shutter=1.0, defocus_px=2.0, jpeg_quality=20)]
    many.append(effects(shutter=0.5, gamma=1.2))
    both = Shot(
        **{
            field.name: torch.cat([getattr(shot, field.name) for shot in shots])
            for field in fields(Shot)
        }
    )
    together = apply_effects(both, many, 0)
    for n, shot in enumerate(shots):
        alone = apply_effects(shot, many[n : n + 1], 0)
        assert torch.allclose(together.rgb[n], alone.rgb[0], atol=1e-4)
        assert torch.allclose(together.bare_rgb[n], alone.bare_rgb[0], atol=1e-4)


def test_what_is_still_is_not_blurred():
    shot = make_shot()
    done = apply_effects(shot, [effects(shutter=1.0)] * 2, 0)
    assert torch.equal(done.rgb, shot.rgb)
    lost = replace(
        shot,
        flow_px=torch.full_like(shot.flow_px, NAN),
        hand_flow_px=torch.full_like(shot.hand_flow_px, NAN),
    )
    assert torch.equal(apply_effects(lost, [effects(shutter=1.0)] * 2, 0).rgb, shot.rgb)


def test_motion_blur_is_the_mean_over_the_open_shutter():
    shot = make_shot(1, 96, 128, (20.0, -8.0))
    disc = shot.amodal[0, 0].float()
    white = replace(
        shot,
        rgb=disc.expand(1, 3, -1, -1).contiguous(),
        bare_rgb=disc.expand(1, 2, 3, -1, -1).contiguous(),
    )
    done = apply_effects(white, [effects(shutter=0.8)], 0)
    times = np.linspace(-0.4, 0.4, 41)
    wanted = torch.stack(
        [torch.roll(disc, (round(-8 * t), round(20 * t)), (0, 1)) for t in times]
    ).mean(dim=0)
    for picture in (done.rgb[0], done.bare_rgb[0, 0]):
        error = (picture[0].square() - wanted).abs()
        assert error.mean() < 0.1 * (disc - wanted).abs().mean()
        assert error.max() < 0.15
    # It smears over the still background on both sides, and only so far.
    smeared = (done.rgb[0, 0] > 0.05) & (disc == 0)
    assert smeared.any()
    far = functional.max_pool2d(disc[None, None], 23, 1, 11)[0, 0] == 0
    assert not (smeared & far).any()


def test_motion_blur_works_with_flow_one_way_only():
    shot = make_shot(1, move_px=(12.0, 0.0))
    full = apply_effects(shot, [effects(shutter=0.6)], 0).rgb
    for gone in (0, 1):
        flow, hands = shot.flow_px.clone(), shot.hand_flow_px.clone()
        flow[:, gone] = NAN
        hands[:, gone] = NAN
        ends = replace(shot, flow_px=flow, hand_flow_px=hands)
        assert torch.allclose(apply_effects(ends, [effects(shutter=0.6)], 0).rgb, full, atol=1e-6)


def test_defocus_has_the_asked_width():
    shot = flat_shot(0.0, 192, 192)
    rgb = shot.rgb.clone()
    rgb[..., 96, 90] = 1.0
    done = apply_effects(replace(shot, rgb=rgb), [effects(defocus_px=2.0)], 0)
    light = done.rgb[0, 0].square()
    u = torch.arange(192.0)
    assert abs(float(light.sum()) - 1.0) < 0.01
    middle = (light.sum(dim=0) * u).sum() / light.sum()
    spread = ((light.sum(dim=0) * (u - middle) ** 2).sum() / light.sum()).sqrt()
    assert abs(float(middle) - 90) < 1e-3
    assert 1.8 < float(spread) < 2.05


def test_colours_follow_the_formulas():
    shot = make_shot(1)
    cast = np.array([1.1, 1.0, 0.7], np.float32)
    done = apply_effects(
        shot, [effects(exposure=1.3, gamma=0.8, cast_rgb=cast, saturation=0.5)], 0
    ).rgb[0]
    rgb = np.clip(shot.rgb[0].numpy() * 1.3 * cast[:, None, None], 0, 1) ** 0.8
    luma = np.einsum("chw,c->hw", rgb, [0.299, 0.587, 0.114])
    assert np.allclose(done.numpy(), np.clip(luma + 0.5 * (rgb - luma), 0, 1), atol=1e-5)


def test_noise_grows_with_brightness_and_has_the_asked_spread():
    spreads = []
    for level in (0.2, 0.5, 0.8):
        done = apply_effects(flat_shot(level), [effects(noise=0.04)], 3).rgb
        spreads.append(float(done.std()))
        assert abs(float(done.mean()) - level) < 0.004
        assert spreads[-1] == pytest.approx(0.04 * np.sqrt(0.15 + 0.85 * level), rel=0.08)
    assert spreads[0] < spreads[1] < spreads[2]


def test_noise_of_neighbours_hangs_together_a_little():
    bank = noise_bank()
    assert bank.shape == (3, 1024, 1024)
    assert abs(float(bank.std()) - 1) < 0.01
    for axis in (1, 2):
        beside = float((bank * bank.roll(1, axis)).mean())
        assert 0.05 < beside < 0.6
    assert 0.2 < float((bank[0] * bank[1]).mean()) < 0.9
    assert abs(float((bank * bank.roll(9, 1)).mean())) < 0.02


def test_each_picture_has_its_own_noise():
    shot = make_shot(2)
    shot = replace(shot, rgb=torch.full_like(shot.rgb, 0.5))
    done = apply_effects(shot, [effects(noise=0.05)] * 2, 0).rgb - 0.5
    alike = (done[0] * done[1]).mean() / (done[0].std() * done[1].std())
    assert abs(float(alike)) < 0.05


def psnr(a, b):
    return float(-10 * torch.log10((a - b).square().mean()))


def test_better_quality_is_nearer():
    pictures = smooth_pictures(4, 1, 1, 3, 96, 128, cells=6)
    found = [psnr(compress(pictures, [q]), pictures) for q in (5, 20, 40, 60, 80, 95, 100)]
    assert found == sorted(found)
    assert found[0] < 32
    assert found[-1] > 38


@pytest.mark.parametrize("quality", [10, 40, 75, 92])
def test_jpeg_agrees_with_a_real_one(quality):
    pictures = (smooth_pictures(5, 1, 1, 3, 96, 128, cells=30) * 255).round() / 255
    ours = compress(pictures, [quality])[0, 0]
    picture = (pictures[0, 0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    settings = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
    ]
    file = cv2.imencode(".jpg", picture, settings)[1]
    back = cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    real = torch.from_numpy(back).permute(2, 0, 1)
    assert abs(psnr(ours, pictures[0, 0]) - psnr(real, pictures[0, 0])) < 0.5
    assert psnr(ours, real) > psnr(real, pictures[0, 0]) + 6


def test_jpeg_takes_any_size_and_leaves_flat_pictures():
    odd = smooth_pictures(6, 2, 1, 3, 37, 51, cells=4)
    done = compress(odd, [50, 0])
    assert done.shape == odd.shape
    assert psnr(done[0], odd[0]) > 25
    assert torch.equal(done[1], odd[1])
    grey = torch.full((1, 1, 3, 32, 32), 128 / 255)
    assert torch.allclose(compress(grey, [5]), grey, atol=1e-5)


def test_bare_agrees_where_the_hand_is_visible():
    shot = make_shot(2)
    colour = {name: ALL[name] for name in ("exposure", "gamma", "cast_rgb", "saturation", "noise")}
    done = apply_effects(shot, [effects(**colour)] * 2, 5)
    everything = apply_effects(shot, [effects(**ALL)] * 2, 5)
    for side in (0, 1):
        seen = shot.visible[:, side]
        for rgb, bare in ((shot.rgb, shot.bare_rgb), (done.rgb, done.bare_rgb)):
            assert torch.equal(rgb.movedim(1, -1)[seen], bare[:, side].movedim(1, -1)[seen])
        inner = -functional.max_pool2d(-seen[:, None].float(), 41, 1, 20)
        inner = inner[:, 0] > 0
        off = (everything.rgb - everything.bare_rgb[:, side]).abs().amax(dim=1)
        assert off[seen].mean() < 0.02
        assert side or inner.any()
        assert (off[inner] < 1e-4).all()


def test_errors():
    shot = make_shot()
    with pytest.raises(ShapeError, match="there are 1 effects for 2 pictures"):
        apply_effects(shot, [effects()], 0)
    for name, value, limits in (
        ("shutter", -0.1, "0.0 to 2.0"),
        ("defocus_px", 11.0, "0.0 to 10.0"),
        ("exposure", 0.0, "0.05 to 20.0"),
        ("gamma", NAN, "0.1 to 10.0"),
        ("saturation", -1.0, "0.0 to 5.0"),
        ("noise", 1.5, "0.0 to 1.0"),
        ("jpeg_quality", 101, "0 to 100"),
    ):
        with pytest.raises(SettingsError, match=f"effect {name} is .*, expected {limits}"):
            apply_effects(shot, [effects(**{name: value})] * 2, 0)
    bad = np.array([1.0, NAN, 1.0], np.float32)
    with pytest.raises(SettingsError, match=r"effect cast_rgb is .*, expected factors >= 0"):
        apply_effects(shot, [effects(cast_rgb=bad)] * 2, 0)
