"""Into the camera: exact on the picture, right on a known hand, finite on a degenerate one."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hdrvideo.config import Settings
from hdrvideo.crop.sides import SidedFrame
from hdrvideo.crop.sighting import Sighting
from hdrvideo.datatypes import ClipInfo, Frame
from hdrvideo.errors import ShapeError
from hdrvideo.frame.lift import NEAREST_MM, lift_hands, lift_pairs, with_adult_bones
from hdrvideo.geometry import Camera
from hdrvideo.hand import ADULT_BONES_MM, N_JOINTS, PARENTS, bone_lengths
from hdrvideo.pipeline import assemble, pick_camera, track_meta
from hdrvideo.track import (
    ABSENT,
    DECODE_STATUS,
    FRAME_LOST,
    NOT_FOUND,
    OBSERVED,
    POSED,
    concatenate,
)

CAMERA = Camera(610, 600, 322, 238, "given")


def adult_hand(seed: int) -> np.ndarray:
    """Give a hand ``(21, 3)`` round its wrist with an adult's bones, fanned and somewhat bent."""
    rng = np.random.default_rng(seed)
    xyz = np.zeros((N_JOINTS, 3))
    for joint in range(1, N_JOINTS):
        finger = (joint - 1) // 4
        direction = np.array([0.3 * (finger - 2), -1, 0]) + rng.normal(0, 0.25, 3)
        bone = ADULT_BONES_MM[joint - 1] * direction / np.linalg.norm(direction)
        xyz[joint] = xyz[PARENTS[joint]] + bone
    return xyz


def hands(n: int = 6) -> np.ndarray:
    return np.stack([adult_hand(seed) for seed in range(n)])


def places(n: int = 6) -> np.ndarray:
    return np.random.default_rng(9).uniform([-150, -100, 300], [150, 150, 1500], (n, 1, 3))


def test_a_known_adult_hand_is_recovered_to_a_millimetre():
    truth = hands() + places()
    shape = 0.01 * (hands() - hands().mean(axis=1, keepdims=True))  # any origin, any scale
    lifted = lift_hands(CAMERA.project(truth), shape, CAMERA)
    assert np.linalg.norm(lifted - truth, axis=-1).max() < 1


def test_the_result_projects_onto_the_picture():
    rng = np.random.default_rng(0)
    uv = rng.uniform(-100, 700, (8, 21, 2))
    xyz = rng.normal(0, 40, (8, 21, 3))
    lifted = lift_hands(uv, xyz, CAMERA)
    np.testing.assert_allclose(CAMERA.project(lifted), uv, atol=1e-6)
    assert (lifted[..., 2] >= NEAREST_MM - 1e-6).all()


def test_the_scale_and_the_origin_of_the_shape_do_not_matter():
    truth = hands() + places()
    uv = CAMERA.project(truth)
    plain = lift_hands(uv, hands(), CAMERA)
    for scale, shift in ((1e-3, 0), (7.7, 0), (1, 5000), (0.02, -3)):
        np.testing.assert_allclose(
            lift_hands(uv, scale * hands() + shift, CAMERA), plain, atol=1e-3
        )


def test_twice_the_focal_length_is_twice_the_depth():
    truth = hands() + places()
    far = Camera(2 * CAMERA.fx_px, 2 * CAMERA.fy_px, CAMERA.cx_px, CAMERA.cy_px, "given")
    uv = CAMERA.project(truth)
    near_z = lift_hands(uv, hands(), CAMERA)[..., 2].mean(axis=1)
    far_z = lift_hands(uv, hands(), far)[..., 2].mean(axis=1)
    np.testing.assert_allclose(far_z / near_z, 2, rtol=0.05)


def test_adult_bones_keep_their_directions():
    stretched = hands().copy()
    for joint in range(1, N_JOINTS):
        # Every bone as much longer as its number says; what hangs on it moves along.
        stretched[:, joint] = stretched[:, PARENTS[joint]] + joint * (
            hands()[:, joint] - hands()[:, PARENTS[joint]]
        )
    np.testing.assert_allclose(with_adult_bones(stretched - 7), hands(), atol=1e-9)
    lengths = bone_lengths(with_adult_bones(np.random.default_rng(1).normal(size=(5, 21, 3))))
    np.testing.assert_allclose(lengths, np.tile(ADULT_BONES_MM, (5, 1)))
    # A bone without length has no direction: it stays a point.
    assert not with_adult_bones(np.zeros((1, 21, 3))).any()


