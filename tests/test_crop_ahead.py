"""Pictures that wait for later frames: blocks, margins, rows of one hand, what is given back."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from made_world import Dot, follow, frame
from test_follow import going
from test_follow_bare import DEFAULT, PaintedWorld, same_rows
from test_follow_masks import hand_at, mask_of, sighting

from hdrvideo.crop.ahead import BLOCK, MARGIN, AheadPictures, _unbroken
from hdrvideo.crop.follow import HandFollower
from hdrvideo.crop.guide import MaskGuide
from hdrvideo.crop.sighting import HandView, TrackedFrame
from hdrvideo.datatypes import KeptCrop
from hdrvideo.errors import ShapeError
from hdrvideo.geometry import CropSquare, square_from_pose
from hdrvideo.pipeline import painted_ahead

R = 16


class Spy:
    """Paints each wanted crop in the mean grey of its row; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked = []

    def __call__(self, crops, wanted):
        means = [float(crop.rgb.mean()) for crop in crops]
        self.asked.append(([round(255 * m) for m in means], list(wanted)))
        return {k: torch.full((3, R, R), float(np.mean(means))) for k in wanted}


def row_of(n: int, *, painted: bool = True, goes_on: bool = True, there: bool = True):
    """Give frame ``n`` with one hand, its crop of grey ``n``."""
    row = TrackedFrame(replace(frame(n), rgb_u8=None, status="lost"), "ok")
    if there:
        hand = sighting(hand_at(100, 100))
        square = square_from_pose(hand.uv_px, mirror=False)
        grey = np.full((R, R, 3), n, np.uint8)
        view = HandView(
            grey, square, (mask_of(hand.uv_px, CropSquare(100, 100, 80)), None), goes_on
        )
        jpeg = cv2.imencode(".jpg", grey)[1].tobytes()
        crop = KeptCrop(square.frame_from_crop(R), jpeg, painted)
        row.sightings[0] = replace(hand, crop=crop, view=view)
    return row


def grey_of(row: TrackedFrame) -> float:
    data = np.frombuffer(row.sightings[0].crop.jpeg, np.uint8)
    return float(cv2.imdecode(data, cv2.IMREAD_COLOR).mean())


def run(rows, spy):
    pictures, out = AheadPictures(spy), []
    for row in rows:
        out += pictures.push(row)
        assert len(pictures._rows) <= BLOCK + MARGIN
        assert len(pictures._views) <= BLOCK + 2 * MARGIN
    return out + pictures.finish()


def test_rows_come_back_once_in_order_and_each_block_sees_its_margins():
    n, spy = 2 * BLOCK + MARGIN + 3, Spy()
    given = [row_of(k) for k in range(n)]
    out = run(given, spy)
    assert out == given
    assert all(row.sightings[0].view is None for row in out)
    spans = [(asked[0], asked[-1], wanted[0], len(wanted)) for asked, wanted in spy.asked]
    assert spans == [
        (0, BLOCK + MARGIN - 1, 0, BLOCK),
        (BLOCK - MARGIN, 2 * BLOCK + MARGIN - 1, MARGIN, BLOCK),
        (2 * BLOCK - MARGIN, n - 1, MARGIN, MARGIN + 3),
    ]
    middle = np.mean(spy.asked[0][0])
    assert grey_of(out[0]) == pytest.approx(middle, abs=1.5)
    assert all(row.sightings[0].crop.painted for row in out)


def test_what_lies_beyond_the_margin_changes_nothing():
    n = 3 * BLOCK
    whole = run([row_of(k) for k in range(n)], Spy())
    cut = run([row_of(k) for k in range(BLOCK - MARGIN, n)], Spy())
    jpegs = [row.sightings[0].crop.jpeg for row in whole]
    assert [row.sightings[0].crop.jpeg for row in cut][MARGIN:] == jpegs[BLOCK:]


