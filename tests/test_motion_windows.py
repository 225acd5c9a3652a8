"""The refiner over long tracks: windows cover, blend and do not show; the stage fills and marks."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from practice_tracks import READER, make_practice, project, read
from tracks import first_frame_missing, make_ledger, make_meta, make_track, no_hands, variable_rate

from hdrvideo.config import MotionSettings
from hdrvideo.errors import ShapeError
from hdrvideo.geometry import Camera
from hdrvideo.motion.fuse import fill
from hdrvideo.motion.recurrent import GruNet, TcmrNet
from hdrvideo.motion.refine import RefinedWindow, RefineNet, RefineSize
from hdrvideo.motion.stage import CONTEXT_FRAMES, NEAREST_MM, MotionStage
from hdrvideo.motion.states import HandPoseTrack
from hdrvideo.motion.windows import WINDOW_FRAMES, Refiner, blend, grid
from hdrvideo.track import ABSENT, BRIDGED, IS_BRIDGED, concatenate

CPU = torch.device("cpu")
TINY = RefineSize(part=16, wide=32, spatial=1, layers=1, heads=2)


class Filling:
    """A stub net: the filled states; it remembers its batches."""

    def __init__(self, depth_off: float = 0.0) -> None:
        self.depth_off, self.batches = depth_off, []

    def __call__(self, states, joints_mm):
        self.batches.append((len(states.seen), states.seen.shape[2]))
        filled, _ = fill(states.state, states.seen, states.seconds)
        filled[..., -1] += self.depth_off
        still = torch.zeros_like(filled)
        return RefinedWindow(filled, still, still, filled, 4 * states.confidence - 2)


def shaken_net(kind=RefineNet):
    """Give an untrained net whose last layers say something."""
    torch.manual_seed(0)
    net = kind(TINY).eval().requires_grad_(requires_grad=False)
    net.said[-1].weight.normal_(0, 0.05)
    return net


def refine(net, track, first: int = 0, rows: slice = slice(None), **how):
    k = track.k_px
    camera = Camera(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), "given")
    parts = (track.raw_uv_px, track.raw_xyz_cam_mm, track.confidence, track.visible)
    refiner = Refiner(net, READER, CPU, **({"steady_seconds": 0.0} | how))
    return refiner(first, track.pts_seconds[rows], *(p[rows] for p in parts), camera)


# The grid and the blend.


@pytest.mark.parametrize("frames", [1, 5, 24])
def test_windows_cover_every_frame_on_one_grid(frames):
    for hop in {1, (frames + 1) // 2, frames}:
        for first in (0, 1, 11, 12, 240):
            for n in (1, 7, 60):
                windows = grid(first, n, frames=frames, hop=hop)
                slow = [
                    (w, w + frames) for w in range(-110 * hop, first + n, hop) if w + frames > first
                ]
                assert windows == slow
                assert all(start % hop == 0 for start, _ in windows)
                for t in range(first, first + n):
                    assert any(start <= t < stop for start, stop in windows)


@pytest.mark.parametrize("hop", [0, 25, -3])
def test_hops_that_leave_holes_are_refused(hop):
    with pytest.raises(ShapeError, match=f"hop is {hop}, expected 1 to 24, the frames of a window"):
        grid(0, 10, frames=24, hop=hop)


def cut(windows, first: int, values: torch.Tensor):
    n = len(values)
    return [(a, b, values[max(a - first, 0) : min(b - first, n)]) for a, b in windows]


@pytest.mark.parametrize("first", [0, 5, 30])
def test_what_all_windows_agree_on_stays(first):
    values = torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(0))
    windows = grid(first, 40, frames=9, hop=4)
    torch.testing.assert_close(blend(cut(windows, first, values), first, 40), values)
    same = torch.full((40, 2), 3.5)
    torch.testing.assert_close(blend(cut(windows, first, same), first, 40), same)


def test_windows_are_weighed_by_how_far_their_ends_are():
    first, n = 3, 20
    windows = grid(first, n, frames=8, hop=3)
    values = {w: float(k) ** 2 for k, w in enumerate(windows)}
    parts = [
        (a, b, torch.full((min(b, first + n) - max(a, first), 1), values[a, b])) for a, b in windows
    ]
    blended = blend(parts, first, n)
    for t in range(first, first + n):
        there = [(a, b) for a, b in windows if a <= t < b]
        weight = [min(t - a + 1, b - t) for a, b in there]
        slow = sum(w * values[k] for w, k in zip(weight, there, strict=True)) / sum(weight)
        assert float(blended[t - first]) == pytest.approx(slow, rel=1e-5)


# The refiner.


@pytest.mark.parametrize("n", [1, 5, 24, 61])
def test_a_net_that_changes_nothing_gives_the_fitted_hands(n):
    track = make_practice(n, 1, noise_px=1, noise_mm=3)
    hands, sure = refine(Filling(), track, first=7)
    said = read(track)
    fitted = READER.place(said.state[0].transpose(0, 1))
    torch.testing.assert_close(hands.xyz_cam_mm, fitted.xyz_cam_mm, rtol=0, atol=0.01)
    assert not hands.shape.any()
    off = np.abs(project(hands.xyz_cam_mm.numpy(), track.k_px) - track.raw_uv_px).mean()
    assert off < 8
    expected = 1 / (1 + np.exp(2 - 4 * track.confidence))
    np.testing.assert_allclose(sure, expected, atol=1e-5)


@pytest.mark.parametrize(("frames", "hop"), [(24, 12), (16, 8), (9, 4), (5, 2), (1, 1)])
def test_windows_begin_half_a_window_apart(frames, hop):
    net = Filling()
    refiner = Refiner(net, READER, CPU, frames=frames)
    assert (refiner.frames, refiner.hop) == (frames, hop)
    refine(net, make_practice(30, 0), frames=frames)
    assert max(t for _, t in net.batches) == frames
    assert sum(b for b, _ in net.batches) == len(grid(0, 30, frames=frames, hop=hop))


def test_states_are_made_steady_without_a_lag():
    track = make_practice(61, 1, noise_px=3, noise_mm=10)
    shaken, _ = refine(Filling(), track)
    steady, _ = refine(Filling(), track, steady_seconds=0.05)
    truth = torch.from_numpy(track.xyz_cam_mm)
    off = [(hands.xyz_cam_mm - truth).norm(dim=-1).mean() for hands in (shaken, steady)]
    jerk = [hands.xyz_cam_mm.diff(n=3, dim=0).norm(dim=-1).mean() for hands in (shaken, steady)]
    assert off[1] < off[0]
    assert jerk[1] < 0.4 * jerk[0]


def test_windows_of_one_length_go_through_the_net_together_but_not_too_many():
    net = Filling()
    refine(net, make_practice(270, 0))
    assert max(b for b, _ in net.batches) <= 16
    assert sum(b for b, _ in net.batches) == len(grid(0, 270, frames=24, hop=12))
    assert len(net.batches) == 5
    assert {t for _, t in net.batches} == {12, 24, 18, 6}


@pytest.mark.parametrize(
    ("kind", "frames"),
    [(RefineNet, 24), (RefineNet, 5), (RefineNet, 9), (RefineNet, 25), (GruNet, 24), (TcmrNet, 7)],
)
def test_inner_frames_do_not_know_how_the_clip_was_cut(kind, frames):
    track = make_practice(90, 2, noise_px=2, noise_mm=5, gaps=((0, 40, 44), (1, 60, 70)))
    net = shaken_net(kind)
    whole, sure = refine(net, track, frames=frames)
    plain, _ = refine(Filling(), track)
    assert (whole.xyz_cam_mm - plain.xyz_cam_mm).abs().mean() > 0.5
    # A hand is filled from its gap's ends, wherever windows lie.
    edge = max(frames, 11)
    for first, stop in ((17, 90), (0, 66), (25, 77)):
        part, part_sure = refine(net, track, first, slice(first, stop), frames=frames)
        own = slice(first + edge if first else 0, stop - edge if stop < 90 else 90)
        there = slice(own.start - first, own.stop - first)
        torch.testing.assert_close(part.xyz_cam_mm[there], whole.xyz_cam_mm[own], rtol=0, atol=0.3)
        np.testing.assert_allclose(part_sure[there], sure[own], atol=5e-3)
        outer = (part.xyz_cam_mm - whole.xyz_cam_mm[first:stop]).abs().amax(dim=(1, 2, 3))
        assert outer.max() > 1


def test_a_gap_is_filled_from_both_ends():
    gap = slice(30, 36)
    track = make_practice(60, 4, gaps=((1, gap.start, gap.stop),))
    hands, _ = refine(Filling(), track)
    off = np.linalg.norm(hands.xyz_cam_mm.numpy() - track.xyz_cam_mm, axis=-1)
    assert off[gap, 1].mean() < 3 * off[:, 0].mean() + 15


# The stage.


def stage_track(gaps, n: int = 120, fps: int = 30):
    meta = make_meta(time_base=Fraction(1, fps))
    return make_track(n, provenance=dict.fromkeys(gaps, ABSENT), meta=meta)


def run(track, ledger, settings, refiner, pushes=None):
    stage = MotionStage(settings, refiner)
    out, start = [], 0
    for size in pushes or [len(track)]:
        out += stage.push(track.rows(start, start + size), ledger.rows(start, start + size))
        start += size
    out += stage.finish()
    ledgers = out[0][1]
    for _, later in out[1:]:
        ledgers = ledgers.then(later)
    return concatenate([t for t, _ in out]), ledgers


def check_refined(raw, ledger, refined, refined_ledger) -> None:
    """Assert what holds for every refined track."""
    np.testing.assert_array_equal(refined.raw_uv_px, raw.raw_uv_px)
    np.testing.assert_array_equal(refined.raw_xyz_cam_mm, raw.raw_xyz_cam_mm)
    np.testing.assert_array_equal(refined.pts, raw.pts)
    there = refined.present
    new = there & ~raw.present
    assert (refined.provenance[new] == BRIDGED).all()
    assert (refined_ledger.reason[new] == IS_BRIDGED).all()
    np.testing.assert_array_equal(refined.provenance[~new], raw.provenance[~new])
    np.testing.assert_array_equal(refined_ledger.reason[~new], ledger.reason[~new])
    assert not refined.visible[refined.provenance == BRIDGED].any()
    for values in (refined.uv_px, refined.xyz_cam_mm, refined.confidence):
        assert np.isfinite(values[there]).all()
        assert np.isnan(values[~there]).all()
    projected = raw.meta.camera.project(refined.xyz_cam_mm[there])
    np.testing.assert_allclose(projected, refined.uv_px[there], atol=1e-2)


GAPS = [(0, 20, 24), (1, 50, 56), (1, 90, 110), (0, 0, 3)]


def test_however_the_pushes_are_cut_the_stage_refines_alike():
    n = 330
    track = stage_track(GAPS, n)
    ledger = make_ledger(track)
    refiner = Refiner(shaken_net(), READER, CPU)
    whole = run(track, ledger, MotionSettings(own_frames=9999), refiner)
    check_refined(track, ledger, *whole)
    rng = np.random.default_rng(0)
    cuts = np.diff(np.unique(np.concatenate([[0, n], rng.integers(0, n, 9)])))
    for own_frames, pushes in ((75, [n]), (130, list(cuts))):
        other, other_ledger = run(
            track, ledger, MotionSettings(own_frames=own_frames), refiner, pushes
        )
        for name, atol in (("uv_px", 0.1), ("xyz_cam_mm", 0.3), ("confidence", 5e-3)):
            ours, theirs = getattr(other, name), getattr(whole[0], name)
            np.testing.assert_allclose(ours, theirs, atol=atol, err_msg=name)
        np.testing.assert_array_equal(other.provenance, whole[0].provenance)
        np.testing.assert_array_equal(other_ledger.reason, whole[1].reason)


@pytest.mark.parametrize(("frames", "more"), [(5, 0), (WINDOW_FRAMES, 0), (40, 16)])
def test_the_stage_reads_as_far_as_windows_reach(frames, more):
    own, n = 20, 400
    lengths = []

    class Counting(Refiner):
        def __call__(self, first, seconds, uv_px, xyz_mm, confidence, *_):
            lengths.append(len(seconds))
            pose = torch.zeros(*confidence.shape[:2], 16, 3)
            still = HandPoseTrack(pose, torch.zeros(*pose.shape[:2], 12), torch.from_numpy(xyz_mm))
            return still, confidence

    track = stage_track([], n)
    refiner = Counting(Filling(), READER, CPU, frames=frames)
    refined, _ = run(track, make_ledger(track), MotionSettings(own_frames=own), refiner)
    assert len(refined) == n
    assert max(lengths) == own + 2 * (CONTEXT_FRAMES + more)


def test_short_gaps_are_filled_and_marked_and_long_ones_stay():
    track = stage_track(GAPS)
    ledger = make_ledger(track)
    refined, refined_ledger = run(track, ledger, MotionSettings(), Refiner(Filling(), READER, CPU))
    check_refined(track, ledger, refined, refined_ledger)
    bridged = np.zeros((120, 2), bool)
    bridged[20:24, 0] = bridged[50:56, 1] = True
    np.testing.assert_array_equal(refined.provenance == BRIDGED, bridged)
    truth = make_track(120, meta=track.meta)
    off = np.linalg.norm(refined.xyz_cam_mm - truth.xyz_cam_mm, axis=-1)
    assert off[bridged].mean() < 2 * np.nanmean(off[~bridged & refined.present]) + 5


@pytest.mark.parametrize("n_gone", [40, 58])
def test_a_bridged_gap_that_is_longer_than_a_window_is_filled_too(n_gone):
    """At 240 frames a second a quarter of a second is more than windows hold."""
    assert n_gone > WINDOW_FRAMES
    moving = stage_track([(1, 50, 50 + n_gone)], 160, 240)
    still = {}
    for name in ("uv_px", "xyz_cam_mm", "raw_uv_px", "raw_xyz_cam_mm", "confidence"):
        values = getattr(moving, name)
        still[name] = np.where(np.isnan(values), values, values[:1])
    track = replace(moving, **still)
    ledger = make_ledger(track)
    refined, refined_ledger = run(track, ledger, MotionSettings(), Refiner(Filling(), READER, CPU))
    check_refined(track, ledger, refined, refined_ledger)
    assert (refined.provenance[50 : 50 + n_gone, 1] == BRIDGED).all()
    first = refined.xyz_cam_mm[:1].repeat(160, axis=0)
    np.testing.assert_allclose(refined.xyz_cam_mm, first, atol=1)


@pytest.mark.parametrize(
    "make",
    # A thirteenth frame is alone in its last window.
    [first_frame_missing, variable_rate, no_hands, lambda: make_track(1), lambda: make_track(13)],
)
def test_small_tracks_come_through(make):
    track = make()
    ledger = make_ledger(track)
    refined, refined_ledger = run(
        track, ledger, MotionSettings(own_frames=1), Refiner(shaken_net(), READER, CPU)
    )
    check_refined(track, ledger, refined, refined_ledger)


def test_no_joint_comes_too_near():
    track = stage_track([], 10)
    near = Refiner(Filling(depth_off=-4.5), READER, CPU)
    settings = MotionSettings(smooth_seconds=0)
    refined, _ = run(track, make_ledger(track), settings, near)
    check_refined(track, make_ledger(track), refined, make_ledger(track))
    assert refined.xyz_cam_mm[..., 2].min() >= NEAREST_MM


def test_causal_asks_no_refiner():
    class Refusing(Refiner):
        def __call__(self, *_):
            raise AssertionError

    refuse = Refusing(Filling(), READER, CPU)
    track = stage_track(GAPS)
    settings = MotionSettings(causal=True)
    ours, _ = run(track, make_ledger(track), settings, refuse)
    plain, _ = run(track, make_ledger(track), settings, None)
    np.testing.assert_array_equal(ours.uv_px, plain.uv_px)
    with pytest.raises(AssertionError):
        run(track, make_ledger(track), MotionSettings(), refuse)
