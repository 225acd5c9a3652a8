"""Faces, sleeves and other parts of people laid into pictures, where no hand is: not hands.

The made world's people have no faces, and a net that never saw one takes it for a hand.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from hdrvideo.datatypes import F32, U8
from hdrvideo.train.views import LabelledPicture

# How often a place is drawn anew until no hand is there.
_TRIES = 8


def add_distractors(
    picture: LabelledPicture, rng: np.random.Generator, people: Sequence[U8]
) -> LabelledPicture:
    """Lay one or two ovals of hand-free pictures over a picture, beside its hands.

    Args:
        picture: The picture; its masks stay as they are.
        rng: Draws.
        people: Pictures ``(h, w, 3)`` of people without hands, at least one.
    """
    rgb_u8, hands = picture.rgb_u8.copy(), np.asarray(picture.amodal.any(axis=0))
    height, width = hands.shape
    for _ in range(int(rng.integers(1, 3))):
        side = int(min(height, width) * math.exp(rng.uniform(math.log(0.15), math.log(0.6))))
        side = max(side, 8)
        for _ in range(_TRIES):
            v, u = (int(rng.integers(-side // 3, n - side + side // 3)) for n in (height, width))
            rows, columns = slice(max(v, 0), v + side), slice(max(u, 0), u + side)
            if not hands[rows, columns].any():
                cover = _oval(side, rng)
                patch = _patch(people[int(rng.integers(len(people)))], side, rng)
                inside = slice(max(-v, 0), height - v), slice(max(-u, 0), width - u)
                cover, patch = cover[inside], patch[inside]
                below = rgb_u8[rows, columns]
                mixed = below + (patch - below.astype(np.float32)) * cover
                rgb_u8[rows, columns] = mixed.round().astype(np.uint8)
                break
    return replace(picture, rgb_u8=rgb_u8)


def _patch(source_u8: U8, side: int, rng: np.random.Generator) -> F32:
    """Give a random square of a picture, ``(side, side, 3)``."""
    height, width = source_u8.shape[:2]
    taken = max(int(min(height, width) * rng.uniform(0.4, 1.0)), 4)
    v, u = (int(rng.integers(n - taken + 1)) for n in (height, width))
    square = np.ascontiguousarray(source_u8[v : v + taken, u : u + taken])
    return np.asarray(
        cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32
    )


def _oval(side: int, rng: np.random.Generator) -> F32:
    """Give how far an oval covers a square, ``(side, side, 1)`` in 0..1, soft at its rim."""
    cover = np.zeros((side, side), dtype=np.float32)
    middle = (side // 2, side // 2)
    axes = tuple(max(int(side * rng.uniform(0.3, 0.5)), 1) for _ in range(2))
    cv2.ellipse(cover, middle, (axes[0], axes[1]), float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(cover, (0, 0), max(side / 40, 0.6)))[..., None]
