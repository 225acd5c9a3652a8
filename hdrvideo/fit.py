"""Joints go in, 3D or 2D, noisy or partly missing; the hand model's pose and shape come out.

The answer has constant bone lengths, joint angles within :data:`JOINT_LIMITS_DEG`, and through
:class:`hdrvideo.handmodel.HandModel` a mesh. It is the most likely hand under independent noise on
the joints (Huber's loss), a standard normal prior on the shape's scores and a loose one on the
angles: what the joints do not show, such as a straight finger's twist or a joint beyond the last
one given, stays as in a relaxed hand. How much noise there is, is measured on each hand.

``first_guess`` starts (with the net of ``ik``), ``solve`` improves, ``chain`` knows the joints.

* **2D** needs the camera. Depth rests on the size of the hand, so on the shape's prior; give
  ``shape`` where it is known.
* **A clip**: ``share_shape=True`` finds one shape for the whole batch.
* A hand with fewer than :data:`MIN_JOINTS` joints is not fitted: all its numbers are NaN.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from hdrvideo.chain import Chain, Hands
from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.datatypes import check_array
from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.first_guess import N_STARTS, Guesser
from hdrvideo.hand import N_JOINTS
from hdrvideo.handmodel import (
    POSE_JOINTS,
    HandModel,
    joint_angles,
    joint_rotation,
    pose_to_matrices,
)
from hdrvideo.ik import IkNet
from hdrvideo.rotation import matrix_to_axis_angle
from hdrvideo.solve import Solver, Wanted, project

MIN_JOINTS: Final = 5
# Guesses from 2D joints run in rounds: so many steps, then so many of the best go on. Their joints
# weigh more than later on, lest a likelier hand that fits the picture worse wins.
START_ROUNDS: Final = ((8, 3), (15, 1))
START_TRUST: Final = 4.0
STEPS: Final = 40
N_MEASURED: Final = 2


@dataclass(frozen=True)
class FittedHands:
    """Fitted hands; NaN where a hand had too few joints.

    Attributes:
        pose: ``(B, 16, 3)`` axis-angle of :data:`POSE_JOINTS`, see :mod:`hdrvideo.handmodel`.
        shape: ``(B, n_shape)`` standard deviations.
        wrist_mm: ``(B, 3)``, in the axes of the given joints.
        joints_mm: ``(B, 21, 3)`` of the fitted hand.
        error_mm: ``(B,)`` root mean square distance to the given 3D joints; NaN without any.
        error_px: ``(B,)`` likewise in 2D.
    """

    pose: Tensor
    shape: Tensor
    wrist_mm: Tensor
    joints_mm: Tensor
    error_mm: Tensor
    error_px: Tensor

    def __post_init__(self) -> None:
        b = len(self.pose)
        check_array("pose", self.pose, (b, len(POSE_JOINTS), 3), "float32")
        check_array("shape", self.shape, (b, None), "float32")
        check_array("wrist_mm", self.wrist_mm, (b, 3), "float32")
        check_array("joints_mm", self.joints_mm, (b, N_JOINTS, 3), "float32")
        check_array("error_mm", self.error_mm, (b,), "float32")
        check_array("error_px", self.error_px, (b,), "float32")


class HandFitter:
    """Fits the hand model to joints, batched, on the device it was made for."""

    def __init__(
        self,
        model: HandModel | None = None,
        device: str | torch.device = "cpu",
        *,
        steps: int = STEPS,
        n_measured: int = N_MEASURED,
    ) -> None:
        """Take the shipped hand model unless another is given.

        Args:
            model: The hand.
            device: Where to fit.
            steps: Most steps of a solution.
            n_measured: How often the noise is measured, with a solution after each.

        Raises:
            WeightsError: The hand model or the net's weights are missing or damaged.
        """
        self.device = torch.device(device)
        self.chain = Chain(model or HandModel()).to(self.device, torch.float32)
        net = IkNet()
        load_weights(net, weights_path("ik"))
        net.requires_grad_(requires_grad=False).to(self.device).eval()
        self.guesser = Guesser(self.chain, net)
        self.solver = Solver(self.chain)
        self.steps, self.n_measured = steps, n_measured

    @torch.no_grad()
    def __call__(
        self,
        *,
        xyz_mm: Tensor | None = None,
        uv_px: Tensor | None = None,
        k_px: Tensor | None = None,
        confidence: Tensor | None = None,
        side: int | Tensor = 0,
        shape: Tensor | None = None,
        share_shape: bool = False,
        start: FittedHands | None = None,
        relative: bool = False,
        noise_mm: float = 2.0,
        noise_px: float = 2.0,
    ) -> FittedHands:
        """Fit a batch of hands.

        Args:
            xyz_mm: ``(B, 21, 3)`` joints in camera axes, in the camera or relative to any point;
                NaN is missing. Place and joints come out likewise.
            uv_px: ``(B, 21, 2)`` joints in the picture; NaN is missing. Needs ``k_px``. With
                ``xyz_mm`` too, both count.
            k_px: ``(B, 3, 3)`` camera matrices; a hand whose camera is not finite has no 2D joints.
            confidence: ``(B, 21)`` 0..1 weight of a joint's squared error; 0 is missing.
            side: 0 right, 1 left; one for all, or ``(B,)``.
            shape: ``(B, n_shape)`` keeps the shape at these scores.
            share_shape: All hands of the batch are one person's: one shape for all.
            start: An earlier answer for these hands to start from (NaN ones start afresh).
            relative: Where a hand has 2D joints, they alone place it; ``xyz_mm`` tells its form.
            noise_mm: Largest standard deviation to expect of a 3D joint. Less, down to a tenth, is
                measured on each hand; the more there is, the more the priors count.
            noise_px: Likewise of a 2D joint.

        Raises:
            ShapeError: An input has the wrong shape, or 2D joints come without a camera.
            SettingsError: An expected noise is not positive.
        """
        batch = _batch(xyz_mm, uv_px, k_px, confidence)
        for name, value in (("noise_mm", noise_mm), ("noise_px", noise_px)):
            if not 0 < value < math.inf:
                raise SettingsError(f"{name} is {value}, expected a positive number")
        mirror = self._mirror(side, batch)
        weight = _weights(confidence, batch, self.device)
        wanted = self._wanted(xyz_mm, uv_px, k_px, weight, mirror)
        wanted = replace(
            wanted,
            xyz_weight=wanted.xyz_weight / noise_mm**2,
            uv_weight=wanted.uv_weight / noise_px**2,
            relative=wanted.relative & relative,
        )
        given = ((wanted.xyz_weight > 0) | (wanted.uv_weight > 0)).sum(dim=1) >= MIN_JOINTS
        scores = None if shape is None else self._shape(shape, batch)
        hands = self._begin(wanted, self._earlier(start, mirror, batch), scores)
        hands = self._finish(hands, wanted, fixed_shape=scores is not None)
        if share_shape and scores is None:
            shared = self.solver.shared_shape(hands, wanted, given)
            hands = replace(hands, shape=shared.expand(batch, -1))
            hands = self._finish(hands, wanted, fixed_shape=True)
        return self._answer(hands, wanted, mirror, given)

    def _begin(self, wanted: Wanted, earlier: Hands | None, shape: Tensor | None) -> Hands:
        """Give first hands: earlier ones where they are known, else guesses."""
        if earlier is None:
            return self._guess(wanted, shape)
        if shape is not None:
            earlier = replace(earlier, shape=shape)
        fresh = (~earlier.turn.flatten(1).isfinite().all(dim=1)).nonzero().squeeze(1)
        if not len(fresh):
            return earlier
        guess = self._guess(wanted.take(fresh), None if shape is None else shape[fresh])
        return earlier.put(fresh, guess)

    def _finish(self, hands: Hands, wanted: Wanted, *, fixed_shape: bool) -> Hands:
        task = wanted
        hands, _ = self.solver.solve(hands, task, steps=self.steps, fixed_shape=fixed_shape)
        for _ in range(self.n_measured):
            task = self.solver.measured(hands, task, fixed_shape=fixed_shape)
            hands, _ = self.solver.solve(hands, task, steps=self.steps, fixed_shape=fixed_shape)
        return hands

    def _wanted(
        self,
        xyz_mm: Tensor | None,
        uv_px: Tensor | None,
        k_px: Tensor | None,
        weight: Tensor,
        mirror: Tensor,
    ) -> Wanted:
        """Mirror left hands to right ones; missing joints become zeros of weight zero."""
        like = self.chain.joints_mm
        batch = len(weight)
        if xyz_mm is None:
            xyz_mm = like.new_full((batch, N_JOINTS, 3), torch.nan)
        if uv_px is None or k_px is None:
            uv_px = like.new_full((batch, N_JOINTS, 2), torch.nan)
            k_px = torch.eye(3).expand(batch, 3, 3)
        xyz_mm, uv_px, k_px = xyz_mm.to(like), uv_px.to(like), k_px.to(like)
        xyz_ok, uv_ok = xyz_mm.isfinite().all(dim=-1), uv_px.isfinite().all(dim=-1)
        k_ok = k_px.isfinite().all(dim=2).all(dim=1) & (k_px[:, 0, 0] * k_px[:, 1, 1] != 0)
        uv_ok = uv_ok & k_ok[:, None]
        k_px = torch.where(k_ok[:, None, None], k_px, torch.eye(3).to(like))
        return Wanted(
            xyz_mm=torch.where(xyz_ok[..., None], xyz_mm, 0.0) * mirror[:, None],
            xyz_weight=torch.where(xyz_ok, weight, 0.0),
            relative=uv_ok.any(dim=1),
            uv_px=torch.where(uv_ok[..., None], uv_px, 0.0),
            uv_weight=torch.where(uv_ok, weight, 0.0),
            k_px=k_px * mirror[:, None],
        )

    def _mirror(self, side: int | Tensor, batch: int) -> Tensor:
        sides = torch.as_tensor(side, device=self.device)
        if sides.ndim and sides.shape != (batch,):
            raise ShapeError(f"side is {tuple(sides.shape)}, expected one for all or ({batch},)")
        x = torch.where(sides == 1, -1.0, 1.0).expand(batch)
        return torch.stack([x, torch.ones_like(x), torch.ones_like(x)], dim=-1)

    def _shape(self, shape: Tensor, batch: int) -> Tensor:
        if shape.shape != (batch, self.chain.n_shape):
            raise ShapeError(
                f"shape is {tuple(shape.shape)}, expected {(batch, self.chain.n_shape)}"
            )
        return shape.to(self.chain.joints_mm)

    def _earlier(self, start: FittedHands | None, mirror: Tensor, batch: int) -> Hands | None:
        if start is None:
            return None
        if len(start.pose) != batch:
            raise ShapeError(f"start holds {len(start.pose)} hands, expected {batch}")
        turns = pose_to_matrices(start.pose.to(self.device))
        return Hands(
            turns[:, 0] * mirror[:, :, None] * mirror[:, None],
            start.wrist_mm.to(self.device) * mirror,
            joint_angles(turns[:, 1:]),
            start.shape.to(self.device),
        )

    def _guess(self, wanted: Wanted, shape: Tensor | None) -> Hands:
        """Guess hands from 3D joints where there are enough, else from 2D ones."""
        solid = (wanted.xyz_weight > 0).sum(dim=1) >= MIN_JOINTS
        hands = self.guesser.solid(wanted, shape)
        rows = (~solid & (wanted.uv_weight > 0).any(dim=1)).nonzero().squeeze(1)
        if not len(rows):
            return hands
        task = wanted.take(rows)
        task = replace(task, uv_weight=task.uv_weight * START_TRUST)
        tries = self.guesser.flat(task, None if shape is None else shape[rows])
        count = N_STARTS
        for steps, n_best in START_ROUNDS:
            of_hand = torch.arange(len(rows), device=rows.device)[:, None] * count
            many = task.take(of_hand.expand(-1, count).flatten() // count)
            tries, cost = self.solver.solve(tries, many, steps=steps, fixed_shape=shape is not None)
            best = cost.reshape(-1, count).topk(n_best, dim=1, largest=False).indices
            tries, count = tries.take((best + of_hand).flatten()), n_best
        return hands.put(rows, tries)

    def _answer(self, hands: Hands, wanted: Wanted, mirror: Tensor, given: Tensor) -> FittedHands:
        joints_mm = self.chain.joints(hands)
        seen = (wanted.xyz_weight > 0)[..., None]
        off_mm = (joints_mm - wanted.xyz_mm) * seen
        middle_mm = off_mm.sum(dim=1, keepdim=True) / seen.sum(dim=1, keepdim=True).clamp_min(1)
        off_mm = off_mm - middle_mm * wanted.relative[:, None, None]
        off_px = project(joints_mm, wanted.k_px)[0] - wanted.uv_px
        turn = hands.turn * mirror[:, :, None] * mirror[:, None]
        pose = torch.cat([turn[:, None], joint_rotation(hands.angles_rad)], dim=1)
        values = {
            "pose": matrix_to_axis_angle(pose),
            "shape": hands.shape,
            "wrist_mm": hands.wrist_mm * mirror,
            "joints_mm": joints_mm * mirror[:, None],
            "error_mm": _rms(off_mm, seen.squeeze(-1)),
            "error_px": _rms(off_px, wanted.uv_weight > 0),
        }
        for name, value in values.items():
            mask = given.reshape(-1, *[1] * (value.ndim - 1))
            values[name] = torch.where(mask, value, torch.nan)
        return FittedHands(**values)


def _batch(
    xyz_mm: Tensor | None, uv_px: Tensor | None, k_px: Tensor | None, confidence: Tensor | None
) -> int:
    """Check the shapes of the inputs and give the batch's length."""
    if xyz_mm is None and uv_px is None:
        raise ShapeError("neither xyz_mm nor uv_px is given; a fit needs at least one of them")
    if (uv_px is None) != (k_px is None):
        raise ShapeError("uv_px and k_px belong together; give both or neither")
    first = xyz_mm if xyz_mm is not None else uv_px
    batch = 0 if first is None else len(first)
    wanted = {
        "xyz_mm": (xyz_mm, (batch, N_JOINTS, 3)),
        "uv_px": (uv_px, (batch, N_JOINTS, 2)),
        "k_px": (k_px, (batch, 3, 3)),
        "confidence": (confidence, (batch, N_JOINTS)),
    }
    for name, (value, size) in wanted.items():
        if value is not None and value.shape != size:
            raise ShapeError(f"{name} is {tuple(value.shape)}, expected {size}")
    return batch


def _weights(confidence: Tensor | None, batch: int, device: torch.device) -> Tensor:
    if confidence is None:
        return torch.ones(batch, N_JOINTS, device=device)
    return torch.nan_to_num(confidence.to(device, torch.float32), nan=0.0).clamp(0, 1)


def _rms(off: Tensor, seen: Tensor) -> Tensor:
    """Give the root mean square length of ``off`` ``(B, J, D)`` where seen; NaN without any."""
    square = torch.where(seen, (off**2).sum(dim=-1), 0.0).sum(dim=1)
    return (square / seen.sum(dim=1)).sqrt()
