"""Harvest: which hands are chosen, how they are cut out, and that every hand is accounted for."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from clips import Made, make_clip
from tracks import make_meta, make_track

from hdrvideo import harvest
from hdrvideo.candidates import Candidate, HarvestRules, select_hands, sharpness
from hdrvideo.config import Settings
from hdrvideo.cutout import Cut, HandCutter, refine_mask
from hdrvideo.datatypes import Frame
from hdrvideo.errors import SettingsError, ShapeError, TrackError, WriteError
from hdrvideo.handmodel import HandModel
from hdrvideo.harvest import REASONS, HandPicker, HarvestCounts, harvest_to, judge_cut
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.crops import CROP_PX, load_crops
from hdrvideo.track import BRIDGED, PoseTrack

RULES = HarvestRules()
LAX = replace(RULES, max_move=10.0)
RIGHT_AT, LEFT_AT = (200.0, 300.0), (640.0, 300.0)
GOOD = Cut(np.pad(np.ones((2, 2), bool), 4), fit_px=1.0, iou=0.9, covered=0.95, outside_px=1.0)


def fan(size_px: float = 100.0) -> np.ndarray:
    """Give an open hand ``(21, 2)`` round its middle, so large."""
    joints = [np.zeros(2)]
    for angle in np.linspace(-0.6, 0.6, 5):
        way = np.array([np.sin(angle), -np.cos(angle)])
        joints += [way * reach for reach in (0.4, 0.65, 0.85, 1.0)]
    uv = np.array(joints)
    low, high = uv.min(axis=0), uv.max(axis=0)
    return (uv - (low + high) / 2) / (high - low).max() * size_px


def track_of(n: int = 12, places=(RIGHT_AT, LEFT_AT), *, size_px=100.0, absent=(), **more):
    """Make a track of two still hands in an 840 x 600 picture, all sure; ``more`` goes on top."""
    meta = make_meta(840, 600)
    spoilt = {(side, 0, n): 0 for side in absent}
    track = make_track(n, meta=meta, provenance=spoilt)
    uv = np.stack([np.broadcast_to(fan(size_px) + place, (n, 21, 2)) for place in places], axis=1)
    there = track.present[..., None, None]
    uv = np.where(there, uv, np.nan).astype(np.float32)
    confidence = np.where(track.present[..., None], 0.99, np.nan) * np.ones((n, 2, 21))
    score = np.where(track.present, 0.95, np.nan).astype(np.float32)
    changes = {"uv_px": uv, "raw_uv_px": uv, "confidence": confidence.astype(np.float32)}
    return replace(track, **{**changes, "side_score": score, **more})


def reasons(track: PoseTrack, rules: HarvestRules = LAX, every: int = 1) -> dict[str, int]:
    chosen, rejected = select_hands(track, every=every, rules=rules)
    return {"chosen": len(chosen), **rejected}


# ----------------------------------------------------------------------- choosing by the track


def test_still_and_sure_hands_are_chosen():
    chosen, rejected = select_hands(track_of(), every=1, rules=RULES)
    assert len(chosen) == 24
    assert not rejected
    for candidate in chosen:
        u, v, size = candidate.square
        assert size == pytest.approx(2 * (100 * 1.2 + 1), abs=0.1)
        assert min(u, v) >= 0
        assert u + size <= 840
        assert v + size <= 600


def test_only_every_so_many_frames_are_looked_at():
    chosen, _ = select_hands(track_of(12), every=5, rules=RULES)
    assert sorted({c.row for c in chosen}) == [0, 5, 10]


def test_absent_hands_are_not_looked_at():
    assert reasons(track_of(absent=(0, 1))) == {"chosen": 0}
    assert reasons(track_of(absent=(1,))) == {"chosen": 12}


def test_each_reason_by_itself():
    track = track_of()
    unsure = track.confidence.copy()
    unsure[3, 0] = 0.85
    assert reasons(replace(track, confidence=unsure)) == {"chosen": 23, "not sure": 1}
    score = track.side_score.copy()
    score[4, 1] = 0.5
    assert reasons(replace(track, side_score=score)) == {"chosen": 23, "not sure": 1}
    assert reasons(track_of(size_px=60)) == {"chosen": 0, "too small": 24}
    assert reasons(track_of(places=(RIGHT_AT, (785.0, 300.0)))) == {
        "chosen": 12,
        "at the border": 12,
    }
    assert reasons(track_of(places=((420.0, 300.0), RIGHT_AT), size_px=530, absent=(1,))) == {
        "chosen": 0,
        "no room": 12,
    }
    codes = track.provenance.copy()
    codes[2, 0] = BRIDGED
    raw = track.raw_uv_px.copy()
    raw[2, 0] = np.nan
    assert reasons(replace(track, provenance=codes, raw_uv_px=raw)) == {
        "chosen": 23,
        "bridged": 1,
    }


def test_a_fast_hand_is_left_out():
    uv = track_of().uv_px.copy()
    uv[6:, 0, :, 0] += 30
    track = track_of(uv_px=uv, raw_uv_px=uv)
    # The jump is between rows 5 and 6: half of it in the mean over both neighbours.
    assert reasons(track, replace(RULES, max_move=0.2)) == {"chosen": 24}
    assert reasons(track, replace(RULES, max_move=0.1)) == {"chosen": 22, "moving fast": 2}


@pytest.mark.parametrize(("apart_px", "wanted"), [(200, 2.0), (178, 1.7), (160, 1.4), (120, None)])
def test_the_widest_crop_without_the_other_hand_is_taken(apart_px, wanted):
    places = ((250.0, 300.0), (250.0 + apart_px, 300.0))
    chosen, rejected = select_hands(track_of(places=places), every=1, rules=LAX)
    if wanted is None:
        assert rejected == {"other hand near": 24}
    else:
        assert {round(c.square[2] / 121, 2) for c in chosen} == {wanted}
        right = [c for c in chosen if c.side == 0]
        assert all(c.square[0] + c.square[2] < places[1][0] - 50 for c in right)


def test_a_hand_lost_a_moment_ago_still_counts_as_near():
    places = ((300.0, 300.0), (420.0, 300.0))
    near = track_of(70, places=places)
    codes = near.provenance.copy()
    codes[5:, 1] = 0
    gone = {}
    for name in ("uv_px", "raw_uv_px", "xyz_cam_mm", "raw_xyz_cam_mm", "confidence", "side_score"):
        gone[name] = getattr(near, name).copy()
        gone[name][5:, 1] = np.nan
    track = replace(near, provenance=codes, visible=near.visible & (codes != 0)[..., None], **gone)
    chosen, rejected = select_hands(track, every=1, rules=LAX)
    # Seen last in row 4; one second is 29.97 rows.
    assert {c.row for c in chosen} == set(range(4 + 30, 70))
    assert rejected == {"other hand near": 5 + 5 + 29}


def test_rules_out_of_range_are_refused():
    with pytest.raises(SettingsError, match=r"HarvestRules.min_mask_iou is 1.5, expected 0 to 1"):
        HarvestRules(min_mask_iou=1.5)
    with pytest.raises(SettingsError, match=r"HarvestRules.max_fit_px is -1"):
        HarvestRules(max_fit_px=-1)


def test_crop_and_frame_agree():
    candidate = Candidate(0, 0, (10.0, 20.0, 512.0))
    assert candidate.step == 2
    # Pixel 0 of the crop covers pixels 10 and 11 of the frame.
    assert np.allclose(candidate.in_crop(np.array([10.5, 20.5])), 0)
    affine = candidate.crop_square.frame_from_crop(CROP_PX)
    assert np.allclose(affine[:, 2], [10.5, 20.5])
    camera = make_meta(640, 480).camera
    k = candidate.camera(camera)
    point = np.array([30.0, -20.0, 500.0])
    in_crop = (k @ point)[:2] / point[2]
    assert np.allclose(in_crop, candidate.in_crop(camera.project(point)), atol=1e-3)


def drawn_hand(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a hand with a forearm over noise: crop ``(R, R, 3)``, hand mask, forearm mask."""
    rng = np.random.default_rng(seed)
    r = CROP_PX
    uv = fan(120) + np.array([r / 2, 120.0])
    hand, arm = np.zeros((2, r, r), np.uint8)
    cv2.fillConvexPoly(hand, cv2.convexHull(uv[[0, 1, 5, 9, 13, 17]].astype(np.int32)), 1)
    cv2.line(hand, uv[0].astype(int), uv[9].astype(int), 1, 44)
    for f in range(5):
        cv2.line(hand, uv[1 + 4 * f].astype(int), uv[4 + 4 * f].astype(int), 1, 15)
    wrist = uv[0].astype(int)
    cv2.rectangle(arm, (int(wrist[0]) - 20, int(wrist[1])), (int(wrist[0]) + 20, r), 1, -1)
    hand[wrist[1] :] = 0
    picture = rng.normal((60, 90, 120), 25, (r, r, 3))
    skin = rng.normal((205, 150, 120), 12, (r, r, 3))
    picture = np.where(((hand | arm) > 0)[..., None], skin, picture)
    picture = cv2.GaussianBlur(picture.clip(0, 255).astype(np.uint8), (0, 0), 0.8)
    return picture, hand > 0, arm > 0


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
    found = refine_mask(picture, first & ~arm, arm, 1.0)
    assert iou(found, hand) >= 0.93
    n, _ = cv2.connectedComponents(found.astype(np.uint8))
    assert n == 2


