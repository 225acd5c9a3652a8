"""Human De-occlusion, for hands: a whole mask from a seen one, then the hidden part painted.

After Zhou et al., "Human De-occlusion: Invisible Perception and Recovery for Humans" (CVPR 2021),
and facts about its released fragments, which cannot be run and have no licence: nothing is taken
from them. Two nets that know nothing of one another, in one module and one file of weights:
:class:`HumanMaskNet`, a drop-in for the mask stage by :class:`HumanMasks`, and
:class:`HumanContentNet`, a drop-in for :class:`hdrvideo.frame.hdrm.HdrmNet`.

As released (where slides say otherwise, the code counts): two U-Nets of widths 64 to 512 in series,
no hourglasses; 64 *templates*, centres of clusters of whole masks, 32x32, weighed by a softmax over
the inner products of each with the predicted visible mask, no distances; weighed templates to 32
channels by a 3x3 convolution, laid behind the second net's input; both nets also say parts; the
answer is whole or visible. Content: partial convolutions in seven stages, five channels (colours,
seen and whole mask); attention guided by parts behind stages 3 and 5 both ways, its convolutions
3x3; colours outside the whole are 0.3 as strong; the answer is cut off at -1 and 1.

Adaptations to hands, with their reasons:

* Twenty (or nineteen) parts of dressed people become the background, the palm and five fingers: the
  parts of the hand model. Labels come from joints (:mod:`hdrvideo.train.hand_parts`). Both nets say
  the same seven; we know no reason for the released 20 and 19.
* Templates are clusters of whole hands in the crops that the net is taught with: upright, left
  hands mirrored. Published ones are of people in many poses, made the same way.
* The first visible mask is told (HASM's, or a true one); released: an instance segmenter's.
* Two holes: the hand's hidden part, and the other hand's place outside it, as HDRM has it. The
  published net paints people only. The whole mask says which hole is which, so both masks count
  inside holes, too; released: not known. Holes are filled from known colours alone.
* Weights of what is painted are HDRM's (:func:`~hdrvideo.frame.hdrm.paint_weight`).

Guesses, as the facts that we have say nothing; each may differ from the released nets:

* Masks: the first net sees the picture and the first visible mask, the second one the picture, the
  predicted visible mask and the templates. For the inner products the mask is brought to 32x32 by
  means over areas; weighed templates come to the picture's size by bilinear interpolation.
* Attention, from the abstract's "isolate body parts and capture context" alone: each pixel is given
  the mean of the *known* features of its own part, parts being predicted from the same features by
  a 3x3 convolution; it is added to them.
* What the released parts of content are predicted from, and whether they are taught at all four
  places; here they are.

Other departures: group norms (a batch gives what single crops give); ``SMALL`` is a
quarter as wide on 128 px; no discriminator, as in the release no gradient of it reaches the net.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import N_SIDES, check_array
from hdrvideo.frame.hasm import HandMasks
from hdrvideo.frame.hdrm import find_regions, grow, paint_weight
from hdrvideo.hand import FINGERS, LEFT
from hdrvideo.rivals import holes
from hdrvideo.rivals.holes import Guide, HolesNet, HolesSize
from hdrvideo.rivals.squares import boxes_of, cut, lay_back, masks_from
from hdrvideo.rivals.unet import Unet

PARTS: Final = ("background", "palm", *FINGERS)
TEMPLATE_PX: Final = 32
_TEMPLATE_CHANNELS: Final = 32
# Stages behind which features are guided by parts.
_GUIDED: Final = (3, 5)
_OUTSIDE_SHARE: Final = 0.3
_NOTHING: Final = 1e-6
# Side of a hand's square over that of its box, as in training.
_CONTEXT: Final = 2.0


@dataclass(frozen=True)
class HumanSize:
    """A size of both nets.

    Attributes:
        width: Channels of the first level of the mask nets.
        n_templates: Masks that a hand is compared with.
        content: Of the net that paints; crops are as wide for both.
    """

    width: int
    n_templates: int
    content: HolesSize


SMALL: Final = HumanSize(width=16, n_templates=64, content=holes.SMALL)
PAPER: Final = HumanSize(width=64, n_templates=64, content=holes.PAPER)
SIZES: Final = {"small": SMALL, "paper": PAPER}


def weigh_templates(visible: Tensor, templates: Tensor) -> Tensor:
    """Weigh templates by how much they have in common with what is seen.

    Args:
        visible: ``(B, 1, R, R)`` probability that a pixel shows the hand.
        templates: ``(n, t, t)`` masks 0..1.

    Returns:
        ``(B, n, t, t)``: templates times a softmax of their inner products with the mask.
    """
    small = functional.adaptive_avg_pool2d(visible, templates.shape[-1])
    alike = small.flatten(1) @ templates.flatten(1).mT
    return alike.softmax(dim=1)[:, :, None, None] * templates


class HumanMaskNet(nn.Module):
    """Whole masks from a picture and a visible mask.

    Args:
        size: Of its layers.
    """

    templates: Tensor

    def __init__(self, size: HumanSize = SMALL) -> None:
        super().__init__()
        self.first = Unet(4, 2 + len(PARTS), size.width)
        self.second = Unet(4 + _TEMPLATE_CHANNELS, 2 + len(PARTS), size.width)
        self.typical = nn.Conv2d(size.n_templates, _TEMPLATE_CHANNELS, 3, padding=1)
        # Filled from the training data (hdrvideo.train.templates) and kept with the weights.
        self.register_buffer("templates", torch.zeros(size.n_templates, TEMPLATE_PX, TEMPLATE_PX))

    def forward(self, rgb: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Complete a hand.

        Args:
            rgb: ``(B, 3, R, R)`` in 0..1, R a multiple of 16; a right hand in the middle.
            visible: ``(B, 1, R, R)`` 0..1, what is seen of it.

        Returns:
            Logits of "not the hand" and "the hand", ``(B, 2, R, R)``, of the visible and of the
            whole mask; then those of :data:`PARTS`, ``(B, 7, R, R)``, of what is visible and of the
            whole hand.
        """
        colour = 2 * rgb - 1
        modal, seen_parts = _halves(self.first(torch.cat([colour, visible], dim=1)))
        shown = modal.softmax(dim=1)[:, 1:]
        typical = self.typical(weigh_templates(shown, self.templates))
        typical = functional.interpolate(
            typical, size=rgb.shape[-2:], mode="bilinear", align_corners=False
        )
        whole, whole_parts = _halves(self.second(torch.cat([colour, shown, typical], dim=1)))
        return modal, whole, seen_parts, whole_parts


