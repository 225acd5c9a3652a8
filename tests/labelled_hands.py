"""Small labelled sets, written as the real ones are."""

import json
from pathlib import Path

import cv2
import numpy as np

from hdrvideo.geometry import Camera
from hdrvideo.hand import LEFT, RIGHT, to_interhand42
from hdrvideo.validate.labelled import LabelledHand

CAMERA = Camera(300, 310, 160, 120, "given")


def flat_hand(side: int = RIGHT) -> np.ndarray:
    """Give a hand ``(21, 3)`` in mm, fingers up, its back to the camera, at 400 mm."""
    xyz = np.zeros((21, 3))
    for joint in range(1, 21):
        finger, place = divmod(joint - 1, 4)
        angle = np.radians((-45, -17, 0, 16, 32)[finger])
        length = 90 * ((0.4, 0.75, 1.05, 1.3), (1.0, 1.4, 1.68, 1.92))[finger > 0][place]
        xyz[joint] = length * np.sin(angle), -length * np.cos(angle), 3 * place
    return xyz * (1 if side == RIGHT else -1, 1, 1) + (10, 40, 400)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_picture(path: Path, width: int = 320, height: int = 240, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))


def write_coco(folder: Path, names: list[str], labels: list[dict], **entry) -> None:
    size = {"width": 320, "height": 240}
    images = [{"id": 7 + n, "file_name": name, **size, **entry} for n, name in enumerate(names)]
    annotations = [{"image_id": 7 + n, **label} for n, label in enumerate(labels)]
    write(
        folder / f"test_{folder.name}.json",
        {"images": images, "annotations": annotations, "info": {}},
    )
    for name in names:
        write_picture(folder / name)


def flags(uv: np.ndarray, labelled=True) -> np.ndarray:
    return np.concatenate([uv, np.broadcast_to(labelled, 21)[:, None]], axis=1)


def write_2d_sets(root: Path) -> np.ndarray:
    uv = CAMERA.project(flat_hand())
    row = {"keypoints": flags(uv).ravel().tolist()}
    some = np.arange(21) % 3 > 0
    gaps = np.where(some[:, None], flags(uv), 0)
    write_coco(root / "freihand", ["1.jpg"], [row])
    write_coco(root / "panoptic", ["a_l.jpg", "a_r.jpg"], [row, row])
    write_coco(root / "onehand10k", ["33.jpg"], [{"keypoints": gaps.ravel().tolist()}])
    return uv


def interhand_content(both: str, left: str, gone: str) -> tuple[np.ndarray, dict[str, dict]]:
    """Give a pair ``(2, 21, 3)`` in the camera, and what three files say of three pictures.

    The first shows both hands, the second a left hand alone; the third is as the second.
    """
    pair = np.stack([flat_hand(RIGHT), flat_hand(LEFT)])
    turn = cv2.Rodrigues(np.array([0.2, -0.5, 0.1]))[0]
    centre = np.array([100.0, -200.0, 50.0])
    world = to_interhand42(pair @ turn + centre)  # X = R^T X_cam + C
    entry = {"capture": 4, "subject": 1, "seq_name": "0001_dh", "camera": "400026"}
    entry |= {"width": 320, "height": 240}
    label = {"bbox": [1.5, 2.5, 30.0, 40.0], "hand_type_valid": 1}
    one = {"hand_type": "left", "joint_valid": [[0]] * 21 + [[1]] * 21, **label}
    two = {"hand_type": "interacting", "joint_valid": [[1]] * 42, **label}
    data = {
        "images": [
            {"id": 3, "file_name": both, "frame_idx": 11, **entry},
            {"id": 2, "file_name": left, "frame_idx": 12, **entry},
            {"id": 1, "file_name": gone, "frame_idx": 12, **entry},
        ],
        "annotations": [
            {"id": 31, "image_id": 3, **two},
            {"id": 21, "image_id": 2, **one},
            {"id": 11, "image_id": 1, **one},
        ],
    }
    ones = np.concatenate([np.ones((21, 3)), world[21:]])
    places = {"11": (world, [[True]] * 42), "12": (ones, [[False]] * 21 + [[True]] * 21)}
    joint_3d = {
        frame: {"world_coord": place.tolist(), "joint_valid": valid}
        for frame, (place, valid) in places.items()
    }
    known = {"campos": centre, "camrot": turn, "focal": np.array([300, 310])}
    known["princpt"] = np.array([160, 120])
    cameras = {key: {"400026": value.tolist()} for key, value in known.items()}
    return pair, {"data": data, "camera": {"4": cameras}, "joint_3d": {"4": joint_3d}}


def write_interhand(root: Path) -> np.ndarray:
    """Write a picture of both hands and one of a left hand seen by a turned camera."""
    folder = root / "interhand2.6m"
    pair, files = interhand_content("both.jpg", "left.jpg", "not_here.jpg")
    for part, content in files.items():
        write(folder / f"test_interhand2.6m_{part}.json", content)
    for name in ("both.jpg", "left.jpg"):
        write_picture(folder / name)
    return pair


def make_hand(side: int = RIGHT, source: str = "rhd", labelled=True, space=True) -> LabelledHand:
    xyz = flat_hand(side)
    return LabelledHand(
        source,
        Path(f"{source}.png"),
        side,
        CAMERA.project(xyz),
        np.broadcast_to(labelled, 21).copy(),
        xyz if space else None,
        CAMERA if space else None,
    )
