"""Short made clips with both hands' bare pictures and true motion: what a painter's memory learns.

A clip is one ``.npz`` file; ``hdrvideo train clips`` makes a folder of them. Pictures are JPEGs,
masks bits; the motion of each whole hand to the frame before is kept in half precision (1/32 px
where hands move by less than 64 px).
"""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.config import check_number
from hdrvideo.datatypes import F32, N_JOINTS, N_SIDES, U8, Bool, check_array
from hdrvideo.errors import DataError, ShapeError
from hdrvideo.files import write_npz
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.arrange import SceneSettings, arrange
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.motions import Motions
from hdrvideo.synth.packing import pack_masks, pack_pictures, unpack_masks, unpack_picture
from hdrvideo.synth.render import Renderer
from hdrvideo.synth.scene import Shot

CLIP_VERSION: Final = 1
# In turn; where hands hide one another.
RELATIONS: Final = ("crossing", "touching", "interlocked")
# Part of the picture that the box round both hands takes.
HAND_SHARE: Final = (0.35, 0.9)
_REMEDY: Final = "make clips again with `hdrvideo train clips`"
# Direction of Shot.hand_flow_px: to the frame before.
_BEFORE: Final = 1
_FLOW_PX: Final = 1000.0


@dataclass(frozen=True)
class ClipSettings:
    """Which clips are made.

    Attributes:
        n_clips: How many.
        n_frames: Frames of each.
        first_seed: Seed of the first; the others' follow.
        size_px: Side of the pictures.
        scene_frames: Length of the scenes that frames are taken from, somewhere in them.
    """

    n_clips: int = 24
    n_frames: int = 16
    first_seed: int = 0
    size_px: int = 192
    scene_frames: int = 48

    def __post_init__(self) -> None:
        check_number("ClipSettings.n_clips", self.n_clips, 1, 1_000_000, whole=True)
        check_number("ClipSettings.n_frames", self.n_frames, 2, 1000, whole=True)
        check_number("ClipSettings.first_seed", self.first_seed, 0, 2**31 - 1, whole=True)
        check_number("ClipSettings.size_px", self.size_px, 16, 4096, whole=True)
        check_number(
            "ClipSettings.scene_frames", self.scene_frames, self.n_frames, 10_000, whole=True
        )


@dataclass(frozen=True)
class BareClip:
    """T frames in a row of a made clip; axis 1 is the side, 0 right and 1 left.

    Attributes:
        split: ``train`` or ``test``, of its people, pictures and motions.
        relation: What it shows.
        rgb_u8: ``(T, H, W, 3)``.
        bare_u8: ``(T, 2, H, W, 3)``, each hand alone.
        visible: ``(T, 2, H, W)`` bool.
        amodal: ``(T, 2, H, W)`` bool.
        uv_px: ``(T, 2, 21, 2)`` float32 joints; NaN where the hand is not there.
        before_px: ``(T, 2, H, W, 2)`` float32, where each pixel of a whole hand was in the frame
            before, as a way; NaN outside the hand and in the first frame of a scene.
    """

    split: str
    relation: str
    rgb_u8: U8
    bare_u8: U8
    visible: Bool
    amodal: Bool
    uv_px: F32
    before_px: F32

    def __post_init__(self) -> None:
        t, h, w = self.rgb_u8.shape[:3]
        check_array("rgb_u8", self.rgb_u8, (t, h, w, 3), "uint8")
        check_array("bare_u8", self.bare_u8, (t, N_SIDES, h, w, 3), "uint8")
        check_array("visible", self.visible, (t, N_SIDES, h, w), "bool")
        check_array("amodal", self.amodal, (t, N_SIDES, h, w), "bool")
        check_array("uv_px", self.uv_px, (t, N_SIDES, N_JOINTS, 2), "float32")
        check_array("before_px", self.before_px, (t, N_SIDES, h, w, 2), "float32")
        if self.split not in ("train", "test"):
            raise ShapeError(f"split is {self.split!r}, expected 'train' or 'test'")

    def __len__(self) -> int:
        return len(self.rgb_u8)


