"""masks.parquet: what goes in comes out, in order and in constant memory, and what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco_mask
from tracks import make_meta

from hdrvideo.errors import ShapeError, TrackError, WriteError
from hdrvideo.geometry import CropSquare
from hdrvideo.handmask import HandMask
from hdrvideo.output import masks as masks_module
from hdrvideo.output.masks import MASK_SCHEMA, MaskReader, MasksWriter
from hdrvideo.output.save import load_meta
from hdrvideo.validate.mask_track import load_masks

META = make_meta(64, 48)
SIZE = {"height_px": 48, "width_px": 64}


def blob(seed, *, hidden=False):
    """Give masks of smooth noise somewhere in the frame; the seen part is smaller, or nothing."""
    rng = np.random.default_rng(seed)
    amodal = rng.integers(0, 256, (12, 12), np.uint8)
    visible = np.zeros_like(amodal) if hidden else (amodal * 0.8).astype(np.uint8)
    return HandMask(CropSquare(*rng.uniform((10, 10, 20), (50, 40, 40))), visible, amodal)


NOTHING = HandMask(CropSquare(30, 20, 20), np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
# Frame 0 has none; 3 is passed over; the left hand of 2 is written before the right one.
GIVEN = {
    (1, 0): blob(1),
    (2, 1): blob(2),
    (2, 0): blob(3),
    (4, 0): NOTHING,
    (4, 1): blob(4, hidden=True),
    (5, 1): blob(5),
}


def expected(frame):
    masks = np.zeros((2, 2, 48, 64), bool)
    for (index, side), mask in GIVEN.items():
        if index == frame:
            masks[:, side] = mask.in_frame(48, 64)
    return masks


def write(path, given, **options):
    with MasksWriter(path, META, **options) as writer:
        for (frame, side), mask in given.items():
            writer.write(frame, side, mask)
    return path


def change(path, **columns):
    """Replace columns of a written file."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)
    return path


@pytest.fixture(params=[1, 1000], ids=["many groups", "one group"])
def written(request, tmp_path, monkeypatch):
    monkeypatch.setattr(masks_module, "_ROWS_PER_GROUP", request.param)
    path = write(tmp_path / "masks.parquet", GIVEN)
    assert pq.ParquetFile(path).num_row_groups == (5 if request.param == 1 else 1)
    return path


def test_what_goes_in_comes_out_frame_by_frame(written):
    with MaskReader(written, **SIZE) as reader:
        for frame in range(8):
            found = reader.masks(frame)
            assert [m.dtype for m in found] == [np.bool_] * 2
            np.testing.assert_array_equal(found, expected(frame))
    # Frames may be passed over, and the benchmark's reader sees the same.
    track = load_masks(written, n_frames=8, **SIZE)
    with MaskReader(written, **SIZE) as reader:
        for frame in (2, 5):
            np.testing.assert_array_equal(reader.masks(frame), expected(frame))
            np.testing.assert_array_equal(track.masks(frame), expected(frame))


def test_the_columns_are_those_of_coco(written):
    table = pq.read_table(written)
    assert table.schema.equals(MASK_SCHEMA)
    rows = table.to_pylist()
    assert len(rows) == 2 + 4 + 1 + 2
    assert [r["frame_index"] for r in rows] == sorted(r["frame_index"] for r in rows)
    for row in rows:
        assert (row["height"], row["width"]) == (48, 64)
        kind, side = ("visible", "amodal").index(row["kind"]), ("right", "left").index(row["hand"])
        mask = expected(row["frame_index"])[kind, side]
        assert mask.any()
        by_coco = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert row["counts"] == by_coco["counts"].decode()
    assert load_meta(written) == META


def test_a_clip_without_masks_leaves_an_empty_file(tmp_path):
    path = write(tmp_path / "masks.parquet", {})
    assert pq.read_table(path).schema.equals(MASK_SCHEMA)
    with MaskReader(path, **SIZE) as reader:
        assert not np.any(reader.masks(3))


