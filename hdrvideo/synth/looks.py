"""How a made clip looks: the person's skin and clothes, light, background, camera and file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32
from hdrvideo.synth.assets import PROCEDURAL, Assets, split_of
from hdrvideo.synth.scene import PATTERNS, Effects, Lights, Person
from hdrvideo.synth.turns import unit
from hdrvideo.synth.viewpoint import Shooting

F64 = NDArray[np.float64]

N_PEOPLE: Final = 10_000
SLEEVES, WATCH, RING, PAINTED = 0.55, 0.12, 0.12, 0.10
# Files are drawn before procedural ones so often, where there are any.
_REAL_SHARE: Final = 0.75


@dataclass(frozen=True)
class Look:
    """Colour and pattern of one prop.

    Attributes:
        rgb: ``(2, 3)`` the two colours.
        pattern: Index into ``scene.PATTERNS``.
        roughness: 0 shiny .. 1 dull.
    """

    rgb: F32
    pattern: int
    roughness: float


@dataclass(frozen=True)
class Clothes:
    """What the person wears.

    Attributes:
        sleeve: Of the shirt.
        trousers: Of the legs.
        sleeve_mm: Where the sleeve ends, from the wrist; None is a bare forearm.
        short: The upper arm is covered.
        skin: Bare skin.
        hair: The hair.
        watch: Side of the watch or bracelet, or None.
        ring: Side and finger of the ring, or None.
    """

    sleeve: Look
    trousers: Look
    sleeve_mm: float | None
    short: bool
    skin: Look
    hair: Look
    watch: int | None
    ring: tuple[int, int] | None


def draw_name(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    """Draw a skin or background: files more often than procedural ones."""
    real = [name for name in names if not name.startswith(PROCEDURAL)]
    made = [name for name in names if name.startswith(PROCEDURAL)]
    group = real if real and (not made or rng.random() < _REAL_SHARE) else made
    return group[int(rng.integers(len(group)))]


def draw_person(
    rng: np.random.Generator, assets: Assets, n_shape: int, glove_share: float
) -> tuple[Person, F64]:
    """Draw a person of the split; all but the gloves follows from the person's number.

    Returns:
        The person, and the shape scores ``(n_shape,)`` of both hands.
    """
    while True:
        number = int(rng.integers(N_PEOPLE))
        if split_of("person", f"person:{number}") == assets.split:
            break
    own = np.random.default_rng([0x9E0, number])
    shape = np.clip(own.normal(0, 0.85, n_shape), -2.0, 2.0)
    shine = float(own.uniform(0.35, 0.8))
    tint = own.uniform(0.82, 1.12) * own.uniform(0.94, 1.06, 3)
    painted = own.random() < PAINTED
    glove = np.full(2, rng.random() < glove_share)
    if glove.any() and rng.random() < 0.15:
        glove[int(rng.integers(2))] = False
    person = Person(
        f"person:{number}",
        draw_name(own, assets.skins),
        tint.astype(np.float32),
        shine,
        _colour(own).astype(np.float32),
        float(own.uniform(0.75, 1.0)) if painted else 0.0,
        np.tile(_colour(rng), (2, 1)).astype(np.float32),
        glove,
        int(own.integers(2**31)),
    )
    return person, shape


def _colour(rng: np.random.Generator) -> F64:
    """Draw a colour: grey, muted or bright."""
    value = rng.uniform(0.05, 0.78)
    chroma = rng.choice([0.04, 0.25, 0.8], p=[0.35, 0.4, 0.25]) * rng.uniform(0.5, 1.0)
    hue = 2 * np.pi * (rng.random() + np.array([0, 1 / 3, 2 / 3]))
    return np.asarray(np.clip(value * (1 + chroma * np.cos(hue)), 0.02, 0.85))


def draw_look(rng: np.random.Generator, kind: str) -> Look:
    """Draw a prop's look; ``kind`` is ``cloth``, ``thing``, ``metal`` or ``table``."""
    choices: dict[str, tuple[tuple[str, ...], tuple[float, float]]] = {
        "cloth": (("plain", "cloth", "cloth", "stripes", "checks"), (0.7, 1.0)),
        "thing": (("plain", "plain", "stripes", "checks", "wood", "print", "print"), (0.1, 0.8)),
        "metal": (("plain",), (0.05, 0.4)),
        "table": (("plain", "wood", "wood", "cloth"), (0.3, 0.9)),
    }
    patterns, roughness = choices[kind]
    first = _colour(rng)
    second = _colour(rng) if rng.random() < 0.6 else np.clip(first * rng.uniform(0.6, 1.5), 0, 1)
    pattern = PATTERNS.index(patterns[int(rng.integers(len(patterns)))])
    return Look(np.stack([first, second]).astype(np.float32), pattern, rng.uniform(*roughness))


