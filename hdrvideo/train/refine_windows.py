"""Windows of practice tracks for the refiner: what frames said, and what is true of them.

Everything is as in :mod:`hdrvideo.motion.states`: hands of the hand model, left ones mirrored. The
truth is put into the camera that the track assumes, and into the hand that the states have, the
mean one: the wrist lies on the ray of its true pixel, at the true depth times the ratio of the
focal lengths and that of the mean hand's palm to the true one. One camera cannot tell a small near
hand from a large far one; to ask for it would only spoil the rest.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.config import check_number
from hdrvideo.errors import DataError
from hdrvideo.hand import palm_length
from hdrvideo.handmodel import HandModel, mirror_pose, pose_to_matrices
from hdrvideo.motion.form import MOST_FRAMES
from hdrvideo.motion.states import (
    PALM_MM,
    HandStates,
    StateReader,
    fitted_joints,
    turns_of,
    with_turns,
)
from hdrvideo.rotation import axis_angle_to_matrix, matrix_to_sixd
from hdrvideo.train.practice import PracticeTrack

# A frame that was not seen is asked for when it is no farther in time from one that was.
_GAP_SECONDS: Final = 0.3
_ASTRAY_WEIGHT: Final = 0.25
# A reading farther from the truth than this, in palms, is of the other hand or of none.
_ASTRAY_PALMS: Final = 1.5


@dataclass(frozen=True)
class WindowSettings:
    """How windows are drawn.

    Attributes:
        frames: Frames of a window.
        strides: Every so many-th frame of a clip, drawn evenly.
        turn_deg: The camera is rolled by so much at most.
        zoom: And zoomed by a factor of up to this, in or out.
        unread_share: Part of the windows from scenes that nobody read, if there are any.
        swap_share: Part of the others in which the errors of another window are laid on the truth.
        drop_share: Part of the windows in which a hand is lost for some frames.
        noise: What is said is shaken by so much: of confidence, palms, and centimetres.
    """

    frames: int = 24
    strides: tuple[int, ...] = (1, 1, 2)
    turn_deg: float = 40.0
    zoom: float = 1.3
    unread_share: float = 0.5
    swap_share: float = 0.5
    drop_share: float = 0.2
    noise: float = 0.06

    def __post_init__(self) -> None:
        check_number("frames", self.frames, 2, MOST_FRAMES, whole=True)
        for stride in self.strides:
            check_number("strides", stride, 1, 100, whole=True)
        check_number("turn_deg", self.turn_deg, 0, 180)
        check_number("zoom", self.zoom, 1, 10)
        for name in ("unread_share", "swap_share", "drop_share"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("noise", self.noise, 0, 1)


@dataclass(frozen=True)
class TrueStates:
    """The truth of a track's frames.

    Attributes:
        state: ``(1, 2, T, 99)``; zero where the hand is not there.
        weight: ``(1, 2, T)`` 1 = asked for; less where nothing or something else was read; 0 = not
            there, or too far in time from a reading.
        hidden: ``(1, 2, T)`` hidden share of the hand.
    """

    state: Tensor
    weight: Tensor
    hidden: Tensor

    def frames(self, index: Tensor) -> "TrueStates":
        """Take frames."""
        return TrueStates(
            self.state[:, :, index], self.weight[:, :, index], self.hidden[:, :, index]
        )


@dataclass(frozen=True)
class StudyTrack:
    """A practice track, ready: what was said and what is true, T frames as one window.

    Attributes:
        said: Nothing is seen in a scene that nobody read.
        true: The truth.
        relation: What the clip shows.
    """

    said: HandStates
    true: TrueStates
    relation: str

    def __len__(self) -> int:
        return self.said.seconds.shape[1]


def study(track: PracticeTrack, reader: StateReader) -> StudyTrack:
    """Make a practice track ready."""
    said = reader.read(
        *(track.pts_seconds, track.raw_uv_px, track.raw_xyz_cam_mm),
        *(track.confidence, track.visible, track.k_px),
    )
    return StudyTrack(said, _truth(track, reader.model), track.relation)


def _truth(track: PracticeTrack, model: HandModel) -> TrueStates:
    t = len(track)
    there = np.asarray(track.present & np.isfinite(track.uv_px).all(axis=(2, 3)))
    pose = torch.from_numpy(track.pose.reshape(2 * t, -1, 3))
    turns = pose_to_matrices(pose)
    is_left = torch.arange(2 * t) % 2 == 1
    turns = torch.where(is_left[:, None, None, None], mirror_pose(turns), turns)
    k = track.k_px
    uv_px = np.nan_to_num(track.uv_px)
    rays = (uv_px - k[:2, 2]) / np.array([k[0, 0], k[1, 1]])
    depth_mm = np.nan_to_num(track.xyz_cam_mm[:, :, 0, 2], nan=1000.0).clip(1.0)
    palm_mm = palm_length(np.where(there[..., None, None], track.xyz_cam_mm, 1.0)).clip(1.0)
    own = np.where(there, palm_length(model.joints_mm.numpy()) / palm_mm, 1.0)
    depth_mm = depth_mm * own * float(k[0, 0] / track.true_k_px[0, 0])
    root = np.concatenate([rays[:, :, 0], np.log(depth_mm)[..., None]], axis=-1)
    root[:, 1, 0] *= -1
    state = torch.cat(
        [matrix_to_sixd(turns).reshape(t, 2, -1), torch.from_numpy(root.astype(np.float32))], dim=-1
    )
    weight = _asked_for(track, there, np.linalg.norm(uv_px[:, :, 9] - uv_px[:, :, 0], axis=-1))
    mask = torch.from_numpy(there.astype(np.float32))
    return TrueStates(
        state=(state * mask[..., None]).movedim(0, 1)[None],
        weight=torch.from_numpy(weight.astype(np.float32)).T[None],
        hidden=torch.from_numpy(np.nan_to_num(track.hidden_share)).T[None],
    )


def _asked_for(
    track: PracticeTrack, there: NDArray[np.bool_], palm_px: NDArray[Any]
) -> NDArray[Any]:
    """Say ``(T, 2)`` what hands count: those that are there, and read in place near in time.

    In a scene that nobody read all that are there.
    """
    if not track.provenance.any():
        return there.astype(np.float64)
    off_px = np.linalg.norm(track.raw_uv_px - track.uv_px, axis=-1).mean(axis=-1)
    in_place = there & (np.nan_to_num(off_px, nan=np.inf) < _ASTRAY_PALMS * palm_px + 5)
    near = np.abs(track.pts_seconds[:, None] - track.pts_seconds[None]) <= _GAP_SECONDS
    reached = (near[:, :, None] & in_place[None]).any(axis=1)
    return np.asarray(np.where(in_place, 1.0, _ASTRAY_WEIGHT) * (there & reached))


Batch = dict[str, Tensor]
_SAID: Final = tuple(f"said_{name}" for name in HandStates.__dataclass_fields__)


class Windows:
    """Draws windows of many tracks, each another way."""

    def __init__(self, tracks: list[StudyTrack], settings: WindowSettings, model: HandModel):
        """Sort the tracks.

        Raises:
            DataError: Nobody read any of them.
        """
        self._settings, self._model = settings, model
        self._read = [t for t in tracks if bool(t.said.seen.any())]
        self._unread = [t for t in tracks if not bool(t.said.seen.any())]
        if not self._read:
            raise DataError("no practice track is read; make some with `hdrvideo train tracks`")
        self._alike: dict[str, list[StudyTrack]] = {}
        for track in self._read:
            self._alike.setdefault(track.relation, []).append(track)

    def draw(self, rng: np.random.Generator, n: int) -> Batch:
        """Draw n windows.

        Returns:
            ``said_<field>`` of :class:`HandStates`, ``true_<field>`` of :class:`TrueStates` and
            ``joints_mm`` ``(n, 2, T, 21, 3)`` of the fitted hands.
        """
        settings = self._settings
        own, others, swap = [], [], []
        for _ in range(n):
            is_unread = bool(self._unread) and rng.random() < settings.unread_share
            tracks = self._unread if is_unread else self._read
            track = tracks[int(rng.integers(len(tracks)))]
            alike = self._alike.get(track.relation, self._read)
            own.append(_cut(track, rng, settings))
            others.append(_cut(alike[int(rng.integers(len(alike)))], rng, settings))
            swap.append(is_unread or rng.random() < settings.swap_share)
        said, true = _swap_errors(_stacked(own), _stacked(others), torch.tensor(swap))
        said = _shake(_drop(said, rng, settings.drop_share), rng, settings.noise)
        return as_batch(*_move_camera(said, true, rng, settings), self._model)


Window = tuple[HandStates, TrueStates]


def _stacked(windows: list[Window]) -> Window:
    return HandStates.join([said for said, _ in windows]), _join([true for _, true in windows])


def as_batch(said: HandStates, true: TrueStates, model: HandModel) -> Batch:
    """Name the parts of windows."""
    batch = {f"said_{name}": getattr(said, name) for name in HandStates.__dataclass_fields__}
    batch |= {f"true_{name}": getattr(true, name) for name in TrueStates.__dataclass_fields__}
    return batch | {"joints_mm": fitted_joints(said, model)}


def said_of(batch: Batch) -> HandStates:
    """Take what was said out of a batch."""
    return HandStates(*(batch[name] for name in _SAID))


def true_of(batch: Batch) -> TrueStates:
    """Take the truth out of a batch."""
    return TrueStates(*(batch[f"true_{name}"] for name in TrueStates.__dataclass_fields__))


def _join(parts: list[TrueStates]) -> TrueStates:
    names = TrueStates.__dataclass_fields__
    return TrueStates(*(torch.cat([getattr(p, name) for p in parts]) for name in names))


def _cut(
    track: StudyTrack, rng: np.random.Generator, settings: WindowSettings
) -> tuple[HandStates, TrueStates]:
    """Cut a window out of a track: some stride, forwards or backwards, slower or faster."""
    strides = [s for s in settings.strides if (settings.frames - 1) * s < len(track)]
    stride = int(rng.choice(strides)) if strides else 1
    reach = (settings.frames - 1) * stride
    start = int(rng.integers(max(len(track) - reach, 1)))
    index = torch.arange(settings.frames).mul(stride).add(start).clamp(max=len(track) - 1)
    backwards = rng.random() < 0.5
    if backwards:
        index = index.flip(0)
    said = track.said.frames(index)
    seconds = said.seconds - said.seconds[:, :1]
    seconds = seconds.abs() * float(np.exp(rng.uniform(-0.2, 0.2)))
    values = {name: getattr(said, name) for name in HandStates.__dataclass_fields__}
    true = track.true
    return HandStates(**(values | {"seconds": seconds})), true.frames(index)


def _swap_errors(own: Window, others: Window, swap: Tensor) -> Window:
    """Lay other windows' errors on the truth of some: turns, place, left-overs, gaps.

    A reading's turn is the truth's times an error; the error of the other window is taken.
    """
    said, true = own
    other, meant = others
    is_there = (true.state.abs().sum(dim=-1) > 0).float()
    asked = is_there * meant.weight
    error = turns_of(with_turns(meant.state)).mT @ turns_of(with_turns(other.state))
    turns = turns_of(with_turns(true.state)) @ error
    palm, other_palm = (PALM_MM * (-t.state[..., -1:]).exp() for t in (true, meant))
    off = other.state[..., -3:] - meant.state[..., -3:]
    root = true.state[..., -3:] + torch.cat([off[..., :2] / other_palm * palm, off[..., 2:]], -1)
    state = torch.cat([matrix_to_sixd(turns).flatten(-2), root], dim=-1)
    seen = other.seen * (asked > 0)
    new = HandStates(
        state=state * seen[..., None],
        off_palm=other.off_palm * seen[..., None, None],
        off_mm=other.off_mm * seen[..., None, None],
        off_depth=other.off_depth * seen,
        confidence=other.confidence * seen[..., None],
        visible=other.visible * seen[..., None],
        seen=seen,
        seconds=said.seconds,
    )
    weight = torch.where(swap[:, None, None], asked, true.weight)
    hidden = torch.where(swap[:, None, None], meant.hidden, true.hidden)
    return _where(swap, new, said), replace(true, weight=weight, hidden=hidden)


def _shake(said: HandStates, rng: np.random.Generator, noise: float) -> HandStates:
    """Shake what is told beside the poses, lest a window is known by it."""

    def drawn(like: Tensor) -> Tensor:
        return torch.from_numpy(rng.normal(0, noise, like.shape).astype(np.float32))

    seen = said.seen[..., None]
    confidence = (said.confidence + drawn(said.confidence)).clamp(0, 1) * seen
    off_palm = said.off_palm + drawn(said.off_palm) * seen[..., None]
    off_mm = said.off_mm + 10 * drawn(said.off_mm) * seen[..., None]
    return replace(said, confidence=confidence, off_palm=off_palm, off_mm=off_mm)


def _where(mask: Tensor, a: HandStates, b: HandStates) -> HandStates:
    values = {}
    for name in HandStates.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        values[name] = torch.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, y)
    return HandStates(**values)


def _drop(said: HandStates, rng: np.random.Generator, share: float) -> HandStates:
    """Lose a hand for some frames in a part of the windows."""
    n, _, t = said.seen.shape
    kept = np.ones((n, 2, t), dtype=np.float32)
    for row in np.flatnonzero(rng.random(n) < share):
        length = int(rng.integers(1, max(t // 3, 2)))
        start = int(rng.integers(0, t - length + 1))
        kept[row, int(rng.integers(2)), start : start + length] = 0
    keep = torch.from_numpy(kept)
    values: dict[str, Any] = {"seconds": said.seconds}
    for name in list(HandStates.__dataclass_fields__)[:-1]:
        value = getattr(said, name)
        values[name] = value * keep.reshape(*keep.shape, *[1] * (value.ndim - 3))
    return HandStates(**values)


def _move_camera(
    said: HandStates, true: TrueStates, rng: np.random.Generator, settings: WindowSettings
) -> tuple[HandStates, TrueStates]:
    """Roll the camera about its axis and zoom, another way for each window."""
    n = len(said.seen)
    limit = math.radians(settings.turn_deg)
    roll = torch.from_numpy(rng.uniform(-limit, limit, n).astype(np.float32))
    step = math.log(settings.zoom)
    zoom = torch.from_numpy(rng.uniform(-step, step, n).astype(np.float32))
    # Seen in its own mirror a left hand rolls the other way.
    roll = torch.stack([roll, -roll], dim=1)
    turn = axis_angle_to_matrix(torch.stack([0 * roll, 0 * roll, roll], dim=-1))[:, :, None]
    values = {name: getattr(said, name) for name in HandStates.__dataclass_fields__}
    values["state"] = _rolled(said.state, turn, zoom) * said.seen[..., None]
    # What is left over in the picture turns with it.
    values["off_palm"] = said.off_palm @ turn[..., :2, :2].mT
    names = TrueStates.__dataclass_fields__
    truths = {name: getattr(true, name) for name in names}
    truths["state"] = _rolled(true.state, turn, zoom)
    return HandStates(**values), TrueStates(**truths)


def _rolled(state: Tensor, turn: Tensor, zoom: Tensor) -> Tensor:
    wrist = turn[..., None, :, :] @ state[..., :6].reshape(*state.shape[:-1], 2, 3, 1)
    factor = zoom[:, None, None, None]
    rays = (turn[..., :2, :2] @ state[..., -3:-1, None]).squeeze(-1) * factor.exp()
    return torch.cat([wrist.flatten(-3), state[..., 6:-3], rays, state[..., -1:] - factor], dim=-1)
