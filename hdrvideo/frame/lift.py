"""Put hands into the camera: 2D joints and root-free 3D shapes to ``xyz_cam_mm``.

The picture is trusted for where a joint is, the 3D shape for how deep it lies: the hand's depth
comes from its size, each joint's depth from its place in the shape, and u and v from the picture.
So the result projects onto the 2D joints exactly, by construction.

Size tells depth to a tenth or so: at arm's length that is less than two hands are apart, from
across a room much more. So for two hands of one person (:func:`lift_pairs`) the way in depth from
one to the other is weighed against what is known of people: hands are some 14 cm apart in depth,
hands that overlap in the picture half of that, and the one that hides the other is the nearer one.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES, check_array
from hdrvideo.geometry import Camera
from hdrvideo.hand import ADULT_BONES_MM, PARENTS

F64 = NDArray[np.float64]
NEAREST_MM = 50.0

# A bone's end is read to so many millimetres in the picture, and its depth to such a part of it.
_READ_MM: Final = 5.0
_DEPTH_PART: Final = 0.6
_ROUNDS: Final = 8
_LEAST_WEIGHT: Final = 1e-3
# How much larger the error of a hand's depth is than if its bones' errors had nothing to do with
# one another. Measured.
_ERROR_SCALE: Final = 2.7
# Two hands' way in depth, centre to centre, in millimetres: standard deviation of hands apart, and
# of hands that overlap in the picture; within what distance that is; how far the hidden one lies
# behind, and the hidden share at which it is two thirds of that. Of 5000 made pairs (training).
_APART_MM: Final = 135.0
_OVERLAP_MM: Final = 75.0
_NEAR_MM: Final = 40.0
_BEHIND_MM: Final = 90.0
_BEHIND_SHARE: Final = 0.2


def with_adult_bones(xyz: NDArray[Any]) -> F64:
    """Give hands ``(N, 21, 3)`` of any unit an adult's bones, in mm from the wrist.

    A single camera cannot tell a small near hand from a large far one; fixing the size of the hand
    is what makes depth out of size. Each bone keeps its direction; one without any stays a point.
    """
    xyz = np.asarray(xyz, dtype=np.float64)
    placed = np.zeros(xyz.shape)
    for joint in range(1, N_JOINTS):
        bone = xyz[:, joint] - xyz[:, PARENTS[joint]]
        length = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
        placed[:, joint] = placed[:, PARENTS[joint]] + ADULT_BONES_MM[joint - 1] * bone / length
    return placed


def lift_hands(
    uv_px: NDArray[Any],
    xyz_mm: NDArray[Any],
    camera: Camera,
    confidence: NDArray[Any] | None = None,
) -> F64:
    """Give ``xyz_cam_mm`` of hands, each for itself.

    Args:
        uv_px: ``(N, 21, 2)`` in the frame.
        xyz_mm: ``(N, 21, 3)``, camera axes, any origin, any scale (see :func:`with_adult_bones`).
        camera: Pinhole camera of the frame.
        confidence: ``(N, 21)`` in 0..1; None = all alike.

    Returns:
        ``(N, 21, 3)`` in millimetres; no joint is nearer than 50 mm.
    """
    shape = with_adult_bones(xyz_mm)
    depth_mm, _ = _wrist_depths(uv_px, shape, camera, confidence)
    return _placed(uv_px, shape, depth_mm, camera)


def lift_pairs(
    uv_px: NDArray[Any],
    xyz_mm: NDArray[Any],
    camera: Camera,
    *,
    confidence: NDArray[Any] | None = None,
    hidden: NDArray[Any] | None = None,
) -> F64:
    """Give ``xyz_cam_mm`` of one person's hands, frame by frame.

    Where both hands are there, the way in depth between their centres is the most likely one under
    what their sizes say and what is known of pairs of hands (see the module), all taken as normal;
    each hand moves by its part of the variance. A lone hand is as :func:`lift_hands` has it.

    Args:
        uv_px: ``(T, 2, 21, 2)`` by side; NaN where there is no hand.
        xyz_mm: ``(T, 2, 21, 3)``.
        camera: Pinhole camera of the frames.
        confidence: ``(T, 2, 21)`` in 0..1; None = all alike.
        hidden: ``(T, 2)`` hidden share of each hand, 0..1; NaN or None = not known.

    Returns:
        ``(T, 2, 21, 3)`` in millimetres; NaN where there is no hand.
    """
    t = len(uv_px)
    check_array("uv_px", uv_px, (t, N_SIDES, N_JOINTS, 2), "")
    check_array("xyz_mm", xyz_mm, (t, N_SIDES, N_JOINTS, 3), "")
    there = np.asarray(np.isfinite(uv_px).all(axis=(2, 3)) & np.isfinite(xyz_mm).all(axis=(2, 3)))
    shape = np.full((t, N_SIDES, N_JOINTS, 3), np.nan)
    depth_mm, error_mm = np.full((t, N_SIDES), np.nan), np.full((t, N_SIDES), np.nan)
    shape[there] = with_adult_bones(xyz_mm[there])
    known = None if confidence is None else np.asarray(confidence)[there]
    depth_mm[there], error_mm[there] = _wrist_depths(uv_px[there], shape[there], camera, known)
    both = there.all(axis=1)
    shares = np.zeros((t, N_SIDES)) if hidden is None else np.nan_to_num(hidden)
    centre_mm = depth_mm + shape[..., 2].mean(axis=-1)
    mean_mm, spread_mm = _expected_way(uv_px[both], centre_mm[both], shares[both], camera)
    variance = error_mm[both] ** 2
    seen_mm = centre_mm[both, 1] - centre_mm[both, 0]
    # Of two normal beliefs, by their weights; what it moves is shared by the hands' variances.
    share = variance / (variance.sum(axis=1) + spread_mm**2)[:, None]
    depth_mm[both] += share * ((mean_mm - seen_mm)[:, None] * np.array([-1.0, 1.0]))
    lifted = np.full(shape.shape, np.nan)
    lifted[there] = _placed(uv_px[there], shape[there], depth_mm[there], camera)
    return lifted


def _placed(uv_px: NDArray[Any], shape: F64, wrist_depth_mm: F64, camera: Camera) -> F64:
    nearest = NEAREST_MM - shape[..., 2].min(axis=-1, initial=np.inf)
    return camera.lift(uv_px, shape[..., 2] + np.maximum(wrist_depth_mm, nearest)[..., None])


def _wrist_depths(
    uv_px: NDArray[Any], shape: F64, camera: Camera, confidence: NDArray[Any] | None
) -> tuple[F64, F64]:
    """Find how far away hands are by their size.

    With ``a = (u - cx) / fx`` every joint of a hand whose wrist is at ``t`` says
    ``X + t_x = a (Z + t_z)``, so a bone from p to c says
    ``(a_c - a_p) t_z = (X_c - X_p) - (a_c Z_c - a_p Z_p)``, and likewise for v: 40 equations for
    one number, by least squares. A bone that points at the camera tells little of its size: the
    more of it is depth the less it weighs. Bones that fit badly lose weight over some rounds
    (Cauchy's loss).

    Returns:
        ``(N,)`` depth of the wrist and its standard deviation, both in mm.
    """
    rays = camera.lift(uv_px, np.ones(shape.shape[:2]))[..., :2]
    flat = shape[..., :2] - rays * shape[..., 2:]
    starts = list(PARENTS[1:])
    slope, wanted = (a[:, 1:] - a[:, starts] for a in (rays, flat))
    deep_mm = shape[:, 1:, 2] - shape[:, starts, 2]
    weight = 1 / (_READ_MM**2 + (_DEPTH_PART * deep_mm) ** 2)
    if confidence is not None:
        trust = np.maximum(np.asarray(confidence, dtype=np.float64), _LEAST_WEIGHT)
        weight = weight * np.minimum(trust[:, 1:], trust[:, starts])
        weight = weight / trust.max(axis=1, initial=_LEAST_WEIGHT)[:, None]
    told = (slope**2).sum(axis=-1)
    said = (slope * wanted).sum(axis=-1)
    robust, depth, misfit = weight, np.zeros(len(shape)), np.zeros(weight.shape)
    for _ in range(_ROUNDS):
        # A hand squeezed to a point has no size: the smallest number keeps its depth finite.
        depth = (robust * said).sum(axis=1) / np.maximum((robust * told).sum(axis=1), 1e-12)
        misfit = weight * ((slope * depth[:, None, None] - wanted) ** 2).sum(axis=-1)
        robust = weight / (1 + misfit)
    noise = misfit.mean(axis=1) / np.maximum((weight * told).sum(axis=1), 1e-12)
    return depth, _ERROR_SCALE * np.sqrt(noise)


def _expected_way(
    uv_px: NDArray[Any], centre_mm: F64, hidden: F64, camera: Camera
) -> tuple[F64, F64]:
    """Say what way in depth from the right to the left hand to expect: mean and deviation."""
    rays = camera.lift(uv_px, np.ones(uv_px.shape[:3]))[..., :2]
    between = np.linalg.norm(rays[:, 0, :, None] - rays[:, 1, None], axis=-1)
    near_mm = between.min(axis=(1, 2), initial=np.inf) * centre_mm.mean(axis=1)
    overlap = np.exp(-((near_mm / _NEAR_MM) ** 2))
    behind = hidden[:, 1] - hidden[:, 0]
    mean_mm = np.sign(behind) * _BEHIND_MM * (1 - np.exp(-np.abs(behind) / _BEHIND_SHARE))
    return mean_mm, _APART_MM + (_OVERLAP_MM - _APART_MM) * overlap
