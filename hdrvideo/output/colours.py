"""The colours of every picture we make, so that they mean the same everywhere.

Told apart with the common kinds of colour blindness (after Okabe and Ito): warm is the right hand,
cold the left one.
"""

from typing import Final

RGB = tuple[int, int, int]

# By side: right orange-red, left blue-cyan.
SIDE_RGB: Final[tuple[RGB, RGB]] = ((255, 92, 36), (40, 176, 255))
SIDE_LETTERS: Final = ("R", "L")

EDGE_RGB: Final[RGB] = (16, 16, 16)
RAW_RGB: Final[RGB] = (205, 205, 205)
TEXT_RGB: Final[RGB] = (245, 245, 245)
LOST_RGB: Final[RGB] = (48, 48, 48)

# How a hand is known, in the order of track.PROVENANCE, and a frame without a picture.
PROVENANCE_RGB: Final[tuple[RGB, ...]] = (
    (222, 222, 222),
    (0, 158, 115),
    (240, 205, 50),
    (190, 95, 165),
    (70, 90, 200),
)
LOST_FRAME_RGB: Final[RGB] = (40, 40, 40)
