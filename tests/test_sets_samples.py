"""Readers of data sets: every set's own layout comes as one sample type, in our order and units."""

import cv2
import numpy as np
import pytest
from labelled_hands import CAMERA, write_picture
from set_folders import WRITERS, close, opened, write_freihand, write_onehand10k, write_sets

from hdrvideo.errors import DataError, SettingsError, ShapeError
from hdrvideo.hand import LEFT, RIGHT
from hdrvideo.sets.guess import whole_uv_px
from hdrvideo.sets.registry import JOINT_SETS, SETS, open_set
from hdrvideo.sets.sample import SetSample, labels_of

every_set = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp)


# What holds for all.


def test_every_set_with_joints_is_tested():
    assert set(WRITERS) == set(JOINT_SETS) == set(SETS) - {"aih-syn", "aih-render"}


@every_set
def test_samples_are_sound_and_have_their_pictures(roots, name):
    samples = list(opened(roots, name))
    assert samples
    assert len({sample.name for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.source == name
        assert sample.rgb_u8().shape == (sample.height_px, sample.width_px, 3)
        known = sample.valid_xyz & sample.valid_uv
        if sample.pinhole is not None and known.any():
            close(sample.pinhole.project(sample.xyz_cam_mm[known]), sample.uv_px[known])
    assert any(sample.valid_uv.any() for sample in samples)


@every_set
def test_wrong_folders_are_told_in_one_line(roots, name, tmp_path):
    with pytest.raises(DataError, match=r"no folder .*gone; see docs/datasets.md") as none:
        open_set(name, tmp_path / "gone")
    with pytest.raises(DataError, match="; ") as empty:
        open_set(name, tmp_path)
    for told in (none, empty):
        assert str(told.value).startswith(f"{name}: ")
        assert "\n" not in str(told.value)
    with pytest.raises(SettingsError, match=rf"{name} has no split 'tset', expected one of "):
        open_set(name, roots[name][0], "tset")


@every_set
def test_missing_pictures_are_counted_or_left_out(name, tmp_path):
    WRITERS[name](tmp_path)
    if name == "dexycb":
        subjects = r"dexycb: .* lacks 20200903-ynarang, .* and 3 more; see docs/datasets.md"
        with pytest.raises(DataError, match=subjects):
            open_set(name, tmp_path)
        return
    whole = open_set(name, tmp_path)
    gone = whole[0].picture
    gone.unlink()
    n = sum(sample.picture == gone for sample in whole)
    if n == len(whole):
        with pytest.raises(DataError, match=r"samples of split .* lack files: "):
            open_set(name, tmp_path, only_there=True)
        return
    with pytest.raises(DataError, match=rf"{name}: {n} of {len(whole)} samples .*{gone.name}"):
        open_set(name, tmp_path)
    assert len(open_set(name, tmp_path, only_there=True)) == len(whole) - n


def test_unknown_sets_and_parts_are_refused(roots):
    with pytest.raises(SettingsError, match=r"data set is 'rhd', expected one of interhand2.6m, "):
        open_set("rhd", "data")
    with pytest.raises(SettingsError, match=r"has no part 'h', expected one of all, human, mach"):
        opened(roots, "interhand2.6m", part="h")
    with pytest.raises(SettingsError, match=r"part is 'human', but only interhand2.6m has parts"):
        opened(roots, "hic", part="human")


def test_a_picture_of_another_size_or_a_broken_one_is_refused(tmp_path):
    write_freihand(tmp_path)
    sample = open_set("freihand", tmp_path)[0]
    write_picture(sample.picture, 112, 112)
    with pytest.raises(DataError, match=r"0\.jpg is 112x112, its labels are of one of 224x224"):
        sample.rgb_u8()
    sample.picture.write_bytes(b"none")
    with pytest.raises(DataError, match=r"0\.jpg cannot be decoded; copy it again"):
        sample.rgb_u8()
    sample.picture.unlink()
    with pytest.raises(DataError, match=r"0\.jpg is missing; unpack"):
        sample.rgb_u8()


def made(tmp_path, **change):
    values = {
        **{"source": "x", "name": "n", "picture": tmp_path / "a.jpg", "width_px": 4},
        **{"height_px": 3, **labels_of({RIGHT: np.ones((21, 2))}, {LEFT: np.ones((21, 3))})},
    }
    return SetSample(**{**values, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width_px": 0}, "picture of n is 0x3, expected 1x1 or more"),
        ({"uv_px": np.ones((2, 21, 2))}, "uv_px of n: valid joints must be finite, all others"),
        ({"present": np.array([True, False])}, "xyz_cam_mm of n: a hand that is not present has"),
        ({"present": np.ones(2)}, r"present is float64 \(2,\), expected bool"),
        ({"k_px": np.eye(4)}, r"k_px is float64 \(4, 4\), expected float64 \(3, 3\)"),
        ({"xyz_cam_mm": -np.ones((2, 21, 3)), "valid_xyz": np.ones((2, 21), bool)}, "behind the c"),
    ],
)
def test_samples_check_themselves(tmp_path, change, message):
    assert made(tmp_path).is_pair
    with pytest.raises(ShapeError, match=message):
        made(tmp_path, **change)


def test_joints_behind_the_camera_are_no_labels():
    hand = np.ones((21, 3)) * [1, 2, 300]
    hand[5, 2] = -4
    told = labels_of({}, {LEFT: hand})
    assert told["valid_xyz"].sum() == 20
    assert np.isnan(told["xyz_cam_mm"][LEFT, 5]).all()
    assert told["present"].tolist() == [False, True]
    assert not labels_of({}, {RIGHT: -hand[:1]})["present"].any()


def test_joints_are_projected_or_guessed_where_no_label_is(tmp_path):
    hand = np.concatenate([CAMERA.project(np.ones((21, 3)) * [3, 4, 50])], axis=0)
    uv = hand + np.arange(21)[:, None] * [1.0, 2.0]
    gaps = np.where(np.arange(21)[:, None] < 9, uv, np.nan)
    space = CAMERA.lift(uv, np.full(21, 400.0))
    both = made(tmp_path, k_px=CAMERA.matrix, **labels_of({RIGHT: gaps}, {RIGHT: space}))
    close(whole_uv_px(both, RIGHT), uv, 1e-6)
    flat = made(tmp_path, **labels_of({RIGHT: gaps}, {}))
    assert np.isfinite(whole_uv_px(flat, RIGHT)).all()
    with pytest.raises(DataError, match="0 labelled joints, expected at least 2"):
        whole_uv_px(flat, LEFT)


def test_pictures_are_read_as_they_are_stored(tmp_path):
    """A camera's note to turn a picture is not heeded: labels go by the stored rows."""
    write_onehand10k(tmp_path)
    sample = open_set("onehand10k", tmp_path)[0]
    ok, data = cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8))
    assert ok
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
    note = b"Exif\x00\x00" + tiff + bytes(4)
    block = b"\xff\xe1" + (len(note) + 2).to_bytes(2, "big") + note
    sample.picture.write_bytes(data.tobytes()[:2] + block + data.tobytes()[2:])
    assert cv2.imread(str(sample.picture)).shape == (640, 480, 3)
    assert sample.rgb_u8().shape == (480, 640, 3)
