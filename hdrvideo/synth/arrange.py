"""From a seed to a scene: every number of a made clip, no pixel.

The order in which a clip comes about: the person; where the camera looks from; what the hands do
(:mod:`~hdrvideo.synth.relations`, :mod:`~hdrvideo.synth.objects`, :mod:`~hdrvideo.synth.empty`);
the hands parted or joined as the relation asks (:mod:`~hdrvideo.synth.contact`); arms that reach
there (:mod:`~hdrvideo.synth.body`); the camera, so that the hands fill their share of the picture
(:mod:`~hdrvideo.synth.viewpoint`); clothes and things; then all is brought into the camera's axes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.errors import SettingsError
from hdrvideo.handmodel import HandModel
from hdrvideo.synth.assets import SPLITS, Assets
from hdrvideo.synth.body import Arms, arm_shape
from hdrvideo.synth.contact import ball_hand
from hdrvideo.synth.dress import Piece, pieces, table, to_props
from hdrvideo.synth.empty import nothing
from hdrvideo.synth.fitness import faults
from hdrvideo.synth.grips import Grips
from hdrvideo.synth.looks import (
    Clothes,
    draw_clothes,
    draw_effects,
    draw_lights,
    draw_name,
    draw_person,
)
from hdrvideo.synth.motions import Motions
from hdrvideo.synth.objects import with_object
from hdrvideo.synth.relations import apart, crossing, one, passing, together
from hdrvideo.synth.scene import CAMERAS, RELATIONS, Background, Scene
from hdrvideo.synth.staging import Stage, Track, settle
from hdrvideo.synth.turns import log_turn
from hdrvideo.synth.viewpoint import Shooting, background_affine, draw_view, shoot

F64 = NDArray[np.float64]

EGOCENTRIC_SHARE: Final = 0.45
_N_DRAWS: Final = 6


@dataclass(frozen=True)
class SceneSettings:
    """What kind of clips to make.

    Attributes:
        n_frames: Frames of a clip, at least 1.
        height_px: Picture height, at least 16.
        width_px: Picture width, at least 16.
        frame_seconds: Time from frame to frame, more than 0.
        relation: One of ``scene.RELATIONS``, or None to draw by ``relation_shares``.
        camera: One of ``scene.CAMERAS``, or None to draw.
        relation_shares: How often each of ``scene.RELATIONS`` is drawn; need not sum to one.
        hand_share: Least and most of the picture's width or height (the larger share counts) that
            the box round all joints of a clip takes, above 0 and at most 1.
    """

    n_frames: int = 64
    height_px: int = 480
    width_px: int = 640
    frame_seconds: float = 1 / 30
    relation: str | None = None
    camera: str | None = None
    relation_shares: tuple[float, ...] = (0.2, 0.17, 0.16, 0.18, 0.15, 0.06, 0.03, 0.05)
    hand_share: tuple[float, float] = (0.05, 0.9)
    glove_share: float = 0.06

    def __post_init__(self) -> None:
        for name, least in (("n_frames", 1), ("height_px", 16), ("width_px", 16)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if not (math.isfinite(self.frame_seconds) and self.frame_seconds > 0):
            raise SettingsError(f"frame_seconds is {self.frame_seconds}, expected more than 0")
        for name, known in (("relation", RELATIONS), ("camera", CAMERAS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise SettingsError(
                    f"{name} is {value!r}, expected one of {', '.join(known)}, or None to draw it"
                )
        shares = self.relation_shares
        if len(shares) != len(RELATIONS) or min(shares) < 0 or not 0 < sum(shares) < math.inf:
            raise SettingsError(
                f"relation_shares is {shares}, expected {len(RELATIONS)} numbers, none negative "
                f"and one positive, for {', '.join(RELATIONS)}"
            )
        if len(self.hand_share) != 2 or not 0 < self.hand_share[0] <= self.hand_share[1] <= 1:
            raise SettingsError(
                f"hand_share is {self.hand_share}, expected least and most share of the picture, "
                "above 0 and at most 1"
            )
        if not 0 <= self.glove_share <= 1:
            raise SettingsError(f"glove_share is {self.glove_share}, expected 0 to 1")


def arrange(
    seed: int, settings: SceneSettings, assets: Assets, motions: Motions, model: HandModel
) -> Scene:
    """Make the scene of a seed; the same arguments always give the same numbers.

    Args:
        seed: At least 0.
        settings: What kind of clip.
        assets: Skins and backgrounds; its split is the scene's.
        motions: Hand motion of the same split.
        model: The hand.

    Raises:
        SettingsError: The seed is negative, or the motions are of the other split.
    """
    if seed < 0:
        raise SettingsError(f"seed is {seed}, expected 0 or more")
    if motions.split != assets.split:
        raise SettingsError(
            f"motions are of the {motions.split} split, assets of {assets.split}; load both alike"
        )
    rng = np.random.default_rng([seed, SPLITS.index(assets.split)])
    relation, camera = _drawn_kind(rng, settings)
    person, shape = draw_person(rng, assets, model.n_shape, settings.glove_share)
    stage = _stage(rng, settings, camera, shape, motions, model)
    clothes = draw_clothes(rng, assets, person, stage.arm.forearm_mm)
    track, shooting = _best_of(stage, settings, relation, clothes)
    arms = stage.arms(track.turn, track.wrist_mm)
    joints = _joints(stage, track)
    if relation == "none":
        track = replace(track, present=track.present & ~_seen(shooting, settings, joints))
    props = to_props(_pieces(stage, track, arms, joints, clothes, model), shooting)
    turn = shooting.turn[:, None] @ track.turn
    pose = np.concatenate([log_turn(turn)[:, :, None], track.fingers], axis=2)
    name = draw_name(rng, assets.backgrounds)
    height, width = assets.background_rgb_u8(name).shape[:2]
    size = (settings.height_px, settings.width_px)
    affine = background_affine(rng, shooting, size, (height, width))
    return Scene(
        seed=seed,
        split=assets.split,
        relation=relation,
        camera=camera,
        frame_seconds=settings.frame_seconds,
        height_px=settings.height_px,
        width_px=settings.width_px,
        k_px=np.tile(shooting.k_px, (stage.n, 1, 1)).astype(np.float32),
        pose=pose.astype(np.float32),
        shape=np.tile(shape, (2, 1)).astype(np.float32),
        wrist_mm=shooting.to_camera(track.wrist_mm).astype(np.float32),
        wrist_bend=arms.bend.astype(np.float32),
        present=np.tile(track.present, (stage.n, 1)),
        person=person,
        props=props,
        lights=draw_lights(rng, shooting),
        background=Background(name, affine.astype(np.float32)),
        effects=draw_effects(rng),
        motions=tuple(dict.fromkeys(track.names)),
    )


def _best_of(
    stage: Stage, settings: SceneSettings, relation: str, clothes: Clothes
) -> tuple[Track, Shooting]:
    """Draw what the hands do until it shows the relation well; else keep the best."""
    drawn: list[tuple[float, Track, Shooting]] = []
    for _ in range(_N_DRAWS):
        track = _act(stage, relation, clothes)
        if track.front is None:
            track = settle(stage, track, np.zeros((stage.n, 3)))
        shooting = _shooting(stage, settings, relation, track)
        if track.front is not None:
            track = settle(stage, track, shooting.place_mm)
        drawn.append((faults(stage, relation, track, shooting), track, shooting))
        if drawn[-1][0] == 0:
            break
    _, track, shooting = min(drawn, key=lambda one_draw: one_draw[0])
    return track, shooting


def _drawn_kind(rng: np.random.Generator, settings: SceneSettings) -> tuple[str, str]:
    shares = np.array(settings.relation_shares, np.float64)
    relation = RELATIONS[rng.choice(len(RELATIONS), p=shares / shares.sum())]
    camera = CAMERAS[int(rng.random() < EGOCENTRIC_SHARE)]
    return settings.relation or relation, settings.camera or camera


def _stage(
    rng: np.random.Generator,
    settings: SceneSettings,
    camera: str,
    shape: F64,
    motions: Motions,
    model: HandModel,
) -> Stage:
    """Draw where the hands will be and where the camera looks from."""
    arm, balls = arm_shape(model, shape), ball_hand(model)
    if camera == "egocentric":
        target = np.array([rng.normal(0, 40), rng.uniform(20, 250), rng.uniform(310, 440)])
    else:
        target = np.array([rng.normal(0, 50), rng.uniform(60, 320), rng.uniform(240, 400)])
    return Stage(
        rng,
        settings.n_frames,
        settings.frame_seconds,
        motions,
        _grips(motions.split),
        balls,
        shape,
        balls.radii_mm(shape),
        arm,
        draw_view(rng, camera, target),
        target,
    )


@lru_cache(maxsize=2)
def _grips(split: str) -> Grips:
    return Grips.load(split)


def _act(stage: Stage, relation: str, clothes: Clothes) -> Track:
    """Let the hands do what the relation says."""
    acts: dict[str, Callable[[], Track]] = {
        "apart": lambda: apart(stage),
        "touching": lambda: together(stage, "touching"),
        "crossing": lambda: crossing(stage),
        "interlocked": lambda: together(stage, "interlocked"),
        "object": lambda: with_object(stage),
        "one": lambda: one(stage),
        "none": lambda: nothing(stage, clothes.skin),
        "passing": lambda: passing(stage),
    }
    return acts[relation]()


def _joints(stage: Stage, track: Track) -> F64:
    """Give the joints ``(T, 2, 21, 3)`` in the person's axes."""
    return stage.balls.place(track.turn, track.fingers, track.wrist_mm, stage.shape)[1]