def test_a_mask_ends_at_the_wrist():
    picture, hand, arm = drawn_hand()
    with_arm = refine_mask(picture, hand, arm, 1.0)
    assert not with_arm[np.flatnonzero(arm.any(axis=1))[0] + 3 :].any()


def test_what_lies_before_a_hand_is_not_hand():
    picture, hand, arm = drawn_hand()
    picture[100:130, 60:200] = (30, 160, 40)
    found = refine_mask(picture, hand, arm, 1.0)
    assert found[102:128].sum() < 0.03 * hand[102:128].sum()
    assert iou(found, hand) < 0.85


def test_a_mask_of_nothing_is_empty():
    picture, hand, arm = drawn_hand()
    assert not refine_mask(picture, hand & False, arm, 1.0).any()
    thin = np.zeros_like(hand)
    thin[100, 50:200] = True
    assert not refine_mask(picture, thin, arm, 1.0).any()
    assert not refine_mask(picture, hand | True, arm & False, 1.0).any()


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
    blank = cutter([grey, grey], uv_px=uv, xyz_mm=xyz, k_px=k, side=side)
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
    for cut in cutter(pictures, uv_px=uv, xyz_mm=xyz, k_px=k, side=side):
        assert cut.iou > 0.7
        assert cut.covered > 0.7
        assert cut.outside_px < 4
        assert not judge_cut(replace(cut, iou=0.9, covered=0.9), RULES)
    mask = cutter(pictures, uv_px=uv, xyz_mm=xyz, k_px=k, side=side)[0].mask
    below = int(uv[0, 0, 1]) + 8
    assert not mask[below:].any()


