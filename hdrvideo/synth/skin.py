"""Bakes how a person's hands look into a texture: skin, creases, nails, freckles, veins, gloves.

A body texture gives a hand only 100 to 250 pixels, so what makes a hand a hand is drawn on top,
where the hand model's geometry says (:mod:`hdrvideo.synth.handmarks`), with noise in space and not
in the texture, so that no seam shows.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import F32, U8
from hdrvideo.errors import SettingsError
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.assets import PROCEDURAL, Assets, procedural_number
from hdrvideo.synth.atlas import Atlas, baked_uv, cover, hand_atlas, nearest
from hdrvideo.synth.gloves import put_on_glove
from hdrvideo.synth.handmarks import HandMarks, hand_marks, smooth
from hdrvideo.synth.noise import SpaceNoise
from hdrvideo.synth.scene import Person
from hdrvideo.synth.tones import TEXTURE_PX, skin_tone

__all__ = ["bake_skin", "baked_uv"]

MIN_SIZE_PX, MAX_SIZE_PX = 64, 2048
_SEAM_MM: Final = 9.0
_SEAM_NEIGHBOURS: Final = 24
_DARKEST, _BRIGHTEST = 0.02, 0.98


@dataclass(frozen=True)
class Habit:
    """How strongly a person shows each kind of detail; drawn from ``Person.detail_seed``."""

    creases: float
    wrinkles: float
    mottle: float
    veins: float
    hair: float
    freckles: int
    redness: float
    nail_length: float


def bake_skin(person: Person, assets: Assets, size_px: int = 384) -> Tensor:
    """Bake both hands of a person.

    Args:
        person: How the hands look.
        assets: Where ``person.skin`` is.
        size_px: Side of the texture, 64 to 2048.

    Returns:
        ``(2, 4, size, size)`` float32 by side (0 right, 1 left): red, green, blue as displayed 0..1
        and roughness 0..1. Sample it at :func:`baked_uv` of the model's places. Texels that show no
        skin repeat the nearest that does.

    Raises:
        SettingsError: The size is out of range, or the assets have no such skin.
        DataError: The skin's file is broken.
    """
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise SettingsError(
            f"skin size is {size_px} px, expected {MIN_SIZE_PX} to {MAX_SIZE_PX}; 384 is usual"
        )
    atlas, marks = hand_atlas(size_px), hand_marks(size_px)
    noise = SpaceNoise(atlas.xyz_mm, person.detail_seed)
    habit = _habit(person.detail_seed)
    rgb = _base(person, assets, atlas, marks)
    rgb = _blood(rgb, marks, noise, habit, made=person.skin.startswith(PROCEDURAL))
    rgb = _lines(rgb, marks, noise, habit)
    rgb = _spots(rgb, atlas, marks, habit, person.detail_seed)
    rgb = rgb * person.tint_rgb
    rough = person.roughness + 0.04 * noise.field("rough", 3.0) - 0.06 * marks.tip
    rgb, rough = _nails(rgb, rough.astype(np.float32), person, marks, habit)
    sides = []
    for side in (0, 1):
        look = np.concatenate([rgb, rough[:, None]], axis=1)
        if person.glove[side]:
            look = put_on_glove(look, person.glove_rgb[side], marks, noise, person.detail_seed)
        look[:, :3] = np.clip(look[:, :3], _DARKEST, _BRIGHTEST)
        look[:, 3] = np.clip(look[:, 3], 0.05, 1.0)
        sides.append(torch.from_numpy(look.astype(np.float32))[torch.from_numpy(atlas.fill)])
    return torch.stack(sides).mT.reshape(2, 4, size_px, size_px).contiguous()


def _habit(seed: int) -> Habit:
    rng = np.random.default_rng([0x4AB1, seed])
    age = rng.uniform()
    return Habit(
        creases=rng.uniform(0.5, 1.0),
        wrinkles=0.25 + 0.6 * age * rng.uniform(0.5, 1.0),
        mottle=rng.uniform(0.3, 1.0),
        veins=max(0.0, rng.uniform(-0.4, 0.8) + 0.3 * age),
        hair=max(0.0, rng.uniform(-1.0, 1.0)),
        freckles=int(rng.integers(0, 10) + (rng.uniform() < 0.25) * rng.integers(20, 120)),
        redness=rng.uniform(0.2, 1.0),
        nail_length=rng.uniform(0.04, 0.16),
    )


def _base(person: Person, assets: Assets, atlas: Atlas, marks: HandMarks) -> F32:
    """Give the skin's own colour ``(N, 3)``, without steps where the texture's islands meet."""
    rgb = _sample(assets.skin_rgb_u8(person.skin), atlas)
    if person.skin.startswith(PROCEDURAL):
        tone = skin_tone(procedural_number(person.skin))
        palm = smooth(0.15, -0.35, marks.back) * smooth(25.0, -8.0, marks.arm_mm)
        palm = np.maximum(palm, 0.25 * smooth(0.2, -0.5, marks.back))
        rgb *= 1.0 + palm[:, None] * (tone.palm_rgb / tone.rgb - 1.0)
    near, weights, index = _seam(atlas.size_px)
    mean = np.einsum("nk,nkc->nc", weights, rgb[index])
    rgb[near[0]] += near[1][:, None] * (mean - rgb[near[0]])
    return rgb


def _sample(texture_u8: U8, atlas: Atlas) -> F32:
    """Take the body texture at each texel, from inside its islands only."""
    clean = texture_u8.reshape(-1, 3)[_inside(TEXTURE_PX)].reshape(texture_u8.shape)
    picture = torch.from_numpy(clean).permute(2, 0, 1)[None].float() / 255.0
    place = torch.from_numpy(atlas.uv * np.array([2.0, -2.0], np.float32) + [-1.0, 1.0]).float()
    found = functional.grid_sample(
        picture, place[None, None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T.clamp(0.0, 1.0).contiguous().numpy()


@lru_cache(maxsize=2)
def _inside(size_px: int) -> NDArray[np.int64]:
    """Map each pixel of a body texture to the nearest well inside the hand's islands.

    The painters' colours end at the islands' borders, and shrinking the textures to 512 pixels has
    mixed the ground into the outermost pixel.
    """
    model = HandModel()
    uv = model.uv.numpy()[model.uv_faces.numpy()].astype(np.float64)
    corners_px = np.stack([uv[..., 0], 1.0 - uv[..., 1]], axis=-1) * size_px - 0.5
    shown = np.zeros((size_px, size_px), bool)
    shown.ravel()[cover(corners_px, size_px)[0]] = True
    core = shown.copy()
    for axis in (0, 1):
        core &= np.roll(shown, 1, axis) & np.roll(shown, -1, axis)
    texel = np.flatnonzero(core.ravel())
    return np.asarray(texel[nearest(texel, size_px)])


_Seam = tuple[tuple[NDArray[np.int64], F32], F32, NDArray[np.int64]]


@lru_cache(maxsize=4)
def _seam(size_px: int) -> _Seam:
    """Find the texels near a seam and their neighbours in space, on whichever island.

    Returns:
        (texels ``(M,)``, how much of the mean each takes ``(M,)``), weights and indices
        ``(M, 24)`` of the neighbours.
    """
    atlas, model = hand_atlas(size_px), HandModel()
    with torch.no_grad():
        xyz_mm = model(torch.zeros(1, 16, 3)).vertices_mm[0].numpy()
    pairs = np.stack([model.faces.numpy().ravel(), model.uv_faces.numpy().ravel()], axis=1)
    seam = np.flatnonzero(np.bincount(np.unique(pairs, axis=0)[:, 0]) > 1)
    away_mm = cKDTree(xyz_mm[seam]).query(atlas.xyz_mm, distance_upper_bound=_SEAM_MM)[0]
    texels = np.flatnonzero(away_mm < _SEAM_MM)
    # Of each little cube of space one texel speaks, so that no island outvotes the other.
    _, voices = np.unique(np.round(atlas.xyz_mm / 2.5).astype(np.int64), axis=0, return_index=True)
    mm, index = cKDTree(atlas.xyz_mm[voices]).query(atlas.xyz_mm[texels], k=_SEAM_NEIGHBOURS)
    weights = np.exp(-0.5 * (mm / 4.0) ** 2)
    share = smooth(_SEAM_MM, 4.0, away_mm[texels].astype(np.float32))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return (texels, share), weights, np.asarray(voices[index])


def _blood(rgb: F32, marks: HandMarks, noise: SpaceNoise, habit: Habit, made: bool) -> F32:
    """Redden tips, palm and knuckles, mottle the skin, and let veins show on the back."""
    patches = noise.field("blood", 9.0) * 0.5 + noise.field("blood2", 4.0) * 0.35
    red = habit.mottle * patches * np.where(marks.back < 0, 0.045, 0.022)
    red = red + habit.redness * (0.5 + 0.5 * made) * (0.10 * marks.tip + 0.10 * marks.knuckle)
    rgb = np.asarray(rgb * (1.0 - red[:, None] * np.array([0.25, 0.9, 0.8])), np.float32)
    light = 1.0 + 0.012 * noise.field("light", 14.0) + 0.008 * noise.field("grain", 1.8)
    on = smooth(0.2, 0.7, marks.back) * (marks.arm_mm < 40) + smooth(-0.1, -0.6, marks.back) * (
        marks.arm_mm > 20
    )
    course = noise.field("veins", (13.0, 45.0, 13.0))
    line = np.exp(-0.5 * (course / 0.13) ** 2) * smooth(-0.6, 0.8, noise.field("veins2", 24.0))
    vein = 0.13 * habit.veins * on * line * (1.0 - marks.knuckle)
    rgb = rgb * (light[:, None] - vein[:, None] * np.array([1.0, 0.55, 0.35], np.float32))
    return np.asarray(rgb, np.float32)


def _lines(rgb: F32, marks: HandMarks, noise: SpaceNoise, habit: Habit) -> F32:
    """Draw creases and wrinkles, darker and redder than the skin, and the forearm's hair."""
    wander = 0.45 * noise.field("wander", 5.0)[:, None]
    depth = 1.0 + 0.35 * noise.field("depth", 4.0)[:, None]
    fine = _furrow(marks.fine_mm + wander, 0.55) * marks.fine_strength * depth
    long = _furrow(marks.line_mm + 1.5 * wander, 0.7) * marks.line_strength * depth
    # Each line has a lit, paler brim, as a fold of skin has.
    brim = _furrow(np.abs(marks.fine_mm + wander) - 1.5, 0.6) * marks.fine_strength
    crow = _furrow(noise.field("crow", (7.0, 2.2, 7.0)), 0.18) * smooth(-0.2, 0.4, marks.back)
    dark = habit.creases * (0.24 * fine.max(axis=1) + 0.22 * long.max(axis=1))
    dark = dark + 0.06 * habit.wrinkles * crow - 0.05 * habit.creases * brim.max(axis=1)
    hairy = smooth(-0.2, 0.5, marks.back) * smooth(-30.0, 60.0, marks.arm_mm)
    streak = smooth(1.0, 2.2, noise.field("hair", (2.0, 14.0, 2.0)))
    dark = dark + 0.35 * habit.hair * hairy * streak
    rgb = rgb * (1.0 - dark[:, None] * np.array([0.72, 1.0, 1.05], np.float32))
    return np.asarray(rgb, np.float32)


