"""Small pose tracks for tests: absent and bridged hands, a missing first frame, odd frame rates."""

from fractions import Fraction

import numpy as np

from hdrvideo.geometry import Camera
from hdrvideo.hand import JOINTS, SIDES
from hdrvideo.track import (
    ABSENT,
    BRIDGED,
    DECODE_STATUS,
    DEOCCLUDED,
    FRAME_LOST,
    IS_BRIDGED,
    N_SHAPE,
    NOT_FOUND,
    OBSERVED,
    POSED,
    ROW_ARRAYS,
    TURNING,
    FrameLedger,
    PoseTrack,
    TrackMeta,
)

NTSC = Fraction(30000, 1001)
HAND = (len(SIDES), len(JOINTS))


def make_meta(
    width: int = 640, height: int = 480, time_base: Fraction = 1 / NTSC, clip: str = "clip.mp4"
) -> TrackMeta:
    camera = Camera.from_fov(60, width, height, source="assumed")
    rate = 1 / time_base if time_base.numerator > 1 else None
    settings = {"smooth": {"seconds": 0.2}, "device": "cpu"}
    return TrackMeta(clip, width, height, time_base, rate, camera, settings, "0.1.0")


def make_hands(n: int, meta: TrackMeta, seed: int = 0) -> np.ndarray:
    """Give two waving hands ``(n, 2, 21, 3)`` in camera millimetres."""
    rng = np.random.default_rng(seed)
    fingers = np.linspace(-0.5, 0.5, 5)
    reach = np.array([35.0, 60.0, 80.0, 95.0])
    palm = np.zeros((21, 3))
    for f, angle in enumerate(fingers):
        span = reach * (0.8 if f in (0, 4) else 1.0)
        palm[1 + 4 * f : 5 + 4 * f, 0] = np.sin(angle) * span
        palm[1 + 4 * f : 5 + 4 * f, 1] = -np.cos(angle) * span
        palm[1 + 4 * f : 5 + 4 * f, 2] = -0.1 * span
    phase = np.arange(n) / 15
    xyz = np.empty((n, *HAND, 3))
    for s, centre in enumerate((-110.0, 110.0)):
        sway = np.stack([40 * np.sin(phase + s), 25 * np.cos(phase), 30 * np.sin(phase / 3)], -1)
        xyz[:, s] = palm * (-1 if s else 1, 1, 1) + np.array([centre, 60, 500]) + sway[:, None]
    return xyz + rng.normal(0, 0.2, xyz.shape)


def make_track(
    n: int = 12,
    *,
    provenance: dict[tuple[int, int, int], int] | None = None,
    meta: TrackMeta | None = None,
    pts: np.ndarray | None = None,
    first_index: int = 0,
    seed: int = 0,
    posed: bool = False,
) -> PoseTrack:
    """Make a track; ``provenance`` sets codes for ``(side, start, stop)``; the rest is observed.

    ``posed``: with some pose of the hand model, which does not fit the joints.
    """
    meta = meta or make_meta()
    codes = np.full((n, 2), OBSERVED, np.uint8)
    for (side, start, stop), code in (provenance or {}).items():
        codes[start:stop, side] = code
    rng = np.random.default_rng(seed + 1)
    xyz = make_hands(n, meta, seed)
    raw = xyz + rng.normal(0, 2, xyz.shape)
    confidence = np.clip(0.8 + rng.normal(0, 0.1, (n, *HAND)), 0, 1)
    visible = rng.random((n, *HAND)) < 0.8
    visible[codes != OBSERVED] &= rng.random((int((codes != OBSERVED).sum()), 21)) < 0.3
    absent, bridged = codes == ABSENT, codes == BRIDGED
    xyz[absent] = np.nan
    raw[absent | bridged] = np.nan
    confidence[absent] = np.nan
    confidence[bridged] *= 0.4
    visible[absent | bridged] = False
    side_score = np.where(absent, np.nan, 0.9)
    turn_rad, shape = np.full((n, *HAND, 3), np.nan), np.full((n, 2, N_SHAPE), np.nan)
    if posed:
        turn_rad[:, :, list(TURNING)] = rng.normal(0, 0.5, (n, 2, len(TURNING), 3))
        shape = rng.normal(0, 1, shape.shape)
        turn_rad[absent], shape[absent] = np.nan, np.nan
    return PoseTrack(
        meta=meta,
        frame_index=np.arange(first_index, first_index + n, dtype=np.int64),
        pts=np.arange(n, dtype=np.int64) + first_index if pts is None else pts,
        uv_px=meta.camera.project(xyz).astype(np.float32),
        xyz_cam_mm=xyz.astype(np.float32),
        raw_uv_px=meta.camera.project(raw).astype(np.float32),
        raw_xyz_cam_mm=raw.astype(np.float32),
        confidence=confidence.astype(np.float32),
        visible=visible,
        provenance=codes,
        side_score=side_score.astype(np.float32),
        turn_rad=turn_rad.astype(np.float32),
        shape=shape.astype(np.float32),
    )


