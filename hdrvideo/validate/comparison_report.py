"""A comparison as Markdown, JSON and a chart; see :mod:`hdrvideo.validate.comparison`."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hdrvideo.files import whole_file
from hdrvideo.output.save import save_summary
from hdrvideo.validate.averages import LEVEL
from hdrvideo.validate.comparison import (
    ALIKE,
    BETTER,
    GROUPS,
    INTERACTING,
    LEAST_CLIPS,
    MASKS,
    MEASURES,
    PAINTING,
    POSE,
    RIVAL,
    STAGES,
    WORSE,
    Cell,
    Measure,
    Standing,
    measures_of,
    verdict,
)
from hdrvideo.validate.comparison_chart import draw_comparison, write_png
from hdrvideo.validate.field_report import FieldRow
from hdrvideo.validate.report import number_text
from hdrvideo.validate.set_scores import SetScore

FILES: Final = ("table.md", "table.json", "table.png")
TITLES: Final = {
    POSE: "Pose: joints of hands that are given",
    MASKS: "Masks: the whole hand",
    PAINTING: "Painting: what is hidden, masks given",
}
PROTOCOLS: Final = {
    POSE: "Each hand that counts (present, 7 joints or more in the picture) is read from the "
    "square round its true joints, or both from the square round both whole masks. The camera "
    "is the true one. A sample (n) is a hand; of MRRPE a frame with both.",
    MASKS: "Whole masks in frame pixels of all hands that are in the picture, by side, cut at one "
    "half. Systems that are told the true visible masks complete them; those that look at the "
    "picture alone, or stand behind HASM on the picture alone, have to find the hands and their "
    "sides, too, in the square round what is seen of both. A sample (n) is a hand.",
    PAINTING: "Crops of 224 px round the true joints with the true masks, of hands of which 5 % or "
    "more is hidden, each frame by itself (HDRM without its memory). A sample (n) is a hand.",
}
_SETS_TOLD: Final = (
    "Plain scores of `validate set`: hands are given, each is read in the square round its true "
    "joints, turned by them."
)
_INTERNET_TOLD: Final = (
    " InterNet, which learns from upright pictures of both hands, reads one hand's turned square "
    "here, which it was never taught."
)
_NONE: Final = "–"
_SET_HEAD: Final = (
    *("set", "system", "hands of", "n", "2D error, % of palm", "PCK@0.2, %"),
    *("MPJPE, mm", "PA-MPJPE, mm", "MRRPE, mm"),
)


@dataclass(frozen=True)
class SetRow:
    """What a system scored on a group of a data set's hands."""

    data_set: str
    system: str
    score: SetScore


@dataclass(frozen=True)
class ProtocolRow:
    """What a system scored under one of a data set's own protocols."""

    data_set: str
    system: str
    row: FieldRow


