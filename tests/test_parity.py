"""Our torch nets say what the original .tflite files say in LiteRT, to 1e-3."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hdrvideo.build import build_net
from hdrvideo.clip import open_clip
from hdrvideo.crop.palm import PalmNet
from hdrvideo.frame.shpe import LandmarkNet

REFERENCE = Path(__file__).parent / "data" / "litert_reference.npz"
REAL_CLIPS = Path(__file__).parents[2] / "shared" / "real" / "clips"
NETS = {"palm": (PalmNet, 192), "landmark": (LandmarkNet, 224)}
MEMBERS = {
    "palm": "mediapipe/modules/palm_detection/palm_detection_full.tflite",
    "landmark": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
}


def _ours(name: str, pictures_u8: np.ndarray) -> list[np.ndarray]:
    """Our outputs, brought to the order and shapes of the .tflite files."""
    net = build_net(name, NETS[name][0](), torch.device("cpu"))
    rgb = torch.from_numpy(pictures_u8).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        outputs = net(rgb)
    if name == "palm":
        logits, values = outputs
        return [values.numpy(), logits[..., None].numpy()]
    joints, presence, side, world = outputs
    return [
        joints.flatten(1).numpy(),
        presence[:, None].numpy(),
        side[:, None].numpy(),
        world.flatten(1).numpy(),
    ]


@pytest.mark.parametrize("name", ["palm", "landmark"])
def test_outputs_equal_stored_litert_outputs(name: str) -> None:
    with np.load(REFERENCE) as reference:
        resolution = NETS[name][1]
        noise = [
            np.random.default_rng(int(seed)).integers(0, 256, (resolution, resolution, 3), np.uint8)
            for seed in reference["seeds"]
        ]
        pictures = np.concatenate([np.stack(noise), reference[f"{name}_crops"]])
        ours = _ours(name, pictures)
        assert len(reference[f"{name}_crops"]) >= 1
        for i, values in enumerate(ours):
            np.testing.assert_allclose(values, reference[f"{name}_output{i}"], atol=1e-3)


@pytest.mark.parametrize("name", ["palm", "landmark"])
def test_outputs_equal_litert_on_real_frames(name: str) -> None:
    """Live, where LiteRT, the original files and real clips are at hand (as in .ci/run)."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    wheel = os.environ.get("HDRVIDEO_MEDIAPIPE_WHEEL", "")
    clips = sorted(REAL_CLIPS.glob("*.m*"))[:4]
    if not wheel or not clips:
        pytest.skip("needs HDRVIDEO_MEDIAPIPE_WHEEL and the real clips")
    resolution = NETS[name][1]
    pictures = []
    for clip in clips:
        with open_clip(clip) as reader:
            frame = next(f for f in reader if f.index == 20)
        assert frame.rgb_u8 is not None
        v, u = (n // 2 - resolution // 2 for n in frame.rgb_u8.shape[:2])
        pictures.append(frame.rgb_u8[v : v + resolution, u : u + resolution])
    with zipfile.ZipFile(wheel) as archive:
        interpreter = interpreter_module.Interpreter(model_content=archive.read(MEMBERS[name]))
    interpreter.allocate_tensors()
    ours = _ours(name, np.stack(pictures))
    for n, picture in enumerate(pictures):
        given = (picture.astype(np.float32) / 255)[None]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
        interpreter.invoke()
        for i, detail in enumerate(interpreter.get_output_details()):
            theirs = interpreter.get_tensor(detail["index"])
            np.testing.assert_allclose(ours[i][n : n + 1], theirs, atol=1e-3)
