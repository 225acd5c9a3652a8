"""Where the camera of a made clip stands, how it moves, and how the background slides with it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import check_array
from hdrvideo.synth.turns import exp_turn, smooth_noise, unit

F64 = NDArray[np.float64]

FOCAL_WIDTHS: Final = (0.6, 2.5)
DISTANCE_MM: Final = (600.0, 2500.0)
# From the middle of the shoulder joints to between the eyes, with the head bent over the hands.
EYES_MM: Final = np.array([0.0, -235.0, 165.0])
_NEAREST_MM: Final = 130.0
_MOST_SHARE: Final = 0.95
# Head and chest as balls.
_BODY_MM: Final = np.array([[0.0, -225.0, 20.0], [0.0, 60.0, 0.0], [0.0, 300.0, 0.0]])
_BODY_RADIUS_MM: Final = np.array([130.0, 160.0, 150.0])
_N_VIEWS: Final = 20
# Azimuth (0 is in front of the person) and elevation in degrees, and how often.
_STYLES: Final = (
    ("front", 0.45, (-45.0, 45.0), (-8.0, 35.0)),
    ("side", 0.2, (45.0, 95.0), (-5.0, 40.0)),
    ("above", 0.35, (-180.0, 180.0), (50.0, 84.0)),
)


@dataclass(frozen=True)
class View:
    """The direction in which a camera looks, in the person's axes.

    Attributes:
        camera: One of ``scene.CAMERAS``.
        turn: ``(3, 3)`` camera from person.
    """

    camera: str
    turn: F64

    def __post_init__(self) -> None:
        check_array("turn", self.turn, (3, 3), "float64")


@dataclass(frozen=True)
class Shooting:
    """A camera over T frames.

    Attributes:
        k_px: ``(3, 3)`` camera matrix.
        turn: ``(T, 3, 3)`` camera from person.
        place_mm: ``(T, 3)`` in the person's axes.
    """

    k_px: F64
    turn: F64
    place_mm: F64

    def __post_init__(self) -> None:
        check_array("k_px", self.k_px, (3, 3), "float64")
        check_array("turn", self.turn, (None, 3, 3), "float64")
        check_array("place_mm", self.place_mm, (len(self.turn), 3), "float64")

    def to_camera(self, points_mm: F64) -> F64:
        """Take points ``(T, ..., 3)`` from the person's axes into the camera's."""
        extra = (1,) * (points_mm.ndim - 2)
        place = self.place_mm.reshape(len(self.turn), *extra, 3)
        turn = self.turn.reshape(len(self.turn), *extra, 3, 3)
        return np.asarray((turn @ (points_mm - place)[..., None])[..., 0])

    def project(self, points_mm: F64) -> F64:
        """Give the pixels ``(T, ..., 2)`` of points in the person's axes; NaN behind the camera."""
        seen = self.to_camera(points_mm)
        depth = np.where(seen[..., 2:] > 1.0, seen[..., 2:], np.nan)
        return np.asarray((seen @ self.k_px.T)[..., :2] / depth)


def look_along(forward: F64, roll_rad: float) -> F64:
    """Give camera from person, looking along ``forward`` with y down, turned about its axis."""
    z = unit(forward)
    x = unit(np.cross([0.0, 1.0, 0.0], z))
    turn = np.stack([x, np.cross(z, x), z])
    return np.asarray(exp_turn(np.array([0.0, 0.0, roll_rad])) @ turn)


def draw_view(rng: np.random.Generator, camera: str, target_mm: F64) -> View:
    """Draw where the camera looks from; ``target_mm`` ``(3,)`` is where the hands will be."""
    if camera == "egocentric":
        forward = target_mm + rng.normal(0, 25, 3) - EYES_MM
        return View(camera, look_along(forward, rng.normal(0, np.deg2rad(5))))
    shares = np.array([share for _, share, _, _ in _STYLES])
    away = np.zeros(3)
    for _ in range(_N_VIEWS):
        name, _, azimuth, elevation = _STYLES[rng.choice(len(_STYLES), p=shares)]
        around, up = np.deg2rad(rng.uniform(*azimuth)), np.deg2rad(rng.uniform(*elevation))
        if name == "side":
            around *= rng.choice([-1, 1])
        away = np.array([np.sin(around) * np.cos(up), -np.sin(up), np.cos(around) * np.cos(up)])
        if _is_free(target_mm, away):
            break
    return View(camera, look_along(-away, rng.normal(0, np.deg2rad(6))))


def _is_free(target_mm: F64, away: F64) -> bool:
    """Say whether the person's own head and chest leave the hands to be seen from there."""
    offset = _BODY_MM - target_mm
    along = offset @ away
    beside = np.linalg.norm(offset - along[:, None] * away, axis=-1)
    return bool(((along < 0) | (beside > _BODY_RADIUS_MM + 110)).all())


