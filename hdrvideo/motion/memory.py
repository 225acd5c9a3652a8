"""A painter's memory: what a hand and its ground looked like a moment ago, carried to the present.

Two layers are kept for each hand that is followed: the hand with its hidden part, and what lies
behind both hands. Each pixel has a colour and a *worth*: how many answers of the painter it counts
for. A pixel that is seen counts :data:`SEEN_WORTH`; carried along its layer's motion it loses worth
by age and by distrust of the motion (:func:`recall`); where it is hidden now, the painter's answer
and what is remembered are averaged by worth, and the mean is worth both (:class:`MemoryNet`). So
what is seen stays for long, and guesses agree with those before them. The hand's outline is
remembered, too: masks of hidden parts flicker, and with them what is hand and what is ground.

A memory may have gates that are trained, and then keeps the features of one stage of the painter's
encoder, too. As far as they have been trained they bring nothing over colours (see
docs/measurements.md), so ``annotate`` has none.

This is a recursive filter, for streams: it looks back, never ahead; ``motion/ahead.py`` runs it
both ways. After the feature propagation of ProPainter (Zhou et al., ICCV 2023), of which only the
principle is taken: no window of frames is held, so memory does not grow with a clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import check_array
from hdrvideo.motion.carry import N_LAYERS, LayerMotion
from hdrvideo.motion.flow import sampled

# Of a pixel that is seen, in answers of the painter, and how fast worth fades: in n frames to less
# than 1 / (n FADING). Chosen on made clips of split train; from 3 to 20 and from 0.01 to 0.15 they
# make little difference.
SEEN_WORTH: Final = 3.0
FADING: Final = 0.01
# How much the outline remembered counts beside that of now. On the same clips with spoiled masks
# flicker falls to 54 % without it, to 46 % with 0.5, 43 % with 0.6; with true masks crops lose
# 0.04 dB by 0.6, and 0.11 dB by 0.75.
OUTLINE: Final = 0.6
# Beyond so many pixels from what hides it, a hand's outline is that of now.
_REACH_PX: Final = 3
# Motion of at least half the trust is trusted.
TRUSTED: Final = 2.0
# Stage of the painter's encoder whose features are kept, and how many of its cells a pixel side.
STAGE: Final = 2
CELL_PX: Final = 4
# RGB, worth: what the net is told beside a crop, its masks and features.
N_TOLD: Final = 4
# Channels of a crop with masks.
_OWN: Final = slice(3, 5)
_OWN_VISIBLE: Final = slice(3, 4)
_OTHER_VISIBLE: Final = slice(5, 6)
_HALF: Final = 0.5
_TINY: Final = 1e-6
_HIDDEN: Final = 16
# A gate may change worth by this many powers of e.
_MOST: Final = 4.0


@dataclass(frozen=True)
class Layers:
    """What is remembered of B hands.

    Attributes:
        rgb: ``(B, 2, 3, R, R)`` float32, the hand's and the ground's colours, 0..1.
        worth: ``(B, 2, 1, R, R)`` float32; 0 = nothing is known.
        outline: ``(B, 1, R, R)`` float32 0..1, the whole hand.
        features: ``(B, F, R / 4, R / 4)`` float32; 0 where none are. F may be 0.
    """

    rgb: Tensor
    worth: Tensor
    outline: Tensor
    features: Tensor

    def __post_init__(self) -> None:
        b, _, _, r, _ = self.rgb.shape
        check_array("rgb", self.rgb, (b, N_LAYERS, 3, r, r), "float32")
        check_array("worth", self.worth, (b, N_LAYERS, 1, r, r), "float32")
        check_array("outline", self.outline, (b, 1, r, r), "float32")
        check_array("features", self.features, (b, None, r // CELL_PX, r // CELL_PX), "float32")

    @classmethod
    def nothing(cls, seen: Tensor, n_features: int) -> "Layers":
        """Remember nothing of crops with masks ``(B, 7, R, R)``."""
        return cls.of_seen(seen, torch.zeros_like(seen[:, :N_LAYERS]), n_features)

    @classmethod
    def of_seen(cls, seen: Tensor, sees: Tensor, n_features: int) -> "Layers":
        """Remember what one picture shows.

        Args:
            seen: ``(B, 7, R, R)`` crops with masks.
            sees: ``(B, 2, R, R)`` where each layer is seen.
            n_features: F.
        """
        b, _, r, _ = seen.shape
        return cls(
            rgb=seen[:, None, :3].expand(-1, N_LAYERS, -1, -1, -1).contiguous(),
            worth=(SEEN_WORTH * sees)[:, :, None],
            outline=outline_of(seen),
            features=seen.new_zeros(b, n_features, r // CELL_PX, r // CELL_PX),
        )

    @classmethod
    def join(cls, parts: Sequence["Layers"]) -> "Layers":
        """Put what is remembered of some hands behind one another."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def only(self, number: int) -> "Layers":
        """Give one hand's."""
        at = slice(number, number + 1)
        return Layers(*(getattr(self, f.name)[at] for f in fields(self)))

    def of_hand(self) -> tuple[Tensor, Tensor]:
        """Give what each pixel is to have: the hand's where the whole hand is, else the ground's.

        Returns:
            Colours ``(B, 3, R, R)`` and worth ``(B, 1, R, R)``.
        """
        is_hand = self.outline >= _HALF
        return (
            torch.where(is_hand, self.rgb[:, 0], self.rgb[:, 1]),
            torch.where(is_hand, self.worth[:, 0], self.worth[:, 1]),
        )


