"""Seeking gives what reading gives, bit for bit, with every engine and every kind of clip."""

import random
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import (
    ROTATION_MATRICES,
    Made,
    cut,
    flip_inside_packet,
    make_clip,
    make_images,
    rotate_header,
    wreck_packet,
)

from hdrvideo.clip import ClipSeeker, open_clip, seek
from hdrvideo.errors import ClipError, SeekError

REAL_CLIPS = sorted(Path("/work/shared/real/clips").glob("*.m*"))


def assert_same_frames(path: Path, seeker: ClipSeeker, n_random: int = 12) -> None:
    with open_clip(path) as reader:
        expected = list(reader)
    assert len(seeker) == len(expected)
    rng = random.Random(0)
    last = len(expected) - 1
    order = [
        0,
        last,
        last // 2,
        *range(min(last, 4)),
        *(rng.randint(0, last) for _ in range(n_random)),
    ]
    for index in order:
        got, want = seeker.frame(index), expected[index]
        assert (got.index, got.pts, got.status) == (want.index, want.pts, want.status)
        assert got.time_base == want.time_base
        np.testing.assert_array_equal(got.rgb_u8, want.rgb_u8)


KINDS: dict[str, Callable[[Path], Path]] = {
    "mp4": lambda p: make_clip(p / "a.mp4"),
    "b-frames, pts from 2": lambda p: make_clip(
        p / "a.mp4", Made(b_frames=3, container_options={"use_editlist": "0"})
    ),
    "variable rate": lambda p: make_clip(
        p / "a.mp4", Made(pts=[9 * i + i % 4 for i in range(24)], time_base=Fraction(1, 600))
    ),
    "mkv": lambda p: make_clip(p / "a.mkv"),
    "vp9": lambda p: make_clip(p / "a.webm", Made(codec="libvpx-vp9")),
    "vp8": lambda p: make_clip(p / "a.webm", Made(codec="libvpx")),
    "10 bit": lambda p: make_clip(p / "a.mp4", Made(codec="libx265", pixel_format="yuv420p10le")),
    "open groups": lambda p: make_clip(
        p / "a.mp4", Made(n_frames=40, b_frames=3, options={"x264-params": "open-gop=1"})
    ),
    "odd size": lambda p: make_clip(
        p / "a.mkv", Made(12, 101, 57, codec="ffv1", pixel_format="yuv420p")
    ),
    "ts": lambda p: make_clip(p / "a.ts"),
    "avi": lambda p: make_clip(p / "a.avi", Made(codec="mpeg4", b_frames=0)),
    "avi with b-frames": lambda p: make_clip(p / "a.avi", Made(codec="mpeg4")),
    "raw": lambda p: make_clip(p / "a.h264", Made(format="h264")),
    "one frame": lambda p: make_clip(p / "a.mp4", Made(n_frames=4, gop=1)),
    "gif": lambda p: make_clip(p / "a.gif", Made(codec="gif", pixel_format="rgb8")),
    "rotated": lambda p: rotate_header(make_clip(p / "a.mp4"), ROTATION_MATRICES[90]),
    # decord2 3.4 takes pictures of this width for RGBA, as 3 * 96 bytes are padded to 4 * 96.
    "width that decord mistakes": lambda p: make_clip(p / "a.mp4", Made(width=96)),
    "images": lambda p: make_images(p / "shots"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_decord", [True, False])
def test_seeking_equals_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, with_decord: bool
) -> None:
    if not with_decord:
        monkeypatch.setitem(sys.modules, "decord", None)
    path = KINDS[kind](tmp_path)
    with ClipSeeker(path) as seeker:
        assert_same_frames(path, seeker)


@pytest.mark.parametrize(
    ("kind", "engine", "why"),
    [
        ("mp4", "decord", ""),
        ("mkv", "decord", ""),
        ("vp9", "decord", ""),
        ("images", "images", ""),
        ("rotated", "decord", ""),
        ("width that decord mistakes", "pyav", "decord and PyAV differ on frame 0"),
        ("avi with b-frames", "sequential", "the times of this avi file do not name its frames"),
        ("raw", "sequential", "the times of this h264 file do not name its frames"),
    ],
)
def test_which_engine_and_why(tmp_path: Path, kind: str, engine: str, why: str) -> None:
    with ClipSeeker(KINDS[kind](tmp_path)) as seeker:
        assert (seeker.engine, seeker.why) == (engine, why)


def test_without_decord_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with ClipSeeker(make_clip(tmp_path / "a.mp4")) as seeker:
        assert seeker.engine == "pyav"
        assert seeker.why.startswith("decord cannot be imported (")


class FakeDecord:
    """Answers like decord's reader with one thing changed."""

    def __init__(self, real: Any, fault: str) -> None:
        self.real = real
        self.fault = fault

    def __len__(self) -> int:
        return len(self.real) - (self.fault == "count")

    def get_frame_timestamp(self, indices: Any) -> Any:
        times = np.array(self.real.get_frame_timestamp(indices))
        times[5:] += 0.1 * (self.fault == "times")
        return times

    def __getitem__(self, index: int) -> Any:
        if (self.fault, index) in (("fails", 23), ("fails later", 9)):
            raise RuntimeError("no frame\nand a long tale")
        if (self.fault, index) in (("picture", 11), ("stretch", 15)):
            return self.real[0]
        return self.real[index]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("count", "decord counts 23 frames, PyAV 24"),
        ("times", "decord gives the frames other times than PyAV"),
        ("picture", "decord and PyAV differ on frame 11"),
        ("fails", "decord fails on frame 23 (no frame)"),
        ("fails later", "decord fails on frame 9 (no frame)"),
        ("stretch", "decord and PyAV differ on frame 15"),
    ],
)
def test_falls_back_where_decord_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, why: str
) -> None:
    real = seek._open_decord
    monkeypatch.setattr(seek, "_open_decord", lambda path: FakeDecord(real(path), fault))
    path = make_clip(tmp_path / "a.mp4")
    with ClipSeeker(path) as seeker:
        seeker.frame(9)
        assert (seeker.engine, seeker.why) == ("pyav", why)
        assert_same_frames(path, seeker)


