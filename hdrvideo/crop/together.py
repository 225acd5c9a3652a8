"""What a look at both hands says of each hand's joints, beside what its own crop says."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from hdrvideo.crop.masked import fits_well, moved_into, squares_from_mask
from hdrvideo.crop.segment import SeenHands, SeenPose
from hdrvideo.crop.sighting import Sighting, TrackedFrame
from hdrvideo.datatypes import F32
from hdrvideo.geometry import CropSquare, square_from_pose
from hdrvideo.hand import JOINTS, WRIST
from hdrvideo.handmask import HandMask

_MIDDLE_MCP: Final = JOINTS.index("middle_mcp")
# Mean confidence from which joints of such a look say where a hand lies.
_SURE: Final = 0.3


def squares_to_read(
    mask: HandMask, pose: SeenPose | None, *, mirror: bool, angle_rad: float | None
) -> list[CropSquare]:
    """Give the squares to read a hand from that its own crop did not show.

    Args:
        mask: Its masks.
        pose: Its joints by the look that gave the mask; None = not told.
        mirror: It is a left hand as shown.
        angle_rad: How it lay when last seen; None = not known.
    """
    if pose is None or not is_sure(pose):
        return squares_from_mask(mask, mirror=mirror, angle_rad=angle_rad)
    told = [square_from_pose(pose.uv_px, mirror=mirror)]
    if angle_rad is None:
        return told
    return told + squares_from_mask(mask, mirror=mirror, angle_rad=angle_rad)


def is_sure(pose: SeenPose) -> bool:
    """Say whether joints are sure enough to say where a hand lies."""
    return float(pose.confidence.mean()) >= _SURE


def carried(sighting: Sighting, mask: HandMask, pose: SeenPose | None) -> Sighting:
    """Give a hand that no crop shows: as the look at both hands has it, else moved into its mask.

    Args:
        sighting: The hand as it was last read.
        mask: Where it is now.
        pose: Its joints by the same look; None = not told.
    """
    if pose is None or not is_sure(pose) or not fits_well(pose.uv_px, mask):
        return moved_into(sighting, mask)
    return replace(
        sighting,
        uv_px=pose.uv_px,
        xyz_mm=pose.xyz_mm,
        refine_px=None,
        confidence=pose.confidence,
        right_score=0.5,
        carried=True,
    )


def tell_together(
    row: TrackedFrame, seen: SeenHands, sides: Sequence[int | None], share: float
) -> None:
    """Let a look at both hands have its share in what is told of each that was read.

    Args:
        row: The frame; changed in place.
        seen: The look.
        sides: Side of the mask for each track; None = it has none.
        share: See :func:`told_with`.
    """
    for i, side in enumerate(sides):
        sighting, pose = row.sightings[i], None if side is None else seen.poses[side]
        if sighting is not None and pose is not None and not sighting.carried:
            row.sightings[i] = told_with(sighting, pose, share)


def told_with(sighting: Sighting, pose: SeenPose, share: float) -> Sighting:
    """Tell a hand's joints as a mean of its own reading and the look at both hands.

    Joint by joint, each counts as the square of its confidence. The hand is followed on as it was
    read.

    Args:
        sighting: Its own reading.
        pose: The look's.
        share: What the look counts beside a reading of the same confidence.
    """
    own, other = sighting.confidence.astype(np.float64) ** 2, pose.confidence**2 * share
    part = (other / np.maximum(own + other, 1e-9))[:, None]
    uv_px = sighting.joints_px * (1 - part) + pose.uv_px * part
    xyz_mm = _from_wrist(sighting.xyz_mm) * (1 - part) + _from_wrist(pose.xyz_mm) * part
    confidence = sighting.confidence * (1 - part[:, 0]) + pose.confidence * part[:, 0]
    return replace(
        sighting,
        refine_px=(uv_px - sighting.uv_px).astype(np.float32),
        xyz_mm=xyz_mm.astype(np.float32),
        confidence=confidence.astype(np.float32),
    )


def _from_wrist(xyz_mm: F32) -> F32:
    """Bring joints ``(21, 3)`` to the wrist and to 100 mm from it to the middle knuckle."""
    from_wrist = xyz_mm - xyz_mm[WRIST]
    length = max(float(np.linalg.norm(from_wrist[_MIDDLE_MCP])), 1e-6)
    return np.asarray(from_wrist * (100 / length), np.float32)
