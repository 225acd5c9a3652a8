"""``validate set`` under each set's own protocols."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from set_folders import (
    write_ho3d,
    write_interhand_set,
    write_wholebody,
)
from set_readers import (
    HANDS,
    SPACE,
    WHERE,
    WRITERS,
    Flat,
    every_set,
    perfect,
    put_flat,
    read,
    run,
    scored,
    values,
)

from hdrvideo.hand import LEFT, RIGHT
from hdrvideo.sets.registry import open_set
from hdrvideo.validate.set_protocols import (
    score_protocols,
    set_protocols,
)


@pytest.fixture
def flat(monkeypatch) -> Flat:
    return put_flat(monkeypatch)


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
    assert lines[-4].endswith("protocols are not scored; protocols.md says why")
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
    assert part.notes[0].startswith("Hands were given: each was read in a square round its true")
    assert part.notes[1:] == ("A part of the split was read; no published number is of it.",)
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
