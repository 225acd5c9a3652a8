"""Engines: what runs a net on a CPU. Plain torch always works; OpenVINO is about twice as fast.

A net comes in as a torch module and goes out as a callable of the same signature, so nothing else
knows which engine runs. On CUDA there is only torch.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hdrvideo.errors import SettingsError

Net = Callable[[Tensor], Any]


def pick_engine(name: str, device: torch.device) -> str:
    """Turn ``auto``, ``torch`` or ``openvino`` into the engine to use on a device.

    Raises:
        SettingsError: OpenVINO was asked for and is not installed, or not on a CPU.
    """
    has_openvino = importlib.util.find_spec("openvino") is not None
    if name == "openvino" and device.type != "cpu":
        raise SettingsError(f"engine 'openvino' runs on the CPU, not on {device}; use 'auto'")
    if name == "openvino" and not has_openvino:
        raise SettingsError(
            "engine 'openvino' is not installed; pip install openvino, or use 'auto'"
        )
    if name == "auto":
        return "openvino" if has_openvino and device.type == "cpu" else "torch"
    return name


def make_runner(net: nn.Module, engine: str, *, resolution_px: int, n_channels: int = 3) -> Net:
    """Give a callable that runs a net of square RGB pictures.

    Args:
        net: A net in evaluation mode that takes ``(B, C, R, R)`` and gives a tuple of tensors.
        engine: ``torch`` or ``openvino``.
        resolution_px: R.
        n_channels: C.
    """
    if engine != "openvino":
        return net
    return OpenVinoRunner(net, resolution_px=resolution_px, n_channels=n_channels)


class OpenVinoRunner:
    """A torch net compiled by OpenVINO for this CPU, in float32; any batch size."""

    def __init__(self, net: nn.Module, *, resolution_px: int, n_channels: int = 3) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
        from openvino.preprocess import PrePostProcessor

        example = torch.zeros(1, n_channels, resolution_px, resolution_px)
        # The frontend is called directly: openvino.convert_model reports its use over the network.
        with torch.no_grad(), warnings.catch_warnings():
            # The frontend reads TorchScript, which torch calls deprecated; our torch is bounded.
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.freeze(
                torch.jit.trace(net, example, check_trace=False)  # type: ignore[no-untyped-call]
            )
            decoder = TorchScriptPythonDecoder(traced, example_input=(example,))
            frontend = FrontEndManager().load_by_framework("pytorch")
            loaded = frontend.load(decoder)
            # Without a type a picture times a number has none either, and cannot be run.
            loaded.set_element_type(loaded.get_inputs()[0], openvino.Type.f32)
            model = frontend.convert(loaded)
        shape = openvino.PartialShape([-1, n_channels, resolution_px, resolution_px])
        model.reshape({model.inputs[0]: shape})
        # Crops come channels last; OpenVINO takes them so and saves a copy.
        steps = PrePostProcessor(model)
        steps.input().tensor().set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        model = steps.build()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
        }
        self._request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
        self._n_outputs = len(model.outputs)

    def __call__(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Run the net on ``(B, C, R, R)``."""
        self._request.infer({0: np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy())})
        outputs = (self._request.get_output_tensor(i).data for i in range(self._n_outputs))
        return tuple(torch.from_numpy(values.copy()) for values in outputs)
