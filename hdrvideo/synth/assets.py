"""Which skins and backgrounds there are, and which of them training and which testing may use.

A thing's split goes by its name alone (a hash), so it is the same on every machine and stays the
same when files are added: what the benchmark shows can never occur in training.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from hdrvideo.datatypes import U8
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.synth.backgrounds import procedural_background
from hdrvideo.synth.tones import TEXTURE_PX, skin_texture

SPLITS: Final = ("train", "test")
KINDS: Final = ("person", "skin", "background", "motion", "harvest")
PROCEDURAL: Final = "procedural:"
N_PROCEDURAL: Final = 400
MAX_SIDE_PX: Final = 1280

# Fixed for ever: another salt would mix people of the test set into training. With this one the
# four test skins among MakeHuman's twenty are light and dark, young and old, of women and men.
_SALT: Final = "hdrvideo-7"
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_VIDEOS: Final = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
_FRAMES_PER_CLIP: Final = 6


def split_of(kind: str, name: str) -> str:
    """Say to which split a thing belongs: about one in five is ``test``, the others ``train``.

    Frames of one clip go together, and folders do not count, so that a picture's split is the same
    from whichever folder it was found.

    Args:
        kind: One of :data:`KINDS`.
        name: The thing's name, such as ``procedural:7`` or ``room/table.jpg``.

    Raises:
        SettingsError: The kind is unknown.
    """
    if kind not in KINDS:
        raise SettingsError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if kind == "background":
        name = name.rsplit("#", 1)[0].rsplit("/", 1)[-1]
    digest = hashlib.sha256(f"{_SALT}:{kind}:{name}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % 5 == 0 else "train"


@dataclass(frozen=True)
class Assets:
    """The skins and backgrounds of one split; make it with :meth:`find`.

    Attributes:
        split: ``train`` or ``test``.
        skins: Names of skins: a texture file's stem, or ``procedural:<number>``.
        backgrounds: Names of pictures: a path within its folder, that of a clip with ``#<frame>``,
            or ``procedural:<number>``.
        files: The file of each name that is not procedural, by kind and name.
    """

    split: str
    skins: tuple[str, ...]
    backgrounds: tuple[str, ...]
    files: dict[tuple[str, str], Path] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise SettingsError(f"split is {self.split!r}, expected one of {', '.join(SPLITS)}")

    @classmethod
    def find(
        cls, split: str, skins: Path | None = None, backgrounds: Sequence[Path] = ()
    ) -> "Assets":
        """List what a split may use: the files found, and the procedural ones always.

        Args:
            split: ``train`` or ``test``.
            skins: Folder of body textures in MakeHuman's layout, ``*_diffuse*.png``.
            backgrounds: Folders of pictures and clips, looked through with all their folders.

        Raises:
            SettingsError: No such split, or two files of one name.
            DataError: A folder is missing or holds nothing that can be used, or a clip cannot be
                opened.
        """
        files: dict[tuple[str, str], Path] = {}
        names: dict[str, list[str]] = {"skin": [], "background": []}
        found = [("skin", path.stem, path) for path in _skin_files(skins)]
        for folder in backgrounds:
            found += [("background", name, path) for name, path in _background_files(folder)]
        for kind, name, path in found:
            if (kind, name) in files:
                raise SettingsError(
                    f"two {kind}s are called {name!r}: {files[kind, name]} and {path}; rename one"
                )
            files[kind, name] = path
        files = {key: path for key, path in files.items() if split_of(*key) == split}
        for kind, name in files:
            if kind == "background" and files[kind, name].suffix.lower() in _VIDEOS:
                names[kind] += [f"{name}#{frame}" for frame in _clip_frames(files[kind, name])]
            else:
                names[kind].append(name)
        for kind, listed in names.items():
            made = [f"{PROCEDURAL}{n}" for n in range(N_PROCEDURAL)]
            listed += [name for name in made if split_of(kind, name) == split]
        return cls(split, tuple(names["skin"]), tuple(names["background"]), files)

    def skin_rgb_u8(self, name: str) -> U8:
        """Give a skin's body texture ``(512, 512, 3)``, read-only.

        Raises:
            SettingsError: No skin of this split has this name.
            DataError: Its file is broken.
        """
        _check_known("skin", name, self.skins, self.split)
        if name.startswith(PROCEDURAL):
            return _made_skin(procedural_number(name))
        return _read_skin(self.files["skin", name])

    def background_rgb_u8(self, name: str) -> U8:
        """Give a picture ``(H, W, 3)``, longest side at most 1280, read-only.

        Raises:
            SettingsError: No background of this split has this name.
            DataError: Its file is broken.
        """
        _check_known("background", name, self.backgrounds, self.split)
        if name.startswith(PROCEDURAL):
            return _made_background(procedural_number(name))
        stem, _, frame = name.rpartition("#")
        if ("background", stem) in self.files:
            return _read_frame(self.files["background", stem], int(frame))
        return _read_picture(self.files["background", name])

    def fingerprint(self) -> str:
        """Give a sha256 over all names and the contents of all files."""
        total = hashlib.sha256()
        for name in (self.split, *sorted(self.skins), "", *sorted(self.backgrounds)):
            total.update(name.encode() + b"\n")
        for key in sorted(self.files):
            info = self.files[key].stat()
            total.update(_content_hash(self.files[key], info.st_size, info.st_mtime_ns).encode())
        return total.hexdigest()


def procedural_number(name: str) -> int:
    """Give the number of a name such as ``procedural:7``."""
    return int(name.removeprefix(PROCEDURAL))


def _check_known(kind: str, name: str, known: tuple[str, ...], split: str) -> None:
    if name not in known:
        raise SettingsError(
            f"there is no {kind} {name!r} among the {len(known)} of the {split} split; "
            "give the folder that holds it, or a name from the list"
        )


def _skin_files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    files = sorted(path for path in _listing(folder) if _is_skin(path))
    if not files:
        raise DataError(f"no skin in {folder}; expected files named *_diffuse*.png")
    return files


def _is_skin(path: Path) -> bool:
    return "_diffuse" in path.stem and path.suffix.lower() in _PICTURES


def _background_files(folder: Path) -> list[tuple[str, Path]]:
    wanted = (*_PICTURES, *_VIDEOS)
    files = sorted(path for path in _listing(folder) if path.suffix.lower() in wanted)
    if not files:
        raise DataError(
            f"no picture or clip in {folder}; expected files ending in {', '.join(wanted)}"
        )
    return [(path.relative_to(folder).as_posix(), path) for path in files]


def _listing(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise DataError(f"folder {folder} does not exist; give a folder of pictures")
    return (path for path in folder.rglob("*") if path.is_file())


def _clip_frames(path: Path) -> list[int]:
    """Give the indices of a few frames spread over a clip."""
    clip = cv2.VideoCapture(str(path))
    count = int(clip.get(cv2.CAP_PROP_FRAME_COUNT)) if clip.isOpened() else 0
    clip.release()
    if count < 1:
        raise DataError(f"clip {path} cannot be opened or has no frames; remove or replace it")
    n = min(_FRAMES_PER_CLIP, count)
    return [(2 * k + 1) * count // (2 * n) for k in range(n)]


def _frozen(make: Callable[..., U8]) -> Callable[..., U8]:
    """Make a function's pictures read-only, because a cache hands them out again and again."""

    def made(*args: object) -> U8:
        picture = make(*args)
        picture.flags.writeable = False
        return picture

    return made


