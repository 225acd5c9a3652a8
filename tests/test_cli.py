"""The main job through its doors: command line, jobs and Python API."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import Made, cut, make_clip, make_images, make_sound
from typer.testing import CliRunner

import hdrvideo
from hdrvideo import jobs
from hdrvideo.cli import app
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.errors import SettingsError, TrackError, WriteError
from hdrvideo.output.save import load_ledger, load_track
from hdrvideo.track import BRIDGED, DECODE_STATUS, OBSERVED, LedgerCounts

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_videos" / "two_hands.mp4"


def hdrvideo_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hdrvideo", *map(str, arguments)]
    # See one_thread.
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=env
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Let nets run on one thread: more do not always add in the same order.

    The last digits then differ between two runs, and a hand on the very limit is told by one alone.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The sample clip, annotated once through the command line: its folder and what was printed."""
    out = tmp_path_factory.mktemp("out")
    done = hdrvideo_command("annotate", SAMPLE, "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return out / "two_hands", done.stdout


def test_annotate_leaves_the_four_files_and_nothing_else(result) -> None:
    folder, _ = result
    assert sorted(p.name for p in folder.iterdir()) == sorted(jobs.FILES)


def test_annotate_finds_both_hands_of_the_sample_clip(result) -> None:
    track = load_track(result[0] / "track.parquet")
    assert (track.present.mean(axis=0) > 0.75).all()
    # The clip's person never swaps sides: the right hand starts and ends on the picture's left.
    for row in (10, len(track) - 10):
        both = track.present[row].all()
        assert not both or track.uv_px[row, 0, 0, 0] < track.uv_px[row, 1, 0, 0]


def test_every_source_frame_has_a_row_in_track_and_ledger(result) -> None:
    track = load_track(result[0] / "track.parquet")
    ledger = load_ledger(result[0] / "frames.parquet")
    with open_clip(SAMPLE) as reader:
        pts = [frame.pts for frame in reader]
    assert track.pts.tolist() == ledger.pts.tolist() == pts
    assert track.frame_index.tolist() == list(range(len(pts)))


def test_counts_printed_and_saved_add_up(result) -> None:
    folder, printed = result
    summary = json.loads((folder / "summary.json").read_text())
    frames = summary["frames"]
    assert frames["decoded"] + frames["failed"] == frames["rows"]
    for side in ("right", "left"):
        hand = summary["hands"][side]
        assert hand["observed"] + hand["bridged"] + hand["absent"] == frames["rows"]
        assert sum(hand["reasons"].values()) == frames["rows"]
        assert f"{side}: seen {hand['observed']} + bridged {hand['bridged']}" in printed
    assert f"decoded {frames['decoded']} / failed 0" in printed
    assert summary["camera"]["source"] == "assumed"
    assert "not metric" in printed


def test_overlay_has_the_frames_times_and_sound_of_its_source(result) -> None:
    with open_clip(SAMPLE) as source, open_clip(result[0] / "overlay.mp4") as overlay:
        assert overlay.info.has_audio == source.info.has_audio
        times = [[f.pts * f.time_base for f in reader] for reader in (source, overlay)]
    assert times[0] == times[1]


def test_refined_and_raw_poses_project_onto_their_own_pixels(result) -> None:
    track = load_track(result[0] / "track.parquet")
    for xyz, uv in (
        (track.xyz_cam_mm, track.uv_px),
        (track.raw_xyz_cam_mm, track.raw_uv_px),
    ):
        there = np.isfinite(uv).all(axis=(2, 3))
        assert there.any()
        off = np.abs(track.meta.camera.project(xyz[there]) - uv[there])
        assert off.max() < 1.0
    assert (track.raw_uv_px[track.provenance == OBSERVED] > -1e6).all()
    assert np.isnan(track.raw_uv_px[track.provenance == BRIDGED]).all()


def test_python_api_gives_the_same_track_as_the_command(result, tmp_path: Path) -> None:
    saved = hdrvideo.load(result[0] / "track.parquet")
    windows = list(hdrvideo.stream(SAMPLE, device="cpu"))
    assert sum(len(w) for w in windows) == len(saved)
    # OpenVINO's threads do not always add in the same order: the last digits may differ, and a fit
    # of the hand model may stop a step earlier for it.
    for name, limit_px in (("raw_uv_px", 0.01), ("uv_px", 0.3)):
        told = np.concatenate([getattr(w, name) for w in windows])
        np.testing.assert_allclose(told, getattr(saved, name), rtol=0, atol=limit_px)
    hdrvideo.save(saved, tmp_path / "copy.parquet")
    assert (hdrvideo.load(tmp_path / "copy.parquet").pts == saved.pts).all()


def test_torch_and_the_fast_engine_agree(result) -> None:
    pytest.importorskip("openvino")
    saved = load_track(result[0] / "track.parquet")
    plain = hdrvideo.annotate(SAMPLE, settings=Settings(engine="torch"), device="cpu")
    both = saved.present & plain.present
    assert both.sum() > 0.97 * max(saved.present.sum(), plain.present.sum())
    assert np.median(np.abs(saved.uv_px[both] - plain.uv_px[both])) < 0.1


def test_export_render_and_report_run_on_the_result(result, tmp_path: Path) -> None:
    track = result[0] / "track.parquet"
    runner = CliRunner()
    for format in ("npz", "csv", "json", "coco"):
        done = runner.invoke(
            app, ["export", str(track), "--format", format, "-o", str(tmp_path / f"t.{format}")]
        )
        assert done.exit_code == 0, done.output
    raw = tmp_path / "raw.mp4"
    assert (
        runner.invoke(app, ["render", str(SAMPLE), str(track), "-o", str(raw), "--raw"]).exit_code
        == 0
    )
    page = tmp_path / "page.png"
    assert runner.invoke(app, ["report", str(SAMPLE), str(track), "-o", str(page)]).exit_code == 0
    assert raw.stat().st_size > 10_000
    assert page.read_bytes()[:4] == b"\x89PNG"


def test_mirror_exchanges_the_sides(result) -> None:
    saved = load_track(result[0] / "track.parquet")
    mirrored = hdrvideo.annotate(SAMPLE, settings=Settings(mirror=True), device="cpu")
    np.testing.assert_array_equal(mirrored.present, saved.present[:, ::-1])


def test_nothing_is_overwritten_unless_asked(result) -> None:
    folder, _ = result
    before = (folder / "track.parquet").read_bytes()
    done = hdrvideo_command("annotate", SAMPLE, "-o", folder.parent)
    assert done.returncode == 1
    assert "track.parquet exists; use --overwrite" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "track.parquet").read_bytes() == before


