"""Procedural pictures for behind the hands: rooms, desks, shelves, bokeh, posters, plaid, clouds.

They need not fool anybody; they must leave a net no easy way to tell a hand from what is not one.
So a part of them holds skin-coloured blobs and finger-like rows of rounded bars.
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, U8
from hdrvideo.synth.noise import blotches, clouds
from hdrvideo.synth.tones import skin_tone

_SIZES: Final = ((480, 640), (480, 640), (600, 800), (540, 960), (720, 1280), (640, 640))
_DISTRACTOR_SHARE: Final = 0.4
_Generator = np.random.Generator
_Spot = NDArray[np.float64]


def procedural_background(number: int) -> U8:
    """Give picture ``number`` ``(H, W, 3)``; the same number is always the same picture."""
    rng = np.random.default_rng([0xBAC6, number])
    height, width = _SIZES[rng.integers(len(_SIZES))]
    kind = _KINDS[number % len(_KINDS)]
    picture = kind(rng, height, width)
    if rng.uniform() < _DISTRACTOR_SHARE:
        _distract(rng, picture)
    picture = picture * _light(rng, height, width)
    if rng.uniform() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.0, 4.0))
    return np.asarray(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5, np.uint8)


def _colour(rng: _Generator, grey: float = 0.5) -> F32:
    """Draw a colour; ``grey`` 0 as vivid as it comes .. 1 without colour."""
    rgb = rng.uniform(0.08, 0.92, 3)
    vivid = (1.0 - grey) * rng.uniform(0.2, 1.0)
    return np.asarray(rgb.mean() + vivid * (rgb - rgb.mean()), np.float32)


def _flat(height: int, width: int, rgb: F32) -> F32:
    return np.full((height, width, 3), rgb, np.float32)


def _light(rng: _Generator, height: int, width: int) -> F32:
    """Draw light that falls off over the picture, with soft shadows: ``(H, W, 1)``."""
    v, u = np.mgrid[0:1:9j, 0:1:9j].astype(np.float32)
    slope = rng.uniform(-0.35, 0.35, 2)
    light = 1.0 + slope[0] * (u - 0.5) + slope[1] * (v - 0.5)
    light = light * (1.0 + 0.08 * blotches(rng, 9, 9, 3.0))
    grown = cv2.resize(light.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(grown, np.float32)[..., None]


def _surface(rng: _Generator, height: int, width: int, rgb: F32) -> F32:
    """Give a plastered, wooden or woven surface."""
    kind = rng.integers(3)
    if kind == 0:
        small = clouds(rng, height // 2, width // 2, first=4, octaves=5)
        grain = 0.03 * cv2.resize(small, (width, height))
    elif kind == 1:
        grain = 0.09 * _wood_grain(rng, height, width)
    else:
        v, u = np.ogrid[0:height, 0:width]
        pitch = rng.uniform(3.0, 8.0)
        weave = np.sin(u * 2 * np.pi / pitch, dtype=np.float32) * np.sin(
            v * 2 * np.pi / pitch, dtype=np.float32
        )
        grain = 0.06 * weave
    return np.asarray(rgb * (1.0 + grain[..., None]), np.float32)


def _wood_grain(rng: _Generator, height: int, width: int) -> F32:
    """Give stripes of grown wood along u, unit spread."""
    rows = clouds(rng, height, 8, first=8, octaves=6)[:, :1]
    bend = blotches(rng, height // 4, width // 4, 3) * height * 0.02
    bend = cv2.resize(bend, (width, height))
    place = (np.arange(height, dtype=np.float32)[:, None] + bend) % (height - 1)
    right = np.zeros((height, width), np.float32)
    grain = cv2.remap(np.ascontiguousarray(rows), right, place, cv2.INTER_LINEAR)
    streak = cv2.resize(rng.standard_normal((height, 12), dtype=np.float32), (width, height))
    return np.asarray(grain + 0.3 * streak, np.float32)


def _room(rng: _Generator, height: int, width: int) -> F32:
    """Draw a wall over a table or floor, a skirting line, a window or a door."""
    picture = _surface(rng, height, width, _colour(rng, 0.85))
    for _ in range(rng.integers(0, 3)):
        size = rng.uniform(0.15, 0.5, 2) * (width, height)
        corner = rng.uniform(-0.1, 0.9, 2) * (width, height)
        _panel(rng, picture, corner, size)
    left, right = rng.uniform(0.35, 0.85) * height + rng.uniform(-0.08, 0.08, 2) * height
    table = _surface(rng, height, width, _colour(rng, 0.7))
    corners = np.array([(0, left), (width, right), (width, height), (0, height)], np.int32)
    below = cv2.fillPoly(np.zeros((height, width), np.float32), [corners], 1.0, cv2.LINE_AA)
    shade = cv2.GaussianBlur(below, (0, 0), height * 0.02)
    picture = picture * (1.0 - 0.3 * shade[..., None])
    return np.asarray(picture + below[..., None] * (table - picture), np.float32)


def _panel(rng: _Generator, picture: F32, corner: _Spot, size: _Spot) -> None:
    """Draw a framed rectangle in place: a window, a picture, a door."""
    first = tuple(int(n) for n in corner)
    last = tuple(int(n) for n in corner + size)
    cv2.rectangle(picture, first, last, _colour(rng).tolist(), -1)
    cv2.rectangle(picture, first, last, _colour(rng, 0.8).tolist(), int(rng.integers(2, 12)))


def _desk(rng: _Generator, height: int, width: int) -> F32:
    """Draw a desk from above with papers, cards and round things."""
    picture = _surface(rng, height, width, _colour(rng, 0.75))
    for _ in range(rng.integers(1, 8)):
        centre = rng.uniform(0, 1, 2) * (width, height)
        size = rng.uniform(0.05, 0.3, 2) * height
        turn = rng.uniform(0, 180)
        corners = cv2.boxPoints((centre.tolist(), size.tolist(), turn))
        _shadowed(rng, picture, corners, round_thing=rng.uniform() < 0.3)
    return picture


def _shadowed(rng: _Generator, picture: F32, corners: F32, *, round_thing: bool) -> None:
    """Draw a thing that lies on the picture, with its shadow beside it, in place."""
    low = np.clip(corners.min(axis=0) - 20, 0, None).astype(int)
    high = np.ceil(corners.max(axis=0) + 20).astype(int)
    part = picture[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return
    drop = rng.uniform(2, 8, 2)
    for step, rgb in ((drop, None), (np.zeros(2), _colour(rng))):
        mask = np.zeros(part.shape[:2], np.float32)
        points = np.round(corners + step - low).astype(np.int32)
        if round_thing:
            radius = int(np.linalg.norm(corners[0] - corners[2]) / 3) + 1
            cv2.circle(mask, points.mean(axis=0).astype(int).tolist(), radius, 1.0, -1, cv2.LINE_AA)
        else:
            cv2.fillConvexPoly(mask, points, 1.0, cv2.LINE_AA)
        if rgb is None:
            part *= 1.0 - 0.4 * cv2.blur(mask, (9, 9))[..., None]
        else:
            part += mask[..., None] * (rgb - part)


def _shelves(rng: _Generator, height: int, width: int) -> F32:
    """Draw boards with rows of books and boxes."""
    picture = _surface(rng, height, width, _colour(rng, 0.6) * 0.5)
    rows = int(rng.integers(2, 6))
    for row in range(rows):
        bottom = int((row + 1) * height / rows)
        tall = height / rows
        u = 0.0
        while u < width:
            wide = rng.uniform(0.08, 0.7) * tall
            top = bottom - rng.uniform(0.4, 0.92) * tall
            rgb = _colour(rng, 0.25)
            box = (int(u), int(top)), (int(u + wide) - 2, bottom)
            cv2.rectangle(picture, *box, rgb.tolist(), -1)
            stripe = int(top + rng.uniform(0.1, 0.5) * tall)
            cv2.line(
                picture, (int(u), stripe), (int(u + wide) - 3, stripe), (rgb * 0.5).tolist(), 3
            )
            u += wide + (rng.uniform() < 0.15) * rng.uniform(0, tall)
        cv2.rectangle(picture, (0, bottom - 6), (width, bottom), _colour(rng, 0.7).tolist(), -1)
    return picture


def _bokeh(rng: _Generator, height: int, width: int) -> F32:
    """Draw what is far out of focus: large soft blobs and discs of light."""
    small = _flat(height // 4, width // 4, _colour(rng, 0.4) * 0.6)
    for _ in range(rng.integers(10, 60)):
        centre = rng.uniform(0, 1, 2) * (width // 4, height // 4)
        radius = int(rng.uniform(0.02, 0.2) * height / 4) + 1
        over = small.copy()
        cv2.circle(over, centre.astype(int).tolist(), radius, _colour(rng, 0.2).tolist(), -1)
        small = cv2.addWeighted(over, 0.6, small, 0.4, 0)
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.6, 6.0))
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _poster(rng: _Generator, height: int, width: int) -> F32:
    """Draw polygons, ellipses, lines and something like words, as on a printed shirt or poster."""
    picture = _surface(rng, height, width, _colour(rng, 0.3))
    for _ in range(rng.integers(6, 40)):
        rgb, kind = _colour(rng, 0.15).tolist(), rng.integers(4)
        spots = (rng.uniform(-0.1, 1.1, (4, 2)) * (width, height)).astype(int)
        around = (spots[0] + rng.normal(0, height * 0.12, (5, 2))).astype(np.int32)
        if kind == 0:
            cv2.fillPoly(picture, [around], rgb, cv2.LINE_AA)
        elif kind == 1:
            axes = [int(n) for n in rng.uniform(4, height * 0.15, 2)]
            cv2.ellipse(picture, spots[0].tolist(), axes, rng.uniform(0, 180), 0, 360, rgb, -1)
        elif kind == 2:
            cv2.line(picture, spots[0].tolist(), spots[1].tolist(), rgb, int(rng.integers(1, 12)))
        else:
            size = rng.uniform(0.02, 0.1) * height
            letters = rng.uniform(0, 1, (12, 4, 2)) * (0.7, 1.0) + np.arange(12)[:, None, None] * (
                1,
                0,
            )
            strokes = list((spots[0] + letters * size).astype(np.int32))
            cv2.polylines(picture, strokes, False, rgb, max(1, int(0.12 * size)))
    return picture


def _plaid(rng: _Generator, height: int, width: int) -> F32:
    """Draw checked or striped cloth with folds."""
    # Drawn at half size: cloth is soft, and it is four times as quick.
    full, height, width = (width, height), height // 2, width // 2
    picture = _flat(height, width, _colour(rng, 0.5))
    fold = 3.0 * cv2.resize(blotches(rng, height // 4, width // 4, 5), (width, height))
    for axis in range(rng.integers(1, 3)):
        place = np.arange((width, height)[axis], dtype=np.float32)
        place = (place[None, :] if axis == 0 else place[:, None]) + fold
        for _ in range(rng.integers(1, 4)):
            period = rng.uniform(0.03, 0.25) * height
            band = ((place + rng.uniform(0, period)) % period) < rng.uniform(0.1, 0.6) * period
            picture += 0.5 * band[..., None] * (_colour(rng, 0.2) - picture)
    weave = 0.03 * rng.standard_normal((height, width), dtype=np.float32)
    picture *= 1.0 + 0.06 * fold[..., None] + weave[..., None]
    return np.asarray(cv2.resize(picture, full), np.float32)


def _cloud(rng: _Generator, height: int, width: int) -> F32:
    """Draw 1/f clouds between a few colours: foliage, stone, far scenery."""
    half = height // 2, width // 2
    share = 0.5 + 0.35 * clouds(rng, *half, first=rng.uniform(1, 6), octaves=7)
    knots = np.stack([_colour(rng, 0.6) for _ in range(4)])
    stops = np.linspace(0.0, 1.0, 4)
    rgb = np.stack([np.interp(share, stops, knots[:, c]) for c in range(3)], axis=-1)
    return np.asarray(cv2.resize(rgb.astype(np.float32), (width, height)), np.float32)


def _distract(rng: _Generator, picture: F32) -> None:
    """Add skin-coloured blobs and rows of finger-like bars, in place."""
    height, width = picture.shape[:2]
    for _ in range(rng.integers(1, 5)):
        tone = skin_tone(int(rng.integers(10_000)))
        mask = np.zeros((height, width), np.float32)
        centre = rng.uniform(0.05, 0.95, 2) * (width, height)
        size = rng.uniform(0.03, 0.2) * height
        (_bars if rng.uniform() < 0.6 else _blob)(rng, mask, centre, size)
        # Rounded by light: brighter where the smoothed mask is full.
        u, v, wide, tall = cv2.boundingRect((mask > 0).astype(np.uint8))
        part, mask = picture[v : v + tall, u : u + wide], mask[v : v + tall, u : u + wide]
        if part.size == 0:
            continue
        body = cv2.GaussianBlur(mask, (0, 0), 0.12 * size + 1.0)
        rgb = (tone.rgb if rng.uniform() < 0.7 else tone.palm_rgb) * rng.uniform(0.6, 1.05)
        part += mask[..., None] * (rgb * (0.55 + 0.5 * body[..., None]) - part)


def _bars(rng: _Generator, mask: F32, centre: _Spot, size: float) -> None:
    turn = rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    thick = max(2, int(0.35 * size))
    for n in range(rng.integers(1, 6)):
        foot = centre + across * thick * 1.15 * n
        bend = along + across * rng.normal(0, 0.15)
        joint = foot + bend * size * rng.uniform(0.6, 1.2)
        tip = joint + (bend + across * rng.normal(0, 0.4)) * size * rng.uniform(0.3, 0.9)
        corners = np.round([foot, joint, tip]).astype(np.int32)
        cv2.polylines(mask, [corners], False, 1.0, thick, cv2.LINE_AA)


def _blob(rng: _Generator, mask: F32, centre: _Spot, size: float) -> None:
    for _ in range(rng.integers(1, 4)):
        spot = np.round(centre + rng.normal(0, 0.5 * size, 2)).astype(int).tolist()
        axes = [int(n) + 2 for n in size * rng.uniform(0.3, 1.2, 2)]
        cv2.ellipse(mask, spot, axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)


_KINDS: Final[tuple[Callable[[_Generator, int, int], F32], ...]] = (
    *(_room, _desk, _shelves, _bokeh, _poster, _plaid, _cloud),
)
