"""A whole benchmark: manifest, truths and tracks in, a report out; and what does not fit."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from tracks import make_track
from validate_truths import make_scene, make_shot, make_truth, track_of

from hdrvideo.errors import DataError, ShapeError, TrackError, WriteError
from hdrvideo.handmodel import HandModel
from hdrvideo.output.save import save_track
from hdrvideo.validate.averages import HIDDEN_BINS
from hdrvideo.validate.benchmark import load_benchmark, score_benchmark, score_clip
from hdrvideo.validate.protocols import METRICS
from hdrvideo.validate.report import write_report
from hdrvideo.validate.truth import load_truth, save_truth

CLIPS = {"touching_00": "touching", "crossing_00": "crossing", "crossing_01": "crossing"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A benchmark of three clips and tracks: perfect, noisy, and one hand missing."""
    folder = tmp_path_factory.mktemp("bench")
    model = HandModel()
    scene = make_scene(model, 5)
    shot = make_shot(scene, model)
    clips = []
    for name, relation in CLIPS.items():
        save_truth(folder / "truth" / name, [shot], replace(scene, relation=relation))
        entry = {"name": name, "relation": relation, "camera": "egocentric", "n_frames": 5}
        entry |= {"seed": 1, "clip": f"clips/{name}.mp4", "folder": f"truth/{name}"}
        clips.append(entry)
    manifest = {"name": "small", "version": "0.2", "clips": clips}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    tracks = folder / "tracks"
    for name, noise in zip(CLIPS, (0, 4, 0), strict=True):
        truth = load_truth(folder / "truth" / name)
        track = track_of(truth)
        if noise:
            shift = np.random.default_rng(0).normal(0, noise, track.xyz_cam_mm.shape)
            track = replace(track, xyz_cam_mm=(track.xyz_cam_mm + shift).astype(np.float32))
        (tracks / name).mkdir(parents=True)
        save_track(track, tracks / name / "track.parquet")
    return folder, tracks


@pytest.fixture(scope="module")
def report(made):
    return score_benchmark(*made, n_bootstrap=100)


def test_every_metric_of_every_group(report):
    groups = [("all", "all"), ("relation", "touching"), ("relation", "crossing")]
    groups += [("camera", "egocentric"), *(("hidden", name) for name in HIDDEN_BINS)]
    groups += [("clip", name) for name in CLIPS]
    assert [(s.kind, s.group) for s in report.scores[:: len(METRICS)]] == groups
    assert len(report.scores) == len(groups) * len(METRICS)
    assert (report.n_clips, report.n_frames) == (3, 15)


def test_perfect_where_perfect_and_noisy_where_noisy(report):
    name = "mpjpe_wrist_20j_found_mm"
    by_clip = [report.score(name, clip, "clip").value for clip in CLIPS]
    assert by_clip[0] == by_clip[2] == 0
    assert 3 < by_clip[1] < 15
    # Each clip has the same number of samples, so groups are plain means.
    assert report.score(name).value == pytest.approx(np.mean(by_clip))
    assert report.score(name, "crossing", "relation").value == pytest.approx(by_clip[1] / 2)
    found = report.score("hands_found_iou50_pct")
    assert (found.value, found.n_samples, found.n_clips) == (100, 30, 3)
    assert found.low == found.high == 100
    both = report.score(name)
    assert both.low <= both.value <= both.high
    assert both.low < both.high
    assert np.isnan(report.score(name, "touching", "relation").low)


def test_bins_add_up(report):
    for metric in METRICS:
        parts = [report.score(metric.name, name, "hidden") for name in HIDDEN_BINS]
        whole = report.score(metric.name).n_samples
        expected = 0 if metric.name.startswith("ghost") else whole
        assert sum(part.n_samples for part in parts) == expected


def test_the_same_seed_gives_the_same_report(made, report):
    seen = []
    again = score_benchmark(*made, n_bootstrap=100, on_progress=lambda n, k: seen.append((n, k)))
    assert again.to_csv() == report.to_csv()
    assert seen == [(name, k + 1) for k, name in enumerate(CLIPS)]
    assert score_benchmark(*made, n_bootstrap=100, seed=1).to_csv() != report.to_csv()


def test_json_is_strict_and_whole(report, tmp_path):
    paths = write_report(report, tmp_path)
    assert [p.name for p in paths] == ["report.md", "report.csv", "report.json"]

    def refuse(word):
        raise AssertionError(word)

    values = json.loads(paths[2].read_text(), parse_constant=refuse)
    assert values["benchmark"] == "small"
    assert values["intervals"] == {
        "level": 0.95,
        "method": "percentile bootstrap over clips",
        "resamples": 100,
        "seed": 0,
    }
    assert [m["name"] for m in values["metrics"]] == [m.name for m in METRICS]
    assert len(values["scores"]) == len(report.scores)
    nulls = [s for s in values["scores"] if s["value"] is None]
    assert nulls
    assert all(s["n_samples"] == 0 for s in nulls)
    with pytest.raises(WriteError, match="exists"):
        write_report(report, tmp_path)
    write_report(report, tmp_path, overwrite=True)


