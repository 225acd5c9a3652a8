"""Baked hands: everything lies where the geometry says, no seam, the same for a seed."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from hdrvideo.errors import SettingsError
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.atlas import baked_uv, cover, hand_atlas, nearest
from hdrvideo.synth.handmarks import hand_marks
from hdrvideo.synth.noise import SpaceNoise
from hdrvideo.synth.scene import Person
from hdrvideo.synth.skin import bake_skin
from hdrvideo.synth.tones import skin_tone

SIZE = 192
ASSETS = Assets.find("train")


def person(**changed):
    values = {
        "name": "person:1",
        "skin": ASSETS.skins[0],
        "tint_rgb": np.ones(3, np.float32),
        "roughness": 0.6,
        "nail_rgb": np.array([0.1, 0.8, 0.2], np.float32),
        "nail_paint": 0.0,
        "glove_rgb": np.array([[0.1, 0.2, 0.9]] * 2, np.float32),
        "glove": np.zeros(2, bool),
        "detail_seed": 7,
    }
    return Person(**(values | changed))


def texels(baked, side=0):
    """Give the skin's texels ``(N, 4)`` of a side."""
    return baked[side].flatten(1).T.numpy()[hand_atlas(baked.shape[-1]).texel]


def sample(picture, places):
    """Sample ``(C, n, n)`` at ``(..., 2)``, x right, y down, 0..1."""
    grid = (places * 2 - 1).reshape(1, 1, -1, 2)
    found = functional.grid_sample(picture[None], grid, align_corners=False)
    return found[0, :, 0].T


def dark_skin():
    return min(ASSETS.skins, key=lambda name: skin_tone(int(name.split(":")[1])).rgb.mean())


def test_islands_fit_the_texture_and_stay_apart():
    model = HandModel()
    places = baked_uv(model.uv)
    assert places.min() > 0.0
    assert places.max() < 1.0
    corners = (places[model.uv_faces] * SIZE - 0.5).double().numpy()
    arm = (model.uv[model.uv_faces][..., 1] > 0.5).numpy()
    assert (arm.all(axis=1) | ~arm.any(axis=1)).all()
    shown = []
    for some in (arm.all(axis=1), ~arm.any(axis=1)):
        mask = np.zeros(SIZE * SIZE, np.uint8)
        mask[cover(corners[some], SIZE)[0]] = 1
        shown.append(cv2.dilate(mask.reshape(SIZE, SIZE), np.ones((5, 5), np.uint8)))
    assert not (shown[0] & shown[1]).any()


def test_sampling_at_baked_uv_finds_the_place_on_the_hand():
    atlas, model = hand_atlas(SIZE), HandModel()
    xyz = torch.from_numpy(atlas.xyz_mm[atlas.fill]).T.reshape(3, SIZE, SIZE)
    flat = model(torch.zeros(1, 16, 3)).vertices_mm[0]
    for side in (0, 1):
        faces, uv_faces = model.triangles(side)
        middle = baked_uv(model.uv)[uv_faces].mean(dim=1)
        off_mm = (sample(xyz, middle) - flat[faces].mean(dim=1)).norm(dim=1)
        assert off_mm.median() < 0.3
        assert off_mm.quantile(0.98) < 2.0


def test_cover_agrees_with_a_slow_one():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-4, 28, (12, 3, 2))
    corners[3, 2] = corners[3, 1]
    wanted = {}
    for face, (a, b, c) in enumerate(corners):
        solve = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        if abs(np.linalg.det(solve)) < 1e-9:
            continue
        for v in range(24):
            for u in range(24):
                weights = np.linalg.solve(solve, [u, v, 1])
                if (weights >= 0).all():
                    wanted[v * 24 + u] = face, weights
    texel, face, weights = cover(corners, 24)
    assert texel.tolist() == sorted(wanted)
    for n, key in enumerate(texel.tolist()):
        assert face[n] == wanted[key][0]
        assert np.allclose(weights[n], wanted[key][1], atol=1e-5)


