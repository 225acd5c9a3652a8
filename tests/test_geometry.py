"""Coordinates: the crop affine and its way back, the mirror, the camera, boxes."""

import math

import numpy as np
import pytest

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.geometry import (
    CAMERA_SOURCES,
    Camera,
    CropSquare,
    apply_affine,
    box_iou,
    invert_affine,
    points_box,
    turn_xy,
)

RNG = 7
WIDTH = 640


def squares(n: int = 30) -> list[CropSquare]:
    rng = np.random.default_rng(RNG)
    return [
        CropSquare(
            *rng.uniform(-50, 700, 2),
            rng.uniform(5, 500),
            rng.uniform(-9, 9),
            bool(rng.integers(2)),
        )
        for _ in range(n)
    ]


def mirrored(square: CropSquare) -> CropSquare:
    """Give the same square of the picture mirrored left to right."""
    u = WIDTH - 1 - square.u_px
    return CropSquare(u, square.v_px, square.size_px, -square.angle_rad, not square.mirror)


@pytest.mark.parametrize("resolution", [1, 2, 5, 224])
def test_whole_picture_at_its_own_resolution_is_the_identity(resolution):
    middle = (resolution - 1) / 2
    affine = CropSquare(middle, middle, resolution).frame_from_crop(resolution)
    np.testing.assert_allclose(affine, [[1, 0, 0], [0, 1, 0]], atol=1e-12)


@pytest.mark.parametrize("mirror", [False, True])
def test_outer_corners_of_the_crop_are_those_of_the_square(mirror):
    # Integer = pixel centre, so a crop of R pixels spans -0.5 to R - 0.5.
    affine = CropSquare(100, 60, 40, mirror=mirror).frame_from_crop(10)
    corners = apply_affine(affine, np.array([[-0.5, -0.5], [9.5, 9.5]]))
    left, right = (120, 80) if mirror else (80, 120)
    np.testing.assert_allclose(corners, [[left, 40], [right, 80]], atol=1e-12)


def test_a_quarter_turn_is_clockwise_in_the_picture():
    affine = CropSquare(0, 0, 3, math.pi / 2).frame_from_crop(3)
    # The crop's right (u + 1 from its middle) points down in the frame, its up points right.
    np.testing.assert_allclose(apply_affine(affine, np.array([[2, 1]])), [[0, 1]], atol=1e-12)
    np.testing.assert_allclose(apply_affine(affine, np.array([[1, 0]])), [[1, 0]], atol=1e-12)


def test_crop_to_frame_to_crop():
    points = np.random.default_rng(0).uniform(-20, 250, (9, 2))
    for square in squares():
        affine = square.frame_from_crop(224)
        back = apply_affine(invert_affine(affine), apply_affine(affine, points))
        np.testing.assert_allclose(back, points, atol=1e-8)
        assert np.sign(np.linalg.det(affine[:, :2])) == (-1 if square.mirror else 1)
        assert abs(np.linalg.det(affine[:, :2])) == pytest.approx((square.size_px / 224) ** 2)


def test_mirroring_picture_and_square_mirrors_the_output_exactly_once():
    points = np.random.default_rng(1).uniform(0, 223, (21, 2))
    for square in squares():
        frame = apply_affine(square.frame_from_crop(224), points)
        other = apply_affine(mirrored(square).frame_from_crop(224), points)
        np.testing.assert_allclose(other[:, 0], WIDTH - 1 - frame[:, 0], atol=1e-9)
        np.testing.assert_allclose(other[:, 1], frame[:, 1], atol=1e-9)
        again = apply_affine(mirrored(mirrored(square)).frame_from_crop(224), points)
        np.testing.assert_allclose(again, frame, atol=1e-9)


def test_a_batch_of_affines_is_one_after_the_other():
    points = np.random.default_rng(2).uniform(0, 223, (5, 21, 2))
    affines = np.stack([s.frame_from_crop(224) for s in squares(5)])
    single = [apply_affine(a, p) for a, p in zip(affines, points, strict=True)]
    np.testing.assert_allclose(apply_affine(affines, points), single)
    xyz = np.random.default_rng(3).normal(size=(5, 21, 3))
    single = [turn_xy(a, p) for a, p in zip(affines, xyz, strict=True)]
    np.testing.assert_allclose(turn_xy(affines, xyz), single)


def test_turning_a_direction_agrees_with_the_affine_on_differences():
    rng = np.random.default_rng(4)
    start, end = rng.uniform(0, 223, (2, 21, 2))
    xyz = np.concatenate([end - start, rng.normal(size=(21, 1))], axis=1)
    before = xyz.copy()
    for square in squares():
        affine = square.frame_from_crop(224)
        moved = apply_affine(affine, end) - apply_affine(affine, start)
        turned = turn_xy(affine, xyz)
        np.testing.assert_allclose(turned[:, :2] * square.size_px / 224, moved, atol=1e-8)
        np.testing.assert_array_equal(turned[:, 2], xyz[:, 2])
        np.testing.assert_allclose(
            np.linalg.norm(turned, axis=1), np.linalg.norm(xyz, axis=1), rtol=1e-12
        )
    np.testing.assert_array_equal(xyz, before)


