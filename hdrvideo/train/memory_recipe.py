"""The recipe of a painter's memory: what it is shown, what is asked of it, how it is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from hdrvideo.config import check_folders, check_number
from hdrvideo.datatypes import U8
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.frame.hdrm import compose, find_regions, layers_seen
from hdrvideo.motion.carry import LayerMotion, View, find_motion
from hdrvideo.motion.flow import DisFlow
from hdrvideo.motion.memory import Answer, Layers, MemoryNet, recall, remember, told
from hdrvideo.train.bare_clips import BareClip, list_clips, load_clip
from hdrvideo.train.bare_crops import CropSettings
from hdrvideo.train.clip_crops import ClipCrops, draw_clip, hands_of
from hdrvideo.train.clip_scores import clip_scores, mean_scores, warp_error
from hdrvideo.train.paint_losses import (
    feature_distance,
    l1_in,
    make_features,
    painted_holes,
    smoothness,
    style_distance,
)
from hdrvideo.train.paint_sheets import draw_paint_sheet
from hdrvideo.train.parallel import share_of

_CHECK_SEED: Final = 7
_SHEET_CROPS: Final = 24
_CHECK_CROPS: Final = CropSettings(
    scale_share=0.07, shift_share=0.04, turn_deg=7.0, box_share=0, no_other_share=0, recolour=False
)


@dataclass(frozen=True)
class MemoryData:
    """What the memory learns from.

    Attributes:
        clips: Folders of bare clips of split train.
        held_out: Folders of bare clips of split test, for the checks.
        n_check: Held-out hands that a check looks at.
    """

    clips: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    n_check: int = 16

    def __post_init__(self) -> None:
        for name in ("clips", "held_out"):
            check_folders(f"MemoryData.{name}", getattr(self, name))
            if not getattr(self, name):
                raise SettingsError(f"data.{name} is empty; name a folder of bare clips")
        check_number("MemoryData.n_check", self.n_check, 1, 1_000_000, whole=True)


@dataclass(frozen=True)
class MemoryWeights:
    """What each term counts in the sum; all but ``warp`` as in HDRM's recipe.

    Attributes:
        uncovered: L1 in the hand's hidden part.
        removed: L1 where the other hand was.
        features: Perceptual distance, of either hole.
        style: Difference of Gram matrices, of either hole.
        smooth: Total variation in the holes.
        warp: Difference from what was painted in the frame before, along the hand's true motion.
    """

    uncovered: float = 6.0
    removed: float = 6.0
    features: float = 0.3
    style: float = 0.3
    smooth: float = 0.1
    warp: float = 1.5

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_number(f"MemoryWeights.{name}", value, 0, 10_000)


@dataclass(frozen=True)
class MemoryRecipe:
    """How the memory is taught.

    Attributes:
        data: What it learns from.
        crop: How hands are cut out.
        weights: What counts how much.
        frames: Frames in a row that it sees.
        batch: Hands a step, over all workers.
        seed: Draws the batches.
    """

    data: MemoryData
    crop: CropSettings = field(default_factory=CropSettings)
    weights: MemoryWeights = field(default_factory=MemoryWeights)
    frames: int = 4
    batch: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("frames", self.frames, 2, 1000, whole=True)
        check_number("batch", self.batch, 1, 65536, whole=True)
        check_number("seed", self.seed, 0, 2**31 - 1, whole=True)


class MemoryTask:
    """Lessons for a painter's memory; see :class:`hdrvideo.train.loop.Task`.

    No discriminator: the gates choose among colours that there are, and make none.
    """

    better = "score"

    def __init__(
        self, net: MemoryNet, recipe: MemoryRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """List the clips and cut out the held-out hands.

        Args:
            net: The net.
            recipe: How it is taught.
            made_as: How the net was made, to be written down.

        Raises:
            DataError: A folder is missing, holds nothing of use, or is of the wrong split.
        """
        self.net: nn.Module = net
        self._n_features = net.n_features
        self._recipe = recipe
        self._made_as = dict(made_as or {})
        self._paths = [p for f in recipe.data.clips for p in list_clips(Path(f), "train")]
        self._features = make_features(None)
        self._flow = DisFlow()
        self._checks = self._draw_checks()
        self._alone: dict[str, float] | None = None

    def describe(self) -> dict[str, Any]:
        """Give the recipe, the net's name and how it was made."""
        return {"net": type(self.net).__name__, "made_as": self._made_as, **asdict(self._recipe)}

    def batch(self, number: int, rank: int, world: int) -> dict[str, Tensor]:
        """Make worker ``rank``'s share of batch ``number``; time is the second axis.

        Raises:
            SettingsError: The batch cannot be shared out evenly.
            DataError: No clip has a hand of use.
        """
        n = share_of(self._recipe.batch, world)
        rng = np.random.default_rng([self._recipe.seed, number, rank])
        return stack_clips([self._draw(rng) for _ in range(n)], self._flow)

    def _draw(self, rng: np.random.Generator) -> ClipCrops:
        for _ in range(100):
            clip = load_clip(self._paths[int(rng.integers(len(self._paths)))])
            sides = hands_of(clip)
            n = self._recipe.frames
            if not sides or len(clip) < n:
                continue
            start = int(rng.integers(len(clip) - n + 1))
            side = sides[int(rng.integers(len(sides)))]
            return draw_clip(clip, side, slice(start, start + n), rng, self._recipe.crop)
        raise DataError(
            f"of 100 clips none has {self._recipe.frames} frames with a hand beside another; make "
            "longer ones with `hdrvideo train clips`"
        )

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare what is painted in a row with the truth, and with what was painted before."""
        seen, truth, before_px = batch["seen"], batch["truth"], batch["before_px"]
        self._features.to(seen.device)
        answers = paint_clips(net, self._n_features, seen, motions_of(batch))
        weights = asdict(self._recipe.weights)
        total = {name: seen.new_zeros(()) for name in weights}
        n_steps = seen.shape[1] - 1
        for t in range(1, seen.shape[1]):
            bare, weight = answers[t]
            holes = painted_holes(find_regions(seen[:, t, 3:]), weight)
            terms = {
                name: l1_in(bare, truth[:, t], hole)
                for name, hole in zip(("uncovered", "removed"), holes, strict=True)
            }
            exact = find_regions(batch["exact"][:, t]).uncover
            terms["warp"] = warp_error(bare, answers[t - 1][0], before_px[:, t], exact)
            terms["smooth"] = smoothness(bare, holes[0] + holes[1])
            if t == n_steps:
                # Perceptual terms are dear: of the last frame alone.
                found, wanted = self._features(bare), self._features(truth[:, t])
                for name, unlike in (("features", feature_distance), ("style", style_distance)):
                    parts = [unlike(found, wanted, hole) for hole in holes]
                    terms[name] = n_steps * torch.stack(parts).sum()
            for name, value in terms.items():
                total[name] = total[name] + value / n_steps
        weighted = [weights[name] * value for name, value in total.items()]
        return {**total, "sum": torch.stack(weighted).sum()}

    def check(self, net: nn.Module) -> dict[str, float]:
        """Score held-out hands, their masks spoiled; ``_alone`` is each frame by itself.

        ``score`` is by how much less, as a share, mean of L1 in the holes and flicker, hands
        deviate than painted alone.
        """
        if self._alone is None:
            self._alone = self._scores(net, with_memory=False)
        scores = self._scores(net, with_memory=True)
        ratios = [scores[name] / self._alone[name] for name in ("hole_l1", "flicker")]
        scores["score"] = 1 - sum(ratios) / len(ratios)
        return scores | {f"{name}_alone": value for name, value in self._alone.items()}

    def sheet(self, net: nn.Module) -> U8:
        """Draw held-out hands: as seen, the masks told, what is painted, the truth."""
        seen, bare, truth = [], [], []
        for crops in self._checks[:_SHEET_CROPS]:
            painted = self._painted(net, crops, with_memory=True)
            seen.append(torch.from_numpy(crops.seen[-1]))
            bare.append(painted[-1])
            truth.append(torch.from_numpy(crops.truth[-1]))
        return draw_paint_sheet(torch.stack(seen), torch.stack(bare), torch.stack(truth))

    def _scores(self, net: nn.Module, *, with_memory: bool) -> dict[str, float]:
        found = [
            clip_scores(self._painted(net, crops, with_memory=with_memory), crops)
            for crops in self._checks
        ]
        return mean_scores(found)

    def _painted(self, net: nn.Module, crops: ClipCrops, *, with_memory: bool) -> Tensor:
        device = next(net.parameters()).device
        batch = {n: v.to(device) for n, v in stack_clips([crops], self._flow).items()}
        motions = motions_of(batch) if with_memory else [None] * len(crops)
        with torch.inference_mode():
            answers = paint_clips(net, self._n_features, batch["seen"], motions)
        return torch.cat([bare for bare, _ in answers]).cpu()

    def _draw_checks(self) -> list[ClipCrops]:
        recipe = self._recipe
        settings = replace(
            _CHECK_CROPS, resolution_px=recipe.crop.resolution_px, spoil=recipe.crop.spoil
        )
        clips: list[tuple[BareClip, int]] = []
        for path in [p for f in recipe.data.held_out for p in list_clips(Path(f), "test")]:
            clip = load_clip(path)
            clips += [(clip, side) for side in hands_of(clip)]
        if not clips:
            raise DataError(
                "no held-out clip has a hand beside another; make more with `hdrvideo train clips`"
            )
        step = len(clips) / min(recipe.data.n_check, len(clips))
        chosen = [clips[int(k * step)] for k in range(round(len(clips) / step))]
        return [
            draw_clip(clip, side, slice(None), np.random.default_rng([_CHECK_SEED, k]), settings)
            for k, (clip, side) in enumerate(chosen)
        ]


def stack_clips(clips: Sequence[ClipCrops], flow: DisFlow) -> dict[str, Tensor]:
    """Stack rows of crops, all of one length, and find their layers' motion.

    Returns:
        ``seen`` ``(B, T, 7, R, R)``, ``truth`` ``(B, T, 3, R, R)``, ``exact`` ``(B, T, 4, R, R)``,
        ``before_px`` ``(B, T, R, R, 2)``, ``place_px`` ``(B, T, 2, R, R, 2)`` and ``trust``
        ``(B, T, 2, R, R)``; the last two are NaN and 0 in the first crops.
    """
    names = ("seen", "truth", "exact", "before_px")
    batch = {n: torch.from_numpy(np.stack([getattr(c, n) for c in clips])) for n in names}
    seen = batch["seen"]
    b, t, _, r, _ = seen.shape
    sees = layers_seen(find_regions(seen[:, :, 3:].flatten(0, 1)))
    sees = sees.view(b, t, *sees.shape[1:])
    affines = np.stack([c.frame_from_crop for c in clips], axis=1)
    views = [View(seen[:, k, :3], sees[:, k], affines[k]) for k in range(t)]
    motions = [find_motion(flow, now, before) for before, now in pairwise(views)]
    place_px = torch.full((b, t, 2, r, r, 2), torch.nan)
    trust = torch.zeros(b, t, 2, r, r)
    for k, motion in enumerate(motions, start=1):
        place_px[:, k], trust[:, k] = motion.place_px, motion.trust
    return {**batch, "place_px": place_px, "trust": trust}


def motions_of(batch: dict[str, Tensor]) -> list[LayerMotion | None]:
    """Give each frame's motion of the layers; the first has none."""
    places, trusts = batch["place_px"].unbind(1), batch["trust"].unbind(1)
    pairs = zip(places[1:], trusts[1:], strict=True)
    return [None, *(LayerMotion(place, trust) for place, trust in pairs)]


