"""Palms: anchors, decoding, suppression, tiles, and the squares that come of them."""

import math

import numpy as np
import pytest
import torch

from hdrvideo.crop.find import PalmFinder, square_from_palm, tiles, whole_frame
from hdrvideo.crop.palm import N_ANCHORS, N_VALUES, PalmNet, Palms, anchor_centres, decode_palms
from hdrvideo.crop.take import Pyramid
from hdrvideo.errors import ShapeError
from hdrvideo.geometry import apply_affine, invert_affine, square_from_pose

SIZES = [(480, 640), (640, 480), (500, 500), (1080, 1920), (1920, 1080), (100, 1000), (720, 721)]
SIZES += [(33, 32), (32, 45), (1, 1), (1, 7)]


def nothing(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Give a net's output without a palm: every logit low."""
    return torch.full((batch, N_ANCHORS), -50.0), torch.zeros(batch, N_ANCHORS, N_VALUES)


def put(output, anchor: int, *, logit: float, box_px, keypoints_px=None, picture: int = 0):
    """Put a palm, in pixels of the 192 px picture (corner at 0), on an anchor."""
    logits, values = output
    centre = anchor_centres()[anchor] * 192
    u, v, width, height = box_px
    points = torch.full((7, 2), float(u)) if keypoints_px is None else torch.tensor(keypoints_px)
    logits[picture, anchor] = logit
    values[picture, anchor, :4] = torch.tensor([u - centre[0], v - centre[1], width, height])
    values[picture, anchor, 4:] = (points - centre).flatten()


def test_anchors_stand_in_the_middle_of_their_cells():
    centres = anchor_centres()
    assert centres.shape == (N_ANCHORS, 2)
    expected = [
        ((column + 0.5) / cells, (row + 0.5) / cells)
        for cells, per_cell in ((24, 2), (12, 6))
        for row in range(cells)
        for column in range(cells)
        for _ in range(per_cell)
    ]
    torch.testing.assert_close(centres, torch.tensor(expected))


@pytest.mark.parametrize("anchor", [0, 1, 601, 1151, 1152, 1500, 2015])
def test_one_logit_at_one_anchor_is_one_box_in_place(anchor):
    output = nothing()
    points = [[float(10 * k), float(100 - k)] for k in range(7)]
    put(output, anchor, logit=2.0, box_px=(60, 90, 40, 20), keypoints_px=points)
    (palms,) = decode_palms(*output, min_score=0.5)
    assert palms.score.tolist() == pytest.approx([1 / (1 + math.exp(-2))])
    np.testing.assert_allclose(palms.box[0] * 192, [40, 80, 80, 100], atol=1e-4)
    np.testing.assert_allclose(palms.keypoints[0] * 192, points, atol=1e-4)
    assert len(decode_palms(*output, min_score=0.95)[0].score) == 0


def test_near_palms_merge_by_score_and_far_ones_stay():
    output = nothing()
    put(output, 100, logit=3.0, box_px=(60, 60, 40, 40))
    put(output, 101, logit=0.0, box_px=(64, 60, 40, 40))
    put(output, 1300, logit=1.0, box_px=(150, 140, 40, 40))
    (palms,) = decode_palms(*output, min_score=0.4)
    scores = 1 / (1 + np.exp(-np.array([3.0, 0.0, 1.0])))
    np.testing.assert_allclose(palms.score, scores[[0, 2]], rtol=1e-6)
    middle = (60 * scores[0] + 64 * scores[1]) / (scores[0] + scores[1])
    np.testing.assert_allclose(palms.box[0] * 192, [middle - 20, 40, middle + 20, 80], atol=1e-4)
    np.testing.assert_allclose(palms.box[1] * 192, [130, 120, 170, 160], atol=1e-4)


def test_many_palms_come_best_first_and_overlap_little():
    rng = np.random.default_rng(0)
    output = nothing()
    for anchor in rng.choice(N_ANCHORS, 120, replace=False):
        box = (*rng.uniform(20, 170, 2), *rng.uniform(20, 60, 2))
        put(output, int(anchor), logit=rng.normal(1, 1), box_px=box)
    (palms,) = decode_palms(*output, min_score=0.5)
    assert 3 < len(palms.score) < 120
    assert (palms.score.diff() <= 0).all()
    assert (palms.score >= 0.5).all()


@pytest.mark.parametrize("box", [(60, 60, 0, 0), (60, 60, -20, 30), (60, 60, -20, -20)])
def test_degenerate_boxes_end_and_stay_finite(box):
    output = nothing()
    for anchor in (3, 4, 1600):
        put(output, anchor, logit=1.0 + anchor / 1e4, box_px=box)
    put(output, 900, logit=5.0, box_px=(120, 120, 30, 30))
    (palms,) = decode_palms(*output, min_score=0.5)
    np.testing.assert_allclose(palms.box[0] * 192, [105, 105, 135, 135], atol=1e-4)
    assert len(palms.score) >= 2
    assert torch.isfinite(palms.box).all()
    finder = PalmFinder(lambda rgb: output, device=torch.device("cpu"), min_score=0.5)
    found = finder.find(Pyramid(np.zeros((192, 192, 3), np.uint8)), [whole_frame(192, 192)])
    assert [round(f.score, 3) for f in found] == [round(float(palms.score[0]), 3)]


def test_extreme_logits_stay_finite():
    output = nothing()
    put(output, 5, logit=1e9, box_px=(60, 60, 20, 20))
    put(output, 1999, logit=-1e9, box_px=(60, 60, 20, 20))
    (palms,) = decode_palms(*output, min_score=0.5)
    assert palms.score.tolist() == [1.0]


def test_a_batch_is_one_after_the_other_and_may_be_empty():
    rng = np.random.default_rng(1)
    output = nothing(3)
    for picture in (0, 2):
        for anchor in rng.choice(N_ANCHORS, 9, replace=False):
            box = (*rng.uniform(20, 170, 2), 30, 30)
            put(output, int(anchor), logit=rng.uniform(0.1, 4), box_px=box, picture=picture)
    batch = decode_palms(*output, min_score=0.5)
    assert len(batch[1].score) == 0
    for i in range(3):
        (single,) = decode_palms(output[0][i : i + 1], output[1][i : i + 1], min_score=0.5)
        for name in ("score", "box", "keypoints"):
            torch.testing.assert_close(getattr(single, name), getattr(batch[i], name))
    assert decode_palms(torch.zeros(0, N_ANCHORS), torch.zeros(0, N_ANCHORS, 18), min_score=0) == []


def test_palms_check_themselves():
    score, box, points = torch.zeros(2), torch.zeros(2, 4), torch.zeros(2, 7, 2)
    with pytest.raises(ShapeError, match=r"score is .*, expected float32 \(2,\)"):
        Palms(score[:, None], box, points)
    with pytest.raises(ShapeError, match=r"box is .*, expected float32 \(2, 4\)"):
        Palms(score, box[:1], points)
    with pytest.raises(ShapeError, match=r"keypoints is .*, expected float32 \(2, 7, 2\)"):
        Palms(score, box, points.double())


@pytest.mark.parametrize("size", SIZES)
def test_whole_frame_and_tiles_cover_every_pixel(size):
    height, width = size
    whole = whole_frame(height, width)
    assert whole.size_px == max(size)
    assert whole.u_px - whole.size_px / 2 <= -0.5
    assert whole.v_px + whole.size_px / 2 >= height - 0.5
    covered = np.zeros(size, bool)
    squares = tiles(height, width)
    for tile in squares:
        assert tile.size_px == min(size)
        left, top = tile.u_px - tile.size_px / 2, tile.v_px - tile.size_px / 2
        assert left >= -0.5 - 1e-9
        assert top >= -0.5 - 1e-9
        assert left + tile.size_px <= width - 0.5 + 1e-9
        assert top + tile.size_px <= height - 0.5 + 1e-9
        columns = np.abs(np.arange(width) - tile.u_px) <= tile.size_px / 2
        rows = np.abs(np.arange(height) - tile.v_px) <= tile.size_px / 2
        covered |= rows[:, None] & columns
    assert covered.all()
    if height == width:
        assert len(squares) == 1
    turned = [(t.v_px, t.u_px, t.size_px) for t in tiles(width, height)]
    assert turned == [(t.u_px, t.v_px, t.size_px) for t in squares]


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (1080, 1920)])
def test_neighbouring_tiles_overlap(size):
    squares = tiles(*size)
    axis = "u_px" if size[1] > size[0] else "v_px"
    steps = np.diff([getattr(t, axis) for t in squares])
    assert (steps < squares[0].size_px).all()
    assert (steps > 0).all()


