"""Typical whole masks of hands: centres of clusters, by Lloyd's k-means."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from hdrvideo.errors import DataError

_ROUNDS: Final = 30


def cluster_masks(masks: Tensor, n: int, *, seed: int) -> Tensor:
    """Give the centres of ``n`` clusters of masks.

    The start is spread out (k-means++, Arthur and Vassilvitskii 2007).

    Args:
        masks: ``(N, t, t)`` float32 0..1.
        n: How many.
        seed: Draws the start.

    Returns:
        ``(n, t, t)``, each the mean of its masks. Of fewer than ``n`` different masks some centres
        are alike.

    Raises:
        DataError: There is no mask.
    """
    if not len(masks):
        raise DataError(f"there is no mask to make {n} templates of; name folders with hands")
    rng = np.random.default_rng(seed)
    points = masks.flatten(1)
    centres = points[int(rng.integers(len(points)))][None]
    nearest = ((points - centres) ** 2).sum(dim=1)
    while len(centres) < n:
        chance = nearest.double().numpy()
        total = chance.sum()
        k = int(rng.choice(len(points), p=chance / total if total > 0 else None))
        centres = torch.cat([centres, points[k : k + 1]])
        nearest = torch.minimum(nearest, ((points - points[k]) ** 2).sum(dim=1))
    for _ in range(_ROUNDS):
        own = torch.cdist(points, centres).argmin(dim=1)
        counts = torch.bincount(own, minlength=n)[:, None]
        means = torch.zeros_like(centres).index_add_(0, own, points) / counts.clamp(min=1)
        moved = torch.where(counts > 0, means, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres.view(n, *masks.shape[1:])
