"""HASM's recipe: batches that are functions of their number, checks, sheets, settings."""

import json

import numpy as np
import pytest
import torch
from made_shards import write_all
from mask_answers import pair_joints, perfect
from torch import nn

import hdrvideo.train.hasm_recipe
from hdrvideo.config import build_settings
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.frame.detmaps import cells_from_px
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.train.hasm_recipe import HasmData, HasmRecipe, HasmTask, as_seen
from hdrvideo.train.pair_sheets import draw_pair_sheet
from hdrvideo.train.views import ViewSettings

R = 64
HALF = R // 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def recipe(data: dict, **more) -> HasmRecipe:
    settings = build_settings(HasmData, data)
    return HasmRecipe(settings, **({"views": ViewSettings(R), "batch": 8} | more))


@pytest.fixture(scope="module")
def task(data):
    return HasmTask(HasmNet(), recipe(data))


def test_a_batch_is_a_function_of_its_number(data, task):
    one, again, other = task.batch(3, 0, 1), task.batch(3, 0, 1), task.batch(4, 0, 1)
    assert {name: tuple(value.shape) for name, value in one.items()} == {
        "rgb": (8, 3, R, R),
        "visible": (8, 2, HALF, HALF),
        "amodal": (8, 2, HALF, HALF),
        "hints": (8, 3, HALF, HALF),
        "present": (8, 2),
        "present_weight": (8, 2),
        "uv_px": (8, 2, 21, 2),
        "joint_weight": (8, 2, 21),
        "palm_px": (8, 2),
        "xyz": (8, 2, 21, 3),
        "bone_mm": (8, 2),
        "way": (8,),
        "way_weight": (8,),
    }
    elsewhere = HasmTask(HasmNet(), recipe(data)).batch(3, 0, 1)
    for name, value in one.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, again[name])
        assert torch.equal(value, elsewhere[name])
    assert not torch.equal(one["rgb"], other["rgb"])
    seeded = HasmTask(HasmNet(), recipe(data, seed=1)).batch(3, 0, 1)
    assert not torch.equal(one["rgb"], seeded["rgb"])
    assert 0 <= one["rgb"].min() <= one["rgb"].max() <= 1


def test_workers_share_a_batch_and_see_other_pictures(task):
    shares = [task.batch(0, rank, 4) for rank in range(4)]
    assert [len(share["rgb"]) for share in shares] == [2] * 4
    pictures = torch.cat([share["rgb"] for share in shares]).flatten(1)
    gaps = torch.cdist(pictures, pictures) + 100 * torch.eye(8)
    assert gaps.min() > 0.1
    with pytest.raises(SettingsError, match="batch is 8, expected a multiple of 3, the number of"):
        task.batch(0, 0, 3)


def test_a_batch_is_mixed_as_asked_for(data):
    only = {"made_share": 0.0, "pasted_share": 0.0, "empty_share": 0.0}
    empty = HasmTask(HasmNet(), recipe({**data, **only, "empty_share": 1.0})).batch(0, 0, 1)
    assert not empty["amodal"].any()
    views = ViewSettings(R, pair_share=1.0)
    mixed = HasmTask(
        HasmNet(),
        recipe(
            {**data, **only, "made_share": 0.5, "empty_share": 0.5, "made": data["made"]},
            views=views,
            batch=64,
        ),
    ).batch(0, 0, 1)
    n_empty = int((mixed["amodal"].amax(dim=(1, 2, 3)) == 0).sum())
    # One in five of the made ones is empty, too.
    assert 25 <= n_empty <= 52


def test_hints_are_laid_over_the_picture(task):
    batch = task.batch(0, 0, 1)
    seen = as_seen(batch)
    assert seen.shape == (8, 6, R, R)
    assert torch.equal(seen[:, :3], batch["rgb"])
    assert torch.equal(seen[:, 3:, 1::2, ::2], batch["hints"])
    assert batch["hints"].any()