def _halves(said: Tensor) -> tuple[Tensor, Tensor]:
    return said[:, :2], said[:, 2:]


class PartGuide(Guide):
    """Parsing guided attention: each pixel is given what is known of its own part."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.parse = nn.Conv2d(channels, len(PARTS), 3, padding=1)
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(B, C, h, w)``; what is said are logits of :data:`PARTS`."""
        logits = self.parse(x)
        chance = logits.softmax(dim=1)
        held = (chance * known).flatten(2)
        value = self.value(x).flatten(2)
        parts = value @ held.mT / (held.sum(dim=2)[:, None] + _NOTHING)
        context = (parts @ chance.flatten(2)).view_as(x)
        return x + self.mix(context), logits


class HumanContentNet(nn.Module):
    """What is painted, from a crop and masks.

    Args:
        size: Of its layers.
    """

    def __init__(self, size: HolesSize = holes.SMALL) -> None:
        super().__init__()
        self.size = size
        channels = [0, *(n for n, _ in size.encoder)]
        self.holes = HolesNet(
            size,
            n_colours=3,
            n_told=2,
            encoder_guides={k: PartGuide(channels[k]) for k in _GUIDED},
            decoder_guides={k: PartGuide(channels[k - 1]) for k in _GUIDED},
        )

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Paint crops; in and out are those of :meth:`hdrvideo.frame.hdrm.HdrmNet.forward`.

        Args:
            seen: ``(B, 7, R, R)``: RGB in 0..1; own_visible, own_amodal, other_visible,
                other_amodal in 0..1.

        Returns:
            The whole crop as painted ``(B, 3, R, R)`` in 0..1, and how much of each pixel is to be
            taken from it, ``(B, 1, R, R)``.
        """
        painted, weight, _ = self.paint(seen)
        return painted, weight

    def paint(self, seen: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Paint crops; what comes third are logits ``(B, 7, r, r)`` of the four guides."""
        rgb, regions = seen[:, :3], find_regions(seen[:, 3:])
        whole = regions.own_visible + regions.uncover
        remove = grow(regions.remove, self.size.grow_px) * (1 - whole)
        colour = (2 * rgb - 1) * (whole + _OUTSIDE_SHARE * (1 - whole))
        told = torch.cat([colour, regions.own_visible, whole], dim=1)
        painted, parts = self.holes(told, 1 - regions.uncover - remove)
        return (painted.clamp(-1, 1) + 1) / 2, paint_weight(regions, self.size.grow_px), parts


