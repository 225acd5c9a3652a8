"""Where a fit starts: right hands guessed from joints in 3D or in a picture.

In 3D the palm's rigid alignment gives the turn and the place, the bones' directions give the
angles, and the net of :mod:`hdrvideo.ik` gives the angles of bones that are not seen whole. In a
picture the net gives turn and angles; because it may be wrong and because a hand seen from afar
looks like its reflection in depth, other views go along.
"""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from hdrvideo.chain import Chain, Hands
from hdrvideo.ik import IkNet, align, decode, encode, look_at
from hdrvideo.solve import Wanted

# Views of a hand that are compared with the picture, and how many of the best go along.
N_VIEWS, N_BEST = 32, 3
N_STARTS: Final = 2 + 2 * N_BEST
NEAREST_START_MM: Final = 100.0


class Guesser:
    """Guesses hands; on the device of its chain and net."""

    def __init__(self, chain: Chain, net: IkNet) -> None:
        self.chain = chain
        self.net = net

    def solid(self, wanted: Wanted, shape: Tensor | None) -> Hands:
        """Give a guess ``(B)`` from 3D joints, with the shape if it is known."""
        hands = self._relaxed(len(wanted.xyz_mm), shape)
        seen = wanted.xyz_weight > 0
        turn, place_mm = align(self.chain.joints(hands), wanted.xyz_mm, wanted.xyz_weight)
        flat = torch.zeros_like(seen[:, 0])
        _, angles_rad = self._ask(wanted.xyz_mm @ turn, seen, flat)
        hands = replace(hands, turn=turn, wrist_mm=place_mm, angles_rad=angles_rad)
        hands = self.chain.bent_to(hands, wanted.xyz_mm, seen)
        if wanted.relative.any():
            shown_mm = self._place(hands, wanted)
            place_mm = torch.where(wanted.relative[:, None], shown_mm, place_mm)
            hands = replace(hands, wrist_mm=place_mm)
        return hands

    def flat(self, wanted: Wanted, shape: Tensor | None) -> Hands:
        """Give :data:`N_STARTS` guesses for each hand from 2D joints, ``(B * N_STARTS)``."""
        batch = len(wanted.uv_px)
        seen = wanted.uv_weight > 0
        camera, drawn = look_at(_rays(wanted), wanted.uv_weight)
        points = torch.cat([drawn, torch.zeros_like(drawn[..., :1])], dim=-1)
        turn, angles_rad = self._ask(points, seen, torch.ones_like(seen[:, 0]))
        relaxed = self._relaxed(batch, shape)
        guessed = replace(relaxed, angles_rad=angles_rad)
        away = turn.new_tensor([1.0, 1.0, -1.0])
        turns = [turn[:, None], (turn * away[:, None] * away)[:, None]]
        bends = [angles_rad[:, None].expand(-1, 2 + N_BEST, -1, -1)]
        for hands in (guessed, relaxed):
            turns.append(_best_views(self.chain.joints(hands), drawn, wanted.uv_weight))
        bends.append(relaxed.angles_rad[:, None].expand(-1, N_BEST, -1, -1))
        rows = torch.arange(batch, device=turn.device).repeat_interleave(N_STARTS)
        tries = Hands(
            (camera[:, None] @ torch.cat(turns, dim=1)).flatten(0, 1),
            relaxed.wrist_mm[rows],
            torch.cat(bends, dim=1).flatten(0, 1),
            relaxed.shape[rows],
        )
        return replace(tries, wrist_mm=self._place(tries, wanted.take(rows)))

    def _relaxed(self, batch: int, shape: Tensor | None) -> Hands:
        hands = self.chain.relaxed(batch)
        return hands if shape is None else replace(hands, shape=shape)

    def _ask(self, points: Tensor, seen: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
        return decode(self.chain, *self.net(encode(points, seen, flat)))

    def _place(self, hands: Hands, wanted: Wanted) -> Tensor:
        """Give the wrist's place ``(B, 3)`` that brings the joints nearest to their rays.

        Linear least squares on ``(p + t) x ray = 0``, as in perspective-n-point solvers.
        """
        arms_mm = self.chain.joints(hands) - hands.wrist_mm[:, None]
        rays = _rays(wanted)
        weight = (wanted.uv_weight > 0).to(rays)[..., None]
        one = torch.ones_like(rays[..., :1])
        rows = [
            torch.cat([one, 0 * one, -rays[..., :1]], dim=-1),
            torch.cat([0 * one, one, -rays[..., 1:]], dim=-1),
        ]
        left = (torch.stack(rows, dim=2) * weight[..., None]).flatten(1, 2)
        right = ((rays * arms_mm[..., 2:] - arms_mm[..., :2]) * weight).flatten(1)
        square = left.mT @ left + 1e-6 * torch.eye(3, dtype=left.dtype, device=left.device)
        place_mm = torch.linalg.solve(square, left.mT @ right[..., None]).squeeze(-1)
        return torch.cat([place_mm[:, :2], place_mm[:, 2:].clamp_min(NEAREST_START_MM)], dim=1)


def _rays(wanted: Wanted) -> Tensor:
    """Give the pixels on the plane at depth 1, ``(B, 21, 2)``."""
    uv_px = wanted.uv_px - wanted.k_px[:, None, :2, 2]
    rays: Tensor = torch.linalg.solve(wanted.k_px[:, None, :2, :2], uv_px[..., None])
    return rays.squeeze(-1)


def _best_views(arms_mm: Tensor, drawn: Tensor, weight: Tensor) -> Tensor:
    """Give the turns ``(B, N_BEST, 3, 3)`` that make hands look most like the picture.

    Of each view the best turn and scale in the picture's plane are found (as complex numbers).
    """
    share = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-9)
    picture = torch.view_as_complex(drawn.contiguous())[:, None]
    views = _views().to(arms_mm)
    seen = torch.einsum("nxy,bjy->bnjx", views[:, :2], arms_mm)
    seen = torch.view_as_complex(seen.contiguous())
    seen = seen - (share[:, None] * seen).sum(dim=2, keepdim=True)
    both = (share[:, None] * seen.conj() * picture).sum(dim=2)
    size = (share[:, None] * seen.abs() ** 2).sum(dim=2)
    best = (both.abs() ** 2 / size.clamp_min(1e-9)).topk(N_BEST, dim=1).indices
    spin = both.gather(1, best)
    spin = spin / spin.abs().clamp_min(1e-9)
    zero, one = torch.zeros_like(spin.real), torch.ones_like(spin.real)
    rows = [spin.real, -spin.imag, zero, spin.imag, spin.real, zero, zero, zero, one]
    return torch.stack(rows, dim=-1).reshape(*spin.shape, 3, 3) @ views[best]


def _views() -> Tensor:
    """Give turns ``(N_VIEWS, 3, 3)`` that see a thing from evenly spread directions.

    The directions lie on a Fibonacci spiral over the sphere.
    """
    index = torch.arange(N_VIEWS, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / N_VIEWS
    around = index * torch.pi * (5**0.5 - 1)
    flat = (1 - z**2).sqrt()
    towards = torch.stack([flat * around.cos(), flat * around.sin(), z], dim=-1)
    up = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64).expand_as(towards)
    side = torch.nn.functional.normalize(torch.linalg.cross(towards, up), dim=-1)
    return torch.stack([side, torch.linalg.cross(towards, side), towards], dim=-2)
