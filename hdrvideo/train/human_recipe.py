"""Human De-occlusion's recipe: both nets at once, each by its own losses.

After facts about the released fragments (Zhou et al., CVPR 2021). As released: cross entropy of the
visible and the whole mask, and a fifth of it of each parsing, halved; for what is painted
reconstruction, correlation (Gram matrices over *positions* of the second layer of features) and
style, each of the raw answer and five times of the composite. Departures, with their reasons:

* What teaches the released nets nothing is left out: L1 and perceptual terms on masks after an
  argmax, through which no gradient flows, and both discriminators, whose gradients never reach the
  nets.
* Features are the landmark net's or SqueezeNet's, in units of the truth's own, as we have no VGG16
  that may be shipped; the released weights of correlation (1) and style (40) are for its features.
* Correlation is taken over at most 32x32 cells: over all positions of a large crop it does not fit
  into memory.
* The attention's parts are taught, too, as the mask nets' are; how the release gets them is not
  known.
* Parts are labelled from joints (:mod:`hdrvideo.train.hand_parts`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.config import check_number
from hdrvideo.datatypes import U8
from hdrvideo.rivals.human_deocclusion import TEMPLATE_PX, HumanDeocclusion
from hdrvideo.train.bare_crops import BareExample, draw_crop
from hdrvideo.train.hand_parts import hand_parts
from hdrvideo.train.mask_sheets import draw_mask_sheet
from hdrvideo.train.paint_lessons import SHEET_CROPS, PaintLessons, PaintRecipe, stack_crops
from hdrvideo.train.paint_losses import style_distance
from hdrvideo.train.parallel import share_of
from hdrvideo.train.templates import cluster_masks

# The composite counts so much more than the raw answer.
_COMPOSITE: Final = 5.0
_CORRELATED: Final = 1
_CORRELATED_CELLS: Final = 32
_TINY: Final = 1e-6
_CHECK_BATCH: Final = 32
# Crops for each template that are clustered.
_CROPS_EACH: Final = 8
# Two masks and two parsings; then the guides'.
_N_MASK_ANSWERS: Final = 4


@dataclass(frozen=True)
class HumanWeights:
    """What each term counts in the sum.

    Attributes:
        modal: Cross entropy of the visible mask.
        whole: Of the whole mask.
        parts: Of each of the two parsings of the mask nets, and of the mean of the guides'.
        reconstruction: L1 of what is painted.
        correlation: Difference of products of positions.
        style: Difference of Gram matrices.
    """

    modal: float = 0.5
    whole: float = 0.5
    parts: float = 0.1
    reconstruction: float = 2.0
    correlation: float = 0.05
    style: float = 0.05

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_number(f"HumanWeights.{name}", value, 0, 10_000)


@dataclass(frozen=True)
class HumanRecipe(PaintRecipe):
    """How both nets are taught.

    Attributes:
        weights: What counts how much.
    """

    weights: HumanWeights = field(default_factory=HumanWeights)


class HumanTask(PaintLessons):
    """Lessons for both nets; see :class:`hdrvideo.train.loop.Task`."""

    def __init__(
        self,
        net: HumanDeocclusion,
        recipe: HumanRecipe,
        *,
        made_as: Mapping[str, Any] | None = None,
    ) -> None:
        """Read all data into memory, and give a net that has none its templates.

        Templates are a function of the data and the seed; a net that was trained keeps its own.
        See :class:`PaintLessons`.
        """
        super().__init__(net, recipe, made_as=made_as)
        self._weights = recipe.weights
        templates = net.masks.templates
        if not templates.any():
            made = self._make_templates(len(templates), recipe.seed)
            templates.copy_(made)

    def batch(self, number: int, rank: int, world: int) -> dict[str, Tensor]:
        """Make worker ``rank``'s share of batch ``number``, with parts.

        Raises:
            SettingsError: The batch cannot be shared out evenly.
        """
        rng = np.random.default_rng([self._seed, number, rank])
        return stack_parts(self.draw(rng, share_of(self._batch, world)))

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare masks and parts, and what is painted, with the truth."""
        painted, weight, *said = (out.float() for out in net(batch["seen"]))
        masks, guides = said[:_N_MASK_ANSWERS], said[_N_MASK_ANSWERS:]
        losses = mask_losses(masks, batch)
        parts, known = batch["parts"], batch["parts_known"]
        guided = torch.stack([parts_loss(guide, parts, known) for guide in guides])
        losses["parts"] = losses["parts"] + guided.mean()
        losses |= self._content_losses(painted, weight, batch)
        weights = asdict(self._weights)
        terms = [weights[name] * loss for name, loss in losses.items()]
        return {**losses, "sum": torch.stack(terms).sum()}

    def _content_losses(
        self, painted: Tensor, weight: Tensor, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        seen, known = batch["seen"], batch["known"]
        self._features.to(seen.device)
        bare = torch.lerp(seen[:, :3], painted, weight)
        everywhere = torch.ones_like(weight)
        zero = weight.new_zeros(())
        losses = {"reconstruction": zero, "correlation": zero, "style": zero}
        for said, share in ((painted, 1.0), (bare, _COMPOSITE)):
            truth = torch.where(known > 0, batch["truth"], said.detach())
            found, wanted = self._features(said), self._features(truth)
            losses["reconstruction"] = (
                losses["reconstruction"] + share * (said - truth).abs().mean()
            )
            pair = (found[_CORRELATED], wanted[_CORRELATED])
            losses["correlation"] = losses["correlation"] + share * correlation_distance(*pair)
            style = style_distance(found, wanted, everywhere)
            losses["style"] = losses["style"] + share * style
        return losses

    def check(self, net: nn.Module) -> dict[str, float]:
        """Score what is painted as HDRM's is, and the masks of the same crops.

        ``iou_visible``, ``iou_amodal`` and ``iou_hidden`` are means over held-out crops with
        spoiled first masks, ``iou_amodal_unchanged`` of those first masks as whole ones, ``parts``
        the part of the whole hand's pixels that are given to the right part. ``score`` is the mean
        of the painting's and of ``iou_amodal``.
        """
        assert isinstance(net, HumanDeocclusion)
        scores = super().check(net.content)
        truth = stack_parts(self._checks)
        said = []
        for start in range(0, len(truth["seen"]), _CHECK_BATCH):
            seen = truth["seen"][start : start + _CHECK_BATCH].to(next(net.parameters()).device)
            with torch.inference_mode():
                said.append([out.float().cpu() for out in net.masks(seen[:, :3], seen[:, 3:4])])
        masks = mask_checks([torch.cat(each) for each in zip(*said, strict=True)], truth)
        return {**scores, **masks, "score": (scores["score"] + masks["iou_amodal"]) / 2}

    def sheet(self, net: nn.Module) -> U8:
        """Draw held-out crops as HDRM's are; below, masks: as told, the truth, what was said.

        Of masks the own hand is orange-red, the other, of which nothing is said, blue.
        """
        assert isinstance(net, HumanDeocclusion)
        painted = super().sheet(net.content)
        seen, exact = (self._held_out[name][:SHEET_CROPS] for name in ("seen", "exact"))
        there = seen.to(next(net.parameters()).device)
        with torch.inference_mode():
            modal, whole, *_ = net.masks(there[:, :3], there[:, 3:4])
        said = torch.maximum(modal.argmax(dim=1), whole.argmax(dim=1))[:, None].float().cpu()
        masks = draw_mask_sheet(
            seen[:, [3, 5]], exact[:, [1, 3]], torch.cat([said, exact[:, 3:]], dim=1)
        )
        return np.concatenate([painted, masks])

    def _make_templates(self, n: int, seed: int) -> Tensor:
        # Of made hands, if there are any: their outlines are exact, and pasting takes minutes.
        rng, source = np.random.default_rng(seed), self._sources[0][1]
        pictures = source.draw(rng, _CROPS_EACH * n)
        masks = [draw_crop(picture, rng, self._crop).exact[1] for picture in pictures]
        whole = torch.from_numpy(np.stack(masks))
        small = functional.adaptive_avg_pool2d(whole[:, None], TEMPLATE_PX)[:, 0]
        return cluster_masks(small, n, seed=seed)


def stack_parts(examples: list[BareExample]) -> dict[str, Tensor]:
    """Stack examples into tensors.

    Returns:
        ``seen``, ``truth`` and ``known`` of :func:`hdrvideo.train.paint_lessons.stack_crops`;
        ``own`` ``(B, 2, R, R)`` 0 or 1, the hand's true visible and whole mask; ``parts``
        ``(B, R, R)`` int64 labels of the whole hand, and ``parts_known`` ``(B,)`` 0 or 1.
    """
    stacked = stack_crops(examples)
    own = (stacked.pop("exact")[:, :2] >= 0.5).float()
    is_known = [bool(np.isfinite(example.uv_px).all()) for example in examples]
    labels = [
        hand_parts(example.uv_px, mask.numpy()) if there else np.zeros(mask.shape, np.int64)
        for example, mask, there in zip(examples, own[:, 1] > 0, is_known, strict=True)
    ]
    return {
        **stacked,
        "own": own,
        "parts": torch.from_numpy(np.stack(labels)),
        "parts_known": torch.tensor(is_known, dtype=torch.float32),
    }


def mask_losses(said: list[Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give ``modal``, ``whole`` and ``parts``, the cross entropies of the mask nets' answers.

    Args:
        said: The four of :class:`hdrvideo.rivals.human_deocclusion.HumanMaskNet`.
        batch: See :func:`stack_parts`.
    """
    own, parts, known = batch["own"], batch["parts"], batch["parts_known"]
    modal, whole, seen_parts, whole_parts = said
    shown = parts * own[:, 0].long()
    return {
        "modal": functional.cross_entropy(modal, own[:, 0].long()),
        "whole": functional.cross_entropy(whole, own[:, 1].long()),
        "parts": parts_loss(seen_parts, shown, known) + parts_loss(whole_parts, parts, known),
    }


def parts_loss(logits: Tensor, parts: Tensor, known: Tensor) -> Tensor:
    """Give the cross entropy of parts, mean over the pixels of hands whose parts are known.

    Args:
        logits: ``(B, 7, r, r)``.
        parts: ``(B, R, R)`` int64 labels, of which the nearest are taken.
        known: ``(B,)`` 0 or 1.
    """
    size = logits.shape[-2:]
    labels = functional.interpolate(parts[:, None].float(), size=size, mode="nearest")[:, 0].long()
    wrong = functional.cross_entropy(logits, labels, reduction="none").mean(dim=(1, 2))
    return (wrong * known).sum() / known.sum().clamp(min=1)


def correlation_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Give the mean absolute difference of products of positions, in units of the truth's.

    Args:
        found: ``(B, C, h, w)`` features of a picture.
        wanted: Those of the truth.
    """
    h, w = found.shape[-2:]
    cells = min(h, _CORRELATED_CELLS), min(w, _CORRELATED_CELLS)
    x, y = (functional.adaptive_avg_pool2d(f, cells).flatten(2) for f in (found, wanted))
    products = [f.mT @ f / f.shape[1] for f in (x, y)]
    unit = y.square().mean() + _TINY
    return (products[0] - products[1]).abs().mean() / unit


def mask_checks(said: list[Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    """Score the mask nets' answers on crops; see :meth:`HumanTask.check`."""
    shown, whole = (logits.argmax(dim=1) > 0 for logits in said[:2])
    whole = whole | shown
    seen, own = (truth["own"][:, k] > 0 for k in (0, 1))
    first = truth["seen"][:, 3] >= 0.5
    hidden = own & ~seen
    told = said[3].argmax(dim=1) == truth["parts"]
    judged = own & (truth["parts_known"] > 0)[:, None, None]
    return {
        "iou_visible": mean_iou(shown, seen),
        "iou_amodal": mean_iou(whole, own),
        "iou_hidden": mean_iou(whole & ~shown, hidden),
        "iou_amodal_unchanged": mean_iou(first, own),
        "parts": float((told & judged).sum() / judged.sum().clamp(min=1)),
    }


def mean_iou(found: Tensor, wanted: Tensor) -> float:
    """Give the mean IoU of masks ``(B, R, R)`` bool over crops where there is any; NaN if none."""
    there = wanted.flatten(1).any(dim=1)
    both, either = (m.flatten(1).sum(dim=1)[there] for m in (found & wanted, found | wanted))
    return float((both / either).mean()) if len(both) else float("nan")
