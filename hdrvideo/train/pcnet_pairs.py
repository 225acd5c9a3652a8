"""What PCNet learns from: visible masks with something cut off, and the thing that cut it.

After Zhan et al., "Self-Supervised Scene De-Occlusion" (CVPR 2020), and its released code
(deocclusion, Apache-2.0). A hand's visible mask is shown in its square; the *eraser* is another
hand's, in a square of its own, which is moved until the two squares overlap by a drawn share and
the eraser covers some of the hand. **Case 1** (four in five): the hand without the eraser is shown,
the hand is the answer: what lies under an eraser goes on. **Case 2**: the eraser without the hand
is shown, and the hand as it is: what lies over an eraser does not grow.

Where the facts leave it open: squares overlap by an area, shared between both directions at random;
after some moves another hand is the eraser, and after as many erasers the last one is taken as a
case 2, so that no batch is drawn for ever.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from hdrvideo.config import check_number
from hdrvideo.datatypes import Bool
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.rivals.pcnet_mask import hand_squares
from hdrvideo.rivals.squares import cut
from hdrvideo.synth.crops import load_crops
from hdrvideo.synth.scene import MIN_HAND_PIXELS
from hdrvideo.synth.stored import ShardPictures

_TRIES: Final = 12
# Pictures that may be drawn in vain before there are said to be no hands.
_EMPTY_DRAWS: Final = 1000


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn.

    Attributes:
        resolution_px: Side of the squares, a multiple of 16.
        cut_share: How often case 1 is drawn; else case 2.
        overlap: Least and most part of the hand's square that the eraser's covers.
        removed: From this part of the hand on, and below that, the eraser covers.
        shift_share: Greatest shift of a square to each side over its side.
        scale: Least and most that a square is enlarged.
        flip_share: How often a mask is mirrored.
    """

    resolution_px: int = 96
    cut_share: float = 0.8
    overlap: tuple[float, float] = (0.4, 1.0)
    removed: tuple[float, float] = (0.001, 0.9)
    shift_share: float = 0.2
    scale: tuple[float, float] = (0.8, 1.2)
    flip_share: float = 0.5

    def __post_init__(self) -> None:
        check_number("PairSettings.resolution_px", self.resolution_px, 16, 4096, whole=True)
        if self.resolution_px % 16:
            raise SettingsError(
                f"PairSettings.resolution_px is {self.resolution_px}, expected a multiple of 16"
            )
        for name in ("cut_share", "shift_share", "flip_share"):
            check_number(f"PairSettings.{name}", getattr(self, name), 0, 1)
        for name, high in (("overlap", 1.0), ("removed", 1.0), ("scale", 10.0)):
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) != 2:
                raise SettingsError(
                    f"PairSettings.{name} is {value!r}, expected two numbers, least and most"
                )
            low = 0.1 if name == "scale" else 0.0
            check_number(f"PairSettings.{name}, least,", value[0], low, high)
            check_number(f"PairSettings.{name}, most,", value[1], value[0], high)


@dataclass(frozen=True)
class MaskPair:
    """One example, ``(R, R)`` bool each.

    Attributes:
        modal: What is seen of the hand.
        eraser: What may lie over it.
        target: The hand.
    """

    modal: Bool
    eraser: Bool
    target: Bool


def draw_hand(mask: Bool, rng: np.random.Generator, settings: PairSettings) -> Bool:
    """Cut a mask's square out, moved, scaled and mirrored a little: ``(R, R)``."""
    square = hand_squares(torch.from_numpy(mask)[None])
    shift = torch.from_numpy(rng.uniform(-1, 1, 2).astype(np.float32)) * settings.shift_share
    square[:, :2] += shift * square[:, 2:]
    square[:, 2] *= float(rng.uniform(*settings.scale))
    there = torch.from_numpy(mask)[None, None].float()
    crop = cut(there, square, settings.resolution_px, mode="nearest")[0, 0] > 0
    return (crop.flip(-1) if rng.random() < settings.flip_share else crop).numpy()


