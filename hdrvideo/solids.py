"""Closed surfaces of triangles: what is inside, what two share, how deep a point lies in one.

Inside is where a column along z has wound up to a positive number: each face that it enters by
counts 1, each that it leaves by -1. A surface's folds that overlap themselves so count once.

**Units and frame**: millimetres, any common axes.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import check_array
from hdrvideo.errors import ShapeError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_POINTS_AT_ONCE: Final = 16


@dataclass(frozen=True)
class Body:
    """A closed surface; its fans come last among the vertices and faces.

    Attributes:
        vertices_mm: ``(V, 3)``, or ``(B, V, 3)`` of bodies that share their faces.
        faces: ``(F, 3)`` counter-clockwise from outside.
        n_vertices: How many vertices are skin, not the middle of a fan.
        n_faces: How many faces are skin, not a fan's.
    """

    vertices_mm: F64
    faces: I64
    n_vertices: int
    n_faces: int

    def row(self, n: int) -> "Body":
        """Give one body of a batch."""
        return replace(self, vertices_mm=self.vertices_mm[n])

    def volume_mm3(self) -> float:
        """Sum the volume of one body; negative when its faces are clockwise from outside."""
        corners_mm = (self.vertices_mm - self.vertices_mm[0])[self.faces]
        return float(np.linalg.det(corners_mm).sum() / 6)


def close_surface(side: str, vertices_mm: NDArray[np.floating], faces: NDArray[np.integer]) -> Body:
    """Check bodies ``(B, V, 3)`` of one set of faces, drop what no face names, close the holes.

    Args:
        side: ``right`` or ``left``, for the errors' texts.
        vertices_mm: ``(B, V, 3)``.
        faces: ``(F, 3)`` counter-clockwise from outside.

    Raises:
        ShapeError: A wrong shape or type, a vertex that is not there, or faces that disagree about
            the outside.
    """
    name = f"vertices_{side}_mm"
    check_array(name, vertices_mm, (None, None, 3), vertices_mm.dtype.name)
    check_array(f"faces_{side}", faces, (None, 3), faces.dtype.name)
    n = vertices_mm.shape[1]
    if not len(faces) or faces.min() < 0 or faces.max() >= n:
        span = f"{faces.min()} to {faces.max()}" if len(faces) else "nothing"
        raise ShapeError(f"faces_{side} name {span}, expected vertices 0 to {n - 1} of {name}")
    used, corners = np.unique(faces, return_inverse=True)
    corners = corners.reshape(-1, 3).astype(np.int64)
    points_mm = vertices_mm[:, used].astype(np.float64)
    for loop in _holes(side, corners, len(used)):
        middle = points_mm.shape[1]
        points_mm = np.concatenate([points_mm, points_mm[:, loop].mean(axis=1)[:, None]], axis=1)
        fan = np.stack([np.roll(loop, -1), loop, np.full(len(loop), middle)], axis=1)
        corners = np.concatenate([corners, fan])
    return Body(points_mm, corners, len(used), len(faces))


def _holes(side: str, faces: I64, n: int) -> list[I64]:
    """List the rims of a mesh's holes, each as its vertices along the faces' own edges."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    key, back = edges @ [n, 1], edges @ [1, n]
    rim = edges[~np.isin(key, back)]
    after = {int(a): int(b) for a, b in rim}
    if len(np.unique(key)) < len(key) or len(after) < len(rim):
        raise ShapeError(
            f"faces_{side} use an edge twice in one direction, or holes that touch; expected "
            "a surface whose faces are all counter-clockwise from outside"
        )
    loops = []
    while after:
        start, at = next(iter(after.items()))
        loop = [start]
        del after[start]
        while at != start:
            loop.append(at)
            at = after.pop(at)
        loops.append(np.array(loop))
    return loops


