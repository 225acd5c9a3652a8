"""Live: the stated delay is kept, every frame comes out once, and a long delay is `annotate`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tracks import make_ledger, random_track, same_windows

import hdrvideo
from hdrvideo.clip import open_clip
from hdrvideo.config import MAX_DELAY_FRAMES, MotionSettings, Settings, live_settings
from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.motion.stage import CONTEXT_FRAMES, MotionStage
from hdrvideo.pipeline import annotate
from hdrvideo.track import concatenate

SAMPLE = Path(__file__).parent.parent / "sample_videos" / "two_hands.mp4"
PLAIN = Settings(hasm="off", shpe="landmark", refine="off", engine="torch")


def pictures(n: int):
    with open_clip(SAMPLE) as reader:
        for frame in reader:
            if frame.index == n:
                return
            yield frame.pts_seconds, frame.rgb_u8


@pytest.mark.parametrize("delay_frames", [1, 5, 12])
def test_each_frame_comes_out_once_within_the_stated_delay(delay_frames):
    frames, taken = 30, []

    def camera():
        for picture in pictures(frames):
            taken.append(picture[0])
            yield picture

    seen, parts = [], []
    for track in hdrvideo.live(camera(), delay_frames=delay_frames, settings=PLAIN, device="cpu"):
        seen += list(track.frame_index)
        parts.append(track)
        # What has come in is at most the delay ahead of what is out; at the end the rest comes.
        first_of_these = int(track.frame_index[0])
        assert len(taken) - 1 - first_of_these <= delay_frames or len(taken) == frames
    assert seen == list(range(frames))
    track = concatenate(parts)
    assert track.present.any()
    times = [seconds for seconds, _ in pictures(frames)]
    np.testing.assert_allclose(track.pts_seconds, times, atol=1e-5)


def test_a_camera_may_use_one_array_for_all_its_pictures():
    def camera():
        buffer = None
        for seconds, rgb_u8 in pictures(20):
            buffer = np.empty_like(rgb_u8) if buffer is None else buffer
            buffer[:] = rgb_u8
            yield seconds, buffer
            buffer[:] = 0

    fresh, reused = (
        concatenate(list(hdrvideo.live(given, delay_frames=6, settings=PLAIN, device="cpu")))
        for given in (pictures(20), camera())
    )
    np.testing.assert_array_equal(fresh.raw_uv_px, reused.raw_uv_px)


def test_no_pictures_are_no_track():
    assert list(hdrvideo.live(iter(()), settings=PLAIN, device="cpu")) == []


def test_what_is_no_video_is_refused():
    black = np.zeros((40, 60, 3), dtype=np.uint8)

    def run(*given):
        return list(hdrvideo.live(given, settings=PLAIN, device="cpu"))

    with pytest.raises(ShapeError, match=r"picture 1 is 50x40 and those before it are 60x40; res"):
        run((0.0, black), (0.1, black[:, :50]))
    with pytest.raises(ShapeError, match=r"picture 1 is at 0\.1 s, expected more than 0\.1 s"):
        run((0.1, black), (0.1, black))
    for wrong in (np.nan, np.inf):
        with pytest.raises(ShapeError, match=rf"picture 0 is at {wrong} s, expected 0 s"):
            run((wrong, black))
    with pytest.raises(ShapeError, match=r"picture 0 is at -1 s, expected 0 s; times must rise"):
        run((-1.0, black))
    with pytest.raises(SettingsError, match="delay_frames is 0, expected a whole number from 1"):
        list(hdrvideo.live([], delay_frames=0))


def test_a_delay_longer_than_the_clip_changes_nothing():
    settings = replace(PLAIN, follow=replace(PLAIN.follow, backward_frames=15))
    whole = annotate(SAMPLE, settings=settings, device="cpu")
    late = annotate(SAMPLE, settings=live_settings(settings, MAX_DELAY_FRAMES), device="cpu")
    # The clip is shorter than the sides' share of the delay and the temporal stage's.
    n = 60
    np.testing.assert_array_equal(late.raw_uv_px[:n], whole.raw_uv_px[:n])


def run(track, ledger, settings):
    stage, out = MotionStage(settings), []
    for n in range(len(track)):
        out += stage.push(track.rows(n, n + 1), ledger.rows(n, n + 1))
        told = sum(len(t) for t, _ in out)
        assert n + 1 - told < settings.own_frames + settings.ahead_frames
    out += stage.finish()
    tracks, ledgers = zip(*out, strict=True)
    whole = ledgers[0]
    for one in ledgers[1:]:
        whole = whole.then(one)
    return concatenate(list(tracks)), whole


@pytest.mark.parametrize("ahead", [CONTEXT_FRAMES, 500])
def test_with_all_that_matters_ahead_the_limit_does_not_show(ahead):
    track = random_track(4, 330, 60)
    ledger = make_ledger(track)
    free = MotionStage(MotionSettings(own_frames=7))
    windows = [*free.push(track, ledger), *free.finish()]
    plain = concatenate([t for t, _ in windows])
    ours = run(track, ledger, MotionSettings(own_frames=7, ahead_frames=ahead))
    np.testing.assert_array_equal(ours[0].uv_px, plain.uv_px)


@pytest.mark.parametrize("ahead", [0, 3, 12])
def test_nothing_farther_ahead_is_used(ahead):
    track = random_track(6, 120, 60)
    ledger = make_ledger(track)
    settings = MotionSettings(own_frames=1, ahead_frames=ahead)
    whole = run(track, ledger, settings)
    n = 80
    cut = run(track.rows(0, n), ledger.rows(0, n), settings)
    known = n - ahead
    same_windows(
        (cut[0].rows(0, known), cut[1].rows(0, known)),
        (whole[0].rows(0, known), whole[1].rows(0, known)),
    )
