"""What the refiner's windows are judged by.

After Deformer (Fu et al., ICCV 2023), sections 3.4 and 3.5: maxMSE on joints and mean squares on
turns, of each frame's own pose, of one motion forward and one backward, and of what is fused.
Departures: maxMSE has an epsilon (a perfect hand gave 0 / 0); what a hand in a frame loses grows as
a logarithm where it is large (:func:`tamed`), as a reading of the wrong hand would else outweigh a
thousand good ones; places in the picture, depth, and the second difference in time are asked for
too, as a track is judged by them; hands must not pass through one another
(:mod:`hdrvideo.penetration`).
"""

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.config import check_number
from hdrvideo.errors import SettingsError
from hdrvideo.hand import palm_length
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.refine import RefinedWindow
from hdrvideo.motion.states import PALM_MM, turns_of, wrists_of
from hdrvideo.penetration import HandSpheres
from hdrvideo.train.adversary import MotionAdversary
from hdrvideo.train.refine_windows import TrueStates

# Joints are judged in centimetres.
_CM: Final = 10.0
_EPSILON: Final = 1e-4
# The picture's loss turns from square to straight at a fiftieth of a palm, the others alike.
_BETA: Final = 0.02
# Where losses begin to grow as a logarithm: of joints, cm squared; in the picture, palms; of turns;
# of log depth; of second differences.
_TAME: Final = {"joints": 4.0, "picture": 0.1, "turns": 0.05, "depth": 0.05, "second": 0.3}
# A joint is right within this part of the palm.
RIGHT_PALMS: Final = 0.2
JOINT_BASES: Final = ("maxmse", "maxmse_detached", "mse")


@dataclass(frozen=True)
class RefineWeights:
    """What each loss weighs.

    Attributes:
        joints: Joints from the wrist, cm, by ``joint_basis``.
        turns: Turns' matrices.
        picture: Joints in the picture, palms.
        depth: Log depth of the wrist, and the way in depth between both hands.
        acceleration: Second differences of joints, cm a frame squared, and in the picture, palms.
        alone: What a frame by itself says, beside what is fused.
        motion: One motion forward and backward.
        sure: Chance that a joint is right.
        overlap: Hands that pass through one another.
        fooled: Motion that the discriminator takes for true; 0 = there is none.
        joint_basis: ``maxmse``, ``maxmse_detached`` (its weights give no gradient) or ``mse``.
    """

    joints: float = 0.15
    turns: float = 2.0
    picture: float = 30.0
    depth: float = 2.0
    acceleration: float = 1.5
    alone: float = 0.2
    motion: float = 0.1
    sure: float = 0.3
    overlap: float = 0.05
    fooled: float = 0.02
    joint_basis: str = "maxmse"

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.name != "joint_basis":
                check_number(f"weights.{f.name}", getattr(self, f.name), 0, 1e6)
        if self.joint_basis not in JOINT_BASES:
            raise SettingsError(
                f"weights.joint_basis is {self.joint_basis!r}, expected {', '.join(JOINT_BASES)}"
            )


