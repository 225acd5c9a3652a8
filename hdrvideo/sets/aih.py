"""AIH, amodal interacting hands (Meng et al., ECCV 2022; CC-BY-NC 4.0): masks, and hands alone.

What HDR learns to take hands apart from: 256 px crops with a target hand, another one before it,
and the target alone as truth. There are no joints; side, masks and pictures only. Layout and rules
are those of HDR's ``explore_AIH.py`` and ``utils/data_utils.py``:

* ``AIH_syn``: crops of single hands with whole masks, and recipes that paste one over another.
  ``filtered_list/<annot>_<split>_sh_<side>_filtered.txt`` turns a recipe's places into picture
  numbers, ``syn_cfgs/all_<annot>_<split>_syn_cfgs.npy`` are the recipes, a pickled list (see
  :mod:`hdrvideo.sets.unpickle`). The other hand is always in front, its edge hard.
* ``AIH_render``: ``images/{r,l}_images/{IH,DR_gt}`` and ``labels/in_{r,l}_images/{r_amodal or
  l_amodal, rl_visible}``; in the latter 1 is the right hand, 2 the left one. The whole of the other
  hand is not given: what is seen of it stands for it.

Departures from the released loader: a left target is shown as it is, not mirrored (our crops mirror
it); the colour gain that it draws anew at each load is left to our own lessons; a target whose mask
is empty is not replaced by another sample (:attr:`AihPicture.is_empty` tells it).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_SIDES, U8, Bool, check_array
from hdrvideo.errors import DataError
from hdrvideo.hand import LEFT, RIGHT, SIDES, side_index
from hdrvideo.sets.base import HandSet, Listing, reading, tell_missing
from hdrvideo.sets.sample import SetSample, labels_of, load_rgb_u8
from hdrvideo.sets.unpickle import read_object_array

F64 = NDArray[np.float64]

_SIDE_PX: Final = 256
# The loader's crop rectangle, (0, 0, 255, 255) into 256 px.
_RECT_PX: Final = 255.0
_NO_PARTNER: Final = -1000
_ANNOTATIONS: Final = ("human_annot", "machine_annot")

# Makes a picture: see :class:`AihPicture`.
_Make = Callable[[], "AihPicture"]


@dataclass(frozen=True)
class AihPicture:
    """A pair of hands with the target alone.

    Attributes:
        rgb_u8: ``(256, 256, 3)``.
        bare_u8: ``(256, 256, 3)`` with the target alone, over its own background.
        visible: ``(2, 256, 256)`` bool by side.
        amodal: ``(2, 256, 256)`` bool by side.
        side: Of the target.
    """

    rgb_u8: U8
    bare_u8: U8
    visible: Bool
    amodal: Bool
    side: int

    def __post_init__(self) -> None:
        for name in ("rgb_u8", "bare_u8"):
            check_array(name, getattr(self, name), (_SIDE_PX, _SIDE_PX, 3), "uint8")
        for name in ("visible", "amodal"):
            check_array(name, getattr(self, name), (N_SIDES, _SIDE_PX, _SIDE_PX), "bool")

    @property
    def is_empty(self) -> bool:
        """Whether the target has no pixel at all."""
        return not self.amodal[self.side].any()


@dataclass(frozen=True)
class AihSample(SetSample):
    """A sample of AIH, without joints.

    Attributes:
        make: Makes the picture with its truth; see :meth:`pair`.
    """

    make: _Make | None = None

    def pair(self) -> AihPicture:
        """Read or paste the picture, with its truth.

        Raises:
            DataError: A picture or a mask is missing or cannot be decoded, or is not of 256 px.
        """
        if self.make is None:
            raise DataError(f"{self.source}: sample {self.name} was made without its reader")
        return self.make()

    def rgb_u8(self) -> U8:
        """Give the picture, ``(256, 256, 3)``; see :meth:`pair`."""
        return self.pair().rgb_u8


def _sample(source: str, name: str, picture: Path, make: _Make) -> AihSample:
    return AihSample(
        source=source,
        name=name,
        picture=picture,
        width_px=_SIDE_PX,
        height_px=_SIDE_PX,
        **{**labels_of({}, {}), "present": np.ones(N_SIDES, dtype=bool)},
        make=make,
    )


def _read_crop(path: Path) -> U8:
    rgb_u8 = load_rgb_u8(path)
    _check_size(path, rgb_u8)
    return rgb_u8


def _read_mask(path: Path) -> U8:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if mask is None:
        raise DataError(f"mask {path} is missing or cannot be decoded; copy it again")
    _check_size(path, mask)
    return np.asarray(mask, dtype=np.uint8)


def _check_size(path: Path, values: U8) -> None:
    if values.shape[:2] != (_SIDE_PX, _SIDE_PX):
        raise DataError(
            f"{path} is {values.shape[1]}x{values.shape[0]}, expected {_SIDE_PX}x{_SIDE_PX}"
        )


@dataclass(frozen=True)
class AihRecipes:
    """Recipes of one annotation, target first.

    Attributes:
        side: ``(N,)`` int64, of the target.
        number: ``(N, 2)`` int64, of the pictures.
        moves: ``(N, 2, 4)`` float64, each crop's shift (of 255 px) in u and v, scale, degrees.
    """

    side: NDArray[np.int64]
    number: NDArray[np.int64]
    moves: F64


def read_recipes(path: Path, numbers: Mapping[str, NDArray[np.int64]]) -> AihRecipes:
    """Read a file of recipes; those without a partner are left out.

    Args:
        path: ``all_<annot>_<split>_syn_cfgs.npy``.
        numbers: By side (``right``, ``left``), the numbers of the filtered pictures.

    Raises:
        DataError: The file is missing or broken.
    """
    entries = read_object_array(path)
    with reading(path):
        kept = [entry for entry in entries if int(entry["another_side_idx"]) != _NO_PARTNER]
        side = np.array([side_index(str(entry["loop_side"])) for entry in kept], dtype=np.int64)
        number = [
            (
                numbers[SIDES[own]][int(entry["loop_side_idx"])],
                numbers[SIDES[1 - own]][int(entry["another_side_idx"])],
            )
            for own, entry in zip(side, kept, strict=True)
        ]
        moves = [[_move(entry[f"{who}_aug_list"]) for who in ("r", "l")] for entry in kept]
    return AihRecipes(
        side,
        np.array(number, dtype=np.int64).reshape(-1, 2),
        np.array(moves, dtype=np.float64).reshape(-1, 2, 4),
    )


def _move(said: Sequence[Any]) -> tuple[float, float, float, float]:
    (along_u, along_v), scale, degrees = said[0], said[1], said[2]
    return float(along_u), float(along_v), float(scale), float(degrees)


def frame_from_crop(move: NDArray[np.float64]) -> F64:
    """Give the affine ``(2, 3)`` by which HDR's loader moves a crop of 256 px.

    Args:
        move: ``(4,)`` shift in u and v of 255 px, scale, degrees.
    """
    along_u, along_v, scale, degrees = move
    turn, size = np.radians(degrees), scale * _RECT_PX / _SIDE_PX
    linear = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.full(2, _SIDE_PX / 2)
    centre = _RECT_PX * (0.5 + np.array([along_u, along_v]))
    return np.concatenate([linear, (centre - linear @ middle)[:, None]], axis=1)


def _moved(values: U8, move: F64) -> U8:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    affine = frame_from_crop(move)
    return np.asarray(cv2.warpAffine(values, affine, (_SIDE_PX, _SIDE_PX), flags=flags), np.uint8)


def paste(pictures: Sequence[U8], masks: Sequence[Bool], moves: F64, side: int) -> AihPicture:
    """Paste the other hand over the target, as a recipe says.

    Args:
        pictures: ``(256, 256, 3)`` of the target and of the other hand.
        masks: ``(256, 256)`` bool, whole, likewise.
        moves: ``(2, 4)`` likewise; see :func:`frame_from_crop`.
        side: Of the target. A left target's recipe is for mirrored pictures.
    """
    step = -1 if side == LEFT else 1
    rgb = [
        _moved(np.ascontiguousarray(p[:, ::step]), m) for p, m in zip(pictures, moves, strict=True)
    ]
    whole = [
        _moved(np.ascontiguousarray(mask[:, ::step]).astype(np.uint8), m) > 0
        for mask, m in zip(masks, moves, strict=True)
    ]
    (bare_u8, other_u8), (own, other) = ([a[:, ::step] for a in pair] for pair in (rgb, whole))
    amodal = np.zeros((N_SIDES, _SIDE_PX, _SIDE_PX), dtype=bool)
    amodal[side], amodal[1 - side] = own, other
    visible = amodal.copy()
    visible[side] &= ~other
    rgb_u8 = np.where(other[..., None], other_u8, bare_u8)
    return AihPicture(rgb_u8, np.ascontiguousarray(bare_u8), visible, amodal, side)


class AihSyn(HandSet):
    """AIH_Syn: pasted pairs, machine annotations first, then human ones (of train alone)."""

    NAME: ClassVar[str] = "aih-syn"
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    TEST: ClassVar[str] = "test"
    ABSENCE_TOLD: ClassVar[bool] = True

    def _read(self) -> None:
        base = self.root / "AIH_syn"
        annotations = _ANNOTATIONS[::-1] if self.split == "train" else _ANNOTATIONS[1:]
        lists = {
            (a, s): base / "filtered_list" / f"{a}_{self.split}_sh_{s}_filtered.txt"
            for a in annotations
            for s in SIDES
        }
        recipes = [base / "syn_cfgs" / f"all_{a}_{self.split}_syn_cfgs.npy" for a in annotations]
        self._folders = [base / a / self.split for a in annotations]
        self._need([*lists.values(), *recipes, *self._folders])
        numbers = {key: _read_numbers(path) for key, path in lists.items()}
        self._recipes = [
            read_recipes(path, {s: numbers[a, s] for s in SIDES})
            for a, path in zip(annotations, recipes, strict=True)
        ]
        for folder, of_folder in zip(self._folders, self._recipes, strict=True):
            self._look_for_files(folder, of_folder)
        self._starts = np.cumsum([0, *(len(r.side) for r in self._recipes)])

    def _look_for_files(self, folder: Path, recipes: AihRecipes) -> None:
        sides = np.stack([recipes.side, 1 - recipes.side], axis=1)
        used = np.unique(np.stack([sides, recipes.number], axis=-1).reshape(-1, 2), axis=0)
        files = [path for side, number in used for path in _crop_files(folder, side, number)]
        is_there = Listing()
        lost = [str(path.relative_to(folder)) for path in files if not is_there(path)]
        tell_missing(self.NAME, "crops and masks", lost, folder)

    def _n_read(self) -> int:
        return int(self._starts[-1])

    def _at(self, k: int) -> tuple[int, int]:
        """Give the place of the annotation and of the recipe in it."""
        part = int(np.searchsorted(self._starts, k, side="right")) - 1
        return part, k - int(self._starts[part])

    def _picture(self, k: int) -> Path:
        part, row = self._at(k)
        recipes = self._recipes[part]
        return _crop_files(self._folders[part], recipes.side[row], recipes.number[row, 0])[0]

    def _sample(self, k: int) -> SetSample:
        part, row = self._at(k)
        folder, recipes = self._folders[part], self._recipes[part]
        make = partial(
            _make_pasted, folder, int(recipes.side[row]), recipes.number[row], recipes.moves[row]
        )
        name = f"{folder.parent.name}/{self.split}/{row}"
        return _sample(self.NAME, name, self._picture(k), make)


def _read_numbers(path: Path) -> NDArray[np.int64]:
    with reading(path):
        return np.atleast_1d(np.loadtxt(path)).astype(np.int64)


def _crop_files(folder: Path, side: int, number: int) -> tuple[Path, Path]:
    """Name a single hand's picture and its mask."""
    letter = SIDES[side][0]
    return (
        folder / "images" / f"{letter}_images" / f"{number}.jpg",
        folder / "labels" / f"in_{letter}_images" / f"{letter}_amodal" / f"{number}.png",
    )


