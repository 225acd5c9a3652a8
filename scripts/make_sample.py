"""Make the sample clip: a made person before a camera opens, turns, joins and crosses two hands.

Usage (about five minutes on two cores; the first time anny builds its model, 70 s more)::

    pip install anny scipy
    python scripts/make_sample.py --skins FOLDER --out sample_videos/two_hands.mp4

FOLDER holds MakeHuman body textures (CC0), among them the one named ``SKIN``. The body is anny's
(code Apache-2.0, MakeHuman data CC0); all else is computed here, so the clip is CC0. The same
arguments give the same pictures. Axes: x right, y down, z away; the person looks along -z.
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
SUPER, FOCAL_PX = 2, 690.0
EYE_FROM_NECK_MM, PITCH_DEG = (0.0, 258.0, -1330.0), 5.0
FILL_LIGHT = np.array([0.8, -0.1, -0.6])
TO_LIGHT = np.array([-0.45, -0.70, -0.55]) / np.linalg.norm([-0.45, -0.70, -0.55])
SHADOW_PX, SHADOW_MM_PER_PX, SHADOW_CENTRE_MM = 768, 1.8, (0.0, -400.0, -220.0)
SHIRT_RGB, TABLE_RGB, TABLE_TOP_PX = (0.075, 0.13, 0.20), (0.36, 0.23, 0.14), 352
DURATION_S, SAMPLE_RATE = 6.6, 48000
SKIN = "middleage_lightskinned_male_diffuse2.png"

# Key poses: second, then six numbers for the right hand and six for the left: the middle knuckle,
# mm outwards, up and forward from the breastbone; then degrees: lean (fingers inwards), tilt
# (fingers to the camera), turn (0 shows the palm, 90 the thumb's edge, 180 the back).
KEYS = """
0.00   230   10  330    5  10    5     235    0  330    5  10    5
0.80   225   20  335    3   8    0     232    9  334    3   8    1
1.90   225   15  335    5   8    5     228    8  335    4   8    2
2.30   217    7  335    8   8   95     225    5  335    5   8    5
2.70   210    0  335   10   8  150     215    0  335   10   8   60
3.10   150  -20  335   30  10   95     150  -20  335   30  10   95
3.45    47  -25  335   42  10   90      47  -25  335   42  10   90
3.70    47  -25  335   42  10   90      47  -25  335   42  10   90
4.00   110  -10  400   25  10  160     110   20  270   25  10   20
4.50   -85   10  450   20  12  175     -45   60  225   30   8    5
4.65   -85   10  450   20  12  175     -45   60  225   30   8    5
5.05   150   15  375   12  10   90     230  -30  290    5   8   20
5.30   205   18  355    9  10   45     520  -60  270  -10   8   40
5.90   235   30  340  -10   8    0     600  -60  260  -15   8   40
6.10   228   26  340    8   8    0     600  -60  260  -15   8   40
6.35   226   23  340   10   8    0     400  -20  300   -5   8   20
6.60   230   20  340    5   8    0     240    0  330    5   8    5
"""
# When each hand's thumb starts to close and to open again; the fingers follow one by one.
WAVES_S = {".R": (0.45, 1.15), ".L": (0.95, 1.65)}
WAVE_STEP_S, WAVE_S = 0.09, 0.32
CLOSED_DEG, OPEN_DEG = np.array([68.0, 88.0, 52.0]), np.array([-6.0, -3.0, -1.0])
CLOSED_THUMB_DEG, OPEN_THUMB_DEG = np.array([12.0, 26.0, 51.0]), np.array([-4.0, -2.0, 0.0])


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
    shirt_mm: Array | None = None

    def joints(self, side: str, *names: str) -> list[Array]:
        """Give the places at which a side's bones begin, at rest."""
        return [self.heads_mm[self.names.index(name + side)] for name in names]


