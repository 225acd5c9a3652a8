"""HDRM: partial convolutions against slow ones, regions, composition, and who is left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hdrvideo.engine import make_runner
from hdrvideo.errors import ShapeError
from hdrvideo.frame.hdrm import (
    LEAST_SHARE,
    PAPER,
    SMALL,
    HdrmNet,
    compose,
    find_regions,
    grow,
    needs_painting,
    paint_weight,
)
from hdrvideo.frame.painter import Hdrm
from hdrvideo.frame.partial import PartialConv2d, TransformerBlock
from hdrvideo.spreading import spread

R = 128


@pytest.fixture(scope="module")
def net() -> HdrmNet:
    torch.manual_seed(0)
    return HdrmNet().eval()


def box(u0: int, v0: int, u1: int, v1: int, size: int = R) -> torch.Tensor:
    mask = torch.zeros(size, size)
    mask[v0:v1, u0:u1] = 1
    return mask


def crossing(size: int = R) -> torch.Tensor:
    """Give masks ``(4, R, R)``: the other hand lies over the middle of this one."""
    k = size // 128
    own, other = (
        box(30 * k, 50 * k, 100 * k, 80 * k, size),
        box(55 * k, 20 * k, 75 * k, 110 * k, size),
    )
    return torch.stack([own * (1 - other), own, other, other])


def apart() -> torch.Tensor:
    own = box(30, 50, 100, 80)
    return torch.stack([own, own, torch.zeros(R, R), torch.zeros(R, R)])


def random_crops(*masks: torch.Tensor, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    told = torch.stack(masks)
    rgb = torch.rand(len(told), 3, *told.shape[-2:], generator=draw)
    return torch.cat([rgb, told], dim=1)


def slow_partial(conv: PartialConv2d, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Compute equation 1 window by window."""
    n, stride, half = conv.kernel, conv.stride, conv.kernel // 2
    b, _, height, width = x.shape
    pad = nn.functional.pad
    x, keep = pad(x * keep, (half,) * 4), pad(keep, (half,) * 4)
    rows, columns = -(-height // stride), -(-width // stride)
    out = torch.zeros(b, len(conv.weight), rows, columns)
    for i in range(b):
        for v in range(rows):
            for u in range(columns):
                rows_here, columns_here = (slice(k * stride, k * stride + n) for k in (v, u))
                counts = keep[i, :, rows_here, columns_here]
                scale = counts.numel() / counts.sum() if counts.sum() else 0.0
                found = (conv.weight * x[i, :, rows_here, columns_here]).sum(dim=(1, 2, 3)) * scale
                out[i, :, v, u] = found + conv.bias
    return out


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2), (7, 2)])
def test_partial_convolutions_are_equation_one(kernel, stride):
    torch.manual_seed(kernel)
    conv = PartialConv2d(4, 3, kernel, stride=stride)
    nn.init.normal_(conv.bias)
    x = torch.randn(2, 4, 12, 12)
    # Two channels share a mask each; in one corner nothing counts at all.
    halves = (torch.rand(2, 2, 12, 12) < 0.6).float()
    halves[:, :, :8, :8] = 0
    keep = halves.repeat_interleave(2, dim=1)
    with torch.no_grad():
        fast = conv(x * keep, keep.mean(dim=1, keepdim=True))
        assert torch.allclose(fast, slow_partial(conv, x, keep), atol=1e-4)
        assert torch.equal(fast[0, :, 0, 0], conv.bias)
        every = conv(x)
        assert torch.allclose(every, slow_partial(conv, x, torch.ones_like(x)), atol=1e-4)
    # Erased values do not matter, and a window of which half is known is as large as a full one.
    ones, half = torch.ones(1, 4, 12, 12), torch.ones(1, 1, 12, 12)
    half[..., ::2] = 0
    with torch.no_grad():
        conv.weight.fill_(1)
        middle = (conv(ones * half, half) - conv.bias.view(1, 3, 1, 1))[..., 2:-2, 2:-2]
    assert torch.allclose(middle, torch.full_like(middle, 4.0 * kernel * kernel))


