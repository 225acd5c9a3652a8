"""PCNet-M: whole masks, and who hides whom, learnt from visible masks alone.

After Zhan et al., "Self-Supervised Scene De-Occlusion" (CVPR 2020), and its released code
(XiaohangZhan/deocclusion, Apache-2.0). A net is told what is seen of a hand and of what may lie
over it (the *eraser*), and says the whole hand. It never sees a whole mask: it learns to undo what
was cut from what is seen (:mod:`hdrvideo.train.pcnet_pairs`). Of two hands that touch, each is
completed with the other as eraser; the one that grows more into the other is the hidden one.

As released: a U-Net of widths 32 to 256 on 256 px for ``PAPER``; two channels, the visible mask
with the category's number as its value, and the eraser; no picture; a softmax of two classes; a
square of side ``max(sqrt(3 w h), 1.1 w, 1.1 h)`` about the box, nearest pixels; only pairs whose
4-neighbours touch are compared; growth counted in pixels of the picture; a pixel is taken from 0.1
on where the order is asked for and from 0.2 on in the answer; the answer is not cut to the eraser.

Departures and adaptations, with their reasons:

* One category, "hand", number 1: the released categories are kinds of things, and right and left
  hands are mirror images that flips in training turn into one another.
* Two hands have one pair, so the eraser of a hidden hand, its ancestors, is the other hand, and the
  completion that told the order is the answer. A hand that nothing hides stays as it is seen: in
  training there always is an eraser, so the net knows nothing of a hand without one.
* Whole is never less than visible (:class:`~hdrvideo.frame.hasm.HandMasks`), so what is seen is
  added to the answer.
* Equal growth is no order (the entry is 0); the facts at hand do not say what is released.
* Which hands are there, and which side they are, is told, not found: that is the mask stage's
  (HASM's or an instance segmenter's) to say.
* ``SMALL`` is half as wide on 96 px, so that two cores can train it.

Use, with a trained net and visible masks ``(B, 2, H, W)``, HASM's ``masks.visible`` or true ones::

    complete = PcnetMasks(net.eval(), resolution_px=96, device=device, gap_kernel=3)
    pair = complete(visible)
    pair.masks.amodal, pair.order

Known limit: interlocked hands hide one another, and a pairwise order has one winner. The hand that
is taken for the front one keeps its holes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import N_SIDES, check_array
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hasm import HandMasks
from hdrvideo.rivals.squares import boxes_of, cut, lay_back, masks_from, odds_from
from hdrvideo.rivals.unet import Unet

# Probability from which a pixel counts as grown, and from which it belongs to the answer.
ORDER_CUT: Final = 0.1
WHOLE_CUT: Final = 0.2
_ENLARGE: Final = 3.0
_LEAST_MARGIN: Final = 1.1


@dataclass(frozen=True)
class PcnetMaskSize:
    """A size of the net.

    Attributes:
        resolution_px: Side of its squares.
        width: Channels of its first level.
    """

    resolution_px: int
    width: int


SMALL: Final = PcnetMaskSize(resolution_px=96, width=16)
PAPER: Final = PcnetMaskSize(resolution_px=256, width=32)
SIZES: Final = {"small": SMALL, "paper": PAPER}


class PcnetMaskNet(nn.Module):
    """The net."""

    def __init__(self, size: PcnetMaskSize = SMALL) -> None:
        super().__init__()
        self.size = size
        self.unet = Unet(2, 2, size.width)

    def forward(self, told: Tensor) -> Tensor:
        """Complete masks.

        Args:
            told: ``(B, 2, R, R)``: what is seen (0, or the category's number, 1), and the eraser (0
                or 1).

        Returns:
            ``(B, 2, R, R)`` logits of "not the hand" and "the hand".
        """
        logits: Tensor = self.unet(told)
        return logits


def hand_squares(seen: Tensor) -> Tensor:
    """Give the squares ``(N, 3)`` in which masks ``(N, H, W)`` bool are completed; see the head."""
    u, v, w, h = boxes_of(seen).unbind(dim=1)
    side = torch.stack([(_ENLARGE * w * h).sqrt(), _LEAST_MARGIN * w, _LEAST_MARGIN * h]).amax(0)
    return torch.stack([u, v, side], dim=1)


def touching(seen: Tensor, gap_kernel: int = 1) -> Tensor:
    """Tell ``(B,)`` bool of which pictures' masks ``(B, 2, H, W)`` bool the borders touch.

    Args:
        seen: The visible masks of both hands.
        gap_kernel: One of them is first grown by a square kernel of this side: 1 for labels, 3 or 5
            for predicted masks, between which gaps remain.
    """
    one = functional.max_pool2d(seen[:, :1].float(), gap_kernel, 1, gap_kernel // 2)
    rows = functional.max_pool2d(one, (3, 1), 1, (1, 0))
    columns = functional.max_pool2d(one, (1, 3), 1, (0, 1))
    return ((torch.maximum(rows, columns) > 0) & seen[:, 1:]).flatten(1).any(dim=1)


def recover_order(grown_px: Tensor, touches: Tensor) -> Tensor:
    """Say who hides whom.

    Args:
        grown_px: ``(B, 2)`` by how many pixels each hand grew into the other.
        touches: ``(B,)`` bool; others are not compared.

    Returns:
        ``(B, 2, 2)`` int64: -1 at ``(i, j)`` where hand i is hidden by hand j, 1 where it hides it,
        0 where nothing is known: they are apart, neither grew, or both alike.
    """
    behind = torch.sign(grown_px[:, 1] - grown_px[:, 0]).long() * touches
    order = behind.new_zeros(len(behind), N_SIDES, N_SIDES)
    order[:, 0, 1], order[:, 1, 0] = behind, -behind
    return order


@dataclass(frozen=True)
class CompletedPair:
    """What is made of a batch of pictures' visible masks, by side (0 right, 1 left).

    Attributes:
        masks: Visible as told, and whole.
        order: ``(B, 2, 2)`` int64; see :func:`recover_order`.
    """

    masks: HandMasks
    order: Tensor

    def __post_init__(self) -> None:
        check_array("order", self.order, (len(self.masks.presence_logit), 2, 2), "int64")

    @property
    def is_hidden(self) -> Tensor:
        """Tell ``(B, 2)`` bool which hands lie behind the other."""
        return (self.order == -1).any(dim=2)


class PcnetMasks:
    """Runs a :class:`PcnetMaskNet`: two visible masks in, whole masks and their order out."""

    def __init__(
        self,
        net: Callable[[Tensor], Any],
        *,
        resolution_px: int,
        device: torch.device,
        gap_kernel: int = 1,
    ) -> None:
        """Take a net, the side of its squares, where it runs, and see :func:`touching`.

        Raises:
            SettingsError: The kernel is even or less than 1.
        """
        if gap_kernel < 1 or gap_kernel % 2 == 0:
            raise SettingsError(f"gap_kernel is {gap_kernel}, expected an odd number from 1")
        self.resolution_px = resolution_px
        self._net = net
        self._device = device
        self._gap_kernel = gap_kernel

    def __call__(self, visible: Tensor) -> CompletedPair:
        """Complete the hands of pictures; the answer comes on the CPU.

        Args:
            visible: ``(B, 2, H, W)`` float32 0..1; from one half a pixel counts as seen.

        Raises:
            ShapeError: The shape does not fit.
        """
        b, _, height, width = visible.shape
        check_array("visible", visible, (b, N_SIDES, height, width), "float32")
        with torch.inference_mode():
            visible = visible.cpu()
            seen = visible >= 0.5
            own = seen.flatten(0, 1)
            squares = hand_squares(own)
            pair = torch.stack([own, seen.flip(1).flatten(0, 1)], dim=1).float()
            told = cut(pair, squares, self.resolution_px, mode="nearest")
            said = self._complete(told)
            scale = (squares[:, 2] / self.resolution_px) ** 2
            grown = ((said >= ORDER_CUT) & (told[:, 1:] > 0)).sum(dim=(1, 2, 3)) * scale
            is_there = seen.flatten(2).any(dim=2).all(dim=1)
            touches = touching(seen, self._gap_kernel) & is_there
            order = recover_order(grown.view(b, N_SIDES), touches)
            hidden = (order == -1).any(dim=2)[:, :, None, None]
            back = lay_back(odds_from(said, WHOLE_CUT), squares, height, width)
            whole = torch.maximum(visible, back.view_as(visible) * hidden)
            return CompletedPair(masks_from(visible, whole), order)

    def _complete(self, told: Tensor) -> Tensor:
        """Give ``(N, 1, R, R)`` probabilities that pixels of squares belong to the hand."""
        logits = self._net(told.to(self._device)).float().cpu()
        chance: Tensor = logits.softmax(dim=1)[:, 1:]
        return chance
