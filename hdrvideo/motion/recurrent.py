"""Peers of the refiner of its own size, to be measured beside it: plain recurrent nets over time.

Both read what :class:`hdrvideo.motion.refine.RefineNet` reads, begin with the same tokens of each
frame's hand, say poses as the same difference from a smoothing, and give the same answer, so they
are taught by the same lessons and take its place anywhere.

* :class:`GruNet`, after VIBE (Kocabas et al., "VIBE: Video Inference for Human Body Pose and Shape
  Estimation", CVPR 2020, section 3.1): a recurrent net over the window, added to each frame's own
  token; from each sum that frame's pose. It runs both ways.
* :class:`TcmrNet`, after TCMR (Choi et al., "Beyond Static Features for Temporally Consistent 3D
  Human Pose and Shape from a Video", CVPR 2021, sections 3 and 4): one recurrent net over all
  frames, both ways, one over the frames before and one over those after, which forecast a frame
  that they do not see; the three are weighed by attention, and nothing of the frame's own token is
  added. Both forecasts are taught, too: they are what the lessons ask of motions.

Departures, with their reasons:

* Tokens come from a track's joints, not from pictures, as the refiner's do.
* Every frame of a window is answered for, not only the one in its middle (TCMR), so that windows
  are blended as the refiner's are. A forecast at the window's first frame (or its last, of those
  after) has seen nothing.
* Recurrent nets know no time: they are told the seconds to the frames before and after.
* Each hand is told of the other by its token, as the refiner's hands attend to each other.
* Poses are not found step by step from a mean pose (the regressor of both): they begin with the
  smoothing, as the refiner's do. So a forecast is not quite blind to its own frame.
* No shape, and one discriminator for all nets, that of the lessons.
"""

from typing import Final

import torch
from torch import Tensor, nn

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.motion.refine import (
    N_GROUPS,
    SIZES,
    Reading,
    RefinedWindow,
    RefineSize,
    WindowNet,
    perceptron,
    saying,
    sureness,
)
from hdrvideo.motion.states import N_STATE, HandStates

# Width of a recurrent layer, so that the whole is as large as the refiner of that size.
GRU_WIDTHS: Final = {"small": 80, "paper": 380}
TCMR_WIDTHS: Final = {"small": 49, "paper": 260}
# Layers of a recurrent net, as VIBE has (its section 4).
_LAYERS: Final = 2
_TOLD_SECONDS: Final = 2
# Seconds between frames are told in thirtieths, by their logarithm.
_USUAL_RATE: Final = 30.0


class _RecurrentNet(WindowNet):
    """What both share: tokens of both hands and of time, and what says a pose."""

    def __init__(self, size: RefineSize, *, both_hands: bool) -> None:
        super().__init__(size, both_hands=both_hands)
        self.n_told = size.wide * (1 + both_hands) + _TOLD_SECONDS
        self.norm = nn.LayerNorm(size.wide)
        self.said = saying(size.wide, N_STATE + N_GROUPS)
        self.sure = perceptron(size.wide, size.wide, N_JOINTS)

    def _told(self, read: Reading, states: HandStates) -> Tensor:
        """Give what recurrent nets are told of each frame and hand, ``(2 * B, T, n_told)``."""
        token, seconds = read.token, states.seconds
        step = torch.log1p(seconds.diff(dim=1) * _USUAL_RATE)
        nothing = torch.zeros_like(seconds[:, :1])
        steps = [torch.cat([nothing, step], dim=1), torch.cat([step, nothing], dim=1)]
        of_time = torch.stack(steps, dim=-1)[:, None].expand(-1, 2, -1, -1)
        hands = [token, token.flip(1)] if self.both_hands else [token]
        return torch.cat([*hands, of_time], dim=-1).flatten(0, 1)

    def _state(self, read: Reading, token: Tensor, *, has_detail: bool = True) -> Tensor:
        """Say states by tokens ``(B, 2, T, wide)``; without detail none of the frame's own."""
        said, gate = self.said(token).split([N_STATE, N_GROUPS], dim=-1)
        if has_detail:
            return self.state_of(read, said, gate)
        state: Tensor = read.smooth + read.unit * said
        return state


