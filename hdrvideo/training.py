"""The jobs behind ``hdrvideo train``: a settings file in, a run's folder out.

A settings file (see ``configs/hasm_small.yaml``) names the net, the loop, the data and the views;
paths in it are relative to the folder that the command runs in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from hdrvideo.build import memory_net, pick_device, refiner_form, small_shpe
from hdrvideo.checkpoint import load_weights, warm_start, weights_path
from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.frame.detnet import DetNet, DetNetSmall
from hdrvideo.frame.efficientnet import EfficientTrunk
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.frame.hdrm import SIZES, HdrmNet
from hdrvideo.frame.shpe import LandmarkNet
from hdrvideo.motion.form import RefineForm
from hdrvideo.motion.memory import MemoryNet
from hdrvideo.train.bare_crops import CropSettings as HdrmCrops
from hdrvideo.train.frame_recipe import FrameRecipe, FrameTask
from hdrvideo.train.hasm_recipe import HasmData, HasmRecipe, HasmTask
from hdrvideo.train.hdrm_recipe import HdrmData, HdrmRecipe, HdrmTask, PaintWeights
from hdrvideo.train.human_recipe import HumanRecipe, HumanTask, HumanWeights
from hdrvideo.train.loop import LoopSettings, Task, train
from hdrvideo.train.memory_recipe import MemoryData, MemoryRecipe, MemoryTask, MemoryWeights
from hdrvideo.train.pcnet_content_recipe import (
    ContentWeights,
    PcnetContentRecipe,
    PcnetContentTask,
)
from hdrvideo.train.pcnet_mask_recipe import PcnetMaskData, PcnetMaskRecipe, PcnetMaskTask
from hdrvideo.train.pcnet_pairs import PairSettings
from hdrvideo.train.pose_crops import CropSettings as ShpeCrops
from hdrvideo.train.pose_losses import PoseWeights
from hdrvideo.train.refine_losses import RefineWeights
from hdrvideo.train.refine_recipe import RefineData, RefineRecipe, RefineTask
from hdrvideo.train.refine_windows import WindowSettings
from hdrvideo.train.rival_nets import (
    make_human_deocclusion,
    make_pcnet_content,
    make_pcnet_mask,
)
from hdrvideo.train.rival_pose_losses import HandOccWeights, InterWeights, MinimalWeights
from hdrvideo.train.rival_poses import (
    HandOccRecipe,
    HandOccTask,
    InterRecipe,
    InterTask,
    MinimalRecipe,
    MinimalTask,
    make_pose_rival,
)
from hdrvideo.train.shpe_data import ShpeData
from hdrvideo.train.shpe_recipe import ShpeRecipe, ShpeTask
from hdrvideo.train.views import ViewSettings

_SIZES: Final = ("small", "mit_b0", "mit_b1", "mit_b5")


def train_net(
    name: str,
    config: Path,
    out: Path,
    *,
    resume: bool,
    device: str,
    sets: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Train a net as a settings file says.

    Args:
        name: ``hasm``, ``hdrm``, ``shpe``, ``frame`` (SHPE behind HDRM), ``refine`` or
            ``memory`` (of the small HDRM); or a rival: ``pcnet_mask``, ``pcnet_content``,
            ``human_deocclusion``, ``internet``, ``handoccnet`` or ``minimal_hand``.
        config: The settings file.
        out: The run's folder.
        resume: Go on with the run in ``out``.
        device: ``auto``, ``cpu`` or ``cuda``; in place of ``loop.device``.
        sets: Of a net that learns from data sets: in place of ``data.sets``.

    Returns:
        The metrics of the last check; nothing but for the first of many workers.

    Raises:
        SettingsError: A key is unknown or a value is out of range.
        DataError: The pictures cannot be used.
        WeightsError: The net's start is missing or does not fit.
        TrainingError: See :func:`hdrvideo.train.loop.train`.
    """
    lesson, values = LESSONS[name], read_yaml(config)
    known = ("net", "loop", *(f.name for f in fields(lesson.recipe)))
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise SettingsError(f"setting {unknown[0]} is unknown; known here: {', '.join(known)}")
    if sets:
        values["data"] = {**values.get("data", {}), "sets": dict(sets)}
    recipe = lesson.read_recipe(values)
    loop = build_settings(LoopSettings, values.get("loop", {}), "loop.")
    loop = replace(loop, device=pick_device(device).type)
    # What the start leaves of the net is random: the same in every run of one seed.
    torch.manual_seed(recipe.seed)
    made_as = values.get("net", {})
    task = lesson.task(lesson.make(made_as), recipe, made_as=made_as)
    return train(task, loop, out, resume=resume)


