"""Damped least squares for right hands: what they must explain, the priors, the steps.

Method: Levenberg-Marquardt with Marquardt's scaling of the damping (Marquardt, "An Algorithm for
Least-Squares Estimation of Nonlinear Parameters", 1963), iteratively reweighted for Huber's loss,
and with the angles' limits kept by projection: an angle at its limit that wants to go further is
held for that step (Bertsekas, "Projected Newton Methods", 1982).
"""

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from hdrvideo.chain import N_ANGLES, Chain, Hands
from hdrvideo.rotation import axis_angle_to_matrix

# Prior standard deviation as a part of half the range: flexion is nearly free, the rest is not.
PRIOR_SHARES: Final = (2.0, 0.5, 0.5)
INDEPENDENT: Final = 4  # see Solver.shared_shape
SHAPE_LIMIT: Final = 4.0  # standard deviations
# Noise is measured on each hand, but not below this part of the expected one.
LEAST_NOISE: Final = 0.1
# Huber's loss turns from square to straight here, in standard deviations of the noise.
HUBER: Final = 5.0
# Damping is a part of the curvature's diagonal; a hand is solved when a step changes its cost by
# less than a part of LEAST_GAIN, or even a step damped by MOST_DAMPING does not lower it.
FIRST_DAMPING, MOST_DAMPING, LEAST_GAIN = 1e-3, 1e4, 1e-4
NEAREST_MM: Final = 10.0  # nothing is projected from nearer to the camera