def test_outside_repeats_the_nearest():
    texel = np.sort(np.random.default_rng(1).choice(20 * 20, 15, replace=False))
    index = nearest(texel, 20)
    v, u = np.divmod(np.arange(400), 20)
    away = np.hypot(v[:, None] - texel // 20, u[:, None] - texel % 20)
    # The transform's 5 x 5 steps measure to within a few per cent.
    assert (away[np.arange(400), index] <= 1.05 * away.min(axis=1) + 1e-6).all()
    assert index[texel].tolist() == list(range(15))


def test_back_and_palm_lie_where_they_should():
    atlas, marks = hand_atlas(SIZE), hand_marks(SIZE)
    middle = 0.5 * (atlas.joints_mm[0] + atlas.joints_mm[9])
    near = np.linalg.norm((atlas.xyz_mm - middle)[:, :2], axis=1) < 15
    behind = atlas.xyz_mm[:, 2] > middle[2]
    assert (marks.back[near & behind] > 0.6).all()
    assert (marks.back[near & ~behind] < -0.6).all()


@pytest.mark.parametrize("finger", range(5))
def test_every_finger_has_one_nail_at_its_end(finger):
    atlas, marks = hand_atlas(SIZE), hand_marks(SIZE)
    on = atlas.of_finger(finger) & (marks.nail > 0.5)
    across, along, _ = atlas.along(finger, 2)
    assert (atlas.normal[on] @ atlas.axes[finger, 2, :, 2] > 0).all()
    last_mm = along[atlas.of_finger(finger)].max()
    assert last_mm - along[on].max() < 2.0
    assert along[on].min() > 0.2 * last_mm
    assert 6 < np.ptp(across[on]) < 19
    assert 7 < np.ptp(along[on]) < 22
    assert marks.nail[atlas.part == PARTS.index("palm")].max() == 0


def test_lines_lie_at_the_joints():
    atlas, marks = hand_atlas(SIZE), hand_marks(SIZE)
    deep = (np.exp(-((marks.fine_mm / 0.6) ** 2)) * marks.fine_strength).max(axis=1)
    for finger in range(1, 5):
        _, along, _ = atlas.along(finger, 1)
        inside = atlas.of_finger(finger) & (marks.back < -0.7)
        length = np.linalg.norm(atlas.joints_mm[3 + 4 * finger] - atlas.joints_mm[2 + 4 * finger])
        assert deep[inside & (np.abs(along) < 3)].max() > 0.7
        assert deep[inside & (along > 0.3 * length) & (along < 0.7 * length)].max() < 0.2


def test_bake_is_a_good_texture_and_alike_on_both_sides():
    baked = bake_skin(person(), ASSETS, SIZE)
    assert baked.shape == (2, 4, SIZE, SIZE)
    assert baked.dtype == torch.float32
    assert torch.isfinite(baked).all()
    assert baked.min() >= 0
    assert baked.max() <= 1
    assert torch.equal(baked[0], baked[1])


def test_same_seed_same_bytes_other_seed_other_skin():
    one = bake_skin(person(), ASSETS, 128)
    assert torch.equal(one, bake_skin(person(), ASSETS, 128))
    assert not torch.equal(one, bake_skin(person(detail_seed=8), ASSETS, 128))
    assert not torch.equal(one, bake_skin(person(skin=ASSETS.skins[1]), ASSETS, 128))


def test_paint_covers_the_nails_and_nothing_else():
    marks = hand_marks(SIZE)
    plain = texels(bake_skin(person(), ASSETS, SIZE))
    painted = texels(bake_skin(person(nail_paint=1.0), ASSETS, SIZE))
    assert np.array_equal(plain[marks.nail == 0], painted[marks.nail == 0])
    full = marks.nail > 0.99
    assert full.sum() > 50
    assert (painted[full, 1] > painted[full, 0] + 0.3).all()
    assert (painted[full, 3] < 0.3).all()
    assert plain[full, 3].mean() < plain[marks.nail == 0, 3].mean() - 0.1


def test_dark_skin_has_a_light_palm():
    atlas, marks = hand_atlas(SIZE), hand_marks(SIZE)
    rgb = texels(bake_skin(person(skin=dark_skin()), ASSETS, SIZE))[:, :3]
    hand = atlas.part != PARTS.index("forearm")
    palm, back = rgb[hand & (marks.back < -0.6)], rgb[hand & (marks.back > 0.6)]
    assert palm.mean() > back.mean() + 0.1


def test_creases_are_dark():
    marks = hand_marks(SIZE)
    rgb = texels(bake_skin(person(), ASSETS, SIZE))[:, 1]
    strong = (marks.fine_strength[:, 0] > 0.7) & (marks.back < -0.5) & (marks.nail == 0)
    on, beside = np.abs(marks.fine_mm[:, 0]) < 0.5, np.abs(marks.fine_mm[:, 0]) > 3
    assert rgb[strong & on].mean() < rgb[strong & beside].mean() - 0.03


def test_glove_covers_one_hand_and_leaves_the_forearm():
    marks = hand_marks(SIZE)
    worn = person(glove=np.array([False, True]))
    baked = bake_skin(worn, ASSETS, SIZE)
    bare = bake_skin(person(), ASSETS, SIZE)
    assert torch.equal(baked[0], bare[0])
    glove = texels(baked, 1)
    hand, arm = marks.arm_mm < 0, marks.arm_mm > 80
    assert (glove[hand, 2] > glove[hand, 0] + 0.2).all()
    assert np.allclose(glove[arm], texels(bare, 1)[arm], atol=2e-3)


def test_tint_and_roughness_are_obeyed():
    marks = hand_marks(SIZE)
    skin = marks.nail == 0
    one = texels(bake_skin(person(), ASSETS, SIZE))
    two = texels(
        bake_skin(
            person(tint_rgb=np.array([0.5, 0.8, 1.0], np.float32), roughness=0.3), ASSETS, SIZE
        )
    )
    assert np.allclose(two[skin, :3], one[skin, :3] * [0.5, 0.8, 1.0], atol=0.03)
    assert abs((one[skin, 3] - two[skin, 3]).mean() - 0.3) < 0.01


@pytest.mark.parametrize("paper", [False, True])
def test_no_seam_shows(tmp_path, paper):
    """Also not between islands that a painter gave different colours."""
    skin = ASSETS.skins[0]
    assets = ASSETS
    if paper:
        texture = np.full((512, 512, 3), (90, 110, 150), np.uint8)
        texture[:256] = (120, 150, 200)
        name = "seam_diffuse2"
        cv2.imwrite(str(tmp_path / f"{name}.png"), texture)
        assets = next(
            found
            for found in (Assets.find(split, tmp_path) for split in ("train", "test"))
            if name in found.skins
        )
        skin = name
    baked = bake_skin(person(skin=skin), assets, SIZE)
    model = HandModel()
    pairs = torch.stack([model.faces.flatten(), model.uv_faces.flatten()], 1).unique(dim=0)
    twice = pairs[:-1, 0] == pairs[1:, 0]
    places = baked_uv(model.uv)
    first = sample(baked[0, :3], places[pairs[:-1, 1][twice]])
    second = sample(baked[0, :3], places[pairs[1:, 1][twice]])
    step = (first - second).abs().amax(dim=1)
    # A nail's edge is a step that belongs there.
    flat = model(torch.zeros(1, 16, 3))
    at = flat.vertices_mm[0][pairs[:-1, 0][twice]]
    step = step[torch.cdist(at, flat.joints_mm[0, 4::4]).amin(dim=1) > 12]
    assert len(step) > 50
    assert step.mean() < 0.02
    assert step.max() < 0.12


def test_noise_in_space_is_smooth_and_of_unit_spread():
    xyz_mm = np.random.default_rng(0).uniform(-200, 200, (20_000, 3)).astype(np.float32)
    field = SpaceNoise(xyz_mm, 5).field("any", 8.0)
    assert abs(field.mean()) < 0.1
    assert 0.8 < field.std() < 1.2
    moved = SpaceNoise(xyz_mm + np.float32(0.05), 5).field("any", 8.0)
    assert np.abs(moved - field).max() < 0.15
    assert np.array_equal(field, SpaceNoise(xyz_mm, 5).field("any", 8.0))
    assert not np.array_equal(field, SpaceNoise(xyz_mm, 6).field("any", 8.0))


def test_errors():
    with pytest.raises(SettingsError, match="skin size is 8 px, expected 64 to 2048"):
        bake_skin(person(), ASSETS, 8)
    with pytest.raises(SettingsError, match="no skin 'wax' among"):
        bake_skin(person(skin="wax"), ASSETS, 128)
