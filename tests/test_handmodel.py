"""The hand model: anny's answer, mirror, batch, rigid motion, gradients, anatomy, limits."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hands import joint, palm_normal, some_pose, some_shape, turned
from torch import Tensor

from hdrvideo.hand import ADULT_BONES_MM, FINGERS, JOINTS, PARENTS, TIPS
from hdrvideo.handmodel import (
    PARTS,
    POSE_JOINTS,
    SKIN_BONES,
    HandModel,
    PosedHand,
    axis_angle_to_matrix,
    clamp_to_limits,
    joint_rotation,
    matrix_to_sixd,
    mirror_pose,
    pose_to_matrices,
)

REFERENCE = Path(__file__).parent / "data" / "handmodel_reference.npz"
ANNY = Path(__file__).parent / "data" / "handmodel_anny.npz"
MIRROR = torch.tensor([-1.0, 1.0, 1.0])
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
both_sides = pytest.mark.parametrize("side", [0, 1], ids=["right", "left"])
finger_names = pytest.mark.parametrize("finger", FINGERS)


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel()


# --- anny's own answer -------------------------------------------------------------------------


def test_agrees_with_anny():
    """Hold our forward against anny's on stored poses and shapes, vertex by vertex.

    The rig is anny's own, without the shipped one's anatomical joints (``scripts/anatomy.py``).
    ``scripts/bake_handmodel.py`` gave anny's forward (its own kinematics and skinning of the whole
    body) the blend-shape mixture of each shape score and each bone's rotation, and stored every
    kept vertex, the 16 moved bone heads and the 5 finger ends, in camera axes from the posed wrist.
    anny leaves the forearm where it was while the wrist turns, which is our ``wrist_bend`` equal to
    the wrist's own rotation.
    """
    hand = HandModel(ANNY)
    with np.load(REFERENCE) as file:
        stored = {name: torch.from_numpy(file[name]) for name in file.files}
    assert len(stored["pose"]) >= 6
    wrist = axis_angle_to_matrix(stored["pose"][:, 0])
    posed = hand(stored["pose"], stored["shape"], wrist_bend=wrist)
    heads = [JOINTS.index(name) for name in POSE_JOINTS]
    assert (posed.vertices_mm - stored["vertices_mm"]).norm(dim=-1).max() < 0.1
    assert (posed.joints_mm[:, heads] - stored["heads_mm"]).norm(dim=-1).max() < 0.1
    assert (posed.joints_mm[:, list(TIPS)] - stored["tips_mm"]).norm(dim=-1).max() < 0.1
    # Not by accident: the references differ from the flat mean hand by far more.
    flat = hand(torch.zeros(1, 16, 3))
    assert (stored["vertices_mm"][1:] - flat.vertices_mm).norm(dim=-1).amax(dim=-1).min() > 20


def test_the_flat_hand_is_annys(hand):
    """The shipped rig departs from anny's in its joints; the flat mesh is the same, shape by shape.

    The test's file holds millimetres rounded to 1/128.
    """
    anny, flat = HandModel(ANNY), torch.zeros(20, 16, 3)
    shape = some_shape(hand, 20)
    ours, theirs = hand(flat, shape), anny(flat, shape)
    assert (ours.vertices_mm - theirs.vertices_mm).norm(dim=-1).max() < 0.05
    still = [JOINTS.index(name) for name in ("wrist", "thumb_ip")] + list(TIPS)
    assert (ours.joints_mm - theirs.joints_mm)[:, still].norm(dim=-1).max() < 0.01
    for name in ("faces", "uv", "uv_faces"):
        assert torch.equal(getattr(hand, name), getattr(anny, name))


# --- sides, batches, rigid motion --------------------------------------------------------------


def test_left_is_the_mirror_image_of_right(hand):
    pose, shape = some_pose(3), some_shape(hand, 3)
    wrist_mm, bend = torch.randn(3, 3) * 100, axis_angle_to_matrix(torch.randn(3, 3) * 0.3)
    right = hand(pose, shape, wrist_mm=wrist_mm, wrist_bend=bend)
    left = hand(mirror_pose(pose), shape, side=1, wrist_mm=wrist_mm * MIRROR, wrist_bend=bend)
    assert torch.equal(left.vertices_mm, right.vertices_mm * MIRROR)
    assert torch.equal(left.joints_mm, right.joints_mm * MIRROR)


def test_mirroring_twice_gives_the_pose_back():
    pose = pose_to_matrices(some_pose(2))
    assert torch.equal(mirror_pose(mirror_pose(pose)), pose)
    expected = axis_angle_to_matrix(some_pose(2)[:, 0] * torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(mirror_pose(pose)[:, 0], expected)


def test_a_left_wrist_turns_in_camera_axes(hand):
    pose = torch.zeros(1, 16, 3)
    flat = hand(pose, side=1)
    pose[0, 0] = torch.tensor([0.3, -0.8, 1.9])
    posed = hand(pose, side=1)
    expected = flat.vertices_mm @ axis_angle_to_matrix(pose[0, 0]).mT
    torch.testing.assert_close(posed.vertices_mm, expected, atol=1e-3, rtol=0)


def test_batch_is_single_and_sides_may_be_mixed(hand):
    pose, shape = some_pose(4), some_shape(hand, 4)
    side, wrist_mm = torch.tensor([0, 1, 1, 0]), torch.randn(4, 3) * 50
    batch = hand(pose, shape, side=side, wrist_mm=wrist_mm)
    for i in range(4):
        row = slice(i, i + 1)
        single = hand(pose[row], shape[row], side=int(side[i]), wrist_mm=wrist_mm[row])
        torch.testing.assert_close(single.vertices_mm, batch.vertices_mm[row], atol=1e-3, rtol=0)
        torch.testing.assert_close(single.joints_mm, batch.joints_mm[row], atol=1e-3, rtol=0)


def test_the_three_forms_of_a_pose_are_one(hand):
    pose = some_pose(2)
    turns = axis_angle_to_matrix(pose)
    first = hand(pose)
    for form in (turns, matrix_to_sixd(turns)):
        torch.testing.assert_close(hand(form).vertices_mm, first.vertices_mm, atol=1e-3, rtol=0)


def test_defaults_are_the_mean_right_hand_at_the_origin(hand):
    pose = some_pose(2)
    explicit = hand(
        pose,
        torch.zeros(2, hand.n_shape),
        side=torch.zeros(2, dtype=torch.int64),
        wrist_mm=torch.zeros(2, 3),
        wrist_bend=torch.eye(3).expand(2, 3, 3),
    )
    torch.testing.assert_close(hand(pose).vertices_mm, explicit.vertices_mm)


@both_sides
def test_the_wrist_turns_and_carries_everything_rigidly(hand, side):
    pose, shape = some_pose(2), some_shape(hand, 2)
    still = pose.clone()
    still[:, 0] = 0
    wrist_mm = torch.tensor([[10.0, -20.0, 600.0], [0.0, 5.0, 300.0]])
    turn = axis_angle_to_matrix(pose[:, 0])
    before = hand(still, shape, side=side)
    after = hand(pose, shape, side=side, wrist_mm=wrist_mm)
    expected = before.vertices_mm @ turn.mT + wrist_mm[:, None]
    torch.testing.assert_close(after.vertices_mm, expected, atol=2e-3, rtol=0)
    assert torch.equal(after.joints_mm[:, 0], wrist_mm)


def test_bones_keep_their_length_under_pose_and_not_under_shape(hand):
    shape = some_shape(hand, 5)
    parents = list(PARENTS[1:])

    def lengths_mm(posed: PosedHand) -> Tensor:
        return (posed.joints_mm[:, 1:] - posed.joints_mm[:, parents]).norm(dim=-1)

    flat, posed = hand(torch.zeros(5, 16, 3), shape), hand(some_pose(5, size_rad=1.0), shape)
    torch.testing.assert_close(lengths_mm(posed), lengths_mm(flat), atol=1e-3, rtol=0)
    assert lengths_mm(flat).std(dim=0).min() > 0.5


def test_shape_is_linear_in_the_flat_hand(hand):
    shape, zero = some_shape(hand, 1), torch.zeros(1, 16, 3)
    mean, one, two = (hand(zero, shape * k).vertices_mm for k in (0, 1, 2))
    torch.testing.assert_close(two - mean, 2 * (one - mean), atol=1e-3, rtol=0)


def test_a_bent_wrist_moves_the_forearm_only(hand):
    bend = joint_rotation(torch.deg2rad(torch.tensor([[60.0, 0.0, 0.0]])))
    straight, bent = hand(torch.zeros(1, 16, 3)), hand(torch.zeros(1, 16, 3), wrist_bend=bend)
    moved_mm = (bent.vertices_mm - straight.vertices_mm).norm(dim=-1)[0]
    fingers = (hand.part > 0) & (hand.part < PARTS.index("forearm"))
    # anny gives the forearm traces of weight in the hand.
    assert moved_mm[fingers].max() < 0.5
    elbow = straight.vertices_mm[0, :, 1].argmax()
    # The hand bends towards its palm against the forearm: the forearm's end comes to that side.
    assert bent.vertices_mm[0, elbow, 2] < straight.vertices_mm[0, elbow, 2] - 20
    assert torch.equal(bent.joints_mm, straight.joints_mm)


# --- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["rest", "random", "half turn"])
@pytest.mark.parametrize("form", ["axis angle", "6d", "matrix"])
def test_gradients_are_finite(hand, form, where):
    start = torch.zeros(2, 16, 3) if where == "rest" else some_pose(2)
    if where == "half turn":
        start = math.pi * torch.nn.functional.normalize(start, dim=-1)
    change = {
        "axis angle": lambda pose: pose,
        "6d": lambda pose: matrix_to_sixd(axis_angle_to_matrix(pose)),
        "matrix": axis_angle_to_matrix,
    }[form]
    pose = change(start).requires_grad_()
    shape = torch.zeros(2, hand.n_shape, requires_grad=True)
    posed = hand(pose, shape, side=torch.tensor([0, 1]))
    (posed.vertices_mm.square().mean() + posed.joints_mm.square().mean()).backward()
    assert pose.grad is not None
    assert torch.isfinite(pose.grad).all()
    assert pose.grad.abs().max() > 0
    assert shape.grad is not None
    assert torch.isfinite(shape.grad).all()


@pytest.mark.parametrize("at_rest", [True, False])
def test_gradcheck(at_rest):
    hand = HandModel().double()
    pose = torch.zeros(1, 16, 3, dtype=torch.float64) if at_rest else some_pose(1).double()
    shape = 0.5 * some_shape(hand, 1).double()
    place_mm = torch.zeros(1, 3, dtype=torch.float64)

    def some_points(pose: Tensor, shape: Tensor, place_mm: Tensor) -> Tensor:
        posed = hand(pose, shape, side=1, wrist_mm=place_mm)
        return torch.cat([posed.joints_mm[:, 1::4], posed.vertices_mm[:, ::400]], dim=1) / 100

    inputs = tuple(value.requires_grad_() for value in (pose, shape, place_mm))
    assert torch.autograd.gradcheck(some_points, inputs)


def test_a_pose_can_be_fitted_to_joints(hand):
    truth = clamp_to_limits(some_pose(1))
    goal_mm = hand(truth).joints_mm
    sixd = matrix_to_sixd(torch.eye(3).repeat(1, 16, 1, 1)).requires_grad_()
    adam = torch.optim.Adam([sixd], lr=0.05)
    for _ in range(150):
        adam.zero_grad()
        loss = (hand(sixd).joints_mm - goal_mm).norm(dim=-1).mean()
        loss.backward()
        adam.step()
    assert loss < 5


# --- anatomy -----------------------------------------------------------------------------------


@both_sides
def test_flat_hand_is_a_hand_of_its_side(hand, side):
    posed = hand(torch.zeros(1, 16, 3), side=side)
    wrist = joint(posed, "wrist")
    for finger in FINGERS:
        chain = [j for j, name in enumerate(JOINTS) if name.startswith(finger)]
        reach_mm = (posed.joints_mm[0, chain] - wrist).norm(dim=-1)
        assert (reach_mm.diff() > 10).all(), finger
    towards_thumb = -1 if side else 1
    tips_x = posed.joints_mm[0, list(TIPS), 0] * towards_thumb
    assert (tips_x.diff() < -10).all(), "thumb, index, middle, ring, little from +x to -x"
    assert joint(posed, "middle_tip")[1] < -120, "fingers point up"
    normal = palm_normal(posed, side)
    assert normal[2] < -0.95, "the palm faces the camera"
    # The triple product of index, little and thumb: the thumb is on the palm's side, not the back.
    assert normal @ (joint(posed, "thumb_tip") - wrist) > 0


@finger_names
def test_flat_fingers_are_straight(hand, finger):
    posed = hand(torch.zeros(1, 16, 3))
    chain = [joint(posed, name) for name in JOINTS if name.startswith(finger)]
    bones = torch.stack(chain).diff(dim=0)
    bones = bones / bones.norm(dim=-1, keepdim=True)
    assert bones[1] @ bones[2] > 0.9999
    # The thumb's mcp stands sideways in anny's rest, which the flat hand leaves as it is.
    assert bones[0] @ bones[1] > (0.94 if finger == "thumb" else 0.9999)


@both_sides
@pytest.mark.parametrize("name", [n for n in POSE_JOINTS[1:] if "thumb" not in n])
def test_flexion_brings_a_finger_to_the_palm(hand, name, side):
    flat = hand(torch.zeros(1, 16, 3), side=side)
    tip = f"{name.split('_')[0]}_tip"
    move = joint(hand(turned(name, flexion=30), side=side), tip) - joint(flat, tip)
    assert move @ palm_normal(flat, side) > 0.9 * move.norm()


@both_sides
def test_abduction_brings_fingers_to_the_thumb_and_the_thumb_out_of_the_palm(hand, side):
    flat = hand(torch.zeros(1, 16, 3), side=side)
    to_thumb = torch.tensor([-1.0 if side else 1.0, 0.0, 0.0])
    for finger in FINGERS[1:]:
        posed = hand(turned(f"{finger}_mcp", abduction=15), side=side)
        move = joint(posed, f"{finger}_tip") - joint(flat, f"{finger}_tip")
        assert move @ to_thumb > 0.9 * move.norm()
    posed = hand(turned("thumb_cmc", abduction=20), side=side)
    move = joint(posed, "thumb_tip") - joint(flat, "thumb_tip")
    assert move @ palm_normal(flat, side) > 0.7 * move.norm()


@both_sides
def test_thumb_flexion_brings_it_across_the_palm(hand, side):
    flat = hand(torch.zeros(1, 16, 3), side=side)
    little = joint(flat, "little_mcp")
    before_mm = (joint(flat, "thumb_tip") - little).norm()
    for name in ("thumb_cmc", "thumb_mcp", "thumb_ip"):
        posed = hand(turned(name, flexion=30), side=side)
        assert (joint(posed, "thumb_tip") - little).norm() < before_mm - 5, name


def test_mean_hand_has_human_size(hand):
    posed = hand(torch.zeros(1, 16, 3))
    lengths_mm = (posed.joints_mm[0, 1:] - posed.joints_mm[0, list(PARENTS[1:])]).norm(dim=-1)
    ratio = lengths_mm / torch.tensor(ADULT_BONES_MM)
    assert 0.8 < ratio.median() < 1.2
    assert 0.5 < ratio.min() < ratio.max() < 1.6


# --- what a renderer needs ---------------------------------------------------------------------


@both_sides
def test_triangles_face_outwards(hand, side):
    posed = hand(torch.zeros(1, 16, 3), side=side)
    faces, uv_faces = hand.triangles(side)
    a, b, c = posed.vertices_mm[0, faces].unbind(1)
    volume_mm3 = (torch.linalg.cross(b - a, c - a) * a).sum() / 6
    assert 2e5 < volume_mm3 < 2e6
    assert torch.equal(uv_faces.sort(dim=1).values, hand.uv_faces.sort(dim=1).values)


def test_mesh_is_consistent(hand):
    n = len(hand.template_mm)
    assert torch.equal(hand.faces.unique(), torch.arange(n)), "every vertex is in a triangle"
    assert torch.equal(hand.uv_faces.unique(), torch.arange(len(hand.uv)))
    assert hand.uv.min() >= 0
    assert hand.uv.max() <= 1
    # One piece with one open end (the forearm): an edge has two triangles, or one on that end.
    edges = hand.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).sort(dim=1).values
    _, counts = edges.unique(dim=0, return_counts=True)
    assert counts.max() == 2
    rim = edges.unique(dim=0)[counts == 1].unique()
    assert (hand.part[rim] == PARTS.index("forearm")).all()
    assert n - len(counts) + len(hand.faces) == 1, "a disc: closed but for one rim"


def test_skin_weights_and_parts(hand):
    assert hand.skin_weights.min() >= 0
    torch.testing.assert_close(hand.skin_weights.sum(dim=1), torch.ones(len(hand.template_mm)))
    assert hand.part.unique().tolist() == list(range(len(PARTS)))
    posed = hand(torch.zeros(1, 16, 3))
    for finger in FINGERS:
        gap_mm = (posed.vertices_mm[0] - joint(posed, f"{finger}_tip")).norm(dim=-1)
        assert PARTS[hand.part[gap_mm.argmin()]] == finger
        bone = max(k for k, name in enumerate(SKIN_BONES) if name.startswith(finger))
        assert hand.skin_weights[gap_mm.argmin(), bone] > 0.9


def test_a_checkpoint_does_not_carry_the_hand(hand):
    assert hand.state_dict() == {}
    assert not list(hand.parameters())


# --- devices -----------------------------------------------------------------------------------


@needs_cuda
def test_cuda_is_cpu(hand):
    pose, shape = some_pose(3), some_shape(hand, 3)
    side = torch.tensor([0, 1, 0])
    here = hand(pose, shape, side=side)
    there = HandModel().cuda()(pose.cuda(), shape.cuda(), side=side.cuda())
    torch.testing.assert_close(there.vertices_mm.cpu(), here.vertices_mm, atol=1e-2, rtol=0)
    torch.testing.assert_close(there.joints_mm.cpu(), here.joints_mm, atol=1e-2, rtol=0)
