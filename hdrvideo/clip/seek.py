"""Any frame of a clip by its index, the same bit for bit as reading gives it.

Three engines, the first that can be trusted with the clip:

* ``decord``: only after it agreed with PyAV on count, times, and three frames bit for bit; and each
  stretch between keyframes is first decoded by PyAV once, to be sure that it is undamaged and
  that decord ends on the same picture.
* ``pyav``: seeks to the keyframe before the frame and decodes from there.
* ``sequential``: reads from the start. For clips with damage, where a picture depends on all that
  came before, and for containers without presentation times.
"""

import importlib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame

from hdrvideo.clip.probe import find_images, open_container, probe, times_of
from hdrvideo.clip.read import (
    PictureMaker,
    cut_off_times,
    image_frame,
    is_frame,
    packets_of,
    prepare_decoder,
    video_frames,
)
from hdrvideo.datatypes import U8, ClipInfo, Frame
from hdrvideo.errors import SeekError

# Agreement of times, far below any frame's duration and far above the rounding of a double.
SAME_TIME_SECONDS = 1e-3


class _NotPlainError(Exception):
    """Keyframe seeking cannot give what reading gives; the text says why."""


@dataclass(frozen=True)
class _Scan:
    """What the packets of a clip say, without decoding.

    Attributes:
        pts: Times of all frames, in order.
        key_pts: Times of the keyframes, in order; the first is the first frame.
        n_rows: Rows that reading gives.
        odd: Why keyframe seeking cannot be used; empty when it can.
    """

    pts: list[int]
    key_pts: list[int]
    n_rows: int
    odd: str

    def stretch(self, index: int) -> tuple[int, int]:
        """Times of the keyframe at or before a frame, and of the next (or one past the end)."""
        after = bisect_right(self.key_pts, self.pts[index])
        until = self.key_pts[after] if after < len(self.key_pts) else self.pts[-1] + 1
        return self.key_pts[after - 1], until


def _scan(path: str | PathLike[str]) -> _Scan:
    with open_container(path) as (container, stream):
        packets = [packet for packet in packets_of(container, stream) if is_frame(stream, packet)]
        no_times = times_of(container) != "exact"
        times = [packet.pts for packet in packets]
        n_cut_off = len(cut_off_times(stream, packets[-1].dts)) if packets else 0
        pts = sorted(time for time in times if time is not None)
        key_pts = sorted(p.pts for p in packets if p.is_keyframe and p.pts is not None)
        odd = ""
        if len(set(pts)) < len(packets) or (no_times and times != [p.dts for p in packets]):
            odd = f"the times of this {container.format.name} file do not name its frames"
        elif n_cut_off or any(packet.is_corrupt for packet in packets):
            odd = "the file is cut off"
        elif pts[:1] != key_pts[:1]:
            odd = "the clip does not start with a keyframe"
        return _Scan(pts, key_pts, len(packets) + n_cut_off, odd)