def test_the_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "masks.parquet"
    with pytest.raises(ShapeError):
        write(path, {(0, 0): blob(1), (0, 7): blob(2)})
    assert not list(tmp_path.iterdir())
    write(path, GIVEN)
    before = path.read_bytes()
    with pytest.raises(WriteError, match=r"masks.parquet exists; pass --overwrite"):
        write(path, {})
    assert path.read_bytes() == before
    write(path, {}, overwrite=True)
    assert pq.read_table(path).num_rows == 0
    # A fault of the block itself is no fault of the disk.
    with pytest.raises(FileNotFoundError), MasksWriter(tmp_path / "b.parquet", META):
        raise FileNotFoundError
    with pytest.raises(WriteError, match="no folder"):
        write(tmp_path / "none" / "masks.parquet", {})


def test_a_full_disk_at_the_last_rows_leaves_nothing(tmp_path, monkeypatch):
    def full(self, table, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(WriteError, match=r"masks.parquet cannot be written: .*No space left"):
        write(tmp_path / "masks.parquet", GIVEN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("calls", "error", "text"),
    [
        ([(5, 0), (4, 1)], TrackError, "masks of frame 4 are given for .* after those of frame 5"),
        ([(-1, 0)], TrackError, "masks of frame -1 .* expected 0 or more"),
        ([(5, 1), (5, 1)], TrackError, "masks of the left hand in frame 5 .* a second time"),
        ([(5, 2)], ShapeError, r"side is 2, expected 0 \(right\) or 1 \(left\)"),
        ([(5, -1)], ShapeError, "side is -1, expected"),
    ],
)
def test_the_writer_refuses(tmp_path, calls, error, text):
    def write_all():
        with MasksWriter(tmp_path / "m.parquet", META) as writer:
            for call in calls:
                writer.write(*call, blob(1))

    with pytest.raises(error, match=text):
        write_all()
    assert not list(tmp_path.iterdir())


def read_all(path):
    with MaskReader(path, **SIZE) as reader:
        return [reader.masks(frame) for frame in range(6)]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (
            {"frame_index": [1, 1, 3, 3, 2, 2, 4, 5, 5]},
            "row 4 is of frame 2 and comes after frame 3, expected the order of frames",
        ),
        ({"frame_index": [-1] + [2] * 8}, "row 0 is of frame -1, expected 0 or more; give the fi"),
        ({"width": [64] * 8 + [63]}, "row 8 is of a picture of 63x48, expected 64x48"),
        ({"height": [48.0] * 9}, "row 0 height is 48.0, expected int"),
        ({"hand": ["both"] * 9}, "row 0 hand is 'both', expected one of right, left"),
        ({"kind": ["visible"] * 9}, "row 1 is a second visible mask of the right hand in frame 1"),
        ({"counts": ["5"] * 9}, "counts of frame 1, right, visible are broken: runs add up to 5"),
        ({"counts": [None] * 9}, "row 0 counts is None, expected str"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, columns, text):
    path = change(write(tmp_path / "masks.parquet", GIVEN), **columns)
    with pytest.raises(TrackError, match=text):
        read_all(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "masks.parquet"
    with pytest.raises(TrackError, match=r"no masks .*; make them with .*annotate --keep masks"):
        read_all(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(TrackError, match=r"masks.parquet cannot be read as Parquet: .*; give"):
        read_all(path)
    pq.write_table(pa.table({"frame_index": [1], "kind": ["visible"]}), path)
    with pytest.raises(TrackError, match="has no column hand, height, width, counts"):
        read_all(path)


def test_frames_are_read_forwards(tmp_path):
    path = write(tmp_path / "masks.parquet", GIVEN)
    with MaskReader(path, **SIZE) as reader:
        reader.masks(2)
        for frame in (2, 1):
            with pytest.raises(TrackError, match=f"masks of frame {frame} .* read forwards"):
                reader.masks(frame)
