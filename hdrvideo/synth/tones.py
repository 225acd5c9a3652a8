"""Made-up skins: a colour of the human range, blotched; the hand's own detail comes in ``skin``."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from hdrvideo.datatypes import F32, U8
from hdrvideo.synth.noise import blotches, clouds

# The ten colours of the Monk Skin Tone scale (Ellis Monk, skintone.google), sRGB.
MONK_RGB_U8: Final = (
    (246, 237, 228), (243, 231, 219), (247, 234, 208), (234, 218, 186), (215, 189, 150),
    (160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42), (41, 36, 32),
)  # fmt: skip
# Photographed skin is redder than the swatches, and at both ends less extreme: green and blue as
# parts of red, of dark and of light skin.
_DARK_HUE: Final = np.array([1.0, 0.67, 0.53])
_LIGHT_HUE: Final = np.array([1.0, 0.78, 0.68])
_RANGE: Final = (0.9, 8.0)
TEXTURE_PX: Final = 512


@dataclass(frozen=True)
class Tone:
    """Colours of a made-up skin, 0..1.

    Attributes:
        rgb: ``(3,)`` the back of the hand and the arm.
        palm_rgb: ``(3,)`` the palm; on dark skin much lighter.
        blotch: Strength of its unevenness.
    """

    rgb: F32
    palm_rgb: F32
    blotch: float


@lru_cache(maxsize=1024)
def skin_tone(number: int) -> Tone:
    """Give the colours of made-up skin ``number``; the same number is always the same skin."""
    rng = np.random.default_rng([0x5417, number])
    place = rng.uniform(*_RANGE)
    scale = np.asarray(MONK_RGB_U8, np.float32) / 255.0
    low = int(place)
    rgb = scale[low] + (scale[min(low + 1, 9)] - scale[low]) * (place - low)
    hue = _DARK_HUE + (_LIGHT_HUE - _DARK_HUE) * rgb[0]
    rgb = rgb + rng.uniform(0.5, 0.9) * (rgb[0] * hue - rgb)
    rgb = rgb * rng.uniform(0.97, 1.03, 3) * rng.uniform(0.88, 1.0)
    # The palm has hardly any pigment: all skins' palms lie near one light reddish tone.
    light = np.array([0.90, 0.69, 0.58]) * rng.uniform(0.95, 1.04)
    palm = rgb + (light - rgb) * rng.uniform(0.4, 0.65)
    return Tone(
        np.clip(rgb, 0.05, 1.0).astype(np.float32),
        np.clip(palm, 0.05, 1.0).astype(np.float32),
        float(rng.uniform(0.008, 0.025)),
    )


def skin_texture(number: int) -> U8:
    """Give made-up skin ``number`` as a body texture ``(512, 512, 3)``, palms like the rest."""
    tone = skin_tone(number)
    rng = np.random.default_rng([0x5418, number])
    n = TEXTURE_PX
    bright = 1.0 + tone.blotch * (clouds(rng, n, n, first=12) + 0.4 * blotches(rng, n, n, 200))
    red = tone.blotch * 0.5 * clouds(rng, n, n, first=20, octaves=3)
    rgb = tone.rgb * bright[..., None]
    rgb[..., 0] *= 1.0 + red
    return np.asarray(np.clip(rgb, 0.0, 1.0) * 255.0 + 0.5, np.uint8)
