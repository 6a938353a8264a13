"""The network under construction: where lowering functions find shapes and weights, and put layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from matnet.converters.caffemodel import match_blob
from matnet.converters.graph.naming import NamedGraph
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.fillers import filler_values
from matnet.converters.lower.sizes import (
    LARGEST,
    SizeNeededError,
    Sizes,
    known,
    merged,
    numbers,
    output_sizes,
    padded,
    text,
)
from matnet.converters.options import ConversionOptions
from matnet.errors import NetworkError, ShapeError, in_words
from matnet.network import Layer, Network
from matnet.ops.base import Op, Unknown, Unreached
from matnet.ops.extensions.reshape import CaffeFlatten
from matnet.params import Param, owned
from matnet.shapes import Shape

LARGEST_BLOB = 1 << 29
"""Values of the largest parameter blob: 2 GiB of float32, all that a caffemodel can hold."""


@dataclass(frozen=True)
class Value:
    """What a Caffe variable is in the network: the variable that holds it, and Caffe's own shape.

    The variable's four sizes are the shape completed with ones; or, for a blob that only merges trailing
    axes (Flatten), the sizes before the merge, in the same order; or, for more than four axes, any sizes of as many
    values in the same order.
    """

    variable: str
    shape: Sizes


@dataclass(frozen=True, eq=False)
class ParamBlob:
    """A parameter blob in the shape that a layer expects; equal keys mean that Caffe shares the blob."""

    array: np.ndarray
    key: tuple[str, ...]


class Builder:
    """Layers, params and shapes so far.

    problems: what is wrong with weights. placeholders: params whose numbers stand in weights that are not given.
    emitted: Caffe layer -> the layers that stand for it. joined: Scale layers that a BatchNorm took in.
    crop_offsets: where each Crop cuts.
    """

    def __init__(self, graph: NamedGraph, options: ConversionOptions, net: Network, with_weights: bool) -> None:
        self.graph = graph
        self.options = options
        self.net = net
        self.with_weights = with_weights
        self.values: dict[str, Value] = {}
        self.sizes: dict[str, Sizes] = {}
        self.problems: list[str] = []
        self.crop_offsets: dict[str, tuple[int, int]] = {}
        self.emitted: dict[str, list[str]] = {}
        self.joined: list[str] = []
        self.blob_shapes: dict[tuple[str, int], Shape] = {}
        self.placeholders: set[str] = set()
        self.unsized: set[str] = set()  # what layers of unknown types write, and what depends on its sizes
        self.readers = Counter(variable for layer in graph.layers for variable in layer.inputs)
        self._reserved = {name for layer in graph.layers for name in (*layer.inputs, *layer.outputs, *layer.tops)}
        self._reserved.update(graph.inputs, graph.inputs.values())
        self._layer_names = {layer.name for layer in graph.layers}
        self._params: dict[tuple[Any, ...], str] = {}

    # -- blobs --------------------------------------------------------------------------------------

    def declare(self, variable: str, shape: Sizes) -> None:
        """Enter an input of Caffe's `shape`."""
        self.values[variable] = Value(variable, shape)
        self.sizes[variable] = padded(shape)

    def shape(self, variable: str) -> Sizes:
        """Caffe's shape of a variable of the Caffe graph."""
        return self.values[variable].shape

    def operand(self, variable: str) -> str:
        """The network variable whose four sizes are Caffe's shape; a merge of axes is carried out first."""
        value = self.values[variable]
        if self.sizes[value.variable] == padded(value.shape) or not known(self.sizes[value.variable]):
            return value.variable
        return self.carry_out(variable)

    def is_merged(self, value: Value) -> bool:
        """Whether the axes of a Caffe variable are merged in name only."""
        stored = self.sizes[value.variable]
        return len(value.shape) <= 4 and known(stored) and stored != padded(value.shape)

    def stored(self, variable: str) -> str:
        """`operand`, or for more than four axes the network variable that holds the values in their order."""
        value = self.values[variable]
        return value.variable if len(value.shape) > 4 else self.operand(variable)

    def operands(self, layer: LayerDef) -> list[str]:
        """`operand` of every input."""
        return [self.operand(variable) for variable in layer.inputs]

    def axis(self, layer: LayerDef, axis: int) -> int:
        """A possibly negative axis of the first input as 0, 1, ...; NetworkError for one that it does not have."""
        rank = len(self.shape(layer.inputs[0]))
        found = axis + rank if axis < 0 else axis
        if not 0 <= found < max(rank, 1):
            raise NetworkError(f"axis {axis} does not exist in a blob of {rank} axes; use 0 to {rank - 1}")
        return found

    def channels(self, layer: LayerDef) -> int:
        """The size of axis 1 of the first input; ShapeError if there is no such axis, or its size is not known."""
        shape = self.shape(layer.inputs[0])
        if len(shape) < 2:
            raise ShapeError(f"reads a blob of {len(shape)} axes; expected at least N x C")
        if shape[1] is None:
            raise SizeNeededError("the number of its input channels is not known")
        return shape[1]

    def is_last_value(self, variable: str) -> bool:
        """Whether a blob still has this value after a forward pass, so that it must stay available."""
        return variable in self.graph.finals.values()

    def give_sizes(self) -> str:
        """Advice that names every input of unknown size, and what of it is unknown; "" if all are known."""
        shapes = {blob: self.values[name].shape for blob, name in self.graph.inputs.items() if name in self.values}
        forms = {blob: _form(shape) for blob, shape in shapes.items() if not known(shape)}
        if not forms:
            return ""
        python = ", ".join(f"{blob!r}: ({', '.join(form)})" for blob, form in forms.items())
        options = " ".join(f"--input-size {blob}={'x'.join(form)}" for blob, form in forms.items())
        return in_words(f"; pass input_size={{{python}}}", f"; give {options}")

    # -- weights ------------------------------------------------------------------------------------

    def weight(self, layer: LayerDef, index: int, shape: Sizes) -> ParamBlob:
        """Blob `index` of a layer as float32 of `shape`, by Caffe's matching rule or its filler.

        What does not fit is entered in `problems`, and zeros stand in for it so that one error can name all.
        """
        shared = layer.share_names[index] if index < len(layer.share_names) else ""
        key = ("shared", shared) if shared else ("own", layer.name, str(index))
        if not known(shape):
            raise SizeNeededError(f"blob {index} must have the shape {text(shape)}")
        expected = numbers(shape)
        if 0 in expected:
            raise ShapeError(f"blob {index} would be empty ({text(expected)}); is num_output missing?")
        if prod(expected) > LARGEST_BLOB:
            raise ShapeError(f"blob {index} would have {prod(expected):,} values, more than a caffemodel can hold")
        self.blob_shapes[layer.name, index] = expected
        try:
            return ParamBlob(self._blob_values(layer, index, expected), key)
        except ShapeError as error:
            self.problems.append(f"{describe(layer)}, blob {index}: {error}")
            return ParamBlob(np.broadcast_to(np.float32(0), expected), key)

    def _blob_values(self, layer: LayerDef, index: int, shape: Shape) -> np.ndarray:
        if not self.with_weights:
            return np.broadcast_to(np.float32(0), shape)
        if index < len(layer.blobs):
            found, warning = match_blob(layer.blobs[index], shape)
            if warning:
                self.note(layer, f"blob {index}: {warning}")
            return found
        return filler_values(layer, index, shape)

    def param(self, layer: LayerDef, suffix: str, value: np.ndarray, *sources: ParamBlob) -> str:
        """Enter `value` as param `<layer>_<suffix>`, or find the one that `sources` gave the same value; its name."""
        key = (suffix, value.shape, *(weight.key for weight in sources))
        known = self._params.get(key) if sources else None
        if known is not None and (not self.with_weights or np.array_equal(self.net.params[known].value, value)):
            return known
        name = f"{layer.name}_{suffix}"
        while name in self.net.params:
            name += "x"
        self.net.params[name] = Param(owned(value))
        if sources and not self.with_weights:
            self.placeholders.add(name)
        self._params[key] = name
        return name

    # -- layers -------------------------------------------------------------------------------------

    def step(self, layer: LayerDef, part: str, op: Op, inputs: Sequence[str], params: Sequence[str] = ()) -> str:
        """Add a layer in between, called `<layer>_<part>`, with one fresh output variable; that variable."""
        name = f"{layer.name}_{part}"
        variable = name
        while variable in self._reserved:
            variable += "x"
        self._reserved.add(variable)
        self._add(layer, name, op, inputs, [variable], params)
        return variable

    def finish(
        self,
        layer: LayerDef,
        op: Op,
        inputs: Sequence[str] | None = None,
        params: Sequence[str] = (),
        rank: int | None = None,
        tops: slice = slice(None),
        part: str = "",
    ) -> None:
        """Add the layer that writes the Caffe layer's tops (those in `tops`).

        inputs: network variables, by default `operands(layer)`. rank: of the tops, by default that of the
        first bottom. part: for the second and later layers that write tops of one Caffe layer.
        """
        inputs = self.operands(layer) if inputs is None else inputs
        rank = len(self.shape(layer.inputs[0])) if rank is None else rank
        outputs = layer.outputs[tops]
        self._add(layer, f"{layer.name}_{part}" if part else layer.name, op, inputs, outputs, params)
        for variable in outputs:
            self.give_rank(variable, rank)

    def give_rank(self, variable: str, rank: int) -> None:
        """State how many axes Caffe's blob has where a layer writes it."""
        self.values[variable] = Value(variable, merged(self.sizes[variable], rank))

    def pointwise(self, layer: LayerDef, op: Op, params: Sequence[str] = ()) -> None:
        """Add a layer whose output has its input's shape and does not depend on it: merged axes stay merged.

        Where no layer reads the output, the merge is carried out first.
        """
        value = self.values[layer.inputs[0]]
        if self.is_merged(value) and not self.readers[layer.outputs[0]]:
            self.finish(layer, op, params=params)
            return
        self._add(layer, layer.name, op, [value.variable], layer.outputs[:1], params)
        self.values[layer.outputs[0]] = Value(layer.outputs[0], value.shape)

    def same(self, layer: LayerDef, shape: Sizes | None = None, bottom: int = 0) -> None:
        """Let every top be the value of a bottom, under another `shape` if given, without a layer."""
        value = self.values[layer.inputs[bottom]]
        for variable in layer.outputs:
            self.values[variable] = Value(value.variable, value.shape if shape is None else shape)
        if layer.inputs[bottom] in self.unsized:
            self.unsized.update(layer.outputs)

    def carry_out(self, variable: str) -> str:
        """Add the layer that merges a variable's trailing axes, which so far are merged in name only; its output.

        A variable that is only another name for an input becomes a copy of it.
        """
        value = self.values[variable]
        layer = next(layer for layer in self.graph.layers if variable in layer.outputs)
        op = CaffeFlatten(axis=min(max(len(value.shape) - 1, 0), 3))
        if variable in self.sizes:
            made = self.step(layer, "merged", op, [value.variable])
        else:
            self._add(layer, layer.name, op, [value.variable], [variable], [])
            made = variable
        self.values[variable] = Value(made, value.shape)
        return made

    def write_instead(self, writer: Layer, lost: str, layer: LayerDef) -> None:
        """Let `writer` write the top of `layer`, which it takes over, instead of the variable `lost`.

        MatConvNet's importer keeps the name that the writer's own output had.
        """
        kept = layer.outputs[0]
        self.emitted.setdefault(layer.name, []).append(writer.name)
        if self.options.names == "upstream":
            self.values[kept] = self.values[lost]
            return
        writer.outputs = [kept if name == lost else name for name in writer.outputs]
        self.sizes[kept] = self.sizes.pop(lost)
        self.values[kept] = Value(kept, self.values.pop(lost).shape)

    def keep_unknown(self, layer: LayerDef, op: Unknown) -> None:
        """Add a layer that shows, saves and refuses to run, and whose outputs have no known size."""
        for name in self.emitted.pop(layer.name, []):  # what was made before it turned out that a size is missing
            self.net.layers.pop(name, None)
        params = [self.param(layer, str(index), np.asarray(blob.data)) for index, blob in enumerate(layer.blobs, 1)]
        inputs = [self.values[variable].variable for variable in layer.inputs]
        self.net.add(Layer(layer.name, op, inputs, list(layer.outputs), params))
        self.emitted[layer.name] = [layer.name]
        for variable in layer.outputs:
            self.declare(variable, (None,) * 4)
        self.unsized.update(layer.outputs)
        why = ", as a layer of unknown type lies before it" if isinstance(op, Unreached) else ""
        self.note(layer, f"is kept as it is and cannot run{why}")

    def settle(self, variable: str, shape: Sizes) -> None:
        """State Caffe's shape of a variable whose sizes could not be worked out from unknown ones."""
        if not known(self.sizes[variable]):
            self.declare(variable, shape)

    def _add(
        self, layer: LayerDef, name: str, op: Op, inputs: Sequence[str], outputs: Sequence[str], params: Sequence[str]
    ) -> None:
        while name in self.net.layers or (name != layer.name and name in self._layer_names):
            name += "x"
        self.net.add(Layer(name, op, list(inputs), list(outputs), list(params)))
        sizes = output_sizes(op, [self.sizes[v] for v in inputs], self._param_shapes(params), len(outputs))
        if len(sizes) != len(outputs):
            raise NetworkError(f"has {len(outputs)} tops; expected {len(sizes)}")
        for variable, found in zip(outputs, sizes, strict=True):
            if any(size is not None and size < 1 for size in found):
                raise ShapeError(f"its output {variable!r} would be empty ({text(found)}); use a larger input")
            if prod(size or 1 for size in found) > LARGEST:
                raise ShapeError(f"its output {variable!r} of {text(found)} has more values than Caffe can count")
            self.sizes[variable] = found
        if self.unsized.intersection(layer.inputs):
            self.unsized.update(outputs, layer.outputs)
        self.emitted.setdefault(layer.name, []).append(name)

    def _param_shapes(self, params: Sequence[str]) -> list[Shape]:
        return [self.net.params[name].value.shape for name in params]

    # -- reporting ----------------------------------------------------------------------------------

    def note(self, layer: LayerDef, text: str) -> None:
        """Keep a decision for the user."""
        self.net.source.notes.append(f"layer {layer.name!r} ({layer.type}): {text}")


def _form(shape: Sizes) -> Sequence[str]:
    """The axes of an input that a person has to give: those from the first unknown one on, except for the images."""
    axes = "NCHW" if len(shape) == 4 else "ABCDEFGH"[: len(shape)]
    first = next((place for place in range(1, len(shape)) if shape[place] is None), 0)
    return axes[min(first, 2) if len(shape) == 4 else 0 :]


def describe(layer: LayerDef) -> str:
    """Where a layer stands and what it is, to begin an error with."""
    return f"{layer.place}, layer {layer.name!r} ({layer.type})"
