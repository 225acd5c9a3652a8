"""Reading a clip from end to end: each frame once, in order, at its time, the right way up."""

import gc
import itertools
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import (
    HAS_INDEX,
    ROTATION_MATRICES,
    Made,
    corners,
    flip_inside_packet,
    make_clip,
    make_images,
    packets,
    picture,
    remux,
    rotate_header,
    status_counts,
    wreck_packet,
)

from hdrvideo.clip import open_clip, read
from hdrvideo.clip.ahead import ReadAhead
from hdrvideo.clip.rows import RowKeeper
from hdrvideo.errors import DecodeError, EmptyClipError, SettingsError

REAL_CLIPS = sorted(Path("/work/shared/real/clips").glob("*.m*"))


def read_all(path: Path, **settings: Any) -> tuple[list[Any], Any]:
    with open_clip(path, **settings) as reader:
        return list(reader), reader


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.mp4", Made()),
        ("a.mov", Made(b_frames=3)),
        ("a.mkv", Made(codec="ffv1")),
        ("a.webm", Made(codec="libvpx-vp9", time_base=Fraction(1, 1000), pts=range(0, 792, 33))),
        ("a.ts", Made()),
        ("a.mp4", Made(codec="libx265", pixel_format="yuv420p10le")),
        ("a.mp4", Made(pts=[7 * i + i % 3 for i in range(24)], time_base=Fraction(1, 600))),
    ],
)
def test_pictures_and_times_are_those_that_were_encoded(
    tmp_path: Path, name: str, made: Made
) -> None:
    frames, reader = read_all(make_clip(tmp_path / name, made))
    assert [frame.index for frame in frames] == list(range(24))
    assert reader.n_decoded == 24
    first = frames[0].pts * frames[0].time_base
    for frame in frames:
        given = frame.index if made.pts is None else made.pts[frame.index]
        start = 0 if made.pts is None else made.pts[0]
        # Matroska and webm round to milliseconds.
        error = frame.pts * frame.time_base - first - (given - start) * made.time_base
        assert abs(error) <= (Fraction(1, 1000) if name[-1] in "vm" else 0)
        assert np.abs(frame.rgb_u8.astype(int) - picture(frame.index)).mean() < 6


def test_first_pts_other_than_zero_is_kept(tmp_path: Path) -> None:
    made = Made(b_frames=2, container_options={"use_editlist": "0"})
    frames, _ = read_all(make_clip(tmp_path / "a.mp4", made))
    step = 15360 // 30
    assert [frame.pts for frame in frames] == [2 * step + i * step for i in range(24)]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotation_turns_clockwise(tmp_path: Path, turn: int) -> None:
    path = make_clip(tmp_path / "a.mp4", Made(n_frames=3), [corners()] * 3)
    frames, _ = read_all(rotate_header(path, ROTATION_MATRICES[turn]))
    expected = np.rot90(corners(), -turn // 90)
    for frame in frames:
        assert frame.rgb_u8.flags.c_contiguous
        assert np.abs(frame.rgb_u8.astype(int) - expected).mean() < 8


def test_mirror_matrix_mirrors(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Made(n_frames=1), [corners()])
    frames, reader = read_all(rotate_header(path, (-1, 0, 0, 1)))
    assert reader.info.rotation_deg == 0
    assert np.abs(frames[0].rgb_u8.astype(int) - corners()[:, ::-1]).mean() < 8


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv422p10le", "gray", "bgr0", "yuv420p"])
def test_odd_sizes_and_subsamplings(tmp_path: Path, pixel_format: str) -> None:
    made = Made(3, 101, 57, codec="ffv1", pixel_format=pixel_format)
    frames, _ = read_all(make_clip(tmp_path / "a.mkv", made))
    for frame in frames:
        expected = picture(frame.index, 101, 57).astype(int)
        if pixel_format == "gray":
            weights = np.array([0.299, 0.587, 0.114])
            expected = np.repeat((expected @ weights)[..., None], 3, axis=-1)
        assert frame.rgb_u8.shape == (57, 101, 3)
        assert frame.rgb_u8.flags.c_contiguous
        assert np.abs(frame.rgb_u8 - expected).mean() < 4


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("full_range", [False, True])
def test_colour_matrix_and_range_of_the_stream_count(
    tmp_path: Path, matrix: int, full_range: bool
) -> None:
    # One colour through the definition of BT.709 or BT.601 by hand, stored with its tags.
    rgb = np.array([200.0, 60.0, 30.0]) / 255
    kr, kb = (0.2126, 0.0722) if matrix == 1 else (0.299, 0.114)
    luma = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]
    cb, cr = (rgb[2] - luma) / (2 - 2 * kb), (rgb[0] - luma) / (2 - 2 * kr)
    scale, offset, chroma = (255, 0, 255) if full_range else (219, 16, 224)
    planes = [luma * scale + offset, cb * chroma + 128, cr * chroma + 128]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        values = np.stack([np.full((48, 64), round(plane), np.uint8) for plane in planes])
        frame = av.VideoFrame.from_ndarray(values, format="yuv444p")
        frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
        output.mux([*stream.encode(frame), *stream.encode(None)])
    frames, _ = read_all(path)
    assert np.abs(frames[0].rgb_u8[24, 32] - rgb * 255).max() < 3


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_takes_its_order_from_the_decoder(tmp_path: Path, codec: str) -> None:
    # Avi stores no pts: libavformat counts packets in decoding order and puts B-frames wrong.
    frames, reader = read_all(make_clip(tmp_path / "a.avi", Made(codec=codec)))
    assert [frame.pts for frame in frames] == list(range(24))
    assert (reader.n_decoded, reader.n_lost, reader.n_retimed) == (24, 0, 0)
    for frame in frames:
        assert np.abs(frame.rgb_u8.astype(int) - picture(frame.index)).mean() < 6


