"""What the refiner loses and how it scores: the truth is best, and what is spoilt shows where."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from practice_tracks import MODEL, studied

from hdrvideo.errors import SettingsError
from hdrvideo.motion.refine import RefinedWindow, RefineNet, RefineSize
from hdrvideo.motion.states import HandStates, fitted_joints
from hdrvideo.penetration import HandSpheres
from hdrvideo.train.refine_losses import (
    JOINT_BASES,
    RefineWeights,
    joint_loss,
    mean_where,
    refine_loss,
    tamed,
)
from hdrvideo.train.refine_scores import draw_refine_sheet, refine_scores
from hdrvideo.train.refine_windows import (
    TrueStates,
    Windows,
    WindowSettings,
    as_batch,
    said_of,
    true_of,
)


def test_maxmse_weighs_each_joint_by_its_share():
    true = torch.zeros(2, 21, 3)
    said = true.clone()
    said[0, 3], said[0, 7] = torch.tensor([2.0, 0, 0]), torch.tensor([0, 0, 1.0])
    # Squares are 4 and 1: (16 + 1) / (4 + 1).
    lost = joint_loss(said, true, "maxmse")
    torch.testing.assert_close(lost, torch.tensor([17 / 5, 0.0]), rtol=1e-4, atol=0)
    mse = joint_loss(said, true, "mse")
    torch.testing.assert_close(mse, torch.tensor([5 / 21, 0.0]))


def test_its_detached_kind_has_the_same_value_and_another_slope():
    rng = torch.Generator().manual_seed(0)
    true, start = (torch.randn(4, 21, 3, generator=rng) for _ in range(2))
    values, slopes = {}, {}
    for basis in JOINT_BASES:
        said = start.clone().requires_grad_()
        values[basis] = joint_loss(said, true, basis)
        (slopes[basis],) = torch.autograd.grad(values[basis].sum(), said)
    torch.testing.assert_close(values["maxmse"], values["maxmse_detached"])
    assert (slopes["maxmse"] - slopes["maxmse_detached"]).abs().max() > 0.01
    square = ((start - true) ** 2).sum(dim=-1, keepdim=True)
    part = square / square.sum(dim=1, keepdim=True)
    slow = part * 2 * (start - true)
    torch.testing.assert_close(slopes["maxmse_detached"], slow, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("basis", JOINT_BASES)
def test_perfect_joints_lose_nothing_and_have_slopes(basis):
    true = torch.randn(3, 21, 3, generator=torch.Generator().manual_seed(0))
    said = true.clone().requires_grad_()
    lost = joint_loss(said, true, basis)
    assert not lost.any()
    (slope,) = torch.autograd.grad(lost.sum(), said)
    assert slope.isfinite().all()


def test_small_losses_stay_and_large_ones_are_tamed():
    lost = torch.tensor([0.0, 1e-4, 1e3])
    tame = tamed(lost, "depth")
    torch.testing.assert_close(tame[:2], lost[:2], rtol=2e-3, atol=0)
    assert tame[2] < 1
    assert mean_where(lost, torch.tensor([1.0, 1.0, 0.0])) == pytest.approx(5e-5)
    assert mean_where(lost, torch.zeros(3)) == 0


def truth_told(true: TrueStates) -> RefinedWindow:
    step = true.state.diff(dim=2)
    zero = torch.zeros_like(step[:, :, :1])
    ahead, back = torch.cat([step, zero], dim=2), torch.cat([zero, -step], dim=2)
    sure = torch.full((*true.weight.shape, 21), 20.0)
    return RefinedWindow(true.state, ahead, back, true.state, sure)


@pytest.fixture(scope="module")
def batch():
    tracks = [studied(8, n, gaps=((n % 2, 2, 4),), hidden=0.6) for n in range(3)]
    still = {"turn_deg": 0.0, "zoom": 1.0, "swap_share": 0.0, "drop_share": 0.0, "noise": 0.0}
    windows = Windows(tracks, WindowSettings(frames=8, strides=(1,), **still), MODEL)
    return windows.draw(np.random.default_rng(0), 5)


def losses(out: RefinedWindow, batch, **how) -> dict[str, float]:
    told = refine_loss(out, true_of(batch), MODEL, RefineWeights(**how))
    return {name: float(value) for name, value in told.items()}


@pytest.mark.parametrize("basis", JOINT_BASES)
def test_the_truth_loses_nothing_and_what_is_spoilt_loses_where_it_is_spoilt(batch, basis):
    true = true_of(batch)
    told = truth_told(true)
    best = losses(told, batch, joint_basis=basis)
    assert all(value < 1e-4 for value in best.values()), best
    noise = 0.05 * torch.randn(true.state.shape, generator=torch.Generator().manual_seed(0))
    own = {"joints", "turns", "picture", "depth", "acceleration"}
    for change, worse in (
        ({"fused": true.state + noise}, own),
        ({"state": true.state + noise}, {"alone", "motion"}),
        ({"forward": told.forward + noise}, {"motion"}),
        ({"backward": told.backward + noise}, {"motion"}),
        ({"sure_logit": -told.sure_logit}, {"sure"}),
    ):
        spoilt = losses(replace(told, **change), batch, joint_basis=basis)
        grown = {name for name, value in spoilt.items() if value > best[name] + 1e-3}
        assert worse | {"sum"} <= grown, change
        assert grown <= worse | {"sum", "sure", "acceleration"}, change


def test_hands_that_do_not_count_lose_nothing(batch):
    true = true_of(batch)
    weight = true.weight.clone()
    weight[:, 0, 3:6] = 0
    weight[1, 1] = 0
    lessons = batch | {"true_weight": weight}
    spoilt = torch.where(weight[..., None] > 0, 0.0, 0.3 * torch.ones_like(true.state))
    off = replace(truth_told(true), fused=true.state + spoilt, state=true.state)
    told = losses(off, lessons)
    # But for the way from hand to hand, which both ends of count.
    assert all(told[n] < 1e-4 for n in ("joints", "turns", "picture", "depth", "acceleration"))


def test_a_window_whose_hands_nobody_saw_has_finite_slopes(batch):
    torch.manual_seed(0)
    net = RefineNet(RefineSize(part=16, wide=32, spatial=1, layers=1, heads=2))
    said = said_of(batch)
    values = {f.name: getattr(said, f.name).clone() for f in fields(HandStates)}
    for name in values.keys() - {"seconds"}:
        values[name][1, 1] = 0
        values[name][2] = 0
    unseen = HandStates(**values)
    told = refine_loss(
        net(unseen, fitted_joints(unseen, MODEL)), true_of(batch), MODEL, RefineWeights()
    )
    torch.autograd.backward(told["sum"])
    norm = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()
    assert norm.isfinite()
    assert norm < 1e4


def test_hands_that_pass_through_one_another_lose_more(batch):
    true = true_of(batch)
    told, spheres = truth_told(true), HandSpheres(MODEL)
    state = true.state.clone()
    # The left one is mirrored: it stands where the right one does.
    state[:, 1, :, -3:] = state[:, 0, :, -3:] * torch.tensor([-1.0, 1.0, 1.0])
    lost = [
        refine_loss(replace(told, fused=fused), true, MODEL, RefineWeights(), spheres=spheres)[
            "overlap"
        ]
        for fused in (true.state, state)
    ]
    assert lost[1] > lost[0] + 0.1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"joints": -1}, r"weights\.joints is -1, expected a number from 0"),
        ({"sure": "x"}, r"weights\.sure is 'x'"),
        ({"joint_basis": "l1"}, "joint_basis is 'l1', expected maxmse, maxmse_detached, mse"),
    ],
)
def test_weights_check_themselves(change, text):
    with pytest.raises(SettingsError, match=text):
        RefineWeights(**change)


# Scores.


def test_the_truth_has_the_best_scores(batch):
    scores = refine_scores([truth_told(true_of(batch))], [batch], MODEL)
    for name in ("mpjpe_mm", "mpjpe_hidden_mm", "epe_palm_pct", "acceleration_mm", "way_mm"):
        assert scores[name] == pytest.approx(0, abs=1e-2), name
        assert scores[f"{name}_raw"] > 0.1, name
    assert scores["pck_pct"] == 100
    assert scores["sure_off_pct"] == pytest.approx(0, abs=1e-3)
    assert scores["score"] == pytest.approx(4)
    assert scores["acceleration_mm_smooth"] < scores["acceleration_mm_raw"]


@pytest.mark.parametrize("how", [{}, {"absent": (1,), "hidden": 0.7}])
def test_the_score_is_a_number_whatever_the_clips_show(how):
    """Nothing half hidden, or one hand: what cannot be judged does not count."""
    track = studied(8, 0, **how)
    batch = as_batch(track.said, track.true, MODEL)
    scores = refine_scores([truth_told(track.true)], [batch], MODEL)
    assert math.isfinite(scores["score"])


def test_a_sheet_shows_fingertips(batch):
    sheet = draw_refine_sheet([truth_told(true_of(batch))], [batch], MODEL)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (110, 4 * 240, 3)
    # Two windows of five are drawn, the rest is blank.
    tiles = sheet.reshape(110, 4, 240, 3).transpose(1, 0, 2, 3)
    assert [bool((tile.max(axis=-1) < 100).any()) for tile in tiles] == [True, True, False, False]
    assert (tiles[2:] == 255).all()
