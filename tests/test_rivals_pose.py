"""Rivals that read joints: nets against what is published, readings, and how they answer."""

import numpy as np
import pytest
import torch
from pose_rivals import TINY, R, TinyTrunk, crops, tiny, tiny_minimal_hand
from safetensors.torch import save_file
from torch import nn

from hdrvideo.build import build_rival
from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.datatypes import HandCrops
from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.frame.detnet import DetReader
from hdrvideo.frame.shpe import CropPoses, LandmarkNet
from hdrvideo.frame.stage import FrameStage
from hdrvideo.hand import ADULT_BONES_MM, PARENTS
from hdrvideo.handmodel import HandModel, axis_angle_to_matrix
from hdrvideo.rivals import handoccnet, internet, minimal_hand
from hdrvideo.rivals.cost import cost_of
from hdrvideo.rivals.handoccnet import (
    HandOccReader,
    Inject,
)
from hdrvideo.rivals.internet import (
    InterReader,
)
from hdrvideo.rivals.minimal_hand import MinimalHand, MinimalPoser
from hdrvideo.rivals.reading import JudgedShpe, log_error_palms, with_depth
from hdrvideo.rivals.resnet import ResNet50

CPU = torch.device("cpu")
SIZES = {
    "internet": internet.SIZES,
    "handoccnet": handoccnet.SIZES,
    "minimal_hand": minimal_hand.SIZES,
}
every_net = pytest.mark.parametrize("name", TINY)


def reader_of(name: str, net: nn.Module) -> nn.Module:
    if name == "internet":
        return InterReader(net).eval()
    return (HandOccReader(net) if name == "handoccnet" else DetReader(net.detnet)).eval()


# What nets cost.


def test_costs_are_those_counted_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ConvTranspose2d(4, 5, 4, 2, 1),
        nn.Conv2d(5, 5, 3, padding=1, groups=5),
    )
    cost = cost_of(net, 8)
    assert cost.multiply_adds == 64 * 4 * 27 + 64 * 4 * 5 * 16 + 256 * 5 * 9
    assert cost.parameters == (4 * 27 + 4) + (4 * 5 * 16 + 5) + (5 * 9 + 5)

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Inject(32, 16)

        def forward(self, picture):
            tokens = picture.reshape(1, 16, 32)
            return self.layer(tokens, tokens)

    # Five projections, scores and values, a gate a query and head, and the two layers after.
    wanted = 5 * 16 * 32 * 32 + 2 * 16 * 16 * 32 + 16 * 32 + 2 * 16 * 32 * 128
    assert cost_of(Attends(), 16, n_channels=2).multiply_adds == wanted


def test_the_trunk_is_as_large_as_a_resnet_50():
    class Trunk(ResNet50):
        def forward(self, rgb):
            return self.features(rgb)

    net = Trunk()
    cost = cost_of(net, 224)
    # 25.56 M with the classifier's 2.05 M; 4.09 GMAC with the classifier's 2 M.
    assert cost.parameters == pytest.approx(23.51e6, rel=1e-3)
    assert cost.multiply_adds == pytest.approx(4.09e9, rel=5e-3)
    with torch.no_grad():
        found = net(crops(1, size=32))
    assert [f.shape[1:] for f in found] == [
        (n, 8 >> k, 8 >> k) for k, n in enumerate(ResNet50.CHANNELS)
    ]


@pytest.mark.parametrize(
    ("name", "size", "millions", "giga"),
    [
        ("internet", "small", 4.05, 0.26),
        ("handoccnet", "small", 4.65, 0.48),
        ("minimal_hand", "small", 1.24, 0.91),
        ("internet", "paper", 47.3, 11.9),
        ("handoccnet", "paper", 38.4, 16.7),
        ("minimal_hand", "paper", 13.3, 13.5),
    ],
)
def test_sizes_cost_what_is_told(name, size, millions, giga):
    net = SIZES[name][size]()
    cost = cost_of(net, net.resolution_px)
    assert cost.parameters / 1e6 == pytest.approx(millions, rel=0.01)
    assert cost.multiply_adds / 1e9 == pytest.approx(giga, rel=0.02)


# All nets.


@every_net
def test_a_batch_is_its_crops_one_by_one(name):
    reader, rgb = reader_of(name, tiny(name)), crops(3)
    with torch.no_grad():
        together, alone = reader(rgb), [reader(one) for one in rgb.split(1)]
    for k, values in enumerate(together):
        torch.testing.assert_close(
            values, torch.cat([one[k] for one in alone]), atol=2e-3, rtol=1e-3
        )


