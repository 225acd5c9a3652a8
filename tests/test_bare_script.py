"""The script that lays kept crops back over their frames and scores them as bare hands."""

import importlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tracks import make_meta
from validate_truths import make_scene, make_shot

from hdrvideo.datatypes import KeptCrop
from hdrvideo.geometry import CropSquare
from hdrvideo.handmodel import HandModel
from hdrvideo.output.crops import CropsWriter, HandPicture
from hdrvideo.validate.bare import load_painted
from hdrvideo.validate.squares import cut_square
from hdrvideo.validate.truth import save_truth

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH = 120, 160
CROP_PX = 224
SQUARE = CropSquare(80, 60, 150, 0.3, True)


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("bare_of_crops")
    sys.path.remove(str(ROOT / "scripts"))


def crop_of(rgb_u8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    affine = SQUARE.frame_from_crop(CROP_PX)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(
        rgb_u8, affine, (CROP_PX, CROP_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return crop, affine


def test_a_painted_crop_lies_where_it_was_cut_and_nothing_else_changes(script):
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    frame = np.stack([u, v, 255 - u], axis=-1).astype(np.uint8)
    crop, affine = crop_of(255 - frame)
    square = np.array([20, 0, 120])
    plain, other = cut_square(frame, square), cut_square(255 - frame, square)
    unpainted = script.laid_back(frame, HandPicture(crop, affine, painted=False), square)
    np.testing.assert_array_equal(unpainted, plain)
    laid = script.laid_back(frame, HandPicture(crop, affine, painted=True), square).astype(int)
    is_crop = np.abs(laid - other).max(axis=-1) <= 3
    is_frame = (laid == plain).all(axis=-1)
    assert (is_crop | is_frame).all()
    # A turned square of 150 px covers all but the corners of one of 120 px.
    assert 0.9 < is_crop.mean() <= 1


def write_case(folder: Path) -> None:
    """Write a benchmark of one clip, and tracks whose crops show the true bare hands, or not."""
    model = HandModel()
    scene = make_scene(model)
    shot = make_shot(scene, model)
    bench = folder / "bench"
    save_truth(bench / "truth" / "one", [shot], scene)
    entry = {
        "name": "one", "relation": "touching", "camera": "egocentric", "n_frames": 3,
        "clip": "clips/one", "folder": "truth/one",
    }  # fmt: skip
    values = {"name": "small", "version": "1", "clips": [entry, {**entry, "clip": "clips/two"}]}
    (bench / "manifest.json").write_text(json.dumps(values))
    frames = bench / "clips" / "one"
    frames.mkdir(parents=True)
    for name in ("true", "seen"):
        (folder / name / "one").mkdir(parents=True)
        path = folder / name / "one" / "crops.parquet"
        with CropsWriter(path, make_meta(WIDTH, HEIGHT)) as writer:
            for n in range(3):
                rgb_u8 = (shot.rgb[n].permute(1, 2, 0) * 255).round().byte().numpy()
                cv2.imwrite(str(frames / f"{n:03d}.png"), rgb_u8[..., ::-1])
                for side in (0, 1):
                    bare = shot.bare_rgb[n, side].permute(1, 2, 0) * 255
                    crop, affine = crop_of(bare.round().byte().numpy())
                    code = cv2.imencode(".png", crop[..., ::-1])[1].tobytes()
                    writer.write(n, side, KeptCrop(affine, code, painted=name == "true"))


def test_true_crops_score_best(script, tmp_path, monkeypatch, capsys):
    write_case(tmp_path)
    folders = [str(tmp_path / name) for name in ("bench", "true", "seen")]
    monkeypatch.setattr(sys, "argv", ["bare_of_crops.py", *folders])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 clips, 3 frames"
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines[4:]}
    assert list(cells) == ["true", "seen"]
    scores = {
        name: dict(zip(script.COLUMNS, (float(c.split()[0]) for c in row[:-1]), strict=True))
        for name, row in cells.items()
    }
    assert cells["true"][-1].strip() == "1.00 (1.00..1.00)"
    # The pair's pictures differ in the left hand's bare one alone, whose colours are turned round.
    assert scores["true"]["hole_l1"] < 0.02 < scores["seen"]["hole_l1"]
    assert scores["true"]["hole_psnr"] > scores["seen"]["hole_psnr"]
    painted = load_painted(tmp_path / "true" / "one" / "bare.npz", 3)
    assert painted.exists.all()
    assert not list((tmp_path / "true" / "one").glob(".partial*"))


def test_without_crops_there_is_nothing_to_score(script, tmp_path, monkeypatch, capsys):
    write_case(tmp_path)
    (tmp_path / "seen" / "one" / "crops.parquet").unlink()
    folders = [str(tmp_path / name) for name in ("bench", "true", "seen")]
    monkeypatch.setattr(sys, "argv", ["bare_of_crops.py", *folders])
    with pytest.raises(SystemExit):
        script.main()
    assert "no clip of the benchmark has crops in every folder" in capsys.readouterr().err


def test_flicker_is_compared_over_clips(script):
    """A clip without a number counts for nothing; one clip halves it, the other keeps it."""
    first = {"hole_flicker": [np.array([0.2, np.nan]), np.array([0.4, 0.4]), np.array([np.nan])]}
    ours = {"hole_flicker": [np.array([0.2, np.nan]), np.array([0.2, 0.2]), np.array([np.nan])]}
    assert script.flicker_ratio(ours, first) == "0.60 (0.50..1.00)"
