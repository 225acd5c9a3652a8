"""Painted hands: distances in a hole worked out by hand, and what they must obey."""

import cv2
import numpy as np
import pytest

from hdrvideo.errors import ShapeError
from hdrvideo.validate.painting import (
    MAX_PSNR_DB,
    flicker_l1,
    hole_l1,
    hole_laplacian_distance,
    hole_psnr_db,
    hole_ssim,
)

DISTANCES = (hole_l1, hole_psnr_db, hole_ssim, hole_laplacian_distance)
PERFECT = {hole_l1: 0.0, hole_psnr_db: MAX_PSNR_DB, hole_ssim: 1.0, hole_laplacian_distance: 0.0}


def flat(value: float, size: int = 64) -> np.ndarray:
    return np.full((3, size, size), value, np.float32)


def textured(seed: int = 0, size: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).random((size, size, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2).transpose(2, 0, 1)


def hole(size: int = 64) -> np.ndarray:
    region = np.zeros((size, size), bool)
    region[20:44, 16:48] = True
    return region


def test_l1_by_hand():
    # One channel of three off by 0.3 in the hole: 0.1. Outside, anything.
    predicted = flat(0.5)
    predicted[0] += 0.3
    predicted[:, ~hole()] = 1
    assert hole_l1(predicted, flat(0.5), hole()) == pytest.approx(0.1)


def test_psnr_by_hand():
    # Off by 0.1 everywhere: mean square 0.01, 20 dB.
    assert hole_psnr_db(flat(0.6), flat(0.5), hole()) == pytest.approx(20, abs=1e-4)


def test_ssim_of_flat_pictures_by_hand():
    # No variance: (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4).
    expected = (0.6 + 1e-4) / (0.61 + 1e-4)
    assert hole_ssim(flat(0.6), flat(0.5), hole()) == pytest.approx(expected, abs=1e-5)


def test_ssim_of_an_opposite_pattern_by_hand():
    # A checkerboard round 0.5 and its negative: means m = 0.5 to within the window's rest,
    # covariance = -variance: (-2 v + c2) / (2 v + c2) with v = 0.04, c2 = 9e-4.
    v, u = np.mgrid[:64, :64]
    board = np.where((u + v) % 2 == 0, 0.2, -0.2).astype(np.float32)
    a, b = np.repeat((0.5 + board)[None], 3, 0), np.repeat((0.5 - board)[None], 3, 0)
    expected = (-0.08 + 9e-4) / (0.08 + 9e-4)
    assert hole_ssim(a, b, hole()) == pytest.approx(expected, abs=1e-3)


def test_a_shift_in_brightness_is_no_detail():
    assert hole_laplacian_distance(flat(0.6), flat(0.5), hole()) == pytest.approx(0, abs=1e-6)


def test_detail_by_hand():
    # A checkerboard of 0.1 has nothing left in the coarser picture: 0.1 in the finest level only.
    # A pattern of period 2 in u alone is no different.
    v, u = np.mgrid[:64, :64]
    for place in (u + v, u):
        predicted = flat(0.5) + np.where(place % 2 == 0, 0.1, -0.1).astype(np.float32)
        distance = hole_laplacian_distance(predicted, flat(0.5), hole())
        assert distance == pytest.approx(0.1, abs=0.003)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_truth_is_perfect_whatever_lies_around(distance):
    true = textured()
    assert distance(true, true, hole()) == pytest.approx(PERFECT[distance], abs=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_more_noise_is_worse(distance):
    true = textured()
    noise = np.random.default_rng(1).normal(0, 1, true.shape).astype(np.float32)
    scores = [distance(true + size * noise, true, hole()) for size in (0.01, 0.05, 0.2)]
    best_first = sorted(scores, reverse=distance in (hole_psnr_db, hole_ssim))
    assert scores == best_first
    assert len(set(scores)) == 3


@pytest.mark.parametrize("distance", DISTANCES)
def test_blur_is_seen(distance):
    true = textured()
    blurred = cv2.GaussianBlur(true.transpose(1, 2, 0), (0, 0), 3).transpose(2, 0, 1)
    assert distance(blurred, true, hole()) != pytest.approx(PERFECT[distance], abs=1e-3)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_hole_of_a_few_pixels_is_not_scored(distance):
    region = np.zeros((64, 64), bool)
    region[0, :15] = True
    assert np.isnan(distance(flat(0.5), flat(0.6), region))
    region[0, 15] = True
    assert np.isfinite(distance(flat(0.5), flat(0.6), region))


@pytest.mark.parametrize("distance", DISTANCES)
def test_pictures_of_other_shapes_or_types_are_refused(distance):
    with pytest.raises(ShapeError, match=r"predicted is float32 \(3, 32, 32\)"):
        distance(flat(0.5, 32), flat(0.5), hole())
    with pytest.raises(ShapeError, match="true is uint8, expected floats"):
        distance(flat(0.5), np.zeros((3, 64, 64), np.uint8), hole())
    with pytest.raises(ShapeError, match="region is int64"):
        distance(flat(0.5), flat(0.5), hole().astype(np.int64))


def places(du: float, dv: float) -> np.ndarray:
    v, u = np.mgrid[:64, :64].astype(np.float32)
    return np.stack([u + du, v + dv], axis=-1)


def test_what_moves_as_it_should_does_not_flicker():
    first = textured()
    second = np.roll(first, (2, 5), axis=(1, 2))
    assert flicker_l1(first, second, places(5, 2), hole()) == pytest.approx(0, abs=1e-6)
    assert flicker_l1(first, second, places(4, 2), hole()) > 0.005


def test_flicker_by_hand():
    # A whole hand 0.2 brighter in the next frame.
    assert flicker_l1(flat(0.3), flat(0.5), places(1.5, 0), hole()) == pytest.approx(0.2)


def test_points_that_are_not_to_be_seen_do_not_flicker():
    second = flat(0.3)
    second[:, :, :40] = 1
    motion = places(0, 0)
    motion[:, :40] = np.nan
    assert flicker_l1(flat(0.3), second, motion, hole()) == pytest.approx(0)
    assert np.isnan(flicker_l1(flat(0.3), second, np.full_like(motion, np.nan), hole()))
    assert np.isnan(flicker_l1(flat(0.3), second, places(500, 0), hole()))


def test_steady_is_better_than_trembling():
    rng = np.random.default_rng(2)
    true = textured()
    noise = rng.normal(0, 1, (2, *true.shape)).astype(np.float32)
    scores = [
        flicker_l1(true + size * noise[0], true + size * noise[1], places(0, 0), hole())
        for size in (0, 0.02, 0.1)
    ]
    assert scores == sorted(scores)
    assert scores[0] == 0