@every_net
def test_readers_can_be_traced(name):
    reader, example, other = reader_of(name, tiny(name, 1)), crops(1), crops(2, 5)
    with torch.no_grad(), pytest.warns(DeprecationWarning, match="jit.trace"):
        traced = torch.jit.trace(reader, example, check_trace=False)
    with torch.no_grad():
        for ours, theirs in zip(traced(other), reader(other), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@every_net
def test_weights_go_to_a_file_and_back_strictly(name, tmp_path):
    net, again = tiny(name, 1), tiny(name, 2)
    path = tmp_path / "net.safetensors"
    save_file({n: v.contiguous() for n, v in net.state_dict().items()}, path)
    load_weights(again, path)
    for n, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[n], value), n
    # The hand model's numbers are constants and not in the file.
    assert not [n for n in net.state_dict() if "joints_mm" in n]
    save_file(dict(list(net.state_dict().items())[1:]), path)
    with pytest.raises(WeightsError, match="is not in the file"):
        load_weights(again, path)


@every_net
def test_a_rival_stands_in_for_shpe(name, tmp_path):
    torch.manual_seed(0)
    net = SIZES[name]["small"]()
    path = tmp_path / "best.safetensors"
    save_file({n: v.half().contiguous() for n, v in net.state_dict().items()}, path)
    shpe = build_rival(name, path, device=CPU)
    rgb = crops(2, size=shpe.resolution_px)
    affine = np.array([[[0.5, 0, 10], [0, 0.5, 20]], [[-0.5, 0, 150], [0, 0.5, 20]]])
    poses = FrameStage(shpe=shpe, device=CPU)(HandCrops(rgb, affine, np.array([False, True])))
    with torch.inference_mode():
        said = shpe(rgb)
    assert isinstance(said, CropPoses)
    assert (said.xyz_crop_mm[:, 0] == 0).all()
    for values in (said.presence, said.looks_right, said.confidence):
        assert ((values >= 0) & (values <= 1)).all()
    u = said.uv_crop_px[1, :, 0].numpy()
    assert poses.uv_px[1, :, 0] == pytest.approx(150 - 0.5 * u, abs=1e-3)
    if name != "internet":
        landmark = LandmarkNet().eval()
        load_weights(landmark, weights_path("landmark"))
        large = torch.nn.functional.interpolate(
            rgb, size=(224, 224), mode="bilinear", antialias=True
        )
        with torch.no_grad():
            _, presence, looks_right, _ = landmark(large)
        torch.testing.assert_close(said.presence, presence, atol=1e-4, rtol=0)
        torch.testing.assert_close(said.looks_right, looks_right, atol=1e-4, rtol=0)


def test_rivals_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(
        SettingsError, match="rival is 'deformer' of size 'small', expected interne"
    ):
        build_rival("deformer", tmp_path / "x", device=CPU)
    with pytest.raises(SettingsError, match="rival is 'internet' of size 'huge'"):
        build_rival("internet", tmp_path / "x", size="huge", device=CPU)
    with pytest.raises(WeightsError, match=r"gone\.safetensors are missing"):
        build_rival("internet", tmp_path / "gone.safetensors", device=CPU)


