"""Heat, delta and location maps of a hand: what they hold, and how joints are read from them."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import N_JOINTS, check_array
from hdrvideo.hand import ADULT_BONES_MM, BONES, JOINTS, PARENTS, WRIST

_MIDDLE_MCP: Final = JOINTS.index("middle_mcp")
# The unit of places: wrist to middle knuckle, of an adult.
REFERENCE_BONE_MM: Final = ADULT_BONES_MM[BONES.index((WRIST, _MIDDLE_MCP))]
# Heat maps are trained as the published ones; as weights for reading they are made sharper, or what
# little heat lies everywhere would pull each joint to the crop's middle.
_SHARPNESS: Final = 1.5
# Standard deviation of a joint's heat, in cells of a 64 x 64 map (HDR).
HEAT_SIGMA_64: Final = 2.5
# A joint this near to the truth counts as right (PCK@0.2).
_RIGHT_WITHIN_PALMS: Final = 0.2
# Smaller expected errors are as good as none, and their inverse would overflow.
_LEAST_LOG_ERROR: Final = -20.0


@dataclass(frozen=True)
class DetMaps:
    """What a net says, on maps of ``h x w`` cells.

    Attributes:
        heat_logit: ``(B, 21, h, w)`` log odds of the joint's heat.
        delta: ``(B, 63, h, w)`` joint by joint, unit vector from the joint's parent; the wrist's
            is zero.
        location: ``(B, 63, h, w)`` place from the wrist in lengths of the reference bone.
        offset: ``(B, 42, h, w)`` way from the cell to the joint, in cells.
        visible_logit: ``(B, 21, h, w)`` log odds that nothing lies before the joint.
        log_error: ``(B, 21, h, w)`` log of the expected 2D error in palm lengths.
    """

    heat_logit: Tensor
    delta: Tensor
    location: Tensor
    offset: Tensor
    visible_logit: Tensor
    log_error: Tensor

    def __post_init__(self) -> None:
        b, _, h, w = self.heat_logit.shape
        check_array("heat_logit", self.heat_logit, (b, N_JOINTS, h, w), "")
        check_array("delta", self.delta, (b, 3 * N_JOINTS, h, w), "")
        check_array("location", self.location, (b, 3 * N_JOINTS, h, w), "")
        check_array("offset", self.offset, (b, 2 * N_JOINTS, h, w), "")
        check_array("visible_logit", self.visible_logit, (b, N_JOINTS, h, w), "")
        check_array("log_error", self.log_error, (b, N_JOINTS, h, w), "")


@dataclass(frozen=True)
class DetJoints:
    """What is read from maps.

    Attributes:
        uv_cells: ``(B, 21, 2)``; an integer is a cell's centre.
        xyz: ``(B, 21, 3)`` from the wrist, crop axes, in lengths of the reference bone.
        visible_logit: ``(B, 21)``.
        log_error: ``(B, 21)`` log of the expected 2D error in palm lengths.
    """

    uv_cells: Tensor
    xyz: Tensor
    visible_logit: Tensor
    log_error: Tensor


def read_soft(maps: DetMaps) -> DetJoints:
    """Read each joint by the mean over its heat: differentiable, finer than a cell."""
    return DetJoints(
        *read_cells(
            soft_weights(maps.heat_logit),
            *(maps.location, maps.offset, maps.visible_logit, maps.log_error),
        )
    )


def read_argmax(maps: DetMaps) -> DetJoints:
    """Read each joint at its hottest cell, as published: whole cells, no offset."""
    flat = maps.heat_logit.flatten(2)
    weights = functional.one_hot(flat.argmax(dim=-1), flat.shape[-1]).to(flat.dtype)
    none = torch.zeros_like(maps.offset)
    return DetJoints(
        *read_cells(
            weights.reshape(maps.heat_logit.shape),
            *(maps.location, none, maps.visible_logit, maps.log_error),
        )
    )


def soft_weights(heat_logit: Tensor) -> Tensor:
    """Give what each cell ``(B, 21, h, w)`` weighs; the weights of a joint sum to one."""
    weights = (_SHARPNESS * heat_logit).flatten(2).softmax(dim=-1)
    return weights.reshape(heat_logit.shape)


def read_cells(
    weights: Tensor, location: Tensor, offset: Tensor, *values: Tensor
) -> tuple[Tensor, ...]:
    """Take means over cells; plain tensors, so that it can be traced.

    Args:
        weights: ``(B, 21, h, w)``, of each joint one in all.
        location: As in :class:`DetMaps`.
        offset: Likewise.
        values: Other maps ``(B, 21, h, w)``.

    Returns:
        Joints in cells ``(B, 21, 2)``, places from the wrist ``(B, 21, 3)``, and of each other map
        its value at each joint ``(B, 21)``.
    """
    h, w = weights.shape[-2:]
    flat = weights.flatten(2)
    v = torch.arange(h, device=weights.device, dtype=weights.dtype)
    u = torch.arange(w, device=weights.device, dtype=weights.dtype)
    cells = torch.stack(torch.meshgrid(u, v, indexing="xy")).flatten(1)

    def mean(values: Tensor) -> Tensor:
        each = values.reshape(values.shape[0], N_JOINTS, -1, h * w)
        # A product of matrices: nothing as large as the maps is made.
        return (each @ flat[..., None]).squeeze(-1)

    xyz = mean(location)
    return (
        flat @ cells.T + mean(offset),
        xyz - xyz[:, WRIST : WRIST + 1],
        *(mean(value).squeeze(-1) for value in values),
    )


def cells_from_px(uv_px: Tensor, stride_px: float) -> Tensor:
    """Take crop pixels to cells; the centres of pixels and of cells are integers."""
    return (uv_px + 0.5) / stride_px - 0.5


def px_from_cells(uv_cells: Tensor, stride_px: float) -> Tensor:
    """Undo :func:`cells_from_px`."""
    return (uv_cells + 0.5) * stride_px - 0.5


def heat_maps(uv_cells: Tensor, h: int, w: int, *, widen: float = 1.0) -> Tensor:
    """Draw joints ``(B, 21, 2)`` as bells of height 1: ``(B, 21, h, w)``.

    As wide as in HDR for the size of the map. Departure: a bell's middle lies where the joint is;
    the released code moves it to a whole cell, and some to the wrong one.

    Args:
        uv_cells: ``(B, 21, 2)``.
        h: Rows.
        w: Columns.
        widen: Times as wide.
    """
    sigma = widen * HEAT_SIGMA_64 * w / 64
    v = torch.arange(h, device=uv_cells.device, dtype=uv_cells.dtype)
    u = torch.arange(w, device=uv_cells.device, dtype=uv_cells.dtype)
    along_u = torch.exp(-0.5 * ((u - uv_cells[..., 0:1]) / sigma) ** 2)
    along_v = torch.exp(-0.5 * ((v - uv_cells[..., 1:2]) / sigma) ** 2)
    return along_v[..., :, None] * along_u[..., None, :]


def unit_places(xyz: Tensor) -> Tensor:
    """Bring joints ``(B, 21, 3)`` of any unit to the wrist and lengths of the reference bone."""
    from_wrist = xyz - xyz[:, WRIST : WRIST + 1]
    length = from_wrist[:, _MIDDLE_MCP].norm(dim=-1).clamp(min=1e-6)
    places: Tensor = from_wrist / length[:, None, None]
    return places


def bone_directions(xyz: Tensor) -> Tensor:
    """Give unit vectors ``(B, 21, 3)`` from each joint's parent to it; zero for the wrist."""
    parents = [max(parent, 0) for parent in PARENTS]
    return functional.normalize(xyz - xyz[:, parents], dim=-1, eps=1e-6)


def chance_right(log_error: Tensor, within_palms: float = _RIGHT_WITHIN_PALMS) -> Tensor:
    """Give the chance that a joint lies within some palm lengths of the truth, 0..1.

    Errors are taken for two-dimensional Laplace: their density falls as ``exp(-r / b)``, their mean
    is ``2 b``, and a part ``1 - exp(-r / b) (1 + r / b)`` of them is below ``r``.
    """
    ratio = 2 * within_palms * torch.exp(-log_error.clamp(min=_LEAST_LOG_ERROR))
    return 1 - torch.exp(-ratio) * (1 + ratio)
