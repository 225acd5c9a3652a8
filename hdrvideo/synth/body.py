"""A person's arms: from where the hands are to wrists, elbows, shoulders.

Axes of the person: x to the person's right, y down, z forward, millimetres; the origin is between
the shoulder joints. Where the hands are is given; each wrist's bend is chosen so that the elbow
lies well. The forearm has the hand's own roll, so a wrist only flexes and abducts.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from hdrvideo.datatypes import check_array
from hdrvideo.handmodel import PARTS, WRIST_LIMITS_DEG, HandModel

F64 = NDArray[np.float64]

# An adult's upper arm against the forearm of the hand model, and the shoulders' half distance.
UPPER_FROM_FOREARM: Final = 1.18
SHOULDER_FROM_FOREARM: Final = 0.72
# Bends that are tried at each time; well within WRIST_LIMITS_DEG.
_N_FLEXION, _N_ABDUCTION = 11, 6
_MARGIN_DEG: Final = 4.0
# How far from fully turned out (palm up) or in (palm down) a forearm may turn at ease.
_ROLL_EASE_DEG: Final = 75.0
_MIRROR: Final = np.array([1.0, -1.0])


@dataclass(frozen=True)
class ArmShape:
    """The arm of one person, in the axes of the flat right hand (forearm along +y).

    Attributes:
        elbow_mm: ``(3,)`` from the wrist.
        y_mm: ``(9,)`` places along the forearm, wrist end first.
        x_mm: ``(9,)`` half width there.
        z_mm: ``(9,)`` half depth there.
        middle_mm: ``(9, 2)`` middle of the arm there (x, z).
        upper_mm: Length of the upper arm.
        shoulder_mm: Half the distance between the shoulder joints.
    """

    elbow_mm: F64
    y_mm: F64
    x_mm: F64
    z_mm: F64
    middle_mm: F64
    upper_mm: float
    shoulder_mm: float

    def __post_init__(self) -> None:
        check_array("elbow_mm", self.elbow_mm, (3,), "float64")
        for name in ("y_mm", "x_mm", "z_mm"):
            check_array(name, getattr(self, name), (9,), "float64")
        check_array("middle_mm", self.middle_mm, (9, 2), "float64")

    @property
    def forearm_mm(self) -> float:
        """Length from wrist to elbow."""
        return float(np.linalg.norm(self.elbow_mm))

    def outline(self, y_mm: F64) -> tuple[F64, F64, F64]:
        """Give half width, half depth and middle ``(N, 2)`` at places along the forearm."""
        columns = (self.x_mm, self.z_mm, *self.middle_mm.T)
        x, z, *middle = (np.interp(y_mm, self.y_mm, values) for values in columns)
        return x, z, np.stack(middle, axis=-1)


@dataclass(frozen=True)
class Arms:
    """Both arms over T times, in the person's axes.

    Attributes:
        bend: ``(T, 2, 3, 3)`` wrist bend as :meth:`HandModel.forward` takes it.
        forearm: ``(T, 2, 3, 3)`` turn of each forearm against the flat hand's (a true rotation).
        elbow_mm: ``(T, 2, 3)``.
        shoulder_mm: ``(T, 2, 3)``, just one upper arm from the elbow.
        effort: ``(T, 2)`` how unnatural it is: below 1 is easy, above 6 hardly possible.
    """

    bend: F64
    forearm: F64
    elbow_mm: F64
    shoulder_mm: F64
    effort: F64

    def __post_init__(self) -> None:
        t = len(self.effort)
        check_array("bend", self.bend, (t, 2, 3, 3), "float64")
        check_array("forearm", self.forearm, (t, 2, 3, 3), "float64")
        for name in ("elbow_mm", "shoulder_mm"):
            check_array(name, getattr(self, name), (t, 2, 3), "float64")


def arm_shape(model: HandModel, shape: F64) -> ArmShape:
    """Measure the forearm of a hand of this shape and add the rest in proportion."""
    rest = model.template_mm.numpy().astype(np.float64)
    rest = rest + np.einsum("n,nvc->vc", shape, model.shape_mm.numpy())
    skin = rest[model.part.numpy() == PARTS.index("forearm")]
    rim = rest[_rim(model)]
    elbow = 0.5 * (rim.min(axis=0) + rim.max(axis=0))
    y = np.linspace(12.0, rim[:, 1].min() - 6.0, 9)
    nearest = np.abs(skin[:, 1] - y[:, None]).argsort(axis=1)[:, :24]
    slices = skin[nearest][:, :, [0, 2]]
    low, high = slices.min(axis=1), slices.max(axis=1)
    forearm = float(np.linalg.norm(elbow))
    half = 0.5 * (high - low)
    return ArmShape(
        elbow,
        y,
        half[:, 0],
        half[:, 1],
        0.5 * (low + high),
        UPPER_FROM_FOREARM * forearm,
        SHOULDER_FROM_FOREARM * forearm,
    )


@lru_cache(maxsize=4)
def _rim(model: HandModel) -> NDArray[np.int64]:
    """Give the vertices at which the forearm is open: edges of one triangle only."""
    faces = model.faces.numpy()
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    known, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(known[count == 1])


def mirrored(turn: F64) -> F64:
    """Give the turns ``(..., 2, 3, 3)`` of both sides as if both hands were right ones, or back."""
    flip = np.ones((2, 3))
    flip[1, 0] = -1
    return turn * flip[:, :, None] * flip[:, None]


def _bends() -> tuple[F64, F64]:
    """Give the tried bends ``(G, 3, 3)`` and how uncomfortable each is ``(G,)``."""
    flexion, abduction = (
        np.deg2rad(np.linspace(low + _MARGIN_DEG, high - _MARGIN_DEG, n))
        for (low, high, *_), n in zip(WRIST_LIMITS_DEG, (_N_FLEXION, _N_ABDUCTION), strict=False)
    )
    angles = np.stack(np.meshgrid(flexion, abduction, indexing="ij"), axis=-1).reshape(-1, 2)
    strain = (angles[:, 0] / np.deg2rad(42)) ** 2 + ((angles[:, 1] + 0.07) / np.deg2rad(20)) ** 2
    return angles, 0.35 * (strain + (angles[:, 0] / np.deg2rad(55)) ** 4)


_BEND_ANGLES, _BEND_STRAIN = _bends()


def _bend_matrix(angles: F64) -> F64:
    """Give flexion about x, then abduction about z, ``(..., 2)`` to ``(..., 3, 3)``."""
    cf, ca = np.moveaxis(np.cos(angles), -1, 0)
    sf, sa = np.moveaxis(np.sin(angles), -1, 0)
    zero = np.zeros_like(cf)
    rows = [ca, -sa, zero, cf * sa, cf * ca, -sf, sf * sa, sf * ca, cf]
    return np.stack(rows, axis=-1).reshape(*cf.shape, 3, 3)


_BENDS: Final = _bend_matrix(_BEND_ANGLES)


def solve_arms(turn: F64, wrist_mm: F64, shape: ArmShape, *, smooth: float = 0.0) -> Arms:
    """Choose the wrists' bends, and with them elbows and shoulders.

    All bends of a grid are weighed at each time: the upper arm's length, where the elbow hangs, how
    far the forearm is turned, and how much the wrist bends. The answer is their mean with weights
    that fall with the cost, so it is smooth in time where the hands are and always within limits.

    Args:
        turn: ``(T, 2, 3, 3)`` of the hands.
        wrist_mm: ``(T, 2, 3)``.
        shape: The person's arm.
        smooth: The T are times one after the other, and bends change slowly: standard deviation of
            the smoothing, in frames. 0: they have nothing to do with one another.
    """
    shoulder_mm = np.array([[shape.shoulder_mm, 0, 0], [-shape.shoulder_mm, 0, 0]])
    hand = mirrored(turn)
    cost = _cost(hand, wrist_mm * _flip(), shoulder_mm * _flip(), shape)
    weight = np.exp(-(cost - cost.min(axis=-1, keepdims=True)) / 0.25)
    angles = weight @ _BEND_ANGLES / weight.sum(axis=-1, keepdims=True)
    if smooth:
        angles = gaussian_filter1d(angles, smooth, axis=0, mode="nearest")
    bend = _bend_matrix(angles)
    forearm = mirrored(hand @ bend.swapaxes(-1, -2))
    local = shape.elbow_mm * _flip()
    elbow = wrist_mm + (forearm @ local[..., None])[..., 0]
    upper = shoulder_mm - elbow
    upper = upper / np.linalg.norm(upper, axis=-1, keepdims=True) * shape.upper_mm
    effort = (weight * cost).sum(axis=-1) / weight.sum(axis=-1)
    return Arms(bend, forearm, elbow, elbow + upper, effort)


def _flip() -> F64:
    flip = np.ones((2, 3))
    flip[1, 0] = -1
    return flip


def _cost(hand: F64, wrist_mm: F64, shoulder_mm: F64, shape: ArmShape) -> F64:
    """Weigh all bends for hands that are mirrored to be right ones: ``(T, 2, G)``."""
    forearm = hand[:, :, None] @ _BENDS.swapaxes(-1, -2)
    elbow = wrist_mm[:, :, None] + forearm @ shape.elbow_mm
    upper = shoulder_mm[:, None] - elbow
    length = np.linalg.norm(upper, axis=-1)
    stretch = (length - shape.upper_mm) / shape.upper_mm
    # Elbows hang below the shoulder, a little out and forward.
    hang = shoulder_mm + shape.upper_mm * np.array([0.35, 0.85, 0.25])
    away = np.linalg.norm(elbow - hang[:, None], axis=-1) / shape.upper_mm
    across = np.maximum(0.35 * shape.shoulder_mm - elbow[..., 0], 0) / shape.upper_mm
    behind = np.maximum(-0.35 * shape.upper_mm - elbow[..., 2], 0) / shape.upper_mm
    raised = np.maximum(0.45 * shape.upper_mm - elbow[..., 1], 0) / shape.upper_mm
    posture = 22 * stretch**2 + 1.4 * away**2 + 8 * across**2 + 8 * behind**2 + 5 * raised**2
    roll = _roll_cost(forearm, upper / length[..., None], shape)
    return np.asarray(posture + roll + _BEND_STRAIN)


def _roll_cost(forearm: F64, upper: F64, shape: ArmShape) -> F64:
    """Weigh how far each forearm is turned about its axis from thumb-up, where that is defined."""
    along = forearm @ (shape.elbow_mm / shape.forearm_mm)
    lift = upper - (upper * along).sum(axis=-1, keepdims=True) * along
    reach = np.linalg.norm(lift, axis=-1)
    lift = lift / np.maximum(reach, 1e-3)[..., None]
    thumb, palm = forearm[..., 0], -forearm[..., 2]
    roll = np.arctan2((palm * lift).sum(axis=-1), (thumb * lift).sum(axis=-1))
    over = np.maximum(np.abs(roll) - np.deg2rad(_ROLL_EASE_DEG), 0) / np.deg2rad(30)
    return np.asarray(0.9 * over**2 * np.clip(reach / 0.5, 0, 1))
