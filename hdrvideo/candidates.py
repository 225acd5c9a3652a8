"""Which hands of a track are good enough to be cut out: seen, sure, large, whole, alone, sharp."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import F32, U8, Bool
from hdrvideo.errors import SettingsError
from hdrvideo.geometry import Camera, CropSquare
from hdrvideo.hand import SIDES
from hdrvideo.synth.crops import CROP_PX, square_round
from hdrvideo.track import ABSENT, OBSERVED, PoseTrack

# Sides of the crop over that of the hand's box; the widest that shows no other hand is taken.
CONTEXTS: Final = (2.0, 1.7, 1.4)
# A large hand in a narrow picture gets a crop that leaves the picture, whose border is drawn out,
# if at least this part of its side lies inside.
PADDED_CONTEXT: Final = 1.15
LEAST_INSIDE: Final = 0.65
# A mask that comes so near to the picture's border may be of a hand that it cuts.
RIM_PX: Final = 4.0
# The skin goes so far beyond the joints, over the longer side of their box.
SKIN_SHARE: Final = 0.1
SHARPNESS_BLUR_PX: Final = 1.5


@dataclass(frozen=True)
class HarvestRules:
    """Which hands are good enough.

    Attributes:
        min_confidence: Least presence of the hand, 0..1.
        min_side_score: Least certainty of its side, 0..1.
        min_hand_px: Least longer side of the box round its joints.
        border_share: Least distance of joints from the picture's border, over that side.
        max_move: Largest mean movement of the joints from frame to frame, over that side: a fast
            hand is smeared.
        near_share: How far the other hand's box is grown before it must lie outside the crop.
        near_seconds: So long before and after, a lost other hand is taken to be where it was seen.
        min_sharpness: Least :func:`sharpness`.
        min_change: Least mean movement of the joints since any hand kept of that side, over the
            box's side.
        max_fit_px: Largest error of the fitted joints in the crop of 256 pixels.
        min_covered: Least part of the mesh that the mask covers: less where an object hides it.
        min_mask_iou: Least agreement of mask and mesh.
        max_outside_px: Greatest distance of a finger's joint from the mask, in the crop of 256
            pixels.
        max_alike: Largest part of the mask's surroundings with the hand's colours.
        sure_iou: Where mask and mesh agree so well, the surroundings may have any colours.
    """

    min_confidence: float = 0.85
    min_side_score: float = 0.6
    min_hand_px: float = 36.0
    border_share: float = 0.0
    max_move: float = 0.2
    near_share: float = 0.15
    near_seconds: float = 4.0
    min_sharpness: float = 1.3
    min_change: float = 0.04
    max_fit_px: float = 6.0
    min_covered: float = 0.88
    min_mask_iou: float = 0.75
    max_outside_px: float = 8.0
    max_alike: float = 0.3
    sure_iou: float = 0.85

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            limit = (
                1.0 if name.endswith(("confidence", "score", "covered", "iou", "alike")) else 1e4
            )
            if not 0 <= value <= limit:
                raise SettingsError(f"HarvestRules.{name} is {value}, expected 0 to {limit:g}")


@dataclass(frozen=True)
class Candidate:
    """A hand that the track alone does not speak against.

    Attributes:
        row: Row of the track.
        side: 0 right, 1 left, of the person.
        square: u, v of the crop's corner (the picture's is 0, 0) and its side, in pixels.
    """

    row: int
    side: int
    square: tuple[float, float, float]

    @property
    def step(self) -> float:
        """Pixels of the frame for one of the crop."""
        return self.square[2] / CROP_PX

    @property
    def crop_square(self) -> CropSquare:
        """The same square by its middle."""
        u, v, size = self.square
        return CropSquare(u + (size - 1) / 2, v + (size - 1) / 2, size)

    def inside(self, width: int, height: int) -> Bool:
        """Say which pixels ``(R, R)`` of the crop lie within it and the picture, not at a rim."""
        at = np.arange(CROP_PX)
        u, v = (at * self.step + first for first in self.first_px)
        rim = RIM_PX * max(self.step, 1.0)
        free = (at > 0) & (at < CROP_PX - 1)
        across = free & (u > rim) & (u < width - 1 - rim)
        return np.asarray((free & (v > rim) & (v < height - 1 - rim))[:, None] & across)

    @property
    def first_px(self) -> NDArray[np.float64]:
        """Place in the frame of the crop's pixel 0, 0."""
        return np.array(self.square[:2]) + self.step / 2 - 0.5

    def in_crop(self, uv_px: NDArray[Any]) -> F32:
        """Take pixels ``(..., 2)`` of the frame to pixels of the crop."""
        return np.asarray((uv_px - self.first_px) / self.step, dtype=np.float32)

    def camera(self, camera: Camera) -> F32:
        """Give the crop's camera matrix ``(3, 3)``."""
        cx, cy = self.in_crop(np.array([camera.cx_px, camera.cy_px]))
        fx, fy = camera.fx_px / self.step, camera.fy_px / self.step
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float32)


