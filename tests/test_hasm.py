"""The small HASM: interface, alignment, and what it is told."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from hdrvideo.checkpoint import load_weights
from hdrvideo.errors import ShapeError
from hdrvideo.frame.blocks import places_like
from hdrvideo.frame.hasm import HandMasks, Hasm, HasmNet
from hdrvideo.frame.pair import HasmReader, PairJoints, PairMaps, read_pair

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(2)
    made = HasmNet()
    # As trained, it listens to its hints from the stem on.
    torch.nn.init.normal_(made.hint2.weight, std=0.3)
    return made.eval()


def pictures(n: int, side_px: int = 64, seed: int = 0) -> torch.Tensor:
    """Make pictures with hints; the first has none."""
    rough = torch.rand(n, 6, 8, 8, generator=torch.Generator().manual_seed(seed))
    rough[:, 5] = 1
    rough[0, 3:] = 0
    return functional.interpolate(rough, size=(side_px, side_px), mode="bilinear")


def plain_pictures(side_px: int = 128) -> torch.Tensor:
    plain = torch.zeros(1, 6, side_px, side_px)
    plain[:, :3] = 0.5
    return plain


@pytest.mark.parametrize("side_px", [64, 160, 192])
def test_masks_are_half_the_pictures_size(net, side_px):
    with torch.inference_mode():
        whole, share, presence, *maps = net(pictures(2, side_px))
    masks, joints = HandMasks(whole, share, presence), PairMaps(*maps)
    assert joints.heat_logit.shape == (2, 42, side_px // 8, side_px // 8)
    cells = side_px // HasmNet.STRIDE
    assert masks.whole_logit.shape == masks.share_logit.shape == (2, 2, cells, cells)
    assert masks.presence_logit.shape == (2, 2)
    assert (masks.visible <= masks.amodal).all()
    for values in (masks.visible, masks.amodal, masks.presence):
        assert 0 < values.min() <= values.max() < 1
        assert values.std() > 0


def test_probabilities_are_those_of_the_logits():
    draw = torch.Generator().manual_seed(1)
    whole, share = torch.randn(2, 3, 2, 4, 5, generator=draw) * 5
    there = torch.randn(3, 2, generator=draw)
    masks = HandMasks(whole, share, there)
    torch.testing.assert_close(masks.amodal, 1 / (1 + torch.exp(-whole)))
    expected = 1 / ((1 + torch.exp(-whole)) * (1 + torch.exp(-share)))
    torch.testing.assert_close(masks.visible, expected)
    torch.testing.assert_close(masks.presence, 1 / (1 + torch.exp(-there)))


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (0, torch.zeros(3, 4, 5, 5), "whole_logit"),
        (0, torch.zeros(3, 2, 5, 5, dtype=torch.float16), "whole_logit is torch.float16"),
        (1, torch.zeros(3, 2, 5, 6), r"share_logit is .* \(3, 2, 5, 6\), expected .* \(3, 2, 5, 5"),
        (2, torch.zeros(3, 1), "presence_logit"),
    ],
)
def test_masks_that_do_not_fit_together_are_refused(place, value, text):
    parts = [torch.zeros(3, 2, 5, 5), torch.zeros(3, 2, 5, 5), torch.zeros(3, 2)]
    HandMasks(*parts)
    parts[place] = value
    with pytest.raises(ShapeError, match=text):
        HandMasks(*parts)


def test_a_batch_gives_what_single_pictures_give(net):
    batch = pictures(3)
    with torch.inference_mode():
        together = net(batch)
        alone = [net(picture[None]) for picture in batch]
    for i, whole in enumerate(together):
        single = torch.cat([one[i] for one in alone])
        torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-5)


def test_each_mask_has_its_own_tail(net):
    with torch.no_grad():
        before = torch.cat(net(pictures(1))[:2], dim=1)
        for i in range(4):
            net.tails.bias[i] += 1
            after = torch.cat(net(pictures(1))[:2], dim=1)
            net.tails.bias[i] -= 1
            moved = (after - before).mean(dim=(0, 2, 3))
            expected = functional.one_hot(torch.tensor(i), 4).float()
            torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("what", ["picture", "hints"])
def test_masks_lie_where_the_picture_is(net, what):
    """A change in one corner, of either, moves the masks most in that corner."""
    plain = plain_pictures()
    channels = slice(3) if what == "picture" else slice(3, 6)
    for u, v in ((20, 100), (100, 20)):
        spotted = plain.clone()
        spotted[:, channels, v - 8 : v + 8, u - 8 : u + 8] = 1
        with torch.inference_mode():
            change = (net(spotted)[0] - net(plain)[0]).abs().sum(dim=(0, 1))
        row, column = divmod(int(change.argmax()), change.shape[1])
        assert abs(2 * row - v) <= 16
        assert abs(2 * column - u) <= 16


def test_the_place_in_the_picture_counts(net):
    """What hangs on the coordinates alone pulls left against right, and top against bottom."""
    plain = plain_pictures()
    with torch.no_grad():
        for axis in range(2):
            before = net(plain)[0]
            net.place.weight[:, axis] += 0.1
            change = net(plain)[0] - before
            net.place.weight[:, axis] -= 0.1
            halves = change.chunk(2, dim=3 - axis)
            gap = (halves[0].mean() - halves[1].mean()).abs()
            other = change.chunk(2, dim=2 + axis)
            assert gap > 5 * (other[0].mean() - other[1].mean()).abs()
            assert gap > 1e-3


def test_places_run_from_minus_one_to_one():
    places = places_like(torch.zeros(2, 7, 3, 5))
    assert places.shape == (1, 2, 3, 5)
    for row in range(3):
        for column in range(5):
            u, v = places[0, :, row, column].tolist()
            assert (u, v) == pytest.approx((-1 + column / 2, -1 + row))


def test_every_parameter_gets_a_gradient(net):
    """Training by many workers stops at one that does not."""
    sum(part.square().sum() for part in net(pictures(2))).backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    net.zero_grad(set_to_none=True)
    assert not still


def test_weights_go_through_a_file_of_half_precision(net, tmp_path):
    path = tmp_path / "hasm.safetensors"
    save_file({name: value.half() for name, value in net.state_dict().items()}, path)
    back = HasmNet().eval()
    load_weights(back, path)
    for name, value in back.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, net.state_dict()[name].half().float()), name
    with torch.inference_mode():
        ours, theirs = (HandMasks(*n(pictures(2))[:3]) for n in (net, back))
    for name in ("visible", "amodal", "presence"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0.01)


def test_whatever_runs_the_net_gives_masks(net):
    seen = []

    def run(rgb: torch.Tensor):
        seen.append((rgb.device, torch.is_inference_mode_enabled()))
        return [out.double() for out in HasmReader(net)(rgb)]

    hasm = Hasm(run, device=CPU)
    seen_pair = hasm(pictures(2))
    assert hasm.resolution_px == HasmNet.RESOLUTION_PX == 192
    assert seen == [(CPU, True)]
    with torch.inference_mode():
        whole, share, presence, *maps = net(pictures(2))
    expected = HandMasks(whole, share, presence)
    for name in ("whole_logit", "share_logit", "presence_logit"):
        assert torch.equal(getattr(seen_pair.masks, name), getattr(expected, name))
    read = read_pair(PairMaps(*maps), 64)
    for name in PairJoints.__dataclass_fields__:
        torch.testing.assert_close(getattr(seen_pair.joints, name), getattr(read, name))
