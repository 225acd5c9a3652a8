"""Views of labelled pictures: masks stay on their hands, sides follow the mirror, bars hide."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from made_shards import DISC_RGB, disc

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.train.hints import draw_hints
from hdrvideo.train.pair_truth import PairTruth
from hdrvideo.train.views import (
    LabelledPicture,
    MaskExample,
    ViewSettings,
    draw_example,
    source_from_view,
    spoil_colours,
    take_view,
)

R = 64
NO_DAMAGE = ViewSettings(R, spoil=0.0, letterbox_share=0.0, hint_share=0.0)


def two_discs(height: int = 120, width: int = 160, *, radius_px: float = 22) -> LabelledPicture:
    """Draw a right disc in front of a left one on dark grey."""
    size = max(height, width)
    whole = np.stack([disc(size, u, 60, radius_px)[:height, :width] for u in (60, 88)])
    visible = whole.copy()
    visible[1] &= ~whole[0]
    rgb = np.full((height, width, 3), 30, np.uint8)
    for side in (1, 0):
        rgb[whole[side]] = np.round(DISC_RGB[side] * 255)
    return LabelledPicture(rgb, visible, whole)


def noise(height: int = 96, width: int = 96, seed: int = 0) -> LabelledPicture:
    rng = np.random.default_rng(seed)
    amodal = rng.random((2, height, width)) < 0.5
    visible = amodal & (rng.random((2, height, width)) < 0.6)
    return LabelledPicture(rng.integers(0, 256, (height, width, 3), np.uint8), visible, amodal)


def mirrored(picture: LabelledPicture) -> LabelledPicture:
    flipped = (picture.visible[::-1, :, ::-1], picture.amodal[::-1, :, ::-1])
    return LabelledPicture(picture.rgb_u8[:, ::-1].copy(), *(m.copy() for m in flipped))


def look(
    picture: LabelledPicture,
    middle: tuple[float, float],
    side_px: float,
    angle: float = 0.0,
    *,
    mirror: bool = False,
    kept=None,
) -> MaskExample:
    affine = source_from_view(np.array(middle), side_px, angle, R, mirror=mirror)
    return take_view(picture, affine, R, mirror=mirror, kept=kept)


def same(a: MaskExample | PairTruth, b: MaskExample | PairTruth) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
    return all(
        same(one, other) if isinstance(one, PairTruth) else np.array_equal(one, other)
        for one, other in pairs
    )


def test_a_view_of_the_picture_itself_is_the_picture():
    picture = noise(R, R)
    view = look(picture, ((R - 1) / 2, (R - 1) / 2), R)
    assert np.array_equal(view.rgb_u8, picture.rgb_u8)
    for name in ("visible", "amodal"):
        mask = getattr(picture, name).astype(float)
        cells = mask.reshape(2, R // 2, 2, R // 2, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(getattr(view, name), cells, atol=1 / 255)


@pytest.mark.parametrize("side_px", [R / 2, R, 2 * R, 3 * R])
def test_a_mirrored_view_is_the_view_of_the_mirrored_picture_with_sides_swapped(side_px):
    """Exactly so where views lie on the picture's pixels."""
    for picture in (two_discs(), noise()):
        width = picture.rgb_u8.shape[1]
        for u, v in ((47.5, 40.5), (70.5, 61.5)):
            ours = look(picture, (u, v), side_px, mirror=True)
            theirs = look(mirrored(picture), (width - 1 - u, v), side_px)
            # Sides of the mirrored picture are swapped already.
            assert same(ours, theirs)


def test_a_turned_mirrored_view_is_so_too_but_for_rounding():
    picture = two_discs()
    for angle in (0.3, -1.2):
        for side_px in (50.0, 101.7):
            ours = look(picture, (71.3, 58.1), side_px, angle, mirror=True)
            theirs = look(mirrored(picture), (159 - 71.3, 58.1), side_px, -angle)
            for name in ("visible", "amodal"):
                gap = np.abs(getattr(ours, name) - getattr(theirs, name))
                assert gap.max() < 0.1
                assert gap.mean() < 1e-3
            gap = np.abs(ours.rgb_u8.astype(int) - theirs.rgb_u8)
            assert gap.max() < 25
            assert np.array_equal(ours.present, theirs.present)