def test_unknown_pixels_take_their_colour_from_what_is_near():
    known = (torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    known[1] = 0
    known[1, 0, :, :3] = 1
    colour = torch.rand(2, 3, 32, 32)
    filled = spread(colour, known, 5)
    where = known.bool().expand_as(colour)
    assert torch.allclose(filled[where], colour[where], atol=1e-6)
    low, high = colour[0].amin(), colour[0].amax()
    assert filled[0].min() >= low - 1e-5
    assert filled[0].max() <= high + 1e-5
    # What is not known does not matter, even things stay even, and of nothing comes nothing.
    assert torch.equal(spread(torch.where(where, colour, 9.0), known, 5), filled)
    even = torch.full_like(colour, 0.7)
    assert torch.allclose(spread(even, known, 2), even, atol=1e-5)
    assert not spread(colour, torch.zeros_like(known), 5).any()
    # Nearer pixels count for more.
    halves = torch.zeros(1, 1, 32, 32)
    halves[..., 16:] = 1
    sides = torch.zeros(1, 1, 32, 32)
    sides[..., :4], sides[..., 28:] = 1, 1
    across = spread(halves, sides, 4)[0, 0, 16]
    assert (across.diff() >= -1e-5).all()
    assert across[7] < 0.3 < 0.7 < across[24]


def test_a_transformer_block_is_the_written_out_one():
    torch.manual_seed(1)
    block = TransformerBlock(8, heads=2, mlp_ratio=2, reduction=2).eval()
    x = torch.randn(1, 8, 4, 6)
    with torch.no_grad():
        tokens = x[0].reshape(8, 24).T
        normed = block.norm1(tokens)
        small = block.reduce(normed.T.reshape(1, 8, 4, 6))[0].reshape(8, 6).T
        key, value = block.key_value(block.reduced_norm(small)).split(8, dim=1)
        query = block.query(normed)
        seen = []
        for head in (slice(0, 4), slice(4, 8)):
            weight = (query[:, head] @ key[:, head].T / 2).softmax(dim=1)
            seen.append(weight @ value[:, head])
        tokens = tokens + block.output(torch.cat(seen, dim=1))
        wide = block.widen(block.norm2(tokens)).T.reshape(1, 16, 4, 6)
        mixed = nn.functional.gelu(block.depthwise(wide)[0].reshape(16, 24).T)
        tokens = block.norm3(tokens + block.narrow(mixed))
        assert torch.allclose(block(x)[0], tokens.T.reshape(8, 4, 6), atol=1e-5)


def test_regions_are_those_of_the_paper():
    own_visible, own, other, _ = crossing()
    regions = find_regions(crossing()[None])
    assert torch.equal(regions.uncover[0, 0], own * (1 - own_visible))
    assert torch.equal(regions.remove[0, 0], (1 - own) * other)
    assert torch.equal(regions.own_visible[0, 0], own_visible)
    assert torch.equal(regions.background[0, 0], (1 - own) * (1 - other))
    total = regions.uncover + regions.remove + regions.own_visible + regions.background
    assert torch.equal(total, torch.ones_like(total))


def test_a_coarse_outline_is_no_hidden_part():
    own = box(30, 50, 100, 80)
    seen = box(32, 52, 98, 78)
    none = torch.zeros(R, R)
    masks = torch.stack([seen, own, none, none])[None]
    regions = find_regions(masks)
    assert not regions.uncover.any()
    assert torch.equal(regions.own_visible[0, 0], own)
    assert not needs_painting(masks).any()
    # What is seen of a hand belongs to it, even where the whole mask says no.
    swapped = find_regions(torch.stack([own, seen, none, none])[None])
    assert torch.equal(swapped.own_visible[0, 0], own)


def test_enough_to_paint_is_a_share_of_the_crop():
    least = int(np.ceil(LEAST_SHARE * R * R))
    for n, expected in ((least - 1, False), (least, True)):
        other = torch.zeros(R * R)
        other[:n] = 1
        masks = torch.stack([*apart()[:2], other.view(R, R), other.view(R, R)])
        assert needs_painting(masks[None]).tolist() == [expected]
        assert bool(paint_weight(find_regions(masks[None]), 2).any()) == expected
    assert needs_painting(torch.stack([crossing(), apart()])).tolist() == [True, False]


def test_growing_is_a_square_and_the_seam_is_soft():
    dot = torch.zeros(1, 1, 9, 9)
    dot[0, 0, 4, 4] = 1
    assert torch.equal(grow(dot, 2)[0, 0], box(2, 2, 7, 7, 9))
    weight = paint_weight(find_regions(crossing()[None]), 2)[0, 0]
    hole = find_regions(crossing()[None])
    hole = (hole.uncover + hole.remove)[0, 0]
    assert (weight[hole > 0] == 1).all()
    assert (weight[grow(hole[None, None], 3)[0, 0] == 0] == 0).all()
    assert 0 < weight[19 - 2, 65] < 1
    # At the crop's border there is no seam.
    other = box(0, 0, 20, R)
    masks = torch.stack([*apart()[:2], other, other])[None]
    assert (paint_weight(find_regions(masks), 2)[0, 0, :, :20] == 1).all()


def test_pixels_outside_the_holes_stay_bit_for_bit(net):
    crops = random_crops(crossing(), apart())
    with torch.inference_mode():
        painted, weight = net(crops)
        bare = compose(crops[:, :3], painted, weight)
    outside = (weight == 0).expand_as(bare)
    assert torch.equal(bare[outside], crops[:, :3][outside])
    assert 0.05 < (weight[0] > 0).float().mean() < 0.5
    assert not weight[1].any()
    inside = (weight[0] == 1).expand(3, -1, -1)
    assert torch.equal(bare[0][inside], painted[0].clamp(0, 1)[inside])
    # A number that is none, where nothing is painted, stays out of the picture.
    broken = torch.where(weight == 0, torch.nan, painted)
    assert torch.equal(compose(crops[:, :3], broken, weight), bare)


def test_what_is_erased_cannot_be_seen(net):
    """What the other hand hides is seen in one copy only, and outside the rim in none's middle."""
    crops = random_crops(crossing(), seed=1)
    changed = crops.clone()
    hidden = find_regions(crops[:, 3:])
    both = (hidden.uncover + hidden.remove)[0, 0] > 0
    changed[0, :3, both] = 0.5
    with torch.inference_mode():
        conv = net.encoder[0].conv
        seen = []
        handle = conv.register_forward_pre_hook(lambda _, given: seen.append(given))
        net(crops)
        net(changed)
        handle.remove()
    (first, known), (second, _) = seen
    assert not first[0, :4, hidden.uncover[0, 0] > 0].any()
    assert not first[0, 4:, hidden.remove[0, 0] > 0].any()
    # The other copy still has what is there.
    assert not torch.equal(first[0, :4], second[0, :4])
    assert not torch.equal(first[0, 4:], second[0, 4:])
    assert set(known.unique().tolist()) == {0.5, 1.0}
    assert (known[0, 0, both] == 0.5).all()


def test_a_batch_is_each_crop_alone(net):
    crops = random_crops(crossing(), apart(), crossing().flip(1))
    with torch.inference_mode():
        together = net(crops)
        alone = [net(crop[None]) for crop in crops]
    for k, all_of_it in enumerate(together):
        assert torch.allclose(all_of_it, torch.cat([one[k] for one in alone]), atol=1e-5)


class Counting(nn.Module):
    def __init__(self, net: HdrmNet) -> None:
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, crops):
        self.seen.append(len(crops))
        return self.net(crops)


