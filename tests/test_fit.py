"""Fitting the hand model to 3D joints: round trips, limits, what is missing, what is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_hands import CHAIN, FIT, MODEL, posed_joints, random_hands, tensor

from hdrvideo import fit as fit_module
from hdrvideo.chain import Chain, Hands
from hdrvideo.errors import SettingsError, ShapeError, WeightsError
from hdrvideo.fit import MIN_JOINTS, FittedHands, HandFitter
from hdrvideo.hand import bone_lengths
from hdrvideo.handmodel import (
    POSE_JOINTS,
    joint_angles,
    pose_to_matrices,
    within_limits,
)
from hdrvideo.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from hdrvideo.solve import Solver

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def off_mm(fitted, joints_mm):
    return (fitted.joints_mm - joints_mm).norm(dim=-1)


def angles_deg(pose):
    return torch.rad2deg(joint_angles(pose_to_matrices(pose)[:, 1:]))


def same(one, other, slack=1e-2):
    for name in ("pose", "shape", "wrist_mm", "joints_mm"):
        a, b = getattr(one, name), getattr(other, name)
        if name == "pose":
            a, b = axis_angle_to_matrix(a), axis_angle_to_matrix(b)
        torch.testing.assert_close(a, b, atol=slack, rtol=0, equal_nan=True)


@pytest.fixture(scope="module")
def trip():
    hands, side, joints_mm = random_hands(256, 1)
    return hands, side, joints_mm, FIT(xyz_mm=joints_mm, side=side)


def test_the_chain_gives_the_hand_models_joints():
    hands, _, _ = random_hands(8, 0)
    wanted = posed_joints(hands, 0)
    torch.testing.assert_close(CHAIN.joints(hands), wanted, atol=1e-3, rtol=0)


def test_the_jacobian_is_that_of_automatic_differentiation():
    chain = Chain(MODEL).double()
    hands, _, _ = random_hands(2, 3)
    hands = Hands(*(getattr(hands, n).double() for n in hands.__dataclass_fields__))

    def joints(step):
        turn, place, bend, grow = step.split([3, 3, 45, chain.n_shape], dim=1)
        moved = Hands(
            axis_angle_to_matrix(turn) @ hands.turn,
            hands.wrist_mm + place,
            hands.angles_rad + bend.reshape(-1, 15, 3),
            hands.shape + grow,
        )
        return chain.joints(moved).sum(dim=0)

    zero = torch.zeros(2, 51 + chain.n_shape, dtype=torch.float64)
    wanted = torch.func.jacrev(joints)(zero).permute(2, 0, 1, 3)
    torch.testing.assert_close(chain.joints_and_slopes(hands)[1], wanted, atol=1e-3, rtol=0)


def test_joints_come_back_within_a_millimetre(trip):
    _, _, joints_mm, fitted = trip
    assert off_mm(fitted, joints_mm).max() < 1
    rms = off_mm(fitted, joints_mm).square().mean(dim=1).sqrt()
    torch.testing.assert_close(fitted.error_mm, rms, atol=1e-3, rtol=0)
    assert fitted.error_px.isnan().all()


def test_what_is_given_back_is_a_hand_of_the_model_within_limits(trip):
    _, side, _, fitted = trip
    posed = MODEL(fitted.pose, fitted.shape, side=side, wrist_mm=fitted.wrist_mm)
    torch.testing.assert_close(posed.joints_mm, fitted.joints_mm, atol=1e-2, rtol=0)
    assert within_limits(fitted.pose, slack_deg=0.05).all()


def test_observable_angles_come_back_within_three_degrees(trip):
    """All flexions but the thumb's mcp; abduction where a joint may move sideways by itself.

    Twist shows only through bent joints beyond it, where it looks like their side play. A thumb
    whose mcp is nearly straight may twist at the cmc and flex or swing at the mcp alike.
    """
    hands, _, _, fitted = trip
    off = (angles_deg(fitted.pose) - torch.rad2deg(hands.angles_rad)).abs()
    flexions = [j for j, name in enumerate(POSE_JOINTS[1:]) if name != "thumb_mcp"]
    assert off[:, flexions, 0].max() < 3
    firsts = [0, 3, 6, 9, 12]
    assert off[:, firsts, 1].max() < 3
    turn = pose_to_matrices(fitted.pose)[:, 0]
    between = matrix_to_axis_angle(turn.mT @ hands.turn)
    assert torch.rad2deg(between.norm(dim=-1)).max() < 3


def test_a_mirrored_left_hand_is_the_right_one():
    _, _, joints_mm = random_hands(12, 4)
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    right, left = FIT(xyz_mm=joints_mm), FIT(xyz_mm=joints_mm * mirror, side=1)
    torch.testing.assert_close(left.joints_mm * mirror, right.joints_mm, atol=1e-3, rtol=0)
    torch.testing.assert_close(left.pose[:, 1:], right.pose[:, 1:], atol=1e-3, rtol=0)
    torch.testing.assert_close(left.shape, right.shape, atol=1e-3, rtol=0)


def test_a_batch_gives_what_single_hands_give(trip):
    _, side, joints_mm, fitted = trip
    for i in range(3):
        one = FIT(xyz_mm=joints_mm[i : i + 1], side=int(side[i]))
        torch.testing.assert_close(one.joints_mm[0], fitted.joints_mm[i], atol=2e-2, rtol=0)


def test_a_shift_of_the_joints_shifts_the_hand(trip):
    _, side, joints_mm, fitted = trip
    shift_mm = torch.tensor([100.0, -50.0, -400.0])
    moved = FIT(xyz_mm=joints_mm[:8] + shift_mm, side=side[:8])
    wanted = fitted.wrist_mm[:8] + shift_mm
    torch.testing.assert_close(moved.wrist_mm, wanted, atol=5e-2, rtol=0)


def test_without_wrists_the_rest_comes_back():
    hands, side, joints_mm = random_hands(64, 5)
    given = joints_mm.clone()
    given[:, 0] = torch.nan
    fitted = FIT(xyz_mm=given, side=side)
    assert off_mm(fitted, joints_mm)[:, 1:].max() < 1
    assert off_mm(fitted, joints_mm)[:, 0].max() < 8
    flexion = (angles_deg(fitted.pose) - torch.rad2deg(hands.angles_rad))[:, 3:, 0]
    assert flexion.abs().max() < 6


def test_six_missing_joints_do_not_spoil_the_others():
    _, side, joints_mm = random_hands(64, 6)
    order = torch.from_numpy(np.random.default_rng(6).uniform(size=(64, 21)).argsort(axis=1))
    seen = torch.ones(64, 21).scatter_(1, order[:, :6], 0.0)
    by_confidence = FIT(xyz_mm=joints_mm, confidence=seen, side=side)
    off = off_mm(by_confidence, joints_mm)
    assert off[seen > 0].max() < 1
    assert off[seen == 0].mean() < 12
    by_nan = FIT(xyz_mm=torch.where(seen[..., None] > 0, joints_mm, torch.nan), side=side)
    same(by_nan, by_confidence)
    assert within_limits(by_nan.pose, slack_deg=0.05).all()


def test_noise_is_smoothed_not_followed():
    _, side, joints_mm = random_hands(64, 7)
    noise_mm = tensor(np.random.default_rng(7).normal(scale=4, size=joints_mm.shape))
    fitted = FIT(xyz_mm=joints_mm + noise_mm, side=side, noise_mm=4.0)
    assert off_mm(fitted, joints_mm).square().mean().sqrt() < 0.8 * 4 * math.sqrt(3)
    assert fitted.shape.abs().max() <= 4


def test_one_wild_joint_does_not_move_the_others():
    _, side, joints_mm = random_hands(32, 8)
    wild = joints_mm.clone()
    wild[:, 12] += torch.tensor([0.0, 150.0, 0.0])
    off = off_mm(FIT(xyz_mm=wild, side=side), joints_mm)
    far_fingers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 17, 18, 19, 20]
    assert off[:, far_fingers].max() < 5
    doubted = torch.ones(32, 21)
    doubted[:, 12] = 0
    assert off_mm(FIT(xyz_mm=wild, side=side, confidence=doubted), joints_mm)[:, 1:12].max() < 1


def test_impossible_joints_give_possible_hands():
    rng = np.random.default_rng(9)
    xyz_mm = tensor(rng.normal(scale=80, size=(32, 21, 3)))
    _, _, joints_mm = random_hands(8, 9)
    folded = joints_mm.clone()
    folded[:, 6:9] = 2 * folded[:, 5:6] - folded[:, 6:9]  # the index finger bends far backwards
    still = torch.zeros(2, 21, 3)
    fitted = FIT(xyz_mm=torch.cat([xyz_mm, folded, still]))
    assert within_limits(fitted.pose, slack_deg=0.05).all()
    assert fitted.joints_mm.isfinite().all()
    assert fitted.shape.abs().max() <= 4


def test_hands_with_too_few_joints_are_nan_and_harm_nobody():
    _, side, joints_mm = random_hands(4, 10)
    given = joints_mm.clone()
    given[1] = torch.nan
    given[2, MIN_JOINTS - 1 :] = torch.inf
    fitted = FIT(xyz_mm=given, side=side)
    for name in fitted.__dataclass_fields__:
        value = getattr(fitted, name)
        assert value[1:3].isnan().all()
        assert name == "error_px" or value[[0, 3]].isfinite().all()
    assert off_mm(fitted, joints_mm)[[0, 3]].max() < 1
    given[2, :MIN_JOINTS] = joints_mm[2, :MIN_JOINTS]
    assert FIT(xyz_mm=given, side=side).pose[2].isfinite().all()
    assert len(FIT(xyz_mm=torch.zeros(0, 21, 3)).pose) == 0


def test_a_given_shape_is_kept():
    hands, side, joints_mm = random_hands(16, 11)
    shape = hands.shape.clone()
    shape[0, 0] = 5.0
    fitted = FIT(xyz_mm=joints_mm, side=side, shape=shape)
    assert torch.equal(fitted.shape, shape)
    assert off_mm(fitted, joints_mm)[1:].max() < 1


def test_a_shared_shape_is_one_and_near_the_truth():
    hands, side, _ = random_hands(24, 12)
    hands = replace(hands, shape=hands.shape[:1].expand(24, -1))
    joints_mm = posed_joints(hands, side)
    noisy_mm = joints_mm + tensor(np.random.default_rng(12).normal(scale=2, size=joints_mm.shape))
    fitted = FIT(xyz_mm=noisy_mm, side=side, share_shape=True)
    assert (fitted.shape == fitted.shape[:1]).all()
    lengths = bone_lengths(fitted.joints_mm.numpy())
    assert lengths.std(axis=0).max() < 1e-2
    assert abs(lengths.mean(axis=0) - bone_lengths(joints_mm.numpy()).mean(axis=0)).max() < 1.5
    alone = FIT(xyz_mm=noisy_mm, side=side)
    assert off_mm(fitted, joints_mm).mean() < off_mm(alone, joints_mm).mean()


def test_an_earlier_answer_is_a_start(trip, monkeypatch):
    _, side, joints_mm, fitted = trip
    start = FittedHands(*(getattr(fitted, n)[:6].clone() for n in fitted.__dataclass_fields__))
    with monkeypatch.context() as patch:
        patch.setattr(FIT, "_guess", None)
        again = FIT(xyz_mm=joints_mm[:6], side=side[:6], start=start)
    torch.testing.assert_close(again.joints_mm, start.joints_mm, atol=0.2, rtol=0)
    start.pose[2] = torch.nan
    again = FIT(xyz_mm=joints_mm[:6], side=side[:6], start=start)
    assert off_mm(again, joints_mm[:6]).max() < 1


def test_the_noise_of_exact_joints_is_found_to_be_small(trip):
    _, side, joints_mm, fitted = trip
    task = FIT._wanted(joints_mm, None, None, torch.ones(256, 21), FIT._mirror(side, 256))
    turns = pose_to_matrices(fitted.pose)
    flip = FIT._mirror(side, 256)
    hands = Hands(
        turns[:, 0] * flip[:, :, None] * flip[:, None],
        fitted.wrist_mm * flip,
        joint_angles(turns[:, 1:]),
        fitted.shape,
    )
    sharper = Solver(CHAIN).measured(hands, task).xyz_weight / task.xyz_weight
    assert (sharper >= 1).all()
    assert sharper.median() > 20


@needs_cuda
def test_cuda_is_cpu(trip):
    _, side, joints_mm, fitted = trip
    there = HandFitter(MODEL, device="cuda")(xyz_mm=joints_mm.cuda(), side=side.cuda())
    assert there.pose.device.type == "cuda"
    torch.testing.assert_close(there.joints_mm.cpu(), fitted.joints_mm, atol=0.1, rtol=0)
    MODEL.cpu()


XYZ, UV, K = torch.zeros(2, 21, 3), torch.zeros(2, 21, 2), torch.eye(3).expand(2, 3, 3)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "neither xyz_mm nor uv_px is given; a fit needs at least one of them"),
        ({"uv_px": UV}, "uv_px and k_px belong together; give both or neither"),
        ({"xyz_mm": XYZ, "k_px": K}, "uv_px and k_px belong together; give both or neither"),
        ({"xyz_mm": XYZ[0]}, r"xyz_mm is \(21, 3\), expected \(21, 21, 3\)"),
        ({"xyz_mm": XYZ[..., :2]}, r"xyz_mm is \(2, 21, 2\), expected \(2, 21, 3\)"),
        ({"uv_px": UV[:, :20], "k_px": K}, r"uv_px is \(2, 20, 2\), expected \(2, 21, 2\)"),
        ({"uv_px": UV, "k_px": K[0]}, r"k_px is \(3, 3\), expected \(2, 3, 3\)"),
        ({"xyz_mm": XYZ, "confidence": XYZ}, r"confidence is \(2, 21, 3\), expected \(2, 21\)"),
        ({"xyz_mm": XYZ, "side": K[0]}, r"side is \(3, 3\), expected one for all or \(2,\)"),
        ({"xyz_mm": XYZ, "shape": K[0]}, r"shape is \(3, 3\), expected \(2, \d+\)"),
    ],
)
def test_wrong_shapes_are_named(inputs, text):
    with pytest.raises(ShapeError, match=text):
        FIT(**inputs)


def test_other_errors_are_named(trip, monkeypatch, tmp_path):
    with pytest.raises(ShapeError, match="start holds 256 hands, expected 2"):
        FIT(xyz_mm=XYZ, start=trip[3])
    with pytest.raises(SettingsError, match="noise_mm is 0, expected a positive number"):
        FIT(xyz_mm=XYZ, noise_mm=0)
    with pytest.raises(SettingsError, match="noise_px is nan, expected a positive number"):
        FIT(xyz_mm=XYZ, noise_px=math.nan)
    with pytest.raises(ShapeError, match=r"shape is torch\.float32"):
        FittedHands(*(torch.zeros(2, 16, 3) for _ in range(6)))
    monkeypatch.setattr(fit_module, "weights_path", lambda name: tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"ik\.safetensors are missing"):
        HandFitter(MODEL)
