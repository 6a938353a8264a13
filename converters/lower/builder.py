"""The network under construction: gives lowering functions shapes and weights, and collects their layers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, NamedTuple

import numpy as np

from matnet.converters.caffemodel import match_blob
from matnet.converters.files.message import Message
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
from matnet.ops import extensions
from matnet.ops.base import Op, Unknown, Unreached
from matnet.params import Param, owned
from matnet.shapes import Shape

LARGEST_BLOB = 1 << 29
"""The most values of a parameter blob: 2 GiB of float32, the limit of a caffemodel."""


class Value(NamedTuple):
    """A Caffe variable in the network: the variable that holds it, and Caffe's shape.

    The variable's four sizes are the shape padded with ones; or, for a blob with merged trailing axes (Flatten), the
    sizes before the merge; or, for more than four axes, any sizes with the same values in the same order.
    """

    variable: str
    shape: Sizes


@dataclass(frozen=True, eq=False)
class ParamBlob:
    """A parameter blob in the shape that a layer expects; blobs with equal keys are shared in Caffe."""

    array: np.ndarray
    key: tuple[str, ...]


class Builder:
    """The layers, params and shapes so far.

    problems: errors in weights. placeholders: params without values, because no weights are given. emitted: Caffe layer
    -> its network layers. joined: Scale layers merged into a BatchNorm. crop_offsets: the offsets of each Crop.
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
        self.unsized: set[str] = set()  # outputs of unknown layers, and variables with sizes that depend on them
        self.readers = Counter(variable for layer in graph.layers for variable in layer.inputs)
        self._reserved = {name for layer in graph.layers for name in (*layer.inputs, *layer.outputs, *layer.tops)}
        self._reserved.update(graph.inputs, graph.inputs.values())
        self._layer_names = {layer.name for layer in graph.layers}
        self._params: dict[tuple[Any, ...], str] = {}

    # -- blobs --------------------------------------------------------------------------------------

    def declare(self, variable: str, shape: Sizes) -> None:
        """Add an input with Caffe's `shape`."""
        self.values[variable] = Value(variable, shape)
        self.sizes[variable] = padded(shape)

    def shape(self, variable: str) -> Sizes:
        """Caffe's shape of a variable of the Caffe graph."""
        return self.values[variable].shape

    def operand(self, variable: str) -> str:
        """The network variable with Caffe's shape as its four sizes; adds a layer for merged axes if necessary."""
        value = self.values[variable]
        if self.sizes[value.variable] == padded(value.shape) or not known(self.sizes[value.variable]):
            return value.variable
        return self.carry_out(variable)

    def is_merged(self, value: Value) -> bool:
        """Whether the axes of a Caffe variable are merged without a layer."""
        stored = self.sizes[value.variable]
        return len(value.shape) <= 4 and known(stored) and stored != padded(value.shape)

    def stored(self, variable: str) -> str:
        """`operand`, or for more than four axes the network variable with the values in the same order."""
        value = self.values[variable]
        return value.variable if len(value.shape) > 4 else self.operand(variable)

    def operands(self, layer: LayerDef) -> list[str]:
        """`operand` of every input."""
        return [self.operand(variable) for variable in layer.inputs]

    def axis(self, layer: LayerDef, axis: int) -> int:
        """A possibly negative axis of the first input as 0, 1, .... Raises NetworkError if it does not exist."""
        rank = len(self.shape(layer.inputs[0]))
        found = axis + rank if axis < 0 else axis
        if not 0 <= found < max(rank, 1):
            raise NetworkError(f"axis {axis} does not exist in a blob with {rank} axes; use 0 to {rank - 1}")
        return found

    def channels(self, layer: LayerDef) -> int:
        """The size of axis 1 of the first input. Raises ShapeError if there is no such axis, or its size is unknown."""
        shape = self.shape(layer.inputs[0])
        if len(shape) < 2:
            raise ShapeError(f"reads a blob with {len(shape)} axes; expected at least N x C")
        if shape[1] is None:
            raise SizeNeededError("its number of input channels is unknown")
        return shape[1]

    def is_last_value(self, variable: str) -> bool:
        """Whether this is a blob's value after a forward pass, which must stay available."""
        return variable in self.graph.finals.values()

    def give_sizes(self) -> str:
        """Advice that lists every input of unknown size, and its unknown axes; "" if all sizes are known."""
        shapes = {blob: self.values[name].shape for blob, name in self.graph.inputs.items() if name in self.values}
        forms = {blob: _form(shape) for blob, shape in shapes.items() if not known(shape)}
        if not forms:
            return ""
        python = ", ".join(f"{blob!r}: ({', '.join(form)})" for blob, form in forms.items())
        options = " ".join(f"--input-size {blob}={'x'.join(form)}" for blob, form in forms.items())
        return in_words(f"; pass input_size={{{python}}}", f"; give {options}")

    # -- weights ------------------------------------------------------------------------------------

    def weight(self, layer: LayerDef, index: int, shape: Sizes) -> ParamBlob:
        """Blob `index` of a layer as float32 with `shape`, by Caffe's matching rule or its filler.

        Blobs that do not fit are added to `problems` and replaced by zeros, so that one error can list all.
        """
        shared = layer.share_names[index] if index < len(layer.share_names) else ""
        key = ("shared", shared) if shared else ("own", layer.name, str(index))
        if not known(shape):
            raise SizeNeededError(f"blob {index} must have shape {text(shape)}")
        expected = numbers(shape)
        if 0 in expected:
            raise ShapeError(f"blob {index} would be empty ({text(expected)}); is num_output missing?")
        if prod(expected) > LARGEST_BLOB:
            raise ShapeError(f"blob {index} would have {prod(expected):,} values, too many for a caffemodel")
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
        """Add `value` as param `<layer>_<suffix>`, or reuse one with the same `sources` and value. Returns its name."""
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
        """Add an intermediate layer `<layer>_<part>` with one new output variable, and return the variable."""
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

        inputs: network variables, by default `operands(layer)`. rank: of the tops, by default that of the first bottom.
        part: a name for the second and later layers of one Caffe layer.
        """
        inputs = self.operands(layer) if inputs is None else inputs
        rank = len(self.shape(layer.inputs[0])) if rank is None else rank
        outputs = layer.outputs[tops]
        self._add(layer, f"{layer.name}_{part}" if part else layer.name, op, inputs, outputs, params)
        for variable in outputs:
            self.give_rank(variable, rank)

    def give_rank(self, variable: str, rank: int) -> None:
        """Set the number of axes of Caffe's blob at the layer that writes it."""
        self.values[variable] = Value(variable, merged(self.sizes[variable], rank))

    def pointwise(self, layer: LayerDef, op: Op) -> None:
        """Add a layer that keeps the shape and does not depend on it, so that merged axes stay merged.

        If no layer reads the output, a layer that merges the axes is added first.
        """
        value = self.values[layer.inputs[0]]
        if self.is_merged(value) and not self.readers[layer.outputs[0]]:
            self.finish(layer, op)
            return
        self._add(layer, layer.name, op, [value.variable], layer.outputs[:1], [])
        self.values[layer.outputs[0]] = Value(layer.outputs[0], value.shape)

    def same(self, layer: LayerDef, shape: Sizes | None = None, bottom: int = 0) -> None:
        """Make every top an alias of a bottom, with another `shape` if given, without a layer."""
        value = self.values[layer.inputs[bottom]]
        for variable in layer.outputs:
            self.values[variable] = Value(value.variable, value.shape if shape is None else shape)
        if layer.inputs[bottom] in self.unsized:
            self.unsized.update(layer.outputs)

    def carry_out(self, variable: str) -> str:
        """Add the layer that actually merges a variable's trailing axes, and return its output.

        A variable that is only an alias of an input becomes a copy.
        """
        value = self.values[variable]
        layer = next(layer for layer in self.graph.layers if variable in layer.outputs)
        op = extensions.CaffeFlatten(axis=min(max(len(value.shape) - 1, 0), 3))
        if variable in self.sizes:
            made = self.step(layer, "merged", op, [value.variable])
        else:
            self._add(layer, layer.name, op, [value.variable], [variable], [])
            made = variable
        self.values[variable] = Value(made, value.shape)
        return made

    def write_instead(self, writer: Layer, lost: str, layer: LayerDef) -> None:
        """Let `writer` write the top of the merged `layer`, instead of the variable `lost`.

        MatConvNet's importer keeps the name of the writer's own output.
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
        """Add a layer that can be shown and saved, but not run, with outputs of unknown size."""
        for name in self.emitted.pop(layer.name, []):  # layers added before a missing size was found
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
        """Set Caffe's shape of a variable, if it could not be inferred from unknown sizes."""
        if not known(self.sizes[variable]):
            self.declare(variable, shape)

    def _add(
        self, layer: LayerDef, name: str, op: Op, inputs: Sequence[str], outputs: Sequence[str], params: Sequence[str]
    ) -> None:
        while name in self.net.layers or (name != layer.name and name in self._layer_names):
            name += "x"
        self.net.add(Layer(name, op, list(inputs), list(outputs), list(params)))
        shapes = [self.net.params[name].value.shape for name in params]
        sizes = output_sizes(op, [self.sizes[v] for v in inputs], shapes, len(outputs))
        if len(sizes) != len(outputs):
            raise NetworkError(f"has {len(outputs)} tops; expected {len(sizes)}")
        for variable, found in zip(outputs, sizes, strict=True):
            if any(size is not None and size < 1 for size in found):
                raise ShapeError(f"its output {variable!r} would be empty ({text(found)}); use a larger input")
            if prod(size or 1 for size in found) > LARGEST:
                raise ShapeError(f"its output {variable!r} of {text(found)} has more values than Caffe supports")
            self.sizes[variable] = found
        if self.unsized.intersection(layer.inputs):
            self.unsized.update(outputs, layer.outputs)
        self.emitted.setdefault(layer.name, []).append(name)

    # -- reporting ----------------------------------------------------------------------------------

    def note(self, layer: LayerDef, text: str) -> None:
        """Add a note about a decision."""
        self.net.source.notes.append(f"layer {layer.name!r} ({layer.type}): {text}")


def _form(shape: Sizes) -> Sequence[str]:
    """The axes of an input that the user must give: from the first unknown one on, except the number of images."""
    axes = "NCHW" if len(shape) == 4 else "ABCDEFGH"[: len(shape)]
    first = next((place for place in range(1, len(shape)) if shape[place] is None), 0)
    return axes[min(first, 2) if len(shape) == 4 else 0 :]


def own_fields(kind: type[Op], param: Message) -> dict[str, Any]:
    """The values of the op's fields that the parameter message has too: `numBox` is its `num_box`."""
    names = {item.name: re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", item.name) for item in fields(kind)}
    return {own: param.get(name) for own, name in names.items() if name in param.type.fields}


def describe(layer: LayerDef) -> str:
    """The position, name and type of a layer, for the beginning of an error."""
    return f"{layer.place}, layer {layer.name!r} ({layer.type})"
