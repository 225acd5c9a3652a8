"""SHPE's lessons: batches, checks, the nets to be trained."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_shards import write_crops, write_made
from pose_hands import hand_shot, write_hands

import hdrvideo.train.shpe_recipe
from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.errors import DataError, SettingsError, WeightsError
from hdrvideo.frame.detnet import DetNetSmall
from hdrvideo.frame.shpe import LandmarkNet
from hdrvideo.train.pose_crops import CropSettings
from hdrvideo.train.pose_scores import HandErrors
from hdrvideo.train.shpe_data import ShpeData
from hdrvideo.train.shpe_recipe import ShpeRecipe, ShpeTask
from hdrvideo.training import make_shpe


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[str, ...]]:
    return write_hands(tmp_path_factory.mktemp("hands"))


def recipe(folders: dict, **more) -> ShpeRecipe:
    usual = {"data": ShpeData(**folders, n_check=3), "crops": CropSettings(64), "batch": 4}
    return ShpeRecipe(**(usual | more))


class TinyDet(torch.nn.Module):
    """The fewest layers that give maps; 4 px a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.see = torch.nn.Conv2d(3, 16, 7, 4, 3)
        self.say = torch.nn.Conv2d(16, 21 * 11, 3, padding=1)

    def forward(self, rgb):
        said = self.say(torch.relu(self.see(rgb)))
        return said.split((21, 63, 63, 42, 21, 21), dim=1)


@pytest.fixture(scope="module")
def task(folders) -> ShpeTask:
    torch.manual_seed(0)
    return ShpeTask(TinyDet(), recipe(folders), made_as={"size": "tiny"})


# The task.


def test_batches_repeat_and_differ(task):
    first, again, next_one = (task.batch(k, 0, 1) for k in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["rgb"], next_one["rgb"])
    assert len(first["rgb"]) == 4
    parts = [task.batch(5, rank, 2) for rank in range(2)]
    assert all(len(part["rgb"]) == 2 for part in parts)
    assert not torch.equal(parts[0]["rgb"], parts[1]["rgb"])
    with pytest.raises(SettingsError, match="batch is 4, expected a multiple of 3"):
        task.batch(0, 0, 3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_bare_pictures_come_as_often_as_asked(folders, share):
    data = ShpeData(**folders, bare_share=share, n_check=1)
    made = ShpeTask(TinyDet(), recipe(folders, data=data, batch=40)).batch(0, 0, 1)
    # On bare pictures every joint of these hands is seen, else about 70 %.
    assert float(made["visible"].mean()) == pytest.approx(1.0 if share else 0.7, abs=0.12)


def test_pasted_hands_come_as_often_as_asked(folders, tmp_path):
    joints = torch.linspace(20, 42, 42).reshape(21, 2)
    crops = write_crops(tmp_path / "crops", joints)
    data = ShpeData(**folders, crops=str(crops), pasted_share=0.5, n_check=1)
    task = ShpeTask(TinyDet(), recipe(folders, data=data, batch=40))
    batch = task.batch(0, 0, 1)
    assert 0.3 < float(batch["in_space"].mean()) < 0.7
    assert torch.equal(batch["rgb"], task.batch(0, 0, 1)["rgb"])
    losses = task.losses(task.net, batch)
    assert math.isfinite(float(losses["sum"].detach()))


def test_checks_show_the_same_hands_bare_and_as_they_are(task):
    truth, n = task._truth, len(task._hidden)
    assert n == 3
    for name in ("uv_px", "xyz", "bone_mm", "palm_px"):
        assert torch.equal(truth[name][:n], truth[name][n:])
    assert not torch.equal(truth["rgb"][:n], truth["rgb"][n:])
    groups = task._groups(finer=True)
    assert groups["bare"].tolist() == [True] * 3 + [False] * 3
    finer = [where for name, where in groups.items() if name.startswith("pair_")]
    assert np.array_equal(np.sum(finer, axis=0), groups["pair"])


def test_a_check_scores_both_nets_and_both_readings(task, monkeypatch):
    said = task.check(task.net.eval())
    for score in ("epe", "pck", "mpjpe", "pa_mpjpe", "pck3d"):
        for group in ("bare", "pair"):
            for suffix in ("", "_landmark", "_argmax"):
                assert math.isfinite(said[f"{score}_{group}{suffix}"])
            for hidden in ("0_5", "5_25", "25_50", "50_100"):
                assert f"{score}_{group}_{hidden}_landmark" in said
    parts = [said[f"{s}_{g}"] for s in ("pck", "pck3d") for g in ("bare", "pair")]
    assert said[task.better] == pytest.approx(sum(parts) / 4)
    assert "calibration" in said
    assert 0 <= said["seen"] <= 1
    assert said == task.check(task.net)
    # The landmark net is asked once.
    monkeypatch.setattr(hdrvideo.train.shpe_recipe, "LandmarkNet", None)
    assert task.check(task.net) == said
    assert task.sheet(task.net).shape == (3 * 64, 2 * 4 * 64, 3)


def test_the_landmark_nets_scores_are_its_own(task):
    net = LandmarkNet()
    load_weights(net, weights_path("landmark"))
    rgb = torch.nn.functional.interpolate(
        task._truth["rgb"], size=(224, 224), mode="bilinear", antialias=True
    )
    with torch.no_grad():
        joints, _, _, world = net.eval()(rgb)
    truth = {name: value.numpy() for name, value in task._truth.items()}
    # Crops of 64 px: 224 / 64 times as large.
    errors = HandErrors.of(joints[..., :2].numpy() * 64 / 224 - 0.5, world.numpy(), truth)
    wanted = errors.scores(task._groups(finer=False)["pair"])
    said = task.check(task.net.eval())
    for name, value in wanted.items():
        assert said[f"{name}_pair_landmark"] == pytest.approx(value, rel=1e-3)


def test_a_batch_can_be_learnt(folders):
    """Overfit two crops: joints in the picture, in space, and what error to expect."""
    torch.manual_seed(0)
    task = ShpeTask(make_shpe({"size": "small"}), recipe(folders, crops=CropSettings(), batch=2))
    batch = task.batch(0, 0, 1)
    optimizer = torch.optim.AdamW([p for p in task.net.parameters() if p.requires_grad], 3e-3)
    lost = []
    for _ in range(20):
        losses = task.losses(task.net, batch)
        optimizer.zero_grad()
        losses["sum"].backward()
        torch.nn.utils.clip_grad_norm_(task.net.parameters(), 1.0)
        optimizer.step()
        lost.append({name: float(value.detach()) for name, value in losses.items()})
    for name in ("heat", "delta", "location", "joints_2d", "joints_3d", "sum"):
        assert lost[-1][name] < 0.75 * lost[0][name], name


def test_the_recipe_is_told(task):
    told = json.loads(json.dumps(task.describe()))
    assert told["net"] == "TinyDet"
    assert told["made_as"] == {"size": "tiny"}
    assert told["crops"]["resolution_px"] == 64
    assert told["weights"]["location"] == 5.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"made": ()}, "ShpeData.made is empty; name a folder"),
        ({"held_out": ()}, "ShpeData.held_out is empty"),
        ({"made": "data"}, "ShpeData.made is 'data', expected a list of folders"),
        ({"bare_share": 1.2}, "ShpeData.bare_share is 1.2"),
        ({"least_size_px": 0}, "ShpeData.least_size_px is 0"),
        ({"n_check": 0}, "ShpeData.n_check is 0"),
        ({"crops": 3}, "ShpeData.crops is 3, expected a folder or null"),
        ({"pasted_share": 1.0}, "ShpeData.pasted_share is 1.0"),
        ({"pasted_share": 0.2}, "ShpeData.crops is not given; name a folder of harvested hands"),
    ],
)
def test_data_settings_are_checked(change, message):
    with pytest.raises(SettingsError, match=message):
        ShpeData(**({"made": ("a",), "held_out": ("b",)} | change))


