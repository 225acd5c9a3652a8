"""Where the hand's skin lies in its baked texture, and what lies under each texel.

The places of a MakeHuman body texture put a hand and its forearm on two far islands, so they move
together into one square: the hand's window fills it, the forearm's takes a corner that is free.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.datatypes import F32, Bool
from hdrvideo.hand import FINGERS
from hdrvideo.handmodel import PARTS, HandModel

# (u0, v0, u1, v1) in the body texture, v up, and (x0, y0, x1, y1) in the baked one, y down.
HAND_WINDOW: Final = (0.355, 0.005, 0.560, 0.210)
HAND_PLACE: Final = (0.0, 0.0, 1.0, 1.0)
ARM_WINDOW: Final = (0.004, 0.758, 0.118, 0.878)
ARM_PLACE: Final = (0.55, 0.01, 0.99, 0.34)
_ARM_ABOVE: Final = 0.5


def baked_uv(uv: Tensor) -> Tensor:
    """Bring places in a MakeHuman body texture into the baked skin.

    Args:
        uv: ``(..., 2)`` :attr:`HandModel.uv`, 0-1, v up.

    Returns:
        ``(..., 2)``, 0-1, x right, y down; the centre of texel i of n lies at ``(i + 0.5) / n``.
    """
    places = []
    for window, place in ((HAND_WINDOW, HAND_PLACE), (ARM_WINDOW, ARM_PLACE)):
        low, high = uv.new_tensor(window[:2]), uv.new_tensor(window[2:])
        first, last = uv.new_tensor(place[:2]), uv.new_tensor(place[2:])
        share = (uv - low) / (high - low)
        share = torch.stack([share[..., 0], 1.0 - share[..., 1]], dim=-1)
        places.append(first + share * (last - first))
    return torch.where(uv[..., 1:] > _ARM_ABOVE, places[1], places[0])


@dataclass(frozen=True)
class Atlas:
    """What lies under the N texels that show skin, at the flat right hand; see ``handmodel``.

    Attributes:
        size_px: Side of the square texture.
        texel: ``(N,)`` int64 row * size + column.
        fill: ``(size * size,)`` int64: which of the N each texel shows, the nearest one's outside.
        uv: ``(N, 2)`` place in the body texture, v up.
        xyz_mm: ``(N, 3)`` place on the hand.
        normal: ``(N, 3)`` unit, outwards.
        part: ``(N,)`` int64 index into ``PARTS``.
        bone_weights: ``(N, 17)`` shares of ``SKIN_BONES``.
        joints_mm: ``(21, 3)``.
        axes: ``(5, 3, 3, 3)`` finger, bone, xyz, axis: the columns are hinge, tip to base, back.
    """

    size_px: int
    texel: NDArray[np.int64]
    fill: NDArray[np.int64]
    uv: F32
    xyz_mm: F32
    normal: F32
    part: NDArray[np.int64]
    bone_weights: F32
    joints_mm: F32
    axes: F32

    def of_finger(self, finger: int) -> Bool:
        """Say which texels lie on a finger, 0 thumb .. 4 little."""
        return np.asarray(self.part == PARTS.index(FINGERS[finger]))

    def along(self, finger: int, bone: int) -> tuple[F32, F32, F32]:
        """Give every texel in the axes of a bone: across, towards the tip, towards the back, mm."""
        head_mm = self.joints_mm[1 + 4 * finger + bone]
        local = (self.xyz_mm - head_mm) @ self.axes[finger, bone]
        return local[:, 0], -local[:, 1], local[:, 2]


@lru_cache(maxsize=4)
def hand_atlas(size_px: int) -> Atlas:
    """Give the atlas of the shipped hand's skin at this size, made once per process."""
    model = HandModel()
    with torch.no_grad():
        flat = model(torch.zeros(1, 16, 3))
    xyz_mm = flat.vertices_mm[0].numpy()
    faces, uv_faces = (corners.numpy() for corners in model.triangles())
    corners_px = baked_uv(model.uv).numpy()[uv_faces] * size_px - 0.5
    texel, face, weights = cover(corners_px.astype(np.float64), size_px)

    def mixed(values: F32) -> F32:
        return np.asarray(np.einsum("nk,nkc->nc", weights, values), np.float32)

    normal = mixed(_vertex_normals(xyz_mm, faces)[faces[face]])
    first = np.argmax(weights, axis=1)
    part = model.part.numpy()[np.take_along_axis(faces[face], first[:, None], axis=1)[:, 0]]
    return Atlas(
        size_px=size_px,
        texel=texel,
        fill=nearest(texel, size_px),
        uv=mixed(model.uv.numpy()[uv_faces[face]]),
        xyz_mm=mixed(xyz_mm[faces[face]]),
        normal=normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9),
        part=part.astype(np.int64),
        bone_weights=mixed(model.skin_weights.numpy()[faces[face]]),
        joints_mm=flat.joints_mm[0].numpy(),
        axes=_flat_axes(model),
    )


