"""What the relations of two hands are made of: a stage, a track on it, and how hands are placed."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from hdrvideo.datatypes import Bool, check_array
from hdrvideo.handmodel import PARTS, clamp_to_limits, matrix_to_axis_angle
from hdrvideo.synth.body import Arms, ArmShape, solve_arms
from hdrvideo.synth.contact import BallHand, part_hands
from hdrvideo.synth.grips import Grips
from hdrvideo.synth.looks import Look
from hdrvideo.synth.motions import Motions
from hdrvideo.synth.props import Solid
from hdrvideo.synth.turns import exp_turn, random_turns, step_between, unit
from hdrvideo.synth.viewpoint import View

F64 = NDArray[np.float64]

# From the wrist to the middle of the mean hand.
HAND_MIDDLE_MM: Final = np.array([0.0, -95.0, 0.0])
_FRAMES_PER_KNOT: Final = 4
_N_TRIES: Final = 96
_N_LOOKS: Final = 3
# How quickly wrists bend anew: standard deviation of the smoothing.
_ARM_SECONDS: Final = 0.11
# How deep crossing hands overlap at least as the camera sees them.
_OVERLAP_MM: Final = 15.0
# How far their middles are apart at most there, and half way through.
_NEAR_MM, _CLOSE_MM = 80.0, 45.0


@dataclass(frozen=True)
class Stage:
    """What all relations have in common; axes of the person.

    Attributes:
        rng: Source of all chance of the clip.
        n: Frames T.
        frame_seconds: Time from frame to frame.
        motions: Gives fingers and wrists.
        grips: Gives two hands together.
        balls: The hand as balls.
        shape: ``(n_shape,)`` of both hands.
        radius_mm: ``(N,)`` of the balls in hands of this shape.
        arm: The person's arm.
        view: Where the camera looks.
        target_mm: ``(3,)`` where the hands are, about.
    """

    rng: np.random.Generator
    n: int
    frame_seconds: float
    motions: Motions
    grips: Grips
    balls: BallHand
    shape: F64
    radius_mm: F64
    arm: ArmShape
    view: View
    target_mm: F64

    @property
    def now(self) -> F64:
        """Time of each frame ``(T,)``, seconds."""
        return np.arange(self.n, dtype=np.float64) * self.frame_seconds

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.n * self.frame_seconds

    def fingers(self, kind: str = "any") -> tuple[F64, tuple[str, ...]]:
        """Draw both hands' finger motion ``(T, 2, 15, 3)``, with the names used."""
        clips = [
            self.motions.fingers(self.rng, self.n, self.frame_seconds, kind=kind)  # type: ignore[arg-type]
            for _ in range(2)
        ]
        moves = np.stack([clip for clip, _ in clips], axis=1).astype(np.float64)
        return moves, clips[0][1] + clips[1][1]

    def wrist(self, most_mm: float, most_deg: float) -> tuple[F64, tuple[str, ...]]:
        """Draw a right wrist's movement ``(T, 6)`` that goes at most so far from its mean."""
        raw, names = self.motions.wrist(self.rng, self.n, self.frame_seconds)
        moves = raw.astype(np.float64)
        for part, most in ((slice(3), most_mm), (slice(3, 6), np.deg2rad(most_deg))):
            far = np.linalg.norm(moves[:, part], axis=1).max()
            moves[:, part] *= min(1.0, most / max(far, 1e-6))
        return moves, names

    def arms(self, turn: F64, wrist_mm: F64) -> Arms:
        """Give the arms of hands ``(T, 2, 3, 3)``, ``(T, 2, 3)`` in the course of the clip."""
        smooth = min(_ARM_SECONDS / self.frame_seconds, 0.25 * self.n)
        return solve_arms(turn, wrist_mm, self.arm, smooth=smooth)

    def middles(self, turn: F64, wrist_mm: F64) -> F64:
        """Give the middle of hands ``(..., 3)``."""
        size = self.balls.size(self.shape)
        return np.asarray(wrist_mm + size * (turn @ HAND_MIDDLE_MM))


