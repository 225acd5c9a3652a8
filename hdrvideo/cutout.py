"""Cut a hand out of a picture: a first mask from the fitted mesh, refined on the picture itself.

The mesh and the joints say where the hand must be, where it may be, and where its forearm begins;
GrabCut (Rother et al., 2004) finds the edge between, in CIE Lab with the two colour axes stretched:
skin stands out from a wall by its hue, not by its brightness, which knuckles and shadows share with
much else. What is kept is one piece, and ends at the wrist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.datatypes import F32, U8, Bool, check_array
from hdrvideo.fit import FittedHands, HandFitter
from hdrvideo.handmodel import HandModel, axis_angle_to_matrix
from hdrvideo.synth.raster import rasterize

# Largest noise to expect of the joints in the crop, and of their form in depth, which is a guess.
NOISE_PX, NOISE_MM = 2.0, 12.0
# Round the mesh's edge the picture decides: so far inside it is hand for sure, so far outside not.
CORE_MM: Final = 4.5
REACH_MM: Final = 7.0
# The joints of small hands are known to so many pixels of the picture they were found in.
REACH_SOURCE_PX: Final = 2.5
# Bones of fingers are so thick.
FINGER_MM: Final = 8.0
# How much of the background GrabCut sees, to learn its colours.
AROUND_MM: Final = 40.0
GRABCUT_STEPS: Final = 6
HUE_GAIN: Final = 2.5
# A pixel is something else when its CIE a and b are so many times further from the hand's median
# than half of the hand's pixels are, between these limits.
FOREIGN_SPREADS: Final = 4.0
FOREIGN_AB: Final = (15.0, 25.0)
# Threads thinner than this are not hand; gaps smaller than this part of the mask are filled.
THREAD_MM: Final = 2.0
GAP_SHARE: Final = 0.01
# Edges are smoothed by this part of a pixel of the picture: its colours come in blocks.
SMOOTH_SOURCE_PX: Final = 0.7
# Between these distances from the mask is what it is set against; pixels there look like the hand
# when they are about as near to its colours as most of it is.
RING_MM: Final = (3.0, 9.0)
ALIKE_SHARE: Final = 80.0
FINGER_BONES: Final = tuple((b - 1, b) for f in range(5) for b in range(2 + 4 * f, 5 + 4 * f))


@dataclass(frozen=True)
class HandShapes:
    """Fitted hands as areas of their crops.

    Attributes:
        hand: ``(B, R, R)`` bool, what the mesh shows of the hand up to the wrist.
        forearm: ``(B, R, R)`` bool, what it shows of the forearm.
        px_per_mm: ``(B,)`` float32 scale at the hand's depth.
    """

    hand: Bool
    forearm: Bool
    px_per_mm: NDArray[np.float32]

    def __post_init__(self) -> None:
        b = len(self.px_per_mm)
        check_array("hand", self.hand, (b, None, None), "bool")
        check_array("forearm", self.forearm, self.hand.shape, "bool")
        check_array("px_per_mm", self.px_per_mm, (b,), "float32")


@dataclass(frozen=True)
class Cut:
    """A hand cut out of its crop.

    Attributes:
        mask: ``(R, R)`` bool, the hand up to the wrist; may be empty.
        fit_px: Root mean square error of the fitted joints; NaN where there is no fit.
        iou: Intersection over union of the mask and the mesh.
        covered: Part of the mesh that is in the mask; little where something hides the hand.
        outside_px: Greatest distance of a finger's joint from the mask, less what a joint of a
            small hand may be wrong by; large where a finger is missing.
        alike: Part of the mask's surroundings, the forearm apart, with the hand's colours; much
            before a face, and where a piece of the hand was left out.
    """

    mask: Bool
    fit_px: float
    iou: float
    covered: float
    outside_px: float
    alike: float


class HandCutter:
    """Fits hands and cuts them out, in batches; the model is loaded once."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Take the shipped hand model."""
        self.device = torch.device(device)
        self.model = HandModel().to(self.device)
        self.fitter = HandFitter(self.model, self.device)

    def __call__(
        self,
        pictures_u8: Sequence[U8],
        *,
        uv_px: F32,
        xyz_mm: F32,
        k_px: F32,
        side: NDArray[np.int64],
        source_px: Sequence[float],
    ) -> list[Cut]:
        """Cut out the hands of ``B`` crops.

        Args:
            pictures_u8: ``(R, R, 3)`` crops.
            uv_px: ``(B, 21, 2)`` joints in pixels of the crop.
            xyz_mm: ``(B, 21, 3)`` about the hand's form, camera axes.
            k_px: ``(B, 3, 3)`` camera of each crop.
            side: ``(B,)`` 0 right, 1 left.
            source_px: ``(B,)`` pixels of the crop for one of the picture it was taken from.
        """
        sides, k = torch.from_numpy(side).to(self.device), torch.from_numpy(k_px).to(self.device)
        fitted = self.fitter(
            xyz_mm=torch.from_numpy(xyz_mm),
            uv_px=torch.from_numpy(uv_px),
            k_px=k,
            side=sides,
            relative=True,
            noise_mm=NOISE_MM,
            noise_px=NOISE_PX,
        )
        shapes = hand_shapes(fitted, sides, k, len(pictures_u8[0]), self.model)
        cuts = []
        for n, picture in enumerate(pictures_u8):
            hand, forearm, scale = shapes.hand[n], shapes.forearm[n], float(shapes.px_per_mm[n])
            mask = refine_mask(
                picture, hand, forearm, scale, uv_px=uv_px[n], source_px=source_px[n]
            )
            both, either = (hand & mask).sum(), (hand | mask).sum()
            cuts.append(
                Cut(
                    mask=mask,
                    fit_px=float(fitted.error_px[n]),
                    iou=float(both / either) if either else 0.0,
                    covered=float(both / hand.sum()) if both else 0.0,
                    outside_px=max(_farthest_px(uv_px[n, 1:], mask) - _slack_px(source_px[n]), 0.0),
                    alike=hand_likeness(picture, mask, forearm, scale),
                )
            )
        return cuts


