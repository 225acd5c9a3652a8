"""Find hands in a whole frame with the palm detector."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hdrvideo.crop.palm import PalmNet, decode_palms
from hdrvideo.crop.take import Pyramid, take_crop, to_tensor
from hdrvideo.geometry import CropSquare, box_iou

# The crop that the landmark net was trained on, as the published graph makes it: from a palm, 2.6
# times its box, moved half a box towards the fingers.
_PALM_SCALE, _PALM_SHIFT = 2.6, 0.5


@dataclass(frozen=True)
class FoundPalm:
    """A palm in a frame: its score in 0..1 and the square to crop the hand from."""

    score: float
    square: CropSquare


class PalmFinder:
    """Runs the palm net over square regions of a frame, as one batch."""

    def __init__(
        self, net: Callable[[torch.Tensor], Any], *, device: torch.device, min_score: float
    ) -> None:
        self._net = net
        self._device = device
        self._min_score = min_score

    def find(self, pyramid: Pyramid, regions: list[CropSquare]) -> list[FoundPalm]:
        """Find palms in some regions of a frame.

        Args:
            pyramid: The frame.
            regions: Upright squares, at least one; see :func:`whole_frame` and :func:`tiles`.

        Returns:
            Palms of all regions, best first; of palms that overlap only the best is kept.
        """
        crops = [take_crop(pyramid, r, PalmNet.RESOLUTION_PX, replicate=False) for r in regions]
        with torch.inference_mode():
            logits, values = self._net(to_tensor(crops).to(self._device))
        found = []
        palms_of = decode_palms(logits, values, min_score=self._min_score)
        for region, palms in zip(regions, palms_of, strict=True):
            corner = np.array([region.u_px, region.v_px]) - region.size_px / 2
            boxes = palms.box.numpy() * region.size_px + np.tile(corner, 2)
            keypoints = palms.keypoints.numpy() * region.size_px + corner
            for score, box, points in zip(palms.score.numpy(), boxes, keypoints, strict=True):
                if (box[2:] > box[:2]).all():
                    found.append((float(score), box, square_from_palm(box, points)))
        return _best_of_overlapping(found)


def _best_of_overlapping(found: list[tuple[float, Any, CropSquare]]) -> list[FoundPalm]:
    found = sorted(found, key=lambda f: -f[0])
    kept: list[tuple[float, Any, CropSquare]] = []
    for one in found:
        if all(float(box_iou(one[1], other[1])) < 0.3 for other in kept):
            kept.append(one)
    return [FoundPalm(score, square) for score, _, square in kept]


def whole_frame(height_px: int, width_px: int) -> CropSquare:
    """Give the square that holds the whole frame, black outside."""
    return CropSquare((width_px - 1) / 2, (height_px - 1) / 2, float(max(height_px, width_px)))


def tiles(height_px: int, width_px: int) -> list[CropSquare]:
    """Give overlapping squares of the short side's length along the long side.

    In the whole frame, shrunk to 192 px, a hand of 60 px in 640 is 18 px wide and often missed; in
    a tile it is larger by the ratio of the sides.
    """
    short, long = sorted((height_px, width_px))
    n = max(math.ceil(long / short * 1.25), 2) if long > short else 1
    middles = np.linspace((short - 1) / 2, long - 1 - (short - 1) / 2, n)
    across = (short - 1) / 2
    if width_px >= height_px:
        return [CropSquare(float(m), across, float(short)) for m in middles]
    return [CropSquare(across, float(m), float(short)) for m in middles]


def square_from_palm(box_uvuv_px: NDArray[Any], keypoints_px: NDArray[Any]) -> CropSquare:
    """Give the hand's square from a palm's box ``(4,)`` and its keypoints ``(7, 2)``."""
    towards = keypoints_px[2] - keypoints_px[0]
    angle = math.atan2(towards[0], -towards[1])
    size = float((box_uvuv_px[2:] - box_uvuv_px[:2]).max())
    u, v = (box_uvuv_px[2:] + box_uvuv_px[:2]) / 2
    shift = size * _PALM_SHIFT
    return CropSquare(
        float(u) + shift * math.sin(angle),
        float(v) - shift * math.cos(angle),
        size * _PALM_SCALE,
        angle,
    )
