"""The rules by which MediaPipe's result becomes a track; MediaPipe itself is not needed."""

import importlib.util
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tracks import make_hands, make_meta

from hdrvideo.datatypes import ClipInfo
from hdrvideo.geometry import Camera

SCRIPT = Path(__file__).parents[1] / "scripts" / "track_mediapipe.py"
CAMERA = Camera.from_fov(60, 640, 480, source="assumed")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("track_mediapipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def seen(script):
    xyz = make_hands(1, make_meta())[0, 0]
    return script.SeenHand(0, 0.9, CAMERA.project(xyz), xyz - xyz.mean(axis=0))


def info() -> ClipInfo:
    base = Fraction(1, 30)
    return ClipInfo("a/b.mp4", 640, 480, 0, 1 / base, base, 3, False, False, "h264", "yuv420p")


def test_a_hand_that_projects_exactly_is_put_exactly(script):
    for xyz in make_hands(5, make_meta()).reshape(-1, 21, 3):
        placed = script.place(CAMERA.project(xyz), xyz - xyz.mean(axis=0), CAMERA)
        np.testing.assert_allclose(placed, xyz, atol=1e-6)


def test_no_joint_is_behind_the_camera(script, seen):
    placed = script.place(np.zeros((21, 2)), seen.xyz_mm, CAMERA)
    assert placed[:, 2].min() >= 49.999


def test_the_surer_of_two_keeps_the_side(script, seen):
    other = replace(seen, score=0.95)
    assert script.by_side([seen, other]) == [other, seen]
    left = replace(seen, side=1)
    assert script.by_side([left]) == [None, left]
    assert script.by_side([left, seen]) == [seen, left]
    assert script.by_side([]) == [None, None]


def test_the_sides_are_those_of_the_person(script):
    assert script.SIDE_OF == {"Left": "right", "Right": "left"}


def test_a_row_for_every_frame(script, seen):
    track = script.as_track([[], [seen], []], [0, 1, 2], info(), 60.0)
    assert track.present.tolist() == [[False, False], [True, False], [False, False]]
    np.testing.assert_allclose(track.uv_px[1, 0], seen.uv_px, atol=1e-3)
    np.testing.assert_allclose(track.xyz_rel_mm[1, 0], seen.xyz_mm - seen.xyz_mm[0], atol=1e-3)
    assert track.meta.clip == "b.mp4"
    assert (track.meta.width, track.meta.height) == (640, 480)
    assert track.meta.camera == CAMERA


def test_no_hands_in_any_frame(script):
    track = script.as_track([[], []], [0, 1], info(), 60.0)
    assert len(track) == 2
    assert not track.present.any()
