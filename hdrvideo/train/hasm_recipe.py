"""HASM's recipe: what it is shown, what is asked of it, how it is judged."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.config import check_folder_or_none, check_folders, check_number
from hdrvideo.datatypes import U8
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hasm import HandMasks
from hdrvideo.frame.pair import HasmReader, PairJoints, PairMaps
from hdrvideo.synth.place import PasteSettings
from hdrvideo.train.distract import add_distractors
from hdrvideo.train.mask_losses import mask_loss
from hdrvideo.train.mask_scores import mask_scores
from hdrvideo.train.pair_losses import pair_loss
from hdrvideo.train.pair_scores import pair_scores
from hdrvideo.train.pair_sheets import draw_pair_sheet
from hdrvideo.train.pair_truth import PairTruth
from hdrvideo.train.parallel import share_of
from hdrvideo.train.pictures import (
    EmptyPictures,
    MadePictures,
    PastedPictures,
    PasteGroups,
    PictureSource,
    hand_free_pictures,
)
from hdrvideo.train.views import MaskExample, ViewSettings, draw_example

_CHECK_SEED: Final = 7
_CHECK_BATCH: Final = 32
_SHEET_PICTURES: Final = 24


@dataclass(frozen=True)
class HasmData:
    """What HASM learns from.

    Attributes:
        made: Folders of shards of the made world, split train.
        held_out: Folders of shards of split test, for the checks.
        crops: Folder of harvested hands, for pastes; None = no pastes.
        hand_free: Folders of pictures without hands.
        people: Folders of pictures of people without hands: every other picture without hands, and
            what is laid into the rest now and then.
        made_share: Part of a batch from the made world.
        pasted_share: Part of a batch that is pasted.
        empty_share: Part of a batch without hands.
        distract_share: Part of the pictures with hands that get parts of ``people``.
        n_check: Held-out pictures that a check looks at.
    """

    made: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    crops: str | None = None
    hand_free: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    made_share: float = 0.7
    pasted_share: float = 0.22
    empty_share: float = 0.08
    distract_share: float = 0.35
    n_check: int = 512

    def __post_init__(self) -> None:
        self._check_types()
        shares = {name: getattr(self, f"{name}_share") for name in ("made", "pasted", "empty")}
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise SettingsError(f"shares are {shares}, expected 1 in all")
        for name, given in (("made", self.made), ("pasted", self.crops), ("empty", self.hand_free)):
            if shares[name] > 0 and not given:
                raise SettingsError(
                    f"{name}_share is {shares[name]} and there is nothing to take it from; name "
                    "a folder, or set the share to 0"
                )
        if not 0 <= self.distract_share <= 1:
            raise SettingsError(f"distract_share is {self.distract_share}, expected 0 to 1")
        if not self.held_out:
            raise SettingsError("held_out is empty; name a folder of shards of split test")

    def _check_types(self) -> None:
        for name in ("made", "held_out", "hand_free", "people"):
            check_folders(f"HasmData.{name}", getattr(self, name))
        check_folder_or_none("HasmData.crops", self.crops)
        for name in ("made_share", "pasted_share", "empty_share"):
            check_number(f"HasmData.{name}", getattr(self, name), 0, 1)
        check_number("HasmData.n_check", self.n_check, 1, 1_000_000, whole=True)


@dataclass(frozen=True)
class ViewsRecipe:
    """How a net that looks at both hands is taught.

    Attributes:
        data: What it learns from.
        views: How it is shown.
        batch: Pictures a step, over all workers.
        seed: Draws the batches.
    """

    data: HasmData
    views: ViewSettings = field(default_factory=ViewSettings)
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("batch", self.batch, 1, 65536, whole=True)
        check_number("seed", self.seed, 0, 2**31 - 1, whole=True)


@dataclass(frozen=True)
class HasmRecipe(ViewsRecipe):
    """How HASM is taught.

    Attributes:
        hidden_weight: Weight of hidden pixels.
    """

    hidden_weight: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("hidden_weight", self.hidden_weight, 0, 1000)


class ViewsTask(ABC):
    """Lessons for a net that looks at both hands; see :class:`hdrvideo.train.loop.Task`.

    Attributes:
        hint_shares: The checks are drawn once for each, with so many hints.
        pair_share: Part of the checks that are shown round the hands.
    """

    better = "score"
    hint_shares: tuple[float, ...] = (0.0, 1.0)
    pair_share = 0.5

    def __init__(
        self, net: nn.Module, recipe: ViewsRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory.

        Args:
            net: As its losses take it.
            recipe: How it is taught.
            made_as: How the net was made, to be written down: its start, what is frozen.

        Raises:
            DataError: A folder is missing, holds nothing of use, or is of the wrong split.
            ShapeError: The folder of crops is missing, or a crop is damaged.
        """
        self.net = net
        self._recipe = recipe
        self._made_as = dict(made_as or {})
        data = recipe.data
        empty = hand_free_pictures([Path(f) for f in data.hand_free], "train")
        self._people = hand_free_pictures([Path(f) for f in data.people], "train")
        self._sources: list[tuple[float, PictureSource]] = []
        if data.made_share:
            made = MadePictures([Path(f) for f in data.made], "train")
            self._sources.append((data.made_share, made))
        if data.pasted_share and data.crops is not None:
            settings = PasteSettings(
                size_px=recipe.views.resolution_px, hand_share=(0.2, 0.6), one_share=0.3,
                none_share=0.02,
            )  # fmt: skip
            groups = PasteGroups(
                Path(data.crops), "train", [*empty, *self._people], settings, seed=recipe.seed
            )
            self._sources.append((data.pasted_share, PastedPictures(groups)))
        if data.empty_share:
            self._sources.append((data.empty_share, EmptyPictures(empty, self._people)))
        self._held_out = MadePictures([Path(f) for f in data.held_out], "test", alone_share=0)
        self._checks = [self._draw_checks(share) for share in self.hint_shares]

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
        chosen = rng.choice(len(self._sources), n, p=[share for share, _ in self._sources])
        examples = []
        for k, (_, source) in enumerate(self._sources):
            for picture in source.draw(rng, int((chosen == k).sum())):
                if self._people and rng.random() < self._recipe.data.distract_share:
                    picture = add_distractors(picture, rng, self._people)
                examples.append(draw_example(picture, rng, self._recipe.views))
        return stack_examples(examples)

    @abstractmethod
    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare what the net says with the truth."""

    @abstractmethod
    def check(self, net: nn.Module) -> dict[str, float]:
        """Score held-out made pictures."""

    @abstractmethod
    def sheet(self, net: nn.Module) -> U8:
        """Draw what is said of some."""

    def _draw_checks(self, hint_share: float) -> list[MaskExample]:
        views = ViewSettings(
            self._recipe.views.resolution_px, turn_deg=4.0, letterbox_share=0.3, spoil=0.0,
            pair_scale=(1.3, 1.5), frame_scale=(0.95, 1.1), hint_share=hint_share,
            pair_share=self.pair_share,
        )  # fmt: skip
        n = min(self._recipe.data.n_check, len(self._held_out))
        step = len(self._held_out) / n
        rng = np.random.default_rng(_CHECK_SEED)
        return [draw_example(self._held_out[int(i * step)], rng, views) for i in range(n)]


class HasmTask(ViewsTask):
    """Lessons for HASM; its net is as :class:`hdrvideo.frame.hasm.HasmNet`."""

    def __init__(
        self, net: nn.Module, recipe: HasmRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory."""
        super().__init__(net, recipe, made_as=made_as)
        self._hidden_weight = recipe.hidden_weight

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare the net's masks and joints with the truth."""
        whole, share, presence, *maps = (out.float() for out in net(as_seen(batch)))
        losses = mask_loss(
            HandMasks(whole, share, presence),
            batch["visible"],
            batch["amodal"],
            batch["present"],
            batch["present_weight"],
            hidden_weight=self._hidden_weight,
        )
        pair = pair_loss(PairMaps(*maps), batch, self._recipe.views.resolution_px)
        return {**losses, **pair, "sum": losses["sum"] + pair["pair"]}

    def check(self, net: nn.Module) -> dict[str, float]:
        """Score held-out made pictures, without hints and (names ending in ``_told``) with them.

        ``score`` is the mean over what the masks are judged by, both ways; joints have no part in
        it, so that nets with and without them can be compared.
        """
        found, told = (self._scores(net, examples) for examples in self._checks)
        scores = {**found, **{f"{name}_told": value for name, value in told.items()}}
        scores["score"] = (found["score"] + told["score"]) / 2
        return scores

    def _scores(self, net: nn.Module, examples: list[MaskExample]) -> dict[str, float]:
        masks, joints, truth = self._said(net, examples)
        scores = mask_scores(masks, truth)
        return {**scores, **pair_scores(joints, truth)}

    def sheet(self, net: nn.Module) -> U8:
        """Draw masks on held-out pictures, half of them with hints."""
        n = _SHEET_PICTURES // 2
        return draw_pair_sheet(
            *self._said(net, [*self._checks[0][:n], *self._checks[1][n : 2 * n]])
        )

    def _said(
        self, net: nn.Module, examples: list[MaskExample]
    ) -> tuple[HandMasks, PairJoints, dict[str, Tensor]]:
        truth = stack_examples(examples)
        device = next(net.parameters()).device
        said = []
        for start in range(0, len(examples), _CHECK_BATCH):
            pictures = as_seen(truth)[start : start + _CHECK_BATCH].to(device)
            with torch.inference_mode():
                said.append([out.float().cpu() for out in HasmReader(net)(pictures)])
        parts = [torch.cat(each) for each in zip(*said, strict=True)]
        return HandMasks(*parts[:3]), PairJoints(*parts[3:]), truth


def as_seen(batch: dict[str, Tensor]) -> Tensor:
    """Join pictures and hints to what the net takes, ``(B, 6, R, R)``."""
    hints = functional.interpolate(batch["hints"], scale_factor=2.0, mode="nearest")
    return torch.cat([batch["rgb"], hints], dim=1)


def stack_examples(examples: list[MaskExample]) -> dict[str, Tensor]:
    """Stack examples into tensors, pictures ``(B, 3, R, R)`` in 0..1."""
    rgb_u8 = np.stack([e.rgb_u8 for e in examples]).transpose(0, 3, 1, 2)
    names = ("visible", "amodal", "hints", "present", "present_weight")
    stacked = {n: torch.from_numpy(np.stack([getattr(e, n) for e in examples])) for n in names}
    for n in PairTruth.__dataclass_fields__:
        stacked[n] = torch.from_numpy(np.stack([getattr(e.pair, n) for e in examples]))
    return {"rgb": torch.from_numpy(rgb_u8.astype(np.float32) / 255), **stacked}
