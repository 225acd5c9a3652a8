"""The person round the hands, and what they wear, as props of a scene."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.synth.body import Arms, ArmShape
from hdrvideo.synth.fitness import TORSO_DEPTH, TORSO_LENGTH
from hdrvideo.synth.looks import Clothes, Look, draw_look
from hdrvideo.synth.props import Solid, band, block, hair, head, limb, sleeve, torso
from hdrvideo.synth.scene import N_PROP_VERTICES, OWNERS, Props
from hdrvideo.synth.staging import Stage, Thing, Track
from hdrvideo.synth.turns import unit
from hdrvideo.synth.viewpoint import Shooting

F64 = NDArray[np.float64]

_HANDS: Final = (OWNERS.index("right_hand"), OWNERS.index("left_hand"))
_ARMS: Final = (OWNERS.index("right_arm"), OWNERS.index("left_arm"))
_SCENE: Final = OWNERS.index("scene")


@dataclass(frozen=True)
class Piece:
    """One prop over time, in the person's axes; see ``scene.Props``."""

    solid: Solid
    look: Look
    owner: int
    turn: F64
    place_mm: F64


def pieces(
    stage: Stage, track: Track, arms: Arms, joints_mm: F64, clothes: Clothes, model: HandModel
) -> list[Piece]:
    """Collect all props of a clip.

    Args:
        stage: The clip's stage.
        track: Where the hands are.
        arms: Their arms.
        joints_mm: ``(T, 2, 21, 3)`` of the hands.
        clothes: What the person wears.
        model: The hand.
    """
    found = [_of_thing(thing) for thing in track.things]
    for side in (0, 1):
        if track.present[side]:
            found += _arm(stage, track, arms, clothes, side)
            found += _worn(stage, track, arms, joints_mm, clothes, model, side)
        elif track.person:
            found += _hanging(stage, clothes, side)
    return found + _trunk(stage, clothes) if track.person else found


def to_props(found: list[Piece], shooting: Shooting) -> Props:
    """Bring props into the camera's axes."""
    t, n = len(shooting.turn), len(found)
    turn, place = np.zeros((t, n, 3, 3), np.float32), np.zeros((t, n, 3), np.float32)
    local, rgb = np.zeros((n, N_PROP_VERTICES, 3), np.float32), np.zeros((n, 2, 3), np.float32)
    for i, piece in enumerate(found):
        turn[:, i] = shooting.turn @ piece.turn
        place[:, i] = shooting.to_camera(piece.place_mm)
        local[i], rgb[i] = piece.solid.vertices_mm(), piece.look.rgb
    return Props(
        local,
        turn,
        place,
        np.ones((t, n), bool),
        np.array([piece.owner for piece in found], np.int64),
        rgb,
        np.array([piece.look.pattern for piece in found], np.int64),
        np.array([piece.look.roughness for piece in found], np.float32),
    )


def table(stage: Stage, lowest_mm: float) -> Piece:
    """Put a table before the person, with its top just below ``lowest_mm`` (y)."""
    rng = stage.rng
    wide, deep = rng.uniform(450, 800), rng.uniform(280, 450)
    solid = block(wide, 14.0, deep, power=8.0)
    place = np.array([rng.normal(0, 60), lowest_mm + rng.uniform(8, 60) + 14, 150 + deep])
    return _still(stage, solid, draw_look(rng, "table"), place)


def _still(stage: Stage, solid: Solid, look: Look, place_mm: F64) -> Piece:
    turn = np.broadcast_to(np.eye(3), (stage.n, 3, 3))
    return Piece(solid, look, _SCENE, turn, np.broadcast_to(place_mm, (stage.n, 3)))


def _of_thing(thing: Thing) -> Piece:
    return Piece(thing.solid, thing.look, _SCENE, thing.turn, thing.place_mm)


def _flipped(solid: Solid, side: int) -> Solid:
    """Mirror what goes round a right arm for a left one."""
    if not side:
        return solid
    middle = solid.middle_mm * np.array([-1.0, 1.0])
    return Solid(solid.y_mm, solid.x_mm, solid.z_mm, solid.power, middle)


