"""The file for a set's server or toolkit, from what ``validate set`` read.

HO-3D's server wants a mesh, and joints alone are read: the 21 joints stand as its points. So what
it prints of joints is right, and what it prints of meshes means nothing.
"""

from pathlib import Path
from typing import Final

import numpy as np

from hdrvideo.errors import ProtocolError
from hdrvideo.hand import RIGHT
from hdrvideo.validate.set_scores import SetPredictions
from hdrvideo.validate.submissions import read_dexycb, read_ho3d, write_dexycb, write_ho3d

_NAMES: Final = {"ho3d": "submission.zip", "dexycb": "submission.txt"}
# What is learnt from is scored by no server.
_LEARNT: Final = "train"


def submission_name(source: str, split: str) -> str | None:
    """Name the file of a set's split; None where no server or toolkit takes one."""
    return None if split.endswith(_LEARNT) else _NAMES.get(source)


def write_submission(
    found: SetPredictions, folder: Path, *, n_samples: int | None, overwrite: bool = False
) -> str:
    """Write the file of a whole split, read it back by its own rules, and say what was done.

    Args:
        found: What was read of HO-3D or DexYCB, in the set's order.
        folder: Where.
        n_samples: Of the split; None = not known, as parts of it are not there.
        overwrite: Replace a file that is there.

    Returns:
        A line: the file's name, or why there is none.

    Raises:
        WriteError: The file exists, or cannot be written.
    """
    path = folder / _NAMES[found.source]
    if overwrite:
        # Of an earlier run: not to be taken for this one's.
        path.unlink(missing_ok=True)
    if len(found) != n_samples:
        n_all = "more" if n_samples is None else n_samples
        return f"{path.name} is not written: {len(found)} samples were read, the split has {n_all}"
    try:
        return (_ho3d if found.source == "ho3d" else _dexycb)(found, path)
    except ProtocolError as error:
        return f"{path.name} is not written: {error}"


def _ho3d(found: SetPredictions, path: Path) -> str:
    xyz_mm = found.xyz_cam_mm[:, RIGHT].astype(np.float64)
    write_ho3d(path, xyz_mm, xyz_mm, n_frames=len(found))
    read_ho3d(path, n_frames=len(found))
    return (
        f"{path.name} is for HO-3D's server: {len(found)} frames; the 21 joints stand as its mesh, "
        "so its numbers of meshes mean nothing"
    )


def _dexycb(found: SetPredictions, path: Path) -> str:
    labelled = found.present & found.valid_xyz.any(axis=2)
    images, sides = np.nonzero(labelled)
    xyz_mm = found.xyz_cam_mm[images, sides].astype(np.float64)
    write_dexycb(path, images, xyz_mm)
    read_dexycb(path, images)
    return f"{path.name} is for DexYCB's toolkit: {len(images)} images with a hand"
