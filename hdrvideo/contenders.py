"""What a comparison looks at, and how each kind of system is asked; see ``comparing.py``.

Hands are given: crops, pairs and masks come from the truth. Every system is asked of one hand, or
one pair, at a time, and only what it does itself is timed: cutting crops out is not, of nets that
take crops; bringing masks to its own squares and back is, as it is part of completing masks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from hdrvideo.crop.segment import Hints, Segmenter, pair_square
from hdrvideo.crop.take import Pyramid, take_crop, take_hands, to_tensor
from hdrvideo.datatypes import F32, N_JOINTS, N_SIDES, U8, Bool, HandCrops
from hdrvideo.frame.detmaps import REFERENCE_BONE_MM
from hdrvideo.frame.hasm import HandMasks, Hasm
from hdrvideo.frame.hdrm import find_regions, paint_weight
from hdrvideo.frame.stage import FrameStage, Painter
from hdrvideo.geometry import F64, CropSquare, apply_affine, invert_affine, square_from_pose
from hdrvideo.hand import LEFT
from hdrvideo.handmask import HandMask
from hdrvideo.validate.squares import frame_from_square
from hdrvideo.validate.truth import ClipTruth

Masks = tuple[Bool, Bool]
T = TypeVar("T")
# Side of the crops that are painted, as `annotate` has them.
PAINT_PX: Final = 224
_TELEA_RADIUS_PX: Final = 3
_TELEA_GROW_PX: Final = 4


class View:
    """A frame with its truth, and what systems look at of it."""

    def __init__(self, rgb_u8: U8, truth: ClipTruth, frame: int, counted: Bool) -> None:
        """Take a frame.

        Args:
            rgb_u8: ``(H, W, 3)``.
            truth: Of its clip.
            frame: Its row there.
            counted: ``(2,)`` the hands to be read.
        """
        self.rgb_u8, self.truth, self.frame, self.counted = rgb_u8, truth, frame, counted
        self.pyramid = Pyramid(rgb_u8)
        self.visible, self.amodal = truth.masks(frame)

    @property
    def present(self) -> Bool:
        """``(2,)`` the hands that are in the picture."""
        return np.asarray(self.truth.present[self.frame])

    @cached_property
    def pair(self) -> CropSquare:
        """The upright square round both hands' true whole masks, or round the only one's."""
        boxes = [_box(mask) for mask in self.amodal if mask.any()]
        return pair_square(boxes, *self.rgb_u8.shape[:2])

    @cached_property
    def seen_pair(self) -> CropSquare:
        """The same round what is seen of the hands, so that it does not tell what is hidden."""
        boxes = [_box(mask) for mask in self.visible if mask.any()]
        return pair_square(boxes, *self.rgb_u8.shape[:2]) if boxes else self.pair

    @cached_property
    def rgb(self) -> Tensor:
        """The picture ``(1, 3, H, W)`` in 0..1."""
        return to_tensor([self.rgb_u8])

    def square(self, side: int) -> CropSquare:
        """Give the square round a hand's true joints, as tracking takes it."""
        return square_from_pose(self.truth.uv_px[self.frame, side], mirror=side == LEFT)

    def crops(self, side: int, resolution_px: int, *, masked: bool = False) -> HandCrops:
        """Cut a hand out, and with ``masked`` the true masks, too."""
        crops = take_hands(self.pyramid, [self.square(side)], resolution_px)
        if not masked:
            return crops
        masks = torch.from_numpy(self.crop_masks(side, resolution_px))[None]
        return HandCrops(crops.rgb, crops.frame_from_crop, crops.mirrored, masks)

    def crop_masks(self, side: int, resolution_px: int) -> F32:
        """Cut the true masks ``(4, R, R)`` 0..1 as the crop is; nothing beyond the picture."""
        other = 1 - side
        layers = (self.visible[side], self.amodal[side], self.visible[other], self.amodal[other])
        pyramid = Pyramid(np.dstack(layers).astype(np.uint8) * 255)
        cut = take_crop(pyramid, self.square(side), resolution_px, replicate=False)
        return np.ascontiguousarray(cut.transpose(2, 0, 1) * np.float32(1 / 255))

    def bare(self, side: int, resolution_px: int) -> tuple[F32, Bool]:
        """Give the hand whole and alone in its crop ``(3, R, R)`` 0..1, and where it is known."""
        square = self.truth.square(self.frame)
        from_frame = invert_affine(frame_from_square(square))
        affine = from_frame[:, :2] @ self.square(side).frame_from_crop(resolution_px)
        affine[:, 2] += from_frame[:, 2]
        bare_u8, size = self.truth.bare_u8(self.frame, side), (resolution_px, resolution_px)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(bare_u8, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        whole = np.full(bare_u8.shape[:2], 255, np.uint8)
        known = cv2.warpAffine(whole, affine, size, flags=flags) == 255
        return (warped.transpose(2, 0, 1) / np.float32(255)).astype(np.float32), np.asarray(known)


def _box(mask: Bool) -> F64:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5])