def _shooting(stage: Stage, settings: SceneSettings, relation: str, track: Track) -> Shooting:
    """Place the camera for what the track frames."""
    rng = stage.rng
    low, high = settings.hand_share
    share = math.exp(rng.uniform(math.log(low), math.log(high)))
    if rng.random() < 0.75:
        share = float(rng.uniform(min(max(low, 0.25), high), high))
    if relation == "passing":  # near enough for hands to get out of the picture
        share = float(np.clip(0.6 + 0.3 * share, low, high))
    points = track.aim_mm
    if points is None:
        points = _joints(stage, track)[track.framed].reshape(-1, 3)
    size = (settings.height_px, settings.width_px)
    return shoot(rng, stage.view, points, stage.n, stage.frame_seconds, size, share)


def _seen(shooting: Shooting, settings: SceneSettings, joints_mm: F64) -> NDArray[np.bool_]:
    """Say whether any joint of each hand ``(2,)`` comes near the picture."""
    size = np.array([settings.width_px, settings.height_px])
    uv = shooting.project(joints_mm)
    inside = np.all((uv > -0.12 * size) & (uv < 1.12 * size), axis=-1)
    return np.asarray(np.any(inside, axis=(0, 2)))


def _pieces(
    stage: Stage, track: Track, arms: Arms, joints_mm: F64, clothes: Clothes, model: HandModel
) -> list[Piece]:
    """Collect the props, sometimes with a table below the hands."""
    found = pieces(stage, track, arms, joints_mm, clothes, model)
    looks_down = stage.view.turn[2, 1] > 0.25
    if looks_down and stage.rng.random() < 0.35:
        below = [joints_mm[:, track.present][..., 1].reshape(-1)]
        below += [thing.place_mm[:, 1] + 60 for thing in track.things]
        lowest = np.concatenate(below)
        found.append(table(stage, float(lowest.max()) if len(lowest) else stage.target_mm[1] + 80))
    return found
