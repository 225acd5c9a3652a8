"""The nets and what carries them: shapes, shipped weights, the mirror, engines and devices."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import hdrvideo.checkpoint
import hdrvideo.engine
from hdrvideo.build import WEIGHTS, build_net, build_parts, pick_device, ready, small_shpe
from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.config import Settings
from hdrvideo.crop.find import whole_frame
from hdrvideo.crop.palm import N_ANCHORS, N_VALUES, PalmNet
from hdrvideo.crop.take import Pyramid, take_hands
from hdrvideo.engine import make_runner, pick_engine
from hdrvideo.errors import SettingsError, ShapeError, WeightsError
from hdrvideo.frame.blocks import InvertedResidual, pad_to_halve
from hdrvideo.frame.detnet import DetNetSmall, DetReader
from hdrvideo.frame.hasm import HasmNet
from hdrvideo.frame.hdrm import N_CHANNELS, SMALL, HdrmNet
from hdrvideo.frame.pair import HasmReader
from hdrvideo.frame.shpe import CropPoses, LandmarkNet, LandmarkShpe
from hdrvideo.frame.stage import FrameStage
from hdrvideo.geometry import CropSquare

CPU = torch.device("cpu")
NETS = {
    "palm": PalmNet,
    "landmark": LandmarkNet,
    "hasm": HasmNet,
    "hdrm": HdrmNet,
    "shpe": DetNetSmall,
}
CHANNELS = {"palm": 3, "landmark": 3, "hasm": HasmNet.CHANNELS, "hdrm": N_CHANNELS, "shpe": 3}
SHAPES = {
    "palm": [(N_ANCHORS,), (N_ANCHORS, N_VALUES)],
    "landmark": [(21, 3), (), (), (21, 3)],
    "hasm": [(2, 96, 96), (2, 96, 96), (2,), (2, 21, 2), (2, 21, 3), (2, 21), (2,)],
    "hdrm": [(3, 128, 128), (1, 128, 128)],
    "shpe": [(21, 2), (21, 3), (21,), (21,), (21, 3), (), (), (21, 3)],
}
RESOLUTION_PX = {
    name: SMALL.resolution_px if name == "hdrm" else net.RESOLUTION_PX for name, net in NETS.items()
}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
every_net = pytest.mark.parametrize("name", NETS)


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    return {name: built(name, CPU) for name in NETS}


def built(name: str, device: torch.device) -> nn.Module:
    if name == "shpe":
        return DetReader(ready(small_shpe(), device)).eval()
    if name == "hasm":
        return HasmReader(build_net(name, HasmNet(), device)).eval()
    return build_net(name, NETS[name](), device)


def pictures(name: str, n: int, seed: int = 0) -> torch.Tensor:
    resolution = RESOLUTION_PX[name]
    rough = torch.rand(n, CHANNELS[name], 12, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(rough, size=(resolution, resolution), mode="bicubic").clip(
        0, 1
    )


def frame_u8(height: int = 300, width: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    rough = rng.uniform(0, 255, (height // 20, width // 20, 3))
    return np.repeat(np.repeat(rough, 20, axis=0), 20, axis=1).astype(np.uint8)


@every_net
def test_shapes_and_batch_is_single(nets, name):
    rgb = pictures(name, 3)
    with torch.inference_mode():
        batch = nets[name](rgb)
        single = [nets[name](rgb[i : i + 1]) for i in range(3)]
    assert [tuple(values.shape) for values in batch] == [(3, *shape) for shape in SHAPES[name]]
    for k, values in enumerate(batch):
        assert values.dtype == torch.float32
        assert torch.isfinite(values).all()
        alone = torch.cat([one[k] for one in single])
        torch.testing.assert_close(alone, values, rtol=1e-4, atol=1e-3)


@every_net
def test_a_black_picture_is_finite(nets, name):
    resolution = RESOLUTION_PX[name]
    with torch.inference_mode():
        for fill in (0.0, 1.0):
            for values in nets[name](torch.full((1, CHANNELS[name], resolution, resolution), fill)):
                assert torch.isfinite(values).all()


def test_shipped_weights_see_no_hand_in_nothing():
    parts = build_parts(Settings(engine="torch"), CPU)
    for fill in (0, 128, 255):
        pyramid = Pyramid(np.full((240, 320, 3), fill, np.uint8))
        assert parts.finder.find(pyramid, [whole_frame(240, 320)]) == []
        square = CropSquare(160, 120, 200)
        poses = parts.frame_stage(take_hands(pyramid, [square], parts.frame_stage.resolution_px))
        assert poses.presence[0] < 0.5


@every_net
def test_a_net_ready_for_use_learns_nothing(nets, name):
    assert not nets[name].training
    assert not any(p.requires_grad for p in nets[name].parameters())
    assert {p.dtype for p in nets[name].parameters()} == {torch.float32}
    assert set(WEIGHTS) == {*NETS, "refine"}


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [2, 8, 30])
def test_padding_halves_exactly_with_the_larger_half_behind(size, kernel):
    image = torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size)
    padded = pad_to_halve(image, kernel)
    assert (padded.shape[2] - kernel) // 2 + 1 == size // 2
    before = (kernel - 2) // 2
    torch.testing.assert_close(padded[..., before : before + size, before : before + size], image)
    assert padded.shape[2] - size - before == kernel - 2 - before >= before


@pytest.mark.parametrize(("narrow_out", "stride"), [(8, 1), (12, 1), (8, 2), (0, 1)])
def test_a_block_is_residual_only_where_it_fits(narrow_out, stride):
    block = InvertedResidual(wide=16, narrow_in=8, narrow_out=narrow_out, kernel=3, stride=stride)
    x = torch.rand(2, 8, 6, 6) + 0.1
    kept = x.clone()
    with torch.no_grad():
        for p in block.parameters():
            p.zero_()
        out = block(x)
    assert out.shape == (2, narrow_out or 16, 6 // stride, 6 // stride)
    torch.testing.assert_close(x, kept)
    assert torch.equal(out, x) == (narrow_out == 8 and stride == 1)
    assert out.any() == (narrow_out == 8 and stride == 1)


def test_the_reader_speaks_pixel_centres_and_millimetres():
    joints, world = torch.rand(2, 21, 3) * 224, torch.rand(2, 21, 3)
    presence, side = torch.tensor([0.9, 0.2]), torch.tensor([0.7, 0.1])
    poses = LandmarkShpe(lambda rgb: (joints, presence, side, world))(torch.zeros(2, 3, 224, 224))
    torch.testing.assert_close(poses.uv_crop_px, joints[..., :2] - 0.5)
    torch.testing.assert_close(poses.xyz_crop_mm, 1000 * world)
    torch.testing.assert_close(poses.confidence, presence[:, None].expand(2, 21))
    torch.testing.assert_close(poses.looks_right, side)


@pytest.mark.parametrize("name", [f.name for f in fields(CropPoses)])
def test_crop_poses_check_themselves(name):
    good = {
        "uv_crop_px": torch.zeros(2, 21, 2),
        "xyz_crop_mm": torch.zeros(2, 21, 3),
        "presence": torch.zeros(2),
        "looks_right": torch.zeros(2),
        "confidence": torch.zeros(2, 21),
        "followed_crop_px": torch.zeros(2, 21, 2),
    }
    CropPoses(**good)
    for wrong in (good[name].double(), good[name][..., None]):
        with pytest.raises(ShapeError, match=f"^{name} is .*, expected float32"):
            CropPoses(**good | {name: wrong})


@pytest.mark.parametrize("square", [CropSquare(199.5, 149.5, 224), CropSquare(210, 130, 224, 0.5)])
@pytest.mark.parametrize("flip", [False, True])
def test_mirroring_the_frame_mirrors_the_result(nets, flip, square):
    frame = frame_u8()
    width = frame.shape[1]
    square = CropSquare(square.u_px, square.v_px, square.size_px, square.angle_rad, flip)
    other = CropSquare(
        width - 1 - square.u_px, square.v_px, square.size_px, -square.angle_rad, not flip
    )
    stage = FrameStage(shpe=LandmarkShpe(nets["landmark"]), device=CPU)
    crops = take_hands(Pyramid(frame), [square], stage.resolution_px)
    mirrored_frame = Pyramid(np.ascontiguousarray(frame[:, ::-1]))
    mirrored = take_hands(mirrored_frame, [other], stage.resolution_px)
    apart = (crops.rgb - mirrored.rgb).abs()
    assert apart.mean() < 1e-3
    a = stage(crops)
    b = stage(mirrored)
    # A turned crop is sampled at coordinates that OpenCV rounds to 1/32 px, either way round.
    exact = 1e-3 if square.angle_rad == 0 else 0.3
    assert square.angle_rad != 0 or apart.max() == 0
    np.testing.assert_allclose(b.uv_px[..., 0], width - 1 - a.uv_px[..., 0], atol=exact)
    np.testing.assert_allclose(b.uv_px[..., 1], a.uv_px[..., 1], atol=exact)
    np.testing.assert_allclose(b.xyz_mm, a.xyz_mm * [-1, 1, 1], atol=exact)
    small = min(exact, 0.03)
    np.testing.assert_allclose(b.right_score, 1 - a.right_score, atol=small)
    np.testing.assert_allclose(b.presence, a.presence, atol=small)
    np.testing.assert_allclose(b.confidence, a.confidence, atol=small)


def test_the_stage_reads_a_batch_as_one_by_one(nets):
    stage = FrameStage(shpe=LandmarkShpe(nets["landmark"]), device=CPU)
    squares = [
        CropSquare(120, 100, 150, 0.3),
        CropSquare(250, 160, 190, -1, True),
        CropSquare(5, 5, 90, 2, True),
    ]
    batch = stage(take_hands(Pyramid(frame_u8()), squares, stage.resolution_px))
    assert len(batch) == 3
    for i, square in enumerate(squares):
        single = stage(take_hands(Pyramid(frame_u8()), [square], stage.resolution_px))
        for name, values in vars(batch).items():
            np.testing.assert_allclose(getattr(single, name)[0], values[i], atol=2e-3, err_msg=name)


@every_net
def test_weights_fit_strictly(nets, name):
    values = load_file(weights_path(name))
    state = getattr(nets[name], "net", nets[name]).state_dict()
    if name == "shpe":
        # The landmark net within it is the one that is shipped by itself.
        landmark = {n: v for n, v in state.items() if n.split(".")[0] in DetNetSmall.LANDMARK_PARTS}
        shipped = load_file(weights_path("landmark"))
        assert sum(v.numel() for v in landmark.values()) == sum(v.numel() for v in shipped.values())
        state = {n: v for n, v in state.items() if n not in landmark}
    assert set(values) == set(state)
    for key, value in values.items():
        torch.testing.assert_close(state[key], value.float(), rtol=0, atol=0)


def test_weights_errors(tmp_path):
    net, good = nn.Linear(3, 2), {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    path = tmp_path / "net.safetensors"
    with pytest.raises(WeightsError, match=r"net\.safetensors are missing; name another"):
        load_weights(net, path)
    with pytest.raises(WeightsError, match=r"nose\.safetensors are missing; reinstall hdrvideo"):
        load_weights(net, weights_path("nose"))
    with pytest.raises(WeightsError, match="are missing"):
        load_weights(net, tmp_path)
    save_file(good, path)
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole[:20], b"", b"no weights at all"):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"cannot be read \(.*\); name another file"):
            load_weights(net, path)
    save_file(good | {"weight": torch.ones(3, 2)}, path)
    text = r"do not fit: weight is \(3, 2\), expected \(2, 3\)"
    with pytest.raises(WeightsError, match=text):
        load_weights(net, path)
    save_file({"weight": good["weight"]}, path)
    with pytest.raises(WeightsError, match="do not fit: bias is not in the file"):
        load_weights(net, path)
    save_file(good | {"scale": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match="do not fit: scale is not in the net"):
        load_weights(net, path)
    save_file({k: v.half() for k, v in good.items()}, path)
    load_weights(net, path)
    assert net.weight.dtype == torch.float32
    assert (net.weight == 1).all()


def test_weights_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError("Permission denied")

    path = tmp_path / "net.safetensors"
    save_file({"weight": torch.ones(2, 3)}, path)
    monkeypatch.setattr(hdrvideo.checkpoint, "load_file", refuse)
    with pytest.raises(WeightsError, match=r"cannot be read \(Permission denied\); name another"):
        load_weights(nn.Linear(3, 2), path)


def test_devices(monkeypatch):
    assert pick_device("cpu") == CPU
    for word in ("gpu", "", "cuda:0"):
        with pytest.raises(SettingsError, match=f"device is '{word}', expected 'auto', 'cpu' or"):
            pick_device(word)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(SettingsError, match="device is 'cuda' but torch finds no CUDA device; use"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == pick_device("cuda").type == "cuda"
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("is_there", [True, False])
def test_engines(monkeypatch, is_there):
    found = object() if is_there else None
    monkeypatch.setattr(hdrvideo.engine.importlib.util, "find_spec", lambda name: found)
    cuda = torch.device("cuda")
    assert pick_engine("auto", CPU) == ("openvino" if is_there else "torch")
    assert pick_engine("auto", cuda) == "torch"
    assert pick_engine("torch", CPU) == pick_engine("torch", cuda) == "torch"
    with pytest.raises(SettingsError, match="engine 'openvino' runs on the CPU, not on cuda; use"):
        pick_engine("openvino", cuda)
    if is_there:
        assert pick_engine("openvino", CPU) == "openvino"
    else:
        with pytest.raises(SettingsError, match="engine 'openvino' is not installed; pip install"):
            pick_engine("openvino", CPU)


def test_torch_runs_the_net_itself(nets):
    assert make_runner(nets["palm"], "torch", resolution_px=192) is nets["palm"]


@every_net
def test_openvino_says_what_torch_says(nets, name):
    pytest.importorskip("openvino")
    runner = make_runner(
        nets[name],
        "openvino",
        resolution_px=RESOLUTION_PX[name],
        n_channels=CHANNELS[name],
    )
    for n in (2, 1, 3):
        rgb = pictures(name, n, seed=n)
        with torch.inference_mode():
            expected = nets[name](rgb)
        given = runner(rgb)
        assert len(given) == len(expected)
        for ours, theirs in zip(given, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    # Answers stay as they were when the next batch is read.
    first = runner(pictures(name, 1, seed=1))
    kept = [values.clone() for values in first]
    runner(pictures(name, 1, seed=2))
    for values, copy in zip(first, kept, strict=True):
        torch.testing.assert_close(values, copy, rtol=0, atol=0)


@needs_cuda
@every_net
def test_cuda_says_what_the_cpu_says(nets, name):
    rgb = pictures(name, 4)
    on_cuda = built(name, torch.device("cuda"))
    with torch.inference_mode():
        expected = nets[name](rgb)
        given = on_cuda(rgb.to("cuda"))
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-2, atol=0.05)


@needs_cuda
def test_the_stages_on_cuda_give_arrays_on_the_cpu():
    square = CropSquare(200, 150, 200, 0.2, True)
    results = []
    for device in (CPU, torch.device("cuda")):
        parts = build_parts(Settings(engine="torch"), device)
        pyramid = Pyramid(frame_u8())
        parts.finder.find(pyramid, [whole_frame(300, 400)])
        results.append(parts.frame_stage(take_hands(pyramid, [square], 224)))
    np.testing.assert_allclose(results[1].uv_px, results[0].uv_px, atol=0.1)