def _along(towards: F64) -> F64:
    """Give turns ``(T, 3, 3)`` that take y to ``towards`` ``(T, 3)``, steady over time."""
    y = unit(towards)
    axis = np.eye(3)[np.abs(y).mean(axis=0).argmin()]
    x = unit(axis - (y @ axis)[:, None] * y)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _arm(stage: Stage, track: Track, arms: Arms, clothes: Clothes, side: int) -> list[Piece]:
    """Give the upper arm, and the sleeve where there is one."""
    arm = stage.arm
    elbow, shoulder = arms.elbow_mm[:, side], arms.shoulder_mm[:, side]
    thick = max(arm.x_mm[-1], arm.z_mm[-1])
    start = clothes.sleeve_mm
    covered = start is not None
    near = thick * 1.05 + (5 if covered else 0)
    upper = limb(arm.upper_mm, near, 1.12 * near)
    look = clothes.sleeve if clothes.short or covered else clothes.skin
    found = [Piece(upper, look, _ARMS[side], _along(shoulder - elbow), elbow)]
    if start is not None:
        y = np.linspace(start, arm.elbow_mm[1], 9)
        x, z, middle = arm.outline(y)
        cuff = float(stage.rng.uniform(0, 5))
        cloth = sleeve(y, x, z, middle, float(stage.rng.uniform(4, 14)), cuff)
        turn = arms.forearm[:, side]
        found.append(
            Piece(_flipped(cloth, side), clothes.sleeve, _ARMS[side], turn, track.wrist_mm[:, side])
        )
    return found


def _worn(
    stage: Stage,
    track: Track,
    arms: Arms,
    joints_mm: F64,
    clothes: Clothes,
    model: HandModel,
    side: int,
) -> list[Piece]:
    """Give watch and ring of a hand, if it wears them."""
    found = []
    bare = clothes.sleeve_mm is None or clothes.sleeve_mm > 55
    if clothes.watch == side and bare:
        found += _watch(stage, track, arms, side)
    if clothes.ring is not None and clothes.ring[0] == side:
        found.append(_ring(stage, track, joints_mm, model, side, clothes.ring[1]))
    return found


def _watch(stage: Stage, track: Track, arms: Arms, side: int) -> list[Piece]:
    """Give a band round the forearm, mostly with a watch's face on its back."""
    rng = stage.rng
    y = float(rng.uniform(24, 38))
    x, z, middle = stage.arm.outline(np.array([y]))
    strap = band(float(x[0]) + 2.0, float(z[0]) + 2.0, float(rng.uniform(5, 11)))
    local = np.array([middle[0, 0] * (-1 if side else 1), y, middle[0, 1]])
    turn, wrist = arms.forearm[:, side], track.wrist_mm[:, side]
    look = draw_look(rng, "metal")
    found = [Piece(strap, look, _ARMS[side], turn, wrist + turn @ local)]
    if rng.random() < 0.7:
        size = float(rng.uniform(13, 19))
        dial = block(size, 4.0, size, power=float(rng.choice([2.0, 8.0])))
        upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        place = wrist + turn @ (local + np.array([0, 0, z[0] + 3.0]))
        found.append(Piece(dial, draw_look(rng, "metal"), _ARMS[side], turn @ upright, place))
    return found


