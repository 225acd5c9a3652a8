"""HDRM's recipe: what it is shown, what is asked of it, how it is judged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hdrvideo.config import check_number
from hdrvideo.frame.hdrm import find_regions
from hdrvideo.train.adversary import Adversary
from hdrvideo.train.paint_lessons import HdrmData as HdrmData
from hdrvideo.train.paint_lessons import PaintLessons, PaintRecipe
from hdrvideo.train.paint_losses import (
    feature_distance,
    l1_in,
    painted_holes,
    smoothness,
    style_distance,
)


@dataclass(frozen=True)
class PaintWeights:
    """What each term counts in the sum.

    Attributes:
        valid: L1 outside the holes.
        uncovered: L1 in the hand's hidden part.
        removed: L1 where the other hand was.
        features: Perceptual distance, of either hole.
        style: Difference of Gram matrices, of either hole.
        smooth: Total variation in the holes.
        fooled: The discriminator's; 0 = there is none.
    """

    valid: float = 1.0
    uncovered: float = 6.0
    removed: float = 6.0
    features: float = 0.3
    style: float = 0.3
    smooth: float = 0.1
    fooled: float = 0.02

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_number(f"PaintWeights.{name}", value, 0, 10_000)


@dataclass(frozen=True)
class HdrmRecipe(PaintRecipe):
    """How HDRM is taught.

    Attributes:
        weights: What counts how much.
        discriminator_width: Channels of the discriminator's first layer.
        discriminator_rate: Its learning rate, the same in every step.
    """

    weights: PaintWeights = field(default_factory=PaintWeights)
    discriminator_width: int = 16
    discriminator_rate: float = 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("discriminator_width", self.discriminator_width, 1, 4096, whole=True)
        check_number("discriminator_rate", self.discriminator_rate, 0, 10)


class HdrmTask(PaintLessons):
    """Lessons for HDRM; see :class:`hdrvideo.train.loop.Task`.

    The discriminator learns inside :meth:`losses`, before the net does, and is among what a run
    saves (:meth:`extra_state`).
    """

    def __init__(
        self, net: nn.Module, recipe: HdrmRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all data into memory; see :class:`PaintLessons`."""
        super().__init__(net, recipe, made_as=made_as)
        self._weights = recipe.weights
        self._adversary = Adversary(
            recipe.discriminator_width, recipe.discriminator_rate, seed=recipe.seed
        )

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare what is painted with the truth, and let the discriminator learn its part."""
        seen, known = batch["seen"], batch["known"]
        painted, weight = (out.float() for out in net(seen))
        self._features.to(seen.device)
        regions = find_regions(seen[:, 3:])
        bare = torch.lerp(seen[:, :3], painted, weight)
        # Where the truth is not known, what was said is taken for it.
        truth = torch.where(known > 0, batch["truth"], bare.detach())
        uncover, remove = painted_holes(regions, weight)
        holes = {"uncovered": uncover * known, "removed": remove * known}
        losses = {"valid": l1_in(painted, truth, (weight == 0) * known)}
        losses |= {name: l1_in(painted, truth, hole) for name, hole in holes.items()}
        found, wanted = self._features(bare), self._features(truth)
        zero = losses["valid"].new_zeros(())
        losses["features"] = sum((feature_distance(found, wanted, h) for h in holes.values()), zero)
        losses["style"] = sum((style_distance(found, wanted, h) for h in holes.values()), zero)
        hole = uncover + remove
        losses["smooth"] = smoothness(bare, hole)
        if self._weights.fooled:
            told = (regions.own_visible, regions.background)
            losses["discriminator"] = self._adversary.learn(bare.detach(), truth, told, hole)
            losses["fooled"] = self._adversary.judge(bare, told, hole)
        weights = asdict(self._weights)
        terms = [weights[name] * loss for name, loss in losses.items() if name in weights]
        return {**losses, "sum": torch.stack(terms).sum()}

    def extra_state(self) -> dict[str, Tensor]:
        """Give what is trained beside the net: the discriminator with its optimiser."""
        return self._adversary.state()

    def load_extra(self, tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`extra_state` gave."""
        self._adversary.load(tensors, next(self.net.parameters()).device)