def unit(vector: Array) -> Array:
    """Scale vectors to length one."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def load_body() -> Body:
    """Build anny's adult body, dress it, and move it into camera axes."""
    import anny

    model = anny.Anny(rig="makehuman", topology="anny")
    shape = {"gender": 0.05, "age": 0.62, "muscle": 0.55, "weight": 0.45, "height": 0.5}
    out = model(pose_parameters=None, phenotype_kwargs={**shape, "proportions": 0.6})
    to_camera = np.array([[1000.0, 0, 0], [0, 0, -1000.0], [0, 1000.0, 0]]).T
    rest_mm = out["rest_vertices"][0].double().numpy() @ to_camera
    heads_mm = out["rest_bone_heads"][0].double().numpy() @ to_camera
    weights = np.zeros((len(rest_mm), len(heads_mm)))
    places = (np.arange(len(rest_mm))[:, None], model.vertex_bone_indices.numpy())
    np.add.at(weights, places, model.vertex_bone_weights.numpy())
    corner_uv = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
    names, parents = list(model.bone_labels), list(model.bone_parents)
    body = Body(rest_mm, model.faces.numpy(), corner_uv, weights, heads_mm, names, parents)
    return dress(body)


def dress(body: Body) -> Body:
    """Mark the T-shirt and push its vertices outwards."""
    aside_mm, down_mm, back_mm = (body.xyz_mm - body.joints("", "neck01")[0]).T
    shirt_mm = np.maximum(np.hypot(0.9 * aside_mm, back_mm) - 82, down_mm - 70 + aside_mm**2 / 144)
    shirt_mm = np.where(down_mm < 14, -50.0, shirt_mm)
    parts = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
    for side in (".R", ".L"):
        start, end = body.joints(side, "upperarm01", "lowerarm01")
        of_arm = [name.startswith(parts) and name.endswith(side) for name in body.names]
        on_arm = body.weights[:, of_arm].sum(axis=1) > 0.5
        sleeve_mm = 0.72 * np.linalg.norm(end - start) - (body.xyz_mm - start) @ unit(end - start)
        shirt_mm = np.where(on_arm, np.minimum(shirt_mm, sleeve_mm), shirt_mm)
    puff_mm = np.clip(shirt_mm / 8, 0, 1) * (6 + 7 * np.exp(-np.abs(shirt_mm) / 60))
    body.xyz_mm += vertex_normals(body.xyz_mm, body.faces) * puff_mm[:, None]
    body.shirt_mm = shirt_mm
    return body


def vertex_normals(xyz_mm: Array, faces: Array) -> Array:
    """Give area-weighted vertex normals."""
    a, b, c = xyz_mm[faces].transpose(1, 0, 2)
    sizes = np.cross(b - a, c - a).repeat(3, axis=0).T
    sums = [np.bincount(faces.ravel(), size, len(xyz_mm)) for size in sizes]
    return unit(np.stack(sums, axis=1))


def frame_of(first: Array, second: Array) -> Array:
    """Give a rotation whose first axis is ``first`` and whose second lies towards ``second``."""
    first = unit(first)
    second = unit(second - first * (first @ second))
    return np.stack([first, second, np.cross(first, second)], axis=1)


def flex_fingers(body: Body, side: str, time_s: float) -> dict[str, Array]:
    """Give the finger bones' rotations about rest axes: a wave closes and opens the hand."""
    since_s = time_s - np.array(WAVES_S[side])[:, None] - np.arange(5) * WAVE_STEP_S
    since = np.clip(since_s / WAVE_S, 0, 1)
    closing, opening = since**3 * (10 - 15 * since + 6 * since**2)
    palm, turns = palm_normal(body, side), {}
    across = unit(np.subtract(*body.joints(side, "finger2-1", "finger5-1")))
    for k, curl in enumerate(closing - opening, 1):
        along = unit(np.subtract(*body.joints(side, f"finger{k}-3", f"finger{k}-1")))
        closed, opened = (CLOSED_THUMB_DEG, OPEN_THUMB_DEG) if k == 1 else (CLOSED_DEG, OPEN_DEG)
        axis = unit(np.cross(along, unit(palm - 0.9 * across) if k == 1 else palm))
        for j, angle_deg in enumerate(closed * curl + opened * (1 - curl), 1):
            turns[f"finger{k}-{j}{side}"] = turn_about(axis, angle_deg)
    return turns


def turn_about(axis: Array, angle_deg: float) -> Array:
    """Give the rotation about an axis."""
    return Rotation.from_rotvec(axis * np.deg2rad(angle_deg)).as_matrix()


