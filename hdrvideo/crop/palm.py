"""The palm detector: a net over one square picture, its anchors, and non-maximum suppression.

MediaPipe's palm detector (Apache-2.0, converted by ``scripts/convert_mediapipe.py``; Zhang et al.
2020, section 2.1) rebuilt as a plain torch module; structure read from the published graph.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.datatypes import check_array

N_ANCHORS = 2016
N_VALUES = 18
N_KEYPOINTS = 7


class _Separable(nn.Module):
    """Depthwise 5x5, 1x1, residual, PReLU; with stride 2 the residual is max-pooled and widened."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.widen = channels_out - channels_in
        padding = 2 if stride == 1 else 0
        self.depthwise = nn.Conv2d(channels_in, channels_in, 5, stride, padding, groups=channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        if self.stride == 2:
            residual = functional.max_pool2d(x, 2)
            x = functional.pad(x, (1, 2, 1, 2))
        if self.widen:
            residual = functional.pad(residual, (0, 0, 0, 0, 0, self.widen))
        out: Tensor = self.activation(self.pointwise(self.depthwise(x)) + residual)
        return out


class _Up(nn.Module):
    """Twice as large (bilinear), 1x1, PReLU, plus the skip of the same size."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)
        self.activation = nn.PReLU(channels_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # A 1x1 convolution and a bilinear resize commute: convolving first is four times cheaper.
        small = self.pointwise(x)
        large = functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = skip + self.activation(large)
        return out


class PalmNet(nn.Module):
    """Palm detector (full size): a 192 px picture to 2016 anchors of one score and 18 values."""

    RESOLUTION_PX = 192

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 5, 2), nn.PReLU(32))
        self.level96 = nn.Sequential(*(_Separable(32, 32) for _ in range(4)))
        self.level48 = nn.Sequential(_Separable(32, 64, 2), *(_Separable(64, 64) for _ in range(4)))
        self.level24 = nn.Sequential(
            _Separable(64, 128, 2), *(_Separable(128, 128) for _ in range(4))
        )
        self.level12 = nn.Sequential(
            _Separable(128, 256, 2), *(_Separable(256, 256) for _ in range(4))
        )
        self.level6 = nn.Sequential(
            _Separable(256, 256, 2), *(_Separable(256, 256) for _ in range(4))
        )
        self.up12 = _Up(256, 256)
        self.top12 = nn.Sequential(*(_Separable(256, 256) for _ in range(2)))
        self.score12 = nn.Conv2d(256, 6, 1)
        self.values12 = nn.Conv2d(256, 6 * N_VALUES, 1)
        self.up24 = _Up(256, 128)
        self.top24 = nn.Sequential(*(_Separable(128, 128) for _ in range(2)))
        self.score24 = nn.Conv2d(128, 2, 1)
        self.values24 = nn.Conv2d(128, 2 * N_VALUES, 1)

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Score every anchor.

        Args:
            rgb: ``(B, 3, 192, 192)`` in 0..1.

        Returns:
            Logits ``(B, 2016)`` and values ``(B, 2016, 18)`` in pixels of the 192 px picture,
            relative to the anchor: centre u, v, width, height, then 7 keypoints u, v.
        """
        x = self.stem(functional.pad(rgb, (1, 2, 1, 2)))
        skip24 = self.level24(self.level48(self.level96(x)))
        skip12 = self.level12(skip24)
        top12 = self.top12(self.up12(self.level6(skip12), skip12))
        top24 = self.top24(self.up24(top12, skip24))
        scores = [_flat(self.score24(top24), 1), _flat(self.score12(top12), 1)]
        values = [_flat(self.values24(top24), N_VALUES), _flat(self.values12(top12), N_VALUES)]
        return torch.cat(scores, dim=1).squeeze(2), torch.cat(values, dim=1)


def _flat(cells: Tensor, n_values: int) -> Tensor:
    b = cells.shape[0]
    return cells.permute(0, 2, 3, 1).reshape(b, -1, n_values)


def anchor_centres() -> Tensor:
    """Give the ``(2016, 2)`` anchor centres in 0..1 of the square picture: 2, then 6 a cell."""
    parts = []
    for cells, per_cell in ((24, 2), (12, 6)):
        middle = (torch.arange(cells) + 0.5) / cells
        v, u = torch.meshgrid(middle, middle, indexing="ij")
        parts.append(torch.stack([u, v], dim=-1).reshape(-1, 1, 2).expand(-1, per_cell, 2))
    return torch.cat([p.reshape(-1, 2) for p in parts])


@dataclass(frozen=True)
class Palms:
    """Palms of one square picture, best first, in 0..1 of its side (corner at 0).

    Attributes:
        score: ``(N,)`` float32 in 0..1.
        box: ``(N, 4)`` float32: u0, v0, u1, v1.
        keypoints: ``(N, 7, 2)`` float32: wrist, knuckles of index, middle, ring, little, thumb's
            base and first joint.
    """

    score: Tensor
    box: Tensor
    keypoints: Tensor

    def __post_init__(self) -> None:
        n = len(self.score)
        check_array("score", self.score, (n,), "float32")
        check_array("box", self.box, (n, 4), "float32")
        check_array("keypoints", self.keypoints, (n, N_KEYPOINTS, 2), "float32")


def decode_palms(logits: Tensor, values: Tensor, *, min_score: float) -> list[Palms]:
    """Turn the net's output into palms, a list per picture.

    Overlapping candidates are averaged by score (the weighted suppression of Zhang et al. 2020)
    rather than dropped: it keeps the box steadier from frame to frame.

    Args:
        logits: ``(B, 2016)``.
        values: ``(B, 2016, 18)``.
        min_score: Candidates below it are ignored, 0..1.

    Returns:
        ``B`` :class:`Palms`.
    """
    scores = torch.sigmoid(logits.clamp(-100, 100)).cpu()
    values = values.cpu() / PalmNet.RESOLUTION_PX
    centres = anchor_centres()
    return [
        _suppress(s[keep], v[keep], centres[keep])
        for s, v in zip(scores, values, strict=True)
        for keep in [torch.nonzero(s >= min_score).squeeze(1)]
    ]


def _suppress(score: Tensor, values: Tensor, centres: Tensor, max_iou: float = 0.3) -> Palms:
    middle = values[:, :2] + centres
    box = torch.cat([middle - values[:, 2:4] / 2, middle + values[:, 2:4] / 2], dim=1)
    keypoints = values[:, 4:].reshape(-1, N_KEYPOINTS, 2) + centres[:, None]
    coords = torch.cat([box, keypoints.flatten(1)], dim=1)
    order = torch.argsort(score, descending=True)
    kept_score, kept = [], []
    while len(order):
        iou = _iou(box[order[:1]], box[order])
        same = iou > max_iou
        same[0] = True  # a degenerate box has no overlap even with itself
        group = order[same]
        weight = score[group] / score[group].sum()
        kept.append((coords[group] * weight[:, None]).sum(dim=0))
        kept_score.append(score[group[0]])
        order = order[~same]
    if not kept:
        return Palms(torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, N_KEYPOINTS, 2))
    merged = torch.stack(kept)
    return Palms(torch.stack(kept_score), merged[:, :4], merged[:, 4:].reshape(-1, N_KEYPOINTS, 2))


def _iou(one: Tensor, many: Tensor) -> Tensor:
    overlap = torch.minimum(one[:, 2:], many[:, 2:]) - torch.maximum(one[:, :2], many[:, :2])
    inter = overlap.clamp(min=0).prod(dim=1)
    areas = (one[:, 2:] - one[:, :2]).clamp(min=0).prod(dim=1)
    areas = areas + (many[:, 2:] - many[:, :2]).clamp(min=0).prod(dim=1) - inter
    return inter / areas.clamp(min=1e-12)
