"""The script that trains the refiner without its parts: rows, tables, going on."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from practice_tracks import make_practice
from train_runs import write_settings

from hdrvideo.build import refiner_form
from hdrvideo.motion.form import KINDS, RefineForm
from hdrvideo.motion.refine import RefineNet
from hdrvideo.motion.states import StateReader, turns_of
from hdrvideo.motion.windows import WINDOW_FRAMES, Refiner
from hdrvideo.train.loop import LoopSettings
from hdrvideo.train.practice import save_practice
from hdrvideo.train.refine_losses import RefineWeights
from hdrvideo.training import LESSONS, make_refine

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("ablate_refine")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Make two tracks to learn from and one to be judged by, some frames longer than a window."""
    folder = tmp_path_factory.mktemp("practice")
    for n in range(2):
        save_practice(folder / "train" / f"{n}.npz", make_practice(26, n, noise_px=3, noise_mm=6))
    held = make_practice(2 * WINDOW_FRAMES + 5, 9, noise_px=3, noise_mm=6, split="test")
    save_practice(folder / "test" / "9.npz", held)
    return folder


def run(script, monkeypatch, data, out, *more) -> int:
    arguments = [data / "train", "--held-out", data / "test", "-o", out, "--steps", 2]
    arguments += ["--batch", 2, "--device", "cpu", *more]
    monkeypatch.setattr(sys, "argv", ["ablate_refine.py", *map(str, arguments)])
    return script.main()


def test_rows_are_trained_scored_and_not_trained_again(script, monkeypatch, data, tmp_path, capsys):
    out, told = tmp_path / "out", tmp_path / "table.md"
    rows = ["full", "windows_5", "gru"]
    assert run(script, monkeypatch, data, out, "--rows", *rows, "--table", told) == 0
    table = told.read_text().splitlines()
    assert table[0].startswith("|  | parameters | steps (best) | MPJPE, mm | half hidden, MPJPE |")
    names = [line.split("|")[1].strip() for line in table[2:]]
    assert names == ["per frame", "smoothed", *rows]
    assert "| full | 350161 | 2 (2) |" in table[4]
    assert told.read_text() in capsys.readouterr().out
    kept = {name: json.loads((out / f"{name}.json").read_text()) for name in rows}
    # All are judged on the same frames.
    for name in rows[1:]:
        for key, value in kept["full"]["scores"].items():
            if key.endswith(("_raw", "_smooth")):
                assert kept[name]["scores"][key] == pytest.approx(value, nan_ok=True)
    assert refiner_form(out / "gru" / "best.safetensors") == RefineForm(kind="gru")
    assert refiner_form(out / "windows_5" / "best.safetensors").frames == 5

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(script, "train_net", refuse)
    assert run(script, monkeypatch, data, out, "--rows", *rows, "--table", told) == 0
    assert told.read_text().splitlines() == table


def test_what_was_begun_goes_on(script, monkeypatch, data, tmp_path, capsys):
    begun, trained = [], script.train_net

    def stopping(name, config, out, *, resume, device):
        """Stop after one step, as a signal would."""
        begun.append(resume)
        if resume:
            return trained(name, config, out, resume=resume, device=device)
        values = yaml.safe_load(config.read_text())
        values["loop"] |= {"steps": 1}
        short = write_settings(tmp_path / "short.yaml", values)
        return trained(name, short, out, resume=False, device=device)

    monkeypatch.setattr(script, "train_net", stopping)
    values = yaml.safe_load(script.CONFIG.read_text())
    values["loop"] |= {"warmup_steps": 0}
    config = write_settings(tmp_path / "config.yaml", values)
    same = ("--rows", "tcmr", "--config", config)
    assert run(script, monkeypatch, data, tmp_path / "out", *same) == 1
    error = capsys.readouterr().err
    assert error == "error: tcmr was stopped after step 1; run the same line to go on\n"
    assert not (tmp_path / "out" / "tcmr.json").exists()
    assert run(script, monkeypatch, data, tmp_path / "out", *same) == 0
    assert begun == [False, True]
    assert json.loads((tmp_path / "out" / "tcmr.json").read_text())["steps"] == 2
    # Not with other settings.
    assert run(script, monkeypatch, data, tmp_path / "out", *same, "--seed", 1) == 1
    error = capsys.readouterr().err
    assert "seed is 1 and was 0 in" in error
    assert "tcmr.yaml; give it as it was, or choose another -o" in error


def test_a_whole_track_is_scored_by_the_frames_of_the_check(script, data):
    held_out = script.HeldOut(str(data / "test"))
    torch.manual_seed(0)
    plain = Refiner(RefineNet().eval(), StateReader(), CPU, steady_seconds=0.0)
    scores = held_out.score(plain)
    # An untrained net smooths.
    for name in ("mpjpe_mm", "acceleration_mm"):
        assert scores[name] < scores[f"{name}_raw"]
    windows = script.refined(plain, held_out._tracks[0])
    assert [state.shape for state, _ in windows] == 2 * [(2, WINDOW_FRAMES, 99)]
    assert [sure.shape for _, sure in windows] == 2 * [(2, WINDOW_FRAMES, 21)]


def test_joints_weigh_alike_by_both_losses(script, data):
    """MaxMSE is mean squares weighed by themselves: between one and 21 times as large."""
    held_out = script.HeldOut(str(data / "test"))
    square = []
    for batch in held_out._batches:
        said, true = (batch[name] for name in ("said_state", "true_state"))
        joints = [held_out.model.joints(turns_of(s.flatten(0, 2))) for s in (said, true)]
        square.append(((joints[0] - joints[1]) ** 2).sum(dim=-1))
    a = torch.cat(square)
    expected = float(((a**2).sum(1) / a.sum(1)).sum() / a.mean(1).sum())
    assert held_out.basis_ratio() == pytest.approx(expected, rel=1e-3)
    assert 1 < expected < 21


def test_every_row_has_settings_that_can_be_trained(script):
    named = {"full", "no_fusion", "mse", "no_discriminator", "one_hand", *KINDS[1:]}
    assert named <= set(script.ROWS)
    args = script.argparse.Namespace(
        steps=20, seed=3, batch=None, tracks=["data/tracks"], held_out="data/tracks_test"
    )
    base = script.read_yaml(script.CONFIG)
    lengths = set()
    for change in script.ROWS.values():
        settings = script.row_settings(base, change, args, 3.0)
        recipe = LESSONS["refine"].read_recipe(settings)
        assert (recipe.seed, recipe.batch) == (3, base["batch"])
        assert recipe.data.tracks == ("data/tracks",)
        assert LoopSettings(**settings["loop"]).steps == 20
        lengths.add(recipe.windows.frames)
        is_mse = recipe.weights.joint_basis == "mse"
        assert recipe.weights.joints == pytest.approx(RefineWeights().joints * (3 if is_mse else 1))
        make_refine(settings["net"])
    assert lengths == {5, 7, 9, 16, WINDOW_FRAMES}
    # No two rows are alike.
    assert len({yaml.safe_dump(change) for change in script.ROWS.values()}) == len(script.ROWS)
    assert base == script.read_yaml(script.CONFIG)


def test_folders_of_no_use_are_told_in_a_line(script, monkeypatch, data, tmp_path, capsys):
    arguments = ["x", data / "train", "--held-out", tmp_path, "-o", tmp_path, "--steps", 2]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    assert script.main() == 1
    assert capsys.readouterr().err.startswith("error: no practice tracks in ")
