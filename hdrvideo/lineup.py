"""Who is in a comparison: our stages and their rivals, with what each is told, knows and costs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from hdrvideo.build import build_hasm, build_hdrm, build_rival, build_shpe
from hdrvideo.build_rivals import (
    RIVALS,
    SIZES,
    build_mask_rival,
    build_paint_rival,
    build_pair_rival,
    own_cost,
    rival_cost,
)
from hdrvideo.checkpoint import read_note
from hdrvideo.config import Settings
from hdrvideo.contenders import (
    CompletedMasks,
    CropPose,
    HasmMasks,
    NetPaint,
    NoPaint,
    PairPose,
    PlainMasks,
    TeleaPaint,
    as_seen,
    hull_of,
)
from hdrvideo.datatypes import N_SIDES
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hasm import HandMasks
from hdrvideo.frame.stage import FrameStage
from hdrvideo.validate.comparison import MASKS, OURS, PAINTING, PLAIN, POSE, RIVAL, Entrant

OUR_NETS: Final = ("shpe", "hasm", "hdrm")
TITLES: Final = {
    "internet": "InterNet",
    "handoccnet": "HandOccNet",
    "minimal_hand": "minimal-hand",
    "pcnet_mask": "PCNet-M",
    "pcnet_content": "PCNet-C",
    "human_deocclusion": "Human De-occlusion",
}
SHIPPED: Final = "shipped"
_ENGINE: Final = "torch"
_CROP: Final = "one hand's crop"
_PAIR: Final = "a picture of both hands"
_MASKED: Final = "one hand's crop, true masks"
_PICTURE: Final = "the picture alone"
_TRUE_SEEN: Final = "true visible masks"
_TRUE_SEEN_RGB: Final = "the picture, true visible masks"
_TOLD: Final = "told what is seen"
_FOUND: Final = "picture alone"
_FOUND_GIVEN: Final = "picture alone, given weights"
_HASM_SEEN: Final = "HASM's visible masks"
# Gaps remain between predicted masks; see PCNet-M.
_PREDICTED_GAP: Final = 3


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, and what is known of it.

    Attributes:
        path: The file.
        trained_on: In words; empty = not known.
        size: ``small`` or ``paper``.
    """

    path: Path
    trained_on: str
    size: str

    @property
    def label(self) -> str:
        """Folder and name."""
        return "/".join(self.path.parts[-2:])


@dataclass(frozen=True)
class Contender:
    """A row of the table and what answers for it; None = it has no weights and is only named."""

    entrant: Entrant
    runner: Any