def nearest(texel: NDArray[np.int64], size_px: int) -> NDArray[np.int64]:
    """Give for each texel of a square ``(size * size,)`` the index of the nearest in ``texel``."""
    outside = np.ones(size_px * size_px, np.uint8)
    outside[texel] = 0
    labels = cv2.distanceTransformWithLabels(
        outside.reshape(size_px, size_px), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1].ravel()
    index = np.zeros(labels.max() + 1, np.int64)
    index[labels[texel]] = np.arange(len(texel))
    return np.asarray(index[labels])


def _flat_axes(model: HandModel) -> F32:
    """Give the axes of the 15 finger bones at the flat hand: ``(5, 3, 3, 3)``."""
    parent = model.parent_from_joint.reshape(5, 3, 3, 3)
    rest = model.joint_from_rest.reshape(5, 3, 3, 3)
    turn, axes = torch.eye(3).expand(5, 3, 3), []
    for level in range(3):
        axes.append(turn @ parent[:, level])
        turn = axes[-1] @ rest[:, level]
    return torch.stack(axes, dim=1).numpy()


def _vertex_normals(xyz_mm: F32, faces: NDArray[np.int64]) -> F32:
    corners = xyz_mm[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(xyz_mm)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    return np.asarray(
        normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9), np.float32
    )


def cover(
    corners_px: NDArray[np.float64], size_px: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
    """Find the texels whose centre a triangle covers; of several triangles the last one shows.

    Args:
        corners_px: ``(F, 3, 2)`` x, y; an integer is a texel's centre.
        size_px: Side of the texture.

    Returns:
        Texel ``(N,)`` in rising order, triangle ``(N,)``, weights of its corners ``(N, 3)``.
    """
    low = np.ceil(np.clip(corners_px.min(axis=1), 0, size_px - 1)).astype(np.int64)
    high = np.floor(np.clip(corners_px.max(axis=1), 0, size_px - 1)).astype(np.int64)
    extent = np.maximum(high - low + 1, 0)
    counts = extent[:, 0] * extent[:, 1]
    face = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    place = low[face] + np.stack([step % extent[face, 0], step // extent[face, 0]], axis=1)
    a, b, c = (corners_px[face, corner] for corner in range(3))
    edges = [_cross(c - b, place - b), _cross(a - c, place - c), _cross(b - a, place - a)]
    weights = np.stack(edges, axis=1)
    area = weights.sum(axis=1, keepdims=True)
    weights = weights / np.where(area == 0, 1, area)
    inside = (weights >= -1e-9).all(axis=1) & (area[:, 0] != 0)
    texel = place[inside, 1] * size_px + place[inside, 0]
    order = np.argsort(texel, kind="stable")
    last = np.append(np.diff(texel[order]) > 0, True)
    keep = np.flatnonzero(inside)[order[last]]
    return texel[order[last]], face[keep], weights[keep].astype(np.float32)


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
