"""The refiner's peers: as large, begun alike, blind where they must be; and what files tell."""

import json
from dataclasses import asdict, fields, replace

import pytest
import torch
from practice_tracks import MODEL, make_practice, read
from safetensors.torch import save_file

from hdrvideo.build import build_refiner, refiner_form
from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.motion.form import KINDS, RefineForm
from hdrvideo.motion.fuse import fill, smoothed
from hdrvideo.motion.recurrent import GruNet, TcmrNet
from hdrvideo.motion.refine import SIGMA_SECONDS, SIZES, RefinedWindow, RefineNet, RefineSize
from hdrvideo.motion.states import HandStates, fitted_joints, with_turns
from hdrvideo.motion.windows import WINDOW_FRAMES
from hdrvideo.training import make_refine

TINY = RefineSize(part=16, wide=32, spatial=1, layers=1, heads=2)
CPU = torch.device("cpu")
both_peers = pytest.mark.parametrize("kind", [GruNet, TcmrNet])


@pytest.fixture(scope="module")
def said() -> HandStates:
    """Give three windows; in one a hand has a gap, in one it was never seen."""
    gaps = (((0, 3, 5),), (), ((1, 0, 2), (0, 9, 12)))
    absent: tuple[tuple[int, ...], ...] = ((), (1,), ())
    noise = {"noise_px": 2, "noise_mm": 5, "frame_seconds": 1 / 32}
    return HandStates.join(
        [read(make_practice(12, n, gaps=gaps[n], absent=absent[n], **noise)) for n in range(3)]
    )


def make(kind, *, shaken: bool = True, **how):
    """Make a net; a shaken one's last layer, which is zero untrained, says something."""
    torch.manual_seed(0)
    net = kind(TINY, 12, **how).eval()
    if shaken:
        for parameter in net.said[-1].parameters():
            torch.nn.init.normal_(parameter, 0, 0.5)
    return net


def run(net, states: HandStates) -> RefinedWindow:
    with torch.no_grad():
        out: RefinedWindow = net(states, fitted_joints(states, MODEL))
    return out


def by_name(out: RefinedWindow) -> dict[str, torch.Tensor]:
    return {f.name: getattr(out, f.name) for f in fields(RefinedWindow)}


def same(a: RefinedWindow, b: RefinedWindow, atol: float) -> None:
    theirs = by_name(b)
    for name, value in by_name(a).items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=atol, msg=name)


def smoothing(states: HandStates) -> tuple[torch.Tensor, torch.Tensor]:
    filled = with_turns(fill(states.state, states.seen, states.seconds)[0])
    trust = states.seen * states.confidence.mean(dim=-1).clamp_min(0.05)
    return filled, smoothed(filled, trust, states.seconds, SIGMA_SECONDS)


def spoiled(states: HandStates, frames: slice, hands: slice = slice(None)) -> HandStates:
    """Change all that was said of some frames' hands."""
    other = read(make_practice(12, 7, noise_px=2, noise_mm=5))
    values = {f.name: getattr(states, f.name).clone() for f in fields(HandStates)}
    for f in fields(HandStates)[:-1]:
        values[f.name][:, hands, frames] = getattr(other, f.name)[:, hands, frames]
    return HandStates(**values)


# Their size, and how they begin.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS[1:])
def test_they_are_as_large_as_the_refiner(kind, size):
    own, theirs = (
        sum(p.numel() for p in RefineForm(kind=k, size=size).make().parameters())
        for k in (KINDS[0], kind)
    )
    assert own / 1.1 <= theirs <= own * 1.1


@both_peers
def test_untrained_they_smooth_and_let_some_detail_through(kind, said):
    out, (filled, smooth) = run(make(kind, shaken=False), said), smoothing(said)
    gate = torch.sigmoid(torch.tensor(-1.0))
    expected = smooth + gate * (filled - smooth)
    torch.testing.assert_close(out.fused, expected, rtol=0, atol=1e-5)
    # Where all forecasts are the smoothing, motions lead to it.
    if kind is TcmrNet:
        expected = smooth
    torch.testing.assert_close((out.state + out.forward)[:, :, :-1], expected[:, :, 1:])
    torch.testing.assert_close((out.state + out.backward)[:, :, 1:], expected[:, :, :-1])


