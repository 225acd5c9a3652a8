"""Make the sample clip: a made person before a camera opens, turns, joins and crosses two hands.

Usage (CPU, about six minutes on two cores; anny builds its model once, about 70 s)::

    pip install anny scipy
    python scripts/make_sample.py --skins FOLDER --out sample_videos/two_hands.mp4

FOLDER holds MakeHuman body textures (CC0), such as ``young_lightskinned_male_diffuse.png``. The body
is anny's (code Apache-2.0, MakeHuman data CC0); everything else is computed here, so the clip
itself is CC0. The same arguments give the same pictures.

Axes are the camera's: x right, y down, z away; the person looks along -z, millimetres throughout.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

Array = NDArray[Any]

WIDTH_PX, HEIGHT_PX, RATE = 640, 480, 30
SUPER = 2
FOCAL_PX = 690.0
EYE_BELOW_NECK_MM, EYE_BEFORE_NECK_MM, PITCH_DEG = 255.0, 1330.0, 5.0
TO_LIGHT = np.array([-0.45, -0.70, -0.55]) / np.linalg.norm([-0.45, -0.70, -0.55])
SHADOW_PX, SHADOW_MM_PER_PX = 768, 1.6
SHIRT_RGB = (0.075, 0.13, 0.20)
SAMPLE_RATE = 48000

# Key poses of a hand. x, y, z: middle knuckle, mm outwards, up and forward from the breastbone
# (negative x: past the middle). lean: fingers inwards; tilt: fingers to the camera; turn: 0 palm to
# the camera, 90 palm inwards, 180 back of the hand to the camera (degrees). curl, spread: 0 to 1.
FIELDS = ("x", "y", "z", "lean", "tilt", "turn", "curl", "spread")
RIGHT_KEYS = {
    0.00: (230, 10, 330, 5, 10, 5, 0.05, 0.7),
    0.50: (225, 20, 335, 3, 8, 0, 0.02, 0.8),
    1.90: (225, 15, 335, 5, 8, 5, 0.05, 0.6),
    2.40: (215, 5, 335, 8, 8, 120, 0.10, 0.3),
    2.70: (210, 0, 335, 10, 8, 150, 0.12, 0.3),
    3.10: (150, -20, 335, 30, 10, 95, 0.15, 0.3),
    3.45: (33.6, -25, 335, 42, 10, 90, 0.12, 0.3),
    3.70: (33.6, -25, 335, 42, 10, 90, 0.12, 0.3),
    4.00: (110, -10, 380, 25, 10, 160, 0.10, 0.3),
    4.50: (-85, 10, 450, 20, 12, 175, 0.06, 0.4),
    4.65: (-85, 12, 450, 20, 12, 175, 0.06, 0.4),
    5.20: (190, 15, 360, 10, 10, 60, 0.06, 0.5),
    5.60: (235, 25, 340, 5, 8, 5, 0.02, 0.8),
    5.90: (235, 30, 340, -10, 8, 0, 0.02, 0.8),
    6.20: (225, 25, 340, 12, 8, 0, 0.02, 0.8),
    6.60: (230, 20, 340, 5, 8, 0, 0.03, 0.7),
}
LEFT_KEYS = {
    0.00: (235, 0, 330, 5, 10, 5, 0.05, 0.7),
    0.90: (230, 10, 335, 3, 8, 0, 0.02, 0.8),
    2.30: (225, 5, 335, 5, 8, 5, 0.05, 0.6),
    2.70: (215, 0, 335, 10, 8, 60, 0.10, 0.3),
    3.10: (150, -20, 335, 30, 10, 95, 0.15, 0.3),
    3.45: (33.6, -25, 335, 42, 10, 90, 0.12, 0.3),
    3.70: (33.6, -25, 335, 42, 10, 90, 0.12, 0.3),
    4.00: (110, -40, 300, 25, 10, 20, 0.10, 0.4),
    4.50: (-74, -45, 244, 20, 8, 5, 0.06, 0.5),
    4.65: (-74, -45, 244, 20, 8, 5, 0.06, 0.5),
    5.05: (230, -30, 290, 5, 8, 20, 0.10, 0.4),
    5.30: (520, -60, 270, -10, 8, 40, 0.15, 0.3),
    5.50: (600, -60, 260, -15, 8, 40, 0.15, 0.3),
    6.10: (600, -60, 260, -15, 8, 40, 0.15, 0.3),
    6.35: (400, -20, 300, -5, 8, 20, 0.10, 0.5),
    6.60: (240, 0, 330, 5, 8, 5, 0.05, 0.7),
}
# When each hand's first finger starts to close and to open again; the others follow one by one.
WAVES_S = {"R": (0.45, 1.15), "L": (0.95, 1.65)}
WAVE_STEP_S, WAVE_S = 0.09, 0.32
FLEX_DEG = np.array([68.0, 88.0, 52.0])
OPEN_DEG = np.array([-12.0, -8.0, -4.0])
DURATION_S = 6.6


@dataclass
class Body:
    """A rigged mesh at rest; corners hold texture places, shirt_mm is positive under cloth."""

    xyz_mm: Array
    faces: Array
    corner_uv: Array
    weights: Array
    heads_mm: Array
    names: list[str]
    parents: list[int]
    shirt_mm: Array

    def head(self, name: str) -> Array:
        """Give the joint at which a bone begins, at rest."""
        return self.heads_mm[self.names.index(name)]


def unit(vector: Array) -> Array:
    """Scale vectors to length one."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def ease(x: Array | float) -> Array:
    """Minimum-jerk ramp from 0 to 1."""
    x = np.clip(x, 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


def load_body() -> Body:
    """Build anny's adult body, cut the legs off, dress it, and move it into camera axes."""
    import anny

    model = anny.Anny(rig="makehuman", topology="anny")
    shape = {"gender": 0.05, "age": 0.62, "muscle": 0.55, "weight": 0.45, "height": 0.5}
    out = model(pose_parameters=None, phenotype_kwargs={**shape, "proportions": 0.6})
    to_camera = np.array([[1000.0, 0, 0], [0, 0, -1000.0], [0, 1000.0, 0]]).T
    xyz_mm = out["rest_vertices"][0].double().numpy() @ to_camera
    heads_mm = out["rest_bone_heads"][0].double().numpy() @ to_camera
    names = list(model.bone_labels)
    weights = np.zeros((len(xyz_mm), len(names)))
    rows = np.arange(len(xyz_mm))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    faces, uv_faces = model.faces.numpy(), model.face_texture_coordinate_indices.numpy()
    corner_uv = model.texture_coordinates.numpy()[uv_faces]
    below = xyz_mm[:, 1] > heads_mm[names.index("upperleg01.R"), 1] + 60
    face_ok = ~below[faces].any(axis=1)
    body = Body(
        xyz_mm,
        faces[face_ok],
        corner_uv[face_ok],
        weights,
        heads_mm,
        names,
        list(model.bone_parents),
        np.zeros(len(xyz_mm)),
    )
    return dress(body)


def dress(body: Body) -> Body:
    """Mark the T-shirt and push its vertices outwards."""
    from_neck_mm = body.xyz_mm - body.head("neck01")
    round_mm = np.linalg.norm(from_neck_mm[:, [0, 2]] * (0.9, 1.0), axis=1) - 82
    low_mm = from_neck_mm[:, 1] - 70 + (from_neck_mm[:, 0] / 60) ** 2 * 25
    shirt_mm = np.maximum(round_mm, low_mm)
    shirt_mm = np.where(from_neck_mm[:, 1] < 14, -50.0, shirt_mm)
    for side in "RL":
        start, end = body.head(f"upperarm01.{side}"), body.head(f"lowerarm01.{side}")
        along_mm = (body.xyz_mm - start) @ unit(end - start)
        arm = [
            i
            for i, n in enumerate(body.names)
            if n.endswith(f".{side}")
            and n.startswith(("upperarm", "lowerarm", "wrist", "finger", "metacarpal"))
        ]
        on_arm = body.weights[:, arm].sum(axis=1) > 0.5
        cut_mm = 0.72 * np.linalg.norm(end - start) - along_mm
        shirt_mm = np.where(on_arm, np.minimum(shirt_mm, cut_mm), shirt_mm)
    normals = vertex_normals(body.xyz_mm, body.faces)
    puff_mm = np.clip(shirt_mm / 8, 0, 1) * (6 + 7 * np.exp(-np.abs(shirt_mm) / 60))
    body.shirt_mm = shirt_mm
    body.xyz_mm = body.xyz_mm + normals * puff_mm[:, None]
    return body


def vertex_normals(xyz_mm: Array, faces: Array) -> Array:
    """Give area-weighted vertex normals."""
    a, b, c = (xyz_mm[faces[:, i]] for i in range(3))
    face_normals = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    corner = faces.ravel()
    sums = [np.bincount(corner, face_normals[:, i], len(xyz_mm)) for i in range(3)]
    return unit(np.stack(sums, axis=1))


def frame_of(first: Array, second: Array) -> Array:
    """Give a rotation whose first axis is ``first`` and whose second lies towards ``second``."""
    first = unit(first)
    second = unit(second - first * (first @ second))
    return np.stack([first, second, np.cross(first, second)], axis=1)


def finger_curls(side: str, time_s: float, curl: float) -> Array:
    """Give the five fingers' curl: the key pose's, and the wave that runs over the hand."""
    close_s, open_s = WAVES_S[side]
    start_s = np.arange(5) * WAVE_STEP_S
    wave = ease((time_s - close_s - start_s) / WAVE_S) - ease((time_s - open_s - start_s) / WAVE_S)
    return np.maximum(curl, wave)


def flex_fingers(
    body: Body, side: str, curls: Array, spread: float, turns: dict[str, Array]
) -> None:
    """Add the finger bones' rotations (about rest axes) to ``turns``."""
    palm = palm_normal(body, side)
    knuckles = [body.head(f"finger{k}-1.{side}") for k in range(2, 6)]
    across = unit(knuckles[0] - knuckles[3])
    for k in range(1, 6):
        chain = [body.head(f"finger{k}-{j}.{side}") for j in (1, 2, 3)]
        along = unit(chain[2] - chain[0])
        if k == 1:
            axis = unit(np.cross(along, unit(palm - 0.9 * across)))
            angles_deg = np.array([18.0, 30.0, 55.0]) * curls[0] + (-6, -4, -4)
        else:
            axis = unit(np.cross(along, palm))
            angles_deg = FLEX_DEG * curls[k - 1] + OPEN_DEG * (1 - curls[k - 1])
        for j in range(3):
            turns[f"finger{k}-{j + 1}.{side}"] = turn_about(axis, angles_deg[j])
        if k > 1:
            open_part = 1 - curls[k - 1]
            fan_deg = (9.0, 3.0, -4.0, -11.0)[k - 2] * (spread - 0.35) * open_part
            fan = turn_about(unit(np.cross(along, across)), fan_deg)
            turns[f"finger{k}-1.{side}"] = fan @ turns[f"finger{k}-1.{side}"]


def turn_about(axis: Array, angle_deg: float) -> Array:
    """Give the rotation about an axis."""
    return Rotation.from_rotvec(axis * np.deg2rad(angle_deg)).as_matrix()


def palm_normal(body: Body, side: str) -> Array:
    """Give the rest direction out of the palm: the side to which the resting fingers bend."""
    wrist, knuckle = body.head(f"wrist.{side}"), body.head(f"finger3-1.{side}")
    normal = unit(
        np.cross(body.head(f"finger2-1.{side}") - wrist, body.head(f"finger5-1.{side}") - wrist)
    )
    bend = unit(body.head(f"finger3-3.{side}") - knuckle)
    return normal * np.sign(normal @ bend)


def reach(body: Body, side: str, key: dict[str, float]) -> dict[str, Array]:
    """Give whole-body rotations of the arm's bones that put the hand where the key says."""
    mirror = np.array([1.0 if side == "R" else -1.0, 1.0, 1.0])
    turn = Rotation.from_euler("yxz", (key["turn"], key["tilt"], key["lean"]), degrees=True)
    fingers, palm = (mirror * turn.apply(v) for v in ([0.0, -1.0, 0.0], [0.0, 0.0, -1.0]))
    names = ("upperarm01", "lowerarm01", "wrist", "finger3-1")
    shoulder, elbow, wrist, knuckle = (body.head(f"{n}.{side}") for n in names)
    hand = frame_of(fingers, palm) @ frame_of(knuckle - wrist, palm_normal(body, side)).T
    breast = np.array([0.0, body.head("neck01")[1] + 200, body.head("neck01")[2]])
    goal = breast + mirror * (-key["x"], -key["y"], -key["z"]) - hand @ (knuckle - wrist)
    upper_mm, fore_mm = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
    span = goal - shoulder
    span_mm = min(np.linalg.norm(span), 0.985 * (upper_mm + fore_mm))
    span = unit(span)
    along_mm = (upper_mm**2 - fore_mm**2 + span_mm**2) / (2 * span_mm)
    pole = mirror * (-0.55, 1.0, 0.35)
    pole = unit(pole - span * (pole @ span))
    bent = shoulder + span * along_mm + pole * np.sqrt(max(upper_mm**2 - along_mm**2, 0.0))
    end = shoulder + span * span_mm
    upper = frame_of(bent - shoulder, end - bent) @ frame_of(elbow - shoulder, wrist - elbow).T
    fore = frame_of(end - bent, bent - shoulder) @ frame_of(wrist - elbow, elbow - shoulder).T
    swing, _ = Rotation.align_vectors([unit(bent - shoulder)], [unit(elbow - shoulder)])
    axis = unit(wrist - elbow)
    quat = Rotation.from_matrix(fore.T @ hand).as_quat()
    twist_deg = np.rad2deg(2 * np.arctan2(quat[:3] @ axis, quat[3]))
    twist_deg = (twist_deg + 180) % 360 - 180
    return {
        f"upperarm01.{side}": swing.as_matrix(),
        f"upperarm02.{side}": upper,
        f"lowerarm01.{side}": fore @ turn_about(axis, 0.25 * twist_deg),
        f"lowerarm02.{side}": fore @ turn_about(axis, 0.7 * twist_deg),
        f"wrist.{side}": hand,
    }


def pose(body: Body, time_s: float) -> Array:
    """Give the body's vertices at a time."""
    whole: dict[str, Array] = {}
    turns: dict[str, Array] = {}
    for side, keys in (("R", RIGHT_KEYS), ("L", LEFT_KEYS)):
        track = PchipInterpolator(list(keys), np.array(list(keys.values()), dtype=float))
        key = dict(zip(FIELDS, track(time_s), strict=True))
        whole |= reach(body, side, key)
        flex_fingers(body, side, finger_curls(side, time_s, key["curl"]), key["spread"], turns)
    rotations = np.tile(np.eye(3), (len(body.names), 1, 1))
    heads_mm = body.heads_mm.copy()
    for i, (name, parent) in enumerate(zip(body.names, body.parents, strict=True)):
        if parent >= 0:
            offset_mm = body.heads_mm[i] - body.heads_mm[parent]
            heads_mm[i] = heads_mm[parent] + rotations[parent] @ offset_mm
            rotations[i] = whole.get(name, rotations[parent] @ turns.get(name, np.eye(3)))
    shift_mm = heads_mm - np.einsum("bij,bj->bi", rotations, body.heads_mm)
    mixed = (body.weights @ rotations.reshape(-1, 9)).reshape(-1, 3, 3)
    return np.einsum("vij,vj->vi", mixed, body.xyz_mm) + body.weights @ shift_mm


def rasterise(
    uv_px: Array, z_mm: Array, faces: Array, size: tuple[int, int], cull: bool
) -> tuple[Array, Array, Array]:
    """Z-buffer triangles: give covered pixels (flat), their faces and barycentric weights."""
    width, height = size
    tri = uv_px[faces].astype(np.float32)
    e1, e2 = tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    low = np.clip(np.ceil(tri.min(axis=1)), 0, None).astype(np.int64)
    high = np.minimum(np.floor(tri.max(axis=1)), (width - 1, height - 1)).astype(np.int64)
    extent = (high - low).max(axis=1) + 1
    keep = (high >= low).all(axis=1) & ((area < -1e-6) if cull else (np.abs(area) > 1e-6))
    area = np.where(keep, area, 1.0)
    depth = (1.0 / z_mm)[faces].astype(np.float32)
    x0, y0 = (low - tri[:, 0]).astype(np.float32).T
    e1, e2 = e1 / area[:, None], e2 / area[:, None]
    parts = []
    side = 2
    while side < 2 * max(size):
        group = np.nonzero(keep & (extent <= side) & (extent > (0 if side == 2 else side // 2)))[0]
        gy, gx = (g.ravel().astype(np.float32) for g in np.mgrid[0:side, 0:side])
        step = max(1, 1_000_000 // side**2)
        for f in (group[i : i + step] for i in range(0, len(group), step)):
            dx, dy = x0[f, None] + gx, y0[f, None] + gy
            b = dx * e2[f, None, 1] - dy * e2[f, None, 0]
            c = dy * e1[f, None, 0] - dx * e1[f, None, 1]
            hit = np.flatnonzero((b >= 0) & (c >= 0) & (b + c <= 1))
            row, cell = f[hit // side**2], hit % side**2
            x_px, y_px = low[row, 0] + cell % side, low[row, 1] + cell // side
            b, c = b.ravel()[hit], c.ravel()[hit]
            bary = np.stack([1 - b - c, b, c], axis=1) * depth[row]
            held = (x_px < width) & (y_px < height)
            parts.append(((y_px * width + x_px)[held], row[held], bary[held]))
        side *= 2
    pixel, face, bary = (np.concatenate(p) for p in zip(*parts, strict=True))
    nearness = bary.sum(axis=1)
    order = np.argsort(nearness, kind="stable")
    owner = np.full(width * height, -1)
    owner[pixel[order]] = order
    covered = np.nonzero(owner >= 0)[0]
    best = owner[covered]
    return covered, face[best], bary[best] / nearness[best, None]


def make_table(body: Body) -> tuple[Array, Array]:
    """Give the table top's vertices and faces."""
    neck = body.head("neck01")
    x, z = np.meshgrid(np.linspace(-900, 900, 31), np.linspace(-900, -135, 16))
    xyz_mm = np.stack([x, np.full_like(x, neck[1] + 540), neck[2] + z], axis=-1).reshape(-1, 3)
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
    return xyz_mm, faces


def make_wall() -> Array:
    """Give the background, linear light: a wall, a window's glow, a shelf, all out of focus."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    glow = np.exp(-(((x - 90) / 300) ** 2 + ((y - 60) / 260) ** 2))
    wall = np.array([0.30, 0.335, 0.33]) * (0.55 + 0.75 * glow - 0.0004 * y)[..., None]
    shapes = [
        ((470, 0), (640, 118), (0.16, 0.20, 0.24)),
        ((486, 0), (640, 104), (0.42, 0.44, 0.40)),
        ((0, 150), (128, 162), (0.15, 0.10, 0.06)),
        ((18, 66), (40, 150), (0.06, 0.14, 0.22)),
        ((42, 80), (58, 150), (0.34, 0.28, 0.12)),
        ((60, 58), (84, 150), (0.10, 0.20, 0.14)),
        ((88, 90), (112, 150), (0.30, 0.30, 0.32)),
        ((0, 372), (640, 480), (0.20, 0.21, 0.20)),
    ]
    for (left, top), (right, bottom), colour in shapes:
        wall[top:bottom, left:right] = np.array(colour) * (
            0.6 + 0.5 * glow[top:bottom, left:right, None]
        )
    return cv2.GaussianBlur(wall.astype(np.float32), (0, 0), 6)


def ripple(xyz_mm: Array, wave_mm: float, seed: int) -> Array:
    """Give smooth made noise at places, (places, 3), about -1 to 1."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(6, 3)) * 2 * np.pi / wave_mm
    phases = np.sin(xyz_mm @ waves.T + rng.uniform(0, 6.28, 6))
    return phases @ rng.normal(size=(6, 3)) / 3


def make_pores() -> Array:
    """Give fine noise to lie over the skin's texture, float32, (1536, 1536, 3), about -1 to 1."""
    rng = np.random.default_rng(9)
    layers = [rng.normal(size=(side, side, 3)).astype(np.float32) for side in (1536, 768)]
    pores = layers[0] + 1.5 * cv2.resize(layers[1], (1536, 1536), interpolation=cv2.INTER_CUBIC)
    return np.clip(pores / 4, -1, 1)


def look_up(picture: Array, uv: Array) -> Array:
    """Sample a square texture (v up) with bilinear weights."""
    places_px = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1) * picture.shape[0] - 0.5
    rows = np.array_split(places_px.astype(np.float32)[None], len(uv) // 30000 + 1, axis=1)
    return np.concatenate([cv2.remap(picture, r, None, cv2.INTER_LINEAR) for r in rows], axis=1)[0]


def lit_share(xyz_mm: Array, faces: Array, points_mm: Array) -> Array:
    """Give how much of the lamp each point sees, from a softened shadow map."""
    axes = frame_of(TO_LIGHT, np.array([0.0, 1.0, 0.0]))[:, [1, 2, 0]]
    centre = np.array([SHADOW_PX / 2, SHADOW_PX / 2])
    origin_mm = xyz_mm.mean(axis=0) + (0.0, 0.0, -150.0)

    def to_map(places_mm: Array) -> tuple[Array, Array]:
        seen = (places_mm - origin_mm) @ axes
        return seen[:, :2] / SHADOW_MM_PER_PX + centre, 4000.0 - seen[:, 2]

    uv_px, far_mm = to_map(xyz_mm)
    pixel, face, bary = rasterise(uv_px, far_mm, faces, (SHADOW_PX, SHADOW_PX), cull=False)
    nearest = np.full(SHADOW_PX**2, 1e6, dtype=np.float32)
    nearest[pixel] = (far_mm[faces[face]] * bary).sum(axis=1)
    nearest = nearest.reshape(SHADOW_PX, SHADOW_PX)
    uv_px, far_mm = to_map(points_mm)
    total = np.zeros(len(points_mm), dtype=np.float32)
    for k in range(16):
        around_px = 13 * np.sqrt((k + 0.5) / 16) * np.array([np.cos(2.4 * k), np.sin(2.4 * k)])
        u, v = np.clip(np.rint(uv_px + around_px), 0, SHADOW_PX - 1).astype(np.int32).T
        total += np.clip((nearest[v, u] + 16 - far_mm) / 8 + 1, 0, 1)
    return total / 16


class Scene:
    """Everything that stays the same from frame to frame, and the painter of one frame."""

    def __init__(self, body: Body, skin: Array) -> None:
        self.body = body
        self.skin = (skin.astype(np.float32) / 255) ** 2.2
        self.table_mm, self.table_faces = make_table(body)
        self.faces = np.concatenate([body.faces, self.table_faces + len(body.xyz_mm)])
        rest_mm = np.concatenate([body.xyz_mm, self.table_mm])
        shirt_mm = np.concatenate([body.shirt_mm, np.zeros(len(self.table_mm))])
        self.own = np.column_stack([shirt_mm, ripple(rest_mm, 130.0, 5), rest_mm]).astype(
            np.float32
        )
        self.pores = make_pores()
        table_uv = np.zeros((len(self.table_faces), 3, 2))
        self.corner_uv = np.concatenate([body.corner_uv, table_uv]).astype(np.float32)
        self.wall = np.repeat(np.repeat(make_wall(), SUPER, axis=0), SUPER, axis=1)
        neck = body.head("neck01")
        self.paper_mm = neck + (170.0, 0.0, -290.0)
        self.eye_mm = neck + (0.0, EYE_BELOW_NECK_MM, -EYE_BEFORE_NECK_MM)
        self.camera = Rotation.from_euler("x", PITCH_DEG, degrees=True).as_matrix()

    def paint(self, index: int) -> Array:
        """Give one frame, uint8 RGB."""
        xyz_mm = np.concatenate([pose(self.body, index / RATE), self.table_mm])
        seen_mm = (xyz_mm - self.eye_mm) @ self.camera.T
        size = (WIDTH_PX * SUPER, HEIGHT_PX * SUPER)
        uv_px = seen_mm[:, :2] / seen_mm[:, 2:] * FOCAL_PX * SUPER + np.array(size) / 2 - 0.5
        pixel, face, bary = rasterise(uv_px, seen_mm[:, 2], self.faces, size, cull=True)
        corners = self.faces[face]

        moving = np.column_stack([xyz_mm, vertex_normals(xyz_mm, self.faces)]).astype(np.float32)
        points_mm, normal = np.split(np.einsum("nk,nkc->nc", bary, moving[corners]), 2, axis=1)
        lit = lit_share(xyz_mm, self.faces, points_mm)
        albedo, wrap, gloss, bump = self.surface(face, bary, corners)
        normal = unit(unit(normal) + bump)
        facing = normal @ TO_LIGHT
        lamp = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1) * lit[:, None]
        fill = np.clip(normal @ unit(np.array([0.8, -0.1, -0.6])), 0, 1)[:, None]
        sky = (0.34 - 0.16 * normal[:, 1:2]) * (0.72 + 0.28 * lit[:, None])
        light = lamp * (1.18, 1.12, 1.02) + fill * (0.12, 0.13, 0.16) + sky * (0.95, 1.0, 1.06)
        half = unit(TO_LIGHT + unit(self.eye_mm - points_mm))
        shine = np.clip((normal * half).sum(axis=1), 0, 1) ** 22 * gloss * lit
        image = self.wall.reshape(-1, 3).copy()
        image[pixel] = albedo * light + shine[:, None]
        image = image.reshape(HEIGHT_PX, SUPER, WIDTH_PX, SUPER, 3).mean(axis=(1, 3))
        noise = np.random.default_rng(index).normal(0, 0.006, image.shape)
        return (np.clip(np.clip(image, 0, 1) ** (1 / 2.2) + noise, 0, 1) * 255).astype(np.uint8)

    def surface(self, face: Array, bary: Array, corners: Array) -> tuple[Array, ...]:
        """Give each pixel's colour, how far light creeps around it, its gloss and its bumps."""
        uv = np.einsum("nk,nkc->nc", bary, self.corner_uv[face])
        fine = look_up(self.pores, uv)
        albedo = look_up(self.skin, uv) * (1 + 0.08 * fine[:, :1])
        own = np.einsum("nk,nkc->nc", bary, self.own[corners])
        shirt_mm, folds, rest_mm = own[:, :1], own[:, 1:4], own[:, 4:]
        cloth = np.clip(shirt_mm + 0.5, 0, 1)
        hem = 1 - 0.25 * np.exp(-(((shirt_mm - 14) / 1.2) ** 2))
        albedo += (np.array(SHIRT_RGB) * (1 + 0.10 * fine[:, :1]) * hem - albedo) * cloth
        bump = 0.07 * fine * (1 - cloth) + 0.15 * folds * cloth
        wrap = np.array([0.34, 0.22, 0.16]) * (1 - cloth) + 0.12 * cloth
        gloss = 0.055 * (1 - cloth[:, 0])
        top = np.flatnonzero(face >= len(self.body.faces))
        grain = ripple(rest_mm[top] * (0.06, 1.0, 1.0), 26.0, 8)[:, :1]
        albedo[top] = np.array([0.30, 0.185, 0.105]) * (1 + 0.10 * grain)
        on_paper = (np.abs(rest_mm[top] - self.paper_mm) < (120, 999, 75)).all(axis=1)
        albedo[top[on_paper]] = (0.62, 0.61, 0.58)
        wrap[top], gloss[top], bump[top] = 0.0, 0.02, 0.0
        return albedo, wrap, gloss, bump


def make_sound() -> Array:
    """Give a quiet made hum that swells with the hands, mono, float32, (1, samples)."""
    time_s = np.arange(int(DURATION_S * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(
        np.sin(2 * np.pi * hz * time_s) / k for k, hz in enumerate((196.0, 247.0, 294.0), 1)
    )
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (time_s / DURATION_S - 0.25))
    return (0.03 * tones * swell)[None].astype(np.float32)


def write_clip(path: Path, frames: Iterator[Array]) -> None:
    """Encode pictures and sound."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        video.options = {"crf": "23", "preset": "slow"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 48000
        for index, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(make_sound(), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def main() -> None:
    """Read the arguments, paint every frame, write the clip."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--skins", type=Path, required=True, help="folder of MakeHuman skins")
    parser.add_argument("--skin", default="middleage_lightskinned_male_diffuse2.png")
    parser.add_argument("--out", type=Path, required=True, help="the mp4 file to make")
    parser.add_argument("--jobs", type=int, default=2, help="processes that paint")
    args = parser.parse_args()
    skin = cv2.imread(str(args.skins / args.skin))
    if skin is None:
        parser.error(f"no picture at {args.skins / args.skin}")
    scene = Scene(load_body(), cv2.cvtColor(skin, cv2.COLOR_BGR2RGB))
    cv2.setNumThreads(1)
    with Pool(args.jobs) as pool:
        write_clip(args.out, pool.imap(scene.paint, range(round(DURATION_S * RATE)), chunksize=4))
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
