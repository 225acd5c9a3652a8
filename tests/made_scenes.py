"""Small scenes with fixed numbers for tests of what renders, stores and scores them."""

from dataclasses import replace

import numpy as np

from hdrvideo.synth.assets import Assets, split_of
from hdrvideo.synth.props import block, ellipsoid
from hdrvideo.synth.scene import OWNERS, Background, Effects, Lights, Person, Props, Scene

N_SHAPE = 12
STILL = Effects(0.0, 0.0, 1.0, 1.0, np.ones(3, np.float32), 1.0, 0.0, 0)


def assets() -> Assets:
    return Assets.find("train")


def person(number: int = 0) -> Person:
    skins = [f"procedural:{n}" for n in range(40) if split_of("skin", f"procedural:{n}") == "train"]
    return Person(
        name=f"person:{number}",
        skin=skins[number],
        tint_rgb=np.ones(3, np.float32),
        roughness=0.5,
        nail_rgb=np.array([0.8, 0.5, 0.5], np.float32),
        nail_paint=0.0,
        glove_rgb=np.full((2, 3), 0.3, np.float32),
        glove=np.zeros(2, bool),
        detail_seed=number,
    )


def props(n_frames: int, things=()) -> Props:
    """Put things ``(solid, owner, place_mm, pattern)`` unturned into every frame."""
    p = len(things)
    place = np.array([thing[2] for thing in things], np.float32).reshape(p, 3)
    return Props(
        local_mm=np.array([thing[0].vertices_mm() for thing in things], np.float32).reshape(
            p, -1 if p else 208, 3
        ),
        turn=np.tile(np.eye(3, dtype=np.float32), (n_frames, p, 1, 1)),
        place_mm=np.tile(place, (n_frames, 1, 1)),
        exists=np.ones((n_frames, p), bool),
        owner=np.array([OWNERS.index(thing[1]) for thing in things], np.int64),
        rgb=np.tile(np.array([[0.7, 0.3, 0.2], [0.2, 0.3, 0.6]], np.float32), (p, 1, 1)),
        pattern=np.array([thing[3] for thing in things], np.int64),
        roughness=np.full(p, 0.6, np.float32),
    )


def ball(radius_mm: float, place_mm, owner: str = "scene", pattern: int = 0):
    return ellipsoid(radius_mm, radius_mm, radius_mm), owner, place_mm, pattern


def box(half_mm, place_mm, owner: str = "scene", pattern: int = 0):
    return block(*half_mm, power=8.0), owner, place_mm, pattern


def made_scene(
    n_frames: int = 4,
    *,
    size_px: tuple[int, int] = (96, 128),
    apart_mm: float = 60.0,
    step_mm: tuple[float, float, float] = (3.0, -2.0, 4.0),
    depth_mm: tuple[float, float] = (460.0, 520.0),
    present: tuple[bool, bool] = (True, True),
    things=(),
    focal: float = 0.9,
    number: int = 0,
) -> Scene:
    """Two upright hands, palms to the camera, that move by ``step_mm`` a frame, the left one back.

    Args:
        n_frames: Length.
        size_px: Height and width.
        apart_mm: Each wrist's distance from the middle; below 40 they overlap.
        step_mm: Movement of the right hand a frame.
        depth_mm: Of the right and the left wrist.
        present: Which hands are there.
        things: Of :func:`ball` and :func:`box`.
        focal: Focal length in widths.
        number: Of the person and the background.
    """
    height, width = size_px
    k = np.array(
        [[focal * width, 0, (width - 1) / 2], [0, focal * width, (height - 1) / 2], [0, 0, 1]]
    )
    t = np.arange(n_frames)[:, None]
    wrist = np.zeros((n_frames, 2, 3), np.float32)
    # The camera sees palms and fingers up, so the right hand's thumb points to the right.
    wrist[:, 0] = np.array([-apart_mm, 70, depth_mm[0]]) + t * np.array(step_mm)
    wrist[:, 1] = np.array([apart_mm, 70, depth_mm[1]]) - t * np.array(step_mm)
    pose = np.zeros((n_frames, 2, 16, 3), np.float32)
    pose[:, :, 1:, 0] = 0.15 + 0.03 * t[:, :, None]
    pose[:, 0, 0] = 0.04 * t * np.array([1.0, 0.5, 0.3])
    pose[:, 1, 0] = 0.03 * t * np.array([-1.0, 0.5, 0.3])
    affine = np.tile(np.array([[1.0, 0, 100], [0, 1.0, 80]], np.float32), (n_frames, 1, 1))
    affine[:, :, 2] += 1.5 * t
    up = np.tile(np.array([0, -1, 0], np.float32), (n_frames, 1))
    towards = np.array([[0.4, -0.7, -0.6], [-0.7, -0.2, -0.7]])
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    names = [n for n in range(200) if split_of("background", f"procedural:{n}") == "train"]
    return Scene(
        seed=number,
        split="train",
        relation="apart",
        camera="third_person",
        frame_seconds=1 / 30,
        height_px=height,
        width_px=width,
        k_px=np.tile(k.astype(np.float32), (n_frames, 1, 1)),
        pose=pose,
        shape=np.zeros((2, N_SHAPE), np.float32),
        wrist_mm=wrist,
        wrist_bend=np.tile(np.eye(3, dtype=np.float32), (n_frames, 2, 1, 1)),
        present=np.tile(np.array(present), (n_frames, 1)),
        person=person(number),
        props=props(n_frames, things),
        lights=Lights(
            towards=np.tile(towards.astype(np.float32), (n_frames, 1, 1)),
            rgb=np.array([[0.8, 0.75, 0.7], [0.2, 0.2, 0.25]], np.float32),
            up=up,
            sky_rgb=np.array([0.3, 0.32, 0.35], np.float32),
            ground_rgb=np.array([0.15, 0.14, 0.12], np.float32),
        ),
        background=Background(f"procedural:{names[number]}", affine),
        effects=STILL,
        motions=(),
    )


def mirrored(scene: Scene) -> Scene:
    """Give the scene seen in a mirror: sides exchanged, x turned round (without props)."""
    flip = np.array([-1, 1, 1], np.float32)
    pose = scene.pose[:, ::-1].copy()
    pose[:, :, 0] *= -flip
    k = scene.k_px.copy()
    k[:, 0, 2] = scene.width_px - 1 - k[:, 0, 2]
    return replace(
        scene,
        k_px=k,
        pose=pose,
        shape=scene.shape[::-1].copy(),
        wrist_mm=(scene.wrist_mm[:, ::-1] * flip).copy(),
        wrist_bend=scene.wrist_bend[:, ::-1].copy(),
        present=scene.present[:, ::-1].copy(),
    )
