"""Which packets are frames, in which order and when: the arithmetic behind one row per frame.

A packet goes into the decoder and, some packets later, its picture comes out, or never does.
`RowKeeper` holds the packets that still owe a picture and settles each one exactly once. It knows
times and serial numbers only, no video library.
"""

import heapq
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

# A jump back by more than this is a new recording glued on, not a reordered picture.
NEW_EPOCH_SECONDS = 1

# No codec in use reorders over more pictures than this.
MAX_REORDER = 16


class TimesNotTrustedError(Exception):
    """The pictures come out in another order than the container's presentation times."""


@dataclass(frozen=True)
class Row:
    """One settled frame.

    Attributes:
        pts: Presentation time, strictly increasing from row to row, in time base units.
        picture: What the decoder gave; None when the frame is lost.
        retimed: True when ``pts`` is not what the container said, to keep time increasing.
        late: No row of its own, but the picture of the lost row with this ``pts``.
    """

    pts: int
    picture: Any
    retimed: bool = False
    late: bool = False


@dataclass(frozen=True)
class _Owed:
    serial: int
    epoch: int
    pts: int | None

    @property
    def key(self) -> tuple[int, int]:
        return (self.epoch, self.pts or 0)


class RowKeeper:
    """Settles packets into rows in presentation order, each packet once.

    What the container's times are good for:

    * ``exact`` (mp4, mkv, webm, ts): a decoder gives pictures in order of pts, so when one comes
      out, every packet with an earlier pts that still owes a picture is lost.
    * ``shuffled`` (pts that contradict the order of the pictures) and ``decoding`` (avi and raw
      streams, which have decoding times at best): the decoder's order is the order; row ``k``
      takes the ``k``-th smallest of the packets' pts or decoding times, or ``k / rate``. A packet
      is lost when a picture sent ``MAX_REORDER`` packets later is out (at once where the codec
      does not reorder), so a lost row may stand up to that many rows late.

    Times are made strictly increasing: a repeated or earlier one becomes the last plus one unit;
    where a new recording starts (time jumps back by more than a second), all later times are
    shifted so that it follows one frame after the last. Such rows are marked ``retimed``.

    Attributes:
        damaged: Set by the user when the decoder reports damage. From then on pictures that come
            out of order are blamed on the damage, not on the container's times.
    """

    def __init__(
        self, *, time_base: Fraction, rate: Fraction | None, times: str, reorders: bool
    ) -> None:
        self.damaged = False
        self._times = times
        self._trust_pts = times == "exact"
        self._reorder = MAX_REORDER if reorders else 0
        self._step = max(Fraction(1), 1 / (rate * time_base)) if rate else Fraction(1)
        self._epoch_gap = NEW_EPOCH_SECONDS / time_base
        self._owed: dict[int, _Owed] = {}
        self._lost_pts: dict[int, int] = {}
        self._slots: list[tuple[int, int]] = []
        self._epoch = 0
        self._row_epoch = 0
        self._last_dts: int | None = None
        self._last_pts: int | None = None
        self._shift = 0

    def expect(
        self, serial: int, pts: int | None, dts: int | None, *, picture: bool = True
    ) -> None:
        """Note a packet that goes to the decoder.

        Args:
            serial: Its number in decoding order.
            pts: Presentation time of the container, None when it does not say.
            dts: Decoding time, None when the container does not say.
            picture: False for a packet that has a time but owes no picture of its own.

        Raises:
            TimesNotTrustedError: Times are trusted and this packet has none.
        """
        if dts is not None:
            if self._last_dts is not None and self._last_dts - dts > self._epoch_gap:
                self._epoch += 1
            self._last_dts = dts
        if not self._trust_pts:
            wanted = (dts, pts) if self._times == "decoding" else (pts, dts)
            slot = next((t for t in wanted if t is not None), round(serial * self._step))
            heapq.heappush(self._slots, (self._epoch, slot))
        elif pts is None:
            raise TimesNotTrustedError
        if picture:
            self._owed[serial] = _Owed(serial, self._epoch, pts)

    def arrived(self, serial: int | None, pts: int | None, picture: Any) -> list[Row]:
        """Settle a picture that came out: rows lost before it, then its own.

        Args:
            serial: Number of the packet that the decoder says it came from; None when unknown.
            pts: Presentation time the decoder gives, None when unknown.
            picture: Kept in the row.

        Raises:
            TimesNotTrustedError: Its packet was given up already, as a later time came out first,
                and no damage explains that.
        """
        owed = self._match(serial, pts)
        if owed is None:
            if serial in self._lost_pts:
                if not self.damaged:
                    raise TimesNotTrustedError
                return [Row(self._lost_pts[serial], picture, late=True)]
            return [self._row(self._row_epoch, pts, picture)]
        del self._owed[owed.serial]
        if self._trust_pts:
            lost = sorted((o for o in self._owed.values() if o.key < owed.key), key=_order)
        else:
            lost = [o for o in self._owed.values() if o.serial < owed.serial - self._reorder]
        return [*self._give_up(lost), self._row(owed.epoch, owed.pts, picture)]

    def finish(self) -> list[Row]:
        """Settle everything that never came out, after the decoder was emptied."""
        return self._give_up(sorted(self._owed.values(), key=_order))

    def _match(self, serial: int | None, pts: int | None) -> _Owed | None:
        # The serial alone is wrong for VP9's "show an existing frame" (it names the packet that
        # coded the picture); the pts alone is wrong where times repeat.
        named = self._owed.get(serial) if serial is not None else None
        if named is not None and (pts is None or named.pts == pts or not self._trust_pts):
            return named
        same_pts = (o for o in self._owed.values() if pts is not None and o.pts == pts)
        return next(same_pts, named)

    def _give_up(self, lost: list[_Owed]) -> list[Row]:
        rows = []
        for owed in lost:
            del self._owed[owed.serial]
            rows.append(self._row(owed.epoch, owed.pts, None))
            self._lost_pts[owed.serial] = rows[-1].pts
        return rows

    def _row(self, epoch: int, pts: int | None, picture: Any) -> Row:
        if not self._trust_pts and self._slots:
            epoch, pts = heapq.heappop(self._slots)
        step = round(self._step)
        if self._last_pts is None:
            self._last_pts = pts if pts is not None else 0
            return Row(self._last_pts, picture)
        if pts is None:
            pts = self._last_pts + step - self._shift
        time = pts + self._shift
        if time <= self._last_pts:
            to_next = step if epoch > self._row_epoch else 1
            self._shift += (self._last_pts + to_next - time) if epoch > self._row_epoch else 0
            time = self._last_pts + to_next
        self._row_epoch = max(epoch, self._row_epoch)
        self._last_pts = time
        return Row(time, picture, retimed=time != pts)


def _order(owed: _Owed) -> tuple[int, int, int]:
    return (*owed.key, owed.serial)


def owes_picture(codec: str, data: memoryview) -> bool:
    """Whether a packet holds a picture that is to be shown.

    VP8 and VP9 send hidden reference pictures as packets of their own; MPEG-4 in AVI marks a frame
    that was packed into the packet before by a stub of a few bytes.

    Args:
        codec: Name of the codec (``vp8``, ``vp9``, ``mpeg4``, ...); others always owe one.
        data: The bytes of the packet, at least one.
    """
    if codec == "vp8":
        return bool(data[0] >> 4 & 1)
    if codec == "mpeg4":
        return len(data) > 8
    if codec != "vp9" or data[-1] >> 5 == 0b110:  # a VP9 superframe ends in a shown picture
        return True
    # VP9 header: marker (2 bits), profile (2, low bit first), a spare bit in profile 3, then
    # show_existing_frame, frame_type, show_frame.
    bits = f"{data[0]:08b}" + (f"{data[1]:08b}" if len(data) > 1 else "00000000")
    at = 5 if bits[2:4] == "11" else 4
    return bits[at] == "1" or bits[at + 2] == "1"
