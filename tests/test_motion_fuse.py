"""Fusion of frames: motions add up as they should, weights weigh, gaps fill, the smoother holds."""

import pytest
import torch

from hdrvideo.motion.fuse import fill, fuse, reach, smoothed


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uneven(n: int, seed: int = 0) -> torch.Tensor:
    """Give ``(1, n)`` seconds, 10 to 60 ms apart."""
    steps = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (0.01 + 0.05 * steps).cumsum(0)[None]


def walk(state: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor, i: int, j: int):
    """Go from frame i to frame j, one motion after the other."""
    value = state[i].clone()
    while i < j:
        value += forward[i]
        i += 1
    while i > j:
        value += backward[i]
        i -= 1
    return value


# What each frame says of each other one.


def test_frames_reach_one_another_by_the_motions_on_the_way():
    t, d = 7, 3
    state, forward, backward = (draw(t, d, seed=n) for n in range(3))
    said = reach(state, forward, backward)
    assert said.shape == (t, t, d)
    for i in range(t):
        for j in range(t):
            slow = walk(state, forward, backward, i, j)
            torch.testing.assert_close(said[i, j], slow, msg=f"from {i} to {j}")


def test_the_outermost_motions_are_not_used_and_leading_axes_are_batches():
    state, forward, backward = (draw(2, 2, 5, 3, seed=n) for n in range(3))
    said = reach(state, forward, backward)
    forward[..., -1, :] = 1e6
    backward[..., 0, :] = 1e6
    again = reach(state, forward, backward)
    assert torch.equal(said, again)
    one = reach(state[1, 0], forward[1, 0], backward[1, 0])
    torch.testing.assert_close(said[1, 0], one)
    assert torch.equal(reach(state[..., :1, :], state[..., :1, :], state[..., :1, :]).squeeze(-2),
                       state[..., :1, :])  # fmt: skip


def exact_motions(true: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    step = true.diff(dim=0)
    zero = torch.zeros_like(step[:1])
    return torch.cat([step, zero]), torch.cat([zero, -step])


def test_exact_motions_lead_every_frame_to_the_truth():
    true = draw(9, 4)
    said = reach(true, *exact_motions(true))
    torch.testing.assert_close(said, true.expand(9, 9, 4), rtol=0, atol=1e-12)


def test_the_motions_of_the_slides_would_lead_backwards_astray():
    """Those of frames j to i - 1 in place of j + 1 to i: each motion starts from its own frame."""
    true = draw(9, 4)
    _, backward = exact_motions(true)
    i, j = 6, 2
    ours = true[i] + backward[j + 1 : i + 1].sum(dim=0)
    slides = true[i] + backward[j:i].sum(dim=0)
    torch.testing.assert_close(ours, true[j], rtol=0, atol=1e-12)
    assert (slides - true[j]).abs().max() > 0.1
    torch.testing.assert_close(reach(true, *exact_motions(true))[i, j], ours, rtol=0, atol=1e-12)


# How they are weighed.


def test_equal_trust_is_the_mean_and_great_trust_is_one_frame():
    said = draw(2, 6, 6, 5)
    groups = torch.tensor([0, 0, 1, 2, 2])
    trust = torch.full((2, 6, 6, 3), 0.7, dtype=torch.float64)
    torch.testing.assert_close(fuse(said, trust, groups), said.mean(dim=-3))
    trust[:, 4] += 100
    torch.testing.assert_close(fuse(said, trust, groups), said[:, 4])


def test_each_group_has_its_own_weights():
    said, trust = draw(5, 5, 4), torch.zeros(5, 5, 2, dtype=torch.float64)
    trust[1, :, 0], trust[3, :, 1] = 100, 100
    fused = fuse(said, trust, torch.tensor([1, 0, 0, 1]))
    torch.testing.assert_close(fused[:, [1, 2]], said[1][:, [1, 2]])
    torch.testing.assert_close(fused[:, [0, 3]], said[3][:, [0, 3]])


def test_fusing_is_a_weighted_sum_over_the_frames_that_speak():
    said, trust = draw(4, 4, 3), draw(4, 4, 2, seed=1)
    groups = torch.tensor([0, 1, 1])
    fused = fuse(said, trust, groups)
    for j in range(4):
        for d in range(3):
            weight = trust[:, j, groups[d]].exp()
            slow = (weight * said[:, j, d]).sum() / weight.sum()
            torch.testing.assert_close(fused[j, d], slow)


# Frames that were not seen.


def test_gaps_are_filled_on_straight_lines_in_time():
    seconds = torch.tensor([[0.0, 0.1, 0.15, 0.4, 0.5, 0.9]], dtype=torch.float64)
    state = 3.0 * seconds[:, None, :, None].expand(1, 2, 6, 2).clone()
    seen = torch.tensor([[[0, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1]]], dtype=torch.float64)
    spoilt = torch.where(seen[..., None] > 0, state, 77.0)
    filled, away = fill(spoilt, seen, seconds)
    # Straight inside, held at the ends.
    held = torch.tensor([0.3, 0.3, 0.45, 1.2, 1.5, 1.5], dtype=torch.float64)
    torch.testing.assert_close(filled[0, 0, :, 0], held)
    torch.testing.assert_close(filled[0, 1], state[0, 1])
    expected = torch.tensor([0.1, 0, 0.05, 0.1, 0, 0.4], dtype=torch.float64)
    torch.testing.assert_close(away[0, 0], expected)
    assert not away[0, 1].any()


def test_filling_is_as_slow_and_obvious():
    generator = torch.Generator().manual_seed(3)
    seen = (torch.rand(4, 2, 15, generator=generator) < 0.4).double()
    seconds = torch.cat([uneven(15, seed=n) for n in range(4)])
    state = draw(4, 2, 15, 3)
    filled, away = fill(state, seen, seconds)
    for b, s, t in [(b, s, t) for b in range(4) for s in range(2) for t in range(15)]:
        index = torch.nonzero(seen[b, s]).flatten().tolist()
        times = seconds[b]
        before, after = [k for k in index if k <= t], [k for k in index if k >= t]
        first = before[-1] if before else after[0]
        last = after[0] if after else before[-1]
        gap = float(times[last] - times[first])
        share = float(times[t] - times[first]) / gap if gap > 0 else 0.0
        slow = (1 - share) * state[b, s, first] + share * state[b, s, last]
        torch.testing.assert_close(filled[b, s, t], slow)
        nearest = min(abs(float(times[k] - times[t])) for k in index)
        assert float(away[b, s, t]) == pytest.approx(nearest, abs=1e-9)


def test_a_hand_that_was_never_seen_is_zero():
    seen = torch.zeros(1, 2, 4)
    seen[0, 1, 2] = 1
    filled, away = fill(torch.ones(1, 2, 4, 3), seen, torch.arange(4.0)[None])
    assert not filled[0, 0].any()
    assert not away[0, 0].any()
    assert (filled[0, 1] == 1).all()
    assert away[0, 1].tolist() == [2, 1, 0, 1]


# The smoother.

SIGMA = 0.06


def parabola(seconds: torch.Tensor) -> torch.Tensor:
    """Give two parabolas a hand, ``(1, 2, T, 2)``."""
    x = seconds[:, None, :, None].expand(-1, 2, -1, 2) - 0.4
    slope = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)[:, None]
    return 0.3 + slope * x + torch.tensor([4.0, -7.0], dtype=torch.float64) * x**2