def test_project_and_lift_are_inverse():
    rng = np.random.default_rng(5)
    camera = Camera(500, 520, 311, 242, "given")
    xyz = rng.uniform([-200, -200, 60], [200, 200, 900], (4, 21, 3))
    uv = camera.project(xyz)
    np.testing.assert_allclose(camera.lift(uv, xyz[..., 2]), xyz, atol=1e-9)
    np.testing.assert_allclose(camera.project(camera.lift(uv, 3 * xyz[..., 2])), uv, atol=1e-9)
    np.testing.assert_allclose(camera.project(np.array([0, 0, 400])), [311, 242])
    np.testing.assert_allclose(camera.project(np.array([100, 50, 500])), [411, 294])


def test_what_lies_behind_the_camera_has_no_pixel():
    camera = Camera.from_fov(60, 640, 480, source="assumed")
    uv = camera.project(np.array([[1, 2, 0], [1, 2, -5], [np.nan, np.nan, np.nan], [1, 2, 5]]))
    assert np.isnan(uv[:3]).all()
    assert np.isfinite(uv[3]).all()


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500)])
@pytest.mark.parametrize("fov_deg", [1, 60, 90, 170])
def test_field_of_view_spans_the_longer_side_from_edge_to_edge(fov_deg, size):
    camera = Camera.from_fov(fov_deg, *size, source="assumed")
    assert camera.fx_px == camera.fy_px
    assert camera == Camera.from_focal(camera.fx_px, *size, source="assumed")
    axis = int(size[1] > size[0])
    edges = np.full((2, 2), (camera.cx_px, camera.cy_px))
    edges[:, axis] = (-0.5, max(size) - 0.5)
    a, b = camera.lift(edges, np.ones(2))
    cos = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert math.degrees(math.acos(cos)) == pytest.approx(fov_deg, abs=1e-5)


def test_ninety_degrees_is_half_the_width():
    camera = Camera.from_fov(90, 640, 480, source="given")
    assert camera.fx_px == pytest.approx(320)
    assert (camera.cx_px, camera.cy_px) == (319.5, 239.5)


def test_camera_errors():
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(SettingsError, match=r"fx_px is .*, expected a positive number of pix"):
            Camera(wrong, 1, 0, 0, "given")
        with pytest.raises(SettingsError, match=r"fy_px is .*, expected a positive number of pix"):
            Camera(1, wrong, 0, 0, "given")
    with pytest.raises(SettingsError, match=r"camera source is 'guess', expected .*'assumed'"):
        Camera(1, 1, 0, 0, "guess")
    for wrong in (0.5, 171, math.nan):
        with pytest.raises(SettingsError, match=r"field of view is .* degrees, expected 1 to 170"):
            Camera.from_fov(wrong, 640, 480, source="given")
    assert [Camera(1, 1, 0, 0, s).source for s in CAMERA_SOURCES] == list(CAMERA_SOURCES)


def test_crop_square_errors():
    for wrong in ((1, 1, 0), (1, 1, -3), (math.nan, 1, 3), (1, math.inf, 3), (1, 1, 3, math.nan)):
        with pytest.raises(ShapeError, match="expected finite numbers and a positive size"):
            CropSquare(*wrong)


def test_overlap_of_boxes_by_hand():
    box = np.array([0, 0, 4, 2])
    others = np.array(
        [
            [0, 0, 4, 2],  # itself
            [2, 0, 6, 2],  # half: 4 of 12
            [1, 0.5, 2, 1.5],  # inside: 1 of 8
            [4, 0, 8, 2],  # touching
            [9, 9, 10, 10],  # far
            [3, 1, 1, 2],  # turned inside out: no area
        ]
    )
    np.testing.assert_allclose(box_iou(box, others), [1, 4 / 12, 1 / 8, 0, 0, 0])
    np.testing.assert_allclose(box_iou(others, box), box_iou(box, others))
    np.testing.assert_allclose(box_iou(10 * box + 3, 10 * others + 3), box_iou(box, others))
    point = np.array([1, 1, 1, 1])
    assert box_iou(point, point) == 0
    assert box_iou(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)


def test_box_round_points():
    points = np.array([[[3, 1], [0, 5], [2, 2]], [[0, 0], [0, 0], [0, 0]]])
    np.testing.assert_array_equal(points_box(points), [[0, 1, 3, 5], [0, 0, 0, 0]])


def test_the_camera_matrix_projects_as_the_camera_does():
    camera = Camera(500.0, 480.0, 300.5, 200.0, "given")
    xyz = np.random.default_rng(0).uniform([-100, -100, 200], [100, 100, 900], (20, 3))
    seen = xyz @ camera.matrix.T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], camera.project(xyz), rtol=1e-12)
