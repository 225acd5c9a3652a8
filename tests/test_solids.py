"""What two closed bodies share: volume and depth against closed forms."""

import math

import numpy as np
import pytest
import torch
from bodies import ball, box, lens_mm3, measure, mirrored, moved

from hdrvideo.errors import ShapeError
from hdrvideo.handmodel import axis_angle_to_matrix
from hdrvideo.penetration import penetration
from hdrvideo.solids import _common_mm

# --- closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("step_mm", [1.0, 2.0])
def test_boxes_on_the_grid(step_mm):
    """Edges and corners lie on columns: ties must not open the surface."""
    one, other = box((0, 0, 0), (40, 40, 40)), box((30, -10, 4), (70, 30, 60))
    depth_mm, volume_mm3 = measure(one, other, step_mm=step_mm)
    assert volume_mm3 == pytest.approx(10 * 30 * 36, rel=1e-6)
    # The other's edge at x = 30 is 10 deep; its vertices lie 4 mm apart.
    assert depth_mm == pytest.approx(10, abs=1e-6)


def test_a_column_along_a_seam_meets_one_face():
    """With an odd count a column stands in the middle, where both bodies have vertices."""
    one, other = box((-5, -5, 0), (5, 5, 10), n=2), box((-5, -5, 5), (5, 5, 15), n=2)
    for step_mm in (10.0, 3.0, 2.0):
        assert measure(one, other, step_mm=step_mm)[1] == pytest.approx(500, rel=1e-6)


@pytest.mark.parametrize("distance_mm", [20.0, 26.0, 31.0])
def test_balls(distance_mm):
    direction = np.array([2, -3, 6]) / 7
    depth_mm, volume_mm3 = measure(
        ball((0, 0, 0), 20), ball(distance_mm * direction, 15), step_mm=1.0
    )
    assert volume_mm3 == pytest.approx(lens_mm3(20, 15, distance_mm), rel=0.04)
    assert depth_mm == pytest.approx(35 - distance_mm, abs=0.5)


def test_one_body_within_another():
    depth_mm, volume_mm3 = measure(ball((1, 2, 3), 8), box((-20, -20, -20), (20, 20, 20)))
    assert volume_mm3 == pytest.approx(4 / 3 * math.pi * 8**3, rel=0.02)
    points = ball((1, 2, 3), 8)[0]
    assert depth_mm == pytest.approx((20 - np.abs(points).max(axis=1)).max(), abs=1e-9)


def test_bodies_apart():
    one = ball((0, 0, 0), 10)
    assert measure(one, ball((100, 0, 0), 10)) == (0, 0)
    # Their boxes overlap, they do not.
    assert measure(one, ball((13, 13, 13), 10)) == (0, 0)


def test_sides_may_change_places():
    one, other = ball((0, 0, 0), 20), box((3, 4, -8), (40, 9, 30))
    assert measure(one, other) == pytest.approx(measure(other, one), rel=1e-12)


def test_a_mirror_image_measures_the_same():
    one, other = ball((1, 0, 2), 20), box((3, 4, -8), (40, 9, 30))
    assert measure(mirrored(one), mirrored(other)) == pytest.approx(measure(one, other), rel=1e-6)


def test_a_common_motion_changes_nothing():
    one, other = ball((0, 0, 0), 20), box((3, 4, -8), (40, 19, 30))
    depth_mm, volume_mm3 = measure(one, other)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        turn = axis_angle_to_matrix(torch.tensor(rng.normal(0, 2, 3))).numpy()
        shift = rng.normal(0, 300, 3)
        found = measure(moved(one, turn, shift), moved(other, turn, shift))
        assert found[0] == pytest.approx(depth_mm, abs=1e-9)
        assert found[1] == pytest.approx(volume_mm3, rel=0.02)


def test_an_open_end_is_closed():
    vertices, faces = box((0, 0, 0), (20, 20, 20))
    lid = (vertices[faces][:, :, 1] == 20).all(axis=1)
    assert 0 < lid.sum() < len(faces)
    other = box((5, 12, 5), (15, 40, 15))
    whole, open_end = measure((vertices, faces), other), measure((vertices, faces[~lid]), other)
    assert whole == (pytest.approx(8), pytest.approx(10 * 8 * 10))
    # The fan is no skin, and the walls are further than the lid was.
    assert open_end == (pytest.approx(10), pytest.approx(10 * 8 * 10))


def test_folds_count_once_and_loose_vertices_not_at_all():
    a, b = box((0, 0, 0), (10, 10, 10), n=1), box((5, 0, 0), (15, 10, 10), n=1)
    both = np.concatenate([a[0], b[0], [[7.0, 5, 5]]]), np.concatenate([a[1], len(a[0]) + b[1]])
    other = box((-5, 2, 2), (20, 8, 8), n=1)
    assert measure(both, other) == (0, pytest.approx(15 * 6 * 6, rel=1e-6))


def test_a_column_that_does_not_close_is_left_out():
    column = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    body = np.array([0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1])
    change = np.array([1, 1, -1, -1, 1, 1, -1, 1, 1, -1, -1])
    z_mm = np.array([0.0, 1, 3, 4, 0, 1, 2, 0, 5, 6, 7])
    assert _common_mm(column, z_mm, change, body) == 2 + 0 + 1


def test_rows_do_not_depend_on_one_another():
    one, other = ball((0, 0, 0), 20, n=300), box((3, 4, -8), (40, 19, 30), n=3)
    shifts = np.array([[0, 0, 0], [5, 0, 0], [200, 0, 0], [0, np.nan, 0]])[:, None]
    many = penetration(one[0] + shifts, one[1], np.repeat(other[0][None], 4, axis=0), other[1])
    for n in range(3):
        assert measure((one[0] + shifts[n], one[1]), other) == (
            many.depth_mm[n],
            many.volume_mm3[n],
        )
    assert many.volume_mm3[2] == 0
    assert np.isnan(many.depth_mm[3])
    assert np.isnan(many.volume_mm3[3])


@pytest.mark.parametrize("step_mm", [0.0, -1.0, math.nan, math.inf])
def test_a_step_that_is_none(step_mm):
    body = box((0, 0, 0), (1, 1, 1), n=1)
    with pytest.raises(ShapeError, match=r"step_mm is .*, expected more than 0; 1.0 suits hands"):
        measure(body, body, step_mm=step_mm)


def test_wrong_meshes():
    vertices, faces = box((0, 0, 0), (1, 1, 1), n=1)
    good = vertices[None], faces
    with pytest.raises(ShapeError, match=r"vertices_right_mm is float64 \(8, 3\), expected"):
        penetration(vertices, faces, *good)
    with pytest.raises(ShapeError, match=r"faces_left is int64 \(12, 2\), expected"):
        penetration(*good, vertices[None], faces[:, :2])
    with pytest.raises(ShapeError, match=r"vertices_left_mm holds 2 bodies, expected 1 as on"):
        penetration(*good, np.repeat(good[0], 2, axis=0), faces)
    for bad, text in ((faces + 1, "1 to 8"), (faces - 1, "-1 to 6"), (faces[:0], "nothing")):
        with pytest.raises(ShapeError, match=rf"faces_left name {text}, expected vertices 0 to 7"):
            penetration(*good, vertices[None], bad)
    turned = np.concatenate([faces[:1, ::-1], faces[1:]])
    with pytest.raises(ShapeError, match=r"faces_right use an edge twice in one direction"):
        penetration(vertices[None], turned, *good)
    with pytest.raises(ShapeError, match=r"faces_left hold -1 mm\^3, .* triangles of that side"):
        penetration(*good, vertices[None], faces[:, ::-1])
