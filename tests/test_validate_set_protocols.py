"""``validate set`` under each set's own protocols, for servers, and with rivals."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_hands import flat_hand
from safetensors.torch import save_file
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
from hdrvideo.errors import DataError, NotGivenError, SettingsError, WriteError
from hdrvideo.frame.shpe import CropPoses
from hdrvideo.frame.stage import FrameStage
from hdrvideo.hand import ADULT_BONES_MM, LEFT, PARENTS, RIGHT, to_order
from hdrvideo.readset import read_set, validate_set
from hdrvideo.rivals.internet import SIZES
from hdrvideo.sets.guess import hand_in_box
from hdrvideo.sets.registry import JOINT_SETS, open_set
from hdrvideo.validate.field_hands import field_prediction
from hdrvideo.validate.set_protocols import (
    SetProtocols,
    load_protocols,
    score_protocols,
    set_protocols,
)
from hdrvideo.validate.set_scores import SetPredictions
from hdrvideo.validate.set_submission import submission_name, write_submission
from hdrvideo.validate.submissions import read_dexycb, read_ho3d


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


@pytest.fixture
def flat(monkeypatch) -> Flat:
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


# One command a set.


@every_set
def test_one_command_scores_a_set_under_its_protocols(name, tmp_path, flat):
    WRITERS[name](tmp_path / "set")
    more = ["--only-there"] if name == "dexycb" else []
    done = scored(name, tmp_path / "set", tmp_path / "out", *more)
    counts = {row.name: row.n_samples for row in done.rows}
    where = WHERE[name]
    assert counts[f"epe_general_unaligned_labelled_joints_px[{where}]"] == HANDS[name]
    if name in SPACE:
        assert counts[f"mpjpe_general_procrustes_best_scale_21j_mm[{where}]"] == HANDS[name]
    wanted = {
        "interhand2.6m": "mpjpe_interhand_wrist_42j_two_zero_wrists_mm",
        "hic": "epe_tzionas_unaligned_28j_no_wrists_no_tips_px",
        "ho3d": "mpjpe_ho3d_procrustes_or_mirror_best_scale_21j_mm",
        "dexycb": "mpjpe_handoccnet_wrist_21j_one_zero_wrist_mm",
    }.get(name)
    if wanted is not None:
        assert counts[f"{wanted}[{where}]"] == HANDS[name]
    # Every protocol of the set has a number or a reason, none both.
    reasons = dict(done.not_scored)
    split = where.removesuffix("_all").split("_", 2 if name == "coco-wholebody" else 1)[-1]
    for protocol in set_protocols(name, split):
        assert (protocol.name in counts) != (protocol.name in reasons), protocol.name
    assert all(row.method == "hdrvideo" and row.n_missing == 0 for row in done.rows)
    page = (tmp_path / "out" / "protocols.md").read_text(encoding="utf-8")
    assert page.startswith(f"# hdrvideo on {name}, ")
    assert all(f"| `{n}` |" in page for n in counts)
    assert all(f"- Not scored: `{n}`: {why}.\n" in page for n, why in reasons.items())
    head = json.loads((tmp_path / "out" / "protocols.json").read_text())
    assert (head["set"], head["rival"]) == (name, None)


def test_the_command_prints_a_line_a_number(tmp_path, flat):
    write_interhand_set(tmp_path / "set")
    lines = run("interhand2.6m", tmp_path / "set", tmp_path / "out").output.splitlines()
    (line,) = [
        x for x in lines if x.endswith("  mrrpe_interhand_unaligned_2_wrists_mm[ih26m_test_ih]")
    ]
    assert line.split()[1:3] == ["mm", "1"]
    assert "8 protocols are not scored; protocols.md says why" not in lines
    assert lines[-3].endswith("protocols are not scored; protocols.md says why")
    assert lines[-2:] == [str(tmp_path / "out" / n) for n in ("protocols.md", "predictions.npz")]


def test_what_is_not_read_is_told_and_not_made_up(tmp_path, flat):
    write_interhand_set(tmp_path / "set")
    done = scored("interhand2.6m", tmp_path / "set", tmp_path / "out")
    reasons = {name.split("[")[0]: why for name, why in done.not_scored}
    assert reasons["ap_h_as_accuracy_interhand_two_bits"].startswith("needs chances that each hand")
    assert reasons["mpvpe_interwild_wrist_mesh_mm"] == "needs vertices; joints alone are read"
    mano = "needs the joints of the annotation's MANO meshes as its truth"
    name = "mpjpe_intaghand_middle_mcp_true_bone_scale_42j_two_zero_knuckles_mm"
    assert reasons[name].startswith(mano)
    assert not [row for row in done.rows if "mesh" in row.name or "intaghand" in row.name]
    # The one right wrist is in a pair, so no frame of one hand counts.
    left_out = "mpjpe_ihmr_right_wrist_42j_one_zero_wrist_pooled_mm[ih26m_test_sh]"
    assert dict(done.not_scored)[left_out] == "no hand has the labels that it counts"
    write_wholebody(tmp_path / "coco")
    flat_only = scored("coco-wholebody", tmp_path / "coco", tmp_path / "out2")
    assert set(dict(flat_only.not_scored).values()) == {
        "needs joints in space, which the set does not label"
    }


# Values by hand.


@every_set
def test_labels_as_predictions_are_perfect(name, tmp_path):
    done = score_protocols(perfect(read(name, tmp_path)), "test", method="labels")
    assert done.rows
    for row in done.rows:
        best = 1.0 if row.is_better == "higher" else 0.0
        assert row.value == pytest.approx(best, abs=1e-4), row.name


@pytest.mark.parametrize("name", SPACE)
def test_a_known_offset_is_what_is_not_aligned(name, tmp_path):
    found = perfect(read(name, tmp_path), shift_mm=(0, 24, 7), shift_px=(3, 4))
    done = score_protocols(found, "test", method="shifted")
    for row in done.rows:
        if row.unit == "px":
            assert row.value == pytest.approx(5, abs=1e-3)
        elif row.name.startswith("mpjpe"):
            wanted = 25 if "_unaligned_" in row.name else 0
            assert row.value == pytest.approx(wanted, abs=1e-3), row.name
        elif row.name.startswith("mrrpe"):
            assert row.value == pytest.approx(0, abs=1e-3)
        else:
            # Half of the thresholds from 0 to 50 mm are passed.
            wanted = 0.5 if "_unaligned_" in row.name else 1
            assert row.value == pytest.approx(wanted, abs=0.006), row.name


def test_hands_that_move_apart_are_in_the_measures_of_pairs_alone(tmp_path):
    found = perfect(read("interhand2.6m", tmp_path))
    moved = found.xyz_cam_mm + np.array([[0, 0, 0], [0, 30, 40]])[:, None].astype(np.float32)
    done = values(score_protocols(replace(found, xyz_cam_mm=moved), "test", method="moved"))
    for work in ("interhand", "interwild"):
        name = f"mrrpe_{work}_unaligned_2_wrists_mm[ih26m_test_ih]"
        assert done[name] == pytest.approx(50, abs=1e-3)
    # Of the pair's 42 joints the left hand's 21 are off.
    name = "mpjpe_ihmr_right_wrist_42j_one_zero_wrist_pooled_mm[ih26m_test_ih]"
    assert done[name] == pytest.approx(25, abs=1e-3)
    name = "mpjpe_interhand_wrist_42j_two_zero_wrists_mm[ih26m_test_all]"
    assert done[name] == pytest.approx(0, abs=1e-3)


def test_interhands_zero_wrists_and_subsets(tmp_path):
    """A fingertip of the pair's right hand is 42 mm off: 1 mm of 42 joints, in IH alone."""
    found = perfect(read("interhand2.6m", tmp_path))
    xyz = found.xyz_cam_mm.copy()
    xyz[found.present[:, RIGHT], RIGHT, 8, 0] += 42
    done = values(score_protocols(replace(found, xyz_cam_mm=xyz), "test", method="tip"))
    name = "mpjpe_interhand_wrist_42j_two_zero_wrists_mm[ih26m_test_{}]"
    assert done[name.format("ih")] == pytest.approx(1, abs=1e-3)
    assert done[name.format("sh")] == pytest.approx(0, abs=1e-3)
    # No other right hand is there, so the mean of its tip over ALL is 42, too.
    assert done[name.format("all")] == pytest.approx(1, abs=1e-3)
    name = "mpjpe_interhand_wrist_40j_mm[ih26m_test_ih]"
    assert done[name] == pytest.approx(42 / 40, abs=1e-3)
    # Pooled over four hands, without the wrists.
    assert done["mpjpe_general_wrist_20j_mm[ih26m_test_all]"] == pytest.approx(42 / 80, abs=1e-3)


