"""What all nets that paint hands are shown, and how they are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from hdrvideo.config import check_folder_or_none, check_folders, check_number
from hdrvideo.datatypes import F32, U8
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hdrm import compose, find_regions
from hdrvideo.train.aih_hands import AihBareHands
from hdrvideo.train.bare_crops import (
    BareExample,
    BareSource,
    CropSettings,
    MadeBareHands,
    PastedBareHands,
    draw_crop,
    pair_groups,
)
from hdrvideo.train.paint_losses import make_features, paint_scores
from hdrvideo.train.paint_sheets import draw_paint_sheet, inpaint
from hdrvideo.train.parallel import share_of

_CHECK_SEED: Final = 7
_CHECK_BATCH: Final = 32
SHEET_CROPS: Final = 24


@dataclass(frozen=True)
class HdrmData:
    """What HDRM learns from.

    Attributes:
        made: Folders of shards of the made world, split train.
        held_out: Folders of shards of split test, for the checks.
        crops: Folder of harvested hands, for pastes; None = no pastes.
        hand_free: Folders of pictures without hands, to lay pasted hands over.
        pasted_share: Part of a batch that is pasted.
        aih: Folder of the data set AIH (``docs/datasets.md``); None = it is not learnt from.
        aih_share: Part of a batch that is of it; the rest is made.
        n_check: Held-out crops that a check looks at.
    """

    made: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    crops: str | None = None
    hand_free: tuple[str, ...] = ()
    pasted_share: float = 0.3
    aih: str | None = None
    aih_share: float = 0.0
    n_check: int = 256

    def __post_init__(self) -> None:
        for name in ("made", "held_out", "hand_free"):
            check_folders(f"HdrmData.{name}", getattr(self, name))
        check_folder_or_none("HdrmData.crops", self.crops)
        check_folder_or_none("HdrmData.aih", self.aih)
        check_number("HdrmData.pasted_share", self.pasted_share, 0, 1)
        check_number("HdrmData.aih_share", self.aih_share, 0, 1 - self.pasted_share)
        check_number("HdrmData.n_check", self.n_check, 1, 1_000_000, whole=True)
        if self.aih_share and self.aih is None:
            raise SettingsError(
                f"aih_share is {self.aih_share} and HdrmData.aih is not given; name AIH's folder, "
                "or set the share to 0"
            )
        for share, name in ((self.pasted_share, "crops"), (self.made_share, "made")):
            if share > 0 and not getattr(self, name):
                raise SettingsError(
                    f"pasted_share is {self.pasted_share} and HdrmData.{name} is not given; name a "
                    "folder, or change the share"
                )
        if not self.held_out:
            raise SettingsError("held_out is empty; name a folder of shards of split test")

    @property
    def made_share(self) -> float:
        """Part of a batch that is made."""
        return max(0.0, 1 - self.pasted_share - self.aih_share)


@dataclass(frozen=True)
class PaintRecipe:
    """How a net that paints is taught.

    Attributes:
        data: What it learns from.
        crop: How it is shown.
        batch: Crops a step, over all workers.
        seed: Draws the batches, and a discriminator's start.
        features: SqueezeNet's file; None = the shipped landmark net's features.
    """

    data: HdrmData
    crop: CropSettings = field(default_factory=CropSettings)
    batch: int = 16
    seed: int = 0
    features: str | None = None

    def __post_init__(self) -> None:
        check_number("batch", self.batch, 1, 65536, whole=True)
        check_number("seed", self.seed, 0, 2**31 - 1, whole=True)
        if not isinstance(self.features, str | None):
            raise SettingsError(f"features is {self.features!r}, expected a file or null")


class PaintLessons:
    """Lessons without losses; see :class:`hdrvideo.train.loop.Task`."""

    better = "score"

    def __init__(
        self, net: nn.Module, recipe: PaintRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory.

        Args:
            net: As :class:`hdrvideo.frame.hdrm.HdrmNet`.
            recipe: How it is taught.
            made_as: How the net was made, to be written down.

        Raises:
            DataError: A folder is missing, holds nothing of use, or is of the wrong split.
            ShapeError: The folder of crops is missing, or a crop is damaged.
            WeightsError: The perceptual net's weights cannot be used.
        """
        self.net = net
        self._told = {
            "net": type(net).__name__,
            "made_as": dict(made_as or {}),
            **asdict(recipe),
        }
        self._batch, self._seed, self._crop = recipe.batch, recipe.seed, recipe.crop
        data = recipe.data
        self._sources: list[tuple[float, BareSource]] = []
        if data.made_share > 0:
            made = MadeBareHands([Path(f) for f in data.made], "train")
            self._sources.append((data.made_share, made))
        if data.pasted_share and data.crops is not None:
            groups = pair_groups(data.crops, data.hand_free, seed=recipe.seed)
            self._sources.append((data.pasted_share, PastedBareHands(groups)))
        if data.aih_share and data.aih is not None:
            self._sources.append((data.aih_share, AihBareHands(Path(data.aih))))
        self._features = make_features(recipe.features)
        self._checks = self._draw_checks(
            MadeBareHands([Path(f) for f in data.held_out], "test"), data.n_check
        )
        self._held_out = stack_crops(self._checks)
        self._trivial: dict[str, float] | None = None

    def describe(self) -> dict[str, Any]:
        """Give the recipe, the net's name and how it was made."""
        return self._told

    def batch(self, number: int, rank: int, world: int) -> dict[str, Tensor]:
        """Make worker ``rank``'s share of batch ``number``.

        Raises:
            SettingsError: The batch cannot be shared out evenly.
        """
        rng = np.random.default_rng([self._seed, number, rank])
        stacked = stack_crops(self.draw(rng, share_of(self._batch, world)))
        del stacked["exact"]
        return stacked

    def draw(self, rng: np.random.Generator, n: int) -> list[BareExample]:
        """Draw ``n`` crops of the training data."""
        chosen = rng.choice(len(self._sources), n, p=[share for share, _ in self._sources])
        return [
            draw_crop(picture, rng, self._crop)
            for k, (_, source) in enumerate(self._sources)
            for picture in source.draw(rng, int((chosen == k).sum()))
        ]

    def check(self, net: nn.Module) -> dict[str, float]:
        """Score held-out made crops with true masks, and with spoiled ones (``_spoiled``).

        Names ending in ``_unchanged`` and ``_telea`` are the same of the crop as it came and of
        OpenCV's inpainting (Telea 2004) in the very pixels that the net may paint. ``score`` is how
        much nearer to the truth than Telea's the net's answers are, as a share, mean of L1 in the
        holes and perceptual distance.
        """
        seen = self._held_out["seen"]
        exact = torch.cat([seen[:, :3], self._held_out["exact"]], dim=1)
        answer, weight = self._painted(net, exact)
        if self._trivial is None:
            telea = torch.stack([inpaint(*pair) for pair in zip(seen[:, :3], weight, strict=True)])
            self._trivial = {
                f"{name}_{kind}": value
                for kind, given in (("unchanged", seen[:, :3]), ("telea", telea))
                for name, value in self._scores(given).items()
            }
        scores = self._scores(answer) | self._trivial
        spoiled = self._scores(self._painted(net, seen)[0])
        scores["hole_l1_spoiled"] = spoiled["hole_l1"]
        ratios = [scores[name] / scores[f"{name}_telea"] for name in ("hole_l1", "perceptual")]
        scores["score"] = 1 - sum(ratios) / len(ratios)
        return scores

    def sheet(self, net: nn.Module) -> U8:
        """Draw held-out crops: as seen, the masks told, what is painted, the truth."""
        shown = {name: value[:SHEET_CROPS] for name, value in self._held_out.items()}
        answer, _ = self._painted(net, shown["seen"])
        return draw_paint_sheet(shown["seen"], answer, shown["truth"])

    def _scores(self, answer: Tensor) -> dict[str, float]:
        regions = find_regions(self._held_out["exact"])
        truth = self._held_out["truth"]
        return paint_scores(answer, truth, regions.uncover, regions.remove, self._features.cpu())

    def _painted(self, net: nn.Module, seen: Tensor) -> tuple[Tensor, Tensor]:
        device = next(net.parameters()).device
        bare, weights = [], []
        for start in range(0, len(seen), _CHECK_BATCH):
            part = seen[start : start + _CHECK_BATCH]
            with torch.inference_mode():
                painted, weight = (out.float().cpu() for out in net(part.to(device)))
            bare.append(compose(part[:, :3], painted, weight))
            weights.append(weight)
        return torch.cat(bare), torch.cat(weights)

    def _draw_checks(self, hands: MadeBareHands, n_check: int) -> list[BareExample]:
        crop = CropSettings(
            self._crop.resolution_px, scale_share=0.07, shift_share=0.04, turn_deg=7.0,
            box_share=0, recolour=False,
        )  # fmt: skip
        n = min(n_check, len(hands))
        step = len(hands) / n
        rng = np.random.default_rng(_CHECK_SEED)
        return [draw_crop(hands[int(i * step)], rng, crop) for i in range(n)]


def stack_crops(examples: Sequence[BareExample]) -> dict[str, Tensor]:
    """Stack examples into tensors.

    Returns:
        ``seen`` ``(B, 7, R, R)`` as the net takes it, ``truth`` ``(B, 3, R, R)`` in 0..1,
        ``known`` ``(B, 1, R, R)`` and ``exact`` ``(B, 4, R, R)`` masks.
    """

    def pictures(name: str) -> F32:
        rgb_u8 = np.stack([getattr(e, name) for e in examples]).transpose(0, 3, 1, 2)
        return np.asarray(rgb_u8 * np.float32(1 / 255), dtype=np.float32)

    masks, exact = (np.stack([getattr(e, name) for e in examples]) for name in ("masks", "exact"))
    known = np.stack([e.known for e in examples])[:, None]
    arrays = {
        "seen": np.concatenate([pictures("rgb_u8"), masks], axis=1),
        "truth": pictures("bare_u8"),
        "known": known,
        "exact": exact,
    }
    return {name: torch.from_numpy(value) for name, value in arrays.items()}
