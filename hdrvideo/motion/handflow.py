"""The motion of a whole hand from its own meshes: it knows of what the pictures do not show."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hdrvideo.errors import ShapeError
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.motion.flow import CropMesh, CropPair, Flow

# Nearer than this a triangle is left out.
NEAR_MM: Final = 20.0
# A corner further out than this drops its triangle: floats below stay exact enough.
_FAR_PX: Final = 10_000.0
# A point is behind its own hand when that is nearer by more than this; fingers are thicker, and
# the skin's slope within a pixel is less.
HIDDEN_MM: Final = 4.0
# A pixel centre on an edge belongs to both triangles: the nearest wins, and no crack opens.
_EDGE: Final = 1e-5
_LEAST_AREA_PX2: Final = 1e-6
_NO_KEY: Final = (1 << 63) - 1


class HandFlow:
    """A :class:`~hdrvideo.motion.flow.FlowEngine` that follows points of the hand's surface.

    Every pixel of the whole hand in the first crop, hidden by other things or not, is a point on
    the mesh; that point is looked for on the second mesh. Nothing but the hand and its own forearm
    hides anything here. As good as the meshes are: trust says only what they say.
    """

    def __init__(self, model: HandModel) -> None:
        """Take the triangles from a hand model; a mirrored crop of a left hand has the same."""
        self._faces = model.faces
        forearm = model.part[model.faces] == PARTS.index("forearm")
        self._is_hand = forearm.sum(dim=1) < 2

    def __call__(self, pair: CropPair) -> Flow:
        """Give the motion over the whole hand without its forearm; NaN and trust 0 elsewhere.

        Trust is 1 where the point also is in the second picture and not behind the hand itself.

        Raises:
            ShapeError: The pair has no meshes, or not this hand's.
        """
        if pair.first_mesh is None or pair.second_mesh is None:
            raise ShapeError("the pair has no meshes; HandFlow needs first_mesh and second_mesh")
        vertices_mm = pair.second_mesh.vertices_mm
        most = int(self._faces.max())
        if vertices_mm.shape[1] != most + 1:
            raise ShapeError(
                f"meshes have {vertices_mm.shape[1]} vertices, the hand model has {most + 1}"
            )
        faces, is_hand = (t.to(vertices_mm.device) for t in (self._faces, self._is_hand))
        size_px = int(pair.first_rgb.shape[-1])
        first = _draw(pair.first_mesh, faces, size_px)
        second = _draw(pair.second_mesh, faces, size_px)

        face = first.face.clamp(min=0)
        batch = torch.arange(len(pair), device=face.device)[:, None, None, None]
        point_mm = (first.bary[..., None] * vertices_mm[batch, faces[face]]).sum(dim=-2)
        place = torch.einsum("bhwi,bji->bhwj", point_mm, pair.second_mesh.k_px)
        place_px = place[..., :2] / place[..., 2:]
        is_known = (first.face >= 0) & is_hand[face] & (place[..., 2] > NEAR_MM)
        is_known &= place_px.isfinite().all(dim=-1)

        is_inside = ((place_px >= -0.5) & (place_px <= size_px - 0.5)).all(dim=-1)
        pixel = torch.where(is_inside[..., None], place_px.round(), 0.0).long()
        u, v = pixel.clamp(0, size_px - 1).unbind(dim=-1)
        # Empty pixels are infinitely far: a point on the rim is seen beside its triangle.
        is_free = point_mm[..., 2] <= second.depth_mm[batch[..., 0], v, u] + HIDDEN_MM
        lines = torch.arange(size_px, device=face.device, dtype=place_px.dtype)
        here_px = torch.stack(torch.meshgrid(lines, lines, indexing="xy"), dim=-1)
        uv_px = torch.where(is_known[..., None], place_px - here_px, torch.nan)
        return Flow(uv_px, (is_known & is_inside & is_free).float())


@dataclass(frozen=True)
class _Drawn:
    """The nearest triangle at each pixel centre.

    Attributes:
        face: ``(B, R, R)`` int64; -1 none.
        depth_mm: ``(B, R, R)``; inf none.
        bary: ``(B, R, R, 3)`` perspective-correct shares of its corners; 0 none.
    """

    face: Tensor
    depth_mm: Tensor
    bary: Tensor


def _draw(mesh: CropMesh, faces: Tensor, size_px: int) -> _Drawn:
    """Draw meshes with a z-buffer: all pixels of a triangle's box are tried, the nearest wins.

    Backs are drawn, too, as a mirrored crop exchanges them with fronts; the mesh is closed but for
    the forearm's end, so fronts lie before them.
    """
    n, device = len(mesh.k_px), faces.device
    seen_mm = mesh.vertices_mm @ mesh.k_px.mT
    uvz = torch.cat([seen_mm[..., :2] / seen_mm[..., 2:], mesh.vertices_mm[..., 2:]], dim=-1)
    corners = uvz[:, faces].flatten(0, 1)
    uv_px, depth_mm = corners[..., :2], corners[..., 2]
    a, b, c = uv_px.unbind(dim=1)
    area_px2 = _cross(b - a, c - a)
    low = uv_px.amin(dim=1).ceil().clamp(min=0)
    size = uv_px.amax(dim=1).floor().clamp(max=size_px - 1) - low + 1
    # Comparisons with NaN are false.
    usable = (depth_mm > NEAR_MM).all(dim=1) & (uv_px.abs() < _FAR_PX).flatten(1).all(dim=1)
    usable &= (size >= 1).all(dim=1) & (area_px2.abs() > _LEAST_AREA_PX2)
    kept = usable.nonzero().squeeze(1)

    width, height = size[kept].long().unbind(dim=1)
    count = width * height
    which = torch.repeat_interleave(count)
    own = torch.arange(len(which), device=device) - (count.cumsum(0) - count)[which]
    column = low[kept, 0].long()[which] + own % width[which]
    row = low[kept, 1].long()[which] + torch.div(own, width[which], rounding_mode="floor")

    which = kept[which]
    p, (a, b, c) = torch.stack([column, row], dim=-1), (corner[which] for corner in (a, b, c))
    parts = torch.stack([_cross(c - b, p - b), _cross(a - c, p - c), _cross(b - a, p - a)], dim=-1)
    shares = parts / area_px2[which, None]
    covered = (shares >= -_EDGE).all(dim=-1).nonzero().squeeze(1)
    which, shares = which[covered], shares[covered].clamp(min=0)
    # Shares of the picture divided by depth are shares of the surface, after Heckbert (1989).
    shares = shares / depth_mm[which]
    near_mm = 1 / shares.sum(dim=-1)
    picture = torch.div(which, len(faces), rounding_mode="floor")
    pixel = (picture * size_px + row[covered]) * size_px + column[covered]

    # Positive floats sort like their bits.
    key = (near_mm.view(torch.int32).long() << 32) | which
    best = torch.full((n * size_px * size_px,), _NO_KEY, device=device)
    best.scatter_reduce_(0, pixel, key, "amin")
    won = (best[pixel] == key).nonzero().squeeze(1)
    face = torch.full_like(best, -1)
    depth = torch.full_like(best, torch.inf, dtype=near_mm.dtype)
    bary = near_mm.new_zeros(len(best), 3)
    at = pixel[won]
    face[at], depth[at] = which[won] % len(faces), near_mm[won]
    bary[at] = shares[won] * near_mm[won, None]
    shape = (n, size_px, size_px)
    return _Drawn(face.view(shape), depth.view(shape), bary.view(*shape, 3))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
