"""Smoothing and bridging: what a local parabola must keep, and the slow obvious one beside it."""

import numpy as np
import pytest

from hdrvideo.motion.smooth import (
    REACH_FRAMES,
    REACH_SIGMAS,
    CausalSmoother,
    fill_gap,
    find_gaps,
    label_runs,
    smooth_zero_phase,
    window_widths,
)

SIGMA = 0.07


def times(kind: str, n: int = 120) -> np.ndarray:
    rng = np.random.default_rng(5)
    if kind == "uniform":
        return np.arange(n) / 30
    if kind == "fast":
        return np.arange(n) / 1000
    return np.cumsum(rng.uniform(0.005, 0.09, n))


def smooth(seconds, values, *, there=None, weights=None, sigma=SIGMA):
    there = np.ones(len(seconds), bool) if there is None else there
    weights = np.ones(len(seconds)) if weights is None else weights
    widths = np.broadcast_to(np.asarray(sigma, float), len(seconds))
    return smooth_zero_phase(seconds, values, weights, label_runs(there), sigma_seconds=widths)


def slow_smooth(seconds, values, weights, runs, widths):
    """Fit each frame's parabola by itself, by weighted least squares, and read it at the frame."""
    out = np.full(values.shape, np.nan)
    for n in np.flatnonzero(runs >= 0):
        tau = (seconds - seconds[n]) / widths[n]
        near = np.abs(np.arange(len(seconds)) - n) <= REACH_FRAMES
        near &= (np.abs(tau) <= REACH_SIGMAS) & (runs == runs[n])
        weight = weights[near] * np.exp(-0.5 * tau[near] ** 2)
        root = np.sqrt(weight)[:, None]
        columns = tau[near, None] ** np.arange(3)
        # The tiny pull towards a flat line that keeps one or two neighbours solvable.
        ridge = np.sqrt(1e-6 * weight.sum()) * np.eye(3)[1:]
        left = np.concatenate([columns * root, ridge])
        right = np.concatenate([values[near] * root, np.zeros((2, values.shape[1]))])
        out[n] = np.linalg.lstsq(left, right, rcond=None)[0][0]
    return out


def random_case(seed: int, kind: str):
    rng = np.random.default_rng(seed)
    seconds = times(kind)
    there = np.convolve(rng.random(len(seconds)) < 0.06, np.ones(3))[: len(seconds)] == 0
    values = np.where(there[:, None], rng.normal(300, 50, (len(seconds), 4)), np.nan)
    return seconds, values, rng.uniform(0.05, 1, len(seconds)), there


@pytest.mark.parametrize("kind", ["uniform", "uneven", "fast"])
@pytest.mark.parametrize("seed", range(3))
def test_the_fast_smoother_is_the_slow_one(seed, kind):
    seconds, values, weights, there = random_case(seed, kind)
    runs = label_runs(there)
    widths = np.random.default_rng(seed + 9).uniform(0.02, 0.2, len(seconds))
    fast = smooth_zero_phase(seconds, values, weights, runs, sigma_seconds=widths)
    np.testing.assert_allclose(fast, slow_smooth(seconds, values, weights, runs, widths), atol=1e-6)


@pytest.mark.parametrize("kind", ["uniform", "uneven"])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_constants_lines_and_parabolas_come_back(degree, kind):
    seconds = times(kind)
    powers = (seconds[:, None] - 1.5) ** np.arange(degree + 1)
    values = powers @ np.random.default_rng(0).normal(0, 100, (degree + 1, 3)) + 200
    weights = np.random.default_rng(1).uniform(0.1, 1, len(seconds))
    np.testing.assert_allclose(smooth(seconds, values, weights=weights), values, atol=1e-2)


@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_time_run_backwards_gives_the_result_backwards(kind):
    seconds, values, weights, there = random_case(3, kind)
    forward = smooth(seconds, values, there=there, weights=weights)
    back = smooth(-seconds[::-1], values[::-1], there=there[::-1], weights=weights[::-1])
    np.testing.assert_allclose(back[::-1], forward, atol=1e-8)


def test_linear_in_the_values_and_blind_to_the_clock():
    seconds, values, weights, there = random_case(4, "uneven")
    plain = smooth(seconds, values, there=there, weights=weights)
    moved = smooth(seconds + 1000, 3 * values + 7, there=there, weights=5 * weights)
    np.testing.assert_allclose(moved, 3 * plain + 7, atol=1e-6)


def test_white_noise_loses_most_of_its_variance_and_a_wave_keeps_its_peak():
    seconds = times("uniform", 3000)
    noise = np.random.default_rng(0).normal(size=(3000, 4))
    assert smooth(seconds, noise).var() < 0.3 * noise.var()
    assert smooth(seconds, noise, sigma=0.2).var() < 0.11 * noise.var()
    wave = np.sin(2 * np.pi * 1.0 * seconds)[:, None]
    np.testing.assert_allclose(smooth(seconds, wave), wave, atol=0.03)


