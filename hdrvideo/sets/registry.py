"""The sets by name, and the one way to open one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hdrvideo.errors import SettingsError
from hdrvideo.sets.aih import AihRender, AihSyn
from hdrvideo.sets.base import HandSet
from hdrvideo.sets.dexycb import DexYcb
from hdrvideo.sets.fpha import Fpha
from hdrvideo.sets.freihand import FreiHand
from hdrvideo.sets.hic import Hic
from hdrvideo.sets.ho3d import Ho3d
from hdrvideo.sets.interhand import PARTS, InterHand
from hdrvideo.sets.onehand10k import OneHand10K
from hdrvideo.sets.wholebody import WholeBodyHands

SETS: Final[Mapping[str, type[HandSet]]] = {
    kind.NAME: kind
    for kind in (
        *(InterHand, Hic, Ho3d, DexYcb, FreiHand, Fpha, WholeBodyHands, OneHand10K),
        *(AihSyn, AihRender),
    )
}
# Sets that have joints to learn and to be scored by.
JOINT_SETS: Final = tuple(name for name in SETS if not name.startswith("aih"))


def open_set(
    name: str,
    root: Path | str,
    split: str | None = None,
    *,
    part: str = "all",
    only_there: bool = False,
) -> HandSet:
    """Open a set: look for all its files, read its labels.

    Args:
        name: A key of :data:`SETS`.
        root: The set's folder; see ``docs/datasets.md``.
        split: One of the set's; None = the one that is scored.
        part: Of InterHand2.6M: ``all``, ``human`` or ``machine``.
        only_there: Leave out samples that lack a file.

    Raises:
        SettingsError: There is no such set, split or part.
        DataError: Files are missing or broken; all that are missing are told at once.
    """
    if name not in SETS:
        raise SettingsError(f"data set is {name!r}, expected one of {', '.join(SETS)}")
    kind = SETS[name]
    split = split or kind.TEST
    if kind is InterHand:
        return InterHand(root, split, part=part, only_there=only_there)
    if part != PARTS[0]:
        raise SettingsError(f"part is {part!r}, but only {InterHand.NAME} has parts")
    return kind(root, split, only_there=only_there)
