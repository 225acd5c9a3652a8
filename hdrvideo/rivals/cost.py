"""What a net costs: parameters, and multiply-adds for a picture."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Cost of a net.

    Attributes:
        parameters: All that it learns.
        multiply_adds: Of convolutions and products of matrices, for one picture; norms, activations
            and readings count nothing.
    """

    parameters: int
    multiply_adds: int


def cost_of(net: nn.Module, resolution_px: int, *, n_channels: int = 3) -> Cost:
    """Count what a net costs.

    Nothing is computed: a copy runs without numbers, so a large net is counted in no time.

    Args:
        net: Takes ``(B, C, R, R)``.
        resolution_px: R.
        n_channels: C.
    """
    blank = copy.deepcopy(net).to("meta").eval()
    picture = torch.empty(1, n_channels, resolution_px, resolution_px, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        blank(picture)
    parameters = sum(p.numel() for p in net.parameters())
    # The counter counts a multiplication and an addition as two.
    return Cost(parameters, counter.get_total_flops() // 2)
