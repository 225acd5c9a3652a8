"""What the camera and the pipeline may do to a labelled picture before a net sees it.

A *view* is the square that the net is shown: the whole frame, letterboxed, as when hands are looked
for; or a square round the hands, as when they are followed. Mirroring swaps the sides: a plain flip
would teach that either hand may be either side.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.config import check_number
from hdrvideo.datatypes import F32, N_SIDES, U8, Bool, check_array
from hdrvideo.errors import SettingsError
from hdrvideo.train.hints import draw_hints
from hdrvideo.train.pair_truth import PairTruth, PictureJoints, joints_in_view

F64 = NDArray[np.float64]
# Rows and columns of a view.
Kept = tuple[slice, slice]
# Part of a hand that must be in the view for "it is there" to be beyond doubt.
_CLEARLY_IN = 0.5
# Pixels of a hand, in a picture 192 wide, below which it is not there (as in the made world).
_LEAST_PIXELS = 12


@dataclass(frozen=True)
class LabelledPicture:
    """A picture with both hands' masks.

    Attributes:
        rgb_u8: ``(H, W, 3)``.
        visible: ``(2, H, W)`` bool, sides 0 right, 1 left.
        amodal: ``(2, H, W)`` bool.
        joints: Both hands' joints; None = not known.
    """

    rgb_u8: U8
    visible: Bool
    amodal: Bool
    joints: PictureJoints | None = None

    def __post_init__(self) -> None:
        h, w = self.rgb_u8.shape[:2]
        check_array("rgb_u8", self.rgb_u8, (h, w, 3), "uint8")
        check_array("visible", self.visible, (2, h, w), "bool")
        check_array("amodal", self.amodal, (2, h, w), "bool")


@dataclass(frozen=True)
class MaskExample:
    """One example as the net sees it, ``R`` wide, masks at stride 2.

    Attributes:
        rgb_u8: ``(R, R, 3)``.
        visible: ``(2, R/2, R/2)`` float32 covered part of each cell, 0..1.
        amodal: ``(2, R/2, R/2)`` float32.
        hints: ``(3, R/2, R/2)`` float32; see :func:`hdrvideo.train.hints.draw_hints`.
        present: ``(2,)`` float32, 0 or 1.
        present_weight: ``(2,)`` float32; 0 for a hand that is mostly outside the view.
        pair: What is known of joints.
    """

    rgb_u8: U8
    visible: F32
    amodal: F32
    hints: F32
    present: F32
    present_weight: F32
    pair: PairTruth


@dataclass(frozen=True)
class ViewSettings:
    """How views are drawn.

    Attributes:
        resolution_px: Side of what the net sees, a multiple of 32.
        pair_share: Part of the pictures with hands that are shown round the hands.
        pair_scale: Least and most side of that view over the longer side of the hands' box.
        frame_scale: Least and most side of the other view over the picture's longer side.
        turn_deg: Standard deviation of the turn.
        letterbox_share: Part of the whole frames with black bars.
        hint_share: Part of the examples with hints.
        spoil: How often each kind of damage happens, 0..1; 0 leaves colours alone, too.
    """

    resolution_px: int = 192
    pair_share: float = 0.5
    pair_scale: tuple[float, float] = (1.1, 2.2)
    frame_scale: tuple[float, float] = (0.7, 1.4)
    turn_deg: float = 12.0
    letterbox_share: float = 0.4
    hint_share: float = 0.55
    spoil: float = 0.25

    def __post_init__(self) -> None:
        check_number("ViewSettings.resolution_px", self.resolution_px, 32, 4096, whole=True)
        if self.resolution_px % 32:
            raise SettingsError(
                f"ViewSettings.resolution_px is {self.resolution_px}, expected a multiple of 32"
            )
        for name in ("pair_share", "letterbox_share", "hint_share", "spoil"):
            check_number(f"ViewSettings.{name}", getattr(self, name), 0, 1)
        check_number("ViewSettings.turn_deg", self.turn_deg, 0, 180)
        for name in ("pair_scale", "frame_scale"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) != 2:
                raise SettingsError(
                    f"ViewSettings.{name} is {value!r}, expected two numbers, least and most"
                )
            check_number(f"ViewSettings.{name}, least,", value[0], 0.1, 10)
            check_number(f"ViewSettings.{name}, most,", value[1], value[0], 10)


def draw_example(
    picture: LabelledPicture, rng: np.random.Generator, settings: ViewSettings
) -> MaskExample:
    """Draw a view of a picture, spoil its colours, and cut out both."""
    height, width = picture.rgb_u8.shape[:2]
    boxes = [_box(mask) for mask in picture.amodal if mask.any()]
    is_pair = bool(boxes) and rng.random() < settings.pair_share
    if is_pair:
        box = np.array([*np.min(boxes, axis=0)[:2], *np.max(boxes, axis=0)[2:]])
        longer = max(box[2] - box[0], box[3] - box[1], 24.0)
        side = longer * math.exp(rng.uniform(*np.log(settings.pair_scale)))
        middle = (box[:2] + box[2:]) / 2 + rng.uniform(-0.12, 0.12, 2) * side
    else:
        side = max(height, width) * math.exp(rng.uniform(*np.log(settings.frame_scale)))
        middle = np.array([width - 1, height - 1]) / 2 + rng.uniform(-0.15, 0.15, 2) * side
    angle = math.radians(settings.turn_deg) * rng.standard_normal() * (1.5 if is_pair else 1.0)
    mirror = bool(rng.random() < 0.5)
    affine = source_from_view(middle, side, angle, settings.resolution_px, mirror=mirror)
    kept = None
    if not is_pair and rng.random() < settings.letterbox_share:
        kept = _draw_bars(rng, settings.resolution_px)
    example = take_view(picture, affine, settings.resolution_px, mirror=mirror, kept=kept)
    rgb_u8 = spoil_colours(example.rgb_u8, rng, settings.spoil)
    hints = draw_hints(example.amodal, rng, none_share=1 - settings.hint_share)
    return replace(example, rgb_u8=_blackened(rgb_u8, kept), hints=hints)


def source_from_view(
    middle_px: F64, side_px: float, angle_rad: float, resolution_px: int, *, mirror: bool
) -> F64:
    """Give the ``(2, 3)`` affine from view pixels to picture pixels (centres are integers)."""
    scale = side_px / resolution_px
    cos, sin = math.cos(angle_rad) * scale, math.sin(angle_rad) * scale
    flip = -1.0 if mirror else 1.0
    linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
    offset = middle_px - linear @ np.full(2, (resolution_px - 1) / 2)
    return np.concatenate([linear, offset[:, None]], axis=1)


def take_view(
    picture: LabelledPicture,
    affine: F64,
    resolution_px: int,
    *,
    mirror: bool,
    kept: Kept | None = None,
) -> MaskExample:
    """Cut a view out of a labelled picture; a mirrored view has its sides swapped.

    Args:
        picture: The picture.
        affine: From :func:`source_from_view`.
        resolution_px: Side of the view.
        mirror: The affine mirrors.
        kept: Rows and columns that black bars are to leave, even numbers; beyond them there is no
            hand. The picture is left as it is, because it is spoiled before bars are drawn.
    """
    size = (resolution_px, resolution_px)
    rgb_u8 = _sample(picture.rgb_u8, affine, size)
    masks = np.concatenate([picture.visible, picture.amodal]).astype(np.uint8) * 255
    warped = _sample(np.ascontiguousarray(masks.transpose(1, 2, 0)), affine, size)
    half = (resolution_px // 2, resolution_px // 2)
    cells = cv2.resize(warped, half, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    visible, amodal = cells[..., :2].transpose(2, 0, 1), cells[..., 2:].transpose(2, 0, 1)
    if mirror:
        visible, amodal = visible[::-1], amodal[::-1]
    if kept is not None:
        cells_kept = tuple(slice(k.start // 2, k.stop // 2) for k in kept)
        visible, amodal = (_blackened(m, (slice(None), *cells_kept)) for m in (visible, amodal))
    visible, amodal = np.ascontiguousarray(visible), np.ascontiguousarray(amodal)
    none = np.zeros((N_SIDES + 1, *half), dtype=np.float32)
    scale = math.sqrt(abs(np.linalg.det(affine[:, :2])))
    whole_px = picture.amodal.reshape(2, -1).sum(axis=1) / scale**2
    present, weight = _presence(amodal, whole_px[::-1] if mirror else whole_px, resolution_px)
    shown = kept or (slice(0, resolution_px), slice(0, resolution_px))
    rows, columns = ((s.start, s.stop) for s in shown)
    pair = joints_in_view(picture.joints, affine, rows, columns, mirror=mirror)
    return MaskExample(rgb_u8, np.minimum(visible, amodal), amodal, none, present, weight, pair)


def _presence(amodal: F32, whole_px: F64, resolution_px: int) -> tuple[F32, F32]:
    inside_px = amodal.reshape(2, -1).sum(axis=1) * 4
    least_px = _LEAST_PIXELS * (resolution_px / 192) ** 2
    present = (inside_px >= least_px).astype(np.float32)
    clear = (inside_px >= _CLEARLY_IN * whole_px) | (inside_px == 0)
    return present, clear.astype(np.float32)


def _sample(source: U8, affine: F64, size: tuple[int, int]) -> U8:
    """Sample with a kernel as wide as the shrinkage, black outside."""
    shrink = math.sqrt(abs(np.linalg.det(affine[:, :2])))
    if shrink > 1.5:
        # A box filter first: a bilinear kernel alone would alias.
        box = _box_kernel(shrink)
        source = np.asarray(cv2.sepFilter2D(source, -1, box, box))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(source, affine, size, flags=flags))


def _box_kernel(width_px: float) -> F32:
    """Give a box of any width as an odd kernel, so that it moves nothing by half a pixel."""
    reach = math.ceil((width_px - 1) / 2)
    kernel = np.ones(2 * reach + 1, dtype=np.float32)
    kernel[[0, -1]] = (width_px - (2 * reach - 1)) / 2
    return np.asarray(kernel / width_px, np.float32)


def _box(mask: Bool) -> F64:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float64)


def _draw_bars(rng: np.random.Generator, resolution_px: int) -> Kept:
    """Give the rows and columns that a letterboxed frame keeps, to whole cells of the masks."""
    aspect = float(rng.choice([4 / 3, 16 / 9, 3 / 4, 9 / 16]))
    kept = round(resolution_px * min(aspect, 1 / aspect) / 4) * 4
    start = (resolution_px - kept) // 2
    inside, whole = slice(start, start + kept), slice(0, resolution_px)
    return (inside, whole) if aspect > 1 else (whole, inside)


def _blackened(values: NDArray[Any], kept: tuple[slice, ...] | None) -> NDArray[Any]:
    """Put zeros wherever bars lie."""
    if kept is None:
        return values
    left = np.zeros_like(values)
    left[kept] = values[kept]
    return left


def spoil_colours(rgb_u8: U8, rng: np.random.Generator, share: float) -> U8:
    """Change light and colour, and now and then blur, coarsen, compress or add noise."""
    if share == 0:
        return rgb_u8
    picture: NDArray[Any] = rgb_u8.astype(np.float32) / 255
    picture = picture * rng.uniform(0.85, 1.18, 3).astype(np.float32)
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * np.float32(rng.uniform(0.4, 1.4))
    level = np.float32(picture.mean())
    picture = level + (picture - level) * np.float32(rng.uniform(0.75, 1.25))
    picture = np.clip(picture * np.float32(rng.uniform(0.75, 1.25)), 0, 1)
    picture = picture ** np.float32(math.exp(0.25 * rng.standard_normal()))
    size = rgb_u8.shape[1], rgb_u8.shape[0]
    if rng.random() < share:
        picture = cv2.filter2D(picture, -1, _streak(rng))
    if rng.random() < share:
        small = max(int(size[0] / rng.uniform(1.2, 3.0)), 16)
        coarse = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    if rng.random() < share:
        noise = rng.standard_normal(rgb_u8.shape, dtype=np.float32)
        picture = picture + noise * np.float32(rng.uniform(0.01, 0.06))
    out = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < share:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))]
        # Red and blue are exchanged and come back as they went.
        jpeg_u8 = cv2.imencode(".jpg", out, quality)[1]
        out = np.asarray(cv2.imdecode(jpeg_u8, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(out, np.uint8)


def _streak(rng: np.random.Generator) -> F32:
    """Give the kernel of a short movement of the camera."""
    length = int(rng.integers(2, 6))
    angle = rng.uniform(0, math.pi)
    kernel = np.zeros((2 * length + 1, 2 * length + 1), dtype=np.float32)
    reach = np.linspace(-length, length, 8 * length + 1)
    rows = np.round(length + reach * math.sin(angle)).astype(int)
    columns = np.round(length + reach * math.cos(angle)).astype(int)
    kernel[rows, columns] = 1
    return np.asarray(kernel / kernel.sum())
