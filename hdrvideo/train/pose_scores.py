"""How good a SHPE's joints are: errors, their parts by group, and whether confidence is earned."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.alignment import bone_scaled, procrustes_aligned

F64 = NDArray[np.float64]

RIGHT_WITHIN_PALMS: Final = 0.2
RIGHT_WITHIN_MM: Final = 20.0
# Ends of the groups of hidden shares, as in the names of the metrics: 0-5 %, 5-25 % ...
HIDDEN_ENDS: Final = (0.05, 0.25, 0.5, 1.01)
HIDDEN_NAMES: Final = ("0_5", "5_25", "25_50", "50_100")
# Ends of the groups of confidence of a reliability curve.
_CURVE: Final = tuple(float(x) for x in np.linspace(0, 1, 6))


@dataclass(frozen=True)
class HandErrors:
    """Errors of N hands.

    Attributes:
        off_palms: ``(N, 21)`` distance in the picture in palm lengths.
        off_mm: ``(N, 21)`` distance in space, wrist on wrist and the reference bone as long as the
            true one (HDR, ``utils/align.py``).
        aligned_mm: ``(N, 21)`` distance in space after the best similarity transform.
    """

    off_palms: F64
    off_mm: F64
    aligned_mm: F64

    @classmethod
    def of(
        cls, uv_px: NDArray[Any], xyz: NDArray[Any], truth: dict[str, NDArray[Any]]
    ) -> "HandErrors":
        """Compare hands with the truth.

        Args:
            uv_px: ``(N, 21, 2)`` in the crop.
            xyz: ``(N, 21, 3)`` any unit, any place; ``off_mm`` of one without reference bone is
                NaN.
            truth: ``uv_px``, ``palm_px``, ``xyz`` and ``bone_mm`` as the net was taught.
        """
        wanted_mm = truth["xyz"].astype(np.float64) * truth["bone_mm"][:, None, None]
        off_px = np.linalg.norm(uv_px - truth["uv_px"], axis=-1)
        found_mm = bone_scaled(xyz, wanted_mm)
        return cls(
            off_px / truth["palm_px"][:, None],
            np.linalg.norm(found_mm - wanted_mm, axis=-1),
            np.linalg.norm(procrustes_aligned(xyz, wanted_mm) - wanted_mm, axis=-1),
        )

    def scores(self, where: NDArray[np.bool_]) -> dict[str, float]:
        """Give means over some hands, NaN where there are none.

        Returns:
            ``epe`` (% of palm length), ``pck`` (share of joints within 0.2 palm lengths),
            ``mpjpe`` and ``pa_mpjpe`` (mm), ``pck3d`` (share within 20 mm, wrist on wrist).
        """
        if not where.any():
            return dict.fromkeys(("epe", "pck", "mpjpe", "pa_mpjpe", "pck3d"), math.nan)
        return {
            "epe": 100 * float(self.off_palms[where].mean()),
            "pck": float((self.off_palms[where] <= RIGHT_WITHIN_PALMS).mean()),
            "mpjpe": float(self.off_mm[where].mean()),
            "pa_mpjpe": float(self.aligned_mm[where].mean()),
            "pck3d": float((self.off_mm[where] <= RIGHT_WITHIN_MM).mean()),
        }


def hidden_groups(hidden_share: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    """Sort hands by the part of them that is hidden: name to ``(N,)``."""
    place = np.searchsorted(HIDDEN_ENDS, hidden_share, side="right")
    return {name: place == k for k, name in enumerate(HIDDEN_NAMES)}


def reliability(confidence: NDArray[Any], off_palms: NDArray[Any]) -> dict[str, float]:
    """Compare the chance that joints say they have to be right with how often they are.

    Args:
        confidence: ``(N, 21)`` in 0..1.
        off_palms: ``(N, 21)``.

    Returns:
        ``right_0_20`` ... ``right_80_100``: share of right joints among those of that confidence in
        per cent (NaN without any); ``calibration``: their mean distance from the mean confidence,
        weighted by joints (expected calibration error, Guo et al. 2017).
    """
    said = np.asarray(confidence, dtype=np.float64).ravel()
    right = (np.asarray(off_palms).ravel() <= RIGHT_WITHIN_PALMS).astype(np.float64)
    group = np.clip(np.digitize(said, _CURVE) - 1, 0, len(_CURVE) - 2)
    curve, gap = {}, 0.0
    for k, (low, high) in enumerate(pairwise(_CURVE)):
        here = group == k
        name = f"right_{100 * low:.0f}_{100 * high:.0f}"
        curve[name] = float(right[here].mean()) if here.any() else math.nan
        if here.any():
            gap += float(here.mean() * abs(right[here].mean() - said[here].mean()))
    return {**curve, "calibration": gap}
