"""``validate table``: all systems over a small benchmark; what each is shown; what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import Made, make_clip
from rival_hands import CPU, seeded
from safetensors.torch import save_file
from set_folders import write_freihand
from typer.testing import CliRunner
from validate_truths import make_scene, make_shot

from hdrvideo.build_rivals import (
    RIVALS,
    build_mask_rival,
    build_paint_rival,
    build_pair_rival,
    own_cost,
    rival_cost,
)
from hdrvideo.checkpoint import weights_path
from hdrvideo.cli import app
from hdrvideo.comparing import compare, in_camera, read_set, views
from hdrvideo.contenders import HasmMasks, NoPaint, ReadPair, TeleaPaint, hull_of
from hdrvideo.errors import DataError, SettingsError, WeightsError, WriteError
from hdrvideo.frame.hdrm import find_regions
from hdrvideo.geometry import apply_affine, invert_affine
from hdrvideo.handmodel import HandModel
from hdrvideo.lineup import weights_file
from hdrvideo.rivals import internet, minimal_hand
from hdrvideo.rivals.human_deocclusion import HumanDeocclusion
from hdrvideo.rivals.pcnet_mask import PcnetMaskNet
from hdrvideo.validate.benchmark import load_benchmark
from hdrvideo.validate.comparison import MASKS, OURS, PAINTING, POSE, RIVAL
from hdrvideo.validate.masks import mask_iou
from hdrvideo.validate.truth import save_truth

N_FRAMES = 2


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two clips of two hands of which the right one hides part of the left one."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "clips").mkdir()
    model = HandModel()
    scene = make_scene(model, N_FRAMES, height=240, width=320)
    near = np.array([[-25, 80, 500], [25, 80, 540]], np.float32)
    k_px = np.array([[300, 0, 159.5], [0, 300, 119.5], [0, 0, 1]], np.float32)
    scene = replace(scene, wrist_mm=np.tile(near, (N_FRAMES, 1, 1)), k_px=np.tile(k_px, (2, 1, 1)))
    shot = make_shot(scene, model)
    pictures = (shot.rgb.numpy().transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    clips = []
    for name, relation in (("crossing_00", "crossing"), ("apart_00", "apart")):
        save_truth(folder / "truth" / name, [shot], replace(scene, relation=relation))
        made = Made(n_frames=N_FRAMES, width=320, height=240)
        make_clip(folder / "clips" / f"{name}.mp4", made, pictures)
        entry = {"name": name, "relation": relation, "camera": "egocentric"}
        entry |= {"n_frames": N_FRAMES, "clip": f"clips/{name}.mp4", "folder": f"truth/{name}"}
        clips.append(entry)
    manifest = {"name": "tiny", "version": "0", "clips": clips}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of some rivals, one with what its run says of it."""
    folder = tmp_path_factory.mktemp("weights")
    nets = {
        "internet": internet.small,
        "minimal_hand": minimal_hand.small,
        "pcnet_mask": PcnetMaskNet,
        "human_deocclusion": HumanDeocclusion,
    }
    paths = {}
    for name, make in nets.items():
        paths[name] = folder / name / "best.safetensors"
        paths[name].parent.mkdir()
        values = {k: v.contiguous() for k, v in seeded(make).state_dict().items()}
        save_file(values, paths[name], {"step": "600"})
    told = {"task": {"made_as": {"size": "small", "start": "none"}, "batch": 16}}
    told |= {"loop": {"steps": 600}}
    (folder / "pcnet_mask" / "settings.json").write_text(json.dumps(told))
    return paths


