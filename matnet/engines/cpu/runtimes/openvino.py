"""OpenVINO as a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines.cpu.runtimes.base import Runtime, RuntimeSettings
from matnet.errors import EngineError

if TYPE_CHECKING:
    from matnet.formats.onnx import OnnxModel


class OpenVino(Runtime):
    """OpenVINO, in full float32 even if the CPU supports shorter formats."""

    name, title, package = "openvino", "OpenVINO", "openvino"
    install = "install it with `python -m pip install openvino`"
    native_lrn = product_by_columns = True
    shapes = "prefer_static"
    divisions = ("threads",)

    def __init__(self, model: OnnxModel, settings: RuntimeSettings, streams: int = 1) -> None:
        openvino = self.load()
        properties: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": settings.all_threads,
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if not settings.optimize:
            raise EngineError("runtime 'openvino' cannot disable graph optimization; use 'onnxruntime'")
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
        request = self._requests.get()
        try:
            request.infer({name: values[name] for name in self.inputs}, share_inputs=True)
            # Copy, because the request reuses this memory.
            return {name: request.get_tensor(name).data.copy() for name in self.outputs}
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed: {error}") from None
        finally:
            self._requests.put(request)
