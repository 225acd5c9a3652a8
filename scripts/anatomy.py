"""Anatomical joints for MakeHuman's hand: where its rig departs from published hands, and by what.

MakeHuman's rig bends the fingers too near the palm's edge: its index has a metacarpal (with the
wrist's bones) of 108 mm and phalanges of 27, 24 and 27. The joints are truth that nets learn, so
the bake moves them along their own bones by :data:`MOVED_MM` and blends the skin round the new
places. Neither the mesh nor the wrist nor the tips move.

* **Where to**: Buryanov & Kotiuk, "Proportions of Hand Segments", Int. J. Morphol. 28 (2010):755,
  give metacarpal, three phalanges and pulp from X-rays of 66 adults. Wrist to knuckle is the
  metacarpal and the carpus, 0.54 of the third metacarpal (Youm et al., J Bone Joint Surg Am 60
  (1978):423). Each ray of this rig, wrist to tip, is as long as theirs to 3 %, which also says that
  its wrist lies where theirs does, between radius and carpus.
* **Checked against the skin**: Bugbee & Botte, Clin Orthop 296 (1993):122, measured creases against
  joints: the finger's base crease 14 to 20 mm beyond the mcp, the others 2 to 3 mm before the pip
  and 7 to 8 mm before the dip, the wrist's 13.5 mm beyond the radius and 19.4 mm before the
  thumb's cmc. Where this mesh's creases disagree with the table, a place between was taken.
* **Result**: within 6 % of the table everywhere, within 3 % for most (see tests/test_handmodel.py).
  The mcp go 4.5 to 9 mm towards the wrist; pip and dip go outwards, because the table and the
  creases both say that the rig's distal phalanges are too long, not its metacarpals only.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Millimetres along the straight finger of the mean hand, positive towards the tip; thumb to little.
# The thumb's cmc does not follow its bone: it goes towards the wrist.
MOVED_MM: Final = (
    (-10.0, 5.5, 0.0),
    (-5.5, 7.0, 7.0),
    (-4.5, 7.0, 6.0),
    (-7.0, 4.5, 5.5),
    (-9.0, 0.0, 1.5),
)
# Half the stretch of skin, mm, over which a bone's share grows from none to all.
KNUCKLE_MM, THUMB_MCP_MM, HINGE_MM = 14.0, 11.0, 9.5
# Sideways a knuckle takes skin with it fully up to the first share of the way to the next knuckle
# and not at all beyond the second.
SIDE_SHARES: Final = (0.1, 0.7)
# On the palm's side skin bends further out (the crease lies 14 to 20 mm beyond the joint): so much
# of its depth below the joint.
LEAN: Final = 0.6


def shortest_turn(start: Array, goal: Array) -> Array:
    """Give the smallest rotation that takes one unit vector to another, not its opposite."""
    axis = np.cross(start, goal)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + start @ goal))


def straightened(bones: Array, is_thumb: bool) -> tuple[Array, Array]:
    """Give a finger's bone directions ``(3, 3)`` at the flat hand, and its hinge before that.

    A finger lies straight in the palm's plane, spread as at rest, and hinges square to that plane;
    the rest's own bend agrees with this hinge to a few degrees. The thumb keeps the direction of
    its metacarpal; its hinge is the axis of its rest's last bend, which is also the long axis of
    the cross-section under its nail. Its mcp bends sideways in anny's rest, and that stays.
    """
    if not is_thumb:
        goal = unit(bones[0] * (1, 1, 0))
        return np.stack([goal] * 3), np.cross(-goal, (0, 0, 1))
    hinge = unit(np.cross(bones[1], bones[2]))
    inside = unit(bones - np.outer(bones @ hinge, hinge))
    straight = shortest_turn(inside[1], inside[0]) @ bones[1]
    return np.stack([bones[0], straight, straight]), hinge


def flat_frames(joints_mm: Array) -> tuple[Array, Array]:
    """Give each moving bone's axes at the flat hand and its turn from rest, ``(15, 3, 3)`` each.

    Args:
        joints_mm: ``(21, 3)`` of the mean hand at rest, in our order.
    """
    axes, turns = [], []
    for finger in range(5):
        bones = unit(np.diff(joints_mm[1 + 4 * finger : 5 + 4 * finger], axis=0))
        goals, hinge = straightened(bones, is_thumb=finger == 0)
        turn = np.eye(3)
        for bone, goal in zip(bones, goals, strict=True):
            turn = shortest_turn(turn @ bone, goal) @ turn
            x = unit(hinge - goal * (hinge @ goal))
            axes.append(np.stack([x, -goal, np.cross(x, -goal)], axis=1))
            turns.append(turn)
    return np.stack(axes), np.stack(turns)


def corrected(
    vertices_mm: Array, joints_mm: Array, weights: Array, axes: Array, turns: Array
) -> tuple[Array, Array, Array, Array]:
    """Straighten the hand by the rig's own joints, then give it anatomical ones.

    Args:
        vertices_mm: ``(1 + N, V, 3)`` of the mean hand at rest and of its shape components.
        joints_mm: ``(1 + N, 21, 3)`` likewise.
        weights: ``(V, 17)``.
        axes: ``(15, 3, 3)`` of :func:`flat_frames`.
        turns: ``(15, 3, 3)`` likewise.

    Returns:
        The first four, the first two of the flat hand.
    """
    vertices_mm, joints_mm = flattened(vertices_mm, joints_mm, weights, turns)
    joints_mm = moving(joints_mm[0]) @ joints_mm
    weights = reweighted(vertices_mm[0], joints_mm[0], weights)
    # All bones keep their direction but the thumb's metacarpal.
    y = unit(joints_mm[0, 1] - joints_mm[0, 2])
    x = unit(axes[0, :, 0] - y * (y @ axes[0, :, 0]))
    axes = np.concatenate([np.stack([x, y, np.cross(x, y)], axis=1)[None], axes[1:]])
    return vertices_mm, joints_mm, weights, axes


def flattened(
    vertices_mm: Array, joints_mm: Array, weights: Array, turns: Array
) -> tuple[Array, Array]:
    """Skin vertices ``(n, V, 3)`` and joints ``(n, 21, 3)`` from rest to the flat hand.

    It is linear in both, so it takes a shape component as it takes a hand.
    """
    bones = np.concatenate([np.eye(3)[None], turns, np.eye(3)[None]])
    chains_mm = joints_mm[:, 1:].reshape(-1, 5, 4, 3)
    steps_mm = np.einsum("flij,nflj->nfli", turns.reshape(5, 3, 3, 3), np.diff(chains_mm, axis=2))
    chains_mm = np.concatenate([chains_mm[:, :, :1], steps_mm], axis=2).cumsum(axis=2)
    flat_mm = np.concatenate([joints_mm[:, :1], chains_mm.reshape(-1, 20, 3)], axis=1)
    heads = [0, *(1 + 4 * finger + level for finger in range(5) for level in range(3)), 0]
    shifts_mm = flat_mm[:, heads] - np.einsum("bij,nbj->nbi", bones, joints_mm[:, heads])
    mixed = np.einsum("vb,bij->vij", weights, bones)
    return np.einsum("vij,nvj->nvi", mixed, vertices_mm) + weights @ shifts_mm, flat_mm


def moving(joints_mm: Array) -> Array:
    """Give the matrix ``(21, 21)`` that moves joints by shares of their bones, for any person.

    Args:
        joints_mm: ``(21, 3)`` of the mean flat hand.
    """
    matrix = np.eye(21)
    for finger, moves_mm in enumerate(MOVED_MM):
        for level, move_mm in enumerate(moves_mm):
            joint = 1 + 4 * finger + level
            other, sign = (0, -1) if joint == 1 else (joint + 1, 1)
            share = sign * move_mm / np.linalg.norm(joints_mm[other] - joints_mm[joint])
            matrix[joint, joint] -= share
            matrix[joint, other] += share
    return matrix


def reweighted(template_mm: Array, joints_mm: Array, weights: Array) -> Array:
    """Blend the skin round moved joints.

    Args:
        template_mm: ``(V, 3)`` mean vertices of the flat hand.
        joints_mm: ``(21, 3)`` its joints, moved.
        weights: ``(V, 17)`` as rigged: palm, three bones of each finger, forearm.

    Returns:
        ``(V, 17)``; rows sum to one.
    """
    palm, rigged = weights[:, :1], weights[:, 1:16].reshape(-1, 5, 3)
    fingers = rigged.sum(axis=2)
    # What the fingers gain comes from the palm only, so no finger takes from another.
    gain = np.maximum(knuckles(template_mm, joints_mm) - fingers[:, 1:], 0)
    gain *= np.minimum(1, palm / np.maximum(gain.sum(axis=1, keepdims=True), 1e-9))
    fingers[:, 1:] += gain
    split = np.stack([splits(template_mm, joints_mm[1 + 4 * f : 5 + 4 * f]) for f in range(5)], 1)
    # Of the thumb's three bones only the first two change their border; its cmc's skin stays.
    last = rigged[:, 0, 2] / np.maximum(rigged[:, 0].sum(axis=1), 1e-9)
    beyond_mm = (template_mm - joints_mm[2]) @ axis_at(joints_mm[1:5], 1)
    second = rise(beyond_mm, THUMB_MCP_MM) * (1 - last)
    split[:, 0] = np.stack([1 - second - last, second, last], axis=1)
    bones = (fingers[:, :, None] * split).reshape(-1, 15)
    palm = palm - gain.sum(axis=1, keepdims=True)
    return np.concatenate([palm, bones, weights[:, 16:]], axis=1).clip(0, 1)


def knuckles(template_mm: Array, joints_mm: Array) -> Array:
    """Give the share ``(V, 4)`` of the four fingers round their mcp, falling off sideways."""
    places_mm = joints_mm[5::4]
    shares = []
    for k, place_mm in enumerate(places_mm):
        along = unit(joints_mm[6 + 4 * k] - place_mm)
        side = unit(np.cross(along, (0.0, 0.0, 1.0)))
        beside_mm = (template_mm - place_mm) @ side
        near_mm = [(places_mm[n] - place_mm) @ side for n in (k - 1, k + 1) if 0 <= n < 4]
        gap_mm = {bool(mm > 0): abs(mm) for mm in near_mm}
        inner_mm = min(gap_mm.values())
        # Beyond the outermost knuckles there is only the edge of the hand.
        room_mm = np.where(
            beside_mm > 0, gap_mm.get(True, 2.5 * inner_mm), gap_mm.get(False, 2.5 * inner_mm)
        )
        first, second = SIDE_SHARES
        middle, half = (first + second) / 2, (second - first) / 2
        beside = rise(middle - np.abs(beside_mm) / room_mm, half)
        depth_mm = np.maximum(place_mm[2] - template_mm[:, 2], 0)
        along_mm = (template_mm - place_mm) @ along - LEAN * depth_mm
        shares.append(beside * rise(along_mm, KNUCKLE_MM))
    return np.stack(shares, axis=1)


def splits(template_mm: Array, chain_mm: Array) -> Array:
    """Share a finger's skin ``(V, 3)`` among its bones by the place along its chain ``(4, 3)``."""
    second, third = (
        rise((template_mm - chain_mm[level]) @ axis_at(chain_mm, level), HINGE_MM)
        for level in (1, 2)
    )
    return np.stack([1 - second, second * (1 - third), second * third], axis=1)


def axis_at(chain_mm: Array, level: int) -> Array:
    """Give the direction of a finger at a joint: between the bones before and after it."""
    before, after = np.diff(chain_mm, axis=0)[level - 1 : level + 1]
    return unit(unit(before) + unit(after))


def rise(value: Array, half: float) -> Array:
    """Rise smoothly from 0 at ``-half`` to 1 at ``half``."""
    t = np.clip((value / half + 1) / 2, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def unit(vector: Array) -> Array:
    """Scale vectors to length one."""
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))