def test_raw_stream_counts_by_its_rate(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.h264", Made(format="h264"))
    frames, reader = read_all(path)
    assert [f.pts * f.time_base * reader.info.rate for f in frames] == list(range(24))


@pytest.mark.skipif(not HAS_INDEX, reason="this PyAV cannot write packets made by hand to mkv")
def test_avi_times_copied_to_another_container(tmp_path: Path) -> None:
    # What `ffmpeg -c copy a.avi a.mkv` did for years: pts in decoding order.
    source = make_clip(tmp_path / "a.mkv")
    wrong = [(bytes(p), 33 * index) for index, p in enumerate(packets(source))]
    frames, _ = read_all(remux(source, tmp_path / "b.mkv", wrong))
    assert status_counts(frames) == (24, 24, 0, 0)
    assert [frame.pts for frame in frames] == [33 * i for i in range(24)]
    for frame in frames:
        assert np.abs(frame.rgb_u8.astype(int) - picture(frame.index)).mean() < 6


def test_recordings_glued_together_follow_one_another(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "a.ts", Made(n_frames=40, gop=10)).read_bytes()
    path = tmp_path / "b.ts"
    path.write_bytes(one + one)
    frames, reader = read_all(path)
    assert [f.pts for f in frames] == [frames[0].pts + 3000 * i for i in range(80)]
    assert (reader.n_decoded, reader.n_retimed) == (80, 40)


def test_hidden_vp8_pictures_are_no_rows(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.webm", Made(codec="libvpx", b_frames=0, gop=100))
    payloads = [(bytes(p), p.pts) for p in packets(source)]
    for hidden in (5, 11):  # clear the "show frame" bit, as an alternate reference picture has it
        data, pts = payloads[hidden]
        payloads[hidden] = (bytes([data[0] & ~0x10]) + data[1:], pts)
    frames, reader = read_all(remux(source, tmp_path / "b.webm", payloads))
    assert status_counts(frames) == (22, 22, 0, 0)
    assert [f.pts for f in frames] == [p for i, (_, p) in enumerate(payloads) if i not in (5, 11)]
    assert reader.n_lost == 0


@pytest.mark.parametrize("superframe", [False, True])
def test_hidden_vp9_pictures_are_no_rows(tmp_path: Path, superframe: bool) -> None:
    source = make_clip(tmp_path / "a.webm", Made(codec="libvpx-vp9", gop=100, width=64))
    (key, first), *rest = [(bytes(p), p.pts) for p in packets(source)]
    # Hide the key picture, then show it by "show existing frame 0": one byte, 10 00 1 000.
    hidden, show = bytes([key[0] & ~0x02]) + key[1:], b"\x88"
    shown = [(hidden, first), (show, first + 1)]
    if superframe:
        sizes = len(hidden).to_bytes(2, "little") + len(show).to_bytes(2, "little")
        marker = bytes([0b11001001])
        shown = [(hidden + show + marker + sizes + marker, first + 1)]
    frames, _ = read_all(remux(source, tmp_path / "b.webm", [*shown, *rest]))
    assert status_counts(frames) == (24, 24, 0, 0)
    assert [f.pts for f in frames] == [first + 1, *(pts for _, pts in rest)]
    assert np.abs(frames[0].rgb_u8.astype(int) - picture(0, 64)).mean() < 6


def test_packets_cut_away_by_an_edit_list_are_no_rows(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Made(b_frames=0))
    # Start the edit at frame 10: elst holds duration, media time and rate after its count.
    at = path.read_bytes().index(b"elst") + 12
    data = bytearray(path.read_bytes())
    data[at + 4 : at + 8] = (10 * 512).to_bytes(4, "big")
    path.write_bytes(data)
    frames, reader = read_all(path)
    assert status_counts(frames) == (14, 14, 0, 0)
    assert [f.pts for f in frames] == [512 * i for i in range(14)]
    assert reader.info.n_frames_container == 24


def test_lost_frame_stands_at_its_own_time(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Made(b_frames=0))
    frames, reader = read_all(wreck_packet(path, 11))
    assert [f.index for f in frames if f.status == "lost"] == [11]
    assert [f.pts for f in frames] == [512 * i for i in range(24)]
    assert (reader.n_decoded, reader.n_lost) == (23, 1)
    assert frames[11].rgb_u8 is None


def test_lost_frame_among_b_frames_stands_in_order(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Made(b_frames=3, n_frames=30, gop=30))
    wrecked = 7
    pts = packets(path)[wrecked].pts
    frames, _ = read_all(wreck_packet(path, wrecked))
    assert [f.pts for f in frames] == [512 * i for i in range(30)]
    assert pts in [f.pts for f in frames if f.status == "lost"]


def test_damaged_frame_keeps_its_picture(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Made(b_frames=0, width=256, height=192))
    frames, reader = read_all(flip_inside_packet(path, 8, n_bytes=20))
    assert reader.n_damaged >= 1
    assert reader.n_decoded == 24
    assert all(f.rgb_u8 is not None for f in frames)


def test_stream_that_changes_size_keeps_the_first(tmp_path: Path) -> None:
    small = make_clip(tmp_path / "a.ts", Made(n_frames=40))
    large = make_clip(tmp_path / "b.ts", Made(n_frames=40, width=128, height=96))
    path = tmp_path / "c.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    frames, _ = read_all(path)
    assert len(frames) == 80
    assert {f.rgb_u8.shape for f in frames if f.rgb_u8 is not None} == {(64, 112, 3)}


def test_images_in_order_with_exact_times(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "shots")
    rate = Fraction(24000, 1001)
    frames, _ = read_all(folder, image_rate=rate)
    assert [f.pts * f.time_base for f in frames] == [i / rate for i in range(12)]
    for frame in frames:
        np.testing.assert_array_equal(frame.rgb_u8, picture(frame.index))


def decode_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "hdrvideo-decode"]


def read_one_and_fail(path: Path) -> None:
    with open_clip(path, read_ahead=1) as reader:
        next(reader)
        raise RuntimeError("stop here")


@pytest.mark.parametrize("how", ["break", "raise", "close", "drop", "end", "not begun"])
def test_thread_always_ends(tmp_path: Path, how: str) -> None:
    path = make_clip(tmp_path / "a.mp4")
    if how == "raise":
        with pytest.raises(RuntimeError, match="stop here"):
            read_one_and_fail(path)
    elif how == "drop":
        reader = open_clip(path, read_ahead=1)
        next(reader)
        del reader
        gc.collect()
    else:
        reader = open_clip(path, read_ahead=1)
        n_steps = {"break": 3, "close": 1, "end": 24, "not begun": 0}[how]
        for _, _ in zip(range(n_steps), reader, strict=False):
            pass
        reader.close()
        reader.close()
        assert list(reader) == []
    assert decode_threads() == []


def test_error_in_the_thread_reaches_the_consumer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Iterator[Any]:
        yield from ()
        raise KeyError("from the thread")

    monkeypatch.setattr(read, "frames_of", broken)
    with (
        pytest.raises(KeyError, match="from the thread"),
        open_clip(make_clip(tmp_path / "a.mp4")) as r,
    ):
        next(r)
    assert decode_threads() == []


def test_reading_ahead_is_bounded() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for index in range(100):
            made.append(index)
            yield index

    ahead = ReadAhead(items(), 3)
    assert ahead.get() == (True, 0)
    time.sleep(0.3)
    assert len(made) <= 6
    ahead.stop()
    assert ahead.get() == (False, None)


def test_read_ahead_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="read_ahead is 0, expected 1 or more frames"):
        open_clip(tmp_path / "a.mp4", read_ahead=0)


def test_decoder_without_memory_stops_the_run(tmp_path: Path) -> None:
    class Full:
        def decode(self, packet: Any) -> list[Any]:
            raise MemoryError

    rows = RowKeeper(time_base=Fraction(1), rate=None, times="exact", reorders=False)
    stream: Any = Full()
    with pytest.raises(DecodeError, match="decoder ran out of memory; close programs"):
        list(read._settled(stream, None, rows))


def test_nothing_decodable_is_said_after_the_last_row(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Made(n_frames=3, gop=1, b_frames=0))
    for number in range(3):
        wreck_packet(path, number)
    with open_clip(path) as reader, pytest.raises(EmptyClipError, match="none of the 3 frames"):
        list(reader)
    assert reader.n_lost == 3


@pytest.mark.skipif(not REAL_CLIPS, reason="no real clips here")
@pytest.mark.parametrize("path", REAL_CLIPS[-5:], ids=lambda path: path.name)
def test_real_clips_give_each_frame_once(path: Path) -> None:
    expected = len(packets(path))
    with open_clip(path) as reader:
        times = [frame.pts for frame in reader if frame.status == "ok"]
    assert len(times) == expected
    assert all(a < b for a, b in itertools.pairwise(times))
