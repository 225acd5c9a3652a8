"""The true motion of a whole hand from one frame's square to the next one's, by geometry.

Flow is not stored: the hands' meshes are posed again from the truth, drawn into the square, and
every surface point is followed to the next frame.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.errors import SeekError
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.synth.raster import rasterize
from hdrvideo.validate.squares import SQUARE_PX, frame_from_square
from hdrvideo.validate.truth import ClipTruth

# A point is behind its own hand when that is nearer by more than this; fingers are thicker, and
# the skin's slope within a pixel is less.
HIDDEN_MM: Final = 4.0


def hand_motion(truth: ClipTruth, model: HandModel, frame: int, side: int) -> NDArray[np.float32]:
    """Give where each point of a whole hand goes from a frame's square to the next frame's.

    Args:
        truth: The clip's truth.
        model: The hand that the clip was made with, on any device.
        frame: The first of the two frames.
        side: 0 right, 1 left.

    Returns:
        ``(256, 256, 2)`` u and v in the next frame's square, in its pixels; NaN where the hand is
        not, and where the point turns away or goes behind the hand itself. Other hands and things
        hide nothing: it is the motion of the bare pictures.

    Raises:
        SeekError: There is no such frame, or none after it.
    """
    if not 0 <= frame < len(truth) - 1:
        raise SeekError(
            f"frame {frame} has no next one in {truth.name}; expected 0 to {len(truth) - 2}"
        )
    motion = np.full((SQUARE_PX, SQUARE_PX, 2), np.nan, dtype=np.float32)
    if not truth.present[frame : frame + 2, side].all():
        return motion
    rows = slice(frame, frame + 2)
    device = model.template_mm.device

    def tensor(values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    with torch.inference_mode():
        vertices_mm = model(
            tensor(truth.pose[rows, side]),
            tensor(truth.shape[side]).expand(2, -1),
            side=side,
            wrist_mm=tensor(truth.wrist_mm[rows, side]),
            wrist_bend=tensor(truth.wrist_bend[rows, side]),
        ).vertices_mm
        k_px = tensor(np.stack([_square_camera(truth, frame + n) for n in range(2)]))
        faces, _ = model.triangles(side)
        # Drawn with the forearm, which is no part of the hand but may lie before it.
        is_hand = (model.part != PARTS.index("forearm"))[faces].any(dim=1)
        place_px, known = _follow(vertices_mm, faces, is_hand, k_px)
    is_known = known.cpu().numpy()
    motion[is_known] = place_px.cpu().numpy()[is_known]
    return motion


def _square_camera(truth: ClipTruth, frame: int) -> NDArray[np.float32]:
    """Give the camera matrix whose pixels are those of a frame's square."""
    affine = np.eye(3)
    affine[:2] = frame_from_square(truth.square(frame))
    camera: NDArray[np.float32] = (np.linalg.inv(affine) @ truth.k_px[frame]).astype(np.float32)
    return camera


def _follow(
    vertices_mm: Tensor, faces: Tensor, is_hand: Tensor, k_px: Tensor
) -> tuple[Tensor, Tensor]:
    """Follow each surface point of the first mesh ``(2, V, 3)`` to the second.

    Returns:
        Its place in the second picture ``(256, 256, 2)``, and whether it is of the hand and seen
        in both, ``(256, 256)`` bool.
    """
    n = vertices_mm.shape[1]
    seen_mm = vertices_mm @ k_px.mT
    depth_mm = vertices_mm[..., 2:]
    uvz = torch.cat([seen_mm[..., :2] / seen_mm[..., 2:], depth_mm], dim=-1)
    both = torch.cat([faces, faces + n])
    picture = torch.arange(2, device=faces.device).repeat_interleave(len(faces))
    raster = rasterize(uvz.flatten(0, 1), both, picture, 2, SQUARE_PX, SQUARE_PX)

    face = raster.face[0]
    known = (face >= 0) & is_hand[face.clamp(min=0)]
    corners_mm = vertices_mm[1][faces[face.clamp(min=0)]]
    point_mm = (raster.bary[0][..., None] * corners_mm).sum(dim=-2)
    place = point_mm @ k_px[1].mT
    place_px = place[..., :2] / place[..., 2:]

    # Look with the nearest pixel of the second picture; outside it nothing is seen.
    pixel = place_px.nan_to_num(-1.0, -1.0, -1.0).round().long()
    inside = ((pixel >= 0) & (pixel < SQUARE_PX)).all(dim=-1)
    u, v = pixel.clamp(0, SQUARE_PX - 1).unbind(dim=-1)
    # Empty pixels are infinitely far: a point on the rim is seen beside its triangle.
    is_free = point_mm[..., 2] <= raster.depth_mm[1][v, u] + HIDDEN_MM
    return place_px, known & inside & is_free & (place[..., 2] > 0)
