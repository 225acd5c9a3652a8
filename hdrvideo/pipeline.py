"""The journey of a frame: clip -> crop -> frame -> motion -> PoseTrack. Read this file first.

::

    open_clip     every source frame in order, with its time          clip/read.py
    HandFollower  where the hands are, frame by frame                 crop/follow.py
      PalmFinder    palms in the whole frame, when needed             crop/find.py
      Segmenter     both hands' masks                                 crop/segment.py
      HandReader    the square crops and their way back               crop/read.py
      FrameStage    one crop -> one hand, painted bare where needed   frame/stage.py
        PaintMemory   what is remembered of it from frames before     motion/steady.py
    AheadPictures pictures that are kept: painted from both sides     crop/ahead.py
      PaintAhead    what frames before and after show of a hand       motion/ahead.py
    SideDecider   which hand is right and which is left               crop/sides.py
    lift_pairs    2D joints and 3D shape -> millimetres in the camera frame/lift.py
    MotionStage   bridging and refining over windows                  motion/stage.py
    MasksCompleted  masks that are kept: where the refined hands lie  motion/outline.py

Everything is a stream: memory does not grow with the length of the clip.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdrvideo import __version__
from hdrvideo.build import Parts, build_parts, pick_device
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.crop.ahead import AheadPictures
from hdrvideo.crop.follow import HandFollower
from hdrvideo.crop.sides import SideDecider, SidedFrame
from hdrvideo.crop.sighting import TrackedFrame
from hdrvideo.datatypes import N_JOINTS, ClipInfo, Frame, KeptCrop
from hdrvideo.frame.lift import lift_pairs
from hdrvideo.geometry import Camera
from hdrvideo.handmask import HandMask
from hdrvideo.motion.outline import MasksCompleted
from hdrvideo.motion.stage import MotionStage
from hdrvideo.track import (
    ABSENT,
    DECODE_STATUS,
    DEOCCLUDED,
    N_SHAPE,
    OBSERVED,
    FrameLedger,
    PoseTrack,
    TrackMeta,
    concatenate,
)

ASSUMED_FOV_DEG = 60.0
# A hand of which a larger share is hidden is no longer just observed.
DEOCCLUDED_SHARE = 0.25
Window = tuple[PoseTrack, FrameLedger]
OnMasks = Callable[[int, int, HandMask], None]
OnCrops = Callable[[int, int, KeptCrop], None]


def annotate(
    clip: str | Path, *, settings: Settings | None = None, device: str = "auto"
) -> PoseTrack:
    """Find and follow both hands through a clip.

    Args:
        clip: A video file, a folder of pictures, or a glob pattern.
        settings: What may be changed; None = the defaults.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        The whole track, one row for every source frame.

    Raises:
        HdrVideoError: The clip, the settings or the weights cannot be used; see ``errors.py``.
    """
    return concatenate(list(stream(clip, settings=settings, device=device)))


def stream(
    clip: str | Path, *, settings: Settings | None = None, device: str = "auto"
) -> Iterator[PoseTrack]:
    """As :func:`annotate`, but yield the track window by window, in constant memory."""
    settings = settings or Settings()
    parts = build_parts(settings, pick_device(device))
    with open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader:
        for track, _ in pose_windows(reader, reader.info, settings, parts):
            yield track


def pose_windows(
    frames: Iterable[Frame],
    info: ClipInfo,
    settings: Settings,
    parts: Parts,
    on_masks: OnMasks | None = None,
    on_crops: OnCrops | None = None,
) -> Iterator[Window]:
    """Run the whole journey over a clip.

    Args:
        frames: All source frames in order, such as an open clip.
        info: What is known of the clip.
        settings: What may be changed.
        parts: The nets, from :func:`hdrvideo.build.build_parts`.
        on_masks: Called with frame index, side and masks, in the order of frames, for every hand
            that has masks; completed by the refined track.
        on_crops: Called likewise with every hand's picture; None = no picture is made.

    Yields:
        Consecutive windows of the track and of the frame ledger.
    """
    motion = MotionStage(settings.motion, parts.refiner)
    masks = None if on_masks is None else MasksCompleted(on_masks)
    keep_masks = None if masks is None else masks.put
    raw = raw_windows(frames, info, settings, parts, keep_masks, on_crops)
    for window in refined_windows(raw, motion):
        if masks is not None:
            masks.give(window[0])
        yield window


def refined_windows(raw: Iterable[Window], motion: MotionStage) -> Iterator[Window]:
    """Refine a stream of raw windows."""
    for window in raw:
        yield from motion.push(*window)
    yield from motion.finish()


def raw_windows(
    frames: Iterable[Frame],
    info: ClipInfo,
    settings: Settings,
    parts: Parts,
    on_masks: OnMasks | None = None,
    on_crops: OnCrops | None = None,
) -> Iterator[Window]:
    """As :func:`pose_windows`, but before the temporal stage: what each frame itself says.

    Masks are the net's own.
    """
    meta = track_meta(info, settings)
    follower = HandFollower(
        finder=parts.finder,
        read_hands=parts.frame_stage,
        resolution_px=parts.frame_stage.resolution_px,
        settings=settings.follow,
        segmenter=parts.segmenter,
        paint=parts.frame_stage.paint if parts.frame_stage.can_paint else None,
        remember=parts.frame_stage.remembers,
        keep_crops=on_crops is not None,
        keep_views=parts.ahead is not None,
    )
    rows: Iterable[TrackedFrame] = map(follower.step, frames)
    if on_crops is not None and parts.ahead is not None:
        rows = painted_ahead(rows, AheadPictures(parts.ahead))
    sides = SideDecider(settings.side, mirror=settings.mirror)
    for sided in sided_frames(rows, sides):
        if on_masks is not None:
            give_masks(sided, on_masks)
        if on_crops is not None:
            give_crops(sided, on_crops)
        yield assemble(sided, meta)


def painted_ahead(rows: Iterable[TrackedFrame], pictures: AheadPictures) -> Iterator[TrackedFrame]:
    """Let the hands' pictures wait for the frames after them; each row comes once, in order."""
    for row in rows:
        yield from pictures.push(row)
    yield from pictures.finish()


