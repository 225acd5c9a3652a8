"""How far two hands pass through one another: a quick penalty for training, an exact measure.

* :class:`HandSpheres` stands balls along the bones. Their middles are fixed mixtures of the joints,
  so a net's joints are enough: no skinning, 69 balls a hand, differentiable. (Tzionas et al.,
  "Capturing Hands in Action using Discriminative Salient Points and Physics Simulation", IJCV 2016,
  penalise the collisions of meshes' faces; balls need no search for them.)
* :func:`penetration` measures closed meshes: the volume that lies in both, and how deep a vertex of
  one lies under the skin of the other. Numpy, no gradient, for reports.

**Hands only.** Forearms are left out of both: nets do not tell how a forearm bends, and arms that
cross are no error of a hand's pose. The measure closes the hand at the wrist by a fan of triangles.

**Units and frame**: millimetres, any common axes (camera axes elsewhere). Sides 0 right, 1 left.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hdrvideo.datatypes import check_array
from hdrvideo.errors import ShapeError
from hdrvideo.hand import BONES, JOINTS, N_JOINTS, SIDES
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.solids import Body, close_surface, depth_under_mm, shared_volume_mm3

F64 = NDArray[np.float64]

# Shares of the way along a bone at which balls stand.
_ALONG_PHALANX: Final = (1 / 6, 1 / 2, 5 / 6)
_ALONG_RAY: Final = (0.35, 0.65, 0.95)
# The web between thumb and index and the ball of the thumb: mixtures of joints by name.
_THENAR: Final[tuple[dict[str, float], ...]] = (
    {"wrist": 0.4, "thumb_cmc": 0.4, "index_mcp": 0.2},
    {"thumb_cmc": 0.5, "thumb_mcp": 0.2, "index_mcp": 0.3},
    {"thumb_cmc": 0.25, "thumb_mcp": 0.4, "index_mcp": 0.35},
)
# Distance of the columns along which the volume is summed.
STEP_MM: Final = 1.0
_CHUNK: Final = 64


class HandSpheres(nn.Module):
    """Balls along the bones of a hand that stand for its flesh.

    There are three balls a phalanx, three a palm ray and between two rays, and three round the
    thumb's base. A ball's radius is the mean distance of those skin vertices of the mean hand whose
    nearest middle is its own. Our joints lie near the back of the hand, so a ball stands out of the
    back (by 5 mm in the median, 10 at most) and the palm's side out of the ball: half of the skin
    lies within balls, 95 % no more than 4.5 mm outside. Hands that only touch may therefore cost a
    little, and some that overlap by their pulps nothing.

    Attributes:
        mixing: ``(S, 21)`` shares of the joints in each middle; none negative, rows sum to one.
        radius_mm: ``(S,)`` in the mean hand.
        length_mm: Sum of the mean hand's 20 bones; radii grow as it does.
    """

    mixing: Tensor
    radius_mm: Tensor
    length_mm: Tensor

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        skin_mm = model.template_mm[model.part != PARTS.index("forearm")].detach().cpu()
        joints_mm = model.joints_mm.detach().cpu()
        mixing = _mixing().to(joints_mm)
        away_mm = torch.cdist(mixing @ joints_mm, skin_mm)
        mine = (away_mm.argmin(dim=0) == torch.arange(len(mixing))[:, None]).to(away_mm)
        count = mine.sum(dim=1)
        mean_mm = (away_mm * mine).sum(dim=1) / count.clamp(min=1)
        # A ball without skin of its own is wholly within: it touches the nearest.
        radius_mm = torch.where(count > 0, mean_mm, away_mm.amin(dim=1))
        for name, value in (
            ("mixing", mixing),
            ("radius_mm", radius_mm),
            ("length_mm", _length_mm(joints_mm)),
        ):
            self.register_buffer(name, value.to(model.template_mm), persistent=False)

    def forward(self, joints_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Give middles ``(B, S, 3)`` and radii ``(B, S)`` in mm of joints ``(B, 21, 3)``.

        Raises:
            ShapeError: The joints have another shape.
        """
        _check_joints("joints_mm", joints_mm, None)
        with torch.autocast(joints_mm.device.type, enabled=False):
            full = joints_mm.to(self.mixing.dtype)
            # The size is given, not learned: a hand must not shrink to get out of the way.
            size = _length_mm(full.detach()) / self.length_mm
            return self.mixing @ full, size[:, None] * self.radius_mm

    def overlap_mm2(self, joints_right_mm: Tensor, joints_left_mm: Tensor) -> Tensor:
        """Penalise balls of two hands that overlap.

        Args:
            joints_right_mm: ``(B, 21, 3)`` in the order of :data:`hdrvideo.hand.JOINTS`.
            joints_left_mm: ``(B, 21, 3)`` in the same axes.

        Returns:
            ``(B,)`` sum over all pairs of balls of the squared depth ``relu(r + r' - distance)**2``
            in mm^2; zero where hands are apart, NaN where a joint is. A row's answer does not
            depend on the others. Computed in the spheres' own precision, also under autocast.

        Raises:
            ShapeError: The joints have another shape.
        """
        _check_joints("joints_right_mm", joints_right_mm, None)
        _check_joints("joints_left_mm", joints_left_mm, len(joints_right_mm))
        # Near the origin float32 (or the short products of some devices) lose nothing.
        origin_mm = joints_right_mm[:, :1].detach()
        right_mm, radius_right_mm = self(joints_right_mm - origin_mm)
        left_mm, radius_left_mm = self(joints_left_mm - origin_mm)
        away_mm = torch.cdist(right_mm, left_mm, compute_mode="donot_use_mm_for_euclid_dist")
        depth_mm = radius_right_mm[:, :, None] + radius_left_mm[:, None] - away_mm
        penalty: Tensor = depth_mm.relu().square().sum(dim=(1, 2))
        return penalty


