"""``validate set``: a set's hands are read, kept beside their labels, and scored plainly."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_hands import flat_hand
from set_folders import (
    FAR,
    LENS,
    write_hic,
    write_interhand_set,
    write_onehand10k,
    write_wholebody,
)
from typer.testing import CliRunner

from hdrvideo.cli import app
from hdrvideo.errors import DataError, SettingsError, ShapeError, WriteError
from hdrvideo.frame.shpe import CropPoses
from hdrvideo.frame.stage import FrameStage
from hdrvideo.geometry import apply_affine, invert_affine, square_from_pose
from hdrvideo.hand import ADULT_BONES_MM, LEFT, PARENTS, RIGHT
from hdrvideo.readset import read_set, validate_set
from hdrvideo.sets.registry import open_set
from hdrvideo.validate.set_scores import SetPredictions, score_set, scores_table


def predictions(n: int = 3, **change) -> SetPredictions:
    """Give perfect predictions: pairs, then in the last picture a right hand alone."""
    xyz = np.stack([flat_hand(side) for side in (RIGHT, LEFT)]).astype(np.float32)
    xyz = np.repeat(xyz[None], n, axis=0)
    present = np.ones((n, 2), bool)
    present[-1, LEFT] = False
    xyz[~present] = np.nan
    uv = LENS.project(xyz).astype(np.float32)
    valid = np.repeat(present[..., None], 21, axis=2)
    text = np.array([str(k) for k in range(n)])
    values = {
        **{"source": "made", "split": "test", "names": text, "subject": text, "sequence": text},
        **{"camera": text, "frame": np.arange(n) * 1.0, "present": present, "read": present},
        **{"valid_uv": valid, "valid_xyz": valid, "true_uv_px": uv, "true_xyz_cam_mm": xyz},
        **{"uv_px": uv, "xyz_cam_mm": xyz, "xyz_rel_mm": xyz - xyz[:, :, :1]},
        "confidence": np.where(valid, 0.5, np.nan).astype(np.float32),
        "palm_px": np.where(present, 100, np.nan).astype(np.float32),
        "k_px": np.repeat(LENS.matrix[None], n, axis=0),
    }
    return SetPredictions(**{**values, **change})


# The file and the scores.


def test_predictions_come_back_from_their_file(tmp_path):
    made = predictions()
    path = tmp_path / "predictions.npz"
    made.save(path)
    again = SetPredictions.load(path)
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert len(again) == 3
    with pytest.raises(WriteError, match="exists; pass --overwrite"):
        made.save(path)
    made.save(path, overwrite=True)
    np.savez(path, names=np.array(["a"]))
    with pytest.raises(DataError, match=r"holds no predictions of a set \(KeyError"):
        SetPredictions.load(path)
    path.write_bytes(b"none")
    with pytest.raises(DataError, match=r"holds no predictions of a set \("):
        SetPredictions.load(path)
    with pytest.raises(ShapeError, match=r"read is bool \(3, 1\), expected bool \(3, 2\)"):
        replace(made, read=made.read[:, :1])


def test_perfect_predictions_and_known_errors():
    everything, single, pair = score_set(predictions())
    assert [s.group for s in (everything, single, pair)] == ["all", "single", "pair"]
    assert [s.n_hands for s in (everything, single, pair)] == [5, 1, 4]
    for s in (everything, single, pair):
        assert (s.epe_px, s.epe_palm, s.pck) == (0, 0, 100)
        assert s.mpjpe_mm == 0
        assert s.pa_mpjpe_mm == pytest.approx(0, abs=1e-3)
    assert pair.mrrpe_mm == 0
    assert (pair.n_pairs, single.n_pairs) == (2, 0)
    assert math.isnan(single.mrrpe_mm)
    made = predictions()
    # A joint of one hand 30 px (0.3 palms) off; all depths of left hands 50 mm too large.
    uv, xyz = made.uv_px.copy(), made.xyz_cam_mm.copy()
    uv[0, RIGHT, 7, 0] += 30
    xyz[:, LEFT, :, 2] += 50
    xyz[1, RIGHT, 5] += [0, 21, 0]
    found = score_set(replace(made, uv_px=uv, xyz_cam_mm=xyz))
    assert found[0].epe_px == pytest.approx(30 / 21 / 5)
    assert found[0].epe_palm == pytest.approx(30 / 21 / 5)
    assert found[0].pck == pytest.approx(100 - 100 / 21 / 5)
    # The wrist is put together and not in the mean.
    assert found[0].mpjpe_mm == pytest.approx(21 / 20 / 5)
    assert found[2].mrrpe_mm == pytest.approx(50)


def test_joints_without_labels_and_hands_that_were_not_read_do_not_count():
    made = predictions()
    valid = made.valid_uv.copy()
    valid[0, RIGHT, 10:] = False
    uv = made.uv_px.copy()
    uv[0, RIGHT, 10:] += 500
    read = made.read & (np.arange(3)[:, None] != 1)
    space = np.zeros_like(valid)
    found = score_set(replace(made, valid_uv=valid, uv_px=uv, read=read, valid_xyz=space))[0]
    assert (found.n_hands, found.n_read, found.n_space, found.n_whole) == (5, 3, 0, 0)
    assert found.epe_px == 0
    assert math.isnan(found.mpjpe_mm)
    # A hand without a labelled wrist has no wrist to put together.
    space = made.valid_xyz.copy()
    space[0, RIGHT, 0] = False
    found = score_set(replace(made, valid_xyz=space))[0]
    assert (found.n_space, found.n_whole) == (4, 4)


def test_without_a_camera_the_nets_own_shape_is_scored():
    made = predictions()
    nothing = np.full_like(made.xyz_cam_mm, np.nan)
    bent = made.xyz_rel_mm.copy()
    bent[..., 8, 2] += 20
    found = score_set(replace(made, xyz_cam_mm=nothing, xyz_rel_mm=bent))[0]
    assert found.mpjpe_mm == pytest.approx(1, rel=1e-3)
    assert found.n_pairs == 0
    row = scores_table([found]).splitlines()[2]
    assert row.startswith("| all | 5 | 5 | 0.00 | 0.00 | 100.00 | 1.00 | 5 |")
    assert row.endswith("| – | 0 |")


def test_no_labelled_hand_is_no_error():
    made = predictions(1, present=np.zeros((1, 2), bool))
    (found,) = score_set(made)
    assert found.n_hands == 0
    assert math.isnan(found.epe_px)


# Reading.


class Knowing:
    """Reads a flat hand of adult bones where the square says it is: fingers up, middle ahead."""

    resolution_px = 64

    def __init__(self, looks_right: float = 1.0) -> None:
        self.looks_right = looks_right
        self.seen = 0

    def __call__(self, rgb: torch.Tensor) -> CropPoses:
        b = len(rgb)
        self.seen += b
        true = LENS.project(flat_hand() + FAR)
        way = invert_affine(square_from_pose(true, mirror=False).frame_from_crop(64))
        uv = torch.from_numpy(apply_affine(way, true)).float().expand(b, 21, 2)
        xyz = np.zeros((21, 3))
        for j in range(1, 21):
            bone = flat_hand()[j] - flat_hand()[PARENTS[j]]
            xyz[j] = xyz[PARENTS[j]] + ADULT_BONES_MM[j - 1] * bone / np.linalg.norm(bone)
        return CropPoses(
            uv_crop_px=uv,
            xyz_crop_mm=torch.from_numpy(xyz).float().expand(b, 21, 3),
            presence=torch.ones(b),
            looks_right=torch.full((b,), self.looks_right),
            confidence=torch.full((b, 21), 0.5),
        )


def read(name: str, root: Path, shpe=None, limit=None) -> SetPredictions:
    stage = FrameStage(shpe=shpe or Knowing(), device=torch.device("cpu"))
    return read_set(open_set(name, root), stage, "test", limit)


def test_both_hands_are_read_where_they_are(tmp_path):
    """The reader always says the same crop: so it is right where the square is."""
    uv = write_wholebody(tmp_path)
    found = read("coco-wholebody", tmp_path)
    assert len(found) == 2
    np.testing.assert_allclose(found.uv_px[0], uv, atol=0.5)
    assert found.read.tolist() == [[True, True], [False, True]]
    # The left hand was shown mirrored: its thumb is on the other side again.
    tip = found.xyz_rel_mm[0, :, 4, 0]
    assert tip[LEFT] == pytest.approx(-tip[RIGHT])
    # Ten of its joints are labelled; the others were guessed to take the square.
    assert score_set(found)[0].epe_palm < 5
    assert np.isnan(found.xyz_cam_mm).all()
    assert np.isnan(found.k_px).all()
    assert np.isnan(found.frame).all()
    assert (found.palm_px[found.read] > 20).all()


def test_hands_are_put_into_the_sets_camera(tmp_path):
    write_interhand_set(tmp_path)
    found = read("interhand2.6m", tmp_path)
    both = found.present.all(axis=1)
    assert both.tolist() == [False, False, True]
    assert np.isfinite(found.xyz_cam_mm[both]).all()
    assert np.isnan(found.xyz_cam_mm[0, RIGHT]).all()
    assert found.frame.tolist() == [12, 12, 11]
    assert found.sequence.tolist() == ["4/0001_dh"] * 3
    assert np.nanmean(found.xyz_cam_mm[both][..., 2]) > 100
    # 90 mm at about 400 mm.
    wanted = 90 / 400 * math.sqrt(300 * 310)
    np.testing.assert_allclose(found.palm_px[both], wanted, rtol=0.01)


def test_samples_are_spread_over_the_split(tmp_path):
    write_interhand_set(tmp_path)
    names = read("interhand2.6m", tmp_path).names
    assert read("interhand2.6m", tmp_path, limit=2).names.tolist() == [names[0], names[1]]
    assert read("interhand2.6m", tmp_path, limit=1).names.tolist() == [names[0]]
    assert len(read("interhand2.6m", tmp_path, limit=9)) == 3


@pytest.mark.parametrize(("looks_right", "seen"), [(0.9, 2), (0.2, 4)])
def test_a_hand_of_unknown_side_is_read_as_it_looks(tmp_path, looks_right, seen):
    write_onehand10k(tmp_path)
    shpe = Knowing(looks_right)
    found = read("onehand10k", tmp_path, shpe)
    assert found.read.tolist() == [[True, False]] * 2
    assert shpe.seen == seen
    off = np.nanmean(np.linalg.norm(found.uv_px[0, RIGHT] - found.true_uv_px[0, RIGHT], axis=-1))
    # The fixture's hand is a right one: read mirrored, the reader puts it wrongly.
    assert (off < 1) == (looks_right > 0.5)


def test_the_command_leaves_predictions_and_scores(tmp_path):
    write_hic(tmp_path / "hic")
    out = tmp_path / "out"
    arguments = ["validate", "set", "hic", str(tmp_path / "hic"), "-o", str(out), "--limit", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "| all | 2 | 2 |" in done.output
    assert lines[-1] == str(out / "predictions.npz")
    found = SetPredictions.load(out / "predictions.npz")
    assert found.names.tolist() == ["02/000"]
    assert found.source == "hic"
    told = json.loads((out / "scores.json").read_text())
    assert (told["set"], told["split"], told["samples"]) == ("hic", "test", 1)
    assert told["samples_in_split"] == 2
    assert told["scores"][0]["n_read"] == 2
    assert told["scores"][0]["mpjpe_mm"] is None
    assert (out / "scores.md").read_text().startswith("|  | hands | read |")
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, WriteError)
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0


def test_wrong_use_is_told_before_the_nets_are_built(tmp_path, monkeypatch):
    monkeypatch.setattr("hdrvideo.readset.build_shpe", None)
    with pytest.raises(SettingsError, match=r"data set is 'aih-syn', expected one of interhand2.6"):
        validate_set("aih-syn", tmp_path, tmp_path / "out")
    with pytest.raises(SettingsError, match="--limit is 0, expected a whole number from 1"):
        validate_set("hic", tmp_path, tmp_path / "out", limit=0)
    with pytest.raises(DataError, match=r"hic: .* holds none of the sequences 01 to 11"):
        validate_set("hic", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
