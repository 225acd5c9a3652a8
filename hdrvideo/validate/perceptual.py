"""A perceptual distance by the features of a fixed net: SqueezeNet 1.0 trained on ImageNet.

The project ships no such net: give the path of an ``.npz`` with the original Caffe names
(``conv1.weight``, ``fire2/conv1x1_1.weight``, ...). Zhang et al., "The Unreasonable Effectiveness
of Deep Features" (2018), in its version *without* learned channel weights: features of unit length,
squared difference. Not LPIPS, and not comparable with its numbers.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdrvideo.datatypes import check_array
from hdrvideo.errors import WeightsError

# Fire module: squeezed channels, then channels of each of the two expansions.
_FIRES: Final = {
    "fire2": (16, 64), "fire3": (16, 64), "fire4": (32, 128), "fire5": (32, 128),
    "fire6": (48, 192), "fire7": (48, 192), "fire8": (64, 256), "fire9": (64, 256),
}  # fmt: skip
# Before these the net halves its features; after those with the most detail of each size we look.
_POOLED: Final = ("fire2", "fire5", "fire9")
_COMPARED: Final = ("conv1", "fire3", "fire4", "fire6", "fire8", "fire9")
_MEAN_BGR: Final = (104.0, 117.0, 123.0)
# Below this a region has no place in the coarsest features.
MIN_SIDE_PX: Final = 64


class SqueezeNetDistance:
    """Distance of pictures in a region, by the features of SqueezeNet 1.0.

    Args:
        path: The net's ``.npz``.
        device: Where to compute.

    Raises:
        WeightsError: The file is missing, damaged or holds another net.
    """

    def __init__(self, path: Path | str, *, device: str | torch.device = "cpu") -> None:
        self._weights = {k: v.to(device) for k, v in _read(Path(path)).items()}
        self._mean = torch.tensor(_MEAN_BGR, device=device)[:, None, None]

    def __call__(self, predicted: Tensor, true: Tensor, region: Tensor) -> Tensor:
        """Give the distance of each pair.

        Args:
            predicted: ``(B, 3, H, W)`` float32 RGB in 0..1, at least 64 x 64.
            true: Likewise.
            region: ``(B, R, H, W)`` bool, where to compare, R regions a pair; features see what
                lies around them too.

        Returns:
            ``(B, R)``, 0 = equal; at most 2. NaN for an empty region.

        Raises:
            ShapeError: The shapes do not fit.
        """
        b, _, h, w = predicted.shape
        check_array("predicted", predicted, (b, 3, max(h, MIN_SIDE_PX), max(w, MIN_SIDE_PX)), "")
        check_array("true", true, (b, 3, h, w), "")
        check_array("region", region, (b, None, h, w), "bool")
        weight = region.to(predicted)
        total = predicted.new_zeros(weight.shape[:2])
        with torch.inference_mode():
            for x, y in zip(self.features(predicted), self.features(true), strict=True):
                unlike = (_unit(x) - _unit(y)).square().sum(dim=1, keepdim=True)
                _, _, rows, columns = unlike.shape
                share = functional.adaptive_avg_pool2d(weight, (rows, columns))
                total = total + (unlike * share).sum(dim=(2, 3)) / share.sum(dim=(2, 3))
        return total / len(_COMPARED)

    def features(self, rgb: Tensor) -> list[Tensor]:
        """Give the compared features of pictures ``(B, 3, H, W)`` in 0..1, finest first."""
        x = rgb.flip(1) * 255 - self._mean
        x = functional.conv2d(
            x, self._weights["conv1.weight"], self._weights["conv1.bias"], stride=2
        )
        found = {"conv1": x.relu()}
        x = found["conv1"]
        for name in _FIRES:
            if name in _POOLED:
                x = functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
            x = self._fire(name, x)
            found[name] = x
        return [found[name] for name in _COMPARED]

    def _fire(self, name: str, x: Tensor) -> Tensor:
        def conv(part: str, x: Tensor, padding: int = 0) -> Tensor:
            weight, bias = (self._weights[f"{name}/{part}.{k}"] for k in ("weight", "bias"))
            return functional.conv2d(x, weight, bias, padding=padding).relu()

        x = conv("conv1x1_1", x)
        return torch.cat([conv("conv1x1_2", x), conv("conv3x3_2", x, padding=1)], dim=1)


def _unit(features: Tensor) -> Tensor:
    return functional.normalize(features, dim=1, eps=1e-6)


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """Give the names and shapes of the weights that are read from the file."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (96, 3, 7, 7)}
    entry = 96
    for name, (narrow, wide) in _FIRES.items():
        shapes[f"{name}/conv1x1_1.weight"] = (narrow, entry, 1, 1)
        shapes[f"{name}/conv1x1_2.weight"] = (wide, narrow, 1, 1)
        shapes[f"{name}/conv3x3_2.weight"] = (wide, narrow, 3, 3)
        entry = 2 * wide
    biases = {k.replace(".weight", ".bias"): shape[:1] for k, shape in shapes.items()}
    return shapes | biases


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"no SqueezeNet weights at {path}; give the path of the .npz")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            # The classifier (conv_final) may be there; nothing here needs it.
            arrays = {name: file[name] for name in weight_shapes() if name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"SqueezeNet weights {path} cannot be read ({error})") from error
    for name, shape in weight_shapes().items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            raise WeightsError(
                f"SqueezeNet weights {path} do not fit: {name} is {found}, expected {shape}; "
                "give SqueezeNet 1.0 with its Caffe names"
            )
    return {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}
