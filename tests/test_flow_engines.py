"""Motion between crops against motion that is known, and warping along it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from validate_truths import make_scene, make_shot

from hdrvideo.errors import SettingsError, ShapeError
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.motion.flow import (
    DIS_PRESETS,
    HALF_COLOUR,
    CropMesh,
    CropPair,
    DisFlow,
    Flow,
    colour_trust,
    forward_backward_trust,
    warp,
)
from hdrvideo.motion.handflow import HandFlow
from hdrvideo.synth.raster import rasterize
from hdrvideo.validate.handflow import hand_motion
from hdrvideo.validate.squares import SQUARE_PX, frame_from_square
from hdrvideo.validate.truth import save_truth

SIZE = 96
MIDDLE = (SIZE - 1) / 2


def texture(seed: int, margin: int = 0) -> np.ndarray:
    """Give a picture ``(H, W, 3)`` 0..1 with detail of some pixels everywhere."""
    side = SIZE + 2 * margin
    noise = np.random.default_rng(seed).random((side, side, 3), dtype=np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return ((blurred - blurred.min()) / np.ptp(blurred)).astype(np.float32)


def crops(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())


def moved_pair(turn_deg: float, shift_px: tuple[float, float]) -> tuple[CropPair, np.ndarray]:
    """Give a texture and itself turned about its middle and shifted, and the true motion."""
    margin, angle = 24, np.deg2rad(turn_deg)
    wide = texture(0, margin)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, MIDDLE + margin)
    affine = np.concatenate([linear, (middle - linear @ middle + shift_px)[:, None]], axis=1)
    after = cv2.warpAffine(wide, affine, wide.shape[:2], flags=cv2.INTER_CUBIC)
    cut = slice(margin, margin + SIZE)
    v, u = np.mgrid[:SIZE, :SIZE] - MIDDLE
    start = np.stack([u, v], axis=-1)
    true_px = start @ linear.T + shift_px - start
    return CropPair(crops(wide[cut, cut]), crops(after[cut, cut].clip(0, 1))), true_px


@pytest.mark.parametrize("preset", DIS_PRESETS)
@pytest.mark.parametrize(("turn_deg", "shift_px"), [(0, (3.4, -2.2)), (2, (1.0, 0.5))])
def test_dis_finds_shifts_and_turns(preset, turn_deg, shift_px):
    pair, true_px = moved_pair(turn_deg, shift_px)
    flow = DisFlow(preset)(pair)
    inside = (slice(8, -8), slice(8, -8))
    error = np.linalg.norm(flow.uv_px[0].numpy() - true_px, axis=-1)[inside]
    assert np.median(error) < 0.3
    assert np.percentile(error, 95) < 1
    assert (flow.trust[0].numpy()[inside] >= 0.5).mean() > 0.95
    back = DisFlow(preset)(pair.reversed())
    assert np.abs(back.uv_px[0].numpy() + true_px)[inside].mean() < 0.6


def test_what_keeps_still_is_trusted():
    picture = crops(texture(1))
    flow = DisFlow()(CropPair(picture, picture.clone()))
    torch.testing.assert_close(flow.uv_px, torch.zeros_like(flow.uv_px), atol=0.02, rtol=0)
    assert flow.trust.min() > 0.99


@pytest.mark.parametrize("appears", [True, False])
def test_what_comes_or_goes_is_not_trusted(appears):
    behind, patch = texture(2), texture(3)
    cut = slice(32, 64)
    covered = behind.copy()
    covered[cut, cut] = patch[cut, cut]
    pair = CropPair(crops(behind), crops(covered))
    trust = DisFlow()(pair if appears else pair.reversed()).trust[0]
    inner = slice(38, 58)
    assert trust[inner, inner].median() < 0.3
    outside = torch.ones_like(trust, dtype=torch.bool)
    outside[20:76, 20:76] = False
    assert trust[outside].mean() > 0.95


def test_a_batch_is_its_pairs():
    pairs = [moved_pair(0, (2.0, 1.0))[0], moved_pair(4, (0.0, 0.0))[0]]
    both = CropPair(
        torch.cat([p.first_rgb for p in pairs]), torch.cat([p.second_rgb for p in pairs])
    )
    engine = DisFlow("fast")
    together = engine(both)
    assert len(together) == len(both) == 2
    for row, pair in enumerate(pairs):
        alone = engine(pair)
        assert torch.equal(together.uv_px[row], alone.uv_px[0])
        assert torch.equal(together.trust[row], alone.trust[0])


def test_like_colours_are_trusted_and_others_not():
    grey = torch.full((1, 3, 16, 16), 0.5)
    still = torch.zeros(1, 16, 16, 2)
    assert (colour_trust(grey, grey.clone(), still) == 1).all()
    half = colour_trust(grey, grey + HALF_COLOUR, still)
    torch.testing.assert_close(half, torch.full_like(half, 0.5), atol=1e-4, rtol=0)
    assert colour_trust(grey, grey + 0.3, still).max() < 1e-6
    # Along true motion colours are alike.
    picture = crops(texture(5))
    along = colour_trust(picture, picture.roll(4, dims=3), constant(4, 0, SIZE))
    astray = colour_trust(picture, picture.roll(4, dims=3), constant(-4, 0, SIZE))
    inner = (0, slice(8, -8), slice(8, -8))
    torch.testing.assert_close(along[inner], torch.ones_like(along[inner]), atol=1e-4, rtol=0)
    assert astray[inner].mean() < 0.4


def constant(u: float, v: float, size: int = 8) -> torch.Tensor:
    return torch.tensor([float(u), float(v)]).expand(1, size, size, 2).contiguous()


def test_trust_is_one_half_where_the_published_check_ends():
    there = constant(1.0, 0.0)
    torch.testing.assert_close(
        forward_backward_trust(there, -there)[0, :, :7], torch.ones(8, 7), atol=1e-6, rtol=0
    )
    # |w + v|^2 = 0.01 (|w|^2 + |v|^2) + 0.5 with w = (1, 0) and v = (-1, b), solved for b.
    b = np.sqrt((0.01 * 2 + 0.5) / 0.99)
    inside = forward_backward_trust(there, constant(-1.0, b))[0, :, :7]
    torch.testing.assert_close(inside, torch.full((8, 7), 0.5), atol=1e-5, rtol=0)
    assert (forward_backward_trust(there, constant(-1.0, 3.0)) < 0.01).all()


def test_trust_ends_where_the_picture_does():
    trust = forward_backward_trust(constant(2.0, 0.0), constant(-2.0, 0.0))[0]
    assert (trust[:, :6] > 0.99).all()
    assert (trust[:, 6:] == 0).all()
    there = constant(1.0, 0.0)
    there[0, 3, 3] = torch.nan
    assert forward_backward_trust(there, constant(-1.0, 0.0))[0, 3, 3] == 0


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel()


@pytest.fixture(scope="module")
def truth(model, tmp_path_factory):
    scene = make_scene(model)
    return save_truth(tmp_path_factory.mktemp("truth"), [make_shot(scene, model)], scene)


def square_k(truth, frame: int) -> np.ndarray:
    affine = np.eye(3)
    affine[:2] = frame_from_square(truth.square(frame))
    return (np.linalg.inv(affine) @ truth.k_px[frame])[None].astype(np.float32)


def hand_pair(truth, model, frame: int, side: int) -> CropPair:
    """Give the squares' crops without a picture but with the hand's meshes."""
    meshes = []
    for n in (frame, frame + 1):
        row = slice(n, n + 1)
        posed = model(
            torch.from_numpy(truth.pose[row, side]),
            torch.from_numpy(truth.shape[None, side]),
            side=side,
            wrist_mm=torch.from_numpy(truth.wrist_mm[row, side]),
            wrist_bend=torch.from_numpy(truth.wrist_bend[row, side]),
        )
        meshes.append(CropMesh(posed.vertices_mm, torch.from_numpy(square_k(truth, n))))
    none = torch.zeros(1, 3, SQUARE_PX, SQUARE_PX)
    return CropPair(none, none, *meshes)


def places(mesh: CropMesh) -> torch.Tensor:
    """Project vertices one by one: u, v, depth."""
    rows = []
    for vertex in mesh.vertices_mm[0]:
        u, v, w = mesh.k_px[0] @ vertex
        rows.append(torch.stack([u / w, v / w, vertex[2]]))
    return torch.stack(rows)


@pytest.mark.parametrize("side", [0, 1])
def test_the_hand_moves_as_the_benchmark_says(truth, model, side):
    flow = HandFlow(model)(hand_pair(truth, model, 0, side))
    place_px = hand_motion(truth, model, 0, side)
    v, u = np.mgrid[:SQUARE_PX, :SQUARE_PX]
    true_px = place_px - np.stack([u, v], axis=-1)
    # The benchmark knows what is seen in both; at the wrist one triangle more counts as hand.
    seen = np.isfinite(true_px[..., 0])
    known = np.isfinite(flow.uv_px[0, ..., 0].numpy())
    assert seen.sum() > 3000
    assert (seen & known).sum() > 0.97 * seen.sum()
    both = seen & known
    np.testing.assert_allclose(flow.uv_px[0].numpy()[both], true_px[both], atol=0.05)
    assert np.linalg.norm(true_px[both], axis=-1).mean() > 1.5
    assert (flow.trust[0].numpy()[both] == 1).mean() > 0.99
    assert (flow.trust[0].numpy()[~seen] == 1).mean() < 0.01


def test_vertices_move_as_the_flow_says(truth, model):
    pair = hand_pair(truth, model, 1, 0)
    flow = HandFlow(model)(pair)
    before, after = places(pair.first_mesh), places(pair.second_mesh)
    faces, _ = model.triangles(0)
    raster = rasterize(
        before, faces, torch.zeros(len(faces), dtype=torch.int64), 1, SQUARE_PX, SQUARE_PX
    )
    is_hand = model.part != PARTS.index("forearm")
    pixel = before[:, :2].round().long()
    is_hand &= ((pixel >= 0) & (pixel < SQUARE_PX)).all(dim=1)
    u, v = pixel.clamp(0, SQUARE_PX - 1).unbind(1)
    is_near = is_hand & (before[:, 2] <= raster.depth_mm[0, v, u] + 0.5)
    found = flow.uv_px[0, v, u]
    judged = is_near & found.isfinite().all(dim=1)
    error = (found - (after - before)[:, :2])[judged].norm(dim=1)
    assert judged.sum() > 200
    # From a vertex to its pixel's centre is at most 0.7 px, over which the motion hardly changes.
    assert error.median() < 0.1
    assert error.quantile(0.95) < 0.5


def test_a_mirrored_crop_moves_mirrored(truth, model):
    pair = hand_pair(truth, model, 0, 1)
    flip = torch.tensor([[-1.0, 0, SQUARE_PX - 1], [0, 1, 0], [0, 0, 1]])
    meshes = [replace(mesh, k_px=flip @ mesh.k_px) for mesh in (pair.first_mesh, pair.second_mesh)]
    flow = HandFlow(model)(pair)
    mirrored = HandFlow(model)(CropPair(pair.first_rgb, pair.second_rgb, *meshes))
    back = mirrored.uv_px.flip(2) * torch.tensor([-1.0, 1.0])
    both = flow.uv_px.isfinite() & back.isfinite()
    assert both.sum() > 0.98 * flow.uv_px.isfinite().sum() > 1000
    error = (flow.uv_px - back)[both].abs()
    assert error.quantile(0.99) < 0.02


def still_pair(model, turn_deg: float = 0.0, size: int = 64) -> CropPair:
    """Give a flat hand that fills the crop, and the same turned about the long axis."""
    pose = torch.zeros(2, 16, 3)
    pose[1, 0, 1] = np.deg2rad(turn_deg)
    hand = model(pose, wrist_mm=torch.tensor([[-10.0, 60.0, 500.0]]).expand(2, 3))
    k_px = torch.tensor([[[130.0, 0, 31.5], [0, 130.0, 31.5], [0, 0, 1]]])
    none = torch.zeros(1, 3, size, size)
    return CropPair(none, none, *(CropMesh(hand.vertices_mm[n : n + 1], k_px) for n in range(2)))


def test_a_still_hand_keeps_still_and_its_forearm_is_not_it(model):
    flow = HandFlow(model)(still_pair(model))
    known = flow.uv_px.isfinite().all(dim=-1)
    assert 500 < known.sum() < 2000
    assert flow.uv_px[known].abs().max() < 1e-3
    assert torch.equal(flow.trust > 0, known)
    # The wrist is at row 31.5 + 130 * 60 / 500 = 47; the forearm goes on to the edge.
    assert not known[0, 54:].any()
    assert known[0, 40].any()


def test_what_turns_away_is_not_trusted(model):
    flow = HandFlow(model)(still_pair(model, 180.0))
    known = flow.uv_px.isfinite().all(dim=-1)
    assert known.sum() > 500
    assert (flow.trust[known] > 0).float().mean() < 0.1


def test_hands_that_are_not_there_and_batches(model):
    pair = still_pair(model, 10.0)
    first = torch.cat([pair.first_mesh.vertices_mm, pair.first_mesh.vertices_mm])
    first[0] = torch.nan
    k_px = pair.first_mesh.k_px.expand(2, -1, -1)
    second = pair.second_mesh.vertices_mm.expand(2, -1, -1)
    none = pair.first_rgb.expand(2, -1, -1, -1)
    both = CropPair(none, none, CropMesh(first, k_px), CropMesh(second, k_px))
    engine = HandFlow(model)
    flow = engine(both)
    assert flow.uv_px[0].isnan().all()
    assert (flow.trust[0] == 0).all()
    alone = engine(pair)
    assert torch.equal(flow.uv_px[1].nan_to_num(99), alone.uv_px[0].nan_to_num(99))
    assert torch.equal(flow.trust[1], alone.trust[0])
    back = engine(both.reversed())
    assert back.uv_px[0].isnan().all()
    assert (back.trust[0] == 0).all()
    assert back.trust[1].any()


def along(uv_px: torch.Tensor) -> Flow:
    return Flow(uv_px, torch.ones(uv_px.shape[:3]))


def test_there_and_back_is_the_start():
    pair, true_px = moved_pair(6, (2.0, -1.0))
    there = along(torch.from_numpy(true_px).float()[None])
    angle = np.deg2rad(-6)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    v, u = np.mgrid[:SIZE, :SIZE] - MIDDLE
    start = np.stack([u, v], axis=-1)
    back = along(torch.from_numpy((start - [2.0, -1.0]) @ linear.T - start).float()[None])
    warped, trust = warp(pair.second_rgb, there)
    judged = (slice(None), slice(10, -10), slice(10, -10))
    assert (warped[0][judged] - pair.first_rgb[0][judged]).abs().mean() < 0.02
    assert (pair.second_rgb[0][judged] - pair.first_rgb[0][judged]).abs().mean() > 0.06
    again, _ = warp(warped, back)
    assert (again[0][judged] - pair.second_rgb[0][judged]).abs().mean() < 0.04
    assert (trust == 0).any()


def test_unusable_pairs(model):
    pair = still_pair(model)
    with pytest.raises(ShapeError, match=r"only one of first_mesh and second_mesh is given; give"):
        CropPair(pair.first_rgb, pair.second_rgb, first_mesh=pair.first_mesh)
    other = CropMesh(torch.zeros(1, 7, 3), pair.first_mesh.k_px)
    with pytest.raises(ShapeError, match=r"second_mesh.vertices_mm is .*\(1, 7, 3\), expected"):
        CropPair(pair.first_rgb, pair.second_rgb, pair.first_mesh, other)
    twice = CropMesh(torch.zeros(2, 7, 3), pair.first_mesh.k_px.expand(2, 3, 3))
    with pytest.raises(ShapeError, match=r"first_mesh.vertices_mm is .*\(2, 7, 3\), expected"):
        CropPair(pair.first_rgb, pair.second_rgb, twice, twice)
    with pytest.raises(ShapeError, match=r"the pair has no meshes; HandFlow needs first_mesh and"):
        HandFlow(model)(CropPair(pair.first_rgb, pair.second_rgb))
    with pytest.raises(ShapeError, match=r"meshes have 7 vertices, the hand model has 1871"):
        HandFlow(model)(CropPair(pair.first_rgb, pair.second_rgb, other, other))
    with pytest.raises(ShapeError, match=r"crops are 8 px wide, DIS needs at least 16; use larger"):
        DisFlow()(CropPair(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)))
    with pytest.raises(SettingsError, match=r"DIS preset is 'slow', expected one of ultrafast,"):
        DisFlow("slow")
