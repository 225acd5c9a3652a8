"""The scripts that score tracks, masks and nets against hands labelled by eye."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from real_labels import GONE, LEFT, RIGHT, hand
from tracks import make_meta, make_track
from validate_truths import mask_row, save_rows

from hdrvideo.clip import open_clip
from hdrvideo.errors import DataError
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.output.save import save_track
from hdrvideo.track import ABSENT
from hdrvideo.validate.real_hands import load_labels, track_boxes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scripts():
    """The two scripts, loaded as they run: from their own folder."""
    sys.path.insert(0, str(ROOT / "scripts"))
    names = ("score_real", "check_hasm_real")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(ROOT / "scripts"))


def write_labels(path, clip, frames):
    """Write label boxes as the file has them; None = out."""
    sides = [
        {
            side: {"status": "out"} if box is None else {"status": "in", "box": list(box)}
            for side, box in zip(("right", "left"), boxes, strict=True)
        }
        for boxes in frames
    ]
    labels = {"clips": {clip: {"frames": {str(t): two for t, two in enumerate(sides)}}}}
    path.write_text(json.dumps(labels))
    return path


def test_the_table_of_a_track(scripts, tmp_path):
    track = make_track(12, provenance={(1, 6, 12): ABSENT})
    boxes = track_boxes(track)
    labels = write_labels(tmp_path / "l.json", "walk.mkv", [[*boxes[0]], [*boxes[1]]])
    (tmp_path / "walk").mkdir()
    save_track(track, tmp_path / "walk" / "track.parquet")
    text = scripts.score_real.score_all(tmp_path, load_labels(labels))
    row, total = text.splitlines()[2:]
    both = "2 | 2 | 100 % (2/2) | 100 % (2/2) | 2 | 100 % (2/2) | 100 % (4/4) | 0 % (0/4) | 1.00"
    assert row == f"| walk.mkv | {both} | 0 | – | 0 | 0.0 |"
    assert total == row.replace("walk.mkv", "all")
    # The same track, with the left hand taken for a ghost of a one-hand clip.
    one_hand = {0: (hand(boxes[0, 0]), GONE)}
    one = scripts.score_real.score_clip(tmp_path / "walk", one_hand)
    assert (one.tally.ghosts, one.second_hands, one.one_hand_frames) == (1, 6, 12)
    # And with a hand where there is none.
    far = {0: (hand(boxes[0, 0]), hand([0, 0, 9, 9]))}
    assert scripts.score_real.score_clip(tmp_path / "walk", far).missed == [0]


def test_a_folder_without_tracks_is_refused(scripts, tmp_path):
    labels = load_labels(write_labels(tmp_path / "l.json", "walk.mkv", [[RIGHT, LEFT]]))
    with pytest.raises(DataError, match="no track of a labelled clip"):
        scripts.score_real.score_all(tmp_path, labels)


class ColourNet(torch.nn.Module):
    """Takes red for the right hand and blue for the left one; green lies over either."""

    def forward(self, rgb):
        cells = torch.nn.functional.avg_pool2d(rgb, 2)
        is_hand = torch.where(cells[:, [0, 2]] > 0.5, 9.0, -9.0)
        is_seen = torch.where(cells[:, [1, 1]] > 0.5, -9.0, 9.0)
        return is_hand, is_seen, torch.where(is_hand.amax(dim=(2, 3)) > 0, 3.0, -3.0)


def painted(*fills):
    picture = np.zeros((240, 320, 3), dtype=np.uint8)
    for (u0, v0, u1, v1), colour in fills:
        picture[v0:v1, u0:u1] = colour
    return picture


@pytest.mark.parametrize("is_pair", [False, True], ids=["full frame", "pair crop"])
def test_a_net_that_is_right_scores_full(scripts, is_pair):
    check = scripts.check_hasm_real
    right, left = [20, 60, 100, 140], [200, 160, 280, 240]
    picture = painted((right, (255, 0, 0)), (left, (0, 0, 255)))
    labels = hand(right), hand(left)
    square = check.pair_square(labels, 240, 320) if is_pair else check.whole_frame(240, 320)
    (view,) = check.see(ColourNet(), [picture], [square])
    tally = check.score_view(view, labels, (320, 240))
    assert tally.boxes.both_right == 1
    assert tally.any_boxes.iou_sum / 2 > 0.93
    assert (tally.is_in[0] == 1).all()
    assert not tally.is_out.any()
    assert (tally.ghosts, tally.doubles, tally.any_doubles) == (0, 0, 0)
    tile = check.draw_view(picture, view, labels, 0)
    assert tile.shape == (check.TILE_PX, check.TILE_PX, 3)


def test_ghosts_and_doubles_of_a_net(scripts):
    check = scripts.check_hasm_real
    right = [20, 60, 100, 140]
    # Both colours at one place, and a speck that is not of the largest part.
    picture = painted((right, (255, 0, 255)), ([250, 10, 260, 20], (255, 0, 0)))
    (view,) = check.see(ColourNet(), [picture], [check.whole_frame(240, 320)])
    tally = check.score_view(view, (hand(right), GONE), (320, 240))
    assert (tally.ghosts, tally.doubles, tally.any_doubles) == (1, 1, 1)
    np.testing.assert_array_equal(tally.is_out, [[0, 0], [0, 1]])
    assert tally.any_boxes.iou_sum > 0.9
    # Presence says no: no ghost, though the masks still lie on one another.
    absent = replace(view, presence=np.array([0.9, 0.2], dtype=np.float32))
    tally = check.score_view(absent, (hand(right), GONE), (320, 240))
    assert (tally.ghosts, tally.doubles, tally.any_doubles) == (0, 0, 1)
    np.testing.assert_array_equal(tally.is_out, [[0, 1], [0, 1]])
    # A mask of less than 0.2 % of the picture, 153 px, is none.
    (view,) = check.see(
        ColourNet(), [painted(([250, 10, 260, 20], (0, 0, 255)))], [check.whole_frame(240, 320)]
    )
    assert check.score_view(view, (GONE, GONE), (320, 240)).ghosts == 0
    # Hard hands and fragments are not asked for.
    unsure = hand(right, "hard"), hand(right, "out")
    tally = check.score_view(view, unsure, (320, 240))
    assert not tally.is_in.any()
    assert not tally.is_out.any()


def test_the_pair_crop(scripts):
    check = scripts.check_hasm_real
    square = check.pair_square((hand(RIGHT), hand(LEFT, "hard")), 480, 640)
    assert (square.u_px, square.v_px, square.angle_rad) == (230, 140, 0)
    assert square.size_px == pytest.approx(1.4 * 260)
    small = check.pair_square((hand([100, 100, 110, 110]), hand(LEFT, "out")), 480, 640)
    assert small.size_px == pytest.approx(640 / 6)
    assert check.pair_square((GONE, hand(LEFT, "out")), 480, 640) is None


def test_a_clip_is_checked_and_drawn(scripts, tmp_path):
    sample = sorted((ROOT / "sample_videos").glob("*.mp4"))[0]
    labels = {0: (hand(RIGHT), GONE), 2: (hand(RIGHT), hand(LEFT)), 3: (GONE, GONE)}
    with open_clip(sample) as reader:
        for frame in reader:
            if frame.index == 2:
                third = frame.rgb_u8
                break
    known = dict(scripts.check_hasm_real.labelled_frames(sample, labels))
    assert list(known) == [0, 2, 3]
    np.testing.assert_array_equal(known[2], third)
    net = HasmNet().eval()
    full, pair = scripts.check_hasm_real.check_clip(net, sample, labels, tmp_path / "sheet")
    assert (full.views, pair.views) == (3, 2)
    assert len(full.row("a")) == len(scripts.check_hasm_real.HEAD)
    assert (tmp_path / "sheet" / f"{sample.stem}.png").stat().st_size > 1000


def test_masks_beside_a_track(scripts, tmp_path):
    meta = make_meta(width=64, height=48)
    track = make_track(2, meta=meta, provenance={(1, 0, 2): ABSENT})
    save_track(track, tmp_path / "track.parquet")
    seen = np.zeros((48, 64), dtype=bool)
    seen[10:30, 5:25] = True
    whole = seen.copy()
    whole[10:30, 5:45] = True
    save_rows(
        tmp_path / "masks.parquet",
        [mask_row(seen, 1, 0, "visible"), mask_row(whole, 1, 0, "amodal")],
    )
    labels = {1: (hand([4.5, 9.5, 24.5, 29.5]), GONE)}
    found = scripts.score_real.score_clip(tmp_path, labels).masks
    assert found["visible"].iou_sum == 1
    assert found["whole"].iou_sum == 0.5
