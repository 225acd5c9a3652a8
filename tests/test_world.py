"""Clips, benchmark and sheets of the made world on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hdrvideo.cli import app
from hdrvideo.clip import open_clip
from hdrvideo.errors import WriteError
from hdrvideo.sheets import draw_sheet, draw_truth, shot_pictures
from hdrvideo.synth.arrange import SceneSettings
from hdrvideo.validate.truth import load_truth
from hdrvideo.world import (
    BENCHMARK_CLIPS,
    World,
    make_benchmark,
    make_clip,
    plan_benchmark,
)

SETTINGS = SceneSettings(n_frames=10, height_px=64, width_px=96, relation="apart")


@pytest.fixture(scope="module")
def made():
    return World.load("test")


@pytest.fixture(scope="module")
def clip(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    done = []
    scene = make_clip(
        *(made, 11, SETTINGS, folder / "clip.mp4", folder / "truth"),
        supersample=1,
        on_progress=done.append,
    )
    assert done == [8, 10]
    return folder, scene


def test_a_clip_and_its_truth_have_the_same_frames(clip):
    folder, scene = clip
    frames = list(open_clip(folder / "clip.mp4"))
    truth = load_truth(folder / "truth")
    assert len(frames) == len(scene) == len(truth.present) == 10
    np.testing.assert_allclose(
        np.diff([f.pts_seconds for f in frames]), scene.frame_seconds, rtol=1e-6
    )
    assert truth.relation == "apart"


def test_the_clip_shows_the_rendered_pictures(made, clip):
    folder, scene = clip
    shots = list(made.shots(scene))
    pictures = [p for shot in shots for p in shot_pictures(shot)]
    for frame, picture in zip(open_clip(folder / "clip.mp4"), pictures, strict=True):
        error = np.abs(frame.rgb_u8.astype(float) - picture).mean()
        assert error < 12


def test_truth_does_not_hang_on_the_chunks(made, clip):
    folder, scene = clip
    truth = load_truth(folder / "truth")
    uv_px = np.concatenate([s.uv_px.numpy() for s in made.shots(scene)])
    np.testing.assert_allclose(truth.uv_px, uv_px, atol=1e-3)


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(made, clip, tmp_path):
    folder, _ = clip
    before = torch.get_num_threads()
    torch.set_num_threads(3 - min(before, 2))
    make_clip(made, 11, SETTINGS, tmp_path / "clip.mp4", tmp_path / "truth", supersample=1)
    assert torch.get_num_threads() == 3 - min(before, 2)
    torch.set_num_threads(before)
    for name in ("clip.mp4", "truth/truth.npz", "truth/masks.npz", "truth/bare.npz"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_clip_is_not_overwritten_by_accident(made, clip):
    folder, _ = clip
    with pytest.raises(WriteError, match="is not empty"):
        make_clip(made, 11, SETTINGS, folder / "clip.mp4", folder / "truth")


def test_the_plan_has_equal_shares_of_hard_relations_and_both_cameras():
    plan = plan_benchmark()
    assert len(plan) == sum(BENCHMARK_CLIPS.values()) >= 48
    counts = {r: sum(p.settings.relation == r for p in plan) for r in BENCHMARK_CLIPS}
    hard = {counts[r] for r in ("apart", "touching", "crossing", "interlocked", "object")}
    assert len(hard) == 1
    for relation in BENCHMARK_CLIPS:
        cameras = [p.settings.camera for p in plan if p.settings.relation == relation]
        assert cameras.count("egocentric") == cameras.count("third_person")
    assert len({p.seed for p in plan}) == len(plan)
    assert {(p.settings.n_frames, p.settings.width_px) for p in plan} == {(64, 640)}


def test_a_benchmark_goes_on_where_it_was(made, tmp_path):
    plan = [
        replace(p, settings=replace(p.settings, n_frames=2, height_px=48, width_px=64))
        for p in plan_benchmark()[:2]
    ]
    out = tmp_path / "bench"
    manifest = make_benchmark(made, out, plan, supersample=1)
    before = manifest.read_bytes()
    values = json.loads(before)
    assert values["name"] == "custom"
    assert [c["name"] for c in values["clips"]] == ["apart_00", "apart_01"]
    (out / "truth" / "apart_01" / "entry.json").unlink()
    manifest.unlink()
    assert make_benchmark(made, out, plan, supersample=1).read_bytes() == before
    with pytest.raises(WriteError, match="other settings or assets"):
        make_benchmark(made, out, plan[:1], supersample=1)


def test_a_folder_of_something_else_is_left_alone(made, tmp_path):
    (tmp_path / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(WriteError, match="holds no benchmark"):
        make_benchmark(made, tmp_path, [])
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_drawn_truth(made, clip):
    _, scene = clip
    shot = next(made.shots(scene))
    masks, joints, right, left = draw_truth(shot, 0)
    plain = shot_pictures(shot)[0]
    assert {p.shape for p in (masks, joints, right, left)} == {(64, 96, 3)}
    visible = shot.visible[0].any(0).numpy()
    changed = (masks != plain).any(-1)
    assert changed[visible].mean() > 0.95
    outside = ~shot.amodal[0].any(0).numpy()
    assert changed[outside].mean() < 0.2
    assert (joints != plain).any()


def test_a_sheet_has_a_tile_for_each_picture():
    red = np.zeros((10, 20, 3), np.uint8)
    red[..., 0] = 255
    sheet = draw_sheet([("a", [red, red]), ("b", [red])], tile_px=40)
    assert sheet.shape == (2 * (16 + 20), 80, 3)
    is_red = (sheet == (255, 0, 0)).all(-1)
    assert is_red.sum() == 3 * 40 * 20


def test_commands(tmp_path):
    run = CliRunner().invoke
    size = ["--size", "64x48", "--frames", "3", "--supersample", "1"]
    out = tmp_path / "c"
    done = run(app, ["synth", "clip", "-o", str(out), "--seed", "3", *size])
    assert done.exit_code == 0, done.output
    assert (out / "clip.mp4").exists()
    assert load_truth(out / "truth" / "clip").present.shape == (3, 2)
    shards = ["synth", "shards", "-o", str(tmp_path / "s"), "--shards", "1", "--scenes", "1"]
    done = run(app, [*shards, "--frames-each", "2", "--size", "48x48"])
    assert done.exit_code == 0, done.output
    assert "2 pictures in 1 shards" in done.output
    preview = ["synth", "preview", "-o", str(tmp_path / "p"), "--relation", "crossing"]
    done = run(app, [*preview, "--frames", "2", "--size", "64x48"])
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"sheet.png", "crossing.mp4"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--supersample", "9"], "supersample is 9, expected 1 to 8"),
        (["--size", "big"], "--size is 'big', expected WIDTHxHEIGHT"),
        (["--relation", "dancing"], "dancing"),
        (["--split", "val"], "val"),
        (["--skins", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, text, tmp_path):
    done = CliRunner().invoke(app, ["synth", "clip", "-o", str(tmp_path / "o"), *arguments])
    assert done.exit_code != 0
    assert text in str(done.exception)
    assert not (tmp_path / "o").exists()