def test_parabolas_in_time_come_through():
    seconds = uneven(24)
    state = parabola(seconds)
    weight = 0.2 + draw(1, 2, 24).abs()
    smooth = smoothed(state, weight, seconds, SIGMA)
    # But for the ridge that holds lone frames.
    torch.testing.assert_close(smooth, state, rtol=0, atol=2e-3)
    torch.testing.assert_close(smooth[:, :, 4:-4], state[:, :, 4:-4], rtol=0, atol=1e-3)


def test_noise_is_smoothed_and_nothing_lags():
    n = 60
    seconds = torch.arange(n, dtype=torch.float64)[None] / 30
    true = torch.sin(2 * torch.pi * 0.8 * seconds)[:, None, :, None].expand(1, 2, n, 1)
    noise = 0.05 * draw(1, 2, n, 1)
    ones = torch.ones(1, 2, n, dtype=torch.float64)
    smooth = smoothed(true + noise, ones, seconds, SIGMA)
    inner = slice(5, -5)
    assert (smooth - true)[:, :, inner].std() < 0.65 * noise[:, :, inner].std()
    # Turned round in time it is the same: it neither lags nor leads.
    back = smoothed((true + noise).flip(2), ones, seconds, SIGMA).flip(2)
    torch.testing.assert_close(back, smooth)
    # And so a sine's steepest places stay where they are.
    of_true = smoothed(true, ones, seconds, SIGMA)
    shifted = [
        float((of_true[:, :, 8:-8] - true[:, :, 8 + k : n - 8 + k]).abs().mean())
        for k in (-1, 0, 1)
    ]
    assert shifted[1] < 0.1 * min(shifted[0], shifted[2])


def test_filled_frames_hardly_count():
    seconds = uneven(20)
    state = parabola(seconds)
    weight = torch.ones(1, 2, 20, dtype=torch.float64)
    weight[:, :, 9:11] = 0
    spoilt = state.clone()
    spoilt[:, :, 9:11] += 1.0
    apart = (smoothed(spoilt, weight, seconds, SIGMA) - state).abs()
    assert apart.max() < 0.06
    assert (smoothed(spoilt, 0 * weight + 1, seconds, SIGMA) - state).abs().max() > 0.3


def test_lone_frames_stay_and_hands_never_seen_are_finite():
    state = draw(1, 2, 3, 4)
    seconds = torch.tensor([[0.0, 5.0, 11.0]], dtype=torch.float64)
    ones = torch.ones(1, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(smoothed(state, ones, seconds, SIGMA), state)
    torch.testing.assert_close(smoothed(state, 0 * ones, seconds, SIGMA), state)
    one = smoothed(state[:, :, :1], ones[:, :, :1], seconds[:, :1], SIGMA)
    torch.testing.assert_close(one, state[:, :, :1])
