"""Several GPUs that share the batches of one network: each call goes to the least busy GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np

from matnet.engines.base import Engine
from matnet.engines.cupy.engine import CupyEngine
from matnet.engines.options import EngineOptions
from matnet.network import Network
from matnet.shapes import Shape


class SeveralGpus(Engine):
    """Runs a network on each GPU of `device`, such as "gpu:0,gpu:1". Call it from at least two threads per GPU.

    Options and errors are those of CupyEngine.
    """

    backend = CupyEngine.backend
    takes = CupyEngine.takes

    def __init__(
        self, net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None
    ) -> None:
        options = options or EngineOptions(self.backend)
        super().__init__(net, outputs, options)
        device = options.parsed_device
        names = [options.device] if device is None else device.each
        self.engines = [CupyEngine(net, outputs, replace(options, device=name)) for name in names]
        self.device, self.precision = ", ".join(engine.device for engine in self.engines), options.precision
        self.notes = list(dict.fromkeys(note for engine in self.engines for note in engine.notes))
        for engine in self.engines[1:]:  # page-locked memory is valid for all GPUs
            engine.gpu.page_locked = self.engines[0].gpu.page_locked
        self._calls = [0] * len(self.engines)
        self._lock = Lock()

    @property
    def runtimes(self) -> list[str]:
        """The installed packages used for computation, to record their versions."""
        return self.engines[0].runtimes

    @property
    def path(self) -> str:
        """How the next batch runs on each GPU."""
        return "; ".join(dict.fromkeys(engine.path for engine in self.engines))

    @classmethod
    def callers_for(cls, threads: int | None) -> int:
        return CupyEngine.callers_for(threads)

    def __call__(self, x: Any, on_device: bool = False) -> dict[str, Any]:
        with self._least_busy() as engine:
            found = engine(x, on_device)
            self.notes += [note for note in engine.notes if note not in self.notes]
            return found

    @contextmanager
    def _least_busy(self) -> Iterator[CupyEngine]:
        with self._lock:
            chosen = min(range(len(self.engines)), key=lambda number: (self._calls[number], number))
            self._calls[chosen] += 1
        try:
            yield self.engines[chosen]
        finally:
            with self._lock:
                self._calls[chosen] -= 1

    def prepare(self, inputs: Mapping[str, Shape]) -> None:
        for engine in self.engines:
            engine.prepare(inputs)

    def input_buffer(self, shape: Shape) -> np.ndarray:
        """A float32 array in page-locked memory, for fast copies to any GPU."""
        return self.engines[0].input_buffer(shape)
