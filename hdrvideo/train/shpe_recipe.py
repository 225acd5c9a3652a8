"""SHPE's recipe: what it is shown, what is asked of it, how it is judged."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.config import check_number
from hdrvideo.datatypes import N_JOINTS, U8
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.frame.detmaps import (
    DetJoints,
    DetMaps,
    chance_right,
    px_from_cells,
    read_argmax,
    read_soft,
)
from hdrvideo.frame.detnet import DetNetSmall
from hdrvideo.frame.shpe import LandmarkNet
from hdrvideo.train.bare_crops import CropSettings as HdrmCrops
from hdrvideo.train.bare_crops import PastedBareHands, pair_groups
from hdrvideo.train.mask_damage import spoil_masks
from hdrvideo.train.parallel import share_of
from hdrvideo.train.pose_crops import (
    CropSettings,
    MadeHands,
    PastedHands,
    PoseExample,
    draw_pose_example,
    stack_pose_examples,
)
from hdrvideo.train.pose_losses import PoseWeights, pose_loss
from hdrvideo.train.pose_scores import HandErrors, hidden_groups, reliability
from hdrvideo.train.pose_sheets import draw_pose_sheet
from hdrvideo.train.set_hands import SetHands
from hdrvideo.train.shpe_data import ShpeData

_CHECK_SEED: Final = 11
_CHECK_BATCH: Final = 32
_SHEET_HANDS: Final = 16
# Masks are spoiled as in HDRM's own lessons.
_HDRM_CROPS: Final = HdrmCrops()


@dataclass(frozen=True)
class CropRecipe:
    """How a net that reads one hand's crops is taught.

    Attributes:
        data: What it learns from.
        crops: How it is shown.
        batch: Crops a step, over all workers.
        seed: Draws the batches.
    """

    data: ShpeData
    crops: CropSettings = field(default_factory=CropSettings)
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("batch", self.batch, 1, 65536, whole=True)
        check_number("seed", self.seed, 0, 2**31 - 1, whole=True)


@dataclass(frozen=True)
class ShpeRecipe(CropRecipe):
    """How SHPE is taught.

    Attributes:
        weights: What each loss weighs.
    """

    weights: PoseWeights = field(default_factory=PoseWeights)


@dataclass(frozen=True)
class _Answer:
    """What is said of the checks' N crops: a :data:`Reading`, zero and False where not said."""

    uv_px: NDArray[Any]
    xyz: NDArray[Any]
    sure: NDArray[Any]
    visible: NDArray[np.bool_]


# What is read of B crops: joints in the crop (B, 21, 2), in space (B, 21, 3) of any unit, how sure
# they are (B, 21), and which are seen (B, 21) bool.
Reading = tuple[Tensor, Tensor, Tensor, Tensor]
# Takes crops (B, 3, R, R) and masks (B, 4, R, R), gives the hands whole and alone.
Painter = Callable[[Tensor, Tensor], Tensor]


