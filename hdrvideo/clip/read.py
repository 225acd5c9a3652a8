"""Read a clip from its first frame to its last: every source frame is one `Frame`, none vanishes.

Decoding takes one thread, on purpose. With frame threads an error belongs to no packet, pictures
behind it are thrown away, and a damaged stream gives other pixels from run to run: 15 of 30 VP8 and
5 of 30 H.264 clips with three flipped bytes did so, most without a word from the decoder. Then
seeking could not equal reading. One thread is still many times faster than what follows, and runs
beside the consumer, some frames ahead.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from hdrvideo.clip.ahead import ReadAhead
from hdrvideo.clip.probe import (
    Turn,
    find_images,
    index_timestamps,
    open_container,
    probe,
    read_image,
    times_of,
    turn_of,
)
from hdrvideo.clip.rows import Row, RowKeeper, TimesNotTrustedError, owes_picture
from hdrvideo.datatypes import U8, ClipInfo, Frame
from hdrvideo.errors import ClipError, DecodeError, EmptyClipError, SettingsError

# Of libavutil's AVColorSpace and AVColorRange.
BT601 = 5
YUV_MATRICES = frozenset({1, 4, 5, 6, 7, 9, 10})
LIMITED_RANGE, FULL_RANGE = 1, 2

# A demuxer that fails this often without giving a packet in between is taken to be at its end.
DEMUX_RETRIES = 16

# Rows held back, so that a picture which comes out late still finds its row, and so that times that
# cannot be trusted show before a wrong row is handed out.
HELD_ROWS = 8


class PictureMaker:
    """Turns decoded frames of one stream into upright RGB of one size."""

    def __init__(self) -> None:
        # One reformatter for the whole stream keeps swscale's tables; it takes matrix and range
        # from the frame.
        self._reformatter = VideoReformatter()
        self._stored: tuple[int, int] | None = None
        self._turn = Turn()

    def rgb_u8(self, frame: VideoFrame) -> U8:
        """Convert to ``(H, W, 3)`` uint8; a stream that changes size is scaled to its first."""
        if self._stored is None:
            self._stored = (frame.width, frame.height)
            self._turn = turn_of(frame)
        width, height = self._stored
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", **_colour(frame)
        )
        rgb_u8: Any = rgb.to_ndarray()
        return self._turn.apply(rgb_u8)


def _colour(frame: VideoFrame) -> dict[str, int]:
    """Arguments that make PyAV before 17 heed the matrix and range of a YUV frame.

    Found by decoding one colour through both matrices and both ranges; BT.601 and the limited range
    as target are what switches the conversion on, RGB itself has neither.
    """
    if int(av.__version__.split(".")[0]) >= 17 or frame.format.is_rgb:
        return {}
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    return {
        "src_colorspace": frame.colorspace if frame.colorspace in YUV_MATRICES else BT601,
        "dst_colorspace": BT601,
        "src_color_range": FULL_RANGE if full else LIMITED_RANGE,
        "dst_color_range": LIMITED_RANGE,
    }


def prepare_decoder(stream: VideoStream) -> None:
    """Set one thread, and let each picture carry the serial number of its packet."""
    context = stream.codec_context
    context.thread_type = "SLICE"
    context.thread_count = 1
    context.flags |= int(Flags.copy_opaque)


def packets_of(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Give the stream's packets in decoding order, past read errors, without the flushing one."""
    failures = 0
    while failures < DEMUX_RETRIES:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    failures = 0
                    yield packet
            return
        except av.FFmpegError:
            failures += 1


def is_frame(stream: VideoStream, packet: "Packet[VideoStream]") -> bool:
    """Whether a packet is a frame to be shown: not cut away by an edit list, not hidden."""
    return not packet.is_discard and owes_picture(stream.codec_context.name, memoryview(packet))


def _settled(
    stream: VideoStream, packet: "Packet[VideoStream] | None", keeper: RowKeeper
) -> Iterator[Row]:
    """Decode a packet, None at the end, and give the rows that are settled by it."""
    try:
        frames = stream.decode(packet)
    except MemoryError as error:
        text = "the decoder ran out of memory; close programs or use a smaller clip"
        raise DecodeError(text) from error
    except av.FFmpegError:
        keeper.damaged = True
        return
    for frame in frames:
        keeper.damaged = keeper.damaged or frame.is_corrupt
        serial: Any = frame.opaque
        yield from keeper.arrived(serial, frame.pts, frame)


