"""Examples for HDRM: a crop with both hands, four masks as HASM would give them, the bare crop.

The crop is the square that a hand is read in: round its joints, turned with it, a left hand
mirrored, and a little beside where it should be, as when a hand is followed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hdrvideo.config import check_number
from hdrvideo.datatypes import F32, U8, Bool, check_array
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.geometry import CropSquare, apply_affine, invert_affine, square_from_pose
from hdrvideo.synth.packing import pack_masks, pack_pictures, unpack_masks, unpack_picture
from hdrvideo.synth.paste import Pasted, PasteSettings
from hdrvideo.synth.stored import ShardPictures
from hdrvideo.train.mask_damage import spoil_masks
from hdrvideo.train.pictures import PasteGroups, hand_free_pictures

# Side of a hand's square over that of its box.
_SCALE: Final = 2.0
# So many of the other hand's joints in the square make a hand worth painting.
_LEAST_JOINTS: Final = 3
_JPEG_QUALITY: Final = 95
_PASTED_PX: Final = 192


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn.

    Attributes:
        resolution_px: Side of the crops, a multiple of 64.
        scale_share: Greatest growth or shrinkage of the square, as a share.
        shift_share: Greatest shift to each side over the square's side.
        turn_deg: Greatest turn.
        box_share: Part of the squares round the hand's mask, any way up, as for a hand that cannot
            be read.
        spoil: How often each kind of damage to the masks happens; 0 leaves them as they are.
        no_other_share: How often the other hand's masks are empty.
        recolour: Change light and colour.
    """

    resolution_px: int = 128
    scale_share: float = 0.15
    shift_share: float = 0.08
    turn_deg: float = 15.0
    box_share: float = 0.1
    spoil: float = 0.7
    no_other_share: float = 0.05
    recolour: bool = True

    def __post_init__(self) -> None:
        check_number("CropSettings.resolution_px", self.resolution_px, 64, 4096, whole=True)
        if self.resolution_px % 64:
            raise SettingsError(
                f"CropSettings.resolution_px is {self.resolution_px}, expected a multiple of 64"
            )
        check_number("CropSettings.scale_share", self.scale_share, 0, 0.9)
        check_number("CropSettings.turn_deg", self.turn_deg, 0, 180)
        for name in ("shift_share", "box_share", "spoil", "no_other_share"):
            check_number(f"CropSettings.{name}", getattr(self, name), 0, 1)
        if not isinstance(self.recolour, bool):
            raise SettingsError(
                f"CropSettings.recolour is {self.recolour!r}, expected true or false"
            )


@dataclass(frozen=True)
class BarePicture:
    """A picture with two hands, and the same with one of them alone.

    Attributes:
        rgb_u8: ``(H, W, 3)``.
        bare_u8: ``(H, W, 3)`` with the hand of ``side`` alone.
        known: ``(H, W)`` bool; ``bare_u8`` is true.
        visible: ``(2, H, W)`` bool, sides 0 right, 1 left.
        amodal: ``(2, H, W)`` bool.
        uv_px: ``(21, 2)`` float32 joints of the hand; NaN where not known.
        side: Of the hand.
    """

    rgb_u8: U8
    bare_u8: U8
    known: Bool
    visible: Bool
    amodal: Bool
    uv_px: F32
    side: int

    def __post_init__(self) -> None:
        h, w = self.rgb_u8.shape[:2]
        check_array("rgb_u8", self.rgb_u8, (h, w, 3), "uint8")
        check_array("bare_u8", self.bare_u8, (h, w, 3), "uint8")
        check_array("known", self.known, (h, w), "bool")
        check_array("visible", self.visible, (2, h, w), "bool")
        check_array("amodal", self.amodal, (2, h, w), "bool")
        check_array("uv_px", self.uv_px, (21, 2), "float32")


@dataclass(frozen=True)
class BareExample:
    """One example, ``R`` wide; masks are own_visible, own_amodal, other_visible, other_amodal.

    Attributes:
        rgb_u8: ``(R, R, 3)`` as seen.
        bare_u8: ``(R, R, 3)`` the truth.
        known: ``(R, R)`` float32, 1 where the truth is known.
        masks: ``(4, R, R)`` float32 0..1 as the net is told them.
        exact: ``(4, R, R)`` float32 0..1 as they are.
        uv_px: ``(21, 2)`` float32 joints of the hand in the crop; NaN where not known.
    """

    rgb_u8: U8
    bare_u8: U8
    known: F32
    masks: F32
    exact: F32
    uv_px: F32


class BareSource(Protocol):
    """Draws pictures with their bare hands."""

    def draw(self, rng: np.random.Generator, n: int) -> list[BarePicture]:
        """Draw ``n``; the same state of ``rng`` gives the same ones."""


