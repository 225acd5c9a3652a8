"""Published numbers, each under the protocol that it may be compared with.

``note`` says what is not certain. A protocol whose name is not here has no number to compare with.
Sources are where the number was read: a work's table, or what its repository says.
"""

from dataclasses import dataclass
from typing import Final

from hdrvideo.validate import dexycb, followups, hdr_protocol, ho3d, interhand
from hdrvideo.validate.field import Protocol

_IH_TABLE: Final = "table of HDR (poster), test, v1.0 all"
_INTERNET_NOTE: Final = "recalled, not verified"
_HDR_NOTE: Final = "whether the zero wrists are in HDR's mean was not released"
_HO3D_NOTE: Final = "version of the set not told where it was read, v2 is taken"
_DEFORMER_NOTE: Final = "whether Deformer's Procrustes may mirror was not released"


@dataclass(frozen=True)
class Published:
    """A number of someone else.

    Attributes:
        protocol: Name of its protocol.
        method: Whose.
        value: In the protocol's unit.
        source: Where it was read.
        note: What is not certain; may be empty.
    """

    protocol: str
    method: str
    value: float
    source: str
    note: str = ""


def _by_subset(
    protocol: Protocol, method: str, values: tuple[float, ...], source: str, note: str = ""
) -> list[Published]:
    """Give a method's SH, IH and ALL."""
    return [
        Published(protocol.on(subset=subset).name, method, value, source, note)
        for subset, value in zip(interhand.SUBSETS, values, strict=True)
    ]


def _named(protocols: tuple[Protocol, ...], start: str) -> str:
    (name,) = [p.name for p in protocols if p.name.startswith(start)]
    return name


def _interhand() -> list[Published]:
    digit = "DIGIT, results/results_digit_test.txt"
    kypt = "Keypoint Transformer, README"
    mrrpe, ap_h = interhand.MRRPE.name, interhand.AP_H.name
    return [
        *_by_subset(interhand.MPJPE, "InterNet", (12.16, 16.02, 14.21), _IH_TABLE),
        *_by_subset(interhand.MPJPE, "DIGIT", (10.73, 14.21, 12.59), digit),
        *_by_subset(interhand.MPJPE, "Keypoint Transformer", (10.88, 14.16, 12.62), kypt),
        Published(mrrpe, "InterNet", 32.57, "InterHand2.6M's paper", _INTERNET_NOTE),
        Published(mrrpe, "DIGIT", 29.04, digit),
        Published(mrrpe, "Keypoint Transformer", 29.50, kypt),
        Published(ap_h, "InterNet", 0.990, "InterHand2.6M's paper", _INTERNET_NOTE),
        Published(ap_h, "DIGIT", 0.991, digit),
        *(
            number
            for protocol in hdr_protocol.PROTOCOLS
            for number in _by_subset(protocol, "HDR", (8.51, 13.12, 10.97), _IH_TABLE, _HDR_NOTE)
        ),
    ]


def _followups() -> list[Published]:
    intaghand, interwild = "IntagHand, README", "InterWild, issue 16 (checkpoint of H+M)"
    return [
        Published(followups.INTAGHAND_MPJPE.name, "IntagHand", 8.79, intaghand),
        Published(followups.INTAGHAND_MPVPE.name, "IntagHand", 9.03, intaghand),
        *_by_subset(followups.INTERWILD_MPJPE, "InterWild", (12.75, 14.55, 13.65), interwild),
        *_by_subset(followups.INTERWILD_MPVPE, "InterWild", (9.58, 12.14, 11.55), interwild),
        Published(followups.INTERWILD_MRRPE.name, "InterWild", 26.74, interwild),
    ]


def _single_hands() -> list[Published]:
    readme = "HandOccNet, README"
    wrist, rigid = dexycb.HANDOCCNET
    mirror = _named(dexycb.PROTOCOLS, "mpjpe_dexycb_procrustes")
    area = _named(dexycb.PROTOCOLS, "auc_0_50mm_dexycb_procrustes")
    deformer = "slides of HandOccNet and Deformer"
    val_note = "what the released loader, which reads the file of val, gives"
    ho3d_starts = ("mpjpe_ho3d", "mpvpe_ho3d", "f_5mm_ho3d", "f_15mm_ho3d")
    return [
        Published(wrist.name, "HandOccNet", 14.04, readme),
        Published(rigid.name, "HandOccNet", 5.80, readme),
        Published(
            wrist.on(split="s0_val").name, "HandOccNet", 10.01, "HandOccNet, issue 16", val_note
        ),
        Published(
            rigid.on(split="s0_val").name, "HandOccNet", 4.52, "HandOccNet, issue 16", val_note
        ),
        Published(rigid.name, "Deformer", 5.22, deformer, _DEFORMER_NOTE),
        Published(mirror, "Deformer", 5.22, deformer, _DEFORMER_NOTE),
        Published(area, "Deformer", 0.896, deformer, _DEFORMER_NOTE),
        *(
            Published(
                _named(ho3d.PROTOCOLS, f"{start}_procrustes"),
                "HandOccNet",
                value,
                "slides of HandOccNet; aligned by issue 23",
                _HO3D_NOTE,
            )
            for start, value in zip(ho3d_starts, (9.1, 8.8, 0.564, 0.963), strict=True)
        ),
    ]


PUBLISHED: Final = (*_interhand(), *_followups(), *_single_hands())


def published_for(protocol: Protocol) -> list[Published]:
    """Give the numbers that a score of this protocol may stand beside; often none."""
    return [number for number in PUBLISHED if number.protocol == protocol.name]
