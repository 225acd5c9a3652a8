"""What the commands share on a terminal: consoles, progress, the choice of a device."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

out_console = Console(highlight=False, soft_wrap=True)
err_console = Console(stderr=True, highlight=False, soft_wrap=True)


class Device(str, Enum):
    """Where the nets run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@contextmanager
def show_progress(name: str, total: int | None) -> Iterator[Callable[[str, int], None]]:
    """Show a bar on a terminal; elsewhere a plain line now and then."""
    if not err_console.is_terminal:
        yield _PlainProgress(name, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err_console, transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda stage, n: bar.update(task, completed=n, description=f"{name}: {stage}")


class _PlainProgress:
    """Writes a line to standard error every ten seconds."""

    EVERY_SECONDS = 10.0

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._of = "" if total is None else f" of {total}"
        self._next = time.monotonic() + self.EVERY_SECONDS

    def __call__(self, stage: str, n: int) -> None:
        if time.monotonic() >= self._next:
            err_console.print(f"{self._name}: {stage} {n}{self._of} frames", markup=False)
            self._next = time.monotonic() + self.EVERY_SECONDS


def say(line: str) -> None:
    """Print a line on standard output."""
    out_console.print(line, markup=False)
