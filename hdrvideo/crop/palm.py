"""The palm detector: a net over one square picture, its anchors, and non-maximum suppression.

MediaPipe's palm detector (Apache-2.0, converted by ``scripts/convert_mediapipe.py``; Zhang et al.
2020, section 2.1) rebuilt as a plain torch module; structure read from the published graph.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hdrvideo.blocks import PalmTrunk
from hdrvideo.datatypes import check_array

N_ANCHORS = 2016
N_VALUES = 18
N_KEYPOINTS = 7


class PalmNet(PalmTrunk):
    """Palm detector (full size): a 192 px picture to 2016 anchors of one score and 18 values."""

    RESOLUTION_PX = 192

    def __init__(self) -> None:
        super().__init__()
        self.score12 = nn.Conv2d(256, 6, 1)
        self.values12 = nn.Conv2d(256, 6 * N_VALUES, 1)
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
        *_, top12, top24 = self.features(rgb)
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
