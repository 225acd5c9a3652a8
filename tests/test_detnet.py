"""DetNet: maps and their reading against slow and obvious ones, both sizes, the runner."""

import math

import numpy as np
import pytest
import torch

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.datatypes import HandCrops
from hdrvideo.engine import make_runner
from hdrvideo.errors import ShapeError
from hdrvideo.frame.detmaps import (
    REFERENCE_BONE_MM,
    DetMaps,
    bone_directions,
    cells_from_px,
    chance_right,
    heat_maps,
    px_from_cells,
    read_argmax,
    read_soft,
    unit_places,
)
from hdrvideo.frame.detnet import DetNet, DetNetSmall, DetReader, DetShpe
from hdrvideo.frame.shpe import LandmarkNet, LandmarkShpe
from hdrvideo.frame.stage import FrameStage
from hdrvideo.hand import PARENTS

CELLS = 12
SHAPES = {
    "heat_logit": 21,
    "delta": 63,
    "location": 63,
    "offset": 42,
    "visible_logit": 21,
    "log_error": 21,
}


def random_maps(seed: int = 0, b: int = 2, **given: torch.Tensor) -> DetMaps:
    draw = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(b, c, CELLS, CELLS, generator=draw) for n, c in SHAPES.items()}
    return DetMaps(**{**drawn, **given})


def hot_at(uv: torch.Tensor, size: float = 40.0) -> torch.Tensor:
    """Give heat of one cell ``(B, 21, 2)`` whole numbers each."""
    heat = torch.full((*uv.shape[:2], CELLS, CELLS), -size)
    for b, joints in enumerate(uv):
        for j, (u, v) in enumerate(joints.tolist()):
            heat[b, j, int(v), int(u)] = size
    return heat


@pytest.fixture(scope="module")
def landmark() -> LandmarkNet:
    net = LandmarkNet()
    load_weights(net, weights_path("landmark"))
    return net.eval()


@pytest.fixture(scope="module")
def small(landmark) -> DetNetSmall:
    return DetNetSmall(landmark).eval()


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    """Draw soft blobs, which the landmark net takes for something."""
    draw = torch.Generator().manual_seed(3)
    coarse = torch.rand(2, 3, 9, 9, generator=draw)
    return torch.nn.functional.interpolate(coarse, size=(224, 224), mode="bilinear")


# Maps.


@pytest.mark.parametrize("name", SHAPES)
def test_maps_of_another_shape_are_refused(name):
    wrong = torch.zeros(2, SHAPES[name] - 1, CELLS, CELLS)
    with pytest.raises(ShapeError, match=f"{name} is torch.float32 .2, {SHAPES[name] - 1}, 12, 12"):
        random_maps(**{name: wrong})


def test_soft_reading_is_a_mean_over_sharpened_heat():
    maps = random_maps(1)
    found = read_soft(maps)
    for b in range(2):
        for j in (0, 7, 20):
            weight = torch.exp(1.5 * maps.heat_logit[b, j].double())
            weight /= weight.sum()
            uv, xyz, wrist = np.zeros(2), np.zeros(3), np.zeros(3)
            wrist_weight = torch.exp(1.5 * maps.heat_logit[b, 0].double())
            wrist_weight /= wrist_weight.sum()
            for v in range(CELLS):
                for u in range(CELLS):
                    offset = maps.offset[b, 2 * j : 2 * j + 2, v, u].double().numpy()
                    uv += float(weight[v, u]) * (np.array([u, v]) + offset)
                    place = maps.location[b, 3 * j : 3 * j + 3, v, u].double().numpy()
                    xyz += float(weight[v, u]) * place
                    wrist += float(wrist_weight[v, u]) * maps.location[b, :3, v, u].double().numpy()
            assert found.uv_cells[b, j].numpy() == pytest.approx(uv, abs=1e-4)
            assert found.xyz[b, j].numpy() == pytest.approx(xyz - wrist, abs=1e-4)
            for name in ("visible_logit", "log_error"):
                mean = (getattr(maps, name)[b, j].double() * weight).sum()
                assert float(getattr(found, name)[b, j]) == pytest.approx(float(mean), abs=1e-4)


