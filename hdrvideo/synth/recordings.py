"""The file of recorded hand motion and key poses, ``weights/motions.npz``.

``scripts/bake_motions.py`` writes it: finger angles and wrist movement at 60 Hz as small integers,
each entry with its name, source and licence.
"""

import zipfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import WeightsError
from hdrvideo.synth.fingers import N_ANGLES

F64 = NDArray[np.float64]

RATE_HZ: Final = 60.0
# A healthy finger joint's fastest swings reach about 1000 degrees a second.
SPEED_LIMIT_DEG_S: Final = 1000.0
# Integers of the file: hundredths of a degree; fiftieths of a millimetre.
ANGLE_UNIT_RAD: Final = float(np.deg2rad(0.01))
MOVE_UNIT_MM: Final = 0.02

# Dimensions of a file's arrays; E entries, N frames of all entries.
_ARRAYS: Final[dict[str, tuple[str, tuple[int | str, ...]]]] = {
    "name": ("U", ("E",)),
    "source": ("U", ("E",)),
    "licence": ("U", ("E",)),
    "n_frames": ("i", ("E",)),
    "has_wrist": ("b", ("E",)),
    "angles": ("i", ("N", N_ANGLES, 3)),
    "wrist": ("i", ("N", 6)),
}


@dataclass(frozen=True)
class Entry:
    """A stretch of a recording, or a key pose where there is one frame.

    Attributes:
        name: Recording or pose; several stretches share the name of their recording.
        source: Where it comes from.
        licence: Its licence.
        angles_rad: ``(n, 45)`` flexion, abduction, twist of the 15 joints, at 60 Hz.
        wrist: ``(n, 6)`` movement in millimetres and turn in radians about the stretch's mean;
            None when it was not recorded.
        fastest_pace: How much faster than it was it may be played.
    """

    name: str
    source: str
    licence: str
    angles_rad: F64
    wrist: F64 | None
    fastest_pace: float


def motions_path() -> Path:
    """Give the path of the shipped motions."""
    return Path(str(resources.files("hdrvideo"))) / "weights" / "motions.npz"


def read_motions(path: Path | None = None) -> list[Entry]:
    """Read every entry of the shipped file, or of the one at ``path``.

    Raises:
        WeightsError: The file is missing, damaged, or holds something else.
    """
    path = path or motions_path()
    if not path.is_file():
        raise WeightsError(f"motions {path} are missing; reinstall hdrvideo")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"motions {path} cannot be read ({error}); reinstall hdrvideo"
        ) from error
    sizes: dict[str, int] = {"N": int(np.sum(arrays.get("n_frames", 0)))}
    for name, (dtype, shape) in _ARRAYS.items():
        found = arrays.get(name)
        if found is None or found.dtype.kind != dtype or found.ndim != len(shape):
            raise WeightsError(f"motions {path} do not fit: {name} is missing or of another kind")
        wanted = tuple(
            sizes.setdefault(n, k) if isinstance(n, str) else n
            for n, k in zip(shape, found.shape, strict=True)
        )
        if found.shape != wanted:
            raise WeightsError(
                f"motions {path} do not fit: {name} is {found.shape}, expected {wanted}"
            )
    return _entries(arrays)


def _entries(arrays: dict[str, NDArray[Any]]) -> list[Entry]:
    ends = np.cumsum(arrays["n_frames"])[:-1]
    angles_rad = arrays["angles"].reshape(-1, 3 * N_ANGLES) * ANGLE_UNIT_RAD
    units = np.r_[np.full(3, MOVE_UNIT_MM), np.full(3, ANGLE_UNIT_RAD)]
    told = zip(arrays["name"], arrays["source"], arrays["licence"], strict=True)
    values = zip(
        np.split(angles_rad, ends),
        np.split(arrays["wrist"] * units, ends),
        arrays["has_wrist"],
        strict=True,
    )
    limit_rad = np.deg2rad(SPEED_LIMIT_DEG_S) / RATE_HZ
    return [
        Entry(
            name=str(name),
            source=str(source),
            licence=str(licence),
            angles_rad=rows,
            wrist=wrist if moved else None,
            fastest_pace=limit_rad / max(1e-6, float(np.abs(np.diff(rows, axis=0)).max(initial=0))),
        )
        for (name, source, licence), (rows, wrist, moved) in zip(told, values, strict=True)
    ]
