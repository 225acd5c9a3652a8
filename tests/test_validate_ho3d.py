"""HO-3D's, DexYCB's, HandOccNet's and Tzionas' protocols, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from field_cases import MCP, flat_hand, one_hand, random_pairs, saying, truth_of
from scipy.spatial.transform import Rotation

from hdrvideo.alignment import procrustes_aligned, procrustes_or_mirror_aligned
from hdrvideo.errors import ProtocolError, ShapeError
from hdrvideo.hand import JOINTS, LEFT, RIGHT, WRIST, to_order
from hdrvideo.validate import dexycb, ho3d, tzionas
from hdrvideo.validate.field import Protocol, score
from hdrvideo.validate.field_hands import field_prediction
from hdrvideo.validate.field_protocols import protocol_named

TURN = Rotation.from_rotvec([0.4, -1.0, 2.0]).as_matrix()
MIRROR = np.diag([-1.0, 1.0, 1.0])


def named(start: str) -> Protocol:
    return protocol_named(start)


HO3D = {
    "none": named("mpjpe_ho3d_unaligned_21j_mm"),
    "bone": named("mpjpe_ho3d_wrist_true_bone_scale_21j_one_zero_wrist_mm"),
    "best": named("mpjpe_ho3d_procrustes_or_mirror_best_scale_21j_mm"),
}
DEXYCB = {
    "none": named("mpjpe_dexycb_unaligned_21j_mm"),
    "wrist": named("mpjpe_dexycb_wrist_21j_one_zero_wrist_mm"),
    "best": named("mpjpe_dexycb_procrustes_or_mirror_best_scale_21j_mm"),
}
BEST = "procrustes_or_mirror_best_scale"


def value(said: np.ndarray, true: np.ndarray, protocol: Protocol) -> float:
    """Score single right hands ``(21, 3)``."""
    return score(saying(one_hand(said[None])), truth_of(one_hand(true[None])), protocol).value


def mesh_value(said, true, protocol, joints=None, true_joints=None) -> float:
    """Score single right meshes ``(V, 3)``."""
    joints, true_joints = (flat_hand() if j is None else j for j in (joints, true_joints))
    truth = truth_of(one_hand(true_joints[None]), vertices_cam_mm=one_hand(true[None]))
    prediction = saying(one_hand(joints[None]), vertices_cam_mm=one_hand(said[None]))
    return score(prediction, truth, protocol).value


def cloud(seed: int = 0, n: int = 778) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 30, (n, 3)) + np.array([0, -80, 500])


# HO-3D's joints


def test_three_alignments_by_hand():
    true, said = flat_hand(), flat_hand() + np.array([0, 0, 6.0])
    # Moved by 6: unaligned 6, else nothing.
    assert value(said, true, HO3D["none"]) == pytest.approx(6.0)
    assert value(said, true, HO3D["bone"]) == pytest.approx(0, abs=1e-9)
    assert value(said, true, HO3D["best"]) == pytest.approx(0, abs=1e-9)
    # Twice the size about the wrist: wrong by each joint's own distance, else nothing.
    said = 2 * (true - true[WRIST]) + true[WRIST]
    mean_mm = np.linalg.norm(true - true[WRIST], axis=-1).mean()
    assert value(said, true, HO3D["none"]) == pytest.approx(mean_mm)
    assert value(said, true, HO3D["bone"]) == pytest.approx(0, abs=1e-9)
    # Turned: only Procrustes takes it back.
    said = (true - true[WRIST]) @ TURN.T + true[WRIST]
    assert value(said, true, HO3D["none"]) == pytest.approx(value(said, true, HO3D["bone"]))
    assert value(said, true, HO3D["bone"]) > 30
    assert value(said, true, HO3D["best"]) == pytest.approx(0, abs=1e-9)


def test_the_bone_is_the_middle_knuckles_and_not_our_joint_4():
    # HO-3D's joint 4 in MANO's order is the middle knuckle; in our order 4 is the thumb's tip.
    assert to_order(np.arange(21)[:, None], "ho3d")[4, 0] == MCP == JOINTS.index("middle_mcp")
    said = flat_hand()
    said[4] = said[WRIST] + 2 * (said[4] - said[WRIST])
    off = np.linalg.norm(flat_hand()[4] - flat_hand()[WRIST])
    assert value(said, flat_hand(), HO3D["bone"]) == pytest.approx(off / 21)


def test_a_hand_of_zeros_is_put_on_the_true_wrist():
    # What people hand in for hands they did not find; the script lets it pass.
    mean_mm = np.linalg.norm(flat_hand() - flat_hand()[WRIST], axis=-1).mean()
    assert value(np.zeros((21, 3)), flat_hand(), HO3D["bone"]) == pytest.approx(mean_mm)
    # Procrustes puts it on the true hand's middle.
    mean_mm = np.linalg.norm(flat_hand() - flat_hand().mean(axis=0), axis=-1).mean()
    assert value(np.zeros((21, 3)), flat_hand(), HO3D["best"]) == pytest.approx(mean_mm)


def test_a_bone_of_no_length_scales_by_metres():
    # Wrist and knuckle on one point, the rest where it is: the script multiplies by 0.1 (metres).
    said = flat_hand()
    said[MCP] = said[WRIST]
    want = np.linalg.norm(0.1 * (said - said[WRIST]) - (flat_hand() - flat_hand()[WRIST]), axis=-1)
    assert value(said, flat_hand(), HO3D["bone"]) == pytest.approx(want.mean())


@pytest.mark.parametrize("protocol", [HO3D["best"], DEXYCB["best"]], ids=lambda p: p.work)
def test_procrustes_may_mirror(protocol):
    # A left hand's joints for a right one are perfect for HO-3D and DexYCB, not for HandOccNet.
    said = (flat_hand() - flat_hand()[WRIST]) @ MIRROR @ TURN.T * 1.7 + 33
    assert value(said, flat_hand(), protocol) == pytest.approx(0, abs=1e-9)
    _, rigid = dexycb.HANDOCCNET
    assert value(said, flat_hand(), rigid) > 1


def test_both_procrustes_agree_where_no_mirror_helps():
    true = random_pairs(8)
    said = (true + np.random.default_rng(3).normal(0, 5, true.shape)) @ TURN.T
    np.testing.assert_allclose(
        procrustes_or_mirror_aligned(said, true), procrustes_aligned(said, true)
    )


def test_procrustes_or_mirror_is_never_worse():
    true, said = random_pairs(50), random_pairs(50, seed=1)
    plain, mirrored = (
        ((align(said, true) - true) ** 2).sum(axis=(-2, -1))
        for align in (procrustes_aligned, procrustes_or_mirror_aligned)
    )
    assert (mirrored <= plain + 1e-9).all()
    assert (mirrored < plain - 1).any()
    assert np.isnan(procrustes_or_mirror_aligned(said * np.nan, true)).all()


def test_auc_by_hand():
    # All joints 25.2525 mm off = the 50th of 99 steps to 50 mm: (49 + 0.5) / 99.
    said = flat_hand() + np.array([0, 0, 50 * 50 / 99])
    area = named("auc_0_50mm_ho3d_unaligned_21j")
    assert value(said, flat_hand(), area) == pytest.approx(0.5)
    assert value(flat_hand() + np.array([0, 0, 51.0]), flat_hand(), area) == 0
    # SYSTEMS 3.9: without errors above 50 mm it is 1 - mean / 50: 5.22 mm is 0.896.
    rng = np.random.default_rng(0)
    true = random_pairs(300)
    way = rng.normal(size=true.shape)
    said = true + way / np.linalg.norm(way, axis=-1, keepdims=True) * rng.uniform(
        0, 2 * 5.22, (300, 2, 21, 1)
    )
    of = score(saying(said), truth_of(true), area)
    assert of.value == pytest.approx(0.896, abs=2e-3)


# HO-3D's meshes


def test_vertex_error_by_hand():
    mesh = cloud()
    said = mesh + np.array([3.0, 0, 4.0])
    assert mesh_value(said, mesh, named("mpvpe_ho3d_unaligned_mesh_mm")) == pytest.approx(5.0)
    assert mesh_value(said, mesh, named("auc_0_50mm_ho3d_unaligned_mesh")) == pytest.approx(
        0.9, abs=6e-3
    )
    aligned = named(f"mpvpe_ho3d_{BEST}_mesh_mm")
    assert mesh_value(said, mesh, aligned) == pytest.approx(0, abs=1e-9)


def test_the_mesh_has_a_procrustes_of_its_own():
    # Joints are right and the mesh is turned: the aligned mesh is perfect all the same.
    mesh = cloud()
    said = mesh @ TURN.T * 0.5
    assert mesh_value(said, mesh, named(f"mpvpe_ho3d_{BEST}_mesh_mm")) == pytest.approx(0, abs=1e-9)
    assert mesh_value(said, mesh, named(f"f_5mm_ho3d_{BEST}_mesh")) == 1


def test_f_score_by_hand():
    # True points at 0, 10, 20, 30 on a line; predicted at 1, 14.5 and 100. Within 5 mm of a true
    # point: 1 and 14.5, so precision 2/3. Of the true ones 0 and 10 are near: recall 1/2.
    true = np.array([[0, 0, 0], [10, 0, 0], [20, 0, 0], [30, 0, 0.0]])
    said = np.array([[1, 0, 0], [14.5, 0, 0], [100, 0, 0.0]])
    assert ho3d.f_score(said, true, 5.0) == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    # 14.5 is 5.5 from 20 and within 15 mm; 30 is 15.5 from it and not.
    assert ho3d.f_score(said, true, 15.0) == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))


def test_f_score_counts_strictly_below_and_degenerates_to_zero():
    one, other = np.zeros((1, 3)), np.array([[5.0, 0, 0]])
    assert ho3d.f_score(one, other, 5.0) == 0
    assert ho3d.f_score(one, other, 5.0001) == 1
    # With a shared point each, half of either cloud is near: the 5 mm count on neither side.
    far = np.array([[100.0, 0, 0]])
    assert ho3d.f_score(np.concatenate([one, far]), np.concatenate([other, far]), 5.0) == 0.5
    assert ho3d.f_score(one[:0], other, 5.0) == 0
    assert ho3d.f_score(one, other[:0], 5.0) == 0


def test_f_score_is_of_nearest_points_and_not_of_corresponding_ones():
    # SYSTEMS 8.1: the same points in another order are a perfect mesh, and a bad vertex error.
    mesh = cloud()
    assert mesh_value(mesh[::-1], mesh, named("f_5mm_ho3d_unaligned_mesh")) == 1
    assert mesh_value(mesh[::-1], mesh, named("mpvpe_ho3d_unaligned_mesh_mm")) > 20


def test_a_mesh_of_another_make_has_no_vertex_error():
    with pytest.raises(ShapeError, match="have 1609 vertices and true ones 778: no vertex error"):
        mesh_value(cloud(n=1609), cloud(), named("mpvpe_ho3d_unaligned_mesh_mm"))
    assert 0 <= mesh_value(cloud(n=1609), cloud(), named("f_5mm_ho3d_unaligned_mesh")) <= 1


def test_a_mesh_of_another_make_shrinks_by_the_joints_transform():
    # All joints and the mesh are perfect. The script leaves out the division by the predicted
    # joints' size in metres, so the mesh becomes that much smaller, about its own middle.
    joints = flat_hand()
    mesh = np.concatenate([cloud(), cloud(1)])
    size_m = np.linalg.norm(joints - joints.mean(axis=0)) / 1000
    assert 0.2 < size_m < 0.5
    moved = ho3d.mesh_by_joints(mesh, joints, joints)
    middle = mesh.mean(axis=0)
    np.testing.assert_allclose(moved, (mesh - middle) * size_m + middle, atol=1e-5)
    # So is its aligned score far from perfect, while the unaligned one is.
    true = cloud()
    assert mesh_value(mesh, true, named("f_5mm_ho3d_unaligned_mesh")) > 0.6
    aligned = mesh_value(mesh, true, named(f"f_5mm_ho3d_{BEST}_mesh"))
    assert aligned == pytest.approx(ho3d.f_score(moved, true, 5.0))
    assert aligned < 0.6


def test_a_mesh_of_another_make_is_turned_and_moved_right():
    joints, mesh = flat_hand(), cloud(n=5)
    turned = [p @ TURN.T + 40 for p in (joints, mesh)]
    moved = ho3d.mesh_by_joints(turned[1], turned[0], joints)
    size_m = np.linalg.norm(joints - joints.mean(axis=0)) / 1000
    # Its middle goes where the script's sum puts it: moved by the joints' means, not turned.
    middle = turned[1].mean(axis=0) + joints.mean(axis=0) - turned[0].mean(axis=0)
    want = (mesh - mesh.mean(axis=0)) * size_m + middle
    np.testing.assert_allclose(moved, want, atol=1e-5)


def test_a_missing_mesh_is_missing():
    with pytest.raises(ProtocolError, match=r"f_15mm_ho3d_unaligned_mesh.*1 of 1 samples have no"):
        mesh_value(cloud() * np.nan, cloud(), named("f_15mm_ho3d_unaligned_mesh"))


def test_a_truth_known_in_part_is_refused():
    true = one_hand(flat_hand()[None])
    true[0, RIGHT, 3] = np.nan
    with pytest.raises(ShapeError, match="truth knows 20 of 21 joints"):
        score(saying(true), truth_of(true), HO3D["none"])


# DexYCB


def test_dexycb_by_hand():
    # 42 mm away and one joint 21 mm more, in the direction of the shift: (42 * 21 + 21) / 21.
    said = flat_hand() + np.array([42.0, 0, 0])
    said[8, 0] += 21
    assert value(said, flat_hand(), DEXYCB["none"]) == pytest.approx(43.0)
    # Root-relative: the zero wrist is one of the 21.
    assert value(said, flat_hand(), DEXYCB["wrist"]) == pytest.approx(1.0)
    assert value(said, flat_hand(), dexycb.HANDOCCNET[0]) == pytest.approx(1.0)
    # 20 joints pass all thresholds; the one at 21 mm passes those from 42 * 50 / 99 on.
    area = named("auc_0_50mm_dexycb_wrist_21j_one_zero_wrist")
    assert value(said, flat_hand(), area) == pytest.approx((20 + 57.5 / 99) / 21)


def test_root_relative_is_not_scaled():
    said = 2 * flat_hand()
    mean_mm = np.linalg.norm(flat_hand() - flat_hand()[WRIST], axis=-1).mean()
    assert value(said, flat_hand(), DEXYCB["wrist"]) == pytest.approx(mean_mm)
    assert value(said, flat_hand(), DEXYCB["best"]) == pytest.approx(0, abs=1e-9)


def test_labels_of_minus_one_are_no_hand():
    labels = np.stack([flat_hand() / 1000, np.full((21, 3), -1.0), flat_hand() / 1000])
    # A joint that happens to be at -1 in one axis is a label.
    labels[2, 5, 0] = -1.0
    truth = dexycb.truth_of_labels(labels, np.array([LEFT, RIGHT, RIGHT]))
    assert truth.hands.tolist() == [[False, True], [False, False], [True, False]]
    assert truth.xyz_cam_mm is not None
    np.testing.assert_allclose(truth.xyz_cam_mm[0, LEFT], flat_hand())
    said = np.nan_to_num(truth.xyz_cam_mm, nan=999.0)
    scored = score(saying(said), truth, DEXYCB["none"])
    assert (scored.value, scored.n_samples) == (0, 2)
    # With no label at all there is no number, not a 0.
    none = dexycb.truth_of_labels(labels[1:2], np.array([RIGHT]))
    assert np.isnan(score(saying(said[:1]), none, DEXYCB["none"]).value)


@pytest.mark.parametrize(
    ("labels", "sides"),
    [(np.zeros((2, 20, 3)), [0, 1]), (np.zeros((2, 21, 3)), [0]), (np.zeros((1, 21, 3)), [2])],
)
def test_wrong_labels_are_refused(labels, sides):
    with pytest.raises(ShapeError, match=r"expected \(N, 21, 3\) and \(N,\) of 0 \(right\) or 1"):
        dexycb.truth_of_labels(labels, np.array(sides))


# Tzionas


def test_the_28_joints_in_our_order():
    # Each label is its own number: 0-13 right, 14-27 left.
    labels = np.stack([np.arange(1, 29)] * 2, axis=-1)[None]
    truth = tzionas.truth_of_labels(labels)
    assert truth.uv_px is not None
    number = {
        (side, JOINTS[j]): int(truth.uv_px[0, side, j, 0]) - 1
        for side in (RIGHT, LEFT)
        for j in np.flatnonzero(truth.valid[0, side])
    }
    assert len(number) == 28
    assert [number[RIGHT, f"little_{k}"] for k in ("mcp", "pip", "dip")] == [0, 1, 2]
    assert [number[RIGHT, f"index_{k}"] for k in ("mcp", "pip", "dip")] == [9, 10, 11]
    assert [number[RIGHT, f"thumb_{k}"] for k in ("mcp", "ip")] == [12, 13]
    assert [number[LEFT, f"middle_{k}"] for k in ("mcp", "pip", "dip")] == [20, 21, 22]
    # The left index finger runs the other way.
    assert [number[LEFT, f"index_{k}"] for k in ("mcp", "pip", "dip")] == [25, 24, 23]
    assert [number[LEFT, f"thumb_{k}"] for k in ("mcp", "ip")] == [26, 27]
    assert not truth.valid[0, :, [WRIST, 1, *(4, 8, 12, 16, 20)]].any()


def test_epe_by_hand():
    labels = np.full((1, 28, 2), 100.0)
    # No label: both zero. A joint on the picture's edge has one.
    labels[0, 0] = 0
    labels[0, 1] = [0, 7]
    truth = tzionas.truth_of_labels(labels)
    assert truth.valid.sum() == 27
    assert truth.uv_px is not None
    uv = np.nan_to_num(truth.uv_px, nan=5.0)
    uv[0, RIGHT, JOINTS.index("little_pip")] += [3, 4]
    scored = score(field_prediction(uv_px=uv), truth, tzionas.EPE)
    assert scored.value == pytest.approx(5 / 27)
    assert scored.protocol.unit == "px"
    nothing = tzionas.truth_of_labels(np.zeros((1, 28, 2)))
    assert np.isnan(score(field_prediction(uv_px=uv), nothing, tzionas.EPE).value)


def test_wrong_shapes_of_hic():
    with pytest.raises(ShapeError, match=r"labels of HIC are \(1, 42, 2\), expected \(N, 28, 2\)"):
        tzionas.truth_of_labels(np.zeros((1, 42, 2)))


def test_pixels_and_millimetres_do_not_mix():
    labels = np.full((1, 28, 2), 100.0)
    epe = score(
        field_prediction(uv_px=np.ones((1, 2, 21, 2))), tzionas.truth_of_labels(labels), tzionas.EPE
    )
    with pytest.raises(ProtocolError, match=r"epe_tzionas.*mpjpe_ho3d"):
        epe.minus(replace(epe, protocol=HO3D["none"]))