def make_hasm(values: dict[str, Any]) -> nn.Module:
    """Make a HASM to be trained.

    Args:
        values: ``size``: ``small``, ``mit_b0``, ``mit_b1`` or ``mit_b5``; ``start``: ``none``; or a
            safetensors file whose tensors of the same name and shape are the start, most of the
            encoder's among them (``scripts/convert_efficientnet.py`` makes one for the small size);
            or, for the other sizes, a folder with a published encoder (see
            :meth:`hdrvideo.frame.hasm_mit.HasmMit.from_pretrained_encoder`). ``freeze``: names of
            parts that stay as they start.

    Raises:
        SettingsError: The size is unknown, or needs ``transformers``, which is missing.
        WeightsError: The start is missing or damaged, or does not fit.
    """
    expected = f"expected size: {' | '.join(_SIZES)} and, if wanted, start: FILE"
    if not isinstance(values, dict) or set(values) - {"size", "start", "freeze"}:
        raise SettingsError(f"net is {values!r}, {expected}")
    size = values.get("size", "small")
    start = values.get("start") or "none"
    if size not in _SIZES or not isinstance(start, str):
        raise SettingsError(f"net is {values!r}, {expected}")
    if size == "small":
        net: nn.Module = HasmNet()
        encoder = set(EfficientTrunk().state_dict())
    else:
        from hdrvideo.frame.hasm_mit import HasmMit

        if start != "none" and Path(start).is_dir():
            net = HasmMit.from_pretrained_encoder(Path(start), size=size.removeprefix("mit_"))
            start = "none"
        else:
            net = HasmMit(size.removeprefix("mit_"))
        encoder = {name for name in net.state_dict() if name.startswith("encoder.")}
    if start != "none":
        _start_from(net, Path(start), encoder)
    freeze(net, values.get("freeze") or [])
    return net


def freeze(net: nn.Module, names: list[str]) -> None:
    """Let some parts of a net stay as they are.

    Raises:
        SettingsError: The net has no such part, or the names are no list.
    """
    if not isinstance(names, list):
        raise SettingsError(f"net.freeze is {names!r}, expected a list of the net's parts")
    for name in names:
        parts = [p for n, p in net.named_parameters() if n.split(".")[0] == name]
        if not parts:
            raise SettingsError(f"net.freeze names {name!r}, which is no part of the net")
        for part in parts:
            part.requires_grad = False


def _start_from(net: nn.Module, path: Path, encoder: set[str]) -> None:
    """Take over what fits; a few tensors that fit by accident are no start."""
    taken = encoder & set(warm_start(net, path))
    if 2 * len(taken) < len(encoder):
        raise WeightsError(
            f"weights {path} fit {len(taken)} of the {len(encoder)} tensors of the net's encoder, "
            "expected at least half; name weights of this net.size, or start: none"
        )


