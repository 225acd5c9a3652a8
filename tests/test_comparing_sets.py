"""``validate table``: what sets get and cost, and that squares tell nothing hidden."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from set_folders import write_freihand

from hdrvideo import comparing
from hdrvideo.contenders import HasmMasks, View
from hdrvideo.errors import DataError
from hdrvideo.lineup import weights_file
from hdrvideo.validate.set_protocols import SetProtocols


@pytest.fixture
def paper(tmp_path):
    """Weights of paper size, as their run's note says."""
    path = tmp_path / "run" / "best.safetensors"
    path.parent.mkdir()
    save_file({"a": torch.zeros(1)}, path, {"step": "5"})
    told = {"task": {"made_as": {"size": "paper"}, "batch": 8}}
    (path.parent / "settings.json").write_text(json.dumps(told))
    return path


def test_a_set_is_read_in_the_size_of_the_weights_and_under_the_systems_name(
    paper, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(comparing, "validate_set", lambda *_, **named: asked.append(named) or [])
    monkeypatch.setattr(comparing, "load_protocols", lambda _: SetProtocols((), ()))
    ours = {"shpe": tmp_path / "shpe"}
    where = ("freihand", tmp_path, tmp_path / "out", {"internet": paper}, ours)
    comparing.read_set(*where, limit=1, device="cpu", overwrite=False)
    assert asked[-1]["rival_size"] == "paper"
    assert [named["method"] for named in asked[1:]] == [
        *("SHPE alone", "landmark net alone (MediaPipe's)", "SHPE alone, given weights"),
        None,
    ]


def test_the_size_is_known_without_the_number_of_steps(paper):
    assert weights_file(paper).size == "paper"
    assert weights_file(paper).trained_on == "5 steps"


def test_a_broken_set_does_not_cost_the_table(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise DataError("a picture is broken")

    written, listed = [], SimpleNamespace(name="tiny", version="0", clips=())
    monkeypatch.setattr(comparing, "load_benchmark", lambda _: listed)
    monkeypatch.setattr(comparing, "line_up", lambda *_: [])
    monkeypatch.setattr(comparing, "write_comparison", lambda made, *_, **__: written.append(made))
    monkeypatch.setattr(comparing, "read_set", broken)
    write_freihand(tmp_path / "set")
    sets = {"freihand": tmp_path / "set"}
    with pytest.raises(DataError, match="a picture is broken"):
        comparing.compare(tmp_path, tmp_path / "out", sets=sets, device="cpu")
    assert len(written) == 1


class Truth:
    """A right hand of which a part is seen, the rest reaching ``whole_px`` far."""

    def __init__(self, whole_px: int) -> None:
        self._visible = np.zeros((2, 120, 160), bool)
        self._visible[0, 40:70, 40:70] = True
        self._amodal = self._visible.copy()
        self._amodal[0, 40:70, 40:whole_px] = True

    def masks(self, frame):
        return self._visible, self._amodal


class Net:
    """Keeps what it looks at."""

    resolution_px = 32

    def __call__(self, pictures):
        self.pictures = pictures
        size = (1, 2, self.resolution_px, self.resolution_px)

        class Pair:
            class masks:
                amodal, visible, presence = torch.ones(size), torch.ones(size), torch.ones(1, 2)

            class joints:
                uv_px, xyz_mm = torch.zeros(1, 2, 21, 2), torch.zeros(1, 2, 21, 3)
                confidence = torch.ones(1, 2, 21)

        return Pair


@pytest.mark.parametrize("told", [True, False])
def test_hasms_square_does_not_tell_how_far_the_hidden_part_reaches(told):
    rgb_u8 = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    seen, squares = [], []
    for whole_px in (80, 150):
        view, net = View(rgb_u8, Truth(whole_px), 0, np.array([True, False])), Net()
        HasmMasks(net, told=told).complete(view, [])
        seen.append(net.pictures)
        squares.append(view.pair)
    assert squares[0] != squares[1]
    assert torch.equal(seen[0], seen[1])