def test_both_readings_agree_on_one_hot_cell_but_for_the_offset():
    uv = torch.randint(CELLS, (2, 21, 2), generator=torch.Generator().manual_seed(5))
    maps = random_maps(2, heat_logit=hot_at(uv))
    soft, hard = read_soft(maps), read_argmax(maps)
    assert torch.equal(hard.uv_cells, uv.float())
    offset = soft.uv_cells - hard.uv_cells
    b, j = 1, 13
    u, v = uv[b, j]
    assert offset[b, j].tolist() == pytest.approx(
        maps.offset[b, 2 * j : 2 * j + 2, v, u].tolist(), abs=1e-5
    )
    for name in ("xyz", "visible_logit", "log_error"):
        assert torch.allclose(getattr(soft, name), getattr(hard, name), atol=1e-5)
    assert (soft.xyz[:, 0] == 0).all()


def test_soft_reading_finds_a_bell_between_cells_and_argmax_the_nearest_cell():
    draw = torch.Generator().manual_seed(0)
    uv = 2 + 23 * torch.rand(3, 21, 2, generator=draw)
    heat = 8 * heat_maps(uv, 28, 28, widen=1.4) - 5
    others = {name: torch.zeros(3, c, 28, 28) for name, c in SHAPES.items()}
    maps = DetMaps(**{**others, "heat_logit": heat})
    assert (read_soft(maps).uv_cells - uv).abs().max() < 0.1
    assert torch.equal(read_argmax(maps).uv_cells, uv.round())


def test_a_bell_is_one_at_its_joint_and_as_wide_as_published():
    heat = heat_maps(torch.tensor([[[20.0, 30.0]]]).expand(1, 21, 2), 64, 64)
    assert heat[0, 4, 30, 20] == 1
    assert float(heat[0, 4, 30, 20 + 5]) == pytest.approx(math.exp(-0.5 * (5 / 2.5) ** 2))
    assert float(heat[0, 4, 30 + 5, 20]) == pytest.approx(math.exp(-0.5 * (5 / 2.5) ** 2))
    # Half the cells, half the width; and the centre may lie between cells.
    half = heat_maps(torch.tensor([[[10.5, 15.0]]]).expand(1, 21, 2), 32, 32)
    assert float(half[0, 0, 15, 10]) == pytest.approx(math.exp(-0.5 * (0.5 / 1.25) ** 2))
    assert half[0, 0, 15, 10] == half[0, 0, 15, 11]


def test_pixels_and_cells_share_the_pictures_corner():
    corner = torch.tensor([[-0.5, -0.5]])
    assert torch.equal(cells_from_px(corner, 8.0), corner)
    uv_px = torch.rand(5, 2) * 224
    assert torch.allclose(px_from_cells(cells_from_px(uv_px, 8.0), 8.0), uv_px, atol=1e-4)


def test_places_have_the_wrist_at_zero_and_a_unit_bone():
    xyz = 100 * torch.randn(4, 21, 3) + 700
    places = unit_places(xyz)
    assert (places[:, 0] == 0).all()
    assert torch.allclose(places[:, 9].norm(dim=-1), torch.ones(4), atol=1e-5)
    assert torch.allclose(unit_places(0.01 * xyz - 3), places, atol=1e-4)
    assert unit_places(torch.zeros(1, 21, 3)).isfinite().all()


