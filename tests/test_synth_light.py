"""Light, colour, background and packed meshes, each against the slow and obvious."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from made_scenes import assets, ball, box, made_scene

from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.synth.backdrop import Backdrops, backdrop_moves
from hdrvideo.synth.light import LightMaker, LightTable, shade, stack_lights
from hdrvideo.synth.meshes import MeshMaker, hand_triangles, list_frames, project, stack_bodies
from hdrvideo.synth.scene import N_PROP_VERTICES, PATTERNS, Background, Lights
from hdrvideo.synth.surface import SKIN_PX, Skins, prop_colour, prop_places

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return HandModel()


@pytest.fixture(scope="module")
def maker(model):
    return MeshMaker(model, CPU)


@pytest.fixture(scope="module")
def light_maker(model):
    return LightMaker(model, CPU)


def mesh_of(maker, scene, times=(0,), *, neighbours=False):
    frames = [(scene, t) for t in times]
    listed = list_frames(frames, neighbours=neighbours)
    return maker.make(stack_bodies(listed, CPU)), listed, stack_lights(frames, CPU)


def everybody(mesh):
    return torch.ones(len(mesh.bodies.frame), dtype=torch.bool)


# --- packed meshes -----------------------------------------------------------------------------


def test_frames_share_their_neighbours_and_each_comes_once():
    a, b = made_scene(5), made_scene(2)
    listed = list_frames([(a, 1), (a, 2), (b, 0)], neighbours=True)
    names = [("ab"[scene is b], t) for scene, t in listed.frames]
    assert names == [("a", 1), ("a", 2), ("b", 0), ("a", 0), ("a", 3), ("b", 1)]
    assert listed.n_asked == 3
    assert [names[i] if i >= 0 else None for i in listed.after[:3]] == [
        ("a", 2), ("a", 3), ("b", 1),
    ]  # fmt: skip
    assert [names[i] if i >= 0 else None for i in listed.before[:3]] == [("a", 0), ("a", 1), None]
    assert len(list_frames([(a, 1), (a, 2)], neighbours=False).frames) == 2


def test_triangles_turn_their_outside_out(maker):
    """The signed volume of every body is positive."""
    mesh, _, _ = mesh_of(
        maker, made_scene(1, things=[ball(30, (0, 0, 400)), box((9, 9, 9), (0, 0, 500))])
    )
    a, b, c = (mesh.vertices_mm[mesh.faces[:, k]].double() for k in range(3))
    middle = torch.zeros(4, 3, dtype=torch.float64)
    middle[:2], middle[2:] = mesh.hands_mm.mean(dim=1), mesh.props_mm.mean(dim=1)
    a, b, c = (p - middle[mesh.body] for p in (a, b, c))
    parts = (torch.linalg.cross(a, b) * c).sum(dim=1) / 6
    volume = torch.zeros(4, dtype=torch.float64).index_add(0, mesh.body, parts)
    assert volume[2] == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.06)
    assert volume[3] == pytest.approx(18**3, rel=0.15)
    assert (volume[:2] > 3e5).all()


def test_the_shift_leads_to_the_same_vertex_of_the_neighbours(maker):
    scene = made_scene(4, things=[ball(30, (0, 0, 400)), ball(20, (50, 0, 400))])
    exists = scene.props.exists.copy()
    exists[2, 0] = False
    present = scene.present.copy()
    present[0, 0] = False
    scene = replace(scene, present=present, props=replace(scene.props, exists=exists))
    mesh, listed, _ = mesh_of(maker, scene, (1,), neighbours=True)
    shift, there = mesh.vertex_shift()
    bodies = mesh.bodies
    n_hands = bodies.n_hands
    assert there[:, :2].tolist() == [[True, True], [False, True]]
    assert there[:, n_hands : n_hands + 2].tolist() == [[False, True], [True, True]]
    first = mesh.faces[:, 0]
    for d, t in ((0, 2), (1, 0)):
        place = mesh.vertices_mm[first + shift[d][mesh.body]]
        alone = mesh_of(maker, scene, (t,))[0]
        asked = (mesh.body == 1) | (mesh.body == n_hands + 1)
        wanted = {}
        for code, vertex in zip(alone.code.tolist(), alone.faces[:, 0].tolist(), strict=True):
            wanted[code] = alone.vertices_mm[vertex]
        found = torch.stack([wanted[code] for code in mesh.code[asked].tolist()])
        torch.testing.assert_close(place[asked], found)
    assert listed.frames[0][1] == 1


def test_hand_triangles_are_those_before_the_forearm(model):
    mask = hand_triangles(model)
    arm = model.part[model.faces] == PARTS.index("forearm")
    assert mask[~arm.any(dim=1)].all()
    assert not mask[arm.all(dim=1)].any()
    # Flat hand: the fingers point up, the forearm hangs below the wrist.
    middle = model.template_mm[model.faces].mean(dim=1)[:, 1]
    assert middle[mask].max() < 25
    assert middle[~mask].min() > -25


def test_projection_is_the_camera_matrix():
    rng = np.random.default_rng(1)
    points = torch.from_numpy(rng.uniform(50, 300, (7, 3)))
    k = torch.tensor([[300.0, 2, 40], [0, 310, 50], [0, 0, 1]], dtype=torch.float64)
    wanted = points @ k.T
    torch.testing.assert_close(project(points, k), wanted[:, :2] / wanted[:, 2:])


# --- light -------------------------------------------------------------------------------------


def test_normals_are_smooth_and_point_outwards(maker, light_maker):
    scene = made_scene(1, things=[ball(30, (10, 20, 400))])
    mesh, _, lights = mesh_of(maker, scene)
    table = light_maker.vertex_light(mesh, lights, everybody(mesh))
    assert table.shape == (len(mesh.vertices_mm), 6)
    normals = table[:, :3]
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(len(normals)))
    on_ball = mesh.props_mm[0] - torch.tensor([10.0, 20, 400])
    cosine = (normals[-N_PROP_VERTICES:] * on_ball / on_ball.norm(dim=1, keepdim=True)).sum(dim=1)
    assert cosine.min() > 0.97
    # A pushed-out hand is bigger: volume grows along the normals, for both sides.
    n = mesh.hands_mm.shape[1]
    for side in (0, 1):
        faces = mesh.faces[mesh.body == side] - side * n
        a, b, c = (mesh.hands_mm[side][faces[:, k]] for k in range(3))
        cross = torch.linalg.cross(b - a, c - a)
        mean = normals[side * n : side * n + n][faces].mean(dim=1)
        assert ((cross * mean).sum(dim=1) > 0).float().mean() > 0.98


def one_light(scene, towards):
    lights = Lights(
        towards=np.array([[towards]], np.float32) / np.linalg.norm(towards).astype(np.float32),
        rgb=np.ones((1, 3), np.float32),
        up=np.array([[0, -1, 0]], np.float32),
        sky_rgb=np.full(3, 0.2, np.float32),
        ground_rgb=np.full(3, 0.1, np.float32),
    )
    return replace(scene, lights=lights)


def test_a_ball_before_the_light_shades_the_palm(maker, light_maker):
    alone = one_light(made_scene(1), (0, 0, -1))
    shaded = one_light(made_scene(1, things=[ball(40, (-60, 30, 330))]), (0, 0, -1))
    found = []
    for scene in (alone, shaded):
        mesh, _, lights = mesh_of(maker, scene)
        found.append(
            light_maker.vertex_light(mesh, lights, everybody(mesh))[: mesh.hands_mm.shape[1]]
        )
    mesh, _, _ = mesh_of(maker, alone)
    aside = (mesh.hands_mm[0, :, :2] - torch.tensor([-60.0, 30])).norm(dim=1)
    facing = found[0][:, 2] < -0.3
    before, after = (table[:, 4] for table in found)
    assert before[facing & (aside < 20)].mean() > 0.8
    assert after[facing & (aside < 20)].max() < 0.1
    torch.testing.assert_close(after[aside > 110], before[aside > 110])
    # The rim is soft.
    rim = after[facing & (aside > 30) & (aside < 60)]
    assert ((rim > 0.2) & (rim < 0.8)).any()
    # And the sky is narrower near the ball.
    assert (found[1][:, 3] <= found[0][:, 3] + 1e-6).all()
    assert (found[0][:, 3] - found[1][:, 3])[facing & (aside < 30)].min() > 0.03


def test_light_of_a_body_does_not_depend_on_which_others_are_shown(maker, light_maker):
    mesh, _, lights = mesh_of(maker, made_scene(2, things=[ball(40, (-60, 30, 330))]), (0, 1))
    whole = light_maker.vertex_light(mesh, lights, everybody(mesh))
    shown = torch.tensor([False, True, True, False, False, True])
    some = light_maker.vertex_light(mesh, lights, shown)
    n = mesh.hands_mm.shape[1]
    body = torch.cat(
        [torch.arange(4).repeat_interleave(n), torch.tensor([4, 5]).repeat_interleave(208)]
    )
    torch.testing.assert_close(some[shown[body]], whole[shown[body]])
    assert not some[~shown[body]].any()


def test_a_straight_open_hand_does_not_shade_itself_much(maker, light_maker):
    mesh, _, lights = mesh_of(maker, one_light(made_scene(1, apart_mm=300), (0, 0, -1)))
    table = light_maker.vertex_light(mesh, lights, everybody(mesh))
    facing = table[:, 2] < -0.6
    assert table[facing, 4].mean() > 0.85
    assert table[facing, 3].mean() > 0.75
    assert ((table[:, 3:] >= 0) & (table[:, 3:] <= 1 + 1e-5)).all()


def lamps(towards, rgb=(1.0, 1, 1), sky=0.0):
    return LightTable(
        torch.tensor([[towards]]),
        torch.tensor([[list(rgb)]]),
        torch.tensor([[0.0, -1, 0]]),
        torch.full((1, 3), sky),
        torch.full((1, 3), sky),
    )


def shaded(normal, lights, *, albedo=0.5, roughness=1.0, is_skin=False, reaching=1.0):
    m = normal.shape[1]
    return shade(
        normal,
        torch.tensor([0.0, 0, -1])[:, None].expand(3, m),
        torch.full((3, m), albedo),
        torch.full((m,), roughness),
        is_skin,
        torch.full((1 + lights.rgb.shape[1], m), reaching),
        lights,
        torch.zeros(m, dtype=torch.int64),
    )


def test_shading_follows_the_cosine_the_shadow_and_the_albedo():
    angle = torch.linspace(0, torch.pi, 50)
    normal = torch.stack([angle.sin(), torch.zeros(50), -angle.cos()])
    lit = shaded(normal, lamps((0.0, 0, -1)))
    assert (lit.diff(dim=1) <= 1e-6).all()
    assert not lit[:, -10:].any()
    assert (lit[:, 0] > 0.45).all()
    assert not shaded(normal, lamps((0.0, 0, -1)), reaching=0.0).any()
    assert (shaded(normal, lamps((0.0, 0, -1)), albedo=0.8)[:, :20] > lit[:, :20]).all()
    assert (shaded(normal, lamps((0.0, 0, -1), sky=0.3)) > lit).all()
    assert lit.max() <= 1
    strong = shaded(normal, lamps((0.0, 0, -1), rgb=(50.0, 50, 50)))
    assert strong.max() <= 1


def test_light_reddens_where_it_ends_on_skin():
    angle = torch.deg2rad(torch.tensor([20.0, 97.0]))
    normal = torch.stack([angle.sin(), torch.zeros(2), -angle.cos()])
    red, _, blue = shaded(normal, lamps((0.0, 0, -1)), is_skin=True)
    assert red[1] > 2 * blue[1] > 0
    assert red[0] == pytest.approx(float(blue[0]), rel=0.05)


def test_smooth_surfaces_shine_in_a_small_spot():
    angle = torch.linspace(0, 1.2, 200)
    normal = torch.stack([angle.sin(), torch.zeros(200), -angle.cos()])
    towards = (float(np.sin(0.8)), 0.0, float(-np.cos(0.8)))
    smooth, dull = (shaded(normal, lamps(towards), roughness=r)[0] for r in (0.25, 0.9))
    # The mirror direction is half way between the light and the eye.
    assert float(angle[smooth.argmax()]) == pytest.approx(0.4, abs=0.05)
    assert smooth.max() > 1.3 * dull.max()


# --- colour ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", range(len(PATTERNS)))
def test_every_pattern_shows_its_colours(maker, pattern):
    thing = box((50, 60, 40), (0, 0, 400), "scene", pattern)
    bodies = mesh_of(maker, made_scene(1, things=[thing]))[0].bodies
    place = prop_places(bodies).T.contiguous()
    row = torch.zeros(place.shape[1], dtype=torch.int64)
    is_end = torch.zeros(len(row), dtype=torch.bool)
    look = prop_colour(bodies, row, place, is_end, torch.full((len(row),), 0.3))
    assert look.shape == (4, len(row))
    assert ((look >= 0) & (look <= 1)).all()
    spread = look[:3].std(dim=1).amax()
    assert (spread < 1e-6) == (PATTERNS[pattern] == "plain")
    torch.testing.assert_close(look[3], torch.full_like(look[3], 0.6))
    # From far away a pattern is a smooth surface.
    far = prop_colour(bodies, row, place, is_end, torch.full((len(row),), 60.0))
    assert far[:3].std(dim=1).amax() < max(0.6 * spread, 0.08)


def test_the_skin_is_looked_up_between_texels(model):
    skins = Skins(assets(), model, CPU)
    person = made_scene(1).person
    table, place = skins.table([person, replace(person, name="other", detail_seed=5), person])
    assert place.tolist() == [0, 1, 0]
    assert len(table) == 2 * skins.table([person])[0].shape[0]
    from hdrvideo.synth.skin import bake_skin, baked_uv

    baked = bake_skin(person, assets(), SKIN_PX)
    rng = np.random.default_rng(3)
    m = 300
    face = torch.from_numpy(rng.integers(0, len(model.faces), m))
    side = torch.from_numpy(rng.integers(0, 2, m))
    bary = torch.from_numpy(rng.dirichlet(np.ones(3), m).astype(np.float32))
    found = skins.look_up(
        table, side * 0, side * len(model.faces) + face, bary, torch.full((m,), 1e-3)
    )
    for i in range(m):
        corners = baked_uv(model.uv)[model.triangles(int(side[i]))[1][face[i]]]
        u, v = (corners * bary[i][:, None]).sum(dim=0) * SKIN_PX - 0.5
        picture = baked[side[i]].permute(1, 2, 0).numpy()
        wanted = cv2.remap(
            picture, np.float32([[u]]), np.float32([[v]]), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )[0, 0]  # fmt: skip
        # cv2 rounds the place to 1/32 texel.
        np.testing.assert_allclose(found[:, i].numpy(), wanted, atol=0.02)


def test_a_hand_seen_small_gets_a_smoother_skin(model):
    skins = Skins(assets(), model, CPU)
    table, _ = skins.table([made_scene(1).person])
    f = len(model.faces)
    code = torch.arange(f)
    bary = torch.full((f, 3), 1 / 3)
    near, far = (
        skins.look_up(table, code * 0, code, bary, torch.full((f,), mm)) for mm in (0.05, 4.0)
    )
    torch.testing.assert_close(near.mean(dim=1), far.mean(dim=1), atol=0.03, rtol=0)
    assert far.std(dim=1).amax() < near.std(dim=1).amax()


# --- background --------------------------------------------------------------------------------


class OnePicture:
    """Assets with a single background."""

    def __init__(self, rgb_u8):
        self.rgb_u8 = rgb_u8

    def background_rgb_u8(self, name):
        return self.rgb_u8


def test_the_background_goes_on_as_its_mirror_image():
    rng = np.random.default_rng(7)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (30, 44, 3), np.uint8), (5, 5), 0)
    affine = np.array([[[1.1, 0.3, -70], [-0.2, 0.9, 40]]], np.float32)
    scene = replace(made_scene(1), background=Background("x", affine))
    v, u = np.meshgrid(np.arange(60), np.arange(80), indexing="ij")
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    found = Backdrops(OnePicture(picture), CPU).colours([(scene, 0)], torch.from_numpy(uv), 1)
    place = uv @ affine[0, :, :2].T + affine[0, :, 2]
    wanted = cv2.remap(
        picture.astype(np.float32) / 255,
        place[:, 0].reshape(60, 80),
        place[:, 1].reshape(60, 80),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    # cv2 rounds the place to 1/32 pixel.
    np.testing.assert_allclose(found[0].numpy().reshape(60, 80, 3), wanted, atol=0.02)


def test_a_background_seen_small_is_averaged_first():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    affine = np.array([[[8.0, 0, 3], [0, 8.0, 3]]], np.float32)
    scene = replace(made_scene(1), background=Background("x", affine))
    uv = torch.stack(torch.meshgrid(torch.arange(30.0), torch.arange(30.0), indexing="ij"), dim=-1)
    found = Backdrops(OnePicture(stripes), CPU).colours([(scene, 0)], uv.view(-1, 2), 1)
    torch.testing.assert_close(found, torch.full_like(found, 100 / 255), atol=0.01, rtol=0)


def test_backdrop_moves_join_the_same_background_point():
    scene = made_scene(3)
    moves = backdrop_moves([(scene, 1), (scene, 0)], CPU).double().numpy()
    affine = scene.background.picture_from_frame.astype(np.float64)
    point = np.array([17.0, 31.0])
    for d, t in ((0, 2), (1, 0)):
        there = moves[0, d, :, :2] @ point + moves[0, d, :, 2]
        np.testing.assert_allclose(
            affine[t, :, :2] @ there + affine[t, :, 2],
            affine[1, :, :2] @ point + affine[1, :, 2],
            atol=1e-4,
        )
    assert np.isnan(moves[1, 1]).all()
