"""The refiner: what frames said of two hands through a window in, two steady hands out.

After Deformer (Fu et al., ICCV 2023): a spatial transformer over the parts of a hand in one frame,
a temporal one over the window, and for every frame a pose, its motion forward and backward and a
trust, fused dynamically (:mod:`hdrvideo.motion.fuse`). Departures, with
their reasons:

* It reads what a track holds (joints, their confidence and visibility), not pictures: so it costs
  little, a saved track can be refined again, and it learns from any tracker's output.
* Both hands are in one window and attend to each other; the wrist's place is part of the state.
* Time is in seconds (rotary angles of attention by time), so any frame rate will do.
* Poses and motions are said as a difference from a zero-phase smoothing of the frames' own poses:
  untrained it is that smoother, and each frame's own detail comes back through a gate.
* No shape: all hands are the mean one, so bones keep their length through the whole clip. A first
  version had Deformer's query for it; one camera cannot tell a hand's size, and what the query said
  of new people was worse than nothing.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.hand import FINGERS
from hdrvideo.motion.fuse import fill, fuse, reach, smoothed
from hdrvideo.motion.states import N_STATE, N_TURNS, PALM_MM, HandStates, with_turns

# Trust and gates go by turn, and one for the wrist's place.
N_GROUPS: Final = N_TURNS + 1
SIGMA_SECONDS: Final = 0.06

# What the net says, in these units: of 6D numbers, of rays (in palms), of log depth.
_TURN_UNIT, _RAY_UNIT, _DEPTH_UNIT = 0.05, 0.05, 0.03
_GATE_BIAS: Final = -1.0
_PER_FINGER: Final = 4 * (3 + 3 + 2 + 1 + 1) + 3 * 6 * 2
_OF_PALM: Final = 6 * 2 + 4 + 3 * 2 + 3 + 3 + 1 + 1 + 1 + 1


@dataclass(frozen=True)
class RefineSize:
    """How large a refiner is.

    Attributes:
        part: Width of a part's token (a finger, the palm).
        wide: Width of a frame's token.
        spatial: Layers over parts.
        layers: Layers over time.
        heads: Heads of attention over time.
        dropout: In training, part of what each layer adds that is left out.
    """

    part: int
    wide: int
    spatial: int
    layers: int
    heads: int
    dropout: float = 0.1


SIZES: Final = {
    "small": RefineSize(part=32, wide=96, spatial=1, layers=2, heads=4),
    "paper": RefineSize(part=128, wide=256, spatial=3, layers=6, heads=8),
}


@dataclass(frozen=True)
class RefinedWindow:
    """What the refiner says of B windows of T frames.

    Attributes:
        state: ``(B, 2, T, 99)`` of each frame by itself.
        forward: ``(B, 2, T, 99)`` its motion to the next frame.
        backward: ``(B, 2, T, 99)`` its motion to the frame before.
        fused: ``(B, 2, T, 99)`` what all frames together say of it.
        sure_logit: ``(B, 2, T, 21)`` log odds that a joint lies within a fifth of a palm.
    """

    state: Tensor
    forward: Tensor
    backward: Tensor
    fused: Tensor
    sure_logit: Tensor


@dataclass(frozen=True)
class Reading:
    """What a net reads of B windows of T frames before it mixes frames.

    Attributes:
        filled: ``(B, 2, T, 99)`` what frames said, gaps filled.
        smooth: ``(B, 2, T, 99)`` its zero-phase smoothing.
        unit: ``(B, 2, 1, 99)`` what a difference of 1 from it means.
        token: ``(B, 2, T, wide)`` each frame's hand by itself.
    """

    filled: Tensor
    smooth: Tensor
    unit: Tensor
    token: Tensor


class WindowNet(nn.Module):
    """What every refiner's net has: hands as tokens, states as differences from a smoothing."""

    groups: Tensor

    def __init__(self, size: RefineSize, *, both_hands: bool) -> None:
        """Make what turns each frame's hand into a token.

        Args:
            size: How large.
            both_hands: Tell each hand of the other.
        """
        super().__init__()
        self.both_hands = both_hands
        self.finger = nn.Linear(_PER_FINGER, size.part)
        self.palm = nn.Linear(_OF_PALM, size.part)
        self.part = nn.Parameter(0.02 * torch.randn(1 + len(FINGERS), size.part))
        self.spatial = nn.ModuleList(
            SpatialLayer(size.part, size.dropout) for _ in range(size.spatial)
        )
        self.join = nn.Linear(size.part * (1 + len(FINGERS)), size.wide)
        self.missing = nn.Parameter(0.02 * torch.randn(size.wide))
        groups = torch.cat([torch.arange(N_TURNS).repeat_interleave(6), torch.full((3,), N_TURNS)])
        self.register_buffer("groups", groups, persistent=False)

    def read(self, states: HandStates, joints_mm: Tensor) -> Reading:
        """Read windows; arguments as of :meth:`RefineNet.forward`."""
        filled, away = fill(states.state, states.seen, states.seconds)
        filled = with_turns(filled)
        trust = states.seen * states.confidence.mean(dim=-1).clamp_min(0.05)
        smooth = smoothed(filled, trust, states.seconds, SIGMA_SECONDS)
        token = self._tokens(states, joints_mm, filled, smooth, away)
        return Reading(filled, smooth, _units(smooth, states.seen), token)

    def state_of(self, read: Reading, said: Tensor, gate: Tensor) -> Tensor:
        """Give states: the smoothing, each frame's own detail through a gate, and what is said.

        Args:
            read: The windows.
            said: ``(B, 2, T, 99)`` differences, in units.
            gate: ``(B, 2, T, 17)`` log odds that a turn's detail, or the place's, is to be kept.
        """
        share = torch.sigmoid(gate + _GATE_BIAS)[..., self.groups]
        return read.smooth + share * (read.filled - read.smooth) + read.unit * said

    def _tokens(
        self, states: HandStates, joints_mm: Tensor, filled: Tensor, smooth: Tensor, away: Tensor
    ) -> Tensor:
        """Embed each frame's hand, ``(B, 2, T, wide)``."""
        seen = states.seen[..., None]
        off = (filled - smooth) * 5
        turns = filled[..., :-3].reshape(*seen.shape[:-1], N_TURNS, 6)
        turns_off = off[..., :-3].reshape(*seen.shape[:-1], N_TURNS, 6)
        of_joints = torch.cat(
            [
                joints_mm / 80, states.off_mm / 20, states.off_palm * 5,
                states.confidence[..., None], states.visible[..., None],
            ],
            dim=-1,
        ) * seen[..., None]  # fmt: skip
        fingers = torch.cat(
            [
                of_joints[..., 1:, :].reshape(*seen.shape[:-1], 5, -1),
                turns[..., 1:, :].reshape(*seen.shape[:-1], 5, -1),
                turns_off[..., 1:, :].reshape(*seen.shape[:-1], 5, -1),
            ],
            dim=-1,
        )
        # Rays in palms; where the window's middle lies, and where the other hand.
        palms = _palms(smooth, states.seen)
        middle = (filled[..., -3:] * seen).sum(2, True) / seen.sum(2, True).clamp_min(1)
        other_seen = states.seen.flip(1)[..., None] * self.both_hands
        mirror = filled.new_tensor([-1.0, 1.0, 1.0])
        to_other = (filled[..., -3:].flip(1) * mirror - filled[..., -3:]) / palms / 3
        palm = torch.cat(
            [
                turns[..., 0, :], turns_off[..., 0, :], of_joints[..., 0, -4:],
                ((filled[..., -3:] - middle) / palms).clamp(-5, 5),
                (off[..., -3:] / palms).clamp(-5, 5),
                filled[..., -3:] - filled.new_tensor([0.0, 0.0, 6.3]),
                to_other.clamp(-5, 5) * other_seen, other_seen, seen, 10 * away[..., None],
                5 * states.off_depth[..., None],
            ],
            dim=-1,
        )  # fmt: skip
        parts = torch.cat([self.palm(palm)[..., None, :], self.finger(fingers)], dim=-2)
        parts = parts + self.part
        for layer in self.spatial:
            parts = layer(parts)
        token: Tensor = self.join(parts.flatten(-2))
        return token + (1 - seen) * self.missing


