"""``hdrvideo train hdrm`` and ``shpe``: from a settings file to weights that fit the net."""

import json
from pathlib import Path

import pytest
import torch
from bare_hands import write_bare
from pose_hands import write_hands
from safetensors.torch import load_file, save_file
from train_runs import read_table, run_train, write_settings

from hdrvideo.checkpoint import load_weights
from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import DataError, SettingsError, WeightsError
from hdrvideo.frame.detnet import DetNet, DetNetSmall
from hdrvideo.frame.hdrm import PAPER, HdrmNet
from hdrvideo.frame.partial import TransformerBlock
from hdrvideo.train.loop import LoopSettings
from hdrvideo.training import LESSONS, make_hdrm, train_net

CONFIGS = Path(__file__).parent.parent / "configs"
NETS = {"hdrm": HdrmNet, "shpe": DetNetSmall}
both = pytest.mark.parametrize("name", NETS)


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> dict[str, dict]:
    """Give the settings of each net's shortest run, of one step."""
    folder = tmp_path_factory.mktemp("nets")
    # Flat: the cosine of one step is not that of two.
    loop = {"steps": 1, "warmup_steps": 0, "final_share": 1.0, "check_every": 5, "log_every": 1}
    return {
        "hdrm": {
            "net": {"size": "small", "without_transformer": True},
            "loop": loop,
            "crop": {"resolution_px": 64},
            "weights": {"style": 0.5},
            "data": write_bare(folder / "bare"),
            "batch": 2,
            "discriminator_width": 4,
        },
        "shpe": {
            "net": {"size": "small"},
            "loop": loop,
            "weights": {"heat": 2.0},
            "data": {**write_hands(folder / "hands"), "n_check": 2},
            "batch": 2,
            "seed": 3,
        },
    }


@pytest.fixture(scope="module")
def resumed(usual, tmp_path_factory) -> dict[str, Path]:
    """Train each net for one step, and go on to two; give the folders of the runs."""
    folders = {}
    for name, values in usual.items():
        folder = tmp_path_factory.mktemp(name)
        one = write_settings(folder / "one.yaml", values)
        longer = {**values, "loop": {**values["loop"], "steps": 2}}
        two = write_settings(folder / "two.yaml", longer)
        for more in (("--config", one), ("--config", two, "--resume")):
            done = run_train(name, *more, "-o", folder / "run")
            assert done.exit_code == 0, done.output
            assert done.output.splitlines()[-1] == str(folder / "run" / "best.safetensors")
        folders[name] = folder / "run"
    return folders


@both
def test_a_run_leaves_weights_that_fit_and_its_recipe(usual, resumed, name):
    out, values = resumed[name], usual[name]
    net = LESSONS[name].make(values["net"])
    assert isinstance(net, NETS[name])
    load_weights(net, out / "best.safetensors")
    assert {v.dtype for v in load_file(out / "best.safetensors").values()} == {torch.float16}
    told = json.loads((out / "settings.json").read_text())["task"]
    assert told["net"] == NETS[name].__name__
    assert told["made_as"] == values["net"]
    assert told["batch"] == 2
    assert told["data"]["made"] == list(values["data"]["made"])
    assert values["weights"].items() <= told["weights"].items()
    assert [row["step"] for row in read_table(out / "checks.csv")] == ["1", "2"]
    assert "sheets" in {path.name for path in out.iterdir()}


