"""Where labelled pictures come from: stored made ones, pastes of real hands, and hand-free ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
import torch

from hdrvideo.datatypes import U8
from hdrvideo.errors import DataError
from hdrvideo.synth.assets import PROCEDURAL, Assets
from hdrvideo.synth.crops import HandCrop, load_crops
from hdrvideo.synth.paste import Pasted, PasteSettings, paste
from hdrvideo.synth.stored import ShardPictures
from hdrvideo.train.pair_truth import PictureJoints, flat_joints, made_joints
from hdrvideo.train.views import LabelledPicture

_TRUTHS: Final = ("uv_px", "xyz_cam_mm", "present", "k_px")
# Hand-free pictures are kept no larger than this: a view of them is at most 192 px.
_EMPTY_PX = 640


class PictureSource(Protocol):
    """Draws labelled pictures."""

    def draw(self, rng: np.random.Generator, n: int) -> list[LabelledPicture]:
        """Draw ``n`` pictures; the same state of ``rng`` gives the same ones."""


class MadePictures:
    """Pictures of the made world, from shards.

    Now and then one of two hands is taken away (the world renders each hand alone, too): the same
    picture with and without a second hand is what keeps a net from inventing one.
    """

    def __init__(self, folders: Sequence[Path], split: str, *, alone_share: float = 0.15) -> None:
        """Read the shards into memory, still packed.

        Args:
            folders: Of ``synth shards``.
            split: ``train`` or ``test``, of which they must be.
            alone_share: How often one of two hands is taken away.

        Raises:
            DataError: A folder holds no shards of ours or such of the other split, or there is no
                picture in any.
        """
        self._shards = [ShardPictures(folder, split, truths=_TRUTHS) for folder in folders]
        if not any(len(s) for s in self._shards):
            raise DataError(
                f"no picture in {', '.join(map(str, folders)) or 'no folder'}; make some with "
                "synth shards"
            )
        self._ends = np.cumsum([len(s) for s in self._shards])
        self._truths = [[s.truth(name) for name in _TRUTHS] if len(s) else [] for s in self._shards]
        self._alone_share = alone_share

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> LabelledPicture:
        shards, i, joints = self._find(index)
        return LabelledPicture(shards.rgb_u8(i), *shards.masks(i), joints)

    def draw(self, rng: np.random.Generator, n: int) -> list[LabelledPicture]:
        """Draw ``n`` pictures."""
        return [self._draw(rng) for _ in range(n)]

    def _draw(self, rng: np.random.Generator) -> LabelledPicture:
        index, alone, side = int(rng.integers(len(self))), rng.random(), int(rng.integers(2))
        if alone >= self._alone_share:
            return self[index]
        shards, i, joints = self._find(index)
        _, amodal = shards.masks(i)
        if not amodal.any(axis=(1, 2)).all():
            return self[index]
        only = np.zeros_like(amodal)
        only[side] = amodal[side]
        return LabelledPicture(shards.bare_rgb_u8(i, side), only, only, joints.only(side))

    def _find(self, index: int) -> tuple[ShardPictures, int, PictureJoints]:
        k = int(np.searchsorted(self._ends, index, side="right"))
        i = index - int(self._ends[k] - len(self._shards[k]))
        return self._shards[k], i, made_joints(*(truth[i] for truth in self._truths[k]))


class PasteGroups:
    """AIH_Syn in sixteens: real hands pasted together, a function of seed and number alone."""

    SIZE: Final = 16

    def __init__(
        self,
        crops: Path,
        split: str,
        backgrounds: Sequence[U8],
        settings: PasteSettings,
        *,
        seed: int,
    ) -> None:
        """Read the crops of a split into memory.

        Args:
            crops: Folder of ``synth harvest``.
            split: ``train`` or ``test``.
            backgrounds: Hand-free pictures ``(h, w, 3)``; those smaller than a pasted picture are
                left out.
            settings: What pasted pictures look like.
            seed: Of the pictures.

        Raises:
            DataError: The folder has no crop of this split.
            ShapeError: The folder is missing, or a crop is damaged.
        """
        self._crops: list[HandCrop] = list(load_crops(crops, split))
        if not self._crops:
            raise DataError(f"{crops} has no crop of split {split}; make some with synth harvest")
        self._backgrounds = [
            torch.from_numpy(b.astype(np.float32) / 255).permute(2, 0, 1).contiguous()
            for b in backgrounds
            if min(b.shape[:2]) >= settings.size_px
        ]
        self._settings = settings
        self._seed = seed

    def make(self, number: int) -> Pasted:
        """Paste the sixteen pictures of a group."""
        rng = np.random.default_rng([self._seed, number])
        return paste(
            self._crops, self.SIZE, rng, settings=self._settings, backgrounds=self._backgrounds
        )


class PastedPictures:
    """Pasted pictures, some thousand that are made when first drawn.

    Pasting takes about as long as a net needs to learn from the picture, and each is seen in a
    view of its own anyway.
    """

    def __init__(self, groups: PasteGroups, *, n_groups: int = 120) -> None:
        """Make nothing yet; ``n_groups`` are made at most."""
        self._groups = groups
        self._n_groups = n_groups
        self._made: dict[int, list[LabelledPicture]] = {}

    def draw(self, rng: np.random.Generator, n: int) -> list[LabelledPicture]:
        """Draw ``n`` pictures."""
        places = rng.integers(self._n_groups * PasteGroups.SIZE, size=n)
        return [self._group(int(p) // PasteGroups.SIZE)[int(p) % PasteGroups.SIZE] for p in places]

    def _group(self, number: int) -> list[LabelledPicture]:
        if number not in self._made:
            made = self._groups.make(number)
            rgb_u8 = (made.rgb.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
            visible, amodal = made.visible.numpy(), made.amodal.numpy()
            self._made[number] = [
                LabelledPicture(
                    *(np.ascontiguousarray(rgb_u8[i]), visible[i], amodal[i]),
                    flat_joints(made.uv_px[i].numpy()),
                )
                for i in range(PasteGroups.SIZE)
            ]
        return self._made[number]


class EmptyPictures:
    """Pictures without a hand: what must not be taken for one."""

    def __init__(self, pictures: Sequence[U8], people: Sequence[U8] = ()) -> None:
        """Take hand-free pictures ``(h, w, 3)``; every other one drawn is one of ``people``.

        Raises:
            DataError: There are none but of people.
        """
        if not pictures:
            raise DataError("there is no picture without hands; name a folder of some")
        self._pictures = pictures
        self._people = people

    def draw(self, rng: np.random.Generator, n: int) -> list[LabelledPicture]:
        """Draw ``n`` pictures: a random square of each."""
        return [self._draw(rng) for _ in range(n)]

    def _draw(self, rng: np.random.Generator) -> LabelledPicture:
        pictures = self._people if self._people and rng.random() < 0.5 else self._pictures
        picture = pictures[int(rng.integers(len(pictures)))]
        height, width = picture.shape[:2]
        side = max(int(min(height, width) * rng.uniform(0.4, 1.0)), 1)
        v, u = (int(rng.integers(n - side + 1)) for n in (height, width))
        none = np.zeros((2, side, side), dtype=bool)
        return LabelledPicture(
            np.ascontiguousarray(picture[v : v + side, u : u + side]), none, none
        )


def hand_free_pictures(folders: Sequence[Path], split: str) -> list[U8]:
    """Read the pictures of a split in some folders, at most 640 px on the longer side."""
    assets = Assets.find(split, backgrounds=folders)
    pictures = []
    for name in assets.backgrounds:
        if name.startswith(PROCEDURAL):
            continue
        rgb_u8 = assets.background_rgb_u8(name)
        shrink = min(1.0, _EMPTY_PX / max(rgb_u8.shape[:2]))
        if shrink < 1:
            rgb_u8 = np.asarray(
                cv2.resize(rgb_u8, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            )
        pictures.append(np.ascontiguousarray(rgb_u8))
    return pictures
