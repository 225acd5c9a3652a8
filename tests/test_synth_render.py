"""Rendered shots: exactness between the pictures, truths against the slow and obvious."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from made_scenes import assets, ball, box, made_scene, mirrored

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.geometry import Camera
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.render import Renderer, hand_masks
from hdrvideo.synth.truths import GapMeter

THINGS = (
    ball(30, (10, -40, 400), "scene", 1),
    box((50, 60, 15), (-120, 0, 640), "scene", 3),
    box((36, 50, 36), (-60, 150, 470), "right_arm", 2),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return HandModel()


@pytest.fixture(scope="module")
def renderer(model):
    return Renderer(assets(), model=model)


@pytest.fixture(scope="module")
def scene():
    return made_scene(4, apart_mm=28, things=THINGS)


@pytest.fixture(scope="module")
def shot(renderer, scene):
    return renderer([(scene, t) for t in range(4)])


@pytest.fixture(scope="module")
def coarse(model, scene):
    return Renderer(assets(), model=model, supersample=2)([(scene, 1), (scene, 2)])


def test_full_and_bare_are_equal_where_a_hand_is_visible(shot, coarse):
    for one in (shot, coarse):
        for side in (0, 1):
            mask = one.visible[:, side]
            assert mask.sum() > 500
            full, bare = one.rgb.movedim(1, -1)[mask], one.bare_rgb[:, side].movedim(1, -1)[mask]
            assert torch.equal(full, bare)


def test_a_bare_picture_shows_the_hidden_hand_and_not_the_other(shot):
    hidden = shot.amodal & ~shot.visible
    assert (hidden.sum(dim=(0, 2, 3)) > 100).all()
    differs = (shot.rgb[:, None] != shot.bare_rgb).any(dim=2)
    assert differs[hidden].float().mean() > 0.95
    for side in (0, 1):
        # Where the other hand was visible, it is gone.
        other = shot.visible[:, 1 - side]
        assert differs[:, side][other].float().mean() > 0.95


def test_visible_is_within_whole_and_the_sides_exclude_each_other(shot, coarse):
    for one in (shot, coarse):
        assert not (one.visible & ~one.amodal).any()
    assert not shot.visible.all(dim=1).any()
    assert (shot.face >= 0)[shot.visible.any(dim=1)].all()
    assert torch.equal(shot.depth_mm.isfinite(), shot.face >= 0)


def test_hidden_share_is_counted_by_hand(shot):
    for b in range(len(shot)):
        for side in (0, 1):
            whole = int(shot.amodal[b, side].sum())
            left = int((shot.amodal[b, side] & ~shot.visible[b, side]).sum())
            assert float(shot.hidden_share[b, side]) == pytest.approx(left / whole, abs=1e-6)
            assert bool(shot.present[b, side])


def warped(shot, direction, b, to):
    """Fetch frame ``to``'s colours for the pixels of frame ``b`` that are seen in both."""
    _, height, width = shot.rgb.shape[1:]
    seen = shot.flow_seen[b, direction]
    v, u = seen.nonzero().unbind(1)
    place = torch.stack([u, v], dim=1) + shot.flow_px[b, direction][seen]
    low = place.floor().long().clamp(min=0)
    low = torch.minimum(low, torch.tensor([width - 2, height - 2]))
    share = place - low
    found = 0
    for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = (share[:, 0] if du else 1 - share[:, 0]) * (share[:, 1] if dv else 1 - share[:, 1])
        found = found + weight[:, None] * shot.rgb[to][:, low[:, 1] + dv, low[:, 0] + du].T
    return found, shot.rgb[b][:, v, u].T


@pytest.mark.parametrize(("direction", "b", "to"), [(0, 1, 2), (1, 2, 1), (0, 0, 1), (1, 3, 2)])
def test_the_neighbour_warped_by_the_true_flow_is_the_frame(shot, direction, b, to):
    found, wanted = warped(shot, direction, b, to)
    assert len(found) > 0.85 * shot.rgb[0, 0].numel()
    error = ((found - wanted) ** 2).mean()
    assert float(-10 * torch.log10(error)) > 30
    on_hands = shot.visible[b].any(dim=0)[shot.flow_seen[b, direction]]
    assert on_hands.sum() > 700
    error = ((found - wanted)[on_hands] ** 2).mean()
    assert float(-10 * torch.log10(error)) > 28
    # The test can fail: standing still is worse.
    still = shot.rgb[to][:, shot.flow_seen[b, direction]].T
    assert ((still - wanted)[on_hands] ** 2).mean() > 2 * error


