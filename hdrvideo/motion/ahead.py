"""A painter's memory that looks ahead, too: a row of crops of one hand, painted from both sides.

First the masks of what is seen are steadied along the motion that the pictures show. Then the
memory of :mod:`hdrvideo.motion.memory` runs over the row twice, forwards and backwards. What both
runs bring to a crop is fused pixel by pixel, and the crop is painted once more with that:

* Each run also carries what it *saw* and nothing that it painted, and that is worth less with every
  frame: between two frames that show a pixel its colour goes over from the one's to the other's,
  and a pixel that is uncovered only later gets its later colour.
* Of guesses and features the mean is taken, by worth, and of the outlines the plain mean.

Turned round, a row gives the same pictures turned round. After the bidirectional propagation of
ProPainter (Zhou et al., ICCV 2023), of which only the principle is taken: colours, and features
where the net keeps some, are averaged by what they are worth, not by a net.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from hdrvideo.datatypes import check_array
from hdrvideo.geometry import F64
from hdrvideo.motion.carry import N_LAYERS, View, find_motion, find_shown
from hdrvideo.motion.flow import CropPair, Flow, FlowEngine, sampled
from hdrvideo.motion.memory import (
    SEEN_WORTH,
    TRUSTED,
    Answer,
    Layers,
    outlined,
    recall,
    remember,
    told,
)

# How much masks that are carried along count beside those of now, from either side: of what is
# seen, and of the outline. See docs/measurements.md for what they bring.
STEADY: Final = 0.8
OUTLINE: Final = 0.75
# How fast what was seen loses worth, so that of two frames the nearer one counts more.
SIGHT_FADING: Final = 0.5
# From so much worth on what was seen stands alone; below, guesses count, too.
SIGHT_ENOUGH: Final = 1.0
# So little of a guess is left where sight stands alone, for worth to stay finite.
_REST: Final = 1e-4
_TINY: Final = 1e-6
# Masks of what is seen: own_visible, other_visible, and the whole other hand.
_SEEN_MASKS: Final = (3, 5, 6)


@dataclass(frozen=True)
class CropRow:
    """T crops of one hand in T frames in a row.

    Attributes:
        seen: ``(T, 7, R, R)`` float32, crops with masks.
        sees: ``(T, 2, R, R)`` float32 0 or 1, where each layer is seen.
        needed: ``(T,)`` bool, where there is something to paint.
        frame_from_crop: ``(T, 2, 3)`` float64.
    """

    seen: Tensor
    sees: Tensor
    needed: Tensor
    frame_from_crop: F64

    def __post_init__(self) -> None:
        t, _, r, _ = self.seen.shape
        check_array("seen", self.seen, (t, 7, r, r), "float32")
        check_array("sees", self.sees, (t, N_LAYERS, r, r), "float32")
        check_array("needed", self.needed, (t,), "bool")
        check_array("frame_from_crop", self.frame_from_crop, (t, 2, 3), "float64")

    def __len__(self) -> int:
        return len(self.seen)

    def view(self, t: int) -> View:
        """Give one crop as what motion is found in."""
        at = slice(t, t + 1)
        return View(self.seen[at, :3], self.sees[at], self.frame_from_crop[at])


# Says of crops with masks where each layer is seen, and which have something to paint.
Look = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Brought:
    """What one run brings to a crop: what it remembers there, and what of it was seen."""

    all: Layers
    sight: Layers


class PaintAhead:
    """Runs a :class:`~hdrvideo.motion.memory.MemoryNet` over a row of crops from both sides."""

    def __init__(
        self,
        net: Callable[[Tensor], Any],
        flow: FlowEngine,
        *,
        n_features: int,
        device: torch.device,
    ) -> None:
        """Take the net, or what runs it, and what finds motion on the CPU.

        Args:
            net: As ``MemoryNet``.
            flow: Finds motion in pictures.
            n_features: Of the net.
            device: Where the net runs.
        """
        self._net = net
        self._flow = flow
        self._n_features = n_features
        self._device = device

    def paint(
        self, seen: Tensor, frame_from_crop: F64, look: Look, wanted: Collection[int]
    ) -> dict[int, Answer]:
        """Paint some crops of a row with what all of it shows.

        Args:
            seen: ``(T, 7, R, R)`` crops with masks.
            frame_from_crop: ``(T, 2, 3)``.
            look: Says what of crops is seen, ``(T, 2, R, R)``, and ``(T,)`` bool which of them have
                something to paint.
            wanted: Places in the row of those that are to be painted.

        Returns:
            By place in the row.
        """
        if not wanted:
            return {}
        row = CropRow(seen, *look(seen), frame_from_crop)
        steps = [(t, t + step) for step in (-1, 1) for t in range(len(row))]
        flows: dict[tuple[int, int], Flow] = {}
        steady = _steadied(
            row, {k: self._shown(row, k, flows) for k in steps if 0 <= k[1] < len(row)}
        )
        row = CropRow(steady, *look(steady), frame_from_crop)
        first, last = min(wanted), max(wanted)
        later = dict(self._run(row, range(len(row) - 1, first - 1, -1), wanted, flows))
        return {
            t: self._answer(row.seen[t : t + 1], fused(before, later.pop(t)))
            for t, before in self._run(row, range(last + 1), wanted, flows)
        }

    def _shown(
        self, row: CropRow, step: tuple[int, int], flows: dict[tuple[int, int], Flow]
    ) -> tuple[Tensor, Tensor]:
        """Give the motion that two neighbours show; note it, as it is looked for only once."""

        def noted(pair: CropPair) -> Flow:
            flows[step] = self._flow(pair)
            return flows[step]

        return find_shown(noted, row.view(step[0]), row.view(step[1]))

    def _run(
        self,
        row: CropRow,
        order: range,
        wanted: Collection[int],
        flows: dict[tuple[int, int], Flow],
    ) -> Iterator[tuple[int, _Brought]]:
        """Remember a row in an order, and give what is brought to the wanted crops."""
        kept: _Brought | None = None
        for t in order:
            seen, sees = row.seen[t : t + 1], row.sees[t : t + 1]
            nothing = Layers.nothing(seen, self._n_features)
            brought = _Brought(nothing, nothing)
            if kept is not None:
                found = flows[t, t - order.step]
                motion = find_motion(lambda _, f=found: f, row.view(t), row.view(t - order.step))
                brought = _Brought(
                    recall(kept.all, motion, seen, outline_share=OUTLINE)[0],
                    recall(kept.sight, motion, seen, fading=SIGHT_FADING)[0],
                )
            if t in wanted:
                yield t, brought
            if t != order[-1]:
                kept = self._kept(seen, sees, brought, needed=bool(row.needed[t]))

    def _kept(self, seen: Tensor, sees: Tensor, brought: _Brought, *, needed: bool) -> _Brought:
        if not needed:
            fresh = Layers.of_seen(seen, sees, self._n_features)
            return _Brought(fresh, _sighted(brought.sight, seen, sees))
        answer = self._answer(seen, brought.all)
        # Beside what was painted the other hand may still shine through.
        sight = _sighted(brought.sight, seen, sees * (answer.weight == 0))
        return _Brought(remember(brought.all, seen, sees, answer), sight)

    def _answer(self, seen: Tensor, brought: Layers) -> Answer:
        steady = outlined(seen, brought.outline)
        outputs = self._net(told(steady, brought).to(self._device))
        return Answer.from_outputs(tuple(out.cpu() for out in outputs))


def _steadied(row: CropRow, shown: dict[tuple[int, int], tuple[Tensor, Tensor]]) -> Tensor:
    """Give crops whose masks of what is seen are means of their neighbours', from both sides."""
    both = []
    for order in (range(len(row)), range(len(row) - 1, -1, -1)):
        masks = [row.seen[t : t + 1, _SEEN_MASKS] for t in range(len(row))]
        for t in order[1:]:
            place_px, trust = shown[t, t - order.step]
            before, is_inside = sampled(masks[t - order.step], place_px)
            share = STEADY * (TRUSTED * trust * is_inside).clamp(max=1)
            masks[t] = torch.lerp(masks[t], before, share[:, None])
        both.append(torch.cat(masks))
    steady = row.seen.clone()
    steady[:, _SEEN_MASKS] = (both[0] + both[1]) / 2
    return steady