class HumanDeocclusion(nn.Module):
    """Both nets, to be taught and kept together.

    Args:
        size: :data:`SMALL` or :data:`PAPER`.
    """

    def __init__(self, size: HumanSize = SMALL) -> None:
        super().__init__()
        self.size = size
        self.masks = HumanMaskNet(size)
        self.content = HumanContentNet(size.content)

    def forward(self, seen: Tensor) -> tuple[Tensor, ...]:
        """Say all of a batch ``(B, 7, R, R)``.

        Returns:
            Painted and weight of :class:`HumanContentNet`, the four of :class:`HumanMaskNet` (which
            sees own_visible of the masks), then what the four guides said.
        """
        painted, weight, parts = self.content.paint(seen)
        return painted, weight, *self.masks(seen[:, :3], seen[:, 3:4]), *parts


class HumanMasks:
    """Runs a :class:`HumanMaskNet`: a picture and two visible masks in, what HASM says out."""

    def __init__(
        self, net: Callable[[Tensor, Tensor], Any], *, resolution_px: int, device: torch.device
    ) -> None:
        """Take a net, the side of its crops, and where it runs."""
        self.resolution_px = resolution_px
        self._net = net
        self._device = device

    def __call__(self, rgb: Tensor, visible: Tensor) -> HandMasks:
        """Complete the hands of pictures; the answer comes on the CPU.

        A hand of which nothing is seen is not there: the net completes, it does not find.

        Args:
            rgb: ``(B, 3, H, W)`` float32 in 0..1.
            visible: ``(B, 2, H, W)`` float32 0..1, first masks of both hands, by side.

        Raises:
            ShapeError: The shapes do not fit.
        """
        b, _, height, width = rgb.shape
        check_array("rgb", rgb, (b, 3, height, width), "float32")
        check_array("visible", visible, (b, N_SIDES, height, width), "float32")
        with torch.inference_mode():
            rgb, visible = rgb.cpu(), visible.cpu()
            own = visible.flatten(0, 1)[:, None]
            u, v, w, h = boxes_of(own[:, 0] >= 0.5).unbind(dim=1)
            squares = torch.stack([u, v, _CONTEXT * torch.maximum(w, h)], dim=1)
            both = torch.cat([rgb.repeat_interleave(N_SIDES, dim=0), own], dim=1)
            crops = _mirrored(cut(both, squares, self.resolution_px)).to(self._device)
            said = [part.float().cpu() for part in self._net(crops[:, :3], crops[:, 3:])[:2]]
            chance = torch.cat([part.softmax(dim=1)[:, 1:] for part in said], dim=1)
            back = lay_back(_mirrored(chance), squares, height, width)
            is_there = (own >= 0.5).flatten(1).any(dim=1)[:, None, None, None]
            shown, whole = (back * is_there).view(b, N_SIDES, 2, height, width).unbind(dim=2)
            return masks_from(shown, torch.maximum(shown, whole))


def _mirrored(crops: Tensor) -> Tensor:
    """Mirror the left hands of crops ``(2 B, C, R, R)``, sides in turn."""
    by_side = crops.view(-1, N_SIDES, *crops.shape[1:])
    sides = [by_side[:, s].flip(-1) if s == LEFT else by_side[:, s] for s in range(N_SIDES)]
    return torch.stack(sides, dim=1).flatten(0, 1)
