"""Which hands are to be painted whole and alone, and whether to believe what is then read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hdrvideo.config import FollowSettings
from hdrvideo.crop.masked import fit_of, fits_well, masks_iou
from hdrvideo.crop.segment import SeenHands
from hdrvideo.crop.sighting import Sighting, Track, TrackedFrame, are_double
from hdrvideo.geometry import CropSquare, apply_affine, invert_affine, square_from_pose
from hdrvideo.handmask import HandMask

# Joints (mean probability) that may come to lie outside the mask: they are read to a few pixels.
_SLACK: Final = 0.05


@dataclass(frozen=True)
class MaskedHand:
    """A hand that was read and whose masks are known.

    Attributes:
        sighting: What was read.
        mirror: Its crop is to be mirrored.
        masks: Its own, and the other hand's or None.
    """

    sighting: Sighting
    mirror: bool
    masks: tuple[HandMask, HandMask | None]

    @property
    def square(self) -> CropSquare:
        """The square round its pose."""
        return square_from_pose(self.sighting.uv_px, mirror=self.mirror)

    def may_need_painting(self) -> bool:
        """Say quickly whether anything may be hidden or be the other hand's; True if in doubt."""
        own, other = self.masks
        if ((own.amodal_u8 >= 128) & (own.visible_u8 < 128)).any():
            return True
        box = None if other is None else other.box_uvuv_px()
        if box is None:
            return False
        # Corners of the other hand's box in the crop's own axes, where the crop spans -0.5 to 0.5.
        u0, v0, u1, v1 = box
        corners = np.array([[u0, v0], [u1, v0], [u0, v1], [u1, v1]])
        at = apply_affine(invert_affine(self.square.frame_from_crop(1)), corners)
        return bool((at.min(axis=0) < 0.5).all() and (at.max(axis=0) > -0.5).all())


def masked_hands(
    row: TrackedFrame,
    tracks: Sequence[Track | None],
    seen: SeenHands,
    sides: Sequence[int | None],
    settings: FollowSettings,
) -> dict[int, MaskedHand]:
    """Give each track's hand that has a mask, with the other hand's mask if that is to be believed.

    Args:
        row: The frame.
        tracks: What is followed.
        seen: The masks.
        sides: Side of the mask for each track; None = it has none.
        settings: What may be changed.
    """
    hands = {}
    for i, (sighting, track, side) in enumerate(zip(row.sightings, tracks, sides, strict=True)):
        own = None if side is None else seen.masks[side]
        if sighting is None or track is None or side is None or own is None:
            continue
        other = seen.masks[1 - side]
        if other is not None and sides[1 - i] is None:
            # Nobody follows it: it may be this hand a second time, or nothing.
            is_there = seen.presence[1 - side] >= settings.mask_presence
            if not is_there or masks_iou(own, other) > settings.twin_iou:
                other = None
        hands[i] = MaskedHand(sighting, track.mirror, (own, other))
    return hands


def believed(
    bare: Sighting, hand: MaskedHand, other: Sighting | None, settings: FollowSettings
) -> Sighting | None:
    """Give a hand with the joints of its painting, or None where its first reading is to stay.

    The hand is followed on as it was read first: following what was painted by a wrong mask makes
    the next mask wrong, too (measured on made clips: of interlocked hands 62 % were found so, and
    74 % this way).

    Args:
        bare: What was read when it was painted.
        hand: What was read before, and its masks.
        other: The other hand.
        settings: What may be changed.
    """
    before, mask = hand.sighting, hand.masks[0]
    if bare.presence < settings.min_presence:
        return None
    confidence = bare.confidence
    if before.carried:
        # A painting shows what the painter thinks: it makes nothing surer.
        confidence = np.minimum(confidence, before.confidence)
    refine_px = bare.joints_px - before.uv_px
    told = replace(before, xyz_mm=bare.xyz_mm, confidence=confidence, refine_px=refine_px)
    if other is not None and are_double(told, other, settings.double_distance, told=True):
        return None
    if fits_well(before.joints_px, mask) and not fits_well(told.joints_px, mask):
        return None
    if fit_of(told.joints_px, mask) < fit_of(before.joints_px, mask) - _SLACK:
        return None
    return told