def paint_clips(
    net: nn.Module, n_features: int, seen: Tensor, motions: Sequence[LayerMotion | None]
) -> list[tuple[Tensor, Tensor]]:
    """Paint rows of crops, one after another, as ``annotate`` does.

    Args:
        net: A :class:`MemoryNet`, or a wrap of one.
        n_features: Of that net.
        seen: ``(B, T, 7, R, R)``.
        motions: Of each frame; None = nothing is remembered there.

    Returns:
        For each frame the crops as they come out ``(B, 3, R, R)``, and how much of them is painted
        ``(B, 1, R, R)``.
    """
    layers: Layers | None = None
    out = []
    for now, motion in zip(seen.unbind(1), motions, strict=True):
        regions = find_regions(now[:, 3:])
        sees = layers_seen(regions)
        recalled, steady = Layers.nothing(now, n_features), now
        if layers is not None and motion is not None:
            recalled, steady = recall(layers, motion, now)
        answer = Answer.from_outputs(net(told(steady, recalled)))
        weight = answer.weight * regions.need[:, None, None, None]
        out.append((compose(now[:, :3], answer.rgb, weight), weight))
        kept = remember(recalled, steady, sees, answer)
        layers = _either(regions.needed, kept, Layers.of_seen(now, sees, n_features))
    return out


def _either(needed: Tensor, kept: Layers, fresh: Layers) -> Layers:
    """Go on with what is kept of hands that were painted, and anew with the others."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(needed.view(-1, *[1] * (a.ndim - 1)), a, b)

    names = [f.name for f in fields(Layers)]
    return Layers(*(choose(getattr(kept, name), getattr(fresh, name)) for name in names))
