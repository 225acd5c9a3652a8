"""The review video's panels: side by side, masks drawn as promised, and what is refused."""

import time
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from tracks import make_meta, make_track, variable_rate

from hdrvideo.datatypes import Frame
from hdrvideo.errors import SettingsError, ShapeError, TrackError
from hdrvideo.geometry import CropSquare, apply_affine
from hdrvideo.output.colours import EDGE_RGB, LOST_RGB, SIDE_RGB
from hdrvideo.output.crops import HandPicture
from hdrvideo.output.overlay import OverlayStyle, draw_overlay
from hdrvideo.output.panels import check_panels, draw_hands, draw_masks, render_panels
from hdrvideo.track import BRIDGED

GREY = 128
SIZE = (480, 640)


def grey(track):
    return np.full((track.meta.height, track.meta.width, 3), GREY, np.uint8)


def frames_of(track, *, lost=()):
    base = track.meta.time_base
    for index, pts in zip(track.frame_index.tolist(), track.pts.tolist(), strict=True):
        picture = None if index in lost else grey(track)
        yield Frame(index, pts, base, picture, "lost" if index in lost else "ok")


def disc(u, v, radius, size=SIZE):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (columns - u) ** 2 + (rows - v) ** 2 <= radius**2


def two_discs(size=SIZE):
    """Give visible and whole masks of two discs; the right one hides a part of the left one."""
    scale = min(size) / 480
    right, left = (disc(u * scale, 240 * scale, 100 * scale, size) for u in (240, 360))
    return np.stack([right, left & ~right]), np.stack([right, left])


def inside(mask, margin_px):
    """Take off the rim, where lines are drawn."""
    kernel = np.ones((2 * margin_px + 1,) * 2, np.uint8)
    return cv2.erode(mask.astype(np.uint8), kernel, borderValue=0).astype(bool)


def rendered(frames, windows, **options):
    written = []
    count = render_panels(
        frames, windows, lambda rgb, pts: written.append((rgb.copy(), pts)), **options
    )
    assert count == len(written)
    return [rgb for rgb, _ in written], [pts for _, pts in written]


