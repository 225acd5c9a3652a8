"""Helpers of the validation's tests: small truths without a renderer, and predictions of them."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pycocotools import mask as coco_mask
from tracks import make_hands, make_meta

from hdrvideo.handmodel import HandModel
from hdrvideo.synth.scene import Background, Effects, Lights, Person, Props, Scene, Shot
from hdrvideo.track import ABSENT, N_SHAPE, OBSERVED, PoseTrack
from hdrvideo.validate.perceptual import weight_shapes
from hdrvideo.validate.truth import ClipTruth

# The camera of tests.tracks: 60 degrees over 640 pixels.
CAMERA = make_meta().camera
K_PX = np.array(
    [[CAMERA.fx_px, 0, CAMERA.cx_px], [0, CAMERA.fy_px, CAMERA.cy_px], [0, 0, 1]], np.float32
)


def make_truth(n: int = 8, *, hidden: float = 0.1, seed: int = 0, **changes) -> ClipTruth:
    """Give a truth of two waving hands side by side in 640 x 480, both present all the time."""
    meta = make_meta()
    xyz = make_hands(n, meta, seed)
    values = {
        "name": "apart_00",
        "relation": "apart",
        "camera": "third_person",
        "frame_seconds": 1 / 30,
        "height_px": 480,
        "width_px": 640,
        "k_px": np.repeat(K_PX[None], n, axis=0),
        "pose": np.zeros((n, 2, 16, 3), np.float32),
        "shape": np.zeros((2, 10), np.float32),
        "wrist_mm": xyz[:, :, 0].astype(np.float32),
        "wrist_bend": np.tile(np.eye(3, dtype=np.float32), (n, 2, 1, 1)),
        "uv_px": meta.camera.project(xyz).astype(np.float32),
        "xyz_cam_mm": xyz.astype(np.float32),
        "present": np.ones((n, 2), bool),
        "joint_visible": np.ones((n, 2, 21), bool),
        "hidden_share": np.full((n, 2), hidden, np.float32),
        "gap_mm": np.full(n, 100, np.float32),
    }
    return ClipTruth(**{**values, **changes})


def without(truth: ClipTruth, side: int, frames: slice = slice(None)) -> ClipTruth:
    """Give a truth in which a hand is not in the scene in some frames."""
    arrays = {}
    for name in ("uv_px", "xyz_cam_mm", "hidden_share"):
        arrays[name] = getattr(truth, name).copy()
        arrays[name][frames, side] = np.nan
    arrays["present"] = truth.present.copy()
    arrays["present"][frames, side] = False
    return replace(truth, **arrays)


def track_of(truth: ClipTruth, *, noise_mm: float = 0.0, seed: int = 0, **changes) -> PoseTrack:
    """Give the truth as a track, as the best tracker would, or with noise on every joint."""
    n = len(truth)
    meta = replace(make_meta(time_base=Fraction(1, 30)), width=truth.width_px)
    meta = replace(meta, height=truth.height_px)
    rng = np.random.default_rng(seed)
    xyz = truth.xyz_cam_mm + rng.normal(0, 1, truth.xyz_cam_mm.shape) * noise_mm
    uv = truth.uv_px if noise_mm == 0 else CAMERA.project(xyz)
    there = truth.present
    xyz, uv = (np.where(there[..., None, None], a, np.nan).astype(np.float32) for a in (xyz, uv))
    values = {
        "meta": meta,
        "frame_index": np.arange(n),
        "pts": np.arange(n),
        "uv_px": uv,
        "xyz_cam_mm": xyz,
        "raw_uv_px": uv,
        "raw_xyz_cam_mm": xyz,
        "confidence": np.where(there[..., None], 0.9, np.full((n, 2, 21), np.nan)),
        "visible": np.repeat(there[..., None], 21, axis=-1),
        "provenance": np.where(there, OBSERVED, ABSENT).astype(np.uint8),
        "side_score": np.where(there, 0.9, np.nan).astype(np.float32),
        "turn_rad": np.full_like(xyz, np.nan),
        "shape": np.full((n, 2, N_SHAPE), np.nan, np.float32),
    }
    values["confidence"] = values["confidence"].astype(np.float32)
    return PoseTrack(**{**values, **changes})


def make_scene(model: HandModel, n: int = 3, *, height: int = 120, width: int = 160) -> Scene:
    """Give a scene of two hands that move, turn and close, seen in a small picture."""
    t = np.arange(n)[:, None]
    pose = np.zeros((n, 2, 16, 3), np.float32)
    pose[:, :, 0, 1] = 0.1 * t
    pose[:, :, 0, 2] = -0.05 * t
    pose[:, :, 4::3, 0] = 0.15 * t[..., None]
    wrist = np.array([[-60, 80, 500], [70, 90, 520]]) + t[..., None] * [2.0, -1.5, 3.0]
    black, white = np.zeros(3, np.float32), np.ones(3, np.float32)
    k_px = np.array([[150, 0, 79.5], [0, 150, 59.5], [0, 0, 1]], np.float32)
    no_flags, empty = np.zeros(2, bool), np.zeros(0, np.int64)
    return Scene(
        seed=1,
        split="test",
        relation="touching",
        camera="egocentric",
        frame_seconds=1 / 30,
        height_px=height,
        width_px=width,
        k_px=np.repeat(k_px[None], n, axis=0),
        pose=pose,
        shape=np.zeros((2, model.n_shape), np.float32),
        wrist_mm=wrist.astype(np.float32),
        wrist_bend=np.tile(np.eye(3, dtype=np.float32), (n, 2, 1, 1)),
        present=np.ones((n, 2), bool),
        person=Person(
            *("person:1", "procedural:1", white, 0.5, white, 0.0),
            *(np.ones((2, 3), np.float32), no_flags, 0),
        ),
        props=Props(
            np.zeros((0, 208, 3), np.float32),
            np.zeros((n, 0, 3, 3), np.float32),
            np.zeros((n, 0, 3), np.float32),
            np.zeros((n, 0), bool),
            empty,
            np.zeros((0, 2, 3), np.float32),
            empty,
            np.zeros(0, np.float32),
        ),
        lights=Lights(
            np.zeros((n, 1, 3), np.float32),
            np.ones((1, 3), np.float32),
            np.zeros((n, 3), np.float32),
            white,
            black,
        ),
        background=Background("procedural:1", np.zeros((n, 2, 3), np.float32)),
        effects=Effects(0.0, 0.0, 1.0, 1.0, white, 1.0, 0.0, 0),
        motions=(),
    )


def make_shot(scene: Scene, model: HandModel, rows: slice = slice(None)) -> Shot:
    """Give a shot of some rows of a scene: hulls as masks, smooth colours as pictures."""
    b = len(scene.k_px[rows])
    h, w = scene.height_px, scene.width_px
    joints = np.zeros((b, 2, 21, 3), np.float32)
    amodal = np.zeros((b, 2, h, w), bool)
    for s in range(2):
        posed = model(
            torch.from_numpy(scene.pose[rows, s]),
            side=s,
            wrist_mm=torch.from_numpy(scene.wrist_mm[rows, s]),
        )
        joints[:, s] = posed.joints_mm
        for i in range(b):
            hull = cv2.convexHull(project(scene, joints[i, s])).round().astype(np.int32)
            amodal[i, s] = cv2.fillConvexPoly(np.zeros((h, w), np.uint8), hull, 1).astype(bool)
    visible = amodal.copy()
    visible[:, 1] &= ~amodal[:, 0]
    share = 1 - visible.sum((-2, -1)) / amodal.sum((-2, -1))
    v, u = np.mgrid[:h, :w].astype(np.float32)
    rgb = np.stack([u / w, v / h, 0.5 + 0.3 * np.sin(u / 20)])
    bare = np.stack([rgb, rgb[::-1]])
    arrays = {
        "rgb": np.repeat(rgb[None], b, axis=0),
        "bare_rgb": np.repeat(bare[None], b, axis=0),
        "visible": visible,
        "amodal": amodal,
        "depth_mm": np.full((b, h, w), np.inf),
        "normal": np.zeros((b, 3, h, w)),
        "face": np.full((b, h, w), -1),
        "flow_px": np.zeros((b, 2, h, w, 2)),
        "flow_seen": np.zeros((b, 2, h, w), bool),
        "hand_flow_px": np.zeros((b, 2, 2, h, w, 2)),
        "uv_px": project(scene, joints),
        "xyz_cam_mm": joints,
        "pose": scene.pose[rows],
        "shape": np.repeat(scene.shape[None], b, axis=0),
        "present": np.ones((b, 2), bool),
        "joint_visible": np.ones((b, 2, 21), bool),
        "hidden_share": share,
        "gap_mm": np.full(b, 20),
        "k_px": scene.k_px[rows],
    }
    return Shot(**{name: _tensor(name, value) for name, value in arrays.items()})


def project(scene: Scene, xyz_mm: np.ndarray) -> np.ndarray:
    k = scene.k_px[0]
    return (xyz_mm[..., :2] / xyz_mm[..., 2:] * k[0, 0] + k[:2, 2]).astype(np.float32)


def _tensor(name: str, value: np.ndarray) -> torch.Tensor:
    if value.dtype != bool:
        value = value.astype(np.int64 if name == "face" else np.float32)
    return torch.from_numpy(np.ascontiguousarray(value))


def mask_row(mask: np.ndarray, frame: int, side: int, kind: str) -> dict:
    """Give a row of masks.parquet, encoded by COCO's own code."""
    counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    row = {"frame_index": frame, "hand": ("right", "left")[side], "kind": kind}
    return {**row, "height": mask.shape[0], "width": mask.shape[1], "counts": counts}


