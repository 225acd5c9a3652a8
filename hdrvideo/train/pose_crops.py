"""Examples for SHPE: crops of one hand, as tracking takes them.

Every hand is shown as a right hand, upright, in a square round its joints; bare (the hand alone, as
HDRM is to paint it) or as it is, with the other hand. Hands of the made world have true joints in
space; pasted real ones (AIH_Syn) have joints in the picture alone, read while nothing hid them;
those of the field's data sets have what their set knows (:mod:`hdrvideo.train.set_hands`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.config import check_number
from hdrvideo.datatypes import F32, N_JOINTS, U8, check_array
from hdrvideo.errors import DataError
from hdrvideo.geometry import (
    CropSquare,
    apply_affine,
    invert_affine,
    square_from_pose,
    turn_xy,
)
from hdrvideo.hand import JOINTS, WRIST
from hdrvideo.rotation import axis_angle_to_matrix
from hdrvideo.synth.stored import ShardPictures
from hdrvideo.train.bare_crops import (
    BarePicture,
    PastedBareHands,
    own_and_other,
    warp_masks,
)
from hdrvideo.train.model_pose import ModelPose
from hdrvideo.train.pair_truth import palm_in_picture, palm_in_space
from hdrvideo.train.views import spoil_colours

F64 = NDArray[np.float64]

_TRUTHS: Final = ("uv_px", "xyz_cam_mm", "joint_visible", "hidden_share", "present", "k_px")
_POSES: Final = ("pose", "shape")
_MIDDLE_MCP: Final = JOINTS.index("middle_mcp")
# Pastes without joints are drawn anew so often.
_TRIES: Final = 50
# Above this shrinkage a bilinear kernel alone would alias.
_SHRINK_FREELY: Final = 1.5


@dataclass(frozen=True)
class HandPicture:
    """A picture with the truth of one hand in it.

    Attributes:
        rgb_u8: ``(H, W, 3)``.
        side: 0 right, 1 left.
        uv_px: ``(21, 2)`` joints in the picture.
        palm_px: Length of the palm as it would look face on at its place.
        xyz_cam_mm: ``(21, 3)``; None = not known.
        visible: ``(21,)`` bool, in the picture with nothing but the hand itself before it; None =
            nobody told.
        masks: ``(4, H, W)`` bool own_visible, own_amodal, other_visible, other_amodal; None of a
            hand that is bare, or whose masks are not known.
        labelled: ``(21,)`` bool, which joints are true; the others are guesses that say where the
            hand is. None = all are.
        pose: As the hand model has it; None = not known or not asked for.
    """

    rgb_u8: U8
    side: int
    uv_px: F32
    palm_px: float
    xyz_cam_mm: F32 | None
    visible: NDArray[np.bool_] | None
    masks: NDArray[np.bool_] | None = None
    labelled: NDArray[np.bool_] | None = None
    pose: ModelPose | None = None

    def __post_init__(self) -> None:
        h, w = self.rgb_u8.shape[:2]
        check_array("rgb_u8", self.rgb_u8, (h, w, 3), "uint8")
        if self.masks is not None:
            check_array("masks", self.masks, (4, h, w), "bool")
        check_array("uv_px", self.uv_px, (N_JOINTS, 2), "float32")
        if self.xyz_cam_mm is not None:
            check_array("xyz_cam_mm", self.xyz_cam_mm, (N_JOINTS, 3), "float32")
        for name in ("visible", "labelled"):
            if getattr(self, name) is not None:
                check_array(name, getattr(self, name), (N_JOINTS,), "bool")


@dataclass(frozen=True)
class PoseExample:
    """A crop with its truth, in crop pixels and crop axes, always a right hand.

    Attributes:
        rgb_u8: ``(R, R, 3)``.
        uv_px: ``(21, 2)`` float32.
        xyz_mm: ``(21, 3)`` float32 from the wrist; zero where not known.
        bone_mm: Length of the reference bone, wrist to middle knuckle; 0 where not known.
        palm_px: Length of the palm as it would look face on at its place.
        visible: ``(21,)`` float32, 0 or 1.
        seen_told: Whether ``visible`` is known; if not, it is 0.
        labelled: ``(21,)`` float32, 0 or 1; the other joints are guesses.
        masks: ``(4, R, R)`` float32 0..1, as of the picture; None likewise.
        pose: Of the right hand that the crop shows; None = not known or not asked for.
    """

    rgb_u8: U8
    uv_px: F32
    xyz_mm: F32
    bone_mm: float
    palm_px: float
    visible: F32
    seen_told: bool
    labelled: F32
    masks: F32 | None = None
    pose: ModelPose | None = None


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn.

    Attributes:
        resolution_px: Side of the crop, a multiple of 32.
        scale: The square is so much larger or smaller, at most, as a part.
        shift: It is moved so far, at most, in its own sides; each way.
        turn_deg: It is turned so far, at most.
        spoil: How often each kind of damage happens to the colours; 0 leaves them alone.
    """

    resolution_px: int = 224
    scale: float = 0.15
    shift: float = 0.08
    turn_deg: float = 15.0
    spoil: float = 0.2

    def __post_init__(self) -> None:
        check_number("CropSettings.resolution_px", self.resolution_px, 32, 4096, whole=True)
        check_number("CropSettings.scale", self.scale, 0, 0.9)
        check_number("CropSettings.shift", self.shift, 0, 0.5)
        check_number("CropSettings.turn_deg", self.turn_deg, 0, 180)
        check_number("CropSettings.spoil", self.spoil, 0, 1)


