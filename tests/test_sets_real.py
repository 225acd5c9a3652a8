"""The readers on the few real frames and annotations that lie beside the checkout."""

from pathlib import Path

import numpy as np
import pytest

from hdrvideo.geometry import points_box
from hdrvideo.sets.interhand import InterHandFiles, InterHandLabels
from hdrvideo.sets.onehand10k import read_coco_hands

REAL = Path(__file__).parents[2] / "shared" / "real" / "labelled"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no labelled frames beside the checkout")


def interhand() -> InterHandLabels:
    folder = REAL / "interhand2.6m"
    data, camera, joint_3d = (
        folder / f"test_interhand2.6m_{part}.json" for part in ("data", "camera", "joint_3d")
    )
    return InterHandLabels(InterHandFiles(data, camera, joint_3d, folder))


def test_interhands_world_joints_fall_into_its_own_boxes():
    """The set made its boxes from the joints in the picture, a fifth larger."""
    labels = interhand()
    assert [labels.sample(k).present.tolist() for k in range(len(labels))] == [
        *([True, True], [True, True], [False, True], [True, False])
    ]
    for k in range(len(labels)):
        sample = labels.sample(k)
        box = points_box(sample.uv_px[sample.valid_uv])
        middle = (sample.box_uvuv_px[:2] + sample.box_uvuv_px[2:]) / 2
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, middle, atol=1.0)
        grown = (sample.box_uvuv_px[2:] - sample.box_uvuv_px[:2]) / (box[2:] - box[:2])
        np.testing.assert_allclose(grown, 1.2, atol=0.1)
        assert 900 < np.nanmean(sample.xyz_cam_mm[..., 2]) < 1200


def test_interhands_joints_lie_on_skin():
    """Hands are lit and what is behind them is dark or far: joints are brighter than the rest."""
    labels = interhand()
    there = [k for k in range(len(labels)) if labels.picture(k).is_file()]
    assert len(there) == 2
    for sample in map(labels.sample, there):
        grey = sample.rgb_u8().mean(axis=2)
        u, v = np.rint(sample.uv_px[sample.valid_uv]).astype(int).T
        assert grey[v, u].mean() > 1.5 * np.median(grey)


@pytest.mark.parametrize(("name", "n"), [("onehand10k", 4), ("freihand", 8), ("panoptic", 4)])
def test_coco_hands_lie_in_their_pictures(name, n):
    hands = read_coco_hands(REAL / name / f"test_{name}.json")
    assert len(hands) == n
    for hand in hands:
        points = hand.uv_px[hand.labelled]
        assert ((points > -1) & (points < [hand.width_px + 1, hand.height_px + 1])).all()
        assert hand.labelled.sum() >= 5
