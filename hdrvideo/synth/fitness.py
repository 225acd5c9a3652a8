"""Whether a drawn clip shows what it is to show; one that does not is drawn again."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.handmodel import PARTS
from hdrvideo.synth.body import ArmShape
from hdrvideo.synth.contact import gaps_mm
from hdrvideo.synth.props import head, torso
from hdrvideo.synth.staging import Stage, Track, knots
from hdrvideo.synth.viewpoint import Shooting

F64 = NDArray[np.float64]

# In half the distance of the shoulder joints.
TORSO_LENGTH: Final = 2.75
TORSO_DEPTH: Final = 0.55
# Balls may overlap so far; skin gives way, and balls are a little larger than the hand.
_OVERLAP_MM: Final = 2.5
_TOUCH_MM: Final = 4.0
_TOGETHER, _CROSSED = 0.63, 0.55
_HIDDEN: Final = 0.3
_EFFORT: Final = 4.0
# How far a shoulder may be pulled from its place.
_SHRUG_MM: Final = 110.0
# Joints whose line of sight is looked at: wrist, knuckles, tips.
_LOOKED_AT: Final = (0, 5, 17, 4, 12, 20)


def faults(stage: Stage, relation: str, track: Track, shooting: Shooting) -> float:
    """Say how far a clip is from what it is to show; 0 is good.

    Args:
        stage: The clip's stage.
        relation: One of ``scene.RELATIONS``.
        track: Where the hands go, settled.
        shooting: The camera.
    """
    at = knots(stage.n)
    arms = stage.arms(track.turn, track.wrist_mm)
    hands = track.turn[at], track.fingers[at], track.wrist_mm[at]
    balls, joints = stage.balls.place(*hands, stage.shape, arms.bend[at])
    framed = track.framed[at]
    found = 0.0
    if framed.any():
        found += max(float(arms.effort[at][framed].mean()) - _EFFORT, 0)
        half = stage.arm.shoulder_mm
        shrug = arms.shoulder_mm - np.array([[half, 0, 0], [-half, 0, 0]])
        shrug = np.linalg.norm(shrug, axis=-1)[:, track.present]
        found += max(float(shrug.max()) - _SHRUG_MM, 0) / 50
        looked = joints[:, :, _LOOKED_AT]
        hidden = behind_body(looked, shooting.place_mm[at], stage.arm, relation != "none")
        found += max(float(hidden[framed].mean()) - _HIDDEN, 0) * 10
    if relation == "passing":
        found += _stays(track, shooting, joints, at)
    if track.present.all():
        found += _contact_faults(stage, relation, track, shooting, balls)
    return found


def _stays(track: Track, shooting: Shooting, joints_mm: F64, at: NDArray[np.int64]) -> float:
    """Give 1 if no hand leaves the picture, or none is in it."""
    size_px = 2 * shooting.k_px[:2, 2] + 1
    seen = (joints_mm - shooting.place_mm[at][:, None, None]) @ shooting.turn[0].T
    uv = (seen @ shooting.k_px.T)[..., :2] / np.maximum(seen[..., 2:], 1.0)
    inside = np.all((uv > 0) & (uv < size_px), axis=-1) & (seen[..., 2] > 0)
    share = inside.mean(axis=2)[:, track.present]
    return float(share.max() < 0.8) + float(share.min() > 0.35 and len(at) > 4)


def _contact_faults(
    stage: Stage, relation: str, track: Track, shooting: Shooting, balls_mm: F64
) -> float:
    at, radius = knots(stage.n), stage.radius_mm
    gap = gaps_mm(balls_mm, radius)
    least = 0.4 * track.least_mm if track.least_mm > 1 else -_OVERLAP_MM
    found = max(float(least - gap.min()), 0.0)
    if relation in ("touching", "interlocked"):
        found += 20 * max(_TOGETHER - float((gap < _TOUCH_MM).mean()), 0)
    if relation in ("crossing", "interlocked"):
        share = (overlap_mm(stage, balls_mm, shooting.place_mm[at], radius) < -5).mean()
        wanted = _CROSSED if relation == "crossing" else _TOGETHER
        found += 20 * max(wanted - float(share), 0)
    return found


def overlap_mm(stage: Stage, balls_mm: F64, eye_mm: F64, radius_mm: F64) -> F64:
    """Give the gap ``(K,)`` of two hands as seen from ``(K, 3)``, at their own depth."""
    hand = stage.balls.part != PARTS.index("forearm")
    seen = (balls_mm[:, :, hand] - eye_mm[:, None, None]) @ stage.view.turn.T
    depth = seen[..., 2].mean(axis=(1, 2))[:, None, None, None]
    flat = seen / np.maximum(seen[..., 2:], 50.0) * depth
    flat[..., 2] = 0
    return gaps_mm(flat, radius_mm[hand])


def behind_body(joints_mm: F64, eye_mm: F64, arm: ArmShape, person: bool) -> NDArray[np.bool_]:
    """Say which joints ``(K, S, J, 3)`` the person's own chest or head hides or holds.

    Args:
        joints_mm: In the person's axes.
        eye_mm: ``(K, 3)`` places of the camera.
        arm: Gives the body's size.
        person: There is a body.
    """
    hidden = np.zeros(joints_mm.shape[:-1], bool)
    if not person:
        return hidden
    half = arm.shoulder_mm
    solids = (torso(half, TORSO_LENGTH * half, TORSO_DEPTH * half), head(half))
    towards = eye_mm[:, None, None] - joints_mm
    far = np.linalg.norm(towards, axis=-1, keepdims=True)
    for step_mm in (0.0, 50.0, 100, 160, 220, 290, 360, 450, 550):
        # Not the lens itself: it may be close to the chest.
        points = joints_mm + towards * np.minimum(step_mm / far, 0.6)
        for solid in solids:
            hidden |= solid.distance_mm(points) < 0
    return hidden