def test_what_decord_cannot_open_goes_to_pyav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Decord:
        class logging:
            QUIET = 0
            set_level = staticmethod(lambda level: None)

        @staticmethod
        def cpu(number: int) -> int:
            return number

        @staticmethod
        def VideoReader(*_: Any, **__: Any) -> None:
            raise RuntimeError

    monkeypatch.setitem(sys.modules, "decord", Decord)
    with ClipSeeker(make_clip(tmp_path / "a.mp4")) as seeker:
        assert seeker.why == "decord cannot open the clip (RuntimeError)"


def damaged_clip(tmp_path: Path, how: str) -> Path:
    if how == "cut off":
        faststart = {"movflags": "faststart"}
        return cut(make_clip(tmp_path / "a.mp4", Made(container_options=faststart)), 0.6)
    path = make_clip(tmp_path / "a.mp4", Made(b_frames=0))
    return wreck_packet(path, 11) if how == "lost" else flip_inside_packet(path, 8, n_bytes=30)


@pytest.mark.parametrize("how", ["cut off", "lost", "damaged"])
@pytest.mark.parametrize("damaged", [None, True])
def test_damage_is_seen_and_read_in_sequence(
    tmp_path: Path, how: str, damaged: bool | None
) -> None:
    path = damaged_clip(tmp_path, how)
    with ClipSeeker(path, damaged=damaged) as seeker:
        assert_same_frames(path, seeker)
        assert seeker.engine == "sequential"
        assert seeker.why


def test_known_to_be_whole_saves_the_check(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    with ClipSeeker(path, damaged=False) as seeker:
        assert_same_frames(path, seeker)
        assert seeker.engine == "decord"


@pytest.mark.parametrize("index", [-1, 24, 1000])
@pytest.mark.parametrize("kind", ["mp4", "raw"])
def test_outside_is_an_error_with_the_limit(tmp_path: Path, kind: str, index: int) -> None:
    with (
        ClipSeeker(KINDS[kind](tmp_path)) as seeker,
        pytest.raises(SeekError, match=rf"frame {index} is outside .* 24 frames, 0 to 23"),
    ):
        seeker.frame(index)


def test_clip_can_be_read_on_after_an_error(tmp_path: Path) -> None:
    with ClipSeeker(KINDS["raw"](tmp_path)) as seeker:
        with pytest.raises(SeekError):
            seeker.frame(24)
        assert seeker.frame(23).index == 23


def test_what_is_no_clip_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClipError):
        ClipSeeker(tmp_path / "missing.mp4")


@pytest.mark.skipif(not REAL_CLIPS, reason="no real clips here")
@pytest.mark.parametrize("path", [*REAL_CLIPS[:2], *REAL_CLIPS[-1:]], ids=lambda path: path.name)
def test_real_clips(path: Path) -> None:
    with ClipSeeker(path) as seeker:
        assert seeker.engine == "decord"
        assert_same_frames(path, seeker, n_random=4)
