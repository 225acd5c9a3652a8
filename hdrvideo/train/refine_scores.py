"""Scores and sheets of refined windows, beside what the frames said and its plain smoothing."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.datatypes import U8
from hdrvideo.hand import palm_length
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.fuse import fill, smoothed
from hdrvideo.motion.refine import SIGMA_SECONDS, RefinedWindow
from hdrvideo.motion.states import turns_of, with_turns, wrists_of
from hdrvideo.train.refine_losses import RIGHT_PALMS
from hdrvideo.train.refine_windows import Batch, said_of, true_of

_HALF_HIDDEN: Final = 0.5
_TIP: Final = 8
_PLOT_PX: Final = (240, 110)
_COLUMNS: Final = 4
_RGB: Final = {"true": (0, 0, 0), "raw": (190, 190, 190), "refined": (220, 60, 20)}


@dataclass(frozen=True)
class _Errors:
    """Errors of hands in windows: mm from the wrist, palms in the picture, NaN where not asked for.

    Attributes:
        mm: ``(N, 2, T)``.
        palms: ``(N, 2, T, 21)``.
        right: ``(N, 2, T, 21)`` 1 = within a fifth of the palm.
        acceleration_mm: ``(N, 2, T - 2)``.
        way_mm: ``(N, T)`` of the way from wrist to wrist.
    """

    mm: NDArray[Any]
    palms: NDArray[Any]
    right: NDArray[Any]
    acceleration_mm: NDArray[Any]
    way_mm: NDArray[Any]


def refine_scores(
    said: list[RefinedWindow], batches: list[Batch], model: HandModel
) -> dict[str, float]:
    """Score windows, where a frame said something of the hand; all hands are of the mean size.

    Names are a score and, but for the refined, ``raw`` or ``smooth``: ``mpjpe_mm`` from the wrist,
    ``mpjpe_hidden_mm`` of hands hidden by half or more, ``epe_palm_pct`` and ``pck_pct`` in the
    picture, ``acceleration_mm`` a frame squared, ``way_mm`` from wrist to wrist. ``sure_off_pct``:
    how far the told chance of being right is from the share that is, on average over ten bins.
    ``score`` is the mean over four of them of raw over refined.
    """
    groups: dict[str, list[_Errors]] = {"": [], "_raw": [], "_smooth": []}
    hidden, sure = [], []
    for out, batch in zip(said, batches, strict=True):
        filled, smooth = _baselines(batch)
        for name, state in (("", out.fused.cpu()), ("_raw", filled), ("_smooth", smooth)):
            groups[name].append(_errors(state, batch, model))
        hidden.append(batch["true_hidden"].numpy())
        sure.append(out.sure_logit.sigmoid().cpu().numpy())
    scores: dict[str, float] = {}
    errors = {name: _joined(parts) for name, parts in groups.items()}
    is_hidden = np.concatenate(hidden) >= _HALF_HIDDEN
    for name, e in errors.items():
        scores[f"mpjpe_mm{name}"] = _mean(e.mm)
        scores[f"mpjpe_hidden_mm{name}"] = _mean(e.mm[is_hidden])
        scores[f"epe_palm_pct{name}"] = 100 * _mean(e.palms)
        scores[f"pck_pct{name}"] = 100 * _mean(e.right)
        scores[f"acceleration_mm{name}"] = _mean(e.acceleration_mm)
        scores[f"way_mm{name}"] = _mean(e.way_mm)
    scores["sure_off_pct"] = 100 * _sure_off(np.concatenate(sure), errors[""].right)
    judged = ("mpjpe_mm", "mpjpe_hidden_mm", "epe_palm_pct", "acceleration_mm", "way_mm")
    ratios = [scores[f"{n}_raw"] / max(scores[n], 1e-9) for n in judged]
    scores["score"] = _mean(np.minimum(ratios, 4.0))
    return scores


def draw_refine_sheet(said: list[RefinedWindow], batches: list[Batch], model: HandModel) -> U8:
    """Draw where the index finger's tip is over time, x from the wrist: truth, raw, refined."""
    tiles: list[U8] = []
    for out, batch in zip(said, batches, strict=True):
        true, weight = true_of(batch), batch["true_weight"]
        filled, _ = _baselines(batch)
        lines = {
            "raw": _joints(model, filled),
            "refined": _joints(model, out.fused.cpu()),
            "true": _joints(model, with_turns(true.state)),
        }
        for row in range(0, len(weight), 4):
            side = int(weight[row].sum(dim=1).argmax())
            tiles.append(_plot({n: v[row, side, :, _TIP, 0].numpy() for n, v in lines.items()}))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[k : k + _COLUMNS]) for k in range(0, len(tiles), _COLUMNS)]
    return np.vstack(rows)


