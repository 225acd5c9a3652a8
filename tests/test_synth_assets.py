"""What may be used in which split: names, pictures, and what is wrong with them."""

import cv2
import numpy as np
import pytest

from hdrvideo.errors import DataError, SettingsError
from hdrvideo.synth.assets import KINDS, SPLITS, Assets, split_of
from hdrvideo.synth.backgrounds import procedural_background
from hdrvideo.synth.tones import skin_texture, skin_tone

SKINS = [
    f"{age}_{tone}skinned_{sex}_diffuse{number}"
    for age, tone, sex, number in (
        *(("middleage", tone, sex, "") for tone in ("dark", "light") for sex in ("female", "male")),
        *(("middleage", "light", sex, "2") for sex in ("female", "male")),
        *(("old", tone, sex, "") for tone in ("dark", "light") for sex in ("female", "male")),
        *(("old", "light", sex, "2") for sex in ("female", "male")),
        *(("young", tone, sex, "") for tone in ("dark", "light") for sex in ("female", "male")),
        *(("young", "light", sex, n) for sex in ("female", "male") for n in ("2", "3")),
    )
]


def write_picture(path, seed=0, size=(40, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    assert cv2.imwrite(str(path), picture[..., ::-1])
    return picture


def write_clip(path, n_frames=30):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (64, 48))
    for n in range(n_frames):
        writer.write(np.full((48, 64, 3), 8 * n, np.uint8))
    writer.release()


def test_split_never_changes():
    known = {
        ("person", "person:0"): "train",
        ("person", "person:9"): "train",
        ("skin", "procedural:8"): "test",
        ("skin", "procedural:0"): "train",
        ("background", "stk_Wheel.diffuse.jpg"): "test",
        ("background", "stk_Ice03_col.jpg"): "train",
    }
    assert {key: split_of(*key) for key in known} == known


@pytest.mark.parametrize("kind", KINDS)
def test_about_a_fifth_is_for_testing(kind):
    share = np.mean([split_of(kind, f"{kind}:{n}") == "test" for n in range(4000)])
    assert 0.17 < share < 0.23


def test_kinds_are_split_apart():
    names = [f"procedural:{n}" for n in range(400)]
    assert [split_of("skin", n) for n in names] != [split_of("background", n) for n in names]


def test_test_skins_are_of_all_sorts():
    assert len(set(SKINS)) == 20
    test = [name.split("_") for name in SKINS if split_of("skin", name) == "test"]
    assert 4 <= len(test) <= 5
    assert {name[0] for name in test} == {"young", "middleage", "old"}
    assert {name[1] for name in test} == {"lightskinned", "darkskinned"}
    assert {name[2] for name in test} == {"female", "male"}


def test_frames_and_folders_do_not_change_the_split():
    for n in range(30):
        one = split_of("background", f"clip{n}.mp4")
        assert split_of("background", f"clip{n}.mp4#120") == one
        assert split_of("background", f"some/where/clip{n}.mp4#7") == one


def test_unknown_kind_and_split_say_so(tmp_path):
    with pytest.raises(SettingsError, match="kind is 'hat', expected one of person, skin"):
        split_of("hat", "x")
    with pytest.raises(SettingsError, match="split is 'val', expected one of train, test"):
        Assets.find("val")


def test_splits_are_disjoint_and_complete(tmp_path):
    for n in range(20):
        write_picture(tmp_path / "photos" / f"p{n}.png", n)
    found = {split: Assets.find(split, backgrounds=[tmp_path]) for split in SPLITS}
    for kind in ("skins", "backgrounds"):
        train, test = (set(getattr(found[split], kind)) for split in SPLITS)
        assert train
        assert test
        assert not train & test
        assert len(train | test) == 400 + (20 if kind == "backgrounds" else 0)
    for split, assets in found.items():
        assert {split_of("skin", name) for name in assets.skins} == {split}
        assert {split_of("background", name) for name in assets.backgrounds} == {split}


def test_picture_comes_back(tmp_path):
    picture = write_picture(tmp_path / "a" / "b" / "p.png")
    assets = Assets.find(split_of("background", "p.png"), backgrounds=[tmp_path])
    read = assets.background_rgb_u8("a/b/p.png")
    assert np.array_equal(read, picture)
    assert read is assets.background_rgb_u8("a/b/p.png")
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 0


def test_large_picture_is_made_smaller(tmp_path):
    write_picture(tmp_path / "p.jpg", size=(700, 1400))
    assets = Assets.find(split_of("background", "p.jpg"), backgrounds=[tmp_path])
    assert assets.background_rgb_u8("p.jpg").shape == (640, 1280, 3)


def test_skin_file_comes_as_512(tmp_path):
    write_picture(tmp_path / "x_diffuse.png", size=(100, 100))
    write_picture(tmp_path / "x_normal.png", size=(100, 100))
    assets = Assets.find(split_of("skin", "x_diffuse"), skins=tmp_path)
    assert assets.skins[0] == "x_diffuse"
    assert "x_normal" not in assets.skins
    assert assets.skin_rgb_u8("x_diffuse").shape == (512, 512, 3)


def test_clip_gives_a_few_frames(tmp_path):
    write_clip(tmp_path / "clip.avi")
    assets = Assets.find(split_of("background", "clip.avi"), backgrounds=[tmp_path])
    names = [name for name in assets.backgrounds if name.startswith("clip.avi#")]
    assert names == [f"clip.avi#{n}" for n in (2, 7, 12, 17, 22, 27)]
    levels = [assets.background_rgb_u8(name).mean() for name in names]
    assert np.allclose(levels, [8 * n for n in (2, 7, 12, 17, 22, 27)], atol=3)


def test_procedural_are_the_same_each_time():
    for make in (procedural_background, skin_texture):
        assert np.array_equal(make(11), make(11))
        assert not np.array_equal(make(11)[:400, :400], make(18)[:400, :400])


def test_procedural_backgrounds_are_pictures():
    for n in range(14):
        picture = procedural_background(n)
        assert picture.dtype == np.uint8
        assert 480 <= picture.shape[0] <= 1280
        assert 640 <= picture.shape[1] <= 1280
        assert picture.std() > 5


def test_skin_tones_span_light_and_dark():
    tones = [skin_tone(n) for n in range(200)]
    light = np.array([tone.rgb.mean() for tone in tones])
    assert light.min() < 0.25
    assert light.max() > 0.7
    for tone in tones:
        assert tone.rgb[0] > tone.rgb[1] > tone.rgb[2]
        assert tone.palm_rgb.mean() > 0.3


def test_fingerprint_follows_the_contents_only(tmp_path):
    for folder in ("one", "two"):
        for n in range(8):
            write_picture(tmp_path / folder / f"p{n}.png", n)
    one, two = (
        Assets.find("train", backgrounds=[tmp_path / name]).fingerprint() for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 64
    changed = next(n for n in range(8) if split_of("background", f"p{n}.png") == "train")
    write_picture(tmp_path / "two" / f"p{changed}.png", 99)
    assert Assets.find("train", backgrounds=[tmp_path / "two"]).fingerprint() != one
    assert Assets.find("test", backgrounds=[tmp_path / "one"]).fingerprint() != one


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"folder .*nowhere does not exist; give a folder"):
        Assets.find("train", backgrounds=[tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"folder .*nowhere does not exist"):
        Assets.find("train", skins=tmp_path / "nowhere")


def test_folder_without_pictures(tmp_path):
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(DataError, match=r"no picture or clip in .*; expected files ending"):
        Assets.find("train", backgrounds=[tmp_path])
    with pytest.raises(DataError, match=r"no skin in .*; expected files named \*_diffuse"):
        Assets.find("train", skins=tmp_path)


def test_unknown_names():
    assets = Assets.find("train")
    other = Assets.find("test").skins[0]
    with pytest.raises(SettingsError, match=f"no skin '{other}' among the .* of the train split"):
        assets.skin_rgb_u8(other)
    with pytest.raises(SettingsError, match=r"no background 'x\.png' among"):
        assets.background_rgb_u8("x.png")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture at all")
    assets = Assets.find(split_of("background", "bad.png"), backgrounds=[tmp_path])
    with pytest.raises(DataError, match=r"picture .*bad\.png is broken or no picture"):
        assets.background_rgb_u8("bad.png")
    (tmp_path / "empty.png").write_bytes(b"")
    assets = Assets.find(split_of("background", "empty.png"), backgrounds=[tmp_path])
    with pytest.raises(DataError, match=r"empty\.png is broken"):
        assets.background_rgb_u8("empty.png")


def test_broken_clip_is_named(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no clip at all")
    with pytest.raises(DataError, match=r"clip .*bad\.mp4 cannot be opened or has no frames"):
        Assets.find(split_of("background", "bad.mp4"), backgrounds=[tmp_path])


def test_two_files_of_one_name(tmp_path):
    for folder in ("one", "two"):
        write_picture(tmp_path / folder / "p.png")
    with pytest.raises(SettingsError, match=r"two backgrounds are called 'p\.png': .*rename one"):
        Assets.find("train", backgrounds=[tmp_path / "one", tmp_path / "two"])