def test_one_bad_clip_of_three_fails_and_the_others_are_done(tmp_path: Path) -> None:
    good = make_clip(tmp_path / "good.mp4")
    also = make_clip(tmp_path / "also.mp4", Made(n_frames=3))
    bad = tmp_path / "bad.mp4"
    bad.write_text("this is no video")
    done = hdrvideo_command("annotate", good, bad, also, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "1 of 3 clips failed" in done.stdout
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for name in ("good", "also"):
        assert (tmp_path / "out" / name / "summary.json").is_file()
    assert not (tmp_path / "out" / "bad").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--focal", "500", "--fov", "60"], "give one of --focal and --fov"),
        (["--focal", "-3"], "focal_px is -3.0"),
        (["--config", "missing.yaml"], "settings file missing.yaml cannot be read"),
    ],
)
def test_wrong_use_exits_with_2_before_any_work(
    tmp_path: Path, arguments: list[str], text: str
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Made(n_frames=2))
    done = hdrvideo_command("annotate", clip, "-o", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert not (tmp_path / "out").exists()


def test_unknown_option_and_no_clip_exit_with_2() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["annotate", "--frobnicate", "x.mp4"]).exit_code == 2
    assert runner.invoke(app, ["annotate"]).exit_code == 2


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"a\.mp4 and .*a\.mkv would both write to"):
        jobs.result_folders([tmp_path / "a.mp4", tmp_path / "a.mkv"], tmp_path)


