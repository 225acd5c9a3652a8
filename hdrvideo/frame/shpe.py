"""SHPE, single-hand pose estimation: one clean crop in, 21 joints out.

``LandmarkNet`` is the first of its kind here: MediaPipe's hand landmark net (Apache-2.0, converted
by ``scripts/convert_mediapipe.py``; "MediaPipe Hands: On-device Real-time Hand Tracking", Zhang et
al. 2020, section 2.2), rebuilt as a plain torch module. Its structure was read from the published
graph: an EfficientNet-like trunk of inverted residuals and four linear heads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import N_JOINTS, check_array
from hdrvideo.frame.blocks import InvertedResidual, pad_to_halve

# One row a block: (channels out, kernel, stride, repeats); the trunk widens six times before each.
_TRUNK = (
    (24, 3, 2, 2),
    (40, 5, 2, 2),
    (80, 3, 2, 3),
    (112, 5, 1, 3),
    (192, 5, 2, 4),
)


@dataclass(frozen=True)
class CropPoses:
    """What a SHPE says of a batch of crops, in crop pixels and crop axes.

    Attributes:
        uv_crop_px: ``(B, 21, 2)`` float32, joints in pixels of the crop.
        xyz_crop_mm: ``(B, 21, 3)`` float32, joints round the hand's own centre, crop axes (x right,
            y down, z forward); the scale is the net's guess.
        presence: ``(B,)`` float32 in 0..1, is there a hand in the crop at all.
        looks_right: ``(B,)`` float32 in 0..1, does the crop look like a right hand.
        confidence: ``(B, 21)`` float32 in 0..1, per joint.
        followed_crop_px: ``(B, 21, 2)`` float32, joints to follow the hand by; None = the same.
    """

    uv_crop_px: Tensor
    xyz_crop_mm: Tensor
    presence: Tensor
    looks_right: Tensor
    confidence: Tensor
    followed_crop_px: Tensor | None = None

    def __post_init__(self) -> None:
        b = self.uv_crop_px.shape[0]
        if self.followed_crop_px is not None:
            check_array("followed_crop_px", self.followed_crop_px, (b, N_JOINTS, 2), "float32")
        check_array("uv_crop_px", self.uv_crop_px, (b, N_JOINTS, 2), "float32")
        check_array("xyz_crop_mm", self.xyz_crop_mm, (b, N_JOINTS, 3), "float32")
        check_array("presence", self.presence, (b,), "float32")
        check_array("looks_right", self.looks_right, (b,), "float32")
        check_array("confidence", self.confidence, (b, N_JOINTS), "float32")


class LandmarkNet(nn.Module):
    """MediaPipe's hand landmark net (full size): a 224 px crop to joints, presence and side."""

    RESOLUTION_PX = 224

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, 2)
        blocks = [InvertedResidual(wide=24, narrow_in=24, narrow_out=16, kernel=3, stride=1)]
        channels = 16
        for out, kernel, stride, repeats in _TRUNK:
            for i in range(repeats):
                blocks.append(
                    InvertedResidual(
                        wide=channels * (4 if channels == 16 else 6),
                        narrow_in=channels,
                        narrow_out=out,
                        kernel=kernel,
                        stride=stride if i == 0 else 1,
                    )
                )
                channels = out
        # The last block has no narrow layer: its wide features go to the heads.
        blocks.append(
            InvertedResidual(
                wide=6 * channels, narrow_in=channels, narrow_out=0, kernel=3, stride=1
            )
        )
        self.blocks = nn.Sequential(*blocks)
        self.side = nn.Linear(6 * channels, 1)
        self.presence = nn.Linear(6 * channels, 1)
        self.joints = nn.Linear(6 * channels, 3 * N_JOINTS)
        self.world = nn.Linear(6 * channels, 3 * N_JOINTS)

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read crops.

        Args:
            rgb: ``(B, 3, 224, 224)`` in 0..1.

        Returns:
            Joints ``(B, 21, 3)`` in crop pixels (pixel *corner* at 0, z of like scale), presence
            ``(B,)`` and side ``(B,)`` in 0..1, world joints ``(B, 21, 3)`` in metres.
        """
        x = functional.relu6(self.stem(pad_to_halve(rgb, 3)), inplace=True)
        features = self.blocks(x).mean(dim=(2, 3))
        return (
            self.joints(features).unflatten(1, (N_JOINTS, 3)),
            torch.sigmoid(self.presence(features)).squeeze(1),
            torch.sigmoid(self.side(features)).squeeze(1),
            self.world(features).unflatten(1, (N_JOINTS, 3)),
        )


class LandmarkShpe:
    """``shpe: landmark``: the landmark net behind the SHPE interface.

    Departures from the published graph's use: the crop of a left hand comes mirrored (so the net
    always reads a right hand and its side answer says whether the slot still fits), and the net's
    2.5D z is not used; its metric ``world`` joints give the 3D.
    """

    resolution_px = LandmarkNet.RESOLUTION_PX

    def __init__(self, net: Callable[[Tensor], Any]) -> None:
        self._net = net

    def __call__(self, rgb: Tensor) -> CropPoses:
        """Read ``(B, 3, 224, 224)`` crops in 0..1; see :class:`CropPoses`."""
        joints, presence, looks_right, world_m = self._net(rgb)
        # The net has no confidence of its own per joint: every joint carries that of the hand.
        return CropPoses(
            uv_crop_px=joints[..., :2] - 0.5,
            xyz_crop_mm=world_m * 1000,
            presence=presence,
            looks_right=looks_right,
            confidence=presence[:, None].expand(-1, N_JOINTS).contiguous(),
        )
