"""Stored made pictures in random order, for training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import DataError
from hdrvideo.synth.packing import unpack_masks, unpack_picture
from hdrvideo.synth.shards import DAMAGE, MANIFEST, read_manifest

_MASKS: Final = ("visible", "amodal")
_FIELDS: Final = ("rgb", "rgb_offsets", "bare_rgb", "bare_rgb_offsets", *_MASKS, "size_px")


class ShardPictures:
    """Pictures and masks of stored shards by number, packed in memory and unpacked when asked for.

    For training that sees pictures in random order: reading whole shards would decode much more
    than it uses.
    """

    def __init__(self, folder: Path, split: str, *, truths: Sequence[str] = ()) -> None:
        """Read what the folder's manifest lists.

        Args:
            folder: Of :func:`hdrvideo.synth.shards.write_shards`.
            split: ``train`` or ``test``, of which the shards must be.
            truths: Names of arrays with a row for each picture that are wanted, too, see
                :meth:`truth`.

        Raises:
            DataError: There is no manifest of ours, the shards are of the other split, or one is
                missing or damaged.
        """
        self._folder = folder
        self._shards: list[dict[str, NDArray[Any]]] = []
        for path in _files(folder, split):
            try:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                    self._shards.append({name: file[name] for name in (*_FIELDS, *truths)})
            except DAMAGE as error:
                raise DataError(f"{path} is no shard of ours ({error}); make it again") from error
        self._ends = np.cumsum([len(s["visible"]) for s in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def rgb_u8(self, index: int) -> NDArray[np.uint8]:
        """Give picture ``index``, ``(H, W, 3)``."""
        shard, i = self._find(index)
        return unpack_picture(shard["rgb"], shard["rgb_offsets"], i)

    def bare_rgb_u8(self, index: int, side: int) -> NDArray[np.uint8]:
        """Give picture ``index`` with the hand of ``side`` alone, ``(H, W, 3)``."""
        shard, i = self._find(index)
        return unpack_picture(shard["bare_rgb"], shard["bare_rgb_offsets"], 2 * i + side)

    def masks(self, index: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Give the visible and the whole masks of picture ``index``, each ``(2, H, W)``."""
        shard, i = self._find(index)
        height, width = (int(n) for n in shard["size_px"])
        visible, amodal = (unpack_masks(shard[name][i], height, width) for name in _MASKS)
        return visible, amodal

    def truth(self, name: str) -> NDArray[Any]:
        """Give one of ``truths`` for all pictures in their order, ``(N, ...)``.

        Raises:
            DataError: There is no picture.
        """
        if not self._shards:
            raise DataError(f"{self._folder} lists no shards; make some with synth shards")
        return np.concatenate([shard[name] for shard in self._shards])

    def _find(self, index: int) -> tuple[dict[str, NDArray[Any]], int]:
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        k = int(np.searchsorted(self._ends, index, side="right"))
        return self._shards[k], index - int(self._ends[k] - len(self._shards[k]["visible"]))


def _files(folder: Path, split: str) -> list[Path]:
    manifest = read_manifest(folder)
    found = manifest.get("split", split)
    if found != split:
        raise DataError(
            f"{folder} holds shards of split {found}, expected {split}; name another folder"
        )
    try:
        return [folder / entry["file"] for entry in manifest["shards"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{folder / MANIFEST} lists no shards ({error!r}); make them again"
        ) from error