def outline_of(seen: Tensor) -> Tensor:
    """Give the whole hand ``(B, 1, R, R)`` 0..1 of crops with masks ``(B, 7, R, R)``."""
    return seen[:, _OWN].amax(dim=1, keepdim=True)


def recall(
    layers: Layers,
    motion: LayerMotion,
    seen: Tensor,
    *,
    fading: float = FADING,
    outline_share: float = OUTLINE,
) -> tuple[Layers, Tensor]:
    """Carry what is remembered into the present.

    Args:
        layers: As they were in the crops before.
        motion: Of the crops of now.
        seen: ``(B, 7, R, R)`` the crops with masks.
        fading: How fast worth fades.
        outline_share: How much the outline remembered counts beside that of now.

    Returns:
        What is remembered, where it is now; and the crops, their hand's outline steadied. Features
        move as the hand does within it, and as the ground elsewhere.
    """
    b, n, _, r, _ = layers.rgb.shape
    weighted = torch.cat([layers.rgb * layers.worth, layers.worth], dim=2).flatten(0, 1)
    found, _ = _looked_up(weighted, motion.place_px.flatten(0, 1))
    found = found.view(b, n, 4, r, r)
    worth = found[:, :, 3:]
    rgb = found[:, :, :3] / worth.clamp(min=_TINY)
    trust = (TRUSTED * motion.trust).clamp(max=1)[:, :, None]
    worth = worth / (1 + fading * worth) * trust
    before, is_inside = _looked_up(layers.outline, motion.place_px[:, 0])
    share = outline_share * trust[:, 0] * is_inside * _near_hidden(seen)
    steadied = torch.lerp(outline_of(seen), before, share)
    outline = torch.maximum(steadied, seen[:, _OWN_VISIBLE])
    is_hand = outline[:, 0, ..., None] >= _HALF
    place_px = torch.where(is_hand, motion.place_px[:, 0], motion.place_px[:, 1])
    cells = functional.avg_pool2d(place_px.permute(0, 3, 1, 2), CELL_PX).permute(0, 2, 3, 1)
    features, _ = _looked_up(layers.features, (cells + 0.5) / CELL_PX - 0.5)
    return Layers(rgb, worth, outline, features), outlined(seen, outline)


def outlined(seen: Tensor, outline: Tensor) -> Tensor:
    """Give crops with masks ``(B, 7, R, R)`` another whole hand ``(B, 1, R, R)``."""
    rest = seen[:, _OWN.stop :]
    return torch.cat([seen[:, :3], seen[:, _OWN_VISIBLE], outline, rest], dim=1)


def _near_hidden(seen: Tensor) -> Tensor:
    """Say ``(B, 1, R, R)`` where the hand may be hidden: elsewhere its outline is seen."""
    hidden = torch.maximum(outline_of(seen) - seen[:, _OWN_VISIBLE], seen[:, _OTHER_VISIBLE])
    side = 2 * _REACH_PX + 1
    return functional.max_pool2d((hidden >= _HALF).to(seen.dtype), side, 1, _REACH_PX)


def remember(recalled: Layers, seen: Tensor, sees: Tensor, answer: "Answer") -> Layers:
    """Keep what is seen now, what was painted, and of the rest what was remembered.

    Args:
        recalled: What was remembered, carried into these crops.
        seen: ``(B, 7, R, R)`` the crops with masks.
        sees: ``(B, 2, R, R)`` where each layer is seen.
        answer: What was painted.
    """
    is_painted = answer.weight > 0
    is_hand = recalled.outline >= _HALF
    is_here = torch.stack([is_hand, ~is_hand], dim=1)
    is_seen = (sees[:, :, None] > 0) & ~is_painted[:, None]
    is_made = is_here & is_painted[:, None] & ~is_seen
    colours = torch.where(is_made, answer.rgb[:, None], recalled.rgb)
    worth = torch.where(is_made, answer.worth[:, None], recalled.worth)
    return Layers(
        rgb=torch.where(is_seen, seen[:, None, :3], colours),
        worth=torch.where(is_seen, SEEN_WORTH, worth),
        outline=recalled.outline,
        features=answer.features,
    )


