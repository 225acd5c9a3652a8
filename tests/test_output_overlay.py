"""The review picture: what is drawn where, what is printed, and what must not crash it."""

import time

import numpy as np
import pytest
from tracks import absent_in_the_middle, make_meta, make_track, no_hands, variable_rate

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.output.colours import LOST_RGB, SIDE_RGB
from hdrvideo.output.overlay import OverlayStyle, _clock, draw_overlay
from hdrvideo.track import ABSENT, BRIDGED

PLAIN = OverlayStyle(strip=False)
GREY = 128


def grey(track):
    return np.full((track.meta.height, track.meta.width, 3), GREY, np.uint8)


def near(track, row, side, joint):
    u, v = np.round(track.uv_px[row, side, joint]).astype(int)
    return v, u


def certain(track):
    """Every joint seen and sure, so that its pixel has the side's own colour."""
    track.confidence[np.isfinite(track.confidence)] = 1
    track.visible[:] = True
    return track


def test_each_side_has_its_colour_at_its_joints():
    track = certain(make_track(1))
    picture = draw_overlay(grey(track), track, 0, style=PLAIN)
    for side in (0, 1):
        for joint in (0, 8, 20):
            found = picture[near(track, 0, side, joint)].astype(int)
            assert np.abs(found - SIDE_RGB[side]).max() < 12, (side, joint)


def test_the_frame_itself_is_left_as_it_is():
    track = make_track(1)
    frame = grey(track)
    frame.flags.writeable = False
    picture = draw_overlay(frame, track, 0)
    assert (frame == GREY).all()
    assert picture.shape == frame.shape
    assert picture.dtype == np.uint8


def test_an_absent_hand_draws_nothing():
    track = no_hands(2)
    assert (draw_overlay(grey(track), track, 0, style=PLAIN) == GREY).all()
    track = absent_in_the_middle()
    picture = draw_overlay(grey(track), track, 5, style=PLAIN)
    assert (picture[:, 320:] == GREY).all()
    assert (picture[:, :320] != GREY).any()


def test_less_confidence_is_less_opaque():
    track = certain(make_track(1))
    at = near(track, 0, 0, 0)
    shifts = []
    for confidence in (1.0, 0.5, 0.0):
        track.confidence[:] = confidence
        picture = draw_overlay(grey(track), track, 0, style=PLAIN)
        shifts.append(np.abs(picture[at].astype(int) - GREY).max())
    assert shifts[0] > shifts[1] > shifts[2] > 20


def test_a_hidden_joint_is_hollow():
    # A tip, because the bones that pass through other joints must be cut out as well.
    track = certain(make_track(1, meta=make_meta(1920, 1080)))
    at = near(track, 0, 0, 8)
    filled = draw_overlay(grey(track), track, 0, style=PLAIN)
    track.visible[:] = False
    hollow = draw_overlay(grey(track), track, 0, style=PLAIN)
    assert np.abs(filled[at].astype(int) - SIDE_RGB[0]).max() < 12
    assert (hollow[at] == GREY).all()


def test_a_bridged_hand_is_dashed():
    meta = make_meta(1920, 1080)
    solid, dashed = (
        make_track(1, meta=meta),
        make_track(1, meta=meta, provenance={(0, 0, 1): BRIDGED}),
    )
    pictures = []
    for track in (solid, dashed):
        pictures.append(draw_overlay(grey(track), certain(track), 0, style=PLAIN))
    a, b = (solid.uv_px[0, 0, j] for j in (0, 5))
    along = np.round(a + np.linspace(0.1, 0.9, 200)[:, None] * (b - a)).astype(int)
    touched = [(p[along[:, 1], along[:, 0]] != GREY).any(axis=1) for p in pictures]
    assert touched[0].all()
    assert 0.3 < touched[1].mean() < 0.95
    assert np.abs(np.diff(touched[1].astype(int))).sum() >= 4


def test_the_raw_skeleton_is_drawn_only_on_request():
    track = certain(make_track(1))
    track.raw_uv_px[0, 0] = track.uv_px[0, 0] + (0, 120)
    at = near(track, 0, 0, 0)[0] + 120, near(track, 0, 0, 0)[1]
    without = draw_overlay(grey(track), track, 0, style=PLAIN)
    with_raw = draw_overlay(grey(track), track, 0, style=OverlayStyle(raw=True, strip=False))
    assert (without[at] == GREY).all()
    assert (with_raw[at] > GREY + 20).all()


