"""What crosses a stage checks itself: every shape, type and range, by the text of its error."""

from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from hdrvideo.datatypes import ClipInfo, Frame, HandCrops, HandPoses, check_array
from hdrvideo.errors import ShapeError

NTSC = Fraction(30000, 1001)
INFO = ClipInfo(
    path="clip.mp4",
    width=640,
    height=480,
    rotation_deg=0,
    rate=NTSC,
    time_base=1 / NTSC,
    n_frames_container=10,
    is_variable_rate=False,
    has_audio=False,
    codec="h264",
    pixel_format="yuv420p",
)
PICTURE = np.zeros((4, 6, 3), np.uint8)


def poses(b: int = 2, **changed) -> HandPoses:
    values = {
        "uv_px": np.zeros((b, 21, 2), np.float32),
        "xyz_mm": np.zeros((b, 21, 3), np.float32),
        "presence": np.zeros(b, np.float32),
        "right_score": np.zeros(b, np.float32),
        "confidence": np.zeros((b, 21), np.float32),
        "refine_px": np.zeros((b, 21, 2), np.float32),
    }
    return HandPoses(**values | changed)


def crops(b: int = 2, **changed) -> HandCrops:
    values = {
        "rgb": torch.zeros(b, 3, 8, 8),
        "frame_from_crop": np.zeros((b, 2, 3)),
        "mirrored": np.zeros(b, bool),
    }
    return HandCrops(**values | changed)


def test_check_array_takes_numpy_and_torch_and_any_length():
    check_array("a", np.zeros((2, 3), np.float32), (2, None), "float32")
    check_array("a", torch.zeros(2, 3), (None, 3), "float32")
    check_array("a", np.zeros((0, 3), bool), (0, 3), "bool")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.zeros((2, 3), np.float64), r"float64 \(2, 3\)"),
        (np.zeros((3, 2), np.float32), r"float32 \(3, 2\)"),
        (np.zeros(2, np.float32), r"float32 \(2,\)"),
        (torch.zeros(2, 3, 1), r"torch.float32 \(2, 3, 1\)"),
        ([[1, 2, 3]], r"list \(\)"),
        (None, r"NoneType \(\)"),
    ],
)
def test_check_array_says_what_came_and_what_was_expected(value, found):
    with pytest.raises(ShapeError, match=rf"uv_px is {found}, expected float32 \('any', 3\)"):
        check_array("uv_px", value, (None, 3), "float32")


def test_clip_info_errors():
    for size in ({"width": 0}, {"height": 0}):
        with pytest.raises(ShapeError, match=r"clip size is \d+x\d+, expected at least 1x1"):
            replace(INFO, **size)
    with pytest.raises(ShapeError, match="rotation is 45, expected 0, 90, 180 or 270 degrees"):
        replace(INFO, rotation_deg=45)
    for base in (Fraction(0), Fraction(-1, 30)):
        with pytest.raises(ShapeError, match=r"time base is .*, expected a positive fraction"):
            replace(INFO, time_base=base)


def test_frame_time_is_exact():
    frame = Frame(7, 30000, 1 / NTSC, PICTURE)
    assert frame.pts_seconds == 1001
    assert Frame(0, -3, Fraction(1, 3), PICTURE).pts_seconds == -1
    # Twelve hours at 29.97: nothing has crept in.
    assert Frame(0, 1294705, 1 / NTSC, PICTURE).pts_seconds == float(1294705 * 1001 / 30000)


def test_frame_says_what_it_is():
    assert repr(Frame(7, 30, Fraction(1, 30), PICTURE)) == (
        "Frame(index=7, pts=30, 1.0000 s, 6x4, ok)"
    )
    lost = Frame(7, 30, Fraction(1, 30), None, "lost")
    assert repr(lost) == "Frame(index=7, pts=30, 1.0000 s, none, lost)"


def test_frame_errors():
    base = Fraction(1, 30)
    with pytest.raises(ShapeError, match="frame index is -1, expected 0 or more"):
        Frame(-1, 0, base, PICTURE)
    with pytest.raises(ShapeError, match="frame status is 'bad', expected 'ok', 'damaged' or 'l"):
        Frame(0, 0, base, PICTURE, "bad")
    with pytest.raises(ShapeError, match="frame 3 is 'lost' and its picture is ndarray"):
        Frame(3, 0, base, PICTURE, "lost")
    for status in ("ok", "damaged"):
        with pytest.raises(ShapeError, match=f"frame 3 is '{status}' and its picture is NoneType"):
            Frame(3, 0, base, None, status)
    for wrong in (PICTURE[..., :1], PICTURE[..., 0], PICTURE.astype(np.float32)):
        with pytest.raises(ShapeError, match=r"rgb_u8 is .*, expected uint8 \('any', 'any', 3\)"):
            Frame(0, 0, base, wrong)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rgb", torch.zeros(3, 3, 8, 8)),
        ("rgb", torch.zeros(2, 1, 8, 8)),
        ("rgb", torch.zeros(2, 3, 8, 8, dtype=torch.uint8)),
        ("frame_from_crop", np.zeros((2, 3, 3))),
        ("frame_from_crop", np.zeros((2, 2, 3), np.float32)),
        ("mirrored", np.zeros(2)),
    ],
)
def test_hand_crops_errors(name, wrong):
    with pytest.raises(ShapeError, match=f"^{name} is .*, expected"):
        crops(**{name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("uv_px", np.zeros((2, 21, 3), np.float32)),
        ("uv_px", np.zeros((2, 21, 2))),
        ("xyz_mm", np.zeros((2, 20, 3), np.float32)),
        ("presence", np.zeros((2, 1), np.float32)),
        ("right_score", np.zeros(3, np.float32)),
        ("confidence", np.zeros(2, np.float32)),
    ],
)
def test_hand_poses_errors(name, wrong):
    with pytest.raises(ShapeError, match=f"^{name} is .*, expected float32"):
        poses(**{name: wrong})


@pytest.mark.parametrize("b", [0, 1, 5])
def test_batches_of_any_size(b):
    assert len(poses(b)) == b
    assert len(crops(b).mirrored) == b


def test_they_are_frozen():
    with pytest.raises(FrozenInstanceError):
        INFO.width = 3
    with pytest.raises(FrozenInstanceError):
        poses().presence = None
