"""AIH_Syn: two single hands become one interacting picture with its truth.

One hand, the *base*, keeps the picture it was taken from, or both are cut out and laid over another
background; the *other* is cut out and laid over or under the base's hand, shifted so that a wanted
share of the hand below is hidden.

The recipe is that of HDR (Meng et al., ECCV 2022), mended where its released loader goes wrong
(read in its code): either hand may be in front; edges are soft in colour while masks stay
hard; the hidden share is that of the hand below, counted in the finished picture; one affine with
true pixel centres moves picture, mask and joints; a hand is never pasted where the base's mirrored
border would show it twice; the truth of a picture is only what is known (``bare_valid``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import check_array
from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.synth.blend import (
    Hands,
    alpha_of,
    fill_unknown,
    grow,
    match_light,
    move_joints,
    move_pictures,
    pixels_per_mm,
    soft_masks,
    stack_hands,
)
from hdrvideo.synth.crops import HandCrop, crops_from_shot, load_crops
from hdrvideo.synth.place import PasteSettings, Plan, draw_plan, lay_base, lay_other
from hdrvideo.synth.scene import MIN_HAND_PIXELS

__all__ = ["HandCrop", "PasteSettings", "Pasted", "crops_from_shot", "load_crops", "paste"]

# A cut-out's rim is a few pixels wrong: what is behind a hand is not trusted so near to it.
RIM_PX: Final = 3


@dataclass(frozen=True)
class Pasted:
    """A batch of pasted pictures with their truth; sides 0 right, 1 left.

    Attributes:
        rgb: ``(B, 3, H, W)`` float32 0..1.
        bare_rgb: ``(B, 2, 3, H, W)`` that hand whole and alone, the other gone; of a hand that is
            not there, the picture without any.
        bare_valid: ``(B, 2, H, W)`` bool; ``bare_rgb`` is known. Elsewhere it is filled in smoothly
            and must not be learnt from.
        visible: ``(B, 2, H, W)`` bool.
        amodal: ``(B, 2, H, W)`` bool; visible <= amodal.
        uv_px: ``(B, 2, 21, 2)`` float32; NaN where not known.
        confidence: ``(B, 2, 21)`` float32 0..1; 0 where not known.
        present: ``(B, 2)`` bool.
        hidden_share: ``(B, 2)`` float32 part of the whole hand's pixels in the picture that are
            not visible; NaN where not present.
        front: ``(B,)`` int64 side that is in front; -1 without two hands.
        gain_rgb: ``(B, 3)`` float32 factor that was put on the colours.
        sources: Names of the crops by picture and side; empty where there is no hand.
    """

    rgb: Tensor
    bare_rgb: Tensor
    bare_valid: Tensor
    visible: Tensor
    amodal: Tensor
    uv_px: Tensor
    confidence: Tensor
    present: Tensor
    hidden_share: Tensor
    front: Tensor
    gain_rgb: Tensor
    sources: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        b, _, h, w = self.rgb.shape
        shapes: dict[str, tuple[tuple[int | None, ...], str]] = {
            "rgb": ((b, 3, h, w), "float32"),
            "bare_rgb": ((b, 2, 3, h, w), "float32"),
            "bare_valid": ((b, 2, h, w), "bool"),
            "visible": ((b, 2, h, w), "bool"),
            "amodal": ((b, 2, h, w), "bool"),
            "uv_px": ((b, 2, 21, 2), "float32"),
            "confidence": ((b, 2, 21), "float32"),
            "present": ((b, 2), "bool"),
            "hidden_share": ((b, 2), "float32"),
            "front": ((b,), "int64"),
            "gain_rgb": ((b, 3), "float32"),
        }
        for name, (shape, kind) in shapes.items():
            check_array(name, getattr(self, name), shape, kind)

    def __len__(self) -> int:
        return len(self.rgb)


def paste(
    crops: Sequence[HandCrop],
    n: int,
    rng: np.random.Generator,
    *,
    settings: PasteSettings | None = None,
    backgrounds: Sequence[Tensor] = (),
) -> Pasted:
    """Make ``n`` pictures out of single hands.

    Args:
        crops: Hands of one split, one size and one device; any side, they are mirrored as needed.
            Only those drawn are read, so :func:`load_crops` may hold many.
        n: How many pictures.
        rng: Draws everything: the same state gives the same pictures.
        settings: What they look like; None = the defaults. Without ``backgrounds`` there are
            neither pictures without a hand nor new backgrounds.
        backgrounds: Pictures ``(3, h, w)`` float32 0..1 without hands, at least ``size_px`` large.

    Raises:
        SettingsError: There are no crops, or the wanted overlap cannot be reached.
        ShapeError: Crops differ in size or split, or a background is too small.
    """
    settings = settings or PasteSettings()
    if not len(crops) or n < 1:
        raise SettingsError(f"{len(crops)} crops for {n} pictures; give at least one of each")
    plan, pick = draw_plan(len(crops), n, rng, settings, has_backgrounds=bool(len(backgrounds)))
    sides = plan.base_side.numpy()
    base = stack_hands(crops, pick[0], sides, settings.size_px)
    other = stack_hands(crops, pick[1], 1 - sides, settings.size_px)
    if len({*base.splits, *other.splits}) > 1:
        raise ShapeError("crops of train and test are mixed; load one split")
    plan = plan.to(base.rgb.device)
    other = match_light(other, base, plan.match)
    base_affine = lay_base(base.mask, plan, rng, settings)
    base_cover = soft_masks(base.mask, base_affine, settings.size_px) * plan.any[:, None, None]
    step = base_affine[:, 0, :2].norm(dim=-1) * pixels_per_mm(other) / pixels_per_mm(base)
    other_affine = lay_other(other.mask, step, base_cover >= 0.5, plan, rng, settings)
    other_cover = soft_masks(other.mask, other_affine, settings.size_px) * plan.two[:, None, None]
    scenery = _take_backgrounds(backgrounds, plan.new, rng, settings.size_px)
    gain_rgb = rng.uniform(*settings.gain, (n, 3)).astype(np.float32)
    layers = _Layers(
        base=base,
        base_affine=base_affine,
        base_cover=base_cover,
        other=other,
        other_affine=other_affine,
        other_cover=other_cover,
        scenery=scenery,
        gain_rgb=torch.from_numpy(gain_rgb).to(base.rgb.device),
    )
    return _compose(layers, plan, settings)


@dataclass(frozen=True)
class _Layers:
    """Everything that a picture is put together from."""

    base: Hands
    base_affine: Tensor
    base_cover: Tensor
    other: Hands
    other_affine: Tensor
    other_cover: Tensor
    scenery: Tensor
    gain_rgb: Tensor


def _take_backgrounds(
    backgrounds: Sequence[Tensor], where: Tensor, rng: np.random.Generator, size_px: int
) -> Tensor:
    """Take a random square out of a random background ``(B, 3, H, W)``; zeros where not wanted."""
    taken = torch.zeros(len(where), 3, size_px, size_px, device=where.device)
    for b in where.nonzero().flatten().tolist():
        background = backgrounds[int(rng.integers(len(backgrounds)))]
        check_array("background", background, (3, None, None), "float32")
        height, width = background.shape[1:]
        if min(height, width) < size_px:
            raise ShapeError(
                f"background is {width}x{height}, expected at least {size_px} px; leave it out"
            )
        side = int(rng.integers(size_px, min(height, width) + 1))
        v, u = (int(rng.integers(length - side + 1)) for length in (height, width))
        square = background[None, :, v : v + side, u : u + side].to(where.device)
        square = functional.interpolate(square, size=(size_px, size_px), mode="area")
        taken[b] = square[0].flip(-1) if rng.random() < 0.5 else square[0]
    return taken


def _compose(layers: _Layers, plan: Plan, settings: PasteSettings) -> Pasted:
    """Lay everything over one another, and say what is known of it."""
    size = settings.size_px
    new, front = plan.new[:, None, None], plan.base_front[:, None, None]
    hands, masks, alphas = [], [], []
    for hand, affine, cover, outside in (
        (layers.base, layers.base_affine, layers.base_cover, "reflection"),
        (layers.other, layers.other_affine, layers.other_cover, "zeros"),
    ):
        hands.append(move_pictures(hand.rgb, affine, size, outside=outside))
        masks.append(cover >= 0.5)
        alphas.append(alpha_of(cover, settings.feather_px)[:, None])
    # What lies below all that is cut out, and the same without the base's hand.
    below = torch.where(new[:, None], layers.scenery, hands[0])
    known = new | ~grow(masks[0], RIM_PX)
    clear = fill_unknown(below, known)
    bare = [torch.lerp(below, hands[0], alphas[0]), torch.lerp(clear, hands[1], alphas[1])]
    valid = [torch.ones_like(known), known | (alphas[1][:, 0] == 1)]
    over = torch.lerp(torch.lerp(below, hands[1], alphas[1]), hands[0], alphas[0])
    under = torch.lerp(bare[0], hands[1], alphas[1])
    rgb = torch.where(front[:, None], over, under)
    seen = [masks[0] & ~(masks[1] & ~front), masks[1] & ~(masks[0] & front)]
    uv_px, confidence = [], []
    for hand, affine, there in (
        (layers.base, layers.base_affine, plan.any),
        (layers.other, layers.other_affine, plan.two),
    ):
        moved_px = move_joints(hand.uv_px, affine)
        uv_px.append(torch.where(there[:, None, None], moved_px, math.nan))
        confidence.append(hand.confidence * there[:, None])
    gain = layers.gain_rgb[:, :, None, None]
    amodal, visible = _by_side(masks, plan), _by_side(seen, plan)
    pixels = amodal.flatten(2).sum(dim=2)
    present = pixels >= MIN_HAND_PIXELS * (size / 192) ** 2
    hidden = (amodal & ~visible).flatten(2).sum(dim=2) / pixels.clamp(min=1)
    front_side = torch.where(plan.base_front, plan.base_side, 1 - plan.base_side)
    bare_rgb = _by_side(bare, plan) * gain[:, None]
    return Pasted(
        rgb=(rgb * gain).clamp(0, 1),
        bare_rgb=bare_rgb.clamp(0, 1),
        bare_valid=_by_side(valid, plan),
        visible=visible,
        amodal=amodal,
        uv_px=_by_side(uv_px, plan),
        confidence=_by_side(confidence, plan),
        present=present,
        hidden_share=torch.where(present, hidden, math.nan),
        front=torch.where(plan.two, front_side, -1),
        gain_rgb=layers.gain_rgb,
        sources=_sources(layers, plan),
    )


def _sources(layers: _Layers, plan: Plan) -> tuple[tuple[str, str], ...]:
    pairs = []
    for b, side in enumerate(plan.base_side.tolist()):
        base = layers.base.sources[b] if plan.any[b] else ""
        other = layers.other.sources[b] if plan.two[b] else ""
        pairs.append((other, base) if side else (base, other))
    return tuple(pairs)


def _by_side(base_and_other: Sequence[Tensor], plan: Plan) -> Tensor:
    """Put (base, other), each ``(B, ...)``, into the order of sides ``(B, 2, ...)``."""
    pair = torch.stack(list(base_and_other), dim=1)
    is_right = (plan.base_side == 0).view(-1, *[1] * (pair.ndim - 1))
    return torch.where(is_right, pair, pair.flip(1))
