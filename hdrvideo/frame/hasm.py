"""HASM, hand amodal segmentation: a picture in, both hands' visible and whole masks out.

After Meng et al., "3D Interacting Hand Pose Estimation by Hand De-occlusion and Removal" (ECCV
2022), section 3.2: one encoder, shared projections of its stages, a tail for each mask. Departures,
with their reasons:

* The small net's encoder is the palm detector's trunk, which was trained on real hands, under a
  U-shaped decoder: a transformer from scratch learnt nothing in the time that two cores have
  (:mod:`hdrvideo.frame.hasm_mit` holds the paper's sizes).
* A hand's visible mask is its whole mask times the share that is not hidden, so visible <= whole
  by construction; the paper's four masks are free of one another.
* Presence of each hand is an answer of its own: the published net invents a second hand.
* It can be told where each hand was a moment ago (*hints*: the masks of the frame before), as video
  object segmentation does: which hand is which is then a matter of following, not of guessing anew
  in every frame. Without hints it says the sides by itself.
* Every mask is trained by binary cross entropy, as in the paper (the released code has a softmax of
  two classes).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.blocks import PalmTrunk
from hdrvideo.datatypes import check_array

_GROUPS = 8


@dataclass(frozen=True)
class HandMasks:
    """What HASM says of a batch of pictures, by side (0 right, 1 left).

    Attributes:
        whole_logit: ``(B, 2, h, w)`` float32 log odds that a pixel belongs to the whole hand.
        share_logit: ``(B, 2, h, w)`` float32 log odds that such a pixel is not hidden.
        presence_logit: ``(B, 2)`` float32 log odds that the hand is in the picture.
    """

    whole_logit: Tensor
    share_logit: Tensor
    presence_logit: Tensor

    def __post_init__(self) -> None:
        b, _, h, w = self.whole_logit.shape
        check_array("whole_logit", self.whole_logit, (b, 2, h, w), "float32")
        check_array("share_logit", self.share_logit, (b, 2, h, w), "float32")
        check_array("presence_logit", self.presence_logit, (b, 2), "float32")

    @property
    def amodal(self) -> Tensor:
        """Probability that a pixel belongs to the whole hand, ``(B, 2, h, w)``."""
        return self.whole_logit.sigmoid()

    @property
    def visible(self) -> Tensor:
        """Probability that a pixel shows the hand; at most :attr:`amodal`."""
        return self.amodal * self.share_logit.sigmoid()

    @property
    def presence(self) -> Tensor:
        """Probability that the hand is in the picture, ``(B, 2)``."""
        return self.presence_logit.sigmoid()


class _GroupNorm(nn.GroupNorm):
    """Group norm without torch's check of the batch's size, which no tracer can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class _Mix(nn.Module):
    """Depthwise 5x5, norm, PReLU, 1x1, residual.

    The trunk has no norms and its features are large; with norms the decoder learns several times
    as fast.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = _GroupNorm(_GROUPS, channels)
        self.activation = nn.PReLU(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.pointwise(self.activation(self.norm(self.depthwise(x))))
        return out


class _Join(nn.Module):
    """Twice as large (bilinear), plus the skip of the same size, both by 1x1 and norm."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels_in, channels_out, 1)
        self.skip = nn.Conv2d(channels_skip, channels_out, 1)
        self.norm = _GroupNorm(_GROUPS, channels_out)
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor, skip: Tensor, told: Tensor | None = None) -> Tensor:
        # A 1x1 convolution and a bilinear resize commute: convolving first is four times cheaper.
        deep = functional.interpolate(
            self.deep(x), scale_factor=2, mode="bilinear", align_corners=False
        )
        joined = self.norm(deep + self.skip(skip))
        out: Tensor = self.activation(joined if told is None else joined + told)
        return out


