"""The field's published protocols as values: a name that says all, and scores that do not mix.

A name reads ``<measure>_<work>_<alignment>[_<scale>]_<joints>[_found]_<unit>[<set>_<split>...]``,
such as ``mpjpe_interhand_wrist_42j_two_zero_wrists_mm[ih26m_test_all]``. No scale word = nothing is
scaled. ``found`` = hands that the prediction lacks are left out and counted aside; the published
protocols know no missing hand, so without that word one is an error.

Two scores may be averaged or compared only if their names are equal; all else is a
:class:`ProtocolError`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, Bool, check_array
from hdrvideo.errors import ProtocolError, ShapeError
from hdrvideo.validate.averages import interval, ratio, resampled_ratios
from hdrvideo.validate.field_hands import FieldPrediction, FieldTruth
from hdrvideo.validate.metrics import F64

ALIGNMENTS: Final = {
    "unaligned": "none",
    "wrist": "each hand's wrist at the origin",
    "right_wrist": "both hands by the right wrist",
    "middle_mcp": "each hand's middle knuckle at the origin",
    "procrustes": "best rotation and translation",
    "procrustes_or_mirror": "best rotation or reflection, and translation",
    "": "none, no positions are compared",
}
SCALES: Final = {
    "": "none",
    "true_bone_scale": "wrist-to-middle-knuckle bone made as long as the true one",
    "best_scale": "best scale",
}
# How samples become one number.
AVERAGES: Final = {
    "pooled": "all samples alike",
    "joint_means": "mean of each joint over samples, then over the joints of both sides",
    "hand_means": "mean of each side over samples, then over the sides",
}
# Unit and how a name ends.
UNITS: Final = {"mm": "mm", "px": "px", "0-1": ""}
# Which frames, by the hands that the set calls there.
SUBSETS: Final = {"": "all", "all": "all", "sh": "one hand", "ih": "both hands"}
_WORD: Final = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Errors:
    """What a protocol measures of each frame.

    Attributes:
        value: ``(N, H, J)`` float64: H hands (1 = of the frame), J joints (1 = of the hand). NaN
            where the prediction has nothing.
        counted: The same shape, bool: what the protocol counts.
    """

    value: F64
    counted: Bool

    def __post_init__(self) -> None:
        check_array("value", self.value, (None, None, None), "float64")
        check_array("counted", self.counted, self.value.shape, "bool")


@dataclass(frozen=True)
class Protocol:
    """How a number is made; the name is derived from it.

    Attributes:
        measure: Such as ``mpjpe``.
        work: Whose protocol.
        alignment: One of :data:`ALIGNMENTS`.
        scale: One of :data:`SCALES`.
        joints: What is averaged, such as ``42j_two_zero_wrists``; may be empty.
        average: One of :data:`AVERAGES`.
        unit: One of :data:`UNITS`.
        is_better: ``higher`` or ``lower``.
        data_set: Which set the truth is from.
        split: Which part of it.
        subset: One of :data:`SUBSETS`.
        text: What it is, in a line.
        source: Where the rule was read.
        errors: Measures frames.
        found: Missing hands are left out.
        hidden: Only hands of this bin of hidden share, such as ``25_50``; empty = all.
    """

    measure: str
    work: str
    alignment: str
    scale: str
    joints: str
    average: str
    unit: str
    is_better: str
    data_set: str
    split: str
    subset: str
    text: str
    source: str
    errors: Callable[[FieldPrediction, FieldTruth], Errors]
    found: bool = False
    hidden: str = ""

    def __post_init__(self) -> None:
        choices: dict[str, Any] = {
            "alignment": ALIGNMENTS,
            "scale": SCALES,
            "average": AVERAGES,
            "unit": UNITS,
            "subset": SUBSETS,
            "is_better": ("higher", "lower"),
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise ProtocolError(f"{name} is {value!r}, expected one of {', '.join(known)}")
        for name in ("measure", "work", "data_set", "split"):
            value = getattr(self, name)
            if not _WORD.fullmatch(value):
                raise ProtocolError(f"{name} is {value!r}, expected words such as 's0_test'")

    @property
    def name(self) -> str:
        """Says the whole protocol; equal names are equal protocols."""
        found = "found" if self.found else ""
        words = (self.measure, self.work, self.alignment, self.scale, self.joints, found)
        where = (self.data_set, self.split, self.subset, self.hidden and f"hidden_{self.hidden}")
        return f"{_joined(*words, UNITS[self.unit])}[{_joined(*where)}]"

    def on(self, *, split: str | None = None, subset: str | None = None) -> "Protocol":
        """Give the same protocol for another split or subset.

        Raises:
            ProtocolError: There is no such subset, or the split is no word.
        """
        return replace(
            self,
            split=self.split if split is None else split,
            subset=self.subset if subset is None else subset,
        )

    def of_found(self) -> "Protocol":
        """Give the same protocol over the hands that the prediction has."""
        return replace(self, found=True)


def _joined(*words: str) -> str:
    return "_".join(word for word in words if word)


@dataclass(frozen=True, eq=False)
class FieldScore:
    """A number with its protocol and the samples behind it.

    Attributes:
        protocol: How it was made.
        value: NaN without samples.
        low: Lower end of the 95 % interval (clips resampled); NaN without resamples or with
            samples of fewer than two clips.
        high: Upper end.
        n_samples: Number of hands, or of frames where a frame is the sample.
        n_missing: Hands that counted and were left out because the prediction lacks them.
        errors: ``(N, H, J)`` what was averaged; NaN = not counted.
        clips: ``(N,)`` names of the frames' clips; None = not told.
    """

    protocol: Protocol
    value: float
    low: float
    high: float
    n_samples: int
    n_missing: int
    errors: F64
    clips: NDArray[Any] | None

    @property
    def samples(self) -> F64:
        """``(N, H)`` mean of each sample; NaN = none."""
        known = np.isfinite(self.errors)
        return ratio(np.where(known, self.errors, 0).sum(axis=-1), known.sum(axis=-1))

    def minus(self, other: "FieldScore") -> float:
        """Give how much larger this value is.

        Raises:
            ProtocolError: The other is of another protocol.
        """
        same_protocol([self, other])
        return self.value - other.value


def same_protocol(scores: Sequence[FieldScore]) -> Protocol:
    """Give the one protocol of some scores.

    Raises:
        ProtocolError: There are several, or no score.
    """
    names = list(dict.fromkeys(score.protocol.name for score in scores))
    if len(names) != 1:
        raise ProtocolError(
            f"scores of {len(names)} protocols ({', '.join(names) or 'none'}) cannot be averaged "
            "or compared; score the same predictions under one"
        )
    return scores[0].protocol


def score(
    prediction: FieldPrediction,
    truth: FieldTruth,
    protocol: Protocol,
    *,
    clips: Sequence[Any] | NDArray[Any] | None = None,
    n_bootstrap: int = 0,
    seed: int = 0,
) -> FieldScore:
    """Score predictions under a protocol.

    Args:
        prediction: Of the truth's frames, in their order.
        truth: The truth.
        protocol: One of :data:`hdrvideo.validate.field_protocols.FIELD_PROTOCOLS`, or one made of
            it by :meth:`Protocol.on` and :meth:`Protocol.of_found`.
        clips: ``(N,)`` the clip, or capture, of each frame; frames of one are no independent
            samples. Without it there is no interval.
        n_bootstrap: Number of resamples of clips; 0 = no interval.
        seed: Of the resamples.

    Raises:
        ProtocolError: A hand that counts has no prediction and the protocol is not of found ones.
        ShapeError: Arrays do not fit, or one that the protocol needs is missing.
        SettingsError: ``n_bootstrap`` is negative.
    """
    if len(truth.valid) != (prediction.n_frames or len(truth.valid)):
        raise ShapeError(
            f"prediction has {prediction.n_frames} frames and the truth {len(truth.valid)}; "
            "protocols want one answer a frame, in the truth's order"
        )
    errors = protocol.errors(prediction, truth)
    n_hands = truth.hands.sum(axis=1)
    wanted = {"sh": n_hands == 1, "ih": n_hands == N_SIDES}.get(protocol.subset)
    counted = errors.counted if wanted is None else errors.counted & wanted[:, None, None]
    is_missing = np.asarray((counted & np.isnan(errors.value)).any(axis=-1))
    n_missing = int(is_missing.sum())
    if n_missing and not protocol.found:
        n_all = int(counted.any(axis=-1).sum())
        raise ProtocolError(
            f"{protocol.name}: {n_missing} of {n_all} samples have no prediction, and this "
            "protocol counts all; fill them in, or score protocol.of_found()"
        )
    value = np.where(counted & ~is_missing[..., None], errors.value, np.nan)
    names = None if clips is None else np.asarray(clips)
    if names is not None and names.shape != (len(value),):
        raise ShapeError(f"clips are {names.shape}, expected one for each of {len(value)} frames")
    return score_of_errors(protocol, value, n_missing, names, n_bootstrap, seed)


def pooled(scores: Sequence[FieldScore], *, n_bootstrap: int = 0, seed: int = 0) -> FieldScore:
    """Put the samples of several scores of one protocol together, as if scored at once.

    Raises:
        ProtocolError: The scores are of several protocols, or there is none.
    """
    protocol = same_protocol(scores)
    clips = [s.clips for s in scores if s.clips is not None]
    return score_of_errors(
        protocol,
        np.concatenate([s.errors for s in scores]),
        sum(s.n_missing for s in scores),
        np.concatenate(clips) if len(clips) == len(scores) else None,
        n_bootstrap,
        seed,
    )


def score_of_errors(
    protocol: Protocol,
    errors: F64,
    n_missing: int,
    clips: NDArray[Any] | None,
    n_bootstrap: int,
    seed: int,
) -> FieldScore:
    """Make a score of what was measured.

    Args:
        protocol: How.
        errors: ``(N, H, J)``, NaN = not counted.
        n_missing: See :class:`FieldScore`.
        clips: ``(N,)`` or None.
        n_bootstrap: As in :func:`score`.
        seed: Likewise.
    """
    known = np.isfinite(errors)
    total = _cells(np.where(known, errors, 0), protocol.average)
    count = _cells(known, protocol.average)
    low = high = float("nan")
    if clips is not None and n_bootstrap:
        _, which = np.unique(clips, return_inverse=True)
        n_clips = int(which.max(initial=-1)) + 1
        sums, counts = np.zeros((n_clips, total.shape[1])), np.zeros((n_clips, total.shape[1]), int)
        np.add.at(sums, which, total)
        np.add.at(counts, which, count)
        if (counts.sum(axis=1) > 0).sum() >= 2:
            drawn = resampled_ratios(sums, counts, n_bootstrap=n_bootstrap, seed=seed)
            low, high = interval(_mean_of_known(drawn))
    value = float(_mean_of_known(ratio(total.sum(axis=0), count.sum(axis=0))))
    n_samples = int(known.any(axis=-1).sum())
    return FieldScore(protocol, value, low, high, n_samples, n_missing, errors, clips)


def _cells(values: NDArray[Any], average: str) -> NDArray[Any]:
    """Sum ``(N, H, J)`` to the ``(N, C)`` whose means are averaged."""
    if average == "joint_means":
        n_frames, n_hands, n_joints = values.shape
        return values.reshape(n_frames, n_hands * n_joints)
    by_hand: NDArray[Any] = values.sum(axis=-1)
    return by_hand if average == "hand_means" else by_hand.sum(axis=-1, keepdims=True)


def _mean_of_known(values: F64) -> F64:
    """Mean over the last axis of what is known; published scripts stop where a joint has none."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))