def _ring(
    stage: Stage, track: Track, joints_mm: F64, model: HandModel, side: int, finger: int
) -> Piece:
    """Give a ring round the first bone of a finger."""
    base, middle = joints_mm[:, side, 4 * finger + 1], joints_mm[:, side, 4 * finger + 2]
    rest = model.template_mm.numpy() + np.einsum("n,nvc->vc", stage.shape, model.shape_mm.numpy())
    bones = model.joints_mm.numpy() + np.einsum(
        "n,njc->jc", stage.shape, model.shape_joints_mm.numpy()
    )
    start, end = bones[4 * finger + 1], bones[4 * finger + 2]
    along = unit(end - start)
    skin = rest[model.part.numpy() == PARTS.index(PARTS[finger + 1])]
    offset = skin - (start + 0.62 * (end - start))
    near = offset[np.abs(offset @ along) < 4.0]
    aside = near - (near @ along)[:, None] * along
    out = np.linalg.norm(aside, axis=1)
    wide = float(np.abs(near @ unit(np.cross(along, [0, 0, 1.0]))).max()) if len(near) else 9.0
    deep = float(np.median(out)) if len(near) else 8.0
    centre = aside.mean(axis=0) if len(near) else np.zeros(3)
    back = track.turn[:, side] @ np.array([0.0, 0, 1])
    y = unit(middle - base)
    z = unit(back - (back * y).sum(axis=1, keepdims=True) * y)
    turn = np.stack([np.cross(y, z), y, z], axis=-1)
    place = base + 0.62 * (middle - base) + z * centre[2]
    solid = band(wide + 1.0, max(deep, 0.85 * wide) + 1.0, float(stage.rng.uniform(1.5, 3.5)))
    return Piece(solid, draw_look(stage.rng, "metal"), _HANDS[side], turn, place)


def _hanging(stage: Stage, clothes: Clothes, side: int) -> list[Piece]:
    """Give an arm whose hand is out of sight behind the back."""
    arm: ArmShape = stage.arm
    out = -1.0 if side else 1.0
    shoulder = np.array([out * arm.shoulder_mm, 0, 0])
    elbow = shoulder + arm.upper_mm * unit(np.array([0.2 * out, 0.9, -0.4]))
    hand = elbow + arm.forearm_mm * unit(np.array([-0.75 * out, 0.3, -0.45]))
    thick = float(arm.x_mm[-1]) + 6
    parts = ((elbow, shoulder, thick, 1.1 * thick), (elbow, hand, thick, 0.7 * thick))
    look = clothes.sleeve if clothes.short else clothes.skin
    found = []
    for start, end, near, far in parts:
        length = float(np.linalg.norm(end - start))
        turn = _along(np.broadcast_to(end - start, (stage.n, 3)))
        place = np.broadcast_to(start, (stage.n, 3))
        found.append(Piece(limb(length, near, far), look, _SCENE, turn, place))
    return found


def _legs(stage: Stage, look: Look) -> list[Piece]:
    """Give two legs, standing, or sitting with the thighs forward."""
    half, found = stage.arm.shoulder_mm, []
    sits = stage.rng.random() < 0.4
    for aside in (0.42, -0.42):
        hip = np.array([aside * half, (TORSO_LENGTH - 0.1) * half, 0.0])
        knee = hip + half * np.array([0.8 * aside, 0.3, 2.4] if sits else [0.2 * aside, 2.4, 0.1])
        foot = knee + half * np.array([0.1 * aside, 2.4, -0.1])
        for start, end, near, far in ((hip, knee, 0.4, 0.31), (knee, foot, 0.3, 0.22)):
            leg = limb(float(np.linalg.norm(end - start)), near * half, far * half)
            turn = _along(np.broadcast_to(end - start, (stage.n, 3)))
            place = np.broadcast_to(start, (stage.n, 3))
            found.append(Piece(leg, look, _SCENE, turn, place))
    return found


def _trunk(stage: Stage, clothes: Clothes) -> list[Piece]:
    """Give chest, legs (standing, or sitting with the thighs forward), head and hair."""
    half = stage.arm.shoulder_mm
    body = torso(half, TORSO_LENGTH * half, TORSO_DEPTH * half)
    found = [_still(stage, body, clothes.sleeve, np.zeros(3))]
    found += _legs(stage, clothes.trousers)
    if stage.view.camera != "egocentric":
        found.append(_still(stage, head(half), clothes.skin, np.zeros(3)))
        found.append(_still(stage, hair(half), clothes.hair, np.zeros(3)))
    return found
