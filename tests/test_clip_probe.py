"""What `probe` says of a clip, against how the clip was made."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import HAS_INDEX, Made, empty_tables, make_clip, make_images, make_sound, rotate_header

from hdrvideo.clip import probe
from hdrvideo.clip.probe import FOCAL_35MM_KEY, Turn, find_images, natural_key, read_image
from hdrvideo.errors import ClipError


def test_says_how_the_clip_was_made(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4"))
    assert (info.width, info.height, info.rotation_deg) == (112, 64, 0)
    assert (info.rate, info.n_frames_container) == (30, 24)
    assert info.is_variable_rate is (False if HAS_INDEX else None)
    assert (info.codec, info.pixel_format, info.has_audio) == ("h264", "yuv420p", False)
    assert info.path == str(tmp_path / "a.mp4")
    assert info.focal_px is None


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_rate_stays_exact(tmp_path: Path, suffix: str) -> None:
    rate = Fraction(30000, 1001)
    info = probe(make_clip(tmp_path / f"a.{suffix}", Made(rate=rate, time_base=1 / rate)))
    assert info.rate == rate


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_size_is_as_shown(tmp_path: Path, turn: int) -> None:
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[turn]
    info = probe(rotate_header(make_clip(tmp_path / "a.mp4"), matrix))
    assert info.rotation_deg == turn
    assert (info.width, info.height) == ((112, 64) if turn == 180 else (64, 112))


def test_variable_rate(tmp_path: Path) -> None:
    made = Made(pts=[i * 30 + i * i for i in range(24)], time_base=Fraction(1, 900))
    assert probe(make_clip(tmp_path / "a.mp4", made)).is_variable_rate is (
        True if HAS_INDEX else None
    )
    # Matroska lists keyframes only, so this is not known before reading.
    assert probe(make_clip(tmp_path / "a.mkv", made)).is_variable_rate is None


def test_says_that_there_is_sound(tmp_path: Path) -> None:
    assert probe(make_sound(tmp_path / "a.mp4", "aac")).has_audio


@pytest.mark.parametrize(("text", "focal_px"), [("27", 84.0), ("0", None), ("wide", None)])
def test_focal_length_from_metadata(tmp_path: Path, text: str, focal_px: float | None) -> None:
    made = Made(
        metadata={FOCAL_35MM_KEY: text}, container_options={"movflags": "use_metadata_tags"}
    )
    info = probe(make_clip(tmp_path / "a.mov", made))
    assert info.focal_px == (None if focal_px is None else pytest.approx(focal_px))


def test_images(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "shots")
    info = probe(folder, image_rate=Fraction(24000, 1001))
    assert (info.width, info.height, info.n_frames_container) == (112, 64, 12)
    assert (info.rate, info.time_base) == (Fraction(24000, 1001), Fraction(1001, 24000))
    assert (info.codec, info.is_variable_rate) == ("images", False)


def test_image_rate_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="image rate is 0, expected more than 0 pictures per sec"):
        probe(make_images(tmp_path / "shots", 1), image_rate=Fraction(0))


def test_images_are_sorted_as_people_count(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "shots")
    expected = [f"frame{i + 1}.png" for i in range(12)]
    assert [file.name for file in find_images(folder) or []] == expected
    assert [file.name for file in find_images(str(folder / "*.png")) or []] == expected
    assert sorted(map(Path, ["B2", "a10", "b1", "a9"]), key=natural_key) == [
        Path(name) for name in ("a9", "a10", "b1", "B2")
    ]


def test_one_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    file = make_images(tmp_path / "shots") / "frame1.png"
    assert probe(file).n_frames_container == 1


def test_name_with_magic_characters_is_a_file_first(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "take[1].mp4")
    assert find_images(path) is None
    assert probe(path).n_frames_container == 24


def test_picture_that_cannot_be_read_is_none(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    assert read_image(file) is None
    good = (make_images(tmp_path / "shots") / "frame1.png").read_bytes()
    file.write_bytes(good[: len(good) // 2])
    assert read_image(file) is None
    assert read_image(tmp_path) is None
    assert capfd.readouterr().err == ""


def test_upright_picture_is_not_copied() -> None:
    rgb_u8 = np.zeros((4, 6, 3), np.uint8)
    assert Turn().apply(rgb_u8) is rgb_u8


def test_zero_frames_leave_no_file_open(tmp_path: Path) -> None:
    path = empty_tables(make_clip(tmp_path / "a.mp4"))
    with pytest.raises(ClipError):
        probe(path)
    path.unlink()
