"""Real hands for training: single, sure, unhidden hands cut out of any videos.

A clip is annotated as usual; hands that are plainly seen are fitted with the hand model, cut out
(:mod:`hdrvideo.cutout`) and written as a folder of crops (:mod:`hdrvideo.synth.crops`), which
``synth/paste.py`` turns into interacting hands. Every hand that was looked at is accounted for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import torch

from hdrvideo.candidates import Candidate, HarvestRules, select_hands, sharpness
from hdrvideo.config import Settings
from hdrvideo.crop.take import Pyramid, take_crop
from hdrvideo.cutout import Cut, HandCutter
from hdrvideo.datatypes import F32, U8, Bool, Frame
from hdrvideo.errors import HdrVideoError, SettingsError, TrackError, WriteError
from hdrvideo.hand import SIDES
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.crops import CROP_PX, HandCrop, save_crop
from hdrvideo.track import PoseTrack, concatenate

# Why a hand that was looked at was not kept, in the order of the questions.
REASONS: Final = (
    "bridged",
    "not sure",
    "too small",
    "at the border",
    "moving fast",
    "other hand near",
    "no room",
    "blurred",
    "seen before",
    "over the limit",
    "no good fit",
    "partly hidden",
    "mask disagrees",
    "background alike",
    "mask at the edge",
)
BATCH: Final = 16
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class HarvestCounts:
    """What became of the hands; they add up.

    Attributes:
        looked_at: Hands in the frames that were looked at.
        kept: Crops written.
        rejected: Number by reason, for all of :data:`REASONS`.
        failed: One line for every clip that could not be used.
    """

    looked_at: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    failed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kept + sum(self.rejected.values()) != self.looked_at:
            raise TrackError(
                f"harvest does not add up: {self.kept} kept + {sum(self.rejected.values())} "
                f"rejected is not {self.looked_at} looked at; please report this clip"
            )

    def __add__(self, other: "HarvestCounts") -> "HarvestCounts":
        return HarvestCounts(
            looked_at=self.looked_at + other.looked_at,
            kept=self.kept + other.kept,
            rejected={name: self.rejected[name] + other.rejected[name] for name in REASONS},
            failed=self.failed + other.failed,
        )


def harvest_to(
    clips: Sequence[Path | str],
    out: Path,
    *,
    licence: str,
    every: int = 5,
    max_per_clip: int = 100,
    rules: HarvestRules | None = None,
    settings: Settings | None = None,
    device: str = "auto",
    on_progress: Progress = lambda clip, n: None,
) -> HarvestCounts:
    """Cut hands out of clips into a folder of crops.

    A clip that cannot be used is noted in ``failed`` and the others are still done.

    Args:
        clips: Video files, folders of pictures, or glob patterns; a clip's name decides its split,
            so clips of one person should not be spread over names of both.
        out: Folder, made if it is not there; crops of other clips in it stay.
        licence: Of the clips, written beside every crop.
        every: Look at every so many frames.
        max_per_clip: Keep at most so many hands of a clip.
        rules: Which hands are good enough; None = the defaults.
        settings: Of the annotation, such as ``mirror`` for selfie videos; None = the defaults.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_progress: Called with the clip's name and the frames read so far.

    Raises:
        SettingsError: ``licence`` is empty, a number is below 1, or there is no clip.
        WriteError: The folder cannot be made or holds crops of one of these clips.
    """
    # Reading videos needs libraries that choosing and cutting do not.
    from hdrvideo.build import build_parts, pick_device
    from hdrvideo.clip import open_clip
    from hdrvideo.jobs import clip_stem
    from hdrvideo.pipeline import pose_windows

    if not licence.strip():
        raise SettingsError("licence is empty; say under what terms the clips may be used")
    if min(every, max_per_clip, len(clips)) < 1:
        raise SettingsError(
            f"every is {every}, max_per_clip {max_per_clip}, clips {len(clips)}; expected at "
            "least 1 each"
        )
    rules, settings = rules or HarvestRules(), settings or Settings()
    _make_folder(out, [clip_stem(clip) for clip in clips])
    parts = build_parts(settings, pick_device(device))
    cutter = HandCutter(parts.device)
    counts = HarvestCounts()
    for clip in clips:
        name = clip_stem(clip)
        try:
            with open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader:
                frames = _counted(reader, partial(on_progress, name))
                windows = pose_windows(frames, reader.info, settings, parts)
                track = concatenate([window for window, _ in windows])
            picker = HandPicker(track, cutter, rules, every=every, limit=max_per_clip)
            with open_clip(clip, image_rate=Fraction(settings.image_rate)) as reader:
                for candidate, crop in picker(reader):
                    frame = int(track.frame_index[candidate.row])
                    stem = f"{name}_{frame:06d}_{SIDES[candidate.side]}"
                    save_crop(crop, out, stem, frame=frame, licence=licence)
            counts += picker.counts
        except HdrVideoError as error:
            counts += HarvestCounts(failed=(f"{clip}: {error}",))
    return counts


def _counted(frames: Iterable[Frame], on_progress: Callable[[int], None]) -> Iterator[Frame]:
    for n, frame in enumerate(frames, start=1):
        yield frame
        on_progress(n)


def _make_folder(out: Path, names: Sequence[str]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = [path.stem for path in out.glob("[!.]*.json")]
    except OSError as error:
        raise WriteError(
            f"folder {out} cannot be made ({error.strerror}); choose another"
        ) from error
    for name in names:
        if any(stem.rsplit("_", 2)[0] == name for stem in there):
            raise WriteError(f"{out} already holds hands of {name}; choose another folder")


class HandPicker:
    """Picks the good hands of one clip, picture by picture.

    Attributes:
        candidates: What the track alone does not speak against.
    """

    def __init__(
        self, track: PoseTrack, cutter: HandCutter, rules: HarvestRules, *, every: int, limit: int
    ) -> None:
        """Choose by the track; see :func:`select_hands`.

        Args:
            track: The clip's.
            cutter: Fits and cuts out.
            rules: What is good enough.
            every: Look at every so many rows.
            limit: Keep at most so many.
        """
        self.candidates, self._rejected = select_hands(track, every=every, rules=rules)
        self._track, self._cutter, self._rules, self._limit = track, cutter, rules, limit
        self._n_kept = 0
        self._taken: tuple[list[F32], list[F32]] = ([], [])

    @property
    def counts(self) -> HarvestCounts:
        """What has become of the hands so far."""
        looked_at = self._n_kept + sum(self._rejected.values())
        return HarvestCounts(looked_at, self._n_kept, {r: self._rejected[r] for r in REASONS})

    def __call__(self, frames: Iterable[Frame]) -> Iterator[tuple[Candidate, HandCrop]]:
        """Go through the clip's frames in order and give the hands that are kept."""
        by_row = {row: list(group) for row, group in groupby(self.candidates, lambda c: c.row)}
        first = int(self._track.frame_index[0]) if len(self._track) else 0
        waiting: list[tuple[Candidate, U8]] = []
        for frame in frames:
            for candidate in by_row.pop(frame.index - first, ()):
                if waiting and len(waiting) >= min(BATCH, self._limit - self._n_kept):
                    yield from self._cut(waiting)
                    waiting = []
                if self._n_kept >= self._limit:
                    self._rejected["over the limit"] += 1
                    continue
                picture = self._look(candidate, frame, waiting)
                if picture is not None:
                    waiting.append((candidate, picture))
        if waiting:
            yield from self._cut(waiting)
        missing = sum(len(left) for left in by_row.values())
        if missing:
            raise TrackError(
                f"{missing} hands lie behind the clip's end; give the track's own clip"
            )

    def _look(
        self, candidate: Candidate, frame: Frame, waiting: Sequence[tuple[Candidate, U8]]
    ) -> U8 | None:
        """Take the crop, unless it is blurred or like another that is kept or may be."""
        if frame.rgb_u8 is None:
            raise TrackError(f"frame {frame.index} is lost but has a hand; give the track's clip")
        picture = take_crop(Pyramid(frame.rgb_u8), candidate.crop_square, CROP_PX, replicate=True)
        uv_px = self._track.raw_uv_px[candidate.row, candidate.side]
        if sharpness(picture, candidate.in_crop(uv_px)) < self._rules.min_sharpness:
            self._rejected["blurred"] += 1
            return None
        longer = (uv_px.max(axis=0) - uv_px.min(axis=0)).max()
        side, raw_px = candidate.side, self._track.raw_uv_px
        taken = self._taken[side] + [raw_px[c.row, side] for c, _ in waiting if c.side == side]
        moved = [np.linalg.norm(uv_px - old, axis=1).mean() / longer for old in taken]
        if min(moved, default=np.inf) < self._rules.min_change:
            self._rejected["seen before"] += 1
            return None
        return picture

    def _cut(self, waiting: Sequence[tuple[Candidate, U8]]) -> Iterator[tuple[Candidate, HandCrop]]:
        track, rows = self._track, [c.row for c, _ in waiting]
        sides = np.array([c.side for c, _ in waiting])
        shown = 1 - sides if track.meta.settings.get("mirror") else sides
        uv_px = np.stack([c.in_crop(track.raw_uv_px[c.row, c.side]) for c, _ in waiting])
        cuts = self._cutter(
            [picture for _, picture in waiting],
            uv_px=uv_px,
            xyz_mm=track.raw_xyz_cam_mm[rows, sides],
            k_px=np.stack([c.camera(track.meta.camera) for c, _ in waiting]),
            side=shown,
            source_px=[1 / c.step for c, _ in waiting],
        )
        for n, ((candidate, picture), cut) in enumerate(zip(waiting, cuts, strict=True)):
            inside = candidate.inside(track.meta.width, track.meta.height)
            objection = judge_cut(cut, self._rules, inside)
            if objection:
                self._rejected[objection] += 1
                continue
            self._n_kept += 1
            self._taken[candidate.side].append(track.raw_uv_px[candidate.row, candidate.side])
            yield (
                candidate,
                HandCrop(
                    rgb=torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1),
                    mask=torch.from_numpy(cut.mask),
                    side=int(shown[n]),
                    source=track.meta.clip,
                    split=split_of("harvest", track.meta.clip),
                    uv_px=torch.from_numpy(uv_px[n]),
                    confidence=torch.from_numpy(track.confidence[candidate.row, candidate.side]),
                ),
            )


def judge_cut(cut: Cut, rules: HarvestRules, inside: Bool) -> str:
    """Say what speaks against a cut-out hand; empty if nothing.

    Args:
        cut: The hand.
        rules: What is good enough.
        inside: ``(R, R)`` bool, where the mask may lie.
    """
    if not cut.fit_px <= rules.max_fit_px:
        return "no good fit"
    if not cut.covered >= rules.min_covered:
        return "partly hidden"
    if not cut.iou >= rules.min_mask_iou or cut.outside_px > rules.max_outside_px:
        return "mask disagrees"
    if cut.alike > rules.max_alike and cut.iou < rules.sure_iou:
        return "background alike"
    return "mask at the edge" if (cut.mask & ~inside).any() else ""