class HandSource(Protocol):
    """Draws hands with their pictures."""

    def draw(self, rng: np.random.Generator, n: int, *, bare_share: float) -> list[HandPicture]:
        """Draw ``n`` hands, so many of them bare; alike for the same state of ``rng``."""


class MadeHands:
    """The hands of stored made pictures, one by one, bare or with all that is in the picture."""

    def __init__(
        self,
        folders: Sequence[Path],
        split: str,
        *,
        least_size_px: float = 20.0,
        most_hidden: float = 0.95,
        with_pose: bool = False,
    ) -> None:
        """Read shards into memory, still packed.

        Args:
            folders: Of ``synth shards``.
            split: ``train`` or ``test``, of which they must be.
            least_size_px: Hands whose joints span less of a picture are left out.
            most_hidden: Hands that are hidden by more are left out.
            with_pose: Give their poses, too.

        Raises:
            DataError: A folder holds no shards of ours or such of the other split, or there is no
                hand of use in any.
        """
        names = (*_TRUTHS, *_POSES) if with_pose else _TRUTHS
        self._shards = [ShardPictures(folder, split, truths=names) for folder in folders]
        self._truth = [{name: s.truth(name) for name in names} for s in self._shards]
        found = []
        for k, truth in enumerate(self._truth):
            uv_px = truth["uv_px"]
            with np.errstate(invalid="ignore"):
                span_px = (uv_px.max(axis=2) - uv_px.min(axis=2)).max(axis=-1)
                fits = truth["present"] & (span_px >= least_size_px)
                fits &= truth["hidden_share"] <= most_hidden
            fits &= np.isfinite(uv_px).all(axis=(2, 3))
            found += [(k, int(i), int(side)) for i, side in np.argwhere(fits)]
        if not found:
            raise DataError(
                f"no hand of {least_size_px:g} px or more in "
                f"{', '.join(map(str, folders)) or 'no folder'}; make some pictures with synth "
                "shards"
            )
        self._hands = np.array(found)

    def __len__(self) -> int:
        return len(self._hands)

    @property
    def hidden_share(self) -> F64:
        """Part of each hand that is hidden, ``(N,)``."""
        return np.array([self._truth[k]["hidden_share"][i, s] for k, i, s in self._hands])

    @property
    def is_pair(self) -> NDArray[np.bool_]:
        """Whether both hands are in each hand's picture, ``(N,)``."""
        return np.array([self._truth[k]["present"][i].all() for k, i, _ in self._hands])

    def get(self, index: int, *, bare: bool) -> HandPicture:
        """Give hand ``index`` with its picture; ``bare``, with nothing else before or beside it."""
        k, i, side = (int(n) for n in self._hands[index])
        truth, shards = self._truth[k], self._shards[k]
        rgb_u8 = shards.bare_rgb_u8(i, side) if bare else shards.rgb_u8(i)
        uv_px = truth["uv_px"][i, side]
        visible = truth["joint_visible"][i, side]
        if bare:
            visible = _is_inside(uv_px, rgb_u8.shape[1], rgb_u8.shape[0])
        xyz_cam_mm = truth["xyz_cam_mm"][i, side]
        palm_px = palm_in_space(xyz_cam_mm, truth["k_px"][i])
        masks = None if bare else own_and_other(*shards.masks(i), side)
        pose = None
        if "pose" in truth:
            turns = axis_angle_to_matrix(torch.from_numpy(truth["pose"][i, side]))
            pose = ModelPose(turns.numpy(), truth["shape"][i, side])
        return HandPicture(rgb_u8, side, uv_px, palm_px, xyz_cam_mm, visible, masks, pose=pose)

    def draw(self, rng: np.random.Generator, n: int, *, bare_share: float) -> list[HandPicture]:
        """Draw ``n`` hands, so many of them bare; alike for the same state of ``rng``."""
        chosen = rng.integers(len(self), size=n)
        bare = rng.random(n) < bare_share
        return [self.get(int(i), bare=bool(b)) for i, b in zip(chosen, bare, strict=True)]


