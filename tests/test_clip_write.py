"""A written clip reads back with the same times, pictures and sound, or is not there at all."""

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import make_clip, make_images, make_sound, packets, picture

from hdrvideo.clip import ClipWriter, open_clip, write
from hdrvideo.errors import ClipError, WriteError

NS = 10**9
STEADY = range(12)
UNEVEN = [0, 1, 3, 4, 7, 11, 12, 13, 20, 21, 22, 40]


def settings(**changes: Any) -> dict[str, Any]:
    usual = {"width": 112, "height": 64, "time_base": Fraction(1, 30), "rate": Fraction(30)}
    return {**usual, **changes}


def write_clip(path: Path, pts: Any = STEADY, **changes: Any) -> Path:
    made = settings(**changes)
    with ClipWriter(path, **made) as writer:
        for index, time in enumerate(pts):
            writer.write(picture(index, made["width"], made["height"]), time)
    return path


def write_and(path: Path, then: Callable[[ClipWriter], Any]) -> None:
    """Write one frame, then do something while the writer is open."""
    with ClipWriter(path, **settings()) as writer:
        writer.write(picture(0), 0)
        then(writer)


def seconds(path: Path) -> list[Fraction]:
    with open_clip(path) as reader:
        return [frame.pts * frame.time_base for frame in reader if frame.status == "ok"]


def sound_seconds(path: Path) -> list[Fraction]:
    return [packet.pts * packet.time_base for packet in packets(path, "audio")]


@pytest.mark.parametrize("pts", [STEADY, UNEVEN], ids=["steady", "uneven"])
@pytest.mark.parametrize("first", [0, 1, 57])
@pytest.mark.parametrize(
    ("time_base", "step"),
    [
        (Fraction(1, 30), 1),
        (Fraction(1, 1000), 33),
        (Fraction(1, 15360), 512),
        (Fraction(1, 90000), 3003),
        (Fraction(1001, 30000), 1),
        (Fraction(10007, 295800), 1),
        (Fraction(1, NS), 33366701),
    ],
    ids=str,
)
def test_times_read_back_exactly(
    tmp_path: Path, time_base: Fraction, step: int, first: int, pts: list[int]
) -> None:
    times = [first + step * time for time in pts]
    path = write_clip(tmp_path / "a.mp4", times, time_base=time_base)
    assert seconds(path) == [time * time_base for time in times]


@pytest.mark.parametrize("first", [0, 5])
def test_single_frame_has_its_time(tmp_path: Path, first: int) -> None:
    assert seconds(write_clip(tmp_path / "a.mp4", [first])) == [Fraction(first, 30)]


def test_last_frame_shows_as_long_as_the_rate_says(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [0], rate=Fraction(10))
    assert packets(path)[0].duration * packets(path)[0].time_base == Fraction(1, 10)


def test_unknown_rate_is_taken_as_thirty(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [0], rate=None)
    assert packets(path)[0].duration * packets(path)[0].time_base == Fraction(1, 30)


