"""Motion between two neighbouring crops, with a map of how far it can be trusted.

Two pictures of a hand go in; for each pixel of the first comes out where it is in the second, so
that :func:`warp` can bring what is known of the second into the first. Engines stand behind
:class:`FlowEngine`: :class:`DisFlow` looks at the pictures; ``HandFlow`` (``motion/handflow.py``)
looks at the hand's meshes and so knows of what is hidden, too. :func:`join` takes each where it is
the better one.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import F32, U8, check_array
from hdrvideo.errors import SettingsError, ShapeError

# How far there and back may miss the start: squares, of the motion's lengths and in px.
TOLERANCE_SHARE: Final = 0.01
TOLERANCE_PX2: Final = 0.5
DIS_PRESETS: Final = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
# Difference of colour at which half the trust is gone, and the side of the patch that is compared.
# Chosen among 1 to 7 px and 0.03 to 0.1 on 32 made pairs at 10 frames a second: they tell motion on
# hands that is less than 1 px off from what is more than 2 px off, area under the curve 0.93 (there
# and back alone 0.915), and more trust is gone where a hand goes out of sight.
HALF_COLOUR: Final = 0.06
COLOUR_PATCH_PX: Final = 5
# DIS compares patches of 8 pixels and refuses pictures of little more.
LEAST_DIS_PX: Final = 16
# Rec. 601.
_GREY: Final = (0.299, 0.587, 0.114)
# Where nothing is to be trusted, a cell still gets the plain mean of its pixels' motion.
_LEAST_WEIGHT: Final = 1e-6


@dataclass(frozen=True)
class Flow:
    """Motion of B crops to their neighbours.

    Attributes:
        uv_px: ``(B, H, W, 2)`` float32; the pixel at ``p`` lies at ``p + uv_px[p]`` in the second
            picture. NaN where nothing is known.
        trust: ``(B, H, W)`` float32 0..1; 0 where nothing is known or the second picture does not
            show it.
    """

    uv_px: Tensor
    trust: Tensor

    def __post_init__(self) -> None:
        b, h, w = (*self.trust.shape, 0, 0, 0)[:3]
        check_array("uv_px", self.uv_px, (b, h, w, 2), "float32")
        check_array("trust", self.trust, (b, h, w), "float32")

    def __len__(self) -> int:
        return len(self.trust)

    def resized(self, height: int, width: int) -> "Flow":
        """Give the motion of coarser cells in the cells' own unit, weighted by trust.

        Raises:
            ShapeError: There are more cells than pixels.
        """
        h, w = self.trust.shape[1:]
        if not (1 <= height <= h and 1 <= width <= w):
            raise ShapeError(
                f"flow of {w} x {h} px cannot be resized to {width} x {height} cells; expected "
                "1 cell to one for each pixel"
            )
        if (height, width) == (h, w):
            return self
        is_known = self.uv_px.isfinite().all(dim=-1)
        weight = torch.where(is_known, self.trust + _LEAST_WEIGHT, 0.0)[:, None]
        uv_px = torch.where(is_known[:, None], self.uv_px.permute(0, 3, 1, 2), 0.0)
        cells = functional.adaptive_avg_pool2d(
            torch.cat([uv_px * weight, weight, self.trust[:, None]], dim=1), (height, width)
        )
        # Where no pixel is known this is 0 / 0, NaN.
        uv_px = cells[:, :2] / cells[:, 2:3]
        scale = uv_px.new_tensor([width / w, height / h])
        return Flow((uv_px.permute(0, 2, 3, 1) * scale).contiguous(), cells[:, 3])


@dataclass(frozen=True)
class CropMesh:
    """The hand's mesh in B crops, as posed from the model or fitted.

    Attributes:
        vertices_mm: ``(B, V, 3)`` float32 camera axes; NaN where there is no hand.
        k_px: ``(B, 3, 3)`` float32 from the camera to pixels of the crop: its frame's camera matrix
            under the inverse of ``frame_from_crop``, which may turn and mirror.
    """

    vertices_mm: Tensor
    k_px: Tensor

    def __post_init__(self) -> None:
        check_array("vertices_mm", self.vertices_mm, (len(self.k_px), None, 3), "float32")
        check_array("k_px", self.k_px, (None, 3, 3), "float32")


@dataclass(frozen=True)
class CropPair:
    """B crops and their neighbours in time.

    Attributes:
        first_rgb: ``(B, 3, R, R)`` float32 0..1.
        second_rgb: ``(B, 3, R, R)`` float32 0..1.
        first_mesh: The hand in the first crops; None where it is not known.
        second_mesh: The hand in the second crops; None where it is not known.
    """

    first_rgb: Tensor
    second_rgb: Tensor
    first_mesh: CropMesh | None = None
    second_mesh: CropMesh | None = None

    def __post_init__(self) -> None:
        b, r = len(self.first_rgb), int(self.first_rgb.shape[-1])
        check_array("first_rgb", self.first_rgb, (b, 3, r, r), "float32")
        check_array("second_rgb", self.second_rgb, (b, 3, r, r), "float32")
        if (self.first_mesh is None) != (self.second_mesh is None):
            raise ShapeError("only one of first_mesh and second_mesh is given; give both or none")
        if self.first_mesh is not None and self.second_mesh is not None:
            shape = (b, int(self.first_mesh.vertices_mm.shape[1]), 3)
            check_array("first_mesh.vertices_mm", self.first_mesh.vertices_mm, shape, "float32")
            check_array("second_mesh.vertices_mm", self.second_mesh.vertices_mm, shape, "float32")

    def __len__(self) -> int:
        return len(self.first_rgb)

    def reversed(self) -> "CropPair":
        """Give the pair with first and second exchanged."""
        return CropPair(self.second_rgb, self.first_rgb, self.second_mesh, self.first_mesh)


class FlowEngine(Protocol):
    """Finds the motion from the first crops of a pair to the second."""

    def __call__(self, pair: CropPair, /) -> Flow:
        """Give the motion on the first crops' device, at their resolution."""


