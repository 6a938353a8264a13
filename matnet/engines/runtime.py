"""Runtimes behind a small interface, a model in, a function from arrays to arrays out; ONNX Runtime's own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from matnet.engines.base import does_not_fit
from matnet.errors import EngineError, nearest

if TYPE_CHECKING:
    from matnet.formats.onnx import OnnxModel

INSTALL = "install it with `python -m pip install onnxruntime`, or use backend 'numpy'"
ALLOCATION = re.compile(r"failed to allocate|bad.?alloc", re.IGNORECASE)  # how ONNX Runtime words a want of memory
LARGEST_INLINE = 1024  # bytes; smaller constants stand in the model itself


RUNTIMES = ("onnxruntime", "openvino")  # each the name of its package


class Session(Protocol):
    """A compiled model: called with the inputs by name, gives the outputs by name."""

    native_lrn: bool  # whether the runtime's own LRN is faster than the composed one

    def __init__(self, model: OnnxModel, threads: int | None = None, optimize: bool = True) -> None: ...

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


def available(runtime: str = "onnxruntime") -> bool:
    """Whether a runtime is installed; it is not imported here."""
    from importlib.util import find_spec

    return find_spec(runtime) is not None


def candidates(runtime: str) -> list[str]:
    """The runtimes that a name stands for: `auto` all that are installed; EngineError for a name of none."""
    if runtime == "auto":
        return [name for name in RUNTIMES if available(name)] or ["onnxruntime"]
    if runtime not in RUNTIMES:
        known = ("auto", *RUNTIMES)
        raise EngineError(f"no runtime is called {runtime!r}{nearest(runtime, known)}; there is {', '.join(known)}")
    return [runtime]


def session_class(runtime: str) -> type[Session]:
    """The class behind a name of RUNTIMES; EngineError where its package cannot be imported."""
    if runtime == "openvino":
        from matnet.engines.openvino_runtime import OpenVinoSession, import_openvino

        import_openvino()
        return OpenVinoSession
    import_runtime()
    return OnnxRuntimeSession


def import_runtime() -> Any:
    """The onnxruntime module; EngineError where it is missing or cannot be loaded."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"backend 'onnx' needs onnxruntime ({error}); {INSTALL}") from None
    return onnxruntime


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


class OnnxRuntimeSession:
    """One compiled model on the CPU. Large weights are handed over as arrays, not inside the serialised model."""

    native_lrn = False

    def __init__(self, model: OnnxModel, threads: int | None = None, optimize: bool = True) -> None:
        ort = import_runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or processors()
        options.log_severity_level = 3  # errors only
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
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
        """The outputs for these inputs; OutOfMemoryError where they do not fit, EngineError for other failures."""
        try:
            results = self._session.run(self.outputs, {name: values[name] for name in self.inputs})
        except _errors() as error:
            if ALLOCATION.search(str(error)):
                raise does_not_fit({name: values[name] for name in self.inputs}, "cpu", error) from None
            raise EngineError(f"ONNX Runtime stopped: {error}") from None
        return dict(zip(self.outputs, results, strict=True))