def mask_rows(truth: ClipTruth, *, grown_px: int = 0) -> list[dict]:
    """Give the truth's masks as a prediction, or thickened ones; empty masks have no row."""
    rows = []
    for frame in range(len(truth)):
        for kind, masks in zip(("visible", "amodal"), truth.masks(frame), strict=True):
            for side, mask in enumerate(masks):
                kernel = np.ones((2 * grown_px + 1,) * 2, np.uint8)
                grown = cv2.dilate(mask.astype(np.uint8), kernel)
                if grown.any():
                    rows.append(mask_row(grown, frame, side, kind))
    return rows


def save_rows(path: Path, rows: list[dict]) -> Path:
    """Write rows of masks.parquet."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def save_packed(folder: Path, visible: np.ndarray, amodal: np.ndarray) -> None:
    """Write masks ``(T, 2, H, W)`` as a truth's masks.npz."""
    masks = {"visible": visible, "amodal": amodal}
    np.savez(folder / "masks.npz", **{k: np.packbits(v, axis=-1) for k, v in masks.items()})


def painted_arrays(squares: np.ndarray, pictures: list) -> dict[str, np.ndarray]:
    """Give the arrays of bare.npz: ``(T, 3)`` squares, T x 2 pictures u8 or None, lossless."""
    codes = [b"" if p is None else encoded(p) for pair in pictures for p in pair]
    return {
        "square": np.asarray(squares, np.int64),
        "jpeg": np.frombuffer(b"".join(codes), np.uint8),
        "jpeg_end": np.cumsum([0, *map(len, codes)], dtype=np.int64),
        "exists": np.array([[p is not None for p in pair] for pair in pictures]),
    }


def encoded(rgb_u8: np.ndarray) -> bytes:
    # OpenCV tells the format by the bytes; PNG keeps numbers that a test works out by hand.
    return cv2.imencode(".png", rgb_u8[..., ::-1])[1].tobytes()


def truth_as_painted(folder: Path, **changes) -> dict[str, np.ndarray]:
    """Give a truth's own bare.npz as a prediction."""
    with np.load(folder / "bare.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return {**arrays, "exists": np.ones((len(arrays["square"]), 2), bool), **changes}


def random_weights() -> dict[str, np.ndarray]:
    """Give random weights of SqueezeNet."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in weight_shapes().items():
        fan_in = max(int(np.prod(shape[1:])), 1)
        weights[name] = rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        if name.endswith("bias"):
            weights[name] *= 0.01
    return weights
