"""The memory that looks ahead: a row of crops painted from both sides, masks steadied, fused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from painted_crops import CPU, STILL, R, crop_of, crossing, masked, smooth
from torch.nn import functional

from hdrvideo.build import build_parts, memory_net
from hdrvideo.config import MotionSettings, Settings
from hdrvideo.datatypes import HandCrops
from hdrvideo.errors import ShapeError
from hdrvideo.frame.hdrm import HdrmNet, find_regions, layers_seen
from hdrvideo.frame.painter import AheadHdrm, SteadyHdrm
from hdrvideo.geometry import CropSquare
from hdrvideo.motion.ahead import SIGHT_ENOUGH, CropRow, PaintAhead, _Brought, fused
from hdrvideo.motion.flow import DisFlow, Flow
from hdrvideo.motion.memory import Layers
from hdrvideo.motion.steady import PaintMemory


def no_motion(pair) -> Flow:
    b = len(pair.first_rgb)
    return Flow(torch.zeros(b, R, R, 2), torch.ones(b, R, R))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return memory_net(HdrmNet().eval().requires_grad_(False), gated=False).eval()


def ahead_of(net, flow=no_motion) -> AheadHdrm:
    memory = PaintAhead(net, flow, n_features=net.n_features, device=CPU)
    return AheadHdrm(memory, resolution_px=R)


PICTURE, BAR = smooth(1, 1, 3), smooth(2, 1, 3)
WHOLE = torch.cat([crossing()[:, 1:2]] * 2 + [torch.zeros(1, 2, R, R)], dim=1)


def shown(at: int | None) -> HandCrops:
    """Give the still hand with the bar over it, or as it is."""
    masks = WHOLE if at is None else crossing(at)
    return crop_of(torch.where(masks[:, 2:3] > 0, BAR, PICTURE), masks)


def hidden(at: int) -> torch.Tensor:
    return (crossing(at)[:, 2:3] * crossing(at)[:, 1:2] > 0).expand_as(PICTURE)[0]


def test_a_pixel_that_is_uncovered_only_later_gets_its_later_colour(net):
    """The bar lies on the hand from the first frame on and moves away: only later says all."""
    row = [shown(55), shown(55), shown(None)]
    bare = ahead_of(net)(row, [0, 1])
    assert sorted(bare) == [0, 1]
    # What lies on the hand's outline is not seen for sure.
    at = hidden(55).clone()
    at[:, :42] = at[:, 88:] = False
    np.testing.assert_allclose(bare[1][at], PICTURE[0][at], atol=2e-3)
    memory = PaintMemory(net, no_motion, n_features=0, device=CPU)
    back, _ = SteadyHdrm(memory, resolution_px=R)(row[1], [None])
    assert (back.rgb[0] - PICTURE[0])[at].abs().mean() > 0.05
    # And one that was seen only before gets that, just so.
    turned = ahead_of(net)(row[::-1], [1, 2])
    for place in (0, 1):
        torch.testing.assert_close(turned[2 - place], bare[place], atol=1e-5, rtol=0)


def test_a_row_turned_round_gives_its_pictures_turned_round(net):
    row = [shown(at) for at in (30, 40, None, 55, 70)]
    wanted = [0, 1, 3, 4]
    bare = ahead_of(net, DisFlow())(row, wanted)
    turned = ahead_of(net, DisFlow())(row[::-1], [4 - place for place in wanted])
    for place in wanted:
        torch.testing.assert_close(turned[4 - place], bare[place], atol=1e-4, rtol=0)


def test_a_row_of_one_crop_is_painted_as_if_nothing_were_remembered(net):
    memory = PaintMemory(net, no_motion, n_features=0, device=CPU)
    alone, _ = SteadyHdrm(memory, resolution_px=R)(shown(55), [None])
    (bare,) = ahead_of(net)([shown(55)], [0]).values()
    torch.testing.assert_close(bare, alone.rgb[0], atol=1e-6, rtol=0)
    assert ahead_of(net)([shown(55)], []) == {}


def test_crops_are_painted_the_same_whichever_others_are_wanted(net):
    row = [shown(at) for at in (30, 40, 55)]
    every, one = ahead_of(net)(row, [0, 1, 2]), ahead_of(net)(row, [1])
    assert list(one) == [1]
    torch.testing.assert_close(one[1], every[1], atol=1e-6, rtol=0)


def test_where_nothing_is_hidden_the_crop_stays_to_the_bit(net):
    bare = ahead_of(net)([shown(None), shown(None)], [0])
    assert torch.equal(bare[0], PICTURE[0])


def test_masks_that_flicker_are_steadied_from_both_sides(net):
    """In one frame of five the bar is told as the hand: it is painted over all the same."""
    row = [shown(55) for _ in range(5)]
    wrong = row[2].masks.clone()
    wrong[:, 0] = wrong[:, 1]
    wrong[:, 2:] = 0
    row[2] = replace(row[2], masks=wrong)
    bare = ahead_of(net)(row, [1, 2])
    at = hidden(55)
    assert (row[2].rgb[0] - bare[2])[at].abs().mean() > 0.05
    assert (bare[1] - bare[2])[at].abs().mean() < 0.01


def brought(seen, rgb: float, worth: float, sight_worth: float) -> _Brought:
    layers = Layers.nothing(seen, 16)
    colours = torch.full_like(layers.rgb, rgb)
    every = replace(layers, rgb=colours, worth=layers.worth + worth)
    return _Brought(every, replace(every, worth=layers.worth + sight_worth))


def test_sights_and_guesses_are_fused_by_worth():
    seen = masked(3, crossing())
    guesses = fused(brought(seen, 0.2, 1.0, 0.0), brought(seen, 0.6, 3.0, 0.0))
    torch.testing.assert_close(guesses.rgb, torch.full_like(guesses.rgb, 0.5))
    torch.testing.assert_close(guesses.worth, torch.full_like(guesses.worth, 4.0))
    # What one run saw stands before what the other guessed, whatever that is worth.
    both = fused(brought(seen, 0.2, 20.0, 0.0), brought(seen, 0.6, 1.0, SIGHT_ENOUGH))
    assert (both.worth > 1000).all()
    torch.testing.assert_close(both.rgb, torch.full_like(both.rgb, 0.6), atol=1e-3, rtol=0)
    # Half of what is enough leaves half of the picture to guesses.
    half = fused(brought(seen, 0.0, 1.0, 0.0), brought(seen, 1.0, 0.0, SIGHT_ENOUGH / 2))
    share = half.worth / (1 + half.worth)
    torch.testing.assert_close(share * half.rgb, torch.full_like(half.rgb, 0.5))
    torch.testing.assert_close(1 - share, torch.full_like(share, 0.25))


def test_features_are_the_mean_of_those_that_are_there():
    seen = masked(4, crossing())
    a, b = (brought(seen, 0.5, 1.0, 0.0) for _ in range(2))
    there = torch.zeros_like(a.all.features)
    there[..., :16] = 2.0
    a = replace(a, all=replace(a.all, features=there))
    assert torch.equal(fused(a, b).features, there)
    b = replace(b, all=replace(b.all, features=torch.full_like(there, 4.0)))
    assert fused(a, b).features.unique().tolist() == [3.0, 4.0]


def test_gates_and_features_may_be_had_too():
    torch.manual_seed(1)
    gated = memory_net(HdrmNet().eval().requires_grad_(False), gated=True).eval()
    row = [shown(30), shown(55)]
    with torch.inference_mode():
        bare = ahead_of(gated)(row, [0, 1])
    assert bare[0].shape == (3, R, R)
    assert bare[0].isfinite().all()


def test_rows_check_themselves():
    seen = masked(5, crossing())
    sees = layers_seen(find_regions(seen[:, 3:]))
    needed = torch.ones(1, dtype=torch.bool)
    assert len(CropRow(seen, sees, needed, STILL[None])) == 1
    with pytest.raises(ShapeError, match=r"needed is torch\.float32"):
        CropRow(seen, sees, needed.float(), STILL[None])
    with pytest.raises(ShapeError, match=r"sees is torch\.float32"):
        CropRow(seen, sees[:, :1], needed, STILL[None])


def test_pictures_look_ahead_only_with_a_memory_that_may():
    plain = {"shpe": "landmark", "refine": "off", "engine": "torch"}
    causal = MotionSettings(causal=True)
    for there, more in (
        (True, {}),
        (False, {"memory": "off"}),
        (False, {"hasm": "off"}),
        (False, {"motion": causal}),
        (False, {"motion": MotionSettings(ahead_frames=12)}),
    ):
        assert (build_parts(Settings(**plain, **more), CPU).ahead is not None) == there


def test_crops_of_another_size_come_back_at_their_own(net):
    row = []
    for at in (30, 55):
        crop = shown(at)
        rgb, masks = (functional.interpolate(x, size=(224, 224)) for x in (crop.rgb, crop.masks))
        affine = CropSquare(63.5, 63.5, R).frame_from_crop(224)[None]
        row.append(HandCrops(rgb, affine, np.array([False]), masks))
    bare = ahead_of(net)(row, [1])
    assert bare[1].shape == (3, 224, 224)
    inside = row[1].masks[0, 2] * row[1].masks[0, 1] > 0
    assert (bare[1] - row[1].rgb[0])[:, inside].abs().mean() > 0.05
    # Where nothing is painted it is the crop that came, to the bit.
    assert torch.equal(bare[1][:, :20, :20], row[1].rgb[0, :, :20, :20])
