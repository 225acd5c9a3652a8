"""The three layers of each frame as pixels: what is nearest in each, and in all of them.

A pixel names what it shows by a *row*: M rows are points of surfaces (hits), the next ``N * h * w``
are the background's, by pixel. Tables with one line a row then give colour, motion and so on.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hdrvideo.handmodel import HandModel
from hdrvideo.synth.meshes import LAYERS, Mesh, hand_triangles, project
from hdrvideo.synth.raster import Hits, nearest_hits, rasterize

BACKGROUND = len(LAYERS)


@dataclass(frozen=True)
class Layers:
    """Layers of A asked frames at h x w samples; N frames with their neighbours.

    Attributes:
        hits: The M surface points of the asked frames: those of hands first, each frame by frame.
        n_hand_hits: How many are hands' (with forearm); the others are props'.
        body: ``(M,)`` int64 each one's body.
        frame: ``(M,)`` int64 each one's frame.
        row: ``(A, 3, h, w)`` int32 row of each layer; the background's where the layer is empty.
        is_hand: ``(A, 3, h, w)`` bool, the layer shows what counts as a hand.
        depth_mm: ``(N, 3, h, w)`` float32 of each layer; inf where empty.
        nearest: ``(N, h, w)`` int64 the nearest layer; 3 where all are empty.
        nearest_mm: ``(N, h, w)`` its depth.
    """

    hits: Hits
    n_hand_hits: int
    body: Tensor
    frame: Tensor
    row: Tensor
    is_hand: Tensor
    depth_mm: Tensor
    nearest: Tensor
    nearest_mm: Tensor

    def pieces(self) -> list[tuple[slice, Tensor, bool]]:
        """Cut the hits into pieces that are worked on at once.

        Returns:
            Of each piece the slice, the frame of its hits (one, or one for each of them), and
            whether they are of hands. On a CPU a piece is a frame's, so that a cache holds it.
        """
        kinds = ((0, self.n_hand_hits, True), (self.n_hand_hits, len(self.hits), False))
        if self.frame.device.type != "cpu":
            cuts = [(slice(a, b), is_hand) for a, b, is_hand in kinds if a < b]
            return [(part, self.frame[part], is_hand) for part, is_hand in cuts]
        pieces = []
        for first, last, is_hand in kinds:
            counts = self.frame[first:last].bincount(minlength=len(self.row)).tolist()
            for frame, count in enumerate(counts):
                if count:
                    one = torch.tensor([frame])
                    pieces.append((slice(first, first + count), one, is_hand))
                first += count
        return pieces

    @property
    def whole(self) -> Tensor:
        """What each hand's own layer shows of it: ``(A, 2, h, w)`` bool."""
        return self.is_hand[:, :2]

    @property
    def visible(self) -> Tensor:
        """What everything leaves of each hand: ``(A, 2, h, w)`` bool."""
        side = torch.arange(2, device=self.nearest.device)[:, None, None]
        return self.whole & (self.nearest[: len(self.row), None] == side)

    @property
    def full_row(self) -> Tensor:
        """The row that the picture shows: ``(A, h, w)``."""
        return pick(self.row, self.nearest[: len(self.row)].clamp(max=BACKGROUND - 1))

    def bare_row(self, side: int) -> Tensor:
        """The row that a side's bare picture shows: ``(A, h, w)``."""
        a = len(self.row)
        own, other, scene = side, 1 - side, LAYERS.index("scene")
        depth_mm, chosen = self.depth_mm[:a, own], self.row[:, own]
        other_mm = torch.where(self.is_hand[:, other], torch.inf, self.depth_mm[:a, other])
        for layer, layer_mm in ((scene, self.depth_mm[:a, scene]), (other, other_mm)):
            chosen = torch.where(layer_mm < depth_mm, self.row[:, layer], chosen)
            depth_mm = torch.minimum(layer_mm, depth_mm)
        return torch.where(self.is_hand[:, own], self.row[:, own], chosen)


def pick(values: Tensor, layer: Tensor) -> Tensor:
    """Take from ``(A, 3, h, w)`` the layer that ``(A, h, w)`` names."""
    first, second, third = values.unbind(1)
    return torch.where(layer == 0, first, torch.where(layer == 1, second, third))