def absent_in_the_middle() -> PoseTrack:
    """29.97 a second; the left hand goes for four frames and is bridged for two; with poses."""
    middle = {(1, 4, 8): ABSENT, (1, 8, 10): BRIDGED, (0, 2, 3): DEOCCLUDED}
    return make_track(12, provenance=middle, posed=True)


def first_frame_missing() -> PoseTrack:
    """The first frame was lost, so neither hand is there in row 0."""
    return make_track(7, provenance={(0, 0, 1): ABSENT, (1, 0, 1): ABSENT})


def variable_rate() -> PoseTrack:
    """Milliseconds, uneven steps, a start before zero, and the right hand gone at the end."""
    pts = np.array([-40, 0, 33, 66, 180, 213, 246, 247, 400], np.int64)
    meta = make_meta(time_base=Fraction(1, 1000), clip="phone clip.mov")
    return make_track(9, provenance={(0, 6, 9): ABSENT}, meta=meta, pts=pts)


def no_hands(n: int = 5) -> PoseTrack:
    return make_track(n, provenance={(0, 0, n): ABSENT, (1, 0, n): ABSENT})


CASES = {
    "absent in the middle, 29.97": absent_in_the_middle,
    "first frame missing": first_frame_missing,
    "variable rate": variable_rate,
}


def make_ledger(track: PoseTrack, *, lost: tuple[int, ...] = ()) -> FrameLedger:
    """Account for a track's rows; absent hands were not found, ``lost`` rows have no picture."""
    status = np.zeros(len(track), np.uint8)
    reason = np.full((len(track), 2), POSED, np.uint8)
    reason[track.provenance == BRIDGED] = IS_BRIDGED
    reason[track.provenance == ABSENT] = NOT_FOUND
    for row in lost:
        status[row] = DECODE_STATUS.index("lost")
        reason[row][track.provenance[row] == ABSENT] = FRAME_LOST
    return FrameLedger(track.frame_index, track.pts, track.pts_seconds, status, reason)


def same_track(a: PoseTrack, b: PoseTrack) -> None:
    """Assert equality bit for bit, NaN included."""
    assert a.meta == b.meta
    for name, value in vars(a).items():
        if name != "meta":
            other = getattr(b, name)
            assert value.dtype == other.dtype, name
            assert value.shape == other.shape, name
            assert value.tobytes() == other.tobytes(), name


def with_gaps(gaps, n: int = 60, fps: int = 30) -> PoseTrack:
    """Make a track whose hands are absent in ``(side, start, stop)``."""
    meta = make_meta(time_base=Fraction(1, fps))
    return make_track(n, provenance=dict.fromkeys(gaps, ABSENT), meta=meta)


def random_track(seed: int, n: int, fps: int) -> PoseTrack:
    rng = np.random.default_rng(seed)
    gaps = []
    for side in (0, 1):
        start = int(rng.integers(0, 20))
        while start < n:
            stop = start + int(rng.choice([1, 2, 7, 20, 60, 90]) * fps / 240) + 1
            gaps.append((side, start, min(stop, n)))
            start = stop + int(rng.integers(1, 100))
    return with_gaps(gaps, n, fps)


def same_windows(a, b) -> None:
    """Assert that two tracks with their ledgers agree but for rounding."""
    (track, ledger), (other, other_ledger) = a, b
    for name in ROW_ARRAYS:
        ours, theirs = getattr(track, name), getattr(other, name)
        if ours.dtype == np.float32:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
    for name, value in vars(ledger).items():
        np.testing.assert_array_equal(value, getattr(other_ledger, name), err_msg=name)
