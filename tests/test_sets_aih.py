"""AIH: pasted and rendered pairs come with masks and the target alone."""

import cv2
import numpy as np
import pytest
from set_folders import disc, recipe, write_aih_render, write_aih_syn

from hdrvideo.errors import DataError, ShapeError
from hdrvideo.hand import LEFT, RIGHT
from hdrvideo.sets.aih import AihPicture, AihSample, frame_from_crop, paste
from hdrvideo.sets.registry import open_set

HERE = np.array([[0.0, 0, 1, 0], [0, 0, 1, 0]])


def masks():
    return disc(100, 128, 40) > 0, disc(120, 128, 30) > 0


def near(found, wanted, most=0.01):
    assert (found != wanted).mean() < most


def test_a_recipe_pastes_the_other_hand_in_front(tmp_path):
    write_aih_syn(tmp_path, {"machine_annot": [recipe()], "human_annot": [recipe("left", 1, 0)]})
    data = open_set("aih-syn", tmp_path, "train")
    # Machine annotations first, as in the released loader.
    first, second = data
    assert (first.name, second.name) == ("machine_annot/train/0", "human_annot/train/0")
    made = first.pair()
    own, other = masks()
    near(made.amodal[RIGHT], own)
    near(made.amodal[LEFT], other)
    assert not (made.visible[RIGHT] & made.visible[LEFT]).any()
    assert ((made.visible[RIGHT] | (own & other)) >= made.amodal[RIGHT]).mean() > 0.99
    assert made.visible[LEFT].sum() == made.amodal[LEFT].sum()
    # Right picture 7 is grey 60, left picture 12 is 170.
    assert abs(int(made.rgb_u8[128, 128].mean()) - 170) < 3
    assert abs(int(made.bare_u8[128, 128].mean()) - 60) < 3
    assert abs(int(made.rgb_u8[128, 70].mean()) - 60) < 3
    np.testing.assert_array_equal(first.rgb_u8(), made.rgb_u8)
    assert first.is_pair
    assert not first.valid_uv.any()
    assert not made.is_empty
    assert second.pair().side == LEFT


def test_a_left_target_is_its_mirrored_recipe():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (256, 256, 3), dtype=np.uint8) for _ in range(2)]
    own, other = masks()
    moves = np.array([[0.1, -0.05, 1.2, 20], [-0.02, 0.03, 0.9, -50]])
    right = paste(pictures, [own, other], moves, RIGHT)
    mirrored = paste([p[:, ::-1] for p in pictures], [own[:, ::-1], other[:, ::-1]], moves, LEFT)
    np.testing.assert_array_equal(mirrored.rgb_u8[:, ::-1], right.rgb_u8)
    np.testing.assert_array_equal(mirrored.bare_u8[:, ::-1], right.bare_u8)
    np.testing.assert_array_equal(mirrored.visible[::-1, :, ::-1], right.visible)


def test_moves_are_those_of_the_released_loader():
    """Three points by hand, as its ``gen_trans_from_patch_cv`` takes them."""
    move = np.array([0.1, -0.2, 1.25, 30.0])
    centre = 255 * np.array([0.6, 0.3])
    size, turn = 255 * 1.25, np.radians(30)
    down = 0.5 * size * np.array([-np.sin(turn), np.cos(turn)])
    right = 0.5 * size * np.array([np.cos(turn), np.sin(turn)])
    source = np.float32([centre, centre + down, centre + right])
    target = np.float32([[128, 128], [128, 256], [256, 128]])
    wanted = cv2.getAffineTransform(target, source)
    np.testing.assert_allclose(frame_from_crop(move), wanted, atol=1e-4)


def test_recipes_without_partner_are_left_out_and_files_are_looked_for(tmp_path):
    entries = [recipe(), recipe(other=-1000), recipe("left", 0, 1)]
    write_aih_syn(tmp_path, {"machine_annot": entries}, "val")
    data = open_set("aih-syn", tmp_path, "val")
    assert [sample.pair().side for sample in data] == [RIGHT, LEFT]
    labels = tmp_path / "AIH_syn/machine_annot/val/labels"
    mask = labels / "in_l_images" / "l_amodal" / "12.png"
    mask.unlink()
    with pytest.raises(DataError, match=r"lacks crops and masks labels/in_l_images/l_amodal/12"):
        open_set("aih-syn", tmp_path, "val")
    with pytest.raises(DataError, match=r"mask .*12.png is missing or cannot be decoded"):
        data[0].pair()
    cv2.imwrite(str(mask), np.zeros((10, 20), np.uint8))
    with pytest.raises(DataError, match=r"12.png is 20x10, expected 256x256"):
        data[0].pair()
    cv2.imwrite(str(mask), np.zeros((256, 256), np.uint8))
    assert not data[0].pair().visible[LEFT].any()
    cfgs = tmp_path / "AIH_syn/syn_cfgs/all_machine_annot_val_syn_cfgs.npy"
    listed = np.empty(1, dtype=object)
    listed[0] = recipe(own=5)
    np.save(cfgs, listed)
    with pytest.raises(DataError, match=r"syn_cfgs.npy cannot be read \(IndexError"):
        open_set("aih-syn", tmp_path, "val")
    with pytest.raises(DataError, match=r"aih-syn: .* lacks AIH_syn/filtered_list/machine_annot_t"):
        open_set("aih-syn", tmp_path, "test")


def test_rendered_pairs_have_what_is_seen_of_the_other(tmp_path):
    write_aih_render(tmp_path)
    data = open_set("aih-render", tmp_path)
    right, left = (sample.pair() for sample in data)
    assert (right.side, left.side) == (RIGHT, LEFT)
    whole, front = disc(110, 128, 40) > 0, disc(150, 128, 40) > 0
    for made in (right, left):
        np.testing.assert_array_equal(made.amodal[made.side], whole)
        np.testing.assert_array_equal(made.visible[made.side], whole & ~front)
        np.testing.assert_array_equal(made.visible[1 - made.side], front)
        assert (int(made.rgb_u8.mean()), int(made.bare_u8.mean())) == (90, 50)
    (tmp_path / "AIH_render/machine_annot/val/images/l_images/DR_gt/3.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 samples of split val lack files: .*DR_gt/3.jpg"):
        open_set("aih-render", tmp_path)
    with pytest.raises(DataError, match=r"aih-render: .* lacks AIH_render/human_annot/train"):
        open_set("aih-render", tmp_path, "train")


def test_pictures_check_themselves(tmp_path):
    rgb, mask = np.zeros((256, 256, 3), np.uint8), np.zeros((2, 256, 256), bool)
    assert AihPicture(rgb, rgb, mask, mask, 0).is_empty
    with pytest.raises(ShapeError, match=r"bare_u8 is uint8 \(256, 256\)"):
        AihPicture(rgb, rgb[..., 0], mask, mask, 0)
    write_aih_render(tmp_path)
    (sample, _) = open_set("aih-render", tmp_path)
    lone = AihSample(**{**vars(sample), "make": None})
    with pytest.raises(DataError, match=r"sample .* was made without its reader"):
        lone.pair()
