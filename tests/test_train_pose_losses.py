"""SHPE's losses, scores and sheets against slow and obvious ones."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from pose_hands import some_truth

from hdrvideo.alignment import bone_scaled, procrustes_aligned, wrist_aligned
from hdrvideo.errors import SettingsError
from hdrvideo.frame.detmaps import DetMaps, bone_directions, heat_maps
from hdrvideo.train.pose_losses import (
    PoseWeights,
    distance_palms,
    error_loss,
    hand_norm,
    joints_mm,
    masked_norm,
    pose_loss,
)
from hdrvideo.train.pose_scores import HandErrors, hidden_groups, reliability
from hdrvideo.train.pose_sheets import draw_pose_sheet
from hdrvideo.validate.metrics import joint_distance, share_within

# Losses.


def perfect(truth: dict[str, torch.Tensor], cells: int = 16, size_px: int = 64) -> DetMaps:
    """Give maps of which every loss but those of heat and confidence is nearly none."""
    stride = size_px / cells
    uv = (truth["uv_px"] + 0.5) / stride - 0.5
    heat = heat_maps(uv, cells, cells)

    def over(values):
        return values.flatten(1)[:, :, None, None].expand(-1, -1, cells, cells).clone()

    v, u = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    offset = uv[..., None, None] - torch.stack([u, v])
    return DetMaps(
        torch.logit(heat, 1e-6),
        over(bone_directions(truth["xyz"])),
        over(truth["xyz"]),
        offset.flatten(1, 2),
        over(40 * (2 * truth["visible"] - 1)),
        torch.full((len(uv), 21, cells, cells), -3.0),
    )


def test_nothing_is_lost_on_a_perfect_answer():
    truth = some_truth()
    losses = pose_loss(perfect(truth), truth, PoseWeights(confidence=0), 64)
    for name in set(losses) - {"confidence"}:
        assert float(losses[name]) == pytest.approx(0, abs=1e-3), name


@pytest.mark.parametrize(
    ("part", "loss"),
    [
        ("heat_logit", "heat"),
        ("delta", "delta"),
        ("location", "location"),
        ("location", "joints_3d"),
        ("offset", "joints_2d"),
        ("visible_logit", "visible"),
    ],
)
def test_any_worse_answer_loses_more(part, loss):
    truth = some_truth()
    maps = perfect(truth)
    best = pose_loss(maps, truth, PoseWeights(), 64)
    for sign in (-1, 1):
        worse = replace(maps, **{part: getattr(maps, part) * 0.1 + 5 * sign})
        lost = pose_loss(worse, truth, PoseWeights(), 64)
        assert lost[loss] > best[loss] + 1e-3
        assert lost["sum"] > best["sum"]


def test_losses_are_what_they_say():
    truth = some_truth(3, 7)
    draw = torch.Generator().manual_seed(1)
    channels = {"heat_logit": 21, "delta": 63, "location": 63, "offset": 42}
    channels |= {"visible_logit": 21, "log_error": 21}
    maps = DetMaps(*(torch.randn(3, c, 8, 8, generator=draw) for c in channels.values()))
    found = {k: float(v) for k, v in pose_loss(maps, truth, PoseWeights(), 64).items()}
    uv = (truth["uv_px"] + 0.5) / 8 - 0.5
    heat = heat_maps(uv, 8, 8).double().numpy()
    said = {name: getattr(maps, name).double().numpy() for name in channels}
    wanted = {"delta": bone_directions(truth["xyz"]).numpy(), "location": truth["xyz"].numpy()}
    sums = {"heat": 0.0, "delta": 0.0, "location": 0.0}
    for b in range(3):
        squares = {"heat": 0.0, "delta": 0.0, "location": 0.0}
        for j in range(21):
            for v in range(8):
                for u in range(8):
                    h = heat[b, j, v, u]
                    squares["heat"] += (1 / (1 + np.exp(-said["heat_logit"][b, j, v, u])) - h) ** 2
                    for name in ("delta", "location"):
                        for axis in range(3):
                            off = said[name][b, 3 * j + axis, v, u] - wanted[name][b, j, axis]
                            squares[name] += (h * off) ** 2
        for name, square in squares.items():
            sums[name] += math.sqrt(square) / 21 / 3
    for name, value in sums.items():
        assert found[name] == pytest.approx(value, rel=1e-4)
    weights = {"heat": 1, "delta": 1, "location": 5, "joints_2d": 4, "joints_3d": 6}
    weights |= {"visible": 0.3, "confidence": 0.05}
    assert found["sum"] == pytest.approx(sum(w * found[n] for n, w in weights.items()), rel=1e-5)
    other = PoseWeights(**dict.fromkeys(weights, 2.0))
    assert float(pose_loss(maps, truth, other, 64)["sum"]) == pytest.approx(
        2 * sum(found[name] for name in weights), rel=1e-5
    )


def test_a_hand_counts_alike_in_any_batch():
    difference = torch.randn(4, 21, 5, 5)
    alone = torch.stack([hand_norm(one) for one in difference.split(1)])
    assert float(hand_norm(difference)) == pytest.approx(float(alone.mean()), rel=1e-5)
    heat, wanted = torch.rand(4, 21, 5, 5), torch.randn(4, 21, 3)
    maps = torch.randn(4, 63, 5, 5)
    heat[1] = 0
    assert float(masked_norm(maps[1:2], wanted[1:2], heat[1:2], torch.ones(1))) < 1e-6


def test_distances_are_in_palms_and_millimetres():
    uv = torch.zeros(1, 21, 2)
    off = distance_palms(uv + torch.tensor([3.0, 4.0]), uv, torch.tensor([10.0]))
    assert off[0].tolist() == pytest.approx([0.5] * 21)
    xyz = torch.zeros(1, 21, 3)
    one = torch.ones(1)
    assert float(joints_mm(xyz + 0.1, xyz, torch.tensor([90.0]), one)) == pytest.approx(9)


def test_hands_that_are_not_known_in_space_teach_nothing_there():
    truth = some_truth(3)
    maps = perfect(truth)
    wrong = replace(maps, location=2 * maps.location, delta=maps.delta + 1)
    known = pose_loss(wrong, truth, PoseWeights(), 64)
    assert all(float(known[name]) > 0.01 for name in ("delta", "location", "joints_3d"))
    none = pose_loss(wrong, {**truth, "in_space": torch.zeros(3)}, PoseWeights(), 64)
    assert all(float(none[name]) == 0 for name in ("delta", "location", "joints_3d"))
    assert torch.equal(none["heat"], known["heat"])
    # What counts is a mean over those that are known, whatever else is in the batch.
    two = {**truth, "in_space": torch.tensor([1.0, 1.0, 0.0])}
    alone = {name: value[:2] for name, value in truth.items()}
    fewer = DetMaps(*(getattr(wrong, f.name)[:2] for f in fields(DetMaps)))
    for name in ("delta", "location"):
        of_two = pose_loss(wrong, two, PoseWeights(), 64)[name]
        torch.testing.assert_close(of_two, pose_loss(fewer, alone, PoseWeights(), 64)[name])


def test_the_expected_error_is_least_lost_where_it_is_the_mean():
    errors = torch.from_numpy(np.random.default_rng(0).gamma(2, 0.1, (400, 21))).float()
    said, all_of = torch.linspace(-3, 0, 61), torch.ones_like(errors)
    lost = torch.stack(
        [error_loss(torch.full_like(errors, float(s)), errors, all_of) for s in said]
    )
    assert math.exp(float(said[lost.argmin()])) == pytest.approx(float(errors.mean()), rel=0.05)


def test_a_lost_hand_does_not_rule_and_confidence_does_not_move_joints():
    truth = some_truth()
    maps = perfect(truth)
    far = replace(maps, offset=maps.offset + 1e4)
    assert float(pose_loss(far, truth, PoseWeights(), 64)["joints_2d"]) == pytest.approx(3)
    offset = (maps.offset + 0.3).requires_grad_()
    log_error = maps.log_error.clone().requires_grad_()
    wrong = replace(maps, offset=offset, log_error=log_error)
    pose_loss(wrong, truth, PoseWeights(), 64)["confidence"].backward()
    assert offset.grad is None
    assert log_error.grad.any()


@pytest.mark.parametrize("size", [0.0, 60.0])
def test_gradients_are_finite_where_the_net_is_right_or_surest(size):
    truth = some_truth()
    maps = perfect(truth)
    values = {
        name: (getattr(maps, name) + size * torch.sign(getattr(maps, name))).requires_grad_()
        for name in ("heat_logit", "delta", "location", "offset", "visible_logit", "log_error")
    }
    if size:
        values["log_error"] = maps.log_error.clone().requires_grad_()
    pose_loss(DetMaps(**values), truth, PoseWeights(), 64)["sum"].backward()
    assert all(v.grad.isfinite().all() for v in values.values())


def test_weights_are_checked():
    with pytest.raises(SettingsError, match=r"PoseWeights.heat is -1, expected a number from 0"):
        PoseWeights(heat=-1)


# Scores.


def turned(seed: int) -> np.ndarray:
    values = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    return values * np.sign(np.linalg.det(values))


def test_errors_are_those_of_validate():
    rng = np.random.default_rng(2)
    truth = {name: value.numpy() for name, value in some_truth(6, 3).items()}
    xyz = truth["xyz"] @ turned(1) + 0.2 * rng.standard_normal((6, 21, 3)) + 5
    uv = truth["uv_px"] + rng.standard_normal((6, 21, 2))
    found = HandErrors.of(uv, xyz, truth)
    wanted = truth["xyz"].astype(np.float64) * truth["bone_mm"][:, None, None]
    assert found.off_mm == pytest.approx(
        joint_distance(bone_scaled(xyz, wanted), wrist_aligned(wanted))
    )
    assert found.aligned_mm == pytest.approx(
        joint_distance(procrustes_aligned(xyz, wanted), wanted)
    )
    distance = joint_distance(uv, truth["uv_px"])
    assert found.off_palms == pytest.approx(distance / truth["palm_px"][:, None])
    where = np.arange(6) % 2 == 0
    scores = found.scores(where)
    assert scores["epe"] == pytest.approx(100 * found.off_palms[::2].mean())
    assert scores["pck"] == pytest.approx(share_within(found.off_palms, 0.2)[::2].mean())
    assert scores["mpjpe"] == pytest.approx(found.off_mm[::2].mean())
    assert scores["pa_mpjpe"] == pytest.approx(found.aligned_mm[::2].mean())
    assert scores["pck3d"] == pytest.approx(share_within(found.off_mm, 20)[::2].mean())


def test_a_turned_and_scaled_hand_is_right_after_alignment_alone():
    truth = {name: value.numpy() for name, value in some_truth(3).items()}
    errors = HandErrors.of(truth["uv_px"], 0.01 * truth["xyz"] @ turned(4) + 2, truth)
    assert errors.aligned_mm.max() < 1e-3
    assert errors.off_mm.mean() > 20
    assert HandErrors.of(truth["uv_px"], 7 * truth["xyz"], truth).off_mm.max() < 1e-3
    nowhere = errors.scores(np.zeros(3, bool))
    assert all(math.isnan(value) for value in nowhere.values())


def test_hands_are_sorted_by_what_is_hidden():
    groups = hidden_groups(np.array([0, 0.049, 0.05, 0.2, 0.25, 0.5, 1.0]))
    assert {name: np.flatnonzero(where).tolist() for name, where in groups.items()} == {
        "0_5": [0, 1],
        "5_25": [2, 3],
        "25_50": [4],
        "50_100": [5, 6],
    }


def test_reliability_is_the_share_of_right_joints_by_what_was_said():
    rng = np.random.default_rng(0)
    said = rng.random((4000, 21))
    off = np.where(rng.random((4000, 21)) < said, 0.1, 0.3)
    curve = reliability(said, off)
    assert [curve[f"right_{k}_{k + 20}"] for k in range(0, 100, 20)] == pytest.approx(
        [0.1, 0.3, 0.5, 0.7, 0.9], abs=0.02
    )
    assert curve["calibration"] < 0.01
    boast = reliability(np.full((5, 21), 1.0), np.full((5, 21), 0.3))
    assert boast["right_80_100"] == 0
    assert math.isnan(boast["right_0_20"])
    assert boast["calibration"] == 1


# Sheets.


def test_a_sheet_shows_what_was_seen_and_both_skeletons():
    truth = {name: value.numpy() for name, value in some_truth(3).items()}
    truth["rgb"] = np.full((3, 3, 64, 64), 0.5, np.float32)
    sure = np.ones((3, 21))
    sheet = draw_pose_sheet(truth, truth["uv_px"], truth["xyz"], sure)
    assert sheet.shape == (2 * 64, 2 * 4 * 64, 3)
    seen, true, said, beside = np.split(sheet[:64, :256], 4, axis=1)
    assert (seen == 128).all()
    assert (true != 128).any()
    assert ((said == 255).all(axis=2).sum()) > ((true == 255).all(axis=2).sum())
    assert (beside != 40).any()
    # Joints that are in doubt are smaller dots; joints far outside do no harm.
    doubt = draw_pose_sheet(truth, truth["uv_px"] + 1e6, truth["xyz"], 0 * sure)
    assert (doubt[:64, 128:192] == 128).all()
