"""Each reader of a data set: its layout, units and splits, and broken files told."""

import json

import numpy as np
import pytest
from labelled_hands import CAMERA
from set_folders import (
    LENS,
    STEP,
    close,
    fpha_camera,
    opened,
    write_dexycb,
    write_fpha,
    write_freihand,
    write_hic,
    write_ho3d,
    write_interhand_set,
    write_onehand10k,
    write_sets,
    write_wholebody,
)

from hdrvideo.errors import DataError, SettingsError
from hdrvideo.geometry import Camera
from hdrvideo.hand import JOINTS, LEFT, RIGHT, to_order
from hdrvideo.sets.dexycb import CAMERAS
from hdrvideo.sets.freihand import FreiHand
from hdrvideo.sets.guess import whole_uv_px
from hdrvideo.sets.hic import OURS_OF_HIC
from hdrvideo.sets.registry import open_set


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp)


def test_interhand_knows_pairs_and_absent_hands(roots):
    data, pair = opened(roots, "interhand2.6m"), roots["interhand2.6m"][1]
    # Single hands come first, as the set's own evaluation wants them.
    assert [sample.is_pair for sample in data] == [False, False, True]
    single, _, both = data
    assert single.present.tolist() == [False, True]
    assert not single.valid_xyz[RIGHT].any()
    close(both.xyz_cam_mm, pair)
    close(single.xyz_cam_mm[LEFT], pair[LEFT])
    close(both.uv_px, CAMERA.project(pair))
    assert (both.subject, both.sequence, both.camera) == ("1", "4/0001_dh", "400026")
    assert both.frame == 11
    assert both.box_uvuv_px.tolist() == [1.5, 2.5, 31.5, 42.5]
    assert both.k_px.tolist() == [[300, 0, 160], [0, 310, 120], [0, 0, 1]]
    assert type(data).ABSENCE_TOLD


def test_interhand_parts_go_by_lists_of_ids(tmp_path):
    write_interhand_set(tmp_path)
    with pytest.raises(DataError, match=r"has no aid_human_annot_test\.txt; copy InterWild's"):
        open_set("interhand2.6m", tmp_path, part="human")
    human = tmp_path / "annotations" / "aid_human_annot_test.txt"
    human.write_text("21\n31\n")

    def ids(part):
        return [int(s.name.split()[0]) for s in open_set("interhand2.6m", tmp_path, part=part)]

    assert ids("all") == [21, 11, 31]
    assert ids("human") == [21, 31]
    assert ids("machine") == [11]
    (tmp_path / "aid_machine_annot_test.txt").write_text("11 31")
    assert ids("machine") == [11, 31]
    human.write_text("twenty")
    with pytest.raises(DataError, match=r"aid_human_annot_test.txt cannot be read \(ValueError"):
        ids("human")
    # Version 0's folders hold a part each.
    (tmp_path / "annotations" / "test").rename(tmp_path / "annotations" / "human_annot")
    assert ids("human") == [21, 11, 31]


def test_interhands_files_must_belong_together(tmp_path):
    write_interhand_set(tmp_path)
    folder = tmp_path / "annotations" / "test"
    files = {p: folder / f"InterHand2.6M_test_{p}.json" for p in ("data", "camera", "joint_3d")}
    kept = {part: path.read_text() for part, path in files.items()}

    def told(part, old, new):
        assert old in kept[part]
        files[part].write_text(kept[part].replace(old, new))
        with pytest.raises(DataError) as caught:
            open_set("interhand2.6m", tmp_path)
        files[part].write_text(kept[part])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "lacks cameras (capture/camera) 4/400026; it is of" in told("camera", "400026", "400027")
    assert "lacks cameras (capture/camera) 4/400026" in told("camera", '"4":', '"5":')
    assert "lacks frames (capture/frame) 4/12; it is of" in told("joint_3d", '"12"', '"13"')
    assert "camera.json cannot be read (KeyError: 'camrot')" in told("camera", "camrot", "turn")
    assert "data.json cannot be read (JSONDecodeError" in told("data", '"annotations"', '"an')
    flags = json.dumps([[1]] * 42)
    assert "joint_valid has 1 flags, expected 42" in told("data", flags, "[[1]]")
    assert "data.json cannot be read (KeyError: 'both')" in told("data", '"interacting"', '"both"')
    files["joint_3d"].unlink()
    with pytest.raises(DataError, match=r"lacks annotations/test/InterHand2.6M_test_joint_3d.json"):
        open_set("interhand2.6m", tmp_path)


