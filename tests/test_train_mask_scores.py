"""Scores of masks: perfect and swapped answers, and counting pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from mask_answers import perfect, some_masks, truth_of

from hdrvideo.frame.hasm import HandMasks
from hdrvideo.train.mask_scores import mask_scores


def test_a_perfect_answer_has_every_point():
    truth = truth_of()
    scores = mask_scores(perfect(truth), truth)
    assert scores.pop("ghosts") == 0
    assert scores == dict.fromkeys(scores, 1.0)
    assert set(scores) == {
        *("iou_visible", "iou_amodal", "iou_hidden", "presence", "side", "score"),
    }


def test_swapped_sides_have_no_side_right():
    truth = truth_of()
    masks = perfect(truth)
    swapped = HandMasks(*(getattr(masks, name).flip(1) for name in masks.__dataclass_fields__))
    scores = mask_scores(swapped, truth)
    assert scores["side"] == 0
    # The one picture with one hand: it is missed and the other is a ghost.
    assert scores["presence"] == pytest.approx(4 / 6)
    assert scores["ghosts"] == 1
    unsure = HandMasks(torch.zeros(3, 2, 12, 12), torch.zeros(3, 2, 12, 12), masks.presence_logit)
    assert mask_scores(unsure, truth)["side"] == 0


def test_scores_are_what_counting_gives():
    truth = truth_of(2)
    truth["present_weight"][0, 0] = 0
    masks = some_masks(truth)
    scores = mask_scores(masks, truth)
    ious: dict[str, list[float]] = {"visible": [], "amodal": [], "hidden": []}
    right, ghosts = [], []
    for b in range(3):
        for side in range(2):
            is_there, called = truth["present"][b, side] > 0, masks.presence[b, side] >= 0.5
            if truth["present_weight"][b, side] == 0:
                continue
            right.append(is_there == called)
            if not is_there:
                ghosts.append(called)
                continue
            known = [truth[k][b, side] >= 0.5 for k in ("visible", "amodal")]
            said = [getattr(masks, k)[b, side] >= 0.5 for k in ("visible", "amodal")]
            for pair in (known, said):
                pair.append(pair[1] & ~pair[0])
            for name, a, m in zip(ious, known, said, strict=True):
                if name != "hidden" or a.sum() >= 0.05 * known[1].sum():
                    ious[name].append(float((a & m).sum() / (a | m).sum()))
    expected = {f"iou_{name}": np.mean(values) for name, values in ious.items()}
    expected["presence"] = np.mean(right)
    expected["score"] = np.mean(list(expected.values()))
    expected["ghosts"] = np.mean(ghosts)
    assert len(ious["amodal"]) == 4
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_what_no_hand_tells_is_left_out_of_the_score():
    truth = truth_of()
    nothing = {**truth, **{k: torch.zeros_like(truth[k]) for k in ("visible", "amodal", "present")}}
    scores = mask_scores(perfect(nothing), nothing)
    for name in ("iou_visible", "iou_amodal", "iou_hidden", "side"):
        assert math.isnan(scores[name])
    assert (scores["presence"], scores["ghosts"], scores["score"]) == (1, 0, 1)
    unclear = {**nothing, "present_weight": torch.zeros(3, 2)}
    assert all(math.isnan(value) for value in mask_scores(perfect(unclear), unclear).values())


def test_a_hand_thinner_than_a_cell_is_no_mistake():
    truth = truth_of(b=1)
    truth["amodal"] = torch.zeros(1, 2, 12, 12)
    truth["amodal"][0, 0, :, 3] = 0.4
    truth["visible"] = truth["amodal"].clone()
    truth["present"] = torch.tensor([[1.0, 0.0]])
    scores = mask_scores(perfect(truth), truth)
    assert scores["score"] == scores["presence"] == 1
