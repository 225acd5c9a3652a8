"""Our stages beside their rivals on the same hands: who is in, how each is scored, who is ahead.

Hands are given by the truth, so a stage is compared, not the follower before it. Samples are pooled
over clips (a value is the sum of all samples over their number); intervals resample clips, not
frames. A difference to one of ours is taken in each resample, over the same clips: that interval
says who is ahead, not whether two intervals overlap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from hdrvideo.datatypes import check_array
from hdrvideo.errors import ShapeError
from hdrvideo.synth.scene import RELATIONS
from hdrvideo.validate.averages import interval, ratio, resampled_ratios
from hdrvideo.validate.metrics import F64

POSE: Final = "pose"
MASKS: Final = "masks"
PAINTING: Final = "painting"
STAGES: Final = (POSE, MASKS, PAINTING)
OURS: Final = "ours"
RIVAL: Final = "rival"
PLAIN: Final = "baseline"
KINDS: Final = (OURS, RIVAL, PLAIN)
INTERACTING: Final = "interacting"
# Clips of each group, by their relation.
GROUPS: Final = {
    "all": RELATIONS,
    INTERACTING: ("touching", "crossing", "interlocked"),
    **{name: (name,) for name in RELATIONS if name != "none"},
}
BETTER: Final = "better"
WORSE: Final = "worse"
ALIKE: Final = "not told apart"


@dataclass(frozen=True)
class Measure:
    """A number that is taken of every sample of a stage.

    Attributes:
        stage: One of :data:`STAGES`.
        name: Says the protocol and ends with the unit.
        head: A column's head.
        unit: Of the value.
        is_better: ``higher`` or ``lower``.
        digits: Behind the point.
        text: What it is, in a line.
        decides: Differences in it are told, and who is ahead.
    """

    stage: str
    name: str
    head: str
    unit: str
    is_better: str
    digits: int
    text: str
    decides: bool = False


PERCEPTUAL: Final = "bare_hole_squeezenet_distance"
# The first three of a stage that have values are drawn.
MEASURES: Final = (
    Measure(
        *(POSE, "mpjpe_wrist_20j_mm", "MPJPE", "mm", "lower", 1),
        "mean distance of the 20 joints beside the wrist, wrists together, nothing scaled: joints "
        "in space as the system says them",
        decides=True,
    ),
    Measure(
        *(POSE, "pa_mpjpe_21j_mm", "PA-MPJPE", "mm", "lower", 1),
        "mean distance of the 21 joints after Procrustes with scale, no reflection",
        decides=True,
    ),
    Measure(
        *(POSE, "epe_palm_pct", "2D error", "% of palm", "lower", 1),
        "mean distance of the 21 joints in the picture, in the palm's length at its depth",
        decides=True,
    ),
    Measure(
        *(POSE, "pck_0.2palm_pct", "PCK@0.2", "%", "higher", 1),
        "joints within 0.2 palm lengths in the picture",
    ),
    Measure(
        *(POSE, "mpjpe_wrist_20j_lifted_mm", "MPJPE, lifted", "mm", "lower", 1),
        "as MPJPE, but every system's joints are first put into the true camera alike, with an "
        "adult's bones and where they lie in the picture, as `annotate` and `validate set` do",
    ),
    Measure(
        *(POSE, "mrrpe_mm", "MRRPE", "mm", "lower", 0),
        "error of the way from the right to the left wrist, lifted; its depth is the lift's, or "
        "the net's own where it tells one (InterNet, HASM)",
    ),
    Measure(
        *(MASKS, "mask_iou_hidden_5pct", "IoU hidden part", "0-1", "higher", 3),
        "intersection over union of the hidden part (the whole without the seen part that was "
        "told, or that the system says) of hands that are 5 % hidden or more",
        decides=True,
    ),
    Measure(
        *(MASKS, "mask_iou_amodal_hidden_5pct", "IoU whole, of hidden", "0-1", "higher", 3),
        "intersection over union of the whole hand's mask, of the same hands",
        decides=True,
    ),
    Measure(
        *(MASKS, "mask_iou_amodal", "IoU whole, of all", "0-1", "higher", 3),
        "the same of all hands, hidden or not",
    ),
    Measure(
        *(PAINTING, "bare_hole_l1", "L1 hidden part", "0-1", "lower", 4),
        "mean absolute colour difference in the hand's hidden part",
        decides=True,
    ),
    Measure(
        *(PAINTING, "bare_hole_psnr_db", "PSNR hidden part", "dB", "higher", 2),
        "peak signal-to-noise ratio there, mean over hands",
    ),
    Measure(
        *(PAINTING, PERCEPTUAL, "SqueezeNet", "distance", "lower", 4),
        "distance of SqueezeNet 1.0's features there; not LPIPS",
        decides=True,
    ),
    Measure(
        *(PAINTING, "bare_hole_laplacian", "Laplacian", "distance", "lower", 4),
        "difference of the Laplacian pyramids of 4 levels there: detail",
        decides=True,
    ),
    Measure(
        *(PAINTING, "bare_removed_l1", "L1 removed", "0-1", "lower", 4),
        "mean absolute colour difference where the other hand is seen",
    ),
)


def measures_of(stage: str) -> tuple[Measure, ...]:
    """Give a stage's measures, in their order."""
    return tuple(measure for measure in MEASURES if measure.stage == stage)


