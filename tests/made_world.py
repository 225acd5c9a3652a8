"""A made world for the follower: dots as hands, a stub finder and a stub reader.

The picture of frame ``n`` is plain grey of value ``n``, so that a stub that is handed a crop or a
pyramid knows which frame it looks at, also when the follower looks back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from hdrvideo.crop.find import FoundPalm
from hdrvideo.crop.follow import HandFollower
from hdrvideo.crop.take import Pyramid
from hdrvideo.datatypes import Frame, HandCrops, HandPoses
from hdrvideo.geometry import CropSquare, apply_affine, points_box

WIDTH, HEIGHT, RESOLUTION = 320, 240, 16
RATE = Fraction(30)
# An upright hand of about 40 px, its wrist below.
SHAPE = np.zeros((21, 2))
for _finger in range(5):
    for _joint in range(4):
        SHAPE[1 + 4 * _finger + _joint] = (6 * (_finger - 2), -10 - 8 * _joint)
SHAPE -= SHAPE.mean(axis=0)


@dataclass(frozen=True)
class Dot:
    """A hand of the made world.

    Attributes:
        place: Frame index to its middle, or None where it is not there.
        presence: What a look at it says, by frame index.
        is_right: Its side.
        can_find: Frame index to whether the palm detector finds it.
    """

    place: Callable[[int], tuple[float, float] | None]
    presence: Callable[[int], float] = lambda n: 0.95
    is_right: bool = True
    can_find: Callable[[int], bool] = lambda n: True

    def uv_px(self, n: int) -> np.ndarray | None:
        middle = self.place(n)
        return None if middle is None else SHAPE + np.asarray(middle)


@dataclass
class World:
    """Offers what a finder and a frame stage offer, and remembers how often it was asked."""

    dots: list[Dot]
    searched: list[int] = field(default_factory=list)
    n_reads: int = 0

    def find(self, pyramid: Pyramid, regions: list[CropSquare]) -> list[FoundPalm]:
        n = int(pyramid.level(0)[0, 0, 0])
        self.searched.append(n)
        assert regions
        found = []
        for dot in self.dots:
            uv = dot.uv_px(n)
            if uv is not None and dot.can_find(n):
                box = points_box(uv)
                size = 1.6 * float((box[2:] - box[:2]).max())
                u, v = uv[[0, 5, 9, 13, 17]].mean(axis=0)
                found.append(FoundPalm(0.9, CropSquare(float(u), float(v) - 0.19 * size, size)))
        return found

    def read(self, crops: HandCrops) -> HandPoses:
        """Read the true hand nearest to each crop's centre; nothing is there beyond its edge."""
        b = len(crops.mirrored)
        self.n_reads += b
        uv, xyz = np.zeros((b, 21, 2)), np.zeros((b, 21, 3))
        presence, right = np.full(b, 0.05), np.full(b, 0.5)
        for i, affine in enumerate(crops.frame_from_crop):
            n = int((crops.rgb[i].mean() * 255).round())
            middle = apply_affine(affine, np.full((1, 2), (RESOLUTION - 1) / 2))[0]
            uv[i] = middle + SHAPE
            reach = np.linalg.norm(affine[:, 0]) * RESOLUTION / 2
            there = [(d, d.uv_px(n)) for d in self.dots if d.place(n) is not None]
            there = [(np.linalg.norm(p.mean(axis=0) - middle), d, p) for d, p in there]
            if there and min(t[0] for t in there) < reach:
                _, dot, uv[i] = min(there, key=lambda t: t[0])
                presence[i], right[i] = dot.presence(n), 0.97 if dot.is_right else 0.03
        return HandPoses(
            uv_px=uv.astype(np.float32),
            xyz_mm=xyz.astype(np.float32),
            presence=presence.astype(np.float32),
            right_score=right.astype(np.float32),
            confidence=np.repeat(presence[:, None], 21, axis=1).astype(np.float32),
            refine_px=np.zeros_like(uv, dtype=np.float32),
        )

    def follower(self, settings) -> HandFollower:
        return HandFollower(
            finder=self, read_hands=self.read, resolution_px=RESOLUTION, settings=settings
        )

    def owner(self, sighting, n: int) -> int | None:
        """Say which dot a sighting is, by its joints."""
        for i, dot in enumerate(self.dots):
            uv = dot.uv_px(n)
            if uv is not None and np.abs(uv - sighting.uv_px).max() < 0.01:
                return i
        return None


def frame(n: int, *, is_lost: bool = False) -> Frame:
    rgb = None if is_lost else np.full((HEIGHT, WIDTH, 3), n, np.uint8)
    return Frame(n, n, 1 / RATE, rgb, "lost" if is_lost else "ok")


def follow(world: World, n: int, settings, *, lost: tuple[int, ...] = ()) -> list:
    """Follow a world for ``n`` frames and give the rows as they are at the end."""
    follower = world.follower(settings)
    return [follower.step(frame(i, is_lost=i in lost)) for i in range(n)]


def owners(world: World, rows: list) -> list[list[int | None]]:
    """Say for each row which dot each track sees."""
    return [
        [None if s is None else world.owner(s, row.frame.index) for s in row.sightings]
        for row in rows
    ]
