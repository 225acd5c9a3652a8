"""Hard masks of two hands, and answers to them, for the tests of losses, scores and sheets."""

import torch

from hdrvideo.frame.hasm import HandMasks
from hdrvideo.frame.pair import PairJoints


def truth_of(seed: int = 0, b: int = 3, cells: int = 12) -> dict[str, torch.Tensor]:
    """Draw hard masks; the right hand hides some of the left; the last picture has no left hand."""
    draw = torch.Generator().manual_seed(seed)
    amodal = (torch.rand(b, 2, cells, cells, generator=draw) < 0.4).float()
    amodal[-1, 1] = 0
    visible = amodal.clone()
    visible[:, 1] *= 1 - amodal[:, 0]
    present = (amodal.sum(dim=(2, 3)) > 0).float()
    return {
        "visible": visible,
        "amodal": amodal,
        "present": present,
        "present_weight": torch.ones(b, 2),
    }


def perfect(truth: dict[str, torch.Tensor], size: float = 40.0) -> HandMasks:
    return HandMasks(
        (2 * truth["amodal"] - 1) * size,
        (2 * truth["visible"] - 1) * size,
        (2 * truth["present"] - 1) * size,
    )


def some_masks(truth: dict[str, torch.Tensor], seed: int = 3) -> HandMasks:
    draw = torch.Generator().manual_seed(seed)
    shapes = (truth["amodal"].shape, truth["amodal"].shape, truth["present"].shape)
    return HandMasks(*(2 * torch.randn(shape, generator=draw) for shape in shapes))


def pair_joints(uv_px: torch.Tensor) -> PairJoints:
    """Give joints at places ``(B, 2, 21, 2)``, flat and of no error."""
    xyz = torch.zeros(*uv_px.shape[:-1], 3)
    return PairJoints(uv_px, xyz, torch.zeros(uv_px.shape[:-1]), torch.zeros(len(uv_px), 2))
