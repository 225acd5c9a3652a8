"""Looking at squares: crumbs go, empty masks are None, the square holds all hands."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hdrvideo.crop.segment import Segmenter, draw_hints, pair_square
from hdrvideo.crop.take import Pyramid
from hdrvideo.geometry import CropSquare

CELLS = 24


@dataclass
class Masks:
    amodal: torch.Tensor
    visible: torch.Tensor
    presence: torch.Tensor


@dataclass
class Joints:
    uv_px: torch.Tensor
    xyz_mm: torch.Tensor
    confidence: torch.Tensor


@dataclass
class Said:
    masks: Masks
    joints: Joints


def said(*discs: tuple[int, float, float, float]) -> Said:
    """Give masks with discs: side, middle u and v, radius in mask pixels."""
    v, u = np.mgrid[:CELLS, :CELLS]
    amodal = np.zeros((1, 2, CELLS, CELLS), np.float32)
    for side, middle_u, middle_v, radius in discs:
        amodal[0, side][np.hypot(u - middle_u, v - middle_v) <= radius] = 0.9
    amodal = torch.from_numpy(amodal)
    draw = torch.Generator().manual_seed(len(discs))
    joints = (torch.rand(1, 2, 21, n, generator=draw) for n in (2, 3))
    return Said(
        Masks(amodal, amodal * 0.8, torch.tensor([[0.9, 0.2]])),
        Joints(*joints, torch.rand(1, 2, 21, generator=draw)),
    )


def look(answer: Said, square: CropSquare):
    seen_px = []

    def net(rgb: torch.Tensor) -> Said:
        seen_px.append(tuple(rgb.shape))
        return answer

    seen = Segmenter(net, resolution_px=48)(Pyramid(np.zeros((90, 120, 3), np.uint8)), square)
    assert seen_px == [(1, 6, 48, 48)]
    return seen


def test_masks_lie_where_the_square_says():
    square = CropSquare(60, 45, 48)
    seen = look(said((0, 6, 18, 4), (1, 17, 6, 5)), square)
    right, left = seen.masks
    # A mask pixel is two frame pixels: its middle is at 2 i + 0.5 from the square's corner.
    corner = np.array([60 - 24 + 0.5, 45 - 24 + 0.5])
    for mask, middle in ((right, (6, 18)), (left, (17, 6))):
        box = mask.box_uvuv_px()
        assert (box[:2] + box[2:]) / 2 == pytest.approx(corner + 2 * np.array(middle) + 0.5)
    assert seen.presence == pytest.approx([0.9, 0.2])


def test_joints_lie_where_the_square_says_and_only_with_a_mask():
    answer = said((1, 17, 6, 5))
    seen = look(answer, CropSquare(60, 45, 96))
    right, left = seen.poses
    assert right is None
    # 48 pixels of the net's picture are 96 of the frame: centres lie at 2 i + 0.5 from its corner.
    expected = 2 * answer.joints.uv_px[0, 1].numpy() + 0.5 + [60 - 47.5, 45 - 47.5]
    np.testing.assert_allclose(left.uv_px, expected, atol=1e-4)
    np.testing.assert_array_equal(left.xyz_mm, answer.joints.xyz_mm[0, 1])
    np.testing.assert_array_equal(left.confidence, answer.joints.confidence[0, 1])


def test_only_the_largest_piece_is_kept():
    alone = look(said((0, 6, 18, 4)), CropSquare(60, 45, 48)).masks[0]
    crumbs = look(said((0, 6, 18, 4), (0, 18, 4, 2)), CropSquare(60, 45, 48)).masks[0]
    assert np.array_equal(alone.amodal_u8, crumbs.amodal_u8)
    assert np.array_equal(alone.visible_u8, crumbs.visible_u8)


def test_nothing_and_next_to_nothing_are_none():
    assert look(said(), CropSquare(60, 45, 48)).masks == (None, None)
    assert look(said((1, 5, 5, 1)), CropSquare(60, 45, 48)).masks == (None, None)


def test_the_pair_square_holds_all_boxes_with_room():
    boxes = [np.array([10.0, 20, 50, 80]), np.array([90.0, 30, 140, 60])]
    square = pair_square(boxes, 480, 640)
    low = np.array([square.u_px, square.v_px]) - square.size_px / 2
    high = low + square.size_px
    assert square.size_px == pytest.approx(1.4 * 130)
    assert (low <= [10, 20]).all()
    assert (high >= [140, 80]).all()


def test_a_tiny_hand_is_looked_at_with_its_surroundings():
    square = pair_square([np.array([10.0, 10, 14, 14])], 480, 640)
    assert square.size_px == pytest.approx(640 / 8)
    assert (square.u_px, square.v_px) == (12, 12)


def test_hints_lie_where_the_masks_were():
    old = CropSquare(60, 45, 48)
    mask = look(said((0, 6, 18, 4)), old).masks[0]
    moved = CropSquare(66, 39, 48)
    drawn = draw_hints((mask, None), moved, 48)[0].numpy()
    assert (drawn[2] == 1).all()
    assert not drawn[1].any()
    # Crop pixels are frame pixels here: the disc is 6 px more to the left and 6 px lower.
    frame = mask.in_frame(90, 120)[1]
    corner_u, corner_v = 66 - 24, 39 - 24
    expected = frame[corner_v : corner_v + 48, corner_u : corner_u + 48]
    assert (
        (drawn[0] >= 0.5) == np.pad(expected, [(0, 48 - expected.shape[0]), (0, 0)])
    ).mean() > 0.98
    assert drawn[0].max() == pytest.approx(0.9, abs=0.01)


def test_no_hints_are_zeros_and_known_absence_is_not():
    square = CropSquare(60, 45, 48)
    assert not draw_hints(None, square, 32).any()
    nobody = draw_hints((None, None), square, 32)[0]
    assert (nobody[2] == 1).all()
    assert not nobody[:2].any()
