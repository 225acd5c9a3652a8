"""Predicted masks: from the file, by hand, for the truth, for worse ones, and what is refused."""

import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from validate_truths import (
    make_scene,
    make_shot,
    make_truth,
    mask_row,
    mask_rows,
    save_packed,
    save_rows,
    without,
)

from hdrvideo.errors import DataError, TrackError
from hdrvideo.handmodel import HandModel
from hdrvideo.validate.averages import clip_sums
from hdrvideo.validate.mask_protocols import MASK_METRICS, compare_masks
from hdrvideo.validate.mask_track import load_masks
from hdrvideo.validate.truth import save_truth

SIZE = {"n_frames": 2, "height_px": 2, "width_px": 10}


def tiny(text: str) -> np.ndarray:
    """Give a mask of 2 x 10: one row marked by ``#``, an empty one."""
    return np.array([[c == "#" for c in text], [False] * 10])


@pytest.fixture
def tiny_truth(tmp_path):
    """Two frames of 10 x 2 px; right hand partly hidden, the left one gone in the second."""
    right_seen, right_whole = tiny("######...."), tiny("##########")
    left, none = tiny(".......###"), tiny("." * 10)
    visible = np.array([[right_seen, left], [right_seen, none]])
    save_packed(tmp_path, visible, np.array([[right_whole, left], [right_whole, none]]))
    truth = without(make_truth(2), 1, slice(1, 2))
    return replace(truth, folder=tmp_path, height_px=2, width_px=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model = HandModel()
    scene = make_scene(model)
    return save_truth(tmp_path_factory.mktemp("truth"), [make_shot(scene, model)], scene)


def test_what_goes_in_comes_out(made, tmp_path):
    path = save_rows(tmp_path / "masks.parquet", mask_rows(made))
    track = load_masks(path, n_frames=3, height_px=120, width_px=160)
    for frame in range(3):
        np.testing.assert_array_equal(track.masks(frame), made.masks(frame))


def test_scores_by_hand(tiny_truth, tmp_path):
    # Right: seen 4/6, whole 8/10, hidden: both 6, 7, either 4..9 = 2/6, as in test_validate_masks.
    rows = [mask_row(tiny("####......"), 0, 0, "visible")]
    rows += [mask_row(tiny("########.."), 0, 0, "amodal")]
    # The left hand has no row in frame 0; in frame 1 it is absent, and 3 + 1 of 20 px are marked.
    rows += [mask_row(tiny("###......."), 1, 1, "visible")]
    rows += [mask_row(tiny("..##......"), 1, 1, "amodal")]
    found = compare_masks(tiny_truth, load_masks(save_rows(tmp_path / "m", rows), **SIZE))
    nan = np.nan
    np.testing.assert_allclose(found.visible, [[4 / 6, 0], [0, nan]])
    np.testing.assert_allclose(found.amodal, [[8 / 10, 0], [0, nan]])
    np.testing.assert_allclose(found.hidden, [[2 / 6, nan], [0, nan]])
    np.testing.assert_allclose(found.false_share, [[nan, nan], [nan, 4 / 20]])
    sums = clip_sums(found, MASK_METRICS)
    np.testing.assert_array_equal(sums.count.sum(axis=1), [3, 3, 2, 1])
    np.testing.assert_allclose(sums.total.sum(axis=1), [4 / 6, 8 / 10, 2 / 6, 20])
    # An absent hand is in no bin; make_truth's hands are 10 % hidden, in the first.
    np.testing.assert_array_equal(sums.count[-1], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(sums.count[0], [3, 0, 0, 0, 0])


def test_a_sliver_that_does_not_count_is_no_sample(tiny_truth, tmp_path):
    truth = without(tiny_truth, 0)
    masks = load_masks(save_rows(tmp_path / "m", mask_rows(truth)), **SIZE)
    found = compare_masks(truth, masks)
    for name in ("visible", "amodal", "hidden", "false_share"):
        assert np.isnan(getattr(found, name)[:, 0]).all(), name


def test_truth_is_perfect_and_thicker_masks_are_worse(made, tmp_path):
    means = []
    for grown in (0, 1, 3):
        path = save_rows(tmp_path / f"{grown}", mask_rows(made, grown_px=grown))
        found = compare_masks(made, load_masks(path, n_frames=3, height_px=120, width_px=160))
        means.append([np.nanmean(a) for a in (found.visible, found.amodal)])
        if not grown:
            assert np.nanmin(found.hidden) == np.nanmax(found.hidden) == 1
    assert means[0] == [1, 1]
    assert (np.diff(means, axis=0) < -0.02).all()


def test_swapped_sides_are_wrong(made, tmp_path):
    rows = mask_rows(made)
    for row in rows:
        row["hand"] = {"right": "left", "left": "right"}[row["hand"]]
    masks = load_masks(save_rows(tmp_path / "m", rows), n_frames=3, height_px=120, width_px=160)
    assert np.nanmax(compare_masks(made, masks).visible) == 0


def test_names_say_their_unit():
    for metric in MASK_METRICS:
        assert metric.name.endswith({"%": "_absent_pct", "0-1": "_missing_wrong"}[metric.unit])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"height": 3}, "row 1 is of a picture of 10x3, expected 10x2"),
        ({"width": 9}, "row 1 is of a picture of 9x2, expected 10x2"),
        ({"kind": "modal"}, "row 1 kind is 'modal', expected one of visible, amodal"),
        ({"hand": "both"}, "row 1 hand is 'both', expected one of right, left"),
        ({"frame_index": 2}, "row 1 is of frame 2, expected 0 to 1"),
        ({"frame_index": -1}, "row 1 is of frame -1, expected 0 to 1"),
        ({"counts": None}, "row 1 counts is None, expected str"),
        ({"hand": "right"}, "row 1 is a second visible mask of the right hand in frame 0"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, changes, text):
    rows = [mask_row(tiny("##........"), 0, side, "visible") for side in range(2)]
    rows[1].update(changes)
    with pytest.raises(TrackError, match=rf"m.parquet {text}.*; write the masks of"):
        load_masks(save_rows(tmp_path / "m.parquet", rows), **SIZE)


