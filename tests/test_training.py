"""``hdrvideo train hasm``: from a settings file to weights that fit the net, and all that fails."""

import json
import sys
from pathlib import Path

import pytest
import torch
from made_shards import write_all
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from train_runs import read_table, run_train, write_settings

import hdrvideo.training
from hdrvideo.checkpoint import load_weights
from hdrvideo.cli import main
from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import DataError, SettingsError, WeightsError
from hdrvideo.frame.efficientnet import EfficientTrunk
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.train.hasm_recipe import HasmData, HasmRecipe
from hdrvideo.train.logs import LOGGER
from hdrvideo.train.loop import LoopSettings
from hdrvideo.train.views import ViewSettings
from hdrvideo.training import make_hasm, train_net

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("training"))


def settings(data: dict, change: dict | None = None) -> dict:
    usual = {
        "net": {"size": "small"},
        "loop": {"steps": 3, "warmup_steps": 1, "check_every": 2, "log_every": 1},
        "data": {**data, "n_check": 4},
        "views": {"resolution_px": 64, "pair_scale": [1.1, 1.5]},
        "batch": 2,
    }
    return {**usual, **(change or {})}


def run(*arguments: object):
    return run_train("hasm", *arguments)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Train three steps at 64 px; give the folder, its settings file and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    config = write_settings(folder / "hasm.yaml", settings(data))
    done = run("--config", config, "-o", folder / "run")
    assert done.exit_code == 0, done.output
    return folder / "run", config, done.output


def test_a_run_leaves_records_and_weights_that_fit(finished):
    out, _, printed = finished
    assert {"settings.json", "log.csv", "checks.csv", "sheets", "last.safetensors"} <= {
        path.name for path in out.iterdir()
    }
    assert [row["step"] for row in read_table(out / "log.csv")] == ["1", "2", "3"]
    assert [row["step"] for row in read_table(out / "checks.csv")] == ["2", "3"]
    net = HasmNet()
    load_weights(net, out / "best.safetensors")
    assert {v.dtype for v in load_file(out / "best.safetensors").values()} == {torch.float16}
    lines = printed.splitlines()
    assert lines[-1] == str(out / "best.safetensors")
    score = float(read_table(out / "checks.csv")[-1]["score"])
    assert f"score {score:.4f}" in lines
    assert any(line.startswith("step 3 train: ") for line in lines)
    assert any(line.startswith("step 2 check: ") for line in lines)


def test_the_run_remembers_its_recipe(finished):
    out, config, _ = finished
    told = json.loads((out / "settings.json").read_text())
    values = read_yaml(config)
    assert told["loop"]["steps"] == 3
    assert told["loop"]["device"] == "cpu"
    assert told["task"]["net"] == "HasmNet"
    assert told["task"]["batch"] == 2
    assert told["task"]["data"]["made"] == values["data"]["made"]
    assert told["task"]["views"]["pair_scale"] == [1.1, 1.5]


def test_a_run_goes_on_to_more_steps_as_if_it_had_never_stopped(data, finished, tmp_path):
    """The cosine of two steps is not that of three: let it have no slope."""
    flat = {"warmup_steps": 0, "final_share": 1.0, "check_every": 10, "log_every": 1}
    whole = write_settings(tmp_path / "a.yaml", settings(data, {"loop": {**flat, "steps": 2}}))
    half = write_settings(tmp_path / "b.yaml", settings(data, {"loop": {**flat, "steps": 1}}))
    assert run("--config", whole, "-o", tmp_path / "a").exit_code == 0
    assert run("--config", half, "-o", tmp_path / "b").exit_code == 0
    done = run("--config", whole, "-o", tmp_path / "b", "--resume")
    assert done.exit_code == 0, done.output
    with (
        safe_open(tmp_path / "a" / "last.safetensors", "pt") as one,
        safe_open(tmp_path / "b" / "last.safetensors", "pt") as other,
    ):
        assert set(one.keys()) == set(other.keys())
        for name in one.keys():  # noqa: SIM118
            assert torch.equal(one.get_tensor(name), other.get_tensor(name)), name
    assert [row["step"] for row in read_table(tmp_path / "b" / "log.csv")] == ["1", "2"]


def test_only_the_first_worker_speaks(finished, monkeypatch):
    out, config, _ = finished
    again = run("--config", config, "-o", out, "--resume")
    assert again.exit_code == 0
    assert again.output.splitlines()[-1] == str(out / "best.safetensors")
    monkeypatch.setenv("RANK", "1")
    silent = run("--config", config, "-o", out, "--resume")
    assert silent.exit_code == 0
    assert silent.output == ""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_lines_are_said_once_and_only_during_the_run(monkeypatch, tmp_path, rank, capfd):
    """A run that was stopped before its first check has no best weights."""

    def stop(name, config, out, *, resume, device, **more):
        LOGGER.info("a line")
        LOGGER.warning("stopped")
        return {}

    monkeypatch.setattr(hdrvideo.training, "train_net", stop)
    monkeypatch.setenv("RANK", rank)
    for _ in range(2):
        done = run("--config", "x.yaml", "-o", tmp_path)
        assert done.output == ("a line\nstopped\n" if rank == "0" else "")
    assert LOGGER.handlers == []
    assert capfd.readouterr() == ("", "")


