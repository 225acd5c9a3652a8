"""Hands labelled by eye: read, refused, and scored; made tracks against them."""

import json
from pathlib import Path

import numpy as np
import pytest
from real_labels import GONE, LEFT, NONE, RIGHT, hand
from tracks import make_track

from hdrvideo.errors import DataError, ShapeError
from hdrvideo.geometry import points_box
from hdrvideo.track import ABSENT, BRIDGED
from hdrvideo.validate.match import match_hands, palm_length_px
from hdrvideo.validate.real_hands import (
    Tally,
    clip_boxes,
    count_side_changes,
    is_one_hand,
    load_labels,
    mask_boxes,
    score_boxes,
    score_frames,
    track_boxes,
    track_hands,
    track_seconds,
)

ROOT = Path(__file__).parents[1]


def score(right, left, *boxes):
    """Give the counts of one frame that are not zero."""
    found = score_boxes((right, left), np.array(boxes, dtype=np.float64))
    return {name: value for name, value in vars(found).items() if value}


def moved(box, u, v=0):
    return np.add(box, [u, v, u, v]).tolist()


def test_the_shipped_labels_are_read():
    labels = load_labels(ROOT / "tests" / "data" / "real_hands.json")
    assert len(labels) == 17
    one_hand = {clip for clip, frames in labels.items() if is_one_hand(frames)}
    assert one_hand == {
        *("asl_eat.mkv", "one_hand_raised.mp4", "one_hand_wall.mp4", "selfie_reach.mp4"),
    }
    assert all(index % 10 == 0 for frames in labels.values() for index in frames)
    right, left = labels["asl_again.mkv"][0]
    assert (right.status, right.is_clear, right.is_gone) == ("hard", False, False)
    np.testing.assert_array_equal(left.box_px, [394, 430, 456, 480])
    fragment = labels["asl_again.mkv"][70][1]
    assert (fragment.status, fragment.is_gone) == ("out", False)
    assert any(label.is_occluded for frame in labels["cups.mp4"].values() for label in frame)


