"""Arranged scenes of every relation, made once, and measures of their hands."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from hdrvideo.handmodel import HandModel
from hdrvideo.synth.arrange import SceneSettings, arrange
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.motions import Motions
from hdrvideo.synth.scene import CAMERAS, RELATIONS, Scene

N_SEEDS = 10
SIZE_PX = np.array([160, 120])
every_relation = pytest.mark.parametrize("relation", RELATIONS)


@lru_cache
def tools(split: str = "train") -> tuple[Assets, Motions, HandModel]:
    return Assets.find(split), Motions.load(split), HandModel()


def scene_of(seed: int, split: str = "train", **settings) -> Scene:
    chosen = SceneSettings(**{"height_px": 120, "width_px": 160} | settings)
    return arrange(seed, chosen, *tools(split))


@lru_cache
def scenes(relation: str) -> list[Scene]:
    cameras = [CAMERAS[seed % 2] for seed in range(N_SEEDS)]
    return [scene_of(s, relation=relation, camera=c) for s, c in enumerate(cameras)]


@lru_cache
def hands(relation: str, step: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give skin ``(K, 2, V, 3)`` and joints ``(K, 2, 21, 3)`` of every fourth frame."""
    model, found = tools()[2], []
    for scene in scenes(relation):
        at = np.arange(0, len(scene), step)
        with torch.no_grad():
            posed = model(
                torch.from_numpy(scene.pose[at]).flatten(0, 1),
                torch.from_numpy(scene.shape).repeat(len(at), 1),
                side=torch.arange(2).repeat(len(at)),
                wrist_mm=torch.from_numpy(scene.wrist_mm[at]).flatten(0, 1),
                wrist_bend=torch.from_numpy(scene.wrist_bend[at]).flatten(0, 1),
            )
        parts = (posed.vertices_mm, posed.joints_mm)
        skin, joints = (p.numpy().astype(np.float64).reshape(len(at), 2, -1, 3) for p in parts)
        found.append((skin, joints))
    return found


def project(scene: Scene, points_mm: np.ndarray) -> np.ndarray:
    seen = points_mm @ scene.k_px[0].T.astype(np.float64)
    return seen[..., :2] / np.maximum(seen[..., 2:], 1)


def inside(scene: Scene, joints_mm: np.ndarray) -> np.ndarray:
    uv = project(scene, joints_mm)
    return ((uv > -0.5) & (uv < SIZE_PX - 0.5)).all(axis=-1) & (joints_mm[..., 2] > 0)


def normals(skin: np.ndarray, side: int) -> np.ndarray:
    faces = tools()[2].triangles(side)[0].numpy()
    corners = skin[faces]
    normal = np.zeros_like(skin)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for corner in range(3):
        np.add.at(normal, faces[:, corner], across)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)
