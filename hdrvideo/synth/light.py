"""Light on hands and props: smooth normals, soft shadows, occlusion of the sky, and shading.

Shadows and occlusion come from spheres: some 45 within each hand and forearm, three along each
prop. They are computed at a few hundred points of each body and spread to its vertices, so they are
soft and cheap. A sphere's shadow is a cone with a soft rim; what it takes of the sky is its solid
angle times the cosine (Iñigo Quilez, "Sphere ambient occlusion" and "Sphere soft shadow", 2015).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from hdrvideo.handmodel import SKIN_BONES, HandModel
from hdrvideo.synth.meshes import ARM_OWNERS, HAND_OWNERS, Bodies, Frame, Mesh
from hdrvideo.synth.props import PROP_FACES
from hdrvideo.synth.scene import N_PROP_VERTICES, PROP_RINGS, PROP_SECTORS
from hdrvideo.synth.spheres import (
    CASTER_RINGS,
    Points,
    hand_points,
    hand_spheres,
    near_bones,
    prop_points,
    ring_spheres,
)

# Tangent of half the angle under which a light appears: the softness of shadows.
_SOFTNESS: Final = 0.2
_SKY_STRENGTH: Final = 0.9
_NO_SPHERE_MM: Final = -1e4
_PAIRS: Final = {"cpu": 1 << 16}
# Codes of what casts and receives, besides SKIN_BONES; equal codes do not shade one another.
_FOREARM, _SCENE, _NOBODY = 100, 200, -1

# Light goes on under skin, red furthest: how far beyond the terminator it reaches.
_SKIN_WRAP: Final = (0.38, 0.20, 0.14)
_PLAIN_WRAP: Final = (0.06, 0.06, 0.06)
_SKIN_F0, _PLAIN_F0 = 0.028, 0.04


@dataclass(frozen=True)
class LightTable:
    """The lights of N frames, camera axes; missing lights are black.

    Attributes:
        towards: ``(N, L, 3)`` unit.
        rgb: ``(N, L, 3)``.
        up: ``(N, 3)`` unit.
        sky_rgb: ``(N, 3)``.
        ground_rgb: ``(N, 3)``.
    """

    towards: Tensor
    rgb: Tensor
    up: Tensor
    sky_rgb: Tensor
    ground_rgb: Tensor


def stack_lights(frames: Sequence[Frame], device: torch.device) -> LightTable:
    """Stack the lights of frames."""
    n_lights = max(1, *(len(scene.lights.rgb) for scene, _ in frames))
    towards = np.zeros((len(frames), n_lights, 3), np.float32)
    rgb = np.zeros_like(towards)
    towards[..., 2] = 1
    for i, (scene, t) in enumerate(frames):
        n = len(scene.lights.rgb)
        towards[i, :n], rgb[i, :n] = scene.lights.towards[t], scene.lights.rgb
    rest = [
        np.stack([scene.lights.up[t] for scene, t in frames]),
        np.stack([scene.lights.sky_rgb for scene, _ in frames]),
        np.stack([scene.lights.ground_rgb for scene, _ in frames]),
    ]
    return LightTable(*(torch.from_numpy(value).to(device) for value in (towards, rgb, *rest)))


class Corners:
    """Which triangles meet at each vertex of a mesh, for smooth normals."""

    def __init__(
        self, faces: NDArray[np.int64], same: NDArray[np.int64], device: torch.device
    ) -> None:
        """Collect them; vertices with one number in ``same`` ``(V,)`` share a normal."""
        meeting: list[list[int]] = [[] for _ in range(int(same.max()) + 1)]
        for f, corners in enumerate(faces.tolist()):
            for group in {int(same[v]) for v in corners}:
                meeting[group].append(f)
        longest = max(len(found) for found in meeting)
        table = np.full((len(same), longest), len(faces), np.int64)
        for v, group in enumerate(same.tolist()):
            table[v, : len(meeting[group])] = meeting[group]
        self._faces = torch.from_numpy(faces).to(device)
        self._table = torch.from_numpy(table).to(device)

    def normals(self, vertices_mm: Tensor) -> Tensor:
        """Give unit normals ``(K, V, 3)`` of meshes ``(K, V, 3)``, each triangle by its area."""
        a, b, c = (vertices_mm[:, self._faces[:, k]] for k in range(3))
        cross = torch.linalg.cross(b - a, c - a, dim=-1)
        cross = torch.cat([cross, torch.zeros_like(cross[:, :1])], dim=1)
        return normalize(_mix(cross, self._table), dim=-1)


def _mix(values: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum rows of ``(K, R, C)`` named by ``(V, n)`` with weights: ``(K, V, C)``."""
    k, r, c = values.shape
    if not k:
        return values.new_zeros(0, len(index), c)
    rows = torch.arange(k, device=values.device)[:, None, None] * r + index
    shares = None if weights is None else weights.expand(k, -1, -1).flatten(0, 1)
    mixed = embedding_bag(
        rows.flatten(0, 1), values.flatten(0, 1), mode="sum", per_sample_weights=shares
    )
    return mixed.view(k, -1, c)