def refine_loss(
    out: RefinedWindow,
    true: TrueStates,
    model: HandModel,
    weights: RefineWeights,
    adversary: MotionAdversary | None = None,
    spheres: HandSpheres | None = None,
) -> dict[str, Tensor]:
    """Give named losses of windows; ``sum`` is weighed.

    Args:
        out: What was said of B windows of T frames.
        true: The truth.
        model: The hand.
        weights: What each loss weighs.
        adversary: Judges each frame's own turns through the window, and learns from them.
        spheres: Tell where hands pass through one another.
    """
    weight = true.weight
    turned = weight[..., None] > 0
    true_state = torch.where(turned, true.state, out.fused.detach())
    true_mm = _joints(model, true_state)
    fused_mm = _joints(model, out.fused)
    alone_mm = _joints(model, out.state)

    def joints(said_mm: Tensor, mm: Tensor, where: Tensor) -> Tensor:
        lost = joint_loss(said_mm / _CM, mm / _CM, weights.joint_basis)
        return mean_where(tamed(lost, "joints"), where)

    picture, off_palms = _picture(fused_mm, out.fused, true_mm, true_state)
    pair = weight[:, :1] * weight[:, 1:]
    losses = {
        "joints": joints(fused_mm, true_mm, weight),
        "turns": mean_where(_turn_loss(out.fused, true_state), weight),
        "picture": mean_where(picture, weight),
        "depth": mean_where(_depth(out.fused[..., -1], true_state[..., -1]), weight)
        + mean_where(_depth(_between(out.fused), _between(true_state)), pair),
        "acceleration": _acceleration(fused_mm, out.fused, true_mm, true_state, weight),
        "alone": joints(alone_mm, true_mm, weight) * weights.joints
        + mean_where(_turn_loss(out.state, true_state), weight) * weights.turns
        + mean_where(_picture(alone_mm, out.state, true_mm, true_state)[0], weight)
        * weights.picture,
        "motion": _motion(out, true_state, true_mm, weight, model, weights),
        "sure": mean_where(_sure(out.sure_logit, off_palms, model), weight),
    }
    if spheres is not None:
        placed = [_placed(*pair_of) for pair_of in ((fused_mm, out.fused), (true_mm, true_state))]
        losses["overlap"] = _overlap(placed[0], placed[1].detach(), pair[:, 0], spheres)
    told = {}
    if adversary is not None:
        # Only windows in which the hand is there throughout are motion.
        whole = weight.amin(dim=2) > 0
        said_turns, true_turns = (turns_of(s[whole])[:, :, 1:] for s in (out.state, true_state))
        told["discriminator"] = adversary.learn(said_turns, true_turns)
        losses["fooled"] = adversary.judge(said_turns)
    total = sum((getattr(weights, name) * value for name, value in losses.items()), torch.zeros(()))
    return losses | told | {"sum": total}


def joint_loss(said: Tensor, true: Tensor, basis: str) -> Tensor:
    """Judge hands ``(..., 21, 3)``: ``(...)``.

    ``maxmse`` is the mean of squared distances, each weighed by its own share of their sum
    (Deformer, section 3.5), so the worst joints count most.
    """
    square = ((said - true) ** 2).sum(dim=-1)
    if basis == "mse":
        return square.mean(dim=-1)
    part = square / (square.sum(dim=-1, keepdim=True) + _EPSILON)
    if basis == "maxmse_detached":
        part = part.detach()
    return (part * square).sum(dim=-1)


def tamed(lost: Tensor, kind: str) -> Tensor:
    """Let a loss grow as its logarithm beyond what :data:`_TAME` says of its kind."""
    limit = _TAME[kind]
    return limit * torch.log1p(lost / limit)


def mean_where(values: Tensor, weight: Tensor) -> Tensor:
    """Give the mean of values by their weights; zero where there are none."""
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def _joints(model: HandModel, state: Tensor) -> Tensor:
    joints_mm = model.joints(turns_of(state).flatten(0, 2))
    return joints_mm.reshape(*state.shape[:3], -1, 3)


def _rays(joints_mm: Tensor, state: Tensor) -> Tensor:
    placed_mm = joints_mm + wrists_of(state)[..., None, :]
    return placed_mm[..., :2] / placed_mm[..., 2:].clamp_min(20.0)


def _smooth(off: Tensor) -> Tensor:
    return functional.smooth_l1_loss(off, torch.zeros_like(off), reduction="none", beta=_BETA)


