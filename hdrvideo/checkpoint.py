"""Weights: safetensors files beside the package, loaded strictly. No pickle."""

import json
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from hdrvideo.errors import WeightsError


def weights_path(name: str) -> Path:
    """Give the path of the shipped weights ``name`` (without suffix)."""
    return Path(str(resources.files("hdrvideo"))) / "weights" / f"{name}.safetensors"


def load_weights(net: nn.Module, path: Path, *, kept: Collection[str] = ()) -> None:
    """Fill a net from a safetensors file; every tensor must fit, none may be left over.

    Args:
        net: The net; its parameters keep their own type (files hold fp16).
        path: The file.
        kept: Parts of the net (first words of names) that keep their values where the file has
            nothing of them.

    Raises:
        WeightsError: The file is missing, damaged, or of another net.
    """
    values = _read(path, _remedy(path))
    there = {name.split(".")[0] for name in values}
    wanted = {
        name: value
        for name, value in net.state_dict().items()
        if name.split(".")[0] in there or name.split(".")[0] not in kept
    }
    for name in sorted(set(wanted) ^ set(values)):
        where = "file" if name in wanted else "net"
        raise WeightsError(f"weights {path} do not fit: {name} is not in the {where}")
    for name, value in values.items():
        if value.shape != wanted[name].shape:
            raise WeightsError(
                f"weights {path} do not fit: {name} is {tuple(value.shape)}, "
                f"expected {tuple(wanted[name].shape)}"
            )
    filled = {name: value.to(torch.float32) for name, value in values.items()}
    net.load_state_dict({**net.state_dict(), **filled})


def warm_start(net: nn.Module, path: Path) -> list[str]:
    """Take over the tensors of a file that a net has under the same name and shape.

    Args:
        net: The net; its parameters keep their own type, the others their values.
        path: The file.

    Returns:
        Their names, sorted.

    Raises:
        WeightsError: The file is missing or damaged, or fits nowhere.
    """
    wanted = net.state_dict()
    values = {
        name: value.to(wanted[name].dtype)
        for name, value in _read(path, "name another file to start from").items()
        if name in wanted and value.shape == wanted[name].shape
    }
    if not values:
        raise WeightsError(f"weights {path} fit this net nowhere; name weights of its encoder")
    net.load_state_dict({**wanted, **values})
    return sorted(values)


def read_note(path: Path, name: str) -> Any:
    """Give what a safetensors file says under a name beside its tensors, written as JSON.

    Returns:
        Plain values; None where the file says nothing of it.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path} are missing; {_remedy(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get(name, "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"weights {path} cannot be read ({error}); {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    is_shipped = path.parent == weights_path("any").parent
    return "reinstall hdrvideo" if is_shipped else "name another file of weights"


def _read(path: Path, remedy: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"weights {path} are missing; {remedy}")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path} cannot be read ({error}); {remedy}") from error