def test_the_seen_part_is_half_painted_and_the_rest_of_the_frame_dimmed():
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    kept = frame.copy()
    visible, amodal = two_discs()
    picture = draw_masks(frame, visible, amodal)
    np.testing.assert_array_equal(frame, kept)
    outside = ~cv2.dilate(amodal.any(axis=0).astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert np.abs(picture[outside] - 0.6 * frame[outside]).max() <= 0.5
    for side in (0, 1):
        free = inside(visible[side] & ~amodal[1 - side], 4)
        expected = (frame[free] + np.array(SIDE_RGB[side], float)) / 2
        # The letter takes a little of it.
        assert (np.abs(picture[free] - expected).max(axis=1) <= 1).mean() > 0.98


def test_the_hidden_part_is_hatched_over_what_hides_it():
    visible, amodal = two_discs()
    frame = np.full((*SIZE, 3), GREY, np.uint8)
    picture = draw_masks(frame, visible, amodal)
    hidden = inside(amodal[1] & ~visible[1], 6)
    lines = (picture == SIDE_RGB[1]).all(axis=2)
    assert 0.2 < lines[hidden].mean() < 0.5
    paint = ((GREY + np.array(SIDE_RGB[0])) // 2).tolist()
    assert 0.3 < (picture[hidden] == paint).all(axis=1).mean() < 0.7
    # No line crosses the parts that are seen.
    for side in (0, 1):
        free = inside(visible[side] & ~amodal[1 - side], 4)
        assert not (picture[free] == SIDE_RGB[side]).all(axis=1).any()


def test_the_sides_are_hatched_in_different_directions():
    everything = np.ones((2, *SIZE), bool)
    frame = np.full((*SIZE, 3), GREY, np.uint8)
    for side, step in ((0, -1), (1, 1)):
        amodal = everything & (np.arange(2) == side)[:, None, None]
        lines = (draw_masks(frame, ~everything, amodal) == SIDE_RGB[side]).all(axis=2)
        # One row further down a line lies a pixel to the left or to the right.
        moved = np.roll(lines, step, axis=1)[100:200, 100:500]
        np.testing.assert_array_equal(lines[101:201, 100:500], moved)
        assert (lines[101:201, 100:500] != np.roll(lines, -step, axis=1)[100:200, 100:500]).any()


def test_an_outline_runs_round_the_whole():
    visible, amodal = two_discs()
    picture = draw_masks(np.full((*SIZE, 3), GREY, np.uint8), np.zeros_like(visible), amodal)
    angles = np.linspace(0, 2 * np.pi, 100)
    for side, u in ((0, 240), (1, 360)):
        # The left hand's line lies over the right one's.
        for angle in angles[(np.cos(angles) < 0.2) if side == 0 else slice(None)]:
            at_u, at_v = u + 100 * np.cos(angle), 240 + 100 * np.sin(angle)
            near = picture[round(at_v) - 2 : round(at_v) + 3, round(at_u) - 2 : round(at_u) + 3]
            assert np.abs(near.astype(int) - SIDE_RGB[side]).max(axis=2).min() < 90, (side, angle)


def test_a_letter_stands_on_the_free_part_of_each_hand():
    visible, amodal = two_discs()
    picture = draw_masks(np.zeros((*SIZE, 3), np.uint8), visible, amodal)
    light = (picture > 200).all(axis=2)
    for side in (0, 1):
        assert light[visible[side] & ~amodal[1 - side]].sum() > 20
    assert not light[amodal[0] & amodal[1]].any()
    assert not light[~amodal.any(axis=0)].any()


def test_no_hand_only_dims():
    none = np.zeros((2, *SIZE), bool)
    picture = draw_masks(np.full((*SIZE, 3), 100, np.uint8), none, none)
    assert (picture == 60).all()


@pytest.mark.parametrize("size", [(48, 64), (49, 65), (1, 1), (400, 3), (1080, 1920)])
def test_every_size_of_picture_and_masks_at_its_rim(size):
    frame = np.full((*size, 3), GREY, np.uint8)
    everything = np.ones((2, *size), bool)
    for visible, amodal in (
        two_discs(size),
        (everything, everything),
        (~everything, everything),
        # Foreign masks may be seen where there is no hand.
        (everything, ~everything),
    ):
        assert draw_masks(frame, visible, amodal).shape == frame.shape


def test_masks_of_another_size_are_refused():
    none = np.zeros((2, *SIZE), bool)
    frame = np.zeros((*SIZE, 3), np.uint8)
    with pytest.raises(ShapeError, match=r"amodal is bool \(2, 9, 9\), expected bool \(2, 480, 6"):
        draw_masks(frame, none, np.zeros((2, 9, 9), bool))
    with pytest.raises(ShapeError, match=r"visible is uint8 \(2, 480, 640\), expected bool"):
        draw_masks(frame, none.astype(np.uint8), none)
    track = make_track(1)
    small = Frame(0, 0, track.meta.time_base, np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"rgb_u8 is uint8 \(9, 9, 3\), expected uint8 \(480, 640"):
        rendered([small], [track], panels=["masks"], masks_of=lambda index: (none, none))


def test_render_hands_on_every_frame_with_its_own_time():
    track = variable_rate()
    windows = [track.rows(0, 4), track.rows(4, 9)]
    pictures, times = rendered(frames_of(track, lost=(3,)), windows)
    assert times == track.pts.tolist()
    np.testing.assert_array_equal(pictures[5], draw_overlay(grey(track), track, 5))
    np.testing.assert_array_equal(pictures[3], draw_overlay(None, track, 3))


def test_render_says_that_a_frame_is_damaged():
    track = make_track(1)
    frame = Frame(0, 0, track.meta.time_base, grey(track), "damaged")
    (picture,), _ = rendered([frame], [track])
    np.testing.assert_array_equal(picture, draw_overlay(grey(track), track, 0, note="damaged"))


@pytest.mark.parametrize("panels", [("overlay", "masks"), ("masks", "overlay")])
def test_panels_stand_side_by_side_and_the_strip_on_the_first(panels):
    track = make_track(3)
    asked = []

    def masks_of(index):
        asked.append(index)
        return two_discs()

    options = {"panels": panels, "masks_of": masks_of}
    pictures, _ = rendered(frames_of(track, lost=(2,)), [track], **options)
    assert asked == [0, 1, 2]
    single = OverlayStyle(strip=False)
    alone = {
        "overlay": draw_overlay(grey(track), track, 1, style=single),
        "masks": draw_masks(grey(track), *two_discs()),
    }
    assert pictures[1].shape == (480, 1280, 3)
    for place, panel in enumerate(panels):
        found = pictures[1][:, place * 640 : (place + 1) * 640]
        np.testing.assert_array_equal(found[80:], alone[panel][80:])
        assert (found[:80] != alone[panel][:80]).any() == (place == 0)
    bare, _ = rendered(frames_of(track), [track], style=single, **options)
    np.testing.assert_array_equal(bare[1], np.hstack([alone[panel] for panel in panels]))
    lost = pictures[2][:, 640 * panels.index("masks") :][:, :640]
    assert (lost[400:] == LOST_RGB).all()
    assert lost[200:280].max() > 200


def test_the_raw_panel_shows_what_frames_said_and_no_bridge():
    track = make_track(3, provenance={(0, 1, 2): BRIDGED})
    moved = replace(track, raw_uv_px=track.raw_uv_px + np.float32(9))
    single = OverlayStyle(strip=False)
    pictures, _ = rendered(frames_of(moved), [moved], panels=("raw", "overlay"), style=single)
    said = moved.unrefined()
    assert not said.present[1, 0]
    for row, picture in enumerate(pictures):
        raw, refined = picture[:, :640], picture[:, 640:]
        np.testing.assert_array_equal(raw, draw_overlay(grey(track), said, row, style=single))
        np.testing.assert_array_equal(refined, draw_overlay(grey(track), moved, row, style=single))
        assert (raw != refined).any()


def test_render_refuses_another_clip():
    track = make_track(4)
    with pytest.raises(TrackError, match=r"clip ends before frame 3 of the track of clip.mp4"):
        rendered(list(frames_of(track))[:3], [track])
    with pytest.raises(TrackError, match="track ends at frame 2 and the clip goes on with 3"):
        rendered(frames_of(track), [track.rows(0, 3)])
    shifted = [Frame(k, 7 + k, Fraction(1, 30), grey(track)) for k in range(4)]
    with pytest.raises(TrackError, match=r"clip has frame 0 at pts 7 where .* has frame 0 at 0"):
        rendered(shifted, [track])


@pytest.mark.parametrize(
    ("panels", "text"),
    [
        (["overlay", "depth"], "panel 'depth' is not known; use raw, overlay, masks, hands"),
        ([""], "panel '' is not known"),
        (["masks", "masks"], "panel 'masks' is named twice"),
        ([], "no panel is named; use raw, overlay, masks"),
    ],
)
def test_panels_that_are_none_are_refused(panels, text):
    with pytest.raises(SettingsError, match=text):
        check_panels(panels)
    with pytest.raises(SettingsError, match=text):
        rendered([], [], panels=panels)


def test_masks_must_be_given():
    with pytest.raises(SettingsError, match="panel 'masks' has nothing to draw; give masks_of"):
        rendered([], [], panels=["masks"])
    with pytest.raises(SettingsError, match="panel 'hands' has nothing to draw; give masks_of"):
        rendered([], [], panels=["hands"], pictures_of=lambda index: (None, None))
    with pytest.raises(SettingsError, match="panel 'hands' has nothing to draw; give pictures_of"):
        rendered([], [], panels=["hands"], masks_of=lambda index: two_discs())


def test_drawing_keeps_up_with_the_clip():
    frame = grey(make_track(1, meta=make_meta()))
    visible, amodal = two_discs()
    draw_masks(frame, visible, amodal)
    start = time.process_time()
    for _ in range(30):
        draw_masks(frame, visible, amodal)
    # Measured 2.5 ms on one busy core.
    assert (time.process_time() - start) / 30 < 0.015


def pictures_of_discs(affine_of, painted=(True, True)):
    """Give a green picture for each hand, 64 px a side."""
    green = np.full((64, 64, 3), (20, 200, 20), np.uint8)
    return tuple(HandPicture(green, affine_of(side), painted[side]) for side in (0, 1))


def test_hands_stand_in_two_rows_of_crop_masks_and_picture():
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    frame = np.stack([u * 0.35, v * 0.5, 0 * u + 90], axis=-1).astype(np.uint8)
    visible, amodal = two_discs()
    squares = (CropSquare(240, 240, 180, 0.4), CropSquare(360, 240, 200, -0.3, True))
    pictures = pictures_of_discs(lambda side: squares[side].frame_from_crop(64), (True, False))
    panel = draw_hands(frame, visible, amodal, pictures)
    assert panel.shape == frame.shape
    # Three cells of 213 px in each of two rows, with a rim above and below.
    cell, top = 213, 27
    assert (panel[:top] == EDGE_RGB).all()
    assert (panel[-top:] == EDGE_RGB).all()
    inner = slice(40, cell - 6)
    for side, square in enumerate(squares):
        row = panel[top + side * cell :][:cell]
        crop, masks, bare = (row[:, 0 + k * cell :][inner, inner] for k in range(3))
        # A crop's pixel is its place in the frame, whose colours are its places.
        places = np.stack(np.mgrid[:cell, :cell][::-1], axis=-1)
        there = apply_affine(square.frame_from_crop(cell), places)[inner, inner]
        assert np.abs(crop[..., 0] - there[..., 0] * 0.35).max() < 2
        assert np.abs(crop[..., 1] - there[..., 1] * 0.5).max() < 2
        assert (bare == (20, 200, 20)).all()
        seen = visible[side][tuple(there.round().astype(int).reshape(-1, 2).T[::-1])]
        paint = np.array(SIDE_RGB[side]) // 2 + crop // 2
        is_paint = (np.abs(masks - paint.astype(int)).max(axis=2) <= 2).ravel()
        assert is_paint[seen].mean() > 0.7
        assert is_paint[~seen].mean() < 0.05


def test_a_hand_without_a_picture_has_dark_cells_with_its_letter():
    frame = grey(make_track(1))
    right, _ = pictures_of_discs(lambda side: CropSquare(240, 240, 180).frame_from_crop(64))
    panel = draw_hands(frame, *two_discs(), (right, None))
    both = draw_hands(frame, *two_discs(), (right, right))
    np.testing.assert_array_equal(panel[:240], both[:240])
    lower = panel[240:453]
    is_dark = (lower == LOST_RGB).all(axis=2)
    assert 0.97 < is_dark[:, :639].mean() < 1
    assert (lower[~is_dark] == SIDE_RGB[1]).all(axis=-1).any()
    # What was not painted says so.
    other, _ = pictures_of_discs(
        lambda side: CropSquare(240, 240, 180).frame_from_crop(64), (False, False)
    )
    changed = (draw_hands(frame, *two_discs(), (other, None)) != panel).any(axis=2)
    assert changed.any()
    assert not changed[:, :420].any()


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (48, 20), (33, 200)])
def test_the_hands_panel_is_as_large_as_any_frame(size):
    frame = np.zeros((*size, 3), np.uint8)
    none = np.zeros((2, *size), bool)
    pictures = pictures_of_discs(lambda side: CropSquare(0, 0, 30).frame_from_crop(64))
    for given in (pictures, (None, None)):
        assert draw_hands(frame, none, none, given).shape == frame.shape


def test_the_hands_panel_is_asked_for_each_frame_once():
    track = make_track(3)
    asked = []
    none = (None, None)
    options = {
        "panels": ("hands", "masks"),
        "masks_of": lambda index: asked.append(index) or two_discs(),
        "pictures_of": lambda index: asked.append(index) or none,
        "style": OverlayStyle(strip=False),
    }
    pictures, _ = rendered(frames_of(track, lost=(2,)), [track], **options)
    assert asked == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(pictures[0][:, :640], draw_hands(grey(track), *two_discs(), none))
    np.testing.assert_array_equal(pictures[0][:, 640:], draw_masks(grey(track), *two_discs()))
    np.testing.assert_array_equal(pictures[2][:, :640], pictures[2][:, 640:])
    with pytest.raises(ShapeError, match=r"amodal is bool \(2, 480, 600\), expected bool"):
        draw_hands(grey(track), two_discs()[0], two_discs()[1][..., :600], none)