def test_integers_of_numpy_are_times_too(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", np.arange(4))
    assert seconds(path) == [Fraction(i, 30) for i in range(4)]


@pytest.mark.parametrize(("width", "height"), [(112, 64), (101, 57), (101, 64), (1, 1)])
def test_pictures_read_back_and_odd_sizes_grow_by_a_repeated_edge(
    tmp_path: Path, width: int, height: int
) -> None:
    path = write_clip(tmp_path / "a.mp4", width=width, height=height, crf=10)
    with open_clip(path) as reader:
        for frame in reader:
            padding = ((0, height % 2), (0, width % 2), (0, 0))
            expected = np.pad(picture(frame.index, width, height), padding, mode="edge")
            assert frame.rgb_u8 is not None
            assert frame.rgb_u8.shape == expected.shape
            assert np.abs(frame.rgb_u8.astype(int) - expected).mean() < 5


def test_colour_is_tagged_and_true(tmp_path: Path) -> None:
    rgb_u8 = np.full((64, 112, 3), (200, 60, 30), np.uint8)
    with ClipWriter(tmp_path / "a.mp4", **settings()) as writer:
        writer.write(rgb_u8, 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
    with open_clip(tmp_path / "a.mp4") as reader:
        back = next(reader).rgb_u8
    assert back is not None
    assert np.abs(back.astype(int) - rgb_u8).max() <= 4


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.mkv", "libopus"), ("a.mp4", "libmp3lame")],
)
@pytest.mark.parametrize("start", [0, 4800])
@pytest.mark.parametrize("time_base", [Fraction(1, 30), Fraction(1, NS)], ids=str)
def test_sound_is_copied_bit_for_bit_at_its_times(
    tmp_path: Path, name: str, codec: str, start: int, time_base: Fraction
) -> None:
    source = make_sound(tmp_path / name, codec, start_samples=start)
    pts = [int(Fraction(i, 30) / time_base) for i in range(30)]
    path = write_clip(tmp_path / "b.mp4", pts, time_base=time_base, audio_from=source)
    before, after = packets(source, "audio"), packets(path, "audio")
    assert [bytes(packet) for packet in after] == [bytes(packet) for packet in before]
    gaps = np.subtract(sound_seconds(path), sound_seconds(source)).astype(float)
    # Matroska has milliseconds, the mp4 has samples.
    assert np.abs(gaps).max() <= 1 / 48000
    assert seconds(path) == [time * time_base for time in pts]


@pytest.mark.parametrize(
    ("name", "codec", "start"),
    [
        ("a.mkv", "pcm_s16le", 0),
        ("a.mkv", "pcm_s16le", 4800),
        ("a.avi", "pcm_s16le", 0),
        ("a.mkv", "mp2", 0),
    ],
)
def test_other_sound_becomes_aac_at_the_same_time(
    tmp_path: Path, name: str, codec: str, start: int
) -> None:
    source = make_sound(tmp_path / name, codec, start_samples=start)
    path = write_clip(tmp_path / "b.mp4", range(30), audio_from=source)
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "aac"
        frames = list(container.decode(sound))
    wave = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    first = float(frames[0].pts * frames[0].time_base)
    # Of the tone, the first sample that is loud tells when it starts.
    begins = first + np.argmax(np.abs(wave) > 0.1) / 48000
    assert begins == pytest.approx(start / 48000, abs=0.05)
    assert len(wave) / 48000 == pytest.approx(1, abs=0.1)


def test_sound_is_interleaved_with_the_pictures(tmp_path: Path) -> None:
    source = make_sound(tmp_path / "a.mp4", "aac")
    path = write_clip(tmp_path / "b.mp4", range(30), audio_from=source)
    with av.open(str(path)) as container:
        order = [(p.pos, p.dts * p.time_base, p.stream.type) for p in container.demux() if p.size]
    order.sort()
    late = [abs(b[1] - a[1]) for a, b in itertools.pairwise(order) if a[2] != b[2] and a[1] > b[1]]
    assert max(late, default=0) < Fraction(1, 4)


@pytest.mark.parametrize("kind", ["none", "silent", "images"])
def test_without_sound_there_is_no_track(tmp_path: Path, kind: str) -> None:
    source = None
    if kind == "silent":
        source = make_clip(tmp_path / "a.mkv")
    elif kind == "images":
        source = make_images(tmp_path / "shots")
    path = write_clip(tmp_path / "b.mp4", audio_from=source)
    with open_clip(path) as reader:
        assert not reader.info.has_audio


def test_sound_that_is_damaged_does_not_take_the_pictures_along(tmp_path: Path) -> None:
    source = make_sound(tmp_path / "a.mkv", "mp2")
    data = bytearray(source.read_bytes())
    for packet in packets(source, "audio")[5:9]:
        at = bytes(data).index(bytes(packet))
        data[at : at + packet.size] = b"\xff" * packet.size
    source.write_bytes(data)
    path = write_clip(tmp_path / "b.mp4", range(30), audio_from=source)
    assert len(seconds(path)) == 30
    assert packets(path, "audio")


def test_sound_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_text("no clip")
    with pytest.raises(ClipError, match=r"the sound of .* cannot be read"):
        write_clip(tmp_path / "b.mp4", audio_from=source)
    assert list(tmp_path.iterdir()) == [source]


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(WriteError, match=r"a\.mp4' exists; pass --overwrite to replace it"):
        write_clip(path, range(3))
    assert path.read_bytes() == before
    write_clip(path, range(3), overwrite=True)
    assert len(seconds(path)) == 3


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(WriteError, match="exists; pass --overwrite"):
        write_and(path, lambda _: path.write_text("someone else's"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_text() == "someone else's"


def test_the_name_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with ClipWriter(path, **settings()) as writer:
        writer.write(picture(0), 0)
        names = [file.name for file in tmp_path.iterdir()]
        assert len(names) == 1
        assert names[0].startswith(".partial-")
        assert names[0].endswith(".mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(_: ClipWriter) -> None:
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write_and(tmp_path / "a.mp4", fail)
    assert list(tmp_path.iterdir()) == []


def test_no_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"no frame was written to .*; nothing was saved"):
        write_clip(tmp_path / "a.mp4", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width": 0}, "frame size is 0x64, expected at least 1x1"),
        ({"time_base": Fraction(0)}, "time base is 0, expected more than 0 with a denominator"),
        ({"time_base": Fraction(1, 2**31)}, "time base is 1/2147483648, expected"),
        ({"rate": Fraction(0)}, "rate is 0, expected more than 0 frames per second"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(WriteError, match=text):
        ClipWriter(tmp_path / "a.mp4", **settings(**changes))


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"folder '.*nowhere' does not exist; make it first"):
        ClipWriter(tmp_path / "nowhere" / "a.mp4", **settings())


def test_unknown_preset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"a\.mp4' cannot be written \(.*\); check folder"):
        write_clip(tmp_path / "a.mp4", preset="no such")
    assert list(tmp_path.iterdir()) == []


def test_writing_needs_an_open_writer(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="is not open; write inside a `with` block"):
        ClipWriter(tmp_path / "a.mp4", **settings()).write(picture(0), 0)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (picture(0, 64, 64), r"frame is uint8 \(64, 64, 3\), expected uint8 \(64, 112, 3\)"),
        (picture(0).astype(np.float32), r"frame is float32 \(64, 112, 3\), expected uint8"),
        (picture(0)[..., 0], r"frame is uint8 \(64, 112\), expected uint8"),
        (None, r"frame is NoneType None, expected uint8"),
    ],
)
def test_wrong_frames_are_refused(tmp_path: Path, frame: Any, text: str) -> None:
    writer = ClipWriter(tmp_path / "a.mp4", **settings())
    with pytest.raises(WriteError, match=text), writer:
        writer.write(frame, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pts", "text"),
    [
        ([-1], "pts is -1, expected 0 or more: mp4 shows nothing before time 0"),
        ([4, 4], "pts is 4, expected more than the last, 4"),
        ([4, 3], "pts is 3, expected more than the last, 4"),
    ],
)
def test_times_that_do_not_follow_are_refused(tmp_path: Path, pts: list[int], text: str) -> None:
    with pytest.raises(WriteError, match=text):
        write_clip(tmp_path / "a.mp4", pts)


def test_gap_that_mp4_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"pts 3000000000 is 3000000000 after the last, mp4 holds"):
        write_clip(tmp_path / "a.mp4", [0, 3 * NS], time_base=Fraction(1, NS))
    most = write.MAX_MP4_UNITS - 1
    path = write_clip(tmp_path / "a.mp4", [0, most], time_base=Fraction(1, NS))
    assert seconds(path) == [0, Fraction(most, NS)]


@pytest.mark.parametrize("when", ["write", "end"])
def test_failing_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def break_disk(writer: ClipWriter) -> None:
        monkeypatch.setattr(writer, "_mux" if when == "write" else "_check_free", full)
        writer.write(picture(1), 1)

    text = r"cannot be written \(No space left on device\); check folder and disk space"
    with pytest.raises(WriteError, match=text):
        write_and(tmp_path / "a.mp4", break_disk)
    assert list(tmp_path.iterdir()) == []
