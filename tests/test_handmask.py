"""A hand's masks against slow loops: the right pixels in any frame, and what is refused."""

import math
import time

import numpy as np
import pytest

from hdrvideo.errors import ShapeError
from hdrvideo.geometry import CropSquare
from hdrvideo.handmask import HandMask

WHERE = {
    "inside": CropSquare(300.0, 200.0, 180.0),
    "between pixels": CropSquare(300.37, 200.81, 177.3),
    "over a corner": CropSquare(620.2, 10.6, 200.5),
    "larger than the frame": CropSquare(310.0, 250.0, 1500.0),
    "smaller than the mask": CropSquare(100.25, 90.5, 41.0),
}
everywhere = pytest.mark.parametrize("square", WHERE.values(), ids=WHERE.keys())


def disc(resolution, u, v, radius):
    """Draw a disc whose edge falls from 255 to 0 over one pixel, one half at the radius."""
    rows, columns = np.mgrid[:resolution, :resolution]
    inside = radius + 0.5 - np.hypot(columns - u, rows - v)
    return np.round(255 * np.clip(inside, 0, 1)).astype(np.uint8)


def make_mask(square, resolution=64):
    """Give a disc whose right half is hidden."""
    amodal = disc(resolution, 0.45 * resolution, 0.55 * resolution, 0.3 * resolution)
    visible = amodal.copy()
    visible[:, resolution // 2 :] //= 3
    return HandMask(square, visible, amodal)


def probability(mask_u8, square, u, v):
    """Look up one frame point, one neighbour after the other."""
    resolution = len(mask_u8)
    scale = square.size_px / resolution
    x = (u - (square.u_px - square.size_px / 2)) / scale - 0.5
    y = (v - (square.v_px - square.size_px / 2)) / scale - 0.5
    if not (-0.5 <= x < resolution - 0.5 and -0.5 <= y < resolution - 0.5):
        return 0.0
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            near = (min(max(k, 0), resolution - 1) for k in (row, column))
            total += weight * float(mask_u8[tuple(near)])
    return total / 255


@everywhere
def test_frame_pixels_are_those_of_a_slow_loop(square):
    mask = make_mask(square)
    found = mask.in_frame(480, 640)
    for one, mask_u8 in zip(found, (mask.visible_u8, mask.amodal_u8), strict=True):
        assert (one.shape, one.dtype) == ((480, 640), np.bool_)
        assert one.any()
        # Every third pixel either way, all of them near the mask's edge are met over the cases.
        for v in range(0, 480, 3):
            for u in range(v % 2, 640, 3):
                expected = probability(mask_u8, square, u, v)
                # A position is rounded to 1/32 of a mask pixel, and a probability to 1/255.
                if abs(expected - 0.5) > 0.04:
                    assert one[v, u] == (expected > 0.5), (u, v, expected)


def test_a_disc_lands_where_it_was_drawn():
    # One mask pixel is 2.5 frame pixels; the disc's middle is mask pixel (40, 20).
    square = CropSquare(200.0, 150.0, 160.0)
    mask = disc(64, 40, 20, 9)
    visible, amodal = HandMask(square, mask, mask).in_frame(300, 400)
    middle = (200 - 80 + 2.5 * 40.5, 150 - 80 + 2.5 * 20.5)
    rows, columns = np.mgrid[:300, :400]
    away = np.hypot(columns - middle[0], rows - middle[1]) - 9 * 2.5
    assert amodal[away < -0.5].all()
    assert not amodal[away > 0.5].any()
    np.testing.assert_array_equal(visible, amodal)


def test_a_square_of_the_frames_own_pixels_changes_nothing():
    rng = np.random.default_rng(3)
    amodal = rng.integers(0, 256, (40, 40), np.uint8)
    mask = HandMask(CropSquare(119.5, 69.5, 40.0), amodal // 2, amodal)
    found = mask.in_frame(200, 300)
    for one, mask_u8 in zip(found, (mask.visible_u8, mask.amodal_u8), strict=True):
        np.testing.assert_array_equal(one[50:90, 100:140], mask_u8 >= 128)
        assert one.sum() == (mask_u8 >= 128).sum()


@everywhere
def test_what_is_seen_stays_part_of_the_whole(square):
    rng = np.random.default_rng(1)
    amodal = rng.integers(0, 256, (97, 97), np.uint8)
    visible = (amodal * rng.random((97, 97))).astype(np.uint8)
    seen, whole = HandMask(square, visible, amodal).in_frame(480, 640)
    assert not (seen & ~whole).any()
    points = rng.uniform((-50, -50), (690, 530), (500, 2))
    mask = HandMask(square, visible, amodal)
    assert (mask.visible_at(points) <= mask.amodal_at(points)).all()


@everywhere
def test_points_are_those_of_a_slow_loop(square):
    mask = make_mask(square)
    points = np.random.default_rng(2).uniform((-50, -50), (690, 530), (400, 2))
    points[:5] = (square.u_px, square.v_px)
    for sample, mask_u8 in (
        (mask.visible_at, mask.visible_u8),
        (mask.amodal_at, mask.amodal_u8),
    ):
        expected = [probability(mask_u8, square, *point) for point in points]
        found = sample(points)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_points_outside_or_unknown_are_on_no_hand():
    full = np.full((16, 16), 255, np.uint8)
    mask = HandMask(CropSquare(50.0, 50.0, 20.0), full, full)
    points = np.array([(40.01, 50), (39.9, 50), (50, 60.1), (np.nan, 50), (1e20, 50)], np.float32)
    assert mask.amodal_at(points).tolist() == [1, 0, 0, 0, 0]
    assert mask.visible_at(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize(
    "square",
    [CropSquare(-300.0, 50.0, 90.0), CropSquare(50.0, 900.0, 90.0), CropSquare(9.25, 9.25, 0.4)],
)
def test_a_square_without_a_pixel_of_the_frame_is_empty(square):
    full = np.full((16, 16), 255, np.uint8)
    assert not np.any(HandMask(square, full, full).in_frame(120, 160))


def test_a_mask_of_one_pixel():
    one = np.full((1, 1), 200, np.uint8)
    mask = HandMask(CropSquare(9.5, 9.5, 4.0), one, one)
    _, amodal = mask.in_frame(30, 30)
    assert amodal[8:12, 8:12].all()
    assert amodal.sum() == 16
    np.testing.assert_allclose(mask.amodal_at(np.array([(9, 9)])), 200 / 255)


def test_the_box_runs_along_the_outer_edges():
    amodal = np.zeros((10, 10), np.uint8)
    amodal[3:5, 2:7] = 255
    amodal[8, 8] = 127
    # Mask pixels of 2 frame pixels; the square's corner is at (30, 50).
    mask = HandMask(CropSquare(40.0, 60.0, 20.0), np.zeros_like(amodal), amodal)
    assert mask.box_uvuv_px().tolist() == [34, 56, 44, 60]
    _, whole = mask.in_frame(100, 100)
    v, u = np.nonzero(whole)
    assert (u.min(), u.max(), v.min(), v.max()) == (34, 44, 56, 60)


def test_shares_and_boxes_by_hand():
    square = CropSquare(40.0, 60.0, 20.0)
    amodal = np.full((10, 10), 128, np.uint8)
    visible = amodal.copy()
    visible[:, 7:] = 127
    assert HandMask(square, visible, amodal).hidden_share() == pytest.approx(0.3)
    assert HandMask(square, amodal, amodal).hidden_share() == 0
    none = np.full((10, 10), 127, np.uint8)
    assert math.isnan(HandMask(square, none, none).hidden_share())
    assert HandMask(square, none, none).box_uvuv_px() is None
    assert not np.any(HandMask(square, none, none).in_frame(100, 100))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"square": CropSquare(9, 9, 9, 0.1)}, "mask square has angle 0.1 and mirror False, expec"),
        ({"square": CropSquare(9, 9, 9, mirror=True)}, "angle 0.0 and mirror True, expected an up"),
        ({"amodal_u8": np.zeros((8, 9), np.uint8)}, r"amodal_u8 is uint8 \(8, 9\), expected uint8"),
        ({"visible_u8": np.zeros((9, 9), np.uint8)}, r"visible_u8 is uint8 \(9, 9\), expected .*8"),
        ({"visible_u8": np.zeros((8, 8), bool)}, r"visible_u8 is bool \(8, 8\), expected uint8"),
        ({"visible_u8": np.eye(8, dtype=np.uint8)}, "visible is above amodal in 8 of 64 pixels"),
        ({k: np.zeros((0, 0), np.uint8) for k in ("visible_u8", "amodal_u8")}, "mask is 0x0"),
    ],
)
def test_masks_that_cannot_be_are_refused(changes, text):
    good = np.zeros((8, 8), np.uint8)
    with pytest.raises(ShapeError, match=text):
        HandMask(
            **{"square": CropSquare(9, 9, 9), "visible_u8": good, "amodal_u8": good, **changes}
        )


def test_it_keeps_up_with_a_clip():
    mask = make_mask(CropSquare(320.3, 240.2, 400.0), resolution=192)
    start = time.process_time()
    for _ in range(100):
        mask.in_frame(480, 640)
    # Measured 0.2 ms.
    assert (time.process_time() - start) / 100 < 0.003
