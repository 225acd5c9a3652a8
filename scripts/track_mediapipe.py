"""Write MediaPipe Hands' result of clips in our track format, so that one scorer judges both.

Usage (needs the extra ``compare``)::

    pip install ".[fast,compare]"
    python scripts/track_mediapipe.py BENCHMARK/clips/*.mp4 -o TRACKS
    hdrvideo validate ... TRACKS

writes ``TRACKS/<stem>/track.parquet``. MediaPipe runs in video mode with two hands and its default
thresholds, fed by the same decoder as ours. What its result does not say is filled by rules:

* **Sides**: MediaPipe names them as if the picture were a mirror, so they are exchanged. Where both
  hands of a frame have one side, the surer keeps it and the other takes the free one.
* **Picture**: ``uv_px`` are its image landmarks.
* **Space**: its world landmarks in millimetres, in their own size, moved to where they project best
  onto the image landmarks (least squares over the 21 joints) under a camera of ``--fov`` degrees
  over the longer side, 60 as our own annotate command assumes. So wrist-relative figures are
  MediaPipe's own, and the wrist's depth follows from the size it gives the hand.
* **Confidence** of every joint, and the score of the side, are its one score of a hand: how sure it
  is of the side.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdrvideo.clip import open_clip
from hdrvideo.datatypes import N_JOINTS, N_SIDES, ClipInfo
from hdrvideo.geometry import Camera
from hdrvideo.hand import side_index
from hdrvideo.output.save import save_track
from hdrvideo.track import ABSENT, N_SHAPE, OBSERVED, PoseTrack, TrackMeta

FOV_DEG = 60.0
NEAREST_MM = 50.0
SIDE_OF = {"Left": "right", "Right": "left"}


@dataclass(frozen=True)
class SeenHand:
    """A hand as MediaPipe gives it, its side exchanged.

    Attributes:
        side: 0 right, 1 left.
        score: 0..1, how sure of the side.
        uv_px: ``(21, 2)`` in the picture.
        xyz_mm: ``(21, 3)`` round the hand's middle, camera axes.
    """

    side: int
    score: float
    uv_px: np.ndarray
    xyz_mm: np.ndarray


def by_side(hands: list[SeenHand]) -> list[SeenHand | None]:
    """Give each side its hand; of two on one side the surer keeps it."""
    slots: list[SeenHand | None] = [None] * N_SIDES
    for hand in sorted(hands, key=lambda h: h.score, reverse=True):
        side = hand.side if slots[hand.side] is None else 1 - hand.side
        if slots[side] is None:
            slots[side] = hand
    return slots


def place(uv_px: np.ndarray, xyz_mm: np.ndarray, camera: Camera) -> np.ndarray:
    """Move a hand to where it projects best onto its joints in the picture.

    With ``a = (u - cx) / fx`` and the translation ``t`` every joint says ``x + t_x = a (z + t_z)``,
    and likewise for v: 42 linear equations for ``t``.

    Args:
        uv_px: ``(21, 2)``.
        xyz_mm: ``(21, 3)``, camera axes, any origin.
        camera: Pinhole camera of the clip.

    Returns:
        ``(21, 3)`` in the camera, no joint nearer than 50 mm.
    """
    rays = camera.lift(uv_px, np.ones(N_JOINTS))[:, :2]
    left = np.zeros((N_JOINTS, 2, 3))
    left[:, 0, 0] = left[:, 1, 1] = 1.0
    left[..., 2] = -rays
    right = rays * xyz_mm[:, 2:] - xyz_mm[:, :2]
    shift_mm = np.linalg.lstsq(left.reshape(-1, 3), right.reshape(-1), rcond=None)[0]
    shift_mm[2] = max(shift_mm[2], NEAREST_MM - xyz_mm[:, 2].min())
    return xyz_mm + shift_mm


def watch(clip: Path) -> Iterator[tuple[ClipInfo, int, list[SeenHand]]]:
    """Run MediaPipe over a clip; a frame without a picture has no hands.

    Yields:
        What is known of the clip, the frame's pts, and its hands.
    """
    import mediapipe as mp

    with (
        mp.solutions.hands.Hands(static_image_mode=False, max_num_hands=N_SIDES) as tracker,
        open_clip(clip) as reader,
    ):
        for frame in reader:
            found = None if frame.rgb_u8 is None else tracker.process(frame.rgb_u8)
            size = np.array([reader.info.width, reader.info.height])
            yield reader.info, frame.pts, [] if found is None else _seen(found, size)


def _seen(found: Any, size: np.ndarray) -> list[SeenHand]:
    parts = (found.multi_handedness, found.multi_hand_landmarks, found.multi_hand_world_landmarks)
    return [
        SeenHand(
            side=side_index(SIDE_OF[name.classification[0].label]),
            score=min(float(name.classification[0].score), 1.0),
            # MediaPipe's 0..1 spans the picture from edge to edge; our pixels have whole centres.
            uv_px=np.array([(p.x, p.y) for p in flat.landmark]) * size - 0.5,
            xyz_mm=np.array([(p.x, p.y, p.z) for p in solid.landmark]) * 1000,
        )
        for name, flat, solid in zip(*(p or [] for p in parts), strict=True)
    ]


def as_track(
    frames: list[list[SeenHand]], pts: list[int], info: ClipInfo, fov_deg: float
) -> PoseTrack:
    """Put the hands of all frames into a track."""
    camera = Camera.from_fov(fov_deg, info.width, info.height, source="assumed")
    n = len(frames)
    hand = (n, N_SIDES, N_JOINTS)
    uv_px = np.full((*hand, 2), np.nan, np.float32)
    xyz_mm = np.full((*hand, 3), np.nan, np.float32)
    score = np.full((n, N_SIDES), np.nan, np.float32)
    for t, hands in enumerate(frames):
        for side, seen in enumerate(by_side(hands)):
            if seen is not None:
                uv_px[t, side] = seen.uv_px
                xyz_mm[t, side] = place(seen.uv_px, seen.xyz_mm, camera)
                score[t, side] = seen.score
    is_found = np.isfinite(score)
    inside = (uv_px >= -0.5) & (uv_px <= np.array([info.width, info.height]) - 0.5)
    return PoseTrack(
        meta=TrackMeta(
            clip=Path(info.path).name,
            width=info.width,
            height=info.height,
            time_base=info.time_base,
            rate=info.rate,
            camera=camera,
            settings={"tracker": "mediapipe hands 0.10.14, video mode, two hands"},
        ),
        frame_index=np.arange(n, dtype=np.int64),
        pts=np.array(pts, dtype=np.int64),
        uv_px=uv_px,
        xyz_cam_mm=xyz_mm,
        raw_uv_px=uv_px,
        raw_xyz_cam_mm=xyz_mm,
        confidence=np.repeat(score[..., None], N_JOINTS, axis=-1),
        visible=inside.all(axis=-1),
        provenance=np.where(is_found, OBSERVED, ABSENT).astype(np.uint8),
        side_score=score,
        turn_rad=np.full_like(xyz_mm, np.nan),
        shape=np.full((n, N_SIDES, N_SHAPE), np.nan, np.float32),
    )


def main() -> None:
    """Track every clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the tracks")
    parser.add_argument("--fov", type=float, default=FOV_DEG, help="degrees over the longer side")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args()
    for clip in args.clips:
        rows = list(watch(clip))
        if not rows:
            raise SystemExit(f"{clip} has no frames")
        frames, pts = [hands for _, _, hands in rows], [time for _, time, _ in rows]
        track = as_track(frames, pts, rows[0][0], args.fov)
        folder = args.out / clip.stem
        folder.mkdir(parents=True, exist_ok=True)
        path = save_track(track, folder / "track.parquet", overwrite=args.overwrite)
        found = int(track.present.sum())
        print(f"{path}: {len(track)} frames, {found} hands", flush=True)


if __name__ == "__main__":
    main()