@both_peers
@pytest.mark.parametrize("n", [1, 2, 12])
def test_the_answer_is_that_of_the_refiner(kind, n, said):
    part = said.frames(slice(0, n))
    torch.manual_seed(0)
    ours = by_name(run(make(kind), part))
    for name, value in by_name(run(RefineNet(TINY).eval(), part)).items():
        assert ours[name].shape == value.shape, name
        assert ours[name].isfinite().all(), name


# What does not matter.


@both_peers
def test_sides_that_change_places_change_places_in_the_result(kind, said):
    net = make(kind)
    flipped = {f.name: getattr(said, f.name).flip(1) for f in fields(HandStates)[:-1]}
    there, back = run(net, said), run(net, HandStates(**flipped, seconds=said.seconds))
    same(RefinedWindow(*(v.flip(1) for v in by_name(there).values())), back, atol=2e-5)
    assert (there.fused - back.fused).abs().max() > 0.1


@both_peers
def test_only_seconds_between_frames_count(kind, said):
    net = make(kind)
    later = replace(said, seconds=said.seconds + 8)
    same(run(net, later), run(net, said), atol=2e-4)
    slower = replace(said, seconds=said.seconds * 3)
    assert (run(net, slower).fused - run(net, said).fused).abs().max() > 1e-2


@both_peers
def test_a_batch_gives_what_single_windows_give(kind, said):
    net = make(kind)
    whole = by_name(run(net, said))
    for row in range(3):
        one = HandStates(*(getattr(said, f.name)[row : row + 1] for f in fields(HandStates)))
        alone = RefinedWindow(*(value[row : row + 1] for value in whole.values()))
        same(run(net, one), alone, atol=5e-5)


# What they hear.


@both_peers
@pytest.mark.parametrize("both_hands", [True, False])
def test_each_hand_hears_of_the_other_unless_it_is_by_itself(kind, both_hands, said):
    net = make(kind, both_hands=both_hands)
    spoilt = spoiled(said, slice(None), slice(1, 2))
    ours, theirs = run(net, said), run(net, spoilt)
    off = (ours.fused[:, 0] - theirs.fused[:, 0]).abs().max()
    assert (off > 1e-4) == both_hands
    assert (ours.fused[:, 1] - theirs.fused[:, 1]).abs().max() > 0.1


@both_peers
@pytest.mark.parametrize("far", [0, 11])
def test_every_frame_hears_of_the_windows_ends(kind, far, said):
    """Apart from what the smoothing brings."""
    net = make(kind)
    off = []
    for states in (said, spoiled(said, slice(far, far + 1))):
        off.append(run(net, states).fused - smoothing(states)[1])
    assert ((off[0] - off[1]).abs().amax(dim=(0, 1, 3)) > 1e-5).all()


def forecasts(net: TcmrNet, states: HandStates) -> tuple[torch.Tensor, torch.Tensor]:
    """Give what the past says of frames 1 and on and the future of all but the last.

    As differences from the smoothing, which itself sees all frames.
    """
    out, smooth = run(net, states), smoothing(states)[1]
    past = (out.state + out.forward)[:, :, :-1] - smooth[:, :, 1:]
    future = (out.state + out.backward)[:, :, 1:] - smooth[:, :, :-1]
    return past, future


def test_forecasts_see_neither_their_own_frame_nor_what_lies_beyond(monkeypatch, said):
    net = make(TcmrNet)
    # Tokens tell of the window's middle and its smoothing; here they are those of single frames.
    tokens = {}

    def alone(states, *_):
        return tokens[id(states)]

    monkeypatch.setattr(net, "_tokens", alone)
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(3, 2, 12, 32, generator=generator)
    second = first.clone()
    second[:, :, 5:] = torch.randn(3, 2, 7, 32, generator=generator)
    third = first.clone()
    third[:, :, :7] = torch.randn(3, 2, 7, 32, generator=generator)
    told = [replace(said) for _ in range(3)]
    for states, values in zip(told, (first, second, third), strict=True):
        tokens[id(states)] = values
    (past, future), (past_5, _), (_, future_7) = (forecasts(net, states) for states in told)
    # Row k of the past is of frame k + 1 and has seen frames 0 to k.
    torch.testing.assert_close(past[:, :, :5], past_5[:, :, :5], rtol=0, atol=1e-5)
    assert (past[:, :, 5] - past_5[:, :, 5]).abs().max() > 1e-4
    # Row k of the future is of frame k and has seen frames k + 1 and on.
    torch.testing.assert_close(future[:, :, 6:], future_7[:, :, 6:], rtol=0, atol=1e-5)
    assert (future[:, :, 5] - future_7[:, :, 5]).abs().max() > 1e-4


