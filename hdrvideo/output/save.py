"""Track, ledger and summary files: written whole or not at all, read back bit for bit.

Every file of this folder is written through :func:`whole_file`: under a hidden temporary name
beside its place, and renamed when it is complete. A track goes out and comes back by windows, so a
clip of any length passes in constant memory.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hdrvideo.errors import SettingsError, TrackError, WriteError
from hdrvideo.output.table import (
    LEDGER_SCHEMA,
    ROWS_PER_FRAME,
    TRACK_SCHEMA,
    ledger_from_table,
    ledger_table,
    track_from_table,
    track_table,
)
from hdrvideo.track import FrameLedger, PoseTrack, TrackMeta

META_KEY: Final = b"hdrvideo"

# Frames of one row group when a whole track is saved, and of one window when it is streamed: 42
# thousand rows, about 6 MB in memory. Larger groups pack no better.
WINDOW_FRAMES: Final = 1000


@contextmanager
def whole_file(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Lend a temporary name beside ``path``; it becomes ``path`` when the block ends well.

    When the block raises, the temporary file is removed and ``path`` is as it was.

    Args:
        path: The final name; its folder must exist.
        overwrite: Replace a file that is already there.

    Yields:
        The temporary name, with the same suffix.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    with disk_errors(path), _partial_file(path, overwrite=overwrite) as partial:
        yield partial


@contextmanager
def _partial_file(path: Path | str, *, overwrite: bool) -> Iterator[Path]:
    path = Path(path)
    if path.exists() and not overwrite:
        raise WriteError(f"{path} exists; pass --overwrite to replace it, or -o for another place")
    if not path.parent.is_dir():
        raise WriteError(f"{path} cannot be written: no folder {path.parent}; create it first")
    # The process number keeps two runs on one clip from writing into the same file.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with disk_errors(path):
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn what the system and Arrow raise on a file into a :class:`WriteError`."""
    try:
        yield
    except OSError as fault:
        raise WriteError(
            f"{path} cannot be written: {fault}; check the disk's space and rights"
        ) from fault


_Writer = TypeVar("_Writer", bound="TableWriter")


class TableWriter:
    """Writes one Parquet file by consecutive windows, under a temporary name until it is closed."""

    def __init__(self, path: Path | str, meta: TrackMeta, schema: Any, *, overwrite: bool) -> None:
        self.path = Path(path)
        self.meta = meta
        self._schema = schema.with_metadata({META_KEY: strict_json(meta.to_json()).encode()})
        self._overwrite = overwrite
        self._open = ExitStack()
        self._last_index: int | None = None

    def __enter__(self: _Writer) -> _Writer:
        with ExitStack() as opening:
            partial = opening.enter_context(_partial_file(self.path, overwrite=self._overwrite))
            with disk_errors(self.path):
                writer = pq.ParquetWriter(partial, self._schema, compression="zstd")
            self._parquet = opening.enter_context(writer)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A fault of the block itself passes unchanged; only faults of closing are the disk's.
        with disk_errors(self.path):
            self._open.__exit__(kind, fault, trace)

    def _write(self, table: Any, frame_index: Any) -> None:
        if table.num_rows == 0:
            return
        _check_follows(self._last_index, int(frame_index[0]), str(self.path))
        with disk_errors(self.path):
            self._parquet.write_table(table, row_group_size=table.num_rows)
        self._last_index = int(frame_index[-1])


class TrackWriter(TableWriter):
    """Writes ``track.parquet`` by windows, one row group each; a context manager.

    The file appears under its own name when the block ends without an error.

    Args:
        path: Where the track goes.
        meta: What holds for the whole track; stored in the file.
        overwrite: Replace a file that is already there.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """

    def __init__(self, path: Path | str, meta: TrackMeta, *, overwrite: bool = False) -> None:
        super().__init__(path, meta, TRACK_SCHEMA, overwrite=overwrite)

    def append(self, window: PoseTrack) -> None:
        """Write the next window; an empty one is nothing.

        Raises:
            TrackError: The window does not follow the last one, or counts time in other units.
        """
        if window.meta.time_base != self.meta.time_base:
            raise TrackError(
                f"window has time base {window.meta.time_base}, expected {self.meta.time_base} as "
                f"in the rest of {self.path}; convert its pts"
            )
        self._write(track_table(window), window.frame_index)


class LedgerWriter(TableWriter):
    """Writes ``frames.parquet`` by windows, in the way of :class:`TrackWriter`."""

    def __init__(self, path: Path | str, meta: TrackMeta, *, overwrite: bool = False) -> None:
        super().__init__(path, meta, LEDGER_SCHEMA, overwrite=overwrite)

    def append(self, window: FrameLedger) -> None:
        """Write the next window; an empty one is nothing.

        Raises:
            TrackError: The window does not follow the last one.
        """
        self._write(ledger_table(window), window.frame_index)


