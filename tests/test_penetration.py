"""Penetration: closed forms of boxes and balls, slow and obvious oracles on hands, the penalty."""

import numpy as np
import pytest
import torch
from bodies import box, measure
from hands import some_shape
from scipy.stats import spearmanr

from hdrvideo.errors import ShapeError
from hdrvideo.handmodel import PARTS, HandModel, mirror_pose
from hdrvideo.penetration import HandSpheres, hands_penetration
from hdrvideo.solids import close_surface

N_PAIRS = 40


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel()


@pytest.fixture(scope="module")
def spheres(model) -> HandSpheres:
    return HandSpheres(model)


# --- hands -------------------------------------------------------------------------------------


def some_pairs(model, n: int = N_PAIRS, seed: int = 3):
    """Give pairs of bent hands, palm to palm, from apart to far into one another."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.1, (n, 2, 16, 3))
    pose[:, :, 1:, 0] += rng.uniform(0, 0.7, (n, 2, 1))
    pose[:, 1, 0, 1] += np.pi
    pose[:, :, 0] += rng.normal(0, 0.3, (n, 2, 3))
    wrist_mm = np.array([0, 0, 600.0]) + rng.normal(0, 25, (n, 2, 3))
    wrist_mm[:, 0, 2] += rng.uniform(-10, 160, n)
    shape = some_shape(model, 2 * n).reshape(n, 2, -1)
    return torch.tensor(pose).float(), shape, torch.tensor(wrist_mm).float()


def joints_of(model, pose, shape, wrist_mm):
    return [
        model(pose[:, s], shape[:, s], side=s, wrist_mm=wrist_mm[:, s]).joints_mm for s in (0, 1)
    ]


@pytest.fixture(scope="module")
def pairs(model):
    pose, shape, wrist_mm = some_pairs(model)
    found = hands_penetration(model, pose, shape, wrist_mm, step_mm=2.0)
    return pose, shape, wrist_mm, found


def hand_mesh(model, side: int, pose, shape, wrist_mm):
    keep = (model.part != PARTS.index("forearm"))[model.faces].any(dim=1)
    posed = model(pose[None], shape[None], side=side, wrist_mm=wrist_mm[None])
    return posed.vertices_mm[0].double().numpy(), model.triangles(side)[0][keep].numpy()


def test_a_hand_in_a_box_is_its_own_volume(model):
    """The divergence theorem and the columns agree; so the cut at the wrist is closed."""
    hand = hand_mesh(model, 1, torch.zeros(16, 3), torch.zeros(model.n_shape), torch.zeros(3))
    body = close_surface("left", hand[0][None], hand[1]).row(0)
    _, volume_mm3 = measure(hand, box((-200, -300, -200), (200, 300, 200), n=1))
    assert volume_mm3 == pytest.approx(body.volume_mm3(), rel=2e-3)
    assert 250e3 < volume_mm3 < 500e3


def winding(points, vertices, faces):
    """Sum the solid angles of all faces (Van Oosterom and Strackee 1983): slow and obvious."""
    a, b, c = (vertices[faces[:, k]][None] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    top = (a * np.cross(b, c)).sum(-1)
    down = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (a * c).sum(-1) * lb
    return np.arctan2(top, down).sum(axis=1) / (2 * np.pi)


def test_depth_is_the_slow_and_obvious_one(model, pairs):
    pose, shape, wrist_mm, found = pairs
    n = int(np.argsort(found.volume_mm3)[-N_PAIRS // 3])
    meshes = [hand_mesh(model, s, pose[n, s], shape[n, s], wrist_mm[n, s]) for s in (0, 1)]
    bodies = [close_surface("x", v[None], f).row(0) for v, f in meshes]
    low = np.maximum(*(body.vertices_mm.min(axis=0) for body in bodies))
    high = np.minimum(*(body.vertices_mm.max(axis=0) for body in bodies))
    deepest_mm = 0.0
    for one, other in (bodies, bodies[::-1]):
        points = one.vertices_mm[: one.n_vertices]
        points = points[((points >= low) & (points <= high)).all(axis=1)]
        points = points[winding(points, other.vertices_mm, other.faces) > 0.5]
        corners = other.vertices_mm[other.faces[: other.n_faces]]
        shares = [(i, j, 6 - i - j) for i in range(7) for j in range(7 - i)]
        skin = (np.array(shares) / 6 @ corners).reshape(-1, 3)
        away = torch.cdist(torch.tensor(points), torch.tensor(skin)).amin(dim=1)
        deepest_mm = max(deepest_mm, float(away.max()))
    assert deepest_mm > 3
    assert found.depth_mm[n] == pytest.approx(deepest_mm, abs=0.2)


def test_hands_are_measured_without_forearms(model):
    """Two arms that cross below the wrists, their hands apart."""
    pose = torch.zeros(1, 2, 16, 3)
    pose[:, 0, 0, 2] = 0.7
    pose[:, 1, 0, 2] = -0.7
    wrist_mm = torch.tensor([[[80.0, 0, 600], [-80.0, 0, 600]]])
    shape = torch.zeros(1, 2, model.n_shape)
    arms = []
    for s in (0, 1):
        posed = model(pose[:, s], shape[:, s], side=s, wrist_mm=wrist_mm[:, s])
        arms.append((posed.vertices_mm[0].numpy(), model.triangles(s)[0].numpy()))
    assert measure(*arms)[1] > 10_000
    found = hands_penetration(model, pose, shape, wrist_mm)
    assert (found.depth_mm[0], found.volume_mm3[0]) == (0, 0)


def test_hands_mirrored_and_changed_over_measure_the_same(model, pairs):
    pose, shape, wrist_mm, found = pairs
    rows = np.argsort(found.volume_mm3)[-3:].copy()
    images = torch.stack([mirror_pose(pose[rows, s]) for s in (1, 0)], dim=1)
    place_mm = wrist_mm[rows].flip(1) * torch.tensor([-1.0, 1, 1])
    again = hands_penetration(model, images, shape[rows].flip(1), place_mm, step_mm=2.0)
    np.testing.assert_allclose(again.depth_mm, found.depth_mm[rows], atol=1e-2)
    np.testing.assert_allclose(again.volume_mm3, found.volume_mm3[rows], rtol=2e-3)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_number_that_is_missing_gives_nan(model, pairs, which):
    values = [value[:3].clone().numpy() for value in pairs[:3]]
    values[which][1, 1].reshape(-1)[-1] = np.nan
    found = hands_penetration(model, *values, step_mm=2.0)
    assert np.isnan(found.depth_mm).tolist() == [False, True, False]
    assert np.isnan(found.volume_mm3).tolist() == [False, True, False]
    np.testing.assert_allclose(found.volume_mm3[[0, 2]], pairs[3].volume_mm3[[0, 2]], rtol=1e-5)


# --- the penalty -------------------------------------------------------------------------------


def test_middles_are_mixtures_of_joints(model, spheres):
    assert len(spheres.radius_mm) <= 80
    assert (spheres.mixing >= 0).all()
    torch.testing.assert_close(spheres.mixing.sum(dim=1), torch.ones(len(spheres.radius_mm)))
    assert ((spheres.radius_mm > 3) & (spheres.radius_mm < 30)).all()
    # Every ball lies in the hand's flesh, and no skin is far from all balls.
    hand = hand_mesh(model, 0, torch.zeros(16, 3), torch.zeros(model.n_shape), torch.zeros(3))
    body = close_surface("right", hand[0][None], hand[1]).row(0)
    middles, radius_mm = spheres(model.joints_mm[None])
    inside = winding(middles[0].double().numpy(), body.vertices_mm, body.faces)
    assert (inside > 0.5).all()
    skin = model.template_mm[model.part != PARTS.index("forearm")]
    gap_mm = (torch.cdist(skin, middles[0]) - radius_mm).amin(dim=1)
    assert gap_mm.max() < 12
    assert gap_mm.abs().mean() < 3


def test_radii_grow_with_the_hand(model, spheres):
    joints_mm = torch.stack([model.joints_mm, 1.1 * model.joints_mm])
    middles, radius_mm = spheres(joints_mm)
    torch.testing.assert_close(radius_mm[0], spheres.radius_mm)
    torch.testing.assert_close(radius_mm[1], 1.1 * spheres.radius_mm)
    torch.testing.assert_close(middles[1], 1.1 * middles[0])


def test_the_penalty_is_zero_apart_and_grows_as_hands_are_pushed_together(model, spheres):
    pose, shape, wrist_mm = (value[:1] for value in some_pairs(model, 1))
    right, left = joints_of(model, pose, shape, wrist_mm)
    left = left + (right.mean(dim=1) - left.mean(dim=1))[:, None]
    gaps_mm = torch.tensor([500.0, 300, 90, 82, 75, 68, 62, 55])
    shift = gaps_mm[:, None, None] * torch.tensor([0.0, 0, 1])
    penalty = spheres.overlap_mm2(right.expand(8, -1, -1), left + shift)
    assert (penalty[:2] == 0).all()
    assert (penalty[3:] > penalty[2:-1]).all()


def test_the_penalty_goes_with_the_true_volume(model, spheres, pairs):
    *numbers, found = pairs
    penalty = spheres.overlap_mm2(*joints_of(model, *numbers)).numpy()
    volume_mm3 = found.volume_mm3
    deep = volume_mm3 > 200
    assert 10 < deep.sum() < N_PAIRS - 5
    assert spearmanr(penalty, volume_mm3)[0] > 0.9
    assert spearmanr(penalty[deep], volume_mm3[deep])[0] > 0.75
    assert (penalty[deep] > 0).all()


def test_the_gradient_parts_hands(model, spheres, pairs):
    *numbers, found = pairs
    rows = np.argsort(found.volume_mm3)[-8:].copy()
    right, left = (joints.clone() for joints in joints_of(model, *(v[rows] for v in numbers)))
    before = spheres.overlap_mm2(right, left)
    shift = torch.zeros(len(rows), 1, 3, requires_grad=True)
    spheres.overlap_mm2(right + shift, left - shift).sum().backward()
    step_mm = 5 * shift.grad / shift.grad.norm(dim=-1, keepdim=True)
    after = spheres.overlap_mm2(right - step_mm, left + step_mm)
    assert (after < 0.9 * before).all()
    pose, shape, wrist_mm = (v[rows] for v in numbers)
    parted_mm = wrist_mm + torch.cat([-step_mm, step_mm], dim=1)
    volume_mm3 = hands_penetration(model, pose, shape, parted_mm, step_mm=2.0).volume_mm3
    assert (volume_mm3 < found.volume_mm3[rows]).all()


def test_gradients_are_right_and_do_not_shrink_the_hand(model, spheres):
    exact = HandSpheres(model).double()
    right, left = (j.double() for j in joints_of(model, *some_pairs(model, 1)))
    left = left + (right.mean(dim=1) - left.mean(dim=1))[:, None] + 30
    free = right.clone().requires_grad_()
    exact.overlap_mm2(free, left).sum().backward()
    # A common push of both hands changes nothing; turning one about its own middle may.
    other = left.clone().requires_grad_()
    exact.overlap_mm2(right, other).sum().backward()
    torch.testing.assert_close(free.grad.sum(dim=1), -other.grad.sum(dim=1))
    way = torch.randn(1, 3, generator=torch.Generator().manual_seed(0)).double()
    ends = [exact.overlap_mm2(right + e * way[:, None], left) for e in (1e-4, -1e-4)]
    slope = float(ends[0] - ends[1]) / 2e-4
    assert float((free.grad.sum(dim=1) * way).sum()) == pytest.approx(slope, rel=1e-5)
    # Joints all in one place: no distance has a direction, and no bone a length.
    point = torch.zeros(1, 21, 3, requires_grad=True)
    spheres.overlap_mm2(point, point.detach()).sum().backward()
    assert torch.isfinite(point.grad).all()


def test_a_batch_is_its_rows_and_the_camera_may_be_far(model, spheres):
    right, left = joints_of(model, *some_pairs(model, 6))
    many = spheres.overlap_mm2(right, left)
    rows = torch.cat([spheres.overlap_mm2(right[n : n + 1], left[n : n + 1]) for n in range(6)])
    torch.testing.assert_close(many, rows)
    exact = HandSpheres(model).double()
    torch.testing.assert_close(
        many.double(), exact.overlap_mm2(right.double(), left.double()), rtol=1e-3, atol=1e-2
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(spheres.overlap_mm2(right, left), many)
    assert spheres.overlap_mm2(right[:0], left[:0]).shape == (0,)


def test_the_penalty_is_the_same_for_the_mirror_image(model, spheres):
    right, left = joints_of(model, *some_pairs(model, 6))
    flip = torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(
        spheres.overlap_mm2(left * flip, right * flip),
        spheres.overlap_mm2(right, left),
        rtol=1e-4,
        atol=1e-2,
    )


# --- errors ------------------------------------------------------------------------------------


def test_wrong_joints(spheres):
    with pytest.raises(ShapeError, match=r"joints_mm is \(21, 3\), expected \('B', 21, 3\)"):
        spheres(torch.zeros(21, 3))
    with pytest.raises(ShapeError, match=r"joints_right_mm is \(2, 20, 3\), expected \('B', 21"):
        spheres.overlap_mm2(torch.zeros(2, 20, 3), torch.zeros(2, 21, 3))
    with pytest.raises(ShapeError, match=r"joints_left_mm is \(3, 21, 3\), expected \(2, 21, 3\)"):
        spheres.overlap_mm2(torch.zeros(2, 21, 3), torch.zeros(3, 21, 3))


def test_wrong_numbers_of_hands(model):
    pose, shape, wrist_mm = some_pairs(model, 2)
    with pytest.raises(ShapeError, match=r"pose is \(2, 16, 3\), expected \(2, 2\)"):
        hands_penetration(model, pose[:, 0], shape, wrist_mm)
    with pytest.raises(ShapeError, match=r"shape is \(1, 2, \d+\), expected \(2, 2\)"):
        hands_penetration(model, pose, shape[:1], wrist_mm)
    with pytest.raises(ShapeError, match=r"wrist_mm is \(2, 1, 3\), expected \(2, 2\)"):
        hands_penetration(model, pose, shape, wrist_mm[:, :1])
