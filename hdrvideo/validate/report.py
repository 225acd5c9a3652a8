"""A benchmark's result as numbers, and as Markdown, CSV, JSON and plain text."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hdrvideo.errors import ShapeError
from hdrvideo.files import whole_file
from hdrvideo.output.save import save_summary
from hdrvideo.validate.averages import LEVEL
from hdrvideo.validate.extras import ALL_METRICS
from hdrvideo.validate.protocols import Metric

# What the columns of a table are; ``clip`` is in the files only.
KINDS: Final = ("all", "relation", "hidden", "camera", "clip")
_TITLES: Final = {
    "relation": "By relation of the hands",
    "hidden": "By hidden share of the hand",
    "camera": "By camera",
}
_UNITS: Final = {m.name: m.unit for m in ALL_METRICS}
_NONE: Final = "–"


@dataclass(frozen=True)
class Score:
    """One metric over one group of samples.

    Attributes:
        metric: Name, see :data:`hdrvideo.validate.extras.ALL_METRICS`.
        kind: What the group is made by, one of :data:`KINDS`.
        group: Its name, such as ``crossing``.
        value: NaN without samples.
        low: Lower end of the 95 % interval, NaN with samples of fewer than two clips.
        high: Upper end.
        n_samples: Number of samples.
        n_clips: Number of clips that have some.
    """

    metric: str
    kind: str
    group: str
    value: float
    low: float
    high: float
    n_samples: int
    n_clips: int

    def __post_init__(self) -> None:
        if self.metric not in _UNITS:
            raise ShapeError(f"metric is {self.metric!r}, expected one of {', '.join(_UNITS)}")
        if self.kind not in KINDS:
            raise ShapeError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Report:
    """All scores of one set of tracks.

    Attributes:
        benchmark: Its name.
        version: Its version.
        tracks: Where the tracks came from.
        n_clips: Number of clips.
        n_frames: Number of frames.
        n_bootstrap: Number of resamples behind the intervals.
        seed: Of the resamples.
        scores: Metric by metric within group by group.
    """

    benchmark: str
    version: str
    tracks: str
    n_clips: int
    n_frames: int
    n_bootstrap: int
    seed: int
    scores: tuple[Score, ...]

    @property
    def metrics(self) -> list[Metric[Any]]:
        """The metrics that were scored."""
        names = {score.metric for score in self.scores}
        return [metric for metric in ALL_METRICS if metric.name in names]

    def score(self, metric: str, group: str = "all", kind: str = "all") -> Score:
        """Give one score.

        Raises:
            ShapeError: There is none of that name.
        """
        for score in self.scores:
            if (score.metric, score.kind, score.group) == (metric, kind, group):
                return score
        raise ShapeError(f"report has no {metric} of {kind} {group}; see Report.scores")

    def to_json(self) -> dict[str, Any]:
        """Give plain values; NaN stays and is null in the file."""
        head = {k: v for k, v in vars(self).items() if k not in ("scores", "n_bootstrap", "seed")}
        return {
            **head,
            "intervals": {
                "level": LEVEL,
                "method": "percentile bootstrap over clips",
                "resamples": self.n_bootstrap,
                "seed": self.seed,
            },
            "metrics": [
                {"name": m.name, "unit": m.unit, "better": m.is_better, "text": m.text}
                for m in self.metrics
            ],
            "scores": [asdict(score) for score in self.scores],
        }

    def to_csv(self) -> str:
        """Give one row a score; what is not known is empty."""
        out = io.StringIO()
        names = (*Score.__dataclass_fields__, "unit")
        table = csv.writer(out, lineterminator="\n")
        table.writerow(names)
        for score in self.scores:
            values = {**vars(score), "unit": _UNITS[score.metric]}
            table.writerow([_known(values[name]) for name in names])
        return out.getvalue()

    def to_markdown(self) -> str:
        """Give three tables; a cell is ``value [low, high] (samples)``."""
        lines = [f"# {self.benchmark} {self.version}: {self.tracks}", "", self._conditions(), ""]
        lines += ["In a cell: value [95 % interval] (number of samples).", ""]
        for kind, title in _TITLES.items():
            head, *rows = (f"| {' | '.join(row)} |" for row in self._table(kind, _long_cell))
            line = "|---" + "|---:" * (head.count("|") - 2) + "|"
            lines += [f"## {title}", "", head, line, *rows, ""]
        lines += ["## What they mean", ""]
        lines += [f"- `{m.name}` ({m.unit}): {m.text}." for m in self.metrics]
        return "\n".join(lines) + "\n"

    def to_text(self) -> str:
        """Give three tables in plain columns; a cell is ``value (samples)``."""
        lines = [f"{self.benchmark} {self.version}: {self.tracks}", self._conditions()]
        for kind, title in _TITLES.items():
            rows = self._table(kind, _short_cell)
            widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
            lines += ["", f"{title}: value (samples)"]
            for row in rows:
                cells = [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
                lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
        return "\n".join(lines) + "\n"

    def _conditions(self) -> str:
        return (
            f"{self.n_clips} clips, {self.n_frames} frames; intervals by {self.n_bootstrap} "
            f"resamples of clips (seed {self.seed})"
        )

    def _table(self, kind: str, cell: Callable[[Score], str]) -> list[list[str]]:
        """Give a head and a row for every metric; the table by relation has ``all`` as well."""
        kinds = ("all", kind) if kind == "relation" else (kind,)
        cells: dict[str, list[str]] = {m.name: [m.name] for m in self.metrics}
        groups = dict.fromkeys(s.group for s in self.scores if s.kind in kinds)
        for score in self.scores:
            if score.kind in kinds:
                cells[score.metric].append(cell(score))
        return [["metric", *groups], *cells.values()]


def write_report(report: Report, folder: Path | str, *, overwrite: bool = False) -> list[Path]:
    """Write ``report.md``, ``report.csv`` and ``report.json`` (strict: NaN is null).

    Raises:
        WriteError: A file exists, or cannot be written.
    """
    folder = Path(folder)
    paths = [folder / f"report.{kind}" for kind in ("md", "csv", "json")]
    for path, text in zip(paths, (report.to_markdown(), report.to_csv()), strict=False):
        with whole_file(path, overwrite=overwrite) as partial:
            partial.write_text(text, encoding="utf-8")
    save_summary(paths[-1], report.to_json(), overwrite=overwrite)
    return paths


def _known(value: object) -> object:
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def number_text(value: float, unit: str) -> str:
    """Print a value: three decimals of a share, a dash for what is missing."""
    if not math.isfinite(value):
        return _NONE
    if unit in ("0-1", "distance"):
        return f"{value:.3f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _short_cell(score: Score) -> str:
    return f"{number_text(score.value, _UNITS[score.metric])} ({score.n_samples})"


def _long_cell(score: Score) -> str:
    value, low, high = (
        number_text(n, _UNITS[score.metric]) for n in (score.value, score.low, score.high)
    )
    interval = "" if low == _NONE else f" [{low}, {high}]"
    return f"{value}{interval} ({score.n_samples})"
