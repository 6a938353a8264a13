"""ONNX Runtime, the default runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines.base import does_not_fit
from matnet.engines.cpu.runtimes.base import Runtime, RuntimeSettings
from matnet.errors import EngineError

if TYPE_CHECKING:
    from matnet.formats.onnx import OnnxModel

ALLOCATION = re.compile(r"failed to allocate|bad.?alloc", re.IGNORECASE)  # in ONNX Runtime's errors: out of memory
LARGEST_INLINE = 1024  # bytes; larger constants are passed as arrays


class OnnxRuntime(Runtime):
    """ONNX Runtime. Large weights are passed as arrays, not inside the serialized model."""

    name, title, package = "onnxruntime", "ONNX Runtime", "onnxruntime"
    install = "install it with `python -m pip install onnxruntime`, or use backend 'numpy'"
    product_as_conv = True  # unlike Gemm, its convolution reads weights at full memory bandwidth

    def __init__(self, model: OnnxModel, settings: RuntimeSettings, streams: int = 1) -> None:
        ort = self.load()
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, settings.all_threads // streams)
        # By default, its threads spin for 50 ms after a call and block the processors.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3  # errors only
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if settings.optimize else levels.ORT_DISABLE_ALL
        weights = {
            name: constant.contiguous()
            for name, constant in model.constants.items()
            if constant.array.nbytes > LARGEST_INLINE and constant.array.dtype == np.float32
        }
        if weights:
            values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), values)
        places = {name: {"location": "memory", "length": str(array.nbytes)} for name, array in weights.items()}
        coded = b"".join(model.message(places).chunks())
        try:
            self._session = ort.InferenceSession(coded, options, providers=["CPUExecutionProvider"])
        except _errors() as error:
            raise EngineError(f"ONNX Runtime {ort.__version__} cannot compile this network: {error}") from None
        self.inputs, self.outputs = list(model.inputs), list(model.outputs)

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            results = self._session.run(self.outputs, {name: values[name] for name in self.inputs})
        except _errors() as error:
            if ALLOCATION.search(str(error)):
                raise does_not_fit({name: values[name] for name in self.inputs}, "cpu", error) from None
            raise EngineError(f"ONNX Runtime failed: {error}") from None
        return dict(zip(self.outputs, results, strict=True))


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which have no common base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found: dict[str, Any] = vars(state)
    return tuple(kind for kind in found.values() if isinstance(kind, type) and issubclass(kind, Exception))
