"""Made scenes: what each relation of the hands shows."""

import numpy as np
import pytest
import torch
from arranged import SIZE_PX, hands, inside, normals, project, scenes, tools
from scipy.spatial import cKDTree

from hdrvideo.handmodel import PARTS, axis_angle_to_matrix
from hdrvideo.synth.contact import ball_hand, gaps_mm
from hdrvideo.synth.scene import OWNERS, Scene

pairs = pytest.mark.parametrize("relation", ["touching", "interlocked"])


def depth_and_gap(skin: np.ndarray) -> tuple[float, float]:
    """Give how deep two hands ``(2, V, 3)`` overlap and the least distance of their vertices."""
    deepest, gap = 0.0, np.inf
    for a, b in ((0, 1), (1, 0)):
        away, nearest = cKDTree(skin[b]).query(skin[a], distance_upper_bound=60)
        near = np.flatnonzero(away < 15)
        if np.isfinite(away).any():
            gap = min(gap, float(away.min()))
        if len(near):
            offset = skin[a][near] - skin[b][nearest[near]]
            out = (offset * normals(skin[b], b)[nearest[near]]).sum(axis=1)
            deepest = max(deepest, float(-out.min()))
    return max(deepest, 0.0), gap


@pytest.mark.parametrize(
    "relation", ["apart", "touching", "crossing", "interlocked", "object", "one"]
)
def test_hands_are_in_the_picture_at_many_sizes(relation):
    sizes = []
    for scene, (_, joints) in zip(scenes(relation), hands(relation), strict=True):
        there = scene.present[0]
        assert inside(scene, joints)[:, there].mean() > 0.85
        uv = project(scene, joints)[:, there].reshape(-1, 2)
        sizes.append((np.ptp(uv, axis=0) / SIZE_PX).max())
    assert 0.04 < min(sizes) < 0.5
    assert 0.55 < max(sizes) < 1.1


def test_hands_apart_keep_apart():
    for scene, (skin, joints) in zip(scenes("apart"), hands("apart"), strict=True):
        assert scene.present.all()
        for pair in skin:
            deepest, gap = depth_and_gap(pair)
            assert gap > 12
            assert deepest == 0
        uv = project(scene, joints)
        over = np.minimum(uv[:, 0].max(1), uv[:, 1].max(1)) - np.maximum(
            uv[:, 0].min(1), uv[:, 1].min(1)
        )
        assert (over > 0).all(axis=-1).mean() < 0.5


@pairs
def test_hands_touch_without_going_through_one_another(relation):
    depths = []
    for scene, (skin, _) in zip(scenes(relation), hands(relation), strict=True):
        assert scene.present.all()
        found = np.array([depth_and_gap(pair) for pair in skin])
        assert (found[:, 1] < 8).mean() >= 0.6
        depths += list(found[:, 0])
    assert np.percentile(depths, 95) <= 4


def hand_balls(scene: Scene, skin: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Give the balls of hands ``(K, 2, N, 3)``, without forearms, camera axes."""
    balls = ball_hand(tools()[2])
    at = np.arange(0, len(scene), len(scene) // len(joints))[: len(joints)]
    turn = torch.from_numpy(scene.pose[at, :, 0]).double()
    args = axis_angle_to_matrix(turn).numpy(), scene.pose[at, :, 1:], scene.wrist_mm[at]
    placed, _ = balls.place(*args, scene.shape[0].astype(np.float64))
    return placed[:, :, balls.part != PARTS.index("forearm")]


def seen_overlap_mm(scene: Scene, balls_mm: np.ndarray) -> np.ndarray:
    """Give how deep two hands overlap in the picture ``(K,)``, at their own distance."""
    balls = ball_hand(tools()[2])
    radius = balls.radii_mm(scene.shape[0].astype(np.float64))
    radius = radius[balls.part != PARTS.index("forearm")]
    depth = balls_mm[..., 2].mean(axis=(1, 2))[:, None, None, None]
    flat = balls_mm / balls_mm[..., 2:] * depth
    flat[..., 2] = 0
    return -gaps_mm(flat, radius)


def test_crossing_hands_hide_one_another_with_room_between():
    for scene, (skin, joints) in zip(scenes("crossing"), hands("crossing"), strict=True):
        overlap = seen_overlap_mm(scene, hand_balls(scene, skin, joints))
        assert (overlap > 4).mean() >= 0.5
        assert overlap.max() > 12
        gaps = np.array([depth_and_gap(pair) for pair in skin])
        assert np.percentile(gaps[:, 1], 10) > 10
        assert np.percentile(gaps[:, 0], 95) == 0


def test_interlocked_hands_are_among_one_another():
    """Several fingers of each hand lie at the other hand, and they overlap in the picture."""
    for scene, (skin, joints) in zip(scenes("interlocked"), hands("interlocked"), strict=True):
        overlap = seen_overlap_mm(scene, hand_balls(scene, skin, joints))
        assert (overlap > 4).mean() >= 0.6
        near = np.zeros((len(joints), 2))
        for k, pair in enumerate(skin):
            for side in (0, 1):
                away, _ = cKDTree(pair[1 - side]).query(joints[k, side])
                near[k, side] = (away < 18).sum()
        assert (near.min(axis=1) >= 1).mean() >= 0.6
        assert (near.sum(axis=1) >= 5).mean() >= 0.6


def test_objects_are_held_or_pass_before_the_hands():
    shown = 0
    for scene, (skin, _) in zip(scenes("object"), hands("object"), strict=True):
        thing = 0  # things come first among the props
        local = scene.props.local_mm[thing]
        at = np.arange(0, len(scene), len(scene) // len(skin))[: len(skin)]
        placed = local @ scene.props.turn[at, thing].swapaxes(-1, -2)
        placed = placed + scene.props.place_mm[at, thing][:, None]
        assert scene.props.owner[thing] == OWNERS.index("scene")
        gap = np.array(
            [
                min(cKDTree(s).query(p)[0].min() for s in pair[scene.present[0]])
                for pair, p in zip(skin, placed, strict=True)
            ]
        )
        before = placed[..., 2].mean(axis=1) < skin[:, scene.present[0]][..., 2].mean(axis=(1, 2))
        assert (gap < 25).mean() > 0.6 or before.mean() > 0.6
        shown += (gap < 25).mean() > 0.6
    assert shown >= 5


def test_one_hand_only():
    assert all((scene.present.sum(axis=1) == 1).all() for scene in scenes("one"))
    assert {int(scene.present[0].argmax()) for scene in scenes("one")} == {0, 1}


def test_nothing_shows_no_hand():
    for scene, (_, joints) in zip(scenes("none"), hands("none"), strict=True):
        assert not inside(scene, joints)[:, scene.present[0]].any()


def test_passing_hands_come_or_go():
    whole, gone = 0, 0
    for scene, (_, joints) in zip(scenes("passing"), hands("passing"), strict=True):
        share = inside(scene, joints).mean(axis=2)[:, scene.present[0]]
        whole += share.max() > 0.75
        gone += share.min() < 0.25
    assert whole >= 9
    assert gone >= 8
