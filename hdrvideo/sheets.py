"""Pictures that let a person check made data: truths drawn over shots, many in one sheet."""

from collections.abc import Sequence

import cv2
import numpy as np

from hdrvideo.datatypes import F32, U8, Bool
from hdrvideo.hand import BONES
from hdrvideo.output.colours import SIDE_LETTERS, SIDE_RGB, TEXT_RGB
from hdrvideo.synth.scene import Shot

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LABEL_PX = 16


def shot_pictures(shot: Shot) -> list[U8]:
    """Give the pictures of a shot as ``(H, W, 3)`` uint8."""
    return [_u8(rgb) for rgb in shot.rgb.cpu().numpy()]


def draw_truth(shot: Shot, row: int) -> list[U8]:
    """Draw what is known of one picture.

    Returns:
        Four pictures ``(H, W, 3)``: with whole outlines and visible tint; with the joints (hollow
        where hidden); the bare right hand; the bare left hand.
    """
    rgb_u8 = _u8(shot.rgb[row].cpu().numpy())
    visible, amodal = shot.visible[row].cpu().numpy(), shot.amodal[row].cpu().numpy()
    joints = rgb_u8.copy()
    for side in range(2):
        uv_px = shot.uv_px[row, side].cpu().numpy()
        _draw_joints(joints, uv_px, shot.joint_visible[row, side].cpu().numpy(), side)
    bare = [_u8(picture) for picture in shot.bare_rgb[row].cpu().numpy()]
    return [draw_masks(rgb_u8, visible, amodal), joints, *bare]


def draw_sheet(rows: Sequence[tuple[str, Sequence[U8]]], *, tile_px: int = 192) -> U8:
    """Lay pictures out in labelled rows, each made ``tile_px`` wide."""
    n_columns = max((len(pictures) for _, pictures in rows), default=0)
    strips = []
    for label, pictures in rows:
        small = [_made_wide(picture, tile_px) for picture in pictures]
        height = max((len(picture) for picture in small), default=0)
        strip = np.full((_LABEL_PX + height, n_columns * tile_px, 3), 24, np.uint8)
        cv2.putText(strip, label, (4, 12), _FONT, 0.4, TEXT_RGB, 1, cv2.LINE_AA)
        for c, picture in enumerate(small):
            place = (
                slice(_LABEL_PX, _LABEL_PX + len(picture)),
                slice(c * tile_px, (c + 1) * tile_px),
            )
            strip[place] = picture
        strips.append(strip)
    return np.concatenate(strips)


def _made_wide(picture: U8, width: int) -> U8:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def _u8(rgb: F32) -> U8:
    picture = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(picture.transpose(1, 2, 0))


def draw_masks(rgb_u8: U8, visible: Bool, amodal: Bool) -> U8:
    """Tint what is visible, outline the whole, hatch what is hidden.

    Args:
        rgb_u8: ``(H, W, 3)``, left as it is.
        visible: ``(2, H, W)`` by side.
        amodal: ``(2, H, W)`` by side.
    """
    drawn = rgb_u8.astype(np.float32)
    rows, columns = np.indices(rgb_u8.shape[:2])
    hatch = (rows + columns) % 6 < 2
    for side in range(2):
        colour = np.array(SIDE_RGB[side], np.float32)
        drawn[visible[side]] = 0.6 * drawn[visible[side]] + 0.4 * colour
        hidden = amodal[side] & ~visible[side] & hatch
        drawn[hidden] = colour
    picture = np.rint(drawn).astype(np.uint8)
    for side in range(2):
        found = cv2.findContours(
            amodal[side].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, found[0], -1, SIDE_RGB[side], 1)
    return picture


def _draw_joints(picture: U8, uv_px: F32, visible: Bool, side: int) -> None:
    if not np.isfinite(uv_px).all():
        return
    size_px = float(np.ptp(uv_px, axis=0).max())
    points = np.clip(np.rint(uv_px), -10_000, 10_000).astype(int)
    thick = max(1, round(size_px / 100))
    for a, b in BONES:
        cv2.line(picture, points[a], points[b], SIDE_RGB[side], thick, cv2.LINE_AA)
    for point, seen in zip(points, visible, strict=True):
        cv2.circle(picture, point, thick + 1, SIDE_RGB[side], -1 if seen else 1, cv2.LINE_AA)
    where = (int(points[0][0]) + 4, int(points[0][1]))
    cv2.putText(picture, SIDE_LETTERS[side], where, _FONT, 0.45, SIDE_RGB[side], 1, cv2.LINE_AA)
