"""A text description of how the engine runs a network (`show --plan`)."""

from __future__ import annotations

from collections.abc import Mapping

from matnet.engines.cpu.engine import OnnxEngine
from matnet.engines.cpu.program import Program
from matnet.engines.cpu.runtimes import RUNTIMES, runtime_class
from matnet.engines.cpu.segments import Segment
from matnet.engines.cpu.tuning.variants import Variant
from matnet.engines.plan import FullyConnected, to_products
from matnet.network import Network
from matnet.shapes import Shape


def plan_lines(engine: OnnxEngine, inputs: Mapping[str, Shape]) -> list[str]:
    """One line per segment, per layer in numpy and per matrix product, followed by general lines.

    Compiles the program for inputs of these shapes if necessary; errors as of a run.
    """
    program = engine.program(inputs)
    planned = to_products(engine.planned, program.axes)
    lines = []
    for number, segment in enumerate(program.segments, 1):
        lines.append(f"segment {number}, {_where(segment, program.variant)}: {_extent(segment)}")
        lines += [f"  {name}: {reason}" for name, reason in segment.reasons.items()]
        lines += [f"  {name}: {form}" for name, form in _products(planned, segment, program)]
    merged = [layer.name for layer in engine.layers if layer.name not in engine.planned.layers]
    if merged:
        lines.append(f"merged into their neighbours: {', '.join(merged)}")
    lines.append(_layout(program))
    open_axes = [
        f"{name} {' x '.join('any' if length is None else str(length) for length in program.axes[name])}"
        for name in inputs
        if name in program.axes
    ]
    return [*lines, f"compiled for {', '.join(open_axes)}"]


def _where(segment: Segment, variant: Variant) -> str:
    return str(variant) if segment.kind == "onnx" else "numpy"


def _products(planned: Network, segment: Segment, program: Program) -> list[tuple[str, str]]:
    """The layers that become matrix products, with their form."""
    if segment.kind != "onnx":
        return []
    layers = [planned.layers[layer.name] for layer in segment.layers]
    one = runtime_class(program.variant.runtime).product_as_conv
    alone = "matrix product as a convolution (faster for one image)"
    return [
        (layer.name, alone if one and program.axes[layer.inputs[0]][0] == 1 else "matrix product")
        for layer in layers
        if isinstance(layer.op, FullyConnected)
    ]


def _layout(program: Program) -> str:
    kinds = {segment.kind for segment in program.segments}
    inside = f"; {RUNTIMES[program.variant.runtime].title} may change it inside a segment" if "onnx" in kinds else ""
    return f"activations are channels first (NCHW){inside}"


def _extent(segment: Segment) -> str:
    first, last = segment.layers[0].name, segment.layers[-1].name
    count = len(segment.layers)
    return f"{first}" if count == 1 else f"{count} layers, {first} to {last}"
