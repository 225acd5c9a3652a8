"""The plot panel: the last seconds of fingertips, now at the right edge."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
from tracks import make_meta, make_track

from hdrvideo.hand import TIPS
from hdrvideo.output.colours import SIDE_RGB
from hdrvideo.output.plot import SHOWN_SECONDS, TipPlot
from hdrvideo.track import ABSENT

WIDTH, HEIGHT = 320, 240


def drawn(track, rows=None):
    plot = TipPlot(WIDTH, HEIGHT)
    return [plot.draw(track, row) for row in (rows or range(len(track)))]


def of_side(picture, side: int):
    """Give columns and rows of a side's colour."""
    strip = picture[side * HEIGHT // 2 : (side + 1) * HEIGHT // 2]
    off = np.abs(strip.astype(int) - np.array(SIDE_RGB[side])).sum(axis=-1)
    return np.nonzero(off < 60)[::-1]


def moving(n: int = 60, provenance=None, fps: int = 30):
    """Make hands whose tips go down the picture evenly, raw and refined alike."""
    track = make_track(n, provenance=provenance, meta=make_meta(time_base=Fraction(1, fps)))
    uv = np.array(track.uv_px)
    there = np.isfinite(uv[..., 0]).all(axis=-1)
    for tip in TIPS:
        uv[:, :, tip, 1] = np.where(there, 100 + 3.0 * np.arange(n)[:, None], np.nan)
    lifted = track.meta.camera.lift(uv, track.xyz_cam_mm[..., 2]).astype(np.float32)
    return replace(track, uv_px=uv, raw_uv_px=uv, xyz_cam_mm=lifted)


def test_what_goes_down_in_the_picture_goes_down_in_the_plot():
    picture = drawn(moving())[-1]
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    for side in (0, 1):
        u, v = of_side(picture, side)
        assert np.corrcoef(u, v)[0, 1] > 0.95
        # Now is at the right edge; two of three seconds have passed.
        assert u.max() >= WIDTH - 3
        assert abs(u.min() - WIDTH * (1 - 59 / 30 / SHOWN_SECONDS)) < 6


def test_only_the_last_seconds_are_remembered():
    long, short = moving(240), moving(240).rows(240 - 91, 240)
    np.testing.assert_array_equal(drawn(long)[-1], drawn(short)[-1])


def test_it_does_not_matter_how_the_track_is_cut():
    track, plot = moving(80), TipPlot(WIDTH, HEIGHT)
    parts = [track.rows(0, 33), track.rows(33, 80)]
    pictures = [plot.draw(part, row) for part in parts for row in range(len(part))]
    np.testing.assert_array_equal(pictures, drawn(track))


def test_gaps_stay_open_and_absent_hands_are_not_drawn():
    picture = drawn(moving(60, {(0, 20, 40): ABSENT, (1, 0, 60): ABSENT}))[-1]
    u, _ = of_side(picture, 0)
    inside = (u > WIDTH * (1 - 38 / 30 / SHOWN_SECONDS)) & (
        u < WIDTH * (1 - 22 / 30 / SHOWN_SECONDS)
    )
    assert len(u)
    assert not inside.any()
    assert not len(of_side(picture, 1)[0])


def test_a_hand_at_rest_is_not_blown_up():
    track = moving()
    uv = np.array(track.uv_px)
    uv[:, :, list(TIPS), 1] = 100 + np.random.default_rng(0).normal(0, 0.5, (60, 2, 1))
    _, v = of_side(drawn(replace(track, uv_px=uv, raw_uv_px=uv))[-1], 0)
    assert np.ptp(v) < HEIGHT / 2 * 0.15