def test_at_the_ends_of_a_scene_there_is_no_flow(shot):
    for b, direction in ((0, 1), (3, 0)):
        assert shot.flow_px[b, direction].isnan().all()
        assert not shot.flow_seen[b, direction].any()
        assert shot.hand_flow_px[b, direction].isnan().all()
    assert shot.flow_px[1].isfinite().all()


def test_a_whole_hands_flow_moves_its_mesh(shot, scene, model):
    """Vertices that are the nearest of their hand move as their pixel's flow says."""
    camera = Camera(*scene.k_px[0, [0, 1], [0, 1]], *scene.k_px[0, :2, 2], source="given")
    for side in (0, 1):
        posed = model(
            torch.from_numpy(scene.pose[1:3, side]),
            side=side,
            wrist_mm=torch.from_numpy(scene.wrist_mm[1:3, side]),
        )
        here, after = camera.project(posed.vertices_mm.numpy())
        depth_mm = hand_masks(
            posed.vertices_mm, torch.from_numpy(scene.k_px[1]), side, 96, 128, model
        )[1][0].numpy()
        u, v = np.rint(here).astype(int).T
        inside = (u >= 0) & (u < 128) & (v >= 0) & (v < 96)
        u, v = np.where(inside, u, 0), np.where(inside, v, 0)
        flow = shot.hand_flow_px[1, 0, side].numpy()[v, u]
        front = inside & (np.abs(depth_mm[v, u] - posed.vertices_mm[0, :, 2].numpy()) < 2)
        front &= np.isfinite(flow[:, 0])
        assert front.sum() > 200
        error = np.linalg.norm(here + flow - after, axis=1)[front]
        assert np.median(error) < 0.1
        assert np.percentile(error, 95) < 0.4
        assert np.linalg.norm(after - here, axis=1)[front].mean() > 0.5
    assert torch.equal(shot.hand_flow_px[1, 0, ..., 0].isfinite(), shot.amodal[1])


def test_flow_of_what_is_visible_is_the_hands(shot):
    for side in (0, 1):
        mask = shot.visible[1, side]
        assert torch.equal(shot.flow_px[1, 0][mask], shot.hand_flow_px[1, 0, side][mask])


def same(one, other, tolerance=0.0):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if tolerance and a.dtype.is_floating_point:
            torch.testing.assert_close(
                a, b, atol=tolerance, rtol=tolerance, equal_nan=True, msg=field.name
            )
        else:
            assert a.numpy().tobytes() == b.numpy().tobytes(), field.name


def test_the_same_input_gives_the_same_bytes(renderer, scene, shot):
    same(renderer([(scene, t) for t in range(4)]), shot)


def test_a_batch_is_the_same_as_its_pictures(renderer, scene, shot):
    strange = made_scene(2, apart_mm=70, number=1, present=(True, False))
    mixed = renderer([(strange, 0), (scene, 2), (strange, 1), (scene, 1)])
    alone = {name: getattr(mixed, name)[1:2] for name in mixed.__dataclass_fields__}
    whole = {name: getattr(shot, name)[2:3] for name in shot.__dataclass_fields__}
    same(type(shot)(**alone), type(shot)(**whole), tolerance=1e-4)
    same(renderer([(scene, 2)]), type(shot)(**whole), tolerance=1e-4)


def test_without_flow_everything_else_is_the_same(model, scene, shot):
    plain = Renderer(assets(), model=model, flow=False)([(scene, t) for t in range(4)])
    assert plain.flow_px.isnan().all()
    assert plain.hand_flow_px.isnan().all()
    assert not plain.flow_seen.any()
    same(replace(
        plain, flow_px=shot.flow_px, flow_seen=shot.flow_seen, hand_flow_px=shot.hand_flow_px
    ), shot, tolerance=1e-4)  # fmt: skip


def test_supersampling_is_the_average_of_a_finer_picture(renderer, scene, coarse):
    k = scene.k_px.copy()
    k[:, :2] *= 2
    k[:, :2, 2] += 0.5
    affine = scene.background.picture_from_frame.copy()
    affine[..., :2] /= 2
    affine[..., 2] -= affine[..., :2].sum(axis=-1) / 2
    finer = replace(
        scene,
        k_px=k,
        height_px=192,
        width_px=256,
        background=replace(scene.background, picture_from_frame=affine),
    )
    fine = renderer([(finer, 1), (finer, 2)])
    # The background is looked up in a picture as fine as the samples.
    pooled = torch.nn.functional.avg_pool2d(fine.rgb, 2)
    hit = coarse.face >= 0
    assert (pooled - coarse.rgb).abs().amax(dim=1)[hit].median() < 1e-3
    amodal = torch.nn.functional.avg_pool2d(fine.amodal.float(), 2) >= 0.5
    assert (amodal != coarse.amodal).float().mean() < 1e-4
    assert (fine.face[:, 1::2, 1::2] != coarse.face).float().mean() < 1e-3


