"""The one module that knows coordinates: pixels, the crop affine, the camera.

Pixels: an integer coordinate is a pixel *centre*, so a picture ``W`` wide spans ``-0.5`` to
``W - 0.5``. A crop is a turned square of the frame; ``frame_from_crop`` is the ``(2, 3)`` affine
that takes crop pixels to frame pixels. A left hand is mirrored inside this affine and nowhere else,
so the way back un-mirrors it.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import SettingsError, ShapeError

F64 = NDArray[np.float64]
CAMERA_SOURCES = ("given", "metadata", "assumed")

# A hand's square: the joints that it is taken round, its side over that of their box, and how far
# it is moved towards the fingers, in sides of the box.
_SQUARE_JOINTS: Final = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
_SQUARE_SCALE: Final = 2.0
_SQUARE_SHIFT: Final = 0.1


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        fx_px: Focal length along u, in pixels.
        fy_px: Focal length along v, in pixels.
        cx_px: Principal point u (pixel centres are integers).
        cy_px: Principal point v.
        source: ``given`` by the user, read from ``metadata``, or ``assumed`` from a field of view.
            Depth under an assumed camera has no metric meaning of its own.
    """

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    source: str

    def __post_init__(self) -> None:
        for name in ("fx_px", "fy_px"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} is {value}, expected a positive number of pixels")
        if self.source not in CAMERA_SOURCES:
            raise SettingsError(f"camera source is {self.source!r}, expected {CAMERA_SOURCES}")

    @classmethod
    def from_focal(cls, focal_px: float, width: int, height: int, *, source: str) -> "Camera":
        """Put a focal length in pixels behind the middle of a ``width`` x ``height`` picture."""
        return cls(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, source)

    @classmethod
    def from_fov(cls, fov_deg: float, width: int, height: int, *, source: str) -> "Camera":
        """Take the focal length from the field of view across the *longer* side of the picture.

        Raises:
            SettingsError: The angle is not between 1 and 170 degrees.
        """
        if not 1 <= fov_deg <= 170:
            raise SettingsError(f"field of view is {fov_deg} degrees, expected 1 to 170; see --fov")
        focal_px = 0.5 * max(width, height) / math.tan(math.radians(fov_deg) / 2)
        return cls.from_focal(focal_px, width, height, source=source)

    @property
    def matrix(self) -> F64:
        """The camera matrix ``(3, 3)``."""
        return np.array([[self.fx_px, 0, self.cx_px], [0, self.fy_px, self.cy_px], [0, 0, 1.0]])

    def project(self, xyz_cam_mm: NDArray[Any]) -> F64:
        """Take camera points ``(..., 3)`` to pixels ``(..., 2)``; NaN where z is not positive."""
        xyz = np.asarray(xyz_cam_mm, dtype=np.float64)
        z = np.where(xyz[..., 2] > 0, xyz[..., 2], np.nan)
        u = self.fx_px * xyz[..., 0] / z + self.cx_px
        v = self.fy_px * xyz[..., 1] / z + self.cy_px
        return np.stack([u, v], axis=-1)

    def lift(self, uv_px: NDArray[Any], z_mm: NDArray[Any]) -> F64:
        """Put pixels ``(..., 2)`` at depth ``(...)``; the inverse of :meth:`project`."""
        uv = np.asarray(uv_px, dtype=np.float64)
        z = np.asarray(z_mm, dtype=np.float64)
        x = (uv[..., 0] - self.cx_px) / self.fx_px * z
        y = (uv[..., 1] - self.cy_px) / self.fy_px * z
        return np.stack([x, y, z], axis=-1)


@dataclass(frozen=True)
class CropSquare:
    """A turned square of a frame, in frame pixels.

    Attributes:
        u_px: Centre, to the right.
        v_px: Centre, down.
        size_px: Length of a side.
        angle_rad: Clockwise turn of the crop's own axes against the frame's.
        mirror: The crop shows the square mirrored left to right: a left hand looks like a right.
    """

    u_px: float
    v_px: float
    size_px: float
    angle_rad: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        values = (self.u_px, self.v_px, self.size_px, self.angle_rad)
        if not all(math.isfinite(v) for v in values) or self.size_px <= 0:
            raise ShapeError(
                f"crop square is {values}, expected finite numbers and a positive size"
            )

    def frame_from_crop(self, resolution_px: int) -> F64:
        """Give the ``(2, 3)`` affine from pixels of a ``resolution_px`` crop to the frame."""
        scale = self.size_px / resolution_px
        cos, sin = math.cos(self.angle_rad) * scale, math.sin(self.angle_rad) * scale
        flip = -1.0 if self.mirror else 1.0
        linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
        middle = (resolution_px - 1) / 2
        offset = np.array([self.u_px, self.v_px]) - linear @ np.array([middle, middle])
        return np.concatenate([linear, offset[:, None]], axis=1)


