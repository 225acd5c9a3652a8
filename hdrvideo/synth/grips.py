"""Key poses of two hands together, baked by ``scripts/bake_grips.py``: how they touch and clasp."""

import zipfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, check_array
from hdrvideo.errors import WeightsError
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.turns import exp_turn

F64 = NDArray[np.float64]

_FIELDS = ("names", "kind", "fingers", "turn", "shift_mm")


@dataclass(frozen=True)
class Grip:
    """Two mean hands that meet, the right or the left one as flat hands stand.

    Attributes:
        name: ``grip:<kind>:<number>``; the split goes by it.
        turn: ``(2, 3, 3)`` of the hands.
        wrist_mm: ``(2, 3)``.
        fingers: ``(2, 15, 3)`` axis-angle.
    """

    name: str
    turn: F64
    wrist_mm: F64
    fingers: F64

    def __post_init__(self) -> None:
        check_array("turn", self.turn, (2, 3, 3), "float64")
        check_array("wrist_mm", self.wrist_mm, (2, 3), "float64")
        check_array("fingers", self.fingers, (2, 15, 3), "float64")

    def swapped(self) -> "Grip":
        """Give the mirror image: what the right hand did, the left one does."""
        flip = np.array([-1.0, 1.0, 1.0])
        turn = self.turn[::-1] * flip[:, None] * flip
        wrist_mm, fingers = self.wrist_mm[::-1] * flip, self.fingers[::-1]
        return Grip(self.name, turn, wrist_mm.copy(), fingers.copy())


@dataclass(frozen=True)
class Grips:
    """All grips of one split.

    Attributes:
        names: ``(G,)`` names of the grips.
        relation: ``(G,)`` ``touching`` or ``interlocked``.
        fingers: ``(G, 2, 15, 3)`` axis-angle.
        turn: ``(G, 3)`` axis-angle of the left hand; the right one is not turned.
        shift_mm: ``(G, 3)`` place of the left wrist; the right one is the origin.
    """

    names: tuple[str, ...]
    relation: tuple[str, ...]
    fingers: F32
    turn: F32
    shift_mm: F32

    @classmethod
    def load(cls, split: str, path: Path | None = None) -> "Grips":
        """Read the shipped grips, or those at ``path``, and keep those of ``split``.

        Raises:
            WeightsError: The file is missing, damaged, or has none for the split.
        """
        path = path or grips_path()
        arrays = _read(path)
        kinds = [str(name).split(":") for name in arrays["names"]]
        counts = dict.fromkeys(range(len(kinds)), 0)
        kept, names, relations = [], [], []
        for row, kind in enumerate(arrays["kind"]):
            relation, word = kinds[kind]
            name = f"grip:{word}:{counts[int(kind)]}"
            counts[int(kind)] += 1
            if split_of("motion", name) == split:
                kept.append(row)
                names.append(name)
                relations.append(relation)
        if not {"touching", "interlocked"} <= set(relations):
            raise WeightsError(f"grips {path} have none for {split}; bake them again")
        fingers, turn, shift_mm = (
            arrays[name][kept].astype(np.float32) for name in ("fingers", "turn", "shift_mm")
        )
        return cls(tuple(names), tuple(relations), fingers, turn, shift_mm)

    def draw(self, rng: np.random.Generator, relation: str) -> Grip:
        """Draw a grip of a relation: each kind alike, either hand in either role."""
        kinds: dict[str, list[int]] = {}
        for row, (name, found) in enumerate(zip(self.names, self.relation, strict=True)):
            if found == relation:
                kinds.setdefault(name.split(":")[1], []).append(row)
        rows = kinds[sorted(kinds)[int(rng.integers(len(kinds)))]]
        row = rows[int(rng.integers(len(rows)))]
        turn = np.stack([np.eye(3), exp_turn(self.turn[row])])
        wrist = np.stack([np.zeros(3), self.shift_mm[row]]).astype(np.float64)
        grip = Grip(self.names[row], turn, wrist, self.fingers[row].astype(np.float64))
        return grip.swapped() if rng.random() < 0.5 else grip


def grips_path() -> Path:
    """Give the path of the shipped grips."""
    return Path(str(resources.files("hdrvideo"))) / "weights" / "grips.npz"


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in _FIELDS}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"grips {path} cannot be read ({error}); reinstall hdrvideo") from error
