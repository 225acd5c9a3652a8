"""The script that scores the temporal stage: plain rows, the shipped refiner and further ones."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from tracks import make_ledger, make_meta, make_track
from validate_truths import make_scene, make_shot, track_of

from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.form import RefineForm
from hdrvideo.output.save import LedgerWriter, save_track
from hdrvideo.validate.truth import load_truth, save_truth

ROOT = Path(__file__).parents[1]
CLIP = "touching_00"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("score_refine")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def gru(tmp_path_factory) -> Path:
    """Give a recurrent net that has learnt nothing, of windows of 8 frames."""
    path = tmp_path_factory.mktemp("weights") / "peer.safetensors"
    net = RefineForm(kind="gru").make()
    save_file(net.state_dict(), path, {"form": json.dumps({"kind": "gru", "frames": 8})})
    return path


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory) -> Path:
    """Make a benchmark of one clip, and tracks of it: the truth with noise."""
    folder = tmp_path_factory.mktemp("bench")
    model = HandModel()
    scene = make_scene(model, 30)
    save_truth(folder / "truth" / CLIP, [make_shot(scene, model)], scene)
    entry = {"name": CLIP, "relation": "touching", "camera": "egocentric", "n_frames": 30}
    clips = [{**entry, "clip": f"clips/{CLIP}.mp4", "folder": f"truth/{CLIP}"}]
    manifest = {"name": "small", "version": "0.2", "clips": clips}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    track = track_of(load_truth(folder / "truth" / CLIP))
    rng = np.random.default_rng(0)
    shaken = {
        name: getattr(track, name)
        + spread * rng.normal(size=getattr(track, name).shape).astype(np.float32)
        for name, spread in (("raw_uv_px", 1.0), ("raw_xyz_cam_mm", 4.0))
    }
    own = {name.removeprefix("raw_"): value for name, value in shaken.items()}
    track = track_of(load_truth(folder / "truth" / CLIP), **shaken, **own)
    (folder / "tracks" / CLIP).mkdir(parents=True)
    save_track(track, folder / "tracks" / CLIP / "track.parquet")
    with LedgerWriter(folder / "tracks" / CLIP / "frames.parquet", track.meta) as writer:
        writer.append(make_ledger(track))
    return folder


def test_further_refiners_stand_in_the_same_table(script, monkeypatch, benchmark, gru, tmp_path):
    out = tmp_path / "table.md"
    arguments = [benchmark, benchmark / "tracks", "--refiner", f"own={gru}", "--refiner", gru]
    monkeypatch.setattr(sys, "argv", ["score_refine.py", *map(str, [*arguments, "-o", out])])
    assert script.main() == 0
    lines = out.read_text().splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == [*script.PLAIN, "refined", "own", "peer", "truth"]
    columns = [cell.strip() for cell in lines[0].split("|")]
    place = columns.index("acceleration error, mm/frame²")
    shakes = [float(line.split("|")[place]) for line in lines[2:-1]]
    assert max(shakes[2:]) < shakes[0]
    assert lines[7].split("|")[2:] == lines[8].split("|")[2:]


def test_refiners_have_names_and_windows_of_their_own(script, gru):
    ways, hops = script.refiner_ways([f"a={gru}", str(gru)])
    assert list(ways) == ["refined", "a", "peer"]
    assert hops == {"refined": 12, "a": 4, "peer": 4}
    for given in (["refined=x"], ["zero-phase=x"], [f"a={gru}", f"a={gru}"]):
        with pytest.raises(SettingsError, match=r"--refiner names .* twice; give each one a name"):
            script.refiner_ways(given)
    with pytest.raises(WeightsError, match=r"gone\.safetensors are missing"):
        script.refiner_ways(["a=gone.safetensors"])


def test_seams_are_looked_for_where_windows_begin(script):
    track = make_track(25, meta=make_meta())
    xyz = track.xyz_cam_mm.copy()
    xyz[8::8, :, 1:] += 3
    jumpy = script.replace(track, xyz_cam_mm=xyz)
    assert script.seam([jumpy], 8) > 1.5 > 1.2 > script.seam([track], 8)
    assert script.seam([jumpy], 8) > script.seam([jumpy], 5)
