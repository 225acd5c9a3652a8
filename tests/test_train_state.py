"""State and files of a training run."""

import json

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from tiny_training import TinyTask, tiny_settings
from torch import nn

from hdrvideo.checkpoint import load_weights
from hdrvideo.errors import SettingsError, TrainingError, WeightsError, WriteError
from hdrvideo.train.loop import learning_rate_at
from hdrvideo.train.state import (
    TrainState,
    check_folder,
    decay_groups,
    ema_decay_at,
    load_state,
    save_best,
    save_settings,
    save_state,
    write_tensors,
)


def stepped(seed: int = 0, steps: int = 2) -> TrainState:
    task = TinyTask(seed=seed)
    state = TrainState.fresh(task.net, 0.01)
    for number in range(steps):
        state.optimizer.zero_grad()
        task.losses(task.net, task.batch(number, 0, 1))["sum"].backward()
        state.optimizer.step()
        state.average(ema_decay_at(number, 0.999))
    state.step, state.seconds, state.metrics, state.best = steps, 1.5, {"agreement": 0.5}, 0.75
    return state


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_state_comes_back_bit_by_bit(tmp_path):
    state = stepped()
    save_state(state, tmp_path / "last.safetensors")
    back = TrainState.fresh(TinyTask(seed=1).net, 0.01)
    assert not same(back.net.state_dict(), state.net.state_dict())
    load_state(back, tmp_path / "last.safetensors")
    assert same(back.net.state_dict(), state.net.state_dict())
    assert same(back.averaged.state_dict(), state.averaged.state_dict())
    assert not same(back.averaged.state_dict(), state.net.state_dict())
    for ours, theirs in zip(back.net.parameters(), state.net.parameters(), strict=True):
        assert same(back.optimizer.state[ours], state.optimizer.state[theirs])
        assert float(back.optimizer.state[ours]["step"]) == 2
    assert (back.step, back.seconds, back.metrics, back.best) == (2, 1.5, {"agreement": 0.5}, 0.75)
    assert [f.name for f in tmp_path.iterdir()] == ["last.safetensors"]


def test_moments_lie_in_memory_as_their_parameters_do(tmp_path):
    state = stepped()
    save_state(state, tmp_path / "last.safetensors")
    net = TinyTask().net.to(memory_format=torch.channels_last)
    back = TrainState.fresh(net, 0.01)
    load_state(back, tmp_path / "last.safetensors")
    kernel = net[0].weight
    assert back.optimizer.state[kernel]["exp_avg"].stride() == kernel.stride()
    assert kernel.stride() != stepped(steps=0).net[0].weight.stride()