def pair_answer(example):
    """Give maps of one cell from which the true joints are read."""
    truth = example.pair
    offset = cells_from_px(torch.from_numpy(truth.uv_px), R).numpy()
    heat = np.zeros((42, 1, 1), np.float32)
    way = np.repeat(truth.way, 2)
    return heat, truth.xyz.reshape(-1, 1, 1), offset.reshape(-1, 1, 1), heat - 9, way


class Oracle(nn.Module):
    """Knows the right answer to the checks' pictures; a scale of -1 is always wrong."""

    def __init__(self, task: HasmTask, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.n_pictures = 0
        self.answers = {}
        for examples in task._checks:
            for example in examples:
                known = (example.amodal, example.visible, example.present, *pair_answer(example))
                self.answers[example.rgb_u8.tobytes()] = known

    def forward(self, pictures):
        self.n_pictures += len(pictures)
        rgb_u8 = (pictures[:, :3].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        known = [self.answers[picture.tobytes()] for picture in rgb_u8]
        parts = [torch.from_numpy(np.stack(values)) for values in zip(*known, strict=True)]
        masks = [(2 * (part >= 0.5).float() - 1) * 30 * self.scale for part in parts[:3]]
        return [*masks, *(part * self.scale for part in parts[3:])]


@pytest.mark.parametrize("at_once", [4, 10, 32])
def test_a_check_looks_at_all_held_out_pictures(task, monkeypatch, at_once):
    monkeypatch.setattr(hdrvideo.train.hasm_recipe, "_CHECK_BATCH", at_once)
    oracle = Oracle(task)
    scores = task.check(oracle)
    assert oracle.n_pictures == 2 * 10
    assert scores[task.better] == pytest.approx(1)
    for name in ("iou_visible", "iou_amodal", "iou_hidden", "presence", "side"):
        assert scores[name] == scores[f"{name}_told"] == 1
    assert {"epe", "epe_told", "mpjpe_told", "way_told"} < set(scores)
    wrong = task.check(Oracle(task, -1.0))
    assert wrong["presence"] == 0
    assert wrong[task.better] < 0.05


def test_checks_are_the_same_whatever_is_taught(data, task):
    other = HasmTask(HasmNet(), recipe(data, seed=5, batch=2))
    assert task.check(Oracle(other)) == other.check(Oracle(other))
    assert not any(example.hints.any() for example in task._checks[0])
    assert all(example.hints[2].all() for example in task._checks[1])
    few = HasmTask(HasmNet(), recipe({**data, "n_check": 4}))
    oracle = Oracle(few)
    few.check(oracle)
    assert oracle.n_pictures == 2 * 4


def test_sheets_show_picture_truth_and_answer(task):
    sheet = task.sheet(Oracle(task))
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert sheet.shape[0] % R == 0
    assert sheet.shape[1] == 4 * 3 * R
    first = sheet[:R, : 3 * R]
    seen = np.round(task._checks[0][0].rgb_u8)
    assert np.abs(first[:, :R].astype(int) - seen).max() <= 1
    # The oracle's answer is the truth, but for bones to joints that nobody knows.
    is_same = first[:, R : 2 * R] == first[:, 2 * R :]
    assert is_same.mean() > 0.8
    assert not np.array_equal(first[:, :R], first[:, R : 2 * R])


def test_a_sheet_paints_what_is_seen_and_shades_what_is_hidden():
    amodal = torch.zeros(1, 2, 8, 8)
    amodal[0, 0, :4, :4] = 1
    amodal[0, 1, 4:, 4:] = 1
    visible = amodal.clone()
    visible[0, 0, :4, 2:4] = 0
    truth = {"rgb": torch.full((1, 3, 16, 16), 0.4), "visible": visible, "amodal": amodal}
    masks = perfect({**truth, "present": torch.tensor([[1.0, 0.0]])})
    truth |= {"uv_px": torch.zeros(1, 2, 21, 2), "joint_weight": torch.zeros(1, 2, 21)}
    # Bones out of the picture.
    joints = pair_joints(torch.full((1, 2, 21, 2), -99.0))
    sheet = draw_pair_sheet(masks, joints, truth).astype(int)
    assert sheet.shape == (16, 4 * 48, 3)
    plain, known, said = (sheet[:, k : k + 16] for k in (0, 16, 32))
    assert (plain == 102).all()
    assert (known[:8, :4] == (0.5 * 102 + 0.5 * np.array([255, 95, 31])).round()).all()
    assert known[:8, 4:8].sum() < known[:8, :4].sum()
    assert (known[8:, 8:] == (0.5 * 102 + 0.5 * np.array([0, 170, 255])).round()).all()
    assert (known[:8, 8:] == 102).all()
    # A hand that is said to be absent is not drawn.
    assert np.array_equal(said[:8], known[:8])
    assert (said[8:] == 102).all()
    assert (sheet[:, 48:] == 0).all()


def test_a_recipe_is_plain_values_and_says_everything(data, task):
    told = json.loads(json.dumps(task.describe()))
    assert told["net"] == "HasmNet"
    assert told["data"]["made"] == data["made"]
    assert told["views"]["resolution_px"] == R
    assert set(told) == {"net", "made_as", *HasmRecipe.__dataclass_fields__}


def test_thirty_steps_fit_one_batch(data):
    """At 64 px, on a batch without hints: nothing but the picture tells."""
    torch.manual_seed(0)
    net = HasmNet()
    views = ViewSettings(R, spoil=0.0, hint_share=0.0, pair_share=1.0)
    made = {**data, "made_share": 1.0, "pasted_share": 0.0, "empty_share": 0.0}
    task = HasmTask(net, recipe(made, views=views, batch=2))
    batch = task.batch(1, 0, 1)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    losses = []
    for _ in range(31):
        loss = task.losses(net.train(), batch)["sum"]
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] / 3, losses


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"made_share": 0.9}, "shares are .*, expected 1 in all"),
        ({"made_share": -0.25, "empty_share": 1.0}, r"made_share is -0\.25, expected a number"),
        ({"made_share": "0.5"}, "made_share is '0.5', expected a number from 0 to 1"),
        ({"made": []}, "made_share is 0.5 and there is nothing to take it from; name a folder"),
        ({"crops": None}, "pasted_share is 0.25 and there is nothing to take it from"),
        ({"hand_free": []}, "empty_share is 0.25 and there is nothing to take it from"),
        ({"held_out": []}, "held_out is empty; name a folder of shards of split test"),
        ({"made": "data/world"}, "HasmData.made is 'data/world', expected a list of folders"),
        ({"hand_free": [3]}, r"HasmData.hand_free is \(3,\), expected a list of folders"),
        ({"crops": ["a"]}, r"HasmData.crops is \('a',\), expected a folder or null"),
        ({"n_check": 0}, "n_check is 0, expected a whole number from 1"),
    ],
)
def test_data_settings_are_checked(data, change, text):
    with pytest.raises(SettingsError, match=text):
        build_settings(HasmData, {**data, **change})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch": 0}, "batch is 0, expected a whole number from 1 to 65536"),
        ({"batch": 2.5}, "batch is 2.5, expected a whole number"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
        ({"hidden_weight": "3"}, "hidden_weight is '3', expected a number"),
    ],
)
def test_recipes_are_checked(data, change, text):
    with pytest.raises(SettingsError, match=text):
        recipe(data, **change)


def test_pictures_of_the_test_split_are_no_lesson(data):
    with pytest.raises(DataError, match="holds shards of split test, expected train"):
        HasmTask(HasmNet(), recipe({**data, "made": data["held_out"]}))
    with pytest.raises(DataError, match="holds shards of split train, expected test"):
        HasmTask(HasmNet(), recipe({**data, "held_out": data["made"]}))
