"""Constructed pairs of hands, stub nets and tiny sizes, for the rivals' tests."""

import torch
from torch import Tensor

from hdrvideo.rivals.holes import HolesSize
from hdrvideo.rivals.human_deocclusion import HumanSize
from hdrvideo.rivals.pcnet_mask import PcnetMaskSize

TINY_MASK = PcnetMaskSize(resolution_px=32, width=8)
TINY_HOLES = HolesSize(64, 1, ((8, 5), (8, 3), (16, 3), (16, 3), (16, 3)))
TINY_HUMAN = HumanSize(width=8, n_templates=4, content=TINY_HOLES)
CPU = torch.device("cpu")
R = 64


def seeded(make, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def box(u: int, v: int, width: int, height: int, size: int = 64) -> Tensor:
    mask = torch.zeros(size, size)
    mask[v : v + height, u : u + width] = 1
    return mask


def pair_of(right: Tensor, left: Tensor, front: int | None = None) -> Tensor:
    """Give visible masks ``(1, 2, H, W)``; the hand of ``front`` lies over the other."""
    visible = torch.stack([right, left])
    if front is not None:
        visible[1 - front] *= 1 - visible[front]
    return visible[None]


def says(chance: Tensor) -> Tensor:
    """Give logits ``(B, 2, R, R)`` of probabilities ``(B, R, R)`` of "the hand"."""
    chance = chance.clamp(1e-6, 1 - 1e-6)
    return torch.stack([(1 - chance).log(), chance.log()], dim=1)


def fills_its_box(told: Tensor) -> Tensor:
    """Take each mask's bounding box for the whole hand."""
    rows, columns = (told[:, 0].amax(dim=k, keepdim=True) for k in (2, 1))
    inside = [along.cummax(k)[0] * along.flip(k).cummax(k)[0].flip(k)
              for k, along in ((1, rows), (2, columns))]  # fmt: skip
    return says(inside[0] * inside[1])


def seen_crops(seed: int = 0, b: int = 2, size: int = R) -> Tensor:
    """Give ``(B, 7, R, R)`` crops: a hand in the middle, another over its right part."""
    draw = torch.Generator().manual_seed(seed)
    seen = torch.rand(b, 7, size, size, generator=draw)
    at = size // 8
    own = box(2 * at, 2 * at, 4 * at, 4 * at, size)
    other = box(5 * at, 3 * at, 3 * at, 2 * at, size)
    seen[:, 3:] = torch.stack([own * (1 - other), own, other, other])
    return seen
