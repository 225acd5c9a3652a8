"""Tiny rivals on tiny trunks, and shards of posed hands for their lessons."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from made_shards import SIZE_PX, write_made
from pose_hands import FOCAL_PX, hand_shot
from torch import nn

from hdrvideo.frame.detnet import DetNet
from hdrvideo.handmodel import HandModel
from hdrvideo.ik import IkNet
from hdrvideo.rivals.handoccnet import HandOccNet, HandOccSize
from hdrvideo.rivals.internet import InterNet, InterNetSize
from hdrvideo.rivals.minimal_hand import MinimalHand
from hdrvideo.synth.scene import Shot

R = 64
CHANNELS = (16, 16, 24, 32)


class TinyTrunk(nn.Module):
    """A convolution for each stride from 4 to 32."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS[0], 4, 4)
        pairs = pairwise(CHANNELS)
        self.more = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairs)

    def features(self, rgb):
        found = [torch.nn.functional.leaky_relu(self.first(rgb))]
        for layer in self.more:
            found.append(torch.nn.functional.leaky_relu(layer(found[-1])))
        return tuple(found)


def tiny_internet() -> InterNet:
    return InterNet(TinyTrunk(), CHANNELS[-1], InterNetSize(R, 16, 32, 8))


def tiny_handoccnet() -> HandOccNet:
    return HandOccNet(TinyTrunk(), CHANNELS, HandOccSize(R, 32, (32, 16)))


def tiny_minimal_hand() -> MinimalHand:
    return MinimalHand(DetNet(8), IkNet())


TINY = {
    "internet": tiny_internet,
    "handoccnet": tiny_handoccnet,
    "minimal_hand": tiny_minimal_hand,
}


def tiny(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return TINY[name]()


def crops(b: int = 2, seed: int = 3, size: int = R) -> torch.Tensor:
    return torch.rand(b, 3, size, size, generator=torch.Generator().manual_seed(seed))


def posed_shot(n: int, seed: int = 0) -> Shot:
    """Give discs with hands of the hand model on them."""
    shot, model = hand_shot(n, seed), HandModel()
    draw = torch.Generator().manual_seed(seed)
    pose = 0.3 * torch.randn(n, 2, 16, 3, generator=draw)
    shape = torch.randn(n, 2, model.n_shape, generator=draw)
    wrist_mm = torch.tensor([[-20.0, 60.0, 1000.0], [20.0, 60.0, 980.0]]).repeat(n, 1, 1)
    side = torch.arange(2).repeat(n)
    hands = model(
        *(pose.flatten(0, 1), shape.flatten(0, 1)), side=side, wrist_mm=wrist_mm.flatten(0, 1)
    )
    xyz = hands.joints_mm.reshape(n, 2, 21, 3)
    uv = FOCAL_PX * xyz[..., :2] / xyz[..., 2:] + (SIZE_PX - 1) / 2
    there = shot.present[..., None, None]
    nan = torch.tensor(float("nan"))
    return replace(
        shot,
        pose=pose,
        shape=shape,
        xyz_cam_mm=torch.where(there, xyz, nan),
        uv_px=torch.where(there, uv, nan),
    )


def write_posed(folder: Path) -> dict[str, tuple[str, ...]]:
    """Write shards of both splits; gives what belongs under ``data`` in a settings file."""
    made = write_made(folder / "made", "train", posed_shot(10, 1))
    held_out = write_made(folder / "held_out", "test", posed_shot(10, 3))
    return {"made": (str(made),), "held_out": (str(held_out),)}