def shared_volume_mm3(a: Body, b: Body, low: F64, high: F64, step_mm: float) -> float:
    """Sum the columns' length within both bodies over their common box ``low`` to ``high``."""
    count = np.ceil((high - low)[:2] / step_mm).astype(np.int64)
    # Columns stand in the middle of equal cells that fill the box.
    cell_mm = (high - low)[:2] / count
    first = low[:2] + cell_mm / 2
    column, z_mm, change, body = [], [], [], []
    for number, solid in enumerate((a, b)):
        corners_mm = solid.vertices_mm[solid.faces][:, :, :2]
        # A face's box keeps the columns on its rim, however the division rounds.
        begin = np.ceil((corners_mm.min(axis=1) - first) / cell_mm - 1e-6).astype(np.int64)
        end = np.floor((corners_mm.max(axis=1) - first) / cell_mm + 1e-6).astype(np.int64) + 1
        begin, end = np.maximum(begin, 0), np.minimum(end, count)
        size = np.maximum(end - begin, 0)
        cells = size.prod(axis=1)
        face = np.repeat(np.arange(len(cells)), cells)
        nth = np.arange(len(face)) - np.repeat(np.cumsum(cells) - cells, cells)
        place = begin[face] + np.stack([nth // size[face, 1], nth % size[face, 1]], axis=1)
        hit, z, sign = _crossings(first + place * cell_mm, solid.vertices_mm, solid.faces[face])
        column.append(place[hit] @ [count[1], 1])
        z_mm.append(z)
        change.append(sign)
        body.append(np.full(len(z), number))
    return float(cell_mm.prod()) * _common_mm(*map(np.concatenate, (column, z_mm, change, body)))


def _common_mm(column: I64, z_mm: F64, change: I64, body: I64) -> float:
    """Sum the length within both bodies along columns, from where each enters and leaves them.

    A column that enters a body more often than it leaves it (rounding, at a sliver) is left out.
    """
    order = np.lexsort((z_mm, column))
    column, z_mm = column[order], z_mm[order]
    inside = np.ones(max(len(order) - 1, 0), bool)
    for number in (0, 1):
        mine = np.where(body == number, change, 0)[order]
        mine[np.bincount(column, weights=mine)[column] != 0] = 0
        wound = np.cumsum(mine)
        inside &= wound[:-1] > 0
    inside &= column[1:] == column[:-1]
    return float(np.diff(z_mm)[inside].sum())


def _crossings(xy_mm: F64, vertices_mm: F64, faces: I64) -> tuple[I64, F64, I64]:
    """Cross columns with faces, one each.

    A column that meets an edge is taken as moved by an endless little to +x and by much less to +y,
    so it crosses exactly one of the faces round an edge or a corner.

    Args:
        xy_mm: ``(K, 2)`` of the columns.
        vertices_mm: ``(V, 3)``.
        faces: ``(K, 3)``.

    Returns:
        Which of the K cross; where along z; 1 where the column enters the body, -1 where it leaves.
    """
    left, weights = [], []
    for corner in range(3):
        a, b = faces[:, corner], faces[:, (corner + 1) % 3]
        # Both faces of an edge compute the very same number.
        start, stop = np.minimum(a, b), np.maximum(a, b)
        edge = vertices_mm[stop, :2] - vertices_mm[start, :2]
        offset = xy_mm - vertices_mm[start, :2]
        area = edge[:, 0] * offset[:, 1] - edge[:, 1] * offset[:, 0]
        on_edge = (edge[:, 1] < 0) | ((edge[:, 1] == 0) & (edge[:, 0] > 0))
        left.append(((area > 0) | ((area == 0) & on_edge)) ^ (a > b))
        weights.append(np.abs(area))
    leaves, enters = left[0] & left[1] & left[2], ~(left[0] | left[1] | left[2])
    hit = np.flatnonzero(leaves | enters)
    # Each corner's weight is the area beyond the edge opposite.
    weight = np.stack([weights[k][hit] for k in (1, 2, 0)], axis=1)
    weight += np.finfo(np.float64).tiny
    z_mm = (weight * vertices_mm[faces[hit], 2]).sum(axis=1) / weight.sum(axis=1)
    return hit, z_mm, np.where(enters[hit], 1, -1)


def depth_under_mm(points_mm: F64, body: Body, low: F64, high: F64) -> float:
    """Give how deep the deepest of the points ``(P, 3)`` lies under the body's skin; 0 if none."""
    points_mm = points_mm[((points_mm >= low) & (points_mm <= high)).all(axis=1)]
    points_mm = points_mm[_inside(points_mm, body)]
    if not len(points_mm):
        return 0.0
    corners_mm = body.vertices_mm[body.faces[: body.n_faces]]
    middle_mm = corners_mm.mean(axis=1)
    reach_mm = np.linalg.norm(corners_mm - middle_mm[:, None], axis=-1).max(axis=1)
    # No point lies further from a face than from its middle; most need no closer look.
    away_mm = _distances(points_mm, middle_mm)
    most_mm = away_mm.min(axis=1)
    order = np.argsort(-most_mm)
    deepest_mm = 0.0
    for start in range(0, len(order), _POINTS_AT_ONCE):
        rows = order[start : start + _POINTS_AT_ONCE]
        if most_mm[rows[0]] <= deepest_mm:
            break
        point, face = np.nonzero(away_mm[rows] - reach_mm < most_mm[rows, None])
        found_mm = np.full(len(rows), np.inf)
        gap_mm = _to_triangles(points_mm[rows[point]], corners_mm[face])
        np.minimum.at(found_mm, point, gap_mm)
        deepest_mm = max(deepest_mm, float(found_mm.max()))
    return deepest_mm


def _distances(a_mm: F64, b_mm: F64) -> F64:
    """Give distances ``(N, M)``."""
    squares = (a_mm**2).sum(axis=1)[:, None] + (b_mm**2).sum(axis=1) - 2 * a_mm @ b_mm.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def _inside(points_mm: F64, body: Body) -> NDArray[np.bool_]:
    """Say which points ``(P, 3)`` a closed body holds, by the faces below them."""
    corners_mm = body.vertices_mm[body.faces]
    low, high = corners_mm.min(axis=1), corners_mm.max(axis=1)
    near = points_mm[:, None, 2] > low[:, 2]
    for axis in (0, 1):
        here = points_mm[:, None, axis]
        near &= (here >= low[:, axis]) & (here <= high[:, axis])
    point, face = np.nonzero(near)
    hit, z_mm, change = _crossings(points_mm[point, :2], body.vertices_mm, body.faces[face])
    point = point[hit]
    below = z_mm < points_mm[point, 2]
    wound = np.bincount(point[below], weights=change[below], minlength=len(points_mm))
    return np.asarray(wound > 0.5)


def _to_triangles(points_mm: F64, corners_mm: F64) -> F64:
    """Give the distance of each of ``(K, 3)`` points to its triangle of ``(K, 3, 3)``."""
    edges = np.roll(corners_mm, -1, axis=1) - corners_mm
    offset = points_mm[:, None] - corners_mm
    normal = np.cross(edges[:, 0], edges[:, 1])
    length = np.linalg.norm(normal, axis=1)
    over = (np.cross(edges, offset) * normal[:, None]).sum(axis=-1).min(axis=1) >= 0
    height_mm = np.abs((normal * offset[:, 0]).sum(axis=1)) / np.maximum(length, 1e-12)
    along = (edges * offset).sum(axis=-1) / np.maximum((edges**2).sum(axis=-1), 1e-12)
    gap = offset - np.clip(along, 0, 1)[..., None] * edges
    rim_mm = np.linalg.norm(gap, axis=-1).min(axis=1)
    return np.asarray(np.where(over & (length > 0), height_mm, rim_mm))
