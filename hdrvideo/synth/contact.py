"""Bodies as balls: how far hands are apart, and how to part or join them over a whole clip.

A hand's volume is covered by inscribed balls (the shrinking ball method of Ma, Bae and Choi, "3D
medial axis point approximation using nearest neighbors and the normal field", 2012, thinned
greedily). A ball's middle is a fixed mixture of vertices, so the hand model itself moves it.
"""

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hdrvideo.datatypes import check_array
from hdrvideo.handmodel import PARTS, HandModel, axis_angle_to_matrix

F64 = NDArray[np.float64]

# How far the skin may stick out of the balls, and how far the balls are blown up to make up for it.
_COVER_MM: Final = 2.0
_COVER_FOREARM_MM: Final = 4.0
_BLOW_UP_MM: Final = 0.7
_LARGEST_MM, _SMALLEST_MM = 40.0, 2.5


@dataclass(frozen=True)
class BallHand:
    """A hand model whose vertices are the middles of N balls.

    Attributes:
        model: Poses the middles; made of a :class:`HandModel`.
        radius_mm: ``(N,)`` in the mean hand.
        part: ``(N,)`` index into :data:`hdrvideo.handmodel.PARTS`.
        skin: ``(N, V)`` bool, the vertices round each ball.
        whole: The hand model that it was made of.
    """

    model: HandModel
    radius_mm: F64
    part: NDArray[np.int64]
    skin: NDArray[np.bool_]
    whole: HandModel

    def __post_init__(self) -> None:
        n = self.model.template_mm.shape[0]
        check_array("radius_mm", self.radius_mm, (n,), "float64")
        check_array("part", self.part, (n,), "int64")

    def place(
        self,
        turn: F64,
        fingers: F64,
        wrist_mm: F64,
        shape: F64,
        bend: F64 | None = None,
        *,
        side: tuple[int, ...] = (0, 1),
    ) -> tuple[F64, F64]:
        """Pose K times S hands of one person.

        Args:
            turn: ``(K, S, 3, 3)`` of the wrists.
            fingers: ``(K, S, 15, 3)`` axis-angle.
            wrist_mm: ``(K, S, 3)``.
            shape: ``(n_shape,)``.
            bend: ``(K, S, 3, 3)`` wrist bend, or None for straight.
            side: S sides.

        Returns:
            Middles ``(K, S, N, 3)`` and joints ``(K, S, 21, 3)``, mm.
        """
        k, s = turn.shape[:2]
        with torch.no_grad():
            hand = _tensor(turn).reshape(k * s, 1, 3, 3)
            turns = axis_angle_to_matrix(_tensor(fingers).reshape(k * s, 15, 3))
            posed = self.model(
                torch.cat([hand, turns], dim=1),
                _tensor(shape).expand(k * s, -1),
                side=torch.tensor(side).repeat(k),
                wrist_mm=_tensor(wrist_mm).reshape(k * s, 3),
                wrist_bend=None if bend is None else _tensor(bend).reshape(k * s, 3, 3),
            )
        places = (posed.vertices_mm, posed.joints_mm)
        balls, joints = (p.numpy().astype(np.float64).reshape(k, s, -1, 3) for p in places)
        return balls, joints

    def radii_mm(self, shape: F64) -> F64:
        """Give the balls' radii ``(N,)`` in a hand of this shape: they grow as their skin does."""
        scores = _tensor(shape)
        grown = []
        for weight in (0.0, 1.0):
            middles, skin = (
                m.template_mm + torch.einsum("n,nvc->vc", weight * scores, m.shape_mm)
                for m in (self.model, self.whole)
            )
            away = torch.cdist(middles, skin).numpy()
            grown.append((away * self.skin).sum(axis=1) / self.skin.sum(axis=1))
        return np.asarray(self.radius_mm * grown[1] / grown[0])

    def size(self, shape: F64) -> float:
        """Give how long a hand is against the mean hand, wrist to middle knuckle."""
        knuckle = self.model.joints_mm[9].numpy()
        grown = knuckle + np.einsum("n,nc->c", shape, self.model.shape_joints_mm[:, 9].numpy())
        return float(np.linalg.norm(grown) / np.linalg.norm(knuckle))