def _plot(lines: dict[str, NDArray[Any]]) -> U8:
    width, height = _PLOT_PX
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    middle = float(np.mean(lines["true"]))
    for name, values in lines.items():
        u = np.linspace(4, width - 5, len(values))
        v = height / 2 - (values - middle) / 80 * height / 2
        points = np.stack([u, np.clip(v, 0, height - 1)], axis=-1).round().astype(np.int32)
        cv2.polylines(picture, [points], False, _RGB[name], 1, cv2.LINE_AA)
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), (220, 220, 220), 1)
    return picture


def _baselines(batch: Batch) -> tuple[Tensor, Tensor]:
    said = said_of(batch)
    filled, _ = fill(with_turns(said.state), said.seen, said.seconds)
    filled = with_turns(filled)
    weight = said.seen * said.confidence.mean(dim=-1).clamp_min(0.05)
    return filled, smoothed(filled, weight, said.seconds, SIGMA_SECONDS)


def _joints(model: HandModel, state: Tensor) -> Tensor:
    joints_mm: Tensor = model.cpu().joints(turns_of(state).flatten(0, 2))
    return joints_mm.reshape(*state.shape[:3], -1, 3)


def _errors(state: Tensor, batch: Batch, model: HandModel) -> _Errors:
    true = true_of(batch)
    asked = (true.weight * batch["said_seen"]).numpy() > 0
    true_state = with_turns(true.state)
    said_mm, true_mm = _joints(model, state), _joints(model, true_state)
    said_cam, true_cam = (mm + wrists_of(s)[..., None, :] for mm, s in
                          ((said_mm, state), (true_mm, true_state)))  # fmt: skip
    off_mm = (said_mm - true_mm).numpy()
    rays = [cam[..., :2] / cam[..., 2:].clamp_min(20) for cam in (said_cam, true_cam)]
    depth_palms = true_cam[..., :1, 2:] / float(palm_length(model.joints_mm.numpy()))
    palms = ((rays[0] - rays[1]) * depth_palms).norm(dim=-1)
    runs = asked[:, :, 2:] & asked[:, :, 1:-1] & asked[:, :, :-2]
    second = np.linalg.norm(np.diff(off_mm, n=2, axis=2), axis=-1)[..., 1:].mean(axis=-1)
    mirror = np.array([-1.0, 1.0, 1.0])
    wrists = [cam[..., 0, :].numpy() for cam in (said_cam, true_cam)]
    ways = [w[:, 1] * mirror - w[:, 0] for w in wrists]
    way = np.linalg.norm(ways[0] - ways[1], axis=-1)
    shown = np.where(asked[..., None], palms.numpy(), np.nan)
    return _Errors(
        mm=np.where(asked, np.linalg.norm(off_mm, axis=-1).mean(axis=-1), np.nan),
        palms=shown,
        right=np.where(np.isnan(shown), np.nan, shown <= RIGHT_PALMS),
        acceleration_mm=np.where(runs, second, np.nan),
        way_mm=np.where(asked.all(axis=1), way, np.nan),
    )


def _joined(parts: list[_Errors]) -> _Errors:
    names = _Errors.__dataclass_fields__
    return _Errors(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _mean(values: NDArray[Any]) -> float:
    finite = np.isfinite(values)
    return float(values[finite].mean()) if finite.any() else float("nan")


def _sure_off(sure: NDArray[Any], right: NDArray[Any]) -> float:
    """Give the expected calibration error over ten bins."""
    known = np.isfinite(right)
    sure, right = sure[known], right[known]
    place = np.minimum((sure * 10).astype(int), 9)
    off = [
        abs(float(sure[place == k].mean() - right[place == k].mean())) * float((place == k).mean())
        for k in range(10)
        if (place == k).any()
    ]
    return sum(off)
