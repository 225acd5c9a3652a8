"""Write a new clip: H.264 in mp4 with exact times, and the sound of another clip carried over."""

import math
import operator
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from hdrvideo.clip.probe import codec_name, find_images
from hdrvideo.datatypes import U8
from hdrvideo.errors import ClipError, WriteError
from hdrvideo.files import partial_name

# mp4 keeps the time scale, and the gap from one frame to the next, in 32 signed bits.
MAX_MP4_UNITS = 2**31 - 1

# What mp4 holds and players play; anything else is encoded anew as AAC.
AUDIO_CODECS_TO_COPY = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac"})
AAC_SAMPLE_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000})

BT709 = 1
LIMITED_RANGE = 1


class ClipWriter:
    """Context manager that writes frames with their times to an mp4 file.

    The file is written under a hidden ``.partial-`` name beside its place and renamed when it is
    complete; an error removes it. A frame's time reads back as exactly ``pts * time_base``
    seconds: the mp4 time scale is the denominator of the time base, and pictures are not
    reordered. H.264 with 4:2:0 colour needs even sizes: an odd width or height grows by one
    column or row that repeats the last, so that no pixel moves. Colour is tagged BT.709, limited
    range. The sound is interleaved as frames come, so memory does not grow with the clip.

    Args:
        path: The mp4 file to make; its folder must exist.
        width: Width of every frame in pixels.
        height: Height of every frame in pixels.
        time_base: Seconds per pts unit, exact; its denominator must be below 2**31.
        rate: Usual frames per second; sets how long the last frame shows. None = 30.
        audio_from: Clip whose first sound track is carried over, at its own times and whole;
            copied where mp4 can hold it, else encoded anew as AAC. None, a clip without sound, or
            pictures: no sound.
        overwrite: Replace an existing file.
        crf: H.264 quality, 0 (lossless) to 51 (worst).
        preset: Speed of libx264, ``ultrafast`` to ``veryslow``.

    Raises:
        WriteError: The file exists, its folder is missing, or a size, rate or time base cannot be.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        width: int,
        height: int,
        time_base: Fraction,
        rate: Fraction | None,
        audio_from: str | PathLike[str] | None = None,
        overwrite: bool = False,
        crf: int = 20,
        preset: str = "veryfast",
    ) -> None:
        self._path = Path(path)
        self._partial = partial_name(self._path.with_suffix(".mp4"))
        self._size = (width, height)
        self._time_base = Fraction(time_base)
        self._rate = Fraction(30) if rate is None else Fraction(rate)
        self._audio_from = audio_from
        self._overwrite = overwrite
        self._options = {"crf": str(crf), "preset": preset, "bf": "0"}
        self._last_pts: int | None = None
        self._output: OutputContainer | None = None
        self._reformatter = VideoReformatter()
        self._check()

    def _check(self) -> None:
        if min(self._size) < 1:
            raise WriteError(f"frame size is {_text(self._size)}, expected at least 1x1")
        if self._time_base <= 0 or self._time_base.denominator > MAX_MP4_UNITS:
            raise WriteError(
                f"time base is {self._time_base}, expected more than 0 with a denominator "
                f"up to {MAX_MP4_UNITS}"
            )
        if self._rate <= 0:
            raise WriteError(f"rate is {self._rate}, expected more than 0 frames per second")
        if not self._path.parent.is_dir():
            raise WriteError(f"folder '{self._path.parent}' does not exist; make it first")
        self._check_free()

    def _check_free(self) -> None:
        if self._path.exists() and not self._overwrite:
            raise WriteError(f"'{self._path}' exists; pass --overwrite to replace it")

    def __enter__(self) -> "ClipWriter":
        try:
            self._open()
        except BaseException:
            self._abandon()
            raise
        return self

    def _open(self) -> None:
        self._audio = _Sound(self._audio_from)
        scale = self._time_base.denominator
        try:
            # Edit lists, which hold the start of each track, count in the movie's time scale: a
            # multiple of the track's keeps the first pts exact (the default of 1000 rounds it).
            movie_scale = math.lcm(scale, self._audio.sample_rate)
            if movie_scale > MAX_MP4_UNITS:
                movie_scale = scale
            options = {"video_track_timescale": str(scale), "movie_timescale": str(movie_scale)}
            self._output = av.open(str(self._partial), "w", format="mp4", options=options)
            self._stream = self._add_video(self._output, Fraction(1, scale))
            self._audio.add_to(self._output)
            # Opens file and encoder now, so that what is wrong shows before hours of work.
            self._output.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failure(error) from error

    def _add_video(self, output: OutputContainer, time_base: Fraction) -> VideoStream:
        stream = output.add_stream("libx264", options=self._options)
        stream.width, stream.height = (n + n % 2 for n in self._size)
        stream.pix_fmt = "yuv420p"
        context: Any = stream.codec_context
        context.time_base = time_base
        context.framerate = self._rate
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        return stream

    def write(self, rgb_u8: U8, pts: int) -> None:
        """Add a frame.

        Args:
            rgb_u8: RGB ``(height, width, 3)`` uint8 of the size that the writer was made for.
            pts: Its time in units of the time base; 0 or more, later than the frame before.

        Raises:
            WriteError: Wrong size or type, a time that does not follow, or a full disk.
        """
        if self._output is None:
            raise WriteError(f"'{self._path}' is not open; write inside a `with` block")
        self._check_picture(rgb_u8)
        pts = self._checked_pts(pts)
        width, height = self._size
        if width % 2 or height % 2:
            rgb_u8 = cv2.copyMakeBorder(rgb_u8, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb_u8), format="rgb24")
        frame = self._reformatter.reformat(
            rgb, format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED_RANGE
        )
        frame.pts = pts * self._time_base.numerator
        frame.time_base = Fraction(1, self._time_base.denominator)
        try:
            self._mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _check_picture(self, rgb_u8: U8) -> None:
        width, height = self._size
        shape = getattr(rgb_u8, "shape", None)
        dtype = getattr(rgb_u8, "dtype", type(rgb_u8).__name__)
        if shape != (height, width, 3) or dtype != np.uint8:
            raise WriteError(
                f"frame is {dtype} {shape}, expected uint8 {(height, width, 3)} for this clip"
            )

    def _checked_pts(self, pts: int) -> int:
        pts = operator.index(pts)
        if pts < 0:
            raise WriteError(f"pts is {pts}, expected 0 or more: mp4 shows nothing before time 0")
        if self._last_pts is not None:
            gap = pts - self._last_pts
            most = MAX_MP4_UNITS // self._time_base.numerator
            if gap < 1:
                raise WriteError(f"pts is {pts}, expected more than the last, {self._last_pts}")
            if gap > most:
                raise WriteError(
                    f"pts {pts} is {gap} after the last, mp4 holds gaps up to {most} at time base "
                    f"{self._time_base}; use a coarser time base"
                )
        self._last_pts = pts
        return pts

    def _mux(self, packets: list["Packet[VideoStream]"]) -> None:
        assert self._output is not None  # write and close come here only when open
        for packet in packets:
            # The container shows the last frame as long as its packet says.
            packet.duration = max(1, round(1 / (self._rate * packet.time_base)))
            for sound in self._audio.until(_seconds(packet)):
                self._output.mux(sound)
            self._output.mux(packet)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._finish()
        except BaseException as failure:
            self._abandon()
            if isinstance(failure, av.FFmpegError | OSError):
                raise self._failure(failure) from failure
            raise

    def _finish(self) -> None:
        assert self._output is not None  # set by __enter__
        if self._last_pts is None:
            raise WriteError(f"no frame was written to '{self._path}'; nothing was saved")
        self._mux(self._stream.encode(None))
        for sound in self._audio.until(None):
            self._output.mux(sound)
        self._output.close()
        self._output = None
        self._audio.close()
        self._check_free()
        os.replace(self._partial, self._path)

    def _abandon(self) -> None:
        output, self._output = self._output, None
        # The trailer of a file that is thrown away may fail, and that is not the error to report.
        with suppress(av.FFmpegError, OSError, ValueError):
            if output is not None:
                output.close()
        if hasattr(self, "_audio"):
            self._audio.close()
        self._partial.unlink(missing_ok=True)

    def _failure(self, error: Exception) -> WriteError:
        reason = getattr(error, "strerror", None) or str(error)
        return WriteError(
            f"'{self._path}' cannot be written ({reason}); check folder and disk space"
        )


class _Sound:
    """The first sound track of a clip as packets for an mp4, in the order of their times."""

    def __init__(self, path: str | PathLike[str] | None) -> None:
        self._input: InputContainer | None = None
        self._source: AudioStream | None = None
        self._waiting: Packet[AudioStream] | None = None
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        if path is None or find_images(path) is not None:
            return
        try:
            self._input = av.open(str(path), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise ClipError(f"the sound of '{path}' cannot be read ({error.strerror})") from error
        if self._input.streams.audio:
            self._source = self._input.streams.audio[0]

    @property
    def sample_rate(self) -> int:
        """Samples per second of the track to be written; 1 without sound."""
        if self._source is None:
            return 1
        rate = self._source.rate
        return rate if self._is_copied or rate in AAC_SAMPLE_RATES else 48000

    @property
    def _is_copied(self) -> bool:
        return self._source is not None and codec_name(self._source) in AUDIO_CODECS_TO_COPY

    def add_to(self, output: OutputContainer) -> None:
        """Add the sound track, if there is one, to the file to be written."""
        if self._source is None or self._input is None:
            return
        if self._is_copied:
            copy = output.add_stream_from_template(self._source)
            self._packets = _copied(self._input, self._source, copy)
        else:
            encoder = output.add_stream("aac", rate=self.sample_rate)
            encoder.codec_context.layout = "mono" if self._source.channels == 1 else "stereo"
            self._packets = _encoded(self._input, self._source, encoder)

    def until(self, time: Fraction | None) -> Iterator["Packet[AudioStream]"]:
        """Give the packets before a time in seconds; all that are left for None."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = packet
            if packet is None or (time is not None and _seconds(packet) >= time):
                return
            self._waiting = None
            yield packet

    def close(self) -> None:
        """Close the clip that the sound came from; may be called twice."""
        if self._input is not None:
            self._input.close()


def _demuxed(source: InputContainer, stream: AudioStream) -> Iterator["Packet[AudioStream]"]:
    # Damaged sound ends early rather than taking the pictures with it.
    with suppress(av.FFmpegError):
        for packet in source.demux(stream):
            if packet.size and packet.dts is not None:
                yield packet


def _copied(
    source: InputContainer, stream: AudioStream, copy: AudioStream
) -> Iterator["Packet[AudioStream]"]:
    for packet in _demuxed(source, stream):
        packet.stream = copy
        yield packet


def _encoded(
    source: InputContainer, stream: AudioStream, encoder: AudioStream
) -> Iterator["Packet[AudioStream]"]:
    for packet in _demuxed(source, stream):
        with suppress(av.error.InvalidDataError):
            for frame in packet.decode():
                yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _seconds(packet: "Packet[Any]") -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