def draw_clothes(
    rng: np.random.Generator, assets: Assets, person: Person, arm_mm: float
) -> Clothes:
    """Draw what the person wears, and their skin's mean colour for bare upper arms and the head.

    Args:
        rng: Source of all chance.
        assets: Gives the skin.
        person: Whose clothes.
        arm_mm: Length of the forearm.
    """
    picture = assets.skin_rgb_u8(person.skin)
    step = max(1, len(picture) // 32)
    mean = picture[::step, ::step].reshape(-1, 3).astype(np.float64)
    bright = mean[mean.sum(axis=1) >= np.median(mean.sum(axis=1))].mean(axis=0) / 255
    skin = np.clip(bright * person.tint_rgb, 0, 1)
    skins = Look(np.tile(skin, (2, 1)).astype(np.float32), 0, person.roughness)
    strand = np.array([0.16, 0.11, 0.08]) * rng.uniform(0.3, 4.0) * rng.uniform(0.85, 1.15, 3)
    hair = Look(np.stack([strand, 0.7 * strand]).astype(np.float32), PATTERNS.index("cloth"), 0.7)
    length = None
    if rng.random() < SLEEVES:
        length = float(14 + (arm_mm - 90) * rng.random() ** 1.7)
    watch = int(rng.random() < 0.7) if rng.random() < WATCH else None
    ring = (int(rng.integers(2)), int(rng.choice([1, 2, 3, 4]))) if rng.random() < RING else None
    short = length is not None or rng.random() < 0.6
    shirt, trousers = draw_look(rng, "cloth"), draw_look(rng, "cloth")
    return Clothes(shirt, trousers, length, short, skins, hair, watch, ring)


def draw_lights(rng: np.random.Generator, shooting: Shooting) -> Lights:
    """Draw one to three lights over a sky and a ground, fixed in the person's surroundings."""
    n = int(rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25]))
    # The main light comes from above and rather from the camera's side than from behind the scene.
    towards = unit(rng.normal(size=(n, 3)) * [1.0, 0.6, 1.0] + [0, -0.9, 0])
    back = shooting.turn[0, 2]
    against = np.maximum(towards @ back, 0)[:, None]
    towards = unit(towards - rng.uniform(0.6, 1.6) * against * back)
    # Warm to cold, as black bodies between lamp and shade look to a camera set between them.
    warmth = rng.normal(0, 0.09, (n + 1, 1)) * np.array([1.0, 0.15, -1.0])
    strength = np.r_[1.0, rng.uniform(0.1, 0.6, n - 1)]
    ambient = rng.uniform(0.2, 0.75)
    total = float(np.clip(np.exp(rng.normal(-0.06, 0.26)), 0.5, 1.35))
    rgb = total * (1 - 0.65 * ambient) * (strength / strength.sum() ** 0.6)[:, None]
    sky = total * ambient * 0.95 * (1 + warmth[-1])
    ground = sky * rng.uniform(0.25, 0.9) * (1 + rng.normal(0, 0.05, 3))
    up = np.einsum("tij,j->ti", shooting.turn, np.array([0.0, -1.0, 0.0]))
    seen = np.einsum("tij,lj->tli", shooting.turn, towards)
    return Lights(
        seen.astype(np.float32),
        np.clip(1.25 * rgb * (1 + warmth[:-1]), 0, None).astype(np.float32),
        up.astype(np.float32),
        sky.astype(np.float32),
        np.clip(ground, 0, None).astype(np.float32),
    )


def draw_effects(rng: np.random.Generator) -> Effects:
    """Draw what camera and file do; most of it mild."""
    maybe: Callable[[float], bool] = lambda share: bool(rng.random() < share)  # noqa: E731
    shutter = rng.uniform(0.2, 1.0) if maybe(0.6) else 0.0
    defocus = rng.uniform(0.4, 1.6) if maybe(0.15) else rng.uniform(0.0, 0.35)
    noise = rng.uniform(0.025, 0.05) if maybe(0.1) else abs(rng.normal(0, 0.01))
    quality = 0
    if maybe(0.6):
        quality = int(rng.integers(18, 45)) if maybe(0.2) else int(rng.integers(50, 96))
    return Effects(
        float(shutter),
        float(defocus),
        float(np.exp(rng.normal(0, 0.1))),
        float(np.exp(rng.normal(0, 0.1))),
        np.exp(rng.normal(0, 0.035, 3)).astype(np.float32),
        float(np.clip(rng.normal(1.0, 0.15), 0.5, 1.5)) if maybe(0.98) else 0.0,
        float(noise),
        quality,
    )
