"""Lessons of rivals that read joints: losses, what is taught and checked, runs of the command."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_shards import write_crops, write_hand_free
from pose_hands import some_truth, write_hands
from pose_rivals import TINY, R, posed_shot, write_posed
from safetensors.torch import load_file, save_file
from train_runs import read_table, run_train, write_settings

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import DataError, SettingsError, WeightsError
from hdrvideo.frame.detmaps import bone_directions, cells_from_px, unit_places
from hdrvideo.frame.efficientnet import EfficientTrunk
from hdrvideo.geometry import CropSquare
from hdrvideo.handmodel import HandModel, axis_angle_to_matrix, matrix_to_sixd
from hdrvideo.rivals.handoccnet import HandOccAnswer
from hdrvideo.rivals.internet import InterMaps, cells_from_mm, draw_heat
from hdrvideo.train.hasm_recipe import HasmData, stack_examples
from hdrvideo.train.loop import LoopSettings
from hdrvideo.train.pose_crops import CropSettings, MadeHands, take_example
from hdrvideo.train.pose_losses import pose_loss
from hdrvideo.train.rival_pose_losses import (
    HandOccWeights,
    InterWeights,
    MinimalWeights,
    handocc_loss,
    inter_loss,
    minimal_loss,
)
from hdrvideo.train.rival_poses import (
    HandOccRecipe,
    HandOccTask,
    InterRecipe,
    InterTask,
    MinimalRecipe,
    MinimalTask,
    make_pose_rival,
)
from hdrvideo.train.shpe_data import ShpeData
from hdrvideo.train.shpe_recipe import maps_of
from hdrvideo.train.views import ViewSettings
from hdrvideo.training import LESSONS, train_net

CONFIGS = Path(__file__).parent.parent / "configs"
BINS = 16
every_net = pytest.mark.parametrize("name", TINY)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[str, ...]]:
    return write_posed(tmp_path_factory.mktemp("posed"))


def make_task(name: str, folders: dict, batch: int = 2):
    torch.manual_seed(0)
    net = TINY[name]()
    if name == "internet":
        data = HasmData(
            **folders, made_share=1, pasted_share=0, empty_share=0, distract_share=0, n_check=6
        )
        views = ViewSettings(R, pair_share=1.0, pair_scale=(1.4, 1.6), hint_share=0.0)
        return InterTask(net, InterRecipe(data, views, batch=batch), made_as={"size": "tiny"})
    crops = {"data": ShpeData(**folders, n_check=3), "crops": CropSettings(R), "batch": batch}
    if name == "handoccnet":
        return HandOccTask(net, HandOccRecipe(**crops), made_as={"size": "tiny"})
    return MinimalTask(net, MinimalRecipe(**crops), made_as={"size": "tiny"})


@pytest.fixture(scope="module")
def tasks(folders):
    return {name: make_task(name, folders) for name in TINY}


# InterNet's loss.


def pair_truth(seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    xyz = torch.randn(2, 2, 21, 3, generator=draw)
    xyz -= xyz[:, :, :1].clone()
    return {
        "uv_px": 8 + 48 * torch.rand(2, 2, 21, 2, generator=draw),
        "joint_weight": torch.ones(2, 2, 21),
        "xyz": xyz.clamp(-1.9, 1.9),
        "bone_mm": torch.tensor([[90.0, 90.0], [80.0, 100.0]]),
        "way": torch.tensor([0.5, -0.9]),
        "way_weight": torch.ones(2),
        "present": torch.ones(2, 2),
        "present_weight": torch.ones(2, 2),
    }


def maps_of_truth(truth: dict[str, torch.Tensor]) -> InterMaps:
    deep = cells_from_mm(truth["xyz"][..., 2] * truth["bone_mm"][..., None], BINS)
    cells = torch.cat([cells_from_px(truth["uv_px"], 4.0), deep[..., None]], dim=-1)
    way = cells_from_mm(truth["way"] * truth["bone_mm"].mean(dim=1), BINS)
    # Two cells whose mean is the way's.
    places = torch.arange(BINS)
    logit = (1 - (places - way[:, None]).abs()).clamp(min=1e-30).log()
    heat = draw_heat(cells.flatten(1, 2), BINS, R // 4, R // 4)
    return InterMaps(heat, logit, 40 * (2 * truth["present"] - 1))


def test_internets_loss_is_nothing_at_the_truth():
    truth = pair_truth()
    losses = inter_loss(maps_of_truth(truth), truth, InterWeights(), R)
    assert losses["heat"] < 1e-6
    assert losses["way"] < 1e-4
    assert losses["handed"] < 1e-6
    assert losses["sum"] == pytest.approx(float(losses["heat"] + losses["way"]), abs=1e-6)


def test_internets_loss_without_heat_is_that_of_its_bells():
    truth = pair_truth(1)
    right = maps_of_truth(truth)
    cold = InterMaps(torch.zeros_like(right.heat), torch.zeros(2, BINS), torch.zeros(2, 2))
    losses = inter_loss(cold, truth, InterWeights(heat=2.0), R)
    assert losses["heat"] == pytest.approx(float(right.heat.square().mean()), rel=1e-4)
    # An even softmax is in the middle of the axis: half a cell before no way at all.
    way = cells_from_mm(truth["way"] * torch.tensor([90.0, 90.0]), BINS)
    assert losses["way"] == pytest.approx(float((way - 7.5).abs().mean()), rel=1e-4)
    # Each bit by itself: log 2, also where both are there.
    assert losses["handed"] == pytest.approx(math.log(2))
    total = 2 * losses["heat"] + losses["way"] + losses["handed"]
    assert losses["sum"] == pytest.approx(float(total))


def test_absent_hands_and_joints_beyond_the_axis_ask_for_no_heat():
    truth = pair_truth(2)
    maps = maps_of_truth(truth)
    wrong = InterMaps(maps.heat.flip(1), maps.way_logit, maps.handed_logit)
    whole = inter_loss(wrong, truth, InterWeights(), R)["heat"]
    # Counted over all joints, so a hand that is away halves it.
    lone = {**truth, "joint_weight": truth["joint_weight"] * torch.tensor([1.0, 0])[:, None]}
    assert 0.3 * whole < inter_loss(wrong, lone, InterWeights(), R)["heat"] < 0.7 * whole
    for change in (
        {"joint_weight": torch.zeros(2, 2, 21)},
        {"bone_mm": torch.zeros(2, 2)},
        {"xyz": truth["xyz"] * 0 + 2.6},
    ):
        assert inter_loss(wrong, {**truth, **change}, InterWeights(), R)["heat"] == 0
    for change in ({"way_weight": torch.zeros(2)}, {"way": torch.tensor([2.5, -2.6])}):
        assert inter_loss(wrong, {**truth, **change}, InterWeights(), R)["way"] == 0
    unclear = {**truth, "present": torch.zeros(2, 2), "present_weight": torch.zeros(2, 2)}
    assert inter_loss(wrong, unclear, InterWeights(), R)["handed"] == 0


def test_internets_loss_without_any_truth_has_a_finite_slope():
    truth = {name: torch.zeros_like(value) for name, value in pair_truth().items()}
    parts = [torch.zeros(2, 42, BINS, 4, 4), torch.zeros(2, BINS), torch.zeros(2, 2)]
    parts = [part.requires_grad_() for part in parts]
    loss = inter_loss(InterMaps(*parts), truth, InterWeights(), R)["sum"]
    assert loss == 0
    loss.backward()
    assert all(part.grad.isfinite().all() for part in parts)


# HandOccNet's loss.


def posed_truth(b: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    hand = HandModel()
    pose = 0.3 * torch.randn(b, 16, 3, generator=draw)
    shape = torch.randn(b, 12, generator=draw)
    turns = axis_angle_to_matrix(pose)
    xyz_mm = hand.joints(turns, shape)
    return {
        **some_truth(b, seed),
        "turns": turns,
        "shape": shape,
        "xyz": unit_places(xyz_mm),
        "bone_mm": xyz_mm[:, 9].norm(dim=-1),
    }


def answer_to(truth: dict[str, torch.Tensor], **more: torch.Tensor) -> HandOccAnswer:
    b, cells = len(truth["shape"]), cells_from_px(truth["uv_px"], 8.0)
    v, u = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    heat = torch.zeros(b, 21, 8, 8)
    for j in range(21):
        # Weights of the four cells round the joint, whose mean it is.
        along_u = (1 - (u - cells[:, j, 0, None, None]).abs()).clamp(min=1e-20)
        along_v = (1 - (v - cells[:, j, 1, None, None]).abs()).clamp(min=1e-20)
        heat[:, j] = (along_u * along_v).log()
    usual = {"heat_logit": heat, "turns_6d": matrix_to_sixd(truth["turns"])}
    return HandOccAnswer(**{**usual, "shape": truth["shape"], **more})


def handocc(answer, truth, weights=None):
    return handocc_loss(answer, truth, HandModel(), weights or HandOccWeights(), R)


def test_handoccnets_loss_is_nothing_at_the_truth():
    truth = posed_truth()
    truth["uv_px"] = truth["uv_px"].clamp(4, 59)
    for name, value in handocc(answer_to(truth), truth).items():
        assert value < 1e-4, name


def test_handoccnets_loss_is_in_metres_and_sides_of_the_crop():
    truth = posed_truth(1)
    truth["uv_px"] = 4 + 0 * truth["uv_px"]
    moved = {**truth, "uv_px": truth["uv_px"] + 6.4}
    losses = handocc(answer_to(moved), truth)
    # A tenth of the crop each way.
    assert losses["joints_2d"] == pytest.approx(0.01, rel=1e-3)
    # A half turn about z of the whole hand: (2x, 2y) in metres, mean over axes.
    half = truth["turns"].clone()
    half[:, 0] = torch.diag(torch.tensor([-1.0, -1.0, 1.0])) @ half[:, 0]
    losses = handocc(answer_to(truth, turns_6d=matrix_to_sixd(half)), truth)
    xyz_m = truth["xyz"] * truth["bone_mm"] / 1000
    wanted = (2 * xyz_m[..., :2]).square().sum() / xyz_m.numel()
    assert losses["joints_3d"] == pytest.approx(float(wanted), rel=1e-3)
    vertices_m = HandModel()(truth["turns"], truth["shape"]).vertices_mm / 1000
    wanted = (2 * vertices_m[..., :2]).square().sum() / vertices_m.numel()
    assert losses["vertices"] == pytest.approx(float(wanted), rel=1e-3)
    wanted = (half - truth["turns"]).square().mean()
    assert losses["pose"] == pytest.approx(float(wanted), rel=1e-3)
    losses = handocc(answer_to(truth, shape=truth["shape"] + 2), truth, HandOccWeights(shape=0.5))
    assert losses["shape"] == pytest.approx(4)
    parts = {name: getattr(HandOccWeights(shape=0.5), name) for name in losses if name != "sum"}
    total = sum(weight * float(losses[name]) for name, weight in parts.items())
    assert losses["sum"] == pytest.approx(total, rel=1e-5)


def test_hands_known_in_the_picture_alone_teach_joints_there():
    truth = {**posed_truth(2, 3), "in_space": torch.zeros(2)}
    answer = answer_to(posed_truth(2, 4))
    losses = handocc(answer, truth)
    assert losses["joints_2d"] > 0
    assert losses["sum"] == pytest.approx(100 * float(losses["joints_2d"]), rel=1e-5)


def test_handoccnets_loss_has_a_finite_slope_at_nothing():
    truth = posed_truth(2)
    parts = [torch.zeros(2, 21, 8, 8), torch.zeros(2, 16, 6), torch.zeros(2, 12)]
    parts = [part.requires_grad_() for part in parts]
    handocc(HandOccAnswer(*parts), truth)["sum"].backward()
    assert all(part.grad.isfinite().all() for part in parts)


# minimal-hand's loss.


def test_minimal_hands_loss_is_detnets_and_the_posed_hands():
    truth = posed_truth(2, 5)
    net = TINY["minimal_hand"]()
    with torch.no_grad():
        maps = maps_of(net(torch.rand(2, 3, R, R))[:6])
    right_mm = 1.3 * (truth["xyz"] * truth["bone_mm"][:, None, None] + 20)
    weights = MinimalWeights(location=2.0)
    losses = minimal_loss(maps, right_mm, truth, weights, R)
    for name, value in pose_loss(maps, truth, weights, R).items():
        assert losses[name] == pytest.approx(float(value), abs=1e-4), name
    assert losses["posed"] < 1e-5
    wrong_mm = right_mm + torch.tensor([0.0, 0.0, 13.0]) * (torch.arange(21) > 9)[:, None]
    losses = minimal_loss(maps, wrong_mm, truth, weights, R)
    # Eleven of 21 joints 10 mm off along one axis of three.
    assert losses["posed"] == pytest.approx(0.1 * 11 / 63, rel=0.1)
    none = minimal_loss(maps, wrong_mm, {**truth, "in_space": torch.zeros(2)}, weights, R)
    assert none["posed"] == 0
    assert bone_directions(truth["xyz"]).isfinite().all()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: InterWeights(heat=-1), "InterWeights.heat is -1"),
        (lambda: HandOccWeights(pose="much"), "HandOccWeights.pose is 'much'"),
        (lambda: MinimalWeights(posed=-2), "MinimalWeights.posed is -2"),
        (lambda: MinimalWeights(heat=-3), "PoseWeights.heat is -3"),
    ],
)
def test_weights_are_checked(make, text):
    with pytest.raises(SettingsError, match=text):
        make()


# Poses of crops.


@pytest.mark.parametrize("side", [0, 1])
def test_a_crops_pose_is_that_of_the_hand_it_shows(folders, side):
    hands = MadeHands([Path(f) for f in folders["made"]], "train", with_pose=True)
    hand = HandModel()
    for i in range(len(hands)):
        picture = hands.get(i, bare=True)
        if picture.side != side:
            continue
        for mirror in (False, True):
            example = take_example(picture, CropSquare(50, 40, 60, 0.8, mirror), R)
            turns = torch.from_numpy(example.pose.turns)[None]
            shape = torch.from_numpy(example.pose.shape)[None]
            assert np.linalg.det(example.pose.turns) == pytest.approx(np.ones(16), abs=1e-4)
            joints = hand.joints(turns, shape, side=side ^ int(mirror))[0]
            assert np.abs(joints.numpy() - example.xyz_mm).max() < 0.01
        return
    raise AssertionError


# The tasks.


@every_net
def test_batches_repeat(tasks, name):
    first, again = (tasks[name].batch(5, 0, 1) for _ in range(2))
    assert set(first) == set(again)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert len(first["rgb"]) == 2
    assert ("turns" in first) == (name == "handoccnet")


@every_net
def test_every_part_learns(tasks, name):
    task = tasks[name]
    batch = task.batch(0, 0, 1)
    task.net.zero_grad()
    losses = task.losses(task.net, batch)
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    losses["sum"].backward()
    for part, value in task.net.named_parameters():
        assert value.grad is not None, part
        assert value.grad.isfinite().all(), part
        # What is added to all keys alike changes no attention.
        if not part.endswith(".key.bias"):
            assert value.grad.abs().sum() > 0, part


@every_net
def test_thirty_steps_fit_a_batch(folders, name):
    task = make_task(name, folders)
    if name == "minimal_hand":
        load_weights(task.net.ik, weights_path("ik"))
    batch = task.batch(0, 0, 1)
    optimizer = torch.optim.AdamW(task.net.parameters(), 3e-3)
    lost = []
    for _ in range(30):
        losses = task.losses(task.net, batch)
        optimizer.zero_grad()
        losses["sum"].backward()
        torch.nn.utils.clip_grad_norm_(task.net.parameters(), 1.0)
        optimizer.step()
        lost.append({part: float(value.detach()) for part, value in losses.items()})
    better = {
        "internet": ("heat", "way"),
        "handoccnet": ("vertices", "joints_3d", "pose", "joints_2d"),
        "minimal_hand": ("delta", "location", "joints_2d", "posed"),
    }
    for part in (*better[name], "sum"):
        assert lost[-1][part] < 0.8 * lost[0][part], (part, lost[0][part], lost[-1][part])


@every_net
def test_losses_in_half_precision_are_close(tasks, name):
    task = tasks[name]
    batch = task.batch(1, 0, 1)
    with torch.no_grad():
        exact = task.losses(task.net, batch)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = task.losses(task.net, batch)
    for part in ("sum", *{"heat", "joints_3d", "posed"} & set(exact)):
        assert float(coarse[part]) == pytest.approx(float(exact[part]), rel=0.1), part


@every_net
def test_checks_score_both_readings(tasks, name):
    task = tasks[name]
    said = task.check(task.net.eval())
    assert said == task.check(task.net)
    assert 0 <= said[task.better] <= 1
    if name == "internet":
        for score in ("epe", "pck", "mpjpe", "pa_mpjpe", "pck3d"):
            assert math.isfinite(said[score])
            assert math.isfinite(said[f"{score}_argmax"])
        parts = [said["handed"], said["pck"], said["pck3d"]]
        assert said["score"] == pytest.approx(sum(parts) / 3)
    else:
        assert math.isfinite(said["mpjpe_pair"])
        assert math.isfinite(said["pck_pair_argmax"])
        assert math.isfinite(said["pck_pair_landmark"])
    sheet = task.sheet(task.net)
    assert sheet.dtype == np.uint8
    assert json.loads(json.dumps(task.describe()))["made_as"] == {"size": "tiny"}


def test_handedness_counts_pictures_in_which_both_bits_are_right(tasks):
    task = tasks["internet"]
    truth = stack_examples(task._checks[0])

    class Says(torch.nn.Module):
        def __init__(self, wrong):
            super().__init__()
            self.wrong = torch.nn.Parameter(wrong)
            self.left = truth["present"]

        def forward(self, rgb):
            b = len(rgb)
            present, self.left = self.left[:b], self.left[b:]
            logit = (2 * present - 1) * self.wrong
            return torch.zeros(b, 42, BINS, 4, 4), torch.zeros(b, BINS), logit

    said = task.check(Says(torch.tensor([1.0, 1.0])))
    assert said["handed"] == 1
    # One wrong bit of two makes the picture wrong: accuracy, whatever it is called.
    assert task.check(Says(torch.tensor([1.0, -1.0])))["handed"] == 0


def test_crops_of_another_size_are_refused(folders):
    recipe = HandOccRecipe(ShpeData(**folders, n_check=1), CropSettings(96))
    with pytest.raises(SettingsError, match=r"px is 96, expected 64: the net's place tables"):
        HandOccTask(TINY["handoccnet"](), recipe)


def test_hands_of_another_model_are_refused(tmp_path):
    recipe = HandOccRecipe(ShpeData(**write_hands(tmp_path), n_check=1), CropSettings(R))
    with pytest.raises(DataError, match="made hands have 10 shape scores, expected 12; make them"):
        HandOccTask(TINY["handoccnet"](), recipe)


# Runs of the command, with the small sizes.


def settings(name: str, folder: Path) -> dict:
    loop = {"steps": 1, "warmup_steps": 0, "final_share": 1.0, "check_every": 5, "log_every": 1}
    values = {"net": {"size": "small"}, "loop": loop, "batch": 2, "seed": 3}
    data = write_posed(folder)
    if name == "internet":
        mixed = {
            "crops": str(write_crops(folder / "crops")),
            "hand_free": [str(write_hand_free(folder / "hand_free"))],
            **{"made_share": 0.5, "pasted_share": 0.25, "empty_share": 0.25, "n_check": 2},
        }
        return {**values, "views": {"resolution_px": 64}, "data": {**data, **mixed}}
    crops = {"resolution_px": 128 if name == "handoccnet" else 64}
    return {**values, "crops": crops, "data": {**data, "n_check": 1}}


@every_net
def test_a_run_can_be_resumed_and_leaves_weights_that_fit(tmp_path, name):
    values = settings(name, tmp_path)
    one = write_settings(tmp_path / "one.yaml", values)
    longer = {**values, "loop": {**values["loop"], "steps": 2}}
    two = write_settings(tmp_path / "two.yaml", longer)
    for more in (("--config", one), ("--config", two, "--resume")):
        done = run_train(name, *more, "-o", tmp_path / "run")
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[-1] == str(tmp_path / "run" / "best.safetensors")
    train_net(name, two, tmp_path / "whole", resume=False, device="cpu")
    whole, parts = (load_file(tmp_path / f / "last.safetensors") for f in ("whole", "run"))
    assert set(whole) == set(parts)
    assert all(torch.equal(value, parts[tensor]) for tensor, value in whole.items())
    start = {"size": "small", "start": str(tmp_path / "run" / "best.safetensors")}
    assert make_pose_rival(name, start) is not None
    assert [row["step"] for row in read_table(tmp_path / "run" / "checks.csv")] == ["1", "2"]
    assert (tmp_path / "run" / "sheets").is_dir()


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("internet", {"crops": {}}, "setting crops is unknown; known here: net, loop, data, view"),
        ("internet", {"hidden_weight": 3}, "setting hidden_weight is unknown"),
        ("internet", {"weights": {"masks": 1}}, "setting weights.masks is unknown"),
        ("internet", {"views": {"zoom": 1}}, "setting views.zoom is unknown"),
        ("handoccnet", {"views": {}}, "setting views is unknown"),
        ("handoccnet", {"weights": {"heat": 1}}, "setting weights.heat is unknown"),
        ("handoccnet", {"crops": {"resolution_px": 64}}, "px is 64, expected 128: the net's place"),
        ("minimal_hand", {"hdrm": None}, "setting hdrm is unknown"),
        ("minimal_hand", {"weights": {"pose": 1}}, "setting weights.pose is unknown"),
        ("minimal_hand", {"batch": 0}, "batch is 0"),
        (
            "minimal_hand",
            {"net": {"trunk": "x"}},
            "net is {'trunk': 'x'}, expected some of",
        ),
    ],
)
def test_wrong_settings_are_refused(folders, tmp_path, name, change, text):
    data = dict(folders)
    if name == "internet":
        data |= {"made_share": 1, "pasted_share": 0, "empty_share": 0}
    values = {"net": {"size": "small"}, "loop": {"steps": 1, "warmup_steps": 0}, "data": data}
    config = write_settings(tmp_path / "wrong.yaml", {**values, **change})
    with pytest.raises(SettingsError) as caught:
        train_net(name, config, tmp_path / "run", resume=False, device="cpu")
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


# The nets to be trained.


def test_rivals_are_made_as_told(tmp_path):
    trunk = EfficientTrunk()
    path = tmp_path / "trunk.safetensors"
    save_file(trunk.state_dict(), path)
    for name in ("internet", "handoccnet"):
        net = make_pose_rival(name, {"trunk": str(path)})
        for tensor, value in trunk.state_dict().items():
            assert torch.equal(net.trunk.state_dict()[tensor], value)
    net = make_pose_rival("minimal_hand", {})
    shipped = load_file(weights_path("ik"))
    assert torch.equal(net.ik.first.weight, shipped["first.weight"].float())
    save_file({"stem.weight": trunk.stem.weight.detach()}, path)
    with pytest.raises(WeightsError, match=r"are no trunk of this net.size: \S+ is not in them"):
        make_pose_rival("internet", {"trunk": str(path)})
    with pytest.raises(WeightsError, match="do not fit"):
        make_pose_rival("internet", {"start": str(path)})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ("small", "net is 'small', expected some of size, start, trunk"),
        ({"width": 3}, "net is {'width': 3}, expected some of size, start, trunk"),
        ({"size": "huge"}, r"expected size: small \| paper, start: FILE \| none, trunk: FILE"),
        ({"size": ["small"]}, r"expected size: small \| paper"),
        ({"start": 3}, r"expected size: small \| paper"),
        ({"start": "a", "trunk": "b"}, "start has a trunk of its own, give one of start and trunk"),
    ],
)
def test_rivals_that_cannot_be_made_are_refused(values, text):
    with pytest.raises(SettingsError, match=text):
        make_pose_rival("internet", values)


@pytest.mark.parametrize("size", ["small", "paper"])
@every_net
def test_the_shipped_settings_are_read(name, size):
    values = read_yaml(CONFIGS / f"{name}_{size}.yaml")
    lesson = LESSONS[name]
    assert set(values) <= {"net", "loop", *lesson.recipe.__dataclass_fields__}
    assert values["net"]["size"] == size
    loop = build_settings(LoopSettings, values["loop"], "loop.")
    assert loop.steps >= 1000
    recipe = lesson.read_recipe(values)
    net = lesson.make({"size": size})
    assert set(loop.slow) <= {part.split(".")[0] for part, _ in net.named_parameters()}
    shown = recipe.views if name == "internet" else recipe.crops
    assert shown.resolution_px == net.resolution_px
    assert recipe.data.held_out == ("data/world_test",)


def test_discs_with_posed_hands_have_the_joints_of_their_poses():
    shot, hand = posed_shot(5, 1), HandModel()
    i, side = torch.nonzero(shot.present)[3].tolist()
    joints = hand.joints(shot.pose[i, side][None], shot.shape[i, side][None], side=side)[0]
    xyz = shot.xyz_cam_mm[i, side]
    torch.testing.assert_close(joints, xyz - xyz[:1], atol=1e-2, rtol=1e-4)