def test_csv_has_a_row_for_every_score(report):
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert len(rows) == len(report.scores)
    for row, score in zip(rows, report.scores, strict=True):
        assert (row["metric"], row["group"]) == (score.metric, score.group)
        assert row["value"] == ("" if np.isnan(score.value) else repr(score.value))
        assert int(row["n_samples"]) == score.n_samples


def test_markdown_tables_are_whole(report):
    lines = report.to_markdown().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 3 * (len(METRICS) + 2)
    head = "| metric | all | touching | crossing |"
    first = tables.index(head)
    assert tables[first + 1] == "|---|---:|---:|---:|"
    assert tables[first + 2].startswith("| hands_found_iou50_pct | 100.0 [100.0, 100.0] (30) |")
    assert len({line.count("|") for line in tables[first : first + len(METRICS) + 2]}) == 1
    assert "[" not in tables[first + 2].split("|")[3], "one clip has no interval"
    ghost = next(t for t in tables if t.startswith("| ghost") and "– (0)" in t)
    assert ghost.count("– (0)") == 4
    for metric in METRICS:
        assert f"- `{metric.name}` ({metric.unit}): {metric.text}." in lines


def test_plain_text_is_aligned(report):
    blocks = report.to_text().split("\n\n")
    assert blocks[0].splitlines()[1].startswith("3 clips, 15 frames; intervals by 100 resamples")
    for block in blocks[1:]:
        rows = block.strip().splitlines()[1:]
        assert len(rows) == len(METRICS) + 1
        assert len({len(row) for row in rows}) == 1


def test_a_score_that_is_not_there(report):
    with pytest.raises(ShapeError, match="no epe_found_px of relation apart"):
        report.score("epe_found_px", "apart", "relation")
    with pytest.raises(ShapeError, match="metric is 'pck'"):
        replace(report.scores[0], metric="pck")
    with pytest.raises(ShapeError, match="kind is 'side'"):
        replace(report.scores[0], kind="side")


def test_a_track_of_another_length_is_refused(made, tmp_path):
    folder, _ = made
    for name in CLIPS:
        truth = load_truth(folder / "truth" / name)
        (tmp_path / name).mkdir()
        short = track_of(truth).rows(0, 4)
        save_track(short, tmp_path / name / "track.parquet")
    with pytest.raises(
        TrackError, match=r"track.parquet has 4 frames from frame 0, expected the 5"
    ):
        score_benchmark(folder, tmp_path)


def test_a_track_that_starts_later_or_is_empty_is_refused():
    truth = make_truth(4)
    late = track_of(truth, frame_index=np.arange(1, 5))
    with pytest.raises(TrackError, match="track has 4 frames from frame 1"):
        score_clip(truth, late)
    with pytest.raises(TrackError, match="track has 0 frames"):
        score_clip(truth, make_track(4).rows(0, 0))


def test_a_track_of_another_size_is_refused():
    truth = make_truth(4)
    track = track_of(truth)
    other = replace(track, meta=replace(track.meta, width=320))
    with pytest.raises(TrackError, match="track is of a clip of 320x480, expected 640x480"):
        score_clip(truth, other)


def test_a_missing_track_is_named(made, tmp_path):
    with pytest.raises(TrackError, match=r"no track file .*touching_00/track.parquet"):
        score_benchmark(made[0], tmp_path)


def write_manifest(made, tmp_path, change):
    values = json.loads((made[0] / "manifest.json").read_text())
    for entry in values["clips"]:
        entry["folder"] = str(made[0] / entry["folder"])
    change(values)
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda v: v.pop("clips"), "has no 'clips'"),
        (lambda v: v["clips"][0].pop("folder"), "has no 'folder'"),
        (lambda v: v["clips"][0].update(n_frames="5"), "n_frames is '5', expected int"),
        (lambda v: v["clips"].clear(), "benchmark small has no clips"),
        (lambda v: v["clips"][1].update(clip="more/touching_00.mp4"), "clips called touching_00"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(made, tmp_path, change, text):
    with pytest.raises(DataError, match=text):
        load_benchmark(write_manifest(made, tmp_path, change))


def test_a_truth_that_the_manifest_does_not_mean_is_refused(made, tmp_path):
    folder = write_manifest(made, tmp_path, lambda v: v["clips"][2].update(relation="apart"))
    with pytest.raises(DataError, match=r"crossing_01 is \(5, 'crossing', 'egocentric'\)"):
        score_benchmark(folder, made[1])


def test_no_benchmark_at_all(tmp_path):
    with pytest.raises(DataError, match=r"no benchmark at .*: no manifest.json"):
        score_benchmark(tmp_path, tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest.json cannot be read"):
        load_benchmark(tmp_path)
