"""One process or many: workers under ``torchrun``, batches made ahead, an orderly stop."""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from hdrvideo.errors import SettingsError, TrainingError

# Longer than the longest check, in which only the first worker is busy.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Workers:
    """This process among those that train one net together.

    Attributes:
        rank: Number of this process, from 0.
        world: How many there are.
        device: What this process computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Tell whether this process logs, checks and saves."""
        return self.rank == 0

    def share(self, net: nn.Module) -> nn.Module:
        """Give the net to call: gradients are averaged over the workers; starts from rank 0's."""
        if self.world == 1:
            return net
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=devices)

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over the workers; all get the same."""
        if self.world > 1:
            distributed.all_reduce(values)
            values = values / self.world
        return values

    def wait(self) -> None:
        """Go on when all workers are here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined_workers(device: str) -> Iterator[Workers]:
    """Join the other workers that ``torchrun`` started, or be the only one.

    Args:
        device: ``cpu`` (workers talk by gloo) or ``cuda`` (nccl, one GPU each).

    Raises:
        TrainingError: There is no such GPU.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda" and local_rank >= torch.cuda.device_count():
        raise TrainingError(
            f"device is 'cuda', GPU {local_rank} is asked for and {torch.cuda.device_count()} are "
            "here; start as many workers as GPUs, or train with device 'cpu'"
        )
    own = torch.device("cuda", local_rank) if device == "cuda" else torch.device("cpu")
    if world == 1:
        yield Workers(0, 1, own)
        return
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "nccl" if own.type == "cuda" else "gloo"
    distributed.init_process_group(backend, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        yield Workers(rank, world, own)
    finally:
        distributed.destroy_process_group()


class BatchesAhead:
    """Batches made ahead by one background thread; a context and an iterator.

    An error while a batch is made is raised in the thread that iterates, in the batch's place. On
    leaving the context the thread is joined, whatever happened.
    """

    def __init__(
        self,
        make: Callable[[int], dict[str, Tensor]],
        numbers: range,
        *,
        ahead: int,
        pin: bool = False,
    ) -> None:
        """Prepare; nothing is made before the context is entered.

        Args:
            make: Gives the batch of a number; called in the background thread only.
            numbers: The batches, in order.
            ahead: How many wait ready at most.
            pin: Lay them in page-locked memory, for quick copies to a GPU.
        """
        self._make, self._numbers, self._pin = make, numbers, pin
        self._ready: queue.Queue[dict[str, Tensor] | BaseException] = queue.Queue(ahead)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches-ahead", daemon=True)

    def __enter__(self) -> "BatchesAhead":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        while self._thread.is_alive():
            # The thread may stand before a full queue.
            while not self._ready.empty():
                self._ready.get()
            self._thread.join(0.05)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for _ in self._numbers:
            batch = self._ready.get()
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def _work(self) -> None:
        try:
            for number in self._numbers:
                if self._leaving.is_set():
                    return
                batch = self._make(number)
                if self._pin:
                    batch = {name: value.pin_memory() for name, value in batch.items()}
                self._ready.put(batch)
        except BaseException as error:
            self._ready.put(error)


class StopOnSignal:
    """Within this context SIGINT and SIGTERM only ask for a stop; ``name`` says which came.

    A second SIGINT interrupts at once, unless there are many workers (a terminal's Ctrl-C reaches
    each of them twice: by itself and from ``torchrun``). Outside the main thread, where Python
    takes no signals, nothing is changed.
    """

    def __init__(self, *, many_workers: bool) -> None:
        self.name = ""
        self._many_workers = many_workers
        self._before: dict[int, signal.Handlers | Callable[..., object] | int | None] = {}

    def __enter__(self) -> "StopOnSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.name and number == signal.SIGINT and not self._many_workers:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


def share_of(batch: int, world: int) -> int:
    """Give how many examples of a batch each of ``world`` workers makes.

    Raises:
        SettingsError: The batch cannot be shared out evenly.
    """
    n, rest = divmod(batch, world)
    if rest:
        raise SettingsError(
            f"batch is {batch}, expected a multiple of {world}, the number of workers"
        )
    return n
