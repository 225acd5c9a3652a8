"""What pictures are drawn from: shards, pasted crops and pictures without hands."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_shards import DISC_RGB, disc_shot, write_all, write_made

from hdrvideo.errors import DataError, ShapeError
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.place import PasteSettings
from hdrvideo.synth.stored import ShardPictures
from hdrvideo.train.pictures import (
    EmptyPictures,
    MadePictures,
    PastedPictures,
    PasteGroups,
    hand_free_pictures,
)

R = 64


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Give the folders of what pictures are drawn from."""
    data = write_all(tmp_path_factory.mktemp("data"))
    return {
        "made": Path(data["made"][0]),
        "held_out": Path(data["held_out"][0]),
        "crops": Path(data["crops"]),
        "hand_free": Path(data["hand_free"][0]),
    }


def test_made_pictures_are_those_of_the_shards(folders, tmp_path):
    more = write_made(tmp_path / "more", "train", disc_shot(3, 9))
    both = [folders["made"], more]
    made, parts = MadePictures(both, "train"), [ShardPictures(f, "train") for f in both]
    assert len(made) == 15 + 3
    for index, part, i in ((0, 0, 0), (14, 0, 14), (15, 1, 0), (17, 1, 2)):
        assert np.array_equal(made[index].rgb_u8, parts[part].rgb_u8(i))
        for ours, theirs in zip(
            (made[index].visible, made[index].amodal), parts[part].masks(i), strict=True
        ):
            assert np.array_equal(ours, theirs)
    for index in (-1, 18):
        with pytest.raises(IndexError):
            made[index]


def draws(source, n: int = 30, seed: int = 0):
    return source.draw(np.random.default_rng(seed), n)


def same_pictures(a, b) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(getattr(x, name), getattr(y, name))
        for x, y in zip(a, b, strict=True)
        for name in ("rgb_u8", "visible", "amodal")
    )


def test_one_of_two_hands_is_taken_away_now_and_then(folders):
    made = [folders["made"]]
    two = draws(MadePictures(made, "train", alone_share=0))
    assert any(p.amodal.any(axis=(1, 2)).all() for p in two)
    alone = draws(MadePictures(made, "train", alone_share=1))
    sides = set()
    for before, after in zip(two, alone, strict=True):
        there = before.amodal.any(axis=(1, 2))
        if not there.all():
            assert same_pictures([before], [after])
            continue
        side = int(after.amodal.any(axis=(1, 2)).argmax())
        sides.add(side)
        assert np.array_equal(after.amodal[side], before.amodal[side])
        assert np.array_equal(after.visible, after.amodal)
        assert not after.amodal[1 - side].any()
        # The other is gone from the picture, too, and this one is no longer hidden.
        rgb = after.rgb_u8 / 255
        near = [np.abs(rgb - colour).max(axis=2) < 0.15 for colour in DISC_RGB]
        assert near[side][after.amodal[side]].mean() > 0.97
        assert not near[1 - side].any()
    assert sides == {0, 1}
    some = draws(MadePictures(made, "train", alone_share=0.5), 200)
    n_two = sum(p.amodal.any(axis=(1, 2)).all() for p in some)
    # Of the two in five with two hands about half.
    assert 20 < n_two < 60


def test_pasted_pictures_hold_the_crops_hands(folders):
    empty = hand_free_pictures([folders["hand_free"]], "train")
    settings = PasteSettings(size_px=R, one_share=0.3, none_share=0.1)
    source = PastedPictures(
        PasteGroups(folders["crops"], "train", empty, settings, seed=3), n_groups=3
    )
    assert source.draw(np.random.default_rng(0), 0) == []
    found = draws(source, 40)
    n_hands = [int(p.amodal.any(axis=(1, 2)).sum()) for p in found]
    assert set(n_hands) == {0, 1, 2}
    for picture in found:
        assert picture.rgb_u8.shape == (R, R, 3)
        assert not (picture.visible & ~picture.amodal).any()
        # Discs are of a strong colour, all else is grey, whatever the light.
        strength = np.ptp(picture.rgb_u8.astype(int), axis=2)
        for side in range(2):
            if picture.visible[side].sum() > 40:
                assert np.median(strength[picture.visible[side]]) > 80
        assert np.median(strength[~picture.amodal.any(axis=0)]) < 40
    assert same_pictures(found, draws(source, 40))
    # In whatever order they are asked for: each is a function of the seed and its number.
    again = PastedPictures(
        PasteGroups(folders["crops"], "train", empty, settings, seed=3), n_groups=3
    )
    draws(again, 3, seed=9)
    assert same_pictures(found, draws(again, 40))
    other = PastedPictures(
        PasteGroups(folders["crops"], "train", empty, settings, seed=4), n_groups=3
    )
    assert not same_pictures(found[:1], draws(other, 40)[:1])


def test_pictures_without_hands_are_squares_of_their_source():
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    sides = set()
    for picture in draws(EmptyPictures([rgb]), 30):
        side = len(picture.rgb_u8)
        sides.add(side)
        assert 20 <= side <= 50
        assert not picture.visible.any()
        assert not picture.amodal.any()
        corner = picture.rgb_u8[0, 0]
        starts = np.argwhere((rgb[: 51 - side, : 71 - side] == corner).all(axis=2))
        assert any(
            np.array_equal(rgb[v : v + side, u : u + side], picture.rgb_u8) for v, u in starts
        )
    assert len(sides) > 8
    tiny = draws(EmptyPictures([rgb[:3, :2]]), 5)
    assert all(p.rgb_u8.shape[0] == p.rgb_u8.shape[1] <= 2 for p in tiny)


def test_hand_free_pictures_are_of_their_split_and_not_large(tmp_path, folders):
    folder = tmp_path / "wide"
    folder.mkdir()
    name = next(n for n in map("{}.png".format, range(99)) if split_of("background", n) == "train")
    cv2.imwrite(str(folder / name), np.full((200, 1000, 3), (10, 20, 30), np.uint8))
    (wide,) = hand_free_pictures([folder], "train")
    assert wide.shape == (128, 640, 3)
    assert (wide == (30, 20, 10)).all()
    assert hand_free_pictures([folder], "test") == []
    small = hand_free_pictures([folders["hand_free"]], "train")
    assert [p.shape for p in small] == [(120, 150, 3)] * 2
    assert hand_free_pictures([], "train") == []


def test_sources_without_pictures_are_refused(folders, tmp_path):
    none = write_made(tmp_path / "none", "train")
    with pytest.raises(DataError, match=r"no picture in .*none; make some with synth shards"):
        MadePictures([none], "train")
    with pytest.raises(DataError, match="no picture in no folder"):
        MadePictures([], "train")
    with pytest.raises(DataError, match="holds shards of split test, expected train"):
        MadePictures([folders["held_out"]], "train")
    with pytest.raises(DataError, match="there is no picture without hands"):
        EmptyPictures([])
    settings = PasteSettings(size_px=R)
    with pytest.raises(DataError, match="has no crop of split test; make some with synth harvest"):
        PasteGroups(folders["crops"], "test", [], settings, seed=0)
    with pytest.raises(ShapeError, match="does not exist"):
        PasteGroups(tmp_path / "gone", "train", [], settings, seed=0)
