"""EfficientNet-Lite0's trunk: shapes, alignment, and norms that stay."""

import pytest
import torch
from torch import nn

from hdrvideo.frame.efficientnet import CHANNELS, EfficientTrunk, FixedNorm, Inverted


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return EfficientTrunk().eval()


def test_features_are_of_their_strides_and_neither_fade_nor_explode(trunk):
    with torch.inference_mode():
        features = trunk.features(torch.rand(2, 3, 96, 96))
    assert [tuple(f.shape) for f in features] == [
        (2, channels, 96 // stride, 96 // stride) for stride, channels in CHANNELS.items()
    ]
    for feature in features:
        assert 0.05 < feature.std() < 50


def test_it_has_the_published_number_of_parameters(trunk):
    """4,652,008 less the last convolution, its norm and the classifier of 1000 kinds."""
    head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert sum(p.numel() for p in trunk.parameters()) == 4_652_008 - head


@pytest.mark.parametrize("is_training", [True, False])
def test_norms_are_torchs_with_statistics_that_stay(is_training):
    torch.manual_seed(1)
    ours, theirs = FixedNorm(4), nn.BatchNorm2d(4, eps=1e-3).eval()
    values = {name: torch.rand(4) + 0.5 for name in ours.state_dict()}
    ours.load_state_dict(values)
    theirs.load_state_dict(values, strict=False)
    x = torch.randn(3, 4, 5, 6)
    torch.testing.assert_close(ours.train(is_training)(x), theirs(x))
    assert all(torch.equal(value, values[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("channels_out", "stride", "adds"), [(8, 1, True), (8, 2, False), (12, 1, False)]
)
def test_a_block_adds_itself_where_it_can(channels_out, stride, adds):
    torch.manual_seed(2)
    block = Inverted(8, channels_out, 3, stride, 6)
    x = torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        with_all = block(x)
        block.project[1].weight.zero_()
        alone = block(x)
    assert with_all.shape == (1, channels_out, 6 // stride, 6 // stride)
    assert torch.equal(alone, x if adds else torch.zeros_like(with_all))


def test_what_is_told_goes_into_the_stem(trunk):
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        plain, none = trunk.features(x), trunk.features(x, torch.zeros(1, 32, 32, 32))
        told = trunk.features(x, torch.ones(1, 32, 32, 32))
    for a, b, c in zip(plain, none, told, strict=True):
        assert torch.equal(a, b)
        assert not torch.allclose(a, c)