def test_badly_read_bones_do_not_count():
    truth = hands() + places()
    uv, shape = CAMERA.project(truth), hands().copy()
    shape[:, [4, 8]] += (40, 90, -30)
    lifted = lift_hands(uv, shape, CAMERA)
    good = [j for j in range(N_JOINTS) if j not in (4, 8)]
    assert np.abs(lifted[:, good, 2] / truth[:, good, 2] - 1).max() < 0.03


def test_joints_without_confidence_do_not_count():
    truth = hands() + places()
    uv, shape = CAMERA.project(truth), hands().copy()
    wrong = list(range(9, N_JOINTS))
    shape[:, wrong] = shape[:, wrong] * (1.6, 0.5, 3) + (20, 5, 0)
    confidence = np.full((6, N_JOINTS), 0.8)
    confidence[:, wrong] = 0
    good = list(range(9))
    known = lift_hands(uv, shape, CAMERA, confidence)[:, good, 2] / truth[:, good, 2]
    blind = lift_hands(uv, shape, CAMERA)[:, good, 2] / truth[:, good, 2]
    assert np.abs(known - 1).max() < 0.02 < np.abs(blind - 1).max()
    # Only what joints are worth beside one another matters.
    alike = lift_hands(uv, shape, CAMERA, np.full((6, N_JOINTS), 0.1))[:, good, 2]
    np.testing.assert_allclose(alike / truth[:, good, 2], blind)


def test_a_batch_is_one_after_the_other_and_may_be_empty():
    truth = hands() + places()
    uv = CAMERA.project(truth)
    batch = lift_hands(uv, hands(), CAMERA)
    for i in range(len(uv)):
        np.testing.assert_allclose(
            lift_hands(uv[i : i + 1], hands()[i : i + 1], CAMERA)[0], batch[i]
        )
    empty = lift_hands(np.zeros((0, 21, 2)), np.zeros((0, 21, 3)), CAMERA)
    assert empty.shape == (0, 21, 3)


@pytest.mark.parametrize("place", [(322, 238), (10, 470), (-5000, 8000)])
def test_a_hand_squeezed_to_a_point_stays_finite(place):
    point_uv = np.tile(np.array(place, float), (1, 21, 1))
    whole_uv = CAMERA.project(hands(1) + places(1))
    point, whole = np.zeros((1, 21, 3)), hands(1)
    for uv, xyz in (
        (point_uv, point),
        (point_uv, point + 70),
        (point_uv, whole),
        (whole_uv, point),
        (whole_uv, np.concatenate([whole[:, :1]] * 20 + [whole[:, 5:6]], axis=1)),
    ):
        lifted = lift_hands(uv, xyz, CAMERA)
        assert np.isfinite(lifted.astype(np.float32)).all()
        assert (lifted[..., 2] >= NEAREST_MM - 1e-6).all()


def pairs(n: int = 40, *, apart_mm: float = 250.0, way_mm: float = 0.0, noise: float = 0.0):
    """Give true pairs ``(n, 2, 21, 3)`` 1.5 m away, their joints in the picture, and shapes read.

    ``way_mm`` is how much deeper the left hand's centre is, ``noise`` the error of every bone's
    direction over its length.
    """
    rng = np.random.default_rng(5)
    shape = np.stack([[adult_hand(2 * k), adult_hand(2 * k + 1)] for k in range(n)])
    shape[..., 2] -= shape[..., 2].mean(axis=-1, keepdims=True)
    true = shape + np.array([[-apart_mm / 2, 0, 1500], [apart_mm / 2, 0, 1500 + way_mm]])[:, None]
    read = shape + noise * 35 * rng.normal(size=shape.shape)
    return true, CAMERA.project(true), read


def way(xyz_cam_mm: np.ndarray) -> np.ndarray:
    centre = xyz_cam_mm[..., 2].mean(axis=-1)
    return centre[:, 1] - centre[:, 0]


@pytest.mark.parametrize("way_mm", [0, 700])
def test_hands_that_fit_exactly_are_left_where_they_are(way_mm):
    true, uv, read = pairs(way_mm=way_mm)
    hidden = np.tile([0.0, 0.7], (len(uv), 1))
    lifted = lift_pairs(uv, read, CAMERA, hidden=hidden)
    assert np.linalg.norm(lifted - true, axis=-1).max() < 1