def draw_layers(
    mesh: Mesh, n_frames: int, n_asked: int, height: int, width: int, supersample: int
) -> Layers:
    """Rasterise the three layers of all frames, ``supersample`` samples a pixel each way."""
    h, w = height * supersample, width * supersample
    uvz = mesh.uvz
    # Sample i of s lies at (i + 0.5) / s - 0.5 of its pixel.
    uvz[:, :2] = (uvz[:, :2] + 0.5) * supersample - 0.5
    hits = nearest_hits(uvz, mesh.faces, mesh.picture, n_frames * len(LAYERS), h, w)
    shape = (n_frames, len(LAYERS), h, w)
    depth_mm = uvz.new_full(shape, torch.inf)
    depth_mm.view(-1)[hits.pixel] = hits.depth_mm
    asked = hits.pixel < n_asked * len(LAYERS) * h * w
    of_hand = hits.face < mesh.n_hand_faces
    hand, prop = ((asked & member).nonzero().squeeze(1) for member in (of_hand, ~of_hand))
    hits = hits.take(torch.cat([hand, prop]))
    n_rows, device = len(hits), uvz.device
    pixel = torch.arange(n_rows, n_rows + n_asked * h * w, device=device, dtype=torch.int32)
    row = pixel.view(n_asked, 1, h, w).expand(-1, len(LAYERS), -1, -1).contiguous()
    row.view(-1)[hits.pixel] = torch.arange(n_rows, device=device, dtype=torch.int32)
    is_hand = torch.zeros(row.shape, dtype=torch.bool, device=device)
    is_hand.view(-1)[hits.pixel] = mesh.is_hand[hits.face]
    nearest_mm, nearest = _nearest(depth_mm)
    body = mesh.body[hits.face]
    return Layers(
        hits, len(hand), body, mesh.bodies.frame[body], row, is_hand, depth_mm, nearest, nearest_mm
    )


def _nearest(depth_mm: Tensor) -> tuple[Tensor, Tensor]:
    first, second, third = depth_mm.unbind(1)
    nearest_mm = torch.minimum(first, second)
    nearest = (second < first).long()
    nearest = torch.where(third < nearest_mm, 2, nearest)
    nearest_mm = torch.minimum(nearest_mm, third)
    return nearest_mm, torch.where(nearest_mm.isfinite(), nearest, BACKGROUND)


@lru_cache(maxsize=1)
def _shipped_hand() -> HandModel:
    return HandModel()


def hand_masks(
    vertices_mm: Tensor,
    k_px: Tensor,
    side: int | Tensor,
    height: int,
    width: int,
    model: HandModel | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw hands alone, each in a picture of its own.

    Args:
        vertices_mm: ``(B, V, 3)`` posed hands, camera axes.
        k_px: ``(B, 3, 3)`` or ``(3, 3)``.
        side: 0 right, 1 left; one for all, or ``(B,)``.
        height: Rows of a picture.
        width: Columns.
        model: The hand; None is the shipped one.

    Returns:
        ``(B, H, W)`` bool the hand without its forearm, and ``(B, H, W)`` float32 depth of hand and
        forearm in mm, inf where neither is.
    """
    model = model or _shipped_hand()
    b, v, _ = vertices_mm.shape
    device = vertices_mm.device
    uv_px = project(vertices_mm, k_px.expand(b, 3, 3)[:, None])
    uvz = torch.cat([uv_px, vertices_mm[..., 2:]], dim=-1).flatten(0, 1)
    sides = torch.as_tensor(side, device=device).expand(b)
    triangles = torch.stack([model.triangles(s)[0] for s in (0, 1)]).to(device)
    faces = triangles[sides] + v * torch.arange(b, device=device)[:, None, None]
    f = faces.shape[1]
    picture = torch.arange(b, device=device).repeat_interleave(f)
    found = rasterize(uvz, faces.flatten(0, 1), picture, b, height, width)
    is_hand = hand_triangles(model).to(device)
    mask = (found.face >= 0) & is_hand[found.face.clamp(min=0) % f]
    return mask, found.depth_mm
