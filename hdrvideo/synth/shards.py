"""Made pictures for training: batches on the fly, and stored shards with a manifest.

Batch number ``n`` of a stream is a pure function of (seed, n): any worker may make it, and a run
that was broken off goes on where it was. A shard is one batch in one file.
"""

import hashlib
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo import __version__
from hdrvideo.errors import DataError, SettingsError, ShapeError, WriteError
from hdrvideo.files import disk_errors, whole_file, write_npz
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.arrange import SceneSettings, arrange
from hdrvideo.synth.assets import Assets
from hdrvideo.synth.motions import Motions
from hdrvideo.synth.packing import pack_masks, pack_pictures, unpack_masks, unpack_picture
from hdrvideo.synth.render import MAX_SUPERSAMPLE, Renderer
from hdrvideo.synth.scene import Scene, Shot

MANIFEST: Final = "manifest.json"
SHARD_FORMAT: Final = "hdrvideo-shards-1"
# What NumPy raises on a file that is no archive of arrays, or a damaged one.
DAMAGE: Final = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error)
_PICTURES: Final = ("rgb", "bare_rgb")
_MASKS: Final = ("visible", "amodal")
# Fields that a shard leaves out: large, and only the temporal stage wants them, on the fly.
_NOT_STORED: Final = ("depth_mm", "normal", "face", "flow_px", "flow_seen", "hand_flow_px")


