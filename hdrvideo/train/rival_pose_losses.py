"""What rivals of SHPE and of HASM's joints are taught, as published; departures are named."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.config import check_number
from hdrvideo.frame.detmaps import DetMaps, cells_from_px, px_from_cells, unit_places
from hdrvideo.handmodel import HandModel, pose_to_matrices
from hdrvideo.rivals.handoccnet import HandOccAnswer, read_heat
from hdrvideo.rivals.internet import InterMaps, cells_from_mm, draw_heat, way_cell
from hdrvideo.train.pose_losses import PoseWeights, joints_mm, pose_loss

_MM: Final = 1000.0
_HUNDRED_MM: Final = 100.0


@dataclass(frozen=True)
class InterWeights:
    """What each of InterNet's losses weighs; all alike, as published.

    Attributes:
        heat: Of the heat.
        way: Of the depth of the left wrist from the right one.
        handed: Of which hands are there.
    """

    heat: float = 1.0
    way: float = 1.0
    handed: float = 1.0

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class HandOccWeights:
    """What each of HandOccNet's losses weighs, as published.

    Attributes:
        vertices: Of squared metres that vertices are off, from the wrist.
        joints_3d: The same of joints.
        pose: Of squared differences of the turns' matrices.
        shape: Of squared standard deviations of the hand model's shape.
        joints_2d: Of squared parts of the crop's side that joints are off in it.
    """

    vertices: float = 1e4
    joints_3d: float = 1e4
    pose: float = 10.0
    shape: float = 0.1
    joints_2d: float = 100.0

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class MinimalWeights(PoseWeights):
    """What each of minimal-hand's losses weighs; those of DetNet are SHPE's.

    Attributes:
        posed: Of 100 mm that the posed hand's joints are off, from the wrist.
    """

    posed: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("MinimalWeights.posed", self.posed, 0, 1000)


def _check(weights: InterWeights | HandOccWeights) -> None:
    for name in type(weights).__dataclass_fields__:
        check_number(f"{type(weights).__name__}.{name}", getattr(weights, name), 0, 1e6)


def inter_loss(
    maps: InterMaps, truth: dict[str, Tensor], weights: InterWeights, resolution_px: int
) -> dict[str, Tensor]:
    """InterNet's loss.

    ``heat`` is the squared error against bells in three dimensions with a peak of 255, its mean
    taken over all cells and all 42 joints; joints that are not known in space, outside the picture
    or more than 200 mm before or behind their wrist count 0 (so does an absent hand). ``way`` is
    the L1 distance of the depth from the right wrist to the left one, where both hands are known
    and it is within 200 mm; ``handed`` the binary cross entropy of both chances, free of one
    another. Departures: the way counts in cells of its axis (our notes do not say the unit); hands
    that are mostly outside the view have no part in ``handed``.

    Args:
        maps: Predictions.
        truth: The fields of :class:`hdrvideo.train.pair_truth.PairTruth`, ``present`` and
            ``present_weight``, stacked.
        weights: What each weighs.
        resolution_px: Side of the pictures.

    Returns:
        ``heat``, ``way``, ``handed`` and their weighted ``sum``, each a scalar.
    """
    bins, h, w = maps.heat.shape[2:]
    bone_mm = truth["bone_mm"]
    uv_cells = cells_from_px(truth["uv_px"], resolution_px / w)
    deep = cells_from_mm(truth["xyz"][..., 2] * bone_mm[..., None], bins)
    known = truth["joint_weight"] * (bone_mm > 0)[..., None] * _is_on_axis(deep, bins)
    cells = torch.cat([uv_cells, deep[..., None]], dim=-1).flatten(1, 2)
    off = (maps.heat - draw_heat(cells, bins, h, w)).square().mean(dim=(2, 3, 4))
    way = cells_from_mm(truth["way"] * bone_mm.mean(dim=1), bins)
    way_weight = truth["way_weight"] * _is_on_axis(way, bins)
    handed = functional.binary_cross_entropy_with_logits(
        maps.handed_logit, truth["present"], reduction="none"
    )
    losses = {
        "heat": (off * known.flatten(1)).mean(),
        "way": _mean_of((way_cell(maps.way_logit)[0] - way).abs(), way_weight),
        "handed": _mean_of(handed, truth["present_weight"]),
    }
    return _summed(losses, weights)


def handocc_loss(
    answer: HandOccAnswer,
    truth: dict[str, Tensor],
    hand: HandModel,
    weights: HandOccWeights,
    resolution_px: int,
) -> dict[str, Tensor]:
    """HandOccNet's loss: plain squared errors.

    Departures: pose, shape and vertices are our hand model's; hands that are known in the picture
    alone have a part in ``joints_2d`` only.

    Args:
        answer: Predictions.
        truth: As :func:`hdrvideo.train.pose_crops.stack_pose_examples` gives it, with poses.
        hand: The hand model.
        weights: What each weighs.
        resolution_px: Side of the crops.

    Returns:
        ``vertices`` and ``joints_3d`` (square metres), ``pose``, ``shape``, ``joints_2d`` (square
        sides of the crop) and their weighted ``sum``, each a scalar.
    """
    known = truth["in_space"]
    turns = pose_to_matrices(answer.turns_6d)
    posed = hand(turns, answer.shape)
    with torch.no_grad():
        true = hand(truth["turns"], truth["shape"])
        true_mm = truth["xyz"] * truth["bone_mm"][:, None, None]
    cells, _ = read_heat(answer.heat_logit)
    uv_px = px_from_cells(cells, resolution_px / answer.heat_logit.shape[-1])

    def squares(said: Tensor, wanted: Tensor, unit: float = 1.0) -> Tensor:
        return _mean_of(((said - wanted) / unit).square().flatten(1).mean(dim=1), known)

    losses = {
        "vertices": squares(posed.vertices_mm, true.vertices_mm, _MM),
        "joints_3d": squares(posed.joints_mm, true_mm, _MM),
        "pose": squares(turns, truth["turns"]),
        "shape": squares(answer.shape, truth["shape"]),
        "joints_2d": ((uv_px - truth["uv_px"]) / resolution_px).square().mean(),
    }
    return _summed(losses, weights)


def minimal_loss(
    maps: DetMaps,
    posed_mm: Tensor,
    truth: dict[str, Tensor],
    weights: MinimalWeights,
    resolution_px: int,
) -> dict[str, Tensor]:
    """minimal-hand's loss: DetNet's as :func:`hdrvideo.train.pose_losses.pose_loss`, and ``posed``.

    The published IKNet learns from recorded rotations, and from joints where only those are known.
    Ours knew made hands' rotations before it came here (``scripts/train_ik.py``): joints are what
    is left to learn. Departure: their distance is an L1, in hundreds of millimetres, with the
    reference bone as long as the true one, as the posed hand is a mean hand.

    Args:
        maps: DetNet's.
        posed_mm: ``(B, 21, 3)`` joints of the posed hand.
        truth: As :func:`hdrvideo.train.pose_crops.stack_pose_examples` gives it.
        weights: What each weighs.
        resolution_px: Side of the crops.
    """
    losses = pose_loss(maps, truth, weights, resolution_px)
    places = unit_places(posed_mm)
    off_mm = joints_mm(places, truth["xyz"], truth["bone_mm"], truth["in_space"])
    posed = off_mm / _HUNDRED_MM
    return {**losses, "posed": posed, "sum": losses["sum"] + weights.posed * posed}


def _is_on_axis(cells: Tensor, bins: int) -> Tensor:
    return (cells >= 0) & (cells < bins)


def _summed(losses: dict[str, Tensor], weights: object) -> dict[str, Tensor]:
    total = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
    return {**losses, "sum": total}


def _mean_of(values: Tensor, weights: Tensor) -> Tensor:
    """Give a weighted mean; 0 where nothing weighs."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
