"""Fill the gaps of a hand that was lost for a while: marked as such, and never a long guess.

A short gap is filled on straight lines. A hand that is lost behind the other one may be away for
longer: it cannot have gone anywhere, and hands that touch move together, so it is filled on
straight lines as the other hand sees it.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.config import MotionSettings
from hdrvideo.datatypes import N_SIDES, Bool
from hdrvideo.motion.smooth import F64, fill_gap, find_gaps
from hdrvideo.track import BRIDGED, IS_BRIDGED, FrameLedger, PoseTrack

BRIDGE_FRAMES: Final = 64
# The two ends of a gap can be one hand up to this distance between joints, over its size.
_ONE_HAND: Final = 1.5
# A hand is lost behind the other one if their middles are nearer than this, over the larger's size.
_NEAR: Final = 0.8


def bridge(
    track: PoseTrack, ledger: FrameLedger, settings: MotionSettings
) -> tuple[PoseTrack, NDArray[np.uint8]]:
    """Fill gaps in the picture and in log depth.

    Returns:
        The track with raw poses and those that fill gaps, and the ledger's reasons.
    """
    seconds = track.pts_seconds
    uv = track.raw_uv_px.astype(np.float64)
    log_z = np.log(track.raw_xyz_cam_mm[..., 2].astype(np.float64))
    confidence, side_score = track.confidence.copy(), track.side_score.copy()
    provenance, reason = track.provenance.copy(), ledger.reason.copy()
    seen = np.all(np.isfinite(uv), axis=(2, 3))
    raw_uv = uv.copy()
    for s in range(N_SIDES):
        for start, stop, about in _bridges(seconds, raw_uv, seen, s, settings):
            moving = uv[:, s] - about
            fill_gap(seconds, moving, start, stop)
            uv[start:stop, s] = (moving + about)[start:stop]
            for values in (log_z, confidence, side_score):
                fill_gap(seconds, values[:, s], start, stop)
            confidence[start:stop, s] *= 0.5
            provenance[start:stop, s] = BRIDGED
            reason[start:stop, s] = IS_BRIDGED
    filled = replace(
        track,
        uv_px=uv.astype(np.float32),
        xyz_cam_mm=track.meta.camera.lift(uv, np.exp(log_z)).astype(np.float32),
        confidence=confidence,
        visible=track.visible & (provenance != BRIDGED)[..., None],
        provenance=provenance,
        side_score=side_score,
    )
    return filled, reason


def _bridges(
    seconds: F64, uv_px: F64, seen: Bool, side: int, settings: MotionSettings
) -> list[tuple[int, int, F64]]:
    """List the gaps of one hand to fill, and the place ``(T, 1, 2)`` that moves with each.

    A gap has one and the same hand at both ends, and is short, or lies behind the other hand.
    """
    found = []
    own_px, other_px = uv_px[:, side], uv_px[:, 1 - side]
    still = np.zeros((len(seconds), 1, 2))
    longest = max(settings.bridge_seconds, settings.bridge_behind_seconds)
    for start, stop in find_gaps(
        seconds, seen[:, side], max_seconds=longest, max_frames=BRIDGE_FRAMES
    ):
        ends = [start - 1, stop]
        if seconds[stop] - seconds[start - 1] <= settings.bridge_seconds:
            about = still
        elif seen[start - 1 : stop + 1, 1 - side].all() and all(
            _is_near(own_px[t], other_px[t]) for t in ends
        ):
            about = other_px.mean(axis=1, keepdims=True)
        else:
            continue
        if _is_one_hand(*(own_px[t] - about[t] for t in ends)):
            found.append((start, stop, about))
    return found


def _is_one_hand(before_px: F64, after_px: F64) -> bool:
    """Say whether the two ends of a gap can be one hand: not farther apart than its own size."""
    size = max(_size(before_px), _size(after_px))
    return bool(np.linalg.norm(before_px - after_px, axis=1).mean() < _ONE_HAND * size)


def _is_near(own_px: F64, other_px: F64) -> bool:
    """Say whether one hand may be behind the other."""
    way = np.linalg.norm(own_px.mean(axis=0) - other_px.mean(axis=0))
    return bool(way < _NEAR * max(_size(own_px), _size(other_px)))


def _size(uv_px: F64) -> float:
    return float(np.ptp(uv_px, axis=0).max())