class CropTask(ABC):
    """Lessons for a net that reads crops of one hand; see :class:`hdrvideo.train.loop.Task`.

    Attributes:
        with_pose: Whether it is taught the hand model's pose as well.
    """

    better = "score"
    with_pose = False

    def __init__(
        self,
        net: nn.Module,
        recipe: CropRecipe,
        *,
        made_as: Mapping[str, Any] | None = None,
        paint: Painter | None = None,
    ) -> None:
        """Read all data into memory.

        Args:
            net: Takes crops ``(B, 3, R, R)``.
            recipe: How it is taught.
            made_as: How the net was made, to be written down.
            paint: Takes away what is before or beside a hand; all hands that are not bare pass
                through it.

        Raises:
            DataError: A folder is missing, holds nothing of use, or is of the wrong split.
            ShapeError: The folder of harvested hands is missing, or one of them is damaged.
        """
        self.net = net
        self._recipe = recipe
        self._made_as = dict(made_as or {})
        data = recipe.data
        size, with_pose = data.least_size_px, self.with_pose
        self._made = MadeHands(
            [Path(f) for f in data.made], "train", least_size_px=size, with_pose=with_pose
        )
        self._pasted: PastedHands | None = None
        if data.crops is not None and data.pasted_share:
            groups = pair_groups(data.crops, data.hand_free, seed=recipe.seed)
            self._pasted = PastedHands(PastedBareHands(groups))
        self._sets: SetHands | None = None
        if data.sets:
            self._sets = SetHands(
                data.sets,
                part=data.sets_part,
                only_there=data.sets_only_there,
                least_size_px=size,
            )
        held_out = MadeHands(
            [Path(f) for f in data.held_out], "test", least_size_px=size, with_pose=with_pose
        )
        self._paint = paint
        self._hidden, examples = _draw_checks(held_out, recipe)
        self._truth = self._stacked(examples, np.random.default_rng(_CHECK_SEED))
        self._landmark: _Answer | None = None

    def describe(self) -> dict[str, Any]:
        """Give the recipe, the net's name and how it was made."""
        return {"net": type(self.net).__name__, "made_as": self._made_as, **asdict(self._recipe)}

    def batch(self, number: int, rank: int, world: int) -> dict[str, Tensor]:
        """Make worker ``rank``'s share of batch ``number``.

        Raises:
            SettingsError: The batch cannot be shared out evenly.
        """
        n = share_of(self._recipe.batch, world)
        rng = np.random.default_rng([self._recipe.seed, number, rank])
        data = self._recipe.data
        n_pasted = int(rng.binomial(n, data.pasted_share))
        n_sets = int(rng.binomial(n - n_pasted, data.sets_share / (1 - data.pasted_share)))
        hands = self._made.draw(rng, n - n_pasted - n_sets, bare_share=data.bare_share)
        if self._pasted is not None:
            hands += self._pasted.draw(rng, n_pasted, bare_share=data.bare_share)
        if self._sets is not None:
            hands += self._sets.draw(rng, n_sets, bare_share=data.bare_share)
        return self._stacked([draw_pose_example(h, rng, self._recipe.crops) for h in hands], rng)

    def _stacked(self, examples: list[PoseExample], rng: np.random.Generator) -> dict[str, Tensor]:
        """Stack examples, those with masks painted, by masks as HASM might have seen them."""
        batch = stack_pose_examples(examples)
        shown = [(k, e.masks) for k, e in enumerate(examples) if e.masks is not None]
        if self._paint is not None and shown:
            told = np.stack(
                [
                    spoil_masks(m, rng, _HDRM_CROPS.spoil, _HDRM_CROPS.no_other_share)
                    for _, m in shown
                ]
            )
            which = torch.tensor([k for k, _ in shown])
            batch["rgb"][which] = self._paint(batch["rgb"][which], torch.from_numpy(told))
        return batch

    @abstractmethod
    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare what the net says with the truth."""

    @abstractmethod
    def readings(self, out: tuple[Tensor, ...], resolution_px: int) -> tuple[Reading, Reading]:
        """Read what the net says of crops: softly, and at whole cells."""

    def check(self, net: nn.Module) -> dict[str, float]:
        """Score held-out made hands, each bare and as it is in its picture.

        Names are made of a score (:meth:`hdrvideo.train.pose_scores.HandErrors.scores`), ``bare``
        or ``pair``, a group of hidden shares in per cent (of both, as a bare picture's hand was
        hidden as well), and ``landmark`` for the landmark net's answer on the same crops, or
        ``argmax`` for the net's own, read at whole cells. ``pair`` is over hands with another hand
        in the picture, which is painted away if there is a painter. Further the reliability curve
        of confidence, and ``seen`` and ``hidden``, the shares of such joints that are told as such.
        ``score`` is the mean of both shares of right joints, bare and in pairs.
        """
        soft, hard = self._read(net)
        truth = {name: value.numpy() for name, value in self._truth.items()}
        answers = {"": soft, "_landmark": self._landmark_answer(), "_argmax": hard}
        metrics: dict[str, float] = {}
        for suffix, answer in answers.items():
            errors = HandErrors.of(answer.uv_px, answer.xyz, truth)
            for name, where in self._groups(finer=answer is not hard).items():
                for score, value in errors.scores(where).items():
                    metrics[f"{score}_{name}{suffix}"] = value
            if answer is soft:
                metrics |= reliability(soft.sure, errors.off_palms)
        seen = truth["visible"] > 0
        metrics["seen"] = _mean(soft.visible[seen])
        metrics["hidden"] = _mean(~soft.visible[~seen])
        parts = [metrics[f"{s}_{name}"] for s in ("pck", "pck3d") for name in ("bare", "pair")]
        metrics["score"] = sum(parts) / len(parts)
        return metrics

    def sheet(self, net: nn.Module) -> U8:
        """Draw held-out crops: hands of pairs, the most hidden among them, bare and as they are."""
        answer, _ = self._read(net)
        n = len(self._hidden)
        # From the most hidden hand to the least, in even steps.
        places = np.linspace(0, n - 1, min(_SHEET_HANDS // 2, n)).astype(int)
        chosen = np.argsort(-self._hidden, kind="stable")[places]
        rows = np.stack([chosen, n + chosen], axis=1).ravel()
        truth = {name: value.numpy()[rows] for name, value in self._truth.items()}
        return draw_pose_sheet(truth, answer.uv_px[rows], answer.xyz[rows], answer.sure[rows])

    def _groups(self, *, finer: bool) -> dict[str, NDArray[np.bool_]]:
        """Sort the checks' crops, first all bare ones, then the same hands as they are."""
        n = len(self._hidden)
        is_bare = np.arange(2 * n) < n
        groups = {"bare": is_bare, "pair": ~is_bare}
        if not finer:
            return groups
        by_hidden = hidden_groups(np.tile(self._hidden, 2))
        return groups | {f"{k}_{h}": groups[k] & by_hidden[h] for k in groups for h in by_hidden}

    def _read(self, net: nn.Module) -> tuple[_Answer, _Answer]:
        """Read the checks' crops by soft-argmax, and at whole cells."""
        device = next(net.parameters()).device
        read: list[list[list[NDArray[Any]]]] = [[], []]
        for crops in torch.split(self._truth["rgb"], _CHECK_BATCH):
            with torch.inference_mode():
                both = self.readings(net(crops.to(device)), crops.shape[-1])
                for k, said in enumerate(both):
                    read[k].append([value.cpu().numpy() for value in said])
        soft, hard = (_Answer(*map(np.concatenate, zip(*said, strict=True))) for said in read)
        return soft, hard

    def _landmark_answer(self) -> _Answer:
        """Ask the shipped landmark net, once."""
        if self._landmark is None:
            net = LandmarkNet()
            load_weights(net, weights_path("landmark"))
            size = (LandmarkNet.RESOLUTION_PX, LandmarkNet.RESOLUTION_PX)
            uv_px, xyz = [], []
            for rgb in torch.split(self._truth["rgb"], _CHECK_BATCH):
                if rgb.shape[-2:] != size:
                    rgb = functional.interpolate(rgb, size=size, mode="bilinear", antialias=True)
                with torch.inference_mode():
                    joints, _, _, world = net.eval()(rgb)
                uv_px.append(joints[..., :2])
                xyz.append(world)
            scale = self._recipe.crops.resolution_px / LandmarkNet.RESOLUTION_PX
            none = np.zeros((2 * len(self._hidden), N_JOINTS))
            self._landmark = _Answer(
                (torch.cat(uv_px) * scale - 0.5).numpy(), torch.cat(xyz).numpy(), none, none > 0
            )
        return self._landmark


