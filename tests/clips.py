"""Clips made on the fly for tests: small, of every kind, whole or broken on purpose."""

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

# PyAV 14 does not show a container's index: `probe` and cut-off clips know less there.
HAS_INDEX = hasattr(av.stream.Stream, "index_entries")

# What a phone writes into tkhd for the turn that the player must make, clockwise.
ROTATION_MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def picture(index: int, width: int = 112, height: int = 64) -> U8:
    """Smooth gradients that differ from frame to frame."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 2 + index * 5, y * 2 + index * 3, x + y + 7 * index]
    return np.stack([128 + 100 * np.sin(c / 40) for c in channels], axis=-1).astype(np.uint8)


def corners(width: int = 112, height: int = 64) -> U8:
    """Grey with a red top left, green top right, blue bottom right and white bottom left corner."""
    rgb = np.full((height, width, 3), 90, np.uint8)
    rgb[:24, :24], rgb[:24, -24:] = (220, 30, 30), (30, 200, 30)
    rgb[-24:, -24:], rgb[-24:, :24] = (30, 30, 220), (240, 240, 240)
    return rgb


@dataclass(frozen=True)
class Made:
    """How to make a clip; times are in units of ``time_base``."""

    n_frames: int = 24
    width: int = 112
    height: int = 64
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    time_base: Fraction = Fraction(1, 30)
    rate: Fraction = Fraction(30)
    pts: Sequence[int] | None = None
    gop: int = 8
    b_frames: int = 2
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    format: str | None = None


def make_clip(path: Path, made: Made | None = None, pictures: Iterable[U8] | None = None) -> Path:
    """Encode a clip and return its path."""
    made = made or Made()
    if pictures is None:
        pictures = (picture(i, made.width, made.height) for i in range(made.n_frames))
    with av.open(str(path), "w", format=made.format, options=made.container_options) as output:
        output.metadata.update(made.metadata)
        options = {"x265-params": "log-level=none"} if made.codec == "libx265" else {}
        stream: Any = output.add_stream(
            made.codec, rate=made.rate, options={**options, **made.options}
        )
        stream.width, stream.height, stream.pix_fmt = made.width, made.height, made.pixel_format
        stream.codec_context.time_base = made.time_base
        stream.gop_size = made.gop
        if made.codec in ("libx264", "mpeg4"):
            stream.max_b_frames = made.b_frames
        for index, rgb_u8 in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb_u8, format="rgb24")
            frame.pts = index if made.pts is None else made.pts[index]
            frame.time_base = made.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def make_sound(path: Path, codec: str, *, video: bool = True, start_samples: int = 0) -> Path:
    """Make a clip of one second with sound, or sound alone."""
    rate = 48000
    with av.open(str(path), "w") as output:
        stream: Any = None
        if video:
            stream = output.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 112, 64, "yuv420p"
        sound: Any = output.add_stream(codec, rate=rate)
        sound.codec_context.layout = "stereo"
        for index in range(30 if video else 0):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 30)
            output.mux(stream.encode(frame))
        if video:
            output.mux(stream.encode(None))
        for start in range(0, rate, 1200):
            wave = (np.sin(np.arange(start, start + 1200) * 0.05) * 8000).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(
                np.repeat(wave, 2)[None], format="s16", layout="stereo"
            )
            samples.sample_rate, samples.time_base = rate, Fraction(1, rate)
            samples.pts = start + start_samples
            output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
    return path


def make_images(
    folder: Path, n_frames: int = 12, suffix: str = ".png", size: tuple[int, int] = (112, 64)
) -> Path:
    """Fill a folder with pictures named without leading zeros, 1 to ``n_frames``."""
    folder.mkdir(exist_ok=True)
    for index in range(n_frames):
        bgr = cv2.cvtColor(picture(index, *size), cv2.COLOR_RGB2BGR)
        (folder / f"frame{index + 1}{suffix}").write_bytes(cv2.imencode(suffix, bgr)[1].tobytes())
    return folder


def packets(path: Path, kind: str = "video") -> list[Any]:
    """All packets of the first stream of a kind, in decoding order."""
    with av.open(str(path)) as container:
        return [p for p in container.demux(**{kind: 0}) if p.size]


def change(path: Path, edits: dict[int, bytes]) -> Path:
    """Overwrite bytes at positions."""
    data = bytearray(path.read_bytes())
    for position, new in edits.items():
        data[position : position + len(new)] = new
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def wreck_packet(path: Path, number: int) -> Path:
    """Overwrite the inside of one packet (in decoding order) so that it cannot be decoded."""
    data = bytes(packets(path)[number])
    position = path.read_bytes().index(data)
    return change(path, {position + 4: b"\xff" * (len(data) - 4)})


def flip_inside_packet(path: Path, number: int, *, n_bytes: int = 3, seed: int = 0) -> Path:
    """Change a few bytes in the middle of one packet, so that it decodes with damage."""
    data = bytes(packets(path)[number])
    position = path.read_bytes().index(data)
    rng = random.Random(seed)
    spots = [len(data) // 2 + rng.randrange(len(data) // 3) for _ in range(n_bytes)]
    return change(path, {position + spot: bytes([data[spot] ^ 0x55]) for spot in spots})


def rotate_header(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Patch the display matrix ``a b c d`` in the tkhd box of an mp4 by hand."""
    a, b, c, d = (value << 16 for value in matrix)
    # tkhd version 0: kind 4, version and flags 4, five 32-bit fields 20, reserved 8, layer to
    # volume 8, then the matrix.
    position = path.read_bytes().index(b"tkhd") + 44
    return change(path, {position: struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)})


def empty_tables(path: Path) -> Path:
    """Set all sample counts of an mp4 to zero: a video track without a frame."""
    data = path.read_bytes()
    edits = {data.index(box) + 8: bytes(4) for box in (b"stts", b"stsc", b"stco", b"stss")}
    edits[data.index(b"stsz") + 8] = bytes(8)
    return change(path, edits)


def remux(source: Path, target: Path, payloads: list[tuple[bytes, int]]) -> Path:
    """Write packets of given bytes and pts under the header of another clip; the first is key."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for index, (data, pts) in enumerate(payloads):
            packet: Any = av.Packet(data)
            packet.stream, packet.time_base = copy, stream.time_base
            packet.pts = packet.dts = pts
            packet.is_keyframe = index == 0
            output.mux(packet)
    return target


def status_counts(frames: Iterable[Any]) -> tuple[int, int, int, int]:
    """Rows, and how many of them are ok, damaged and lost."""
    statuses = [frame.status for frame in frames]
    return len(statuses), *(statuses.count(kind) for kind in ("ok", "damaged", "lost"))
