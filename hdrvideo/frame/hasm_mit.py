"""HASM in the paper's sizes: a SegFormer encoder with four decoders; needs ``transformers``.

After Meng et al., "3D Interacting Hand Pose Estimation by Hand De-occlusion and Removal" (ECCV
2022), section 3.2, and its released code; the encoder is the Mix Transformer (MiT) of Xie et al.,
"SegFormer" (NeurIPS 2021), table 6. As released, the 1x1 projections of the four stages are shared
and each mask has its own fusion convolution and classifier; the width is 256 for every size.
Departures, with their reasons:

* One logit a mask under binary cross entropy, as the paper says (the released code has a softmax of
  two classes); and the second pair of decoders gives the share of a hand that is not hidden, so
  visible <= whole by construction (see :class:`hdrvideo.frame.hasm.HandMasks`).
* ``GroupNorm`` after the fusion where the paper has ``SyncBN``: no statistics cross pictures, so
  one GPU gives what many give and a batch gives what single pictures give.
* Presence of each hand is an answer of its own, from the mean of the last stage.
* Right before left, as in the paper and everywhere here (the released code has left first).
* The encoder starts at random or from the user's own file; no weights of it are shipped or fetched.
"""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.frame.hasm import new_trust, trust_hints
from hdrvideo.frame.pair import PairHead

