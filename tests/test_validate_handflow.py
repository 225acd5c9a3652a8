"""The true motion of a hand against its own vertices, projected one by one."""

import numpy as np
import pytest
import torch
from validate_truths import make_scene, make_shot

from hdrvideo.errors import SeekError
from hdrvideo.geometry import apply_affine, invert_affine
from hdrvideo.handmodel import PARTS, HandModel
from hdrvideo.validate.handflow import hand_motion
from hdrvideo.validate.squares import frame_from_square
from hdrvideo.validate.truth import save_truth


@pytest.fixture(scope="module")
def model():
    return HandModel()


@pytest.fixture(scope="module")
def truth(model, tmp_path_factory):
    scene = make_scene(model)
    return save_truth(tmp_path_factory.mktemp("truth"), [make_shot(scene, model)], scene)


def vertices_px(truth, model, frame: int, side: int) -> np.ndarray:
    """Give every vertex in the frame's square, u, v and depth."""
    posed = model(
        torch.from_numpy(truth.pose[frame : frame + 1, side]),
        side=side,
        wrist_mm=torch.from_numpy(truth.wrist_mm[frame : frame + 1, side]),
    )
    xyz = posed.vertices_mm[0].numpy()
    k = truth.k_px[frame]
    uv = xyz[:, :2] / xyz[:, 2:] * k[0, 0] + k[:2, 2]
    uv = apply_affine(invert_affine(frame_from_square(truth.square(frame))), uv)
    return np.concatenate([uv, xyz[:, 2:]], axis=1)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("frame", [0, 1])
def test_vertices_go_where_the_motion_says(truth, model, frame, side):
    motion = hand_motion(truth, model, frame, side)
    before, after = (vertices_px(truth, model, frame + n, side) for n in range(2))
    hand = (model.part != PARTS.index("forearm")).numpy()
    pixel = before[:, :2].round().astype(int)
    inside = hand & ((pixel >= 0) & (pixel < 256)).all(axis=1)
    found = motion[pixel[inside, 1], pixel[inside, 0]]
    error = np.linalg.norm(found - after[inside, :2], axis=1)
    # A vertex of the back is hidden and its pixel shows the front: judge the nearer half, and
    # allow the half pixel from the vertex to its pixel's centre.
    is_near = before[inside, 2] < np.median(before[inside, 2])
    judged = error[is_near & np.isfinite(error)]
    assert len(judged) > 150
    assert np.median(judged) < 0.6
    assert np.percentile(judged, 80) < 1.2
    moved = np.linalg.norm(after[inside, :2] - before[inside, :2], axis=1)
    assert np.median(moved) > 3 * np.median(judged)


def test_a_hand_that_keeps_still_stays(model, tmp_path):
    scene = make_scene(model, 1)
    rows = np.zeros(2, int)
    values = {n: getattr(scene, n)[rows] for n in ("k_px", "pose", "wrist_mm", "wrist_bend")}
    twice = make_scene(model, 2)
    for name, value in values.items():
        object.__setattr__(twice, name, value)
    truth = save_truth(tmp_path, [make_shot(twice, model)], twice)
    motion = hand_motion(truth, model, 0, 0)
    v, u = np.mgrid[:256, :256]
    known = np.isfinite(motion[..., 0])
    assert known.mean() > 0.05
    np.testing.assert_allclose(motion[known], np.stack([u, v], -1)[known], atol=0.02)


def test_it_covers_the_hand_and_not_the_forearm(truth, model):
    known = np.isfinite(hand_motion(truth, model, 0, 0)).all(axis=-1)
    _, amodal = truth.square_masks(0)
    # The test's mask is the hull of the joints: the hand's pixels are within and around it.
    assert known[amodal[0]].mean() > 0.5
    wrist_v = apply_affine(
        invert_affine(frame_from_square(truth.square(0))), truth.uv_px[0, :1, 0]
    )[0, 1]
    assert known[int(wrist_v) + 25 :].sum() == 0


def test_a_hand_that_is_not_there_does_not_move(truth, model):
    gone = truth.present.copy()
    gone[1, 0] = False
    object.__setattr__(truth, "present", gone)
    try:
        assert np.isnan(hand_motion(truth, model, 0, 0)).all()
        assert np.isfinite(hand_motion(truth, model, 0, 1)).any()
    finally:
        object.__setattr__(truth, "present", np.ones_like(gone))


def test_the_last_frame_has_no_next(truth, model):
    with pytest.raises(SeekError, match=r"frame 2 has no next one in .*expected 0 to 1"):
        hand_motion(truth, model, 2, 0)
