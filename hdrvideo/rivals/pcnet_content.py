"""PCNet-C: paints what is hidden of a hand, and what a hand hides, from what is seen of it.

After Zhan et al., "Self-Supervised Scene De-Occlusion" (CVPR 2020), and its released code
(XiaohangZhan/deocclusion, Apache-2.0): a U-net of partial convolutions is shown a picture with a
hole, and the visible mask of the thing that goes on in the hole. A drop-in for
:class:`hdrvideo.frame.hdrm.HdrmNet`: the same seven channels in, the same answer out.

As released: seven stages of 64 (7x7), 128, 256 (5x5) and 512 channels (3x3) on 256 px for
``PAPER``; four channels, the erased picture in ImageNet's norm and the visible mask; the hole is in
all four; nothing is painted from: no first guess, no transformer.

Departures and adaptations, with their reasons (those of the layers: :mod:`hdrvideo.rivals.holes`):

* A crop of a hand has two holes, and PCNet-C completes one thing at a time. The hand is a thing
  under the other hand; so is the background, as any other instance of a scene. The net looks twice,
  at the hand with its hidden part erased and at the background with the other hand erased, and each
  look gives its own part of the crop. (HDRM is what becomes of these two looks when they are laid
  behind one another.)
* Where the holes are is HDRM's rule (:func:`~hdrvideo.frame.hdrm.find_regions`, the other hand
  grown a little), and so is how much is taken of what was painted
  (:func:`~hdrvideo.frame.hdrm.paint_weight`): the scores are then of painting alone.
* It starts from random weights; released: from a net that was trained to fill holes in photographs,
  with a fourth channel of zeros. We may ship no such net.
* ``SMALL`` has HDRM's small widths, so that two cores can train it.
"""

from typing import Final

import torch
from torch import Tensor, nn

from hdrvideo.frame.hdrm import find_regions, grow, paint_weight
from hdrvideo.rivals.holes import PAPER, SIZES, SMALL, HolesNet, HolesSize

__all__ = ["PAPER", "SIZES", "SMALL", "PcnetContentNet"]

# ImageNet's; what is erased becomes 0, the mean colour.
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


class PcnetContentNet(nn.Module):
    """The net.

    Args:
        size: Of its layers; :data:`SMALL` or :data:`PAPER`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: HolesSize = SMALL) -> None:
        super().__init__()
        self.size = size
        self.holes = HolesNet(size, n_colours=4)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Paint crops; in and out are those of :meth:`hdrvideo.frame.hdrm.HdrmNet.forward`.

        Args:
            seen: ``(B, 7, R, R)``: RGB in 0..1; own_visible, own_amodal, other_visible,
                other_amodal in 0..1.

        Returns:
            The whole crop as painted ``(B, 3, R, R)``, colours not cut off at 0 and 1, and how
            much of each pixel is to be taken from it, ``(B, 1, R, R)``.
        """
        rgb, regions = seen[:, :3], find_regions(seen[:, 3:])
        whole = regions.own_visible + regions.uncover
        remove = grow(regions.remove, self.size.grow_px) * (1 - whole)
        hand = self.complete(rgb, regions.own_visible, regions.uncover)
        ground = self.complete(rgb, regions.background, remove)
        painted = torch.where(whole > 0, hand, ground)
        return painted, paint_weight(regions, self.size.grow_px)

    def complete(self, rgb: Tensor, visible: Tensor, hole: Tensor) -> Tensor:
        """Complete one thing of each picture, as published.

        Args:
            rgb: ``(B, 3, R, R)`` in 0..1.
            visible: ``(B, 1, R, R)`` 0 or 1, what is seen of the thing.
            hole: ``(B, 1, R, R)`` 0 or 1, what is hidden of it.

        Returns:
            ``(B, 3, R, R)`` the picture, its hole filled; colours not cut off at 0 and 1.
        """
        colour = (rgb - self.mean) / self.std
        painted: Tensor = self.holes(torch.cat([colour, visible], dim=1), 1 - hole)[0]
        return painted * self.std + self.mean
