"""How hands move in the made world: recorded, from pose to pose, at random; always as a hand can.

``weights/motions.npz`` holds real recordings and key poses as finger angles at 60 Hz, baked by
``scripts/bake_motions.py``. :class:`Motions` makes clips of them for one split: recordings and key
poses go to a split by the hash of their name, smooth random motion by the name ``random:<seed>``
that draws it. Clips are made at 60 Hz, cleared of fingers that go through one another or the palm,
and read off at the times of the frames, so the same draw at another frame rate is the same motion.

Finger angles mean the same on both sides. Wrist movement is that of a right hand: millimetres along
the camera's axes, and a turn in the hand's own axes (``turn = base @ exp(offset)``); for a left
hand mirror both: x of the movement, y and z of the turn change sign.
"""

from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from hdrvideo.errors import SettingsError
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.fingers import (
    HIGH_RAD,
    LOW_RAD,
    N_ANGLES,
    FingerChain,
    angles_deg,
    to_axis_angle,
)
from hdrvideo.synth.recordings import (
    F64,
    RATE_HZ,
    SPEED_LIMIT_DEG_S,
    Entry,
    motions_path,
    read_motions,
)

Kind = Literal["any", "still", "relaxed"]
KINDS: Final = ("any", "still", "relaxed")

# Fingers that overlap by less are left; the rest is moved apart.
OVERLAP_LIMIT_MM: Final = 1.5

_LOW, _HIGH = LOW_RAD.double().numpy().reshape(-1), HIGH_RAD.double().numpy().reshape(-1)
# A hand at rest: flexion grows from the index to the little finger; nothing touches.
RELAXED_RAD: Final[F64] = np.deg2rad(
    angles_deg(
        thumb=(8, -2, 0, 12, 15),
        index=(18, 2, 28, 12),
        middle=(24, 0, 34, 16),
        ring=(28, -1, 38, 18),
        little=(30, -3, 36, 16),
    )
    .double()
    .numpy()
    .reshape(-1)
)
_SHARES: Final = {"piece": 0.4, "between": 0.26, "random": 0.2, "still": 0.07, "relaxed": 0.07}
_SPEEDS: Final = (0.6, 1.5)
_JOIN_SECONDS: Final = 0.4
_CLEAR_SECONDS: Final = 0.2
_N_DRAWS: Final = 4
_N_COEFFICIENTS: Final = 3 * N_ANGLES


# A recording with the curve through its values, by step of 60 Hz.
_Recorded = tuple[Entry, CubicSpline]


