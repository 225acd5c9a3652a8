"""Window arithmetic by brute force: every frame owned once, context full, streaming = planned."""

from itertools import product

import pytest

from hdrvideo.motion.chunks import Window, next_window, plan

LENGTHS = [0, 1, 2, 3, 7, 10, 11, 30]
SIZES = list(product([1, 2, 3, 5, 10, 50], [0, 1, 2, 4, 9, 40]))


@pytest.mark.parametrize(("own", "ahead"), SIZES)
def test_every_frame_is_owned_once_with_its_context(own, ahead):
    for n, behind in product(LENGTHS, [ahead, 3]):
        check_plan(n, own, behind, ahead)


def check_plan(n: int, own: int, behind: int, ahead: int) -> None:
    windows = plan(n, own=own, behind=behind, ahead=ahead)
    owned = [i for w in windows for i in range(w.own_start, w.own_stop)]
    assert owned == list(range(n))
    for window in windows:
        assert window.read_start == max(window.own_start - behind, 0)
        assert window.read_stop == min(window.own_stop + ahead, n)
        read = list(range(window.read_start, window.read_stop))
        start, stop = window.own
        assert read[start:stop] == list(range(window.own_start, window.own_stop))
    sizes = [w.own_stop - w.own_start for w in windows]
    # All own as many as asked, save the last, which may take fewer.
    assert all(size == own for size in sizes[:-1])
    assert all(1 <= size <= own for size in sizes[-1:])


@pytest.mark.parametrize(("own", "ahead"), SIZES)
def test_streaming_gives_the_planned_windows_as_soon_as_it_can(own, ahead):
    for n, arrive in product(LENGTHS, [1, 3, 100]):
        check_streaming(n, own, ahead, arrive=arrive)


def check_streaming(n: int, own: int, ahead: int, *, arrive: int) -> None:
    sizes = {"own": own, "behind": 2, "ahead": ahead}
    windows: list[Window] = []

    def take(n_seen: int, *, is_end: bool) -> None:
        while True:
            start = windows[-1].own_stop if windows else 0
            window = next_window(start, n_seen, **sizes, is_end=is_end)
            if window is None:
                return
            windows.append(window)

    for n_seen in range(arrive, n + 1, arrive):
        take(n_seen, is_end=False)
        n_whole = max((n_seen - ahead) // own, 0)
        assert len(windows) == n_whole
        assert all(w.read_stop == w.own_stop + ahead for w in windows)
    take(n, is_end=True)
    assert windows == plan(n, **sizes)
    start = windows[-1].own_stop if windows else 0
    assert next_window(start, n, **sizes, is_end=True) is None


@pytest.mark.parametrize(
    ("own", "behind", "ahead"), [(0, 1, 1), (-1, 0, 0), (1, -1, 0), (1, 0, -1)]
)
def test_sizes_that_make_no_window(own, behind, ahead):
    sizes = {"own": own, "behind": behind, "ahead": ahead}
    said = f"own is {own}, behind {behind} and ahead {ahead}, expected at least"
    with pytest.raises(ValueError, match=said):
        next_window(0, 10, **sizes, is_end=True)
    with pytest.raises(ValueError, match=said):
        plan(10, **sizes)


@pytest.mark.parametrize("wrong", [(-1, 3, 0, 2), (1, 3, 0, 2), (0, 3, 2, 2), (0, 3, 1, 4)])
def test_a_window_must_nest(wrong):
    with pytest.raises(ValueError, match=r"window Window\(.*\) does not nest"):
        Window(*wrong)