@dataclass(frozen=True)
class Comparison:
    """All systems' scores, and how they came about.

    Attributes:
        benchmark: Its name.
        version: Its version.
        n_clips: Number of clips.
        n_frames: Frames that were looked at.
        every: One of so many.
        n_bootstrap: Resamples behind the intervals.
        seed: Of the resamples.
        machine: What times were measured on.
        standings: Stage by stage.
        sets: Plain scores on data sets.
        by_protocol: Scores on data sets under their own protocols.
    """

    benchmark: str
    version: str
    n_clips: int
    n_frames: int
    every: int
    n_bootstrap: int
    seed: int
    machine: dict[str, Any]
    standings: tuple[Standing, ...]
    sets: tuple[SetRow, ...] = ()
    by_protocol: tuple[ProtocolRow, ...] = ()

    def of(self, stage: str) -> list[Standing]:
        """Give a stage's standings."""
        return [standing for standing in self.standings if standing.entrant.stage == stage]

    def to_json(self) -> dict[str, Any]:
        """Give plain values; NaN stays and is null in the file."""
        head = {
            k: v for k, v in vars(self).items() if k not in ("standings", "sets", "by_protocol")
        }
        return {
            **head,
            "intervals": f"{LEVEL:.0%} percentile bootstrap over clips",
            "gflops": "a multiply-add counts as two; 2 x multiply_adds",
            "groups": {name: list(members) for name, members in GROUPS.items()},
            "protocols": PROTOCOLS,
            "measures": [asdict(measure) for measure in MEASURES],
            "standings": [asdict(standing) for standing in self.standings],
            "sets": [asdict(row) for row in self.sets],
            "by_protocol": [asdict(row) for row in self.by_protocol],
        }

    def to_markdown(self) -> str:
        """Give the tables of every stage, what they say in words, and what their columns mean."""
        lines = [f"# {self.benchmark} {self.version}: our stages beside their rivals", ""]
        lines += [self._conditions(), "", *(f"- {line}" for line in self.verdicts()), ""]
        for stage in STAGES:
            lines += [f"## {TITLES[stage]}", "", PROTOCOLS[stage], ""]
            lines += self._stage(stage)
        if self.sets:
            has_internet = any(row.system == "internet" for row in self.sets)
            lines += ["## Data sets", "", _SETS_TOLD + _INTERNET_TOLD * has_internet, ""]
            lines += [*_table(_SET_HEAD, [_set_cells(row) for row in self.sets]), ""]
        for data_set in dict.fromkeys(row.data_set for row in self.by_protocol):
            lines += [f"### {data_set} under its protocols", "", *self._protocols(data_set), ""]
        lines += ["## What the columns are", ""]
        lines += [f"- {m.head} ({m.unit}, {m.is_better} is better): {m.text}." for m in MEASURES]
        return "\n".join(lines) + "\n"

    def _protocols(self, data_set: str) -> list[str]:
        """Give a line a protocol, a column a system."""
        rows = [row for row in self.by_protocol if row.data_set == data_set]
        systems = list(dict.fromkeys(row.system for row in rows))
        names = list(dict.fromkeys(row.row.name for row in rows))
        cells = {(row.row.name, row.system): _protocol_cell(row.row) for row in rows}
        body = [[f"`{name}`", *(cells.get((name, s), _NONE) for s in systems)] for name in names]
        return _table(("protocol", *systems), body)

    def verdicts(self) -> list[str]:
        """Say of each of ours that others are compared with who is ahead on interacting hands.

        Only rivals that were run on the same terms are named.
        """
        words = {WORSE: "ahead of", ALIKE: "not told apart from", BETTER: "behind"}
        lines = []
        for stage in STAGES:
            for reference in self.of(stage):
                if not (reference.entrant.is_reference and reference.cells):
                    continue
                told = []
                for measure in self._decisive(stage):
                    found = self._named(reference, measure)
                    parts = [f"{words[v]} {', '.join(found[v])}" for v in words if v in found]
                    if parts:
                        told.append(f"{measure.head}: {', '.join(parts)}")
                text = "; ".join(told) or self._nothing_told(reference)
                lines.append(f"{stage}, interacting hands, **{reference.entrant.name}**: {text}.")
        return lines

    def _nothing_told(self, reference: Standing) -> str:
        name, others = reference.entrant.name, self.of(reference.entrant.stage)
        if any(other.entrant.kind == RIVAL and name in other.lead for other in others):
            return f"fewer than {LEAST_CLIPS} interacting clips, too few to tell"
        return "no rival was run on the same terms"

    def _named(self, reference: Standing, measure: Measure) -> dict[str, list[str]]:
        """Give the rivals' names by how they stand to a reference on interacting hands."""
        name = reference.entrant.name
        found: dict[str, list[str]] = {}
        for other in self.of(reference.entrant.stage):
            cell = other.lead.get(name, {}).get(INTERACTING, {}).get(measure.name)
            if other.entrant.kind == RIVAL and cell is not None:
                knows = other.entrant.terms[0]
                less = "" if knows in reference.entrant.terms else " (given less)"
                found.setdefault(verdict(measure, cell), []).append(other.entrant.name + less)
        return found

    def _decisive(self, stage: str) -> list[Measure]:
        return [measure for measure in self._measures(stage) if measure.decides]

    def _conditions(self) -> str:
        machine = self.machine
        frames = "all frames" if self.every == 1 else f"one frame in {self.every}"
        return (
            f"{self.n_clips} clips, {self.n_frames} frames ({frames}). In a cell: value [95 % "
            f"interval]; intervals by {self.n_bootstrap} resamples of clips (seed "
            f"{self.seed}), differences over the same clips. Interacting: clips of relation "
            f"{', '.join(GROUPS[INTERACTING])}. Every system gets the same hands, from the "
            "truth. GFLOPs (a multiply-add counts as two) and ms (median; all systems in turns) "
            "are of a call: one hand's crop, or both hands where a system looks at both; of masks "
            "always both, and what stands before a system is not in it. Plain torch "
            f"{machine.get('torch', '')} on {machine.get('processor', '')} "
            f"({machine.get('device', '')}, {machine.get('threads', '')} threads)."
        )

    def _stage(self, stage: str) -> list[str]:
        measures, rows = self._measures(stage), self.of(stage)
        who = [_who(standing) for standing in rows]
        lines = [*_table(("system", "kind", "looks at", "weights", "trained on"), who), ""]
        for group, title in ((INTERACTING, "Interacting hands"), ("all", "All hands")):
            head = ["system", "parameters, M", "GFLOPs", "ms", "n (clips)"]
            head += [f"{m.head}{'' if m.unit == '0-1' else f', {m.unit}'}" for m in measures]
            body = [
                [*_costs(standing), *_scores(standing.cells.get(group, {}), measures)]
                for standing in rows
            ]
            lines += [f"### {title}", "", *_table(head, body), ""]
        measure = measures[0]
        groups = [g for g in GROUPS if any(self._has(s, g, measure) for s in rows)]
        body = [
            [s.entrant.name, *(_cell(s.cells[g].get(measure.name), measure) for g in groups)]
            for s in rows
            if s.cells
        ]
        lines += [f"### By relation: {measure.head}", ""]
        lines += [*_table(["system", *groups], body), ""]
        for measure in self._decisive(stage):
            lines += self._differences(rows, measure)
        return lines

    def _measures(self, stage: str) -> list[Measure]:
        """Give the measures that any system has a value of."""
        rows = self.of(stage)
        found = [m for m in measures_of(stage) if any(self._has(s, "all", m) for s in rows)]
        return found or list(measures_of(stage))

    @staticmethod
    def _has(standing: Standing, group: str, measure: Measure) -> bool:
        cell = standing.cells.get(group, {}).get(measure.name)
        return cell is not None and cell.n_samples > 0

    def _differences(self, rows: list[Standing], measure: Measure) -> list[str]:
        names = [s.entrant.name for s in rows if s.entrant.is_reference and s.cells]
        body = []
        for standing in rows:
            if not standing.cells:
                continue
            cells = [standing.entrant.name]
            for name in names:
                cell = standing.lead.get(name, {}).get(INTERACTING, {}).get(measure.name)
                said = "" if cell is None else verdict(measure, cell)
                cells.append(f"{_cell(cell, measure, signed=True)} {said}".strip())
            body.append(cells)
        title = f"### Differences on interacting hands: {measure.head}"
        return [title, "", *_table(["system", *(f"less {name}" for name in names)], body), ""]