class PastedHands:
    """Pasted real hands."""

    def __init__(self, pasted: PastedBareHands) -> None:
        self._pasted = pasted

    def draw(self, rng: np.random.Generator, n: int, *, bare_share: float) -> list[HandPicture]:
        """Draw ``n`` hands, so many of them bare; alike for the same state of ``rng``.

        Raises:
            DataError: Hardly any hand has joints.
        """
        drawn: list[HandPicture] = []
        for _ in range(_TRIES):
            if len(drawn) == n:
                return drawn
            for picture in self._pasted.draw(rng, n - len(drawn)):
                bare = bool(rng.random() < bare_share)
                # A hand without known joints teaches nothing here.
                if np.isfinite(picture.uv_px).all():
                    drawn.append(_pasted_hand(picture, bare=bare))
        raise DataError(
            "harvested hands have no joints to learn from; harvest them again with synth harvest, "
            "or set data.pasted_share to 0"
        )


def _pasted_hand(picture: BarePicture, *, bare: bool) -> HandPicture:
    uv_px, side = picture.uv_px, picture.side
    height, width = picture.known.shape
    visible, masks = _is_inside(uv_px, width, height), None
    if not bare:
        masks = own_and_other(picture.visible, picture.amodal, side)
        u, v = np.clip(np.rint(uv_px), 0, (width - 1, height - 1)).astype(int).T
        own, other = picture.visible[side][v, u], picture.visible[1 - side][v, u]
        whole = picture.amodal[side][v, u]
        visible &= own | ~(other | whole)
    palm_px = palm_in_picture(uv_px)
    rgb_u8 = picture.bare_u8 if bare else picture.rgb_u8
    return HandPicture(rgb_u8, side, uv_px, palm_px, None, visible, masks)


def _is_inside(uv_px: F32, width: int, height: int) -> NDArray[np.bool_]:
    inside = (uv_px > -0.5) & (uv_px < np.array([width - 0.5, height - 0.5]))
    return np.asarray(inside.all(axis=-1))


def draw_square(
    uv_px: NDArray[Any], rng: np.random.Generator, settings: CropSettings, *, mirror: bool
) -> CropSquare:
    """Draw a square as tracking might take it: larger or smaller, beside, turned."""
    square = square_from_pose(uv_px, mirror=mirror)
    scale, along_u, along_v, turn = rng.uniform(-1, 1, 4)
    size_px = square.size_px * (1 + settings.scale) ** scale
    return CropSquare(
        square.u_px + settings.shift * along_u * size_px,
        square.v_px + settings.shift * along_v * size_px,
        size_px,
        square.angle_rad + math.radians(settings.turn_deg) * turn,
        mirror,
    )


