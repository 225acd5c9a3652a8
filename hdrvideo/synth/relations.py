"""What two hands do in a made clip: one function per relation of ``scene.RELATIONS``."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.synth.body import solve_arms
from hdrvideo.synth.staging import (
    Stage,
    Track,
    choose,
    held,
    leaving,
    moved,
    pair_cost,
    place_apart,
    place_pair,
    track_of,
    within,
)
from hdrvideo.synth.turns import exp_turn, random_turns, smooth_noise, step_between, unit
from hdrvideo.synth.viewpoint import EYES_MM

F64 = NDArray[np.float64]

# Touching and interlocked hands are together for at least this share of the clip, crossing ones
# overlap for so much of it; the tests ask for 60 and 50 %.
_TOGETHER: Final = 0.68
_CROSSED: Final = 0.6
_APART_MM: Final = 15.0
_BETWEEN_MM: Final = 19.0
_N_PLACES: Final = 200


def apart(stage: Stage) -> Track:
    """Two hands that do not come near one another, nor overlap in the picture."""
    turn, wrist = place_apart(stage)
    middles = stage.middles(turn, wrist) @ stage.view.turn.T
    gap = float(np.linalg.norm((middles[0] - middles[1])[:2]))
    most = float(np.clip(0.4 * (gap - 170), 5, 90))
    return _free(stage, turn, wrist, most)


def _free(stage: Stage, turn: F64, wrist: F64, most_mm: float) -> Track:
    """Let both hands move on their own, each at most so far from its place."""
    fingers, names = stage.fingers()
    turns, wrists = [], []
    for side in (0, 1):
        moves, used = stage.wrist(most_mm, 35)
        names += used
        a, b = moved(turn[side], wrist[side], moves, side)
        turns.append(a)
        wrists.append(b)
    return track_of(
        stage, np.stack(turns, axis=1), np.stack(wrists, axis=1), fingers, names, _APART_MM
    )


def together(stage: Stage, relation: str) -> Track:
    """Two hands that touch or interlock: they may come, stay, move as one, and may part."""
    rng = stage.rng
    grip = stage.grips.draw(rng, relation)
    turn, wrist = place_pair(stage, grip.turn, grip.wrist_mm * stage.balls.size(stage.shape))
    there = held(stage, _TOGETHER)
    fingers, names = stage.fingers("any" if relation == "touching" else "relaxed")
    # Laced fingers come in nearly straight and close at the end.
    closing = there if relation == "touching" else np.clip(2.2 * there - 1.2, 0, 1)
    idle = 0.12 * (fingers - fingers.mean(axis=0))
    kept = closing[:, None, None, None]
    fingers = fingers + kept * (grip.fingers + idle - fingers)
    fingers = within(fingers)
    away_mm, away = leaving(stage, turn, wrist)
    apart_share = (1 - there)[:, None, None]
    wrists = wrist + apart_share * away_mm + _slide(stage, relation)
    turns = turn @ exp_turn(apart_share * away)
    turns, wrists, used = _carried(stage, turns, wrists, stage.middles(turn, wrist).mean(axis=0))
    track = track_of(stage, turns, wrists, fingers, (grip.name, *names, *used), 0.0)
    return replace(track, most_mm=np.where(there > 0.98, 1.5, np.inf))


def _slide(stage: Stage, relation: str) -> F64:
    """Let hands that touch slide a little on one another ``(T, 2, 3)``; sometimes they rub."""
    rng = stage.rng
    rubs = relation == "touching" and rng.random() < 0.2
    most = rng.uniform(6, 14) if rubs else rng.uniform(0, 3)
    slide = most * smooth_noise(rng, stage.n, stage.frame_seconds, 3, (0.5, 1.6))
    return np.stack([0.5 * slide, -0.5 * slide], axis=1)


def _carried(
    stage: Stage, turns: F64, wrists: F64, middle: F64
) -> tuple[F64, F64, tuple[str, ...]]:
    """Move both hands as one about their middle."""
    moves, names = stage.wrist(float(stage.rng.uniform(10, 90)), float(stage.rng.uniform(3, 22)))
    turn = exp_turn(moves[:, None, 3:])
    carried = middle + (turn @ (wrists - middle)[..., None])[..., 0] + moves[:, None, :3]
    return turn @ turns, carried, names


def crossing(stage: Stage) -> Track:
    """One hand passes before the other as the camera sees it, with room between them."""
    rng = stage.rng
    turn, wrist, front = _one_before_other(stage)
    forward = stage.view.turn[2]
    aside = unit(np.cross(rng.normal(size=3), forward))
    across = np.cross(forward, aside)
    near = rng.uniform(15, 60)
    if rng.random() < 0.5:  # stays before the other hand, drifting
        there = held(stage, _CROSSED + 0.05)
        crossed = there > 0.95
        far = near + (1 - there) * rng.uniform(150, 260)
        swing = smooth_noise(rng, stage.n, stage.frame_seconds, 1, (0.2, 0.8))
        path = far[:, None] * aside + swing * rng.uniform(5, 30) * across
    else:  # sweeps over it; a short clip shows a piece of that
        speed = min(1.0, stage.seconds)
        middle = 0.5 + rng.uniform(-0.28, 0.28) * (1 - speed)
        now = middle + ((np.arange(stage.n) + 0.5) / stage.n - 0.5) * speed
        crossed = np.abs(now - 0.5) <= 0.5 * _CROSSED
        start = rng.uniform(-0.25, 0.0)
        sweep = step_between(now, start, 1 - 2 * start)
        path = (rng.uniform(70, 130) * (2 * sweep - 1))[:, None] * aside + near * across
    track = _free(stage, turn, wrist, 25.0)
    share = np.array([0.7, -0.3]) if front == 0 else np.array([-0.3, 0.7])
    track = replace(track, wrist_mm=track.wrist_mm + share[:, None] * path[:, None])
    return replace(track, least_mm=_BETWEEN_MM, front=front, crossed=crossed)


def _one_before_other(stage: Stage) -> tuple[F64, F64, int]:
    """Place two hands on one line of sight: turns, wrists, and which is in front."""
    rng, n = stage.rng, 192
    turns = random_turns(rng, 2 * n).reshape(n, 2, 3, 3)
    front = (rng.random(n) < 0.5).astype(int)
    between = rng.uniform(50, 150, n)
    towards = np.where(front[:, None] == np.arange(2), -0.5, 0.5) * between[:, None]
    middle = stage.target_mm + rng.normal(0, 40, (n, 1, 3))
    middles = middle + towards[..., None] * stage.view.turn[2]
    wrists = middles - stage.middles(turns, np.zeros((2, 3)))
    best = choose(rng, pair_cost(stage, turns, wrists))
    return turns[best], wrists[best], int(front[best])


def one(stage: Stage, side: int | None = None) -> Track:
    """A single hand; the other arm hangs out of sight."""
    chosen = int(stage.rng.integers(2)) if side is None else side
    track = _free(stage, *place_apart(stage, least_mm=0.0), 90.0)
    present = np.arange(2) == chosen
    # Alone, a hand may be anywhere before the person, not just before its own shoulder.
    drift = stage.target_mm - stage.middles(track.turn, track.wrist_mm).mean(axis=0)[chosen]
    wrists = track.wrist_mm + 0.7 * drift * present[:, None]
    return replace(track, wrist_mm=wrists, present=present, framed=track.framed & present)


def passing(stage: Stage) -> Track:
    """Hands that enter the picture, or leave it, or both."""
    track = one(stage) if stage.rng.random() < 0.4 else apart(stage)
    share = np.stack([_away_share(stage) for _ in range(2)], axis=1)
    away = np.stack([_out_of_sight(stage, track, side) for side in (0, 1)])
    middle = track.wrist_mm.mean(axis=0)
    wrists = track.wrist_mm + share[..., None] * (away - middle)
    framed = (share < 0.05) & track.present
    if not framed.any():
        framed = (share <= share[:, track.present].min() + 0.02) & track.present
    return replace(track, wrist_mm=wrists, framed=framed)


def _out_of_sight(stage: Stage, track: Track, side: int) -> F64:
    """Find a place ``(3,)`` within the arm's reach that is far aside as the camera sees it."""
    rng, arm = stage.rng, stage.arm
    reach = rng.uniform(0.55, 0.93, (_N_PLACES, 1)) * (arm.forearm_mm + arm.upper_mm)
    towards = unit(rng.normal((0, 0.5, 0.2), 1, (_N_PLACES, 3)))
    shoulder = np.array([arm.shoulder_mm * (-1 if side else 1), 0, 0])
    places = shoulder + reach * towards
    middle = stage.n // 2
    turns = np.broadcast_to(track.turn[middle], (_N_PLACES, 2, 3, 3))
    wrists = np.broadcast_to(track.wrist_mm[middle], (_N_PLACES, 2, 3)).copy()
    wrists[:, side] = places
    effort = solve_arms(turns, wrists, arm).effort[:, side]
    aside = (places - track.wrist_mm[middle, side]) @ stage.view.turn.T
    far = np.linalg.norm(aside[:, :2], axis=1)
    own = places[:, 0] * (-1 if side else 1)
    effort = effort + np.maximum(60 - own, 0) / 30
    if stage.view.camera == "egocentric":  # not right before the eyes
        effort = effort + np.maximum(330 - np.linalg.norm(places - EYES_MM, axis=1), 0) / 15
    return np.asarray(places[choose(rng, effort - far / 45, heat=0.8)])


def _away_share(stage: Stage) -> F64:
    """Draw how far a hand is out of the picture at each time ``(T,)``, 0 in .. 1 gone."""
    rng, now, total = stage.rng, stage.now, max(stage.seconds, 0.5)
    takes = rng.uniform(0.5, 1.1)
    middle = rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 0.1)
    comes = step_between(now, total * (0.25 + middle) - 0.5 * takes, takes)
    goes = step_between(now, total * (0.75 + middle) - 0.5 * takes, takes)
    kind = int(rng.integers(3))
    if stage.seconds < 0.5:  # a short piece of the movement
        step = step_between(now, rng.uniform(-0.6, 0.0) * takes, takes)
        return 1 - step if kind else step
    return np.asarray([1 - comes, goes, 1 - comes + goes][kind])
