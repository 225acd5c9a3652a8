"""The frame-level core on a data set's pictures, hands given: what ``validate set`` does.

Each hand is read from one square round its true joints, as tracking takes it, by SHPE and the
landmark net as ``annotate`` joins them; nothing is painted, no hand is searched, no time is known.
Where a set does not say which hand it shows, the landmark net's own word is taken. A hand of which
fewer than two joints are labelled is read from the box that the set gives; so is all of HO-3D's
evaluation, whose truth the server keeps. What was read is scored plainly and under the set's own
protocols.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.alignment import wrist_aligned
from hdrvideo.build import build_rival, build_shpe, pick_device
from hdrvideo.config import Settings, check_number
from hdrvideo.crop.take import Pyramid, take_hands
from hdrvideo.datatypes import N_JOINTS, N_SIDES, HandPoses
from hdrvideo.engine import pick_engine
from hdrvideo.errors import SettingsError, WriteError
from hdrvideo.files import whole_file
from hdrvideo.frame.lift import lift_pairs
from hdrvideo.frame.stage import FrameStage, Shpe
from hdrvideo.geometry import square_from_pose
from hdrvideo.hand import LEFT, WRIST, palm_length
from hdrvideo.output.save import save_summary
from hdrvideo.sets.base import HandSet
from hdrvideo.sets.guess import hand_in_box, whole_uv_px
from hdrvideo.sets.registry import JOINT_SETS, open_set
from hdrvideo.sets.sample import SetSample
from hdrvideo.validate.match import palm_length_px
from hdrvideo.validate.set_protocols import score_protocols
from hdrvideo.validate.set_scores import SetPredictions, SetScore, score_set, scores_table
from hdrvideo.validate.set_submission import submission_name, write_submission

OnProgress = Callable[[int], None]

PREDICTIONS: Final = "predictions.npz"
_FILES: Final = (PREDICTIONS, "scores.md", "scores.json", "protocols.md", "protocols.json")
_MIN_KNOWN: Final = 2
_GIVEN: Final = (
    "Hands were given: each was read in a square round its true joints (round the set's box where "
    "those are secret or not labelled), turned by them, its side told where the set tells it. "
    "Published systems mostly had upright boxes, so numbers beside ours are not on the same terms."
)


def validate_set(
    name: str,
    folder: Path,
    out: Path,
    *,
    split: str | None = None,
    part: str = "all",
    limit: int | None = None,
    only_there: bool = False,
    settings: Settings | None = None,
    weights: Path | None = None,
    rival: tuple[str, Path] | None = None,
    rival_size: str = "small",
    method: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    on_progress: OnProgress = lambda n: None,
) -> list[SetScore]:
    """Read a set's split, write predictions beside labels, and score them.

    Args:
        name: Of the set.
        folder: Of the set; see ``docs/datasets.md``.
        out: Folder for ``predictions.npz``, ``scores.json`` and ``scores.md`` (plain scores),
            ``protocols.json`` and ``protocols.md`` (the field's), and, of HO-3D's and DexYCB's
            splits that are scored, the file for the server.
        split: One of the set's; None = the one that is scored.
        part: Of InterHand2.6M.
        limit: Read so many samples, evenly spread over the split; None = all.
        only_there: Leave out samples that lack a file.
        settings: Which nets; None = the usual ones.
        weights: Of our own SHPE; None = those that are shipped.
        rival: Name and weights of a net to read with in SHPE's place, from the same squares; see
            :func:`hdrvideo.build.build_rival`.
        rival_size: ``small`` or ``paper``.
        method: What to call the system in ``protocols.*``; None = ``hdrvideo``, or the rival.
        device: ``auto``, ``cpu`` or ``cuda``.
        overwrite: Replace files that are there.
        on_progress: Called with the number of samples done.

    Raises:
        SettingsError: There is no such set, split, part or rival, the set has no joints, or both
            a rival and weights are given.
        DataError: Files of the set are missing or broken.
        WeightsError: The weights do not fit.
        WriteError: A file exists, or cannot be written.
    """
    if name not in JOINT_SETS:
        raise SettingsError(f"data set is {name!r}, expected one of {', '.join(JOINT_SETS)}")
    if limit is not None:
        check_number("--limit", limit, 1, 1_000_000_000, whole=True)
    if rival is not None and weights is not None:
        raise SettingsError("a rival and weights of our own SHPE are given; leave one out")
    data = open_set(name, folder, split, part=part, only_there=only_there)
    _refuse_taken(out, [*_FILES, submission_name(name, data.split)], overwrite=overwrite)
    settings, on = settings or Settings(), pick_device(device)
    shpe: Shpe
    if rival is None:
        shpe = build_shpe(settings, pick_engine(settings.engine, on), on, weights)
    else:
        engine = pick_engine(settings.engine, on)
        shpe = build_rival(*rival, size=rival_size, device=on, engine=engine)
    told = data.split if part == "all" else f"{data.split} {part}"
    found = read_set(data, FrameStage(shpe=shpe, device=on), told, limit, on_progress)
    head = {
        **{"set": name, "split": told, "samples": len(found), "samples_in_split": len(data)},
        **{"settings": settings.to_json(), "weights": None if weights is None else str(weights)},
        "rival": None if rival is None else [rival[0], rival_size, str(rival[1])],
    }
    usual = "hdrvideo" if rival is None else f"{rival[0]}, {rival_size}"
    return _write(found, data, out, head, method=method or usual, overwrite=overwrite)


def _refuse_taken(out: Path, names: Sequence[str | None], *, overwrite: bool) -> None:
    """Refuse a folder with results before hours are spent on new ones."""
    taken = [name for name in names if name is not None and (out / name).exists()]
    if taken and not overwrite:
        raise WriteError(
            f"{out} holds {taken[0]} of an earlier run; pass --overwrite to replace it, or -o for "
            "another place"
        )


def _write(
    found: SetPredictions,
    data: HandSet,
    out: Path,
    head: dict[str, Any],
    *,
    method: str,
    overwrite: bool,
) -> list[SetScore]:
    """Write predictions, then all that is counted from them."""
    scores = score_set(found)
    out.mkdir(parents=True, exist_ok=True)
    found.save(out / PREDICTIONS, overwrite=overwrite)
    with whole_file(out / "scores.md", overwrite=overwrite) as partial:
        partial.write_text(scores_table(scores), encoding="utf-8")
    summary = {**head, "scores": [asdict(score) for score in scores]}
    save_summary(out / "scores.json", summary, overwrite=overwrite)
    is_whole = data.is_whole and len(found) == len(data)
    # A number of a part of the split must not look like the split's.
    split = data.protocol_split + ("" if is_whole else f"_{len(found)}_samples")
    notes = [_GIVEN]
    if not is_whole:
        notes.append("A part of the split was read; no published number is of it.")
    if submission_name(found.source, data.split) is not None:
        n = len(data) if data.is_whole else None
        notes.append(write_submission(found, out, n_samples=n, overwrite=overwrite))
    protocols = replace(score_protocols(found, split, method=method), notes=tuple(notes))
    title = f"{method} on {found.source}, {found.split}, samples: {len(found)}"
    protocols.write(out, title, head, overwrite=overwrite)
    return scores


def read_set(
    data: HandSet,
    stage: FrameStage,
    split: str,
    limit: int | None = None,
    on_progress: OnProgress = lambda n: None,
) -> SetPredictions:
    """Read the labelled hands of a set.

    Args:
        data: The set.
        stage: Reads crops.
        split: What to call the split.
        limit: Read so many samples, evenly spread; None = all.
        on_progress: Called with the number of samples done.

    Raises:
        DataError: A picture or a label file is missing or broken.
    """
    n = len(data) if limit is None else min(limit, len(data))
    rows: list[dict[str, Any]] = []
    for place in range(n):
        rows.append(_row(data[place * len(data) // n], stage, in_box=data.looks_in_box))
        on_progress(place + 1)
    arrays = {key: np.stack([np.asarray(row[key]) for row in rows]) for key in rows[0]}
    return SetPredictions(source=data.NAME, split=split, **arrays)


def _row(sample: SetSample, stage: FrameStage, *, in_box: bool) -> dict[str, Any]:
    """Read a sample's hands; gives its row of :class:`SetPredictions`."""
    true_px = _places(sample, in_box=in_box)
    sides = list(true_px)
    read = {
        "uv_px": np.full((N_SIDES, N_JOINTS, 2), np.nan, np.float32),
        "xyz_rel_mm": np.full((N_SIDES, N_JOINTS, 3), np.nan, np.float32),
        "confidence": np.full((N_SIDES, N_JOINTS), np.nan, np.float32),
    }
    if sides:
        poses = _read_hands(sample, true_px, stage)
        read["uv_px"][sides] = poses.uv_px + poses.refine_px
        read["xyz_rel_mm"][sides] = wrist_aligned(poses.xyz_mm)
        read["confidence"][sides] = poses.confidence
    return {
        **{"names": sample.name, "subject": sample.subject, "sequence": sample.sequence},
        **{"camera": sample.camera, "present": sample.present},
        "frame": np.nan if sample.frame is None else float(sample.frame),
        "read": np.isin(np.arange(N_SIDES), sides),
        **{"valid_uv": sample.valid_uv, "valid_xyz": sample.valid_xyz},
        "true_uv_px": sample.uv_px.astype(np.float32),
        "true_xyz_cam_mm": sample.xyz_cam_mm.astype(np.float32),
        **read,
        "xyz_cam_mm": _in_camera(sample, read).astype(np.float32),
        "palm_px": _palms_px(sample, true_px).astype(np.float32),
        "k_px": np.full((3, 3), np.nan) if sample.k_px is None else sample.k_px,
    }


def _places(sample: SetSample, *, in_box: bool) -> dict[int, NDArray[np.float64]]:
    """Give where to look for hands: their joints ``(21, 2)`` by side, guessed in part or whole."""
    known = sample.valid_uv.copy()
    if sample.k_px is not None:
        known |= sample.valid_xyz
    labelled = np.asarray((sample.valid_uv | sample.valid_xyz).any(axis=1))
    places: dict[int, NDArray[np.float64]] = {}
    for side in range(N_SIDES):
        if known[side].sum() >= _MIN_KNOWN and not in_box:
            places[side] = whole_uv_px(sample, side)
        elif labelled[side] and sample.box_uvuv_px is not None:
            wrist_px = sample.uv_px[side, WRIST] if sample.valid_uv[side, WRIST] else None
            places[side] = hand_in_box(sample.box_uvuv_px, side, wrist_px)
    return places


def _read_hands(
    sample: SetSample, true_px: dict[int, NDArray[np.float64]], stage: FrameStage
) -> HandPoses:
    """Read hands from squares round their joints, by side."""
    pyramid = Pyramid(sample.rgb_u8())

    def read(mirrors: list[bool]) -> HandPoses:
        squares = [
            square_from_pose(uv_px, mirror=mirror)
            for uv_px, mirror in zip(true_px.values(), mirrors, strict=True)
        ]
        return stage(take_hands(pyramid, squares, stage.resolution_px))

    poses = read([side == LEFT for side in true_px])
    if not sample.side_told and poses.right_score[0] < 0.5:
        return read([True])
    return poses


def _in_camera(sample: SetSample, read: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Put the hands that were read into the picture's camera, NaN where that is not known."""
    if sample.pinhole is None:
        return np.full((N_SIDES, N_JOINTS, 3), np.nan)
    uv_px, xyz_mm, confidence = (
        read[name][None].astype(np.float64) for name in ("uv_px", "xyz_rel_mm", "confidence")
    )
    return np.asarray(lift_pairs(uv_px, xyz_mm, sample.pinhole, confidence=confidence)[0])


def _palms_px(sample: SetSample, true_px: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Give the lengths of the true palms ``(2,)``; NaN where a hand was not read."""
    palms = np.full(N_SIDES, np.nan)
    if sample.k_px is not None:
        palms = palm_length_px(sample.xyz_cam_mm[None], sample.k_px[None])[0]
    for side, uv_px in true_px.items():
        if not np.isfinite(palms[side]):
            palms[side] = float(palm_length(uv_px))
    return palms