class DisFlow:
    """Dense inverse search on the pictures' grey (Kroeger et al., ECCV 2016), OpenCV's own, CPU.

    An instance keeps buffers, so threads need one each.
    """

    def __init__(self, preset: str = "medium") -> None:
        """Get ready.

        Args:
            preset: One of :data:`DIS_PRESETS`. ``scripts/score_flow.py`` compares them.

        Raises:
            SettingsError: The preset is unknown.
        """
        if preset not in DIS_PRESETS:
            raise SettingsError(
                f"DIS preset is {preset!r}, expected one of {', '.join(DIS_PRESETS)}"
            )
        self._search = cv2.DISOpticalFlow.create(DIS_PRESETS[preset])

    def __call__(self, pair: CropPair) -> Flow:
        """Give the motion of all that the pictures show; hidden things move as what hides them.

        Raises:
            ShapeError: The crops are smaller than :data:`LEAST_DIS_PX`.
        """
        size_px = int(pair.first_rgb.shape[-1])
        if size_px < LEAST_DIS_PX:
            raise ShapeError(
                f"crops are {size_px} px wide, DIS needs at least {LEAST_DIS_PX}; use larger crops"
            )
        device = pair.first_rgb.device
        first_u8, second_u8 = _grey_u8(pair.first_rgb), _grey_u8(pair.second_rgb)
        # The first axis: there and back.
        flow_px = np.empty((2, len(pair), size_px, size_px, 2), np.float32)
        for row, (a_u8, b_u8) in enumerate(zip(first_u8, second_u8, strict=True)):
            flow_px[0, row] = self._moved(a_u8, b_u8)
            flow_px[1, row] = self._moved(b_u8, a_u8)
        forward, backward = torch.from_numpy(flow_px).to(device)
        trust = forward_backward_trust(forward, backward)
        return Flow(forward, trust * colour_trust(pair.first_rgb, pair.second_rgb, forward))

    def _moved(self, first_u8: U8, second_u8: U8) -> F32:
        return np.asarray(self._search.calc(first_u8, second_u8, None), np.float32)


def _grey_u8(rgb: Tensor) -> U8:
    grey = torch.einsum("bchw,c->bhw", rgb, rgb.new_tensor(_GREY)).clamp(0, 1)
    return np.asarray((grey * 255 + 0.5).to(torch.uint8).cpu().numpy())


def forward_backward_trust(forward_px: Tensor, backward_px: Tensor) -> Tensor:
    """Trust motion as far as going there and back ends where it began.

    With ``w`` the motion there and ``v`` the motion back from where it leads, Sundaram, Brox and
    Keutzer (ECCV 2010, section 3; UnFlow, AAAI 2018, equation 2, takes the same) call a pixel
    consistent if ``|w + v|^2 < 0.01 (|w|^2 + |v|^2) + 0.5``. Departure: trust falls smoothly, as
    ``2 ** -(left side / right side)``, so it is 1/2 exactly on their border, and what leads out of
    the picture has none.

    Args:
        forward_px: ``(B, H, W, 2)`` from the first picture to the second.
        backward_px: ``(B, H, W, 2)`` from the second picture to the first.

    Returns:
        ``(B, H, W)`` 0..1; 0 where either is not finite.
    """
    place_px = _grid(forward_px) + forward_px
    back_px, is_inside = sampled(backward_px.permute(0, 3, 1, 2), place_px)
    back_px = back_px.permute(0, 2, 3, 1)
    miss_px2 = (forward_px + back_px).square().sum(dim=-1)
    long_px2 = forward_px.square().sum(dim=-1) + back_px.square().sum(dim=-1)
    trust = torch.exp2(-miss_px2 / (TOLERANCE_SHARE * long_px2 + TOLERANCE_PX2))
    return torch.where(is_inside & trust.isfinite(), trust, 0.0)


