"""HDRM's losses and scores, and the frozen nets whose features it is compared by.

The terms are those of HDR (Meng et al., ECCV 2022, section 3.3, and its released code), which are
those of Liu et al., "Image Inpainting for Irregular Holes" (ECCV 2018), plus an adversarial one.
Departures, with their reasons: a term over a hole is a mean over the hole's pixels (released: over
all pixels, which drowns a small hole); features are taken of whole pictures and compared in the
hole (released: pictures erased outside the hole, whose edges the features then show); features are
measured by the truth's own size, so that one weight fits any net; the discriminator sees the
picture that leaves HDRM, and patches count by what of a hole they hold.

Perceptual nets: the first layers of the shipped landmark net (trained on real hands; the default),
or SqueezeNet 1.0 of ImageNet where a user has its file; the released code has VGG16.
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.errors import WeightsError
from hdrvideo.frame.hdrm import Regions
from hdrvideo.frame.shpe import LandmarkNet

_TINY: Final = 1e-6
_MAX_PSNR_DB: Final = 60.0
# Blocks of the landmark net after which features are compared: strides 2, 4 and 8.
_TRUNK_BLOCKS: Final = (0, 2, 4)
# SqueezeNet's fire modules up to stride 8: squeezed channels, channels of each expansion.
_FIRES: Final = {"fire2": (16, 64), "fire3": (16, 64), "fire4": (32, 128), "fire5": (32, 128)}
_POOLED: Final = ("fire2", "fire5")
_COMPARED: Final = ("fire3", "fire5")
_MEAN_BGR: Final = (104.0, 117.0, 123.0)


def painted_holes(regions: Regions, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Share out what is painted, the grown holes, between the two.

    Args:
        regions: Of ``(B, 1, R, R)``.
        weight: ``(B, 1, R, R)`` how much of each pixel is painted.

    Returns:
        Where the hand is uncovered, and where the other is removed; 0 or 1, never both.
    """
    whole = regions.own_visible + regions.uncover
    painted = (weight > 0).to(weight.dtype)
    return painted * whole, painted * (1 - whole)