@dataclass(frozen=True)
class ReadPair:
    """Both hands' joints of a frame, by side; NaN for a hand that was not asked for.

    Attributes:
        uv_px: ``(2, 21, 2)`` in the frame.
        xyz_mm: ``(2, 21, 3)`` as the system says it, camera axes, any origin.
        confidence: ``(2, 21)`` in 0..1.
        way_mm: Way in depth from the right to the left wrist; None = the system tells none.
    """

    uv_px: F64
    xyz_mm: F64
    confidence: F64
    way_mm: float | None = None


def timed(seconds: list[float], call: Callable[..., T], *arguments: Any) -> T:
    """Call something and note how long it took."""
    start = time.perf_counter()
    answer = call(*arguments)
    seconds.append(time.perf_counter() - start)
    return answer


class PoseRunner(Protocol):
    """What reads joints must offer."""

    def read(self, view: View, seconds: list[float]) -> ReadPair:
        """Read the counted hands of a frame; what it takes goes to ``seconds``."""


class CropPose:
    """A :class:`FrameStage`, asked of one hand's crop at a time."""

    def __init__(self, stage: FrameStage, painter: Painter | None = None) -> None:
        """Take what reads crops; and what paints them first by the true masks."""
        self._stage, self._painter = stage, painter

    def read(self, view: View, seconds: list[float]) -> ReadPair:
        """See :class:`PoseRunner`."""
        uv_px, xyz_mm, confidence = _nothing()
        for side in np.flatnonzero(view.counted).tolist():
            masked = self._painter is not None
            crops = view.crops(side, self._stage.resolution_px, masked=masked)
            poses = timed(seconds, self._read, crops)
            uv_px[side] = (poses.uv_px + poses.refine_px)[0]
            xyz_mm[side], confidence[side] = poses.xyz_mm[0], poses.confidence[0]
        return ReadPair(uv_px, xyz_mm, confidence)

    def _read(self, crops: HandCrops) -> Any:
        if self._painter is not None:
            bare = self._painter(crops.rgb, crops.masks)
            crops = HandCrops(bare.rgb, crops.frame_from_crop, crops.mirrored)
        return self._stage(crops)


class PairPose:
    """A net that reads both hands' joints from the square round them, black beyond the picture."""

    def __init__(self, net: Callable[[Tensor], Any], resolution_px: int) -> None:
        """Take a net as :class:`Hasm` or InterNet's ``InterPair``; it gets no hints."""
        self._net, self._resolution_px = net, resolution_px

    def read(self, view: View, seconds: list[float]) -> ReadPair:
        """See :class:`PoseRunner`."""
        crop = take_crop(view.pyramid, view.pair, self._resolution_px, replicate=False)
        rgb = to_tensor([crop])
        told = torch.cat([rgb, torch.zeros_like(rgb)], dim=1)
        joints = timed(seconds, self._net, told).joints
        uv_px, xyz_mm, confidence = _nothing()
        affine = view.pair.frame_from_crop(self._resolution_px)
        counted = view.counted
        uv_px[counted] = apply_affine(affine, joints.uv_px[0].numpy())[counted]
        xyz_mm[counted] = joints.xyz_mm[0].numpy()[counted]
        confidence[counted] = joints.confidence[0].numpy()[counted]
        return ReadPair(uv_px, xyz_mm, confidence, float(joints.way[0, 0]) * REFERENCE_BONE_MM)


def _nothing() -> tuple[F64, F64, F64]:
    shape = (N_SIDES, N_JOINTS)
    return np.full((*shape, 2), np.nan), np.full((*shape, 3), np.nan), np.full(shape, np.nan)


class MaskRunner(Protocol):
    """What completes masks must offer."""

    def complete(self, view: View, seconds: list[float]) -> Masks:
        """Give what is seen and what is whole, each ``(2, H, W)`` bool in the frame."""


class PlainMasks:
    """A way without a net: whole masks of one hand's true visible one."""

    def __init__(self, way: Callable[[Bool], Bool]) -> None:
        self._way = way

    def complete(self, view: View, seconds: list[float]) -> Masks:
        """See :class:`MaskRunner`."""
        whole = timed(seconds, lambda: np.stack([self._way(mask) for mask in view.visible]))
        return view.visible, whole


def as_seen(visible: Bool) -> Bool:
    """Take what is seen for the whole."""
    return visible


def hull_of(visible: Bool) -> Bool:
    """Take the convex hull of what is seen ``(H, W)`` for the whole."""
    places = np.argwhere(visible)[:, ::-1].astype(np.int32)
    hull = np.zeros(visible.shape, np.uint8)
    if len(places):
        cv2.fillConvexPoly(hull, cv2.convexHull(places), 1)
    return visible | (hull > 0)


