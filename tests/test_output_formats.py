"""Every export: what is in it, read back by its own reader, and what absent looks like."""

import csv
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from tracks import CASES, absent_in_the_middle, first_frame_missing, make_track, variable_rate

from hdrvideo.angles import ANGLE_JOINTS, joint_angles_deg
from hdrvideo.errors import SettingsError, WriteError
from hdrvideo.hand import BONES, JOINTS, SIDES, TIPS
from hdrvideo.output.formats import FORMATS, default_path, export
from hdrvideo.output.table import TRACK_SCHEMA
from hdrvideo.track import ABSENT, BRIDGED, PROVENANCE

# pycocotools' own mask arrays predate NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
every_case = pytest.mark.parametrize("case", CASES)


def read_strict(path):
    def refuse(word):
        raise AssertionError(f"{word} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_refuses_to_overwrite_and_leaves_one_file(format, tmp_path):
    path = default_path(tmp_path / "track.parquet", format)
    assert export(make_track(2), format, path) == path
    before = path.read_bytes()
    with pytest.raises(WriteError, match="exists; pass --overwrite"):
        export(make_track(3), format, path)
    assert path.read_bytes() == before
    export(make_track(3), format, path, overwrite=True)
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_takes_a_track_without_frames(format, tmp_path):
    assert export(make_track(3).rows(0, 0), format, tmp_path / "out").stat().st_size > 0


def test_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(SettingsError, match="'bvh' is not known; use one of npz, csv, json, coco"):
        export(make_track(2), "bvh", tmp_path / "x")
    with pytest.raises(SettingsError, match="'bvh' is not known"):
        default_path(tmp_path / "track.parquet", "bvh")


def test_no_json_shares_its_stem_with_a_csv(tmp_path):
    paths = [default_path(tmp_path / "track.parquet", name) for name in FORMATS]
    stems = {p.stem for p in paths if p.suffix == ".csv"}
    assert not stems & {p.stem for p in paths if p.suffix == ".json"}
    assert len(set(paths)) == len(paths)


@every_case
def test_npz(case, tmp_path):
    track = CASES[case]()
    with np.load(export(track, "npz", tmp_path / "t.npz"), allow_pickle=False) as archive:
        found = dict(archive)
    t = len(track)
    shapes = {
        "uv_px": (t, 2, 21, 2),
        "xyz_cam_mm": (t, 2, 21, 3),
        "xyz_rel_mm": (t, 2, 21, 3),
        "raw_uv_px": (t, 2, 21, 2),
        "raw_xyz_cam_mm": (t, 2, 21, 3),
        "present": (t, 2),
        "confidence": (t, 2, 21),
        "visible": (t, 2, 21),
        "provenance": (t, 2),
        "turn_rad": (t, 2, 21, 3),
        "shape": (t, 2, 12),
        "pts": (t,),
        "pts_seconds": (t,),
        "frame_index": (t,),
    }
    for name, shape in shapes.items():
        assert found[name].shape == shape, name
        np.testing.assert_array_equal(found[name], getattr(track, name))
    assert np.isnan(found["uv_px"][~found["present"]]).all()
    assert found["angles_deg"].shape == (t, 2, 15, 3)
    np.testing.assert_array_equal(found["angles_deg"], joint_angles_deg(track.turn_rad))
    assert found["angle_joint_names"].tolist() == list(ANGLE_JOINTS)
    assert found["angle_names"].tolist() == ["flexion", "abduction", "twist"]
    assert found["joint_names"].tolist() == list(JOINTS)
    assert found["side_names"].tolist() == ["right", "left"]
    assert found["provenance_names"].tolist() == list(PROVENANCE)
    num, den = found["time_base"].tolist()
    assert (num, den) == track.meta.time_base.as_integer_ratio()
    assert json.loads(str(found["meta_json"])) == track.meta.to_json()


@every_case
def test_csv(case, tmp_path):
    track = CASES[case]()
    path = export(track, "csv", tmp_path / "t.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == TRACK_SCHEMA.names
    assert len(rows) == 42 * len(track)
    assert [int(r["frame_index"]) for r in rows] == np.repeat(track.frame_index, 42).tolist()
    assert [r["joint"] for r in rows] == list(JOINTS) * 2 * len(track)
    assert [r["hand"] for r in rows[:42]] == ["right"] * 21 + ["left"] * 21
    u = np.array([float(r["u_px"] or "nan") for r in rows], np.float32)
    np.testing.assert_array_equal(u, track.uv_px[..., 0].reshape(-1))
    for name, values in (
        ("turn_y_rad", track.turn_rad[..., 1].reshape(-1)),
        ("shape_07", np.repeat(track.shape[..., 7], 21)),
    ):
        found = np.array([float(r[name] or "nan") for r in rows], np.float32)
        np.testing.assert_array_equal(found, values)
    assert [float(r["pts_seconds"]) for r in rows[::42]] == track.pts_seconds.tolist()
    numbers = [n for n in TRACK_SCHEMA.names if n.endswith(("_px", "_mm", "_rad"))]
    numbers += ["confidence", "shape_00", "shape_11"]
    for row in rows:
        if row["present"] == "false":
            assert row["provenance"] == "absent"
            assert {row[name] for name in numbers} == {""}
    assert sum(r["present"] == "false" for r in rows) == 21 * (~track.present).sum()


def test_json_poses(tmp_path):
    track = absent_in_the_middle()
    found = read_strict(export(track, "json", tmp_path / "t.json"))
    assert found["angle_joints"] == list(ANGLE_JOINTS)
    assert found["angles"] == ["flexion", "abduction", "twist"]
    angles_deg = joint_angles_deg(track.turn_rad)
    for row, side in np.argwhere(track.present):
        hand = found["frames"][row]["hands"][SIDES[side]]
        assert [j for j, turn in enumerate(hand["turn_rad"]) if turn is None] == list(TIPS)
        turns = [[np.nan] * 3 if turn is None else turn for turn in hand["turn_rad"]]
        for values, wanted in (
            (turns, track.turn_rad),
            (hand["shape"], track.shape),
            (hand["angles_deg"], angles_deg),
        ):
            np.testing.assert_allclose(values, wanted[row, side], atol=1e-4)


def test_json_without_poses(tmp_path):
    found = read_strict(export(make_track(2), "json", tmp_path / "t.json"))
    for frame in found["frames"]:
        for hand in frame["hands"].values():
            assert [hand[name] for name in ("turn_rad", "shape", "angles_deg")] == [None] * 3


@every_case
def test_json(case, tmp_path):
    track = CASES[case]()
    found = read_strict(export(track, "json", tmp_path / "t.json"))
    assert found["meta"] == track.meta.to_json()
    assert found["joints"] == list(JOINTS)
    assert [f["index"] for f in found["frames"]] == track.frame_index.tolist()
    assert [f["pts"] for f in found["frames"]] == track.pts.tolist()
    assert [f["pts_seconds"] for f in found["frames"]] == track.pts_seconds.tolist()
    for row, frame in enumerate(found["frames"]):
        assert list(frame["hands"]) == list(SIDES)
        for s, side in enumerate(SIDES):
            hand = frame["hands"][side]
            assert (hand is None) == (track.provenance[row, s] == ABSENT)
            if hand is None:
                continue
            assert hand["provenance"] == PROVENANCE[track.provenance[row, s]]
            assert hand["visible"] == track.visible[row, s].tolist()
            for name in ("uv_px", "xyz_cam_mm", "xyz_rel_mm", "confidence"):
                np.testing.assert_allclose(hand[name], getattr(track, name)[row, s], atol=1e-3)
            bridged = track.provenance[row, s] == BRIDGED
            assert (hand["raw_uv_px"] is None) == (hand["raw_xyz_cam_mm"] is None) == bridged


def test_json_writes_a_single_missing_number_as_null(tmp_path):
    track = make_track(2)
    track.raw_uv_px[1, 0, 4, 1] = np.nan
    found = read_strict(export(track, "json", tmp_path / "t.json"))
    raw = found["frames"][1]["hands"]["right"]["raw_uv_px"]
    assert raw[4][1] is None
    assert raw[5][1] == pytest.approx(track.raw_uv_px[1, 0, 5, 1], abs=1e-3)


@every_case
def test_coco(case, tmp_path):
    track = CASES[case]()
    path = export(track, "coco", tmp_path / "t.json")
    read_strict(path)
    coco = COCO(str(path))
    images = coco.loadImgs(sorted(coco.getImgIds()))
    assert [i["frame_index"] for i in images] == track.frame_index.tolist()
    assert [i["timestamp_s"] for i in images] == track.pts_seconds.tolist()
    stem = track.meta.clip.rsplit(".", 1)[0]
    assert images[1]["file_name"] == f"{stem}/000001.jpg"
    assert (images[0]["width"], images[0]["height"]) == (640, 480)
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    assert names == {1: "left_hand", 2: "right_hand"}
    for category in coco.loadCats([1, 2]):
        assert category["keypoints"] == list(JOINTS)
        assert category["skeleton"] == [[a + 1, b + 1] for a, b in BONES]
    assert len(coco.anns) == track.present.sum()
    for row, image in enumerate(images):
        found = {a["category_id"]: a for a in coco.imgToAnns[image["id"]]}
        assert set(found) == {c for c, s in ((1, 1), (2, 0)) if track.present[row, s]}
        for category, annotation in found.items():
            check_annotation(coco, annotation, track, row, side=2 - category)


def check_annotation(coco, annotation, track, row, *, side):
    values = np.array(annotation["keypoints"]).reshape(21, 3)
    np.testing.assert_allclose(values[:, :2], track.uv_px[row, side], atol=1e-3)
    np.testing.assert_array_equal(values[:, 2], np.where(track.visible[row, side], 2, 1))
    assert annotation["num_keypoints"] == 21
    assert annotation["track_id"] == annotation["category_id"]
    assert annotation["attributes"]["object_id"] == annotation["category_id"]
    assert annotation["attributes"]["provenance"] == PROVENANCE[track.provenance[row, side]]
    assert annotation["score"] == pytest.approx(track.confidence[row, side].mean(), abs=1e-3)
    u, v, width, height = annotation["bbox"]
    low, high = track.uv_px[row, side].min(0), track.uv_px[row, side].max(0)
    np.testing.assert_allclose([u, v, u + width, v + height], [*low, *high], atol=1e-3)
    assert annotation["area"] == pytest.approx(width * height)
    assert annotation["iscrowd"] == 0
    mask = coco.annToMask(annotation)
    assert 0.3 < mask.sum() / annotation["area"] <= 1.1


def test_coco_annotations_load_as_results(tmp_path):
    path = export(absent_in_the_middle(), "coco", tmp_path / "t.json")
    truth = COCO(str(path))
    results = tmp_path / "results.json"
    results.write_text(json.dumps(read_strict(path)["annotations"]))
    found = truth.loadRes(str(results))
    assert len(found.anns) == len(truth.anns)
    for key, annotation in truth.anns.items():
        assert found.anns[key]["area"] == pytest.approx(annotation["area"])


def test_coco_bridged_hands_are_said_to_be(tmp_path):
    found = read_strict(export(absent_in_the_middle(), "coco", tmp_path / "t.json"))
    bridged = [a for a in found["annotations"] if a["attributes"]["provenance"] == "bridged"]
    assert [a["image_id"] for a in bridged] == [9, 10]
    assert {a["category_id"] for a in bridged} == {1}


def test_coco_hull_of_joints_in_one_line_is_their_box(tmp_path):
    track = make_track(1)
    track.uv_px[0, 0] = (50, 60)
    track.uv_px[0, 0, :, 0] += np.arange(21)
    path = export(track, "coco", tmp_path / "t.json")
    annotation = read_strict(path)["annotations"][0]
    assert annotation["segmentation"] == [[50, 60, 70, 60, 70, 60, 50, 60]]
    COCO(str(path)).annToMask(annotation)


def test_a_lost_first_frame_keeps_its_place_everywhere(tmp_path):
    track = first_frame_missing()
    frames = read_strict(export(track, "json", tmp_path / "a.json"))["frames"]
    assert frames[0]["hands"] == {"right": None, "left": None}
    coco = read_strict(export(track, "coco", tmp_path / "b.json"))
    assert coco["images"][0]["frame_index"] == 0
    assert min(a["image_id"] for a in coco["annotations"]) == 2


def test_times_before_zero_and_uneven_steps_survive(tmp_path):
    coco = read_strict(export(variable_rate(), "coco", tmp_path / "t.json"))
    times = [i["timestamp_s"] for i in coco["images"]]
    assert times == [-0.04, 0.0, 0.033, 0.066, 0.18, 0.213, 0.246, 0.247, 0.4]
