"""What an engine will do, in words: which layers run where, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping

from matnet.engines.onnx_engine import OnnxEngine
from matnet.engines.segments import Segment
from matnet.engines.variants import Variant
from matnet.shapes import Shape


def plan_lines(engine: OnnxEngine, inputs: Mapping[str, Shape]) -> list[str]:
    """One line per segment and per layer that numpy computes, then the layers that the passes merged away.

    Compiles the program for inputs of these shapes where there is none yet; raises as a run would.
    """
    program = engine.program(inputs)
    lines = []
    for number, segment in enumerate(program.segments, 1):
        lines.append(f"segment {number}, {_where(segment, program.variant)}: {_extent(segment)}")
        lines += [f"  {name}: {reason}" for name, reason in segment.reasons.items()]
    merged = [layer.name for layer in engine.layers if layer.name not in engine.planned.layers]
    if merged:
        lines.append(f"merged into their neighbours: {', '.join(merged)}")
    open_axes = [
        f"{name} {' x '.join('any' if length is None else str(length) for length in program.axes[name])}"
        for name in inputs
        if name in program.axes
    ]
    return [*lines, f"compiled for {', '.join(open_axes)}"]


def _where(segment: Segment, variant: Variant) -> str:
    return str(variant) if segment.kind == "onnx" else "numpy"


def _extent(segment: Segment) -> str:
    first, last = segment.layers[0].name, segment.layers[-1].name
    count = len(segment.layers)
    return f"{first}" if count == 1 else f"{count} layers, {first} to {last}"
