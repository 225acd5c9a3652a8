"""Pasted hands against what must hold of any such picture, and against slow and obvious counts."""

import json
import re
from dataclasses import fields, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from hdrvideo.errors import SettingsError, ShapeError, WriteError
from hdrvideo.synth.blend import (
    Hands,
    alpha_of,
    fill_unknown,
    lay_affine,
    mask_boxes,
    match_light,
    move_joints,
    move_pictures,
    pixels_per_mm,
    soft_masks,
    stack_hands,
)
from hdrvideo.synth.crops import HandCrop, crops_from_shot, load_crops, save_crop, square_round
from hdrvideo.synth.paste import PasteSettings, paste
from hdrvideo.synth.scene import MIN_HAND_PIXELS, Shot

R = 96
TWO = PasteSettings(size_px=R, one_share=0, none_share=0)


def make_crop(seed: int = 0, *, r: int = R, side: int = 0, split: str = "train") -> HandCrop:
    """Draw a hand of a palm and five strokes over noise; joints lie along the strokes."""
    rng = np.random.default_rng(seed)
    rgb = rng.uniform(0, 1, (r, r, 3)).astype(np.float32)
    mask = np.zeros((r, r), np.uint8)
    wrist = np.array([0.5, 0.72]) * r
    uv = [wrist]
    cv2.circle(mask, (r // 2, int(0.6 * r)), int(0.11 * r), 1, -1)
    for finger in range(5):
        angle = -0.9 + 0.4 * finger + rng.uniform(-0.1, 0.1)
        way = np.array([np.sin(angle), -np.cos(angle)])
        points = [wrist + way * r * reach for reach in (0.15, 0.28, 0.36, 0.43)]
        for a, b in pairwise(points):
            cv2.line(mask, a.round().astype(int), b.round().astype(int), 1, max(r // 16, 1))
        uv += points
    skin = rng.uniform(0.3, 0.8, 3).astype(np.float32)
    rgb[mask > 0] = skin + rng.normal(0, 0.03, (int(mask.sum()), 3)).astype(np.float32)
    return HandCrop(
        rgb=torch.from_numpy(rgb.clip(0, 1)).permute(2, 0, 1).contiguous(),
        mask=torch.from_numpy(mask > 0),
        side=side,
        source=f"hand {seed}",
        split=split,
        uv_px=torch.from_numpy(np.array(uv, np.float32)),
        confidence=torch.full((21,), 0.9),
    )


def make_crops(n: int = 6, **more) -> list[HandCrop]:
    return [make_crop(seed, side=seed % 2, **more) for seed in range(n)]


def make_backgrounds(size: int = 130) -> list[torch.Tensor]:
    rng = np.random.default_rng(5)
    return [torch.from_numpy(rng.random((3, size, size + 9), np.float32)) for _ in range(2)]


def some(settings=TWO, n=12, seed=1, crops=None, **more):
    return paste(crops or make_crops(), n, np.random.default_rng(seed), settings=settings, **more)


def stack(crops: list[HandCrop]) -> Hands:
    return stack_hands(crops, np.arange(len(crops)), np.array([c.side for c in crops]), R)


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


# ---------------------------------------------------------------------- the image work below


def test_no_move_is_the_same_picture():
    hands = stack(make_crops())
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(len(hands.rgb), 2, 3)
    for outside in ("zeros", "reflection"):
        moved = move_pictures(hands.rgb, identity, R, outside=outside)
        assert torch.allclose(moved, hands.rgb, atol=2e-5)
    assert torch.equal(soft_masks(hands.mask, identity, R) >= 0.5, hands.mask)
    assert torch.allclose(move_joints(hands.uv_px, identity), hands.uv_px, atol=1e-5)


def test_a_shift_by_whole_pixels_is_a_roll():
    hands = stack(make_crops(2))
    shift = torch.tensor([[1.0, 0, -5], [0, 1, 3]]).expand(2, 2, 3)
    moved = move_pictures(hands.rgb, shift, R, outside="zeros")
    assert torch.allclose(moved[:, :, :-3, 5:], hands.rgb[:, :, 3:, :-5], atol=2e-5)
    assert moved[:, :, :, :5].max() < 1e-4


def test_a_laid_hand_is_where_and_as_large_as_said():
    mask = torch.zeros(2, R, R, dtype=torch.bool)
    mask[0, 40:60, 30:40] = True
    mask[1, 10:20, 50:80] = True
    centre = torch.tensor([[40.0, 50.0], [47.5, 30.25]])
    affine = lay_affine(mask, torch.full((2,), 0.5), torch.tensor([0.0, np.pi / 2]), centre)
    middle, longer = mask_boxes(soft_masks(mask, affine, R) >= 0.5)
    assert (middle - centre).abs().max() <= 1
    assert torch.allclose(longer, torch.tensor([40.0, 60.0]), atol=2)
    # A quarter turn clockwise: what was right is now below.
    right_end = torch.tensor([[[79.0, 14.5]]])
    place = move_joints(right_end, affine[1:])[0, 0]
    assert place[1] > centre[1, 1] + 25
    assert abs(place[0] - centre[1, 0]) < 1


def test_mirroring_twice_is_the_same_and_swaps_the_side():
    crop = make_crop(1, side=1)
    assert crop.mirrored().side == 0
    twice = crop.mirrored().mirrored()
    for field in fields(crop):
        a, b = getattr(crop, field.name), getattr(twice, field.name)
        same = torch.allclose(a.float(), b.float(), atol=1e-5) if torch.is_tensor(a) else a == b
        assert same, field.name
    u, v = crop.uv_px[8].round().int().tolist()
    mirrored = crop.mirrored()
    mu, mv = mirrored.uv_px[8].round().int().tolist()
    assert torch.equal(mirrored.rgb[:, mv, mu], crop.rgb[:, v, R - 1 - mu])
    assert abs(mu - (R - 1 - u)) <= 1


def test_alpha_is_soft_inside_and_nothing_outside():
    cover = torch.zeros(1, 40, 40)
    cover[:, 10:30, 10:30] = 1
    alpha = alpha_of(cover, 1.5)
    assert (alpha[cover == 0] == 0).all()
    assert (alpha[0, 14:26, 14:26] == 1).all()
    row = alpha[0, 20, 10:15]
    assert 0 < row[0] < 0.7
    assert (row.diff() >= 0).all()
    assert torch.equal(alpha_of(cover, 0.0), cover)


def test_filling_keeps_what_is_known_and_stays_between():
    rng = np.random.default_rng(0)
    rgb = torch.from_numpy(rng.uniform(0.2, 0.6, (2, 3, 37, 50)).astype(np.float32))
    known = torch.ones(2, 37, 50, dtype=torch.bool)
    known[0, 10:30, 5:45] = False
    broken = rgb * known[:, None]
    filled = fill_unknown(broken, known)
    assert torch.equal(filled[known[:, None].expand_as(rgb)], rgb[known[:, None].expand_as(rgb)])
    assert filled.min() >= 0.2
    assert filled.max() <= 0.6 + 1e-6
    plain = fill_unknown(torch.full_like(rgb, 0.3) * known[:, None], known)
    assert torch.allclose(plain, torch.full_like(rgb, 0.3), atol=1e-6)


def test_light_is_brought_across():
    hands, like = stack(make_crops(3)), stack(make_crops(6)[3:])
    matched = match_light(hands, like, torch.tensor([True, True, False]))
    for b, is_matched in enumerate((True, True, False)):
        skin, wanted = (h.rgb[b][:, h.mask[b]].mean(dim=1) for h in (matched, like))
        close = (skin - wanted).abs().max() < 0.02
        assert bool(close) == is_matched
    same = match_light(hands, hands, torch.ones(3, dtype=torch.bool))
    inside = hands.mask[:, None].expand_as(hands.rgb)
    assert torch.allclose(same.rgb[inside], hands.rgb[inside], atol=1e-4)


def test_scale_comes_from_bones_or_the_box():
    hands = stack(make_crops(2))
    double = replace(hands, uv_px=2 * hands.uv_px)
    assert torch.allclose(pixels_per_mm(double), 2 * pixels_per_mm(hands))
    without = replace(hands, uv_px=torch.full_like(hands.uv_px, torch.nan))
    assert torch.allclose(pixels_per_mm(without), mask_boxes(hands.mask)[1] / 150)


# ------------------------------------------------------------------------- crops and errors


def test_a_folder_is_read_back(tmp_path):
    crops = make_crops(4)
    crops[1] = replace(crops[1], uv_px=None, confidence=None)
    crops[2] = replace(crops[2], split="test")
    for n, crop in enumerate(crops):
        save_crop(crop, tmp_path, f"hand_{n}", licence="CC0")
    train = load_crops(tmp_path, "train")
    assert [c.source for c in train] == ["hand 0", "hand 1", "hand 3"]
    assert [c.source for c in load_crops(str(tmp_path), "test")] == ["hand 2"]
    assert [c.side for c in train[1:]] == [1, 1]
    assert torch.equal(train[0].mask, crops[0].mask)
    assert torch.allclose(train[0].uv_px, crops[0].uv_px, atol=0.01)
    assert torch.allclose(train[0].confidence, crops[0].confidence)
    assert train[1].uv_px is None
    inside = crops[0].mask.expand(3, R, R)
    assert (train[0].rgb - crops[0].rgb).abs()[inside].mean() < 0.06
    assert json.loads((tmp_path / "hand_0.json").read_text())["licence"] == "CC0"
    assert not list(tmp_path.glob(".*"))
    assert some(crops=train, n=4).present.all()


def test_folders_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"crop folder .* does not exist; make one"):
        load_crops(tmp_path / "none", "train")
    with pytest.raises(ShapeError, match="split is 'val', expected one of"):
        load_crops(tmp_path, "val")
    with pytest.raises(WriteError, match=r"cannot be written \(No such file or directory\)"):
        save_crop(make_crop(), tmp_path / "none", "a")
    save_crop(make_crop(), tmp_path, "a")
    note, mask = tmp_path / "a.json", tmp_path / "a.mask.png"
    picture = mask.read_bytes()
    mask.unlink()
    with pytest.raises(ShapeError, match=re.escape(f"crop a has no {mask}; add it")):
        load_crops(tmp_path, "train")
    mask.write_bytes(b"no picture")
    with pytest.raises(ShapeError, match=r"a\.mask\.png is no picture that can be read"):
        load_crops(tmp_path, "train")[0]
    cv2.imwrite(str(mask), np.zeros((R, R), np.uint8))
    with pytest.raises(ShapeError, match="mask of crop hand 0 is empty, expected a hand"):
        load_crops(tmp_path, "train")[0]
    cv2.imwrite(str(mask), np.ones((R - 1, R), np.uint8))
    with pytest.raises(ShapeError, match=r"mask is torch.bool \(95, 96\), expected bool"):
        load_crops(tmp_path, "train")[0]
    mask.write_bytes(picture)
    for text, match in (
        ("{", "cannot be read"),
        ("[]", "holds list, expected a mapping"),
        ('{"side": "up", "split": "train"}', "side in .* is 'up', expected one of"),
        ('{"side": "left"}', "split in .* is None, expected one of"),
    ):
        note.write_text(text)
        with pytest.raises(ShapeError, match=match):
            load_crops(tmp_path, "train")


def test_crops_that_do_not_fit_are_refused():
    crop = make_crop()
    for changed, match in (
        ({"side": 2}, "side of crop hand 0 is 2, expected 0 or 1"),
        ({"split": "val"}, "split of crop hand 0 is 'val', expected one of"),
        ({"mask": crop.mask & False}, "mask of crop hand 0 is empty"),
        ({"mask": crop.mask.float()}, "mask is torch.float32"),
        ({"rgb": crop.rgb[:, :-1]}, r"rgb is torch.float32 \(3, 95, 96\)"),
        ({"uv_px": None}, "has only one of uv_px and confidence"),
        ({"uv_px": crop.uv_px[:20]}, r"uv_px is torch.float32 \(20, 2\)"),
    ):
        with pytest.raises(ShapeError, match=match):
            replace(crop, **changed)


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


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((40, 30, 59, 49), (30.0, 20.0, 40.0)),
        ((0, 30, 19, 49), (0.0, 20.0, 40.0)),
        ((10, 10, 69, 49), (0.0, 0.0, 80.0)),
        ((5, 1, 94, 78), None),
    ],
)
def test_the_square_stays_in_the_picture(box, wanted):
    assert square_round(box, 100, 80, 2.0) == wanted


def make_shot(b: int = 2, h: int = 72, w: int = 100) -> Shot:
    rng = np.random.default_rng(0)

    def nothing(*shape, kind=torch.float32):
        return torch.zeros(b, *shape, dtype=kind)

    amodal = nothing(2, h, w, kind=torch.bool)
    amodal[0, 0, 20:50, 30:52] = True
    amodal[0, 1, 40:60, 60:90] = True
    amodal[1, 1, 0:30, 10:30] = True
    bare = torch.from_numpy(rng.random((b, 2, 3, h, w), np.float32))
    uv = torch.from_numpy(rng.uniform(20, 50, (b, 2, 21, 2)).astype(np.float32))
    return Shot(
        rgb=nothing(3, h, w),
        bare_rgb=bare,
        visible=amodal,
        amodal=amodal,
        depth_mm=nothing(h, w),
        normal=nothing(3, h, w),
        face=nothing(h, w, kind=torch.int64),
        flow_px=nothing(2, h, w, 2),
        flow_seen=nothing(2, h, w, kind=torch.bool),
        hand_flow_px=nothing(2, 2, h, w, 2),
        uv_px=uv,
        xyz_cam_mm=nothing(2, 21, 3),
        pose=nothing(2, 16, 3),
        shape=nothing(2, 10),
        present=amodal.flatten(2).sum(dim=2) >= MIN_HAND_PIXELS,
        joint_visible=nothing(2, 21, kind=torch.bool),
        hidden_share=nothing(2),
        gap_mm=nothing(),
        k_px=nothing(3, 3),
    )


def test_crops_of_a_shot_show_what_the_shot_shows():
    shot = make_shot()
    crops = crops_from_shot(shot, split="test", source="clip 7", size_px=60, context=2.0)
    # The third hand is cut by the picture's border.
    assert [c.source for c in crops] == ["clip 7:0:right", "clip 7:0:left"]
    assert [c.side for c in crops] == [0, 1]
    assert {c.split for c in crops} == {"test"}
    # 30 high: the square is 60 wide, so that pixels are copied; its corner lies at 11, 5.
    right = crops[0]
    assert torch.equal(right.mask, shot.amodal[0, 0, 5:65, 11:71])
    assert torch.allclose(right.rgb, shot.bare_rgb[0, 0, :, 5:65, 11:71], atol=1e-5)
    assert torch.allclose(right.uv_px, shot.uv_px[0, 0] - torch.tensor([11.0, 5.0]), atol=1e-4)


def test_crops_of_a_shot_may_shrink():
    shot = make_shot()
    large, small = (crops_from_shot(shot, split="train", size_px=n)[0] for n in (60, 20))
    assert torch.allclose(small.uv_px, (large.uv_px + 0.5) / 3 - 0.5, atol=1e-4)
    area = small.mask.sum() * 9 / large.mask.sum()
    assert 0.85 < area < 1.15
