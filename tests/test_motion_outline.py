"""Masks are completed by the refined hands, and by nothing else."""

from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from posed_tracks import MODEL, pair

from hdrvideo.build import build_parts
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.datatypes import Bool
from hdrvideo.geometry import CropSquare
from hdrvideo.handmask import HandMask
from hdrvideo.handmodel import PARTS
from hdrvideo.motion.outline import POSSIBLE, MasksCompleted, Outlines
from hdrvideo.pipeline import pose_windows, raw_windows
from hdrvideo.synth.raster import rasterize
from hdrvideo.track import ABSENT, PoseTrack, concatenate

SAMPLE = Path(__file__).parents[1] / "sample_videos" / "interlocked.mp4"
SIZE = 96


def true_whole(track: PoseTrack, side: int, square: CropSquare) -> Bool:
    """Draw a hand by the world's own rasterizer."""
    hand = MODEL(torch.zeros(1, 16, 3), side=side)
    wrist_mm = track.xyz_cam_mm[0, side, :1]
    points_mm = hand.vertices_mm[0].numpy() - hand.joints_mm[0, 0].numpy() + wrist_mm
    uv_px = track.meta.camera.project(points_mm)
    place = (uv_px - (square.u_px, square.v_px)) * SIZE / square.size_px + (SIZE - 1) / 2
    uvz = torch.from_numpy(np.concatenate([place, points_mm[:, 2:]], axis=1).astype(np.float32))
    faces = MODEL.triangles(side)[0]
    faces = faces[(MODEL.part[faces] == PARTS.index("forearm")).sum(dim=1) < 2]
    picture = torch.zeros(len(faces), dtype=torch.int64)
    return (rasterize(uvz, faces, picture, 1, SIZE, SIZE, cull=False).face[0] >= 0).numpy()


def around(track: PoseTrack) -> CropSquare:
    """Give a square round both hands."""
    low, high = track.uv_px[0].min(axis=(0, 1)), track.uv_px[0].max(axis=(0, 1))
    u, v = (low + high) / 2
    return CropSquare(float(u), float(v), float(1.4 * (high - low).max()))


def without_poses(track: PoseTrack) -> PoseTrack:
    return replace(
        track,
        turn_rad=np.full_like(track.turn_rad, np.nan),
        shape=np.full_like(track.shape, np.nan),
    )


def mask_of(square: CropSquare, visible: Bool, amodal: Bool) -> HandMask:
    return HandMask(square, visible.astype(np.uint8) * 255, amodal.astype(np.uint8) * 255)


def iou(a: Bool, b: Bool) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("side", [0, 1])
def test_what_lies_behind_the_other_hand_is_drawn(side):
    track = pair(2, apart_mm=-60.0 if side == 0 else 60.0)
    square = around(track)
    whole, front = true_whole(track, side, square), true_whole(track, 1 - side, square)
    assert (whole & front).sum() > 300
    said = [None, None]
    said[side], said[1 - side] = (mask_of(square, m, m) for m in (whole & ~front, front))
    done = Outlines(track).complete(0, *said)
    assert iou(done[side].amodal_u8 >= 128, whole) > 0.94
    np.testing.assert_array_equal(done[side].visible_u8, said[side].visible_u8)
    # Of the one in front nothing is open.
    np.testing.assert_array_equal(done[1 - side].visible_u8, said[1 - side].visible_u8)
    assert iou(done[1 - side].amodal_u8 >= 128, front) > 0.94


def test_only_what_the_net_held_for_possible_is_added():
    track = pair(1, beside_mm=400.0)
    square = around(track)
    whole = true_whole(track, 0, square)
    rows = np.arange(SIZE)[:, None] > np.nonzero(whole)[0].mean()
    for said, added in ((POSSIBLE, True), (POSSIBLE - 1, False)):
        amodal = np.where(whole, np.where(rows, 255, said), 0).astype(np.uint8)
        mask = HandMask(square, np.where(amodal == 255, amodal, 0).astype(np.uint8), amodal)
        done, _ = Outlines(track).complete(0, mask, None)
        told = done.amodal_u8 >= 128
        assert iou(told, whole if added else whole & rows) > 0.95
        np.testing.assert_array_equal(done.visible_u8, mask.visible_u8)


def test_a_hand_that_no_net_saw_is_its_outline():
    track = pair(1, apart_mm=60.0)
    square = around(track)
    front = true_whole(track, 0, square)
    right, left = Outlines(track).complete(0, mask_of(square, front, front), None)
    whole = true_whole(track, 1, square)
    h, w = track.meta.height, track.meta.width
    visible, amodal = left.in_frame(h, w)
    seen_right, _ = right.in_frame(h, w)
    wanted = mask_of(square, whole, whole).in_frame(h, w)[1]
    assert iou(amodal, wanted) > 0.9
    assert iou(visible, wanted & ~seen_right) > 0.8
    # Without either the nearer one is before the other.
    right, left = Outlines(track).complete(0, None, None)
    assert (right.visible_u8 == right.amodal_u8).all()
    assert (left.visible_u8 < left.amodal_u8).any()