def test_interhand_counts_joints_in_the_picture_and_general_ones_whole_hands(tmp_path):
    found = perfect(read("interhand2.6m", tmp_path))
    valid = found.valid_uv.copy()
    (pair,) = np.flatnonzero(found.present.all(axis=1))
    valid[pair, RIGHT, 8] = False
    xyz = found.xyz_cam_mm.copy()
    xyz[pair, RIGHT, 8] += 500
    uv = np.where(valid[..., None], found.true_uv_px, np.nan).astype(np.float32)
    found = replace(found, valid_uv=valid, xyz_cam_mm=xyz, true_uv_px=uv)
    done = score_protocols(found, "test", method="ours")
    counts = {row.name: row.n_samples for row in done.rows}
    name = "mpjpe_interhand_wrist_42j_two_zero_wrists_mm[ih26m_test_all]"
    assert counts[name] == 4
    assert values(done)[name] == pytest.approx(0, abs=1e-3)
    assert counts["mpjpe_general_wrist_20j_mm[ih26m_test_all]"] == 3


def test_missing_hands_are_in_the_name(tmp_path):
    found = perfect(read("interhand2.6m", tmp_path))
    xyz = found.xyz_cam_mm.copy()
    (pair,) = np.flatnonzero(found.present.all(axis=1))
    xyz[pair, LEFT] = np.nan
    done = score_protocols(replace(found, xyz_cam_mm=xyz), "test", method="ours")
    rows = {row.name: row for row in done.rows}
    row = rows["mpjpe_interhand_wrist_42j_two_zero_wrists_found_mm[ih26m_test_all]"]
    assert (row.n_samples, row.n_missing, row.published) == (3, 1, ())
    why = dict(done.not_scored)["mrrpe_interhand_unaligned_2_wrists_mm[ih26m_test_ih]"]
    assert why == "none of 1 hands that count was read"
    # Frames of one hand have all theirs.
    assert "mpjpe_interhand_wrist_42j_two_zero_wrists_mm[ih26m_test_sh]" in rows