def weights_file(path: Path) -> WeightsFile:
    """Read what a file of weights, and ``settings.json`` of its run beside it, say of it.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    step = read_note(path, "step")
    try:
        told = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))
        made, batch = dict(told["task"]["made_as"]), told["task"].get("batch")
        steps = told.get("loop", {}).get("steps")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        made, batch, steps = {}, None, None
    words = ""
    if isinstance(step, int):
        words = f"{step} steps"
        if isinstance(batch, int) and isinstance(steps, int):
            words = f"{steps * batch} pictures ({steps} steps of {batch})"
            words += "" if step == steps else f", best at step {step}"
        begun = [str(made[key]) for key in ("start", "trunk") if made.get(key, "none") != "none"]
        words += "".join(f", begun with {Path(name).stem}" for name in begun)
    size = made.get("size")
    return WeightsFile(path, words, size if size in SIZES else "small")


def line_up(
    rivals: Mapping[str, Path], ours: Mapping[str, Path], device: torch.device
) -> list[Contender]:
    """Build everyone who is in, stage by stage; of a stage ours come first.

    Args:
        rivals: Weights by the names of :data:`hdrvideo.build_rivals.RIVALS`; the others are named
            without being run.
        ours: Weights of ours that are compared beside those that are shipped, by
            :data:`OUR_NETS`.
        device: Where the nets run, by plain torch.

    Raises:
        SettingsError: A name is not known.
        WeightsError: Weights are missing or damaged, or do not fit.
    """
    for names, known, what in ((rivals, RIVALS, "--rival"), (ours, OUR_NETS, "--ours")):
        for name in names:
            if name not in known:
                raise SettingsError(f"{what} is {name!r}, expected one of {', '.join(known)}")
    own = {name: weights_file(path) for name, path in ours.items()}
    other = {name: weights_file(path) for name, path in rivals.items()}
    return [
        *_pose(own, device),
        *(_pose_rival(name, other.get(name), device) for name in _in(POSE)),
        *_masks(own, device, other),
        *_painting(own, device),
        *(_paint_rival(name, other.get(name), device) for name in _in(PAINTING)),
        _plain(PAINTING, "OpenCV, Telea", _MASKED, TeleaPaint()),
        _plain(PAINTING, "nothing painted", _CROP, NoPaint()),
    ]


def _in(stage: str) -> list[str]:
    return [name for name, stages in RIVALS.items() if stage in stages]


def _ours(stage: str, name: str, given: str, net: str, weights: WeightsFile | None) -> Entrant:
    cost = own_cost(net)
    return Entrant(
        *(stage, name if weights is None else f"{name}, given weights", OURS, given),
        weights=SHIPPED if weights is None else weights.label,
        trained_on="" if weights is None else weights.trained_on,
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
    )


def _shipped_and(own: Mapping[str, WeightsFile], net: str) -> list[WeightsFile | None]:
    """Give None for the shipped weights of a net of ours, and those that were given beside."""
    return [None, own[net]] if net in own else [None]


def _path(weights: WeightsFile | None) -> Path | None:
    return None if weights is None else weights.path


def _plain(stage: str, name: str, given: str, runner: Any, terms: str = "") -> Contender:
    return Contender(Entrant(stage, name, PLAIN, given, "none", terms=(terms,)), runner)


def _both(entrant: Entrant, painter: str) -> Entrant:
    """Give an entrant another net's parameters and multiply-adds in addition to its own."""
    cost = own_cost(painter)
    assert entrant.parameters is not None
    assert entrant.multiply_adds is not None
    return replace(
        entrant,
        parameters=entrant.parameters + cost.parameters,
        multiply_adds=entrant.multiply_adds + cost.multiply_adds,
    )


def _pose(own: Mapping[str, WeightsFile], device: torch.device) -> list[Contender]:
    def reader(uv: str, xyz: str, path: Path | None = None) -> FrameStage:
        settings = Settings(shpe_2d=uv, shpe_3d=xyz)
        return FrameStage(shpe=build_shpe(settings, _ENGINE, device, path), device=device)

    def row(name: str, given: str, net: str, weights: WeightsFile | None = None) -> Entrant:
        return _ours(POSE, name, given, net, weights)

    joined = reader("mean", "own")
    hdrvideo = replace(row("hdrvideo: SHPE and landmark", _CROP, "shpe"), is_reference=True)
    painted = _both(row("hdrvideo, HDRM paints first", _MASKED, "shpe"), "hdrm")
    found = [
        Contender(hdrvideo, CropPose(joined)),
        Contender(painted, CropPose(joined, build_hdrm(_ENGINE, device))),
        Contender(row("SHPE alone", _CROP, "shpe"), CropPose(reader("own", "own"))),
    ]
    if "shpe" in own:
        entrant = replace(row("SHPE alone", _CROP, "shpe", own["shpe"]), is_reference=True)
        found.append(Contender(entrant, CropPose(reader("own", "own", own["shpe"].path))))
    for weights in _shipped_and(own, "hasm"):
        hasm = build_hasm(_ENGINE, device, _path(weights))
        entrant = row("HASM's joints", _PAIR, "hasm", weights)
        entrant = replace(entrant, terms=(_PAIR,), is_reference=True)
        found.append(Contender(entrant, PairPose(hasm, hasm.resolution_px)))
    settings = Settings(shpe="landmark")
    stage = FrameStage(shpe=build_shpe(settings, _ENGINE, device), device=device)
    landmark = row("landmark net alone (MediaPipe's)", _CROP, "landmark")
    return [*found, Contender(replace(landmark, kind=PLAIN), CropPose(stage))]


def _rival(name: str, stage: str, given: str, weights: WeightsFile | None) -> Entrant:
    cost = rival_cost(name, stage, "small" if weights is None else weights.size)
    return Entrant(
        *(stage, TITLES[name], RIVAL, given),
        weights="not given" if weights is None else weights.label,
        trained_on="" if weights is None else weights.trained_on,
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
    )