def test_nothing_crosses_a_break():
    seconds = times("uniform", 60)
    there = np.ones(60, bool)
    there[30] = False
    values = np.where(np.arange(60) < 30, 0.0, 1000.0)[:, None] * np.ones(2)
    values[30] = np.nan
    out = smooth(seconds, values, there=there)
    np.testing.assert_allclose(out[:30], 0, atol=1e-9)
    np.testing.assert_allclose(out[31:], 1000, rtol=1e-9)
    other = values.copy()
    other[31:] = np.random.default_rng(0).normal(size=(29, 2))
    np.testing.assert_array_equal(smooth(seconds, other, there=there)[:30], out[:30])


def test_what_is_not_there_stays_nan_and_the_rest_is_finite():
    seconds, values, weights, there = random_case(6, "uneven")
    out = smooth(seconds, values, there=there, weights=weights)
    np.testing.assert_array_equal(np.isfinite(out).all(axis=1), there)
    np.testing.assert_array_equal(np.isnan(out).all(axis=1), ~there)
    nobody = smooth(seconds, np.full_like(values, np.nan), there=np.zeros(len(seconds), bool))
    assert np.isnan(nobody).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_runs_of_one_to_three_frames_keep_their_values(n):
    seconds = times("uneven", 20)
    there = np.zeros(20, bool)
    there[8 : 8 + n] = True
    values = np.random.default_rng(n).normal(300, 5, (20, 2))
    out = smooth(seconds, values, there=there)
    np.testing.assert_allclose(out[there], values[there], atol=0.01)
    single = smooth(seconds[:1], values[:1])
    np.testing.assert_allclose(single, values[:1], rtol=1e-9)


def test_what_comes_in_is_left_alone_and_may_be_empty():
    seconds, values, _, there = random_case(7, "uniform")
    before = values.copy()
    smooth(seconds, values, there=there)
    np.testing.assert_array_equal(values, before)
    assert smooth(seconds[:0], values[:0]).shape == (0, 4)


def test_a_window_narrower_than_a_frame_gives_the_values_back():
    seconds, values, _, there = random_case(7, "uniform")
    np.testing.assert_allclose(smooth(seconds, values, there=there, sigma=1e-3), values, rtol=1e-9)


def moving(seconds, speed_sizes: float) -> np.ndarray:
    """Give a hand 50 px wide that moves so many sizes a second."""
    hand = np.random.default_rng(0).uniform(0, 50, (21, 2))
    hand[:2] = [[0, 25], [50, 25]]
    return hand + 50 * speed_sizes * seconds[:, None, None] * [1.0, 0.0]


@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_a_faster_hand_has_a_narrower_window(kind):
    seconds = times(kind, 40)
    runs = np.zeros(40, np.int64)
    widths = [
        window_widths(seconds, moving(seconds, v), runs, still_seconds=0.09) for v in (0, 2, 4, 100)
    ]
    for width, expected in zip(widths, (0.09, 0.045, 0.03, 0.09 / 51), strict=True):
        np.testing.assert_allclose(width, expected, rtol=1e-6)
    # Larger in the picture or shown from the other side it is the same hand.
    other = window_widths(seconds, 7 - 3 * moving(seconds, 4), runs, still_seconds=0.09)
    np.testing.assert_allclose(other, widths[2])
    back = window_widths(-seconds[::-1], moving(seconds, 4)[::-1], runs, still_seconds=0.09)
    np.testing.assert_allclose(back[::-1], widths[2])


def test_speed_is_not_measured_across_a_break():
    seconds = times("uniform", 30)
    uv = moving(seconds, 0)
    uv[15:] += 500
    there = np.ones(30, bool)
    there[14] = False
    uv[14] = np.nan
    widths = window_widths(seconds, uv, label_runs(there), still_seconds=0.09)
    np.testing.assert_allclose(widths[there], 0.09)
    joined = window_widths(seconds, uv, np.zeros(30, np.int64), still_seconds=0.09)
    assert joined[15] < 0.03


def test_widths_are_positive_also_for_a_point_a_single_frame_and_none():
    for t in (0, 1, 2):
        for uv in (np.zeros((t, 21, 2)), np.full((t, 21, 2), np.nan)):
            runs = np.zeros(t, np.int64)
            widths = window_widths(np.arange(t) / 30, uv, runs, still_seconds=0.09)
            np.testing.assert_allclose(widths, np.full(t, 0.09))


def test_a_trusted_frame_weighs_more():
    seconds = times("uniform", 31)
    values = np.zeros((31, 1))
    values[15] = 10
    doubted = np.ones(31)
    doubted[15] = 0.01
    assert smooth(seconds, values, weights=doubted)[15, 0] < 0.1 * smooth(seconds, values)[15, 0]