@dataclass(frozen=True)
class Entrant:
    """A system in a comparison: a row of the table.

    Attributes:
        stage: One of :data:`STAGES`.
        name: Its own within the stage.
        kind: One of :data:`KINDS`; a baseline is what ours stands on, or a way without a net.
        given: What it is told and looks at.
        weights: ``shipped``, a file's name, ``not given``, or ``none`` (there is no net).
        trained_on: Pictures or steps that the weights are known to have been taught with, in
            words; empty = not known.
        parameters: Of its nets; None = there is no net.
        multiply_adds: Of a call: one hand's crop, or both hands; likewise.
        terms: What it knows, then what those know that are given more and that it is compared with
            all the same; entrants of a stage that share none of these are not compared.
        is_reference: One of ours that the others are compared with.
    """

    stage: str
    name: str
    kind: str
    given: str
    weights: str
    trained_on: str = ""
    parameters: int | None = None
    multiply_adds: int | None = None
    terms: tuple[str, ...] = ("",)
    is_reference: bool = False

    def __post_init__(self) -> None:
        for name, known in (("stage", STAGES), ("kind", KINDS)):
            if getattr(self, name) not in known:
                raise ShapeError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}"
                )


# Resamples of fewer clips say little: two that agree already leave 0 out.
LEAST_CLIPS: Final = 6


@dataclass
class Tally:
    """What one entrant has scored so far.

    Attributes:
        total: ``(C, M)`` sums of samples by clip and measure.
        count: ``(C, M)`` their numbers.
        seconds: Of every call that was timed.
    """

    total: F64
    count: Any
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def empty(cls, stage: str, n_clips: int) -> "Tally":
        """Begin with nothing."""
        shape = (n_clips, len(measures_of(stage)))
        return cls(np.zeros(shape), np.zeros(shape, np.int64))

    def add(self, clip: int, samples: F64) -> None:
        """Add samples ``(N, M)`` of a clip; NaN = none.

        Raises:
            ShapeError: There is another number of measures.
        """
        check_array("samples", samples, (None, self.total.shape[1]), "float64")
        known = np.isfinite(samples)
        self.total[clip] += np.where(known, samples, 0).sum(axis=0)
        self.count[clip] += known.sum(axis=0)


@dataclass(frozen=True)
class Cell:
    """A value with its 95 % interval.

    Attributes:
        value: NaN without samples.
        low: NaN with samples of fewer than two clips.
        high: Likewise.
        n_samples: Hands (MRRPE: frames).
        n_clips: Clips that have some.
    """

    value: float
    low: float
    high: float
    n_samples: int
    n_clips: int


