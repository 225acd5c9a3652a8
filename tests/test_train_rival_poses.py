"""Lessons of rivals that read joints: losses, what is taught and checked, runs of the command."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_shards import write_crops, write_hand_free
from pose_hands import write_hands
from pose_rivals import TINY, R, posed_shot, write_posed
from safetensors.torch import load_file, save_file
from train_runs import read_table, run_train, write_settings

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import DataError, SettingsError, WeightsError
from hdrvideo.frame.efficientnet import EfficientTrunk
from hdrvideo.geometry import CropSquare
from hdrvideo.handmodel import HandModel
from hdrvideo.train.hasm_recipe import HasmData, stack_examples
from hdrvideo.train.loop import LoopSettings
from hdrvideo.train.pose_crops import CropSettings, MadeHands, take_example
from hdrvideo.train.rival_poses import (
    HandOccRecipe,
    HandOccTask,
    InterRecipe,
    InterTask,
    MinimalRecipe,
    MinimalTask,
    make_pose_rival,
)
from hdrvideo.train.shpe_data import ShpeData
from hdrvideo.train.views import ViewSettings
from hdrvideo.training import LESSONS, train_net

CONFIGS = Path(__file__).parent.parent / "configs"
BINS = 16
every_net = pytest.mark.parametrize("name", TINY)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[str, ...]]:
    return write_posed(tmp_path_factory.mktemp("posed"))


def make_task(name: str, folders: dict, batch: int = 2):
    torch.manual_seed(0)
    net = TINY[name]()
    if name == "internet":
        data = HasmData(
            **folders, made_share=1, pasted_share=0, empty_share=0, distract_share=0, n_check=6
        )
        views = ViewSettings(R, pair_share=1.0, pair_scale=(1.4, 1.6), hint_share=0.0)
        return InterTask(net, InterRecipe(data, views, batch=batch), made_as={"size": "tiny"})
    crops = {"data": ShpeData(**folders, n_check=3), "crops": CropSettings(R), "batch": batch}
    if name == "handoccnet":
        return HandOccTask(net, HandOccRecipe(**crops), made_as={"size": "tiny"})
    return MinimalTask(net, MinimalRecipe(**crops), made_as={"size": "tiny"})


@pytest.fixture(scope="module")
def tasks(folders):
    return {name: make_task(name, folders) for name in TINY}


# Poses of crops.


@pytest.mark.parametrize("side", [0, 1])
def test_a_crops_pose_is_that_of_the_hand_it_shows(folders, side):
    hands = MadeHands([Path(f) for f in folders["made"]], "train", with_pose=True)
    hand = HandModel()
    for i in range(len(hands)):
        picture = hands.get(i, bare=True)
        if picture.side != side:
            continue
        for mirror in (False, True):
            example = take_example(picture, CropSquare(50, 40, 60, 0.8, mirror), R)
            turns = torch.from_numpy(example.pose.turns)[None]
            shape = torch.from_numpy(example.pose.shape)[None]
            assert np.linalg.det(example.pose.turns) == pytest.approx(np.ones(16), abs=1e-4)
            joints = hand.joints(turns, shape, side=side ^ int(mirror))[0]
            assert np.abs(joints.numpy() - example.xyz_mm).max() < 0.01
        return
    raise AssertionError


# The tasks.


@every_net
def test_batches_repeat(tasks, name):
    first, again = (tasks[name].batch(5, 0, 1) for _ in range(2))
    assert set(first) == set(again)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert len(first["rgb"]) == 2
    assert ("turns" in first) == (name == "handoccnet")


@every_net
def test_every_part_learns(tasks, name):
    task = tasks[name]
    batch = task.batch(0, 0, 1)
    task.net.zero_grad()
    losses = task.losses(task.net, batch)
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    losses["sum"].backward()
    for part, value in task.net.named_parameters():
        assert value.grad is not None, part
        assert value.grad.isfinite().all(), part
        # What is added to all keys alike changes no attention.
        if not part.endswith(".key.bias"):
            assert value.grad.abs().sum() > 0, part


@every_net
def test_thirty_steps_fit_a_batch(folders, name):
    task = make_task(name, folders)
    if name == "minimal_hand":
        load_weights(task.net.ik, weights_path("ik"))
    batch = task.batch(0, 0, 1)
    optimizer = torch.optim.AdamW(task.net.parameters(), 3e-3)
    lost = []
    for _ in range(30):
        losses = task.losses(task.net, batch)
        optimizer.zero_grad()
        losses["sum"].backward()
        torch.nn.utils.clip_grad_norm_(task.net.parameters(), 1.0)
        optimizer.step()
        lost.append({part: float(value.detach()) for part, value in losses.items()})
    better = {
        "internet": ("heat", "way"),
        "handoccnet": ("vertices", "joints_3d", "pose", "joints_2d"),
        "minimal_hand": ("delta", "location", "joints_2d", "posed"),
    }
    for part in (*better[name], "sum"):
        assert lost[-1][part] < 0.8 * lost[0][part], (part, lost[0][part], lost[-1][part])


@every_net
def test_losses_in_half_precision_are_close(tasks, name):
    task = tasks[name]
    batch = task.batch(1, 0, 1)
    with torch.no_grad():
        exact = task.losses(task.net, batch)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = task.losses(task.net, batch)
    for part in ("sum", *{"heat", "joints_3d", "posed"} & set(exact)):
        assert float(coarse[part]) == pytest.approx(float(exact[part]), rel=0.1), part


@every_net
def test_checks_score_both_readings(tasks, name):
    task = tasks[name]
    said = task.check(task.net.eval())
    assert said == task.check(task.net)
    assert 0 <= said[task.better] <= 1
    if name == "internet":
        for score in ("epe", "pck", "mpjpe", "pa_mpjpe", "pck3d"):
            assert math.isfinite(said[score])
            assert math.isfinite(said[f"{score}_argmax"])
        parts = [said["handed"], said["pck"], said["pck3d"]]
        assert said["score"] == pytest.approx(sum(parts) / 3)
    else:
        assert math.isfinite(said["mpjpe_pair"])
        assert math.isfinite(said["pck_pair_argmax"])
        assert math.isfinite(said["pck_pair_landmark"])
    sheet = task.sheet(task.net)
    assert sheet.dtype == np.uint8
    assert json.loads(json.dumps(task.describe()))["made_as"] == {"size": "tiny"}


def test_handedness_counts_pictures_in_which_both_bits_are_right(tasks):
    task = tasks["internet"]
    truth = stack_examples(task._checks[0])

    class Says(torch.nn.Module):
        def __init__(self, wrong):
            super().__init__()
            self.wrong = torch.nn.Parameter(wrong)
            self.left = truth["present"]

        def forward(self, rgb):
            b = len(rgb)
            present, self.left = self.left[:b], self.left[b:]
            logit = (2 * present - 1) * self.wrong
            return torch.zeros(b, 42, BINS, 4, 4), torch.zeros(b, BINS), logit

    said = task.check(Says(torch.tensor([1.0, 1.0])))
    assert said["handed"] == 1
    # One wrong bit of two makes the picture wrong: accuracy, whatever it is called.
    assert task.check(Says(torch.tensor([1.0, -1.0])))["handed"] == 0


def test_crops_of_another_size_are_refused(folders):
    recipe = HandOccRecipe(ShpeData(**folders, n_check=1), CropSettings(96))
    with pytest.raises(SettingsError, match=r"px is 96, expected 64: the net's place tables"):
        HandOccTask(TINY["handoccnet"](), recipe)


def test_hands_of_another_model_are_refused(tmp_path):
    recipe = HandOccRecipe(ShpeData(**write_hands(tmp_path), n_check=1), CropSettings(R))
    with pytest.raises(DataError, match="made hands have 10 shape scores, expected 12; make them"):
        HandOccTask(TINY["handoccnet"](), recipe)


# Runs of the command, with the small sizes.


def settings(name: str, folder: Path) -> dict:
    loop = {"steps": 1, "warmup_steps": 0, "final_share": 1.0, "check_every": 5, "log_every": 1}
    values = {"net": {"size": "small"}, "loop": loop, "batch": 2, "seed": 3}
    data = write_posed(folder)
    if name == "internet":
        mixed = {
            "crops": str(write_crops(folder / "crops")),
            "hand_free": [str(write_hand_free(folder / "hand_free"))],
            **{"made_share": 0.5, "pasted_share": 0.25, "empty_share": 0.25, "n_check": 2},
        }
        return {**values, "views": {"resolution_px": 64}, "data": {**data, **mixed}}
    crops = {"resolution_px": 128 if name == "handoccnet" else 64}
    return {**values, "crops": crops, "data": {**data, "n_check": 1}}


@every_net
def test_a_run_can_be_resumed_and_leaves_weights_that_fit(tmp_path, name):
    values = settings(name, tmp_path)
    one = write_settings(tmp_path / "one.yaml", values)
    longer = {**values, "loop": {**values["loop"], "steps": 2}}
    two = write_settings(tmp_path / "two.yaml", longer)
    for more in (("--config", one), ("--config", two, "--resume")):
        done = run_train(name, *more, "-o", tmp_path / "run")
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[-1] == str(tmp_path / "run" / "best.safetensors")
    train_net(name, two, tmp_path / "whole", resume=False, device="cpu")
    whole, parts = (load_file(tmp_path / f / "last.safetensors") for f in ("whole", "run"))
    assert set(whole) == set(parts)
    assert all(torch.equal(value, parts[tensor]) for tensor, value in whole.items())
    start = {"size": "small", "start": str(tmp_path / "run" / "best.safetensors")}
    assert make_pose_rival(name, start) is not None
    assert [row["step"] for row in read_table(tmp_path / "run" / "checks.csv")] == ["1", "2"]
    assert (tmp_path / "run" / "sheets").is_dir()


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("internet", {"crops": {}}, "setting crops is unknown; known here: net, loop, data, view"),
        ("internet", {"hidden_weight": 3}, "setting hidden_weight is unknown"),
        ("internet", {"weights": {"masks": 1}}, "setting weights.masks is unknown"),
        ("internet", {"views": {"zoom": 1}}, "setting views.zoom is unknown"),
        ("handoccnet", {"views": {}}, "setting views is unknown"),
        ("handoccnet", {"weights": {"heat": 1}}, "setting weights.heat is unknown"),
        ("handoccnet", {"crops": {"resolution_px": 64}}, "px is 64, expected 128: the net's place"),
        ("minimal_hand", {"hdrm": None}, "setting hdrm is unknown"),
        ("minimal_hand", {"weights": {"pose": 1}}, "setting weights.pose is unknown"),
        ("minimal_hand", {"batch": 0}, "batch is 0"),
        (
            "minimal_hand",
            {"net": {"trunk": "x"}},
            "net is {'trunk': 'x'}, expected some of",
        ),
    ],
)
def test_wrong_settings_are_refused(folders, tmp_path, name, change, text):
    data = dict(folders)
    if name == "internet":
        data |= {"made_share": 1, "pasted_share": 0, "empty_share": 0}
    values = {"net": {"size": "small"}, "loop": {"steps": 1, "warmup_steps": 0}, "data": data}
    config = write_settings(tmp_path / "wrong.yaml", {**values, **change})
    with pytest.raises(SettingsError) as caught:
        train_net(name, config, tmp_path / "run", resume=False, device="cpu")
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


# The nets to be trained.


def test_rivals_are_made_as_told(tmp_path):
    trunk = EfficientTrunk()
    path = tmp_path / "trunk.safetensors"
    save_file(trunk.state_dict(), path)
    for name in ("internet", "handoccnet"):
        net = make_pose_rival(name, {"trunk": str(path)})
        for tensor, value in trunk.state_dict().items():
            assert torch.equal(net.trunk.state_dict()[tensor], value)
    net = make_pose_rival("minimal_hand", {})
    shipped = load_file(weights_path("ik"))
    assert torch.equal(net.ik.first.weight, shipped["first.weight"].float())
    save_file({"stem.weight": trunk.stem.weight.detach()}, path)
    with pytest.raises(WeightsError, match=r"are no trunk of this net.size: \S+ is not in them"):
        make_pose_rival("internet", {"trunk": str(path)})
    with pytest.raises(WeightsError, match="do not fit"):
        make_pose_rival("internet", {"start": str(path)})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ("small", "net is 'small', expected some of size, start, trunk"),
        ({"width": 3}, "net is {'width': 3}, expected some of size, start, trunk"),
        ({"size": "huge"}, r"expected size: small \| paper, start: FILE \| none, trunk: FILE"),
        ({"size": ["small"]}, r"expected size: small \| paper"),
        ({"start": 3}, r"expected size: small \| paper"),
        ({"start": "a", "trunk": "b"}, "start has a trunk of its own, give one of start and trunk"),
    ],
)
def test_rivals_that_cannot_be_made_are_refused(values, text):
    with pytest.raises(SettingsError, match=text):
        make_pose_rival("internet", values)


@pytest.mark.parametrize("size", ["small", "paper"])
@every_net
def test_the_shipped_settings_are_read(name, size):
    values = read_yaml(CONFIGS / f"{name}_{size}.yaml")
    lesson = LESSONS[name]
    assert set(values) <= {"net", "loop", *lesson.recipe.__dataclass_fields__}
    assert values["net"]["size"] == size
    loop = build_settings(LoopSettings, values["loop"], "loop.")
    assert loop.steps >= 1000
    recipe = lesson.read_recipe(values)
    net = lesson.make({"size": size})
    assert set(loop.slow) <= {part.split(".")[0] for part, _ in net.named_parameters()}
    shown = recipe.views if name == "internet" else recipe.crops
    assert shown.resolution_px == net.resolution_px
    assert recipe.data.held_out == ("data/world_test",)


def test_discs_with_posed_hands_have_the_joints_of_their_poses():
    shot, hand = posed_shot(5, 1), HandModel()
    i, side = torch.nonzero(shot.present)[3].tolist()
    joints = hand.joints(shot.pose[i, side][None], shot.shape[i, side][None], side=side)[0]
    xyz = shot.xyz_cam_mm[i, side]
    torch.testing.assert_close(joints, xyz - xyz[:1], atol=1e-2, rtol=1e-4)