def test_a_hand_without_joints_has_no_mask(cutter):
    uv, xyz, k, side = posed_hands()
    uv[1], xyz[1] = np.nan, np.nan
    picture = drawn_hand()[0]
    good, none = cutter([picture, picture], uv_px=uv, xyz_mm=xyz, k_px=k, side=side)
    assert np.isfinite(good.fit_px)
    assert not none.mask.any()
    assert none.outside_px == np.inf
    # A finger's tip in the air is as far from the mask as it looks.
    uv, xyz, k, side = posed_hands()
    uv[0, 8] = uv[0, 5:21].min(axis=0) - [0, 40]
    cut = cutter([picture], uv_px=uv[:1], xyz_mm=xyz[:1], k_px=k[:1], side=side[:1])[0]
    there = np.argwhere(cut.mask)[:, ::-1]
    assert cut.outside_px == pytest.approx(
        np.linalg.norm(there - uv[0, 8].round(), axis=1).min(), rel=0.05
    )
    assert judge_cut(none, RULES) == "no good fit"


def test_cuts_are_judged():
    assert judge_cut(GOOD, RULES) == ""
    edge = np.zeros((10, 10), bool)
    edge[0, 3] = True
    for changed, wanted in (
        ({"fit_px": 7.0}, "no good fit"),
        ({"fit_px": float("nan")}, "no good fit"),
        ({"covered": 0.5}, "partly hidden"),
        ({"iou": 0.5}, "mask disagrees"),
        ({"outside_px": 9.0}, "mask disagrees"),
        ({"mask": edge}, "mask at the edge"),
    ):
        assert judge_cut(replace(GOOD, **changed), RULES) == wanted


