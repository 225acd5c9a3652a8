"""FrameStage: crops in, hands in frame pixels out. The frame-level core's one door.

Parts are handed in. Today there is one: SHPE. HASM and HDRM will stand before it, in here.
"""

from typing import Protocol

import numpy as np
import torch

from hdrvideo.datatypes import HandCrops, HandPoses
from hdrvideo.frame.shpe import CropPoses
from hdrvideo.geometry import apply_affine, turn_xy


class Shpe(Protocol):
    """What a single-hand pose estimator must offer."""

    resolution_px: int

    def __call__(self, rgb: torch.Tensor) -> CropPoses:
        """Read ``(B, 3, R, R)`` crops in 0..1."""


class FrameStage:
    """Reads hands from crops, batched over hands and frames."""

    def __init__(self, *, shpe: Shpe, device: torch.device) -> None:
        self._shpe = shpe
        self._device = device

    @property
    def resolution_px(self) -> int:
        """Side of the crops that it wants."""
        return self._shpe.resolution_px

    def __call__(self, crops: HandCrops) -> HandPoses:
        """Read a batch of crops; the poses come back in their frames, un-mirrored."""
        with torch.inference_mode():
            poses = self._shpe(crops.rgb.to(self._device))
        uv_crop = poses.uv_crop_px.cpu().numpy()
        xyz_crop = poses.xyz_crop_mm.cpu().numpy()
        looks_right = poses.looks_right.cpu().numpy()
        return HandPoses(
            uv_px=apply_affine(crops.frame_from_crop, uv_crop).astype(np.float32),
            xyz_mm=turn_xy(crops.frame_from_crop, xyz_crop).astype(np.float32),
            presence=poses.presence.cpu().numpy(),
            right_score=np.where(crops.mirrored, 1 - looks_right, looks_right),
            confidence=poses.confidence.cpu().numpy(),
        )
