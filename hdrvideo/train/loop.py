"""The whole of training, for every net of the project: read :func:`train`.

A net is taught by a :class:`Task`: it makes batches, says what is lost on them, and checks what was
learnt. Use::

    settings = LoopSettings(steps=20_000, device="cuda", precision="bf16")
    metrics = train(task, settings, Path("runs/hasm"), resume=False)

Stop it with Ctrl-C (or SIGTERM) and go on with ``resume=True``; more workers with
``torchrun --nproc-per-node 4``. The folder then holds::

    settings.json      settings of the loop and of the task
    log.csv            losses, averaged since the row before (or since the run was taken up)
    checks.csv         metrics of the averaged weights on held-out pictures
    sheets/            predictions to look at, one sheet a check
    tensorboard/       the same as events, where the package is installed
    last.safetensors   everything needed to go on
    best.safetensors   averaged weights of the best check as fp16: the file to ship

A run that was stopped and resumed makes the very steps of one that was not: batches and dropout are
functions of seed and step. (On a GPU as far as its kernels repeat themselves; dropout only with as
many workers as before.) A run may be resumed with another number of ``steps``; the cosine is then
that of the new number from there on.

Lines are told to the logger ``hdrvideo.train``.
"""

import dataclasses
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hdrvideo.config import check_number
from hdrvideo.datatypes import U8
from hdrvideo.errors import SettingsError, TrainingError
from hdrvideo.train import state as files
from hdrvideo.train.logs import LOGGER, Means, RunLog
from hdrvideo.train.parallel import BatchesAhead, StopOnSignal, Workers, joined_workers
from hdrvideo.train.state import TrainState, ema_decay_at


class Task(Protocol):
    """What is trained: a net, its lessons and its examination.

    A task that trains more than its net (inside :meth:`losses`) is also a
    :class:`hdrvideo.train.state.HasExtra`, so that it can be resumed; one whose net is not told by
    its tensors alone a :class:`hdrvideo.train.state.HasForm`.

    Attributes:
        net: The net, trained in place. No batch norm: its numbers would differ between workers.
        better: The metric of :meth:`check` that decides which weights are best; larger is better.
    """

    net: nn.Module
    better: str

    def describe(self) -> dict[str, Any]:
        """Give all that decides the lessons as plain JSON values; a resumed run must have them."""

    def batch(self, number: int, rank: int, world: int) -> dict[str, Tensor]:
        """Make the batch of a step: CPU tensors with pictures along the first axis.

        A pure function of the task's seed and ``number``, from 0. Worker ``rank`` of ``world``
        gets its share; shares are of one size. Called in a background thread, also while
        :meth:`check` runs.
        """

    def losses(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give named scalars, the same in each step; ``sum`` is what is minimised.

        Args:
            net: The net to call, once, in train mode; with many workers a wrap of :attr:`net`,
                of which every trained parameter must take part in every step.
            batch: On the net's device.
        """

    def check(self, net: nn.Module) -> dict[str, float]:
        """Measure a net (averaged weights, eval mode, no gradients) on held-out pictures."""

    def sheet(self, net: nn.Module) -> U8:
        """Draw predictions of the same net to look at, ``(H, W, 3)`` RGB."""


@dataclass(frozen=True)
class LoopSettings:
    """How a net is trained.

    Attributes:
        steps: Steps in all.
        learning_rate: Of AdamW, after the warm-up.
        warmup_steps: The rate grows from 0 in so many steps.
        final_share: Share of the learning rate at the end of the cosine.
        weight_decay: Of matrices and kernels; biases, norms and PReLUs do not decay.
        ema_decay: Of the averaged weights, once warmed up.
        clip_norm: Longer gradients are shortened to this length.
        save_every: Steps between two ``last.safetensors``.
        check_every: Steps between two checks.
        log_every: Steps between two rows of ``log.csv``.
        slow: Parts of the net (first words of its parameters' names) that learn at ``slow_share``
            of the rate: what comes trained from elsewhere.
        slow_share: See ``slow``.
        seed: Of what is random inside the net (dropout).
        device: ``cpu`` or ``cuda``.
        channels_last: Pictures and kernels lie in memory with channels last.
        precision: ``float32``, or ``bf16`` (autocast; weights stay float32).
        prefetch: Batches made ahead.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    final_share: float = 0.01
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    save_every: int = 200
    check_every: int = 500
    log_every: int = 20
    slow: tuple[str, ...] = ()
    slow_share: float = 0.1
    seed: int = 0
    device: str = "cpu"
    channels_last: bool = True
    precision: str = "float32"
    prefetch: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "save_every", "check_every", "log_every"):
            self._check(name, 1, 100_000_000, whole=True)
        self._check("prefetch", 1, 1000, whole=True)
        self._check("seed", 0, 2**31 - 1, whole=True)
        self._check("warmup_steps", 0, self.steps, whole=True)
        self._check("learning_rate", 1e-12, 10)
        self._check("clip_norm", 1e-12, 1e12)
        for name in ("final_share", "weight_decay", "ema_decay", "slow_share"):
            self._check(name, 0, 1)
        for name, known in (
            ("device", ("cpu", "cuda")),
            ("channels_last", (True, False)),
            ("precision", ("float32", "bf16")),
        ):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"LoopSettings.{name} is {getattr(self, name)!r}, expected {known[0]!r} or "
                    f"{known[1]!r}"
                )

    def _check(self, name: str, low: float, high: float, *, whole: bool = False) -> None:
        check_number(f"LoopSettings.{name}", getattr(self, name), low, high, whole=whole)


