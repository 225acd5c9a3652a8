"""Window arithmetic by brute force: every frame owned once, context full, streaming = planned."""

from itertools import product

import pytest

from hdrvideo.motion.chunks import Window, next_window, plan

LENGTHS = [0, 1, 2, 3, 7, 10, 11, 30]
SIZES = list(product([1, 2, 3, 5, 10, 50], [0, 1, 2, 4, 9, 40]))


@pytest.mark.parametrize(("own", "context"), SIZES)
def test_every_frame_is_owned_once_with_its_context(own, context):
    for n in LENGTHS:
        check_plan(n, own, context)


def check_plan(n: int, own: int, context: int) -> None:
    windows = plan(n, own=own, context=context)
    owned = [i for w in windows for i in range(w.own_start, w.own_stop)]
    assert owned == list(range(n))
    for window in windows:
        assert window.read_start == max(window.own_start - context, 0)
        assert window.read_stop == min(window.own_stop + context, n)
        read = list(range(window.read_start, window.read_stop))
        start, stop = window.own
        assert read[start:stop] == list(range(window.own_start, window.own_stop))
    sizes = [w.own_stop - w.own_start for w in windows]
    # All own as many as asked, save the last, which may take fewer.
    assert all(size == own for size in sizes[:-1])
    assert all(1 <= size <= own for size in sizes[-1:])


@pytest.mark.parametrize(("own", "context"), SIZES)
def test_streaming_gives_the_planned_windows_as_soon_as_it_can(own, context):
    for n, arrive in product(LENGTHS, [1, 3, 100]):
        check_streaming(n, own, context, arrive=arrive)


def check_streaming(n: int, own: int, context: int, *, arrive: int) -> None:
    windows: list[Window] = []

    def take(n_seen: int, *, is_end: bool) -> None:
        while True:
            start = windows[-1].own_stop if windows else 0
            window = next_window(start, n_seen, own=own, context=context, is_end=is_end)
            if window is None:
                return
            windows.append(window)

    for n_seen in range(arrive, n + 1, arrive):
        take(n_seen, is_end=False)
        n_whole = max((n_seen - context) // own, 0)
        assert len(windows) == n_whole
        assert all(w.read_stop == w.own_stop + context for w in windows)
    take(n, is_end=True)
    assert windows == plan(n, own=own, context=context)
    start = windows[-1].own_stop if windows else 0
    assert next_window(start, n, own=own, context=context, is_end=True) is None


@pytest.mark.parametrize(("own", "context"), [(0, 1), (-1, 0), (1, -1)])
def test_sizes_that_make_no_window(own, context):
    with pytest.raises(ValueError, match=f"own is {own} and context {context}, expected at least"):
        next_window(0, 10, own=own, context=context, is_end=True)
    with pytest.raises(ValueError, match=f"own is {own} and context {context}, expected at least"):
        plan(10, own=own, context=context)


@pytest.mark.parametrize("wrong", [(-1, 3, 0, 2), (1, 3, 0, 2), (0, 3, 2, 2), (0, 3, 1, 4)])
def test_a_window_must_nest(wrong):
    with pytest.raises(ValueError, match=r"window Window\(.*\) does not nest"):
        Window(*wrong)
