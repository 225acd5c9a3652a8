"""Into the camera: exact on the picture, right on a known hand, finite on a degenerate one."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hdrvideo.config import Settings
from hdrvideo.crop.sides import SidedFrame
from hdrvideo.crop.sighting import Sighting
from hdrvideo.datatypes import ClipInfo, Frame
from hdrvideo.frame.lift import NEAREST_MM, lift_hands, to_adult_scale
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


def test_adult_scale_is_the_median_bone():
    xyz = 3.3 * hands()
    np.testing.assert_allclose(to_adult_scale(xyz), hands(), atol=1e-9)
    # A few badly read bones (here all tips) do not move the scale of the others.
    xyz[:, 4::4] += 500
    scaled = to_adult_scale(xyz)
    np.testing.assert_allclose(bone_lengths(scaled)[:, 0], ADULT_BONES_MM[0], rtol=1e-6)


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
