"""Segments compiled for certain sizes: which axes stay open, which layers ONNX takes, and running the whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from matnet.engines.numpy_engine import NumpyEngine
from matnet.engines.runtime import session_class
from matnet.engines.segments import Run, Segment, cut, subnetwork
from matnet.errors import MatnetError
from matnet.network import Layer, Network
from matnet.ops.extensions.combine import Filter
from matnet.shapes import Shape

TRIALS = 3  # runs of each program when the fastest is looked for
SIZED_BY_DATA = (Filter,)  # ops whose output size only their values tell
Axes = tuple[int | None, ...]


@dataclass
class Program:
    """Segments ready to run on inputs of certain sizes; an axis of None in `axes` takes any length."""

    axes: dict[str, Axes]
    segments: list[Segment]
    runs: list[Run]
    runtime: str

    def accepts(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether all variables have the sizes that this was compiled for."""
        return all(
            known in (None, length)
            for name, axes in self.axes.items()
            for known, length in zip(axes, shapes[name], strict=True)
        )

    def __call__(self, values: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """The wanted variables; others are dropped after their last use."""
        left = Counter(name for segment in self.segments for name in segment.inputs)
        left.update(wanted)
        known = dict(values)
        for segment, run in zip(self.segments, self.runs, strict=True):
            known.update(run({name: known[name] for name in segment.inputs}))
            for name in segment.inputs:
                left[name] -= 1
                if not left[name]:
                    del known[name]
        return {name: known[name] for name in wanted}


@dataclass(frozen=True)
class Settings:
    """How models are compiled: on which runtime, with how many threads, with its own optimisation or without."""

    runtime: str = "onnxruntime"
    threads: int | None = None
    optimize: bool = True


def compile_program(
    net: Network, inputs: Mapping[str, Shape], wanted: Sequence[str], settings: Settings
) -> Program:
    """The planned network compiled for `inputs`, and for other sizes as far as nothing is lost by that."""
    axes, reasons = choose_axes(net, inputs, wanted)
    segments = cut(net.upto(wanted), reasons, wanted)
    return Program(axes, segments, [_compile(net, part, axes, settings) for part in segments], settings.runtime)


def fastest(programs: Sequence[Program], inputs: Mapping[str, Shape], wanted: Sequence[str]) -> Program:
    """The program with the shortest of a few runs by turns on random inputs of these shapes."""
    random = np.random.default_rng(0)
    values = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in inputs.items()}
    seconds = [float("inf")] * len(programs)
    for turn in range(1 + TRIALS):  # the first turn warms up
        for number, program in enumerate(programs):
            started = time.perf_counter()
            program(values, wanted)
            if turn:
                seconds[number] = min(seconds[number], time.perf_counter() - started)
    return programs[int(np.argmin(seconds))]


def choose_axes(
    net: Network, inputs: Mapping[str, Shape], wanted: Sequence[str]
) -> tuple[dict[str, Axes], dict[str, str]]:
    """Every variable's axes, and by layer why ONNX cannot express it.

    Batch, height and width stay open where all layers can be written so. Sizes are fixed where that turns
    a convolution into a matrix product, or is the only way to write a layer.
    """
    from matnet.formats.onnx import Freedom, NeedsFixedSize, has_fully_connected, variable_axes

    layers = net.upto(wanted)
    shapes = net.infer_shapes(inputs, wanted)
    for freedom in (Freedom(), Freedom(size=False)):
        if freedom.size and has_fully_connected(net, shapes, wanted):
            continue
        axes = variable_axes(net, inputs, wanted, freedom)
        if axes is not None:
            faults = _faults(net, layers, axes)
            if not any(isinstance(fault, NeedsFixedSize) for fault in faults.values()):
                return axes, _reasons(layers, faults)
    fixed: dict[str, Axes] = dict(shapes)
    return fixed, _reasons(layers, _faults(net, layers, fixed))


def _faults(net: Network, layers: Sequence[Layer], axes: Mapping[str, Axes]) -> dict[str, MatnetError]:
    """What ONNX has against each layer, found by writing it to a graph that nobody keeps."""
    from matnet.formats.onnx import Graph, NotExpressible, write_layer

    faults: dict[str, MatnetError] = {}
    for layer in layers:
        try:
            write_layer(Graph(axes), net, layer)
        except NotExpressible as error:
            faults[layer.name] = error
    return faults


def _reasons(layers: Sequence[Layer], faults: Mapping[str, MatnetError]) -> dict[str, str]:
    """The faults' texts, and those of layers behind one whose output size only its values tell."""
    reasons = {name: str(fault) for name, fault in faults.items()}
    unsized: set[str] = set()
    for layer in layers:
        behind = unsized.intersection(layer.inputs)
        if behind:
            reasons.setdefault(layer.name, f"the size of {behind.pop()!r} is known only when it runs")
        if behind or isinstance(layer.op, SIZED_BY_DATA):
            unsized.update(layer.outputs)
    return reasons


def _compile(net: Network, segment: Segment, axes: Mapping[str, Axes], settings: Settings) -> Run:
    part = subnetwork(net, segment.layers)
    if segment.kind == "numpy":
        return NumpyEngine(part, segment.outputs).run
    from matnet.formats.onnx import Style, write_model

    session = session_class(settings.runtime)
    model = write_model(part, segment.inputs, segment.outputs, axes, style=Style(native_lrn=session.native_lrn))
    return session(model, settings.threads, settings.optimize)
