"""One labelled picture of a data set: up to two hands in our joint order, with what is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES, U8, Bool, check_array
from hdrvideo.errors import DataError, ShapeError
from hdrvideo.geometry import Camera

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class SetSample:
    """A picture with its labels; axis of two is the side, 0 right, 1 left.

    A joint without a label is NaN and not valid. A hand that is not ``present`` has no valid joint;
    whether that says that it is not there, or only that the set labels one hand a picture, is the
    reader's ``ABSENCE_TOLD``.

    Attributes:
        source: Name of the set.
        name: Name of the sample, one of its kind in the set.
        picture: The picture's file.
        width_px: Width of the picture.
        height_px: Its height.
        present: ``(2,)`` bool, which hands are labelled as being there.
        uv_px: ``(2, 21, 2)`` float64 in the picture, integers are pixel centres.
        xyz_cam_mm: ``(2, 21, 3)`` float64, camera axes (x right, y down, z forward).
        valid_uv: ``(2, 21)`` bool.
        valid_xyz: ``(2, 21)`` bool.
        k_px: ``(3, 3)`` float64 camera matrix; None = not known.
        side_told: The set says which hand it is; if not, the hand stands at 0 and may be either.
        subject: Who; empty where the set does not say.
        sequence: Which recording; empty likewise.
        camera: Which camera of several; empty likewise.
        frame: Number of the frame in its recording; None likewise.
        box_uvuv_px: ``(4,)`` float64 box that the set gives for the hands, u0, v0, u1, v1; None
            likewise.
    """

    source: str
    name: str
    picture: Path
    width_px: int
    height_px: int
    present: Bool
    uv_px: F64
    xyz_cam_mm: F64
    valid_uv: Bool
    valid_xyz: Bool
    k_px: F64 | None = None
    side_told: bool = True
    subject: str = ""
    sequence: str = ""
    camera: str = ""
    frame: int | None = None
    box_uvuv_px: F64 | None = None

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            raise ShapeError(
                f"picture of {self.name} is {self.width_px}x{self.height_px}, expected 1x1 or more"
            )
        check_array("present", self.present, (N_SIDES,), "bool")
        for what, values, valid, d in (
            ("uv_px", self.uv_px, self.valid_uv, 2),
            ("xyz_cam_mm", self.xyz_cam_mm, self.valid_xyz, 3),
        ):
            check_array(what, values, (N_SIDES, N_JOINTS, d), "float64")
            check_array(f"validity of {what}", valid, (N_SIDES, N_JOINTS), "bool")
            if not (np.isfinite(values).all(axis=-1) == valid).all():
                raise ShapeError(
                    f"{what} of {self.name}: valid joints must be finite, all others NaN"
                )
            if (valid & ~self.present[:, None]).any():
                raise ShapeError(f"{what} of {self.name}: a hand that is not present has labels")
        if (self.xyz_cam_mm[self.valid_xyz][:, 2] <= 0).any():
            raise ShapeError(f"xyz_cam_mm of {self.name}: a joint lies behind the camera")
        if self.k_px is not None:
            check_array("k_px", self.k_px, (3, 3), "float64")
        if self.box_uvuv_px is not None:
            check_array("box_uvuv_px", self.box_uvuv_px, (4,), "float64")

    @property
    def is_pair(self) -> bool:
        """Whether both hands are labelled as being there."""
        return bool(self.present.all())

    @property
    def pinhole(self) -> Camera | None:
        """The camera; None = not known."""
        return None if self.k_px is None else camera_of(self.k_px)

    def rgb_u8(self) -> U8:
        """Read the picture, ``(H, W, 3)``; as it is stored, as the labels go by that.

        Raises:
            DataError: It is missing or cannot be decoded, or has another size than the labels.
        """
        rgb_u8 = load_rgb_u8(self.picture)
        self._check_size(rgb_u8)
        return rgb_u8

    def _check_size(self, rgb_u8: U8) -> None:
        height, width = rgb_u8.shape[:2]
        if (width, height) != (self.width_px, self.height_px):
            raise DataError(
                f"picture {self.picture} is {width}x{height}, its labels are of one of "
                f"{self.width_px}x{self.height_px}; put the set's own pictures there, not copies "
                "of another size"
            )


def load_rgb_u8(picture: Path) -> U8:
    """Read a picture ``(H, W, 3)`` as it is stored.

    Raises:
        DataError: It is missing or cannot be decoded.
    """
    if not picture.is_file():
        raise DataError(f"picture {picture} is missing; unpack the set's pictures there")
    bgr = cv2.imread(str(picture), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise DataError(f"picture {picture} cannot be decoded; copy it again")
    return np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)


def camera_of(k_px: NDArray[Any]) -> Camera:
    """Give the camera of a matrix ``(3, 3)``; its skew is left out."""
    fx_px, fy_px, cx_px, cy_px = (float(k_px[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return Camera(fx_px, fy_px, cx_px, cy_px, "given")


def camera_matrix(focal_px: Any, centre_px: Any) -> F64:
    """Give the matrix ``(3, 3)`` of focal lengths ``(2,)`` and a principal point ``(2,)``."""
    k_px = np.eye(3)
    k_px[[0, 1], [0, 1]], k_px[:2, 2] = focal_px, centre_px
    return k_px


def box_from_xywh(box_xywh_px: Any) -> F64:
    """Give a box ``(4,)`` of corner and size as two corners."""
    u, v, width, height = (float(x) for x in box_xywh_px)
    return np.array([u, v, u + width, v + height])


def hands_of(hands: Mapping[int, NDArray[Any]], d: int) -> F64:
    """Lay hands ``(21, d)`` by side into ``(2, 21, d)``, NaN where there is none."""
    both = np.full((N_SIDES, N_JOINTS, d), np.nan)
    for side, values in hands.items():
        both[side] = values
    return both


def only_valid(values: NDArray[Any], valid: NDArray[Any]) -> F64:
    """Give values ``(..., D)`` as float64, NaN where ``valid`` ``(...)`` is not so."""
    return np.where(np.asarray(valid)[..., None], np.asarray(values, dtype=np.float64), np.nan)


def labels_of(
    uv_px: Mapping[int, NDArray[Any]], xyz_cam_mm: Mapping[int, NDArray[Any]]
) -> dict[str, Any]:
    """Give what a sample says of joints, from hands by side; NaN = no label.

    A joint behind the camera, of an annotation that went wrong, is no label either: one such frame
    of a hundred thousand is not to end a run.

    Args:
        uv_px: Hands ``(21, 2)``.
        xyz_cam_mm: Hands ``(21, 3)``.

    Returns:
        ``uv_px``, ``xyz_cam_mm``, their validities, and ``present``: hands with a label.
    """
    flat, space = hands_of(uv_px, 2), hands_of(xyz_cam_mm, 3)
    space = only_valid(space, space[..., 2] > 0)
    valid_uv, valid_xyz = known(flat), known(space)
    return {
        "present": np.asarray((valid_uv | valid_xyz).any(axis=1)),
        "uv_px": flat,
        "xyz_cam_mm": space,
        "valid_uv": valid_uv,
        "valid_xyz": valid_xyz,
    }


def known(values: NDArray[Any]) -> Bool:
    """Tell where all numbers of ``(..., D)`` are finite."""
    return np.asarray(np.isfinite(values).all(axis=-1))