def palm_normal(body: Body, side: str) -> Array:
    """Give the rest direction out of the palm: the side to which the resting fingers bend."""
    names = ("wrist", "finger2-1", "finger5-1", "finger3-1", "finger3-3")
    wrist, first, last, knuckle, tip = body.joints(side, *names)
    normal = unit(np.cross(first - wrist, last - wrist))
    return normal * np.sign(normal @ (tip - knuckle))


def reach(body: Body, side: str, key: Array) -> dict[str, Array]:
    """Give whole-body rotations of the arm's bones that put the hand where the key says."""
    mirror = np.array([1.0 if side == ".R" else -1.0, 1.0, 1.0])
    turn = Rotation.from_euler("yxz", key[[5, 4, 3]], degrees=True)
    fingers, palm = (mirror * turn.apply(v) for v in ([0.0, -1.0, 0.0], [0.0, 0.0, -1.0]))
    names = ("upperarm01", "lowerarm01", "wrist", "finger3-1")
    shoulder, elbow, wrist, knuckle = body.joints(side, *names)
    hand = frame_of(fingers, palm) @ frame_of(knuckle - wrist, palm_normal(body, side)).T
    breast = body.joints("", "neck01")[0] * (0, 1, 1) + (0, 245, 0)
    goal = breast + mirror * (-key[0], -key[1], -key[2]) - hand @ (knuckle - wrist)
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
    axis = unit(wrist - elbow)
    quat = Rotation.from_matrix(fore.T @ hand).as_quat(canonical=True)
    twist_deg = np.rad2deg(2 * np.arctan2(quat[:3] @ axis, quat[3]))
    return {
        f"upperarm01{side}": upper,
        f"upperarm02{side}": upper,
        f"lowerarm01{side}": fore @ turn_about(axis, 0.25 * twist_deg),
        f"lowerarm02{side}": fore @ turn_about(axis, 0.7 * twist_deg),
        f"wrist{side}": hand,
    }


def pose(body: Body, time_s: float) -> Array:
    """Give the body's vertices at a time."""
    table = np.array([line.split() for line in KEYS.split("\n") if line], dtype=float)
    now = PchipInterpolator(table[:, 0], table[:, 1:])(time_s)
    whole = reach(body, ".R", now[:6]) | reach(body, ".L", now[6:])
    turns = flex_fingers(body, ".R", time_s) | flex_fingers(body, ".L", time_s)
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


def rasterise(uv_px: Array, z_mm: Array, faces: Array, size: tuple[int, int]) -> list[Array]:
    """Z-buffer front faces: give covered pixels (flat), their faces and barycentric weights."""
    width, height = size
    tri = uv_px[faces].astype(np.float32)
    e1, e2 = tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    low = np.clip(np.ceil(tri.min(axis=1)), 0, None).astype(np.int64)
    high = np.minimum(np.floor(tri.max(axis=1)), (width - 1, height - 1)).astype(np.int64)
    extent = (high - low).max(axis=1) + 1
    keep = (high >= low).all(axis=1) & (area < -1e-6)
    area = np.where(keep, area, 1.0)
    depth = (1.0 / z_mm)[faces].astype(np.float32)
    x0, y0 = (low - tri[:, 0]).astype(np.float32).T
    e1, e2 = e1 / area[:, None], e2 / area[:, None]
    parts = []
    for side in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
        group = np.flatnonzero(keep & (extent <= side) & (2 * extent > side))
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
    pixel, face, bary = (np.concatenate(p) for p in zip(*parts, strict=True))
    nearness = bary.sum(axis=1)
    order = np.argsort(nearness, kind="stable")
    owner = np.full(width * height, -1)
    owner[pixel[order]] = order
    covered = np.nonzero(owner >= 0)[0]
    best = owner[covered]
    return [covered, face[best], bary[best] / nearness[best, None]]