class HasmMasks:
    """HASM on the square round both hands: without hints, or told the true visible masks as hints.

    Where it is told, what is seen is as told; added is what it says to be hidden, and what it says
    to be of the hand where the other one was told to be seen.
    """

    def __init__(self, hasm: Hasm, *, told: bool) -> None:
        self._resolution_px = hasm.resolution_px
        self._look = Segmenter(hasm, resolution_px=hasm.resolution_px)
        self._told = told
        self._last: tuple[View, Masks] | None = None

    def complete(self, view: View, seconds: list[float]) -> Masks:
        """See :class:`MaskRunner`."""
        masks = timed(seconds, self._masks, view, self._hints(view) if self._told else None)
        if self._told:
            seen, whole = masks
            hidden = whole & (~seen | view.visible[::-1])
            masks = view.visible, view.visible | hidden
        self._last = view, masks
        return masks

    def seen(self, view: View) -> Bool:
        """Give the visible masks of a frame; those of the frame before this are forgotten."""
        if self._last is None or self._last[0] is not view:
            self.complete(view, [])
        assert self._last is not None
        return self._last[1][0]

    def _masks(self, view: View, hints: Hints | None) -> Masks:
        seen = self._look(view.pyramid, view.seen_pair, hints)
        size = view.rgb_u8.shape[:2]
        pairs = [
            (np.zeros(size, bool),) * 2 if mask is None else mask.in_frame(*size)
            for mask in seen.masks
        ]
        visible, amodal = (np.stack(kind) for kind in zip(*pairs, strict=True))
        return visible, amodal

    def _hints(self, view: View) -> Hints:
        layers = np.dstack(tuple(view.visible)).astype(np.uint8) * 255
        cut = take_crop(Pyramid(layers), view.seen_pair, self._resolution_px, replicate=False)
        right, left = (
            HandMask(view.seen_pair, hand, hand) if hand.any() else None
            for hand in (np.ascontiguousarray(cut[..., side]) for side in range(N_SIDES))
        )
        return right, left


class CompletedMasks:
    """A net that completes visible masks: the true ones, or those that HASM says."""

    def __init__(
        self, complete: Callable[[Tensor, Tensor], HandMasks], source: HasmMasks | None
    ) -> None:
        """Take a completer, and who says the visible masks.

        Args:
            complete: Takes pictures ``(1, 3, H, W)`` and visible masks ``(1, 2, H, W)``.
            source: None = the truth.
        """
        self._complete, self._source = complete, source

    def complete(self, view: View, seconds: list[float]) -> Masks:
        """See :class:`MaskRunner`."""
        seen = view.visible if self._source is None else self._source.seen(view)
        told = torch.from_numpy(seen.astype(np.float32))[None]
        masks = timed(seconds, self._complete, view.rgb, told)
        return seen, np.asarray((masks.amodal[0] >= 0.5).numpy()) | seen


class PaintRunner(Protocol):
    """What paints hands must offer."""

    def paint(self, crops: HandCrops, seconds: list[float]) -> F32:
        """Paint one hand's crop by its masks: ``(3, R, R)`` in 0..1."""


class NetPaint:
    """A painter with a net, as HDRM."""

    def __init__(self, painter: Painter) -> None:
        self._painter = painter

    def paint(self, crops: HandCrops, seconds: list[float]) -> F32:
        """See :class:`PaintRunner`."""
        bare = timed(seconds, self._painter, crops.rgb, crops.masks)
        return np.asarray(bare.rgb[0].numpy(), np.float32)


class TeleaPaint:
    """OpenCV's inpainting after Telea ("An Image Inpainting Technique", 2004) of HDRM's holes."""

    def paint(self, crops: HandCrops, seconds: list[float]) -> F32:
        """See :class:`PaintRunner`."""
        rgb_u8 = np.rint(crops.rgb[0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        weight = paint_weight(find_regions(crops.masks), _TELEA_GROW_PX)
        hole = (weight[0, 0].numpy() > 0).astype(np.uint8)
        radius, way = _TELEA_RADIUS_PX, cv2.INPAINT_TELEA
        rgb_u8 = np.ascontiguousarray(rgb_u8)
        painted = timed(seconds, cv2.inpaint, rgb_u8, hole, radius, way)
        return np.asarray(painted.transpose(2, 0, 1) / np.float32(255), np.float32)


class NoPaint:
    """The crop as it is: what painting has to be better than."""

    def paint(self, crops: HandCrops, seconds: list[float]) -> F32:
        """See :class:`PaintRunner`."""
        return np.asarray(crops.rgb[0].numpy(), np.float32)
