"""Practice tracks as files, and ``hdrvideo train refine``: it learns, resumes, and refuses."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from practice_tracks import make_practice
from safetensors.torch import load_file, save_file
from train_runs import read_table, run_train, write_settings

from hdrvideo.build import build_refiner
from hdrvideo.checkpoint import load_weights, read_note
from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import DataError, SettingsError, ShapeError, WeightsError, WriteError
from hdrvideo.motion.refine import SIZES, RefineNet, RefineSize
from hdrvideo.motion.windows import WINDOW_FRAMES
from hdrvideo.train.loop import LoopSettings, train
from hdrvideo.train.practice import PracticeTrack, load_folder, load_practice, save_practice
from hdrvideo.train.refine_losses import RefineWeights
from hdrvideo.train.refine_recipe import RefineData, RefineRecipe, RefineTask
from hdrvideo.train.refine_windows import WindowSettings
from hdrvideo.training import LESSONS, make_refine, train_net

CONFIGS = Path(__file__).parent.parent / "configs"
TINY = RefineSize(part=16, wide=32, spatial=1, layers=1, heads=2)
FRAMES = 8


def same(a: PracticeTrack, b: PracticeTrack) -> None:
    for f in fields(PracticeTrack):
        ours, theirs = getattr(a, f.name), getattr(b, f.name)
        if isinstance(ours, str):
            assert ours == theirs
        else:
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs, err_msg=f.name)


# Files.


def test_a_practice_track_comes_back_as_it_was(tmp_path):
    track = make_practice(6, 0, noise_px=2, gaps=((1, 2, 4),), split="test")
    path = tmp_path / "new" / "00000001.npz"
    save_practice(path, track)
    same(load_practice(path), track)
    assert [p.name for p in path.parent.iterdir()] == ["00000001.npz"]
    assert len(track) == 6


def values_of(track: PracticeTrack) -> dict:
    return {"version": np.asarray(1)} | {
        f.name: np.asarray(getattr(track, f.name)) for f in fields(PracticeTrack)
    }


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": np.asarray(7)}, "is not of version 1; make practice tracks again with"),
        ({"version": None}, "is not of version 1"),
        ({"pose": None}, "is no practice track of ours .*pose"),
        ({"extra": np.zeros(3)}, "is no practice track of ours .*extra"),
        ({"split": np.asarray("dev")}, "split is 'dev', expected 'train' or 'test'"),
        ({"pose": np.zeros((6, 2, 21, 3), np.float32)}, "pose is float32 .* make practice tracks"),
        ({"confidence": np.zeros((6, 2, 21))}, "confidence is float64"),
        ({"pts_seconds": np.zeros(5)}, "expected .*train tracks"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, change, text):
    values = values_of(make_practice(6, 0)) | change
    path = tmp_path / "a.npz"
    np.savez(path, **{n: v for n, v in values.items() if v is not None})
    with pytest.raises(DataError, match=rf"a\.npz .*{text}"):
        load_practice(path)


def test_damaged_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match=r"a\.npz is no practice track of ours \(.*No such file"):
        load_practice(path)
    save_practice(path, make_practice(6, 0))
    whole = path.read_bytes()
    half, spoilt = whole[: len(whole) // 2], whole[:200] + b"?" * 40 + whole[240:]
    for damaged in (b"", b"no zip", half, spoilt):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is no practice track of ours"):
            load_practice(path)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match=r"cannot be written: .*; check the disk's space and righ"):
        save_practice(tmp_path / "file" / "a.npz", make_practice(3, 0))
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(WriteError, match=r"a\.npz cannot be written"):
        save_practice(tmp_path / "a.npz", make_practice(3, 0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "file"]


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    tracks = [make_practice(3, n) for n in range(3)]
    for name, track in zip("bca", tracks, strict=True):
        save_practice(tmp_path / f"{name}.npz", track)
    for found, track in zip(load_folder(tmp_path, "train"), [tracks[2], *tracks[:2]], strict=True):
        same(found, track)
    with pytest.raises(DataError, match=r"a\.npz is of split train, expected test; name another"):
        load_folder(tmp_path, "test")
    with pytest.raises(DataError, match=r"no practice tracks in .*gone; make practice tracks"):
        load_folder(tmp_path / "gone", "train")


def test_practice_tracks_check_themselves():
    track = make_practice(3, 0)
    with pytest.raises(ShapeError, match="hidden_share is float64"):
        replace(track, hidden_share=track.hidden_share.astype(np.float64))
    with pytest.raises(ShapeError, match="split is 'dev'"):
        replace(track, split="dev")


# Teaching.


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("practice")
    for n in range(2):
        track = make_practice(16, n, noise_px=3, noise_mm=6, gaps=((n, 5, 8),))
        save_practice(folder / "train" / f"{n}.npz", track)
    held = make_practice(16, 9, noise_px=3, noise_mm=6, hidden=0.6, split="test")
    save_practice(folder / "test" / "9.npz", held)
    return {"tracks": [str(folder / "train")], "held_out": [str(folder / "test")]}


def task(data: dict[str, list[str]], **weights) -> RefineTask:
    still = {"turn_deg": 0.0, "swap_share": 0.0, "drop_share": 0.0, "noise": 0.0}
    recipe = RefineRecipe(
        RefineData(*(tuple(folders) for folders in data.values())),
        WindowSettings(frames=FRAMES, strides=(1,), zoom=1.0, **still),
        RefineWeights(**weights),
        batch=8,
    )
    torch.manual_seed(0)
    return RefineTask(RefineNet(TINY), recipe, made_as={"size": "tiny"})


def loop(steps: int, **change) -> LoopSettings:
    usual = {"warmup_steps": 0, "final_share": 1.0, "log_every": 1, "learning_rate": 3e-3}
    usual |= {"save_every": 100, "check_every": 100, "channels_last": False}
    return LoopSettings(steps, **(usual | change))


def test_it_learns(data, tmp_path):
    metrics = train(task(data, fooled=0.0), loop(24), tmp_path / "run", resume=False)
    lost = [float(row["sum"]) for row in read_table(tmp_path / "run" / "log.csv")]
    assert np.mean(lost[-5:]) < 0.8 * np.mean(lost[:5])
    assert np.isfinite(list(metrics.values())).all()
    assert metrics["mpjpe_mm"] < 2 * metrics["mpjpe_mm_raw"]
    names = set(read_table(tmp_path / "run" / "log.csv")[0])
    of_losses = {f.name for f in fields(RefineWeights)} - {"joint_basis", "fooled"}
    assert of_losses <= names
    assert (tmp_path / "run" / "best.safetensors").is_file()


@pytest.mark.parametrize("kind", ["gru", "tcmr"])
@pytest.mark.parametrize("frames", [5, 16])
def test_its_peers_learn_with_windows_of_any_length(data, tmp_path, kind, frames):
    values = settings(data, net={"kind": kind}, windows={"frames": frames}, weights={})
    config = write_settings(tmp_path / "refine.yaml", values | {"loop": asdict(loop(2))})
    metrics = train_net("refine", config, tmp_path / "run", resume=False, device="cpu")
    assert np.isfinite(list(metrics.values())).all()
    rows = read_table(tmp_path / "run" / "log.csv")
    assert float(rows[1]["motion"]) > 0
    path = tmp_path / "run" / "best.safetensors"
    assert read_note(path, "form") == {"kind": kind, "frames": frames}
    refiner = build_refiner(torch.device("cpu"), path)
    assert (refiner.frames, refiner.hop) == (frames, frames // 2)


def test_stopped_and_resumed_is_the_same_as_in_one_go(data, tmp_path):
    """The discriminator goes on as well."""
    train(task(data), loop(4), tmp_path / "whole", resume=False)
    train(task(data), loop(2), tmp_path / "parts", resume=False)
    torch.rand(3)
    train(task(data), loop(4), tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / n / "last.safetensors") for n in ("whole", "parts"))
    assert set(whole) == set(parts)
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    rows = [read_table(tmp_path / name / "log.csv") for name in ("whole", "parts")]
    assert [row["sum"] for row in rows[0]] == [row["sum"] for row in rows[1]]
    assert "discriminator" in rows[0][0]


def test_batches_follow_from_seed_number_and_worker(data):
    lessons = task(data)
    one, again, next_one = (lessons.batch(n, 0, 1) for n in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["said_state"], next_one["said_state"])
    parts = [lessons.batch(3, rank, 2) for rank in (0, 1)]
    assert [len(p["said_seen"]) for p in parts] == [4, 4]
    assert not torch.equal(parts[0]["said_state"], parts[1]["said_state"])
    told = lessons.describe()
    assert told["net"] == "RefineNet"
    assert told["made_as"] == {"size": "tiny"}
    assert json.loads(json.dumps(told))["data"]["tracks"] == data["tracks"]


@pytest.mark.parametrize(("name", "split"), [("tracks", "train"), ("held_out", "test")])
def test_folders_of_no_use_are_refused(data, tmp_path, name, split):
    with pytest.raises(DataError, match=f"no practice tracks in {tmp_path}"):
        task(data | {name: [str(tmp_path)]})
    other = {"tracks": "held_out", "held_out": "tracks"}[name]
    with pytest.raises(DataError, match=f"expected {split}; name another"):
        task(data | {name: data[other]})


def test_held_out_tracks_that_are_shorter_than_a_window_are_refused(data, tmp_path):
    """They would give no score, which would show at the first check, much later."""
    save_practice(tmp_path / "a.npz", make_practice(FRAMES - 1, 0, split="test"))
    with pytest.raises(DataError, match="shorter"):
        task(data | {"held_out": [str(tmp_path)]})


# The command.


def settings(folders: dict, **change) -> dict:
    usual = {
        "net": {"size": "small"},
        "loop": asdict(loop(1)) | {"slow": []},
        "data": folders,
        "windows": {"frames": FRAMES},
        "weights": {"joint_basis": "mse"},
        "batch": 2,
    }
    return usual | change


def test_a_run_leaves_weights_that_fit_and_its_recipe(data, tmp_path):
    config = write_settings(tmp_path / "refine.yaml", settings(data))
    done = run_train("refine", "--config", config, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(tmp_path / "run" / "best.safetensors")
    load_weights(RefineNet(), tmp_path / "run" / "best.safetensors")
    told = json.loads((tmp_path / "run" / "settings.json").read_text())["task"]
    assert told["made_as"] == {"size": "small"}
    assert told["weights"]["joint_basis"] == "mse"
    assert told["windows"]["frames"] == FRAMES


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"views": {}}, "setting views is unknown; known here: net, loop, data, windows, weights"),
        ({"data": {}}, "data.tracks is empty; name a folder of practice tracks"),
        ({"data": {"tracks": ["a"]}}, "data.held_out is empty; name a folder"),
        ({"data": {"tracks": "a", "held_out": ["b"]}}, "RefineData.tracks is 'a', expected a list"),
        ({"windows": {"hop": 3}}, "setting windows.hop is unknown"),
        ({"windows": {"strides": [0]}}, "strides is 0, expected a whole number from 1"),
        ({"weights": {"sum": 1}}, "setting weights.sum is unknown"),
        ({"weights": {"joint_basis": "l2"}}, "weights.joint_basis is 'l2', expected maxmse, ma"),
        ({"batch": 0}, "batch is 0, expected a whole number from 1"),
        ({"seed": -1}, "seed is -1"),
        ({"discriminator_rate": 0}, "discriminator_rate is 0, expected"),
        ({"net": "small"}, "net is 'small', expected some of kind, no_fusion, one_hand, size, st"),
        ({"net": {"width": 3}}, "net is {'width': 3}, expected some of kind, no_"),
    ],
)
def test_wrong_settings_are_refused(data, tmp_path, change, text):
    config = write_settings(tmp_path / "wrong.yaml", settings(data, **change))
    with pytest.raises(SettingsError) as caught:
        train_net("refine", config, tmp_path / "run", resume=False, device="cpu")
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_refiner_is_made_as_told(tmp_path):
    net = make_refine({})
    assert isinstance(net, RefineNet)
    assert net.fusing
    assert net.layers[0].other is not None
    assert not make_refine({"no_fusion": True}).fusing
    assert make_refine({"one_hand": True}).layers[0].other is None
    assert make_refine({"size": "paper"}).join.out_features == SIZES["paper"].wide
    path = tmp_path / "trained.safetensors"
    save_file(net.state_dict(), path)
    again = make_refine({"start": str(path)}).state_dict()
    assert all(torch.equal(again[name], value) for name, value in net.state_dict().items())
    with pytest.raises(WeightsError, match=r"trained\.safetensors do not fit"):
        make_refine({"one_hand": True, "start": str(path)})
    with pytest.raises(WeightsError, match=r"gone\.safetensors are missing"):
        make_refine({"start": str(tmp_path / "gone.safetensors")})


KNOWN = (
    r"expected kind: deformer \| gru \| tcmr, size: small \| paper, one_hand and no_fusion: true \|"
)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"size": "huge"}, f"net is .*'huge'.*{KNOWN}"),
        ({"size": ["small"]}, KNOWN),
        ({"kind": "lstm"}, f"net is .*'lstm'.*{KNOWN}"),
        ({"one_hand": 1}, KNOWN),
        ({"no_fusion": "yes"}, KNOWN),
        ({"start": 3}, "net.start is 3, expected a file or none"),
        ({"kind": "gru", "no_fusion": True}, "no_fusion is true and net.kind gru, which fuses no"),
    ],
)
def test_a_refiner_that_cannot_be_made_is_refused(values, text):
    with pytest.raises(SettingsError, match=text):
        make_refine(values)


def test_the_shipped_settings_are_read():
    values = read_yaml(CONFIGS / "refine_small.yaml")
    lesson = LESSONS["refine"]
    assert set(values) <= {"net", "loop", *lesson.recipe.__dataclass_fields__}
    assert build_settings(LoopSettings, values["loop"], "loop.").steps >= 1000
    recipe = lesson.read_recipe(values)
    assert recipe.batch == values["batch"]
    # Windows are as long as those that the stage cuts.
    assert recipe.windows.frames == WINDOW_FRAMES
    assert isinstance(lesson.make(values["net"]), RefineNet)
