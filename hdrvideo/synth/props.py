"""Rigid things beside the hands, all on one grid: 13 rings of 16 vertices round an axis.

A thing stands along its own y axis; ring ``i`` lies at ``y_mm[i]``, its outline is a superellipse
of half widths ``x_mm[i]`` and ``z_mm[i]`` (power 2 round, 8 a box with soft edges). The first and
the last ring are points, so every thing is closed. What goes round a limb (sleeve, watch, ring) is
closed inside the limb.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, check_array
from hdrvideo.errors import ShapeError
from hdrvideo.synth.scene import N_PROP_VERTICES, PROP_RINGS, PROP_SECTORS

F64 = NDArray[np.float64]


def _grid_faces() -> NDArray[np.int64]:
    """Give ``(F, 3)`` triangles, counter-clockwise from outside; the two ends are fans."""
    ring, sector = np.meshgrid(np.arange(PROP_RINGS - 1), np.arange(PROP_SECTORS), indexing="ij")
    after = (sector + 1) % PROP_SECTORS
    a, b = ring * PROP_SECTORS + sector, (ring + 1) * PROP_SECTORS + sector
    c, d = (ring + 1) * PROP_SECTORS + after, ring * PROP_SECTORS + after
    first, second = np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)
    # At a point ring one of the two triangles has no area.
    faces = [first[:-1].reshape(-1, 3), second[1:].reshape(-1, 3)]
    return np.concatenate(faces).astype(np.int64)


def _grid_uv() -> F32:
    """Give ``(V, 2)``: around goes 0 to 1 and back, so that no seam shows; along goes 0 to 1."""
    around = 1 - np.abs(1 - 2 * np.arange(PROP_SECTORS) / PROP_SECTORS)
    along = np.arange(PROP_RINGS) / (PROP_RINGS - 1)
    grid = np.broadcast_arrays(around[None], along[:, None])
    return np.stack(grid, axis=-1).reshape(-1, 2).astype(np.float32)


PROP_FACES: Final = _grid_faces()
PROP_UV: Final = _grid_uv()


@dataclass(frozen=True)
class Solid:
    """A thing on the grid, in its own axes.

    Attributes:
        y_mm: ``(13,)`` place of each ring along the axis; growing, if ``distance_mm`` is asked.
        x_mm: ``(13,)`` half width of each ring; the first and last are zero.
        z_mm: ``(13,)`` half depth likewise.
        power: Of the outline: 2 an ellipse, more is squarer.
        middle_mm: ``(13, 2)`` where the axis passes each ring (x, z).
    """

    y_mm: F64
    x_mm: F64
    z_mm: F64
    power: float
    middle_mm: F64

    def __post_init__(self) -> None:
        for name in ("y_mm", "x_mm", "z_mm"):
            check_array(name, getattr(self, name), (PROP_RINGS,), "float64")
        check_array("middle_mm", self.middle_mm, (PROP_RINGS, 2), "float64")
        ends = self.x_mm[[0, -1]], self.z_mm[[0, -1]]
        if np.any(ends):
            raise ShapeError(f"the first and last ring of a solid are {ends} wide, expected points")

    def vertices_mm(self) -> F32:
        """Give the ``(208, 3)`` vertices, ring by ring."""
        angle = 2 * np.pi * np.arange(PROP_SECTORS) / PROP_SECTORS
        cos, sin = np.cos(angle), np.sin(angle)
        shrink = (np.abs(cos) ** self.power + np.abs(sin) ** self.power) ** (-1 / self.power)
        x = self.x_mm[:, None] * cos * shrink + self.middle_mm[:, :1]
        z = self.z_mm[:, None] * sin * shrink + self.middle_mm[:, 1:]
        y = np.broadcast_to(self.y_mm[:, None], x.shape)
        return np.stack([x, y, z], axis=-1).reshape(N_PROP_VERTICES, 3).astype(np.float32)

    def distance_mm(self, points_mm: F64) -> F64:
        """Give about how far points ``(..., 3)`` lie outside (negative: inside), own axes."""
        y = points_mm[..., 1]
        offset = points_mm[..., [0, 2]] - np.stack(
            [np.interp(y, self.y_mm, self.middle_mm[:, i]) for i in (0, 1)], axis=-1
        )
        half = np.stack([np.interp(y, *self._outline(w)) for w in (self.x_mm, self.z_mm)], axis=-1)
        level = (np.abs(offset / half) ** self.power).sum(axis=-1) ** (1 / self.power)
        # Along the ray from the axis; exact for a round outline.
        reach = np.linalg.norm(offset, axis=-1)
        aside = np.where(
            level > 1e-6, reach * (1 - 1 / np.maximum(level, 1e-6)), -half.min(axis=-1)
        )
        above = np.maximum(self.y_mm[0] - y, y - self.y_mm[-1])
        outside = np.hypot(np.maximum(aside, 0), np.maximum(above, 0))
        inside = np.maximum(aside, above)
        return np.asarray(np.where(inside > 0, outside, inside))

    def _outline(self, width_mm: F64) -> tuple[F64, F64]:
        """Give where and how wide; at a flat end its rim counts, not its middle."""
        width_mm = width_mm.copy()
        for end, rim in ((0, 1), (-1, -2)):
            if self.y_mm[end] == self.y_mm[rim]:
                width_mm[end] = width_mm[rim]
        return self.y_mm, np.maximum(width_mm, 0.1)


def _solid(y: F64, x: F64, z: F64, power: float = 2.0, middle: F64 | None = None) -> Solid:
    middle = np.zeros((PROP_RINGS, 2)) if middle is None else np.asarray(middle, np.float64)
    y, x, z = (np.asarray(value, np.float64) for value in (y, x, z))
    return Solid(y, x, z, power, middle)


def lathe(
    y_mm: F64, x_mm: F64, z_mm: F64, power: float = 2.0, middle_mm: F64 | None = None
) -> Solid:
    """Close a stack of 11 outlines with flat ends.

    Args:
        y_mm: ``(11,)`` growing.
        x_mm: ``(11,)`` half widths.
        z_mm: ``(11,)`` half depths.
        power: Of the outlines.
        middle_mm: ``(11, 2)`` where the axis passes, or None for straight.
    """
    y = np.concatenate([y_mm[:1], y_mm, y_mm[-1:]])
    x, z = (np.concatenate([[0.0], width, [0.0]]) for width in (x_mm, z_mm))
    if middle_mm is not None:
        middle_mm = np.concatenate([middle_mm[:1], middle_mm, middle_mm[-1:]])
    return _solid(y, x, z, power, middle_mm)


def block(
    x_mm: float, y_mm: float, z_mm: float, *, power: float = 2.0, bevel_mm: float = 2.0
) -> Solid:
    """Give a cylinder (power 2) or a box (8) of these half sizes with slightly rounded rims."""
    bevel = min(bevel_mm, 0.4 * x_mm, 0.4 * y_mm, 0.4 * z_mm)
    inner = np.linspace(bevel - y_mm, y_mm - bevel, 7)
    y = np.concatenate([[-y_mm, 0.3 * bevel - y_mm], inner, [y_mm - 0.3 * bevel, y_mm]])
    cut = np.concatenate([[bevel, 0.3 * bevel], np.zeros(7), [0.3 * bevel, bevel]])
    return lathe(y, x_mm - cut, z_mm - cut, power)


def ellipsoid(x_mm: float, y_mm: float, z_mm: float) -> Solid:
    """Give an ellipsoid of these half sizes."""
    angle = np.linspace(0, np.pi, PROP_RINGS)
    ring = np.sin(angle)
    ring[[0, -1]] = 0
    return _solid(-y_mm * np.cos(angle), x_mm * ring, z_mm * ring)


def limb(length_mm: float, near_mm: float, far_mm: float) -> Solid:
    """Give a round limb from the origin along y, with rounded ends beyond both of its joints."""
    y = np.linspace(0, length_mm, 7)
    radius = np.interp(y, [0, 0.35 * length_mm, length_mm], [near_mm, 1.06 * near_mm, far_mm])
    cap = np.array([1.0, 0.85, 0.5])
    round_off = np.sqrt(1 - cap**2)
    y = np.concatenate([-cap * near_mm, y, length_mm + cap[::-1] * far_mm])
    radius = np.concatenate([round_off * near_mm, radius, (round_off * far_mm)[::-1]])
    return _solid(y, radius, radius)


def torso(half_mm: float, length_mm: float, depth_mm: float) -> Solid:
    """Give a chest with shoulders; the origin is between the shoulder joints, y goes down.

    Args:
        half_mm: From the middle to a shoulder joint.
        length_mm: From the shoulders to the hip.
        depth_mm: Half of the chest's depth.
    """
    down = np.array([-62, -52, -34, -8, 40, 110, 0.4, 0.55, 0.7, 0.85, 1.0])
    down[6:] *= length_mm
    wide = np.array([0.3, 0.55, 0.86, 1.06, 1.06, 1.0, 0.92, 0.84, 0.8, 0.84, 0.9])
    deep = np.array([0.35, 0.5, 0.64, 0.75, 0.9, 1.0, 1.0, 0.95, 0.9, 0.9, 0.92])
    return lathe(np.sort(down), half_mm * wide, depth_mm * deep, 2.6)


def head(half_mm: float) -> Solid:
    """Give a head with its neck; the origin is between the shoulder joints, y goes down."""
    y = np.array([-330, -322, -300, -262, -220, -180, -145, -118, -100, -70, -20.0])
    x = np.array([20, 42, 64, 76, 76, 70, 60, 52, 52, 54, 64.0])
    z = np.array([24, 52, 80, 96, 94, 88, 76, 56, 54, 56, 60.0])
    scale = half_mm / 180
    middle = np.zeros((11, 2))
    middle[:7, 1] = 22
    return lathe(y * scale, x * scale, z * scale, 2.0, middle * scale)


def hair(half_mm: float) -> Solid:
    """Give a cap of hair over :func:`head`."""
    y = np.array([-340, -332, -310, -285, -262, -240, -222, -205, -190, -176, -166.0])
    x = np.array([24, 48, 70, 80, 84, 84, 83, 81, 79, 76, 70.0])
    z = np.array([26, 56, 84, 92, 92, 88, 84, 80, 76, 72, 66.0])
    scale = half_mm / 180
    middle = np.zeros((11, 2))
    middle[:, 1] = np.linspace(20, -8, 11)
    return lathe(y * scale, x * scale, z * scale, 2.0, middle * scale)


def sleeve(
    y_mm: F64, x_mm: F64, z_mm: F64, middle_mm: F64, ease_mm: float, cuff_mm: float
) -> Solid:
    """Give a sleeve round a forearm, from its wrist end (first) to beyond the elbow (last).

    Args:
        y_mm: ``(9,)`` places along the forearm, wrist end first.
        x_mm: ``(9,)`` half widths of the arm there.
        z_mm: ``(9,)`` half depths of the arm.
        middle_mm: ``(9, 2)`` middle of the arm.
        ease_mm: How much wider than the arm.
        cuff_mm: How much wider again its first two rings are.
    """
    ease = np.full(9, ease_mm) + cuff_mm * np.array([1, 1, 0, 0, 0, 0, 0, 0, 0])
    # The opening goes back inside: a rim, then the arm's own width, then a point deep within.
    inside = [y_mm[0] + 20.0, y_mm[0] + 1.0]
    y = np.concatenate([inside, y_mm, [y_mm[-1] + 25, y_mm[-1] + 35]])
    x, z = (
        np.concatenate([[0, 0.98 * w[0]], w + ease, [0.7 * (w[-1] + ease_mm), 0]])
        for w in (x_mm, z_mm)
    )
    middle = np.concatenate(
        [middle_mm[:1], middle_mm[:1], middle_mm, middle_mm[-1:], middle_mm[-1:]]
    )
    return _solid(y, x, z, 2.0, middle)


def band(x_mm: float, z_mm: float, half_mm: float) -> Solid:
    """Give a band round a finger or wrist: half widths of its outside and half height."""
    return block(x_mm, half_mm, z_mm, bevel_mm=0.8)


# --- what hands hold ---------------------------------------------------------------------------

OBJECTS: Final = (
    "cup", "bottle", "can", "ball", "box", "book", "phone", "pen", "stick", "plate", "bowl",
)  # fmt: skip


def make_object(name: str, rng: np.random.Generator) -> Solid:
    """Draw the size of an object named in :data:`OBJECTS`; its middle is the origin.

    Raises:
        ShapeError: The name is not known.
    """
    if name not in OBJECTS:
        raise ShapeError(f"object {name!r} is not known; use one of {', '.join(OBJECTS)}")
    size = float(rng.uniform(0.85, 1.2))
    if name in ("cup", "bottle", "bowl"):
        return _turned(name, size)
    if name == "ball":
        radius = float(rng.uniform(22, 70))
        return ellipsoid(radius, radius, radius)
    if name == "plate":
        return block(105 * size, 7, 105 * size, bevel_mm=5)
    if name in ("can", "pen", "stick"):
        radius, half = {"can": (33, 60), "pen": (5, 72), "stick": (11, 120)}[name]
        return block(radius * size, half * size, radius * size)
    half_sizes = {"box": (38, 55, 28), "book": (75, 105, 12), "phone": (36, 74, 4.5)}[name]
    x, y, z = (half * size for half in half_sizes)
    return block(x, y, z, power=8.0, bevel_mm=1.5)


def _turned(name: str, size: float) -> Solid:
    """Give a cup, bottle or bowl; y goes down, so its mouth comes first."""
    step = np.linspace(0, 1, 11)
    if name == "cup":
        half, radius = 46, np.interp(step, [0, 0.9, 1], [41, 37, 33])
    elif name == "bottle":
        half, radius = 105, np.interp(step, [0, 0.22, 0.4, 0.95, 1], [13, 14, 33, 33, 29])
    else:
        half, radius = 32, 78 * np.sqrt(np.maximum(1 - (step * 0.93) ** 2.2, 0.05))
    y = (2 * step - 1) * half
    return lathe(y * size, radius * size, radius * size)