def _tensor(array: F64) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


@lru_cache(maxsize=4)
def ball_hand(model: HandModel) -> BallHand:
    """Cover a hand model with balls."""
    vertices_mm = model.template_mm.numpy().astype(np.float64)
    part = model.part.numpy()
    middles_mm, radius_mm = _inscribed(vertices_mm, model.faces.numpy())
    chosen = _cover(vertices_mm, part, middles_mm, radius_mm)
    middles_mm, radius_mm = middles_mm[chosen], radius_mm[chosen]
    mix = np.stack(
        [_mixture(vertices_mm, c, r) for c, r in zip(middles_mm, radius_mm, strict=True)]
    )
    mixing = torch.from_numpy(mix.astype(np.float32))
    small = copy.copy(model)
    small._buffers = dict(model._buffers)
    small.template_mm = mixing @ model.template_mm
    small.shape_mm = mixing @ model.shape_mm
    small.skin_weights = mixing @ model.skin_weights
    return BallHand(small, radius_mm + _BLOW_UP_MM, part[chosen], mix != 0, model)


def _inscribed(vertices_mm: F64, faces: NDArray[np.int64]) -> tuple[F64, F64]:
    """Give at each vertex the largest ball inside that touches it: middles and radii."""
    corners = vertices_mm[faces]
    face_normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = np.zeros_like(vertices_mm)
    for corner in range(3):
        np.add.at(normal, faces[:, corner], face_normal)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    tree = cKDTree(vertices_mm)
    radius_mm = np.full(len(vertices_mm), _LARGEST_MM)
    for _ in range(12):
        distance_mm, nearest = tree.query(vertices_mm - normal * radius_mm[:, None])
        offset = vertices_mm - vertices_mm[nearest]
        along = 2 * (offset * normal).sum(axis=1)
        hit = (distance_mm < radius_mm - 0.05) & (along > 1e-6)
        touching = (offset**2).sum(axis=1) / np.where(hit, along, 1.0)
        shrunk = np.maximum(np.where(hit, touching, radius_mm), _SMALLEST_MM)
        radius_mm = np.minimum(radius_mm, shrunk)
    return vertices_mm - normal * radius_mm[:, None], radius_mm


def _cover(vertices_mm: F64, part: F64, middles_mm: F64, radius_mm: F64) -> NDArray[np.int64]:
    """Choose few balls that reach near every vertex."""
    forearm = part == PARTS.index("forearm")
    tolerance_mm = np.where(forearm, _COVER_FOREARM_MM, _COVER_MM)
    apart_mm = np.linalg.norm(vertices_mm[:, None] - middles_mm, axis=-1) - radius_mm
    covers = apart_mm <= tolerance_mm[:, None]
    left = np.ones(len(vertices_mm), bool)
    chosen: list[int] = []
    while left.any():
        best = int((covers & left[:, None]).sum(axis=0).argmax())
        chosen.append(best)
        left = left & ~covers[:, best]
    return np.array(sorted(chosen))


def _mixture(vertices_mm: F64, middle_mm: F64, radius_mm: float) -> F64:
    """Give weights ``(V,)`` of the vertices round a ball that sum to one and give its middle."""
    away_mm = np.linalg.norm(vertices_mm - middle_mm, axis=1)
    support = np.flatnonzero(away_mm <= radius_mm + 3.0)
    rows = np.concatenate([(vertices_mm[support] - middle_mm).T, np.ones((1, len(support)))])
    weights = np.zeros(len(vertices_mm))
    weights[support] = np.linalg.pinv(rows) @ np.array([0.0, 0.0, 0.0, 1.0])
    return weights


# --- two hands ---------------------------------------------------------------------------------


