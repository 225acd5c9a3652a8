"""The predictions of a set under every protocol that belongs to it, and the general ones.

What a protocol needs and ``validate set`` does not have is told beside its name; nothing is filled
in. Hands that were not read are left out under a name that says ``found``.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hdrvideo.errors import DataError, NotGivenError
from hdrvideo.files import whole_file
from hdrvideo.output.save import save_summary
from hdrvideo.validate.dexycb import DEXYCB
from hdrvideo.validate.field import FieldScore, Protocol, score
from hdrvideo.validate.field_hands import (
    FieldPrediction,
    FieldTruth,
    field_prediction,
    field_truth,
)
from hdrvideo.validate.field_protocols import FIELD_PROTOCOLS
from hdrvideo.validate.field_report import FieldRow, row_of, rows_to_markdown
from hdrvideo.validate.general import GENERAL, general_protocols
from hdrvideo.validate.ho3d import HO3D
from hdrvideo.validate.interhand import IH26M, SUBSETS
from hdrvideo.validate.metrics import F64
from hdrvideo.validate.report import number_text
from hdrvideo.validate.set_scores import SetPredictions
from hdrvideo.validate.tzionas import TZIONAS

INTERHAND: Final = "interhand2.6m"
# What protocols call the sets; the others have no protocol of their own, and their own name here.
_SETS: Final[Mapping[str, str]] = {
    INTERHAND: IH26M,
    "hic": TZIONAS,
    "ho3d": HO3D,
    "dexycb": DEXYCB,
}
# Sets of hands that are known whole or not at all.
_WHOLE_HANDS: Final = ("ho3d", "dexycb")
_NEEDS: Final[Mapping[str, str]] = {
    "vertices_cam_mm": "needs vertices; joints alone are read",
    "hand_scores": "needs chances that each hand is there; here the hands are given",
    "xyz_cam_mm": "needs joints in space, which the set does not label",
    "uv_px": "needs joints in the picture, which the set does not label",
}
_OTHER_TRUTH: Final[Mapping[str, str]] = {
    "intaghand": "needs the joints of the annotation's MANO meshes as its truth; the set's own "
    "joints are read",
}
_N_BOOTSTRAP: Final = 1000
# What may be NaN, and is null in JSON.
_NUMBERS: Final = ("value", "low", "high")


@dataclass(frozen=True)
class SetProtocols:
    """A set's predictions under its protocols.

    Attributes:
        rows: A row a number.
        not_scored: Names of protocols with the reason.
        notes: Other lines that a reader must know.
    """

    rows: tuple[FieldRow, ...]
    not_scored: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    def to_markdown(self, title: str) -> str:
        """Give the table, and below it what was not scored and why."""
        parts = [f"# {title}", rows_to_markdown(self.rows).strip()]
        parts += ["\n".join(f"- Not scored: `{name}`: {why}." for name, why in self.not_scored)]
        return "\n\n".join(part for part in (*parts, *self.notes) if part) + "\n"

    def to_text(self) -> str:
        """Give a line a number, for a terminal."""
        lines = [
            f"{number_text(row.value, row.unit):>7} {row.unit:3} {row.n_samples:8d}  {row.name}"
            for row in self.rows
        ]
        left = f"{len(self.not_scored)} protocols are not scored; protocols.md says why"
        return "\n".join([*lines, *([left] if self.not_scored else []), *self.notes])

    def write(
        self, folder: Path, title: str, head: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        """Write ``protocols.md`` and ``protocols.json`` (strict: NaN is null).

        Args:
            folder: Where.
            title: Of the page.
            head: What else the JSON says.
            overwrite: Replace files that are there.

        Raises:
            WriteError: A file exists, or cannot be written.
        """
        with whole_file(folder / "protocols.md", overwrite=overwrite) as partial:
            partial.write_text(self.to_markdown(title), encoding="utf-8")
        content = {
            **head,
            "rows": [asdict(row) for row in self.rows],
            "not_scored": [{"name": name, "reason": why} for name, why in self.not_scored],
            "notes": list(self.notes),
        }
        save_summary(folder / "protocols.json", content, overwrite=overwrite)


def load_protocols(path: Path) -> SetProtocols:
    """Read the ``protocols.json`` that :meth:`SetProtocols.write` left.

    Raises:
        DataError: The file is missing or broken, or is none of ours.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = content["rows"]
        for row in rows:
            row["published"] = tuple(row["published"])
            row |= {key: math.nan for key in _NUMBERS if row[key] is None}
        return SetProtocols(
            rows=tuple(FieldRow(**row) for row in rows),
            not_scored=tuple((one["name"], one["reason"]) for one in content["not_scored"]),
            notes=tuple(content["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"{path} holds no scores by protocols ({what}); make it with validate set"
        ) from error


def set_protocols(source: str, split: str) -> tuple[Protocol, ...]:
    """Give the protocols of a set: its own, then the general ones.

    Args:
        source: Name of the set.
        split: As protocols call it; those of a part of a split must not be called as the split.

    Raises:
        ProtocolError: ``split`` is no word.
    """
    data_set = _SETS.get(source, source.replace("-", "_"))
    own = (p.on(split=split) for p in FIELD_PROTOCOLS if p.data_set == data_set)
    subset = "all" if data_set == IH26M else ""
    return (*own, *general_protocols(data_set, split, subset=subset))


def score_protocols(found: SetPredictions, split: str, *, method: str) -> SetProtocols:
    """Score predictions under all protocols of their set.

    Args:
        found: What was read of the set, beside its labels.
        split: As :func:`set_protocols` has it.
        method: Whose predictions they are.

    Raises:
        ProtocolError: ``split`` is no word.
    """
    # Once, as sets have millions of hands.
    xyz_mm = [a.astype(np.float64) for a in (found.xyz_cam_mm, found.true_xyz_cam_mm)]
    hands = {
        "space": _in_space(found, *xyz_mm, whole=found.source in _WHOLE_HANDS),
        "whole": _in_space(found, *xyz_mm, whole=True),
        "picture": _in_picture(found),
    }
    clips = found.sequence if (found.sequence != "").any() else None
    rows: list[FieldRow] = []
    not_scored: list[tuple[str, str]] = []
    for protocol in set_protocols(found.source, split):
        of = "whole" if protocol.work == GENERAL else "space"
        seen = hands["picture" if protocol.unit == "px" else of]
        for one in _with_subsets(protocol):
            scored = _scored(one, *seen, clips)
            if isinstance(scored, FieldScore):
                rows.append(row_of(scored, method=method))
            else:
                not_scored.append((one.name, scored))
                # What all frames lack, those of one hand lack, too.
                if one is protocol:
                    break
    return SetProtocols(tuple(rows), tuple(not_scored))


def _with_subsets(protocol: Protocol) -> Iterator[Protocol]:
    """Give a protocol, and for one of all frames those of one and of two hands."""
    yield protocol
    if protocol.subset == "all" and protocol.unit == "mm":
        yield from (protocol.on(subset=subset) for subset in SUBSETS if subset != "all")


def _scored(
    protocol: Protocol, prediction: FieldPrediction, truth: FieldTruth, clips: Any
) -> FieldScore | str:
    """Give a score, or why there is none."""
    try:
        found = score(
            *(prediction, truth, protocol.of_found()), clips=clips, n_bootstrap=_N_BOOTSTRAP
        )
    except NotGivenError as error:
        return _NEEDS[error.array]
    if protocol.work in _OTHER_TRUTH:
        return _OTHER_TRUTH[protocol.work]
    if not found.n_samples:
        n = found.n_missing
        return (
            f"none of {n} hands that count was read"
            if n
            else "no hand has the labels that it counts"
        )
    # Where every hand has an answer it is the protocol as published.
    return found if found.n_missing else replace(found, protocol=protocol)


def _in_space(
    found: SetPredictions, said_mm: F64, true_mm: F64, *, whole: bool
) -> tuple[FieldPrediction, FieldTruth]:
    """Give hands in the camera; with ``whole``, those that are labelled in part do not count."""
    valid = found.valid_xyz
    if found.source == INTERHAND:
        # It counts joints that are annotated and in the picture.
        valid = valid & found.valid_uv
    if whole:
        valid = valid & valid.all(axis=-1, keepdims=True)
    if not found.valid_xyz.any():
        return field_prediction(), field_truth(valid, hands=found.present)
    prediction = field_prediction(xyz_cam_mm=said_mm)
    return prediction, field_truth(valid, xyz_cam_mm=true_mm, hands=found.present)


def _in_picture(found: SetPredictions) -> tuple[FieldPrediction, FieldTruth]:
    truth = field_truth(found.valid_uv, uv_px=found.true_uv_px, hands=found.present)
    return field_prediction(uv_px=found.uv_px), truth
