"""The spheres that stand for hands and props when they shade, and the points they shade.

A sphere's middle is the mean of fixed vertices, so it follows every pose and shape. Points lie on
the surface, far apart; each vertex takes its light from the four nearest.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.handmodel import PARTS, SKIN_BONES
from hdrvideo.synth.scene import PROP_RINGS, PROP_SECTORS

_HAND_POINTS: Final = 224
_PALM_SPHERES, _FOREARM_SPHERES, _FINGER_SPHERES = 10, 5, 2
_PROP_RINGS: Final = (0, 1, 3, 5, 7, 9, 11, 12)
CASTER_RINGS: Final = (3, 6, 9)


@dataclass(frozen=True)
class Points:
    """The points of a body at which light is computed, and how vertices follow them.

    Attributes:
        vertex: ``(C,)`` int64.
        index: ``(V, 4)`` int64 points of each vertex.
        weights: ``(V, 4)`` their shares.
    """

    vertex: Tensor
    index: Tensor
    weights: Tensor


def ring_spheres(rings_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Give three spheres within each prop: middles ``(K, 3, 3)`` and radii ``(K, 3)``."""
    chosen = rings_mm[:, list(CASTER_RINGS)]
    middles = chosen.mean(dim=2)
    radii = (chosen - middles[:, :, None]).norm(dim=-1).amin(dim=-1)
    half_length = (rings_mm[:, -1, 0] - rings_mm[:, 0, 0]).norm(dim=-1) / 2
    return middles, torch.minimum(radii, half_length[:, None])


def farthest(points: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Choose ``n`` points that lie far apart, beginning with the first."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    for _ in range(n - 1):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def hand_points(
    template_mm: NDArray[np.float32], part: NDArray[np.int64], device: torch.device
) -> Points:
    """Spread points over the hand; a vertex follows the four nearest, of its own finger."""
    xyz = template_mm.astype(np.float64)
    vertex = farthest(xyz, _HAND_POINTS)
    away = np.linalg.norm(xyz[:, None] - xyz[vertex], axis=-1)
    rigid = [PARTS.index(name) for name in ("palm", "forearm")]
    finger = ~np.isin(part, rigid)
    other = (part[:, None] != part[vertex]) & finger[:, None] & finger[vertex]
    away = away + 1e3 * other
    index = np.argsort(away, axis=1, kind="stable")[:, :4]
    weights = 1 / (np.take_along_axis(away, index, axis=1) + 0.5) ** 2
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return Points(*(torch.from_numpy(value).to(device) for value in (vertex, index, weights)))


def prop_points(device: torch.device) -> Points:
    """Take every other ring and sector of a prop."""
    sectors = PROP_SECTORS // 2
    vertex = [ring * PROP_SECTORS + 2 * s for ring in _PROP_RINGS for s in range(sectors)]
    index, weights = [], []
    for ring in range(PROP_RINGS):
        low = max(i for i, r in enumerate(_PROP_RINGS) if r <= ring)
        high = min(low + 1, len(_PROP_RINGS) - 1)
        up = (
            0.0
            if high == low
            else (ring - _PROP_RINGS[low]) / (_PROP_RINGS[high] - _PROP_RINGS[low])
        )
        for sector in range(PROP_SECTORS):
            s, after, on = sector // 2, (sector // 2 + 1) % sectors, 0.5 * (sector % 2)
            index.append([i * sectors + j for i in (low, high) for j in (s, after)])
            weights.append([a * b for a in (1 - up, up) for b in (1 - on, on)])
    return Points(
        torch.tensor(vertex, device=device),
        torch.tensor(index, device=device),
        torch.tensor(weights, device=device),
    )


def hand_spheres(
    template_mm: NDArray[np.float32], bone: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Fill the hand with spheres that follow its vertices.

    Returns:
        ``(S, V)`` shares of the vertices whose mean is the middle, ``(S,)`` radius in mm, ``(S,)``
        index into ``SKIN_BONES``.
    """
    rows, radius_mm, owner = [], [], []
    counts = {"palm": _PALM_SPHERES, "forearm": _FOREARM_SPHERES}
    for b, name in enumerate(SKIN_BONES):
        members = np.flatnonzero(bone == b)
        xyz = template_mm[members].astype(np.float64)
        if name == "palm":
            # Over the palm's plane, so that each holds both faces of the hand.
            seeds = xyz[farthest(xyz[:, :2], _PALM_SPHERES), :2]
            group = np.linalg.norm(xyz[:, None, :2] - seeds, axis=-1).argmin(axis=1)
        else:
            centred = xyz - xyz.mean(axis=0)
            along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
            n = counts.get(name, _FINGER_SPHERES)
            share = (along - along.min()) / np.ptp(along)
            group = np.minimum((share * n).astype(np.int64), n - 1)
        for g in np.unique(group):
            inside = group == g
            row = np.zeros(len(template_mm), np.float32)
            row[members[inside]] = 1 / inside.sum()
            rows.append(row)
            away = np.linalg.norm(xyz[inside] - xyz[inside].mean(axis=0), axis=1)
            radius_mm.append(0.9 * np.median(away))
            owner.append(b)
    return np.stack(rows), np.array(radius_mm, np.float32), np.array(owner)


def near_bones() -> NDArray[np.bool_]:
    """Say which bones are neighbours (or the same) ``(17, 17)``: they do not shade one another."""
    n = len(SKIN_BONES)
    near = np.eye(n, dtype=bool)
    palm, forearm = SKIN_BONES.index("palm"), SKIN_BONES.index("forearm")
    pairs = [(palm, forearm)]
    for first in range(1, n - 1, 3):
        pairs += [(palm, first), (first, first + 1), (first + 1, first + 2)]
    for a, b in pairs:
        near[a, b] = near[b, a] = True
    return near
