"""The refiner's recipe: what it is shown, what is asked of it, how it is judged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from hdrvideo.config import check_folders, check_number
from hdrvideo.datatypes import U8
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.form import KINDS
from hdrvideo.motion.states import N_TURNS, HandStates, StateReader
from hdrvideo.penetration import HandSpheres
from hdrvideo.train.adversary import MotionAdversary
from hdrvideo.train.parallel import share_of
from hdrvideo.train.practice import load_folder
from hdrvideo.train.refine_losses import RefineWeights, refine_loss
from hdrvideo.train.refine_scores import draw_refine_sheet, refine_scores
from hdrvideo.train.refine_windows import (
    Batch,
    StudyTrack,
    TrueStates,
    Windows,
    WindowSettings,
    as_batch,
    said_of,
    study,
    true_of,
)

_CHECK_BATCH: Final = 32


@dataclass(frozen=True)
class RefineData:
    """What the refiner learns from.

    Attributes:
        tracks: Folders of practice tracks of split train.
        held_out: Folders of practice tracks of split test, for the checks.
    """

    tracks: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("tracks", "held_out"):
            check_folders(f"RefineData.{name}", getattr(self, name))
            if not getattr(self, name):
                raise SettingsError(f"data.{name} is empty; name a folder of practice tracks")


@dataclass(frozen=True)
class RefineRecipe:
    """How the refiner is taught.

    Attributes:
        data: What it learns from.
        windows: How windows are drawn.
        weights: What each loss weighs.
        batch: Windows a step, over all workers.
        seed: Draws the batches.
        discriminator_rate: Learning rate of the discriminator.
    """

    data: RefineData
    windows: WindowSettings = field(default_factory=WindowSettings)
    weights: RefineWeights = field(default_factory=RefineWeights)
    batch: int = 32
    seed: int = 0
    discriminator_rate: float = 2e-4

    def __post_init__(self) -> None:
        check_number("discriminator_rate", self.discriminator_rate, 1e-12, 1)
        check_number("batch", self.batch, 1, 65536, whole=True)
        check_number("seed", self.seed, 0, 2**31 - 1, whole=True)


class RefineTask:
    """Lessons for the refiner; see :class:`hdrvideo.train.loop.Task`."""

    better = "score"

    def __init__(
        self, net: nn.Module, recipe: RefineRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read all tracks into memory and fit the hand model to them.

        Args:
            net: As :class:`hdrvideo.motion.refine.RefineNet`.
            recipe: How it is taught.
            made_as: How the net was made, to be written down.

        Raises:
            DataError: A folder is missing, holds nothing of use, or is of the wrong split.
        """
        self.net = net
        self._recipe = recipe
        self._made_as = dict(made_as or {})
        self._model = HandModel()
        self._spheres = HandSpheres(self._model)
        reader = StateReader(self._model)
        tracks = studied(recipe.data.tracks, "train", reader)
        self._windows = Windows(tracks, recipe.windows, self._model)
        self._adversary = MotionAdversary(N_TURNS - 1, recipe.discriminator_rate, seed=recipe.seed)
        self._checks = check_windows(
            studied(recipe.data.held_out, "test", reader), recipe.windows.frames, self._model
        )

    def describe(self) -> dict[str, Any]:
        """Give the recipe, the net's name and how it was made."""
        return {"net": type(self.net).__name__, "made_as": self._made_as, **asdict(self._recipe)}

    def batch(self, number: int, rank: int, world: int) -> Batch:
        """Make worker ``rank``'s share of batch ``number``.

        Raises:
            SettingsError: The batch cannot be shared out evenly.
        """
        n = share_of(self._recipe.batch, world)
        rng = np.random.default_rng([self._recipe.seed, number, rank])
        return self._windows.draw(rng, n)

    def losses(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Compare refined windows with the truth."""
        self._model.to(batch["joints_mm"].device)
        out = net(said_of(batch), batch["joints_mm"])
        weights = self._recipe.weights
        adversary = self._adversary if weights.fooled else None
        spheres = self._spheres.to(batch["joints_mm"].device) if weights.overlap else None
        return refine_loss(out, true_of(batch), self._model, weights, adversary, spheres)

    def form(self) -> dict[str, Any]:
        """Give the net's form; see :class:`hdrvideo.motion.form.RefineForm`."""
        net = {name: value for name, value in self._made_as.items() if name != "start"}
        return {"kind": KINDS[0], **net, "frames": self._recipe.windows.frames}

    def extra_state(self) -> dict[str, Tensor]:
        """Give what is trained beside the net: the discriminator with its optimiser."""
        return self._adversary.state()

    def load_extra(self, tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`extra_state` gave."""
        self._adversary.load(tensors, next(self.net.parameters()).device)

    def check(self, net: nn.Module) -> dict[str, float]:
        """Score held-out windows: refined, and as the frames said (``raw``), and smoothed."""
        return refine_scores(self._said(net), self._checks, self._model)

    def sheet(self, net: nn.Module) -> U8:
        """Draw fingertips over time."""
        return draw_refine_sheet(self._said(net), self._checks, self._model)

    def _said(self, net: nn.Module) -> list[Any]:
        device = next(net.parameters()).device
        said = []
        for batch in self._checks:
            there = {name: value.to(device) for name, value in batch.items()}
            with torch.inference_mode():
                said.append(net(said_of(there), there["joints_mm"]))
        return said


def studied(folders: tuple[str, ...], split: str, reader: StateReader) -> list[StudyTrack]:
    """Read folders of practice tracks of a split and make them ready.

    Raises:
        DataError: A folder is missing, holds nothing of use, or is of the other split.
    """
    return [
        study(track, reader) for folder in folders for track in load_folder(Path(folder), split)
    ]


def check_windows(tracks: list[StudyTrack], frames: int, model: HandModel) -> list[Batch]:
    """Cut held-out tracks into windows, side by side, as they are.

    Raises:
        DataError: All are shorter than a window.
    """
    windows: list[tuple[HandStates, TrueStates]] = []
    for track in tracks:
        for start in range(0, len(track) - frames + 1, frames):
            index = torch.arange(start, start + frames)
            windows.append((track.said.frames(index), track.true.frames(index)))
    if not windows:
        raise DataError(
            f"all held-out practice tracks are shorter than a window of {frames} frames; make "
            "longer ones, or lower windows.frames"
        )
    batches = []
    for start in range(0, len(windows), _CHECK_BATCH):
        part = windows[start : start + _CHECK_BATCH]
        true = TrueStates(
            *(torch.cat([getattr(t, n) for _, t in part]) for n in TrueStates.__dataclass_fields__)
        )
        batches.append(as_batch(HandStates.join([s for s, _ in part]), true, model))
    return batches
