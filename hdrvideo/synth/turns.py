"""Rotations, minimum-jerk steps and smooth chance for the made world, in plain NumPy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

F64 = NDArray[np.float64]


def unit(vector: F64) -> F64:
    """Give vectors ``(..., C)`` length one."""
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def exp_turn(axis_angle: F64) -> F64:
    """Turn axis times radians ``(..., 3)`` into rotations ``(..., 3, 3)``."""
    flat = Rotation.from_rotvec(np.asarray(axis_angle, np.float64).reshape(-1, 3))
    return np.asarray(flat.as_matrix().reshape(*np.shape(axis_angle), 3))


def log_turn(turn: F64) -> F64:
    """Turn rotations ``(..., 3, 3)`` into axis times radians ``(..., 3)``, at most pi long."""
    flat = Rotation.from_matrix(turn.reshape(-1, 3, 3)).as_rotvec()
    return np.asarray(flat.reshape(turn.shape[:-1]))


def random_turns(rng: np.random.Generator, n: int) -> F64:
    """Draw rotations ``(n, 3, 3)``, all directions alike."""
    return np.asarray(Rotation.from_quat(unit(rng.normal(size=(n, 4)))).as_matrix())


def step_between(now: F64, start: float, seconds: float) -> F64:
    """Give the minimum-jerk step at times: 0 before ``start``, 1 from ``start + seconds``.

    Flash and Hogan, "The coordination of arm movements" (1985).
    """
    part = np.clip((now - start) / max(seconds, 1e-6), 0.0, 1.0)
    return np.asarray(part**3 * (10 - 15 * part + 6 * part**2))


def smooth_noise(
    rng: np.random.Generator, n: int, frame_seconds: float, channels: int, hz: Sequence[float]
) -> F64:
    """Draw smooth signals ``(n, channels)`` within about -1.5..1.5: four sines each.

    Args:
        rng: Source of all chance.
        n: Frames.
        frame_seconds: Time from frame to frame.
        channels: How many signals.
        hz: Lowest and highest frequency.
    """
    now = np.arange(n)[:, None, None] * frame_seconds
    rate = np.exp(rng.uniform(np.log(hz[0]), np.log(hz[1]), (4, channels)))
    weight = rng.uniform(0.4, 1.0, (4, channels)) / rate
    weight /= np.sqrt((weight**2).sum(axis=0))
    phase = rng.uniform(0, 2 * np.pi, (4, channels))
    return np.asarray((weight * np.sin(2 * np.pi * now * rate + phase)).sum(axis=1))