def test_bones_point_from_parent_to_child():
    xyz = torch.randn(2, 21, 3)
    said = bone_directions(xyz)
    assert (said[:, 0] == 0).all()
    for j in range(1, 21):
        bone = xyz[:, j] - xyz[:, PARENTS[j]]
        assert torch.allclose(said[:, j], bone / bone.norm(dim=-1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("mean", [0.05, 0.2, 1.0])
def test_the_chance_to_be_right_is_that_of_a_laplace_of_this_mean(mean):
    rng = np.random.default_rng(0)
    # A two-dimensional Laplace's radius is a sum of two exponentials.
    radius = rng.exponential(mean / 2, (2, 200_000)).sum(axis=0)
    assert radius.mean() == pytest.approx(mean, rel=0.01)
    said = float(chance_right(torch.tensor(math.log(mean))))
    assert said == pytest.approx((radius <= 0.2).mean(), abs=0.005)


def test_the_chance_to_be_right_stays_a_number_however_sure_the_net_is():
    assert chance_right(torch.tensor([-1e4, 1e4])).tolist() == [1, 0]


# The small net.


def test_the_small_net_begins_with_the_landmark_nets_answer(small, landmark, crops):
    with torch.no_grad():
        uv_px, xyz, visible, log_error, *told = DetReader(small)(crops)
        wanted = landmark(crops)
    for ours, theirs in zip(told, wanted, strict=True):
        assert torch.equal(ours, theirs)
    assert (uv_px - (wanted[0][..., :2] - 0.5)).abs().max() < 1
    assert torch.allclose(xyz, unit_places(wanted[3]), atol=1e-5)
    assert visible.abs().max() < 1e-6
    assert log_error.exp().sub(0.1).abs().max() < 1e-4


def test_a_joint_outside_the_crop_is_read_where_the_landmark_net_saw_it(landmark, crops):
    net = DetNetSmall(LandmarkNet()).eval()
    net.load_state_dict(DetNetSmall(landmark).state_dict())
    with torch.no_grad():
        net.joints.bias += 150
        uv_px, *_, joints, _, _, _ = DetReader(net)(crops)
    wanted = joints[..., :2] - 0.5
    assert (wanted > 240).any()
    assert (uv_px - wanted).abs().max() < 4


def test_new_parts_learn_and_the_landmark_nets_answer_stays(landmark, crops):
    net = DetNetSmall(LandmarkNet())
    net.load_state_dict(DetNetSmall(landmark).state_dict())
    for name, part in net.named_parameters():
        part.requires_grad = name.split(".")[0] not in DetNetSmall.LANDMARK_PARTS
    sum(value.square().mean() for value in net(crops)[:6]).backward()
    for name, part in net.named_parameters():
        assert (part.grad is not None) == part.requires_grad, name
        if part.grad is not None:
            part.data -= 0.1 * part.grad
    with torch.no_grad():
        for ours, theirs in zip(net(crops)[6:], landmark(crops), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("make", [DetNetSmall, DetNet])
def test_a_batch_is_its_crops_one_by_one(make):
    size = 224 if make is DetNetSmall else 32
    torch.manual_seed(0)
    reader = DetReader(make()).eval()
    rgb = torch.rand(3, 3, size, size)
    with torch.no_grad():
        together, alone = reader(rgb), [reader(one) for one in rgb.split(1)]
    for k, values in enumerate(together):
        assert torch.allclose(values, torch.cat([one[k] for one in alone]), atol=1e-3)


@pytest.mark.parametrize("make", [DetNetSmall, DetNet])
def test_nets_can_be_traced(make):
    size = 224 if make is DetNetSmall else 32
    torch.manual_seed(1)
    reader = DetReader(make()).eval()
    example, other = torch.rand(1, 3, size, size), torch.rand(2, 3, size, size)
    with torch.no_grad(), pytest.warns(DeprecationWarning, match="jit.trace"):
        traced = torch.jit.trace(reader, example, check_trace=False)
    with torch.no_grad():
        for ours, theirs in zip(traced(other), reader(other), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)


def test_openvino_says_what_torch_says(small, crops):
    pytest.importorskip("openvino")
    net = DetNetSmall(LandmarkNet())
    net.load_state_dict(small.state_dict())
    torch.manual_seed(2)
    # The heads begin with nothing to add to the landmark net's answer; here they have something.
    for name, part in net.named_parameters():
        if name.split(".")[0] not in DetNetSmall.LANDMARK_PARTS:
            part.data += 0.01 * torch.randn_like(part)
    reader = DetReader(net).eval()
    runner = make_runner(reader, "openvino", resolution_px=224)
    for rgb in (crops, crops[:1], torch.cat([crops.flip(2), crops[:1]])):
        with torch.no_grad():
            expected = reader(rgb)
        given = runner(rgb)
        assert len(given) == len(expected)
        for ours, theirs in zip(given, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


# The paper's size.


def test_the_papers_size_has_the_published_shape():
    net = DetNet().eval()
    n_parameters = sum(p.numel() for p in net.parameters())
    assert n_parameters == pytest.approx(13.0e6, rel=0.01)
    with torch.no_grad():
        maps = DetMaps(*net(torch.rand(1, 3, 32, 32)))
    assert maps.heat_logit.shape == (1, 21, 8, 8)
    assert (maps.offset == 0).all()
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert {m.dilation[0] for m in convolutions} == {1, 2, 4}
    assert [net.heat[0].in_channels, net.delta[0].in_channels, net.location[0].in_channels] == [
        *(258, 279, 342)
    ]


# The runner.


def test_the_runner_tells_poses_and_the_landmark_nets_own(small, landmark, crops):
    with torch.no_grad():
        runner = DetShpe(DetReader(small), resolution_px=224)
        answer, wanted = runner.look(crops), LandmarkShpe(landmark)(crops)
        poses = runner(crops)
    for name in ("uv_crop_px", "xyz_crop_mm", "presence", "looks_right", "confidence"):
        assert torch.equal(getattr(answer.landmark, name), getattr(wanted, name))
        assert torch.equal(getattr(answer.poses, name), getattr(poses, name))
    assert torch.equal(poses.presence, wanted.presence)
    bone_mm = poses.xyz_crop_mm[:, 9].norm(dim=-1)
    assert torch.allclose(bone_mm, torch.full((2,), REFERENCE_BONE_MM), rtol=1e-4)
    assert torch.allclose(answer.error_palms, torch.full((2, 21), 0.1), atol=1e-4)
    assert torch.allclose(answer.visible, torch.full((2, 21), 0.5), atol=1e-4)


def test_a_judge_says_presence_and_side_for_a_net_without_them(landmark):
    torch.manual_seed(2)
    rgb = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        answer = DetShpe(DetReader(DetNet().eval()), resolution_px=32, judge=landmark).look(rgb)
        large = torch.nn.functional.interpolate(rgb, size=(224, 224), mode="bilinear")
        joints, presence, looks_right, _ = landmark(large)
    assert torch.allclose(answer.poses.presence, presence, atol=1e-4)
    assert torch.allclose(answer.poses.looks_right, looks_right, atol=1e-4)
    wanted = joints[..., :2] * 32 / 224 - 0.5
    assert (answer.landmark.uv_crop_px - wanted).abs().max() < 0.01


def test_the_runner_fits_the_frame_stage(small, crops):
    stage = FrameStage(
        shpe=DetShpe(DetReader(small), resolution_px=224), device=torch.device("cpu")
    )
    affine = np.array([[[0.5, 0, 10], [0, 0.5, 20]], [[-0.5, 0, 150], [0, 0.5, 20]]])
    poses = stage(HandCrops(crops, affine, np.array([False, True])))
    with torch.no_grad():
        direct = DetShpe(DetReader(small), resolution_px=224)(crops)
    u = direct.uv_crop_px[1, :, 0].numpy()
    assert poses.uv_px[1, :, 0] == pytest.approx(150 - 0.5 * u, abs=1e-3)
    assert poses.xyz_mm[1, :, 0] == pytest.approx(-direct.xyz_crop_mm[1, :, 0].numpy(), abs=1e-3)
