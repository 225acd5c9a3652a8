"""Truths of a frame that are numbers: joints, presence, visibility, distance between the hands."""

from typing import Final

import torch
from torch import Tensor

from hdrvideo.hand import N_JOINTS
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.layers import Layers
from hdrvideo.synth.meshes import Bodies, Mesh, project
from hdrvideo.synth.raster import NEAR_MM
from hdrvideo.synth.scene import MIN_HAND_PIXELS
from hdrvideo.synth.spheres import farthest

_REFERENCE_PX: Final = 192
_LANDMARKS: Final = 64
_SLACK_MM: Final = 0.1


def by_side(bodies: Bodies, values: Tensor, n_frames: int, fill: float) -> Tensor:
    """Spread values ``(Kh, ...)`` of the asked hands over frames and sides ``(A, 2, ...)``."""
    n = bodies.n_asked[0]
    spread = values.new_full((n_frames, 2, *values.shape[1:]), fill)
    spread[bodies.hand_frame[:n], bodies.hand_side[:n]] = values[:n]
    return spread


def joint_truth(mesh: Mesh, n_frames: int) -> tuple[Tensor, Tensor]:
    """Give the joints ``(A, 2, 21, 3)`` in the camera and their pixels ``(A, 2, 21, 2)``.

    NaN where the hand is not in the scene; pixels also where a joint is not before the camera.
    """
    xyz_mm = by_side(mesh.bodies, mesh.joints_mm, n_frames, torch.nan)
    uv_px = project(xyz_mm, mesh.bodies.k_px[:n_frames, None, None])
    return xyz_mm, torch.where(xyz_mm[..., 2:] >= NEAR_MM, uv_px, torch.nan)


def visible_joints(
    layers: Layers, mesh: Mesh, xyz_mm: Tensor, uv_px: Tensor, height: int, width: int
) -> Tensor:
    """Say which joints ``(A, 2, 21)`` are in the picture with nothing but the hand before them.

    Args:
        layers: What the frames show.
        mesh: What it was made from.
        xyz_mm: ``(A, 2, 21, 3)``.
        uv_px: ``(A, 2, 21, 2)``.
        height: Of the picture in pixels.
        width: Of the picture.
    """
    a, _, h, w = layers.row.shape
    u, v = uv_px.unbind(-1)
    inside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    column = torch.where(inside, (u + 0.5) * (w / width), 0).long()
    row = torch.where(inside, (v + 0.5) * (h / height), 0).long()
    at = (row * w + column).flatten(1)
    depth_mm = xyz_mm[..., 2].flatten(1)
    before = []
    for layer in range(layers.row.shape[1]):
        surface_mm = layers.depth_mm[:a, layer].flatten(1).gather(1, at)
        before.append(surface_mm < depth_mm)
    hidden = []
    n_hits = len(layers.hits)
    for side in (0, 1):
        # Within its own layer only its arm's props hide a hand: skin does not count.
        shown = layers.row[:, side].flatten(1).gather(1, at)
        skin = (shown < layers.n_hand_hits) | (shown >= n_hits)
        own = layers.is_hand[:, side].flatten(1).gather(1, at)
        covers = before[side] & ~skin & ~own
        hides = before[1 - side] | before[2] | covers
        hidden.append(hides.view(a, 2, N_JOINTS)[:, side])
    return inside & ~torch.stack(hidden, dim=1)


def count_pixels(visible: Tensor, amodal: Tensor) -> tuple[Tensor, Tensor]:
    """Give presence and hidden share ``(A, 2)`` from masks ``(A, 2, H, W)``."""
    height, width = amodal.shape[2:]
    whole, seen = amodal.sum(dim=(2, 3)), visible.sum(dim=(2, 3))
    present = whole >= MIN_HAND_PIXELS * height * width / _REFERENCE_PX**2
    hidden = 1 - seen / whole.clamp(min=1)
    return present, torch.where(present, hidden, torch.nan)