def broken(**changes):
    label = {"status": "in", "box": [1, 2, 3, 4]} | changes
    return {"clips": {"a.mp4": {"frames": {"0": {"right": label, "left": {"status": "out"}}}}}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "have no clips"),
        ({"clips": {}}, "have no clips"),
        ({"clips": {"a.mp4": {"frames": {}}}}, "a.mp4 have no frames"),
        ({"clips": {"a.mp4": {"frames": {"x": {}}}}}, "frame is 'x', expected a whole number"),
        ({"clips": {"a.mp4": {"frames": {"3": {"right": {}}}}}}, "frame 3: expected labels right"),
        (broken(status="there"), "frame 0, right: status is 'there', expected one of in, hard"),
        (broken(box=None), "box is None"),
        (broken(box=[1, 2, 3]), r"box is \[1, 2, 3\], expected u0 < u1"),
        (broken(box=[3, 2, 1, 4]), r"box is \[3, 2, 1, 4\]"),
        (broken(box=["a", 2, 3, 4]), "box is"),
        (broken(status="out", part_box=[1, 1, 1, 2]), "part_box is"),
    ],
)
def test_what_is_no_label_file_is_refused(value, text, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=text) as fault:
        load_labels(path)
    assert "give a file like tests/data/real_hands.json" in str(fault.value)


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_labels(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("hands")
    with pytest.raises(DataError, match="cannot be read"):
        load_labels(tmp_path / "text.json")


def test_both_hands_are_found_with_their_sides():
    counts = score(hand(RIGHT), hand(LEFT), RIGHT, LEFT)
    assert counts == {
        **{"frames": 1, "both": 1, "both_found": 1, "both_right": 1, "hard": 1, "hard_found": 1},
        **{"hands": 2, "hands_found": 2, "hands_right": 2, "named": 2, "clear": 2, "iou_sum": 2.0},
    }


def test_names_exchanged_are_found_and_wrong():
    counts = score(hand(RIGHT), hand(LEFT), LEFT, RIGHT)
    assert (counts["both_found"], counts["hands_found"], counts["misnamed"]) == (1, 2, 2)
    assert not {"both_right", "hands_right", "ghosts", "iou_sum"} & set(counts)


def test_a_hand_must_overlap_by_half():
    # Boxes 60 wide: moved by 20, they share 40 of 80.
    exact = score(hand(RIGHT), hand(LEFT), moved(RIGHT, 20), LEFT)
    assert exact["both_found"] == 1
    assert exact["iou_sum"] == pytest.approx(1.5)
    loose = score(hand(RIGHT), hand(LEFT), moved(RIGHT, 20.1), LEFT)
    assert (loose["hands_found"], loose["named"]) == (1, 1)
    # It is where the hand is, so it is no ghost either.
    assert not {"both_found", "ghosts"} & set(loose)


def test_of_an_occluded_hand_a_part_will_do():
    # The seen quarter of a hand, and a prediction of the whole hand.
    part = [100, 100, 130, 140]
    assert score(hand(part), GONE, RIGHT, NONE)["hands"] == 1
    assert "hands_found" not in score(hand(part), GONE, RIGHT, NONE)
    lenient = score(hand(part, occluded=True), GONE, RIGHT, NONE)
    assert lenient["hands_found"] == 1
    assert "clear" not in lenient
    # But not a prediction that is three times as long, nor one beside it.
    long = score(hand(part, occluded=True), GONE, [100, 100, 160, 220], NONE)
    assert long["ghosts"] == 1
    beside = score(hand(part, occluded=True), GONE, moved(part, 20), NONE)
    assert beside["ghosts"] == 1


def test_hard_hands_are_not_demanded():
    missed = score(hand(RIGHT), hand(LEFT, "hard"), RIGHT, NONE)
    assert (missed["hands"], missed["hands_found"], missed["hard"]) == (1, 1, 1)
    assert not {"both", "both_found", "hard_found", "ghosts"} & set(missed)
    found = score(hand(RIGHT), hand(LEFT, "hard"), RIGHT, LEFT)
    assert (found["hard_found"], found["hands"], found["named"]) == (1, 1, 2)
    assert "ghosts" not in found


def test_what_is_no_hand_is_a_ghost():
    assert score(hand(RIGHT), GONE, RIGHT, LEFT)["ghosts"] == 1
    assert score(GONE, GONE, RIGHT, LEFT) == {"frames": 1, "ghosts": 2}
    # A second hand on the same one, and a right hand that is called left.
    assert score(hand(RIGHT), GONE, RIGHT, moved(RIGHT, 2))["ghosts"] == 1
    wrong = score(hand(RIGHT), GONE, NONE, RIGHT)
    assert (wrong["hands_found"], wrong["misnamed"]) == (1, 1)
    assert "ghosts" not in wrong


def test_a_fragment_may_be_found_or_missed():
    fragment = hand(LEFT, "out")
    for box in (LEFT, NONE):
        counts = score(hand(RIGHT), fragment, RIGHT, box)
        assert (counts["hands"], counts["named"]) == (1, 1)
        assert not {"ghosts", "both", "hard"} & set(counts)


def test_touching_hands_are_told_apart_by_overlap():
    # Both predictions fit both labels; the better way is the crossed one.
    near = moved(RIGHT, 15)
    assert score(hand(RIGHT), hand(near), moved(near, 1), RIGHT)["misnamed"] == 2
    assert "misnamed" not in score(hand(RIGHT), hand(near), RIGHT, moved(near, 1))
    # As many hands as can be are found, even where another way overlaps more: here 1 and 0.3
    # against 0.5 and 0.5.
    low = moved(RIGHT, 0, 26)
    both = score(hand(RIGHT), hand(moved(RIGHT, 20)), RIGHT, low)
    assert (both["both_found"], both["misnamed"]) == (1, 2)
    # Where one way finds as many as the other, the second hand on one hand is a ghost.
    ghost = score(hand(RIGHT), hand(moved(RIGHT, 35)), RIGHT, low)
    assert (ghost["hands_found"], ghost["hands_right"], ghost["ghosts"]) == (1, 1, 1)


def test_exchanged_names_change_no_count_but_those_of_sides():
    rng = np.random.default_rng(3)
    sides = {"both_right", "hands_right", "misnamed", "iou_sum"}
    n_found = n_ghosts = 0
    for _ in range(300):
        low = rng.uniform(0, 60, (4, 2))
        boxes = np.concatenate([low, low + rng.uniform(20, 60, (4, 2))], axis=1)
        boxes[3, 0] = rng.choice([np.nan, boxes[3, 0]])
        labels = [
            hand(box, rng.choice(["in", "hard", "out"]), bool(rng.integers(2))) for box in boxes[:2]
        ]
        straight = vars(score_boxes(tuple(labels), boxes[2:]))
        crossed = vars(score_boxes(tuple(labels), boxes[:1:-1]))
        for name in set(straight) - sides:
            assert straight[name] == crossed[name], name
        assert straight["named"] - straight["misnamed"] == crossed["misnamed"]
        n_found += straight["named"]
        n_ghosts += straight["ghosts"]
    assert n_found > 50
    assert n_ghosts > 50


def test_counts_add_up():
    a = score_boxes((hand(RIGHT), hand(LEFT)), np.array([RIGHT, LEFT], float))
    b = score_boxes((hand(RIGHT), GONE), np.array([NONE, LEFT], float))
    total = Tally()
    for one in (a, b):
        total.add(one)
    assert vars(total) == {name: value + vars(b)[name] for name, value in vars(a).items()}


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"box_px .* expected"):
        score_boxes((hand(RIGHT), GONE), np.zeros((1, 4)))


