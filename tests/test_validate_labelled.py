"""Labelled pictures of real hands: their files' shapes, what is guessed, and the scores."""

import cv2
import numpy as np
import pytest
from labelled_hands import (
    CAMERA,
    flags,
    flat_hand,
    make_hand,
    write,
    write_2d_sets,
    write_coco,
    write_interhand,
)

from hdrvideo.errors import DataError
from hdrvideo.hand import LEFT, RIGHT, palm_length, to_order
from hdrvideo.sets.guess import with_guesses
from hdrvideo.validate.labelled import load_labelled
from hdrvideo.validate.labelled_scores import HEAD, Reading, measure, rows_of, squares_of


def test_sets_in_the_picture_are_read_with_their_sides(tmp_path):
    uv = write_2d_sets(tmp_path)
    hands = load_labelled(tmp_path)
    assert [hand.name for hand in hands] == [
        *("freihand 1 R", "onehand10k 33 L", "panoptic a_l L", "panoptic a_r R")
    ]
    for hand in hands:
        np.testing.assert_allclose(hand.uv_px[hand.labelled], uv[hand.labelled])
        assert hand.xyz_cam_mm is None
        assert hand.palm_px == pytest.approx(float(palm_length(hand.uv_px)))
    assert [int(hand.labelled.sum()) for hand in hands] == [21, 14, 21, 21]
    # What is not labelled was written as 0, 0 and is guessed where the hand is.
    assert np.linalg.norm(hands[1].uv_px - uv, axis=-1).max() < 4


def test_rhd_has_its_fingers_from_the_tip(tmp_path):
    xyz = flat_hand(LEFT)
    theirs = np.roll(to_order(np.concatenate([xyz, CAMERA.project(xyz)], 1), "interhand"), 1, 0)
    # Wrist, then the thumb from its tip.
    np.testing.assert_array_equal(theirs[:3, :3], xyz[[0, 4, 3]])
    label = {
        "keypoints": flags(theirs[:, 3:]).tolist(),
        "joint_cam": theirs[:, :3].tolist(),
        "hand_type": "left",
    }
    lens = {"focal": [300, 310], "princpt": [160, 120]}
    write_coco(tmp_path / "rhd", ["00111.png"], [label], cam_param=lens)
    (hand,) = load_labelled(tmp_path)
    assert hand.side == LEFT
    np.testing.assert_allclose(hand.xyz_cam_mm, xyz)
    np.testing.assert_allclose(hand.uv_px, CAMERA.project(xyz))
    assert hand.camera == CAMERA


def test_interhand_comes_through_its_camera(tmp_path):
    pair = write_interhand(tmp_path)
    hands = load_labelled(tmp_path)
    assert [hand.name.split()[1:] for hand in hands] == [
        ["both", "R"],
        ["both", "L"],
        ["left", "L"],
    ]
    for hand in hands:
        np.testing.assert_allclose(hand.xyz_cam_mm, pair[hand.side], atol=1e-4)
        np.testing.assert_allclose(hand.uv_px, CAMERA.project(pair[hand.side]), atol=1e-3)
        # 90 mm at about 400 mm.
        assert hand.palm_px == pytest.approx(90 / 400 * np.sqrt(300 * 310), rel=0.01)


def test_no_folder_and_broken_labels_are_said_in_one_line(tmp_path):
    with pytest.raises(DataError, match="holds no labelled pictures; name the folder"):
        load_labelled(tmp_path / "nothing")
    write_2d_sets(tmp_path)
    for picture in tmp_path.rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(DataError, match="none of their pictures; copy them"):
        load_labelled(tmp_path)
    write(tmp_path / "freihand" / "test_freihand.json", {"images": []})
    with pytest.raises(
        DataError, match=r"test_freihand.json cannot be read \(KeyError: 'annotations'\)"
    ):
        load_labelled(tmp_path)