def _furrow(distance: NDArray[np.floating], width: float) -> F32:
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2), np.float32)


def _spots(rgb: F32, atlas: Atlas, marks: HandMarks, habit: Habit, seed: int) -> F32:
    """Sprinkle freckles and moles over the back of the hand and the forearm."""
    rng = np.random.default_rng([0x5907, seed])
    places = rng.integers(0, len(atlas.texel), habit.freckles)
    radius_mm = rng.uniform(0.5, 1.6, habit.freckles)
    strength = rng.uniform(0.05, 0.3, habit.freckles)
    dark = np.zeros(len(rgb), np.float32)
    tree = _texel_tree(atlas.size_px)
    near = tree.query_ball_point(atlas.xyz_mm[places], 2.5 * radius_mm)
    for place, index, radius, deep in zip(places, near, radius_mm, strength, strict=True):
        off = np.linalg.norm(atlas.xyz_mm[index] - atlas.xyz_mm[place], axis=1)
        dark[index] = np.maximum(dark[index], deep * np.exp(-0.5 * (off / radius) ** 2))
    dark *= smooth(-0.2, 0.3, marks.back)
    return np.asarray(rgb * (1.0 - dark[:, None] * np.array([0.7, 1.0, 1.15])), np.float32)


@lru_cache(maxsize=4)
def _texel_tree(size_px: int) -> cKDTree:
    return cKDTree(hand_atlas(size_px).xyz_mm)