def _mixing() -> Tensor:
    """Give the shares ``(S, 21)`` of the joints in each ball's middle."""
    rows = []
    for parent, child in BONES:
        if parent:
            rows += [{parent: 1 - s, child: s} for s in _ALONG_PHALANX]
    knuckles = [child for parent, child in BONES[1:] if not parent]
    rows += [{0: 1 - s, knuckle: s} for knuckle in knuckles for s in _ALONG_RAY]
    for a, b in pairwise(knuckles):
        rows += [{0: 1 - s, a: s / 2, b: s / 2} for s in _ALONG_RAY]
    rows += [{JOINTS.index(name): s for name, s in row.items()} for row in _THENAR]
    mixing = torch.zeros(len(rows), N_JOINTS, dtype=torch.float64)
    for number, row in enumerate(rows):
        mixing[number, list(row)] = torch.tensor(list(row.values()), dtype=torch.float64)
    return mixing


def _length_mm(joints_mm: Tensor) -> Tensor:
    """Sum the 20 bones of ``(..., 21, 3)``."""
    parents, children = (list(ends) for ends in zip(*BONES, strict=True))
    bones_mm = joints_mm[..., children, :] - joints_mm[..., parents, :]
    length_mm: Tensor = torch.linalg.vector_norm(bones_mm, dim=-1).sum(dim=-1)
    return length_mm


def _check_joints(name: str, joints_mm: Tensor, batch: int | None) -> None:
    found = tuple(joints_mm.shape)
    wanted = ("B" if batch is None else batch, N_JOINTS, 3)
    if len(found) != 3 or found[1:] != wanted[1:] or batch not in (None, found[0]):
        raise ShapeError(f"{name} is {found}, expected {wanted}")


# --- the exact measure -------------------------------------------------------------------------


@dataclass(frozen=True)
class PenetrationResult:
    """How far two bodies pass through one another.

    Attributes:
        depth_mm: ``(B,)`` greatest distance from a vertex of one that lies in the other to the
            other's surface; 0 where none does, NaN where a vertex is not finite.
        volume_mm3: ``(B,)`` of what lies in both; NaN likewise.
    """

    depth_mm: F64
    volume_mm3: F64

    def __post_init__(self) -> None:
        check_array("depth_mm", self.depth_mm, (None,), "float64")
        check_array("volume_mm3", self.volume_mm3, (len(self.depth_mm),), "float64")


