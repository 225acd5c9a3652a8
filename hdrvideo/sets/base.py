"""What every reader offers, and what they share: wrong folders and broken files in one clear line.

A set is opened in three steps, each with an error of its own: the files of labels are there; they
can be read; every picture that they name is there, and every label file of a single picture.
"""

import json
import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import DataError, SettingsError, ShapeError
from hdrvideo.sets.sample import SetSample

# So many names of missing files are told; of the rest only how many.
_TOLD: Final = 4


class HandSet(ABC):
    """A data set on disk, read as :class:`SetSample` one by one; samples are made when asked for.

    A reader says how its labels are read (``_read``), how many samples they have, which files a
    sample has of its own, and how one is made.

    Attributes:
        NAME: How it is called in settings and on the command line.
        SPLITS: Its parts; the first is what is learnt from, :attr:`TEST` what is scored.
        ABSENCE_TOLD: A hand that is not present is not in the picture, either. If not so, the set
            labels one hand of a picture and says nothing of the other.
    """

    NAME: ClassVar[str]
    SPLITS: ClassVar[tuple[str, ...]]
    TEST: ClassVar[str]
    ABSENCE_TOLD: ClassVar[bool] = False

    def __init__(self, root: Path | str, split: str, *, only_there: bool = False) -> None:
        """Find the labels' files, read them, look for all pictures.

        Args:
            root: The set's folder; see ``docs/datasets.md``.
            split: One of :attr:`SPLITS`.
            only_there: Leave out samples whose picture or own label file is missing, where not
                all are.

        Raises:
            SettingsError: There is no such split.
            DataError: A file is missing or broken, or pictures are missing.
        """
        self.root, self.split = Path(root), split
        if split not in self.SPLITS:
            raise SettingsError(
                f"{self.NAME} has no split {split!r}, expected one of {', '.join(self.SPLITS)}"
            )
        if not self.root.is_dir():
            raise DataError(f"{self.NAME}: no folder {self.root}; {_remedy()}")
        self._read()
        n = self._n_read()
        if n == 0:
            raise DataError(f"{self.NAME}: {self.root} holds no sample of split {split}")
        is_there = Listing()
        there = np.array([all(map(is_there, self._files(k))) for k in range(n)])
        if not there.all() and not (only_there and there.any()):
            gone = np.flatnonzero(~there)
            lost = [str(f) for k in gone[:_TOLD] for f in self._files(int(k)) if not is_there(f)]
            raise DataError(
                f"{self.NAME}: {len(gone)} of {n} samples of split {split} lack files: "
                f"{_listed(lost, len(gone))}; {_remedy()}"
            )
        self._kept: NDArray[np.int64] = np.flatnonzero(there)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> SetSample:
        """Give a sample.

        Raises:
            DataError: Its own label file is missing or broken.
        """
        return self._sample(int(self._kept[index]))

    @property
    def is_whole(self) -> bool:
        """Whether all labelled samples of the split are there, none left out."""
        return len(self._kept) == self._n_read()

    @property
    def protocol_split(self) -> str:
        """What the field's protocols call the split, its part and the set's version."""
        return self.split

    @property
    def looks_in_box(self) -> bool:
        """Whether a hand is looked for in the box that the set gives, its joints being secret."""
        return False

    def __iter__(self) -> Iterator[SetSample]:
        return (self[k] for k in range(len(self)))

    def _files(self, k: int) -> tuple[Path, ...]:
        return (self._picture(k), *self._own_labels(k))

    @abstractmethod
    def _read(self) -> None:
        """Read what the labels' files say of the split, in arrays where they are many."""

    @abstractmethod
    def _n_read(self) -> int:
        """Say how many samples the labels have."""

    @abstractmethod
    def _picture(self, k: int) -> Path:
        """Name the picture's file of sample ``k`` of all that are labelled."""

    def _own_labels(self, k: int) -> tuple[Path, ...]:
        """Name the label files that sample ``k`` has alone."""
        return ()

    @abstractmethod
    def _sample(self, k: int) -> SetSample:
        """Make sample ``k`` of all that are labelled."""

    def _need(self, paths: Sequence[Path]) -> None:
        """Refuse to go on without some files or folders.

        Raises:
            DataError: Names those that are missing.
        """
        lost = [str(path.relative_to(self.root)) for path in paths if not path.exists()]
        if lost:
            raise DataError(f"{self.NAME}: {self.root} lacks {_listed(lost)}; {_remedy()}")


def _remedy() -> str:
    return "see docs/datasets.md for the folder's layout"


def _listed(names: Sequence[str], n: int | None = None) -> str:
    n = len(names) if n is None else n
    more = f" and {n - _TOLD} more" if n > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more


class Listing:
    """Tells whether files exist; lists each folder once, as there may be millions."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def __call__(self, path: Path) -> bool:
        """Tell whether a file is there."""
        folder = path.parent
        if folder not in self._names:
            self._names[folder] = frozenset(os.listdir(folder) if folder.is_dir() else ())
        return path.name in self._names[folder]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a label file is taken apart into one line.

    Raises:
        DataError: Names the file and what was wrong.
    """
    try:
        yield
    except (
        *(KeyError, IndexError, TypeError, ValueError, AttributeError, OSError, ShapeError),
        *(zipfile.BadZipFile, zlib.error, EOFError),
    ) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"labels in {path} cannot be read ({what[:200]}); unpack or download them again"
        ) from error


def read_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        hook: Called with each mapping as soon as it is parsed, gives what stands for it: large
            files would need many gigabytes as Python objects.

    Raises:
        DataError: It is missing or broken.
    """
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"), object_hook=hook)


def tell_missing(set_name: str, what: str, names: Sequence[str], path: Path) -> None:
    """Refuse labels that speak of what another file should have.

    Raises:
        DataError: There are such names.
    """
    if names:
        raise DataError(
            f"{set_name}: {path} lacks {what} {_listed(names)}; it is of another split or version "
            "than the other files of labels"
        )