def _rows(container: InputContainer, stream: VideoStream, *, trust_pts: bool) -> Iterator[Row]:
    prepare_decoder(stream)
    keeper = RowKeeper(
        time_base=stream.time_base or Fraction(1, 1000),
        rate=stream.average_rate or stream.guessed_rate,
        times=times_of(container) if trust_pts else "shuffled",
        reorders=bool(stream.codec_context.has_b_frames),
    )
    last_dts: int | None = None
    serial = 0
    for serial, packet in enumerate(packets_of(container, stream)):
        if not packet.is_discard:
            picture = is_frame(stream, packet)
            keeper.expect(serial, packet.pts, packet.dts, picture=picture)
        packet.opaque = serial
        last_dts = packet.dts
        yield from _settled(stream, packet, keeper)
    yield from _settled(stream, None, keeper)
    for timestamp in cut_off_times(stream, last_dts):
        serial += 1
        keeper.expect(serial, timestamp, timestamp)
    yield from keeper.finish()


def cut_off_times(stream: VideoStream, last_dts: int | None) -> list[int]:
    """Times that the index lists behind the last packet, of frames that the file no longer holds.

    Only where the codec does not reorder: there the decoding time is the time of showing. With
    reordering the times of missing frames are not known, and the container's claim is all there is.
    """
    times = index_timestamps(stream)
    if times is None or last_dts is None or stream.codec_context.has_b_frames:
        return []
    return [time for time in times if time > last_dts]


def _held(rows: Iterator[Row]) -> Iterator[Row]:
    waiting: deque[Row] = deque()
    for row in rows:
        if row.late:
            # A damaged stream gave the pictures out of order. One that is too late even for the
            # rows held back stays a lost row.
            for at, held in enumerate(waiting):
                if held.pts == row.pts:
                    waiting[at] = replace(held, picture=row.picture)
            continue
        waiting.append(row)
        if len(waiting) > HELD_ROWS:
            yield waiting.popleft()
    yield from waiting


def _status(row: Row) -> str:
    if row.picture is None:
        return "lost"
    return "damaged" if row.picture.is_corrupt else "ok"


def video_frames(path: str | PathLike[str], *, start: int = 0) -> Iterator[tuple[Frame, bool]]:
    """Give the frames of a video file and whether each time had to be changed.

    Args:
        path: The video file.
        start: Index of the first frame to give; those before it are decoded and not converted.
    """
    trust_pts = True
    while True:
        try:
            for frame, retimed in _frames(path, start, trust_pts=trust_pts):
                start += 1
                yield frame, retimed
            return
        except TimesNotTrustedError:
            # Read again from the start. Rows given already are the same: until the first picture
            # out of order, the order of the pts is the order of the pictures.
            trust_pts = False


def _frames(
    path: str | PathLike[str], start: int, *, trust_pts: bool
) -> Iterator[tuple[Frame, bool]]:
    with open_container(path) as (container, stream):
        time_base = stream.time_base or Fraction(1, 1000)
        maker = PictureMaker()
        rows = _rows(container, stream, trust_pts=trust_pts)
        for index, row in enumerate(_held(rows)):
            if index >= start:
                rgb_u8 = None if row.picture is None else maker.rgb_u8(row.picture)
                yield Frame(index, row.pts, time_base, rgb_u8, _status(row)), row.retimed


def image_frame(images: list[Path], index: int, info: ClipInfo) -> Frame:
    """Read picture ``index`` of a folder or pattern; its time is ``index / image_rate``.

    Raises:
        ClipError: It has another size than the first picture that could be read.
    """
    rgb_u8 = read_image(images[index])
    if rgb_u8 is not None and rgb_u8.shape[:2] != (info.height, info.width):
        raise ClipError(
            f"picture '{images[index].name}' is {rgb_u8.shape[1]}x{rgb_u8.shape[0]}, the first of "
            f"'{info.path}' is {info.width}x{info.height}; make all the same size"
        )
    return Frame(index, index, info.time_base, rgb_u8, "lost" if rgb_u8 is None else "ok")