class RefineNet(WindowNet):
    """The refiner's net; see the head of this file."""

    def __init__(
        self, size: RefineSize = SIZES["small"], *, both_hands: bool = True, fusing: bool = True
    ) -> None:
        """Make it, untrained.

        Args:
            size: How large.
            both_hands: Let each hand attend to the other.
            fusing: Fuse frames; without, each one's own state is the answer.
        """
        super().__init__(size, both_hands=both_hands)
        self.fusing = fusing
        self.layers = nn.ModuleList(
            TimeLayer(size.wide, size.heads, size.dropout, both_hands=both_hands)
            for _ in range(size.layers)
        )
        self.norm = nn.LayerNorm(size.wide)
        self.said = saying(size.wide, 3 * N_STATE + 2 * N_GROUPS)
        self.sure = perceptron(size.wide, size.wide, N_JOINTS)
        self.decay = nn.Parameter(torch.full((N_GROUPS,), math.log(1 / 0.06)), fusing)

    def forward(self, states: HandStates, joints_mm: Tensor) -> RefinedWindow:
        """Refine windows.

        Args:
            states: B windows of T frames.
            joints_mm: ``(B, 2, T, 21, 3)`` the fitted hands' joints from the wrist; zero where a
                hand was not seen.
        """
        seconds = states.seconds
        read = self.read(states, joints_mm)
        token, smooth, unit = read.token, read.smooth, read.unit
        for layer in self.layers:
            token = layer(token, seconds)
        token = self.norm(token)
        said = self.said(token)
        state, ahead, back = said[..., : 3 * N_STATE].unflatten(-1, (3, N_STATE)).unbind(-2)
        gate, own = said[..., 3 * N_STATE :].unflatten(-1, (2, N_GROUPS)).unbind(-2)
        state = self.state_of(read, state, gate)
        step = smooth[:, :, 1:] - smooth[:, :, :-1]
        still = torch.zeros_like(smooth[:, :, :1])
        ahead = unit * ahead + torch.cat([step, still], dim=2)
        back = unit * back - torch.cat([still, step], dim=2)
        fused = state
        if self.fusing:
            apart = (seconds[:, :, None] - seconds[:, None, :]).abs()[:, None, :, :, None]
            log_weight = own[:, :, :, None] - self.decay.exp() * apart
            fused = fuse(reach(state, ahead, back), log_weight, self.groups)
        return RefinedWindow(state, ahead, back, fused, sureness(self.sure, token, states))


