"""Harvest: how hands are cut out of their crops, and how the cuts are judged."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from harvest_hands import DRAWN_PX, GOOD, RULES, drawn_hand

from hdrvideo.candidates import sharpness
from hdrvideo.cutout import HandCutter, HandShapes, hand_likeness, refine_mask
from hdrvideo.errors import ShapeError
from hdrvideo.handmodel import HandModel
from hdrvideo.harvest import judge_cut
from hdrvideo.synth.crops import CROP_PX


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("change", ["smaller", "larger", "moved"])
def test_a_mask_finds_back_to_the_outline(seed, change):
    picture, hand, arm = drawn_hand(seed)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    first = {
        "smaller": cv2.erode(hand.astype(np.uint8), disc) > 0,
        "larger": cv2.dilate(hand.astype(np.uint8), disc) > 0,
        "moved": np.roll(hand, (2, -3), axis=(0, 1)),
    }[change]
    assert iou(first, hand) < 0.88
    found = refine_mask(picture, first & ~arm, arm, 1.0, uv_px=DRAWN_PX)
    assert iou(found, hand) >= 0.93
    n, _ = cv2.connectedComponents(found.astype(np.uint8))
    assert n == 2


def test_a_mask_ends_at_the_wrist():
    picture, hand, arm = drawn_hand()
    with_arm = refine_mask(picture, hand, arm, 1.0, uv_px=DRAWN_PX)
    assert not with_arm[np.flatnonzero(arm.any(axis=1))[0] + 3 :].any()


def test_what_lies_before_a_hand_is_not_hand():
    picture, hand, arm = drawn_hand()
    picture[100:130, 60:200] = (30, 160, 40)
    found = refine_mask(picture, hand, arm, 1.0, uv_px=DRAWN_PX)
    assert found[102:128].sum() < 0.03 * hand[102:128].sum()
    assert iou(found, hand) < 0.85


def test_a_finger_that_the_mesh_misses_comes_from_the_joints():
    picture, hand, arm = drawn_hand()
    bone = np.zeros_like(hand, dtype=np.uint8)
    cv2.line(bone, *DRAWN_PX[[13, 16]].round().astype(int), 1, 21)
    without = hand & (bone == 0)
    assert iou(without, hand) < 0.9
    found = refine_mask(picture, without, arm, 1.0, uv_px=DRAWN_PX)
    assert iou(found, hand) >= 0.93
    # The same with joints that know nothing of it.
    lost = DRAWN_PX.copy()
    lost[13:17] = DRAWN_PX[9]
    assert not refine_mask(picture, without, arm, 1.0, uv_px=lost)[bone > 0][-200:].all()


def test_skin_is_told_from_a_wall_as_bright_as_it():
    _, hand, arm = drawn_hand()
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 22, (CROP_PX, CROP_PX, 1)) + rng.normal(0, 3, (CROP_PX, CROP_PX, 3))
    picture = np.where((hand | arm)[..., None], (178, 150, 138), (155, 158, 155)) + noise
    picture = picture.clip(0, 255).astype(np.uint8)
    first = cv2.dilate(hand.astype(np.uint8), np.ones((7, 7))) > 0
    found = refine_mask(picture, first & ~arm, arm, 1.0, uv_px=DRAWN_PX)
    assert iou(found, hand) >= 0.9


def test_surroundings_with_the_hands_colours_are_noticed():
    picture, hand, arm = drawn_hand()
    plain = hand_likeness(picture, hand, arm, 1.0)
    face = picture.copy()
    face[:120][~(hand | arm)[:120]] = (200, 148, 122)
    assert plain < 0.05 < 0.4 < hand_likeness(face, hand, arm, 1.0)
    # A finger was left out.
    cut = hand.copy()
    cut[:, 150:] = False
    assert plain + 0.05 < hand_likeness(picture, cut, arm, 1.0)
    assert hand_likeness(picture, hand & False, arm, 1.0) == 1
    assert hand_likeness(picture, hand | True, arm, 1.0) == 1


def test_masks_of_small_hands_have_smooth_edges():
    picture, hand, arm = drawn_hand()
    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
    blocks = cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_NEAREST)
    rough, smooth = (
        refine_mask(blocks, hand, arm, 1.0, uv_px=DRAWN_PX, source_px=px) for px in (1.0, 4.0)
    )
    assert iou(smooth, hand) >= 0.9
    assert perimeter_px(smooth) < 0.95 * perimeter_px(rough)


def perimeter_px(mask: np.ndarray) -> float:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return sum(cv2.arcLength(outline, True) for outline in outlines)


def test_a_mask_of_nothing_is_empty():
    picture, hand, arm = drawn_hand()
    assert not refine_mask(picture, hand & False, arm, 1.0, uv_px=DRAWN_PX).any()
    thin = np.zeros_like(hand)
    thin[100, 50:200] = True
    assert not refine_mask(picture, thin, arm, 1.0, uv_px=DRAWN_PX).any()
    assert not refine_mask(picture, hand | True, arm & False, 1.0, uv_px=DRAWN_PX).any()


@pytest.fixture(scope="module")
def cutter() -> HandCutter:
    return HandCutter()


def posed_hands() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give a right and a left hand's joints in crop and camera, the camera, and the sides."""
    model = HandModel()
    pose = torch.zeros(2, 16, 3)
    pose[1, 1:, 0] = 0.4
    side = torch.tensor([0, 1])
    joints = model(pose, side=side, wrist_mm=torch.tensor([[0.0, 60, 600], [0, 60, 600]]))
    k = torch.tensor([[400.0, 0, 127.5], [0, 400, 127.5], [0, 0, 1]]).expand(2, 3, 3)
    uvz = joints.joints_mm @ k.mT
    uv = uvz[..., :2] / uvz[..., 2:]
    return uv.numpy(), joints.joints_mm.numpy(), k.numpy().copy(), side.numpy()