def _nails(rgb: F32, rough: F32, person: Person, marks: HandMarks, habit: Habit) -> tuple[F32, F32]:
    """Lay the nails: pink and smooth, a paler free edge and root; or painted."""
    on = np.flatnonzero(marks.nail > 0)
    y, x = marks.nail_along[on], marks.nail_across[on]
    skin = np.median(rgb[on], axis=0)
    bed = 0.5 * skin + 0.5 * np.array([0.93, 0.72, 0.67]) * (0.35 + 0.65 * skin[0])
    pale = 0.35 * skin + 0.65 * np.array([0.95, 0.90, 0.84])
    edge = habit.nail_length + 0.05 * x**2
    free = smooth(0.0, 1.0, (edge - y) / 0.05 + 0.5)
    moon = smooth(0.04, -0.04, np.hypot(x / 0.6, (y - 1.0) / 0.22).astype(np.float32) - 0.9)
    colour = bed * (1.0 - 0.10 * x[:, None] ** 2)
    colour = colour + (pale - colour) * np.maximum(0.85 * free, 0.3 * moon)[:, None]
    paint = person.nail_rgb * (1.0 - 0.12 * x[:, None] ** 2)
    colour = colour + person.nail_paint * (paint - colour)
    rgb = rgb * (1.0 - 0.22 * marks.nail_fold[:, None] * np.array([0.7, 1.0, 1.0], np.float32))
    share = marks.nail[on, None]
    rgb[on] += share * (colour - rgb[on])
    rough = rough.copy()
    shine = 0.32 - 0.17 * person.nail_paint
    rough[on] += share[:, 0] * (shine - rough[on])
    return rgb.astype(np.float32), rough