def test_tied_and_frozen_weights_can_be_saved(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net[0].bias.requires_grad_(False)
    state = TrainState.fresh(net, 0.0)
    net(torch.ones(1, 2)).sum().backward()
    state.optimizer.step()
    save_state(state, tmp_path / "last.safetensors")
    load_state(state, tmp_path / "last.safetensors")
    names = set(load_file(tmp_path / "last.safetensors"))
    assert "exp_avg/0.weight" in names
    assert "exp_avg/0.bias" not in names


def test_the_best_file_holds_averaged_weights_as_fp16_and_tells_of_them(tmp_path):
    state = stepped()
    save_best(state, {"steps": 9}, tmp_path / "best.safetensors")
    assert {v.dtype for v in load_file(tmp_path / "best.safetensors").values()} == {torch.float16}
    net = TinyTask(seed=1).net
    load_weights(net, tmp_path / "best.safetensors")
    for ours, theirs in zip(net.parameters(), state.averaged.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    with safe_open(tmp_path / "best.safetensors", framework="pt") as file:
        told = {name: json.loads(value) for name, value in file.metadata().items()}
    assert told == {"step": 2, "metrics": {"agreement": 0.5}, "settings": {"steps": 9}}


def test_no_file_a_damaged_file_and_another_net_are_refused(tmp_path):
    path = tmp_path / "last.safetensors"
    with pytest.raises(TrainingError, match="is missing, nothing to go on from; start without"):
        load_state(stepped(), path)
    save_state(stepped(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match=r"cannot be read .*; start again in an empty folder"):
        load_state(stepped(), path)
    path.write_bytes(whole)
    other = TrainState.fresh(nn.Linear(3, 3), 0.0)
    with pytest.raises(WeightsError, match=r"is of another net: .*Missing key"):
        load_state(other, path)


def test_weights_that_cannot_be_written_leave_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"old")

    def fail(tensors, partial, metadata):
        partial.write_bytes(b"half")
        raise SafetensorError("disk full")

    monkeypatch.setattr("hdrvideo.train.state.save_file", fail)
    with pytest.raises(WriteError, match=r"last.safetensors cannot be written: .*; free its disk"):
        write_tensors(path, {"a": torch.zeros(2)}, {})
    assert path.read_bytes() == b"old"
    assert [f.name for f in tmp_path.iterdir()] == ["last.safetensors"]


def test_average_of_equal_steps_is_the_closed_form():
    net = nn.Linear(3, 2)
    net.register_buffer("count", torch.tensor(1))
    state = TrainState.fresh(net, 0.0)
    start = net.weight.detach().clone()
    with torch.no_grad():
        net.weight.add_(1)
        net.count.fill_(7)
    kept = 1.0
    for number in range(30):
        state.average(ema_decay_at(number, 0.6))
        kept *= min(0.6, (1 + number) / (10 + number))
    expected = kept * start + (1 - kept) * (start + 1)
    torch.testing.assert_close(state.averaged.weight, expected)
    assert int(state.averaged.count) == 7
    assert not state.averaged.weight.requires_grad
    assert not state.averaged.training


def test_the_average_starts_quick_and_ends_at_its_decay():
    assert ema_decay_at(0, 0.999) == 0.1
    assert ema_decay_at(10**6, 0.999) == 0.999
    decays = [ema_decay_at(n, 0.999) for n in range(20_000)]
    assert decays == sorted(decays)


def test_slow_parts_are_groups_of_their_own():
    net = TinyTask().net
    groups = decay_groups(net, 0.01, ["0"])
    assert [g["slow"] for g in groups] == [False, False, True, True]
    slow = {id(p) for g in groups if g["slow"] for p in g["params"]}
    assert slow == {id(p) for p in net[0].parameters()}
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))
    with pytest.raises(SettingsError, match="slow names 'nothing', which is no part of the net"):
        decay_groups(net, 0.01, ["nothing"])


def test_biases_norms_and_prelus_do_not_decay():
    net = TinyTask().net
    net[0].bias.requires_grad_(False)
    decaying, free = decay_groups(net, 0.01)
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert len(decaying["params"]) == 4
    assert {p.ndim for p in decaying["params"]} == {4}
    assert {id(p) for group in (decaying, free) for p in group["params"]} == {
        id(p) for p in net.parameters() if p.requires_grad
    }
    assert any(p is net[1].weight for p in free["params"])


def test_learning_rate_grows_falls_and_ends():
    settings = tiny_settings(steps=100, warmup_steps=9, learning_rate=0.5, final_share=0.02)
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[9] == max(rates) == 0.5
    assert rates[99] == pytest.approx(0.01)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[54] == pytest.approx(0.5 * (1 + 0.02) / 2)
    assert learning_rate_at(1000, settings) == pytest.approx(0.01)
    assert learning_rate_at(0, tiny_settings(steps=1, warmup_steps=0)) == 0.01


def test_a_new_run_wants_an_empty_folder(tmp_path):
    check_folder(tmp_path / "none", {}, resume=False)
    check_folder(tmp_path, {}, resume=False)
    (tmp_path / "notes").touch()
    for path in (tmp_path, tmp_path / "notes"):
        with pytest.raises(WriteError, match="is not an empty folder; choose another, or resume"):
            check_folder(path, {}, resume=False)


def test_a_resumed_run_keeps_its_settings(tmp_path):
    with pytest.raises(TrainingError, match=r"settings.json cannot be read .*nothing to go on"):
        check_folder(tmp_path, {}, resume=True)
    told = {"loop": {"steps": 5, "seed": 0}, "task": {"size": (4, 8), "data": {"gloves": 0.5}}}
    save_settings(tmp_path, told)
    check_folder(tmp_path, told, resume=True)
    check_folder(tmp_path, told | {"loop": {"steps": 9, "seed": 0}}, resume=True)
    other_seed = told | {"loop": {"steps": 5, "seed": 1}}
    with pytest.raises(SettingsError, match=r"loop\.seed is 1 and was 0 .*give it as it was"):
        check_folder(tmp_path, other_seed, resume=True)
    no_gloves = told | {"task": {"size": (4, 8), "data": {}}}
    with pytest.raises(SettingsError, match=r"task\.data.* is 'not given'|is {} and was"):
        check_folder(tmp_path, no_gloves, resume=True)
