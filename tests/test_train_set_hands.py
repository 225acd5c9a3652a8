"""SHPE learns from data sets: what they know is taught, what they do not know is not."""

import json
import math

import numpy as np
import pytest
import torch
from labelled_hands import CAMERA
from pose_hands import some_truth, write_hands
from set_folders import (
    write_freihand,
    write_hic,
    write_interhand_set,
    write_onehand10k,
    write_wholebody,
)
from train_runs import run_train, write_settings
from typer.testing import CliRunner

from hdrvideo.alignment import wrist_aligned
from hdrvideo.cli import app
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.frame.detmaps import DetMaps
from hdrvideo.hand import LEFT, RIGHT
from hdrvideo.sets.registry import open_set
from hdrvideo.train.pose_crops import (
    CropSettings,
    draw_pose_example,
    palm_in_picture,
    stack_pose_examples,
)
from hdrvideo.train.pose_losses import PoseWeights, pose_loss
from hdrvideo.train.set_hands import SetHands, hand_picture
from hdrvideo.train.shpe_data import ShpeData


def test_a_hand_in_space_is_taught_in_space(tmp_path):
    pair = write_interhand_set(tmp_path)
    sample = open_set("interhand2.6m", tmp_path)[2]
    hand = hand_picture(sample, LEFT, 24)
    assert hand.side == LEFT
    np.testing.assert_allclose(hand.uv_px, CAMERA.project(pair[LEFT]), atol=1e-2)
    np.testing.assert_allclose(hand.xyz_cam_mm, pair[LEFT], atol=1e-2)
    # 90 mm at about 400 mm.
    assert hand.palm_px == pytest.approx(90 / 400 * math.sqrt(300 * 310), rel=0.01)
    assert hand.labelled.all()
    assert hand.visible is None
    example = draw_pose_example(hand, np.random.default_rng(0), CropSettings(64, turn_deg=0))
    batch = stack_pose_examples([example])
    # Shown as a right hand; it was not turned, for its fingers point up.
    wanted = wrist_aligned(pair[LEFT]) * [-1, 1, 1]
    np.testing.assert_allclose(example.xyz_mm, wanted, atol=1.0)
    assert batch["in_space"].tolist() == [1]
    assert batch["seen_told"].tolist() == [0]
    assert batch["labelled"].shape == (1, 21)


def test_a_hand_in_the_picture_is_taught_there_and_guesses_are_not(tmp_path):
    write_wholebody(tmp_path / "coco", "train")
    write_onehand10k(tmp_path / "one", "train")
    people = open_set("coco-wholebody", tmp_path / "coco", "train")
    hand = hand_picture(people[0], RIGHT, 24)
    assert hand.xyz_cam_mm is None
    assert hand.palm_px == pytest.approx(palm_in_picture(hand.uv_px))
    # Ten labelled joints are too few, and a hand must span some pixels.
    assert hand_picture(people[1], LEFT, 24) is None
    assert hand_picture(people[0], RIGHT, 1000) is None
    # Nobody says which hand it is.
    whole, gaps = open_set("onehand10k", tmp_path / "one", "train")
    assert hand_picture(whole, RIGHT, 24) is None
    (tmp_path / "one" / "sides.csv").write_text("picture,side\nTrain/source/1.jpg,right\n")
    _, gaps = open_set("onehand10k", tmp_path / "one", "train")
    hand = hand_picture(gaps, RIGHT, 24)
    assert int(hand.labelled.sum()) == 14
    assert np.isfinite(hand.uv_px).all()
    example = draw_pose_example(hand, np.random.default_rng(0), CropSettings(64))
    assert example.labelled.sum() == 14
    assert example.bone_mm == 0


def test_draws_repeat_and_take_all_sets(tmp_path):
    write_interhand_set(tmp_path / "a", "train")
    write_freihand(tmp_path / "b")
    hands = SetHands({"interhand2.6m": str(tmp_path / "a"), "freihand": str(tmp_path / "b")})
    first, again = (hands.draw(np.random.default_rng(3), 20, bare_share=1) for _ in range(2))
    assert all((a.uv_px == b.uv_px).all() for a, b in zip(first, again, strict=True))
    sizes = [hand.rgb_u8.shape for hand in first]
    assert 4 < sizes.count((224, 224, 3)) < 16
    assert {hand.side for hand in first} == {RIGHT, LEFT}


def test_a_part_of_a_set_will_do_where_that_is_said(tmp_path):
    write_freihand(tmp_path)
    (tmp_path / "training" / "rgb" / "00000003.jpg").unlink()
    folders = {"freihand": str(tmp_path)}
    with pytest.raises(DataError, match=r"freihand: 1 of 8 samples of split training lack files"):
        SetHands(folders)
    assert len(SetHands(folders, only_there=True).draw(np.random.default_rng(0), 3, bare_share=0))