@both_peers
@pytest.mark.parametrize("both_hands", [True, False])
def test_everything_that_is_trained_takes_part_in_every_step(kind, both_hands, said):
    net = make(kind, both_hands=both_hands)
    out = net(said, fitted_joints(said, MODEL))
    torch.autograd.backward(sum(value.square().sum() for value in by_name(out).values()))
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


# Forms and files.


def save_net(path, form: RefineForm, note: object = None):
    torch.manual_seed(1)
    values = {name: value.contiguous() for name, value in form.make().state_dict().items()}
    save_file(values, path, {"form": json.dumps(asdict(form) if note is None else note)})
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_built_as_what_it_says_it_is(tmp_path, kind):
    form = RefineForm(kind=kind, one_hand=True, frames=7)
    path = save_net(tmp_path / "any.safetensors", form)
    assert refiner_form(path) == form
    refiner = build_refiner(CPU, path)
    assert (refiner.frames, refiner.hop) == (7, 3)
    assert isinstance(form.make(), {"gru": GruNet, "tcmr": TcmrNet}.get(kind, RefineNet))


def test_a_file_that_says_nothing_is_of_the_usual_form(tmp_path):
    path = tmp_path / "old.safetensors"
    save_file(RefineNet().state_dict(), path)
    assert refiner_form(path) is None
    refiner = build_refiner(CPU, path)
    assert (refiner.frames, refiner.hop) == (WINDOW_FRAMES, WINDOW_FRAMES // 2)


def test_forms_are_not_mixed(tmp_path):
    """Tensors alone would not tell a net that fuses no frames."""
    path = save_net(tmp_path / "plain.safetensors", RefineForm(no_fusion=True, frames=9))
    with pytest.raises(WeightsError, match=r"plain\.safetensors are of .*no_fusion=True, frames=9"):
        make_refine({"start": str(path)})
    assert not make_refine({"no_fusion": True, "start": str(path)}).fusing
    path = save_net(tmp_path / "gru.safetensors", RefineForm(kind="gru"))
    with pytest.raises(WeightsError, match=r"expected RefineForm\(kind='tcmr'.*windows of any le"):
        make_refine({"kind": "tcmr", "start": str(path)})
    # A file that lies about itself does not fit.
    path = save_net(tmp_path / "lie.safetensors", RefineForm(kind="gru"), {"kind": "tcmr"})
    with pytest.raises(WeightsError, match=r"lie\.safetensors do not fit"):
        build_refiner(CPU, path)


@pytest.mark.parametrize(
    ("note", "text"),
    [
        ({"kind": "lstm"}, "net is .*'lstm'.*expected kind: deformer"),
        ({"depth": 3}, "form is .*'depth': 3.*expected some of frames, kind, no_fusion"),
        ([1], r"form is \[1\], expected"),
        ({"frames": 0}, "frames is 0, expected a whole number from 1 to 1000"),
        ({"frames": True}, "frames is True"),
    ],
)
def test_forms_that_are_not_known_are_refused(tmp_path, note, text):
    with pytest.raises(SettingsError, match=text):
        RefineForm.read(note)
    path = save_net(tmp_path / "new.safetensors", RefineForm(), note)
    with pytest.raises(WeightsError, match=rf"new\.safetensors are of no refiner.*{text}.*update"):
        build_refiner(CPU, path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.safetensors are missing; name another file"):
        refiner_form(tmp_path / "gone.safetensors")
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"bad\.safetensors cannot be read .*; name another"):
        refiner_form(path)
    save_file(RefineNet(TINY).state_dict(), path, {"form": "{"})
    with pytest.raises(WeightsError, match=r"bad\.safetensors cannot be read"):
        refiner_form(path)