def square_from_pose(uv_px: NDArray[Any], *, mirror: bool) -> CropSquare:
    """Give the square that a hand is read in from its joints ``(21, 2)``.

    As the published landmark graph takes its next crop: fingers up, round wrist, thumb base and the
    fingers without their ends, twice as large, moved a tenth towards the fingers.
    """
    points = np.asarray(uv_px, dtype=np.float64)
    towards = (0.5 * (points[5] + points[13]) + points[9]) / 2 - points[0]
    angle = math.atan2(towards[0], -towards[1])
    cos, sin = math.cos(angle), math.sin(angle)
    # Written out: a matrix product of twelve points would wake the BLAS threads in every frame.
    u, v = points[_SQUARE_JOINTS, 0], points[_SQUARE_JOINTS, 1]
    across, along = cos * u + sin * v, cos * v - sin * u
    left, right = float(across.min()), float(across.max())
    top, bottom = float(along.min()), float(along.max())
    size = max(right - left, bottom - top, 1.0)
    mid_across = (left + right) / 2
    mid_along = (top + bottom) / 2 - size * _SQUARE_SHIFT
    return CropSquare(
        cos * mid_across - sin * mid_along,
        sin * mid_across + cos * mid_along,
        size * _SQUARE_SCALE,
        angle,
        mirror,
    )


def apply_affine(affine: NDArray[Any], uv_px: NDArray[Any]) -> F64:
    """Take points ``(..., N, 2)`` through affines ``(..., 2, 3)``."""
    affine = np.asarray(affine, dtype=np.float64)
    points = np.asarray(uv_px, dtype=np.float64)
    moved = points @ np.swapaxes(affine[..., :2], -1, -2) + affine[..., None, :, 2]
    return np.asarray(moved)


def invert_affine(affine: NDArray[Any]) -> F64:
    """Invert one ``(2, 3)`` affine."""
    linear = np.linalg.inv(np.asarray(affine, dtype=np.float64)[:, :2])
    return np.concatenate([linear, -(linear @ affine[:, 2:])], axis=1)


def turn_xy(affine: NDArray[Any], xyz: NDArray[Any]) -> F64:
    """Turn (and un-mirror) crop-frame directions ``(..., N, 3)`` into the frame's axes.

    Only the rotation and mirror of the ``(..., 2, 3)`` affine act; lengths and z stay as they are.
    """
    linear = np.asarray(affine, dtype=np.float64)[..., :2]
    scale = np.sqrt(np.abs(np.linalg.det(linear)))[..., None, None]
    turned = np.asarray(xyz, dtype=np.float64).copy()
    turned[..., :2] = turned[..., :2] @ np.swapaxes(linear / scale, -1, -2)
    return np.asarray(turned)


def box_iou(a_uvuv_px: NDArray[Any], b_uvuv_px: NDArray[Any]) -> F64:
    """Give the intersection over union of axis-aligned boxes ``(..., 4)`` as u0, v0, u1, v1."""
    a, b = np.asarray(a_uvuv_px, dtype=np.float64), np.asarray(b_uvuv_px, dtype=np.float64)
    overlap = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inter = np.prod(np.clip(overlap, 0, None), axis=-1)
    areas = np.prod(np.clip(a[..., 2:] - a[..., :2], 0, None), axis=-1)
    areas = areas + np.prod(np.clip(b[..., 2:] - b[..., :2], 0, None), axis=-1) - inter
    return np.asarray(np.divide(inter, areas, out=np.zeros_like(inter), where=areas > 0))


def points_box(uv_px: NDArray[Any]) -> F64:
    """Give the axis-aligned box ``(..., 4)`` round points ``(..., N, 2)``."""
    points = np.asarray(uv_px, dtype=np.float64)
    return np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)