def test_the_affine_goes_from_view_to_picture():
    affine = source_from_view(np.array([70.0, 50.0]), 32.0, 0.4, R, mirror=False)
    centre = np.array([(R - 1) / 2, (R - 1) / 2, 1])
    np.testing.assert_allclose(affine @ centre, [70, 50])
    across, down = np.array([10, 0, 0]), np.array([0, 9, 0])
    right = affine @ (centre + across)
    np.testing.assert_allclose(right, [70 + 5 * math.cos(0.4), 50 + 5 * math.sin(0.4)])
    flipped = source_from_view(np.array([70.0, 50.0]), 32.0, 0.4, R, mirror=True)
    np.testing.assert_allclose(flipped @ (centre - across), right)
    np.testing.assert_allclose(flipped @ (centre + down), affine @ (centre + down))


@pytest.mark.parametrize("shrink", [1.0, 1.6, 2.0, 2.5, 3.0, 4.0])
def test_nothing_moves_when_a_view_shrinks(shrink):
    size = 301
    whole = np.stack([disc(size, 150, 150, 60), disc(size, 150, 150, 60)])
    rgb = np.where(whole[0][..., None], np.uint8([255, 255, 255]), np.uint8([0, 0, 0]))
    view = look(LabelledPicture(rgb, whole, whole), (150, 150), shrink * R)
    for values in (view.rgb_u8[..., 0].astype(float), view.amodal[0]):
        n = len(values)
        rows, columns = np.indices(values.shape)
        for place in (rows, columns):
            middle = (place * values).sum() / values.sum()
            assert middle == pytest.approx((n - 1) / 2, abs=0.02)
    if shrink > 2:
        # As large as it should be: nothing is aliased away, nothing is smeared out.
        expected = math.pi * 60**2 / shrink**2
        assert view.amodal[0].sum() * 4 == pytest.approx(expected, rel=0.02)


