"""What a training run tells while it runs: CSV rows, TensorBoard events, sheets, log lines."""

import csv
import logging
from pathlib import Path
from typing import Any

import cv2

from hdrvideo.datatypes import U8, check_array
from hdrvideo.errors import TrainingError
from hdrvideo.files import whole_file

LOGGER = logging.getLogger("hdrvideo.train")


class CsvTable:
    """A CSV file that grows by rows, each with its step in the first column."""

    def __init__(self, path: Path, *, keep_steps: int) -> None:
        """Open or begin it.

        Args:
            path: The file.
            keep_steps: Rows of later steps are dropped: they are made again when a run goes on.
        """
        self._path = path
        self._columns: list[str] = []
        if path.is_file():
            self._keep(keep_steps)

    def add(self, row: dict[str, float]) -> None:
        """Write one row; the first one names the columns.

        Raises:
            TrainingError: The row has other columns.
        """
        if not self._columns:
            self._columns = list(row)
            self._write([self._columns])
        if list(row) != self._columns:
            raise TrainingError(
                f"{self._path} has the columns {', '.join(self._columns)}, not "
                f"{', '.join(row)}; a task gives the same names in every step"
            )
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(f"{v:.8g}" for v in row.values())

    def _keep(self, steps: int) -> None:
        with self._path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        self._columns = rows[0] if rows else []
        # A row that was being written when the run was killed is short, or of a later step.
        whole = [r for r in rows[1:] if len(r) == len(self._columns) and float(r[0]) <= steps]
        self._write([self._columns, *whole])

    def _write(self, rows: list[list[str]]) -> None:
        with (
            whole_file(self._path, overwrite=True, make_folder=True) as partial,
            partial.open("w", encoding="utf-8", newline="") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows(rows)


class RunLog:
    """All of a run's records in one folder; a context.

    ``log.csv`` (losses), ``checks.csv`` (metrics), ``sheets/step_000500.png``, and
    ``tensorboard/`` where the ``tensorboard`` package is installed.
    """

    def __init__(self, out: Path, *, step: int) -> None:
        """Begin, or go on after ``step``; later rows of before are dropped."""
        self._out = out
        self._losses = CsvTable(out / "log.csv", keep_steps=step)
        self._checks = CsvTable(out / "checks.csv", keep_steps=step)
        self._events = _events(out / "tensorboard", step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()

    def losses(self, step: int, row: dict[str, float]) -> None:
        """Record a row of ``log.csv``."""
        self._losses.add({"step": step, **row})
        self._tell("train", step, row)

    def check(self, step: int, metrics: dict[str, float], sheet_u8: U8) -> None:
        """Record a check: a row of ``checks.csv`` and a sheet ``(H, W, 3)`` RGB."""
        self._checks.add({"step": step, **metrics})
        self._tell("check", step, metrics)
        check_array("sheet_u8", sheet_u8, (None, None, 3), "uint8")
        png = cv2.imencode(".png", sheet_u8[..., ::-1])[1].tobytes()
        path = self._out / "sheets" / f"step_{step:06d}.png"
        with whole_file(path, overwrite=True, make_folder=True) as partial:
            partial.write_bytes(png)
        if self._events is not None:
            self._events.add_image("sheet", sheet_u8, step, dataformats="HWC")

    def _tell(self, part: str, step: int, row: dict[str, float]) -> None:
        LOGGER.info("step %d %s: %s", step, part, ", ".join(f"{k} {v:.4g}" for k, v in row.items()))
        if self._events is not None:
            for name, value in row.items():
                self._events.add_scalar(f"{part}/{name}", value, step)


class Means:
    """Means of named numbers since the last :meth:`take`."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, values: dict[str, float]) -> None:
        """Add one step's numbers."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def take(self) -> dict[str, float]:
        """Give the means and begin anew."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


def _events(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        LOGGER.info("no TensorBoard events: the package is not installed (pip install tensorboard)")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