def hand_shapes(
    fitted: FittedHands, side: Tensor, k_px: Tensor, size_px: int, model: HandModel
) -> HandShapes:
    """Draw fitted hands as areas.

    The wrist is a plane through its joint across the forearm, which goes on straight: smoother
    than the mesh's own border.

    Args:
        fitted: ``B`` hands in the camera; hands that could not be fitted give empty areas.
        side: ``(B,)`` int64.
        k_px: ``(B, 3, 3)`` camera of each crop.
        size_px: Side of the crops.
        model: The hand model that was fitted.
    """
    posed = model(fitted.pose, fitted.shape, side=side, wrist_mm=fitted.wrist_mm)
    vertices_mm = posed.vertices_mm
    n, n_vertices = vertices_mm.shape[:2]
    uvz = vertices_mm @ k_px.mT
    uvz = torch.cat([uvz[..., :2] / uvz[..., 2:], vertices_mm[..., 2:]], dim=-1)
    right, left = model.triangles(0)[0], model.triangles(1)[0]
    faces = torch.where((side == 1)[:, None, None], left, right)
    faces = faces + torch.arange(n, device=faces.device)[:, None, None] * n_vertices
    picture = torch.arange(n, device=faces.device).repeat_interleave(faces.shape[1])
    faces = faces.flatten(0, 1)
    drawn = rasterize(uvz.flatten(0, 1).float(), faces, picture, n, size_px, size_px)
    # Millimetres before the wrist, along the axis that the flat hand's fingers point to.
    to_fingers = -axis_angle_to_matrix(fitted.pose[:, 0])[..., 1]
    before = (vertices_mm - fitted.wrist_mm[:, None]) @ to_fingers[..., None]
    corners = before.flatten()[faces[drawn.face.clamp(min=0)]]
    is_hand = (corners * drawn.bary).sum(dim=-1) > 0
    is_there = drawn.face >= 0
    depth_mm = posed.joints_mm[..., 2].mean(dim=1)
    return HandShapes(
        hand=(is_there & is_hand).cpu().numpy(),
        forearm=(is_there & ~is_hand).cpu().numpy(),
        px_per_mm=(k_px[:, 0, 0] / depth_mm).float().cpu().numpy(),
    )


