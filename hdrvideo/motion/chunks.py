"""Window arithmetic, apart from any net: what a window reads, and which frames it owns.

All ranges are half-open. Windows own every frame exactly once, in order; a window reads its own
frames, ``behind`` frames before and ``ahead`` frames after them, cut at the ends of the clip.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Frames ``read_start .. read_stop`` are read, ``own_start .. own_stop`` are given out."""

    read_start: int
    read_stop: int
    own_start: int
    own_stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.read_start <= self.own_start < self.own_stop <= self.read_stop:
            raise ValueError(f"window {self} does not nest")

    @property
    def own(self) -> tuple[int, int]:
        """First owned frame and the one after the last, counted from the first frame read."""
        return self.own_start - self.read_start, self.own_stop - self.read_start


def next_window(
    own_start: int, n_seen: int, *, own: int, behind: int, ahead: int, is_end: bool
) -> Window | None:
    """Give the next window that can be computed, or None if more frames are needed.

    Args:
        own_start: First frame that no window has owned yet.
        n_seen: Frames that have arrived.
        own: Frames a window owns; the last one of a clip may own fewer.
        behind: Frames read before the owned ones.
        ahead: Frames read after them.
        is_end: No more frames will come.

    Returns:
        The window; None while not all frames ahead are there, or when every frame is owned.
    """
    if own < 1 or behind < 0 or ahead < 0:
        raise ValueError(
            f"own is {own}, behind {behind} and ahead {ahead}, expected at least 1, 0 and 0"
        )
    own_stop = own_start + own
    if own_stop + ahead > n_seen:
        if not is_end or own_start >= n_seen:
            return None
        own_stop = min(own_stop, n_seen)
    return Window(
        read_start=max(own_start - behind, 0),
        read_stop=min(own_stop + ahead, n_seen),
        own_start=own_start,
        own_stop=own_stop,
    )


def plan(n_frames: int, *, own: int, behind: int, ahead: int) -> list[Window]:
    """List all windows of a finished clip of ``n_frames`` frames."""
    windows: list[Window] = []
    while True:
        start = windows[-1].own_stop if windows else 0
        window = next_window(start, n_frames, own=own, behind=behind, ahead=ahead, is_end=True)
        if window is None:
            return windows
        windows.append(window)
