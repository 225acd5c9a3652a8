"""HandOccNet: its attention by hand, its sizes, and how it is read."""

import math

import pytest
import torch
from pose_rivals import crops, tiny

from hdrvideo.frame.detmaps import px_from_cells
from hdrvideo.handmodel import HandModel
from hdrvideo.rivals import handoccnet
from hdrvideo.rivals.handoccnet import (
    Enhance,
    HandOccPoser,
    HandOccReader,
    Inject,
    read_heat,
)
from hdrvideo.rivals.hourglass import Hourglass


def test_gates_are_sigmoids_of_sums_over_all_keys():
    torch.manual_seed(0)
    layer = Inject(32, 12)
    query, primary = torch.randn(2, 12, 32), torch.randn(2, 12, 32)
    with torch.no_grad():
        gates = layer.gates(query, primary)
        q = layer.gate_query(query + layer.query_place).reshape(2, 12, 4, 8)
        k = layer.gate_key(primary + layer.key_place).reshape(2, 12, 4, 8)
        products = torch.einsum("bnhc,bmhc->bhnm", q, k) / math.sqrt(8)
    assert gates.shape == (2, 4, 12, 1)
    torch.testing.assert_close(gates, products.sum(dim=-1, keepdim=True).sigmoid())
    assert not torch.allclose(gates, products.mean(dim=-1, keepdim=True).sigmoid(), atol=0.1)


def test_injecting_takes_primary_values_alone_and_enhancing_adds_to_what_asks():
    torch.manual_seed(1)
    fit, set_ = Inject(32, 12), Enhance(32, 12)
    query, first = torch.randn(2, 12, 32), torch.randn(2, 12, 32)
    with torch.no_grad():
        for layer, gated in ((fit, True), (set_, False)):
            q = layer.query(query + layer.query_place).reshape(2, 12, 4, 8)
            k = layer.key(first + layer.key_place).reshape(2, 12, 4, 8)
            # Places are added to queries and keys, not to values.
            v = layer.value(first).reshape(2, 12, 4, 8)
            share = (torch.einsum("bnhc,bmhc->bhnm", q, k) / math.sqrt(8)).softmax(dim=-1)
            taken = torch.einsum("bhnm,bmhc->bhnc", share, v)
            taken = taken * fit.gates(query, first) if gated else taken
            taken = taken.transpose(1, 2).reshape(2, 12, 32)
            x = taken if gated else query + taken
            wanted = x + layer.mlp(layer.norm(x))
            torch.testing.assert_close(layer(query, first), wanted, atol=1e-4, rtol=1e-4)


def test_layers_update_the_query_and_keep_what_they_look_at():
    net, seen = tiny("handoccnet").eval(), {}
    for name in ("inject", "enhance"):
        for k, layer in enumerate(getattr(net, name)):
            layer.register_forward_hook(
                lambda _, given, out, at=(name, k): seen.update({at: (*given, out)})
            )
    with torch.no_grad():
        net(crops(1))
    for name in ("inject", "enhance"):
        (_, key, out), (query, again, _) = seen[name, 0], seen[name, 1]
        assert query is out
        assert again is key
    assert seen["enhance", 0][0] is seen["enhance", 0][1]
    for layer in (*net.inject, *net.enhance):
        tables = [n for n, _ in layer.named_parameters() if n.endswith("_place")]
        assert tables == ["query_place", "key_place"]
    large = torch.cat([layer.query_place.flatten() for layer in net.inject])
    assert float(large.detach().std()) == pytest.approx(1, abs=0.05)


def test_the_papers_size_halves_as_published():
    assert (handoccnet.PAPER.grid, handoccnet.PAPER.levels) == (32, 4)
    assert (handoccnet.SMALL.grid, handoccnet.SMALL.levels) == (16, 3)
    # Four times two blocks, then 2 x 2 x 256 numbers.
    assert handoccnet.PAPER.width * 4 == 1024
    assert Hourglass(32, 2)(torch.rand(1, 32, 8, 8)).shape == (1, 32, 8, 8)


def test_heat_is_read_softly_as_published_or_at_whole_cells():
    logit = torch.full((1, 21, 8, 8), -40.0)
    logit[:, :, 5, 2] = 1.0
    logit[:, :, 5, 3] = 0.0
    soft, spread = read_heat(logit)
    share = 1 / (1 + math.exp(1))
    assert soft[0, 4].tolist() == pytest.approx([2 + share, 5])
    assert float(spread[0, 4]) == pytest.approx(math.sqrt(share * (1 - share)), rel=1e-4)
    assert read_heat(logit, soft=False)[0][0, 4].tolist() == [2, 5]


def test_joints_in_space_are_the_hand_models():
    net, hand = tiny("handoccnet").eval(), HandModel()
    rgb = crops(2)
    with torch.no_grad():
        uv_px, xyz_mm, log_error = HandOccPoser(HandOccReader(net), hand)(rgb)
        heat, turns, shape = net(rgb)
    assert torch.equal(xyz_mm, hand(turns, shape).joints_mm)
    assert torch.equal(uv_px, px_from_cells(read_heat(heat)[0], 8.0))
    assert log_error.isfinite().all()
    # It begins near the flat hand.
    flat = hand(torch.zeros(1, 16, 3)).joints_mm
    assert (xyz_mm - flat).norm(dim=-1).mean() < 40
