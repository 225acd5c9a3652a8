"""A batched z-buffer in plain torch: triangles of many pictures at once, same code CPU and CUDA.

Corners are rounded to 1/64 pixel, so the edge functions of a triangle are exact integers (held by
doubles): a pixel centre on an edge that two triangles share belongs to exactly one of them (the
top-left rule of Direct3D and OpenGL), and no pixel depends on the order of the triangles. Each
triangle becomes its rows of pixels, each row the span of columns that all three edges leave. Of the
surfaces at a pixel the nearest wins, by ``scatter_reduce`` on depth and triangle in one integer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from hdrvideo.datatypes import check_array
from hdrvideo.errors import ShapeError

NEAR_MM: Final = 20.0
# A corner further outside than this drops its triangle: the doubles below stay exact.
FAR_OUTSIDE_PX: Final = 100_000.0
SUBPIXELS: Final = 64
# Pixels of boxes drawn at once: what fits a CPU's cache, and a GPU's memory.
_BOX_PIXELS: Final = {"cpu": 1 << 18, "cuda": 1 << 26}
_NO_KEY: Final = (1 << 63) - 1


@dataclass(frozen=True)
class Raster:
    """The nearest triangle at each pixel centre.

    Attributes:
        face: ``(N, H, W)`` int64 index into the triangles; -1 none.
        depth_mm: ``(N, H, W)`` float32; inf none.
        bary: ``(N, H, W, 3)`` float32 perspective-correct shares of the triangle's corners; 0 none.
    """

    face: Tensor
    depth_mm: Tensor
    bary: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.face.shape)
        check_array("depth_mm", self.depth_mm, shape, "float32")
        check_array("bary", self.bary, (*shape, 3), "float32")


@dataclass(frozen=True)
class Hits:
    """The same without the empty pixels: M covered pixels, in the order of their triangles.

    Attributes:
        pixel: ``(M,)`` int64 index into the flattened ``(N, H, W)``; no pixel comes twice.
        face: ``(M,)`` int64 index into the triangles.
        depth_mm: ``(M,)`` float32.
        bary: ``(M, 3)`` float32.
        place: ``(2, M)`` int64 column and row of the pixel.
    """

    pixel: Tensor
    face: Tensor
    depth_mm: Tensor
    bary: Tensor
    place: Tensor

    def __post_init__(self) -> None:
        m = len(self.pixel)
        check_array("place", self.place, (2, m), "int64")
        check_array("face", self.face, (m,), "int64")
        check_array("depth_mm", self.depth_mm, (m,), "float32")
        check_array("bary", self.bary, (m, 3), "float32")

    def __len__(self) -> int:
        return len(self.pixel)

    def take(self, which: Tensor) -> "Hits":
        """Give the hits that ``which`` ``(K,)`` (indices) names."""
        return Hits(
            self.pixel.index_select(0, which),
            self.face.index_select(0, which),
            self.depth_mm.index_select(0, which),
            self.bary.index_select(0, which),
            self.place.index_select(1, which),
        )


@dataclass(frozen=True)
class _Boxes:
    """Front-facing triangles that hold pixel centres, and their pixel boxes.

    Attributes:
        face: ``(K,)`` int64.
        corners: ``(K, 3, 3)`` float64: u, v in 1/64 px, 1 / depth.
        area: ``(K,)`` float64 twice the signed area in those units, negative where the outside is
            seen (v goes down).
        low, size: ``(K, 2)`` first pixel (column, row) and number of columns and rows.
        picture: ``(K,)`` int64.
    """

    face: Tensor
    corners: Tensor
    area: Tensor
    low: Tensor
    size: Tensor
    picture: Tensor


def rasterize(
    uvz: Tensor,
    faces: Tensor,
    picture: Tensor,
    n_pictures: int,
    height: int,
    width: int,
    *,
    cull: bool = True,
) -> Raster:
    """Find the nearest triangle at every pixel of every picture.

    Args:
        uvz: ``(V, 3)`` float32 u and v in pixels, depth in mm; vertices of all pictures together.
        faces: ``(F, 3)`` int64 indices into ``uvz``, counter-clockwise seen from outside.
        picture: ``(F,)`` int64 the picture each triangle is in.
        n_pictures: Number of pictures.
        height: Rows of each.
        width: Columns of each.
        cull: Leave out triangles that show their back.

    Triangles with a corner nearer than :data:`NEAR_MM`, not finite, or further than
    :data:`FAR_OUTSIDE_PX` from the picture's origin are left out.

    Raises:
        ShapeError: An input has the wrong shape or type, or there is no pixel.
    """
    hits = nearest_hits(uvz, faces, picture, n_pictures, height, width, cull=cull)
    n = n_pictures * height * width
    face = torch.full((n,), -1, dtype=torch.int64, device=uvz.device)
    depth_mm = torch.full((n,), torch.inf, device=uvz.device)
    bary = torch.zeros(n, 3, device=uvz.device)
    face[hits.pixel], depth_mm[hits.pixel], bary[hits.pixel] = hits.face, hits.depth_mm, hits.bary
    shape = (n_pictures, height, width)
    return Raster(face.view(shape), depth_mm.view(shape), bary.view(*shape, 3))


def nearest_hits(
    uvz: Tensor,
    faces: Tensor,
    picture: Tensor,
    n_pictures: int,
    height: int,
    width: int,
    *,
    cull: bool = True,
) -> Hits:
    """Do the same as :func:`rasterize`, for whoever needs the covered pixels only."""
    check_array("uvz", uvz, (None, 3), "float32")
    check_array("faces", faces, (None, 3), "int64")
    check_array("picture", picture, (len(faces),), "int64")
    if min(n_pictures, height, width) < 1:
        raise ShapeError(f"{n_pictures} pictures of {width} x {height} px, expected at least one")
    keys = torch.full((n_pictures * height * width,), _NO_KEY, device=uvz.device)
    boxes = _boxes(uvz, faces, picture, height, width, cull)
    found = []
    for part in _parts(boxes):
        hits = _covered(boxes, part, height, width)
        if len(hits):
            # Positive floats sort like their bits.
            key = (hits.depth_mm.view(torch.int32).long() << 32) | hits.face
            keys.scatter_reduce_(0, hits.pixel, key, "amin")
            found.append((hits, key))
    if not found:
        nothing = faces.new_zeros(0)
        place = faces.new_zeros(2, 0)
        return Hits(nothing, nothing, uvz.new_zeros(0), uvz.new_zeros(0, 3), place)
    won = [
        hits.take((keys.index_select(0, hits.pixel) == key).nonzero().squeeze(1))
        for hits, key in found
    ]
    return Hits(
        torch.cat([hits.pixel for hits in won]),
        torch.cat([hits.face for hits in won]),
        torch.cat([hits.depth_mm for hits in won]),
        torch.cat([hits.bary for hits in won]),
        torch.cat([hits.place for hits in won], dim=1),
    )


def _boxes(
    uvz: Tensor, faces: Tensor, picture: Tensor, height: int, width: int, cull: bool
) -> _Boxes:
    uv, depth_mm = uvz[:, :2], uvz[:, 2:]
    usable = (uv.abs() < FAR_OUTSIDE_PX).all(dim=1, keepdim=True)
    usable &= (depth_mm >= NEAR_MM) & depth_mm.isfinite()
    # A vertex that is not usable gets 1 / depth = 0.
    table = torch.cat([(uv * SUBPIXELS).round(), 1 / depth_mm], dim=1)
    table = torch.where(usable, table, 0.0)
    a, b, c = (table.index_select(0, faces[:, k]).T.contiguous() for k in range(3))
    lowest = torch.minimum(torch.minimum(a, b), c)
    highest = torch.maximum(torch.maximum(a, b), c)
    first = (lowest[:2] / SUBPIXELS).ceil().clamp(min=0)
    last = (highest[:2] / SUBPIXELS).floor()
    last = torch.stack([last[0].clamp(max=width - 1), last[1].clamp(max=height - 1)])
    keep = (lowest[2] > 0) & (first[0] <= last[0]) & (first[1] <= last[1])
    kept = keep.nonzero().squeeze(1)
    corners = torch.stack([p.index_select(1, kept) for p in (a, b, c)]).permute(2, 0, 1).double()
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = ((area < 0) if cull else (area != 0)).nonzero().squeeze(1)
    kept = kept[front]
    first, last = first[:, kept].T, last[:, kept].T
    size = last - first + 1
    return _Boxes(kept, corners[front], area[front], first, size, picture[kept])


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _parts(boxes: _Boxes) -> Iterator[slice]:
    """Cut the triangles into pieces whose boxes hold not too many pixels together."""
    limit = _BOX_PIXELS.get(boxes.face.device.type, 1 << 22)
    piece = boxes.size.prod(dim=1).cumsum(dim=0) // limit
    ends = (piece[1:] != piece[:-1]).nonzero().squeeze(1) + 1
    bounds = [0, *ends.tolist(), len(piece)]
    for first, last in pairwise(bounds):
        if first < last:
            yield slice(first, last)


def _edges(corners: Tensor, area: Tensor, low: Tensor) -> Tensor:
    """Give the three edge functions as ``step_u * column + step_v * row + start``: ``(3, 3, K)``.

    The first axis is that of the three terms. Edge k faces corner k; its function is positive
    inside, and the three sum to twice the area. Columns and rows count from the box's first pixel.
    """
    after, before = corners[:, [1, 2, 0], :2], corners[:, [2, 0, 1], :2]
    along = (before - after) * area.sign()[:, None, None]
    start = _cross(along, low[:, None].double() * SUBPIXELS - after)
    terms = torch.stack([-along[..., 1] * SUBPIXELS, along[..., 0] * SUBPIXELS, start])
    return terms.mT.contiguous()


def _spread(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Number what ``counts`` ``(K,)`` counts: ``(sum,)`` whose it is and which of its own."""
    whose = torch.repeat_interleave(counts)
    first = counts.cumsum(dim=0) - counts
    own = torch.arange(len(whose), device=counts.device) - first.index_select(0, whose)
    return whose, own


