"""The script that measures memory against the length of a clip."""

import importlib
import sys
from pathlib import Path

import pytest
from clips import Made, make_clip, picture
from train_runs import write_settings

from hdrvideo.clip import open_clip

pytest.importorskip("resource")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("measure_memory")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "short.mp4", Made(n_frames=5))


def test_a_clip_is_repeated_there_and_back(script, clip, tmp_path):
    assert script.repeat_clip(clip, tmp_path / "long.mp4", 13 / 30 / 60) == 13
    with open_clip(tmp_path / "long.mp4") as reader:
        frames = [frame.rgb_u8 for frame in reader]
    assert len(frames) == 13
    for n, place in enumerate([0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0, 1, 2]):
        off = [abs(frames[n].astype(int) - picture(k)).mean() for k in range(5)]
        assert off.index(min(off)) == place


def test_a_clip_may_be_shown_more_slowly(script, clip, tmp_path):
    assert script.repeat_clip(clip, tmp_path / "slow.mp4", 2 / 60, 6) == 12
    with open_clip(tmp_path / "slow.mp4") as reader:
        times = [frame.pts_seconds for frame in reader]
    assert times == pytest.approx([n / 6 for n in range(12)], abs=1e-4)


def test_a_run_tells_its_peak_and_whether_it_refined(script, clip, tmp_path):
    parts = {"hasm": "off", "hdrm": "off", "shpe": "landmark"}
    for refine in ("small", "off"):
        config = write_settings(tmp_path / "parts.yaml", parts | {"refine": refine})
        told = script.annotate(clip, tmp_path / refine, "cpu", config)
        assert told["frames"] == 5
        assert told["refiner"] == (refine == "small")
        assert 50 < told["peak_mib"] < 20_000
        assert told["device_mib"] is None
        assert (tmp_path / refine / "overlay.mp4").is_file()


def test_runs_go_from_short_to_long_each_in_a_process_of_its_own(script, monkeypatch, capsys):
    asked = []

    def apart(*arguments):
        words = list(map(str, arguments))
        asked.append(words)
        if "--make" in words:
            apart.minutes = float(words[words.index("--minutes") + 1])
            return 0
        peak = 100 + apart.minutes
        return {
            "frames": int(apart.minutes * 1800),
            "refiner": True,
            "seconds": 2.0,
            "peak_mib": peak,
            "device_mib": 2 * peak if "cuda" in words else None,
        }

    monkeypatch.setattr(script, "run_apart", apart)
    arguments = ["measure_memory.py", "a.mp4", "--device", "cuda", "--config", "b.yaml"]
    monkeypatch.setattr(sys, "argv", arguments)
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "1 min, 1800 frames, 2 s; refiner on; RSS peak 101 MiB, 1.000 of the first; device peak "
        "202 MiB, 1.000 of the first"
    )
    assert [line.split(",")[0] for line in lines] == ["1 min", "5 min", "20 min"]
    assert lines[2].split("; ")[2] == "RSS peak 120 MiB, 1.188 of the first"
    assert [words[-2:] for words in asked[1::2]] == 3 * [["--config", "b.yaml"]]
    monkeypatch.setattr(sys, "argv", ["measure_memory.py", "a.mp4", "--minutes", "3", "0.5"])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["0.5 min", "3 min"]
    assert "device" not in lines[0]
    monkeypatch.setattr(sys, "argv", ["measure_memory.py", "a.mp4", "--rate", "6"])
    script.main()
    assert all(words[-2:] == ["--rate", "6"] for words in asked[-6::2])