@lru_cache(maxsize=24)
@_frozen
def _made_skin(number: int) -> U8:
    return skin_texture(number)


@lru_cache(maxsize=24)
@_frozen
def _made_background(number: int) -> U8:
    return procedural_background(number)


@lru_cache(maxsize=24)
@_frozen
def _read_skin(path: Path) -> U8:
    size = TEXTURE_PX, TEXTURE_PX
    return np.asarray(cv2.resize(_decode(path), size, interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=24)
@_frozen
def _read_picture(path: Path) -> U8:
    return _at_most(_decode(path))


@lru_cache(maxsize=24)
@_frozen
def _read_frame(path: Path, frame: int) -> U8:
    clip = cv2.VideoCapture(str(path))
    clip.set(cv2.CAP_PROP_POS_FRAMES, frame)
    read, picture = clip.read()
    clip.release()
    if not read:
        raise DataError(f"frame {frame} of clip {path} cannot be decoded; remove or replace it")
    return _at_most(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _decode(path: Path) -> U8:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error) as error:
        raise DataError(f"picture {path} cannot be read ({error})") from error
    if picture is None:
        raise DataError(f"picture {path} is broken or no picture; remove or replace it")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _at_most(picture: U8) -> U8:
    height, width = picture.shape[:2]
    scale = MAX_SIDE_PX / max(height, width)
    if scale >= 1.0:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=8192)
def _content_hash(path: Path, size: int, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
