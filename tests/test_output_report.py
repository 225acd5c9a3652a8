"""The report page: which frames it points at, and that every kind of clip gets one."""

import cv2
import matplotlib
import numpy as np
import pytest
from tracks import absent_in_the_middle, make_ledger, make_meta, make_track, no_hands, variable_rate

from hdrvideo.errors import TrackError, WriteError
from hdrvideo.output.report import (
    _envelope,
    _states,
    _worst_in_bins,
    worst_frames,
    write_report,
)
from hdrvideo.track import ABSENT, BRIDGED, DEOCCLUDED, PROVENANCE


def calm(n=60, **kwargs):
    """A track without any fault: sure, and raw equal to refined."""
    track = make_track(n, **kwargs)
    track.raw_uv_px[:] = track.uv_px
    track.confidence[np.isfinite(track.confidence)] = 1
    return track


def page(track, path, *, thumbnails=None, lost=()):
    thumbnails = thumbnails or {}
    write_report(track, make_ledger(track, lost=lost), thumbnails, path)
    picture = cv2.imread(str(path))
    assert picture.shape[0] > 1000
    assert picture.shape[1] > 1000
    return picture


def test_worst_frames_find_each_kind_of_fault():
    track = calm()
    track.confidence[10, 0] = 0.05
    track.raw_uv_px[30, 1] += 60
    track.uv_px[50, 0] += 80
    track.raw_uv_px[50, 0] += 80
    assert set(worst_frames(track, 3)) == {10, 30, 50}


def test_worst_frames_are_spread_in_time():
    track = calm(90)
    track.confidence[40:50] = 0.1
    track.confidence[5] = 0.2
    chosen = worst_frames(track)
    assert len(chosen) == 6
    assert 40 <= chosen[0] < 50
    assert 5 in chosen
    assert np.diff(sorted(chosen)).min() > 90 // 18


def test_worst_frames_are_frame_numbers():
    track = calm(20, first_index=100)
    track.confidence[7] = 0
    assert worst_frames(track, 1) == [107]


def test_worst_frames_of_strange_tracks():
    assert worst_frames(no_hands(50)) == [0, 10, 20, 29, 39, 49]
    assert worst_frames(no_hands(2)) == [0, 1]
    assert worst_frames(make_track(1)) == [0]
    assert worst_frames(make_track(3).rows(0, 0)) == []
    flat = make_track(3)
    flat.uv_px[:] = 5
    assert set(worst_frames(flat)) == {0, 1, 2}


def test_an_uneven_step_in_time_is_no_jerk():
    pts = np.cumsum(np.r_[0, [1, 1, 1, 5, 1, 1, 1, 1, 1]]).astype(np.int64)
    track = calm(10, pts=pts)
    track.uv_px[:] = (3 * pts)[:, None, None, None] + np.arange(42).reshape(2, 21, 1)
    track.raw_uv_px[:] = track.uv_px
    assert worst_frames(track, 3) == [0, 4, 9]


def test_page_shows_coverage_and_thumbnails(tmp_path):
    states = {(1, 20, 40): ABSENT, (1, 40, 50): BRIDGED, (0, 10, 20): DEOCCLUDED}
    track = make_track(60, provenance=states)
    green = np.zeros((480, 640, 3), np.uint8)
    green[:] = (0, 255, 0)
    picture = page(track, tmp_path / "report.png", thumbnails=dict.fromkeys((3, 30, 50), green))
    pure = (picture == (0, 255, 0)).all(axis=2)
    assert pure.sum() > 3 * 100 * 100
    for rgb in ((240, 205, 50), (190, 95, 165), (222, 222, 222), (0, 158, 115)):
        assert (picture == rgb[::-1]).all(axis=2).sum() > 300, rgb


@pytest.mark.parametrize(
    "track",
    [no_hands(), make_track(1), make_track(2), absent_in_the_middle(), variable_rate()],
    ids=["no hands", "one frame", "two frames", "absent", "variable rate"],
)
def test_every_kind_of_clip_gets_a_page(track, tmp_path):
    thumbnails = {i: np.zeros((48, 64, 3), np.uint8) for i in worst_frames(track)}
    page(track, tmp_path / "report.png", thumbnails=thumbnails, lost=(0,))


def test_twenty_minutes_and_an_odd_name(tmp_path):
    meta = make_meta(1920, 1080, clip="a $long$ 手 name " + "x" * 90 + ".mp4")
    track = make_track(36000, provenance={(1, 6000, 10000): ABSENT}, meta=meta)
    page(track, tmp_path / "report.png")


def test_the_drawing_backend_of_the_program_is_left_alone(tmp_path):
    before = dict.__getitem__(matplotlib.rcParams, "backend")
    page(make_track(2), tmp_path / "report.png")
    assert dict.__getitem__(matplotlib.rcParams, "backend") == before


def test_a_short_gap_in_a_long_clip_stays_visible():
    track = make_track(5000, provenance={(0, 2500, 2501): ABSENT})
    states = _states(track, make_ledger(track))
    seconds = track.pts_seconds
    columns = _worst_in_bins(states, seconds, seconds[0], seconds[-1])
    assert (columns[:, 0] == ABSENT).sum() in (1, 2)
    assert (columns[:, 1] != ABSENT).all()


def test_a_lost_frame_is_lost_unless_it_was_bridged():
    track = make_track(4, provenance={(0, 1, 2): ABSENT, (1, 1, 2): BRIDGED})
    states = _states(track, make_ledger(track, lost=(1,)))
    assert states[1].tolist() == [len(PROVENANCE), BRIDGED]


def test_thinning_keeps_every_spike_and_every_gap():
    seconds = np.arange(20000) / 30
    values = np.zeros(20000, np.float32)
    values[12345] = 9
    values[3000:6000] = np.nan
    times, thinned = _envelope(seconds, values)
    assert len(times) == len(thinned) < 3000
    assert np.nanmax(thinned) == 9
    assert times[np.nanargmax(thinned)] == pytest.approx(12345 / 30, abs=1)
    assert np.isnan(thinned).sum() > 300


def test_refusals(tmp_path):
    track = make_track(4)
    ledger = make_ledger(track)
    path = tmp_path / "report.png"
    with pytest.raises(TrackError, match="at least 1 frame, got 0"):
        write_report(track.rows(0, 0), ledger, {}, path)
    with pytest.raises(TrackError, match="ledger has 4 frames from another clip than the track wi"):
        write_report(track.rows(0, 2), ledger, {}, path)
    path.write_text("mine")
    with pytest.raises(WriteError, match=r"report.png exists; pass --overwrite"):
        write_report(track, ledger, {}, path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
