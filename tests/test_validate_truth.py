"""A clip's truth on disk: what goes in comes out, and what is damaged says so."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from validate_truths import make_scene, make_shot, make_truth

from hdrvideo.errors import DataError, ShapeError, WriteError
from hdrvideo.geometry import apply_affine
from hdrvideo.handmodel import HandModel
from hdrvideo.validate.squares import cut_mask, cut_square, frame_from_square, square_round
from hdrvideo.validate.truth import TRUTH_FILES, load_truth, save_truth


@pytest.fixture(scope="module")
def model():
    return HandModel()


@pytest.fixture(scope="module")
def made(model):
    scene = make_scene(model)
    return scene, make_shot(scene, model)


@pytest.fixture
def folder(made, tmp_path):
    scene, shot = made
    save_truth(tmp_path / "touching_00", [shot], scene)
    return tmp_path / "touching_00"


def test_what_goes_in_comes_out(made, folder):
    scene, shot = made
    truth = load_truth(folder)
    assert (truth.name, truth.relation, truth.camera) == ("touching_00", "touching", "egocentric")
    assert truth.frame_seconds == scene.frame_seconds
    assert truth.size_px == (160, 120)
    assert len(truth) == 3
    for name in ("uv_px", "xyz_cam_mm", "present", "joint_visible", "hidden_share", "gap_mm"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(shot, name).numpy())
    for name in ("pose", "shape", "wrist_mm", "wrist_bend", "k_px"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(scene, name))
    for frame in range(3):
        visible, amodal = truth.masks(frame)
        np.testing.assert_array_equal(visible, shot.visible[frame].numpy())
        np.testing.assert_array_equal(amodal, shot.amodal[frame].numpy())


def test_a_width_that_is_no_multiple_of_eight(model, tmp_path):
    scene = make_scene(model, 1, height=101, width=147)
    shot = make_shot(scene, model)
    truth = save_truth(tmp_path / "odd", [shot], scene)
    np.testing.assert_array_equal(truth.masks(0)[1], shot.amodal[0].numpy())


def test_parts_of_any_length_give_the_same_bytes(made, folder, model, tmp_path):
    scene, _ = made
    parts = [make_shot(scene, model, slice(0, 1)), make_shot(scene, model, slice(1, 3))]
    save_truth(tmp_path / "again", iter(parts), scene)
    for name in TRUTH_FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_bare_pictures_are_the_true_ones_in_the_square(made, folder):
    _, shot = made
    truth = load_truth(folder)
    for side in range(2):
        picture = (shot.bare_rgb[1, side] * 255).round().byte().permute(1, 2, 0).numpy()
        wanted = cut_square(np.ascontiguousarray(picture), truth.square(1))
        found = truth.bare_u8(1, side)
        assert found.shape == (256, 256, 3)
        assert np.abs(found.astype(int) - wanted).mean() < 1.5
    assert np.abs(truth.bare_u8(1, 0).astype(int) - truth.bare_u8(1, 1)).mean() > 20


def test_the_square_holds_both_whole_hands(folder):
    truth = load_truth(folder)
    for frame in range(len(truth)):
        whole = truth.masks(frame)[1].any(axis=0)
        visible, amodal = truth.square_masks(frame)
        assert not (visible & ~amodal).any()
        edge = np.concatenate([amodal[:, [0, -1]].ravel(), amodal[:, :, [0, -1]].ravel()])
        assert not edge.any()
        u0, v0, side = truth.square(frame)
        assert amodal.any(axis=0).mean() * side**2 == pytest.approx(whole.sum(), rel=0.05)
        rows, columns = np.nonzero(whole)
        assert u0 <= columns.min() <= columns.max() < u0 + side
        assert v0 <= rows.min() <= rows.max() < v0 + side


def test_the_input_is_cut_like_the_target(made, folder):
    _, shot = made
    truth = load_truth(folder)
    picture = (shot.rgb[0] * 255).round().byte().permute(1, 2, 0).numpy()
    cut = truth.square_input_u8(np.ascontiguousarray(picture), 0)
    # The right bare picture of these shots is the input itself.
    assert np.abs(cut.astype(int) - truth.bare_u8(0, 0)).mean() < 1.5
    with pytest.raises(ShapeError, match="frame_rgb_u8 is uint8"):
        truth.square_input_u8(np.zeros((120, 161, 3), np.uint8), 0)


def test_the_squares_affine_says_where_a_pixel_comes_from():
    # A ramp: each pixel's value is its own u; values are kept by scaling, but for the rim.
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (150, 1, 3))
    for square in (np.array([20, 10, 100]), np.array([-30, -40, 190]), np.array([3, 5, 32])):
        cut = cut_square(ramp, square)
        uv = np.stack(np.meshgrid(np.arange(256.0), np.arange(256.0)), axis=-1)
        u = apply_affine(frame_from_square(square), uv.reshape(-1, 2))[:, 0].reshape(256, 256)
        inside = (u > 1) & (u < 198) & (u > square[0] + 1) & (u < square[0] + square[2] - 2)
        assert np.abs(cut[..., 0] - u)[inside].max() < 1.01


def test_a_square_without_hands_is_the_middle_of_the_picture():
    assert square_round(np.zeros((2, 48, 64), bool)).tolist() == [8, 0, 48]


def test_a_square_by_hand():
    # Columns 10..49 (40), rows 20..39 (20): side 40 * 1.2 = 48, centred: u0 = 10 - 4, v0 = 20 - 14.
    masks = np.zeros((2, 100, 100), bool)
    masks[0, 20:40, 10:30] = masks[1, 20:40, 30:50] = True
    assert square_round(masks).tolist() == [6, 6, 48]
    masks[:] = False
    masks[0, 50, 50] = True
    assert square_round(masks)[2] == 32


def test_masks_are_cut_by_majority_and_end_with_the_picture():
    mask = np.ones((64, 64), bool)
    cut = cut_mask(mask, np.array([-64, 0, 128]))
    assert not cut[:, :127].any()
    assert cut[:127, 129:].all()
    assert not cut_mask(mask, np.array([500, 500, 64])).any()


def test_a_square_far_outside_still_cuts():
    assert cut_square(np.full((20, 20, 3), 9, np.uint8), np.array([-500, 90, 40])).min() == 9


def test_masks_and_pictures_are_read_late(folder):
    (folder / "bare.npz").write_bytes(b"not a file")
    truth = load_truth(folder)
    assert truth.masks(0)[0].any()
    with pytest.raises(DataError, match=r"bare.npz cannot be used"):
        truth.bare_u8(0, 0)


def test_a_truth_without_folder_has_no_pictures():
    with pytest.raises(DataError, match=r"truth of apart_00 was made without masks.npz"):
        make_truth().masks(0)


@pytest.mark.parametrize("name", TRUTH_FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"no truth file .*{name}; make the benchmark again"):
        load_truth(folder)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and then nothing", None])
def test_a_damaged_file_is_one_clear_error(folder, damage):
    path = folder / "truth.npz"
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    with pytest.raises(DataError, match=r"truth.npz cannot be used: .*make the benchmark again"):
        load_truth(folder)


def rewritten(path, **changes):
    with np.load(path) as file:
        arrays = {**{name: file[name] for name in file.files}, **changes}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": 2}, "not of version 1"),
        ({"uv_px": None}, "uv_px missing or unknown"),
        ({"more": np.zeros(1)}, "more missing or unknown"),
        ({"pose": np.zeros((3, 2, 16, 4), np.float32)}, r"pose is float32 \(3, 2, 16, 4\)"),
        ({"relation": "beside"}, "relation is 'beside'"),
        ({"height_px": "high"}, "'<' not supported"),
        ({"hidden_share": np.full((3, 2), 1.5, np.float32)}, "hidden_share is 1.5 to 1.5"),
        ({"uv_px": np.full((3, 2, 21, 2), np.nan, np.float32)}, "uv_px must be finite"),
        ({"frame_seconds": 0.0}, "frame_seconds is 0.0"),
        ({"width_px": 0}, "width_px is 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(folder, changes, text):
    rewritten(folder / "truth.npz", **changes)
    with pytest.raises(DataError, match=text):
        load_truth(folder)


def test_objects_are_never_unpickled(folder):
    rewritten(folder / "truth.npz", relation=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="allow_pickle"):
        load_truth(folder)


def test_masks_that_do_not_fit_are_refused(folder):
    with np.load(folder / "masks.npz") as file:
        visible, amodal = file["visible"], file["amodal"]
    rewritten(folder / "masks.npz", visible=amodal, amodal=visible)
    with pytest.raises(DataError, match="a visible pixel lies outside the whole hand"):
        load_truth(folder).masks(0)
    rewritten(folder / "masks.npz", visible=visible[:2], amodal=amodal)
    with pytest.raises(DataError, match="visible is uint8"):
        load_truth(folder).masks(0)


def test_pictures_that_do_not_fit_are_refused(folder):
    with np.load(folder / "bare.npz") as file:
        jpeg, ends = file["jpeg"], file["jpeg_end"]
    rewritten(folder / "bare.npz", jpeg=jpeg[:-5])
    with pytest.raises(DataError, match="6 pictures do not add up"):
        load_truth(folder).bare_u8(0, 0)
    rewritten(folder / "bare.npz", jpeg=np.zeros_like(jpeg), jpeg_end=ends)
    with pytest.raises(DataError, match="the picture of frame 2 is damaged"):
        load_truth(folder).bare_u8(2, 1)


def test_shots_must_fit_the_scene(made, tmp_path):
    scene, shot = made
    with pytest.raises(ShapeError, match="shots have 6 frames, expected 3"):
        save_truth(tmp_path / "a", [shot, shot], scene)
    with pytest.raises(ShapeError, match=r"shot is \(120, 160\), expected \(120, 162\)"):
        save_truth(tmp_path / "b", [shot], replace(scene, width_px=162))
    assert not list(tmp_path.iterdir())


def test_no_shots_at_all(made, tmp_path):
    with pytest.raises(ShapeError, match="shots have 0 frames"):
        save_truth(tmp_path / "a", [], made[0])


def test_a_folder_that_cannot_be(made, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(WriteError, match=r"truth.npz cannot be written: .*check the disk"):
        save_truth(tmp_path / "file" / "clip", [made[1]], made[0])


def test_older_files_are_replaced_and_none_is_left_over(made, folder):
    scene, shot = made
    dark = replace(shot, bare_rgb=torch.zeros_like(shot.bare_rgb))
    save_truth(folder, [dark], scene)
    assert load_truth(folder).bare_u8(0, 0).max() == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(TRUTH_FILES)
