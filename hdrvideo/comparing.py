"""What ``validate table`` does: ours and every rival on the same hands, once over the benchmark.

All systems look at a frame in turns, so that a busy machine slows them alike. See
``contenders.py`` for what each is shown, ``lineup.py`` for who they are, and
:mod:`hdrvideo.validate.comparison` for how they are scored.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from hdrvideo import __version__
from hdrvideo.build import pick_device
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings, check_number
from hdrvideo.contenders import PAINT_PX, ReadPair, View
from hdrvideo.errors import SettingsError, WriteError
from hdrvideo.files import disk_errors
from hdrvideo.frame.lift import lift_pairs
from hdrvideo.geometry import Camera
from hdrvideo.lineup import Contender, line_up, weights_file
from hdrvideo.readset import validate_set
from hdrvideo.sets.registry import JOINT_SETS, open_set
from hdrvideo.validate.benchmark import Benchmark, BenchmarkEntry, load_benchmark
from hdrvideo.validate.comparison import MASKS, PAINTING, POSE, STAGES, Tally, standings
from hdrvideo.validate.comparison_report import (
    FILES,
    Comparison,
    ProtocolRow,
    SetRow,
    write_comparison,
)
from hdrvideo.validate.comparison_scores import (
    is_hidden,
    mask_samples,
    paint_samples,
    pose_samples,
)
from hdrvideo.validate.match import match_hands, palm_length_px
from hdrvideo.validate.metrics import F64
from hdrvideo.validate.perceptual import SqueezeNetDistance
from hdrvideo.validate.set_protocols import load_protocols
from hdrvideo.validate.truth import ClipTruth, load_truth

OnProgress = Callable[[str, int], None]
N_BOOTSTRAP: Final = 2000
_SEED: Final = 0
_HAND_READERS: Final = ("internet", "handoccnet", "minimal_hand")


def compare(
    benchmark: Path,
    out: Path,
    *,
    rivals: Mapping[str, Path] | None = None,
    ours: Mapping[str, Path] | None = None,
    every: int = 1,
    sets: Mapping[str, Path] | None = None,
    limit: int | None = None,
    perceptual_weights: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    on_progress: OnProgress = lambda clip, n: None,
) -> Comparison:
    """Compare all systems, and write ``table.md``, ``table.json`` and ``table.png``.

    Args:
        benchmark: The benchmark's folder.
        out: Folder for the files, and for what was read of sets.
        rivals: Weights by the rivals' names; the others are named without being run.
        ours: Weights by our nets' names, to be compared beside those that are shipped.
        every: Look at every so many frames of a clip.
        sets: Folders of data sets by their names, to be read as well.
        limit: Read so many samples of each set, evenly spread; None = all.
        perceptual_weights: SqueezeNet's ``.npz``; None = no perceptual distance.
        device: ``auto``, ``cpu`` or ``cuda``; nets run by plain torch.
        overwrite: Replace files that are there.
        on_progress: Called with a clip's name and the number of frames done.

    Raises:
        SettingsError: A name is not known, or a number out of range.
        DataError: The benchmark or a set is missing or damaged.
        WeightsError: Weights are missing or damaged, or do not fit.
        WriteError: A file exists, or cannot be written.
    """
    check_number("--every", every, 1, 1_000_000, whole=True)
    if limit is not None:
        check_number("--limit", limit, 1, 1_000_000_000, whole=True)
    for name, folder in (sets or {}).items():
        if name not in JOINT_SETS:
            raise SettingsError(f"data set is {name!r}, expected one of {', '.join(JOINT_SETS)}")
        # A wrong folder must not be found out after the whole benchmark.
        open_set(name, folder)
    there = [out / name for name in FILES] + [out / "sets" / name for name in sets or {}]
    there = [path for path in there if path.exists()]
    if there and not overwrite:
        raise WriteError(f"{there[0]} exists already; give --overwrite or another folder")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    listed, on = load_benchmark(benchmark), pick_device(device)
    distance = None
    if perceptual_weights is not None:
        distance = SqueezeNetDistance(perceptual_weights, device="cpu")
    contenders = line_up(rivals or {}, ours or {}, on)
    run = Run(listed, contenders, every=every, distance=distance)
    for number, entry in enumerate(listed.clips):
        run.look(number, entry)
        on_progress(entry.name, run.n_frames)
    made = run.comparison(machine_told(on))
    # First without sets: a broken picture of a set must not cost the benchmark.
    write_comparison(made, out, overwrite=overwrite)
    for name, folder in (sets or {}).items():
        scores, named = read_set(
            *(name, folder, out, rivals or {}, ours or {}),
            limit=limit,
            device=device,
            overwrite=overwrite,
        )
        made = replace(made, sets=(*made.sets, *scores), by_protocol=(*made.by_protocol, *named))
        write_comparison(made, out, overwrite=True)
    return made


@dataclass(frozen=True)
class _Asked:
    """A contender that has weights, and its tally."""

    contender: Contender
    tally: Tally


class Run:
    """A benchmark that all contenders are taken through.

    Attributes:
        n_frames: Frames that were looked at.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        contenders: list[Contender],
        *,
        every: int,
        distance: SqueezeNetDistance | None = None,
    ) -> None:
        """Begin.

        Args:
            benchmark: Its manifest.
            contenders: Who is in.
            every: Look at every so many frames of a clip.
            distance: Perceptual distance of what is painted.
        """
        self._benchmark, self._contenders = benchmark, contenders
        self._every, self._distance = every, distance
        self.n_frames = 0
        n = len(benchmark.clips)
        self._asked: dict[str, list[_Asked]] = {
            stage: [
                _Asked(contender, Tally.empty(stage, n))
                for contender in contenders
                if contender.entrant.stage == stage and contender.runner is not None
            ]
            for stage in STAGES
        }

    def look(self, clip: int, entry: BenchmarkEntry) -> None:
        """Take all contenders through a clip.

        Raises:
            DataError: Its truth is missing or damaged.
            ClipError: The clip cannot be read.
        """
        for view in views(entry, self._every):
            self.n_frames += 1
            if not view.amodal.any():
                continue
            if view.counted.any():
                self._pose(clip, view)
            self._masks(clip, view)
            self._painting(clip, view)

    def comparison(self, machine: dict[str, Any]) -> Comparison:
        """Score all that was looked at."""
        relations = [entry.relation for entry in self._benchmark.clips]
        found = []
        for stage in STAGES:
            entrants = [c.entrant for c in self._contenders if c.entrant.stage == stage]
            tallies = {asked.contender.entrant.name: asked.tally for asked in self._asked[stage]}
            found += standings(entrants, tallies, relations, n_bootstrap=N_BOOTSTRAP, seed=_SEED)
        return Comparison(
            benchmark=self._benchmark.name,
            version=self._benchmark.version,
            n_clips=len(relations),
            n_frames=self.n_frames,
            every=self._every,
            n_bootstrap=N_BOOTSTRAP,
            seed=_SEED,
            machine=machine,
            standings=tuple(found),
        )

    def _pose(self, clip: int, view: View) -> None:
        truth, row, there = view.truth, view.frame, view.counted[:, None, None]
        true_px = np.where(there, truth.uv_px[row], np.nan)
        true_mm = np.where(there, truth.xyz_cam_mm[row], np.nan)
        palm_px = palm_length_px(truth.xyz_cam_mm[row][None], truth.k_px[row][None])[0]
        for asked in self._asked[POSE]:
            read = asked.contender.runner.read(view, asked.tally.seconds)
            lifted = in_camera(read, truth.k_px[row])
            asked.tally.add(
                clip, pose_samples(read.uv_px, lifted, read.xyz_mm, true_px, true_mm, palm_px)
            )

    def _masks(self, clip: int, view: View) -> None:
        for asked in self._asked[MASKS]:
            visible, amodal = asked.contender.runner.complete(view, asked.tally.seconds)
            truth = (view.visible, view.amodal, view.present)
            asked.tally.add(clip, mask_samples(visible, amodal, *truth))

    def _painting(self, clip: int, view: View) -> None:
        for side in np.flatnonzero(view.counted).tolist():
            masks = view.crop_masks(side, PAINT_PX) >= 0.5
            if not is_hidden(masks):
                continue
            crops = view.crops(side, PAINT_PX, masked=True)
            true, known = view.bare(side, PAINT_PX)
            for asked in self._asked[PAINTING]:
                painted = asked.contender.runner.paint(crops, asked.tally.seconds)
                samples = paint_samples(painted, true, masks, known, self._distance)
                asked.tally.add(clip, samples)


