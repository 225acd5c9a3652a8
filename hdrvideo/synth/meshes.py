"""Frames of scenes as one packed mesh: both hands with their forearms, and the props.

Each frame has three pictures of its own (*layers*): the right hand with its arm and what belongs to
them, the left likewise, and the rest of the scene. Whole masks come from a hand's own picture,
visible ones from comparing the depths of the three.

Axes: ``N`` frames, ``K`` bodies (first hands, then props, each a mesh of one frame), ``V`` vertices
and ``F`` triangles of all bodies together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdrvideo.errors import ShapeError
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.synth.props import PROP_FACES
from hdrvideo.synth.scene import N_PROP_VERTICES, OWNERS, PROP_SECTORS, Scene

Frame = tuple[Scene, int]
LAYERS: Final = ("right", "left", "scene")
# By owner: the layer a prop is drawn in, and whether it counts as the hand.
LAYER_OF_OWNER: Final = tuple(
    LAYERS.index(name.split("_")[0]) if "_" in name else LAYERS.index("scene") for name in OWNERS
)
HAND_OWNERS: Final = tuple(i for i, name in enumerate(OWNERS) if name.endswith("_hand"))
ARM_OWNERS: Final = tuple(OWNERS.index(f"{side}_arm") for side in LAYERS[:2])


@dataclass(frozen=True)
class FrameList:
    """The frames that were asked for, and those around them.

    Attributes:
        frames: The asked ones first, then the others, each once.
        n_asked: How many were asked for.
        after: ``(N,)`` place in ``frames`` of the frame after each; -1 where the scene has none or
            it is not here.
        before: ``(N,)`` likewise of the frame before.
    """

    frames: tuple[Frame, ...]
    n_asked: int
    after: NDArray[np.int64]
    before: NDArray[np.int64]


def list_frames(asked: Sequence[Frame], *, neighbours: bool) -> FrameList:
    """Collect the frames, with those just after and before them if ``neighbours``.

    Raises:
        ShapeError: No frame, a frame outside its scene, or pictures of different sizes.
    """
    if not asked:
        raise ShapeError("no frame to render, expected at least one")
    sizes = {(scene.width_px, scene.height_px) for scene, _ in asked}
    if len(sizes) > 1:
        raise ShapeError(f"scenes are {sorted(sizes)} px, expected one size; render them apart")
    for scene, t in asked:
        if not 0 <= t < len(scene):
            raise ShapeError(f"frame {t} is outside the scene's {len(scene)} frames")
    frames = list(asked)
    place: dict[tuple[int, int], int] = {}
    for i, (scene, t) in enumerate(frames):
        place.setdefault((id(scene), t), i)
    if neighbours:
        for scene, t in asked:
            for other in (t + 1, t - 1):
                if 0 <= other < len(scene) and (id(scene), other) not in place:
                    place[id(scene), other] = len(frames)
                    frames.append((scene, other))
    after, before = (
        np.array([place.get((id(scene), t + step), -1) for scene, t in frames], np.int64)
        for step in (1, -1)
    )
    return FrameList(tuple(frames), len(asked), after, before)


@dataclass(frozen=True)
class Bodies:
    """The numbers of all bodies of N frames, stacked.

    Attributes:
        k_px: ``(N, 3, 3)``.
        hand_frame: ``(Kh,)`` int64.
        hand_side: ``(Kh,)`` int64.
        pose, shape, wrist_mm, wrist_bend: ``(Kh, ...)`` as in the scene.
        prop_frame: ``(Kp,)`` int64.
        prop_slot: ``(Kp,)`` int64 index among its scene's props.
        owner, pattern: ``(Kp,)`` int64.
        local_mm, turn, place_mm, prop_rgb, roughness: ``(Kp, ...)`` as in the scene.
        neighbour: ``(2, Kh + Kp)`` int64 the same body in the frame after and before; -1 none.
        n_asked: Hands and props of the frames that were asked for; they come first.
    """

    k_px: Tensor
    hand_frame: Tensor
    hand_side: Tensor
    pose: Tensor
    shape: Tensor
    wrist_mm: Tensor
    wrist_bend: Tensor
    prop_frame: Tensor
    prop_slot: Tensor
    owner: Tensor
    pattern: Tensor
    local_mm: Tensor
    turn: Tensor
    place_mm: Tensor
    prop_rgb: Tensor
    roughness: Tensor
    neighbour: Tensor
    n_asked: tuple[int, int]

    @property
    def n_hands(self) -> int:
        """How many of the bodies are hands."""
        return len(self.hand_frame)

    @property
    def frame(self) -> Tensor:
        """The frame of each body ``(K,)``."""
        return torch.cat([self.hand_frame, self.prop_frame])

    @property
    def layer(self) -> Tensor:
        """The layer of each body ``(K,)``."""
        table = torch.tensor(LAYER_OF_OWNER, device=self.owner.device)
        return torch.cat([self.hand_side, table[self.owner]])


def stack_bodies(listed: FrameList, device: torch.device) -> Bodies:
    """Stack what is in the frames, on ``device``."""
    frames = listed.frames
    hand_at, hand_rows = _rows([scene.present[t] for scene, t in frames])
    prop_at, prop_rows = _rows([scene.props.exists[t] for scene, t in frames])
    neighbour = []
    for to in (listed.after, listed.before):
        hands = _same_elsewhere(to, hand_at, hand_rows)
        props = _same_elsewhere(to, prop_at, prop_rows)
        neighbour.append(np.concatenate([hands, np.where(props >= 0, props + len(hand_at), -1)]))

    def of_hands(name: str) -> list[NDArray[Any]]:
        return [getattr(scene, name)[t][scene.present[t]] for scene, t in frames]

    def of_props(name: str, moves: bool = False) -> list[NDArray[Any]]:
        values = ((getattr(scene.props, name), scene.props.exists[t], t) for scene, t in frames)
        return [(value[t] if moves else value)[exists] for value, exists, t in values]

    arrays: dict[str, NDArray[Any]] = {
        "k_px": np.stack([scene.k_px[t] for scene, t in frames]),
        "hand_frame": hand_at[:, 0],
        "hand_side": hand_at[:, 1],
        "shape": np.concatenate([scene.shape[scene.present[t]] for scene, t in frames]),
        "prop_frame": prop_at[:, 0],
        "prop_slot": prop_at[:, 1],
        "prop_rgb": np.concatenate(of_props("rgb")),
        "neighbour": np.stack(neighbour),
    }
    for name in ("pose", "wrist_mm", "wrist_bend"):
        arrays[name] = np.concatenate(of_hands(name))
    for name in ("owner", "pattern", "local_mm", "roughness"):
        arrays[name] = np.concatenate(of_props(name))
    for name in ("turn", "place_mm"):
        arrays[name] = np.concatenate(of_props(name, moves=True))
    tensors = {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}
    n_asked = tuple(int((at[:, 0] < listed.n_asked).sum()) for at in (hand_at, prop_at))
    return Bodies(**tensors, n_asked=(n_asked[0], n_asked[1]))


def _rows(there: list[NDArray[np.bool_]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give ``(K, 2)`` frame and place of all that is there, and the table from these to rows."""
    table = np.full((len(there), max(len(row) for row in there)), -1, np.int64)
    for i, row in enumerate(there):
        table[i, : len(row)][row] = 0
    at = np.argwhere(table >= 0).astype(np.int64)
    table[at[:, 0], at[:, 1]] = np.arange(len(at))
    return at, table


