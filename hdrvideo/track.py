"""PoseTrack, the result of the main job, and FrameLedger, the account of every source frame.

Both hold one row for every source frame, decoded or not. Axis 1 is the side: 0 = right, 1 = left.
A hand that is not there is NaN plus ``absent``; nothing is ever written as 0 or -1.
"""

from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, N_JOINTS, N_SIDES, Bool, check_array
from hdrvideo.errors import ShapeError, TrackError
from hdrvideo.geometry import Camera
from hdrvideo.hand import SIDES, TIPS

SCHEMA_VERSION: Final = 2

# The joints that turn, in the order of the hand model's poses; a tip is but the end of a bone.
TURNING: Final = tuple(j for j in range(N_JOINTS) if j not in TIPS)
# Shape scores of the hand model.
N_SHAPE: Final = 12

# How a hand's pose is known; the codes are the values of PoseTrack.provenance.
PROVENANCE: Final = ("absent", "observed", "deoccluded", "bridged", "corrected")
ABSENT, OBSERVED, DEOCCLUDED, BRIDGED, CORRECTED = range(5)

# Why a hand has no pose in a frame; the codes are the values of FrameLedger.reason.
REASONS: Final = (
    "posed",
    "bridged",
    "frame lost",
    "no hand found",
    "below presence threshold",
    "on the other hand",
    "too short to trust",
)
POSED, IS_BRIDGED, FRAME_LOST, NOT_FOUND, LOW_PRESENCE, DUPLICATE, TOO_SHORT = range(7)

DECODE_STATUS: Final = ("ok", "damaged", "lost")


