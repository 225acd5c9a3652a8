"""Hand crops: stored and read back, refused, and cut from made shots."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from drawn_crops import R, make_crop, make_crops, some

from hdrvideo.errors import ShapeError, WriteError
from hdrvideo.synth.crops import crops_from_shot, load_crops, save_crop, square_round
from hdrvideo.synth.scene import MIN_HAND_PIXELS, Shot


def test_a_folder_is_read_back(tmp_path):
    crops = make_crops(4)
    crops[1] = replace(crops[1], uv_px=None, confidence=None)
    crops[2] = replace(crops[2], split="test")
    for n, crop in enumerate(crops):
        save_crop(crop, tmp_path, f"hand_{n}", licence="CC0")
    train = load_crops(tmp_path, "train")
    assert [c.source for c in train] == ["hand 0", "hand 1", "hand 3"]
    assert [c.source for c in load_crops(str(tmp_path), "test")] == ["hand 2"]
    assert [c.side for c in train[1:]] == [1, 1]
    assert torch.equal(train[0].mask, crops[0].mask)
    assert torch.allclose(train[0].uv_px, crops[0].uv_px, atol=0.01)
    assert torch.allclose(train[0].confidence, crops[0].confidence)
    assert train[1].uv_px is None
    inside = crops[0].mask.expand(3, R, R)
    assert (train[0].rgb - crops[0].rgb).abs()[inside].mean() < 0.06
    assert json.loads((tmp_path / "hand_0.json").read_text())["licence"] == "CC0"
    assert not list(tmp_path.glob(".*"))
    assert some(crops=train, n=4).present.all()


def test_folders_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"crop folder .* does not exist; make one"):
        load_crops(tmp_path / "none", "train")
    with pytest.raises(ShapeError, match="split is 'val', expected one of"):
        load_crops(tmp_path, "val")
    with pytest.raises(WriteError, match=r"cannot be written: no folder .*none; create it"):
        save_crop(make_crop(), tmp_path / "none", "a")
    save_crop(make_crop(), tmp_path, "a")
    note, mask = tmp_path / "a.json", tmp_path / "a.mask.png"
    picture = mask.read_bytes()
    mask.unlink()
    with pytest.raises(ShapeError, match=re.escape(f"crop a has no {mask}; add it")):
        load_crops(tmp_path, "train")
    mask.write_bytes(b"no picture")
    with pytest.raises(ShapeError, match=r"a\.mask\.png is no picture that can be read"):
        load_crops(tmp_path, "train")[0]
    cv2.imwrite(str(mask), np.zeros((R, R), np.uint8))
    with pytest.raises(ShapeError, match="mask of crop hand 0 is empty, expected a hand"):
        load_crops(tmp_path, "train")[0]
    cv2.imwrite(str(mask), np.ones((R - 1, R), np.uint8))
    with pytest.raises(ShapeError, match=r"mask is torch.bool \(95, 96\), expected bool"):
        load_crops(tmp_path, "train")[0]
    mask.write_bytes(picture)
    for text, match in (
        ("{", "cannot be read"),
        ("[]", "holds list, expected a mapping"),
        ('{"side": "up", "split": "train"}', "side in .* is 'up', expected one of"),
        ('{"side": "left"}', "split in .* is None, expected one of"),
    ):
        note.write_text(text)
        with pytest.raises(ShapeError, match=match):
            load_crops(tmp_path, "train")


def test_crops_that_do_not_fit_are_refused():
    crop = make_crop()
    for changed, match in (
        ({"side": 2}, "side of crop hand 0 is 2, expected 0 or 1"),
        ({"split": "val"}, "split of crop hand 0 is 'val', expected one of"),
        ({"mask": crop.mask & False}, "mask of crop hand 0 is empty"),
        ({"mask": crop.mask.float()}, "mask is torch.float32"),
        ({"rgb": crop.rgb[:, :-1]}, r"rgb is torch.float32 \(3, 95, 96\)"),
        ({"uv_px": None}, "has only one of uv_px and confidence"),
        ({"uv_px": crop.uv_px[:20]}, r"uv_px is torch.float32 \(20, 2\)"),
    ):
        with pytest.raises(ShapeError, match=match):
            replace(crop, **changed)


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((40, 30, 59, 49), (30.0, 20.0, 40.0)),
        ((0, 30, 19, 49), (0.0, 20.0, 40.0)),
        ((10, 10, 69, 49), (0.0, 0.0, 80.0)),
        ((5, 1, 94, 78), None),
    ],
)
def test_the_square_stays_in_the_picture(box, wanted):
    assert square_round(box, 100, 80, 2.0) == wanted


def make_shot(b: int = 2, h: int = 72, w: int = 100) -> Shot:
    rng = np.random.default_rng(0)

    def nothing(*shape, kind=torch.float32):
        return torch.zeros(b, *shape, dtype=kind)

    amodal = nothing(2, h, w, kind=torch.bool)
    amodal[0, 0, 20:50, 30:52] = True
    amodal[0, 1, 40:60, 60:90] = True
    amodal[1, 1, 0:30, 10:30] = True
    bare = torch.from_numpy(rng.random((b, 2, 3, h, w), np.float32))
    uv = torch.from_numpy(rng.uniform(20, 50, (b, 2, 21, 2)).astype(np.float32))
    return Shot(
        rgb=nothing(3, h, w),
        bare_rgb=bare,
        visible=amodal,
        amodal=amodal,
        depth_mm=nothing(h, w),
        normal=nothing(3, h, w),
        face=nothing(h, w, kind=torch.int64),
        flow_px=nothing(2, h, w, 2),
        flow_seen=nothing(2, h, w, kind=torch.bool),
        hand_flow_px=nothing(2, 2, h, w, 2),
        uv_px=uv,
        xyz_cam_mm=nothing(2, 21, 3),
        pose=nothing(2, 16, 3),
        shape=nothing(2, 10),
        present=amodal.flatten(2).sum(dim=2) >= MIN_HAND_PIXELS,
        joint_visible=nothing(2, 21, kind=torch.bool),
        hidden_share=nothing(2),
        gap_mm=nothing(),
        k_px=nothing(3, 3),
    )


def test_crops_of_a_shot_show_what_the_shot_shows():
    shot = make_shot()
    crops = crops_from_shot(shot, split="test", source="clip 7", size_px=60, context=2.0)
    # The third hand is cut by the picture's border.
    assert [c.source for c in crops] == ["clip 7:0:right", "clip 7:0:left"]
    assert [c.side for c in crops] == [0, 1]
    assert {c.split for c in crops} == {"test"}
    # 30 high: the square is 60 wide, so that pixels are copied; its corner lies at 11, 5.
    right = crops[0]
    assert torch.equal(right.mask, shot.amodal[0, 0, 5:65, 11:71])
    assert torch.allclose(right.rgb, shot.bare_rgb[0, 0, :, 5:65, 11:71], atol=1e-5)
    assert torch.allclose(right.uv_px, shot.uv_px[0, 0] - torch.tensor([11.0, 5.0]), atol=1e-4)


def test_crops_of_a_shot_may_shrink():
    shot = make_shot()
    large, small = (crops_from_shot(shot, split="train", size_px=n)[0] for n in (60, 20))
    assert torch.allclose(small.uv_px, (large.uv_px + 0.5) / 3 - 0.5, atol=1e-4)
    area = small.mask.sum() * 9 / large.mask.sum()
    assert 0.85 < area < 1.15
