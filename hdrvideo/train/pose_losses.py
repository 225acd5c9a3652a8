"""SHPE's losses, as pure functions of maps and truth; each says where it is from."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.config import check_number
from hdrvideo.datatypes import N_JOINTS
from hdrvideo.frame.detmaps import (
    DetMaps,
    bone_directions,
    cells_from_px,
    heat_maps,
    px_from_cells,
    read_soft,
)

# A joint farther off than this moves no loss further, so that one lost hand does not rule a batch.
_FAR_PALMS: Final = 3.0
_HUNDRED_MM: Final = 100.0


@dataclass(frozen=True)
class PoseWeights:
    """What each loss weighs.

    Attributes:
        heat: Of the heat maps (HDR: 1).
        delta: Of the maps of bone directions (HDR: 1).
        location: Of the maps of places (HDR: 5).
        joints_2d: Of a palm length that the joints that are read are off in the picture.
        joints_3d: Of 100 mm that they are off in space, from the wrist.
        visible: Of whether joints are seen.
        confidence: Of how well the expected error fits the error.
    """

    heat: float = 1.0
    delta: float = 1.0
    location: float = 5.0
    joints_2d: float = 4.0
    joints_3d: float = 6.0
    visible: float = 0.3
    confidence: float = 0.05

    def __post_init__(self) -> None:
        for name in PoseWeights.__dataclass_fields__:
            check_number(f"PoseWeights.{name}", getattr(self, name), 0, 1000)


def pose_loss(
    maps: DetMaps, truth: dict[str, Tensor], weights: PoseWeights, resolution_px: int
) -> dict[str, Tensor]:
    """SHPE's loss.

    ``heat``, ``delta`` and ``location`` as in HDR's release (``models/HPE_Net/loss.py``):
    Frobenius norms, not squared, delta and location masked by the true heat, over the number of
    joints. Departure: each hand has a norm of its own; the release takes one of the whole batch, so
    that the size of the batch changes the step. Hands whose joints in space are not known have no
    part in ``delta``, ``location`` and ``joints_3d``, joints without a label none in what is asked
    of the picture, hands of which nobody told what is seen none in ``visible``. What is read from
    the maps is taught as well: joints in the picture, joints in millimetres, visibility, and the
    expected error.

    Args:
        maps: Predictions.
        truth: As :func:`hdrvideo.train.pose_crops.stack_pose_examples` gives it.
        weights: What each weighs.
        resolution_px: Side of the crops.

    Returns:
        ``heat``, ``delta``, ``location``, ``joints_2d`` (palm lengths), ``joints_3d`` (100 mm),
        ``visible``, ``confidence`` and their weighted ``sum``, each a scalar.
    """
    h, w = maps.heat_logit.shape[-2:]
    stride_px = resolution_px / w
    labelled, known = truth["labelled"], truth["in_space"]
    counted = labelled[..., None, None]
    heat = counted * heat_maps(cells_from_px(truth["uv_px"], stride_px), h, w)
    found = read_soft(maps)
    off_palms = distance_palms(
        px_from_cells(found.uv_cells, stride_px), truth["uv_px"], truth["palm_px"]
    )
    losses = {
        "heat": hand_norm(counted * maps.heat_logit.sigmoid() - heat),
        "delta": masked_norm(maps.delta, bone_directions(truth["xyz"]), heat, known),
        "location": masked_norm(maps.location, truth["xyz"], heat, known),
        "joints_2d": _mean_of(off_palms.clamp(max=_FAR_PALMS), labelled),
        "joints_3d": joints_mm(found.xyz, truth["xyz"], truth["bone_mm"], known) / _HUNDRED_MM,
        "visible": _mean_of(
            functional.binary_cross_entropy_with_logits(
                found.visible_logit, truth["visible"], reduction="none"
            ),
            truth["seen_told"][:, None].expand_as(labelled),
        ),
        # The answer is not to become such that its error is easily foreseen: no gradient to it.
        "confidence": error_loss(found.log_error, off_palms.detach(), labelled),
    }
    total = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
    return {**losses, "sum": total}


def hand_norm(difference: Tensor, counted: Tensor | None = None) -> Tensor:
    """Give the Frobenius norm of each hand's maps ``(B, ...)`` over its joints, mean over hands.

    Args:
        difference: ``(B, ...)``.
        counted: ``(B,)`` weights of the hands; None = all alike.
    """
    norms = _root(difference.square().flatten(1).sum(dim=1)) / N_JOINTS
    return norms.mean() if counted is None else _mean_of(norms, counted)


def masked_norm(maps: Tensor, wanted: Tensor, heat: Tensor, counted: Tensor) -> Tensor:
    """Give :func:`hand_norm` of maps that want to be one vector a joint, where its heat is.

    Args:
        maps: ``(B, 63, h, w)``, joint by joint.
        wanted: ``(B, 21, 3)``.
        heat: ``(B, 21, h, w)`` in 0..1.
        counted: ``(B,)`` weights of the hands.
    """
    b, _, h, w = maps.shape
    difference = maps.reshape(b, N_JOINTS, 3, h, w) - wanted[..., None, None]
    return hand_norm(heat[:, :, None] * difference, counted)


def distance_palms(uv_px: Tensor, wanted_px: Tensor, palm_px: Tensor) -> Tensor:
    """Give how far joints ``(B, 21, 2)`` are off, ``(B, 21)`` in palm lengths."""
    return _root((uv_px - wanted_px).square().sum(dim=-1)) / palm_px[:, None]


def joints_mm(xyz: Tensor, wanted: Tensor, bone_mm: Tensor, counted: Tensor) -> Tensor:
    """Give the mean L1 distance of joints in millimetres (mean over axes and joints).

    Args:
        xyz: ``(B, 21, 3)`` from the wrist in lengths of the reference bone.
        wanted: The same of the truth.
        bone_mm: ``(B,)`` true length of that bone.
        counted: ``(B,)`` weights of the hands.
    """
    off_mm = (xyz - wanted).abs() * bone_mm[:, None, None]
    return _mean_of(off_mm.mean(dim=(1, 2)), counted)


def error_loss(log_error: Tensor, error_palms: Tensor, counted: Tensor) -> Tensor:
    """Give the negative log likelihood of 2D errors under their expected values, less a constant.

    A two-dimensional Laplace of mean ``m`` has the density ``exp(-2 r / m) / (2 pi (m / 2)^2)``:
    the loss is ``2 r / m + 2 log m``, least where ``m`` is the mean of the errors. So that it tells
    what chance a joint has to be near (:func:`hdrvideo.frame.detmaps.chance_right`).

    Args:
        log_error: ``(B, 21)``, log m.
        error_palms: ``(B, 21)``, r.
        counted: ``(B, 21)`` weights of the joints.
    """
    return _mean_of(2 * error_palms * torch.exp(-log_error) + 2 * log_error, counted)


def _mean_of(values: Tensor, weights: Tensor) -> Tensor:
    """Give a weighted mean of values of any shape; 0 where nothing weighs."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def _root(squares: Tensor) -> Tensor:
    """Take roots; the slope at zero is finite."""
    return (squares + 1e-12).sqrt()
