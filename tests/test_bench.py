"""Where the time of ``hdrvideo bench`` goes: clocks add up, and what is watched stays as it was."""

import re
import time
from types import SimpleNamespace

import pytest
from tracks import make_ledger, make_track, same_track

from hdrvideo.bench import DECODE, MASKS, MOTION, PAINTING, READ, Clock, Watched, moved, split
from hdrvideo.build import Parts
from hdrvideo.config import MotionSettings
from hdrvideo.motion.stage import MotionStage
from hdrvideo.track import concatenate


class Part:
    resolution_px = 7

    def __call__(self, value: int, *, more: int = 0) -> int:
        time.sleep(0.002)
        return value + more

    def paint(self, value: int) -> int:
        time.sleep(0.004)
        return -value

    def other(self) -> str:
        return "other"


def make_parts(segmenter):
    finder = SimpleNamespace(find=lambda: ["palm"])
    return Parts(finder, segmenter, Part(), object(), None, "torch")


def test_a_watched_part_does_as_it_did_and_its_time_is_counted():
    clock = Clock()
    part = Watched(Part(), clock, {"": READ, "paint": PAINTING})
    assert [part(3, more=4), part.paint(3), part.other(), part.resolution_px] == [7, -3, "other", 7]
    assert 0.002 <= clock.seconds[READ] < clock.seconds[PAINTING] + 0.002
    assert clock.seconds[PAINTING] >= 0.004
    assert clock.seconds[MASKS] == clock.seconds[MOTION] == 0
    with pytest.raises(AttributeError, match="gone"):
        _ = part.gone


def test_waiting_for_items_is_counted_and_work_on_them_is_not():
    clock = Clock()

    def slow():
        for n in range(3):
            time.sleep(0.002)
            yield n

    start = time.perf_counter()
    for _ in clock.each(DECODE, slow()):
        time.sleep(0.01)
    whole = time.perf_counter() - start
    assert 0.006 <= clock.seconds[DECODE] <= whole - 0.03
    assert list(clock.each(DECODE, range(4))) == [0, 1, 2, 3]


def test_the_temporal_stage_is_timed_and_gives_what_it_gave():
    track = make_track(40)
    ledger = make_ledger(track)
    settings = MotionSettings(own_frames=10)
    clock = Clock()
    raw = [(track.rows(a, a + 8), ledger.rows(a, a + 8)) for a in range(0, 40, 8)]
    timed = moved(raw, MotionStage(settings), clock)
    stage = MotionStage(settings)
    plain = [window for one in raw for window in stage.push(*one)] + list(stage.finish())
    same_track(*(concatenate([t for t, _ in windows]) for windows in (timed, plain)))
    assert clock.seconds[MOTION] > 0


def test_shares_of_the_whole_add_up():
    clocks = []
    for factor in (1, 3):
        clock = Clock()
        clock.seconds |= {DECODE: 0.1 * factor, READ: 0.5 * factor, MOTION: 0.25 * factor}
        clock.total_seconds = 1.0 * factor
        clocks.append(clock)
    lines = list(split(clocks, 10))
    told = {}
    for line in lines:
        told[line[4:44].strip()] = [float(number) for number in re.findall(r"[\d.]+", line[44:])]
    assert told[MOTION] == [50.0, 25.0]
    assert told[READ] == [100.0, 50.0]
    assert told[MASKS] == [0.0, 0.0]
    assert told["the rest"] == [30.0, 15.0]
    assert sum(share for _, share in told.values()) == pytest.approx(100)


def test_all_nets_but_the_refiner_are_watched():
    parts = make_parts(segmenter=Part())
    clock = Clock()
    watched = clock.watch(parts)
    assert watched.refiner is parts.refiner
    assert watched.frame_stage(1) == 1
    assert watched.frame_stage.paint(1) == -1
    assert watched.segmenter(2) == 2
    assert watched.finder.find() == ["palm"]
    assert all(clock.seconds[name] > 0 for name in (READ, PAINTING, MASKS))
    assert clock.watch(make_parts(segmenter=None)).segmenter is None
