"""The CPU engine: the planned network as ONNX models in a runtime, and numpy for layers that ONNX lacks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from matnet.engines.base import Engine
from matnet.engines.numpy_engine import refuse_unknown
from matnet.engines.plan import plan_network
from matnet.engines.program import Program, Settings, compile_program, fastest
from matnet.engines.runtime import candidates, session_class
from matnet.errors import EngineError
from matnet.network import Network
from matnet.shapes import Shape

PROGRAMS = 8  # kept for inputs of different sizes; each holds its own copy of the weights
KNOWN_SIZES = 512  # input shapes that are known to fit, so that sizes are not inferred anew for each call


class OnnxEngine(Engine):
    """Runs any batch and size: a program is compiled for the first input, and another where sizes do not fit it.

    Options: `threads` (default: all processors that the process may use); `optimize`, the runtime's own graph
    optimisation (default on); `runtime`, onnxruntime (the default), openvino, or auto, which compiles each
    program on all that are installed, times them, and keeps the fastest. Raises EngineError where the runtime
    is missing.
    """

    backend = "onnx"

    def __init__(
        self,
        net: Network,
        outputs: Sequence[str] | None = None,
        threads: int | None = None,
        optimize: bool = True,
        runtime: str = "onnxruntime",
    ) -> None:
        if threads is not None and threads < 1:
            raise EngineError(f"threads must be at least 1, found {threads}")
        self._settings = [Settings(name, threads, optimize) for name in candidates(runtime)]
        for settings in self._settings:
            session_class(settings.runtime)  # says what to install, before any work
        super().__init__(net, outputs)
        refuse_unknown(net, self.layers)
        written = {name for layer in self.layers for name in layer.outputs}
        self._computed = [name for name in dict.fromkeys(self.wanted.values()) if name in written]
        self.planned = plan_network(net, self._computed)
        self._programs: OrderedDict[int, Program] = OrderedDict()
        self._known: OrderedDict[tuple[Any, ...], int] = OrderedDict()

    def __call__(self, x: Any) -> dict[str, np.ndarray]:
        values = self.take_inputs(x)
        program = self.program({name: value.shape for name, value in values.items()})
        results = {**values, **program(values, self._computed)}
        return {name: results[variable] for name, variable in self.wanted.items()}

    def program(self, inputs: Mapping[str, Shape]) -> Program:
        """The program for inputs of these shapes; ShapeError, naming the layer, where they do not fit the network."""
        key = tuple(sorted(inputs.items()))
        number = self._known.get(key)
        if number is None or number not in self._programs:
            number = self._find_or_compile(inputs)
        _use(self._known, key, number, KNOWN_SIZES)
        _use(self._programs, number, self._programs[number], PROGRAMS)
        return self._programs[number]

    def _find_or_compile(self, inputs: Mapping[str, Shape]) -> int:
        self.net.infer_shapes(inputs, self.wanted.values())  # so that a fault is told of the layer as it was loaded
        shapes = self.planned.infer_shapes(inputs, self._computed)
        for number, program in self._programs.items():
            if program.accepts(shapes):
                return number
        read = {name for layer in self.planned.layers.values() for name in layer.inputs}
        given = {name: shape for name, shape in inputs.items() if name in read}
        number = max(self._programs, default=-1) + 1
        compiled = [compile_program(self.planned, given, self._computed, settings) for settings in self._settings]
        self._programs[number] = compiled[0] if len(compiled) == 1 else fastest(compiled, given, self._computed)
        return number

    @property
    def runtimes(self) -> list[str]:
        """The runtimes of the programs so far."""
        return sorted({program.runtime for program in self._programs.values()})


def _use(cache: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Make an entry the latest, and forget the oldest ones above `most`."""
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
