"""Damage to true masks, so that a net that is told masks learns what a mask net really says."""

import cv2
import numpy as np

from hdrvideo.datatypes import F32


def spoil_masks(exact: F32, rng: np.random.Generator, share: float, no_other_share: float) -> F32:
    """Damage masks as a mask net's are: visible <= amodal stays true.

    Each hand's outline is moved by some 3 % of its size, grown by up to 6 % or shrunk by half as
    much, and blurred; a piece of what is seen of it is missing now and then.

    Args:
        exact: ``(4, R, R)`` 0..1: own_visible, own_amodal, other_visible, other_amodal.
        rng: Draws.
        share: How often each kind of damage happens to a hand; 0 = never.
        no_other_share: How often the other hand's masks are empty.
    """
    hands = []
    for visible, amodal in (exact[:2], exact[2:]):
        rows, columns = np.nonzero(amodal >= 0.5)
        if not len(rows) or not share:
            hands.append(np.stack([visible, amodal]))
            continue
        reach = max(int(np.ptp(columns)), int(np.ptp(rows)), 8)
        middle = int(rng.integers(len(rows)))
        at = int(columns[middle]), int(rows[middle])
        hands.append(_spoiled(np.stack([visible, amodal], axis=2), rng, reach, at, share))
    if rng.random() < no_other_share:
        hands[1] = np.zeros_like(hands[1])
    return np.concatenate(hands)


def _spoiled(
    pair: F32, rng: np.random.Generator, reach: int, at: tuple[int, int], share: float
) -> F32:
    side_px = pair.shape[0]
    if rng.random() < share:
        coarse = rng.standard_normal((6, 6, 2)).astype(np.float32) * np.float32(0.03 * reach)
        moved = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        rows, columns = np.indices((side_px, side_px), dtype=np.float32)
        pair = cv2.remap(pair, columns + moved[..., 0], rows + moved[..., 1], cv2.INTER_LINEAR)
    width = round(float(rng.uniform(0, 0.06)) * reach)
    if width and rng.random() < share:
        # Shrunk half as much: a finger is soon gone.
        change, by = (cv2.dilate, width) if rng.random() < 0.5 else (cv2.erode, (width + 1) // 2)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
        pair = change(pair, kernel)
    if rng.random() < 0.15 * share:
        piece = np.ones((side_px, side_px), np.float32)
        axes = (max(reach // 8, 1), max(int(rng.integers(reach // 8, reach // 3 + 1)), 1))
        cv2.ellipse(piece, at, axes, float(rng.uniform(0, 180)), 0, 360, 0.0, -1)
        pair = np.stack([pair[..., 0] * piece, pair[..., 1]], axis=2)
    if rng.random() < share:
        pair = cv2.GaussianBlur(pair, (0, 0), float(rng.uniform(0.4, 0.04 * reach + 0.5)))
    # A blur may end a rounding above 1.
    pair = pair.clip(0, 1)
    amodal = pair[..., 1]
    return np.stack([np.minimum(pair[..., 0], amodal), amodal])
