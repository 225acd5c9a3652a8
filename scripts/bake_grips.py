"""Bake ``hdrvideo/weights/grips.npz``: how two hands touch, clasp and hold one another.

Each kind below is a rough pose of both hands, written down by hand. Jittered copies of it are
relaxed together (Adam over the wrists' relation and all finger angles) until the balls of the two
hands, and of each hand with itself, no longer overlap, the named parts meet, and the angles stay
within the limits and near the idea. What then still overlaps or does not meet is thrown away.

Run: ``python scripts/bake_grips.py`` (some 10 minutes on one core). Run it again when the hand
model changes.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from hdrvideo.hand import FINGERS, KNUCKLES
from hdrvideo.handmodel import (
    JOINT_LIMITS_DEG,
    PARTS,
    POSE_JOINTS,
    HandModel,
    axis_angle_to_matrix,
    joint_rotation,
    matrix_to_axis_angle,
)
from hdrvideo.synth.contact import BallHand, ball_hand

N_STEPS = 200
# What is kept: the least energies below the limit whose meshes overlap and gape by less.
LIMIT = {"touching": 80.0, "interlocked": 350.0}
N_KEPT, OVERLAP_MM, GAP_MM = 24, 3.0, 5.0

# Flexion of the three joints of thumb, index, middle, ring and little finger, degrees.
# fmt: off
FLAT = ((0, 0, 0), (5, 5, 5), (5, 5, 5), (5, 5, 5), (5, 5, 5))
RELAXED = ((10, 15, 15), (20, 25, 10), (25, 30, 15), (28, 32, 15), (30, 32, 15))
HALF = ((15, 20, 25), (45, 45, 25), (48, 48, 25), (50, 48, 25), (50, 45, 25))
FIST = ((30, 35, 40), (75, 90, 50), (78, 92, 50), (80, 92, 50), (80, 90, 50))
CLASP = ((15, 15, 15), (60, 45, 15), (62, 45, 15), (62, 45, 15), (60, 45, 15))
PINCH = ((35, 20, 20), (45, 45, 20), (40, 40, 20), (45, 40, 20), (45, 40, 20))
HOOK = ((10, 10, 10), (25, 80, 40), (25, 80, 40), (25, 80, 40), (25, 80, 40))
CUP = ((5, 5, 5), (20, 15, 8), (22, 18, 8), (24, 18, 8), (26, 18, 8))
POINT = (FIST[0], (8, 8, 5), *FIST[2:])
LOOSE_FIST = ((20, 20, 20), *FIST[1:])
# fmt: on


@dataclass(frozen=True)
class Kind:
    """A rough pose. All in the axes of the flat right hand, wrist at the origin.

    Attributes:
        name: What it is called.
        relation: ``touching`` or ``interlocked``.
        right: Bends (degrees, three joints a finger) of the right hand.
        left: Of the left hand.
        fingers: Where the left hand's fingers point.
        palm: Where its palm looks.
        meet: Places ``right:left`` that shall meet; the first pair also places the left hand.
        off_mm: Distance of the first pair before relaxing.
        turn_deg: How far the left hand may be turned at random.
        shift_mm: How far it may be shifted at random.
        spread: Abduction of index and little, degrees, both hands.
        knuckles_mm: How far the rows of knuckles may be apart, or None.
        tries: How many jittered copies.
    """

    name: str
    relation: str
    right: tuple[tuple[int, ...], ...]
    left: tuple[tuple[int, ...], ...]
    fingers: tuple[float, float, float]
    palm: tuple[float, float, float]
    meet: tuple[str, ...]
    off_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_deg: float = 20.0
    shift_mm: float = 8.0
    spread: float = 0.0
    knuckles_mm: float | None = None
    tries: int = 96

    @property
    def places(self) -> list[tuple[str, str]]:
        """The places that shall meet, of the right and the left hand."""
        return [(right, left) for right, left in (pair.split(":") for pair in self.meet)]


# fmt: off
KINDS = (
    Kind("prayer", "touching", FLAT, FLAT, (0, -1, 0), (0, 0, 1), ("palm:palm",
         "middle_tip:middle_tip", "little_tip:little_tip"), (0, 0, -30), turn_deg=8),
    Kind("clap", "touching", FLAT, FLAT, (-0.5, -0.8, 0), (0, 0, 1), ("palm:palm",), (0, 0, -30),
         turn_deg=25, shift_mm=15),
    Kind("clap_across", "touching", CUP, CUP, (-1, -0.3, 0), (0, 0, 1), ("palm:palm",), (0, 0,
         -30), turn_deg=25, shift_mm=12),
    Kind("steeple", "touching", RELAXED, RELAXED, (0, -0.8, 0.6), (0, -0.6, 0.8),
         ("thumb_tip:thumb_tip", "index_tip:index_tip", "middle_tip:middle_tip",
         "ring_tip:ring_tip", "little_tip:little_tip"), (0, 0, -12), turn_deg=10),
    Kind("index_tips", "touching", POINT, POINT, (1, 0.0, 0.2), (0, 0, -1),
         ("index_tip:index_tip",), (0, -8, 0), turn_deg=30),
    Kind("pinch_finger", "touching", PINCH, RELAXED, (-0.3, 0.2, -1), (1, 0, 0),
         ("index_tip:index_tip", "thumb_tip:index_tip"), (0, 0, -10), turn_deg=35),
    Kind("on_back", "touching", CUP, RELAXED, (-0.4, -0.9, 0), (0, 0, -1), ("palm:back",), (0, 0,
         -28), turn_deg=30, shift_mm=15),
    Kind("on_back_across", "touching", CUP, RELAXED, (-1, 0, 0), (0, 0, -1), ("palm:back",), (0, 0,
         -28), turn_deg=25, shift_mm=15),
    Kind("hold_wrist", "touching", HALF, RELAXED, (-1, 0.1, 0), (0, 0, -1), ("palm:wrist",
         "middle_tip:wrist", "thumb_tip:wrist"), (0, -25, -35)),
    Kind("sides", "touching", CUP, CUP, (0, -1, 0), (0, 0.1, -1), ("little:little", "ulnar:ulnar"),
         (-18, 0, 0), turn_deg=15),
    Kind("fists", "touching", FIST, FIST, (0, 1, 0), (0, 0, -1), ("index:index", "middle:middle"),
         (0, -35, 0), shift_mm=12, tries=192),
    Kind("fist_on_palm", "touching", CUP, FIST, (-0.7, 0, 0.7), (-0.7, 0, -0.7), ("palm:middle",
         "palm:ring"), (0, 0, -35), turn_deg=25, shift_mm=12),
    Kind("point_palm", "touching", CUP, POINT, (-0.3, -0.3, 1), (0.5, 0.8, 0.2),
         ("palm:index_tip",), (0, 0, -10), turn_deg=30, shift_mm=15),
    Kind("tips_on_back", "touching", RELAXED, RELAXED, (-0.8, -0.5, 0), (0, 0, -1),
         ("middle_tip:back", "index_tip:back", "ring_tip:back"), (0, 0, -15), turn_deg=30,
         shift_mm=15),
    Kind("tips_on_palm", "touching", CUP, RELAXED, (-0.8, 0, 0.6), (-0.5, 0, 0.8),
         ("palm:middle_tip", "palm:index_tip"), (0, 0, -12), turn_deg=30, shift_mm=15),
    Kind("cross_wrists", "touching", RELAXED, RELAXED, (0.7, -0.7, 0), (0, 0, -1),
         ("wrist:wrist",), (0, 0, -45), turn_deg=30, shift_mm=15),
    Kind("clasp", "interlocked", CLASP, CLASP, (0, -1, 0.25), (0, 0.25, 1), ("palm:palm",
         "middle_tip:back", "ring_tip:back", "back:middle_tip", "back:ring_tip"), (10, 0, -48),
         turn_deg=10, shift_mm=4, spread=16, knuckles_mm=55.0, tries=288),
    Kind("clasp_turned", "interlocked", CLASP, CLASP, (-0.6, -0.8, 0.2), (0, 0.2, 1), ("palm:palm",
         "middle_tip:back", "ring_tip:back", "back:middle_tip", "back:ring_tip"), (10, 0, -48),
         turn_deg=12, shift_mm=4, spread=16, knuckles_mm=55.0, tries=288),
    Kind("laced_flat", "interlocked", CUP, CUP, (0, -0.35, 0.95), (0, 0.95, 0.35),
         ("middle:middle", "ring:ring", "index:middle", "middle:ring"), (10, -10, 0), turn_deg=14,
         shift_mm=4, spread=16, knuckles_mm=85.0),
    Kind("laced_out", "interlocked", RELAXED, RELAXED, (0, 0.4, 0.9), (0, 0.9, -0.4),
         ("middle:middle", "ring:ring", "index:middle", "middle:ring"), (10, -8, 0), turn_deg=14,
         shift_mm=4, spread=16, knuckles_mm=85.0),
    Kind("laced_back", "interlocked", CLASP, RELAXED, (0, -1, 0.1), (0, -0.1, -1), ("palm:back",
         "middle:ring", "middle_tip:palm", "ring_tip:palm"), (10, 5, -34), turn_deg=10, shift_mm=4,
         spread=16, knuckles_mm=45.0),
    Kind("gable", "interlocked", HALF, HALF, (-1, -0.1, 0), (0, 0, 1), ("palm:palm",
         "middle_tip:back", "ring_tip:back", "back:middle_tip", "back:ring_tip"), (0, 0, -36),
         turn_deg=15, tries=192),
    Kind("hook", "interlocked", HOOK, HOOK, (0, 1, 0), (0, 0, 1), ("middle:middle", "ring:index",
         "index:ring", "little_tip:index", "middle_tip:palm"), (0, 0, 0), turn_deg=12, shift_mm=6),
    Kind("fist_in_hand", "interlocked", HALF, FIST, (-0.3, 0.2, 1), (0, 1, 0), ("palm:middle",
         "palm:ring", "middle_tip:back", "ring_tip:back"), (0, 0, -40)),
    Kind("hold_fingers", "interlocked", HALF, FLAT, (-1, 0, 0), (0, 0.6, 0.8), ("palm:middle",
         "middle_tip:middle", "thumb_tip:index"), (0, 0, -32), tries=192),
    Kind("hold_index", "interlocked", LOOSE_FIST, POINT, (-1, 0, 0), (0, 0.6, 0.8), ("palm:index",
         "middle_tip:index", "index_tip:index", "ring_tip:index"), (0, 0, -22)),
    Kind("hold_thumb", "interlocked", LOOSE_FIST, HALF, (0, 0, -1), (0, -1, 0), ("palm:thumb",
         "middle_tip:thumb", "index_tip:thumb"), (0, 0, -22), turn_deg=25),
    Kind("grasp_hand", "interlocked", HALF, RELAXED, (-1, 0, 0.1), (0, 0, -1), ("palm:back",
         "middle_tip:palm", "thumb_tip:palm", "ring_tip:palm"), (0, 0, -36)),
)
# fmt: on


class Places:
    """Which balls belong to a named place of the hand."""

    def __init__(self, balls: BallHand) -> None:
        rest = balls.model.template_mm
        joints = balls.model.joints_mm
        part = torch.from_numpy(balls.part)
        palm = part == PARTS.index("palm")
        y = rest[:, 1]
        self.of: dict[str, Tensor] = {}
        radius = torch.from_numpy(balls.radius_mm).float()
        self.of["palm"] = palm & (y < -35) & (rest[:, 2] - radius < -10)
        self.of["back"] = palm & (y < -35)
        self.of["ulnar"] = palm & (rest[:, 0] < -20)
        self.of["wrist"] = (part == PARTS.index("forearm")) & (y < 60)
        for f, finger in enumerate(FINGERS):
            mine = part == PARTS.index(finger)
            tip, base = joints[4 + 4 * f], joints[1 + 4 * f]
            self.of[finger] = mine & ((rest - base).norm(dim=-1) > 18)
            self.of[f"{finger}_tip"] = mine & ((rest - tip).norm(dim=-1) < 13)
        for name, chosen in self.of.items():
            if not chosen.any():
                raise SystemExit(f"no ball lies at {name}")


def bends(pose: tuple[tuple[int, ...], ...], spread: float) -> Tensor:
    """Give ``(15, 3)`` degrees of flexion, abduction, twist."""
    out = torch.zeros(5, 3, 3)
    out[..., 0] = torch.tensor(pose)
    out[1:, 0, 1] = spread * torch.tensor([1.0, 0.25, -0.4, -1.0])
    return out.flatten(0, 1)


def frame(fingers: tuple, palm: tuple) -> Tensor:
    """Give the turn of a hand whose fingers and palm look there."""
    d = torch.nn.functional.normalize(torch.tensor(fingers, dtype=torch.float32), dim=0)
    n = torch.tensor(palm, dtype=torch.float32)
    n = torch.nn.functional.normalize(n - (n @ d) * d, dim=0)
    return torch.stack([torch.linalg.cross(d, n), -d, -n], dim=1)


class Relaxer:
    """Relaxes a batch of tries of one kind."""

    def __init__(self, balls: BallHand) -> None:
        self.balls, self.places = balls, Places(balls)
        self.radius = torch.from_numpy(balls.radius_mm).float()
        self.sums = self.radius[:, None] + self.radius
        table = torch.tensor([JOINT_LIMITS_DEG[name] for name in POSE_JOINTS[1:]])
        self.low, self.high = table[..., 0], table[..., 1]
        self.own = self._own_pairs()

    def _own_pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of balls of one hand that must not overlap, and by how much they do at rest."""
        part = torch.from_numpy(self.balls.part)
        rest = self.balls.model.template_mm
        gap = torch.cdist(rest, rest) - self.sums
        finger = (part >= 1) & (part <= 5)
        wanted = (part[:, None] != part) & finger[:, None] & (part != 6)
        wanted &= (gap > -2) & ((part[:, None] < part) | (part == 0))
        i, j = wanted.nonzero(as_tuple=True)
        return i, j, self.sums[i, j] + gap[i, j].clamp(max=0)

    def pose(self, angles: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
        """Give the balls ``(B, 2, N, 3)``."""
        b = len(angles)
        fingers = joint_rotation(torch.deg2rad(angles)).reshape(2 * b, 15, 3, 3)
        eye = torch.eye(3).expand(b, 3, 3)
        wrist = torch.stack([eye, axis_angle_to_matrix(turn)], dim=1).reshape(2 * b, 1, 3, 3)
        place = torch.stack([torch.zeros_like(shift), shift], dim=1).reshape(2 * b, 3)
        side = torch.arange(2).repeat(b)
        posed = self.balls.model(torch.cat([wrist, fingers], 1), side=side, wrist_mm=place)
        return posed.vertices_mm.reshape(b, 2, -1, 3)

    def energy(self, kind: Kind, balls: Tensor, angles: Tensor, start: Tensor) -> Tensor:
        """Give ``(B,)``."""
        gap = torch.cdist(balls[:, 0], balls[:, 1]) - self.sums
        total = (0.3 - gap).clamp(min=0).square().sum(dim=(1, 2))
        i, j, sums = self.own
        for side in range(2):
            away = (balls[:, side, i] - balls[:, side, j]).norm(dim=-1)
            total = total + (sums - away).clamp(min=0).square().sum(dim=1)
        for right, left in kind.places:
            rows, columns = self.places.of[right], self.places.of[left]
            least = gap[:, rows][:, :, columns].amin(dim=(1, 2))
            total = total + 2.0 * (least - 0.5).clamp(min=0).square().clamp(max=900)
        away = ((angles - start) / 10).square() * torch.tensor([0.5, 1.0, 4.0])
        total = total + 0.5 * away.sum(dim=(1, 2, 3))
        # The last joint of a finger bends with the one before it.
        fingers = angles[:, :, 3:].reshape(-1, 2, 4, 3, 3)
        coupled = (fingers[..., 2, 0] - 0.55 * fingers[..., 1, 0]) / 12
        total = total + coupled.square().sum(dim=(1, 2))
        if kind.knuckles_mm is not None:
            apart = (balls[:, 0, self.knuckle] - balls[:, 1, self.knuckle]).mean(1).norm(dim=-1)
            total = total + 0.3 * (apart - kind.knuckles_mm).clamp(min=0).square()
        return total

    @property
    def knuckle(self) -> Tensor:
        """The balls at the four knuckles."""
        knuckles = self.balls.model.joints_mm[list(KNUCKLES)]
        return torch.cdist(knuckles, self.balls.model.template_mm).argmin(dim=1)

    def start(self, kind: Kind, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Jitter the rough pose: angles ``(B, 2, 15, 3)``, turn ``(B, 3)``, shift ``(B, 3)``."""
        poses = torch.stack([bends(pose, kind.spread) for pose in (kind.right, kind.left)])
        noise = rng.normal(size=(kind.tries, 2, 15, 3)) * [7.0, 4.0, 0.0]
        together = rng.normal(size=(kind.tries, 2, 1, 1)) * 8 * np.array([1.0, 0, 0])
        angles = poses + torch.from_numpy(noise + together).float()
        angles = angles.clamp(self.low, self.high)
        axis = rng.normal(size=(kind.tries, 3))
        most = math.radians(kind.turn_deg)
        size = rng.uniform(0, most, (kind.tries, 1)) / np.linalg.norm(axis, axis=1, keepdims=True)
        jitter = axis_angle_to_matrix(torch.from_numpy(axis * size).float())
        turns = jitter @ frame(kind.fingers, kind.palm)
        right, left = kind.places[0]
        balls = self.pose(angles, matrix_to_axis_angle(turns), torch.zeros(kind.tries, 3))
        right_mm = balls[:, 0, self.places.of[right]].mean(1)
        left_mm = balls[:, 1, self.places.of[left]].mean(1)
        noise = torch.from_numpy(rng.normal(size=(kind.tries, 3)) * kind.shift_mm).float()
        shift = right_mm - left_mm + torch.tensor(kind.off_mm) + noise
        return angles, matrix_to_axis_angle(turns), shift

    def relax(self, kind: Kind, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give the relaxed tries as :meth:`start` does."""
        rng = np.random.default_rng(seed)
        start, turn0, shift0 = self.start(kind, rng)
        angles = start.clone().requires_grad_()
        turn, shift = turn0.clone().requires_grad_(), shift0.clone().requires_grad_()
        groups = [
            {"params": [angles], "lr": 1.2},
            {"params": [turn], "lr": 0.015},
            {"params": [shift], "lr": 1.0},
        ]
        steps = torch.optim.Adam(groups)
        for step in range(N_STEPS):
            for group in steps.param_groups:
                group.setdefault("first", group["lr"])
                group["lr"] = group["first"] * (1 - 0.9 * step / N_STEPS)
            steps.zero_grad()
            balls = self.pose(angles, turn, shift)
            self.energy(kind, balls, angles, start).sum().backward()
            steps.step()
            with torch.no_grad():
                angles.clamp_(self.low, self.high)
        return angles.detach(), turn.detach(), shift.detach()


def mesh_check(hand: HandModel, angles: Tensor, turn: Tensor, shift: Tensor) -> tuple[float, float]:
    """Give the deepest overlap and the least gap of the two meshes, mm."""
    fingers = joint_rotation(torch.deg2rad(angles))
    wrist = torch.stack([torch.eye(3), axis_angle_to_matrix(turn)])[:, None]
    place = torch.stack([torch.zeros(3), shift])
    posed = hand(torch.cat([wrist, fingers], 1), side=torch.arange(2), wrist_mm=place)
    v = posed.vertices_mm.numpy().astype(np.float64)
    deepest, gap = 0.0, np.inf
    for a, b in ((0, 1), (1, 0)):
        faces = hand.triangles(b)[0].numpy()
        t = v[b][faces]
        face_normal = np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])
        normal = np.zeros_like(v[b])
        for c in range(3):
            np.add.at(normal, faces[:, c], face_normal)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        d, q = cKDTree(v[b]).query(v[a])
        inside = ((v[a] - v[b][q]) * normal[q]).sum(1)
        near = d < 12
        deepest = max(deepest, float((-inside[near]).max(initial=0)))
        gap = min(gap, float(d.min()))
    return deepest, gap