def make_hdrm(values: dict[str, Any]) -> nn.Module:
    """Make an HDRM to be trained.

    Args:
        values: ``size``: ``small`` or ``paper``; ``without_transformer``: leave its transformer
            blocks out; ``start``: the weights of a trained net of this kind, or ``none``.

    Raises:
        SettingsError: A key or a value is unknown.
        WeightsError: The start is missing or damaged, or does not fit.
    """
    known = {"size", "without_transformer", "start"}
    if not isinstance(values, dict) or set(values) - known:
        raise SettingsError(f"net is {values!r}, expected some of {', '.join(sorted(known))}")
    size, start = values.get("size", "small"), values.get("start") or "none"
    plain = values.get("without_transformer", False)
    if size not in SIZES or not isinstance(start, str) or not isinstance(plain, bool):
        raise SettingsError(
            f"net is {values!r}, expected size: {' | '.join(SIZES)}, without_transformer: true | "
            "false, start: FILE | none"
        )
    net = HdrmNet(SIZES[size], without_transformer=plain)
    if start != "none":
        load_weights(net, Path(start))
    return net


def make_shpe(values: dict[str, Any]) -> nn.Module:
    """Make a SHPE to be trained.

    Args:
        values: ``size``: ``small`` or ``paper``. ``start``: ``landmark``, the shipped landmark net
            under new heads (the default of the small size); ``none``; or the weights of a trained
            net of this size. ``freeze``: names of parts that stay as they start; the landmark net
            within the small size always does.

    Raises:
        SettingsError: A key or a value is unknown, or a part.
        WeightsError: The start is missing or damaged, or does not fit.
    """
    known = {"size", "start", "freeze"}
    if not isinstance(values, dict) or set(values) - known:
        raise SettingsError(f"net is {values!r}, expected some of {', '.join(sorted(known))}")
    size = values.get("size", "small")
    if size not in ("small", "paper"):
        raise SettingsError(f"net.size is {size!r}, expected small or paper")
    start = values.get("start") or ("landmark" if size == "small" else "none")
    if not isinstance(start, str) or (size == "paper" and start == "landmark"):
        raise SettingsError(
            f"net is {values!r}; start is a file, none or, for the small size, landmark"
        )
    net: nn.Module = DetNet()
    if size == "small" and start not in ("landmark", "none"):
        net = small_shpe(Path(start))
    elif size == "small":
        landmark = LandmarkNet()
        if start == "landmark":
            load_weights(landmark, weights_path("landmark"))
        net = DetNetSmall(landmark)
    elif start != "none":
        load_weights(net, Path(start))
    if size == "small":
        freeze(net, list(DetNetSmall.LANDMARK_PARTS))
    freeze(net, values.get("freeze") or [])
    return net


def make_refine(values: dict[str, Any]) -> nn.Module:
    """Make a refiner to be trained.

    Args:
        values: ``kind``: ``deformer``, ``gru`` or ``tcmr``; ``size``: ``small`` or ``paper``;
            ``one_hand``: each hand by itself; ``no_fusion``: each frame by itself; ``start``: the
            weights of a trained net of this form, windows of any length, or ``none``.

    Raises:
        SettingsError: A key or a value is unknown.
        WeightsError: The start is missing or damaged, or does not fit.
    """
    known = {"kind", "size", "one_hand", "no_fusion", "start"}
    if not isinstance(values, dict) or set(values) - known:
        raise SettingsError(f"net is {values!r}, expected some of {', '.join(sorted(known))}")
    start = values.get("start") or "none"
    if not isinstance(start, str):
        raise SettingsError(f"net.start is {start!r}, expected a file or none")
    form = RefineForm(**{name: value for name, value in values.items() if name != "start"})
    net = form.make()
    if start != "none":
        begun = refiner_form(Path(start))
        if begun is not None and begun.with_frames(form.frames) != form:
            raise WeightsError(
                f"weights {start} are of {begun}, expected {form}, windows of any length; name "
                "other weights, or start: none"
            )
        load_weights(net, Path(start))
    return net