def sided_frames(rows: Iterable[TrackedFrame], sides: SideDecider) -> Iterator[list[SidedFrame]]:
    """Say the hands' sides, some frames at a time, each frame once."""
    for row in rows:
        decided = sides.push(row)
        if decided:
            yield decided
    decided = sides.finish()
    if decided:
        yield decided


def give_masks(frames: list[SidedFrame], take: OnMasks) -> None:
    """Hand on every mask, in the order of frames."""
    for frame in frames:
        for side, hand in enumerate(frame.hands):
            if hand is not None and hand.mask is not None:
                take(frame.frame.index, side, hand.mask)


def give_crops(frames: list[SidedFrame], take: OnCrops) -> None:
    """Hand on every picture of a hand, in the order of frames."""
    for frame in frames:
        for side, hand in enumerate(frame.hands):
            if hand is not None and hand.crop is not None:
                take(frame.frame.index, side, hand.crop)


def track_meta(info: ClipInfo, settings: Settings) -> TrackMeta:
    """Say what holds for the whole track, the camera and its source among it."""
    return TrackMeta(
        clip=Path(info.path).name,
        width=info.width,
        height=info.height,
        time_base=info.time_base,
        rate=info.rate,
        camera=pick_camera(info, settings),
        settings=settings.to_json(),
        version=__version__,
    )