class Motions:
    """Hand motion of one split.

    Attributes:
        split: ``train`` or ``test``.
        names: Recordings and key poses of the split.
    """

    def __init__(self, entries: list[Entry], split: str) -> None:
        """Keep what belongs to ``split``; see :meth:`load`."""
        own = [entry for entry in entries if split_of("motion", entry.name) == split]
        self.split = split
        self.names: tuple[str, ...] = tuple(sorted({entry.name for entry in own}))
        self._poses = [entry for entry in own if len(entry.angles_rad) == 1]
        longer = [entry for entry in own if len(entry.angles_rad) > 1]
        self._pieces = [(entry, _spline(entry.angles_rad)) for entry in longer]
        self._moved = [(entry, _spline(entry.wrist)) for entry in longer if entry.wrist is not None]
        self._chain = FingerChain()

    @classmethod
    def load(cls, split: str, path: Path | None = None) -> "Motions":
        """Read the shipped motions, or those at ``path``.

        Raises:
            SettingsError: The split is not known, or the file has no pose or recording for it.
            WeightsError: The file is missing, damaged, or holds something else.
        """
        if split not in ("train", "test"):
            raise SettingsError(f"split is {split!r}, expected 'train' or 'test'")
        motions = cls(read_motions(path), split)
        if not (motions._poses and motions._moved):
            raise SettingsError(
                f"motions {path or motions_path()} have no key pose or no recording with a moving "
                f"wrist for {split}; add more entries"
            )
        return motions

    def fingers(
        self, rng: np.random.Generator, n_frames: int, frame_seconds: float, *, kind: Kind = "any"
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Make the fingers' motion of a clip; the same for both sides.

        Args:
            rng: Source of all chance.
            n_frames: Frames T of the clip.
            frame_seconds: Time from frame to frame.
            kind: ``still`` is one pose with a slight tremor, ``relaxed`` a hand at rest that idles;
                ``any`` draws one of these, a recording, a path among key poses or random motion.

        Returns:
            ``(T, 15, 3)`` axis-angle within the limits, without fingers through one another, and
            the names of what was used.

        Raises:
            SettingsError: The kind is unknown, or no frame or time is asked for.
        """
        if kind not in KINDS:
            raise SettingsError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
        seconds = _clip_seconds(n_frames, frame_seconds)
        drawn = str(rng.choice(list(_SHARES), p=list(_SHARES.values())))
        make = getattr(self, f"_{drawn if kind == 'any' else kind}")
        for _ in range(_N_DRAWS):
            angles_rad, names = make(rng, seconds)
            angles_rad, clear = self._clear(angles_rad)
            if clear:
                break
        else:
            angles_rad, names = np.tile(RELAXED_RAD, (len(angles_rad), 1)), ()
        angles_rad = np.clip(_read_off(angles_rad, n_frames, frame_seconds), _LOW, _HIGH)
        turns = to_axis_angle(torch.from_numpy(angles_rad).view(-1, N_ANGLES, 3))
        return turns.float().numpy(), names

    def wrist(
        self, rng: np.random.Generator, n_frames: int, frame_seconds: float
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Make a right wrist's movement of a clip: recorded, smooth at random, or nearly still.

        Returns:
            ``(T, 6)`` of zero mean: millimetres along the camera's axes, and axis-angle in the
            hand's own axes; and the names of what was used.

        Raises:
            SettingsError: No frame or time is asked for.
        """
        seconds = _clip_seconds(n_frames, frame_seconds)
        drawn = rng.random()
        if drawn < 0.5:
            moves, names = self._chained(rng, seconds, self._moved)
        else:
            moves, names = self._random_wrist(rng, seconds, still=drawn > 0.85)
        moves = _read_off(moves, n_frames, frame_seconds)
        return (moves - moves.mean(axis=0)).astype(np.float32), names

    def key_pose(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], str]:
        """Draw a key pose ``(15, 3)`` axis-angle with its name."""
        entry = self._poses[rng.integers(len(self._poses))]
        turns = to_axis_angle(torch.from_numpy(entry.angles_rad).view(N_ANGLES, 3))
        return turns.float().numpy(), entry.name

    def _piece(self, rng: np.random.Generator, seconds: float) -> tuple[F64, tuple[str, ...]]:
        return self._chained(rng, seconds, self._pieces)

    def _chained(
        self, rng: np.random.Generator, seconds: float, recorded: list[_Recorded]
    ) -> tuple[F64, tuple[str, ...]]:
        """Play stretches of recordings at a drawn speed, each flowing into the next."""
        n, join = _n_steps(seconds), round(_JOIN_SECONDS * RATE_HZ)
        lengths = np.array([len(entry.angles_rad) for entry, _ in recorded], dtype=float)
        speed = rng.uniform(*_SPEEDS)
        done: F64 = np.zeros((0, 0))
        names: list[str] = []
        while len(done) < n:
            # Go on with that of several stretches that begins most like the end so far.
            n_options = 6 if names else 1
            picks = rng.choice(len(recorded), size=n_options, p=lengths / lengths.sum())
            paces = np.array([min(speed, recorded[k][0].fastest_pace) for k in picks])
            # At least a second of each, or all.
            starts = rng.random(n_options) * np.maximum(lengths[picks] - 1 - RATE_HZ * paces, 0)
            best = 0
            if names:
                begins = [recorded[k][1](t) for k, t in zip(picks, starts, strict=True)]
                best = int(np.abs(np.stack(begins) - done[-join]).max(axis=1).argmin())
            entry, played = recorded[picks[best]]
            n_steps = int((lengths[picks[best]] - 1 - starts[best]) / paces[best]) + 1
            more = played(starts[best] + np.arange(min(n_steps, n + join)) * paces[best])
            done = _joined(done, more, join) if names else more
            names.append(entry.name)
        return done[:n], tuple(dict.fromkeys(names))

    def _between(self, rng: np.random.Generator, seconds: float) -> tuple[F64, tuple[str, ...]]:
        """Go from key pose to key pose with minimum-jerk steps (Flash & Hogan 1985) and holds."""
        chosen = rng.choice(len(self._poses), size=min(len(self._poses), int(rng.integers(2, 7))))
        poses = [self._poses[k] for k in chosen]
        times = np.arange(_n_steps(seconds)) / RATE_HZ
        angles_rad = np.tile(poses[0].angles_rad, (len(times), 1))
        # Fingers do not start together.
        lag = np.repeat(rng.uniform(0.0, 0.08, size=5), _N_COEFFICIENTS // 5)
        now, k, used = float(rng.uniform(-0.5, 0.3)), 0, [poses[0].name]
        while now < seconds:
            step = poses[(k + 1) % len(poses)].angles_rad - poses[k % len(poses)].angles_rad
            # The peak of a minimum-jerk step is 1.875 times its mean speed.
            fastest = 1.875 * np.abs(step).max() / np.deg2rad(0.55 * SPEED_LIMIT_DEG_S)
            takes = max(fastest, float(rng.uniform(0.25, 1.0)))
            part = np.clip((times[:, None] - now - lag) / takes, 0.0, 1.0)
            angles_rad += step * part**3 * (10 - 15 * part + 6 * part**2)
            now, k = now + takes + float(rng.uniform(0.1, 0.9)), k + 1
            used.append(poses[k % len(poses)].name)
        idle, name = self._idle(rng, seconds, size=0.15)
        return angles_rad + idle, (*dict.fromkeys(used), name)

    def _random(self, rng: np.random.Generator, seconds: float) -> tuple[F64, tuple[str, ...]]:
        pose = self._poses[rng.integers(len(self._poses))]
        share = rng.uniform(0.3, 1.0)
        idle, name = self._idle(rng, seconds, size=float(rng.uniform(0.7, 1.4)))
        return RELAXED_RAD + share * (pose.angles_rad - RELAXED_RAD) + idle, (pose.name, name)

    def _still(self, rng: np.random.Generator, seconds: float) -> tuple[F64, tuple[str, ...]]:
        pose = self._poses[rng.integers(len(self._poses))]
        idle, name = self._idle(rng, seconds, size=0.05)
        return pose.angles_rad + idle, (pose.name, name)

    def _relaxed(self, rng: np.random.Generator, seconds: float) -> tuple[F64, tuple[str, ...]]:
        idle, name = self._idle(rng, seconds, size=float(rng.uniform(0.05, 0.35)))
        own = np.random.default_rng(int(name.split(":")[1])).normal(size=len(_MIX))
        return RELAXED_RAD + 0.4 * own @ _MIX + idle, (name,)

    def _idle(self, rng: np.random.Generator, seconds: float, size: float) -> tuple[F64, str]:
        """Give smooth random angles ``(n, 45)`` about zero, joints coupled as in a hand."""
        name = self._random_name(rng)
        own = np.random.default_rng(int(name.split(":")[1]))
        drives = size * _waves(own, seconds, len(_MIX), low_hz=0.2, high_hz=1.5)
        # Physiological tremor: 8 to 12 Hz, well below a degree.
        tremor = 0.006 * _waves(own, seconds, len(_MIX), low_hz=8.0, high_hz=12.0)
        return (drives + min(1.0, 4 * size) * tremor) @ _MIX, name

    def _random_wrist(
        self, rng: np.random.Generator, seconds: float, still: bool
    ) -> tuple[F64, tuple[str, ...]]:
        name = self._random_name(rng)
        own = np.random.default_rng(int(name.split(":")[1]))
        size = np.r_[np.full(3, own.uniform(10, 75)), np.full(3, np.deg2rad(own.uniform(5, 30)))]
        size *= own.uniform(0.4, 1.0, size=6) * (0.03 if still else 1.0)
        return size * _waves(own, seconds, 6, low_hz=0.2, high_hz=own.uniform(0.4, 2.0)), (name,)

    def _random_name(self, rng: np.random.Generator) -> str:
        """Draw a seed that belongs to the split."""
        while True:
            name = f"random:{rng.integers(2**31)}"
            if split_of("motion", name) == self.split:
                return name

    def _clear(self, angles_rad: F64) -> tuple[F64, bool]:
        """Lead fingers that overlap towards the hand at rest; say whether that was enough."""
        angles_rad = np.clip(angles_rad, _LOW, _HIGH)
        for _ in range(3):
            overlap_mm = self._overlap_mm(angles_rad[::2])
            bad = overlap_mm > OVERLAP_LIMIT_MM
            if not bad.any():
                return angles_rad, True
            needed = np.zeros(len(bad))
            needed[bad] = self._share_needed(angles_rad[::2][bad])
            window = round(_CLEAR_SECONDS * RATE_HZ)
            wide = maximum_filter1d(np.repeat(needed, 2)[: len(angles_rad)], 2 * window + 3)
            share = gaussian_filter1d(wide, window / 3, radius=window)[:, None]
            angles_rad = angles_rad + share * (RELAXED_RAD - angles_rad)
        return angles_rad, bool((self._overlap_mm(angles_rad[::2]) <= OVERLAP_LIMIT_MM).all())

    def _share_needed(self, angles_rad: F64) -> F64:
        """Find by halving how far towards the hand at rest poses ``(n, 45)`` must go: ``(n,)``."""
        low, high = np.zeros(len(angles_rad)), np.ones(len(angles_rad))
        for _ in range(4):
            half = (low + high) / 2
            tried = angles_rad + half[:, None] * (RELAXED_RAD - angles_rad)
            clear = self._overlap_mm(tried) < 0.7 * OVERLAP_LIMIT_MM
            low, high = np.where(clear, low, half), np.where(clear, half, high)
        return high

    def _overlap_mm(self, angles_rad: F64) -> NDArray[np.float32]:
        with torch.no_grad():
            angles = torch.from_numpy(angles_rad).float().view(-1, N_ANGLES, 3)
            overlap_mm: NDArray[np.float32] = self._chain.overlap_mm(angles).numpy()
        return overlap_mm


def _mixing() -> F64:
    """Give what each of 13 drives does to the angles ``(13, 45)``, radians per standard deviation.

    Drives: closing the hand, spreading it, opposing and bending the thumb, each finger's knuckle
    and each finger's two hinges, ring and little finger together. The end joint follows the middle
    one at two thirds, as its tendon makes it.
    """
    rows: list[dict[str, tuple[float, ...]]] = [
        {"thumb": (4, 0, 0, 4, 6), "rest": (10, 0, 16, 10)},
        {"thumb": (-6, 2, 0, 0, 0), "index": (0, 5, 0, 0), "ring": (0, -3, 0, 0),
         "little": (0, -6, 0, 0)},
        {"thumb": (10, 9, 5, 3, 4)},
        {"thumb": (-2, 0, 0, 12, 18)},
        {"index": (12, 1, 0, 0), "middle": (3, 0, 0, 0)},
        {"index": (2, 0, 0, 0), "middle": (11, 1, 0, 0), "ring": (5, 0, 0, 0)},
        {"middle": (4, 0, 0, 0), "ring": (10, 0, 0, 0), "little": (6, 0, 0, 0)},
        {"ring": (5, 0, 0, 0), "little": (11, -1, 0, 0)},
        {"index": (0, 0, 15, 10)},
        {"middle": (0, 0, 14, 9), "ring": (0, 0, 5, 3)},
        {"middle": (0, 0, 4, 3), "ring": (0, 0, 12, 8), "little": (0, 0, 7, 5)},
        {"ring": (0, 0, 5, 3), "little": (0, 0, 13, 9)},
        {"ring": (5, 0, 8, 5), "little": (6, -1, 9, 6)},
    ]  # fmt: skip
    table = torch.stack([angles_deg(**row) for row in rows]).double().numpy()
    return np.asarray(np.deg2rad(table.reshape(len(rows), -1)))


_MIX: Final[F64] = _mixing()


def _waves(
    rng: np.random.Generator, seconds: float, n: int, *, low_hz: float, high_hz: float
) -> F64:
    """Give ``n`` band-limited random signals ``(steps, n)`` of unit variance: sums of 6 sines.

    The slow ones are the large ones, so that speed and acceleration stay bounded.
    """
    times = np.arange(_n_steps(seconds)) / RATE_HZ
    hz = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), size=(6, n)))
    weight = rng.uniform(0.3, 1.0, size=(6, n)) / hz
    weight *= np.sqrt(2) / np.linalg.norm(weight, axis=0)
    phase = rng.uniform(0, 2 * np.pi, size=(6, n))
    waves = np.sin(2 * np.pi * times[:, None, None] * hz + phase)
    return np.asarray(np.einsum("kn,tkn->tn", weight, waves))


