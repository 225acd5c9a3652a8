"""One row per kind of broken or odd input: the exact error line, or the exact counts."""

import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import (
    HAS_INDEX,
    ROTATION_MATRICES,
    Made,
    change,
    cut,
    empty_tables,
    flip_inside_packet,
    make_clip,
    make_images,
    make_sound,
    packets,
    rotate_header,
    status_counts,
    wreck_packet,
)

from hdrvideo.clip import ClipSeeker, open_clip, probe
from hdrvideo.errors import (
    ClipError,
    ClipNotFoundError,
    EmptyClipError,
    HdrVideoError,
    NotAVideoError,
)

FASTSTART = {"movflags": "faststart"}


def text_file(folder: Path, name: str, text: str = "not a video\n" * 50) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def random_bytes(folder: Path) -> Path:
    path = folder / "a.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(20000))
    return path


def empty_folder(folder: Path) -> Path:
    (folder / "shots").mkdir()
    text_file(folder / "shots", "notes.txt")
    return folder / "shots"


def mixed_sizes(folder: Path) -> Path:
    shots = make_images(folder / "shots", 3)
    other = make_images(folder / "other", 1, size=(64, 64))
    (other / "frame1.png").rename(shots / "frame2.png")
    return shots


def unreadable_images(folder: Path, which: tuple[int, ...], n_frames: int = 5) -> Path:
    shots = make_images(folder / "shots", n_frames)
    for number in which:
        cut(shots / f"frame{number}.png", 0.5)
    return shots


def unknown_codec(folder: Path) -> Path:
    path = make_clip(folder / "a.mp4")
    return change(path, {path.read_bytes().rindex(b"avc1"): b"zzzz"})


def cover_art(folder: Path) -> Path:
    """A song whose only picture is its cover (an APIC frame of ID3v2.3 before the sound)."""
    sound = make_sound(folder / "song.mp3", "libmp3lame", video=False)
    cover = make_images(folder / "shots", 1) / "frame1.png"
    body = b"\x00image/png\x00\x03\x00" + cover.read_bytes()
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\x00\x00" + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path = folder / "a.mp3"
    path.write_bytes(b"ID3\x03\x00\x00" + size + frame + sound.read_bytes())
    return path