def _make_pasted(folder: Path, side: int, number: NDArray[np.int64], moves: F64) -> AihPicture:
    files = [_crop_files(folder, s, n) for s, n in zip((side, 1 - side), number, strict=True)]
    pictures = [_read_crop(picture) for picture, _ in files]
    masks = [np.asarray(_read_mask(mask) > 0) for _, mask in files]
    return paste(pictures, masks, moves, side)


class AihRender(HandSet):
    """AIH_Render: rendered pairs, right targets before left ones, human annotations first."""

    NAME: ClassVar[str] = "aih-render"
    SPLITS: ClassVar[tuple[str, ...]] = ("train", "val")
    TEST: ClassVar[str] = "val"
    ABSENCE_TOLD: ClassVar[bool] = True

    def _read(self) -> None:
        annotations = _ANNOTATIONS if self.split == "train" else _ANNOTATIONS[1:]
        folders = [
            (self.root / "AIH_render" / a / self.split, side)
            for a in annotations
            for side in (RIGHT, LEFT)
        ]
        self._need([folder for folder, side in folders if side == RIGHT])
        self._need([_rendered(f, side, "x")[0].parent for f, side in folders])
        self._items = [
            (folder, side, path.stem)
            for folder, side in folders
            for path in sorted(_rendered(folder, side, "x")[0].parent.glob("*.jpg"))
        ]

    def _n_read(self) -> int:
        return len(self._items)

    def _picture(self, k: int) -> Path:
        return _rendered(*self._items[k])[0]

    def _own_labels(self, k: int) -> tuple[Path, ...]:
        return _rendered(*self._items[k])[1:]

    def _sample(self, k: int) -> SetSample:
        folder, side, stem = self._items[k]
        name = f"{folder.parent.name}/{self.split}/{SIDES[side]}/{stem}"
        make = partial(_make_rendered, folder, side, stem)
        return _sample(self.NAME, name, self._picture(k), make)


def _rendered(folder: Path, side: int, stem: str) -> tuple[Path, Path, Path, Path]:
    """Name a pair's picture, the target alone, its whole mask, what is seen of both."""
    letter = SIDES[side][0]
    images = folder / "images" / f"{letter}_images"
    labels = folder / "labels" / f"in_{letter}_images"
    return (
        images / "IH" / f"{stem}.jpg",
        images / "DR_gt" / f"{stem}.jpg",
        labels / f"{letter}_amodal" / f"{stem}.png",
        labels / "rl_visible" / f"{stem}.png",
    )


def _make_rendered(folder: Path, side: int, stem: str) -> AihPicture:
    pair, alone, whole, seen = _rendered(folder, side, stem)
    kinds = _read_mask(seen)
    visible = np.stack([kinds == 1 + s for s in (RIGHT, LEFT)])
    amodal = visible.copy()
    amodal[side] |= _read_mask(whole) > 0
    return AihPicture(_read_crop(pair), _read_crop(alone), visible, amodal, side)
