"""OpenVINO behind the same interface as ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines.runtime import Settings
from matnet.errors import EngineError

if TYPE_CHECKING:
    from matnet.formats.onnx import OnnxModel


def import_openvino() -> Any:
    """The openvino module; EngineError where it is missing or cannot be loaded."""
    try:
        import openvino
    except ImportError as error:
        raise EngineError(
            f"runtime 'openvino' needs openvino ({error}); install it with `python -m pip install openvino`"
        ) from None
    return openvino


class OpenVinoSession:
    """One compiled model on the CPU, in full float32 also where the processor has shorter formats."""

    native_lrn = product_by_columns = True
    sizes = "liked"
    product_as_conv = False

    def __init__(self, model: OnnxModel, settings: Settings, streams: int = 1) -> None:
        openvino = import_openvino()
        properties: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": settings.all_threads,
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if not settings.optimize:
            raise EngineError("runtime 'openvino' cannot leave its graph optimisation out; use 'onnxruntime'")
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(model=model.to_bytes()), "CPU", properties)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO {openvino.__version__} cannot compile this network: {error}") from None
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())
        self.inputs, self.outputs = list(model.inputs), list(model.outputs)

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for these inputs; EngineError where the runtime gives up."""
        request = self._requests.get()
        try:
            request.infer({name: values[name] for name in self.inputs}, share_inputs=True)
            # Copies: the request writes the next results to the same memory.
            return {name: request.get_tensor(name).data.copy() for name in self.outputs}
        except RuntimeError as error:
            raise EngineError(f"OpenVINO stopped: {error}") from None
        finally:
            self._requests.put(request)
