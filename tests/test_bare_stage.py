"""Painting before reading: masks cut as crops are, the stage with HDRM, whose joints are taken."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hdrvideo import build
from hdrvideo.build import build_net, build_parts
from hdrvideo.checkpoint import weights_path
from hdrvideo.clip import open_clip
from hdrvideo.config import Settings
from hdrvideo.crop.take import Pyramid, take_crop, take_hands, take_masks
from hdrvideo.datatypes import HandCrops, KeptCrop
from hdrvideo.errors import ShapeError
from hdrvideo.frame.detnet import DetAnswer, DetNetSmall, DetReader, DetShpe
from hdrvideo.frame.hdrm import SMALL, HdrmNet
from hdrvideo.frame.painter import Hdrm
from hdrvideo.frame.shpe import CropPoses, LandmarkNet, LandmarkShpe
from hdrvideo.frame.stage import FrameStage, MixedShpe
from hdrvideo.geometry import CropSquare, apply_affine
from hdrvideo.handmask import HandMask
from hdrvideo.pipeline import pose_windows
from hdrvideo.track import DEOCCLUDED, OBSERVED, concatenate

SAMPLE = Path(__file__).parents[1] / "sample_videos" / "interlocked.mp4"
CPU = torch.device("cpu")
HEIGHT, WIDTH = 300, 400
SQUARES = [
    CropSquare(200, 150, 140),
    CropSquare(210.3, 140.8, 180, 0.7),
    CropSquare(190, 160, 150, -1.2, True),
]


def blob(u: float, v: float, radius: float, *, seen: float = 1.0) -> HandMask:
    """Give a disc in the frame; of its width only the share ``seen``, from the left, is seen."""
    square = CropSquare(200, 150, 288)
    at = apply_affine(square.frame_from_crop(96), np.stack(np.mgrid[:96, :96][::-1], axis=-1))
    away = np.hypot(at[..., 0] - u, at[..., 1] - v)
    amodal = (255 * np.clip((radius - away) / 9 + 0.5, 0, 1)).astype(np.uint8)
    visible = np.where(at[..., 0] <= u - radius + 2 * radius * seen, amodal, 0).astype(np.uint8)
    return HandMask(square, visible, amodal)


def frame_u8() -> np.ndarray:
    rough = np.random.default_rng(0).uniform(0, 255, (HEIGHT // 20, WIDTH // 20, 3))
    return np.repeat(np.repeat(rough, 20, axis=0), 20, axis=1).astype(np.uint8)


@pytest.mark.parametrize("square", SQUARES)
def test_masks_in_a_crop_are_those_of_its_places_in_the_frame(square):
    mask = blob(195, 155, 40, seen=0.6)
    affine = square.frame_from_crop(224)
    visible, amodal = mask.in_crop(affine, 224)
    assert visible.dtype == amodal.dtype == np.float32
    places = apply_affine(affine, np.stack(np.mgrid[:224, :224][::-1], axis=-1).reshape(-1, 2))
    for found, looked_up in ((visible, mask.visible_at(places)), (amodal, mask.amodal_at(places))):
        apart = np.abs(found.ravel() - looked_up)
        # OpenCV rounds places to 1/32 of a mask pixel, over which the seen part's edge falls.
        assert apart.max() < 0.04
        assert apart.mean() < 0.002
    assert (visible <= amodal).all()
    # And they are the frame's masks, cut as the picture is.
    for found, in_frame in zip((visible, amodal), mask.in_frame(HEIGHT, WIDTH), strict=True):
        picture = np.repeat(in_frame[..., None] * np.uint8(255), 3, axis=2)
        cut = take_crop(Pyramid(picture), square, 224, replicate=True)[..., 0]
        assert ((found >= 0.5) != (cut >= 128)).mean() < 0.01
        assert (found >= 0.5).mean() > 0.05


def test_masks_fade_at_their_squares_rim_and_are_nothing_beyond():
    full = np.full((10, 10), 255, np.uint8)
    mask = HandMask(CropSquare(50, 50, 20), full, full)
    crop = CropSquare(50, 50, 40).frame_from_crop(40)
    _, amodal = mask.in_crop(crop, 40)
    assert (amodal[11:29, 11:29] == 1).all()
    assert (amodal[:9] == 0).all()
    assert (amodal[:, 31:] == 0).all()


def test_each_crop_gets_its_own_masks_and_the_others():
    own, other = blob(180, 150, 40, seen=0.5), blob(230, 150, 30)
    affines = np.stack([s.frame_from_crop(64) for s in SQUARES])
    masks = take_masks([(own, other), (other, own), (own, None)], affines, 64)
    assert masks.shape == (3, 4, 64, 64)
    for n, pair in enumerate([(own, other), (other, own)]):
        for k, mask in enumerate(pair):
            alone = mask.in_crop(affines[n], 64)
            np.testing.assert_array_equal(masks[n, 2 * k : 2 * k + 2].numpy(), alone)
    assert masks[2, :2].any()
    assert not masks[2, 2:].any()
    crops = take_hands(Pyramid(frame_u8()), SQUARES[:1], 64, [(own, other)])
    assert torch.equal(crops.masks, masks[:1])
    assert take_hands(Pyramid(frame_u8()), SQUARES, 64).masks is None


def test_crops_check_their_masks_and_can_be_picked():
    crops = take_hands(Pyramid(frame_u8()), SQUARES, 32, [(blob(200, 150, 40), None)] * 3)
    for wrong in (crops.masks[:2], crops.masks[:, :3], crops.masks.double(), crops.masks[..., :9]):
        with pytest.raises(ShapeError, match=r"^masks is .*expected float32 \(3, 4, 32, 32\)"):
            HandCrops(crops.rgb, crops.frame_from_crop, crops.mirrored, wrong)
    picked = crops.only(np.array([True, False, True]))
    for name in ("rgb", "frame_from_crop", "mirrored", "masks"):
        np.testing.assert_array_equal(getattr(picked, name), getattr(crops, name)[[0, 2]])
    bare = HandCrops(crops.rgb, crops.frame_from_crop, crops.mirrored)
    assert bare.only(np.array([False, True, False])).masks is None
    with pytest.raises(ShapeError, match=r"frame_from_crop is float64 \(3, 3\), expected float64"):
        KeptCrop(np.eye(3), b"", painted=True)


@pytest.fixture(scope="module")
def landmark() -> torch.nn.Module:
    return build_net("landmark", LandmarkNet(), CPU)


@pytest.fixture(scope="module")
def hdrm() -> Hdrm:
    torch.manual_seed(0)
    net = HdrmNet(SMALL).eval().requires_grad_(False)
    return Hdrm(net, resolution_px=SMALL.resolution_px, device=CPU)


@pytest.fixture(scope="module")
def crops() -> HandCrops:
    """Give three crops: the first and the last hand are hidden in part, the second is not."""
    hidden, whole = blob(200, 150, 40, seen=0.5), blob(205, 145, 40)
    other = blob(240, 150, 30)
    pairs = [(hidden, other), (whole, None), (hidden, None)]
    return take_hands(Pyramid(frame_u8()), SQUARES, 224, pairs)


def same(a, b, *, at=slice(None), exact: bool = True) -> None:
    for name, values in vars(a).items():
        other = getattr(b, name)[at]
        if exact:
            np.testing.assert_array_equal(values, other, err_msg=name)
        else:
            np.testing.assert_allclose(values, other, atol=2e-3, err_msg=name)


def test_the_stage_reads_painted_crops_and_skipping_changes_nothing(landmark, hdrm, crops):
    stage = FrameStage(shpe=LandmarkShpe(landmark), device=CPU, hdrm=hdrm)
    plain = FrameStage(shpe=LandmarkShpe(landmark), device=CPU)
    assert stage.can_paint
    assert not plain.can_paint
    bare, is_painted, after = stage.paint(crops)
    assert is_painted.tolist() == [True, False, True]
    assert after == [None] * 3
    assert not stage.remembers
    assert bare.masks is None
    assert torch.equal(bare.rgb[1], crops.rgb[1])
    assert not torch.equal(bare.rgb[0], crops.rgb[0])
    both = stage(crops)
    same(plain(bare), both)
    # Only what was painted, as the follower has it read, and each hand alone.
    same(stage(bare.only(is_painted)), both, at=[0, 2], exact=False)
    for n in range(3):
        same(stage(crops.only(np.arange(3) == n)), both, at=[n], exact=False)
    unmasked = HandCrops(crops.rgb, crops.frame_from_crop, crops.mirrored)
    as_it_is = plain(unmasked)
    np.testing.assert_allclose(both.uv_px[1], as_it_is.uv_px[1], atol=2e-3)
    assert np.abs(both.uv_px[0] - as_it_is.uv_px[0]).max() > 0.1
    # Without HDRM masks change nothing; without masks HDRM does not.
    same(plain(crops), as_it_is)
    same(stage(unmasked), as_it_is)


def test_a_painter_with_a_memory_is_told_what_was_before(landmark, hdrm, crops):
    asked = []

    def steady(given: HandCrops, before) -> tuple:
        asked.append((given, list(before)))
        return hdrm(given.rgb, given.masks), ["a", None, "c"]

    stage = FrameStage(shpe=LandmarkShpe(landmark), device=CPU, steady=steady)
    assert stage.can_paint
    assert stage.remembers
    bare, is_painted, after = stage.paint(crops, ["x", None, crops])
    assert asked.pop() == (crops, ["x", None, crops])
    assert after == ["a", None, "c"]
    assert is_painted.tolist() == [True, False, True]
    # Read at once, nothing is known of frames before.
    same(stage(crops), FrameStage(shpe=LandmarkShpe(landmark), device=CPU)(bare))
    assert asked.pop()[1] == [None] * 3


def test_painting_needs_masks_and_a_painter(landmark, hdrm, crops):
    unmasked = HandCrops(crops.rgb, crops.frame_from_crop, crops.mirrored)
    with pytest.raises(ShapeError, match="crops are to be painted without masks; see FrameSt"):
        FrameStage(shpe=LandmarkShpe(landmark), device=CPU, hdrm=hdrm).paint(unmasked)
    with pytest.raises(ShapeError, match="crops are to be painted without HDRM; see FrameStage"):
        FrameStage(shpe=LandmarkShpe(landmark), device=CPU).paint(crops)


def some_poses(seed: int) -> CropPoses:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((2, 21, 2), (2, 21, 3), (2,), (2,), (2, 21))
    return CropPoses(*(torch.rand(shape, generator=draw) for shape in shapes))


class TwoAnswers:
    resolution_px = 224

    def look(self, rgb):
        return DetAnswer(some_poses(1), torch.rand(2, 21), torch.rand(2, 21), some_poses(2))


@pytest.mark.parametrize("uv", ["own", "landmark", "mean"])
@pytest.mark.parametrize("xyz", ["own", "landmark"])
def test_of_each_quantity_the_chosen_nets_answer_is_taken(uv, xyz):
    own, landmark = some_poses(1), some_poses(2)
    shpe = MixedShpe(TwoAnswers(), uv=uv, xyz=xyz)
    assert shpe.resolution_px == 224
    poses = shpe(torch.zeros(2, 3, 224, 224))
    sure = own.confidence[..., None] ** 2
    middle = (sure * own.uv_crop_px + landmark.uv_crop_px) / (sure + 1)
    wanted = {"own": own.uv_crop_px, "landmark": landmark.uv_crop_px, "mean": middle}
    torch.testing.assert_close(poses.uv_crop_px, wanted[uv])
    assert torch.equal(poses.xyz_crop_mm, (own if xyz == "own" else landmark).xyz_crop_mm)
    for name in ("presence", "looks_right", "confidence"):
        assert torch.equal(getattr(poses, name), getattr(own, name))
    assert torch.equal(poses.followed_crop_px, landmark.uv_crop_px)


def test_hands_are_followed_by_one_net_and_told_by_another(crops):
    """The way between both nets' joints goes through the crop's affine, mirror and turn too."""

    def stage(uv: str) -> FrameStage:
        two = HandCrops(crops.rgb[:2], crops.frame_from_crop[:2], crops.mirrored[:2])
        return FrameStage(shpe=MixedShpe(TwoAnswers(), uv=uv, xyz="own"), device=CPU)(two)

    own, landmark = stage("own"), stage("landmark")
    np.testing.assert_array_equal(own.uv_px, landmark.uv_px)
    assert not landmark.refine_px.any()
    wanted = apply_affine(crops.frame_from_crop[:2], some_poses(1).uv_crop_px.numpy())
    np.testing.assert_allclose(own.uv_px + own.refine_px, wanted, atol=1e-3)
    sure = some_poses(1).confidence.numpy()[..., None] ** 2
    part = own.refine_px * sure / (1 + sure)
    np.testing.assert_allclose(stage("mean").refine_px, part, atol=1e-3)


def test_taking_the_landmark_nets_answer_gives_what_it_gives_alone(landmark, crops):
    net = DetReader(DetNetSmall(build_net("landmark", LandmarkNet(), CPU))).eval()
    mixed = MixedShpe(DetShpe(net, resolution_px=224), uv="landmark", xyz="landmark")
    with torch.inference_mode():
        poses, alone = mixed(crops.rgb), LandmarkShpe(landmark)(crops.rgb)
    for name in ("uv_crop_px", "xyz_crop_mm", "presence", "looks_right"):
        torch.testing.assert_close(getattr(poses, name), getattr(alone, name))


@pytest.fixture
def own_weights(tmp_path, monkeypatch) -> None:
    """Lay untrained weights of the new nets where shipped ones would be."""
    torch.manual_seed(0)
    nets = {
        "shpe": DetNetSmall(build_net("landmark", LandmarkNet(), CPU)),
        "hdrm": HdrmNet(SMALL),
    }
    for name, net in nets.items():
        state = {key: value.half().contiguous() for key, value in net.state_dict().items()}
        save_file(state, tmp_path / f"{name}.safetensors")

    def path_of(name):
        return tmp_path / f"{name}.safetensors" if name in nets else weights_path(name)

    monkeypatch.setattr(build, "weights_path", path_of)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_parts_are_built_as_settings_say(own_weights, crops, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    plain = build_parts(Settings(engine=engine, hasm="off"), CPU)
    assert not plain.frame_stage.can_paint
    settings = Settings(engine=engine, hdrm="small", shpe="small", shpe_2d="mean", shpe_3d="own")
    parts = build_parts(settings, CPU)
    assert parts.frame_stage.can_paint
    assert parts.frame_stage.resolution_px == 224
    assert parts.frame_stage.remembers
    _, is_painted, after = parts.frame_stage.paint(crops)
    assert [kept is not None for kept in after] == [True, False, True]
    off = build_parts(replace(settings, memory="off"), CPU).frame_stage
    assert off.can_paint
    assert not off.remembers
    assert is_painted.tolist() == [True, False, True]
    # Untrained, our own net says what the landmark net says.
    unmasked = HandCrops(crops.rgb, crops.frame_from_crop, crops.mirrored)
    ours, theirs = parts.frame_stage(unmasked), plain.frame_stage(unmasked)
    np.testing.assert_allclose(ours.presence, theirs.presence, atol=1e-3)
    np.testing.assert_allclose(ours.uv_px, theirs.uv_px, atol=0.01)
    assert np.abs(ours.refine_px).max() < 1


def test_the_pipeline_hands_on_every_hands_picture_in_order(own_weights):
    settings = Settings(hdrm="auto", shpe="small", engine="torch")
    parts, n_frames = build_parts(settings, CPU), 5
    kept, masked, tracks = [], [], []
    for keep in (True, False):
        options = {"on_crops": lambda *crop: kept.append(crop)} if keep else {}
        with open_clip(SAMPLE) as reader:
            frames = list(islice(reader, n_frames))
            windows = pose_windows(
                frames,
                reader.info,
                settings,
                parts,
                on_masks=lambda *mask: masked.append(mask[:2]),
                **options,
            )
            tracks.append(concatenate([track for track, _ in windows]))
    track, plain = tracks
    np.testing.assert_array_equal(track.uv_px, plain.uv_px)
    seen = [
        tuple(place) for place in np.argwhere(np.isin(track.provenance, (OBSERVED, DEOCCLUDED)))
    ]
    assert len(seen) >= n_frames
    assert [crop[:2] for crop in kept] == seen
    assert masked == 2 * masked[: len(masked) // 2]
    assert any(crop.painted for _, _, crop in kept)