def test_recipes_are_checked(folders, tmp_path):
    with pytest.raises(SettingsError, match="batch is 0"):
        recipe(folders, batch=0)
    with pytest.raises(SettingsError, match="seed is -1"):
        recipe(folders, seed=-1)
    with pytest.raises(SettingsError, match=r"crops.resolution_px is 64, expected 224: the landm"):
        ShpeTask(DetNetSmall(), recipe(folders))
    shot = hand_shot(10, 1)
    single = replace(shot, present=shot.present & torch.tensor([True, False]))
    held_out = write_made(tmp_path / "single", "test", single)
    with pytest.raises(DataError, match="no held-out picture shows two hands"):
        ShpeTask(TinyDet(), recipe({**folders, "held_out": (str(held_out),)}))


# The nets to be trained.


def test_the_landmark_net_within_stays_as_it_is():
    net = make_shpe({"freeze": ["own_mid"]})
    frozen = {n.split(".")[0] for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {*DetNetSmall.LANDMARK_PARTS, "own_mid"}
    landmark = LandmarkNet()
    load_weights(landmark, weights_path("landmark"))
    assert torch.equal(net.low[0].depthwise.weight, landmark.blocks[0].depthwise.weight)
    assert torch.equal(net.high[-1].expand.weight, landmark.blocks[-1].expand.weight)
    assert torch.equal(net.own_high[-1].expand.weight, landmark.blocks[-1].expand.weight)
    raw = make_shpe({"start": "none"})
    assert not torch.equal(raw.stem.weight, landmark.stem.weight)


def test_a_trained_net_is_a_start(tmp_path):
    from safetensors.torch import save_file

    net = make_shpe({"size": "small"})
    net.trust.data.fill_(3.5)
    path = tmp_path / "best.safetensors"
    save_file({n: v.half().contiguous() for n, v in net.state_dict().items()}, str(path))
    again = make_shpe({"size": "small", "start": str(path)})
    assert (again.trust == 3.5).all()
    with pytest.raises(WeightsError, match=r"best.safetensors do not fit"):
        make_shpe({"size": "paper", "start": str(path)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": "large"}, "net.size is 'large', expected small or paper"),
        ({"width": 3}, "net is {'width': 3}, expected some of freeze, size, start"),
        ({"size": "paper", "start": "landmark"}, "start is a file, none or, for the small size"),
        ({"start": 3}, "start is a file, none or"),
        ({"freeze": ["nose"]}, "net.freeze names 'nose', which is no part of the net"),
        ({"freeze": "stem"}, "net.freeze is 'stem', expected a list"),
    ],
)
def test_nets_that_cannot_be_made_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        make_shpe(values)
