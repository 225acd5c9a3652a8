"""Long CSV: the rows and columns of the track file as text, for spreadsheets, R and pandas."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from hdrvideo.files import whole_file
from hdrvideo.output.save import WINDOW_FRAMES
from hdrvideo.output.table import TRACK_SCHEMA, track_table
from hdrvideo.track import PoseTrack


def save_csv(track: PoseTrack, path: Path, overwrite: bool = False) -> Path:
    """Write one header line, then one line for every source frame, hand and joint.

    The columns are those of ``track.parquet``. A missing number is an empty field, a boolean is
    ``true`` or ``false``; numbers have as many digits as bring the same float32 back.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    # The names hold no comma, quote or line break, so that nothing ever needs quoting.
    options = arrow_csv.WriteOptions(include_header=False, quoting_style="none")
    with whole_file(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        file.write((",".join(TRACK_SCHEMA.names) + "\n").encode())
        for start in range(0, len(track), WINDOW_FRAMES):
            window = track_table(track.rows(start, start + WINDOW_FRAMES))
            arrow_csv.write_csv(_nan_to_null(window), file, options)
    return path


def _nan_to_null(table: Any) -> Any:
    columns = [
        pa.array(column.to_numpy(), from_pandas=True)
        if pa.types.is_floating(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)