def test_hands_that_fit_badly_come_as_near_as_hands_are():
    _, uv, read = pairs(noise=0.5)
    alone = np.stack([lift_hands(uv[:, side], read[:, side], CAMERA) for side in (0, 1)], axis=1)
    both = lift_pairs(uv, read, CAMERA)
    np.testing.assert_allclose(CAMERA.project(both), uv, atol=1e-6)
    assert np.abs(way(both)).mean() < 0.7 * np.abs(way(alone)).mean()
    # What moves is each hand as a whole, along the way between them and never past its end.
    moved = (both - alone)[..., 2]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[..., :1], moved.shape), atol=1e-6)
    assert (np.abs(way(both)) < np.abs(way(alone)) + 1e-6).all()
    assert (way(both) * way(alone) > -1e-6).all()
    assert (moved[:, 0, 0] * moved[:, 1, 0] < 1e-6).all()
    # Hands that overlap in the picture are held together more.
    _, over_uv, _ = pairs(noise=0.5, apart_mm=20)
    over = lift_pairs(over_uv, read, CAMERA)
    assert np.abs(way(over)).mean() < 0.8 * np.abs(way(both)).mean()


def test_the_hidden_hand_is_behind():
    _, uv, read = pairs(noise=0.5, apart_mm=20)
    ways = [
        way(lift_pairs(uv, read, CAMERA, hidden=np.tile(shares, (len(uv), 1)))).mean()
        for shares in ([0.6, 0.0], [0.1, 0.0], [0.3, 0.3], [0.0, 0.1], [0.0, 0.6])
    ]
    assert ways == sorted(ways)
    assert ways[4] - ways[0] > 60
    unknown = lift_pairs(uv, read, CAMERA, hidden=np.full((len(uv), 2), np.nan))
    np.testing.assert_array_equal(unknown, lift_pairs(uv, read, CAMERA))


def test_pairs_are_frame_by_frame_and_a_lone_hand_is_itself():
    _, uv, read = pairs(6, noise=0.3)
    confidence = np.random.default_rng(2).uniform(0.2, 1, (6, 2, N_JOINTS))
    uv[1, 0] = read[2, 1] = uv[3] = np.nan
    lifted = lift_pairs(uv, read, CAMERA, confidence=confidence)
    gone = np.isnan(lifted).all(axis=(2, 3))
    assert gone.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0, 0]]
    assert np.isfinite(lifted[~gone]).all()
    for t in range(6):
        one = lift_pairs(uv[t : t + 1], read[t : t + 1], CAMERA, confidence=confidence[t : t + 1])
        np.testing.assert_allclose(one[0], lifted[t])
    for t, side in ((1, 1), (2, 0)):
        alone = lift_hands(
            uv[t, side][None], read[t, side][None], CAMERA, confidence[t, side][None]
        )
        np.testing.assert_allclose(alone[0], lifted[t, side])
    assert lift_pairs(uv[:0], read[:0], CAMERA).shape == (0, 2, 21, 3)


def test_a_pair_squeezed_to_points_stays_finite():
    uv, xyz = np.full((1, 2, 21, 2), 300.0), np.zeros((1, 2, 21, 3))
    lifted = lift_pairs(uv, xyz, CAMERA, hidden=np.ones((1, 2)))
    assert np.isfinite(lifted.astype(np.float32)).all()
    assert (lifted[..., 2] >= NEAREST_MM - 1e-6).all()


def test_pairs_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"uv_px is float64 \(3, 21, 2\), expected"):
        lift_pairs(np.zeros((3, 21, 2)), np.zeros((3, 21, 3)), CAMERA)


# The two steps of pipeline.py that turn sided hands into a track.


def clip_info(**changed) -> ClipInfo:
    values = {
        "path": "/somewhere/clip.mp4",
        "width": 640,
        "height": 480,
        "rotation_deg": 0,
        "rate": Fraction(30),
        "time_base": Fraction(1, 30),
        "n_frames_container": None,
        "is_variable_rate": None,
        "has_audio": False,
        "codec": "h264",
        "pixel_format": "yuv420p",
    }
    return ClipInfo(**values | changed)


def test_the_camera_is_the_users_then_the_files_then_assumed():
    plain, knows = clip_info(), clip_info(focal_px=700.0)
    camera = pick_camera(plain, Settings())
    assert camera == Camera.from_fov(60, 640, 480, source="assumed")
    assert pick_camera(knows, Settings()) == Camera.from_focal(700, 640, 480, source="metadata")
    for info in (plain, knows):
        given = pick_camera(info, Settings(focal_px=500))
        assert given == Camera.from_focal(500, 640, 480, source="given")
        given = pick_camera(info, Settings(fov_deg=90))
        assert given == Camera.from_fov(90, 640, 480, source="given")


