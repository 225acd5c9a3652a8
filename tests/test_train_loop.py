"""The training loop: exact when resumed, loud when a loss breaks, and it learns."""

import csv
import logging
import signal
import sys
import threading
from types import ModuleType

import cv2
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_training import TinyTask, tell, tiny_settings

from hdrvideo.errors import SettingsError, ShapeError, TrainingError, WriteError
from hdrvideo.train.logs import CsvTable
from hdrvideo.train.loop import train


@pytest.fixture(autouse=True)
def _one_thread():
    before, random = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.random.set_rng_state(random)


class Stopping(TinyTask):
    """Asks for a stop in the middle of a step, as a user does."""

    def __init__(self, at: int, number: int) -> None:
        super().__init__()
        self.calls, self.at, self.number = 0, at, number

    def losses(self, net, batch):
        self.calls += 1
        if self.calls == self.at:
            tell(self.number)
        return super().losses(net, batch)


class Breaking(TinyTask):
    """One loss is not finite in one batch."""

    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self.at, self.value = at, value

    def batch(self, number, rank, world):
        batch = super().batch(number, rank, world)
        return batch | {"factor": torch.tensor([self.value if number == self.at else 1.0])}

    def losses(self, net, batch):
        losses = super().losses(net, batch)
        mask = losses["mask"] * batch["factor"][0]
        return losses | {"mask": mask, "sum": mask + 0.01 * losses["size"]}


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps_of(path):
    return [int(row["step"]) for row in table(path)]


