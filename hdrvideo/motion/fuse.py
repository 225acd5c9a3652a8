"""Dynamic fusion: what every frame of a window says of every other one, weighed together.

After Fu et al., "Deformer: Dynamic Fusion Transformer for Robust Hand Pose Estimation" (ICCV 2023),
section 3.3: each frame gives a state, the motion to the next frame (forward) and to the one before
(backward); from frame i the state of frame j is that of i and the motions on the way. Departures:

* Every frame of a window is fused, not only the one in its middle.
* How much a frame is trusted differs by turn (a finger may be hidden while the wrist is seen), and
  trust falls with the time that lies between.
* The sum of motions backward runs from j + 1 to i, as the definition demands (the paper's slides
  have j to i - 1).
"""

from typing import Final

import torch
from torch import Tensor

# A frame that nobody saw counts so little beside one that was seen.
_FILLED_WEIGHT: Final = 0.02
_RIDGE: Final = 1e-4


def reach(state: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """Give what each frame says of each other one.

    Args:
        state: ``(..., T, D)``.
        forward: ``(..., T, D)``, motion of frame k to k + 1; the last one is not used.
        backward: ``(..., T, D)``, motion of frame k to k - 1; the first one is not used.

    Returns:
        ``(..., T, T, D)``: at ``i, j`` the state of frame j as frame i says.
    """
    zero = torch.zeros_like(forward[..., :1, :])
    ahead = torch.cat([zero, forward[..., :-1, :].cumsum(dim=-2)], dim=-2)
    back = torch.cat([zero, backward[..., 1:, :].cumsum(dim=-2)], dim=-2)
    to_later = ahead[..., None, :, :] - ahead[..., :, None, :]
    to_earlier = back[..., :, None, :] - back[..., None, :, :]
    t = state.shape[-2]
    is_later = torch.ones(t, t, dtype=torch.bool, device=state.device).triu()[..., None]
    return state[..., :, None, :] + torch.where(is_later, to_later, to_earlier)


def fuse(said: Tensor, trust: Tensor, groups: Tensor) -> Tensor:
    """Weigh what all frames say of each one.

    Args:
        said: ``(..., T, T, D)`` of :func:`reach`.
        trust: ``(..., T, T, G)`` log weights at ``i, j``.
        groups: ``(D,)`` which of the G weights each number goes by.

    Returns:
        ``(..., T, D)``.
    """
    weight = trust.softmax(dim=-3)
    return (said * weight[..., groups]).sum(dim=-3)


def fill(state: Tensor, seen: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
    """Fill frames that were not seen: on straight lines in time, and by the nearest at the ends.

    Args:
        state: ``(B, 2, T, D)``.
        seen: ``(B, 2, T)``, 1 = seen.
        seconds: ``(B, T)``, increasing.

    Returns:
        Filled states (zero for hands never seen), and ``(B, 2, T)`` the seconds to the nearest seen
        frame (zero for those, too).
    """
    t = state.shape[2]
    is_seen = seen > 0
    index = torch.arange(t, device=state.device).expand(is_seen.shape)
    before = torch.where(is_seen, index, -1).cummax(dim=2).values
    after = torch.where(is_seen, index, t).flip(2).cummin(dim=2).values.flip(2)
    any_seen = is_seen.any(dim=2, keepdim=True)
    first = torch.where(before < 0, after, before).clamp(0, t - 1)
    last = torch.where(after >= t, before, after).clamp(0, t - 1)
    times = seconds[:, None].expand(seen.shape)
    early, late = times.gather(2, first), times.gather(2, last)
    share = torch.where(late > early, (times - early) / (late - early).clamp_min(1e-9), 0.0)
    share = share.clamp(0, 1)[..., None]

    def at(frames: Tensor) -> Tensor:
        return state.gather(2, frames[..., None].expand(-1, -1, -1, state.shape[-1]))

    filled = at(first) * (1 - share) + at(last) * share
    away = torch.minimum((times - early).abs(), (late - times).abs())
    return torch.where(any_seen[..., None], filled, 0.0), torch.where(any_seen, away, 0.0)


def smoothed(state: Tensor, weight: Tensor, seconds: Tensor, sigma_seconds: float) -> Tensor:
    """Read each frame off a parabola through its neighbours in time (Savitzky and Golay 1964).

    Args:
        state: ``(B, 2, T, D)``.
        weight: ``(B, 2, T)`` trust in each frame, 0 = filled.
        seconds: ``(B, T)``.
        sigma_seconds: Standard deviation of the neighbours' weights.

    Returns:
        ``(B, 2, T, D)``.
    """
    tau = (seconds[:, None, :] - seconds[:, :, None]) / sigma_seconds
    near = (-0.5 * tau**2).exp()[:, None] * weight.clamp_min(_FILLED_WEIGHT)[:, :, None]
    powers = torch.stack([torch.ones_like(tau), tau, tau**2], dim=-1)[:, None]
    weighted = near[..., None] * powers
    normal = weighted.mT @ powers
    ridge = torch.diag(normal.new_tensor([0.0, 1.0, 1.0])) * _RIDGE
    normal = normal + ridge * normal[..., :1, :1] + 1e-9 * torch.eye(3).to(normal)
    target = weighted.mT @ state[:, :, None]
    fitted: Tensor = torch.linalg.solve(normal, target)
    return fitted[..., 0, :]