def take_example(picture: HandPicture, square: CropSquare, resolution_px: int) -> PoseExample:
    """Cut a square out of a hand's picture, with its truth.

    The 3D truth is turned as the crop is turned, no more: that is what the way back undoes. A hand
    at the frame's edge is seen from another direction than the camera's axis; this is left as it
    is.
    """
    frame_from_crop = square.frame_from_crop(resolution_px)
    crop_from_frame = invert_affine(frame_from_crop)
    masks = None
    if picture.masks is not None:
        masks = warp_masks(picture.masks, frame_from_crop, resolution_px)
    from_wrist = np.zeros((N_JOINTS, 3), dtype=np.float32)
    if picture.xyz_cam_mm is not None:
        from_wrist = picture.xyz_cam_mm - picture.xyz_cam_mm[WRIST]
    return PoseExample(
        rgb_u8=_sample(picture.rgb_u8, frame_from_crop, resolution_px),
        uv_px=apply_affine(crop_from_frame, picture.uv_px).astype(np.float32),
        xyz_mm=turn_xy(crop_from_frame, from_wrist).astype(np.float32),
        bone_mm=float(np.linalg.norm(from_wrist[_MIDDLE_MCP])),
        palm_px=picture.palm_px * resolution_px / square.size_px,
        visible=_flags(picture.visible, unknown=0),
        seen_told=picture.visible is not None,
        labelled=_flags(picture.labelled, unknown=1),
        masks=masks,
        pose=None if picture.pose is None else picture.pose.seen_in(crop_from_frame),
    )


def _flags(flags: NDArray[np.bool_] | None, *, unknown: float) -> F32:
    if flags is None:
        return np.full(N_JOINTS, unknown, dtype=np.float32)
    return flags.astype(np.float32)


def draw_pose_example(
    picture: HandPicture, rng: np.random.Generator, settings: CropSettings
) -> PoseExample:
    """Draw a crop of a hand and spoil its colours."""
    square = draw_square(picture.uv_px, rng, settings, mirror=picture.side == 1)
    example = take_example(picture, square, settings.resolution_px)
    return replace(example, rgb_u8=spoil_colours(example.rgb_u8, rng, settings.spoil))


def _sample(rgb_u8: U8, frame_from_crop: F64, resolution_px: int) -> U8:
    """Sample with the frame's border repeated outside, as the tracker's crops."""
    shrink = math.sqrt(abs(np.linalg.det(frame_from_crop[:, :2])))
    if shrink > _SHRINK_FREELY:
        rgb_u8 = np.asarray(cv2.GaussianBlur(rgb_u8, (0, 0), 0.4 * shrink), np.uint8)
    crop = cv2.warpAffine(
        rgb_u8,
        frame_from_crop,
        (resolution_px, resolution_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(crop, np.uint8)


def stack_pose_examples(examples: Sequence[PoseExample]) -> dict[str, Tensor]:
    """Stack examples into tensors; crops ``(B, 3, R, R)`` in 0..1, places in reference bones.

    ``in_space`` ``(B,)`` is 1 where the joints in space are known, else 0; ``seen_told`` ``(B,)``
    where it is known what is seen. Where any example has a pose there are ``turns``
    ``(B, 16, 3, 3)`` and ``shape`` ``(B, n)``; flat mean hands elsewhere.
    """
    rgb_u8 = np.stack([e.rgb_u8 for e in examples])
    scaled = np.multiply(rgb_u8, np.float32(1 / 255), dtype=np.float32)
    arrays = {
        "uv_px": np.stack([e.uv_px for e in examples]),
        "xyz": np.stack([e.xyz_mm / np.float32(max(e.bone_mm, 1.0)) for e in examples]),
        "bone_mm": np.array([e.bone_mm for e in examples], np.float32),
        "in_space": np.array([e.bone_mm > 0 for e in examples], np.float32),
        "palm_px": np.array([e.palm_px for e in examples], np.float32),
        "visible": np.stack([e.visible for e in examples]),
        "seen_told": np.array([e.seen_told for e in examples], np.float32),
        "labelled": np.stack([e.labelled for e in examples]),
    }
    poses = [e.pose for e in examples]
    known = next((pose for pose in poses if pose is not None), None)
    if known is not None:
        flat = ModelPose(np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)), 0 * known.shape)
        arrays["turns"] = np.stack([(pose or flat).turns for pose in poses])
        arrays["shape"] = np.stack([(pose or flat).shape for pose in poses])
    stacked = {name: torch.from_numpy(value) for name, value in arrays.items()}
    return {"rgb": torch.from_numpy(scaled).permute(0, 3, 1, 2), **stacked}