def _same_elsewhere(
    to: NDArray[np.int64], at: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    frame = to[at[:, 0]]
    return np.where(frame >= 0, rows[frame, at[:, 1]], -1)


@dataclass(frozen=True)
class Mesh:
    """All bodies as triangles, camera axes of their frames.

    Attributes:
        bodies: Where they came from.
        hands_mm: ``(Kh, Vh, 3)``.
        props_mm: ``(Kp, 208, 3)``.
        joints_mm: ``(Kh, 21, 3)``.
        vertices_mm: ``(V, 3)`` both of the above, packed.
        uv_px: ``(V, 2)``; not usable where the vertex is not before the camera.
        faces: ``(F, 3)`` int64.
        picture: ``(F,)`` int64, frame * 3 + layer.
        body: ``(F,)`` int64.
        is_hand: ``(F,)`` bool, counts as the hand, not as its arm or as scene.
        code: ``(F,)`` int64, number of the triangle within its frame; the same in every frame.
    """

    bodies: Bodies
    hands_mm: Tensor
    props_mm: Tensor
    joints_mm: Tensor
    vertices_mm: Tensor
    uv_px: Tensor
    faces: Tensor
    picture: Tensor
    body: Tensor
    is_hand: Tensor
    code: Tensor

    @property
    def uvz(self) -> Tensor:
        """Picture place and depth of the vertices ``(V, 3)``."""
        return torch.cat([self.uv_px, self.vertices_mm[:, 2:]], dim=1)

    @property
    def n_hand_faces(self) -> int:
        """How many of the triangles are hands'; they come first."""
        return len(self.faces) - len(self.props_mm) * len(PROP_FACES)

    def is_end(self, face: Tensor) -> Tensor:
        """Say which triangles of props ``(M,)`` belong to the fan at either end."""
        place = (face - self.n_hand_faces) % len(PROP_FACES)
        return (place < PROP_SECTORS) | (place >= len(PROP_FACES) - PROP_SECTORS)

    def vertex_shift(self) -> tuple[Tensor, Tensor]:
        """Give how far on the same vertex lies in the frame after and before.

        Returns:
            ``(2, K)`` int64 to add to a vertex index, and ``(2, K)`` bool whether it is there.
        """
        n_hands, (_, n_hand, _) = self.bodies.n_hands, self.hands_mm.shape
        row = torch.arange(self.bodies.neighbour.shape[1], device=self.faces.device)
        there = self.bodies.neighbour >= 0
        length = torch.where(row < n_hands, n_hand, N_PROP_VERTICES)
        return torch.where(there, self.bodies.neighbour - row, 0) * length, there


def hand_triangles(model: HandModel) -> Tensor:
    """Say which triangles ``(F,)`` count as hand: most of their corners are not forearm."""
    forearm = model.part[model.faces] == PARTS.index("forearm")
    return forearm.sum(dim=1) < 2


class MeshMaker:
    """Poses bodies and packs them; holds what is the same for all frames.

    Attributes:
        model: The hand.
        is_hand: ``(Fh,)`` bool, triangles of a hand that are no forearm.
    """

    def __init__(self, model: HandModel, device: torch.device) -> None:
        self.model = model.to(device)
        self.is_hand = hand_triangles(model)
        self._hand_faces = torch.stack([model.triangles(side)[0] for side in (0, 1)])
        self._prop_faces = torch.from_numpy(PROP_FACES).to(device)

    def make(self, bodies: Bodies) -> Mesh:
        """Give the mesh of these bodies."""
        hands_mm, joints_mm = self._hands(bodies)
        props_mm = bodies.local_mm @ bodies.turn.mT + bodies.place_mm[:, None]
        vertices_mm = torch.cat([hands_mm.flatten(0, 1), props_mm.flatten(0, 1)])
        uv_px = [
            project(points_mm, bodies.k_px[frame][:, None]).flatten(0, 1)
            for points_mm, frame in (
                (hands_mm, bodies.hand_frame),
                (props_mm, bodies.prop_frame),
            )
        ]
        n_hands, n_hand, _ = hands_mm.shape
        fh, fp, device = len(self.is_hand), len(self._prop_faces), vertices_mm.device
        hand_row = torch.arange(n_hands, device=device)
        prop_row = torch.arange(len(props_mm), device=device)
        first_prop = n_hands * n_hand + N_PROP_VERTICES * prop_row
        hand_faces = self._hand_faces[bodies.hand_side] + (n_hand * hand_row)[:, None, None]
        prop_faces = self._prop_faces + first_prop[:, None, None]
        body = torch.cat(
            [hand_row.repeat_interleave(fh), (n_hands + prop_row).repeat_interleave(fp)]
        )
        owns_hand = torch.isin(bodies.owner, torch.tensor(HAND_OWNERS, device=device))
        hand_code = bodies.hand_side[:, None] * fh + torch.arange(fh, device=device)
        prop_code = 2 * fh + bodies.prop_slot[:, None] * fp + torch.arange(fp, device=device)
        return Mesh(
            bodies,
            hands_mm,
            props_mm,
            joints_mm,
            vertices_mm,
            torch.cat(uv_px),
            torch.cat([hand_faces.flatten(0, 1), prop_faces.flatten(0, 1)]),
            (bodies.frame * len(LAYERS) + bodies.layer)[body],
            body,
            torch.cat([self.is_hand.repeat(n_hands), owns_hand.repeat_interleave(fp)]),
            torch.cat([hand_code.flatten(), prop_code.flatten()]),
        )

    def _hands(self, bodies: Bodies) -> tuple[Tensor, Tensor]:
        if not bodies.n_hands:
            template = self.model.template_mm
            return template.new_zeros(0, len(template), 3), template.new_zeros(0, 21, 3)
        posed = self.model(
            bodies.pose,
            bodies.shape,
            side=bodies.hand_side,
            wrist_mm=bodies.wrist_mm,
            wrist_bend=bodies.wrist_bend,
        )
        return posed.vertices_mm, posed.joints_mm


def project(xyz_cam_mm: Tensor, k_px: Tensor) -> Tensor:
    """Take points ``(..., 3)`` through cameras ``(..., 3, 3)`` to pixels ``(..., 2)``."""
    x, y = (xyz_cam_mm[..., i] / xyz_cam_mm[..., 2] for i in (0, 1))
    rows = [k_px[..., i, 0] * x + k_px[..., i, 1] * y + k_px[..., i, 2] for i in (0, 1)]
    return torch.stack(rows, dim=-1)
