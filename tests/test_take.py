"""Crops: the fast sampler against a slow obvious one, the pyramid's pixel centres, the mirror."""

import numpy as np
import pytest
import torch

from hdrvideo.crop.take import Pyramid, take_crop, take_hands, to_tensor
from hdrvideo.geometry import CropSquare, apply_affine


def smooth_picture(height: int, width: int) -> np.ndarray:
    """Give waves of some 25 px: a sampler's rounding of coordinates stays below a grey level."""
    v, u = np.mgrid[:height, :width]
    waves = [np.sin(u / 9 + k) * np.cos(v / 11 - k) for k in range(3)]
    return np.round(127 + 50 * np.stack(waves, axis=-1)).astype(np.uint8)


def slow_crop(rgb_u8, square, resolution, *, replicate):
    """Sample pixel by pixel, bilinear, as geometry.py says."""
    height, width = rgb_u8.shape[:2]
    rows, columns = np.mgrid[:resolution, :resolution]
    crop_uv = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    crop = np.zeros((resolution**2, 3))
    frame_uv = apply_affine(square.frame_from_crop(resolution), crop_uv)
    for i, (u, v) in enumerate(frame_uv):
        u0, v0 = int(np.floor(u)), int(np.floor(v))
        for uu, weight_u in ((u0, u0 + 1 - u), (u0 + 1, u - u0)):
            for vv, weight_v in ((v0, v0 + 1 - v), (v0 + 1, v - v0)):
                if replicate:
                    uu, vv = min(max(uu, 0), width - 1), min(max(vv, 0), height - 1)
                if 0 <= uu < width and 0 <= vv < height:
                    crop[i] += weight_u * weight_v * rgb_u8[vv, uu]
    return crop.reshape(resolution, resolution, 3)


SQUARES = [
    CropSquare(30, 20, 24),
    CropSquare(30.3, 19.6, 20, 0.4),
    CropSquare(25, 22, 31.5, -2.5, mirror=True),
    CropSquare(2, 3, 30, 1.0),
    CropSquare(58, 38, 40, -0.2, mirror=True),
    CropSquare(30, 20, 7, 3.1),
]


@pytest.mark.parametrize("replicate", [True, False])
@pytest.mark.parametrize("square", SQUARES)
def test_a_crop_is_the_slow_bilinear_one(square, replicate):
    picture = smooth_picture(40, 60)
    fast = take_crop(Pyramid(picture), square, 32, replicate=replicate).astype(float)
    slow = slow_crop(picture, square, 32, replicate=replicate)
    assert fast.shape == (32, 32, 3)
    # OpenCV rounds coordinates to 1/32 px; only a black border is steep enough to show it.
    apart = np.abs(fast - slow)
    steep = 0 if replicate else (slow_crop(picture * 0 + 1, square, 32, replicate=False) < 1).sum()
    assert apart.max() <= (1.0 if replicate or not steep else 10.0)
    assert (apart > 1.0).sum() <= steep
    assert abs((fast - slow).mean()) < 0.1


@pytest.mark.parametrize("replicate", [True, False])
def test_the_whole_picture_at_its_own_size_comes_back_bit_for_bit(replicate):
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    crop = take_crop(Pyramid(picture), CropSquare(23.5, 23.5, 48), 48, replicate=replicate)
    np.testing.assert_array_equal(crop, picture)
    part = take_crop(Pyramid(picture), CropSquare(19.5, 21.5, 16), 16, replicate=replicate)
    np.testing.assert_array_equal(part, picture[14:30, 12:28])


def test_the_mirror_acts_once():
    picture = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    plain = take_crop(Pyramid(picture), CropSquare(29.5, 24.5, 32), 32, replicate=True)
    mirror = take_crop(Pyramid(picture), CropSquare(29.5, 24.5, 32, 0, True), 32, replicate=True)
    np.testing.assert_array_equal(mirror, plain[:, ::-1])
    # The mirrored picture through the mirrored square gives the very same crop.
    other = Pyramid(np.ascontiguousarray(picture[:, ::-1]))
    np.testing.assert_array_equal(
        take_crop(other, CropSquare(59 - 29.5, 24.5, 32, 0, True), 32, replicate=True), plain
    )


