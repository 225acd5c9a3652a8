"""HDRM's examples: which hands, crops as right hands, spoiled masks, pastes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bare_hands import STILL, R, shot_with_joints, write_bare
from made_shards import disc_shot, write_made

from hdrvideo.errors import DataError
from hdrvideo.geometry import square_from_pose
from hdrvideo.synth.place import PasteSettings
from hdrvideo.train.bare_crops import (
    BarePicture,
    MadeBareHands,
    PastedBareHands,
    draw_crop,
    recolour,
    worth_painting,
)
from hdrvideo.train.mask_damage import spoil_masks
from hdrvideo.train.pictures import PasteGroups


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict:
    return write_bare(tmp_path_factory.mktemp("hdrm"))


def test_only_hands_with_another_in_their_square_are_shown(data):
    hands = MadeBareHands([Path(f) for f in data["made"]], "train")
    # Of five layouts of a shot two have two hands: 6 of 15 pictures, both hands of each.
    assert len(hands) == 12
    for k in range(len(hands)):
        assert hands[k].amodal.any(axis=(1, 2)).all()
    uv_px = np.random.default_rng(0).uniform(0, 50, (3, 2, 21, 2)).astype(np.float32)
    uv_px[1, 1] += 200
    uv_px[2, 0] = np.nan
    assert worth_painting(uv_px).tolist() == [[True, True], [False, False], [False, False]]


def test_a_crop_shows_its_hand_as_a_right_one(data):
    hands = MadeBareHands([Path(f) for f in data["made"]], "train")
    rng = np.random.default_rng(0)
    for k in range(4):
        picture = hands[k]
        example = draw_crop(picture, rng, STILL)
        square = square_from_pose(picture.uv_px, mirror=picture.side == 1)
        affine = square.frame_from_crop(R)
        for v, u in ((20, 30), (40, 33), (32, 50)):
            at = affine @ [u, v, 1]
            column, row = np.round(at).astype(int)
            seen = picture.rgb_u8[row, column].astype(int)
            near = np.abs(example.rgb_u8[v - 1 : v + 2, u - 1 : u + 2].astype(int) - seen).max(-1)
            assert near.min() < 25
        assert np.array_equal(example.masks, example.exact)
        own, other = example.exact[1] >= 0.5, example.exact[3] >= 0.5
        # The own hand lies in the middle, whole; the other one is not in the bare picture.
        rows, columns = np.nonzero(own)
        assert abs(columns.mean() - 31.5) < 8
        assert abs(rows.mean() - 31.5) < 8
        only_other = other & ~own & (cv2.dilate(own.astype(np.uint8), np.ones((5, 5))) == 0)
        assert only_other.sum() > 20
        spread = example.bare_u8[only_other].astype(int)
        assert (spread.max(axis=-1) - spread.min(axis=-1)).mean() < 12
        spread = example.rgb_u8[only_other].astype(int)
        assert (spread.max(axis=-1) - spread.min(axis=-1)).mean() > 80
        assert (example.known == 1).all()


def test_left_hands_are_mirrored():
    shot = shot_with_joints(10, 4)
    uv = shot.uv_px[0].numpy()
    amodal, visible = shot.amodal[0].numpy(), shot.visible[0].numpy()
    rgb_u8 = (shot.rgb[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    bare_u8 = (shot.bare_rgb[0].permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    known = np.ones(rgb_u8.shape[:2], bool)
    plain = BarePicture(rgb_u8, bare_u8[0], known, visible, amodal, uv[0], 0)
    flipped = uv[0] * [-1, 1] + [rgb_u8.shape[1] - 1, 0]
    mirrored = BarePicture(
        np.ascontiguousarray(rgb_u8[:, ::-1]),
        np.ascontiguousarray(bare_u8[0][:, ::-1]),
        known,
        np.ascontiguousarray(visible[::-1, :, ::-1]),
        np.ascontiguousarray(amodal[::-1, :, ::-1]),
        flipped.astype(np.float32),
        1,
    )
    rng = np.random.default_rng
    one, two = (draw_crop(p, rng(0), STILL) for p in (plain, mirrored))
    assert np.abs(one.exact - two.exact).max() < 0.02
    assert np.abs(one.rgb_u8.astype(int) - two.rgb_u8).max() <= 3


def test_squares_are_drawn_within_bounds_and_where_joints_are_not_known(data):
    picture = MadeBareHands([Path(f) for f in data["made"]], "train")[0]
    settings = replace(STILL, scale_share=0.15, shift_share=0.08, turn_deg=15)
    covers = []
    for seed in range(20):
        exact = draw_crop(picture, np.random.default_rng(seed), settings).exact
        covers.append(float(exact[1].mean()))
    assert 1.3 < max(covers) / min(covers) < 1.16**4
    unknown = replace(picture, uv_px=np.full((21, 2), np.nan, np.float32))
    assert draw_crop(unknown, np.random.default_rng(0), STILL).exact[1].mean() > 0.1
    gone = replace(unknown, amodal=np.zeros_like(picture.amodal), visible=picture.visible & False)
    assert not draw_crop(gone, np.random.default_rng(0), STILL).exact.any()


def test_colours_change_alike_in_both_pictures():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    pair = np.concatenate([picture, picture], axis=2)
    changed = recolour(pair, rng)
    assert np.array_equal(changed[..., :3], changed[..., 3:])
    assert not np.array_equal(changed, pair)


def test_spoiled_masks_are_near_the_true_ones_and_consistent():
    own = cv2.circle(np.zeros((R, R), np.float32), (26, 32), 16, 1.0, -1)
    other = cv2.circle(np.zeros((R, R), np.float32), (42, 32), 14, 1.0, -1)
    exact = np.stack([own * (1 - other), own, other, other])
    assert np.array_equal(spoil_masks(exact, np.random.default_rng(0), 0.0, 0.0), exact)
    ious, changed = [], 0
    for seed in range(60):
        told = spoil_masks(exact, np.random.default_rng(seed), 0.7, 0.0)
        assert told.dtype == np.float32
        assert told.min() >= 0
        assert told.max() <= 1
        assert (told[::2] <= told[1::2]).all()
        marked = told[1] >= 0.5
        ious.append((marked & (own > 0)).sum() / (marked | (own > 0)).sum())
        changed += not np.array_equal(told, exact)
    assert changed > 50
    assert np.mean(ious) > 0.8
    assert min(ious) > 0.5
    none = [spoil_masks(exact, np.random.default_rng(s), 0.7, 0.2)[2:].any() for s in range(200)]
    assert 0.1 < 1 - np.mean(none) < 0.3


def test_pastes_come_with_what_is_known(data):
    settings = PasteSettings(size_px=R, one_share=0, none_share=0)
    pasted = PastedBareHands(
        PasteGroups(Path(data["crops"]), "train", [], settings, seed=0), n_groups=1
    )
    again = PastedBareHands(
        PasteGroups(Path(data["crops"]), "train", [], settings, seed=0), n_groups=1
    )
    pictures = pasted.draw(np.random.default_rng(1), 12)
    for one, two in zip(pictures, again.draw(np.random.default_rng(1), 12), strict=True):
        assert np.array_equal(one.rgb_u8, two.rgb_u8)
        assert np.array_equal(one.known, two.known)
        own = one.amodal[one.side]
        # Where nothing but background is, the two pictures are the same but for the JPEG.
        clear = cv2.dilate(one.amodal.any(axis=0).astype(np.uint8), np.ones((9, 9))) == 0
        assert np.abs(one.rgb_u8[clear].astype(int) - one.bare_u8[clear]).mean() < 3
        assert one.known[own].mean() > 0.5
    assert {p.side for p in pictures} == {0, 1}
    assert any(not p.known.all() for p in pictures)
    with pytest.raises(DataError, match="has no crop of split test"):
        PasteGroups(Path(data["crops"]), "test", [], settings, seed=0)


def test_pictures_without_two_hands_and_of_the_wrong_split_are_refused(data, tmp_path):
    lonely = write_made(tmp_path / "lonely", "train", disc_shot(5, 0))
    with pytest.raises(DataError, match=r"no hand in .*lonely has another beside it"):
        MadeBareHands([lonely], "train")
    with pytest.raises(DataError, match="no hand in no folder has another beside it"):
        MadeBareHands([], "train")
    with pytest.raises(DataError, match="holds shards of split test, expected train"):
        MadeBareHands([Path(f) for f in data["held_out"]], "train")
