"""How good masks are, on a batch with its truth."""

import math

from torch import Tensor

from hdrvideo.frame.hasm import HandMasks

# A hand counts as hidden from this part of its pixels on, as in the benchmark.
_HIDDEN_SHARE = 0.05


def mask_scores(masks: HandMasks, truth: dict[str, Tensor]) -> dict[str, float]:
    """Give mean IoUs over hands, and how often presence is right.

    Args:
        masks: Predictions.
        truth: ``visible``, ``amodal``, ``present``, ``present_weight`` as the net was taught.

    Returns:
        ``iou_visible``, ``iou_amodal`` over hands that are there, ``iou_hidden`` over hands of
        which 5 % or more are hidden, ``presence``, ``ghosts`` (part of the absent hands that were
        called present), ``side`` (part of the hands whose pixels are mostly given to their own
        side), and ``score``, the mean of the IoUs and presence. What no hand tells is NaN, and left
        out of ``score``.
    """
    amodal, visible = truth["amodal"] >= 0.5, truth["visible"] >= 0.5
    there = (truth["present"] > 0) & (truth["present_weight"] > 0) & (_pixels(amodal) > 0)
    hidden = amodal & ~visible
    is_hidden = there & (_pixels(hidden) >= _HIDDEN_SHARE * _pixels(amodal).clamp(min=1))
    whole, seen = masks.amodal >= 0.5, masks.visible >= 0.5
    clear = truth["present_weight"] > 0
    called = masks.presence >= 0.5
    right = called == (truth["present"] > 0)
    absent = clear & (truth["present"] == 0)
    own = (masks.visible * visible).sum(dim=(2, 3))
    others = (masks.visible.flip(1) * visible).sum(dim=(2, 3))
    shown = there & (_pixels(visible) > 0)
    scores = {
        "iou_visible": _mean(_iou(seen, visible), shown),
        "iou_amodal": _mean(_iou(whole, amodal), there),
        "iou_hidden": _mean(_iou(whole & ~seen, hidden), is_hidden),
        "presence": _mean(right.float(), clear),
    }
    known = [value for value in scores.values() if not math.isnan(value)]
    return {
        **scores,
        "ghosts": _mean(called.float(), absent),
        "side": _mean((own > others).float(), shown),
        "score": sum(known) / len(known) if known else math.nan,
    }


def _pixels(mask: Tensor) -> Tensor:
    return mask.sum(dim=(2, 3)).float()


def _iou(a: Tensor, b: Tensor) -> Tensor:
    return _pixels(a & b) / _pixels(a | b).clamp(min=1)


def _mean(values: Tensor, where: Tensor) -> float:
    return float(values[where].mean()) if where.any() else math.nan
