"""Crops of hands to paint, and untrained painters with a memory, for tests."""

import numpy as np
import torch
from torch.nn import functional

from hdrvideo.build import memory_net
from hdrvideo.datatypes import HandCrops
from hdrvideo.frame.hdrm import HdrmNet, find_regions, layers_seen
from hdrvideo.geometry import CropSquare
from hdrvideo.motion.carry import View
from hdrvideo.motion.memory import MemoryNet

R = 128
CPU = torch.device("cpu")
STILL = CropSquare(63.5, 63.5, R).frame_from_crop(R)


def seeded_hdrm() -> HdrmNet:
    torch.manual_seed(0)
    return HdrmNet().eval().requires_grad_(False)


def changed_memory(hdrm: HdrmNet) -> MemoryNet:
    """Give a memory whose gates do something."""
    torch.manual_seed(1)
    net = memory_net(hdrm, gated=True)
    for part in (*net.cells.parameters(), *net.pixels.parameters()):
        torch.nn.init.normal_(part, std=0.1)
    return net.eval().requires_grad_(False)


def smooth(seed: int, *shape: int) -> torch.Tensor:
    """Give pictures ``(*shape, R, R)`` with structure of some pixels."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(int(np.prod(shape)), 1, R // 4, R // 4, generator=draw)
    fine = functional.interpolate(coarse, size=(R, R), mode="bicubic").clamp(0, 1)
    return fine.view(*shape, R, R)


def crossing(at: int = 55) -> torch.Tensor:
    """Give masks ``(1, 4, R, R)``: the other hand, a bar from ``at`` on, lies over this one."""
    masks = torch.zeros(1, 4, R, R)
    masks[:, 1, 40:90, 20:110] = 1
    masks[:, 2:, 20:110, at : at + 20] = 1
    masks[:, 0] = masks[:, 1] * (1 - masks[:, 2])
    return masks


def crop_of(rgb: torch.Tensor, masks: torch.Tensor | None = None) -> HandCrops:
    return HandCrops(rgb, STILL[None].copy(), np.array([False]), masks)


def view_of(seen: torch.Tensor) -> View:
    return View(seen[:, :3], layers_seen(find_regions(seen[:, 3:])), STILL[None].copy())


def masked(seed: int, masks: torch.Tensor) -> torch.Tensor:
    """Give crops with masks ``(1, 7, R, R)``."""
    return torch.cat([smooth(seed, 1, 3), masks], dim=1)