@both
def test_a_resumed_run_is_one_that_never_stopped(usual, resumed, tmp_path, name):
    values = {**usual[name], "loop": {**usual[name]["loop"], "steps": 2}}
    config = write_settings(tmp_path / "whole.yaml", values)
    train_net(name, config, tmp_path / "run", resume=False, device="cpu")
    whole, parts = (load_file(f / "last.safetensors") for f in (tmp_path / "run", resumed[name]))
    assert set(whole) == set(parts)
    for tensor, value in whole.items():
        assert torch.equal(value, parts[tensor]), tensor
    assert [row["step"] for row in read_table(resumed[name] / "log.csv")] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "change", "kind", "text"),
    [
        (
            "hdrm",
            {"views": {}},
            SettingsError,
            "setting views is unknown; known here: net, loop, d",
        ),
        ("shpe", {"crop": {}}, SettingsError, "setting crop is unknown; known here: net, loop, da"),
        ("hdrm", {"crop": {"zoom": 1}}, SettingsError, "setting crop.zoom is unknown"),
        ("hdrm", {"weights": {"sum": 1}}, SettingsError, "setting weights.sum is unknown"),
        ("hdrm", {"loop": {}}, SettingsError, "setting loop.steps is missing"),
        ("hdrm", {"data": {}}, SettingsError, "pasted_share is 0.3 and HdrmData.crops is not giv"),
        ("hdrm", {"discriminator_width": 0}, SettingsError, "discriminator_width is 0, expected"),
        ("hdrm", {"features": "gone.npz"}, WeightsError, "gone.npz are missing"),
        ("shpe", {"crops": {"zoom": 1}}, SettingsError, "setting crops.zoom is unknown"),
        ("shpe", {"weights": None}, SettingsError, "setting weights is None, expected a mapping"),
        ("shpe", {"crops": {"resolution_px": 64}}, SettingsError, "px is 64, expected 224: the la"),
        ("shpe", {"net": {"width": 3}}, SettingsError, "net is {'width': 3}, expected some of"),
    ],
)
def test_wrong_settings_are_refused(usual, tmp_path, name, change, kind, text):
    config = write_settings(tmp_path / "wrong.yaml", {**usual[name], **change})
    with pytest.raises(kind) as caught:
        train_net(name, config, tmp_path / "run", resume=False, device="cpu")
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


@both
def test_missing_pictures_are_refused(usual, tmp_path, name):
    data = {**usual[name]["data"], "made": [str(tmp_path / "gone")]}
    config = write_settings(tmp_path / "gone.yaml", {**usual[name], "data": data})
    with pytest.raises(DataError, match=r"gone/manifest\.json is no manifest of shards"):
        train_net(name, config, tmp_path / "run", resume=False, device="cpu")


# The net that paints.


def test_an_hdrm_is_made_as_told(tmp_path):
    net = make_hdrm({})
    assert isinstance(net, HdrmNet)
    assert any(isinstance(m, TransformerBlock) for m in net.modules())
    plain = make_hdrm({"without_transformer": True})
    assert not any(isinstance(m, TransformerBlock) for m in plain.modules())
    assert make_hdrm({"size": "paper"}).size == PAPER
    path = tmp_path / "trained.safetensors"
    save_file(net.state_dict(), path)
    again = make_hdrm({"size": "small", "start": str(path)}).state_dict()
    assert all(torch.equal(again[name], value) for name, value in net.state_dict().items())
    fresh = make_hdrm({"start": None}).state_dict()
    assert not torch.equal(fresh["encoder.0.conv.weight"], again["encoder.0.conv.weight"])
    with pytest.raises(WeightsError, match=r"trained\.safetensors do not fit: \S+ is not in the n"):
        make_hdrm({"without_transformer": True, "start": str(path)})
    with pytest.raises(WeightsError, match=r"gone\.safetensors are missing"):
        make_hdrm({"start": str(tmp_path / "gone.safetensors")})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ("small", "net is 'small', expected some of size, start, without_transformer"),
        ({"width": 3}, "net is {'width': 3}, expected some of size, start, without_transformer"),
        ({"size": "huge"}, r"net is {'size': 'huge'}, expected size: small \| paper, without_tr"),
        ({"start": 3}, "expected size: .*, start: FILE . none"),
        ({"without_transformer": 1}, r"expected size: .* without_transformer: true \| false"),
    ],
)
def test_an_hdrm_that_cannot_be_made_is_refused(values, text):
    with pytest.raises(SettingsError, match=text):
        make_hdrm(values)


# The settings files that come with the project.


@pytest.mark.parametrize("size", ["small", "paper"])
@both
def test_the_shipped_settings_are_read(name, size):
    values = read_yaml(CONFIGS / f"{name}_{size}.yaml")
    lesson = LESSONS[name]
    assert set(values) <= {"net", "loop", *lesson.recipe.__dataclass_fields__}
    assert values["net"]["size"] == size
    assert build_settings(LoopSettings, values["loop"], "loop.").steps >= 1000
    recipe, net = lesson.read_recipe(values), lesson.make(values["net"])
    assert recipe.batch == values["batch"]
    assert recipe.data.held_out == ("data/world_test",)
    if name == "hdrm":
        assert recipe.crop.resolution_px == net.size.resolution_px
    else:
        assert isinstance(net, DetNetSmall if size == "small" else DetNet)
        assert recipe.crops.resolution_px == net.RESOLUTION_PX
