"""What crosses a stage: frozen dataclasses that check themselves.

Conventions, once for all:

* Axes: ``B`` crops, ``T`` frames of a window, ``S`` sides (0 = right, 1 = left), ``J`` = 21
  joints, ``C`` channels, ``H W`` pixels. Tensors are ``B T C H W``.
* Pixels: an integer coordinate is a pixel centre, u right, v down. Names end in ``_px``.
* Space: millimetres, camera axes (x right, y down, z forward). ``xyz_rel_mm`` is relative to the
  wrist, ``xyz_cam_mm`` is in the camera.
* Colour: RGB; ``_u8`` is 0-255 ``H W C`` at the edges, float 0-1 ``C H W`` inside.
* Time: integer ``pts`` times exact ``time_base``; ``pts_seconds`` is derived; an index is no time.
* Missing is NaN plus a boolean, never 0 or -1.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import ShapeError

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

N_SIDES = 2
N_JOINTS = 21


def check_array(name: str, value: Any, shape: tuple[int | None, ...], kind: str) -> None:
    """Raise unless ``value`` is an array of this shape (None = any length) and kind.

    Args:
        name: What to call the array in the error.
        value: The array to look at (NumPy array or torch tensor).
        shape: Expected length of each axis; None accepts any.
        kind: Expected dtype, as text that the array's dtype ends with, such as ``float32``.

    Raises:
        ShapeError: With the found and the expected shape and type.
    """
    found = tuple(int(n) for n in getattr(value, "shape", ()))
    fits = len(found) == len(shape) and all(
        want is None or want == have for want, have in zip(shape, found, strict=True)
    )
    dtype = str(getattr(value, "dtype", type(value).__name__))
    if not fits or not dtype.endswith(kind):
        wanted = tuple("any" if n is None else n for n in shape)
        raise ShapeError(f"{name} is {dtype} {found}, expected {kind} {wanted}")


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip before its first frame is decoded.

    Attributes:
        path: Where it came from, as the user wrote it.
        width: Displayed width in pixels, rotation applied.
        height: Displayed height in pixels, rotation applied.
        rotation_deg: Clockwise turn applied to show the stored picture upright: 0, 90, 180 or 270.
        rate: Average frame rate, exact; None when the container does not say.
        time_base: Seconds per pts unit, exact.
        n_frames_container: Frame count that the container claims; None when it does not say.
        is_variable_rate: True when frame durations differ; None when not known before decoding.
        has_audio: Whether an audio stream is present.
        codec: Name of the video codec, or ``images``.
        pixel_format: Stored pixel format, such as ``yuv420p10le``.
        focal_px: Focal length from metadata in pixels of the displayed width; None when absent.
    """

    path: str
    width: int
    height: int
    rotation_deg: int
    rate: Fraction | None
    time_base: Fraction
    n_frames_container: int | None
    is_variable_rate: bool | None
    has_audio: bool
    codec: str
    pixel_format: str
    focal_px: float | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ShapeError(f"clip size is {self.width}x{self.height}, expected at least 1x1")
        if self.rotation_deg not in (0, 90, 180, 270):
            raise ShapeError(f"rotation is {self.rotation_deg}, expected 0, 90, 180 or 270 degrees")
        if self.time_base <= 0:
            raise ShapeError(f"time base is {self.time_base}, expected a positive fraction")


@dataclass(frozen=True)
class Frame:
    """One source frame with its place in time; a frame that could not be decoded has no picture.

    Attributes:
        index: 0-based row in the frame ledger; every source frame has one, decoded or not.
        pts: Presentation time in units of ``time_base``.
        time_base: Seconds per pts unit, exact.
        rgb_u8: Picture ``(H, W, 3)`` uint8, upright; None when the frame could not be decoded.
        status: ``ok``; ``damaged`` (decoded, but the decoder reports damage in the picture);
            ``lost`` (no picture; ``rgb_u8`` is None).
    """

    index: int
    pts: int
    time_base: Fraction
    rgb_u8: U8 | None
    status: str = "ok"

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ShapeError(f"frame index is {self.index}, expected 0 or more")
        if self.status not in ("ok", "damaged", "lost"):
            raise ShapeError(f"frame status is {self.status!r}, expected 'ok', 'damaged' or 'lost'")
        if (self.rgb_u8 is None) != (self.status == "lost"):
            kind = type(self.rgb_u8).__name__
            raise ShapeError(f"frame {self.index} is {self.status!r} and its picture is {kind}")
        if self.rgb_u8 is not None:
            check_array("rgb_u8", self.rgb_u8, (None, None, 3), "uint8")

    @property
    def pts_seconds(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)

    def __repr__(self) -> str:
        size = "none" if self.rgb_u8 is None else f"{self.rgb_u8.shape[1]}x{self.rgb_u8.shape[0]}"
        when = f"pts={self.pts}, {self.pts_seconds:.4f} s"
        return f"Frame(index={self.index}, {when}, {size}, {self.status})"