@pytest.mark.parametrize("size", [(192, 192), (480, 640), (640, 480)])
def test_a_found_palm_stands_where_the_net_saw_it(size):
    """A palm at the same place of the frame, seen in any region, gives the same square."""
    height, width = size
    place, side = np.array([width / 2 + 11, height / 2 - 7]), min(size) / 6
    squares = []
    regions = [whole_frame(height, width), *tiles(height, width)]
    for region in regions:
        output = nothing()
        scale = 192 / region.size_px
        corner = np.array([region.u_px, region.v_px]) - region.size_px / 2
        middle = (place - corner) * scale
        points = np.tile(middle, (7, 1))
        points[2, 1] -= 10  # the middle finger's knuckle is above the wrist: an upright hand
        box = (*(float(m) for m in middle), side * scale, side * scale)
        put(output, 700, logit=3.0, box_px=box, keypoints_px=points.astype(np.float32))
        finder = PalmFinder(lambda rgb, o=output: o, device=torch.device("cpu"), min_score=0.5)
        (found,) = finder.find(Pyramid(np.zeros((*size, 3), np.uint8)), [region])
        squares.append(found.square)
    for square in squares:
        assert square.u_px == pytest.approx(place[0], abs=1e-3)
        assert square.v_px == pytest.approx(place[1] - 0.5 * side, abs=1e-3)
        assert square.size_px == pytest.approx(2.6 * side, abs=1e-3)
        assert square.angle_rad == pytest.approx(0, abs=1e-4)


