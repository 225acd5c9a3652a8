"""What is true of one clip of a benchmark: written once by the made world, read by every score.

A clip's folder holds three files beside the clip: ``truth.npz`` (numbers), ``masks.npz`` (both
masks of both hands, one bit a pixel) and ``bare.npz`` (each hand whole and alone, JPEG squares of
256 px round both hands). Masks and pictures are read when first asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, N_JOINTS, N_SIDES, U8, Bool, check_array
from hdrvideo.errors import DataError, ShapeError
from hdrvideo.files import write_npz
from hdrvideo.handmodel import POSE_JOINTS
from hdrvideo.synth.packing import encode_picture
from hdrvideo.synth.scene import CAMERAS, RELATIONS, Scene, Shot
from hdrvideo.validate.archive import Shapes, check_arrays, read_arrays
from hdrvideo.validate.bare import BarePictures, read_bare
from hdrvideo.validate.squares import cut_mask, cut_square, square_round

TRUTH_VERSION: Final = 1
TRUTH_FILES: Final = ("truth.npz", "masks.npz", "bare.npz")
JPEG_QUALITY: Final = 95
_REMEDY: Final = "make the benchmark again with `hdrvideo synth benchmark`"


@dataclass(frozen=True)
class ClipTruth:
    """The truth of T frames; axis 1 is the side, 0 right and 1 left.

    Attributes:
        name: Name of the clip's folder.
        relation: One of :data:`hdrvideo.synth.scene.RELATIONS`.
        camera: One of :data:`hdrvideo.synth.scene.CAMERAS`.
        frame_seconds: Time from frame to frame.
        height_px: Picture height.
        width_px: Picture width.
        k_px: ``(T, 3, 3)`` float32 camera matrices.
        pose: ``(T, 2, 16, 3)`` float32 axis-angle; with the next three it gives the hands' meshes
            and so their true motion (see :mod:`hdrvideo.validate.handflow`).
        shape: ``(2, n_shape)`` float32.
        wrist_mm: ``(T, 2, 3)`` float32, camera.
        wrist_bend: ``(T, 2, 3, 3)`` float32 of the hand against the forearm.
        uv_px: ``(T, 2, 21, 2)`` float32; NaN where the hand is not in the scene.
        xyz_cam_mm: ``(T, 2, 21, 3)`` float32; likewise.
        present: ``(T, 2)`` bool, the hand is in the picture.
        joint_visible: ``(T, 2, 21)`` bool.
        hidden_share: ``(T, 2)`` float32 in 0..1; NaN where not present.
        gap_mm: ``(T,)`` float32 least distance of the two hands; NaN without both.
        folder: Where masks and bare pictures lie; None = there are none.
    """

    name: str
    relation: str
    camera: str
    frame_seconds: float
    height_px: int
    width_px: int
    k_px: F32
    pose: F32
    shape: F32
    wrist_mm: F32
    wrist_bend: F32
    uv_px: F32
    xyz_cam_mm: F32
    present: Bool
    joint_visible: Bool
    hidden_share: F32
    gap_mm: F32
    folder: Path | None = None

    def __post_init__(self) -> None:
        for name, known in (("relation", RELATIONS), ("camera", CAMERAS)):
            if getattr(self, name) not in known:
                raise ShapeError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}"
                )
        if not self.frame_seconds > 0:
            raise ShapeError(f"frame_seconds is {self.frame_seconds}, expected more than 0")
        for name in ("height_px", "width_px"):
            if getattr(self, name) < 1:
                raise ShapeError(f"{name} is {getattr(self, name)}, expected at least 1")
        hand = (len(self.k_px), N_SIDES)
        shapes: dict[str, tuple[tuple[int | None, ...], str]] = {
            "k_px": ((hand[0], 3, 3), "float32"),
            "pose": ((*hand, len(POSE_JOINTS), 3), "float32"),
            "shape": ((N_SIDES, None), "float32"),
            "wrist_mm": ((*hand, 3), "float32"),
            "wrist_bend": ((*hand, 3, 3), "float32"),
            "uv_px": ((*hand, N_JOINTS, 2), "float32"),
            "xyz_cam_mm": ((*hand, N_JOINTS, 3), "float32"),
            "present": (hand, "bool"),
            "joint_visible": ((*hand, N_JOINTS), "bool"),
            "hidden_share": (hand, "float32"),
            "gap_mm": ((hand[0],), "float32"),
        }
        for name, (shape, kind) in shapes.items():
            check_array(name, getattr(self, name), shape, kind)
        for name in ("uv_px", "xyz_cam_mm", "hidden_share"):
            if not np.isfinite(getattr(self, name)[self.present]).all():
                raise ShapeError(f"{name} must be finite where a hand is present")
        share = self.hidden_share[np.isfinite(self.hidden_share)]
        if ((share < 0) | (share > 1)).any():
            raise ShapeError(f"hidden_share is {share.min()} to {share.max()}, expected 0..1")

    def __len__(self) -> int:
        return len(self.k_px)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self.width_px, self.height_px

    def masks(self, frame: int) -> tuple[Bool, Bool]:
        """Give the visible and the whole (amodal) masks of a frame, each ``(2, H, W)`` bool.

        Raises:
            DataError: The file is missing or damaged.
        """
        visible, amodal = (
            np.unpackbits(self._packed[name][frame], axis=-1, count=self.width_px).astype(bool)
            for name in ("visible", "amodal")
        )
        return visible, amodal

    def square(self, frame: int) -> NDArray[np.int64]:
        """Give the square ``u0, v0, side`` of a frame's bare pictures.

        Raises:
            DataError: The file is missing or damaged.
        """
        return np.asarray(self._bare.square[frame])

    def square_masks(self, frame: int) -> tuple[Bool, Bool]:
        """Give :meth:`masks` in the frame's square, each ``(2, 256, 256)`` bool."""
        square = self.square(frame)
        visible, amodal = (
            np.stack([cut_mask(mask, square) for mask in masks]) for masks in self.masks(frame)
        )
        return visible & amodal, amodal

    def square_input_u8(self, frame_rgb_u8: U8, frame: int) -> U8:
        """Cut the frame's square out of the clip's own picture: ``(256, 256, 3)``.

        Raises:
            ShapeError: The picture does not have the clip's size.
        """
        check_array("frame_rgb_u8", frame_rgb_u8, (self.height_px, self.width_px, 3), "uint8")
        return cut_square(frame_rgb_u8, self.square(frame))

    def bare_u8(self, frame: int, side: int) -> U8:
        """Give a hand whole and alone in the frame's square: ``(256, 256, 3)`` RGB.

        Raises:
            DataError: The file is missing or damaged.
        """
        return self._bare.picture_u8(frame, side)

    def _file(self, name: str) -> Path:
        if self.folder is None:
            raise DataError(f"truth of {self.name} was made without {name}; load it from a folder")
        return self.folder / name

    @cached_property
    def _packed(self) -> dict[str, NDArray[Any]]:
        path = self._file("masks.npz")
        arrays = _read(path, ("visible", "amodal"))
        shape = (len(self), N_SIDES, self.height_px, -(-self.width_px // 8))
        kinds: Shapes = {"visible": (shape, "uint8"), "amodal": (shape, "uint8")}
        check_arrays(path, arrays, kinds, _fault)
        if (arrays["visible"] & ~arrays["amodal"]).any():
            raise _fault(path, "a visible pixel lies outside the whole hand")
        return arrays

    @cached_property
    def _bare(self) -> BarePictures:
        return read_bare(self._file("bare.npz"), len(self), _fault, is_truth=True)


_FROM_SCENE: Final = (
    *("relation", "camera", "frame_seconds", "height_px", "width_px"),
    *("k_px", "pose", "shape", "wrist_mm", "wrist_bend"),
)
_FROM_SHOT: Final = (
    *("uv_px", "xyz_cam_mm", "present", "joint_visible", "hidden_share", "gap_mm"),
)  # fmt: skip


def save_truth(folder: Path | str, shots: Iterable[Shot], scene: Scene) -> ClipTruth:
    """Write a clip's truth: three files, each complete or not there; older ones are replaced.

    Args:
        folder: The clip's folder; made when it is missing. Its name is the clip's name.
        shots: Pictures with truth of all frames of the scene, in order, by parts of any length;
            one part is held at a time.
        scene: The scene that the shots show.

    Raises:
        ShapeError: The shots do not have the scene's size or number of frames.
        WriteError: The system refuses the write.
    """
    folder = Path(folder)
    numbers: dict[str, list[NDArray[Any]]] = {name: [] for name in _FROM_SHOT}
    masks: dict[str, list[NDArray[Any]]] = {"visible": [], "amodal": []}
    squares: list[NDArray[np.int64]] = []
    jpegs: list[U8] = []
    for shot in shots:
        size = tuple(shot.rgb.shape[-2:])
        if size != (scene.height_px, scene.width_px):
            raise ShapeError(f"shot is {size}, expected {scene.height_px, scene.width_px}")
        for name, parts in numbers.items():
            parts.append(getattr(shot, name).cpu().numpy())
        for name, parts in masks.items():
            parts.append(np.packbits(getattr(shot, name).cpu().numpy(), axis=-1))
        _add_pictures(shot, squares, jpegs)
    if len(squares) != len(scene):
        raise ShapeError(f"shots have {len(squares)} frames, expected {len(scene)} of the scene")
    values: dict[str, Any] = {name: getattr(scene, name) for name in _FROM_SCENE}
    values |= {name: np.concatenate(parts) for name, parts in numbers.items()}
    truth = ClipTruth(name=folder.resolve().name, folder=folder, **values)
    ends = np.cumsum([0, *(len(jpeg) for jpeg in jpegs)], dtype=np.int64)
    files = {
        "truth": {"version": TRUTH_VERSION, **values},
        "masks": {name: np.concatenate(parts) for name, parts in masks.items()},
        "bare": {
            "square": np.stack(squares),
            "jpeg": np.concatenate(jpegs),
            "jpeg_end": ends,
        },
    }
    for name, arrays in files.items():
        write_npz(folder / f"{name}.npz", arrays, overwrite=True, make_folder=True)
    return truth


def load_truth(folder: Path | str) -> ClipTruth:
    """Read a clip's truth; masks and pictures are read when first asked for.

    Raises:
        DataError: A file is missing, damaged, of another version, or does not fit the others.
    """
    folder = Path(folder)
    for name in TRUTH_FILES:
        if not (folder / name).is_file():
            raise DataError(f"no truth file {folder / name}; {_REMEDY}")
    path = folder / "truth.npz"
    names = tuple(f.name for f in fields(ClipTruth) if f.name not in ("name", "folder"))
    arrays = _read(path, ("version", *names))
    if arrays.pop("version").tolist() != TRUTH_VERSION:
        raise _fault(path, f"it is not of version {TRUTH_VERSION}")
    values: dict[str, Any] = {name: a.item() if a.ndim == 0 else a for name, a in arrays.items()}
    try:
        return ClipTruth(name=folder.resolve().name, folder=folder, **values)
    except (ShapeError, TypeError) as error:
        raise _fault(path, str(error)) from error


def _add_pictures(shot: Shot, squares: list[NDArray[np.int64]], jpegs: list[U8]) -> None:
    bare_u8 = (shot.bare_rgb.clamp(0, 1) * 255).round().byte().cpu()
    pictures = bare_u8.permute(0, 1, 3, 4, 2).numpy()
    for amodal, sides in zip(shot.amodal.cpu().numpy(), pictures, strict=True):
        squares.append(square_round(amodal))
        for picture in sides:
            cut = cut_square(np.ascontiguousarray(picture), squares[-1])
            jpegs.append(encode_picture(cut, quality=JPEG_QUALITY))


def _read(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise DataError(f"no truth file {path}; {_REMEDY}")
    return read_arrays(path, names, _fault)


def _fault(path: Path, reason: str) -> DataError:
    return DataError(f"truth file {path} cannot be used: {reason}; {_REMEDY}")
