"""Made scenes: the same from the same seed, splits apart, limits kept, sides right."""

import dataclasses

import numpy as np
import pytest
import torch
from arranged import every_relation, hands, normals, project, scene_of, scenes, tools

from hdrvideo.errors import SettingsError
from hdrvideo.handmodel import PARTS, WRIST_LIMITS_DEG, joint_angles, within_limits
from hdrvideo.synth.arrange import SceneSettings, arrange
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.looks import draw_person
from hdrvideo.synth.scene import CAMERAS, OWNERS


def same(a, b) -> bool:
    if dataclasses.is_dataclass(a):
        fields = (f.name for f in dataclasses.fields(a))
        return all(same(getattr(a, f), getattr(b, f)) for f in fields)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


# --- seeds, splits, settings -------------------------------------------------------------------


@every_relation
def test_the_same_seed_gives_the_same_scene(relation):
    again = scene_of(3, relation=relation, camera=CAMERAS[1])
    assert same(scenes(relation)[3], again)
    assert not np.array_equal(scenes(relation)[4].pose, again.pose)
    assert again.relation == relation


def test_splits_share_nobody_and_nothing():
    found: dict[str, dict[str, set[str]]] = {}
    for split in ("train", "test"):
        kinds = found.setdefault(split, {k: set() for k in ("person", "skin", "back", "motion")})
        for seed in range(20):
            scene = scene_of(seed, split, n_frames=2)
            assert scene.split == split
            kinds["person"].add(scene.person.name)
            kinds["skin"].add(scene.person.skin)
            kinds["back"].add(scene.background.name)
            kinds["motion"].update(scene.motions)
            assert split_of("person", scene.person.name) == split
            assert all(split_of("motion", name) == split for name in scene.motions)
    for kind, names in found["train"].items():
        assert len(names) > 10
        assert not names & found["test"][kind]


def test_gloves_are_worn_as_often_as_asked():
    assets, _, model = tools()
    worn = [
        draw_person(np.random.default_rng(seed), assets, model.n_shape, share)[0].glove.any()
        for share in (0.0, 1.0)
        for seed in range(20)
    ]
    assert worn == [False] * 20 + [True] * 20


def test_a_person_looks_the_same_in_every_clip():
    assets, _, model = tools()
    by_name = {}
    for seed in range(3000):
        person, shape = draw_person(np.random.default_rng(seed), assets, model.n_shape, 0.06)
        if person.name in by_name:
            first, first_shape = by_name[person.name]
            assert np.array_equal(shape, first_shape)
            for name in ("skin", "roughness", "nail_paint", "detail_seed"):
                assert getattr(person, name) == getattr(first, name)
            assert np.array_equal(person.tint_rgb, first.tint_rgb)
        by_name[person.name] = person, shape
    assert len(by_name) < 2990


def test_all_relations_and_cameras_are_drawn():
    some = [scene_of(seed, n_frames=1) for seed in range(24)]
    assert len({scene.relation for scene in some}) >= 5
    assert {scene.camera for scene in some} == set(CAMERAS)
    only = (0.0,) * 7 + (1.0,)
    assert scene_of(0, n_frames=2, relation_shares=only).relation == "passing"


@every_relation
@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_short_clips(relation, n_frames):
    scene = scene_of(1, relation=relation, n_frames=n_frames, height_px=90, width_px=50)
    assert len(scene) == n_frames
    assert (scene.height_px, scene.width_px) == (90, 50)
    assert np.isfinite(scene.pose).all()
    assert np.isfinite(scene.wrist_mm).all()
    assert np.isfinite(scene.background.picture_from_frame).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_frames": 0}, "n_frames is 0, expected at least 1"),
        ({"height_px": 8}, "height_px is 8, expected at least 16"),
        ({"width_px": 8}, "width_px is 8, expected at least 16"),
        ({"frame_seconds": 0.0}, "frame_seconds is 0.0, expected more than 0"),
        ({"frame_seconds": float("nan")}, "frame_seconds is nan, expected more than 0"),
        ({"relation": "far"}, "relation is 'far', expected one of apart, .* or None to draw it"),
        ({"camera": "drone"}, "camera is 'drone', expected one of third_person, egocentric"),
        ({"relation_shares": (1.0,)}, "relation_shares is .* expected 8 numbers, none negative"),
        ({"relation_shares": (0.0,) * 8}, "relation_shares is .* one positive, for apart"),
        ({"glove_share": 1.5}, "glove_share is 1.5, expected 0 to 1"),
        ({"hand_share": (0.5, 0.2)}, "hand_share is .* least and most share of the picture"),
    ],
)
def test_wrong_settings_are_refused(change, text):
    with pytest.raises(SettingsError, match=text):
        SceneSettings(**change)


def test_wrong_seeds_and_splits_are_refused():
    assets, _, model = tools()
    with pytest.raises(SettingsError, match="seed is -1, expected 0 or more"):
        scene_of(-1)
    with pytest.raises(SettingsError, match="motions are of the test split, assets of train"):
        arrange(0, SceneSettings(), assets, tools("test")[1], model)


# --- limits ------------------------------------------------------------------------------------


@every_relation
def test_joints_and_wrists_keep_their_limits(relation):
    low, high = np.array(WRIST_LIMITS_DEG).T
    for scene in scenes(relation):
        pose = torch.from_numpy(scene.pose).flatten(0, 1)
        assert within_limits(pose, slack_deg=0.5).all()
        bend = np.rad2deg(joint_angles(torch.from_numpy(scene.wrist_bend)).numpy())
        assert (bend > low - 0.01).all()
        assert (bend < high + 0.01).all()
        np.testing.assert_allclose(np.linalg.det(scene.wrist_bend), 1, atol=1e-5)


