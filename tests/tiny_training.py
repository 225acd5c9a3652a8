"""A tiny task for the training loop; run as a script it trains as one worker of several."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hdrvideo.train.loop import LoopSettings, train
from hdrvideo.train.state import write_tensors


def tell(number: int) -> None:
    """Call what listens to a signal, as Python does when the signal comes.

    The signal itself is not sent: pytest has signals run on a small stack of their own (that of
    ``faulthandler``), which overflows where the processor's registers are wide (AVX-512).
    """
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


class TinyTask:
    """Where is the bright half? A conv net with 1x1 and depthwise kernels, PReLU and dropout."""

    better = "agreement"

    def __init__(self, *, seed: int = 0, size: int = 4, dropout: float = 0.1) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1),
                nn.PReLU(8),
                nn.Conv2d(8, 8, 3, padding=1, groups=8),
                nn.GroupNorm(2, 8),
                nn.Conv2d(8, 8, 1),
                nn.Dropout(dropout),
                nn.Conv2d(8, 1, 1),
            )
        self.seed, self.size = seed, size

    def describe(self):
        return {"name": "tiny", "seed": self.seed, "data": {"size": self.size}}

    def batch(self, number, rank, world):
        rng = np.random.default_rng([self.seed, number])
        pictures = rng.random((self.size, 3, 8, 8), dtype=np.float32)
        own = slice(rank * self.size // world, (rank + 1) * self.size // world)
        rgb = torch.from_numpy(pictures[own])
        return {"rgb": rgb, "mask": (rgb.mean(1, keepdim=True) > 0.5).float()}

    def losses(self, net, batch):
        logits = net(batch["rgb"])
        mask = nn.functional.binary_cross_entropy_with_logits(logits, batch["mask"])
        size = logits.float().square().mean()
        return {"mask": mask, "size": size, "sum": mask + 0.01 * size}

    def check(self, net):
        assert not net.training
        batch = self.batch(10**9, 0, 1)
        agreement = ((net(batch["rgb"]) > 0) == (batch["mask"] > 0)).float().mean()
        return {"agreement": float(agreement)}

    def sheet(self, net):
        rgb = self.batch(10**9, 0, 1)["rgb"][0]
        return (rgb * 255).to(torch.uint8).permute(1, 2, 0).numpy()


def tiny_settings(**changes) -> LoopSettings:
    usual = {
        "steps": 10,
        "warmup_steps": 2,
        "learning_rate": 0.01,
        "save_every": 4,
        "check_every": 5,
        "log_every": 2,
    }
    return LoopSettings(**(usual | changes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    # Each worker begins with other weights: those of the first must count.
    task = TinyTask(seed=0, dropout=0)
    if os.environ["RANK"] != "0":
        for parameter in task.net.parameters():
            parameter.data.normal_()
    train(task, tiny_settings(steps=3), folder / "run", resume=False)
    write_tensors(folder / f"rank{os.environ['RANK']}.safetensors", task.net.state_dict(), {})
