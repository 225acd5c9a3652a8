"""The refiner's net: untrained it smooths, both sides are alike, and its switches switch."""

from dataclasses import fields, replace

import pytest
import torch
from practice_tracks import MODEL, make_practice, read
from safetensors.torch import save_file

from hdrvideo.build import build_refiner
from hdrvideo.errors import WeightsError
from hdrvideo.geometry import Camera
from hdrvideo.motion.fuse import fill, smoothed
from hdrvideo.motion.refine import (
    N_GROUPS,
    SIGMA_SECONDS,
    SIZES,
    RefinedWindow,
    RefineNet,
    RefineSize,
)
from hdrvideo.motion.states import N_STATE, HandStates, StateReader, fitted_joints, with_turns
from hdrvideo.motion.windows import Refiner

TINY = RefineSize(part=16, wide=32, spatial=1, layers=2, heads=2)
GATES = slice(3 * N_STATE, 3 * N_STATE + N_GROUPS)


def noisy(seed: int, n: int = 12, **how) -> HandStates:
    return read(make_practice(n, seed, noise_px=2, noise_mm=5, frame_seconds=1 / 32, **how))


@pytest.fixture(scope="module")
def said() -> HandStates:
    """Give three windows; in one a hand has a gap, in one it was never seen."""
    gaps = (((0, 3, 5),), (), ((1, 0, 2), (0, 9, 12)))
    absent: tuple[tuple[int, ...], ...] = ((), (1,), ())
    return HandStates.join([noisy(n, gaps=gaps[n], absent=absent[n]) for n in range(3)])


def make(*, shaken: bool = True, size: RefineSize = TINY, **how) -> RefineNet:
    """Make a net; a shaken one's last layer, which is zero untrained, says something."""
    torch.manual_seed(0)
    net = RefineNet(size, **how).eval()
    if shaken:
        for parameter in net.said[-1].parameters():
            torch.nn.init.normal_(parameter, 0, 0.1)
    return net


def run(net: RefineNet, states: HandStates) -> RefinedWindow:
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
    filled, _ = fill(states.state, states.seen, states.seconds)
    filled = with_turns(filled)
    trust = states.seen * states.confidence.mean(dim=-1).clamp_min(0.05)
    return filled, smoothed(filled, trust, states.seconds, SIGMA_SECONDS)


# Untrained.


def test_untrained_with_closed_gates_it_is_the_smoother(said):
    net = make(shaken=False)
    torch.nn.init.constant_(net.said[-1].bias[GATES].data, -100)
    out, (_, smooth) = run(net, said), smoothing(said)
    torch.testing.assert_close(out.state, smooth)
    torch.testing.assert_close(out.fused, smooth, rtol=0, atol=2e-5)
    torch.testing.assert_close(out.forward[:, :, :-1], smooth.diff(dim=2))
    torch.testing.assert_close(out.backward[:, :, 1:], -smooth.diff(dim=2))


