"""Both hands' joints from one look: maps, reading, truth in views, losses and scores."""

import math

import numpy as np
import pytest
import torch
from pose_hands import flat_hand

from hdrvideo.errors import ShapeError
from hdrvideo.frame.detmaps import REFERENCE_BONE_MM, cells_from_px
from hdrvideo.frame.pair import (
    N_PAIR,
    HasmReader,
    PairHead,
    PairJoints,
    PairMaps,
    pair_weights,
    read_pair,
)
from hdrvideo.geometry import apply_affine
from hdrvideo.train.pair_losses import pair_loss
from hdrvideo.train.pair_scores import pair_scores
from hdrvideo.train.pair_truth import (
    PairTruth,
    PictureJoints,
    flat_joints,
    joints_in_view,
    made_joints,
)
from hdrvideo.train.views import source_from_view

R, CELLS = 64, 8
K_PX = np.array([[110.0, 0, 31.5], [0, 110, 31.5], [0, 0, 1]])


def picture_joints(seed: int = 0) -> PictureJoints:
    rng = np.random.default_rng(seed)
    hands = np.stack([flat_hand(), flat_hand()])
    hands = hands + rng.normal(0, 8, hands.shape) * [1, 1, 3]
    xyz = hands + np.array([[[-50, 80, 900]], [[60, 90, 1000]]])
    seen = xyz @ K_PX.T
    return made_joints(seen[..., :2] / seen[..., 2:], xyz, np.ones(2, bool), K_PX)


def plain_view(joints: PictureJoints | None, *, mirror: bool = False, size: float = R) -> PairTruth:
    affine = source_from_view(np.full(2, (R - 1) / 2), size, 0.0, R, mirror=mirror)
    return joints_in_view(joints, affine, (0, R), (0, R), mirror=mirror)


def stacked(*truths: PairTruth) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.stack([getattr(t, name) for t in truths]))
        for name in PairTruth.__dataclass_fields__
    }


def answer_to(truth: dict[str, torch.Tensor], sharp: float = 200.0) -> PairMaps:
    """Give maps from which the truth is read."""
    b = len(truth["way"])
    cells = cells_from_px(truth["uv_px"].flatten(1, 2), R / CELLS)
    v, u = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    grid = torch.stack([u, v])[None, None].float()
    off = cells[..., None, None] - grid
    heat = -sharp * off.square().sum(dim=2)
    location = truth["xyz"].reshape(b, -1, 1, 1).expand(-1, -1, CELLS, CELLS)
    log_error = torch.full((b, N_PAIR, CELLS, CELLS), -9.0)
    way = torch.stack([truth["way"], torch.full((b,), -9.0)], dim=-1)
    return PairMaps(heat, location, off.flatten(1, 2), log_error, way)


def test_what_maps_hold_is_read():
    truth = stacked(plain_view(picture_joints(0)), plain_view(picture_joints(1)))
    joints = read_pair(answer_to(truth), R)
    torch.testing.assert_close(joints.uv_px, truth["uv_px"], atol=1e-3, rtol=0)
    torch.testing.assert_close(joints.xyz, truth["xyz"], atol=1e-5, rtol=0)
    torch.testing.assert_close(joints.way[:, 0], truth["way"])
    assert (joints.confidence > 0.99).all()
    torch.testing.assert_close(joints.xyz_mm, REFERENCE_BONE_MM * joints.xyz)


def test_weights_of_a_joint_are_one_in_all():
    heat = torch.randn(2, N_PAIR, 3, 4, generator=torch.Generator().manual_seed(1))
    weights = pair_weights(heat)
    assert weights.shape == heat.shape
    torch.testing.assert_close(weights.sum(dim=(2, 3)), torch.ones(2, N_PAIR))


def test_a_batch_gives_what_single_pictures_give():
    torch.manual_seed(3)
    head = PairHead(16, 10).eval()
    features, summary = torch.randn(3, 16, 4, 4), torch.randn(3, 10)
    with torch.no_grad():
        together = read_pair(PairMaps(*head(features, summary)), R)
        alone = [
            read_pair(PairMaps(*head(f[None], s[None])), R)
            for f, s in zip(features, summary, strict=True)
        ]
    for name in PairJoints.__dataclass_fields__:
        single = torch.cat([getattr(a, name) for a in alone])
        torch.testing.assert_close(getattr(together, name), single, atol=1e-5, rtol=1e-5)


def test_the_reader_leaves_the_masks_and_reads_the_joints():
    truth = stacked(plain_view(picture_joints(0)))
    maps = answer_to(truth)
    masks = [torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4, 4), torch.rand(1, 2)]

    class Net(torch.nn.Module):
        def forward(self, pictures):
            return (*masks, *maps.__dict__.values())

    said = HasmReader(Net())(torch.zeros(1, 6, R, R))
    for given, got in zip(masks, said, strict=False):
        assert torch.equal(given, got)
    torch.testing.assert_close(said[3], read_pair(maps, R).uv_px)


@pytest.mark.parametrize("name", ["location", "offset", "log_error", "way"])
def test_maps_that_do_not_fit_together_are_refused(name):
    parts = dict(answer_to(stacked(plain_view(picture_joints(0)))).__dict__)
    parts[name] = parts[name][:, :-1]
    with pytest.raises(ShapeError, match=name):
        PairMaps(**parts)


