"""What a training run is made of, and its files: saved whole, renamed into place, no pickle."""

import copy
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hdrvideo.errors import SettingsError, TrainingError, WeightsError, WriteError
from hdrvideo.files import whole_file

LAST, BEST, SETTINGS = "last.safetensors", "best.safetensors", "settings.json"
# May differ when a run goes on: they change no step, but ``steps``, which changes the cosine.
FREE = ("steps", "device", "prefetch", "log_every", "save_every", "check_every")
# Of an AdamW state: how many steps a parameter has made, and its two moments.
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@runtime_checkable
class HasExtra(Protocol):
    """A task that trains more than its net, such as a discriminator."""

    def extra_state(self) -> dict[str, Tensor]:
        """Give all that changes beside the net, by name."""

    def load_extra(self, tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`extra_state` gave, as it was saved.

        Raises:
            WeightsError: It does not fit.
        """


@runtime_checkable
class HasForm(Protocol):
    """A task whose net cannot be told by its tensors alone."""

    def form(self) -> dict[str, Any]:
        """Give as plain JSON values what is to be known of the net whose weights these are."""


@dataclass
class TrainState:
    """All that changes while a net is trained; what ``last.safetensors`` holds.

    Attributes:
        net: The net, trained in place.
        averaged: Exponential moving average of its weights, in eval mode; what is checked and
            shipped.
        optimizer: AdamW over the net's parameters.
        step: Steps made.
        seconds: Seconds they took, waiting for batches included, checks left out.
        metrics: Of the latest check.
        best: Best value so far of the metric that decides; None before the first check.
        extra: Has more that changes; None = nothing has.
        form: Is written beside the weights to ship; None = nothing is.
    """

    net: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    extra: HasExtra | None = None
    form: dict[str, Any] | None = None

    @classmethod
    def fresh(cls, net: nn.Module, weight_decay: float, slow: Collection[str] = ()) -> "TrainState":
        """Begin with a net as it is; see :func:`decay_groups`."""
        averaged = copy.deepcopy(net).eval().requires_grad_(False)
        return cls(net, averaged, torch.optim.AdamW(decay_groups(net, weight_decay, slow)))

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Move the average towards the net's weights: ``decay * average + (1 - decay) * net``.

        Buffers (numbers that are no parameters) are copied.
        """
        for mean, now in zip(self.averaged.parameters(), self.net.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for copied, buffer in zip(self.averaged.buffers(), self.net.buffers(), strict=True):
            copied.copy_(buffer)


def decay_groups(
    net: nn.Module, weight_decay: float, slow: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Split the trained parameters into what decays and what learns slowly.

    Biases, norms and PReLUs (at most 1 axis) do not decay. Parameters of the parts named in
    ``slow`` (the first word of their names) are in groups of their own, with ``slow`` True.

    Raises:
        SettingsError: The net has no such part.
    """
    trained = [(name.split(".")[0], p) for name, p in net.named_parameters() if p.requires_grad]
    unknown = sorted(set(slow) - {name.split(".")[0] for name, _ in net.named_parameters()})
    if unknown:
        raise SettingsError(f"slow names {unknown[0]!r}, which is no part of the net")
    groups = []
    for is_slow in (False, True):
        chosen = [p for name, p in trained if (name in slow) == is_slow]
        for decay, parameters in (
            (weight_decay, [p for p in chosen if p.ndim > 1]),
            (0.0, [p for p in chosen if p.ndim <= 1]),
        ):
            if parameters or not is_slow:
                groups.append({"params": parameters, "weight_decay": decay, "slow": is_slow})
    return groups


def ema_decay_at(step: int, decay: float) -> float:
    """Give the decay of the moving average in the step numbered ``step`` (from 0).

    ``min(decay, (1 + step) / (10 + step))``: an early average soon forgets the random start.
    """
    return min(decay, (1 + step) / (10 + step))


def save_state(state: TrainState, path: Path) -> None:
    """Write all of a run's state to one safetensors file; numbers are JSON in its metadata."""
    tensors = {f"net/{name}": value for name, value in state.net.state_dict().items()}
    for name, value in state.averaged.state_dict().items():
        tensors[f"averaged/{name}"] = value
    for name, parameter in state.net.named_parameters():
        for moment, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = value
    if state.extra is not None:
        tensors |= {f"extra/{name}": value for name, value in state.extra.extra_state().items()}
    numbers = {
        "step": state.step,
        "seconds": state.seconds,
        "metrics": state.metrics,
        "best": state.best,
    }
    write_tensors(path, tensors, {"state": json.dumps(numbers)})


def load_state(state: TrainState, path: Path) -> None:
    """Fill a fresh state of the same net from :func:`save_state`'s file.

    Raises:
        TrainingError: There is no such file.
        WeightsError: It is damaged, or of another net.
    """
    if not path.is_file():
        raise TrainingError(f"{path} is missing, nothing to go on from; start without resume")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            numbers = json.loads((file.metadata() or {})["state"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error!r}); start again in an empty folder"
        ) from error
    try:
        state.net.load_state_dict(_under("net", tensors))
        state.averaged.load_state_dict(_under("averaged", tensors))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} is of another net: {reason}") from error
    for name, parameter in state.net.named_parameters():
        if f"step/{name}" not in tensors:
            continue
        moments = {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
        # In the parameter's own memory order and place, as AdamW made them.
        for moment in MOMENTS[1:]:
            moments[moment] = torch.empty_like(parameter).copy_(moments[moment]).detach()
        state.optimizer.state[parameter] = moments
    if state.extra is not None:
        state.extra.load_extra(_under("extra", tensors))
    state.step, state.seconds = numbers["step"], numbers["seconds"]
    state.metrics, state.best = numbers["metrics"], numbers["best"]


def save_best(state: TrainState, settings: dict[str, Any], path: Path) -> None:
    """Write the averaged weights as fp16, the file to ship; step, metrics and more beside them."""
    tensors = {
        name: value.half() if value.is_floating_point() else value
        for name, value in state.averaged.state_dict().items()
    }
    told = {"step": state.step, "metrics": state.metrics, "settings": settings}
    if state.form is not None:
        told["form"] = state.form
    write_tensors(path, tensors, {name: json.dumps(value) for name, value in told.items()})


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file; tensors may lie anywhere and share memory.

    Raises:
        WriteError: The file cannot be written; the one of before stays.
    """
    plain = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }
    with whole_file(path, overwrite=True, make_folder=True) as partial:
        try:
            save_file(plain, partial, metadata)
        except SafetensorError as error:
            raise WriteError(f"{path} cannot be written: {error}; free its disk") from error


def check_folder(out: Path, told: dict[str, Any], *, resume: bool) -> None:
    """Refuse a folder that a run must not write to; changes nothing.

    Args:
        out: The run's folder.
        told: The run's settings, ``{"loop": ..., "task": ...}``.
        resume: The run goes on from what is there.

    Raises:
        WriteError: A new run and the folder is not empty.
        TrainingError: There is nothing to go on from.
        SettingsError: A setting is not what the run began with.
    """
    if not resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise WriteError(f"{out} is not an empty folder; choose another, or resume the run")
        return
    path = out / SETTINGS
    try:
        before = _flat(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}), nothing to go on from; start without resume"
        ) from error
    now = _flat(json.loads(json.dumps(told)))
    for name in sorted(set(before) | set(now)):
        if name in {f"loop.{free}" for free in FREE}:
            continue
        old, new = before.get(name, "not given"), now.get(name, "not given")
        if old != new:
            raise SettingsError(
                f"{name} is {new!r} and was {old!r} when {out} was begun; "
                "give it as it was, or start in another folder"
            )


def save_settings(out: Path, told: dict[str, Any]) -> None:
    """Write ``settings.json``."""
    text = json.dumps(told, indent=2) + "\n"
    with whole_file(out / SETTINGS, overwrite=True, make_folder=True) as partial:
        partial.write_text(text, encoding="utf-8")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {n.removeprefix(start): value for n, value in tensors.items() if n.startswith(start)}


def _flat(values: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Give nested values by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{where}{name}.")
        else:
            flat[f"{where}{name}"] = value
    return flat