def select_hands(
    track: PoseTrack, *, every: int, rules: HarvestRules
) -> tuple[list[Candidate], Counter[str]]:
    """Choose hands by what the track says; no picture is needed.

    Args:
        track: A whole clip's.
        every: Look at every so many rows.
        rules: What is good enough.

    Returns:
        The candidates in order, and how many others fell to which reason (``REASONS`` of
        :mod:`hdrvideo.harvest`).
    """
    chosen: list[Candidate] = []
    rejected: Counter[str] = Counter()
    low, high = track.uv_px.min(axis=2), track.uv_px.max(axis=2)
    boxes = np.concatenate([low, high], axis=-1)
    for row in range(0, len(track), every):
        for side in range(len(SIDES)):
            if track.provenance[row, side] == ABSENT:
                continue
            objection = _objection(track, row, side, rules)
            if not objection:
                others = _boxes_near(track, boxes[:, 1 - side], row, 1 - side, rules)
                square, objection = _free_square(track, row, side, others)
            if objection:
                rejected[objection] += 1
            else:
                chosen.append(Candidate(row, side, square))
    return chosen, rejected


def _objection(track: PoseTrack, row: int, side: int, rules: HarvestRules) -> str:
    """Say what speaks against a hand on its own; empty if nothing."""
    if track.provenance[row, side] != OBSERVED:
        return "bridged"
    sure = track.confidence[row, side].mean() >= rules.min_confidence
    if not sure or track.side_score[row, side] < rules.min_side_score:
        return "not sure"
    uv_px = track.raw_uv_px[row, side]
    longer = float((uv_px.max(axis=0) - uv_px.min(axis=0)).max())
    if longer < rules.min_hand_px:
        return "too small"
    margin = rules.border_share * longer
    limit = np.array([track.meta.width, track.meta.height]) - 1 - margin
    if (uv_px < margin).any() or (uv_px > limit).any():
        return "at the border"
    return "moving fast" if _move_px(track, row, side) > rules.max_move * longer else ""


def _move_px(track: PoseTrack, row: int, side: int) -> float:
    """Give the joints' mean movement from frame to frame at a row; 0 without a neighbour."""
    around = track.uv_px[max(row - 1, 0) : row + 2, side]
    around = around[np.isfinite(around).all(axis=(1, 2))]
    moves = np.linalg.norm(np.diff(around, axis=0), axis=-1)
    return float(moves.mean()) if moves.size else 0.0