def _sighted(recalled: Layers, seen: Tensor, sees: Tensor) -> Layers:
    """Keep what is seen now, and of the rest what was seen."""
    is_seen = sees[:, :, None] > 0
    return replace(
        recalled,
        rgb=torch.where(is_seen, seen[:, None, :3], recalled.rgb),
        worth=torch.where(is_seen, SEEN_WORTH, recalled.worth),
    )


def fused(before: _Brought, after: _Brought) -> Layers:
    """Fuse what both runs bring to a crop, so that a ``MemoryNet`` can be told it."""
    rgb, worth = _mean(before.all, after.all)
    seen_rgb, seen_worth = _mean(before.sight, after.sight)
    share = (seen_worth / SIGHT_ENOUGH).clamp(max=1 - _REST)
    # The net averages its own colour, of worth 1, with what it is told, of worth w. That is to come
    # to 1 - share of the mean that it would make of guesses, and for the rest to what was seen.
    guessed = (1 - share) * worth / (1 + worth)
    told_rgb = (guessed * rgb + share * seen_rgb) / (guessed + share).clamp(min=_TINY)
    return Layers(
        rgb=told_rgb,
        worth=(1 + worth) / (1 - share) - 1,
        outline=(before.all.outline + after.all.outline) / 2,
        features=_mean_features([before.all.features, after.all.features]),
    )


def _mean(a: Layers, b: Layers) -> tuple[Tensor, Tensor]:
    """Give the mean colour of two runs by worth, and both worths together."""
    worth = a.worth + b.worth
    return (a.rgb * a.worth + b.rgb * b.worth) / worth.clamp(min=_TINY), worth


def _mean_features(parts: Sequence[Tensor]) -> Tensor:
    """Give the mean of those features that there are; 0 where there are none."""
    if not parts[0].shape[1]:
        return parts[0]
    there = [(part.abs().amax(dim=1, keepdim=True) > 0).to(part.dtype) for part in parts]
    return torch.stack(list(parts)).sum(dim=0) / torch.stack(there).sum(dim=0).clamp(min=1)
