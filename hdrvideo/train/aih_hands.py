"""AIH's pairs as examples for HDRM; see :mod:`hdrvideo.sets.aih`.

They have no joints, so their squares are taken round the target's mask, as for a hand that cannot
be read. The whole of the other hand is not known in rendered pairs; what is seen of it stands for
it, which erases the same pixels.
"""

from pathlib import Path
from typing import Final

import numpy as np

from hdrvideo.datatypes import N_JOINTS
from hdrvideo.errors import DataError
from hdrvideo.sets.aih import AihRender, AihSample, AihSyn
from hdrvideo.sets.base import HandSet
from hdrvideo.train.bare_crops import BarePicture

_TRIES: Final = 50


class AihBareHands:
    """Draws AIH's pairs with the target alone: pasted and rendered ones by turns, if both exist."""

    def __init__(self, root: Path) -> None:
        """Open the training splits of what is there of the set.

        Args:
            root: Holds ``AIH_syn``, ``AIH_render`` or both.

        Raises:
            DataError: It holds neither, or files are missing or broken.
        """
        kinds = {"AIH_syn": AihSyn, "AIH_render": AihRender}
        self._root = root
        self._sets: list[HandSet] = [
            kind(root, "train") for folder, kind in kinds.items() if (root / folder).is_dir()
        ]
        if not self._sets:
            raise DataError(
                f"{root} holds neither AIH_syn nor AIH_render; see docs/datasets.md for AIH's "
                "folder"
            )

    def draw(self, rng: np.random.Generator, n: int) -> list[BarePicture]:
        """Draw ``n``; the same state of ``rng`` gives the same ones.

        Raises:
            DataError: A file is missing or broken, or hardly a target has a mask.
        """
        return [self._draw(rng) for _ in range(n)]

    def _draw(self, rng: np.random.Generator) -> BarePicture:
        for _ in range(_TRIES):
            pairs = self._sets[int(rng.integers(len(self._sets)))]
            sample = pairs[int(rng.integers(len(pairs)))]
            assert isinstance(sample, AihSample)
            pair = sample.pair()
            if not pair.is_empty:
                return BarePicture(
                    rgb_u8=pair.rgb_u8,
                    bare_u8=pair.bare_u8,
                    known=np.ones(pair.rgb_u8.shape[:2], dtype=bool),
                    visible=pair.visible,
                    amodal=pair.amodal,
                    uv_px=np.full((N_JOINTS, 2), np.nan, dtype=np.float32),
                    side=pair.side,
                )
        raise DataError(f"none of {_TRIES} pairs drawn from {self._root} has a target with a mask")
