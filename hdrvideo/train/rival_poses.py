"""Recipes of InterNet, HandOccNet and minimal-hand: the same pictures as for our nets.

Only what is asked of the net and how it is read differ from HASM's and SHPE's lessons, so that a
comparison is one of nets.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from hdrvideo.checkpoint import load_weights, warm_start, weights_path
from hdrvideo.datatypes import U8
from hdrvideo.errors import DataError, SettingsError, WeightsError
from hdrvideo.frame.detmaps import chance_right, px_from_cells, read_argmax, read_soft
from hdrvideo.frame.hasm import HandMasks
from hdrvideo.frame.pair import PairJoints
from hdrvideo.handmodel import HandModel
from hdrvideo.rivals import handoccnet, internet, minimal_hand
from hdrvideo.rivals.handoccnet import N_SHAPE, HandOccAnswer, HandOccNet, read_heat
from hdrvideo.rivals.internet import InterMaps, read_inter
from hdrvideo.rivals.minimal_hand import MinimalHand
from hdrvideo.rivals.reading import log_error_palms
from hdrvideo.train.hasm_recipe import ViewsRecipe, ViewsTask, stack_examples
from hdrvideo.train.pair_scores import pair_scores
from hdrvideo.train.pair_sheets import draw_pair_sheet
from hdrvideo.train.rival_pose_losses import (
    HandOccWeights,
    InterWeights,
    MinimalWeights,
    handocc_loss,
    inter_loss,
    minimal_loss,
)
from hdrvideo.train.shpe_recipe import (
    CropRecipe,
    CropTask,
    Reading,
    as_reading,
    check_crops,
    maps_of,
)

_CHECK_BATCH: Final = 32
_SHEET_PICTURES: Final = 24
# Log odds of masks that are not said: none.
_NO_MASK: Final = -20.0
_SIZES: Final[Mapping[str, Mapping[str, Any]]] = {
    "internet": internet.SIZES,
    "handoccnet": handoccnet.SIZES,
    "minimal_hand": minimal_hand.SIZES,
}


@dataclass(frozen=True)
class InterRecipe(ViewsRecipe):
    """How InterNet is taught.

    Attributes:
        weights: What each loss weighs.
    """

    weights: InterWeights = field(default_factory=InterWeights)


class InterTask(ViewsTask):
    """Lessons for InterNet: HASM's pictures, always shown round the hands when it is checked."""

    hint_shares = (0.0,)
    pair_share = 1.0

    def __init__(
        self, net: nn.Module, recipe: InterRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory; ``net`` as :class:`hdrvideo.rivals.internet.InterNet`."""
        super().__init__(net, recipe, made_as=made_as)
        self._weights = recipe.weights

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare heat, way and handedness with the truth."""
        maps = InterMaps(*(out.float() for out in net(batch["rgb"])))
        return inter_loss(maps, batch, self._weights, self._recipe.views.resolution_px)

    def check(self, net: nn.Module) -> dict[str, float]:
        """Score held-out made pictures.

        Names are those of :func:`hdrvideo.train.pair_scores.pair_scores`; ``argmax`` for joints
        read at whole cells, as published; there ``mpjpe`` is NaN as soon as one hand's wrist and
        middle knuckle share a cell, since its size is then unknown. ``handed`` is the share of
        pictures in which both chances are on their right side of a half (what the paper calls AP of
        handedness is this share).
        ``score`` is the mean of it and of both shares of right joints; one that nothing tells
        counts 0.
        """
        soft, hard, handed_logit, truth = self._said(net, len(self._checks[0]))
        scores = pair_scores(soft, truth)
        scores |= {f"{name}_argmax": value for name, value in pair_scores(hard, truth).items()}
        clear = (truth["present_weight"] > 0).all(dim=1)
        right = ((handed_logit > 0) == (truth["present"] > 0)).all(dim=1)[clear]
        scores["handed"] = float(right.float().mean()) if len(right) else math.nan
        parts = [scores[name] for name in ("handed", "pck", "pck3d")]
        scores["score"] = sum(0.0 if math.isnan(part) else part for part in parts) / len(parts)
        return scores

    def sheet(self, net: nn.Module) -> U8:
        """Draw joints on held-out pictures; there are no masks but the true ones."""
        joints, _, handed_logit, truth = self._said(net, _SHEET_PICTURES)
        none = torch.full_like(truth["visible"], _NO_MASK)
        return draw_pair_sheet(HandMasks(none, none, handed_logit), joints, truth)

    def _said(
        self, net: nn.Module, n: int
    ) -> tuple[PairJoints, PairJoints, Tensor, dict[str, Tensor]]:
        """Give joints, softly read and at whole cells, and handedness of ``n`` held-out views."""
        truth = stack_examples(self._checks[0][:n])
        device = next(net.parameters()).device
        both: list[list[PairJoints]] = [[], []]
        handed = []
        for rgb in torch.split(truth["rgb"], _CHECK_BATCH):
            with torch.inference_mode():
                maps = InterMaps(*(out.float().cpu() for out in net(rgb.to(device))))
                for k, soft in enumerate((True, False)):
                    both[k].append(read_inter(maps, rgb.shape[-1], soft=soft))
                handed.append(maps.handed_logit)
        fields = PairJoints.__dataclass_fields__
        soft_joints, hard_joints = (
            PairJoints(*(torch.cat([getattr(j, name) for j in joints]) for name in fields))
            for joints in both
        )
        return soft_joints, hard_joints, torch.cat(handed), truth


@dataclass(frozen=True)
class HandOccRecipe(CropRecipe):
    """How HandOccNet is taught.

    Attributes:
        weights: What each loss weighs.
    """

    weights: HandOccWeights = field(default_factory=HandOccWeights)


class HandOccTask(CropTask):
    """Lessons for HandOccNet: SHPE's crops, and the hand model's pose of each."""

    with_pose = True

    def __init__(
        self, net: HandOccNet, recipe: HandOccRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory.

        Raises:
            SettingsError: The crops are not of the net's size.
            DataError: The made hands are of another hand model.
        """
        wanted_px = net.resolution_px
        check_crops(recipe, wanted_px, "the net's place tables are of one size")
        super().__init__(net, recipe, made_as=made_as)
        n_shape = self._truth["shape"].shape[1]
        if n_shape != N_SHAPE:
            raise DataError(
                f"made hands have {n_shape} shape scores, expected {N_SHAPE}; make them again with "
                "synth shards"
            )
        self._weights = recipe.weights
        self._hand = HandModel()

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare pose, shape and joints with the truth."""
        out = net(batch["rgb"])
        device = batch["rgb"].device
        # In full precision: millimetres of a hand are lost in half of it.
        with torch.autocast(device.type, enabled=False):
            return handocc_loss(
                HandOccAnswer(*(part.float() for part in out)),
                batch,
                self._hand.to(device),
                self._weights,
                self._recipe.crops.resolution_px,
            )

    def readings(self, out: tuple[Tensor, ...], resolution_px: int) -> tuple[Reading, Reading]:
        """Read heat softly, as published, and at whole cells; space is the hand model's in both.

        The net does not say which joints are seen.
        """
        answer = HandOccAnswer(*(part.float() for part in out))
        hand = self._hand.to(answer.shape.device)
        xyz = hand.joints(answer.turns_6d, answer.shape)
        stride_px = resolution_px / answer.heat_logit.shape[-1]

        def reading(*, soft: bool) -> Reading:
            cells, spread = read_heat(answer.heat_logit, soft=soft)
            uv_px = px_from_cells(cells, stride_px)
            sure = chance_right(log_error_palms(spread * stride_px, uv_px))
            return uv_px, xyz, sure, torch.zeros_like(sure) > 0

        return reading(soft=True), reading(soft=False)


@dataclass(frozen=True)
class MinimalRecipe(CropRecipe):
    """How minimal-hand is taught.

    Attributes:
        weights: What each loss weighs.
    """

    weights: MinimalWeights = field(default_factory=MinimalWeights)


class MinimalTask(CropTask):
    """Lessons for minimal-hand: SHPE's crops."""

    def __init__(
        self, net: nn.Module, recipe: MinimalRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory; ``net`` as :class:`MinimalHand`."""
        super().__init__(net, recipe, made_as=made_as)
        self._weights = recipe.weights

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare DetNet's maps and the posed hand with the truth."""
        *maps, posed_mm = net(batch["rgb"])
        return minimal_loss(
            maps_of(tuple(maps)),
            posed_mm.float(),
            batch,
            self._weights,
            self._recipe.crops.resolution_px,
        )

    def readings(self, out: tuple[Tensor, ...], resolution_px: int) -> tuple[Reading, Reading]:
        """Read the posed hand; and, at whole cells, what DetNet says before it is posed."""
        maps, posed_mm = maps_of(out), out[6].float()
        stride_px = resolution_px / maps.heat_logit.shape[-1]
        uv_px, _, sure, visible = as_reading(read_soft(maps), stride_px)
        return (uv_px, posed_mm, sure, visible), as_reading(read_argmax(maps), stride_px)


def make_pose_rival(name: str, values: dict[str, Any]) -> nn.Module:
    """Make a rival to be trained.

    Args:
        name: ``internet``, ``handoccnet`` or ``minimal_hand``.
        values: ``size``: ``small`` or ``paper``; ``start``: the weights of a trained net of this
            kind and size, or ``none``; ``trunk`` (not of minimal-hand): weights of the trunk alone,
            such as ``scripts/convert_efficientnet.py`` makes for the small sizes, or ``none``.

    Raises:
        SettingsError: A key or a value is unknown, or both starts are given.
        WeightsError: A start is missing or damaged, or does not fit.
    """
    known = {"size", "start"} | (set() if name == "minimal_hand" else {"trunk"})
    if not isinstance(values, dict) or set(values) - known:
        raise SettingsError(f"net is {values!r}, expected some of {', '.join(sorted(known))}")
    size = values.get("size", "small")
    start, trunk = (values.get(key) or "none" for key in ("start", "trunk"))
    sizes = _SIZES[name]
    if not all(isinstance(value, str) for value in (size, start, trunk)) or size not in sizes:
        files = ", ".join(f"{key}: FILE | none" for key in sorted(known - {"size"}))
        raise SettingsError(f"net is {values!r}, expected size: {' | '.join(sizes)}, {files}")
    if start != "none" and trunk != "none":
        raise SettingsError(
            f"net is {values!r}; start has a trunk of its own, give one of start and trunk"
        )
    net: nn.Module = sizes[size]()
    if start != "none":
        load_weights(net, Path(start))
    elif isinstance(net, MinimalHand):
        load_weights(net.ik, weights_path("ik"))
    elif trunk != "none":
        _start_trunk(net, Path(trunk))
    return net


def _start_trunk(net: nn.Module, path: Path) -> None:
    part = net.get_submodule("trunk")
    missing = sorted(set(part.state_dict()) - set(warm_start(part, path)))
    if missing:
        raise WeightsError(
            f"weights {path} are no trunk of this net.size: {missing[0]} is not in them or of "
            "another shape; name others, or trunk: none"
        )
