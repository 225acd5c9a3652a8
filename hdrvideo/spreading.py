"""Filling what is not known of a picture with what lies near it."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

# Less than this of a cell is nothing.
_NOTHING: Final = 1e-6
# One over the part of a cell that makes its mean worth more than its surroundings.
_SURE: Final = 4.0


def spread(colour: Tensor, known: Tensor, halvings: int) -> Tensor:
    """Fill what is not known with what lies near it, coarser the farther away ("push-pull").

    Gortler et al., "The Lumigraph" (1996), section 3.3: means of known pixels on a pyramid, and
    each level filled from the one above. Cells of which a quarter is known need no filling.

    Args:
        colour: ``(B, C, R, R)``, R a multiple of ``2 ** halvings``.
        known: ``(B, 1, R, R)`` 0 to 1, how much each pixel counts; 0 = it is not known.
        halvings: Levels of the pyramid above the picture.

    Returns:
        ``(B, C, R, R)``, unchanged where known (from a quarter on); 0 where nothing is.
    """
    levels = [(colour * known, known)]
    for _ in range(halvings):
        total, share = levels[-1]
        levels.append((functional.avg_pool2d(total, 2), functional.avg_pool2d(share, 2)))
    # Above the last level stands one mean over all.
    total, share = (level.mean(dim=(2, 3), keepdim=True) for level in levels[-1])
    filled = (total / share.clamp(min=_NOTHING)).expand_as(levels[-1][0])
    for number, (total, share) in enumerate(reversed(levels)):
        if number:
            filled = functional.interpolate(
                filled, scale_factor=2.0, mode="bilinear", align_corners=False
            )
        sure = (_SURE * share).clamp(max=1)
        filled = torch.lerp(filled, total / share.clamp(min=_NOTHING), sure)
    return filled
