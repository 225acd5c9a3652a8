"""The made world on disk: clips with their truth, the benchmark, sheets to look at.

A made clip is an H.264 file as any camera's, and beside it a folder with what no camera gives.
Everything follows from the seed, the split and the assets.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import cv2
import torch

from hdrvideo import __version__
from hdrvideo.clip.write import ClipWriter
from hdrvideo.errors import WriteError
from hdrvideo.handmodel import HandModel
from hdrvideo.output.save import save_summary
from hdrvideo.sheets import draw_sheet, draw_truth, shot_pictures
from hdrvideo.synth.arrange import SceneSettings, arrange
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.motions import Motions
from hdrvideo.synth.render import Renderer
from hdrvideo.synth.scene import CAMERAS, RELATIONS, Scene, Shot
from hdrvideo.validate.truth import save_truth

BENCHMARK_NAME: Final = "hdrvideo-bench-v1"
# Fingerprint of the skins and backgrounds that version 1 is made of; see docs/benchmark.md.
BENCHMARK_ASSETS_SHA256: Final = "2ef5964e69d04e4b0b1e8bc3116dd6e5b310e3377f4308821974bf1aba4188da"
# Clips of each relation; the first five in equal shares, the rest to count ghost hands.
BENCHMARK_CLIPS: Final = {
    **dict.fromkeys(("apart", "touching", "crossing", "interlocked", "object"), 10),
    **{"one": 6, "none": 4, "passing": 4},
}
# Part of the picture that the box round both hands takes: a clip tests what hands do to one
# another, not how small a hand can be found.
BENCHMARK_HAND_SHARE: Final = (0.35, 0.9)
CLIP_SUPERSAMPLE: Final = 2
BENCHMARK_SUPERSAMPLE: Final = 1
_CHUNK: Final = 8

OnProgress = Callable[[int], None]


def _nothing(_: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class World:
    """All that a scene is made of, of one split.

    Attributes:
        assets: Skins and backgrounds.
        motions: Poses and recordings.
        model: The hand.
        device: Where pictures are rendered.
    """

    assets: Assets
    motions: Motions
    model: HandModel
    device: str = "cpu"

    @classmethod
    def load(
        cls,
        split: str,
        *,
        skins: Path | None = None,
        backgrounds: Sequence[Path] = (),
        device: str = "cpu",
    ) -> "World":
        """Find the assets of a split; without folders everything is procedural."""
        assets = Assets.find(split, skins=skins, backgrounds=backgrounds)
        return cls(assets, Motions.load(split), HandModel(), device)

    def scene(self, seed: int, settings: SceneSettings) -> Scene:
        """Arrange a scene."""
        return arrange(seed, settings, self.assets, self.motions, self.model)

    def shots(
        self, scene: Scene, *, supersample: int = 1, effects: bool = True, flow: bool = False
    ) -> Iterator[Shot]:
        """Render all frames of a scene, a few at a time."""
        renderer = Renderer(self.assets, device=self.device, supersample=supersample, flow=flow)
        starts = range(0, len(scene), _CHUNK)
        chunks = ([(scene, t) for t in range(n, min(n + _CHUNK, len(scene)))] for n in starts)
        return (
            renderer(frames, effects_seed=scene.seed + frames[0][1] if effects else None)
            for frames in chunks
        )


def make_clip(
    world: World,
    seed: int,
    settings: SceneSettings,
    clip: Path,
    truth: Path,
    *,
    supersample: int = CLIP_SUPERSAMPLE,
    effects: bool = True,
    overwrite: bool = False,
    on_progress: OnProgress = _nothing,
) -> Scene:
    """Make one clip and its truth.

    Args:
        world: What it is made of.
        seed: Which scene.
        settings: What the scene may be.
        clip: The mp4 file to write.
        truth: The folder to write the truth to.
        supersample: Samples a pixel side.
        effects: Let camera and file spoil the pictures as the scene says.
        overwrite: Replace what is there.
        on_progress: Called with the number of frames done.

    Raises:
        WriteError: Something is there already, or cannot be written.
    """
    if truth.exists() and any(truth.iterdir()) and not overwrite:
        raise WriteError(f"{truth} is not empty; choose another folder or pass --overwrite")
    with _one_thread():
        scene = world.scene(seed, settings)
        shots = world.shots(scene, supersample=supersample, effects=effects)
        base = Fraction(scene.frame_seconds).limit_denominator(60_000)
        clip.parent.mkdir(parents=True, exist_ok=True)
        truth.mkdir(parents=True, exist_ok=True)
        with _writer(clip, scene.width_px, scene.height_px, base, overwrite=overwrite) as writer:
            save_truth(truth, _written(shots, writer, on_progress), scene)
    return scene


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: sums are cut up by their number, and rounding would differ."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _writer(path: Path, width: int, height: int, base: Fraction, *, overwrite: bool) -> ClipWriter:
    return ClipWriter(
        path, width=width, height=height, time_base=base, rate=1 / base, overwrite=overwrite
    )


def _written(shots: Iterator[Shot], writer: ClipWriter, on_progress: OnProgress) -> Iterator[Shot]:
    """Pass the shots on and write their pictures as they come."""
    n_done = 0
    for shot in shots:
        for picture in shot_pictures(shot):
            writer.write(picture, n_done)
            n_done += 1
        on_progress(n_done)
        yield shot


@dataclass(frozen=True)
class BenchmarkClip:
    """One clip of the benchmark before it is made.

    Attributes:
        name: Its name and the stem of its file.
        seed: Its scene.
        settings: What its scene may be.
    """

    name: str
    seed: int
    settings: SceneSettings


def plan_benchmark(*, n_frames: int = 64, share: float = 1.0) -> list[BenchmarkClip]:
    """List the clips of the benchmark; seeds follow from the names.

    Args:
        n_frames: Frames a clip.
        share: Make only this share of each relation's clips (at least one), for a quick look.
    """
    plan = []
    for relation, count in BENCHMARK_CLIPS.items():
        for k in range(max(1, round(count * share))):
            name = f"{relation}_{k:02d}"
            digest = hashlib.sha256(f"{BENCHMARK_NAME}/{name}".encode()).digest()
            camera = CAMERAS[k % len(CAMERAS)]
            settings = SceneSettings(
                n_frames=n_frames,
                relation=relation,
                camera=camera,
                hand_share=BENCHMARK_HAND_SHARE,
                glove_share=0.0,
            )
            plan.append(BenchmarkClip(name, int.from_bytes(digest[:4], "big") >> 1, settings))
    return plan


def make_benchmark(
    world: World,
    out: Path,
    plan: Sequence[BenchmarkClip],
    *,
    supersample: int = BENCHMARK_SUPERSAMPLE,
    on_progress: Callable[[str, int], None] = lambda name, n: None,
) -> Path:
    """Make the clips of a plan that are not there yet, then the manifest.

    A run that was broken off goes on where it was when called again.

    Returns:
        The manifest's path.

    Raises:
        WriteError: The folder holds another benchmark, or cannot be written.
    """
    clips, truths = out / "clips", out / "truth"
    entries: list[dict[str, Any]] = []
    head = _benchmark_head(world, plan, supersample)
    _check_same(out, head)
    for number, item in enumerate(plan):
        clip, truth = clips / f"{item.name}.mp4", truths / item.name
        note = truth / "entry.json"
        if not note.exists():
            scene = make_clip(
                *(world, item.seed, item.settings, clip, truth),
                supersample=supersample,
                overwrite=True,
            )
            save_summary(note, _entry(item, scene, clip, truth), overwrite=True)
        entries.append(json.loads(note.read_text(encoding="utf-8")))
        on_progress(item.name, number + 1)
    manifest = out / "manifest.json"
    save_summary(manifest, {**head, "clips": entries}, overwrite=True)
    return manifest


def _benchmark_head(
    world: World, plan: Sequence[BenchmarkClip], supersample: int
) -> dict[str, Any]:
    assets_sha256 = world.assets.fingerprint()
    is_standard = assets_sha256 == BENCHMARK_ASSETS_SHA256 and list(plan) == plan_benchmark()
    return {
        "name": BENCHMARK_NAME if is_standard else "custom",
        "version": __version__,
        "split": world.assets.split,
        "assets_sha256": assets_sha256,
        "supersample": supersample,
        "n_clips": len(plan),
        "n_frames": sum(item.settings.n_frames for item in plan),
    }


def _check_same(out: Path, head: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plan = out / "plan.json"
    if not plan.exists():
        if any(out.iterdir()):
            raise WriteError(f"{out} is not empty and holds no benchmark; choose another folder")
        save_summary(plan, head)
    elif json.loads(plan.read_text(encoding="utf-8")) != head:
        raise WriteError(f"{out} holds a benchmark of other settings or assets; use another folder")


def _entry(item: BenchmarkClip, scene: Scene, clip: Path, truth: Path) -> dict[str, Any]:
    files = [clip, *sorted(truth.glob("[!.]*.npz"))]
    return {
        "name": item.name,
        "clip": f"clips/{clip.name}",
        "folder": f"truth/{item.name}",
        "relation": scene.relation,
        "camera": scene.camera,
        "n_frames": len(scene),
        "seed": scene.seed,
        "person": scene.person.name,
        "skin": scene.person.skin,
        "background": scene.background.name,
        "motions": list(scene.motions),
        "sha256": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
    }


def make_preview(
    world: World,
    out: Path,
    settings: SceneSettings,
    *,
    seed: int = 0,
    n_scenes: int = 4,
    overwrite: bool = False,
    on_progress: OnProgress = _nothing,
) -> list[Path]:
    """Draw a labelled sheet of every relation with its truths, and a video of each.

    Returns:
        The files written: ``sheet.png``, and ``<relation>.mp4`` with input, truth and bare hands.
    """
    out.mkdir(parents=True, exist_ok=True)
    sheet = out / "sheet.png"
    if sheet.exists() and not overwrite:
        raise WriteError(f"{sheet} exists; choose another folder or pass --overwrite")
    wanted = (settings.relation,) if settings.relation else RELATIONS
    rows = []
    written = []
    for number, relation in enumerate(wanted):
        of_relation = replace(settings, relation=relation)
        scenes = [world.scene(seed + k, of_relation) for k in range(n_scenes)]
        renderer = Renderer(world.assets, device=world.device, flow=False)
        shot = renderer([(scene, len(scene) // 2) for scene in scenes], effects_seed=seed)
        tiles = [tile for row in range(n_scenes) for tile in draw_truth(shot, row)]
        rows.append((f"{relation}: truth, joints, bare right, bare left", tiles))
        written.append(_preview_clip(world, scenes[0], out / f"{relation}.mp4", overwrite))
        on_progress(number + 1)
    ok = cv2.imwrite(str(sheet), draw_sheet(rows)[..., ::-1])
    if not ok:
        raise WriteError(f"{sheet} cannot be written")
    return [sheet, *written]


def _preview_clip(world: World, scene: Scene, path: Path, overwrite: bool) -> Path:
    base = Fraction(scene.frame_seconds).limit_denominator(60_000)
    n_done = 0
    size_px = (scene.width_px * 2, scene.height_px * 2)
    with _writer(path, *size_px, base, overwrite=overwrite) as writer:
        for shot in world.shots(scene):
            for row in range(len(shot)):
                a, b, c, d = draw_truth(shot, row)
                writer.write(cv2.vconcat([cv2.hconcat([a, b]), cv2.hconcat([c, d])]), n_done)
                n_done += 1
    return path