def shoot(
    rng: np.random.Generator,
    view: View,
    points_mm: F64,
    n_frames: int,
    frame_seconds: float,
    size_px: tuple[int, int],
    hand_share: float,
) -> Shooting:
    """Place the camera so that points fill a share of the picture, and let it move.

    Args:
        rng: Source of all chance.
        view: Where it looks.
        points_mm: ``(N, 3)`` all that shall be in the picture, in the person's axes.
        n_frames: T.
        frame_seconds: Time from frame to frame.
        size_px: Height and width.
        hand_share: Larger of the points' width in the picture's and their height in its.
    """
    height, width = size_px
    focal, place = _fit(rng, view, points_mm, height / width, hand_share)
    k = np.array(
        [[focal * width, 0, (width - 1) / 2], [0, focal * width, (height - 1) / 2], [0, 0, 1.0]]
    )
    turn = _aim(rng, view.turn, points_mm - place, focal, height / width) @ view.turn
    moving = view.camera == "egocentric" or rng.random() < 0.25
    size = rng.uniform(0.2, 1.0) * moving
    # Small enough that what is in the picture stays there.
    room = max(0.0, 1 - hand_share) / focal
    swing = smooth_noise(rng, n_frames, frame_seconds, 3, (0.15, 0.7))
    swing = swing * size * min(np.deg2rad(3.5), 0.12 * room)
    shake = smooth_noise(rng, n_frames, frame_seconds, 3, (0.1, 0.5)) * 12.0 * size
    return Shooting(k, exp_turn(swing) @ turn, place + shake)


def _fit(
    rng: np.random.Generator, view: View, points_mm: F64, aspect: float, hand_share: float
) -> tuple[float, F64]:
    """Choose focal length (picture widths) and place, so that the points fill their share."""
    middle = 0.5 * (points_mm.min(axis=0) + points_mm.max(axis=0))
    forward = view.turn[2]
    if view.camera == "egocentric":
        distance = max(float((middle - EYES_MM) @ forward), 230.0)
        nearest, farthest, focal_most = 0.8 * distance, 1.35 * distance, 1.6
    else:
        distance = float(np.exp(rng.uniform(*np.log(DISTANCE_MM))))
        (nearest, farthest), focal_most = DISTANCE_MM, FOCAL_WIDTHS[1]
    focal = focal_least = float(rng.uniform(FOCAL_WIDTHS[0], 1.0))
    for _ in range(4):
        extent = _extent(view, points_mm, middle - distance * forward, aspect)
        focal = float(np.clip(hand_share / extent, focal_least, focal_most))
        distance = float(np.clip(distance * focal * extent / hand_share, nearest, farthest))
    extent = _extent(view, points_mm, middle - distance * forward, aspect)
    if focal * extent > _MOST_SHARE:
        focal = max(FOCAL_WIDTHS[0], _MOST_SHARE / extent)
    return focal, middle - distance * forward


def _extent(view: View, points_mm: F64, place_mm: F64, aspect: float) -> float:
    """Give the share of the picture that points take at a focal length of one width."""
    seen = (points_mm - place_mm) @ view.turn.T
    flat = seen[:, :2] / np.maximum(seen[:, 2:], _NEAREST_MM)
    wide, high = np.ptp(flat, axis=0)
    return float(max(wide, high / aspect))


def _aim(rng: np.random.Generator, turn: F64, offset_mm: F64, focal: float, aspect: float) -> F64:
    """Turn the camera a little so that the points lie anywhere within the picture."""
    anywhere = rng.uniform(-0.8, 0.8, 2)
    total = np.eye(3)
    for _ in range(3):
        seen = offset_mm @ (total @ turn).T
        flat = focal * seen[:, :2] / np.maximum(seen[:, 2:], _NEAREST_MM)
        low, high = flat.min(axis=0), flat.max(axis=0)
        wanted = anywhere * np.maximum(np.array([1.0, aspect]) - (high - low), 0) / 2
        angle = np.arctan(wanted / focal) - np.arctan(0.5 * (low + high) / focal)
        total = exp_turn(np.array([-angle[1], angle[0], 0.0])) @ total
    return total


def background_affine(
    rng: np.random.Generator,
    shooting: Shooting,
    size_px: tuple[int, int],
    picture_px: tuple[int, int],
) -> F64:
    """Give ``(T, 2, 3)``: frame pixels to background pixels, as a distant wall would slide.

    Args:
        rng: Source of all chance.
        shooting: The camera.
        size_px: Height and width of the frame.
        picture_px: Height and width of the background picture.
    """
    height, width = size_px
    corners = np.array([[0.0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1]])
    distance = float(np.exp(rng.uniform(np.log(700.0), np.log(4000.0))))
    wall = (corners @ np.linalg.inv(shooting.k_px).T * distance) @ shooting.turn[0]
    wall = np.broadcast_to(wall + shooting.place_mm[0], (len(shooting.turn), 3, 3))
    seen = shooting.project(wall)
    ones = np.ones((*seen.shape[:2], 1))
    first_from_frame = np.linalg.solve(np.concatenate([seen, ones], axis=-1), corners[None])
    cover = min(picture_px[0] / height, picture_px[1] / width)
    scale = cover * rng.uniform(0.5, 0.95)
    room = np.array([picture_px[1] - scale * width, picture_px[0] - scale * height])
    start = rng.uniform(0.05, 0.95, 2) * np.maximum(room, 0)
    mirror = rng.choice([-1.0, 1.0])
    linear = np.array([[scale * mirror, 0], [0, scale], [0, 0]])
    linear[2] = start + np.array([scale * (width - 1) * (mirror < 0), 0])
    return np.asarray((first_from_frame @ linear).swapaxes(-1, -2))