@dataclass(frozen=True)
class HandCrops:
    """A batch of hand crops, each with its way back to its frame.

    Attributes:
        rgb: ``(B, 3, R, R)`` float32 torch tensor in 0..1.
        frame_from_crop: ``(B, 2, 3)`` float64, crop pixels to frame pixels; holds the mirror.
        mirrored: ``(B,)`` bool; the crop shows the hand mirrored.
        masks: ``(B, 4, R, R)`` float32 torch tensor in 0..1, what HDRM goes by: own_visible,
            own_amodal, other_visible, other_amodal; zeros where there is no mask. None = the
            crops are to be read as they are.
    """

    rgb: Any
    frame_from_crop: NDArray[np.float64]
    mirrored: Bool
    masks: Any = None

    def __post_init__(self) -> None:
        b = len(self.mirrored)
        check_array("rgb", self.rgb, (b, 3, None, None), "float32")
        check_array("frame_from_crop", self.frame_from_crop, (b, 2, 3), "float64")
        check_array("mirrored", self.mirrored, (b,), "bool")
        if self.masks is not None:
            check_array("masks", self.masks, (b, 4, *self.rgb.shape[2:]), "float32")

    def only(self, keep: Bool) -> "HandCrops":
        """Give those of the crops where ``(B,)`` is True."""
        at = np.flatnonzero(keep)
        masks = None if self.masks is None else self.masks[at]
        return HandCrops(self.rgb[at], self.frame_from_crop[at], self.mirrored[at], masks)


@dataclass(frozen=True)
class KeptCrop:
    """A hand's crop that is kept beside a track.

    Attributes:
        frame_from_crop: ``(2, 3)`` float64, crop pixels to frame pixels; holds the mirror.
        jpeg: The picture, a JPEG file.
        painted: The picture shows the hand whole and alone, as HDRM painted it; else as it is.
    """

    frame_from_crop: NDArray[np.float64]
    jpeg: bytes
    painted: bool

    def __post_init__(self) -> None:
        check_array("frame_from_crop", self.frame_from_crop, (2, 3), "float64")


@dataclass(frozen=True)
class HandPoses:
    """A batch of hands as one picture shows them, in frame pixels and camera axes.

    Attributes:
        uv_px: ``(B, 21, 2)`` float32, in the frame; may lie outside the picture. A hand is followed
            by these.
        xyz_mm: ``(B, 21, 3)`` float32, camera axes; any origin, scale guessed.
        presence: ``(B,)`` float32 in 0..1, is there a hand.
        right_score: ``(B,)`` float32 in 0..1, does it look like a right hand in the frame as shown.
        confidence: ``(B, 21)`` float32 in 0..1.
        refine_px: ``(B, 21, 2)`` float32, the way in the frame from ``uv_px`` to where the joints
            are thought to be, all in all.
    """

    uv_px: F32
    xyz_mm: F32
    presence: F32
    right_score: F32
    confidence: F32
    refine_px: F32

    def __post_init__(self) -> None:
        b = len(self.presence)
        check_array("uv_px", self.uv_px, (b, N_JOINTS, 2), "float32")
        check_array("xyz_mm", self.xyz_mm, (b, N_JOINTS, 3), "float32")
        check_array("presence", self.presence, (b,), "float32")
        check_array("right_score", self.right_score, (b,), "float32")
        check_array("confidence", self.confidence, (b, N_JOINTS), "float32")
        check_array("refine_px", self.refine_px, (b, N_JOINTS, 2), "float32")

    def __len__(self) -> int:
        return len(self.presence)