@dataclass(frozen=True)
class TrackMeta:
    """What holds for the whole track.

    Attributes:
        clip: Name of the source clip (file name, no folder).
        width: Displayed width in pixels.
        height: Displayed height in pixels.
        time_base: Seconds per pts unit, exact.
        rate: Average frame rate, exact; None when unknown.
        camera: The camera under which ``xyz_cam_mm`` was computed, with its source.
        settings: The settings of the run, as plain JSON values.
        version: The hdrvideo version that made it.
    """

    clip: str
    width: int
    height: int
    time_base: Fraction
    rate: Fraction | None
    camera: Camera
    settings: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the meta data as plain JSON values; fractions become ``"num/den"``."""
        camera = {f.name: getattr(self.camera, f.name) for f in fields(self.camera)}
        return {
            "schema_version": SCHEMA_VERSION,
            "clip": self.clip,
            "width": self.width,
            "height": self.height,
            "time_base": f"{self.time_base.numerator}/{self.time_base.denominator}",
            "rate": None if self.rate is None else f"{self.rate.numerator}/{self.rate.denominator}",
            "camera": camera,
            "settings": self.settings,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TrackMeta":
        """Rebuild from :meth:`to_json`.

        Raises:
            TrackError: A key is missing, or the schema is another one.
        """
        try:
            if values["schema_version"] != SCHEMA_VERSION:
                raise TrackError(
                    f"track schema is {values['schema_version']}, this version reads "
                    f"{SCHEMA_VERSION}; install the hdrvideo that wrote it"
                )
            return cls(
                clip=values["clip"],
                width=int(values["width"]),
                height=int(values["height"]),
                time_base=Fraction(values["time_base"]),
                rate=None if values["rate"] is None else Fraction(values["rate"]),
                camera=Camera(**values["camera"]),
                settings=values["settings"],
                version=values["version"],
            )
        except KeyError as missing:
            raise TrackError(f"track has no {missing} in its meta data; is it ours?") from missing
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise TrackError(f"track's meta data cannot be read ({error}); is it ours?") from error


@dataclass(frozen=True)
class PoseTrack:
    """Two hands through time, in arrays; also used for one window of a longer clip.

    Attributes:
        meta: What holds for the whole track.
        frame_index: ``(T,)`` int64, rows of the frame ledger, consecutive.
        pts: ``(T,)`` int64, in units of ``meta.time_base``, strictly increasing.
        uv_px: ``(T, 2, 21, 2)`` float32, refined joints in the displayed picture.
        xyz_cam_mm: ``(T, 2, 21, 3)`` float32, refined joints in the camera; projects to ``uv_px``.
        raw_uv_px: Same shape; what the frame said, before the temporal stage. NaN where bridged.
        raw_xyz_cam_mm: Same shape; as above.
        confidence: ``(T, 2, 21)`` float32 in 0..1; NaN where absent.
        visible: ``(T, 2, 21)`` bool; the joint is seen rather than inferred.
        provenance: ``(T, 2)`` uint8, codes of :data:`PROVENANCE`.
        side_score: ``(T, 2)`` float32 in 0..1, how sure the picture is of this side; NaN if absent.
        turn_rad: ``(T, 2, 21, 3)`` float32, axis times radians of the hand model's joints
            (:mod:`hdrvideo.handmodel`): the wrist's is the whole hand's, in camera axes, a finger
            joint's is against the bone before it, in its own axes. NaN at the tips, where absent,
            and where no hand model was posed.
        shape: ``(T, 2, 12)`` float32, the hand model's shape in standard deviations; NaN likewise.
    """

    meta: TrackMeta
    frame_index: NDArray[np.int64]
    pts: NDArray[np.int64]
    uv_px: F32
    xyz_cam_mm: F32
    raw_uv_px: F32
    raw_xyz_cam_mm: F32
    confidence: F32
    visible: Bool
    provenance: NDArray[np.uint8]
    side_score: F32
    turn_rad: F32
    shape: F32

    def __post_init__(self) -> None:
        t = len(self.frame_index)
        check_array("frame_index", self.frame_index, (t,), "int64")
        check_array("pts", self.pts, (t,), "int64")
        hand = (t, N_SIDES, N_JOINTS)
        for name, depth in (("uv_px", 2), ("xyz_cam_mm", 3)):
            check_array(name, getattr(self, name), (*hand, depth), "float32")
            check_array(f"raw_{name}", getattr(self, f"raw_{name}"), (*hand, depth), "float32")
        check_array("confidence", self.confidence, hand, "float32")
        check_array("visible", self.visible, hand, "bool")
        check_array("provenance", self.provenance, (t, N_SIDES), "uint8")
        check_array("side_score", self.side_score, (t, N_SIDES), "float32")
        check_array("turn_rad", self.turn_rad, (*hand, 3), "float32")
        check_array("shape", self.shape, (t, N_SIDES, N_SHAPE), "float32")
        if t > 1 and not (np.diff(self.pts) > 0).all():
            row = int(np.argmin(np.diff(self.pts) > 0))
            raise ShapeError(f"pts do not increase after row {row}: {self.pts[row : row + 2]}")
        if t > 1 and not (np.diff(self.frame_index) == 1).all():
            raise ShapeError("frame_index has a gap; every source frame needs a row")
        if t and self.provenance.max() >= len(PROVENANCE):
            raise ShapeError(f"provenance has code {self.provenance.max()}, known are 0 to 4")
        present = self.present
        for name in ("uv_px", "xyz_cam_mm", "confidence"):
            finite = np.isfinite(getattr(self, name))
            inner = tuple(range(2, finite.ndim))
            if (finite.all(inner) != present).any() or (finite.any(inner) != present).any():
                raise ShapeError(f"{name} must be finite where a hand is present, NaN elsewhere")
        if not (np.nan_to_num(self.confidence) <= 1).all() or (self.confidence < 0).any():
            raise ShapeError("confidence must lie in 0..1")
        if (self.visible & ~present[..., None]).any():
            raise ShapeError("visible must be False where a hand is absent")
        self._check_turns()

    def _check_turns(self) -> None:
        """Raise unless each hand has all of its turns and its shape, or none of them."""
        turns = self.turn_rad[:, :, list(TURNING)].reshape(len(self), N_SIDES, 3 * len(TURNING))
        numbers = np.concatenate([turns, self.shape], axis=-1)
        n_given = np.isfinite(numbers).sum(axis=-1)
        wrong = (n_given > 0) & (n_given < numbers.shape[-1]) | np.isinf(numbers).any(axis=-1)
        if wrong.any():
            row, side = np.argwhere(wrong)[0]
            raise ShapeError(
                f"turn_rad and shape have {n_given[row, side]} finite numbers in row {row}, side "
                f"{side}, expected all {numbers.shape[-1]} ({len(TURNING)} joints that turn, "
                f"{N_SHAPE} scores), or NaN everywhere"
            )
        if (n_given[~self.present] > 0).any():
            raise ShapeError("turn_rad and shape must be NaN where a hand is absent")
        if not np.isnan(self.turn_rad[:, :, list(TIPS)]).all():
            raise ShapeError("turn_rad must be NaN at the tips: they do not turn")

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """Presentation times ``(T,)`` in seconds."""
        base = self.meta.time_base
        return self.pts.astype(np.float64) * base.numerator / base.denominator

    @property
    def present(self) -> Bool:
        """Whether a hand has a pose, ``(T, 2)``; bridged ones count."""
        return np.asarray(self.provenance != ABSENT)

    @property
    def xyz_rel_mm(self) -> F32:
        """Joints relative to their own wrist, camera axes, ``(T, 2, 21, 3)``."""
        return self.xyz_cam_mm - self.xyz_cam_mm[:, :, :1]

    def rows(self, start: int, stop: int) -> "PoseTrack":
        """Cut out the rows ``start`` (included) to ``stop`` (excluded)."""
        arrays: dict[str, Any] = {n: getattr(self, n)[start:stop] for n in ROW_ARRAYS}
        return replace(self, **arrays)

    def unrefined(self) -> "PoseTrack":
        """Take it back to what its frames said: raw poses, no bridges, no pose of the model.

        How sure the joints are stays as it was told: by the refiner where there was one.
        """
        seen = self.present & (self.provenance != BRIDGED)
        return replace(
            self,
            uv_px=self.raw_uv_px,
            xyz_cam_mm=self.raw_xyz_cam_mm,
            confidence=np.where(seen[..., None], self.confidence, np.nan).astype(np.float32),
            visible=self.visible & seen[..., None],
            provenance=np.where(seen, self.provenance, ABSENT).astype(np.uint8),
            side_score=np.where(seen, self.side_score, np.nan).astype(np.float32),
            turn_rad=np.full_like(self.turn_rad, np.nan),
            shape=np.full_like(self.shape, np.nan),
        )


ROW_ARRAYS: Final = tuple(f.name for f in fields(PoseTrack) if f.name != "meta")


def concatenate(parts: list[PoseTrack]) -> PoseTrack:
    """Join consecutive windows of one track.

    Raises:
        TrackError: There is no part.
    """
    if not parts:
        raise TrackError("a track needs at least one window, got none")
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ROW_ARRAYS
    }
    return replace(parts[0], **arrays)


@dataclass(frozen=True)
class FrameLedger:
    """The account of every source frame, or of a window of them.

    Attributes:
        frame_index: ``(T,)`` int64.
        pts: ``(T,)`` int64.
        pts_seconds: ``(T,)`` float64.
        decode_status: ``(T,)`` uint8, codes of :data:`DECODE_STATUS`.
        reason: ``(T, 2)`` uint8, codes of :data:`REASONS`: posed, bridged, or why there is no pose.
    """

    frame_index: NDArray[np.int64]
    pts: NDArray[np.int64]
    pts_seconds: NDArray[np.float64]
    decode_status: NDArray[np.uint8]
    reason: NDArray[np.uint8]

    def __post_init__(self) -> None:
        t = len(self.frame_index)
        check_array("frame_index", self.frame_index, (t,), "int64")
        check_array("pts", self.pts, (t,), "int64")
        check_array("pts_seconds", self.pts_seconds, (t,), "float64")
        check_array("decode_status", self.decode_status, (t,), "uint8")
        check_array("reason", self.reason, (t, N_SIDES), "uint8")

    def __len__(self) -> int:
        return len(self.frame_index)

    def rows(self, start: int, stop: int) -> "FrameLedger":
        """Cut out the rows ``start`` (included) to ``stop`` (excluded)."""
        return FrameLedger(*(getattr(self, f.name)[start:stop] for f in fields(self)))

    def then(self, later: "FrameLedger") -> "FrameLedger":
        """Join with the rows that follow."""
        pairs = ((getattr(self, f.name), getattr(later, f.name)) for f in fields(self))
        return FrameLedger(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class LedgerCounts:
    """Counts over a whole clip; they must add up (:meth:`check`).

    Attributes:
        container_says: Frames that the container claims; None when it does not say.
        rows: Source frames that have a row.
        decoded: Rows with a picture, damaged ones included.
        damaged: Rows whose picture the decoder reports as damaged.
        failed: Rows without a picture.
        observed: Rows with a pose of the right and of the left hand, read in the frame itself.
        bridged: Rows with a pose filled between neighbours, right and left.
        absent: Rows without a pose, right and left.
        reasons: For right and left, the count of each of :data:`REASONS`.
        failed_frames: Indices of rows without a picture (the first 100).
    """

    container_says: int | None
    rows: int = 0
    decoded: int = 0
    damaged: int = 0
    failed: int = 0
    observed: tuple[int, int] = (0, 0)
    bridged: tuple[int, int] = (0, 0)
    absent: tuple[int, int] = (0, 0)
    reasons: tuple[tuple[int, ...], tuple[int, ...]] = ((0,) * len(REASONS),) * 2
    failed_frames: tuple[int, ...] = ()

    def add(self, ledger: FrameLedger) -> "LedgerCounts":
        """Give the counts with one more window."""
        status = np.bincount(ledger.decode_status, minlength=len(DECODE_STATUS))
        reasons = tuple(
            tuple(
                int(old + new)
                for old, new in zip(
                    self.reasons[s],
                    np.bincount(ledger.reason[:, s], minlength=len(REASONS)),
                    strict=True,
                )
            )
            for s in range(N_SIDES)
        )
        lost = ledger.frame_index[ledger.decode_status == DECODE_STATUS.index("lost")]
        return LedgerCounts(
            container_says=self.container_says,
            rows=self.rows + len(ledger.frame_index),
            decoded=self.decoded + int(status[0] + status[1]),
            damaged=self.damaged + int(status[1]),
            failed=self.failed + int(status[2]),
            observed=(reasons[0][POSED], reasons[1][POSED]),
            bridged=(reasons[0][IS_BRIDGED], reasons[1][IS_BRIDGED]),
            absent=(sum(reasons[0][IS_BRIDGED + 1 :]), sum(reasons[1][IS_BRIDGED + 1 :])),
            reasons=(reasons[0], reasons[1]),
            failed_frames=(*self.failed_frames, *(int(i) for i in lost))[:100],
        )

    def to_json(self) -> dict[str, Any]:
        """Give the counts as plain JSON values, by frames and by hands."""
        hands = {
            side: {
                "observed": self.observed[s],
                "bridged": self.bridged[s],
                "absent": self.absent[s],
                "reasons": {r: n for r, n in zip(REASONS, self.reasons[s], strict=True) if n},
            }
            for s, side in enumerate(SIDES)
        }
        frames = {
            "container_says": self.container_says,
            "rows": self.rows,
            "decoded": self.decoded,
            "damaged": self.damaged,
            "failed": self.failed,
            "failed_frames": list(self.failed_frames),
        }
        return {"frames": frames, "hands": hands}

    def check(self) -> None:
        """Raise unless every row is accounted for.

        Raises:
            TrackError: Some sum is off; that is a defect of ours, never of the clip.
        """
        if self.decoded + self.failed != self.rows:
            raise TrackError(
                f"ledger does not add up: {self.decoded} decoded + {self.failed} failed is not "
                f"{self.rows} rows; please report this clip"
            )
        for side in range(N_SIDES):
            total = self.observed[side] + self.bridged[side] + self.absent[side]
            if total != self.rows:
                raise TrackError(
                    f"ledger does not add up: {total} outcomes of side {side} for {self.rows} "
                    "rows; please report this clip"
                )
