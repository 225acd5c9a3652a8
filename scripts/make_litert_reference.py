"""Write what LiteRT says of some pictures, for tests/test_parity.py to hold our torch nets against.

Usage (needs the extra ``convert``)::

    pip download --no-deps mediapipe==0.10.21
    python scripts/make_litert_reference.py mediapipe-0.10.21-*.whl sample_videos/two_hands.mp4 \
        tests/data/litert_reference.npz

The pictures are seeded noise (not stored) and crops of the sample clip (stored).
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from hdrvideo.clip import open_clip
from hdrvideo.crop.find import whole_frame
from hdrvideo.crop.take import Pyramid, take_crop
from hdrvideo.geometry import square_from_pose
from hdrvideo.pipeline import annotate

MEMBERS = {
    "palm": ("mediapipe/modules/palm_detection/palm_detection_full.tflite", 192),
    "landmark": ("mediapipe/modules/hand_landmark/hand_landmark_full.tflite", 224),
}
SEEDS = (1,)
FRAMES = (20, 80)


def noise(seed: int, resolution_px: int) -> np.ndarray:
    """Give a seeded noise picture ``(R, R, 3)`` uint8; the test makes the same."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (resolution_px, resolution_px, 3), dtype=np.uint8)


def run_litert(content: bytes, picture_u8: np.ndarray) -> list[np.ndarray]:
    """Give the outputs of a .tflite file, in its own order, for one picture."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    given = (picture_u8.astype(np.float32) / 255)[None]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def sample_crops(clip: Path) -> dict[str, list[np.ndarray]]:
    """Cut pictures for each net out of a clip: whole frames, and hands where we find them."""
    track = annotate(clip, device="cpu")
    crops: dict[str, list[np.ndarray]] = {"palm": [], "landmark": []}
    with open_clip(clip) as reader:
        for frame in reader:
            if frame.index not in FRAMES or frame.rgb_u8 is None:
                continue
            pyramid = Pyramid(frame.rgb_u8)
            whole = whole_frame(*pyramid.shape_px)
            if not crops["palm"]:
                crops["palm"].append(take_crop(pyramid, whole, 192, replicate=False))
            for side in (0, 1):
                if track.present[frame.index, side]:
                    square = square_from_pose(track.uv_px[frame.index, side], mirror=side == 1)
                    crops["landmark"].append(take_crop(pyramid, square, 224, replicate=True))
    return crops


def main() -> None:
    """Write the reference file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    arrays: dict[str, np.ndarray] = {"seeds": np.array(SEEDS)}
    crops = sample_crops(args.clip)
    with zipfile.ZipFile(args.wheel) as wheel:
        for name, (member, resolution_px) in MEMBERS.items():
            content = wheel.read(member)
            pictures = [noise(seed, resolution_px) for seed in SEEDS] + crops[name]
            outputs = [run_litert(content, picture) for picture in pictures]
            arrays[f"{name}_crops"] = np.stack(crops[name])
            for i, values in enumerate(zip(*outputs, strict=True)):
                arrays[f"{name}_output{i}"] = np.concatenate(values)
    np.savez_compressed(args.out, **arrays)
    print(f"{args.out}: {args.out.stat().st_size / 2**10:.0f} KiB")


if __name__ == "__main__":
    main()