def move_eraser(
    hand: Bool, eraser: Bool, rng: np.random.Generator, settings: PairSettings
) -> Bool | None:
    """Move an eraser over a hand once.

    Args:
        hand: ``(R, R)``.
        eraser: ``(R, R)`` in a square of its own.
        rng: Draws.
        settings: What overlap, and what removed part, are wanted.

    Returns:
        The eraser in the hand's square; None if it does not cover as much as is wanted.
    """
    side = len(hand)
    area = rng.uniform(*settings.overlap)
    across = rng.uniform(area, 1)
    steps = [round((1 - part) * side) * (1 if rng.random() < 0.5 else -1)
             for part in (area / across, across)]  # fmt: skip
    moved = np.zeros_like(eraser)
    to, of = zip(*(_shifted(step, side) for step in steps), strict=True)
    moved[to] = eraser[of]
    removed = (hand & moved).sum() / max(int(hand.sum()), 1)
    return moved if settings.removed[0] <= removed < settings.removed[1] else None


def _shifted(step: int, side: int) -> tuple[slice, slice]:
    """Give where places of an axis go when moved by a step, and where they come from."""
    low, high = max(step, 0), side + min(step, 0)
    return slice(low, high), slice(low - step, high - step)


def draw_pair(
    draw_mask: Callable[[], Bool], rng: np.random.Generator, settings: PairSettings
) -> MaskPair:
    """Draw a pair; see the head of this file.

    Args:
        draw_mask: Gives a visible mask ``(H, W)``.
        rng: Draws.
        settings: How.
    """
    hand = draw_hand(draw_mask(), rng, settings)
    is_cut = bool(rng.random() < settings.cut_share)
    eraser = np.zeros_like(hand)
    for _ in range(_TRIES):
        eraser = draw_hand(draw_mask(), rng, settings)
        for _ in range(_TRIES):
            moved = move_eraser(hand, eraser, rng, settings)
            if moved is not None and is_cut:
                return MaskPair(modal=hand & ~moved, eraser=moved, target=hand)
            if moved is not None:
                return MaskPair(modal=hand, eraser=moved & ~hand, target=hand)
    return MaskPair(modal=hand, eraser=eraser & ~hand, target=hand)


class VisibleHands:
    """Visible masks of hands, and nothing else: of stored made pictures, of harvested hands."""

    def __init__(self, made: Sequence[Path], crops: Path | None, crops_share: float) -> None:
        """Read the shards into memory, still packed; harvested masks are read when first drawn.

        Args:
            made: Folders of ``synth shards``, split train.
            crops: Folder of ``synth harvest``, or None.
            crops_share: How often a harvested hand is drawn.

        Raises:
            DataError: A folder holds nothing of use or is of the wrong split.
            ShapeError: The folder of crops is missing.
        """
        self._shards = [ShardPictures(folder, "train") for folder in made if crops_share < 1]
        self._ends = np.cumsum([len(s) for s in self._shards], dtype=int)
        self._crops = load_crops(crops, "train") if crops is not None and crops_share else ()
        self._crops_share = crops_share
        self._known: dict[int, Bool] = {}
        if crops_share and not len(self._crops):
            raise DataError(f"{crops} has no crop of split train; make some with synth harvest")
        if crops_share < 1 and not any(len(s) for s in self._shards):
            raise DataError(
                f"no picture in {', '.join(map(str, made)) or 'no folder'}; make some with "
                "synth shards"
            )

    def draw(self, rng: np.random.Generator) -> Bool:
        """Draw a mask ``(H, W)``; the same state of ``rng`` gives the same one.

        Raises:
            DataError: There are hardly any hands in the pictures.
        """
        if rng.random() < self._crops_share:
            return self._crop(int(rng.integers(len(self._crops))))
        for _ in range(_EMPTY_DRAWS):
            index, side = int(rng.integers(self._ends[-1])), int(rng.integers(2))
            k = int(np.searchsorted(self._ends, index, side="right"))
            shards = self._shards[k]
            visible: Bool = shards.masks(index - int(self._ends[k]) + len(shards))[0][side]
            if visible.sum() >= MIN_HAND_PIXELS:
                return visible
        raise DataError(
            f"{_EMPTY_DRAWS} pictures were drawn and no hand is seen in any; make others with "
            "synth shards"
        )

    def _crop(self, index: int) -> Bool:
        if index not in self._known:
            self._known[index] = self._crops[index].mask.numpy()
        return self._known[index]
