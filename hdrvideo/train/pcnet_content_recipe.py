"""PCNet-C's recipe: holes cut into what is seen, the released losses, HDRM's checks.

After the released code (deocclusion, Apache-2.0). As released: the thing that is completed is what
is seen of it; a hole is cut into it by another thing's mask, and the picture as it was is the
truth, so no bare hand is ever seen in training; terms are means over all pixels; perceptual and
style terms of the raw answer and of the composite; total variation of the composite; a
discriminator of four channels, the raw answer and the visible mask, and all patches alike.
Departures, with their reasons:

* Features are the landmark net's or SqueezeNet's, in units of the truth's own
  (:mod:`hdrvideo.train.paint_losses`), as we have no VGG16 that may be shipped; the released
  weights of the perceptual term (0.1) and of style (250) are for its features: style weighs less.
* With ``truth: bare`` the net learns from the made world's bare hands as HDRM does. That is no
  longer self-supervised, and no longer PCNet; it tells apart what the net and what its lessons do.
* AdamW with a warm-up and a cosine (:mod:`hdrvideo.train.loop`) where it has Adam at 1e-4.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from hdrvideo.config import check_number
from hdrvideo.datatypes import F32, Bool
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hdrm import find_regions
from hdrvideo.train.adversary import Adversary
from hdrvideo.train.bare_crops import BareExample
from hdrvideo.train.paint_lessons import PaintLessons, PaintRecipe
from hdrvideo.train.paint_losses import feature_distance, smoothness, style_distance
from hdrvideo.train.pcnet_pairs import PairSettings, move_eraser

_TRUTHS: Final = ("seen", "bare")
_MOVES: Final = 12
# Only how an eraser is moved is asked for; squares are those of the crops.
_PAIRS: Final = PairSettings()


@dataclass(frozen=True)
class ContentWeights:
    """What each term counts in the sum.

    Attributes:
        valid: L1 outside the holes.
        hole: L1 in the holes.
        features: Perceptual distance, of the raw answer and of the composite.
        style: Difference of Gram matrices, of both.
        smooth: Total variation of the composite.
        fooled: The discriminator's; 0 = there is none.
    """

    valid: float = 1.0
    hole: float = 6.0
    features: float = 0.1
    style: float = 0.1
    smooth: float = 0.1
    fooled: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_number(f"ContentWeights.{name}", value, 0, 10_000)


@dataclass(frozen=True)
class PcnetContentRecipe(PaintRecipe):
    """How PCNet-C is taught.

    Attributes:
        weights: What counts how much.
        truth: ``seen``: holes are cut into what is seen; ``bare``: the made world's bare hands.
        discriminator_width: Channels of the discriminator's first layer.
        discriminator_rate: Its learning rate, the same in every step.
    """

    weights: ContentWeights = field(default_factory=ContentWeights)
    truth: str = "seen"
    discriminator_width: int = 16
    discriminator_rate: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.truth not in _TRUTHS:
            raise SettingsError(f"truth is {self.truth!r}, expected {' or '.join(_TRUTHS)}")
        check_number("discriminator_width", self.discriminator_width, 1, 4096, whole=True)
        check_number("discriminator_rate", self.discriminator_rate, 0, 10)


class PcnetContentTask(PaintLessons):
    """Lessons for PCNet-C; see :class:`hdrvideo.train.loop.Task`.

    The discriminator learns inside :meth:`losses`, before the net does, and is among what a run
    saves (:meth:`extra_state`).
    """

    def __init__(
        self,
        net: nn.Module,
        recipe: PcnetContentRecipe,
        *,
        made_as: Mapping[str, Any] | None = None,
    ) -> None:
        """Read all data into memory; see :class:`PaintLessons`."""
        super().__init__(net, recipe, made_as=made_as)
        self._weights = recipe.weights
        self._is_cut = recipe.truth == "seen"
        self._adversary = Adversary(
            *(recipe.discriminator_width, recipe.discriminator_rate), seed=recipe.seed, n_masks=1
        )

    def draw(self, rng: np.random.Generator, n: int) -> list[BareExample]:
        """Draw ``n`` crops, with holes cut into what is seen of them by one another's hands."""
        drawn = super().draw(rng, n)
        if not self._is_cut:
            return drawn
        erasers = [example.masks[0] >= 0.5 for example in drawn]
        return [cut_hole(drawn[k], erasers[(k + 1) % n], rng) for k in range(n)]

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare what is painted with the truth, and let the discriminator learn its part."""
        seen, known = batch["seen"], batch["known"]
        painted, weight = (out.float() for out in net(seen))
        self._features.to(seen.device)
        bare = torch.lerp(seen[:, :3], painted, weight)
        raw_truth, truth = (
            torch.where(known > 0, batch["truth"], said.detach()) for said in (painted, bare)
        )
        hole, everywhere = (weight > 0).to(weight.dtype), torch.ones_like(weight)
        unlike = (painted - raw_truth).abs()
        losses = {"valid": (unlike * (1 - hole)).mean(), "hole": (unlike * hole).mean()}
        pairs = [
            (self._features(said), self._features(true))
            for said, true in ((painted, raw_truth), (bare, truth))
        ]
        for name, distance in (("features", feature_distance), ("style", style_distance)):
            losses[name] = torch.stack([distance(*pair, everywhere) for pair in pairs]).sum()
        losses["smooth"] = smoothness(bare, everywhere)
        if self._weights.fooled:
            told = (find_regions(seen[:, 3:]).own_visible,)
            losses["discriminator"] = self._adversary.learn(
                painted.detach(), raw_truth, told, everywhere
            )
            losses["fooled"] = self._adversary.judge(painted, told, everywhere)
        weights = asdict(self._weights)
        terms = [weights[name] * loss for name, loss in losses.items() if name in weights]
        return {**losses, "sum": torch.stack(terms).sum()}

    def extra_state(self) -> dict[str, Tensor]:
        """Give what is trained beside the net: the discriminator with its optimiser."""
        return self._adversary.state()

    def load_extra(self, tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`extra_state` gave."""
        self._adversary.load(tensors, next(self.net.parameters()).device)


def cut_hole(example: BareExample, eraser: Bool, rng: np.random.Generator) -> BareExample:
    """Make a lesson of a crop as it is seen: another hand's mask is laid over it.

    The hand's hidden part is what the eraser covers of what is seen of it, the other hand's place
    what it covers of the background; what is really hidden is never asked for.

    Args:
        example: The crop; its bare hand is not looked at.
        eraser: ``(R, R)`` visible mask of a hand of another crop.
        rng: Moves the eraser.
    """
    visible, other, others = (example.masks[k] >= 0.5 for k in (0, 2, 3))
    over = eraser
    for _ in range(_MOVES):
        moved = move_eraser(visible, eraser, rng, _PAIRS)
        if moved is not None:
            over = moved
            break
    left = [visible & ~over, visible, over & ~visible & ~other, over | other | others]
    masks: F32 = np.stack(left).astype(np.float32)
    return replace(
        example, bare_u8=example.rgb_u8, known=np.ones_like(example.known), masks=masks, exact=masks
    )