@pytest.mark.parametrize("side", [RIGHT, LEFT])
@pytest.mark.parametrize("known", [(0, 9), (5, 9, 13, 17, 20), (0, 6, 7, 8, 9, 13, 17)])
def test_a_flat_hand_is_guessed_from_few_joints(side, known):
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    true = CAMERA.project(flat_hand(side)) @ turn.T + 17
    labelled = np.isin(np.arange(21), known)
    guess = with_guesses(np.where(labelled[:, None], true, 0.0), labelled, side)
    np.testing.assert_array_equal(guess[labelled], true[labelled])
    # It is not quite flat in space, and two joints tell the least.
    assert np.linalg.norm(guess - true, axis=-1).max() < (12 if len(known) == 2 else 5)


def test_one_joint_is_too_few():
    with pytest.raises(DataError, match="1 labelled joints, expected at least 2"):
        with_guesses(np.zeros((21, 2)), np.arange(21) == 3, RIGHT)


def test_a_perfect_reading_and_known_errors():
    hand = make_hand()
    turn = cv2.Rodrigues(np.array([0.1, 0.3, 0.0]))[0]
    perfect = measure(Reading("x", hand, hand.uv_px, hand.xyz_cam_mm + 70))
    np.testing.assert_allclose(perfect, [1, 0, 1, 0, 0, 0], atol=1e-9)
    turned = measure(Reading("x", hand, hand.uv_px, 1.5 * hand.xyz_cam_mm @ turn.T))
    assert turned[3] > turned[4] > 1
    assert turned[5] == pytest.approx(0, abs=1e-6)
    scaled = measure(Reading("x", hand, hand.uv_px, 1.5 * hand.xyz_cam_mm))
    assert scaled[4] == pytest.approx(0, abs=1e-6)
    rel = hand.xyz_cam_mm - hand.xyz_cam_mm[0]
    assert scaled[3] == pytest.approx(0.5 * np.linalg.norm(rel, axis=1)[1:].mean())
    # Half of the labelled joints 0.3 palms off; those without a label do not count.
    labelled = np.arange(21) < 10
    uv = hand.uv_px.copy()
    uv[:5, 0] += 0.3 * hand.palm_px
    uv[15:] += 1000
    off = measure(Reading("x", make_hand(labelled=labelled), uv))
    np.testing.assert_allclose(off[:3], [1, 0.15, 0.5])
    assert np.isnan(off[3:]).all()


def test_squares_are_mirrored_for_left_hands_and_the_same_again():
    hand = make_hand(LEFT)
    first, again = squares_of(hand, 40, seed=3), squares_of(hand, 40, seed=3)
    assert first == again
    assert first != squares_of(hand, 40, seed=4)
    assert all(square.mirror for square in first)
    assert not any(square.mirror for square in squares_of(make_hand(RIGHT), 2, seed=3))
    sizes = np.log([square.size_px for square in first])
    assert 0.03 < sizes.std() < 0.15


def test_rows_are_means_over_hands_and_a_missing_hand_is_wrong():
    hand, flat = make_hand(), make_hand(LEFT, source="panoptic", space=False)
    off = hand.uv_px + np.array([0.5 * hand.palm_px, 0])
    rows = rows_of(
        [
            *(Reading("net", hand, hand.uv_px, hand.xyz_cam_mm) for _ in range(3)),
            Reading("net", hand, off, hand.xyz_cam_mm),
            Reading("net", flat, flat.uv_px),
            Reading("mp", flat),
        ]
    )
    assert all(len(row) == len(HEAD) for row in rows)
    cells = {(row[0], row[2]): [row[1], *row[3:]] for row in rows}
    zero = ["0.0"] * 3
    assert cells["rhd", "net"] == ["1", "100 %", "12.5", "75.0", *zero]
    assert cells["panoptic", "net"] == ["1", "100 %", "0.0", "100.0", "–", "–", "–"]
    assert cells["panoptic", "mp"] == ["1", "0 %", "–", "0.0", "–", "–", "–"]
    # Each hand weighs the same, however often it was read.
    assert cells["all", "net"] == ["2", "100 %", "6.2", "87.5", *zero]
    assert ("rhd", "mp") not in cells