@every_net
def test_openvino_says_what_torch_says(name):
    pytest.importorskip("openvino")
    from hdrvideo.engine import make_runner

    reader, rgb = reader_of(name, tiny(name, 4)), crops(2, 9)
    runner = make_runner(reader, "openvino", resolution_px=R)
    with torch.no_grad():
        expected = reader(rgb)
    for ours, theirs in zip(runner(rgb), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


# What is left unsaid.


def test_a_hand_seen_from_afar_gets_its_depth_back():
    draw = torch.Generator().manual_seed(0)
    bones = torch.nn.functional.normalize(torch.randn(3, 2, 21, 3, generator=draw), dim=-1)
    xyz = torch.zeros(3, 2, 21, 3)
    for j in range(1, 21):
        xyz[..., j, :] = xyz[..., PARENTS[j], :] + ADULT_BONES_MM[j - 1] * bones[..., j, :]
    uv_px = 0.4 * xyz[..., :2] + torch.tensor([70.0, 90.0])
    torch.testing.assert_close(with_depth(uv_px, xyz[..., 2] + 33), xyz, atol=1e-2, rtol=1e-4)


def test_a_hand_without_extent_or_all_depth_stays_finite():
    point = torch.zeros(1, 21, 2, requires_grad=True)
    deep = (100 * torch.randn(1, 21, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = with_depth(point, 50 * deep)
    found.sum().backward()
    assert found.isfinite().all()
    assert point.grad.isfinite().all()
    assert deep.grad.isfinite().all()
    assert log_error_palms(torch.zeros(1, 21), torch.zeros(1, 21, 2)).isfinite().all()


def test_spread_becomes_an_error_in_palms():
    uv_px = torch.zeros(1, 21, 2)
    uv_px[:, [5, 9, 13, 17], 1] = -40.0
    said = log_error_palms(torch.full((1, 21), 10.0), uv_px).exp()
    assert said[0].tolist() == pytest.approx([0.25] * 21)
    # A palm seen askew is taken for a part of the hand's extent.
    uv_px[:, 20, 0] = 400.0
    said = log_error_palms(torch.full((1, 21), 10.0), uv_px).exp()
    assert float(said[0, 0]) == pytest.approx(10 / (0.35 * 400))


# minimal-hand.


@pytest.fixture(scope="module")
def minimal() -> MinimalHand:
    net = tiny_minimal_hand()
    load_weights(net.ik, weights_path("ik"))
    return net.eval()


def made_joints(b: int = 6, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    hands = torch.rand(b, 15, 3, generator=draw) * 0.3 + torch.tensor([0.2, -0.1, -0.1])
    turn = torch.randn(b, 1, 3, generator=draw)
    return HandModel().joints(torch.cat([turn, hands], dim=1))


def test_joints_of_the_hand_model_are_posed_again(minimal):
    xyz = made_joints()
    with torch.no_grad():
        posed = minimal.posed(xyz)
    assert (posed - xyz).norm(dim=-1).mean() < 6
    assert (posed[:, 0] == 0).all()
    # It is a right hand's model (the published one is a left hand's): left hands must be mirrored.
    left = xyz * torch.tensor([-1.0, 1.0, 1.0])
    with torch.no_grad():
        assert (minimal.posed(left) - left).norm(dim=-1).mean() > 12


def test_posing_knows_no_place_no_size_and_turns_with_the_hand(minimal):
    xyz = made_joints(4, 1)
    turn = axis_angle_to_matrix(torch.tensor([0.7, -1.1, 0.4]))
    with torch.no_grad():
        posed = minimal.posed(xyz)
        torch.testing.assert_close(minimal.posed(3 * xyz + 50), posed, atol=0.05, rtol=1e-3)
        torch.testing.assert_close(
            minimal.posed(xyz @ turn.T), posed @ turn.T, atol=0.05, rtol=1e-3
        )


def test_posing_keeps_bones_whole_and_its_slope_finite(minimal):
    wrong = torch.zeros(2, 21, 3)
    wrong[1] = 1e-3 * torch.randn(21, 3, generator=torch.Generator().manual_seed(0))
    wrong.requires_grad_()
    posed = minimal.posed(wrong)
    mean = HandModel().joints(torch.zeros(1, 16, 3))
    for joint in range(1, 21):
        length = (posed[:, joint] - posed[:, PARENTS[joint]]).norm(dim=-1)
        wanted = (mean[:, joint] - mean[:, PARENTS[joint]]).norm(dim=-1)
        torch.testing.assert_close(length, wanted.expand(2), atol=1e-2, rtol=1e-4)
    posed.square().sum().backward()
    assert wrong.grad.isfinite().all()


def test_minimal_hand_works_in_half_precision(minimal):
    rgb = crops(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = minimal(rgb)
    assert out[0].dtype == torch.bfloat16
    assert out[6].dtype == torch.float32
    with torch.no_grad():
        uv_px, posed, log_error = MinimalPoser(DetReader(minimal.detnet), minimal)(rgb)
        wanted_px, xyz, _, wanted_error = DetReader(minimal.detnet)(rgb)
        torch.testing.assert_close(posed, minimal(rgb)[6])
    assert torch.equal(posed, minimal.posed(xyz))
    assert torch.equal(uv_px, wanted_px)
    assert torch.equal(log_error, wanted_error)


def test_the_published_detnet_is_ours():
    net = minimal_hand.paper()
    assert net.resolution_px == 128
    with torch.no_grad():
        assert net(crops(1, size=32))[0].shape == (1, 21, 8, 8)
    n = sum(p.numel() for p in net.detnet.parameters())
    assert n == pytest.approx(13.0e6, rel=0.01)


def test_a_judge_sees_crops_of_its_own_size():
    seen = []

    def judge(rgb):
        seen.append(tuple(rgb.shape))
        return None, torch.full((2,), 0.5), torch.full((2,), 0.25), None

    def read(rgb):
        return torch.zeros(2, 21, 2), torch.zeros(2, 21, 3), torch.full((2, 21), -30.0)

    for size in (R, 224):
        poses = JudgedShpe(read, resolution_px=size, judge=judge)(crops(2, size=size))
    assert seen == [(2, 3, 224, 224)] * 2
    assert poses.confidence.tolist() == [[0.5] * 21] * 2
    assert poses.looks_right.tolist() == [0.25, 0.25]


def test_tiny_trunks_are_like_large_ones():
    found = TinyTrunk().features(crops(1))
    assert [f.shape[-1] for f in found] == [16, 8, 4, 2]
