"""Bare clips as files and as crops, their scores, and ``hdrvideo train memory``."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import STEP_PX, draw_bare_clip, write_clips
from train_runs import read_table, run_train, write_settings

from hdrvideo.build import memory_net
from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import DataError, SettingsError, ShapeError, WriteError
from hdrvideo.frame.hdrm import HdrmNet, compose, find_regions
from hdrvideo.motion.flow import DisFlow
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.motions import Motions
from hdrvideo.train.bare_clips import (
    BareClip,
    ClipSettings,
    list_clips,
    load_clip,
    make_clips,
    save_clip,
)
from hdrvideo.train.bare_crops import CropSettings
from hdrvideo.train.clip_crops import ClipCrops, draw_clip, hands_of
from hdrvideo.train.clip_scores import clip_scores, mean_scores, warp_error
from hdrvideo.train.loop import LoopSettings
from hdrvideo.train.memory_recipe import (
    MemoryData,
    MemoryRecipe,
    MemoryTask,
    MemoryWeights,
    motions_of,
    paint_clips,
    stack_clips,
)
from hdrvideo.training import LESSONS, make_memory, train_net
from hdrvideo.validate.painting import flicker_l1

CONFIGS = Path(__file__).parent.parent / "configs"
R = 64
STILL = CropSettings(
    R, scale_share=0, shift_share=0, turn_deg=0, box_share=0, spoil=0, no_other_share=0,
    recolour=False,
)  # fmt: skip


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cut(side: int = 0, settings: CropSettings = STILL) -> ClipCrops:
    return draw_clip(draw_bare_clip(4, 0), side, slice(None), rng(), settings)


# Files.


def test_a_clip_comes_back_as_it_was(tmp_path):
    clip = draw_bare_clip(3, 1, "test")
    path = tmp_path / "new" / "clip_000001.npz"
    save_clip(path, clip)
    found = load_clip(path)
    for f in fields(BareClip):
        ours, theirs = getattr(clip, f.name), getattr(found, f.name)
        if f.name in ("rgb_u8", "bare_u8"):
            assert np.abs(ours.astype(int) - theirs).mean() < 3
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=f.name)
    assert [p.name for p in path.parent.iterdir()] == ["clip_000001.npz"]
    assert list_clips(path.parent, "test") == [path]


def test_clips_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no bare clips in .*; make some with `hdrvideo train cl"):
        list_clips(tmp_path, "train")
    write_clips(tmp_path, "test", 1)
    with pytest.raises(DataError, match="holds clips of split test, expected train; name another"):
        list_clips(tmp_path, "train")
    path = tmp_path / "clip_000000.npz"
    with path.open("rb") as stream, np.load(stream) as file:
        values = dict(file)
    for change, text in (
        ({"version": np.array(9)}, "is not of version 1; make clips again with `hdrvideo train"),
        ({"uv_px": values["uv_px"][:2]}, "is no bare clip of ours"),
        ({"split": np.array("dev")}, "split is 'dev', expected 'train' or 'test'"),
    ):
        np.savez(path, **{**values, **change})
        with pytest.raises(DataError, match=text):
            load_clip(path)
    path.write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match="is no bare clip of ours"):
        load_clip(path)
    with pytest.raises(DataError, match="is no bare clip of ours"):
        load_clip(tmp_path / "clip_000007.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        save_clip(tmp_path / "file" / "clip.npz", draw_bare_clip(2, 0))


def test_made_clips_are_those_of_their_seeds_and_what_is_there_is_left(tmp_path):
    settings = ClipSettings(n_clips=1, n_frames=2, first_seed=4, size_px=48, scene_frames=4)
    more = ("train", settings, Assets.find("train"), Motions.load("train"))
    done: list[int] = []
    make_clips(tmp_path, *more, on_progress=done.append)
    (path,) = list_clips(tmp_path, "train")
    assert path.name == "clip_000004.npz"
    assert done == [1]
    clip = load_clip(path)
    assert (clip.relation, len(clip)) == ("touching", 2)
    # Motion is known on the whole hand alone.
    is_known = np.isfinite(clip.before_px).all(axis=-1)
    assert is_known[1].any()
    assert not (is_known & ~clip.amodal).any()
    path.write_bytes(b"mine")
    make_clips(tmp_path, *more)
    assert path.read_bytes() == b"mine"


def test_the_command_makes_the_clips_it_is_asked_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "hdrvideo.train.bare_clips.make_clips",
        lambda out, split, settings, *_, device, on_progress: asked.append(
            (out, split, settings, device)
        ),
    )
    more = ("--clips", 3, "--frames", 4, "--first-seed", 9, "--split", "test")
    done = run_train("clips", "-o", tmp_path, *more)
    assert done.exit_code == 0, done.output
    assert asked == [(tmp_path, "test", ClipSettings(3, 4, 9), "cpu")]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_clips": 0}, r"ClipSettings\.n_clips is 0, expected a whole number from 1 to"),
        ({"n_frames": 1}, r"ClipSettings\.n_frames is 1, expected a whole number from 2 to 1000"),
        ({"first_seed": -1}, r"ClipSettings\.first_seed is -1"),
        ({"size_px": 8}, r"ClipSettings\.size_px is 8"),
        ({"scene_frames": 4}, r"ClipSettings\.scene_frames is 4, expected a whole number from 16"),
    ],
)
def test_settings_of_clips_are_checked(change, text):
    with pytest.raises(SettingsError, match=text):
        ClipSettings(**change)


# Crops.


def test_true_motion_leads_a_crop_to_the_crop_before():
    settings = replace(STILL, scale_share=0.2, shift_share=0.1, turn_deg=20)
    for side in (0, 1):
        crops = cut(side, settings)
        assert np.isnan(crops.before_px[0]).all()
        truth, ways = torch.from_numpy(crops.truth), torch.from_numpy(crops.before_px)
        hand = torch.from_numpy(crops.exact[:, 1:2] > 0.9).float()
        moved = warp_error(truth[1:], truth[:-1], ways[1:], hand[1:])
        plain = warp_error(truth[1:], truth[:-1], 0 * ways[1:], hand[1:])
        assert moved < 0.6 * plain
        assert np.abs(np.diff(crops.frame_from_crop, axis=0)).max() > 0.01


def test_squares_that_stand_still_show_the_motion_of_the_frame():
    crops = cut(1)
    known = np.isfinite(crops.before_px).all(axis=-1)
    np.testing.assert_allclose(crops.before_px[known], 0, atol=1e-3)
    turned = cut(0)
    way = turned.before_px[1][np.isfinite(turned.before_px[1]).all(axis=-1)]
    # The hand's square moves with it: it stands still there.
    assert np.abs(way).max() < 0.01
    scale = np.linalg.norm(turned.frame_from_crop[0, :, 0])
    moved = turned.frame_from_crop[1, :, 2] - turned.frame_from_crop[0, :, 2]
    np.testing.assert_allclose(moved, [STEP_PX, 0], atol=1e-6)
    assert scale > 0


def test_masks_are_spoiled_and_colours_changed_alike_in_all_frames():
    plain, bright = cut(), cut(settings=replace(STILL, recolour=True))
    np.testing.assert_array_equal(plain.seen[:, 3:], plain.exact)
    assert np.abs(bright.truth - plain.truth).max() > 0.05
    visible = plain.exact[:, 0] > 0.999
    for t in range(4):
        same = visible[t]
        np.testing.assert_allclose(
            bright.seen[t, :3, same], bright.truth[t, :, same], atol=1.5 / 255
        )
    spoiled = cut(settings=replace(STILL, spoil=1.0))
    assert np.abs(spoiled.seen[:, 3:] - spoiled.exact).mean() > 0.001
    np.testing.assert_array_equal(spoiled.exact, plain.exact)


def test_hands_of_use_are_there_throughout_and_near_the_other():
    clip = draw_bare_clip(3, 0)
    assert hands_of(clip) == [0, 1]
    gone = clip.uv_px.copy()
    gone[1, 1] = np.nan
    assert hands_of(replace(clip, uv_px=gone)) == [0]
    far = clip.uv_px.copy()
    far[:, 1] += 500
    assert hands_of(replace(clip, uv_px=far)) == []
    with pytest.raises(ShapeError, match="before_px is float64"):
        replace(clip, before_px=clip.before_px.astype(np.float64))
    with pytest.raises(ShapeError, match="truth is float32"):
        replace(cut(), truth=cut().truth[:2])


# Scores.


def test_flicker_is_that_of_the_benchmark():
    crops = cut()
    rgb = torch.from_numpy(crops.seen[:, :3])
    region = crops.exact[2, 1] > 0.5
    lines = np.stack(np.meshgrid(np.arange(R), np.arange(R)), axis=-1).astype(np.float32)
    theirs = flicker_l1(rgb[2].numpy(), rgb[1].numpy(), crops.before_px[2] + lines, region)
    where = torch.from_numpy(region)[None, None].float()
    ours = warp_error(rgb[2:3], rgb[1:2], torch.from_numpy(crops.before_px[2:3]), where)
    assert theirs > 0.01
    assert float(ours) == pytest.approx(theirs, rel=1e-4)


def test_the_truth_scores_best_and_what_is_not_there_is_no_number():
    crops = cut()
    truth = torch.from_numpy(crops.truth)
    best, seen = clip_scores(truth, crops), clip_scores(torch.from_numpy(crops.seen[:, :3]), crops)
    assert best["hole_l1"] == best["uncovered_l1"] == 0
    assert best["psnr_db"] == 60
    assert best["flicker"] < seen["flicker"]
    assert best["hole_psnr_db"] > seen["hole_psnr_db"]
    front = clip_scores(truth, cut(1))
    assert np.isnan(front["flicker"])
    assert np.isnan(front["uncovered_l1"])
    mean = mean_scores([seen, clip_scores(truth, crops)])
    assert mean["hole_l1"] == pytest.approx(seen["hole_l1"] / 2)


# Lessons.


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "clips": [str(write_clips(folder / "train", "train", 2))],
        "held_out": [str(write_clips(folder / "test", "test", 1))],
        "n_check": 2,
    }


def recipe(data: dict[str, object], **changes) -> MemoryRecipe:
    told = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
    values = {"crop": CropSettings(R), "frames": 3, "batch": 2, **changes}
    return MemoryRecipe(MemoryData(**told), **values)


def test_it_learns_what_to_trust(data):
    """A few steps on one batch make the loss of that batch less."""
    torch.manual_seed(0)
    task = MemoryTask(make_memory({}), recipe(data))
    batch = task.batch(0, 0, 1)
    assert batch["seen"].shape == (2, 3, 7, R, R)
    assert not batch["trust"][:, 0].any()
    again = task.batch(0, 0, 1)
    assert all(torch.equal(batch[n].nan_to_num(), again[n].nan_to_num()) for n in batch)
    trained = [p for p in task.net.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) < 50_000
    optimizer, sums = torch.optim.Adam(trained, 3e-3), []
    for _ in range(5):
        losses = task.losses(task.net, batch)
        optimizer.zero_grad()
        losses["sum"].backward()
        optimizer.step()
        sums.append(float(losses["sum"].detach()))
    assert set(losses) == {*vars(MemoryWeights()), "sum"}
    assert sums[-1] < sums[0]
    assert task.describe()["net"] == "MemoryNet"


def test_a_check_compares_with_each_frame_by_itself(data):
    task = MemoryTask(make_memory({}), recipe(data))
    scores = task.check(task.net)
    for name in ("hole_l1", "flicker", "psnr_db"):
        assert np.isfinite(scores[name])
        assert np.isfinite(scores[f"{name}_alone"])
    ratios = [scores[n] / scores[f"{n}_alone"] for n in ("hole_l1", "flicker")]
    assert scores["score"] == pytest.approx(1 - sum(ratios) / 2)
    sheet = task.sheet(task.net)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3


def test_rows_are_painted_as_frames_are_without_a_past():
    hdrm = HdrmNet().eval()
    load_weights(hdrm, weights_path("hdrm"))
    net = memory_net(hdrm, gated=False).eval()
    batch = stack_clips([cut()], DisFlow())
    motions = motions_of(batch)
    assert motions[0] is None
    with torch.inference_mode():
        rows = paint_clips(net, net.n_features, batch["seen"], [None] * 4)
        steady = paint_clips(net, net.n_features, batch["seen"], motions)
        seen = batch["seen"][0]
        alone = compose(seen[:, :3], *hdrm(seen))
    needed = find_regions(seen[:, 3:]).needed
    assert needed[1:].all()
    for t, ((bare, _), (kept, _)) in enumerate(zip(rows, steady, strict=True)):
        torch.testing.assert_close(bare[0], alone[t], atol=1e-5, rtol=0)
        assert torch.equal(bare, kept) == (t == 0)


def test_train_memory_writes_what_loads_and_resumes(data, tmp_path):
    loop = {"steps": 1, "warmup_steps": 0, "final_share": 1.0, "check_every": 5, "log_every": 1}
    values = {"loop": loop, "crop": {"resolution_px": R}, "frames": 2, "batch": 1, "data": data}
    one = write_settings(tmp_path / "one.yaml", values)
    two = write_settings(tmp_path / "two.yaml", {**values, "loop": {**loop, "steps": 2}})
    run = tmp_path / "run"
    said = run_train("memory", "--config", one, "-o", run)
    assert said.exit_code == 0, said.output
    assert "flicker_alone" in said.output
    train_net("memory", two, run, resume=True, device="cpu")
    assert [row["step"] for row in read_table(run / "log.csv")] == ["1", "2"]
    best = tmp_path / "run" / "best.safetensors"
    net = make_memory({"start": str(best)})
    assert {n.split(".")[0] for n, p in net.named_parameters() if p.requires_grad} == {
        *("cells", "pixels")
    }


def test_the_shipped_settings_are_the_defaults(data):
    values = read_yaml(CONFIGS / "memory_small.yaml")
    loop = build_settings(LoopSettings, values["loop"], "loop.")
    told = LESSONS["memory"].read_recipe(values)
    assert loop.channels_last is False
    assert told.weights == MemoryWeights()
    assert told.data.clips == ("data/clips",)
    assert make_memory(values["net"]).n_features == 48


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"size": "small"}, "net is .*, expected some of painter, start"),
        ({"painter": 3}, r"net is .*, expected painter: FILE \| shipped, start: FILE \| none"),
        (["small"], "net is .*, expected some of painter, start"),
    ],
)
def test_unknown_nets_are_refused(values, text):
    with pytest.raises(SettingsError, match=text):
        make_memory(values)


def test_recipes_are_checked(data, tmp_path):
    for change, text in (
        ({"frames": 1}, "frames is 1, expected a whole number from 2 to 1000"),
        ({"batch": 0}, "batch is 0"),
    ):
        with pytest.raises(SettingsError, match=text):
            recipe(data, **change)
    with pytest.raises(SettingsError, match=r"MemoryWeights\.warp is -1"):
        MemoryWeights(warp=-1)
    for name in ("clips", "held_out"):
        with pytest.raises(SettingsError, match=f"data.{name} is empty; name a folder of bare cl"):
            recipe({**data, name: []})
    with pytest.raises(DataError, match="of 100 clips none has 9 frames with a hand beside anoth"):
        MemoryTask(make_memory({}), recipe(data, frames=9)).batch(0, 0, 1)
    alone = draw_bare_clip(2, 0, "test")
    alone.uv_px[:, 1] = np.nan
    save_clip(tmp_path / "clip_000000.npz", alone)
    with pytest.raises(DataError, match="no held-out clip has a hand beside another; make more"):
        MemoryTask(make_memory({}), recipe({**data, "held_out": [str(tmp_path)]}))
