"""Where the hand model's joints are, and how its skin follows them."""

import numpy as np
import pytest
import torch
from hands import turned

from hdrvideo.hand import FINGERS, JOINTS
from hdrvideo.handmodel import PARTS, SKIN_BONES, HandModel

# Buryanov & Kotiuk (2010), means of 66 adults, mm: metacarpal, phalanges, the last with its pulp.
XRAY_MM = {
    "thumb": (46.2, 31.6, 27.4),
    "index": (68.1, 39.8, 22.4, 19.6),
    "middle": (64.6, 44.6, 26.3, 21.4),
    "ring": (58.0, 41.4, 25.7, 21.3),
    "little": (53.7, 32.7, 18.1, 19.7),
}
CARPUS_MM = 0.54 * 64.6
four_fingers = pytest.mark.parametrize("finger", FINGERS[1:])


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel()


def chain_mm(hand: HandModel, finger: str) -> torch.Tensor:
    """Give a flat finger's joints ``(4, 3)``, base to tip."""
    joints_mm = hand(torch.zeros(1, 16, 3)).joints_mm[0]
    return joints_mm[[j for j, name in enumerate(JOINTS) if name.startswith(finger)]]


def along_and_beside(hand: HandModel, finger: str, joint: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Give each vertex's place ``(V,)`` along a flat finger from a joint, and how far beside it."""
    chain = chain_mm(hand, finger)
    axis = torch.nn.functional.normalize(chain[2] - chain[1], dim=0)
    from_joint = hand(torch.zeros(1, 16, 3)).vertices_mm[0] - chain[joint]
    along = from_joint @ axis
    return along, (from_joint - along[:, None] * axis)[:, 0].abs()


@pytest.mark.parametrize("finger", FINGERS)
def test_bones_have_published_proportions(hand, finger):
    chain = chain_mm(hand, finger)
    found_mm = chain.diff(dim=0).norm(dim=-1)
    expected_mm = torch.tensor(XRAY_MM[finger])
    if finger != "thumb":
        found_mm = torch.cat([chain[:1].norm(dim=-1), found_mm])
        expected_mm[0] += CARPUS_MM
    assert found_mm.sum() / expected_mm.sum() == pytest.approx(1, abs=0.03)
    shares = found_mm / found_mm.sum() / (expected_mm / expected_mm.sum())
    assert (shares - 1).abs().max() < 0.06


@four_fingers
@pytest.mark.parametrize(("joint", "near_mm"), [(0, 6), (1, 3), (2, 3)])
def test_skin_bends_where_the_joint_is(hand, finger, joint, near_mm):
    first = SKIN_BONES.index(f"{finger}_{('mcp', 'pip', 'dip')[joint]}")
    last = SKIN_BONES.index(f"{finger}_dip")
    beyond = hand.skin_weights[:, first : last + 1].sum(dim=1)
    along, beside = along_and_beside(hand, finger, joint)
    skin = (beside < 5) & (along.abs() < 25)
    here, share = along[skin].numpy(), beyond[skin].numpy()
    places_mm = np.linspace(-20, 15, 36)
    shares = [np.average(share, weights=np.exp(-(((here - mm) / 3) ** 2))) for mm in places_mm]
    assert abs(places_mm[np.argmin(np.abs(np.array(shares) - 0.5))]) <= near_mm


@four_fingers
def test_a_bent_finger_leaves_the_others_alone(hand, finger):
    flat, bent = hand(torch.zeros(1, 16, 3)), hand(turned(f"{finger}_mcp", flexion=60))
    moved_mm = (bent.vertices_mm - flat.vertices_mm)[0].norm(dim=-1)
    for other in FINGERS[1:]:
        length_mm = chain_mm(hand, other).diff(dim=0).norm(dim=-1).sum()
        along, beside = along_and_beside(hand, other, 0)
        of_other = (beside < 4) & (along > 0) & (along < length_mm)
        of_other &= hand.part == PARTS.index(other)
        assert of_other.sum() > 20
        if other == finger:
            assert moved_mm[of_other & (along > 20)].min() > 12
        else:
            assert moved_mm[of_other].max() < 4


@pytest.mark.parametrize("flexion", [45, 90])
@four_fingers
def test_bent_skin_does_not_tear(hand, finger, flexion):
    edges = hand.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    flat, bent = hand(torch.zeros(1, 16, 3)), hand(turned(f"{finger}_mcp", flexion=flexion))
    lengths_mm = [
        (posed.vertices_mm[0, edges[:, 0]] - posed.vertices_mm[0, edges[:, 1]]).norm(dim=-1)
        for posed in (flat, bent)
    ]
    # The web between two fingers of which one is bent square is stretched on a real hand as well.
    assert (lengths_mm[1] - lengths_mm[0]).max() < 10
    assert (lengths_mm[1] / lengths_mm[0]).max() < 3.5


def test_the_forearm_ends_in_a_plane_at_the_elbow(hand):
    vertices_mm = hand(torch.zeros(1, 16, 3)).vertices_mm[0]
    edges = hand.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).sort(dim=1).values
    pairs, counts = edges.unique(dim=0, return_counts=True)
    rim, uses = pairs[counts == 1].unique(return_counts=True)
    assert (uses == 2).all(), "a ring"
    rim_mm = vertices_mm[rim]
    middle = rim_mm.mean(dim=0)
    assert torch.linalg.svdvals(rim_mm - middle)[2] < 0.1
    assert 200 < rim_mm[:, 1].min() < rim_mm[:, 1].max() < 255
    assert (rim_mm - middle).norm(dim=-1).max() < 60
    assert vertices_mm[:, 1].max() == rim_mm[:, 1].max()
