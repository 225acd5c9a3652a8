"""Files that are whole or not there: written under a hidden name beside them, then renamed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hdrvideo.errors import WriteError


@contextmanager
def whole_file(
    path: Path | str, *, overwrite: bool = False, make_folder: bool = False
) -> Iterator[Path]:
    """Lend a temporary name beside ``path``; it becomes ``path`` when the block ends well.

    When the block raises, the temporary file is removed and ``path`` is as it was.

    Args:
        path: The final name.
        overwrite: Replace a file that is already there.
        make_folder: Make the folder that it lies in; else it must exist.

    Yields:
        The temporary name, with the same suffix.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    with disk_errors(path):
        if make_folder:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with partial_file(path, overwrite=overwrite) as partial:
            yield partial


@contextmanager
def partial_file(path: Path | str, *, overwrite: bool) -> Iterator[Path]:
    """Lend a name as :func:`whole_file` does; faults of the block itself pass as they are.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses to rename it.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise WriteError(f"{path} exists; pass --overwrite to replace it, or -o for another place")
    if not path.parent.is_dir():
        raise WriteError(f"{path} cannot be written: no folder {path.parent}; create it first")
    partial = partial_name(path)
    try:
        yield partial
        with disk_errors(path):
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """Give the hidden name beside ``path`` under which it is written."""
    # The process number keeps two runs on one clip from writing into the same file.
    return path.with_name(f".partial-{os.getpid()}-{path.name}")


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn what the system and Arrow raise on a file into a :class:`WriteError`."""
    try:
        yield
    except OSError as fault:
        raise WriteError(
            f"{path} cannot be written: {fault}; check the disk's space and rights"
        ) from fault


def write_npz(
    path: Path | str,
    arrays: Mapping[str, Any],
    *,
    overwrite: bool = False,
    make_folder: bool = False,
) -> None:
    """Write a packed ``.npz`` by :func:`whole_file`; the same arrays give the same bytes.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    with (
        whole_file(path, overwrite=overwrite, make_folder=make_folder) as partial,
        partial.open("wb") as file,
    ):
        np.savez_compressed(file, **arrays)