def test_one_palm_seen_in_two_regions_is_one():
    output = nothing(2)
    put(output, 10, logit=1.0, box_px=(96, 96, 40, 40), picture=0)
    put(output, 10, logit=3.0, box_px=(97, 95, 40, 40), picture=1)
    put(output, 1200, logit=2.0, box_px=(30, 30, 30, 30), picture=1)
    finder = PalmFinder(lambda rgb: output, device=torch.device("cpu"), min_score=0.5)
    region = whole_frame(192, 192)
    found = finder.find(Pyramid(np.zeros((192, 192, 3), np.uint8)), [region, region])
    scores = [f.score for f in found]
    assert scores == pytest.approx([1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-2))])


@pytest.mark.parametrize("angle", np.linspace(-3, 3, 7))
def test_turning_a_hand_turns_its_square(angle):
    rng = np.random.default_rng(2)
    hand = rng.uniform([-40, -100], [40, -20], (21, 2))
    hand[0] = 0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plain = square_from_pose(hand.astype(np.float32), mirror=False)
    moved = square_from_pose((3 * hand @ turn.T + [200, 100]).astype(np.float32), mirror=True)
    assert moved.size_px == pytest.approx(3 * plain.size_px, rel=1e-5)
    assert moved.mirror
    assert not plain.mirror
    middle = 3 * turn @ [plain.u_px, plain.v_px] + [200, 100]
    assert [moved.u_px, moved.v_px] == pytest.approx(list(middle), abs=1e-2)
    assert math.remainder(moved.angle_rad - plain.angle_rad - angle, math.tau) == pytest.approx(
        0, abs=1e-4
    )


def test_a_hand_points_up_in_its_square():
    uv = np.tile(np.array([300.0, 200.0]), (21, 1))
    uv[1:] += np.random.default_rng(3).uniform([40, -10], [80, 10], (20, 2))
    square = square_from_pose(uv.astype(np.float32), mirror=False)
    crop = apply_affine(invert_affine(square.frame_from_crop(224)), uv)
    assert crop[9, 1] < crop[0, 1] - 10
    palm = square_from_palm(np.array([290, 190, 340, 210]), uv[[0, 5, 9, 13, 17, 1, 2]])
    assert palm.angle_rad == pytest.approx(np.pi / 2, abs=0.3)
    assert palm.u_px > 315


def test_a_hand_squeezed_to_a_point_has_a_square():
    square = square_from_pose(np.full((21, 2), 7, np.float32), mirror=False)
    assert square.size_px == pytest.approx(2)
    assert (square.u_px, square.v_px) == pytest.approx((7, 7), abs=0.2)


def test_the_net_reads_a_batch_as_one_by_one():
    torch.manual_seed(0)
    net = PalmNet().eval()
    rgb = torch.rand(3, 3, 192, 192)
    with torch.inference_mode():
        logits, values = net(rgb)
        assert logits.shape == (3, N_ANCHORS)
        assert values.shape == (3, N_ANCHORS, N_VALUES)
        one = net(rgb[1:2])
    torch.testing.assert_close(one[0][0], logits[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one[1][0], values[1], rtol=1e-4, atol=1e-4)
