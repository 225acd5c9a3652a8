"""PCNet-M's recipe: pairs of visible masks, the released loss, and a check against whole masks.

After the released code (deocclusion, Apache-2.0): cross entropy of two classes, five times as heavy
inside the eraser, mean over all pixels. Departure: AdamW with a warm-up and a cosine, as our loop
has it, where the release has SGD with momentum 0.9 and steps down. The check is our own: released
scores pool the pixels of a data set for an IoU, ours are means over hands, as HASM's are; the order
is judged over pairs of which one hides the other.
"""

import math
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
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.rivals.pcnet_mask import CompletedPair, PcnetMasks
from hdrvideo.rivals.squares import masks_from
from hdrvideo.synth.stored import ShardPictures
from hdrvideo.train.mask_scores import mask_scores
from hdrvideo.train.mask_sheets import draw_mask_sheet
from hdrvideo.train.parallel import share_of
from hdrvideo.train.pcnet_pairs import PairSettings, VisibleHands, draw_pair

_CHECK_BATCH: Final = 32
_SHEET_PICTURES: Final = 24
# A hand counts as hidden from this part of its pixels on, as in the mask scores.
_HIDDEN_SHARE: Final = 0.05


@dataclass(frozen=True)
class PcnetMaskData:
    """What PCNet-M learns from.

    Attributes:
        made: Folders of shards of the made world, split train; only visible masks are read.
        held_out: Folders of shards of split test, for the checks.
        crops: Folder of harvested hands; None = none.
        crops_share: How often a mask is one of those; the rest is made.
        n_check: Held-out pictures that a check looks at.
    """

    made: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    crops: str | None = None
    crops_share: float = 0.3
    n_check: int = 256

    def __post_init__(self) -> None:
        for name in ("made", "held_out"):
            check_folders(f"PcnetMaskData.{name}", getattr(self, name))
        check_folder_or_none("PcnetMaskData.crops", self.crops)
        check_number("PcnetMaskData.crops_share", self.crops_share, 0, 1)
        check_number("PcnetMaskData.n_check", self.n_check, 1, 1_000_000, whole=True)
        for share, name in ((self.crops_share, "crops"), (1 - self.crops_share, "made")):
            if share > 0 and not getattr(self, name):
                raise SettingsError(
                    f"crops_share is {self.crops_share} and PcnetMaskData.{name} is not given; "
                    "name a folder, or change the share"
                )
        if not self.held_out:
            raise SettingsError("held_out is empty; name a folder of shards of split test")


@dataclass(frozen=True)
class PcnetMaskRecipe:
    """How PCNet-M is taught.

    Attributes:
        data: What it learns from.
        pairs: How it is shown.
        batch: Pairs a step, over all workers.
        seed: Draws the batches.
        inside_weight: Weight of pixels inside the eraser; those outside have 1.
    """

    data: PcnetMaskData
    pairs: PairSettings = field(default_factory=PairSettings)
    batch: int = 32
    seed: int = 0
    inside_weight: float = 5.0

    def __post_init__(self) -> None:
        check_number("batch", self.batch, 1, 65536, whole=True)
        check_number("seed", self.seed, 0, 2**31 - 1, whole=True)
        check_number("inside_weight", self.inside_weight, 0, 1000)


def completion_loss(logits: Tensor, target: Tensor, eraser: Tensor, inside_weight: float) -> Tensor:
    """Cross entropy of "the hand" and "not the hand", heavier inside the eraser; mean over pixels.

    Args:
        logits: ``(B, 2, R, R)``.
        target: ``(B, 1, R, R)`` 0 or 1.
        eraser: ``(B, 1, R, R)`` 0 or 1.
        inside_weight: Weight inside the eraser.
    """
    wrong = functional.cross_entropy(logits, target[:, 0].long(), reduction="none")
    return (wrong * (1 + (inside_weight - 1) * eraser[:, 0])).mean()


