"""Small data sets on disk, each as the real one is laid out and written."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from labelled_hands import flat_hand, interhand_content, write, write_picture

from hdrvideo.geometry import Camera
from hdrvideo.hand import LEFT, RIGHT, to_order
from hdrvideo.sets.dexycb import CAMERAS, N_SEQUENCES
from hdrvideo.sets.fpha import K_PX, SHIFT_MM, TURN
from hdrvideo.sets.hic import OURS_OF_HIC
from hdrvideo.sets.registry import open_set

LENS = Camera(610.0, 620.0, 320.0, 240.0, "given")
# Farther away; a little farther for each camera.
FAR = np.array([0.0, 0.0, 200.0])
STEP = np.array([0.0, 0.0, 10.0])
FLIP = np.array([1.0, -1.0, -1.0])


def write_interhand_set(root: Path, split: str = "test") -> np.ndarray:
    """Write three samples, of both hands, and twice of a left one; gives the pair."""
    take = "Capture4/0001_dh/cam400026"
    names = [f"{take}/image11.jpg", f"{take}/image12.jpg", f"{take}/image13.jpg"]
    pair, files = interhand_content(*names)
    for part, content in files.items():
        write(root / "annotations" / split / f"InterHand2.6M_{split}_{part}.json", content)
    for name in names:
        write_picture(root / "images" / split / name)
    return pair


def write_freihand(root: Path) -> np.ndarray:
    """Write two training frames in four copies each, and one of the evaluation; gives a hand."""
    k_px = [[480.0, 0.0, 112.0], [0.0, 470.0, 111.0], [0.0, 0.0, 1.0]]
    hand = flat_hand() + FAR
    for split, n in (("training", 2), ("evaluation", 1)):
        write(root / f"{split}_K.json", [k_px] * n)
        shifted = [(hand / 1000 + [0, 0, 0.1 * k]).tolist() for k in range(n)]
        write(root / f"{split}_xyz.json", shifted)
        for k in range(n * (4 if split == "training" else 1)):
            write_picture(root / split / "rgb" / f"{k:08d}.jpg", 224, 224, 20 * k)
    return hand


def write_ho3d(root: Path, suffix: str = ".jpg") -> np.ndarray:
    """Write two training frames, the second without annotation, and one of the evaluation."""
    hand = flat_hand()
    theirs = (to_order(hand, "ho3d") / 1000 * FLIP).astype(np.float32)
    metas = {
        "train/ABF10/0003": {"camMat": LENS.matrix, "handJoints3D": theirs, "objName": "003"},
        "train/ABF10/0004": {"camMat": None, "handJoints3D": None},
        "evaluation/SM1/0000": {
            "camMat": LENS.matrix,
            "handJoints3D": theirs[0],
            "handBoundingBox": [10, 20, 30.5, 40],
        },
    }
    for key, meta in metas.items():
        split, sequence, frame = key.split("/")
        folder = root / split / sequence
        write_picture(folder / "rgb" / f"{frame}{suffix}", 640, 480)
        (folder / "meta").mkdir(exist_ok=True)
        (folder / "meta" / f"{frame}.pkl").write_bytes(pickle.dumps(meta, protocol=2))
    (root / "train.txt").write_text("ABF10/0003\nABF10/0004\n")
    (root / "evaluation.txt").write_text("SM1/0000\n")
    return hand


def write_dexycb(root: Path) -> np.ndarray:
    """Write one subject's 100 sequences; those of s0_test that come first have two frames each.

    The first is of a right hand, the second of a left one without annotation in frame 1.
    """
    folder = root / "20200820-amousavian"
    for k in range(N_SEQUENCES):
        sequence = folder / f"20200820_{k:06d}"
        sequence.mkdir(parents=True)
        side = ("right", "left")[k // 5 % 2]
        meta = {"num_frames": 2 if k in (4, 9) else 0, "mano_sides": [side], "ycb_ids": [1]}
        (sequence / "meta.yml").write_text(yaml.safe_dump(meta))
        if k in (4, 9):
            for number, camera in enumerate(CAMERAS):
                for frame in range(2):
                    gone = k == 9 and frame == 1
                    _write_dexycb_frame(sequence / camera, frame, number, side, gone=gone)
    for camera in CAMERAS:
        path = root / "calibration" / "intrinsics" / f"{camera}_640x480.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        lens = {"fx": LENS.fx_px, "fy": LENS.fy_px, "ppx": LENS.cx_px, "ppy": LENS.cy_px}
        path.write_text(yaml.safe_dump({"color": lens, "depth": lens}))
    return flat_hand()


def _write_dexycb_frame(folder: Path, frame: int, number: int, side: str, *, gone: bool) -> None:
    hand = flat_hand(("right", "left").index(side)) + number * STEP
    xyz, uv = (hand / 1000)[None], LENS.project(hand)[None]
    write_picture(folder / f"color_{frame:06d}.jpg", 640, 480)
    np.savez(
        folder / f"labels_{frame:06d}.npz",
        joint_3d=np.full_like(xyz, -1) if gone else xyz.astype(np.float32),
        joint_2d=np.full_like(uv, -1) if gone else uv.astype(np.float32),
        pose_m=np.zeros((1, 51), np.float32),
    )


def write_fpha(root: Path) -> np.ndarray:
    """Write a recording of a training and of a test subject, two frames each."""
    hand = flat_hand()
    theirs = to_order((hand - SHIFT_MM) @ TURN, "fpha")  # X = R X_world + t
    for take in ("Subject_1/put_salt/1", "Subject_2/open_milk/3"):
        path = root / "Hand_pose_annotation_v1_1" / take / "skeleton.txt"
        path.parent.mkdir(parents=True)
        rows = [[frame, *(theirs + 0.5 * frame).ravel()] for frame in range(2)]
        np.savetxt(path, rows, fmt="%.6f")
        for frame in range(2):
            picture = root / "Video_files" / take / "color" / f"color_{frame:04d}.jpeg"
            write_picture(picture, 1920, 1080)
    split = "Training 1\nSubject_2/open_milk/3 7\nTest 1\nSubject_1/put_salt/1 2\n"
    (root / "data_split_action_recognition.txt").write_text(split)
    return hand


def fpha_camera() -> Camera:
    return Camera(K_PX[0, 0], K_PX[1, 1], K_PX[0, 2], K_PX[1, 2], "given")


def write_hic(root: Path) -> np.ndarray:
    """Write sequence 02 with two labelled frames of three; gives ``(2, 21, 2)`` as labelled."""
    uv = np.stack([LENS.project(flat_hand(side) + FAR + 40 * side) for side in (RIGHT, LEFT)])
    uv = uv.round()
    folder = root / "02" / "1"
    theirs = uv[:, list(OURS_OF_HIC)].reshape(28, 2)
    for frame, rows in (("000", theirs), ("005", np.where(np.arange(28)[:, None] < 14, 0, theirs))):
        path = folder / "joints_2D_GT" / f"{frame}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{k}\t{int(u)}\t{int(v)}" for k, (u, v) in enumerate(rows)]
        path.write_text("\n".join(lines) + "\n")
    for frame in ("000", "001", "005"):
        write_picture(folder / "rgb" / f"{frame}.png", 640, 480)
    return uv


def write_wholebody(root: Path, split: str = "val") -> np.ndarray:
    """Write three people: both hands, a left hand with gaps, no hand."""
    uv = np.stack([LENS.project(flat_hand(side) + FAR) for side in (RIGHT, LEFT)])
    whole = [np.concatenate([hand, np.full((21, 1), 0.8)], axis=1) for hand in uv]
    gaps = np.where(np.arange(21)[:, None] < 10, whole[LEFT], 0)

    def person(number: int, image: int, right, left) -> dict:
        told = {"id": number, "image_id": image, "keypoints": [0] * 51, "iscrowd": 0}
        for name, rows in (("right", right), ("left", left)):
            there = rows is not None
            told |= {
                f"{name}hand_kpts": (rows if there else np.zeros((21, 3))).ravel().tolist(),
                f"{name}hand_valid": there,
                f"{name}hand_box": [1.0, 2.0, 3.0, 4.0] if there else [0.0] * 4,
            }
        return told

    people = [person(5, 9, *whole), person(6, 9, None, gaps), person(7, 9, None, None)]
    image = {"id": 9, "file_name": "000000000009.jpg", "width": 640, "height": 480}
    content = {"images": [image], "annotations": people, "categories": [{"id": 1}]}
    write(root / "annotations" / f"coco_wholebody_{split}_v1.0.json", content)
    write_picture(root / f"{split}2017" / image["file_name"], 640, 480)
    return uv


def write_onehand10k(root: Path, split: str = "test") -> np.ndarray:
    """Write two pictures, the second with gaps; gives the hand ``(21, 2)``."""
    uv = LENS.project(flat_hand() + FAR)
    rows = np.concatenate([uv, np.ones((21, 1))], axis=1)
    some = np.where(np.arange(21)[:, None] % 3 > 0, rows, 0)
    folder = "Test" if split == "test" else "Train"
    names = [f"{folder}/source/{k}.jpg" for k in range(2)]
    images = [
        {"id": k, "file_name": name, "width": 640, "height": 480} for k, name in enumerate(names)
    ]
    labels = [
        {"id": k, "image_id": k, "keypoints": values.ravel().tolist(), "bbox": [5, 6, 7, 8]}
        for k, values in enumerate((rows, some))
    ]
    path = root / "annotations" / f"onehand10k_{split}.json"
    write(path, {"images": images, "annotations": labels})
    for name in names:
        write_picture(root / name, 640, 480)
    return uv


def disc(u: int, v: int, radius: int) -> np.ndarray:
    """Draw a mask ``(256, 256)`` uint8 of 0 and 1."""
    mask = np.zeros((256, 256), np.uint8)
    cv2.circle(mask, (u, v), radius, 1, -1)
    return mask


def write_image(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


def write_aih_syn(root: Path, recipes: dict[str, list[dict]], split: str = "train") -> None:
    """Write two crops a side for each annotation that has recipes: discs, right 40, left 30."""
    base = root / "AIH_syn"
    for annotation, entries in recipes.items():
        for letter, side, radius in (("r", "right", 40), ("l", "left", 30)):
            numbers = (7, 12)
            path = base / "filtered_list" / f"{annotation}_{split}_sh_{side}_filtered.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, numbers)
            for k, number in enumerate(numbers):
                mask = disc(100 + 20 * k, 128, radius)
                picture = np.full((256, 256, 3), (60, 160)[letter == "l"] + 10 * k, np.uint8)
                folder = base / annotation / split
                write_image(folder / "images" / f"{letter}_images" / f"{number}.jpg", picture)
                labels = folder / "labels" / f"in_{letter}_images" / f"{letter}_amodal"
                write_image(labels / f"{number}.png", mask)
        path = base / "syn_cfgs" / f"all_{annotation}_{split}_syn_cfgs.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        listed = np.empty(len(entries), dtype=object)
        listed[:] = entries
        np.save(path, listed, allow_pickle=True)


def recipe(side: str = "right", own: int = 0, other: int = 1, shift=(0.0, 0.0)) -> dict:
    """Give a recipe that leaves the target where it is and moves the other hand."""
    gain = np.array([1.1, 0.9, 1.0])
    return {
        "loop_side": side,
        "loop_side_idx": own,
        "another_side_idx": other,
        "r_aug_list": [[0.0, 0.0], 1.0, 0.0, gain],
        "l_aug_list": [list(shift), np.float64(1.0), 0, gain],
        "occlusion_rate": np.float64(0.3),
    }


def write_aih_render(root: Path, split: str = "val", annotation: str = "machine_annot") -> None:
    """Write a pair a side; the target's disc is half hidden by the other hand's."""
    for letter, own, other in (("r", 1, 2), ("l", 2, 1)):
        folder = root / "AIH_render" / annotation / split
        images, labels = folder / "images" / f"{letter}_images", folder / "labels"
        for kind, value in (("IH", 90), ("DR_gt", 50)):
            write_image(images / kind / "3.jpg", np.full((256, 256, 3), value, np.uint8))
        whole, front = disc(110, 128, 40), disc(150, 128, 40)
        kinds = np.where(front > 0, other, np.where(whole > 0, own, 0)).astype(np.uint8)
        labels = labels / f"in_{letter}_images"
        write_image(labels / f"{letter}_amodal" / "3.png", whole)
        write_image(labels / "rl_visible" / "3.png", kinds)


WRITERS = {
    "interhand2.6m": write_interhand_set,
    "hic": write_hic,
    "ho3d": write_ho3d,
    "dexycb": write_dexycb,
    "freihand": write_freihand,
    "fpha": write_fpha,
    "coco-wholebody": write_wholebody,
    "onehand10k": write_onehand10k,
}
# Sets of which the writer makes a part alone.
PARTLY = {"dexycb": True}


def write_sets(make_folder: Callable[[str], Path]) -> dict[str, tuple[Path, Any]]:
    """Write each set once; gives its folder and what its writer gave, by name."""
    roots = {name: make_folder(name) for name in WRITERS}
    return {name: (root, WRITERS[name](root)) for name, root in roots.items()}


def opened(roots: dict[str, tuple[Path, Any]], name: str, split: str | None = None, **more: Any):
    return open_set(name, roots[name][0], split, **{"only_there": name in PARTLY, **more})


def close(found: np.ndarray, wanted: np.ndarray, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(found, wanted, atol=atol)