# Size: (channels of the stages, layers of the stages); SegFormer, table 6.
SIZES = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
_HEADS = (1, 2, 5, 8)
_REDUCTIONS = (8, 4, 2, 1)
_WIDTH = 256
_NORM_GROUPS = 32
_DROPOUT = 0.1
_DROP_PATH = 0.1
# ImageNet's, which published encoders were trained with.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_OLDEST_TRANSFORMERS = "5.10.1"
# Names in files (those of the first published encoders) to names of the module.
_RENAMES = (
    (r"^segformer\.", ""),
    (r"^encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
    (r"^encoder\.block\.(\d+)\.", r"stages.\1.blocks."),
    (r"^encoder\.layer_norm\.(\d+)\.", r"stages.\1.layer_norm."),
    (r"\.attention\.self\.query\.", ".attention.q_proj."),
    (r"\.attention\.self\.key\.", ".attention.k_proj."),
    (r"\.attention\.self\.value\.", ".attention.v_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense(\d)\.", r".mlp.fc\1."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
)
# What published files hold beside the encoder.
_OTHER_HEADS = ("classifier.", "decode_head.")


class _Decoder(nn.Module):
    """One mask: fuse the four projected stages, normalise, one logit a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.fuse = nn.Conv2d(4 * _WIDTH, _WIDTH, 1, bias=False)
        self.norm = nn.GroupNorm(_NORM_GROUPS, _WIDTH)
        # Whole channels at a time, as in the released code.
        self.dropout = nn.Dropout2d(_DROPOUT)
        self.logit = nn.Conv2d(_WIDTH, 1, 1)

    def forward(self, stages: Tensor) -> Tensor:
        fused = functional.relu(self.norm(self.fuse(stages)))
        out: Tensor = self.logit(self.dropout(fused))
        return out


class HasmMit(nn.Module):
    """The paper's HASM; the same interface as :class:`hdrvideo.frame.hasm.HasmNet`.

    Args:
        size: ``b0`` (4.7 million parameters, joints among them), ``b1`` (14.7) or ``b5`` (83.0,
            the paper's encoder).

    Raises:
        SettingsError: The size is unknown, or ``transformers`` is missing or too old.
    """

    RESOLUTION_PX = 256
    CHANNELS = 6
    STRIDE = 2
    mean: Tensor
    std: Tensor

    def __init__(self, size: str = "b0") -> None:
        super().__init__()
        if size not in SIZES:
            raise SettingsError(f"HasmMit size is {size!r}, expected one of {', '.join(SIZES)}")
        channels, _ = SIZES[size]
        self.encoder = _random_encoder(size)
        self.project = nn.ModuleList(nn.Conv2d(c, _WIDTH, 1) for c in channels)
        # Whole right, whole left, share right, share left.
        self.decoders = nn.ModuleList(_Decoder() for _ in range(4))
        self.presence = nn.Linear(channels[-1], 2)
        self.pair = PairHead(_WIDTH, channels[-1])
        # Hints (see frame/hasm.py) join the first stage, and shift the odds of their own pixels.
        self.hint = nn.Conv2d(3, _WIDTH, 1)
        self.trust = new_trust()
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    @classmethod
    def from_pretrained_encoder(cls, folder: Path, *, size: str = "b0") -> "HasmMit":
        """Build the net around an encoder that the user has on disk; the rest is random.

        Args:
            folder: Holds ``model.safetensors`` with a MiT encoder as ``transformers`` saves it,
                with or without a classifier or SegFormer decoder, which are left out.
            size: As of the class.

        Raises:
            WeightsError: The file is missing, damaged, or not an encoder of this size.
            SettingsError: As of the class.
        """
        net = cls(size)
        _load_encoder(net.encoder, folder / "model.safetensors", size)
        return net

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Segment pictures.

        Args:
            pictures: ``(B, 6, R, R)``, R a multiple of 32: RGB in 0..1 and hints, as of
                :meth:`hdrvideo.frame.hasm.HasmNet.forward`.

        Returns:
            Whole, share ``(B, 2, R/2, R/2)`` and presence ``(B, 2)`` logits; then the five of
            :class:`~hdrvideo.frame.pair.PairMaps`, R/4 wide.
        """
        rgb, hints = pictures[:, :3], pictures[:, 3:]
        stages = self.encoder((rgb - self.mean) / self.std, output_hidden_states=True).hidden_states
        shared = [project(stage) for project, stage in zip(self.project, stages, strict=True)]
        shared[0] = shared[0] + self.hint(functional.avg_pool2d(hints, 4))
        wide = torch.cat([shared[0], *(_resize(s, shared[0].shape[-1]) for s in shared[1:])], dim=1)
        masks = torch.cat([decoder(wide) for decoder in self.decoders], dim=1)
        masks = _resize(masks, rgb.shape[-1] // self.STRIDE)
        whole = trust_hints(masks[:, :2], hints, self.trust)
        summary = stages[-1].mean(dim=(2, 3))
        # The sum of the stages: all that the masks see, at a quarter of its channels.
        seen = torch.stack([_resize(s, shared[0].shape[-1]) for s in shared]).sum(dim=0)
        return whole, masks[:, 2:], self.presence(summary), *self.pair(seen, summary)


def _resize(maps: Tensor, side_px: int) -> Tensor:
    return functional.interpolate(
        maps, size=(side_px, side_px), mode="bilinear", align_corners=False
    )


def _random_encoder(size: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SettingsError(
            f"the net mit_{size} needs transformers, which is not installed; "
            'pip install "hdrvideo[train]"'
        ) from error
    channels, layers = SIZES[size]
    config = transformers.SegformerConfig(
        hidden_sizes=channels,
        depths=layers,
        num_attention_heads=_HEADS,
        sr_ratios=_REDUCTIONS,
        mlp_ratios=(4, 4, 4, 4),
        drop_path_rate=_DROP_PATH,
    )
    encoder = transformers.SegformerModel(config)
    # Older releases name the parameters otherwise: checkpoints would not fit one another.
    if not hasattr(encoder, "stages"):
        raise SettingsError(
            f"the net mit_{size} needs transformers {_OLDEST_TRANSFORMERS} or newer, found "
            f'{transformers.__version__}; pip install --upgrade "hdrvideo[train]"'
        )
    return encoder


def _load_encoder(encoder: nn.Module, path: Path, size: str) -> None:
    if not path.is_file():
        raise WeightsError(
            f"encoder weights {path} are missing; give a folder with model.safetensors "
            "(a .bin file can be saved again with transformers' save_pretrained)"
        )
    try:
        values = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"encoder weights {path} cannot be read ({error})") from error
    values = {
        _module_name(n): v.float() for n, v in values.items() if not n.startswith(_OTHER_HEADS)
    }
    wanted = encoder.state_dict()
    misfit = f"encoder weights {path} do not fit mit_{size}: "
    for name in sorted(set(wanted) ^ set(values)):
        where = "file" if name in wanted else "net"
        raise WeightsError(f"{misfit}{name} is not in the {where}; check net.size")
    for name, value in values.items():
        if value.shape != wanted[name].shape:
            raise WeightsError(
                f"{misfit}{name} is {tuple(value.shape)}, expected {tuple(wanted[name].shape)}; "
                "check net.size"
            )
    encoder.load_state_dict(values)


def _module_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
