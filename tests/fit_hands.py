"""Made hands for the tests of the fit."""

import numpy as np
import torch

from hdrvideo.chain import Hands
from hdrvideo.fit import HandFitter
from hdrvideo.handmodel import HandModel, joint_rotation
from hdrvideo.rotation import axis_angle_to_matrix

MODEL = HandModel()
FIT = HandFitter(MODEL)
CHAIN = FIT.chain


def tensor(values):
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def random_hands(count, seed):
    """Draw hands anywhere within the limits, sides in turn; give them, their sides and joints."""
    rng = np.random.default_rng(seed)
    share = tensor(rng.uniform(size=(count, 15, 3)))
    hands = Hands(
        axis_angle_to_matrix(tensor(2 * rng.normal(size=(count, 3)))),
        tensor(rng.uniform((-150, -100, 350), (150, 100, 800), (count, 3))),
        CHAIN.low_rad + share * (CHAIN.high_rad - CHAIN.low_rad),
        tensor(rng.normal(size=(count, CHAIN.n_shape))),
    )
    side = torch.arange(count) % 2
    return hands, side, posed_joints(hands, side)


def posed_joints(hands, side):
    """Give the joints that the hand model itself gives these hands."""
    pose = torch.cat([hands.turn[:, None], joint_rotation(hands.angles_rad)], dim=1)
    return MODEL(pose, hands.shape, side=side, wrist_mm=hands.wrist_mm).joints_mm
