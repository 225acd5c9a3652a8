"""What the hand model says to a bad file or bad input."""

import numpy as np
import pytest
import torch

from hdrvideo.errors import ShapeError, WeightsError
from hdrvideo.handmodel import (
    HandModel,
    PosedHand,
    handmodel_path,
)


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel()


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"hand\.npz is missing; reinstall hdrvideo"):
        HandModel(tmp_path / "hand.npz")


def test_damaged_file(tmp_path):
    path = tmp_path / "hand.npz"
    good = handmodel_path().read_bytes()
    for content in (b"", b"not a hand", good[:5000], good[:9000] + bytes(500) + good[9500:]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"hand\.npz cannot be read \(.+\); reinstall"):
            HandModel(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"uv": None}, "does not fit: uv is not in the file"),
        ({"extra": np.zeros(3)}, "does not fit: extra is not in the hand model"),
        ({"uv": np.zeros((7, 3))}, r"uv is \(7, 3\), expected \('U', 2\)"),
        ({"part": np.zeros(5)}, r"part is \(5,\), expected \('V',\) with .*'V': \d+"),
        ({"joints_mm": np.zeros((20, 3))}, r"joints_mm is \(20, 3\), expected \(21, 3\)"),
        ({"template_mm": np.zeros(())}, r"template_mm is \(\), expected \('V', 3\)"),
    ],
)
def test_file_of_something_else(tmp_path, change, text):
    with np.load(handmodel_path()) as file:
        arrays = {name: file[name] for name in file.files} | change
    path = tmp_path / "hand.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(WeightsError, match=text):
        HandModel(path)


@pytest.mark.parametrize(
    ("pose", "text"),
    [
        (torch.zeros(2, 15, 3), r"pose is \(2, 15, 3\), expected \(B, 16, 3\), \(B, 16, 6\) or"),
        (torch.zeros(16, 3), r"pose is \(16, 3\), expected"),
        (torch.zeros(2, 16, 3, 2), r"pose is \(2, 16, 3, 2\), expected"),
    ],
)
def test_wrong_pose(hand, pose, text):
    with pytest.raises(ShapeError, match=text):
        hand(pose)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"shape": torch.zeros(1, 4)}, r"shape is \(1, 4\), expected \(2, \d+\)"),
        ({"wrist_mm": torch.zeros(3)}, r"wrist_mm is \(3,\), expected \(2, 3\)"),
        ({"wrist_bend": torch.zeros(2, 3)}, r"wrist_bend is \(2, 3\), expected \(2, 3, 3\)"),
        ({"side": torch.zeros(3)}, r"side is \(3,\), expected \(2,\)"),
    ],
)
def test_wrong_input(hand, inputs, text):
    with pytest.raises(ShapeError, match=text):
        hand(torch.zeros(2, 16, 3), **inputs)


def test_posed_hand_checks_itself():
    with pytest.raises(ShapeError, match=r"vertices_mm is torch.float32 \(3, 9, 3\), expected"):
        PosedHand(torch.zeros(3, 9, 3), torch.zeros(2, 21, 3))
    with pytest.raises(ShapeError, match=r"joints_mm is torch.float32 \(2, 20, 3\), expected"):
        PosedHand(torch.zeros(2, 9, 3), torch.zeros(2, 20, 3))
