"""The script that scores the painter's memory, on drawn clips."""

import importlib
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_clips import write_clips
from safetensors.torch import save_file

from hdrvideo.errors import DataError
from hdrvideo.training import make_memory

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("score_memory")
    sys.path.remove(str(ROOT / "scripts"))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def test_it_prints_a_table_for_each_kind_of_masks_and_draws_strips(
    script, tmp_path, monkeypatch, capsys
):
    clips = write_clips(tmp_path / "clips", "test", 1, 5)
    gates = tmp_path / "gates.safetensors"
    save_file(make_memory({}).state_dict(), gates)
    arguments = ["score_memory.py", clips, "--gates", gates, "--sheet", tmp_path / "sheet"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "--spoil", "0"])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert "masks spoiled: 0; 2 hands, 10 frames" in lines
    rows = {cells(line)[0]: cells(line)[1:] for line in lines if line.startswith("| ")}
    names = ["as seen", "each frame by itself", *script.MEMORIES, "with trained gates", "the truth"]
    assert list(rows) == ["painted", *names]
    assert len(rows["painted"]) == len(script.COLUMNS)
    # Gates that were not trained change nothing.
    assert rows["with memory"] == rows["with trained gates"]
    assert rows["the truth"][0].startswith("0.0000")
    l1 = {name: float(row[0].split()[0]) for name, row in rows.items() if name != "painted"}
    assert l1["each frame by itself"] < l1["as seen"]
    for line, memory in zip(lines[-2:], script.MEMORIES, strict=True):
        assert line.startswith(f"flicker {memory} over each frame by itself: ")
        assert line.endswith(", 1 hands")
    sheet = cv2.imread(str(tmp_path / "sheet" / "hand_000_0.png"))
    assert sheet.shape == (len(names) * 128, 5 * 128, 3)
    monkeypatch.setattr(sys, "argv", ["score_memory.py", str(tmp_path)])
    with pytest.raises(DataError, match="no bare clips in"):
        script.main()


def test_means_are_over_the_hands_that_have_a_number(script):
    hands = [dict.fromkeys(script.COLUMNS, value) for value in (0.1, 0.3)]
    hands.append({**hands[0], "flicker": np.nan})
    row = cells(script.row_of("both", hands))
    assert row[0] == "both"
    assert row[-1] == "0.2000 (0.1000..0.3000)"
    assert row[1].startswith("0.1667 ")
    found = {"with memory": hands, "each frame by itself": [dict.fromkeys(h, 0.4) for h in hands]}
    assert script.ratio(found, "with memory") == "0.50 (0.25..0.75), 2 hands"
