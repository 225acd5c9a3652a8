"""What the field's protocols look at: truths and predictions of N frames of two hands, as arrays.

Joints are in our order and in the camera (x right, y down, z forward; millimetres), the sides on
axis 1 (0 right, 1 left), as everywhere. Sets of single hands have their hand on its own side and
nothing on the other. NumPy only; whoever reads a data set brings it to this.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import N_JOINTS, N_SIDES, Bool, check_array
from hdrvideo.errors import NotGivenError, ShapeError
from hdrvideo.hand import WRIST
from hdrvideo.validate.metrics import F64

# Optional arrays of both, with their last axes; None = any length.
_AXES: Final[dict[str, tuple[int | None, ...]]] = {
    "xyz_cam_mm": (N_SIDES, N_JOINTS, 3),
    "uv_px": (N_SIDES, N_JOINTS, 2),
    "vertices_cam_mm": (N_SIDES, None, 3),
}


@dataclass(frozen=True)
class FieldHands:
    """Hands of N frames; a protocol says which of the arrays it needs.

    Attributes:
        xyz_cam_mm: ``(N, 2, 21, 3)`` float64 joints in the camera; NaN = not known.
        uv_px: ``(N, 2, 21, 2)`` float64 joints in the picture.
        vertices_cam_mm: ``(N, 2, V, 3)`` float64 mesh in the camera, one row of V for all.
    """

    xyz_cam_mm: F64 | None = None
    uv_px: F64 | None = None
    vertices_cam_mm: F64 | None = None

    def __post_init__(self) -> None:
        for name, axes in _AXES.items():
            value = getattr(self, name)
            if value is not None:
                # Whatever came first says how many frames there are.
                check_array(name, value, (self.n_frames, *axes), "float64")

    @property
    def n_frames(self) -> int:
        """Number of frames, 0 without any array."""
        arrays = (getattr(self, name) for name in _AXES)
        return next((len(array) for array in arrays if array is not None), 0)

    def wanted(self, name: str) -> F64:
        """Give one of the arrays.

        Raises:
            NotGivenError: It was not given.
        """
        value: F64 | None = getattr(self, name)
        if value is None:
            what = type(self).__name__
            raise NotGivenError(
                f"{what} has no {name}, which this protocol looks at; give it", name
            )
        return value


@dataclass(frozen=True)
class FieldPrediction(FieldHands):
    """What a method says.

    Attributes:
        hand_scores: ``(N, 2)`` float64, how sure it is that each hand is there, 0..1.
    """

    hand_scores: F64 | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hand_scores is not None:
            check_array("hand_scores", self.hand_scores, (self.n_frames, N_SIDES), "float64")

    @property
    def n_frames(self) -> int:
        """Number of frames, 0 without any array."""
        return super().n_frames or (0 if self.hand_scores is None else len(self.hand_scores))


@dataclass(frozen=True, kw_only=True)
class FieldTruth(FieldHands):
    """What a data set says.

    Attributes:
        valid: ``(N, 2, 21)`` bool, joints that the set knows; finite in every array of joints.
        hands: ``(N, 2)`` bool, hands that the set calls there (InterHand2.6M's hand type).
        hands_known: ``(N,)`` bool, whether ``hands`` may be relied on (its validity there).
    """

    valid: Bool
    hands: Bool
    hands_known: Bool

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.valid)
        check_array("valid", self.valid, (n, N_SIDES, N_JOINTS), "bool")
        check_array("hands", self.hands, (n, N_SIDES), "bool")
        check_array("hands_known", self.hands_known, (n,), "bool")
        if self.n_frames not in (0, n):
            raise ShapeError(f"truth has {self.n_frames} frames of joints and {n} of valid")
        for name in ("xyz_cam_mm", "uv_px"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value[self.valid]).all():
                raise ShapeError(f"truth's {name} has NaN at joints that valid calls known")

    @property
    def rooted(self) -> Bool:
        """``(N, 2, 21)`` joints that are known and whose hand's wrist is known, too."""
        return self.valid & self.valid[..., WRIST : WRIST + 1]

    @property
    def whole(self) -> Bool:
        """``(N, 2)`` hands all of whose joints are known, in sets that know all or none.

        Raises:
            ShapeError: A hand is known in part.
        """
        n_known = self.valid.sum(axis=-1)
        in_part = (n_known > 0) & (n_known < N_JOINTS)
        if in_part.any():
            frame, side = np.argwhere(in_part)[0]
            raise ShapeError(
                f"truth knows {n_known[frame, side]} of {N_JOINTS} joints (frame {frame}, side "
                f"{side}); this protocol takes whole hands, so make the hand valid or not at all"
            )
        return np.asarray(n_known == N_JOINTS)


def field_truth(
    valid: NDArray[Any],
    *,
    xyz_cam_mm: NDArray[Any] | None = None,
    uv_px: NDArray[Any] | None = None,
    vertices_cam_mm: NDArray[Any] | None = None,
    hands: NDArray[Any] | None = None,
    hands_known: NDArray[Any] | None = None,
) -> FieldTruth:
    """Make a truth of arrays of any number type.

    Args:
        valid: ``(N, 2, 21)`` non-zero where a joint is known.
        xyz_cam_mm: See :class:`FieldHands`.
        uv_px: Likewise.
        vertices_cam_mm: Likewise.
        hands: ``(N, 2)``; None = hands with a known joint.
        hands_known: ``(N,)``; None = all.

    Raises:
        ShapeError: The arrays do not fit one another.
    """
    valid = np.asarray(valid).astype(bool)
    if valid.ndim != 3:
        raise ShapeError(f"valid is {valid.shape}, expected (N, 2, 21)")
    return FieldTruth(
        _float64(xyz_cam_mm),
        _float64(uv_px),
        _float64(vertices_cam_mm),
        valid=valid,
        hands=np.asarray(valid.any(axis=-1) if hands is None else hands).astype(bool),
        hands_known=(
            np.ones(len(valid), dtype=bool)
            if hands_known is None
            else np.asarray(hands_known).astype(bool)
        ),
    )


def field_prediction(
    *,
    xyz_cam_mm: NDArray[Any] | None = None,
    uv_px: NDArray[Any] | None = None,
    vertices_cam_mm: NDArray[Any] | None = None,
    hand_scores: NDArray[Any] | None = None,
) -> FieldPrediction:
    """Make a prediction of arrays of any number type; NaN where there is none.

    Raises:
        ShapeError: The arrays do not fit one another.
    """
    return FieldPrediction(
        _float64(xyz_cam_mm), _float64(uv_px), _float64(vertices_cam_mm), _float64(hand_scores)
    )


def _float64(values: NDArray[Any] | None) -> F64 | None:
    return None if values is None else np.asarray(values, dtype=np.float64)