@dataclass(frozen=True)
class Thing:
    """A prop that is no part of the person, in the person's axes.

    Attributes:
        solid: Its form.
        look: Its colours.
        turn: ``(T, 3, 3)``.
        place_mm: ``(T, 3)``.
    """

    solid: Solid
    look: Look
    turn: F64
    place_mm: F64


@dataclass(frozen=True)
class Track:
    """Where the hands go, in the person's axes.

    Attributes:
        turn: ``(T, 2, 3, 3)``.
        wrist_mm: ``(T, 2, 3)``.
        fingers: ``(T, 2, 15, 3)`` axis-angle.
        present: ``(2,)`` bool.
        names: Motions used.
        least_mm: The gap between the hands that is to be kept.
        most_mm: ``(T,)`` gap that is allowed at most, inf for any.
        front: Side that passes before the other hand as the camera sees it, or None.
        crossed: ``(T,)`` bool, when it shall hide some of it.
        framed: ``(T, 2)`` bool, when each hand shall be in the picture.
        things: Objects.
        aim_mm: ``(N, 3)`` what the camera frames instead of hands, or None.
        person: There is a person.
    """

    turn: F64
    wrist_mm: F64
    fingers: F64
    present: Bool
    names: tuple[str, ...]
    least_mm: float
    most_mm: F64
    framed: Bool
    front: int | None = None
    crossed: Bool | None = None
    things: tuple[Thing, ...] = ()
    aim_mm: F64 | None = None
    person: bool = True

    def __post_init__(self) -> None:
        t = len(self.turn)
        check_array("turn", self.turn, (t, 2, 3, 3), "float64")
        check_array("wrist_mm", self.wrist_mm, (t, 2, 3), "float64")
        check_array("fingers", self.fingers, (t, 2, 15, 3), "float64")
        check_array("present", self.present, (2,), "bool")
        check_array("most_mm", self.most_mm, (t,), "float64")
        check_array("framed", self.framed, (t, 2), "bool")


def track_of(
    stage: Stage, turn: F64, wrist_mm: F64, fingers: F64, names: tuple[str, ...], least_mm: float
) -> Track:
    """Make a track of two hands that keep a distance and are always in the picture."""
    anything, always = np.full(stage.n, np.inf), np.ones((stage.n, 2), bool)
    both = np.ones(2, bool)
    return Track(turn, wrist_mm, fingers, both, names, least_mm, anything, always)


