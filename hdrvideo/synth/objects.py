"""Hands with things: held in one hand or two, touched by the other, or passing before the hands.

A grasp is found by placing the thing before the palm and closing each finger until it meets it.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.synth.body import mirrored, solve_arms
from hdrvideo.synth.contact import gaps_mm
from hdrvideo.synth.looks import draw_look
from hdrvideo.synth.props import OBJECTS, Solid, make_object
from hdrvideo.synth.relations import apart, one
from hdrvideo.synth.staging import (
    Stage,
    Thing,
    Track,
    choose,
    place_pair,
    track_of,
)
from hdrvideo.synth.turns import exp_turn, random_turns, smooth_noise, step_between, unit

F64 = NDArray[np.float64]

# Degrees of flexion of a finger's three joints, open and closed; the thumb's begin with the base.
_OPEN: Final = np.array([[-12.0, -5, 0], *([[-8.0, 4, 2]] * 4)])
_CLOSED: Final = np.array([[42.0, 52, 60], *([[88.0, 98, 60]] * 4)])
_N_LEVELS: Final = 16
# How the thing's axis stands in the flat right hand, and how its middle lies before the palm.
_WRAPPED: Final = ("cup", "bottle", "can", "ball", "stick", "box", "phone")
_PALMED: Final = ("plate", "bowl", "book", "phone", "box", "ball")
_HIDING: Final = ("cup", "bottle", "can", "ball", "box", "phone", "pen", "stick")
_TWO_HANDED: Final = ("ball", "box", "book", "bowl", "plate", "bottle", "cup", "can")


@dataclass(frozen=True)
class Grasp:
    """A thing in the flat right hand's axes.

    Attributes:
        turn: ``(3, 3)`` of the thing.
        place_mm: ``(3,)`` of its middle.
        fingers: ``(15, 3)`` axis-angle.
    """

    turn: F64
    place_mm: F64
    fingers: F64


def with_object(stage: Stage) -> Track:
    """One or both hands hold a thing, work on it, or are hidden by it."""
    kind = stage.rng.choice(["one", "two", "touch", "hide"], p=[0.4, 0.22, 0.18, 0.2])
    acts = {"one": _held_in_one, "two": _held_in_two, "touch": _touched, "hide": _hidden}
    return acts[str(kind)](stage)


def grasp(stage: Stage, solid: Solid, turn: F64, middle_mm: F64, most: float = 1.0) -> Grasp:
    """Push a thing against the open hand's palm, then close the fingers round it.

    Args:
        stage: Gives the hand.
        solid: The thing.
        turn: ``(3, 3)`` of the thing in the flat right hand's axes.
        middle_mm: ``(3,)`` where its middle is to be; z is found.
        most: How far fingers may close, 0..1.
    """
    levels = np.linspace(0, most, _N_LEVELS)[:, None, None]
    bend = np.zeros((_N_LEVELS, 5, 3, 3))
    bend[..., 0] = np.deg2rad(_OPEN + levels * (_CLOSED - _OPEN))
    bend[:, 1:, 0, 2] = np.deg2rad([4.0, 1.0, -2.0, -5.0]) * (1 - levels[..., 0])
    bend = bend.reshape(_N_LEVELS, 1, 15, 3)
    flat = np.broadcast_to(np.eye(3), (_N_LEVELS, 1, 3, 3))
    origin = np.zeros((_N_LEVELS, 1, 3))
    balls = stage.balls.place(flat, bend, origin, stage.shape, side=(0,))[0][:, 0]
    radius = stage.radius_mm
    place = middle_mm * stage.balls.size(stage.shape)
    # Bring it in from before the palm, as near as the open hand lets it.
    depths = np.arange(-170.0, 20.0, 2.0)
    places = np.stack([np.full_like(depths, place[0]), np.full_like(depths, place[1]), depths], -1)
    wide = (stage.balls.part != 1) & (stage.balls.part != 6)
    near = solid.distance_mm((balls[0, wide] - places[:, None]) @ turn) - radius[wide]
    clear = np.logical_and.accumulate(near.min(axis=1) > 0.0)
    place = places[max(int(clear.sum()) - 1, 0)]
    gap = solid.distance_mm((balls - place) @ turn) - radius
    fingers = np.zeros((5, 3, 3))
    for finger in range(5):
        mine = stage.balls.part == finger + 1
        clear = np.logical_and.accumulate(gap[:, mine].min(axis=1) > -0.6)
        level = max(int(clear.sum()) - 1, 0)
        fingers[finger] = bend[level, 0].reshape(5, 3, 3)[finger]
    return Grasp(turn, place, fingers.reshape(15, 3))


def draw_grasp(stage: Stage, name: str, solid: Solid) -> Grasp:
    """Draw how one hand holds a thing: wrapped by the fingers, or lying on them."""
    rng = stage.rng
    if name == "pen":
        axis = unit(np.array([0.5, -0.6, -0.5]) + rng.normal(0, 0.15, 3))
        turn = _standing(axis, np.array([1.0, 0, 0]))
        return grasp(stage, solid, turn, np.array([18.0, -128, 0]))
    wraps = name in _WRAPPED and (name not in _PALMED or rng.random() < 0.6)
    if wraps and solid.x_mm.max() < 60:
        tilt = np.deg2rad(rng.uniform(-10, 35))
        axis = np.array([np.cos(tilt), np.sin(tilt), 0]) * rng.choice([-1, 1])
        turn = _standing(axis, np.eye(3)[2 if rng.random() < 0.5 else 1])
        along = rng.uniform(-0.3, 0.3) * np.ptp(solid.y_mm)
        return grasp(stage, solid, turn, np.array([-2.0, -86, 0]) + along * axis)
    if name in ("phone", "book", "box"):
        axis = unit(np.array([rng.normal(0, 0.3), -1, 0]))
        turn = _standing(axis, np.array([1.0, 0, 0]))
        return grasp(stage, solid, turn, np.array([0.0, -100 - 0.3 * np.ptp(solid.y_mm) / 2, 0]))
    axis = unit(np.array([rng.normal(0, 0.1), rng.normal(0, 0.1), 1.0]))
    turn = _standing(axis, np.array([1.0, 0, 0]))
    return grasp(stage, solid, turn, np.array([0.0, -95.0 - 0.4 * solid.x_mm.max(), 0]))


def _standing(axis: F64, aside: F64) -> F64:
    """Give the turn that takes y to ``axis`` and x near ``aside``."""
    x = unit(aside - (aside @ axis) * axis)
    return np.stack([x, axis, np.cross(x, axis)], axis=1)


def _attached(
    stage: Stage, solid: Solid, held: Grasp, turn: F64, wrist_mm: F64, side: int
) -> Thing:
    """Let a thing follow a hand ``(T, 3, 3)``, ``(T, 3)``."""
    flip = np.array([-1.0, 1, 1]) if side else np.ones(3)
    own = held.turn * flip[:, None] * flip
    look = draw_look(stage.rng, "thing")
    return Thing(solid, look, turn @ own, wrist_mm + turn @ (held.place_mm * flip))


def _draw_thing(stage: Stage, names: tuple[str, ...]) -> tuple[str, Solid]:
    name = names[int(stage.rng.integers(len(names)))]
    return name, make_object(name, stage.rng)


def _holding(stage: Stage, side: int, track: Track) -> tuple[Track, Thing, Solid]:
    """Put a thing into one hand of a track."""
    name, solid = _draw_thing(stage, OBJECTS)
    held = draw_grasp(stage, name, solid)
    fingers = track.fingers.copy()
    fingers[:, side] = held.fingers
    thing = _attached(stage, solid, held, track.turn[:, side], track.wrist_mm[:, side], side)
    return replace(track, fingers=fingers, things=(thing,)), thing, solid


def _held_in_one(stage: Stage) -> Track:
    side = int(stage.rng.integers(2))
    track = one(stage, side) if stage.rng.random() < 0.3 else apart(stage)
    return _holding(stage, side, track)[0]


def _held_in_two(stage: Stage) -> Track:
    """A thing between both hands, which lie on opposite sides of it."""
    rng = stage.rng
    _, solid = _draw_thing(stage, _TWO_HANDED)
    turned = rng.uniform(-0.6, 0.6)
    axis = np.array([np.sin(turned), np.cos(turned), 0])
    if rng.random() < 0.4:
        axis = np.array([axis[1], -axis[0], 0])
    own = np.stack([np.array([0, 0, 1.0]), axis, np.cross([0, 0, 1.0], axis)], axis=1)
    right = grasp(stage, solid, own, np.array([0.0, -95, 0]) + rng.normal(0, 10, 3), 0.5)
    # Hands in the thing's axes: the left one is the mirror image, moved along the thing's axis.
    turn = mirrored(np.broadcast_to(right.turn.T, (2, 3, 3)))
    wrist = -right.turn.T @ right.place_mm * np.array([[1.0, 1, 1], [-1, 1, 1]])
    fingers = np.broadcast_to(right.fingers, (2, 15, 3))
    radius = stage.radius_mm
    balls = stage.balls.place(turn[None], fingers[None], wrist[None], stage.shape)[0]
    for shift in np.arange(0, 120, 12.0):
        aside = np.array([[0.0, 0.5, 0], [0, -0.5, 0]]) * shift
        if gaps_mm(balls + aside[:, None], radius)[0] > 1.0:
            break
    placed, wrists = place_pair(stage, turn, wrist + aside)
    thing_turn = placed[0] @ turn[0].T
    middle = wrists[0] - thing_turn @ (wrist + aside)[0]
    moves, names = stage.wrist(float(rng.uniform(15, 100)), float(rng.uniform(5, 28)))
    swing = exp_turn(moves[:, 3:])
    place = middle + moves[:, :3]
    turns = swing[:, None] @ placed
    wrists = place[:, None] + (swing[:, None] @ (wrists - middle)[..., None])[..., 0]
    thing = Thing(solid, draw_look(rng, "thing"), swing @ thing_turn, place)
    held = np.broadcast_to(fingers, (stage.n, 2, 15, 3)).copy()
    track = track_of(stage, turns, wrists, held, names, -np.inf)
    return replace(track, things=(thing,))


def _touched(stage: Stage) -> Track:
    """One hand holds a thing, the other's index finger is on it or moves over it."""
    rng = stage.rng
    side = int(rng.integers(2))
    track, thing, solid = _holding(stage, side, one(stage, side))
    other = 1 - side
    n = 96
    clip, names = stage.motions.fingers(rng, stage.n, stage.frame_seconds, kind="relaxed")
    clip = clip.astype(np.float64)
    clip[:, 3:6, 0] = np.deg2rad([14.0, 18, 10])  # the index finger points
    turns = random_turns(rng, n)
    middle = stage.n // 2
    balls, joints = stage.balls.place(
        turns[:, None],
        np.broadcast_to(clip[middle], (n, 1, 15, 3)),
        np.zeros((n, 1, 3)),
        stage.shape,
        side=(other,),
    )
    skin = solid.vertices_mm().astype(np.float64)
    spots = skin[rng.integers(len(skin), size=n)]
    spots = spots + 6.0 * unit(spots)
    spots = thing.place_mm[middle] + spots @ thing.turn[middle].T
    wrists = spots - joints[:, 0, 8]
    radius = stage.radius_mm
    moved_balls = balls[:, 0] + wrists[:, None]
    inside = solid.distance_mm((moved_balls - thing.place_mm[middle]) @ thing.turn[middle])
    holding = stage.balls.place(
        track.turn[middle : middle + 1],
        track.fingers[middle : middle + 1],
        track.wrist_mm[middle : middle + 1],
        stage.shape,
    )[0][:, side]
    pairs = np.stack([moved_balls, np.broadcast_to(holding, moved_balls.shape)], axis=1)
    depth = np.maximum(1.0 - gaps_mm(pairs, radius), 0) + np.maximum(-(inside - radius), 0).max(1)
    both_turns = np.broadcast_to(track.turn[middle], (n, 2, 3, 3)).copy()
    both_wrists = np.broadcast_to(track.wrist_mm[middle], (n, 2, 3)).copy()
    both_turns[:, other], both_wrists[:, other] = turns, wrists
    effort = solve_arms(both_turns, both_wrists, stage.arm).effort[:, other]
    best = choose(rng, effort + 0.5 * depth)
    # The finger keeps its place on the thing, with small movements.
    moves = smooth_noise(rng, stage.n, stage.frame_seconds, 3, (0.4, 1.5)) * rng.uniform(0, 10)
    follow = thing.turn @ thing.turn[middle].T
    reach = (follow @ (wrists[best] - thing.place_mm[middle])) + thing.place_mm + moves
    turn, wrist, fingers = track.turn.copy(), track.wrist_mm.copy(), track.fingers.copy()
    turn[:, other], wrist[:, other], fingers[:, other] = follow @ turns[best], reach, clip
    always = np.ones((stage.n, 2), bool)
    return replace(
        track,
        turn=turn,
        wrist_mm=wrist,
        fingers=fingers,
        present=np.ones(2, bool),
        framed=always,
        names=track.names + names,
        least_mm=1.0,
    )


