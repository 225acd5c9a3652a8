"""Put a hand into the camera: 2D joints and a root-free 3D shape to ``xyz_cam_mm``.

The picture is trusted for where a joint is, the 3D shape for how deep it lies: the hand's depth
comes from its size, each joint's depth from its place in the shape, and u and v from the picture.
So the result projects onto the 2D joints exactly, by construction.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdrvideo.geometry import Camera
from hdrvideo.hand import ADULT_BONES_MM, bone_lengths

F64 = NDArray[np.float64]
NEAREST_MM = 50.0


def to_adult_scale(xyz_mm: NDArray[Any]) -> F64:
    """Scale hands ``(N, 21, 3)`` so that the median of their bones is as long as an adult's.

    A single camera cannot tell a small near hand from a large far one; fixing the size of the hand
    is what makes depth out of size. The median does not mind a few badly read bones.
    """
    xyz = np.asarray(xyz_mm, dtype=np.float64)
    lengths = np.maximum(bone_lengths(xyz), 1e-3)
    scale = np.median(np.asarray(ADULT_BONES_MM) / lengths, axis=-1)
    scaled: F64 = xyz * scale[:, None, None]
    return scaled


def lift_hands(uv_px: NDArray[Any], xyz_mm: NDArray[Any], camera: Camera) -> F64:
    """Give ``xyz_cam_mm`` of hands.

    With ``a = (u - cx) / fx`` and the hand's translation ``t``, every joint says
    ``X + t_x = a (Z + t_z)`` and likewise for v: 42 linear equations for ``t``, solved in the least
    squares sense. Then ``z = Z + t_z``, and u, v are lifted to that depth.

    Args:
        uv_px: ``(N, 21, 2)`` in the frame.
        xyz_mm: ``(N, 21, 3)``, camera axes, any origin, any scale (see :func:`to_adult_scale`).
        camera: Pinhole camera of the frame.

    Returns:
        ``(N, 21, 3)`` in millimetres; no joint is nearer than 50 mm.
    """
    xyz = to_adult_scale(xyz_mm)
    n = len(xyz)
    if n == 0:
        return np.zeros((0, 21, 3))
    rays = camera.lift(uv_px, np.ones(xyz.shape[:2]))[..., :2]
    left = np.zeros((n, 21, 2, 3))
    left[..., 0, 0] = left[..., 1, 1] = 1.0
    left[..., 2] = -rays
    right = rays * xyz[..., 2:] - xyz[..., :2]
    system, wanted = left.reshape(n, 42, 3), right.reshape(n, 42, 1)
    normal = system.transpose(0, 2, 1) @ system
    # A hand squeezed to a point has no size and so no depth: keep the system solvable.
    normal[:, 2, 2] += 1e-9
    t_z = np.linalg.solve(normal, system.transpose(0, 2, 1) @ wanted)[:, 2, 0]
    nearest = NEAREST_MM - xyz[..., 2].min(axis=1)
    z_mm = xyz[..., 2] + np.maximum(t_z, nearest)[:, None]
    return camera.lift(uv_px, z_mm)