def test_debug_prints_the_traceback(tmp_path: Path) -> None:
    done = hdrvideo_command("--debug", "annotate", tmp_path / "none.mp4", "-o", tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ClipNotFoundError" in done.stderr


def test_a_clip_without_hands_has_rows_and_no_poses(tmp_path: Path) -> None:
    made = Made(n_frames=7, pts=[0, 1, 2, 5, 6, 11, 12])
    clip = make_clip(tmp_path / "no hands.mp4", made)
    parts = jobs.build_for(Settings(), "cpu")
    folder = tmp_path / "out"
    done = jobs.annotate_to(clip, folder, settings=Settings(), parts=parts)
    assert done.counts.rows == 7
    assert done.counts.absent == (7, 7)
    track = load_track(folder / "track.parquet")
    assert not track.present.any()
    with open_clip(clip) as source, open_clip(folder / "overlay.mp4") as overlay:
        times = [[f.pts * f.time_base for f in reader] for reader in (source, overlay)]
    assert times[0] == times[1]
    assert times[0][3] == Fraction(5, 30)


def test_image_folders_and_patterns_are_named_after_their_folder(tmp_path: Path) -> None:
    make_images(tmp_path / "shots", 3)
    assert jobs.clip_stem(tmp_path / "shots") == "shots"
    assert jobs.clip_stem(str(tmp_path / "shots" / "*.png")) == "shots"
    parts = jobs.build_for(Settings(), "cpu")
    done = jobs.annotate_to(tmp_path / "shots", tmp_path / "out", settings=Settings(), parts=parts)
    assert (done.counts.container_says, done.counts.rows) == (3, 3)


def test_a_cut_off_clip_is_annotated_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = make_clip(
        tmp_path / "clip.mp4",
        Made(n_frames=60, b_frames=0, container_options={"movflags": "faststart"}),
    )
    clip = cut(whole, 0.6)
    done = hdrvideo_command("annotate", clip, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    ledger = load_ledger(tmp_path / "out" / "clip" / "frames.parquet")
    n_lost = int((ledger.decode_status == DECODE_STATUS.index("lost")).sum())
    assert f"failed {n_lost}" in done.stdout
    if n_lost:
        assert "failed frames: " in done.stdout
        assert len(ledger) == 60


def test_audio_only_is_one_clear_line(tmp_path: Path) -> None:
    clip = make_sound(tmp_path / "sound.mp4", "aac", video=False)
    done = hdrvideo_command("annotate", clip, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "sound.mp4" in done.stderr


def test_render_refuses_a_track_of_another_clip(result, tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other.mp4")
    with pytest.raises(TrackError, match="give the clip that the track was made from"):
        jobs.render(other, result[0] / "track.parquet", tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def test_a_result_folder_that_cannot_be_made(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Made(n_frames=2))
    (tmp_path / "file").write_text("in the way")
    parts = jobs.build_for(Settings(), "cpu")
    with pytest.raises(WriteError, match=r"cannot be made .* choose another with -o"):
        jobs.annotate_to(clip, tmp_path / "file" / "x", settings=Settings(), parts=parts)


def test_describe_names_failures_and_a_wrong_claim() -> None:
    counts = LedgerCounts(
        container_says=9,
        rows=7,
        decoded=5,
        damaged=1,
        failed=2,
        absent=(7, 7),
        failed_frames=(3, 4),
    )
    lines = jobs.describe(counts)
    assert lines[0] == "container says 9 / decoded 5 / failed 2 / rows 7"
    assert "failed frames: 3, 4" in lines
    assert "damaged but decoded: 1" in lines
    assert lines[-1].startswith("the container's claim is off by 2")


def test_doctor_and_bench_and_version_print(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).output.strip() == hdrvideo.__version__
    doctor = runner.invoke(app, ["doctor"])
    assert doctor.exit_code == 0, doctor.output
    for word in ("torch", "decoders", "libx264", "weights palm", "weights landmark"):
        assert word in doctor.output
    clip = make_clip(tmp_path / "clip.mp4", Made(n_frames=4))
    bench = runner.invoke(app, ["bench", str(clip), "--repeats", "1", "--device", "cpu"])
    assert bench.exit_code == 0, bench.output
    for stage in ("decode ", "decode + pose + track", "write", "all together"):
        assert stage in bench.output
    for part in ("decode (waited for)", "find and read", "masks", "painting", "motion", "the rest"):
        assert f"    {part} " in bench.output


def test_public_names_are_pinned() -> None:
    assert hdrvideo.__all__ == [
        "__version__",
        "HdrVideoError",
        "PoseTrack",
        "Settings",
        "annotate",
        "export",
        "live",
        "load",
        "render",
        "save",
        "stream",
    ]
    for name in hdrvideo.__all__:
        assert getattr(hdrvideo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        hdrvideo.frobnicate  # noqa: B018
