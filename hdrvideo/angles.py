"""Angles of the finger joints, as hands are described by them: flexion, abduction and twist.

A track keeps each joint's turn as axis times radians (:attr:`hdrvideo.track.PoseTrack.turn_rad`);
angles follow from it, and are not kept. The same as ``joint_angles`` of the hand model (its head
says which way is positive), in plain NumPy, for what needs no torch.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32
from hdrvideo.errors import ShapeError
from hdrvideo.hand import JOINTS, N_JOINTS
from hdrvideo.track import TURNING

ANGLES: Final = ("flexion", "abduction", "twist")
# The joints that have angles: those that turn, but for the wrist.
ANGLE_JOINTS: Final = tuple(JOINTS[j] for j in TURNING[1:])


def joint_angles_deg(turn_rad: NDArray[np.floating[Any]]) -> F32:
    """Take the turns of finger joints apart: ``flexion(x) @ abduction(z) @ twist(y)``.

    Args:
        turn_rad: ``(..., 21, 3)`` axis times radians, any length; NaN where there is none.

    Returns:
        ``(..., 15, 3)`` float32 degrees, joints as :data:`ANGLE_JOINTS`, angles as :data:`ANGLES`;
        NaN where there is no turn. Abduction is in -90..90, the others in -180..180. At an
        abduction of 90 degrees flexion and twist are about one axis, and only their sum or
        difference means something.

    Raises:
        ShapeError: The last axes are not 21 joints of 3 numbers.
    """
    if turn_rad.shape[-2:] != (N_JOINTS, 3):
        raise ShapeError(f"turn_rad is {turn_rad.shape}, expected (..., {N_JOINTS}, 3)")
    turns = turn_rad[..., list(TURNING[1:]), :].astype(np.float64)
    x, y, z = np.moveaxis(turns, -1, 0)
    angle = np.linalg.norm(turns, axis=-1)
    # Rodrigues: identity + a * cross + b * cross @ cross; np.sinc(t) is sin(pi t) / (pi t).
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    r00, r01, r02 = 1 - b * (y**2 + z**2), b * x * y - a * z, b * x * z + a * y
    r11, r21 = 1 - b * (x**2 + z**2), b * y * z + a * x
    flexion = np.arctan2(r21, r11)
    abduction = np.arctan2(-r01, np.hypot(r00, r02))
    twist = np.arctan2(r02, r00)
    angles_rad = np.stack([flexion, abduction, twist], axis=-1)
    return np.asarray(np.rad2deg(angles_rad), dtype=np.float32)