def test_a_failed_run_leaves_the_log_as_it_was(tmp_path):
    level = LOGGER.level
    done = run("--config", tmp_path / "none.yaml", "-o", tmp_path / "run")
    assert isinstance(done.exception, SettingsError)
    assert LOGGER.handlers == []
    assert LOGGER.level == level


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"nets": {}}, SettingsError, "setting nets is unknown; known here: net, loop, data, vie"),
        ({3: {}}, SettingsError, "setting 3 is unknown"),
        ({"loop": {}}, SettingsError, "setting loop.steps is missing"),
        ({"loop": {"steps": 0}}, SettingsError, "LoopSettings.steps is 0"),
        ({"loop": None}, SettingsError, "setting loop is None, expected a mapping"),
        ({"views": {"zoom": 1}}, SettingsError, "setting views.zoom is unknown"),
        ({"views": {"pair_scale": 2}}, SettingsError, "pair_scale is 2, expected two numbers"),
        ({"data": {}}, SettingsError, "made_share is 0.7 and there is nothing to take it from"),
        ({"batch": 0}, SettingsError, "batch is 0, expected a whole number from 1"),
        ({"batch": "many"}, SettingsError, "batch is 'many', expected a whole number"),
        ({"seed": -1}, SettingsError, "seed is -1"),
        ({"net": "small"}, SettingsError, "net is 'small', expected size: small | mit_b0"),
        ({"net": {"size": "huge"}}, SettingsError, "expected size: small"),
        ({"net": {"start": 3}}, SettingsError, "expected size: small"),
        ({"net": {"begin": "x"}}, SettingsError, "net is {'begin': 'x'}, expected size"),
        ({"net": {"start": "gone.safetensors"}}, WeightsError, "gone.safetensors are missing; na"),
    ],
)
def test_wrong_settings_are_refused(data, tmp_path, change, kind, text):
    config = write_settings(tmp_path / "hasm.yaml", settings(data, change))
    with pytest.raises(kind) as caught:
        train_net("hasm", config, tmp_path / "run", resume=False, device="cpu")
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_missing_pictures_are_refused(data, tmp_path):
    gone = {**data, "made": [str(tmp_path / "gone")]}
    config = write_settings(tmp_path / "hasm.yaml", settings(data, {"data": gone}))
    with pytest.raises(DataError, match=r"gone/manifest\.json is no manifest of shards"):
        train_net("hasm", config, tmp_path / "run", resume=False, device="cpu")


@pytest.mark.parametrize(
    ("resume", "change", "code", "text"),
    [
        (False, {}, 1, "is not an empty folder; choose another, or resume the run"),
        (True, {"batch": 3}, 2, "task.batch is 3 and was 2 when"),
        (True, {"seed": 1}, 2, "task.seed is 1 and was 0 when"),
    ],
)
def test_the_command_refuses_in_one_line(
    data, finished, tmp_path, monkeypatch, capsys, resume, change, code, text
):
    out, _, _ = finished
    config = write_settings(tmp_path / "hasm.yaml", settings(data, change))
    arguments = ["--config", str(config), "-o", str(out), "--device", "cpu"]
    arguments += ["--resume"] if resume else []
    monkeypatch.setattr(sys, "argv", ["hdrvideo", "train", "hasm", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("error: ")
    assert text in said.err


def test_the_seed_decides_what_is_random_in_the_net(data, tmp_path, monkeypatch):
    nets: list[nn.Module] = []
    monkeypatch.setattr(
        hdrvideo.training, "train", lambda task, *args, **kwargs: nets.append(task.net) or {}
    )
    for seed in (0, 0, 1):
        torch.rand(1)
        config = write_settings(tmp_path / "hasm.yaml", settings(data, {"seed": seed}))
        train_net("hasm", config, tmp_path / "run", resume=False, device="cpu")
    ours, again, other = (net.tails.weight for net in nets)
    assert torch.equal(ours, again)
    assert not torch.equal(ours, other)


# The net that is trained.


def test_frozen_parts_stay_and_the_rest_learns(data, tmp_path):
    net = {"freeze": ["stem", "stage1"]}
    loop = {"steps": 1, "warmup_steps": 0}
    config = write_settings(tmp_path / "hasm.yaml", settings(data, {"net": net, "loop": loop}))
    train_net("hasm", config, tmp_path / "run", resume=False, device="cpu")
    start, trunk = make_hasm({}).state_dict(), EfficientTrunk()
    moved = set()
    with safe_open(tmp_path / "run" / "last.safetensors", "pt") as file:
        for name in trunk.state_dict():
            if not torch.equal(file.get_tensor(f"net/{name}"), start[name]):
                moved.add(name.split(".")[0])
    assert moved == {n for n, _ in trunk.named_children()} - {"stem", "stage1"}


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["stem", "head"], r"net\.freeze names 'head', which is no part of the net"),
        (["ste"], r"net\.freeze names 'ste'"),
        ("stem", r"net\.freeze is 'stem', expected a list"),
    ],
)
def test_only_parts_of_the_net_are_frozen(names, text):
    with pytest.raises(SettingsError, match=text):
        make_hasm({"freeze": names})