def refine_mask(
    rgb_u8: U8, hand: Bool, forearm: Bool, px_per_mm: float, *, uv_px: F32, source_px: float = 1.0
) -> Bool:
    """Find a hand's exact outline in a picture.

    Args:
        rgb_u8: ``(R, R, 3)`` the crop.
        hand: ``(R, R)`` bool, about where the hand is.
        forearm: ``(R, R)`` bool, about where its forearm is.
        px_per_mm: Scale, for how much to trust them.
        uv_px: ``(21, 2)`` joints; where the mesh misses a finger they may have it.
        source_px: Pixels of the crop for one of the picture it was taken from.

    Returns:
        ``(R, R)`` bool; all False where nothing is left.
    """
    labels = _first_labels(rgb_u8, hand, forearm, px_per_mm, uv_px, source_px)
    if labels is None:
        return np.zeros_like(hand)
    near = cv2.dilate(hand.astype(np.uint8), _disc(AROUND_MM * px_per_mm))
    rows, columns = _bounds(near)
    window = np.ascontiguousarray(_stretched_lab(rgb_u8)[rows, columns])
    labels = np.ascontiguousarray(labels[rows, columns])
    mask = np.zeros(hand.shape, dtype=np.uint8)
    if not (labels == cv2.GC_BGD).any():
        return mask.astype(bool)
    cv2.setRNGSeed(0)  # its colour clusters start from random ones
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(window, labels, None, *models, GRABCUT_STEPS, cv2.GC_INIT_WITH_MASK)
    mask[rows, columns] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if source_px > 1:
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), SMOOTH_SOURCE_PX * source_px)
        mask = (soft > 0.5).astype(np.uint8)
    mask[_is_nearer(forearm, hand)] = 0
    return _clean(mask, px_per_mm)


