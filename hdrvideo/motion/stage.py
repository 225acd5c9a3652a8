"""MotionStage: raw poses in, refined poses out, window by window.

Short gaps are bridged; the refiner (:mod:`hdrvideo.motion.refine`) says how both hands are posed,
in the seen frames and in the bridged ones; all is smoothed, and hands that pass through one another
are parted (:mod:`hdrvideo.motion.contact`). What is told is the refiner's form in depth, and means
of it and the frames' own joints in the picture and depth of the wrist: their errors differ, and the
means are nearer to the truth than either (see docs/measurements.md).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hdrvideo.config import MotionSettings
from hdrvideo.datatypes import N_SIDES
from hdrvideo.motion.bridge import BRIDGE_FRAMES, bridge
from hdrvideo.motion.chunks import next_window
from hdrvideo.motion.contact import part_hands
from hdrvideo.motion.smooth import (
    F64,
    REACH_FRAMES,
    SPEED_FRAMES,
    CausalSmoother,
    label_runs,
    smooth_zero_phase,
    window_widths,
)
from hdrvideo.motion.windows import WINDOW_FRAMES, Refiner
from hdrvideo.track import (
    ABSENT,
    BRIDGED,
    TURNING,
    FrameLedger,
    PoseTrack,
    concatenate,
)

# A frame hangs on neighbours within the smoother's reach and on those that tell its speed; each of
# those on the refiner's windows; a bridged one of those on the two ends of its gap.
# Longer windows than the usual ones add to it.
CONTEXT_FRAMES = REACH_FRAMES + SPEED_FRAMES + WINDOW_FRAMES + BRIDGE_FRAMES + 1
# With a limit to what is looked ahead, so many frames are read before those that are given out.
_LIVE_BEHIND = 48
# What the refiner counts in the picture, beside the frames' own joints.
_PICTURE_SHARE = 0.4
# No refined joint is nearer to the camera.
NEAREST_MM = 10.0
# Trust in a bridged frame beside a seen one.
_BRIDGED_WEIGHT = 0.1


class MotionStage:
    """Refines a stream of raw windows; what comes out does not depend on where windows fall.

    (But with ``ahead_frames`` in the settings: then each frame is as good as can be said so soon.)
    """

    def __init__(self, settings: MotionSettings, refiner: Refiner | None = None) -> None:
        self._settings = settings
        self._refiner = None if settings.causal else refiner
        longer = 0 if self._refiner is None else self._refiner.frames - WINDOW_FRAMES
        self._behind = self._ahead = CONTEXT_FRAMES + max(longer, 0)
        if settings.ahead_frames is not None and settings.ahead_frames < self._ahead:
            self._behind, self._ahead = _LIVE_BEHIND, settings.ahead_frames
        self._track: PoseTrack | None = None
        self._ledger: FrameLedger | None = None
        self._first = 0
        self._owned = 0
        self._causal = [CausalSmoother() for _ in range(N_SIDES)]

    def push(
        self, track: PoseTrack, ledger: FrameLedger
    ) -> Iterator[tuple[PoseTrack, FrameLedger]]:
        """Take the next raw rows; give what can be refined by now.

        Args:
            track: Raw poses; the refined arrays are not read.
            ledger: The same rows' ledger.

        Yields:
            Refined rows and their ledger, bridged frames marked.
        """
        if self._settings.causal:
            yield self._smooth_causal(track), ledger
            return
        if self._track is None or self._ledger is None:
            self._track, self._ledger = track, ledger
        else:
            self._track = concatenate([self._track, track])
            self._ledger = self._ledger.then(ledger)
        yield from self._emit(is_end=False)

    def finish(self) -> Iterator[tuple[PoseTrack, FrameLedger]]:
        """Give the rows that are left."""
        yield from self._emit(is_end=True)

    def _emit(self, *, is_end: bool) -> Iterator[tuple[PoseTrack, FrameLedger]]:
        while self._track is not None and self._ledger is not None:
            window = next_window(
                self._owned,
                self._first + len(self._track),
                own=self._settings.own_frames,
                behind=self._behind,
                ahead=self._ahead,
                is_end=is_end,
            )
            if window is None:
                return
            read = (window.read_start - self._first, window.read_stop - self._first)
            track, ledger = refine_window(
                *(self._track.rows(*read), self._ledger.rows(*read)),
                *(self._settings, self._refiner),
            )
            yield track.rows(*window.own), ledger.rows(*window.own)
            self._owned = window.own_stop
            keep_from = max(self._owned - self._behind, self._first)
            drop = keep_from - self._first
            self._track = self._track.rows(drop, len(self._track))
            self._ledger = self._ledger.rows(drop, len(self._ledger))
            self._first = keep_from

    def _smooth_causal(self, track: PoseTrack) -> PoseTrack:
        uv, z = track.raw_uv_px.astype(np.float64), track.raw_xyz_cam_mm[..., 2].astype(np.float64)
        for t, seconds in enumerate(track.pts_seconds):
            for s in range(N_SIDES):
                there = bool(track.present[t, s])
                size = float(np.ptp(uv[t, s], axis=0).max()) if there else 1.0
                # Depth enters as log; a hand size is its share of the depth in it.
                values = np.concatenate([uv[t, s].ravel(), np.log(z[t, s])])
                sizes = np.repeat([size, size / track.meta.camera.fx_px], [42, 21])
                out = self._causal[s].step(float(seconds), values if there else None, size=sizes)
                if out is not None:
                    uv[t, s], z[t, s] = out[:42].reshape(21, 2), np.exp(out[42:])
        xyz = track.meta.camera.lift(uv, z).astype(np.float32)
        return replace(track, uv_px=uv.astype(np.float32), xyz_cam_mm=xyz)


def refine_window(
    track: PoseTrack,
    ledger: FrameLedger,
    settings: MotionSettings,
    refiner: Refiner | None = None,
) -> tuple[PoseTrack, FrameLedger]:
    """Bridge and refine one window of raw poses.

    Args:
        track: Raw poses; the refined arrays are not read.
        ledger: The same rows.
        settings: Widths in seconds.
        refiner: None = poses are smoothed only.

    Returns:
        The refined track, and the ledger with bridged frames marked.
    """
    bridged, reason = bridge(track, ledger, settings)
    if refiner is None:
        refined = smooth(bridged, settings)
    else:
        refined = part_hands(smooth(refine(track, bridged, refiner), settings))
    return refined, replace(ledger, reason=reason)


def smooth(track: PoseTrack, settings: MotionSettings) -> PoseTrack:
    """Smooth a track, hand by hand.

    That is u, v and the logarithm of depth, lifted again, so a smoothed pose projects onto its own
    2D joints as a raw one does.
    """
    if settings.smooth_seconds == 0:
        return track
    uv = track.uv_px.astype(np.float64)
    log_z = np.log(track.xyz_cam_mm[..., 2].astype(np.float64))
    for s in range(N_SIDES):
        weight = np.maximum(np.nan_to_num(track.confidence[:, s].mean(axis=1)), 1e-3)
        weight[track.provenance[:, s] == BRIDGED] = _BRIDGED_WEIGHT
        runs = label_runs(track.provenance[:, s] != ABSENT)
        _smooth_hand(
            track.pts_seconds, uv[:, s], log_z[:, s], weight, runs, settings.smooth_seconds
        )
    xyz = track.meta.camera.lift(uv, np.exp(log_z)).astype(np.float32)
    return replace(track, uv_px=uv.astype(np.float32), xyz_cam_mm=xyz)


def refine(raw: PoseTrack, bridged: PoseTrack, refiner: Refiner) -> PoseTrack:
    """Refine a track where it has a hand, bridged or seen; it gets the hand model's pose there."""
    hands, sure = refiner(
        *(int(raw.frame_index[0]), raw.pts_seconds, raw.raw_uv_px, raw.raw_xyz_cam_mm),
        *(raw.confidence, raw.visible, raw.meta.camera),
    )
    there = bridged.present
    xyz = np.where(there[..., None, None], hands.xyz_cam_mm.numpy(), np.nan)
    # A hand that comes too near would have no place in the picture.
    depth_mm = np.maximum(xyz[..., 2], NEAREST_MM)
    xyz[..., 2] = depth_mm
    wrist_mm = np.sqrt(depth_mm[..., :1] * bridged.xyz_cam_mm[..., :1, 2])
    depth_mm = np.maximum(depth_mm - depth_mm[..., :1] + wrist_mm, NEAREST_MM)
    uv = _PICTURE_SHARE * raw.meta.camera.project(xyz) + (1 - _PICTURE_SHARE) * bridged.uv_px
    confidence = np.where(there[..., None], sure, np.nan).astype(np.float32)
    turn_rad = np.full(xyz.shape, np.nan, dtype=np.float32)
    turn_rad[:, :, list(TURNING)] = np.where(there[..., None, None], hands.pose.numpy(), np.nan)
    shape = np.where(there[..., None], hands.shape.numpy(), np.nan).astype(np.float32)
    return replace(
        bridged,
        uv_px=uv.astype(np.float32),
        xyz_cam_mm=raw.meta.camera.lift(uv, depth_mm).astype(np.float32),
        confidence=confidence,
        turn_rad=turn_rad,
        shape=shape,
    )


def _smooth_hand(
    seconds: F64, uv_px: F64, log_z: F64, weight: F64, runs: NDArray[np.int64], still_seconds: float
) -> None:
    """Smooth one hand in place.

    Pixels follow a fast hand closely. Depth is read off the hand's size in one frame, is noisy for
    it and changes slowly: its window stays wide.
    """
    t = len(seconds)
    width = window_widths(seconds, uv_px, runs, still_seconds=still_seconds)
    flat = smooth_zero_phase(seconds, uv_px.reshape(t, -1), weight, runs, sigma_seconds=width)
    uv_px[:] = flat.reshape(uv_px.shape)
    wide = np.full(t, still_seconds)
    log_z[:] = smooth_zero_phase(seconds, log_z, weight, runs, sigma_seconds=wide)
