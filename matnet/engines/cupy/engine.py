"""The GPU engine: runs a network on one GPU, with numpy or device arrays as inputs and outputs."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from matnet.engines.base import Engine, lies_on_gpu
from matnet.engines.cupy.arrays import on_gpu
from matnet.engines.cupy.device import SLOTS, GpuDevice, GpuOptions, GpuProgram, OnDevice, Ticket
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.probe import find_gpu
from matnet.engines.cupy.schedules import planned_for, why_layer_by_layer
from matnet.engines.numpy_engine import refuse_unknown
from matnet.engines.options import EngineOptions
from matnet.errors import EngineError
from matnet.network import Network
from matnet.shapes import Shape

PROGRAMS = 4  # cached, for inputs of different sizes; they share weights, but not buffers


Key = tuple[tuple[str, Shape], ...]


class Pending:
    """A running or finished batch; `result` returns its outputs."""

    def __init__(self, engine: CupyEngine, values: dict[str, Any], ticket: Ticket | None = None) -> None:
        self._engine, self._values, self._ticket = engine, values, ticket

    def result(self) -> dict[str, Any]:
        """Wait for the outputs; returns them by requested name."""
        found = self._values
        if self._ticket is not None:
            found = {**found, **self._ticket.result()}
            self._engine.hear(self._ticket.note)
        return {name: found[variable] for name, variable in self._engine.wanted.items()}


class CupyEngine(Engine):
    """Runs a network on one GPU, with a separate program for each input size.

    Options: `device` (default: the current GPU); `precision`: fp32, tf32 or fp16; `cudnn`: use cuDNN for convolutions
    (default: if installed); `autotune`: time cuDNN's plans once and use the fastest (default), otherwise use its first
    guess; `fused`: False to run layer by layer without fusion; `memory_limit`: maximum GPU memory in bytes, for
    weights, activations and workspace. Raises EngineError, with advice, if GPU, driver, packages or precision are not
    available; OutOfMemoryError for a batch that does not fit. Thread-safe: while one batch is computed, the next is
    copied.
    """

    backend = "cupy"
    takes = frozenset({"cudnn", "autotune", "fused", "memory_limit"})

    def __init__(
        self, net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None
    ) -> None:
        options = options or EngineOptions("cupy")
        device, precision = options.parsed_device, options.precision
        if device is not None and device.kind != "gpu":
            raise EngineError("backend 'cupy' runs on a GPU; for device 'cpu' use backend 'onnx' or 'numpy'")
        super().__init__(net, outputs, options)
        refuse_unknown(self.net, self.layers)
        gpu = find_gpu(device.index if device else None, precision)
        self.device, self.precision = str(gpu), precision
        libraries = GpuOptions(precision, options.cudnn, options.autotune, memory_limit=options.memory_limit)
        self.gpu = GpuDevice(gpu, libraries)
        self.notes += self.gpu.notes
        written = {name for layer in self.layers for name in layer.outputs}
        self._computed = [name for name in dict.fromkeys(self.wanted.values()) if name in written]
        self.planned = planned_for(self.net, self._computed)
        self._machine = self.gpu.machine(self.planned)
        self.layer_by_layer = self._without_program(options.fused)
        self._returned = set(self.wanted.values()) - written  # inputs requested as outputs
        self._programs: OrderedDict[Key, GpuProgram] = OrderedDict()

    def _without_program(self, fused: bool) -> OnDevice | None:
        reason = why_layer_by_layer(self.planned)
        if fused and reason is None:
            return None
        if self.precision != "fp32":
            raise EngineError(f"{self.net.source}: {reason or 'layer by layer'}: supported only in precision 'fp32'")
        if reason:
            self.notes.append(f"layers run one at a time: {reason}")
        return self.gpu.layer_by_layer(self.net, self.layers)

    @property
    def path(self) -> str:
        """How the last used program runs its next batch: as graphs, or step by step."""
        if self.last_program is None:
            return "layer by layer" if self.layer_by_layer is not None else ""
        return self.last_program.steps.path

    @property
    def last_program(self) -> GpuProgram | None:
        """The last used program."""
        return next(reversed(self._programs.values()), None)

    def __call__(self, x: Any, on_device: bool = False) -> dict[str, Any]:
        """Compute the outputs. on_device: return CuPy arrays, which CuPy's current stream may use immediately."""
        return self.submit(x, on_device).result()

    def as_activation(self, array: Any, what: str) -> Any:
        """Like the base class, but keeps arrays on the device."""
        return on_gpu(array, self.gpu, what) if lies_on_gpu(array) else super().as_activation(array, what)

    def submit(self, x: Any, on_device: bool = False) -> Pending:
        """Start a batch. Do not modify its arrays before the result is available.

        Waits for the oldest batch if SLOTS batches of the same size are running.
        """
        values = self.take_inputs(x)
        shapes = {name: value.shape for name, value in values.items()}
        found = values
        if on_device:
            with self.gpu.translated(values), self.gpu.cupy.cuda.Device(self.gpu.gpu.index):
                found = {name: self.gpu.cupy.asarray(value) for name, value in values.items() if name in self._returned}
        if self.layer_by_layer is not None:
            self.net.infer_shapes(shapes, self.wanted.values())
            return Pending(self, {**found, **self.layer_by_layer(values, self._computed, on_device)})
        if not self._computed:
            return Pending(self, found)
        return Pending(self, found, self.program_for(shapes).submit(values, on_device))

    @property
    def runtimes(self) -> list[str]:
        """The installed packages used for computation, to record their versions."""
        return self.gpu.packages

    def map(self, batches: Iterable[Any]) -> Iterator[dict[str, np.ndarray]]:
        """The results of all batches in order; copies the next batch while one is computed."""
        under_way: deque[Pending] = deque()
        try:
            for batch in batches:
                under_way.append(self.submit(batch))
                if len(under_way) == SLOTS:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for pending in under_way:
                pending.result()

    def hear(self, note: str) -> None:
        """Add a note, without duplicates."""
        if note and note not in self.notes:
            self.notes.append(note)

    def input_buffer(self, shape: Shape) -> np.ndarray:
        """A float32 array in page-locked memory, for fast copies to the GPU."""
        with self.gpu.current({}):
            return self.gpu.page_locked.array(shape)

    @classmethod
    def callers_for(cls, threads: int | None) -> int:
        return SLOTS

    def prepare(self, inputs: Mapping[str, Shape]) -> None:
        """Compile for inputs of these shapes. Raises ShapeError, naming the layer, if they do not fit the network."""
        if self.layer_by_layer is None and self._computed:
            self.program_for(inputs)

    def program_for(self, inputs: Mapping[str, Shape]) -> GpuProgram:
        """The program for inputs of these shapes, compiled if necessary."""
        key = key_of(inputs)
        with self.gpu.lock:
            if key not in self._programs:
                self._programs[key] = self._compiled(inputs)
            self._programs.move_to_end(key)
            while len(self._programs) > PROGRAMS:
                self._programs.popitem(last=False)
                self.gpu.free()
            return self._programs[key]

    def _compiled(self, inputs: Mapping[str, Shape]) -> GpuProgram:
        self.net.infer_shapes(inputs, self.wanted.values())  # so that errors name the original layer
        schedule = lower(self.planned, inputs, self._computed, self.precision, cudnn=self.gpu.cudnn is not None)
        program = self.gpu.program(self._machine, schedule)
        for note in self._machine.notes:
            self.hear(note)
        return program


def key_of(inputs: Mapping[str, Shape]) -> Key:
    """Input shapes as a key."""
    return tuple(sorted((name, tuple(shape)) for name, shape in inputs.items()))
