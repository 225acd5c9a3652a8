"""The fixtures of all sets, a reader in the place of nets, and ``validate set`` on them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_hands import flat_hand
from set_folders import (
    FLIP,
    write_dexycb,
    write_fpha,
    write_freihand,
    write_hic,
    write_ho3d,
    write_interhand_set,
    write_onehand10k,
    write_wholebody,
)
from typer.testing import CliRunner

from hdrvideo.cli import app
from hdrvideo.frame.shpe import CropPoses
from hdrvideo.frame.stage import FrameStage
from hdrvideo.hand import ADULT_BONES_MM, PARENTS, to_order
from hdrvideo.readset import read_set
from hdrvideo.sets.registry import JOINT_SETS, open_set
from hdrvideo.validate.set_protocols import (
    SetProtocols,
    load_protocols,
)
from hdrvideo.validate.set_scores import SetPredictions


def write_whole_ho3d(root: Path) -> None:
    """Write HO-3D with the truth of its evaluation."""
    hand = write_ho3d(root)
    theirs = to_order(hand, "ho3d") / 1000 * FLIP
    (root / "evaluation_xyz.json").write_text(json.dumps([theirs.tolist()]))


WRITERS = {
    "interhand2.6m": write_interhand_set,
    "hic": write_hic,
    "ho3d": write_whole_ho3d,
    "dexycb": write_dexycb,
    "freihand": write_freihand,
    "fpha": write_fpha,
    "coco-wholebody": write_wholebody,
    "onehand10k": write_onehand10k,
}
SPACE = ("interhand2.6m", "ho3d", "dexycb", "freihand", "fpha")
every_set = pytest.mark.parametrize("name", JOINT_SETS)
# How protocols call what the fixtures hold.
WHERE = {
    "interhand2.6m": "ih26m_test_all",
    "hic": "tzionas_test",
    "ho3d": "ho3d_v3_evaluation",
    "dexycb": "dexycb_s0_test_32_samples",
    "freihand": "freihand_evaluation",
    "fpha": "fpha_test",
    "coco-wholebody": "coco_wholebody_val",
    "onehand10k": "onehand10k_test",
}
# Labelled hands of the fixtures.
HANDS = dict(zip(WHERE, (4, 3, 1, 24, 1, 2, 3, 2), strict=True))


class Flat:
    """Reads a flat hand of adult bones, fingers up, in the middle of any crop; keeps the crops."""

    resolution_px = 64

    def __init__(self) -> None:
        self.crops: list[torch.Tensor] = []

    def __call__(self, rgb: torch.Tensor) -> CropPoses:
        self.crops.append(rgb)
        b, xyz = len(rgb), np.zeros((21, 3))
        for j in range(1, 21):
            bone = flat_hand()[j] - flat_hand()[PARENTS[j]]
            xyz[j] = xyz[PARENTS[j]] + ADULT_BONES_MM[j - 1] * bone / np.linalg.norm(bone)
        mm = torch.from_numpy(xyz).float()
        return CropPoses(
            uv_crop_px=(mm[:, :2] * 0.2 + 40).expand(b, 21, 2),
            xyz_crop_mm=mm.expand(b, 21, 3),
            presence=torch.ones(b),
            looks_right=torch.ones(b),
            confidence=torch.full((b, 21), 0.5),
        )


def put_flat(monkeypatch) -> Flat:
    """Put a reader in the place of our nets."""
    reader = Flat()
    monkeypatch.setattr("hdrvideo.readset.build_shpe", lambda *_: reader)
    return reader


def run(name: str, root: Path, out: Path, *more: str):
    return CliRunner().invoke(app, ["validate", "set", name, str(root), "-o", str(out), *more])


def scored(name: str, root: Path, out: Path, *more: str) -> SetProtocols:
    done = run(name, root, out, *more)
    assert done.exit_code == 0, done.output
    return load_protocols(out / "protocols.json")


def values(protocols: SetProtocols) -> dict[str, float]:
    return {row.name: row.value for row in protocols.rows}


def read(name: str, root: Path) -> SetPredictions:
    """Read a set's fixture with a stub."""
    WRITERS[name](root)
    stage = FrameStage(shpe=Flat(), device=torch.device("cpu"))
    return read_set(open_set(name, root, only_there=name == "dexycb"), stage, "test")


def perfect(found: SetPredictions, shift_mm=(0, 0, 0), shift_px=(0, 0)) -> SetPredictions:
    """Give predictions that are the labels, moved."""
    return replace(
        found,
        xyz_cam_mm=(found.true_xyz_cam_mm + np.array(shift_mm)).astype(np.float32),
        uv_px=(found.true_uv_px + np.array(shift_px)).astype(np.float32),
    )