def test_freihand_is_in_metres_and_has_four_copies(roots):
    data, hand = opened(roots, "freihand", "training"), roots["freihand"][1]
    assert len(data) == 8
    assert [sample.frame for sample in data] == [0, 1] * 4
    assert [sample.picture.stem for sample in data] == [f"{k:08d}" for k in range(8)]
    close(data[2].xyz_cam_mm[RIGHT], hand)
    close(data[3].xyz_cam_mm[RIGHT], hand + 10 * STEP)
    close(data[2].uv_px[RIGHT], Camera(480, 470, 112, 111, "given").project(hand))
    assert len(FreiHand(roots["freihand"][0], "training", copies=1)) == 2
    with pytest.raises(SettingsError, match="copies is 5, expected a whole number from 1 to 4"):
        FreiHand(roots["freihand"][0], "training", copies=5)
    assert len(opened(roots, "freihand")) == 1


def test_freihands_files_must_be_of_one_length(tmp_path):
    write_freihand(tmp_path)
    (tmp_path / "evaluation_K.json").write_text(json.dumps([np.eye(3).tolist()] * 3))
    with pytest.raises(DataError, match=r"evaluation_xyz.json cannot be .*1 hands for 3 cameras"):
        open_set("freihand", tmp_path)
    (tmp_path / "evaluation_xyz.json").unlink()
    with pytest.raises(DataError, match=r"lacks evaluation_xyz.json; see docs/datasets.md"):
        open_set("freihand", tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_ho3d_turns_opengl_metres(tmp_path, suffix):
    hand = write_ho3d(tmp_path, suffix)
    first, second = open_set("ho3d", tmp_path, "train")
    close(first.xyz_cam_mm[RIGHT], hand)
    close(first.uv_px[RIGHT], LENS.project(hand), 0.01)
    assert (first.sequence, first.frame, first.picture.suffix) == ("ABF10", 3, suffix)
    # Not annotated: no hand, no camera.
    assert not second.present.any()
    assert second.k_px is None


def test_ho3ds_evaluation_has_the_wrist_until_the_truth_is_there(tmp_path):
    hand = write_ho3d(tmp_path)
    (wrist,) = open_set("ho3d", tmp_path)
    assert np.flatnonzero(wrist.valid_xyz[RIGHT]).tolist() == [0]
    close(wrist.xyz_cam_mm[RIGHT, 0], hand[0])
    assert wrist.box_uvuv_px.tolist() == [10, 20, 30.5, 40]
    truth = tmp_path / "evaluation_xyz.json"
    truth.write_text(json.dumps([(to_order(hand, "ho3d") / 1000 * [1, -1, -1]).tolist()]))
    (whole,) = open_set("ho3d", tmp_path)
    close(whole.xyz_cam_mm[RIGHT], hand)
    truth.write_text(json.dumps(np.zeros((2, 21, 3)).tolist()))
    with pytest.raises(DataError, match=r"evaluation_xyz.json .*2 hands for 1 frames"):
        open_set("ho3d", tmp_path)


def test_ho3ds_broken_files_are_told(tmp_path):
    write_ho3d(tmp_path)
    (tmp_path / "train.txt").write_text("ABF10/0003\nABF11/0000\n")
    with pytest.raises(DataError, match=r"lacks train/ABF11/rgb, train/ABF11/meta; see docs"):
        open_set("ho3d", tmp_path, "train")
    (tmp_path / "train.txt").write_text("ABF10\n")
    with pytest.raises(DataError, match=r"train.txt cannot be read \(ValueError"):
        open_set("ho3d", tmp_path, "train")
    meta = tmp_path / "evaluation" / "SM1" / "meta" / "0000.pkl"
    meta.write_bytes(b"cos\nsystem\n(U\x02lstR.")
    with pytest.raises(DataError, match=r"0000.pkl holds os.system, which is not read"):
        open_set("ho3d", tmp_path)[0]


def test_label_files_of_single_pictures_are_looked_for(tmp_path):
    write_ho3d(tmp_path / "ho3d")
    (tmp_path / "ho3d/train/ABF10/meta/0004.pkl").unlink()
    with pytest.raises(DataError, match=r"1 of 2 samples of split train lack .*0004\.pkl; see"):
        open_set("ho3d", tmp_path / "ho3d", "train")
    assert len(open_set("ho3d", tmp_path / "ho3d", "train", only_there=True)) == 1
    write_dexycb(tmp_path / "dex")
    camera = tmp_path / "dex/20200820-amousavian/20200820_000004" / CAMERAS[2]
    (camera / "labels_000001.npz").unlink()
    assert len(open_set("dexycb", tmp_path / "dex", only_there=True)) == 31


def test_dexycb_has_the_toolkits_order_and_splits(roots):
    data, hand = opened(roots, "dexycb"), roots["dexycb"][1]
    # Two recordings of two frames by eight cameras; frames are innermost.
    assert len(data) == 2 * 8 * 2
    assert [s.frame for s in list(data)[:4]] == [0, 1, 0, 1]
    assert [s.camera for s in list(data)[:3]] == [CAMERAS[0], CAMERAS[0], CAMERAS[1]]
    close(data[3].xyz_cam_mm[RIGHT], hand + STEP)
    assert data[3].present.tolist() == [True, False]
    assert data[16].present.tolist() == [False, True]
    # -1 is no annotation.
    assert not data[17].present.any()
    assert data[3].subject == "20200820-amousavian"
    assert data[3].sequence == "20200820-amousavian/20200820_000004"
    view = opened(roots, "dexycb", "s2_test")
    assert {sample.camera for sample in view} == {CAMERAS[7]}
    grasp = opened(roots, "dexycb", "s3_train")
    assert len(grasp) == 32
    with pytest.raises(DataError, match="holds no sample of split s0_train"):
        opened(roots, "dexycb", "s0_train")


def test_dexycbs_broken_files_are_told(tmp_path):
    write_dexycb(tmp_path)

    def told():
        with pytest.raises(DataError) as caught:
            list(open_set("dexycb", tmp_path, only_there=True))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    subject = tmp_path / "20200820-amousavian"
    label = subject / "20200820_000004" / CAMERAS[0] / "labels_000000.npz"
    whole = label.read_bytes()
    label.write_bytes(whole[:100])
    assert "labels_000000.npz cannot be read (" in told()
    np.savez(label, joint_3d=np.array([{}], dtype=object), joint_2d=np.zeros((1, 21, 2)))
    assert "Object arrays cannot be loaded" in told()
    meta = subject / "20200820_000004" / "meta.yml"
    meta.write_text("num_frames: [")
    assert "meta.yml cannot be read (ValueError" in told()
    meta.write_text("num_frames: 2\nmano_sides: [both]\n")
    assert "meta.yml cannot be read (ShapeError: side is 'both', expected" in told()
    (tmp_path / "calibration" / "intrinsics" / f"{CAMERAS[3]}_640x480.yml").unlink()
    assert f"lacks calibration/intrinsics/{CAMERAS[3]}_640x480.yml; see" in told()
    write_dexycb(tmp_path / "again")
    (tmp_path / "again" / "20200820-amousavian" / "more").mkdir()
    with pytest.raises(DataError, match=r"holds 101 sequences, expected 100: the splits go by"):
        open_set("dexycb", tmp_path / "again", only_there=True)


def test_fpha_comes_through_the_colour_camera(roots):
    hand = roots["fpha"][1]
    train, test = (opened(roots, "fpha", split) for split in ("train", "test"))
    assert {s.subject for s in train} == {"Subject_1"}
    assert {s.subject for s in test} == {"Subject_2"}
    assert [s.name for s in train] == ["Subject_1/put_salt/1/0000", "Subject_1/put_salt/1/0001"]
    close(train[0].xyz_cam_mm[RIGHT], hand)
    close(train[0].uv_px[RIGHT], fpha_camera().project(hand), 0.01)
    by_action = opened(roots, "fpha", "actions_train")
    assert {s.sequence for s in by_action} == {"Subject_2/open_milk/3"}


def test_fphas_broken_files_are_told(tmp_path):
    write_fpha(tmp_path)
    skeleton = tmp_path / "Hand_pose_annotation_v1_1/Subject_2/open_milk/3/skeleton.txt"
    skeleton.write_text("0 1 2 3\n")
    with pytest.raises(DataError, match=r"skeleton.txt .*4 numbers a line, expected 64"):
        open_set("fpha", tmp_path)
    split = tmp_path / "data_split_action_recognition.txt"
    split.write_text("Subject_2/open_milk/3 7\n")
    with pytest.raises(DataError, match="no line begins with Training or Test"):
        open_set("fpha", tmp_path, "actions_test")
    split.write_text("Test 1\nSubject_9/run/1 7\n")
    with pytest.raises(DataError, match=r"lacks .*Subject_9/run/1/skeleton.txt"):
        open_set("fpha", tmp_path, "actions_test")


def test_hic_has_fourteen_joints_a_hand(roots):
    uv = roots["hic"][1]
    both, left = opened(roots, "hic")
    ours = [JOINTS[k] for k in OURS_OF_HIC]
    assert ours[:3] == ["little_mcp", "little_pip", "little_dip"]
    assert ours[-2:] == ["thumb_mcp", "thumb_ip"]
    labelled = np.isin(np.arange(21), OURS_OF_HIC)
    assert (both.valid_uv == labelled).all()
    close(both.uv_px[:, labelled], uv[:, labelled])
    # 0 0 is no label; frames without a text file are left out.
    assert left.present.tolist() == [False, True]
    assert (left.sequence, left.frame) == ("02", 5)
    guess = whole_uv_px(both, LEFT)
    assert np.linalg.norm(guess - uv[LEFT], axis=1).max() < 20


def test_hics_broken_files_are_told(tmp_path):
    write_hic(tmp_path)
    path = tmp_path / "02/1/joints_2D_GT/000.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:14]))
    with pytest.raises(DataError, match=r"000.txt .*rows are \(14, 3\), expected \(28, 3\)"):
        open_set("hic", tmp_path)[0]
    (tmp_path / "03").mkdir()
    with pytest.raises(DataError, match=r"lacks 03/1/rgb, 03/1/joints_2D_GT; see"):
        open_set("hic", tmp_path)


def test_wholebody_gives_people_with_hands(roots):
    uv = roots["coco-wholebody"][1]
    both, left = opened(roots, "coco-wholebody")
    close(both.uv_px, uv)
    assert both.name == "000000000009 5"
    assert left.present.tolist() == [False, True]
    assert np.flatnonzero(left.valid_uv[LEFT]).tolist() == list(range(10))
    assert both.box_uvuv_px.tolist() == [1, 2, 4, 6]
    assert not type(opened(roots, "coco-wholebody")).ABSENCE_TOLD


def test_wholebodys_broken_files_are_told(tmp_path):
    write_wholebody(tmp_path)
    path = tmp_path / "annotations" / "coco_wholebody_val_v1.0.json"
    path.write_text(path.read_text().replace('"lefthand_box"', '"box"'))
    with pytest.raises(DataError, match=r"val_v1.0.json cannot be read \(KeyError: 'lefthand_b"):
        open_set("coco-wholebody", tmp_path)


def test_onehand10k_has_sides_where_they_are_told(tmp_path):
    uv = write_onehand10k(tmp_path)
    whole, gaps = open_set("onehand10k", tmp_path)
    close(whole.uv_px[RIGHT], uv)
    assert not whole.side_told
    assert int(gaps.valid_uv.sum()) == 14
    assert whole.box_uvuv_px.tolist() == [5, 6, 12, 14]
    sides = tmp_path / "sides.csv"
    sides.write_text("picture,side\nTest/source/0.jpg,left\n")
    whole, gaps = open_set("onehand10k", tmp_path)
    assert whole.present.tolist() == [False, True]
    assert (whole.side_told, gaps.side_told) == (True, False)
    sides.write_text("name,side\nTest/source/0.jpg,left\n")
    with pytest.raises(DataError, match=r"sides.csv cannot be read \(KeyError: 'picture'\)"):
        open_set("onehand10k", tmp_path)