def knots(n: int) -> NDArray[np.int64]:
    """Give the frames at which a clip's contacts are looked at, first and last among them."""
    count = 1 + -(-(n - 1) // _FRAMES_PER_KNOT)
    return np.unique(np.round(np.linspace(0, n - 1, count)).astype(np.int64))


def spread_over(values: F64, at: NDArray[np.int64], n: int) -> F64:
    """Take values ``(K, ...)`` at knots smoothly to all ``n`` frames."""
    if len(at) < 4:
        flat = values.reshape(len(at), -1)
        lines = [np.interp(np.arange(n), at, column) for column in flat.T]
        return np.stack(lines, axis=1).reshape(n, *values.shape[1:])
    return np.asarray(CubicSpline(at, values, bc_type="clamped")(np.arange(n)))


def settle(stage: Stage, track: Track, eye_mm: F64) -> Track:
    """Move the wrists so that the hands keep the gaps and overlaps that the track asks for.

    Args:
        stage: The clip's stage.
        track: Where the hands go.
        eye_mm: ``(T, 3)`` places of the camera; counts only where a hand passes before another.
    """
    if not track.present.all():
        return track
    at, radius = knots(stage.n), stage.radius_mm
    if track.front is not None:
        track = _shift(track, _overlap(stage, track, eye_mm[at], radius), at)
    # Moved wrists bend the arms anew, so look again.
    for _ in range(_N_LOOKS):
        bend = stage.arms(track.turn, track.wrist_mm).bend[at]
        balls = _balls_at(stage, track, at, bend)
        along = None
        if track.front is not None:
            along = unit(balls.mean(axis=(1, 2)) - eye_mm[at]) * (1 if track.front else -1)
        shift = part_hands(
            balls, radius, least_mm=track.least_mm, most_mm=track.most_mm[at], along=along
        )
        if not shift.any():
            break
        track = _shift(track, shift, at)
    return track


def _balls_at(stage: Stage, track: Track, at: NDArray[np.int64], bend: F64 | None = None) -> F64:
    hands = track.turn[at], track.fingers[at], track.wrist_mm[at]
    return stage.balls.place(*hands, stage.shape, bend)[0]


def _shift(track: Track, shift_mm: F64, at: NDArray[np.int64]) -> Track:
    shift_mm = spread_over(shift_mm, at, len(track.turn))
    return replace(track, wrist_mm=track.wrist_mm + shift_mm)


def _overlap(stage: Stage, track: Track, eye_mm: F64, radius_mm: F64) -> F64:
    """Find shifts ``(K, 2, 3)`` across the line of sight, so that crossing hands overlap there."""
    at, hand = knots(stage.n), stage.balls.part != PARTS.index("forearm")
    seen = (_balls_at(stage, track, at)[:, :, hand] - eye_mm[:, None, None]) @ stage.view.turn.T
    depth = np.maximum(seen[..., 2].mean(axis=(1, 2)), 100.0)
    flat = seen / np.maximum(seen[..., 2:], 50.0) * depth[:, None, None, None]
    flat[..., 2] = 0
    crossed = np.zeros(stage.n, bool) if track.crossed is None else track.crossed
    # Bring the hands' middles near, nearest half way through.
    apart = np.diff(flat.mean(axis=2), axis=1)[:, 0]
    length = np.linalg.norm(apart, axis=1) + 1e-6
    when = crossed[at] * np.arange(1, len(at) + 1)
    half_way = np.abs(when - np.median(when[when > 0])) if when.any() else np.zeros(len(at))
    wanted = _CLOSE_MM + (_NEAR_MM - _CLOSE_MM) * half_way / max(half_way.max(), 1.0)
    excess = np.where(crossed[at], np.maximum(length - wanted, 0), 0)[:, None]
    shift = 0.5 * gaussian_filter1d(apart / length[:, None] * excess, 0.8, axis=0, mode="nearest")
    shift = np.stack([shift, -shift], axis=1)
    most = np.where(crossed[at], -_OVERLAP_MM, np.inf)
    moved_flat = flat + shift[:, :, None]
    shift = shift + part_hands(moved_flat, radius_mm[hand], least_mm=-np.inf, most_mm=most)
    return np.asarray(shift @ stage.view.turn)


def within(fingers: F64) -> F64:
    """Bring fingers ``(T, 2, 15, 3)`` axis-angle within the joints' limits."""
    pose = torch.from_numpy(fingers).reshape(-1, 15, 3)
    pose = clamp_to_limits(torch.cat([torch.zeros_like(pose[:, :1]), pose], dim=1))
    return np.asarray(matrix_to_axis_angle(pose[:, 1:]).numpy().reshape(fingers.shape))


# --- placing -----------------------------------------------------------------------------------


def choose(rng: np.random.Generator, cost: F64, heat: float = 0.35) -> int:
    """Draw one of many, the cheap rather than the dear."""
    weight = np.exp(-(cost - cost.min()) / heat)
    return int(rng.choice(len(cost), p=weight / weight.sum()))


def place_pair(stage: Stage, turn: F64, wrist_mm: F64) -> tuple[F64, F64]:
    """Turn and move two hands ``(2, 3, 3)``, ``(2, 3)`` together to where arms reach with ease."""
    rng = stage.rng
    turns = random_turns(rng, _N_TRIES)[:, None] @ turn
    middle = stage.middles(turn, wrist_mm).mean(axis=0)
    offset = (turns @ turn.swapaxes(-1, -2) @ (wrist_mm - middle)[..., None])[..., 0]
    wrists = offset + stage.target_mm + rng.normal(0, 35, (_N_TRIES, 1, 3))
    best = choose(rng, pair_cost(stage, turns, wrists))
    return turns[best], wrists[best]


def pair_cost(stage: Stage, turns: F64, wrists_mm: F64) -> F64:
    """Weigh N placings ``(N, 2, 3, 3)``, ``(N, 2, 3)``: easy arms, forearms not in one another."""
    arms = solve_arms(turns, wrists_mm, stage.arm)
    share = np.linspace(0.25, 1.0, 6)[:, None]
    limbs = wrists_mm[:, :, None] + share * (arms.elbow_mm - wrists_mm)[:, :, None]
    apart = np.linalg.norm(limbs[:, 0, :, None] - limbs[:, 1, None], axis=-1)
    inside = np.maximum(95 - apart.min(axis=(1, 2)), 0)
    return np.asarray(arms.effort.max(axis=1) + inside / 12)


def place_apart(stage: Stage, *, least_mm: float = 190.0) -> tuple[F64, F64]:
    """Place two hands freely, each before its own shoulder, apart as the camera sees them.

    Returns:
        Turns ``(2, 3, 3)`` and wrists ``(2, 3)``.
    """
    rng = stage.rng
    turns = random_turns(rng, 2 * _N_TRIES).reshape(-1, 2, 3, 3)
    aside = rng.uniform(50, 260, (len(turns), 2)) * np.array([1, -1])
    offset = rng.normal(0, 1, (len(turns), 2, 3)) * [15.0, 70.0, 55.0]
    middles = stage.target_mm + offset + aside[..., None] * [1.0, 0, 0]
    wrists = middles - (stage.middles(turns, np.zeros((2, 3))))
    arms = solve_arms(turns, wrists, stage.arm)
    seen, wrist, elbow = (
        (points @ stage.view.turn.T)[..., :2] for points in (middles, wrists, arms.elbow_mm)
    )
    near = np.maximum(least_mm - np.linalg.norm(seen[:, 0] - seen[:, 1], axis=-1), 0) / 20
    # Nor shall a forearm pass before or behind the other hand.
    limb = elbow - wrist
    gap = seen[:, ::-1] - wrist
    part = (gap * limb).sum(axis=-1) / np.maximum((limb**2).sum(axis=-1), 1.0)
    gap = np.linalg.norm(gap - np.clip(part, 0, 1)[..., None] * limb, axis=-1)
    hidden = np.maximum(0.7 * least_mm - gap, 0).max(axis=1) / 20
    best = choose(rng, arms.effort.max(axis=1) + near**2 + hidden**2)
    return turns[best], wrists[best]


def moved(turn: F64, wrist_mm: F64, moves: F64, side: int) -> tuple[F64, F64]:
    """Move one hand ``(T, 3, 3)``, ``(T, 3)`` by a right wrist's movement ``(T, 6)``."""
    flip = np.array([-1.0, 1, 1, 1, -1, -1]) if side else np.ones(6)
    moves = moves * flip
    return turn @ exp_turn(moves[:, 3:]), wrist_mm + moves[:, :3]


def held(stage: Stage, least_share: float) -> F64:
    """Draw when hands are together ``(T,)``: 0 away, 1 there, for at least a share of the clip."""
    rng, now, total = stage.rng, stage.now, stage.seconds
    comes, goes = rng.random(2) < 0.45
    spare = (1 - least_share) / (2 if comes and goes else 1)
    there = np.ones(stage.n)
    if comes:
        takes = rng.uniform(0.3, 0.8)
        there = there * step_between(now, rng.uniform(0.2, 1) * spare * total - takes, takes)
    if goes:
        takes = rng.uniform(0.3, 0.8)
        starts = total * (1 - rng.uniform(0.2, 1) * spare)
        there = there * (1 - step_between(now, starts, takes))
    return there


def leaving(stage: Stage, turn: F64, wrist_mm: F64) -> tuple[F64, F64]:
    """Draw where two hands go when they part: moves ``(2, 3)`` mm and turns ``(2, 3)``."""
    rng = stage.rng
    middles = stage.middles(turn, wrist_mm)
    apart = unit(middles[0] - middles[1]) * np.array([[1.0], [-1.0]])
    own = np.array([[1.0, 0.25, 0.0], [-1.0, 0.25, 0.0]])
    towards = unit(0.8 * apart + 0.6 * own + rng.normal(0, 0.25, (2, 3)))
    turns = unit(rng.normal(size=(2, 3))) * rng.uniform(0, np.deg2rad(35), (2, 1))
    return towards * rng.uniform(90, 230, (2, 1)), turns