def test_untrained_some_of_each_frames_detail_comes_through_its_gate(said):
    net = make(shaken=False)
    out, (filled, smooth) = run(net, said), smoothing(said)
    gate = torch.sigmoid(torch.tensor(-1.0))
    detail = gate * (filled - smooth)
    torch.testing.assert_close(out.state, smooth + detail, rtol=0, atol=1e-5)
    # Fused it is the mean of all frames' details, by how near in time they are.
    apart = (said.seconds[:, :, None] - said.seconds[:, None]).abs()
    weight = (-apart / 0.06).softmax(dim=1)
    fused = smooth + torch.einsum("bij,bsid->bsjd", weight, detail)
    torch.testing.assert_close(out.fused, fused, rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_are_made(name, said):
    out = run(make(shaken=False, size=SIZES[name]), said.frames(slice(0, 4)))
    assert out.fused.shape == (3, 2, 4, N_STATE)
    assert out.sure_logit.shape == (3, 2, 4, 21)
    assert all(value.isfinite().all() for value in by_name(out).values())


# What does not matter.


def test_sides_that_change_places_change_places_in_the_result(said):
    net = make()
    flipped = {f.name: getattr(said, f.name).flip(1) for f in fields(HandStates)[:-1]}
    there, back = run(net, said), run(net, HandStates(**flipped, seconds=said.seconds))
    same(RefinedWindow(*(v.flip(1) for v in by_name(there).values())), back, atol=2e-5)
    assert (there.fused - back.fused).abs().max() > 0.1


def test_only_seconds_between_frames_count(said):
    net = make()
    later = replace(said, seconds=said.seconds + 8)
    same(run(net, later), run(net, said), atol=2e-4)
    slower = replace(said, seconds=said.seconds * 2)
    assert (run(net, slower).fused - run(net, said).fused).abs().max() > 1e-2


def test_a_batch_gives_what_single_windows_give(said):
    net = make()
    whole = by_name(run(net, said))
    for row in range(3):
        one = HandStates(*(getattr(said, f.name)[row : row + 1] for f in fields(HandStates)))
        alone = RefinedWindow(*(value[row : row + 1] for value in whole.values()))
        same(run(net, one), alone, atol=5e-5)


@pytest.mark.parametrize("n", [1, 2])
def test_windows_of_a_frame_or_two_are_refined(n, said):
    out = run(make(), said.frames(slice(0, n)))
    assert out.fused.shape == out.forward.shape == (3, 2, n, N_STATE)
    assert all(value.isfinite().all() for value in by_name(out).values())


# Its switches.


def spoil_left(states: HandStates) -> HandStates:
    """Change all that was said of left hands."""
    other = noisy(7)
    changed = {f.name: getattr(states, f.name).clone() for f in fields(HandStates)}
    for f in fields(HandStates)[:-1]:
        changed[f.name][:, 1] = getattr(other, f.name)[0, 1]
        changed[f.name][:, 1, 5:8] = 0
    return HandStates(**changed)


def test_each_hand_hears_of_the_other(said):
    net = make()
    ours, theirs = run(net, said), run(net, spoil_left(said))
    for name, value in by_name(ours).items():
        assert (value[:, 0] - getattr(theirs, name)[:, 0]).abs().max() > 1e-4, name


def test_one_hand_by_itself_does_not_hear_of_the_other(said):
    net = make(both_hands=False)
    ours, theirs = run(net, said), run(net, spoil_left(said))
    for name, value in by_name(ours).items():
        torch.testing.assert_close(
            value[:, 0], getattr(theirs, name)[:, 0], rtol=0, atol=2e-6, msg=name
        )
    assert (ours.fused[:, 1] - theirs.fused[:, 1]).abs().max() > 0.1


def test_without_fusing_each_frames_own_state_is_the_answer(said):
    out = run(make(fusing=False), said)
    assert torch.equal(out.fused, out.state)
    fusing = run(make(), said)
    torch.testing.assert_close(fusing.state, out.state)
    assert (fusing.fused - out.fused).abs().max() > 1e-2


def test_trust_decides_whom_the_fusion_believes(said):
    net = make()
    # Great trust in near frames alone: each says itself.
    torch.nn.init.constant_(net.decay, 12.0)
    out = run(net, said)
    torch.testing.assert_close(out.fused, out.state)


@pytest.mark.parametrize("how", [{}, {"both_hands": False}, {"fusing": False}])
def test_everything_that_is_trained_takes_part_in_every_step(how, said):
    """Workers that share their gradients need it."""
    net = make(**how)
    out = net(said, fitted_joints(said, MODEL))
    torch.autograd.backward(sum(value.square().sum() for value in by_name(out).values()))
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def asked(refiner: Refiner, track):
    camera = Camera(*track.k_px[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), "given")
    said = (track.raw_uv_px, track.raw_xyz_cam_mm, track.confidence, track.visible)
    return refiner(0, track.pts_seconds, *said, camera)[0].xyz_cam_mm


def test_the_shipped_weights_say_something_of_their_own():
    refiner = build_refiner(torch.device("cpu"))
    plain = Refiner(RefineNet().eval(), StateReader(), torch.device("cpu"))
    track = make_practice(30, 1, noise_px=2, noise_mm=8)
    answers = [asked(it, track) for it in (refiner, plain)]
    assert torch.isfinite(answers[0]).all()
    assert (answers[0] - answers[1]).abs().mean() > 0.3


def test_weights_of_another_size_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    net = RefineNet(RefineSize(part=8, wide=16, spatial=1, layers=1, heads=2))
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path)
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        build_refiner(torch.device("cpu"), path)
