"""The GPU engine: a network on one GPU, numpy arrays in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matnet.engines.base import Engine
from matnet.engines.cupy.probe import find_gpu, import_cupy
from matnet.engines.cupy.simple import LayerByLayer
from matnet.engines.device import Device
from matnet.engines.numpy_engine import refuse_unknown
from matnet.errors import EngineError
from matnet.network import Network


class CupyEngine(Engine):
    """Runs a network on one GPU.

    Options: `device`, which GPU (default: the current one); `precision`. Raises EngineError, naming what to
    install or to choose, where GPU, driver, packages or precision are not to be had.
    """

    backend = "cupy"

    def __init__(
        self,
        net: Network,
        outputs: Sequence[str] | None = None,
        device: Device | None = None,
        precision: str = "fp32",
    ) -> None:
        if device is not None and device.kind != "gpu":
            raise EngineError("backend 'cupy' runs on a GPU; device 'cpu' goes with backend 'onnx' or 'numpy'")
        super().__init__(net, outputs)
        refuse_unknown(net, self.layers)
        self.gpu = find_gpu(device.index if device else None, precision)
        self.device, self.precision = str(self.gpu), precision
        self._cupy = import_cupy()
        with self._cupy.cuda.Device(self.gpu.index):
            self._simple = LayerByLayer(net, self.layers, self._cupy)

    def run(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        cupy = self._cupy
        with cupy.cuda.Device(self.gpu.index):
            found = self._simple({name: cupy.asarray(value) for name, value in values.items()}, self.wanted.values())
            return {name: cupy.asnumpy(value) for name, value in found.items()}
