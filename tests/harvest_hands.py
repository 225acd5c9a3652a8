"""Hands for the tests of harvest: made tracks of two still hands, and a drawn hand."""

from dataclasses import replace

import cv2
import numpy as np
from tracks import make_meta, make_track

from hdrvideo.candidates import HarvestRules
from hdrvideo.cutout import Cut
from hdrvideo.synth.crops import CROP_PX
from hdrvideo.track import PoseTrack

RULES = HarvestRules()
LAX = replace(RULES, max_move=10.0)
GOOD = Cut(
    np.pad(np.ones((2, 2), bool), 4), fit_px=1.0, iou=0.8, covered=0.95, outside_px=1.0, alike=0.0
)
RIGHT_AT, LEFT_AT = (200.0, 300.0), (640.0, 300.0)


def fan(size_px: float = 100.0) -> np.ndarray:
    """Give an open hand ``(21, 2)`` round its middle, so large."""
    joints = [np.zeros(2)]
    for angle in np.linspace(-0.6, 0.6, 5):
        way = np.array([np.sin(angle), -np.cos(angle)])
        joints += [way * reach for reach in (0.4, 0.65, 0.85, 1.0)]
    uv = np.array(joints)
    low, high = uv.min(axis=0), uv.max(axis=0)
    return (uv - (low + high) / 2) / (high - low).max() * size_px


def track_of(n: int = 12, places=(RIGHT_AT, LEFT_AT), *, size_px=100.0, absent=(), **more):
    """Make a track of two still hands in an 840 x 600 picture, all sure; ``more`` goes on top."""
    meta = make_meta(840, 600)
    spoilt = {(side, 0, n): 0 for side in absent}
    track = make_track(n, meta=meta, provenance=spoilt)
    uv = np.stack([np.broadcast_to(fan(size_px) + place, (n, 21, 2)) for place in places], axis=1)
    there = track.present[..., None, None]
    uv = np.where(there, uv, np.nan).astype(np.float32)
    confidence = np.where(track.present[..., None], 0.99, np.nan) * np.ones((n, 2, 21))
    score = np.where(track.present, 0.95, np.nan).astype(np.float32)
    changes = {"uv_px": uv, "raw_uv_px": uv, "confidence": confidence.astype(np.float32)}
    return replace(track, **{**changes, "side_score": score, **more})


def moving(n: int = 12, **more) -> PoseTrack:
    """Make a track whose hands move far enough from row to row to be worth keeping."""
    track = track_of(n, **more)
    uv = track.uv_px + np.arange(n, dtype=np.float32)[:, None, None, None] * [0, 15]
    return replace(track, uv_px=uv.astype(np.float32), raw_uv_px=uv.astype(np.float32))


# The joints of the drawn hand, in its crop.
DRAWN_PX = (fan(120) + np.array([CROP_PX / 2, 120.0])).astype(np.float32)


def drawn_hand(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a hand with a forearm over noise: crop ``(R, R, 3)``, hand mask, forearm mask."""
    rng = np.random.default_rng(seed)
    r, uv = CROP_PX, DRAWN_PX
    hand, arm = np.zeros((2, r, r), np.uint8)
    cv2.fillConvexPoly(hand, cv2.convexHull(uv[[0, 1, 5, 9, 13, 17]].astype(np.int32)), 1)
    cv2.line(hand, uv[0].astype(int), uv[9].astype(int), 1, 44)
    for f in range(5):
        cv2.line(hand, uv[1 + 4 * f].astype(int), uv[4 + 4 * f].astype(int), 1, 15)
    wrist = uv[0].astype(int)
    cv2.rectangle(arm, (int(wrist[0]) - 20, int(wrist[1])), (int(wrist[0]) + 20, r), 1, -1)
    hand[wrist[1] :] = 0
    picture = rng.normal((60, 90, 120), 25, (r, r, 3))
    skin = rng.normal((205, 150, 120), 12, (r, r, 3))
    picture = np.where(((hand | arm) > 0)[..., None], skin, picture)
    picture = cv2.GaussianBlur(picture.clip(0, 255).astype(np.uint8), (0, 0), 0.8)
    return picture, hand > 0, arm > 0
