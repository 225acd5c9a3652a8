"""Files are whole or not there."""

import numpy as np
import pytest

from hdrvideo.errors import WriteError
from hdrvideo.files import whole_file, write_npz


def names_in(folder):
    return sorted(f.name for f in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path):
    with whole_file(tmp_path / "a" / "b.txt", make_folder=True) as partial:
        partial.write_text("half")
        assert names_in(tmp_path / "a") == [partial.name]
        assert partial.name.startswith(".partial-")
        assert partial.suffix == ".txt"
    assert names_in(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("fault", [OSError("disk full"), ValueError("no number")])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, fault):
    path = tmp_path / "a.txt"
    path.write_text("old")
    text = r"a.txt cannot be written: disk full; check the disk's space and rights"
    expected = (WriteError, text) if isinstance(fault, OSError) else (ValueError, "no number")

    def write_half():
        with whole_file(path, overwrite=True) as partial:
            partial.write_text("half")
            raise fault

    with pytest.raises(expected[0], match=expected[1]):
        write_half()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_nothing_is_overwritten_and_no_folder_made_unasked(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(WriteError, match=r"a.txt exists; pass --overwrite"), whole_file(path):
        pass
    with (
        pytest.raises(WriteError, match=r"b.txt cannot be written: no folder .*none; create it"),
        whole_file(tmp_path / "none" / "b.txt"),
    ):
        pass
    with (
        pytest.raises(WriteError, match=r"b.txt cannot be written: .*check the disk"),
        whole_file(path / "b.txt", make_folder=True),
    ):
        pass
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    arrays = {"a": np.arange(5), "text": np.array("x")}
    for name in ("one.npz", "two.npz"):
        write_npz(tmp_path / name, arrays)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as stored:
        assert {name: stored[name].tolist() for name in stored.files} == {
            "a": [0, 1, 2, 3, 4],
            "text": "x",
        }