ERRORS: dict[str, tuple[Callable[[Path], Path], type[ClipError], str]] = {
    "missing file": (
        lambda p: p / "a.mp4",
        ClipNotFoundError,
        "clip '{}' does not exist; check the path",
    ),
    "folder without pictures": (
        empty_folder,
        NotAVideoError,
        "folder '{}' holds no picture among 1 files; expected png, jpg, jpeg, bmp, tif, tiff, webp",
    ),
    "pattern without match": (
        lambda p: p / "*.png",
        ClipNotFoundError,
        "pattern '{}' matches no file; check the folder and quotes",
    ),
    "pattern without pictures": (
        lambda p: empty_folder(p) / "*.txt",
        NotAVideoError,
        "pattern '{}' holds no picture among 1 files; "
        "expected png, jpg, jpeg, bmp, tif, tiff, webp",
    ),
    "text named mp4": (
        lambda p: text_file(p, "a.mp4"),
        NotAVideoError,
        "'{}' cannot be read as a video (Invalid data found when processing input); "
        "give a video file, a folder or a pattern",
    ),
    "text": (
        lambda p: text_file(p, "a.txt"),
        NotAVideoError,
        "'{}' is text or has no tracks; give a video file",
    ),
    "random bytes": (
        random_bytes,
        NotAVideoError,
        "'{}' cannot be read as a video (Invalid data found when processing input); "
        "give a video file, a folder or a pattern",
    ),
    "empty file": (
        lambda p: text_file(p, "a.mp4", ""),
        NotAVideoError,
        "'{}' is empty (0 bytes); copy or record it again",
    ),
    "sound only": (
        lambda p: make_sound(p / "a.m4a", "aac", video=False),
        NotAVideoError,
        "'{}' holds audio but no pictures; give a video file",
    ),
    "song with cover": (
        cover_art,
        NotAVideoError,
        "'{}' holds audio, video but no pictures; give a video file",
    ),
    "unknown codec": (
        unknown_codec,
        NotAVideoError,
        "'{}' uses a codec without a decoder here; convert it to H.264",
    ),
    "zero frames": (
        lambda p: empty_tables(make_clip(p / "a.mp4")),
        EmptyClipError,
        "'{}' has a video stream without a frame; record it again",
    ),
    "index lost": (
        lambda p: cut(make_clip(p / "a.mp4"), 0.5),
        NotAVideoError,
        "'{}' lost its index (no moov box): the recording was cut off; repair or record it again",
    ),
    "no readable picture": (
        lambda p: unreadable_images(p, (1, 2), 2),
        EmptyClipError,
        "none of the 2 pictures of '{}' can be read",
    ),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_one_clear_line(tmp_path: Path, capfd: pytest.CaptureFixture, kind: str) -> None:
    if kind == "song with cover" and not hasattr(av.stream, "Disposition"):
        pytest.skip("this PyAV does not tell cover art from a video")
    make, error, text = ERRORS[kind]
    path = make(tmp_path)
    for open_it in (probe, open_clip, ClipSeeker):
        with pytest.raises(error, match=f"^{re.escape(text.format(path))}$") as caught:
            open_it(path)
        assert isinstance(caught.value, HdrVideoError)
    assert capfd.readouterr().err == ""


def test_mixed_sizes_are_an_error_naming_both(tmp_path: Path) -> None:
    path = mixed_sizes(tmp_path)
    text = f"picture 'frame2.png' is 64x64, the first of '{path}' is 112x64; make all the same size"
    with open_clip(path) as reader, pytest.raises(ClipError, match=f"^{re.escape(text)}$"):
        list(reader)
    with ClipSeeker(path) as seeker, pytest.raises(ClipError, match=f"^{re.escape(text)}$"):
        seeker.frame(1)


# Rows, ok, damaged, lost; then width and height as shown.
Counts = tuple[int, int, int, int]
WHOLE: Counts = (24, 24, 0, 0)
NO_B = Made(b_frames=0)
COUNTS: dict[str, tuple[Callable[[Path], Path], Counts, tuple[int, int]]] = {
    "mp4": (lambda p: make_clip(p / "a.mp4"), WHOLE, (112, 64)),
    "mov": (lambda p: make_clip(p / "a.mov"), WHOLE, (112, 64)),
    "mkv": (lambda p: make_clip(p / "a.mkv"), WHOLE, (112, 64)),
    "avi": (lambda p: make_clip(p / "a.avi", Made(codec="mpeg4")), WHOLE, (112, 64)),
    "webm": (lambda p: make_clip(p / "a.webm", Made(codec="libvpx-vp9")), WHOLE, (112, 64)),
    "gif": (
        lambda p: make_clip(p / "a.gif", Made(codec="gif", pixel_format="rgb8")),
        WHOLE,
        (112, 64),
    ),
    "ts": (lambda p: make_clip(p / "a.ts"), WHOLE, (112, 64)),
    "wrong suffix": (lambda p: make_clip(p / "a.mkv").rename(p / "a.mp4"), WHOLE, (112, 64)),
    "images": (lambda p: make_images(p / "shots", 24), WHOLE, (112, 64)),
    "pattern": (lambda p: make_images(p / "shots", 24, ".jpg") / "*.jpg", WHOLE, (112, 64)),
    "unreadable image": (lambda p: unreadable_images(p, (1, 4)), (5, 3, 0, 2), (112, 64)),
    "variable rate": (
        lambda p: make_clip(
            p / "a.mp4", Made(pts=[i * i for i in range(24)], time_base=Fraction(1, 90))
        ),
        WHOLE,
        (112, 64),
    ),
    "first pts not zero": (
        lambda p: make_clip(p / "a.mp4", Made(container_options={"use_editlist": "0"})),
        WHOLE,
        (112, 64),
    ),
    "odd size": (
        lambda p: make_clip(p / "a.mkv", Made(24, 101, 57, codec="ffv1", pixel_format="yuv420p")),
        WHOLE,
        (101, 57),
    ),
    "10 bit": (
        lambda p: make_clip(p / "a.mp4", Made(codec="libx265", pixel_format="yuv420p10le")),
        WHOLE,
        (112, 64),
    ),
    "turned 90": (
        lambda p: rotate_header(make_clip(p / "a.mp4"), ROTATION_MATRICES[90]),
        WHOLE,
        (64, 112),
    ),
    "turned 180": (
        lambda p: rotate_header(make_clip(p / "a.mp4"), ROTATION_MATRICES[180]),
        WHOLE,
        (112, 64),
    ),
    "turned 270": (
        lambda p: rotate_header(make_clip(p / "a.mp4"), ROTATION_MATRICES[270]),
        WHOLE,
        (64, 112),
    ),
    "wrecked packet": (
        lambda p: wreck_packet(make_clip(p / "a.mp4", NO_B), 12),
        (24, 23, 0, 1),
        (112, 64),
    ),
    "wrecked packet in mkv": (
        lambda p: wreck_packet(make_clip(p / "a.mkv", NO_B), 12),
        (24, 23, 0, 1),
        (112, 64),
    ),
    "wrecked first packet": (
        lambda p: wreck_packet(make_clip(p / "a.mp4", NO_B), 0),
        (24, 16, 0, 8),
        (112, 64),
    ),
    "flipped bytes": (
        lambda p: flip_inside_packet(make_clip(p / "a.mp4", NO_B), 8, n_bytes=30),
        (24, 23, 1, 0),
        (112, 64),
    ),
    "flipped bytes in mkv": (
        lambda p: flip_inside_packet(make_clip(p / "a.mkv", NO_B), 8, n_bytes=30),
        (24, 23, 1, 0),
        (112, 64),
    ),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_exact_counts(tmp_path: Path, capfd: pytest.CaptureFixture, kind: str) -> None:
    make, counts, size = COUNTS[kind]
    path = make(tmp_path)
    with open_clip(path) as reader:
        frames = list(reader)
    assert status_counts(frames) == counts
    assert (reader.n_decoded, reader.n_damaged, reader.n_lost) == (
        counts[1] + counts[2],
        counts[2],
        counts[3],
    )
    assert (reader.info.width, reader.info.height) == size
    assert [frame.index for frame in frames] == list(range(counts[0]))
    assert all(a.pts < b.pts for a, b in itertools.pairwise(frames))
    shapes = {frame.rgb_u8.shape for frame in frames if frame.rgb_u8 is not None}
    assert shapes == {(size[1], size[0], 3)}
    with ClipSeeker(path) as seeker:
        assert len(seeker) == counts[0]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("b_frames", [0, 2])
def test_cut_off_data_behind_a_whole_index(tmp_path: Path, b_frames: int) -> None:
    made = Made(b_frames=b_frames, container_options=FASTSTART, options={"crf": "5"})
    path = make_clip(tmp_path / "a.mp4", made)
    whole = path.stat().st_size
    ends = [packet.pos + packet.size for packet in packets(path)]
    cut(path, 0.6)
    n_whole = sum(end <= path.stat().st_size for end in ends)
    assert 8 < n_whole < 22
    assert path.stat().st_size < whole
    with open_clip(path) as reader:
        frames = list(reader)
    assert reader.info.n_frames_container == 24
    lost = [frame for frame in frames if frame.status == "lost"]
    assert len(lost) == len(frames) - reader.n_decoded
    # The packet that was cut in two is one row. Without B-frames the index gives the time of each
    # missing frame; with them it does not, and the claim of 24 is all there is.
    n_rows = n_whole + 1 if b_frames or not HAS_INDEX else 24
    assert (len(frames), reader.n_decoded) == (n_rows, n_whole)
    if not b_frames:
        assert [frame.pts for frame in frames] == [512 * i for i in range(n_rows)]
