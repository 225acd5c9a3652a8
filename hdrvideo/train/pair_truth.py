"""The truth of both hands' joints in a picture, and in a view of it."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, N_JOINTS, N_SIDES, check_array
from hdrvideo.geometry import apply_affine, invert_affine, turn_xy
from hdrvideo.hand import JOINTS, KNUCKLES, WRIST, palm_length

F64 = NDArray[np.float64]
_MIDDLE_MCP: Final = JOINTS.index("middle_mcp")
# A hand seen askew still has a palm of this part of its extent.
_LEAST_PALM: Final = 0.35


@dataclass(frozen=True)
class PictureJoints:
    """Joints of both hands in a picture, sides 0 right, 1 left; NaN where not known.

    Attributes:
        uv_px: ``(2, 21, 2)`` float32.
        xyz_cam_mm: ``(2, 21, 3)`` float32.
        palm_px: ``(2,)`` float32 length of the palm as it would look face on at its place.
    """

    uv_px: F32
    xyz_cam_mm: F32
    palm_px: F32

    def __post_init__(self) -> None:
        check_array("uv_px", self.uv_px, (N_SIDES, N_JOINTS, 2), "float32")
        check_array("xyz_cam_mm", self.xyz_cam_mm, (N_SIDES, N_JOINTS, 3), "float32")
        check_array("palm_px", self.palm_px, (N_SIDES,), "float32")

    @classmethod
    def unknown(cls) -> "PictureJoints":
        """Give joints of which nothing is known."""
        shape = (N_SIDES, N_JOINTS)
        nan = np.float32(np.nan)
        return cls(np.full((*shape, 2), nan), np.full((*shape, 3), nan), np.full(N_SIDES, nan))

    def only(self, side: int) -> "PictureJoints":
        """Forget the other hand."""
        kept = PictureJoints.unknown()
        for name in ("uv_px", "xyz_cam_mm", "palm_px"):
            getattr(kept, name)[side] = getattr(self, name)[side]
        return kept


@dataclass(frozen=True)
class PairTruth:
    """What is asked of a net about joints in a view; 0 where the weight is 0.

    Attributes:
        uv_px: ``(2, 21, 2)`` float32 in the view.
        joint_weight: ``(2, 21)`` float32, 1 where the joint is known and in the view.
        palm_px: ``(2,)`` float32.
        xyz: ``(2, 21, 3)`` float32 from the wrist, the view's axes, in lengths of the reference
            bone.
        bone_mm: ``(2,)`` float32 length of that bone; 0 where joints in space are not known.
        way: float32 in depth from the right wrist to the left, in lengths of the reference bone.
        way_weight: float32, 1 where it is known.
    """

    uv_px: F32
    joint_weight: F32
    palm_px: F32
    xyz: F32
    bone_mm: F32
    way: F32
    way_weight: F32


def made_joints(
    uv_px: NDArray[Any], xyz_cam_mm: NDArray[Any], present: NDArray[np.bool_], k_px: NDArray[Any]
) -> PictureJoints:
    """Give the joints of a made picture.

    Args:
        uv_px: ``(2, 21, 2)``.
        xyz_cam_mm: ``(2, 21, 3)``.
        present: ``(2,)``; absent hands are not known.
        k_px: ``(3, 3)`` camera matrix.
    """
    there = present[:, None, None]
    palm_px = np.array([palm_in_space(xyz, k_px) for xyz in xyz_cam_mm])
    return PictureJoints(
        np.where(there, uv_px, np.nan).astype(np.float32),
        np.where(there, xyz_cam_mm, np.nan).astype(np.float32),
        np.where(present, palm_px, np.nan).astype(np.float32),
    )


def flat_joints(uv_px: NDArray[Any]) -> PictureJoints:
    """Give joints ``(2, 21, 2)`` that are known in the picture alone; NaN where not."""
    flat = PictureJoints.unknown()
    flat.uv_px[:] = uv_px
    for side, hand_px in enumerate(uv_px):
        if np.isfinite(hand_px).all():
            flat.palm_px[side] = palm_in_picture(hand_px)
    return flat


def palm_in_space(xyz_cam_mm: NDArray[Any], k_px: NDArray[Any]) -> float:
    """Give the length of a palm ``(21, 3)`` as it would look face on at its place."""
    focal_px = float(np.sqrt(k_px[0, 0] * k_px[1, 1]))
    away_mm = float(xyz_cam_mm[[WRIST, *KNUCKLES], 2].mean())
    return float(palm_length(xyz_cam_mm)) * focal_px / away_mm


def palm_in_picture(uv_px: NDArray[Any]) -> float:
    """Guess that length from joints ``(21, 2)`` in the picture."""
    span_px = float((uv_px.max(axis=0) - uv_px.min(axis=0)).max())
    return max(float(palm_length(uv_px)), _LEAST_PALM * span_px)


def joints_in_view(
    joints: PictureJoints | None,
    affine: F64,
    rows: tuple[float, float],
    columns: tuple[float, float],
    *,
    mirror: bool,
) -> PairTruth:
    """Bring joints into a view.

    Args:
        joints: Of the picture; None = nothing is known.
        affine: ``(2, 3)`` from view pixels to picture pixels.
        rows: First row of the view that shows the picture, and the one after the last.
        columns: Likewise.
        mirror: The affine mirrors, so sides are swapped.
    """
    joints = joints or PictureJoints.unknown()
    view_from_picture = invert_affine(affine)
    uv_px = apply_affine(view_from_picture, joints.uv_px)
    wrist_mm = joints.xyz_cam_mm[:, WRIST]
    from_wrist = joints.xyz_cam_mm - wrist_mm[:, None]
    xyz_mm = turn_xy(view_from_picture, from_wrist)
    bone_mm = np.linalg.norm(from_wrist[:, _MIDDLE_MCP], axis=-1)
    palm_px = joints.palm_px * np.sqrt(abs(np.linalg.det(view_from_picture[:, :2])))
    way = (wrist_mm[1, 2] - wrist_mm[0, 2]) / bone_mm.mean()
    if mirror:
        uv_px, xyz_mm, bone_mm, palm_px = (a[::-1] for a in (uv_px, xyz_mm, bone_mm, palm_px))
        way = -way
    low, high = np.array([columns[0], rows[0]]) - 0.5, np.array([columns[1], rows[1]]) - 0.5
    # Comparisons with NaN are false.
    is_in = ((uv_px >= low) & (uv_px < high)).all(axis=-1) & np.isfinite(palm_px)[:, None]
    return PairTruth(
        uv_px=np.where(is_in[..., None], uv_px, 0).astype(np.float32),
        joint_weight=is_in.astype(np.float32),
        palm_px=np.nan_to_num(palm_px).astype(np.float32),
        xyz=np.nan_to_num(xyz_mm / bone_mm[:, None, None]).astype(np.float32),
        bone_mm=np.nan_to_num(bone_mm).astype(np.float32),
        way=np.full((), np.nan_to_num(way), np.float32),
        way_weight=np.full((), np.isfinite(way), np.float32),
    )
