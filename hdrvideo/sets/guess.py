"""Where a hand is when only some of its joints are labelled.

A square is taken round all joints, and lengths are told in palms: so joints without a label are put
where the camera sees their place in space, or where a flat hand, laid on the labelled ones, has
them. They are never compared with a prediction.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, Bool
from hdrvideo.errors import DataError
from hdrvideo.hand import RIGHT
from hdrvideo.sets.sample import SetSample

F64 = NDArray[np.float64]

# A flat right hand, its back to the camera: degrees clockwise from up, and where each joint of a
# finger lies on that ray, in palm lengths.
_RAYS_DEG: Final = (-45.0, -17.0, 0.0, 16.0, 32.0)
_THUMB: Final = (0.4, 0.75, 1.05, 1.3)
_FINGER: Final = (1.0, 1.4, 1.68, 1.92)


def whole_uv_px(sample: SetSample, side: int) -> F64:
    """Give all joints ``(21, 2)`` of a sample's hand in the picture, labelled or not.

    Args:
        sample: The picture.
        side: 0 right, 1 left.

    Raises:
        DataError: Fewer than two joints of the hand are known in any way.
    """
    uv_px, there = sample.uv_px[side].copy(), sample.valid_uv[side].copy()
    if sample.pinhole is not None:
        seen = sample.valid_xyz[side] & ~there
        uv_px[seen] = sample.pinhole.project(sample.xyz_cam_mm[side, seen])
        there |= seen
    return with_guesses(uv_px, there, side)


def with_guesses(uv_px: F64, labelled: Bool, side: int) -> F64:
    """Put joints without a label where a flat hand, laid on the labelled ones, has them.

    They tell where to look (a square is taken round all joints) and how long a palm is; they are
    never compared with a prediction.

    Args:
        uv_px: ``(21, 2)``.
        labelled: ``(21,)`` bool, at least two.
        side: 0 right, 1 left.

    Returns:
        ``(21, 2)``; the labelled joints as they were.

    Raises:
        DataError: Fewer than two joints are labelled.
    """
    if labelled.all():
        return uv_px
    if labelled.sum() < 2:
        raise DataError(f"a hand has {int(labelled.sum())} labelled joints, expected at least 2")
    # The back or the palm may be seen: the better of both fits is taken. Planes are complex here.
    wanted = uv_px[:, 0] + 1j * uv_px[:, 1]
    fits = []
    for flat in (_flat_hand(), _flat_hand() * (-1, 1)):
        points = flat[:, 0] + 1j * flat[:, 1]
        system = np.stack([points, np.ones(N_JOINTS)], axis=1)
        found = np.linalg.lstsq(system[labelled], wanted[labelled], rcond=None)[0]
        guess = system @ found
        fits.append((float(np.abs(guess - wanted)[labelled].mean()), guess))
    # With few labels both may fit alike; then the hand shows its back.
    backs = fits if side == RIGHT else fits[::-1]
    guess = min(backs, key=lambda fit: round(fit[0], 6))[1]
    return np.where(labelled[:, None], uv_px, np.stack([guess.real, guess.imag], axis=1))


def hand_in_box(box_uvuv_px: F64, side: int, wrist_px: F64 | None = None) -> F64:
    """Give the joints ``(21, 2)`` of a flat hand that fills a box, to look there.

    Args:
        box_uvuv_px: ``(4,)`` u0, v0, u1, v1.
        side: 0 right, 1 left.
        wrist_px: ``(2,)`` where the wrist is: the fingers then point from it to the box's middle;
            None = they point up.
    """
    flat = _flat_hand() * ((1, 1) if side == RIGHT else (-1, 1))
    low, high = flat.min(axis=0), flat.max(axis=0)
    box = np.asarray(box_uvuv_px, dtype=np.float64)
    size_px = (box[2:] - box[:2]).max() / (high - low).max()
    middle, middle_px = (low + high) / 2, (box[:2] + box[2:]) / 2
    way = np.array([0.0, -1.0]) if wrist_px is None else middle_px - wrist_px
    # A wrist in the middle of its box says nothing.
    way = way if np.linalg.norm(way) > 1 else np.array([0.0, -1.0])
    sin, cos = way[0] / np.linalg.norm(way), -way[1] / np.linalg.norm(way)
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.asarray(middle_px + size_px * (flat - middle) @ turn.T)


def _flat_hand() -> F64:
    flat = np.zeros((N_JOINTS, 2))
    for joint in range(1, N_JOINTS):
        finger, place = divmod(joint - 1, 4)
        angle = np.radians(_RAYS_DEG[finger])
        length = (_FINGER if finger else _THUMB)[place]
        flat[joint] = length * np.sin(angle), -length * np.cos(angle)
    return flat