class MadeBareHands:
    """The hands of the made world, from shards, that have another hand in their square."""

    def __init__(self, folders: Sequence[Path], split: str) -> None:
        """Read the shards into memory, still packed.

        Args:
            folders: Of ``synth shards``.
            split: ``train`` or ``test``, of which they must be.

        Raises:
            DataError: A folder holds no shards of ours or such of the other split, or no hand in
                any has another one beside it.
        """
        self._shards = [ShardPictures(folder, split, truths=("uv_px",)) for folder in folders]
        self._uv_px = [shards.truth("uv_px") for shards in self._shards]
        self._hands: list[tuple[int, int, int]] = []
        for k, joints in enumerate(self._uv_px):
            self._hands += [(k, int(i), int(s)) for i, s in np.argwhere(worth_painting(joints))]
        if not self._hands:
            raise DataError(
                f"no hand in {', '.join(map(str, folders)) or 'no folder'} has another beside it; "
                "make pictures with synth shards"
            )

    def __len__(self) -> int:
        return len(self._hands)

    def __getitem__(self, index: int) -> BarePicture:
        k, i, side = self._hands[index]
        shards = self._shards[k]
        rgb_u8, (visible, amodal) = shards.rgb_u8(i), shards.masks(i)
        known = np.ones(rgb_u8.shape[:2], dtype=bool)
        bare_u8 = shards.bare_rgb_u8(i, side)
        return BarePicture(rgb_u8, bare_u8, known, visible, amodal, self._uv_px[k][i, side], side)

    def draw(self, rng: np.random.Generator, n: int) -> list[BarePicture]:
        """Draw ``n``."""
        return [self[int(i)] for i in rng.integers(len(self), size=n)]


def pair_groups(crops: str, hand_free: Sequence[str], *, seed: int) -> PasteGroups:
    """Give pastes that all show two hands, over pictures without hands.

    Args:
        crops: Folder of harvested hands.
        hand_free: Folders of pictures without hands.
        seed: Of the pastes.

    Raises:
        DataError: There is no hand of split train.
        ShapeError: A folder is missing, or a hand is damaged.
    """
    settings = PasteSettings(size_px=_PASTED_PX, hand_share=(0.25, 0.6), one_share=0, none_share=0)
    backgrounds = hand_free_pictures([Path(f) for f in hand_free], "train")
    return PasteGroups(Path(crops), "train", backgrounds, settings, seed=seed)


class PastedBareHands:
    """Pasted pictures with their bare hands, made when first drawn and kept packed."""

    def __init__(self, groups: PasteGroups, *, n_groups: int = 120) -> None:
        """Make nothing yet; ``n_groups`` are made at most."""
        self._groups = groups
        self._n_groups = n_groups
        self._made: dict[int, dict[str, NDArray[Any]]] = {}

    def draw(self, rng: np.random.Generator, n: int) -> list[BarePicture]:
        """Draw ``n``."""
        return [self._draw(rng) for _ in range(n)]

    def _draw(self, rng: np.random.Generator) -> BarePicture:
        group = self._group(int(rng.integers(self._n_groups)))
        i, side = int(rng.integers(PasteGroups.SIZE)), int(rng.integers(2))
        pictures, offsets = group["pictures"], group["offsets"]
        rgb_u8 = unpack_picture(pictures, offsets, 3 * i)
        visible, amodal, known = (
            unpack_masks(group[name][i], *rgb_u8.shape[:2])
            for name in ("visible", "amodal", "known")
        )
        return BarePicture(
            rgb_u8,
            unpack_picture(pictures, offsets, 3 * i + 1 + side),
            known[side],
            visible,
            amodal,
            group["uv_px"][i, side],
            side,
        )

    def _group(self, number: int) -> dict[str, NDArray[Any]]:
        if number not in self._made:
            self._made[number] = _packed(self._groups.make(number))
        return self._made[number]


