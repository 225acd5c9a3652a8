"""The image work below pasted hands: moved, mirrored, softened, filled and lit."""

from dataclasses import fields, replace

import numpy as np
import torch
from drawn_crops import R, make_crop, make_crops

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
from hdrvideo.synth.crops import HandCrop


def stack(crops: list[HandCrop]) -> Hands:
    return stack_hands(crops, np.arange(len(crops)), np.array([c.side for c in crops]), R)


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