def same_files(a, b):
    ours, theirs = load_file(a), load_file(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed_is_the_same_as_in_one_go(tmp_path, number, caplog):
    whole = train(TinyTask(), tiny_settings(), tmp_path / "whole", resume=False)
    out = tmp_path / "parts"
    train(Stopping(7, number), tiny_settings(), out, resume=False)
    assert f"stopped by {number.name} after step 7 of 10; go on with resume" in caplog.text
    assert steps_of(out / "log.csv") == [2, 4, 6]
    assert load_file(out / "last.safetensors")["step/0.weight"] == 7
    parts = train(TinyTask(seed=0), tiny_settings(), out, resume=True)
    assert parts == whole
    for name in ("last.safetensors", "best.safetensors"):
        assert same_files(tmp_path / "whole" / name, out / name)
    assert steps_of(out / "log.csv") == [2, 4, 6, 8, 10]
    assert table(out / "checks.csv") == table(tmp_path / "whole" / "checks.csv")


def test_killed_between_two_saves_no_row_is_doubled(tmp_path):
    out = tmp_path / "killed"
    with pytest.raises(TrainingError, match="mask is nan in step 8"):
        train(Breaking(7, float("nan")), tiny_settings(), out, resume=False)
    # Saved after step 5, where a check was; rows go on to step 6.
    assert steps_of(out / "log.csv") == [2, 4, 6]
    with (out / "log.csv").open("a") as file:
        # A row cut short, its step too.
        file.write("1")
    train(TinyTask(), tiny_settings(), out, resume=True)
    assert steps_of(out / "log.csv") == [2, 4, 6, 8, 10]
    assert steps_of(out / "checks.csv") == [5, 10]
    train(TinyTask(), tiny_settings(), tmp_path / "whole", resume=False)
    assert same_files(tmp_path / "whole" / "last.safetensors", out / "last.safetensors")


def test_a_finished_run_is_left_as_it_is_and_may_be_made_longer(tmp_path):
    first = train(TinyTask(), tiny_settings(steps=4), tmp_path, resume=False)
    before = (tmp_path / "last.safetensors").read_bytes()
    assert train(TinyTask(), tiny_settings(steps=4), tmp_path, resume=True) == first
    assert (tmp_path / "last.safetensors").read_bytes() == before
    train(TinyTask(), tiny_settings(steps=6), tmp_path, resume=True)
    assert steps_of(tmp_path / "log.csv") == [2, 4, 6]
    with pytest.raises(SettingsError, match=r"loop\.learning_rate is 0\.5 and was 0\.01"):
        train(TinyTask(), tiny_settings(learning_rate=0.5), tmp_path, resume=True)
    with pytest.raises(SettingsError, match=r"task\.data\.size is 8 and was 4"):
        train(TinyTask(size=8), tiny_settings(), tmp_path, resume=True)
    with pytest.raises(WriteError, match="not an empty folder"):
        train(TinyTask(), tiny_settings(), tmp_path, resume=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_nothing_is_lost(tmp_path, value):
    with pytest.raises(TrainingError) as caught:
        train(Breaking(6, value), tiny_settings(check_every=100), tmp_path, resume=False)
    text = str(caught.value)
    assert f"mask is {value} in step 7 (batch 6), must be finite" in text
    assert "begin anew with a lower learning rate than 0.01" in text
    before = tmp_path / "before"
    train(Stopping(4, signal.SIGTERM), tiny_settings(check_every=100), before, resume=False)
    assert same_files(tmp_path / "last.safetensors", before / "last.safetensors")
    assert not any(t.name == "batches-ahead" for t in threading.enumerate())


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    class Steep(TinyTask):
        def losses(self, net, batch):
            # The root's slope at 0 is infinite, its value is not.
            root = (net[0].bias.sum() * 0).abs().sqrt()
            return {"sum": super().losses(net, batch)["sum"] + root}

    with pytest.raises(TrainingError, match="gradient_norm is nan in step 1"):
        train(Steep(), tiny_settings(), tmp_path, resume=False)
    fresh = load_file(tmp_path / "last.safetensors")
    assert torch.equal(fresh["net/0.weight"], TinyTask().net[0].weight)


def test_an_error_in_a_batch_comes_through(tmp_path):
    class NoPicture(TinyTask):
        def batch(self, number, rank, world):
            if number == 3:
                raise FileNotFoundError("shard 3")
            return super().batch(number, rank, world)

    with pytest.raises(FileNotFoundError, match="shard 3"):
        train(NoPicture(), tiny_settings(), tmp_path, resume=False)
    assert not any(t.name == "batches-ahead" for t in threading.enumerate())
    train(TinyTask(), tiny_settings(), tmp_path, resume=True)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_it_learns(tmp_path, precision):
    settings = tiny_settings(
        steps=150, learning_rate=0.02, check_every=150, ema_decay=0.9, precision=precision
    )
    task = TinyTask(dropout=0)
    task.net.eval()
    metrics = train(task, settings, tmp_path, resume=False)
    assert metrics["agreement"] > 0.9
    losses = [float(row["sum"]) for row in table(tmp_path / "log.csv")]
    assert losses[-1] < 0.5 * losses[0]
    assert task.net.training
    assert {p.dtype for p in task.net.parameters()} == {torch.float32}


def test_settings_are_felt(tmp_path):
    changes = [
        {},
        {"seed": 1},
        {"learning_rate": 0.02},
        {"weight_decay": 0.5},
        {"clip_norm": 0.1},
        {"precision": "bf16"},
    ]
    kernels = []
    for number, change in enumerate(changes):
        task = TinyTask(dropout=0.5)
        train(task, tiny_settings(steps=3, **change), tmp_path / str(number), resume=False)
        kernels.append(task.net[0].weight.detach())
    for kernel in kernels[1:]:
        assert not torch.equal(kernel, kernels[0])
    again = TinyTask(dropout=0.5)
    changed = tiny_settings(steps=3, prefetch=7, log_every=1, save_every=1, check_every=1)
    train(again, changed, tmp_path / "again", resume=False)
    assert torch.equal(again.net[0].weight, kernels[0])


def test_sheets_rows_and_rates_are_written(tmp_path):
    task = TinyTask()
    train(task, tiny_settings(), tmp_path, resume=False)
    # A folder of TensorBoard's, too, where it is installed.
    assert {f.name for f in tmp_path.iterdir()} - {"tensorboard"} == {
        *("settings.json", "log.csv", "checks.csv"),
        *("sheets", "last.safetensors", "best.safetensors"),
    }
    sheets = sorted((tmp_path / "sheets").iterdir())
    assert [s.name for s in sheets] == ["step_000005.png", "step_000010.png"]
    assert (cv2.imread(str(sheets[0]))[..., ::-1] == task.sheet(task.net)).all()
    log = table(tmp_path / "log.csv")
    assert list(log[0])[:4] == ["step", "seconds", "learning_rate", "pictures_per_second"]
    seconds = [float(row["seconds"]) for row in log]
    assert seconds == sorted(seconds)
    for row, before in zip(log, [0.0, *seconds], strict=False):
        rate = 8 / (float(row["seconds"]) - before)
        assert float(row["pictures_per_second"]) == pytest.approx(rate, rel=1e-3)
    assert float(log[-1]["learning_rate"]) == pytest.approx(1e-4)


def test_the_best_weights_are_those_of_the_best_check(tmp_path):
    class Scripted(TinyTask):
        scores = iter([float("nan"), 0.2, 0.9, 0.4, 0.5])

        def check(self, net):
            return {"agreement": next(self.scores)}

    settings = tiny_settings(check_every=2)
    metrics = train(Scripted(), settings, tmp_path / "all", resume=False)
    assert metrics == {"agreement": 0.5}
    with safe_open(tmp_path / "all" / "best.safetensors", framework="pt") as file:
        told = file.metadata()
    assert (told["step"], told["metrics"]) == ("6", '{"agreement": 0.9}')
    Scripted.scores = iter([0.1, 0.2, 0.3, 0.3, 0.3])
    train(Scripted(), settings, tmp_path / "first_of_equals", resume=False)
    best = [tmp_path / name / "best.safetensors" for name in ("all", "first_of_equals")]
    assert same_files(*best)


def test_a_task_must_keep_its_promises(tmp_path):
    class NoSum(TinyTask):
        def losses(self, net, batch):
            return {"mask": super().losses(net, batch)["mask"]}

    class NoMetric(TinyTask):
        better = "iou"

    class GreySheet(TinyTask):
        def sheet(self, net):
            return super().sheet(net)[..., 0]

    with pytest.raises(TrainingError, match="losses are mask; 'sum' must be among them"):
        train(NoSum(), tiny_settings(), tmp_path / "a", resume=False)
    with pytest.raises(TrainingError, match="check gave agreement; 'iou' decides"):
        train(NoMetric(), tiny_settings(), tmp_path / "b", resume=False)
    with pytest.raises(ShapeError, match="sheet_u8"):
        train(GreySheet(), tiny_settings(), tmp_path / "c", resume=False)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": 0}, "steps is 0, expected a whole number from 1"),
        ({"steps": 2.5}, "steps is 2.5, expected a whole number"),
        ({"warmup_steps": 11}, "warmup_steps is 11, expected a whole number from 0 to 10"),
        ({"learning_rate": -1}, "learning_rate is -1, expected a number from"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"ema_decay": 1.5}, "ema_decay is 1.5, expected a number from 0 to 1"),
        ({"prefetch": 0}, "prefetch is 0"),
        ({"device": "tpu"}, "device is 'tpu', expected 'cpu' or 'cuda'"),
        ({"precision": "fp16"}, "precision is 'fp16', expected 'float32' or 'bf16'"),
        ({"channels_last": "yes"}, "channels_last is 'yes', expected True or False"),
    ],
)
def test_settings_out_of_range_are_refused(change, text):
    with pytest.raises(SettingsError, match=text):
        tiny_settings(**change)