@dataclass(frozen=True)
class StreamSettings:
    """What a stream of batches holds.

    Attributes:
        scene: The scenes; ``n_frames`` is the length of the scene that frames are taken from.
        n_scenes: Scenes in a batch.
        n_frames_each: Frames taken of each scene.
        consecutive: Take neighbouring frames, from a random start; else spread over the scene.
        effects: Let camera and file spoil the pictures as the scene says.
        flow: Compute the true flow.
        supersample: Samples a pixel side.
    """

    scene: SceneSettings
    n_scenes: int = 8
    n_frames_each: int = 4
    consecutive: bool = False
    effects: bool = True
    flow: bool = False
    supersample: int = 1

    def __post_init__(self) -> None:
        limits = {
            "n_scenes": 4096,
            "n_frames_each": self.scene.n_frames,
            "supersample": MAX_SUPERSAMPLE,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= limit:
                raise SettingsError(
                    f"StreamSettings.{name} is {value!r}, expected a whole number from 1 to {limit}"
                )


class ShotStream:
    """Endless batches of made pictures, each a function of its number alone."""

    def __init__(
        self,
        settings: StreamSettings,
        assets: Assets,
        motions: Motions,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """Prepare a stream.

        Args:
            settings: What the batches hold.
            assets: Skins and backgrounds of one split.
            motions: Poses and recordings of the same split.
            seed: Two streams of one seed are alike.
            device: Where to render; scenes are arranged on the CPU.
        """
        self.settings = settings
        self.assets = assets
        self.motions = motions
        self.seed = seed
        self.model = HandModel()
        self.renderer = Renderer(
            assets, device=device, supersample=settings.supersample, flow=settings.flow
        )

    def scenes(self, number: int) -> list[tuple[Scene, list[int]]]:
        """Arrange the scenes of a batch and choose their frames."""
        chosen = []
        for k in range(self.settings.n_scenes):
            rng = np.random.default_rng([self.seed, number, k])
            seed = int(rng.integers(2**31))
            scene = arrange(seed, self.settings.scene, self.assets, self.motions, self.model)
            chosen.append((scene, self._choose_frames(rng, len(scene))))
        return chosen

    def _choose_frames(self, rng: np.random.Generator, n_frames: int) -> list[int]:
        n = self.settings.n_frames_each
        if self.settings.consecutive:
            start = int(rng.integers(n_frames - n + 1))
            return list(range(start, start + n))
        return sorted(int(i) for i in rng.choice(n_frames, n, replace=False))

    def __getitem__(self, number: int) -> Shot:
        """Make batch ``number``; frames of a scene stand together, in time order."""
        frames = [(scene, i) for scene, chosen in self.scenes(number) for i in chosen]
        seed = int(np.random.default_rng([self.seed, number]).integers(2**31))
        return self.renderer(frames, effects_seed=seed if self.settings.effects else None)


def stream_of(
    settings: StreamSettings,
    split: str,
    skins: Path | None = None,
    backgrounds: Sequence[Path] = (),
    *,
    seed: int,
    device: str = "cpu",
) -> ShotStream:
    """Build a stream from folders; ``functools.partial`` of it suits worker processes."""
    assets = Assets.find(split, skins=skins, backgrounds=backgrounds)
    return ShotStream(settings, assets, Motions.load(split), seed=seed, device=device)


def stream_batches(
    make: Callable[[], ShotStream], numbers: range, *, n_workers: int = 0
) -> Iterator[Shot]:
    """Make batches in order, on worker processes when asked.

    Args:
        make: Builds the stream, once in each process; must be importable (no lambda) for workers.
        numbers: Which batches.
        n_workers: Processes beside this one, which end when it does; 0 makes them here.

    Yields:
        Batch after batch; the same ones whatever the number of workers, to the last bit where torch
        has one thread, as the workers have: sums are cut up by the number of threads.
    """
    if n_workers == 0:
        stream = make()
        yield from (stream[number] for number in numbers)
        return
    with ProcessPoolExecutor(
        n_workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(make,)
    ) as pool:
        ahead: deque[Future[dict[str, NDArray[Any]]]] = deque()
        try:
            for number in numbers:
                ahead.append(pool.submit(_make_in_worker, number))
                if len(ahead) > 2 * n_workers:
                    yield _shot_of(ahead.popleft().result())
            while ahead:
                yield _shot_of(ahead.popleft().result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# The stream of a worker process, made once by its initializer.
_streams: list[ShotStream] = []


def _start_worker(make: Callable[[], ShotStream]) -> None:
    Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _streams.append(make())


def _leave_with_parent() -> None:
    """End this worker once its parent is gone: one that was killed cannot end its pool itself."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_in_worker(number: int) -> dict[str, NDArray[Any]]:
    return _streams[0][number].to_arrays()


def _shot_of(arrays: dict[str, NDArray[Any]]) -> Shot:
    return Shot(**{name: torch.from_numpy(value) for name, value in arrays.items()})


def save_shot(path: Path, shot: Shot) -> str:
    """Write a shot as one file: pictures as JPEG (q95), masks as bits, no flow, depth or faces.

    Returns:
        SHA-256 of the file.
    """
    arrays: dict[str, Any] = {}
    for name in Shot.__dataclass_fields__:
        value: Tensor = getattr(shot, name)
        if name in _PICTURES:
            rgb_u8 = (value.flatten(0, -4).movedim(-3, -1) * 255).round().to(torch.uint8)
            data, offsets = pack_pictures(list(rgb_u8.cpu().numpy()))
            arrays[name], arrays[f"{name}_offsets"] = data, offsets
        elif name in _MASKS:
            arrays[name] = pack_masks(value.cpu().numpy())
        elif name not in _NOT_STORED:
            arrays[name] = value.cpu().numpy()
    arrays["size_px"] = np.array(shot.rgb.shape[-2:])
    write_npz(path, arrays, overwrite=True)
    with disk_errors(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()


def load_shot(path: Path) -> Shot:
    """Read a shot back; flow and depth come as NaN, faces as -1, ``flow_seen`` as False.

    Raises:
        DataError: The file is missing, damaged or no shot.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        height, width = (int(n) for n in arrays.pop("size_px"))
        n = len(arrays["present"])
        for name in _MASKS:
            arrays[name] = unpack_masks(arrays[name], height, width)
        for name, lead in zip(_PICTURES, ((n,), (n, 2)), strict=True):
            offsets = arrays.pop(f"{name}_offsets")
            rows = [unpack_picture(arrays[name], offsets, i) for i in range(len(offsets) - 1)]
            rgb = np.stack(rows).astype(np.float32) / 255
            arrays[name] = rgb.transpose(0, 3, 1, 2).reshape(*lead, 3, height, width)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        return Shot(**tensors, **_left_out(n, height, width))
    except (*DAMAGE, ShapeError) as error:
        raise DataError(f"{path} is no shard of ours ({error}); make it again") from error


def _left_out(n: int, height: int, width: int) -> dict[str, Tensor]:
    nan = float("nan")
    return {
        "depth_mm": torch.full((n, height, width), nan),
        "normal": torch.full((n, 3, height, width), nan),
        "face": torch.full((n, height, width), -1),
        "flow_px": torch.full((n, 2, height, width, 2), nan),
        "flow_seen": torch.zeros(n, 2, height, width, dtype=torch.bool),
        "hand_flow_px": torch.full((n, 2, 2, height, width, 2), nan),
    }


def write_shards(
    out: Path,
    make: Callable[[], ShotStream],
    n_shards: int,
    *,
    n_workers: int = 0,
    on_progress: Callable[[int], None] = lambda n: None,
) -> Path:
    """Make shards ``0 .. n_shards - 1`` in a folder, and their manifest; shards there are kept.

    The manifest is written last; a run that was broken off goes on with the missing shards when
    called again with the same stream. A folder whose manifest is of another stream is refused.

    Returns:
        The manifest's path.

    Raises:
        WriteError: The folder holds shards of another stream, or cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    stream = make()
    head = _head(stream)
    plan = out / ".plan.json"
    _check_plan(plan, head)
    paths = [out / f"shard_{k:05d}.npz" for k in range(n_shards)]
    missing = [k for k, path in enumerate(paths) if not path.exists()]
    for first, last in _runs(missing):
        numbers = range(first, last + 1)
        for k, shot in zip(
            numbers, stream_batches(make, numbers, n_workers=n_workers), strict=True
        ):
            save_shot(paths[k], shot)
            on_progress(k + 1)
    entries: list[dict[str, Any]] = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            n_pictures = len(file["present"])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append({"file": path.name, "pictures": n_pictures, "sha256": digest})
    manifest = {**head, "pictures": sum(e["pictures"] for e in entries), "shards": entries}
    target = out / MANIFEST
    _write_json(target, manifest)
    return target


def read_shards(folder: Path) -> Iterator[Shot]:
    """Read every shard that the folder's manifest lists, in order.

    Raises:
        DataError: There is no manifest of ours, or a shard is missing or not as it was written.
    """
    for entry in read_manifest(folder)["shards"]:
        path = folder / entry["file"]
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise DataError(f"{path} is missing or not as the manifest says; make it again")
        yield load_shot(path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a shards folder.

    Raises:
        DataError: There is none, or it is none of ours.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != SHARD_FORMAT:
            raise ValueError(f"format is {values['format']!r}, expected {SHARD_FORMAT!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no manifest of shards ({error})") from error
    return dict(values)


def _head(stream: ShotStream) -> dict[str, Any]:
    return {
        "format": SHARD_FORMAT,
        "version": __version__,
        "seed": stream.seed,
        "split": stream.assets.split,
        "assets_sha256": stream.assets.fingerprint(),
        "settings": asdict(stream.settings),
    }


def _check_plan(plan: Path, head: dict[str, Any]) -> None:
    if not plan.exists():
        _write_json(plan, head)
        return
    if json.loads(plan.read_text(encoding="utf-8")) != json.loads(json.dumps(head)):
        raise WriteError(
            f"{plan.parent} holds shards of other settings or assets; use an empty folder"
        )


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Join consecutive numbers into (first, last)."""
    runs: list[tuple[int, int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], n)
        else:
            runs.append((n, n))
    return runs


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with whole_file(path, overwrite=True) as partial:
        partial.write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")