def test_columns_that_do_not_fit_are_refused(tmp_path):
    row = mask_row(tiny("##........"), 0, 0, "visible")
    path = save_rows(tmp_path / "m", [{k: v for k, v in row.items() if k != "kind"}])
    with pytest.raises(TrackError, match="m has no column kind"):
        load_masks(path, **SIZE)
    path = save_rows(tmp_path / "m", [{**row, "counts": row["counts"].encode()}])
    with pytest.raises(TrackError, match=r"row 0 counts is b'.*, expected str"):
        load_masks(path, **SIZE)
    path = save_rows(tmp_path / "m", [{**row, "frame_index": 0.5}])
    with pytest.raises(TrackError, match=r"row 0 frame_index is 0\.5, expected int"):
        load_masks(path, **SIZE)


def test_further_columns_and_dictionaries_are_fine(tmp_path):
    row = {**mask_row(tiny("##........"), 0, 0, "visible"), "score": 0.5}
    table = pa.Table.from_pylist([row])
    table = table.set_column(1, "hand", table["hand"].dictionary_encode())
    pq.write_table(table, tmp_path / "m")
    assert load_masks(tmp_path / "m", **SIZE).masks(0)[0][0].sum() == 2


def test_broken_counts_are_found_when_they_are_needed(tmp_path):
    row = {**mask_row(tiny("##........"), 1, 1, "amodal"), "counts": "5"}
    track = load_masks(save_rows(tmp_path / "m", [row]), **SIZE)
    assert not np.any(track.masks(0))
    with pytest.raises(
        TrackError, match=r"m: counts of frame 1, left, amodal are broken: runs add up to 5 pixels"
    ):
        track.masks(1)


@pytest.mark.parametrize("damage", [None, b"", b"no parquet"])
def test_a_missing_or_damaged_file_is_one_clear_error(tmp_path, damage):
    if damage is not None:
        (tmp_path / "m").write_bytes(damage)
    with pytest.raises(TrackError, match=r"m cannot be read as Parquet: .*write the masks"):
        load_masks(tmp_path / "m", **SIZE)


def test_a_truth_without_masks_is_the_truths_error(tmp_path):
    track = load_masks(
        save_rows(tmp_path / "m", [mask_row(tiny("#" * 10), 0, 0, "amodal")]), **SIZE
    )
    with pytest.raises(DataError, match=r"made without masks.npz"):
        compare_masks(make_truth(2), track)


def test_a_clip_of_the_benchmarks_size_takes_no_time(tmp_path):
    v, u = np.mgrid[:480, :640]
    masks = [(u - c) ** 2 + (v - 240) ** 2 < 140**2 for c in (250, 400)]
    save_packed(tmp_path, *(np.tile(np.array(masks), (64, 1, 1, 1)) for _ in range(2)))
    truth = replace(make_truth(64), folder=tmp_path)
    path = save_rows(tmp_path / "m", mask_rows(truth))
    start = time.perf_counter()
    found = compare_masks(truth, load_masks(path, n_frames=64, height_px=480, width_px=640))
    assert time.perf_counter() - start < 10
    assert found.visible.min() == 1