def _hidden(stage: Stage) -> Track:
    """A thing moves or stands between the hands and the camera."""
    rng = stage.rng
    track = one(stage) if rng.random() < 0.3 else apart(stage)
    side = int(rng.choice(np.flatnonzero(track.present)))
    _, solid = _draw_thing(stage, _HIDING)
    towards = -stage.view.turn[2]
    room = 110 + max(np.abs(solid.y_mm).max(), solid.x_mm.max())
    middle = stage.middles(track.turn[:, side], track.wrist_mm[:, side])
    place = middle.mean(axis=0) + towards * (room + rng.uniform(0, 90))
    aside = unit(np.cross(rng.normal(size=3), towards))
    start = rng.uniform(-0.4, 0.3)
    step = step_between(stage.now / stage.seconds, start, rng.uniform(0.5, 1.4))
    path = rng.uniform(0, 260) * (step - 0.5)[:, None] * aside + rng.normal(0, 25, 3)
    still = random_turns(rng, 1)[0] if rng.random() < 0.6 else np.eye(3)
    sway = smooth_noise(rng, stage.n, stage.frame_seconds, 3, (0.2, 1.0)) * rng.uniform(0, 0.5)
    thing = Thing(solid, draw_look(rng, "thing"), exp_turn(sway) @ still, place + path)
    return replace(track, things=(thing,))
