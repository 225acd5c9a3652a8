"""What a clip is before it is decoded: where its pictures come from, their size, rate and times."""

import glob
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hdrvideo.datatypes import U8, ClipInfo
from hdrvideo.errors import ClipError, ClipNotFoundError, EmptyClipError, NotAVideoError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FOCAL_35MM_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
FILM_WIDTH_MM = 36.0

# Containers that store no presentation times: libavformat counts packets in decoding order, which
# is wrong as soon as pictures are reordered.
FORMATS_WITHOUT_PTS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo", "obu", "vc1"})

# libavformat's disposition flag of cover art; PyAV 14.0 does not tell it.
ATTACHED_PICTURE = 0x400

# How many packets `probe` feeds to the decoder before it gives up looking for the first picture.
PROBE_PACKETS = 64


@dataclass(frozen=True)
class Turn:
    """How a stored picture becomes the shown one: transpose first, then mirror.

    Attributes:
        transpose: Swap rows and columns.
        mirror_x: Then swap left and right.
        mirror_y: Then swap top and bottom.
        clockwise_deg: The same as a clockwise turn, 0, 90, 180 or 270; a mirror image is named by
            the turn that follows the left-right mirroring.
    """

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False
    clockwise_deg: int = 0

    def apply(self, rgb_u8: U8) -> U8:
        """Return the picture ``(H, W, 3)`` as shown, contiguous; the same array when upright."""
        if self.transpose:
            rgb_u8 = cv2.transpose(rgb_u8)
        if self.mirror_x or self.mirror_y:
            rgb_u8 = cv2.flip(rgb_u8, -1 if self.mirror_x and self.mirror_y else int(self.mirror_x))
        return np.ascontiguousarray(rgb_u8)


def turn_of(frame: VideoFrame) -> Turn:
    """Read the display matrix that travels with a decoded frame.

    The matrix rows are ``[a b u; c d v; x y w]`` and a stored point goes to
    ``(a x + c y, b x + d y)``, y down. Players therefore show ``[0 1 0; -1 0 0]`` as a clockwise
    turn by 90 degrees. Verified in ``tests/test_clip_read.py``: a picture with four coloured
    corners in an mp4 whose tkhd matrix is patched by hand to what phones write for each turn.
    """
    sides: Any = frame.side_data
    matrix = next((side for side in sides if side.type == SideDataType.DISPLAYMATRIX), None)
    if matrix is None:
        return Turn()
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype="<i4")[:5].tolist()
    mirrored = a * d - b * c < 0
    angle = math.degrees(math.atan2(-b, -a) if mirrored else math.atan2(b, a))
    clockwise_deg = round(angle / 90) % 4 * 90
    if abs(b) > abs(a):
        return Turn(True, mirror_x=c < 0, mirror_y=b < 0, clockwise_deg=clockwise_deg)
    return Turn(False, mirror_x=a < 0, mirror_y=d < 0, clockwise_deg=clockwise_deg)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that counts: ``frame2`` before ``frame10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part.lower()) for part in parts]