def _joined(before: F64, after: F64, join: int) -> F64:
    """Fade the last ``join`` steps of one motion into the first of the next, both going on."""
    join = min(join, len(before), len(after))
    part = (np.arange(join) + 0.5)[:, None] / join
    part = part**3 * (10 - 15 * part + 6 * part**2)
    faded = before[-join:] + part * (after[:join] - before[-join:])
    return np.concatenate([before[:-join], faded, after[join:]])


def _n_steps(seconds: float) -> int:
    """Give the steps at 60 Hz that cover a clip, with one to spare."""
    return int(np.ceil(seconds * RATE_HZ - 1e-6)) + 2


def _clip_seconds(n_frames: int, frame_seconds: float) -> float:
    if n_frames < 1 or not 0 < frame_seconds < np.inf:
        raise SettingsError(
            f"motion for {n_frames} frames of {frame_seconds} s; ask for at least one frame of "
            "more than no time"
        )
    return n_frames * frame_seconds


def _spline(values: F64) -> CubicSpline:
    return CubicSpline(np.arange(len(values)), values)


def _read_off(values: F64, n_frames: int, frame_seconds: float) -> F64:
    """Read 60 Hz values off at the times of the frames."""
    times = np.arange(n_frames) * frame_seconds * RATE_HZ
    return np.asarray(_spline(values)(times))