def hands_penetration(
    model: HandModel,
    pose: Tensor | NDArray[np.floating],
    shape: Tensor | NDArray[np.floating],
    wrist_mm: Tensor | NDArray[np.floating],
    *,
    step_mm: float = STEP_MM,
) -> PenetrationResult:
    """Measure pairs of hands given by the hand model's numbers, without their forearms.

    Args:
        model: The hand.
        pose: ``(B, 2, 16, 3)`` axis-angle in radians, or any other form of the hand model's.
        shape: ``(B, 2, n_shape)`` standard deviations.
        wrist_mm: ``(B, 2, 3)``.
        step_mm: See :func:`penetration`.

    Returns:
        One value a pair; NaN where a number of either hand is NaN.

    Raises:
        ShapeError: An input has the wrong shape, or ``step_mm`` is out of range.
    """
    kind = model.template_mm
    values = [torch.as_tensor(value).detach().to(kind) for value in (pose, shape, wrist_mm)]
    b = len(values[0])
    for name, value in zip(("pose", "shape", "wrist_mm"), values, strict=True):
        if tuple(value.shape[:2]) != (b, len(SIDES)):
            raise ShapeError(
                f"{name} is {tuple(value.shape)}, expected {(b, len(SIDES))} and what one hand has"
            )
    is_hand = (model.part != PARTS.index("forearm"))[model.faces].any(dim=1)
    faces = [model.triangles(side)[0][is_hand].cpu().numpy() for side in range(len(SIDES))]
    depth_mm, volume_mm3 = [np.zeros(0)], [np.zeros(0)]
    for start in range(0, b, _CHUNK):
        chunk = [value[start : start + _CHUNK] for value in values]
        hands = []
        for side in range(len(SIDES)):
            one_pose, one_shape, one_wrist_mm = (value[:, side] for value in chunk)
            with torch.no_grad():
                posed = model(one_pose, one_shape, side=side, wrist_mm=one_wrist_mm)
            hands.append(posed.vertices_mm.cpu().numpy())
        found = penetration(hands[0], faces[0], hands[1], faces[1], step_mm=step_mm)
        depth_mm.append(found.depth_mm)
        volume_mm3.append(found.volume_mm3)
    return PenetrationResult(np.concatenate(depth_mm), np.concatenate(volume_mm3))


def penetration(
    vertices_right_mm: NDArray[np.floating],
    faces_right: NDArray[np.integer],
    vertices_left_mm: NDArray[np.floating],
    faces_left: NDArray[np.integer],
    *,
    step_mm: float = STEP_MM,
) -> PenetrationResult:
    """Measure how far pairs of bodies pass through one another.

    Columns along z stand on a grid, at most ``step_mm`` apart, over the bodies' common box. Where
    a column crosses a face its winding number changes; inside is where that is positive, so a
    hand's folds that overlap themselves count once. **Volume** is the columns' length within both
    bodies times a cell's area: exact along z, and sampled only across. **Depth** is from vertices
    inside the other body to the nearest point on its triangles. It grows no further than half the
    thickness where one goes right through the other; volume does.

    An open end is closed by a fan from its middle for the inside test; the distance to a surface
    is to the given faces only, since the fan is no skin.

    Args:
        vertices_right_mm: ``(B, V, 3)``; only what faces name counts.
        faces_right: ``(F, 3)`` counter-clockwise from outside; closed, or with holes.
        vertices_left_mm: ``(B, W, 3)``.
        faces_left: ``(G, 3)``.
        step_mm: Greatest distance of the columns, more than 0.

    Returns:
        One value a pair; the same when right and left change places.

    Raises:
        ShapeError: An input has the wrong shape, a face names a vertex that is not there, faces
            disagree about the outside or show it inwards, or ``step_mm`` is out of range.
    """
    if not (np.isfinite(step_mm) and step_mm > 0):
        raise ShapeError(f"step_mm is {step_mm}, expected more than 0; {STEP_MM} suits hands")
    right = close_surface("right", vertices_right_mm, faces_right)
    left = close_surface("left", vertices_left_mm, faces_left)
    b = len(right.vertices_mm)
    if len(left.vertices_mm) != b:
        raise ShapeError(
            f"vertices_left_mm holds {len(left.vertices_mm)} bodies, expected {b} as on the right"
        )
    depth_mm, volume_mm3 = np.zeros(b), np.zeros(b)
    for n in range(b):
        depth_mm[n], volume_mm3[n] = _measure(right.row(n), left.row(n), step_mm)
    return PenetrationResult(depth_mm, volume_mm3)


def _measure(right: Body, left: Body, step_mm: float) -> tuple[float, float]:
    """Give depth in mm and volume in mm^3 of one pair."""
    a_mm, b_mm = right.vertices_mm, left.vertices_mm
    if not (np.isfinite(a_mm).all() and np.isfinite(b_mm).all()):
        return math.nan, math.nan
    for side, body in zip(SIDES, (right, left), strict=True):
        if body.volume_mm3() < 0:
            raise ShapeError(
                f"faces_{side} hold {body.volume_mm3():.0f} mm^3, expected more than 0: they are "
                "clockwise from outside; use the triangles of that side"
            )
    low = np.maximum(a_mm.min(axis=0), b_mm.min(axis=0))
    high = np.minimum(a_mm.max(axis=0), b_mm.max(axis=0))
    if (low >= high).any():
        return 0.0, 0.0
    depths_mm = [
        depth_under_mm(one.vertices_mm[: one.n_vertices], other, low, high)
        for one, other in ((right, left), (left, right))
    ]
    return max(depths_mm), shared_volume_mm3(right, left, low, high, step_mm)
