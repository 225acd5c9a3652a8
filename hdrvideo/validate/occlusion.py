"""Scores by how much of a hand is hidden, and that share from pixels.

Deformer's table has bins of 25-50, 50-75 and 75-100 % hidden; neither its shares nor the script
were released, so numbers by bin compare with your own only. H2ONet's released labels
(``occ_label_preparation/generate_dexycb_occ.py``) divide the set's segmented hand pixels by those
of the rendered whole hand and call a hand globally occluded below 0.40.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import Bool, check_array
from hdrvideo.errors import ProtocolError, ShapeError
from hdrvideo.validate.averages import HIDDEN_BINS, hidden_place
from hdrvideo.validate.field import FieldScore, score_of_errors
from hdrvideo.validate.metrics import F64

# H2ONet: visible share below which a hand is globally occluded.
H2ONET_VISIBLE: Final = 0.40


def hidden_share_of_pixels(visible_px: NDArray[Any], whole_px: NDArray[Any]) -> F64:
    """Give the hidden share of hands from counts of their pixels.

    Args:
        visible_px: Any shape, seen pixels of each hand.
        whole_px: The same shape, pixels of the whole hand, rendered alone.

    Returns:
        0..1; NaN where the whole hand has no pixel. More seen than whole, as at a rough outline, is
        nothing hidden.
    """
    visible, whole = (np.asarray(a, dtype=np.float64) for a in (visible_px, whole_px))
    share = np.divide(visible, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return np.asarray(np.clip(1 - share, 0, 1))


def globally_occluded(visible_px: NDArray[Any], whole_px: NDArray[Any]) -> Bool:
    """Tell which hands H2ONet calls globally occluded; one without pixels is not."""
    visible, whole = (np.asarray(a, dtype=np.float64) for a in (visible_px, whole_px))
    return np.asarray((whole > 0) & (visible < H2ONET_VISIBLE * whole))


def by_hidden_share(
    scored: FieldScore, hidden_share: NDArray[Any], *, n_bootstrap: int = 0, seed: int = 0
) -> list[FieldScore]:
    """Split a score by how much of each hand is hidden: one of each bin, NaN where it has none.

    Bins are those of :data:`hdrvideo.validate.averages.HIDDEN_BINS`; Deformer's table has the last
    three. Its shares were not released, so such numbers compare with your own only.

    Args:
        scored: Over all hands; its missing hands are told there.
        hidden_share: ``(N, H)`` 0..1 of each sample; NaN = of no bin.
        n_bootstrap: As in :func:`score`.
        seed: Likewise.

    Raises:
        ShapeError: The shares do not fit the samples.
        ProtocolError: The score is of one bin already.
    """
    if scored.protocol.hidden:
        raise ProtocolError(f"{scored.protocol.name} is of one bin already; split the whole score")
    share = np.asarray(hidden_share, dtype=np.float64)
    check_array("hidden_share", share, scored.errors.shape[:2], "float64")
    outside = share[(share < 0) | (share > 1)]
    if len(outside):
        raise ShapeError(f"hidden_share has {outside[0]:g}, expected 0 to 1, or NaN for no bin")
    place = hidden_place(share)
    parts = []
    for k, name in enumerate(HIDDEN_BINS):
        protocol = replace(scored.protocol, hidden=name.removesuffix(" %").replace("-", "_"))
        errors = np.where((place == k)[..., None], scored.errors, np.nan)
        parts.append(score_of_errors(protocol, errors, 0, scored.clips, n_bootstrap, seed))
    return parts
