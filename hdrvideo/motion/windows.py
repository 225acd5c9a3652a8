"""The refiner over a track of any length: windows on a fixed grid, blended where they overlap.

Windows begin at multiples of the hop, counted from the clip's first frame, and are cut at the ends
of what is there. Each one's states are added up with weights that fall towards its ends, and
divided once; so what comes out does not depend on how a clip is cut into parts, but for parts'
outermost frames. At last states are smoothed a little, as the net lets through some of each frame's
own noise.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.errors import ShapeError
from hdrvideo.geometry import Camera
from hdrvideo.motion.fuse import fill, smoothed
from hdrvideo.motion.refine import RefinedWindow
from hdrvideo.motion.states import HandPoseTrack, HandStates, StateReader, fitted_joints, with_turns

WINDOW_FRAMES: Final = 24
HOP_FRAMES: Final = WINDOW_FRAMES // 2
# Standard deviation of that smoothing.
STEADY_SECONDS: Final = 0.05
# Windows that go through the net together.
_BATCH: Final = 16


def grid(first: int, n: int, *, frames: int, hop: int) -> list[tuple[int, int]]:
    """List the windows that touch frames ``first`` to ``first + n``: start and stop, cut.

    Args:
        first: Number of the first frame in the clip.
        n: How many frames there are.
        frames: Frames of a window.
        hop: Frames from one start to the next, at most ``frames``.

    Raises:
        ShapeError: The hop is not from 1 to ``frames``.
    """
    if not 1 <= hop <= frames:
        raise ShapeError(f"hop is {hop}, expected 1 to {frames}, the frames of a window")
    start = (first - frames + hop) // hop * hop
    windows = range(start, first + n, hop)
    return [(w, w + frames) for w in windows if w + frames > first]


def blend(parts: list[tuple[int, int, Tensor]], first: int, n: int) -> Tensor:
    """Blend windows: each frame is the weighted mean of what the windows say of it.

    A window counts most in its middle; it is weighed as a whole one where it is cut.

    Args:
        parts: Start and stop of each window in the clip, and its values ``(stop - start, ...)`` of
            the frames that are there, in order.
        first: First frame that is there.
        n: How many are.

    Returns:
        ``(n, ...)``.
    """
    shape = parts[0][2].shape[1:]
    total, weights = torch.zeros(n, *shape), torch.zeros(n)
    for start, stop, values in parts:
        place = torch.arange(start, stop)
        weight = torch.minimum(place - start + 1, stop - place).float()
        there = (place >= first) & (place < first + n)
        rows = place[there] - first
        weights.index_add_(0, rows, weight[there])
        total.index_add_(0, rows, values * weight[there].reshape(-1, *[1] * len(shape)))
    return total / weights.reshape(-1, *[1] * len(shape))


class Refiner:
    """Refines tracks; see the head of this file.

    Attributes:
        frames: Frames of a window.
        hop: Frames from window to window.
    """

    def __init__(
        self,
        net: Any,
        reader: StateReader,
        device: torch.device,
        *,
        frames: int = WINDOW_FRAMES,
        hop: int | None = None,
        steady_seconds: float = STEADY_SECONDS,
    ) -> None:
        """Take the net.

        Args:
            net: As :class:`hdrvideo.motion.refine.RefineNet`.
            reader: Turns joints into states and back.
            device: Where the net is.
            frames: Frames of a window, as it was taught.
            hop: Frames from window to window; None = half a window.
            steady_seconds: Standard deviation of the last smoothing; 0 = none.
        """
        self._net, self._reader, self._device = net, reader, device
        self.frames, self.hop = frames, max(frames // 2, 1) if hop is None else hop
        self._steady_seconds = steady_seconds

    def __call__(
        self,
        first: int,
        seconds: NDArray[np.float64],
        uv_px: NDArray[Any],
        xyz_mm: NDArray[Any],
        confidence: NDArray[Any],
        visible: NDArray[np.bool_],
        camera: Camera,
    ) -> tuple[HandPoseTrack, NDArray[np.float32]]:
        """Refine T frames; arguments as of :meth:`StateReader.read`.

        Args:
            first: Number of the first frame in its clip.
            seconds: ``(T,)``.
            uv_px: ``(T, 2, 21, 2)``; NaN where there is no hand.
            xyz_mm: ``(T, 2, 21, 3)``; likewise.
            confidence: ``(T, 2, 21)``; likewise.
            visible: ``(T, 2, 21)``.
            camera: Of the track.

        Returns:
            Hands in every frame (of use only where a frame near in time said something of them),
            and how sure each joint is, ``(T, 2, 21)`` in 0..1.
        """
        states = self._reader.read(seconds, uv_px, xyz_mm, confidence, visible, camera.matrix)
        state, sure_logit = self.refine_states(first, states)
        return self._reader.place(state), sure_logit.sigmoid().numpy()

    def refine_states(self, first: int, states: HandStates) -> tuple[Tensor, Tensor]:
        """Refine the states of T frames.

        Args:
            first: Number of the first frame in its clip.
            states: One window of T frames; each is cut into those that the net was taught with.

        Returns:
            States ``(T, 2, 99)`` and the log odds that joints are right, ``(T, 2, 21)``.
        """
        # A gap may be longer than a window: what does not see a hand says what the others do.
        filled = with_turns(fill(states.state, states.seen, states.seconds)[0])[0]
        t = states.seconds.shape[1]
        windows = grid(first, t, frames=self.frames, hop=self.hop)
        cuts = [(max(a, first) - first, min(b, first + t) - first) for a, b in windows]
        parts: list[list[tuple[int, int, Tensor]]] = [[], []]
        for chosen in _alike(cuts, _BATCH):
            out = self._refined([states.frames(slice(*cuts[k])) for k in chosen])
            for row, k in enumerate(chosen):
                cut = slice(*cuts[k])
                saw = states.seen[0, :, cut].any(dim=1)[:, None, None]
                fused = torch.where(saw, out.fused[row].cpu(), filled[:, cut])
                values = (
                    fused.transpose(0, 1),
                    out.sure_logit[row].transpose(0, 1),
                )
                for part, value in zip(parts, values, strict=True):
                    part.append((*windows[k], value.cpu()))
        state, sure = (blend(part, first, t) for part in parts)
        if self._steady_seconds > 0:
            even, seconds_of = torch.ones(1, 2, t), (states.seconds, self._steady_seconds)
            state = smoothed(state.transpose(0, 1)[None], even, *seconds_of)[0].transpose(0, 1)
        return state, sure

    def _refined(self, windows: list[HandStates]) -> RefinedWindow:
        joined = HandStates.join(windows)
        joints_mm = fitted_joints(joined, self._reader.model)
        with torch.inference_mode():
            out: RefinedWindow = self._net(joined.to(self._device), joints_mm.to(self._device))
        return out


def _alike(cuts: list[tuple[int, int]], at_most: int) -> list[list[int]]:
    """Sort windows into batches of one length."""
    by_length: dict[int, list[int]] = {}
    for k, (start, stop) in enumerate(cuts):
        by_length.setdefault(stop - start, []).append(k)
    return [
        same[n : n + at_most] for same in by_length.values() for n in range(0, len(same), at_most)
    ]
