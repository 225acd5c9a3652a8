"""The frame core's recipe: SHPE reads what HDRM has painted, so that it knows its mistakes.

HDR (Meng et al., ECCV 2022, section 3.4) trains SHPE with HDRM in front of it. Here HDRM stays as
it is: its own lessons ask for pictures, and two cores train one net at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.errors import SettingsError
from hdrvideo.frame.hdrm import SIZES, HdrmNet
from hdrvideo.frame.painter import Hdrm
from hdrvideo.train.shpe_recipe import ShpeRecipe, ShpeTask


@dataclass(frozen=True)
class FrameRecipe(ShpeRecipe):
    """How SHPE is taught behind HDRM.

    Attributes:
        hdrm: Weights of the HDRM that paints; None = those that are shipped.
        hdrm_size: Its size: ``small`` or ``paper``.
    """

    hdrm: str | None = None
    hdrm_size: str = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.hdrm, str | None):
            raise SettingsError(f"hdrm is {self.hdrm!r}, expected a file of weights or null")
        if self.hdrm_size not in SIZES:
            raise SettingsError(f"hdrm_size is {self.hdrm_size!r}, expected {' or '.join(SIZES)}")


class FrameTask(ShpeTask):
    """Lessons for SHPE behind HDRM; see :class:`hdrvideo.train.loop.Task`."""

    def __init__(
        self, net: nn.Module, recipe: FrameRecipe, *, made_as: Mapping[str, Any] | None = None
    ) -> None:
        """Read HDRM's weights and all data; see :class:`ShpeTask`.

        Raises:
            WeightsError: HDRM's weights are missing or damaged, or of another size.
        """
        painter = HdrmNet(SIZES[recipe.hdrm_size])
        path = weights_path("hdrm") if recipe.hdrm is None else Path(recipe.hdrm)
        load_weights(painter, path)
        self._hdrm = Hdrm(
            painter.eval().requires_grad_(requires_grad=False),
            resolution_px=painter.size.resolution_px,
            device=torch.device("cpu"),
        )
        super().__init__(net, recipe, made_as=made_as, paint=self._bare)

    def _bare(self, rgb: Tensor, masks: Tensor) -> Tensor:
        return self._hdrm(rgb, masks).rgb
