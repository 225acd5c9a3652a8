"""Batches made ahead, signals, and many workers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import TinyTask, tell, tiny_settings

from hdrvideo.errors import TrainingError
from hdrvideo.train.loop import train
from hdrvideo.train.parallel import BatchesAhead, StopOnSignal, joined_workers


def number_batch(number: int) -> dict[str, torch.Tensor]:
    return {"number": torch.tensor([number])}


def is_making() -> bool:
    return any(t.name == "batches-ahead" for t in threading.enumerate())


def test_batches_come_in_order_from_another_thread():
    makers = set()

    def make(number):
        makers.add(threading.current_thread())
        return number_batch(number)

    with BatchesAhead(make, range(3, 20), ahead=2) as batches:
        assert [int(b["number"]) for b in batches] == list(range(3, 20))
    assert len(makers) == 1
    assert threading.current_thread() not in makers
    assert not is_making()


def test_no_more_than_asked_are_made_ahead():
    made = []

    def make(number):
        made.append(number)
        return number_batch(number)

    with BatchesAhead(make, range(100), ahead=2) as batches:
        next(iter(batches))
        time.sleep(0.1)
        # One taken, two ready, and one in hand before the full queue.
        assert made == [0, 1, 2, 3]
    assert not is_making()


def test_an_error_in_a_batch_comes_in_its_place_and_the_thread_is_joined():
    def make(number):
        if number == 2:
            raise ValueError("no such picture")
        return number_batch(number)

    seen = []

    def take_all():
        with BatchesAhead(make, range(9), ahead=1) as batches:
            for batch in batches:
                seen.append(int(batch["number"]))

    with pytest.raises(ValueError, match="no such picture"):
        take_all()
    assert seen == [0, 1]
    assert not is_making()


def test_an_error_in_the_loop_joins_the_thread():
    made = []

    def make(number):
        made.append(number)
        return number_batch(number)

    def fail_at_first():
        with BatchesAhead(make, range(1000), ahead=2) as batches:
            for _ in batches:
                raise KeyError("loop")

    with pytest.raises(KeyError, match="loop"):
        fail_at_first()
    assert not is_making()
    assert len(made) < 100


def test_a_signal_asks_and_a_second_interrupt_is_obeyed_at_once():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopOnSignal(many_workers=False) as stop:
        assert stop.name == ""
        tell(signal.SIGTERM)
        assert stop.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            tell(signal.SIGINT)
    with StopOnSignal(many_workers=True) as stop:
        tell(signal.SIGINT)
        tell(signal.SIGINT)
        assert stop.name == "SIGINT"
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between processes")
def test_a_signal_that_the_system_sends_asks_too():
    code = """
import os, signal
from hdrvideo.train.parallel import StopOnSignal
with StopOnSignal(many_workers=False) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    print(stop.name)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "SIGTERM\n", ran.stderr


def test_outside_the_main_thread_signals_are_left_alone():
    names = []

    def enter():
        with StopOnSignal(many_workers=False) as stop:
            names.append(stop.name)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert names == [""]


def test_alone_there_is_one_worker():
    with joined_workers("cpu") as workers:
        assert (workers.rank, workers.world, workers.is_first) == (0, 1, True)
        net = TinyTask().net
        assert workers.share(net) is net
        assert workers.mean(torch.tensor([1.0, 3.0])).tolist() == [1, 3]


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with (
        pytest.raises(TrainingError, match=r"GPU 1 is asked for and 1 are here; .*device 'cpu'"),
        joined_workers("cuda"),
    ):
        pass


def test_two_workers_train_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("tiny_training.py")
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(script.parent.parent),
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(script), str(tmp_path)],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], told
    alone = TinyTask(dropout=0)
    train(alone, tiny_settings(steps=3), tmp_path / "alone", resume=False)
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    start = TinyTask(dropout=0).net.state_dict()
    for name, value in alone.net.state_dict().items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], value, rtol=0, atol=1e-6)
        assert (value - start[name]).abs().max() > 1e-3
    # One log, with the losses of the whole batch.
    columns = ("mask", "sum", "gradient_norm")
    for row, other in zip(rows(tmp_path / "run"), rows(tmp_path / "alone"), strict=True):
        assert [float(row[c]) for c in columns] == pytest.approx([float(other[c]) for c in columns])


def rows(out: Path) -> list[dict[str, str]]:
    head, *lines = (out / "log.csv").read_text().splitlines()
    return [dict(zip(head.split(","), line.split(","), strict=True)) for line in lines]