class GruNet(_RecurrentNet):
    """A recurrent net over the window, both ways, as VIBE's; see the head of this file."""

    def __init__(
        self,
        size: RefineSize = SIZES["small"],
        width: int = GRU_WIDTHS["small"],
        *,
        both_hands: bool = True,
    ) -> None:
        """Make it, untrained.

        Args:
            size: Of the tokens; layers over time and their heads are not used.
            width: Of a recurrent layer, one way.
            both_hands: Tell each hand of the other.
        """
        super().__init__(size, both_hands=both_hands)
        self.gru = _gru(self.n_told, width, size.dropout, both_ways=True)
        self.join_time = nn.Linear(2 * width, size.wide)

    def forward(self, states: HandStates, joints_mm: Tensor) -> RefinedWindow:
        """Refine windows; see :meth:`hdrvideo.motion.refine.RefineNet.forward`."""
        read = self.read(states, joints_mm)
        seen, _ = self.gru(self._told(read, states))
        token = self.norm(read.token + self.join_time(seen).unflatten(0, (-1, 2)))
        state = self._state(read, token)
        # It says no motions: they are the steps from pose to pose.
        step, still = state.diff(dim=2), torch.zeros_like(state[:, :, :1])
        ahead, back = torch.cat([step, still], dim=2), torch.cat([still, -step], dim=2)
        return RefinedWindow(state, ahead, back, state, sureness(self.sure, token, states))


class TcmrNet(_RecurrentNet):
    """Past, future and all frames, weighed by attention, as TCMR's; see the head of this file."""

    def __init__(
        self,
        size: RefineSize = SIZES["small"],
        width: int = TCMR_WIDTHS["small"],
        *,
        both_hands: bool = True,
    ) -> None:
        """Make it, untrained; arguments as of :class:`GruNet`."""
        super().__init__(size, both_hands=both_hands)
        self.all = _gru(self.n_told, width, size.dropout, both_ways=True)
        self.past = _gru(self.n_told, width, size.dropout)
        self.future = _gru(self.n_told, width, size.dropout)
        self.join_all = nn.Linear(2 * width, size.wide)
        self.join_past = nn.Linear(width, size.wide)
        self.join_future = nn.Linear(width, size.wide)
        self.attention = perceptron(3 * size.wide, size.wide, 3)

    def forward(self, states: HandStates, joints_mm: Tensor) -> RefinedWindow:
        """Refine windows; see :meth:`hdrvideo.motion.refine.RefineNet.forward`."""
        read = self.read(states, joints_mm)
        told = self._told(read, states)
        past, future = self.past(told)[0], self.future(told.flip(1))[0].flip(1)
        nothing = torch.zeros_like(past[:, :1])
        # A forecast has not seen its own frame.
        before = self.join_past(torch.cat([nothing, past[:, :-1]], dim=1))
        after = self.join_future(torch.cat([future[:, 1:], nothing], dim=1))
        parts = torch.stack([self.join_all(self.all(told)[0]), before, after], dim=-2)
        parts = self.norm(torch.relu(parts)).unflatten(0, (-1, 2))
        weight = self.attention(parts.flatten(-2)).softmax(dim=-1)
        token = (weight[..., None] * parts).sum(dim=-2)
        state = self._state(read, token)
        by_past, by_future = (self._state(read, parts[..., k, :], has_detail=False) for k in (1, 2))
        still = torch.zeros_like(state[:, :, :1])
        # From a frame by its motion to the next: what those up to it forecast of that one.
        ahead = torch.cat([by_past[:, :, 1:] - state[:, :, :-1], still], dim=2)
        back = torch.cat([still, by_future[:, :, :-1] - state[:, :, 1:]], dim=2)
        return RefinedWindow(state, ahead, back, state, sureness(self.sure, token, states))


def _gru(told: int, width: int, dropout: float, *, both_ways: bool = False) -> nn.GRU:
    return nn.GRU(told, width, _LAYERS, batch_first=True, dropout=dropout, bidirectional=both_ways)
