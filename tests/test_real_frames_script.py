"""The script that reads labelled pictures by the nets."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from labelled_hands import make_hand, write_2d_sets, write_interhand
from safetensors.torch import save_file

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.frame.detnet import DetNetSmall
from hdrvideo.frame.shpe import LandmarkNet

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("score_real_frames")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Give weights of a small net that has learnt nothing: it says what the landmark net says."""
    landmark = LandmarkNet()
    load_weights(landmark, weights_path("landmark"))
    path = tmp_path_factory.mktemp("weights") / "begun.safetensors"
    values = DetNetSmall(landmark).state_dict()
    save_file({name: value.contiguous() for name, value in values.items()}, path)
    return path


def run(script, monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["score_real_frames.py", *map(str, arguments)])
    script.main()


def test_both_nets_are_scored_and_drawn(script, begun, tmp_path, monkeypatch, capsys):
    write_2d_sets(tmp_path / "in")
    write_interhand(tmp_path / "in")
    sheet, table = tmp_path / "sheet.png", tmp_path / "table.md"
    run(
        script,
        monkeypatch,
        *("--labelled", tmp_path / "in", "--shpe", "small", "--weights", begun),
        *("-o", table, "--sheet", sheet),
    )
    text = table.read_text()
    assert capsys.readouterr().out == text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    cells = {(row[0], row[2]): row for row in rows}
    assert cells["all", "ours"][1] == cells["all", "landmark"][1] == "7"
    both = [float(cells["interhand2.6m", who][4]) for who in ("landmark", "ours")]
    assert both[0] == pytest.approx(both[1], rel=0.05)
    assert cells["interhand2.6m", "ours, in camera"][1] == "3"
    assert ("freihand", "ours, in camera") not in cells
    assert script.load_rgb_u8(sheet).std() > 20


def test_the_landmark_net_alone_needs_no_weights(script, tmp_path, monkeypatch, capsys):
    write_2d_sets(tmp_path)
    run(script, monkeypatch, "--labelled", tmp_path)
    out = capsys.readouterr().out
    assert "| all | 4 | landmark |" in out
    assert "ours" not in out


def test_errors_are_one_line(script, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"error: .*nothing holds no labelled pictures"):
        run(script, monkeypatch, "--labelled", tmp_path / "nothing")
    write_2d_sets(tmp_path)
    (tmp_path / "freihand" / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=r"error: picture .*1\.jpg cannot be decoded"):
        run(script, monkeypatch, "--labelled", tmp_path)


def test_found_hands_go_to_the_labelled_ones(script):
    left = make_hand(1)
    right = make_hand(0)
    right = type(right)(
        right.source, right.picture, 0, right.uv_px + np.array([150, 0]), right.labelled
    )
    found = [(right.uv_px + 3, np.zeros((21, 3))), (left.uv_px - 2, np.ones((21, 3)))]
    size = (640, 480)
    both = script.match_readings("mp", [right, left], found, size)
    np.testing.assert_array_equal(both[0].uv_px, right.uv_px + 3)
    np.testing.assert_array_equal(both[1].xyz_mm, np.ones((21, 3)))
    one, none = script.match_readings("mp", [right, left], found[:1], size)
    assert one.uv_px is not None
    assert none.uv_px is None
