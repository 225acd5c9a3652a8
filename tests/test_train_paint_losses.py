"""HDRM's losses and scores against slow and obvious ones; the perceptual nets."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from bare_hands import R, drawn

from hdrvideo.errors import WeightsError
from hdrvideo.frame.hdrm import find_regions
from hdrvideo.train.paint_losses import (
    LandmarkFeatures,
    SqueezeNetFeatures,
    feature_distance,
    gram,
    l1_in,
    make_features,
    paint_scores,
    painted_holes,
    patch_loss,
    smoothness,
    style_distance,
)
from hdrvideo.validate.perceptual import SqueezeNetDistance, weight_shapes


def test_l1_is_over_the_pixels_of_the_hole():
    a, b = drawn(0, 2, 3, 6, 6), drawn(1, 2, 3, 6, 6)
    where = (drawn(2, 2, 1, 6, 6) < 0.3).float()
    total, n = 0.0, 0
    for i, v, u in (where[:, 0] > 0).nonzero().tolist():
        for c in range(3):
            total, n = total + abs(float(a[i, c, v, u] - b[i, c, v, u])), n + 1
    assert float(l1_in(a, b, where)) == pytest.approx(total / n, rel=1e-5)
    assert float(l1_in(a, b, torch.zeros_like(where))) == 0
    # A hole a tenth as large gives no smaller loss.
    even = torch.zeros_like(a)
    assert float(l1_in(even + 0.5, even, where)) == pytest.approx(0.5)


def test_smoothness_compares_neighbours_in_the_hole():
    picture, where = drawn(0, 1, 3, 5, 5), (drawn(1, 1, 1, 5, 5) < 0.7).float()
    sums = []
    for dv, du in ((0, 1), (1, 0)):
        found = [
            float((picture[0, :, v, u] - picture[0, :, v + dv, u + du]).abs().mean())
            for v in range(5 - dv)
            for u in range(5 - du)
            if where[0, 0, v, u] and where[0, 0, v + dv, u + du]
        ]
        sums.append(np.mean(found))
    assert float(smoothness(picture, where)) == pytest.approx(sum(sums), rel=1e-5)
    assert float(smoothness(torch.full_like(picture, 0.3), where)) == 0


def test_feature_and_style_distance_against_loops():
    found = [drawn(0, 2, 4, 4, 4), drawn(1, 2, 3, 2, 2)]
    wanted = [drawn(2, 2, 4, 4, 4) * 7, drawn(3, 2, 3, 2, 2)]
    where = (drawn(4, 2, 1, 8, 8) < 0.4).float()
    features, styles = [], []
    for x, y in zip(found, wanted, strict=True):
        k = 8 // x.shape[-1]
        share = where.unfold(2, k, k).unfold(3, k, k).mean(dim=(4, 5))
        unit = math.sqrt(float((y * y).mean()))
        total = sum(
            float((x[i, :, v, u] - y[i, :, v, u]).abs().mean() * share[i, 0, v, u])
            for i in range(2)
            for v in range(x.shape[2])
            for u in range(x.shape[3])
        )
        features.append(total / float(share.sum()) / unit)
        for i in range(2):
            grams = []
            for z in (x, y):
                product = torch.zeros(z.shape[1], z.shape[1])
                for v in range(x.shape[2]):
                    for u in range(x.shape[3]):
                        product += share[i, 0, v, u] * torch.outer(z[i, :, v, u], z[i, :, v, u])
                grams.append(product / share[i].sum())
            styles.append(float((grams[0] - grams[1]).abs().mean()) / unit**2 / 2)
    assert float(feature_distance(found, wanted, where)) == pytest.approx(
        np.mean(features), rel=1e-4
    )
    assert float(style_distance(found, wanted, where)) == pytest.approx(sum(styles) / 2, rel=1e-4)
    assert torch.allclose(gram(found[0], torch.ones(2, 1, 4, 4))[0], grams_of_all(found[0][0]))
    # Equal features are no distance, nothing to paint neither, and the unit does not matter.
    assert float(feature_distance(wanted, wanted, where)) == 0
    assert float(style_distance(found, wanted, torch.zeros_like(where))) == 0
    scaled = feature_distance([9 * x for x in found], [9 * y for y in wanted], where)
    assert float(scaled) == pytest.approx(np.mean(features), rel=1e-4)


def grams_of_all(features: torch.Tensor) -> torch.Tensor:
    flat = features.flatten(1)
    return flat @ flat.T / flat.shape[1]


def test_patches_count_by_the_hole_that_they_hold():
    logits = torch.tensor([[[[2.0, -1.0], [0.0, 3.0]]]])
    where = torch.zeros(1, 1, 4, 4)
    where[0, 0, :2, :2] = 1
    where[0, 0, 0, 2] = 1
    expected = (math.log1p(math.exp(-2.0)) * 1 + math.log1p(math.exp(1.0)) * 0.25) / 1.25
    assert float(patch_loss(logits, where, is_true=True)) == pytest.approx(expected, rel=1e-4)
    expected = (math.log1p(math.exp(2.0)) * 1 + math.log1p(math.exp(-1.0)) * 0.25) / 1.25
    assert float(patch_loss(logits, where, is_true=False)) == pytest.approx(expected, rel=1e-4)
    assert float(patch_loss(logits, where * 0, is_true=True)) == 0


def test_scores_of_the_truth_and_of_a_grey_error():
    truth = drawn(0, 2, 3, 32, 32) * 0.8
    uncover, remove = torch.zeros(2, 1, 32, 32), torch.zeros(2, 1, 32, 32)
    uncover[:, :, :8], remove[:, :, 16:] = 1, 1
    features = LandmarkFeatures()
    best = paint_scores(truth, truth, uncover, remove, features)
    assert best == {
        "hole_l1": 0, "uncovered_l1": 0, "removed_l1": 0, "perceptual": 0, "psnr_db": 60,
    }  # fmt: skip
    wrong = paint_scores(truth + 0.1 * uncover, truth, uncover, remove, features)
    assert wrong["uncovered_l1"] == pytest.approx(0.1, rel=1e-4)
    assert wrong["removed_l1"] == 0
    assert wrong["hole_l1"] == pytest.approx(0.1 / 3, rel=1e-4)
    assert wrong["psnr_db"] == pytest.approx(-10 * math.log10(0.01 / 4), rel=1e-4)
    assert wrong["perceptual"] > 0


def test_holes_are_shared_out():
    masks = torch.zeros(1, 4, R, R)
    masks[0, 1, 20:44, 10:40] = 1
    masks[0, 2:, 10:50, 30:50] = 1
    masks[0, 0] = masks[0, 1] * (1 - masks[0, 2])
    regions = find_regions(masks)
    weight = torch.nn.functional.max_pool2d(regions.uncover + regions.remove, 3, 1, 1)
    uncover, remove = painted_holes(regions, weight)
    assert torch.equal(uncover + remove, weight)
    assert (uncover >= regions.uncover).all()
    assert (remove >= regions.remove).all()


# The perceptual nets.


def write_squeezenet(path: Path, **change) -> Path:
    rng = np.random.default_rng(0)
    shapes = {"conv1": (96, 3, 7, 7)}
    entry = 96
    for name, (narrow, wide) in {
        "fire2": (16, 64), "fire3": (16, 64), "fire4": (32, 128), "fire5": (32, 128),
    }.items():  # fmt: skip
        shapes |= {
            f"{name}/conv1x1_1": (narrow, entry, 1, 1),
            f"{name}/conv1x1_2": (wide, narrow, 1, 1),
            f"{name}/conv3x3_2": (wide, narrow, 3, 3),
        }
        entry = 2 * wide
    arrays = {}
    for name, shape in shapes.items():
        arrays[f"{name}.weight"] = rng.normal(0, 0.05, shape).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(0, 0.05, shape[0]).astype(np.float32)
    np.savez(path, **(arrays | change))
    return path


def test_squeezenet_is_read_as_the_validator_reads_it(tmp_path):
    path = write_squeezenet(tmp_path / "net.npz")
    with np.load(path) as file:
        more = {n: np.zeros(s, np.float32) for n, s in weight_shapes().items()}
        np.savez(tmp_path / "all.npz", **(more | dict(file)))
    features = make_features(str(path))
    rgb = drawn(0, 2, 3, R, R)
    found = features(rgb)
    theirs = SqueezeNetDistance(tmp_path / "all.npz").features(rgb)
    assert [tuple(f.shape[1:]) for f in found] == [(96, 29, 29), (128, 14, 14), (256, 7, 7)]
    assert torch.allclose(found[0], theirs[0], atol=1e-4)
    assert torch.allclose(found[1], theirs[1], atol=1e-4)
    assert not [p for p in features.parameters() if p.requires_grad]


def test_a_bad_squeezenet_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"none.npz are missing; give the path of the .npz"):
        SqueezeNetFeatures(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(WeightsError, match=r"bad.npz cannot be read"):
        SqueezeNetFeatures(tmp_path / "bad.npz")
    other = write_squeezenet(tmp_path / "other.npz", **{"conv1.bias": np.zeros(64, np.float32)})
    with pytest.raises(WeightsError, match=r"conv1.bias is \(64,\), expected \(96,\)"):
        SqueezeNetFeatures(other)


def test_the_landmark_nets_first_layers_are_its_own():
    features = make_features(None)
    found = features(drawn(0, 1, 3, R, R))
    assert [tuple(f.shape[1:]) for f in found] == [(16, 32, 32), (24, 16, 16), (40, 8, 8)]
    assert not features.training
    x = drawn(1, 1, 3, R, R).requires_grad_()
    sum(f.sum() for f in features(x)).backward()
    assert x.grad.abs().sum() > 0
