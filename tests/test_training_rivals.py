"""``hdrvideo train`` of the rivals for masks and painting, and their settings files."""

from pathlib import Path

import pytest
import torch
from bare_hands import write_bare
from safetensors.torch import load_file, save_file
from train_runs import read_table, run_train, write_settings

from hdrvideo.config import build_settings, read_yaml
from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.rivals import human_deocclusion, pcnet_content, pcnet_mask
from hdrvideo.train.loop import LoopSettings
from hdrvideo.training import LESSONS, train_net

CONFIGS = Path(__file__).parent.parent / "configs"
NETS = ("pcnet_mask", "pcnet_content", "human_deocclusion")
each = pytest.mark.parametrize("name", NETS)


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> dict[str, dict]:
    """Give the settings of each rival's shortest run."""
    data = write_bare(tmp_path_factory.mktemp("rivals"))
    loop = {"steps": 2, "warmup_steps": 0, "final_share": 1.0, "check_every": 5, "log_every": 1}
    painted = {"crop": {"resolution_px": 64}, "data": data, "batch": 2}
    masks = {name: data[name] for name in ("made", "held_out", "crops", "n_check")}
    return {
        "pcnet_mask": {
            "net": {"size": "small"}, "loop": loop, "pairs": {"resolution_px": 32},
            "data": masks, "batch": 4, "seed": 3,
        },
        "pcnet_content": {
            "net": {"size": "small"}, "loop": loop, "weights": {"style": 0.5},
            "discriminator_width": 4, **painted,
        },
        "human_deocclusion": {"net": {}, "loop": loop, "weights": {"parts": 0.5}, **painted},
    }  # fmt: skip


@each
def test_a_run_leaves_weights_that_fit_and_goes_on(usual, tmp_path, name):
    values = usual[name]
    config = write_settings(tmp_path / "rival.yaml", values)
    done = run_train(name, "--config", config, "-o", tmp_path / "whole")
    assert done.exit_code == 0, done.output
    best = tmp_path / "whole" / "best.safetensors"
    assert done.output.splitlines()[-1] == str(best)
    assert [row["step"] for row in read_table(tmp_path / "whole" / "log.csv")] == ["1", "2"]
    assert {v.dtype for v in load_file(best).values()} == {torch.float16}
    again = LESSONS[name].make({"size": "small", "start": str(best)})
    assert set(again.state_dict()) == set(load_file(best))
    if name == "human_deocclusion":
        assert again.masks.templates.any()
    # Stopped after a step and resumed, it makes the very same second one.
    half = {**values, "loop": {**values["loop"], "steps": 1}}
    train_net(name, write_settings(tmp_path / "half.yaml", half), tmp_path / "parts",
              resume=False, device="cpu")  # fmt: skip
    train_net(name, config, tmp_path / "parts", resume=True, device="cpu")
    whole, parts = (load_file(tmp_path / n / "last.safetensors") for n in ("whole", "parts"))
    assert set(whole) == set(parts)
    for tensor, value in whole.items():
        assert torch.equal(value, parts[tensor]), tensor


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("pcnet_mask", {"views": {}}, "setting views is unknown; known here: net, loop, data, pa"),
        ("pcnet_mask", {"pairs": {"zoom": 1}}, "setting pairs.zoom is unknown"),
        ("pcnet_mask", {"data": {}}, "crops_share is 0.3 and PcnetMaskData.crops is not given"),
        ("pcnet_content", {"weights": {"uncovered": 1}}, "setting weights.uncovered is unknown"),
        ("pcnet_content", {"truth": "none"}, "truth is 'none', expected seen or bare"),
        ("human_deocclusion", {"weights": {"fooled": 1}}, "setting weights.fooled is unknown"),
        ("human_deocclusion", {"discriminator_width": 4}, "setting discriminator_width is unknown"),
        ("human_deocclusion", {"net": {"width": 3}}, "net is {'width': 3}, expected size: small |"),
    ],
)
def test_wrong_settings_are_refused(usual, tmp_path, name, change, text):
    config = write_settings(tmp_path / "wrong.yaml", {**usual[name], **change})
    with pytest.raises(SettingsError) as caught:
        train_net(name, config, tmp_path / "run", resume=False, device="cpu")
    assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


# The nets.


@each
def test_a_rival_is_made_as_told(tmp_path, name):
    make = LESSONS[name].make
    net = make({})
    path = tmp_path / "trained.safetensors"
    save_file(net.state_dict(), path)
    again = make({"size": "small", "start": str(path)}).state_dict()
    assert all(torch.equal(again[key], value) for key, value in net.state_dict().items())
    fewer = dict(list(net.state_dict().items())[1:])
    save_file(fewer, path)
    with pytest.raises(WeightsError, match=r"trained\.safetensors do not fit: \S+ is not in the f"):
        make({"start": str(path)})
    with pytest.raises(WeightsError, match=r"gone\.safetensors are missing"):
        make({"start": str(tmp_path / "gone.safetensors")})
    for values in ("small", {"size": "huge"}, {"start": 3}, {"size": "small", "freeze": []}):
        with pytest.raises(SettingsError, match=r"net is .*, expected size: small \| paper and st"):
            make(values)


# The settings files that come with the project.


@pytest.mark.parametrize("size", ["small", "paper"])
@each
def test_the_shipped_settings_are_read(name, size):
    values = read_yaml(CONFIGS / f"{name}_{size}.yaml")
    lesson = LESSONS[name]
    assert set(values) <= {"net", "loop", *lesson.recipe.__dataclass_fields__}
    assert values["net"]["size"] == size
    assert build_settings(LoopSettings, values["loop"], "loop.").steps >= 1000
    recipe = lesson.read_recipe(values)
    assert recipe.batch == values["batch"]
    assert recipe.data.held_out == ("data/world_test",)
    if name == "pcnet_mask":
        assert recipe.pairs.resolution_px == pcnet_mask.SIZES[size].resolution_px
        assert recipe.inside_weight == 5
    else:
        sizes = {"pcnet_content": pcnet_content.SIZES}.get(name)
        whole = sizes[size] if sizes else human_deocclusion.SIZES[size].content
        assert recipe.crop.resolution_px == whole.resolution_px