def chosen(relaxer: Relaxer, hand: HandModel, kind: Kind, number: int) -> list[list[NDArray]]:
    """Give the best tries of a kind: fingers, turn and shift of each."""
    angles, turn, shift = relaxer.relax(kind, number)
    balls = relaxer.pose(angles, turn, shift)
    energy = relaxer.energy(kind, balls, angles, angles).numpy()
    rows = zip(angles, turn, shift, strict=True)
    overlap, gap = np.array([mesh_check(hand, *row) for row in rows]).T
    good = (overlap < OVERLAP_MM) & (gap < GAP_MM) & (energy < LIMIT[kind.relation])
    best = np.argsort(np.where(good, energy, np.inf))[: min(N_KEPT, good.sum())]
    least, middle = np.percentile(energy, [5, 50])
    print(
        f"{kind.name:16s} kept {len(best):2d} of {good.sum():3d}, energy {least:.0f} {middle:.0f}"
    )
    fingers = matrix_to_axis_angle(joint_rotation(torch.deg2rad(angles)))
    return [[value[i].numpy() for value in (fingers, turn, shift)] for i in best]


def main() -> None:
    """Bake all kinds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", type=Path, default=Path("hdrvideo/weights/grips.npz"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    hand = HandModel()
    relaxer = Relaxer(ball_hand(hand))
    number_of, rows = [], []
    for number, kind in enumerate(KINDS):
        found = chosen(relaxer, hand, kind, number)
        number_of += [number] * len(found)
        rows += found
    fingers, turn, shift_mm = (np.stack(column) for column in zip(*rows, strict=True))
    names = np.array([f"{kind.relation}:{kind.name}" for kind in KINDS])
    kinds = np.array(number_of, np.int64)
    np.savez_compressed(
        args.o, names=names, kind=kinds, fingers=fingers, turn=turn, shift_mm=shift_mm
    )


if __name__ == "__main__":
    main()
