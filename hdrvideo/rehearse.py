"""Made clips seen through the frame core: what ``train refine`` learns from.

Scenes of the made world are rendered, spoiled as by a camera, and go through the very parts that
``annotate`` uses, up to the temporal stage; what comes out is kept beside the truth. No picture is
kept. Scenes can also be kept by themselves, unread: pictures take most of the time, and the errors
of other clips can be laid on their truth (:mod:`hdrvideo.train.refine_windows`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from hdrvideo.build import build_parts, pick_device
from hdrvideo.config import Settings, check_number
from hdrvideo.datatypes import N_JOINTS, N_SIDES, ClipInfo, Frame
from hdrvideo.geometry import Camera
from hdrvideo.pipeline import ASSUMED_FOV_DEG, raw_windows
from hdrvideo.sheets import shot_pictures
from hdrvideo.synth.arrange import SceneSettings
from hdrvideo.synth.scene import Scene
from hdrvideo.track import ABSENT, PoseTrack, concatenate
from hdrvideo.train.practice import PracticeTrack, save_practice
from hdrvideo.world import BENCHMARK_HAND_SHARE, World

# How often each of ``scene.RELATIONS`` is drawn: mostly hands that have to do with one another.
_SHARES: Final = (0.13, 0.19, 0.24, 0.25, 0.1, 0.03, 0.0, 0.06)
_FRAME_SECONDS: Final = (1 / 30, 1 / 30, 1 / 30, 1 / 24, 1 / 60)
_TRUTHS: Final = ("uv_px", "xyz_cam_mm", "present", "hidden_share", "pose")
Truths = dict[str, list[NDArray[Any]]]


@dataclass(frozen=True)
class RehearsalSettings:
    """What clips to make.

    Attributes:
        n_clips: How many.
        first_seed: The first clip's seed; the others follow.
        n_frames: Frames a clip.
        size_px: Width and height of the pictures.
        unread: Only arrange scenes; render and read nothing.
    """

    n_clips: int
    first_seed: int = 0
    n_frames: int = 48
    size_px: tuple[int, int] = (320, 240)
    unread: bool = False

    def __post_init__(self) -> None:
        check_number("n_clips", self.n_clips, 1, 1_000_000, whole=True)
        check_number("first_seed", self.first_seed, 0, 2**31 - 1, whole=True)
        check_number("n_frames", self.n_frames, 1, 100_000, whole=True)


def rehearse(
    world: World,
    out: Path,
    settings: RehearsalSettings,
    *,
    device: str = "auto",
    on_progress: Callable[[int], None] = lambda n: None,
) -> None:
    """Make practice tracks, ``OUT/<seed>.npz``; those that are there already are left.

    Args:
        world: What the clips are made of; its split is theirs.
        out: The folder.
        settings: What clips.
        device: Where the frame core runs.
        on_progress: Called with the number of clips done.

    Raises:
        WriteError: A file cannot be written.
    """
    reader = None if settings.unread else _Reader(world, device)
    for number in range(settings.n_clips):
        seed = settings.first_seed + number
        path = out / f"{seed:08d}.npz"
        if not path.exists():
            scene = world.scene(seed, _scene_settings(seed, settings))
            track = _unread(scene, world) if reader is None else reader(scene)
            save_practice(path, track)
        on_progress(number + 1)


def _scene_settings(seed: int, settings: RehearsalSettings) -> SceneSettings:
    width, height = settings.size_px
    return SceneSettings(
        n_frames=settings.n_frames,
        width_px=width,
        height_px=height,
        frame_seconds=_FRAME_SECONDS[seed % len(_FRAME_SECONDS)],
        relation_shares=_SHARES,
        hand_share=BENCHMARK_HAND_SHARE,
        glove_share=0.0,
    )


def _time_base(scene: Scene) -> Fraction:
    return Fraction(scene.frame_seconds).limit_denominator(60_000)


def _info(scene: Scene) -> ClipInfo:
    base = _time_base(scene)
    return ClipInfo(
        path=f"scene {scene.seed}",
        width=scene.width_px,
        height=scene.height_px,
        rotation_deg=0,
        rate=1 / base,
        time_base=base,
        n_frames_container=len(scene),
        is_variable_rate=False,
        has_audio=False,
        codec="made",
        pixel_format="rgb24",
    )


class _Reader:
    """Renders scenes and has them read by the frame core."""

    def __init__(self, world: World, device: str) -> None:
        self._world = world
        self._core = Settings(refine="off")
        self._parts = build_parts(self._core, pick_device(device))

    def __call__(self, scene: Scene) -> PracticeTrack:
        truths: Truths = {name: [] for name in _TRUTHS}
        frames = _frames(scene, self._world, truths)
        windows = raw_windows(frames, _info(scene), self._core, self._parts)
        track = concatenate([window for window, _ in windows])
        return _joined(scene, track, {n: np.concatenate(parts) for n, parts in truths.items()})


def _unread(scene: Scene, world: World) -> PracticeTrack:
    """Give a scene as a track that nobody read; a hand is present if a joint is in the picture."""
    t = len(scene)
    shape = torch.from_numpy(scene.shape).repeat(t, 1)
    sides = torch.tensor([0, 1]).repeat(t)
    pose = torch.from_numpy(scene.pose.reshape(2 * t, -1, 3))
    joints_mm = world.model.joints(pose, shape, side=sides).reshape(t, 2, N_JOINTS, 3).numpy()
    xyz_mm = joints_mm + scene.wrist_mm[:, :, None]
    seen = xyz_mm @ scene.k_px[:, None].swapaxes(-1, -2)
    uv_px = (seen[..., :2] / np.maximum(seen[..., 2:], 1.0)).astype(np.float32)
    size = np.array([scene.width_px, scene.height_px])
    inside = ((uv_px >= 0) & (uv_px < size) & (seen[..., 2:] > 1)).all(axis=-1).any(axis=-1)
    there = scene.present[..., None, None]
    true = {
        "uv_px": np.where(there, uv_px, np.nan),
        "xyz_cam_mm": np.where(there, xyz_mm, np.nan).astype(np.float32),
        "present": scene.present & inside,
        "hidden_share": np.full((t, 2), np.nan, dtype=np.float32),
        "pose": scene.pose,
    }
    return _joined(scene, None, true)


def _frames(scene: Scene, world: World, truths: Truths) -> Iterator[Frame]:
    """Render a scene frame by frame and lay its truths aside."""
    index = 0
    for shot in world.shots(scene):
        for name, parts in truths.items():
            parts.append(getattr(shot, name).cpu().numpy())
        for picture in shot_pictures(shot):
            yield Frame(index, index, _time_base(scene), picture)
            index += 1


def _joined(scene: Scene, track: PoseTrack | None, true: dict[str, Any]) -> PracticeTrack:
    base = _time_base(scene)
    camera = Camera.from_fov(ASSUMED_FOV_DEG, scene.width_px, scene.height_px, source="assumed")
    hand = (len(scene), N_SIDES)
    said: dict[str, Any] = {
        "raw_uv_px": np.full((*hand, N_JOINTS, 2), np.nan, dtype=np.float32),
        "raw_xyz_cam_mm": np.full((*hand, N_JOINTS, 3), np.nan, dtype=np.float32),
        "confidence": np.full((*hand, N_JOINTS), np.nan, dtype=np.float32),
        "visible": np.zeros((*hand, N_JOINTS), dtype=bool),
        "provenance": np.full(hand, ABSENT, dtype=np.uint8),
    }
    if track is not None:
        said = {name: getattr(track, name) for name in said}
    return PracticeTrack(
        split=scene.split,
        relation=scene.relation,
        pts_seconds=np.arange(len(scene), dtype=np.float64) * float(base),
        k_px=camera.matrix.astype(np.float32),
        true_k_px=scene.k_px[0],
        shape=scene.shape,
        **said,
        **true,
    )