def test_outside_the_frame_is_black_or_the_border_repeated():
    picture = np.full((20, 20, 3), 200, np.uint8)
    picture[:, :, 2] = 7
    outside = CropSquare(-100, 10, 16)
    assert not take_crop(Pyramid(picture), outside, 16, replicate=False).any()
    assert (take_crop(Pyramid(picture), outside, 16, replicate=True) == [200, 200, 7]).all()


@pytest.mark.parametrize("shift", [0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("angle", [0, 0.3])
def test_a_fine_checkerboard_shrunk_fourfold_is_grey(angle, shift):
    v, u = np.mgrid[:256, :256]
    board = np.repeat((((u + v) % 2) * 255)[..., None], 3, axis=-1).astype(np.uint8)
    square = CropSquare(127.5 + shift, 127.5, 128, angle)
    crop = take_crop(Pyramid(board), square, 32, replicate=True)
    assert np.abs(crop.astype(float) - 127.5).max() <= 2


@pytest.mark.parametrize("size", [(256, 256), (257, 259), (301, 255), (1023, 770)])
@pytest.mark.parametrize("shrink", [1, 1.9, 2, 3, 4, 7.5, 8])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_gradient_keeps_its_values_in_place_through_the_pyramid(mirror, shrink, size):
    height, width = size
    v, u = np.mgrid[:height, :width]
    # Each channel rises by about a grey level a pixel at most.
    step = min(0.9, 250 / max(size))
    picture = np.stack([u * step, v * step, (u + v) * step / 2], axis=-1)
    square = CropSquare(width / 2 + 3.3, height / 2 - 2.1, 16 * shrink, 0.35, mirror)
    crop = take_crop(Pyramid(np.round(picture).astype(np.uint8)), square, 16, replicate=True)
    rows, columns = np.mgrid[:16, :16]
    at = apply_affine(square.frame_from_crop(16), np.stack([columns, rows], axis=-1).reshape(-1, 2))
    expected = np.stack([at[:, 0], at[:, 1], at.mean(axis=1)], axis=-1) * step
    apart = crop.reshape(-1, 3) - expected
    # Rounding of the picture, of each halved copy and of the crop.
    assert np.abs(apart).max() <= 1.75
    # A slip of half a small pixel would show as a shift common to all.
    assert np.abs(apart.mean(axis=0)).max() < 0.75


def test_levels_halve_and_are_made_once():
    pyramid = Pyramid(np.zeros((11, 5, 3), np.uint8))
    assert pyramid.shape_px == (11, 5)
    assert pyramid.level(3).shape == (1, 1, 3)
    sizes = [pyramid.level(n).shape[:2] for n in range(5)]
    assert sizes == [(11, 5), (5, 2), (2, 1), (1, 1), (1, 1)]
    assert pyramid.level(1) is pyramid.level(1)
    assert pyramid.shape_px == (11, 5)


def test_a_tensor_is_channels_first_from_0_to_1():
    crops = [np.full((4, 4, 3), (255, 0, 51), np.uint8), np.zeros((4, 4, 3), np.uint8)]
    tensor = to_tensor(crops)
    assert tensor.shape == (2, 3, 4, 4)
    assert tensor.dtype == torch.float32
    torch.testing.assert_close(tensor[0, :, 1, 2], torch.tensor([1, 0, 0.2]))
    assert not tensor[1].any()


def test_hands_of_a_frame_travel_with_their_way_back():
    pyramid = Pyramid(smooth_picture(40, 60))
    batch = take_hands(pyramid, SQUARES, 32)
    assert batch.mirrored.tolist() == [s.mirror for s in SQUARES]
    for i, square in enumerate(SQUARES):
        np.testing.assert_array_equal(batch.frame_from_crop[i], square.frame_from_crop(32))
        single = take_hands(pyramid, [square], 32)
        torch.testing.assert_close(single.rgb[0], batch.rgb[i], rtol=0, atol=0)
        crop = take_crop(pyramid, square, 32, replicate=True)
        torch.testing.assert_close(batch.rgb[i], to_tensor([crop])[0], rtol=0, atol=0)
