"""What the camera and the file do to a picture: blur, exposure, colour, noise, compression.

``rgb`` and both ``bare_rgb`` of a picture get the same draw of everything, so that they go on
agreeing where the hand is visible: colour and noise agree exactly; blur and compression mix each
pixel with its surroundings, so they agree away from what the pictures do not share (a few pixels
for blur, the 16-pixel block for compression). The truth stays as it is.

Batched torch, the same on CPU and CUDA. Blurs work on squared colours, which stand for light.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.synth.jpeg import compress
from hdrvideo.synth.motion_blur import motion_blur
from hdrvideo.synth.scene import Effects, Shot

_REFERENCE_HEIGHT_PX: Final = 192
_LUMA: Final = (0.299, 0.587, 0.114)
_BANK_PX: Final = 1024
# Part of the noise's variance at full brightness that is there in the dark, too: read noise.
_READ_SHARE: Final = 0.15
_LIMITS: Final = {
    "shutter": (0.0, 2.0),
    "defocus_px": (0.0, 10.0),
    "exposure": (0.05, 20.0),
    "gamma": (0.1, 10.0),
    "saturation": (0.0, 5.0),
    "noise": (0.0, 1.0),
    "jpeg_quality": (0, 100),
}


def apply_effects(shot: Shot, effects: Sequence[Effects], seed: int) -> Shot:
    """Give the shot as the camera would have recorded it.

    In this order: motion blur along the true flow, defocus, exposure and cast, gamma, saturation,
    sensor noise, JPEG.

    Args:
        shot: B pictures as rendered.
        effects: One for each picture; ``Effects(0, 0, 1, 1, ones, 1, 0, 0)`` changes nothing.
        seed: Draws the noise; the same seed gives the same noise.

    Returns:
        The shot with other ``rgb`` and ``bare_rgb``, 0..1.

    Raises:
        ShapeError: Not one effect for each picture.
        SettingsError: A value is out of range.
    """
    if len(effects) != len(shot):
        raise ShapeError(f"there are {len(effects)} effects for {len(shot)} pictures")
    for one in effects:
        _check(one)
    pictures = torch.cat([shot.rgb[:, None], shot.bare_rgb], dim=1)
    pictures = motion_blur(pictures, shot, [one.shutter for one in effects])
    pictures = _defocus(pictures, [one.defocus_px for one in effects])
    pictures = _colours(pictures, effects)
    pictures = _noise(pictures, [one.noise for one in effects], seed)
    pictures = compress(pictures, [one.jpeg_quality for one in effects])
    return replace(shot, rgb=pictures[:, 0].contiguous(), bare_rgb=pictures[:, 1:].contiguous())


def _check(effects: Effects) -> None:
    for name, (low, high) in _LIMITS.items():
        value = getattr(effects, name)
        if not low <= value <= high:
            raise SettingsError(f"effect {name} is {value}, expected {low} to {high}")
    if not (np.isfinite(effects.cast_rgb) & (effects.cast_rgb >= 0)).all():
        raise SettingsError(f"effect cast_rgb is {effects.cast_rgb}, expected factors >= 0")


def _defocus(pictures: Tensor, widths: Sequence[float]) -> Tensor:
    """Blur ``(B, 3, 3, H, W)`` by a Gaussian of its own for each of the B."""
    blurred = [n for n, width in enumerate(widths) if width > 0]
    if not blurred:
        return pictures
    height = pictures.shape[-2]
    spread_px = pictures.new_tensor([widths[n] for n in blurred]) * height / _REFERENCE_HEIGHT_PX
    radius = max(1, int(np.ceil(2.5 * max(widths) * height / _REFERENCE_HEIGHT_PX)))
    taps = torch.arange(-radius, radius + 1, device=pictures.device)
    kernel = torch.exp(-0.5 * (taps / spread_px[:, None]) ** 2)
    kernel *= taps.abs() <= (2.5 * spread_px[:, None]).ceil()
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(9, dim=0)
    light = pictures[blurred].square().flatten(0, 2)[None]
    for size, pad in (((-1, 1), (0, 0, radius, radius)), ((1, -1), (radius, radius, 0, 0))):
        weight = kernel.reshape(len(kernel), 1, *size)
        light = functional.conv2d(
            functional.pad(light, pad, mode="replicate"), weight, groups=len(kernel)
        )
    pictures = pictures.clone()
    pictures[blurred] = light.clamp_min(0).sqrt().reshape(-1, *pictures.shape[1:])
    return pictures


def _colours(pictures: Tensor, effects: Sequence[Effects]) -> Tensor:
    gain = np.stack([one.cast_rgb * one.exposure for one in effects])
    pictures = (pictures * _column(pictures, gain)).clamp_(0.0, 1.0)
    if any(one.gamma != 1 for one in effects):
        pictures = pictures.pow_(_column(pictures, [[one.gamma] for one in effects]))
    if any(one.saturation != 1 for one in effects):
        luma = torch.einsum("bschw,c->bshw", pictures, pictures.new_tensor(_LUMA))[:, :, None]
        saturation = _column(pictures, [[one.saturation] for one in effects])
        pictures = torch.lerp(luma, pictures, saturation).clamp_(0.0, 1.0)
    return pictures


def _column(like: Tensor, values: object) -> Tensor:
    """Bring values ``(B, 1 or 3)`` to the pictures' axes."""
    return torch.as_tensor(np.asarray(values, np.float32), device=like.device)[
        :, None, :, None, None
    ]