def l1_in(painted: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Give the mean absolute difference over pixels and channels.

    Args:
        painted: ``(B, 3, R, R)``.
        truth: Likewise.
        where: ``(B, 1, R, R)`` weight of each pixel, 0..1. Where all are 0 the loss is 0.
    """
    total = ((painted - truth).abs() * where).sum()
    return total / (painted.shape[1] * where.sum()).clamp(min=1)


def smoothness(picture: Tensor, where: Tensor) -> Tensor:
    """Give the total variation: mean absolute difference of neighbours, both in ``where``.

    Args:
        picture: ``(B, 3, R, R)``.
        where: ``(B, 1, R, R)`` 0 or 1.
    """
    across = l1_in(picture[..., 1:], picture[..., :-1], where[..., 1:] * where[..., :-1])
    down = l1_in(picture[..., 1:, :], picture[..., :-1, :], where[..., 1:, :] * where[..., :-1, :])
    return across + down


def feature_distance(found: Sequence[Tensor], wanted: Sequence[Tensor], where: Tensor) -> Tensor:
    """Give the mean absolute difference of features in a region, mean over layers.

    Args:
        found: Features of a picture, ``(B, C, h, w)`` each.
        wanted: Those of the truth; their size (root of the mean square) is the unit.
        where: ``(B, 1, R, R)`` weight of each pixel, brought to each layer's cells by area.
    """
    total = where.new_zeros(())
    for x, y in zip(found, wanted, strict=True):
        unit = y.square().mean().sqrt() + _TINY
        share = _in_cells(where, x)
        unlike = ((x - y).abs() * share).sum() / unit
        total = total + unlike / (x.shape[1] * share.sum() + _TINY)
    return total / len(found)


def style_distance(found: Sequence[Tensor], wanted: Sequence[Tensor], where: Tensor) -> Tensor:
    """Give the mean absolute difference of Gram matrices in a region, mean over layers.

    Args:
        found: As in :func:`feature_distance`.
        wanted: Likewise.
        where: Likewise; pictures without any pixel count for nothing.
    """
    total = where.new_zeros(())
    is_there = (where.sum(dim=(1, 2, 3)) > 0).to(where.dtype)
    for x, y in zip(found, wanted, strict=True):
        unit = y.square().mean() + _TINY
        share = _in_cells(where, x)
        unlike = (gram(x, share) - gram(y, share)).abs().mean(dim=(1, 2)) / unit
        total = total + (unlike * is_there).sum() / is_there.sum().clamp(min=1)
    return total / len(found)


def gram(features: Tensor, share: Tensor) -> Tensor:
    """Give ``(B, C, C)`` products of channels, weighted means over cells.

    Args:
        features: ``(B, C, h, w)``.
        share: ``(B, 1, h, w)`` weight of each cell.
    """
    flat, weight = features.flatten(2), share.flatten(2)
    products = (flat * weight) @ flat.transpose(1, 2)
    return products / (weight.sum(dim=2, keepdim=True) + _TINY)


def _in_cells(where: Tensor, like: Tensor) -> Tensor:
    """Bring weights ``(B, 1, R, R)`` to the cells of a map, by area."""
    return functional.adaptive_avg_pool2d(where, (like.shape[2], like.shape[3]))


def patch_loss(logits: Tensor, where: Tensor, *, is_true: bool) -> Tensor:
    """Give the cross entropy of "this patch is true" (``nsgan``), by what of a hole patches hold.

    Args:
        logits: ``(B, 1, p, p)`` of a :class:`PatchDiscriminator`.
        where: ``(B, 1, R, R)`` the holes.
        is_true: What is to be said.
    """
    share = _in_cells(where, logits)
    wrong = functional.softplus(-logits if is_true else logits)
    return (wrong * share).sum() / (share.sum() + _TINY)


def paint_scores(
    answer: Tensor, truth: Tensor, uncover: Tensor, remove: Tensor, features: nn.Module
) -> dict[str, float]:
    """Score painted crops.

    Args:
        answer: ``(B, 3, R, R)`` in 0..1.
        truth: Likewise.
        uncover: ``(B, 1, R, R)`` 0 or 1, the hand's hidden part.
        remove: Likewise, the other hand.
        features: Gives the features that the perceptual distance compares.

    Returns:
        ``hole_l1`` over both holes, ``uncovered_l1`` and ``removed_l1`` over one, in 0..1;
        ``perceptual`` (:func:`feature_distance` in both holes); ``psnr_db`` of the whole crop,
        mean over crops, at most 60.
    """
    hole = uncover + remove
    mean_square = (answer - truth).square().mean(dim=(1, 2, 3)).clamp(min=1e-12)
    psnr_db = (-10 * mean_square.log10()).clamp(max=_MAX_PSNR_DB)
    with torch.no_grad():
        distance = feature_distance(features(answer), features(truth), hole)
    return {
        "hole_l1": float(l1_in(answer, truth, hole)),
        "uncovered_l1": float(l1_in(answer, truth, uncover)),
        "removed_l1": float(l1_in(answer, truth, remove)),
        "perceptual": float(distance),
        "psnr_db": float(psnr_db.mean()),
    }


class LandmarkFeatures(nn.Module):
    """The shipped landmark net's first layers, frozen.

    Raises:
        WeightsError: The shipped weights are missing.
    """

    def __init__(self) -> None:
        super().__init__()
        net = LandmarkNet()
        load_weights(net, weights_path("landmark"))
        self.stem = net.stem
        self.blocks = nn.ModuleList(list(net.blocks)[: _TRUNK_BLOCKS[-1] + 1])
        self.eval().requires_grad_(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Give features of pictures ``(B, 3, R, R)`` in 0..1, R a multiple of 8, finest first."""
        x = functional.relu6(self.stem(functional.pad(rgb, (0, 1, 0, 1))))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _TRUNK_BLOCKS:
                found.append(x)
        return found


class SqueezeNetFeatures(nn.Module):
    """The first layers of SqueezeNet 1.0, trained on ImageNet, frozen.

    Args:
        path: An ``.npz`` with the original Caffe names (``conv1.weight``,
            ``fire2/conv1x1_1.weight``, ...).

    Raises:
        WeightsError: The file is missing, damaged or holds another net.
    """

    mean: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, 2)
        self.fires = nn.ModuleDict()
        entry = 96
        for name, (narrow, wide) in _FIRES.items():
            parts = {
                "conv1x1_1": nn.Conv2d(entry, narrow, 1),
                "conv1x1_2": nn.Conv2d(narrow, wide, 1),
                "conv3x3_2": nn.Conv2d(narrow, wide, 3, padding=1),
            }
            self.fires[name] = nn.ModuleDict(parts)
            entry = 2 * wide
        names = {
            name: name.removeprefix("fires.").replace(".", "/", int(name.startswith("fires.")))
            for name in self.state_dict()
        }
        values = _read_arrays(
            path, {names[n]: tuple(v.shape) for n, v in self.state_dict().items()}
        )
        self.load_state_dict({name: values[names[name]] for name in names})
        self.register_buffer("mean", torch.tensor(_MEAN_BGR).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Give features of pictures ``(B, 3, R, R)`` in 0..1, R at least 32, finest first."""
        x = functional.relu(self.conv1(rgb.flip(1) * 255 - self.mean))
        found = [x]
        for name, fire in self.fires.items():
            if name in _POOLED:
                x = functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
            parts = dict(fire.named_children())
            narrow = functional.relu(parts["conv1x1_1"](x))
            wide = [parts["conv1x1_2"](narrow), parts["conv3x3_2"](narrow)]
            x = functional.relu(torch.cat(wide, dim=1))
            if name in _COMPARED:
                found.append(x)
        return found


def make_features(path: str | None) -> nn.Module:
    """Make the net whose features are compared: SqueezeNet from a file, or the landmark net.

    Raises:
        WeightsError: The weights cannot be used.
    """
    return LandmarkFeatures() if path is None else SqueezeNetFeatures(Path(path))


def _read_arrays(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(
            f"SqueezeNet weights {path} are missing; give the path of the .npz, or leave features "
            "out for the landmark net's"
        )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in shapes if name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(
            f"SqueezeNet weights {path} cannot be read ({error}); fetch them again"
        ) from error
    for name, shape in shapes.items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            raise WeightsError(
                f"SqueezeNet weights {path} do not fit: {name} is {found}, expected {shape}; give "
                "SqueezeNet 1.0 with its Caffe names"
            )
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in arrays.items()}