def train(task: Task, settings: LoopSettings, out: Path, *, resume: bool) -> dict[str, float]:
    """Train a net; see the head of this file.

    Args:
        task: The net and its lessons.
        settings: How.
        out: The run's folder; empty or new, or that of the run to go on with.
        resume: Go on from ``last.safetensors``.

    Returns:
        The metrics of the latest check; of the final weights unless the run was stopped before.
        Only the first of many workers has them.

    Raises:
        TrainingError: A loss is not finite, or there is nothing to go on from.
        SettingsError: A setting is not the one that the run was begun with.
        WriteError: The folder of a new run is not empty, or cannot be written.
    """
    told = {"loop": dataclasses.asdict(settings), "task": task.describe()}
    with joined_workers(settings.device) as workers:
        files.check_folder(out, told, resume=resume)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        placed = task.net.to(workers.device, memory_format=layout)  # type: ignore[call-overload]
        net = workers.share(placed)
        state = TrainState.fresh(placed, settings.weight_decay, settings.slow)
        state.extra = task if isinstance(task, files.HasExtra) else None
        state.form = task.form() if isinstance(task, files.HasForm) else None
        if resume:
            files.load_state(state, out / files.LAST)
        workers.wait()
        if workers.is_first:
            files.save_settings(out, told)
            if not resume:
                files.save_state(state, out / files.LAST)
        with (
            RunLog(out, step=state.step) if workers.is_first else nullcontext() as log,
            StopOnSignal(many_workers=workers.world > 1) as stop,
            BatchesAhead(
                lambda number: task.batch(number, workers.rank, workers.world),
                range(state.step, settings.steps),
                ahead=settings.prefetch,
                pin=settings.device == "cuda",
            ) as batches,
        ):
            means, since = Means(), time.perf_counter()
            for batch in batches:
                values = make_step(task, net, state, batch, settings, workers, stop)
                stopping = values.pop("stop") > 0
                seconds = time.perf_counter() - since
                state.seconds += seconds
                pictures = len(next(iter(batch.values()))) * workers.world
                means.add({**values, "seconds": seconds, "pictures": pictures})
                if log is not None:
                    keep_record(task, state, settings, out, log, means, stopping=stopping)
                since = time.perf_counter()
                if stopping:
                    LOGGER.warning(
                        "stopped by %s after step %d of %d; go on with resume, folder %s",
                        *(stop.name or "another worker", state.step, settings.steps, out),
                    )
                    break
    return state.metrics