def _pose_rival(name: str, weights: WeightsFile | None, device: torch.device) -> Contender:
    entrant = _rival(name, POSE, _PAIR if name == "internet" else _CROP, weights)
    if name == "internet":
        # Beside the one that sees what it sees, and beside those that are given more.
        entrant = replace(entrant, terms=(_PAIR, ""))
    if weights is None:
        return Contender(entrant, None)
    if name == "internet":
        pair = build_pair_rival(weights.path, size=weights.size, device=device)
        return Contender(entrant, PairPose(pair, pair.resolution_px))
    shpe = build_rival(name, weights.path, size=weights.size, device=device, hands_given=True)
    return Contender(entrant, CropPose(FrameStage(shpe=shpe, device=device)))


def _masks(
    own: Mapping[str, WeightsFile], device: torch.device, rivals: Mapping[str, WeightsFile]
) -> list[Contender]:
    found = []
    alone: HasmMasks | None = None
    behind, behind_terms = _HASM_SEEN, _FOUND
    for weights in _shipped_and(own, "hasm"):
        hasm = build_hasm(_ENGINE, device, _path(weights))
        for told in (True, False):
            name = "HASM, told what is seen" if told else "HASM, picture alone"
            entrant = _ours(MASKS, name, _TRUE_SEEN_RGB if told else _PICTURE, "hasm", weights)
            runner = HasmMasks(hasm, told=told)
            terms: tuple[str, ...] = (_TOLD if told else _FOUND,)
            if not told:
                alone = runner
                if weights is not None:
                    # What stands behind HASM stands behind these, and is compared with these.
                    behind, behind_terms = f"given {_HASM_SEEN}", _FOUND_GIVEN
                    terms = (_FOUND, _FOUND_GIVEN)
            found.append(Contender(replace(entrant, terms=terms, is_reference=True), runner))
    for name in _in(MASKS):
        for source, given, term in (
            (None, _TRUE_SEEN, _TOLD),
            (alone, behind, behind_terms),
        ):
            rival = _mask_rival(name, rivals.get(name), source, given, device)
            found.append(replace(rival, entrant=replace(rival.entrant, terms=(term,))))
    return [
        *found,
        _plain(MASKS, "what is seen, as it is", _TRUE_SEEN, PlainMasks(as_seen), _TOLD),
        _plain(MASKS, "convex hull of what is seen", _TRUE_SEEN, PlainMasks(hull_of), _TOLD),
    ]


def _mask_rival(
    name: str,
    weights: WeightsFile | None,
    source: HasmMasks | None,
    given: str,
    device: torch.device,
) -> Contender:
    if name == "human_deocclusion":
        given = f"the picture, {given}"
    entrant = _rival(name, MASKS, given, weights)
    # Both hands are completed.
    entrant = replace(entrant, multiply_adds=N_SIDES * (entrant.multiply_adds or 0))
    if source is not None:
        entrant = replace(entrant, name=f"{entrant.name} after HASM")
    if weights is None:
        return Contender(entrant, None)
    gap = 1 if source is None else _PREDICTED_GAP
    net: Any = build_mask_rival(
        name, weights.path, size=weights.size, device=device, gap_kernel=gap
    )

    def complete(rgb: Tensor, seen: Tensor) -> HandMasks:
        if name == "human_deocclusion":
            said: HandMasks = net(rgb, seen)
            return said
        return cast(HandMasks, net(seen).masks)

    return Contender(entrant, CompletedMasks(complete, source))


def _painting(own: Mapping[str, WeightsFile], device: torch.device) -> list[Contender]:
    found = []
    for weights in _shipped_and(own, "hdrm"):
        entrant = replace(_ours(PAINTING, "HDRM", _MASKED, "hdrm", weights), is_reference=True)
        painter = build_hdrm(_ENGINE, device, _path(weights))
        found.append(Contender(entrant, NetPaint(painter)))
    return found


def _paint_rival(name: str, weights: WeightsFile | None, device: torch.device) -> Contender:
    entrant = _rival(name, PAINTING, _MASKED, weights)
    if weights is None:
        return Contender(entrant, None)
    painter = build_paint_rival(name, weights.path, size=weights.size, device=device)
    return Contender(entrant, NetPaint(painter))
