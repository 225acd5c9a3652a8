"""crops.parquet: what goes in comes out, in order and in constant memory, and what is refused."""

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tracks import make_meta

from hdrvideo.datatypes import KeptCrop
from hdrvideo.errors import ShapeError, TrackError, WriteError
from hdrvideo.output import crops as crops_module
from hdrvideo.output.crops import CROP_SCHEMA, CropReader, CropsWriter, HandPicture
from hdrvideo.output.save import load_meta

META = make_meta(64, 48)
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def crop(seed: int) -> KeptCrop:
    """Give a picture of noise; PNG is read as well, so that what comes out is what went in."""
    rng = np.random.default_rng(seed)
    data = cv2.imencode(".png", rng.integers(0, 256, (12, 12, 3), np.uint8), PNG)[1].tobytes()
    return KeptCrop(rng.normal(0, 50, (2, 3)), data, bool(seed % 2))


# Frame 0 has none; 3 is passed over.
GIVEN = {(1, 0): crop(1), (2, 0): crop(2), (2, 1): crop(3), (4, 1): crop(4), (5, 0): crop(5)}


def check(frame, pictures) -> None:
    for side, found in enumerate(pictures):
        given = GIVEN.get((frame, side))
        assert (found is None) == (given is None)
        if given is not None:
            bgr = cv2.imdecode(np.frombuffer(given.jpeg, np.uint8), cv2.IMREAD_COLOR)
            np.testing.assert_array_equal(found.rgb_u8, bgr[..., ::-1])
            np.testing.assert_array_equal(found.frame_from_crop, given.frame_from_crop)
            assert found.painted is given.painted


def write(path, given, **options):
    with CropsWriter(path, META, **options) as writer:
        for (frame, side), one in given.items():
            writer.write(frame, side, one)
    return path


@pytest.fixture(params=[1, 1000], ids=["many groups", "one group"])
def written(request, tmp_path, monkeypatch):
    monkeypatch.setattr(crops_module, "_ROWS_PER_GROUP", request.param)
    path = write(tmp_path / "crops.parquet", GIVEN)
    assert pq.ParquetFile(path).num_row_groups == (5 if request.param == 1 else 1)
    return path


def test_what_goes_in_comes_out_frame_by_frame(written):
    for frames in (range(8), (2, 5)):
        with CropReader(written) as reader:
            for frame in frames:
                check(frame, reader.pictures(frame))
    assert load_meta(written) == META
    assert pq.read_table(written).schema.equals(CROP_SCHEMA)


def test_a_clip_without_hands_leaves_an_empty_file(tmp_path):
    path = write(tmp_path / "crops.parquet", {})
    assert pq.read_table(path).schema.equals(CROP_SCHEMA)
    with CropReader(path) as reader:
        assert reader.pictures(3) == (None, None)


def test_the_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "crops.parquet"
    with pytest.raises(ShapeError):
        write(path, {(0, 0): crop(1), (0, 7): crop(2)})
    assert not list(tmp_path.iterdir())
    write(path, GIVEN)
    before = path.read_bytes()
    with pytest.raises(WriteError, match=r"crops.parquet exists; pass --overwrite"):
        write(path, {})
    assert path.read_bytes() == before

    def full(self, table, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(WriteError, match=r"crops.parquet cannot be written: .*No space left"):
        write(path, GIVEN, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("calls", "error", "text"),
    [
        ([(5, 0), (4, 1)], TrackError, "left hand in frame 4 .* after that of the right .*frame 5"),
        ([(5, 1), (5, 0)], TrackError, "crop of the right hand in frame 5 is given for .* after"),
        ([(5, 1), (5, 1)], TrackError, "write them in order, right before left, each once"),
        ([(-1, 0)], TrackError, "crop of the right hand in frame -1 is given for"),
        ([(5, 2)], ShapeError, r"side is 2, expected 0 \(right\) or 1 \(left\)"),
    ],
)
def test_the_writer_refuses(tmp_path, calls, error, text):
    def write_all():
        with CropsWriter(tmp_path / "c.parquet", META) as writer:
            for call in calls:
                writer.write(*call, crop(1))

    with pytest.raises(error, match=text):
        write_all()
    assert not list(tmp_path.iterdir())


def read_all(path):
    with CropReader(path) as reader:
        return [reader.pictures(frame) for frame in range(6)]


def change(path, **columns):
    """Replace columns of a written file."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)
    return path


def flat_jpeg(height, width):
    return cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (
            {"frame_index": [1, 3, 2, 4, 5]},
            "row 2 is of the left hand in frame 2 and comes after frame 3, expected the order of f",
        ),
        (
            {"frame_index": [1, 1, 2, 4, 5]},
            "row 1 is of the right hand in frame 1 and comes after frame 1, .*each once; give",
        ),
        ({"frame_index": [-1, 2, 2, 4, 5]}, "row 0 is of the right hand in frame -1"),
        ({"frame_index": [1.0] * 5}, "row 0 frame_index is 1.0, expected int; give the file as"),
        ({"hand": ["both"] * 5}, "row 0 hand is 'both', expected one of right, left"),
        ({"painted": [1] * 5}, "row 0 painted is 1, expected bool"),
        ({"frame_from_crop": [[1.0] * 5] * 5}, "row 0 frame_from_crop is .*, expected 6 numbers"),
        ({"frame_from_crop": [[1.0] * 5 + [np.nan]] * 5}, "row 0 .*, expected 6 numbers"),
        ({"frame_from_crop": [["a"] * 6] * 5}, "row 0 frame_from_crop is .*, expected 6 numbers"),
        ({"frame_from_crop": [[None] * 6] * 5}, "row 0 frame_from_crop is .*, expected 6 numbers"),
        ({"jpeg": [None] * 5}, "row 0 jpeg is None, expected bytes"),
        ({"jpeg": [b""] * 5}, "row 0 jpeg is no square picture"),
        ({"jpeg": [b"no picture"] * 5}, "row 0 jpeg is no square picture; give the file as"),
        ({"jpeg": [flat_jpeg(8, 9)] * 5}, "row 0 jpeg is no square picture"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, columns, text):
    path = change(write(tmp_path / "crops.parquet", GIVEN), **columns)
    with pytest.raises(TrackError, match=text):
        read_all(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "crops.parquet"
    with pytest.raises(TrackError, match=r"no crops .*; make them with .*annotate --keep crops"):
        read_all(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(TrackError, match=r"crops.parquet cannot be read as Parquet: .*; give"):
        read_all(path)
    pq.write_table(pa.table({"frame_index": [1], "hand": ["left"]}), path)
    with pytest.raises(TrackError, match="has no column painted, frame_from_crop, jpeg"):
        read_all(path)


def test_frames_are_read_forwards(tmp_path):
    path = write(tmp_path / "crops.parquet", GIVEN)
    with CropReader(path) as reader:
        reader.pictures(2)
        for frame in (2, 1):
            with pytest.raises(TrackError, match=f"crops of frame {frame} .* read forwards"):
                reader.pictures(frame)


def test_a_picture_checks_itself():
    good = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ShapeError, match=r"rgb_u8 is uint8 \(4, 5, 3\), expected uint8 \(4, 4, 3"):
        HandPicture(np.zeros((4, 5, 3), np.uint8), np.eye(3)[:2], painted=False)
    with pytest.raises(ShapeError, match="frame_from_crop is float64"):
        HandPicture(good, np.eye(3), painted=False)
