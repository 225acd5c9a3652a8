"""The formats a track can be exported to; a new one is one file and one line here."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from hdrvideo.errors import SettingsError
from hdrvideo.output import as_coco, as_csv, as_json, as_npz
from hdrvideo.track import PoseTrack


class Format(NamedTuple):
    """One export format.

    Attributes:
        write: Takes ``(track, path, overwrite)``, writes whole or not at all, gives the path.
        file_name: The name beside the track when the user names none.
    """

    write: Callable[[PoseTrack, Path, bool], Path]
    file_name: str


# No JSON may share its stem with a CSV: sleap-io reads `x.json` beside `x.csv` as its own metadata.
FORMATS: Final[dict[str, Format]] = {
    "npz": Format(as_npz.save_npz, "track.npz"),
    "csv": Format(as_csv.save_csv, "track_long.csv"),
    "json": Format(as_json.save_json, "track_frames.json"),
    "coco": Format(as_coco.save_coco, "track_coco.json"),
}


def export(track: PoseTrack, format: str, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a track in one of :data:`FORMATS`.

    Args:
        track: The track, one row for every source frame.
        format: A key of :data:`FORMATS`.
        path: Where it goes; see :func:`default_path`.
        overwrite: Replace a file that is already there.

    Returns:
        The file that was written.

    Raises:
        SettingsError: The format is not known.
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    return _format(format).write(track, Path(path), overwrite)


def default_path(track_path: Path | str, format: str) -> Path:
    """Give the place of an export beside its track file.

    Raises:
        SettingsError: The format is not known.
    """
    return Path(track_path).parent / _format(format).file_name


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise SettingsError(f"export format {name!r} is not known; use one of {', '.join(FORMATS)}")
    return FORMATS[name]
