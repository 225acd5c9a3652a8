"""Motion blur along the true flow.

After M. McGuire, P. Hennessy, M. Bukowski, B. Osman, "A Reconstruction Filter for Plausible Motion
Blur" (I3D 2012): each pixel looks along the fastest movement of its neighbourhood, so that a fast
hand smears over the still background, and takes from there what moves far enough to reach it, and
what lies behind it where it moves itself. Unlike there, each moment of the open shutter counts the
same, and a pixel keeps its own colour for the moments in which nothing else is found.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.synth.scene import Shot

# Half the way while the shutter is open: less does not show; above a part of the height it is cut.
_LEAST_PX: Final = 0.75
_MOST_OF_HEIGHT: Final = 0.125
_MOST_STEPS: Final = 15
_STEP_PX: Final = 2.0
_CPU_PLACES: Final = 8192
_FAR_MM: Final = 1e5
_DEPTH_STEP_MM: Final = 15.0


def motion_blur(pictures: Tensor, shot: Shot, shutters: Sequence[float]) -> Tensor:
    """Blur each picture by what moves while its shutter is open, the middle at the frame's time.

    Args:
        pictures: ``(B, 3, 3, H, W)`` the picture, and bare right and left.
        shot: Their flow, masks and depth.
        shutters: B parts of the frame time that the shutter is open; 0 = no blur.

    Returns:
        ``(B, 3, 3, H, W)``; pixels near which nothing moves come back unchanged.
    """
    moving = [n for n, shutter in enumerate(shutters) if shutter > 0]
    if not moving:
        return pictures
    reach_px, depth = _layers(shot, moving)
    half = 0.5 * pictures.new_tensor([shutters[n] for n in moving])
    reach_px = reach_px * half.reshape(-1, 1, 1, 1, 1)
    speed = torch.hypot(reach_px[..., 0], reach_px[..., 1])
    most_px = _MOST_OF_HEIGHT * pictures.shape[-2]
    reach_px *= (most_px / speed.clamp_min(most_px))[..., None]
    speed.clamp_max_(most_px)
    blurred = pictures.clone()
    # Pictures of like speed go together; alone, each would come out the same.
    buckets: dict[int, list[int]] = {}
    for n, fastest in enumerate(speed.amax(dim=(1, 2, 3)).tolist()):
        if fastest >= _LEAST_PX:
            buckets.setdefault(2 ** math.ceil(math.log2(max(fastest, 2.0))), []).append(n)
    for radius, some in buckets.items():
        rows = [moving[n] for n in some]
        blurred[rows] = _blur(pictures[rows], reach_px[some], speed[some], depth[some], radius)
    return blurred


def _blur(pictures: Tensor, reach_px: Tensor, speed: Tensor, depth: Tensor, radius: int) -> Tensor:
    """Blur M pictures ``(M, 3, 3, H, W)`` in which nothing reaches further than ``radius``."""
    height, width = pictures.shape[-2:]
    towards = _dominant(reach_px, speed, radius).flatten(0, 2).T.contiguous()
    places = torch.nonzero(torch.hypot(*towards) >= _LEAST_PX)[:, 0]
    light = pictures.flatten(1, 2).movedim(1, 0).square()
    rows = torch.cat([light, speed.movedim(1, 0), depth.movedim(1, 0)]).flatten(1)
    # On a CPU a part at a time, so that it stays in the cache.
    part = _CPU_PLACES if rows.device.type == "cpu" else len(places)
    for some in torch.split(places, part):
        light = _gather(rows, some, towards.index_select(1, some), (height, width), radius)
        by_pixel = pictures.movedim(0, 2).flatten(0, 1)
        pixel = some % (height * width)
        by_pixel[:, some // (height * width), pixel // width, pixel % width] = light.sqrt_()
    return pictures


def _velocity(flow_px: Tensor) -> Tensor:
    """Give pixels a frame from flow ``(B, 2, ...)`` to the frame after, else before; else 0."""
    after, before = flow_px[:, 0], flow_px[:, 1]
    return torch.where(after.isnan(), -before, after).nan_to_num_(0.0, 0.0, 0.0)


def _layers(shot: Shot, moving: list[int]) -> tuple[Tensor, Tensor]:
    """Give velocity ``(M, 3, H, W, 2)`` and depth of picture and bare pictures.

    The depth ``(M, 3, H, W)`` is in steps of :data:`_DEPTH_STEP_MM`: one step more is behind.
    In a bare picture the hand lies in front; where the other hand was, the background is thought
    to move as it does elsewhere.
    """
    seen_px = _velocity(shot.flow_px[moving])
    hands_px = _velocity(shot.hand_flow_px[moving])
    depth_mm = shot.depth_mm[moving].clamp_max(_FAR_MM)
    ground = (depth_mm >= _FAR_MM)[..., None]
    mean_px = (seen_px * ground).sum(dim=(1, 2), keepdim=True)
    mean_px = mean_px / ground.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    amodal, other = shot.amodal[moving], shot.visible[moving].flip(1)
    bare_px = torch.where(other[..., None], mean_px[:, None], seen_px[:, None])
    bare_px = torch.where(amodal[..., None], hands_px, bare_px)
    bare_mm = torch.where(other, depth_mm.new_tensor(_FAR_MM), depth_mm[:, None])
    bare_mm = torch.where(amodal, depth_mm.new_tensor(0.0), bare_mm)
    return (
        torch.cat([seen_px[:, None], bare_px], dim=1),
        torch.cat([depth_mm[:, None], bare_mm], dim=1).mul_(1.0 / _DEPTH_STEP_MM),
    )


def _dominant(reach_px: Tensor, speed: Tensor, radius: int) -> Tensor:
    """Give the fastest movement of each pixel's surroundings, of all three pictures.

    Args:
        reach_px: ``(M, 3, H, W, 2)``.
        speed: ``(M, 3, H, W)`` its length.
        radius: The longest may be so long.

    Returns:
        ``(M, H, W, 2)``.
    """
    m, _, height, width = speed.shape
    best, which = speed.max(dim=1)
    px = reach_px.gather(1, which[:, None, ..., None].expand(-1, 1, -1, -1, 2))[:, 0]
    best, index = functional.max_pool2d(best[:, None], radius, ceil_mode=True, return_indices=True)
    _, near = functional.max_pool2d(best, 3, stride=1, padding=1, return_indices=True)
    index = index.flatten(1).gather(1, near.flatten(1))
    tiles = px.flatten(1, 2).gather(1, index[..., None].expand(-1, -1, 2))
    tiles = tiles.reshape(m, *best.shape[-2:], 2)
    down = torch.arange(height, device=speed.device) // radius
    right = torch.arange(width, device=speed.device) // radius
    last = torch.tensor(best.shape[-2:]) - 1
    return tiles[:, down.clamp_max(int(last[0]))][:, :, right.clamp_max(int(last[1]))]


def _gather(
    rows: Tensor, places: Tensor, towards: Tensor, size: tuple[int, int], radius: int
) -> Tensor:
    """Mix each place's light with what lies along its direction.

    Args:
        rows: ``(15, M * H * W)`` light of three pictures, their speeds, their depths.
        places: ``(N,)`` columns of ``rows`` to mix.
        towards: ``(2, N)`` half of the way to look along.
        size: Height and width.
        radius: The longest half way may be so long.

    Returns:
        ``(9, N)`` light.
    """
    height, width = size
    here = rows.index_select(1, places)
    light, speed, depth = here[:9].reshape(3, 3, -1), here[9:12], here[12:]
    u, v = places % width, (places // width) % height
    first = places - v * width - u
    length = torch.hypot(*towards)
    steps = min(_MOST_STEPS, max(2, math.ceil(radius / _STEP_PX)))
    total = torch.zeros_like(speed)
    mean = torch.zeros_like(light)
    for step in range(-steps, steps + 1):
        if step == 0:
            continue
        way = (towards * (step / steps)).round_().long()
        at_u, at_v = (u + way[0]).clamp_(0, width - 1), (v + way[1]).clamp_(0, height - 1)
        there = rows.index_select(1, at_v.mul_(width).add_(at_u).add_(first))
        away = length * abs(step / steps) - 1.0
        nearer = (depth - there[12:]).clamp_(-1.0, 1.0)
        # What is nearer must reach this pixel; what is behind shows where this pixel moves away.
        arrives = (there[9:12] - away).clamp_(0.0, 1.0)
        leaves = (speed - away).clamp_(0.0, 1.0)
        weight = (arrives + leaves).addcmul_(nearer, arrives.sub_(leaves)).mul_(0.5)
        total += weight
        mean.addcmul_(there[:9].reshape(3, 3, -1), weight[:, None])
    # The rest of the time the pixel shows what it shows now.
    mean.addcmul_(light, (2 * steps + 1 - total)[:, None])
    return mean.div_(2 * steps + 1).flatten(0, 1)
