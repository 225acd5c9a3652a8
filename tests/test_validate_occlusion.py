"""Scores by hidden share: bins, their counts, and bins without a hand."""

import numpy as np
import pytest
from field_cases import pairs, saying, truth_of

from hdrvideo.errors import ProtocolError, ShapeError
from hdrvideo.validate import interhand
from hdrvideo.validate.field import FieldScore, score, score_of_errors
from hdrvideo.validate.occlusion import by_hidden_share, globally_occluded, hidden_share_of_pixels


def of_frames(*values: float) -> FieldScore:
    """Give the score of one number a frame."""
    return score_of_errors(interhand.MRRPE, np.array(values)[:, None, None], 0, None, 0, 0)


def moved_fingertip(xyz: np.ndarray, by_mm: float) -> np.ndarray:
    moved = xyz.copy()
    moved[..., 8, 0] += by_mm
    return moved


def test_bins_by_hidden_share():
    # 25-50: two hands, 1 and 3 mm; 50-75: none; 75-100: one of 8 mm; 0.25 and 1 are in their bins.
    scored = of_frames(1, 3, 8, 100)
    share = np.array([0.25, 0.499, 1.0, np.nan])[:, None]
    bins = by_hidden_share(scored, share)
    assert [b.n_samples for b in bins] == [0, 2, 0, 1]
    np.testing.assert_array_equal([b.value for b in bins], [np.nan, 2, np.nan, 8])
    assert (
        bins[1].protocol.name == "mrrpe_interhand_unaligned_2_wrists_mm[ih26m_test_ih_hidden_25_50]"
    )
    with pytest.raises(ProtocolError, match="scores of 2 protocols"):
        bins[1].minus(bins[3])
    with pytest.raises(ProtocolError, match="scores of 2 protocols"):
        bins[1].minus(scored)
    with pytest.raises(ProtocolError, match="is of one bin already; split the whole score"):
        by_hidden_share(bins[1], share)


def test_bins_of_hands():
    truth, prediction = truth_of(pairs(2)), saying(moved_fingertip(pairs(2), 20.0))
    scored = score(prediction, truth, interhand.MPJPE_NO_WRISTS, clips=["a", "b"])
    bins = by_hidden_share(scored, np.array([[0.0, 0.3], [0.3, 0.9]]), n_bootstrap=20)
    assert [b.n_samples for b in bins] == [1, 2, 0, 1]
    assert bins[1].value == pytest.approx(1.0)
    assert bins[1].low == pytest.approx(1.0)


def test_wrong_shares_are_refused():
    with pytest.raises(ShapeError, match=r"hidden_share is float64 \(2,\)"):
        by_hidden_share(of_frames(1, 2), np.zeros(2))
    with pytest.raises(ShapeError, match="hidden_share has 40, expected 0 to 1"):
        by_hidden_share(of_frames(1, 2), np.array([[0.4], [40]]))


def test_hidden_share_from_pixels():
    visible, whole = np.array([30, 100, 0, 0, 120]), np.array([100, 100, 50, 0, 100])
    np.testing.assert_array_equal(hidden_share_of_pixels(visible, whole), [0.7, 0, 1, np.nan, 0])
    # H2ONet: below 0.40 visible, 0.40 itself is not.
    visible, whole = np.array([39, 40, 41, 0, 0]), np.array([100, 100, 100, 100, 0])
    assert globally_occluded(visible, whole).tolist() == [True, False, False, True, False]
