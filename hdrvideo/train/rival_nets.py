"""Makes the rivals that are to be trained, as a settings file says."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hdrvideo.checkpoint import load_weights
from hdrvideo.errors import SettingsError
from hdrvideo.rivals import human_deocclusion, pcnet_content, pcnet_mask


def make_pcnet_mask(values: dict[str, Any]) -> nn.Module:
    """Make a PCNet-M; see :func:`make_rival`."""
    return make_rival(values, pcnet_mask.SIZES, pcnet_mask.PcnetMaskNet)


def make_pcnet_content(values: dict[str, Any]) -> nn.Module:
    """Make a PCNet-C; see :func:`make_rival`."""
    return make_rival(values, pcnet_content.SIZES, pcnet_content.PcnetContentNet)


def make_human_deocclusion(values: dict[str, Any]) -> nn.Module:
    """Make both nets of Human De-occlusion; see :func:`make_rival`."""
    return make_rival(values, human_deocclusion.SIZES, human_deocclusion.HumanDeocclusion)


def make_rival(
    values: dict[str, Any], sizes: Mapping[str, Any], make: Callable[[Any], nn.Module]
) -> nn.Module:
    """Make a net.

    Args:
        values: ``size``: ``small`` or ``paper``; ``start``: the weights of a trained net of this
            kind, or ``none``.
        sizes: By their names.
        make: Makes a net of a size.

    Raises:
        SettingsError: A key or a value is unknown.
        WeightsError: The start is missing or damaged, or does not fit.
    """
    expected = f"expected size: {' | '.join(sizes)} and start: FILE | none"
    if not isinstance(values, dict) or set(values) - {"size", "start"}:
        raise SettingsError(f"net is {values!r}, {expected}")
    size, start = values.get("size", "small"), values.get("start") or "none"
    if size not in sizes or not isinstance(start, str):
        raise SettingsError(f"net is {values!r}, {expected}")
    net = make(sizes[size])
    if start != "none":
        load_weights(net, Path(start))
    return net