def test_a_blur_lowers_sharpness_and_size_does_not():
    picture, _, _ = drawn_hand()
    uv = (fan(120) + np.array([CROP_PX / 2, 120.0])).astype(np.float32)
    blurred = cv2.GaussianBlur(picture, (0, 0), 4)
    assert sharpness(picture, uv) > 1.7 > 1.4 > sharpness(blurred, uv)
    assert sharpness(np.full_like(picture, 77), uv) == 1


# ------------------------------------------------------------------- picking and accounting


class FakeCutter:
    """Says of every third hand that something hides it; remembers the sides it was asked for."""

    def __init__(self) -> None:
        self.n, self.sides = 0, []

    def __call__(self, pictures, *, uv_px, xyz_mm, k_px, side):
        assert len(pictures) == len(uv_px) == len(xyz_mm) == len(k_px) == len(side)
        self.sides += side.tolist()
        mask = np.zeros((CROP_PX, CROP_PX), bool)
        mask[100:150, 100:150] = True
        cuts = []
        for _ in pictures:
            self.n += 1
            cuts.append(replace(GOOD, mask=mask, covered=0.2 if self.n % 3 == 0 else 0.95))
        return cuts


def frames_of(n: int, blurred: range = range(0)) -> list[Frame]:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, (600, 840, 3), dtype=np.uint8)
    smooth = np.full_like(sharp, 120)
    return [Frame(i, i, Fraction(1, 30), smooth if i in blurred else sharp) for i in range(n)]


def moving(n: int = 12, **more) -> PoseTrack:
    """Make a track whose hands move far enough from row to row to be worth keeping."""
    track = track_of(n, **more)
    uv = track.uv_px + np.arange(n, dtype=np.float32)[:, None, None, None] * [0, 15]
    return replace(track, uv_px=uv.astype(np.float32), raw_uv_px=uv.astype(np.float32))


def pick(track, *, limit=100, rules=LAX, every=1, blurred=range(0)):
    picker = HandPicker(track, FakeCutter(), rules, every=every, limit=limit)
    kept = list(picker(frames_of(len(track), blurred)))
    return picker, kept


def test_every_hand_is_accounted_for():
    track = moving()
    picker, kept = pick(track, blurred=range(8, 10))
    counts = picker.counts
    assert counts.looked_at == 24 == int(track.present.sum())
    assert counts.rejected["blurred"] == 4
    assert counts.rejected["partly hidden"] == 20 // 3
    assert counts.kept == len(kept) == 24 - 4 - 6
    for candidate, crop in kept:
        assert crop.side == candidate.side
        assert crop.split == split_of("harvest", "clip.mp4")
        assert torch.allclose(crop.uv_px.mean(0), torch.tensor([128.0, 128.0]), atol=30)
        assert crop.rgb.shape == (3, CROP_PX, CROP_PX)


def test_the_same_hand_is_taken_once():
    still, kept = pick(track_of())
    assert still.counts.rejected["seen before"] == 22
    assert len(kept) == 2


def test_no_more_than_the_limit():
    for limit in (1, 3, 16):
        picker, kept = pick(moving(), limit=limit)
        assert len(kept) == min(limit, 16)
        counts = picker.counts
        assert counts.looked_at == 24
        assert (
            counts.rejected["over the limit"] == 24 - counts.kept - counts.rejected["partly hidden"]
        )


def test_a_mirrored_clip_shows_the_other_side():
    track = moving(3, absent=(1,))
    mirrored = replace(track, meta=replace(track.meta, settings={"mirror": True}))
    _, plain = pick(track)
    picker, other = pick(mirrored)
    assert {crop.side for _, crop in plain} == {0}
    assert {crop.side for _, crop in other} == {1}
    assert set(picker._cutter.sides) == {1}