def save_track(track: PoseTrack, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a whole track.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    with TrackWriter(path, track.meta, overwrite=overwrite) as writer:
        for start in range(0, len(track), WINDOW_FRAMES):
            writer.append(track.rows(start, start + WINDOW_FRAMES))
    return Path(path)


def save_summary(path: Path | str, values: dict[str, Any], *, overwrite: bool = False) -> Path:
    """Write a summary as indented JSON; numbers that are not finite become null.

    Args:
        path: Where it goes.
        values: Plain values, NumPy numbers and arrays, lists, tuples and dicts of them.
        overwrite: Replace a file that is already there.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    text = strict_json(values, indent=2)
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def strict_json(value: Any, *, indent: int | None = None) -> str:
    """Give a value as strict JSON; NumPy becomes numbers and lists, NaN and infinity null."""
    gaps = (",", ":") if indent is None else None

    def dumps(value: Any) -> str:
        return json.dumps(value, allow_nan=False, indent=indent, separators=gaps, default=_to_list)

    try:
        return dumps(value)
    except ValueError:
        # A walk over every number is twenty times slower than the encoder: only where one is NaN.
        return dumps(_without_nan(value))


def _to_list(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return _without_nan(value.tolist())
    raise TypeError(f"{type(value).__name__} is no JSON value; turn it into text or numbers first")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def load_meta(path: Path | str) -> TrackMeta:
    """Read what holds for a whole track, from a track or a ledger file.

    Raises:
        TrackError: There is no such file, or it is not ours.
    """
    with _open_parquet(path) as parquet:
        return _meta(parquet, path)


def load_track(path: Path | str) -> PoseTrack:
    """Read a whole track; :func:`iter_track` reads a long one by windows.

    Raises:
        TrackError: There is no such file, it is not ours, or it is not complete.
    """
    with _open_parquet(path) as parquet:
        return track_from_table(parquet.read(), _meta(parquet, path), source=str(path))


def iter_track(path: Path | str, *, rows_per_window: int = WINDOW_FRAMES) -> Iterator[PoseTrack]:
    """Read a track by windows of ``rows_per_window`` frames, the last one shorter.

    Memory holds one window and one batch of the file, however long the clip.

    Raises:
        SettingsError: A window would be empty.
        TrackError: There is no such file, it is not ours, or it is not complete.
    """
    if rows_per_window < 1:
        raise SettingsError(f"rows_per_window is {rows_per_window}, expected 1 frame or more")
    last_index: int | None = None
    with _open_parquet(path) as parquet:
        meta = _meta(parquet, path)
        for table in _whole_windows(parquet, rows_per_window * ROWS_PER_FRAME):
            window = track_from_table(table, meta, source=str(path))
            _check_follows(last_index, int(window.frame_index[0]), str(path))
            last_index = int(window.frame_index[-1])
            yield window


def load_ledger(path: Path | str) -> FrameLedger:
    """Read the account of every source frame.

    Raises:
        TrackError: There is no such file, or it is not ours.
    """
    with _open_parquet(path) as parquet:
        _meta(parquet, path)
        return ledger_from_table(parquet.read(), source=str(path))


@contextmanager
def _open_parquet(path: Path | str) -> Iterator[Any]:
    if not Path(path).is_file():
        raise TrackError(f"no track file {path}; make one with `hdrvideo annotate`")
    try:
        with pq.ParquetFile(path) as parquet:
            yield parquet
    except (pa.ArrowInvalid, OSError) as fault:
        reason = str(fault).splitlines()[0]
        raise TrackError(
            f"{path} cannot be read as Parquet: {reason}; give the track.parquet or "
            "frames.parquet of an annotated clip"
        ) from fault


def _meta(parquet: Any, path: Path | str) -> TrackMeta:
    text = (parquet.schema_arrow.metadata or {}).get(META_KEY)
    if text is None:
        raise TrackError(
            f"{path} has no {META_KEY.decode()!r} entry in its metadata, so it is not ours; give "
            "the file as `hdrvideo annotate` wrote it"
        )
    try:
        return TrackMeta.from_json(json.loads(text))
    except (TypeError, ValueError) as fault:
        raise TrackError(
            f"{path} has damaged metadata: {fault}; give the file as `hdrvideo annotate` wrote it"
        ) from fault


def _whole_windows(parquet: Any, n_rows: int) -> Iterator[Any]:
    """Give tables of ``n_rows`` rows whatever the row groups are, then what is left."""
    waiting: list[Any] = []
    n_waiting = 0
    for batch in _batches(parquet, n_rows):
        waiting.append(batch)
        n_waiting += batch.num_rows
        if n_waiting >= n_rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, n_rows)
            # A batch is never longer than a window, so what is left is shorter than one too.
            waiting = table.slice(n_rows).to_batches()
            n_waiting -= n_rows
    if n_waiting:
        yield pa.Table.from_batches(waiting)


def _batches(parquet: Any, n_rows: int) -> Iterator[Any]:
    # One reader for all row groups would keep the pages of those it has passed (100 MB in 20 min).
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(batch_size=n_rows, row_groups=[group])


def _check_follows(last_index: int | None, first_index: int, source: str) -> None:
    if last_index is not None and first_index != last_index + 1:
        raise TrackError(
            f"window of {source} starts at frame {first_index}, expected {last_index + 1}; "
            "every source frame needs a row, in order"
        )
