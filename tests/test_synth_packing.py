"""Masks and pictures as bytes: what goes in comes out, and damage is noticed."""

import numpy as np
import pytest

from hdrvideo.errors import ShapeError
from hdrvideo.synth.packing import pack_masks, pack_pictures, unpack_masks, unpack_picture


@pytest.mark.parametrize("shape", [(4, 2, 5, 7), (1, 8, 8), (3, 3), (0, 2, 6, 6)])
def test_masks_round_trip(shape):
    masks = np.random.default_rng(0).random(shape) < 0.4
    packed = pack_masks(masks)
    assert packed.dtype == np.uint8
    assert packed.shape[-1] == -(-shape[-1] * shape[-2] // 8)
    np.testing.assert_array_equal(unpack_masks(packed, *shape[-2:]), masks)


def test_masks_of_another_size_are_refused():
    packed = pack_masks(np.ones((2, 8, 8), bool))
    with pytest.raises(ShapeError, match="packed masks have 8 bytes, not 9x9 pixels"):
        unpack_masks(packed, 9, 9)


def smooth_pictures():
    ramp = np.linspace(0, 255, 32)
    red, green = np.meshgrid(ramp, ramp)
    one = np.stack([red, green, np.full((32, 32), 77.0)], axis=-1).astype(np.uint8)
    return [one, one[::-1].copy(), one[:20]]


def test_pictures_round_trip_in_order_and_colour():
    pictures = smooth_pictures()
    data, offsets = pack_pictures(pictures)
    assert offsets[0] == 0
    assert offsets[-1] == len(data)
    for number, picture in enumerate(pictures):
        back = unpack_picture(data, offsets, number)
        assert back.shape == picture.shape
        assert np.abs(back.astype(int) - picture).max() <= 8


def test_quality_costs_bytes():
    noise = [np.random.default_rng(1).integers(0, 255, (48, 48, 3)).astype(np.uint8)]
    assert len(pack_pictures(noise, quality=95)[0]) > 2 * len(pack_pictures(noise, quality=40)[0])


def test_no_pictures():
    data, offsets = pack_pictures([])
    assert (len(data), offsets.tolist()) == (0, [0])


def test_damaged_pictures_are_refused():
    data, offsets = pack_pictures(smooth_pictures())
    with pytest.raises(ShapeError, match="are no picture"):
        unpack_picture(np.zeros_like(data), offsets, 0)
    with pytest.raises(ShapeError, match=rf"bytes \d+ to \d+ of {len(data) // 2} are no picture"):
        unpack_picture(data[: len(data) // 2], offsets, 2)


def test_pictures_are_checked():
    with pytest.raises(ShapeError, match="rgb_u8"):
        pack_pictures([np.zeros((4, 4), np.uint8)])