def test_fitted_hands_are_drawn_where_their_joints_are_and_cut_out(cutter):
    uv, xyz, k, side = posed_hands()
    grey = np.full((CROP_PX, CROP_PX, 3), 90, np.uint8)
    blank = cutter([grey, grey], uv_px=uv, xyz_mm=xyz, k_px=k, side=side, source_px=[1.0] * 2)
    assert all(cut.fit_px < 2 for cut in blank)
    # Paint skin where the mesh is (nothing else says where), and the cut finds it.
    noise = np.random.default_rng(0).normal(0, 6, (CROP_PX, CROP_PX, 3))
    pictures = []
    for n in range(2):
        area = np.zeros((CROP_PX, CROP_PX), np.uint8)
        for finger in range(5):
            chain = [0, *range(1 + 4 * finger, 5 + 4 * finger)]
            cv2.polylines(area, [uv[n][chain].round().astype(np.int32)], False, 1, 11)
        hull = cv2.convexHull(uv[n][[0, 1, 5, 9, 13, 17]].round().astype(np.int32))
        cv2.fillConvexPoly(area, hull, 1)
        skin = np.where(area[..., None] > 0, (205, 150, 120), (60, 90, 120)) + noise
        pictures.append(skin.clip(0, 255).astype(np.uint8))
    for cut in cutter(pictures, uv_px=uv, xyz_mm=xyz, k_px=k, side=side, source_px=[1.0] * 2):
        assert cut.iou > 0.7
        assert cut.covered > 0.7
        assert cut.outside_px < 4
        assert not judge_cut(replace(cut, iou=0.9, covered=0.9), RULES, np.ones_like(cut.mask))
    mask = cutter(pictures, uv_px=uv, xyz_mm=xyz, k_px=k, side=side, source_px=[1.0] * 2)[0].mask
    below = int(uv[0, 0, 1]) + 8
    assert not mask[below:].any()


def test_a_hand_without_joints_has_no_mask(cutter):
    uv, xyz, k, side = posed_hands()
    uv[1], xyz[1] = np.nan, np.nan
    picture = drawn_hand()[0]
    good, none = cutter(
        [picture, picture], uv_px=uv, xyz_mm=xyz, k_px=k, side=side, source_px=[1.0] * 2
    )
    assert np.isfinite(good.fit_px)
    assert not none.mask.any()
    assert none.outside_px == np.inf
    # A finger's tip in the air is as far from the mask as it looks.
    uv, xyz, k, side = posed_hands()
    uv[0, 8] = uv[0, 5:21].min(axis=0) - [0, 40]
    cut = cutter(
        [picture], uv_px=uv[:1], xyz_mm=xyz[:1], k_px=k[:1], side=side[:1], source_px=[1.0]
    )[0]
    there = np.argwhere(cut.mask)[:, ::-1]
    assert cut.outside_px == pytest.approx(
        np.linalg.norm(there - uv[0, 8].round(), axis=1).min(), rel=0.05
    )
    assert judge_cut(none, RULES, np.ones_like(none.mask)) == "no good fit"


def test_cuts_are_judged():
    inside = np.zeros((10, 10), bool)
    inside[1:-1, 1:-1] = True
    assert judge_cut(GOOD, RULES, inside) == ""
    edge = np.zeros((10, 10), bool)
    edge[0, 3] = True
    for changed, wanted in (
        ({"fit_px": 7.0}, "no good fit"),
        ({"fit_px": float("nan")}, "no good fit"),
        ({"covered": 0.5}, "partly hidden"),
        ({"iou": 0.5}, "mask disagrees"),
        ({"outside_px": 9.0}, "mask disagrees"),
        ({"alike": 0.5}, "background alike"),
        ({"alike": 0.5, "iou": 0.9}, ""),
        ({"mask": edge}, "mask at the edge"),
    ):
        assert judge_cut(replace(GOOD, **changed), RULES, inside) == wanted


def test_a_blur_lowers_sharpness_and_size_does_not():
    picture, _, _ = drawn_hand()
    blurred = cv2.GaussianBlur(picture, (0, 0), 4)
    assert sharpness(picture, DRAWN_PX) > 1.7 > 1.4 > sharpness(blurred, DRAWN_PX)
    assert sharpness(np.full_like(picture, 77), DRAWN_PX) == 1


def test_shapes_that_do_not_fit_are_refused():
    area = np.zeros((2, 8, 8), bool)
    with pytest.raises(ShapeError, match="forearm is bool"):
        HandShapes(area, area[:1], np.ones(2, np.float32))
