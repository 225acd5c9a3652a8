"""One hand of a made clip as a row of crops, as ``annotate`` cuts them, with truth and motion."""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, check_array
from hdrvideo.geometry import F64, CropSquare, apply_affine, invert_affine, square_from_pose
from hdrvideo.train.bare_clips import BareClip
from hdrvideo.train.bare_crops import (
    CropSettings,
    own_and_other,
    recolour,
    warp_masks,
    warp_pictures,
    worth_painting,
)
from hdrvideo.train.mask_damage import spoil_masks

# Part of a square's change that differs from frame to frame: joints are read anew in each.
_RESTLESS: Final = 0.3
# How often each frame's masks are damaged in another way; else a clip's are all alike.
_RESTLESS_MASKS: Final = 0.5


@dataclass(frozen=True)
class ClipCrops:
    """T crops in a row of one hand; masks are own_visible, own_amodal, other_visible, other_amodal.

    Attributes:
        seen: ``(T, 7, R, R)`` float32 0..1, RGB and masks as a painter is told them.
        truth: ``(T, 3, R, R)`` float32 0..1, the hand whole and alone.
        exact: ``(T, 4, R, R)`` float32 0..1, the masks as they are.
        frame_from_crop: ``(T, 2, 3)`` float64.
        before_px: ``(T, R, R, 2)`` float32, way of the hand's pixels to their place in the crop
            before, in its pixels; NaN where not known and in the first crop.
    """

    seen: F32
    truth: F32
    exact: F32
    frame_from_crop: F64
    before_px: F32

    def __post_init__(self) -> None:
        t, _, r, _ = self.seen.shape
        check_array("seen", self.seen, (t, 7, r, r), "float32")
        check_array("truth", self.truth, (t, 3, r, r), "float32")
        check_array("exact", self.exact, (t, 4, r, r), "float32")
        check_array("frame_from_crop", self.frame_from_crop, (t, 2, 3), "float64")
        check_array("before_px", self.before_px, (t, r, r, 2), "float32")

    def __len__(self) -> int:
        return len(self.seen)


def hands_of(clip: BareClip) -> list[int]:
    """List the sides whose hand is there in every frame and has the other beside it in some."""
    worth = worth_painting(clip.uv_px)
    joints_px = clip.uv_px.swapaxes(0, 1)
    return [
        side for side in range(2) if np.isfinite(joints_px[side]).all() and worth[:, side].any()
    ]


def draw_clip(
    clip: BareClip, side: int, frames: slice, rng: np.random.Generator, settings: CropSettings
) -> ClipCrops:
    """Draw squares round a hand that restlessly follow it, cut all out, spoil masks and colours.

    Args:
        clip: The clip.
        side: Of the hand; it must be there in all of the frames.
        frames: Which of the clip's frames.
        rng: Draws.
        settings: How crops are drawn; squares are always those of the joints.
    """
    r = settings.resolution_px
    squares = _draw_squares(clip.uv_px[frames, side], side == 1, rng, settings)
    affines = np.stack([square.frame_from_crop(r) for square in squares])
    pairs = np.concatenate([clip.rgb_u8[frames], clip.bare_u8[frames, side]], axis=3)
    cut = [
        warp_pictures(pair, affine, r, cv2.BORDER_REPLICATE)
        for pair, affine in zip(pairs, affines, strict=True)
    ]
    if settings.recolour:
        cut = np.split(recolour(np.concatenate(cut, axis=2), rng), len(cut), axis=2)
    rgb = np.stack(cut).transpose(0, 3, 1, 2) * np.float32(1 / 255)
    kinds = zip(clip.visible[frames], clip.amodal[frames], affines, strict=True)
    exact = np.stack([warp_masks(own_and_other(v, a, side), affine, r) for v, a, affine in kinds])
    before_px = clip.before_px[frames, side]
    ways = [np.full((r, r, 2), np.nan, np.float32)]
    ways += [_way_before(before_px[t], affines[t], affines[t - 1], r) for t in range(1, len(cut))]
    return ClipCrops(
        seen=np.concatenate([rgb[:, :3], _spoiled(exact, rng, settings)], axis=1),
        truth=np.ascontiguousarray(rgb[:, 3:]),
        exact=exact,
        frame_from_crop=affines,
        before_px=np.stack(ways),
    )


def _draw_squares(
    uv_px: F32, mirror: bool, rng: np.random.Generator, settings: CropSettings
) -> list[CropSquare]:
    """Draw a change of square for the whole clip and a smaller one for each frame."""
    changes = rng.uniform(-1, 1, (1, 4)) * (1 - _RESTLESS)
    changes = changes + _RESTLESS * rng.uniform(-1, 1, (len(uv_px), 4))
    squares = []
    for joints, (grown, right, down, turn) in zip(uv_px, changes, strict=True):
        square = square_from_pose(joints, mirror=mirror)
        shift_px = settings.shift_share * square.size_px
        squares.append(
            CropSquare(
                square.u_px + shift_px * right,
                square.v_px + shift_px * down,
                square.size_px * math.exp(math.log1p(settings.scale_share) * grown),
                square.angle_rad + math.radians(settings.turn_deg) * turn,
                mirror,
            )
        )
    return squares


def _spoiled(exact: F32, rng: np.random.Generator, settings: CropSettings) -> F32:
    seed = int(rng.integers(2**31))
    is_restless = rng.random() < _RESTLESS_MASKS
    return np.stack(
        [
            spoil_masks(
                masks,
                np.random.default_rng([seed, t if is_restless else 0]),
                settings.spoil,
                settings.no_other_share,
            )
            for t, masks in enumerate(exact)
        ]
    )


def _way_before(before_px: F32, now: F64, before: F64, side_px: int) -> F32:
    """Bring motion of the frame's pixels ``(H, W, 2)`` to that of a crop's into the crop before."""
    here = np.stack(np.meshgrid(np.arange(side_px), np.arange(side_px)), axis=-1)
    at = apply_affine(now, here.reshape(-1, 2)).reshape(side_px, side_px, 2)
    # Between a hand's pixel and one beside it nothing is known: NaN spreads.
    way = cv2.remap(
        before_px, at.astype(np.float32), None, cv2.INTER_LINEAR, borderValue=(np.nan, np.nan)
    )
    there = apply_affine(invert_affine(before), (at + way).reshape(-1, 2))
    moved: NDArray[np.float64] = there.reshape(side_px, side_px, 2) - here
    return moved.astype(np.float32)