class LightMaker:
    """Computes what of the lights and the sky reaches each vertex."""

    def __init__(self, model: HandModel, device: torch.device) -> None:
        numbers = {name: value.cpu().numpy() for name, value in model.named_buffers()}
        one_by_one = np.arange(len(numbers["part"]))
        self._hand_corners = Corners(numbers["faces"], one_by_one, device)
        ends = np.arange(N_PROP_VERTICES)
        ends[:PROP_SECTORS], ends[-PROP_SECTORS:] = 0, N_PROP_VERTICES - 1
        self._prop_corners = Corners(PROP_FACES, ends, device)
        self._hand_points = hand_points(numbers["template_mm"], numbers["part"], device)
        self._prop_points = prop_points(device)
        bone = numbers["skin_weights"].argmax(axis=1)
        weights, radius_mm, sphere_bone = hand_spheres(numbers["template_mm"], bone)
        self._sphere_weights = torch.from_numpy(weights).to(device)
        self._sphere_radius_mm = torch.from_numpy(radius_mm).to(device)
        point_bone = bone[self._hand_points.vertex.cpu().numpy()]
        near = near_bones()[point_bone][:, sphere_bone]
        self._own_near = torch.from_numpy(near).to(device)
        arm = SKIN_BONES.index("forearm")
        self._sphere_is_arm = torch.from_numpy(sphere_bone == arm).to(device)
        self._point_is_arm = torch.from_numpy(point_bone == arm).to(device)

    def vertex_light(self, mesh: Mesh, lights: LightTable, shown: Tensor) -> Tensor:
        """Give what vertices need for shading.

        Args:
            mesh: All bodies.
            lights: Of the asked frames.
            shown: ``(K,)`` bool, bodies of asked frames that some pixel shows.

        Returns:
            ``(V, 4 + L)``: unit normal, part of the sky that is open, part of each light that
            arrives; zero for bodies that are not shown.
        """
        bodies, n_hands = mesh.bodies, mesh.bodies.n_hands
        n_frames, n_lights = lights.rgb.shape[:2]
        table = mesh.vertices_mm.new_zeros(len(mesh.vertices_mm), 4 + n_lights)
        hand_rows, prop_rows = (
            mask.nonzero().squeeze(1) for mask in (shown[:n_hands], shown[n_hands:])
        )
        spheres = self._spheres(mesh, n_frames)
        n_first = mesh.hands_mm.shape[0] * mesh.hands_mm.shape[1]
        hands_mm, side = mesh.hands_mm[hand_rows], bodies.hand_side[hand_rows]
        # A left hand's triangles run the other way round.
        turned = (1.0 - 2.0 * side)[:, None, None]
        normals = self._hand_corners.normals(hands_mm) * turned
        frame, receiver = bodies.hand_frame[hand_rows], self._hand_receivers(side)
        light = self._at_points(
            hands_mm, normals, self._hand_points, frame, receiver, spheres, lights
        )
        table[:n_first].view(*mesh.hands_mm.shape[:2], 4 + n_lights)[hand_rows] = light
        props_mm = mesh.props_mm[prop_rows]
        normals = self._prop_corners.normals(props_mm)
        frame, receiver = bodies.prop_frame[prop_rows], _prop_codes(bodies)[prop_rows, None]
        light = self._at_points(
            props_mm, normals, self._prop_points, frame, receiver, spheres, lights
        )
        table[n_first:].view(*mesh.props_mm.shape[:2], 4 + n_lights)[prop_rows] = light
        return table

    def _at_points(
        self,
        vertices_mm: Tensor,
        normals: Tensor,
        points: Points,
        frame: Tensor,
        receiver: Tensor,
        spheres: tuple[Tensor, Tensor, Tensor],
        lights: LightTable,
    ) -> Tensor:
        """Compute light at the points of bodies of one kind: ``(K, V, 4 + L)`` by vertex."""
        middle_mm, radius_mm, code = spheres
        found = []
        for part in _pieces(len(frame), len(points.vertex) * code.shape[1], code.device):
            at = frame[part]
            radius = self._seen_radius(radius_mm[at], code[at], receiver[part])
            places = vertices_mm[part][:, points.vertex], normals[part][:, points.vertex]
            found.append(_reaching(*places, middle_mm[at], radius, lights.towards[at]))
        return torch.cat([normals, _mix(torch.cat(found), points.index, points.weights)], dim=-1)

    def _hand_receivers(self, side: Tensor) -> Tensor:
        """Give a code to every point of hands of these sides: ``(K, C)``."""
        return torch.where(self._point_is_arm, _FOREARM + side[:, None], side[:, None])

    def _seen_radius(self, radius_mm: Tensor, code: Tensor, receiver: Tensor) -> Tensor:
        """Leave out what a point's own limb casts: radii ``(K, C, S)`` of spheres ``(K, S)``."""
        excluded = (code[:, None] == receiver[..., None]) & (receiver >= _FOREARM)[..., None]
        n_hand = len(self._sphere_radius_mm)
        if receiver.shape[1] == len(self._own_near):
            for side in (0, 1):
                own = (receiver % _FOREARM == side)[..., None] & self._own_near
                excluded[..., side * n_hand : (side + 1) * n_hand] |= own
        return torch.where(excluded, _NO_SPHERE_MM, radius_mm[:, None])

    def _spheres(self, mesh: Mesh, n_frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give the spheres of each frame: middles ``(N, S, 3)``, radii and codes ``(N, S)``."""
        bodies, (n_hands, n_props) = mesh.bodies, mesh.bodies.n_asked
        n_hand, device = len(self._sphere_radius_mm), mesh.vertices_mm.device
        slots = int(bodies.prop_slot.amax()) + 1 if len(bodies.prop_slot) else 0
        n_spheres = 2 * n_hand + len(CASTER_RINGS) * slots
        middle_mm = mesh.vertices_mm.new_zeros(n_frames, n_spheres, 3)
        radius_mm = torch.full((n_frames, n_spheres), _NO_SPHERE_MM, device=device)
        code = torch.full((n_frames, n_spheres), _NOBODY, device=device)
        frame, side = bodies.hand_frame[:n_hands], bodies.hand_side[:n_hands]
        columns = side[:, None] * n_hand + torch.arange(n_hand, device=device)
        middle_mm[frame[:, None], columns] = self._sphere_weights @ mesh.hands_mm[:n_hands]
        radius_mm[frame[:, None], columns] = self._sphere_radius_mm
        code[frame[:, None], columns] = torch.where(
            self._sphere_is_arm, _FOREARM + side[:, None], side[:, None]
        )
        if n_props:
            rings = mesh.props_mm[:n_props].view(n_props, PROP_RINGS, PROP_SECTORS, 3)
            middles, radii = ring_spheres(rings)
            prop_code = _prop_codes(bodies)[:n_props, None]
            radii = torch.where(prop_code == _NOBODY, _NO_SPHERE_MM, radii)
            slot, ring = bodies.prop_slot[:n_props], torch.arange(len(CASTER_RINGS), device=device)
            columns = 2 * n_hand + slot[:, None] * len(CASTER_RINGS) + ring
            frame = bodies.prop_frame[:n_props, None]
            middle_mm[frame, columns], radius_mm[frame, columns] = middles, radii
            code[frame, columns] = prop_code
        return middle_mm, radius_mm, code


def _pieces(n_bodies: int, n_pairs: int, device: torch.device) -> list[slice]:
    """Cut bodies into pieces with so few pairs of points and spheres that a cache holds them."""
    limit = _PAIRS.get(device.type, 1 << 26)
    step = max(1, limit // n_pairs)
    return [slice(first, first + step) for first in range(0, max(n_bodies, 1), step)]


def _prop_codes(bodies: Bodies) -> Tensor:
    """Give a code ``(Kp,)`` to every prop: its arm, the nobody of a ring, or its own."""
    code = _SCENE + bodies.prop_slot
    for side, owner in enumerate(ARM_OWNERS):
        code = torch.where(bodies.owner == owner, _FOREARM + side, code)
    for owner in HAND_OWNERS:
        code = torch.where(bodies.owner == owner, _NOBODY, code)
    return code


def _reaching(
    points_mm: Tensor, normals: Tensor, middles_mm: Tensor, radius_mm: Tensor, towards: Tensor
) -> Tensor:
    """Give the open part of the sky and of each light.

    Args:
        points_mm: ``(K, C, 3)``.
        normals: ``(K, C, 3)`` unit.
        middles_mm: ``(K, S, 3)`` of the spheres.
        radius_mm: ``(K, C, S)``; negative does not count.
        towards: ``(K, L, 3)`` unit vectors to the lights.

    Returns:
        ``(K, C, 1 + L)``, 0 dark .. 1 open.
    """
    x, y, z = (middles_mm[:, None, :, i] - points_mm[:, :, None, i] for i in range(3))
    square = x * x + y * y + z * z
    # A point within a sphere belongs to it.
    radius_mm = torch.where(square > (1.02 * radius_mm) ** 2, radius_mm, _NO_SPHERE_MM)
    n = normals[..., None, :]
    cosine = (x * n[..., 0] + y * n[..., 1] + z * n[..., 2]) * square.rsqrt()
    share = radius_mm.clamp(min=0) ** 2 / square
    # Half of a sphere that straddles the horizon counts.
    above = ((cosine + 0.25) / 1.25).clamp(min=0)
    open_sky = torch.exp(-_SKY_STRENGTH * (share * above).sum(dim=-1))
    parts = [open_sky]
    for light in towards.unbind(dim=1):
        lx, ly, lz = (light[:, None, None, i] for i in range(3))
        ahead = x * lx + y * ly + z * lz
        aside = (square - ahead * ahead).clamp(min=0).sqrt()
        gap = (aside - radius_mm) / (_SOFTNESS * ahead.clamp(min=1.0))
        gap = torch.where(ahead > 0, gap, 1.0).amin(dim=-1)
        part = (0.5 + 0.5 * gap).clamp(0, 1)
        parts.append(part * part * (3 - 2 * part))
    return torch.stack(parts, dim=-1)


def shade(
    normal: Tensor,
    view: Tensor,
    albedo: Tensor,
    roughness: Tensor,
    is_skin: bool,
    reaching: Tensor,
    lights: LightTable,
    frame: Tensor,
) -> Tensor:
    """Give the colours of M points of surfaces.

    Light adds up in linear colour; what is displayed is its square root (gamma 2), as is the
    albedo. Wrapped diffuse light stands for what skin scatters; the gloss is GGX with Kelemen and
    Szirmay-Kalos's visibility ("A Microfacet Based Coupled Specular-Matte BRDF Model", 2001).

    Args:
        normal: ``(3, M)`` unit.
        view: ``(3, M)`` unit, towards the camera.
        albedo: ``(3, M)`` displayed colour, 0-1.
        roughness: ``(M,)``.
        is_skin: Skin, or something plain.
        reaching: ``(1 + L, M)`` open part of sky and lights.
        lights: Of N frames.
        frame: ``(M,)`` int64, or ``(1,)`` if it is the same for all.

    Returns:
        ``(3, M)`` displayed colours, 0-1.
    """
    n_lights = lights.rgb.shape[1]
    columns = [lights.towards.flatten(1), lights.rgb.flatten(1), lights.up]
    columns += [lights.sky_rgb, lights.ground_rgb]
    table = torch.cat(columns, dim=1).T.contiguous().index_select(1, frame)
    towards, rgb = table[: 3 * n_lights], table[3 * n_lights : 6 * n_lights]
    up, sky, ground = table[6 * n_lights :].view(3, 3, -1)
    wrap = normal.new_tensor(_SKIN_WRAP if is_skin else _PLAIN_WRAP)[:, None]
    f0 = _SKIN_F0 if is_skin else _PLAIN_F0
    alpha = roughness * roughness
    square = alpha * alpha
    facing = (normal * view).sum(dim=0).clamp(0, 1)
    graze = (1 - facing) ** 4
    height = 0.5 + 0.5 * (normal * up).sum(dim=0)
    ambient = (ground + (sky - ground) * height) * reaching[0]
    diffuse = ambient
    gloss = ambient * ((f0 + 0.5 * graze * (1 - roughness)) * 0.6)
    for i in range(n_lights):
        to, colour = towards[3 * i : 3 * i + 3], rgb[3 * i : 3 * i + 3] * reaching[1 + i]
        cosine = (normal * to).sum(dim=0)
        diffuse = diffuse + ((cosine + wrap) / (1 + wrap)).clamp(min=0) * colour
        half = to + view
        half = half * (half * half).sum(dim=0).clamp(min=1e-6).rsqrt()
        across = (half * view).sum(dim=0).clamp(min=0.1)
        top = (normal * half).sum(dim=0).clamp(min=0)
        lobe = square / (math.pi * ((square - 1) * top * top + 1) ** 2)
        shine = lobe * (f0 + (1 - f0) * (1 - across) ** 5) / (4 * across * across)
        gloss = gloss + (shine * cosine.clamp(min=0)) * colour * math.pi
    linear = albedo * albedo * diffuse + gloss
    # Bright light bends softly towards white instead of being cut off.
    squared = linear * linear
    bent: Tensor = linear * (1 + squared * squared).sqrt().rsqrt()
    return bent.sqrt()
