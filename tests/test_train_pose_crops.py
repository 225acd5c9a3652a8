"""SHPE's examples: which hands, the squares, crops whose truth lies on them."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_shards import disc_shot, write_made
from pose_hands import FOCAL_PX, flat_hand, hand_shot, write_hands

from hdrvideo.errors import DataError, SettingsError
from hdrvideo.geometry import CropSquare, apply_affine, square_from_pose, turn_xy
from hdrvideo.synth.scene import Shot
from hdrvideo.train.bare_crops import BarePicture
from hdrvideo.train.pose_crops import (
    CropSettings,
    HandPicture,
    MadeHands,
    PastedHands,
    draw_pose_example,
    draw_square,
    stack_pose_examples,
    take_example,
)
from hdrvideo.validate.match import palm_length_px


@pytest.fixture(scope="module")
def shot() -> Shot:
    return hand_shot(10, 1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[str, ...]]:
    return write_hands(tmp_path_factory.mktemp("hands"))


@pytest.fixture(scope="module")
def hands(folders) -> MadeHands:
    return MadeHands([Path(f) for f in folders["made"]], "train")


def test_hands_come_from_where_they_are_stored(hands, shot):
    assert len(hands) == 12 + 6
    found = {}
    for index in range(len(hands)):
        picture = hands.get(index, bare=False)
        found[picture.uv_px.tobytes()] = picture
        assert picture.xyz_cam_mm is not None
        k_px = np.diag([FOCAL_PX, FOCAL_PX, 1.0])[None]
        palm_px = palm_length_px(np.stack([picture.xyz_cam_mm] * 2)[None], k_px)[0, 0]
        assert picture.palm_px == pytest.approx(palm_px, rel=1e-4)
    for i, side in np.argwhere(shot.present.numpy()):
        picture = found[shot.uv_px[i, side].numpy().tobytes()]
        assert picture.side == side
        assert np.array_equal(picture.xyz_cam_mm, shot.xyz_cam_mm[i, side])
        assert np.array_equal(picture.visible, shot.joint_visible[i, side])
        wanted = (shot.rgb[i].permute(1, 2, 0) * 255).numpy()
        assert np.abs(picture.rgb_u8 - wanted).mean() < 4
        told = [shot.visible[i, side], shot.amodal[i, side]]
        told += [shot.visible[i, 1 - side], shot.amodal[i, 1 - side]]
        assert np.array_equal(picture.masks, torch.stack(told))
    assert hands.hidden_share.max() > 0.05
    assert 0 < hands.is_pair.sum() < len(hands)
    assert hands.get(0, bare=True).masks is None


def test_a_bare_hand_is_alone_and_seen_wherever_it_is_in_the_picture(hands):
    index = int(np.flatnonzero(hands.is_pair)[0])
    alone, pair = hands.get(index, bare=True), hands.get(index, bare=False)
    assert np.array_equal(alone.uv_px, pair.uv_px)
    assert alone.visible.all()
    assert not pair.visible.all()
    other = np.array([40, 80, 220] if alone.side == 0 else [230, 60, 40])
    near = [np.abs(p.rgb_u8.astype(int) - other).sum(axis=2) < 90 for p in (alone, pair)]
    assert near[0].sum() == 0
    assert near[1].sum() > 50


def test_a_joint_outside_the_picture_is_not_seen_on_a_bare_one(tmp_path, shot):
    uv = shot.uv_px.clone()
    uv[:, :, 8] = torch.tensor([-0.6, 40])
    folder = write_made(tmp_path / "made", "train", replace(shot, uv_px=uv))
    seen = MadeHands([folder], "train").get(0, bare=True).visible
    assert not seen[8]
    assert seen.sum() == 20


def test_small_and_hidden_hands_are_left_out(folders):
    folder = [Path(folders["made"][0])]
    sizes = [np.ptp(h.uv_px, axis=0).max() for h in all_of(MadeHands(folder, "train"))]
    limit = float(np.median(sizes)) + 0.01
    kept = MadeHands(folder, "train", least_size_px=limit)
    assert len(kept) == sum(size >= limit for size in sizes)
    few = MadeHands(folder, "train", most_hidden=0.01)
    assert len(few) < len(sizes)
    assert few.hidden_share.max() <= 0.01


def all_of(hands: MadeHands) -> list[HandPicture]:
    return [hands.get(i, bare=False) for i in range(len(hands))]


def test_folders_without_hands_are_refused(folders, tmp_path):
    with pytest.raises(DataError, match=r"no hand of 900 px or more in .*made; make some"):
        MadeHands([Path(folders["made"][0])], "train", least_size_px=900)
    with pytest.raises(DataError, match="no hand of 20 px or more in no folder"):
        MadeHands([], "train")
    with pytest.raises(DataError, match="split train, expected test"):
        MadeHands([Path(folders["made"][0])], "test")
    empty = write_made(tmp_path / "empty", "train")
    with pytest.raises(DataError, match="empty lists no shards; make some with synth shards"):
        MadeHands([empty], "train")


def test_a_damaged_shard_is_refused(folders, tmp_path):
    folder = write_made(tmp_path / "made", "train", disc_shot(2))
    path = folder / "shard_00000.npz"
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files if name != "uv_px"}
    np.savez(path, **kept)
    with pytest.raises(DataError, match=r"shard_00000.npz is no shard of ours .*uv_px"):
        MadeHands([folder], "train")


def test_squares_move_as_far_as_the_settings_say_and_no_farther(hands):
    uv = hands.get(0, bare=False).uv_px
    rng, settings = np.random.default_rng(0), CropSettings(64)
    base = square_from_pose(uv, mirror=False)
    drawn = [draw_square(uv, rng, settings, mirror=False) for _ in range(500)]
    scale = np.log([s.size_px / base.size_px for s in drawn]) / math.log(1.15)
    shift = [
        ((s.u_px - base.u_px) / s.size_px / 0.08, (s.v_px - base.v_px) / s.size_px / 0.08)
        for s in drawn
    ]
    turn = np.degrees([s.angle_rad - base.angle_rad for s in drawn]) / 15
    for values in (scale, *np.array(shift).T, turn):
        assert -1.0001 <= values.min() < -0.95
        assert 0.95 < values.max() <= 1.0001
    still = CropSettings(64, scale=0, shift=0, turn_deg=0)
    assert draw_square(uv, rng, still, mirror=False) == base


@pytest.mark.parametrize("side", [0, 1])
def test_a_crops_truth_lies_on_its_picture(side):
    """Dots at the joints of a picture are dots at the crop's joints."""
    xyz = flat_hand() * [1 - 2 * side, 1, 1] + [30, 40, 600]
    uv = 300 * xyz[:, :2] / xyz[:, 2:] + 100
    picture = np.zeros((200, 200, 3), np.uint8)
    for u, v in uv:
        centre = (round(float(u) * 16), round(float(v) * 16))
        cv2.circle(picture, centre, 32, (255, 255, 255), -1, cv2.LINE_AA, 4)
    hand = HandPicture(
        *(picture, side, uv.astype(np.float32), 30.0, xyz.astype(np.float32)), np.ones(21, bool)
    )
    square = draw_square(uv, np.random.default_rng(5), CropSettings(), mirror=side == 1)
    example = take_example(hand, square, 224)
    assert example.rgb_u8.shape == (224, 224, 3)
    for u, v in example.uv_px:
        assert example.rgb_u8[round(float(v)), round(float(u)), 0] > 200
    # A right hand, upright: thumb to the right, fingers up.
    assert example.xyz_mm[4, 0] > 20
    assert example.xyz_mm[12, 1] < -100
    back = turn_xy(square.frame_from_crop(224), example.xyz_mm)
    assert np.abs(back - (xyz - xyz[0])).max() < 1e-2
    in_frame = apply_affine(square.frame_from_crop(224), example.uv_px)
    assert np.abs(in_frame - uv).max() < 1e-2
    assert example.bone_mm == pytest.approx(92, abs=1e-3)
    assert example.palm_px == pytest.approx(30 * 224 / square.size_px)


