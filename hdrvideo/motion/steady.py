"""Runs a painter with a memory over hands that are followed, frame after frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hdrvideo.geometry import F64
from hdrvideo.motion.carry import View, find_motion
from hdrvideo.motion.flow import FlowEngine
from hdrvideo.motion.memory import Answer, Layers, recall, remember, told


@dataclass(frozen=True)
class Past:
    """One hand in the frame before: its crop, and what was then remembered."""

    view: View
    layers: Layers


class PaintMemory:
    """Runs a :class:`MemoryNet` over hands that are followed; what it remembers goes out and in."""

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
            net: As :class:`MemoryNet`.
            flow: Finds motion in pictures.
            n_features: Of the net.
            device: Where the net runs.
        """
        self._net = net
        self._flow = flow
        self._n_features = n_features
        self._device = device

    def begin(self, seen: Tensor, sees: Tensor, frame_from_crop: F64) -> Past:
        """Remember what one crop shows that was not painted.

        Args:
            seen: ``(1, 7, R, R)`` the crop with masks.
            sees: ``(1, 2, R, R)`` where each layer is seen.
            frame_from_crop: ``(1, 2, 3)``.
        """
        view = View(seen[:, :3], sees, frame_from_crop)
        return Past(view, Layers.of_seen(seen, sees, self._n_features))

    def paint(
        self, seen: Tensor, sees: Tensor, frame_from_crop: F64, before: Sequence[Past | None]
    ) -> tuple[Answer, list[Past]]:
        """Paint crops, each with what is remembered of it.

        Args:
            seen: ``(B, 7, R, R)`` crops with masks.
            sees: ``(B, 2, R, R)`` where each layer is seen.
            frame_from_crop: ``(B, 2, 3)``.
            before: One a crop; None = nothing is remembered.
        """
        at = [slice(k, k + 1) for k in range(len(seen))]
        views = [View(seen[k, :3], sees[k], frame_from_crop[k]) for k in at]
        parts = [
            self._recalled(view, seen[k], past)
            for k, view, past in zip(at, views, before, strict=True)
        ]
        recalled = Layers.join([layers for layers, _ in parts])
        steady = torch.cat([crop for _, crop in parts])
        outputs = self._net(told(steady, recalled).to(self._device))
        answer = Answer.from_outputs(tuple(out.cpu() for out in outputs))
        kept = remember(recalled, steady, sees, answer)
        return answer, [Past(view, kept.only(k)) for k, view in enumerate(views)]

    def _recalled(self, now: View, seen: Tensor, past: Past | None) -> tuple[Layers, Tensor]:
        if past is None:
            return Layers.nothing(seen, self._n_features), seen
        return recall(past.layers, find_motion(self._flow, now, past.view), seen)
