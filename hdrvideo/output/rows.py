"""Parquet files that are written and read hand by hand: what masks and crops have in common."""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from hdrvideo.errors import TrackError
from hdrvideo.files import disk_errors
from hdrvideo.output.save import TableWriter
from hdrvideo.track import TrackMeta

_Writer = TypeVar("_Writer", bound="RowsWriter")
# Gives the error of a place in a file (empty = the whole file) and what is wrong there.
Fault = Callable[[str, str], TrackError]


class RowsWriter(TableWriter):
    """Gathers rows and writes them a group at a time; a context manager.

    The file appears under its own name when the block ends without an error.
    """

    def __init__(
        self,
        path: Path | str,
        meta: TrackMeta,
        schema: Any,
        *,
        rows_per_group: int,
        overwrite: bool,
    ) -> None:
        super().__init__(path, meta, schema, overwrite=overwrite)
        self._rows: list[dict[str, Any]] = []
        self._rows_schema = schema
        self._rows_per_group = rows_per_group

    def __enter__(self: _Writer) -> _Writer:
        super().__enter__()
        self._open.push(self._write_last)
        return self

    def _add(self, rows: list[dict[str, Any]]) -> None:
        self._rows += rows
        if len(self._rows) >= self._rows_per_group:
            self._write_rows()

    def _write_last(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if fault is None and self._rows:
            self._write_rows()

    def _write_rows(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self._rows_schema)
        with disk_errors(self.path):
            self._parquet.write_table(table, row_group_size=table.num_rows)
        self._rows = []


def read_rows(
    path: Path, columns: Mapping[str, type], fault: Fault
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Read one row after the other, in constant memory: its number and its values.

    Args:
        path: The file; columns that are not asked for are ignored.
        columns: What each column's values must be.
        fault: Makes the errors.

    Raises:
        TrackError: The file is damaged, or a value is of another kind.
    """
    try:
        with pq.ParquetFile(path) as parquet:
            missing = [name for name in columns if name not in parquet.schema_arrow.names]
            if missing:
                raise fault("", f"has no column {', '.join(missing)}")
            number = 0
            # One reader for all row groups would keep the pages of those it has passed.
            for group in range(parquet.num_row_groups):
                for batch in parquet.iter_batches(row_groups=[group], columns=list(columns)):
                    for values in batch.to_pylist():
                        _check_kinds(number, values, columns, fault)
                        yield number, values
                        number += 1
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise fault("", f"cannot be read as Parquet: {reason}") from error


def _check_kinds(
    number: int, values: dict[str, Any], columns: Mapping[str, type], fault: Fault
) -> None:
    for name, kind in columns.items():
        if type(values[name]) is not kind:
            text = f"{name} is {values[name]!r:.40}, expected {kind.__name__}"
            raise fault(f"row {number}", text)