def _noise(pictures: Tensor, strengths: Sequence[float], seed: int) -> Tensor:
    """Add noise whose variance has a part that grows with brightness and one that does not."""
    if not any(strengths):
        return pictures
    height, width = pictures.shape[-2:]
    # The bank is the same for all seeds; where a picture cuts it and how it is turned are not.
    draw = torch.Generator().manual_seed(seed)
    start = torch.randint(_BANK_PX, (len(pictures), 2), generator=draw)
    step = torch.randint(2, (len(pictures), 3), generator=draw) * 2 - 1
    down = (start[:, :1] + step[:, :1] * torch.arange(height)) % _BANK_PX
    right = (start[:, 1:] + step[:, 1:2] * torch.arange(width)) % _BANK_PX
    place = (down[:, :, None] * _BANK_PX + right[:, None]).to(pictures.device)
    field = noise_bank().to(pictures.device).flatten(1)[:, place].movedim(0, 1)
    strength = torch.tensor(strengths)[:, None] * step[:, 2:]
    field = field * strength.to(pictures)[..., None, None]
    spread = torch.sqrt(pictures * (1.0 - _READ_SHARE) + _READ_SHARE)
    return torch.addcmul(pictures, spread, field[:, None]).clamp_(0.0, 1.0)


@lru_cache(maxsize=1)
def noise_bank() -> Tensor:
    """Give noise ``(3, 1024, 1024)`` with unit spread that wraps round at its borders.

    Neighbours hang together a little and colours more, as after interpolating a sensor's mosaic:
    a shared fine part and a coarser one for each colour.
    """
    draw = torch.Generator().manual_seed(0x5EED)
    white = torch.randn(4, 1, _BANK_PX, _BANK_PX, generator=draw)
    fine = _soften(white[:1], 0.45)
    coarse = _soften(white[1:], 0.9)
    bank = 0.8 * fine / fine.std() + 0.6 * coarse / coarse.std()
    return (bank / bank.std())[:, 0].contiguous()


def _soften(white: Tensor, spread_px: float) -> Tensor:
    taps = torch.exp(-0.5 * (torch.arange(-3, 4) / spread_px) ** 2)
    kernel = (taps[:, None] * taps)[None, None]
    return functional.conv2d(functional.pad(white, (3, 3, 3, 3), mode="circular"), kernel)