def _boxes_near(
    track: PoseTrack, boxes: F32, row: int, side: int, rules: HarvestRules
) -> NDArray[np.float32]:
    """Give the other hand's boxes ``(N, 4)``, grown: of this row, or at about this time if lost."""
    is_seen = track.provenance[row, side] == OBSERVED
    seconds = 0.0 if is_seen else rules.near_seconds
    apart = np.abs(track.pts_seconds - track.pts_seconds[row]) <= seconds
    near = boxes[apart & np.isfinite(boxes).all(axis=1)]
    longer = (near[:, 2:] - near[:, :2]).max(axis=1, keepdims=True)
    grow = rules.near_share * longer * np.array([-1, -1, 1, 1], dtype=np.float32)
    return np.asarray(near + grow, dtype=np.float32)


def _free_square(
    track: PoseTrack, row: int, side: int, others: NDArray[np.float32]
) -> tuple[tuple[float, float, float], str]:
    """Lay the widest crop that shows no other hand, or say why there is none."""
    uv_px = track.raw_uv_px[row, side]
    low, high = uv_px.min(axis=0), uv_px.max(axis=0)
    skin = SKIN_SHARE * float((high - low).max())
    u0, v0, u1, v1 = (float(x) for x in (*(low - skin), *(high + skin)))
    has_room = False
    for context in CONTEXTS:
        square = square_round((u0, v0, u1, v1), track.meta.width, track.meta.height, context)
        if square is None:
            continue
        has_room = True
        u, v, size = square
        hits = (others[:, 0] < u + size) & (others[:, 2] > u)
        hits &= (others[:, 1] < v + size) & (others[:, 3] > v)
        if not hits.any():
            return square, ""
    if has_room:
        return (0.0, 0.0, 0.0), "other hand near"
    return _padded_square((u0, v0, u1, v1), track, others)


def _padded_square(
    box_px: tuple[float, float, float, float], track: PoseTrack, others: NDArray[np.float32]
) -> tuple[tuple[float, float, float], str]:
    """Lay a crop that leaves the picture evenly on both sides, or say why there is none."""
    u0, v0, u1, v1 = box_px
    size = PADDED_CONTEXT * (max(u1 - u0, v1 - v0) + 1)
    if min(track.meta.width, track.meta.height) < LEAST_INSIDE * size:
        return (0.0, 0.0, 0.0), "no room"
    corner = []
    for low, high, length in ((u0, u1, track.meta.width), (v0, v1, track.meta.height)):
        middle = min(max((low + high + 1) / 2, size / 2), length - size / 2)
        corner.append((middle if length >= size else length / 2) - size / 2)
    u, v = corner
    hits = (others[:, 0] < u + size) & (others[:, 2] > u)
    hits &= (others[:, 1] < v + size) & (others[:, 3] > v)
    return ((0.0, 0.0, 0.0), "other hand near") if hits.any() else ((u, v, size), "")


def sharpness(picture_u8: U8, uv_px: F32) -> float:
    """Say how sharp a hand's edges are: by how much a blur weakens the strongest.

    How much detail a hand shows does not count, unlike in the usual variance of the Laplacian.

    Args:
        picture_u8: ``(R, R, 3)`` the crop.
        uv_px: ``(21, 2)`` its joints.

    Returns:
        1.3 for a smear, 1.8 and more for sharp edges; 1 where there is no edge at all.
    """
    r = len(picture_u8)
    inside = np.zeros((r, r), dtype=np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(uv_px).round().astype(np.int32), 1)
    inside = cv2.dilate(inside, np.ones((2 * (r // 32) + 1,) * 2, dtype=np.uint8))
    # At half size a hand of 64 pixels shows as much as a large one.
    half = (r // 2, r // 2)
    inside = cv2.resize(inside, half, interpolation=cv2.INTER_NEAREST)
    grey = cv2.resize(picture_u8, half, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(grey, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strong = []
    for seen in (grey, cv2.GaussianBlur(grey, (0, 0), SHARPNESS_BLUR_PX)):
        slopes = (cv2.Sobel(seen, cv2.CV_32F, *way, ksize=1) for way in ((1, 0), (0, 1)))
        strong.append(np.percentile(np.hypot(*slopes)[inside > 0], 95))
    return float((strong[0] + 1) / (strong[1] + 1))