def test_the_small_net_starts_from_a_trunk_from_itself_or_from_nothing(tmp_path):
    bare, path = make_hasm({}), tmp_path / "start.safetensors"
    assert isinstance(bare, HasmNet)
    trunk = {name: value + 1 for name, value in EfficientTrunk().state_dict().items()}
    save_file(trunk, path)
    warm = make_hasm({"size": "small", "start": str(path)}).state_dict()
    assert all(torch.equal(warm[name], value) for name, value in trunk.items())
    save_file(bare.state_dict(), path)
    again = make_hasm({"start": str(path)}).state_dict()
    assert all(torch.equal(again[name], value) for name, value in bare.state_dict().items())
    for values in ({"start": "none"}, {"start": None}):
        fresh = make_hasm(values).state_dict()
        assert not torch.equal(fresh["stem.weight"], bare.state_dict()["stem.weight"])


def test_a_start_that_fits_by_accident_is_refused(tmp_path):
    values = {name: torch.zeros_like(v) for name, v in HasmNet().state_dict().items()}
    trunk = sorted(EfficientTrunk().state_dict())
    path = tmp_path / "other.safetensors"
    few = {name: values[name] for name in trunk[: len(trunk) // 2 - 1]}
    # Tensors beside the encoder do not count.
    few |= {name: value for name, value in values.items() if name not in trunk}
    save_file(few, path)
    text = (
        rf"other\.safetensors fit {len(trunk) // 2 - 1} of the {len(trunk)} tensors of the net's "
        "encoder, expected at least half; name weights of this net"
    )
    with pytest.raises(WeightsError, match=text):
        make_hasm({"start": str(path)})
    save_file({name: values[name] for name in trunk[: len(trunk) // 2 + 1]}, path)
    make_hasm({"start": str(path)})
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="fit this net nowhere"):
        make_hasm({"start": str(path)})


def test_a_paper_sized_net_starts_from_a_folder_or_a_file(tmp_path):
    transformers = pytest.importorskip("transformers")
    from hdrvideo.frame.hasm_mit import SIZES, HasmMit

    channels, layers = SIZES["b0"]
    published = transformers.SegformerModel(
        transformers.SegformerConfig(hidden_sizes=channels, depths=layers)
    )
    published.save_pretrained(tmp_path / "mit")
    net = make_hasm({"size": "mit_b0", "start": str(tmp_path / "mit"), "freeze": ["encoder"]})
    assert isinstance(net, HasmMit)
    assert {n.split(".")[0] for n, p in net.named_parameters() if not p.requires_grad} == {
        "encoder"
    }
    for name, value in published.state_dict().items():
        assert torch.equal(net.encoder.state_dict()[name], value), name
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    again = make_hasm({"size": "mit_b0", "start": str(tmp_path / "net.safetensors")})
    assert all(torch.equal(again.state_dict()[n], v) for n, v in net.state_dict().items())
    with pytest.raises(WeightsError, match=r"do not fit mit_b1: .* check net\.size"):
        make_hasm({"size": "mit_b1", "start": str(tmp_path / "mit")})
    with pytest.raises(WeightsError, match=r"fit \d+ of the \d+ tensors of the net's encoder"):
        make_hasm({"size": "mit_b1", "start": str(tmp_path / "net.safetensors")})
    bare = make_hasm({"size": "mit_b0"})
    assert not torch.equal(bare.project[0].weight, net.project[0].weight)


def test_the_shipped_settings_are_read():
    values = read_yaml(CONFIGS / "hasm_small.yaml")
    loop = build_settings(LoopSettings, values["loop"], "loop.")
    recipe = HasmRecipe(
        build_settings(HasmData, values["data"], "data."),
        build_settings(ViewSettings, values.get("views", {}), "views."),
        values["batch"],
    )
    assert loop.steps >= 1000
    assert recipe.data.made_share > 0.5
    assert set(values) <= {"net", "loop", "data", "views", "batch", "seed", "hidden_weight"}
    assert isinstance(make_hasm(values["net"] | {"start": "none"}), HasmNet)
