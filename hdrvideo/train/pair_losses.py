"""What HASM is taught about joints, as pure functions of maps and truth; sources are named."""

from typing import Final

import torch
from torch import Tensor

from hdrvideo.frame.detmaps import cells_from_px, heat_maps
from hdrvideo.frame.pair import PairMaps, by_hand, read_pair
from hdrvideo.train.pose_losses import error_loss

# A joint farther off than this moves no loss further, so that one lost hand does not rule a batch.
_FAR_PALMS: Final = 3.0
_HUNDRED_MM: Final = 100.0
# Bells are so much narrower than those of SHPE's crops: hands are smaller in a picture of two.
_NARROW: Final = 0.5
# What each weighs, chosen so that each is about as large as the masks' terms after some minutes.
_WEIGHTS: Final = {
    "heat": 0.05,
    "joints_2d": 0.4,
    "location": 0.15,
    "joints_3d": 0.5,
    "confidence": 0.02,
    "way": 0.02,
}


def pair_loss(maps: PairMaps, truth: dict[str, Tensor], resolution_px: int) -> dict[str, Tensor]:
    """Teach joints.

    ``heat`` is the cross entropy of a joint's cell against a bell round the truth (the softmax
    reads the joint, so it is taught as one; HDR's norm of sigmoid maps is not). ``location`` is the
    mean distance of the location maps from the truth where the bell lies, after HDR's masked one.
    What is read is taught, too (integral regression, Sun et al., ECCV 2018): in the picture, in
    space, the expected error, and the way in depth from wrist to wrist with its expected error.

    Args:
        maps: Predictions.
        truth: The fields of :class:`hdrvideo.train.pair_truth.PairTruth`, stacked.
        resolution_px: Side of the pictures.

    Returns:
        ``heat``, ``joints_2d`` (palm lengths), ``location`` (bone lengths), ``joints_3d`` (100 mm),
        ``confidence``, ``way`` and their weighted ``pair``, each a scalar.
    """
    h, w = maps.heat_logit.shape[-2:]
    stride_px = resolution_px / w
    weight = truth["joint_weight"]
    bells = heat_maps(cells_from_px(truth["uv_px"].flatten(0, 1), stride_px), h, w, widen=_NARROW)
    bells = bells / bells.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    logit = by_hand(maps.heat_logit)
    heat = -(bells.flatten(2) * logit.flatten(2).log_softmax(dim=-1)).sum(dim=-1)
    found = read_pair(maps, resolution_px)
    palm_px = truth["palm_px"].clamp(min=1)[..., None]
    off_palms = _length(found.uv_px - truth["uv_px"]) / palm_px
    in_space = weight * (truth["bone_mm"] > 0)[..., None]
    places = by_hand(maps.location).reshape(*logit.shape[:2], 3, h, w)
    misses = (places - truth["xyz"].flatten(0, 1)[..., None, None]).abs().mean(dim=2)
    located = (misses * bells).sum(dim=(2, 3))
    off_mm = (found.xyz - truth["xyz"]).abs().mean(dim=-1) * truth["bone_mm"][..., None]
    way, log_way = found.way.unbind(dim=-1)
    way_off = (way - truth["way"]).abs()
    losses = {
        "heat": _mean(heat.view_as(weight), weight),
        "joints_2d": _mean(off_palms.clamp(max=_FAR_PALMS), weight),
        "location": _mean(located.view_as(weight), in_space),
        "joints_3d": _mean(off_mm, in_space) / _HUNDRED_MM,
        # The answer is not to become such that its error is easily foreseen: no gradient to it.
        "confidence": error_loss(found.log_error, off_palms.detach(), weight),
        "way": _mean(way_off * torch.exp(-log_way) + log_way, truth["way_weight"]),
    }
    total = torch.stack([_WEIGHTS[name] * value for name, value in losses.items()]).sum()
    return {**losses, "pair": total}


def _length(way: Tensor) -> Tensor:
    """Give lengths; the slope at zero is finite."""
    return (way.square().sum(dim=-1) + 1e-12).sqrt()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Give a weighted mean; 0 where nothing weighs."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
