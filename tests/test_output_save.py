"""Track, ledger and summary files: exact round trips, and every way of being refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tracks import (
    CASES,
    absent_in_the_middle,
    first_frame_missing,
    make_ledger,
    make_meta,
    make_track,
    same_track,
    variable_rate,
)

from hdrvideo.errors import SettingsError, TrackError, WriteError
from hdrvideo.hand import JOINTS
from hdrvideo.output.save import (
    LedgerWriter,
    TrackWriter,
    iter_track,
    load_ledger,
    load_meta,
    load_track,
    save_summary,
    save_track,
    strict_json,
)
from hdrvideo.output.table import TRACK_SCHEMA, track_table
from hdrvideo.track import concatenate

META_KEY = b"hdrvideo"


def names_in(folder):
    return sorted(p.name for p in folder.iterdir())


def write_raw(path, table, meta):
    """Write a table as a track file, whatever is in it."""
    entry = json.dumps(meta.to_json()).encode()
    pq.write_table(table.replace_schema_metadata({META_KEY: entry}), path)


def write_and_fail(path, track, error):
    with TrackWriter(path, track.meta, overwrite=True) as writer:
        writer.append(track)
        raise error


def write_windows(path, windows, meta):
    with TrackWriter(path, meta) as writer:
        for window in windows:
            writer.append(window)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "track.parquet"


@pytest.mark.parametrize("case", CASES)
def test_track_comes_back_bit_for_bit(case, path):
    track = CASES[case]()
    assert save_track(track, path) == path
    same_track(load_track(path), track)
    assert load_meta(path) == track.meta
    assert names_in(path.parent) == ["track.parquet"]


@pytest.mark.parametrize("case", CASES)
def test_track_rows_are_every_frame_hand_and_joint(case, path):
    track = CASES[case]()
    table = pq.read_table(save_track(track, path))
    assert table.schema.equals(TRACK_SCHEMA)
    assert table.num_rows == 42 * len(track)
    assert table["frame_index"].to_pylist() == np.repeat(track.frame_index, 42).tolist()
    assert table["hand"].to_pylist()[:42] == ["right"] * 21 + ["left"] * 21
    assert table["joint"].to_pylist()[:42] == list(JOINTS) * 2
    np.testing.assert_array_equal(table["pts_seconds"].to_numpy()[::42], track.pts_seconds)
    row = 42 * 3 + 21 + JOINTS.index("index_tip")
    assert table["u_px"][row].as_py() == track.uv_px[3, 1, 8, 0]
    assert table["raw_z_cam_mm"][row].as_py() == track.raw_xyz_cam_mm[3, 1, 8, 2]
    assert table["z_rel_mm"][row].as_py() == track.xyz_rel_mm[3, 1, 8, 2]


def test_absent_is_nan_and_not_null_or_zero(path):
    table = pq.read_table(save_track(absent_in_the_middle(), path))
    assert sum(column.null_count for column in table.columns) == 0
    present = table["present"].to_numpy()
    assert (~present).sum() == 4 * 21
    measured = ("u_px", "z_cam_mm", "x_rel_mm", "raw_v_px", "confidence", "side_score")
    for name in (*measured, "turn_y_rad", "shape_11"):
        assert np.isnan(table[name].to_numpy()[~present]).all(), name
    assert not table["visible"].to_numpy()[~present].any()


def test_turns_are_by_joint_and_the_shape_is_on_every_row(path):
    track = absent_in_the_middle()
    table = pq.read_table(save_track(track, path))
    row = 42 * 9 + 21 + JOINTS.index("ring_pip")
    assert table["turn_z_rad"][row].as_py() == track.turn_rad[9, 1, 14, 2]
    assert np.isnan(table["turn_z_rad"].to_numpy()[JOINTS.index("ring_tip") :: 21]).all()
    for k in range(12):
        found = table[f"shape_{k:02d}"].to_numpy().reshape(12, 2, 21)
        np.testing.assert_array_equal(found, np.repeat(track.shape[..., k : k + 1], 21, axis=-1))


def test_one_row_group_for_each_window_and_the_same_track(path):
    track = make_track(10)
    with TrackWriter(path, track.meta) as writer:
        for start, stop in ((0, 4), (4, 4), (4, 5), (5, 10)):
            writer.append(track.rows(start, stop))
        assert names_in(path.parent) != ["track.parquet"]
    parquet = pq.ParquetFile(path)
    groups = [parquet.metadata.row_group(k).num_rows for k in range(parquet.num_row_groups)]
    parquet.close()
    assert groups == [4 * 42, 42, 5 * 42]
    same_track(load_track(path), track)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
def test_streaming_windows_do_not_depend_on_row_groups(size, path):
    track = make_track(10)
    write_windows(path, [track.rows(0, 1), track.rows(1, 8), track.rows(8, 10)], track.meta)
    windows = list(iter_track(path, rows_per_window=size))
    assert [len(w) for w in windows[:-1]] == [size] * (len(windows) - 1)
    same_track(concatenate(windows), track)


def test_streaming_reads_row_groups_that_cut_frames(path):
    track = make_track(5)
    entry = {META_KEY: json.dumps(track.meta.to_json()).encode()}
    table = track_table(track).replace_schema_metadata(entry)
    pq.write_table(table, path, row_group_size=50)
    same_track(concatenate(list(iter_track(path, rows_per_window=2))), track)


def test_a_track_may_start_late_and_hold_no_frame(path):
    late = make_track(4, first_index=100)
    same_track(load_track(save_track(late, path)), late)
    empty = late.rows(0, 0)
    same_track(load_track(save_track(empty, path, overwrite=True)), empty)
    assert list(iter_track(path)) == []


def test_plain_strings_and_nulls_of_another_writer_are_read(path):
    track = absent_in_the_middle()
    table = track_table(track)
    for name in ("hand", "joint", "provenance"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.string()))
    at = table.schema.get_field_index("u_px")
    nulls = pa.array(table["u_px"].to_numpy(), from_pandas=True)
    write_raw(path, table.set_column(at, "u_px", nulls), track.meta)
    loaded = load_track(path)
    np.testing.assert_array_equal(loaded.uv_px, track.uv_px)
    np.testing.assert_array_equal(loaded.provenance, track.provenance)


@pytest.mark.parametrize("case", CASES)
def test_ledger_comes_back(case, tmp_path):
    track = CASES[case]()
    ledger = make_ledger(track, lost=(0,))
    place = tmp_path / "frames.parquet"
    with LedgerWriter(place, track.meta) as writer:
        for rows in (slice(0, 5), slice(5, None)):
            parts = {name: value[rows] for name, value in vars(ledger).items()}
            writer.append(type(ledger)(**parts))
    loaded = load_ledger(place)
    for name, value in vars(ledger).items():
        np.testing.assert_array_equal(getattr(loaded, name), value, strict=True)
    table = pq.read_table(place)
    assert table["decode_status"][0].as_py() == "lost"
    assert table.num_rows == len(track)
    assert load_meta(place) == track.meta


def test_ledger_words_are_the_reasons(tmp_path):
    track = first_frame_missing()
    with LedgerWriter(tmp_path / "frames.parquet", track.meta) as writer:
        writer.append(make_ledger(track, lost=(0,)))
    table = pq.read_table(tmp_path / "frames.parquet")
    assert table["right_status"].to_pylist() == ["frame lost"] + ["posed"] * 6
    assert table["left_status"].to_pylist() == ["frame lost"] + ["posed"] * 6


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_nothing_is_left_when_the_work_fails(error, path):
    track = make_track(4)
    with pytest.raises(error, match="broke"):
        write_and_fail(path, track, error("broke"))
    assert names_in(path.parent) == []


def test_an_existing_file_survives_a_failed_overwrite(path):
    save_track(make_track(4), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="broke"):
        write_and_fail(path, make_track(5), ValueError("broke"))
    assert path.read_bytes() == before


def test_nothing_is_overwritten_unasked(path):
    save_track(make_track(4), path)
    with pytest.raises(WriteError, match=r"track.parquet exists; pass --overwrite"):
        save_track(make_track(5), path)
    assert len(load_track(path)) == 4
    save_track(make_track(5), path, overwrite=True)
    assert len(load_track(path)) == 5


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(WriteError, match=r"no folder .*nowhere; create it"):
        save_track(make_track(2), tmp_path / "nowhere" / "track.parquet")


def test_what_the_disk_refuses_is_a_write_error(tmp_path):
    taken = tmp_path / "track.parquet"
    taken.mkdir()
    with pytest.raises(WriteError, match=r"cannot be written: .*check the disk's space"):
        save_track(make_track(2), taken, overwrite=True)
    assert names_in(tmp_path) == ["track.parquet"]


def test_windows_must_follow_each_other(path):
    track = make_track(6)
    with pytest.raises(TrackError, match="starts at frame 4, expected 3; every source frame"):
        write_windows(path, [track.rows(0, 3), track.rows(4, 6)], track.meta)
    pq_path = path.with_name("cut.parquet")
    table = track_table(track)
    write_raw(pq_path, pa.concat_tables([table[:84], table[126:]]), track.meta)
    with pytest.raises(TrackError, match="starts at frame 3, expected 2"):
        list(iter_track(pq_path, rows_per_window=2))


def test_windows_must_count_time_alike(path):
    with pytest.raises(TrackError, match="time base 1/1000, expected 1001/30000"):
        write_windows(path, [variable_rate()], make_meta())


def test_a_window_of_nothing_is_refused(path):
    save_track(make_track(2), path)
    with pytest.raises(SettingsError, match="rows_per_window is 0, expected 1"):
        list(iter_track(path, rows_per_window=0))


def test_files_that_are_not_tracks(path):
    with pytest.raises(TrackError, match=r"no track file .*hdrvideo annotate"):
        load_track(path)
    path.write_text("not parquet at all")
    with pytest.raises(TrackError, match=r"cannot be read as Parquet: .*give the track.parquet"):
        load_track(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(TrackError, match="no 'hdrvideo' entry in its metadata"):
        load_track(path)
    table = pa.table({"x": [1]})
    pq.write_table(table.replace_schema_metadata({META_KEY: b"{"}), path)
    with pytest.raises(TrackError, match="damaged metadata"):
        load_meta(path)
    write_raw(path, table, make_meta())
    with pytest.raises(TrackError, match=r"no column frame_index, pts, .*track.parquet or frames"):
        load_track(path)


def test_a_file_of_an_older_hdrvideo_is_said(path):
    table = track_table(make_track(2))
    old = [name for name in table.column_names if not name.startswith(("turn_", "shape_"))]
    meta = make_meta().to_json() | {"schema_version": 1}
    entry = {META_KEY: json.dumps(meta).encode()}
    pq.write_table(table.select(old).replace_schema_metadata(entry), path)
    for read in (load_meta, load_track, lambda place: list(iter_track(place))):
        with pytest.raises(TrackError, match="schema is 1, this version reads 2; install the hdrv"):
            read(path)


def test_half_a_pose_is_not_a_sound_track(path):
    table = track_table(absent_in_the_middle())
    at = table.schema.get_field_index("turn_x_rad")
    nothing = pa.array(np.full(table.num_rows, np.nan, np.float32))
    write_raw(path, table.set_column(at, "turn_x_rad", nothing), make_meta())
    with pytest.raises(TrackError, match="not a sound track: turn_rad and shape have 44 finite nu"):
        load_track(path)


def test_a_truncated_track_is_said(path):
    save_track(make_track(20), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TrackError, match="cannot be read as Parquet"):
        load_track(path)


def test_a_ledger_is_not_a_track(tmp_path):
    track = make_track(3)
    with LedgerWriter(tmp_path / "frames.parquet", track.meta) as writer:
        writer.append(make_ledger(track))
    with pytest.raises(TrackError, match="has no column hand, joint"):
        load_track(tmp_path / "frames.parquet")


def test_rows_that_are_not_a_full_product(path):
    track = make_track(4)
    table = track_table(track)
    write_raw(path, table[:-1], track.meta)
    with pytest.raises(TrackError, match="167 rows, expected a multiple of 42"):
        load_track(path)
    swapped = pa.concat_tables([table[:50], table[51:52], table[50:51], table[52:]])
    write_raw(path, swapped, track.meta)
    with pytest.raises(TrackError, match="row 50 is out of order, expected 42 rows a frame"):
        load_track(path)
    write_raw(path, pa.concat_tables([table[:42], table[84:]]), track.meta)
    with pytest.raises(TrackError, match="not a sound track: frame_index has a gap"):
        load_track(path)


def test_columns_of_the_wrong_kind(path):
    track = make_track(2)
    table = track_table(track)

    def with_column(name, values):
        at = table.schema.get_field_index(name)
        write_raw(path, table.set_column(at, name, values), track.meta)

    with_column("pts", table["pts"].cast(pa.float64()))
    with pytest.raises(TrackError, match="column pts holds double with 0 nulls, expected int64"):
        load_track(path)
    with_column("visible", pa.array([None] * 84, pa.bool_()))
    with pytest.raises(TrackError, match="column visible holds bool with 84 nulls"):
        load_track(path)
    with_column("hand", pa.array([0] * 84))
    with pytest.raises(TrackError, match=r"column hand holds int64 .* expected words"):
        load_track(path)
    with_column("provenance", pa.array(["guessed"] * 84))
    with pytest.raises(TrackError, match="provenance holds guessed, expected one of absent, obs"):
        load_track(path)


def test_summary_is_strict_json(tmp_path):
    values = {"rows": np.int64(3), "ms": np.array([1.5, np.nan]), "nan": float("nan"), "t": (1, 2)}
    place = save_summary(tmp_path / "summary.json", values)

    def refuse(word):
        raise AssertionError(word)

    text = place.read_text()
    assert json.loads(text, parse_constant=refuse) == {
        "rows": 3,
        "ms": [1.5, None],
        "nan": None,
        "t": [1, 2],
    }
    assert text.startswith('{\n  "rows"')
    with pytest.raises(WriteError, match=r"summary.json exists; pass --overwrite"):
        save_summary(place, values)
    with pytest.raises(TypeError, match="set is no JSON value; turn it"):
        strict_json({"a": {1}})
