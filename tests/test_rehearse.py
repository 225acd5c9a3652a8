"""Practice tracks of made clips: their truth is the scene's, their readings the frame core's."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from train_runs import run_train

import hdrvideo.rehearse
import hdrvideo.world
from hdrvideo.build import build_parts
from hdrvideo.config import Settings
from hdrvideo.datatypes import ClipInfo, Frame
from hdrvideo.pipeline import ASSUMED_FOV_DEG, raw_windows
from hdrvideo.rehearse import RehearsalSettings, rehearse
from hdrvideo.sheets import shot_pictures
from hdrvideo.track import concatenate
from hdrvideo.train.practice import load_practice
from hdrvideo.world import World

SEED, N, WIDTH, HEIGHT = 6, 6, 96, 72
SHORT = RehearsalSettings(n_clips=1, first_seed=SEED, n_frames=N, size_px=(WIDTH, HEIGHT))
CORE = Settings(refine="off")


@pytest.fixture(scope="module")
def parts():
    return build_parts(CORE, torch.device("cpu"))


@pytest.fixture(scope="module")
def made(parts, tmp_path_factory):
    """Rehearse one clip; give the folder, the world and the scene."""
    folder = tmp_path_factory.mktemp("rehearsed")
    world, scenes, done = World.load("test"), [], []

    def build(settings, device):
        assert settings == CORE
        return parts

    def scene(self, seed, settings, arrange=World.scene):
        scenes.append(arrange(self, seed, settings))
        return scenes[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdrvideo.rehearse, "build_parts", build)
        patch.setattr(World, "scene", scene)
        rehearse(world, folder, SHORT, device="cpu", on_progress=done.append)
    assert done == [1]
    (found,) = scenes
    return folder, world, found


def read_again(world, scene, parts):
    """Render a scene and read it as any clip."""
    base = Fraction(scene.frame_seconds).limit_denominator(60_000)
    shots = list(world.shots(scene))
    pictures = [p for shot in shots for p in shot_pictures(shot)]
    frames = [Frame(n, n, base, picture) for n, picture in enumerate(pictures)]
    numbers = (WIDTH, HEIGHT, 0, 1 / base, base, N, False, False, "made", "rgb24")
    windows = raw_windows(frames, ClipInfo("scene", *numbers), CORE, parts)
    return shots, concatenate([window for window, _ in windows])


def test_the_file_holds_the_scenes_truth_and_what_the_core_reads(made, parts):
    folder, world, scene = made
    assert [p.name for p in folder.iterdir()] == [f"{SEED:08d}.npz"]
    track = load_practice(folder / f"{SEED:08d}.npz")
    assert len(track) == len(scene) == N
    assert (track.split, track.relation) == ("test", scene.relation)
    assert (scene.width_px, scene.height_px) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(track.pose, scene.pose)
    np.testing.assert_array_equal(track.shape, scene.shape)
    # A clip has one camera.
    assert (scene.k_px == track.true_k_px).all()
    shots, raw = read_again(world, scene, parts)
    for name in ("uv_px", "xyz_cam_mm", "present", "hidden_share"):
        true = np.concatenate([getattr(shot, name).numpy() for shot in shots])
        np.testing.assert_array_equal(getattr(track, name), true, err_msg=name)
    for name in ("raw_uv_px", "raw_xyz_cam_mm", "confidence", "visible", "provenance"):
        np.testing.assert_allclose(
            getattr(track, name), getattr(raw, name), rtol=1e-4, atol=1e-3, err_msg=name
        )
    assert np.isfinite(track.raw_uv_px).any()
    np.testing.assert_allclose(track.pts_seconds, raw.pts_seconds, atol=1e-12)
    camera = raw.meta.camera
    focal_px = WIDTH / 2 / np.tan(np.radians(ASSUMED_FOV_DEG) / 2)
    assert camera.fx_px == pytest.approx(focal_px, rel=0.02)
    k_px = [[camera.fx_px, 0, camera.cx_px], [0, camera.fy_px, camera.cy_px], [0, 0, 1]]
    np.testing.assert_allclose(track.k_px, k_px, rtol=1e-6)


def test_a_track_that_is_there_is_left_and_the_others_are_made(made, tmp_path, monkeypatch):
    folder, world, _ = made
    monkeypatch.setattr(hdrvideo.rehearse, "build_parts", lambda *_: None)
    path, done = folder / f"{SEED:08d}.npz", []
    before = path.stat().st_mtime_ns, path.read_bytes()
    # There are no parts: nothing could be read.
    rehearse(world, folder, SHORT, device="cpu", on_progress=done.append)
    assert done == [1]
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    with pytest.raises(AttributeError):
        rehearse(world, tmp_path, SHORT, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_nobody_read_has_the_same_truth(made, tmp_path):
    folder, world, scene = made
    unread = RehearsalSettings(2, SEED, N, (WIDTH, HEIGHT), unread=True)
    rehearse(world, tmp_path, unread, device="none is needed")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{SEED + n:08d}.npz" for n in (0, 1)]
    ours, read = (load_practice(f / f"{SEED:08d}.npz") for f in (tmp_path, folder))
    for name in ("pose", "shape", "true_k_px", "k_px", "pts_seconds", "relation"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(read, name), err_msg=name)
    there = scene.present
    np.testing.assert_allclose(ours.xyz_cam_mm[there], read.xyz_cam_mm[there], atol=0.05)
    np.testing.assert_allclose(ours.uv_px[there], read.uv_px[there], atol=0.01)
    assert np.isnan(ours.uv_px[~there]).all()
    assert not ours.present[~there].any()
    assert not ours.provenance.any()
    for name in ("raw_uv_px", "raw_xyz_cam_mm", "confidence", "hidden_share"):
        assert np.isnan(getattr(ours, name)).all(), name
    assert not ours.visible.any()


def test_the_command_hands_on_what_it_is_told(tmp_path, monkeypatch):
    asked = []

    def listen(world, out, settings, *, device, on_progress):
        asked.append((world.assets.split, out, settings, device))
        on_progress(2)

    monkeypatch.setattr(hdrvideo.rehearse, "rehearse", listen)
    more = ("--clips", 2, "--first-seed", 40, "--split", "test", "--unread")
    done = run_train("tracks", "-o", tmp_path / "tracks", *more)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(tmp_path / "tracks")
    expected = RehearsalSettings(2, 40, unread=True)
    assert asked == [("test", tmp_path / "tracks", expected, "cpu")]