def _first_labels(
    rgb_u8: U8, hand: Bool, forearm: Bool, px_per_mm: float, uv_px: F32, source_px: float
) -> U8 | None:
    """Say for GrabCut what is hand and what may be; None where no pixel is hand for sure."""
    if not hand.any():
        return None
    fingers, bones = np.zeros((2, *hand.shape), dtype=np.uint8)
    ends = np.nan_to_num(uv_px).round().astype(int).clip(-len(hand), 2 * len(hand))
    for first, last in FINGER_BONES:
        line = ends[first].tolist(), ends[last].tolist()
        cv2.line(fingers, *line, 1, max(round(FINGER_MM * px_per_mm), 1))
        cv2.line(bones, *line, 1)
    about = hand | ((fingers > 0) & ~forearm)
    core = cv2.erode(hand.astype(np.uint8), _disc(CORE_MM * px_per_mm)) > 0
    if not core.any():
        return None
    # The mesh may close a gap between fingers, and something may lie before the hand.
    foreign = _is_foreign(rgb_u8, core)
    core |= (bones > 0) & about & ~forearm & ~foreign
    far = _disc(REACH_MM * px_per_mm + _slack_px(source_px))
    reach = cv2.dilate(about.astype(np.uint8), far) > 0
    labels = np.where(about, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[~reach] = cv2.GC_BGD
    labels[core] = cv2.GC_FGD
    labels[about & foreign] = cv2.GC_PR_BGD
    labels[~about & foreign] = cv2.GC_BGD
    # The arm has the hand's colours; where it is near it must not count as background.
    labels[forearm & reach] = cv2.GC_PR_FGD
    return labels


def _slack_px(source_px: float) -> float:
    """Give what a joint may be wrong by, in the crop, because the hand is small in its picture."""
    return REACH_SOURCE_PX * max(source_px - 1, 0.0)


def _stretched_lab(rgb_u8: U8) -> U8:
    """Turn a picture into CIE Lab as GrabCut takes it: L 0..255, a and b stretched round 128."""
    lab = cv2.cvtColor(rgb_u8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    scale, shift = np.array([[2.55, HUE_GAIN, HUE_GAIN], [0, 128, 128]], dtype=np.float32)
    lab = lab * scale + shift
    return np.asarray(lab.round().clip(0, 255), dtype=np.uint8)


def hand_likeness(rgb_u8: U8, mask: Bool, forearm: Bool, px_per_mm: float) -> float:
    """Say which part of a mask's surroundings has its colours.

    Args:
        rgb_u8: ``(R, R, 3)`` the crop.
        mask: ``(R, R)`` bool, the hand.
        forearm: ``(R, R)`` bool, about where its forearm is; not counted.
        px_per_mm: Scale.

    Returns:
        0 to 1; 1 where there is no mask or nothing around it.
    """
    if not mask.any():
        return 1.0
    near, far = (cv2.dilate(mask.astype(np.uint8), _disc(x * px_per_mm)) > 0 for x in RING_MM)
    wrist = cv2.dilate(forearm.astype(np.uint8), _disc(RING_MM[1] * px_per_mm)) > 0
    ring = far & ~near & ~wrist
    if not ring.any():
        return 1.0
    lab = _stretched_lab(rgb_u8).astype(np.float32)
    middle = np.median(lab[mask], axis=0)
    spread = np.median(np.abs(lab[mask] - middle), axis=0) + 4
    far_off = np.linalg.norm((lab - middle) / spread, axis=-1)
    return float((far_off[ring] <= np.percentile(far_off[mask], ALIKE_SHARE)).mean())


def _is_foreign(rgb_u8: U8, core: Bool) -> Bool:
    """Say which pixels have another hue than most of the core."""
    lab = cv2.cvtColor(rgb_u8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    far = np.linalg.norm(lab[..., 1:] - np.median(lab[core, 1:], axis=0), axis=-1)
    low, high = FOREIGN_AB
    return np.asarray(far > np.clip(FOREIGN_SPREADS * np.median(far[core]), low, high))


def _clean(mask: U8, px_per_mm: float) -> Bool:
    """Keep one piece without threads and without small gaps."""
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(THREAD_MM / 2 * px_per_mm))
    n, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if n < 2:
        return np.zeros(mask.shape, dtype=bool)
    kept = np.asarray(pieces == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    _, gaps, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    is_small = stats[:, cv2.CC_STAT_AREA] < GAP_SHARE * kept.sum()
    is_small[0] = False  # the mask itself
    return np.asarray(kept | is_small[gaps])


def _farthest_px(uv_px: F32, mask: Bool) -> float:
    """Give the greatest distance of points ``(N, 2)`` from a mask; infinite from an empty one."""
    if not mask.any():
        return np.inf
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    u, v = np.nan_to_num(uv_px).round().astype(int).clip(0, len(mask) - 1).T
    return float(distance[v, u].max())


def _is_nearer(one: Bool, other: Bool) -> Bool:
    """Say where ``one`` area is nearer than the ``other``; nowhere if it is empty."""
    if not one.any():
        return np.zeros_like(one)
    to_one, to_other = (
        cv2.distanceTransform((~area).astype(np.uint8), cv2.DIST_L2, 5) for area in (one, other)
    )
    return np.asarray(to_one < to_other)


def _bounds(mask: U8) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _disc(radius_px: float) -> U8:
    reach = max(round(radius_px), 1)
    size = (2 * reach + 1, 2 * reach + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), dtype=np.uint8)
