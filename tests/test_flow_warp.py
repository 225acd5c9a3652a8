"""Warping along motion, coarser motion, joined motion, and what shapes are refused."""

import pytest
import torch

from hdrvideo.errors import ShapeError
from hdrvideo.motion.flow import CropMesh, CropPair, Flow, join, warp


def constant(u: float, v: float, size: int = 8) -> torch.Tensor:
    return torch.tensor([float(u), float(v)]).expand(1, size, size, 2).contiguous()


def trusted(uv_px: torch.Tensor) -> Flow:
    return Flow(uv_px, torch.ones(uv_px.shape[:3]))


def test_joined_motion_takes_the_hidden_from_the_hand():
    seen = Flow(constant(1, 1), torch.full((1, 8, 8), 0.8))
    hand = Flow(constant(-2, 0), torch.full((1, 8, 8), 0.6))
    hand.uv_px[0, 2, 2], hand.trust[0, 2, 2] = torch.nan, 0
    hidden = torch.zeros(1, 8, 8, dtype=torch.bool)
    hidden[:, :4] = True
    joined = join(seen, hand, hidden)
    assert torch.equal(joined.uv_px[:, 4:], seen.uv_px[:, 4:])
    assert torch.equal(joined.uv_px[0, 3], hand.uv_px[0, 3])
    assert joined.uv_px[0, 2, 2].isnan().all()
    assert joined.trust[0, 2, 2] == 0
    assert joined.trust.sum() == pytest.approx(32 * 0.8 + 31 * 0.6)


def test_no_motion_changes_nothing():
    features = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    warped, trust = warp(features, trusted(constant(0, 0)))
    torch.testing.assert_close(warped, features, atol=1e-6, rtol=0)
    assert (trust == 1).all()


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_shifts_by_whole_cells_are_exact_at_every_resolution(stride):
    size = 64 // stride
    features = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    warped, trust = warp(features, trusted(constant(2 * stride, -stride, 64)))
    torch.testing.assert_close(warped[:, :, 1:, :-2], features[:, :, :-1, 2:], atol=1e-5, rtol=0)
    assert (warped[:, :, 0] == 0).all()
    assert (warped[..., -2:] == 0).all()
    assert torch.equal(trust > 0, (warped != 0).any(dim=1))


def test_a_ramp_tells_where_each_cell_was_looked_up():
    v, u = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    ramp = torch.stack([u, v])[None]
    flow = trusted(constant(6.0, 3.0, 96))
    warped, trust = warp(ramp, flow)
    inside = trust[0] == 1
    assert inside.sum() > 400
    expected = ramp + torch.tensor([1.5, 0.75])[:, None, None]
    inner = (slice(None), slice(None), slice(0, 22), slice(0, 22))
    torch.testing.assert_close(warped[inner], expected[inner], atol=1e-4, rtol=0)


def test_the_unknown_and_the_outside_are_zero():
    uv_px = constant(0, 0)
    uv_px[0, 1, 1] = torch.nan
    uv_px[0, 2, 2] = torch.tensor([1e9, 0.0])
    uv_px[0, 3, 3] = torch.tensor([0.0, -3.6])
    warped, trust = warp(torch.ones(1, 2, 8, 8), trusted(uv_px))
    away = torch.zeros(8, 8, dtype=torch.bool)
    away[[1, 2, 3], [1, 2, 3]] = True
    assert torch.equal(trust[0] == 0, away)
    assert torch.equal(warped[0, 0] == 0, away)


def test_half_precision_stays_and_gradients_reach_the_features():
    features = torch.rand(1, 2, 8, 8, requires_grad=True)
    warped, _ = warp(features, trusted(constant(0.5, 0.0)))
    warped.sum().backward()
    assert features.grad is not None
    assert features.grad[:, :, :, 1:].min() > 0.4
    half, _ = warp(features.detach().half(), trusted(constant(0.5, 0.0)))
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), warped.detach(), atol=2e-3, rtol=0)


def test_cells_go_by_what_is_trusted_and_known():
    flow = Flow(constant(0, 0, 4), torch.zeros(1, 4, 4))
    flow.uv_px[0, :2, :2] = torch.tensor([8.0, 4.0])
    flow.trust[0, 0, 0] = 1.0
    flow.uv_px[0, 0, 1] = torch.tensor([-100.0, 0.0])
    flow.uv_px[0, 1, 1] = torch.nan
    flow.uv_px[0, 2:, 2:] = torch.nan
    cells = flow.resized(2, 2)
    torch.testing.assert_close(cells.uv_px[0, 0, 0], torch.tensor([4.0, 2.0]), atol=1e-3, rtol=0)
    assert cells.trust[0, 0, 0] == 0.25
    assert cells.uv_px[0, 0, 1].tolist() == [0.0, 0.0]
    assert cells.uv_px[0, 1, 1].isnan().all()
    assert flow.resized(4, 4) is flow


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flow(torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4)), r"uv_px is .*\(1, 4, 4, 3\)"),
        (lambda: Flow(torch.zeros(1, 4, 4, 2), torch.zeros(4, 4)), r"uv_px is .*expected"),
        (
            lambda: Flow(torch.zeros(1, 4, 4, 2), torch.zeros(1, 4, 4).bool()),
            r"trust is torch.bool \(1, 4, 4\), expected float32",
        ),
        (
            lambda: trusted(constant(0, 0)).resized(9, 8),
            r"flow of 8 x 8 px cannot be resized to 8 x 9 cells; expected 1 cell to one",
        ),
        (lambda: trusted(constant(0, 0)).resized(0, 1), r"to 1 x 0 cells"),
        (
            lambda: CropMesh(torch.zeros(2, 5, 3), torch.zeros(1, 3, 3)),
            r"vertices_mm is torch.float32 \(2, 5, 3\), expected float32 \(1, 'any', 3\)",
        ),
        (lambda: CropMesh(torch.zeros(1, 5, 3), torch.zeros(1, 2, 3)), r"k_px is .*\(1, 2, 3\)"),
        (
            lambda: CropPair(torch.zeros(1, 3, 8, 9), torch.zeros(1, 3, 8, 9)),
            r"first_rgb is .*\(1, 3, 8, 9\), expected float32 \(1, 3, 9, 9\)",
        ),
        (
            lambda: CropPair(torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8)),
            r"second_rgb is .*\(2, 3, 8, 8\), expected float32 \(1, 3, 8, 8\)",
        ),
        (
            lambda: join(
                trusted(constant(0, 0)), trusted(constant(0, 0, 4)), torch.zeros(1, 8, 8).bool()
            ),
            r"hand.trust is .*\(1, 4, 4\), expected float32 \(1, 8, 8\)",
        ),
        (
            lambda: join(
                trusted(constant(0, 0)), trusted(constant(0, 0)), torch.zeros(1, 4, 8).bool()
            ),
            r"hidden is .*\(1, 4, 8\), expected bool \(1, 8, 8\)",
        ),
        (
            lambda: warp(torch.zeros(2, 3, 8, 8), trusted(constant(0, 0))),
            r"features is .*\(2, 3, 8, 8\), expected",
        ),
        (
            lambda: warp(torch.zeros(1, 3, 16, 8), trusted(constant(0, 0))),
            r"cannot be resized to 8 x 16 cells",
        ),
    ],
)
def test_shapes_are_checked(make, message):
    with pytest.raises(ShapeError, match=message):
        make()
