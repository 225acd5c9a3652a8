"""Losses, as pure functions of predictions and truth; each says where it is from."""

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.frame.hasm import HandMasks

# Pixels by which a Dice overlap is smoothed, of a map 96 wide: about a fingertip of a small hand.
_DICE_PIXELS = 20.0


def mask_loss(
    masks: HandMasks,
    visible: Tensor,
    amodal: Tensor,
    present: Tensor,
    present_weight: Tensor,
    *,
    hidden_weight: float = 3.0,
    side_share: float = 0.5,
    dice_share: float = 0.2,
    presence_share: float = 0.3,
) -> dict[str, Tensor]:
    """HASM's loss: binary cross entropy of each mask (HDR, section 3.2) and of presence.

    Departures: pixels of a hidden part weigh ``hidden_weight`` in the whole mask, as they are few
    and what the net is for; a soft Dice term for each whole and visible mask keeps small hands from
    being drowned by the background; and on the pixels of each hand the sides are told apart in a
    term of their own (:func:`side_loss`): without it a net learns within minutes what a hand is and
    puts both sides on it for long.

    Args:
        masks: Predictions ``(B, 2, h, w)``.
        visible: ``(B, 2, h, w)`` float32 covered part of each cell, 0..1.
        amodal: ``(B, 2, h, w)`` float32; visible <= amodal.
        present: ``(B, 2)`` float32, 0 or 1.
        present_weight: ``(B, 2)`` float32; 0 where presence is a matter of taste.
        hidden_weight: Weight of hidden pixels.
        side_share: Weight of telling the sides apart against the masks.
        dice_share: Weight of the Dice terms against the masks.
        presence_share: Weight of presence against the masks.

    Returns:
        ``whole``, ``visible``, ``side``, ``dice``, ``presence`` and their weighted ``sum``, each a
        scalar.
    """
    weight = 1 + (hidden_weight - 1) * (amodal - visible)
    whole = functional.binary_cross_entropy_with_logits(masks.whole_logit, amodal, weight)
    # log of p = whole * share, and of 1 - p = (1 - whole) + whole * (1 - share): no cancellation.
    log_whole = functional.logsigmoid(masks.whole_logit)
    log_p = log_whole + functional.logsigmoid(masks.share_logit)
    log_not = torch.logaddexp(
        functional.logsigmoid(-masks.whole_logit),
        log_whole + functional.logsigmoid(-masks.share_logit),
    )
    seen = -(visible * log_p + (1 - visible) * log_not).mean()
    side = side_loss(log_p, visible)
    dice = soft_dice(masks.amodal, amodal) + soft_dice(masks.visible, visible)
    presence = functional.binary_cross_entropy_with_logits(
        masks.presence_logit, present, present_weight
    )
    return {
        "whole": whole,
        "visible": seen,
        "side": side,
        "dice": dice,
        "presence": presence,
        "sum": whole + seen + side_share * side + dice_share * dice + presence_share * presence,
    }


def side_loss(log_p: Tensor, visible: Tensor) -> Tensor:
    """Cross entropy of "whose pixel is this" over the seen pixels of each hand, mean over hands.

    Args:
        log_p: ``(B, 2, h, w)`` log probability that a pixel shows the hand.
        visible: ``(B, 2, h, w)`` covered part of each cell, 0..1.
    """
    wrong = functional.softplus(log_p.flip(1) - log_p)
    pixels = visible.sum(dim=(2, 3))
    each = (wrong * visible).sum(dim=(2, 3)) / pixels.clamp(min=1)
    shown = (pixels >= 1).float()
    return (each * shown).sum() / shown.sum().clamp(min=1)


def soft_dice(probability: Tensor, truth: Tensor) -> Tensor:
    """One minus the Dice overlap of each mask, mean over masks; an empty truth counts too."""
    overlap = (probability * truth).sum(dim=(2, 3))
    sizes = probability.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return 1 - ((2 * overlap + _DICE_PIXELS) / (sizes + _DICE_PIXELS)).mean()