def colour_trust(first_rgb: Tensor, second_rgb: Tensor, forward_px: Tensor) -> Tensor:
    """Trust motion as far as it leads to like colours; needed beside there-and-back.

    Smooth motion through what comes or goes is consistent with itself, though nothing matches.

    Args:
        first_rgb: ``(B, 3, H, W)`` 0..1.
        second_rgb: ``(B, 3, H, W)`` 0..1.
        forward_px: ``(B, H, W, 2)`` finite, from the first picture to the second.

    Returns:
        ``(B, H, W)``: ``2 ** -(d / HALF_COLOUR) ** 2``, where ``d`` is the root mean square
        difference of the pictures' means over :data:`COLOUR_PATCH_PX` pixels a side.
    """
    first, second = (
        functional.avg_pool2d(
            rgb, COLOUR_PATCH_PX, 1, COLOUR_PATCH_PX // 2, count_include_pad=False
        )
        for rgb in (first_rgb, second_rgb)
    )
    found, _ = sampled(second, _grid(forward_px) + forward_px)
    return torch.exp2(-(first - found).square().mean(dim=1) / HALF_COLOUR**2)


def join(seen: Flow, hand: Flow, hidden: Tensor) -> Flow:
    """Take the hand's own motion where the hand is hidden, and what pictures show elsewhere.

    A hidden pixel that the hand's mesh does not cover stays unknown: what the pictures show there
    is the motion of what hides it.

    Args:
        seen: Motion that the pictures show.
        hand: Motion of the whole hand.
        hidden: ``(B, H, W)`` bool, pixels of the hand that something hides in the first picture.

    Raises:
        ShapeError: The three differ in shape.
    """
    shape = tuple(seen.trust.shape)
    check_array("hand.trust", hand.trust, shape, "float32")
    check_array("hidden", hidden, shape, "bool")
    return Flow(
        torch.where(hidden[..., None], hand.uv_px, seen.uv_px),
        torch.where(hidden, hand.trust, seen.trust),
    )


def warp(features: Tensor, flow: Flow) -> tuple[Tensor, Tensor]:
    """Bring what is known of the second pictures to where it is in the first.

    Each cell of the first is looked up, bilinearly, where the motion leads (backward warping).

    Args:
        features: ``(B, C, H, W)`` of the second pictures, any float; H and W at most the flow's.
        flow: From the first pictures to the second, at any resolution from that of the features on.

    Returns:
        ``(B, C, H, W)`` like ``features`` and ``(B, H, W)`` trust; both are 0 where the motion is
        unknown or leads out of the picture.

    Raises:
        ShapeError: ``features`` has another shape, is of another batch, or finer than the flow.
    """
    check_array("features", features, (len(flow), None, None, None), str(features.dtype))
    flow = flow.resized(*features.shape[2:])
    # In half precision places would be off by tenths of a cell.
    warped, is_inside = sampled(features.float(), _grid(flow.uv_px) + flow.uv_px)
    warped = torch.where(is_inside[:, None], warped, 0.0).to(features.dtype)
    return warped, torch.where(is_inside, flow.trust, 0.0)


def sampled(values: Tensor, place_px: Tensor) -> tuple[Tensor, Tensor]:
    """Look up ``(B, C, H, W)`` bilinearly at ``(B, h, w, 2)`` and say what lies in the picture.

    A picture ends half a pixel beyond its outermost pixels' centres; there it goes on as they are.
    """
    height, width = values.shape[2:]
    size = place_px.new_tensor([width, height])
    is_inside = ((place_px >= -0.5) & (place_px <= size - 0.5)).all(dim=-1)
    share = torch.where(is_inside[..., None], (2 * place_px + 1) / size - 1, 0.0)
    found = functional.grid_sample(values, share, padding_mode="border", align_corners=False)
    return found, is_inside


def _grid(like: Tensor) -> Tensor:
    """Give each pixel's own place ``(H, W, 2)``, u and v, for ``(B, H, W, ...)``."""
    height, width = like.shape[1:3]
    v, u = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype),
        torch.arange(width, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([u, v], dim=-1)
