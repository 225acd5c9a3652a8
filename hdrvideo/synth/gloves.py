"""Draws a glove over a baked hand."""

import numpy as np

from hdrvideo.datatypes import F32
from hdrvideo.synth.handmarks import HandMarks, smooth
from hdrvideo.synth.noise import SpaceNoise

KINDS = ("rubber", "cloth", "leather")


def put_on_glove(look: F32, glove_rgb: F32, marks: HandMarks, noise: SpaceNoise, seed: int) -> F32:
    """Cover the hand to a little below the wrist; the forearm keeps its skin.

    Args:
        look: ``(N, 4)`` colour and roughness of the skin.
        glove_rgb: ``(3,)`` colour.
        marks: Where what is.
        noise: Noise of this person.
        seed: Draws kind and length; both hands of a person alike.

    Returns:
        ``(N, 4)``.
    """
    rng = np.random.default_rng([0x610E, seed])
    kind = KINDS[rng.choice(3, p=[0.6, 0.25, 0.15])]
    cuff_mm = rng.uniform(22.0, 65.0)
    down = marks.arm_mm + 0.6 * noise.field("cuff", 20.0)
    glove = smooth(cuff_mm + 0.6, cuff_mm - 0.6, down)
    bright, rough = _material(kind, marks, noise)
    hem = np.exp(-0.5 * ((down - cuff_mm + 2.5) / 1.2) ** 2)
    dimmed = bright * (1.0 - (0.12 if kind == "rubber" else 0.3) * hem)
    # Just below the edge lies its shadow.
    shade = 0.35 * np.exp(-0.5 * ((down - cuff_mm) / 1.8) ** 2) * (1.0 - glove)
    look = look.copy()
    look[:, :3] *= (1.0 - shade)[:, None]
    worn = np.concatenate([glove_rgb * dimmed[:, None], rough[:, None]], axis=1)
    return np.asarray(look + glove[:, None] * (worn - look), np.float32)


def _material(kind: str, marks: HandMarks, noise: SpaceNoise) -> tuple[F32, F32]:
    """Give brightness and roughness ``(N,)`` of the stuff: folds at joints, weave or grain."""
    wander = 0.8 * noise.field("wander", 5.0)[:, None]
    bend = np.exp(-0.5 * ((marks.fine_mm + wander) / 0.9) ** 2) * marks.fine_strength
    folds = np.exp(-0.5 * (noise.field("folds", (16.0, 8.0, 16.0)) / 0.2) ** 2)
    soft = noise.field("light", 14.0)
    grain = noise.field("grain", 1.8)
    if kind == "rubber":
        bright = 1.0 + 0.03 * soft - 0.10 * bend.max(axis=1) - 0.06 * folds
        return _pair(bright, 0.38 + 0.05 * soft)
    if kind == "cloth":
        bright = 0.97 + 0.03 * soft + 0.025 * grain - 0.12 * bend.max(axis=1) - 0.07 * folds
        return _pair(bright, np.full_like(soft, 0.95))
    bright = 0.95 + 0.06 * soft + 0.02 * grain - 0.30 * bend.max(axis=1) - 0.08 * folds
    return _pair(bright, 0.5 + 0.06 * grain)


def _pair(bright: F32, rough: F32) -> tuple[F32, F32]:
    return bright.astype(np.float32), rough.astype(np.float32)