def find_images(path: str | PathLike[str]) -> list[Path] | None:
    """List the pictures that a folder, a pattern or one picture file stands for, in natural order.

    Args:
        path: A file, a folder or a glob pattern (``*``, ``?``, ``[...]``).

    Returns:
        The picture files; None when ``path`` is one file that is no picture (a video, perhaps).

    Raises:
        ClipNotFoundError: No such file, folder or match.
        NotAVideoError: The folder or the matches hold no picture.
    """
    source = Path(path)
    if source.is_dir():
        found = [file for file in source.iterdir() if file.is_file()]
        what = f"folder '{path}'"
    elif source.exists():
        return [source] if source.suffix.lower() in IMAGE_SUFFIXES else None
    elif glob.has_magic(str(path)):
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
        what = f"pattern '{path}'"
        if not found:
            raise ClipNotFoundError(
                f"pattern '{path}' matches no file; check the folder and quotes"
            )
    else:
        raise ClipNotFoundError(f"clip '{path}' does not exist; check the path")
    images = [file for file in found if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise NotAVideoError(f"{what} holds no picture among {len(found)} files; expected {kinds}")
    return sorted(images, key=natural_key)


def read_image(path: Path) -> U8 | None:
    """Read one picture as RGB ``(H, W, 3)`` uint8, upright by EXIF; None when it cannot be read.

    Sixteen-bit pictures are scaled to 8 bit, grey ones repeated, transparency is dropped.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError:
        return None
    if data.size == 0:
        return None
    # OpenCV would tell stderr about a broken picture; the caller tells the user.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        bgr_u8 = cv2.imdecode(data, cv2.IMREAD_COLOR)
    finally:
        cv2.utils.logging.setLogLevel(level)
    return None if bgr_u8 is None else cv2.cvtColor(bgr_u8, cv2.COLOR_BGR2RGB)


@contextmanager
def open_container(path: str | PathLike[str]) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file and choose its picture stream; the file is closed on leaving.

    Raises:
        NotAVideoError: The file cannot be read as a video or holds no pictures.
    """
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise NotAVideoError(f"'{path}' {_why_unreadable(Path(path), error)}") from error
    with container:
        yield container, _picture_stream(path, container)


def _picture_stream(path: str | PathLike[str], container: InputContainer) -> VideoStream:
    # Cover art of a song is a video stream by name only; `tty` draws any text file as pictures.
    videos = container.streams.video
    streams = [s for s in videos if not int(getattr(s, "disposition", 0)) & ATTACHED_PICTURE]
    if container.format.name == "tty" or not container.streams:
        raise NotAVideoError(f"'{path}' is text or has no tracks; give a video file")
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        raise NotAVideoError(f"'{path}' holds {kinds} but no pictures; give a video file")
    stream = streams[0]
    # PyAV gives no codec context to a stream that this build of ffmpeg has no decoder for.
    if getattr(stream, "codec_context", None) is None:
        raise NotAVideoError(f"'{path}' uses a codec without a decoder here; convert it to H.264")
    return stream


def _why_unreadable(path: Path, error: Exception) -> str:
    if path.stat().st_size == 0:
        return "is empty (0 bytes); copy or record it again"
    boxes = _top_level_boxes(path)
    if boxes[:1] == [b"ftyp"] and b"moov" not in boxes:
        return "lost its index (no moov box): the recording was cut off; repair or record it again"
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"cannot be read as a video ({reason}); give a video file, a folder or a pattern"


def codec_name(stream: Any) -> str:
    """Name of a stream's codec, ``av1`` and not ``libdav1d``.

    PyAV 14.0 tells the decoder's name only; where the two differ that is what is given.
    """
    codec = stream.codec_context.codec
    name: str = getattr(codec, "canonical_name", codec.name)
    return name


def times_of(container: InputContainer) -> str:
    """What a container's times are: ``exact``, or ``decoding`` where it stores no pts."""
    return "decoding" if container.format.name in FORMATS_WITHOUT_PTS else "exact"


def _top_level_boxes(path: Path) -> list[bytes]:
    """List the kinds of the top-level boxes of an mp4, as far as they make sense."""
    boxes: list[bytes] = []
    size_of_file = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size_of_file and len(boxes) < 64:
            file.seek(at)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            boxes.append(head[4:8])
            if size < 8:
                break
            at += size
    return boxes


def probe(path: str | PathLike[str], *, image_rate: Fraction = Fraction(30)) -> ClipInfo:
    """Say what a clip is, by its header and its first picture.

    The size is that of the pixel grid as shown, the display matrix applied; a pixel aspect ratio
    is not applied. ``is_variable_rate`` is known where the container lists all frames (mp4, mov,
    avi) and for pictures, else None. ``focal_px`` comes from the 35 mm equivalent that phones
    write into QuickTime metadata, over 36 mm along the long side; else None.

    Args:
        path: A video file, a folder of pictures, a glob pattern, or one picture.
        image_rate: Pictures per second of a folder or pattern.

    Raises:
        ClipNotFoundError: No such file, folder or match.
        NotAVideoError: No pictures in it, or not readable as a video.
        EmptyClipError: A video stream without a frame, or a folder without a readable picture.
    """
    images = find_images(path)
    if images is not None:
        return _probe_images(path, images, image_rate)
    with open_container(path) as (container, stream):
        turn, width, height = _first_picture(path, container, stream)
        if turn.transpose:
            width, height = height, width
        context = stream.codec_context
        return ClipInfo(
            path=str(path),
            width=width,
            height=height,
            rotation_deg=turn.clockwise_deg,
            rate=stream.average_rate or stream.guessed_rate or None,
            time_base=stream.time_base or Fraction(1, 1000),
            n_frames_container=_claimed_frames(stream),
            is_variable_rate=_is_variable(stream),
            has_audio=len(container.streams.audio) > 0,
            codec=codec_name(stream),
            pixel_format=context.pix_fmt or "unknown",
            focal_px=_focal_px(container, stream, max(width, height)),
        )


def _probe_images(path: str | PathLike[str], images: list[Path], rate: Fraction) -> ClipInfo:
    if rate <= 0:
        raise ClipError(f"image rate is {rate}, expected more than 0 pictures per second")
    rgb_u8 = next((rgb for rgb in map(read_image, images) if rgb is not None), None)
    if rgb_u8 is None:
        raise EmptyClipError(f"none of the {len(images)} pictures of '{path}' can be read")
    return ClipInfo(
        path=str(path),
        width=rgb_u8.shape[1],
        height=rgb_u8.shape[0],
        rotation_deg=0,
        rate=Fraction(rate),
        time_base=1 / Fraction(rate),
        n_frames_container=len(images),
        is_variable_rate=False,
        has_audio=False,
        codec="images",
        pixel_format="rgb24",
    )


def _first_picture(
    path: str | PathLike[str], container: InputContainer, stream: VideoStream
) -> tuple[Turn, int, int]:
    """Turn, stored width and height of the first picture that decodes (else what the header says).

    Raises:
        EmptyClipError: There is no packet at all, or no picture and no size either.
    """
    stream.codec_context.thread_count = 1
    n_packets = 0
    for packet in container.demux(stream):
        n_packets += packet.size > 0
        try:
            frames = packet.decode() if packet.size or packet.dts is None else []
        except av.FFmpegError:
            frames = []
        if frames:
            return turn_of(frames[0]), frames[0].width, frames[0].height
        if n_packets >= PROBE_PACKETS:
            break
    width, height = stream.codec_context.width, stream.codec_context.height
    if n_packets == 0 or width < 1 or height < 1:
        raise EmptyClipError(f"'{path}' has a video stream without a frame; record it again")
    return Turn(), width, height


def _claimed_frames(stream: VideoStream) -> int | None:
    tag = stream.metadata.get("NUMBER_OF_FRAMES", "")
    return stream.frames or (int(tag) if tag.isdigit() else None) or None


def index_timestamps(stream: VideoStream) -> list[int] | None:
    """Decoding times of all frames as the container's index lists them, in time base units.

    Returns:
        None when the index is not complete (mkv lists keyframes) or PyAV is too old to show it.
    """
    entries: Any = getattr(stream, "index_entries", None)
    if entries is None or not stream.frames or len(entries) != stream.frames:
        return None
    return [entry.timestamp for entry in entries]


def _is_variable(stream: VideoStream) -> bool | None:
    times = index_timestamps(stream)
    if times is None or len(times) < 2:
        return None
    gaps = np.diff(np.asarray(times, dtype=np.int64))
    # Rounding to the time base moves a steady rate by one unit.
    return bool(gaps.max() - gaps.min() > 1)


def _focal_px(container: InputContainer, stream: VideoStream, long_side_px: int) -> float | None:
    text = container.metadata.get(FOCAL_35MM_KEY) or stream.metadata.get(FOCAL_35MM_KEY) or ""
    try:
        focal_35mm = float(text)
    except ValueError:
        return None
    return focal_35mm / FILM_WIDTH_MM * long_side_px if 0 < focal_35mm < math.inf else None
