"""Helpers of the field protocols' tests: hands with round numbers, truths and predictions."""

import numpy as np

from hdrvideo.hand import JOINTS
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth, field_prediction, field_truth

MCP = JOINTS.index("middle_mcp")


def flat_hand(bone_mm: float = 100.0) -> np.ndarray:
    """Give ``(21, 3)`` a hand of fans: fingers straight up, the wrist at (0, 0, 500).

    The middle knuckle is ``bone_mm`` from the wrist; other bones follow it. Not mirror symmetric.
    """
    hand = np.zeros((21, 3))
    for finger, (x, base) in enumerate(
        [(-0.5, 0.3), (-0.25, 0.95), (0.0, 1.0), (0.22, 0.95), (0.42, 0.85)]
    ):
        for k in range(4):
            reach = base + 0.3 * k
            hand[1 + 4 * finger + k] = [x, -reach, 0.05 * k * (finger + 1)]
    return hand * bone_mm + [0, 0, 500]


def pairs(n: int) -> np.ndarray:
    """Give ``(n, 2, 21, 3)`` two flat hands a frame, the left one 200 mm to the side."""
    both = np.stack([flat_hand(), flat_hand() * [-1, 1, 1] + [200, 0, 0]])
    return np.repeat(both[None], n, axis=0)


def random_pairs(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([10, 20, 500], 40, (n, 2, 21, 3))


def truth_of(xyz_mm: np.ndarray, valid: np.ndarray | None = None, **more) -> FieldTruth:
    valid = np.isfinite(xyz_mm).all(axis=-1) if valid is None else valid
    return field_truth(valid, xyz_cam_mm=xyz_mm, **more)


def saying(xyz_mm: np.ndarray, **more) -> FieldPrediction:
    return field_prediction(xyz_cam_mm=xyz_mm, **more)


def one_hand(hands: np.ndarray, side: int = 0) -> np.ndarray:
    """Give ``(N, 2, P, 3)`` single hands ``(N, P, 3)`` on their side; NaN on the other."""
    both = np.full((len(hands), 2, *hands.shape[1:]), np.nan)
    both[:, side] = hands
    return both
