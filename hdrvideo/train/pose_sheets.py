"""Poses to look at: crops with true and predicted skeletons, and both from the side."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import U8
from hdrvideo.hand import BONES

# A colour for each finger, thumb to little; the truth is white.
_FINGER_RGB: Final = ((255, 95, 31), (255, 200, 0), (60, 220, 60), (0, 170, 255), (200, 90, 255))
_TRUE_RGB: Final = (255, 255, 255)
_SHIFT: Final = 3  # OpenCV draws at eighths of a pixel.
_COLUMNS: Final = 2
# Reference bones from one edge of the side view to the other.
_SPAN: Final = 4.5


def draw_pose_sheet(
    truth: dict[str, NDArray[Any]],
    uv_px: NDArray[Any],
    xyz: NDArray[Any],
    sure: NDArray[Any],
) -> U8:
    """Draw four pictures for each crop: as seen, truth, prediction, and both from the hand's side.

    Dots are as large as the joint is sure to be right. From the side, depth grows to the right.

    Args:
        truth: ``rgb`` ``(N, 3, R, R)`` in 0..1, ``uv_px``, ``xyz`` of N crops.
        uv_px: ``(N, 21, 2)``.
        xyz: ``(N, 21, 3)`` from the wrist in reference bones.
        sure: ``(N, 21)`` in 0..1.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    rows = []
    for i, picture in enumerate(truth["rgb"]):
        seen = np.ascontiguousarray(picture.transpose(1, 2, 0) * 255).round().astype(np.uint8)
        true, said = seen.copy(), seen.copy()
        _draw_bones(true, truth["uv_px"][i], None)
        _draw_bones(said, uv_px[i], sure[i])
        beside = np.full_like(seen, 40)
        _draw_bones(beside, _from_side(truth["xyz"][i], len(seen)), None, rgb=_TRUE_RGB)
        _draw_bones(beside, _from_side(xyz[i], len(seen)), None)
        rows.append(np.concatenate([seen, true, said, beside], axis=1))
    while len(rows) % _COLUMNS:
        rows.append(np.zeros_like(rows[0]))
    lines = [np.concatenate(rows[k : k + _COLUMNS], axis=1) for k in range(0, len(rows), _COLUMNS)]
    return np.asarray(np.concatenate(lines), np.uint8)


def _from_side(xyz: NDArray[Any], size_px: int) -> NDArray[Any]:
    """Look along x: z to the right, y down, the wrist low in the middle."""
    scale = size_px / _SPAN
    return np.asarray(xyz[:, [2, 1]] * scale + [size_px / 2, 0.75 * size_px])


def _draw_bones(
    picture: U8,
    uv_px: NDArray[Any],
    sure: NDArray[Any] | None,
    *,
    rgb: tuple[int, int, int] | None = None,
) -> None:
    points = np.clip(uv_px, -4096, 4096) * (1 << _SHIFT)
    ends = [(round(float(u)), round(float(v))) for u, v in points]
    for k, (parent, child) in enumerate(BONES):
        colour = rgb or _FINGER_RGB[k // 4]
        cv2.line(picture, ends[parent], ends[child], colour, 1, cv2.LINE_AA, _SHIFT)
    if sure is not None:
        for end, share in zip(ends, sure, strict=True):
            radius = round((1 + 1.5 * float(share)) * (1 << _SHIFT))
            cv2.circle(picture, end, radius, _TRUE_RGB, -1, cv2.LINE_AA, _SHIFT)
