"""Batches are functions of their number; shards give back what was put in, or refuse."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hdrvideo.errors import DataError, SettingsError, WriteError
from hdrvideo.synth.arrange import SceneSettings
from hdrvideo.synth.scene import Shot
from hdrvideo.synth.shards import (
    StreamSettings,
    load_shot,
    read_manifest,
    read_shards,
    save_shot,
    stream_batches,
    stream_of,
    write_shards,
)

SCENE = SceneSettings(n_frames=6, height_px=48, width_px=64)
SMALL = StreamSettings(SCENE, n_scenes=2, n_frames_each=2)
MAKE = partial(stream_of, SMALL, "train", seed=5)


def same(a: Shot, b: Shot) -> bool:
    names = Shot.__dataclass_fields__
    return all(torch.equal(*(getattr(s, n).nan_to_num(-9.0) for s in (a, b))) for n in names)


@pytest.fixture(scope="module")
def stream():
    return MAKE()


@pytest.fixture(scope="module")
def shot(stream):
    return stream[3]


def test_a_batch_is_a_function_of_its_number(stream, shot):
    assert len(shot) == 4
    assert same(shot, MAKE()[3])
    assert not same(shot, stream[4])


def test_another_seed_gives_other_pictures(shot):
    other = stream_of(SMALL, "train", seed=6)[3]
    assert not torch.equal(shot.rgb, other.rgb)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_workers_make_the_same_batches(stream):
    batches = list(stream_batches(MAKE, range(2, 4), n_workers=1))
    assert same(batches[0], stream[2])
    assert same(batches[1], stream[3])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_parent_that_is_killed(number):
    script = Path(__file__).with_name("sleeping_stream.py")
    environment = os.environ | {"PYTHONPATH": str(script.parent.parent)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        workers = {int(parent.stdout.readline()) for _ in range(2)}
        assert len(workers - {parent.pid}) == 2
        parent.send_signal(number)
        try:
            # The workers hold the other end of this pipe, too: it ends with the last of them.
            assert parent.communicate(timeout=20)[0] == ""
        except subprocess.TimeoutExpired:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            raise
    assert parent.returncode == -number


def test_consecutive_frames_follow_one_another():
    settings = StreamSettings(SCENE, n_scenes=3, n_frames_each=3, consecutive=True)
    for number in range(4):
        for scene, frames in stream_of(settings, "train", seed=1).scenes(number):
            assert frames == list(range(frames[0], frames[0] + 3))
            assert frames[0] >= 0
            assert frames[-1] < len(scene)


def test_spread_frames_are_different_ones(stream):
    for _, frames in stream.scenes(0):
        assert frames == sorted(set(frames))


def test_a_stored_shot_comes_back(tmp_path, shot):
    path = tmp_path / "shot.npz"
    save_shot(path, shot)
    back = load_shot(path)
    for name in ("visible", "amodal", "uv_px", "pose", "present", "joint_visible", "k_px"):
        a, b = getattr(shot, name), getattr(back, name)
        assert torch.equal(a.nan_to_num(-9.0), b.nan_to_num(-9.0)), name
    error = (shot.rgb - back.rgb).abs()
    assert error.mean() < 0.02
    assert (shot.bare_rgb - back.bare_rgb).abs().mean() < 0.02
    assert back.depth_mm.isnan().all()
    assert not back.flow_seen.any()
    assert list(tmp_path.iterdir()) == [path]


def test_shards_and_their_manifest(tmp_path, stream):
    done = []
    manifest = write_shards(tmp_path / "s", MAKE, 2, on_progress=done.append)
    values = json.loads(manifest.read_text(encoding="utf-8"))
    assert done == [1, 2]
    assert values["pictures"] == 8
    assert values["split"] == "train"
    assert values["seed"] == 5
    assert values["settings"]["scene"]["width_px"] == 64
    shots = list(read_shards(tmp_path / "s"))
    assert len(shots) == 2
    assert torch.equal(shots[1].visible, stream[1].visible)


def test_a_broken_off_run_goes_on(tmp_path):
    folder = tmp_path / "s"
    write_shards(folder, MAKE, 2)
    first = (folder / "shard_00000.npz").read_bytes()
    (folder / "shard_00001.npz").unlink()
    done = []
    write_shards(folder, MAKE, 2, on_progress=done.append)
    assert done == [2]
    assert (folder / "shard_00000.npz").read_bytes() == first
    assert len(list(read_shards(folder))) == 2


def test_shards_of_another_stream_are_not_mixed_in(tmp_path):
    write_shards(tmp_path / "s", MAKE, 1)
    with pytest.raises(WriteError, match="holds shards of other settings or assets"):
        write_shards(tmp_path / "s", partial(MAKE, seed=6), 1)


def test_a_changed_shard_is_refused(tmp_path):
    write_shards(tmp_path / "s", MAKE, 1)
    path = tmp_path / "s" / "shard_00000.npz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match="not as the manifest says"):
        list(read_shards(tmp_path / "s"))


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no manifest of shards"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "other"}', encoding="utf-8")
    with pytest.raises(DataError, match="format is 'other'"):
        read_manifest(tmp_path)
    path = tmp_path / "shard_00000.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(DataError, match="is no shard of ours"):
        load_shot(path)
    path.write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(DataError, match="is no shard of ours"):
        load_shot(path)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("n_scenes", 0, "n_scenes is 0, expected a whole number from 1 to 4096"),
        ("n_frames_each", 7, "n_frames_each is 7, expected a whole number from 1 to 6"),
        ("supersample", 1.5, "supersample is 1.5, expected a whole number from 1 to 8"),
    ],
)
def test_settings_are_checked(name, value, text):
    with pytest.raises(SettingsError, match=text):
        StreamSettings(SCENE, **{name: value})
