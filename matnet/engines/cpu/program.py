"""Programs: networks divided into segments and compiled for certain sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from matnet.engines.cpu.division import DividedSession, Division
from matnet.engines.cpu.runtimes import RuntimeSettings, runtime_class
from matnet.engines.cpu.segments import Run, Segment, cut, subnetwork
from matnet.engines.cpu.tuning.variants import Variant
from matnet.engines.layer_by_layer import run_steps
from matnet.engines.numpy_engine import NumpyEngine
from matnet.errors import EngineError, MatnetError
from matnet.network import Layer, Network
from matnet.shapes import Shape

if TYPE_CHECKING:
    from matnet.formats.onnx import DynamicAxes

Axes = tuple[int | None, ...]


@dataclass
class Program:
    """Compiled segments for inputs of certain sizes. `axes`: sizes of variables; None: any size."""

    axes: dict[str, Axes]
    segments: list[Segment]
    runs: list[Run]
    variant: Variant
    callers: int = 1

    def accepts(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether the program was compiled for these sizes."""
        return all(
            known in (None, length)
            for name, axes in self.axes.items()
            for known, length in zip(axes, shapes[name], strict=True)
        )

    def __call__(self, values: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """Compute the wanted variables, and free others after their last use."""
        if len(self.segments) == 1:
            return dict(self.runs[0]({name: values[name] for name in self.segments[0].inputs}))
        steps = [(segment.inputs, run) for segment, run in zip(self.segments, self.runs, strict=True)]
        return run_steps(steps, values, wanted)


class Compiler:
    """Compiles programs of a planned network for the wanted variables."""

    def __init__(self, net: Network, wanted: Sequence[str], settings: RuntimeSettings) -> None:
        self.net, self.wanted, self.settings = net, list(wanted), settings

    def program(self, variant: Variant, inputs: Mapping[str, Shape], open_sizes: bool = True) -> Program:
        """Compile the network for `inputs`, with dynamic sizes where that costs no speed.

        open_sizes: if False, fix all sizes that make the runtime faster. Raises EngineError if the runtime cannot
        compile the network, or if the variant divides a batch that cannot be divided.
        """
        if variant.winograd:
            self._refuse_needless(variant, inputs)
        axes, reasons = choose_axes(self.net, inputs, self.wanted, self._dynamic_axes(variant, inputs, open_sizes))
        segments = cut(self.net.upto(self.wanted), reasons, self.wanted)
        if variant.division:
            refuse_division(segments, axes, self.net.infer_shapes(inputs, self.wanted))
        runs = [self._compile(part, axes, variant, batch_of(inputs)) for part in segments]
        return Program(axes, segments, runs, variant, self.settings.callers)

    def _dynamic_axes(self, variant: Variant, inputs: Mapping[str, Shape], open_sizes: bool) -> DynamicAxes:
        from matnet.formats.onnx import DynamicAxes, has_fully_connected

        runtime = runtime_class(variant.runtime)
        fixed = runtime.shapes == "static" or (runtime.shapes == "prefer_static" and not open_sizes)
        connected = has_fully_connected(self.net, self.net.infer_shapes(inputs, self.wanted), self.wanted)
        one = runtime.product_as_conv and connected and batch_of(inputs) == 1
        return DynamicAxes(
            batch=bool(variant.division) or not (fixed or one),
            # With a fixed size, a convolution of the whole map becomes a product that reads weights once per batch.
            size=not (fixed or connected or variant.winograd),
        )

    def _refuse_needless(self, variant: Variant, inputs: Mapping[str, Shape]) -> None:
        from matnet.formats.onnx import has_winograd

        images = self.division(variant).images(batch_of(inputs))
        if not has_winograd(self.net, self.net.infer_shapes(inputs, self.wanted), self.wanted, images):
            raise EngineError("no convolution is likely to be faster by Winograd's algorithm")

    def _compile(self, segment: Segment, axes: Mapping[str, Axes], variant: Variant, batch: int) -> Run:
        part = subnetwork(self.net, segment.layers)
        if segment.kind == "numpy":
            return NumpyEngine(part, segment.outputs).run
        from matnet.formats.onnx import ExportOptions, write_model

        runtime, division = runtime_class(variant.runtime), self.division(variant)
        images = division.images(batch) if variant.winograd else 0
        options = ExportOptions(runtime.native_lrn, runtime.product_as_conv, runtime.product_by_columns, images)
        model = write_model(part, segment.inputs, segment.outputs, axes, options=options)
        session = runtime(model, self.settings, division.streams)
        return DividedSession(session, division) if variant.division else session

    def division(self, variant: Variant) -> Division:
        """The division of batches among threads."""
        return Division(self.settings, variant.division)


def batch_of(inputs: Mapping[str, Shape]) -> int:
    """The batch size of the first input."""
    return next(iter(inputs.values()))[0] if inputs else 1


def refuse_division(segments: Sequence[Segment], axes: Mapping[str, Axes], shapes: Mapping[str, Shape]) -> None:
    """Raise EngineError unless all ONNX segments treat images independently, with images on the first axis."""
    parts = [segment for segment in segments if segment.kind == "onnx"]
    images = {shapes[name][0] for part in parts for name in part.inputs + part.outputs}
    names = [name for part in parts for layer in part.layers for name in (*layer.inputs, *layer.outputs)]
    if not all(layer.op.images_independent for part in parts for layer in part.layers):
        raise EngineError("the batch cannot be divided: a layer may depend on all images")
    if len(images) > 1 or any(axes[name][0] is not None for name in names) or not all(part.inputs for part in parts):
        raise EngineError("the batch cannot be divided: a variable does not have one item per image")


def choose_axes(
    net: Network, inputs: Mapping[str, Shape], wanted: Sequence[str], dynamic: DynamicAxes
) -> tuple[dict[str, Axes], dict[str, str]]:
    """The axes of every variable, and the layers that ONNX cannot express, with reasons.

    Uses the axes of `dynamic` if all layers support them; otherwise fixes height and width, and finally all axes.
    """
    from matnet.formats.onnx import DynamicAxes, NeedsFixedSize, variable_axes

    layers = net.upto(wanted)
    for tried in dict.fromkeys((dynamic, DynamicAxes(dynamic.batch, size=False))):
        axes = variable_axes(net, inputs, wanted, tried) if tried.batch or tried.size else None
        if axes is not None:
            faults = _faults(net, layers, axes)
            if not any(isinstance(fault, NeedsFixedSize) for fault in faults.values()):
                return axes, _reasons(layers, faults)
    fixed: dict[str, Axes] = dict(net.infer_shapes(inputs, wanted))
    return fixed, _reasons(layers, _faults(net, layers, fixed))


def _faults(net: Network, layers: Sequence[Layer], axes: Mapping[str, Axes]) -> dict[str, MatnetError]:
    """The layers that ONNX cannot express, with reasons; tries to write each layer to a temporary graph."""
    from matnet.formats.onnx import Graph, NotExpressible, write_layer

    faults: dict[str, MatnetError] = {}
    for layer in layers:
        try:
            write_layer(Graph(axes), net, layer)
        except NotExpressible as error:
            faults[layer.name] = error
    return faults


def _reasons(layers: Sequence[Layer], faults: Mapping[str, MatnetError]) -> dict[str, str]:
    """The reasons as text, also for layers after one with value-dependent output sizes."""
    reasons = {name: str(fault) for name, fault in faults.items()}
    unsized: set[str] = set()
    for layer in layers:
        behind = unsized.intersection(layer.inputs)
        if behind:
            reasons.setdefault(layer.name, f"the size of {min(behind)!r} is known only at run time")
        if behind or layer.op.sizes_depend_on_values:
            unsized.update(layer.outputs)
    return reasons