def test_masks_stay_on_their_hands_in_any_view():
    picture, rng = two_discs(), np.random.default_rng(5)
    settings = replace(NO_DAMAGE, hint_share=0.5)
    n_seen = [0, 0]
    for _ in range(60):
        example = draw_example(picture, rng, settings)
        assert (example.visible <= example.amodal).all()
        assert example.amodal.max() <= 1
        assert example.visible.min() >= 0
        cells = example.rgb_u8.reshape(R // 2, 2, R // 2, 2, 3).mean(axis=(1, 3)) / 255
        # A mirrored view shows the right hand's colour on what is now the left hand.
        by_colour = [np.abs(cells - colour).max(axis=-1) for colour in DISC_RGB]
        inside = [example.visible[side] >= 0.999 for side in range(2)]
        if not inside[0].any():
            continue
        swapped = bool(by_colour[0][inside[0]].mean() > 0.2)
        # Either way the right hand stays on its side of the picture.
        middles = [np.nonzero(mask >= 0.5)[1].mean() for mask in example.amodal if mask.max() > 0.5]
        assert len(middles) < 2 or middles[0] < middles[1]
        for side in range(2):
            there = by_colour[side ^ int(swapped)]
            if inside[side].sum() > 3:
                n_seen[int(swapped)] += 1
                assert there[inside[side]].mean() < 0.02
            nowhere = example.visible[side] == 0
            assert (there[nowhere] > 0.2).all()
    assert min(n_seen) > 20


def test_hints_belong_to_the_view():
    picture, rng = two_discs(), np.random.default_rng(6)
    overlaps = []
    for _ in range(40):
        example = draw_example(picture, rng, replace(NO_DAMAGE, hint_share=1.0))
        assert example.hints.shape == (3, R // 2, R // 2)
        assert (example.hints[2] == 1).all()
        if (example.amodal.sum(axis=(1, 2)) > 30).all():
            own = (example.hints[:2] * example.amodal).sum()
            overlaps.append(own / np.maximum(example.hints[:2], example.amodal).sum())
        assert not draw_example(picture, rng, NO_DAMAGE).hints.any()
    assert len(overlaps) > 20
    # Of both hands' area, hints left out and all.
    assert np.median(overlaps) > 0.25


def test_hints_are_mostly_near_the_truth_and_now_and_then_wrong():
    rng = np.random.default_rng(1)
    amodal = np.zeros((2, 48, 48), np.float32)
    amodal[0] = disc(48, 17, 24, 9)
    n, missed, ghosts, swapped, none = 500, 0, 0, 0, 0
    for _ in range(n):
        hints = draw_hints(amodal, rng, none_share=0.2)
        assert (hints.dtype, hints.shape) == (np.float32, (3, 48, 48))
        assert hints.min() >= 0
        assert hints.max() <= 1
        if not hints[2].any():
            none += 1
            assert not hints.any()
            continue
        assert (hints[2] == 1).all()
        on = (hints[:2] * amodal[0]).sum(axis=(1, 2)) > 20
        missed += not hints[:2].any()
        swapped += bool(on[1] and not hints[0].any())
        ghosts += bool(hints[0].any() and hints[1].any())
    assert 0.1 < none / n < 0.3
    assert 0.15 * n < missed < 0.35 * n
    for count in (ghosts, swapped):
        assert 0 < count < 0.2 * n


@pytest.mark.parametrize(
    ("u", "present", "weight"),
    [
        (32.0, 1, 1),  # wholly in the view
        (58.0, 1, 1),  # more than half in
        (64.0 + 4.0, 1, 0),  # more than half out
        (64.0 + 30.0, 0, 1),  # wholly out
    ],
)
def test_presence_is_asked_only_where_it_is_clear(u, present, weight):
    size = 2 * R
    whole = np.zeros((2, size, size), bool)
    whole[0] = disc(size, u, 31.5, 12)
    picture = LabelledPicture(np.zeros((size, size, 3), np.uint8), whole, whole)
    view = look(picture, ((R - 1) / 2, (R - 1) / 2), R)
    assert (view.present[0], view.present_weight[0]) == (present, weight)
    # The other hand is nowhere, beyond doubt.
    assert (view.present[1], view.present_weight[1]) == (0, 1)
    swapped = look(picture, ((R - 1) / 2, (R - 1) / 2), R, mirror=True)
    assert swapped.present.tolist() == view.present[::-1].tolist()
    assert swapped.present_weight.tolist() == view.present_weight[::-1].tolist()


def test_a_hidden_hand_is_present_and_a_speck_is_not():
    whole = np.zeros((2, R, R), bool)
    whole[0] = disc(R, 30, 30, 10)
    whole[1, 10, 10] = True
    picture = LabelledPicture(np.zeros((R, R, 3), np.uint8), whole & False, whole)
    view = look(picture, ((R - 1) / 2, (R - 1) / 2), R)
    assert view.present.tolist() == [1, 0]
    assert view.present_weight.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("kept", "present", "weight"),
    [
        ((slice(0, R), slice(0, R)), 1, 1),
        ((slice(16, 48), slice(0, R)), 1, 1),
        ((slice(0, R), slice(0, 28)), 1, 0),
        ((slice(0, R), slice(0, 12)), 0, 1),
    ],
)
def test_a_hand_beyond_the_bars_is_gone(kept, present, weight):
    whole = np.zeros((2, R, R), bool)
    whole[1] = disc(R, 31, 31, 12)
    picture = LabelledPicture(np.full((R, R, 3), 200, np.uint8), whole, whole)
    middle = ((R - 1) / 2, (R - 1) / 2)
    view, plain = look(picture, middle, R, kept=kept), look(picture, middle, R)
    inside = np.zeros((R // 2, R // 2), bool)
    inside[kept[0].start // 2 : kept[0].stop // 2, kept[1].start // 2 : kept[1].stop // 2] = True
    for name in ("visible", "amodal"):
        mask = getattr(view, name)
        assert np.array_equal(mask[:, inside], getattr(plain, name)[:, inside])
        assert not mask[:, ~inside].any()
    assert (view.present[1], view.present_weight[1]) == (present, weight)


def test_view_and_bars_count_together():
    """Two thirds of a hand in the view, and of that within the bars, are less than half."""
    size = 2 * R
    whole = np.zeros((2, size, size), bool)
    whole[0, 20:40, 54:69] = True
    picture = LabelledPicture(np.zeros((size, size, 3), np.uint8), whole, whole)
    middle = ((R - 1) / 2, (R - 1) / 2)
    assert look(picture, middle, R).present_weight[0] == 1
    wide = (slice(0, 34), slice(0, R))
    assert look(picture, middle, R, kept=wide).present_weight[0] == 0


@pytest.mark.parametrize("resolution", [64, 96, 160, 192])
def test_bars_are_black_and_empty_whatever_the_damage(resolution):
    settings = ViewSettings(
        resolution, pair_share=0.0, letterbox_share=1.0, spoil=1.0, frame_scale=(0.3, 0.4)
    )
    picture, rng = two_discs(), np.random.default_rng(3)
    white = replace(picture, rgb_u8=np.full_like(picture.rgb_u8, 255))
    shapes = set()
    for _ in range(12):
        example = draw_example(white, rng, settings)
        lit = example.rgb_u8.any(axis=2)
        rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        shape = (rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])
        shapes.add(shape)
        assert max(shape) == resolution
        narrow = min(shape) / resolution
        assert min(abs(narrow - aspect) for aspect in (9 / 16, 3 / 4)) < 2.01 / resolution
        assert all(b.start % 2 == 0 and b.stop % 2 == 0 for b in box)
        assert box[0].start + box[0].stop == box[1].start + box[1].stop == resolution
        inside = np.zeros((resolution // 2, resolution // 2), bool)
        inside[tuple(slice(b.start // 2, b.stop // 2) for b in box)] = True
        assert not example.amodal[:, ~inside].any()
        assert not example.visible[:, ~inside].any()
    assert len(shapes) > 2


def test_a_pair_view_shows_the_hands_and_a_frame_view_the_frame():
    picture = two_discs(radius_px=12)
    pair = replace(NO_DAMAGE, pair_share=1.0, pair_scale=(1.3, 1.3), turn_deg=0.0)
    frame = replace(NO_DAMAGE, pair_share=0.0, frame_scale=(1.0, 1.0), turn_deg=0.0)
    rng = np.random.default_rng(2)
    whole_px = picture.amodal.sum()
    box_px = 88 + 12 - (60 - 12)
    for _ in range(20):
        shown = draw_example(picture, rng, pair).amodal.sum() * 4 * (1.3 * box_px / R) ** 2
        assert shown > 0.93 * whole_px
        area = draw_example(picture, rng, frame).amodal.sum() * 4 * (160 / R) ** 2
        assert area == pytest.approx(whole_px, rel=0.02)


def test_a_pair_view_of_no_hands_is_a_frame_view():
    none = np.zeros((2, 60, 80), bool)
    grey = LabelledPicture(np.full((60, 80, 3), 90, np.uint8), none, none)
    settings = replace(NO_DAMAGE, pair_share=1.0, frame_scale=(1.0, 1.0), turn_deg=0.0)
    example = draw_example(grey, np.random.default_rng(0), settings)
    lit = (example.rgb_u8 == 90).all(axis=2).mean()
    assert 0.55 < lit <= 0.76
    assert not example.amodal.any()
    assert example.present.tolist() == [0, 0]
    assert example.present_weight.tolist() == [1, 1]


def test_a_view_is_a_function_of_the_generators_state():
    settings = ViewSettings(R, spoil=0.5)
    for seed in range(3):
        one = draw_example(two_discs(), np.random.default_rng(seed), settings)
        assert same(one, draw_example(two_discs(), np.random.default_rng(seed), settings))
        other = draw_example(two_discs(), np.random.default_rng(seed + 100), settings)
        assert not np.array_equal(one.rgb_u8, other.rgb_u8)


def test_damage_changes_colours_and_nothing_else():
    picture = noise(R, R).rgb_u8
    assert spoil_colours(picture, np.random.default_rng(0), 0.0) is picture
    before = picture.copy()
    for seed in range(8):
        spoilt = spoil_colours(picture, np.random.default_rng(seed), 1.0)
        assert (spoilt.dtype, spoilt.shape) == (np.dtype(np.uint8), picture.shape)
        assert not np.array_equal(spoilt, picture)
    assert np.array_equal(picture, before)


def test_light_alone_leaves_a_plain_picture_plain():
    plain = np.full((R, R, 3), (120, 90, 60), np.uint8)
    found = set()
    for seed in range(20):
        spoilt = spoil_colours(plain, np.random.default_rng(seed), 1e-9)
        assert (spoilt == spoilt[0, 0]).all()
        found.add(tuple(spoilt[0, 0].tolist()))
        # Channels keep their order but for strong casts: red and blue are not exchanged.
        assert spoilt[0, 0, 0] > spoilt[0, 0, 2]
    assert len(found) == 20


def test_labelled_pictures_are_checked():
    rgb, masks = np.zeros((8, 9, 3), np.uint8), np.zeros((2, 8, 9), bool)
    LabelledPicture(rgb, masks, masks)
    with pytest.raises(ShapeError, match="rgb_u8 is float32"):
        LabelledPicture(rgb.astype(np.float32), masks, masks)
    with pytest.raises(ShapeError, match=r"visible is bool \(2, 8, 8\), expected bool \(2, 8, 9\)"):
        LabelledPicture(rgb, masks[..., :8], masks)
    with pytest.raises(ShapeError, match="amodal is uint8"):
        LabelledPicture(rgb, masks, masks.astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"resolution_px": 100}, "resolution_px is 100, expected a multiple of 32"),
        ({"resolution_px": 0}, "resolution_px is 0, expected a whole number from 32"),
        ({"resolution_px": 64.0}, r"resolution_px is 64\.0, expected a whole number"),
        ({"pair_share": 1.5}, r"pair_share is 1\.5, expected a number from 0 to 1"),
        ({"letterbox_share": -0.1}, r"letterbox_share is -0\.1, expected a number from 0 to 1"),
        ({"hint_share": 2}, "hint_share is 2, expected a number from 0 to 1"),
        ({"spoil": float("nan")}, "spoil is nan, expected a number from 0 to 1"),
        ({"spoil": True}, "spoil is True, expected a number"),
        ({"turn_deg": -1}, "turn_deg is -1, expected a number from 0 to 180"),
        ({"pair_scale": (2.0, 1.0)}, r"pair_scale, most, is 1\.0, expected a number from 2\.0"),
        ({"frame_scale": (0.0, 1.0)}, r"frame_scale, least, is 0\.0, expected a number from 0\.1"),
        ({"frame_scale": (1.0,)}, r"frame_scale is \(1\.0,\), expected two numbers, least and"),
        ({"frame_scale": 3}, "frame_scale is 3, expected two numbers"),
        ({"pair_scale": ("1", 2)}, "pair_scale, least, is '1', expected a number"),
    ],
)
def test_settings_out_of_range_are_refused(change, text):
    with pytest.raises(SettingsError, match=rf"ViewSettings\.{text}"):
        ViewSettings(**change)