def test_hands_without_need_are_skipped_and_nothing_else_changes(net):
    crops = random_crops(apart(), crossing(), apart(), crossing().flip(2))
    counting = Counting(net)
    hdrm = Hdrm(counting, resolution_px=R, device=torch.device("cpu"))
    bare = hdrm(crops[:, :3], crops[:, 3:])
    assert counting.seen == [2]
    assert bare.is_painted.tolist() == [False, True, False, True]
    # Running everything, skipped or not, gives the same.
    with torch.inference_mode():
        everything = compose(crops[:, :3], *net(crops))
    assert torch.allclose(bare.rgb, everything, atol=1e-5)
    skipped = ~bare.is_painted
    assert torch.equal(bare.rgb[skipped], crops[skipped, :3])
    assert torch.equal(bare.rgb[skipped], everything[skipped])
    for k in (1, 3):
        alone = hdrm(crops[k : k + 1, :3], crops[k : k + 1, 3:])
        assert torch.allclose(alone.rgb[0], bare.rgb[k], atol=1e-5)
    none = hdrm(crops[:1, :3], crops[:1, 3:])
    assert counting.seen == [2, 1, 1]
    assert torch.equal(none.rgb, crops[:1, :3])


def test_crops_of_another_size_are_painted_at_their_own(net):
    large = 192
    masks = torch.nn.functional.interpolate(crossing()[None], size=(large, large))[0]
    crops = random_crops(masks)
    hdrm = Hdrm(net, resolution_px=R, device=torch.device("cpu"))
    bare = hdrm(crops[:, :3], crops[:, 3:])
    assert bare.rgb.shape == (1, 3, large, large)
    changed = (bare.rgb != crops[:, :3]).any(dim=1)[0]
    hole = ((masks[1] - masks[0]) + (1 - masks[1]) * masks[2]) > 0
    assert changed[hole].float().mean() > 0.99
    # Three pixels of the net's own size, and one of resampling.
    assert not changed[grow(hole[None, None].float(), 8)[0, 0] == 0].any()


