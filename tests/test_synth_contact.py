"""Props, balls, grips and arms: closed forms, balls that follow the skin, limits, fixed lengths."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from hdrvideo.errors import ShapeError, WeightsError
from hdrvideo.handmodel import (
    WRIST_LIMITS_DEG,
    HandModel,
    axis_angle_to_matrix,
    joint_angles,
    within_limits,
)
from hdrvideo.synth import props
from hdrvideo.synth.body import arm_shape, mirrored, solve_arms
from hdrvideo.synth.contact import BallHand, ball_hand, gaps_mm, part_hands
from hdrvideo.synth.grips import Grips, grips_path
from hdrvideo.synth.turns import exp_turn, log_turn, random_turns, step_between


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel()


@pytest.fixture(scope="module")
def balls(model) -> BallHand:
    return ball_hand(model)


def mesh(model, turn, fingers, wrist_mm, shape, bend=None):
    """Give the skin ``(K, 2, V, 3)`` by the hand model itself."""
    k = len(turn)
    hand = torch.tensor(turn, dtype=torch.float32).reshape(2 * k, 1, 3, 3)
    rest = axis_angle_to_matrix(torch.tensor(fingers, dtype=torch.float32).reshape(2 * k, 15, 3))
    posed = model(
        torch.cat([hand, rest], dim=1),
        torch.tensor(shape, dtype=torch.float32).expand(2 * k, -1),
        side=torch.arange(2).repeat(k),
        wrist_mm=torch.tensor(wrist_mm, dtype=torch.float32).reshape(2 * k, 3),
        wrist_bend=None
        if bend is None
        else torch.tensor(bend, dtype=torch.float32).reshape(2 * k, 3, 3),
    )
    return posed.vertices_mm.numpy().astype(np.float64).reshape(k, 2, -1, 3)


def some_hands(rng, n, n_shape):
    turn = random_turns(rng, 2 * n).reshape(n, 2, 3, 3)
    fingers = np.zeros((n, 2, 15, 3))
    fingers[..., 0] = rng.uniform(0, 0.8, (n, 2, 15))
    wrist = rng.uniform(-150, 150, (n, 2, 3))
    return turn, fingers, wrist, rng.normal(0, 0.8, n_shape)


# --- props -------------------------------------------------------------------------------------


def some_solids():
    rng = np.random.default_rng(0)
    solids = {name: props.make_object(name, rng) for name in props.OBJECTS}
    y, width = np.linspace(20, 230, 9), np.linspace(28, 40, 9)
    solids["sleeve"] = props.sleeve(y, width, width, np.zeros((9, 2)), 6.0, 3.0)
    solids |= {
        "limb": props.limb(290, 48, 40),
        "torso": props.torso(180, 480, 105),
        "head": props.head(180),
        "hair": props.hair(180),
        "band": props.band(9, 8, 3),
    }
    return solids


def test_a_prop_is_closed_and_its_triangles_look_outwards():
    edges = np.concatenate([props.PROP_FACES[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    for name, solid in some_solids().items():
        corners = solid.vertices_mm().astype(np.float64)[props.PROP_FACES]
        volume = np.einsum("fi,fi->", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]) / 6
        assert volume > 1000, name
    # Rings 0 and 12 are points: taking each as one vertex, every edge is walked once either way.
    welded = np.where(edges < 16, 0, np.where(edges >= 12 * 16, 12 * 16, edges))
    walked, back = ({tuple(e) for e in welded[:, order]} for order in ([0, 1], [1, 0]))
    assert walked == back
    assert len(walked) == len(welded)


def test_prop_texture_places_have_no_seam():
    assert props.PROP_UV.shape == (208, 2)
    assert props.PROP_UV.min() == 0
    assert props.PROP_UV.max() == 1
    around = props.PROP_UV.reshape(13, 16, 2)[..., 0]
    assert np.abs(np.diff(around, axis=1, append=around[:, :1])).max() <= 0.125


def test_distance_to_a_solid():
    rng = np.random.default_rng(1)
    points = rng.uniform(-90, 90, (500, 3))
    ball = props.ellipsoid(50, 50, 50)
    exact = np.linalg.norm(points, axis=1) - 50
    found = ball.distance_mm(points)
    assert (np.sign(found) == np.sign(exact))[np.abs(exact) > 3].all()
    can = props.block(30, 60, 30, bevel_mm=0.1)
    aside, above = np.hypot(points[:, 0], points[:, 2]) - 30, np.abs(points[:, 1]) - 60
    inside = np.maximum(aside, above)
    outside = np.hypot(np.maximum(aside, 0), np.maximum(above, 0))
    exact = np.where(inside > 0, outside, inside)
    np.testing.assert_allclose(can.distance_mm(points), exact, atol=0.5)
    for name, solid in some_solids().items():
        if name != "sleeve":  # its inside is open
            skin = solid.vertices_mm().astype(np.float64)
            assert np.abs(solid.distance_mm(skin)).max() < 0.01, name


def test_wrong_solids_are_refused():
    with pytest.raises(ShapeError, match="object 'anvil' is not known; use one of cup, "):
        props.make_object("anvil", np.random.default_rng(0))
    thirteen, flat = np.linspace(0, 1, 13), np.zeros((13, 2))
    with pytest.raises(ShapeError, match=r"first and last ring of a solid are .* expected points"):
        props.Solid(thirteen, np.ones(13), np.ones(13), 2.0, flat)


# --- balls -------------------------------------------------------------------------------------


def test_balls_fill_the_hand_and_follow_it(model, balls):
    rng = np.random.default_rng(2)
    turn, fingers, wrist, shape = some_hands(rng, 3, model.n_shape)
    skin = mesh(model, turn, fingers, wrist, shape)
    middles, _ = balls.place(turn, fingers, wrist, shape)
    radius = balls.radii_mm(shape)
    hand = (model.part != 6).numpy()
    for k in range(3):
        for side in (0, 1):
            away = np.linalg.norm(skin[k, side][:, None] - middles[k, side], axis=-1) - radius
            uncovered = away.min(axis=1)[hand]
            assert np.percentile(uncovered, 98) < 4  # the skin does not stick out of the balls
            sticks_out = -away.min(axis=0)[balls.part != 6]
            assert np.percentile(sticks_out, 95) < 5  # nor the balls out of the skin
    assert np.abs(balls.radii_mm(np.zeros(model.n_shape)) - balls.radius_mm).max() < 1e-4


def test_gap_of_balls_is_near_that_of_the_skin(model, balls):
    rng = np.random.default_rng(3)
    turn, fingers, wrist, shape = some_hands(rng, 12, model.n_shape)
    wrist[:, 1] += [180, 0, 0]
    skin = mesh(model, turn, fingers, wrist, shape)
    gap = gaps_mm(balls.place(turn, fingers, wrist, shape)[0], balls.radii_mm(shape))
    exact = np.array([cKDTree(a).query(b)[0].min() for a, b in skin])
    apart = exact > 15
    assert apart.sum() >= 3
    assert np.abs(gap - exact)[apart].max() < 9  # vertices are up to 10 mm from one another


def overlapping(balls, n_shape, n=17):
    turn = np.broadcast_to(np.eye(3), (n, 2, 3, 3))
    wrist = np.zeros((n, 2, 3))
    wrist[:, 1] = [70, 5, -10]
    wrist[:, 1, 0] += 40 * np.sin(np.linspace(0, 3, n))
    return balls.place(turn, np.zeros((n, 2, 15, 3)), wrist, np.zeros(n_shape))[0]


def test_parting_removes_overlap_smoothly(model, balls):
    middles = overlapping(balls, model.n_shape)
    assert gaps_mm(middles, balls.radius_mm).min() < -5
    shift = part_hands(middles, balls.radius_mm, least_mm=2.0)
    after = gaps_mm(middles + shift[:, :, None], balls.radius_mm)
    assert after.min() > 1.0
    assert np.abs(np.diff(shift, 2, axis=0)).max() < 15
    np.testing.assert_allclose(shift[:, 0], -shift[:, 1])


def test_parting_along_a_line_and_joining(model, balls):
    middles = overlapping(balls, model.n_shape)
    along = np.tile([0.0, 0.0, 1.0], (len(middles), 1))
    shift = part_hands(middles, balls.radius_mm, least_mm=15.0, along=along)
    assert np.abs(shift[..., :2]).max() == 0
    assert gaps_mm(middles + shift[:, :, None], balls.radius_mm).min() > 13
    middles[:, 1, :, 0] += 150
    assert not part_hands(middles, balls.radius_mm).any()
    near = part_hands(middles, balls.radius_mm, most_mm=np.full(len(middles), 3.0))
    assert gaps_mm(middles + near[:, :, None], balls.radius_mm).max() < 5


# --- grips -------------------------------------------------------------------------------------


def test_grips_fit_and_splits_share_none(model):
    train, test = Grips.load("train"), Grips.load("test")
    assert not set(train.names) & set(test.names)
    assert min(len(train.names), len(test.names)) > 50
    for grips in (train, test):
        pose = torch.from_numpy(grips.fingers).reshape(-1, 15, 3)
        pose = torch.cat([torch.zeros(len(pose), 1, 3), pose], dim=1)
        assert within_limits(pose).all()


def test_hands_of_grips_meet(model):
    grips = Grips.load("train")
    rng = np.random.default_rng(4)
    for _ in range(24):
        grip = grips.draw(rng, ("touching", "interlocked")[int(rng.integers(2))])
        args = grip.turn[None], grip.fingers[None], grip.wrist_mm[None]
        skin = mesh(model, *args, np.zeros(model.n_shape))[0]
        assert cKDTree(skin[0]).query(skin[1])[0].min() < 7, grip.name


def test_a_swapped_grip_is_the_mirror_image(model):
    grip = Grips.load("train").draw(np.random.default_rng(5), "interlocked")
    twice = grip.swapped().swapped()
    np.testing.assert_allclose(twice.turn, grip.turn)
    np.testing.assert_allclose(twice.wrist_mm, grip.wrist_mm)
    skins = [
        mesh(model, g.turn[None], g.fingers[None], g.wrist_mm[None], np.zeros(model.n_shape))[0]
        for g in (grip, grip.swapped())
    ]
    np.testing.assert_allclose(skins[1][::-1], skins[0] * [-1, 1, 1], atol=1e-3)


def test_damaged_grips_are_reported(tmp_path):
    with pytest.raises(WeightsError, match=r"grips .*gone.npz cannot be read .* reinstall"):
        Grips.load("train", tmp_path / "gone.npz")
    with np.load(grips_path()) as file:
        arrays = {name: file[name] for name in file.files}
    del arrays["turn"]
    np.savez(tmp_path / "part.npz", **arrays)
    with pytest.raises(WeightsError, match="cannot be read"):
        Grips.load("train", tmp_path / "part.npz")
    with np.load(grips_path()) as file:
        few = {name: file[name] if name == "names" else file[name][:1] for name in file.files}
    np.savez(tmp_path / "few.npz", **few)
    with pytest.raises(WeightsError, match="have none for test; bake them again"):
        Grips.load("test", tmp_path / "few.npz")


# --- arms --------------------------------------------------------------------------------------


def test_arms_keep_their_lengths_and_wrists_their_limits(model):
    rng = np.random.default_rng(6)
    arm = arm_shape(model, rng.normal(0, 0.8, model.n_shape))
    turn = random_turns(rng, 400).reshape(200, 2, 3, 3)
    wrist = rng.uniform([-250, 0, 150], [250, 400, 450], (200, 2, 3))
    arms = solve_arms(turn, wrist, arm)
    fore = np.linalg.norm(arms.elbow_mm - wrist, axis=-1)
    upper = np.linalg.norm(arms.shoulder_mm - arms.elbow_mm, axis=-1)
    np.testing.assert_allclose(fore, arm.forearm_mm)
    np.testing.assert_allclose(upper, arm.upper_mm)
    angles = np.rad2deg(joint_angles(torch.from_numpy(arms.bend)).numpy())
    low, high = np.array(WRIST_LIMITS_DEG).T
    assert (angles >= low - 0.01).all()
    assert (angles <= high + 0.01).all()
    assert 200 < arm.forearm_mm < 300


def test_the_forearm_is_where_the_hand_model_puts_it(model):
    rng = np.random.default_rng(7)
    turn, fingers, wrist, shape = some_hands(rng, 5, model.n_shape)
    arm = arm_shape(model, shape)
    arms = solve_arms(turn, wrist, arm)
    skin = mesh(model, turn, fingers, wrist, shape, arms.bend)
    # The elbow is in the middle of the mesh's open rim: edges that one triangle alone has.
    count: dict[tuple[int, int], int] = {}
    for a, b, c in model.faces.tolist():
        for edge in ((a, b), (b, c), (c, a)):
            count[min(edge), max(edge)] = count.get((min(edge), max(edge)), 0) + 1
    rim = sorted({vertex for edge, n in count.items() if n == 1 for vertex in edge})
    assert 10 < len(rim) < 100
    local = (skin[:, :, rim] - arms.elbow_mm[:, :, None]) @ arms.forearm
    middle = 0.5 * (local.max(axis=2) + local.min(axis=2))
    assert np.abs(middle).max() < 0.01


def test_mirrored_hands_have_mirrored_arms(model):
    rng = np.random.default_rng(8)
    arm = arm_shape(model, np.zeros(model.n_shape))
    turn = random_turns(rng, 20).reshape(10, 2, 3, 3)
    wrist = rng.uniform([-250, 0, 150], [250, 400, 450], (10, 2, 3))
    flip = np.array([-1.0, 1, 1])
    arms = solve_arms(turn, wrist, arm)
    other = solve_arms(turn[:, ::-1] * flip[:, None] * flip, wrist[:, ::-1] * flip, arm)
    np.testing.assert_allclose(other.elbow_mm[:, ::-1] * flip, arms.elbow_mm, atol=1e-9)
    np.testing.assert_allclose(other.bend[:, ::-1], arms.bend, atol=1e-12)
    np.testing.assert_allclose(mirrored(mirrored(turn)), turn)


def test_easy_hands_have_hanging_elbows(model):
    """Hands before the belly, palms down, fingers forward: elbows low, wrists nearly straight."""
    arm = arm_shape(model, np.zeros(model.n_shape))
    palm_down = np.stack([[-1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0]], axis=1)
    turn = np.stack([palm_down] * 2)[None]
    assert np.isclose(np.linalg.det(palm_down), 1)
    wrist = np.array([[[160.0, 280, 300], [-160, 280, 300]]])
    arms = solve_arms(turn, wrist, arm)
    assert (arms.effort < 1.5).all()
    assert (arms.elbow_mm[..., 1] > 150).all()
    assert np.rad2deg(np.linalg.norm(log_turn(arms.bend), axis=-1)).max() < 40
    assert np.linalg.norm(arms.shoulder_mm[0, 0] - [arm.shoulder_mm, 0, 0]) < 60


def test_turns_go_there_and_back():
    rng = np.random.default_rng(9)
    turns = random_turns(rng, 50)
    np.testing.assert_allclose(exp_turn(log_turn(turns)), turns, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    step = step_between(np.linspace(-1, 2, 301), 0.0, 1.0)
    assert step[0] == 0
    assert step[-1] == 1
    assert np.isclose(step[150], 0.5)
    assert (np.diff(step) >= 0).all()