def test_joints_are_where_the_camera_puts_them_and_on_their_hand(shot, scene):
    camera = Camera(*scene.k_px[0, [0, 1], [0, 1]], *scene.k_px[0, :2, 2], source="given")
    wanted = camera.project(shot.xyz_cam_mm.numpy())
    np.testing.assert_allclose(shot.uv_px.numpy(), wanted, atol=1e-3)
    u, v = shot.uv_px.round().long().unbind(-1)
    inside = (u >= 0) & (u < 128) & (v >= 0) & (v < 96)
    frame, side, joint = inside.nonzero().unbind(1)
    on = shot.amodal[frame, side, v[inside], u[inside]]
    assert on.float().mean() > 0.85
    # What is visible lies on the visible hand.
    seen = shot.joint_visible[frame, side, joint]
    assert 0.3 < seen.float().mean() < 0.95
    shown = shot.visible[frame, side, v[inside], u[inside]]
    assert shown[seen].float().mean() > 0.85
    assert shown[~seen].float().mean() < 0.15


def test_an_absent_hand_leaves_nothing(renderer):
    shot = renderer([(made_scene(1, present=(False, True)), 0)])
    assert shot.present.tolist() == [[False, True]]
    for name in ("visible", "amodal", "joint_visible"):
        assert not getattr(shot, name)[0, 0].any(), name
    for name in ("uv_px", "xyz_cam_mm", "hidden_share"):
        assert getattr(shot, name)[0, 0].isnan().all(), name
        assert getattr(shot, name)[0, 1].isfinite().all(), name
    assert shot.gap_mm.isnan().all()
    assert torch.equal(shot.bare_rgb[0, 1], shot.rgb[0])
    nobody = renderer([(made_scene(1, present=(False, False)), 0)])
    assert (nobody.face == -1).all()
    assert torch.equal(nobody.bare_rgb[0, 0], nobody.rgb[0])


def test_hands_outside_the_picture_or_behind_the_camera(renderer):
    aside = made_scene(1, apart_mm=900)
    shot = renderer([(aside, 0)])
    assert not shot.present.any()
    assert shot.hidden_share.isnan().all()
    assert shot.uv_px.isfinite().all()
    assert not shot.joint_visible.any()
    behind = renderer([(made_scene(1, depth_mm=(-400.0, 500.0)), 0)])
    assert behind.present.tolist() == [[False, True]]
    assert behind.uv_px[0, 0].isnan().all()
    assert behind.xyz_cam_mm[0, 0].isfinite().all()


def test_the_mirrored_scene_has_mirrored_masks(renderer):
    scene = made_scene(2, apart_mm=30)
    shot = renderer([(scene, 1), (mirrored(scene), 1)])
    for name in ("visible", "amodal"):
        masks = getattr(shot, name)
        there, here = masks[0], masks[1].flip(0, -1)
        assert (there & here).sum() / (there | here).sum() > 0.985, name
    width = scene.width_px
    uv = shot.uv_px[1].flip(0)
    torch.testing.assert_close(width - 1 - uv[..., 0], shot.uv_px[0, ..., 0])
    # Light comes from one side, so only the shape is mirrored: normals too.
    both = shot.amodal[0].any(dim=0) & shot.amodal[1].any(dim=0).flip(-1)
    normal = shot.normal[1].flip(-1) * torch.tensor([-1, 1, 1.0])[:, None, None]
    cosine = (normal * shot.normal[0]).sum(dim=0)[both]
    assert cosine.median() > 0.98


def test_depth_and_normal_of_a_ball_are_analytic(renderer):
    centre, radius = np.array([0.0, 0.0, 500.0]), 60.0
    scene = made_scene(
        1, present=(False, False), things=[ball(radius, centre)], size_px=(120, 120), focal=1.5
    )
    shot = renderer([(scene, 0)])
    v, u = np.nonzero(shot.face[0].numpy() >= 0)
    k = scene.k_px[0]
    ray = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(len(u))], axis=1)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    along = ray @ centre
    inside = radius**2 - (centre @ centre - along**2)
    clear = inside > (0.5 * radius) ** 2
    near = (along - np.sqrt(np.maximum(inside, 0)))[:, None] * ray
    assert clear.sum() > 1000
    depth = shot.depth_mm[0].numpy()[v, u]
    # The mesh's flat pieces lie a little within the ball.
    assert np.abs(depth - near[:, 2])[clear].max() < 0.07 * radius
    wanted = (near - centre) / radius
    cosine = (shot.normal[0].numpy()[:, v, u].T * wanted).sum(axis=1)
    assert cosine[clear].min() > 0.97


