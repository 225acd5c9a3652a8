"""Losses of rivals that read joints: nothing at the truth, and by hand elsewhere."""

import math

import pytest
import torch
from pose_hands import some_truth
from pose_rivals import TINY, R

from hdrvideo.errors import SettingsError
from hdrvideo.frame.detmaps import bone_directions, cells_from_px, unit_places
from hdrvideo.handmodel import HandModel, axis_angle_to_matrix, matrix_to_sixd
from hdrvideo.rivals.handoccnet import HandOccAnswer
from hdrvideo.rivals.internet import InterMaps, cells_from_mm, draw_heat
from hdrvideo.train.pose_losses import pose_loss
from hdrvideo.train.rival_pose_losses import (
    HandOccWeights,
    InterWeights,
    MinimalWeights,
    handocc_loss,
    inter_loss,
    minimal_loss,
)
from hdrvideo.train.shpe_recipe import maps_of

BINS = 16


# InterNet's loss.


def pair_truth(seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    xyz = torch.randn(2, 2, 21, 3, generator=draw)
    xyz -= xyz[:, :, :1].clone()
    return {
        "uv_px": 8 + 48 * torch.rand(2, 2, 21, 2, generator=draw),
        "joint_weight": torch.ones(2, 2, 21),
        "xyz": xyz.clamp(-1.9, 1.9),
        "bone_mm": torch.tensor([[90.0, 90.0], [80.0, 100.0]]),
        "way": torch.tensor([0.5, -0.9]),
        "way_weight": torch.ones(2),
        "present": torch.ones(2, 2),
        "present_weight": torch.ones(2, 2),
    }


def maps_of_truth(truth: dict[str, torch.Tensor]) -> InterMaps:
    deep = cells_from_mm(truth["xyz"][..., 2] * truth["bone_mm"][..., None], BINS)
    cells = torch.cat([cells_from_px(truth["uv_px"], 4.0), deep[..., None]], dim=-1)
    way = cells_from_mm(truth["way"] * truth["bone_mm"].mean(dim=1), BINS)
    # Two cells whose mean is the way's.
    places = torch.arange(BINS)
    logit = (1 - (places - way[:, None]).abs()).clamp(min=1e-30).log()
    heat = draw_heat(cells.flatten(1, 2), BINS, R // 4, R // 4)
    return InterMaps(heat, logit, 40 * (2 * truth["present"] - 1))


def test_internets_loss_is_nothing_at_the_truth():
    truth = pair_truth()
    losses = inter_loss(maps_of_truth(truth), truth, InterWeights(), R)
    assert losses["heat"] < 1e-6
    assert losses["way"] < 1e-4
    assert losses["handed"] < 1e-6
    assert losses["sum"] == pytest.approx(float(losses["heat"] + losses["way"]), abs=1e-6)


def test_internets_loss_without_heat_is_that_of_its_bells():
    truth = pair_truth(1)
    right = maps_of_truth(truth)
    cold = InterMaps(torch.zeros_like(right.heat), torch.zeros(2, BINS), torch.zeros(2, 2))
    losses = inter_loss(cold, truth, InterWeights(heat=2.0), R)
    assert losses["heat"] == pytest.approx(float(right.heat.square().mean()), rel=1e-4)
    # An even softmax is in the middle of the axis: half a cell before no way at all.
    way = cells_from_mm(truth["way"] * torch.tensor([90.0, 90.0]), BINS)
    assert losses["way"] == pytest.approx(float((way - 7.5).abs().mean()), rel=1e-4)
    # Each bit by itself: log 2, also where both are there.
    assert losses["handed"] == pytest.approx(math.log(2))
    total = 2 * losses["heat"] + losses["way"] + losses["handed"]
    assert losses["sum"] == pytest.approx(float(total))


def test_absent_hands_and_joints_beyond_the_axis_ask_for_no_heat():
    truth = pair_truth(2)
    maps = maps_of_truth(truth)
    wrong = InterMaps(maps.heat.flip(1), maps.way_logit, maps.handed_logit)
    whole = inter_loss(wrong, truth, InterWeights(), R)["heat"]
    # Counted over all joints, so a hand that is away halves it.
    lone = {**truth, "joint_weight": truth["joint_weight"] * torch.tensor([1.0, 0])[:, None]}
    assert 0.3 * whole < inter_loss(wrong, lone, InterWeights(), R)["heat"] < 0.7 * whole
    for change in (
        {"joint_weight": torch.zeros(2, 2, 21)},
        {"bone_mm": torch.zeros(2, 2)},
        {"xyz": truth["xyz"] * 0 + 2.6},
    ):
        assert inter_loss(wrong, {**truth, **change}, InterWeights(), R)["heat"] == 0
    for change in ({"way_weight": torch.zeros(2)}, {"way": torch.tensor([2.5, -2.6])}):
        assert inter_loss(wrong, {**truth, **change}, InterWeights(), R)["way"] == 0
    unclear = {**truth, "present": torch.zeros(2, 2), "present_weight": torch.zeros(2, 2)}
    assert inter_loss(wrong, unclear, InterWeights(), R)["handed"] == 0


def test_internets_loss_without_any_truth_has_a_finite_slope():
    truth = {name: torch.zeros_like(value) for name, value in pair_truth().items()}
    parts = [torch.zeros(2, 42, BINS, 4, 4), torch.zeros(2, BINS), torch.zeros(2, 2)]
    parts = [part.requires_grad_() for part in parts]
    loss = inter_loss(InterMaps(*parts), truth, InterWeights(), R)["sum"]
    assert loss == 0
    loss.backward()
    assert all(part.grad.isfinite().all() for part in parts)


# HandOccNet's loss.


def posed_truth(b: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    hand = HandModel()
    pose = 0.3 * torch.randn(b, 16, 3, generator=draw)
    shape = torch.randn(b, 12, generator=draw)
    turns = axis_angle_to_matrix(pose)
    xyz_mm = hand.joints(turns, shape)
    return {
        **some_truth(b, seed),
        "turns": turns,
        "shape": shape,
        "xyz": unit_places(xyz_mm),
        "bone_mm": xyz_mm[:, 9].norm(dim=-1),
    }


def answer_to(truth: dict[str, torch.Tensor], **more: torch.Tensor) -> HandOccAnswer:
    b, cells = len(truth["shape"]), cells_from_px(truth["uv_px"], 8.0)
    v, u = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    heat = torch.zeros(b, 21, 8, 8)
    for j in range(21):
        # Weights of the four cells round the joint, whose mean it is.
        along_u = (1 - (u - cells[:, j, 0, None, None]).abs()).clamp(min=1e-20)
        along_v = (1 - (v - cells[:, j, 1, None, None]).abs()).clamp(min=1e-20)
        heat[:, j] = (along_u * along_v).log()
    usual = {"heat_logit": heat, "turns_6d": matrix_to_sixd(truth["turns"])}
    return HandOccAnswer(**{**usual, "shape": truth["shape"], **more})


def handocc(answer, truth, weights=None):
    return handocc_loss(answer, truth, HandModel(), weights or HandOccWeights(), R)


def test_handoccnets_loss_is_nothing_at_the_truth():
    truth = posed_truth()
    truth["uv_px"] = truth["uv_px"].clamp(4, 59)
    for name, value in handocc(answer_to(truth), truth).items():
        assert value < 1e-4, name


def test_handoccnets_loss_is_in_metres_and_sides_of_the_crop():
    truth = posed_truth(1)
    truth["uv_px"] = 4 + 0 * truth["uv_px"]
    moved = {**truth, "uv_px": truth["uv_px"] + 6.4}
    losses = handocc(answer_to(moved), truth)
    # A tenth of the crop each way.
    assert losses["joints_2d"] == pytest.approx(0.01, rel=1e-3)
    # A half turn about z of the whole hand: (2x, 2y) in metres, mean over axes.
    half = truth["turns"].clone()
    half[:, 0] = torch.diag(torch.tensor([-1.0, -1.0, 1.0])) @ half[:, 0]
    losses = handocc(answer_to(truth, turns_6d=matrix_to_sixd(half)), truth)
    xyz_m = truth["xyz"] * truth["bone_mm"] / 1000
    wanted = (2 * xyz_m[..., :2]).square().sum() / xyz_m.numel()
    assert losses["joints_3d"] == pytest.approx(float(wanted), rel=1e-3)
    vertices_m = HandModel()(truth["turns"], truth["shape"]).vertices_mm / 1000
    wanted = (2 * vertices_m[..., :2]).square().sum() / vertices_m.numel()
    assert losses["vertices"] == pytest.approx(float(wanted), rel=1e-3)
    wanted = (half - truth["turns"]).square().mean()
    assert losses["pose"] == pytest.approx(float(wanted), rel=1e-3)
    losses = handocc(answer_to(truth, shape=truth["shape"] + 2), truth, HandOccWeights(shape=0.5))
    assert losses["shape"] == pytest.approx(4)
    parts = {name: getattr(HandOccWeights(shape=0.5), name) for name in losses if name != "sum"}
    total = sum(weight * float(losses[name]) for name, weight in parts.items())
    assert losses["sum"] == pytest.approx(total, rel=1e-5)


def test_hands_known_in_the_picture_alone_teach_joints_there():
    truth = {**posed_truth(2, 3), "in_space": torch.zeros(2)}
    answer = answer_to(posed_truth(2, 4))
    losses = handocc(answer, truth)
    assert losses["joints_2d"] > 0
    assert losses["sum"] == pytest.approx(100 * float(losses["joints_2d"]), rel=1e-5)


def test_handoccnets_loss_has_a_finite_slope_at_nothing():
    truth = posed_truth(2)
    parts = [torch.zeros(2, 21, 8, 8), torch.zeros(2, 16, 6), torch.zeros(2, 12)]
    parts = [part.requires_grad_() for part in parts]
    handocc(HandOccAnswer(*parts), truth)["sum"].backward()
    assert all(part.grad.isfinite().all() for part in parts)


# minimal-hand's loss.


def test_minimal_hands_loss_is_detnets_and_the_posed_hands():
    truth = posed_truth(2, 5)
    net = TINY["minimal_hand"]()
    with torch.no_grad():
        maps = maps_of(net(torch.rand(2, 3, R, R))[:6])
    right_mm = 1.3 * (truth["xyz"] * truth["bone_mm"][:, None, None] + 20)
    weights = MinimalWeights(location=2.0)
    losses = minimal_loss(maps, right_mm, truth, weights, R)
    for name, value in pose_loss(maps, truth, weights, R).items():
        assert losses[name] == pytest.approx(float(value), abs=1e-4), name
    assert losses["posed"] < 1e-5
    wrong_mm = right_mm + torch.tensor([0.0, 0.0, 13.0]) * (torch.arange(21) > 9)[:, None]
    losses = minimal_loss(maps, wrong_mm, truth, weights, R)
    # Eleven of 21 joints 10 mm off along one axis of three.
    assert losses["posed"] == pytest.approx(0.1 * 11 / 63, rel=0.1)
    none = minimal_loss(maps, wrong_mm, {**truth, "in_space": torch.zeros(2)}, weights, R)
    assert none["posed"] == 0
    assert bone_directions(truth["xyz"]).isfinite().all()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: InterWeights(heat=-1), "InterWeights.heat is -1"),
        (lambda: HandOccWeights(pose="much"), "HandOccWeights.pose is 'much'"),
        (lambda: MinimalWeights(posed=-2), "MinimalWeights.posed is -2"),
        (lambda: MinimalWeights(heat=-3), "PoseWeights.heat is -3"),
    ],
)
def test_weights_are_checked(make, text):
    with pytest.raises(SettingsError, match=text):
        make()