def gaps_mm(balls_mm: F64, radius_mm: F64) -> F64:
    """Give the least distance ``(K,)`` between the two hands of ``(K, 2, N, 3)``; < 0 overlaps."""
    apart = _distances(balls_mm[:, 0], balls_mm[:, 1])
    return np.asarray((apart - radius_mm[:, None] - radius_mm).min(axis=(1, 2)))


def _distances(a_mm: F64, b_mm: F64) -> F64:
    """Give distances ``(K, N, M)``."""
    squares = (a_mm**2).sum(-1)[:, :, None] + (b_mm**2).sum(-1)[:, None]
    return np.asarray(np.sqrt(np.maximum(squares - 2 * a_mm @ b_mm.swapaxes(1, 2), 0)))


def part_hands(
    balls_mm: F64,
    radius_mm: F64,
    *,
    least_mm: float = 0.0,
    most_mm: F64 | None = None,
    along: F64 | None = None,
    rounds: int = 40,
) -> F64:
    """Find smooth shifts that bring the gap between two hands into a range, clip at once.

    Each round moves the hands apart along the mean direction of what overlaps (or together along
    the nearest pair), half the step each, and smooths the shifts in time.

    Args:
        balls_mm: ``(K, 2, N, 3)`` at K times.
        radius_mm: ``(N,)``.
        least_mm: Gap that is wanted at all times.
        most_mm: ``(K,)`` gap that is allowed at most (inf for any), or None.
        along: ``(K, 3)`` the only direction of moving (the right hand's), or None for any.
        rounds: At most so many.

    Returns:
        ``(K, 2, 3)`` mm to add to each hand.
    """
    shift = np.zeros((len(balls_mm), 3))
    far = np.full(len(balls_mm), np.inf) if most_mm is None else np.maximum(most_mm, least_mm + 1.0)
    for i in range(rounds):
        if i % 12 == 0:
            moved = balls_mm + np.stack([shift, np.zeros_like(shift)], axis=1)[:, :, None]
            a, b, radii = _near_pairs(moved, radius_mm, least_mm)
            difference = balls_mm[:, 0, a] - balls_mm[:, 1, b]
        offset = difference + shift[:, None]
        apart = np.sqrt((offset**2).sum(axis=-1)) + 1e-9
        gap = apart - radii
        lack = np.maximum(least_mm + 0.3 - gap, 0)
        worst, nearest = lack.max(axis=1), gap.argmin(axis=1)
        excess = np.maximum(gap.min(axis=1) - far, 0) * np.isfinite(far)
        if worst.max() < 0.5 and np.where(np.isfinite(far), excess, 0).max() < 0.5:
            break
        weight = lack / apart
        push = (weight[..., None] * offset).sum(axis=1) if along is None else along
        push = push / np.maximum(np.linalg.norm(push, axis=-1, keepdims=True), 1e-6)
        rows = np.arange(len(offset))
        pull = offset[rows, nearest] / apart[rows, nearest, None]
        pull = pull if along is None else along * np.sign((pull * along).sum(-1, keepdims=True))
        step = push * (0.7 * worst)[:, None] - pull * (0.7 * excess)[:, None]
        shift = shift + _blur(step)
    return np.stack([0.5 * shift, -0.5 * shift], axis=1)


def _near_pairs(
    balls_mm: F64, radius_mm: F64, least_mm: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], F64]:
    """Choose the pairs of balls that matter: their indices and summed radii.

    They are those that are ever nearer than 20 mm more than allowed, and the nearest of each time.
    """
    sums = radius_mm[:, None] + radius_mm
    gap = _distances(balls_mm[:, 0], balls_mm[:, 1]) - sums
    chosen = gap.min(axis=0) < least_mm + 20.0
    nearest = gap.reshape(len(gap), -1).argmin(axis=1)
    chosen.reshape(-1)[nearest] = True
    a, b = np.nonzero(chosen)
    return a, b, sums[a, b]


def _blur(values: F64) -> F64:
    """Smooth ``(K, C)`` in time, keeping peaks: each is at least its share of its neighbours'."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return np.asarray(0.2 * padded[:-2] + 0.6 * padded[1:-1] + 0.2 * padded[2:])
