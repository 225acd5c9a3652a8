"""Arrays of an ``.npz`` file, read whole and checked; the reader says which error it wants."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import check_array
from hdrvideo.errors import HdrVideoError, ShapeError

# Gives the error for a file and what is wrong with it.
Fault = Callable[[Path, str], HdrVideoError]
Arrays = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[tuple[int | None, ...], str]]


def read_arrays(path: Path, names: tuple[str, ...], fault: Fault) -> Arrays:
    """Read the arrays of these names and no others.

    Raises:
        HdrVideoError: As ``fault`` gives it: the file is damaged, lacks a name or has one more.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise fault(path, str(error)) from error
    unlike = sorted(set(names) ^ set(arrays))
    if unlike:
        raise fault(path, f"{', '.join(unlike)} missing or unknown")
    return arrays


def check_arrays(path: Path, arrays: Arrays, shapes: Shapes, fault: Fault) -> None:
    """Raise ``fault``'s error unless every array has its shape and type."""
    try:
        for name, (shape, kind) in shapes.items():
            check_array(name, arrays[name], shape, kind)
    except ShapeError as error:
        raise fault(path, str(error)) from error
