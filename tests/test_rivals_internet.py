"""InterNet: its net against what is published, heat, and how it is read."""

import math

import pytest
import torch
from pose_rivals import R, crops, tiny_internet
from torch import nn

from hdrvideo.errors import ShapeError
from hdrvideo.frame.detmaps import px_from_cells
from hdrvideo.frame.pair import PairJoints
from hdrvideo.rivals import internet
from hdrvideo.rivals.internet import (
    InterMaps,
    InterPair,
    InterReader,
    InterShpe,
    cells_from_mm,
    draw_heat,
    heat_weights,
    mm_from_cells,
    read_cells,
    read_inter,
    way_cell,
)

CPU = torch.device("cpu")


def inter_maps(cells: torch.Tensor, bins: int = 16, **more: torch.Tensor) -> InterMaps:
    b = len(cells)
    usual = {
        "heat": draw_heat(cells, bins, 16, 16),
        "way_logit": torch.zeros(b, bins),
        "handed_logit": torch.zeros(b, 2),
    }
    return InterMaps(**(usual | more))


def test_internet_says_what_is_published():
    net = tiny_internet()
    with torch.no_grad():
        maps = InterMaps(*net(crops(2)))
    assert maps.heat.shape == (2, 42, 16, R // 4, R // 4)
    # One branch a hand, not shared; three doublings of 4x4.
    assert len(net.hands) == 2
    assert not torch.equal(net.hands[0].heat.weight, net.hands[1].heat.weight)
    grow = [m for m in net.hands[0].modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.kernel_size, m.stride) for m in grow] == 3 * [((4, 4), (2, 2))]
    assert internet.PAPER.resolution_px // 4 == internet.PAPER.bins == 64
    assert internet.SMALL.resolution_px // 4 == internet.SMALL.bins == 32
    # Quantisation of the paper's size: 4 px and 6.25 mm.
    steps = mm_from_cells(torch.arange(65.0), 64)
    assert (float(steps[0]), float(steps[32]), float(steps[64])) == (-200, 0, 200)
    assert float(steps[33]) == 6.25
    assert torch.equal(cells_from_mm(steps, 64), torch.arange(65.0))


@pytest.mark.parametrize("name", ["heat", "way_logit", "handed_logit"])
def test_inter_maps_that_do_not_fit_together_are_refused(name):
    parts = dict(inter_maps(torch.zeros(1, 42, 3)).__dict__)
    with pytest.raises(ShapeError, match=name):
        InterMaps(**{**parts, name: parts[name][:, :-1]})


def test_a_bell_is_255_high_and_as_wide_as_published():
    cells = torch.tensor([20.0, 30.0, 40.0]).expand(1, 42, 3)
    heat = draw_heat(cells, 64, 64, 64)
    assert heat[0, 7, 40, 30, 20] == 255
    for place in ((45, 30, 20), (40, 25, 20), (40, 30, 25)):
        deep, v, u = place
        assert float(heat[0, 7, deep, v, u]) == pytest.approx(255 * math.exp(-2))
    # Of half the cells half as wide.
    half = draw_heat(cells / 2, 32, 32, 32)
    assert float(half[0, 0, 20, 15, 12]) == pytest.approx(255 * math.exp(-0.5 * (2 / 1.25) ** 2))


def test_joints_are_read_at_whole_cells_as_published_and_finer_softly():
    draw = torch.Generator().manual_seed(1)
    cells = 3 + 9 * torch.rand(2, 42, 3, generator=draw)
    maps = inter_maps(cells)
    weights = heat_weights(maps.heat)
    torch.testing.assert_close(weights.sum(dim=(2, 3, 4)), torch.ones(2, 42))
    hard, _ = read_cells(maps.heat, weights, soft=False)
    assert torch.equal(hard, cells.round())
    wide = draw_heat(2 * cells, 32, 32, 32)
    soft, spread = read_cells(wide, heat_weights(wide), soft=True)
    assert (soft - 2 * cells).abs().max() < 0.02
    # To the fourth power a bell is half as wide; u and v together.
    assert torch.allclose(spread, torch.full_like(spread, 1.25 / 2 * math.sqrt(2)), atol=0.02)


def test_a_joint_without_heat_lies_in_the_middle():
    heat = -torch.rand(1, 42, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    heat.requires_grad_()
    cells, spread = read_cells(heat, heat_weights(heat), soft=True)
    assert torch.allclose(cells, torch.full_like(cells, 1.5))
    (cells.sum() + spread.sum()).backward()
    assert heat.grad.isfinite().all()


def test_what_internet_says_is_read():
    draw = torch.Generator().manual_seed(2)
    cells = 3 + 9 * torch.rand(1, 42, 3, generator=draw)
    way_logit = torch.full((1, 16), -30.0)
    way_logit[0, 10:12] = 0
    maps = inter_maps(cells, way_logit=way_logit)
    cell, doubt = way_cell(maps.way_logit)
    assert (float(cell), float(doubt)) == (pytest.approx(10.5), pytest.approx(0.5))
    joints = read_inter(maps, R, soft=False)
    uv_px = px_from_cells(cells.round()[..., :2], 4.0).reshape(1, 2, 21, 2)
    assert torch.equal(joints.uv_px, uv_px)
    deep = mm_from_cells(cells.round()[..., 2], 16).reshape(1, 2, 21)
    assert torch.allclose(joints.xyz_mm[..., 2], deep - deep[..., :1], atol=1e-3)
    # 25 mm a cell; the left wrist is 2.5 cells behind the right one.
    assert float(joints.way[0, 0]) == pytest.approx(2.5 * 25 / 92, rel=1e-4)
    assert float(joints.way[0, 1].exp()) == pytest.approx(0.5 * 25 / 92, rel=1e-4)
    assert (joints.xyz[:, :, 0] == 0).all()


class Says(nn.Module):
    """Says the same of every picture."""

    def __init__(self, maps: InterMaps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, rgb):
        assert rgb.shape[1] == 3
        return self.maps.heat, self.maps.way_logit, self.maps.handed_logit


def test_handedness_is_two_chances_free_of_one_another():
    logit = torch.tensor([[4.0, 4.0], [-4.0, 4.0], [-4.0, -4.0]])
    cells = torch.full((3, 42, 3), 8.0) + torch.arange(42.0)[:, None] / 10
    net = Says(inter_maps(cells, handed_logit=logit))
    pair = InterPair(InterReader(net), resolution_px=R, device=CPU)
    # Hints of the look at both hands are not looked at.
    said = pair(torch.zeros(3, 6, R, R))
    torch.testing.assert_close(said.handed, logit.sigmoid())
    assert isinstance(said.joints, PairJoints)
    shpe = InterShpe(InterReader(net), resolution_px=R)
    poses = shpe(crops(3))
    assert torch.equal(poses.uv_crop_px, said.joints.uv_px[:, 0])
    assert torch.equal(poses.xyz_crop_mm, said.joints.xyz_mm[:, 0])
    assert poses.presence.tolist() == pytest.approx([0.982, 0.982, 0.018], abs=1e-3)
    # Both hands there: no evidence; the left alone: the wrong side.
    assert poses.looks_right.tolist() == pytest.approx([0.5, 0.018, 0.5], abs=1e-3)
