"""Take square crops out of a frame; the way back travels with them."""

import math

import cv2
import numpy as np
import torch

from hdrvideo.datatypes import U8, HandCrops
from hdrvideo.geometry import F64, CropSquare
from hdrvideo.handmask import HandMask

# A hand's own mask, and the other hand's.
OwnAndOther = tuple[HandMask | None, HandMask | None]


class Pyramid:
    """A frame and its halved copies, made when first needed.

    A crop that shrinks the picture more than twofold is taken from a halved copy: sampling the full
    frame with a bilinear kernel would alias, and the detector misses small hands for it.
    """

    def __init__(self, rgb_u8: U8) -> None:
        self._levels = [rgb_u8]

    @property
    def shape_px(self) -> tuple[int, int]:
        """Height and width of the full frame."""
        height, width = self._levels[0].shape[:2]
        return height, width

    def level(self, n: int) -> U8:
        """Give the picture halved ``n`` times (sizes round down, at least one pixel)."""
        while len(self._levels) <= n:
            last = self._levels[-1]
            size = (max(last.shape[1] // 2, 1), max(last.shape[0] // 2, 1))
            self._levels.append(np.asarray(cv2.resize(last, size, interpolation=cv2.INTER_AREA)))
        return self._levels[n]


def take_crop(pyramid: Pyramid, square: CropSquare, resolution_px: int, *, replicate: bool) -> U8:
    """Sample one square, bilinear.

    Args:
        pyramid: The frame.
        square: Where.
        resolution_px: Side of the crop in its own pixels.
        replicate: Outside the frame, repeat its border (True) or give black (False).

    Returns:
        ``(R, R, 3)`` uint8.
    """
    affine = square.frame_from_crop(resolution_px)
    shrink = square.size_px / resolution_px
    n = max(int(math.log2(shrink)), 0) if shrink > 1 else 0
    source = pyramid.level(n)
    if n:
        height, width = pyramid.shape_px
        scale = np.array([source.shape[1] / width, source.shape[0] / height])
        # Pixel centres: u_small = (u + 0.5) * scale - 0.5.
        affine = affine * scale[:, None]
        affine[:, 2] += 0.5 * scale - 0.5
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(
        source, affine, (resolution_px, resolution_px), flags=flags, borderMode=border
    )
    return np.asarray(crop)


def to_tensor(crops_u8: list[U8]) -> torch.Tensor:
    """Stack crops ``(R, R, 3)`` uint8 into ``(B, 3, R, R)`` float32 in 0..1, channels last."""
    # NumPy scales here, not torch: torch's worker threads would spin on and slow the net's own.
    scaled = np.multiply(np.stack(crops_u8), np.float32(1 / 255), dtype=np.float32)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)


def take_hands(
    pyramid: Pyramid,
    squares: list[CropSquare],
    resolution_px: int,
    masks: list[OwnAndOther] | None = None,
) -> HandCrops:
    """Take the crops of one frame's hands.

    Args:
        pyramid: The frame.
        squares: One a hand, at least one.
        resolution_px: Side of the crops in their own pixels.
        masks: One pair a hand, to paint it by; None = the hands are to be read as they are.

    Returns:
        The crops with their way back.
    """
    crops = [take_crop(pyramid, s, resolution_px, replicate=True) for s in squares]
    affines = np.stack([s.frame_from_crop(resolution_px) for s in squares])
    return HandCrops(
        rgb=to_tensor(crops),
        frame_from_crop=affines,
        mirrored=np.array([s.mirror for s in squares]),
        masks=None if masks is None else take_masks(masks, affines, resolution_px),
    )


def take_masks(masks: list[OwnAndOther], affines: F64, resolution_px: int) -> torch.Tensor:
    """Cut masks as crops are cut.

    Args:
        masks: One pair a hand.
        affines: ``(B, 2, 3)``, crop pixels to frame pixels.
        resolution_px: Side of the crops, R.

    Returns:
        ``(B, 4, R, R)`` float32; see :class:`~hdrvideo.datatypes.HandCrops`.
    """
    cut = np.zeros((len(masks), 2, 2, resolution_px, resolution_px), dtype=np.float32)
    for crop, pair, affine in zip(cut, masks, affines, strict=True):
        for kinds, mask in zip(crop, pair, strict=True):
            if mask is not None:
                kinds[:] = mask.in_crop(affine, resolution_px)
    return torch.from_numpy(cut).flatten(1, 2)