def frames_of(path: str | PathLike[str], info: ClipInfo) -> Iterator[tuple[Frame, bool]]:
    """Give every frame of a clip and whether its time had to be changed, in this thread.

    Args:
        path: As for `open_clip`.
        info: What `probe` said of it.

    Raises:
        ClipError: A picture of a folder has another size than the first.
        EmptyClipError: Not one frame could be decoded (raised after the last row).
    """
    images = find_images(path)
    frames: Iterator[tuple[Frame, bool]]
    if images is None:
        frames = video_frames(path)
    else:
        frames = ((image_frame(images, index, info), False) for index in range(len(images)))
    n_rows = n_pictures = 0
    for frame, retimed in frames:
        n_rows += 1
        n_pictures += frame.rgb_u8 is not None
        yield frame, retimed
    if n_pictures == 0:
        raise EmptyClipError(f"none of the {n_rows} frames of '{path}' could be decoded")


class ClipReader:
    """Context manager and iterator over the frames of a clip; made by `open_clip`.

    Attributes:
        info: What is known before decoding.
        n_decoded: Frames handed out so far with a picture, damaged ones among them.
        n_damaged: Those of them that the decoder flags as damaged.
        n_lost: Frames handed out without a picture; rows so far = ``n_decoded + n_lost``.
        n_retimed: Frames whose time differs from the container's, to keep time increasing.
    """

    def __init__(self, path: str | PathLike[str], info: ClipInfo, read_ahead: int) -> None:
        self.info = info
        self.n_decoded = 0
        self.n_damaged = 0
        self.n_lost = 0
        self.n_retimed = 0
        self._path = path
        self._read_ahead = read_ahead
        self._worker: ReadAhead | None = None
        self._closed = False

    def __enter__(self) -> "ClipReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        if self._closed:
            raise StopIteration
        if self._worker is None:
            self._worker = ReadAhead(frames_of(self._path, self.info), self._read_ahead)
        more, entry = self._worker.get()
        if not more:
            self.close()
            if entry is not None:
                raise entry
            raise StopIteration
        frame: Frame
        frame, retimed = entry
        self.n_decoded += frame.rgb_u8 is not None
        self.n_damaged += frame.status == "damaged"
        self.n_lost += frame.status == "lost"
        self.n_retimed += retimed
        return frame

    def close(self) -> None:
        """Stop decoding and join the thread; later iteration ends at once."""
        self._closed = True
        worker, self._worker = getattr(self, "_worker", None), None
        if worker is not None:
            worker.stop()


def open_clip(
    path: str | PathLike[str], *, read_ahead: int = 8, image_rate: Fraction = Fraction(30)
) -> ClipReader:
    """Open a clip for reading from its first frame to its last.

    Every frame of the source is one `Frame`, in presentation order, with consecutive ``index`` and
    strictly increasing exact ``pts``:

    * decoded: status ``ok``, or ``damaged`` when the decoder flags the picture;
    * in the file but never decoded: status ``lost``, no picture, at its own time.

    No row is made for what is not to be shown: packets cut away by an edit list, hidden reference
    pictures of VP8/VP9, stubs of packed MPEG-4. Frames that a cut-off file no longer holds are
    ``lost`` rows where the index gives their times (no reordering), else they are missing from the
    rows and show in ``info.n_frames_container`` only.

    Times: the container's pts. Avi and raw streams have none; there frame ``k`` gets the ``k``-th
    decoding time of the container, or ``k / rate``. So do clips whose pts contradict the order of
    the pictures. A time that repeats or goes back becomes the last plus one unit, a new recording
    glued on follows one frame after the last; ``n_retimed`` counts such frames.

    Args:
        path: A video file, a folder of pictures, a glob pattern, or one picture.
        read_ahead: Frames that the thread may decode ahead; bounds the memory.
        image_rate: Pictures per second of a folder or pattern.

    Raises:
        ClipError: As `probe`; and while reading, when pictures of a folder differ in size.
        EmptyClipError: While reading, after the last row, when not one frame was decoded.
        SettingsError: ``read_ahead`` is below 1.
    """
    if read_ahead < 1:
        raise SettingsError(f"read_ahead is {read_ahead}, expected 1 or more frames")
    return ClipReader(path, probe(path, image_rate=image_rate), read_ahead)
