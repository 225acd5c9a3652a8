"""Files for the servers and toolkits of HO-3D and DexYCB, written, and read back by their rules.

Arrays are ours (joint order, millimetres, camera axes with y down and z forward); files are theirs:

* HO-3D (its ``eval.py``): a zip with ``pred.json`` at its top, a list of two lists: 21 joints and V
  vertices of every frame in the order of the split's list; metres, OpenGL axes (y up, z towards the
  viewer), MANO's joint order. V may differ from MANO's 778, but see :mod:`hdrvideo.validate.ho3d`.
* DexYCB (dex-ycb-toolkit ``hpe_eval.py``): a text file, a line an image: its number in the split
  and 21 x 3 numbers, parted by commas; millimetres, absolute in the camera, joints in our order.

Servers take what is wrong in meaning (another joint order, unit or axes, NaN) and score it badly,
and an upload is seldom free; so both ways refuse that here, too.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import ProtocolError
from hdrvideo.files import whole_file
from hdrvideo.hand import (
    ADULT_BONES_MM,
    N_JOINTS,
    ORDERS,
    WRIST,
    bone_lengths,
    from_order,
    palm_length,
    to_order,
)
from hdrvideo.validate.metrics import F64

HO3D_FILE: Final = "pred.json"
_HO3D: Final = "HO-3D's pred.json"
_DEXYCB: Final = "DexYCB's result"
_MM_PER_M: Final = 1000.0
# From our axes (y down, z forward) to OpenGL's (y up, z towards the viewer), and back.
_OPENGL: Final = np.array([1.0, -1.0, -1.0])
# Digits written: a thousandth of a millimetre.
_M_DIGITS: Final = 6
_MM_DIGITS: Final = 3
_PALM_MM: Final = (30.0, 200.0)
_BEHIND_MM: Final = -100.0
# How far a hand's bones are from the adult's, mean of absolute logarithms. Measured on 400 poses of
# the hand model and six real hands: below 0.12 in the right order, above 0.30 in each wrong one.
_ORDER_MISFIT: Final = 0.2
_DEXYCB_NUMBERS: Final = 1 + 3 * N_JOINTS


def write_ho3d(
    path: Path | str,
    xyz_cam_mm: NDArray[Any],
    vertices_cam_mm: NDArray[Any],
    *,
    n_frames: int,
    overwrite: bool = False,
) -> Path:
    """Write HO-3D's zip.

    Args:
        path: Where it goes, ``.zip``.
        xyz_cam_mm: ``(N, 21, 3)`` joints of the right hand of every frame.
        vertices_cam_mm: ``(N, V, 3)`` its mesh.
        n_frames: Frames of the split's list; N must be as many.
        overwrite: Replace a file that is already there.

    Raises:
        ProtocolError: A number of frames or shape is wrong, a value is missing, or joint order,
            unit or axes look like another convention.
        WriteError: The file exists, or cannot be written.
    """
    path = Path(path)
    if path.suffix != ".zip":
        raise ProtocolError(f"{path} must end with .zip: HO-3D's server takes a zip")
    xyz = _points(_HO3D, "joints", xyz_cam_mm, n_frames, N_JOINTS)
    vertices = _points(_HO3D, "vertices", vertices_cam_mm, n_frames, None)
    _check_convention(_HO3D, xyz, xyz, "openpose")
    theirs = (to_order(xyz, "ho3d"), vertices)
    with (
        whole_file(path, overwrite=overwrite) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(HO3D_FILE, "w", force_zip64=True) as file,
    ):
        for part, points in enumerate(theirs):
            file.write(b"[[" if part == 0 else b"],\n[")
            # Frame by frame: the whole text of a split has half a gigabyte.
            for n, frame in enumerate(points):
                rounded = np.round(frame / _MM_PER_M * _OPENGL, _M_DIGITS).tolist()
                file.write((b",\n" if n else b"") + json.dumps(rounded).encode())
        file.write(b"]]\n")
    return path


def read_ho3d(path: Path | str, *, n_frames: int) -> tuple[F64, F64]:
    """Read HO-3D's zip as its script does: ``pred.json``, or else the only ``.json``, at the top.

    Args:
        path: The zip.
        n_frames: Frames of the split's list.

    Returns:
        ``(N, 21, 3)`` joints and ``(N, V, 3)`` vertices, ours.

    Raises:
        ProtocolError: The server would refuse it, or what :func:`write_ho3d` refuses.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(_ho3d_entry(path, archive.namelist()))
        content = json.loads(text, parse_constant=_no_constant)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ProtocolError(f"{path} is not a zip with readable JSON: {error}") from error
    if not isinstance(content, list) or len(content) != 2:
        raise ProtocolError(f"{path}: {_HO3D} must be a list of two, joints and vertices")
    xyz = _points(_HO3D, "joints", content[0], n_frames, N_JOINTS)
    vertices = _points(_HO3D, "vertices", content[1], n_frames, None)
    xyz, vertices = xyz * _MM_PER_M * _OPENGL, vertices * _MM_PER_M * _OPENGL
    ours = np.asarray(from_order(xyz, "ho3d"), dtype=np.float64)
    _check_convention(_HO3D, xyz, ours, "ho3d")
    return ours, vertices


