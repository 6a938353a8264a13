"""The GPU engine: a network on one GPU, numpy arrays in and out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from matnet.engines.base import Engine
from matnet.engines.cupy.device import SLOTS, GpuDevice, OnDevice, Options, Program, Ticket
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.planning import planned_for, why_layer_by_layer
from matnet.engines.cupy.probe import find_gpu
from matnet.engines.device import Device
from matnet.engines.numpy_engine import refuse_unknown
from matnet.errors import EngineError
from matnet.network import Network
from matnet.shapes import Shape

PROGRAMS = 4  # kept for inputs of different sizes; they share the weights, each has buffers of its own


class CupyEngine(Engine):
    """Runs a network on one GPU, by a program of its own for each size of the inputs.

    Options: `device`, which GPU (default: the current one); `precision` fp32, tf32 or fp16; `cudnn`, whether
    convolutions go to cuDNN (default: where it is installed); `autotune`, to time cuDNN's plans once and keep
    the fastest (default), else to take its first guess; `fused`, False to run the layers as they are, one by
    one; `memory_limit`, bytes of the GPU's memory to use at most. Raises EngineError, naming what to install or
    to choose, where GPU, driver, packages or precision are not to be had; OutOfMemoryError for a batch that
    does not fit. May be called from several threads: while one batch is computed, the next is copied.
    """

    backend = "cupy"

    def __init__(
        self,
        net: Network,
        outputs: Sequence[str] | None = None,
        device: Device | None = None,
        precision: str = "fp32",
        cudnn: bool | None = None,
        autotune: bool = True,
        fused: bool = True,
        memory_limit: int | None = None,
    ) -> None:
        if device is not None and device.kind != "gpu":
            raise EngineError("backend 'cupy' runs on a GPU; device 'cpu' goes with backend 'onnx' or 'numpy'")
        super().__init__(net, outputs)
        refuse_unknown(net, self.layers)
        gpu = find_gpu(device.index if device else None, precision)
        self.device, self.precision = str(gpu), precision
        self.gpu = GpuDevice(gpu, Options(precision, cudnn, autotune, memory_limit=memory_limit))
        self.notes += self.gpu.notes
        written = {name for layer in self.layers for name in layer.outputs}
        self._computed = [name for name in dict.fromkeys(self.wanted.values()) if name in written]
        self.planned = planned_for(net, self._computed)
        self._machine = self.gpu.machine(self.planned)
        self._one_by_one = self._without_program(fused)
        self._programs: OrderedDict[tuple[Any, ...], Program] = OrderedDict()

    def _without_program(self, fused: bool) -> OnDevice | None:
        reason = why_layer_by_layer(self.planned)
        if fused and reason is None:
            return None
        if self.precision != "fp32":
            raise EngineError(f"{self.net.source}: {reason or 'layers one by one'}: only in precision 'fp32'")
        if reason:
            self.notes.append(f"layers run one by one: {reason}")
        return self.gpu.layer_by_layer(self.net, self.layers)

    def __call__(self, x: Any) -> dict[str, np.ndarray]:
        return self._named(self.submit(x))

    def submit(self, x: Any) -> tuple[dict[str, np.ndarray], Ticket | None]:
        """Start a batch on its way, for `result` to wait for; the arrays must stay as they are until then."""
        values = self.take_inputs(x)
        if self._one_by_one is not None:
            self.net.infer_shapes({name: value.shape for name, value in values.items()}, self.wanted.values())
            return {**values, **self._one_by_one(values, self._computed)}, None
        if not self._computed:
            return values, None
        return values, self._program({name: value.shape for name, value in values.items()}).submit(values)

    def _named(self, started: tuple[dict[str, np.ndarray], Ticket | None]) -> dict[str, np.ndarray]:
        values, ticket = started
        found = {**values, **ticket.result()} if ticket is not None else values
        return {name: found[variable] for name, variable in self.wanted.items()}

    @property
    def runtimes(self) -> list[str]:
        """The installed packages that compute, whose versions belong to a result."""
        return self.gpu.packages

    def map(self, batches: Iterable[Any]) -> Iterator[dict[str, np.ndarray]]:
        """The results of batch after batch, in order; the next one is copied while one is computed."""
        under_way: deque[tuple[dict[str, np.ndarray], Ticket | None]] = deque()
        try:
            for batch in batches:
                under_way.append(self.submit(batch))
                if len(under_way) == SLOTS:
                    yield self._named(under_way.popleft())
            while under_way:
                yield self._named(under_way.popleft())
        finally:
            for _, ticket in under_way:
                if ticket is not None:
                    ticket.result()

    def input_buffer(self, shape: Shape) -> np.ndarray:
        """A float32 array in page-locked memory, from which batches are copied to the GPU fastest."""
        with self.gpu.current({}):
            return self.gpu.page_locked.array(shape)

    def program(self, inputs: Mapping[str, Shape]) -> None:
        """Make ready for inputs of these shapes; ShapeError, naming the layer, where they do not fit the network."""
        if self._one_by_one is None and self._computed:
            self._program(inputs)

    def _program(self, inputs: Mapping[str, Shape]) -> Program:
        key = tuple(sorted((name, tuple(shape)) for name, shape in inputs.items()))
        with self.gpu.lock:
            if key not in self._programs:
                self._programs[key] = self._compiled(inputs)
            self._programs.move_to_end(key)
            while len(self._programs) > PROGRAMS:
                self._programs.popitem(last=False)
                self.gpu.free()
            return self._programs[key]

    def _compiled(self, inputs: Mapping[str, Shape]) -> Program:
        self.net.infer_shapes(inputs, self.wanted.values())  # so that a fault is told of the layer as it was loaded
        plan = lower(self.planned, inputs, self._computed, self.precision, cudnn=self.gpu.cudnn is not None)
        program = self.gpu.program(self._machine, plan)
        self.notes += [note for note in self._machine.notes if note not in self.notes]
        return program
