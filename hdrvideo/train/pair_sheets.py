"""Predictions to look at: what the net saw, the truth, and what it said."""

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.datatypes import F32, U8
from hdrvideo.frame.hasm import HandMasks
from hdrvideo.frame.pair import PairJoints
from hdrvideo.hand import BONES

# Right orange-red, left blue, as in the review pictures.
_SIDE_RGB = np.array([[255, 95, 31], [0, 170, 255]], dtype=np.float32)
_COLUMNS = 4


def draw_pair_sheet(masks: HandMasks, joints: PairJoints, truth: dict[str, Tensor]) -> U8:
    """Draw three pictures for each example: as seen, truth, prediction.

    Visible parts are filled in their side's colour, hidden parts lie as a darker shade of it; bones
    are drawn where joints are known, or of hands that are said to be there.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    rows = []
    rgb = truth["rgb"].permute(0, 2, 3, 1).numpy() * 255
    said = [masks.visible.numpy(), masks.amodal.numpy()]
    known = [truth["visible"].numpy(), truth["amodal"].numpy()]
    there, shown = masks.presence.numpy(), truth["joint_weight"].numpy() > 0
    for i, picture in enumerate(rgb):
        true = _painted(picture, known[0][i], known[1][i], np.ones(2, np.float32))
        _draw_bones(true, truth["uv_px"][i].numpy(), shown[i])
        told = _painted(picture, said[0][i], said[1][i], there[i])
        _draw_bones(told, joints.uv_px[i].numpy(), np.repeat(there[i][:, None] >= 0.5, 21, axis=1))
        rows.append(np.concatenate([picture, true, told], axis=1))
    while len(rows) % _COLUMNS:
        rows.append(np.zeros_like(rows[0]))
    lines = [np.concatenate(rows[k : k + _COLUMNS], axis=1) for k in range(0, len(rows), _COLUMNS)]
    return np.asarray(np.concatenate(lines).round().clip(0, 255).astype(np.uint8))


def _draw_bones(picture: F32, uv_px: F32, shown: NDArray[np.bool_]) -> None:
    """Draw both hands' bones ``(2, 21, 2)`` into a picture where both ends are shown."""
    for side, colour in enumerate(_SIDE_RGB):
        for a, b in BONES:
            if shown[side, a] and shown[side, b]:
                ends = [tuple(round(float(x)) for x in uv_px[side, k]) for k in (a, b)]
                cv2.line(picture, ends[0], ends[1], (colour * 0.6 + 100).tolist(), 1, cv2.LINE_AA)


def _painted(picture: F32, visible: F32, amodal: F32, presence: F32) -> F32:
    painted = picture.copy()
    for side, colour in enumerate(_SIDE_RGB):
        if presence[side] < 0.5:
            continue
        seen = _grown(visible[side]) >= 0.5
        whole = _grown(amodal[side]) >= 0.5
        painted[seen] = 0.5 * painted[seen] + 0.5 * colour
        hidden = whole & ~seen
        painted[hidden] = 0.5 * painted[hidden] + 0.2 * colour
    return np.asarray(painted)


def _grown(cells: F32) -> F32:
    return np.asarray(cells.repeat(2, axis=0).repeat(2, axis=1))