@dataclass(frozen=True)
class Wanted:
    """What the hands must explain, mirrored to right hands; missing joints have weight 0, value 0.

    Attributes:
        xyz_mm: ``(B, 21, 3)``.
        xyz_weight: ``(B, 21)`` confidence over noise squared, 1/mm2.
        relative: ``(B,)`` bool; the 3D joints may be shifted as a whole for nothing.
        uv_px: ``(B, 21, 2)``.
        uv_weight: ``(B, 21)`` likewise, 1/px2.
        k_px: ``(B, 3, 3)``.
    """

    xyz_mm: Tensor
    xyz_weight: Tensor
    relative: Tensor
    uv_px: Tensor
    uv_weight: Tensor
    k_px: Tensor

    def take(self, index: Tensor) -> "Wanted":
        """Take the hands of an index ``(N,)``."""
        return Wanted(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Equations:
    """Cost ``(B,)``, gradient ``(B, P)`` and its Gauss-Newton curvature ``(B, P, P)``."""

    cost: Tensor
    gradient: Tensor
    curvature: Tensor

    def where(self, mask: Tensor, other: "_Equations") -> "_Equations":
        return _Equations(
            torch.where(mask, self.cost, other.cost),
            torch.where(mask[:, None], self.gradient, other.gradient),
            torch.where(mask[:, None, None], self.curvature, other.curvature),
        )

    def take(self, index: Tensor) -> "_Equations":
        return _Equations(self.cost[index], self.gradient[index], self.curvature[index])


class Solver:
    """Finds the unknowns of hands from their joints."""

    def __init__(self, chain: Chain) -> None:
        """Take a chain; everything runs on its device."""
        self.chain = chain
        sd = (chain.high_rad - chain.low_rad) / 2 * torch.tensor(PRIOR_SHARES).to(chain.low_rad)
        free, score = torch.zeros(6).to(sd), torch.ones(chain.n_shape).to(sd)
        self.prior_mean = torch.cat([free, chain.relaxed_rad.flatten(), 0 * score])
        self.prior_precision = torch.cat([free, sd.flatten() ** -2, score])
        self.low = torch.cat([free - torch.inf, chain.low_rad.flatten(), -SHAPE_LIMIT * score])
        self.high = torch.cat([free + torch.inf, chain.high_rad.flatten(), SHAPE_LIMIT * score])

    def _values(self, hands: Hands) -> Tensor:
        """Give the unknowns ``(B, P)``; turn and place, which have no prior and no limit, as 0."""
        free = torch.zeros_like(hands.turn[:, :2]).flatten(1)
        return torch.cat([free, hands.angles_rad.flatten(1), hands.shape], dim=1)

    def _equations(self, hands: Hands, wanted: Wanted) -> _Equations:
        joints_mm, slopes = self.chain.joints_and_slopes(hands)
        prior = self._values(hands) - self.prior_mean
        cost = (self.prior_precision * prior**2).sum(dim=1)
        gradient = self.prior_precision * prior
        curvature = self.prior_precision.diag().expand(len(cost), -1, -1)
        off_mm = joints_mm - wanted.xyz_mm
        terms = [(off_mm, slopes, wanted.xyz_weight)]
        if wanted.relative.any():
            share = wanted.xyz_weight / wanted.xyz_weight.sum(dim=1, keepdim=True).clamp_min(1e-9)
            share = share * wanted.relative[:, None]
            off_mm = off_mm - torch.einsum("bj,bjc->bc", share, off_mm)[:, None]
            middle = torch.einsum("bj,bjcp->bcp", share, slopes)[:, None]
            terms = [(off_mm, slopes - middle, wanted.xyz_weight)]
        if wanted.uv_weight.any():
            uv_px, lens = project(joints_mm, wanted.k_px)
            terms.append((uv_px - wanted.uv_px, lens @ slopes, wanted.uv_weight))
        for off, slope, weight in terms:
            size = (weight * (off**2).sum(dim=-1)).sqrt()
            straight = size > HUBER
            cost = cost + torch.where(straight, HUBER * (2 * size - HUBER), size**2).sum(dim=1)
            weight = weight * torch.where(straight, HUBER / size, 1.0)
            weighted = (slope * weight[..., None, None]).flatten(1, 2).mT
            gradient = gradient + (weighted @ off.flatten(1)[..., None]).squeeze(-1)
            curvature = curvature + weighted @ slope.flatten(1, 2)
        return _Equations(cost, gradient, curvature)

    def shared_shape(self, hands: Hands, wanted: Wanted, given: Tensor) -> Tensor:
        """Give the shape ``(n_shape,)`` that the given hands, each at its own best, agree on.

        Each hand counts by what it tells of the shape when its other unknowns may follow (the Schur
        complement of its curvature). A clip's hands are wrong in the same way, so all together
        count no more than :data:`INDEPENDENT` of them.
        """
        n = self.chain.n_shape
        facts = self._equations(hands, wanted).curvature[given]
        prior = self.prior_precision[-n:].diag()
        rest = facts[:, :-n, :-n] + 1e-6 * torch.eye(facts.shape[-1] - n).to(facts)
        follow = torch.linalg.solve(rest, facts[:, :-n, -n:])
        told = facts[:, -n:, -n:] - facts[:, -n:, :-n] @ follow - prior
        told = told * min(1.0, INDEPENDENT / max(1, len(told)))
        pull = (told @ hands.shape[given, :, None]).sum(dim=0)
        shape: Tensor = torch.linalg.solve(told.sum(dim=0) + prior, pull)
        return shape.squeeze(-1).clamp(-SHAPE_LIMIT, SHAPE_LIMIT)

    def solve(
        self, start: Hands, wanted: Wanted, *, steps: int, fixed_shape: bool = False
    ) -> tuple[Hands, Tensor]:
        """Improve hands by at most so many steps; give them and their cost ``(B,)``.

        A hand rests when a step changes next to nothing, so a batch gives what single hands give.
        """
        hands = self._moved(start, torch.zeros_like(self._values(start)), fixed_shape=fixed_shape)
        now = self._equations(hands, wanted)
        damping = torch.full_like(now.cost, FIRST_DAMPING)
        rows = torch.arange(len(now.cost), device=now.cost.device)
        answer, cost = hands, now.cost
        for count in range(1, steps + 1):
            step = self._step(hands, now, damping, fixed_shape=fixed_shape)
            trial = self._moved(hands, step, fixed_shape=fixed_shape)
            then = self._equations(trial, wanted)
            better = then.cost < now.cost
            small = (now.cost - then.cost).abs() < LEAST_GAIN * now.cost
            hands, now = trial.where(better, hands), then.where(better, now)
            damping = torch.where(better, damping / 10, damping * 10).clamp_min(1e-7)
            answer, cost = answer.put(rows, hands), cost.index_copy(0, rows, now.cost)
            busy = (~small & (damping < MOST_DAMPING)).nonzero().squeeze(1)
            if not len(busy) or count == steps:
                break
            if len(busy) < len(rows):
                rows, damping, wanted = rows[busy], damping[busy], wanted.take(busy)
                hands, now = hands.take(busy), now.take(busy)
        return answer, cost

    def measured(self, hands: Hands, wanted: Wanted, *, fixed_shape: bool = False) -> Wanted:
        """Weigh the joints of solved hands by the noise that they show, if less than expected.

        A hand's noise is what is left of its joints over the number of values less the number of
        unknowns that they determine (MacKay, "Bayesian Interpolation", 1992).
        """
        now = self._equations(hands, wanted)
        prior = self._values(hands) - self.prior_mean
        left = now.cost - (self.prior_precision * prior**2).sum(dim=1)
        count = 3 * (wanted.xyz_weight > 0).sum(dim=1) + 2 * (wanted.uv_weight > 0).sum(dim=1)
        held = self._held(hands, now, fixed_shape=fixed_shape)
        curvature = _without(now.curvature, held) + torch.diag_embed(held + 1e-6)
        doubt = torch.linalg.inv(curvature).diagonal(dim1=1, dim2=2)
        known = ((1 - held) * (1 - self.prior_precision * doubt)).sum(dim=1)
        square = (left / (count - known).clamp_min(1.0)).clamp(LEAST_NOISE**2, 1.0)[:, None]
        return replace(
            wanted, xyz_weight=wanted.xyz_weight / square, uv_weight=wanted.uv_weight / square
        )

    def _held(self, hands: Hands, now: _Equations, *, fixed_shape: bool) -> Tensor:
        """Give 1 for unknowns that must not move ``(B, P)``: at a limit, drawn over it; else 0."""
        values = self._values(hands)
        held = (values <= self.low) & (now.gradient > 0)
        held |= (values >= self.high) & (now.gradient < 0)
        held[:, 6 + N_ANGLES :] |= fixed_shape
        return held.to(values.dtype)

    def _step(self, hands: Hands, now: _Equations, damping: Tensor, *, fixed_shape: bool) -> Tensor:
        """Give the damped step ``(B, P)``."""
        held = self._held(hands, now, fixed_shape=fixed_shape)
        scale = now.curvature.diagonal(dim1=1, dim2=2)
        ridge = torch.diag_embed(damping[:, None] * scale + 1e-6 + held)
        root, _ = torch.linalg.cholesky_ex(_without(now.curvature, held) + ridge)
        downhill = -now.gradient * (1 - held)
        step = torch.cholesky_solve(downhill[..., None], root).squeeze(-1)
        return torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)

    def _moved(self, hands: Hands, step: Tensor, *, fixed_shape: bool) -> Hands:
        """Give hands after a step, within the limits (a fixed shape may be outside)."""
        values = torch.minimum(torch.maximum(self._values(hands) + step, self.low), self.high)
        bend, grow = values[:, 6 : 6 + N_ANGLES], values[:, 6 + N_ANGLES :]
        return Hands(
            axis_angle_to_matrix(step[:, :3]) @ hands.turn,
            hands.wrist_mm + step[:, 3:6],
            bend.reshape(-1, N_ANGLES // 3, 3),
            hands.shape if fixed_shape else grow,
        )


def _without(curvature: Tensor, held: Tensor) -> Tensor:
    """Give the curvature ``(B, P, P)`` with the held unknowns' rows and columns at zero."""
    free = 1 - held
    return curvature * free[:, :, None] * free[:, None]


def project(xyz_mm: Tensor, k_px: Tensor) -> tuple[Tensor, Tensor]:
    """Give pixels ``(B, J, 2)`` of points and their Jacobian ``(B, J, 2, 3)``.

    Points nearer than :data:`NEAREST_MM`, or behind the camera, are taken to lie there.
    """
    z = xyz_mm[..., 2:].clamp_min(NEAREST_MM)
    plane = xyz_mm[..., :2] / z
    lens = k_px[:, None, :2, :2] / z[..., None]
    uv_px = (k_px[:, None, :2, :2] @ plane[..., None]).squeeze(-1) + k_px[:, None, :2, 2]
    depth = -(lens @ plane[..., None])
    depth = torch.where((xyz_mm[..., 2:] > NEAREST_MM)[..., None], depth, 0.0)
    return uv_px, torch.cat([lens.expand(*depth.shape[:2], 2, 2), depth], dim=-1)
