"""Pasted hands against what must hold of any such picture, and slow and obvious counts."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from drawn_crops import TWO, R, make_crop, make_crops, some

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.synth.blend import stack_hands
from hdrvideo.synth.paste import PasteSettings, paste


def make_backgrounds(size: int = 130) -> list[torch.Tensor]:
    rng = np.random.default_rng(5)
    return [torch.from_numpy(rng.random((3, size, size + 9), np.float32)) for _ in range(2)]


def solid(pasted, side: int) -> torch.Tensor:
    """Say which visible pixels of a side are away from its rim: all neighbours are its own too."""
    seen = pasted.visible[:, side : side + 1].float()
    return (-torch.nn.functional.max_pool2d(-seen, 9, stride=1, padding=4))[:, 0] > 0


both_backgrounds = pytest.mark.parametrize("new_share", [0.0, 1.0])


@both_backgrounds
def test_masks_obey_their_algebra(new_share):
    made = some(replace(TWO, new_background_share=new_share), backgrounds=make_backgrounds())
    assert not (made.visible & ~made.amodal).any()
    assert not (made.visible[:, 0] & made.visible[:, 1]).any()
    assert ((made.amodal.any(1)) == made.visible.any(1)).all()
    rows = torch.arange(len(made))
    assert (made.visible[rows, made.front] == made.amodal[rows, made.front]).all()
    assert set(made.front.tolist()) == {0, 1}
    assert made.present.all()


def test_the_hidden_share_is_what_counting_gives():
    made = some()
    for b in range(len(made)):
        for side in range(2):
            whole = hidden = 0
            for amodal, seen in zip(
                made.amodal[b, side].flatten().tolist(),
                made.visible[b, side].flatten().tolist(),
                strict=True,
            ):
                whole += amodal
                hidden += amodal and not seen
            assert float(made.hidden_share[b, side]) == pytest.approx(hidden / whole)


@pytest.mark.parametrize("overlap", [(0.2, 0.3), (0.5, 0.6), (0.0, 0.0)])
@pytest.mark.parametrize("front_share", [0.0, 1.0])
def test_the_hand_below_is_hidden_as_much_as_wanted(overlap, front_share):
    made = some(replace(TWO, overlap=overlap, front_share=front_share, tries=100), n=16)
    below = made.hidden_share.gather(1, 1 - made.front[:, None])
    assert (below >= overlap[0] - 1e-6).all()
    assert (below <= overlap[1] + 1e-6).all()
    assert (made.hidden_share.gather(1, made.front[:, None]) == 0).all()


def test_overlaps_spread_over_the_wanted_range():
    made = some(replace(TWO, overlap=(0.1, 0.7)), n=64)
    below = made.hidden_share.gather(1, 1 - made.front[:, None])
    assert np.histogram(below.numpy(), bins=4, range=(0.1, 0.7))[0].min() >= 6


def test_an_overlap_out_of_reach_is_refused():
    with pytest.raises(SettingsError, match=r"overlap 1\.0 to 1\.0 was not reached in 2 tries"):
        some(replace(TWO, overlap=(1.0, 1.0), tries=2, size_ratio=(0.3, 0.3), front_share=0.0))


@both_backgrounds
@pytest.mark.parametrize("front_share", [0.0, 1.0])
def test_the_picture_shows_a_bare_hand_where_it_is_visible(new_share, front_share):
    settings = replace(TWO, new_background_share=new_share, front_share=front_share)
    made = some(settings, backgrounds=make_backgrounds())
    for side in range(2):
        here = solid(made, side)
        assert here.sum() > 100
        error = (made.rgb - made.bare_rgb[:, side]).abs().amax(dim=1)[here]
        assert error.max() < 1e-5


@pytest.mark.parametrize("front_share", [0.0, 1.0])
def test_the_bare_base_is_its_own_crop(front_share):
    # The oracle: OpenCV moves the crop as the joints say.
    crops = make_crops()
    made = some(replace(TWO, gain=(1.0, 1.0), front_share=front_share), n=8, crops=crops)
    by_name = {c.source: c for c in crops}
    base = made.bare_valid.flatten(2).all(dim=2).int().argmax(dim=1).tolist()
    for b, side in enumerate(base):
        crop = by_name[made.sources[b][side]]
        crop = crop if crop.side == side else crop.mirrored()
        ones = np.ones((21, 1))
        back = np.linalg.lstsq(
            np.hstack([made.uv_px[b, side].numpy(), ones]), crop.uv_px.numpy(), rcond=None
        )[0].T
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        wanted = cv2.warpAffine(
            crop.rgb.permute(1, 2, 0).numpy(), back, (R, R), flags=flags, borderMode=4
        )
        error = np.abs(made.bare_rgb[b, side].permute(1, 2, 0).numpy() - wanted)
        # OpenCV moves by 1/32 of a pixel; a whole pixel off would be 0.2 on this noise.
        assert error.mean() < 0.015
        mask = cv2.warpAffine(crop.mask.numpy().astype(np.float32), back, (R, R), flags=flags)
        assert (made.amodal[b, side].numpy() != (mask >= 0.5)).mean() < 0.005


def test_on_a_background_of_its_own_everything_is_known():
    settings = replace(TWO, new_background_share=1.0, gain=(1.0, 1.0))
    made = some(settings, backgrounds=[torch.full((3, R, R), 0.25)])
    assert made.bare_valid.all()
    for side in range(2):
        outside = ~made.amodal[:, side]
        assert (made.bare_rgb[:, side].movedim(1, -1)[outside] == 0.25).all()
    assert (made.rgb.movedim(1, -1)[~made.amodal.any(1)] == 0.25).all()


def test_what_is_behind_the_base_counts_as_unknown():
    made = some(replace(TWO, gain=(1.0, 1.0)))
    rows = torch.arange(len(made))
    base = made.bare_valid.flatten(2).all(dim=2).int().argmax(dim=1)
    other = 1 - base
    unknown = ~made.bare_valid[rows, other]
    behind = made.amodal[rows, base] & ~made.amodal[rows, other]
    assert behind.any()
    assert unknown[behind].all()
    # Far from the base all is known, and is the base's own picture but for the other hand.
    far = ~made.amodal.any(1)
    far = (-torch.nn.functional.max_pool2d(-far[:, None].float(), 9, 1, 4))[:, 0] > 0
    assert made.bare_valid[rows, other][far].all()
    assert torch.equal(made.bare_rgb[rows, other].movedim(1, -1)[far], made.rgb.movedim(1, -1)[far])


def test_one_hand_and_none():
    backgrounds = make_backgrounds()
    one = some(replace(TWO, one_share=1.0, new_background_share=0.0), backgrounds=backgrounds)
    assert (one.present.sum(dim=1) == 1).all()
    assert (one.front == -1).all()
    there = one.present
    assert torch.equal(one.visible, one.amodal)
    assert (one.hidden_share[there] == 0).all()
    assert one.hidden_share[~there].isnan().all()
    assert one.uv_px[~there].isnan().all()
    assert (one.confidence[~there] == 0).all()
    assert torch.equal(one.bare_rgb[there], one.rgb)
    assert {bool(a) for pair in one.sources for a in pair} == {True, False}
    none = some(replace(TWO, none_share=1.0), backgrounds=backgrounds)
    assert not none.amodal.any()
    assert not none.present.any()
    assert none.bare_valid.all()
    assert torch.equal(none.bare_rgb[:, 0], none.rgb)
    assert set(none.sources) == {("", "")}


def test_no_hand_and_new_backgrounds_need_backgrounds():
    settings = PasteSettings(size_px=R, none_share=0.5, new_background_share=1.0, one_share=0)
    assert some(settings).present.all()


def test_the_same_seed_gives_the_same_bytes():
    settings = PasteSettings(size_px=R, none_share=0.1)
    first, again, other = (
        some(settings, seed=seed, backgrounds=make_backgrounds()) for seed in (3, 3, 4)
    )
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(again, field.name)
        same = a == b if isinstance(a, tuple) else torch.equal(a.nan_to_num(), b.nan_to_num())
        assert same, field.name
    assert not torch.equal(first.rgb, other.rgb)


def test_joints_move_with_their_pixels():
    crops = []
    for crop in make_crops():
        rgb = torch.zeros_like(crop.rgb)
        u, v = crop.uv_px[9].round().int().tolist()
        rgb[:, v - 2 : v + 3, u - 2 : u + 3] = 1
        joints = crop.uv_px.clone()
        joints[9] = torch.tensor([u, v])
        crops.append(replace(crop, rgb=rgb, uv_px=joints))
    settings = replace(TWO, gain=(1.0, 1.0), match_light_share=0.0, feather_px=0.0)
    made = some(settings, crops=crops)
    at = torch.arange(R, dtype=torch.float32)
    checked = 0
    for b in range(len(made)):
        side = int(made.front[b])
        spot = made.rgb[b, 0] * made.visible[b, side]
        u, v = made.uv_px[b, side, 9]
        near = ((at - u).abs() < 4)[None] & ((at - v).abs() < 4)[:, None]
        weight = spot * near
        if weight.sum() < 20 or not (made.visible[b, side] | ~near).all():
            continue
        checked += 1
        middle = [(weight.sum(dim=d) * at).sum() / weight.sum() for d in (0, 1)]
        assert abs(middle[0] - u) < 0.2
        assert abs(middle[1] - v) < 0.2
    assert checked >= 3


def test_no_second_hand_shows_in_the_base_s_mirrored_border():
    # The hand lies in the crop's corner, so that a careless turn would mirror it into the picture.
    crops = []
    for crop in make_crops():
        mask = crop.mask.roll((20, 22), dims=(0, 1))
        rgb = torch.where(mask, 1.0, 0.0).expand(3, R, R).clone()
        crops.append(replace(crop, mask=mask, rgb=rgb, uv_px=None, confidence=None))
    settings = replace(TWO, one_share=1.0, gain=(1.0, 1.0), hand_share=(0.2, 0.6))
    made = some(settings, crops=crops, n=40)
    whole = torch.nn.functional.max_pool2d(made.amodal.any(1)[:, None].float(), 5, 1, 2)
    assert made.rgb[:, :1][whole == 0].max() < 0.5


def test_gain_is_on_everything_alike():
    made = some(replace(TWO, match_light_share=0.0))
    plain = some(replace(TWO, match_light_share=0.0, gain=(1.0, 1.0)))
    assert ((made.gain_rgb >= 0.8) & (made.gain_rgb <= 1.2)).all()
    wanted = (plain.rgb * made.gain_rgb[:, :, None, None]).clamp(0, 1)
    assert torch.equal(made.rgb, wanted)
    wanted = (plain.bare_rgb * made.gain_rgb[:, None, :, None, None]).clamp(0, 1)
    assert torch.equal(made.bare_rgb, wanted)


def test_large_crops_are_averaged_down():
    small = some(PasteSettings(size_px=R // 2, one_share=0, none_share=0))
    assert small.rgb.shape[-1] == R // 2
    hands = stack_hands(make_crops(), np.arange(2), np.array([0, 1]), R // 2)
    crop = make_crop(0)
    for v, u in ((3, 4), (20, 30)):
        block = crop.rgb[:, 2 * v : 2 * v + 2, 2 * u : 2 * u + 2].mean(dim=(1, 2))
        assert torch.allclose(hands.rgb[0, :, v, u], block, atol=1e-6)
    # Two pixels at 2 and 3 are the one at 1: centres, not corners.
    assert torch.allclose(hands.uv_px[0], (crop.uv_px - 0.5) / 2)


def test_pastes_that_cannot_be_are_refused():
    with pytest.raises(SettingsError, match="0 crops for 3 pictures; give at least one of each"):
        paste([], 3, np.random.default_rng(0))
    with pytest.raises(SettingsError, match="6 crops for 0 pictures"):
        some(n=0)
    mixed = [make_crop(0), make_crop(1, split="test")]
    with pytest.raises(ShapeError, match="crops of train and test are mixed; load one split"):
        some(crops=mixed)
    with pytest.raises(ShapeError, match=r"crop hand \d is \d+ px and hand \d \d+ px"):
        some(crops=[make_crop(0), make_crop(1, r=64)])
    with pytest.raises(ShapeError, match="background is 104x95, expected at least 96 px"):
        some(replace(TWO, none_share=1.0), backgrounds=make_backgrounds(95))
    for wrong in ({"overlap": (0.5, 0.1)}, {"size_px": 8}, {"feather_px": -1.0}, {"tries": 0}):
        with pytest.raises(SettingsError, match=f"PasteSettings.{next(iter(wrong))} is"):
            PasteSettings(**wrong)
    with pytest.raises(SettingsError, match="are more than 1 together"):
        PasteSettings(one_share=0.7, none_share=0.7)


def test_one_crop_alone_makes_both_hands():
    made = some(crops=[make_crop()], n=4)
    assert made.present.all()
