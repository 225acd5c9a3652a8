"""Cut a textured triangle mesh with a plane, through its triangles."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class Points:
    """Points of a mesh or of its texture, some of them on the edges that a plane cuts.

    Attributes:
        pairs: ``(P, 2)`` indices of the two points that each lies between; equal for a whole one.
        shares: ``(P, 2)`` of both, sum one.
    """

    pairs: Array
    shares: Array

    def mix(self, values: Array) -> Array:
        """Give the values ``(P, C)`` of the points from those of the whole mesh ``(N, C)``."""
        return np.asarray((values[self.pairs] * self.shares[..., None]).sum(axis=1))


class _Corners:
    """Numbers corners in the order in which they come up."""

    def __init__(self) -> None:
        self.number: dict[tuple[int, int], int] = {}
        self.share: list[float] = []

    def __call__(self, kept: int, cut: int, share: float) -> int:
        key = (kept, cut)
        if key not in self.number:
            self.number[key] = len(self.number)
            self.share.append(share)
        return self.number[key]

    def points(self) -> Points:
        share = np.array(self.share)
        return Points(np.array(list(self.number)), np.stack([1 - share, share], axis=1))


def clip(faces: Array, uv_faces: Array, height: Array) -> tuple[Points, Array, Points, Array]:
    """Keep what lies below zero.

    Args:
        faces: ``(F, 3)`` indices of vertices.
        uv_faces: ``(F, 3)`` indices of texture places, corner by corner.
        height: Signed distance of each vertex from the plane.

    Returns:
        Vertices, faces, texture places, and the faces' texture places; corners keep their turn.
    """
    corners, uv_corners = _Corners(), _Corners()
    kept_faces: list[tuple[int, int, int]] = []
    kept_uv_faces: list[tuple[int, int, int]] = []
    for face, uv_face in zip(faces.tolist(), uv_faces.tolist(), strict=True):
        ring = []
        for k in range(3):
            (a, b), (ua, ub) = ((f[k], f[(k + 1) % 3]) for f in (face, uv_face))
            if height[a] < 0:
                ring.append((corners(a, a, 0.0), uv_corners(ua, ua, 0.0)))
            if (height[a] < 0) != (height[b] < 0):
                if height[a] >= 0:
                    a, b, ua, ub = b, a, ub, ua
                share = float(height[a] / (height[a] - height[b]))
                ring.append((corners(a, b, share), uv_corners(ua, ub, share)))
        for k in range(1, len(ring) - 1):
            triangle = (ring[0], ring[k], ring[k + 1])
            kept_faces.append((triangle[0][0], triangle[1][0], triangle[2][0]))
            kept_uv_faces.append((triangle[0][1], triangle[1][1], triangle[2][1]))
    return corners.points(), np.array(kept_faces), uv_corners.points(), np.array(kept_uv_faces)