class HasmNet(PalmTrunk):
    """The small HASM: palm trunk, shared decoder to stride 2, a tail for each mask.

    The position of a pixel in the picture tells the sides apart to some degree (arms come from
    their own side), which a convolution cannot see: two channels of coordinates go into the
    decoder, and what the deepest features say of the whole picture.
    """

    RESOLUTION_PX = 192
    CHANNELS = 6
    STRIDE = 2

    def __init__(self) -> None:
        super().__init__()
        self.hint8 = nn.Conv2d(3, 128, 1)
        self.hint4 = nn.Conv2d(3, 64, 1)
        self.trust = new_trust()
        self.norm8 = _GroupNorm(_GROUPS, 128)
        self.context = nn.Sequential(
            nn.LayerNorm(512), nn.Linear(512, 256), nn.PReLU(256), nn.Linear(256, 128)
        )
        self.place = nn.Conv2d(2, 128, 1)
        self.mid8 = nn.Sequential(*(_Mix(128) for _ in range(4)))
        self.up4 = _Join(128, 64, 64)
        self.mid4 = nn.Sequential(*(_Mix(64) for _ in range(2)))
        self.up2 = _Join(64, 32, 32)
        self.mid2 = _Mix(32)
        self.tails = nn.Conv2d(32, 4, 3, padding=1)
        self.presence = nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 2))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Segment pictures.

        Args:
            pictures: ``(B, 6, R, R)``, R a multiple of 32: RGB in 0..1; where the right and the
                left hand were (whole, 0..1); 1 where this is known and 0 where it is not.

        Returns:
            Whole, share ``(B, 2, R/2, R/2)`` and presence ``(B, 2)`` logits; see
            :class:`HandMasks`.
        """
        rgb, hints = pictures[:, :3], pictures[:, 3:]
        at2, at4, at32, top16, at8 = self.features(rgb)
        deep = torch.cat([at32.mean(dim=(2, 3)), top16.amax(dim=(2, 3))], dim=1)
        context = self.context(deep)
        hints4 = functional.avg_pool2d(hints, 4)
        told8, told4 = self.hint8(functional.avg_pool2d(hints4, 2)), self.hint4(hints4)
        x = self.norm8(at8) + context[:, :, None, None] + self.place(places_like(at8)) + told8
        x = self.mid8(x)
        # What the mask decoder gathered says more of presence than the deepest features alone.
        seen = torch.cat([context, x.amax(dim=(2, 3))], dim=1)
        x = self.mid4(self.up4(x, at4, told4))
        x = self.mid2(self.up2(x, at2))
        masks = self.tails(x)
        return trust_hints(masks[:, :2], hints, self.trust), masks[:, 2:], self.presence(seen)


def new_trust() -> nn.Parameter:
    """Give the start of what :func:`trust_hints` learns."""
    return nn.Parameter(torch.tensor([3.0, 3.0]))


def trust_hints(whole_logit: Tensor, hints: Tensor, trust: Tensor) -> Tensor:
    """Shift the odds of hinted pixels towards their hand.

    From the first step on a net can so learn what hands look like, without first learning what
    hints are.

    Args:
        whole_logit: ``(B, 2, h, w)``.
        hints: ``(B, 3, 2h, 2w)``, right, left, known.
        trust: ``(2,)`` shift of the hinted hand up, and of the other one down.
    """
    there = functional.avg_pool2d(hints[:, :2], 2)
    shifted: Tensor = whole_logit + trust[0] * there - trust[1] * there.flip(1)
    return shifted


def places_like(x: Tensor) -> Tensor:
    """Give ``(1, 2, h, w)`` coordinates from -1 to 1 of a map's size: u, then v."""
    h, w = x.shape[-2:]
    v = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype)
    u = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"))[None]


class Hasm:
    """The net with whatever runs it: pictures in, :class:`HandMasks` out."""

    def __init__(self, net: Callable[[Tensor], Any], *, device: torch.device) -> None:
        self.resolution_px = HasmNet.RESOLUTION_PX
        self._net = net
        self._device = device

    def __call__(self, pictures: Tensor) -> HandMasks:
        """Segment ``(B, 6, R, R)`` pictures with their hints; the masks come on the CPU."""
        with torch.inference_mode():
            whole, share, presence = self._net(pictures.to(self._device))
        return HandMasks(whole.float().cpu(), share.float().cpu(), presence.float().cpu())
