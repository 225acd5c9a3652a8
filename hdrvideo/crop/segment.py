"""See both hands in a square of a frame, masks and joints: the whole frame, or round a pair."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from hdrvideo.crop.take import Pyramid, take_crop, to_tensor
from hdrvideo.datatypes import F32, N_SIDES, U8
from hdrvideo.geometry import F64, CropSquare, apply_affine, invert_affine
from hdrvideo.handmask import HandMask

# Side of the square round two hands over the longer side of their box, and its least part of the
# frame's longer side: a hand can move so far from one frame to the next.
_PAIR_SCALE: Final = 1.4
_LEAST_SHARE: Final = 1 / 8
# Mask pixels below which a hand is not there.
_LEAST_PIXELS: Final = 12


Hints = tuple[HandMask | None, HandMask | None]


class MaskBatch(Protocol):
    """What a segmentation net says of a batch; probabilities by side (0 right, 1 left)."""

    @property
    def amodal(self) -> Tensor:
        """``(B, 2, h, w)`` of the whole hand."""

    @property
    def visible(self) -> Tensor:
        """``(B, 2, h, w)`` of what is seen of it; at most :attr:`amodal`."""

    @property
    def presence(self) -> Tensor:
        """``(B, 2)`` that the hand is in the picture."""


class JointBatch(Protocol):
    """What it says of joints; by side, whether the hand is there or not."""

    @property
    def uv_px(self) -> Tensor:
        """``(B, 2, 21, 2)`` in the picture."""

    @property
    def xyz_mm(self) -> Tensor:
        """``(B, 2, 21, 3)`` from the own wrist, the picture's axes."""

    @property
    def confidence(self) -> Tensor:
        """``(B, 2, 21)`` in 0..1."""


class PairBatch(Protocol):
    """Both."""

    @property
    def masks(self) -> MaskBatch:
        """The masks."""

    @property
    def joints(self) -> JointBatch:
        """The joints."""


@dataclass(frozen=True)
class SeenPose:
    """One hand's joints as a look at both hands tells them.

    Attributes:
        uv_px: ``(21, 2)`` float32 in the frame.
        xyz_mm: ``(21, 3)`` float32 from the wrist, camera axes, scale guessed.
        confidence: ``(21,)`` float32 in 0..1.
    """

    uv_px: F32
    xyz_mm: F32
    confidence: F32


@dataclass(frozen=True)
class SeenHands:
    """Both hands as one look at a frame shows them, by side as shown (0 right, 1 left).

    Attributes:
        masks: The masks; None where no pixel is taken for the hand.
        presence: ``(2,)`` float32 in 0..1.
        hinted: The look was told where the hands were, so the sides are those it was told.
        poses: The joints; None where there is no mask.
    """

    masks: tuple[HandMask | None, HandMask | None]
    presence: F32
    hinted: bool = False
    poses: tuple[SeenPose | None, SeenPose | None] = (None, None)


class Segmenter:
    """Looks at squares of frames."""

    def __init__(self, net: Callable[[Tensor], PairBatch], *, resolution_px: int) -> None:
        self._net = net
        self._resolution_px = resolution_px

    def __call__(
        self, pyramid: Pyramid, square: CropSquare, hints: Hints | None = None
    ) -> SeenHands:
        """Look at an upright square of a frame, black outside.

        Args:
            pyramid: The frame.
            square: Where to look.
            hints: The whole hands' masks of a moment ago by side (0 right, 1 left), None for a hand
                that was not there; None = nothing is known.
        """
        size = self._resolution_px
        crop = to_tensor([take_crop(pyramid, square, size, replicate=False)])
        said = self._net(torch.cat([crop, draw_hints(hints, square, size)], dim=1))
        visible, amodal = (_to_u8(p[0].numpy()) for p in (said.masks.visible, said.masks.amodal))
        masks = [_clean(square, visible[side], amodal[side]) for side in range(N_SIDES)]
        presence = np.asarray(said.masks.presence[0].numpy(), np.float32)
        right, left = (
            None if mask is None else _pose(square, size, said.joints, side)
            for side, mask in enumerate(masks)
        )
        return SeenHands((masks[0], masks[1]), presence, hints is not None, (right, left))


def draw_hints(hints: Hints | None, square: CropSquare, resolution_px: int) -> Tensor:
    """Draw hints into a square: ``(1, 3, R, R)`` right, left, and 1 where anything is known."""
    drawn = np.zeros((N_SIDES + 1, resolution_px, resolution_px), dtype=np.float32)
    if hints is None:
        return torch.from_numpy(drawn)[None]
    drawn[N_SIDES] = 1
    for side, mask in enumerate(hints):
        if mask is None:
            continue
        frame_from_mask = mask.square.frame_from_crop(len(mask.amodal_u8))
        linear, offset = np.split(invert_affine(frame_from_mask), [2], axis=1)
        to_frame = square.frame_from_crop(resolution_px)
        mask_from_crop = linear @ to_frame
        mask_from_crop[:, 2:] += offset
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(
            mask.amodal_u8, mask_from_crop, (resolution_px, resolution_px), flags=flags
        )
        drawn[side] = moved * np.float32(1 / 255)
    return torch.from_numpy(drawn)[None]


def pair_square(boxes_uvuv_px: list[F64], height_px: int, width_px: int) -> CropSquare:
    """Give the square round all boxes ``(4,)`` of hands, at least one."""
    boxes = np.stack(boxes_uvuv_px)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    longer = float((high - low).max())
    side = max(_PAIR_SCALE * longer, _LEAST_SHARE * max(height_px, width_px))
    u, v = (low + high) / 2
    return CropSquare(float(u), float(v), side)


def _pose(square: CropSquare, size_px: int, joints: JointBatch, side: int) -> SeenPose:
    uv_px, xyz_mm, confidence = (
        np.asarray(values[0, side].numpy(), np.float32)
        for values in (joints.uv_px, joints.xyz_mm, joints.confidence)
    )
    # The square is upright and not mirrored: the picture's axes are the frame's.
    uv_px = apply_affine(square.frame_from_crop(size_px), uv_px).astype(np.float32)
    return SeenPose(uv_px, xyz_mm, confidence)


def _to_u8(probability: F32) -> U8:
    return (probability * 255 + 0.5).astype(np.uint8)


def _clean(square: CropSquare, visible_u8: U8, amodal_u8: U8) -> HandMask | None:
    """Keep the largest piece: a hand is one piece, and crumbs would spoil its box."""
    marked = (amodal_u8 >= 128).astype(np.uint8)
    n, labels, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=8)
    if n < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if stats[largest, cv2.CC_STAT_AREA] < _LEAST_PIXELS:
        return None
    crumbs = (labels > 0) & (labels != largest)
    keep = np.where(crumbs, 0, 255).astype(np.uint8)
    return HandMask(square, np.minimum(visible_u8, keep), np.minimum(amodal_u8, keep))
