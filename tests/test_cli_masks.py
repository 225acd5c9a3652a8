"""`annotate --keep masks` and `render --panels`, with made masks in place of a net's."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import Made, make_clip
from tracks import make_ledger, make_track
from typer.testing import CliRunner

from hdrvideo import jobs
from hdrvideo.cli import app, main
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.datatypes import KeptCrop
from hdrvideo.errors import ClipError, SettingsError, TrackError, WriteError
from hdrvideo.geometry import CropSquare
from hdrvideo.handmask import HandMask
from hdrvideo.output.crops import CropReader
from hdrvideo.output.masks import MaskReader
from hdrvideo.pipeline import track_meta

FULL = np.full((8, 8), 255, np.uint8)
# Only 4:4:4 colour can have odd sizes.
ODD = Made(n_frames=4, width=113, height=65, pixel_format="yuv444p")
PARTS = SimpleNamespace(device="cpu", engine="torch")


def mask_of(frame: int, side: int) -> HandMask:
    """Give a square that moves with the frames; the left hand is hidden."""
    square = CropSquare(30.0 + frame + 40 * side, 30.0, 20.0)
    return HandMask(square, FULL * (1 - side), FULL)


def crop_of(frame: int, side: int) -> KeptCrop:
    """Give a picture of one colour where the mask is; only the right hand was painted."""
    colour = np.full((32, 32, 3), (40 * frame, 200, 90 + 60 * side), np.uint8)
    jpeg = cv2.imencode(".jpg", colour[..., ::-1])[1].tobytes()
    return KeptCrop(mask_of(frame, side).square.frame_from_crop(32), jpeg, side == 0)


def made_windows(frames, info, settings, parts, on_masks=None, on_crops=None):
    """Give a track of two waving hands, and masks from the second frame on."""
    pts = np.array([frame.pts for frame in frames], np.int64)
    track = make_track(len(pts), meta=track_meta(info, settings), pts=pts)
    for frame in range(1, len(pts)):
        for side in (0, 1):
            if on_masks is not None:
                on_masks(frame, side, mask_of(frame, side))
            if on_crops is not None:
                on_crops(frame, side, crop_of(frame, side))
    yield track, make_ledger(track)


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(jobs, "pose_windows", made_windows)
    monkeypatch.setattr(jobs, "build_for", lambda settings, device: PARTS)
    return make_clip(tmp_path / "clip.mp4", ODD)


def annotate(clip: Path, *options: object):
    folder = clip.parent / "out"
    return CliRunner().invoke(app, ["annotate", str(clip), "-o", str(folder), *map(str, options)])


def results(clip: Path) -> Path:
    return clip.parent / "out" / "clip"


def run_main(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["hdrvideo", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_masks_are_kept_when_asked_for(clip: Path) -> None:
    done = annotate(clip, "--keep", "masks", "--keep", "masks")
    assert done.exit_code == 0, done.output
    names = sorted(p.name for p in results(clip).iterdir())
    assert names == sorted([*jobs.FILES, "masks.parquet"])
    with MaskReader(results(clip) / "masks.parquet", height_px=65, width_px=113) as reader:
        assert not np.any(reader.masks(0))
        for frame in range(1, 4):
            hands = [mask_of(frame, side).in_frame(65, 113) for side in (0, 1)]
            np.testing.assert_array_equal(reader.masks(frame), np.stack(hands, axis=1))


def test_masks_are_not_kept_otherwise(clip: Path) -> None:
    assert annotate(clip).exit_code == 0
    assert sorted(p.name for p in results(clip).iterdir()) == sorted(jobs.FILES)


def test_crops_are_kept_when_asked_for(clip: Path) -> None:
    assert annotate(clip, "--keep", "crops").exit_code == 0
    names = sorted(p.name for p in results(clip).iterdir())
    assert names == sorted([*jobs.FILES, "crops.parquet"])
    with CropReader(results(clip) / "crops.parquet") as reader:
        assert reader.pictures(0) == (None, None)
        for frame in range(1, 4):
            for side, picture in enumerate(reader.pictures(frame)):
                colour = np.array([40 * frame, 200, 90 + 60 * side])
                assert np.abs(picture.rgb_u8 - colour).max() <= 3
                assert picture.painted == (side == 0)
    # Both, and then neither: nothing stays that belongs to another track.
    assert annotate(clip, "--overwrite", "--keep", "crops", "--keep", "masks").exit_code == 0
    assert sorted(p.name for p in results(clip).iterdir()) == sorted([*names, "masks.parquet"])
    assert annotate(clip, "--overwrite").exit_code == 0
    assert sorted(p.name for p in results(clip).iterdir()) == sorted(jobs.FILES)


def test_no_masks_leave_an_empty_file(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(frames, info, settings, parts, on_masks=None, on_crops=None):
        yield from made_windows(frames, info, settings, parts)

    monkeypatch.setattr(jobs, "pose_windows", silent)
    jobs.annotate_to(
        clip, results(clip), settings=Settings(), parts=PARTS, keep=frozenset({"masks"})
    )
    assert pq.read_table(results(clip) / "masks.parquet").num_rows == 0


def test_old_masks_never_stay_beside_a_new_track(clip: Path) -> None:
    annotate(clip, "--keep", "masks")
    old = results(clip) / "masks.parquet"
    for name in jobs.FILES:
        (results(clip) / name).unlink()
    # They would belong to another track, so they are in the way, and go only when asked.
    refused = annotate(clip)
    assert refused.exit_code == 1
    assert "masks.parquet exists; use --overwrite" in " ".join(refused.stderr.split())
    assert sorted(results(clip).iterdir()) == [old]
    assert annotate(clip, "--overwrite").exit_code == 0
    assert not old.exists()
    assert annotate(clip, "--overwrite", "--keep", "masks").exit_code == 0
    assert old.exists()


def test_a_run_that_fails_leaves_old_files_as_they_are(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(clip, "--keep", "masks")
    before = {p.name: p.read_bytes() for p in results(clip).iterdir()}

    def failing(frames, info, settings, parts, on_masks=None, on_crops=None):
        yield from made_windows(frames, info, settings, parts, on_masks, on_crops)
        raise ClipError("the clip is gone")

    monkeypatch.setattr(jobs, "pose_windows", failing)
    for options in (["--overwrite"], ["--overwrite", "--keep", "masks"]):
        assert annotate(clip, *options).exit_code == 1
        assert {p.name: p.read_bytes() for p in results(clip).iterdir()} == before


def test_masks_that_cannot_be_removed(clip: Path) -> None:
    annotate(clip)
    (results(clip) / "masks.parquet").mkdir()
    with pytest.raises(WriteError, match=r"masks.parquet of an earlier run cannot be removed"):
        jobs.annotate_to(clip, results(clip), settings=Settings(), parts=PARTS, overwrite=True)


def test_an_unknown_word_to_keep_is_wrong_use(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = clip.parent / "out"
    assert run_main(monkeypatch, "annotate", clip, "-o", out, "--keep", "heat") == 2
    assert "keep is 'heat', expected one of masks, crops" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(SettingsError, match="keep is 'heat'"):
        jobs.annotate_to(
            clip, out, settings=Settings(), parts=PARTS, keep=frozenset({"heat", "masks"})
        )


def test_panels_are_rendered_side_by_side(clip: Path) -> None:
    annotate(clip, "--keep", "masks")
    track = str(results(clip) / "track.parquet")
    done = CliRunner().invoke(app, ["render", str(clip), track, "--panels", "overlay, masks"])
    assert done.exit_code == 0, done.output
    with open_clip(clip) as source, open_clip(results(clip) / "overlay_masks.mp4") as made:
        # Two panels of 113 px; H.264 wants an even height.
        assert (made.info.width, made.info.height) == (226, 66)
        frames, times = list(made), [f.pts * f.time_base for f in source]
    assert [f.pts * f.time_base for f in frames] == times
    # The masks panel's right hand: orange in the middle of its square.
    red, _, blue = frames[2].rgb_u8[30, 113 + 32].astype(int)
    assert red - blue > 40


def test_the_hands_panel_needs_masks_and_crops(clip: Path) -> None:
    annotate(clip, "--keep", "masks", "--keep", "crops")
    track = results(clip) / "track.parquet"
    options = ["--panels", "masks,hands"]
    done = CliRunner().invoke(app, ["render", str(clip), str(track), *options])
    assert done.exit_code == 0, done.output
    with open_clip(results(clip) / "masks_hands.mp4") as made:
        assert (made.info.width, made.info.height) == (226, 66)
        frames = list(made)
    # The right hand's painted picture: upper row, third cell.
    red, green, blue = frames[2].rgb_u8[16, 113 + 8 + 2 * 32 + 16].astype(int)
    assert abs(red - 80) < 30
    assert abs(green - 200) < 30
    assert abs(blue - 90) < 30
    out = clip.parent / "o.mp4"
    (results(clip) / "crops.parquet").unlink()
    with pytest.raises(TrackError, match=r"no crops .*crops.parquet; make them with .*--keep cro"):
        jobs.render(clip, track, out, panels=("hands",))
    (results(clip) / "masks.parquet").unlink()
    with pytest.raises(TrackError, match=r"no masks .*masks.parquet; make them with .*--keep mas"):
        jobs.render(clip, track, out, panels=("hands",))
    assert not out.exists()


def test_the_default_is_the_overlay_of_annotate(clip: Path) -> None:
    annotate(clip)
    made = results(clip) / "overlay.mp4"
    before = made.read_bytes()
    track = str(results(clip) / "track.parquet")
    assert CliRunner().invoke(app, ["render", str(clip), track]).exit_code == 1
    done = CliRunner().invoke(app, ["render", str(clip), track, "--overwrite"])
    assert done.exit_code == 0, done.output
    assert made.read_bytes() == before


def test_an_unknown_panel_is_wrong_use(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    annotate(clip)
    track = results(clip) / "track.parquet"
    assert run_main(monkeypatch, "render", clip, track, "--panels", "overlay,depth") == 2
    assert "panel 'depth' is not known; use raw, overlay, masks" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="panel 'depth' is not known"):
        jobs.render(clip, track, clip.parent / "o.mp4", panels=("depth",))


def test_a_panel_without_its_masks_says_how_to_make_them(clip: Path) -> None:
    annotate(clip)
    out = clip.parent / "o.mp4"
    with pytest.raises(TrackError, match=r"no masks .*masks.parquet; make them with .*--keep mas"):
        jobs.render(clip, results(clip) / "track.parquet", out, panels=("masks",))
    assert not out.exists()


def test_the_plot_panel_needs_no_masks(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotate(clip)
    track, out = results(clip) / "track.parquet", clip.parent / "plot.mp4"
    assert run_main(monkeypatch, "render", clip, track, "-o", out, "--panels", "overlay,plot") == 0
    assert out.stat().st_size > 0
