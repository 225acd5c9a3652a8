"""What both content rivals paint: holes, what may be seen, and HDRM's contract."""

from dataclasses import replace

import pytest
import torch
from rival_hands import CPU, TINY_HOLES, R, seeded, seen_crops

from hdrvideo.frame.hdrm import SMALL as HDRM
from hdrvideo.frame.hdrm import HdrmNet, find_regions, grow
from hdrvideo.frame.painter import Hdrm
from hdrvideo.frame.partial import PartialConv2d
from hdrvideo.rivals.holes import PAPER, SMALL, HolesNet
from hdrvideo.rivals.human_deocclusion import HumanContentNet
from hdrvideo.rivals.pcnet_content import PcnetContentNet

NETS = {"pcnet": PcnetContentNet, "human": HumanContentNet}
each = pytest.mark.parametrize("make", NETS.values(), ids=NETS)


def tiny(make):
    return seeded(lambda: make(TINY_HOLES)).eval()


def test_the_published_layers():
    net = HolesNet(PAPER, n_colours=4)
    convs = [stage.conv for stage in net.encoder]
    assert [c.weight.shape[0] for c in convs] == [64, 128, 256, 512, 512, 512, 512]
    assert [c.kernel for c in convs] == [7, 5, 5, 3, 3, 3, 3]
    assert {c.stride for c in convs} == {2}
    assert convs[0].weight.shape[1] == 4
    assert isinstance(net.encoder[0].norm, torch.nn.Identity)
    assert not isinstance(net.encoder[1].norm, torch.nn.Identity)
    assert net.last.weight.shape == (3, 64 + 4, 3, 3)
    assert SMALL.resolution_px % 2 ** len(SMALL.encoder) == 0


@each
def test_it_answers_as_hdrm_does(make):
    net, seen = tiny(make), seen_crops(b=3)
    with torch.inference_mode():
        painted, weight = net(seen)
        assert painted.shape == (3, 3, R, R)
        # Where and how much is HDRM's own rule.
        _, wanted = HdrmNet(replace(HDRM, grow_px=TINY_HOLES.grow_px))(seen)
        assert torch.equal(weight, wanted)
        for k in range(3):
            one, _ = net(seen[k : k + 1])
            assert torch.allclose(one, painted[k : k + 1], atol=1e-5)
    bare = Hdrm(net, resolution_px=R, device=CPU)(seen[:, :3], seen[:, 3:])
    assert bare.is_painted.all()
    outside = (weight == 0).expand_as(bare.rgb)
    assert torch.equal(bare.rgb[outside], seen[:, :3][outside])
    assert not torch.equal(bare.rgb, seen[:, :3])
    # Nothing hidden, nothing painted.
    seen[:, 3:4], seen[:, 5:] = seen[:, 4:5], 0
    assert not Hdrm(net, resolution_px=R, device=CPU)(seen[:, :3], seen[:, 3:]).is_painted.any()


@each
def test_what_lies_in_a_hole_is_not_seen(make):
    net, seen = tiny(make), seen_crops()
    regions = find_regions(seen[:, 3:])
    whole = regions.own_visible + regions.uncover
    hidden, other = regions.uncover > 0, grow(regions.remove, TINY_HOLES.grow_px) * (1 - whole) > 0

    def changed(where):
        return torch.cat([torch.where(where, 1 - seen[:, :3], seen[:, :3]), seen[:, 3:]], dim=1)

    with torch.inference_mode():
        painted, _ = net(seen)
        on_hand = (whole > 0).expand_as(painted)
        assert torch.equal(net(changed(hidden))[0][on_hand], painted[on_hand])
        assert torch.equal(net(changed(other))[0][~on_hand], painted[~on_hand])
        # But what is seen is.
        shown = changed(regions.own_visible > 0)
        assert not torch.allclose(net(shown)[0][on_hand], painted[on_hand], atol=1e-4)


def test_each_look_of_pcnet_completes_one_thing():
    """The hand's look still sees the other hand, the background's the hand's hidden part."""
    net, seen = tiny(PcnetContentNet), seen_crops()
    regions = find_regions(seen[:, 3:])
    whole = (regions.own_visible + regions.uncover > 0).expand(-1, 3, -1, -1)
    other = torch.where(regions.remove > 0, 1 - seen[:, :3], seen[:, :3])
    with torch.inference_mode():
        before, after = net(seen)[0], net(torch.cat([other, seen[:, 3:]], dim=1))[0]
        assert not torch.equal(before[whole], after[whole])
        told = net.complete(seen[:, :3], regions.own_visible, regions.uncover)
        assert torch.equal(told[whole], before[whole])
        # It is told whose hole it is.
        none = net.complete(seen[:, :3], 0 * regions.own_visible, regions.uncover)
    assert not torch.allclose(none, told, atol=1e-4)


def test_holes_are_filled_from_their_rims():
    """Not so in HDRM, where nothing is unknown after the first layer (facts, 1.5)."""
    net = seeded(lambda: HolesNet(TINY_HOLES, n_colours=3, n_told=2))
    x = torch.rand(1, 5, R, R)
    known = torch.ones(1, 1, R, R)
    known[..., 8:56, 8:56] = 0
    maps = []
    for stage in net.encoder:
        _, known = stage(torch.zeros(1, stage.conv.weight.shape[1], *known.shape[2:]), known, known)
        maps.append(int((known == 0).sum()))
    # 48 cells wide, then as many as have no window that reaches the rim.
    assert maps[0] > 400
    assert maps[-1] == 0
    assert maps == sorted(maps, reverse=True)
    assert torch.isfinite(net(x, torch.zeros(1, 1, R, R))[0]).all()


def test_a_partial_convolution_makes_up_for_what_is_missing():
    """Times sum(1) / sum(M), as the papers say; the releases divide by sum(M) alone."""
    conv = PartialConv2d(3, 2, 3)
    x = torch.ones(1, 3, 8, 8)
    known = torch.ones(1, 1, 8, 8)
    known[..., ::2] = 0
    with torch.no_grad():
        conv.weight.fill_(0.1)
        whole, part = (conv(x * k, k)[..., 3, 3] for k in (torch.ones_like(known), known))
    assert torch.allclose(whole, part)
    assert whole[0, 0] == pytest.approx(0.1 * 27)


@each
def test_gradients_reach_all_of_it(make):
    net, seen = tiny(make), seen_crops()
    parts = net.paint(seen)[2] if isinstance(net, HumanContentNet) else []
    total = net(seen)[0].square().sum() + sum(p.square().sum() for p in parts)
    total.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    net.zero_grad()
    # Everything is a hole, or nothing.
    for masks in (torch.zeros(4), torch.tensor([0.0, 1, 1, 1]), torch.tensor([0.0, 0, 1, 1])):
        seen[:, 3:] = masks.view(1, 4, 1, 1)
        painted, _ = net(seen)
        assert painted.isfinite().all()
        painted.sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
