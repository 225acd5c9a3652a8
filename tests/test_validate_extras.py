"""Masks and painted hands beside the tracks of a whole benchmark."""

import json
import shutil

import numpy as np
import pytest
from validate_truths import (
    make_scene,
    make_shot,
    mask_rows,
    random_weights,
    save_rows,
    track_of,
    truth_as_painted,
)

from hdrvideo.errors import SettingsError, TrackError, WeightsError
from hdrvideo.handmodel import HandModel
from hdrvideo.output.save import save_track
from hdrvideo.validate.averages import HIDDEN_BINS
from hdrvideo.validate.benchmark import score_benchmark
from hdrvideo.validate.extras import ALL_METRICS
from hdrvideo.validate.mask_protocols import MASK_METRICS
from hdrvideo.validate.painting_protocols import PAINTING_METRICS, PERCEPTUAL_METRICS
from hdrvideo.validate.protocols import METRICS
from hdrvideo.validate.truth import load_truth, save_truth

CLIPS = ("touching_00", "touching_01")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    model = HandModel()
    scene = make_scene(model)
    shot = make_shot(scene, model)
    clips = []
    for name in CLIPS:
        save_truth(folder / "truth" / name, [shot], scene)
        entry = {"name": name, "relation": "touching", "camera": "egocentric", "n_frames": 3}
        clips.append({**entry, "clip": f"clips/{name}.mp4", "folder": f"truth/{name}"})
    manifest = {"name": "small", "version": "0.2", "clips": clips}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def tracks(benchmark, tmp_path):
    """Tracks, masks and painted hands: the truth."""
    for name in CLIPS:
        truth = load_truth(benchmark / "truth" / name)
        folder = tmp_path / name
        folder.mkdir()
        save_track(track_of(truth), folder / "track.parquet")
        save_rows(folder / "masks.parquet", mask_rows(truth))
        np.savez(folder / "bare.npz", **truth_as_painted(truth.folder))
    return tmp_path


def drop(tracks, name: str, clips=CLIPS) -> None:
    for clip in clips:
        (tracks / clip / name).unlink()


def names_of(report) -> list[str]:
    return list(dict.fromkeys(score.metric for score in report.scores))


def test_truth_is_perfect_in_every_group(benchmark, tracks):
    report = score_benchmark(benchmark, tracks, n_bootstrap=20)
    assert names_of(report) == [m.name for m in (*METRICS, *MASK_METRICS, *PAINTING_METRICS)]
    best = {"higher": 1.0, "lower": 0.0}
    groups = [("all", "all"), ("touching", "relation"), ("egocentric", "camera")]
    groups += [(name, "hidden") for name in HIDDEN_BINS] + [(name, "clip") for name in CLIPS]
    for metric in (*MASK_METRICS, *PAINTING_METRICS):
        values = [report.score(metric.name, *group).value for group in groups]
        values = [value for value in values if np.isfinite(value)]
        if metric.name == "false_mask_of_picture_absent_pct":
            assert not values, "no hand is absent"
        elif "flicker" in metric.name:
            assert min(values) > 0
        else:
            wanted = 60.0 if metric.unit == "dB" else best[metric.is_better]
            np.testing.assert_allclose(values, wanted, atol=1e-6, err_msg=metric.name)
    iou = report.score("mask_iou_visible_missing_wrong")
    assert (iou.n_samples, iou.n_clips, iou.low, iou.high) == (12, 2, 1, 1)
    flicker = report.score("bare_hole_flicker_l1_runs2").value
    assert flicker == report.score("bare_hole_flicker_l1_of_truth_runs2").value
    bins = [report.score("mask_iou_visible_missing_wrong", b, "hidden") for b in HIDDEN_BINS]
    assert sum(score.n_samples for score in bins) == 12
    assert "| bare_hole_l1_covered | 0.000 [0.000, 0.000] (6) |" in report.to_markdown()
    assert [m["name"] for m in report.to_json()["metrics"]] == names_of(report)


def test_without_files_the_report_is_as_ever(benchmark, tracks):
    whole = score_benchmark(benchmark, tracks, n_bootstrap=20)
    drop(tracks, "bare.npz")
    with_masks = score_benchmark(benchmark, tracks, n_bootstrap=20)
    assert names_of(with_masks) == [m.name for m in (*METRICS, *MASK_METRICS)]
    drop(tracks, "masks.parquet")
    bare = score_benchmark(benchmark, tracks, n_bootstrap=20)
    assert names_of(bare) == [m.name for m in METRICS]
    for text in (bare.to_markdown(), bare.to_csv(), bare.to_text(), json.dumps(bare.to_json())):
        assert "mask" not in text.replace(str(tracks), "")
        assert "bare" not in text.replace(str(tracks), "")
    joints = {m.name for m in METRICS}
    kept = [repr(score) for score in whole.scores if score.metric in joints]
    assert kept == [repr(score) for score in bare.scores], "joints' scores are the same with both"


@pytest.mark.parametrize("name", ["masks.parquet", "bare.npz"])
def test_a_file_of_some_clips_only_is_refused(benchmark, tracks, name):
    drop(tracks, name, CLIPS[1:])
    with pytest.raises(TrackError, match=rf"touching_01 has no {name}, but 1 of 2 clips have one"):
        score_benchmark(benchmark, tracks)


def test_files_of_another_clip_are_refused(benchmark, tracks):
    path = tracks / CLIPS[1] / "masks.parquet"
    shutil.copy(tracks / CLIPS[1] / "track.parquet", path)
    with pytest.raises(TrackError, match=r"touching_01/masks.parquet has no column kind, height"):
        score_benchmark(benchmark, tracks)


def test_weights_add_a_distance_and_need_pictures(benchmark, tracks):
    net = tracks / "net.npz"
    with pytest.raises(WeightsError, match="no SqueezeNet weights at"):
        score_benchmark(benchmark, tracks, perceptual_weights=net)
    np.savez(net, **random_weights())
    report = score_benchmark(benchmark, tracks, n_bootstrap=0, perceptual_weights=net)
    assert names_of(report) == [m.name for m in ALL_METRICS]
    for metric in PERCEPTUAL_METRICS:
        assert report.score(metric.name).value == 0
        assert report.score(metric.name).n_samples > 0
    drop(tracks, "bare.npz")
    with pytest.raises(SettingsError, match=r"perceptual_weights is .*net.npz, but no track has"):
        score_benchmark(benchmark, tracks, perceptual_weights=net)


def test_names_are_unique():
    names = [m.name for m in ALL_METRICS]
    assert len(set(names)) == len(names)