def seen(seed: int, meta) -> Sighting:
    truth = adult_hand(seed) + places(seed + 1)[seed]
    return Sighting(
        uv_px=meta.camera.project(truth).astype(np.float32),
        xyz_mm=(0.7 * adult_hand(seed)).astype(np.float32),
        confidence=np.full(21, 0.9, np.float32),
        presence=0.9,
        right_score=0.8,
        birth=0,
    )


def sided_frames(meta) -> list[SidedFrame]:
    def of(n, status, hands, reasons):
        return SidedFrame(Frame(n, 2 * n, Fraction(1, 30), None, "lost"), status, hands, reasons)

    return [
        of(4, "ok", (seen(0, meta), seen(1, meta)), (POSED, POSED)),
        of(5, "lost", (None, None), (FRAME_LOST, FRAME_LOST)),
        of(6, "damaged", (None, seen(2, meta)), (NOT_FOUND, POSED)),
    ]


@pytest.mark.parametrize("mirror", [False, True])
def test_assembled_hands_stand_in_the_camera(mirror):
    meta = track_meta(clip_info(path=str(Path("a") / "clip.mp4")), Settings(mirror=mirror))
    assert meta.clip == "clip.mp4"
    frames = sided_frames(meta)
    track, ledger = assemble(frames, meta)
    assert track.frame_index.tolist() == ledger.frame_index.tolist() == [4, 5, 6]
    assert track.pts.tolist() == ledger.pts.tolist() == [8, 10, 12]
    np.testing.assert_array_equal(ledger.pts_seconds, track.pts_seconds)
    assert [DECODE_STATUS[s] for s in ledger.decode_status] == ["ok", "lost", "damaged"]
    assert ledger.reason.tolist() == [list(f.reasons) for f in frames]
    o, a = OBSERVED, ABSENT
    assert track.provenance.tolist() == [[o, o], [a, a], [a, o]]
    there = track.present
    np.testing.assert_allclose(
        meta.camera.project(track.xyz_cam_mm[there]), track.uv_px[there], atol=1e-2
    )
    truth = np.stack([adult_hand(k) + places(k + 1)[k] for k in range(3)])
    assert np.linalg.norm(track.xyz_cam_mm[there] - truth, axis=-1).max() < 1
    np.testing.assert_array_equal(track.raw_uv_px, track.uv_px)
    np.testing.assert_array_equal(track.raw_xyz_cam_mm, track.xyz_cam_mm)
    # In a mirrored video a right hand looks like a left one.
    right, left = (0.2, 0.8) if mirror else (0.8, 0.2)
    np.testing.assert_allclose(track.side_score[0], [right, left], rtol=1e-6)
    np.testing.assert_allclose(track.side_score[1], [np.nan, np.nan])


def test_joints_are_told_where_they_are_thought_to_be():
    meta = track_meta(clip_info(), Settings())
    hand, way = seen(0, meta), np.random.default_rng(0).uniform(-5, 5, (21, 2)).astype(np.float32)
    at = Frame(0, 0, Fraction(1, 30), None, "lost")
    off = replace(hand, uv_px=hand.uv_px - way, refine_px=way)
    told, _ = assemble([SidedFrame(at, "ok", (off, None), (POSED, NOT_FOUND))], meta)
    plain, _ = assemble([SidedFrame(at, "ok", (hand, None), (POSED, NOT_FOUND))], meta)
    np.testing.assert_allclose(told.uv_px[0, 0], plain.uv_px[0, 0], atol=1e-3)
    np.testing.assert_allclose(told.xyz_cam_mm[0, 0], plain.xyz_cam_mm[0, 0], atol=0.1)


def test_a_joint_outside_the_picture_is_not_visible():
    meta = track_meta(clip_info(), Settings())
    hand = seen(0, meta)
    hand.uv_px[3] = (-0.6, 100)
    hand.uv_px[4] = (-0.4, 100)
    hand.uv_px[5] = (639.4, 479.4)
    hand.uv_px[6] = (100, 479.6)
    frames = [SidedFrame(Frame(0, 0, Fraction(1, 30), None, "lost"), "ok", (hand, None), (0, 3))]
    track, _ = assemble(frames, meta)
    assert track.visible[0, 0, 3:7].tolist() == [False, True, True, False]
    assert not track.visible[0, 1].any()


def test_assembled_windows_join():
    meta = track_meta(clip_info(), Settings())
    frames = sided_frames(meta)
    whole, _ = assemble(frames, meta)
    joined = concatenate([assemble([f], meta)[0] for f in frames])
    np.testing.assert_array_equal(joined.xyz_cam_mm, whole.xyz_cam_mm)