def _packed(made: Pasted) -> dict[str, NDArray[Any]]:
    pictures = torch.cat([made.rgb[:, None], made.bare_rgb], dim=1).flatten(0, 1)
    pictures_u8 = (pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    data, offsets = pack_pictures(list(pictures_u8), quality=_JPEG_QUALITY)
    masks = {"visible": made.visible, "amodal": made.amodal, "known": made.bare_valid}
    packed = {name: pack_masks(mask.numpy()) for name, mask in masks.items()}
    return {"pictures": data, "offsets": offsets, "uv_px": made.uv_px.numpy(), **packed}


def worth_painting(uv_px: F32) -> Bool:
    """Tell ``(N, 2)`` which hands of pictures ``(N, 2, 21, 2)`` have the other in their square.

    The square is taken upright here; hands whose joints are not known have nothing in theirs.
    """
    low, high = uv_px.min(axis=2, keepdims=True), uv_px.max(axis=2, keepdims=True)
    reach = (high - low).max(axis=-1, keepdims=True) * (_SCALE / 2)
    away = np.abs(uv_px[:, ::-1] - (low + high) / 2)
    return np.asarray((away <= reach).all(axis=-1).sum(axis=-1) >= _LEAST_JOINTS)


def draw_crop(
    picture: BarePicture, rng: np.random.Generator, settings: CropSettings
) -> BareExample:
    """Draw a square round the hand, cut everything out, spoil masks and colours."""
    square = _draw_square(picture, rng, settings)
    side_px = settings.resolution_px
    affine = square.frame_from_crop(side_px)
    pair = np.concatenate([picture.rgb_u8, picture.bare_u8], axis=2)
    warped = warp_pictures(pair, affine, side_px, cv2.BORDER_REPLICATE)
    masks = own_and_other(picture.visible, picture.amodal, picture.side)
    exact = warp_masks(masks, affine, side_px)
    known = warp_pictures(picture.known.astype(np.uint8), affine, side_px, cv2.BORDER_REPLICATE)
    if settings.recolour:
        warped = recolour(warped, rng)
    return BareExample(
        rgb_u8=np.ascontiguousarray(warped[..., :3]),
        bare_u8=np.ascontiguousarray(warped[..., 3:]),
        known=known.astype(np.float32),
        masks=spoil_masks(exact, rng, settings.spoil, settings.no_other_share),
        exact=exact,
        uv_px=apply_affine(invert_affine(affine), picture.uv_px).astype(np.float32),
    )


def _draw_square(
    picture: BarePicture, rng: np.random.Generator, settings: CropSettings
) -> CropSquare:
    mirror = picture.side == 1
    is_boxed = rng.random() < settings.box_share or not np.isfinite(picture.uv_px).all()
    rows, columns = np.nonzero(picture.amodal[picture.side])
    if is_boxed and len(rows):
        u, v = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
        size = max(int(np.ptp(columns)), int(np.ptp(rows)), 8) + 1
        angle = rng.uniform(-math.pi, math.pi)
        square = CropSquare(float(u), float(v), _SCALE * size, angle, mirror)
    elif is_boxed:
        height, width = picture.known.shape
        square = CropSquare((width - 1) / 2, (height - 1) / 2, float(max(height, width)), 0, mirror)
    else:
        square = square_from_pose(picture.uv_px, mirror=mirror)
    grown = math.log1p(settings.scale_share) * rng.uniform(-1, 1)
    shift = settings.shift_share * square.size_px * rng.uniform(-1, 1, 2)
    return CropSquare(
        square.u_px + float(shift[0]),
        square.v_px + float(shift[1]),
        square.size_px * math.exp(grown),
        square.angle_rad + math.radians(settings.turn_deg) * rng.uniform(-1, 1),
        mirror,
    )


def own_and_other(visible: Bool, amodal: Bool, side: int) -> Bool:
    """Give masks by hand, ``(4, H, W)``: own_visible, own_amodal, other_visible, other_amodal.

    Args:
        visible: ``(2, H, W)`` by side.
        amodal: ``(2, H, W)`` by side.
        side: Of the hand.
    """
    return np.stack([visible[side], amodal[side], visible[1 - side], amodal[1 - side]])


def warp_masks(masks: Bool, affine: NDArray[np.float64], side_px: int) -> F32:
    """Cut masks ``(4, H, W)`` as a crop is cut: ``(4, R, R)`` 0..1, nothing beyond the picture."""
    masks_u8 = np.ascontiguousarray(masks.transpose(1, 2, 0)).astype(np.uint8) * 255
    cut = warp_pictures(masks_u8, affine, side_px, cv2.BORDER_CONSTANT).transpose(2, 0, 1)
    exact: F32 = np.multiply(cut, np.float32(1 / 255), dtype=np.float32)
    return exact


def warp_pictures(source_u8: U8, affine: NDArray[np.float64], side_px: int, border: int) -> U8:
    """Cut pictures ``(H, W, C)`` laid behind one another, C at most 4 or 6, bilinear."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # OpenCV moves at most four channels at once.
    parts = [
        cv2.warpAffine(
            np.ascontiguousarray(part), affine, (side_px, side_px), flags=flags, borderMode=border
        )
        for part in (np.split(source_u8, 2, axis=2) if source_u8.shape[2:] == (6,) else [source_u8])
    ]
    return np.concatenate(parts, axis=2) if len(parts) > 1 else np.asarray(parts[0])


def recolour(pictures_u8: U8, rng: np.random.Generator) -> U8:
    """Change light and colour of pictures ``(R, R, 3 n)`` laid behind one another, all alike."""
    gain = rng.uniform(0.85, 1.18, 3) * rng.uniform(0.75, 1.25)
    saturation, gamma = rng.uniform(0.5, 1.3), math.exp(0.25 * rng.standard_normal())
    matrix = saturation * np.eye(3) + (1 - saturation) / 3
    table = (np.linspace(0, 1, 256) ** gamma * 255).round().astype(np.uint8)
    changed = []
    for part in np.split(pictures_u8, pictures_u8.shape[2] // 3, axis=2):
        moved = cv2.transform(np.ascontiguousarray(part), gain[:, None] * matrix)
        changed.append(cv2.LUT(moved, table))
    return np.concatenate(changed, axis=2)