def test_runs_are_numbered_in_order():
    there = np.array([0, 1, 1, 0, 0, 1, 0, 1, 1], bool)
    assert label_runs(there).tolist() == [-1, 0, 0, -1, -1, 1, -1, 2, 2]
    assert label_runs(there[:0]).tolist() == []
    assert label_runs(np.ones(3, bool)).tolist() == [0, 0, 0]
    assert label_runs(np.zeros(3, bool)).tolist() == [-1, -1, -1]


def slow_gaps(seconds, there, max_seconds, max_frames):
    """Look at every range of frames whether it is a gap."""
    gaps = []
    n = len(there)
    for start in range(1, n):
        for stop in range(start + 1, n):
            if not there[start - 1] or not there[stop] or there[start:stop].any():
                continue
            if seconds[stop] - seconds[start - 1] <= max_seconds and stop - start <= max_frames:
                gaps.append((start, stop))
    return gaps


@pytest.mark.parametrize("seed", range(8))
def test_gaps_are_those_of_the_slow_search(seed):
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.uniform(0.005, 0.09, 40))
    there = rng.random(40) < 0.5
    for max_seconds, max_frames in ((0.25, 64), (0.1, 64), (9, 2), (0, 64), (9, 64)):
        found = find_gaps(seconds, there, max_seconds=max_seconds, max_frames=max_frames)
        assert found == slow_gaps(seconds, there, max_seconds, max_frames)


def test_no_gap_where_nobody_is_or_at_the_ends():
    seconds = np.arange(6) / 30
    for there in ([0] * 6, [1] * 6, [0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]):
        assert find_gaps(seconds, np.array(there, bool), max_seconds=9, max_frames=9) == []
    assert find_gaps(seconds[:0], np.zeros(0, bool), max_seconds=9, max_frames=9) == []


def test_a_gap_is_filled_on_a_straight_line_in_time():
    seconds = np.array([0.0, 0.1, 0.4, 0.5, 1.0, 2.0])
    values = np.stack([2 * seconds, -seconds], axis=1)[:, :, None]
    truth = values.copy()
    values[1:4] = np.nan
    fill_gap(seconds, values, 1, 4)
    np.testing.assert_allclose(values, truth)
    flat = np.array([0.0, 9, 9, 9, 1, 7])
    fill_gap(seconds, flat, 1, 4)
    np.testing.assert_allclose(flat, [0, 0.1, 0.4, 0.5, 1, 7])


def causal(seconds, values, size=40.0, smoother=None):
    smoother = smoother or CausalSmoother()
    rows = [smoother.step(t, v, size=size) for t, v in zip(seconds, values, strict=True)]
    return rows


def test_causal_a_constant_stays():
    values = np.full((50, 3), 123.0)
    np.testing.assert_array_equal(causal(times("uneven", 50), values), values)


def test_causal_uses_no_future():
    seconds = times("uneven", 60)
    values = np.cumsum(np.random.default_rng(0).normal(0, 5, (60, 3)), axis=0)
    whole = causal(seconds, values)
    for n in (1, 17, 40):
        np.testing.assert_array_equal(causal(seconds[:n], values[:n]), whole[:n])


def test_causal_forgets_at_a_break():
    seconds = times("uniform", 40)
    values = list(np.cumsum(np.random.default_rng(1).normal(0, 5, (40, 3)), axis=0))
    values[20] = None
    rows = causal(seconds, values)
    assert rows[20] is None
    np.testing.assert_array_equal(rows[21], values[21])
    np.testing.assert_array_equal(rows[21:], causal(seconds[21:], values[21:]))


def test_causal_quietens_a_resting_hand_and_follows_a_fast_one():
    seconds = times("uniform", 300)
    noise = np.random.default_rng(2).normal(0, 1, (300, 3))
    rest = np.array(causal(seconds, noise))
    assert rest[30:].var() < 0.4 * noise.var()
    # Ten hand sizes a second: it lags by less than a frame.
    fast = 400.0 * seconds[:, None]
    lag = fast - np.array(causal(seconds, fast))
    assert 0 <= lag[60:].max() < 400 / 30


def test_causal_does_not_hang_on_the_frame_rate():
    def wave(seconds):
        return 60 * np.sin(2 * np.pi * 0.7 * seconds)[:, None] * [1, 0.5]

    slow, fast = np.arange(120) / 30, np.arange(240) / 60
    at_30 = np.array(causal(slow, wave(slow)))
    at_60 = np.array(causal(fast, wave(fast)))[::2]
    assert np.abs(at_30 - at_60)[10:].max() < 0.05 * 60
    lag = np.abs(at_30 - wave(slow))[10:].max()
    assert np.abs(at_30 - at_60)[10:].max() < 0.5 * lag
