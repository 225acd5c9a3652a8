"""How far an engine's motion is from the made world's exact motion, on what is seen and what not.

The end-point error is the distance in pixels between where a pixel is said to go and where it goes
(Otte and Nagel, ECCV 1994; Baker et al., IJCV 2011, section 4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from hdrvideo.datatypes import F32, N_SIDES, check_array
from hdrvideo.errors import SettingsError
from hdrvideo.synth.scene import Shot
from hdrvideo.validate.averages import HIDDEN_BINS, ClipSums, average

# What is told apart: a hand's pixels that are seen in both frames; those seen in the first one
# only; those hidden in the first one; and what is no hand and seen in both.
REGIONS: Final = ("visible", "leaving", "hidden", "background")
# Trust from which motion counts as trusted: half, where the published there-and-back check ends.
TRUSTED: Final = 0.5


class Motion(Protocol):
    """What an engine says: ``uv_px (B, H, W, 2)``, NaN unknown, and ``trust (B, H, W)``."""

    @property
    def uv_px(self) -> Tensor:
        """Give the displacements."""

    @property
    def trust(self) -> Tensor:
        """Give the trust."""


def true_motion(shot: Shot, side: int) -> dict[str, Tensor]:
    """Give the exact motion to the frame after, region by region.

    Args:
        shot: Rendered with flow.
        side: Whose hand, 0 right or 1 left; ``background`` has neither hand.

    Returns:
        For each of :data:`REGIONS` ``(B, H, W, 2)``, NaN outside it. A shot's last frame of a scene
        has no motion and is NaN everywhere.

    Raises:
        SettingsError: There is no such side.
    """
    if side not in range(N_SIDES):
        raise SettingsError(f"side is {side!r}, expected 0 (right) or 1 (left)")
    seen, whole_px = shot.flow_px[:, 0], shot.hand_flow_px[:, 0, side]
    again, visible = shot.flow_seen[:, 0], shot.visible[:, side]
    masks = {
        "visible": (visible & again, seen),
        "leaving": (visible & ~again, seen),
        "hidden": (shot.amodal[:, side] & ~visible, whole_px),
        "background": (~shot.visible.any(dim=1) & again, seen),
    }
    return {name: torch.where(mask[..., None], px, torch.nan) for name, (mask, px) in masks.items()}


@dataclass(frozen=True)
class FlowErrors:
    """What one engine does on one region of one scene's pairs.

    Attributes:
        error_px: ``(N,)`` end-point error of each pixel of the region; NaN where the engine says
            nothing.
        trust: ``(N,)`` what the engine says of it, 0..1.
    """

    error_px: F32
    trust: F32

    def __post_init__(self) -> None:
        check_array("error_px", self.error_px, (None,), "float32")
        check_array("trust", self.trust, self.error_px.shape, "float32")


def flow_errors(true_px: Tensor, motion: Motion) -> FlowErrors:
    """Compare an engine's motion with the truth ``(B, H, W, 2)``, wherever that is not NaN.

    Raises:
        ShapeError: The motion has another shape.
    """
    shape = tuple(true_px.shape)
    check_array("uv_px", motion.uv_px, shape, "float32")
    check_array("trust", motion.trust, shape[:-1], "float32")
    is_asked = true_px.isfinite().all(dim=-1)
    error_px = (motion.uv_px[is_asked] - true_px[is_asked]).norm(dim=-1)
    return FlowErrors(error_px.cpu().numpy(), motion.trust[is_asked].cpu().numpy())


@dataclass(frozen=True)
class FlowScore:
    """An engine's score on one region; NaN without pixels.

    Attributes:
        n_scenes: Scenes with pixels of the region.
        n_pixels: Their pixels.
        answered: Part of them of which the engine says something.
        mean_px: Mean end-point error of these.
        low_px: Lower end of the mean's 95 % interval, scenes resampled.
        high_px: Upper end.
        median_px: Median end-point error.
        trusted: Part of all pixels with trust of at least :data:`TRUSTED`.
        trusted_mean_px: Mean end-point error of the trusted.
        trusted_median_px: Median end-point error of the trusted.
    """

    n_scenes: int
    n_pixels: int
    answered: float
    mean_px: float
    low_px: float
    high_px: float
    median_px: float
    trusted: float
    trusted_mean_px: float
    trusted_median_px: float


def score_flow(scenes: Sequence[FlowErrors], *, n_bootstrap: int = 1000) -> FlowScore:
    """Put together what an engine does on one region of several scenes.

    Args:
        scenes: One entry a scene, for pixels of one scene are no independent samples.
        n_bootstrap: Resamples for the interval.

    Raises:
        SettingsError: There is no scene.
    """
    sums = [_sums(errors) for errors in scenes]
    over_scenes = average(sums, n_bootstrap=n_bootstrap, seed=0)
    error_px = np.concatenate([errors.error_px for errors in scenes])
    is_answered = np.isfinite(error_px)
    is_trusted = np.concatenate([errors.trust for errors in scenes]) >= TRUSTED
    is_trusted &= is_answered
    n_pixels = len(error_px)
    return FlowScore(
        n_scenes=sum(len(errors.error_px) > 0 for errors in scenes),
        n_pixels=n_pixels,
        answered=float(is_answered.mean()) if n_pixels else float("nan"),
        mean_px=float(over_scenes.value[0]),
        low_px=float(over_scenes.low[0]),
        high_px=float(over_scenes.high[0]),
        median_px=_median(error_px[is_answered]),
        trusted=float(is_trusted.mean()) if n_pixels else float("nan"),
        trusted_mean_px=_mean(error_px[is_trusted]),
        trusted_median_px=_median(error_px[is_trusted]),
    )


def _sums(errors: FlowErrors) -> ClipSums:
    """Give a scene's sums as those of a metric whose samples belong to no bin."""
    known = errors.error_px[np.isfinite(errors.error_px)]
    none = [0.0] * len(HIDDEN_BINS)
    return ClipSums(
        np.array([[*none, float(known.sum(dtype=np.float64))]]),
        np.array([[*none, len(known)]]).astype(np.int64),
    )


def _mean(values: F32) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else float("nan")


def _median(values: F32) -> float:
    return float(np.median(values)) if len(values) else float("nan")
