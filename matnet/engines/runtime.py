"""Runtimes behind a small interface, a model in, a function from arrays to arrays out; ONNX Runtime's own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from matnet.engines.base import does_not_fit
from matnet.errors import EngineError, nearest

if TYPE_CHECKING:
    from matnet.formats.onnx import OnnxModel

INSTALL = "install it with `python -m pip install onnxruntime`, or use backend 'numpy'"
ALLOCATION = re.compile(r"failed to allocate|bad.?alloc", re.IGNORECASE)  # how ONNX Runtime words a want of memory
LARGEST_INLINE = 1024  # bytes; smaller constants stand in the model itself


RUNTIMES = ("onnxruntime", "openvino", "opencv")
AUTO = "auto"
MODULES = {"opencv": "cv2"}  # where a runtime's module has another name


@dataclass(frozen=True)
class Settings:
    """How models are compiled: the threads (None: all processors), and whether with the runtime's own optimisation."""

    threads: int | None = None
    optimize: bool = True

    @property
    def all_threads(self) -> int:
        """The threads as a number."""
        return self.threads or processors()


class Session(Protocol):
    """A compiled model: called with the inputs by name, gives the outputs by name."""

    native_lrn: bool  # whether the runtime's own LRN is faster than the composed one
    product_as_conv: bool  # whether matrix products that read many weights are faster as convolutions
    product_by_columns: bool  # whether products are faster with the matrix transposed
    sizes: str  # whether it must know all sizes (needed), is faster so (liked), or does not care (open)

    def __init__(self, model: OnnxModel, settings: Settings, streams: int = 1) -> None:
        """`streams` threads may call it at the same time, and share the threads of `settings`."""

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


def available(runtime: str = "onnxruntime") -> bool:
    """Whether a runtime is installed; it is not imported here."""
    from importlib.util import find_spec

    return find_spec(MODULES.get(runtime, runtime)) is not None


def runtime_version(runtime: str) -> str:
    """The version of an installed runtime."""
    return str(import_module(MODULES.get(runtime, runtime)).__version__)


def candidates(runtime: str) -> list[str]:
    """The runtimes that a name stands for; EngineError for a name of none.

    `auto`: all that are installed; `auto:A,B`: of these.
    """
    if runtime == AUTO:
        return [name for name in RUNTIMES if available(name)] or ["onnxruntime"]
    names = runtime.removeprefix(f"{AUTO}:").split(",") if tries_out(runtime) else [runtime]
    for name in names:
        if name not in RUNTIMES:
            known = (AUTO, *RUNTIMES)
            raise EngineError(f"no runtime is called {name!r}{nearest(name, known)}; there is {', '.join(known)}")
    return [name for name in RUNTIMES if name in names]


def tries_out(runtime: str) -> bool:
    """Whether a name asks for the fastest way, which is found by trying."""
    return runtime.partition(":")[0] == AUTO


def session_class(runtime: str) -> type[Session]:
    """The class behind a name of RUNTIMES; EngineError where its package cannot be imported."""
    if runtime == "openvino":
        from matnet.engines.openvino_runtime import OpenVinoSession, import_openvino

        import_openvino()
        return OpenVinoSession
    if runtime == "opencv":
        from matnet.engines.opencv_runtime import OpenCvSession, import_opencv

        import_opencv()
        return OpenCvSession
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

    native_lrn = product_by_columns = False
    sizes = "open"
    product_as_conv = True  # its convolution streams the weights at the memory's full speed, its Gemm does not

    def __init__(self, model: OnnxModel, settings: Settings, streams: int = 1) -> None:
        ort = import_runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, settings.all_threads // streams)
        # For 50 ms after a call its threads would keep the processors from whatever else there is to do.
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
        """The outputs for these inputs; OutOfMemoryError where they do not fit, EngineError for other failures."""
        try:
            results = self._session.run(self.outputs, {name: values[name] for name in self.inputs})
        except _errors() as error:
            if ALLOCATION.search(str(error)):
                raise does_not_fit({name: values[name] for name in self.inputs}, "cpu", error) from None
            raise EngineError(f"ONNX Runtime stopped: {error}") from None
        return dict(zip(self.outputs, results, strict=True))
