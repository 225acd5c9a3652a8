"""FrameStage: crops in, hands in frame pixels out. The frame-level core's one door.

Parts are handed in: SHPE, which reads a hand's joints from its crop, and HDRM, which first paints
the hand whole and alone where masks say that something hides it or lies beside it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from hdrvideo.datatypes import Bool, HandCrops, HandPoses
from hdrvideo.errors import ShapeError
from hdrvideo.frame.detnet import DetAnswer
from hdrvideo.frame.shpe import CropPoses
from hdrvideo.geometry import apply_affine, turn_xy


class Shpe(Protocol):
    """What a single-hand pose estimator must offer."""

    resolution_px: int

    def __call__(self, rgb: torch.Tensor) -> CropPoses:
        """Read ``(B, 3, R, R)`` crops in 0..1."""


class Looking(Protocol):
    """What an estimator must offer that also tells the landmark net's answer."""

    resolution_px: int

    def look(self, rgb: torch.Tensor) -> DetAnswer:
        """Read ``(B, 3, R, R)`` crops in 0..1, and tell all."""


class Painter(Protocol):
    """What HDRM must offer."""

    def __call__(self, rgb: torch.Tensor, masks: torch.Tensor) -> Any:
        """Paint crops by their masks; see :class:`hdrvideo.frame.painter.BareHands`."""


class SteadyPainter(Protocol):
    """What HDRM with a memory must offer."""

    def __call__(self, crops: HandCrops, before: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Paint crops with what is remembered; see ``SteadyHdrm`` in ``frame/painter.py``."""


class MixedShpe:
    """``shpe: small``: of each quantity our own net's answer, the landmark net's, or both.

    Both come from one pass. Confidence is our own net's, presence and side the landmark net's; so
    are the joints that a hand is followed by, as all rules of following were measured with them.

    In the mean the landmark net counts one and ours the square of its confidence: joints of smeared
    hands it draws together, and says that it is not sure (measured in asl_walk: both hands found in
    2 of 6 frames with an even mean, in 4 so).
    """

    def __init__(self, shpe: Looking, *, uv: str, xyz: str) -> None:
        """Join the answers.

        Args:
            shpe: Gives both.
            uv: Whose joints in the picture: ``own``, ``landmark``, or their weighted ``mean``.
            xyz: Whose 3D shape: ``own`` or ``landmark``.
        """
        self.resolution_px = shpe.resolution_px
        self._shpe = shpe
        self._uv = uv
        self._xyz = xyz

    def __call__(self, rgb: torch.Tensor) -> CropPoses:
        """Read ``(B, 3, R, R)`` crops in 0..1."""
        answer = self._shpe.look(rgb)
        own, landmark = answer.poses, answer.landmark
        weight = own.confidence.square()
        share = weight / (1 + weight)
        share = {"own": torch.ones_like(share), "landmark": 0 * share, "mean": share}[self._uv]
        return CropPoses(
            uv_crop_px=torch.lerp(landmark.uv_crop_px, own.uv_crop_px, share[..., None]),
            xyz_crop_mm=(own if self._xyz == "own" else landmark).xyz_crop_mm,
            presence=own.presence,
            looks_right=own.looks_right,
            confidence=own.confidence,
            followed_crop_px=landmark.uv_crop_px,
        )


class FrameStage:
    """Reads hands from crops, batched over hands and frames."""

    def __init__(
        self,
        *,
        shpe: Shpe,
        device: torch.device,
        hdrm: Painter | None = None,
        steady: SteadyPainter | None = None,
    ) -> None:
        """Take the parts.

        Args:
            shpe: Reads hands.
            device: Where it runs.
            hdrm: Paints hands, each by itself.
            steady: Paints hands with what is remembered of them; in place of ``hdrm``.
        """
        self._shpe = shpe
        self._hdrm = hdrm
        self._steady = steady
        self._device = device

    @property
    def resolution_px(self) -> int:
        """Side of the crops that it wants."""
        return self._shpe.resolution_px

    @property
    def can_paint(self) -> bool:
        """Whether there is an HDRM."""
        return self._hdrm is not None or self._steady is not None

    @property
    def remembers(self) -> bool:
        """Whether HDRM has a memory."""
        return self._steady is not None

    def paint(
        self, crops: HandCrops, before: Sequence[Any] | None = None
    ) -> tuple[HandCrops, Bool, list[Any]]:
        """Make hands bare: whole and alone.

        Args:
            crops: With masks.
            before: One a crop, what is remembered of it: what was given back in the frame before,
                or its crop in that frame where nothing was; None = nothing.

        Returns:
            The bare crops, to be read as they are; ``(B,)`` which of them were painted: the
            others had nothing to paint and are as they came; and what to remember of each, None
            where nothing was painted or there is no memory.

        Raises:
            ShapeError: The crops have no masks, or there is no HDRM.
        """
        if not self.can_paint or crops.masks is None:
            missing = "masks" if self.can_paint else "HDRM"
            raise ShapeError(f"crops are to be painted without {missing}; see FrameStage.can_paint")
        after: list[Any] = [None] * len(crops.mirrored)
        if self._steady is not None:
            bare, after = self._steady(crops, after if before is None else before)
        elif self._hdrm is not None:
            bare = self._hdrm(crops.rgb, crops.masks)
        painted = HandCrops(bare.rgb, crops.frame_from_crop, crops.mirrored)
        return painted, np.asarray(bare.is_painted.numpy()), after

    def __call__(self, crops: HandCrops) -> HandPoses:
        """Read a batch of crops; the poses come back in their frames, un-mirrored.

        Crops with masks are painted first, where there is an HDRM.
        """
        if self.can_paint and crops.masks is not None:
            crops, _, _ = self.paint(crops)
        with torch.inference_mode():
            poses = self._shpe(crops.rgb.to(self._device))
        uv_px = apply_affine(crops.frame_from_crop, poses.uv_crop_px.cpu().numpy())
        followed_px = uv_px
        if poses.followed_crop_px is not None:
            followed_crop_px = poses.followed_crop_px.cpu().numpy()
            followed_px = apply_affine(crops.frame_from_crop, followed_crop_px)
        xyz_crop = poses.xyz_crop_mm.cpu().numpy()
        looks_right = poses.looks_right.cpu().numpy()
        return HandPoses(
            uv_px=followed_px.astype(np.float32),
            xyz_mm=turn_xy(crops.frame_from_crop, xyz_crop).astype(np.float32),
            presence=poses.presence.cpu().numpy(),
            right_score=np.where(crops.mirrored, 1 - looks_right, looks_right),
            confidence=poses.confidence.cpu().numpy(),
            refine_px=(uv_px - followed_px).astype(np.float32),
        )