def test_boxes_of_a_track_are_those_of_the_benchmark():
    track = make_track(6, provenance={(1, 2, 4): ABSENT, (0, 1, 2): BRIDGED})
    boxes = track_boxes(track)
    np.testing.assert_array_equal(np.isfinite(boxes).all(axis=-1), track.present)
    bare = points_box(track.uv_px)
    assert (bare[..., :2][track.present] > boxes[..., :2][track.present]).all()
    # As labels they find the track itself, also by the benchmark's rule.
    labels = {t: (hand(boxes[t, 0]), hand(boxes[t, 1])) for t in (0, 1, 5)}
    assert score_frames(labels, boxes, clip="a").both_right == 3
    camera = track.meta.camera
    k_px = np.array([[camera.fx_px, 0, camera.cx_px], [0, camera.fy_px, camera.cy_px], [0, 0, 1]])
    palm_px = palm_length_px(track.xyz_cam_mm, np.tile(k_px, (6, 1, 1)))
    np.testing.assert_allclose((bare - boxes)[0, 0], 0.1 * palm_px[0, 0] * np.array([1, 1, -1, -1]))
    size_px = track.meta.width, track.meta.height
    match = match_hands(track.uv_px, track.uv_px, track.present, palm_px, size_px)
    np.testing.assert_array_equal(match.found, track.present)


def test_a_hand_outside_the_picture_has_no_box():
    boxes = clip_boxes(np.array([[-50, 10, 5, 20], [-50, 10, -20, 20]]), (100, 15))
    np.testing.assert_array_equal(boxes, [[-0.5, 10, 5, 14.5], NONE])


def test_a_label_behind_the_end_is_refused():
    with pytest.raises(DataError, match="blocks has a label of frame 3, but 3 frames"):
        score_frames({3: (GONE, GONE)}, np.full((3, 2, 4), np.nan), clip="blocks")


def renamed(frames, start, stop):
    """Exchange the names of hands from one frame to another."""
    return [
        [(1 - side if start <= t < stop else side, uv) for side, uv in hands]
        for t, hands in enumerate(frames)
    ]


def test_side_changes_are_counted_where_a_hand_stays():
    frames = track_hands(make_track(9))
    assert count_side_changes(frames) == 0
    assert count_side_changes(renamed(frames, 4, 9)) == 2
    assert count_side_changes(renamed(frames, 4, 5)) == 4
    only_right = track_hands(make_track(9, provenance={(1, 0, 9): ABSENT}))
    assert count_side_changes(renamed(only_right, 3, 6)) == 2


def test_hands_that_move_or_go_change_no_side():
    # The right hand goes and a left one comes elsewhere; then none for a frame, then another name.
    elsewhere = track_hands(make_track(6, provenance={(1, 0, 3): ABSENT, (0, 3, 6): ABSENT}))
    assert [len(hands) for hands in elsewhere] == [1] * 6
    assert count_side_changes(elsewhere) == 0
    frames = track_hands(make_track(5, provenance={(0, 2, 3): ABSENT, (1, 0, 5): ABSENT}))
    assert count_side_changes(renamed(frames, 3, 5)) == 0


def test_hands_that_really_cross_keep_their_names():
    # Two squares of points 10 px long pass each other, 3 px a frame.
    points = np.random.default_rng(0).uniform(0, 10, (21, 2))
    points[:2] = [[0, 0], [10, 10]]
    frames = [
        [(0, np.add(points, [3 * t, 0])), (1, np.add(points, [30 - 3 * t, 0]))] for t in range(11)
    ]
    assert count_side_changes(frames) == 0
    # Past half a hand from frame to frame it is not known who is who.
    fast = [[(t % 2, np.add(points, [5.1 * t, 0]))] for t in range(4)]
    slow = [[(t % 2, np.add(points, [4.9 * t, 0]))] for t in range(4)]
    assert (count_side_changes(fast), count_side_changes(slow)) == (0, 3)


def test_length_of_a_track():
    track = make_track(30)
    assert track_seconds(track) == pytest.approx(30 * 1001 / 30000)
    assert track_seconds(track.rows(0, 1)) == 0


def test_boxes_of_masks():
    masks = np.zeros((2, 8, 10), dtype=bool)
    masks[0, 2, 3] = masks[0, 5, 8] = True
    np.testing.assert_array_equal(mask_boxes(masks), [[2.5, 1.5, 8.5, 5.5], NONE])
