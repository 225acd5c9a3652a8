"""How what is seen moves from a frame to the one after and the one before it."""

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from hdrvideo.synth.layers import BACKGROUND, Layers
from hdrvideo.synth.meshes import FrameList, Mesh, project
from hdrvideo.synth.raster import NEAR_MM

# A point counts as seen again when the surface there is as near as it within so many mm, and so
# many times what a pixel spans: surfaces that lean away change depth from pixel to pixel.
_TOLERANCE_MM: Final = 2.0
_TOLERANCE_PX: Final = 2.5


@dataclass(frozen=True)
class Flow:
    """Motion in pixels, as in :class:`~hdrvideo.synth.scene.Shot`.

    Attributes:
        flow_px: ``(A, 2, H, W, 2)``.
        flow_seen: ``(A, 2, H, W)`` bool.
        hand_flow_px: ``(A, 2, 2, H, W, 2)``.
    """

    flow_px: Tensor
    flow_seen: Tensor
    hand_flow_px: Tensor


def no_flow(n: int, height: int, width: int, device: torch.device) -> Flow:
    """Give what stands where no flow was asked for."""
    return Flow(
        torch.full((n, 2, height, width, 2), torch.nan, device=device),
        torch.zeros(n, 2, height, width, dtype=torch.bool, device=device),
        torch.full((n, 2, 2, height, width, 2), torch.nan, device=device),
    )


@dataclass(frozen=True)
class _Points:
    """Surface points next to the centres of pixels, of one piece of the hits.

    Attributes:
        face, body, layer: ``(m,)`` int64.
        bary: ``(m, 3)``.
        frame: ``(m,)`` or ``(1,)`` int64.
        place: ``(2, m)`` int64 column and row of the pixel.
        is_visible, is_hand: ``(m,)`` bool.
    """

    face: Tensor
    body: Tensor
    layer: Tensor
    bary: Tensor
    frame: Tensor
    place: Tensor
    is_visible: Tensor
    is_hand: Tensor