def test_only_pictures_that_were_painted_are_painted_anew():
    spy = Spy()
    given = [row_of(k, painted=k == 25) for k in range(BLOCK)]
    before = [row.sightings[0].crop for row in given]
    out = run(given, spy)
    asked, wanted = spy.asked[0]
    assert (asked[0], asked[-1], wanted) == (25 - MARGIN, BLOCK - 1, [MARGIN])
    assert [row.sightings[0].crop is crop for row, crop in zip(out, before, strict=True)] == [
        k != 25 for k in range(BLOCK)
    ]
    spy = Spy()
    run([row_of(k, painted=False) for k in range(BLOCK)], spy)
    assert spy.asked == []


def test_a_hand_that_was_lost_or_jumped_begins_a_new_row():
    spy = Spy()
    run([row_of(k, there=k != 4, goes_on=k != 9) for k in range(12)], spy)
    assert [asked for asked, _ in spy.asked] == [[*range(4)], [*range(5, 9)], [*range(9, 12)]]


def test_one_frame_none_and_a_hand_without_a_view():
    spy = Spy()
    (row,) = run([row_of(7)], spy)
    assert spy.asked == [([7], [0])]
    assert grey_of(row) == pytest.approx(7, abs=1)
    assert AheadPictures(spy).finish() == []
    bare = row_of(3)
    bare.sightings[0] = replace(bare.sightings[0], view=None)
    run([bare], spy)
    assert len(spy.asked) == 1
    assert _unbroken([]) == []


def test_views_check_themselves():
    view = row_of(0).sightings[0].view
    with pytest.raises(ShapeError, match=r"rgb_u8 is float64 \(16, 16, 3\), expected uint8"):
        replace(view, rgb_u8=view.rgb_u8.astype(float))


class ViewedWorld(PaintedWorld):
    def follower(self, settings) -> HandFollower:
        made = HandFollower(
            finder=self,
            read_hands=self.read,
            resolution_px=R,
            settings=settings,
            paint=self.paint,
            remember=self.remember,
            keep_crops=self.keep_crops,
            keep_views=True,
        )
        made._guide = MaskGuide(self.see)
        return made


def test_the_follower_leaves_views_of_all_masked_hands_and_is_not_changed_by_them():
    dots = [Dot(going(130, 120)), Dot(lambda n: (165 if n >= 4 else 290, 120), is_right=False)]
    world = ViewedWorld(dots, keep_crops=True, remember=True)
    rows = follow(world, 8, DEFAULT)
    same_rows(rows, follow(PaintedWorld(dots, keep_crops=True, remember=True), 8, DEFAULT))
    for n, row in enumerate(rows):
        hand = row.sightings[0]
        assert hand.view.goes_on == (n > 0)
        assert hand.view.masks[0] == hand.mask
        assert (hand.view.rgb_u8 == n).all()
        affine = hand.view.square.frame_from_crop(R)
        np.testing.assert_array_equal(affine, hand.crop.frame_from_crop)
    # The other hand jumped.
    assert [row.sightings[1].view.goes_on for row in rows][4] is False
    for options in ({"remember": True}, {"keep_crops": True}):
        rows = follow(ViewedWorld(dots, **options), 3, DEFAULT)
        assert all(row.sightings[0].view is None for row in rows)


def test_hands_that_were_exchanged_do_not_go_on():
    dots = [Dot(going(130, 120)), Dot(going(165, 120), is_right=False)]
    follower = ViewedWorld(dots, keep_crops=True, remember=True).follower(DEFAULT)
    for n in range(3):
        row = follower.step(frame(n))
    follower._swap(row)
    after = follower.step(frame(3))
    assert [hand.view.goes_on for hand in after.sightings] == [False, False]


def test_the_pipeline_gives_every_row_once():
    given = [row_of(k) for k in range(BLOCK + MARGIN + 2)]
    assert list(painted_ahead(iter(given), AheadPictures(Spy()))) == given