class _KeyframeDecoder:
    """Decodes from the keyframe before a frame, or goes on from the last one; not thread-safe."""

    def __init__(self, path: str | PathLike[str], scan: _Scan, stack: ExitStack) -> None:
        self._scan = scan
        self._container, self._stream = stack.enter_context(open_container(path))
        prepare_decoder(self._stream)
        self._maker = PictureMaker()
        self._frames: Iterator[VideoFrame] = iter(())
        self._stretch = (0, 0)
        self._last_pts = 0

    def rgb_u8(self, index: int) -> U8:
        """Picture of a frame.

        Raises:
            _NotPlainError: There is damage between the keyframe and the frame.
        """
        pts = self._scan.pts[index]
        for frame in self._from_keyframe(index):
            self._last_pts = self._checked(frame)
            if frame.pts == pts:
                return self._maker.rgb_u8(frame)
            if self._last_pts > pts:
                break
        raise _NotPlainError(f"frame {index} does not come out of the decoder")

    def check_stretch(self, index: int) -> tuple[int, U8]:
        """Decode all frames from the keyframe before a frame to the next keyframe.

        Returns:
            Index and picture of the last of them, which shows any difference before it.

        Raises:
            _NotPlainError: One of them is damaged or does not come out.
        """
        start, until = self._scan.stretch(index)
        first, end = (bisect_right(self._scan.pts, time - 1) for time in (start, until))
        missing = set(self._scan.pts[first:end])
        last_rgb_u8: U8 | None = None
        for frame in self._from_keyframe(first):
            self._last_pts = self._checked(frame)
            missing.discard(self._last_pts)
            if frame.pts == self._scan.pts[end - 1]:
                last_rgb_u8 = self._maker.rgb_u8(frame)
            if not missing and last_rgb_u8 is not None:
                return end - 1, last_rgb_u8
        raise _NotPlainError(f"{len(missing)} frames near frame {index} do not come out")

    def _checked(self, frame: VideoFrame) -> int:
        # Pictures before the keyframe lean on what came before it and are not asked for.
        if frame.is_corrupt and (frame.pts is None or frame.pts >= self._stretch[0]):
            raise _NotPlainError(f"the picture at pts {frame.pts} is damaged")
        return self._last_pts if frame.pts is None else frame.pts

    def _from_keyframe(self, index: int) -> Iterator[VideoFrame]:
        stretch = self._scan.stretch(index)
        if stretch != self._stretch or self._last_pts >= self._scan.pts[index]:
            self._stretch, self._last_pts = stretch, stretch[0] - 1
            self._frames = self._decode_from(stretch[0])
        return self._frames

    def _decode_from(self, key_pts: int) -> Iterator[VideoFrame]:
        # Some demuxers seek by decoding time or land late: go back further until the keyframe is
        # ahead, in the end to the start of the file.
        for back in (0, 1, 4, 16, None):
            before = None if back is None else int(back / (self._stream.time_base or 1))
            target = self._scan.key_pts[0] if before is None else key_pts - before
            try:
                self._container.seek(target, stream=self._stream, backward=True)
            except av.FFmpegError:
                continue
            packets = self._container.demux(self._stream)
            started = False
            try:
                for packet in packets:
                    started = started or (packet.is_keyframe and packet.pts == key_pts)
                    if started and (packet.size or packet.dts is None):
                        yield from self._stream.decode(packet)
            except av.FFmpegError as error:
                raise _NotPlainError(f"a packet after pts {key_pts} does not decode") from error
            if started:
                return
        raise _NotPlainError(f"seeking to the keyframe at pts {key_pts} fails")