def test_the_runner_checks_shapes(net):
    hdrm = Hdrm(net, resolution_px=R, device=torch.device("cpu"))
    crops = random_crops(apart())
    with pytest.raises(ShapeError, match=r"masks is torch.float32 \(1, 3, 128, 128\), expected"):
        hdrm(crops[:, :3], crops[:, :3])
    with pytest.raises(ShapeError, match=r"rgb is torch.float64"):
        hdrm(crops[:, :3].double(), crops[:, 3:])


def n_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_sizes_are_those_that_are_told():
    paper, plain = HdrmNet(PAPER), HdrmNet(PAPER, without_transformer=True)
    # Counted on the released network: 42.2 and 32.9 million.
    assert round(n_parameters(paper) / 1e5) == 422
    assert round(n_parameters(plain) / 1e5) == 329
    assert n_parameters(HdrmNet(SMALL)) < 2e6


def test_blocks_stand_at_the_four_places_of_the_paper():
    narrow = replace(PAPER, encoder=tuple((8 * k, n) for k, (_, n) in enumerate(PAPER.encoder, 1)))
    net, seen = HdrmNet(narrow).eval(), {}

    def listen(name: str):
        return lambda _, given, out: seen.update({name: tuple(out.shape[1:])})

    for part in ("encoder_blocks", "decoder_blocks"):
        for stage, block in getattr(net, part).items():
            block.register_forward_hook(listen(f"{part[:3]} {stage}"))
    crops = random_crops(crossing(256))
    with torch.inference_mode():
        painted, weight = net(crops)
    assert painted.shape == (1, 3, 256, 256)
    assert weight.shape == (1, 1, 256, 256)
    # Channels of a decoder's stage are those of the encoder's stage before.
    assert seen == {
        "enc 3": (24, 32, 32), "enc 5": (40, 8, 8), "dec 5": (32, 16, 16), "dec 3": (16, 64, 64),
    }  # fmt: skip


def test_without_transformer_there_is_none():
    torch.manual_seed(0)
    plain = HdrmNet(without_transformer=True).eval()
    assert not [m for m in plain.modules() if isinstance(m, TransformerBlock)]
    assert len([m for m in HdrmNet().modules() if isinstance(m, TransformerBlock)]) == 4
    with torch.inference_mode():
        painted, _ = plain(random_crops(crossing()))
    assert painted.isfinite().all()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_it_can_be_traced_for_any_batch(net):
    with torch.no_grad():
        traced = torch.jit.trace(net, random_crops(apart()), check_trace=False)
        crops = random_crops(crossing(), apart())
        for found, expected in zip(traced(crops), net(crops), strict=True):
            assert torch.allclose(found, expected, atol=1e-5)


def test_openvino_says_what_torch_says(net):
    pytest.importorskip("openvino")
    runner = make_runner(net, "openvino", resolution_px=R, n_channels=7)
    batches = ((crossing(), apart()), (apart(),), (crossing().flip(1), crossing(), crossing()))
    for seed, masks in enumerate(batches):
        crops = random_crops(*masks, seed=seed)
        with torch.inference_mode():
            expected = net(crops)
        given = runner(crops)
        assert len(given) == len(expected)
        for ours, theirs in zip(given, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
