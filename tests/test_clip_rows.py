"""Which packets are rows, in which order and when: the arithmetic, without any video."""

from fractions import Fraction

import pytest

from hdrvideo.clip.rows import Row, RowKeeper, TimesNotTrustedError, owes_picture


def keeper(times: str = "exact", *, reorders: bool = True) -> RowKeeper:
    return RowKeeper(time_base=Fraction(1, 30), rate=Fraction(30), times=times, reorders=reorders)


def test_repeated_time_becomes_one_more() -> None:
    rows = keeper(reorders=False)
    settled = []
    for serial, pts in enumerate([0, 10, 10, 9, 20]):
        rows.expect(serial, pts, serial)
        settled += rows.arrived(serial, pts, serial)
    assert settled == [
        Row(0, 0),
        Row(10, 1),
        Row(11, 2, retimed=True),
        Row(12, 3, retimed=True),
        Row(20, 4),
    ]


def test_picture_without_a_packet_is_a_row_of_its_own() -> None:
    rows = keeper()
    rows.expect(0, 0, 0)
    assert rows.arrived(0, 0, "a") == [Row(0, "a")]
    assert rows.arrived(0, None, "b") == [Row(1, "b")]
    assert rows.arrived(None, 7, "c") == [Row(7, "c")]
    assert rows.finish() == []


def test_late_picture_means_wrong_times_or_known_damage() -> None:
    rows = keeper()
    for serial in range(3):
        rows.expect(serial, serial, serial)
    assert rows.arrived(2, 2, "c") == [Row(0, None), Row(1, None), Row(2, "c")]
    with pytest.raises(TimesNotTrustedError):
        rows.arrived(1, 1, "b")
    rows.damaged = True
    assert rows.arrived(1, 1, "b") == [Row(1, "b", late=True)]


def test_missing_time_is_not_trusted() -> None:
    with pytest.raises(TimesNotTrustedError):
        keeper().expect(0, None, 0)


def test_without_times_a_frame_is_lost_when_much_later_ones_are_out() -> None:
    rows = keeper("decoding")
    settled: list[Row] = []
    for serial in range(30):
        rows.expect(serial, None, serial)
        if serial != 3:
            settled += rows.arrived(serial, None, serial)
    assert [row.pts for row in settled] == list(range(30))
    assert [row.pts for row in settled if row.picture is None] == [19]
    assert rows.finish() == []


@pytest.mark.parametrize(
    ("codec", "data", "owed"),
    [
        ("vp8", b"\x10\x00", True),
        ("vp8", b"\x00\x00", False),
        ("vp9", b"\x82\x00", True),
        ("vp9", b"\x84", False),
        ("vp9", b"\xb1\x00", True),  # profile 3: the bits stand one further
        ("vp9", b"\xb0\x00", False),
        ("mpeg4", b"\x00\x00\x01\xb6\x00\x00\x00", False),
        ("mpeg4", b"\x00\x00\x01\xb6\x00\x00\x00\x00\x00", True),
        ("h264", b"\x00", True),
    ],
)
def test_which_packets_owe_a_picture(codec: str, data: bytes, owed: bool) -> None:
    assert owes_picture(codec, memoryview(data)) is owed