def make_step(
    task: Task,
    net: nn.Module,
    state: TrainState,
    batch: dict[str, Tensor],
    settings: LoopSettings,
    workers: Workers,
    stop: StopOnSignal,
) -> dict[str, float]:
    """Make one step: losses, gradients, AdamW, average.

    Args:
        task: Gives the losses.
        net: The net to call; its weights are those of ``state``.
        state: Changed in place; not at all if a loss is not finite.
        batch: This worker's share, on the CPU.
        settings: How.
        workers: All who make this step.
        stop: Tells whether this worker was asked to stop.

    Returns:
        The losses, ``gradient_norm`` before clipping, and ``stop`` > 0 if any worker was asked to
        stop; means over the workers, so all of them go on, fail or stop as one.

    Raises:
        TrainingError: A loss or the gradient is not finite, or ``sum`` is missing.
    """
    # Dropout is a function of the step, so a resumed run has the same; each worker its own.
    torch.manual_seed((settings.seed * 1_000_003 + state.step) * workers.world + workers.rank)
    there = {name: value.to(workers.device, non_blocking=True) for name, value in batch.items()}
    if settings.channels_last:
        there = {
            name: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
            for name, value in there.items()
        }
    net.train()
    is_bf16 = settings.precision == "bf16"
    with torch.autocast(workers.device.type, torch.bfloat16, enabled=is_bf16):
        losses = task.losses(net, there)
    if "sum" not in losses:
        raise TrainingError(f"the task's losses are {', '.join(losses)}; 'sum' must be among them")
    state.optimizer.zero_grad()
    torch.autograd.backward(losses["sum"])
    norm = nn.utils.clip_grad_norm_(state.net.parameters(), settings.clip_norm)
    numbers = [*losses.values(), norm, torch.tensor(float(stop.name != ""), device=workers.device)]
    shared = workers.mean(torch.stack([number.detach().float() for number in numbers]))
    names = [*losses, "gradient_norm", "stop"]
    values = dict(zip(names, shared.tolist(), strict=True))
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{name} is {value} in step {state.step + 1} (batch {state.step}), must be finite; "
                f"{files.LAST} was left as it was: look at that batch, or begin anew with a lower "
                f"learning rate than {settings.learning_rate:g}"
            )
    for group in state.optimizer.param_groups:
        share = settings.slow_share if group["slow"] else 1.0
        group["lr"] = share * learning_rate_at(state.step, settings)
    state.optimizer.step()
    state.average(ema_decay_at(state.step, settings.ema_decay))
    state.step += 1
    return values


def keep_record(
    task: Task,
    state: TrainState,
    settings: LoopSettings,
    out: Path,
    log: RunLog,
    means: Means,
    *,
    stopping: bool,
) -> None:
    """After a step: a row, a check with a sheet, and the files, each when it is due.

    Raises:
        TrainingError: The check lacks the metric that decides.
    """

    def is_due(every: int) -> bool:
        return state.step % every == 0 or state.step == settings.steps

    if is_due(settings.log_every):
        row = means.take()
        rate = row.pop("pictures") / row.pop("seconds")
        first = {
            "seconds": state.seconds,
            "learning_rate": learning_rate_at(state.step - 1, settings),
            "pictures_per_second": rate,
        }
        log.losses(state.step, first | row)
    if is_due(settings.check_every):
        with torch.no_grad():
            state.metrics = task.check(state.averaged.eval())
            log.check(state.step, state.metrics, task.sheet(state.averaged))
        if task.better not in state.metrics:
            raise TrainingError(
                f"the check gave {', '.join(state.metrics)}; {task.better!r} decides which weights "
                "are best and must be among them"
            )
        if state.metrics[task.better] > (-math.inf if state.best is None else state.best):
            state.best = state.metrics[task.better]
            files.save_best(state, dataclasses.asdict(settings), out / files.BEST)
    if stopping or is_due(settings.save_every) or is_due(settings.check_every):
        files.save_state(state, out / files.LAST)


def learning_rate_at(step: int, settings: LoopSettings) -> float:
    """Give the learning rate of the step numbered ``step`` (from 0).

    It grows evenly to ``learning_rate``, reached at ``warmup_steps``, then falls along half a
    cosine to ``final_share`` of it in the last step.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / (settings.warmup_steps + 1)
    length = max(settings.steps - 1 - settings.warmup_steps, 1)
    cosine = (1 + math.cos(math.pi * min((step - settings.warmup_steps) / length, 1))) / 2
    share = settings.final_share + (1 - settings.final_share) * cosine
    return settings.learning_rate * share
