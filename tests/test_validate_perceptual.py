"""The net's distance: properties with random weights, and with the real ones where they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from validate_truths import random_weights

from hdrvideo.errors import ShapeError, WeightsError
from hdrvideo.validate.perceptual import SqueezeNetDistance

REAL = Path(__file__).parents[2] / "shared/real/weights/squeezenet_v1.0_imagenet.npz"


@pytest.fixture(scope="module")
def distance(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "squeezenet.npz"
    np.savez(path, **random_weights())
    return SqueezeNetDistance(path)


@pytest.fixture(scope="module")
def pictures():
    torch.manual_seed(0)
    small = torch.rand(2, 3, 12, 12)
    return torch.nn.functional.interpolate(small, 96, mode="bicubic").clamp(0, 1)


def everywhere(pictures: torch.Tensor) -> torch.Tensor:
    return torch.ones(pictures.shape[0], 1, *pictures.shape[2:], dtype=torch.bool)


def test_equal_pictures_have_no_distance(distance, pictures):
    assert distance(pictures, pictures, everywhere(pictures)).tolist() == [[0], [0]]


def test_symmetric_and_one_by_one_the_same(distance, pictures):
    other, region = pictures.flip(0), everywhere(pictures)
    both = distance(pictures, other, region)
    torch.testing.assert_close(both, distance(other, pictures, region))
    torch.testing.assert_close(both[:1], distance(pictures[:1], other[:1], region[:1]))
    assert 0 < float(both.max()) <= 2


def test_more_noise_is_further(distance, pictures):
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    scores = [
        float(distance(pictures + size * noise, pictures, everywhere(pictures)).mean())
        for size in (0.01, 0.05, 0.2)
    ]
    assert scores == sorted(scores)


def test_only_the_region_counts(distance, pictures):
    region = everywhere(pictures)
    region[..., 24:] = False
    far = pictures.clone()
    far[..., 90:] = 0
    near = pictures.clone()
    near[..., :6] = 0
    # The widest features see nearly the whole picture, faintly.
    assert 100 * distance(far, pictures, region).max() < distance(near, pictures, region).min()
    assert distance(pictures, near, region & False).isnan().all()


def test_regions_together_are_regions_one_by_one(distance, pictures):
    regions = everywhere(pictures).repeat(1, 3, 1, 1)
    regions[:, 1, :, 40:] = False
    regions[:, 2, :70] = False
    other = pictures.flip(0)
    together = distance(pictures, other, regions)
    alone = [distance(pictures, other, regions[:, k : k + 1]) for k in range(3)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))
    assert len(set(together[0].tolist())) == 3


def test_the_layers_have_the_sizes_of_the_published_net(distance):
    # 227 px: conv1 111, pool 55, pool 27, pool 13 (the paper's table for 224 says 111, 55, 27, 13).
    found = distance.features(torch.zeros(1, 3, 227, 227))
    sizes = [tuple(f.shape[1:3]) for f in found]
    assert sizes == [(96, 111), (128, 55), (256, 55), (384, 27), (512, 27), (512, 13)]


def test_pictures_that_do_not_fit_are_refused(distance, pictures):
    region = everywhere(pictures)
    with pytest.raises(ShapeError, match=r"predicted is torch.float32 \(2, 3, 32, 32\)"):
        distance(pictures[..., :32, :32], pictures[..., :32, :32], region[..., :32, :32])
    with pytest.raises(ShapeError, match=r"region is torch.float32"):
        distance(pictures, pictures, region.float())


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "net.npz"
    with pytest.raises(WeightsError, match=r"no SqueezeNet weights at .*net.npz"):
        SqueezeNetDistance(path)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read"):
        SqueezeNetDistance(path)
    weights = random_weights()
    np.savez(path, **{**weights, "conv1.weight": np.zeros((64, 3, 3, 3), np.float32)})
    with pytest.raises(WeightsError, match=r"conv1.weight is \(64, 3, 3, 3\), expected"):
        SqueezeNetDistance(path)
    np.savez(path, **{k: v for k, v in weights.items() if "fire9" not in k})
    with pytest.raises(WeightsError, match=r"fire9/conv1x1_1.weight is None"):
        SqueezeNetDistance(path)


@pytest.mark.skipif(not REAL.is_file(), reason="the ImageNet weights are beside the project only")
def test_the_real_net_minds_a_blur_more_than_a_shift_in_brightness():
    # What a perceptual distance is for; the mean absolute difference says the opposite.
    sharp = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1, count_include_pad=False)
    brighter = sharp * 0.5 + 0.5
    assert float((brighter - sharp).abs().mean()) > float((blurred - sharp).abs().mean())
    real = SqueezeNetDistance(REAL)
    region = everywhere(sharp)
    assert (real(blurred, sharp, region) > real(brighter, sharp, region)).all()