def _choose(mesh: Mesh, layers: Layers, part: slice, frame: Tensor, supersample: int) -> _Points:
    face, body, bary = layers.hits.face[part], layers.body[part], layers.hits.bary[part]
    place = layers.hits.place[:, part]
    if supersample > 1:
        central = (place % supersample == supersample // 2).all(dim=0).nonzero().squeeze(1)
        face, body, bary, place = face[central], body[central], bary[central], place[:, central]
        frame = frame[central] if len(frame) > 1 else frame
    _, h, w = layers.nearest.shape
    layer = mesh.bodies.layer.index_select(0, body)
    at = (frame * h + place[1]) * w + place[0]
    is_visible = layers.nearest.view(-1).index_select(0, at) == layer
    is_hand = mesh.is_hand.index_select(0, face)
    if supersample > 1:
        place = torch.div(place, supersample, rounding_mode="floor")
    return _Points(face, body, layer, bary, frame, place, is_visible, is_hand)


def find_flow(
    mesh: Mesh, layers: Layers, listed: FrameList, backdrop: Tensor, supersample: int
) -> Flow:
    """Compute the flow of the asked frames.

    Args:
        mesh: Bodies of all frames.
        layers: What they show.
        listed: Which frame follows which.
        backdrop: ``(A, 2, 2, 3)`` affines to the frame after and before; NaN where there is none.
        supersample: Samples a pixel each way; the one next to a pixel's centre counts.
    """
    first = supersample // 2
    offset = (first + 0.5) / supersample - 0.5
    neighbour = torch.from_numpy(np.stack([listed.after, listed.before])).to(layers.row.device)
    windows = _windows(layers, slice(first, None, supersample))
    flow = _behind(layers, slice(first, None, supersample), backdrop, neighbour, windows, offset)
    height, width = flow.flow_seen.shape[2:]
    shift, there = mesh.vertex_shift()
    for part, frame, _ in layers.pieces():
        points = _choose(mesh, layers, part, frame, supersample)
        corners = mesh.faces.index_select(0, points.face)
        shown, hand = (mask.nonzero().squeeze(1) for mask in (points.is_visible, points.is_hand))
        for d in range(2):
            other = neighbour[d].index_select(0, points.frame)
            k_px = mesh.bodies.k_px.index_select(0, other.clamp(min=0))
            moved = corners + shift[d].index_select(0, points.body)[:, None]
            xyz_mm = embedding_bag(
                moved, mesh.vertices_mm, mode="sum", per_sample_weights=points.bary
            )
            usable = there[d].index_select(0, points.body) & (xyz_mm[:, 2] > NEAR_MM)
            place = torch.where(usable[:, None], project(xyz_mm, k_px) - offset, torch.nan)
            change = place - points.place.T
            line = 2 * points.frame + d
            at = (line * height + points.place[1]) * width + points.place[0]
            seen = _seen(
                place.T.contiguous(), xyz_mm[:, 2], points.layer, windows, other, k_px[:, 0, 0]
            )
            where = at.index_select(0, shown)
            flow.flow_px.view(-1, 2).index_copy_(0, where, change.index_select(0, shown))
            flow.flow_seen.view(-1).index_copy_(0, where, seen.index_select(0, shown))
            at = (at + (line + points.layer) * (height * width)).index_select(0, hand)
            flow.hand_flow_px.view(-1, 2).index_copy_(0, at, change.index_select(0, hand))
    return flow


def _behind(
    layers: Layers,
    step: slice,
    backdrop: Tensor,
    neighbour: Tensor,
    windows: Tensor,
    offset: float,
) -> Flow:
    """Give the flow of the background at every pixel; surfaces are still to come."""
    is_back = layers.nearest[: len(layers.row), step, step] == BACKGROUND
    a, height, width = is_back.shape
    flow = no_flow(a, height, width, backdrop.device)
    v, u = torch.meshgrid(
        torch.arange(height, device=backdrop.device),
        torch.arange(width, device=backdrop.device),
        indexing="ij",
    )
    labels = windows[..., 2].contiguous().view(-1)
    # Frame by frame a CPU's cache holds the numbers.
    step_by = 1 if backdrop.device.type == "cpu" else a
    for at, d in product(torch.split(torch.arange(a, device=backdrop.device), step_by), range(2)):
        m = backdrop[at, d][..., None, None]
        column, row = (
            m[:, i, 0] * (u + offset) + (m[:, i, 1] * (v + offset) + (m[:, i, 2] - offset))
            for i in (0, 1)
        )
        flow.flow_px[at, d] = torch.stack([column - u, row - v], dim=-1)
        column, row, inside = _window_of(column, row, windows)
        first = neighbour[d].index_select(0, at).clamp(min=0)[:, None, None] * windows.shape[1]
        label = labels.index_select(0, ((first + row) * windows.shape[2] + column).flatten())
        flow.flow_seen[at, d] = (label == BACKGROUND).view_as(inside) & inside & is_back[at]
    return flow


def _windows(layers: Layers, step: slice) -> Tensor:
    """Give what four neighbouring pixels show: least and most depth, and the layer (-1: several).

    Returns:
        ``(N, H - 1, W - 1, 3)``; the first of the four names them. Depth is 0 at the background.
    """
    label = layers.nearest[:, step, step]
    depth_mm = torch.where(label == BACKGROUND, 0.0, layers.nearest_mm[:, step, step])
    low = high = depth_mm[:, :-1, :-1]
    first = label[:, :-1, :-1]
    alike = torch.ones_like(first, dtype=torch.bool)
    start, end = slice(-1), slice(1, None)
    for rows, columns in ((end, start), (start, end), (end, end)):
        other = depth_mm[:, rows, columns]
        low, high = torch.minimum(low, other), torch.maximum(high, other)
        alike &= label[:, rows, columns] == first
    return torch.stack([low, high, torch.where(alike, first, -1).to(low.dtype)], dim=-1)


def _window_of(u: Tensor, v: Tensor, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the column and row of the window round each place, and whether there is one."""
    rows, columns = windows.shape[1:3]
    inside = (u >= 0) & (v >= 0) & (u < columns) & (v < rows)
    return torch.where(inside, u, 0).long(), torch.where(inside, v, 0).long(), inside


def _seen(
    place: Tensor,
    depth_mm: Tensor,
    layer: Tensor,
    windows: Tensor,
    frame: Tensor,
    focal_px: Tensor,
) -> Tensor:
    """Say whether surface points are visible in a neighbour: the four pixels round them agree.

    Args:
        place: ``(2, m)`` column and row in the neighbour.
        depth_mm: ``(m,)`` there.
        layer: ``(m,)`` they belong to.
        windows: As :func:`_windows`.
        frame: ``(m,)`` or ``(1,)`` the neighbour; -1 none.
        focal_px: ``(m,)`` or ``(1,)`` of its camera.
    """
    column, row, inside = _window_of(place[0], place[1], windows)
    at = (frame.clamp(min=0) * windows.shape[1] + row) * windows.shape[2] + column
    low_mm, high_mm, label = windows.view(-1, 3).index_select(0, at).unbind(1)
    slack_mm = _TOLERANCE_MM + _TOLERANCE_PX * depth_mm / focal_px
    near = (low_mm > depth_mm - slack_mm) & (high_mm < depth_mm + slack_mm)
    return inside & near & (label == layer) & (frame >= 0)