@pytest.mark.parametrize(
    ("owner", "in_mask", "hides"),
    [("scene", False, True), ("right_arm", False, True), ("right_hand", True, False)],
)
def test_who_owns_a_prop_decides_what_it_hides(renderer, owner, in_mask, hides):
    """A box before the right palm."""
    bare = renderer([(made_scene(1), 0)])
    shot = renderer([(made_scene(1, things=[box((12, 12, 4), (-58, 20, 400), owner)]), 0)])
    knuckle = shot.uv_px[0, 0, 0] + 0.5 * (shot.uv_px[0, 0, 9] - shot.uv_px[0, 0, 0])
    u, v = knuckle.round().long().tolist()
    assert shot.face[0, v, u] != bare.face[0, v, u]
    assert bool(shot.amodal[0, 0, v, u]) == (owner != "right_arm")
    assert bool(shot.visible[0, 0, v, u]) == in_mask
    # Seen bare, the scene's things are behind the hand; the arm's stay.
    same_bare = torch.equal(shot.bare_rgb[0, 0, :, v, u], shot.rgb[0, :, v, u])
    assert same_bare == (owner != "scene")
    covered = bare.joint_visible & ~shot.joint_visible
    big = renderer([(made_scene(1, things=[box((45, 70, 4), (-58, 10, 400), owner)]), 0)])
    covered = bare.joint_visible & ~big.joint_visible
    assert (covered[0, 0].sum() > 8) == hides
    assert not covered[0, 1].any()


def test_the_shown_skin_follows_the_hand_masks(renderer, model):
    scene = made_scene(1)
    shot = renderer([(scene, 0)])
    posed = model(
        torch.from_numpy(scene.pose[0]),
        side=torch.tensor([0, 1]),
        wrist_mm=torch.from_numpy(scene.wrist_mm[0]),
    )
    k = torch.from_numpy(scene.k_px[0])
    mask, depth_mm = hand_masks(posed.vertices_mm, k, torch.tensor([0, 1]), 96, 128)
    assert torch.equal(mask, shot.amodal[0])
    torch.testing.assert_close(depth_mm.amin(dim=0), shot.depth_mm[0])


def test_the_gap_is_the_least_distance_of_all_pairs(model):
    meter = GapMeter(model)
    rng = np.random.default_rng(2)
    for apart, behind in ((90, 60), (25, 10), (0, 35), (400, 0)):
        scene = made_scene(3, apart_mm=apart, depth_mm=(460, 460 + behind))
        pose = torch.from_numpy(scene.pose + rng.normal(0, 0.1, scene.pose.shape))
        right, left = (
            model(
                pose[:, side].float(),
                side=side,
                wrist_mm=torch.from_numpy(scene.wrist_mm[:, side]),
            ).vertices_mm
            for side in (0, 1)
        )
        wanted = (right[:, :, None] - left[:, None]).norm(dim=-1).amin(dim=(1, 2))
        torch.testing.assert_close(meter.between(right, left), wanted, atol=1e-3, rtol=0)


def test_errors_say_what_is_wrong(renderer, scene):
    with pytest.raises(ShapeError, match="no frame to render"):
        renderer([])
    with pytest.raises(ShapeError, match="frame 4 is outside the scene's 4 frames"):
        renderer([(scene, 4)])
    with pytest.raises(ShapeError, match=r"\(64, 48\), \(128, 96\).*one size; render them apart"):
        renderer([(scene, 0), (made_scene(1, size_px=(48, 64)), 0)])
    with pytest.raises(SettingsError, match="supersample is 0, expected 1 to 8"):
        Renderer(assets(), supersample=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_same_shot(scene, shot):
    found = Renderer(assets(), device="cuda")([(scene, t) for t in range(4)])
    assert found.rgb.is_cuda
    for name in ("visible", "amodal", "face"):
        differs = getattr(found, name).cpu() != getattr(shot, name)
        assert differs.float().mean() < 2e-3, name
    assert (found.rgb.cpu() - shot.rgb).abs().mean() < 2e-3
    assert torch.equal(found.present.cpu(), shot.present)
