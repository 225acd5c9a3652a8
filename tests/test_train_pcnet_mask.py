"""PCNet-M's lessons: pairs of visible masks, the loss, the task and its checks."""

import json
import math
from dataclasses import replace
from pathlib import Path

import made_shards
import numpy as np
import pytest
import torch
from made_shards import disc, disc_shot, write_all, write_made
from rival_hands import TINY_MASK, box, seeded

from hdrvideo.config import build_settings
from hdrvideo.errors import DataError, SettingsError, ShapeError
from hdrvideo.rivals.pcnet_mask import PcnetMaskNet
from hdrvideo.train.mask_sheets import draw_mask_sheet
from hdrvideo.train.pcnet_mask_recipe import (
    PcnetMaskData,
    PcnetMaskRecipe,
    PcnetMaskTask,
    completion_loss,
    order_score,
)
from hdrvideo.train.pcnet_pairs import (
    PairSettings,
    VisibleHands,
    draw_hand,
    draw_pair,
    move_eraser,
)

R = 32
STILL = PairSettings(R, shift_share=0, scale=(1, 1), flip_share=0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict:
    all_kinds = write_all(tmp_path_factory.mktemp("pcnet"))
    return {name: all_kinds[name] for name in ("made", "held_out", "crops", "n_check")}


def new_task(data: dict, seed: int = 0, **more) -> PcnetMaskTask:
    net = seeded(lambda: PcnetMaskNet(TINY_MASK), seed)
    usual = {"pairs": PairSettings(R), "batch": 8}
    return PcnetMaskTask(net, PcnetMaskRecipe(build_settings(PcnetMaskData, data), **usual | more))


@pytest.fixture(scope="module")
def task(data) -> PcnetMaskTask:
    return new_task(data)


# Pairs.


def hands(seed: int = 0):
    draws = rng(seed)
    return lambda: disc(64, *draws.uniform(24, 40, 2), draws.uniform(8, 16))


@pytest.mark.parametrize("is_cut", [True, False])
def test_pairs_of_both_cases(is_cut):
    settings = PairSettings(R, cut_share=float(is_cut))
    for seed in range(20):
        pair = draw_pair(hands(seed), rng(seed), settings)
        assert pair.target.any()
        removed = (pair.target & ~pair.modal).sum() / pair.target.sum()
        # What is shown is never under the eraser.
        assert not (pair.modal & pair.eraser).any()
        if is_cut:
            assert 0.001 <= removed < 0.9
            assert ((pair.target & ~pair.modal) <= pair.eraser).all()
        else:
            assert np.array_equal(pair.modal, pair.target)
            assert pair.eraser.any()


def test_four_in_five_are_case_1():
    pairs = [draw_pair(hands(seed), rng(seed), PairSettings(R)) for seed in range(200)]
    n_cut = sum(not np.array_equal(pair.modal, pair.target) for pair in pairs)
    assert 140 <= n_cut <= 178


def test_a_hand_is_shown_in_its_square():
    mask = box(20, 30, 16, 12, 64).numpy() > 0
    shown = draw_hand(mask, rng(), STILL)
    side = (3 * 16 * 12) ** 0.5
    assert shown.sum() == pytest.approx(16 * 12 * (R / side) ** 2, rel=0.1)
    rows, columns = np.nonzero(shown)
    assert (rows.mean(), columns.mean()) == pytest.approx((15.5, 15.5), abs=0.6)
    flipped = draw_hand(mask, rng(), replace(STILL, flip_share=1))
    assert np.array_equal(flipped, shown[:, ::-1])
    sizes = [draw_hand(mask, rng(k), PairSettings(R, shift_share=0)).sum() for k in range(30)]
    assert shown.sum() / 1.2**2 * 0.9 <= min(sizes) < max(sizes) <= shown.sum() / 0.8**2 * 1.1
    middles = [np.mean(np.nonzero(draw_hand(mask, rng(k), PairSettings(R)))[1]) for k in range(30)]
    assert 3 < max(middles) - min(middles) < 2 * 0.2 * R + 6


def test_squares_overlap_as_wanted_and_too_much_or_too_little_is_refused():
    full = np.ones((R, R), dtype=bool)
    wide = replace(STILL, removed=(0.0, 1.0))
    covered = [move_eraser(full, full, rng(k), wide) for k in range(60)]
    shares = [moved.mean() for moved in covered if moved is not None]
    assert 0.38 <= min(shares) < 0.5
    assert 0.9 < max(shares) < 1
    # An eraser that covers nine tenths and more is none, nor one that covers nothing.
    assert move_eraser(full, full, rng(), replace(STILL, overlap=(1.0, 1.0))) is None
    assert move_eraser(full, ~full, rng(), STILL) is None
    assert move_eraser(~full, full, rng(), STILL) is None
    corner = np.zeros_like(full)
    corner[0, 0] = True
    whole = move_eraser(full, corner, rng(), replace(STILL, overlap=(1.0, 1.0), removed=(0, 1)))
    assert np.array_equal(whole, corner)


def test_a_hand_that_nothing_covers_as_wanted_is_a_case_2():
    pair = draw_pair(lambda: np.ones((8, 8), bool), rng(), replace(STILL, overlap=(1.0, 1.0)))
    assert np.array_equal(pair.modal, pair.target)
    assert not (pair.eraser & pair.target).any()


def test_hands_are_visible_ones_and_never_whole(data, tmp_path):
    made = [Path(f) for f in data["made"]]
    source = VisibleHands(made, Path(data["crops"]), 0.5)
    drawn = [source.draw(rng(k)) for k in range(40)]
    assert {mask.shape for mask in drawn} == {(96, 96), (64, 64)}
    seen = torch.cat([disc_shot(10, 1).visible, disc_shot(5, 2).visible]).flatten(0, 1).numpy()
    for mask in drawn:
        assert mask.shape == (64, 64) or (mask == seen).all(axis=(1, 2)).any()
    assert np.array_equal(source.draw(rng(3)), source.draw(rng(3)))
    empty = disc_shot(2, 1)
    empty = replace(empty, visible=torch.zeros_like(empty.visible))
    none = VisibleHands([write_made(tmp_path / "none", "train", empty)], None, 0)
    with pytest.raises(DataError, match="1000 pictures were drawn and no hand is seen in any"):
        none.draw(rng())
    with pytest.raises(DataError, match="no picture in no folder; make some with synth shards"):
        VisibleHands([], None, 0)
    (tmp_path / "crops").mkdir()
    with pytest.raises(DataError, match=r"crops has no crop of split train"):
        VisibleHands(made, tmp_path / "crops", 0.5)
    with pytest.raises(ShapeError, match="does not exist"):
        VisibleHands(made, tmp_path / "gone", 0.5)


# The loss.


def test_the_loss_weighs_five_times_inside_the_eraser():
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    target, eraser = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    eraser[..., 0] = 1
    loss = completion_loss(logits, target, eraser, 5.0)
    # Two classes, a mean over all pixels: of four, two weigh five.
    assert loss.item() == pytest.approx(math.log(2) * (5 + 5 + 1 + 1) / 4)
    sure = torch.tensor([-60.0, 60.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2).clone().requires_grad_()
    perfect = completion_loss(sure, target, eraser, 5.0)
    perfect.backward()
    assert perfect.item() == 0
    assert sure.grad.isfinite().all()


# The task.


def test_batches_are_functions_of_their_number(data, task):
    one, again, other = task.batch(3, 0, 1), task.batch(3, 0, 1), task.batch(4, 0, 1)
    assert {n: tuple(v.shape) for n, v in one.items()} == {
        "told": (8, 2, R, R), "target": (8, 1, R, R),
    }  # fmt: skip
    for name, value in one.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, again[name])
        # The category of hands is 1.
        assert set(value.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(one["told"], other["told"])
    assert [len(task.batch(0, rank, 2)["told"]) for rank in range(2)] == [4, 4]
    with pytest.raises(SettingsError, match="batch is 8, expected a multiple of 3"):
        task.batch(0, 0, 3)
    elsewhere = new_task({**data, "crops": None, "crops_share": 0.0}, seed=1)
    assert not torch.equal(elsewhere.batch(3, 0, 1)["told"], one["told"])


def test_thirty_steps_fit_one_batch(data):
    task = new_task(data)
    batch = task.batch(0, 0, 1)
    optimizer = torch.optim.AdamW(task.net.parameters(), 5e-3)
    losses = []
    for _ in range(30):
        loss = task.losses(task.net.train(), batch)["sum"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 3, losses


class Filler(torch.nn.Module):
    """Takes all that is seen or under the eraser for the hand; or only what is seen."""

    def __init__(self, fill: bool) -> None:
        super().__init__()
        self.fill = torch.nn.Parameter(torch.tensor(float(fill)))

    def forward(self, told):
        whole = torch.maximum(told[:, 0], self.fill * told[:, 1])
        return 30 * torch.stack([1 - 2 * whole, 2 * whole - 1], dim=1)


def test_checks_beside_leaving_masks_as_they_are(task):
    nothing = task.check(Filler(False))
    assert set(nothing) == {"iou_amodal", "iou_hidden", "iou_amodal_unchanged", "order", "score"}
    assert nothing["iou_amodal"] == pytest.approx(nothing["iou_amodal_unchanged"])
    assert nothing["iou_amodal"] < 0.95
    assert nothing["order"] == nothing["iou_hidden"] == 0
    filled = task.check(Filler(True))
    assert filled["iou_hidden"] > 0.2
    assert filled["score"] > nothing["score"]
    # Of ten pictures four have two hands.
    assert len(task._held_out["visible"]) == 4


def test_orders_are_judged_where_one_hand_hides_the_other():
    whole = torch.stack([box(4, 4, 10, 10, 24), box(8, 4, 10, 10, 24)])[None].repeat(3, 1, 1, 1)
    visible = whole.clone()
    visible[0, 1] *= 1 - whole[0, 0]
    visible[1, 0] *= 1 - whole[1, 1]
    visible[2, 0] *= 0
    whole[2, 1] = visible[2, 1] = 0
    order = torch.zeros(3, 2, 2, dtype=torch.int64)
    assert order_score(order, visible, whole) == 0
    order[0, 0, 1] = 1
    assert order_score(order, visible, whole) == 0.5
    order[1, 0, 1] = -1
    assert order_score(order, visible, whole) == 1
    assert math.isnan(order_score(order[2:], visible[2:], whole[2:]))


def test_sheets_show_what_is_seen_the_truth_and_the_answer(task):
    sheet = task.sheet(task.net.eval())
    assert sheet.dtype == np.uint8
    assert sheet.shape == (96, 4 * 3 * 96, 3)
    visible = torch.zeros(1, 2, 8, 8)
    visible[0, 0, :4], whole = 1, torch.zeros(1, 2, 8, 8)
    whole[0, 0] = 1
    drawn = draw_mask_sheet(visible, whole, visible).astype(int)
    seen, known, said = (drawn[:, 8 * k : 8 * k + 8] for k in range(3))
    assert np.array_equal(seen, said)
    assert np.array_equal(seen[:4], known[:4])
    assert (known[4:].sum(-1) > seen[4:].sum(-1)).all()
    assert not drawn[:, 24:].any()


def test_the_recipe_is_plain_values(task):
    told = json.loads(json.dumps(task.describe()))
    assert set(told) == {"net", "made_as", *PcnetMaskRecipe.__dataclass_fields__}


def test_held_out_pictures_must_show_pairs_of_one_size(data, tmp_path, monkeypatch):
    alone = disc_shot(10, 3)
    keep = alone.present.sum(dim=1) < 2
    alone = replace(alone, visible=alone.visible * keep[:, None, None, None])
    none = write_made(tmp_path / "none", "test", alone)
    with pytest.raises(DataError, match=r"no picture in \S+ shows two hands; make others with"):
        new_task({**data, "held_out": [str(none)]})
    monkeypatch.setattr(made_shards, "SIZE_PX", 80)
    small = write_made(tmp_path / "small", "test", disc_shot(5, 3))
    with pytest.raises(DataError, match=r"held-out pictures are \(80, 80\) and \(96, 96\); name"):
        new_task({**data, "held_out": [str(small), *data["held_out"]]})


# What is refused.


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        (PcnetMaskData, {"made": "x"}, "PcnetMaskData.made is 'x', expected a list of folders"),
        (PcnetMaskData, {"crops": 3}, "PcnetMaskData.crops is 3, expected a folder or null"),
        (PcnetMaskData, {"crops": None}, "crops_share is 0.3 and PcnetMaskData.crops is not given"),
        (PcnetMaskData, {"made": []}, "crops_share is 0.3 and PcnetMaskData.made is not given"),
        (PcnetMaskData, {"held_out": []}, "held_out is empty; name a folder of shards of split"),
        (PcnetMaskData, {"crops_share": 2}, "PcnetMaskData.crops_share is 2, expected a number"),
        (PcnetMaskData, {"n_check": 0}, "PcnetMaskData.n_check is 0, expected a whole number"),
        (PcnetMaskData, {"colour": 0}, "setting colour is unknown"),
        (PairSettings, {"resolution_px": 40}, "resolution_px is 40, expected a multiple of 16"),
        (PairSettings, {"cut_share": 2}, "PairSettings.cut_share is 2, expected a number from 0"),
        (PairSettings, {"overlap": 0.4}, "PairSettings.overlap is 0.4, expected two numbers"),
        (PairSettings, {"overlap": [0.9, 0.4]}, "PairSettings.overlap, most, is 0.4, expected a"),
        (PairSettings, {"removed": [-1, 1]}, "PairSettings.removed, least, is -1, expected a num"),
        (PairSettings, {"scale": [0, 1]}, "PairSettings.scale, least, is 0, expected a number"),
    ],
)
def test_settings_are_checked(data, kind, change, text):
    given = {**data, **change} if kind is PcnetMaskData else change
    with pytest.raises(SettingsError, match=text):
        build_settings(kind, given)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch": 0}, "batch is 0, expected a whole number from 1"),
        ({"inside_weight": -1}, "inside_weight is -1, expected a number from 0"),
    ],
)
def test_recipes_are_checked(data, change, text):
    with pytest.raises(SettingsError, match=text):
        new_task(data, **change)
