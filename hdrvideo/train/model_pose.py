"""A hand as the hand model has it, in a picture or in a crop of it."""

import math
from dataclasses import dataclass

import numpy as np

from hdrvideo.datatypes import F32, check_array
from hdrvideo.geometry import F64


@dataclass(frozen=True)
class ModelPose:
    """A hand as the hand model has it.

    Attributes:
        turns: ``(16, 3, 3)`` float32, see :mod:`hdrvideo.handmodel`; the first one's axes are those
            of the picture, or of the crop.
        shape: ``(n,)`` float32 standard deviations.
    """

    turns: F32
    shape: F32

    def __post_init__(self) -> None:
        check_array("turns", self.turns, (16, 3, 3), "float32")
        check_array("shape", self.shape, (None,), "float32")

    def seen_in(self, crop_from_frame: F64) -> "ModelPose":
        """Turn it as the crop is turned; a crop that mirrors shows a hand of the other side."""
        linear = crop_from_frame[:, :2]
        flat = np.eye(3)
        flat[:2, :2] = linear / math.sqrt(abs(np.linalg.det(linear)))
        turns = self.turns.copy()
        # The other side's hand is this one's mirror image in x.
        turns[0] = flat @ turns[0] @ np.diag([np.sign(np.linalg.det(flat)), 1.0, 1.0])
        return ModelPose(turns, self.shape)
