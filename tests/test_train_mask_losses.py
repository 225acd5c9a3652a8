"""Losses of masks: against slow and obvious ones, and what each term is for."""

import math

import numpy as np
import pytest
import torch
from mask_answers import perfect, some_masks, truth_of

from hdrvideo.frame.hasm import HandMasks
from hdrvideo.train.mask_losses import mask_loss, side_loss, soft_dice


def loss_of(masks: HandMasks, truth: dict[str, torch.Tensor], **more) -> dict[str, float]:
    keys = ("visible", "amodal", "present", "present_weight")
    losses = mask_loss(masks, *(truth[key] for key in keys), **more)
    assert all(value.shape == () for value in losses.values())
    return {name: float(value) for name, value in losses.items()}


def test_nothing_is_lost_on_a_perfect_answer():
    for value in loss_of(perfect(truth_of()), truth_of()).values():
        assert value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("part", ["whole_logit", "share_logit", "presence_logit"])
def test_any_worse_answer_loses_more(part):
    truth = truth_of()
    best = loss_of(perfect(truth, 8.0), truth)["sum"]
    amodal = truth["amodal"].flatten()
    n_tried = 0
    for index in range(0, getattr(perfect(truth), part).numel(), 1 if "pre" in part else 13):
        # Where there is no hand its hidden share means nothing.
        if part == "share_logit" and amodal[index] == 0:
            continue
        n_tried += 1
        for wrong in (0.0, -8.0, -60.0):
            masks = perfect(truth, 8.0)
            values = getattr(masks, part).view(-1)
            values[index] = values[index].sign() * wrong
            assert loss_of(masks, truth)["sum"] > best + 1e-5
    assert n_tried >= 6


def test_losses_are_what_they_say():
    """Against double precision and logarithms of probabilities, pixel by pixel."""
    truth = truth_of(1)
    # Soft cells, as views have at a hand's rim.
    truth["amodal"] = truth["amodal"] * 0.9 + 0.05
    truth["visible"] = torch.minimum(truth["visible"] * 0.8 + 0.02, truth["amodal"])
    truth["present_weight"][0, 1] = 0
    masks = some_masks(truth)
    found = loss_of(masks, truth, hidden_weight=2.5)
    p, q, there = (
        1 / (1 + np.exp(-v.numpy().astype(np.float64)))
        for v in (masks.whole_logit, masks.share_logit, masks.presence_logit)
    )
    amodal, visible = (truth[k].numpy().astype(np.float64) for k in ("amodal", "visible"))

    def entropy(wanted, said):
        return -(wanted * np.log(said) + (1 - wanted) * np.log(1 - said))

    def overlap(wanted, said):
        shares = []
        for b in range(len(said)):
            for side in range(2):
                both = 2 * (said[b, side] * wanted[b, side]).sum() + 20
                shares.append(both / (said[b, side].sum() + wanted[b, side].sum() + 20))
        return 1 - np.mean(shares)

    whole = (entropy(amodal, p) * (1 + 1.5 * (amodal - visible))).mean()
    seen = entropy(visible, p * q).mean()
    told = []
    for b in range(len(p)):
        for side in range(2):
            own, other = (p * q)[b, side], (p * q)[b, 1 - side]
            if visible[b, side].sum() >= 1:
                told.append((-np.log(own / (own + other)) * visible[b, side]).sum())
                told[-1] /= visible[b, side].sum()
    weight = truth["present_weight"].numpy()
    expected = {
        "whole": whole,
        "visible": seen,
        "side": np.mean(told),
        "dice": overlap(amodal, p) + overlap(visible, p * q),
        "presence": (entropy(truth["present"].numpy(), there) * weight).mean(),
    }
    shares = {"whole": 1, "visible": 1, "side": 0.5, "dice": 0.2, "presence": 0.3}
    expected["sum"] = sum(shares[name] * value for name, value in expected.items())
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("whole", [-60.0, 60.0])
@pytest.mark.parametrize("share", [-60.0, 60.0])
@pytest.mark.parametrize("there", [-60.0, 60.0])
def test_gradients_are_finite_where_the_net_is_surest(whole, share, there):
    truth = truth_of()
    shape = truth["amodal"].shape
    logits = [torch.full(shape, whole), torch.full(shape, share), torch.full((3, 2), there)]
    for values in logits:
        values.requires_grad_()
    keys = ("visible", "amodal", "present", "present_weight")
    losses = mask_loss(HandMasks(*logits), *(truth[key] for key in keys))
    losses["sum"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(values.grad.isfinite().all() for values in logits)
    # However sure the net is, a wrong answer pulls back: no plateau.
    seen, amodal = truth["visible"] > 0, truth["amodal"] > 0
    if whole > 0:
        assert (logits[0].grad[~amodal] > 0).all()
    else:
        assert (logits[0].grad[amodal] < 0).all()
    if share > 0 and whole > 0:
        assert (logits[1].grad[amodal & ~seen] > 0).all()
    if share < 0:
        assert (logits[1].grad[seen] < 0).all()
    wrong = (there > 0) != (truth["present"] > 0)
    assert (logits[2].grad[wrong].abs() > 0.01).all()


def test_hidden_pixels_weigh_what_is_asked_for():
    truth = truth_of()
    masks = some_masks(truth)
    one, three, five = (loss_of(masks, truth, hidden_weight=w)["whole"] for w in (1, 3, 5))
    assert three > one + 1e-3
    assert five - three == pytest.approx(three - one, rel=1e-4)
    shown = truth | {"visible": truth["amodal"]}
    assert loss_of(masks, shown, hidden_weight=1) == loss_of(masks, shown, hidden_weight=5)


def test_unclear_presence_teaches_nothing():
    truth = truth_of()
    truth["present_weight"][1] = 0
    logits = some_masks(truth).presence_logit.requires_grad_()
    masks = HandMasks(*perfect(truth).__dict__.values())
    masks = HandMasks(masks.whole_logit, masks.share_logit, logits)
    keys = ("visible", "amodal", "present", "present_weight")
    mask_loss(masks, *(truth[key] for key in keys))["sum"].backward()
    assert (logits.grad[1] == 0).all()
    assert (logits.grad[[0, 2]] != 0).all()


def test_sides_are_told_apart_by_a_term_of_their_own():
    truth = truth_of()
    masks = perfect(truth, 8.0)
    swapped = HandMasks(masks.whole_logit.flip(1), masks.share_logit.flip(1), masks.presence_logit)
    both = HandMasks(
        masks.whole_logit.amax(dim=1, keepdim=True).expand(-1, 2, -1, -1),
        masks.share_logit.amax(dim=1, keepdim=True).expand(-1, 2, -1, -1),
        masks.presence_logit,
    )
    right, unsure, wrong = (loss_of(m, truth)["side"] for m in (masks, both, swapped))
    assert right < 0.01
    assert unsure == pytest.approx(math.log(2), abs=1e-4)
    assert wrong > 4


def test_pictures_without_hands_have_no_sides():
    log_p = torch.full((2, 2, 4, 4), -1.0, requires_grad=True)
    loss = side_loss(log_p, torch.zeros(2, 2, 4, 4))
    loss.backward()
    assert loss == 0
    assert (log_p.grad == 0).all()


def test_dice_of_equals_is_nothing_and_of_strangers_nearly_one():
    masks = torch.zeros(1, 2, 100, 100)
    masks[0, 0, :50] = 1
    assert soft_dice(masks, masks) == 0
    assert soft_dice(masks, 1 - masks) == pytest.approx(1 - 20 / 10020)
