"""The GPU engine: a network on one GPU, numpy arrays in and out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from matnet.engines.base import Engine
from matnet.engines.batches import require_independent_images
from matnet.engines.cupy.device import SLOTS, GpuDevice, OnDevice, Options, Program, Ticket
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.planning import planned_for, why_layer_by_layer
from matnet.engines.cupy.probe import find_gpu
from matnet.engines.numpy_engine import refuse_unknown
from matnet.engines.options import EngineOptions
from matnet.errors import EngineError, NetworkError
from matnet.network import Network
from matnet.shapes import Shape

PROGRAMS = 4  # kept for inputs of different sizes; they share the weights, each has buffers of its own


Key = tuple[tuple[str, Shape], ...]


class Pending:
    """A batch under way, or done; `result` may be asked for once."""

    def __init__(
        self, engine: CupyEngine, values: dict[str, np.ndarray], ticket: Ticket | None = None, images: int | None = None
    ) -> None:
        self._engine, self._values, self._ticket, self._images = engine, values, ticket, images

    def result(self) -> dict[str, np.ndarray]:
        """The outputs by the names that they were asked for by; waits for them."""
        found = self._values
        if self._ticket is not None:
            outputs = self._ticket.result()
            found = {**found, **{name: value[: self._images] for name, value in outputs.items()}}
            self._engine.hear(self._ticket.note)
        return {name: found[variable] for name, variable in self._engine.wanted.items()}


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
    takes = frozenset({"cudnn", "autotune", "fused", "memory_limit"})

    def __init__(
        self, net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None
    ) -> None:
        options = options or EngineOptions("cupy")
        device, precision = options.parsed_device, options.precision
        if device is not None and device.kind != "gpu":
            raise EngineError("backend 'cupy' runs on a GPU; device 'cpu' goes with backend 'onnx' or 'numpy'")
        super().__init__(net, outputs, options)
        refuse_unknown(self.net, self.layers)
        gpu = find_gpu(device.index if device else None, precision)
        self.device, self.precision = str(gpu), precision
        libraries = Options(precision, options.cudnn, options.autotune, memory_limit=options.memory_limit)
        self.gpu = GpuDevice(gpu, libraries)
        self.notes += self.gpu.notes
        written = {name for layer in self.layers for name in layer.outputs}
        self._computed = [name for name in dict.fromkeys(self.wanted.values()) if name in written]
        self.planned = planned_for(self.net, self._computed)
        self._machine = self.gpu.machine(self.planned)
        self.layer_by_layer = self._without_program(options.fused)
        self._programs: OrderedDict[Key, Program] = OrderedDict()
        self._seen: set[Key] = set()
        self._independent: bool | None = None  # whether each image is computed by itself; None: not yet known

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
        return self.submit(x).result()

    def submit(self, x: Any) -> Pending:
        """Start a batch on its way; its arrays must stay as they are until the result.

        At most SLOTS batches of one size can be under way: this waits while there are so many.
        """
        values = self.take_inputs(x)
        shapes = {name: value.shape for name, value in values.items()}
        if self.layer_by_layer is not None:
            self.net.infer_shapes(shapes, self.wanted.values())
            return Pending(self, {**values, **self.layer_by_layer(values, self._computed)})
        if not self._computed:
            return Pending(self, values)
        larger = self._larger(shapes)
        if larger is None:
            return Pending(self, values, self.program_for(shapes).submit(values))
        images = next(iter(shapes.values()))[0]
        return Pending(self, values, larger.submit(filled(values, larger.schedule.inputs)), images)

    @property
    def runtimes(self) -> list[str]:
        """The installed packages that compute, whose versions belong to a result."""
        return self.gpu.packages

    def map(self, batches: Iterable[Any]) -> Iterator[dict[str, np.ndarray]]:
        """The results of batch after batch, in order; the next one is copied while one is computed."""
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
        """Take a note, once."""
        if note and note not in self.notes:
            self.notes.append(note)

    def input_buffer(self, shape: Shape) -> np.ndarray:
        """A float32 array in page-locked memory, from which batches are copied to the GPU fastest."""
        with self.gpu.current({}):
            return self.gpu.page_locked.array(shape)

    @classmethod
    def callers_for(cls, threads: int | None) -> int:
        return SLOTS

    def prepare(self, inputs: Mapping[str, Shape]) -> None:
        """Make ready for inputs of these shapes; ShapeError, naming the layer, where they do not fit the network."""
        if self.layer_by_layer is None and self._computed and self._serving(inputs) is None:
            self.program_for(inputs)

    def _larger(self, inputs: Mapping[str, Shape]) -> Program | None:
        """A program for more images of the same sizes, the first time that so few come: the last batch of many.

        None where the images of a batch are not independent.
        """
        key = key_of(inputs)
        with self.gpu.lock:
            if key in self._programs or key in self._seen:
                return None
            self._seen.add(key)
            return self._serving(inputs)

    def _serving(self, inputs: Mapping[str, Shape]) -> Program | None:
        with self.gpu.lock:
            able = [program for program in self._programs.values() if holds(program.schedule.inputs, inputs)]
            if not able:
                return None
            if self._independent is None:
                try:
                    require_independent_images(self, able[0].schedule.inputs, 1)
                    self._independent = True
                except NetworkError:
                    self._independent = False
            return able[-1] if self._independent else None

    def program_for(self, inputs: Mapping[str, Shape]) -> Program:
        """The program for inputs of just these shapes, compiled where it is not there yet."""
        key = key_of(inputs)
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
        schedule = lower(self.planned, inputs, self._computed, self.precision, cudnn=self.gpu.cudnn is not None)
        program = self.gpu.program(self._machine, schedule)
        for note in self._machine.notes:
            self.hear(note)
        return program


def key_of(inputs: Mapping[str, Shape]) -> Key:
    """Input shapes as a key."""
    return tuple(sorted((name, tuple(shape)) for name, shape in inputs.items()))


def holds(larger: Mapping[str, Shape], inputs: Mapping[str, Shape]) -> bool:
    """Whether inputs of these shapes are fewer images of the same sizes, as many for each input."""
    counts = {(larger[name][0], shape[0]) for name, shape in inputs.items() if name in larger}
    same = all(larger.get(name, ())[1:] == tuple(shape)[1:] for name, shape in inputs.items())
    return same and larger.keys() == inputs.keys() and len(counts) == 1 and all(many > few for many, few in counts)


def filled(values: Mapping[str, np.ndarray], shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """The arrays with images of zeros behind them, up to these shapes."""
    found = {}
    for name, shape in shapes.items():
        found[name] = np.zeros(shape, np.float32)
        found[name][: len(values[name])] = values[name]
    return found