def write_dexycb(
    path: Path | str,
    image_ids: Sequence[int] | NDArray[Any],
    xyz_cam_mm: NDArray[Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write DexYCB's result file.

    Args:
        path: Where it goes, ``.txt``.
        image_ids: ``(N,)`` numbers of the images in the toolkit's split.
        xyz_cam_mm: ``(N, 21, 3)`` joints of the labelled hand, absolute in the camera.
        overwrite: Replace a file that is already there.

    Raises:
        ProtocolError: A number repeats or is negative, a value is missing, or joint order, unit or
            axes look like another convention.
        WriteError: The file exists, or cannot be written.
    """
    ids = np.asarray(image_ids)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or (ids < 0).any():
        raise ProtocolError(f"{_DEXYCB} wants image numbers of 0 or more, got {ids!r:.60}")
    repeated = len(ids) - len(np.unique(ids))
    if repeated:
        raise ProtocolError(f"{_DEXYCB} has {repeated} image numbers twice; each needs one line")
    xyz = _points(_DEXYCB, "joints", xyz_cam_mm, len(ids), N_JOINTS)
    _check_convention(_DEXYCB, xyz, xyz, "dexycb")
    with (
        whole_file(path, overwrite=overwrite) as partial,
        partial.open("w", encoding="ascii", newline="\n") as file,
    ):
        for image, joints in zip(ids.tolist(), to_order(xyz, "dexycb"), strict=True):
            numbers = ",".join(f"{value:.{_MM_DIGITS}f}" for value in joints.ravel())
            file.write(f"{image},{numbers}\n")
    return Path(path)


def read_dexycb(path: Path | str, image_ids: Sequence[int] | NDArray[Any]) -> F64:
    """Read DexYCB's result file as its toolkit does.

    Every line has 64 numbers; of lines for one image the last counts; images that are not asked for
    are left out.

    Args:
        path: The file.
        image_ids: ``(N,)`` the labelled images of the split.

    Returns:
        ``(N, 21, 3)`` joints in their order.

    Raises:
        ProtocolError: The toolkit would stop, or what :func:`write_dexycb` refuses.
    """
    results: dict[int, list[float]] = {}
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        words = line.split(",")
        if len(words) != _DEXYCB_NUMBERS:
            raise ProtocolError(
                f"{path}, line {number} has {len(words)} numbers parted by commas, expected "
                f"{_DEXYCB_NUMBERS}: image, then 21 x 3 in mm"
            )
        try:
            results[int(words[0])] = [float(word) for word in words[1:]]
        except ValueError as error:
            raise ProtocolError(f"{path}, line {number} has no numbers: {error}") from error
    missing = [int(image) for image in image_ids if int(image) not in results]
    if missing:
        raise ProtocolError(
            f"{path} lacks {len(missing)} of {len(image_ids)} images, first {missing[0]}; the "
            "toolkit stops there, so give each an answer"
        )
    found = np.array([results[int(image)] for image in image_ids], dtype=np.float64)
    theirs = found.reshape(-1, N_JOINTS, 3)
    xyz = _points(_DEXYCB, "joints", theirs, len(image_ids), N_JOINTS)
    _check_convention(_DEXYCB, xyz, xyz, "dexycb")
    return np.asarray(from_order(xyz, "dexycb"), dtype=np.float64)


def _ho3d_entry(path: Path | str, names: Sequence[str]) -> str:
    top = [name for name in names if name.endswith(".json") and "/" not in name]
    if HO3D_FILE in top:
        return HO3D_FILE
    if len(top) != 1:
        raise ProtocolError(
            f"{path} has {len(top)} .json files at its top and no {HO3D_FILE}; HO-3D's server "
            "wants that one, in no folder"
        )
    return top[0]


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"it holds {word}, where every frame needs numbers")


def _points(what: str, part: str, values: Any, n_frames: int, n_points: int | None) -> F64:
    """Check that there are finite points ``(n_frames, n_points, 3)``; None = any number above 0."""
    try:
        points = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ProtocolError(
            f"{part} of {what} are no numbers, or differ in number between frames"
        ) from error
    if points.shape[:1] != (n_frames,):
        n_found = len(points) if points.ndim else 0
        raise ProtocolError(
            f"{what} has {part} of {n_found} frames, expected {n_frames}: one answer for each "
            "of the split, in its order"
        )
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] != (n_points or points.shape[1]):
        wanted = f"({n_frames}, {n_points or 'V'}, 3)"
        raise ProtocolError(f"{part} of {what} are {points.shape}, expected {wanted}")
    is_bad = ~np.isfinite(points).all(axis=(1, 2))
    if is_bad.any():
        raise ProtocolError(
            f"{part} of {what} are not finite in {is_bad.sum()} of {n_frames} frames, first "
            f"{int(is_bad.argmax())}; each needs an answer, so fill the missing hands in"
        )
    return points


def _check_convention(what: str, raw: F64, ours: F64, order: str) -> None:
    """Refuse joints that look like another unit, axes or order; hands of one point tell nothing.

    Args:
        what: The file, for the error.
        raw: ``(N, 21, 3)`` as given, in the order that it should have.
        ours: The same in our order, millimetres and axes.
        order: Name of the order that ``raw`` should have.
    """
    has_size = (bone_lengths(ours) > 0).all(axis=-1)
    if not has_size.any():
        return
    other = _other_order(raw[has_size], order)
    if other is not None:
        raise ProtocolError(f"joints of {what} look like order {other!r}, expected {order!r}")
    palm_mm = float(np.median(palm_length(ours[has_size])))
    if not _PALM_MM[0] <= palm_mm <= _PALM_MM[1]:
        raise ProtocolError(
            f"joints of {what} make palms of {palm_mm:g} mm, expected {_PALM_MM[0]:g} to "
            f"{_PALM_MM[1]:g}; the unit looks wrong (ours: mm, HO-3D's file: m)"
        )
    depth_mm = float(np.median(ours[has_size][:, WRIST, 2]))
    if depth_mm < _BEHIND_MM:
        raise ProtocolError(
            f"hands of {what} lie {-depth_mm:.0f} mm behind the camera; y and z look turned round "
            "(ours: y down, z forward; HO-3D's file: y up, z towards the viewer)"
        )


def _other_order(raw: F64, order: str) -> str | None:
    """Name the joint order whose bones fit a hand, where the expected one's do not."""
    misfit = {name: _bone_misfit(from_order(raw, name)) for name in ORDERS}
    best = min(misfit, key=lambda name: misfit[name])
    is_same = ORDERS[best] == ORDERS[order] or misfit[best] == misfit[order]
    return None if is_same or misfit[order] < _ORDER_MISFIT else best


def _bone_misfit(xyz: NDArray[Any]) -> float:
    """Tell how far the bones of hands are from an adult's, size aside; infinite without length."""
    lengths = bone_lengths(xyz)
    with np.errstate(divide="ignore"):
        off = np.log(lengths) - np.log(ADULT_BONES_MM)
    off -= np.median(off, axis=-1, keepdims=True)
    return float(np.median(np.abs(off).mean(axis=-1)))