def views(entry: BenchmarkEntry, every: int) -> Iterator[View]:
    """Give every so many frames of a clip with their truth; lost ones are left out.

    Raises:
        DataError: The truth is missing or damaged.
        ClipError: The clip cannot be read.
    """
    truth = load_truth(entry.folder)
    counted = counted_hands(truth)
    with open_clip(entry.clip) as reader:
        for row, frame in zip(range(len(truth)), reader, strict=False):
            if row % every == 0 and frame.rgb_u8 is not None:
                yield View(frame.rgb_u8, truth, row, counted[row])


def counted_hands(truth: ClipTruth) -> Any:
    """Give ``(T, 2)`` bool the hands that count, by the benchmark's rule."""
    palm_px = palm_length_px(truth.xyz_cam_mm, truth.k_px)
    nothing = np.full(truth.uv_px.shape, np.nan)
    return match_hands(nothing, truth.uv_px, truth.present, palm_px, truth.size_px).counted


def in_camera(read: ReadPair, k_px: Any) -> F64:
    """Put a frame's hands ``(2, 21, 3)`` into the true camera; see the measure ``mrrpe_mm``."""
    fx, fy, cx, cy = (float(k_px[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    camera = Camera(fx, fy, cx, cy, source="given")
    lifted = lift_pairs(
        read.uv_px[None], read.xyz_mm[None], camera, confidence=read.confidence[None]
    )[0]
    if read.way_mm is not None and np.isfinite(lifted).all():
        wrist = camera.lift(read.uv_px[1, 0], lifted[0, 0, 2] + read.way_mm)
        lifted[1] += wrist - lifted[1, 0]
    return np.asarray(lifted)


def read_set(
    name: str,
    folder: Path,
    out: Path,
    rivals: Mapping[str, Path],
    ours: Mapping[str, Path],
    *,
    limit: int | None,
    device: str,
    overwrite: bool,
) -> tuple[list[SetRow], list[ProtocolRow]]:
    """Read a data set with our nets and the rivals that read hands.

    Each leaves its predictions in a folder of ``OUT/sets/NAME/``.

    Args:
        name: Of the set.
        folder: Of the set.
        out: The comparison's folder.
        rivals: As in :func:`compare`; those that read a hand's joints are read.
        ours: Likewise; weights of SHPE are read, too.
        limit: Read so many samples; None = all.
        device: Where the nets run.
        overwrite: Replace files that are there.

    Returns:
        Plain scores, and those under the set's protocols.

    Raises:
        HdrVideoError: As :func:`hdrvideo.readset.validate_set`.
    """
    systems: dict[str, dict[str, Any]] = {
        "hdrvideo: SHPE and landmark": {},
        "SHPE alone": {"settings": Settings(shpe_2d="own")},
        "landmark net alone (MediaPipe's)": {"settings": Settings(shpe="landmark")},
    }
    if "shpe" in ours:
        systems["SHPE alone, given weights"] = {
            "settings": Settings(shpe_2d="own"),
            "weights": ours["shpe"],
        }
    readers = [rival for rival in _HAND_READERS if rival in rivals]
    for rival in readers:
        size = weights_file(rivals[rival]).size
        systems[rival] = {"rival": (rival, rivals[rival]), "rival_size": size}
    rows, by_protocol = [], []
    for number, (system, named) in enumerate(systems.items()):
        place = out / "sets" / name / str(number)
        scores = validate_set(
            *(name, folder, place),
            limit=limit,
            method=None if "rival" in named else system,
            device=device,
            overwrite=overwrite,
            **named,
        )
        rows += [SetRow(name, system, score) for score in scores]
        scored = load_protocols(place / "protocols.json").rows
        by_protocol += [ProtocolRow(name, system, row) for row in scored]
    return rows, by_protocol


def _processor() -> str:
    """Read the processor's name where the system keeps it; empty = it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""


def machine_told(device: torch.device) -> dict[str, Any]:
    """Say what the times were measured on."""
    name = platform.processor() or _processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "hdrvideo": __version__,
        "torch": torch.__version__,
        "engine": "torch",
        "device": str(device),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