def pick_camera(info: ClipInfo, settings: Settings) -> Camera:
    """Take the camera from the user, else from metadata, else assume a 60 degree view."""
    if settings.focal_px is not None:
        return Camera.from_focal(settings.focal_px, info.width, info.height, source="given")
    if settings.fov_deg is not None:
        return Camera.from_fov(settings.fov_deg, info.width, info.height, source="given")
    if info.focal_px is not None:
        return Camera.from_focal(info.focal_px, info.width, info.height, source="metadata")
    return Camera.from_fov(ASSUMED_FOV_DEG, info.width, info.height, source="assumed")


def assemble(frames: list[SidedFrame], meta: TrackMeta) -> Window:
    """Put sided frames into arrays and the hands into the camera; nothing is refined yet."""
    t = len(frames)
    uv = np.full((t, 2, 21, 2), np.nan, dtype=np.float32)
    xyz = np.full((t, 2, 21, 3), np.nan, dtype=np.float32)
    confidence = np.full((t, 2, 21), np.nan, dtype=np.float32)
    side_score = np.full((t, 2), np.nan, dtype=np.float32)
    hidden = np.full((t, 2), np.nan)
    provenance = np.full((t, 2), ABSENT, dtype=np.uint8)
    mirror = bool(meta.settings["mirror"])
    for n, frame in enumerate(frames):
        for side, hand in enumerate(frame.hands):
            if hand is None:
                continue
            uv[n, side], xyz[n, side] = hand.joints_px, hand.xyz_mm
            confidence[n, side] = hand.confidence
            shows_right = (side == 0) != mirror
            side_score[n, side] = hand.right_score if shows_right else 1 - hand.right_score
            if hand.mask is not None:
                hidden[n, side] = hand.mask.hidden_share()
            is_hidden = hidden[n, side] > DEOCCLUDED_SHARE
            provenance[n, side] = DEOCCLUDED if is_hidden else OBSERVED
    lifted = lift_pairs(uv, xyz, meta.camera, confidence=confidence, hidden=hidden)
    xyz = lifted.astype(np.float32)
    visible = np.stack([seen_joints(frame, meta) for frame in frames])
    pts = np.array([f.frame.pts for f in frames], dtype=np.int64)
    index = np.array([f.frame.index for f in frames], dtype=np.int64)
    track = PoseTrack(
        meta=meta,
        frame_index=index,
        pts=pts,
        uv_px=uv,
        xyz_cam_mm=xyz,
        raw_uv_px=uv,
        raw_xyz_cam_mm=xyz,
        confidence=confidence,
        visible=visible,
        provenance=provenance,
        side_score=side_score,
        turn_rad=np.full_like(xyz, np.nan),
        shape=np.full((t, 2, N_SHAPE), np.nan, dtype=np.float32),
    )
    ledger = FrameLedger(
        frame_index=index,
        pts=pts,
        pts_seconds=track.pts_seconds,
        decode_status=np.array([DECODE_STATUS.index(f.status) for f in frames], dtype=np.uint8),
        reason=np.array([f.reasons for f in frames], dtype=np.uint8),
    )
    return track, ledger


def seen_joints(frame: SidedFrame, meta: TrackMeta) -> NDArray[np.bool_]:
    """Say ``(2, 21)`` which joints are seen: in the picture, and not behind anything.

    A joint is behind something where its hand's mask has a hidden part, or where the other hand is
    seen and its own is not.
    """
    seen = np.zeros((2, N_JOINTS), dtype=bool)
    limit = np.array([meta.width - 0.5, meta.height - 0.5])
    for side, hand in enumerate(frame.hands):
        if hand is None:
            continue
        uv_px = hand.joints_px
        seen[side] = np.all((uv_px >= -0.5) & (uv_px <= limit), axis=-1)
        if hand.mask is None:
            continue
        own = hand.mask.visible_at(uv_px)
        seen[side] &= ~((hand.mask.amodal_at(uv_px) >= 0.5) & (own < 0.5))
        other = frame.hands[1 - side]
        if other is not None and other.mask is not None:
            seen[side] &= ~((other.mask.visible_at(uv_px) >= 0.5) & (own < 0.5))
    return seen
