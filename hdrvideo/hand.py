"""The hand as a list of joints: names, bones, sides, and the orders that other systems use.

Our order, everywhere: 21 joints, wrist first, then thumb, index, middle, ring, little; each finger
from its base to its tip. It is the order of OpenPose, SNAP, MediaPipe, DexYCB and COCO-WholeBody.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import ShapeError

SIDES: Final = ("right", "left")
RIGHT: Final = 0
LEFT: Final = 1

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")
JOINTS: Final[tuple[str, ...]] = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *("index_mcp", "index_pip", "index_dip", "index_tip"),
    *("middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
    *("ring_mcp", "ring_pip", "ring_dip", "ring_tip"),
    *("little_mcp", "little_pip", "little_dip", "little_tip"),
)
N_JOINTS: Final = len(JOINTS)
WRIST: Final = 0
TIPS: Final = (4, 8, 12, 16, 20)
KNUCKLES: Final = (5, 9, 13, 17)
PARENTS: Final[tuple[int, ...]] = tuple(
    -1 if j == 0 else 0 if j % 4 == 1 else j - 1 for j in range(N_JOINTS)
)
BONES: Final[tuple[tuple[int, int], ...]] = tuple((PARENTS[j], j) for j in range(1, N_JOINTS))

# Bones of a typical adult hand in millimetres, in the order of BONES: rounded middle of two tracked
# recordings (handy.js poses, medians, MIT; dex-retargeting's joints, means, MIT).
ADULT_BONES_MM: Final = (
    *(45.0, 33.0, 34.0, 27.0),
    *(95.0, 38.0, 25.0, 23.0),
    *(92.0, 43.0, 27.0, 24.0),
    *(88.0, 38.0, 26.0, 23.0),
    *(83.0, 30.0, 20.0, 20.0),
)

# For each foreign order: the joint of ours that stands at each of its places.
_MANO_16: Final = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3)
ORDERS: Final[dict[str, tuple[int, ...]]] = {
    "openpose": tuple(range(21)),
    "snap": tuple(range(21)),
    "dexycb": tuple(range(21)),
    "mano": (*_MANO_16, *TIPS),
    "ho3d": (*_MANO_16, *TIPS),
    # FPHA: wrist, all knuckles, then each finger's other joints.
    "fpha": (0, 1, 5, 9, 13, 17, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20),
    "interhand": (4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0),
}


def _order(name: str) -> tuple[int, ...]:
    if name not in ORDERS:
        raise ShapeError(f"joint order {name!r} is not known; use one of {', '.join(ORDERS)}")
    return ORDERS[name]


def from_order(values: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """Bring one hand's joints from a foreign order into ours.

    Args:
        values: ``(..., 21, D)`` in the foreign order.
        name: A key of :data:`ORDERS`; for one hand (``interhand`` means its 21 of a side).

    Returns:
        A copy ``(..., 21, D)`` in our order.

    Raises:
        ShapeError: The order is unknown, or the joint axis is not 21 long.
    """
    places = _order(name)
    _check_joint_axis(values)
    ours = np.empty_like(values)
    ours[..., list(places), :] = values
    return ours


def to_order(values: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """Bring one hand's joints from our order into a foreign one; undoes :func:`from_order`."""
    places = _order(name)
    _check_joint_axis(values)
    foreign: NDArray[np.generic] = values[..., list(places), :].copy()
    return foreign


def from_interhand42(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Bring InterHand2.6M's 42 joints (right first, tip first) to ``(..., 2, 21, D)``."""
    if values.ndim < 2 or values.shape[-2] != 2 * N_JOINTS:
        raise ShapeError(f"InterHand joints are {values.shape}, expected (..., 42, D)")
    split = values.reshape(*values.shape[:-2], 2, N_JOINTS, values.shape[-1])
    return from_order(split, "interhand")


def to_interhand42(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Bring ``(..., 2, 21, D)`` in our order to InterHand2.6M's 42 joints."""
    if values.ndim < 3 or values.shape[-3] != 2:
        raise ShapeError(f"joints of a pair are {values.shape}, expected (..., 2, 21, D)")
    foreign = to_order(values, "interhand")
    return foreign.reshape(*foreign.shape[:-3], 2 * N_JOINTS, foreign.shape[-1])


def side_index(side: str) -> int:
    """Give the axis index of ``right`` or ``left``.

    Raises:
        ShapeError: Any other word.
    """
    if side not in SIDES:
        raise ShapeError(f"side is {side!r}, expected 'right' or 'left'")
    return SIDES.index(side)


def bone_lengths(xyz: NDArray[np.floating]) -> NDArray[np.floating]:
    """Give the 20 bone lengths of ``(..., 21, 3)`` joints, in the order of :data:`BONES`."""
    _check_joint_axis(xyz)
    children = list(range(1, N_JOINTS))
    parents = list(PARENTS[1:])
    return np.asarray(np.linalg.norm(xyz[..., children, :] - xyz[..., parents, :], axis=-1))


def palm_length(xyz: NDArray[np.floating]) -> NDArray[np.floating]:
    """Give the mean wrist-to-knuckle distance of ``(..., 21, D)`` joints, in their own unit."""
    _check_joint_axis(xyz)
    spokes = xyz[..., list(KNUCKLES), :] - xyz[..., WRIST : WRIST + 1, :]
    return np.asarray(np.linalg.norm(spokes, axis=-1).mean(axis=-1))


def _check_joint_axis(values: NDArray[np.generic]) -> None:
    shape: Sequence[int] = values.shape
    if len(shape) < 2 or shape[-2] != N_JOINTS:
        raise ShapeError(f"joints are {tuple(shape)}, expected (..., 21, D)")
