"""OpenCV's dnn behind the same interface as ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.engines.base import does_not_fit
from matnet.engines.runtime import Settings
from matnet.errors import EngineError

if TYPE_CHECKING:
    from matnet.formats.onnx import OnnxModel

OUT_OF_MEMORY = -4  # cv::Error::StsNoMem
SILENT = 0  # of OpenCV's log: the fault is in the exception too


def import_opencv() -> Any:
    """The cv2 module; EngineError where it or its dnn part is missing or cannot be loaded."""
    try:
        import cv2
        import cv2.dnn
    except ImportError as error:
        raise EngineError(
            f"runtime 'opencv' needs OpenCV ({error}); install it with `python -m pip install opencv-python-headless`"
        ) from None
    return cv2


class OpenCvSession:
    """One compiled model on the CPU, for fixed sizes and one output.

    Versions below 5 compute 3 x 3 convolutions by Winograd's algorithm, with differences of up to 2e-4.
    """

    native_lrn = True
    product_as_conv = product_by_columns = False
    sizes = "needed"

    def __init__(self, model: OnnxModel, settings: Settings, streams: int = 1) -> None:
        self._cv2 = import_opencv()
        if not settings.optimize:
            raise EngineError("runtime 'opencv' cannot leave its optimisation out; use 'onnxruntime'")
        if len(model.outputs) != 1:
            raise EngineError(f"runtime 'opencv' gives one output, not {len(model.outputs)}; use 'onnxruntime'")
        if hasattr(self._cv2, "setLogLevel"):
            self._cv2.setLogLevel(SILENT)
        try:
            self._net = self._cv2.dnn.readNetFromONNX(np.frombuffer(model.to_bytes(), np.uint8))
        except self._cv2.error as error:
            raise EngineError(f"OpenCV {self._cv2.__version__} cannot read this network: {_told(error)}") from None
        self._threads = settings.all_threads
        self.inputs, ((self.output, self._shape),) = list(model.inputs), model.outputs.items()

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The output for these inputs; OutOfMemoryError where they do not fit, EngineError for other failures."""
        self._cv2.setNumThreads(self._threads)  # one number for the whole process
        try:
            for name in self.inputs:
                self._net.setInput(values[name], name)
            result = self._net.forward()
        except self._cv2.error as error:
            if getattr(error, "code", 0) == OUT_OF_MEMORY:
                raise does_not_fit({name: values[name] for name in self.inputs}, "cpu", error) from None
            raise EngineError(f"OpenCV stopped: {_told(error)}") from None
        # A copy: the network writes the next result to the same memory.
        return {self.output: np.array(result, np.float32).reshape([int(length) for length in self._shape])}


def _told(error: Exception) -> str:
    """The text of OpenCV's exception in one line."""
    return " ".join(str(error).split())[:300]