def write_comparison(made: Comparison, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write ``table.md``, ``table.json`` (strict: NaN is null) and ``table.png``.

    Raises:
        WriteError: A file exists, or cannot be written.
    """
    paths = [folder / name for name in FILES]
    with whole_file(paths[0], overwrite=overwrite) as partial:
        partial.write_text(made.to_markdown(), encoding="utf-8")
    save_summary(paths[1], made.to_json(), overwrite=overwrite)
    heads = {stage: TITLES[stage] for stage in STAGES}
    note = f"{made.benchmark} {made.version}: {made.n_clips} clips, {made.n_frames} frames"
    picture = draw_comparison(made.standings, heads, note)
    write_png(picture, paths[2], overwrite=overwrite)
    return paths


def cell_text(value: float, measure: Measure, *, signed: bool = False) -> str:
    """Print a value with the measure's digits; a dash for what is missing."""
    if not math.isfinite(value):
        return _NONE
    sign = "+" if signed else ""
    return f"{value:{sign}.{measure.digits}f}"


def _cell(cell: Cell | None, measure: Measure, *, signed: bool = False) -> str:
    if cell is None:
        return ""
    value, low, high = (
        cell_text(number, measure, signed=signed) for number in (cell.value, cell.low, cell.high)
    )
    return value if low == _NONE else f"{value} [{low}, {high}]"


def _who(standing: Standing) -> list[str]:
    entrant = standing.entrant
    return [entrant.name, entrant.kind, entrant.given, entrant.weights, entrant.trained_on or _NONE]


def _costs(standing: Standing) -> list[str]:
    entrant, ms = standing.entrant, standing.ms
    parameters, gflops = _NONE, _NONE
    if entrant.parameters is not None and entrant.multiply_adds is not None:
        parameters = f"{entrant.parameters / 1e6:.2f}"
        gflops = f"{2 * entrant.multiply_adds / 1e9:.2f}"
    return [entrant.name, parameters, gflops, f"{ms:.1f}" if math.isfinite(ms) else _NONE]


def _scores(cells: dict[str, Cell], measures: list[Measure]) -> list[str]:
    """Give the number of samples of the first measure, then values; other numbers in brackets."""
    if not cells:
        return [_NONE] * (1 + len(measures))
    n = cells[measures[0].name].n_samples
    values = []
    for measure in measures:
        cell = cells[measure.name]
        other = "" if cell.n_samples == n else f" ({cell.n_samples})"
        values.append(f"{_cell(cell, measure)}{other}")
    return [f"{n} ({cells[measures[0].name].n_clips})", *values]


def _set_cells(row: SetRow) -> list[str]:
    score = row.score
    values = (score.epe_palm, score.pck, score.mpjpe_mm, score.pa_mpjpe_mm, score.mrrpe_mm)
    return [
        *(row.data_set, row.system, score.group, f"{score.n_read} of {score.n_hands}"),
        *(f"{value:.1f}" if math.isfinite(value) else _NONE for value in values),
    ]


def _protocol_cell(row: FieldRow) -> str:
    if not math.isfinite(row.value):
        return _NONE
    return f"{number_text(row.value, row.unit)} {row.unit} ({row.n_samples})"


def _table(head: Any, body: list[list[str]]) -> list[str]:
    line = "|---" + "|---:" * (len(head) - 1) + "|"
    rows = [f"| {' | '.join(row)} |" for row in (head, *body)]
    return [rows[0], line, *rows[1:]]