def test_sets_of_no_use_are_told(tmp_path):
    write_onehand10k(tmp_path, "train")
    hands = SetHands({"onehand10k": str(tmp_path)})
    with pytest.raises(DataError, match=r"onehand10k: none of 200 .* whose side is told \(sides"):
        hands.draw(np.random.default_rng(0), 1, bare_share=0)
    write_freihand(tmp_path / "b")
    small = SetHands({"freihand": str(tmp_path / "b")}, least_size_px=300)
    with pytest.raises(DataError, match=r"has a hand of 300 px with 12 known joints$"):
        small.draw(np.random.default_rng(0), 1, bare_share=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sets": ["freihand"]}, r"ShpeData.sets is \['freihand'\], expected data sets with a fol"),
        ({"sets": {"freihand": 3}}, "expected data sets with a folder each"),
        ({"sets": {"hic": "a"}}, "ShpeData.sets names hic, expected some of interhand2.6m, ho3d"),
        ({"sets": {"aih-syn": "a"}}, "ShpeData.sets names aih-syn, expected some of interhand"),
        ({"sets": {"freihand": "a"}}, "sets_share is 0.0 and ShpeData.sets is {'freihand': 'a'}"),
        ({"sets_only_there": 1}, "ShpeData.sets_only_there is 1, expected true or false"),
        ({"sets_share": 0.3}, "sets_share is 0.3 and ShpeData.sets is None; give both or none"),
        (
            {"pasted_share": 0.5, "crops": "c", "sets_share": 0.6},
            "sets_share is 0.6, expected a nu",
        ),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(SettingsError, match=message):
        ShpeData(**({"made": ("a",), "held_out": ("b",)} | change))


def some_maps(b: int = 2, cells: int = 16) -> DetMaps:
    draw = torch.Generator().manual_seed(1)
    channels = (21, 63, 63, 42, 21, 21)
    return DetMaps(*(torch.randn(b, c, cells, cells, generator=draw) for c in channels))


def test_what_is_not_labelled_costs_nothing():
    truth, maps = some_truth(), some_maps()
    truth["in_space"] = torch.zeros(2)
    truth["labelled"] = (torch.arange(21) < 12).float().expand(2, 21).clone()
    truth["seen_told"] = torch.zeros(2)
    asked = pose_loss(maps, truth, PoseWeights(), 64)
    moved = {name: value.clone() for name, value in truth.items()}
    moved["uv_px"][:, 12:] += 17
    moved["visible"] = 1 - moved["visible"]
    again = pose_loss(maps, moved, PoseWeights(), 64)
    for name, value in asked.items():
        assert float(value) == pytest.approx(float(again[name])), name
    assert float(asked["visible"]) == 0
    moved["uv_px"][:, :12] += 17
    assert pose_loss(maps, moved, PoseWeights(), 64)["heat"] != asked["heat"]
    nothing = {**truth, "labelled": torch.zeros(2, 21)}
    assert float(pose_loss(maps, nothing, PoseWeights(), 64)["joints_2d"]) == 0


def test_a_run_learns_from_a_set_by_one_command(tmp_path):
    write_interhand_set(tmp_path / "ih", "train")
    write_hic(tmp_path / "hic")
    data = write_hands(tmp_path / "hands")
    values = {
        "net": {"size": "small"},
        "loop": {"steps": 1, "warmup_steps": 0, "check_every": 5, "log_every": 1},
        "data": {
            **data,
            "n_check": 2,
            "sets": {"interhand2.6m": str(tmp_path / "ih")},
            "sets_share": 0.9,
        },
        "batch": 4,
    }
    config = write_settings(tmp_path / "sets.yaml", values)
    done = run_train("shpe", "--config", config, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "run" / "settings.json").read_text())["task"]["data"]
    assert told["sets"] == values["data"]["sets"]
    # What was learnt is scored by one command more.
    weights = tmp_path / "run" / "best.safetensors"
    out = ["-o", str(tmp_path / "score"), "--split", "train", "--weights", str(weights)]
    scored = CliRunner().invoke(
        app, ["validate", "set", "interhand2.6m", str(tmp_path / "ih"), *out]
    )
    assert scored.exit_code == 0, scored.output
    assert "| all | 4 | 4 |" in scored.output
    # A set of the command line stands in the place of those of the file.
    option = ("--set", f"interhand2.6m={tmp_path / 'ih'}")
    values["data"]["sets"] = {"interhand2.6m": str(tmp_path / "hic")}
    other = write_settings(tmp_path / "other.yaml", values)
    done = run_train("shpe", "--config", other, "-o", tmp_path / "named", *option)
    assert done.exit_code == 0, done.output
    done = run_train("shpe", "--config", other, "-o", tmp_path / "no", "--set", "interhand2.6m")
    with pytest.raises(SettingsError, match=r"--set is 'interhand2.6m', expected NAME=FOLDER such"):
        raise done.exception
    wrong = write_settings(tmp_path / "wrong.yaml", values)
    done = run_train("shpe", "--config", wrong, "-o", tmp_path / "other")
    assert done.exit_code != 0
    assert isinstance(done.exception, DataError)
    assert "hic lacks annotations/train/InterHand2.6M_train_data.json" in str(done.exception)