class GapMeter:
    """Measures the least distance between vertices of two hands.

    Some vertices are landmarks, each with the greatest distance (at rest, with slack) to those that
    follow it. Distances to landmarks bound all others from below, so few are left to compute.
    """

    def __init__(self, model: HandModel) -> None:
        template = model.template_mm.double().cpu().numpy()
        chosen = torch.from_numpy(farthest(template, _LANDMARKS))
        self._landmark = chosen.to(model.uv.device)
        away = torch.cdist(model.template_mm, model.template_mm[self._landmark])
        self._follows = away.argmin(dim=1)

    def measure(self, mesh: Mesh, n_frames: int) -> Tensor:
        """Give ``(A,)`` mm; NaN where a frame has not both hands."""
        bodies = mesh.bodies
        n = bodies.n_asked[0]
        row = torch.arange(n, device=bodies.hand_frame.device)
        rows = by_side(bodies, row, n_frames, -1)
        gap_mm = mesh.hands_mm.new_full((n_frames,), torch.nan)
        both = (rows >= 0).all(dim=1).nonzero().squeeze(1)
        if len(both):
            right, left = (mesh.hands_mm[rows[both, side]] for side in (0, 1))
            gap_mm[both] = self.between(right, left)
        return gap_mm

    def between(self, first_mm: Tensor, second_mm: Tensor) -> Tensor:
        """Give ``(B,)`` least distances between hands' vertices ``(B, V, 3)``."""
        upper, lower_first = self._bounds(first_mm, second_mm)
        other, lower_second = self._bounds(second_mm, first_mm)
        # The most promising vertices bring the upper bound close to the answer.
        some = [
            _by_bound(*pair, _LANDMARKS)
            for pair in ((lower_first, first_mm), (lower_second, second_mm))
        ]
        tight = _square(*some).amin(dim=(1, 2)).clamp(min=0).sqrt()
        most = torch.minimum(torch.minimum(upper, other), tight)[:, None] + _SLACK_MM
        counts = torch.stack([(lower <= most).sum(dim=1) for lower in (lower_first, lower_second)])
        n = counts.T.tolist()
        firsts = _by_bound(lower_first, first_mm, max(pair[0] for pair in n))
        seconds = _by_bound(lower_second, second_mm, max(pair[1] for pair in n))
        # Frame by frame: their numbers differ much, and one frame's pairs fit a cache.
        return torch.stack([_least(firsts[b, :i], seconds[b, :j]) for b, (i, j) in enumerate(n)])

    def _bounds(self, from_mm: Tensor, to_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Bound the least distance from above ``(B,)``, and each vertex's from below ``(B, V)``."""
        landmarks_mm = to_mm[:, self._landmark]
        away = (to_mm - landmarks_mm[:, self._follows]).norm(dim=-1)
        reach = away.new_zeros(len(to_mm), _LANDMARKS)
        index = self._follows.expand(len(to_mm), -1)
        reach = reach.scatter_reduce(1, index, away, "amax")
        distance = _square(from_mm, landmarks_mm).clamp(min=0).sqrt()
        return distance.amin(dim=(1, 2)), (distance - reach[:, None]).amin(dim=2)


def _by_bound(bound_mm: Tensor, vertices_mm: Tensor, n: int) -> Tensor:
    """Give the ``n`` vertices with the least bounds ``(B, n, 3)``."""
    index = bound_mm.topk(n, dim=1, largest=False).indices
    return torch.take_along_dim(vertices_mm, index[..., None], dim=1)


def _least(first_mm: Tensor, second_mm: Tensor) -> Tensor:
    """Give the least distance between points ``(N, 3)`` and ``(M, 3)``."""
    at = _square(first_mm[None], second_mm[None]).argmin()
    least: Tensor = (first_mm[at // len(second_mm)] - second_mm[at % len(second_mm)]).norm()
    return least


def _square(first_mm: Tensor, second_mm: Tensor) -> Tensor:
    """Give squared distances ``(B, N, M)`` of points ``(B, N, 3)`` and ``(B, M, 3)``.

    By one product of matrices: off by some 0.001 square mm for things of the size of hands.
    """
    middle_mm = first_mm.mean(dim=1, keepdim=True)
    a, b = first_mm - middle_mm, second_mm - middle_mm
    near = torch.baddbmm((b * b).sum(dim=2)[:, None], a, b.mT, alpha=-2)
    square: Tensor = near + (a * a).sum(dim=2, keepdim=True)
    return square
