"""The columns of a track file and of a ledger file, and the way from arrays to columns and back.

A track table has one row for every source frame, side and joint, in that order: 42 rows a frame,
also where a hand is absent (NaN). A ledger table has one row for every source frame.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hdrvideo.errors import ShapeError, TrackError
from hdrvideo.hand import JOINTS, N_JOINTS, SIDES
from hdrvideo.track import (
    DECODE_STATUS,
    N_SHAPE,
    PROVENANCE,
    REASONS,
    FrameLedger,
    PoseTrack,
    TrackMeta,
)

ROWS_PER_FRAME: Final = len(SIDES) * N_JOINTS

# Array of PoseTrack -> its columns, one for each entry of the last axis.
JOINT_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "uv_px": ("u_px", "v_px"),
    "xyz_cam_mm": ("x_cam_mm", "y_cam_mm", "z_cam_mm"),
    "xyz_rel_mm": ("x_rel_mm", "y_rel_mm", "z_rel_mm"),
    "raw_uv_px": ("raw_u_px", "raw_v_px"),
    "raw_xyz_cam_mm": ("raw_x_cam_mm", "raw_y_cam_mm", "raw_z_cam_mm"),
    "turn_rad": ("turn_x_rad", "turn_y_rad", "turn_z_rad"),
}
# A hand's shape stands in each of its rows.
SHAPE_COLUMNS: Final = tuple(f"shape_{k:02d}" for k in range(N_SHAPE))

_NAME: Final = pa.dictionary(pa.int8(), pa.string())

TRACK_SCHEMA: Final = pa.schema(
    [
        ("frame_index", pa.int32()),
        ("pts", pa.int64()),
        ("pts_seconds", pa.float64()),
        ("hand", _NAME),
        ("joint", _NAME),
        *((column, pa.float32()) for columns in JOINT_COLUMNS.values() for column in columns),
        ("confidence", pa.float32()),
        ("visible", pa.bool_()),
        ("present", pa.bool_()),
        ("provenance", _NAME),
        ("side_score", pa.float32()),
        *((column, pa.float32()) for column in SHAPE_COLUMNS),
    ]
)

LEDGER_SCHEMA: Final = pa.schema(
    [
        ("frame_index", pa.int32()),
        ("pts", pa.int64()),
        ("pts_seconds", pa.float64()),
        ("decode_status", _NAME),
        ("right_status", _NAME),
        ("left_status", _NAME),
    ]
)


def track_table(track: PoseTrack) -> Any:
    """Give a track, or a window of one, as a table of :data:`TRACK_SCHEMA`.

    Every kind of float is NaN where there is no value, never null.
    """
    n = len(track)

    def per_frame(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values, ROWS_PER_FRAME)

    def per_hand(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values.reshape(-1), N_JOINTS)

    columns: dict[str, Any] = {
        "frame_index": per_frame(track.frame_index.astype(np.int32)),
        "pts": per_frame(track.pts),
        "pts_seconds": per_frame(track.pts_seconds),
        "hand": _names(np.tile(np.repeat(np.arange(len(SIDES)), N_JOINTS), n), SIDES),
        "joint": _names(np.tile(np.arange(N_JOINTS), n * len(SIDES)), JOINTS),
        "confidence": track.confidence.reshape(-1),
        "visible": track.visible.reshape(-1),
        "present": per_hand(track.present),
        "provenance": _names(per_hand(track.provenance), PROVENANCE),
        "side_score": per_hand(track.side_score),
    }
    for array, names in JOINT_COLUMNS.items():
        flat = getattr(track, array).reshape(-1, len(names))
        columns.update({name: flat[:, k] for k, name in enumerate(names)})
    columns.update({name: per_hand(track.shape[..., k]) for k, name in enumerate(SHAPE_COLUMNS)})
    return pa.table([pa.array(columns[name]) for name in TRACK_SCHEMA.names], schema=TRACK_SCHEMA)


def track_from_table(table: Any, meta: TrackMeta, *, source: str) -> PoseTrack:
    """Rebuild a track from whole frames of a track table; extra columns are ignored.

    Args:
        table: Rows as :func:`track_table` gives them.
        meta: What holds for the whole track.
        source: What to call the table in an error, usually its path.

    Raises:
        TrackError: A column is missing or of the wrong kind, or the rows are not every joint of
            both hands for consecutive frames.
    """
    columns = _Columns(table, TRACK_SCHEMA, source)
    if table.num_rows % ROWS_PER_FRAME:
        raise TrackError(
            f"{source} has {table.num_rows} rows, expected a multiple of {ROWS_PER_FRAME} "
            "(2 hands of 21 joints a frame); the file was cut or filtered, annotate the clip again"
        )
    n = table.num_rows // ROWS_PER_FRAME
    _check_product(columns, n, source)
    hand = (n, len(SIDES), N_JOINTS)
    arrays: dict[str, Any] = {
        array: np.stack([columns.values(c).reshape(hand) for c in names], axis=-1)
        for array, names in JOINT_COLUMNS.items()
        if array != "xyz_rel_mm"
    }
    shape = [columns.values(c).reshape(hand)[:, :, 0] for c in SHAPE_COLUMNS]
    first = columns.codes("provenance", PROVENANCE).reshape(hand)[:, :, 0]
    try:
        return PoseTrack(
            meta=meta,
            frame_index=columns.values("frame_index")[::ROWS_PER_FRAME].astype(np.int64),
            pts=columns.values("pts")[::ROWS_PER_FRAME].copy(),
            confidence=columns.values("confidence").reshape(hand),
            visible=columns.values("visible").reshape(hand),
            provenance=first.astype(np.uint8),
            side_score=columns.values("side_score").reshape(hand)[:, :, 0].copy(),
            shape=np.stack(shape, axis=-1),
            **arrays,
        )
    except ShapeError as fault:
        raise TrackError(f"{source} is not a sound track: {fault}; annotate again") from fault


def ledger_table(ledger: FrameLedger) -> Any:
    """Give a ledger, or a window of one, as a table of :data:`LEDGER_SCHEMA`."""
    columns: dict[str, Any] = {
        "frame_index": ledger.frame_index.astype(np.int32),
        "pts": ledger.pts,
        "pts_seconds": ledger.pts_seconds,
        "decode_status": _names(ledger.decode_status, DECODE_STATUS),
    }
    for s, side in enumerate(SIDES):
        columns[f"{side}_status"] = _names(ledger.reason[:, s], REASONS)
    return pa.table([pa.array(columns[name]) for name in LEDGER_SCHEMA.names], schema=LEDGER_SCHEMA)


def ledger_from_table(table: Any, *, source: str) -> FrameLedger:
    """Rebuild a ledger from its table; the counterpart of :func:`ledger_table`.

    Raises:
        TrackError: A column is missing, of the wrong kind, or holds an unknown word.
    """
    columns = _Columns(table, LEDGER_SCHEMA, source)
    reasons = [columns.codes(f"{side}_status", REASONS) for side in SIDES]
    return FrameLedger(
        frame_index=columns.values("frame_index").astype(np.int64),
        pts=columns.values("pts"),
        pts_seconds=columns.values("pts_seconds"),
        decode_status=columns.codes("decode_status", DECODE_STATUS).astype(np.uint8),
        reason=np.stack(reasons, axis=1).astype(np.uint8),
    )


def _names(codes: NDArray[Any], words: tuple[str, ...]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(words))


def _check_product(columns: "_Columns", n: int, source: str) -> None:
    frame = columns.values("frame_index").reshape(n, ROWS_PER_FRAME)
    hand = columns.codes("hand", SIDES).reshape(n, len(SIDES), N_JOINTS)
    joint = columns.codes("joint", JOINTS).reshape(n, len(SIDES), N_JOINTS)
    right = (
        (frame == frame[:, :1]).reshape(hand.shape)
        & (hand == np.arange(len(SIDES))[:, None])
        & (joint == np.arange(N_JOINTS))
    )
    if not right.all():
        row = int(np.argmin(right.reshape(-1)))
        raise TrackError(
            f"{source} row {row} is out of order, expected {ROWS_PER_FRAME} rows a frame: right "
            "then left hand, wrist to little_tip; sort by frame, then in that order"
        )


class _Columns:
    """The columns of a table, checked against a schema when first touched."""

    def __init__(self, table: Any, schema: Any, source: str) -> None:
        missing = [name for name in schema.names if name not in table.column_names]
        if missing:
            raise TrackError(
                f"{source} has no column {', '.join(missing)}; give a file that "
                "`hdrvideo annotate` wrote (track.parquet or frames.parquet)"
            )
        self._table, self._schema, self._source = table, schema, source

    def values(self, name: str) -> NDArray[Any]:
        """Give one column of numbers or booleans in its own type; a null number is NaN."""
        column, kind = self._table[name], self._schema.field(name).type
        nulls_are_nan = pa.types.is_floating(kind)
        if column.type != kind or (column.null_count and not nulls_are_nan):
            raise self._fault(name, f"{column.type} with {column.null_count} nulls", str(kind))
        return np.array(column.to_numpy())

    def codes(self, name: str, words: tuple[str, ...]) -> NDArray[np.int64]:
        """Give one column of words as their places in ``words``."""
        column = self._table[name].combine_chunks()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = column.dictionary_encode()
        if not pa.types.is_dictionary(column.type) or column.null_count:
            raise self._fault(name, f"{column.type} with {column.null_count} nulls", "words")
        found = column.dictionary.to_pylist()
        unknown = sorted({str(word) for word in found if word not in words})
        if unknown:
            raise self._fault(name, ", ".join(unknown), f"one of {', '.join(words)}")
        places = np.array([words.index(word) for word in found], dtype=np.int64)
        codes: NDArray[np.int64] = places[column.indices.to_numpy()]
        return codes

    def _fault(self, name: str, found: str, expected: str) -> TrackError:
        return TrackError(
            f"{self._source} column {name} holds {found}, expected {expected}; "
            "give the file as `hdrvideo annotate` wrote it"
        )