def test_a_mirrored_left_hand_is_the_right_hand():
    rng, answers = np.random.default_rng(1), []
    rgb = rng.integers(0, 255, (100, 100, 3)).astype(np.uint8)
    xyz = flat_hand() + np.array([10, 40, 900])
    uv = 300 * xyz[:, :2] / xyz[:, 2:] + 49.5
    for side in (0, 1):
        flip = np.array([1 - 2 * side, 1])
        seen = (uv - 49.5) * flip + 49.5
        hand = HandPicture(
            np.ascontiguousarray(rgb[:, ::-1] if side else rgb),
            side,
            seen.astype(np.float32),
            30.0,
            (xyz * [1 - 2 * side, 1, 1]).astype(np.float32),
            np.ones(21, bool),
        )
        answers.append(take_example(hand, square_from_pose(seen, mirror=side == 1), 64))
    right, left = answers
    assert np.abs(right.rgb_u8.astype(int) - left.rgb_u8).mean() < 1
    assert np.abs(right.uv_px - left.uv_px).max() < 1e-2
    assert np.abs(right.xyz_mm - left.xyz_mm).max() < 1e-2


def test_a_large_hand_is_smoothed_before_it_shrinks():
    """Lines of one pixel become grey, whatever pixels a shrunken crop happens to hit."""
    rgb = np.zeros((400, 400, 3), np.uint8)
    rgb[:, ::2] = 255
    hand = HandPicture(
        *(rgb, 0, np.zeros((21, 2), np.float32), 30.0, flat_hand().astype(np.float32) + 500),
        np.ones(21, bool),
    )
    crop = take_example(hand, CropSquare(200, 200, 380), 64).rgb_u8
    assert np.abs(crop.astype(int) - 127).max() < 10