class PcnetMaskTask:
    """Lessons for PCNet-M; see :class:`hdrvideo.train.loop.Task`. No whole mask is learnt from."""

    better = "score"

    def __init__(
        self, net: nn.Module, recipe: PcnetMaskRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory.

        Args:
            net: As :class:`hdrvideo.rivals.pcnet_mask.PcnetMaskNet`.
            recipe: How it is taught.
            made_as: How the net was made, to be written down.

        Raises:
            DataError: A folder is missing, holds nothing of use, or is of the wrong split.
            ShapeError: The folder of crops is missing.
        """
        self.net = net
        self._recipe = recipe
        self._made_as = dict(made_as or {})
        data = recipe.data
        crops = None if data.crops is None else Path(data.crops)
        self._hands = VisibleHands([Path(f) for f in data.made], crops, data.crops_share)
        self._held_out = _read_held_out([Path(f) for f in data.held_out], data.n_check)

    def describe(self) -> dict[str, Any]:
        """Give the recipe, the net's name and how it was made."""
        return {"net": type(self.net).__name__, "made_as": self._made_as, **asdict(self._recipe)}

    def batch(self, number: int, rank: int, world: int) -> dict[str, Tensor]:
        """Make worker ``rank``'s share of batch ``number``.

        Raises:
            SettingsError: The batch cannot be shared out evenly.
        """
        rng = np.random.default_rng([self._recipe.seed, number, rank])
        pairs = [
            draw_pair(lambda: self._hands.draw(rng), rng, self._recipe.pairs)
            for _ in range(share_of(self._recipe.batch, world))
        ]
        names = ("modal", "eraser", "target")
        stacked = [torch.from_numpy(np.stack([getattr(p, n) for p in pairs])) for n in names]
        modal, eraser, target = (masks[:, None].float() for masks in stacked)
        return {"told": torch.cat([modal, eraser], dim=1), "target": target}

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare completed masks with what was there before something was cut off."""
        logits = net(batch["told"]).float()
        eraser, weight = batch["told"][:, 1:], self._recipe.inside_weight
        return {"sum": completion_loss(logits, batch["target"], eraser, weight)}

    def check(self, net: nn.Module) -> dict[str, float]:
        """Complete the true visible masks of held-out pictures and compare with the whole ones.

        Returns:
            ``iou_amodal``, ``iou_hidden`` (:func:`hdrvideo.train.mask_scores.mask_scores`),
            ``iou_amodal_unchanged`` (of the visible masks as they are), ``order``: part of the
            pictures in which a hand hides 5 % of the other where it is told which; and ``score``,
            the mean of the IoUs and the order.
        """
        said, known = self._said(net), self._held_out
        b = len(known["visible"])
        truth = {**known, "present_weight": torch.ones(b, 2)}
        scores = mask_scores(said.masks, truth)
        unchanged = mask_scores(masks_from(known["visible"], known["visible"]), truth)
        found = {name: scores[name] for name in ("iou_amodal", "iou_hidden")}
        found["order"] = order_score(said.order, known["visible"], known["amodal"])
        values = [value for value in found.values() if not math.isnan(value)]
        return {
            **found,
            "iou_amodal_unchanged": unchanged["iou_amodal"],
            "score": sum(values) / len(values) if values else math.nan,
        }

    def sheet(self, net: nn.Module) -> U8:
        """Draw held-out masks: seen, whole, said."""
        shown = {name: value[:_SHEET_PICTURES] for name, value in self._held_out.items()}
        whole = self._said(net).masks.amodal[:_SHEET_PICTURES]
        return draw_mask_sheet(shown["visible"], shown["amodal"], whole)

    def _said(self, net: nn.Module) -> CompletedPair:
        runner = PcnetMasks(
            net,
            resolution_px=self._recipe.pairs.resolution_px,
            device=next(net.parameters()).device,
        )
        visible = self._held_out["visible"]
        starts = range(0, len(visible), _CHECK_BATCH)
        said = [runner(visible[k : k + _CHECK_BATCH]) for k in starts]
        whole = torch.cat([pair.masks.amodal for pair in said])
        return CompletedPair(masks_from(visible, whole), torch.cat([pair.order for pair in said]))


def order_score(order: Tensor, visible: Tensor, amodal: Tensor) -> float:
    """Give how often it is told which of two hands hides the other; NaN if none does.

    Args:
        order: ``(B, 2, 2)``; see :func:`hdrvideo.rivals.pcnet_mask.recover_order`.
        visible: ``(B, 2, H, W)`` 0..1, the truth.
        amodal: Likewise.
    """
    seen, whole = visible >= 0.5, amodal >= 0.5
    under = (whole & ~seen & seen.flip(1)).sum(dim=(2, 3))
    counts = (under >= _HIDDEN_SHARE * whole.sum(dim=(2, 3)).clamp(min=1)).any(dim=1)
    true = torch.sign(under[:, 1] - under[:, 0])
    counts &= true != 0
    right = (order[:, 0, 1] == true)[counts].float()
    return float(right.mean()) if len(right) else math.nan


def _read_held_out(folders: list[Path], n_check: int) -> dict[str, Tensor]:
    """Read the masks of evenly chosen pictures that show two hands."""
    shards = [ShardPictures(folder, "test") for folder in folders]
    rows = [(shard, i) for shard in shards for i in range(len(shard))]
    rows = [(shard, i) for shard, i in rows if shard.masks(i)[0].any(axis=(1, 2)).all()]
    if not rows:
        raise DataError(
            f"no picture in {', '.join(map(str, folders))} shows two hands; make others with "
            "synth shards"
        )
    n = min(n_check, len(rows))
    chosen = [shard.masks(i) for shard, i in (rows[int(k * len(rows) / n)] for k in range(n))]
    sizes = sorted({pair[0].shape[1:] for pair in chosen})
    if len(sizes) > 1:
        raise DataError(f"held-out pictures are {sizes[0]} and {sizes[1]}; name shards of one size")
    visible, amodal = (np.stack([pair[k] for pair in chosen]) for k in (0, 1))
    present = amodal.any(axis=(2, 3))
    arrays = {"visible": visible, "amodal": amodal, "present": present}
    return {name: torch.from_numpy(value).float() for name, value in arrays.items()}
