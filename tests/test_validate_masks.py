"""Masks: intersection over union worked out by hand."""

import numpy as np
import pytest

from hdrvideo.errors import ShapeError
from hdrvideo.validate.masks import (
    false_share,
    hole_region,
    mask_iou,
    mask_scores,
    removed_region,
)


def row(text: str) -> np.ndarray:
    """Give a mask of one row, ``#`` marked."""
    return np.array([[c == "#" for c in text]])


def test_iou_by_hand():
    # Both 2, either 6.
    assert mask_iou(row("####...."), row("..####..")) == pytest.approx(2 / 6)


def test_a_missing_mask_is_wrong_and_a_missing_hand_is_no_sample():
    assert mask_iou(row("...."), row("##..")) == 0
    assert np.isnan(mask_iou(row("##.."), row("....")))
    assert np.isnan(mask_iou(row("...."), row("....")))


def test_what_is_marked_for_no_hand():
    # 2 of 8 pixels.
    assert false_share(row("##......"), row("........")) == 0.25
    assert np.isnan(false_share(row("##......"), row("#.......")))


def test_scores_by_hand():
    # True: whole 0..9, seen 0..5, hidden 6..9. Predicted: whole 0..7, seen 0..3, hidden 4..7.
    # Seen 4/6, whole 8/10, hidden: both 6, 7 = 2, either 4..9 = 6.
    scores = mask_scores(row("####......"), row("########.."), row("######...."), row("##########"))
    assert scores.visible == pytest.approx(4 / 6)
    assert scores.amodal == pytest.approx(8 / 10)
    assert scores.hidden == pytest.approx(2 / 6)


def test_a_rim_is_no_hidden_part():
    # 1 of 20 pixels is 5 %: scored. 1 of 21 is less: not.
    for n, is_scored in ((20, True), (21, False)):
        whole, seen = row("#" * n), row("#" * (n - 1) + ".")
        assert np.isfinite(mask_scores(seen, whole, seen, whole).hidden) == is_scored


def test_truth_is_perfect_and_axes_are_kept():
    rng = np.random.default_rng(0)
    amodal = rng.random((3, 2, 20, 30)) < 0.6
    visible = amodal & (rng.random(amodal.shape) < 0.5)
    scores = mask_scores(visible, amodal, visible, amodal)
    for name in ("visible", "amodal", "hidden"):
        np.testing.assert_array_equal(getattr(scores, name), np.ones((3, 2)))


def test_more_noise_is_worse():
    rng = np.random.default_rng(1)
    true = np.zeros((40, 40), bool)
    true[10:30, 10:30] = True
    noise = rng.random(true.shape)
    scores = [float(mask_iou(true ^ (noise < share), true)) for share in (0, 0.05, 0.2, 0.4)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_where_to_paint():
    right_seen, right_whole = row("##........"), row("#####.....")
    left_seen, left_whole = row("...####..."), row("...####...")
    visible, amodal = np.stack([right_seen, left_seen]), np.stack([right_whole, left_whole])
    assert "".join(".#"[i] for i in hole_region(visible, amodal)[0, 0].astype(int)) == "..###....."
    assert not hole_region(visible, amodal)[1].any()
    # The left hand is seen at 3..6; 3 and 4 are the right hand's own, 5 and 6 background.
    removed = removed_region(visible, amodal)
    assert "".join(".#"[i] for i in removed[0, 0].astype(int)) == ".....##..."
    assert "".join(".#"[i] for i in removed[1, 0].astype(int)) == "##........"


def test_masks_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="masks differ in shape"):
        mask_iou(row("##"), row("###"))
    with pytest.raises(ShapeError, match="predicted is uint8"):
        mask_iou(row("##").astype(np.uint8), row("##"))
    with pytest.raises(ShapeError, match="masks of a pair are"):
        removed_region(row("##"), row("##"))