def make_room() -> tuple[Array, Array]:
    """Give wall and table top, linear light, each a whole picture; the wall is out of focus."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    glow = np.exp(-(((x - 90) / 300) ** 2 + ((y - 60) / 260) ** 2))[..., None]
    wall = np.array([0.30, 0.335, 0.33]) * (0.55 + 0.75 * glow - 0.0004 * y[..., None])
    things = """470 0 640 118 .16 .20 .24,486 0 640 104 .42 .44 .40,0 150 128 162 .15 .10 .06,
        18 66 40 150 .06 .14 .22,42 80 58 150 .34 .28 .12,60 58 84 150 .10 .20 .14"""
    for left, top, right, bottom, *rgb in (np.float32(t.split()) for t in things.split(",")):
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        wall[inside] = rgb * (0.6 + 0.5 * glow[inside])
    wall = cv2.GaussianBlur(wall, (0, 0), 6)
    grain = np.random.default_rng(8).normal(size=(HEIGHT_PX, WIDTH_PX)).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), sigmaX=60, sigmaY=1.2)[..., None]
    edge = 1 - 0.3 * np.exp(-(y - TABLE_TOP_PX) / 9)[..., None].clip(0, 1)
    table = np.array(TABLE_RGB) * (0.75 + 0.45 * glow + 0.05 * grain / grain.std()) * edge
    return wall, table


def look_up(picture: Array, uv: Array) -> Array:
    """Sample a square texture (v up) with bilinear weights."""
    places_px = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1) * picture.shape[0] - 0.5
    rows = np.array_split(places_px.astype(np.float32)[None], len(uv) // 30000 + 1, axis=1)
    return np.concatenate([cv2.remap(picture, r, None, cv2.INTER_LINEAR) for r in rows], axis=1)[0]


def lit_share(xyz_mm: Array, faces: Array, points_mm: Array) -> Array:
    """Give how much of the lamp each point sees, from a softened shadow map."""
    axes = frame_of(TO_LIGHT, np.array([0.0, 1.0, 0.0]))[:, [2, 1, 0]]

    def to_map(places_mm: Array) -> tuple[Array, Array]:
        seen = (places_mm - SHADOW_CENTRE_MM) @ axes
        return seen[:, :2] / SHADOW_MM_PER_PX + SHADOW_PX / 2, 4000.0 - seen[:, 2]

    uv_px, far_mm = to_map(xyz_mm)
    pixel, face, bary = rasterise(uv_px, far_mm, faces, (SHADOW_PX, SHADOW_PX))
    nearest = np.full(SHADOW_PX**2, 1e6, dtype=np.float32)
    nearest[pixel] = (far_mm[faces[face]] * bary).sum(axis=1)
    uv_px, far_mm = to_map(points_mm)
    total = np.zeros(len(points_mm), dtype=np.float32)
    for k in range(16):
        around_px = 13 * np.sqrt((k + 0.5) / 16) * np.array([np.cos(2.4 * k), np.sin(2.4 * k)])
        u, v = np.clip(np.rint(uv_px + around_px), 0, SHADOW_PX - 1).astype(np.int32).T
        total += np.clip((nearest[v * SHADOW_PX + u] + 16 - far_mm) / 8 + 1, 0, 1)
    return total / 16


class Scene:
    """Everything that stays the same from frame to frame, and the painter of one frame."""

    def __init__(self, body: Body, skin: Array) -> None:
        rng = np.random.default_rng(5)
        pores = rng.normal(size=(1536, 1536, 3)).astype(np.float32)
        self.body, self.pores = body, np.clip(cv2.GaussianBlur(pores, (0, 0), 0.8), -1, 1)
        self.skin = (skin.astype(np.float32) / 255) ** 2.2
        waves = np.sin(body.xyz_mm @ rng.normal(0, 0.048, (3, 6)) + rng.uniform(0, 6.28, 6))
        self.folds = np.column_stack([body.shirt_mm, waves @ rng.normal(0, 0.33, (6, 3))])
        wall, self.table = make_room()
        self.wall = wall.repeat(SUPER, axis=0).repeat(SUPER, axis=1).reshape(-1, 3)
        self.eye_mm = body.joints("", "neck01")[0] + np.array(EYE_FROM_NECK_MM)
        self.camera = Rotation.from_euler("x", PITCH_DEG, degrees=True).as_matrix()

    def paint(self, index: int) -> Array:
        """Give one frame, uint8 RGB."""
        faces, xyz_mm = self.body.faces, pose(self.body, index / RATE)
        seen_mm = (xyz_mm - self.eye_mm) @ self.camera.T
        size = (WIDTH_PX * SUPER, HEIGHT_PX * SUPER)
        uv_px = seen_mm[:, :2] / seen_mm[:, 2:] * FOCAL_PX * SUPER + np.array(size) / 2 - 0.5
        pixel, face, bary = rasterise(uv_px, seen_mm[:, 2], faces, size)
        moving = np.column_stack([xyz_mm, vertex_normals(xyz_mm, faces), self.folds])
        mixed = np.einsum("nk,nkc->nc", bary, moving.astype(np.float32)[faces[face]])
        uv = np.einsum("nk,nkc->nc", bary, self.body.corner_uv[face])
        lit = lit_share(xyz_mm, faces, mixed[:, :3])[:, None]
        image = self.wall.copy()
        image[pixel] = self.shade(mixed, uv, lit)
        image = image.reshape(HEIGHT_PX, SUPER, WIDTH_PX, SUPER, 3).mean(axis=(1, 3))
        image[TABLE_TOP_PX:] = self.table[TABLE_TOP_PX:]
        noise = np.random.default_rng(index).normal(0, 0.006, image.shape)
        return (np.clip(np.clip(image, 0, 1) ** (1 / 2.2) + noise, 0, 1) * 255).astype(np.uint8)

    def shade(self, mixed: Array, uv: Array, lit: Array) -> Array:
        """Give each pixel's linear colour: skin lets light creep around it and shines a little."""
        points_mm, normal, shirt_mm, folds = np.split(mixed, (3, 6, 7), axis=1)
        cloth, fine = np.clip(shirt_mm, 0, 1), look_up(self.pores, uv)
        albedo = look_up(self.skin, uv) * (1 + 0.08 * fine[:, :1])
        albedo += (np.array(SHIRT_RGB) * (1 + 0.10 * fine[:, :1]) - albedo) * cloth
        normal = unit(unit(normal) + 0.07 * fine * (1 - cloth) + 0.15 * folds * cloth)
        wrap = np.array([0.34, 0.22, 0.16]) * (1 - cloth) + 0.12 * cloth
        lamp = np.clip(((normal @ TO_LIGHT)[:, None] + wrap) / (1 + wrap), 0, 1) * lit
        fill = np.clip(normal @ FILL_LIGHT, 0, 1)[:, None]
        sky = (0.34 - 0.16 * normal[:, 1:2]) * (0.72 + 0.28 * lit)
        light = lamp * (1.18, 1.12, 1.02) + fill * (0.12, 0.13, 0.16) + sky * (0.95, 1.0, 1.06)
        half = unit(TO_LIGHT + unit(self.eye_mm - points_mm))
        shine = np.clip((normal * half).sum(axis=1, keepdims=True), 0, 1) ** 22 * lit
        return albedo * light + 0.055 * shine * (1 - cloth)


def write_clip(path: Path, frames: Iterator[Array]) -> None:
    """Encode the pictures, and a quiet made hum that swells once."""
    time_s = np.arange(int(DURATION_S * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * hz * time_s) for hz in (196.0, 247.0, 294.0))
    hum = (0.02 * tones * np.sin(np.pi * time_s / DURATION_S) ** 2)[None].astype(np.float32)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        video.options = {"crf": "19", "preset": "slow"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 48000
        for index, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(hum, format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def main() -> None:
    """Read the arguments, paint every frame, write the clip."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--skins", type=Path, required=True, help="folder of MakeHuman skins")
    parser.add_argument("--out", type=Path, required=True, help="the mp4 file to make")
    args = parser.parse_args()
    skin = cv2.imread(str(args.skins / SKIN))
    if skin is None:
        parser.error(f"no picture at {args.skins / SKIN}")
    scene = Scene(load_body(), cv2.cvtColor(skin, cv2.COLOR_BGR2RGB))
    cv2.setNumThreads(1)
    with Pool(2) as pool:
        write_clip(args.out, pool.imap(scene.paint, range(round(DURATION_S * RATE)), chunksize=4))
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