@dataclass(frozen=True)
class Standing:
    """An entrant's scores.

    Attributes:
        entrant: Whose.
        ms: Median milliseconds of a call; NaN = it was not run.
        cells: By group, then by the measure's name; empty = it was not run.
        lead: By the name of a reference on shared terms, group and measure's name: the entrant's
            value less the reference's, over the same clips; its samples are the entrant's.
    """

    entrant: Entrant
    ms: float
    cells: dict[str, dict[str, Cell]]
    lead: dict[str, dict[str, dict[str, Cell]]]


def standings(
    entrants: Sequence[Entrant],
    tallies: dict[str, Tally],
    relations: Sequence[str],
    *,
    n_bootstrap: int,
    seed: int,
) -> list[Standing]:
    """Score the entrants of one stage.

    Args:
        entrants: All of one stage.
        tallies: By name, of those that were run.
        relations: ``(C,)`` of the clips.
        n_bootstrap: Resamples of clips behind the intervals; 0 = none.
        seed: Of the resamples; entrants share them.

    Raises:
        SettingsError: ``n_bootstrap`` is negative.
    """
    found: list[Standing] = []
    references = [e for e in entrants if e.is_reference and e.name in tallies]
    rows = {
        group: [c for c, relation in enumerate(relations) if relation in members]
        for group, members in GROUPS.items()
    }
    rows = {group: clips for group, clips in rows.items() if clips}
    for entrant in entrants:
        tally = tallies.get(entrant.name)
        if tally is None:
            found.append(Standing(entrant, math.nan, {}, {}))
            continue
        names = [measure.name for measure in measures_of(entrant.stage)]
        cells: dict[str, dict[str, Cell]] = {}
        lead: dict[str, dict[str, dict[str, Cell]]] = {
            e.name: {} for e in references if e != entrant and set(e.terms) & set(entrant.terms)
        }
        for group, clips in rows.items():
            cells[group] = _cells(names, tally, None, clips, n_bootstrap, seed)
            for name, groups in lead.items():
                groups[group] = _cells(names, tally, tallies[name], clips, n_bootstrap, seed)
        ms = 1e3 * float(np.median(tally.seconds)) if tally.seconds else math.nan
        found.append(Standing(entrant, ms, cells, lead))
    return found


def _cells(
    names: Sequence[str],
    tally: Tally,
    less: Tally | None,
    clips: list[int],
    n_bootstrap: int,
    seed: int,
) -> dict[str, Cell]:
    """Give values by name, or their differences to another tally's."""

    def averages(of: Tally) -> tuple[F64, F64]:
        total, count = of.total[clips], of.count[clips]
        drawn = resampled_ratios(total, count, n_bootstrap=n_bootstrap, seed=seed)
        return ratio(total.sum(axis=0), count.sum(axis=0)), drawn

    value, drawn = averages(tally)
    if less is not None:
        other_value, other_drawn = averages(less)
        value, drawn = value - other_value, drawn - other_drawn
    n_samples, n_clips = tally.count[clips].sum(axis=0), (tally.count[clips] > 0).sum(axis=0)
    cells = {}
    for m, name in enumerate(names):
        ends = interval(drawn[:, m]) if n_clips[m] >= 2 else (math.nan, math.nan)
        cells[name] = Cell(float(value[m]), *ends, int(n_samples[m]), int(n_clips[m]))
    return cells


def verdict(measure: Measure, lead: Cell) -> str:
    """Say how an entrant stands to a reference; nothing where there is no interval.

    Args:
        measure: What was measured.
        lead: The entrant's value less the reference's.

    Returns:
        :data:`BETTER` or :data:`WORSE` where the interval leaves 0 out, else :data:`ALIKE`; nothing
        from fewer than :data:`LEAST_CLIPS` clips.
    """
    if lead.n_clips < LEAST_CLIPS or not (math.isfinite(lead.low) and math.isfinite(lead.high)):
        return ""
    if lead.low <= 0 <= lead.high:
        return ALIKE
    return BETTER if (lead.low > 0) == (measure.is_better == "higher") else WORSE