# Names of splits, and published numbers.


def test_published_numbers_stand_beside_the_whole_split_alone(tmp_path, flat):
    write_interhand_set(tmp_path / "set")
    start = "mpjpe_interhand_wrist_42j_two_zero_wrists_mm"
    whole = {r.name: r for r in scored("interhand2.6m", tmp_path / "set", tmp_path / "a").rows}
    assert "InterNet 14.21" in whole[f"{start}[ih26m_test_all]"].published[0]
    assert "InterNet 12.16" in whole[f"{start}[ih26m_test_sh]"].published[0]
    part = scored("interhand2.6m", tmp_path / "set", tmp_path / "b", "--limit", "2")
    rows = {row.name: row for row in part.rows}
    assert rows[f"{start}[ih26m_test_2_samples_all]"].published == ()
    assert not any(row.published for row in part.rows)
    assert part.notes == ("A part of the split was read; no published number is of it.",)
    (tmp_path / "set" / "annotations" / "aid_human_annot_test.txt").write_text("31\n21\n")
    human = scored("interhand2.6m", tmp_path / "set", tmp_path / "c", "--part", "human")
    rows = {row.name: row for row in human.rows}
    name = "mpjpe_interwild_wrist_42j_two_zero_wrists_sh_ih_mean_mm[ih26m_test_h_all]"
    assert "InterWild 13.65" in rows[name].published[0]
    assert rows[f"{start}[ih26m_test_h_all]"].published == ()


@pytest.mark.parametrize(("suffix", "version"), [(".png", "v2"), (".jpg", "v3")])
def test_ho3ds_version_is_in_the_name(tmp_path, suffix, version):
    write_ho3d(tmp_path, suffix)
    assert open_set("ho3d", tmp_path).protocol_split == f"{version}_evaluation"


def test_intervals_are_over_recordings(tmp_path):
    found = perfect(read("dexycb", tmp_path))
    first = found.sequence == found.sequence[0]
    xyz = found.xyz_cam_mm + np.where(first, 10, 20)[:, None, None, None].astype(np.float32)
    done = score_protocols(replace(found, xyz_cam_mm=xyz), "s0_test", method="ours")
    (row,) = [r for r in done.rows if r.name.startswith("mpjpe_dexycb_unaligned")]
    far = math.sqrt(3)
    assert row.value == pytest.approx(far * (16 * 10 + 8 * 20) / 24, rel=1e-3)
    assert (row.low, row.high) == (
        pytest.approx(10 * far, rel=1e-3),
        pytest.approx(20 * far, rel=1e-3),
    )
    one = score_protocols(perfect(read("freihand", tmp_path / "f")), "evaluation", method="ours")
    assert math.isnan(one.rows[0].low)


# Servers.


def test_ho3d_without_its_truth_is_read_and_written_for_the_server(tmp_path, flat):
    write_ho3d(tmp_path / "set")
    done = scored("ho3d", tmp_path / "set", tmp_path / "out")
    assert done.notes[0].startswith("submission.zip is for HO-3D's server: 1 frames; the 21 joints")
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


def test_dexycbs_whole_split_is_written_for_its_toolkit(tmp_path, flat):
    write_dexycb(tmp_path / "set")
    # The only subject of s1_val.
    (tmp_path / "set" / "20200820-amousavian").rename(tmp_path / "set" / "20200928-ahanda")
    out = tmp_path / "out"
    done = scored("dexycb", tmp_path / "set", out, "--split", "s1_val")
    assert done.notes == ("submission.txt is for DexYCB's toolkit: 24 images with a hand",)
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
        with pytest.raises(SettingsError, match=f"--rival is '{text}', expected NAME=FILE such as"):
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
    with pytest.raises(WriteError, match=r"submission.zip exists; pass --overwrite to replace it"):
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