def test_a_table_refuses_other_columns(tmp_path):
    path = tmp_path / "log.csv"
    CsvTable(path, keep_steps=0).add({"step": 1, "sum": 2})
    again = CsvTable(path, keep_steps=1)
    with pytest.raises(TrainingError, match="has the columns step, sum, not step, mask"):
        again.add({"step": 2, "mask": 2})
    assert path.read_text() == "step,sum\n1,2\n"


def test_without_tensorboard_one_line_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO, "hdrvideo.train"):
        train(TinyTask(), tiny_settings(), tmp_path, resume=False)
    assert caplog.text.count("no TensorBoard events") == 1
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, folder, purge_step):
            told.append(("open", folder, purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

        def add_image(self, name, picture, step, dataformats):
            told.append((name, picture.shape, step))

        def close(self):
            told.append("close")

    fake = ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    train(TinyTask(), tiny_settings(), tmp_path, resume=False)
    assert told[0] == ("open", str(tmp_path / "tensorboard"), 1)
    assert told[-1] == "close"
    assert ("sheet", (8, 8, 3), 5) in told
    sums = [(value, step) for name, value, step in told[1:-1] if name == "train/sum"]
    rows = [(float(r["sum"]), int(r["step"])) for r in table(tmp_path / "log.csv")]
    for ours, theirs in zip(sums, rows, strict=True):
        assert ours == pytest.approx(theirs)


def test_slow_parts_learn_at_their_share_of_the_rate(tmp_path):
    start = TinyTask().net.state_dict()
    for share in (0.0, 0.1):
        out = tmp_path / str(share)
        settings = tiny_settings(slow=("0",), slow_share=share, steps=1, warmup_steps=0)
        train(TinyTask(), settings, out, resume=False)
        now = load_file(out / "last.safetensors")
        moved = {n: float((now[f"net/{n}"] - v).abs().max()) for n, v in start.items()}
        # One step of Adam moves every number by about the rate.
        assert moved["6.weight"] == pytest.approx(settings.learning_rate, rel=0.1)
        assert moved["0.weight"] == pytest.approx(share * settings.learning_rate, rel=0.1, abs=1e-9)
