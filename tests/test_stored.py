"""Stored pictures come back as they were made, in whatever order they are asked for."""

import json

import numpy as np
import pytest
from made_shards import SIZE_PX, disc_shot, write_made

from hdrvideo.errors import DataError
from hdrvideo.synth.shards import load_shot
from hdrvideo.synth.stored import ShardPictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_made(
        tmp_path_factory.mktemp("stored") / "s", "train", disc_shot(5, 1), disc_shot(3, 2)
    )


def test_every_picture_is_that_of_its_shard(folder):
    stored = ShardPictures(folder, "train")
    whole = [load_shot(folder / f"shard_0000{k}.npz") for k in range(2)]
    where = [(shot, i) for shot in whole for i in range(len(shot))]
    assert len(stored) == len(where) == 8
    for index in (7, 0, 4, 5, 1, 2, 3, 6, 0):
        shot, i = where[index]
        expected = (shot.rgb[i].permute(1, 2, 0) * 255).round().numpy()
        assert stored.rgb_u8(index).dtype == np.uint8
        assert np.array_equal(stored.rgb_u8(index), expected)
        for side in range(2):
            expected = (shot.bare_rgb[i, side].permute(1, 2, 0) * 255).round().numpy()
            assert np.array_equal(stored.bare_rgb_u8(index, side), expected)
        visible, amodal = stored.masks(index)
        assert (visible.dtype, visible.shape) == (np.dtype(bool), (2, SIZE_PX, SIZE_PX))
        assert np.array_equal(visible, shot.visible[i].numpy())
        assert np.array_equal(amodal, shot.amodal[i].numpy())


def test_truths_come_in_the_order_of_the_pictures(folder):
    stored = ShardPictures(folder, "train", truths=("uv_px", "hidden_share"))
    whole = [load_shot(folder / f"shard_0000{k}.npz") for k in range(2)]
    for name in ("uv_px", "hidden_share"):
        expected = np.concatenate([getattr(shot, name).numpy() for shot in whole])
        np.testing.assert_array_equal(stored.truth(name), expected)
    with pytest.raises(DataError, match="is no shard of ours"):
        ShardPictures(folder, "train", truths=("no_such_truth",))


@pytest.mark.parametrize("index", [-1, 8, 100])
def test_there_is_nothing_beyond_the_ends(folder, index):
    stored = ShardPictures(folder, "train")
    for ask in (stored.rgb_u8, stored.masks, lambda i: stored.bare_rgb_u8(i, 0)):
        with pytest.raises(IndexError, match=f"picture {index} of 8"):
            ask(index)


def test_an_empty_list_is_no_pictures(tmp_path):
    assert len(ShardPictures(write_made(tmp_path / "none", "train"), "train")) == 0


def test_shards_of_the_other_split_are_refused(folder):
    text = r"holds shards of split train, expected test; name another folder"
    with pytest.raises(DataError, match=text):
        ShardPictures(folder, "test")


def test_folders_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no manifest of shards"):
        ShardPictures(tmp_path, "train")
    for shards in (None, [{"name": "a.npz"}], ["a.npz"]):
        manifest = {"format": "hdrvideo-shards-1", "shards": shards}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        with pytest.raises(DataError, match=r"manifest\.json lists no shards \(.*\); make them"):
            ShardPictures(tmp_path, "train")


def test_missing_and_damaged_shards_are_refused(tmp_path):
    folder = write_made(tmp_path / "s", "train", disc_shot(2), disc_shot(2))
    path = folder / "shard_00001.npz"
    whole = path.read_bytes()
    for damaged in (whole[:1000], b"PK\x03\x04 nonsense", b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"shard_00001\.npz is no shard of ours \("):
            ShardPictures(folder, "train")
    np.savez(path, rgb=np.zeros(3))
    with pytest.raises(DataError, match=r"shard_00001\.npz is no shard of ours \("):
        ShardPictures(folder, "train")
    path.unlink()
    with pytest.raises(DataError, match=r"shard_00001\.npz is no shard of ours \(.*No such file"):
        ShardPictures(folder, "train")