class ShpeTask(CropTask):
    """Lessons for SHPE."""

    def __init__(
        self,
        net: nn.Module,
        recipe: ShpeRecipe,
        *,
        made_as: Mapping[str, Any] | None = None,
        paint: Painter | None = None,
    ) -> None:
        """Read all data into memory; ``net`` as :class:`hdrvideo.frame.detnet.DetNetSmall`.

        Raises:
            SettingsError: The crops are not of the net's size.
        """
        if isinstance(net, DetNetSmall):
            check_crops(recipe, net.RESOLUTION_PX, "the landmark net's trunk reads no other size")
        super().__init__(net, recipe, made_as=made_as, paint=paint)
        self._weights = recipe.weights

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare the net's maps and joints with the truth."""
        maps = maps_of(net(batch["rgb"]))
        return pose_loss(maps, batch, self._weights, self._recipe.crops.resolution_px)

    def readings(self, out: tuple[Tensor, ...], resolution_px: int) -> tuple[Reading, Reading]:
        """Read maps softly, and at whole cells."""
        maps = maps_of(out)
        stride_px = resolution_px / maps.heat_logit.shape[-1]
        return as_reading(read_soft(maps), stride_px), as_reading(read_argmax(maps), stride_px)


def check_crops(recipe: CropRecipe, wanted_px: int, reason: str) -> None:
    """Refuse crops that are not of a net's size.

    Raises:
        SettingsError: They are not.
    """
    if recipe.crops.resolution_px != wanted_px:
        raise SettingsError(
            f"crops.resolution_px is {recipe.crops.resolution_px}, expected {wanted_px}: {reason}"
        )


def as_reading(found: DetJoints, stride_px: float) -> Reading:
    """Give what was read from maps as a check wants it."""
    uv_px = px_from_cells(found.uv_cells, stride_px)
    return uv_px, found.xyz, chance_right(found.log_error), found.visible_logit > 0


def maps_of(out: tuple[Tensor, ...]) -> DetMaps:
    """Name the maps among what a net gives, in float32."""
    return DetMaps(*(values.float() for values in out[:6]))


def _draw_checks(held_out: MadeHands, recipe: CropRecipe) -> tuple[NDArray[Any], list[PoseExample]]:
    """Draw hands of pairs: hidden shares ``(N,)``, and ``2 N`` crops, all bare ones first."""
    pairs = np.flatnonzero(held_out.is_pair)
    if len(pairs) == 0:
        raise DataError("no held-out picture shows two hands; make more with synth shards")
    n = min(recipe.data.n_check, len(pairs))
    chosen = pairs[(np.arange(n) * len(pairs)) // n]
    settings = replace(recipe.crops, spoil=0.0)
    examples: list[PoseExample] = []
    for bare in (True, False):
        # The same squares for both.
        rng = np.random.default_rng(_CHECK_SEED)
        hands = (held_out.get(int(i), bare=bare) for i in chosen)
        examples += [draw_pose_example(hand, rng, settings) for hand in hands]
    return held_out.hidden_share[chosen], examples


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else math.nan