@pytest.fixture(scope="module")
def made(bench, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    ours = {name: weights_path(name) for name in ("hasm", "hdrm")}
    return compare(bench, out, rivals=weights, ours=ours, every=2, device="cpu"), out


@pytest.fixture(scope="module")
def view(bench):
    return next(views(load_benchmark(bench).clips[0], 1))


# What is shown.


def test_every_frame_asked_for_is_given_with_its_truth(bench):
    entry = load_benchmark(bench).clips[0]
    assert [v.frame for v in views(entry, 1)] == [0, 1]
    assert [v.frame for v in views(entry, 2)] == [0]


def test_masks_and_bare_hands_lie_in_the_crop_as_the_hand_does(view):
    for side in range(2):
        square, size = view.square(side), 224
        masks = view.crop_masks(side, size)
        places = apply_affine(
            invert_affine(square.frame_from_crop(size)), view.truth.uv_px[view.frame, side]
        )
        u, v = np.clip(np.rint(places).astype(int), 0, size - 1).T
        # The whole is the joints' hull, so every joint lies in it or on its rim.
        grown = np.pad(masks[1] >= 0.5, 3)
        near = [grown[b : b + 7, a : a + 7].any() for a, b in zip(u, v, strict=True)]
        assert all(near)
        assert (masks[0] <= masks[1]).all()
        bare, known = view.bare(side, size)
        assert bare.shape == (3, size, size)
        assert known[masks[1] >= 0.5].all()
    crops = view.crops(1, 224, masked=True)
    assert crops.mirrored.tolist() == [True]
    assert bool(find_regions(crops.masks).needed.all())


def test_the_hull_holds_what_is_seen_and_nothing_of_nothing():
    seen = np.zeros((20, 20), bool)
    seen[2:5, 2:5] = seen[12:15, 12:15] = True
    hull = hull_of(seen)
    assert (hull & seen).sum() == seen.sum()
    assert hull[9, 9]
    assert not hull[3, 12]
    assert not hull_of(np.zeros((20, 20), bool)).any()


def test_what_was_told_to_be_seen_stays_seen(view):
    class Says:
        resolution_px = 64

        def __call__(self, pictures):
            ones = torch.ones(1, 2, 64, 64)

            class Pair:
                class masks:
                    amodal, visible, presence = 0.9 * ones, 0.2 * ones, torch.ones(1, 2)

                class joints:
                    uv_px, xyz_mm = torch.zeros(1, 2, 21, 2), torch.zeros(1, 2, 21, 3)
                    confidence = torch.ones(1, 2, 21)

            self.hints = pictures[:, 3:]
            return Pair

    net, seconds = Says(), []
    visible, amodal = HasmMasks(net, told=True).complete(view, seconds)
    assert (visible == view.visible).all()
    assert (amodal & visible == visible).all()
    assert amodal.sum() > visible.sum()
    assert len(seconds) == 1
    # Hints: what is seen of both hands, and that something is known.
    assert net.hints[0, 2].min() == 1
    assert 0 < net.hints[0, 0].mean() < 1
    alone = HasmMasks(net, told=False)
    visible, _ = alone.complete(view, [])
    assert not visible.any()
    assert net.hints.max() == 0
    assert alone.seen(view) is visible


def test_painting_without_a_net(view):
    crops = view.crops(1, 224, masked=True)
    seconds: list[float] = []
    np.testing.assert_array_equal(NoPaint().paint(crops, seconds), crops.rgb[0].numpy())
    assert seconds == []
    painted = TeleaPaint().paint(crops, seconds)
    assert len(seconds) == 1
    off = np.abs(painted - crops.rgb[0].numpy()).max(axis=0)
    regions = find_regions(crops.masks)
    hole = (regions.uncover + regions.remove)[0, 0].numpy() > 0
    grown = cv2_grown(hole, 6)
    assert off[~grown].max() < 1 / 255
    assert off[hole].max() > 1 / 255


def cv2_grown(mask: np.ndarray, by: int) -> np.ndarray:
    grown = np.zeros_like(mask)
    for v, u in np.argwhere(mask):
        grown[max(v - by, 0) : v + by + 1, max(u - by, 0) : u + by + 1] = True
    return grown


def test_the_true_pair_goes_into_the_camera_as_it_is_but_for_its_size(view):
    truth, row = view.truth, view.frame
    uv, xyz = truth.uv_px[row].astype(float), truth.xyz_cam_mm[row].astype(float)
    read = ReadPair(uv, xyz, np.ones((2, 21)))
    lifted = in_camera(read, truth.k_px[row])
    assert np.isfinite(lifted).all()
    way_mm = float(xyz[1, 0, 2] - xyz[0, 0, 2])
    told = in_camera(replace(read, way_mm=way_mm), truth.k_px[row])
    assert told[1, 0, 2] - told[0, 0, 2] == pytest.approx(way_mm)
    np.testing.assert_allclose(told[0], lifted[0])
    one = replace(read, uv_px=np.where(np.arange(2)[:, None, None] == 0, uv, np.nan), way_mm=9.0)
    assert np.isfinite(in_camera(one, truth.k_px[row])[0]).all()


# All together.


def test_everyone_is_in_the_table_and_those_with_weights_are_scored(made):
    comparison, out = made
    assert comparison.n_frames == 2
    names = {(s.entrant.stage, s.entrant.name): s for s in comparison.standings}
    for rival, stages in RIVALS.items():
        assert len([k for k in names if k[0] in stages]) >= 1, rival
    ours = names[POSE, "hdrvideo: SHPE and landmark"]
    assert ours.entrant.weights == "shipped"
    assert ours.cells["all"]["mpjpe_wrist_20j_mm"].n_samples == 4
    assert ours.ms > 0
    gone = names[POSE, "HandOccNet"]
    assert (gone.entrant.weights, gone.cells) == ("not given", {})
    assert gone.entrant.parameters == rival_cost("handoccnet", POSE).parameters
    pcnet = names[MASKS, "PCNet-M"]
    assert pcnet.entrant.trained_on == "9600 pictures (600 steps of 16)"
    assert pcnet.entrant.weights == "pcnet_mask/best.safetensors"
    assert names[MASKS, "Human De-occlusion"].entrant.trained_on == "600 steps"
    told = "HASM, told what is seen"
    assert set(pcnet.lead) == {told, f"{told}, given weights"}
    alone = "HASM, picture alone"
    assert set(names[MASKS, "PCNet-M after HASM"].lead) == {f"{alone}, given weights"}
    assert alone in names[MASKS, f"{alone}, given weights"].lead
    as_seen = names[MASKS, "what is seen, as it is"]
    assert as_seen.cells["all"]["mask_iou_hidden_5pct"].value == 0
    assert names[PAINTING, "HDRM"].cells["all"]["bare_hole_l1"].n_samples >= 1
    assert names[PAINTING, "Human De-occlusion"].lead["HDRM"]["all"]["bare_hole_l1"].n_clips == 2
    for name in ("table.md", "table.json", "table.png"):
        assert (out / name).is_file()
    kinds = [s.entrant.kind for s in comparison.of(POSE)]
    assert kinds.index(RIVAL) > kinds.index(OURS)


def test_other_weights_of_ours_stand_beside_the_shipped_ones(made):
    comparison, _ = made
    given = [s for s in comparison.standings if s.entrant.weights.startswith("weights/")]
    assert [s.entrant.name for s in given] == [
        *("HASM's joints, given weights", "HASM, told what is seen, given weights"),
        *("HASM, picture alone, given weights", "HDRM, given weights"),
    ]
    # They are the shipped ones, so nothing tells them apart.
    painted = given[-1].lead["HDRM"]["all"]["bare_hole_l1"]
    assert (painted.value, painted.low, painted.high) == (0, 0, 0)


def test_a_set_is_read_by_our_nets_and_by_rivals(tmp_path, weights):
    write_freihand(tmp_path / "set")
    where = (tmp_path / "set", tmp_path / "out")
    rivals = {"internet": weights["internet"], "pcnet_mask": weights["pcnet_mask"]}
    rows, named = read_set("freihand", *where, rivals, {}, limit=1, device="cpu", overwrite=False)
    systems = {
        *("hdrvideo: SHPE and landmark", "SHPE alone", "landmark net alone (MediaPipe's)"),
        "internet",
    }
    assert {row.system for row in rows} == {row.system for row in named} == systems
    methods = {row.row.method for row in named if row.system == "internet"}
    assert methods == {"internet, small"}
    assert {row.row.method for row in named} == methods | (systems - {"internet"})
    assert all(row.data_set == "freihand" for row in rows)
    assert (tmp_path / "out" / "sets" / "freihand" / "0" / "scores.md").is_file()


def test_what_rivals_complete_and_paint_fits_their_places(weights, view):
    told = torch.from_numpy(view.visible.astype(np.float32))[None]
    human = build_mask_rival("human_deocclusion", weights["human_deocclusion"], device=CPU)
    assert human(view.rgb, told).amodal.shape == (1, 2, 240, 320)
    pcnet = build_mask_rival("pcnet_mask", weights["pcnet_mask"], device=CPU)
    whole = pcnet(told).masks.amodal[0].numpy() >= 0.5
    assert (mask_iou(whole & view.visible, view.visible) > 0.99).all()
    painter = build_paint_rival("human_deocclusion", weights["human_deocclusion"], device=CPU)
    crops = view.crops(1, 224, masked=True)
    assert painter(crops.rgb, crops.masks).rgb.shape == crops.rgb.shape
    assert build_pair_rival(weights["internet"], device=CPU).resolution_px == 128


@pytest.mark.parametrize("name", RIVALS)
def test_paper_sizes_cost_more(name):
    for stage in RIVALS[name]:
        small, paper = (rival_cost(name, stage, size) for size in ("small", "paper"))
        assert 0 < small.parameters < paper.parameters
        assert 0 < small.multiply_adds < paper.multiply_adds
    assert own_cost("shpe").parameters > own_cost("landmark").parameters


# What is refused.


def test_unknown_names_are_refused(bench, weights, tmp_path):
    with pytest.raises(SettingsError, match="--rival is 'deformer', expected one of internet"):
        compare(bench, tmp_path, rivals={"deformer": tmp_path / "x"}, device="cpu")
    with pytest.raises(SettingsError, match="--ours is 'palm', expected one of shpe, hasm, hdrm"):
        compare(bench, tmp_path, ours={"palm": tmp_path / "x"}, device="cpu")
    with pytest.raises(SettingsError, match="data set is 'mnist', expected one of"):
        compare(bench, tmp_path, sets={"mnist": tmp_path}, device="cpu")
    with pytest.raises(SettingsError, match="--every"):
        compare(bench, tmp_path, every=0, device="cpu")
    with pytest.raises(SettingsError, match="rival is 'internet' of size 'small', expected pcnet"):
        build_mask_rival("internet", weights["internet"], device=CPU)
    with pytest.raises(SettingsError, match="of size 'huge', expected internet"):
        build_pair_rival(weights["internet"], size="huge", device=CPU)
    with pytest.raises(SettingsError, match="expected pcnet_content, human_deocclusion of size"):
        build_paint_rival("pcnet_mask", weights["pcnet_mask"], device=CPU)
    with pytest.raises(SettingsError, match="net is 'palm', expected landmark, shpe, hasm or hdrm"):
        own_cost("palm")


def test_wrong_weights_are_refused(bench, weights, tmp_path):
    with pytest.raises(WeightsError, match="gone"):
        compare(bench, tmp_path, rivals={"internet": tmp_path / "gone"}, device="cpu")
    with pytest.raises(WeightsError, match="do not fit"):
        compare(bench, tmp_path, rivals={"internet": weights["pcnet_mask"]}, device="cpu")


def test_what_weights_say_of_themselves(weights, tmp_path):
    assert weights_file(weights["internet"]).size == "small"
    path = tmp_path / "best.safetensors"
    path.write_bytes(weights["internet"].read_bytes())
    told = {"task": {"made_as": {"size": "paper", "trunk": "a/lite0.safetensors"}, "batch": 8}}
    told |= {"loop": {"steps": 700}}
    (tmp_path / "settings.json").write_text(json.dumps(told))
    said = weights_file(path)
    assert said.trained_on == ("5600 pictures (700 steps of 8), best at step 600, begun with lite0")
    assert (said.size, said.label) == ("paper", f"{tmp_path.name}/best.safetensors")
    (tmp_path / "settings.json").write_text("[]")
    assert weights_file(path).trained_on == "600 steps"


def test_what_a_set_lacks_is_told_before_the_benchmark_is_looked_at(bench, tmp_path):
    def run(**more):
        compare(bench, tmp_path / "out", device="cpu", on_progress=looked.append, **more)

    looked = []
    with pytest.raises(DataError, match="nowhere"):
        run(sets={"freihand": tmp_path / "nowhere"})
    with pytest.raises(SettingsError, match="--limit is 0, expected a whole number"):
        run(limit=0)
    write_freihand(tmp_path / "set")
    (tmp_path / "out" / "sets" / "freihand").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"sets/freihand exists already; give --overwrite"):
        run(sets={"freihand": tmp_path / "set"})
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file cannot be written"):
        compare(bench, tmp_path / "file", device="cpu")
    assert looked == []


def test_files_that_are_there_stay(made, bench):
    _, out = made
    before = (out / "table.md").read_text()
    with pytest.raises(WriteError, match=r"table\.md exists already; give --overwrite"):
        compare(bench, out, device="cpu")
    assert (out / "table.md").read_text() == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--rival", "internet"], "--rival is 'internet', expected NAME=PATH"),
        (["--ours", "=x"], "--ours is '=x', expected NAME=PATH"),
        (["--set", "hic=a", "--set", "hic=b"], "--set names hic twice; name it once"),
    ],
)
def test_wrong_words_on_the_command_line(bench, tmp_path, words, text):
    done = CliRunner().invoke(
        app, ["validate", "table", str(bench), "-o", str(tmp_path / "out"), *words]
    )
    assert done.exit_code != 0
    assert text in str(done.exception) + done.output


def test_numbers_of_the_table_are_finite_or_missing(made):
    comparison, out = made
    told = json.loads((out / "table.json").read_text())
    assert told["n_frames"] == comparison.n_frames
    for standing in comparison.standings:
        for cells in standing.cells.values():
            for cell in cells.values():
                assert math.isnan(cell.value) == (cell.n_samples == 0)
