"""Labels that are published as pickles, read without letting them run anything.

A pickle is a small program; the general reader runs whatever it names. This one knows the four
names by which NumPy stores arrays and numbers, each in a version of its own that checks what it is
given, and refuses any other: what comes out is arrays, numbers, text, bytes, None, lists, tuples
and mappings.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from hdrvideo.errors import DataError

# One of these letters and a size; "O" holds objects, which are under the same rules.
_KINDS: Final = frozenset("biufSUO")
_MOST_BYTES: Final = 2**31


class _Refused(Exception):
    """The file asks for what is not allowed; the text says what."""


class _Name:
    """Stands for the class ``ndarray``, which may be named and not called."""


_ARRAY: Final = _Name()


def _empty_array(kind: object, shape: object, code: object) -> Any:
    """Begin an array; its shape and data come in a second step, which NumPy checks."""
    if kind is not _ARRAY or shape != (0,) or code not in (b"b", "b"):
        raise _Refused("an array that does not begin empty")
    return np.empty(0, dtype=np.int8)


def _dtype(spec: object, align: object = False, copy: object = False) -> np.dtype[Any]:
    is_plain = isinstance(spec, str) and spec[:1] in _KINDS and spec[1:].isdecimal()
    if not is_plain or align or copy not in (0, 1):
        raise _Refused(f"the array type {spec!r}")
    return np.dtype(str(spec))


def _scalar(dtype: object, data: object = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, bytes | str):
        raise _Refused("a number that is none")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype=dtype, count=1)[0]


def _bytes(text: object, encoding: object = "latin1") -> bytes:
    """Undo what pickles of older protocols do to bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("text in an unknown encoding")
    return text.encode("latin-1")


_CORES: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: Final[Mapping[tuple[str, str], Any]] = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _bytes,
    **{(core, "_reconstruct"): _empty_array for core in _CORES},
    **{(core, "scalar"): _scalar for core in _CORES},
}


class _ArraysOnly(pickle.Unpickler):
    """Knows the names of arrays and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]


def read_pickle(path: Path) -> Any:
    """Read a pickle of arrays and plain containers.

    Text of Python 2 comes as latin-1, as the sets' own scripts read it.

    Raises:
        DataError: The file is missing, broken or very large, or asks for anything else.
    """
    return _guarded(path, lambda file: _ArraysOnly(file, encoding="latin1").load())


def read_object_array(path: Path) -> list[Any]:
    """Read a one-dimensional ``.npy`` of objects, such as a list of mappings that was saved whole.

    Raises:
        DataError: The file is missing, broken or very large, or asks for anything else.
    """

    def read(file: IO[bytes]) -> list[Any]:
        version = np.lib.format.read_magic(file)
        headers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = headers[version](file)
        if dtype != np.dtype(object) or len(shape) != 1:
            raise ValueError(f"array of {dtype} {shape}, expected a list of objects")
        array = _ArraysOnly(file, encoding="latin1").load()
        return list(array.reshape(shape))

    return list(_guarded(path, read))


def _guarded(path: Path, read: Callable[[IO[bytes]], Any]) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _Refused(f"more than {_MOST_BYTES} bytes")
        with path.open("rb") as file:
            return read(file)
    except _Refused as error:
        raise DataError(
            f"{path} holds {error}, which is not read from a pickle: only arrays and plain "
            "containers are; convert it to .npz with the set's own tools"
        ) from error
    except (
        *(pickle.UnpicklingError, EOFError, OSError, MemoryError, RecursionError),
        *(KeyError, IndexError, TypeError, ValueError, AttributeError, ImportError),
    ) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path} cannot be read ({what[:200]}); download it again") from error