def test_the_nearer_hand_lies_on_top():
    track = certain(make_track(1))
    track.uv_px[0, 1] = track.uv_px[0, 0]
    at = near(track, 0, 0, 0)
    for nearer in (0, 1):
        track.xyz_cam_mm[0, nearer, :, 2] = 300
        track.xyz_cam_mm[0, 1 - nearer, :, 2] = 600
        found = draw_overlay(grey(track), track, 0, style=PLAIN)[at].astype(int)
        assert np.abs(found - SIDE_RGB[nearer]).max() < 12


def test_the_strip_is_dark_with_light_text_on_any_ground():
    track = make_track(1)
    for level in (0, 255):
        frame = np.full((480, 640, 3), level, np.uint8)
        strip = draw_overlay(frame, track, 0)[:60, :120].max(axis=2)
        assert strip.min() <= 63
        assert strip.max() > 200
    strip = draw_overlay(grey(track), track, 0)[:60, :120]
    assert (strip == GREY).all(axis=2).mean() < 0.02
    noted = draw_overlay(grey(track), track, 0, note="damaged")
    assert (noted != draw_overlay(grey(track), track, 0)).any()


def test_the_clock_is_exact():
    ntsc = make_track(2)
    ntsc.pts[:] = (1799, 107893)
    assert [_clock(ntsc, r) for r in (0, 1)] == ["01:00.027", "60:00.030"]
    uneven = variable_rate()
    assert [_clock(uneven, r) for r in (0, 1, 7)] == ["-00:00.040", "00:00.000", "00:00.247"]


def test_a_lost_frame_is_dark_grey_and_says_so():
    track = make_track(2, provenance={(0, 0, 2): ABSENT, (1, 0, 2): ABSENT})
    picture = draw_overlay(None, track, 1, style=PLAIN)
    assert picture.shape == (480, 640, 3)
    assert (picture[0] == LOST_RGB).all()
    assert picture[200:280].max() > 200


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (1, 1), (3, 400), (101, 77), (1080, 1920)])
def test_every_size_of_picture(size):
    track = make_track(3, meta=make_meta(*size))
    style = OverlayStyle(raw=True)
    for row in range(3):
        assert draw_overlay(grey(track), track, row, style=style).shape == (size[1], size[0], 3)
    assert draw_overlay(None, track, 0).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("far", [-1e4, 1e5, 3e9, 1e30])
def test_joints_far_outside_the_picture(far):
    track = make_track(2, provenance={(1, 0, 2): BRIDGED})
    track.uv_px[0, :, 4] = far
    track.uv_px[1] = far
    track.raw_uv_px[0, 0, 7] = -far
    style = OverlayStyle(raw=True, strip=False)
    assert (draw_overlay(grey(track), track, 0, style=style) != GREY).any()
    assert (draw_overlay(grey(track), track, 1, style=PLAIN) == GREY).all()


def test_joints_that_are_not_a_number():
    track = make_track(2)
    track.uv_px[0, 0, 5:9] = np.nan
    track.uv_px[1] = np.nan
    track.confidence[0, 0] = np.nan
    track.xyz_cam_mm[:] = np.nan
    style = OverlayStyle(raw=True, strip=False)
    assert (draw_overlay(grey(track), track, 0, style=style) != GREY).any()
    assert (draw_overlay(grey(track), track, 1, style=PLAIN) == GREY).all()


def test_a_picture_of_another_size_is_refused():
    track = make_track(1)
    with pytest.raises(ShapeError, match=r"rgb_u8 is uint8 \(10, 20, 3\), expected uint8 \(480, 6"):
        draw_overlay(np.zeros((10, 20, 3), np.uint8), track, 0)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"line_px": 0}, "line_px is 0, expected 1 to 64"),
        ({"min_opacity": 1.5}, "min_opacity is 1.5, expected 0 to 1"),
    ],
)
def test_style_refuses(setting, text):
    with pytest.raises(SettingsError, match=text):
        OverlayStyle(**setting)


def test_a_given_line_width_is_used():
    track = make_track(1)
    touched = [
        (draw_overlay(grey(track), track, 0, style=OverlayStyle(line_px=w, strip=False)) != GREY)
        for w in (1, 6)
    ]
    assert touched[1].sum() > 1.5 * touched[0].sum()


def test_drawing_keeps_up_with_the_clip():
    track = make_track(50, provenance={(1, 0, 25): BRIDGED})
    frame = grey(track)
    start = time.process_time()
    for row in range(50):
        draw_overlay(frame, track, row, style=OverlayStyle(raw=True))
    # Measured about 400 a second on one core; a third of the wanted 150 leaves room for a busy one.
    assert 50 / (time.process_time() - start) > 50