@dataclass(frozen=True)
class Answer:
    """What a painter with a memory says of B crops.

    Attributes:
        rgb: ``(B, 3, R, R)`` the crop as painted, 0..1.
        weight: ``(B, 1, R, R)`` how much of it is to be taken.
        worth: ``(B, 1, R, R)`` of what is painted.
        features: ``(B, F, R / 4, R / 4)`` to be remembered.
    """

    rgb: Tensor
    weight: Tensor
    worth: Tensor
    features: Tensor

    @classmethod
    def from_outputs(cls, outputs: Any) -> "Answer":
        """Take the outputs of a :class:`MemoryNet`."""
        rgb, weight, worth, *packed = (out.float() for out in outputs)
        b, _, r, _ = rgb.shape
        features = rgb.new_zeros(b, 0, r // CELL_PX, r // CELL_PX)
        if packed:
            features = functional.pixel_unshuffle(packed[0], CELL_PX)
        return cls(rgb, weight, worth, features)


def told(seen: Tensor, recalled: Layers) -> Tensor:
    """Put together what a :class:`MemoryNet` takes, one tensor for any engine.

    Args:
        seen: ``(B, 7, R, R)`` crops with masks.
        recalled: What is remembered, carried into them.

    Returns:
        ``(B, 7 + 4 + F / 16, R, R)``: features lie in squares of pixels.
    """
    parts = [seen, *recalled.of_hand()]
    if recalled.features.shape[1]:
        parts.append(functional.pixel_shuffle(recalled.features, CELL_PX))
    return torch.cat(parts, dim=1)


class MemoryNet(nn.Module):
    """A painter that is told what is remembered, and averages colours by their worth.

    Two gates may change that: one by how much remembered features take the place of the present
    ones, the other what remembered colours are worth, pixel by pixel, in view of what was painted.
    Both begin at no change. Where nothing is remembered the painter says what it says alone, to
    the bit.
    """

    def __init__(self, painter: nn.Module, *, n_seen: int, n_features: int) -> None:
        """Take a painter.

        Args:
            painter: Gives what is painted and how much is taken of it; called with crops and, where
                there are gates, with what changes its features; see ``frame/hdrm.py``.
            n_seen: Channels that it takes: RGB and masks.
            n_features: Channels of its encoder's stage :data:`STAGE`, a multiple of 16; 0 = there
                are no gates, and no features are kept.
        """
        super().__init__()
        self.painter = painter
        self.n_seen, self.n_features = n_seen, n_features
        n_masks = n_seen - 3
        if not n_features:
            return
        self.cells = nn.Sequential(
            nn.Conv2d(2 * n_features + 1 + n_masks, n_features, 1),
            nn.ReLU(),
            _no_change(nn.Conv2d(n_features, n_features, 3, padding=1)),
        )
        self.pixels = nn.Sequential(
            nn.Conv2d(3 * 3 + 1 + n_masks, _HIDDEN, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1),
            nn.ReLU(),
            _no_change(nn.Conv2d(_HIDDEN, 4, 3, padding=1)),
        )

    @property
    def n_channels(self) -> int:
        """Channels of what it takes; see :func:`told`."""
        return self.n_seen + N_TOLD + self.n_features // CELL_PX**2

    def forward(self, told: Tensor) -> tuple[Tensor, ...]:
        """Paint crops with what is remembered.

        Args:
            told: As :func:`told` gives it.

        Returns:
            What :class:`Answer` holds; with gates features, too, in squares of pixels,
            ``(B, F / 16, R, R)``.
        """
        seen, rgb = told[:, : self.n_seen], told[:, self.n_seen : self.n_seen + 3]
        worth = told[:, self.n_seen + 3 : self.n_seen + N_TOLD]
        if not self.n_features:
            painted, weight = self.painter(seen)
            mean = torch.lerp(painted.clamp(0, 1), rgb, worth / (1 + worth))
            return mean, weight, 1 + worth
        then = functional.pixel_unshuffle(told[:, self.n_seen + N_TOLD :], CELL_PX)
        hints = torch.cat([worth / (1 + worth), seen[:, 3:]], dim=1)
        kept: list[Tensor] = []

        def fuse(number: int, now: Tensor) -> Tensor:
            if number != STAGE:
                return now
            kept.append(self._fused(now, then, functional.avg_pool2d(hints, CELL_PX)))
            return kept[0]

        painted, weight = self.painter(seen, fuse)
        painted = painted.clamp(0, 1)
        gate = self.pixels(torch.cat([painted, rgb, seen[:, :3], hints], dim=1))
        gate = _MOST * torch.tanh(functional.pixel_shuffle(gate, 2) / _MOST)
        worth = worth * gate.exp()
        mean = torch.lerp(painted, rgb, worth / (1 + worth))
        return mean, weight, 1 + worth, functional.pixel_shuffle(kept[0], CELL_PX)

    def _fused(self, now: Tensor, then: Tensor, hints: Tensor) -> Tensor:
        is_there = (then.abs().amax(dim=1, keepdim=True) > 0).to(now.dtype)
        gate = torch.tanh(self.cells(torch.cat([now, then, hints], dim=1)))
        return now + is_there * gate * (then - now)


def _no_change(conv: nn.Conv2d) -> nn.Conv2d:
    """Let a gate's last layer begin at zero."""
    for values in conv.parameters():
        nn.init.zeros_(values)
    return conv


def _looked_up(values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Look up ``(B, C, H, W)`` bilinearly at ``(B, h, w, 2)``; 0 beyond the picture.

    Returns:
        What was found, and ``(B, 1, h, w)`` bool, where the place is in the picture.
    """
    found, is_inside = sampled(values, place)
    return found * is_inside[:, None], is_inside[:, None]