def make_memory(values: dict[str, Any]) -> MemoryNet:
    """Make the memory of a small HDRM to be trained; HDRM itself stays as it is.

    Args:
        values: ``painter``: ``shipped``, or the weights of an HDRM of the small size; ``start``:
            the weights of a trained memory, or ``none``.

    Raises:
        SettingsError: A key or a value is unknown.
        WeightsError: The start or the painter is missing or damaged, or does not fit.
    """
    known = {"painter", "start"}
    if not isinstance(values, dict) or set(values) - known:
        raise SettingsError(f"net is {values!r}, expected some of {', '.join(sorted(known))}")
    painter, start = values.get("painter") or "shipped", values.get("start") or "none"
    if not isinstance(painter, str) or not isinstance(start, str):
        raise SettingsError(
            f"net is {values!r}, expected painter: FILE | shipped, start: FILE | none"
        )
    hdrm = HdrmNet()
    load_weights(hdrm, weights_path("hdrm") if painter == "shipped" else Path(painter))
    net = memory_net(hdrm, gated=True)
    if start != "none":
        load_weights(net, Path(start), kept=("painter",))
    freeze(net, ["painter"])
    return net


@dataclass(frozen=True)
class _Lesson:
    """How a net is made and taught; ``groups`` are the recipe's parts that are settings."""

    make: Callable[[dict[str, Any]], nn.Module]
    recipe: type[Any]
    groups: Mapping[str, type[Any]]
    task: Callable[..., Task]

    def read_recipe(self, values: dict[str, Any]) -> Any:
        """Build the recipe of a settings file."""
        groups = {
            name: build_settings(kind, values.get(name, {}), f"{name}.")
            for name, kind in self.groups.items()
        }
        plain = {
            f.name: values[f.name]
            for f in fields(self.recipe)
            if f.name in values and f.name not in groups
        }
        return self.recipe(**groups, **plain)


LESSONS: Final[Mapping[str, _Lesson]] = {
    "hasm": _Lesson(make_hasm, HasmRecipe, {"data": HasmData, "views": ViewSettings}, HasmTask),
    "hdrm": _Lesson(
        make_hdrm,
        HdrmRecipe,
        {"data": HdrmData, "crop": HdrmCrops, "weights": PaintWeights},
        HdrmTask,
    ),
    "shpe": _Lesson(
        make_shpe,
        ShpeRecipe,
        {"data": ShpeData, "crops": ShpeCrops, "weights": PoseWeights},
        ShpeTask,
    ),
    "frame": _Lesson(
        make_shpe,
        FrameRecipe,
        {"data": ShpeData, "crops": ShpeCrops, "weights": PoseWeights},
        FrameTask,
    ),
    "refine": _Lesson(
        make_refine,
        RefineRecipe,
        {"data": RefineData, "windows": WindowSettings, "weights": RefineWeights},
        RefineTask,
    ),
    "pcnet_mask": _Lesson(
        make_pcnet_mask,
        PcnetMaskRecipe,
        {"data": PcnetMaskData, "pairs": PairSettings},
        PcnetMaskTask,
    ),
    "pcnet_content": _Lesson(
        make_pcnet_content,
        PcnetContentRecipe,
        {"data": HdrmData, "crop": HdrmCrops, "weights": ContentWeights},
        PcnetContentTask,
    ),
    "human_deocclusion": _Lesson(
        make_human_deocclusion,
        HumanRecipe,
        {"data": HdrmData, "crop": HdrmCrops, "weights": HumanWeights},
        HumanTask,
    ),
    "internet": _Lesson(
        partial(make_pose_rival, "internet"),
        InterRecipe,
        {"data": HasmData, "views": ViewSettings, "weights": InterWeights},
        InterTask,
    ),
    "handoccnet": _Lesson(
        partial(make_pose_rival, "handoccnet"),
        HandOccRecipe,
        {"data": ShpeData, "crops": ShpeCrops, "weights": HandOccWeights},
        HandOccTask,
    ),
    "minimal_hand": _Lesson(
        partial(make_pose_rival, "minimal_hand"),
        MinimalRecipe,
        {"data": ShpeData, "crops": ShpeCrops, "weights": MinimalWeights},
        MinimalTask,
    ),
    "memory": _Lesson(
        make_memory,
        MemoryRecipe,
        {"data": MemoryData, "crop": HdrmCrops, "weights": MemoryWeights},
        MemoryTask,
    ),
}
