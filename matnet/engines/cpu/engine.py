"""The CPU engine: runs the planned network as ONNX models in a runtime, with numpy for the remaining layers."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np

from matnet.engines.base import Engine
from matnet.engines.cpu.division import callers_for
from matnet.engines.cpu.program import Compiler, Program, batch_of
from matnet.engines.cpu.runtimes import (
    AUTO,
    OnnxRuntime,
    RuntimeSettings,
    available,
    candidates,
    runtime_class,
    tries_out,
)
from matnet.engines.cpu.tuning.beside import Beside
from matnet.engines.cpu.tuning.choices import TunedChoice, identity, remember, remembered
from matnet.engines.cpu.tuning.contest import fastest
from matnet.engines.cpu.tuning.variants import Variant, variant_of
from matnet.engines.device import processors
from matnet.engines.numpy_engine import refuse_unknown
from matnet.engines.options import EngineOptions
from matnet.engines.plan import plan_network
from matnet.engines.plan.spread import spread_concat
from matnet.errors import EngineError
from matnet.network import Network
from matnet.shapes import Shape

UNKNOWN = -1  # number of expected calls
PROGRAMS = 8  # cached, for inputs of different sizes; each has its own copy of the weights
KNOWN_SIZES = 512  # cached valid input shapes, to skip shape inference


class OnnxEngine(Engine):
    """Runs any batch and size: compiles a program for the first input, and further ones for other sizes.

    Options: `threads` (default: all available processors); `optimize`: graph optimization of the runtime (default on);
    `runtime`: onnxruntime (default), openvino, a way as in `way` (such as openvino+winograd), or auto (auto:A,B). auto
    times all installed runtimes (or A and B) in several ways on random inputs of the first input's size, and stores
    the fastest in the cache folder. Without a runtime, `search` finds the fastest way during the first calls. Raises
    EngineError if the runtime is missing.
    """

    backend = "onnx"
    takes = frozenset({"threads", "optimize", "runtime"})

    def __init__(
        self, net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None
    ) -> None:
        options = options or EngineOptions()
        runtime = options.runtime or OnnxRuntime.name
        self._runtimes, self._auto = candidates(runtime), tries_out(runtime)
        self._fixed = Variant(self._runtimes[0]) if self._auto else variant_of(runtime)
        for name in self._runtimes:
            if not self._auto or name == self._runtimes[0] or not available(name):
                runtime_class(name)  # raises early if it is not installed
        super().__init__(net, outputs, options)
        refuse_unknown(self.net, self.layers)
        written = {name for layer in self.layers for name in layer.outputs}
        self._computed = [name for name in dict.fromkeys(self.wanted.values()) if name in written]
        self.planned = spread_concat(plan_network(self.net, self._computed), self._computed)
        settings = RuntimeSettings(options.threads, options.optimize, options.callers)
        self._compiler = Compiler(self.planned, self._computed, settings)
        self._programs: OrderedDict[int, Program] = OrderedDict()
        self._latest: tuple[Any, Program] | None = None  # most calls repeat the previous shapes
        self._known: OrderedDict[tuple[Any, ...], int] = OrderedDict()
        self._chosen: dict[int, Variant] = {}  # number of images -> variant
        self._expected: int | None = None  # expected calls; None: no search
        self._beside: Beside | None = None
        self._key = ""  # key of the search's record
        self._used: dict[Variant, None] = {}
        self._lock, self._turn = Lock(), Lock()

    def __call__(self, x: Any) -> dict[str, np.ndarray]:
        values = self.take_inputs(x)
        shapes = {name: value.shape for name, value in values.items()}
        program = self.program(shapes)
        found = self._searched(values, shapes) if self.searching else None
        results = program(values, self._computed) if found is None else found
        return {
            name: results[variable] if variable in results else values[variable]
            for name, variable in self.wanted.items()
        }

    def search(self, calls: int | None = None) -> None:
        if self.options.runtime is None and not self._chosen:
            self._expected = UNKNOWN if calls is None else calls
            with self._lock:
                self._known.clear()  # so that the next call reads the record
                self._latest = None

    @property
    def searching(self) -> bool:
        return self._expected is not None

    @property
    def way(self) -> str:
        return "; ".join(dict.fromkeys(variant.text for variant in self._chosen.values())) or self._fixed.text

    def prepare(self, inputs: Mapping[str, Shape]) -> None:
        self.program(inputs)

    @classmethod
    def callers_for(cls, threads: int | None) -> int:
        return callers_for(threads or processors())

    def program(self, inputs: Mapping[str, Shape]) -> Program:
        """The program for inputs of these shapes. Raises ShapeError, naming the layer, if they do not fit."""
        key = tuple(sorted(inputs.items()))
        latest = self._latest
        if latest is not None and latest[0] == key:
            return latest[1]
        with self._lock:
            number = self._known.get(key)
            if number is None or number not in self._programs:
                number = self._find_or_compile(inputs)
            program = self._programs[number]
            _use(self._known, key, number, KNOWN_SIZES)
            _use(self._programs, number, program, PROGRAMS)
            self._latest = key, program
            return program

    def _find_or_compile(self, inputs: Mapping[str, Shape]) -> int:
        self.net.infer_shapes(inputs, self.wanted.values())  # so that errors name the original layer
        shapes = self.planned.infer_shapes(inputs, self._computed)
        read = {name for layer in self.planned.layers.values() for name in layer.inputs}
        given = {name: shape for name, shape in inputs.items() if name in read}
        if self._auto and self._choice_for(batch_of(given)) is None:
            return self._keep(self._first_choice(given))
        if self.searching and self._beside is None:
            return self._keep(self._begin_search(given))
        for number, program in self._programs.items():
            if program.accepts(shapes):
                return number
        variant = self._choice_for(batch_of(given)) or self._fixed
        if self._programs and runtime_class(variant.runtime).shapes == "static":
            variant = Variant(self._runtimes[0])  # compiling for each new size takes longer than running
        elif self._programs:
            variant = replace(variant, winograd=False)
        return self._keep(self._compiler.program(variant, given, open_sizes=bool(self._programs)))

    def _keep(self, program: Program) -> int:
        number = max(self._programs, default=-1) + 1
        self._programs[number] = program
        self._used[program.variant] = None
        return number

    def _choice_for(self, images: int) -> Variant | None:
        """The variant chosen for this number of images, or for a larger batch (except for a single image)."""
        enough = [batch for batch in self._chosen if batch == images or batch > images > 1]
        return self._chosen[min(enough)] if enough else None

    def _first_choice(self, inputs: Mapping[str, Shape]) -> Program:
        """The program of the variant recorded for these inputs, or of the fastest one."""
        key = identity(self._compiler, inputs, self._runtimes)
        choice, program = remembered(key, self._runtimes), None
        if choice is not None and choice.complete:
            with suppress(EngineError):
                program = self._compiler.program(choice.variant, inputs, open_sizes=False)
        if program is None:
            program, seconds = fastest(self._compiler, inputs, self._runtimes)
            remember(key, TunedChoice(program.variant), seconds)
        self._chosen[batch_of(inputs)] = program.variant
        return program

    def _begin_search(self, inputs: Mapping[str, Shape]) -> Program:
        """The program of the recorded variant for these inputs, or of the default one; starts a search with it.

        There is no search if the recorded variant was chosen among all ways.
        """
        began = time.perf_counter()
        runtimes = candidates(AUTO)
        self._key = identity(self._compiler, inputs, runtimes)
        choice, program = remembered(self._key, runtimes), None
        if choice is not None:
            with suppress(EngineError):
                program = self._compiler.program(choice.variant, inputs, open_sizes=False)
        tried = choice.tried if choice is not None and program is not None else frozenset()
        if program is None:
            program = self._compiler.program(self._fixed, inputs, open_sizes=bool(self._programs))
        if choice is not None and choice.complete and program.variant == choice.variant:
            self._chosen[batch_of(inputs)] = program.variant
            self._expected = None
            return program
        self._fixed = program.variant
        calls = None if self._expected == UNKNOWN else self._expected
        seconds = time.perf_counter() - began
        self._beside = Beside(self._compiler, program, inputs, runtimes, calls, seconds, tried)
        return program

    def _searched(self, values: Mapping[str, np.ndarray], shapes: Mapping[str, Shape]) -> Any:
        """The results of a call of the search; None if the inputs have another size, or the search is over."""
        with self._turn:
            beside = self._beside
            if not self.searching or beside is None:
                return None
            given = {name: values[name] for name in beside.inputs}
            if beside.inputs != {name: shapes[name] for name in given}:
                return None
            results = beside(given)
            if beside.over:
                self._adopt(beside)
            return results

    def _adopt(self, beside: Beside) -> None:
        """Use the result of the search from now on, and release the other program."""
        with self._lock:
            if beside.best is not beside.fixed:
                self._programs = OrderedDict(
                    item for item in self._programs.items() if item[1].variant != beside.fixed.variant
                )
                self._keep(beside.best)
            self._chosen[batch_of(beside.inputs)] = beside.best.variant
            self._known.clear()
            self._latest, self._beside, self._expected = None, None, None
        if beside.seconds or beside.complete:
            remember(self._key, beside.choice, beside.seconds)

    @property
    def runtimes(self) -> list[str]:
        """The runtimes of all programs so far."""
        return sorted({variant.runtime for variant in self._used})

    @property
    def variants(self) -> list[str]:
        """Descriptions of the ways of all programs so far."""
        return sorted(map(str, self._used))


def _use(cache: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Add or refresh an entry of an LRU cache of size `most`."""
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
