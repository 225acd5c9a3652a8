"""What the joints of a look at both hands are good for: a hand that its own crop does not show.

What is told of a hand that its crop does show is left to the crop: a mean of both by the squares of
their confidence made hands that are apart worse (error in the picture 7 to 10 % of the palm).
"""

from dataclasses import replace
from typing import Final

from hdrvideo.crop.masked import fits_well, moved_into, squares_from_mask
from hdrvideo.crop.segment import SeenPose
from hdrvideo.crop.sighting import Sighting
from hdrvideo.geometry import CropSquare, square_from_pose
from hdrvideo.handmask import HandMask

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
