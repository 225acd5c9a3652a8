"""HASM in the paper's sizes: interface, structure, and that it can learn."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.nn import functional

from hdrvideo.config import build_settings
from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.frame.hasm import HandMasks
from hdrvideo.frame.hasm_mit import SIZES, HasmMit
from hdrvideo.train.hasm_recipe import HasmData
from hdrvideo.train.loop import LoopSettings
from hdrvideo.train.views import ViewSettings

CONFIGS = Path(__file__).parent.parent / "configs"
SIDE_PX = 64


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def net(transformers):
    torch.manual_seed(5)
    return HasmMit("b0").eval()


@pytest.fixture(scope="module")
def encoder_folder(transformers, tmp_path_factory):
    """Save an encoder under a classifier, the way published ones come."""
    channels, layers = SIZES["b0"]
    torch.manual_seed(6)
    config = transformers.SegformerConfig(hidden_sizes=channels, depths=layers)
    folder = tmp_path_factory.mktemp("mit")
    transformers.SegformerForImageClassification(config).save_pretrained(folder)
    return folder


def pictures(n: int, side_px: int = SIDE_PX) -> torch.Tensor:
    return torch.rand(n, 6, side_px, side_px, generator=torch.Generator().manual_seed(n))


def n_parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("side_px", [32, 96])
def test_the_answer_fits_the_small_nets_interface(net, side_px):
    with torch.no_grad():
        masks = HandMasks(*net(pictures(2, side_px))[:3])
    assert masks.whole_logit.shape == (2, 2, side_px // net.STRIDE, side_px // net.STRIDE)
    assert masks.share_logit.shape == masks.whole_logit.shape
    assert masks.presence_logit.shape == (2, 2)
    assert (masks.visible <= masks.amodal).all()
    assert masks.visible.std() > 0


def test_a_batch_gives_what_single_pictures_give(net):
    batch = pictures(3)
    with torch.no_grad():
        together = net(batch)
        alone = [net(picture[None]) for picture in batch]
    for i, whole in enumerate(together):
        torch.testing.assert_close(
            whole, torch.cat([one[i] for one in alone]), rtol=1e-4, atol=1e-5
        )


def test_each_mask_has_its_own_decoder_over_shared_projections(net):
    with torch.no_grad():
        before = torch.cat(net(pictures(1))[:2], dim=1)
        for i in range(4):
            bias = net.decoders[i].logit.bias
            bias += 1
            after = torch.cat(net(pictures(1))[:2], dim=1)
            bias -= 1
            changed = (after - before).abs().amax(dim=(0, 2, 3)) > 0.5
            assert changed.tolist() == [k == i for k in range(4)]
        net.project[2].bias += 1
        after = torch.cat(net(pictures(1))[:2], dim=1)
        net.project[2].bias -= 1
    assert ((after - before).abs().amax(dim=(0, 2, 3)) > 1e-3).all()


def test_pictures_are_normalised_inside(net):
    seen = []
    hook = net.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    with torch.no_grad():
        no_hints = torch.zeros(1, 3, 32, 32)
        net(torch.cat([mean, no_hints], dim=1))
        net(torch.cat([torch.ones(1, 3, 32, 32), no_hints], dim=1))
    hook.remove()
    assert seen[0].abs().max() < 1e-6
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert seen[1][0, :, 7, 9].tolist() == pytest.approx(expected, rel=1e-5)


def test_masks_lie_where_the_picture_is(net):
    """A change in one corner moves the masks most in that corner."""
    plain = torch.full((1, 6, 128, 128), 0.5)
    plain[:, 3:] = 0
    spotted = plain.clone()
    spotted[:, :3, 96:112, 16:32] = 1
    with torch.no_grad():
        change = (net(spotted)[0] - net(plain)[0]).abs().sum(dim=(0, 1))
    v, u = divmod(int(change.argmax()), change.shape[1])
    assert 46 <= v <= 57
    assert 6 <= u <= 17


def fit_loss(net, rgb, whole, visible, present):
    masks = HandMasks(*net(rgb)[:3])
    seen = functional.binary_cross_entropy(masks.visible, visible)
    amodal = functional.binary_cross_entropy(masks.amodal, whole)
    there = functional.binary_cross_entropy(masks.presence, present)
    return seen + amodal + there


def test_it_fits_two_pictures(transformers):
    torch.manual_seed(7)
    net = HasmMit("b0")
    rgb = pictures(2) * 0.2
    whole, visible = torch.zeros(2, 2, 32, 32), torch.zeros(2, 2, 32, 32)
    whole[0, 0, 4:20, 4:20] = 1
    visible[0, 0, 4:20, 4:12] = 1
    whole[1, 1, 12:28, 8:28] = 1
    visible[1, 1, 12:28, 8:28] = 1
    present = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    rgb += 0.7 * functional.interpolate(visible.sum(dim=1, keepdim=True), scale_factor=2)
    truth = (rgb, whole, visible, present)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    losses = []
    for step in range(13):
        if step in (0, 1, 12):
            with torch.no_grad():
                losses.append(float(fit_loss(net.eval(), *truth)))
        optimiser.zero_grad()
        fit_loss(net.train(), *truth).backward()
        optimiser.step()
    assert losses[1] < losses[0]
    assert losses[-1] < 0.4 * losses[0], losses


def test_every_parameter_gets_a_gradient(net):
    """Data parallel training stops at one that does not."""
    sum(part.square().sum() for part in net(pictures(1))).backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    net.zero_grad()
    # A constant added to all keys changes no softmax: its gradient is rounding, or exactly zero.
    assert not [n for n in still if not n.endswith("k_proj.bias")]


@pytest.mark.parametrize(
    ("size", "millions", "encoder_millions"),
    [("b0", 4.7, 3.3), ("b1", 14.7, 13.2), ("b5", 83.0, 81.4)],
)
def test_sizes_are_the_papers(transformers, size, millions, encoder_millions):
    with torch.device("meta"):
        net = HasmMit(size)
    config = net.encoder.config
    expected = (3, 6, 40, 3) if size == "b5" else (2, 2, 2, 2)
    assert tuple(config.depths) == expected
    assert tuple(len(stage.blocks) for stage in net.encoder.stages) == expected
    wide = (32, 64, 160, 256) if size == "b0" else (64, 128, 320, 512)
    assert tuple(config.hidden_sizes) == wide
    assert tuple(config.num_attention_heads) == (1, 2, 5, 8)
    assert tuple(config.sr_ratios) == (8, 4, 2, 1)
    assert tuple(config.mlp_ratios) == (4, 4, 4, 4)
    assert [p.out_channels for p in net.project] == [256] * 4
    assert round(n_parameters(net.encoder) / 1e6, 1) == encoder_millions
    assert round(n_parameters(net) / 1e6, 1) == millions


def test_published_encoders_are_loaded_whole(encoder_folder):
    loaded = HasmMit.from_pretrained_encoder(encoder_folder)
    values = load_file(encoder_folder / "model.safetensors")
    stage = loaded.encoder.stages[1]
    for name, ours in {
        "patch_embeddings.1.proj.weight": stage.patch_embeddings.proj.weight,
        "block.1.0.attention.self.key.weight": stage.blocks[0].attention.k_proj.weight,
        "block.1.1.mlp.dense2.weight": stage.blocks[1].mlp.fc2.weight,
    }.items():
        assert torch.equal(values[f"segformer.encoder.{name}"], ours)
    n_published = len([n for n in values if n.startswith("segformer.")])
    assert len(loaded.encoder.state_dict()) == n_published


def test_the_loaded_encoder_computes_what_transformers_own_does(transformers, encoder_folder):
    loaded = HasmMit.from_pretrained_encoder(encoder_folder).eval()
    theirs = transformers.SegformerModel.from_pretrained(encoder_folder, local_files_only=True)
    with torch.no_grad():
        rgb = pictures(1)[:, :3]
        ours = loaded.encoder(rgb).last_hidden_state
        oracle = theirs.eval()(rgb).last_hidden_state
    torch.testing.assert_close(ours, oracle)


def spoil(values: dict, how: str) -> dict:
    name = "segformer.encoder.block.2.0.mlp.dense1.weight"
    if how == "less":
        del values[name]
    elif how == "more":
        values["segformer.encoder.block.2.9.mlp.dense1.weight"] = torch.zeros(1)
    else:
        values[name] = torch.zeros(3, 3)
    return values


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("less", r"fit mit_b0: stages\.2\.blocks\.0\.mlp\.fc1\.weight is not in the file"),
        ("more", r"fit mit_b0: stages\.2\.blocks\.9\.mlp\.fc1\.weight is not in the net"),
        ("shape", r"fc1\.weight is \(3, 3\), expected \(640, 160\); check net\.size"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(encoder_folder, tmp_path, how, text):
    values = spoil(load_file(encoder_folder / "model.safetensors"), how)
    save_file(values, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=text):
        HasmMit.from_pretrained_encoder(tmp_path)


def test_an_encoder_of_another_size_is_refused(encoder_folder):
    with pytest.raises(WeightsError, match=r"do not fit mit_b1: .* check net\.size"):
        HasmMit.from_pretrained_encoder(encoder_folder, size="b1")


def test_missing_and_damaged_encoders_are_refused(transformers, tmp_path):
    with pytest.raises(WeightsError, match=r"model\.safetensors are missing; give a folder"):
        HasmMit.from_pretrained_encoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"model\.safetensors cannot be read \("):
        HasmMit.from_pretrained_encoder(tmp_path)


def test_without_transformers_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SettingsError, match=r'mit_b5 needs .* pip install "hdrvideo\[train\]"'):
        HasmMit("b5")


def test_old_transformers_are_refused(monkeypatch):
    old = SimpleNamespace(
        SegformerConfig=dict,
        SegformerModel=lambda config: torch.nn.Identity(),
        __version__="4.57.6",
    )
    monkeypatch.setitem(sys.modules, "transformers", old)
    text = r"needs transformers 5\.10\.1 or newer, found 4\.57\.6; pip install --upgrade"
    with pytest.raises(SettingsError, match=text):
        HasmMit("b0")


def test_unknown_sizes_are_refused():
    with pytest.raises(SettingsError, match="size is 'b9', expected one of b0, b1, b5"):
        HasmMit("b9")


@pytest.mark.parametrize("size", ["b0", "b5"])
def test_training_configs_are_read(size):
    values = yaml.safe_load((CONFIGS / f"hasm_mit_{size}.yaml").read_text(encoding="utf-8"))
    assert values["net"] == {"size": f"mit_{size}"}
    loop = build_settings(LoopSettings, values["loop"], "loop.")
    views = build_settings(ViewSettings, values["views"], "views.")
    build_settings(HasmData, values["data"], "data.")
    assert loop.warmup_steps == 1500
    assert views.resolution_px == HasmMit.RESOLUTION_PX
    assert values["batch"] == 48
