"""Pickles of data sets: arrays and plain containers come through, nothing else does."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest

from hdrvideo.errors import DataError
from hdrvideo.sets.unpickle import read_object_array, read_pickle


class Plain:
    """Any class of any program."""


class Runs:
    """Runs a command when it is loaded by the general reader."""

    def __reduce__(self):
        return os.system, ("echo loaded > loaded.txt",)


def saved(tmp_path, value, protocol=2):
    path = tmp_path / "meta.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_arrays_and_containers_come_through(tmp_path, protocol):
    value = {
        "camMat": np.arange(9, dtype=np.float64).reshape(3, 3),
        "handJoints3D": np.linspace(0, 1, 63, dtype=np.float32).reshape(21, 3),
        "names": np.array(["a", "bc"]),
        "flags": np.array([True, False]),
        "one": np.float32(0.25),
        "many": np.int64(7),
        "list": [1, 2.5, None, "text", b"raw", (True, 3)],
        "objects": np.array([{"a": np.ones(2)}, None], dtype=object),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    }
    found = read_pickle(saved(tmp_path, value, protocol))
    assert list(found) == list(value)
    for name in ("camMat", "handJoints3D", "names", "flags", "fortran"):
        np.testing.assert_array_equal(found[name], value[name])
        assert found[name].dtype == value[name].dtype
    assert (found["one"], found["many"]) == (0.25, 7)
    assert found["list"] == value["list"]
    np.testing.assert_array_equal(found["objects"][0]["a"], np.ones(2))


def python2_pickle(values: np.ndarray) -> bytes:
    """Write ``{"camMat": values}`` as Python 2 wrote it: text and raw data are byte strings."""
    data = values.astype("<f8").tobytes()
    rows, columns = values.shape
    shape = b"K" + bytes([rows]) + b"K" + bytes([columns]) + b"\x86"
    minus = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNN" + 2 * minus + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"
    return b"\x80\x02}U\x06camMat" + array + state + b"s."


def test_python_2s_pickles_are_read(tmp_path):
    values = np.arange(9.0).reshape(3, 3) - 200.5
    found = read_pickle(saved(tmp_path, python2_pickle(values)))
    np.testing.assert_array_equal(found["camMat"], values)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Runs(), r"posix\.system|nt\.system"),
        ({"a": [Plain()]}, r"test_sets_unpickle\.Plain"),
        (collections.OrderedDict(a=1), r"collections\.OrderedDict"),
        (np.array([{"x": Runs()}], dtype=object), r"posix\.system|nt\.system"),
        (b"cbuiltins\neval\n(U\x011tR.", r"builtins\.eval"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x09tU\x01btR.",
            "begin empty",
        ),
        (b"cnumpy\ndtype\n(U\x05i4,f8tR.", "array type 'i4,"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", "unknown encoding"),
        (b"cnumpy.core.multiarray\nscalar\n(K\x01U\x01atR.", "a number that is none"),
    ],
)
def test_anything_else_is_refused(tmp_path, monkeypatch, value, named):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, value)
    with pytest.raises(DataError, match=f"meta.pkl holds .*({named}).*; convert it to .npz"):
        read_pickle(path)
    assert not (tmp_path / "loaded.txt").exists()


@pytest.mark.parametrize(
    "value",
    [b"", b"no pickle", pickle.dumps({"a": np.ones(9)}, 2)[:-30], b"cnumpy\nndarray\n(K\x09tR."],
)
def test_broken_files_are_one_line(tmp_path, value):
    with pytest.raises(DataError, match=r"meta.pkl cannot be read \(.*\); download it again") as e:
        read_pickle(saved(tmp_path, value))
    assert "\n" not in str(e.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"gone.pkl cannot be read"):
        read_pickle(tmp_path / "gone.pkl")


def test_lists_of_recipes_are_read_from_npy(tmp_path):
    path = tmp_path / "cfgs.npy"
    listed = np.array([{"a": np.arange(3)}, {"b": "right"}], dtype=object)
    np.save(path, listed, allow_pickle=True)
    first, second = read_object_array(path)
    np.testing.assert_array_equal(first["a"], np.arange(3))
    assert second == {"b": "right"}
    np.save(path, np.array([Runs()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"cfgs.npy holds (posix|nt)\.system"):
        read_object_array(path)
    np.save(path, np.arange(3))
    with pytest.raises(DataError, match="expected a list of objects"):
        read_object_array(path)
    path.write_bytes(b"none of ours")
    with pytest.raises(DataError, match=r"cfgs.npy cannot be read"):
        read_object_array(path)