def test_a_mirrored_view_swaps_the_sides_and_turns_the_way_round():
    joints = picture_joints(2)
    plain, mirrored = plain_view(joints), plain_view(joints, mirror=True)
    flipped = plain.uv_px[::-1] * [-1, 1] + [R - 1, 0]
    np.testing.assert_allclose(mirrored.uv_px, flipped, atol=1e-3)
    np.testing.assert_allclose(mirrored.xyz, plain.xyz[::-1] * [-1, 1, 1], atol=1e-6)
    assert mirrored.way == -plain.way
    assert plain.way > 0.5
    np.testing.assert_array_equal(mirrored.bone_mm, plain.bone_mm[::-1])


def test_joints_in_a_view_lie_where_its_pixels_come_from():
    joints = picture_joints(4)
    affine = source_from_view(np.array([30.0, 35]), 80.0, 0.3, R, mirror=False)
    view = joints_in_view(joints, affine, (0, R), (0, R), mirror=False)
    assert view.joint_weight.all()
    np.testing.assert_allclose(apply_affine(affine, view.uv_px), joints.uv_px, atol=1e-3)
    # The palm shrinks with the picture; places in space turn with it and keep their length.
    np.testing.assert_allclose(view.palm_px, joints.palm_px * R / 80, rtol=1e-5)
    length = np.linalg.norm(view.xyz, axis=-1) * view.bone_mm[:, None]
    from_wrist = joints.xyz_cam_mm - joints.xyz_cam_mm[:, :1]
    np.testing.assert_allclose(length, np.linalg.norm(from_wrist, axis=-1), rtol=1e-4)
    cos, sin = math.cos(-0.3), math.sin(-0.3)
    turned = from_wrist[..., :2] @ np.array([[cos, sin], [-sin, cos]])
    np.testing.assert_allclose(view.xyz[..., :2] * view.bone_mm[:, None, None], turned, atol=1e-2)


def test_what_is_not_known_has_no_weight():
    nothing = plain_view(None)
    assert not nothing.joint_weight.any()
    assert nothing.way_weight == 0
    for name in PairTruth.__dataclass_fields__:
        assert np.isfinite(getattr(nothing, name)).all(), name
    one = plain_view(picture_joints(0).only(1))
    assert not one.joint_weight[0].any()
    assert one.joint_weight[1].all()
    assert one.way_weight == 0
    flat = plain_view(flat_joints(picture_joints(0).uv_px))
    assert flat.joint_weight.all()
    assert not flat.bone_mm.any()
    # Joints outside the view, or under its bars, are not asked for.
    small = plain_view(picture_joints(0), size=20)
    assert 0 < small.joint_weight.sum() < 42
    assert not small.uv_px[small.joint_weight == 0].any()
    affine = source_from_view(np.full(2, (R - 1) / 2), R, 0, R, mirror=False)
    barred = joints_in_view(picture_joints(0), affine, (0, 0), (0, R), mirror=False)
    assert not barred.joint_weight.any()


def test_the_loss_is_least_at_the_truth_and_nothing_without_any():
    truth = stacked(plain_view(picture_joints(0)), plain_view(picture_joints(1)))
    right = pair_loss(answer_to(truth), truth, R)
    assert right["joints_2d"] < 1e-3
    assert right["joints_3d"] < 1e-4
    assert right["location"] < 1e-4
    swapped = {name: value.flip(1) if value.ndim > 1 else value for name, value in truth.items()}
    wrong = pair_loss(answer_to(swapped), truth, R)
    assert wrong["pair"] > right["pair"] + 0.1
    nobody = stacked(plain_view(None))
    maps = answer_to(nobody)
    none = PairMaps(*(m.clone().requires_grad_() for m in maps.__dict__.values()))
    loss = pair_loss(none, nobody, R)
    assert loss["pair"] == 0
    loss["pair"].backward()
    assert all(torch.isfinite(m.grad).all() for m in none.__dict__.values() if m.grad is not None)


def test_the_slope_at_a_perfect_answer_is_finite():
    truth = stacked(plain_view(picture_joints(0)))
    maps = PairMaps(*(m.clone().requires_grad_() for m in answer_to(truth).__dict__.values()))
    pair_loss(maps, truth, R)["pair"].backward()
    for name, value in maps.__dict__.items():
        assert torch.isfinite(value.grad).all(), name


def test_scores_of_a_known_answer():
    truth = stacked(plain_view(picture_joints(0)), plain_view(picture_joints(1)))
    joints = read_pair(answer_to(truth), R)
    perfect = pair_scores(joints, truth)
    assert perfect["epe"] < 0.1
    assert perfect["pck"] == perfect["pck3d"] == 1
    assert perfect["mpjpe"] < 0.01
    assert perfect["way"] < 1e-5
    # A quarter of a palm to the right: wrong by the measure of a fifth.
    moved = joints.uv_px.clone()
    moved[..., 0] += 0.25 * truth["palm_px"][..., None]
    off = pair_scores(PairJoints(moved, joints.xyz, joints.log_error, joints.way + 0.5), truth)
    assert off["epe"] == pytest.approx(25, abs=0.1)
    assert off["pck"] == 0
    assert off["way"] == pytest.approx(0.5, abs=1e-5)
    none = pair_scores(
        joints,
        truth | {"joint_weight": 0 * truth["joint_weight"], "way_weight": 0 * truth["way_weight"]},
    )
    assert math.isnan(none["epe"])
    assert math.isnan(none["way"])
