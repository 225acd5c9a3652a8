"""HDRM's lessons: the adversary, the task and its checks, resuming with more than a net."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bare_hands import STILL, R, drawn, write_bare
from safetensors.torch import load_file
from tiny_training import TinyTask, tiny_settings

from hdrvideo.config import build_settings
from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.frame.hdrm import HdrmNet, compose
from hdrvideo.train.adversary import Adversary, PatchDiscriminator
from hdrvideo.train.bare_crops import CropSettings
from hdrvideo.train.hdrm_recipe import HdrmData, HdrmRecipe, HdrmTask, PaintWeights
from hdrvideo.train.loop import LoopSettings, train
from hdrvideo.train.paint_sheets import draw_paint_sheet, inpaint


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict:
    return write_bare(tmp_path_factory.mktemp("hdrm"))


def recipe(data: dict, **more) -> HdrmRecipe:
    usual = {"crop": CropSettings(R), "batch": 4, "discriminator_width": 4}
    return HdrmRecipe(build_settings(HdrmData, data), **(usual | more))


def new_net(seed: int = 0) -> HdrmNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HdrmNet()


def new_task(data: dict, **more) -> HdrmTask:
    return HdrmTask(new_net(), recipe({**data, "pasted_share": 0.0}, **more))


@pytest.fixture(scope="module")
def task(data) -> HdrmTask:
    return HdrmTask(new_net(), recipe(data))


# The adversary.


def test_the_discriminator_is_the_released_one():
    net = PatchDiscriminator(64)
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 128, 256, 512, 1]
    assert [c.stride[0] for c in convs] == [2, 2, 2, 1, 1]
    assert {c.kernel_size for c in convs} == {(4, 4)}
    small = PatchDiscriminator(2)
    assert small(torch.zeros(1, 3, 256, 256), *[torch.zeros(1, 1, 256, 256)] * 2).shape[2:] == (
        30, 30,
    )  # fmt: skip
    # Spectral norms: no layer stretches anything by more than 1 (after some rounds of theirs).
    for _ in range(30):
        small(torch.zeros(1, 3, 32, 32), *[torch.zeros(1, 1, 32, 32)] * 2)
    for conv in (m for m in small.modules() if isinstance(m, torch.nn.Conv2d)):
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2) < 1.1


def test_the_adversary_learns_to_tell_and_judging_teaches_it_nothing():
    adversary = Adversary(4, 1e-2, seed=0)
    true, made = drawn(0, 4, 3, R, R), 0.5 * drawn(1, 4, 3, R, R)
    told, hole = (torch.zeros(4, 1, R, R), torch.ones(4, 1, R, R)), torch.ones(4, 1, R, R)
    losses = [float(adversary.learn(made, true, told, hole)) for _ in range(20)]
    assert losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses[-1] < 0.3
    before = {n: p.clone() for n, p in adversary.net.named_parameters()}
    wanted = made.clone().requires_grad_()
    adversary.judge(wanted, told, hole).backward()
    assert wanted.grad.abs().sum() > 0
    for name, parameter in adversary.net.named_parameters():
        assert torch.equal(parameter, before[name])
    # Two of one seed are alike, whatever was drawn in between.
    torch.rand(3)
    other = Adversary(4, 5e-3, seed=0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            other.net.state_dict().values(),
            Adversary(4, 5e-3, seed=0).net.state_dict().values(),
            strict=True,
        )
    )
    with pytest.raises(WeightsError, match="the run's discriminator does not fit: "):
        Adversary(8, 5e-3, seed=0).load(adversary.state(), torch.device("cpu"))


# The task.


def test_batches_are_functions_of_their_number(data, task):
    one, again, other = task.batch(3, 0, 1), task.batch(3, 0, 1), task.batch(4, 0, 1)
    assert {n: tuple(v.shape) for n, v in one.items()} == {
        "seen": (4, 7, R, R), "truth": (4, 3, R, R), "known": (4, 1, R, R),
    }  # fmt: skip
    for name, value in one.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, again[name])
    assert not torch.equal(one["seen"], other["seen"])
    shares = [task.batch(0, rank, 2)["seen"] for rank in range(2)]
    assert [len(share) for share in shares] == [2, 2]
    with pytest.raises(SettingsError, match="batch is 4, expected a multiple of 3"):
        task.batch(0, 0, 3)


def test_the_sum_is_of_weighted_terms(data):
    weights = PaintWeights(1, 2, 3, 4, 5, 6, 7)
    task = new_task(data, weights=weights)
    losses = task.losses(task.net, task.batch(0, 0, 1))
    terms = ("valid", "uncovered", "removed", "features", "style", "smooth", "fooled")
    assert set(losses) == {*terms, "discriminator", "sum"}
    expected = sum((k + 1) * losses[name].item() for k, name in enumerate(terms))
    assert losses["sum"].item() == pytest.approx(expected, rel=1e-5)
    assert not losses["discriminator"].requires_grad
    plain = new_task(data, weights=replace(weights, fooled=0))
    assert "fooled" not in plain.losses(plain.net, plain.batch(0, 0, 1))


def test_what_is_not_known_is_not_learnt_from(data):
    task = new_task(data, weights=PaintWeights(smooth=0, fooled=0))
    batch = task.batch(0, 0, 1)
    batch["known"] = torch.zeros_like(batch["known"])
    assert task.losses(task.net, batch)["sum"].item() == 0


def test_a_batch_is_learnt_by_heart(data):
    task = new_task(data, crop=STILL, weights=PaintWeights(fooled=0.01))
    batch = task.batch(0, 0, 1)
    optimizer = torch.optim.AdamW(task.net.parameters(), 2e-3)
    holes = []
    for _ in range(40):
        losses = task.losses(task.net.train(), batch)
        holes.append(losses["uncovered"].item() + losses["removed"].item())
        optimizer.zero_grad()
        losses["sum"].backward()
        optimizer.step()
    assert holes[-1] < holes[0] / 2, holes


class Painter(torch.nn.Module):
    """Paints what it is given, where the net would."""

    def __init__(self, task: HdrmTask, name: str) -> None:
        super().__init__()
        self.net, self.task, self.name = task.net, task, name

    def forward(self, seen):
        _, weight = self.net(seen)
        first = self.task._held_out["seen"][:, :3].flatten(1)
        rows = [int((first - crop.flatten()).abs().sum(1).argmin()) for crop in seen[:, :3]]
        return self.task._held_out[self.name][rows][:, :3], weight


def test_checks_beside_doing_nothing_and_telea(data):
    task = new_task(data)
    names = ("hole_l1", "uncovered_l1", "removed_l1", "perceptual", "psnr_db")
    nothing = task.check(Painter(task, "seen"))
    assert set(nothing) == {
        *names, *(f"{n}_{k}" for n in names for k in ("unchanged", "telea")),
        "hole_l1_spoiled", "score",
    }  # fmt: skip
    for name in names:
        assert nothing[name] == pytest.approx(nothing[f"{name}_unchanged"])
    perfect = task.check(Painter(task, "truth"))
    assert perfect["score"] > 0.9
    assert perfect["hole_l1"] < 1e-3
    assert perfect["psnr_db"] > nothing["psnr_db"]
    assert perfect["hole_l1_telea"] == nothing["hole_l1_telea"]
    # On even discs over even grounds Telea is better than to do nothing.
    assert nothing["hole_l1_telea"] < nothing["hole_l1_unchanged"]


def test_telea_fills_the_hole_alone():
    rgb = torch.full((3, 32, 32), 0.4)
    rgb[:, 10:20, 10:20] = 1
    weight = torch.zeros(1, 32, 32)
    weight[:, 9:21, 9:21] = 0.5
    filled = inpaint(rgb, weight)
    assert torch.allclose(filled, torch.full_like(filled, 0.4), atol=0.01)


def test_sheets_show_crop_masks_answer_and_truth(task):
    sheet = task.sheet(task.net.eval())
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * R, 3 * 4 * R, 3)
    held = task._held_out
    first = (held["seen"][0, :3].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(sheet[:R, :R], first)
    truth = (held["truth"][3].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(sheet[R:, 3 * R : 4 * R], truth)
    # The fourth crop is the first of the second row; nothing follows it.
    assert not sheet[R:, 4 * R :].any()
    seen = torch.zeros(1, 7, 8, 8)
    seen[0, 4:5, :4] = 1
    drawn_masks = draw_paint_sheet(seen, seen[:, :3], seen[:, :3])[:, 8:16]
    assert drawn_masks[:4].any()
    assert not drawn_masks[4:].any()


def test_the_recipe_is_plain_values(data, task):
    told = json.loads(json.dumps(task.describe()))
    assert set(told) == {"net", "made_as", *HdrmRecipe.__dataclass_fields__}


# Resuming with more than a net.


def small_run(steps: int, **more) -> LoopSettings:
    # Without a slope: the cosine of two steps is not that of four.
    return LoopSettings(
        steps=steps, warmup_steps=0, final_share=1.0, check_every=10, log_every=1, **more
    )


def test_a_resumed_run_has_the_same_adversary_bit_for_bit(data, tmp_path):
    train(new_task(data, batch=2), small_run(4), tmp_path / "whole", resume=False)
    train(new_task(data, batch=2), small_run(2), tmp_path / "parts", resume=False)
    train(new_task(data, batch=2), small_run(4), tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / n / "last.safetensors") for n in ("whole", "parts"))
    assert set(whole) == set(parts)
    kinds = {name.split("/")[1] for name in whole if name.startswith("extra/")}
    assert kinds == {"net", "step", "exp_avg", "exp_avg_sq"}
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    steps = [v for n, v in whole.items() if n.startswith("extra/step/")]
    assert all(int(v) == 4 for v in steps)
    other = new_task(data, batch=2, discriminator_width=8)
    with pytest.raises(SettingsError, match="discriminator_width is 8 and was 4"):
        train(other, small_run(4), tmp_path / "parts", resume=True)


class CountingTask(TinyTask):
    """Trains a number beside its net."""

    def __init__(self) -> None:
        super().__init__()
        self.count = torch.zeros(())

    def losses(self, net, batch):
        self.count += 1
        return super().losses(net, batch)

    def extra_state(self):
        return {"count": self.count}

    def load_extra(self, tensors):
        self.count = tensors["count"].clone()


def test_a_task_may_have_more_to_save_and_need_not(tmp_path):
    train(CountingTask(), tiny_settings(steps=4), tmp_path / "run", resume=False)
    again = CountingTask()
    train(again, tiny_settings(steps=6), tmp_path / "run", resume=True)
    assert again.count == 6
    assert load_file(tmp_path / "run" / "last.safetensors")["extra/count"] == 6
    train(TinyTask(), tiny_settings(steps=2), tmp_path / "plain", resume=False)
    names = load_file(tmp_path / "plain" / "last.safetensors")
    assert not [n for n in names if n.startswith("extra/")]


# What is refused.


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        (HdrmData, {"made": "x"}, "HdrmData.made is 'x', expected a list of folders"),
        (HdrmData, {"crops": 3}, "HdrmData.crops is 3, expected a folder or null"),
        (HdrmData, {"crops": None}, "pasted_share is 0.25 and HdrmData.crops is not given"),
        (HdrmData, {"made": []}, "pasted_share is 0.25 and HdrmData.made is not given"),
        (HdrmData, {"held_out": []}, "held_out is empty; name a folder of shards of split test"),
        (HdrmData, {"pasted_share": 2}, "HdrmData.pasted_share is 2, expected a number from 0"),
        (HdrmData, {"n_check": 0}, "HdrmData.n_check is 0, expected a whole number from 1"),
        (HdrmData, {"colour": 0}, "setting colour is unknown"),
        (CropSettings, {"resolution_px": 100}, "resolution_px is 100, expected a multiple of 64"),
        (CropSettings, {"spoil": 2}, "CropSettings.spoil is 2, expected a number from 0 to 1"),
        (CropSettings, {"recolour": 1}, "CropSettings.recolour is 1, expected true or false"),
        (PaintWeights, {"style": -1}, "PaintWeights.style is -1, expected a number from 0"),
    ],
)
def test_settings_are_checked(data, kind, change, text):
    given = {**data, **change} if kind is HdrmData else change
    with pytest.raises(SettingsError, match=text):
        build_settings(kind, given)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch": 0}, "batch is 0, expected a whole number from 1"),
        ({"features": 3}, "features is 3, expected a file or null"),
        ({"discriminator_rate": -1}, "discriminator_rate is -1, expected a number from 0"),
    ],
)
def test_recipes_are_checked(data, change, text):
    with pytest.raises(SettingsError, match=text):
        recipe(data, **change)


def test_composed_answers_leave_the_rest_alone(data, task):
    seen = task._held_out["seen"]
    with torch.inference_mode():
        painted, weight = task.net.eval()(seen)
        bare = compose(seen[:, :3], painted, weight)
    outside = (weight == 0).expand_as(bare)
    assert torch.equal(bare[outside], seen[:, :3][outside])
