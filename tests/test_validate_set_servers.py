"""``validate set``: files for servers, rivals in SHPE's place, and the page's commands."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from set_folders import (
    write_dexycb,
    write_freihand,
    write_ho3d,
    write_interhand_set,
)
from set_readers import Flat, perfect, put_flat, read, run, scored, values
from typer.main import get_command

from hdrvideo.cli import app
from hdrvideo.errors import DataError, NotGivenError, SettingsError, WriteError
from hdrvideo.hand import LEFT, RIGHT, to_order
from hdrvideo.readset import validate_set
from hdrvideo.rivals.internet import SIZES
from hdrvideo.sets.guess import hand_in_box
from hdrvideo.sets.registry import JOINT_SETS, open_set
from hdrvideo.validate.field_hands import field_prediction
from hdrvideo.validate.published import PUBLISHED
from hdrvideo.validate.set_protocols import (
    load_protocols,
    score_protocols,
)
from hdrvideo.validate.set_scores import SetPredictions
from hdrvideo.validate.set_submission import submission_name, write_submission
from hdrvideo.validate.submissions import read_dexycb, read_ho3d


@pytest.fixture
def flat(monkeypatch) -> Flat:
    return put_flat(monkeypatch)


# Servers.


def test_ho3d_without_its_truth_is_read_and_written_for_the_server(tmp_path, flat):
    write_ho3d(tmp_path / "set")
    done = scored("ho3d", tmp_path / "set", tmp_path / "out")
    assert done.notes[1].startswith("submission.zip is for HO-3D's server: 1 frames; the 21 joints")
    found = SetPredictions.load(tmp_path / "out" / "predictions.npz")
    assert found.read.tolist() == [[True, False]]
    xyz, vertices = read_ho3d(tmp_path / "out" / "submission.zip", n_frames=1)
    np.testing.assert_allclose(xyz, found.xyz_cam_mm[:, RIGHT], atol=2e-3)
    np.testing.assert_allclose(vertices, xyz, atol=2e-3)
    reasons = dict(done.not_scored)
    name = "mpjpe_ho3d_unaligned_21j_mm[ho3d_v3_evaluation]"
    assert reasons[name] == "no hand has the labels that it counts"
    # The square lies round the set's box.
    assert len(flat.crops) == 1


def test_ho3d_is_read_alike_where_the_truth_lies_beside(tmp_path, flat):
    hand = write_ho3d(tmp_path / "set")
    scored("ho3d", tmp_path / "set", tmp_path / "secret")
    theirs = to_order(hand, "ho3d") / 1000 * [1, -1, -1]
    (tmp_path / "set" / "evaluation_xyz.json").write_text(json.dumps([theirs.tolist()]))
    scored("ho3d", tmp_path / "set", tmp_path / "told")
    secret, told = (
        SetPredictions.load(tmp_path / name / "predictions.npz") for name in ("secret", "told")
    )
    assert told.valid_xyz[0, RIGHT].all()
    assert not secret.valid_xyz[0, RIGHT].all()
    np.testing.assert_array_equal(flat.crops[0], flat.crops[1])


def test_dexycbs_whole_split_is_written_for_its_toolkit(tmp_path, flat):
    write_dexycb(tmp_path / "set")
    # The only subject of s1_val.
    (tmp_path / "set" / "20200820-amousavian").rename(tmp_path / "set" / "20200928-ahanda")
    out = tmp_path / "out"
    done = scored("dexycb", tmp_path / "set", out, "--split", "s1_val")
    assert done.notes[1:] == ("submission.txt is for DexYCB's toolkit: 24 images with a hand",)
    found = SetPredictions.load(out / "predictions.npz")
    # Frame 1 of the second recording has no label, eight cameras long.
    images = [k for k in range(32) if k < 16 or k % 2 == 0]
    lines = (out / "submission.txt").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines] == images
    sides = np.where(np.array(images) < 16, RIGHT, LEFT)
    wanted = found.xyz_cam_mm[images, sides]
    np.testing.assert_allclose(read_dexycb(out / "submission.txt", images), wanted, atol=2e-3)


def test_a_part_of_a_split_is_not_written_for_a_server(tmp_path, flat):
    write_dexycb(tmp_path / "set")
    done = scored("dexycb", tmp_path / "set", tmp_path / "out", "--only-there")
    wanted = "submission.txt is not written: 32 samples were read, the split has more"
    assert wanted in done.notes
    done = scored("dexycb", tmp_path / "set", tmp_path / "b", "--only-there", "--limit", "3")
    assert not (tmp_path / "b" / "submission.txt").exists()
    found = read("ho3d", tmp_path / "ho3d")
    line = write_submission(found, tmp_path, n_samples=2)
    assert line == "submission.zip is not written: 1 samples were read, the split has 2"
    # A file of an earlier run is not left behind.
    assert write_submission(found, tmp_path, n_samples=1).startswith("submission.zip is for HO-3D")
    with pytest.raises(WriteError, match=r"submission.zip exists"):
        write_submission(found, tmp_path, n_samples=1)
    write_submission(found, tmp_path, n_samples=2, overwrite=True)
    assert not (tmp_path / "submission.zip").exists()
    gone = replace(found, xyz_cam_mm=np.full_like(found.xyz_cam_mm, np.nan))
    line = write_submission(gone, tmp_path, n_samples=1)
    assert line.startswith("submission.zip is not written: joints of HO-3D's pred.json are not fin")
    assert submission_name("ho3d", "train") is None
    assert submission_name("dexycb", "s0_train") is None
    assert submission_name("freihand", "evaluation") is None


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_a_hand_in_a_box_fills_it(side):
    box = np.array([100.0, 50.0, 300.0, 250.0])
    up = hand_in_box(box, side)
    np.testing.assert_allclose(up.min(axis=0).clip(box[:2]), up.min(axis=0), atol=1e-6)
    assert np.ptp(up, axis=0).max() == pytest.approx(200)
    assert (up[4, 0] < up[20, 0]) == (side == RIGHT)
    # The fingers point away from the wrist.
    for wrist in ((100.0, 150.0), (200.0, 260.0)):
        way = hand_in_box(box, side, np.array(wrist))
        along = (way[9] - way[0]) @ (np.array([200.0, 150.0]) - wrist)
        length = np.linalg.norm(way[9] - way[0]) * np.linalg.norm(np.array([200.0, 150.0]) - wrist)
        assert along == pytest.approx(length, rel=1e-6)
    np.testing.assert_allclose(hand_in_box(box, side, np.array([200.0, 150.0])), up)


# Rivals.


def test_a_rival_reads_the_same_squares(tmp_path, flat, monkeypatch):
    write_interhand_set(tmp_path / "set")
    other = Flat()
    asked = []

    def build(name, path, *, size, device, engine):
        asked.append((name, path, size, str(device), engine))
        return other

    monkeypatch.setattr("hdrvideo.readset.build_rival", build)
    root = tmp_path / "set"
    validate_set("interhand2.6m", root, tmp_path / "a", device="cpu")
    rival = ("internet", tmp_path / "w.safetensors")
    validate_set(
        "interhand2.6m", root, tmp_path / "b", rival=rival, rival_size="paper", device="cpu"
    )
    assert [one[:4] for one in asked] == [(*rival, "paper", "cpu")]
    assert len(flat.crops) == len(other.crops) == 3
    for ours, theirs in zip(flat.crops, other.crops, strict=True):
        assert torch.equal(ours, theirs)
    done = load_protocols(tmp_path / "b" / "protocols.json")
    assert {row.method for row in done.rows} == {"internet, paper"}
    ours = load_protocols(tmp_path / "a" / "protocols.json")
    assert values(ours) == values(done)
    told = json.loads((tmp_path / "b" / "scores.json").read_text())
    assert told["rival"] == ["internet", "paper", str(rival[1])]


def test_a_rivals_weights_are_read_by_the_command(tmp_path):
    write_freihand(tmp_path / "set")
    torch.manual_seed(0)
    weights = {n: v.half().contiguous() for n, v in SIZES["small"]().state_dict().items()}
    save_file(weights, tmp_path / "best.safetensors")
    rival = f"internet={tmp_path / 'best.safetensors'}"
    done = scored("freihand", tmp_path / "set", tmp_path / "out", "--rival", rival)
    assert {(row.method, row.n_samples) for row in done.rows} == {("internet, small", 1)}
    assert all(math.isfinite(row.value) for row in done.rows)


def test_wrong_rivals_are_told(tmp_path, flat):
    write_freihand(tmp_path / "set")
    arguments = ("freihand", tmp_path / "set", tmp_path / "out")
    for text in ("internet", "=file", "internet="):
        with pytest.raises(SettingsError, match=f"--rival is '{text}', expected NAME=PATH such as"):
            raise run(*arguments, "--rival", text).exception
    with pytest.raises(SettingsError, match="rival is 'deformer' of size 'small', expected inter"):
        raise run(*arguments, "--rival", "deformer=x").exception
    with pytest.raises(SettingsError, match="a rival and weights of our own SHPE are given; leave"):
        raise run(*arguments, "--rival", "internet=x", "--weights", "y").exception


# Files.


def test_files_that_are_there_are_told_before_anything_is_read(tmp_path, flat):
    write_ho3d(tmp_path / "set")
    out = tmp_path / "out"
    out.mkdir()
    (out / "submission.zip").write_bytes(b"")
    with pytest.raises(WriteError, match=r"out holds submission.zip of an earlier run; pass --ov"):
        raise run("ho3d", tmp_path / "set", out).exception
    assert not flat.crops
    assert run("ho3d", tmp_path / "set", out, "--overwrite").exit_code == 0


def test_scores_come_back_from_their_file(tmp_path):
    done = score_protocols(perfect(read("freihand", tmp_path / "set")), "evaluation", method="ours")
    done = replace(done, notes=("a note",))
    done.write(tmp_path, "title", {"set": "freihand"})
    again = load_protocols(tmp_path / "protocols.json")
    assert (again.not_scored, again.notes) == (done.not_scored, ("a note",))
    assert values(again) == values(done)
    assert math.isnan(again.rows[0].low)
    assert done.to_markdown("title").endswith("\n\na note\n")
    for text in ("{", "[]", '{"rows": [], "not_scored": 3, "notes": []}'):
        (tmp_path / "protocols.json").write_text(text)
        with pytest.raises(DataError, match=r"protocols.json holds no scores by protocols \("):
            load_protocols(tmp_path / "protocols.json")


def test_arrays_that_are_not_given_are_named():
    with pytest.raises(NotGivenError, match="FieldPrediction has no uv_px, which this") as told:
        field_prediction().wanted("uv_px")
    assert told.value.array == "uv_px"


def test_a_broken_label_file_of_dexycb_is_one_clear_line(tmp_path):
    write_dexycb(tmp_path)
    data = open_set("dexycb", tmp_path, only_there=True)
    path = data[0].picture.with_name("labels_000000.npz")
    path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"labels_000000.npz cannot be read \(ValueError: it is no"):
        data[0]


# The page.

PAGE = (Path(__file__).parent.parent / "docs" / "datasets.md").read_text(encoding="utf-8")


def told_commands() -> list[list[str]]:
    """Give the page's commands without what is optional in them, as words."""
    lines = [line for line in PAGE.splitlines() if line.startswith("hdrvideo ")]
    return [re.sub(r"\[.*?\]|#.*", "", line).split()[1:] for line in lines]


def test_the_pages_commands_are_there_as_written():
    commands = told_commands()
    for words in commands:
        command, left = get_command(app), list(words)
        while hasattr(command, "commands"):
            command = command.commands[left.pop(0)]
        command.make_context("hdrvideo", left)
    scored_sets = {words[2] for words in commands if words[:2] == ["validate", "set"]}
    assert scored_sets == {"NAME", *JOINT_SETS}
    learnt = {
        words[words.index("--set") + 1].split("=")[0] for words in commands if "--set" in words
    }
    assert learnt == {"NAME", *JOINT_SETS} - {"hic"}


def test_the_page_has_every_published_number():
    for number in PUBLISHED:
        value = number.value * (100 if number.protocol.startswith("f_") else 1)
        assert re.search(rf"(?<![\d.]){value:g}0?(?!\d)", PAGE), number