def test_examples_are_stacked_in_bones_and_shares(hands):
    rng = np.random.default_rng(0)
    examples = [draw_pose_example(hands.get(i, bare=False), rng, CropSettings(64)) for i in (0, 3)]
    batch = stack_pose_examples(examples)
    assert batch["rgb"].shape == (2, 3, 64, 64)
    for i, example in enumerate(examples):
        shown = (batch["rgb"][i].permute(1, 2, 0) * 255).round().numpy()
        assert np.array_equal(shown, example.rgb_u8)
        assert batch["xyz"][i].numpy() * example.bone_mm == pytest.approx(example.xyz_mm, abs=1e-3)
        assert float(batch["xyz"][i, 9].norm()) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(batch["uv_px"][i], example.uv_px)
        assert np.array_equal(batch["visible"][i], example.visible)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution_px": 16}, "CropSettings.resolution_px is 16, expected a whole number"),
        ({"scale": 1.0}, "CropSettings.scale is 1.0"),
        ({"shift": -0.1}, "CropSettings.shift is -0.1"),
        ({"turn_deg": 200}, "CropSettings.turn_deg is 200"),
        ({"spoil": 2}, "CropSettings.spoil is 2"),
    ],
)
def test_crop_settings_are_checked(change, message):
    with pytest.raises(SettingsError, match=message):
        CropSettings(**change)


def pasted(side: int, **change) -> BarePicture:
    """Give a picture whose hand ``side`` lies left, half under the other one."""
    rng = np.random.default_rng(8)
    rgb_u8, bare_u8 = rng.integers(0, 255, (2, 100, 100, 3)).astype(np.uint8)
    visible, amodal = np.zeros((2, 2, 100, 100), bool)
    amodal[side, :, :60] = True
    visible[side, :, :40] = True
    amodal[1 - side, :, 40:80] = visible[1 - side, :, 40:80] = True
    uv_px = np.stack([np.linspace(5, 95, 21), np.full(21, 50.0)], axis=1).astype(np.float32)
    usual = {"known": np.ones((100, 100), bool), "visible": visible, "amodal": amodal}
    return BarePicture(rgb_u8, bare_u8, **(usual | {"uv_px": uv_px} | change), side=side)


class Pastes:
    """Gives pictures in turn."""

    def __init__(self, *pictures: BarePicture) -> None:
        self._pictures, self._next = pictures, 0

    def draw(self, rng: np.random.Generator, n: int) -> list[BarePicture]:
        self._next += n
        return [self._pictures[k % len(self._pictures)] for k in range(self._next - n, self._next)]


@pytest.mark.parametrize("side", [0, 1])
def test_a_pasted_hand_has_joints_in_the_picture_alone(side):
    picture = pasted(side)
    rng = np.random.default_rng(0)
    bare, seen = (PastedHands(Pastes(picture)).draw(rng, 1, bare_share=s)[0] for s in (1, 0))
    assert np.array_equal(bare.rgb_u8, picture.bare_u8)
    assert np.array_equal(seen.rgb_u8, picture.rgb_u8)
    assert bare.visible.all()
    # Seen where it is seen, hidden under the other hand; beyond both nothing is known to hide it.
    u = picture.uv_px[:, 0]
    assert np.array_equal(seen.visible, (np.rint(u) < 40) | (np.rint(u) >= 80))
    example = take_example(seen, square_from_pose(seen.uv_px, mirror=side == 1), 64)
    assert bare.masks is None
    assert np.array_equal(seen.masks[0], picture.visible[side])
    assert np.array_equal(seen.masks[3], picture.amodal[1 - side])
    # The crop's masks lie on its joints.
    for (u, v), is_seen in zip(np.rint(example.uv_px).astype(int), seen.visible, strict=True):
        if 0 <= u < 64 and 0 <= v < 64 and is_seen:
            assert example.masks[2, v, u] < 0.6
    batch = stack_pose_examples([example])
    assert batch["in_space"].tolist() == [0]
    assert not batch["xyz"].any()
    assert 0 < float(batch["palm_px"]) < 64


def test_hands_without_joints_are_not_pasted():
    unknown = pasted(0, uv_px=np.full((21, 2), np.nan, np.float32))
    drawn = PastedHands(Pastes(unknown, pasted(1))).draw(np.random.default_rng(0), 5, bare_share=0)
    assert [hand.side for hand in drawn] == [1] * 5
    with pytest.raises(DataError, match="harvested hands have no joints to learn from"):
        PastedHands(Pastes(unknown)).draw(np.random.default_rng(0), 5, bare_share=0)
