"""SHPE behind HDRM: what is painted, what is not, and the weights that paint."""

import pytest
import torch
from pose_hands import write_hands
from safetensors.torch import save_file

from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.frame.hdrm import SMALL, HdrmNet
from hdrvideo.train.frame_recipe import FrameRecipe, FrameTask
from hdrvideo.train.pose_crops import CropSettings
from hdrvideo.train.shpe_data import ShpeData
from hdrvideo.train.shpe_recipe import ShpeRecipe, ShpeTask


class TinyDet(torch.nn.Module):
    """The fewest layers that give maps; 8 px a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.say = torch.nn.Conv2d(3, 21 * 11, 8, 8)

    def forward(self, rgb):
        return self.say(rgb).split((21, 63, 63, 42, 21, 21), dim=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> ShpeData:
    folders = write_hands(tmp_path_factory.mktemp("hands"))
    return ShpeData(**folders, bare_share=0.3, n_check=3)


@pytest.fixture(scope="module")
def hdrm(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hdrm") / "hdrm.safetensors"
    save_file({n: v.half().contiguous() for n, v in HdrmNet(SMALL).state_dict().items()}, path)
    return path


def recipe(data: ShpeData, kind=ShpeRecipe, **more):
    return kind(data, CropSettings(64, spoil=0), batch=16, **more)


def test_hands_that_are_not_bare_are_painted(data, hdrm):
    behind = FrameTask(TinyDet(), recipe(data, FrameRecipe, hdrm=str(hdrm)))
    plain = ShpeTask(TinyDet(), recipe(data))
    painted, seen = behind.batch(4, 0, 1), plain.batch(4, 0, 1)
    assert all(torch.equal(painted[n], seen[n]) for n in seen if n != "rgb")
    changed = (painted["rgb"] != seen["rgb"]).flatten(1).any(dim=1)
    # Of these discs only those with another one beside them have anything to paint.
    assert 0 < int(changed.sum()) < 16
    assert torch.equal(painted["rgb"], behind.batch(4, 0, 1)["rgb"])
    assert painted["rgb"].min() >= 0
    assert painted["rgb"].max() <= 1
    n = len(behind._hidden)
    assert torch.equal(behind._truth["rgb"][:n], plain._truth["rgb"][:n])
    assert not torch.equal(behind._truth["rgb"][n:], plain._truth["rgb"][n:])


def test_what_paints_is_told_the_masks_of_its_crop(data):
    told = []

    def paint(rgb, masks):
        told.append((rgb, masks))
        return torch.zeros_like(rgb)

    task = ShpeTask(TinyDet(), recipe(data), paint=paint)
    told.clear()
    batch = task.batch(0, 0, 1)
    rgb, masks = told[0]
    blank = (batch["rgb"] == 0).flatten(1).all(dim=1)
    assert 0 < int(blank.sum()) == len(rgb) < 16
    assert masks.shape == (len(rgb), 4, 64, 64)
    assert (masks[:, 0] <= masks[:, 1]).all()
    assert (masks[:, 2] <= masks[:, 3]).all()
    assert masks[:, 1].any()


def test_recipes_and_weights_are_checked(data, tmp_path):
    with pytest.raises(SettingsError, match="hdrm is 3, expected a file of weights or null"):
        recipe(data, FrameRecipe, hdrm=3)
    with pytest.raises(SettingsError, match="hdrm_size is 'big', expected small or paper"):
        recipe(data, FrameRecipe, hdrm_size="big")
    with pytest.raises(WeightsError, match=r"none\.safetensors are missing"):
        FrameTask(TinyDet(), recipe(data, FrameRecipe, hdrm=str(tmp_path / "none.safetensors")))