def _picture(said_mm: Tensor, said: Tensor, true_mm: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Judge joints in the picture: ``(B, 2, T)``, and how far off they are, in palms."""
    palms = true[..., -1, None, None].exp() / PALM_MM
    off = (_rays(said_mm, said) - _rays(true_mm, true)) * palms
    lost = tamed(_smooth(off).mean(dim=(-1, -2)), "picture")
    return lost, off.detach().norm(dim=-1)


def _depth(said: Tensor, true: Tensor) -> Tensor:
    return tamed(_smooth(said - true), "depth")


def _turn_loss(said: Tensor, true: Tensor) -> Tensor:
    return tamed(((turns_of(said) - turns_of(true)) ** 2).mean(dim=(-1, -2, -3)), "turns")


def _between(state: Tensor) -> Tensor:
    """Give the way in depth from hand to hand, in palms, ``(B, 1, T)``."""
    depth_mm = state[..., -1].exp()
    return (depth_mm[:, 1:] - depth_mm[:, :1]) / PALM_MM * 0.3


def _acceleration(
    said_mm: Tensor, said: Tensor, true_mm: Tensor, true: Tensor, weight: Tensor
) -> Tensor:
    run = weight[:, :, 2:] * weight[:, :, 1:-1] * weight[:, :, :-2]
    palms = true[..., -1, None, None].exp() / PALM_MM
    pairs = (
        (said_mm / _CM, true_mm / _CM),
        (_rays(said_mm, said) * palms, _rays(true_mm, true) * palms),
    )
    total = torch.zeros(())
    for one, other in pairs:
        off = (one - other).diff(n=2, dim=2).norm(dim=-1).mean(dim=-1)
        total = total + mean_where(tamed(off, "second"), run)
    return total


def _motion(
    out: RefinedWindow,
    true: Tensor,
    true_mm: Tensor,
    weight: Tensor,
    model: HandModel,
    weights: RefineWeights,
) -> Tensor:
    """Judge one motion forward and one backward from each frame's own pose."""
    both = weight[:, :, 1:] * weight[:, :, :-1]
    steps = (
        (out.state[:, :, :-1] + out.forward[:, :, :-1], true[:, :, 1:], true_mm[:, :, 1:]),
        (out.state[:, :, 1:] + out.backward[:, :, 1:], true[:, :, :-1], true_mm[:, :, :-1]),
    )
    total = torch.zeros(())
    for said, there, there_mm in steps:
        said_mm = _joints(model, said)
        lost = joint_loss(said_mm / _CM, there_mm / _CM, weights.joint_basis)
        of_joints = tamed(lost, "joints")
        picture, _ = _picture(said_mm, said, there_mm, there)
        judged = weights.joints * of_joints + weights.turns * _turn_loss(said, there)
        total = total + mean_where(judged + weights.picture * picture, both)
    return total


def _sure(logit: Tensor, off_palms: Tensor, model: HandModel) -> Tensor:
    palms = float(palm_length(model.joints_mm.cpu().numpy())) / PALM_MM
    right = (off_palms <= RIGHT_PALMS * palms).to(logit.dtype)
    losses = functional.binary_cross_entropy_with_logits(logit, right, reduction="none")
    return losses.mean(dim=-1)


def _placed(joints_mm: Tensor, state: Tensor) -> Tensor:
    """Put both hands into the camera, the left one un-mirrored: ``(B, 2, T, 21, 3)``."""
    mirror = joints_mm.new_tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])[:, None, None]
    return (joints_mm + wrists_of(state)[..., None, :]) * mirror


def _overlap(said_mm: Tensor, true_mm: Tensor, both: Tensor, spheres: HandSpheres) -> Tensor:
    """Judge how far both hands pass through one another, where both are there ``(B, T)``.

    The spheres of hands that touch overlap a little; only what is more than in the truth counts.
    """
    there = both > 0
    if not there.any():
        return 0.0 * said_mm.sum()
    said, true = (
        spheres.overlap_mm2(mm[:, 0][there], mm[:, 1][there]) / _CM**2 for mm in (said_mm, true_mm)
    )
    return tamed((said - true).relu(), "joints").mean()
