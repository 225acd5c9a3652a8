"""HASM, hand amodal segmentation: a picture in, both hands' visible and whole masks out.

After Meng et al., "3D Interacting Hand Pose Estimation by Hand De-occlusion and Removal" (ECCV
2022), section 3.2: one encoder, shared projections of its stages, a tail for each mask. Departures,
with their reasons:

* The small net's encoder is EfficientNet-Lite0 (:mod:`hdrvideo.frame.efficientnet`), which has seen
  a million photographs, under a U-shaped decoder: a transformer from scratch learnt nothing in the
  time that two cores have (:mod:`hdrvideo.frame.hasm_mit` holds the paper's sizes), and the palm
  detector's trunk, which has no norms, learnt half as fast.
* A hand's visible mask is its whole mask times the share that is not hidden, so visible <= whole
  by construction; the paper's four masks are free of one another.
* Presence of each hand is an answer of its own: the published net invents a second hand.
* It can be told where each hand was a moment ago (*hints*: the masks of the frame before), as video
  object segmentation does: which hand is which is then a matter of following, not of guessing anew
  in every frame. Without hints it says the sides by itself.
* It says both hands' joints, too (:mod:`hdrvideo.frame.pair`): where hands interlock, a net that
  reads one crop of one hand reads a mixture of both.
* Every mask is trained by binary cross entropy, as in the paper (the released code has a softmax of
  two classes).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import check_array
from hdrvideo.frame.blocks import GROUPS, GroupNorm, Join, Mix, places_like
from hdrvideo.frame.efficientnet import EfficientTrunk
from hdrvideo.frame.pair import PairHead, PairJoints


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


class HasmNet(EfficientTrunk):
    """The small HASM: EfficientNet-Lite0, a decoder to stride 2, a tail for each mask.

    The position of a pixel in the picture tells the sides apart to some degree (arms come from
    their own side), which a convolution cannot see: two channels of coordinates go into the
    decoder, and what the deepest features say of the whole picture. Hints go into the stem, too,
    from nothing at the start, so that the trunk can learn to look for the hand it is told of.
    """

    RESOLUTION_PX = 192
    CHANNELS = 6
    STRIDE = 2

    def __init__(self) -> None:
        super().__init__()
        self.hint2 = nn.Conv2d(3, 32, 1)
        for parameter in self.hint2.parameters():
            nn.init.zeros_(parameter)
        self.hint8 = nn.Conv2d(3, 96, 1)
        self.hint4 = nn.Conv2d(3, 64, 1)
        self.trust = new_trust()
        self.deepest = nn.Sequential(nn.Conv2d(320, 128, 1), GroupNorm(GROUPS, 128))
        self.context = nn.Sequential(
            nn.LayerNorm(320), nn.Linear(320, 256), nn.PReLU(256), nn.Linear(256, 128)
        )
        self.place = nn.Conv2d(2, 128, 1)
        self.mid32 = Mix(128)
        self.up16 = Join(128, 112, 128)
        self.mid16 = nn.Sequential(*(Mix(128) for _ in range(2)))
        self.up8 = Join(128, 40, 96)
        self.mid8 = nn.Sequential(*(Mix(96) for _ in range(3)))
        self.up4 = Join(96, 24, 64)
        self.mid4 = nn.Sequential(*(Mix(64) for _ in range(2)))
        self.up2 = Join(64, 16, 32)
        self.mid2 = Mix(32)
        self.tails = nn.Conv2d(32, 4, 3, padding=1)
        self.presence = nn.Sequential(nn.LayerNorm(224), nn.Linear(224, 2))
        self.pair = PairHead(96, 224)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Segment pictures.

        Args:
            pictures: ``(B, 6, R, R)``, R a multiple of 32: RGB in 0..1; where the right and the
                left hand were (whole, 0..1); 1 where this is known and 0 where it is not.

        Returns:
            Whole, share ``(B, 2, R/2, R/2)`` and presence ``(B, 2)`` logits, see
            :class:`HandMasks`; then the five of :class:`~hdrvideo.frame.pair.PairMaps`, R/8 wide.
        """
        # Twice as fast to train on processors.
        rgb = pictures[:, :3].contiguous(memory_format=torch.channels_last)
        hints = pictures[:, 3:].contiguous(memory_format=torch.channels_last)
        hints2 = functional.avg_pool2d(hints, 2)
        hints4 = functional.avg_pool2d(hints2, 2)
        at2, at4, at8, at16, at32 = self.features(rgb, self.hint2(hints2))
        context = self.context(at32.mean(dim=(2, 3)))
        told8, told4 = self.hint8(functional.avg_pool2d(hints4, 2)), self.hint4(hints4)
        x = self.deepest(at32) + context[:, :, None, None] + self.place(places_like(at32))
        x = self.mid16(self.up16(self.mid32(x), at16))
        x = self.mid8(self.up8(x, at8, told8))
        # What the mask decoder gathered says more of presence than the deepest features alone.
        seen = torch.cat([context, x.amax(dim=(2, 3))], dim=1)
        joints = self.pair(x, seen)
        x = self.mid4(self.up4(x, at4, told4))
        x = self.mid2(self.up2(x, at2))
        masks = self.tails(x)
        whole = trust_hints(masks[:, :2], hints, self.trust)
        return whole, masks[:, 2:], self.presence(seen), *joints


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


@dataclass(frozen=True)
class SeenPair:
    """All that HASM says of a batch of pictures."""

    masks: HandMasks
    joints: PairJoints


class Hasm:
    """What runs a :class:`~hdrvideo.frame.pair.HasmReader`: pictures in, masks and joints out."""

    def __init__(self, net: Callable[[Tensor], Any], *, device: torch.device) -> None:
        self.resolution_px = HasmNet.RESOLUTION_PX
        self._net = net
        self._device = device

    def __call__(self, pictures: Tensor) -> SeenPair:
        """Look at ``(B, 6, R, R)`` pictures with their hints; the answer comes on the CPU."""
        with torch.inference_mode():
            said = [part.float().cpu() for part in self._net(pictures.to(self._device))]
        return SeenPair(HandMasks(*said[:3]), PairJoints(*said[3:]))
