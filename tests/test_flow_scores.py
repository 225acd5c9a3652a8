"""Scores of motion on truths whose errors are known, and the script that scores engines."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from validate_truths import make_scene, make_shot

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.scene import Shot
from hdrvideo.validate.flow_scores import (
    REGIONS,
    FlowErrors,
    flow_errors,
    score_flow,
    true_motion,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shot() -> Shot:
    """Give two overlapping hands; each side's whole moves its own way, what is seen a third."""
    model = HandModel()
    shot = make_shot(make_scene(model), model)
    visible = shot.amodal.clone()
    visible[:, 1, :, :80] = False
    visible[:, 0] &= ~visible[:, 1]
    flow_px, hand_px = shot.flow_px.clone(), shot.hand_flow_px.clone()
    flow_px[:, 0] = torch.tensor([1.0, 0.0])
    hand_px[:, 0, 0], hand_px[:, 0, 1] = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -3.0])
    seen = shot.flow_seen.clone()
    seen[:, 0, :60] = True
    return replace(shot, visible=visible, flow_px=flow_px, hand_flow_px=hand_px, flow_seen=seen)


def motion(uv_px: torch.Tensor, trust: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(uv_px=uv_px, trust=trust)


@pytest.mark.parametrize("side", [0, 1])
def test_regions_part_the_pixels(shot, side):
    truth = true_motion(shot, side)
    assert tuple(truth) == REGIONS
    where = {name: px.isfinite().all(dim=-1) for name, px in truth.items()}
    assert all(mask.any() for mask in where.values())
    n = sum(mask.long() for mask in where.values())
    both = where["hidden"] & where["background"]
    # What nobody sees again is no region; a hidden pixel may show the background's things.
    assert torch.equal(n > 1, both)
    assert torch.equal(where["visible"] | where["leaving"], shot.visible[:, side])
    assert not (where["visible"] & ~shot.flow_seen[:, 0]).any()
    assert torch.equal(where["hidden"], shot.amodal[:, side] & ~shot.visible[:, side])
    assert not (where["background"] & shot.visible.any(dim=1)).any()


def test_each_region_has_its_own_motion(shot):
    for side, way in enumerate([(0.0, 2.0), (0.0, -3.0)]):
        truth = true_motion(shot, side)
        for name, px in truth.items():
            expected = torch.tensor(way if name == "hidden" else (1.0, 0.0))
            known = px[px.isfinite().all(dim=-1)]
            assert torch.equal(known, expected.expand_as(known))


def test_errors_are_lengths_where_the_truth_is_known():
    true_px = torch.zeros(1, 2, 2, 2)
    true_px[0, 0, 0] = torch.nan
    said_px = torch.tensor([[[[9.0, 9], [3, 4]], [[0, 1], [torch.nan, 0]]]])
    errors = flow_errors(true_px, motion(said_px, torch.tensor([[[1.0, 0.7], [0.2, 0.0]]])))
    np.testing.assert_allclose(errors.error_px, [5, 1, np.nan])
    np.testing.assert_allclose(errors.trust, [0.7, 0.2, 0])


def errors_of(px: list[float], trust: list[float]) -> FlowErrors:
    return FlowErrors(np.array(px, np.float32), np.array(trust, np.float32))


def test_a_score_by_hand():
    scenes = [
        errors_of([1, 2, 6], [0.9, 0.5, 0.49]),
        errors_of([3, np.nan], [1.0, 0.9]),
        errors_of([], []),
    ]
    score = score_flow(scenes)
    assert (score.n_scenes, score.n_pixels, score.answered) == (2, 5, 0.8)
    assert (score.mean_px, score.median_px) == (3.0, 2.5)
    assert score.low_px <= 3.0 <= score.high_px
    assert (score.trusted, score.trusted_mean_px, score.trusted_median_px) == (0.6, 2.0, 2.0)
    assert score == score_flow(scenes)


def test_intervals_are_over_scenes():
    alike = score_flow([errors_of([1, 3] * 50, [1.0] * 100) for _ in range(4)])
    assert alike.low_px == alike.mean_px == alike.high_px == 2
    apart = score_flow([errors_of([k] * 100, [1.0] * 100) for k in range(4)])
    assert apart.low_px < 1 < 2 < apart.high_px


def test_no_pixels_are_no_score():
    score = score_flow([errors_of([], [])])
    assert (score.n_scenes, score.n_pixels) == (0, 0)
    assert np.isnan([score.answered, score.mean_px, score.median_px, score.trusted]).all()
    assert np.isnan([score.trusted_mean_px, score.trusted_median_px]).all()


def test_unusable_input(shot):
    with pytest.raises(SettingsError, match=r"side is 2, expected 0 \(right\) or 1 \(left\)"):
        true_motion(shot, 2)
    with pytest.raises(SettingsError, match=r"an average needs at least one clip, got none"):
        score_flow([])
    true_px = torch.zeros(1, 4, 4, 2)
    with pytest.raises(ShapeError, match=r"uv_px is .*\(1, 2, 2, 2\), expected float32 \(1, 4,"):
        flow_errors(true_px, motion(torch.zeros(1, 2, 2, 2), torch.zeros(1, 4, 4)))
    with pytest.raises(ShapeError, match=r"trust is .*\(1, 2, 2\), expected float32 \(1, 4, 4\)"):
        flow_errors(true_px, motion(true_px, torch.zeros(1, 2, 2)))
    with pytest.raises(ShapeError, match=r"trust is float32 \(2,\), expected float32 \(1,\)"):
        errors_of([1], [1, 1])
    with pytest.raises(ShapeError, match=r"error_px is float64"):
        FlowErrors(np.zeros(1), np.zeros(1, np.float32))


def test_the_script_scores_and_draws(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("score_flow")
    sheet = tmp_path / "flow.png"
    sizes = {"--scenes": 1, "--pairs": 1, "--frames": 4, "--size-px": 64, "--fps": 10}
    options = [str(word) for pair in sizes.items() for word in pair]
    monkeypatch.setattr(sys, "argv", ["score_flow.py", *options, "--sheet", str(sheet)])
    script.main()
    text = capsys.readouterr().out
    assert text.startswith("1 scenes, 1 pairs, 64 px, 10 frames a second\n")
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line
    ]
    rows = {(row[0], row[1]): row for row in cells[2:]}
    mean = {key: float(row[5].split()[0]) for key, row in rows.items()}
    # The renderer's own motion of the hand, by other code: to rounding the same.
    assert mean["visible", "HandFlow, true mesh"] < 0.02 < mean["visible", "no motion"]
    assert float(rows["visible", "HandFlow, true mesh"][4].rstrip("%")) > 99
    assert mean["visible", "joined, off apart"] == mean["visible", "DIS medium"]
    assert mean["visible", "HandFlow, off apart"] > mean["visible", "HandFlow, off alike"]
    assert {"DIS ultrafast", "DIS fast"} <= {name for _, name in rows}
    assert "HandFlow: " in text
    assert sheet.stat().st_size > 1000
