"""Score flow engines on the made world's exact motion: end-point errors at 192 px crops.

Usage::

    python scripts/score_flow.py --skins FOLDER --backgrounds FOLDER
    python scripts/score_flow.py --scenes 8 --sheet flow.png

Scenes are of the test split, in turn of each relation of two hands and of a hand with an object.
They are rendered as crops that follow one hand, as ``annotate`` cuts them, sides in turn, and only
that hand is scored. Its own motion is given the true meshes, then meshes that are off as a fit is:
each of the 16 rotations by ``--pose-deg`` about a random axis, the wrist by ``--wrist-mm`` in a
random direction. "Alike" is off by the same in both frames, "apart" by something else in each; a
fit over time lies between the two. "Joined" is DIS, and the hand's motion where it is hidden.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from hdrvideo.datatypes import N_SIDES, U8
from hdrvideo.geometry import points_box
from hdrvideo.handmodel import HandModel, axis_angle_to_matrix
from hdrvideo.motion.flow import DIS_PRESETS, CropMesh, CropPair, DisFlow, Flow, FlowEngine, join
from hdrvideo.motion.handflow import HandFlow
from hdrvideo.synth.arrange import SceneSettings
from hdrvideo.synth.crops import CONTEXT
from hdrvideo.synth.render import Renderer
from hdrvideo.synth.scene import Scene, Shot
from hdrvideo.validate.flow_scores import REGIONS, FlowErrors, flow_errors, score_flow, true_motion
from hdrvideo.world import BENCHMARK_HAND_SHARE, World

RELATIONS = ("touching", "crossing", "interlocked", "object", "apart", "passing")
# Motion that is drawn in full colour.
FULL_COLOUR_PX = 12.0
JOINED = "medium"


@dataclass(frozen=True)
class Noise:
    """How far meshes are off; both frames alike or each on its own."""

    pose_deg: float
    wrist_mm: float
    alike: bool


def posed(
    model: HandModel, scene: Scene, frame: int, side: int, noise: Noise | None, seed: int
) -> tuple[CropMesh, CropMesh]:
    """Pose a hand in a frame and the next one, off by some noise."""
    rng = np.random.default_rng([seed, side, frame])
    meshes = []
    drawn = [draw_noise(rng, noise), draw_noise(rng, noise)]
    for n in range(2):
        turns, shift_mm = drawn[0] if noise is not None and noise.alike else drawn[n]
        row = slice(frame + n, frame + n + 1)
        pose = axis_angle_to_matrix(torch.from_numpy(scene.pose[row, side]))
        hand = model(
            turns @ pose,
            torch.from_numpy(scene.shape[None, side]),
            side=side,
            wrist_mm=torch.from_numpy(scene.wrist_mm[row, side]) + shift_mm,
            wrist_bend=torch.from_numpy(scene.wrist_bend[row, side]),
        )
        vertices_mm = hand.vertices_mm
        if not scene.present[frame + n, side]:
            vertices_mm = torch.full_like(vertices_mm, torch.nan)
        meshes.append(CropMesh(vertices_mm, torch.from_numpy(scene.k_px[row])))
    return meshes[0], meshes[1]


def draw_noise(rng: np.random.Generator, noise: Noise | None) -> tuple[Tensor, Tensor]:
    """Draw 16 turns ``(1, 16, 3, 3)`` and the wrist's shift ``(1, 3)``."""
    axes, way = rng.standard_normal((1, 16, 3)), rng.standard_normal((1, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    way /= np.linalg.norm(way)
    angle_rad, far_mm = (np.deg2rad(noise.pose_deg), noise.wrist_mm) if noise else (0.0, 0.0)
    turns = axis_angle_to_matrix(torch.from_numpy((axes * angle_rad).astype(np.float32)))
    return turns, torch.from_numpy((way * far_mm).astype(np.float32))


class Stopwatch:
    """Sums the time that engines take."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def run(self, name: str, engine: FlowEngine, pair: CropPair) -> Flow:
        """Run an engine on one pair of crops."""
        start = time.perf_counter()
        flow = engine(pair)
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return flow


def still(pair: CropPair) -> Flow:
    """Say that nothing moves."""
    b, _, h, w = pair.first_rgb.shape
    return Flow(torch.zeros(b, h, w, 2), torch.ones(b, h, w))


def picture_flows(pair: CropPair, watch: Stopwatch) -> dict[str, Flow]:
    """Run what goes by the pictures alone."""
    engines: dict[str, FlowEngine] = {"no motion": still}
    engines |= {f"DIS {preset}": DisFlow(preset) for preset in DIS_PRESETS}
    return {name: watch.run(name, engine, pair) for name, engine in engines.items()}


def hand_flows(
    pair: CropPair,
    meshes: dict[str, tuple[CropMesh, CropMesh]],
    seen: Flow,
    hidden: Tensor,
    engine: HandFlow,
    watch: Stopwatch,
) -> dict[str, Flow]:
    """Run what goes by one hand's meshes."""
    flows = {}
    for name, (first, second) in meshes.items():
        whole = CropPair(pair.first_rgb, pair.second_rgb, first, second)
        flows[f"HandFlow, {name}"] = hand = watch.run("HandFlow", engine, whole)
        flows[f"joined, {name}"] = join(seen, hand, hidden)
    return flows


def follow(scene: Scene, side: int, size_px: int, model: HandModel) -> Scene:
    """Change a scene's camera so that its pictures are crops that follow a hand."""
    t = len(scene)
    hand = model(
        torch.from_numpy(scene.pose[:, side]),
        torch.from_numpy(scene.shape[side]).expand(t, -1),
        side=side,
        wrist_mm=torch.from_numpy(scene.wrist_mm[:, side]),
    )
    places = np.einsum("tij,tnj->tni", scene.k_px, hand.joints_mm.numpy())
    box_px = points_box(places[..., :2] / places[..., 2:])
    low, high = box_px[:, :2], box_px[:, 2:]
    scale = CONTEXT * (high - low).max(axis=1) / size_px
    # From pixels of the crop to pixels of the frame.
    affine = np.tile(np.eye(3), (t, 1, 1))
    affine[:, [0, 1], [0, 1]] = scale[:, None]
    affine[:, :2, 2] = (low + high) / 2 - scale[:, None] * (size_px - 1) / 2
    return replace(
        scene,
        height_px=size_px,
        width_px=size_px,
        k_px=(np.linalg.inv(affine) @ scene.k_px).astype(np.float32),
        background=replace(
            scene.background,
            picture_from_frame=(scene.background.picture_from_frame @ affine).astype(np.float32),
        ),
    )


@dataclass(frozen=True)
class Example:
    """A pair of crops of one hand: the scene with its camera, and a shot of both frames."""

    scene: Scene
    frame: int
    side: int
    shot: Shot


def examples(args: argparse.Namespace, world: World) -> Iterator[Example]:
    """Make the pairs."""
    renderer = Renderer(world.assets, flow=True)
    step = args.frames // args.pairs
    for number in range(args.scenes):
        settings = SceneSettings(
            n_frames=args.frames,
            frame_seconds=1 / args.fps,
            relation=RELATIONS[number % len(RELATIONS)],
            hand_share=BENCHMARK_HAND_SHARE,
            glove_share=0.0,
        )
        scene = world.scene(args.seed + number, settings)
        for k in range(args.pairs):
            frame, side = step // 2 + step * k, (number + k) % N_SIDES
            if not scene.present[frame : frame + 2, side].all():
                side = 1 - side
            crops = follow(scene, side, args.size_px, world.model)
            shot = renderer(
                [(crops, frame), (crops, frame + 1)],
                effects_seed=None if args.no_effects else number * args.frames + frame,
            )
            yield Example(crops, frame, side, shot)


def score(args: argparse.Namespace, world: World) -> tuple[str, Stopwatch, list[U8]]:
    """Score all engines; give the table, the times and rows of pictures."""
    engine, watch = HandFlow(world.model), Stopwatch()
    noises = {
        "true mesh": None,
        "off alike": Noise(args.pose_deg, args.wrist_mm, alike=True),
        "off apart": Noise(args.pose_deg, args.wrist_mm, alike=False),
    }
    found: dict[tuple[str, str], dict[int, list[FlowErrors]]] = {}
    pictures = []
    for example in examples(args, world):
        scene, shot, side = example.scene, example.shot, example.side
        pair = CropPair(shot.rgb[:1], shot.rgb[1:])
        seen = picture_flows(pair, watch)
        hidden = (shot.amodal & ~shot.visible)[:1, side]
        meshes = {
            name: posed(world.model, scene, example.frame, side, noise, scene.seed)
            for name, noise in noises.items()
        }
        flows = seen | hand_flows(pair, meshes, seen[f"DIS {JOINED}"], hidden, engine, watch)
        truth = {name: px[:1] for name, px in true_motion(shot, side).items()}
        for region, true_px in truth.items():
            for name, flow in flows.items():
                of_scene = found.setdefault((region, name), {}).setdefault(scene.seed, [])
                of_scene.append(flow_errors(true_px, flow))
        if args.sheet:
            pictures.append(draw_row(pair, truth, flows))
    return table(found), watch, pictures


def table(found: dict[tuple[str, str], dict[int, list[FlowErrors]]]) -> str:
    """Write the scores as a table in Markdown."""
    lines = [
        "| pixels | engine | scenes | pixels | answered | mean px (95 %) | median px "
        "| trusted | their mean | their median |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for region in REGIONS:
        for (of, name), by_scene in found.items():
            if of != region:
                continue
            scenes = [
                FlowErrors(
                    np.concatenate([errors.error_px for errors in parts]),
                    np.concatenate([errors.trust for errors in parts]),
                )
                for parts in by_scene.values()
            ]
            s = score_flow(scenes)
            if not s.answered:
                continue
            lines.append(
                f"| {region} | {name} | {s.n_scenes} | {s.n_pixels} | {s.answered:.1%} "
                f"| {s.mean_px:.2f} ({s.low_px:.2f}..{s.high_px:.2f}) | {s.median_px:.2f} "
                f"| {s.trusted:.1%} | {s.trusted_mean_px:.2f} | {s.trusted_median_px:.2f} |"
            )
    return "\n".join(lines)


def draw_row(pair: CropPair, truth: dict[str, Tensor], flows: dict[str, Flow]) -> U8:
    """Draw crops, true motion of what is seen and of the hidden hand, and what engines say."""
    crops = [(rgb[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8) for rgb in
             (pair.first_rgb, pair.second_rgb)]  # fmt: skip
    seen = torch.where(truth["visible"].isfinite(), truth["visible"], truth["background"])
    said = [f"DIS {JOINED}", "HandFlow, true mesh", "joined, off apart"]
    uv = [seen, truth["hidden"], *(flows[name].uv_px for name in said)]
    trust = [(flows[said[0]].trust[0, ..., None].expand(-1, -1, 3).numpy() * 255).astype(np.uint8)]
    return np.concatenate([*crops, *(colours(px[0].numpy()) for px in uv), *trust], axis=1)


def colours(uv_px: np.ndarray) -> U8:
    """Draw motion ``(H, W, 2)``: hue is the direction, brightness the length; grey = unknown."""
    known = np.isfinite(uv_px).all(axis=-1)
    uv_px = np.nan_to_num(uv_px)
    hue = (np.rad2deg(np.arctan2(uv_px[..., 1], uv_px[..., 0])) + 360) % 360 / 2
    value = np.clip(np.linalg.norm(uv_px, axis=-1) / FULL_COLOUR_PX, 0, 1) ** 0.5 * 255
    hsv = np.stack([hue, np.full_like(hue, 255), value], axis=-1).astype(np.uint8)
    rgb_u8 = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(np.where(known[..., None], rgb_u8, 90), np.uint8)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=36)
    parser.add_argument("--pairs", type=int, default=2, help="pairs of frames of a scene")
    parser.add_argument("--frames", type=int, default=32, help="frames of a scene")
    parser.add_argument("--fps", type=float, default=30.0, help="lower = larger motion")
    parser.add_argument("--size-px", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pose-deg", type=float, default=5.0)
    parser.add_argument("--wrist-mm", type=float, default=5.0)
    parser.add_argument("--no-effects", action="store_true", help="clean pictures")
    parser.add_argument("--skins", type=Path)
    parser.add_argument("--backgrounds", type=Path, action="append", default=[])
    parser.add_argument("--sheet", type=Path, help="draw crops and motion to this picture")
    args = parser.parse_args()
    world = World.load("test", skins=args.skins, backgrounds=args.backgrounds)
    with torch.inference_mode():
        text, watch, pictures = score(args, world)
    print(
        f"{args.scenes} scenes, {args.scenes * args.pairs} pairs, {args.size_px} px, "
        f"{args.fps:g} frames a second\n\n{text}\n"
    )
    for name, seconds in watch.seconds.items():
        print(f"{name}: {np.median(seconds) * 1e3:.1f} ms a pair")
    if args.sheet:
        cv2.imwrite(str(args.sheet), np.concatenate(pictures)[..., ::-1])


if __name__ == "__main__":
    main()