@every_relation
def test_cameras_keep_their_limits(relation):
    for scene in scenes(relation):
        focal = scene.k_px[:, 0, 0] / scene.width_px
        assert focal.min() >= 0.6
        assert focal.max() <= 2.5
        np.testing.assert_array_equal(scene.k_px[:, :2, 2], [[79.5, 59.5]] * len(scene))
        if scene.camera == "third_person" and relation not in ("none", "passing"):
            middle = scene.wrist_mm[:, scene.present[0]].mean(axis=(0, 1))
            assert 500 < np.linalg.norm(middle) < 2900


@every_relation
def test_hands_move_smoothly(relation):
    """Peak accelerations of fast reaches are some 30 m/s^2; jitter would be far above."""
    for scene in scenes(relation):
        if not scene.present.any():
            continue
        wrist = scene.wrist_mm[:, scene.present[0]].astype(np.float64)
        acceleration = np.diff(wrist, 2, axis=0) / scene.frame_seconds**2 / 1000
        assert np.linalg.norm(acceleration, axis=-1).max() < 60
        bend = np.diff(scene.wrist_bend[:, scene.present[0]], axis=0)
        assert np.abs(bend).max() < 0.25
        moved = np.linalg.norm(np.diff(scene.props.place_mm, axis=0), axis=-1)
        assert moved.max() < 150


@every_relation
def test_props_are_rigid_and_belong_to_who_is_there(relation):
    for scene in scenes(relation):
        props = scene.props
        eye = props.turn @ props.turn.swapaxes(-1, -2)
        np.testing.assert_allclose(eye, np.broadcast_to(np.eye(3), eye.shape), atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(props.turn), 1, atol=1e-5)
        owners = {OWNERS[owner] for owner in props.owner}
        for side, name in enumerate(("right", "left")):
            assert (f"{name}_arm" in owners) == scene.present[0, side]
            assert scene.present[0, side] or f"{name}_hand" not in owners
        lengths = np.linalg.norm(scene.lights.towards, axis=-1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)
        light = scene.lights.rgb.sum(axis=0).max() + scene.lights.sky_rgb.max()
        assert 0.2 < light * scene.effects.exposure < 4


def test_the_background_slides_as_the_camera_turns():
    moving = scene_of(1, camera="egocentric", relation="apart")
    affine = moving.background.picture_from_frame.astype(np.float64)
    corners = np.array([[0.0, 0, 1], [159, 0, 1], [0, 119, 1], [159, 119, 1]])
    places = corners @ affine.swapaxes(-1, -2)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    scale = np.sqrt(np.abs(np.linalg.det(affine[:, :, :2])))[0]
    assert steps.max() > 0
    assert steps.max() / scale < 12  # frame pixels of 160 a frame: about 2 degrees
    # What stands still in the world stands still in a still picture, and moves in a moving one.
    still = [
        s for s in scenes("apart") if np.ptp(s.background.picture_from_frame, axis=0).max() == 0
    ]
    assert still
    trunk = still[0].props.owner == OWNERS.index("scene")
    assert np.ptp(still[0].props.place_mm[:, trunk], axis=0).max() < 1e-3


# --- sides -------------------------------------------------------------------------------------


@pytest.mark.parametrize("relation", ["apart", "touching", "crossing", "interlocked", "object"])
def test_thumb_test(relation):
    """Index 0 is a right hand: seen from its back with fingers up, its thumb is on the left.

    In the picture: turn wrist -> middle knuckle upwards; where the back of the hand looks at the
    camera, the thumb's base is on the left of a right hand and on the right of a left hand. Which
    way the back looks is taken from the skin there.
    """
    model, seen = tools()[2], 0
    part, rest = model.part.numpy(), model.template_mm.numpy()
    palm = part == PARTS.index("palm")
    back = palm & (rest[:, 2] > 5)
    for scene, (skin, joints) in zip(scenes(relation), hands(relation), strict=True):
        uv = project(scene, joints)
        for side in (0, 1):
            if not scene.present[0, side]:
                continue
            normal = np.stack([normals(s, side)[back].mean(axis=0) for s in skin[:, side]])
            towards = -(normal * joints[:, side, 9]).sum(-1)
            towards /= np.linalg.norm(normal, axis=-1) * np.linalg.norm(joints[:, side, 9], axis=-1)
            up = uv[:, side, 9] - uv[:, side, 0]
            thumb = uv[:, side, 1] - uv[:, side, 0]
            # v goes down, so this is positive where the thumb is to the right of "up".
            right_of = up[:, 0] * thumb[:, 1] - up[:, 1] * thumb[:, 0]
            clear = np.abs(towards) > 0.5
            seen += clear.sum()
            expected = np.where(towards > 0, -1, 1) * (1 if side == 0 else -1)
            assert (np.sign(right_of) == expected)[clear].all()
    assert seen > 50


def test_hands_belong_to_their_arms():
    """The right hand's elbow and shoulder are on the person's right, seen in any picture."""
    for scene in scenes("apart"):
        props = scene.props
        trunk = np.flatnonzero(props.owner == OWNERS.index("scene"))
        upper = [
            np.flatnonzero(props.owner == OWNERS.index(f"{s}_arm"))[0] for s in ("right", "left")
        ]
        assert len(trunk)
        ends = props.local_mm[upper].reshape(2, 13, 16, 3).mean(axis=2)[:, -1]
        shoulder = (props.turn[:, upper] @ ends[..., None])[..., 0] + props.place_mm[:, upper]
        body = props.turn[:, trunk[0]]  # the chest; its x goes to the person's right
        across = (shoulder[:, 0] - shoulder[:, 1]) * body[..., 0]
        assert across.sum(axis=-1).min() > 150
