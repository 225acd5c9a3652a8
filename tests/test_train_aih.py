"""HDRM learns from AIH: pairs with the target alone, squares round its mask."""

from pathlib import Path

import numpy as np
import pytest
from bare_hands import write_bare
from set_folders import recipe, write_aih_render, write_aih_syn
from train_runs import run_train, write_settings

from hdrvideo.config import read_yaml
from hdrvideo.errors import DataError, SettingsError
from hdrvideo.train.aih_hands import AihBareHands
from hdrvideo.train.bare_crops import CropSettings, draw_crop
from hdrvideo.train.hdrm_recipe import HdrmData
from hdrvideo.training import LESSONS

CONFIGS = Path(__file__).parent.parent / "configs"


def write_aih(root: Path) -> None:
    """Write what training needs of the pasted pairs: both annotations."""
    entries = [recipe(), recipe("left", 1, 0, shift=(0.1, 0.0))]
    write_aih_syn(root, {"machine_annot": entries, "human_annot": entries})


def test_pairs_are_drawn_again_alike_and_cropped_round_the_target(tmp_path):
    write_aih(tmp_path)
    hands = AihBareHands(tmp_path)
    first, again = (hands.draw(np.random.default_rng(1), 8) for _ in range(2))
    assert all((a.rgb_u8 == b.rgb_u8).all() for a, b in zip(first, again, strict=True))
    assert {picture.side for picture in first} == {0, 1}
    settings = CropSettings(64, spoil=0, no_other_share=0, recolour=False)
    for picture in first:
        assert np.isnan(picture.uv_px).all()
        crop = draw_crop(picture, np.random.default_rng(0), settings)
        own_visible, own_amodal, other, _ = crop.exact
        # Half of the square is the target's box.
        assert 0.1 < own_amodal.mean() < 0.35
        assert (own_visible <= own_amodal + 0.01).all()
        assert other.any()
        assert (crop.known == 1).all()


def test_a_folder_of_nothing_and_empty_masks_are_told(tmp_path):
    with pytest.raises(DataError, match="holds neither AIH_syn nor AIH_render; see docs"):
        AihBareHands(tmp_path)
    write_aih(tmp_path)
    # A target that is moved out of the picture has no mask.
    gone = [{**recipe(), "r_aug_list": [[9.0, 9.0], 1.0, 0.0, None]}]
    write_aih_syn(tmp_path, {"machine_annot": gone, "human_annot": gone})
    with pytest.raises(DataError, match=r"none of 50 pairs drawn from .* has a target with a mask"):
        AihBareHands(tmp_path).draw(np.random.default_rng(0), 1)


def test_rendered_pairs_alone_will_do(tmp_path):
    for annotation in ("human_annot", "machine_annot"):
        write_aih_render(tmp_path, "train", annotation)
    pictures = AihBareHands(tmp_path).draw(np.random.default_rng(0), 4)
    assert {int(picture.bare_u8.mean()) for picture in pictures} == {50}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aih": 3}, "HdrmData.aih is 3, expected a folder or null"),
        ({"aih_share": 0.4}, "aih_share is 0.4 and HdrmData.aih is not given; name AIH's folder"),
        ({"aih": "a", "aih_share": 0.9}, "HdrmData.aih_share is 0.9, expected a number from 0 to"),
        ({"aih": "a", "aih_share": 0.4, "made": ()}, "HdrmData.made is not given"),
    ],
)
def test_settings_are_checked(change, message):
    usual = {"made": ("a",), "held_out": ("b",), "crops": "c", "pasted_share": 0.3}
    with pytest.raises(SettingsError, match=message):
        HdrmData(**{**usual, **change})


def test_aih_alone_needs_no_made_pictures():
    data = HdrmData(held_out=("b",), pasted_share=0, aih="a", aih_share=1.0)
    assert data.made_share == 0


def test_a_run_learns_from_aih_by_one_command(tmp_path):
    write_aih(tmp_path / "aih")
    data = write_bare(tmp_path / "bare")
    values = {
        "net": {"size": "small", "without_transformer": True},
        "loop": {"steps": 1, "warmup_steps": 0, "check_every": 5, "log_every": 1},
        "crop": {"resolution_px": 64},
        "data": {**data, "pasted_share": 0.0, "aih": str(tmp_path / "aih"), "aih_share": 0.9},
        "batch": 2,
        "discriminator_width": 4,
    }
    config = write_settings(tmp_path / "aih.yaml", values)
    done = run_train("hdrm", "--config", config, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("name", "net"), [("shpe_sets", "shpe"), ("hdrm_aih", "hdrm")])
def test_the_shipped_settings_are_read(name, net):
    values = read_yaml(CONFIGS / f"{name}.yaml")
    data = LESSONS[net].read_recipe(values).data
    if net == "shpe":
        assert len(data.sets) == 7
        assert data.sets_share > 0
    else:
        assert data.aih_share > 0
