"""Closed bodies of known volume, for tests of what hands share."""

import math

import numpy as np
from scipy.spatial import ConvexHull

from hdrvideo.penetration import penetration


def box(low, high, n: int = 10):
    """Give a closed box of n by n squares a side: vertices ``(V, 3)`` and faces."""
    line = np.linspace(0, 1, n + 1)
    vertices, faces = [], []
    for axis in range(3):
        for end in (0.0, 1.0):
            a, b = np.meshgrid(line, line, indexing="ij")
            side = np.stack([np.full_like(a, end), a, b], axis=-1).reshape(-1, 3)
            i = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1)
            i = i + sum(map(len, vertices))
            squares = np.concatenate(
                [
                    np.stack([i, i + n + 1, i + n + 2], axis=1),
                    np.stack([i, i + n + 2, i + 1], axis=1),
                ]
            )
            vertices.append(np.roll(side, axis, axis=1))
            faces.append(squares if end else squares[:, ::-1])
    points, same = np.unique(np.concatenate(vertices).round(9), axis=0, return_inverse=True)
    low, high = np.asarray(low, float), np.asarray(high, float)
    return low + points * (high - low), same.reshape(-1)[np.concatenate(faces)]


def ball(middle, radius: float, n: int = 1500):
    """Give a closed ball of vertices on a spiral, its hull."""
    k = np.arange(n) + 0.5
    z, turn = 1 - 2 * k / n, np.pi * (1 + math.sqrt(5)) * k
    ring = np.sqrt(1 - z**2)
    points = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)
    faces = ConvexHull(points).simplices
    inwards = np.linalg.det(points[faces]) < 0
    faces[inwards] = faces[inwards, ::-1]
    return np.asarray(middle, float) + radius * points, faces


def measure(a, b, **settings):
    """Give depth and volume of one pair of bodies."""
    found = penetration(a[0][None], a[1], b[0][None], b[1], **settings)
    return float(found.depth_mm[0]), float(found.volume_mm3[0])


def moved(body, turn, shift):
    return body[0] @ np.asarray(turn).T + shift, body[1]


def mirrored(body):
    return body[0] * [-1, 1, 1], body[1][:, ::-1]


def lens_mm3(a: float, b: float, d: float) -> float:
    """Give the volume that balls of radii a and b share at distance d."""
    return math.pi * (a + b - d) ** 2 * (d**2 + 2 * d * (a + b) - 3 * (a - b) ** 2) / (12 * d)
