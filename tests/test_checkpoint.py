"""Starting a net from another's weights: what fits is taken over, and nothing else."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hdrvideo.checkpoint import load_weights, warm_start, weights_path
from hdrvideo.errors import WeightsError


def tiny() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_what_fits_is_taken_and_the_rest_stays(tmp_path):
    net = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    given = {
        "0.weight": torch.full((4, 3), 0.5, dtype=torch.float16),
        "1.num_batches_tracked": torch.tensor(7),
        "2.weight": torch.ones(3, 4),
        "3.weight": torch.ones(2, 2),
    }
    save_file(given, tmp_path / "start.safetensors")
    taken = warm_start(net, tmp_path / "start.safetensors")
    assert taken == ["0.weight", "1.num_batches_tracked"]
    after = net.state_dict()
    assert after["0.weight"].dtype == torch.float32
    assert (after["0.weight"] == 0.5).all()
    assert after["1.num_batches_tracked"] == 7
    for name in set(before) - set(taken):
        assert torch.equal(after[name], before[name]), name


def test_a_file_of_the_same_net_is_taken_whole(tmp_path):
    save_file(tiny().state_dict(), tmp_path / "start.safetensors")
    warm, strict = tiny(), tiny()
    assert warm_start(warm, tmp_path / "start.safetensors") == sorted(warm.state_dict())
    load_weights(strict, tmp_path / "start.safetensors")
    x = torch.rand(5, 3)
    assert torch.equal(warm.eval()(x), strict.eval()(x))


def test_a_start_that_fits_nowhere_is_refused_and_changes_nothing(tmp_path):
    net = tiny()
    before = net[0].weight.clone()
    text = r"palm\.safetensors fit this net nowhere; name weights of its encoder"
    with pytest.raises(WeightsError, match=text):
        warm_start(net, weights_path("palm"))
    assert torch.equal(net[0].weight, before)


def test_missing_and_damaged_starts_are_refused(tmp_path):
    path = tmp_path / "start.safetensors"
    with pytest.raises(WeightsError, match=r"start\.safetensors are missing; name another file"):
        warm_start(tiny(), path)
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"cannot be read \(.*\); name another file to start"):
        warm_start(tiny(), path)


def test_parts_that_a_file_lacks_keep_their_values_if_they_may(tmp_path):
    net, path = tiny(), tmp_path / "part.safetensors"
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ones = {name: torch.ones_like(value) for name, value in before.items()}
    without = {name: value for name, value in ones.items() if not name.startswith("0.")}
    save_file(without, path)
    with pytest.raises(WeightsError, match=r"do not fit: 0\.bias is not in the file"):
        load_weights(net, path)
    load_weights(net, path, kept=("0",))
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith("0.") else ones[name])
    # Half a part is none, and a whole one is taken.
    save_file(without | {"0.bias": ones["0.bias"]}, path)
    with pytest.raises(WeightsError, match=r"do not fit: 0\.weight is not in the file"):
        load_weights(net, path, kept=("0",))
    save_file(ones, path)
    load_weights(net, path, kept=("0",))
    assert (net.state_dict()["0.bias"] == 1).all()