class SpatialLayer(nn.Module):
    """A transformer's layer over the parts of one hand in one frame."""

    def __init__(self, width: int, dropout: float, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.drop = nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = perceptron(width, 2 * width, width)

    def forward(self, parts: Tensor) -> Tensor:
        """Mix ``(..., P, width)``."""
        qkv = self.qkv(self.norm1(parts)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.movedim(-3, 0).transpose(-2, -3).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        parts = parts + self.drop(self.out(mixed.transpose(-2, -3).flatten(-2)))
        out: Tensor = parts + self.drop(self.feed(self.norm2(parts)))
        return out


class TimeLayer(nn.Module):
    """A transformer's layer over the frames of a window: of the own hand, then of the other."""

    def __init__(self, width: int, heads: int, dropout: float, *, both_hands: bool) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.own = TimeAttention(width, heads)
        self.other = TimeAttention(width, heads) if both_hands else None
        self.norm = nn.LayerNorm(width)
        self.feed = perceptron(width, 2 * width, width)

    def forward(self, token: Tensor, seconds: Tensor) -> Tensor:
        """Mix ``(B, 2, T, width)`` at times ``(B, T)``."""
        token = token + self.drop(self.own(token, token, seconds))
        if self.other is not None:
            token = token + self.drop(self.other(token, token.flip(1), seconds))
        out: Tensor = token + self.drop(self.feed(self.norm(token)))
        return out


class TimeAttention(nn.Module):
    """Attention whose angles turn with time: what counts is how many seconds lie between.

    Rotary embedding of Su et al., "RoFormer" (2021), by seconds in place of positions.
    """

    rates: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_other = nn.LayerNorm(width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        # From a turn in four seconds to twelve a second.
        hertz = torch.logspace(math.log10(0.25), math.log10(12.0), width // heads // 2)
        self.register_buffer("rates", 2 * math.pi * hertz, persistent=False)

    def forward(self, asking: Tensor, told: Tensor, seconds: Tensor) -> Tensor:
        """Let tokens ``(B, 2, T, width)`` ask others of the same times."""
        angle = (seconds[:, :, None] * self.rates)[:, None, None]
        q = self.q(self.norm(asking)).unflatten(-1, (self.heads, -1)).transpose(2, 3)
        kv = self.kv(self.norm_other(told)).unflatten(-1, (2, self.heads, -1))
        k, v = kv.movedim(-3, 0).transpose(-2, -3).unbind(0)
        mixed = functional.scaled_dot_product_attention(_turned(q, angle), _turned(k, angle), v)
        out: Tensor = self.out(mixed.transpose(2, 3).flatten(-2))
        return out


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def perceptron(width: int, inner: int, out: int) -> nn.Sequential:
    """Make two linear layers with a bend between them."""
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, out))


def saying(width: int, out: int) -> nn.Sequential:
    """Make the layers that say states: untrained they say nothing."""
    layers = perceptron(width, 2 * width, out)
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers


def sureness(layers: nn.Module, token: Tensor, states: HandStates) -> Tensor:
    """Give the log odds that joints are right: what frames were sure of, and what a net says."""
    sure: Tensor = layers(token) + 2 * (states.confidence - 0.5)
    return sure


def _palms(smooth: Tensor, seen: Tensor) -> Tensor:
    """Give the size of a palm in a window: ``(B, 2, 1, 3)`` in rays, rays, and 1 for log depth."""
    depth = (smooth[..., -1] * seen).sum(-1) / seen.sum(-1).clamp_min(1)
    ray = PALM_MM * (-depth).exp().clamp(1e-5, 1e-1)
    return torch.stack([ray, ray, torch.ones_like(ray)], dim=-1)[:, :, None]


def _units(smooth: Tensor, seen: Tensor) -> Tensor:
    """Give the units that states are said in, ``(B, 2, 1, 99)``."""
    root = _palms(smooth, seen) * smooth.new_tensor([_RAY_UNIT, _RAY_UNIT, _DEPTH_UNIT])
    turns = torch.full_like(root[..., :1], _TURN_UNIT).expand(*root.shape[:-1], N_STATE - 3)
    return torch.cat([turns, root], dim=-1)