def test_a_track_of_another_clip_is_refused():
    picker = HandPicker(moving(), FakeCutter(), LAX, every=1, limit=99)
    with pytest.raises(TrackError, match="8 hands lie behind the clip's end"):
        list(picker(frames_of(8)))
    picker = HandPicker(moving(2), FakeCutter(), LAX, every=1, limit=99)
    lost = [Frame(0, 0, Fraction(1, 30), None, "lost")]
    with pytest.raises(TrackError, match="frame 0 is lost but has a hand"):
        list(picker(lost))


def test_counts_that_do_not_add_up_are_refused():
    with pytest.raises(TrackError, match=r"3 kept . 0 rejected is not 4 looked at"):
        HarvestCounts(looked_at=4, kept=3)
    one = HarvestCounts(2, 1, {**dict.fromkeys(REASONS, 0), "blurred": 1}, ("a: bad",))
    both = one + one
    assert (both.looked_at, both.kept, both.rejected["blurred"]) == (4, 2, 2)
    assert both.failed == ("a: bad", "a: bad")


# ------------------------------------------------------------------------------- the whole job


@pytest.fixture
def two_clips(tmp_path, monkeypatch):
    """Give a clip and a file that is none; poses come from a made track, masks from a fake."""
    good = make_clip(tmp_path / "waving.mp4", Made(n_frames=12, width=840, height=600))
    bad = tmp_path / "broken.mp4"
    bad.write_bytes(b"no video")

    def windows(frames, info, settings, parts):
        n = sum(1 for _ in frames)
        track = moving(n)
        yield replace(track, meta=replace(track.meta, clip="waving.mp4")), None

    monkeypatch.setattr("hdrvideo.pipeline.pose_windows", windows)
    monkeypatch.setattr(harvest, "HandCutter", lambda device: FakeCutter())
    return [good, bad]


def test_clips_become_a_folder_of_crops(two_clips, tmp_path):
    out, seen = tmp_path / "new" / "crops", []
    rules, settings = replace(LAX, min_sharpness=0.0), Settings(engine="torch")
    counts = harvest_to(
        two_clips,
        out,
        licence="CC-BY-4.0",
        every=2,
        rules=rules,
        settings=settings,
        on_progress=lambda clip, n: seen.append((clip, n)),
    )
    assert counts.looked_at == 12
    assert counts.kept == 8
    assert counts.rejected["partly hidden"] == 4
    assert len(counts.failed) == 1
    assert "broken.mp4" in counts.failed[0]
    assert seen == [("waving", n) for n in range(1, 13)]
    crops = load_crops(out, split_of("harvest", "waving.mp4"))
    assert len(crops) == 8
    assert {c.source for c in crops} == {"waving.mp4"}
    assert (out / "waving_000000_right.json").is_file()
    assert '"licence": "CC-BY-4.0"' in (out / "waving_000000_right.json").read_text()
    with pytest.raises(WriteError, match="already holds hands of waving; choose another folder"):
        harvest_to(two_clips, out, licence="CC-BY-4.0")


def test_jobs_that_cannot_be_are_refused(tmp_path):
    clip = tmp_path / "clip.mp4"
    with pytest.raises(SettingsError, match="licence is empty; say under what terms"):
        harvest_to([clip], tmp_path, licence=" ")
    with pytest.raises(SettingsError, match="every is 0, max_per_clip 5, clips 1"):
        harvest_to([clip], tmp_path, licence="CC0", every=0, max_per_clip=5)
    with pytest.raises(SettingsError, match="clips 0; expected at least 1 each"):
        harvest_to([], tmp_path, licence="CC0")
    clip.write_bytes(b"")
    with pytest.raises(WriteError, match="cannot be made"):
        harvest_to([clip], clip / "below", licence="CC0")


def test_shapes_that_do_not_fit_are_refused():
    from hdrvideo.cutout import HandShapes

    area = np.zeros((2, 8, 8), bool)
    with pytest.raises(ShapeError, match="forearm is bool"):
        HandShapes(area, area[:1], np.ones(2, np.float32))
