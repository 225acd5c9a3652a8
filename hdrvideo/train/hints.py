"""Hints for training: where the hands may have been a moment ago, drawn from where they are."""

import math

import cv2
import numpy as np

from hdrvideo.datatypes import F32, N_SIDES

# Part of the hands that the hints miss, of absent hands that they show, and of hints with the sides
# swapped: the picture has the last word.
_MISSED, _GHOST, _SWAPPED = 0.3, 0.05, 0.04


def draw_hints(amodal: F32, rng: np.random.Generator, *, none_share: float) -> F32:
    """Draw hints for masks ``(2, h, w)``.

    Args:
        amodal: Covered part of each cell by side, 0..1.
        rng: Draws.
        none_share: How often there are none: hands are found before they are followed.

    Returns:
        ``(3, h, w)`` float32: where the right and the left hand were, and 1 where this is known.
    """
    size = amodal.shape[-1]
    hints = np.zeros((N_SIDES + 1, size, size), dtype=np.float32)
    if rng.random() < none_share:
        return hints
    hints[N_SIDES] = 1
    for side in range(N_SIDES):
        there, draw = bool(amodal[side].max() >= 0.5), rng.random()
        if there and draw >= _MISSED:
            hints[side] = _moved(amodal[side], rng)
        elif not there and draw < _GHOST:
            hints[side] = _blob(size, rng)
    if rng.random() < _SWAPPED:
        hints[:N_SIDES] = hints[:N_SIDES][::-1].copy()
    return hints


def _moved(mask: F32, rng: np.random.Generator) -> F32:
    """Move, turn and scale a mask a little, and take away its detail."""
    rows, columns = np.nonzero(mask >= 0.5)
    middle = np.array([columns.mean(), rows.mean()])
    reach = max(int(np.ptp(columns)), int(np.ptp(rows)), 4)
    scale, angle = math.exp(0.08 * rng.standard_normal()), 0.12 * rng.standard_normal()
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    offset = middle - linear @ middle + 0.07 * reach * rng.standard_normal(2)
    affine = np.concatenate([linear, offset[:, None]], axis=1)
    moved = np.asarray(cv2.warpAffine(mask, affine, (mask.shape[1], mask.shape[0])))
    # Up to a finger's width: more would wipe out a small hand.
    width = int(rng.integers(0, 2 + reach // 16))
    if width:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
        change = cv2.dilate if rng.random() < 0.6 or reach < 16 else cv2.erode
        moved = np.asarray(change(moved, kernel))
    if rng.random() < 0.5:
        moved = np.asarray(
            cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(0.5, 0.1 * reach + 1)))
        )
    return np.asarray(moved * rng.uniform(0.7, 1.0), dtype=np.float32)


def _blob(size: int, rng: np.random.Generator) -> F32:
    blob = np.zeros((size, size), dtype=np.float32)
    middle = tuple(int(n) for n in rng.integers(0, size, 2))
    axes = tuple(int(n) for n in rng.integers(size // 16, size // 4, 2))
    cv2.ellipse(blob, middle, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    return blob