def test_no_pixel_shows_both_hands():
    rng = np.random.default_rng(0)
    square = CropSquare(320.0, 240.0, 200.0)
    drawn = rng.integers(0, 256, (2, 8, 8), dtype=np.uint8).repeat(12, 1).repeat(12, 2)
    right, left = (HandMask(square, one, np.maximum(one, 200)) for one in drawn)
    done = Outlines(without_poses(pair(1))).complete(0, right, left)
    a, b = (mask.visible_u8.astype(int) for mask in done)
    assert (a + b).max() <= 255
    # The surer one keeps what it had; so does all that is not contested.
    np.testing.assert_array_equal(np.maximum(a, b), drawn.max(axis=0))
    calm = drawn.astype(int).sum(axis=0) <= 255
    np.testing.assert_array_equal(np.stack([a, b])[:, calm], drawn[:, calm])
    for mask, said in zip(done, (right, left), strict=True):
        np.testing.assert_array_equal(mask.amodal_u8, said.amodal_u8)
    frames = [mask.in_frame(480, 640)[0] for mask in done]
    assert not (frames[0] & frames[1]).any()


def test_without_a_hand_model_masks_stay():
    track = without_poses(pair(1))
    square = around(track)
    whole = true_whole(track, 0, square)
    mask = mask_of(square, whole, whole)
    done = Outlines(track).complete(0, mask, None)
    np.testing.assert_array_equal(done[0].amodal_u8, mask.amodal_u8)
    np.testing.assert_array_equal(done[0].visible_u8, mask.visible_u8)
    assert done[1] is None
    assert Outlines(track).complete(0, None, None) == (None, None)


def test_hands_outside_of_the_frame_and_behind_the_camera_have_no_mask():
    away = pair(1)
    shift = np.array([5000.0, 0.0], np.float32)
    assert Outlines(replace(away, uv_px=away.uv_px + shift)).complete(0, None, None) == (None, None)
    behind = replace(away, xyz_cam_mm=away.xyz_cam_mm - np.array([0, 0, 499.0], np.float32))
    for mask in Outlines(behind).complete(0, None, None):
        assert mask is None or mask.amodal_u8.any()


def test_windows_make_no_difference_and_the_order_stays():
    track = pair(7, apart_mm=40.0, absent=[(1, 2, 4), (0, 5, 6)])
    assert (track.provenance == ABSENT).any()
    square = around(track)
    front = true_whole(track, 0, square)
    found = []
    for cuts in ((0, 7), (0, 3, 4, 7)):
        taken: list[tuple[int, int, HandMask]] = []
        waiting = MasksCompleted(lambda *one, taken=taken: taken.append(one))
        for frame in track.frame_index.tolist():
            if frame != 1:
                waiting.put(frame, 0, mask_of(square, front, front))
        for start, stop in pairwise(cuts):
            waiting.give(track.rows(start, stop))
        found.append(taken)
    whole, parts = found
    assert [one[:2] for one in whole] == [one[:2] for one in parts]
    assert [one[:2] for one in whole] == sorted(one[:2] for one in whole)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a[2].amodal_u8, b[2].amodal_u8)
        np.testing.assert_array_equal(a[2].visible_u8, b[2].visible_u8)
    # A row for each hand that the track or the net has: none of the left one in frames 2 and 3.
    assert {(f, s) for f, s, _ in whole} == {
        (f, s) for f in range(7) for s in (0, 1) if not (s == 1 and f in (2, 3))
    }


def test_annotate_keeps_completed_masks_of_its_own_track():
    settings, raw, kept = Settings(), [], []
    parts = build_parts(settings, torch.device("cpu"))
    with open_clip(SAMPLE) as reader:
        frames = list(islice(reader, 12))
    with open_clip(SAMPLE) as reader:
        list(raw_windows(frames, reader.info, settings, parts, lambda *one: raw.append(one)))
        windows = pose_windows(frames, reader.info, settings, parts, lambda *one: kept.append(one))
        track = concatenate([window[0] for window in windows])
    assert len(raw) > 12
    wanted: list[tuple[int, int, HandMask]] = []
    whole = MasksCompleted(lambda *one: wanted.append(one))
    for one in raw:
        whole.put(*one)
    whole.give(track)
    assert [one[:2] for one in kept] == [one[:2] for one in wanted]
    for a, b in zip(kept, wanted, strict=True):
        np.testing.assert_array_equal(a[2].amodal_u8, b[2].amodal_u8)
        np.testing.assert_array_equal(a[2].visible_u8, b[2].visible_u8)
    grown = [
        int((done.amodal_u8 >= 128).sum()) - int((said.amodal_u8 >= 128).sum())
        for (*_, said), (*_, done) in zip(raw, kept, strict=False)
        if done.square == said.square
    ]
    assert max(grown) > 0