def _covered(boxes: _Boxes, part: slice, height: int, width: int) -> Hits:
    """Give everything that some triangles cover, near or far."""
    low, size, area = boxes.low[part].long(), boxes.size[part].long(), boxes.area[part]
    corners = boxes.corners[part]
    edges = _edges(corners, area, low)
    which, row = _spread(size[:, 1])
    step_u, step_v, start = (term.index_select(1, which) for term in edges)
    value = step_v * row + start
    # Top-left rule: a centre exactly on an edge counts where the inside lies right of or below it.
    # Edge functions are integers, so "more than 0" is "at least 1".
    owned = (step_u > 0) | ((step_u == 0) & (step_v > 0))
    spare = value - torch.where(owned, 0.0, 1.0)
    crossing = -spare / step_u
    least = torch.where(step_u > 0, crossing.ceil(), 0.0)
    most = torch.where(step_u < 0, crossing.floor(), torch.inf)
    most = torch.where((step_u == 0) & (spare < 0), -1.0, most)
    first = least.amax(dim=0).clamp(min=0)
    last = torch.minimum(most.amin(dim=0), (size[:, 0] - 1).index_select(0, which))
    span, column = _spread((last - first + 1).clamp(min=0).long())
    column = column + first.long().index_select(0, span)
    # Shares of the picture divided by depth are shares of the surface, after Heckbert (1989).
    scale = (corners[..., 2] / area.abs()[:, None]).T.contiguous().index_select(1, which)
    shares = value.index_select(1, span) + step_u.index_select(1, span) * column
    shares = (shares * scale.index_select(1, span)).float()
    depth_mm = 1 / shares.sum(dim=0)
    # Of each row: its triangle, its picture's first line, where it begins.
    lines = boxes.picture[part] * height + low[:, 1]
    of_row = torch.stack([boxes.face[part], lines, low[:, 0], low[:, 1]]).index_select(1, which)
    of_row[1] += row
    of_row[3] += row
    face, line, left, down = of_row.index_select(1, span)
    place = torch.stack([left + column, down])
    pixel = line * width + place[0]
    return Hits(pixel, face, depth_mm, (shares * depth_mm).T.contiguous(), place)
