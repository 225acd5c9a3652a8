"""Clips without a hand in the picture: a person, an arm, things, or nothing but the background."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hdrvideo.synth.looks import Look, draw_look
from hdrvideo.synth.props import OBJECTS, Solid, ellipsoid, limb, make_object
from hdrvideo.synth.relations import one
from hdrvideo.synth.staging import Stage, Thing, Track
from hdrvideo.synth.turns import exp_turn, random_turns, smooth_noise

F64 = NDArray[np.float64]


def nothing(stage: Stage, skin: Look) -> Track:
    """No hand in the picture.

    Args:
        stage: The clip's stage.
        skin: How skin looks, for things that might be taken for a hand.
    """
    rng = stage.rng
    track = one(stage)
    kind = rng.choice(["person", "arm", "things", "skin", "empty"], p=[0.3, 0.25, 0.2, 0.15, 0.1])
    if kind == "arm":
        return _arm_only(stage, track)
    nobody = np.zeros(2, bool)
    framed = track.framed & nobody
    things: tuple[Thing, ...] = ()
    if kind in ("things", "skin") or rng.random() < 0.4:
        look = skin if kind == "skin" else None
        things = tuple(_loose(stage, look) for _ in range(rng.integers(1, 4)))
    aim = stage.target_mm + rng.uniform(-1, 1, (12, 3)) * rng.uniform(90, 260)
    person = kind == "person" or (kind == "skin" and rng.random() < 0.5)
    return replace(track, present=nobody, framed=framed, things=things, aim_mm=aim, person=person)


def _arm_only(stage: Stage, track: Track) -> Track:
    """Aim at a forearm near its elbow, so that the hand stays outside the picture."""
    side = int(np.flatnonzero(track.present)[0])
    arms = stage.arms(track.turn, track.wrist_mm)
    elbow, wrist = arms.elbow_mm[:, side], track.wrist_mm[:, side]
    share = np.linspace(-0.35, 0.35, 5)[:, None, None]
    return replace(track, aim_mm=(elbow + share * (wrist - elbow)).reshape(-1, 3))


def _loose(stage: Stage, skin: Look | None) -> Thing:
    """Give a thing that hangs or moves about before the person; of skin's colour if wished."""
    rng = stage.rng
    if skin is None:
        solid = make_object(OBJECTS[int(rng.integers(len(OBJECTS)))], rng)
        look = draw_look(rng, "thing")
    else:
        solid, look = _skin_like(rng), skin
    place = stage.target_mm + rng.uniform(-1, 1, 3) * [220, 160, 120]
    move = smooth_noise(rng, stage.n, stage.frame_seconds, 6, (0.15, 0.9)) * rng.uniform(0, 1)
    turn = random_turns(rng, 1)[0] if rng.random() < 0.5 else np.eye(3)
    return Thing(solid, look, exp_turn(0.5 * move[:, 3:]) @ turn, place + 50 * move[:, :3])


def _skin_like(rng: np.random.Generator) -> Solid:
    if rng.random() < 0.5:
        return ellipsoid(*rng.uniform(20, 75, 3))
    return limb(float(rng.uniform(60, 200)), *rng.uniform(9, 40, 2))
