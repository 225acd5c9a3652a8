"""Scores under the field's protocols as rows of a table: Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hdrvideo.files import whole_file
from hdrvideo.output.save import save_summary
from hdrvideo.validate.averages import LEVEL
from hdrvideo.validate.field import ALIGNMENTS, AVERAGES, SCALES, FieldScore, Protocol, score
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth
from hdrvideo.validate.published import published_for
from hdrvideo.validate.report import number_text

_HEAD: Final = ("protocol", "method", "value", "unit", "better", "samples", "missing", "published")


@dataclass(frozen=True)
class FieldRow:
    """One number of one method.

    Attributes:
        method: Whose.
        name: The protocol's name.
        value: NaN without samples.
        unit: Of the value.
        is_better: ``higher`` or ``lower``.
        low: Lower end of the 95 % interval; NaN where there is none.
        high: Upper end.
        n_samples: Number of samples.
        n_missing: Hands left out because the method lacks them.
        alignment: In words.
        scale: In words.
        joints: What was averaged.
        average: How, in words.
        text: What the protocol is.
        source: Where its rule was read.
        published: Numbers that it may be compared with.
    """

    method: str
    name: str
    value: float
    unit: str
    is_better: str
    low: float
    high: float
    n_samples: int
    n_missing: int
    alignment: str
    scale: str
    joints: str
    average: str
    text: str
    source: str
    published: tuple[str, ...]


def row_of(scored: FieldScore, *, method: str) -> FieldRow:
    """Give a score's row."""
    p = scored.protocol
    return FieldRow(
        method=method,
        name=p.name,
        value=scored.value,
        unit=p.unit,
        is_better=p.is_better,
        low=scored.low,
        high=scored.high,
        n_samples=scored.n_samples,
        n_missing=scored.n_missing,
        alignment=ALIGNMENTS[p.alignment],
        scale=SCALES[p.scale],
        joints=p.joints,
        average=AVERAGES[p.average],
        text=p.text,
        source=p.source,
        published=tuple(
            f"{number.method} {number.value:g} ({number.source}"
            + (f"; {number.note})" if number.note else ")")
            for number in published_for(p)
        ),
    )


def field_row(
    prediction: FieldPrediction,
    truth: FieldTruth,
    protocol: Protocol,
    *,
    method: str,
    clips: Sequence[Any] | None = None,
    n_bootstrap: int = 0,
    seed: int = 0,
) -> FieldRow:
    """Score predictions and give the row; arguments and errors as :func:`score` has them."""
    scored = score(prediction, truth, protocol, clips=clips, n_bootstrap=n_bootstrap, seed=seed)
    return row_of(scored, method=method)


def rows_to_markdown(rows: Sequence[FieldRow]) -> str:
    """Give a table with a row a number, and what each protocol is below it."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---|---" + "|---:" + "|---" * 2 + "|---:" * 2 + "|---|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    lines += ["", f"In brackets: {LEVEL:.0%} interval over clips. Numbers of different protocols"]
    lines += [
        "cannot be compared, nor with a published one that does not stand in the same row.",
        "",
    ]
    meaning = {
        row.name: f"- `{row.name}`: {row.text}. Alignment: {row.alignment}; scale: {row.scale}; "
        f"average: {row.average}. By {row.source}."
        for row in rows
    }
    return "\n".join([*lines, *meaning.values()]) + "\n"


def write_rows(
    rows: Sequence[FieldRow], folder: Path | str, *, overwrite: bool = False
) -> list[Path]:
    """Write ``field.md`` and ``field.json`` (strict: NaN is null).

    Raises:
        WriteError: A file exists, or cannot be written.
    """
    markdown, plain = Path(folder) / "field.md", Path(folder) / "field.json"
    with whole_file(markdown, overwrite=overwrite) as partial:
        partial.write_text(rows_to_markdown(rows), encoding="utf-8")
    save_summary(plain, {"rows": [asdict(row) for row in rows]}, overwrite=overwrite)
    return [markdown, plain]


def _cells(row: FieldRow) -> list[str]:
    value, low, high = (number_text(n, row.unit) for n in (row.value, row.low, row.high))
    has_interval = row.low == row.low
    return [
        *(f"`{row.name}`", row.method, f"{value} [{low}, {high}]" if has_interval else value),
        *(row.unit, row.is_better, str(row.n_samples), str(row.n_missing)),
        "; ".join(row.published) or "none",
    ]
