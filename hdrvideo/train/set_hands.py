"""Hands of the field's data sets as examples for SHPE; see :mod:`hdrvideo.sets`.

A set with joints in space teaches both, one with joints in the picture that alone, as pasted hands
do. Joints without a label are put where the camera sees their place in space, else guessed, to take
the square round them; guesses teach nothing. What is hidden no set tells, so visibility is not
taught by them, and there are no masks to paint by: hands are shown as they are.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hdrvideo.errors import DataError, SettingsError
from hdrvideo.sets.base import HandSet
from hdrvideo.sets.guess import whole_uv_px
from hdrvideo.sets.interhand import InterHand
from hdrvideo.sets.registry import JOINT_SETS, SETS, open_set
from hdrvideo.sets.sample import SetSample
from hdrvideo.train.pair_truth import palm_in_picture, palm_in_space
from hdrvideo.train.pose_crops import HandPicture

# So many joints must be known of a hand that is to be learnt from.
_LEAST_JOINTS: Final = 12
# Draws for one hand before the set is given up.
_TRIES: Final = 200


def check_sets(name: str, value: object) -> None:
    """Refuse a setting that does not map sets to learn from to their folders.

    Raises:
        SettingsError: With the name and what was given.
    """
    if value is None:
        return
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise SettingsError(f"{name} is {value!r}, expected data sets with a folder each")
    known = [n for n in JOINT_SETS if SETS[n].SPLITS[0] != SETS[n].TEST]
    unknown = [str(n) for n in value if n not in known]
    if unknown:
        raise SettingsError(f"{name} names {unknown[0]}, expected some of {', '.join(known)}")


class SetHands:
    """Draws hands of data sets; each set as often as the others."""

    def __init__(
        self,
        folders: Mapping[str, str],
        *,
        part: str = "all",
        only_there: bool = False,
        least_size_px: float = 24.0,
    ) -> None:
        """Open the training split of each set; pictures are read when drawn.

        Args:
            folders: By name of the set.
            part: Of InterHand2.6M; see :class:`hdrvideo.sets.interhand.InterHand`.
            only_there: Leave out samples that lack a file.
            least_size_px: Hands whose joints span less of a picture are left out.

        Raises:
            SettingsError: There is no such set or part.
            DataError: Files of a set are missing or broken.
        """
        self._sets: list[HandSet] = []
        for name, folder in folders.items():
            of_set = part if name == InterHand.NAME else "all"
            split = SETS[name].SPLITS[0]
            self._sets.append(open_set(name, folder, split, part=of_set, only_there=only_there))
        self._least_size_px = least_size_px

    def draw(self, rng: np.random.Generator, n: int, *, bare_share: float) -> list[HandPicture]:
        """Draw ``n`` hands; alike for the same state of ``rng``.

        Args:
            rng: Draws.
            n: How many.
            bare_share: Not heeded: no set shows its hands bare.

        Raises:
            DataError: A set has hardly a hand of use, or a file of it is broken.
        """
        return [self._draw(rng) for _ in range(n)]

    def _draw(self, rng: np.random.Generator) -> HandPicture:
        hands = self._sets[int(rng.integers(len(self._sets)))]
        for _ in range(_TRIES):
            sample = hands[int(rng.integers(len(hands)))]
            side = int(rng.integers(2))
            side = side if sample.present[side] else 1 - side
            picture = hand_picture(sample, side, self._least_size_px)
            if picture is not None:
                return picture
        sides = "" if sample.side_told else " and whose side is told (sides.csv)"
        raise DataError(
            f"{hands.NAME}: none of {_TRIES} samples drawn from {hands.root} has a hand of "
            f"{self._least_size_px:g} px with {_LEAST_JOINTS} known joints{sides}"
        )


def hand_picture(sample: SetSample, side: int, least_size_px: float) -> HandPicture | None:
    """Make a hand of a sample an example to learn from; None = it is of no use.

    Args:
        sample: The picture.
        side: 0 right, 1 left.
        least_size_px: Least span of the joints in the picture.

    Raises:
        DataError: The picture is missing or broken.
    """
    labelled = sample.valid_uv[side].copy()
    if sample.k_px is not None:
        labelled |= sample.valid_xyz[side]
    if not sample.side_told or labelled.sum() < _LEAST_JOINTS:
        return None
    uv_px = whole_uv_px(sample, side)
    if not _span_px(uv_px) >= least_size_px:
        return None
    xyz_mm, palm_px = None, palm_in_picture(uv_px)
    if sample.valid_xyz[side].all() and sample.k_px is not None:
        xyz_mm = sample.xyz_cam_mm[side].astype(np.float32)
        palm_px = palm_in_space(sample.xyz_cam_mm[side], sample.k_px)
    return HandPicture(
        rgb_u8=sample.rgb_u8(),
        side=side,
        uv_px=uv_px.astype(np.float32),
        palm_px=palm_px,
        xyz_cam_mm=xyz_mm,
        visible=None,
        labelled=labelled,
    )


def _span_px(uv_px: Any) -> float:
    return float((uv_px.max(axis=0) - uv_px.min(axis=0)).max())