def make_clips(
    out: Path,
    split: str,
    settings: ClipSettings,
    assets: Assets,
    motions: Motions,
    *,
    device: str = "cpu",
    on_progress: Callable[[int], None] = lambda n: None,
) -> None:
    """Make a folder of clips; those that are there already are left.

    Args:
        out: The folder.
        split: Of the assets and motions.
        settings: Which clips.
        assets: Skins and backgrounds.
        motions: Poses and recordings.
        device: Where to render.
        on_progress: Called with the number of clips done.

    Raises:
        WriteError: The folder cannot be written.
    """
    model, renderer = HandModel(), Renderer(assets, device=device, flow=True)
    for number in range(settings.n_clips):
        seed = settings.first_seed + number
        path = out / f"clip_{seed:06d}.npz"
        if not path.exists():
            scene_settings = SceneSettings(
                n_frames=settings.scene_frames,
                height_px=settings.size_px,
                width_px=settings.size_px,
                relation=RELATIONS[seed % len(RELATIONS)],
                hand_share=HAND_SHARE,
            )
            scene = arrange(seed, scene_settings, assets, motions, model)
            start = int(
                np.random.default_rng([seed, 1]).integers(len(scene) - settings.n_frames + 1)
            )
            frames = [(scene, t) for t in range(start, start + settings.n_frames)]
            save_clip(path, clip_of(renderer(frames, effects_seed=seed), split, scene.relation))
        on_progress(number + 1)


def clip_of(shot: Shot, split: str, relation: str) -> BareClip:
    """Take a clip from a shot of frames in a row, with its flow."""

    def colours(rgb: Any) -> U8:
        rgb_u8 = (rgb.movedim(-3, -1) * 255).round().clamp(0, 255)
        return np.asarray(rgb_u8.cpu().numpy().astype(np.uint8))

    return BareClip(
        split=split,
        relation=relation,
        rgb_u8=colours(shot.rgb),
        bare_u8=colours(shot.bare_rgb),
        visible=shot.visible.cpu().numpy(),
        amodal=shot.amodal.cpu().numpy(),
        uv_px=shot.uv_px.cpu().numpy(),
        before_px=shot.hand_flow_px[:, _BEFORE].cpu().numpy(),
    )


def save_clip(path: Path, clip: BareClip) -> None:
    """Write a clip under a temporary name, then rename it.

    Raises:
        WriteError: The system refuses the write.
    """
    height, width = clip.rgb_u8.shape[1:3]
    pictures = [*clip.rgb_u8, *clip.bare_u8.reshape(-1, height, width, 3)]
    data, offsets = pack_pictures(pictures)
    # Beyond all pictures motion leads nowhere, and half precision ends.
    before_px = np.where(np.abs(clip.before_px) < _FLOW_PX, clip.before_px, np.nan)
    values: dict[str, Any] = {
        "version": CLIP_VERSION,
        "split": clip.split,
        "relation": clip.relation,
        "size_px": np.array([height, width]),
        "pictures": data,
        "offsets": offsets,
        "visible": pack_masks(clip.visible),
        "amodal": pack_masks(clip.amodal),
        "uv_px": clip.uv_px,
        "before_px": before_px.astype(np.float16),
    }
    write_npz(path, values, overwrite=True, make_folder=True)


def load_clip(path: Path) -> BareClip:
    """Read a clip.

    Raises:
        DataError: It is missing, damaged, or of another version.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            values: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
        if int(values.pop("version", np.array(-1))) != CLIP_VERSION:
            raise DataError(f"{path} is not of version {CLIP_VERSION}; {_REMEDY}")
        height, width = (int(n) for n in values["size_px"])
        offsets, n_frames = values["offsets"], len(values["uv_px"])
        rgb_u8 = np.stack(
            [unpack_picture(values["pictures"], offsets, k) for k in range(len(offsets) - 1)]
        )
        return BareClip(
            split=str(values["split"]),
            relation=str(values["relation"]),
            rgb_u8=rgb_u8[:n_frames],
            bare_u8=rgb_u8[n_frames:].reshape(n_frames, N_SIDES, height, width, 3),
            visible=unpack_masks(values["visible"], height, width),
            amodal=unpack_masks(values["amodal"], height, width),
            uv_px=values["uv_px"],
            before_px=values["before_px"].astype(np.float32),
        )
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error,
            ShapeError) as error:  # fmt: skip
        raise DataError(f"{path} is no bare clip of ours ({error}); {_REMEDY}") from error


def list_clips(folder: Path, split: str) -> list[Path]:
    """List the clips of a folder, in the order of their names; the first must be of the split.

    Raises:
        DataError: There are none, or they are of the other split.
    """
    paths = sorted(folder.glob("clip_*.npz"))
    if not paths:
        raise DataError(f"no bare clips in {folder}; make some with `hdrvideo train clips`")
    found = load_clip(paths[0]).split
    if found != split:
        raise DataError(f"{folder} holds clips of split {found}, expected {split}; name another")
    return paths
