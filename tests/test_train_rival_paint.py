"""Lessons of the rivals that paint: PCNet-C and Human De-occlusion."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bare_hands import STILL, write_bare
from rival_hands import TINY_HOLES, TINY_HUMAN, R, seeded

from hdrvideo.config import build_settings
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hdrm import find_regions
from hdrvideo.rivals.human_deocclusion import HumanDeocclusion
from hdrvideo.rivals.pcnet_content import PcnetContentNet
from hdrvideo.train.bare_crops import CropSettings
from hdrvideo.train.human_recipe import (
    HumanRecipe,
    HumanTask,
    HumanWeights,
    correlation_distance,
    mask_checks,
    mask_losses,
    mean_iou,
    parts_loss,
    stack_parts,
)
from hdrvideo.train.paint_lessons import HdrmData
from hdrvideo.train.pcnet_content_recipe import (
    ContentWeights,
    PcnetContentRecipe,
    PcnetContentTask,
    cut_hole,
)
from hdrvideo.train.state import HasExtra


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> HdrmData:
    given = write_bare(tmp_path_factory.mktemp("rivals"))
    return build_settings(HdrmData, {**given, "pasted_share": 0.0})


def content_task(data: HdrmData, **more) -> PcnetContentTask:
    usual = {"crop": CropSettings(R), "batch": 4, "discriminator_width": 4}
    net = seeded(lambda: PcnetContentNet(TINY_HOLES))
    return PcnetContentTask(net, PcnetContentRecipe(data, **(usual | more)))


def human_task(data: HdrmData, **more) -> HumanTask:
    usual = {"crop": CropSettings(R), "batch": 4}
    net = seeded(lambda: HumanDeocclusion(TINY_HUMAN))
    return HumanTask(net, HumanRecipe(data, **(usual | more)))


@pytest.fixture(scope="module")
def content(data) -> PcnetContentTask:
    return content_task(data)


@pytest.fixture(scope="module")
def human(data) -> HumanTask:
    return human_task(data)


def fit(task, steps: int = 30, rate: float = 3e-3) -> list[dict[str, float]]:
    batch, told = task.batch(0, 0, 1), []
    optimizer = torch.optim.AdamW(task.net.parameters(), rate)
    for _ in range(steps):
        losses = task.losses(task.net.train(), batch)
        told.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        losses["sum"].backward()
        optimizer.step()
    return told


# PCNet-C.


def test_holes_are_cut_into_what_is_seen(data):
    task = content_task(data, crop=STILL)
    plain = content_task(data, crop=STILL, truth="bare")
    cut, bare = (t.batch(0, 0, 1) for t in (task, plain))
    # The same crops; one asks for what is seen, the other for what is hidden.
    assert torch.equal(cut["seen"][:, :3], bare["seen"][:, :3])
    assert torch.equal(cut["truth"], cut["seen"][:, :3])
    assert not torch.equal(bare["truth"], bare["seen"][:, :3])
    assert (cut["known"] == 1).all()
    was, now = bare["seen"][:, 3:] >= 0.5, find_regions(cut["seen"][:, 3:])
    holes = now.uncover + now.remove
    assert (holes.sum(dim=(1, 2, 3)) > 0).all()
    # Only of what is seen of the hand, and never of the other hand, which is no background.
    assert torch.equal(now.own_visible + now.uncover > 0, was[:, :1])
    other = was[:, 2:3] | was[:, 3:4]
    assert not ((now.remove > 0) & was[:, 2:3]).any()
    assert not ((now.background > 0) & other).any()


def test_a_hole_is_another_hands_shape(data, content):
    example = content._checks[0]
    seen = example.masks[0] >= 0.5
    square = np.zeros((R, R), bool)
    square[20:44, 30:40] = True
    cut = cut_hole(example, square, np.random.default_rng(0))
    hidden = (cut.masks[1] > 0) & (cut.masks[0] == 0)
    assert 0 < hidden.sum() < 0.9 * seen.sum()
    assert np.array_equal(cut.masks[1] > 0, seen)
    assert np.array_equal(cut.masks, cut.exact)
    assert cut.bare_u8 is example.rgb_u8
    # An eraser that never covers as wanted stays where it is.
    far = np.zeros((R, R), bool)
    assert np.array_equal(cut_hole(example, far, np.random.default_rng(0)).masks[0] > 0, seen)


def test_its_sum_is_of_weighted_terms(data):
    task = content_task(data, weights=ContentWeights(1, 2, 3, 4, 5, 6))
    losses = task.losses(task.net, task.batch(0, 0, 1))
    terms = ("valid", "hole", "features", "style", "smooth", "fooled")
    assert set(losses) == {*terms, "discriminator", "sum"}
    expected = sum((k + 1) * losses[name].item() for k, name in enumerate(terms))
    assert losses["sum"].item() == pytest.approx(expected, rel=1e-5)
    assert not losses["discriminator"].requires_grad
    plain = content_task(data, weights=ContentWeights(fooled=0))
    assert "fooled" not in plain.losses(plain.net, plain.batch(0, 0, 1))


class Says(torch.nn.Module):
    """Paints a given picture where the net would."""

    def __init__(self, net, painted) -> None:
        super().__init__()
        self.net, self.painted = net, torch.nn.Parameter(painted)

    def forward(self, seen):
        return self.painted, self.net(seen)[1]


def test_terms_are_means_over_all_pixels_of_the_raw_answer(data):
    task = content_task(data, weights=ContentWeights(fooled=0))
    batch = task.batch(0, 0, 1)
    off = Says(task.net, batch["truth"] + 0.1)
    losses = task.losses(off, batch)
    share = (task.net(batch["seen"])[1] > 0).float().mean().item()
    assert 0 < share < 0.9
    # A small hole gives a small loss.
    assert losses["hole"].item() == pytest.approx(0.1 * share, rel=1e-3)
    assert losses["valid"].item() == pytest.approx(0.1 * (1 - share), rel=1e-3)
    perfect = task.losses(says := Says(task.net, batch["truth"].clone()), batch)
    for name in ("valid", "hole", "features", "style"):
        assert perfect[name].item() == pytest.approx(0, abs=1e-6)
    perfect["sum"].backward()
    assert says.painted.grad.isfinite().all()
    batch["known"] = torch.zeros_like(batch["known"])
    unknown = task.losses(off, batch)
    assert unknown["valid"].item() == unknown["hole"].item() == 0
    assert unknown["style"].item() == pytest.approx(0, abs=1e-6)


def test_its_discriminator_has_four_channels_and_sees_the_raw_answer(data):
    task = content_task(data)
    first = next(m for m in task._adversary.net.modules() if isinstance(m, torch.nn.Conv2d))
    assert first.in_channels == 4
    batch = task.batch(0, 0, 1)
    says = Says(task.net, torch.rand_like(batch["truth"]))
    task.losses(says, batch)["fooled"].backward()
    # Outside the holes, too, where a composite has no gradient.
    outside = (task.net(batch["seen"])[1] == 0).expand_as(says.painted)
    assert says.painted.grad[outside].abs().sum() > 0
    assert isinstance(task, HasExtra)


def test_thirty_steps_of_pcnet_fit_one_batch(data):
    weights = ContentWeights(fooled=0.01)
    told = fit(content_task(data, crop=STILL, weights=weights, batch=2))
    assert told[-1]["hole"] < told[0]["hole"] / 2
    assert told[-1]["valid"] < told[0]["valid"] / 2


def test_it_is_judged_as_hdrm_is(content, human):
    scores = content.check(content.net.eval())
    assert {"hole_l1", "hole_l1_telea", "perceptual_unchanged", "score"} <= set(scores)
    # One and the same examination.
    for name in ("hole_l1_unchanged", "hole_l1_telea", "perceptual_telea"):
        assert human.check(human.net.eval())[name] == pytest.approx(scores[name], abs=0.02)
    sheet = content.sheet(content.net.eval())
    assert sheet.shape == (2 * R, 3 * 4 * R, 3)
    # The same crops, and their masks below.
    drawn = human.sheet(human.net.eval())
    assert drawn.shape == (3 * R, 3 * 4 * R, 3)
    assert np.array_equal(drawn[:R, : 2 * R], sheet[:R, : 2 * R])
    assert drawn[2 * R :].any()


# Human De-occlusion.


def test_batches_have_parts(human):
    one, again = human.batch(3, 0, 1), human.batch(3, 0, 1)
    assert {n: tuple(v.shape) for n, v in one.items()} == {
        "seen": (4, 7, R, R), "truth": (4, 3, R, R), "known": (4, 1, R, R),
        "own": (4, 2, R, R), "parts": (4, R, R), "parts_known": (4,),
    }  # fmt: skip
    for name, value in one.items():
        assert torch.equal(value, again[name])
    assert torch.equal(one["parts"] > 0, one["own"][:, 1] > 0)
    assert (one["parts_known"] == 1).all()
    assert (one["own"][:, 0] <= one["own"][:, 1]).all()


def test_hands_without_joints_have_no_parts(human):
    example = human._checks[0]
    unknown = replace(example, uv_px=np.full((21, 2), np.nan, np.float32))
    batch = stack_parts([example, unknown])
    assert batch["parts_known"].tolist() == [1, 0]
    assert batch["parts"][0].any()
    assert not batch["parts"][1].any()


def test_templates_are_made_of_the_data_and_kept(data, human):
    templates = human.net.masks.templates
    assert templates.amax(dim=(1, 2)).min() > 0.5
    assert torch.equal(templates, human_task(data).net.masks.templates)
    other = human_task(data, seed=3).net.masks.templates
    assert not torch.equal(other, templates)
    trained = seeded(lambda: HumanDeocclusion(TINY_HUMAN))
    trained.masks.templates.fill_(0.25)
    HumanTask(trained, HumanRecipe(data, CropSettings(R)))
    assert (trained.masks.templates == 0.25).all()


def test_its_sum_is_of_weighted_terms_without_a_discriminator(data):
    """In the release no gradient of one reaches the net (facts, 12.18)."""
    task = human_task(data, weights=HumanWeights(1, 2, 3, 4, 5, 6))
    losses = task.losses(task.net, task.batch(0, 0, 1))
    terms = ("modal", "whole", "parts", "reconstruction", "correlation", "style")
    assert set(losses) == {*terms, "sum"}
    expected = sum((k + 1) * losses[name].item() for k, name in enumerate(terms))
    assert losses["sum"].item() == pytest.approx(expected, rel=1e-5)
    assert not isinstance(task, HasExtra)
    # Masks: halves, and a fifth of that for parts.
    usual = HumanWeights()
    assert (usual.modal, usual.whole, usual.parts) == (0.5, 0.5, pytest.approx(0.2 / 2))
    losses["sum"].backward()
    for name, parameter in task.net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_composite_counts_five_times(data):
    task = human_task(data)
    batch = task.batch(0, 0, 1)
    weight = torch.zeros(4, 1, R, R)
    painted = batch["truth"] + 0.1
    outside = task._content_losses(painted, weight, {**batch, "truth": batch["seen"][:, :3]})
    inside = task._content_losses(painted, weight + 1, batch)
    assert inside["reconstruction"].item() == pytest.approx(0.1 * (1 + 5), rel=1e-3)
    raw = (painted - batch["seen"][:, :3]).abs().mean().item()
    assert outside["reconstruction"].item() == pytest.approx(raw, rel=1e-3)


def test_masks_and_parts_by_hand():
    own = torch.zeros(1, 2, 2, 2)
    own[0, 1], own[0, 0, 0] = 1, 1
    parts = torch.full((1, 2, 2), 3)
    batch = {"own": own, "parts": parts, "parts_known": torch.ones(1)}
    flat = [torch.zeros(1, n, 2, 2, requires_grad=True) for n in (2, 2, 7, 7)]
    losses = mask_losses(flat, batch)
    assert losses["modal"].item() == losses["whole"].item() == pytest.approx(math.log(2))
    assert losses["parts"].item() == pytest.approx(2 * math.log(7))

    def sure(labels, n):
        return 60 * torch.nn.functional.one_hot(labels, n).permute(0, 3, 1, 2).float()

    shown = parts * own[:, 0].long()
    labels = (own[:, 0].long(), own[:, 1].long(), shown, parts)
    said = [sure(each, n) for each, n in zip(labels, (2, 2, 7, 7), strict=True)]
    assert all(
        loss.item() == pytest.approx(0, abs=1e-6) for loss in mask_losses(said, batch).values()
    )
    truth = {**batch, "seen": torch.zeros(1, 7, 2, 2)}
    truth["seen"][:, 3] = own[:, 0]
    assert mask_checks(said, truth) == {
        "iou_visible": 1, "iou_amodal": 1, "iou_hidden": 1, "iou_amodal_unchanged": 0.5, "parts": 1,
    }  # fmt: skip
    # The answer is whole or visible.
    said[1] = -said[1]
    assert mask_checks(said, truth)["iou_amodal"] == 0.5
    assert math.isnan(mean_iou(own[:, 0] > 0, torch.zeros(1, 2, 2, dtype=torch.bool)))


def test_parts_that_are_not_known_are_not_learnt_from():
    logits = torch.randn(2, 7, 4, 4, requires_grad=True)
    parts = torch.randint(0, 7, (2, 8, 8))
    both, first = (parts_loss(logits, parts, torch.tensor([1.0, k])) for k in (1.0, 0.0))
    assert first.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits[:1], parts[:1, ::2, ::2]).item()
    )
    assert both.item() != pytest.approx(first.item())
    none = parts_loss(logits, parts, torch.zeros(2))
    none.backward()
    assert none.item() == 0
    assert not logits.grad.any()


def test_correlation_is_of_positions_in_units_of_the_truth():
    y = torch.rand(1, 3, 4, 4)
    x = y.clone().requires_grad_()
    equal = correlation_distance(x, y)
    equal.backward()
    assert equal.item() == 0
    assert x.grad.isfinite().all()
    # Channels in another order are alike at all positions; positions are not.
    assert correlation_distance(y.flip(1), y).item() == pytest.approx(0, abs=1e-6)
    assert correlation_distance(y.flip(3), y).item() > 0.01
    once, twice = correlation_distance(0 * y, y), correlation_distance(0 * y, 2 * y)
    assert twice.item() == pytest.approx(once.item(), rel=1e-3)
    assert correlation_distance(0 * y, 0 * y).isfinite()
    assert correlation_distance(*torch.rand(2, 1, 2, 80, 80)).isfinite()


def test_thirty_steps_of_human_deocclusion_fit_one_batch(data):
    told = fit(human_task(data, crop=STILL, batch=2))
    for name in ("modal", "whole", "reconstruction"):
        assert told[-1][name] < told[0][name] / 2, name
    assert told[-1]["parts"] < told[0]["parts"]


def test_its_check_tells_masks_and_painting(human):
    scores = human.check(human.net.eval())
    names = {"iou_visible", "iou_amodal", "iou_hidden", "iou_amodal_unchanged", "parts"}
    assert {*names, "hole_l1", "hole_l1_telea", "score"} <= set(scores)
    assert 0.3 < scores["iou_amodal_unchanged"] < 1


# What is told and refused.


def test_recipes_are_plain_values(content, human):
    for task, kind in ((content, PcnetContentRecipe), (human, HumanRecipe)):
        told = json.loads(json.dumps(task.describe()))
        assert set(told) == {"net", "made_as", *kind.__dataclass_fields__}


@pytest.mark.parametrize(
    ("make", "change", "text"),
    [
        (content_task, {"truth": "both"}, "truth is 'both', expected seen or bare"),
        (content_task, {"discriminator_width": 0}, "discriminator_width is 0, expected a whole"),
        (content_task, {"discriminator_rate": -1}, "discriminator_rate is -1, expected a number"),
        (content_task, {"batch": 0}, "batch is 0, expected a whole number from 1"),
        (human_task, {"features": 3}, "features is 3, expected a file or null"),
    ],
)
def test_wrong_recipes_are_refused(data, make, change, text):
    with pytest.raises(SettingsError, match=text):
        make(data, **change)


@pytest.mark.parametrize("kind", [ContentWeights, HumanWeights])
def test_weights_are_checked(kind):
    with pytest.raises(SettingsError, match=f"{kind.__name__}.style is -1, expected a number"):
        build_settings(kind, {"style": -1})
    with pytest.raises(SettingsError, match="setting colour is unknown"):
        build_settings(kind, {"colour": 1})