class ClipSeeker:
    """Context manager that gives any frame of a clip by index; not for several threads at once.

    Args:
        path: As for `open_clip`.
        image_rate: Pictures per second of a folder or pattern.
        damaged: What a full read of the clip said: True goes straight to the sequential engine,
            False trusts that there is no damage and saves decord's check of each stretch; None
            (not known) checks. A stretch that looks whole can still lean on damage before it;
            only True rules that out.

    Attributes:
        info: What is known before decoding.
        engine: ``decord``, ``pyav``, ``sequential`` or ``images``; may fall back while in use.
        why: Why a faster engine is not used; empty for ``decord`` and ``images``.

    Raises:
        ClipError: As `probe`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        image_rate: Fraction = Fraction(30),
        damaged: bool | None = None,
    ) -> None:
        self.info: ClipInfo = probe(path, image_rate=image_rate)
        self.engine = "images"
        self.why = ""
        self._path = path
        self._trusted = damaged is False
        self._clean: set[int] = set()
        self._rows: Iterator[tuple[Frame, bool]] = iter(())
        self._next_row = -1
        self._stack = ExitStack()
        self._images = find_images(path)
        self._n_rows = len(self._images or ())
        if self._images is None:
            try:
                self._open(damaged is True)
            except BaseException:
                self._stack.close()
                raise

    def _open(self, damaged: bool) -> None:
        self._scan = _scan(self._path)
        self._n_rows = self._scan.n_rows
        odd = "the clip is damaged" if damaged else self._scan.odd
        if odd:
            self._fall_back("sequential", odd)
            return
        self._decoder = _KeyframeDecoder(self._path, self._scan, self._stack)
        try:
            self._decord = self._agreeing_decord()
            self.engine = "decord"
        except _NotPlainError as error:
            self._fall_back("sequential", str(error))
        except _DecordRefusedError as error:
            self._fall_back("pyav", str(error))

    def _fall_back(self, engine: str, why: str) -> None:
        self.engine, self.why = engine, why

    def _agreeing_decord(self) -> Any:
        reader = _open_decord(self._path)
        pts, last = self._scan.pts, self._n_rows - 1
        if len(reader) != self._n_rows:
            raise _DecordRefusedError(f"decord counts {len(reader)} frames, PyAV {self._n_rows}")
        starts = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0]
        ours = np.array([float((time - pts[0]) * self.info.time_base) for time in pts])
        if np.abs(starts - starts[0] - ours).max() > SAME_TIME_SECONDS:
            raise _DecordRefusedError("decord gives the frames other times than PyAV")
        for index in sorted({0, last // 2, last}):
            if not np.array_equal(_decord_rgb_u8(reader, index), self._decoder.rgb_u8(index)):
                raise _DecordRefusedError(f"decord and PyAV differ on frame {index}")
        return reader

    def __enter__(self) -> "ClipSeeker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; may be called twice."""
        getattr(self._rows, "close", lambda: None)()
        self._decord = None
        self._stack.close()

    def __len__(self) -> int:
        """Number of frames, lost ones among them."""
        return self._n_rows

    def frame(self, index: int) -> Frame:
        """Give one frame.

        Args:
            index: Row of the frame, from 0.

        Raises:
            SeekError: There is no such frame.
        """
        # A damaged packet can give two pictures, so only reading tells where such a clip ends.
        if index < 0 or (index >= self._n_rows and self.engine != "sequential"):
            raise self._outside(index)
        if self._images is not None:
            return image_frame(self._images, index, self.info)
        if self.engine != "sequential":
            try:
                rgb_u8 = self._rgb_u8(index)
                return Frame(index, self._scan.pts[index], self.info.time_base, rgb_u8)
            except _NotPlainError as error:
                self._fall_back("sequential", str(error))
        return self._sequential(index)

    def _rgb_u8(self, index: int) -> U8:
        if self.engine == "decord":
            try:
                self._check_decord(index)
                return _decord_rgb_u8(self._decord, index)
            except _DecordRefusedError as error:
                self._fall_back("pyav", str(error))
        return self._decoder.rgb_u8(index)

    def _check_decord(self, index: int) -> None:
        start = self._scan.stretch(index)[0]
        if self._trusted or start in self._clean:
            return
        last, rgb_u8 = self._decoder.check_stretch(index)
        if not np.array_equal(_decord_rgb_u8(self._decord, last), rgb_u8):
            raise _DecordRefusedError(f"decord and PyAV differ on frame {last}")
        self._clean.add(start)

    def _sequential(self, index: int) -> Frame:
        if index < self._next_row or self._next_row < 0:
            getattr(self._rows, "close", lambda: None)()
            start = min(index, self._n_rows - 1)
            self._rows, self._next_row = video_frames(self._path, start=start), start
        for frame, _ in self._rows:
            self._next_row = frame.index + 1
            if frame.index == index:
                return frame
        self._n_rows, self._next_row = self._next_row, -1
        raise self._outside(index)

    def _outside(self, index: int) -> SeekError:
        return SeekError(
            f"frame {index} is outside '{self._path}'; it has {self._n_rows} frames, "
            f"0 to {self._n_rows - 1}"
        )


class _DecordRefusedError(Exception):
    """Decord cannot be used; the text says why."""


def _open_decord(path: str | PathLike[str]) -> Any:
    try:
        decord = importlib.import_module("decord")
    except (ImportError, OSError) as error:
        raise _DecordRefusedError(f"decord cannot be imported ({error})") from error
    # Decord carries a copy of ffmpeg of its own that writes warnings to stderr.
    decord.logging.set_level(decord.logging.QUIET)
    try:
        return decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    except Exception as error:  # decord raises its own and bare RuntimeErrors
        raise _DecordRefusedError(f"decord cannot open the clip ({_one_line(error)})") from error


def _decord_rgb_u8(reader: Any, index: int) -> U8:
    try:
        picture: U8 = reader[index].asnumpy()
    except Exception as error:  # decord raises its own and bare RuntimeErrors
        raise _DecordRefusedError(f"decord fails on frame {index} ({_one_line(error)})") from error
    return picture


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
