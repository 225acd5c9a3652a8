"""The painter's memory, frame after frame: what was seen is painted, and each hand alone."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from painted_crops import (
    CPU,
    R,
    changed_memory,
    crop_of,
    crossing,
    seeded_hdrm,
    smooth,
)
from torch.nn import functional

from hdrvideo.build import build_parts, memory_net
from hdrvideo.config import Settings, settings_from
from hdrvideo.datatypes import HandCrops
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hdrm import HdrmNet
from hdrvideo.frame.painter import Hdrm, SteadyHdrm
from hdrvideo.geometry import CropSquare
from hdrvideo.motion.flow import DisFlow
from hdrvideo.motion.memory import (
    Answer,
    MemoryNet,
)
from hdrvideo.motion.steady import PaintMemory


@pytest.fixture(scope="module")
def hdrm() -> HdrmNet:
    return seeded_hdrm()


@pytest.fixture(scope="module")
def net(hdrm) -> MemoryNet:
    return memory_net(hdrm, gated=True).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def plain(hdrm) -> MemoryNet:
    """Give a memory without gates."""
    return memory_net(hdrm, gated=False).eval()


@pytest.fixture(scope="module")
def changed(hdrm) -> MemoryNet:
    return changed_memory(hdrm)


def steady_of(net: MemoryNet) -> SteadyHdrm:
    memory = PaintMemory(net, DisFlow(), n_features=net.n_features, device=CPU)
    return SteadyHdrm(memory, resolution_px=R)


def test_what_was_seen_before_it_was_hidden_is_painted(plain, hdrm):
    """A bar moves over a still hand: where it is now the hand was seen in the frame before."""
    picture, bar = smooth(23, 1, 3), smooth(24, 1, 3)

    def shown(at: int) -> HandCrops:
        masks = crossing(at)
        return crop_of(torch.where(masks[:, 2:3] > 0, bar, picture), masks)

    steady, alone_too = steady_of(plain), Hdrm(hdrm, resolution_px=R, device=CPU)
    _, (kept,) = steady(shown(30), [None])
    bare, (after,) = steady(shown(55), [kept])
    assert after is not None
    hidden = (crossing(55)[:, 2:3] * crossing(55)[:, 1:2] > 0).expand_as(picture)
    alone = alone_too(shown(55).rgb, shown(55).masks).rgb

    def error(rgb: torch.Tensor) -> float:
        return float((rgb - picture)[hidden].abs().mean())

    assert error(bare.rgb) < 0.5 * error(alone)
    # Of the hand as it was when nothing hid it, just its crop is told.
    whole = crop_of(picture, torch.cat([crossing()[:, 1:2]] * 2 + [torch.zeros(1, 2, R, R)], 1))
    assert error(steady(shown(55), [whole])[0].rgb) < 0.5 * error(alone)
    # Without a past it is what HDRM says alone, to the bit.
    assert torch.equal(steady(shown(55), [None])[0].rgb, alone)
    unhidden, (nothing,) = steady(whole, [kept])
    assert torch.equal(unhidden.rgb, picture)
    assert not unhidden.is_painted.any()
    assert nothing is None


def test_a_still_hand_is_painted_ever_more_alike(plain):
    """Of noisy pictures paintings differ by less and less from those before."""
    steady, past, rows = steady_of(plain), None, []
    for n in range(6):
        noise = 0.2 * torch.randn(1, 3, R, R, generator=torch.Generator().manual_seed(n))
        bare, (past,) = steady(crop_of((smooth(25, 1, 3) + noise).clamp(0, 1), crossing()), [past])
        rows.append(bare.rgb)
    hidden = (crossing()[:, 2:3] > 0).expand_as(rows[0])
    steps = [float((a - b)[hidden].abs().mean()) for a, b in pairwise(rows)]
    assert steps[-1] < 0.6 * steps[0]


def test_hands_of_a_batch_are_each_painted_alone(changed):
    steady = steady_of(changed)
    a, b = crop_of(smooth(26, 1, 3), crossing()), crop_of(smooth(27, 1, 3), crossing(70))
    pasts = [steady(crop, [None])[1][0] for crop in (a, b)]
    both = HandCrops(
        torch.cat([b.rgb, a.rgb]),
        np.concatenate([b.frame_from_crop, a.frame_from_crop]),
        np.array([False, False]),
        torch.cat([b.masks, a.masks]),
    )
    together, _ = steady(both, pasts[::-1])
    for k, (crop, past) in enumerate(((b, pasts[1]), (a, pasts[0]))):
        alone, _ = steady(crop, [past])
        torch.testing.assert_close(together.rgb[k], alone.rgb[0], atol=1e-5, rtol=0)


def test_crops_of_another_size_are_remembered_in_the_nets_pixels(net):
    """A square told in pixels of 224 is told in the net's own to its motion finder."""
    asked = []

    class Spy:
        def begin(self, seen, sees, frame_from_crop):
            return "begun"

        def paint(self, seen, sees, frame_from_crop, before):
            asked.append((tuple(seen.shape), frame_from_crop, before))
            return Answer(seen[:, :3], seen[:, :1], seen[:, :1], seen), ["kept"]

    square = CropSquare(100, 90, 180, 0.4, True)
    rgb, masks = (
        functional.interpolate(x, size=(224, 224)) for x in (smooth(28, 1, 3), crossing())
    )
    crops = HandCrops(rgb, square.frame_from_crop(224)[None], np.array([True]), masks)
    bare, after = SteadyHdrm(Spy(), resolution_px=R)(crops, [crops])
    assert bare.rgb.shape == (1, 3, 224, 224)
    assert after == ["kept"]
    shape, affine, before = asked[0]
    assert shape == (1, 7, R, R)
    assert before == ["begun"]
    np.testing.assert_allclose(affine[0], square.frame_from_crop(R), atol=1e-9)


def test_the_setting_is_checked_and_chooses_the_painter(monkeypatch):
    assert settings_from({"memory": "off"}).memory == "off"
    with pytest.raises(SettingsError, match=r"Settings\.memory is 'small', expected 'on' or 'off'"):
        Settings(memory="small")
    for memory, hasm in (("on", "small"), ("off", "small"), ("on", "off")):
        settings = Settings(memory=memory, hasm=hasm, shpe="landmark", refine="off", engine="torch")
        stage = build_parts(settings, CPU).frame_stage
        assert stage.can_paint == (hasm == "small")
        assert stage.remembers == (memory == "on" and hasm == "small")
