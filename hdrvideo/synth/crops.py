"""Single hands cut out of pictures: what ``paste`` puts together, and the folder they lie in.

A folder of crops holds three files a hand, all squares of one size:

* ``NAME.jpg`` (or ``.png``): the picture.
* ``NAME.mask.png``: not 0 where the whole hand is, without its forearm; same size.
* ``NAME.json``: ``{"side": "right" | "left", "split": "train" | "test"}`` and, where known,
  ``"uv_px"`` (21 pairs in pixels of the crop, integer = pixel centre), ``"confidence"`` (21 values
  0..1) and ``"source"``. Other keys, such as ``"licence"``, are kept for people and not read.

``hdrvideo.harvest`` writes such folders; a user may bring any other set to this form.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, overload

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import N_JOINTS, check_array
from hdrvideo.errors import ShapeError
from hdrvideo.files import whole_file
from hdrvideo.hand import SIDES, side_index
from hdrvideo.synth.scene import Shot

SPLITS: Final = ("train", "test")
# Side of a crop over the longer side of the hand's box: room for the other hand, and the crop that
# the de-occlusion nets take.
CONTEXT: Final = 2.0
LEAST_CONTEXT: Final = 1.02
CROP_PX: Final = 256
JPEG_QUALITY: Final = 95


@dataclass(frozen=True)
class HandCrop:
    """A square picture of one hand that nothing hides.

    Attributes:
        rgb: ``(3, R, R)`` float32 0..1.
        mask: ``(R, R)`` bool, the whole hand without its forearm.
        side: 0 right, 1 left, as the picture shows it.
        source: Where it comes from, for people.
        split: ``train`` or ``test``.
        uv_px: ``(21, 2)`` float32 joints in pixels of the crop; None where not known.
        confidence: ``(21,)`` float32 0..1; None where ``uv_px`` is.
    """

    rgb: Tensor
    mask: Tensor
    side: int
    source: str
    split: str
    uv_px: Tensor | None = None
    confidence: Tensor | None = None

    def __post_init__(self) -> None:
        r = int(self.rgb.shape[-1])
        check_array("rgb", self.rgb, (3, r, r), "float32")
        check_array("mask", self.mask, (r, r), "bool")
        if self.side not in (0, 1):
            raise ShapeError(f"side of crop {self.source} is {self.side!r}, expected 0 or 1")
        if self.split not in SPLITS:
            raise ShapeError(
                f"split of crop {self.source} is {self.split!r}, expected one of {SPLITS}"
            )
        if not bool(self.mask.any()):
            raise ShapeError(f"mask of crop {self.source} is empty, expected a hand; remove it")
        if (self.uv_px is None) != (self.confidence is None):
            raise ShapeError(
                f"crop {self.source} has only one of uv_px and confidence; give both or none"
            )
        if self.uv_px is not None:
            check_array("uv_px", self.uv_px, (N_JOINTS, 2), "float32")
            check_array("confidence", self.confidence, (N_JOINTS,), "float32")

    @property
    def size_px(self) -> int:
        """Side of the square in pixels."""
        return int(self.mask.shape[-1])

    def mirrored(self) -> "HandCrop":
        """Give the mirror image: a hand of the other side."""
        uv_px = self.uv_px
        if uv_px is not None:
            uv_px = torch.stack([self.size_px - 1 - uv_px[:, 0], uv_px[:, 1]], dim=-1)
        return replace(
            self,
            rgb=self.rgb.flip(-1),
            mask=self.mask.flip(-1),
            side=1 - self.side,
            uv_px=uv_px,
        )


class CropFolder(Sequence[HandCrop]):
    """The crops of one split in a folder, read when asked for."""

    def __init__(self, folder: Path, split: str) -> None:
        """List the crops; :func:`load_crops` says what is raised."""
        if split not in SPLITS:
            raise ShapeError(f"split is {split!r}, expected one of {SPLITS}")
        if not folder.is_dir():
            raise ShapeError(f"crop folder {folder} does not exist; make one with synth harvest")
        self.folder = folder
        self._notes: list[tuple[str, dict[str, Any]]] = []
        # Names with a dot before them are of files that were not completed.
        for path in sorted(folder.glob("[!.]*.json")):
            note = _read_note(path)
            for there in (_picture_path(folder, path.stem), folder / f"{path.stem}.mask.png"):
                if not there.is_file():
                    raise ShapeError(f"crop {path.stem} has no {there}; add it or remove {path}")
            if note["split"] == split:
                self._notes.append((path.stem, note))

    def __len__(self) -> int:
        return len(self._notes)

    @overload
    def __getitem__(self, index: int) -> HandCrop: ...
    @overload
    def __getitem__(self, index: slice) -> list[HandCrop]: ...
    def __getitem__(self, index: int | slice) -> HandCrop | list[HandCrop]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name, note = self._notes[index]
        rgb_u8 = _read_picture(_picture_path(self.folder, name), cv2.IMREAD_COLOR)[..., ::-1]
        mask_u8 = _read_picture(self.folder / f"{name}.mask.png", cv2.IMREAD_GRAYSCALE)
        joints = [note.get(key) for key in ("uv_px", "confidence")]
        uv_px, confidence = (
            None if value is None else torch.tensor(value, dtype=torch.float32) for value in joints
        )
        return HandCrop(
            rgb=torch.from_numpy(rgb_u8.astype(np.float32) / 255).permute(2, 0, 1).contiguous(),
            mask=torch.from_numpy(mask_u8 > 0),
            side=side_index(note["side"]),
            source=str(note.get("source", name)),
            split=note["split"],
            uv_px=uv_px,
            confidence=confidence,
        )


def load_crops(folder: Path | str, split: str) -> CropFolder:
    """Open a folder of crops; the layout is in this module's text.

    Args:
        folder: Where ``NAME.jpg``, ``NAME.mask.png`` and ``NAME.json`` lie.
        split: ``train`` or ``test``.

    Raises:
        ShapeError: The folder or a hand's file is missing, or a note does not fit; when a crop is
            read: picture and mask differ in size, the mask is empty, a file is damaged.
    """
    return CropFolder(Path(folder), split)


def save_crop(crop: HandCrop, folder: Path, name: str, **more: Any) -> None:
    """Write a crop's three files; the note comes last, so what it names is complete.

    Args:
        crop: The hand.
        folder: Must be there.
        name: File name without suffix.
        more: Further plain values for the note, such as ``licence``.

    Raises:
        WriteError: A file cannot be written.
    """
    rgb_u8 = (crop.rgb.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
    mask_u8 = crop.mask.cpu().numpy().astype(np.uint8) * 255
    note: dict[str, Any] = {"side": SIDES[crop.side], "split": crop.split, "source": crop.source}
    if crop.uv_px is not None and crop.confidence is not None:
        note["uv_px"] = [[round(float(x), 2) for x in row] for row in crop.uv_px]
        note["confidence"] = [round(float(x), 3) for x in crop.confidence]
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    files = {
        ".jpg": cv2.imencode(".jpg", np.ascontiguousarray(rgb_u8[..., ::-1]), quality)[1].tobytes(),
        ".mask.png": cv2.imencode(".png", mask_u8)[1].tobytes(),
        ".json": (json.dumps(note | more, indent=1) + "\n").encode(),
    }
    for suffix, content in files.items():
        with whole_file(folder / f"{name}{suffix}", overwrite=True) as partial:
            partial.write_bytes(content)


def crops_from_shot(
    shot: Shot,
    *,
    split: str,
    source: str = "made",
    size_px: int = CROP_PX,
    context: float = CONTEXT,
) -> list[HandCrop]:
    """Cut the hands out of a made shot's bare pictures, where each is whole and alone.

    A hand that the picture's border cuts is left out, and one too large for a square round it.

    Args:
        shot: Any shot; a second hand is no hindrance, its arm stays in the background.
        split: Of the scenes that the shot shows.
        source: Name of where they come from; picture and side are added.
        size_px: Side of the crops.
        context: Side of the crop over the longer side of the hand's box.
    """
    _, _, height, width = shot.amodal.shape
    crops = []
    for b, side in shot.present.nonzero().tolist():
        mask = shot.amodal[b, side]
        rows, columns = (mask.any(dim=d).nonzero().flatten() for d in (1, 0))
        v0, v1, u0, u1 = (int(x) for x in (rows[0], rows[-1], columns[0], columns[-1]))
        if v0 == 0 or u0 == 0 or v1 == height - 1 or u1 == width - 1:
            continue
        square = square_round((u0, v0, u1, v1), width, height, context)
        if square is None:
            continue
        step = square[2] / size_px
        corner = torch.tensor(square[:2]) - 0.5 + step / 2
        rgb = _take_square(shot.bare_rgb[b, side], corner, step, size_px)
        inside = _take_square(mask[None].float(), corner, step, size_px)[0] >= 0.5
        if not bool(inside.any()):
            continue
        crops.append(
            HandCrop(
                rgb=rgb.clamp(0, 1),
                mask=inside,
                side=side,
                source=f"{source}:{b}:{SIDES[side]}",
                split=split,
                uv_px=(shot.uv_px[b, side] - corner.to(shot.uv_px)) / step,
                confidence=torch.ones(N_JOINTS, device=mask.device),
            )
        )
    return crops


def square_round(
    box_px: tuple[float, float, float, float], width: int, height: int, context: float
) -> tuple[float, float, float] | None:
    """Lay a square round a hand, slid and shrunk so that it stays inside the picture.

    What lies outside would have to be made up, and a mirror image could show a second hand.

    Args:
        box_px: u0, v0, u1, v1 of the outermost pixels.
        width: Of the picture.
        height: Of the picture.
        context: Wanted side over the longer side of the box.

    Returns:
        u and v of the square's corner (the picture's own is 0, 0, its first pixel's centre lies
        half a pixel further) and its side; None if no square in the picture leaves a margin.
    """
    u0, v0, u1, v1 = box_px
    longer = max(u1 - u0, v1 - v0) + 1
    side = min(context * longer, width, height)
    if side < LEAST_CONTEXT * longer:
        return None
    u = min(max((u0 + u1 + 1 - side) / 2, 0), width - side)
    v = min(max((v0 + v1 + 1 - side) / 2, 0), height - side)
    return u, v, side


def _take_square(picture: Tensor, corner_px: Tensor, step: float, size_px: int) -> Tensor:
    """Sample ``(C, H, W)`` at ``corner + step * (u, v)``, averaged first where it shrinks."""
    shrink = max(int(step), 1)
    small = functional.avg_pool2d(picture[None], shrink, ceil_mode=True)
    at = torch.arange(size_px, device=picture.device) * step
    u, v = ((at + float(c) + 0.5) / shrink - 0.5 for c in corner_px)
    height, width = small.shape[-2:]
    grid_v, grid_u = torch.meshgrid(
        2 * v / (height - 1) - 1, 2 * u / (width - 1) - 1, indexing="ij"
    )
    return functional.grid_sample(
        small,
        torch.stack([grid_u, grid_v], dim=-1)[None],
        padding_mode="border",
        align_corners=True,
    )[0]


def _picture_path(folder: Path, name: str) -> Path:
    png = folder / f"{name}.png"
    return png if png.is_file() else folder / f"{name}.jpg"


def _read_picture(path: Path, flags: int) -> Any:
    picture = cv2.imread(str(path), flags)
    if picture is None:
        raise ShapeError(f"{path} is no picture that can be read; remove the crop")
    return picture


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ShapeError(f"{path} cannot be read ({error}); remove the crop") from error
    if not isinstance(note, dict):
        raise ShapeError(f"{path} holds {type(note).__name__}, expected a mapping")
    for key, known in (("side", SIDES), ("split", SPLITS)):
        if note.get(key) not in known:
            raise ShapeError(f"{key} in {path} is {note.get(key)!r}, expected one of {known}")
    return note
