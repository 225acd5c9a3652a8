"""The painter's memory: motion of layers, what is recalled, kept and painted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from painted_crops import (
    STILL,
    R,
    changed_memory,
    crossing,
    masked,
    seeded_hdrm,
    smooth,
    view_of,
)
from torch.nn import functional

from hdrvideo.build import memory_net
from hdrvideo.engine import make_runner
from hdrvideo.errors import ShapeError
from hdrvideo.frame.hdrm import HdrmNet, find_regions, layers_seen
from hdrvideo.geometry import CropSquare
from hdrvideo.motion.carry import LayerMotion, View, find_motion
from hdrvideo.motion.flow import DisFlow, Flow
from hdrvideo.motion.memory import (
    FADING,
    OUTLINE,
    SEEN_WORTH,
    Answer,
    Layers,
    MemoryNet,
    recall,
    remember,
    told,
)


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


# HDRM's own part.


def test_what_fuses_features_sees_every_stage_and_none_changes_nothing(hdrm):
    seen, stages = torch.cat([smooth(0, 1, 3), crossing()], dim=1), []
    alone = hdrm(seen)
    kept = hdrm(seen, lambda number, x: stages.append((number, tuple(x.shape[1:]))) or x)
    other = hdrm(seen, lambda number, x: x + (number == 2))
    assert all(torch.equal(a, b) for a, b in zip(alone, kept, strict=True))
    assert [number for number, _ in stages] == [1, 2, 3, 4, 5, 6]
    assert stages[1] == (2, (48, R // 4, R // 4))
    assert not torch.equal(other[0], alone[0])
    assert torch.equal(other[1], alone[1])


def test_layers_are_seen_off_their_outlines():
    masks = torch.zeros(1, 4, 16, 16)
    masks[:, 1, 2:14, 2:10] = 1
    masks[:, 0, 2:8, 2:10] = 1
    masks[:, 2:, 8:14, 2:14] = 1
    hand, ground = layers_seen(find_regions(masks))[0]
    assert hand.nonzero().amin(dim=0).tolist() == [3, 3]
    assert hand.nonzero().amax(dim=0).tolist() == [6, 8]
    # Neither of a hand nor next to one; the picture's border is no outline.
    assert ground[0, 0] == ground[0, 15] == 1
    assert not ground[1:15, 1:11].any()


# Motion.


def moved(rgb: torch.Tensor, right_px: int) -> torch.Tensor:
    return torch.roll(rgb, right_px, dims=-1)


def test_each_layer_moves_as_it_is_seen_to_and_its_hidden_part_with_it():
    """The hand goes 3 px to the right behind a bar that stands still, as the ground does."""
    picture, hand_rgb, bar = smooth(1, 1, 3), smooth(2, 1, 3), smooth(3, 1, 3)

    def shown(by_px: int) -> tuple[torch.Tensor, torch.Tensor]:
        masks = crossing()
        own = moved(masks[:, 1:2], by_px)
        rgb = torch.where(own > 0, moved(hand_rgb, by_px), picture)
        masks = torch.cat([own * (1 - masks[:, 2:3]), own, masks[:, 2:]], dim=1)
        return torch.where(masks[:, 2:3] > 0, bar, rgb), masks

    before, now = (torch.cat(shown(by_px), dim=1) for by_px in (0, 3))
    motion = find_motion(DisFlow(), view_of(now), view_of(before))
    lines = torch.arange(R, dtype=torch.float32)
    way = motion.place_px - torch.stack(torch.meshgrid(lines, lines, indexing="xy"), dim=-1)
    hidden = (now[:, 4] > 0) & (now[:, 5] > 0)
    hand, ground = way[:, 0][hidden], way[:, 1][hidden]
    assert (hand - torch.tensor([-3.0, 0.0])).norm(dim=1).mean() < 0.7
    assert ground.norm(dim=1).mean() < 0.5
    assert motion.trust.min() >= 0
    assert motion.trust[:, 0][hidden].mean() > 0.6


@pytest.mark.parametrize(
    "square", [CropSquare(70, 60, 120, 0.3), CropSquare(63.5, 63.5, 128, 0.0, True)]
)
def test_squares_that_differ_are_no_motion(square):
    """One picture in two squares: each place leads to the same point of the frame."""
    affine = square.frame_from_crop(R)
    picture = smooth(4, 1, 3)
    lines = np.stack(np.meshgrid(np.arange(R), np.arange(R)), axis=-1) @ affine[:, :2].T
    at = torch.from_numpy(((2 * (lines + affine[:, 2]) + 1) / R - 1).astype(np.float32))[None]
    cut = functional.grid_sample(picture, at, padding_mode="border", align_corners=False)
    everywhere = torch.ones(1, 2, R, R)
    now = View(cut, everywhere, affine[None])
    motion = find_motion(DisFlow(), now, View(picture, everywhere, STILL[None]))
    wanted = torch.from_numpy(lines + affine[:, 2]).float()
    inside = ((wanted > 8) & (wanted < R - 8)).all(dim=-1)
    for layer in motion.place_px[0]:
        assert (layer - wanted).norm(dim=-1)[inside].mean() < 0.3


def test_a_layer_that_is_not_seen_in_both_has_no_trust_and_stands_still():
    flow = Flow(torch.full((1, R, R, 2), 5.0), torch.ones(1, R, R))
    rgb, nothing = smooth(5, 1, 3), torch.zeros(1, 2, R, R)
    affine = STILL[None]
    for pair in ((nothing, nothing + 1), (nothing + 1, nothing)):
        now, before = (View(rgb, sees, affine) for sees in pair)
        motion = find_motion(lambda _: flow, now, before)
        assert not motion.trust.any()
        assert torch.equal(motion.place_px[0, 0, 7, 9], torch.tensor([9.0, 7.0]))


def test_views_and_motions_check_themselves():
    rgb = torch.zeros(1, 3, R, R)
    with pytest.raises(ShapeError, match=r"sees is torch.float32 \(1, 3, 128, 128\), expected"):
        View(rgb, rgb, STILL[None])
    with pytest.raises(ShapeError, match="frame_from_crop is float64"):
        View(rgb, rgb[:, :2], STILL)
    with pytest.raises(ShapeError, match=r"place_px is torch\.float32"):
        LayerMotion(torch.zeros(1, 2, R, R, 3), torch.zeros(1, 2, R, R))


# What is remembered.


def still(trust: float = 1.0) -> LayerMotion:
    lines = torch.arange(R, dtype=torch.float32)
    here = torch.stack(torch.meshgrid(lines, lines, indexing="xy"), dim=-1)
    return LayerMotion(
        here.expand(1, 2, -1, -1, -1).contiguous(), torch.full((1, 2, R, R), float(trust))
    )


def test_what_is_seen_is_remembered_and_fades_with_age_and_distrust():
    seen = masked(6, crossing())
    sees = view_of(seen).sees
    layers = Layers.of_seen(seen, sees, 48)
    assert torch.equal(layers.worth[:, :, 0], SEEN_WORTH * sees)
    assert torch.equal(layers.outline, crossing()[:, 1:2])
    assert not layers.features.any()
    once, steady = recall(layers, still(), seen)
    torch.testing.assert_close(once.worth[:, :, 0], sees * SEEN_WORTH / (1 + FADING * SEEN_WORTH))
    known = sees[:, :, None].expand_as(once.rgb) > 0
    torch.testing.assert_close(once.rgb[known], layers.rgb[known], atol=1e-4, rtol=0)
    torch.testing.assert_close(steady, seen)
    twice, _ = recall(once, still(), seen)
    assert (twice.worth <= once.worth).all()
    torch.testing.assert_close(recall(layers, still(0.25), seen)[0].worth, once.worth / 2)
    assert not recall(layers, still(0.0), seen)[0].worth.any()
    away = LayerMotion(still().place_px + 1000, still().trust)
    assert not recall(layers, away, seen)[0].worth.any()


def test_colours_beside_what_is_known_do_not_bleed_into_it():
    seen = masked(6, crossing())
    seen[:, :3] = 0
    seen[:, :3, :, 64:] = 1
    sees = torch.zeros(1, 2, R, R)
    sees[..., 64:] = 1
    half = LayerMotion(still().place_px - 0.5, still().trust)
    recalled, _ = recall(Layers.of_seen(seen, sees, 16), half, seen)
    known = recalled.worth.expand_as(recalled.rgb) > 0
    assert known.any()
    torch.testing.assert_close(recalled.rgb[known], torch.ones_like(recalled.rgb[known]))
    assert recalled.worth[0, 0, 0, 5, 64] == pytest.approx(
        SEEN_WORTH / 2 / (1 + SEEN_WORTH / 2 * FADING)
    )


def test_features_move_in_their_own_cells():
    seen = masked(7, crossing())
    layers = replace(
        Layers.of_seen(seen, view_of(seen).sees, 16), features=smooth(8, 1, 16)[..., :32, :32]
    )
    by_cells = LayerMotion(still().place_px + torch.tensor([8.0, -4.0]), still().trust)
    found = recall(layers, by_cells, seen)[0].features
    torch.testing.assert_close(found[..., 1:, :-2], layers.features[..., :-1, 2:])
    assert not found[..., 0, :].any()


def test_the_outline_is_a_mean_with_the_one_remembered_where_the_hand_is_hidden():
    """A hidden part that is told only now and then does not come and go."""
    seen, cut = masked(8, crossing()), masked(8, crossing())
    cut[:, 4:5] *= 1 - cut[:, 5:6]
    layers = Layers.of_seen(seen, view_of(seen).sees, 16)
    hidden = seen[:, 4:5] > seen[:, 3:4]
    for trust, share in ((1.0, OUTLINE), (0.25, OUTLINE / 2), (0.0, 0.0)):
        recalled, steady = recall(layers, still(trust), cut)
        assert torch.equal(recalled.outline, steady[:, 4:5])
        torch.testing.assert_close(steady[:, 4:5][hidden], torch.full((1000,), share))
        assert torch.equal(steady[:, 4:5][~hidden], cut[:, 4:5][~hidden])
        others = [0, 1, 2, 3, 5, 6]
        assert torch.equal(steady[:, others], cut[:, others])
    # Far from what hides it a hand's outline is that of now.
    wide = replace(layers, outline=torch.ones_like(layers.outline))
    found = recall(wide, still(), seen)[1][:, 4]
    near = functional.max_pool2d(torch.maximum(seen[:, 5:6], hidden.float()), 7, 1, 3)[:, 0] > 0
    assert torch.equal(found[~near], seen[:, 4][~near])
    assert (found[near] >= OUTLINE - 1e-6).all()
    # What is seen of the hand is of the hand, whatever was remembered.
    nothing = replace(layers, outline=0 * layers.outline)
    assert (recall(nothing, still(), seen)[1][:, 4] >= seen[:, 3]).all()


def answer_of(rgb: torch.Tensor, weight: torch.Tensor, worth: float = 3.0) -> Answer:
    worths = torch.full_like(weight, worth)
    return Answer(rgb, weight, worths, torch.full((1, 16, R // 4, R // 4), 0.5))


def test_what_is_seen_counts_before_what_is_painted_and_the_rest_stays():
    seen = masked(9, crossing())
    sees = view_of(seen).sees
    old = Layers.of_seen(masked(10, crossing()), torch.full((1, 2, R, R), 0.5), 16)
    weight = torch.zeros(1, 1, R, R)
    weight[..., 30:100, 50:80] = 0.4
    painted = smooth(11, 1, 3)
    kept = remember(old, seen, sees, answer_of(painted, weight))
    is_painted, is_hand = weight[:, 0] > 0, seen[:, 4] > 0
    for layer, here in ((0, is_hand), (1, ~is_hand)):
        is_seen = (sees[:, layer] > 0) & ~is_painted
        made = here & is_painted
        rest = ~is_seen & ~made
        for where, rgb, worth in (
            (is_seen, seen[:, :3], SEEN_WORTH),
            (made, painted, 3.0),
            (rest, old.rgb[:, layer], SEEN_WORTH / 2),
        ):
            assert where.any()
            found = kept.rgb[:, layer].permute(0, 2, 3, 1)[where]
            assert torch.equal(found, rgb.permute(0, 2, 3, 1)[where])
            assert (kept.worth[:, layer, 0][where] == worth).all()
    assert torch.equal(kept.outline, old.outline)
    assert (kept.features == 0.5).all()


def test_layers_check_themselves_and_are_joined_in_their_order():
    parts = [Layers.of_seen(masked(k, crossing()), smooth(k, 1, 2), 16) for k in (1, 2)]
    with pytest.raises(ShapeError, match=r"worth is torch\.float32"):
        replace(parts[0], worth=parts[0].worth[:, :, 0])
    with pytest.raises(ShapeError, match=r"outline is torch\.float32"):
        replace(parts[0], outline=parts[0].outline[:, 0])
    both = Layers.join(parts)
    for k, part in enumerate(parts):
        for name in ("rgb", "worth", "outline", "features"):
            assert torch.equal(getattr(both.only(k), name), getattr(part, name))
    assert not Layers.nothing(masked(1, crossing()), 16).worth.any()


# The net.


def remembered(seed: int, seen: torch.Tensor, worth: float) -> Layers:
    """Give layers of random colours and features, all worth the same."""
    return Layers(
        smooth(seed, len(seen), 2, 3),
        torch.full((len(seen), 2, 1, R, R), worth),
        seen[:, 4:5],
        smooth(seed + 1, len(seen), 48)[..., :32, :32],
    )


def test_where_nothing_is_remembered_the_painter_says_what_it_says_alone(hdrm, net, changed):
    seen = masked(12, crossing())
    alone, weight = hdrm(seen)
    for memory in (net, changed):
        answer = Answer.from_outputs(memory(told(seen, Layers.nothing(seen, 48))))
        assert torch.equal(answer.rgb, alone.clamp(0, 1))
        assert torch.equal(answer.weight, weight)
        assert (answer.worth == 1).all()


def test_untrained_it_averages_colours_by_their_worth(hdrm, net):
    seen = masked(13, crossing())
    layers = remembered(14, seen, 3.0)
    answer = Answer.from_outputs(net(told(seen, layers)))
    alone, _ = hdrm(seen)
    rgb, _ = layers.of_hand()
    is_hand = (seen[:, 4:5] > 0).expand_as(rgb)
    assert torch.equal(rgb[is_hand], layers.rgb[:, 0][is_hand])
    assert torch.equal(rgb[~is_hand], layers.rgb[:, 1][~is_hand])
    torch.testing.assert_close(answer.rgb, 0.25 * alone.clamp(0, 1) + 0.75 * rgb)
    assert (answer.worth == 4).all()
    kept = []
    hdrm(seen, lambda number, x: kept.append(x) or x)
    torch.testing.assert_close(answer.features, kept[1])


def test_without_gates_it_says_the_same_and_keeps_no_features(net, plain):
    seen = masked(15, crossing())
    layers = remembered(16, seen, 1.5)
    assert plain.n_channels == 7 + 4
    assert list(plain.state_dict()) == [f"painter.{n}" for n in plain.painter.state_dict()]
    bare = replace(layers, features=layers.features[:, :0])
    one = Answer.from_outputs(net(told(seen, layers)))
    two = Answer.from_outputs(plain(told(seen, bare)))
    for name in ("rgb", "weight", "worth"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert two.features.shape == (1, 0, R // 4, R // 4)
    kept, _ = recall(Layers.of_seen(seen, view_of(seen).sees, 0), still(), seen)
    assert kept.features.shape == (1, 0, R // 4, R // 4)


def test_gates_learn_from_the_first_step_on(hdrm):
    net = memory_net(hdrm, gated=True)
    seen = masked(16, crossing())
    rgb, *_ = net(told(seen, remembered(17, seen, 1.0)))
    rgb.square().sum().backward()
    for part in (net.cells[-1].weight, net.pixels[-1].weight):
        assert part.grad.isfinite().all()
        assert part.grad.any()


@pytest.mark.parametrize("gated", [True, False])
def test_openvino_says_what_torch_says(changed, plain, gated):
    pytest.importorskip("openvino")
    net, seen = (
        (changed if gated else plain),
        torch.cat([masked(19, crossing()), masked(20, crossing(70))]),
    )
    layers = remembered(21, seen, 2.0)
    given = told(seen, layers if gated else replace(layers, features=layers.features[:, :0]))
    assert given.shape[1] == net.n_channels
    runner = make_runner(net, "openvino", resolution_px=R, n_channels=net.n_channels)
    for one, two in zip(net(given), runner(given), strict=True):
        torch.testing.assert_close(one, two, atol=2e-4, rtol=1e-3)
