"""Train ``hdrvideo/weights/ik.safetensors`` (see ``hdrvideo/ik.py``) on made hands.

    python scripts/train_ik.py --state ik_state.safetensors

Two cores need some five minutes. Stopped and started again it goes on from the state file (weights,
both moments of Adam, step and seed) and ends with the same numbers. Each step's hands are drawn
from the seed and the step. It must run again when the hand model's joints change.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor

from hdrvideo.chain import Chain, Hands
from hdrvideo.checkpoint import weights_path
from hdrvideo.files import whole_file
from hdrvideo.hand import N_JOINTS
from hdrvideo.handmodel import HandModel
from hdrvideo.ik import IkNet, align, decode, encode, look_at
from hdrvideo.rotation import axis_angle_to_matrix

BATCH, STEPS, RATE = 512, 8000, 2e-3
SAVE_STEPS = 500


def draw_hands(chain: Chain, rng: np.random.Generator, count: int) -> Hands:
    """Draw hands: half anywhere within the limits, half nearer to rest, some fingers alike."""
    share = rng.uniform(size=(count, 15, 3))
    alike = rng.uniform(size=(count, 1, 1)) < 0.5
    common = rng.uniform(size=(count, 1, 1)) + rng.normal(scale=0.1, size=(count, 15, 1))
    share[..., :1] = np.where(alike, common, share[..., :1]).clip(0, 1)
    calm = rng.uniform(size=(count, 1, 1)) < 0.5
    share[..., 1:] = np.where(calm, 0.5 + 0.4 * (share[..., 1:] - 0.5), share[..., 1:])
    turn = rng.normal(size=(count, 4))
    turn /= np.linalg.norm(turn, axis=1, keepdims=True)
    half = np.arccos(np.clip(np.abs(turn[:, :1]), 0, 1))
    axis = turn[:, 1:] * np.sign(turn[:, :1])
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    place = rng.uniform((-0.5, -0.5, 1), (0.5, 0.5, 1), (count, 3))
    place *= np.exp(rng.uniform(math.log(200), math.log(1500), (count, 1)))
    range_rad = chain.high_rad - chain.low_rad
    return Hands(
        axis_angle_to_matrix(_tensor(2 * half * axis)),
        _tensor(place),
        chain.low_rad + range_rad * _tensor(share),
        _tensor(rng.normal(size=(count, chain.n_shape))),
    )


def show(chain: Chain, joints_mm: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Show joints ``(B, 21, 3)`` to the net: the features, and the turn from what it sees to them.

    Joints carry up to 6 mm of noise (in 2D what that is in the picture); in half of the hands up to
    half of the joints are missing, in a sixth the wrist. Two thirds are 2D.
    """
    count = len(joints_mm)
    noise_mm = rng.uniform(0, 6, (count, 1, 1)) * (rng.uniform(size=(count, 1, 1)) < 0.7)
    joints_mm = joints_mm + _tensor(noise_mm * rng.normal(size=joints_mm.shape))
    missing = rng.uniform(0, 0.5, (count, 1)) * (rng.uniform(size=(count, 1)) < 0.5)
    seen = rng.uniform(size=(count, N_JOINTS)) >= missing
    seen[:, 0] &= rng.uniform(size=count) < 5 / 6
    seen_t = torch.from_numpy(seen)
    flat = torch.arange(count) % 3 > 0
    weight = seen_t.to(joints_mm)
    relaxed_mm = chain.joints(chain.relaxed(1))
    rays = joints_mm[flat, :, :2] / joints_mm[flat, :, 2:].clamp_min(50)
    frame, points = torch.empty(count, 3, 3), torch.zeros_like(joints_mm)
    frame[flat], points[flat, :, :2] = look_at(rays, weight[flat])
    solid = ~flat
    frame[solid], _ = align(relaxed_mm, joints_mm[solid], weight[solid])
    points[solid] = joints_mm[solid] @ frame[solid]
    return encode(points, seen_t, flat), frame


def loss_of(chain: Chain, net: IkNet, rng: np.random.Generator) -> Tensor:
    """Give the loss: joints about the wrist (in 50 mm), the turn, and the angles (in radians)."""
    with torch.no_grad():
        hands = draw_hands(chain, rng, BATCH)
        joints_mm = chain.joints(hands)
        features, frame = show(chain, joints_mm, rng)
        turn = frame.mT @ hands.turn
        true_mm = (joints_mm - hands.wrist_mm[:, None]) @ frame
    found_turn, angles_rad = decode(chain, *net(features))
    zero = torch.zeros_like(hands.wrist_mm)
    found_mm = chain.joints(Hands(found_turn, zero, angles_rad, hands.shape))
    joints = ((found_mm - true_mm) / 50).norm(dim=-1).mean()
    turns = ((found_turn - turn) ** 2).sum(dim=(1, 2)).mean()
    angles = (angles_rad - hands.angles_rad).abs().mean()
    return joints + 0.1 * turns + 2 * angles


def rate_at(step: int, steps: int) -> float:
    """Give the learning rate: up for 200 steps, then down by a cosine."""
    return RATE * min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))


def save_state(path: Path, net: IkNet, adam: torch.optim.Adam, step: int, seed: int) -> None:
    """Write all that training needs to go on, under a temporary name first."""
    tensors = dict(net.state_dict())
    for name, value in net.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}:{name}"] = adam.state[value][key]
    with whole_file(path, overwrite=True) as partial:
        save_file(tensors, partial, metadata={"step": str(step), "seed": str(seed)})


def load_state(path: Path, net: IkNet, adam: torch.optim.Adam) -> tuple[int, int]:
    """Read what :func:`save_state` wrote; give the step and the seed."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        meta = file.metadata()
    step = int(meta["step"])
    net.load_state_dict({name: tensors[name] for name in net.state_dict()})
    for name, value in net.named_parameters():
        state = {key: tensors[f"{key}:{name}"] for key in ("exp_avg", "exp_avg_sq")}
        adam.state[value] = {"step": torch.tensor(float(step)), **state}
    return step, int(meta["seed"])


def train(state: Path, seed: int, steps: int) -> IkNet:
    """Train, or go on training, and save the state on the way."""
    chain = Chain(HandModel())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = IkNet()
    adam = torch.optim.Adam(net.parameters(), lr=RATE, betas=(0.9, 0.99))
    first = 0
    if state.exists():
        first, seed = load_state(state, net, adam)
        print(f"going on from step {first} of seed {seed}")
    began, losses = time.monotonic(), []
    for step in range(first, steps):
        rng = np.random.default_rng((seed, step))
        loss = loss_of(chain, net, rng)
        for group in adam.param_groups:
            group["lr"] = rate_at(step, steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
        if (step + 1) % SAVE_STEPS == 0 or step + 1 == steps:
            save_state(state, net, adam, step + 1, seed)
            seconds = time.monotonic() - began
            print(f"step {step + 1}: loss {np.mean(losses):.4f}, {seconds:.0f} s", flush=True)
            losses = []
    return net


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="where to keep the state")
    parser.add_argument("--output", type=Path, default=weights_path("ik"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    net = train(args.state, args.seed, args.steps)
    weights = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(weights, args.output, metadata={"source": f"train_ik.py seed {args.seed}"})
    print(f"{args.output}: {sum(w.numel() for w in weights.values()):,} parameters")


if __name__ == "__main__":
    main()
